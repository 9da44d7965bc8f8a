//! The Apple Calendar worker, in a sandbox of its own.

use plexus_worker_apple_calendar::{AppleCalendarSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<AppleCalendarSource>(MANIFEST)
}
