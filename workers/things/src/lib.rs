//! The Things connector: to-dos, projects, areas and tags of Things 3 on this Mac.
//!
//! ```text
//! source.rs     calls in, answers out; health
//!   reads.rs    one way of reading, whichever the owner chose
//!     database.rs  the database, without a lock         script.rs, reads.js  Apple events, by osascript
//!   change.rs   what a change would be, its card, whether it holds
//!     url.rs    things:///…                             opener.rs  hands it to the system
//!   store.rs    what was changed, for undo and `Settle`  failure.rs  what a failure means    run.rs  a bounded program
//!   fake.rs     elsewhere than on macOS: a database of the same tables, and an opener that carries URLs out on it
//! ```
//!
//! Invariants: the database is never written; a URL is in no log and no error; what Things was sent counts as done only when
//! it is read back.
//!
//! Must not know: agents, grants, the gateway.

#![cfg(any(target_os = "macos", feature = "fake"))]

mod change;
mod database;
mod failure;
#[cfg(not(target_os = "macos"))]
mod fake;
mod item;
mod opener;
#[cfg(test)]
mod oracles;
mod reads;
mod run;
mod script;
mod source;
mod store;
mod url;

pub use database::Database;
pub use failure::Failure;
#[cfg(not(target_os = "macos"))]
pub use fake::rename;
pub use item::{Container, Project, Start, Status, Tag, Todo, View};
pub use reads::Reads;
pub use run::Program;
pub use script::Script;
pub use source::{Config, ThingsSource};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
