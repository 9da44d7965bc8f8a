//! The codex-peer worker, in a sandbox of its own; as `mcp-host`, the tool server of a turn, in the turn's sandbox.

use plexus_worker_codex_peer::{MANIFEST, PeerSource};

fn main() -> std::process::ExitCode {
    if let Some(ended) = plexus_coding_agent::mcp_host() {
        return ended;
    }
    plexus_ipc::worker::main::<PeerSource>(MANIFEST)
}
