//! The calls of a worker that is ready.

use super::commit::SeenIntents;
use super::{AT_ONCE, ServeEnd, UNDER_WAY, check_of, guarded, health_of, judge, placed};
use crate::frame::{FrameError, FrameReader, FrameSender};
use crate::manifest::{Capability, Manifest};
use crate::message::{
    Answer, Call, Commit, Done, Failure, FromWorker, MAX_LINES, Phase, PlanMade, Planned, Role,
    ToWorker, Touched, Verdict,
};
use crate::text::Output;
use crate::worker::handlers::{Handler, Plan, Reply};
use crate::worker::{CallContext, Handlers, Host, Source, SourceError, call::CancelFlag};
use plexus_protocol::{Digest, Effect};
use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep},
};

/// What the tasks of the calls share.
pub(super) struct Shared<S> {
    pub(super) source: Arc<S>,
    handlers: Handlers<S>,
    pub(super) manifest: Manifest,
    role: Role,
    out: FrameSender<FromWorker>,
    host: Host,
    /// The calls that are under way.
    running: Mutex<HashMap<u64, CallContext>>,
    /// Reads and plans that run at once.
    turn: Semaphore,
    /// Commits that happen at once.
    pub(super) commit_turn: Semaphore,
    /// Set when a commit that may take longer than a stop waits is to end and keep what it did.
    pub(super) stopping: CancelFlag,
}

/// How long a long-running commit goes on after `Stop`: the rest of what a stop waits (docs/design.md#workers) is for its end.
const LONG_ONES: Duration = Duration::from_secs(1);

/// The side that hears the gateway.
pub(super) struct Server<S> {
    shared: Arc<Shared<S>>,
    seen: SeenIntents,
    reads: JoinSet<()>,
    commits: JoinSet<()>,
}

