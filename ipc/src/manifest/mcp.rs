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
