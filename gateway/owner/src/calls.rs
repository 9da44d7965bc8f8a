//! Calls that are under way, what they say, and the approvals that permit further ones.

use crate::{Done, wire};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, PendingId, RunId, Timestamp, body::Progress,
};
use serde::{Deserialize, Serialize};

pub use plexus_protocol::body::CancelledCall;

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// The oldest call first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// Calls that are under way.
    pub calls: Vec<CallUnderWay>,
    /// Approvals that permit further calls.
    pub conversations: Vec<OpenApproval>,
}

/// A call that is under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallUnderWay {
    /// What names it to the owner: its event's id, else its run's or one of its own.
    pub id: String,
    /// Its intent, where it is an effect.
    pub audit_id: Option<AuditId>,
    /// Its run, where its caller does not wait for it.
    pub run_id: Option<RunId>,
    /// Who calls; none where it is the owner.
    pub agent_id: Option<AgentId>,
    /// What is called.
    pub capability_id: CapabilityId,
    /// Whether it changes something.
    pub kind: CallKind,
    /// When it began.
    pub started_at: Timestamp,
    /// For how long it has run, in milliseconds.
    pub running_ms: u64,
    /// What it has streamed, in bytes.
    pub streamed_bytes: u64,
    /// What it said or did last, in a few words of its own.
    pub says: Option<String>,
    /// Whether it is being cancelled.
    pub cancelled: bool,
}

/// What a call may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallKind {
    /// It changes nothing.
    Read,
    /// It may change something.
    Effect,
}

impl CallKind {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Effect => "effect",
        }
    }
}

/// A conversation that takes further messages, or child calls that may still be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenApproval {
    /// What names it to an agent.
    pub id: RunId,
    /// The item that the owner approved.
    pub pending_id: PendingId,
    /// Whose it is.
    pub agent_id: AgentId,
    /// What was approved.
    pub capability_id: CapabilityId,
    /// How many turns or child calls were used.
    pub turn: u32,
    /// How many are left.
    pub turns_left: u32,
    /// When it ends; none where only its last runs go on.
    pub expires_at: Option<Timestamp>,
    /// Whether one is under way.
    pub under_way: bool,
    /// The capabilities of child calls, where it is about those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<CapabilityId>>,
}

/// What a call says, from an offset on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Look {
    /// The call, by any of its names.
    pub id: String,
    /// Where to begin, in bytes.
    #[serde(default, deserialize_with = "wire::number::deserialize")]
    pub after: u64,
    /// How long to wait for more, in seconds; at most 20 count.
    #[serde(default, deserialize_with = "wire::number::deserialize")]
    pub wait: u64,
}

/// What it said.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallProgress {
    /// What is called.
    pub capability_id: String,
    /// Whether the call has ended.
    pub over: bool,
    /// Why it failed, where it is a run that did.
    pub error: Option<String>,
    /// The name of this very call from now on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The turns that are left of the open conversation that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turns_left: Option<u32>,
    /// The command that shows what came of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
    /// What it streamed.
    pub progress: Progress,
}

/// Asks that a call end, or ends a conversation or child calls.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stop {
    /// The call by any of its names, or the approval.
    pub id: String,
}

/// What is being ended.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Stopping {
    /// A call: its outcome says what was done by then.
    Call {
        /// It is asked for.
        ok: Done,
        /// The call.
        call: CallUnderWay,
    },
    /// A conversation or child calls.
    Approval(EndedConversation),
}

/// The end of a conversation or of child calls.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct EndedConversation {
    /// It takes no further ones.
    pub ok: Done,
    /// What came of it.
    pub conversation: EndedApproval,
}

/// What a conversation or child calls came to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedApproval {
    /// What names it to an agent.
    pub id: RunId,
    /// The item that the owner approved.
    pub pending_id: PendingId,
    /// How many turns or child calls were used.
    pub turn: u32,
    /// How many are left unused.
    pub turns_left: u32,
    /// The calls of it that are being cancelled.
    pub cancelled: Vec<CancelledCall>,
}
