//! What callers hand in and get back, and the ticket that a waiting caller holds.
//!
//! Invariants: every accepted call gets exactly one answer; dropping the ticket of a read cancels it, dropping that of
//! a commit changes nothing. What a worker says of a commit after its deadline goes to the caller that asked to hear it.
//!
//! Must not know: processes, states of a worker.

use super::{notice::Cause, setup::Spec};
use bytes::Bytes;
use plexus_ipc::{
    message::{
        Answer, Call, Chunk, Commit, Content, MAX_CHUNK, PROGRESS_WINDOW, PlanMade, Role, Stamp,
        ToWorker, Touched, Verdict, WorkerError,
    },
    text::{Line, Payload},
};
use plexus_protocol::{AuditId, Constraint, Digest, Verb};
use std::{fmt, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

/// How long after a call's deadline the worker's own word about it is still waited for.
const GRACE: Duration = Duration::from_millis(500);

/// Asked at the last moment before a call is sent: does what allowed it still stand? The default always does.
#[derive(Clone, Default)]
pub struct Stands(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stands {
    /// It stands for as long as `look` says so.
    pub fn while_so(look: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(look)))
    }

    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|look| look())
    }
}

impl fmt::Debug for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stands")
    }
}

/// One call.
#[derive(Debug)]
pub struct CallRequest {
    /// The name that the manifest gives.
    pub capability: String,
    /// Canonical JSON (RFC 8785).
    pub input: Bytes,
    /// SHA-256 of `input`.
    pub digest: Digest,
    /// The narrowing of the permit.
    pub constraint: Option<Constraint>,
    /// How long it may take from now, in awake time.
    pub deadline: Duration,
    /// The revision of the source that the permit is for: a call for another one is not dispatched.
    pub revision: u64,
    /// Whether the owner asks: the owner's calls go first and have a slot of their own.
    pub owner: bool,
    /// Whether it may still be sent when its turn comes.
    pub stands: Stands,
    /// The caller's name for it, where its worker may make calls of its own for it.
    pub origin: Option<u64>,
    /// Its event, where it has one. For a commit that of the proof is used.
    pub audit: Option<AuditId>,
    /// Who gets what it streams. Without one that is dropped.
    pub progress: Option<Listener>,
    /// Told when the effect is not wanted any more; reads and plans are cancelled by dropping them.
    pub cancel: Option<oneshot::Receiver<()>>,
    /// Who hears the worker's word on a commit whose caller was told that its deadline has passed; dropped when the
    /// worker has ended without one.
    pub late: Option<oneshot::Sender<Finished>>,
}

/// Gets what a call streams, piece by piece, in order. Called on the gateway's thread: it returns at once.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(Chunk, Credit) + Send + Sync>);

