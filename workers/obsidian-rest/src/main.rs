//! The obsidian-rest worker, in a cage of its own.

use plexus_worker_obsidian_rest::{MANIFEST, ObsidianRestSource};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<ObsidianRestSource>(MANIFEST)
}
