//! An effect, from its intent to the record of its outcome: an agent's, an approved run's, the owner's own.
//!
//! ```text
//! intent durable ─▶ sent, once ─▶ worker's word ─▶ outcome durable
//!       └ not taken: nothing is done   └ none: its store is asked, else `unknown`
//! ```
//! Invariants: nothing here is retried. Once the commit frame may have been written the answer is the worker's outcome or
//! `unknown`; past the deadline it is `unknown`, and what is recorded is still the outcome. What streams leaves only
//! after the intent is durable.
//!
//! Must not know: how a principal is answered.

use crate::{
    bounded,
    events::Notice,
    kernel::Kernel,
    outcome, pend, refusal, run_cage,
    settle::Committed,
    touches,
    under_way::{CallUnderWay, CancelledBy, Principal},
};
use plexus_ipc::message::{Failure, Role};
use plexus_ledger::{Lane, SubmitError};
use plexus_protocol::{
    AuditId, CapabilityId, Effect, ErrorBody, ErrorCode, SourceId, error::left_set,
};
use plexus_record::audit_id;
use plexus_supervisor::{CallRequest, CommitTerms, DispatchError, Finished, Listener};
use plexus_trust::{Basis, Command, Outcome, OutcomeKind, Permit, Refusal, Touch};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Instant};

/// An effect that may be recorded and then happen.
pub(crate) struct Commit<'a> {
    pub(crate) call: &'a Arc<CallUnderWay>,
    pub(crate) source: &'a SourceId,
    pub(crate) intent: Command,
    pub(crate) request: CallRequest,
    pub(crate) terms: CommitTerms,
    /// What allows it; none for the owner's own.
    pub(crate) permit: Option<&'a Permit>,
    /// It is held against nothing being there, because its agent has not read what is.
    pub(crate) unread: bool,
    /// It is kept until the intent is durable, and no longer.
    pub(crate) until_intended: Box<dyn Send + 'a>,
}

/// An effect that is over.
pub(crate) struct FinishedEffect {
    /// The event of its intent.
    pub(crate) intent: AuditId,
    pub(crate) result: Result<Box<RawValue>, Box<Failed>>,
    pub(crate) outcome: Outcome,
    /// Whether its source has no answer, and knows only that it happened.
    pub(crate) is_answer_lost: bool,
    /// Whether the outcome is recorded.
    pub(crate) recorded: bool,
}

/// How an effect that did not succeed is answered.
pub(crate) struct Failed {
    pub(crate) error: ErrorBody,
    /// The status, where it was never sent.
    pub(crate) status: Option<u16>,
    /// How it is more than the permit covers; nothing was done then.
    pub(crate) beyond: Option<Beyond>,
    /// Whether it lies outside of a narrowed grant and goes on as a question.
    pub(crate) asks: bool,
}

/// How a call turns out to be more than its permit covers, as its source found.
#[derive(Clone, Copy)]
pub(crate) enum Beyond {
    /// It would do what is rated so.
    Rating,
    /// It lies outside of the constraint.
    Constraint,
}

/// Why there is no outcome.
pub(crate) enum NoOutcome {
    /// There is no intent, so nothing was done.
    NotIntended(SubmitError<Refusal>),
    /// Another program lies where one of the source's was, so nothing is done.
    ProgramChanged,
    /// The daemon stops before the source could say; the next start asks.
    Open(AuditId),
}

