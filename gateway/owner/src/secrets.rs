//! Secrets of sources: written, never read back.

use crate::{Done, wire};
use plexus_protocol::{AgentId, CapabilityId};
use serde::{Deserialize, Serialize};

/// Writes one. No `Debug`: it holds the value.
#[derive(Serialize, Deserialize)]
pub struct Write {
    /// Its name: `<source>.<field>`, or a file's that a source refers to.
    pub name: String,
    /// What it is.
    #[serde(default, deserialize_with = "wire::unsaid")]
    pub value: String,
}

/// It is written.
#[derive(Debug, Serialize, Deserialize)]
pub struct WriteResult {
    /// It is.
    pub ok: Done,
    /// Its name.
    pub name: String,
    /// The grants that it ended: its source counts as another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<RevokedGrant>,
}

/// A grant that is over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevokedGrant {
    /// Whose it was.
    pub agent_id: AgentId,
    /// What it allowed.
    pub capability_id: CapabilityId,
}
