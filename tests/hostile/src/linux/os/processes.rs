//! Other processes, by number and by handle. Every one is a process that the test started and names.

use std::ffi::CStr;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{null, null_mut, without_provenance};

use libc::c_long;
use nix::errno::Errno;

use super::kernel::where_built;
use super::simple;

/// An exec that passes every check and then finds its arguments in unmapped memory: this process goes on.
pub(in super::super) fn exec_in_vain(program: &CStr) -> io::Result<()> {
    let unmapped = without_provenance::<*const libc::c_char>(1);
    // SAFETY: the kernel copies arguments with fault handling, so a bad pointer is an answer and not a fault; the
    // program is a C string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_execve,
            program.as_ptr(),
            unmapped,
            null::<*const libc::c_char>(),
        )
    };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::EFAULT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(in super::super) fn be_traced() -> io::Result<()> {
    // SAFETY: PTRACE_TRACEME takes nothing; a process of the test's has nothing against its parent's looking.
    simple(unsafe {
        libc::ptrace(
            libc::PTRACE_TRACEME,
            0,
            null_mut::<libc::c_void>(),
            null_mut::<libc::c_void>(),
        )
    })
}

/// Writes to an address that no process has: the permission is looked at before.
pub(in super::super) fn write_memory(pid: i32) -> io::Result<()> {
    let mut byte = 0_u8;
    let local = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: without_provenance::<libc::c_void>(1).cast_mut(),
        iov_len: 1,
    };
    // SAFETY: the local vector is one byte on this stack; the remote one is a number here and is mapped nowhere.
    let answer =
        unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::EFAULT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A `siginfo_t`: signal, error, code, and what a receiver would look at, which here nobody does.
#[repr(C, align(8))]
struct Queued {
    signal: i32,
    error: i32,
    code: i32,
    rest: [u8; 116],
}

pub(in super::super) fn signal_queued(pid: i32) -> io::Result<()> {
    let about = Queued {
        signal: libc::SIGURG,
        error: 0,
        code: libc::SI_QUEUE,
        rest: [0; 116],
    };
    // SAFETY: the kernel reads 128 bytes, which the structure has; the signal is one that does nothing.
    simple(unsafe {
        libc::syscall(
            libc::SYS_rt_sigqueueinfo,
            pid,
            libc::SIGURG,
            &raw const about,
        )
    })
}

pub(in super::super) fn signal_thread(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers; the signal is one that does nothing.
    simple(unsafe { libc::syscall(libc::SYS_tgkill, pid, pid, libc::SIGURG) })
}

fn handle(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers.
    let made = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(made as i32) })
}

pub(in super::super) fn signal_pidfd(pid: i32) -> io::Result<()> {
    let handle = handle(pid)?;
    // SAFETY: takes numbers, and no information to go with the signal, which does nothing.
    simple(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            libc::SIGURG,
            null::<libc::c_void>(),
            0,
        )
    })
}

/// A copy of the other's standard input.
pub(in super::super) fn take_descriptor(pid: i32) -> io::Result<()> {
    let handle = handle(pid)?;
    // SAFETY: takes numbers.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, handle.as_raw_fd(), 0, 0) };
    let copy = Errno::result(copy)?;
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(copy as i32) });
    Ok(())
}

/// From `linux/kcmp.h`: whether two processes share their memory.
const KCMP_VM: c_long = 1;

pub(in super::super) fn compare(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::syscall(libc::SYS_kcmp, std::process::id(), pid, KCMP_VM, 0, 0) })
}

/// Says of none of its memory that it is not needed. The handle may be refused before; with none at all, the call is
/// still judged by itself, and EBADF is no success.
pub(in super::super) fn advise_memory(pid: i32) -> io::Result<()> {
    let handle = handle(pid).ok();
    let nothing = libc::iovec {
        iov_base: null_mut(),
        iov_len: 0,
    };
    // SAFETY: the vector has one part, which outlives the call and is of no memory.
    simple(unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            handle.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            &raw const nothing,
            1,
            libc::MADV_COLD,
            0,
        )
    })
}

