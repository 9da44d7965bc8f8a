//! Linux: `/proc`, the death signal, two clocks.

use super::ProcessUsage;
use nix::time::{ClockId, clock_gettime};
pub(crate) use plexus_sandbox::{
    die_with_this_thread, end_run, left_of_run, started, state_of_run,
};
use std::time::Duration;

pub(crate) fn held_by_group(leader: u32) -> Option<ProcessUsage> {
    let mut all = held(leader)?;
    let mut left: Vec<u32> = children(leader).collect();
    while let Some(pid) = left.pop() {
        // One that ended meanwhile holds nothing. A program that the worker has had started leads a group of its own, and its
        // launcher's keeper counts it.
        let (Some(held), Some(group)) = (held(pid), group(pid)) else {
            continue;
        };
        if group != leader {
            continue;
        }
        all.memory += held.memory;
        all.resident += held.resident;
        all.threads += held.threads;
        left.extend(children(pid));
    }
    Some(all)
}

/// The process group of a process.
fn group(pid: u32) -> Option<u32> {
    let pid = nix::unistd::Pid::from_raw(pid.try_into().ok()?);
    let group = nix::unistd::getpgid(Some(pid)).ok()?;
    group.as_raw().try_into().ok()
}

/// The children of each of a process's threads. A kernel that does not list them says that there are none.
fn children(pid: u32) -> impl Iterator<Item = u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let lists = threads
        .flatten()
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let numbers = |list: String| -> Vec<u32> {
        let words = list.split_ascii_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    lists.flat_map(numbers)
}

pub(crate) fn held(pid: u32) -> Option<ProcessUsage> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let kib = |name| -> Option<u64> {
        let value = field(name)?.trim().strip_suffix(" kB")?;
        value.trim().parse().ok()
    };
    let resident = kib("VmRSS:")? * 1024;
    // Older kernels leave out what they do not count.
    let beside = kib("VmSwap:").unwrap_or(0) + kib("VmPTE:").unwrap_or(0);
    Some(ProcessUsage {
        memory: resident + beside * 1024,
        resident,
        threads: field("Threads:")?.trim().parse().ok()?,
    })
}

pub(crate) fn slept() -> Duration {
    let read = |clock| clock_gettime(clock).map(Duration::from);
    match (
        read(ClockId::CLOCK_BOOTTIME),
        read(ClockId::CLOCK_MONOTONIC),
    ) {
        (Ok(boot), Ok(awake)) => boot.saturating_sub(awake),
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, os::unix::process::CommandExt, process::Command};

    #[test]
    fn this_process_has_a_start_and_memory_and_a_process_that_cannot_be_has_none() {
        let own = std::process::id();
        assert_eq!(started(own), started(own));
        assert!(started(own).is_some());
        let own_held = held(own).expect("this process is there");
        assert!(own_held.resident > 64 * 1024 && own_held.threads > 0);
        assert!(own_held.memory > own_held.resident, "tables count");
        assert_eq!(started(u32::MAX), None);
        assert_eq!(held(u32::MAX), None);
        assert_eq!(held_by_group(u32::MAX), None);
    }

    #[test]
    fn held_memory_counts_the_group() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "cat; true"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        let (mut input, mut output) = (child.stdin.take(), child.stdout.take());
        // Its own child has started when it echoes.
        io::Write::write_all(input.as_mut().expect("piped"), b"x").expect("it reads");
        io::Read::read_exact(output.as_mut().expect("piped"), &mut [0]).expect("it echoes");
        let pid = child.id();
        let [whole, alone] = [held_by_group(pid), held(pid)].map(|held| held.expect("it runs"));
        assert_eq!((whole.threads, alone.threads), (2, 1));
        assert!(whole.memory > alone.memory);
        drop(input.take());
        child.wait().expect("our child");
    }
}
