//! The cc-master connector: boards of tasks, and the runs of coding agents that carry them.
//!
//! ```text
//! source.rs         calls in, answers out            status.rs  what is read of a board
//!   orchestrate.rs  walks boards, makes and follows runs
//!   store.rs        one file for each board          board.rs   tasks, what each needs, how far they are
//! ```
//! Must not know: agents, grants, the gateway, what a run does.

mod board;
mod orchestrate;
mod source;
mod status;
mod store;

pub use board::{
    Board, BoardError, BoardId, BoardState, ChangeSet, ChangeSets, Draft, Orchestration, Progress,
    Task, TaskResult, TaskStage, TaskState,
};
pub use source::{CcMasterSource, Config};
pub use store::StoreError;

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
