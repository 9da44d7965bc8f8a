//! Taking more than its part. Each is bounded by itself: the control takes as much from a machine without a cage.

use super::{Family, Probe};
use nix::errno::Errno;
use plexus_hostile::act;

/// More than the files that any worker maps, in bytes.
const BEYOND_ANY_MAP: u64 = 128 << 30;

pub(super) const FAMILY: Family = Family {
    title: "Exhaustion",
    probes: &[
        probe!(refused "eight children", |_| "fork-many", "8"),
        Probe::refused("more open files than its manifest allows", |at| {
            act(&["open-many", "/dev/null", &(at.open_files + 1).to_string()])
        })
        .or(&[Errno::EMFILE]),
        probe!(refused "a thread with open files of its own", |_| "thread-apart", "descriptors"),
        probe!(refused "open files of its own without a thread", |_| "descriptors-apart"),
        Probe::refused("a longer file than its manifest allows", |at| {
            let path = at.inside("long");
            let filled = act(&["fill", &path, &(at.file_bytes + 1).to_string()]);
            match act(&["unlink", &path]) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    filled.and(Err(error))
                }
                _ => filled,
            }
        })
        .or(&[Errno::EFBIG]),
        Probe::refused("1 GiB of memory more than its manifest allows", |at| {
            act(&["memory", &(at.memory + (1 << 30)).to_string()])
        })
        .or(&[Errno::ENOMEM]),
        probe!(refused "memory that counts as nobody's", |_| "memory-shared"),
        probe!(refused "memory that counts as a stack", |_| "memory-as-stack"),
        probe!(refused "memory of huge pages, which nothing counts as held", |_| "memory-huge")
            .where_offered(&[]),
        probe!(refused "more of memory that is there (mremap)", |_| "memory-moved"),
        probe!(refused "one more set of watches (epoll)", |_| "epoll", "new"),
        probe!(refused "256 signals that wait for it", |_| "signal-self-queued", "256")
            .or(&[Errno::EAGAIN]),
        Probe::refused(
            "128 GiB of memory, piece by piece, each no longer writable when the next is asked for",
            |_| act(&["memory-hidden", &BEYOND_ANY_MAP.to_string()]),
        )
        .or(&[Errno::ENOMEM]),
        Probe::refused(
            "128 GiB of addresses, for the kernel's tables about them",
            |_| act(&["addresses", &BEYOND_ANY_MAP.to_string()]),
        )
        .or(&[Errno::ENOMEM]),
        probe!(writer_may "sixteen small files: there is no quota", |at| "litter", &at.inside(""), "16"),
        probe!(open "sixteen threads: they are counted from outside", |_| "thread-many", "16"),
    ],
};
