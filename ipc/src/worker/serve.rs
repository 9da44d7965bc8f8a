//! Serves calls over any stream, from `Hello` to the end. It makes no cage and proves none: a worker process is run by
//! [`super::main`], which hands over the report.
//!
//! ```text
//! Hello (unsound: end) ─▶ Described ─▶ open ─▶ Opened ─▶ calls ─▶ Stop: commits finish, the rest is dropped
//!                                     └─▶ OpenFailed: end          end of stream, broken frame: end at once
//! ```
//!
//! What stands between a message and a handler, in this order: the table of roles and phases; an id that is not under
//! way; for a commit its durable intent (this launch, a sequence not seen before) and its deadline; the input's digest;
//! a handler of the right kind. After the handler: everything it touched fits the constraint, the answer fits the
//! limits. Between the plan and the commit of an effect: rating, state token, expectation, deadline.
//!
//! Invariants: a call gets exactly one `Done` or `Planned`, whatever its handler does, unless `Stop` drops it; a commit that has begun is never
//! dropped while the gateway is there; commits of capabilities that are not long-running happen one after the other, so
//! nothing else of this worker comes between a plan and its commit. A panic ends its call and not the worker: of a read
//! or a plan it is an internal error, of a commit the effect is unknown. What a source shares between calls lies behind
//! locks that a panic poisons.
//!
//! Must not know: what the connector reaches.

mod commit;
mod judge;

use super::handlers::{Handler, Plan, Reply};
use super::{CallContext, Handlers, Source, SourceError};
use crate::frame::{FrameError, FrameReader, FrameSender, MAX_FRAME, writer};
use crate::manifest::{Capability, Manifest};
use crate::message::{
    Answer, CageReport, Call, Done, Failure, FromWorker, Health, OpenError, Phase, PlanMade,
    Planned, Role, Start, ToWorker,
};
use crate::text::Payload;
use commit::Seen;
use plexus_protocol::{Digest, Effect};
use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    task::JoinSet,
    time::Instant,
};

/// Reads and plans that run at once; more wait their turn.
pub const AT_ONCE: usize = 64;
/// Calls that may be under way, running or waiting; more are answered `Busy`.
pub const UNDER_WAY: usize = 1_024;
/// How long a source may take to say how it is, in awake time; after that it counts as degraded.
const HEALTH_WITHIN: Duration = Duration::from_millis(500);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The gateway said so, and every commit is finished.
    #[error("stopped")]
    Stopped,
    /// The stream ended.
    #[error("the gateway is gone")]
    GatewayGone,
    /// The attack on the cage succeeded somewhere; the report was sent.
    #[error("the cage is not sound")]
    Unsound,
    /// The source could not be opened; the reason was sent.
    #[error("the source cannot be opened: {0}")]
    OpenFailed(OpenError),
    /// The gateway's frames are broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The gateway said something that is not allowed now, or used an id that is under way.
    #[error("{0} is not allowed now")]
    OutOfPlace(&'static str),
}

/// Serves `S` until the gateway stops it, goes, or breaks the protocol. `handlers` fit `manifest`: see
/// [`Handlers::check`].
pub async fn serve<S, R, W>(
    start: Start,
    manifest: &Manifest,
    handlers: Handlers<S>,
    cage: CageReport,
    read: R,
    write: W,
) -> Ended
where
    S: Source,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let (out, writing) = writer::<_, FromWorker>(write, MAX_FRAME);
    let writing = tokio::spawn(writing);
    let ended = converse(start, manifest, handlers, cage, read, &out).await;
    drop(out);
    // Answers that are queued still leave; where nobody reads them any more, they cannot.
    if !matches!(ended, Ended::GatewayGone) {
        let _ = writing.await;
    }
    ended
}

