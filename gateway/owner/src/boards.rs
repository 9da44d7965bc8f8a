//! Boards of tasks. What a board holds is its source's to say.

use plexus_protocol::{CapabilityId, Digest, SourceId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All boards of all sources.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All boards, and what cannot be read.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Boards {
    /// Each in short.
    pub boards: Vec<BoardRow>,
    /// What cannot be read.
    pub unread: Vec<Unread>,
}

/// A board in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoardRow {
    /// What there is of it without its tasks.
    #[serde(flatten)]
    pub facts: BoardFacts,
    /// The source that has it.
    pub source: SourceId,
}

/// What there is of a board without its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BoardFacts {
    /// Its id, which says nothing of its source.
    pub id: String,
    /// What it is for, in the words of who made it.
    pub goal: String,
    /// When it was made.
    pub made: Timestamp,
    /// How far it is.
    pub state: BoardState,
    /// Which change sets its tasks leave.
    pub change_sets: ChangeSets,
    /// Why it ended with tasks left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many tasks are in which state.
    pub counts: BTreeMap<TaskState, u64>,
}

/// How far a board is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BoardState {
    /// Nothing was orchestrated yet.
    New,
    /// Runs are made.
    UnderWay,
    /// It waits until agents are served again.
    Suspended,
    /// It makes no more runs, and ends those that go on.
    Stopping,
    /// All tasks are done.
    Done,
    /// The orchestration is over, and tasks are left.
    Unfinished,
}

impl BoardState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::UnderWay => "under-way",
            Self::Suspended => "suspended",
            Self::Stopping => "stopping",
            Self::Done => "done",
            Self::Unfinished => "unfinished",
        }
    }

    /// Whether no task of it begins with a change set as it is now.
    #[must_use]
    pub const fn needs_no_set(self) -> bool {
        matches!(self, Self::New) || self.is_over()
    }

    /// Whether nothing of it changes by itself any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Unfinished)
    }
}

/// Which change sets the tasks of a board leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeSets {
    /// Each task its own.
    Each,
    /// One for all, at the end.
    One,
}

/// Where a task is. In the order of the source's own states, which counts are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

impl TaskState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }
}

/// What cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Unread {
    /// A board.
    Board {
        /// Its id.
        board: String,
        /// Why.
        why: String,
        /// The source that has it.
        source: SourceId,
    },
    /// All boards of a source.
    Source {
        /// The source.
        source: SourceId,
        /// Why.
        why: String,
    },
}

/// One board.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its id.
    pub id: String,
    /// The source that has it, where several answer for its id.
    pub source: Option<SourceId>,
}

/// One board.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownBoard {
    /// With its tasks.
    pub board: Board,
}

/// A board with its tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// What there is of it without its tasks.
    #[serde(flatten)]
    pub facts: BoardFacts,
    /// The approval that carries it now, as the gateway names it to the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Digest>,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// The source that has it.
    pub source: SourceId,
}

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id on the board.
    pub id: String,
    /// Its title, in the words of who made it.
    pub title: String,
    /// What runs it.
    pub agent: CapabilityId,
    /// The tasks before it.
    pub needs: Vec<String>,
    /// Where it is.
    pub state: TaskState,
    /// How many runs it had.
    pub attempts: u32,
    /// Why another run followed its first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    /// What its run is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Its run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Since when its run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When its run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What its run said at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether that is cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    /// The change set that it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    /// Files in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// Why its run failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Ends the approval that carries a board, and cancels its runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Stop {
    /// Its id.
    pub id: String,
    /// The source that has it, where several answer for its id.
    pub source: Option<SourceId>,
}