/// Records and commits. `late` is called when its deadline has passed and its outcome is not known yet.
pub(crate) async fn commit(
    kernel: &Arc<Kernel>,
    commit: Commit<'_>,
    late: impl FnOnce(&AuditId) + Send,
) -> Result<FinishedEffect, NoOutcome> {
    let Commit {
        call,
        source,
        intent,
        mut request,
        terms,
        permit,
        unread,
        until_intended,
    } = commit;
    // Boxed: most sources start no program.
    let code = Box::pin(kernel.compared(source, Role::Writer)).await;
    if code.as_ref().is_err_and(DispatchError::is_code_changed) {
        return Err(NoOutcome::ProgramChanged);
    }
    let (about, makes_sets) = (named(&intent), makes_sets(kernel, &call.capability));
    let submitted = match call.principal.agent() {
        Some(agent) => kernel.submit_for(agent, intent).await,
        None => kernel.ledger.submit(intent, Lane::Owner).await,
    };
    let receipt = submitted.map_err(|error| {
        outcome::never_sent(kernel, &error);
        NoOutcome::NotIntended(error)
    })?;
    let durable = receipt.durable.ok_or_else(|| {
        let why = "the intent left no record".to_owned();
        NoOutcome::NotIntended(SubmitError::Unavailable(why))
    })?;
    drop(until_intended);
    let intent = audit_id(durable.audit_id());
    call.intended(&intent);
    run_cage::note(kernel, source, &call.capability, &intent).await;
    let started = Instant::now();
    let (input_bytes, revision) = (request.input.len() as u64, request.revision);
    request.audit = Some(intent.clone());
    request.cancel = Some(call.cancel_signal());
    request.progress = Some(listener(kernel, call));
    if let Some(permit) = permit {
        let (kernel, call, permit) = (kernel.clone(), call.clone(), permit.clone());
        // The owner may revoke after the intent was recorded: that is heeded until the frame is written.
        request.stands = plexus_supervisor::Stands::while_so(move || {
            call.cancelled_by().is_none()
                && permit.not_taken_back(&kernel.ledger.snapshot())
                && unsaved(&kernel, &permit).is_none()
        });
    }
    let proof = (code, &durable, &intent);
    let is_late = || {
        kernel.under_way.mark_late(call);
        late(&intent);
    };
    let committed = kernel.commit(source, request, terms, proof, is_late).await;
    let Some(committed) = committed else {
        return Err(NoOutcome::Open(intent));
    };
    let planned = terms.state_token.is_some();
    let mut outcome = Outcome {
        progress: call.streamed(),
        ..outcome::failed(input_bytes, started.elapsed())
    };
    let not_sent = permit.map(|permit| move || not_sent(kernel, call, permit));
    let is_answer_lost = matches!(committed, Committed::Settled);
    let mut result = judged(call, committed, not_sent, unread, planned, &mut outcome);
    let is_answered = matches!(outcome.kind, OutcomeKind::Ok) && !is_answer_lost;
    if !is_answered && outcome.touched.is_empty() {
        outcome.touched = about;
    }
    if is_answer_lost {
        outcome.undo = kernel.undo_of_lost(&call.capability, &intent);
    }
    if let Err(failed) = &mut result {
        outcome.code = Some(failed.error.code.as_str().to_owned());
        outcome.reason = failed.error.reason().map(str::to_owned);
        let is_outside = matches!(failed.beyond, Some(Beyond::Constraint));
        failed.asks = is_outside && permit.is_some_and(|permit| pend::may_ask(kernel, permit));
        if failed.asks {
            outcome.code = Some(ErrorCode::ApprovalRequired.as_str().to_owned());
            outcome.reason = Some(pend::OUTSIDE.to_owned());
        }
        outcome.summary = makes_sets.then(|| kept_of(&failed.error)).flatten();
        if failed.error.code == ErrorCode::Cancelled {
            outcome.reason = call.cancelled_by().map(|by| by.word().to_owned());
            if outcome.reason.is_none()
                && let Some((why, words)) = unasked(kernel, source, revision)
            {
                let error = &mut failed.error;
                error.message = format!("{words}: {}", error.message);
                outcome.reason = Some(why.to_owned());
            }
        }
    }
    let agent = call.principal.agent();
    let recorded = outcome::record(kernel, agent, &intent, outcome.clone()).await;
    Ok(FinishedEffect {
        intent,
        result,
        outcome,
        is_answer_lost,
        recorded: recorded.is_ok(),
    })
}

/// The things that an intent names, without their digests, which are of before. They are recorded with the outcome of a call that
/// was refused, failed, is unknown or lost its answer, if its worker names none: its line and a search for a thing then name them.
fn named(intent: &Command) -> Vec<Touch> {
    let (Command::Intent { about, .. } | Command::OwnerIntent { about, .. }) = intent else {
        return Vec::new();
    };
    about.iter().cloned().map(Touch::without_digest).collect()
}

/// The cause of a cancel that nobody asked for: for the log, and in words.
fn unasked(
    kernel: &Kernel,
    source: &SourceId,
    revision: u64,
) -> Option<(&'static str, &'static str)> {
    if kernel.is_stopping() {
        return Some(("stop", "The gateway was stopped"));
    }
    let state = kernel.ledger.snapshot();
    let known = state.sources.get(source);
    let is_same = known.is_some_and(|known| known.revision == revision && known.config.enabled);
    (!is_same).then_some(("source", "Its source was disabled, changed or removed"))
}

/// The refusal where the owner took back what a call stands on and it could not be saved.
fn unsaved(kernel: &Kernel, permit: &Permit) -> Option<Refusal> {
    let token = permit.token.as_ref();
    let held = kernel
        .revocations
        .refuses(&permit.agent, &permit.capability, token);
    held.or_else(|| match &permit.basis {
        Basis::Bounded(item) => bounded::held_back(kernel, &permit.agent, item),
        Basis::Grant(_) | Basis::Item(_) => None,
    })
}

/// Why an effect was not sent although its intent is recorded.
fn not_sent(kernel: &Kernel, call: &CallUnderWay, permit: &Permit) -> ErrorBody {
    let revoked = || unsaved(kernel, permit).unwrap_or(Refusal::GrantRequired { constraint: None });
    let refusal = match call.cancelled_by() {
        Some(by @ (CancelledBy::Agent | CancelledBy::Owner)) => {
            return refusal::cancelled(by, &call.capability);
        }
        Some(CancelledBy::Pause) => Refusal::Paused,
        None if kernel.ledger.snapshot().paused => Refusal::Paused,
        Some(CancelledBy::Revoke) | None => revoked(),
    };
    refusal::refused(&refusal, Some(&call.capability))
}

