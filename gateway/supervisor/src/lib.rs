//! The daemon's only door to workers: starts them in their cages, keeps them, passes calls on, ends them.
//!
//! ```text
//!  read, plan ─▶ reader's actor ─▶ queue ─▶ worker process (reader)
//!  commit, settle ─▶ writer's actor ─▶ queue ─▶ worker process (writer)
//! ```
//!
//! One actor for each source and role; its life is drawn in `supervisor/actor.rs`. Nothing of a caller's goes on
//! a task of its own: a call is one message to the actor and one back.
//!
//! Invariants: a commit goes out at most once and only with the proof that its intent is durable; a worker gets no
//! environment, descriptor or path beyond its profile's; none serves whose cage is not proven; after
//! [`Supervisor::shutdown`] no worker is left.
//!
//! Must not know: agents, grants, HTTP, what a capability means.

mod actor;
mod agreed;
mod call;
mod children;
mod egress;
mod notice;
mod os;
mod process;
mod queue;
mod records;
mod runs;
mod setup;
mod sign_ins;
#[cfg(test)]
mod simulation;
mod source;
mod start;
mod stderr;
mod turns;

pub use actor::{READ_RETRIES, START_ATTEMPTS, UNDER_WAY};
pub use agreed::{AgreedCode, Code, Compare, Compared};
pub use call::{
    CallRequest, CommitTerms, Credit, DispatchError, Finished, Listener, Stands, Unavailable,
};
pub use notice::{
    Cause, Health, HostCall, HostCaller, Notice, SourceEvent, SourceHealth, WorkerState,
    WorkerStatus,
};
pub use queue::{AGENTS_WAITING, OWNER_WAITING};
pub use records::sweep_leftovers;
pub use setup::{Folder, IsTarget, KeepSecret, Pace, SecretsOf, Setup, Spec};
pub use sign_ins::sweep_sign_ins;
pub use start::{Exit, StartError};

use actor::{Handle, Running};
use call::{Command, Ending, Job, Progress, Question, Reply, Ticket};
use plexus_ipc::egress::Revocation;
use plexus_ipc::message::{PlanMade, Role, Stamp, Verdict, WorkerError};
use plexus_ledger::Durable;
use plexus_protocol::{AuditId, SourceId};
use process::{Group, Process, Spawner};
use setup::Context;
use source::Source;
use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Target of the log lines that a worker's stderr becomes.
pub const LOG_TARGET: &str = "plexusd::worker";

/// How long a source may take to say whether an earlier effect happened, in awake time, its worker's start included.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);

/// See the module. Clones are the same supervisor.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    actors: Arc<dyn ActorFactory>,
    sources: Mutex<HashMap<SourceId, Source>>,
    /// Actors of removed sources, until their workers are gone. Locked after `sources`.
    leaving: Mutex<Vec<(SourceId, Role, Handle)>>,
    next_id: AtomicU64,
    closing: AtomicBool,
}

/// Why a worker that was tried does not serve, in words.
#[derive(Debug)]
pub enum TrialFailure {
    /// It did not start, or its cage is not sound.
    Worker(String),
    /// It was not started, because the system refuses a folder of the source: its cage is not known.
    Folder(String),
    /// Its cage held, and what is behind its source did not answer, or refused.
    Source(String),
}

/// Makes actors: hides what kind of process its workers are. Asked when an actor is made, never for a
/// call.
trait ActorFactory: std::fmt::Debug + Send + Sync {
    fn actor(self: Arc<Self>, spec: Arc<Spec>, role: Role, before: Vec<Handle>) -> Handle;
    fn try_start(self: Arc<Self>, spec: Arc<Spec>, role: Role) -> Running<Result<(), StartError>>;
    fn named(&self, spec: &Spec, role: Role) -> Vec<(String, String)>;
    fn revoke(self: Arc<Self>, spec: Arc<Spec>) -> Running<Revocation>;
}

impl<P: Process> ActorFactory for Context<P> {
    fn actor(self: Arc<Self>, spec: Arc<Spec>, role: Role, before: Vec<Handle>) -> Handle {
        Handle::spawn(self, spec, role, before)
    }

    fn try_start(self: Arc<Self>, spec: Arc<Spec>, role: Role) -> Running<Result<(), StartError>> {
        Box::pin(start::prove(self, spec, role))
    }

    fn named(&self, spec: &Spec, role: Role) -> Vec<(String, String)> {
        process::named(self, spec, role)
    }

