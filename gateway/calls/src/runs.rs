//! Asynchronous calls: accepted, run without the caller, asked for by their id (wire §4.10).
//!
//! Invariant: at most 8 run for one agent; an answer is kept 60 minutes after its end; in memory only. What was read is
//! given to its agent while that may still have it (`given`).

use crate::under_way::{CallUnderWay, CancelledBy};
use plexus_protocol::{
    AgentId, RunId, Timestamp,
    body::{InvokeResponse, Run},
};
use plexus_trust::Permit;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Runs that one agent may have under way.
pub(crate) const AT_ONCE: usize = 8;
/// How long an answer is kept, in milliseconds.
const KEPT_MS: u64 = 3_600_000;
/// Finished runs kept for one agent; the oldest go first.
pub(crate) const KEPT: usize = 256;
/// Bytes of output of them that are kept for one agent; beside them the newest is always kept.
pub(crate) const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// The asynchronous calls of every agent.
#[derive(Default)]
pub struct Runs(pub(crate) Mutex<BTreeMap<RunId, Arc<OneRun>>>);

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
    pub(crate) permit: Permit,
    pub(crate) call: Arc<CallUnderWay>,
    pub(crate) over: watch::Sender<Option<(Timestamp, InvokeResponse)>>,
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
    /// When it ended, and the size of its output.
    pub(crate) fn ended(&self) -> Option<(Timestamp, RunId, usize)> {
        let over = self.over.borrow();
        let (at, answer) = over.as_ref()?;
        let size = answer.output.as_ref().map_or(0, |o| o.get().len());
        let size = size + self.call.progress.kept();
        Some((*at, self.id.clone(), size))
    }
    /// Waits until it streams beyond an offset.
    pub async fn beyond(&self, after: u64) {
        self.call.progress.beyond(after).await;
    }
    /// Whether it has streamed beyond an offset.
    pub fn streams_beyond(&self, after: u64) -> bool {
        self.call.progress.end() > after
    }
    /// Cancels it for its agent; one that is over stays as it is.
    pub fn cancel(&self) {
        if !self.is_over() {
            self.call.cancel(CancelledBy::Agent);
        }
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

    /// Withholds what the runs read that `concerns` says yes to, also those that are over.
    pub(crate) fn revoke(&self, concerns: impl Fn(&CallUnderWay) -> bool) {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for run in runs.values().filter(|run| concerns(&run.call)) {
            run.call.cancel(CancelledBy::Revoke);
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
