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
        probe!(refused "signal the gateway", |at| "signal", &gateway(at)),
        probe!(refused "signal another process", |at| "signal-urgent", &at.bystander()),
        probe!(refused "signal it with a message", |at| "signal-queued", &at.bystander()),
        probe!(refused "signal one of its threads", |at| "signal-thread", &at.bystander()),
        probe!(refused "signal it by a pidfd", |at| "signal-pidfd", &at.bystander()),
        probe!(refused "hold it by a pidfd", |at| "pidfd", &at.bystander()),
        probe!(refused "take a descriptor out of it", |at| "take-descriptor", &at.bystander()),
        probe!(refused "trace it", |at| "trace", &at.bystander()),
        probe!(refused "be traced", |_| "be-traced"),
        probe!(refused "read its memory", |at| "read-memory", &at.bystander()),
        probe!(refused "write its memory", |at| "write-memory", &at.bystander()),
        probe!(refused "say that it needs none of its memory", |at| "advise-memory", &at.bystander())
        .where_offered(&[]),
        probe!(refused "compare with it", |at| "compare", &at.bystander()),
        probe!(refused "read its environment", |at| "read", &format!("/proc/{}/environ", at.bystander)),
        probe!(refused "read its limits", |at| "limits-of", &at.bystander()),
        probe!(refused "read its priority", |at| "priority-of", &at.bystander()),
        probe!(refused "make it give way", |at| "renice", &at.bystander()),
        probe!(refused "say on which processors it runs", |at| "pin", &at.bystander()),
        probe!(refused "ask for its group", |at| "group-of", &at.bystander()),
        probe!(refused "ask for its session", |at| "session-of", &at.bystander()),
        probe!(refused "fork", |_| "fork"),
        Probe::refused("fork twice, to be away from its group", |_| away()),
        probe!(refused "clone into a user namespace", |_| "clone-user")
            .where_offered(offered::NAMESPACES),
        Probe::refused("leave the session (pretended)", |_| same_session()),
        Probe::refused("leave the group (pretended)", |_| another_group()),
        probe!(refused "live on when the gateway dies", |_| "death-signal"),
        probe!(refused "become the parent of orphans", |_| "subreaper"),
        probe!(refused "become dumpable", |_| "dumpable"),
        probe!(refused "raise its own limits", |_| "raise-limits"),
        probe!(refused "set its user", |_| "set-user"),
        probe!(refused "set its capabilities", |_| "capabilities"),
        probe!(refused "find a descriptor that was left open", |_| "stray-descriptor")
        .or(&[nix::errno::Errno::EBADF]),
        probe!(open "make a thread", |_| "thread"),
        probe!(open "ask on which processors another process may run", |at| "affinity-of", &at.bystander()),
    ],
};
