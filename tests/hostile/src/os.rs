//! Calls without a safe binding that both systems have.
#![expect(
    unsafe_code,
    reason = "raw system calls; every block is argued where it stands"
)]

use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getpgrp};

/// A copy of a descriptor that this process may or may not have.
pub(crate) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes numbers; one that is no descriptor is answered with EBADF.
    let copy = Errno::result(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 4) })?;
    // SAFETY: the kernel has just made `copy` for this call, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The mask of modes that this process has, as tools ask for it: by setting another one for a moment.
#[cfg(target_os = "linux")]
pub(crate) fn mask() -> u32 {
    // SAFETY: takes a number.
    let mask = unsafe { libc::umask(0) };
    // SAFETY: as above.
    unsafe { libc::umask(mask) };
    mask
}

/// From here on, what this process makes has the modes that it asks for; or not, and nothing is said of it.
pub(crate) fn mask_no_modes() {
    // SAFETY: takes a number. If it is refused, what comes back is no mask, and nobody looks at it.
    unsafe { libc::umask(0) };
}

pub(crate) fn fork_and_wait() -> io::Result<()> {
    // SAFETY: this process has one thread, and the child calls only `_exit`.
    match unsafe { fork() }? {
        // SAFETY: `_exit` ends the child without running anything of the parent's.
        ForkResult::Child => unsafe { libc::_exit(0) },
        ForkResult::Parent { child } => Ok(waitpid(child, None).map(drop)?),
    }
}

/// What daemons do: a child in a session of its own makes the process that stays, and ends. A kill of the group of
/// this process does not end that one.
///
/// It says on its standard output what it hears on its standard input, and ends with that; so it outlives no test.
/// Answers whether it is away.
pub(crate) fn fork_twice() -> io::Result<String> {
    let (mut told, tells) = io::pipe()?;
    let tell = tells.as_raw_fd();
    // SAFETY: this process has one thread; its child calls [`leave`] alone, and that may be called there.
    match unsafe { fork() }? {
        // SAFETY: as above; `tell` is open in the child as it is here.
        ForkResult::Child => unsafe { leave(tell) },
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => {
                drop(tells);
                let mut group = [0; size_of::<libc::pid_t>()];
                told.read_exact(&mut group)?;
                let stays = libc::pid_t::from_ne_bytes(group) == getpgrp().as_raw();
                Ok(if stays { "same group" } else { "away" }.to_owned())
            }
            WaitStatus::Exited(_, errno) => Err(io::Error::from_raw_os_error(errno)),
            other => Err(io::Error::other(format!("the child: {other:?}"))),
        },
    }
}

/// The child of [`fork_twice`].
///
/// # Safety
/// Called in a child that has just been forked; `tell` is open.
unsafe fn leave(tell: i32) -> ! {
    let mut heard = [0_u8; 64];
    // SAFETY: all of these may be called after a fork: they take numbers, or a buffer of the size given that lives on this
    // stack, and neither allocate nor lock. `_exit` runs nothing of the parent's.
    unsafe {
        libc::setsid();
        match fork() {
            Ok(ForkResult::Child) => {}
            Ok(ForkResult::Parent { .. }) => libc::_exit(0),
            Err(errno) => libc::_exit(errno as i32),
        }
        let group = libc::getpgrp().to_ne_bytes();
        libc::write(tell, group.as_ptr().cast(), group.len());
        loop {
            let length = libc::read(0, heard.as_mut_ptr().cast(), heard.len());
            if length < 1 {
                libc::_exit(0);
            }
            libc::write(1, heard.as_ptr().cast(), length as usize);
        }
    }
}
