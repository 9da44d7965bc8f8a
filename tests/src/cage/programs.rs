//! Running code that the worker did not come with.

use super::{Family, Probe};
use plexus_hostile::act;

const LOADER: &str = if cfg!(target_arch = "aarch64") {
    "/lib/ld-linux-aarch64.so.1"
} else {
    "/lib64/ld-linux-x86-64.so.2"
};

pub(super) const FAMILY: Family = Family {
    title: "Programs",
    probes: &[
        Probe::refused("execute a program of the system", |_| {
            act(&["exec-in-vain", "/usr/bin/true"])
        }),
        Probe::refused("start one as a child", |_| act(&["spawn", "/usr/bin/true"])),
        Probe::refused("execute a program in the source's folder", |at| {
            act(&["exec-in-vain", &at.inside("program")])
        }),
        Probe::refused("execute its own program again", |at| {
            act(&["exec-in-vain", &at.program.display().to_string()])
        }),
        Probe::refused("execute the loader", |_| act(&["exec-in-vain", LOADER])),
        Probe::refused("make a file in memory", |_| act(&["memfd"])),
        Probe::open("map a file inside as code, without executing it", |at| {
            act(&["map-code", &at.inside("program")])
        }),
        Probe::open("have memory that is written and run", |_| {
            act(&["map-both"])
        }),
    ],
};

pub(super) const BORN_HOSTILE: Family = Family {
    title: "A program that was hostile before it gave up exec (the launcher's cage alone)",
    probes: &[
        Probe::refused("execute a program of the system, from the start", |_| {
            act(&["exec-in-vain", "/usr/bin/true"])
        }),
        Probe::refused(
            "execute a program in the source's folder, from the start",
            |at| act(&["exec-in-vain", &at.inside("program")]),
        ),
        Probe::refused("start a child, from the start", |_| act(&["fork"])),
        Probe::open("execute its own program again, from the start", |at| {
            act(&["exec-in-vain", &at.program.display().to_string()])
        }),
        Probe::open(
            "execute the loader, from the start, and stay in the cage",
            |_| act(&["exec-in-vain", LOADER]),
        ),
    ],
};
