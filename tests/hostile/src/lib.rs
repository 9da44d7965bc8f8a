//! What a hostile worker does: acts by name, each one thing that a cage refuses or permits, with the kernel's answer.
//!
//! One place for both who try them: the tests of the cage, which start the launcher themselves, and the worker that is
//! started by the real gateway in a connector's place.
//!
//! Invariants: an act names every target; none signals 0, -1 or a group (`regrow` asks about its own processes alone); what it takes from the machine it takes
//! within a bound and gives back. An act that would need a target that cannot exist (a mount on no folder) counts as
//! done when the kernel complains of that and of nothing before it.
//!
//! Must not know: cages, workers, who is asking.

mod files;
#[cfg(target_os = "linux")]
mod linux;
pub mod lying_relay;
pub mod offered;
mod os;
#[cfg(target_os = "linux")]
pub mod own_processes;
mod processes;
pub mod relays;
mod sockets;

use std::io;

/// The name of an act, and what it needs.
pub type Arguments<'a> = &'a [&'a str];

/// Does one act; an answer without words is that it was done.
///
/// # Errors
/// What the kernel said, or that there is no such act.
pub fn act(arguments: Arguments<'_>) -> io::Result<String> {
    files::act(arguments)
        .or_else(|| sockets::act(arguments))
        .or_else(|| processes::act(arguments))
        .or_else(|| platform(arguments))
        .unwrap_or_else(|| Err(io::Error::other(format!("no such act: {arguments:?}"))))
}

/// For the root of a test binary that starts runs of programs: see [`own_processes`].
#[cfg(target_os = "linux")]
#[macro_export]
macro_rules! in_own_processes {
    () => {
        // SAFETY: the C library calls what stands in this section once, before `main` and on the only thread; the function
        // takes nothing, and leaves the process as it was or does not return.
        #[expect(unsafe_code, reason = "nothing else runs before the first test")]
        #[used]
        #[unsafe(link_section = ".init_array")]
        static IN_OWN_PROCESSES: extern "C" fn() = $crate::own_processes::enter;
    };
}

/// A copy of an inherited descriptor.
///
/// # Errors
/// `EBADF` where nothing is open at that number.
pub fn inherited(number: i32) -> io::Result<std::os::fd::OwnedFd> {
    os::duplicate(number)
}

/// A hold on a process by which its end is heard of, whatever its parent. `None` where it is gone.
#[cfg(target_os = "linux")]
#[must_use]
pub fn hold(process: i32) -> Option<std::os::fd::OwnedFd> {
    linux::hold(process)
}

/// Waits for the end of what is held, and says whether it came.
#[cfg(target_os = "linux")]
#[must_use]
pub fn has_ended(held: &std::os::fd::OwnedFd, patience: std::time::Duration) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let most = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut ends = [PollFd::new(held.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut ends, most), Ok(1))
}

#[cfg(target_os = "linux")]
fn platform(arguments: Arguments<'_>) -> Option<io::Result<String>> {
    linux::act(arguments)
}

#[cfg(not(target_os = "linux"))]
fn platform(_: Arguments<'_>) -> Option<io::Result<String>> {
    None
}

/// An act that has nothing to say but that it worked.
fn silent<T>(outcome: io::Result<T>) -> Option<io::Result<String>> {
    Some(outcome.map(|_| String::new()))
}
