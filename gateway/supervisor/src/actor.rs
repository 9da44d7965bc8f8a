//! The life of one (source, role): who runs now, what waits for it, what follows when it ends.
//!
//! ```text
//!            ┌────────────────────────────── idle, replaced ──────────────────────────────┐
//!            ▼                                                                             │
//!  ┌──── Stopped ─call, probe─▶ Starting ─Opened─▶ Up: serving ─missed probe─▶ Up: stopping ─▶ Reaping
//!  │         ▲                    ▲  ▲ │                │ exit, bad frame                       │ ▲
//!  │         │ nobody waits       │  │ └─failed─┐       └───────────────────────────────────────┼─┘
//!  │         └────────── Backoff ─┘  │          ▼                                               │
//!  │                       ▲         └─later─ Failed ◀─5th in a row─ a start that failed,       │
//!  │                       └─────────────────────────── or a worker that answered nothing ◀─────┤
//!  └─▶ end of the actor, when the source is removed or the daemon stops      had answered ─▶ Starting
//! ```
//!
//! Invariants: at most one process that was not killed, of this actor and of those that had its source before it was
//! removed and put back; a commit is sent at most once; every call is answered exactly once; a call permitted for one
//! revision is never sent to a worker of another; whatever the worker does, the actor stays able to hear commands: it
//! waits for nothing but the queue to the worker, which has room for more than may be under way; however much the
//! worker says, other tasks have their turn.
//!
//! Must not know: grants, HTTP, what a capability does.

mod handle;
mod live;
mod outcome;
mod unasked;

use super::{
    Context, Spec,
    call::{Command, DispatchError, Ending, Job, Unavailable},
    notice::{Cause, Health, Notice, SourceHealth, WorkerState, now},
    process::Process,
    queue::Queue,
    start::{self, Exit, StartError, Started},
    turns::{First, Turns},
};
pub(super) use handle::Handle;
use handle::View;
pub use live::UNDER_WAY;
use live::{Live, LiveEvent};
pub(super) use outcome::refusal;
use plexus_ipc::message::{self, Role, ToWorker};

