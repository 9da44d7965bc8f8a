//! The system calls of a leaf worker: one process that serves files over the stream it was given.
//!
//! The list is what the C library, Rust's standard library, a tokio `current_thread` runtime with its blocking
//! pool, and work on files need. What is not here answers EPERM: among them `memfd_create`, `io_uring_*`,
//! `inotify_*`, `ptrace`, `unshare`, `mount`, and `socket` unless the profile names a TCP port or a Unix socket.

use libc::c_long;
use nix::unistd::{getpgrp, getpid};
use seccompiler::BackendError;

use super::syscalls::{Calls, FORKS, NEW_NAMESPACES, SOCKET_TYPE, Test, is, not_set, set};
use crate::children::KEEPER_FD;
use crate::ruleset::Ruleset;

/// Memory, threads, time, signals, and the process's view of itself.
const PROCESS: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_mseal,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity, // the C library asks by thread id
    libc::SYS_sched_yield,
    libc::SYS_clone3, // answered ENOSYS by the filter for absent calls
    libc::SYS_setsid, // answered 0 by the filter for pretended calls
    libc::SYS_setpgid,
    libc::SYS_execve, // until the worker gives it up; Landlock says what may be executed
    libc::SYS_execveat,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
    libc::SYS_getcpu,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getuid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_capget,
];

/// Descriptors and waiting on them.
const DESCRIPTORS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
];

/// Looking at files; Landlock says which may be opened, and for what.
const FILES: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
];

/// Changing files: only where the profile grants a write, so that a reader has none of them whatever it holds.
const CHANGES: &[c_long] = &[
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_flock, // where there is a monitor, of what it may write alone
];

/// Talking over the inherited stream. The calls that take an address or flags are in [`calls`].
const STREAM: &[c_long] = &[
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_shutdown,
];

#[cfg(target_arch = "x86_64")]
mod machine {
    //! Older spellings, which only this machine has.
    use libc::c_long;

    pub(super) const PROCESS: &[c_long] =
        &[libc::SYS_arch_prctl, libc::SYS_getpgrp, libc::SYS_time];
    pub(super) const DESCRIPTORS: &[c_long] = &[
        libc::SYS_dup2,
        libc::SYS_epoll_wait,
        libc::SYS_pipe,
        libc::SYS_poll,
        libc::SYS_select,
    ];
    pub(super) const FILES: &[c_long] = &[
        libc::SYS_open,
        libc::SYS_access,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_readlink,
    ];
    pub(super) const CHANGES: &[c_long] = &[
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_link,
        libc::SYS_symlink,
    ];
}
#[cfg(target_arch = "aarch64")]
mod machine {
    //! Older spellings, which only this machine has.
    use libc::c_long;

    pub(super) const PROCESS: &[c_long] = &[];
    pub(super) const DESCRIPTORS: &[c_long] = &[];
    pub(super) const FILES: &[c_long] = &[];
    pub(super) const CHANGES: &[c_long] = &[libc::SYS_renameat];
}

/// From `linux/prctl.h`: names of memory areas, which allocators set for debugging.
const PR_SET_VMA: i32 = 0x5356_4d41;
/// From `asm-generic/ioctls.h`.
const IOCTLS: [i64; 5] = [
    0x5401, /* TCGETS */
    0x541b, /* FIONREAD */
    0x5421, /* FIONBIO */
    0x5450, /* FIONCLEX */
    0x5451, /* FIOCLEX */
];

/// Memory that grows like a stack, which is in no count of what a process can write; and huge pages, which are in
/// none of what it holds. There is no `mremap`, which makes more of a stack and counts it as one.
const UNCOUNTED: i32 = libc::MAP_GROWSDOWN | libc::MAP_HUGETLB;

/// What a thread is, and what it shares with the others.
const THREAD: i32 = libc::CLONE_THREAD | libc::CLONE_FILES | libc::CLONE_FS;

/// What bounds the signals of a leaf worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signals {
    /// Landlock: its own domain.
    Scoped,
    /// These filters, where Landlock has no scopes: the numbers of its own process and, if it leads one, its group.
    Only {
        /// Its number, which an exec keeps.
        process: i32,
        /// Whether a group has that number: then this one made it, and all in it descend from it.
        leads: bool,
    },
}

