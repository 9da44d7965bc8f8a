//! What a process asks of the operating system when it gives up what it inherited, on both systems.
#![expect(
    unsafe_code,
    reason = "system calls without a safe binding; every block is argued where it stands"
)]

use std::io;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes a write beyond `RLIMIT_FSIZE` fail with `EFBIG`; the disposition survives exec.
pub(crate) fn ignore_file_size_signal() -> io::Result<()> {
    // SAFETY: SIG_IGN installs no handler, so no code runs in signal context; nothing here relies on the old one.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }
        .map(drop)
        .map_err(Into::into)
}

/// Closes every descriptor from `first` up that came over an exec. The system's own, which are guarded against being
/// closed, are closed by an exec, and so stay here.
#[cfg(target_os = "macos")]
pub(crate) fn close_inherited(first: i32) {
    // SAFETY: takes nothing and answers a number.
    let end = unsafe { libc::getdtablesize() };
    for descriptor in first..end {
        // SAFETY: the call only asks; it answers -1 for a descriptor that is not open.
        let flags = unsafe { libc::fcntl(descriptor, libc::F_GETFD) };
        if flags != -1 && flags & libc::FD_CLOEXEC == 0 {
            // SAFETY: nothing in this process owns it and would use it later: what Rust opens is closed by an exec.
            unsafe { libc::close(descriptor) };
        }
    }
}
