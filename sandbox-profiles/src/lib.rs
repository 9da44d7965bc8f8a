//! Cages for workers: one profile per connector, two kernels.
//!
//! A profile (`*.sb` beside this crate's manifest) is the only statement of what a worker may reach. On macOS
//! Apple's `sandbox-exec` enforces it. On Linux our `plexus-sandbox-exec` does, with the same command line:
//!
//! ```text
//! profile text ─parse▶ Profile ─evaluate with -D▶ Ruleset ─▶ Landlock (files, TCP ports, signals)
//!                                                          └▶ seccomp (all that Landlock does not see)
//! ```
//!
//! Invariants: what Linux could only meet wider than written is refused, never approximated; a kernel below the
//! floor is refused, never served with less; a started worker proves its cage with [`probe::attack`] before it
//! says anything.
//!
//! A worker that starts programs never shares a cage with them: see [`children`].
//!
//! This crate knows no connector, no gateway and no IPC: it is given texts, paths and numbers.

mod call;
pub mod children;
#[cfg(any(target_os = "macos", test))]
mod darwin;
mod expand;
pub mod floor;
pub mod follow;
mod keeper;
mod launch;
pub mod lint;
#[cfg(target_os = "linux")]
pub mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod os;
pub mod packets;
pub mod probe;
pub mod profile;
pub mod reach;
pub mod ruleset;
mod run_lock;
pub mod seatbelt;
pub mod sweep;

pub use call::launcher;
pub use launch::{Limits, launcher_command, uncaged_command};
#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "linux")]
pub use linux::{die_with_this_thread, started};
#[cfg(target_os = "macos")]
use macos as platform;
#[cfg(target_os = "macos")]
pub use macos::{footprint, give_up_inherited, threads};
pub use platform::{
    base_rules, give_up_exec_and_fork, kernel_support, left_of_run, system_calls,
    without_capabilities,
};
pub use run_lock::{end_run, state_of_run};

/// What this kernel offers; returned by [`kernel_support`] for `status` and `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// `"Landlock and seccomp"` or `"Seatbelt"`.
    pub mechanism: &'static str,
    /// The Landlock ABI of the running kernel; 0 on macOS, which has no such number.
    pub version: u32,
}

/// Why no worker can be caged here. The text is complete: it says what is missing and what would mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// The kernel was built without Landlock.
    #[error(
        "Landlock is not available; workers need Linux 6.7 or newer built with CONFIG_SECURITY_LANDLOCK, and a container must not hide it"
    )]
    NoLandlock,
    /// Landlock is built in and switched off.
    #[error("Landlock is switched off; add it to the kernel's lsm= parameter and start again")]
    LandlockOff,
    /// Landlock is older than what the cage needs.
    #[error(
        "this kernel's Landlock is version {found}, workers need version {floor} (Linux {} or newer)",
        floor::release(*.floor)
    )]
    BelowFloor {
        /// What the kernel has.
        found: u32,
        /// What we need.
        floor: u32,
    },
    /// Landlock is enough for other profiles, not for this one.
    #[error(
        "this kernel's Landlock is version {found}, this worker needs version {floor} (Linux {} or newer): {because}",
        floor::release(*.floor)
    )]
    ProfileNeedsMore {
        /// What the kernel has.
        found: u32,
        /// What the profile needs.
        floor: u32,
        /// What in it needs that.
        because: &'static str,
    },
    /// The kernel was built without seccomp filters.
    #[error(
        "this kernel has no seccomp filters; workers need one built with CONFIG_SECCOMP_FILTER"
    )]
    NoSeccomp,
    /// `/usr/bin/sandbox-exec` is gone.
    #[error("/usr/bin/sandbox-exec is missing; workers cannot be caged on this macOS")]
    NoSandboxExec,
}

/// What a worker may ask of the kernel cannot be written as filters.
#[derive(Debug, thiserror::Error)]
#[error("cannot build the filters of system calls: {0}")]
pub struct FilterError(pub(crate) String);

/// The worker could not give up its rights and must not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up exec and fork: {0}")]
pub struct GiveUpError(pub(crate) String);
