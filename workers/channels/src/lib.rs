//! The channels connector: one identity at one relay, and its end-to-end encrypted conversations.
//!
//! ```text
//! source.rs    calls in, answers out        acts.rs   what an effect would do, and the effect
//!   reads.rs   what channels hold         failed.rs what a failure means to an agent
//!   shown.rs   answers as agents read them
//! identity.rs  the writer registers and holds the identity, the reader looks at it
//! listen.rs    the writer's connection: what comes in, and what waits to go out
//! tunnel.rs    a stream to the relay, by way of the source's egress
//! ```
//! States of a source: registering ─▶ registered (for good). States of its connection: lost ◀─▶ bound.
//!
//! Invariants: private key, token and texts are in no log and no event; only the writer changes a file or holds the
//! connection; a message of a call is known by the call's id, so that a lost answer doubles none; what others wrote
//! is a text of the answer and nothing else.
//!
//! Must not know: agents, grants, the gateway; how anything is encrypted.

mod acts;
mod failed;
mod identity;
mod listen;
pub mod reads;
mod source;
mod tunnel;
mod views;

pub use acts::{
    Act, ActOutput, ChannelInput, about, channel, commit, plan_leave, plan_rotate, user,
};
pub use failed::told;
pub use identity::account;
pub use listen::{KIND, settled};
pub use source::{ChannelsSource, Config};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