impl Signals {
    /// Of the calling process, which is about to become the worker.
    pub(super) fn own_process() -> Self {
        let process = getpid();
        Self::Only {
            process: process.as_raw(),
            leads: getpgrp() == process,
        }
    }

    fn add_to(self, calls: Calls) -> Result<Calls, BackendError> {
        let (process, leads) = match self {
            Self::Scoped => {
                return Ok(calls.any(&[libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill]));
            }
            Self::Only { process, leads } => (process, leads),
        };
        // No tkill: it names a thread and not whose.
        let calls = calls
            .when(libc::SYS_kill, &[is(0, process)])?
            .when(libc::SYS_tgkill, &[is(0, process)])?;
        if !leads {
            return Ok(calls);
        }
        calls
            .when(libc::SYS_kill, &[is(0, 0)])?
            .when(libc::SYS_kill, &[is(0, -process)])
    }
}

/// The calls of a leaf worker under `ruleset`; `keeps` where it has a keeper, which sends it pipes.
pub(super) fn calls(
    ruleset: &Ruleset,
    signals: Signals,
    keeps: bool,
) -> Result<Calls, BackendError> {
    let mut calls = Calls::default()
        .any(PROCESS)
        .any(DESCRIPTORS)
        .any(FILES)
        .any(STREAM)
        .any(machine::PROCESS)
        .any(machine::DESCRIPTORS)
        .any(machine::FILES)
        // Memory of its own, which is counted and limited, or a file's; not memory that is nobody's.
        .when(libc::SYS_mmap, &[not_set(3, libc::MAP_SHARED | UNCOUNTED)])?
        .when(
            libc::SYS_mmap,
            &[not_set(3, libc::MAP_ANONYMOUS | UNCOUNTED)],
        )?
        // Of other processes it may not even ask.
        .when(libc::SYS_getpgid, &[is(0, 0)])?
        .when(libc::SYS_getsid, &[is(0, 0)])?
        .when(libc::SYS_prlimit64, &[is(0, 0), Test::Null { argument: 2 }])?
        // No death signal, dumpability, subreaper, keepcaps; a further filter only takes away.
        .one_of(
            libc::SYS_prctl,
            0,
            &[
                libc::PR_SET_NAME,
                libc::PR_GET_NAME,
                libc::PR_SET_NO_NEW_PRIVS,
                libc::PR_GET_NO_NEW_PRIVS,
                libc::PR_GET_PDEATHSIG,
                PR_SET_VMA,
            ]
            .map(i64::from),
        )?
        .when(
            libc::SYS_seccomp,
            &[
                is(0, libc::SECCOMP_SET_MODE_FILTER as i32),
                not_set(1, !(libc::SECCOMP_FILTER_FLAG_TSYNC as i32)),
            ],
        )?
        // No leases, notifications or signals on descriptors: those reach other programs.
        .one_of(
            libc::SYS_fcntl,
            1,
            &[
                libc::F_DUPFD,
                libc::F_DUPFD_CLOEXEC,
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_GETFL,
                libc::F_SETFL,
            ]
            .map(i64::from),
        )?
        .one_of(libc::SYS_ioctl, 1, &IOCTLS)?
        // What a stream is and what became of it; not who is on the other side, by a hold on that process.
        .when(
            libc::SYS_getsockopt,
            &[is(1, libc::SOL_SOCKET), is(2, libc::SO_ERROR)],
        )?
        .when(
            libc::SYS_getsockopt,
            &[is(1, libc::SOL_SOCKET), is(2, libc::SO_TYPE)],
        )?
        // A datagram pair can send to any path: streams only, and nothing sent to an address.
        .when(
            libc::SYS_socketpair,
            &[
                is(0, libc::AF_UNIX),
                Test::Int {
                    argument: 1,
                    mask: SOCKET_TYPE,
                    value: libc::SOCK_STREAM as u32,
                },
            ],
        )?
        // Nor anything out of band, which is code of the kernel's that nothing here needs (CVE-2025-38236), and no message:
        // descriptors come with those, and on their way they are in no process's limit.
        .when(
            libc::SYS_sendto,
            &[
                Test::Null { argument: 4 },
                not_set(3, libc::MSG_FASTOPEN | libc::MSG_OOB),
            ],
        )?
        .when(libc::SYS_recvfrom, &[not_set(3, libc::MSG_OOB)])?
        // Threads as every C library makes them. One with descriptors of its own would have their limit once more.
        .when(
            libc::SYS_clone,
            &[Test::Int {
                argument: 0,
                mask: (THREAD | NEW_NAMESPACES) as u32,
                value: THREAD as u32,
            }],
        )?
        .when(
            libc::SYS_close_range,
            &[not_set(2, libc::CLOSE_RANGE_UNSHARE as i32)],
        )?;
    calls = signals.add_to(calls)?;
    if keeps {
        // From the keeper alone, and as many as it sends: the worker has no call that sends one.
        calls = calls.when(
            libc::SYS_recvmsg,
            &[is(0, KEEPER_FD), not_set(2, libc::MSG_OOB)],
        )?;
    }
    if ruleset.forks {
        calls = calls.any(FORKS).when(
            libc::SYS_clone,
            &[not_set(0, NEW_NAMESPACES | libc::CLONE_PARENT)],
        )?;
    }
    if !ruleset.connects.is_empty() {
        calls = with_tcp(calls)?;
    }
    if !ruleset.sockets.is_empty() {
        calls = with_unix_sockets(calls)?;
    }
    if ruleset.accepts.is_some() {
        // On what it was given: it can neither bind nor listen.
        calls = calls.any(&[libc::SYS_accept4]);
    }
    if !ruleset.writes.is_empty() {
        calls = with_changes(calls)?;
    }
    Ok(calls)
}

