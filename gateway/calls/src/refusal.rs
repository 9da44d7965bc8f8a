//! The one table from our errors to what the wire says: code, and the three answers (was anything done, why, what next).

use crate::under_way::CancelledBy;
use plexus_ipc::message::{Failure, SERVER_REFUSED, WorkerError};
use plexus_ledger::SubmitError;
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Effect, ErrorBody, ErrorCode, NextKind, body::InvokeResponse,
};
use plexus_supervisor::DispatchError;
use plexus_trust::{Refusal, State};
use serde_json::{Value, json};

/// The one reason for every id that an agent may not know of (docs/protocol/agents.md#ask-for-grants): it tells
/// nothing.
pub const NOT_IN_VIEW: &str =
    "Not in your view of this gateway. List what you can use; ask the owner if you need more.";

/// What an agent does after a cancelled call.
const CANCELLED_NEXT: &str = "repeat the call if it is still wanted";

/// Where the input does not fit.
const FIX: (NextKind, &str) = (NextKind::LookUp, "fix the input, then repeat the call");
/// Where the source alone knows whether another input helps: a client that reads no sentences does not loop.
const FIX_IF_NAMED: (NextKind, &str) = (
    NextKind::Stop,
    "fix the input if the message names it, or stop and tell the owner",
);
/// What an agent does after a call that failed when something of it was done.
pub(crate) const PARTLY_DONE: &str = "look at what was done before you call again";

/// The member of a worker's `detail` that says when to come back.
pub(crate) const RETRY_AFTER: &str = "retryAfterSeconds";

/// The reason where a source runs something else than the owner agreed to; the owner's activity has words for it.
const CODE_CHANGED: &str = "code_changed";

/// An answer where a source runs something else than the owner agreed to. Its card waits; where the owner has denied that, the
/// second command asks for another one.
fn code_changed(code: ErrorCode, id: &CapabilityId, then: &str) -> ErrorBody {
    let (source, _) = id.parts();
    let why =
        format!("What {source} runs has changed since the owner looked at it; nothing was run.");
    let next = format!(
        "stop; tell the owner: what {source} runs has changed (plexusctl approvals; where it has no card: plexusctl sources resume {source}){then}"
    );
    ErrorBody::new(code, why)
        .about(id)
        .detail(json!({"reason": CODE_CHANGED}))
        .then(NextKind::Stop, next)
}

/// Where the gateway or a worker is at fault.
const PRINTED: (NextKind, &str) = (
    NextKind::Stop,
    "stop; tell the owner: look at what plexusd printed",
);

fn about(error: ErrorBody, id: Option<&CapabilityId>) -> ErrorBody {
    match id {
        Some(id) => error.about(id),
        None => error,
    }
}

/// The program that a call runs is not the one that the owner has reviewed.
pub(crate) fn program_changed(id: &CapabilityId) -> ErrorBody {
    code_changed(ErrorCode::GrantRequired, id, "; then ask again")
}

