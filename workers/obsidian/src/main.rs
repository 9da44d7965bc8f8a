//! The Obsidian worker: reads and searches one vault, in a cage of its own.

use plexus_worker_obsidian::{MANIFEST, ObsidianSource};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<ObsidianSource>(MANIFEST)
}
