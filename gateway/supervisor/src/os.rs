//! What the supervisor asks of the operating system beyond the standard library.
//!
//! Invariant: both systems have the same functions. A question about a process that is gone answers `None`.
//!
//! Must not know: workers, sources.

/// What processes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessUsage {
    /// Memory that the machine keeps for it, in bytes: what is resident, swapped out, and in tables about both.
    pub(super) memory: u64,
    /// The resident part of it, in bytes.
    pub(super) resident: u64,
    pub(super) threads: u64,
}

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

/// Makes the kernel kill what `command` starts when the thread that starts it ends. macOS has no such thing: there the
/// harness ends its own group at the end of its stream.
pub(super) use platform::die_with_this_thread;
/// Opens a file to read. A pipe that nobody writes to does not keep it waiting.
pub(super) fn open_without_waiting(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
}

/// What the process holds now.
pub(super) use platform::held;
/// What the group that the process leads holds now, on Linux as far as it descends from it: a worker's launcher may have
/// stayed outside of its cage.
pub(super) use platform::held_by_group;
/// How long this machine has slept since it was started: what the boot clock has counted and the awake clock has not.
pub(super) use platform::slept;
/// When the process was started, as a text that no other process with this id ever had.
pub(super) use platform::started;
/// How it is about a run, who is left of it, and the wish that it end, by its lock.
pub(super) use platform::{end_run, left_of_run, state_of_run};