impl Listener {
    /// Hands each piece to `listen`, which drops the credit when it has room for more.
    pub fn new(listen: impl Fn(Chunk, Credit) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// What a piece of progress used of its call's credit: dropped, the worker may send as much again.
#[derive(Debug)]
pub struct Credit {
    call: u64,
    bytes: u32,
    commands: mpsc::WeakUnboundedSender<Command>,
}

impl Drop for Credit {
    fn drop(&mut self) {
        if let Some(commands) = self.commands.upgrade() {
            drop(commands.send(Command::Credit(self.call, self.bytes)));
        }
    }
}

/// What a call has streamed, held against its credit.
#[derive(Debug)]
pub(super) struct Progress {
    /// Bytes that the worker may still send.
    left: u32,
    listener: Option<Listener>,
    /// Where credit is given back.
    commands: Option<mpsc::WeakUnboundedSender<Command>>,
}

impl Progress {
    pub(super) fn of(listener: Option<Listener>) -> Self {
        Self {
            left: PROGRESS_WINDOW,
            listener,
            commands: None,
        }
    }

    pub(super) fn returns_to(&mut self, commands: &mpsc::UnboundedSender<Command>) {
        if self.listener.is_some() {
            self.commands = Some(commands.downgrade());
        }
    }

    /// Passes a piece on. False: the worker had no credit for it.
    pub(super) fn pass(&mut self, call: u64, chunk: Chunk) -> bool {
        let bytes = chunk.cost();
        let Some(left) = self.left.checked_sub(bytes) else {
            return false;
        };
        if chunk.len() > MAX_CHUNK {
            return false;
        }
        self.left = left;
        if let (Some(listener), Some(commands)) = (&self.listener, &self.commands) {
            let commands = commands.clone();
            let credit = Credit {
                call,
                bytes,
                commands,
            };
            (listener.0)(chunk, credit);
        }
        true
    }

    pub(super) fn give(&mut self, bytes: u32) {
        self.left = self.left.saturating_add(bytes).min(PROGRESS_WINDOW);
    }
}

/// What a commit is held against.
#[derive(Clone, Copy, Debug)]
pub struct CommitTerms {
    /// That of the plan which the owner approved.
    pub state_token: Option<Digest>,
    /// What the agent knows to be there.
    pub expect: Option<Content>,
    /// Names the conversation that it is a turn of.
    pub conversation: Option<Digest>,
    /// The highest rating that the permit allows.
    pub permit_rating: Verb,
}

/// The end of a call that reached a worker.
#[derive(Debug)]
pub struct Finished {
    /// The worker's answer; its output is exactly one JSON value within the capability's limit.
    pub result: Result<Answer, WorkerError>,
    /// What it touched; of a failure, what it may have changed.
    pub touched: Vec<Touched>,
}

/// Why there is no answer of a worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    /// Too much waits already. Nothing was done.
    #[error("too many calls wait for this source")]
    Busy {
        /// When to ask again.
        retry_after: Duration,
    },
    /// There is no such source, or it has no worker for this. Nothing was done.
    #[error("there is no such source")]
    NoSource,
    /// No worker could be had. Nothing was done.
    #[error("{message}")]
    Unavailable {
        /// The kind.
        reason: Unavailable,
        /// One sentence for the owner.
        message: String,
        /// The same for an agent: a sentence of ours.
        told: &'static str,
    },
    /// It took longer than it may.
    #[error("the deadline has passed")]
    Deadline {
        /// Whether it was sent to a worker: then an effect may have happened.
        dispatched: bool,
    },
    /// The worker ended under it, for a read more often than it is tried again.
    #[error("the worker ended")]
    Died {
        /// Whether it was sent to a worker: then an effect may have happened.
        dispatched: bool,
    },
    /// It was cancelled, or what allowed it was revoked, before it was sent. Nothing was done.
    #[error("it was taken back")]
    TakenBack,
    /// The daemon stops. Nothing was done.
    #[error("the gateway is stopping")]
    ShuttingDown,
}

impl DispatchError {
    /// Whether the source runs something else than the owner agreed to.
    #[must_use]
    pub fn is_code_changed(&self) -> bool {
        let changed = Unavailable::CodeChanged;
        matches!(self, Self::Unavailable { reason, .. } if *reason == changed)
    }
}

/// The kinds of [`DispatchError::Unavailable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// A worker cannot be started.
    CannotStart,
    /// The worker says that its source cannot be opened.
    CannotOpen,
    /// The source was replaced or removed while the call waited, or the call is for another revision.
    Replaced,
    /// The call cannot be said to a worker: it is too large.
    Unsendable,
    /// What the source runs is not what the owner agreed to.
    CodeChanged,
}

/// What is asked of a worker.
#[derive(Debug)]
pub(super) enum Question {
    Read(Call),
    Plan(Call),
    Commit(Box<Commit>),
    Settle(AuditId),
}

/// What a worker answered.
#[derive(Debug)]
pub(super) enum Reply {
    Finished(Finished),
    Planned(Result<Box<PlanMade>, WorkerError>),
    Settled(Verdict),
}

pub(super) type Outcome = Result<Reply, DispatchError>;

/// A call on its way.
#[derive(Debug)]
pub(super) struct Job {
    /// Unique in this supervisor; also what the worker knows it by.
    pub(super) id: u64,
    pub(super) question: Question,
    pub(super) until: Instant,
    pub(super) revision: u64,
    pub(super) owner: bool,
    pub(super) origin: Option<u64>,
    pub(super) stands: Stands,
    /// Largest output, in bytes.
    pub(super) most: usize,
    /// How often a worker ended under it.
    pub(super) deaths: u8,
    pub(super) progress: Progress,
    pub(super) late: Option<oneshot::Sender<Finished>>,
    /// `None` once it is answered.
    pub(super) reply: Option<oneshot::Sender<Outcome>>,
}

