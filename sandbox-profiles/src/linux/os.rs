//! The system calls for which no safe binding exists. Each function is safe to call from anywhere: what it takes
//! are numbers, and what it gives the kernel lives on its own stack.
#![expect(
    unsafe_code,
    reason = "raw system calls; every block is argued where it stands"
)]

pub(crate) mod children;
pub(super) mod notify;

use std::ffi::CStr;
use std::io;
use std::ptr;

use nix::errno::Errno;
use nix::unistd::Pid;

/// From `linux/landlock.h`.
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
/// From `linux/capability.h`: the layout with 64 capabilities, in two halves.
const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// The kernel's Landlock ABI.
/// # Errors
/// `ENOSYS`: not built in. `EOPNOTSUPP`: switched off.
pub(super) fn landlock_abi() -> io::Result<u32> {
    // SAFETY: with this flag the call takes a null attribute of size 0, reads nothing and makes no descriptor;
    // it answers a number.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Whether seccomp filters can refuse a call with an error.
pub(super) fn has_seccomp_errno() -> bool {
    let action = libc::SECCOMP_RET_ERRNO;
    // SAFETY: SECCOMP_GET_ACTION_AVAIL reads one u32 through the pointer, which `action` is and outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        ) == 0
    }
}

/// Closes every descriptor from `first` up.
pub(super) fn close_from(first: i32) -> io::Result<()> {
    // SAFETY: the call only closes descriptors. Nothing in this process owns one from `first` up and would use
    // it later: the caller is the launcher before it has opened anything.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
    Ok(Errno::result(answer).map(drop)?)
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Empties the bounding, ambient, permitted, effective and inheritable sets of this thread and checks that they
/// are empty. Without CAP_SETPCAP the bounding set stays, which no_new_privs makes worthless.
pub(super) fn drop_capabilities() -> io::Result<()> {
    let mut highest = 0;
    // SAFETY: PR_CAPBSET_READ and PR_CAPBSET_DROP take a number and touch no memory; the first unknown
    // capability ends the loop with EINVAL.
    while unsafe { libc::prctl(libc::PR_CAPBSET_READ, highest, 0, 0, 0) } >= 0 {
        // SAFETY: as above.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, highest, 0, 0, 0) }) {
            Ok(_) | Err(Errno::EPERM) => highest += 1,
            Err(errno) => return Err(errno.into()),
        }
    }
    // SAFETY: PR_CAP_AMBIENT_CLEAR_ALL takes numbers only.
    Errno::result(unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    })?;

    let header = CapabilityHeader {
        version: LINUX_CAPABILITY_VERSION_3,
        pid: 0,
    };
    let none = [Capabilities::default(); 2];
    // SAFETY: version 3 reads one header and two elements, which both arguments are; pid 0 is this thread.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) })?;
    let mut left = [Capabilities {
        effective: !0,
        permitted: !0,
        inheritable: !0,
    }; 2];
    // SAFETY: version 3 writes two elements, for which `left` has room; the header is read as above.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, &raw const header, left.as_mut_ptr())
    })?;
    if left
        .iter()
        .all(|half| half.effective | half.permitted | half.inheritable == 0)
    {
        Ok(())
    } else {
        Err(io::Error::other("capabilities are left"))
    }
}

/// Whether two threads have all of their memory in common, as far as the kernel says so to this process; also of two that have
/// ended, and have none.
pub(super) fn same_memory(one: Pid, other: Pid) -> bool {
    /// From `linux/kcmp.h`.
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: the call takes numbers, and compares what the kernel knows of two threads.
    unsafe { libc::syscall(libc::SYS_kcmp, one.as_raw(), other.as_raw(), KCMP_VM, 0, 0) == 0 }
}

/// What the kernel says to an exec of `program` that cannot succeed: its arguments lie in unmapped memory, which
/// is noticed (`EFAULT`) only after the program was found, opened and every check on it passed.
pub(crate) fn exec_error(program: &CStr) -> Errno {
    let unmapped = ptr::without_provenance::<*const libc::c_char>(1);
    // SAFETY: the kernel copies arguments with fault handling, so a bad pointer is an answer and not a fault; the
    // C library passes the pointers on unread. On EFAULT this process goes on unchanged. `program` is a C string.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_execve,
            program.as_ptr(),
            unmapped,
            ptr::null::<*const libc::c_char>(),
        )
    };
    // An exec that worked does not return.
    Errno::result(answer).err().unwrap_or(Errno::EFAULT)
}
