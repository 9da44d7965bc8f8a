//! The closed set of error codes, the status each travels with, and the one error shape (docs/protocol/errors.md).

use crate::{CapabilityId, PendingId, RunId, id::has_id_form};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $status:literal;)*) => {
        /// Why a request was refused or a call failed. Every answer that is not a success carries one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }
        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The wire word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
            /// The HTTP status it usually travels with; a route may say otherwise where the wire does.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

codes! {
    /// A token past its end, or none where one is needed to refresh.
    TokenExpired = "token_expired", 401;
    /// A token that was revoked, forged, or is no token.
    TokenRevoked = "token_revoked", 401;
    /// No live permission for this call.
    GrantRequired = "grant_required", 401;
    /// The owner has to decide first; a pending item exists.
    ApprovalRequired = "approval_required", 401;
    /// A grant request waits for the owner.
    GrantPendingUser = "grant_pending_user", 401;
    /// No live session.
    SessionExpired = "session_expired", 401;
    /// No such capability, item or route, as far as the caller may know.
    UnknownCapability = "unknown_capability", 404;
    /// The owner does not expose it.
    CapabilityUnexposed = "capability_unexposed", 403;
    /// The input does not fit the schema.
    SchemaValidationFailed = "schema_validation_failed", 422;
    /// The source cannot be used now.
    SourceUnavailable = "source_unavailable", 503;
    /// The capability cannot be used now.
    CapabilityUnavailable = "capability_unavailable", 503;
    /// A tool behind the source failed.
    McpToolError = "mcp_tool_error", 400;
    /// The source refused or failed; `detail.reason` says why.
    TransportError = "transport_error", 400;
    /// A Host or Origin that is not ours.
    HostForbidden = "host_forbidden", 403;
    /// Too much at once; `retryAfterMs` says when to come back.
    RateLimited = "rate_limited", 429;
    /// A malformed request on most routes, or our own failure.
    InternalError = "internal_error", 400;

    /// An enrollment request that is not of its form.
    Malformed = "malformed", 400;
    /// An enrollment code that was never made here, or was superseded.
    UnknownCode = "unknown_code", 401;
    /// An enrollment code past its end.
    CodeExpired = "code_expired", 401;
    /// An enrollment code that was used.
    CodeConsumed = "code_consumed", 401;
    /// A file of the gateway could not be written; a code that was to be redeemed is still good.
    PersistFailed = "persist_failed", 500;
    /// The owner's key is missing or wrong.
    Unauthorized = "unauthorized", 401;
    /// No such agent.
    UnknownAgent = "unknown_agent", 404;
    /// No such audit event.
    NotFound = "not_found", 404;

    /// The card that was approved is not the one that is shown now.
    CardChanged = "card_changed", 409;
    /// The item names no input: approve a window, or one call with `anyInput`.
    InputRequired = "input_required", 409;
    /// The plan failed: deny it or plan again.
    PlanFailed = "plan_failed", 409;
    /// This capability is approved call by call only.
    StandingNotAllowed = "standing_not_allowed", 409;
    /// The owner denied this very call.
    DeniedByOwner = "denied_by_owner", 403;
    /// Nothing can be recorded now, so nothing was done.
    AuditUnavailable = "audit_unavailable", 503;
    /// Too many calls are waiting.
    Busy = "busy", 503;
    /// The owner paused all agents.
    Paused = "paused", 503;
    /// The world is not as the plan assumed; nothing was done.
    PreconditionChanged = "precondition_changed", 409;
    /// The source's operating system refused.
    PermissionDenied = "permission_denied", 403;
    /// The call took longer than it may.
    DeadlineExceeded = "deadline_exceeded", 504;
    /// It was cancelled; `effect` says what was done by then.
    Cancelled = "cancelled", 409;
    /// It is not known whether the effect happened.
    OutcomeUnknown = "outcome_unknown", 409;
    /// The conversation takes no message now; `detail.reason` says why.
    NotAcceptingInput = "not_accepting_input", 409;
    /// The program that was to take over is not fit for it; the old one serves on.
    UpgradeRefused = "upgrade_refused", 409;
    /// A body larger than allowed.
    PayloadTooLarge = "payload_too_large", 413;
}

/// What the system says of an error, without its number: nobody reads “(os error 2)” who does not know that no file is there.
#[must_use]
pub fn system_words(said: &str) -> String {
    let (mut words, mut rest) = (String::new(), said);
    while let Some((before, after)) = rest.split_once(" (os error ") {
        words.push_str(before);
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        match after[digits..].strip_prefix(')') {
            Some(behind) if digits > 0 => rest = behind,
            _ => {
                words.push_str(" (os error ");
                rest = after;
            }
        }
    }
    words + rest
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether anything was done: the first of the three answers of every refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Nothing was done.
    #[default]
    None,
    /// A part of it was done.
    Partial,
    /// It was done.
    Done,
    /// Nobody knows: do not repeat.
    Unknown,
}

/// The change set that a call left which failed or was ended, as the `detail` of its error names it. The id may be a part of a
/// path or of a command.
#[must_use]
pub fn left_set(detail: Option<&Value>) -> Option<&str> {
    let id = detail?.get("changes")?.as_str()?;
    // The log names it.
    (id.len() <= 64 && has_id_form(id, "cs_")).then_some(id)
}

/// [`Effect::None`] in words.
pub const NOTHING_DONE: &str = "nothing was done";
/// The same of a run on a copy that left a change set ([`left_set`]): that is something, and none of it is in the folder yet.
pub const SET_ALONE: &str = "it left a change set and applied nothing";

/// What an agent does next, as data: what `next` says in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextAction {
    /// What to do.
    pub kind: NextKind,
    /// The item to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_id: Option<PendingId>,
    /// The run to wait for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// The capability that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<CapabilityId>,
    /// How long to wait before it, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NextKind {
    /// Wait for the item or the run.
    Wait,
    /// Make the call again, after `afterMs` or otherwise as `next` says.
    Retry,
    /// Look the capability up, or the list of them where none is named; then call what is there, as it is described.
    LookUp,
    /// Read what the call is about, then make it again.
    ReadFirst,
    /// Ask anew for a session, a token or a grant, then make the call again.
    Ask,
    /// Stop, and tell the owner.
    Stop,
}

