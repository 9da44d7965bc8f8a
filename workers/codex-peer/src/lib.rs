//! The codex-peer connector: Codex as a member of end-to-end encrypted channels, resident, in a sandbox of its own.
//!
//! ```text
//! relay ─▶ plexus-participant ─▶ member.rs ─HostCall `turn`─▶ gateway: granted? recorded ─▶ commit ─▶ turn.rs: codex, caged
//!                                                                                                      │ mcp-host, pipes
//!          source.rs, acts.rs ◀─ commit ─ gateway: each call granted or pending, recorded ◀─HostCall───┘
//! ```
//! A turn is a call that the source makes as `via.<source>`. So is each call of a tool in it. Without a grant they wait for the
//! owner, a pause holds them up, a revoke ends them, and each is on record.
//!
//! Invariants: no turn begins that the gateway has not recorded; one turn at a time; what a message says reaches Codex as the
//! text of its sender alone; the identity's key and the model's key never enter the sandbox of a turn.
//!
//! Must not know: grants, how anything is encrypted, the key of the model server.

mod acts;
mod member;
mod pended;
mod source;
mod turn;

pub use source::{Config, PeerSource};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
