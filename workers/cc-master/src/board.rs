//! A board: a goal, its tasks, what each needs, and how far they are.
//!
//! ```text
//! waiting ─needs done▶ ready ─start▶ running ─┬▶ done
//!    │  ▲                                     ├▶ failed ───┐ a new orchestration, or a dispatch
//!    │  └─ put back ◀── refused, paused, died ┘   unknown ─┴▶ waiting
//!    └─a need failed or is unknown▶ skipped
//! ```
//! `ready` and `skipped` follow from the tasks that a task needs; the others are kept.
//!
//! Invariants: needs name tasks of the board and have no circle; a task starts when all that it needs is done; a name of a
//! run is given once; a task runs only while an orchestration is under way, and there is one at a time. Pure: no I/O, the
//! time is an argument.
//!
//! Must not know: how a run is made, where a board is kept.

mod budget;
mod words;

pub(crate) use budget::{Budget, Used};

#[cfg(test)]
mod tests;

use plexus_protocol::{AuditId, CapabilityId, Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};
use uuid::Uuid;

/// Most tasks of a board.
const MAX_TASKS: usize = 100;
/// Longest outline of a board, in bytes: the owner's card shows all of it.
const MAX_OUTLINE: usize = 64 * 1024;
/// Longest message that is kept of a run, in bytes.
const MAX_MESSAGE: usize = 8 * 1024;
/// How often a task is run again by itself whose run died.
const MOST_DEATHS: u32 = 2;
/// Intents that a board remembers; the oldest go.
const MAX_INTENTS: usize = 100;

/// `brd_` and a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BoardId(Uuid);

impl BoardId {
    /// One that no board has.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for BoardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "brd_{}", self.0)
    }
}

impl FromStr for BoardId {
    type Err = BoardError;

    fn from_str(text: &str) -> Result<Self, BoardError> {
        let id = text.strip_prefix("brd_").map(Uuid::try_parse);
        let id = id.and_then(Result::ok).map(Self);
        // One spelling for each, because it names a file.
        id.filter(|id| id.to_string() == text)
            .ok_or(BoardError::NoId)
    }
}

impl TryFrom<String> for BoardId {
    type Error = BoardError;

    fn try_from(text: String) -> Result<Self, BoardError> {
        text.parse()
    }
}

impl From<BoardId> for String {
    fn from(id: BoardId) -> Self {
        id.to_string()
    }
}

/// Why something cannot be done with a board.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoardError {
    /// No id of a board.
    #[error("not an id of a board")]
    NoId,
    /// Two tasks of one id.
    #[error("two tasks have the id {0}")]
    Twice(String),
    /// A task needs one that is not on the board.
    #[error("the task {task} needs {need}, which is not on the board")]
    UnknownNeed {
        /// The task.
        task: String,
        /// What it names.
        need: String,
    },
    /// Tasks that wait for each other.
    #[error("these tasks wait for each other: {}", .0.join(", "))]
    Circle(Vec<String>),
    /// No task, or more than a board holds.
    #[error("a board has 1 to {MAX_TASKS} tasks")]
    Count,
    /// Longer than a card shows.
    #[error(
        "goal, titles and prompts come to more than the 64 KiB that a card shows: use smaller boards"
    )]
    TooLarge,
    /// No such task.
    #[error("the board has no task {0}")]
    NoTask(String),
    /// Its runs would be of a capability that the orchestration does not name.
    #[error("the task {task} is for {agent}, which `agents` does not name")]
    NotListed {
        /// The task.
        task: String,
        /// Its capability.
        agent: String,
    },
    /// An orchestration is under way.
    #[error("the board is under way already: wait for its end, or stop it")]
    UnderWay,
    /// None is.
    #[error("the board is not under way")]
    NotUnderWay,
    /// All is done.
    #[error("no task is left to do")]
    NothingLeft,
    /// A task of this state cannot do that.
    #[error("the task {task} is {state}")]
    State {
        /// The task.
        task: String,
        /// Where it is.
        state: TaskState,
    },
}

/// A task as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its id, unique on the board.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// What its run is asked to do.
    pub prompt: String,
    /// The capability that runs it, such as `codex.run`.
    pub agent: CapabilityId,
    /// Tasks that come before it.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// A task on its board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What was asked for.
    pub draft: Draft,
    /// Runs so far, the one that goes on among them.
    pub attempts: u32,
    /// How many of them died under this orchestration.
    #[serde(default)]
    pub deaths: u32,
    /// Why another run followed one under this orchestration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    /// How far it is.
    pub stage: TaskStage,
}

