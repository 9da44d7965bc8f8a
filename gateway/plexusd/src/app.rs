//! What the routes reach, and the few ways in which they and the daemon submit commands.
//!
//! `launch` builds it. Whoever submits for an agent charges it what the log grows by.

use crate::{
    approvals::Approvals,
    connection_key::KeyFile,
    console::sessions::Sessions,
    events::Feed,
    figures::Figures,
    http::{self, acting::Acts, address::Address, reply::Refused, throttle::Throttle},
    invoke::{
        contents::Contents,
        limits::{Limits, Place},
        replay::Replays,
        runs::Runs,
        settle::Late,
        taken_back::TakenBack,
    },
    token::TokenKey,
    upgrade::{self, Came},
};
use arc_swap::ArcSwap;
use plexus_home::{clock::Clock, state_dir::StateDir};
use plexus_ledger::{Lane, Receipt, SubmitError};
use plexus_protocol::{AgentId, AuditId, ErrorBody, ErrorCode, SourceId, Timestamp};
use plexus_record::{Ledger, audit_id};
use plexus_sources::{Registry, catalogue::Catalogue};
use plexus_supervisor::Supervisor;
use plexus_trust::{Command, Note, Refusal, Reply};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Instant,
};
use tokio::sync::watch;

/// Everything that the routes reach.
pub(crate) struct App {
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) supervisor: Supervisor,
    pub(crate) registry: Registry,
    pub(crate) catalogue: ArcSwap<Catalogue>,
    pub(crate) discovery: http::discovery::Made,
    pub(crate) tokens: TokenKey,
    pub(crate) key: KeyFile,
    pub(crate) state_dir: StateDir,
    pub(crate) approvals: Approvals,
    pub(crate) runs: Runs,
    pub(crate) contents: Contents,
    pub(crate) replays: Replays,
    pub(crate) taken_back: TakenBack,
    pub(crate) late: Late,
    pub(crate) limits: Limits,
    pub(crate) throttle: Throttle,
    pub(crate) figures: Arc<Figures>,
    pub(crate) address: Address,
    pub(crate) feed: Feed,
    /// Who is signed in to the console.
    pub(crate) console: Sessions,
    pub(crate) instance: Option<String>,
    /// Sources whose workers run without a cage, for as long as this launch lasts.
    pub(crate) unsandboxed: BTreeSet<SourceId>,
    pub(crate) started: Instant,
    pub(crate) started_by: &'static str,
    /// The last time that the log and the rows were compared: at this start, or by the owner's `audit verify`.
    pub(crate) checked: Mutex<Checked>,
    /// Rises with each rotation of the connection key in this launch.
    pub(crate) key_epoch: AtomicU64,
    pub(crate) acts: Acts,
    /// Number of this launch, from 1.
    pub(crate) launch: u64,
    /// How it came about, where it was not a start.
    pub(crate) came: Option<Came>,
    pub(crate) upgrade: upgrade::Desk,
    pub(crate) phase: watch::Sender<Phase>,
}

/// How far the daemon is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Before another program goes on in this process: calls of connections that are open are served, and nobody waits.
    WindingDown,
    /// New calls are refused.
    Stopping,
}

/// What came of a command.
type Submitted = Result<Receipt<Reply>, SubmitError<Refusal>>;

/// What a comparison of the log with the rows came to.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) at: Timestamp,
    /// `start` (from the last checkpoint on) or `verify` (all of it).
    pub(crate) by: &'static str,
    pub(crate) holds: bool,
}

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
fn count_unrecorded(figures: &Figures, submitted: &Submitted) {
    if submitted
        .as_ref()
        .is_err_and(|e| !matches!(e, SubmitError::Refused(_)))
    {
        figures.unrecorded();
    }
}

impl App {
    /// How far the daemon is from its end.
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the daemon is no longer simply serving.
    pub(crate) async fn ending(&self) {
        let _ = self
            .phase
            .subscribe()
            .wait_for(|p| *p != Phase::Serving)
            .await;
    }

    /// Whether new calls are refused because the daemon stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.phase() == Phase::Stopping
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Submits an act of the owner, or one of the daemon's that belongs to it.
    pub(crate) async fn owner(&self, command: Command) -> Result<Reply, SubmitError<Refusal>> {
        self.in_lane(command, Lane::Owner).await
    }

    /// Submits what the daemon does of itself, now and again: it takes no place and no space that is the owner's.
    pub(crate) async fn unasked(&self, command: Command) -> Result<Reply, SubmitError<Refusal>> {
        self.in_lane(command, Lane::Agent).await
    }

    async fn in_lane(&self, command: Command, lane: Lane) -> Result<Reply, SubmitError<Refusal>> {
        let submitted = self.ledger.submit(command, lane).await;
        count_unrecorded(&self.figures, &submitted);
        submitted.map(|receipt| receipt.reply)
    }

    /// Whether `agent` may have one more call; asked before anything is written for it.
    ///
    /// # Errors
    /// 429 `rate_limited`. It is counted, and recorded with others of its kind.
    pub(crate) fn admit(&self, agent: &AgentId) -> Result<(), Refused> {
        let state = self.ledger.snapshot();
        let bounds = state.agent(agent).map(|a| a.bounds).unwrap_or_default();
        let admitted = self.limits.admit(agent, &bounds, self.clock.now());
        admitted.map_err(|exceeded| {
            self.figures.limited(exceeded);
            Refused::new(exceeded.refusal(agent))
        })
    }

    /// A place for a call of `agent`, or for the answer of one.
    ///
    /// # Errors
    /// 429 `rate_limited`.
    pub(crate) fn place(&self, agent: &AgentId) -> Result<Place, Box<ErrorBody>> {
        self.limits.enter(agent).ok_or_else(|| {
            self.figures.too_many_under_way();
            let why = "Too many of your calls are under way at once.";
            let error = ErrorBody::new(ErrorCode::RateLimited, why).with("retryAfterMs", 250);
            Box::new(error.next("wait for some of your calls to end"))
        })
    }

    /// Whether the ledger's writer would refuse `command` as things stand. It decides by itself and last; this spares the
    /// disk what is to lie there before the command does.
    ///
    /// # Errors
    /// What it would say.
    pub(crate) fn foresee(&self, command: &Command) -> Result<(), SubmitError<Refusal>> {
        let decided = plexus_trust::decide(&self.ledger.snapshot(), command, self.clock.now());
        decided.map(|_| ()).map_err(SubmitError::Refused)
    }

    /// Submits what was done for `agent`, and charges it what the log grows by.
    pub(crate) fn submit_for(
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
        let figures = self.figures.clone();
        async move {
            let receipt = submitted.await;
            count_unrecorded(&figures, &receipt);
            let events = receipt.as_ref().map_or(&[][..], |r| &r.events);
            charge.settle(events.iter().map(|event| event.bytes).sum());
            receipt
        }
    }

    /// Records something that changes no state. A record that cannot be written is logged.
    pub(crate) async fn note(&self, note: Note) -> Option<AuditId> {
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
    pub(crate) async fn remark(&self, detail: Value) {
        let note = of_ours(detail);
        if let Err(error) = self.owner(note).await {
            tracing::warn!(name: "audit.note_failed", %error, "a remark could not be recorded");
        }
    }
}
