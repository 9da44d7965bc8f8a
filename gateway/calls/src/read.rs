//! Reads: dispatched first, recorded once, and shown only when the record is durable. One that reached no worker is a
//! refusal, and leaves what allowed it as it was.

use super::{outcome, refusal};
use crate::{
    answer::Answer,
    contents::Reader,
    given,
    kernel::Kernel,
    member_reads, pend,
    permit::Permitted,
    under_way::{CallUnderWay, CancelledBy},
};
use plexus_ipc::message::{Failure, Role, Touched};
use plexus_ledger::Durable;
use plexus_protocol::{ErrorBody, ErrorCode, body::InvokeResponse};
use plexus_record::audit_id;
use plexus_supervisor::{CallRequest, DispatchError, Finished, Health, Stands};
use plexus_trust::{Command, Outcome, OutcomeKind, Refusal};
use serde_json::{json, value::RawValue};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What a worker answered, not yet anybody's to see.
struct InFlight {
    id: String,
    output: Result<Box<RawValue>, ErrorBody>,
}

impl InFlight {
    /// The only way out: against the record that it happened.
    fn disclose(self, durable: &Durable) -> InvokeResponse {
        let audit = audit_id(durable.audit_id());
        match self.output {
            Err(error) => InvokeResponse::refused(&self.id, error, Some(&audit)),
            Ok(output) => InvokeResponse {
                output: Some(output),
                ..InvokeResponse::ok(&self.id, Some(&audit))
            },
        }
    }
}

pub(super) async fn run(kernel: &Arc<Kernel>, call: &CallUnderWay, permitted: Permitted) -> Answer {
    let (asked, permit) = permitted.into_parts();
    let started = Instant::now();
    let request = call_request(call, &asked, &permit);
    // What a member reads is given on the grants that the agent had when the workflow began.
    let read_on = || match &call.workflow {
        Some(_) => member_reads::read_on(kernel, &asked.caller.agent, asked.id()),
        None => Some(Vec::new()),
    };
    let began_on = read_on();
    let read = async {
        // Boxed: most sources start no program.
        let code = Box::pin(kernel.compared(&asked.entry.source, Role::Reader)).await?;
        kernel.supervisor.read(&code, request).await
    };
    let answered = tokio::select! {
        answered = read => answered,
        // A dropped read is cancelled at its worker.
        by = call.cancelled() => return Box::pin(cancelled(kernel, &asked, by)).await,
    };
    let answered = match answered {
        // It reached no worker: refused like any call before its dispatch, and no yes is used up.
        Err(error) if !was_sent(&error) => {
            let error = refusal::undispatched(&error, asked.id(), false);
            let refused = crate::denial::refuse(kernel, &asked, error);
            return Box::pin(refused).await;
        }
        answered => answered,
    };
    let Judged {
        status,
        output,
        touched,
        mut outcome,
        is_beyond,
    } = judged(answered, &asked, &permit, started, || {
        kernel.supervisor.health(&asked.entry.source).status == Health::Unavailable
    });
    let output = output.map_err(|error| call.failure(error));
    let is_same = began_on.is_some() && began_on == read_on();
    let output = match output {
        Ok(_) if !is_same => Err(given::read_is_over(asked.id())),
        output => output,
    };
    let (seen, epoch) = (output.is_ok(), permit.agent_epoch());
    let asks = is_beyond && pend::may_ask(kernel, &permit);
    if asks {
        outcome.code = Some(ErrorCode::ApprovalRequired.as_str().to_owned());
        outcome.reason = Some(pend::OUTSIDE.to_owned());
    }
    match record(kernel, &asked, permit, output, outcome).await {
        Ok(body) if asks => pend::ask_beyond(kernel, asked, false, body.audit_id).await,
        Ok(body) => {
            if seen {
                let agent = &asked.caller.agent;
                let reader = Reader { agent, epoch };
                kernel.contents.learn(reader, &asked.entry.source, &touched);
            }
            Answer { status, body }
        }
        Err(answer) => answer,
    }
}

/// A read that nobody wants any more, or that is not allowed any more: nothing of it is shown.
async fn cancelled(kernel: &Arc<Kernel>, asked: &crate::call::Asked, by: CancelledBy) -> Answer {
    let refusal = match by {
        CancelledBy::Pause => Refusal::Paused,
        CancelledBy::Revoke => {
            let unsaved = |agent, id| kernel.revocations.refuses(agent, id, None);
            let unsaved = unsaved(&asked.caller.agent, asked.id());
            unsaved.unwrap_or(Refusal::GrantRequired { constraint: None })
        }
        CancelledBy::Agent | CancelledBy::Owner => {
            let error = refusal::cancelled(by, asked.id());
            let refused = crate::denial::refuse(kernel, asked, error);
            return Answer {
                status: 200,
                ..refused.await
            };
        }
    };
    crate::denial::deny(kernel, asked, refusal).await
}

/// What came back from the worker, and how it is told.
struct Judged {
    status: u16,
    output: Result<Box<RawValue>, ErrorBody>,
    touched: Vec<Touched>,
    outcome: Outcome,
    /// It lies outside of the constraint, as the source found.
    is_beyond: bool,
}

/// Whether a worker was sent the call that has no answer: then it is recorded as a read.
fn was_sent(error: &DispatchError) -> bool {
    matches!(
        error,
        DispatchError::Deadline { dispatched: true } | DispatchError::Died { dispatched: true }
    )
}

