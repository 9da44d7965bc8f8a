//! What agents and the owner read of a board.
//!
//! Must not know: how a board changes.

use crate::{
    board::{
        Board, BoardId, BoardState, ChangeSets, Progress, Task, TaskResult, TaskStage, TaskState,
    },
    store::{StoredBoards, Unread},
};
use plexus_protocol::{CapabilityId, Digest, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// Longest message of a task that a whole board shows, in bytes; the task alone shows all of it.
const SHOWN: usize = 1024;

/// Output of `board.status`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Status {
    /// All boards, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    boards: Option<Vec<Short>>,
    /// The files of boards that cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread: Vec<Unread>,
    /// The one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<Whole>,
}

/// A board in a list.
#[derive(Debug, Serialize)]
struct Short {
    id: BoardId,
    goal: String,
    made: Timestamp,
    state: BoardState,
    #[serde(rename = "changeSets")]
    change_sets: ChangeSets,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    counts: BTreeMap<TaskState, usize>,
}

#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    short: Short,
    /// The approval that carries it now, as the gateway names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<Digest>,
    tasks: Vec<TaskView>,
}

/// A task.
#[derive(Debug, Serialize)]
struct TaskView {
    id: String,
    title: String,
    agent: CapabilityId,
    needs: Vec<String>,
    state: TaskState,
    attempts: u32,
    /// Why another run followed its first.
    #[serde(skip_serializing_if = "Option::is_none")]
    again: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Status {
    /// The list.
    pub(crate) fn of_all(found: StoredBoards) -> Self {
        Self {
            boards: Some(found.boards.iter().map(short).collect()),
            unread: found.unread,
            board: None,
        }
    }

    /// One board; with `task`, that task alone, with its prompt and all of its message.
    pub(crate) fn of(board: &Board, task: Option<&str>) -> Self {
        let states = board.states();
        let tasks = board.tasks.iter();
        let tasks = tasks.filter(|one| task.is_none_or(|task| task == one.draft.id));
        let shown = tasks.map(|one| shown(one, states[one.draft.id.as_str()], task.is_some()));
        Self {
            boards: None,
            unread: Vec::new(),
            board: Some(Whole {
                short: short(board),
                approval: board.current().map(|current| current.approval),
                tasks: shown.collect(),
            }),
        }
    }
}

fn short(board: &Board) -> Short {
    let why = match board.orchestration.as_ref().map(|it| &it.state) {
        Some(Progress::Ended { why, .. }) => why.clone(),
        _ => None,
    };
    Short {
        id: board.id,
        goal: board.goal.clone(),
        made: board.made,
        state: board.state(),
        change_sets: board.change_sets,
        why,
        counts: board.counts(),
    }
}

fn shown(task: &Task, state: TaskState, is_whole: bool) -> TaskView {
    let draft = &task.draft;
    let mut shown = TaskView {
        id: draft.id.clone(),
        title: draft.title.clone(),
        agent: draft.agent.clone(),
        needs: draft.needs.clone(),
        state,
        attempts: task.attempts,
        again: task.again.clone(),
        prompt: is_whole.then(|| draft.prompt.clone()),
        run: None,
        since: None,
        ended: None,
        message: None,
        cut: false,
        changes: None,
        files: None,
        error: None,
    };
    match &task.stage {
        TaskStage::Waiting => {}
        TaskStage::Running { run, since, .. } => {
            shown.run.clone_from(run);
            shown.since = Some(*since);
        }
        TaskStage::Ended { run, at, result } => {
            shown.run.clone_from(run);
            shown.ended = Some(*at);
            match result {
                TaskResult::Done { message, changes } => {
                    let end = match is_whole {
                        true => message.len(),
                        false => message.floor_char_boundary(SHOWN),
                    };
                    shown.cut = end < message.len();
                    shown.message = Some(message[..end].to_owned());
                    shown.changes = changes.as_ref().map(|set| set.id.clone());
                    shown.files = changes.as_ref().map(|set| set.files);
                }
                TaskResult::Failed(error) | TaskResult::Unknown(error) => {
                    shown.error = Some(error.clone());
                }
                TaskResult::HalfDone { why, changes } => {
                    shown.error = Some(why.clone());
                    shown.changes = Some(changes.clone());
                }
            }
        }
    }
    shown
}
