//! The claudecode worker, in a cage of its own.

use plexus_worker_claudecode::{ClaudeCodeSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<ClaudeCodeSource>(MANIFEST)
}
