//! The owner's decision on an item.

use super::{Kind, OnApproval};
use crate::{Done, MayWiden, wire};
use plexus_protocol::{AgentId, CapabilityId, Constraint, PendingId, SourceId, TrustWindow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Approves or denies an item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decide {
    /// Its id.
    pub id: String,
    /// What is decided; none: no such act.
    #[serde(default, deserialize_with = "wire::known")]
    pub action: Option<Action>,
    /// Why it is denied; the agent is told.
    pub reason: Option<String>,
    /// For how long; once where none is named.
    pub trust_window: Option<TrustWindow>,
    /// How the grant is narrowed.
    pub constraint: Option<Constraint>,
    /// Approves one call whatever its input.
    pub any_input: Option<bool>,
    /// Fewer turns or child calls than are asked for.
    pub turns: Option<u32>,
    /// Fewer minutes than are asked for.
    pub minutes: Option<u32>,
    /// The card that was seen. Refused where it is not the one that would be shown now.
    pub card_digest: Option<String>,
    /// Who is meant; refused where it is not who asked.
    pub agent_id: Option<String>,
    /// Folders of an extension, by name.
    pub folders: Option<BTreeMap<String, String>>,
    /// The stored secrets that may go to another host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_secrets: Vec<String>,
    /// The answer to a question, by field.
    pub answers: Option<Map<String, Value>>,
}

impl MayWiden for Decide {
    fn widens(&self) -> bool {
        self.action == Some(Action::Approve)
    }
}

/// What is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// What was decided.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Decided {
    /// It is done.
    pub ok: Done,
    /// What was decided.
    pub action: Action,
    /// On what sort of item.
    pub kind: Kind,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: DecisionOutcome,
}

/// What came of a decision.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum DecisionOutcome {
    /// Calls were allowed.
    Granted {
        /// What stands from now on.
        granted: Vec<CapabilityId>,
        /// What may be called once.
        once: Vec<CapabilityId>,
        /// The agent's other requests that waited and that the new grants answered.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also_answered: Vec<PendingId>,
        /// How many denials the approval ended; the others refuse their calls as before.
        #[serde(default, skip_serializing_if = "crate::review::is_zero")]
        denials_ended: usize,
        /// Whether the gateway makes the call.
        on_approval: OnApproval,
        /// The event of it.
        audit_id: String,
    },
    /// A source that changed was decided on.
    Resumed {
        /// The source.
        source: SourceId,
        /// Whether its grants were resumed.
        resumed: bool,
        /// The requests that waited and that they answered.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also_answered: Vec<PendingId>,
        /// The event of it.
        audit_id: String,
    },
    /// An extension was added.
    Registered {
        /// Its capabilities.
        registered: Vec<String>,
        /// The secrets that it still needs.
        secrets_missing: Vec<MissingSecret>,
        /// The event of it.
        audit_id: String,
    },
    /// The agent was refused.
    Denied {
        /// The event of it.
        audit_id: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A question was answered, or it was said that it is not.
    Answered {},
}

/// A secret that an extension still needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingSecret {
    /// Its name.
    pub name: String,
    /// The command that sets it.
    pub next: String,
}

/// Takes the denial of an item back: it refuses no call any more.
#[derive(Debug, Serialize, Deserialize)]
pub struct EndDenial {
    /// Its id.
    pub id: String,
}

/// The calls that are not denied any more.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DenialEnded {
    /// It is done.
    pub ok: Done,
    /// By whom.
    pub agent_id: AgentId,
    /// Of what.
    pub capabilities: Vec<CapabilityId>,
    /// The event of it.
    pub audit_id: String,
}

/// Has the preview of an item computed again.
#[derive(Debug, Serialize, Deserialize)]
pub struct PlanAgain {
    /// Its id.
    pub id: String,
}

/// The preview is being computed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Planning {
    /// It is begun.
    pub ok: Done,
    /// Of which item.
    pub pending_id: PendingId,
}
