//! The extension worker, in a cage of its own.

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::serve_any::<plexus_worker_extension::Extension>()
}
