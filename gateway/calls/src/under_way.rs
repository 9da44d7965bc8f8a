//! The calls that are under way: who made them, how to cancel them, what they stream.
//!
//! ```text
//! enter ─▶ intended (an effect's event) ─▶ over (the guard goes)
//!   └──────────── cancelled, by whom ────────┘
//! ```
//! Invariants: a call is here from before its intent until its outcome is recorded, also where its caller has gone or was
//! told that its outcome is not known; a stop waits for the effects among them. Cancelling asks: what was done by then
//! its worker says.
//!
//! Must not know: what a call does.

use crate::{progress::ProgressLog, workflow::Workflow};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Digest, ErrorBody, PendingId, RunId, Timestamp, TokenId,
};
use plexus_trust::{Refusal, Streamed};
use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, oneshot};

/// Whose call it is.
#[derive(Clone, Debug)]
pub enum Principal {
    /// An agent's, by its id and epoch.
    Agent {
        /// Which.
        id: AgentId,
        /// The agent's epoch when it called.
        epoch: u64,
        /// The scoped token that it came with.
        token: Option<TokenId>,
    },
    /// The owner's own.
    Owner,
}

impl Principal {
    /// The agent, where it is one's.
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::Agent { id, .. } => Some(id),
            Self::Owner => None,
        }
    }

    /// That agent's epoch when it called.
    pub(crate) fn epoch(&self) -> Option<u64> {
        match self {
            Self::Agent { epoch, .. } => Some(*epoch),
            Self::Owner => None,
        }
    }
}

/// Who cancelled a call, or what did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelledBy {
    /// The agent that made it.
    Agent,
    /// The owner.
    Owner,
    /// A pause of all agents.
    Pause,
    /// A revoke of what allowed it.
    Revoke,
}

impl CancelledBy {
    /// For the log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Owner => "owner",
            Self::Pause => "pause",
            Self::Revoke => "revoke",
        }
    }

    /// For the agent.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Agent => "You cancelled it.",
            Self::Owner => "The owner stopped it.",
            Self::Pause => "The owner paused all agents.",
            Self::Revoke => "The owner revoked what allowed it.",
        }
    }
}

/// What a call is when it begins.
pub struct CallFacts {
    /// Whose it is.
    pub principal: Principal,
    /// What is called.
    pub capability: CapabilityId,
    /// Whether it only reads.
    pub is_read: bool,
    /// The digest of its input.
    pub input: Digest,
    /// When it began.
    pub started: Timestamp,
    /// The run that it is, where its caller does not wait for it.
    pub run: Option<RunId>,
    /// The item whose bounded approval it is a further turn or a child call of.
    pub turn_of: Option<PendingId>,
    /// Of a workflow: what its members are called with.
    pub workflow: Option<Workflow>,
}

/// One call that is under way.
pub struct CallUnderWay {
    number: u64,
    facts: CallFacts,
    intent: OnceLock<AuditId>,
    by: OnceLock<CancelledBy>,
    /// What allowed it was revoked, whatever cancelled it before.
    revoked: AtomicBool,
    /// Wakes who waits for its cancellation or its intent.
    woken: Notify,
    /// The same for an effect's dispatch, once it has asked for it: a read has none.
    signal: Mutex<Option<oneshot::Sender<()>>>,
    /// Made when the first piece comes or a run is kept: most calls stream nothing.
    progress: OnceLock<Arc<ProgressLog>>,
    /// How long its source waited for the owner's answers, in ms.
    with_owner: AtomicU64,
}

impl Deref for CallUnderWay {
    type Target = CallFacts;
    fn deref(&self) -> &CallFacts {
        &self.facts
    }
}

/// A wait for the owner's answer, which counts as the owner's time when it goes: also where its caller has gone.
pub(crate) struct OwnerWait<'c> {
    call: &'c CallUnderWay,
    begun: Instant,
}

impl Drop for OwnerWait<'_> {
    fn drop(&mut self) {
        let waited = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.call.with_owner.fetch_add(waited, Ordering::Relaxed);
    }
}

