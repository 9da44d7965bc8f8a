//! What the harness asks of the operating system.
#![expect(
    unsafe_code,
    reason = "owning the inherited descriptor has no safe spelling"
)]

use crate::stream::WORKER_FD;
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        socket::{SockType, getsockopt, sockopt},
    },
    unistd::{getpgrp, getpid},
};
use plexus_sandbox::{children::KEEPER_FD, packets};
use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use tokio::io::unix::AsyncFd;

/// Takes descriptor 3, once in the life of the process.
///
/// # Errors
/// When it is not a connected AF_UNIX stream socket, or was taken before.
pub fn take_stream() -> io::Result<UnixStream> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::other("descriptor 3 was taken before"));
    }
    // Fails with EBADF where nothing is open at that number, so that the claim below is never made about nothing.
    // SAFETY: `borrow_raw` requires an open descriptor for as long as the borrow lives. It lives for this one call,
    // which only asks the kernel about it and answers EBADF for one that is closed.
    let open = unsafe { std::os::fd::BorrowedFd::borrow_raw(WORKER_FD) };
    fcntl(open, FcntlArg::F_GETFD)?;
    // SAFETY: `from_raw_fd` requires that the descriptor is open and that nobody else owns it. It is open: asked just
    // above. It is ours: the launcher put it there for us, the flag above gives it out once, and no other code of this
    // process has opened a descriptor that could have got this number, because 3 was open when the process began.
    let fd = unsafe { OwnedFd::from_raw_fd(WORKER_FD) };
    let stream = UnixStream::from(fd);
    // The address of a socket of another family is an error here, the address of a file as well.
    stream.local_addr()?;
    stream.peer_addr()?;
    if getsockopt(&stream, sockopt::SockType)? != SockType::Stream {
        return Err(io::Error::other("descriptor 3 is no stream"));
    }
    Ok(stream)
}

/// Takes the descriptor on which the keeper is, once in the life of the process.
///
/// # Errors
/// When it is not a socket of the kind that a keeper makes, or was taken before.
pub(super) fn take_keeper() -> io::Result<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::Error::other("the keeper was taken before"));
    }
    // SAFETY: `borrow_raw` requires an open descriptor for as long as the borrow lives. It lives for these calls, which
    // only ask the kernel about it and answer EBADF for one that is closed.
    let open = unsafe { std::os::fd::BorrowedFd::borrow_raw(KEEPER_FD) };
    fcntl(open, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    if getsockopt(&open, sockopt::SockType)? != packets::KIND {
        return Err(io::Error::other("no keeper"));
    }
    let flags = OFlag::from_bits_truncate(fcntl(open, FcntlArg::F_GETFL)?);
    fcntl(open, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // SAFETY: `from_raw_fd` requires that the descriptor is open and that nobody else owns it. It is open: asked just
    // above. It is ours: the launcher put it there for us, the flag above gives it out once, and no other code of this
    // process has opened a descriptor that could have got this number, because 4 was open when the process began.
    Ok(unsafe { OwnedFd::from_raw_fd(KEEPER_FD) })
}

/// Has the runtime say when a socket can be read or written.
pub(super) fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `register` requires that the value names the same open descriptor for as long as it is registered. An
    // `OwnedFd` names one for as long as it lives, and it lives in what is returned.
    unsafe { AsyncFd::register(socket) }.map_err(io::Error::other)
}

/// Fills `buffer` from `stream` before `deadline`.
///
/// # Errors
/// `TimedOut`; `UnexpectedEof`; the system's.
pub(super) fn read_exact(
    mut stream: &UnixStream,
    buffer: &mut [u8],
    deadline: Instant,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // One millisecond more, so that the last wait is not a busy one.
        let wait =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(stream.as_fd(), PollFlags::POLLIN)], wait) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends every process of our own group, this one with them, if the group is ours. Returns where it is not, or where
/// the cage forbids signals.
pub(super) fn end_own_group() {
    let group = getpgrp();
    if group == getpid() && group.as_raw() > 1 {
        let _ = killpg(group, Signal::SIGKILL);
    }
}
