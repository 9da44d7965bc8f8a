//! The codex worker, in a cage of its own.

use plexus_worker_codex::{CodexSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<CodexSource>(MANIFEST)
}
