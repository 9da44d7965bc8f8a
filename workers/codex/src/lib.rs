//! The codex connector: Codex works on a copy of one folder; what it changed comes into the folder by an effect of its own.
//!
//! ```text
//! source.rs     calls in, answers out; what a failure means to an agent
//!   run.rs      copy ─▶ Codex in a cage of its own ─▶ what it changed
//!     turn.rs   Codex's events      threads.rs  which thread is whose folder
//!   apply.rs    a change set into the folder, and back
//! snapshot.rs   what a folder holds, and a copy of it
//! change_set.rs what lies between two snapshots, and where that is kept
//! ```
//!
//! Invariants: a run changes its copy alone; a change set is read from a copy only after every process of its run has
//! ended; contents are believed only where their digest is the change set's; applying checks each file before the first
//! one is changed.
//!
//! Must not know: agents, grants, the gateway, the key of the model server.

mod apply;
mod change_set;
mod run;
mod snapshot;
mod source;
mod threads;
mod turn;

pub use source::{CodexSource, Config};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
