//! The kernel's odd corners: namespaces, mounts, keys, System V, filters, counters, clocks.

use std::io;
use std::mem::size_of_val;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{null, null_mut};

use libc::c_long;
use nix::errno::Errno;

use super::simple;

/// What is not there is noticed after the call was let through.
fn but_for(answer: c_long, expected: Errno) -> io::Result<()> {
    match Errno::result(answer) {
        Ok(_) => Ok(()),
        Err(errno) if errno == expected => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(in super::super) fn unshare(what: &str) -> io::Result<()> {
    let (namespace, name) = match what {
        "user" => (libc::CLONE_NEWUSER, "user"),
        "network" => (libc::CLONE_NEWNET, "net"),
        "mounts" => (libc::CLONE_NEWNS, "mnt"),
        "processes" => (libc::CLONE_NEWPID, "pid"),
        "names" => (libc::CLONE_NEWUTS, "uts"),
        other => return Err(io::Error::other(format!("no such namespace: {other}"))),
    };
    // SAFETY: takes a number; only this process changes.
    where_built(name, unsafe { libc::unshare(namespace) }.into())
}

/// Says of a kind of namespace that was not built that there is no such call: the kernel says EINVAL, as to a mistake.
pub(super) fn where_built(name: &str, answer: c_long) -> io::Result<()> {
    match Errno::result(answer) {
        Err(Errno::EINVAL) if !Path::new("/proc/self/ns").join(name).exists() => {
            Err(Errno::ENOSYS.into())
        }
        answer => Ok(answer.map(drop)?),
    }
}

/// With a descriptor of something else: the kernel says EINVAL.
pub(in super::super) fn join_namespace() -> io::Result<()> {
    let nothing = std::fs::File::open("/dev/null")?;
    // SAFETY: takes numbers.
    but_for(
        unsafe { libc::setns(nothing.as_raw_fd(), 0) }.into(),
        Errno::EINVAL,
    )
}

pub(in super::super) fn unmount() -> io::Result<()> {
    // SAFETY: the name is a C string, and of nothing.
    but_for(
        unsafe { libc::umount2(c"/nowhere/at/all".as_ptr(), 0) }.into(),
        Errno::ENOENT,
    )
}

/// As [`super::mount`]: the folder is looked for before privileges are.
pub(in super::super) fn change_root() -> io::Result<()> {
    // SAFETY: the name is a C string, and of nothing.
    but_for(
        unsafe { libc::chroot(c"/nowhere/at/all".as_ptr()) }.into(),
        Errno::ENOENT,
    )
}

/// Here privileges come first: only the administrator hears that there is no such folder.
pub(in super::super) fn pivot_root() -> io::Result<()> {
    let nowhere = c"/nowhere/at/all".as_ptr();
    // SAFETY: both names are C strings, and of nothing.
    but_for(
        unsafe { libc::syscall(libc::SYS_pivot_root, nowhere, nowhere) },
        Errno::ENOENT,
    )
}

/// `getpid` of the 32-bit machine, through the gate that a 64-bit process has for it too. A kernel without such calls
/// ends the process by SIGSEGV.
#[cfg(target_arch = "x86_64")]
pub(in super::super) fn int80() -> io::Result<()> {
    /// From `asm/unistd_32.h`.
    const GETPID: i32 = 20;
    let answer: i32;
    // SAFETY: `getpid` takes nothing and touches no memory. The kernel works on a stack of its own, answers in eax and
    // keeps the other registers but r8 to r11, which some kernels clear.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("eax") GETPID => answer,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    match u32::try_from(answer) {
        Ok(pid) if pid == std::process::id() => Ok(()),
        Ok(other) => Err(io::Error::other(format!("another call answered {other}"))),
        Err(_) => Err(Errno::from_raw(-answer).into()),
    }
}

pub(in super::super) fn clone_mount() -> io::Result<()> {
    // SAFETY: the name is a C string, and of nothing; the rest are numbers.
    but_for(
        unsafe {
            libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                c"/nowhere/at/all".as_ptr(),
                0,
            )
        },
        Errno::ENOENT,
    )
}

pub(in super::super) fn new_mount() -> io::Result<()> {
    // SAFETY: the name is a C string. What it makes is a descriptor, which ends with this process.
    simple(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) })
}

/// From `linux/keyctl.h`.
const KEY_SPEC_PROCESS_KEYRING: c_long = -2;
const KEYCTL_GET_KEYRING_ID: c_long = 0;