impl<S: Source> Server<S> {
    pub(super) fn new(
        source: Arc<S>,
        handlers: Handlers<S>,
        manifest: Manifest,
        role: Role,
        launch: u64,
        (out, host): (FrameSender<FromWorker>, Host),
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                handlers,
                manifest,
                role,
                out,
                host,
                running: Mutex::default(),
                turn: Semaphore::new(AT_ONCE),
                commit_turn: Semaphore::new(1),
                stopping: CancelFlag::default(),
            }),
            seen: SeenIntents::new(launch),
            reads: JoinSet::new(),
            commits: JoinSet::new(),
        }
    }

    /// Serves until `Stop`, and until everything that was under way then is answered.
    pub(super) async fn run<R: AsyncRead + Unpin>(
        &mut self,
        frames: &mut FrameReader<R, ToWorker>,
    ) -> Result<(), ServeEnd> {
        let mut heard = 0_u32;
        loop {
            let message = placed(frames.next().await, Phase::Ready, self.shared.role)?;
            if !self.handle(message).await? {
                break;
            }
            heard += 1;
            if heard.is_multiple_of(TOGETHER) {
                tokio::task::yield_now().await;
            }
            // What has finished is let go of.
            while self.reads.try_join_next().is_some() || self.commits.try_join_next().is_some() {}
        }
        // Reads and plans end now, with an answer; commits end when they are done.
        for call in self.shared.running().values() {
            call.stop_streaming();
            if self.shared.role == Role::Reader {
                call.end();
            }
        }
        let mut long_ones = pin!(sleep(LONG_ONES));
        while !self.reads.is_empty() || !self.commits.is_empty() {
            tokio::select! {
                () = &mut long_ones, if !self.shared.stopping.is_set() => self.shared.stopping.set(),
                _ = self.reads.join_next(), if !self.reads.is_empty() => {}
                _ = self.commits.join_next(), if !self.commits.is_empty() => {}
                message = frames.next() => {
                    match placed(message, Phase::Stopping, self.shared.role)? {
                        ToWorker::HostAnswer { id, response } => {
                            self.shared.host.answer(id, response);
                        }
                        other => return Err(ServeEnd::OutOfPlace(other.name())),
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether to go on.
    async fn handle(&mut self, message: ToWorker) -> Result<bool, ServeEnd> {
        match message {
            ToWorker::Read(call) => {
                if let Some(ctx) = self.admit(&call, None, "Read").await? {
                    let shared = Arc::clone(&self.shared);
                    self.reads.spawn(async move {
                        let result = shared.read(&ctx, &call).await;
                        shared.done(call.id, result).await;
                    });
                }
            }
            ToWorker::Plan(call) => {
                if let Some(ctx) = self.admit(&call, None, "Plan").await? {
                    let shared = Arc::clone(&self.shared);
                    self.reads.spawn(async move {
                        let result = shared.plan(&ctx, &call).await;
                        shared.planned(call.id, result).await;
                    });
                }
            }
            ToWorker::Commit(commit) => {
                let admitted = self.admit(&commit.call, Some(&commit), "Commit");
                if let Some(ctx) = admitted.await? {
                    // Asked here and not in the task, so that the order of the frames decides.
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
                        .unwrap_or(Verdict::CannotTell);
                    let _ = shared.out.send(&FromWorker::Settled { id, verdict }).await;
                });
            }
            ToWorker::Cancel { id } => {
                if let Some(call) = self.shared.running().get(&id) {
                    call.cancel();
                }
            }
            ToWorker::Credit { id, bytes } => {
                if let Some(call) = self.shared.running().get(&id) {
                    call.credit(bytes);
                }
            }
            ToWorker::Probe { nonce } => {
                let shared = Arc::clone(&self.shared);
                self.reads.spawn(async move {
                    let health = health_of(&*shared.source).await;
                    let _ = shared.out.send(&FromWorker::Probed { nonce, health }).await;
                });
            }
            ToWorker::Check { nonce } => {
                let shared = Arc::clone(&self.shared);
                self.reads.spawn(async move {
                    let health = check_of(&*shared.source).await;
                    let _ = shared.out.send(&FromWorker::Probed { nonce, health }).await;
                });
            }
            ToWorker::HostAnswer { id, response } => self.shared.host.answer(id, response),
            ToWorker::Stop => return Ok(false),
            ToWorker::Start(_) => return Err(ServeEnd::OutOfPlace("Start")),
        }
        Ok(true)
    }

    /// Notes a call as under way. `None`: too many are, and it was answered so.
    async fn admit(
        &mut self,
        call: &Call,
        commit: Option<&Commit>,
        name: &'static str,
    ) -> Result<Option<CallContext>, ServeEnd> {
        let deadline =
            Instant::now() + Duration::from_millis(call.deadline_ms.min(MAX_DEADLINE_MS));
        let ctx = CallContext::new(
            call,
            commit,
            self.shared.role,
            deadline,
            Arc::default(),
            &self.shared.out,
            &self.shared.host,
        );
        {
            let mut running = self.shared.running();
            if running.contains_key(&call.id) {
                return Err(ServeEnd::OutOfPlace(name));
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

/// Messages that are heard before what they ask is done and answered. Without it a worker that finds a queue of calls
/// would answer the first of them after the last, and the gateway, with nothing to do meanwhile, would send the next
/// queue: both at work in turn, never at once.
const TOGETHER: u32 = 8;

/// A deadline beyond this counts as this: one day, in milliseconds of awake time.
const MAX_DEADLINE_MS: u64 = 86_400_000;

/// A failed call and what it may have changed.
pub(super) struct Unfinished {
    pub(super) error: SourceError,
    pub(super) touched: Vec<Touched>,
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
    fn running(&self) -> MutexGuard<'_, HashMap<u64, CallContext>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, ctx: &CallContext, call: &Call) -> Result<Reply<Output>, Unfinished> {
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
    pub(super) fn entry(&self, call: &Call) -> Result<(&Capability, &Handler<S>), SourceError> {
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

    async fn done(&self, id: u64, result: Result<Reply<Output>, Unfinished>) {
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
        let effect = match &result {
            // A reader's calls have none; an answered commit is done.
            Ok(_) if self.role == Role::Reader => Effect::None,
            Ok(_) => Effect::Done,
            Err(error) => error.effect,
        };
        let done = |result, touched| {
            FromWorker::Done(Box::new(Done {
                id,
                result,
                touched,
            }))
        };
        self.answer(&done(result, touched), || {
            done(Err(unsayable(effect)), Vec::new())
        })
        .await;
        self.host.ended(id);
    }

    async fn planned(&self, id: u64, result: Result<PlanMade, SourceError>) {
        self.running().remove(&id);
        let planned = |result| FromWorker::Planned(Box::new(Planned { id, result }));
        self.answer(&planned(result), || planned(Err(unsayable(Effect::None))))
            .await;
        self.host.ended(id);
    }

    /// Says `answer`, or `instead` where it does not fit a frame, which the limits rule out: a call is answered anyway.
    async fn answer(&self, answer: &FromWorker, instead: impl FnOnce() -> FromWorker) {
        match self.out.send(answer).await {
            // Closed: the reader of the stream notices too.
            Ok(()) | Err(FrameError::Closed) => {}
            Err(_) => {
                let _ = self.out.send(&instead()).await;
            }
        }
    }
}

fn unsayable(effect: Effect) -> SourceError {
    SourceError::internal("the answer does not fit a frame").effect(effect)
}

pub(super) fn wrong_kind() -> SourceError {
    SourceError::refused(
        "kind",
        "a read was asked for as an effect, or an effect as a read",
    )
}

/// Runs a read or a plan until it is done, cancelled or late. What it left on a blocking thread sees `is_over`.
pub(super) async fn until_over<T>(
    ctx: &CallContext,
    running: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let late = || SourceError::new(Failure::DeadlineExceeded, "it took longer than it may");
    if ctx.remaining().is_zero() {
        return Err(late());
    }
    tokio::select! {
        biased;
        // First, so that a handler that need not wait costs no timer.
        done = guarded(running) => done
            .unwrap_or_else(|| Err(panicked(Effect::None)))
            // Whatever a connector says of it: a read or a plan has done nothing.
            .map_err(|error| error.effect(Effect::None)),
        () = ctx.over() => Err(SourceError::cancelled(Effect::None)),
        () = tokio::time::sleep_until(ctx.deadline()) => {
            ctx.end();
            Err(late())
        }
    }
}

pub(super) fn panicked(effect: Effect) -> SourceError {
    SourceError::internal("the connector failed; its log names the place").effect(effect)
}

/// A plan with the rating that counts, if what it touches fits the constraint.
pub(super) fn judged<F>(
    entry: &Capability,
    ctx: &CallContext,
    mut plan: Plan<F>,
) -> Result<Plan<F>, SourceError> {
    judge::touched(entry, ctx.constraint(), &plan.touched, true)?;
    plan.rating = plan.rating.max(entry.rating());
    plan.warnings.truncate(MAX_LINES);
    if plan.preview.facts.len() > MAX_LINES {
        plan.preview.facts.truncate(MAX_LINES);
        plan.preview.cut = true;
    }
    Ok(plan)
}
