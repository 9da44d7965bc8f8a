//! What `plexus` and `plexusctl` share: how a command reaches the gateway, reads a private file, shows a foreign
//! text and says why it stopped.
//!
//! Invariants: a request goes to the one address that was chosen, whatever a reply says (no redirect, no proxy
//! variable, no advertised authority); no byte of a foreign text reaches a terminal as a control; a request that may
//! have been sent is never sent twice.
//!
//! Must not know: which credential belongs to which route, clap, tables.

pub mod address;
pub mod events;
pub mod exit;
pub mod help;
pub mod home;
pub mod http;
pub mod near;
pub mod out;
pub mod private_file;
pub mod programs;
pub mod span;
pub mod stop;
pub mod streamed;
#[cfg(feature = "stub")]
pub mod stub;
pub mod text;

pub use address::Address;
pub use exit::Exit;
pub use help::read_help;
pub use home::Home;
pub use http::{Connection, Failure, Reply, Request};
pub use near::near;
pub use plexus_protocol::shell;
pub use stop::{Done, Stop};