/// What a refusal of the machine is on the wire.
pub fn refused(refusal: &Refusal, id: Option<&CapabilityId>) -> ErrorBody {
    use ErrorCode as C;
    let named = || id.map_or("this capability".to_owned(), ToString::to_string);
    let error = match refusal {
        Refusal::SessionExpired => {
            ErrorBody::new(C::SessionExpired, "No such session, or it is over.")
                .then(NextKind::Ask, "open a session: POST /link/handshake")
        }
        Refusal::TokenRevoked => ErrorBody::new(
            C::TokenRevoked,
            "This token was revoked, or is not one of ours.",
        )
        .then(
            NextKind::Ask,
            "ask for a new grant with your session: PUT /grants",
        ),
        Refusal::TokenExpired => ErrorBody::new(C::TokenExpired, "This token is past its end.")
            .then(
                NextKind::Ask,
                "exchange it at POST /grants/refresh, or ask again: PUT /grants",
            ),
        Refusal::GrantRequired { constraint: None } => ErrorBody::new(
            C::GrantRequired,
            format!("No live grant of yours covers this call of {}.", named()),
        )
        .then(NextKind::Ask, "ask for it with your session: PUT /grants"),
        Refusal::GrantRequired {
            constraint: Some(field),
        } => ErrorBody::new(
            C::GrantRequired,
            format!("Your grant does not reach this value of '{field}'."),
        )
        .detail(json!({"constraintMiss": true, "field": field}))
        .then(
            NextKind::Stop,
            "stop; tell the owner: this call needs a wider grant",
        ),
        Refusal::UnknownCapability => ErrorBody::new(C::UnknownCapability, NOT_IN_VIEW)
            .then(NextKind::LookUp, "GET /manifest"),
        Refusal::Unexposed => ErrorBody::new(
            C::CapabilityUnexposed,
            format!("The owner no longer exposes {}.", named()),
        )
        .then(
            NextKind::Stop,
            format!("stop; tell the owner: {} is switched off", named()),
        ),
        Refusal::NotCallable => ErrorBody::new(
            C::TransportError,
            format!("{} is a text to read, not a call.", named()),
        )
        .then(NextKind::LookUp, "GET /manifest"),
        Refusal::SourceStopped => match id {
            Some(id) => code_changed(C::SourceUnavailable, id, ""),
            None => ErrorBody::new(
                C::SourceUnavailable,
                "What this source runs has changed since the owner looked at it; nothing was run.",
            )
            .then(
                NextKind::Stop,
                "stop; tell the owner: what a source runs has changed (plexusctl approvals)",
            ),
        },
        Refusal::Paused => ErrorBody::new(C::Paused, "The owner has paused all agents.")
            .then(NextKind::Stop, "stop; tell the owner: Plexus is paused"),
        Refusal::Denied { reason } => {
            let why = reason
                .as_ref()
                .map(|r| format!(": “{r}”"))
                .unwrap_or_default();
            ErrorBody::new(
                C::DeniedByOwner,
                format!("The owner denied this call{why}."),
            )
            .detail(json!({"reason": reason}))
            .then(
                NextKind::Stop,
                "stop; tell the owner: you denied this call; nothing was done",
            )
        }
        Refusal::Runs { item } => ErrorBody::new(
            C::Busy,
            "The owner approved this call and the gateway is making it; its answer is the item's.",
        )
        .with("pendingId", item.as_str())
        .with("retryAfterMs", 500)
        .wait_for(item),
        Refusal::OutcomeUnknown { intent } => ErrorBody::new(
            C::OutcomeUnknown,
            "The same call was begun before and its outcome is unknown; it is not run again.",
        )
        .effect(Effect::Unknown)
        .detail(json!({"intent": intent}))
        .then(NextKind::Stop, settle(intent)),
        // Reached only past the look that comes before it.
        Refusal::KeyUsed { intent } => ErrorBody::new(
            C::OutcomeUnknown,
            "This idempotencyKey stands for a call that was begun before; it is not run again.",
        )
        .effect(Effect::Unknown)
        .detail(json!({"intent": intent}))
        .then(
            NextKind::Retry,
            "call again: the answer to the first call is given, if it has ended",
        ),
        Refusal::NoTurn { why } => ErrorBody::new(
            C::NotAcceptingInput,
            format!("The conversation takes no message now: {why}."),
        )
        .detail(json!({"reason": why}))
        .next("wait for the turn that is under way; where none is, ask for a new conversation"),
        Refusal::NoChild { why } => ErrorBody::new(
            C::NotAcceptingInput,
            format!("The approval permits no such child call now: {why}."),
        )
        .detail(json!({"reason": why}))
        .next("wait for the runs that are under way; where none is, ask for a new approval"),
        Refusal::MessageKnown { turn } => ErrorBody::new(
            C::NotAcceptingInput,
            format!("This message is turn {turn} already."),
        )
        .detail(json!({"turn": turn}))
        .next("send a further message with another messageId"),
        Refusal::Invalid(why) => {
            ErrorBody::new(C::SchemaValidationFailed, why.clone()).next("fix the request")
        }
        Refusal::TooManyPending => ErrorBody::new(
            C::RateLimited,
            format!(
                "{} of your requests wait for the owner; no more are taken until some are decided.",
                plexus_trust::MAX_PENDING
            ),
        )
        .with("retryAfterMs", 60_000)
        .then(
            NextKind::Stop,
            "stop; tell the owner: decide the pending requests (plexusctl approvals)",
        ),
        Refusal::UnknownCode => code_rejected(C::UnknownCode),
        Refusal::CodeExpired => code_rejected(C::CodeExpired),
        Refusal::CodeConsumed => code_rejected(C::CodeConsumed),
        Refusal::NoSuchItem => {
            ErrorBody::new(C::UnknownCapability, "No such item waits for a decision.")
                .next("plexusctl approvals list")
        }
        Refusal::CardChanged => ErrorBody::new(
            C::CardChanged,
            "The card is not the one you saw: what would happen has changed, or you named none.",
        )
        .next("plexusctl approvals show"),
        Refusal::InputRequired => ErrorBody::new(
            C::InputRequired,
            "This item names no input: grant a window, or one call with any input (anyInput).",
        )
        .next("plexusctl approvals approve --any-input"),
        Refusal::PlanFailed => ErrorBody::new(
            C::PlanFailed,
            "What it would do could not be computed; it cannot be approved.",
        )
        .next("plexusctl approvals show"),
        Refusal::MadeNow => {
            let why = "Its agent is making this very call by a grant: decide when that has ended.";
            ErrorBody::new(C::CardChanged, why).next("plexusctl calls")
        }
        Refusal::PlanMaking => {
            ErrorBody::new(C::CardChanged, "What it would do is still being computed.")
                .next("plexusctl approvals show")
        }
        Refusal::NoSuchAgent => ErrorBody::new(C::UnknownAgent, "No such agent is connected.")
            .next("plexusctl agents list"),
        Refusal::NotLent => {
            ErrorBody::new(C::NotFound, "This source is not lent.").next("plexusctl lend list")
        }
        Refusal::NoSuchSource => {
            ErrorBody::new(C::UnknownCapability, "No such source.").next("plexusctl sources list")
        }
        Refusal::NoSuchIntent => {
            ErrorBody::new(C::NotFound, "No such open effect.").next("plexusctl audit tail")
        }
    };
    about(error, id)
}

