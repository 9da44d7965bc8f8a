//! macOS: libproc and two clocks.
#![expect(unsafe_code, reason = "libproc has no safe wrapper")]

use super::ProcessUsage;
use nix::{
    libc,
    time::{ClockId, clock_gettime},
};
use plexus_sandbox::children::RunState;
use std::{ffi::c_int, io, path::Path, process::Command, time::Duration};

pub(crate) fn die_with_this_thread(_command: &mut Command) {}

/// There is no keeper yet, so there are no runs.
pub(crate) fn state_of_run(_lock: &Path) -> io::Result<RunState> {
    Ok(RunState::Over)
}

pub(crate) fn end_run(_lock: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn left_of_run(_lock: &Path) -> io::Result<Vec<i32>> {
    Ok(Vec::new())
}

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
    // SAFETY: the structure holds integers and an array of integers only, for which all bytes zero is a value.
    let mut usage: libc::rusage_info_v0 = unsafe { std::mem::zeroed() };
    // SAFETY: for the flavor `RUSAGE_INFO_V0` `proc_pid_rusage` writes one `rusage_info_v0` at the pointer, whatever
    // its declared type. It points to `usage`, which is exclusively borrowed and outlives the call.
    let rc = unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V0, (&raw mut usage).cast()) };
    if rc != 0 {
        return None;
    }
    // SAFETY: the structure holds integers only, for which all bytes zero is a value.
    let mut tasks: libc::proc_taskinfo = unsafe { std::mem::zeroed() };
    let size = c_int::try_from(size_of::<libc::proc_taskinfo>()).ok()?;
    // SAFETY: `proc_pidinfo` writes at most `size` bytes at the pointer. It points to `tasks`, which is exactly that
    // large, is exclusively borrowed here and lives until the call has returned.
    let filled = unsafe {
        libc::proc_pidinfo(
            pid,
            libc::PROC_PIDTASKINFO,
            0,
            (&raw mut tasks).cast(),
            size,
        )
    };
    (filled == size).then_some(ProcessUsage {
        memory: usage.ri_phys_footprint,
        resident: usage.ri_phys_footprint,
        threads: tasks.pti_threadnum.try_into().ok()?,
    })
}

/// The process alone: no launcher of ours stays beside a worker here, and no profile grants a child.
pub(crate) fn held_by_group(pid: u32) -> Option<ProcessUsage> {
    held(pid)
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
