//! Running code that the worker did not come with.

use super::{Attempt, Family, Probe};
use nix::errno::Errno;
use plexus_hostile::act;

const LOADER: &str = if cfg!(target_arch = "aarch64") {
    "/lib/ld-linux-aarch64.so.1"
} else {
    "/lib64/ld-linux-x86-64.so.2"
};

/// What the kernel says to who would write to a program that runs, before it asks the cage.
const RUNNING: &[Errno] = &[Errno::ETXTBSY];

/// The working folder that a worker has is one that leads nowhere: anything else would be the gateway's.
fn left_in() -> Attempt {
    let folder = act(&["here"])?;
    if folder == "/" {
        Err(Errno::EPERM.into())
    } else {
        Ok(folder)
    }
}

pub(super) const FAMILY: Family = Family {
    title: "Programs",
    probes: &[
        probe!(refused "execute a program of the system", |_| "exec-in-vain", "/usr/bin/true"),
        probe!(refused "start one as a child", |_| "spawn", "/usr/bin/true"),
        probe!(refused "execute a program in the source's folder", |at| "exec-in-vain", &at.inside("program")),
        probe!(refused "execute its own program again", |at| "exec-in-vain", &at.program.display().to_string()),
        probe!(refused "execute the loader", |_| "exec-in-vain", LOADER),
        probe!(refused "open its own program for writing", |at| "open-to-write", &at.written[0].display().to_string())
        .or(RUNNING),
        Probe::refused("open the launcher's program for writing", |at| {
            act(&["open-to-write", &at.written[1].display().to_string()])
        })
        .or(RUNNING),
        Probe::refused("make a file beside its own program", |at| {
            let path = at.program.with_file_name("plexus-worker-planted");
            let path = path.display().to_string();
            act(&["create", &path]).and_then(|_| act(&["unlink", &path]))
        }),
        Probe::refused("find itself in a folder that was left to it", |_| left_in()),
        probe!(refused "make a file in memory", |_| "memfd"),
        probe!(open "map a file inside as code, without executing it", |at| "map-code", &at.inside("program")),
        probe!(open "have memory that is written and run", |_| "map-both"),
    ],
};

pub(super) const BORN_HOSTILE: Family = Family {
    title: "A program that was hostile before it gave up exec (the launcher's cage alone)",
    probes: &[
        probe!(refused "execute a program of the system, from the start", |_| "exec-in-vain", "/usr/bin/true"),
        Probe::refused(
            "execute a program in the source's folder, from the start",
            |at| act(&["exec-in-vain", &at.inside("program")]),
        ),
        probe!(refused "start a child, from the start", |_| "fork"),
        Probe::open("execute its own program again, from the start", |at| {
            act(&["exec-in-vain", &at.program.display().to_string()])
        }),
        probe!(open "execute the loader, from the start, and stay in the cage", |_| "exec-in-vain", LOADER),
    ],
};
