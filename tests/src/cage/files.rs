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
        probe!(refused "read a file beside the source's folder", |at| "read", &at.outside("note.md")),
        probe!(refused "list the folder beside it", |at| "list", &at.outside("")),
        probe!(refused "read a file of another source", |at| "read", &at.neighbour("note.md")),
        probe!(refused "read the connection key", |at| "read", &at.state("connection-key")),
        probe!(refused "open the ledger", |at| "open", &at.state("ledger.redb")),
        probe!(refused "list the state directory", |at| "list", &at.state("")),
        probe!(refused "read the environment of a process", |_| "read", "/proc/self/environ"),
        probe!(refused "list the processes", |_| "list", "/proc"),
        probe!(refused "list the devices", |_| "list", "/dev"),
        probe!(refused "read the list of users", |_| "read", "/etc/passwd"),
        Probe::refused("create a file in shared memory", |at| {
            let path = format!("/dev/shm/plexus-hostile-{}", at.bystander);
            act(&["create", &path]).and_then(|_| act(&["unlink", &path]))
        }),
        probe!(refused "open a terminal", |_| "append", "/dev/ptmx"),
        probe!(refused "change a file outside", |at| "append", &at.outside("note.md")),
        probe!(refused "empty a file outside", |at| "truncate", &at.outside("note.md")),
        probe!(refused "empty a file outside by its path", |at| "truncate-path", &at.outside("note.md")),
        probe!(refused "create a file outside", |at| "create", &at.outside("new")),
        probe!(refused "create a file without a name outside", |at| "create-unnamed", &at.outside("")),
        probe!(refused "make a folder outside", |at| "mkdir", &at.outside("folder-new")),
        probe!(refused "remove a file outside", |at| "unlink", &at.outside("note.md")),
        probe!(refused "remove a folder outside", |at| "rmdir", &at.outside("folder")),
        probe!(refused "move a file out", |at| "rename", &at.inside("note.md"), &at.outside("moved"))
        .or(MOVED),
        probe!(refused "move a file in", |at| "rename", &at.outside("note.md"), &at.inside("taken"))
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
        probe!(refused "read through a link that leads out", |at| "read", &at.inside("leads-out")),
        Probe::refused("read through a folder that is swapped for a link", |at| {
            act(&["race", &at.inside("turning/note.md"), "outside\n"])
        })
        .or(TURNED)
        .while_turning(),
        probe!(refused "open again by /proc what a handle names", |at| "reopen", &at.outside("note.md")),
        probe!(refused "open a file by its handle", |at| "open-by-handle", &at.inside("note.md"))
        .where_offered(offered::HANDLES),
        probe!(refused "plant a link inside", |at| "symlink", "/etc/passwd", &at.inside("planted")),
        probe!(refused "make a pipe with a name inside", |at| "fifo", &at.inside("pipe")),
        probe!(refused "make a device inside", |at| "device", &at.inside("device"))
        .where_offered(&[]),
        Probe::refused(
            "leave a device behind a file that is renamed inside",
            |at| act(&["whiteout", &at.inside("note.md"), &at.inside("moved")]),
        )
        .where_offered(&[]),
        probe!(writer_may "change a file inside", |at| "append", &at.inside("note.md")),
        probe!(writer_may "create a file inside", |at| "create", &at.inside("new")),
        probe!(writer_may "create a file that the owner's tools run (.envrc)", |at| "create", &at.inside(".envrc")),
        probe!(writer_may "create a file without a name inside", |at| "create-unnamed", &at.inside("")),
        probe!(writer_may "remove a file inside", |at| "unlink", &at.inside("note.md")),
        probe!(writer_may "rename a file inside", |at| "rename", &at.inside("note.md"), &at.inside("renamed")),
        probe!(writer_may "lock a file inside", |at| "lock", &at.inside("note.md")),
        probe!(open "read a file inside", |at| "read", &at.inside("note.md")),
        Probe::open(
            "read a file outside of which the person made a second name inside",
            |at| act(&["read", &at.inside("second-name")]),
        ),
    ],
};