fn code_rejected(code: ErrorCode) -> ErrorBody {
    ErrorBody::new(code, format!("enrollment code rejected: {code}"))
        .then(NextKind::Stop, plexus_protocol::NEW_CODE)
}

/// What a failure to record is on the wire, said before anything was dispatched or disclosed.
pub fn not_recorded(error: &SubmitError<Refusal>, id: Option<&CapabilityId>) -> ErrorBody {
    let error = match error {
        SubmitError::Refused(refusal) => return refused(refusal, id),
        SubmitError::Busy => ErrorBody::new(
            ErrorCode::Busy,
            "Too much is waiting to be recorded; nothing was done.",
        )
        .with("retryAfterMs", 250)
        .then(NextKind::Retry, "repeat the call after a moment"),
        SubmitError::Unavailable(_) | SubmitError::Lost { .. } => ErrorBody::new(
            ErrorCode::AuditUnavailable,
            "The call could not be recorded, so nothing was done or shown.",
        )
        .then(NextKind::Stop, "stop; tell the owner: plexusctl status"),
    };
    about(error, id)
}

/// Something that the owner took back and that could not be saved: it holds until the gateway ends.
pub fn held(error: &SubmitError<Refusal>) -> ErrorBody {
    if let SubmitError::Refused(refusal) = error {
        return refused(refusal, None);
    }
    ErrorBody::new(
        ErrorCode::AuditUnavailable,
        "It could not be saved. It holds in memory alone, until the gateway ends or saves it.",
    )
    .effect(Effect::Done)
    .with("held", true)
    .next("plexusctl status")
}

/// The outcome of an effect that nobody knows; `intent` is what the owner settles it by, where it is known.
pub(crate) fn unknown_outcome(id: &CapabilityId, intent: Option<&AuditId>) -> ErrorBody {
    let error = ErrorBody::new(
        ErrorCode::OutcomeUnknown,
        "It is not known whether this happened. Do not repeat it.",
    )
    .effect(Effect::Unknown)
    .about(id)
    .then(
        NextKind::Stop,
        "stop; tell the owner: look whether it happened, then settle it",
    );
    match intent {
        Some(intent) => settled_by(error, intent),
        None => error,
    }
}

