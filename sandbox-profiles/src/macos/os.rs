//! The system calls for which no safe binding exists, beside libproc's and the start of a program.
#![expect(
    unsafe_code,
    reason = "system calls without a safe binding; every block is argued where it stands"
)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::unistd::setsid;

/// The longest id of a start of this machine: a UUID as text, with its end.
const LONGEST_BOOT: usize = 64;

/// Makes what `command` starts a session of its own that holds back no signal, with `descriptor` at `number`.
pub(super) fn apart_with(command: &mut Command, descriptor: impl AsFd, number: i32) {
    let from = descriptor.as_fd().as_raw_fd();
    let hook = move || {
        setsid()?;
        SigSet::empty().thread_set_mask()?;
        // SAFETY: takes numbers only; in the child nothing owns `number`, which the keeper keeps reserved.
        Ok(Errno::result(unsafe { libc::dup2(from, number) }).map(drop)?)
    };
    // SAFETY: `pre_exec` requires that the hook does only what is allowed in a forked child of a process with several threads: no
    // allocation, no lock. It captures two numbers and makes three system calls; an errno as an `io::Error` allocates nothing.
    unsafe { command.pre_exec(hook) };
}

/// Has this process not end at a signal that it hears of by a queue.
pub(super) fn outlive(by: Signal) -> nix::Result<()> {
    // SAFETY: SIG_IGN installs no handler, so no code runs in signal context; nothing here relies on the old one.
    unsafe { signal(by, SigHandler::SigIgn) }.map(drop)
}

/// Makes a pipe with a name, for the user alone. macOS has the call since its version 13.
pub(super) fn make_pipe(folder: impl AsFd, name: &str) -> nix::Result<()> {
    let name = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the descriptor is borrowed and so open; the name is a C string that outlives the call.
    let made = unsafe { libc::mkfifoat(folder.as_fd().as_raw_fd(), name.as_ptr(), 0o600) };
    Errno::result(made).map(drop)
}

/// The id of this start of the machine.
pub(crate) fn boot() -> io::Result<String> {
    let mut text = [0_u8; LONGEST_BOOT];
    let mut length = text.len();
    // SAFETY: the name is a C string; the call writes at most `length` bytes at the pointer, which `text` has, and how many they
    // are at the other. Both are exclusively borrowed and outlive the call. Nothing is set.
    Errno::result(unsafe {
        libc::sysctlbyname(
            c"kern.bootsessionuuid".as_ptr(),
            text.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null_mut(),
            0,
        )
    })?;
    let text = CStr::from_bytes_until_nul(&text).map_err(io::Error::other)?;
    Ok(text.to_str().map_err(io::Error::other)?.to_owned())
}
