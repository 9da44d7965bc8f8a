//! Effects: recorded as an intent, committed once by the writer, recorded as an outcome.
//!
//! Invariant: nothing here is retried. Once the commit frame may have been written, the answer is the worker's outcome
//! or `unknown`; past the deadline it is `unknown`, and what is recorded is still the outcome.

use super::{change_author, outcome, pend, read, refusal, settle::Committed};
use crate::{
    answer::Answer, call::CallerProof, contents::Reader, kernel::Kernel, permit::Permitted,
};
use plexus_ipc::message::{Content, Failure, TouchedId};
use plexus_protocol::{Digest, Effect, ErrorBody, ErrorCode, Verb, body::InvokeResponse};
use plexus_record::audit_id;
use plexus_supervisor::{CommitTerms, DispatchError, Finished, Stands};
use plexus_trust::{Basis, Command, Outcome, OutcomeKind, Refusal, Touch};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Instant};

/// `late` is told the answer when the deadline has passed and the outcome is not known yet; nobody waits then for what
/// is returned.
pub(super) async fn run(
    kernel: Arc<Kernel>,
    permitted: Permitted,
    key: Option<Digest>,
    late: impl FnOnce(Answer) + Send,
) -> Answer {
    let (asked, permit) = permitted.into_parts();
    let mark = kernel.revocations.mark();
    let id = asked.id().clone();
    if permit.state_token.is_none() && is_anothers(&kernel, &asked).await {
        return beyond(&kernel, asked, None).await;
    }
    let input_bytes = asked.canonical.len() as u64;
    let reader = Reader {
        agent: &asked.caller.agent,
        epoch: permit.agent_epoch(),
    };
    let held = held_against(&kernel, &asked, reader, permit.state_token.is_some());
    let intent = Command::Intent {
        permit: permit.clone(),
        input_bytes,
        about: about(&kernel, &asked, &permit.basis, held),
        key,
    };
    let receipt = match kernel.submit_for(&asked.caller.agent, intent).await {
        Ok(receipt) => receipt,
        Err(plexus_ledger::SubmitError::Refused(refusal)) => {
            return crate::denial::deny(&kernel, &asked.caller, id.as_str(), refusal).await;
        }
        Err(error) => {
            outcome::never_sent(&kernel, &error);
            return crate::denial::unrecorded(&id, &error);
        }
    };
    let Some(durable) = receipt.durable else {
        let body = ErrorBody::new(
            ErrorCode::AuditUnavailable,
            "The intent left no record, so nothing was done.",
        );
        return Answer::refused(id.as_str(), body.about(&id), None);
    };
    let audit = audit_id(durable.audit_id());
    let started = Instant::now();
    let terms = CommitTerms {
        state_token: permit.state_token,
        expect: held.map(|(content, _)| content),
        permit_rating: permit.rating,
    };
    let mut request = read::call_request(&asked, &permit);
    request.audit = Some(audit.clone());
    // The owner may revoke after the intent was recorded: that is heeded until the frame is written.
    request.stands = Stands::while_so({
        let (kernel, permit) = (kernel.clone(), permit.clone());
        move || {
            let token = permit.token.as_ref();
            permit.not_taken_back(&kernel.ledger.snapshot())
                && !kernel
                    .revocations
                    .since(mark, &permit.agent, &permit.capability, token)
                // Taken back between its authorization and `mark`, which could not be saved.
                && kernel
                    .revocations
                    .refuses(&permit.agent, &permit.capability, token)
                    .is_none()
        }
    });
    let unknown = || {
        let error = refusal::unknown_outcome(&id);
        Answer::dispatched(InvokeResponse::refused(id.as_str(), error, Some(&audit)))
    };
    // Until the outcome is recorded.
    let mut _not_again = None;
    let is_late = || {
        let call = (asked.caller.agent.clone(), id.clone(), asked.digest);
        _not_again = Some(kernel.late.holds(&audit, call));
        late(unknown());
    };
    let (source, proof) = (&asked.entry.source, (&durable, &audit));
    let committed = match kernel.commit(source, request, terms, proof, is_late).await {
        // The next start asks what became of it.
        None => return unknown(),
        // Between intent and dispatch: nothing was sent.
        Some(Committed::Dispatch(DispatchError::TakenBack)) => {
            let paused = kernel.ledger.snapshot().paused || kernel.revocations.paused_since(mark);
            let unsaved = kernel.revocations.refuses(
                &permit.agent,
                &permit.capability,
                permit.token.as_ref(),
            );
            Err(match paused {
                true => Refusal::Paused,
                false => unsaved.unwrap_or(Refusal::GrantRequired { constraint: None }),
            })
        }
        Some(committed) => Ok(committed),
    };
    let unread = held.is_some_and(|(_, known)| !known);
    let planned = permit.state_token.is_some();
    let (result, mut outcome) = judge(&asked, committed, unread, planned, started);
    outcome.input_bytes = input_bytes;

    if let Err(Judged {
        rating: Some(rating),
        ..
    }) = &result
    {
        // More than the permit covers: nothing was done; it becomes a question for the owner.
        let _ = outcome::record(&kernel, Some(&asked.caller.agent), &audit, outcome).await;
        let purpose = format!("rated {} when it was about to be done", rating.as_str());
        return beyond(&kernel, asked, Some(purpose)).await;
    }
    let touched = outcome.touched.clone();
    let undo = outcome.undo.clone();
    if outcome::record(&kernel, Some(&asked.caller.agent), &audit, outcome)
        .await
        .is_err()
    {
        return unknown();
    }
    match result {
        Ok(output) => {
            kernel
                .contents
                .learn_touches(reader, &asked.entry.source, &touched);
            Answer::dispatched(InvokeResponse {
                output: Some(output),
                undo,
                ..InvokeResponse::ok(id.as_str(), Some(&audit))
            })
        }
        Err(judged) => {
            let mut answer = Answer::dispatched(InvokeResponse::refused(
                id.as_str(),
                judged.error,
                Some(&audit),
            ));
            if let Some(status) = judged.status {
                answer.status = status;
            }
            answer
        }
    }
}

