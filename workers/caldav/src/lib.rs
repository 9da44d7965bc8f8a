//! The CalDAV connector: calendars and to-do lists of one account, on any server.
//!
//! ```text
//! source.rs    calls in, answers out; what a failure means to an agent and to the owner
//!   read.rs    events and to-dos of a range         write.rs   what a change would be, and the change
//!   server.rs  discovery, calendars, objects        cache.rs   objects that are still as the server has them
//!                                                   store.rs   what was changed, for undo and for `Settle`
//!     dav.rs   WebDAV's XML    http.rs  one request by the egress
//!   ical.rs    iCalendar in and out                 time.rs    dates and times    zone.rs  zones    repeat.rs  recurrences
//! ```
//!
//! Invariants: each answer of a server is bounded before it is parsed, in bytes and in depth; a change names the version
//! that it was planned on (`If-Match`) or that there is none (`If-None-Match`); nothing leaves the server's host; a
//! rewritten object keeps every line that the change is not about.
//!
//! Must not know: agents, grants, the gateway, the owner's password.

mod cache;
mod dav;
mod http;
mod ical;
#[cfg(test)]
mod oracles;
mod read;
mod repeat;
mod server;
mod source;
mod store;
mod time;
mod write;
mod zone;

pub use source::{CaldavSource, Config};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
