//! What a process asks of the operating system when it gives up what it inherited, and what a keeper and a monitor ask of it, on
//! both systems.
#![expect(
    unsafe_code,
    reason = "system calls without a safe binding; every block is argued where it stands"
)]

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, exit};

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, raise, signal, sigprocmask};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, dup2_stdin, dup2_stdout};

/// Makes a write beyond `RLIMIT_FSIZE` fail with `EFBIG`; the disposition survives exec.
pub(crate) fn ignore_file_size_signal() -> io::Result<()> {
    // SAFETY: SIG_IGN installs no handler, so no code runs in signal context; nothing here relies on the old one.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }
        .map(drop)
        .map_err(Into::into)
}

/// Closes each descriptor from `first` up to the limit of now that came over an exec. The system's own, which are guarded against being
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

/// A child that has ended.
pub(crate) struct EndedChild {
    pub(crate) process: Pid,
    pub(crate) status: WaitStatus,
    /// Of the processor, by it and by all that it had waited for, in milliseconds.
    pub(crate) cpu_ms: u64,
}

/// The next child that has ended, reaped; `None` where none has.
pub(crate) fn reap() -> nix::Result<Option<EndedChild>> {
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
///
/// # Safety
/// Nothing of this process owns `number`: it was reserved, and nothing was opened since.
pub(crate) unsafe fn place(descriptor: &OwnedFd, number: i32) -> nix::Result<()> {
    // SAFETY: takes numbers only; that the number is nobody's is the caller's to see to.
    Errno::result(unsafe { libc::dup2(descriptor.as_raw_fd(), number) }).map(drop)
}

/// Holds all free numbers up to `last`, so that nothing else gets one while this lives.
pub(crate) fn reserve(last: i32) -> io::Result<Vec<OwnedFd>> {
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

/// Ends this process as `signal` ended another.
pub(crate) fn end_by(by: Signal) -> nix::Result<()> {
    // SIGKILL has no other disposition, and the kernel refuses to set it.
    if by != Signal::SIGKILL {
        // SAFETY: SIG_DFL installs no handler, so no code runs in signal context; nothing here relies on the old one.
        unsafe { signal(by, SigHandler::SigDfl) }?;
    }
    let mut only = SigSet::empty();
    only.add(by);
    sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&only), None)?;
    raise(by)
}

/// Makes this process one that the end of a child is told to, whatever it inherited.
pub(crate) fn hear_of_children() -> nix::Result<()> {
    // SAFETY: SIG_DFL installs no handler, so no code runs in signal context; nothing here relies on the old one.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map(drop)
}

/// What is open at `number`, as this process's own from now on.
///
/// # Safety
/// Nothing of this process owns `number`: it came over the exec, if at all, and nothing was opened since the process began.
pub(crate) unsafe fn adopt(number: i32) -> Option<OwnedFd> {
    // SAFETY: takes numbers only.
    let open = unsafe { libc::fcntl(number, libc::F_GETFD) };
    // SAFETY: it is open; that nothing else owns it is the caller's to see to.
    (open != -1).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// Has what `command` starts begin in the folder that is open at this number, which stays open until it is started.
pub(crate) fn begin_in(command: &mut Command, folder: RawFd) {
    // SAFETY: takes a number, and makes the one system call; an errno as an `io::Error` allocates nothing.
    let enter = move || Ok(Errno::result(unsafe { libc::fchdir(folder) }).map(drop)?);
    // SAFETY: `pre_exec` requires that the hook does only what is allowed in a forked child of a process with several threads: no
    // allocation, no lock. It captures one number and makes one system call.
    unsafe { command.pre_exec(enter) };
}

/// What the kernel has just sent, as this process's own.
///
/// # Safety
/// The number is from a message that was just received, and is taken once: the kernel made the descriptor for it, and nobody else
/// knows of it.
pub(crate) unsafe fn sent(number: RawFd) -> OwnedFd {
    // SAFETY: the descriptor is open and nobody's, as the caller vouches.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Of the three streams of a launcher that stays outside.
pub(crate) fn keep_stderr_alone() -> io::Result<()> {
    let nothing = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&nothing)?;
    Ok(dup2_stdout(&nothing)?)
}

/// Ends this process as another one ended.
pub(crate) fn pass_on(ended: WaitStatus) -> io::Result<Infallible> {
    match ended {
        WaitStatus::Signaled(_, signal, _) => {
            end_by(signal)?;
            Err(io::Error::other(format!("outlived {signal}")))
        }
        WaitStatus::Exited(_, status) => exit(status),
        other => Err(io::Error::other(format!("{other:?} is no end"))),
    }
}
