//! How a keeper hears that a child has ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Readable when a child has ended. The signal of it is blocked.
pub(crate) struct Ends(SignalFd);

impl Ends {
    pub(crate) fn new() -> io::Result<Self> {
        let mut told = SigSet::empty();
        told.add(Signal::SIGCHLD);
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&told, flags)?))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Forgets those that it has told.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        while self.0.read_signal()?.is_some() {}
        Ok(())
    }

    /// Never: the kernel kills a keeper with its starter.
    pub(crate) fn is_starter_gone(&self) -> bool {
        false
    }
}
