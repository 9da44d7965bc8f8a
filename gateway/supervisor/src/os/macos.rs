//! macOS: libproc and two clocks.
#![expect(unsafe_code, reason = "libproc has no safe wrapper")]

use super::ProcessUsage;
use nix::{
    libc,
    time::{ClockId, clock_gettime},
};
pub(crate) use plexus_sandbox::{end_run, left_of_run, state_of_run};
use plexus_sandbox::{footprint, threads};
use std::{ffi::c_int, process::Command, time::Duration};

pub(crate) fn die_with_this_thread(_command: &mut Command) {}

pub(crate) fn started(pid: u32) -> Option<String> {
    let pid = c_int::try_from(pid).ok()?;
    let size = c_int::try_from(size_of::<libc::proc_bsdinfo>()).ok()?;
    // SAFETY: the structure holds integers and arrays of integers only, for which all bytes zero is a value.
    let mut info: libc::proc_bsdinfo = unsafe { std::mem::zeroed() };
    // SAFETY: `proc_pidinfo` writes at most `size` bytes at the pointer. It points to `info`, which is exactly that
    // large, is exclusively borrowed here and lives until the call has returned.
    let filled =
        unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTBSDINFO, 0, (&raw mut info).cast(), size) };
    (filled == size).then(|| format!("{}.{:06}", info.pbi_start_tvsec, info.pbi_start_tvusec))
}

pub(crate) fn held(pid: u32) -> Option<ProcessUsage> {
    let pid = c_int::try_from(pid).ok()?;
    let memory = footprint(pid)?;
    Some(ProcessUsage {
        memory,
        resident: memory,
        threads: threads(pid)?.into(),
    })
}

/// Most processes of a worker's group that are looked at: its keeper, the worker, and `osascript`.
const MOST_OF_GROUP: usize = 16;

pub(crate) fn held_by_group(leader: u32) -> Option<ProcessUsage> {
    let mut all = held(leader)?;
    // A program that the worker has had started leads a group of its own, and its keeper counts it.
    for pid in group(leader).into_iter().filter(|pid| *pid != leader) {
        // One that ended meanwhile holds nothing.
        let Some(held) = held(pid) else { continue };
        all.memory += held.memory;
        all.resident += held.resident;
        all.threads += held.threads;
    }
    Some(all)
}

fn group(leader: u32) -> Vec<u32> {
    let mut pids: [c_int; MOST_OF_GROUP] = [0; MOST_OF_GROUP];
    let (Ok(leader), Ok(size)) = (c_int::try_from(leader), c_int::try_from(size_of_val(&pids)))
    else {
        return Vec::new();
    };
    // SAFETY: the call writes at most `size` bytes at the pointer, which are `pids` and nothing else; it is exclusively borrowed and
    // outlives the call.
    unsafe { libc::proc_listpgrppids(leader, pids.as_mut_ptr().cast(), size) };
    // What it did not write stays 0, which is no process.
    let pids = pids.into_iter().filter(|pid| *pid > 0);
    pids.filter_map(|pid| u32::try_from(pid).ok()).collect()
}

pub(crate) fn slept() -> Duration {
    // `CLOCK_MONOTONIC` counts sleep on this system, `CLOCK_UPTIME_RAW` does not. Source: clock_gettime(3).
    let awake = ClockId::from_raw(libc::CLOCK_UPTIME_RAW);
    let read = |clock| clock_gettime(clock).map(Duration::from);
    match (read(ClockId::CLOCK_MONOTONIC), read(awake)) {
        (Ok(boot), Ok(awake)) => boot.saturating_sub(awake),
        _ => Duration::ZERO,
    }
}
