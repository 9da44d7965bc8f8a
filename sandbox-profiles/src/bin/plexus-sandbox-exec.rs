//! `plexus-sandbox-exec [--limit-files N] [--limit-file-size BYTES] [--limit-memory BYTES] [--limit-addresses BYTES]
//! -p TEXT [-D KEY=VALUE]... [--] WORKER [ARG]...`
//!
//! What `/usr/bin/sandbox-exec` is to macOS: puts itself under the profile, then becomes the worker.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    plexus_sandbox::linux::launcher(std::env::args_os().skip(1))
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::print_stderr, reason = "a command's refusal belongs on stderr")]
fn main() -> ExitCode {
    eprintln!("plexus-sandbox-exec: this system has /usr/bin/sandbox-exec; use that");
    ExitCode::from(69)
}