fn judged(
    answered: Result<Finished, DispatchError>,
    asked: &crate::call::Asked,
    permit: &plexus_trust::Permit,
    started: Instant,
    known_away: impl FnOnce() -> bool,
) -> Judged {
    let id = asked.id();
    let input_bytes = asked.canonical.len() as u64;
    let mut outcome = outcome::failed(input_bytes, started.elapsed());
    let Finished { result, touched } = match answered {
        Ok(finished) => finished,
        Err(error) => {
            return Judged {
                status: 200,
                output: Err(refusal::undispatched(&error, id, false)),
                touched: Vec::new(),
                outcome,
                is_beyond: false,
            };
        }
    };
    let mut is_beyond = false;
    let output = match result {
        Err(error) => {
            is_beyond = matches!(error.code, Failure::ConstraintMiss { .. });
            Err(refusal::failed(&error, id))
        }
        Ok(answer) => {
            outcome.kind = OutcomeKind::Ok;
            outcome.output_bytes = answer.output.len() as u64;
            outcome.summary = Some(answer.summary.as_str().to_owned()).filter(|s| !s.is_empty());
            Ok(answer.output.into_json())
        }
    };
    let output = match beyond(permit, asked, &touched) {
        Some(error) if output.is_ok() => Err(error),
        _ => output,
    };
    let missed = output
        .as_ref()
        .is_err_and(|e| e.code == ErrorCode::GrantRequired);
    if output.is_err() {
        outcome.kind = if missed {
            OutcomeKind::Refused
        } else {
            OutcomeKind::Failed
        };
    }
    outcome.touched = crate::touches::reported(&touched);
    Judged {
        status: match &output {
            Err(_) if missed => 401,
            // Known to be away: refused as such (docs/protocol/agents.md#call), though the source was asked once more.
            Err(error) if error.code == ErrorCode::SourceUnavailable && known_away() => 503,
            _ => 200,
        },
        output,
        touched,
        outcome,
        is_beyond,
    }
}

/// Withholds what lies outside the permit although the worker let it through: the gateway trusts no worker with that.
fn beyond(
    permit: &plexus_trust::Permit,
    asked: &crate::call::Asked,
    touched: &[Touched],
) -> Option<ErrorBody> {
    let constraint = permit.constraint.as_ref()?;
    for rule in &asked.entry.capability().constrainable {
        let Some(kind) = &rule.touched else {
            continue;
        };
        let mut of_kind = touched.iter().filter(|t| t.kind.as_str() == kind);
        let outside = of_kind.any(|t| !constraint.lets_pass(&rule.field, &json!(t.id.as_str())));
        if outside {
            tracing::error!(name: "worker.beyond_constraint", capability = %asked.id(), "a worker answered beyond its constraint; withheld");
            return Some(refusal::refused(
                &Refusal::GrantRequired {
                    constraint: Some(rule.field.clone()),
                },
                Some(asked.id()),
            ));
        }
    }
    None
}

/// Against its record the output leaves; without one only the refusal does.
async fn record(
    kernel: &Arc<Kernel>,
    asked: &crate::call::Asked,
    permit: plexus_trust::Permit,
    output: Result<Box<RawValue>, ErrorBody>,
    mut outcome: Outcome,
) -> Result<InvokeResponse, Answer> {
    if let Err(error) = &output {
        let reason = || error.reason().map(str::to_owned);
        outcome.reason = outcome.reason.or_else(reason);
        let code = || error.code.as_str().to_owned();
        outcome.code = outcome.code.or_else(|| Some(code()));
    }
    let id = asked.id();
    let token = permit.token.clone();
    let in_flight = InFlight {
        id: id.as_str().to_owned(),
        output,
    };
    let refuse = |body: ErrorBody| Answer::refused(id.as_str(), body, None);
    let command = Command::Read { permit, outcome };
    match kernel.submit_for(&asked.caller.agent, command).await {
        Ok(receipt) => match receipt.durable {
            Some(durable) => {
                let agent = &asked.caller.agent;
                match kernel.revocations.refuses(agent, id, token.as_ref()) {
                    // Taken back while it was read, which could not be saved: withheld all the same.
                    Some(refusal) => {
                        let denied = crate::denial::deny(kernel, asked, refusal);
                        Err(Box::pin(denied).await)
                    }
                    None => Ok(in_flight.disclose(&durable)),
                }
            }
            None => Err(refuse(refusal::not_recorded(
                &plexus_ledger::SubmitError::Unavailable("a read without a record".into()),
                Some(id),
            ))),
        },
        // What allowed it was taken back while it was read: it is withheld, and that is recorded.
        Err(plexus_ledger::SubmitError::Refused(refusal)) => {
            let denied = crate::denial::deny(kernel, asked, refusal);
            Err(Box::pin(denied).await)
        }
        Err(error) => Err(refuse(refusal::not_recorded(&error, Some(id)))),
    }
}

/// A call as the supervisor takes it.
pub(super) fn call_request(
    call: &CallUnderWay,
    asked: &crate::call::Asked,
    permit: &plexus_trust::Permit,
) -> CallRequest {
    let capability = asked.entry.capability();
    let limits = asked.entry.connector.offer.manifest.limits_of(capability);
    CallRequest {
        capability: capability.name.clone(),
        input: asked.canonical.clone(),
        digest: asked.digest,
        constraint: permit.constraint.clone(),
        revision: permit.source_revision(),
        deadline: Duration::from_millis(u64::from(limits.call_ms)),
        owner: false,
        origin: Some(call.number()),
        stands: Stands::default(),
        audit: None,
        progress: None,
        cancel: None,
        late: None,
    }
}

#[cfg(test)]
mod tests;
