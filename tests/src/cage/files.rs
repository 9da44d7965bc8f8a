//! Opening, changing and moving files: Landlock's part.

use super::{Family, Probe};
use nix::errno::Errno;
use plexus_hostile::{act, offered};

/// What a link or rename between two folders is answered, beside a plain refusal.
const MOVED: &[Errno] = &[Errno::EXDEV];
/// What becomes of a link that leads out, once it is swapped for a folder of that name and back.
const TURNED: &[Errno] = &[Errno::ENOTDIR];

pub(super) const FAMILY: Family = Family {
    title: "Files",
    probes: &[
        Probe::refused("read a file beside the source's folder", |at| {
            act(&["read", &at.outside("note.md")])
        }),
        Probe::refused("list the folder beside it", |at| {
            act(&["list", &at.outside("")])
        }),
        Probe::refused("read a file of another source", |at| {
            act(&["read", &at.neighbour("note.md")])
        }),
        Probe::refused("read the connection key", |at| {
            act(&["read", &at.state("connection-key")])
        }),
        Probe::refused("open the ledger", |at| {
            act(&["open", &at.state("ledger.redb")])
        }),
        Probe::refused("list the state directory", |at| {
            act(&["list", &at.state("")])
        }),
        Probe::refused("read the environment of a process", |_| {
            act(&["read", "/proc/self/environ"])
        }),
        Probe::refused("list the processes", |_| act(&["list", "/proc"])),
        Probe::refused("list the devices", |_| act(&["list", "/dev"])),
        Probe::refused("read the list of users", |_| act(&["read", "/etc/passwd"])),
        Probe::refused("create a file in shared memory", |at| {
            let path = format!("/dev/shm/plexus-hostile-{}", at.bystander);
            act(&["create", &path]).and_then(|_| act(&["unlink", &path]))
        }),
        Probe::refused("open a terminal", |_| act(&["append", "/dev/ptmx"])),
        Probe::refused("change a file outside", |at| {
            act(&["append", &at.outside("note.md")])
        }),
        Probe::refused("empty a file outside", |at| {
            act(&["truncate", &at.outside("note.md")])
        }),
        Probe::refused("empty a file outside by its path", |at| {
            act(&["truncate-path", &at.outside("note.md")])
        }),
        Probe::refused("create a file outside", |at| {
            act(&["create", &at.outside("new")])
        }),
        Probe::refused("create a file without a name outside", |at| {
            act(&["create-unnamed", &at.outside("")])
        }),
        Probe::refused("make a folder outside", |at| {
            act(&["mkdir", &at.outside("folder-new")])
        }),
        Probe::refused("remove a file outside", |at| {
            act(&["unlink", &at.outside("note.md")])
        }),
        Probe::refused("remove a folder outside", |at| {
            act(&["rmdir", &at.outside("folder")])
        }),
        Probe::refused("move a file out", |at| {
            act(&["rename", &at.inside("note.md"), &at.outside("moved")])
        })
        .or(MOVED),
        Probe::refused("move a file in", |at| {
            act(&["rename", &at.outside("note.md"), &at.inside("taken")])
        })
        .or(MOVED),
        Probe::refused("exchange a file with one outside", |at| {
            act(&["exchange", &at.inside("note.md"), &at.outside("note.md")])
        })
        .or(MOVED),
        Probe::refused("give a file outside a second name inside", |at| {
            act(&["link", &at.outside("note.md"), &at.inside("stolen")])
        })
        .or(MOVED),
        Probe::refused("give a file inside a second name outside", |at| {
            act(&["link", &at.inside("note.md"), &at.outside("leaked")])
        })
        .or(MOVED),
        Probe::refused("read through a link that leads out", |at| {
            act(&["read", &at.inside("leads-out")])
        }),
        Probe::refused("read through a folder that is swapped for a link", |at| {
            act(&["race", &at.inside("turning/note.md"), "outside\n"])
        })
        .or(TURNED)
        .while_turning(),
        Probe::refused("open again by /proc what a handle names", |at| {
            act(&["reopen", &at.outside("note.md")])
        }),
        Probe::refused("open a file by its handle", |at| {
            act(&["open-by-handle", &at.inside("note.md")])
        })
        .where_offered(offered::HANDLES),
        Probe::refused("plant a link inside", |at| {
            act(&["symlink", "/etc/passwd", &at.inside("planted")])
        }),
        Probe::refused("make a pipe with a name inside", |at| {
            act(&["fifo", &at.inside("pipe")])
        }),
        Probe::refused("make a device inside", |at| {
            act(&["device", &at.inside("device")])
        })
        .where_offered(&[]),
        Probe::refused(
            "leave a device behind a file that is renamed inside",
            |at| act(&["whiteout", &at.inside("note.md"), &at.inside("moved")]),
        )
        .where_offered(&[]),
        Probe::writer_may("change a file inside", |at| {
            act(&["append", &at.inside("note.md")])
        }),
        Probe::writer_may("create a file inside", |at| {
            act(&["create", &at.inside("new")])
        }),
        Probe::writer_may("create a file that the owner's tools run (.envrc)", |at| {
            act(&["create", &at.inside(".envrc")])
        }),
        Probe::writer_may("create a file without a name inside", |at| {
            act(&["create-unnamed", &at.inside("")])
        }),
        Probe::writer_may("remove a file inside", |at| {
            act(&["unlink", &at.inside("note.md")])
        }),
        Probe::writer_may("rename a file inside", |at| {
            act(&["rename", &at.inside("note.md"), &at.inside("renamed")])
        }),
        Probe::writer_may("lock a file inside", |at| {
            act(&["lock", &at.inside("note.md")])
        }),
        Probe::open("read a file inside", |at| {
            act(&["read", &at.inside("note.md")])
        }),
        Probe::open(
            "read a file outside of which the person made a second name inside",
            |at| act(&["read", &at.inside("second-name")]),
        ),
    ],
};