pub(in super::super) fn add_key() -> io::Result<()> {
    let secret = b"hostile";
    // SAFETY: kind and name are C strings, the content has the size given; the keyring ends with this process.
    simple(unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"user".as_ptr(),
            c"hostile".as_ptr(),
            secret.as_ptr(),
            secret.len(),
            KEY_SPEC_PROCESS_KEYRING,
        )
    })
}

pub(in super::super) fn keyring() -> io::Result<()> {
    // SAFETY: takes numbers; the keyring ends with this process.
    simple(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_GET_KEYRING_ID,
            KEY_SPEC_PROCESS_KEYRING,
            1,
        )
    })
}

/// Of a key that nobody has.
pub(in super::super) fn request_key() -> io::Result<()> {
    // SAFETY: kind and name are C strings; without information for it, no program is started to find the key.
    but_for(
        unsafe {
            libc::syscall(
                libc::SYS_request_key,
                c"user".as_ptr(),
                c"hostile-that-nobody-has".as_ptr(),
                null::<libc::c_char>(),
                0,
            )
        },
        Errno::ENOKEY,
    )
}

pub(in super::super) fn semaphores() -> io::Result<()> {
    // SAFETY: takes numbers.
    let id = Errno::result(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) })?;
    // SAFETY: IPC_RMID takes no argument.
    simple(unsafe { libc::semctl(id, 0, libc::IPC_RMID) }.into())
}

pub(in super::super) fn messages() -> io::Result<()> {
    // SAFETY: takes numbers.
    let id = Errno::result(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) })?;
    // SAFETY: IPC_RMID takes no buffer.
    simple(unsafe { libc::msgctl(id, libc::IPC_RMID, null_mut()) }.into())
}

/// Opens, to read, a queue that nobody made.
pub(in super::super) fn message_queue() -> io::Result<()> {
    // SAFETY: the name is a C string.
    but_for(
        unsafe {
            libc::syscall(
                libc::SYS_mq_open,
                c"hostile-that-nobody-made".as_ptr(),
                libc::O_RDONLY,
                0,
                null::<libc::c_void>(),
            )
        },
        Errno::ENOENT,
    )
}

/// An array of one number in the kernel.
pub(in super::super) fn bpf() -> io::Result<()> {
    const BPF_MAP_CREATE: c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    let map = [BPF_MAP_TYPE_ARRAY, 4, 4, 1];
    // SAFETY: the kernel reads the size given, which the words have; the rest of the attributes count as zero.
    simple(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            map.as_ptr(),
            size_of_val(&map),
        )
    })
}

/// Counts its own clock.
pub(in super::super) fn perf() -> io::Result<()> {
    // `perf_event_attr` of the first version: 64 bytes, type 1 (software), event 0 (the clock), kernel left out.
    const SIZE: u64 = 64;
    const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 0b11 << 5;
    let attributes: [u64; 8] = [
        1 | SIZE << 32,
        0,
        0,
        0,
        0,
        EXCLUDE_KERNEL_AND_HYPERVISOR,
        0,
        0,
    ];
    // SAFETY: the kernel reads as many bytes as the attributes say they have, which they do.
    simple(unsafe { libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0) })
}

pub(in super::super) fn userfaultfd() -> io::Result<()> {
    /// From `linux/userfaultfd.h`.
    const UFFD_USER_MODE_ONLY: c_long = 1;
    // SAFETY: takes a number.
    simple(unsafe { libc::syscall(libc::SYS_userfaultfd, UFFD_USER_MODE_ONLY) })
}

/// Sets the clock to nothing: a call that changes nothing.
pub(in super::super) fn set_clock() -> io::Result<()> {
    // SAFETY: both pointers may be null, and then nothing is set.
    simple(unsafe {
        libc::syscall(
            libc::SYS_settimeofday,
            null::<libc::c_void>(),
            null::<libc::c_void>(),
        )
    })
}

/// How long the kernel's log is.
pub(in super::super) fn kernel_log() -> io::Result<()> {
    const SYSLOG_ACTION_SIZE_BUFFER: c_long = 10;
    // SAFETY: this action reads no buffer.
    simple(unsafe {
        libc::syscall(
            libc::SYS_syslog,
            SYSLOG_ACTION_SIZE_BUFFER,
            null::<libc::c_void>(),
            0,
        )
    })
}

/// Asks for the kernel's way with it, and changes nothing.
pub(in super::super) fn personality() -> io::Result<()> {
    // SAFETY: takes a number.
    simple(unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffff_u32) })
}
