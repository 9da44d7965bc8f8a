//! Walks boards: one task of this process for each board that is under way.
//!
//! ```text
//! look ─▶ how does the approval stand? ─┬▶ open: start what is ready, as many as may run side by side
//!   ▲                                   ├▶ suspended: wait
//!   │                                   └▶ spent, over, void: make no more
//!   └── a run ended, a stop, 5 s ◀── follow the runs that go on ── none goes on and none can start ─▶ end, of the approval too
//! ```
//! Invariants: a run is on the board before it is asked for, and its name is given once, so no end of this process makes one
//! twice; a run that a pause cancelled or that died is followed by another, because a run changes a copy alone; a board that is
//! over has no open approval; everything that this decides by is read from the disk, so a start goes on where the last process ended.
//!
//! Must not know: who asked, what a run does.

#[cfg(test)]
mod tests;

use crate::{
    board::{
        Board, BoardError, BoardId, ChangeSet, ChangeSets, Orchestration, Progress, Task,
        TaskResult, TaskStage, Used,
    },
    store::{Store, StoreError},
};
use plexus_ipc::worker::{Host, SourceError, Touched, on_file_thread};
use plexus_protocol::{Digest, Timestamp};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// How long one ask waits for the end of a run.
const FOLLOW: Duration = Duration::from_secs(20);
/// After how long a board is looked at again where nothing tells of a change: the gateway does not say that it is resumed.
const LOOK: Duration = Duration::from_secs(5);

/// Between two asks about one run at least.
const PAUSE: Duration = Duration::from_millis(500);

/// The kind that boards are recorded under.
pub(crate) const KIND: &str = "board";
/// The topic of the events.
const TOPIC: &str = "board";

/// The gateway, as far as runs are concerned.
pub(crate) trait Gateway: Clone + Send + Sync + 'static {
    /// Makes a run, or finds that of this name.
    fn child(
        &self,
        approval: Digest,
        name: &str,
        capability: &str,
        input: &Value,
    ) -> impl Future<Output = Result<Value, SourceError>> + Send;
    /// How a run stands; its end is waited for.
    fn run(
        &self,
        approval: Digest,
        name: &str,
    ) -> impl Future<Output = Result<Value, SourceError>> + Send;
    /// How an approval stands.
    fn approval(&self, approval: Digest)
    -> impl Future<Output = Result<Value, SourceError>> + Send;
    /// Cancels a run.
    fn stop(
        &self,
        approval: Digest,
        name: &str,
    ) -> impl Future<Output = Result<Value, SourceError>> + Send;
    /// Ends an approval that has no further use.
    fn end(&self, approval: Digest) -> impl Future<Output = Result<Value, SourceError>> + Send;
    /// Tells of a change of a board.
    fn tell(
        &self,
        id: BoardId,
        payload: &Value,
    ) -> impl Future<Output = Result<(), SourceError>> + Send;
}

impl Gateway for Host {
    async fn child(
        &self,
        approval: Digest,
        name: &str,
        capability: &str,
        input: &Value,
    ) -> Result<Value, SourceError> {
        Self::child(self, approval, name, capability, input).await
    }

    async fn run(&self, approval: Digest, name: &str) -> Result<Value, SourceError> {
        self.child_run(approval, name, FOLLOW).await
    }

    async fn approval(&self, approval: Digest) -> Result<Value, SourceError> {
        self.child_approval(approval).await
    }

    async fn stop(&self, approval: Digest, name: &str) -> Result<Value, SourceError> {
        self.stop_child(approval, name).await
    }

    async fn end(&self, approval: Digest) -> Result<Value, SourceError> {
        self.end_children(approval).await
    }

    async fn tell(&self, id: BoardId, payload: &Value) -> Result<(), SourceError> {
        let touched = vec![Touched::read(KIND, id.to_string(), None)];
        self.event(TOPIC, "a board changed", payload, touched).await
    }
}

