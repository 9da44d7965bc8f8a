//! The launcher that the supervisor's tests use: the real one, built with them.

use std::process::ExitCode;

fn main() -> ExitCode {
    plexus_sandbox::launcher(std::env::args_os().skip(1))
}