/// A TCP client. Landlock knows the port of a `connect` on plain TCP only, so there is no other socket.
fn with_tcp(calls: Calls) -> Result<Calls, BackendError> {
    let mut calls = calls.any(&[libc::SYS_connect]);
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [0, libc::IPPROTO_TCP] {
            let stream = Test::Int {
                argument: 1,
                mask: SOCKET_TYPE,
                value: libc::SOCK_STREAM as u32,
            };
            calls = calls.when(libc::SYS_socket, &[is(0, family), stream, is(2, protocol)])?;
        }
    }
    calls
        .when(
            libc::SYS_setsockopt,
            &[is(1, libc::IPPROTO_TCP), is(2, libc::TCP_NODELAY)],
        )?
        .when(
            libc::SYS_setsockopt,
            &[is(1, libc::SOL_SOCKET), is(2, libc::SO_KEEPALIVE)],
        )
}

/// A client of Unix sockets. Below version 9 Landlock knows no path of a `connect`: the monitor makes each, so that there
/// is no other way to send. Who is at the other end may be asked, by number.
fn with_unix_sockets(calls: Calls) -> Result<Calls, BackendError> {
    let stream = Test::Int {
        argument: 1,
        mask: SOCKET_TYPE,
        value: libc::SOCK_STREAM as u32,
    };
    calls
        .any(&[libc::SYS_connect])
        .when(libc::SYS_socket, &[is(0, libc::AF_UNIX), stream, is(2, 0)])?
        .when(
            libc::SYS_getsockopt,
            &[is(1, libc::SOL_SOCKET), is(2, libc::SO_PEERCRED)],
        )
}

/// A writer. Modes only as a file is made; no times, no locks of ranges; no change of owner, attributes or flags. No mask of
/// modes lets others write: the launcher has set one, and not every call that makes a file shows its mode to a filter.
fn with_changes(calls: Calls) -> Result<Calls, BackendError> {
    calls
        .any(CHANGES)
        .any(machine::CHANGES)
        .when(libc::SYS_umask, &[set(0, libc::S_IWOTH as i32)])?
        // A whiteout is a device, made where no rule grants one.
        .when(
            libc::SYS_renameat2,
            &[not_set(4, libc::RENAME_WHITEOUT as i32)],
        )
}
