//! The kernel's odd corners.

use super::{Family, Probe};
use nix::errno::Errno;
use plexus_hostile::{act, offered};

/// Asked for with nothing, which is answered EINVAL where it is asked at all.
fn clone3() -> super::Attempt {
    act(&["clone3"]).or_else(|error| match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL) => Ok(String::new()),
        _ => Err(error),
    })
}

pub(super) const FAMILY: Family = Family {
    title: "The kernel",
    probes: &[
        probe!(refused "a user namespace", |_| "unshare", "user")
            .where_offered(offered::NAMESPACES),
        probe!(refused "a network namespace", |_| "unshare", "network")
            .where_offered(offered::NAMESPACES),
        probe!(refused "a mount namespace", |_| "unshare", "mounts")
            .where_offered(offered::NAMESPACES),
        probe!(refused "a process namespace", |_| "unshare", "processes")
            .where_offered(offered::NAMESPACES),
        probe!(refused "join a namespace", |_| "join-namespace"),
        probe!(refused "mount", |_| "mount"),
        probe!(refused "unmount", |_| "unmount"),
        probe!(refused "make another folder its root (chroot)", |_| "chroot"),
        probe!(refused "exchange its root (pivot_root)", |_| "pivot-root").where_offered(&[]),
        probe!(refused "clone a mount", |_| "clone-mount"),
        probe!(refused "prepare a mount", |_| "new-mount").where_offered(&[]),
        probe!(refused "io_uring", |_| "io-uring").where_offered(&[]),
        probe!(refused "add a key", |_| "add-key").where_offered(offered::KEYS),
        probe!(refused "have a keyring", |_| "keyring").where_offered(offered::KEYS),
        probe!(refused "ask for a key", |_| "request-key").where_offered(&[]),
        probe!(refused "System V shared memory", |_| "shared-memory"),
        probe!(refused "System V semaphores", |_| "semaphores"),
        probe!(refused "System V messages", |_| "messages"),
        probe!(refused "a POSIX message queue", |_| "message-queue").where_offered(&[]),
        probe!(refused "bpf", |_| "bpf").where_offered(&[]),
        probe!(refused "performance counters", |_| "perf").where_offered(&[]),
        probe!(refused "userfaultfd", |_| "userfaultfd").where_offered(&[]),
        Probe::refused("clone3, whose flags no filter sees", |_| clone3()).or(&[Errno::ENOSYS]),
        probe!(refused "the calls of another machine (x32)", |_| "x32").where_offered(&[]),
        probe!(refused "type into a terminal (TIOCSTI)", |_| "terminal-input"),
        probe!(refused "the same, with bits that the kernel does not read", |_| "terminal-input-high"),
        probe!(refused "paste into a console (TIOCLINUX)", |_| "terminal-paste"),
        probe!(refused "set the clock", |_| "set-clock").where_offered(&[]),
        probe!(refused "read the kernel's log", |_| "kernel-log").where_offered(&[]),
        probe!(refused "another personality", |_| "personality"),
        probe!(open "ask for the kernel's version", |_| "machine"),
    ],
};

/// A call of the 32-bit machine. On others no running program has a second way into its kernel.
#[cfg(target_arch = "x86_64")]
pub(super) const ENDS: Probe = probe!(refused "the calls of another machine (32-bit)", |_| "int80");
