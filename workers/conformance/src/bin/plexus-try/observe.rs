//! Watching what a cage refuses. The kernel answers EPERM or EACCES and keeps no record that everybody may read.
//!
//! Linux: a tracer (`ptrace`) on the process from its first exec on; no program has to be installed, and no right beyond
//! that of tracing one's own child is needed. macOS: the system's own log of denials, read afterwards.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
mod os;
#[cfg(any(target_os = "macos", test))]
mod unified_log;

#[cfg(target_os = "linux")]
pub(crate) use linux::{Observer, before, held};
#[cfg(target_os = "macos")]
pub(crate) use macos::{Observer, before, held};

use crate::denial::Denial;

/// The first word of a process that waits for its observer before it becomes what the rest says.
pub(crate) const HELD: &str = "--held";

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observation {
    /// In order, each once.
    pub(crate) denials: Vec<Denial>,
    /// Why nothing could be seen.
    pub(crate) blind: Option<String>,
}