/// What is kept of how far a task is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "camelCase")]
pub enum TaskStage {
    /// No run of it goes on, and none counts.
    Waiting,
    /// A run was asked for.
    Running {
        /// The run, once the gateway has named it.
        run: Option<String>,
        /// Since when.
        since: Timestamp,
        /// What it may use.
        #[serde(default)]
        share: Budget,
    },
    /// A run of it ended.
    Ended {
        /// The run, where one began.
        run: Option<String>,
        /// When.
        at: Timestamp,
        /// What it came to.
        result: TaskResult,
    },
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskResult {
    /// It answered.
    Done {
        /// Its final message, cut at 8 KiB.
        message: String,
        /// The change set, where it changed anything.
        changes: Option<ChangeSet>,
    },
    /// It failed, or was refused.
    Failed(String),
    /// It failed, and left a change set of what it did until then. No run begins with that one.
    HalfDone {
        /// Why.
        why: String,
        /// The change set's id.
        changes: String,
    },
    /// Nobody knows what became of it.
    Unknown(String),
}

/// Which change sets a board leaves, and so what its runs begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeSets {
    /// Each task has one of its own, and begins with those of the tasks that it needs.
    #[default]
    Each,
    /// One for all tasks, which run one after another: each begins with what all before it made.
    One,
}

/// A change set that a run left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Its id.
    pub id: String,
    /// Files in it.
    pub files: u64,
}

/// Where a task is, with what follows from its needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Something that it needs is not done yet.
    Waiting,
    /// It can start.
    Ready,
    /// A run of it goes on.
    Running,
    /// It is done.
    Done,
    /// Its run failed.
    Failed,
    /// Nobody knows what became of its run.
    Unknown,
    /// Something that it needs failed or is unknown.
    Skipped,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        })
    }
}

/// Where a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoardState {
    /// Nothing was orchestrated yet.
    New,
    /// Runs are made.
    UnderWay,
    /// The owner has paused the gateway.
    Suspended,
    /// It makes no more runs, and ends those that go on.
    Stopping,
    /// All tasks are done.
    Done,
    /// The orchestration is over, and tasks are left.
    Unfinished,
}

/// One approval that carries a board, or one task of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Orchestration {
    /// The approval, as the gateway names it to this source.
    pub approval: Digest,
    /// Capabilities that it permits.
    pub agents: Vec<CapabilityId>,
    /// Runs side by side.
    pub parallel: usize,
    /// The one task that it is about; none: all that are left.
    pub task: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// How far it is.
    pub state: Progress,
    /// What its runs may use together, without what those that ended have used.
    #[serde(default)]
    pub budget: Budget,
}

/// How far an orchestration is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// It makes runs.
    UnderWay,
    /// The owner has paused the gateway: it waits.
    Suspended,
    /// It makes no more runs, and ends those that go on.
    Stopping,
    /// It is over.
    Ended {
        /// Why, where tasks are left.
        why: Option<String>,
        /// When.
        at: Timestamp,
    },
}

/// A board.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Its id.
    pub id: BoardId,
    /// What all of it is for.
    pub goal: String,
    /// When it was made.
    pub made: Timestamp,
    /// Its tasks, in the order in which they were named.
    pub tasks: Vec<Task>,
    /// Which change sets it leaves.
    #[serde(default)]
    pub change_sets: ChangeSets,
    /// The latest orchestration.
    pub orchestration: Option<Orchestration>,
    /// Intents of the calls that changed it, for `Settle`.
    intents: Vec<AuditId>,
}

