//! What is known of a file without opening it, and what is changed of it beside its content: seccomp's part.

use super::{Attempt, Family, Probe, Targets};
use plexus_hostile::act;

/// What was made is removed again; the act itself removes what is not for all, which is a refusal.
fn for_all(at: &Targets, make: &str, remove: &str) -> Attempt {
    let path = at.inside("for-all");
    act(&[make, &path])?;
    act(&[remove, &path])
}

pub(super) const FAMILY: Family = Family {
    title: "Metadata and watches",
    probes: &[
        probe!(refused "set the mode of a file outside", |at| "chmod", &at.outside("note.md")),
        probe!(refused "set the mode of a file inside by its path", |at| "chmod", &at.inside("note.md")),
        probe!(refused "set the owner of a file outside", |at| "chown", &at.outside("note.md")),
        probe!(refused "set the times of a file outside", |at| "utimes-path", &at.outside("note.md")),
        probe!(refused "set an attribute of a file outside", |at| "set-attribute", &at.outside("note.md")),
        probe!(refused "remove an attribute of a file outside", |at| "remove-attribute", &at.outside("note.md")),
        probe!(refused "list the attributes of a file outside", |at| "attributes", &at.outside("note.md")),
        probe!(refused "set flags through a descriptor for reading", |at| "set-flags", &at.inside("note.md")),
        probe!(refused "set the mode through a descriptor for reading", |at| "fchmod", "600", &at.inside("note.md")),
        probe!(refused "set the times through a descriptor for reading", |at| "futimes", &at.inside("note.md")),
        probe!(refused "make a file run as its owner", |at| "fchmod", "4700", &at.inside("note.md")),
        probe!(refused "make a file writable for everybody", |at| "fchmod", "666", &at.inside("note.md")),
        Probe::refused("create a file that everybody may write", |at| {
            for_all(at, "create-for-all", "unlink")
        }),
        Probe::refused("make a folder that everybody may write", |at| {
            for_all(at, "mkdir-for-all", "rmdir")
        }),
        probe!(refused "lock a range of a file inside", |at| "lock-by", "range", &at.inside("note.md")),
        probe!(refused "take a lease on a file", |at| "lease", &at.inside("note.md")),
        probe!(refused "watch a folder outside", |at| "watch", &at.outside("")),
        probe!(refused "watch a folder inside", |at| "watch", &at.inside("")),
        probe!(refused "be told of changes by a signal", |at| "be-told", &at.inside("")),
        probe!(refused "watch whole file systems", |_| "watch-all").where_offered(&[]),
        probe!(refused "go to a folder outside", |at| "go-to", &at.outside("")),
        probe!(open "ask whether a file outside exists, its size and its times", |at| "stat", &at.outside("note.md")),
        probe!(open "ask whether the user may read a file outside", |at| "access", &at.outside("note.md")),
        probe!(open "read where a link outside leads", |at| "read-link", &at.outside("link")),
        probe!(open "ask how full a file system is", |at| "file-system", &at.outside("")),
        probe!(open "hold a file outside by a handle that opens nothing", |at| "path-handle", &at.outside("note.md")),
        probe!(open "ask whether a process exists and whose it is", |at| "stat", &format!("/proc/{}", at.bystander)),
    ],
};