/// An error of a call that was begun by `intent`: where it is not known what was done, the owner settles it by that.
pub(crate) fn settled_by(error: ErrorBody, intent: &AuditId) -> ErrorBody {
    match error.effect {
        Effect::Unknown => error.then(NextKind::Stop, settle(intent)),
        Effect::None | Effect::Partial | Effect::Done => error,
    }
}

/// Whether an answer says that it is not known what was done, whatever its code: the owner settles it.
pub(crate) fn is_unsettled(answer: &InvokeResponse) -> bool {
    let error = answer.error.as_ref();
    error.is_some_and(|error| error.effect == Effect::Unknown)
}

/// Whether an answer to a call of `agent` says that it is not known what was done, and more is known since: the owner has
/// settled its intent, or its outcome came late. An answer that names no intent is the last word.
pub(crate) fn is_known_since(state: &State, agent: &AgentId, answer: &InvokeResponse) -> bool {
    let Ok(intent) = AuditId::parse(&answer.audit_id) else {
        return false;
    };
    let agent = state.agent(agent);
    let mut unknown = agent.into_iter().flat_map(|agent| agent.unknown.values());
    is_unsettled(answer)
        && !state.open_intents.contains_key(&intent)
        && !unknown.any(|unknown| unknown.names(&intent))
}

fn settle(intent: &AuditId) -> String {
    format!("stop; tell the owner: plexusctl unknown list {intent}")
}

/// A call that was cancelled before anything was done.
pub(crate) fn cancelled(by: CancelledBy, id: &CapabilityId) -> ErrorBody {
    let (kind, next) = match by {
        CancelledBy::Agent => (NextKind::Retry, CANCELLED_NEXT),
        CancelledBy::Owner | CancelledBy::Pause | CancelledBy::Revoke => (
            NextKind::Stop,
            "stop; tell the owner: this call was stopped; ask before you call again",
        ),
    };
    ErrorBody::new(ErrorCode::Cancelled, by.sentence())
        .detail(json!({"reason": by.word()}))
        .about(id)
        .then(kind, next)
}

/// A call that its worker ended because it was cancelled. `error` is the worker's own, and `body` what it is on the wire.
pub(crate) fn stopped(
    body: ErrorBody,
    error: &WorkerError,
    by: CancelledBy,
    id: &CapabilityId,
) -> ErrorBody {
    let mut told = cancelled(by, id).effect(error.effect);
    if let (Some(theirs), Some(Value::Object(facts))) = (detail_of(error), &mut told.detail) {
        let by = told.message.trim_end_matches('.');
        told.message = format!("{by}: {}", error.message.as_str());
        let ours = std::mem::replace(facts, theirs.as_object().cloned().unwrap_or_default());
        facts.extend(ours);
    }
    // A call that the owner stopped is not made again unasked.
    let is_agents = by == CancelledBy::Agent && error.effect != Effect::None;
    if is_agents || error.effect == Effect::Unknown {
        (told.next, told.next_action) = (body.next, body.next_action);
    }
    told
}

/// A call that failed when it was made first under its idempotency key; how is no longer kept.
pub(super) fn failed_before(id: &CapabilityId) -> ErrorBody {
    ErrorBody::new(
        ErrorCode::TransportError,
        "This call was made before under this idempotencyKey and failed; its answer is no longer kept.",
    )
    .effect(Effect::Unknown)
    .about(id)
    .then(NextKind::ReadFirst, "look at what it was to change before you call anew, with a new idempotencyKey")
}

