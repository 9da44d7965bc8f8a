//! Starting a launcher as a child of the keeper, and hearing of its end.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getpid, getppid, setsid};

/// Makes what `command` starts a session of its own, which the kernel kills when the calling thread ends.
pub(in super::super) fn apart_and_tied(command: &mut Command) {
    let hook = || {
        setsid()?;
        // What a keeper hears of by a descriptor it has blocked, and a program that is never told of its children's end waits
        // for ever.
        Ok(SigSet::empty().thread_set_mask()?)
    };
    // SAFETY: as below; the hook captures nothing and makes two system calls.
    unsafe { command.pre_exec(hook) };
    die_with_this_thread(command);
}

/// Has the kernel kill what `command` starts when the calling thread ends.
pub fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let hook = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // A parent that ended before the line above sends nothing any more.
        if getppid() == parent {
            Ok(())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: `pre_exec` requires that the hook does only what is allowed in a forked child of a process with several
    // threads: no allocation, no lock. It captures one integer and makes two system calls; turning an errno or an
    // `ErrorKind` into an `io::Error` stores an integer and allocates nothing.
    unsafe { command.pre_exec(hook) };
}

/// A child that has ended.
pub(in super::super) struct EndedChild {
    pub(in super::super) process: Pid,
    pub(in super::super) status: WaitStatus,
    /// Of the processor, by it and by all that it had waited for, in milliseconds.
    pub(in super::super) cpu_ms: u64,
}

/// The next child that has ended, reaped; `None` where none has.
pub(in super::super) fn reap() -> nix::Result<Option<EndedChild>> {
    let mut status = 0;
    // SAFETY: all zero is a value of this struct of numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes an int and one such struct, which both are and which outlive it.
    let answer = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
    let process = match Errno::result(answer) {
        Ok(0) | Err(Errno::ECHILD) => return Ok(None),
        Ok(process) => Pid::from_raw(process),
        Err(errno) => return Err(errno),
    };
    let ms = |time: libc::timeval| time.tv_sec as u64 * 1000 + time.tv_usec as u64 / 1000;
    Ok(Some(EndedChild {
        process,
        status: WaitStatus::from_raw(process, status)?,
        cpu_ms: ms(usage.ru_utime) + ms(usage.ru_stime),
    }))
}

/// Puts a copy of `descriptor` at `number`, where it stays over an exec. Whatever was there is closed.
pub(in super::super) fn place(descriptor: &OwnedFd, number: i32) -> nix::Result<()> {
    // SAFETY: takes numbers only. The caller has reserved the number: nothing else of this process owns it.
    Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), number) }).map(drop)
}

/// Holds all free numbers up to `last`, so that nothing else gets one while this lives.
pub(in super::super) fn reserve(last: i32) -> io::Result<Vec<OwnedFd>> {
    let mut held = Vec::new();
    loop {
        // SAFETY: the path is a C string, which the kernel only reads.
        let opened = Errno::result(unsafe {
            libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC)
        })?;
        // SAFETY: the kernel has just made this descriptor for us.
        let opened = unsafe { OwnedFd::from_raw_fd(opened) };
        if opened.as_raw_fd() > last {
            return Ok(held);
        }
        held.push(opened);
    }
}
