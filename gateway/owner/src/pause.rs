//! The pause of all agents.

use crate::{Done, MayWiden};
use plexus_protocol::{AuditId, body::CancelledCall};
use serde::{Deserialize, Serialize};

/// Stops every agent's calls, or lets them go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Pause {
    /// Whether they stop.
    pub on: bool,
}

impl MayWiden for Pause {
    fn widens(&self) -> bool {
        !self.on
    }
}

/// Whether agents are served.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// It is done.
    pub ok: Done,
    /// Whether their calls stop.
    pub paused: bool,
    /// Whether that is new.
    pub changed: bool,
    /// The event; empty where nothing changed.
    pub audit_id: String,
    /// Effects that were sent before; those among `cancelled` are asked to stop, and may be done all the same.
    pub in_flight: Vec<AuditId>,
    /// Calls that are being cancelled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<CancelledCall>,
}
