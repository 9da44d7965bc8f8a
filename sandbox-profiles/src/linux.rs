//! Linux: a [`Ruleset`] becomes limits, an empty set of capabilities, a Landlock domain and seccomp filters.
//!
//! ```text
//! launcher: close descriptors ▸ limits ▸ mask of modes ▸ no capabilities ▸ [split] ▸ Landlock ▸ seccomp ▸ exec worker
//!                                                                    └▶ monitor and helper, where a profile needs them
//! worker:   (single thread) runtime ▸ give_up_exec_and_fork ▸ probe ▸ Hello ▸ threads
//! ```
//!
//! Each step takes only rights away, and none can be undone: descriptors go first because open ones escape every
//! rule, seccomp last because it would refuse the steps before it.
//!
//! Invariants: [`enter`] runs in a process with one thread, since Landlock binds the calling thread and what
//! descends from it; it either returns with the whole cage in place or the process must end.

mod agent;
mod base;
pub(crate) mod beneath;
pub(crate) mod ends;
mod files;
mod launcher;
mod leaf;
pub(crate) mod lock;
mod monitor;
mod os;
pub(crate) mod rest;
mod rights;
mod scope;
mod syscalls;
mod tree;
pub(crate) mod usage;

use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;

use seccompiler::{BpfProgram, apply_filter, apply_filter_all_threads};

use crate::floor::{self, Kernel, Landlock, Needs};
use crate::launch::Limits;
use crate::profile::Profile;
use crate::ruleset::{Origin, Ruleset};
use crate::{FilterError, GiveUpError, Support, Unsupported};

use leaf::Signals;
use monitor::Duty;

pub(crate) use launcher::launch;
pub use lock::{left_of_run, started};
pub(crate) use os::children;
pub use os::children::die_with_this_thread;
pub(crate) use os::exec_error;

/// Why a worker could not be caged.
#[derive(Debug, thiserror::Error)]
pub enum CageError {
    /// The kernel lacks something.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// A path of a rule cannot be opened, or leads through a link.
    #[error("line {}: {}: {}: {source}", .origin.line, .origin.rule, .path.display())]
    Path {
        /// The rule.
        origin: Origin,
        /// The path it names.
        path: PathBuf,
        /// What the kernel says; `ELOOP` for a link.
        source: io::Error,
    },
    /// The kernel took the rules only in part or not at all.
    #[error("Landlock: {0}")]
    Landlock(String),
    /// The kernel did not take a filter.
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// A filter could not be built.
    #[error("seccomp: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// A right could not be given up.
    #[error("cannot {what}: {source}")]
    Rights {
        /// What was being done.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

impl CageError {
    /// The launcher's exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Path { .. } => 65,
            Self::Unsupported(_) => 69,
            _ => 71,
        }
    }
}

/// What the running kernel says of itself.
#[must_use]
pub fn kernel() -> Kernel {
    Kernel {
        landlock: match os::landlock_abi() {
            Ok(version) => Landlock::Version(version),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Landlock::Off,
            Err(_) => Landlock::Missing,
        },
        seccomp: os::has_seccomp_errno(),
    }
}

/// What `(import "bsd.sb")` stands for, as rules.
#[must_use]
pub fn base_rules() -> Vec<String> {
    base::rules()
}

/// What a worker under `profile` may ask of the kernel at most, as the kernel reads it; for comparing one version with the
/// next.
/// # Errors
/// A filter cannot be built.
pub fn system_calls(profile: &Profile) -> Result<Vec<u8>, FilterError> {
    syscalls::at_most(profile.system_calls()).map_err(|why| FilterError(why.to_string()))
}

/// Whether any worker can be caged here; one with a wider profile may need more than that.
/// # Errors
/// What is missing, in words for the owner.
pub fn kernel_support() -> Result<Support, Unsupported> {
    floor::support(kernel())
}

/// Takes from this process, for good, all that `ruleset` does not grant. Exec stays: the caller is about to.
///
/// If a rule names a port of this machine, and for a coding agent, this returns in a child of the calling process. That
/// process itself stays outside of the cage as its monitor, passes the child's end on and never returns.
/// # Errors
/// Any. The process may then be half caged and must end.
pub fn enter(ruleset: &Ruleset, limits: &Limits) -> Result<(), CageError> {
    enter_with(ruleset, limits, Duty::of(ruleset))
}

/// As [`enter`], where the launcher's duty is more than the profile's.
fn enter_with(ruleset: &Ruleset, limits: &Limits, duty: Duty) -> Result<(), CageError> {
    let hold = floor::decide(kernel(), Needs::of(ruleset))?;
    let keeps = matches!(duty, Duty::Keep(_));
    rights::give_up()?;
    let monitored = match duty {
        Duty::None => None,
        duty => Some(monitor::stay_outside(ruleset, duty)?),
    };
    // Not of a process that stayed outside: it hands its own on to what it starts.
    rights::limit(limits)?;
    let signals = if hold.stands_in() {
        Signals::own_process()
    } else {
        Signals::Scoped
    };
    let filters = syscalls::filters(ruleset, signals, keeps)?;
    let held = files::restrict(ruleset, hold)?;
    if let Some(handover) = monitored {
        // Before the filters that would refuse to make one that notifies, and to send a descriptor.
        handover.watch_calls(ruleset, &held)?;
    }
    install(&filters)
}

/// The first steps of [`enter`] alone: descriptors, limits, capabilities. No cage.
/// # Errors
/// A right that could not be given up.
pub fn go_without(limits: &Limits) -> Result<(), CageError> {
    rights::give_up()?;
    rights::limit(limits)
}

/// Answers with `ask`, asked as a worker would be, which has no capabilities: by a thread of its own, which gives them up.
/// # Errors
/// The system's: then nobody asked.
pub fn without_capabilities<T: Send>(ask: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let asking = || os::drop_capabilities().map(|()| ask());
        let asking = std::thread::Builder::new().spawn_scoped(scope, asking)?;
        asking.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Takes from this process, for good, exec, every way to a second process, and the making of an epoll. A leaf worker's
/// harness calls it when it has made its one, and before it makes a thread; should there be one, it is bound as well.
/// # Errors
/// The kernel did not take the filter: the worker must not go on.
pub fn give_up_exec_and_fork() -> Result<(), GiveUpError> {
    let filter =
        syscalls::without_exec_and_fork().map_err(|error| GiveUpError(error.to_string()))?;
    apply_filter_all_threads(&filter).map_err(|error| GiveUpError(error.to_string()))
}

fn install(filters: &[BpfProgram]) -> Result<(), CageError> {
    filters
        .iter()
        .try_for_each(|filter| apply_filter(filter))
        .map_err(CageError::from)
}
