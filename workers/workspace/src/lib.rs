//! The workspace connector's logic: one folder, listed, read and written.
//!
//! ```text
//! write input ─▶ look at the place ─▶ ifDigest ─▶ new content (given, or edits applied) ─▶ Plan: preview, token, rating
//!                                                                                            └─ commit ─▶ one rename
//! ```
//! Invariants: planning changes nothing; a commit writes exactly the content that was planned, where it was planned,
//! or nothing; a path that tools execute without being asked is rated `execute`, whatever spelling it has.
//!
//! Must not know: agents, grants, frames, the gateway.

mod browse;
mod edit;
mod error;
mod plan;
mod preview;
mod runs_unasked;

pub use browse::{Entry, FileOutput, FolderOutput, ListInput, Next, ReadInput, Workspace};
pub use edit::{Edit, EditError, apply};
pub use error::WorkspaceError;
pub use plan::{Expected, Plan, WriteInput, WriteOutput};
pub use preview::{Change, MAX_DIFF_BYTES};
pub use runs_unasked::runs_unasked;
