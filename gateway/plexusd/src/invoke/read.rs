//! Reads: dispatched first, recorded once, and shown only when the record is durable.

use super::{Answer, Permitted, refusal};
use crate::{
    app::App,
    machine::audit_id,
    supervisor::{CallRequest, DispatchError, Finished, Health, Stands},
};
use plexus_ipc::{message::Touched, text::Payload};
use plexus_ledger::{Durable, Lane};
use plexus_protocol::{ErrorBody, body::InvokeResponse, json};
use plexus_trust::{Command, Outcome, OutcomeKind, Touch};
use serde_json::value::RawValue;
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
                id: self.id,
                ok: true,
                output: Some(output),
                error: None,
                grant: None,
                audit_id: audit.as_str().to_owned(),
                run: None,
                replayed: false,
            },
        }
    }
}

pub(super) async fn run(app: &Arc<App>, permitted: Permitted) -> Answer {
    let Permitted { asked, permit } = permitted;
    let id = asked.id().clone();
    let started = Instant::now();
    let request = call_request(&asked, &permit);
    let answered = app.supervisor.read(&asked.entry.source, request).await;
    let (output, touched, mut outcome) = match answered {
        Err(error) => {
            let body = refusal::undispatched(&error, &id, false);
            // A call that reached no worker is refused as such; one that was dispatched and failed is recorded as a read.
            let reached = matches!(
                error,
                DispatchError::Deadline { dispatched: true }
                    | DispatchError::Died { dispatched: true }
            );
            let status = if reached { 200 } else { body.code.status() };
            let answer = record(
                app,
                &asked.caller,
                permit,
                id.as_str(),
                Err(body),
                Vec::new(),
                failed_outcome(&asked, started),
            )
            .await;
            return match answer {
                Ok(mut answer) => {
                    answer.status = status;
                    answer
                }
                Err(answer) => answer,
            };
        }
        Ok(Finished {
            result: Err(error),
            touched,
        }) => (
            Err(refusal::failed(&error, &id)),
            touched,
            failed_outcome(&asked, started),
        ),
        Ok(Finished {
            result: Ok(answer),
            touched,
        }) => {
            let outcome = Outcome {
                kind: OutcomeKind::Ok,
                output_bytes: answer.output.len() as u64,
                summary: Some(answer.summary.as_str().to_owned()).filter(|s| !s.is_empty()),
                ..failed_outcome(&asked, started)
            };
            match raw(&answer.output) {
                Ok(output) => (Ok(output), touched, outcome),
                Err(why) => {
                    tracing::warn!(capability = %id, why, "a worker's output is not JSON");
                    let body = ErrorBody::new(
                        plexus_protocol::ErrorCode::TransportError,
                        "The source gave an answer that is not JSON.",
                    )
                    .detail(serde_json::json!({"reason": "bad_output"}))
                    .about(&id)
                    .next("stop; tell the owner: this source is not working");
                    (Err(body), touched, failed_outcome(&asked, started))
                }
            }
        }
    };
    let output = match beyond(&permit, &asked, &touched) {
        Some(error) if output.is_ok() => Err(error),
        _ => output,
    };
    if let Err(error) = &output {
        outcome.kind = OutcomeKind::Failed;
        if error.code == plexus_protocol::ErrorCode::GrantRequired {
            outcome.kind = OutcomeKind::Refused;
        }
    }
    let touches = touches(&touched);
    // Known to be away: refused as such (wire §4.9, row 11), though the source was asked once more.
    let away = output
        .as_ref()
        .err()
        .filter(|e| e.code == plexus_protocol::ErrorCode::SourceUnavailable)
        .is_some()
        && app.supervisor.health(&asked.entry.source).status == Health::Unavailable;
    let missed = output
        .as_ref()
        .err()
        .filter(|e| e.code == plexus_protocol::ErrorCode::GrantRequired)
        .is_some();
    let agent = asked.caller.agent.clone();
    let seen = output.is_ok();
    match record(
        app,
        &asked.caller,
        permit,
        id.as_str(),
        output,
        touches,
        outcome,
    )
    .await
    {
        Ok(mut answer) => {
            if missed {
                answer.status = 401;
            } else if away {
                answer.status = 503;
            }
            if seen {
                app.contents.learn(&agent, &asked.entry.source, &touched);
            }
            answer
        }
        Err(answer) => answer,
    }
}

