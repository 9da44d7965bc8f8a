//! macOS: `/usr/bin/sandbox-exec` enforces the profile before the worker's first instruction, so of a cage there is little
//! left to do. Same functions as `linux`.
//!
//! ```text
//! gateway ─▶ sandbox-exec ▸ worker                                   one that starts no program
//! gateway ─▶ keeper (ours) ─┬─ sandbox-exec ▸ worker                 one that does: see `keeper`
//!                           └─ monitor (ours) ─ sandbox-exec ▸ program     a session, and consent of its own, for each run
//! ```

pub(crate) mod beneath;
pub(crate) mod children;
pub(crate) mod ends;
mod launcher;
pub(crate) mod lock;
mod monitor;
mod os;
mod processes;
#[cfg(test)]
mod questions;
pub(crate) mod rest;
mod start;
pub(crate) mod usage;

use std::io;

use crate::children::KEEPER_FD;
use crate::launch::{SANDBOX_EXEC, STREAM, narrow_umask};
use crate::{FilterError, GiveUpError, Limits, Support, Unsupported, profile::Profile};

pub(crate) use launcher::launch;
pub use lock::left_of_run;
use processes::SystemProcesses;
pub use processes::{footprint, threads};

/// Why a worker or a run could not be started, or not be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
pub(crate) struct CageError {
    what: &'static str,
    source: io::Error,
}

impl CageError {
    /// The launcher's exit status.
    pub(crate) fn status(&self) -> u8 {
        71
    }
}

/// Whether workers can be caged here.
/// # Errors
/// [`Unsupported::NoSandboxExec`].
pub fn kernel_support() -> Result<Support, Unsupported> {
    match std::fs::metadata(SANDBOX_EXEC) {
        Ok(file) if file.is_file() => Ok(Support {
            mechanism: "Seatbelt",
            version: 0,
        }),
        _ => Err(Unsupported::NoSandboxExec),
    }
}

/// Nothing: what `bsd.sb` grants there is Apple's to say, and comes with the system.
#[must_use]
pub fn base_rules() -> Vec<String> {
    Vec::new()
}

/// Nothing: the profile is all that there is.
/// # Errors
/// None; the signature is that of Linux.
pub fn system_calls(_profile: &Profile) -> Result<Vec<u8>, FilterError> {
    Ok(Vec::new())
}

/// Answers with `ask`: there are no capabilities.
/// # Errors
/// None; the signature is that of Linux.
pub fn without_capabilities<T: Send>(ask: impl FnOnce() -> T + Send) -> io::Result<T> {
    Ok(ask())
}

/// What our launcher does on Linux and Apple's does not: closes inherited descriptors above the gateway's stream, and above the
/// keeper's where the worker has one, applies `limits`, keeps others from writing what this process will make. To be called by
/// the worker's harness before it opens anything.
/// # Errors
/// What the system says to a limit or a signal.
pub fn give_up_inherited(limits: &Limits, has_keeper: bool) -> io::Result<()> {
    let last = if has_keeper { KEEPER_FD } else { STREAM };
    crate::os::close_inherited(last + 1);
    limits.apply()?;
    narrow_umask();
    Ok(())
}

/// Nothing to do: a leaf profile denies fork and every exec but the worker's own from the start.
/// # Errors
/// None; the signature is that of Linux.
pub fn give_up_exec_and_fork() -> Result<(), GiveUpError> {
    Ok(())
}
