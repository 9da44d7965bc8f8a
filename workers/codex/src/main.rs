//! The codex worker, in a cage of its own; as `mcp-host`, the tool server of a run, in the run's cage.

use plexus_worker_codex::{CodexSource, MANIFEST};

fn main() -> std::process::ExitCode {
    if let Some(ended) = plexus_coding_agent::mcp_host() {
        return ended;
    }
    plexus_ipc::worker::main::<CodexSource>(MANIFEST)
}