impl Board {
    /// A board of these tasks.
    ///
    /// # Errors
    /// Too many, of one id, unknown or circular needs, or longer than a card shows.
    pub fn new(
        id: BoardId,
        goal: String,
        drafts: Vec<Draft>,
        change_sets: ChangeSets,
        now: Timestamp,
    ) -> Result<Self, BoardError> {
        if drafts.is_empty() || drafts.len() > MAX_TASKS {
            return Err(BoardError::Count);
        }
        let mut ids = BTreeSet::new();
        for draft in &drafts {
            if !ids.insert(draft.id.as_str()) {
                return Err(BoardError::Twice(draft.id.clone()));
            }
        }
        for draft in &drafts {
            if let Some(need) = draft.needs.iter().find(|need| !ids.contains(need.as_str())) {
                return Err(BoardError::UnknownNeed {
                    task: draft.id.clone(),
                    need: need.clone(),
                });
            }
        }
        let fresh = |draft| Task {
            draft,
            attempts: 0,
            deaths: 0,
            again: None,
            stage: TaskStage::Waiting,
        };
        let board = Self {
            id,
            goal,
            made: now,
            tasks: drafts.into_iter().map(fresh).collect(),
            change_sets,
            orchestration: None,
            intents: Vec::new(),
        };
        let depths = board.depths();
        let circle = |task: &&Task| !depths.contains_key(task.draft.id.as_str());
        let circle: Vec<_> = board.tasks.iter().filter(circle).collect();
        if !circle.is_empty() {
            let ids = circle.iter().map(|task| task.draft.id.clone());
            return Err(BoardError::Circle(ids.collect()));
        }
        match board.outline(|_| true).len() > MAX_OUTLINE {
            true => Err(BoardError::TooLarge),
            false => Ok(board),
        }
    }

    /// The board for one prompt alone.
    ///
    /// # Errors
    /// A prompt that is longer than a card shows.
    pub fn of_one(
        id: BoardId,
        prompt: String,
        agent: CapabilityId,
        now: Timestamp,
    ) -> Result<Self, BoardError> {
        let line = prompt.lines().next().unwrap_or_default();
        let title: String = line.chars().take(100).collect();
        let draft = Draft {
            id: "session".into(),
            title: title.clone(),
            prompt,
            agent,
            needs: Vec::new(),
        };
        Self::new(id, title, vec![draft], ChangeSets::default(), now)
    }

    /// How deep each task lies: 0 for those that need nothing. Tasks of a circle, and those behind one, have no depth.
    pub(crate) fn depths(&self) -> BTreeMap<&str, usize> {
        let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
        loop {
            let known = depths.len();
            for task in &self.tasks {
                let needs = task.draft.needs.iter();
                let of_needs: Option<Vec<usize>> = needs
                    .map(|need| depths.get(need.as_str()).copied())
                    .collect();
                if let Some(of_needs) = of_needs {
                    let depth = of_needs.iter().max().map_or(0, |deepest| deepest + 1);
                    depths.insert(&task.draft.id, depth);
                }
            }
            if depths.len() == known {
                return depths;
            }
        }
    }

    /// The task of that id.
    ///
    /// # Errors
    /// There is none.
    pub fn task(&self, id: &str) -> Result<&Task, BoardError> {
        let task = self.tasks.iter().find(|task| task.draft.id == id);
        task.ok_or_else(|| BoardError::NoTask(id.to_owned()))
    }

    /// Where each task is, by id.
    #[must_use]
    pub fn states(&self) -> BTreeMap<&str, TaskState> {
        let mut states = BTreeMap::new();
        let depths = self.depths();
        let mut tasks: Vec<&Task> = self.tasks.iter().collect();
        tasks.sort_by_key(|task| depths.get(task.draft.id.as_str()));
        for task in tasks {
            let state = match &task.stage {
                TaskStage::Running { .. } => TaskState::Running,
                TaskStage::Ended { result, .. } => match result {
                    TaskResult::Done { .. } => TaskState::Done,
                    TaskResult::Failed(_) | TaskResult::HalfDone { .. } => TaskState::Failed,
                    TaskResult::Unknown(_) => TaskState::Unknown,
                },
                TaskStage::Waiting => {
                    let of = |wanted: &[TaskState]| {
                        let needs = task.draft.needs.iter();
                        let mut needs = needs.filter_map(|need| states.get(need.as_str()));
                        needs.any(|state| wanted.contains(state))
                    };
                    if of(&[TaskState::Failed, TaskState::Unknown, TaskState::Skipped]) {
                        TaskState::Skipped
                    } else if of(&[TaskState::Waiting, TaskState::Ready, TaskState::Running]) {
                        TaskState::Waiting
                    } else {
                        TaskState::Ready
                    }
                }
            };
            states.insert(task.draft.id.as_str(), state);
        }
        states
    }

