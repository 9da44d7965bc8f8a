//! The processes of this user, as libproc tells them: the table of a [`Sweep`](crate::sweep::Sweep) on macOS.
//!
//! Type-checked alone; no Mac has run it.
#![expect(unsafe_code, reason = "libproc has no safe wrapper")]

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::darwin::{STOPPED, ZOMBIE, is_whole, state};
use crate::sweep::{Process, ProcessTable, SweepSignal};

/// `PROC_PIDUNIQIDENTIFIERINFO` of `sys/proc_info.h`: the ids of a process, of whichever user.
const UNIQUE: c_int = 17;
/// To libproc: a process that has ended and was not reaped is asked about as well.
const ENDED_TOO: u64 = 1;
// The numbers that are tested on every system are libc's.
const _: () = assert!(STOPPED == libc::SSTOP && ZOMBIE == libc::SZOMB);
/// How long a stopped or killed process may take to come to it. There is no event for the stop of somebody else's child.
const MOMENT: Duration = Duration::from_millis(1);
/// Room for processes that start between the count and the list.
const MORE: usize = 64;

/// `struct proc_uniqidentifierinfo` of `sys/proc_info.h`: 56 bytes, which libc does not have.
#[repr(C)]
struct UniqueInfo {
    uuid: [u8; 16],
    unique: u64,
    parent_unique: u64,
    version: i32,
    parent_version: i32,
    reserved: [u64; 2],
}

/// What the system says of who answers for a process.
type Responsible = unsafe extern "C" fn(c_int) -> c_int;

/// The table of this machine.
#[derive(Clone, Copy)]
pub(crate) struct SystemProcesses {
    responsible: Option<Responsible>,
}

impl SystemProcesses {
    /// The table. If the system does not tell who is responsible, that sign is missing.
    pub(crate) fn new() -> Self {
        let found = symbol(c"responsibility_get_pid_responsible_for_pid");
        // SAFETY: the symbol is a function of libquarantine, which libSystem loads for the life of the process; in every release
        // that has it, it takes a `pid_t` and answers one.
        let responsible =
            found.map(|found| unsafe { std::mem::transmute::<*mut c_void, Responsible>(found) });
        Self { responsible }
    }

    fn process(self, pid: i32) -> Option<Process> {
        let info: libc::proc_bsdinfo = asked(pid, libc::PROC_PIDTBSDINFO)?;
        let ids: UniqueInfo = asked(pid, UNIQUE)?;
        // SAFETY: see `new`; it takes any number and answers -1 or 0 for one that it does not know.
        let responsible = self.responsible.map(|ask| unsafe { ask(pid) });
        Some(Process {
            pid,
            unique: ids.unique,
            parent: i32::try_from(info.pbi_ppid).ok()?,
            parent_unique: ids.parent_unique,
            group: i32::try_from(info.pbi_pgid).ok()?,
            responsible: responsible.filter(|pid| *pid > 0),
            state: state(info.pbi_status),
        })
    }
}

impl ProcessTable for SystemProcesses {
    fn scan(&mut self) -> io::Result<Vec<Process>> {
        let count = number_of_processes().ok_or_else(io::Error::last_os_error)?;
        let count = usize::try_from(count).map_err(io::Error::other)?;
        let mut pids: Vec<i32> = vec![0; count + MORE];
        let size = c_int::try_from(size_of_val(pids.as_slice())).map_err(io::Error::other)?;
        // SAFETY: it writes at most `size` bytes at the pointer, which are `pids` and nothing else.
        let written = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), size) };
        let written = usize::try_from(written).map_err(|_| io::Error::last_os_error())?;
        let own = std::process::id().cast_signed();
        if !is_whole(&pids, written, own) {
            return Err(io::Error::other(
                "the processes of this machine cannot be listed",
            ));
        }
        pids.truncate(written);
        // Another user's process tells nothing, and is no member.
        Ok(pids
            .into_iter()
            .filter_map(|pid| self.process(pid))
            .collect())
    }

    fn unique(&mut self, pid: i32) -> Option<u64> {
        asked(pid, UNIQUE).map(|ids: UniqueInfo| ids.unique)
    }

    fn signal(&mut self, pid: i32, signal: SweepSignal) {
        let signal = match signal {
            SweepSignal::Stop => Signal::SIGSTOP,
            SweepSignal::Kill => Signal::SIGKILL,
        };
        // One that has ended is what was wanted; the next scan tells of any other.
        _ = kill(Pid::from_raw(pid), signal);
    }

    fn settle(&mut self) {
        std::thread::sleep(MOMENT);
    }
}

/// How many processes the machine has, of whichever user.
pub(super) fn number_of_processes() -> Option<u64> {
    // SAFETY: without a buffer the call only counts.
    let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
    u64::try_from(count).ok()
}

/// The threads of a process; none where nobody says.
#[must_use]
pub fn threads(pid: i32) -> Option<u32> {
    let info: libc::proc_taskinfo = asked(pid, libc::PROC_PIDTASKINFO)?;
    u32::try_from(info.pti_threadnum).ok()
}

/// Bytes of memory that a process has for itself and that nobody else could have instead (`phys_footprint`); none where
/// nobody says.
#[must_use]
pub fn footprint(pid: i32) -> Option<u64> {
    // SAFETY: the structure holds integers and an array of integers only, for which all bytes zero is a value.
    let mut usage: libc::rusage_info_v4 = unsafe { std::mem::zeroed() };
    // SAFETY: for this flavor the call writes one `rusage_info_v4` at the pointer, whatever its declared type. It points to
    // `usage`, which is exclusively borrowed and outlives the call.
    let rc = unsafe { libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V4, (&raw mut usage).cast()) };
    (rc == 0).then_some(usage.ri_phys_footprint)
}

/// What libproc says in this flavor. `T` holds integers and arrays of integers alone.
fn asked<T: Plain>(pid: i32, flavor: c_int) -> Option<T> {
    let size = c_int::try_from(size_of::<T>()).ok()?;
    // SAFETY: all bytes zero is a value of any `Plain`.
    let mut info: T = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes at most `size` bytes at the pointer. It points to `info`, which is exactly that large, is
    // exclusively borrowed here and lives until the call has returned.
    let filled =
        unsafe { libc::proc_pidinfo(pid, flavor, ENDED_TOO, (&raw mut info).cast(), size) };
    (filled == size).then_some(info)
}

/// A structure whose every bit pattern is a value.
///
/// # Safety
/// It holds integers and arrays of integers alone.
unsafe trait Plain {}
// SAFETY: its members are integers.
unsafe impl Plain for UniqueInfo {}
// SAFETY: its members are integers and arrays of characters, which are integers in C.
unsafe impl Plain for libc::proc_bsdinfo {}
// SAFETY: its members are integers.
unsafe impl Plain for libc::proc_taskinfo {}

/// A function of the system that its headers do not have. Not every release has it.
pub(super) fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `name` is a C string that outlives the call; the handle asks what is loaded and loads nothing.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}
