//! Boards as a source: calls in, answers out; what a failure means.
//!
//! Invariants: a call that makes runs commits only under an approval that permits them; a card shows every prompt that the
//! approval is about; a constraint on boards is asked about before a board is read.
//!
//! Must not know: how a board is walked, how it is kept.

use crate::{
    board::{
        Board, BoardError, BoardId, Budget, ChangeSets, Draft, Orchestration, Progress, Task,
        source_of,
    },
    orchestrate::{KIND, Walker, blocking, now},
    status::Status,
    store::{Store, StoreError, StoredBoards},
};
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Handlers, Health, Host, OpenError, Plan, Preview, Reply, Role, Secrets, Source,
    SourceContext, SourceError, Touched, Verdict,
};
use plexus_protocol::{AuditId, CapabilityId, Digest, Effect, json};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// The field that a constraint may narrow.
const FIELD: &str = "board";
/// What runs work on.
const EACH: &str = "each run has its own, with what the tasks that it needs changed, and leaves its own change set";
const ONE: &str = "one for all, and one change set at the end: runs come one after another";

/// The boards of one source.
#[derive(Debug)]
pub struct CcMasterSource {
    /// `None` where the worker was given no folder.
    walker: Option<Walker<Host>>,
}

/// The source's route: nothing.
#[derive(Debug, Deserialize)]
pub struct Config {}

/// Input of `board.create`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateInput {
    goal: String,
    tasks: Vec<Draft>,
    #[serde(default, rename = "changeSets")]
    change_sets: ChangeSets,
}

/// Input of `board.status`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusInput {
    board: Option<BoardId>,
    task: Option<String>,
}

/// Input of `board.stop`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopInput {
    board: BoardId,
}

/// Input of `orchestration.run` and `agent.dispatch`. How many runs there may be, and how long, is the gateway's to hold to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrchestrateInput {
    board: BoardId,
    task: Option<String>,
    agents: Vec<CapabilityId>,
    #[serde(default, rename = "runs")]
    _runs: Option<u32>,
    #[serde(default, rename = "minutes")]
    _minutes: Option<u32>,
    parallel: Option<usize>,
    #[serde(default, rename = "maxTokens")]
    max_tokens: Option<u64>,
    #[serde(default, rename = "maxCost")]
    max_cost: Option<f64>,
}

/// Input of `session.launch`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaunchInput {
    prompt: String,
    agents: Vec<CapabilityId>,
    #[serde(default, rename = "minutes")]
    _minutes: Option<u32>,
    #[serde(default, rename = "maxTokens")]
    max_tokens: Option<u64>,
    #[serde(default, rename = "maxCost")]
    max_cost: Option<f64>,
}

/// What a board that is changed answers.
#[derive(Debug, Serialize)]
struct Changed {
    ok: bool,
    board: BoardId,
}

/// What a commit is to do.
#[derive(Debug)]
struct Orchestrate {
    board: BoardId,
    /// Made with it: the board of one prompt.
    prompt: Option<(String, CapabilityId)>,
    task: Option<String>,
    agents: Vec<CapabilityId>,
    parallel: usize,
    budget: Budget,
}