    /// How many tasks are in each state.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<TaskState, usize> {
        let mut counts = BTreeMap::new();
        for state in self.states().into_values() {
            *counts.entry(state).or_default() += 1;
        }
        counts
    }

    /// Where all of it is, in a word.
    #[must_use]
    pub fn state(&self) -> BoardState {
        match &self.orchestration {
            None => BoardState::New,
            Some(it) => match it.state {
                Progress::UnderWay => BoardState::UnderWay,
                Progress::Suspended => BoardState::Suspended,
                Progress::Stopping => BoardState::Stopping,
                Progress::Ended { .. } => {
                    let is_done = self
                        .states()
                        .values()
                        .all(|state| *state == TaskState::Done);
                    match is_done {
                        true => BoardState::Done,
                        false => BoardState::Unfinished,
                    }
                }
            },
        }
    }

    /// Whether an orchestration of it is not over.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.current().is_some()
    }

    /// The orchestration that is not over.
    #[must_use]
    pub fn current(&self) -> Option<&Orchestration> {
        let is_over = |it: &&Orchestration| matches!(it.state, Progress::Ended { .. });
        self.orchestration.as_ref().filter(|it| !is_over(it))
    }

    fn current_mut(&mut self) -> Result<&mut Orchestration, BoardError> {
        let current = self.orchestration.as_mut();
        current
            .filter(|it| !matches!(it.state, Progress::Ended { .. }))
            .ok_or(BoardError::NotUnderWay)
    }

    /// The tasks that an orchestration of `task`, or of all that is left, would make runs of.
    ///
    /// # Errors
    /// One is under way; the task is done, or waits for others; a task is for another capability; nothing is left.
    pub fn left_for(
        &self,
        task: Option<&str>,
        agents: &[CapabilityId],
    ) -> Result<Vec<&Task>, BoardError> {
        if self.is_under_way() {
            return Err(BoardError::UnderWay);
        }
        let states = self.states();
        let left: Vec<&Task> = match task {
            Some(id) => {
                let task = self.task(id)?;
                let state = states[id];
                let is_free = [TaskState::Ready, TaskState::Failed, TaskState::Unknown];
                if !is_free.contains(&state) {
                    let task = id.to_owned();
                    return Err(BoardError::State { task, state });
                }
                vec![task]
            }
            None => {
                let is_left = |task: &&Task| states[task.draft.id.as_str()] != TaskState::Done;
                self.tasks.iter().filter(is_left).collect()
            }
        };
        if left.is_empty() {
            return Err(BoardError::NothingLeft);
        }
        match left.iter().find(|task| !agents.contains(&task.draft.agent)) {
            Some(task) => Err(BoardError::NotListed {
                task: task.draft.id.clone(),
                agent: task.draft.agent.to_string(),
            }),
            None => Ok(left),
        }
    }

    /// Begins an orchestration: what failed or is unknown can start again.
    ///
    /// # Errors
    /// As [`Board::left_for`].
    pub fn begin(&mut self, orchestration: Orchestration) -> Result<(), BoardError> {
        let left = self.left_for(orchestration.task.as_deref(), &orchestration.agents)?;
        let left: BTreeSet<String> = left.iter().map(|task| task.draft.id.clone()).collect();
        for task in &mut self.tasks {
            if left.contains(&task.draft.id) {
                task.stage = TaskStage::Waiting;
                (task.deaths, task.again) = (0, None);
            }
        }
        self.orchestration = Some(orchestration);
        Ok(())
    }

    /// The tasks that can start now, in their order.
    #[must_use]
    pub fn ready(&self) -> Vec<&Task> {
        let Some(current) = self.current() else {
            return Vec::new();
        };
        let states = self.states();
        let only = current.task.as_deref();
        let is_ready = |task: &&Task| {
            let id = task.draft.id.as_str();
            states[id] == TaskState::Ready && only.is_none_or(|only| only == id)
        };
        self.tasks.iter().filter(is_ready).collect()
    }

    /// The tasks whose runs go on.
    pub fn running(&self) -> impl Iterator<Item = &Task> {
        let is_running = |task: &&Task| matches!(task.stage, TaskStage::Running { .. });
        self.tasks.iter().filter(is_running)
    }

    /// How many runs may begin beside those that go on.
    #[must_use]
    pub fn free(&self) -> usize {
        let parallel = match self.change_sets {
            ChangeSets::Each => self.current().map_or(1, |current| current.parallel),
            ChangeSets::One => 1,
        };
        parallel.saturating_sub(self.running().count())
    }

    /// The change sets that the run of a task begins with, in their order. Each source has its own.
    #[must_use]
    pub fn onto(&self, task: &Task) -> Vec<String> {
        let source = source_of(&task.draft.agent);
        let done = self.tasks.iter().filter_map(|other| match &other.stage {
            TaskStage::Ended {
                at,
                result: TaskResult::Done { changes, .. },
                ..
            } if source_of(&other.draft.agent) == source => Some((other, at, changes.as_ref())),
            _ => None,
        });
        let sets: Vec<&ChangeSet> = match self.change_sets {
            // The last one has all that those before it have.
            ChangeSets::One => done
                .max_by_key(|(_, at, _)| **at)
                .and_then(|(.., changes)| changes)
                .into_iter()
                .collect(),
            ChangeSets::Each => {
                let needed = self.needed(&task.draft.id);
                let depths = self.depths();
                let of_needed = done.filter(|(other, ..)| needed.contains(&*other.draft.id));
                let mut of_needed: Vec<_> = of_needed.collect();
                of_needed.sort_by_key(|(other, ..)| depths.get(&*other.draft.id));
                of_needed
                    .into_iter()
                    .filter_map(|(.., changes)| changes)
                    .collect()
            }
        };
        sets.into_iter().map(|set| set.id.clone()).collect()
    }

    /// The tasks that a task needs, those that they need among them.
    pub(crate) fn needed(&self, id: &str) -> BTreeSet<&str> {
        let mut needed = BTreeSet::new();
        let mut open: Vec<&Task> = self.task(id).into_iter().collect();
        while let Some(task) = open.pop() {
            for need in &task.draft.needs {
                if needed.insert(need.as_str()) {
                    open.extend(self.task(need));
                }
            }
        }
        needed
    }

    /// What the runs that go on leave for further ones.
    #[must_use]
    pub fn left(&self) -> Budget {
        let budget = self.current().map(|current| current.budget);
        let shares = self.running().filter_map(|task| match &task.stage {
            TaskStage::Running { share, .. } => Some(*share),
            TaskStage::Waiting | TaskStage::Ended { .. } => None,
        });
        shares.fold(budget.unwrap_or_default(), |left, share| {
            left.less(share, Used::default())
        })
    }

    /// Starts a task: from here on its run counts, whatever becomes of it.
    ///
    /// # Errors
    /// Nothing is under way, or the task is not ready.
    pub fn start(&mut self, id: &str, now: Timestamp) -> Result<(), BoardError> {
        let current = self.current_mut()?;
        let goes_on = matches!(current.state, Progress::UnderWay);
        let state = self.states().get(id).copied();
        if !goes_on || !self.ready().iter().any(|task| task.draft.id == id) {
            let state = state.ok_or_else(|| BoardError::NoTask(id.to_owned()))?;
            let task = id.to_owned();
            return Err(BoardError::State { task, state });
        }
        let share = self.left().share(self.free());
        let task = self.task_mut(id)?;
        task.attempts += 1;
        task.stage = TaskStage::Running {
            run: None,
            since: now,
            share,
        };
        Ok(())
    }

    /// The run of a task has a name.
    ///
    /// # Errors
    /// The task does not run.
    pub fn named(&mut self, id: &str, name: String) -> Result<(), BoardError> {
        let TaskStage::Running { run, .. } = self.stage_of_running(id)? else {
            return Ok(());
        };
        *run = Some(name);
        Ok(())
    }

    /// A run that never began is not needed now: its task can start again.
    ///
    /// # Errors
    /// The task does not run.
    pub fn put_back(&mut self, id: &str) -> Result<(), BoardError> {
        *self.stage_of_running(id)? = TaskStage::Waiting;
        Ok(())
    }

    /// The run of a task ended, with what it says that it used.
    ///
    /// # Errors
    /// The task does not run.
    pub fn finish(
        &mut self,
        id: &str,
        mut result: TaskResult,
        used: Used,
        now: Timestamp,
    ) -> Result<(), BoardError> {
        let (TaskResult::Done { message: text, .. }
        | TaskResult::Failed(text)
        | TaskResult::HalfDone { why: text, .. }
        | TaskResult::Unknown(text)) = &mut result;
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        let (run, share) = self.run_of(id)?;
        *self.stage_of_running(id)? = TaskStage::Ended {
            run,
            at: now,
            result,
        };
        self.charge(share, used);
        Ok(())
    }

    /// The run of a task came to nothing and changed nothing of the owner's: its task can start again by itself.
    ///
    /// # Errors
    /// The task does not run.
    pub fn redo(&mut self, id: &str, why: &str) -> Result<(), BoardError> {
        let (_, share) = self.run_of(id)?;
        let task = self.task_mut(id)?;
        (task.stage, task.again) = (TaskStage::Waiting, Some(why.to_owned()));
        // It says nothing of what it used.
        self.charge(share, Used::default());
        Ok(())
    }

    /// The same of a run that died, until `MOST_DEATHS` of the task have: then it failed.
    ///
    /// # Errors
    /// The task does not run.
    pub fn died(&mut self, id: &str, why: &str, now: Timestamp) -> Result<(), BoardError> {
        let task = self.task_mut(id)?;
        task.deaths += 1;
        match task.deaths {
            ..=MOST_DEATHS => self.redo(id, why),
            deaths => {
                let why = format!("{why}; {deaths} runs of it ended so");
                self.finish(id, TaskResult::Failed(why), Used::default(), now)
            }
        }
    }

    fn charge(&mut self, share: Budget, used: Used) {
        if let Ok(current) = self.current_mut() {
            current.budget = current.budget.less(share, used);
        }
    }

    /// Whether the orchestration waits for the owner to resume the gateway.
    ///
    /// # Errors
    /// Nothing is under way.
    pub fn suspend(&mut self, is_suspended: bool) -> Result<(), BoardError> {
        let current = self.current_mut()?;
        if current.state != Progress::Stopping {
            current.state = match is_suspended {
                true => Progress::Suspended,
                false => Progress::UnderWay,
            };
        }
        Ok(())
    }

    /// No further run is made.
    ///
    /// # Errors
    /// Nothing is under way.
    pub fn stop(&mut self) -> Result<(), BoardError> {
        self.current_mut()?.state = Progress::Stopping;
        Ok(())
    }

    /// The orchestration is over.
    ///
    /// # Errors
    /// Nothing is under way, or a task still runs.
    pub fn end(&mut self, why: Option<String>, now: Timestamp) -> Result<(), BoardError> {
        if let Some(task) = self.running().next() {
            let task = task.draft.id.clone();
            let state = TaskState::Running;
            return Err(BoardError::State { task, state });
        }
        self.current_mut()?.state = Progress::Ended { why, at: now };
        Ok(())
    }

    /// Remembers the intent of a call that changes it.
    pub fn intended(&mut self, intent: Option<&AuditId>) {
        self.intents.extend(intent.cloned());
        let over = self.intents.len().saturating_sub(MAX_INTENTS);
        self.intents.drain(..over);
    }

    /// Whether the call of that intent changed it.
    #[must_use]
    pub fn has_intent(&self, intent: &AuditId) -> bool {
        self.intents.contains(intent)
    }

    /// The run of a task that runs, and its share.
    fn run_of(&mut self, id: &str) -> Result<(Option<String>, Budget), BoardError> {
        match self.stage_of_running(id)? {
            TaskStage::Running { run, share, .. } => Ok((run.clone(), *share)),
            TaskStage::Waiting | TaskStage::Ended { .. } => Ok((None, Budget::default())),
        }
    }

    fn task_mut(&mut self, id: &str) -> Result<&mut Task, BoardError> {
        let task = self.tasks.iter_mut().find(|task| task.draft.id == id);
        task.ok_or_else(|| BoardError::NoTask(id.to_owned()))
    }

    fn stage_of_running(&mut self, id: &str) -> Result<&mut TaskStage, BoardError> {
        let state = self.states().get(id).copied();
        let stage = &mut self.task_mut(id)?.stage;
        match stage {
            TaskStage::Running { .. } => Ok(stage),
            TaskStage::Waiting | TaskStage::Ended { .. } => Err(BoardError::State {
                task: id.to_owned(),
                state: state.unwrap_or(TaskState::Waiting),
            }),
        }
    }
}

/// The source of a capability.
pub(crate) fn source_of(id: &CapabilityId) -> &str {
    id.parts().0
}