impl Job {
    pub(super) fn role(&self) -> Role {
        match self.question {
            Question::Read(_) | Question::Plan(_) => Role::Reader,
            Question::Commit(_) | Question::Settle(_) => Role::Writer,
        }
    }

    /// Whether it may change something.
    pub(super) fn is_effect(&self) -> bool {
        matches!(self.question, Question::Commit(_))
    }

    pub(super) fn answer(&mut self, outcome: Outcome) {
        // Gone: nobody waits.
        if let Some(reply) = self.reply.take() {
            drop(reply.send(outcome));
        } else if let Ok(Reply::Finished(finished)) = outcome
            && let Some(late) = self.late.take()
        {
            drop(late.send(finished));
        }
    }

    /// The message that asks it, with the time that is left.
    pub(super) fn message(&self, now: Instant) -> ToWorker {
        let left = self.until.saturating_duration_since(now).as_millis();
        let timed = |call: &Call| Call {
            deadline_ms: left.try_into().unwrap_or(u64::MAX),
            ..call.clone()
        };
        match &self.question {
            Question::Read(call) => ToWorker::Read(timed(call)),
            Question::Plan(call) => ToWorker::Plan(timed(call)),
            Question::Commit(commit) => {
                let call = timed(&commit.call);
                ToWorker::Commit(Box::new(Commit {
                    call,
                    ..(**commit).clone()
                }))
            }
            Question::Settle(audit) => ToWorker::Settle {
                id: self.id,
                audit: audit.clone(),
            },
        }
    }
}

impl CallRequest {
    /// As a worker is told of it.
    pub(super) fn call(&self, id: u64) -> Call {
        Call {
            id,
            audit: self.audit.clone(),
            owner: self.owner,
            capability: Line::new(&self.capability),
            input: Payload(self.input.clone()),
            input_digest: self.digest,
            constraint: self.constraint.clone(),
            // Set when it is sent.
            deadline_ms: 0,
        }
    }
}

impl CommitTerms {
    pub(super) fn commit(self, call: Call, durable: Stamp) -> Question {
        Question::Commit(Box::new(Commit {
            call,
            state_token: self.state_token,
            expect: self.expect,
            conversation: self.conversation,
            permit_rating: self.permit_rating,
            durable,
        }))
    }
}

/// A caller's hold on a call that was handed in.
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) until: Instant,
    /// Whether dropping it cancels.
    pub(super) cancels: bool,
    pub(super) cancel: Option<oneshot::Receiver<()>>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) answer: oneshot::Receiver<Outcome>,
}

impl Ticket {
    pub(super) async fn wait(mut self) -> Outcome {
        let until = self.until + GRACE;
        let mut cancel = self.cancel.take();
        let cancelled = async {
            match &mut cancel {
                Some(cancel) => cancel.await.is_ok(),
                None => false,
            }
        };
        let answer = tokio::select! {
            biased;
            answer = timeout_at(until, &mut self.answer) => answer,
            true = cancelled => {
                // It may be done all the same, and its worker says so: there is as much time for that as before.
                drop(self.commands.send(Command::CancelEffect(self.id)));
                timeout_at(until, &mut self.answer).await
            }
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) => {
                // The actor knows whether it was sent, and answers at once.
                drop(self.commands.send(Command::Late(self.id)));
                (&mut self.answer).await
            }
        };
        self.cancels = false;
        // No answer at all: the actor failed, and what it did with the call is not known.
        answer.unwrap_or(Err(DispatchError::Died { dispatched: true }))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.cancels {
            drop(self.commands.send(Command::Cancel(self.id)));
        }
    }
}

/// What an actor is told.
pub(super) enum Command {
    Call(Box<Job>),
    /// Nobody waits for it any more.
    Cancel(u64),
    /// The effect is not wanted any more; its caller waits for what was done.
    CancelEffect(u64),
    /// The call may stream so many bytes more.
    Credit(u64, u32),
    /// Its caller has waited long enough and wants to know where it is.
    Late(u64),
    /// How is the app? Starts the worker if need be.
    Probe(oneshot::Sender<()>),
    Replace(Arc<Spec>),
    /// Stop the worker, answer everything, end.
    End(Ending, oneshot::Sender<()>),
}

/// Why an actor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Removed,
    Shutdown,
}

impl Ending {
    pub(super) fn cause(self) -> Cause {
        match self {
            Self::Removed => Cause::Removed,
            Self::Shutdown => Cause::Shutdown,
        }
    }
}
