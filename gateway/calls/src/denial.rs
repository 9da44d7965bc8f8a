//! Calls that are not made: the answer, and the record of it.

use crate::{
    answer::Answer,
    call::{Asked, Caller},
    kernel::Kernel,
    refusal::{self, refused},
};
use plexus_ipc::manifest::EntryKind;
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Effect, ErrorBody, ErrorCode, NextKind, SessionId,
    body::InvokeResponse,
};
use plexus_record::audit_id;
use plexus_trust::{Command, Note, OutcomeKind, Refusal};
use std::sync::Arc;

/// The answer of an approved call whose input or source is gone: it was not made.
pub(crate) fn lost(id: &CapabilityId) -> Answer {
    let error = ErrorBody::new(
        ErrorCode::SourceUnavailable,
        "The approved call was not made: its input, or its source, is no longer there.",
    )
    .about(id)
    .then(NextKind::Retry, "ask again");
    Answer::refused(id.as_str(), error, None)
}

/// The answer of a call that the ledger does not take: nothing was done.
pub(crate) fn unrecorded(id: &CapabilityId, why: &plexus_ledger::SubmitError<Refusal>) -> Answer {
    Answer::refused(id.as_str(), refusal::not_recorded(why, Some(id)), None)
}

/// The answer of an approved call of which only the outcome is known.
pub(crate) fn of_outcome(id: &CapabilityId, outcome: OutcomeKind) -> Answer {
    let error = match outcome {
        OutcomeKind::Ok => {
            return Answer::dispatched(InvokeResponse {
                output_omitted: true,
                ..InvokeResponse::ok(id.as_str(), None)
            });
        }
        OutcomeKind::Unknown => refusal::unknown_outcome(id),
        OutcomeKind::Failed => ErrorBody::new(
            ErrorCode::TransportError,
            "The approved call was made and failed; its answer was lost.",
        )
        .effect(Effect::Unknown)
        .about(id)
        .then(NextKind::ReadFirst, "look at what it was to change before you ask again"),
        OutcomeKind::Refused => ErrorBody::new(
            ErrorCode::TransportError,
            "Nothing was done: the approved call was refused, or its owner found that it did not happen.",
        )
        .about(id)
        .then(NextKind::Retry, "ask again"),
    };
    Answer::dispatched(InvokeResponse::refused(id.as_str(), error, None))
}

/// A refusal before dispatch, recorded.
pub(crate) async fn deny(
    kernel: &Arc<Kernel>,
    caller: &Caller,
    id: &str,
    refusal: Refusal,
) -> Answer {
    let error = refused(&refusal, CapabilityId::parse(id).ok().as_ref());
    let mut answer = refuse(kernel, caller, id, error).await;
    if refusal == Refusal::NotCallable {
        // Clients take this for the failure of a call, as the recordings have it.
        answer.status = 200;
    }
    answer
}

/// A skill that goes with something the agent sees is in its manifest too: it learns what it called, not that there is
/// nothing.
pub(crate) fn of_skill(kernel: &Kernel, asked: &Asked, refusal: Refusal) -> Refusal {
    if refusal != Refusal::UnknownCapability || asked.entry.capability().kind != EntryKind::Skill {
        return refusal;
    }
    let state = kernel.ledger.snapshot();
    let seen = state.agent(&asked.caller.agent).is_some_and(|agent| {
        let catalogue = kernel.catalogue.load();
        let view = catalogue.view(&state, agent, kernel.clock.now());
        view.iter().any(|entry| entry.id == asked.entry.id)
    });
    if seen { Refusal::NotCallable } else { refusal }
}

pub(crate) async fn invalid(kernel: &Arc<Kernel>, asked: &Asked, why: &str) -> Answer {
    let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, why)
        .about(asked.id())
        .then(NextKind::LookUp, "GET /manifest");
    refuse(kernel, &asked.caller, asked.id().as_str(), error).await
}

/// Refuses a call before dispatch in these words, and records it.
pub async fn refuse(kernel: &Arc<Kernel>, caller: &Caller, id: &str, error: ErrorBody) -> Answer {
    // Boxed, as is all that few calls come to: else every call would carry, and copy, a future with room for it.
    let session = caller.by.session();
    let audit = Box::pin(note_denial(kernel, &caller.agent, session, id, &error)).await;
    Answer::refused(id, error, audit.as_ref())
}

/// Records a refused call. Not being able to does not turn a refusal into anything else.
pub(crate) async fn note_denial(
    kernel: &Kernel,
    agent: &AgentId,
    session: Option<&SessionId>,
    id: &str,
    error: &ErrorBody,
) -> Option<AuditId> {
    let mut about = serde_json::json!({"code": error.code});
    if let Some(session) = session {
        about["sessionId"] = session.as_str().into();
    }
    if let Some(detail) = &error.detail {
        about["detail"] = detail.clone();
    }
    let unrecorded = kernel.limits.records_denial(agent, error.code)?;
    if unrecorded > 0 {
        about["unrecorded"] = unrecorded.into();
    }
    let capability = CapabilityId::parse(id).ok();
    if capability.is_none() {
        about["asked"] = plexus_sources::narration::cut(id, 80).into();
    }
    let note = Note {
        kind: "invoke",
        agent: Some(agent.clone()),
        capability,
        outcome: Some("denied"),
        detail: about,
    };
    let receipt = kernel.submit_for(agent, Command::Note(note)).await;
    receipt.ok()?.events.first().map(|e| audit_id(e.id))
}

/// Records how many refused calls were too many to be recorded one by one, once that is over.
pub async fn note_unrecorded(kernel: &Kernel, all: bool) {
    // Each note stands for one of them itself.
    let not_admitted = kernel
        .limits
        .not_admitted()
        .into_iter()
        .map(|(agent, refused)| {
            let about = serde_json::json!({
                "code": ErrorCode::RateLimited, "unrecorded": refused.calls + refused.ledger - 1,
                "detail": {"calls": refused.calls, "ledger": refused.ledger},
            });
            (agent, about)
        });
    let unrecorded = kernel
        .limits
        .unrecorded(all)
        .into_iter()
        .map(|(agent, unrecorded)| {
            let about =
                serde_json::json!({"code": unrecorded.code, "unrecorded": unrecorded.count - 1});
            (agent, about)
        });
    for (agent, detail) in not_admitted.chain(unrecorded) {
        kernel
            .note(Note {
                kind: "invoke",
                agent: Some(agent),
                capability: None,
                outcome: Some("denied"),
                detail,
            })
            .await;
    }
}
