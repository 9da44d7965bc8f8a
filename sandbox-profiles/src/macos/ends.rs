//! How a keeper hears that a child, or its own starter, has ended.
//!
//! Type-checked alone; no Mac has run it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::event::{EvFlags, EventFilter, FilterFlag, KEvent, Kqueue};
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// Readable when a child has ended. The kernel ends no keeper with its starter, so that end is reported as well.
pub(crate) struct Ends {
    queue: Kqueue,
    is_starter_gone: bool,
}

impl Ends {
    pub(crate) fn new() -> io::Result<Self> {
        let queue = Kqueue::new()?;
        let child = event(
            Signal::SIGCHLD as usize,
            EventFilter::EVFILT_SIGNAL,
            FilterFlag::empty(),
        );
        queue.kevent(&[child], &mut [], Some(NOW))?;
        let starter = getppid().as_raw();
        let ends = usize::try_from(starter).map_err(io::Error::other)?;
        let ends = event(ends, EventFilter::EVFILT_PROC, FilterFlag::NOTE_EXIT);
        let is_starter_gone = match queue.kevent(&[ends], &mut [], Some(NOW)) {
            Err(Errno::ESRCH) => true,
            // An orphan is launchd's.
            told => told.map(|_| starter == 1)?,
        };
        Ok(Self {
            queue,
            is_starter_gone,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// Forgets those that it has told.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let mut told = [event(0, EventFilter::EVFILT_SIGNAL, FilterFlag::empty()); 2];
        let count = match self.queue.kevent(&[], &mut told, Some(NOW)) {
            Err(Errno::EINTR) => 0,
            told => told?,
        };
        let is_process = |event: &KEvent| event.filter() == Ok(EventFilter::EVFILT_PROC);
        self.is_starter_gone |= told.iter().take(count).any(is_process);
        Ok(())
    }

    /// Whether this process's starter has ended.
    pub(crate) fn is_starter_gone(&self) -> bool {
        self.is_starter_gone
    }
}

/// A queue is only asked.
pub(super) const NOW: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What a queue is to tell, each time that it comes.
pub(super) fn event(of: usize, filter: EventFilter, which: FilterFlag) -> KEvent {
    KEvent::new(of, filter, EvFlags::EV_ADD | EvFlags::EV_CLEAR, which, 0, 0)
}