impl CallUnderWay {
    /// How it failed: of a workflow, what its members answered too.
    pub(crate) fn failure(&self, error: ErrorBody) -> ErrorBody {
        match &self.workflow {
            Some(workflow) => workflow.failure(error),
            None => error,
        }
    }

    /// Names it in this process, for the calls that its worker makes for it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Until the guard goes its source waits for an answer of the owner's.
    pub(crate) fn wait_for_owner(&self) -> OwnerWait<'_> {
        OwnerWait {
            call: self,
            begun: Instant::now(),
        }
    }

    /// What of `took` was not the owner's.
    pub(crate) fn without_owner(&self, took: Duration) -> Duration {
        let waited = Duration::from_millis(self.with_owner.load(Ordering::Relaxed));
        took.saturating_sub(waited)
    }

    /// The event of its intent.
    pub fn intent(&self) -> Option<&AuditId> {
        self.intent.get()
    }

    pub(crate) fn intended(&self, intent: &AuditId) {
        // Once: a call has one intent.
        let _ = self.intent.set(intent.clone());
        self.woken.notify_waiters();
    }

    /// Waits until its intent is recorded.
    pub(crate) async fn begun(&self) {
        loop {
            let woken = self.woken.notified();
            if self.intent().is_some() {
                return;
            }
            woken.await;
        }
    }

    /// Asks that it end. The first who asks is named.
    pub fn cancel(&self, by: CancelledBy) {
        let _ = self.by.set(by);
        if by == CancelledBy::Revoke {
            self.revoked.store(true, Ordering::Release);
        }
        self.tell_dispatch();
        self.woken.notify_waiters();
    }

    /// Who cancelled it.
    pub fn cancelled_by(&self) -> Option<CancelledBy> {
        self.by.get().copied()
    }

    /// Whether what allowed it was revoked since it began.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Told when it is cancelled; dropped where it is asked for again.
    pub(crate) fn cancel_signal(&self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        *self.signal.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
        // It may have been cancelled before this was there to be told.
        if self.cancelled_by().is_some() {
            self.tell_dispatch();
        }
        told
    }

    fn tell_dispatch(&self) {
        let mut signal = self.signal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = signal.take() {
            // Gone: its dispatch is over.
            let _ = tell.send(());
        }
    }

    /// Waits until it is cancelled.
    pub(crate) async fn cancelled(&self) -> CancelledBy {
        loop {
            let woken = self.woken.notified();
            if let Some(by) = self.cancelled_by() {
                return by;
            }
            woken.await;
        }
    }

    /// What it streams.
    pub fn progress(&self) -> &Arc<ProgressLog> {
        self.progress.get_or_init(Arc::default)
    }

    /// Length and digest of what it has streamed; none where that is nothing.
    pub(crate) fn streamed(&self) -> Option<Streamed> {
        self.progress.get()?.streamed()
    }

    /// What it said or did last, in a few words.
    pub fn last_words(&self) -> Option<String> {
        self.progress.get()?.last_words()
    }

    /// Bytes that it has streamed.
    pub fn streamed_bytes(&self) -> u64 {
        self.progress.get().map_or(0, |progress| progress.end())
    }

    /// Whether `name` is its handle, its run or the event of its intent.
    fn is_named(&self, name: &str) -> bool {
        let run = self.run.as_ref().map(RunId::as_str);
        let intent = self.intent().map(AuditId::as_str);
        run == Some(name) || intent == Some(name) || self.handle() == name
    }

    /// Names it for as long as it is under way.
    pub fn handle(&self) -> String {
        format!("call_{}", self.number)
    }
}

/// Every call that is under way.
#[derive(Default)]
pub struct UnderWay(Arc<Table>);

#[derive(Default)]
struct Table {
    calls: Mutex<Calls>,
    ended: Notify,
}

#[derive(Default)]
struct Calls {
    last: u64,
    by_number: BTreeMap<u64, Arc<CallUnderWay>>,
    /// Those whose callers were told that their outcome is not known. Every call looks for itself among them.
    late: BTreeMap<u64, Arc<CallUnderWay>>,
}

