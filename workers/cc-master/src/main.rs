//! The cc-master worker, in a cage of its own.

use plexus_worker_cc_master::{CcMasterSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<CcMasterSource>(MANIFEST)
}