/// A call that got no answer from a worker. `effect` says whether it was to change something.
pub(crate) fn undispatched(error: &DispatchError, id: &CapabilityId, effect: bool) -> ErrorBody {
    let error = match error {
        DispatchError::Died { dispatched: true } | DispatchError::Deadline { dispatched: true }
            if effect =>
        {
            return unknown_outcome(id, None);
        }
        DispatchError::Busy { retry_after } => {
            ErrorBody::new(ErrorCode::Busy, "Too many calls wait for this source.")
                .with(
                    "retryAfterMs",
                    u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX),
                )
                .then(NextKind::Retry, "repeat the call after a moment")
        }
        DispatchError::NoSource => {
            ErrorBody::new(ErrorCode::SourceUnavailable, "This source is not running.").then(
                NextKind::Stop,
                "stop; tell the owner: plexusctl sources list",
            )
        }
        DispatchError::Unavailable { .. } if error.is_code_changed() => {
            code_changed(ErrorCode::SourceUnavailable, id, "")
        }
        DispatchError::Unavailable { reason, told, .. } => {
            ErrorBody::new(ErrorCode::SourceUnavailable, *told)
                .detail(json!({"reason": format!("{reason:?}")}))
                .then(NextKind::Stop, "stop; tell the owner: plexusctl status")
        }
        DispatchError::Deadline { .. } => ErrorBody::new(
            ErrorCode::DeadlineExceeded,
            "The source took longer than a call may take.",
        )
        .then(NextKind::Retry, "ask for less at once, or repeat the call"),
        DispatchError::Died { .. } => {
            ErrorBody::new(ErrorCode::SourceUnavailable, "The source's worker stopped.")
                .detail(json!({"reason": "stopped"}))
                .then(
                    NextKind::Retry,
                    "repeat the call; if it happens again, stop and tell the owner",
                )
        }
        DispatchError::TakenBack => {
            return refused(&Refusal::GrantRequired { constraint: None }, Some(id));
        }
        DispatchError::ShuttingDown => ErrorBody::new(ErrorCode::Busy, "The gateway is stopping.")
            .with("retryAfterMs", 2_000)
            .then(NextKind::Retry, "repeat the call when the gateway is back"),
    };
    error.about(id)
}

/// The same for the owner, who is told why no worker could be had.
pub(crate) fn undispatched_of_owner(
    error: &DispatchError,
    id: &CapabilityId,
    effect: bool,
) -> ErrorBody {
    let mut body = undispatched(error, id, effect);
    if let DispatchError::Unavailable { message, .. } = error {
        body.message.clone_from(message);
    }
    body
}

/// A worker's words to an agent, as the owner reads them: without what the agent is to pass on.
pub(crate) fn to_owner(words: &str) -> String {
    let words = words.strip_suffix("; tell the owner").unwrap_or(words);
    words
        .replace("tell the owner: ", "")
        .replace("tell the owner to ", "")
}

/// How an advice ends that sends an agent to the owner.
const FOR_THE_OWNER: [&str; 3] = [
    ", or stop and tell the owner",
    "; if it fails again, tell the owner",
    "; where no input says so, tell the owner",
];

/// The same as [`failed`] for the owner, who is told by nobody.
pub(crate) fn failed_of_owner(error: &WorkerError, id: &CapabilityId) -> ErrorBody {
    let mut body = failed(error, id);
    body.message = to_owner(&body.message);
    let Some(theirs) = body.next.strip_prefix("stop; tell the owner: ") else {
        let ours = FOR_THE_OWNER
            .iter()
            .find_map(|end| body.next.strip_suffix(*end));
        let next = ours.unwrap_or(&body.next).to_owned();
        return body.next(next);
    };
    let next = match error.code {
        Failure::SourceUnavailable => "plexusctl logs".to_owned(),
        _ => theirs.to_owned(),
    };
    body.next(next)
}

/// Reasons of a source that say of what the input names that it is not there, is there twice, or is not of a kind, or in a
/// state, that can be changed so. A reason that the owner or time can take away is not among them: such a card may be
/// approved later.
pub(crate) const OF_THE_INPUT: [&str; 23] = [
    "not_found",
    "no_change",
    "gone_already",
    "not_undoable",
    "not_kept",
    "not_done",
    "not_taken",
    "not_readable",
    "repeats",
    "already_done",
    "not_under_way",
    "nothing_left",
    "read_only",
    "ambiguous",
    "not_a_file",
    "not_a_directory",
    "not_text",
    "too_large",
    "symlink",
    "hard_link",
    "path_confinement",
    "leads_out",
    "odd_name",
];
/// Reasons of a source that say that what the input names is in a state which the owner, or time, takes away.
const OF_ITS_STATE: [&str; 9] = [
    "archived",
    "changed",
    "changing",
    "conflict",
    "exists",
    "gone",
    "hidden",
    "not_downloaded",
    "under_way",
];