/// A call's place among them, until the last clone of this goes.
#[derive(Clone)]
pub(crate) struct Entered {
    pub(crate) call: Arc<CallUnderWay>,
    _place: Arc<TableEntry>,
}

struct TableEntry {
    table: Arc<Table>,
    number: u64,
}

impl Drop for TableEntry {
    fn drop(&mut self) {
        let gone = {
            let mut calls = self.table.calls();
            calls.late.remove(&self.number);
            calls.by_number.remove(&self.number)
        };
        // Those who wait are waiting for effects.
        if gone.is_some_and(|call| !call.is_read) {
            self.table.ended.notify_waiters();
        }
    }
}

impl Table {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    pub(crate) fn enter(&self, facts: CallFacts) -> Entered {
        let mut calls = self.0.calls();
        calls.last += 1;
        let call = Arc::new(CallUnderWay {
            number: calls.last,
            facts,
            intent: OnceLock::new(),
            by: OnceLock::new(),
            revoked: AtomicBool::new(false),
            woken: Notify::new(),
            signal: Mutex::new(None),
            progress: OnceLock::new(),
            with_owner: AtomicU64::new(0),
        });
        calls.by_number.insert(call.number, call.clone());
        let place = TableEntry {
            table: self.0.clone(),
            number: call.number,
        };
        Entered {
            call,
            _place: Arc::new(place),
        }
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<CallUnderWay>> {
        self.0.calls().by_number.values().cloned().collect()
    }

    /// The one of that number.
    pub(crate) fn numbered(&self, number: u64) -> Option<Arc<CallUnderWay>> {
        self.0.calls().by_number.get(&number).cloned()
    }

    /// The one that a run id, the event of an intent or a handle names.
    pub fn named(&self, name: &str) -> Option<Arc<CallUnderWay>> {
        let calls = self.0.calls();
        let named = calls.by_number.values().find(|call| call.is_named(name));
        named.cloned()
    }

    /// From here on the same call is refused until this one is over.
    pub(crate) fn mark_late(&self, call: &Arc<CallUnderWay>) {
        let mut calls = self.0.calls();
        if calls.by_number.contains_key(&call.number) {
            calls.late.insert(call.number, call.clone());
        }
    }

    /// The refusal of a call that was made before and may still happen.
    pub(crate) fn refuses(
        &self,
        agent: &AgentId,
        id: &CapabilityId,
        input: Digest,
    ) -> Option<Refusal> {
        let calls = self.0.calls();
        let same = |call: &&Arc<CallUnderWay>| {
            call.input == input && call.capability == *id && call.principal.agent() == Some(agent)
        };
        let late = calls.late.values().find(same)?;
        let intent = late.intent()?.clone();
        Some(Refusal::OutcomeUnknown { intent })
    }

    /// Waits until an effect is over.
    pub async fn over(&self, call: &CallUnderWay) {
        loop {
            let ended = self.0.ended.notified();
            if !self.0.calls().by_number.contains_key(&call.number) {
                return;
            }
            ended.await;
        }
    }

    /// Waits until no effect is under way.
    pub async fn no_effects(&self) {
        loop {
            let ended = self.0.ended.notified();
            let effects = self.0.calls().by_number.values().any(|call| !call.is_read);
            if !effects {
                return;
            }
            ended.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_with_the_owner_is_not_the_calls() {
        let entered = UnderWay::default().enter(CallFacts {
            principal: Principal::Owner,
            capability: CapabilityId::parse("rude.ask").unwrap(),
            is_read: false,
            input: Digest::of(b"{}"),
            started: Timestamp(0),
            run: None,
            turn_of: None,
            workflow: None,
        });
        let seconds = Duration::from_secs;
        assert_eq!(entered.call.without_owner(seconds(9)), seconds(9));
        for waited in [3, 4] {
            let mut wait = entered.call.wait_for_owner();
            wait.begun = wait.begun.checked_sub(seconds(waited)).unwrap();
        }
        let rest = entered.call.without_owner(seconds(9));
        assert!(rest <= seconds(2) && rest > seconds(1), "{rest:?}");
        // Two may wait side by side.
        assert_eq!(entered.call.without_owner(seconds(6)), Duration::ZERO);
    }
}