pub(in super::super) fn limits_of(pid: i32) -> io::Result<()> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads into one limit and sets none.
    simple(unsafe { libc::prlimit64(pid, libc::RLIMIT_NOFILE, null(), &raw mut limit) }.into())
}

pub(in super::super) fn priority_of(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers. The raw call answers a priority above 0, or an error.
    simple(unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, pid) })
}

/// Makes the other give way to everybody, as it may well do.
pub(in super::super) fn renice(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, pid, 19) })
}

/// Room for the processors of any machine that runs this.
type Processors = [u64; 16];

fn processors(pid: i32) -> io::Result<Processors> {
    let mut set: Processors = [0; 16];
    // SAFETY: the kernel writes at most the size given, which the set has.
    simple(unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            pid,
            size_of::<Processors>(),
            set.as_mut_ptr(),
        )
    })?;
    Ok(set)
}

pub(in super::super) fn affinity_of(pid: i32) -> io::Result<()> {
    processors(pid).map(drop)
}

/// Sets the other to the processors that this process has: those that it has itself.
pub(in super::super) fn pin(pid: i32) -> io::Result<()> {
    let set = processors(0)?;
    // SAFETY: the kernel reads the size given, which the set has.
    simple(unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            pid,
            size_of::<Processors>(),
            set.as_ptr(),
        )
    })
}

/// Schedules the other as it is scheduled: no better, no worse.
pub(in super::super) fn schedule(pid: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the parameters, which outlive the call.
    simple(unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            pid,
            libc::SCHED_OTHER,
            &raw const parameters,
        )
    })
}

/// As [`schedule`], by the call that leaves the policy as it is.
pub(in super::super) fn schedule_parameters(pid: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the parameters, which outlive the call.
    simple(unsafe { libc::syscall(libc::SYS_sched_setparam, pid, &raw const parameters) })
}

/// As [`schedule`], by the newest call.
pub(in super::super) fn schedule_attributes(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    let answer = unsafe { libc::syscall(libc::SYS_getpriority, libc::PRIO_PROCESS, pid) };
    // The kernel adds 20, so that no answer is an error. An ordinary user who is nice may not become less so.
    let nice = if answer > 0 { 20 - answer } else { 0 };
    // `struct sched_attr` of the first version: 48 bytes, which it says first; the third word begins with its niceness.
    let attributes = [48_u64, 0, u64::from(nice as u32), 0, 0, 0];
    // SAFETY: the kernel reads as many bytes as the structure says it has, which it does.
    simple(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, attributes.as_ptr(), 0) })
}

/// From `linux/ioprio.h`.
const IOPRIO_WHO_PROCESS: i32 = 1;
const IOPRIO_WHO_USER: i32 = 3;
const IOPRIO_NO_CLASS: i32 = 7 << 13;

/// Gives the other's reading and writing the place that it has if nobody says otherwise.
pub(in super::super) fn io_priority(pid: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    simple(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, 0) })
}

/// The place of all of a user's processes, without naming one. It is a place that there is not, so nothing changes and
/// a caller that is let through gets EINVAL.
pub(in super::super) fn io_priority_of_user() -> io::Result<()> {
    // SAFETY: takes numbers.
    let answer =
        unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_USER, 0, IOPRIO_NO_CLASS) };
    match Errno::result(answer) {
        Ok(_) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

extern "C" fn ends(_: *mut libc::c_void) -> i32 {
    0
}

/// A thread that does not share what the threads of a program share. Descriptors of its own are counted for themselves.
pub(in super::super) fn thread_apart(what: &str) -> io::Result<()> {
    const SHARED: i32 = libc::CLONE_VM
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_FILES
        | libc::CLONE_FS;
    let apart = match what {
        "nothing" => 0,
        "descriptors" => libc::CLONE_FILES,
        "folder" => libc::CLONE_FS,
        other => return Err(io::Error::other(format!("no such part: {other}"))),
    };
    // Nobody is told when the thread ends, so its stack is given away for good. `u128` has the alignment of a stack.
    let stack: &'static mut [u128] = Box::leak(vec![0; 1024].into_boxed_slice());
    // SAFETY: the stack is this thread's alone, for as long as the process lives, and begins at its end because it
    // grows down. What runs on it answers at once and touches neither memory nor what the C library keeps for each
    // thread, which it shares with its maker. It needs no argument.
    let made = unsafe {
        libc::clone(
            ends,
            stack.as_mut_ptr_range().end.cast(),
            SHARED & !apart,
            null_mut(),
        )
    };
    simple(made.into())
}

/// The same without a thread: closes nothing, and has its own table of descriptors from then on.
pub(in super::super) fn descriptors_apart() -> io::Result<()> {
    let nothing = libc::c_uint::MAX;
    // SAFETY: takes numbers; no descriptor has the highest one, so none is closed.
    simple(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            nothing,
            nothing,
            libc::CLOSE_RANGE_UNSHARE,
        )
    })
}

