//! The Apple Calendar connector: reads the calendars of this Mac's person.
//!
//! ```text
//! source.rs    calls in, answers out                      list.rs     the events of a range
//! store.rs     what an event is, and where it comes from
//!   os.rs      EventKit (macOS), by values.rs      fake.rs  for systems without it
//! ```
//!
//! Invariants: no function of this crate, no capability and no rule of its profile changes anything; a constraint is asked
//! about a calendar's id before any of its events is read.
//!
//! Must not know: agents, grants, the gateway.

#[cfg(not(target_os = "macos"))]
mod fake;
mod list;
#[cfg(target_os = "macos")]
mod os;
mod source;
mod store;
#[cfg(any(target_os = "macos", test))]
mod values;

pub use source::{AppleCalendarSource, Config};

/// What this connector can do, as the gateway embeds it too.
pub const MANIFEST: &str = include_str!("../manifest.json");
