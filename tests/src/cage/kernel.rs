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
        Probe::refused("a user namespace", |_| act(&["unshare", "user"]))
            .where_offered(offered::NAMESPACES),
        Probe::refused("a network namespace", |_| act(&["unshare", "network"]))
            .where_offered(offered::NAMESPACES),
        Probe::refused("a mount namespace", |_| act(&["unshare", "mounts"]))
            .where_offered(offered::NAMESPACES),
        Probe::refused("a process namespace", |_| act(&["unshare", "processes"]))
            .where_offered(offered::NAMESPACES),
        Probe::refused("join a namespace", |_| act(&["join-namespace"])),
        Probe::refused("mount", |_| act(&["mount"])),
        Probe::refused("unmount", |_| act(&["unmount"])),
        Probe::refused("make another folder its root (chroot)", |_| {
            act(&["chroot"])
        }),
        Probe::refused("exchange its root (pivot_root)", |_| act(&["pivot-root"]))
            .where_offered(&[]),
        Probe::refused("clone a mount", |_| act(&["clone-mount"])),
        Probe::refused("prepare a mount", |_| act(&["new-mount"])).where_offered(&[]),
        Probe::refused("io_uring", |_| act(&["io-uring"])).where_offered(&[]),
        Probe::refused("add a key", |_| act(&["add-key"])).where_offered(offered::KEYS),
        Probe::refused("have a keyring", |_| act(&["keyring"])).where_offered(offered::KEYS),
        Probe::refused("ask for a key", |_| act(&["request-key"])).where_offered(&[]),
        Probe::refused("System V shared memory", |_| act(&["shared-memory"])),
        Probe::refused("System V semaphores", |_| act(&["semaphores"])),
        Probe::refused("System V messages", |_| act(&["messages"])),
        Probe::refused("a POSIX message queue", |_| act(&["message-queue"])).where_offered(&[]),
        Probe::refused("bpf", |_| act(&["bpf"])).where_offered(&[]),
        Probe::refused("performance counters", |_| act(&["perf"])).where_offered(&[]),
        Probe::refused("userfaultfd", |_| act(&["userfaultfd"])).where_offered(&[]),
        Probe::refused("clone3, whose flags no filter sees", |_| clone3()).or(&[Errno::ENOSYS]),
        Probe::refused("the calls of another machine (x32)", |_| act(&["x32"])).where_offered(&[]),
        Probe::refused("type into a terminal (TIOCSTI)", |_| {
            act(&["terminal-input"])
        }),
        Probe::refused("the same, with bits that the kernel does not read", |_| {
            act(&["terminal-input-high"])
        }),
        Probe::refused("paste into a console (TIOCLINUX)", |_| {
            act(&["terminal-paste"])
        }),
        Probe::refused("set the clock", |_| act(&["set-clock"])).where_offered(&[]),
        Probe::refused("read the kernel's log", |_| act(&["kernel-log"])).where_offered(&[]),
        Probe::refused("another personality", |_| act(&["personality"])),
        Probe::open("ask for the kernel's version", |_| act(&["machine"])),
    ],
};

/// A call of the 32-bit machine. On others no running program has a second way into its kernel.
#[cfg(target_arch = "x86_64")]
pub(super) const ENDS: Probe =
    Probe::refused("the calls of another machine (32-bit)", |_| act(&["int80"]));
