//! Asynchronous calls: accepted, run without the caller, asked for by their id (docs/protocol/agents.md#follow-a-run).
//!
//! A call that the gateway makes for an approved item is one too, by the name of its item.
//!
//! Invariant: at most 8 run for one agent, beside those that the gateway makes; an answer is kept 24 hours after its end, over a
//! restart too, but for what was
//! read by a single approval. What was read is given to its agent while that may still have it (`given`).

use crate::{
    answers::{Answers, KEPT_MS, Key, RunFacts},
    progress::ProgressLog,
    under_way::{CallUnderWay, CancelledBy},
};
use plexus_home::tasks::blocking;
use plexus_protocol::{
    AgentId, RunId, Timestamp,
    body::{InvokeResponse, Progress, Run, RunningCall},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Runs that one agent may have under way.
pub(crate) const AT_ONCE: usize = 8;
/// Finished runs of one agent that are held in memory; the oldest go first.
const KEPT: usize = 256;
/// Bytes of output of them that are held in memory for one agent; beside them the newest always is.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// The asynchronous calls of every agent.
pub struct Runs {
    table: Mutex<BTreeMap<RunId, Arc<OneRun>>>,
    answers: Answers,
}

/// One run.
pub struct OneRun {
    pub(crate) id: RunId,
    /// Whether the gateway makes it for an approved item.
    pub(crate) is_approved: bool,
    /// Whose it is, and on which terms. Ended when it began, until it has.
    pub(crate) facts: RunFacts,
    /// Where it was made in this launch.
    pub(crate) call: Option<Arc<CallUnderWay>>,
    pub(crate) progress: Arc<ProgressLog>,
    pub(crate) over: watch::Sender<Option<(Timestamp, InvokeResponse)>>,
}

impl OneRun {
    /// One of an earlier launch, with its answer.
    pub(crate) fn kept(id: RunId, facts: RunFacts, answer: InvokeResponse) -> Self {
        Self {
            id,
            is_approved: false,
            over: watch::Sender::new(Some((facts.ended, answer))),
            facts,
            call: None,
            progress: Arc::default(),
        }
    }
    /// Its agent, in the epoch that asked: what it brings is told to no other program of that name.
    pub fn whose(&self) -> (AgentId, u64) {
        (self.facts.agent.clone(), self.facts.epoch)
    }
    /// What names it.
    pub fn id(&self) -> &RunId {
        &self.id
    }
    /// What was asked for.
    pub fn capability(&self) -> &str {
        self.facts.capability.as_str()
    }
    /// Whether there is an answer.
    pub fn is_over(&self) -> bool {
        self.over.borrow().is_some()
    }
    /// Whether it was made in this launch and has no intent.
    pub(crate) fn began_nothing(&self) -> bool {
        self.call
            .as_ref()
            .is_some_and(|call| call.intent().is_none())
    }
    /// A copy of the answer, once there is one: for its caller, not for a look.
    pub fn result(&self) -> Option<(Timestamp, InvokeResponse)> {
        self.over.borrow().clone()
    }
    /// When it ended, and the size of its output.
    pub(crate) fn ended(&self) -> Option<(Timestamp, RunId, usize)> {
        let over = self.over.borrow();
        let (at, answer) = over.as_ref()?;
        let size = answer.output.as_ref().map_or(0, |o| o.get().len());
        let size = size + self.progress.kept();
        Some((*at, self.id.clone(), size))
    }
    /// Waits until it streams beyond an offset.
    pub async fn beyond(&self, after: u64) {
        self.progress.beyond(after).await;
    }
    /// Whether it has streamed beyond an offset.
    pub fn streams_beyond(&self, after: u64) -> bool {
        self.progress.end() > after
    }
    /// What it streamed after an offset, for its owner, who may have all of it and follows nothing.
    pub fn look(&self, after: u64) -> Progress {
        self.progress.look(after)
    }
    /// Cancels it for its agent; one that is over stays as it is.
    pub fn cancel(&self) {
        if let Some(call) = self.call.as_ref().filter(|_| !self.is_over()) {
            call.cancel(CancelledBy::Agent);
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
            started_at: self.facts.started,
            expires_at: ended.plus(KEPT_MS),
        }
    }
}

impl Runs {
    /// With the answers of an earlier launch.
    pub fn new(answers: Answers) -> Self {
        Self {
            table: Mutex::default(),
            answers,
        }
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, BTreeMap<RunId, Arc<OneRun>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run in, and forgets the oldest of its agent that are over where there are many. False where [`AT_ONCE`] that
    /// its agent asked for are under way, and it asks for one more.
    pub(crate) fn enter(&self, run: &Arc<OneRun>) -> bool {
        let mut runs = self.table();
        let mine = || {
            runs.values()
                .filter(|r| r.facts.agent == run.facts.agent && r.id != run.id)
        };
        let under_way = mine().filter(|r| !r.is_approved && !r.is_over());
        if !run.is_approved && under_way.count() >= AT_ONCE {
            return false;
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
        true
    }

    /// Waits until none of those that there are now is under way.
    pub async fn over(&self) {
        let runs: Vec<_> = self.table().values().cloned().collect();
        for run in runs {
            run.finished().await;
        }
    }

    /// Those of an agent, in its epoch, that are under way, the oldest first; no call that a client waits for is a run.
    pub fn under_way(&self, agent: &AgentId, epoch: u64) -> Vec<RunningCall> {
        let table = self.table();
        let is_mine = |run: &&Arc<OneRun>| run.facts.agent == *agent && run.facts.epoch == epoch;
        let running = table.values().filter(is_mine).filter(|run| !run.is_over());
        let mut running: Vec<_> = running
            .map(|run| RunningCall {
                run_id: run.id.clone(),
                capability_id: run.facts.capability.clone(),
                started_at: run.facts.started,
            })
            .collect();
        running.sort_by_key(|run| run.started_at);
        running
    }

    /// Withholds what the runs of this launch read that `concerns` says yes to, also those that are over.
    pub(crate) fn revoke(&self, concerns: impl Fn(&CallUnderWay) -> bool) {
        let table = self.table();
        for (id, run) in table.iter() {
            if let Some(call) = run.call.as_ref().filter(|call| concerns(call)) {
                call.cancel(CancelledBy::Revoke);
                if call.is_read && run.is_over() {
                    self.answers.forget(Key::Run(id));
                }
            }
        }
    }

    /// A run of this launch that is still in memory.
    pub fn in_memory(&self, id: &str, now: Timestamp) -> Option<Arc<OneRun>> {
        let mut table = self.table();
        table.retain(|_, run| {
            let over = run.over.borrow();
            over.as_ref().is_none_or(|(at, _)| now.since(*at) < KEPT_MS)
        });
        table.get(id).cloned()
    }

    /// A run that is in memory or has a file of its own.
    pub(crate) async fn get(&self, id: &str, now: Timestamp) -> Option<Arc<OneRun>> {
        if let Some(run) = self.in_memory(id, now) {
            return Some(run);
        }
        let id: RunId = id.parse().ok()?;
        let (answers, of) = (self.answers.clone(), id.clone());
        let read = blocking(move || answers.get(Key::Run(&of)));
        let kept = read.await.ok().flatten()?;
        let facts = kept.run.filter(|facts| now.since(facts.ended) < KEPT_MS)?;
        Some(Arc::new(OneRun::kept(id, facts, kept.response)))
    }
}