impl Source for CcMasterSource {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("opened with all that it is given"))
    }

    async fn open_with(_: Config, given: SourceContext) -> Result<Self, OpenError> {
        let store = given
            .scratch
            .map(|scratch| Store::new(scratch.join("boards")));
        let walker = store.map(|store| Walker::new(store, given.host));
        if let (Some(walker), Role::Writer) = (&walker, given.role) {
            let resumed = walker.resume().await;
            resumed.map_err(|error| OpenError::internal(error.to_string()))?;
        }
        Ok(Self { walker })
    }

    async fn health(&self) -> Health {
        let ailing = self.walker.as_ref().and_then(Walker::ailing);
        ailing.map_or(Health::Well, |why| Health::Unavailable(why.into()))
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("board.status", Self::status)
            .effect("board.create", Self::plan_create, Self::create)
            .effect("board.stop", Self::plan_stop, Self::stop)
            .effect("orchestration.run", Self::plan_run, Self::orchestrate)
            .effect("agent.dispatch", Self::plan_run, Self::orchestrate)
            .effect("session.launch", Self::plan_launch, Self::orchestrate)
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let Ok(walker) = self.walker() else {
            return Verdict::CannotTell;
        };
        let store = walker.store.clone();
        let boards = blocking(move || store.all()).await;
        let Ok(found) = boards else {
            return Verdict::CannotTell;
        };
        match found.boards.iter().any(|board| board.has_intent(&intent)) {
            true => Verdict::Happened,
            // A board remembers it before the call is answered, and one that cannot be read may be that board.
            false if found.unread.is_empty() => Verdict::DidNot,
            false => Verdict::CannotTell,
        }
    }
}

impl CcMasterSource {
    fn walker(&self) -> Result<&Walker<Host>, SourceError> {
        let none = || SourceError::transport("not_kept", "this worker keeps nothing");
        self.walker.as_ref().ok_or_else(none)
    }

    /// A board that the call may know of.
    async fn board(&self, call: &CallContext, id: BoardId) -> Result<Board, SourceError> {
        call.require(FIELD, &id.to_string())?;
        let store = self.walker()?.store.clone();
        Ok(blocking(move || store.get(id)).await?)
    }

    async fn status(
        self: Arc<Self>,
        call: CallContext,
        input: StatusInput,
    ) -> Result<Reply<Status>, SourceError> {
        if let Some(id) = input.board {
            let board = self.board(&call, id).await?;
            if let Some(task) = &input.task {
                board.task(task)?;
            }
            let reply = Reply::new(Status::of(&board, input.task.as_deref()), "showed a board");
            return Ok(reply.touched([Touched::read(KIND, id.to_string(), None)]));
        }
        if input.task.is_some() {
            return Err(SourceError::invalid("a task is of a board: name that too"));
        }
        let Some(walker) = &self.walker else {
            return Ok(Reply::new(
                Status::of_all(StoredBoards::default()),
                "listed 0 boards",
            ));
        };
        let store = walker.store.clone();
        let mut found = blocking(move || store.all()).await?;
        let may_see = |id: &str| call.allows(FIELD, id);
        found.boards.retain(|board| may_see(&board.id.to_string()));
        found.unread.retain(|unread| may_see(&unread.board));
        let summary = format!("listed {}", counted(found.boards.len(), "board"));
        let read = found.boards.iter();
        let touched: Vec<_> = read
            .map(|b| Touched::read(KIND, b.id.to_string(), None))
            .collect();
        Ok(Reply::new(Status::of_all(found), summary).touched(touched))
    }

    async fn plan_create(
        self: Arc<Self>,
        _: CallContext,
        input: CreateInput,
    ) -> Result<Plan<CreateInput>, SourceError> {
        let board = made(&input)?;
        let tasks = counted(board.tasks.len(), "task");
        let preview = Preview::new(format!("makes a board of {tasks}"))
            .fact("runs", "none yet: each orchestration of it asks you")
            .fact("copies", copies(board.change_sets))
            .text(&board.outline(|_| true));
        let token = token(&json!(input));
        Ok(Plan::new(input, token, preview, "made a board"))
    }

    async fn create(
        self: Arc<Self>,
        call: CallContext,
        input: CreateInput,
    ) -> Result<Reply<Changed>, SourceError> {
        let mut board = made(&input)?;
        board.intended(call.audit());
        let (id, count) = (board.id, board.tasks.len());
        self.walker()?.add(board).await?;
        Ok(changed(
            id,
            format!("made a board of {}", counted(count, "task")),
        ))
    }

