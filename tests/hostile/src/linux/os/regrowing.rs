//! Processes in one memory, each in a session of its own and mostly asleep, that make another one for each that has ended.
//!
//! Invariants: there are never more than [`MOST`] at a time; each ends after a minute in any case.

use std::io;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Places for processes.
const MOST: usize = 200;
const STACK: usize = 64 * 1024;
const LIFE_IN_SECONDS: u32 = 60;
static NAP: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// Who has each place: a process, which the kernel takes out at its end; below 0, who is about to make one.
static PLACES: [AtomicI32; MOST] = [const { AtomicI32::new(0) }; MOST];
static USED: AtomicUsize = AtomicUsize::new(0);
static STACKS: AtomicUsize = AtomicUsize::new(0);

/// Makes so many, and goes on as they do.
pub(crate) fn regrow(count: usize) -> io::Result<()> {
    if count > MOST {
        return Err(Errno::E2BIG.into());
    }
    // SAFETY: a mapping at no place in particular, of no file.
    let stacks = unsafe {
        libc::mmap(
            null_mut(),
            MOST * STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if stacks == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    STACKS.store(stacks.addr(), Ordering::SeqCst);
    USED.store(count, Ordering::SeqCst);
    stacks.expose_provenance();
    member(null_mut());
    Ok(())
}

extern "C" fn member(_: *mut libc::c_void) -> libc::c_int {
    // SAFETY: each takes numbers, or reads a constant. The C library's state is shared by all processes here: these calls
    // write none of it but `errno`, which is not read.
    let own = unsafe {
        libc::setsid();
        libc::alarm(LIFE_IN_SECONDS);
        libc::syscall(libc::SYS_getpid) as i32
    };
    loop {
        // One at a time, so that each is the child of another: a tree that is flat has one generation.
        _ = (0..USED.load(Ordering::SeqCst)).any(|place| fill(place, own));
        // SAFETY: as above.
        unsafe { libc::nanosleep(&raw const NAP, null_mut()) };
    }
}

/// Whether there is another process for it.
fn fill(place: usize, own: i32) -> bool {
    let of = &PLACES[place];
    let found = of.load(Ordering::SeqCst);
    // Signal 0 asks whether who is about to make one is still there.
    let is_gone = || found < -1 && kill(Pid::from_raw(-found), None).is_err();
    let is_free = found == 0 || is_gone();
    let take = || of.compare_exchange(found, -own, Ordering::SeqCst, Ordering::SeqCst);
    if !is_free || take().is_err() {
        return false;
    }
    let end = STACKS.load(Ordering::SeqCst) + (place + 1) * STACK;
    let flags = libc::CLONE_VM | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    // SAFETY: the stack is this place's alone: its former process has ended, or its number would stand here. The number's own
    // place lives as long as the memory.
    let made = unsafe {
        libc::clone(
            member,
            with_exposed_provenance_mut(end),
            flags | libc::SIGCHLD,
            null_mut(),
            null_mut::<libc::pid_t>(),
            null_mut::<libc::c_void>(),
            of.as_ptr(),
        )
    };
    if made == -1 {
        of.store(0, Ordering::SeqCst);
    }
    made != -1
}
