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
        Probe::refused("set the mode of a file outside", |at| {
            act(&["chmod", &at.outside("note.md")])
        }),
        Probe::refused("set the mode of a file inside by its path", |at| {
            act(&["chmod", &at.inside("note.md")])
        }),
        Probe::refused("set the owner of a file outside", |at| {
            act(&["chown", &at.outside("note.md")])
        }),
        Probe::refused("set the times of a file outside", |at| {
            act(&["utimes-path", &at.outside("note.md")])
        }),
        Probe::refused("set an attribute of a file outside", |at| {
            act(&["set-attribute", &at.outside("note.md")])
        }),
        Probe::refused("remove an attribute of a file outside", |at| {
            act(&["remove-attribute", &at.outside("note.md")])
        }),
        Probe::refused("list the attributes of a file outside", |at| {
            act(&["attributes", &at.outside("note.md")])
        }),
        Probe::refused("set flags through a descriptor for reading", |at| {
            act(&["set-flags", &at.inside("note.md")])
        }),
        Probe::refused("set the mode through a descriptor for reading", |at| {
            act(&["fchmod", "600", &at.inside("note.md")])
        }),
        Probe::refused("set the times through a descriptor for reading", |at| {
            act(&["futimes", &at.inside("note.md")])
        }),
        Probe::refused("make a file run as its owner", |at| {
            act(&["fchmod", "4700", &at.inside("note.md")])
        }),
        Probe::refused("make a file writable for everybody", |at| {
            act(&["fchmod", "666", &at.inside("note.md")])
        }),
        Probe::refused("create a file that everybody may write", |at| {
            for_all(at, "create-for-all", "unlink")
        }),
        Probe::refused("make a folder that everybody may write", |at| {
            for_all(at, "mkdir-for-all", "rmdir")
        }),
        Probe::refused("lock a range of a file inside", |at| {
            act(&["lock-by", "range", &at.inside("note.md")])
        }),
        Probe::refused("take a lease on a file", |at| {
            act(&["lease", &at.inside("note.md")])
        }),
        Probe::refused("watch a folder outside", |at| {
            act(&["watch", &at.outside("")])
        }),
        Probe::refused("watch a folder inside", |at| {
            act(&["watch", &at.inside("")])
        }),
        Probe::refused("be told of changes by a signal", |at| {
            act(&["be-told", &at.inside("")])
        }),
        Probe::refused("watch whole file systems", |_| act(&["watch-all"])).where_offered(&[]),
        Probe::refused("go to a folder outside", |at| {
            act(&["go-to", &at.outside("")])
        }),
        Probe::open(
            "ask whether a file outside exists, its size and its times",
            |at| act(&["stat", &at.outside("note.md")]),
        ),
        Probe::open("ask whether the user may read a file outside", |at| {
            act(&["access", &at.outside("note.md")])
        }),
        Probe::open("read where a link outside leads", |at| {
            act(&["read-link", &at.outside("link")])
        }),
        Probe::open("ask how full a file system is", |at| {
            act(&["file-system", &at.outside("")])
        }),
        Probe::open("hold a file outside by a handle that opens nothing", |at| {
            act(&["path-handle", &at.outside("note.md")])
        }),
        Probe::open("ask whether a process exists and whose it is", |at| {
            act(&["stat", &format!("/proc/{}", at.bystander)])
        }),
    ],
};
