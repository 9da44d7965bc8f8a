//! Calls that are not made: the answer, and the record of it.

use crate::{
    answer::Answer,
    call::{Asked, Caller, CallerProof},
    kernel::Kernel,
    refusal::{self, refused},
    touches,
};
use plexus_ipc::manifest::EntryKind;
use plexus_ledger::SubmitError;
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Effect, ErrorBody, ErrorCode, NextKind, SessionId,
    body::InvokeResponse,
};
use plexus_record::audit_id;
use plexus_trust::{Basis, Command, ItemState, Note, OutcomeKind, Refusal};
use serde_json::{Value, json};
use std::sync::Arc;

/// A call that is not made, as far as it is known.
pub struct RefusedCall<'a> {
    agent: &'a AgentId,
    session: Option<&'a SessionId>,
    /// The capability, as it was typed.
    id: &'a str,
    input: Option<&'a Value>,
    basis: Option<Basis>,
}

impl<'a> From<(&'a AgentId, &'a str)> for RefusedCall<'a> {
    fn from((agent, id): (&'a AgentId, &'a str)) -> Self {
        Self {
            agent,
            session: None,
            id,
            input: None,
            basis: None,
        }
    }
}

impl<'a> From<(&'a Caller, &'a str)> for RefusedCall<'a> {
    fn from((caller, id): (&'a Caller, &'a str)) -> Self {
        Self {
            session: caller.by.session(),
            basis: match &caller.by {
                CallerProof::Approval(item) => Some(Basis::Item(item.clone())),
                CallerProof::Turn(item) => Some(Basis::Bounded(item.clone())),
                CallerProof::Token { .. } | CallerProof::Session(_) | CallerProof::Grant => None,
            },
            ..Self::from((&caller.agent, id))
        }
    }
}

impl<'a> From<&'a Asked> for RefusedCall<'a> {
    fn from(asked: &'a Asked) -> Self {
        Self::from((&asked.caller, asked.id().as_str())).with(&asked.input)
    }
}

impl<'a> RefusedCall<'a> {
    /// With the input that it came with.
    #[must_use]
    pub fn with(self, input: &'a Value) -> Self {
        let input = Some(input);
        Self { input, ..self }
    }

    /// With what had allowed it.
    pub(crate) fn on(self, basis: &Basis) -> Self {
        let basis = Some(basis.clone());
        Self { basis, ..self }
    }
}

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
pub(crate) fn unrecorded(id: &CapabilityId, why: &SubmitError<Refusal>) -> Answer {
    Answer::refused(id.as_str(), refusal::not_recorded(why, Some(id)), None)
}

/// The answer of an approved call of which only the outcome is known, and its `intent`, by which the owner settles one of an
/// unknown outcome.
pub(crate) fn of_outcome(
    id: &CapabilityId,
    outcome: OutcomeKind,
    intent: Option<&AuditId>,
) -> Answer {
    let error = match outcome {
        OutcomeKind::Ok => {
            return Answer::dispatched(InvokeResponse {
                output_omitted: true,
                ..InvokeResponse::ok(id.as_str(), intent)
            });
        }
        OutcomeKind::Unknown => refusal::unknown_outcome(id, intent),
        OutcomeKind::Failed => ErrorBody::new(
            ErrorCode::TransportError,
            "A part of the approved call may have been done; its answer was lost.",
        )
        .effect(Effect::Unknown)
        .about(id)
        .then(
            NextKind::ReadFirst,
            "look at what it was to change before you ask again",
        ),
        OutcomeKind::Refused => ErrorBody::new(
            ErrorCode::TransportError,
            "Nothing was done of the approved call, and its answer was lost.",
        )
        .about(id)
        .then(NextKind::Retry, "ask again"),
    };
    Answer::dispatched(InvokeResponse::refused(id.as_str(), error, intent))
}

/// A refusal before dispatch, recorded.
pub(crate) async fn deny<'a>(
    kernel: &Arc<Kernel>,
    call: impl Into<RefusedCall<'a>>,
    refusal: Refusal,
) -> Answer {
    let call = call.into();
    let id = CapabilityId::parse(call.id).ok();
    let is_ended = refusal == (Refusal::GrantRequired { constraint: None });
    let error = match &id {
        Some(id) if is_ended && is_of_changed(kernel, &call, id) => refusal::program_changed(id),
        id => refused(&refusal, id.as_ref()),
    };
    let mut answer = refuse(kernel, call, error).await;
    if refusal == Refusal::NotCallable {
        // Clients take this for the failure of a call, as the recordings have it.
        answer.status = 200;
    }
    answer
}

/// Whether it was approved, and its approval ended because its source runs something else now.
fn is_of_changed(kernel: &Kernel, call: &RefusedCall<'_>, id: &CapabilityId) -> bool {
    let Some(Basis::Item(item)) = &call.basis else {
        return false;
    };
    let state = kernel.ledger.snapshot();
    let source = state.sources.get(id.parts().0);
    source.is_some_and(|source| source.stopped.is_some())
        && state
            .item(item)
            .is_some_and(|item| matches!(item.state, ItemState::Void { .. }))
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
    refuse(kernel, asked, error).await
}

/// Refuses a call before dispatch in these words, and records it.
pub async fn refuse<'a>(
    kernel: &Arc<Kernel>,
    call: impl Into<RefusedCall<'a>>,
    error: ErrorBody,
) -> Answer {
    let call = call.into();
    let id = call.id;
    // Boxed, as is all that few calls come to: else every call would carry, and copy, a future with room for it.
    let audit = Box::pin(note_denial(kernel, call, &error)).await;
    Answer::refused(id, error, audit.as_ref())
}

/// Records that an agent was refused something other than a call because all agents are paused, as a refused call of it is.
pub async fn note_paused<T>(
    kernel: &Arc<Kernel>,
    agent: &AgentId,
    made: &Result<T, SubmitError<Refusal>>,
) {
    if matches!(made, Err(SubmitError::Refused(Refusal::Paused))) {
        let error = refused(&Refusal::Paused, None);
        refuse(kernel, (agent, ""), error).await;
    }
}

/// Records a refused call: of its input what names the things that it is about, as of a call that is made. Not being able to
/// does not turn a refusal into anything else.
pub(crate) async fn note_denial<'a>(
    kernel: &Kernel,
    call: impl Into<RefusedCall<'a>>,
    error: &ErrorBody,
) -> Option<AuditId> {
    let RefusedCall {
        agent,
        session,
        id,
        input,
        basis,
    } = call.into();
    let mut about = json!({"code": error.code});
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
    let entry = capability.as_ref();
    let entry = entry.and_then(|id| kernel.catalogue.load().get(id).cloned());
    let touched = entry.map(|entry| {
        // An input that no schema admits names nothing: it may be anything, a secret too.
        let input = input.filter(|input| entry.check(input).is_ok());
        touches::about(kernel, &entry, input, basis.as_ref(), None)
    });
    if let Some(touched) = touched.filter(|touched| !touched.is_empty()) {
        about["touched"] = json!(touched);
    }
    if let Some(basis) = basis {
        about["basis"] = json!(basis);
    }
    if capability.is_none() && !id.is_empty() {
        about["asked"] = plexus_protocol::words::cut(id, 80).into();
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
            let about = json!({
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
            let about = json!({"code": unrecorded.code, "unrecorded": unrecorded.count - 1});
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