    async fn plan_stop(
        self: Arc<Self>,
        call: CallContext,
        input: StopInput,
    ) -> Result<Plan<BoardId>, SourceError> {
        let board = self.board(&call, input.board).await?;
        if !board.is_under_way() {
            return Err(BoardError::NotUnderWay.into());
        }
        let preview = Preview::new("stops a board: its runs end, and no further one is made")
            .fact("board", input.board.to_string())
            .fact("goal", &board.goal)
            .fact("running", board.running().count().to_string());
        let token = token(&json!([board.id, board.orchestration]));
        let plan = Plan::new(board.id, token, preview, "stopped a board");
        Ok(plan.touched([touched(board.id)]))
    }

    async fn stop(
        self: Arc<Self>,
        call: CallContext,
        id: BoardId,
    ) -> Result<Reply<Changed>, SourceError> {
        let (walker, intent) = (self.walker()?, call.audit().cloned());
        let stopped = walker.change(id, move |board| {
            board.stop()?;
            board.intended(intent.as_ref());
            Ok(())
        });
        stopped.await?;
        walker.wake();
        Ok(changed(id, "stopped a board"))
    }

    async fn plan_run(
        self: Arc<Self>,
        call: CallContext,
        input: OrchestrateInput,
    ) -> Result<Plan<Orchestrate>, SourceError> {
        let board = self.board(&call, input.board).await?;
        let left = board.left_for(input.task.as_deref(), &input.agents)?;
        let parallel = input.parallel.unwrap_or(1);
        if board.change_sets == ChangeSets::One && parallel > 1 {
            let why = "this board has one change set, so its runs come one after another: leave parallel out";
            return Err(SourceError::invalid(why));
        }
        let preview = Preview::new(format!(
            "carries {} of a board of {}",
            counted(left.len(), "task"),
            board.tasks.len()
        ))
        .fact("board", board.id.to_string())
        .fact("copies", copies(board.change_sets));
        let budget = Budget {
            max_tokens: input.max_tokens,
            max_cost: input.max_cost,
        };
        let preview = bounded(preview, budget).text(&board.outline(|task| left.contains(&task)));
        let apart = apart(&board, &left);
        // What is there now, so that the runs are those of the card.
        let token = token(&json!([board, input.task, input.agents, parallel, budget]));
        let orchestrate = Orchestrate {
            board: board.id,
            prompt: None,
            task: input.task,
            agents: input.agents,
            parallel,
            budget,
        };
        let mut plan = Plan::new(orchestrate, token, preview, "began to carry a board");
        if let Some(why) = apart {
            plan = plan.warning(why);
        }
        Ok(plan.touched([touched(board.id)]))
    }

    async fn plan_launch(
        self: Arc<Self>,
        _: CallContext,
        input: LaunchInput,
    ) -> Result<Plan<Orchestrate>, SourceError> {
        let [agent] = &*input.agents else {
            return Err(SourceError::invalid("one session has one agent"));
        };
        let prompt = input.prompt.clone();
        let board = Board::of_one(BoardId::fresh(), prompt, agent.clone(), now())?;
        let preview = Preview::new("makes one run, on a board of its own");
        let budget = Budget {
            max_tokens: input.max_tokens,
            max_cost: input.max_cost,
        };
        let preview = bounded(preview, budget).text(&board.outline(|_| true));
        let token = token(&json!([input.prompt, input.agents, budget]));
        let orchestrate = Orchestrate {
            board: board.id,
            prompt: Some((input.prompt, agent.clone())),
            task: None,
            agents: input.agents,
            parallel: 1,
            budget,
        };
        Ok(Plan::new(orchestrate, token, preview, "began a session"))
    }

