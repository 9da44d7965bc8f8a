//! The system calls that a coding agent does not have. It runs the owner's compilers and shells, so the list
//! names what reaches around Landlock or widens the kernel's surface, and allows the rest.
//!
//! Chosen by `(define plexus-system-calls "agent")` in the profile.

use libc::c_long;
use seccompiler::BackendError;

use super::syscalls::{Calls, FORKS, NEW_NAMESPACES, SOCKET_TYPE, Test, is, is_not, not_set, set};
use crate::ruleset::Ruleset;

const REFUSED: &[c_long] = &[
    // other processes
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // a second way to most calls, past these filters
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // namespaces and mounts
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // files without a path that Landlock would see, and watching those it would not let open
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_fanotify_init,
    libc::SYS_inotify_init1,
    // metadata by path, which Landlock does not see; on modes and times the monitor decides
    FILE_SETATTR,
    // devices, pipes and sockets with a name; a file comes to be by opening it
    libc::SYS_mknodat,
    // the kernel itself
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_vmsplice,
    // memory and queues shared by name, and those of other programs, for which a number that can be guessed is enough
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // a server's calls, and a batch of messages whose addresses nothing here can see
    libc::SYS_listen,
    libc::SYS_bind,
    libc::SYS_sendmmsg,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_inotify_init,
    libc::SYS_mknod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// What a file system may lack, so that tools do without: extended attributes by path or descriptor, which Landlock does not
/// see, and room on the disk taken at one go, which is gone before anybody has counted it.
pub(super) const UNSUPPORTED: &[c_long] = &[
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    libc::SYS_fallocate,
];

/// The same numbers on every architecture; not every C library names them.
pub(super) const FCHMODAT2: c_long = 452;
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

/// From `linux/fcntl.h`: how long what is written will live, which is kept with the file.
const F_SET_RW_HINT: i32 = 1036;
const F_SET_FILE_RW_HINT: i32 = 1038;

/// Calls that make a file where their flags say so: which, its flags and its mode. (Others may not write to it: the mask of
/// modes holds. On a folder the kernel sets no such bit.)
const MAKERS: &[(c_long, u8, u8)] = &[
    (libc::SYS_openat, 2, 3),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, 2),
];

/// From `linux/ioprio.h`: all processes of a user.
const IOPRIO_WHO_USER: i32 = 3;

/// What changes how another process of the same user runs, beside Landlock: it may do so to itself, by the number 0.
/// The process is the first argument.
const OF_ITSELF: [c_long; 5] = [
    libc::SYS_prlimit64,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
];

/// From `asm-generic/ioctls.h`, `linux/fs.h`, `linux/fsverity.h` and `linux/btrfs.h`: typing into a terminal, and what changes a
/// file or a folder through a descriptor that was opened to read. (Landlock's right to `ioctl` is about devices.)
const IOCTLS: [i64; 23] = [
    0x5412,      // TIOCSTI
    0x541c,      // TIOCLINUX
    0x4008_6602, // FS_IOC_SETFLAGS
    0x4004_6602, // FS_IOC32_SETFLAGS
    0x401c_5820, // FS_IOC_FSSETXATTR
    0x4008_7602, // FS_IOC_SETVERSION
    0x4004_7602, // FS_IOC32_SETVERSION
    0x4008_6604, // EXT4_IOC_SETVERSION
    0x4080_6685, // FS_IOC_ENABLE_VERITY
    0x5000_9401, // BTRFS_IOC_SNAP_CREATE
    0x5000_9417, // BTRFS_IOC_SNAP_CREATE_V2
    0x5000_940e, // BTRFS_IOC_SUBVOL_CREATE
    0x5000_9418, // BTRFS_IOC_SUBVOL_CREATE_V2
    0x5000_940f, // BTRFS_IOC_SNAP_DESTROY
    0x5000_943f, // BTRFS_IOC_SNAP_DESTROY_V2
    0x4008_941a, // BTRFS_IOC_SUBVOL_SETFLAGS
    0xc0c8_9425, // BTRFS_IOC_SET_RECEIVED_SUBVOL
    0x800c_6613, // FS_IOC_SET_ENCRYPTION_POLICY
    0xc050_6617, // FS_IOC_ADD_ENCRYPTION_KEY, of the whole file system, and the next one, which takes the user's away
    0xc040_6618, // FS_IOC_REMOVE_ENCRYPTION_KEY
    0x4030_5828, // FS_IOC_RESVSP, and the next two: `fallocate` by another way
    0x4030_582a, // FS_IOC_RESVSP64
    0x4030_5839, // FS_IOC_ZERO_RANGE
];

/// Owners of files, by path or descriptor.
const OWNERS: &[c_long] = &[libc::SYS_fchown, libc::SYS_fchownat];
#[cfg(target_arch = "x86_64")]
const OWNERS_HERE: &[c_long] = &[libc::SYS_chown, libc::SYS_lchown];
#[cfg(not(target_arch = "x86_64"))]
const OWNERS_HERE: &[c_long] = &[];

/// Calls that succeed without effect. An agent sets a death signal for each command that it starts, and gives up where it
/// cannot; its own ties it to its monitor, which ends them all. What it makes has its own owner, and a tool that keeps
/// owners would fail where its user is root. Its pages stay small, and the buffers of its sockets as the machine makes them:
/// the keeper counts both so.
pub(super) fn pretended() -> Result<Calls, BackendError> {
    let owners = Calls::default().any(OWNERS).any(OWNERS_HERE);
    let settings = [libc::PR_SET_PDEATHSIG, libc::PR_SET_THP_DISABLE].map(i64::from);
    let buffers = [is(1, libc::SOL_SOCKET), is(2, libc::SO_SNDBUF)];
    owners
        .one_of(libc::SYS_prctl, 0, &settings)?
        .when(libc::SYS_setsockopt, &buffers)
}