/// Keeps what the call streams, and tells its agent that there is something.
fn listener(kernel: &Arc<Kernel>, call: &Arc<CallUnderWay>) -> Listener {
    let (kernel, call) = (kernel.clone(), call.clone());
    Listener::new(move |chunk, credit| {
        let news = call.progress().push(chunk, credit);
        if let (Some(next), Some(run), Principal::Agent { id, epoch, .. }) =
            (news, &call.run, &call.principal)
        {
            kernel.feed.publish(Notice::InvokeProgress {
                agent: id.clone(),
                epoch: *epoch,
                run: run.clone(),
                id: call.capability.to_string(),
                next,
            });
        }
    })
}

/// The outcome for the log, and the answer.
fn judged(
    call: &CallUnderWay,
    committed: Committed,
    not_sent: Option<impl FnOnce() -> ErrorBody>,
    unread: bool,
    planned: bool,
    outcome: &mut Outcome,
) -> Result<Box<RawValue>, Box<Failed>> {
    let id = &call.capability;
    let failed = |error, status| {
        Box::new(Failed {
            error,
            status,
            beyond: None,
            asks: false,
        })
    };
    match committed {
        Committed::Dispatch(error) => {
            let error = match (error, not_sent) {
                (DispatchError::TakenBack, Some(why)) => why(),
                (error, None) => refusal::undispatched_of_owner(&error, id, true),
                (error, Some(_)) => refusal::undispatched(&error, id, true),
            };
            outcome.kind = match (error.effect, error.code) {
                (Effect::Unknown, _) => OutcomeKind::Unknown,
                (_, ErrorCode::Cancelled) => OutcomeKind::Failed,
                _ => OutcomeKind::Refused,
            };
            let sent = matches!(outcome.kind, OutcomeKind::Unknown | OutcomeKind::Failed);
            let status = (!sent).then(|| error.code.status());
            Err(failed(error, status))
        }
        Committed::Undone => {
            outcome.kind = OutcomeKind::Refused;
            let died = DispatchError::Died { dispatched: false };
            Err(failed(refusal::undispatched(&died, id, true), None))
        }
        Committed::Settled => {
            outcome.kind = OutcomeKind::Ok;
            Ok(RawValue::NULL.to_owned())
        }
        Committed::Finished(Finished { result, touched }) => {
            outcome.touched = touches::reported(&touched);
            let mut error = match result {
                Ok(answer) => {
                    outcome.kind = OutcomeKind::Ok;
                    outcome.output_bytes = answer.output.len() as u64;
                    let summary = answer.summary.as_str();
                    outcome.summary = (!summary.is_empty()).then(|| summary.to_owned());
                    outcome.undo = answer.undo.as_ref().map(|u| u.as_str().to_owned());
                    return Ok(answer.output.into_json());
                }
                Err(error) => error,
            };
            // What could be planned and now cannot be: the world moved between the card and the commit.
            if let Failure::TransportError { reason } = &error.code
                && planned
                && error.effect == Effect::None
                && refusal::is_of_the_world(reason.as_str())
            {
                let reason = reason.clone();
                error.code = Failure::PreconditionChanged { reason };
            }
            if unread && let Failure::PreconditionChanged { reason } = &mut error.code {
                *reason = "unread".into();
            }
            outcome.kind = match (error.effect, &error.code) {
                (Effect::Unknown, _) => OutcomeKind::Unknown,
                (
                    Effect::None,
                    Failure::PreconditionChanged { .. }
                    | Failure::RatingExceeded { .. }
                    | Failure::ConstraintMiss { .. }
                    | Failure::Busy,
                ) => OutcomeKind::Refused,
                (Effect::None | Effect::Partial | Effect::Done, _) => OutcomeKind::Failed,
            };
            let beyond = match (&error.code, error.effect) {
                (Failure::RatingExceeded { .. }, Effect::None) => Some(Beyond::Rating),
                (Failure::ConstraintMiss { .. }, Effect::None) => Some(Beyond::Constraint),
                _ => None,
            };
            let mut body = refusal::failed(&error, id);
            let is_cancelled = error.code == Failure::Cancelled;
            let is_done = matches!(error.effect, Effect::Partial | Effect::Done);
            outcome.effect = (is_cancelled || is_done).then_some(error.effect);
            if is_cancelled && let Some(by) = call.cancelled_by() {
                body = refusal::stopped(body, &error, by, id);
            }
            Err(Box::new(Failed {
                error: body,
                status: matches!(beyond, Some(Beyond::Constraint)).then_some(401),
                beyond,
                asks: false,
            }))
        }
    }
}

/// Whether the source of a capability makes change sets. One that is disabled while a call is under way is not known after it.
fn makes_sets(kernel: &Kernel, capability: &CapabilityId) -> bool {
    let entry = kernel.catalogue.load().get(capability).cloned();
    entry.is_some_and(|entry| entry.connector.offer.manifest.change_sets.is_some())
}

/// In words, the change set that a call which failed or was ended has left, where it names one.
fn kept_of(error: &ErrorBody) -> Option<String> {
    let id = left_set(error.detail.as_ref())?;
    Some(format!("what it did until then is in the change set {id}"))
}
