//! The launcher that the supervisor's tests use: the real one, built with them.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    plexus_sandbox::linux::launcher(std::env::args_os().skip(1))
}

/// Other systems have a launcher of their own.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::from(69)
}