/// How an effect that was refused or failed is recorded.
pub(super) fn kind_of(error: &ErrorBody) -> OutcomeKind {
    match (error.effect, error.code) {
        (Effect::Unknown, _) => OutcomeKind::Unknown,
        (Effect::None, ErrorCode::PreconditionChanged | ErrorCode::Busy) => OutcomeKind::Refused,
        (Effect::None | Effect::Done, _) => OutcomeKind::Failed,
    }
}

/// How a commit that did not succeed is answered.
struct Judged {
    error: ErrorBody,
    /// The status, where the call was never dispatched.
    status: Option<u16>,
    /// The plan's rating, where it exceeds the permit.
    rating: Option<Verb>,
}

/// What a write is held against whose plan the owner did not see, a standing one or one with any input: the agent's own
/// knowledge of what is there. With it, whether it had any.
fn held_against(
    kernel: &Kernel,
    asked: &crate::call::Asked,
    reader: Reader<'_>,
    planned: bool,
) -> Option<(Content, bool)> {
    if let Some(given) = asked
        .input
        .get("ifDigest")
        .and_then(|v| v.as_str())
        .and_then(Content::parse)
    {
        return Some((given, true));
    }
    if planned {
        return None; // an approved plan is held against its state token
    }
    let field = asked
        .entry
        .capability()
        .constrainable
        .iter()
        .find(|c| c.touched.is_some())?;
    let id = asked.input.get(&field.field)?.as_str()?;
    match kernel.contents.known(reader, &asked.entry.source, id) {
        Some(digest) => Some((Content::Is(digest), true)),
        // Never read here: it may create, and nothing else.
        None => Some((Content::Absent, false)),
    }
}

/// What an effect is about to change: by its approved plan, else by the field of its input that names it.
fn about(
    kernel: &Kernel,
    asked: &crate::call::Asked,
    basis: &Basis,
    held: Option<(Content, bool)>,
) -> Vec<Touch> {
    if let Basis::Item(item) = basis
        && let Some(planned) =
            kernel
                .approvals
                .would_touch(&kernel.ledger.snapshot(), item, asked.id())
    {
        return read::touches(&planned);
    }
    let named = |rule: &plexus_ipc::manifest::Constrainable| {
        let id = asked.input.get(&rule.field)?.as_str()?;
        Some(Touch {
            kind: rule.touched.clone()?,
            id: TouchedId::new(id).as_str().to_owned(),
            access: Verb::Write,
            digest: match held {
                Some((Content::Is(digest), _)) => Some(digest),
                _ => None,
            },
        })
    };
    let rules = &asked.entry.capability().constrainable;
    rules.iter().filter_map(named).collect()
}

