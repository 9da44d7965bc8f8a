//! The git connector: the history of one repository, read. It runs no program, not git's either, and changes nothing.
//!
//! ```text
//! folder ─▶ repository: where its parts lie, none of them outside ─▶ refs: what a revision names
//!             └─ objects: commits, trees, blobs, bounded ─▶ walk, changes ─▶ log │ show │ blame │ search
//!                                                        └▶ history, for copies of a folder that coding agents work on
//! ```
//! Invariants: no configuration, hook, attribute or filter of the repository is read; of links and pointers that lead out
//! of the folder none is followed; every object is measured before it is unpacked; every loop asks whether anybody still
//! waits; what a rule does not allow is neither returned nor told apart from what does not exist.
//!
//! Must not know: agents, grants, the gateway; only `source` knows that there are calls.

mod blame;
mod changes;
mod error;
mod history;
mod lines;
mod log;
mod objects;
#[cfg(test)]
mod oracles;
mod reachable;
mod refs;
mod repository;
mod scope;
mod search;
mod show;
mod source;
mod walk;

pub use error::GitError;
pub use gix_hash::ObjectId;
pub use gix_object::Kind;
pub use history::{Head, History, Links};
pub use objects::{Entry, EntryKind};
pub use source::{Config, GitSource};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