async fn converse<S: Source, R: AsyncRead + Unpin>(
    start: Start,
    manifest: &Manifest,
    handlers: Handlers<S>,
    cage: CageReport,
    read: R,
    out: &FrameSender<FromWorker>,
) -> Ended {
    let sound = cage.sound();
    let hello = FromWorker::Hello {
        build: crate::BUILD.into(),
        cage: Box::new(cage),
    };
    if let Err(error) = out.send(&hello).await {
        return error.into();
    }
    if !sound {
        return Ended::Unsound;
    }
    let described = FromWorker::Described {
        manifest: manifest.digest(),
    };
    if let Err(error) = out.send(&described).await {
        return error.into();
    }
    let mut frames = FrameReader::new(read, MAX_FRAME);
    let role = start.role;
    let launch = start.launch;
    let source = match open::<S, R>(start, &mut frames, out).await {
        Ok(source) => Arc::new(source),
        Err(ended) => return ended,
    };
    let health = health_of(&*source).await;
    if let Err(error) = out.send(&FromWorker::Opened { health }).await {
        return error.into();
    }
    let mut server = Server {
        shared: Arc::new(Shared {
            source,
            handlers,
            manifest: manifest.clone(),
            role,
            out: out.clone(),
            running: Mutex::default(),
            turn: Semaphore::new(AT_ONCE),
            commit_turn: Semaphore::new(1),
        }),
        seen: Seen::new(launch),
        reads: JoinSet::new(),
        commits: JoinSet::new(),
    };
    server.run(&mut frames).await
}

/// Opens the source while probes are answered.
async fn open<S: Source, R: AsyncRead + Unpin>(
    start: Start,
    frames: &mut FrameReader<R, ToWorker>,
    out: &FrameSender<FromWorker>,
) -> Result<S, Ended> {
    let role = start.role;
    let opening = async {
        let config = serde_json::from_slice(&start.config).map_err(|_| {
            OpenError::config("the source's configuration is not as the manifest describes it")
        })?;
        S::open(config, start.secrets, role).await
    };
    let mut opening = pin!(guarded(opening));
    let opened = loop {
        tokio::select! {
            opened = &mut opening => break opened,
            message = frames.next() => match placed(message, Phase::Opening, role)? {
                ToWorker::Probe { nonce } => {
                    let health = Health::Degraded("the source is being opened".into());
                    out.send(&FromWorker::Probed { nonce, health }).await?;
                }
                ToWorker::Stop => return Err(Ended::Stopped),
                other => return Err(Ended::OutOfPlace(other.name())),
            },
        }
    };
    let error = match opened {
        Some(Ok(source)) => return Ok(source),
        Some(Err(error)) => error,
        None => OpenError::internal("opening the source failed; the log names the place"),
    };
    out.send(&FromWorker::OpenFailed(error.clone())).await?;
    Err(Ended::OpenFailed(error))
}

/// What the reader yielded, if it is allowed here.
fn placed(
    message: Result<Option<ToWorker>, FrameError>,
    phase: Phase,
    role: Role,
) -> Result<ToWorker, Ended> {
    match message? {
        None => Err(Ended::GatewayGone),
        Some(message) if message.permitted(phase, role) => Ok(message),
        Some(message) => Err(Ended::OutOfPlace(message.name())),
    }
}

async fn health_of<S: Source>(source: &S) -> Health {
    match tokio::time::timeout(HEALTH_WITHIN, guarded(source.health())).await {
        Ok(Some(health)) => health,
        Ok(None) => Health::Degraded("the check of the app failed".into()),
        Err(_) => Health::Degraded("the check of the app takes long".into()),
    }
}

/// Runs `future`; `None` if it panics. What it shares is behind locks of its own.
async fn guarded<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

struct Shared<S> {
    source: Arc<S>,
    handlers: Handlers<S>,
    manifest: Manifest,
    role: Role,
    out: FrameSender<FromWorker>,
    /// The calls that are under way.
    running: Mutex<HashMap<u64, CallContext>>,
    /// Reads and plans that run at once.
    turn: Semaphore,
    /// Commits that happen at once.
    commit_turn: Semaphore,
}

struct Server<S> {
    shared: Arc<Shared<S>>,
    seen: Seen,
    reads: JoinSet<()>,
    commits: JoinSet<()>,
}

