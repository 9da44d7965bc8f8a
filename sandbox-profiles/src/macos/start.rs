//! Starts a program that can be watched from before its first instruction, and that answers to the system for itself.
//!
//! A child inherits what the person consented to for its parent's app (Calendar, Automation, Full Disk Access). A program of a
//! run must not: it is started as its own responsible process, or not at all.
//!
//! Type-checked alone; no Mac has run it.
#![expect(
    unsafe_code,
    reason = "posix_spawn has no safe binding for these attributes"
)]

use std::ffi::{CString, c_char, c_int, c_short, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::processes::symbol;

/// `POSIX_SPAWN_SETSID` of `sys/spawn.h`, which libc does not have: a session of its own.
const SET_SESSION: c_int = 0x400;

type Disclaim = unsafe extern "C" fn(*mut libc::posix_spawnattr_t, c_int) -> c_int;

/// A program that has been started and has not begun. It is killed where it never begins.
#[derive(Debug)]
pub(super) struct SuspendedProgram {
    pid: Pid,
    has_begun: bool,
}

impl SuspendedProgram {
    /// Starts `program` with these arguments (the first is its name) and no other environment, in a session of its own. It has
    /// `descriptors` as its input, output and error, and no other.
    /// # Errors
    /// What the system says; `Unsupported` where it cannot be made responsible for itself.
    pub(super) fn start(
        program: &CString,
        arguments: &[CString],
        environment: &[CString],
        descriptors: [BorrowedFd<'_>; 3],
    ) -> io::Result<Self> {
        let mut attributes = Attributes::new()?;
        attributes.set()?;
        let mut actions = Actions::new()?;
        for (number, descriptor) in (0..).zip(descriptors) {
            actions.place(descriptor, number)?;
        }
        let (arguments, environment) = (pointers(arguments), pointers(environment));
        let mut pid = 0;
        // SAFETY: `program` is a C string; both lists hold pointers to C strings that outlive the call, with a null pointer at
        // the end; attributes and actions were initialised and are destroyed only after it. It writes one number at `pid`.
        done(unsafe {
            libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                arguments.as_ptr(),
                environment.as_ptr(),
            )
        })?;
        Ok(Self {
            pid: Pid::from_raw(pid),
            has_begun: false,
        })
    }

    /// Its number.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets it begin.
    /// # Errors
    /// It is gone.
    pub(super) fn begin(mut self) -> io::Result<()> {
        kill(self.pid, Signal::SIGCONT)?;
        self.has_begun = true;
        Ok(())
    }
}

impl Drop for SuspendedProgram {
    fn drop(&mut self) {
        if !self.has_begun {
            // Nobody has reaped it, so the number is its own.
            _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

/// How the program begins.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes: libc::posix_spawnattr_t = ptr::null_mut();
        // SAFETY: it makes an object and writes its pointer, which `drop` gives back.
        done(unsafe { libc::posix_spawnattr_init(&raw mut attributes) })?;
        Ok(Self(attributes))
    }

    /// Suspended, no descriptor but those that are placed, no signal blocked and but one none ignored, responsible for itself.
    fn set(&mut self) -> io::Result<()> {
        let flags = libc::POSIX_SPAWN_START_SUSPENDED
            | libc::POSIX_SPAWN_CLOEXEC_DEFAULT
            | libc::POSIX_SPAWN_SETSIGDEF
            | libc::POSIX_SPAWN_SETSIGMASK
            | SET_SESSION;
        let flags = c_short::try_from(flags).map_err(io::Error::other)?;
        let (mut all, mut none) = (0, 0);
        // SAFETY: all three write one set of signals at a pointer to one.
        unsafe {
            libc::sigfillset(&raw mut all);
            // Ignored by `Limits::apply`: a file that is too long is an error that the program can report.
            libc::sigdelset(&raw mut all, libc::SIGXFSZ);
            libc::sigemptyset(&raw mut none);
        }
        let own = &raw mut self.0;
        // SAFETY: the attributes were initialised.
        done(unsafe { libc::posix_spawnattr_setflags(own, flags) })?;
        // SAFETY: the same; the set is read before the call returns.
        done(unsafe { libc::posix_spawnattr_setsigdefault(own, &raw const all) })?;
        // SAFETY: the same.
        done(unsafe { libc::posix_spawnattr_setsigmask(own, &raw const none) })?;
        let found = symbol(c"responsibility_spawnattrs_setdisclaim");
        let found = found.ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the symbol is a function of a library that libSystem loads for the life of the process; in every release that
        // has it, it takes the attributes and a number and answers an error number.
        let disclaim = unsafe { std::mem::transmute::<*mut c_void, Disclaim>(found) };
        // SAFETY: as above, with initialised attributes.
        done(unsafe { disclaim(own, 1) })
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used after this.
        _ = unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// What becomes of descriptors.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions: libc::posix_spawn_file_actions_t = ptr::null_mut();
        // SAFETY: it makes an object and writes its pointer, which `drop` gives back.
        done(unsafe { libc::posix_spawn_file_actions_init(&raw mut actions) })?;
        Ok(Self(actions))
    }

    fn place(&mut self, descriptor: BorrowedFd<'_>, number: c_int) -> io::Result<()> {
        let from = descriptor.as_raw_fd();
        // SAFETY: the actions were initialised; the numbers are only kept until the program is started, while `descriptor` is
        // borrowed.
        done(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, number) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and not used after this.
        _ = unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

/// As C takes a list: the pointers, and a null pointer.
fn pointers(texts: &[CString]) -> Vec<*mut c_char> {
    let texts = texts.iter().map(|text| text.as_ptr().cast_mut());
    texts.chain([ptr::null_mut()]).collect()
}

/// These calls answer an error number.
fn done(error: c_int) -> io::Result<()> {
    match error {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
