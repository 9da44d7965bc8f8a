//! The caldav worker, in a cage of its own.

use plexus_worker_caldav::{CaldavSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<CaldavSource>(MANIFEST)
}
