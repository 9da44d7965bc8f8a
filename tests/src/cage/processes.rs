//! Other processes, and what ties this one to its gateway.

use super::{Family, Probe, Targets};
use plexus_hostile::{act, offered};

/// A success without effect is a refusal.
fn same_session() -> super::Attempt {
    let said = act(&["setsid"])?;
    if said == "same session" {
        Err(nix::errno::Errno::EPERM.into())
    } else {
        Ok(said)
    }
}

/// As [`same_session`]. What came of the fork has ended by then: its standard input had.
fn away() -> super::Attempt {
    let said = act(&["fork-twice"])?;
    if said == "same group" {
        Err(nix::errno::Errno::EPERM.into())
    } else {
        Ok(said)
    }
}

fn another_group() -> super::Attempt {
    let before = nix::unistd::getpgrp();
    act(&["setpgid"])?;
    // A leader's group is its own before and after: the control is started in another's.
    if nix::unistd::getpgrp() == before {
        Err(nix::errno::Errno::EPERM.into())
    } else {
        Ok(String::new())
    }
}

fn gateway(at: &Targets) -> String {
    at.gateway.to_string()
}

pub(super) const FAMILY: Family = Family {
    title: "Processes",
    probes: &[
        Probe::refused("signal the gateway", |at| act(&["signal", &gateway(at)])),
        Probe::refused("signal another process", |at| {
            act(&["signal-urgent", &at.bystander()])
        }),
        Probe::refused("signal it with a message", |at| {
            act(&["signal-queued", &at.bystander()])
        }),
        Probe::refused("signal one of its threads", |at| {
            act(&["signal-thread", &at.bystander()])
        }),
        Probe::refused("signal it by a pidfd", |at| {
            act(&["signal-pidfd", &at.bystander()])
        }),
        Probe::refused("hold it by a pidfd", |at| act(&["pidfd", &at.bystander()])),
        Probe::refused("take a descriptor out of it", |at| {
            act(&["take-descriptor", &at.bystander()])
        }),
        Probe::refused("trace it", |at| act(&["trace", &at.bystander()])),
        Probe::refused("be traced", |_| act(&["be-traced"])),
        Probe::refused("read its memory", |at| {
            act(&["read-memory", &at.bystander()])
        }),
        Probe::refused("write its memory", |at| {
            act(&["write-memory", &at.bystander()])
        }),
        Probe::refused("say that it needs none of its memory", |at| {
            act(&["advise-memory", &at.bystander()])
        })
        .where_offered(&[]),
        Probe::refused("compare with it", |at| act(&["compare", &at.bystander()])),
        Probe::refused("read its environment", |at| {
            act(&["read", &format!("/proc/{}/environ", at.bystander)])
        }),
        Probe::refused("read its limits", |at| act(&["limits-of", &at.bystander()])),
        Probe::refused("read its priority", |at| {
            act(&["priority-of", &at.bystander()])
        }),
        Probe::refused("make it give way", |at| act(&["renice", &at.bystander()])),
        Probe::refused("say on which processors it runs", |at| {
            act(&["pin", &at.bystander()])
        }),
        Probe::refused("ask for its group", |at| {
            act(&["group-of", &at.bystander()])
        }),
        Probe::refused("ask for its session", |at| {
            act(&["session-of", &at.bystander()])
        }),
        Probe::refused("fork", |_| act(&["fork"])),
        Probe::refused("fork twice, to be away from its group", |_| away()),
        Probe::refused("clone into a user namespace", |_| act(&["clone-user"]))
            .where_offered(offered::NAMESPACES),
        Probe::refused("leave the session (pretended)", |_| same_session()),
        Probe::refused("leave the group (pretended)", |_| another_group()),
        Probe::refused("live on when the gateway dies", |_| act(&["death-signal"])),
        Probe::refused("become the parent of orphans", |_| act(&["subreaper"])),
        Probe::refused("become dumpable", |_| act(&["dumpable"])),
        Probe::refused("raise its own limits", |_| act(&["raise-limits"])),
        Probe::refused("set its user", |_| act(&["set-user"])),
        Probe::refused("set its capabilities", |_| act(&["capabilities"])),
        Probe::refused("find a descriptor that was left open", |_| {
            act(&["stray-descriptor"])
        })
        .or(&[nix::errno::Errno::EBADF]),
        Probe::open("make a thread", |_| act(&["thread"])),
        Probe::open("ask on which processors another process may run", |at| {
            act(&["affinity-of", &at.bystander()])
        }),
    ],
};
