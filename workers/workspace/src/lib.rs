//! The workspace connector's logic: one folder, listed, read and written.
//!
//! ```text
//! write input ─▶ look at the place ─▶ ifDigest ─▶ new content (given, or edits applied) ─▶ Plan: preview, token, rating
//!                                                                                            └─ commit ─▶ one rename
//! ```
//! Each change first keeps what it replaces in the worker's own `store`; an undo is a write like others, planned
//! from there.
//!
//! Invariants: planning changes nothing; a commit writes exactly the content that was planned, where it was planned,
//! or nothing; a path that tools execute without being asked is rated `execute`, whatever spelling it or the root's own path has.
//!
//! Must not know: agents, grants, the gateway; and only `source` knows that there are frames and a runtime.

mod browse;
mod changes;
mod edit;
mod error;
mod name;
mod plan;
mod source;
mod store;
mod undo;

pub use browse::{Entry, FileOutput, FolderOutput, ListInput, Next, ReadInput, Workspace};
pub use changes::{ChangedFile, ChangesInput, ChangesOutput, Present};
pub use edit::{Edit, EditError, apply};
pub use error::WorkspaceError;
pub use name::Suggestion;
pub use plan::{Expected, Plan, WriteInput, WriteOutput};
pub use plexus_rooted_files::{Change, MAX_DIFF_BYTES};
pub use source::{Config, WorkspaceSource};
pub use store::{
    Before, Bounds, CallRecord, Entry as KeptEntry, MAX_CHANGE_BYTES, State, Store, StoreError,
};
pub use undo::{Keeping, Undo, UndoInput, UndoOutput};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
