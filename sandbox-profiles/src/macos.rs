//! macOS: `/usr/bin/sandbox-exec` enforces the profile before the worker's first instruction, so there is little
//! left to do. Same functions as `linux`.

use crate::{FilterError, GiveUpError, Support, Unsupported, profile::Profile};

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

/// Nothing to do: a leaf profile denies fork and every exec but the worker's own from the start.
/// # Errors
/// None; the signature is that of Linux.
pub fn give_up_exec_and_fork() -> Result<(), GiveUpError> {
    Ok(())
}
