//! The channels worker, in a sandbox of its own.

use plexus_worker_channels::{ChannelsSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<ChannelsSource>(MANIFEST)
}
