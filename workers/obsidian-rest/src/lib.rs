//! The connector for one Obsidian vault behind the running app: its plugin Local REST API.
//!
//! ```text
//! source.rs  calls in, answers out; what a failure means to an agent and to the owner
//!   read.rs  folders, notes, hits        write.rs  a planned change, the change, whether it happened
//!   api.rs   the plugin's requests       path.rs   which paths exist for agents
//! ```
//!
//! Invariants: each path is judged before a request names it, and each path in an answer before an agent sees it; an
//! answer is bounded before it is parsed; a change is sent only while the note is what the plan saw, as of the request
//! before; the API key and the certificate are the egress's alone.
//!
//! Must not know: agents, grants, the gateway.

mod api;
#[cfg(test)]
mod oracles;
mod path;
mod read;
mod source;
mod write;

pub use source::{Config, ObsidianRestSource};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
