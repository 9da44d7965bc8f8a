//! The things worker, in a cage of its own.

#[cfg(any(target_os = "macos", feature = "fake"))]
fn main() -> std::process::ExitCode {
    plexus_ipc::worker::main::<plexus_worker_things::ThingsSource>(plexus_worker_things::MANIFEST)
}

/// Things is an app of macOS. Builds with tests have its fake.
#[cfg(not(any(target_os = "macos", feature = "fake")))]
#[expect(
    clippy::print_stderr,
    reason = "this program serves nothing and has no log"
)]
fn main() -> std::process::ExitCode {
    eprintln!(
        "things: this program was built without the fake of Things, which is an app of macOS"
    );
    std::process::ExitCode::FAILURE
}