/// Whether a reason says how the world is, and not that a server, a program or the machine failed: what could be planned
/// and ends so finds another world than the plan's.
pub(crate) fn is_of_the_world(reason: &str) -> bool {
    OF_THE_INPUT.contains(&reason) || OF_ITS_STATE.contains(&reason)
}

/// What an agent does next after its source refused a call, or failed at it, for this reason.
fn after_failure(reason: &str) -> (NextKind, &'static str) {
    use NextKind::{ReadFirst, Retry, Stop};
    match reason {
        "ambiguous" | "not_a_file" | "not_a_directory" | "odd_name" | SERVER_REFUSED => FIX,
        // No input changes it.
        "not_json" | "redirected" | "app_unauthorized" | "app_forbidden" | "permission"
        | "damaged" | "archived" | "hidden" | "repeats" | "not_done" | "not_taken"
        | "not_readable" | "not_downloaded" | "not_offered" | "not_safe" | "no_turn"
        | "not_under_way" | "nothing_left" | "read_only" | "unknown_caller" => {
            (Stop, "stop; tell the owner: the message says why")
        }
        "already_done" | "exists" => (Stop, "stop; tell the owner: this was done already"),
        "under_way" => (
            Stop,
            "wait for it to end, and look at what it did before you call again",
        ),
        "no_change" => (
            Stop,
            "give the id that `undo` of the answer to the change has",
        ),
        "not_kept" => (
            Stop,
            "stop; tell the owner: this can no longer be taken back",
        ),
        "not_found" => (
            ReadFirst,
            "list what is there, then repeat with an id or path that exists",
        ),
        "path_confinement" => (
            NextKind::LookUp,
            "give the path relative to the source's folder, then repeat the call",
        ),
        "symlink" | "hard_link" | "leads_out" => (
            Stop,
            "stop; tell the owner: this path is outside what the source serves",
        ),
        "too_large" => (
            Retry,
            "ask for less: a part of it, or a shorter range; where no input says so, tell the owner",
        ),
        // A server is at fault, and not the input.
        "rate_limited" => (
            Retry,
            "wait a minute, or as long as the answer says, then repeat the call",
        ),
        "timeout" | "timed_out" | "server_error" | "bad_answer" | "broken_off" | "turn_failed"
        | "agent_failed" | "agent_killed" | "no_host_tools" | "io" | "busy" | "out_of_time"
        | "app_failed" | "changing" | "over" => (
            Retry,
            "repeat the call after a moment; if it fails again, tell the owner",
        ),
        "key_refused" => (Stop, "stop; tell the owner: the message says what to do"),
        "disk_full" => (Stop, "stop; tell the owner: the disk is full"),
        "over_limit" => (Retry, "ask for less at once"),
        "conflict" => (ReadFirst, "look at what is there, then repeat the call"),
        _ => FIX_IF_NAMED,
    }
}

/// The facts that a worker's error has beside its words. What may have happened is not done again, whatever the app says of
/// when to come back.
fn detail_of(error: &WorkerError) -> Option<Value> {
    let mut detail = error.detail.clone()?;
    if error.effect != Effect::None
        && let Some(members) = detail.as_object_mut()
    {
        members.remove(RETRY_AFTER);
    }
    Some(detail)
}