/// Why a board is not walked further now.
enum Halt {
    /// The process ends with its gateway.
    Gone,
    /// The disk.
    Store(StoreError),
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SourceError> for Halt {
    fn from(_: SourceError) -> Self {
        Self::Gone
    }
}

/// What walks the boards of one source.
#[derive(Clone, Debug)]
pub(crate) struct Walker<G> {
    pub(crate) store: Store,
    gateway: G,
    /// A board was stopped.
    stopped: Arc<Notify>,
    /// Why boards cannot be written, if so.
    ailing: Arc<Mutex<Option<String>>>,
}

impl<G: Gateway> Walker<G> {
    pub(crate) fn new(store: Store, gateway: G) -> Self {
        Self {
            store,
            gateway,
            stopped: Arc::default(),
            ailing: Arc::default(),
        }
    }

    /// Why boards cannot be written, if so.
    pub(crate) fn ailing(&self) -> Option<String> {
        let ailing = self.ailing.lock();
        ailing.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes on with every board that is under way. For a process that starts.
    pub(crate) async fn resume(&self) -> Result<(), StoreError> {
        let store = self.store.clone();
        let found = blocking(move || store.all()).await?;
        for unread in found.unread {
            tracing::error!(?unread, "a board cannot be read; it is not carried further");
        }
        for board in found.boards {
            if board.is_under_way() {
                self.go(board.id);
            }
        }
        Ok(())
    }

    /// Walks a board, beside whatever else this process does.
    pub(crate) fn go(&self, id: BoardId) {
        let walker = self.clone();
        drop(tokio::spawn(async move { walker.walk(id).await }));
    }

    /// Keeps a new board, and tells of it.
    pub(crate) async fn add(&self, board: Board) -> Result<(), StoreError> {
        let (store, kept) = (self.store.clone(), board.clone());
        blocking(move || store.add(&kept)).await?;
        self.tell(&board).await;
        Ok(())
    }

    /// Changes a board, and tells of it.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        id: BoardId,
        change: impl FnOnce(&mut Board) -> Result<T, BoardError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        let (board, changed) = blocking(move || store.change(id, change)).await?;
        self.tell(&board).await;
        Ok(changed)
    }

    /// A board was stopped: its walk is to see that.
    pub(crate) fn wake(&self) {
        self.stopped.notify_waiters();
    }

    async fn tell(&self, board: &Board) {
        let payload = json!({"board": board.id, "state": board.state(), "tasks": board.counts()});
        // An event is a hint, and a gateway that is gone ends this process.
        drop(self.gateway.tell(board.id, &payload).await);
    }

    async fn walk(&self, id: BoardId) {
        loop {
            let ended = self.steps(id).await;
            let why = match &ended {
                Err(Halt::Store(error @ (StoreError::Io(_) | StoreError::Unsure(_)))) => {
                    Some(error.to_string())
                }
                _ => None,
            };
            *self.ailing.lock().unwrap_or_else(PoisonError::into_inner) = why;
            match ended {
                Ok(()) | Err(Halt::Gone | Halt::Store(StoreError::Unknown(_))) => return,
                Err(Halt::Store(error @ StoreError::Unreadable(..))) => {
                    tracing::error!(%error, "a board is not carried further");
                    return;
                }
                Err(Halt::Store(_)) => sleep(LOOK).await,
            }
        }
    }