impl NextAction {
    /// Of a kind, with nothing named.
    #[must_use]
    pub fn new(kind: NextKind) -> Self {
        Self {
            kind,
            pending_id: None,
            run_id: None,
            id: None,
            after_ms: None,
        }
    }
}

/// The error object of every refusal: was anything done (`effect`), why (`message`), what next (`next`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The code to branch on.
    pub code: ErrorCode,
    /// One sentence for a person or a model; never empty.
    pub message: String,
    /// The capability it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capability_id: Option<CapabilityId>,
    /// Structured facts, such as `{"reason": "path_confinement"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
    /// Whether anything was done.
    #[serde(default)]
    pub effect: Effect,
    /// One request of the wire, words, or `stop; tell the owner: …`; of the owner's routes, a line of `plexusctl`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next: String,
    /// The same as data, on agents' routes; absent where it is none of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_action: Option<NextAction>,
    /// Members of this code only: `pendingId`, `approvalUrl`, `retryAfterMs`, …
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl ErrorBody {
    /// An error with nothing done and no further members.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            capability_id: None,
            detail: None,
            effect: Effect::None,
            next: String::new(),
            next_action: None,
            more: Map::new(),
        }
    }
    /// The reason that a source gave, in its detail.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.detail.as_ref()?.get("reason")?.as_str()
    }
    /// Says what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self.next_action = None;
        self
    }
    /// Says what to do next, in words and as data; `retryAfterMs` goes before it.
    #[must_use]
    pub fn then(mut self, kind: NextKind, next: impl Into<String>) -> Self {
        let after_ms = self.more.get("retryAfterMs").and_then(Value::as_u64);
        self = self.next(next);
        self.next_action = Some(NextAction {
            id: self.capability_id.clone(),
            after_ms,
            ..NextAction::new(kind)
        });
        self
    }
    /// Says that the item is to be waited for.
    #[must_use]
    pub fn wait_for(self, item: &PendingId) -> Self {
        let asks = format!("GET /grants/status?pendingId={item}&wait=20");
        let mut waits = self.then(NextKind::Wait, asks);
        if let Some(action) = &mut waits.next_action {
            action.pending_id = Some(item.clone());
        }
        waits
    }
    /// Names the capability.
    #[must_use]
    pub fn about(mut self, id: &CapabilityId) -> Self {
        self.capability_id = Some(id.clone());
        // Of one that is in nobody's view the list is looked up.
        if let Some(action) = &mut self.next_action
            && self.code != ErrorCode::UnknownCapability
        {
            action.id = Some(id.clone());
        }
        self
    }
    /// Says whether anything was done.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }
    /// Adds structured facts.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }
    /// Adds a member beside `code`.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_round_trip() {
        let mut words: Vec<_> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        for (code, word) in ErrorCode::ALL.iter().zip(&words) {
            assert_eq!(serde_json::to_value(code).unwrap(), *word);
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorCode::ALL.len());
    }

    #[test]
    fn next_action_names_what_it_is_about() {
        let id = CapabilityId::parse("notes.write").unwrap();
        let error = ErrorBody::new(ErrorCode::Busy, "Full.").with("retryAfterMs", 250);
        let error = error.then(NextKind::Retry, "repeat the call").about(&id);
        let sent = serde_json::to_value(&error).unwrap();
        let action = serde_json::json!({"kind": "retry", "id": "notes.write", "afterMs": 250});
        assert_eq!(sent["nextAction"], action);
        assert_eq!(serde_json::from_value::<ErrorBody>(sent).unwrap(), error);
        let item: PendingId = "pend_00000000-0000-4000-8000-000000000000".parse().unwrap();
        let waits = ErrorBody::new(ErrorCode::ApprovalRequired, "It waits.").wait_for(&item);
        let action = waits.next_action.unwrap();
        assert_eq!(action.kind, NextKind::Wait);
        assert_eq!(action.pending_id, Some(item));
    }
}