    fn revoke(self: Arc<Self>, spec: Arc<Spec>) -> Running<Revocation> {
        Box::pin(async move { P::revoke(&self, &spec).await })
    }
}

impl Supervisor {
    /// Starts nothing but the spawner's thread.
    ///
    /// # Errors
    /// The system's, when it has no room for a thread or for `run/` in the state directory.
    pub fn new(setup: Setup) -> io::Result<Self> {
        records::make_dir(&records::probe_dir(&setup.state_dir))?;
        let context: Context<Group> = Context {
            spawner: Spawner::new(&setup.state_dir)?,
            launcher: setup.launcher,
            workers: setup.workers,
            state_dir: setup.state_dir,
            launch: setup.launch,
            tcp_port: setup.tcp_port,
            notices: setup.notices,
            pace: setup.pace,
        };
        Ok(Self::on(Arc::new(context)))
    }

    fn on(actors: Arc<dyn ActorFactory>) -> Self {
        Self(Arc::new(Inner {
            actors,
            sources: Mutex::default(),
            leaving: Mutex::default(),
            next_id: AtomicU64::new(1),
            closing: AtomicBool::new(false),
        }))
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<SourceId, Source>> {
        self.0
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a worker apart from all others, lets it prove its cage, and ends it. A reader opens its source as well; a
    /// writer does not, because a writer that opens settles and tidies up after the one before it.
    ///
    /// # Errors
    /// Why it did not come to serve, in words; of an unsound cage, what did not hold.
    pub async fn try_start(&self, spec: Arc<Spec>, role: Role) -> Result<(), TrialFailure> {
        match Arc::clone(&self.0.actors).try_start(spec, role).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_of_the_source() => Err(TrialFailure::Source(error.to_string())),
            Err(error @ StartError::Denied { .. }) => Err(TrialFailure::Folder(error.to_string())),
            Err(StartError::Unsound(report)) => {
                let open = report.checks.iter().filter(|check| !check.held);
                let open: Vec<_> = open.map(|check| check.name.as_str()).collect();
                let why = format!("its cage is not sound: {}", open.join(", "));
                Err(TrialFailure::Worker(why))
            }
            Err(error) => Err(TrialFailure::Worker(error.to_string())),
        }
    }

    /// Tells the authorization server of a source that the owner's sign-in there is over (RFC 7009), by way of the source's
    /// egress, which uses no token of it from there on. Takes 10 s at most, besides the start of an egress where none runs.
    pub async fn revoke(&self, source: &SourceId) -> Revocation {
        let spec = self.sources().get(source).map(|s| Arc::clone(&s.spec));
        match spec {
            Some(spec) => Arc::clone(&self.0.actors).revoke(spec).await,
            // One that is disabled has no way there.
            None => Revocation::Failed { until: None },
        }
    }

    /// The actors that are on their way out: those of one source and role, or all.
    fn leaving(&self, of: Option<(&SourceId, Role)>) -> Vec<Handle> {
        let leaving = &self.0.leaving;
        let mut leaving = leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|(_, _, actor)| !actor.commands.is_closed());
        let asked = |id: &SourceId, role| of.is_none_or(|of| of == (id, role));
        leaving
            .iter()
            .filter(|(id, role, _)| asked(id, *role))
            .map(|(_, _, actor)| actor.clone())
            .collect()
    }

    /// Takes sources out: from here on no call reaches them, and what comes in their place waits until they are gone.
    fn take_out(&self, removed: impl IntoIterator<Item = Source>) -> Vec<Source> {
        let removed: Vec<Source> = removed.into_iter().collect();
        let leaving = &self.0.leaving;
        let mut leaving = leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.extend(removed.iter().flat_map(|source| {
            let id = &source.spec.source;
            source
                .actors()
                .map(|(role, actor)| (id.clone(), role, actor.clone()))
        }));
        removed
    }

