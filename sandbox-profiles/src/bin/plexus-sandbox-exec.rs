//! `plexus-sandbox-exec [--limit-files N] [--limit-file-size BYTES] [--limit-memory BYTES] [--limit-addresses BYTES]
//! -p TEXT [-D KEY=VALUE]... [--] WORKER [ARG]...`
//!
//! On Linux what `/usr/bin/sandbox-exec` is to macOS: puts itself under the profile, then becomes the worker. On both systems the
//! keeper of a worker's programs, and the monitor of a run.

use std::process::ExitCode;

fn main() -> ExitCode {
    plexus_sandbox::launcher(std::env::args_os().skip(1))
}
