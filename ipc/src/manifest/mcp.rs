//! What is pinned of an MCP server: its tools as it defined them when the owner agreed, and which methods it offers beside them.

use super::{Manifest, ManifestError, invalid};
use plexus_protocol::{Digest, json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a server may offer beside tools: what it holds, and what it would have a model told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerFeature {
    /// Contents, each with a URI.
    Resources,
    /// Texts for a model, made from arguments.
    Prompts,
}

/// A method of the protocol that is lent as a capability of its own, by the side of the server's tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMethod {
    /// What resources there are, and the templates of their URIs.
    ListResources,
    /// What is at a URI.
    ReadResource,
    /// What prompts there are.
    ListPrompts,
    /// A prompt, filled with arguments.
    GetPrompt,
}

impl ServerFeature {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Resources, Self::Prompts];

    /// What a server that has it declares.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Prompts => "prompts",
        }
    }

    /// What is lent of it.
    #[must_use]
    pub fn methods(self) -> [ServerMethod; 2] {
        match self {
            Self::Resources => [ServerMethod::ListResources, ServerMethod::ReadResource],
            Self::Prompts => [ServerMethod::ListPrompts, ServerMethod::GetPrompt],
        }
    }
}

impl ServerMethod {
    /// The name of its capability. A tool of that name is not lent where the server offers the method.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ListResources => "resources.list",
            Self::ReadResource => "resources.read",
            Self::ListPrompts => "prompts.list",
            Self::GetPrompt => "prompts.get",
        }
    }

    /// The method.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::ListResources => "resources/list",
            Self::ReadResource => "resources/read",
            Self::ListPrompts => "prompts/list",
            Self::GetPrompt => "prompts/get",
        }
    }

    /// What is pinned of it: that it is this method, and no words of ours, which change with a build.
    #[must_use]
    pub fn digest(self) -> Digest {
        json::digest(&serde_json::json!({"method": self.method()}))
    }
}

/// SHA-256 of the canonical JSON (RFC 8785) of what an MCP server said of itself, every member of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpPins {
    /// Of its instructions; absent where it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Digest>,
    /// Of each tool, whose name is that of its capability; and of each [`ServerMethod`].
    pub tools: BTreeMap<String, Digest>,
    /// Of each tool that the owner has not agreed to, as it was last seen: none of it is a capability.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub withheld: BTreeMap<String, Digest>,
}

impl McpPins {
    /// Whether a server that defines `now` says nothing that was not looked at: what is lent is there as it was agreed to.
    #[must_use]
    pub fn covers(&self, now: &Self) -> bool {
        let mut tools = now.tools.iter();
        let known = |(name, digest): (&String, &Digest)| {
            [&self.tools, &self.withheld]
                .iter()
                .any(|pins| pins.get(name) == Some(digest))
        };
        let is_there = |name| now.tools.contains_key(name);
        self.instructions == now.instructions && tools.all(known) && self.tools.keys().all(is_there)
    }
}

impl Manifest {
    pub(super) fn check_mcp(&self) -> Result<(), ManifestError> {
        let mut tools = self.mcp.iter().flat_map(|pins| pins.tools.keys());
        let callable = |name: &&String| self.capability(name).is_some_and(|entry| entry.callable());
        match tools.find(|name| !callable(name)) {
            Some(name) => Err(invalid(format!("mcp {name:?}"), "names no capability")),
            None => Ok(()),
        }
    }
}
