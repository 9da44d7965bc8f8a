//! The lines of JSON that a command-line coding agent writes in one turn, read as they come.
//!
//! Must not know: processes, pipes, folders, who asked for the turn.

mod codex;
#[cfg(test)]
mod oracles;
mod turn;

pub use codex::codex;
pub use turn::{Take, Turn, TurnEnd, TurnProgress, Usage, word};