    /// Carries a board until its orchestration is over.
    async fn steps(&self, id: BoardId) -> Result<(), Halt> {
        let mut follows: JoinSet<(String, Result<(), Halt>)> = JoinSet::new();
        let mut followed = BTreeSet::new();
        loop {
            // Before the look, so that no stop is missed.
            let stopped = self.stopped.notified();
            let store = self.store.clone();
            let board = blocking(move || store.get(id)).await?;
            let Some(current) = board.current().cloned() else {
                return Ok(());
            };
            let standing = self.standing(&current).await?;
            let is_suspended = matches!(standing, Standing::Suspended);
            let is_marked = current.state == Progress::Suspended;
            if is_suspended != is_marked && current.state != Progress::Stopping {
                self.change(id, move |board| board.suspend(is_suspended))
                    .await?;
            }
            let mut tasks: Vec<Task> = board.running().cloned().collect();
            let free = board.free();
            let is_spent = board.left().is_spent();
            let goes_on = current.state != Progress::Stopping && !is_spent;
            if let (Standing::Open(left), true) = (&standing, goes_on) {
                let free = free.min(*left);
                for task in board.ready().into_iter().take(free).cloned() {
                    let (name, now) = (task.draft.id.clone(), now());
                    self.change(id, move |board| board.start(&name, now))
                        .await?;
                    tasks.push(task);
                }
            }
            for task in tasks {
                let name = task.draft.id.clone();
                if followed.insert(name.clone()) {
                    let (walker, approval) = (self.clone(), current.approval);
                    follows.spawn(async move {
                        let followed = walker.follow(id, &name, approval).await;
                        (name, followed)
                    });
                }
            }
            if current.state == Progress::Stopping {
                for task in board.running() {
                    let name = run_name(&board, task);
                    self.gateway.stop(current.approval, &name).await?;
                }
            }
            let is_stopped = current.state == Progress::Stopping;
            let is_over = matches!(standing, Standing::Over(_));
            let why = match standing {
                _ if is_stopped => Some("it was stopped"),
                Standing::Open(_) | Standing::Over(_) if is_spent => Some(spent(&board)),
                Standing::Over(why) => Some(why),
                Standing::Open(_) => None,
                Standing::Suspended => {
                    wait(&mut follows, &mut followed, stopped).await?;
                    continue;
                }
            };
            if followed.is_empty() {
                // First: a process that ends in between finds the board under way, and ends it then.
                if !is_over && self.gateway.end(current.approval).await?["ok"] != true {
                    sleep(LOOK).await;
                    continue;
                }
                let now = now();
                self.change(id, move |board| {
                    // If nothing can start, its tasks say why.
                    let is_told = is_stopped || !board.ready().is_empty();
                    board.end(why.filter(|_| is_told).map(str::to_owned), now)
                })
                .await?;
                return Ok(());
            }
            wait(&mut follows, &mut followed, stopped).await?;
        }
    }

    /// Follows the run of a task that is on the board as running, from asking for it to its end.
    async fn follow(&self, id: BoardId, task: &str, approval: Digest) -> Result<(), Halt> {
        let store = self.store.clone();
        let board = blocking(move || store.get(id)).await?;
        let task = board.task(task).map_err(StoreError::from)?;
        let (name, of) = (run_name(&board, task), task.draft.id.clone());
        if let TaskStage::Running {
            run: None, share, ..
        } = task.stage
        {
            let mut input = json!(share);
            input["prompt"] = board.prompt_of(task).into();
            let onto = board.onto(task);
            if !onto.is_empty() {
                input["onto"] = json!(onto);
                input["join"] = (board.change_sets == ChangeSets::One).into();
            }
            let capability = task.draft.agent.as_str();
            // If the last process ended in between, the name finds the run that it made.
            let made = loop {
                if self.is_stopping(id).await?
                    && self.gateway.run(approval, &name).await?["ok"] != true
                {
                    let of = of.clone();
                    self.change(id, move |board| board.put_back(&of)).await?;
                    return Ok(());
                }
                let made = self.gateway.child(approval, &name, capability, &input);
                let made = made.await?;
                match made["error"]["code"].as_str() {
                    // Of the gateway as it is now, not of this run.
                    Some("busy" | "rate_limited") => sleep(LOOK).await,
                    _ => break made,
                }
            };
            if made["ok"] != true {
                return self.refused(id, of, approval, &made["error"]).await;
            }
            let run = made["run"].as_str().unwrap_or_default().to_owned();
            let named = of.clone();
            self.change(id, move |board| board.named(&named, run))
                .await?;
        }
        let (end, used) = loop {
            let asked = Instant::now();
            let run = self.gateway.run(approval, &name).await?;
            match run["state"].as_str() {
                // A gateway that winds down does not wait.
                Some("running") => sleep_until(asked + PAUSE).await,
                Some("over") => break (end_of(&run["answer"]), used_of(&run["answer"])),
                Some("unknown") => break (RunEnd::Died(CUT_OFF), Used::default()),
                // The approval is gone.
                _ => {
                    let result = TaskResult::Failed(words_of(&run["error"]));
                    break (RunEnd::Result(result), Used::default());
                }
            }
        };
        let now = now();
        self.change(id, move |board| match end {
            RunEnd::Result(result) => board.finish(&of, result, used, now),
            RunEnd::Paused => board.redo(&of, PAUSED),
            RunEnd::Died(why) => board.died(&of, why, now),
        })
        .await?;
        Ok(())
    }