fn judge(
    asked: &crate::call::Asked,
    committed: Result<Committed, Refusal>,
    unread: bool,
    planned: bool,
    started: Instant,
) -> (Result<Box<RawValue>, Judged>, Outcome) {
    let id = asked.id();
    let mut outcome = Outcome {
        kind: OutcomeKind::Failed,
        code: None,
        reason: None,
        input_bytes: 0,
        output_bytes: 0,
        touched: Vec::new(),
        summary: None,
        undo: None,
        micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    };
    let result = match committed {
        Err(refusal) => {
            outcome.kind = OutcomeKind::Refused;
            let error = refusal::refused(&refusal, Some(id));
            Err(Judged {
                status: Some(error.code.status()),
                error,
                rating: None,
            })
        }
        Ok(Committed::Dispatch(error)) => {
            let body = refusal::undispatched(&error, id, true);
            let unknown = body.effect == Effect::Unknown;
            outcome.kind = if unknown {
                OutcomeKind::Unknown
            } else {
                OutcomeKind::Refused
            };
            let status = (!unknown).then(|| body.code.status());
            Err(Judged {
                error: body,
                status,
                rating: None,
            })
        }
        Ok(Committed::Undone) => {
            outcome.kind = OutcomeKind::Refused;
            Err(Judged {
                error: refusal::undispatched(&DispatchError::Died { dispatched: false }, id, true),
                status: None,
                rating: None,
            })
        }
        Ok(Committed::Settled) => {
            outcome.kind = OutcomeKind::Ok;
            Ok(RawValue::NULL.to_owned())
        }
        Ok(Committed::Finished(Finished {
            result: Err(mut error),
            touched,
        })) => {
            outcome.touched = read::touches(&touched);
            // What could be planned and now cannot be: the world moved between the card and the commit.
            if let Failure::TransportError { reason } = &error.code
                && planned
                && error.effect == Effect::None
            {
                let reason = reason.clone();
                error.code = Failure::PreconditionChanged { reason };
            }
            if unread && let Failure::PreconditionChanged { reason } = &mut error.code {
                *reason = "unread".into();
            }
            let rating = match &error.code {
                Failure::RatingExceeded { rating } => Some(*rating),
                _ => None,
            };
            let missed = matches!(error.code, Failure::ConstraintMiss { .. });
            let body = refusal::failed(&error, id);
            outcome.kind = match (error.effect, &error.code) {
                (Effect::Unknown, _) => OutcomeKind::Unknown,
                (
                    Effect::None,
                    Failure::PreconditionChanged { .. }
                    | Failure::RatingExceeded { .. }
                    | Failure::ConstraintMiss { .. },
                ) => OutcomeKind::Refused,
                (Effect::None | Effect::Done, _) => OutcomeKind::Failed,
            };
            Err(Judged {
                error: body,
                status: missed.then_some(401),
                rating,
            })
        }
        Ok(Committed::Finished(Finished {
            result: Ok(answer),
            touched,
        })) => {
            outcome.touched = read::touches(&touched);
            outcome.output_bytes = answer.output.len() as u64;
            outcome.summary = Some(answer.summary.as_str().to_owned()).filter(|s| !s.is_empty());
            outcome.undo = answer.undo.as_ref().map(|u| u.as_str().to_owned());
            outcome.kind = OutcomeKind::Ok;
            Ok(answer.output.into_json())
        }
    };
    if let Err(judged) = &result {
        outcome.code = Some(judged.error.code.as_str().to_owned());
        let reason = judged
            .error
            .detail
            .as_ref()
            .and_then(|d| d.get("reason"))
            .and_then(|r| r.as_str());
        outcome.reason = reason.map(str::to_owned);
    }
    (result, outcome)
}

/// Whether it takes back what this agent did not do: only the owner who saw the plan allows that.
async fn is_anothers(kernel: &Kernel, asked: &crate::call::Asked) -> bool {
    let undoes =
        change_author::change(kernel, &asked.caller.agent, &asked.entry, &asked.canonical).await;
    undoes.is_some_and(|whose| whose != change_author::ChangeAuthor::Own)
}

/// More than the permit covers: nothing was done, and a new item with a ceiling of `once` waits.
async fn beyond(
    kernel: &Arc<Kernel>,
    asked: crate::call::Asked,
    purpose: Option<String>,
) -> Answer {
    let session = match &asked.caller.by {
        CallerProof::Token { session, .. } | CallerProof::Session(session) => session.clone(),
        CallerProof::Approval(item) => {
            let state = kernel.ledger.snapshot();
            let known = state.item(item).map(|i| i.session.clone());
            match known {
                Some(session) => session,
                None => {
                    return Answer::refused(
                        asked.id().as_str(),
                        refusal::unknown_outcome(asked.id()),
                        None,
                    );
                }
            }
        }
    };
    let caller = crate::call::Caller {
        agent: asked.caller.agent.clone(),
        by: CallerProof::Session(session),
    };
    pend::ask_anew(kernel, crate::call::Asked { caller, ..asked }, purpose).await
}