pub(in super::super) fn clone_into_user_namespace() -> io::Result<()> {
    // SAFETY: without a stack of its own the child goes on with a copy of this one, as after a fork; it calls only
    // `_exit`. The caller has one thread where this succeeds.
    let child = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::CLONE_NEWUSER | libc::SIGCHLD,
            0,
            0,
            0,
            0,
        )
    };
    where_built("user", child)?;
    match child {
        // SAFETY: `_exit` ends the child without running anything of the parent's.
        0 => unsafe { libc::_exit(0) },
        child => {
            let child = nix::unistd::Pid::from_raw(child as i32);
            Ok(nix::sys::wait::waitpid(child, None).map(drop)?)
        }
    }
}

/// Sets its own capabilities to those that it has.
pub(in super::super) fn set_capabilities() -> io::Result<()> {
    /// From `linux/capability.h`.
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: version 3 writes two elements of three words, which `sets` has; pid 0 is this process.
    simple(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) })?;
    // SAFETY: as above, read.
    simple(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
}

/// One more set of watches. The older call is not everywhere.
pub(in super::super) fn epoll(how: &str) -> io::Result<()> {
    // SAFETY: both take numbers.
    let made = Errno::result(unsafe {
        match how {
            "new" => libc::epoll_create1(libc::EPOLL_CLOEXEC),
            #[cfg(target_arch = "x86_64")]
            "old" => libc::syscall(libc::SYS_epoll_create, 1) as i32,
            #[cfg(not(target_arch = "x86_64"))]
            "old" => libc::epoll_create1(0),
            other => return Err(io::Error::other(format!("no such way: {other}"))),
        }
    })?;
    // SAFETY: the kernel has just made this descriptor for us.
    drop(unsafe { OwnedFd::from_raw_fd(made) });
    Ok(())
}

/// Lets real-time signals to this thread wait, and takes them off again.
pub(in super::super) fn signal_self_queued(count: usize) -> io::Result<()> {
    let signal = libc::SIGRTMIN() + 1;
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the sets are initialised before anything reads them, and outlive the calls; the signal is
    // held back before the first is sent, and nobody sends it afterwards. The rest are numbers.
    unsafe {
        let mut held: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut held);
        libc::sigaddset(&raw mut held, signal);
        let masked = libc::pthread_sigmask(libc::SIG_BLOCK, &raw const held, &raw mut before);
        if masked != 0 {
            return Err(io::Error::from_raw_os_error(masked));
        }
        let (process, thread) = (libc::getpid(), libc::syscall(libc::SYS_gettid));
        let sent = (0..count)
            .try_for_each(|_| simple(libc::syscall(libc::SYS_tgkill, process, thread, signal)));
        while libc::sigtimedwait(&raw const held, null_mut(), &raw const at_once) == signal {}
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, null_mut());
        sent
    }
}

/// What `crate::hold` is.
pub(crate) fn hold(process: i32) -> Option<OwnedFd> {
    // SAFETY: takes numbers only.
    let held = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) }).ok()?;
    // SAFETY: the kernel has just made this descriptor for us.
    Some(unsafe { OwnedFd::from_raw_fd(held as i32) })
}