use std::{
    future::pending,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

/// Starts in a row that may fail before the source counts as failed (docs/design.md#workers).
pub const START_ATTEMPTS: u32 = 5;
/// How often a read is tried again when its worker ends (docs/design.md#the-life-of-a-call).
pub const READ_RETRIES: u8 = 3;

struct Actor<P: Process> {
    context: Arc<Context<P>>,
    spec: Arc<Spec>,
    role: Role,
    /// Those whose source was removed and is put back in this one.
    before: Vec<Handle>,
    queue: Queue,
    stage: ProcessState<P>,
    turns: Turns,
    /// Starts in a row that came to nothing.
    failures: u32,
    /// Why the last start that was reported failed came to nothing.
    reported: String,
    /// What a call is answered while the source counts as failed.
    refusal: Option<DispatchError>,
    ending: Option<Ending>,
    enders: Vec<oneshot::Sender<()>>,
    /// Who waits for a fresh word about the app.
    probes: Vec<oneshot::Sender<()>>,
    view: Arc<Mutex<View>>,
}

/// Something that goes on while the actor stays able to hear.
pub(super) type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

enum ProcessState<P: Process> {
    Stopped,
    Starting {
        attempt: Running<Result<Started<P>, StartError>>,
        call_off: Arc<Notify>,
        revision: u64,
    },
    Up(Box<Live<P>>),
    Reaping {
        reaping: Running<Exit>,
        after: After,
    },
    /// Backoff, or failed.
    Waiting {
        until: Instant,
        /// From when on a call ends it, where the source has failed.
        calls_from: Instant,
    },
}

/// What is known of a worker while it is reaped.
struct After {
    pid: u32,
    /// Calls that are answered when nobody of their runs is left.
    died: Vec<Job>,
    cause: Cause,
    answered: bool,
    revision: u64,
}

enum Event<P: Process> {
    Started(Result<Started<P>, StartError>),
    Live(LiveEvent),
    Reaped(Exit),
    Due,
}

impl<P: Process> ProcessState<P> {
    /// What happens next. Cancelling it loses nothing.
    async fn next(&mut self) -> Event<P> {
        match self {
            Self::Stopped => pending().await,
            Self::Starting { attempt, .. } => Event::Started(attempt.await),
            Self::Up(live) => Event::Live(live.next().await),
            Self::Reaping { reaping, .. } => Event::Reaped(reaping.await),
            Self::Waiting { until, .. } => {
                sleep_until(*until).await;
                Event::Due
            }
        }
    }
}

impl<P: Process> Actor<P> {
    fn new(
        context: Arc<Context<P>>,
        spec: Arc<Spec>,
        role: Role,
        before: Vec<Handle>,
        view: Arc<Mutex<View>>,
    ) -> Self {
        Self {
            context,
            spec,
            role,
            before,
            queue: Queue::default(),
            stage: ProcessState::Stopped,
            turns: Turns::default(),
            failures: 0,
            reported: String::new(),
            refusal: None,
            ending: None,
            enders: Vec::new(),
            probes: Vec::new(),
            view,
        }
    }

    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut attended = true;
        loop {
            self.go_on().await;
            if self.ending.is_some() && matches!(self.stage, ProcessState::Stopped) {
                break;
            }
            let told = async {
                if !attended {
                    return pending().await;
                }
                commands.recv().await
            };
            match self.turns.first(told, self.stage.next()).await {
                First::One(Some(command)) => self.command(command).await,
                // The supervisor itself is gone.
                First::One(None) => {
                    attended = false;
                    self.end(Ending::Shutdown).await;
                }
                First::Other(event) => self.event(event).await,
            }
            // The whole daemon runs on one thread, and what a worker has written may be thousands of events at once.
            consume_budget().await;
        }
        commands.close();
        let refusal = self.refusal.clone().unwrap_or(DispatchError::ShuttingDown);
        self.queue.refuse(&refusal);
        while let Ok(command) = commands.try_recv() {
            match command {
                Command::Call(mut job) => job.answer(Err(refusal.clone())),
                Command::End(_, done) => self.enders.push(done),
                // Dropping what waits for an answer is the answer.
                Command::Cancel(_)
                | Command::CancelEffect(_)
                | Command::Credit(..)
                | Command::Late(_)
                | Command::Probe(_)
                | Command::Replace(_) => {}
            }
        }
        for done in self.enders.drain(..) {
            let _ = done.send(());
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Call(job) => self.call(job),
            Command::Cancel(id) => self.cancel(id).await,
            Command::CancelEffect(id) => self.cancel_effect(id).await,
            Command::Credit(id, bytes) => {
                if let ProcessState::Up(live) = &mut self.stage {
                    live.credit(id, bytes).await;
                }
            }
            Command::Late(id) => self.late(id).await,
            Command::Probe(waiting) => {
                self.probes.push(waiting);
                match &mut self.stage {
                    ProcessState::Up(live) => live.check_now(),
                    // The owner asks, so perhaps the owner has mended it: no more waiting.
                    ProcessState::Waiting { .. } => self.begin(),
                    ProcessState::Stopped
                    | ProcessState::Starting { .. }
                    | ProcessState::Reaping { .. } => {}
                }
            }
            Command::Replace(spec) => self.replace(spec).await,
            Command::End(ending, done) => {
                self.enders.push(done);
                self.end(ending).await;
            }
        }
    }

    fn call(&mut self, mut job: Box<Job>) {
        if let ProcessState::Waiting { calls_from, .. } = self.stage
            && self.refusal.is_some()
            && job.revision == self.spec.revision
            && Instant::now() >= calls_from
        {
            self.begin();
        }
        // What the present revision suffers from is not held against a call that was permitted for another.
        if self.ending.is_none() && job.revision != self.spec.revision {
            job.answer(Err(replaced()));
        } else if let Some(refusal) = &self.refusal {
            job.answer(Err(refusal.clone()));
        } else {
            self.queue.push(job);
        }
    }

    async fn cancel(&mut self, id: u64) {
        if self.queue.remove(id).is_none()
            && let ProcessState::Up(live) = &mut self.stage
        {
            live.cancel(id).await;
        }
    }

    async fn cancel_effect(&mut self, id: u64) {
        if let Some(mut job) = self.queue.remove(id) {
            job.answer(Err(DispatchError::TakenBack));
        } else if let ProcessState::Up(live) = &mut self.stage {
            live.say_of(id, ToWorker::Cancel { id }).await;
        }
    }

    async fn late(&mut self, id: u64) {
        if let Some(mut job) = self.queue.remove(id) {
            job.answer(Err(DispatchError::Deadline { dispatched: false }));
            return;
        }
        match &mut self.stage {
            ProcessState::Up(live) => live.late(id).await,
            ProcessState::Reaping { after, .. } => {
                if let Some(job) = after.died.iter_mut().find(|job| job.id == id) {
                    job.answer(Err(DispatchError::Deadline { dispatched: true }));
                }
            }
            _ => {}
        }
    }

    async fn replace(&mut self, spec: Arc<Spec>) {
        let same = spec.revision == self.spec.revision;
        self.spec = spec;
        if same {
            return;
        }
        self.failures = 0;
        self.refusal = None;
        self.queue.refuse(&replaced());
        match &mut self.stage {
            ProcessState::Starting { call_off, .. } => call_off.notify_one(),
            ProcessState::Up(live) => live.stop(Cause::Replaced, &replaced()).await,
            ProcessState::Waiting { .. } => self.stop_stage(),
            ProcessState::Stopped | ProcessState::Reaping { .. } => {}
        }
        self.show(|view| view.health = SourceHealth::unknown());
    }

    async fn end(&mut self, ending: Ending) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        let cause = ending.cause();
        let refusal = match ending {
            Ending::Removed => replaced(),
            Ending::Shutdown => DispatchError::ShuttingDown,
        };
        self.queue.refuse(&refusal);
        match &mut self.stage {
            ProcessState::Starting { call_off, .. } => call_off.notify_one(),
            ProcessState::Up(live) => live.stop(cause, &refusal).await,
            ProcessState::Waiting { .. } => self.stop_stage(),
            ProcessState::Stopped | ProcessState::Reaping { .. } => {}
        }
        self.refusal = Some(refusal);
    }

    async fn event(&mut self, event: Event<P>) {
        match event {
            Event::Started(Ok(started)) => self.started(started).await,
            Event::Started(Err(error)) => self.start_failed(error),
            Event::Live(said) => self.heard(said).await,
            Event::Reaped(exit) => self.reaped(exit),
            // Backoff is over, or it is time to try a failed source again.
            Event::Due if self.refusal.is_some() || self.wanted() => self.begin(),
            Event::Due => self.stop_stage(),
        }
    }

    /// Does what the state allows now: starts what is wanted, sends what waits.
    async fn go_on(&mut self) {
        if matches!(self.stage, ProcessState::Stopped) && self.ending.is_none() && self.wanted() {
            self.begin();
        }
        if let ProcessState::Up(live) = &mut self.stage {
            live.pump(&mut self.queue).await;
        }
    }

    fn wanted(&self) -> bool {
        self.spec.offer.manifest.resident || !self.queue.is_empty() || !self.probes.is_empty()
    }

    fn begin(&mut self) {
        let call_off = Arc::new(Notify::new());
        let (context, spec) = (Arc::clone(&self.context), Arc::clone(&self.spec));
        let revision = spec.revision;
        // A try for a failed source: calls that come meanwhile wait for how it ends.
        self.refusal = None;
        self.before.retain(|actor| !actor.commands.is_closed());
        let (before, role, off) = (self.before.clone(), self.role, Arc::clone(&call_off));
        let attempt = async move {
            for actor in before {
                tokio::select! {
                    biased;
                    () = off.notified() => return Err(StartError::CalledOff),
                    () = actor.commands.closed() => {}
                }
            }
            start::start(context, spec, role, off).await
        };
        self.stage = ProcessState::Starting {
            attempt: Box::pin(attempt),
            call_off,
            revision,
        };
        self.state(WorkerState::Starting, None);
    }

    fn stop_stage(&mut self) {
        self.stage = ProcessState::Stopped;
        self.state(WorkerState::Stopped, None);
    }

    fn answer_probes(&mut self) {
        for waiting in self.probes.drain(..) {
            let _ = waiting.send(());
        }
    }

    fn show(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn state(&self, state: WorkerState, pid: Option<u32>) {
        self.show(|view| {
            if view.state != state {
                view.state = state;
                view.since = now();
            }
            view.pid = pid;
        });
    }

    fn health(&self, health: SourceHealth) {
        let mut news = false;
        self.show(|view| {
            news = view.health.differs(&health);
            view.health = health.clone();
        });
        // A source is as well as its reader: what ails a writer is told by its starts and ends, but for what only it sees.
        let is_told = self.role == Role::Reader || health.status == Health::Degraded;
        if news && is_told {
            let source = self.spec.source.clone();
            self.context.notify(Notice::Health { source, health });
        }
    }
}

pub(super) fn replaced() -> DispatchError {
    DispatchError::Unavailable {
        reason: Unavailable::Replaced,
        message: "the source was changed or removed while the call waited".into(),
        told: "The source was changed or removed while the call waited.",
    }
}

impl From<message::Health> for SourceHealth {
    fn from(health: message::Health) -> Self {
        match health {
            message::Health::Well => Self::of(Health::Ok, None),
            message::Health::Degraded(why) => {
                let told = "The source works only in part, or slowly.";
                Self::of(Health::Degraded, Some((why.to_string(), told)))
            }
            message::Health::Unavailable(why) => {
                let told = "What the source serves cannot be reached.";
                Self::of(Health::Unavailable, Some((why.to_string(), told)))
            }
        }
    }
}