/// The calls that an agent under `ruleset` is refused.
pub(super) fn refused(ruleset: &Ruleset) -> Result<Calls, BackendError> {
    let mut calls = Calls::default()
        .any(REFUSED)
        .any(REFUSED_HERE)
        .one_of(libc::SYS_ioctl, 1, &IOCTLS)?
        .one_of(
            libc::SYS_prctl,
            0,
            &[
                libc::PR_SET_DUMPABLE,
                libc::PR_SET_CHILD_SUBREAPER,
                libc::PR_SET_PTRACER,
            ]
            .map(i64::from),
        )?
        .one_of(
            libc::SYS_fcntl,
            1,
            &[
                libc::F_SETLEASE,
                libc::F_NOTIFY,
                F_SET_RW_HINT,
                F_SET_FILE_RW_HINT,
            ]
            .map(i64::from),
        )?
        // Memory that is nobody's: it stays when what is counted of it is given back.
        .when(
            libc::SYS_mmap,
            &[set(3, libc::MAP_SHARED | libc::MAP_ANONYMOUS)],
        )?
        // Descriptors that only one thread has: the keeper sees those of a process.
        .when(
            libc::SYS_clone,
            &[set(0, libc::CLONE_THREAD), not_set(0, libc::CLONE_FILES)],
        )?
        .when(
            libc::SYS_close_range,
            &[set(2, libc::CLOSE_RANGE_UNSHARE as i32)],
        )?
        // A whiteout is a device, made where no rule grants one.
        .when(libc::SYS_renameat2, &[set(4, libc::RENAME_WHITEOUT as i32)])?
        // No address beside `connect`. One in a `sendmsg` nothing here can see, and a stream does not heed it.
        .when(libc::SYS_sendto, &[Test::NotNull { argument: 4 }])?
        .when(libc::SYS_sendto, &[set(3, libc::MSG_FASTOPEN)])?
        .when(libc::SYS_sendmsg, &[set(2, libc::MSG_FASTOPEN)])?
        // Bytes out of band: code of the kernel's that few programs need (CVE-2025-38236).
        .when(libc::SYS_sendto, &[set(3, libc::MSG_OOB)])?
        .when(libc::SYS_sendmsg, &[set(2, libc::MSG_OOB)])?
        .when(libc::SYS_recvfrom, &[set(3, libc::MSG_OOB)])?
        .when(libc::SYS_recvmsg, &[set(2, libc::MSG_OOB)])?
        .when(libc::SYS_recvmmsg, &[set(3, libc::MSG_OOB)])?;
    for call in OF_ITSELF {
        calls = calls.when(call, &[is_not(0, 0)])?;
    }
    // These say first whether a process is meant, a group or a user; 0 is its own, and its user is the owner.
    for (call, user) in [
        (libc::SYS_setpriority, libc::PRIO_USER as i32),
        (libc::SYS_ioprio_set, IOPRIO_WHO_USER),
    ] {
        calls = calls
            .when(call, &[is_not(1, 0)])?
            .when(call, &[is(0, user)])?;
    }
    if ruleset.keeps_modes {
        calls = calls.any(&[libc::SYS_fchmod]);
    }
    for bit in [libc::S_ISUID, libc::S_ISGID].map(|bit| bit as i32) {
        for &(call, flags, mode) in MAKERS {
            for makes in [libc::O_CREAT, libc::O_TMPFILE] {
                calls = calls.when(call, &[set(flags, makes), set(mode, bit)])?;
            }
        }
        #[cfg(target_arch = "x86_64")]
        {
            calls = calls.when(libc::SYS_creat, &[set(1, bit)])?;
        }
    }
    calls = sockets(calls, ruleset)?;
    for bit in (0..31)
        .map(|bit| 1_i32 << bit)
        .filter(|bit| (NEW_NAMESPACES | libc::CLONE_PARENT) & bit != 0)
    {
        calls = calls.when(libc::SYS_clone, &[set(0, bit)])?;
    }
    if ruleset.forks {
        return Ok(calls);
    }
    calls
        .any(FORKS)
        .when(libc::SYS_clone, &[not_set(0, libc::CLONE_THREAD)])
}

/// Only TCP clients, only where the profile names a port; stream and packet pairs for talking to itself.
fn sockets(calls: Calls, ruleset: &Ruleset) -> Result<Calls, BackendError> {
    let mut calls = calls.when(libc::SYS_socketpair, &[is_not(0, libc::AF_UNIX)])?;
    let other_types = (0..=SOCKET_TYPE).filter(|kind| *kind != libc::SOCK_STREAM as u32);
    // Pairs of packets are as fixed as pairs of streams: what is sent names nobody.
    let packets = libc::SOCK_SEQPACKET as u32;
    for kind in other_types.clone().filter(|kind| *kind != packets) {
        calls = calls.when(
            libc::SYS_socketpair,
            &[Test::Int {
                argument: 1,
                mask: SOCKET_TYPE,
                value: kind,
            }],
        )?;
    }
    if ruleset.connects.is_empty() {
        return Ok(calls.any(&[libc::SYS_socket]));
    }
    for kind in other_types {
        calls = calls.when(
            libc::SYS_socket,
            &[Test::Int {
                argument: 1,
                mask: SOCKET_TYPE,
                value: kind,
            }],
        )?;
    }
    calls
        .when(
            libc::SYS_socket,
            &[is_not(0, libc::AF_INET), is_not(0, libc::AF_INET6)],
        )?
        .when(
            libc::SYS_socket,
            &[is_not(2, 0), is_not(2, libc::IPPROTO_TCP)],
        )
}
