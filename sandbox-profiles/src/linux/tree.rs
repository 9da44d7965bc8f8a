//! All that descends from a program, whatever group or session it has gone to.
//!
//! Invariants: what is killed here descends from this process; [`end`] returns only when nothing of it is left.

use std::io;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};
use nix::unistd::Pid;

/// Makes this process the one that its descendants come back to when their own parents end.
///
/// # Errors
/// Where the kernel does not say who descends from whom, nothing could be ended.
pub(super) fn adopt_orphans() -> io::Result<()> {
    std::fs::read_to_string(format!(
        "/proc/self/task/{}/children",
        nix::unistd::gettid()
    ))?;
    Ok(prctl::set_child_subreaper(true)?)
}

/// Kills this process's children, and reaps them, until there is none: theirs come back here when they end. A child that
/// is not reaped yet keeps its number, so nobody else is killed.
pub(super) fn end() -> io::Result<()> {
    loop {
        for child in children(Pid::this()) {
            _ = kill(child, Signal::SIGKILL);
        }
        // One at least has been killed: the next end is near, and waiting for it costs no time of the processor.
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(ended) if ended.pid().is_some())
        {
        }
    }
}

/// The children of each of a process's threads. A process that is gone has none.
pub(super) fn children(process: Pid) -> Vec<Pid> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter();
    let lists = threads
        .flatten()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| -> Vec<Pid> {
        let words = list.split_ascii_whitespace();
        words
            .filter_map(|word| word.parse().ok().map(Pid::from_raw))
            .collect()
    };
    lists.flat_map(numbers).collect()
}

/// Memory in bytes that `root` and all that descends from it hold, and how many they are. What several of them share
/// counts for each.
pub(super) fn measure(root: Pid) -> (u64, u32) {
    let mut left = vec![root];
    let (mut memory, mut processes) = (0, 0);
    while let Some(process) = left.pop() {
        // Whoever ended meanwhile holds nothing.
        let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else {
            continue;
        };
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|line| line.trim().strip_suffix(" kB"));
            value
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(0)
        };
        memory += (kib("VmRSS:") + kib("VmSwap:") + kib("VmPTE:")) * 1024;
        processes += 1;
        left.extend(children(process));
    }
    (memory, processes)
}
