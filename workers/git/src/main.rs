//! The git worker, in a cage of its own.

use plexus_worker_git::{GitSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<GitSource>(MANIFEST)
}