/// Withholds what lies outside the permit although the worker let it through: the gateway trusts no worker with that.
fn beyond(
    permit: &plexus_trust::Permit,
    asked: &super::Asked,
    touched: &[Touched],
) -> Option<ErrorBody> {
    let constraint = permit.constraint.as_ref()?;
    for rule in &asked.entry.capability().constrainable {
        let (Some(kind), Some(prefixes)) = (&rule.touched, constraint.prefixes(&rule.field)) else {
            continue;
        };
        let outside = touched.iter().filter(|t| t.kind.as_str() == kind).any(|t| {
            !prefixes
                .iter()
                .any(|prefix| plexus_protocol::constraint::lies_below(t.id.as_str(), prefix))
        });
        if outside {
            tracing::error!(capability = %asked.id(), "a worker answered beyond its constraint; withheld");
            return Some(refusal::refused(
                &plexus_trust::Refusal::GrantRequired {
                    constraint: Some(rule.field.clone()),
                },
                Some(asked.id()),
            ));
        }
    }
    None
}

async fn record(
    app: &Arc<App>,
    caller: &super::Caller,
    permit: plexus_trust::Permit,
    id: &str,
    output: Result<Box<RawValue>, ErrorBody>,
    touched: Vec<Touch>,
    mut outcome: Outcome,
) -> Result<Answer, Answer> {
    outcome.touched = touched;
    if let Err(error) = &output {
        outcome.code = Some(error.code.as_str().to_owned());
        outcome.reason = error
            .detail
            .as_ref()
            .and_then(|d| d.get("reason"))
            .and_then(|r| r.as_str())
            .map(str::to_owned);
    }
    let (capability, token) = (permit.capability.clone(), permit.token.clone());
    let in_flight = InFlight {
        id: id.to_owned(),
        output,
    };
    let refuse = |body: ErrorBody| Answer::refused(id, body, None);
    match app
        .ledger
        .submit(Command::Read { permit, outcome }, Lane::Agent)
        .await
    {
        Ok(receipt) => match receipt.durable {
            Some(durable) => {
                let held = app
                    .taken_back
                    .refuses(&caller.agent, &capability, token.as_ref());
                match held {
                    // Taken back while it was read, which could not be saved: withheld all the same.
                    Some(refusal) => Err(super::deny(app, caller, id, refusal).await),
                    None => Ok(Answer::dispatched(in_flight.disclose(&durable))),
                }
            }
            None => Err(refuse(refusal::not_recorded(
                &plexus_ledger::SubmitError::Unavailable("a read without a record".into()),
                Some(&capability),
            ))),
        },
        // What allowed it was taken back while it was read: it is withheld, and that is recorded.
        Err(plexus_ledger::SubmitError::Refused(refusal)) => {
            Err(super::deny(app, caller, id, refusal).await)
        }
        Err(error) => Err(refuse(refusal::not_recorded(&error, Some(&capability)))),
    }
}

fn failed_outcome(asked: &super::Asked, started: Instant) -> Outcome {
    Outcome {
        kind: OutcomeKind::Failed,
        code: None,
        reason: None,
        input_bytes: asked.canonical.len() as u64,
        output_bytes: 0,
        touched: Vec::new(),
        summary: None,
        undo: None,
        micros: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

/// A call as the supervisor takes it.
pub(super) fn call_request(asked: &super::Asked, permit: &plexus_trust::Permit) -> CallRequest {
    let capability = asked.entry.capability();
    let limits = asked.entry.connector.manifest.limits_of(capability);
    CallRequest {
        capability: capability.name.clone(),
        input: asked.canonical.clone(),
        digest: asked.digest,
        constraint: permit.constraint.clone(),
        revision: permit.source_revision(),
        deadline: Duration::from_millis(u64::from(limits.call_ms)),
        owner: false,
        stands: Stands::default(),
        audit: None,
        progress: None,
    }
}

/// A worker's output as it may travel: exactly one JSON value.
pub(super) fn raw(output: &Payload) -> Result<Box<RawValue>, String> {
    json::scan(output)
        .map(ToOwned::to_owned)
        .map_err(|e| e.to_string())
}

pub(super) fn touches(touched: &[Touched]) -> Vec<Touch> {
    let touch = |t: &Touched| Touch {
        kind: t.kind.as_str().to_owned(),
        id: t.id.as_str().to_owned(),
        access: t.access,
        digest: t.digest,
    };
    touched.iter().map(touch).collect()
}

#[cfg(test)]
mod tests;
