//! Bodies of the public wire that more than one of our programs reads or writes. Field names are the wire's.
//!
//! A body that only the gateway writes and nobody of ours reads is built where its route is.

use crate::{
    AgentId, AuditId, CapabilityId, Constraint, ErrorBody, PendingId, Provenance, RunId, Timestamp,
    TokenId, TrustWindow, Verbs,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A part of what a call streamed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Where it begins; beyond the offset that was asked for, what lies between is gone.
    pub from: u64,
    /// Where to go on.
    pub next: u64,
    /// The pieces.
    pub chunks: Vec<ProgressChunk>,
}

/// One piece of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProgressChunk {
    /// Continues the text before it.
    Text(String),
    /// One event.
    Json(Box<RawValue>),
}

/// How the content of a preview is to be read. The worker states it, because it knows whether it compared two contents; a
/// painter that looked for it in the content would let an author draw a change that nobody makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PreviewForm {
    /// Named values alone.
    #[default]
    Fields,
    /// A text as its author wrote it: a prompt, a message, notes.
    Text,
    /// A unified diff that the worker made.
    Diff,
}

/// A capability with the verbs of a token or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// The capability.
    pub id: CapabilityId,
    /// What may be done with it.
    pub verbs: Verbs,
    /// How it is narrowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
}

/// An id that a request cannot have, with prose for the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declined {
    /// The id as it was asked for.
    pub id: String,
    /// Why, in words that are the same for every id the agent may not know of.
    pub reason: String,
}

/// A token reply.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopedToken {
    /// The compact JWT.
    pub token: String,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// Its id.
    pub jti: TokenId,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Earliest end of the grants behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_expires_at: Option<Timestamp>,
    /// Window of the first approved id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_window: Option<TrustWindow>,
    /// Ids that the request cannot have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<Declined>,
}

/// What one id of a pending item means, in words for the owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Narration {
    /// The capability.
    pub id: CapabilityId,
    /// The verbs asked for.
    pub verbs: Verbs,
    /// Where the capability comes from.
    pub provenance: Provenance,
    /// How much harm one call can do.
    pub sensitivity: crate::Sensitivity,
    /// The window that an approve without one would use.
    pub default_trust_window: TrustWindow,
    /// What approving lets the agent do.
    pub summary: String,
    /// The same in one line of at most 120 characters.
    pub notification_line: String,
}

/// A standing grant as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StandingGrant {
    /// Whose it is.
    pub agent_id: AgentId,
    /// What it opens.
    pub capability_id: CapabilityId,
    /// With which verbs.
    pub verbs: Verbs,
    /// Where the capability comes from.
    pub provenance: Provenance,
    /// When the owner made it.
    pub granted_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The window that the owner chose.
    pub trust_window: TrustWindow,
    /// Always true on the wire.
    pub standing: bool,
    /// Its narrowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    /// Calls left of `maxCalls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls_left: Option<u32>,
    /// Why it cannot be used now although it has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<String>,
    /// Present when the capability is not exposed now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub top_level_disabled: bool,
}

/// A request of an agent's that waits for the owner, as its own list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingRequest {
    /// Its id.
    pub pending_id: PendingId,
    /// What it asks for; of several the first.
    pub capability_id: CapabilityId,
    /// When it was asked.
    pub created_at: Timestamp,
    /// Why, in the agent's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// A call of an agent's that is under way, as its own list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningCall {
    /// Its run.
    pub run_id: RunId,
    /// What was called.
    pub capability_id: CapabilityId,
    /// When it began.
    pub started_at: Timestamp,
}

/// What a revocation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// Whether there was anything to end.
    pub ok: bool,
    /// Tokens that ended.
    pub revoked_jtis: Vec<TokenId>,
    /// Whether a grant ended.
    pub grant_removed: bool,
    /// The event; empty where nothing was to end.
    pub audit_id: Option<String>,
    /// Effects that were sent before, and are not stopped.
    pub in_flight: Vec<AuditId>,
    /// Requests and approvals that ended (ours).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<PendingId>,
    /// Calls that are being cancelled (ours).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<CancelledCall>,
}

/// A call that is being cancelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelledCall {
    /// What names it to the owner.
    pub id: String,
    /// Its intent, where it is an effect.
    pub audit_id: Option<AuditId>,
    /// What is called.
    pub capability_id: CapabilityId,
}

