//! What the listing of a server has: each tool as the server defines it, and each method that it offers beside them, in words
//! of ours.
//!
//! Invariants: no word of the server's is in the definition of a method; one that has nothing to give is lent only where it
//! was agreed to.
//!
//! Must not know: who may call it.

use super::{Listing, described};
use plexus_ipc::{
    manifest::{McpPins, ServerMethod},
    text::Text,
};
use plexus_protocol::{Digest, json};
use serde_json::{Value, json as object};
use std::{borrow::Cow, collections::BTreeSet};

/// Why a method is not lent that has nothing to give.
pub const IDLE: &str = "the server says that it can have some, and has none now; once it has: plexusctl mcp refresh NAME";

/// One capability that a server would lend.
#[derive(Debug)]
pub struct Definition<'l> {
    /// The name of its capability.
    pub name: &'l str,
    /// What is pinned of it.
    pub digest: Digest,
    /// What it does; in the words of a third party where it is a tool.
    pub description: Text<16_384>,
    /// What it takes, as a schema.
    pub input: Cow<'l, Value>,
    /// What the server claims of it.
    pub claims: Option<&'l Value>,
    /// What it is where it is no tool.
    pub method: Option<ServerMethod>,
}

impl Listing {
    /// Its tools and its methods.
    #[must_use]
    pub fn definitions(&self) -> Vec<Definition<'_>> {
        let tools = self.tools.iter().map(|tool| Definition {
            name: tool["name"].as_str().unwrap_or_default(),
            digest: json::digest(tool),
            description: described(tool),
            input: Cow::Borrowed(&tool["inputSchema"]),
            claims: tool.get("annotations"),
            method: None,
        });
        let methods = self.methods().map(|method| Definition {
            name: method.name(),
            digest: method.digest(),
            description: Text::new(words(method)),
            input: Cow::Owned(input(method)),
            claims: None,
            method: Some(method),
        });
        tools.chain(methods).collect()
    }

    /// What it offers beside tools.
    pub fn methods(&self) -> impl Iterator<Item = ServerMethod> {
        self.features.iter().flat_map(|feature| feature.methods())
    }

    /// The methods that have nothing to give, and were not agreed to either: servers declare what they only could have.
    #[must_use]
    pub fn idle(&self, agreed: Option<&McpPins>) -> BTreeSet<String> {
        let is_empty = |feature| self.found.get(feature).is_none_or(Vec::is_empty);
        let is_agreed = |name| agreed.is_some_and(|pins| pins.tools.contains_key(name));
        let idle = self.features.iter().filter(|feature| is_empty(feature));
        let names = idle
            .flat_map(|feature| feature.methods())
            .map(ServerMethod::name);
        names
            .filter(|name| !is_agreed(*name))
            .map(str::to_owned)
            .collect()
    }

    /// What there is now of what a method lists or gives, as one line in words of the server's.
    #[must_use]
    pub fn found_by(&self, method: ServerMethod) -> Option<String> {
        let feature = self.features.iter();
        let feature = feature.copied().find(|f| f.methods().contains(&method));
        let found = self.found.get(&feature?)?;
        (!found.is_empty()).then(|| found.join(", "))
    }
}

/// What a method does.
pub(super) fn words(method: ServerMethod) -> &'static str {
    match method {
        ServerMethod::ListResources => {
            "Lists the resources of this server, each with its URI, and the templates of further URIs."
        }
        ServerMethod::ReadResource => {
            "Reads the resource of this server at a URI, as its list or a template of it has that: a text, or a file."
        }
        ServerMethod::ListPrompts => {
            "Lists the prompts of this server, each with the arguments that it takes."
        }
        ServerMethod::GetPrompt => {
            "Gives a prompt of this server, filled with arguments: a text that says how to go about something."
        }
    }
}

/// What a method takes: the parameters that the protocol has for it.
pub(super) fn input(method: ServerMethod) -> Value {
    let (properties, required) = match method {
        ServerMethod::ListResources | ServerMethod::ListPrompts => (object!({}), object!([])),
        ServerMethod::ReadResource => (
            object!({"uri": {"type": "string", "minLength": 1, "maxLength": 8192}}),
            object!(["uri"]),
        ),
        ServerMethod::GetPrompt => (
            object!({
                "name": {"type": "string", "minLength": 1, "maxLength": 1024},
                "arguments": {"type": "object", "additionalProperties": {"type": "string"}},
            }),
            object!(["name"]),
        ),
    };
    object!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    })
}
