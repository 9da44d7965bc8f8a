//! Calls without a safe binding that both systems have.
#![expect(
    unsafe_code,
    reason = "raw system calls; every block is argued where it stands"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

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

/// Sends `bytes` and, along with them, a copy of the stream itself.
pub(crate) fn send_with_descriptor(stream: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    /// Room for one header and one descriptor, aligned as the kernel wants it.
    #[repr(C, align(8))]
    struct Along([u8; 64]);
    let mut along = Along([0; 64]);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a header of zeroes is one without address, data and descriptors.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut along.0).cast();
    let one = size_of::<i32>() as u32;
    // SAFETY: the macros compute with lengths; the room is more than one header and one descriptor take, and it is
    // aligned for both, so the first header lies in it and so does what follows it.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(one) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(one) as _;
        libc::CMSG_DATA(header)
            .cast::<i32>()
            .write_unaligned(stream.as_raw_fd());
    }
    // SAFETY: header, data and descriptors are as said above and outlive the call; the data is only read.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, 0) };
    match Errno::result(sent)? {
        all if all as usize == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
