//! Calls without a safe binding that both systems have.
#![expect(
    unsafe_code,
    reason = "raw system calls; every block is argued where it stands"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

/// A copy of a descriptor that this process may or may not have.
pub(crate) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes numbers; one that is no descriptor is answered with EBADF.
    let copy = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 4) })?;
    // SAFETY: the kernel has just made `copy` for this call, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

pub(crate) fn fork_and_wait() -> io::Result<()> {
    // SAFETY: this process has one thread, and the child calls only `_exit`.
    match unsafe { fork() }? {
        // SAFETY: `_exit` ends the child without running anything of the parent's.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => Ok(waitpid(child, None).map(drop)?),
    }
}
