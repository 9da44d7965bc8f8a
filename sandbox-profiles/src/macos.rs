//! macOS: `/usr/bin/sandbox-exec` enforces the profile before the worker's first instruction, so there is little
//! left to do. Same functions as `linux`.

mod processes;
mod start;

pub use processes::{SystemProcesses, footprint};
pub use start::SuspendedProgram;

use crate::{FilterError, GiveUpError, Limits, Support, Unsupported, launch, os, profile::Profile};
use std::io;

/// Where macOS keeps its launcher. Absolute: it is never looked up in PATH.
pub(crate) const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

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

/// What our launcher does on Linux and Apple's does not: closes inherited descriptors above the gateway's stream, applies
/// `limits`, keeps others from writing what this process will make. To be called by the worker's harness before it opens
/// anything.
/// # Errors
/// What the system says to a limit or a signal.
pub fn give_up_inherited(limits: &Limits) -> io::Result<()> {
    os::close_inherited(launch::STREAM + 1);
    limits.apply()?;
    launch::narrow_umask();
    Ok(())
}

/// Nothing to do: a leaf profile denies fork and every exec but the worker's own from the start.
/// # Errors
/// None; the signature is that of Linux.
pub fn give_up_exec_and_fork() -> Result<(), GiveUpError> {
    Ok(())
}