    /// Puts a source in place, or replaces it: a new revision answers what waits with [`Unavailable::Replaced`] and
    /// stops the old workers before it starts its own; the same revision changes nothing that runs; an older one, made
    /// from what was configured before a look that took its time, changes nothing at all.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn put(&self, spec: Arc<Spec>) {
        let mut sources = self.sources();
        // Asked while no shutdown can empty the map.
        if self.0.closing.load(Ordering::SeqCst) {
            return;
        }
        let Some(source) = sources.get_mut(&spec.source) else {
            let id = spec.source.clone();
            let mut source = Source {
                spec,
                reader: None,
                writer: None,
                unwritable: None,
            };
            self.set_up(&mut source);
            sources.insert(id, source);
            return;
        };
        if spec.revision >= source.spec.revision {
            self.exchange(source, spec);
        }
    }

    /// Replaces a source of an older revision that is in place; any other is left as it is.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn replace(&self, spec: Arc<Spec>) {
        let mut sources = self.sources();
        if let Some(source) = sources.get_mut(&spec.source)
            && spec.revision > source.spec.revision
            && !self.0.closing.load(Ordering::SeqCst)
        {
            self.exchange(source, spec);
        }
    }

    fn exchange(&self, source: &mut Source, spec: Arc<Spec>) {
        for (_, actor) in source.actors() {
            drop(actor.commands.send(Command::Replace(Arc::clone(&spec))));
        }
        if spec.revision != source.spec.revision {
            source.unwritable = None;
        }
        source.spec = spec;
        self.set_up(source);
    }

    /// Makes the actors that a source should have and has not.
    fn set_up(&self, source: &mut Source) {
        let spec = Arc::clone(&source.spec);
        for role in spec.offer.manifest.roles.iter().copied() {
            let actor = source.actor(role);
            // One whose task has failed is made anew; its worker died with it.
            if actor
                .as_ref()
                .is_none_or(|handle| handle.commands.is_closed())
            {
                let actors = Arc::clone(&self.0.actors);
                let before = self.leaving(Some((&spec.source, role)));
                *actor = Some(actors.actor(Arc::clone(&spec), role, before));
            }
        }
    }

    /// Stops the workers of a source and forgets it. What waits is answered with [`Unavailable::Replaced`].
    /// That is done when this returns; the future is over when they are gone.
    pub fn remove(&self, source: &SourceId) -> impl Future<Output = ()> + Send + use<> {
        let removed = {
            let mut sources = self.sources();
            let removed = sources.remove(source);
            self.take_out(removed)
        };
        let ended = end(&removed, Ending::Removed);
        let (supervisor, source) = (self.clone(), source.clone());
        async move {
            ended.await;
            // Also those that somebody else removed and that are not gone yet.
            for role in [Role::Reader, Role::Writer] {
                let leaving = supervisor.leaving(Some((&source, role)));
                gone(&leaving).await;
            }
        }
    }

    /// Compares what a source runs for calls of this role with what the owner agreed to.
    ///
    /// # Errors
    /// [`DispatchError`]: there is no such source, or it does not run that.
    pub async fn compared(
        &self,
        source: &SourceId,
        role: Role,
    ) -> Result<AgreedCode, DispatchError> {
        if self.0.closing.load(Ordering::SeqCst) {
            return Err(DispatchError::ShuttingDown);
        }
        let spec = self
            .sources()
            .get(source)
            .map(|source| Arc::clone(&source.spec));
        let spec = spec.ok_or(DispatchError::NoSource)?;
        let compared = spec.compared(role).await;
        compared.map_err(|error| actor::refusal(&error.into()))
    }

    /// Reads. Tried again on a fresh worker when one ends under it, at most [`READ_RETRIES`] times and until its
    /// deadline. Dropping the future cancels it.
    ///
    /// # Errors
    /// [`DispatchError`]; nothing was changed in any case.
    pub fn read(
        &self,
        code: &AgreedCode,
        call: CallRequest,
    ) -> impl Future<Output = Result<Finished, DispatchError>> + Send + use<> {
        finished(self.dispatch(code, call, Question::Read))
    }

    /// Plans an effect, in the reader. As [`Supervisor::read`]; the inner error is the worker's own.
    ///
    /// # Errors
    /// [`DispatchError`]; nothing was changed in any case.
    pub async fn plan(
        &self,
        code: &AgreedCode,
        call: CallRequest,
    ) -> Result<Result<Box<PlanMade>, WorkerError>, DispatchError> {
        match self.dispatch(code, call, Question::Plan)?.wait().await? {
            Reply::Planned(planned) => Ok(planned),
            Reply::Finished(_) | Reply::Settled(_) => Err(DispatchError::Died { dispatched: true }),
        }
    }

    /// Commits an effect, in the writer, once. It is queued when this returns; dropping the future changes nothing: the
    /// effect goes on and its answer is lost.
    ///
    /// # Errors
    /// [`DispatchError`]; with `dispatched: true` it is not known whether the effect happened.
    pub fn commit(
        &self,
        code: &AgreedCode,
        mut call: CallRequest,
        terms: CommitTerms,
        durable: &Durable,
    ) -> impl Future<Output = Result<Finished, DispatchError>> + Send + use<> {
        let stamp = Stamp {
            launch: durable.launch(),
            sequence: durable.sequence(),
        };
        // The proof's own event: the one that the source files its record of the effect under.
        call.audit = AuditId::parse(&durable.audit_id().to_string())
            .ok()
            .or(call.audit);
        let cancel = call.cancel.take();
        let mut ticket = self.dispatch(code, call, |call| terms.commit(call, stamp));
        if let Ok(ticket) = &mut ticket {
            ticket.cancel = cancel;
        }
        finished(ticket)
    }

    /// Queues a call at once; what is awaited is small.
    fn dispatch(
        &self,
        code: &AgreedCode,
        call: CallRequest,
        question: impl FnOnce(plexus_ipc::message::Call) -> Question,
    ) -> Result<Ticket, DispatchError> {
        let now = self.revision_of(code.source());
        // What another revision runs was not compared.
        match now {
            Some(now) if now != code.revision() => Err(actor::replaced()),
            Some(_) | None => self.queue(code.source(), call, question),
        }
    }

    fn revision_of(&self, source: &SourceId) -> Option<u64> {
        let sources = self.sources();
        sources.get(source).map(|source| source.spec.revision)
    }

    fn queue(
        &self,
        source: &SourceId,
        call: CallRequest,
        question: impl FnOnce(plexus_ipc::message::Call) -> Question,
    ) -> Result<Ticket, DispatchError> {
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let job = Job {
            id,
            question: question(call.call(id)),
            until: Instant::now() + call.deadline,
            revision: call.revision,
            owner: call.owner,
            origin: call.origin,
            stands: call.stands,
            most: 0,
            deaths: 0,
            progress: Progress::of(call.progress),
            late: call.late,
            reply: None,
        };
        self.submit(source, job)
    }

    /// Hands a call in. No await: what was checked before still holds when it is in the queue.
    fn submit(&self, source: &SourceId, mut job: Job) -> Result<Ticket, DispatchError> {
        let mut sources = self.sources();
        if self.0.closing.load(Ordering::SeqCst) {
            return Err(DispatchError::ShuttingDown);
        }
        let source = sources.get_mut(source).ok_or(DispatchError::NoSource)?;
        job.most = source.largest_output(&job);
        let (reply, answer) = oneshot::channel();
        job.reply = Some(reply);
        let (id, until, cancels, role) = (job.id, job.until, !job.is_effect(), job.role());
        let mut command = Command::Call(Box::new(job));
        for _ in 0..2 {
            let actor = source.actor(role).as_ref().ok_or(DispatchError::NoSource)?;
            let commands = actor.commands.clone();
            if let Command::Call(job) = &mut command {
                job.progress.returns_to(&commands);
            }
            match commands.send(command) {
                Ok(()) => {
                    return Ok(Ticket {
                        id,
                        until,
                        cancels,
                        cancel: None,
                        commands,
                        answer,
                    });
                }
                Err(mpsc::error::SendError(unsent)) => command = unsent,
            }
            self.set_up(source);
        }
        Err(DispatchError::ShuttingDown)
    }

    /// Asks the source whether the effect with this intent happened.
    pub async fn settle(&self, source: &SourceId, audit: AuditId) -> Verdict {
        let Some(revision) = self.revision_of(source) else {
            return Verdict::CannotTell;
        };
        let job = Job {
            id: self.0.next_id.fetch_add(1, Ordering::Relaxed),
            question: Question::Settle(audit),
            until: Instant::now() + SETTLE_WITHIN,
            revision,
            owner: true,
            origin: None,
            stands: Stands::default(),
            most: 0,
            deaths: 0,
            progress: Progress::of(None),
            late: None,
            reply: None,
        };
        let Ok(ticket) = self.submit(source, job) else {
            return Verdict::CannotTell;
        };
        match ticket.wait().await {
            Ok(Reply::Settled(verdict)) => verdict,
            Ok(Reply::Finished(_) | Reply::Planned(_)) | Err(_) => Verdict::CannotTell,
        }
    }

    /// How the source did when its reader was last heard, or its writer where the reader was not yet; a writer that cannot run, or
    /// may not write as the last probe found, makes it degraded. Asks nobody.
    #[must_use]
    pub fn health(&self, source: &SourceId) -> SourceHealth {
        self.sources()
            .get(source)
            .map_or_else(SourceHealth::unknown, Source::health)
    }

    /// Asks the reader how the app behind the source does, and starts it if need be; a writer that was not well when it
    /// was last heard is asked too. A writer that was not heard yet is not started: whether it may write in its folders is found
    /// out without it.
    pub async fn probe(&self, source: &SourceId) -> SourceHealth {
        let probed: Vec<_> = {
            let sources = self.sources();
            let actors = sources.get(source).into_iter().flat_map(Source::actors);
            let asked = actors.filter(|(role, actor)| {
                let health = || actor.health().status;
                *role == Role::Reader || !matches!(health(), Health::Ok | Health::Unknown)
            });
            asked
                .map(|(_, actor)| {
                    let (waiting, answered) = oneshot::channel();
                    drop(actor.commands.send(Command::Probe(waiting)));
                    answered
                })
                .collect()
        };
        for answered in probed {
            // A source that was removed meanwhile drops the question.
            let _ = answered.await;
        }
        let spec = {
            let sources = self.sources();
            let written = sources.get(source).filter(|source| source.writer.is_some());
            let reads = written.filter(|source| source.heard().status == Health::Ok);
            reads.map(|source| Arc::clone(&source.spec))
        };
        let unwritable = match &spec {
            Some(spec) => match process::folders(spec, Role::Writer).await {
                Err(denied @ StartError::Denied { .. }) => {
                    Some((notice::now(), denied.to_string()))
                }
                _ => None,
            },
            None => None,
        };
        // Not of folders that its settings name no more.
        if let Some(source) = self.sources().get_mut(source)
            && spec.is_none_or(|spec| spec.revision == source.spec.revision)
        {
            source.unwritable = unwritable;
        }
        self.health(source)
    }

    /// The parameters of the profile that a worker would be started with. Looks at nothing but links on the way to
    /// its program.
    #[must_use]
    pub fn parameters(&self, spec: &Spec, role: Role) -> Vec<(String, String)> {
        self.0.actors.named(spec, role)
    }

    /// Resident memory of this very process, in bytes.
    pub fn own_memory() -> Option<u64> {
        os::held(std::process::id()).map(|held| held.resident)
    }

    /// Every worker, running or not, by source and role.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let sources = self.sources();
        let mut all: Vec<_> = sources
            .values()
            .flat_map(|source| {
                source
                    .actors()
                    .map(|(role, actor)| actor.status(&source.spec, role))
            })
            .collect();
        all.sort_by(|a, b| (a.source.as_str(), a.role).cmp(&(b.source.as_str(), b.role)));
        all
    }

    /// Ends everything: no new calls, reads are cancelled, effects get their time, then the stop protocol. Afterwards
    /// no worker is left.
    pub async fn shutdown(&self) {
        self.0.closing.store(true, Ordering::SeqCst);
        let sources = {
            let mut sources = self.sources();
            let all: Vec<_> = sources.drain().map(|(_, source)| source).collect();
            self.take_out(all)
        };
        end(&sources, Ending::Shutdown).await;
        gone(&self.leaving(None)).await;
    }
}

/// The end of a read or a commit.
async fn finished(ticket: Result<Ticket, DispatchError>) -> Result<Finished, DispatchError> {
    match ticket?.wait().await? {
        Reply::Finished(finished) => Ok(finished),
        Reply::Planned(_) | Reply::Settled(_) => Err(DispatchError::Died { dispatched: true }),
    }
}

/// Ends the actors of all `sources` at once; the future is over with the last.
fn end(sources: &[Source], ending: Ending) -> impl Future<Output = ()> + Send + use<> {
    let ended: Vec<_> = sources
        .iter()
        .flat_map(Source::actors)
        .map(|(_, actor)| {
            let (done, ended) = oneshot::channel();
            drop(actor.commands.send(Command::End(ending, done)));
            ended
        })
        .collect();
    async move {
        for ended in ended {
            // An actor that is gone has dropped the other end.
            let _ = ended.await;
        }
    }
}

/// Waits until these actors have no worker any more.
async fn gone(actors: &[Handle]) {
    for actor in actors {
        actor.commands.closed().await;
    }
}
