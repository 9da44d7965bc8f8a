//! The Apple Reminders connector: the lists of this Mac's person.
//!
//! ```text
//! source.rs    calls in, answers out                      list.rs     reminders in an answer
//! change.rs    what a change would be, and the change     kept.rs     what was changed, for undo and for `Settle`
//! store.rs     what a reminder is, and where it lives
//!   os.rs      EventKit (macOS), by values.rs      fake.rs  for systems without it
//! ```
//!
//! Invariants: a change names the version that it was planned on, and the store compares it once more before it saves; what
//! a change replaces is on the disk before the change; nothing is written into a reminder that the owner did not see.
//!
//! Must not know: agents, grants, the gateway.

mod change;
#[cfg(not(target_os = "macos"))]
mod fake;
mod kept;
mod list;
#[cfg(target_os = "macos")]
mod os;
mod source;
mod store;
#[cfg(any(target_os = "macos", test))]
mod values;

pub use source::{AppleRemindersSource, Config};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
