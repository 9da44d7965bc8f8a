//! The workspace worker: lists, reads and writes one folder, in a cage of its own.

use plexus_worker_workspace::{MANIFEST, WorkspaceSource};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<WorkspaceSource>(MANIFEST)
}
