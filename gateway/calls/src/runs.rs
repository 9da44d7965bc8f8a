//! Asynchronous calls: accepted, run without the caller, asked for by their id (wire §4.10).
//!
//! Invariant: at most 8 run for one agent; an answer is kept 60 minutes after its end; in memory only. What was read is
//! given to its agent while that may still have it (`given`).

use super::{
    given::{Terms, may_still_be_given},
    refusal,
    taken_back::Mark,
};
use crate::life::{Answer, Permitted, perform};
use crate::{events::Notice, kernel::Kernel};
use plexus_protocol::{
    AgentId, AuditId, Digest, ErrorBody, ErrorCode, RunId, Timestamp,
    body::{InvokeResponse, Run},
};
use plexus_trust::Permit;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Runs that one agent may have under way.
const AT_ONCE: usize = 8;
/// How long an answer is kept, in milliseconds.
const KEPT_MS: u64 = 3_600_000;
/// Finished runs kept for one agent; the oldest go first.
const KEPT: usize = 256;
/// Bytes of output of them that are kept for one agent; beside them the newest is always kept.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// The asynchronous calls of every agent.
#[derive(Default)]
pub struct Runs(Mutex<BTreeMap<RunId, Arc<OneRun>>>);

/// One run.
pub struct OneRun {
    /// Who asked.
    pub agent: AgentId,
    /// The agent's epoch: what it brings is told to no other program of that name.
    pub epoch: u64,
    /// What was asked for.
    pub capability: String,
    pub(crate) id: RunId,
    pub(crate) started: Timestamp,
    permit: Permit,
    /// From before anything was read.
    mark: Mark,
    over: watch::Sender<Option<(Timestamp, InvokeResponse)>>,
}

impl OneRun {
    /// Whether there is an answer.
    pub fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }
    /// A copy of the answer, once there is one: for whoever is to have it, not for a look.
    pub fn result(&self) -> Option<(Timestamp, InvokeResponse)> {
        self.over.borrow().clone()
    }
    /// The same for its agent: what was read only as long as it may still be given. The outcome of an effect always is.
    pub fn given(&self, kernel: &Kernel) -> Option<(Timestamp, InvokeResponse)> {
        let (at, answer) = self.result()?;
        if !self.permit.is_read() || !answer.ok {
            return Some((at, answer));
        }
        let given = match may_still_be_given(kernel, &Terms::of(&self.permit, self.mark)) {
            Ok(()) => answer,
            Err(error) => {
                let audit = AuditId::parse(&answer.audit_id).ok();
                InvokeResponse::refused(&self.capability, *error, audit.as_ref())
            }
        };
        Some((at, given))
    }
    /// When it ended, and the size of its output.
    fn ended(&self) -> Option<(Timestamp, RunId, usize)> {
        let over = self.over.borrow();
        let (at, answer) = over.as_ref()?;
        let size = answer.output.as_ref().map_or(0, |o| o.get().len());
        Some((*at, self.id.clone(), size))
    }
    /// Waits for its end.
    pub async fn finished(&self) {
        let _ = self.over.subscribe().wait_for(Option::is_some).await;
    }
    /// As the wire shows it.
    pub fn handle(&self, base: &str, now: Timestamp) -> Run {
        let (status, ended) = match &*self.over.borrow() {
            None => ("running", now),
            Some((at, answer)) => (if answer.ok { "succeeded" } else { "failed" }, *at),
        };
        Run {
            run_id: self.id.clone(),
            status: status.to_owned(),
            status_url: format!("{base}/invoke/status?runId={}", self.id),
            started_at: self.started,
            expires_at: ended.plus(KEPT_MS),
        }
    }
}

impl Runs {
    /// Waits until none of those that there are now is under way.
    pub async fn over(&self) {
        let runs: Vec<_> = {
            let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            runs.values().cloned().collect()
        };
        for run in runs {
            run.finished().await;
        }
    }

    /// A run that has not been forgotten.
    pub fn get(&self, id: &str, now: Timestamp) -> Option<Arc<OneRun>> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|_, run| {
            let over = run.over.borrow();
            over.as_ref().is_none_or(|(at, _)| now.since(*at) < KEPT_MS)
        });
        runs.get(id).cloned()
    }
}

/// Begins a call in the background; an effect `reserves` its idempotency key.
pub(crate) fn start(
    kernel: &Arc<Kernel>,
    permitted: Box<Permitted>,
    reserves: Option<Digest>,
) -> Answer {
    let Permitted { asked, permit } = *permitted;
    let permitted = Box::new(Permitted {
        asked,
        permit: permit.for_a_run(),
    });
    let agent = permitted.asked.caller.agent.clone();
    let id = permitted.asked.id().clone();
    let run = Arc::new(OneRun {
        agent: agent.clone(),
        epoch: permitted.permit.agent_epoch(),
        capability: id.to_string(),
        id: RunId::fresh(),
        started: kernel.clock.now(),
        permit: permitted.permit.clone(),
        mark: kernel.taken_back.mark(),
        over: watch::Sender::new(None),
    });
    {
        let mut runs = kernel.runs.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = || runs.values().filter(|r| r.agent == agent);
        if mine().filter(|r| !r.is_over()).count() >= AT_ONCE {
            let error = ErrorBody::new(
                ErrorCode::RateLimited,
                format!("{AT_ONCE} of your runs are under way already."),
            )
            .about(&id)
            .with("retryAfterMs", 1_000)
            .next("wait for one of your runs to end");
            return Answer::refused(id.as_str(), error, None);
        }
        let mut ended: Vec<_> = mine().filter_map(|r| r.ended()).collect();
        ended.sort();
        let mut number = ended.len() + 1;
        let mut bytes: usize = ended.iter().map(|(.., size)| size).sum();
        for (_, old, size) in ended {
            if number <= KEPT && bytes <= KEPT_BYTES {
                break;
            }
            runs.remove(&old);
            number -= 1;
            bytes -= size;
        }
        runs.insert(run.id.clone(), run.clone());
    }
    let handle = run.handle(&kernel.base, kernel.clock.now());
    let kernel = kernel.clone();
    tokio::spawn(async move {
        let capability = permitted.asked.id().clone();
        // A run has no caller that could go away, so even a read is carried through in a task of its own.
        let answer = match tokio::spawn({
            let kernel = kernel.clone();
            async move { perform(&kernel, permitted, None, reserves).await }
        })
        .await
        {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(name: "call.task_failed", %error, runId = %run.id, "a run ended badly");
                let body = refusal::unknown_outcome(&capability);
                Answer::dispatched(InvokeResponse::refused(capability.as_str(), body, None))
            }
        };
        let ok = answer.body.ok;
        let _ = run
            .over
            .send_replace(Some((kernel.clock.now(), answer.body)));
        kernel.feed.publish(Notice::InvokeResolved {
            agent: run.agent.clone(),
            epoch: run.epoch,
            run: run.id.clone(),
            id: run.capability.clone(),
            ok,
        });
    });
    Answer {
        status: 202,
        body: InvokeResponse {
            run: Some(handle),
            ..InvokeResponse::ok(id.as_str(), None)
        },
    }
}
