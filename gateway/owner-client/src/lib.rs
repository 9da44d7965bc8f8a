//! What `plexusctl` and `plexus-tray` share: how a program of the owner's asks the gateway, hears that something changed,
//! names what waits, and opens the console.
//!
//! Invariants: it talks to the owner's socket and nothing else; the connection key leaves its file only for that socket.
//!
//! Must not know: who may act (the program asks its person), how anything is shown.

pub mod browser;
mod feed;
mod owner;
mod waiting;

pub use feed::Feed;
pub use owner::{Owner, UNREADABLE, read_key, tell_if_slow};
pub use waiting::{PendingRequest, named, waiting};