/// What is left of a conversation that one approval permits (ours).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its name: `runId` of `POST /invoke/input`.
    pub run_id: RunId,
    /// Turns that were used.
    pub turn: u32,
    /// Turns that are left; 0 also where it was ended.
    pub turns_left: u32,
    /// First moment at which it takes no message; absent where it takes none now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// What is left of the child calls that one approval permits (ours).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildCalls {
    /// Calls that were made.
    pub runs: u32,
    /// Calls that are left; 0 also where it was ended.
    pub runs_left: u32,
    /// First moment at which none is made any more; absent where that is so now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// The answer of every invoke. What few answers have is boxed, because an answer is moved a dozen times on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvokeResponse {
    /// The capability as asked for; empty when the body could not be read.
    pub id: String,
    /// Whether it was done.
    pub ok: bool,
    /// The worker's own JSON bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Box<RawValue>>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<ErrorBody>>,
    /// A token, where the call was made with a session and allowed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Box<ScopedToken>>,
    /// The event of this call; empty when nothing was audited.
    pub audit_id: String,
    /// The run, where the call goes on without the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Box<Run>>,
    /// Where the call is a turn of a conversation: how to go on, and what is left of it (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Conversation>,
    /// Where the call was approved with child calls: what is left of them (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildCalls>,
    /// By which id the effect can be taken back: input `id` of `<source>.undo` (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// True where an earlier answer was given again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// True where the earlier answer had an output that is no longer kept (ours).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_omitted: bool,
}

impl InvokeResponse {
    /// A yes to a call of `id`, with nothing else in it.
    #[must_use]
    pub fn ok(id: &str, audit: Option<&AuditId>) -> Self {
        Self {
            id: id.to_owned(),
            ok: true,
            output: None,
            error: None,
            grant: None,
            audit_id: audit.map(|a| a.as_str().to_owned()).unwrap_or_default(),
            run: None,
            conversation: None,
            children: None,
            undo: None,
            replayed: false,
            output_omitted: false,
        }
    }

    /// A refusal of a call to `id`. The error names that id where it could be one: it tells the caller nothing but its
    /// own words, and clients read it there whatever the reason.
    #[must_use]
    pub fn refused(id: &str, mut error: ErrorBody, audit: Option<&AuditId>) -> Self {
        error.capability_id = error.capability_id.or_else(|| CapabilityId::parse(id).ok());
        Self {
            ok: false,
            error: Some(Box::new(error)),
            ..Self::ok(id, audit)
        }
    }
}

/// A handle on a call that goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub run_id: RunId,
    /// `running`, `succeeded` or `failed`.
    pub status: String,
    /// Where to ask.
    pub status_url: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Until when the answer is kept.
    pub expires_at: Timestamp,
}

/// The words of [`VoidReason::MadeByGrant`].
const MADE_BY_GRANT: &str = "its agent made this call by a grant";

/// Why a request ended without a decision that can be used. It travels, and is stored, as its words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum VoidReason {
    /// Its agent made the call by a grant meanwhile: it is not made again.
    MadeByGrant,
    /// Any other.
    Other(String),
}

impl VoidReason {
    /// Its words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::MadeByGrant => MADE_BY_GRANT,
            Self::Other(words) => words,
        }
    }
}

impl std::fmt::Display for VoidReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for VoidReason {
    fn from(words: String) -> Self {
        match words.as_str() {
            MADE_BY_GRANT => Self::MadeByGrant,
            _ => Self::Other(words),
        }
    }
}

impl From<&str> for VoidReason {
    fn from(words: &str) -> Self {
        words.to_owned().into()
    }
}

impl From<VoidReason> for String {
    fn from(why: VoidReason) -> Self {
        match why {
            VoidReason::MadeByGrant => MADE_BY_GRANT.to_owned(),
            VoidReason::Other(words) => words,
        }
    }
}

/// A request that waits for the owner.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingReply {
    /// Always `grant_pending_user`.
    pub status: String,
    /// The item.
    pub pending_id: PendingId,
    /// What waits.
    pub pending: Vec<CapabilityId>,
    /// Where to ask for the decision.
    pub status_url: String,
    /// Where the owner decides.
    pub approval_url: String,
    /// What it means, for each id.
    pub pending_narration: Vec<Narration>,
    /// What was allowed at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial_token: Option<ScopedToken>,
    /// Ids that the request cannot have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declined: Vec<Declined>,
}
