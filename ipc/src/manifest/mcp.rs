//! What is pinned of an MCP server: its tools as it defined them when the owner agreed.

use super::{Manifest, ManifestError, invalid};
use plexus_protocol::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// SHA-256 of the canonical JSON (RFC 8785) of what an MCP server said of itself, every member of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpPins {
    /// Of its instructions; absent where it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<Digest>,
    /// Of each tool, whose name is that of its capability.
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
