//! What the routes reach, and the few ways in which they and the daemon submit commands.
//!
//! `launch` builds it. A caller that submits for an agent charges it what the log grows by.

use crate::{
    answers::Answers,
    approvals::store::Approvals,
    contents::Contents,
    events::Feed,
    host_sessions::HostSessions,
    lately::Lately,
    latency::Latencies,
    limits::{CallSlot, Limits},
    metrics::Metrics,
    questions::Questions,
    replay::Replays,
    revocations::Revocations,
    runs::Runs,
    seen_plans::SeenPlans,
    under_way::UnderWay,
    wanted_scopes::WantedScopes,
};
use arc_swap::ArcSwap;
use plexus_home::{clock::Clock, state_dir::StateDir};
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{AgentId, AuditId, ErrorBody, ErrorCode, NextKind, PendingId, SourceId};
use plexus_record::{Ledger, audit_id};
use plexus_sources::{Registry, catalogue::Catalogue};
use plexus_supervisor::Supervisor;
use plexus_trust::{Command, Note, Refusal, Reply};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::{MutexGuard, watch};

/// Everything that the routes reach.
pub struct Kernel {
    /// The time.
    pub clock: Clock,
    /// What is allowed, and what happened.
    pub ledger: Ledger,
    /// The workers.
    pub supervisor: Supervisor,
    /// The connectors.
    pub registry: Registry,
    /// What there is to call.
    pub catalogue: ArcSwap<Catalogue>,
    /// The state directory.
    pub state_dir: StateDir,
    /// Pending items, with inputs and plans.
    pub approvals: Approvals,
    /// Questions of sources that wait for the owner.
    pub questions: Questions,
    /// Answers that outlive their caller.
    pub answers: Answers,
    /// Asynchronous calls.
    pub runs: Runs,
    /// What agents have read.
    pub contents: Contents,
    /// Answers by idempotency key.
    pub replays: Replays,
    /// Revocations, those that could not be saved among them.
    pub revocations: Revocations,
    /// Calls under way.
    pub under_way: UnderWay,
    /// The gateway's own sessions as nested agents.
    pub host_sessions: HostSessions,
    /// Rates and slots of agents.
    pub limits: Limits,
    /// What agents called lately.
    pub lately: Lately,
    /// The last effects that the owner was shown.
    pub seen_plans: SeenPlans,
    /// What servers want beyond the owner's sign-ins.
    pub wanted_scopes: WantedScopes,
    /// How long calls took.
    pub latencies: Latencies,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The stream of events.
    pub feed: Feed,
    /// Sources whose workers run without a cage, for as long as this launch lasts.
    pub unsandboxed: BTreeSet<SourceId>,
    /// How far the daemon is from its end.
    pub phase: watch::Sender<Phase>,
    /// Where agents and the owner reach this gateway: fixed for a launch.
    pub base: String,
    /// See [`Self::turn`].
    pub turn: tokio::sync::Mutex<()>,
}

/// How far the daemon is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Calls are taken.
    Serving,
    /// Before another program goes on in this process: calls of connections that are open are served, and nobody waits.
    WindingDown,
    /// New calls are refused.
    Stopping,
}

/// What came of a command.
type Submitted = Result<Receipt<Reply>, SubmitError<Refusal>>;

/// A record of the daemon's own, of no agent and no call.
pub(crate) fn of_ours(detail: Value) -> Command {
    Command::Note(Note {
        kind: "source.settings",
        agent: None,
        capability: None,
        outcome: None,
        detail,
    })
}

/// What the ledger refused by its rules is no trouble of its own.
fn count_unrecorded(metrics: &Metrics, submitted: &Submitted) {
    if submitted
        .as_ref()
        .is_err_and(|e| !matches!(e, SubmitError::Refused(_)))
    {
        metrics.unrecorded();
    }
}