impl<S: Source> Server<S> {
    async fn run<R: AsyncRead + Unpin>(&mut self, frames: &mut FrameReader<R, ToWorker>) -> Ended {
        loop {
            let message = match placed(frames.next().await, Phase::Ready, self.shared.role) {
                Ok(message) => message,
                Err(ended) => return ended,
            };
            match self.handle(message).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(ended) => return ended,
            }
            // What has finished is let go of.
            while self.reads.try_join_next().is_some() || self.commits.try_join_next().is_some() {}
        }
        self.reads.abort_all();
        loop {
            tokio::select! {
                done = self.commits.join_next() => if done.is_none() { return Ended::Stopped },
                message = frames.next() => match placed(message, Phase::Stopping, self.shared.role) {
                    Ok(message) => return Ended::OutOfPlace(message.name()),
                    Err(ended) => return ended,
                },
            }
        }
    }

    /// Whether to go on.
    async fn handle(&mut self, message: ToWorker) -> Result<bool, Ended> {
        match message {
            ToWorker::Read(call) => {
                if let Some(ctx) = self.admit(&call, "Read").await? {
                    let shared = Arc::clone(&self.shared);
                    self.reads.spawn(async move {
                        let result = shared.read(&ctx, &call).await;
                        shared.done(call.id, result).await;
                    });
                }
            }
            ToWorker::Plan(call) => {
                if let Some(ctx) = self.admit(&call, "Plan").await? {
                    let shared = Arc::clone(&self.shared);
                    self.reads.spawn(async move {
                        let result = shared.plan(&ctx, &call).await;
                        shared.planned(call.id, result).await;
                    });
                }
            }
            ToWorker::Commit(commit) => {
                if let Some(ctx) = self.admit(&commit.call, "Commit").await? {
                    // Asked here and not in the task: the order of the frames is the order of the answers.
                    let fresh = self.seen.admit(commit.durable);
                    let shared = Arc::clone(&self.shared);
                    self.commits.spawn(async move {
                        let result = match fresh {
                            Ok(()) => shared.commit(&ctx, &commit).await,
                            Err(error) => Err(error.into()),
                        };
                        shared.done(commit.call.id, result).await;
                    });
                }
            }
            ToWorker::Settle { id, audit } => {
                let shared = Arc::clone(&self.shared);
                self.commits.spawn(async move {
                    let verdict = guarded(shared.source.settle(audit))
                        .await
                        .unwrap_or(crate::message::Verdict::CannotTell);
                    let _ = shared.out.send(&FromWorker::Settled { id, verdict }).await;
                });
            }
            ToWorker::Cancel { id } => {
                if let Some(call) = self.shared.running().get(&id) {
                    call.end();
                }
            }
            ToWorker::Probe { nonce } => {
                let shared = Arc::clone(&self.shared);
                self.reads.spawn(async move {
                    let health = health_of(&*shared.source).await;
                    let _ = shared.out.send(&FromWorker::Probed { nonce, health }).await;
                });
            }
            ToWorker::Stop => return Ok(false),
            ToWorker::Start(_) => return Err(Ended::OutOfPlace("Start")),
        }
        Ok(true)
    }

    /// Notes a call as under way. `None`: too many are, and it was answered so.
    async fn admit(
        &mut self,
        call: &Call,
        name: &'static str,
    ) -> Result<Option<CallContext>, Ended> {
        let deadline =
            Instant::now() + Duration::from_millis(call.deadline_ms.min(MAX_DEADLINE_MS));
        let ctx = CallContext::new(
            call,
            self.shared.role,
            deadline,
            Arc::default(),
            self.shared.out.clone(),
        );
        {
            let mut running = self.shared.running();
            if running.contains_key(&call.id) {
                return Err(Ended::OutOfPlace(name));
            }
            if running.len() < UNDER_WAY {
                running.insert(call.id, ctx.clone());
                return Ok(Some(ctx));
            }
        }
        let busy = SourceError::new(Failure::Busy, "too much is under way in this source");
        if name == "Plan" {
            self.shared.planned(call.id, Err(busy)).await;
        } else {
            self.shared.done(call.id, Err(busy.into())).await;
        }
        Ok(None)
    }
}

/// A deadline beyond this counts as this: one day, in milliseconds of awake time.
const MAX_DEADLINE_MS: u64 = 86_400_000;

/// A failed call and what it may have changed.
struct Unfinished {
    error: SourceError,
    touched: Vec<crate::message::Touched>,
}