/// What a worker's own error is on the wire.
pub fn failed(error: &WorkerError, id: &CapabilityId) -> ErrorBody {
    use ErrorCode as C;
    use NextKind::{ReadFirst, Retry, Stop};
    let (code, reason, (kind, next)) = match &error.code {
        Failure::TransportError { reason } => {
            let next = after_failure(reason.as_str());
            (C::TransportError, Some(reason.as_str().to_owned()), next)
        }
        Failure::PermissionDenied => (
            C::PermissionDenied,
            None,
            (Stop, "stop; tell the owner: the system refused access"),
        ),
        Failure::PreconditionChanged { reason } => {
            let next = match reason.as_str() {
                "unread" => (ReadFirst, "read it first, then repeat the call"),
                "definition_changed" => {
                    (Stop, "stop; tell the owner: the message names the command")
                }
                "already_applied" | "already_done" | "already_undone" | "gone_already" => {
                    (Stop, "stop; tell the owner: this was done already")
                }
                "changed_since" => (
                    Stop,
                    "take back the later change first, or stop and tell the owner",
                ),
                "outdated" => (
                    ReadFirst,
                    "do what the message says; the same call would be refused again",
                ),
                _ => (ReadFirst, "read it again, then repeat the call"),
            };
            (
                C::PreconditionChanged,
                Some(reason.as_str().to_owned()),
                next,
            )
        }
        Failure::ConstraintMiss { field } => {
            return ErrorBody::new(
                C::GrantRequired,
                format!(
                    "Your grant does not reach this value of '{}'.",
                    field.as_str()
                ),
            )
            .detail(json!({"constraintMiss": true, "field": field.as_str()}))
            .about(id)
            .then(Stop, "stop; tell the owner: this call needs a wider grant");
        }
        Failure::InvalidInput => (C::SchemaValidationFailed, None, FIX),
        Failure::DeadlineExceeded => (
            C::DeadlineExceeded,
            None,
            (Retry, "ask for less at once, or repeat the call"),
        ),
        Failure::Cancelled => (C::Cancelled, None, (Retry, CANCELLED_NEXT)),
        Failure::SourceUnavailable => (
            C::SourceUnavailable,
            None,
            (
                Stop,
                "stop; tell the owner: the app behind this source is not available",
            ),
        ),
        Failure::ScopeMissing { .. } => (
            C::TransportError,
            Some("scope_missing".to_owned()),
            (
                Stop,
                "stop; tell the owner: the server wants more than its sign-in or secret is good for (plexusctl status)",
            ),
        ),
        Failure::RatingExceeded { rating } => (
            C::ApprovalRequired,
            Some(rating.as_str().to_owned()),
            (NextKind::Wait, "wait for the owner's decision"),
        ),
        Failure::Busy => (C::Busy, None, (Retry, "repeat the call after a moment")),
        Failure::Refused { reason } => {
            (C::InternalError, Some(reason.as_str().to_owned()), PRINTED)
        }
        Failure::Internal => (C::InternalError, None, PRINTED),
    };
    let mut detail = detail_of(error).unwrap_or_else(|| json!({}));
    if let (Some(reason), Some(members)) = (reason, detail.as_object_mut()) {
        members.insert("reason".into(), reason.into());
    }
    let mut body = ErrorBody::new(code, error.message.as_str())
        .about(id)
        .effect(error.effect);
    if let Some(seconds) = detail.get(RETRY_AFTER).and_then(Value::as_u64) {
        body = body.with("retryAfterMs", seconds.saturating_mul(1_000));
    }
    body = body.then(kind, next);
    if detail.as_object().is_some_and(|d| !d.is_empty()) {
        body = body.detail(detail);
    }
    match error.effect {
        Effect::Unknown => body.then(Stop, "stop; tell the owner: look whether it happened"),
        Effect::Partial | Effect::Done => body.then(ReadFirst, PARTLY_DONE),
        Effect::None => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_ipc::worker::SourceError;

    #[test]
    fn owner_is_not_asked_to_tell_the_owner() {
        for (theirs, owners) in [
            ("it is off; tell the owner", "it is off"),
            (
                "no; tell the owner: plexusctl status",
                "no; plexusctl status",
            ),
            ("no; tell the owner to sign in", "no; sign in"),
            ("no", "no"),
        ] {
            assert_eq!(to_owner(theirs), owners);
        }
        let id: CapabilityId = "notes.write".parse().expect("an id");
        for reason in ["command_failed", "timeout", "too_large", "not_json"] {
            let body = failed_of_owner(&SourceError::transport(reason, "why"), &id);
            assert!(!body.next.contains("tell the owner"), "{}", body.next);
        }
    }

    #[test]
    fn call_stopped_by_the_owner_is_not_repeated() {
        let id: CapabilityId = "codex.run".parse().expect("an id");
        let kept = json!({"changes": "cs_1"});
        let error = SourceError::new(Failure::Cancelled, "it is kept").detail(kept);
        for (by, kind, next) in [
            (
                CancelledBy::Owner,
                NextKind::Stop,
                "tell the owner: this call was stopped",
            ),
            (CancelledBy::Agent, NextKind::Retry, CANCELLED_NEXT),
        ] {
            let body = stopped(failed(&error, &id), &error, by, &id);
            assert_eq!(body.next_action.map(|action| action.kind), Some(kind));
            assert!(body.next.contains(next), "{}", body.next);
            assert!(
                body.message.ends_with(" it: it is kept"),
                "{}",
                body.message
            );
            let detail = json!({"reason": by.word(), "changes": "cs_1"});
            assert_eq!(body.detail, Some(detail));
        }
    }

    #[test]
    fn failed_server_is_no_fault_of_the_input() {
        let id: CapabilityId = "caldav.events.list".parse().expect("an id");
        for (reason, kind, words) in [
            ("rate_limited", NextKind::Retry, "wait a minute"),
            ("timeout", NextKind::Retry, "tell the owner"),
            ("server_error", NextKind::Retry, "tell the owner"),
            ("bad_answer", NextKind::Retry, "tell the owner"),
            ("turn_failed", NextKind::Retry, "tell the owner"),
            ("key_refused", NextKind::Stop, "the message says"),
            ("over_limit", NextKind::Retry, "ask for less"),
            ("too_large", NextKind::Retry, "ask for less"),
            ("conflict", NextKind::ReadFirst, "look at what is there"),
            ("not_a_file", NextKind::LookUp, "fix the input, then"),
            ("server_refused", NextKind::LookUp, "fix the input, then"),
            ("command_failed", NextKind::Stop, "if the message names it"),
            ("tool_failed", NextKind::Stop, "if the message names it"),
            ("refused", NextKind::Stop, "if the message names it"),
            ("not_text", NextKind::Stop, "if the message names it"),
            ("not_json", NextKind::Stop, "the message says why"),
            ("redirected", NextKind::Stop, "the message says why"),
            ("app_unauthorized", NextKind::Stop, "the message says why"),
            ("app_forbidden", NextKind::Stop, "the message says why"),
            ("already_done", NextKind::Stop, "done already"),
            ("exists", NextKind::Stop, "done already"),
            ("under_way", NextKind::Stop, "look at what it did"),
            ("changing", NextKind::Retry, "tell the owner"),
            ("path_confinement", NextKind::LookUp, "relative to"),
            ("not_kept", NextKind::Stop, "no longer be taken back"),
            ("symlink", NextKind::Stop, "outside what the source serves"),
        ] {
            let body = failed(&SourceError::transport(reason, "why"), &id);
            let next = body.next_action.map(|action| action.kind);
            assert_eq!(next, Some(kind), "{reason}");
            assert!(body.next.contains(words), "{reason}: {}", body.next);
        }
        let waits = SourceError::transport("rate_limited", "why");
        let waits = waits.detail(json!({"retryAfterSeconds": 30}));
        let body = failed(&waits, &id);
        let after = body.next_action.and_then(|action| action.after_ms);
        assert_eq!(after, Some(30_000));
        // What may have happened is not done again after a while.
        for effect in [Effect::Unknown, Effect::Partial, Effect::Done] {
            let error = waits.clone().effect(effect);
            let body = failed(&error, &id);
            for body in [stopped(body.clone(), &error, CancelledBy::Agent, &id), body] {
                let said = serde_json::to_string(&body).expect("JSON");
                assert!(!said.contains("retryAfter"), "{said}");
                assert!(!said.contains("afterMs"), "{said}");
            }
        }
        for (reason, words) in [
            ("changed", "repeat the call"),
            ("outdated", "do what the message says"),
            ("changed_since", "the later change first"),
        ] {
            let body = failed(&SourceError::changed(reason, "why"), &id);
            assert!(body.next.contains(words), "{reason}: {}", body.next);
        }
    }
}
