//! What the numbers of macOS mean to a monitor. Pure, and compiled for tests on every system; `macos` asserts that the numbers are
//! those of its libc.
//!
//! Must not know: system calls.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::Signal;

use crate::follow::RunEvent;
use crate::sweep::ProcessState;

/// Filters of a kqueue (`sys/event.h`).
pub(crate) const READ: i16 = -1;
pub(crate) const PROCESS: i16 = -5;
pub(crate) const SIGNAL: i16 = -6;
/// What came of a process.
pub(crate) const EXIT: u32 = 0x8000_0000;
pub(crate) const FORK: u32 = 0x4000_0000;

/// `SSTOP` and `SZOMB` of `sys/proc.h`.
pub(crate) const STOPPED: u32 = 4;
pub(crate) const ZOMBIE: u32 = 5;

/// An event of a queue as the run of `program` has it. The end of another member is none: the next scan finds it.
pub(crate) fn run_event(filter: i16, flags: u32, of: usize, program: i32) -> Option<RunEvent> {
    match filter {
        // Nobody writes to the pipe: this is its end.
        READ => Some(RunEvent::KeeperGone),
        SIGNAL if of == Signal::SIGINT as usize => Some(RunEvent::Interrupted),
        SIGNAL => Some(RunEvent::EndAsked),
        // What came of one process since it was last heard comes as one: it may have forked and ended.
        PROCESS if flags & EXIT != 0 && usize::try_from(program) == Ok(of) => Some(RunEvent::Ended),
        PROCESS if flags & FORK != 0 => Some(RunEvent::Forked),
        _ => None,
    }
}

/// A process as libproc's status has it.
pub(crate) fn state(status: u32) -> ProcessState {
    match status {
        STOPPED => ProcessState::Stopped,
        ZOMBIE => ProcessState::Zombie,
        _ => ProcessState::Running,
    }
}

/// Whether the first `written` of a buffer are all processes: `proc_listallpids` answers 0 where it fails, and as many as there is
/// room for where there are more.
pub(crate) fn is_whole(buffer: &[i32], written: usize, own: i32) -> bool {
    let listed = buffer.get(..written).unwrap_or_default();
    listed.len() < buffer.len() && listed.contains(&own)
}

/// An environment as `posix_spawn` takes it.
///
/// # Errors
/// A name or a value holds a NUL.
pub(crate) fn variables(
    of: impl Iterator<Item = (OsString, OsString)>,
) -> io::Result<Vec<CString>> {
    of.map(|(name, value)| {
        let line: OsString = [name, "=".into(), value].into_iter().collect();
        Ok(CString::new(line.into_vec())?)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: i32 = 40;

    fn told(filter: i16, flags: u32, of: i32) -> Option<RunEvent> {
        run_event(filter, flags, usize::try_from(of).unwrap(), RUN)
    }

    #[test]
    fn end_of_the_program_is_the_runs_and_no_other() {
        assert_eq!(told(PROCESS, EXIT, RUN), Some(RunEvent::Ended));
        assert_eq!(told(PROCESS, EXIT | FORK, RUN), Some(RunEvent::Ended));
        assert_eq!(told(PROCESS, FORK, RUN), Some(RunEvent::Forked));
        assert_eq!(told(PROCESS, EXIT, RUN + 1), None);
        assert_eq!(told(PROCESS, EXIT | FORK, RUN + 1), Some(RunEvent::Forked));
        assert_eq!(told(PROCESS, 0, RUN), None);
    }

    #[test]
    fn keeper_and_its_signals_are_told_apart() {
        assert_eq!(told(READ, 0, 3), Some(RunEvent::KeeperGone));
        let interrupt = Signal::SIGINT as i32;
        assert_eq!(told(SIGNAL, 0, interrupt), Some(RunEvent::Interrupted));
        let end = Signal::SIGTERM as i32;
        assert_eq!(told(SIGNAL, 0, end), Some(RunEvent::EndAsked));
        // A timer, of which nobody asked.
        assert_eq!(told(-7, 0, RUN), None);
    }

    #[test]
    fn states_are_read_from_the_numbers_of_the_system() {
        let states = [1, 2, 3, 4, 5].map(state);
        let (running, stopped) = (ProcessState::Running, ProcessState::Stopped);
        let expected = [running, running, running, stopped, ProcessState::Zombie];
        assert_eq!(states, expected);
    }

    #[test]
    fn list_without_room_or_without_us_is_not_whole() {
        assert!(is_whole(&[1, 7, 0, 0], 2, 7));
        // Full: there may be more.
        assert!(!is_whole(&[1, 7], 2, 7));
        assert!(!is_whole(&[0, 0], 0, 7));
        assert!(!is_whole(&[1, 8, 0], 2, 7));
        assert!(!is_whole(&[1, 7, 0], 9, 7));
    }

    #[test]
    fn variable_with_a_nul_starts_no_program() {
        let one = |value: &str| [("A".into(), value.into())].into_iter();
        assert_eq!(variables(one("b=c")).unwrap(), [c"A=b=c".to_owned()]);
        let error = variables(one("b\0c")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