impl From<SourceError> for Unfinished {
    fn from(error: SourceError) -> Self {
        Self {
            error,
            touched: Vec::new(),
        }
    }
}

impl<S: Source> Shared<S> {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u64, CallContext>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, ctx: &CallContext, call: &Call) -> Result<Reply<Payload>, Unfinished> {
        let (entry, handler) = self.entry(call)?;
        let Handler::Read(run) = handler else {
            return Err(wrong_kind().into());
        };
        let running = async {
            let _turn = self.turn.acquire().await;
            run(Arc::clone(&self.source), ctx.clone(), call.input.clone()).await
        };
        let reply = until_over(ctx, running).await?;
        judge::touched(entry, ctx.constraint(), &reply.touched, false)?;
        judge::output(&self.manifest.limits_of(entry), &reply)?;
        Ok(reply)
    }

    async fn plan(&self, ctx: &CallContext, call: &Call) -> Result<PlanMade, SourceError> {
        let (entry, handler) = self.entry(call)?;
        let Handler::Effect(run) = handler else {
            return Err(wrong_kind());
        };
        let running = async {
            let _turn = self.turn.acquire().await;
            run(Arc::clone(&self.source), ctx.clone(), call.input.clone()).await
        };
        let plan = judged(entry, ctx, until_over(ctx, running).await?)?;
        Ok(PlanMade {
            preview: plan.preview,
            state_token: plan.state_token,
            touched: plan.touched,
            rating: plan.rating,
            summary: plan.summary,
            warnings: plan.warnings,
        })
    }

    /// The manifest's entry and the handler of a call whose input is what its digest says.
    fn entry(&self, call: &Call) -> Result<(&Capability, &Handler<S>), SourceError> {
        if Digest::of(&call.input) != call.input_digest {
            return Err(SourceError::refused(
                "input_digest",
                "the input is not the one that was recorded",
            ));
        }
        self.manifest
            .capability(&call.capability)
            .zip(self.handlers.get(&call.capability))
            .ok_or_else(|| {
                SourceError::refused("unknown_capability", "this source has no such capability")
            })
    }

    async fn done(&self, id: u64, result: Result<Reply<Payload>, Unfinished>) {
        self.running().remove(&id);
        let (result, touched) = match result {
            Ok(reply) => {
                let answer = Answer {
                    output: reply.output,
                    summary: reply.summary,
                    undo: reply.undo,
                };
                (Ok(answer), reply.touched)
            }
            Err(unfinished) => (Err(unfinished.error), unfinished.touched),
        };
        let done = FromWorker::Done(Box::new(Done {
            id,
            result,
            touched,
        }));
        // Closed: the reader of the stream notices too.
        let _ = self.out.send(&done).await;
    }

    async fn planned(&self, id: u64, result: Result<PlanMade, SourceError>) {
        self.running().remove(&id);
        let planned = FromWorker::Planned(Box::new(Planned { id, result }));
        let _ = self.out.send(&planned).await;
    }
}

fn wrong_kind() -> SourceError {
    SourceError::refused(
        "kind",
        "a read was asked for as an effect, or an effect as a read",
    )
}

/// Runs a read or a plan until it is done, cancelled or late. What it left on a blocking thread sees `is_over`.
async fn until_over<T>(
    ctx: &CallContext,
    running: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    tokio::select! {
        biased;
        () = ctx.over() => Err(SourceError::new(Failure::Cancelled, "cancelled")),
        () = tokio::time::sleep_until(ctx.deadline()) => {
            ctx.end();
            Err(SourceError::new(Failure::DeadlineExceeded, "it took longer than it may"))
        }
        done = guarded(running) => done.unwrap_or_else(|| Err(panicked(Effect::None))),
    }
}

fn panicked(effect: Effect) -> SourceError {
    SourceError::internal("the connector failed; its log names the place").effect(effect)
}

/// A plan with the rating that counts, if what it touches fits the constraint.
fn judged<F>(
    entry: &Capability,
    ctx: &CallContext,
    mut plan: Plan<F>,
) -> Result<Plan<F>, SourceError> {
    judge::touched(entry, ctx.constraint(), &plan.touched, true)?;
    plan.rating = plan.rating.max(entry.rating());
    plan.warnings.truncate(64);
    Ok(plan)
}