    /// A run was refused before it began: because of the approval, or because of the task.
    async fn refused(
        &self,
        id: BoardId,
        task: String,
        approval: Digest,
        error: &Value,
    ) -> Result<(), Halt> {
        let standing = self.gateway.approval(approval).await?;
        let (words, now) = (words_of(error), now());
        let next = error["next"].as_str().unwrap_or_default();
        let result = match error["effect"] == "unknown" {
            // An earlier call with this very input is to be settled first.
            true => TaskResult::Unknown(format!("{words} Next: {next}")),
            false => TaskResult::Failed(words),
        };
        let is_of_task = standing["state"] == "open";
        self.change(id, move |board| match is_of_task {
            true => board.finish(&task, result, NOTHING, now),
            false => board.put_back(&task),
        })
        .await?;
        Ok(())
    }

    async fn is_stopping(&self, id: BoardId) -> Result<bool, Halt> {
        let store = self.store.clone();
        let board = blocking(move || store.get(id)).await?;
        let mut current = board.current().into_iter();
        Ok(current.any(|current| current.state == Progress::Stopping))
    }

    async fn standing(&self, orchestration: &Orchestration) -> Result<Standing, Halt> {
        let standing = self.gateway.approval(orchestration.approval).await?;
        let left = standing["left"].as_u64().unwrap_or_default();
        Ok(match standing["state"].as_str() {
            Some("open") if left > 0 => Standing::Open(usize::try_from(left).unwrap_or(usize::MAX)),
            Some("suspended") => Standing::Suspended,
            Some("open" | "spent") => Standing::Over("the approval's runs are used up"),
            Some("over") => Standing::Over("the approval's time is over"),
            _ => Standing::Over("the approval was ended"),
        })
    }
}

/// How an approval stands.
enum Standing {
    /// It permits so many runs more.
    Open(usize),
    /// The owner has paused the gateway.
    Suspended,
    /// It permits no more, and why.
    Over(&'static str),
}

/// Waits until there is a reason to look again.
async fn wait(
    follows: &mut JoinSet<(String, Result<(), Halt>)>,
    followed: &mut BTreeSet<String>,
    stopped: impl Future<Output = ()>,
) -> Result<(), Halt> {
    tokio::select! {
        Some(ended) = follows.join_next() => {
            let failed = |_| StoreError::Io(io::Error::other("following a run failed"));
            let (task, ended) = ended.map_err(failed)?;
            followed.remove(&task);
            ended
        }
        () = stopped => Ok(()),
        () = sleep(LOOK) => Ok(()),
    }
}

/// What a run used that never began.
const NOTHING: Used = Used {
    tokens: Some(0),
    cost: Some(0.0),
};

/// What the answer to a run says that it used.
fn used_of(answer: &Value) -> Used {
    let usage = &answer["output"]["usage"];
    let of = |name: &str| usage[name].as_u64();
    Used {
        tokens: of("inputTokens")
            .zip(of("outputTokens"))
            .map(|(a, b)| a.saturating_add(b)),
        cost: answer["output"]["cost"].as_f64(),
    }
}

/// The name of the run of a task that goes on, which no other run has.
fn run_name(board: &Board, task: &Task) -> String {
    format!("{}/{}/{}", board.id, task.draft.id, task.attempts)
}

/// Why a run is made again.
const CUT_OFF: &str = "the gateway ended during its run";
const PAUSED: &str = "a pause ended its run";
const STOPPED: &str = "the worker of its source stopped during its run";
const KILLED: &str = "the program of its run was killed";
const LOST: &str = "the answer of its run is not kept";

/// Why a board ends whose budget is used up. A run that did not answer says nothing of what it used.
fn spent(board: &Board) -> &'static str {
    let is_silent = |task: &Task| {
        let result = match &task.stage {
            TaskStage::Ended { result, .. } => Some(result),
            TaskStage::Waiting | TaskStage::Running { .. } => None,
        };
        task.again.is_some() || matches!(result, Some(TaskResult::Failed(_)))
    };
    match board.tasks.iter().any(is_silent) {
        true => {
            "the tokens or the money of the approval are used up: a run that failed or was cut off counts with its whole share"
        }
        false => "the tokens or the money of the approval are used up",
    }
}

/// How the run of a task ended.
#[derive(Debug, PartialEq, Eq)]
enum RunEnd {
    /// It came to something.
    Result(TaskResult),
    /// The owner paused the gateway.
    Paused,
    /// Something ended it that was not about it. It changed a copy alone.
    Died(&'static str),
}

fn end_of(answer: &Value) -> RunEnd {
    let error = &answer["error"];
    let reason = error["detail"]["reason"].as_str();
    match (error["code"].as_str(), reason) {
        (Some("paused"), _) | (Some("cancelled"), Some("pause")) => RunEnd::Paused,
        (Some("source_unavailable"), Some("stopped")) => RunEnd::Died(STOPPED),
        (Some("transport_error"), Some("agent_killed")) => RunEnd::Died(KILLED),
        (None, _) if answer["ok"] != true || answer["outputOmitted"] == true => RunEnd::Died(LOST),
        _ => RunEnd::Result(result_of(answer)),
    }
}

/// What the answer to a run says about its task.
fn result_of(answer: &Value) -> TaskResult {
    let error = &answer["error"];
    if answer["ok"] == true {
        let output = &answer["output"];
        let changes = &output["changes"];
        if let Some(limit) = output["limit"].as_str() {
            return failed(format!("ended at its {limit}"), &changes["id"]);
        }
        let count = |kind: &str| changes[kind].as_u64().unwrap_or_default();
        let paths = ["added", "edited", "removed", "modes"].map(count);
        return TaskResult::Done {
            message: output["text"].as_str().unwrap_or_default().to_owned(),
            changes: changes["id"].as_str().map(|id| ChangeSet {
                id: id.to_owned(),
                // A renamed file has two.
                files: paths.iter().sum::<u64>().saturating_sub(count("renamed")),
            }),
        };
    }
    match error["effect"].as_str() {
        Some("unknown") => TaskResult::Unknown(words_of(error)),
        _ => failed(words_of(error), &error["detail"]["changes"]),
    }
}

/// A run that failed, and the id of the change set that it left, if there is one.
fn failed(why: String, changes: &Value) -> TaskResult {
    match changes.as_str() {
        Some(id) => TaskResult::HalfDone {
            why,
            changes: id.to_owned(),
        },
        None => TaskResult::Failed(why),
    }
}

fn words_of(error: &Value) -> String {
    let of = |member: &str| error[member].as_str().unwrap_or_default();
    format!("{}: {}", of("code"), of("message"))
}

/// The time.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    Timestamp(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// Works on the store, on a file thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = on_file_thread(move || Ok(work())).await;
    done.unwrap_or_else(|error| {
        Err(StoreError::Unsure(io::Error::other(
            error.message.to_string(),
        )))
    })
}
