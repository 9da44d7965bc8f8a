//! Starting a launcher as a child of the keeper.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getpid, getppid, setsid};

/// What ends the monitors with the keeper: the kernel's death signal.
pub(crate) struct Tie;

impl Tie {
    /// # Errors
    /// None; the signature is that of macOS.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Makes what `command` starts a session of its own, which the kernel kills when the calling thread ends.
    pub(crate) fn apart_and_tied(&self, command: &mut Command) {
        apart_and_tied(command);
    }
}

fn apart_and_tied(command: &mut Command) {
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
