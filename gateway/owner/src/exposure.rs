//! What there is, and what of it agents see.

use crate::{Done, MayWiden};
use plexus_protocol::CapabilityId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every entry of the catalogue, hidden ones too.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListEntries {}

/// Every entry of the catalogue.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Entries {
    /// The gateway, as discovery tells it.
    pub gateway: Value,
    /// The catalogue's revision.
    pub revision: u64,
    /// Each as a manifest has it.
    pub entries: Vec<Value>,
}

/// What agents see of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// What agents see.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Exposure {
    /// Each capability.
    pub capabilities: Vec<ExposedCapability>,
    /// The catalogue's revision.
    pub revision: u64,
}

/// A capability, and whether agents see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExposedCapability {
    /// Its id.
    pub id: CapabilityId,
    /// Its label.
    pub label: String,
    /// Whether agents see it.
    pub enabled: bool,
    /// Whether a new agent is offered it.
    pub default_grant: bool,
}

/// Shows a capability to agents, or hides it from them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Expose {
    /// The capability.
    pub id: String,
    /// Whether agents see it.
    pub enabled: bool,
}

impl MayWiden for Expose {
    fn widens(&self) -> bool {
        self.enabled
    }
}

/// A capability that was shown or hidden.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exposed {
    /// It is done.
    pub ok: Done,
    /// The capability.
    pub id: CapabilityId,
    /// Whether agents see it.
    pub enabled: bool,
    /// The catalogue's revision.
    pub revision: u64,
    /// The event; empty where nothing changed.
    pub audit_id: String,
}

/// Says whether a new agent is offered a capability.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The capability.
    pub id: String,
    /// Whether it is offered.
    pub default_grant: bool,
}

/// Whether a new agent is offered a capability.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offered {
    /// It is set.
    pub ok: Done,
    /// The capability.
    pub id: CapabilityId,
    /// Whether it is offered.
    pub default_grant: bool,
}