impl Kernel {
    /// How far the daemon is from its end.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the daemon is no longer simply serving.
    pub async fn ending(&self) {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|p| *p != Phase::Serving)
            .await;
    }

    /// Whether new calls are refused because the daemon stops.
    pub fn is_stopping(&self) -> bool {
        self.phase() == Phase::Stopping
    }

    /// What is read of a source or a setting stays so until it is dropped. Held over commits and nothing slower.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Submits an act of the owner, or one of the daemon's that belongs to it.
    pub async fn owner(&self, command: Command) -> Result<Reply, SubmitError<Refusal>> {
        self.in_lane(command, Lane::Owner).await
    }

    /// Takes an agent's own request back, and what was kept of its inputs.
    ///
    /// # Errors
    /// It does not wait, is not the agent's, or this cannot be recorded.
    pub async fn withdraw(
        &self,
        agent: &AgentId,
        item: &PendingId,
    ) -> Result<(), SubmitError<Refusal>> {
        let withdraw = Command::Withdraw {
            agent: agent.clone(),
            item: item.clone(),
        };
        self.submit_for(agent, withdraw).await?;
        self.approvals.drop_input(item);
        Ok(())
    }

    /// Submits what the daemon does of itself, now and again: it takes no place and no space that is the owner's.
    pub async fn unasked(&self, command: Command) -> Result<Reply, SubmitError<Refusal>> {
        self.in_lane(command, Lane::Agent).await
    }

    async fn in_lane(&self, command: Command, lane: Lane) -> Result<Reply, SubmitError<Refusal>> {
        let submitted = self.ledger.submit(command, lane).await;
        count_unrecorded(&self.metrics, &submitted);
        submitted.map(|receipt| receipt.reply)
    }

    /// Whether `agent` may have one more call; asked before anything is written for it.
    ///
    /// # Errors
    /// 429 `rate_limited`. It is counted, and recorded with others of its kind.
    pub fn admit(&self, agent: &AgentId) -> Result<(), Box<ErrorBody>> {
        let state = self.ledger.snapshot();
        let bounds = state.agent(agent).map(|a| a.bounds).unwrap_or_default();
        let admitted = self.limits.admit(agent, &bounds, self.clock.now());
        admitted.map_err(|exceeded| {
            self.metrics.limited(exceeded);
            Box::new(exceeded.refusal(agent))
        })
    }

    /// A place for a call of `agent`, or for the answer of one.
    ///
    /// # Errors
    /// 429 `rate_limited`.
    pub fn place(&self, agent: &AgentId) -> Result<CallSlot, Box<ErrorBody>> {
        self.limits.enter(agent).ok_or_else(|| {
            self.metrics.too_many_under_way();
            let why = "Too many of your calls are under way at once.";
            let error = ErrorBody::new(ErrorCode::RateLimited, why).with("retryAfterMs", 250);
            Box::new(error.then(NextKind::Retry, "wait for some of your calls to end"))
        })
    }

    /// The answer of the ledger's writer to `command` as things stand: the reply, where nothing would change, so that the
    /// writer need not be asked. It decides by itself and last of what changes something; this spares the disk what is to
    /// lie there before such a command does.
    ///
    /// # Errors
    /// It would refuse.
    pub fn foresee(&self, command: &Command) -> Result<Option<Reply>, SubmitError<Refusal>> {
        let decided = plexus_trust::decide(&self.ledger.snapshot(), command, self.clock.now());
        let (events, reply) = decided.map_err(SubmitError::Refused)?;
        Ok(events.is_empty().then_some(reply))
    }

    /// Submits what was done for `agent`, and charges it what the log grows by.
    pub fn submit_for(
        &self,
        agent: &AgentId,
        command: Command,
    ) -> impl Future<Output = Submitted> + Send + use<> {
        self.charged(agent, self.ledger.submit(command, Lane::Agent))
    }

    /// Charges `agent` what the log grows by.
    pub(crate) fn charged<F: Future<Output = Submitted> + Send>(
        &self,
        agent: &AgentId,
        submitted: F,
    ) -> impl Future<Output = Submitted> + Send + use<F> {
        let charge = self.limits.charge(agent, self.clock.now());
        let metrics = self.metrics.clone();
        async move {
            let receipt = submitted.await;
            count_unrecorded(&metrics, &receipt);
            let events = receipt.as_ref().map_or(&[][..], |r| &r.events);
            charge.settle(events.iter().map(|event| event.bytes).sum());
            receipt
        }
    }

    /// Records something that changes no state. A record that cannot be written is logged.
    pub async fn note(&self, note: Note) -> Option<AuditId> {
        let agent = note.agent.clone();
        let command = Command::Note(note);
        let submitted = match agent {
            Some(agent) => self.submit_for(&agent, command).await,
            None => self.ledger.submit(command, Lane::Agent).await,
        };
        match submitted {
            Ok(receipt) => receipt.events.first().map(|e| audit_id(e.id)),
            Err(error) => {
                tracing::warn!(name: "audit.note_failed", %error, "a note could not be recorded");
                None
            }
        }
    }

    /// Records something about the launch or an act of the owner, of no agent and no call: for the owner, so also on a
    /// full disk.
    pub async fn remark(&self, detail: Value) {
        let note = of_ours(detail);
        if let Err(error) = self.owner(note).await {
            tracing::warn!(name: "audit.note_failed", %error, "a remark could not be recorded");
        }
    }
}