    async fn orchestrate(
        self: Arc<Self>,
        call: CallContext,
        plan: Orchestrate,
    ) -> Result<Reply<Changed>, SourceError> {
        let none = || SourceError::internal("a commit without an approval that permits runs");
        let approval = call.conversation().ok_or_else(none)?;
        let (walker, intent, now) = (self.walker()?, call.audit().cloned(), now());
        let id = plan.board;
        let orchestration = Orchestration {
            approval,
            agents: plan.agents,
            parallel: plan.parallel,
            task: plan.task,
            began: now,
            state: Progress::UnderWay,
            budget: plan.budget,
        };
        let begin = move |board: &mut Board| {
            board.begin(orchestration)?;
            board.intended(intent.as_ref());
            Ok(())
        };
        match plan.prompt {
            Some((prompt, agent)) => {
                let mut board = Board::of_one(id, prompt, agent, now)?;
                begin(&mut board)?;
                walker.add(board).await?;
            }
            None => walker.change(id, begin).await?,
        }
        walker.go(id);
        Ok(changed(id, "began to carry a board"))
    }
}

fn made(input: &CreateInput) -> Result<Board, SourceError> {
    let (goal, drafts) = (input.goal.clone(), input.tasks.clone());
    let sets = input.change_sets;
    Ok(Board::new(BoardId::fresh(), goal, drafts, sets, now())?)
}

fn copies(sets: ChangeSets) -> &'static str {
    match sets {
        ChangeSets::Each => EACH,
        ChangeSets::One => ONE,
    }
}

/// What the owner should know of tasks that need others of another source: change sets are a source's own.
fn apart(board: &Board, left: &[&Task]) -> Option<String> {
    let is_apart = |task: &&&Task| {
        let of = |id: &str| board.task(id).map(|task| source_of(&task.draft.agent));
        let needed = board.needed(&task.draft.id).into_iter();
        let mut needed = needed.filter_map(|id| of(id).ok());
        needed.any(|source| source != source_of(&task.draft.agent))
    };
    let apart = left.iter().filter(is_apart);
    let named: Vec<_> = apart.map(|task| task.draft.id.as_str()).collect();
    (!named.is_empty()).then(|| {
        format!(
            "Another source runs some of what these tasks need. They see its files only where you have applied them by then: {}",
            named.join(", ")
        )
    })
}

/// The card's words on what the runs may use together.
fn bounded(mut preview: Preview, budget: Budget) -> Preview {
    if let Some(most) = budget.max_tokens {
        preview = preview.fact("ends after", format!("{most} tokens in all runs together"));
    }
    if let Some(most) = budget.max_cost {
        preview = preview.fact(
            "ends after",
            format!("{most} US dollars in all runs together"),
        );
    }
    preview
}

fn changed(board: BoardId, summary: impl AsRef<str>) -> Reply<Changed> {
    Reply::new(Changed { ok: true, board }, summary).touched([touched(board)])
}

fn touched(board: BoardId) -> Touched {
    Touched::write(KIND, board.to_string(), None)
}

fn token(assumed: &serde_json::Value) -> Digest {
    Digest::of(&json::canonical(assumed))
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        let reason = match error {
            StoreError::Board(error) => return error.into(),
            StoreError::Unknown(_) => "not_found",
            StoreError::Full => "too_many",
            StoreError::Unreadable(..) => "damaged",
            StoreError::Io(_) => "io",
            StoreError::Unsure(_) => {
                return Self::transport("io", error.to_string()).effect(Effect::Unknown);
            }
        };
        Self::transport(reason, error.to_string())
    }
}

impl From<BoardError> for SourceError {
    fn from(error: BoardError) -> Self {
        let reason = match error {
            BoardError::UnderWay => "under_way",
            BoardError::NotUnderWay => "not_under_way",
            BoardError::NothingLeft => "nothing_left",
            BoardError::State { .. } => "task_state",
            BoardError::NoTask(_) => "not_found",
            BoardError::NoId
            | BoardError::Twice(_)
            | BoardError::UnknownNeed { .. }
            | BoardError::Circle(_)
            | BoardError::Count
            | BoardError::TooLarge
            | BoardError::NotListed { .. } => return Self::invalid(error.to_string()),
        };
        Self::transport(reason, error.to_string())
    }
}
