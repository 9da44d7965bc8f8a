//! An agent as a member of channels: which messages go into which of its turns, what it reads, and the tools that it has there.
//!
//! ```text
//! relay ─▶ watch ─▶ dispatch ─▶ an Agent's turn
//!   ▲      roster, lines           │
//!   └──────────── tools ◀──────────┘
//! ```
//! Invariants: one turn at a time; a message counts as read when a turn that showed it is complete; a line that begins with `[`
//! in its first column is made here, never by a sender.
//!
//! Must not know: what the agent is, how it is started, how its calls arrive.

mod dispatch;
mod lines;
mod prompt;
mod roster;
mod run;
mod tools;
mod watch;

pub use dispatch::Mark;
pub use prompt::instructions;
pub use run::{Agent, Connection, Note, RunError, run};
pub use tools::{Terms, ToolError, Tools, list};
