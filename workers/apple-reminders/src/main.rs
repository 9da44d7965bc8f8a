//! The Apple Reminders worker, in a sandbox of its own.

use plexus_worker_apple_reminders::{AppleRemindersSource, MANIFEST};

fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<AppleRemindersSource>(MANIFEST)
}
