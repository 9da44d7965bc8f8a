//! Ends all that descends from a program where no kernel does it at once: macOS has no subreaper, no scope for signals, no
//! cgroup. Pure but for the [`ProcessTable`] that it is given.
//!
//! ```text
//! scan ▸ members ▸ stop each ──▶ two scans without anybody new or moving ▸ kill each ──▶ two scans without anybody alive
//!   ▲                     │
//!   └── somebody new ─────┘
//! ```
//!
//! Who leaves the group (`setsid`) is found by another sign, and what one scan saw counts in every later one:
//!
//! | sign | is lost by |
//! |---|---|
//! | the group that the program leads | `setsid`, `setpgid` |
//! | a parent that is a member, by its number or by its own id | the parent's end, and an exec after it |
//! | the process that the system holds responsible | a process that disclaims itself |
//! | its own id, seen before | nothing |
//!
//! Invariants: a signal goes only to a number whose id was read again just before, and is still a member's; the caller, `init`
//! and strangers get none; [`Sweep::end`] says [`Ending::Over`] only after two scans without a living member.
//!
//! The caller keeps the program's own entry in the table, as a zombie at the last: its number is the group's and the
//! responsible one's, and would otherwise be given to a stranger. If the caller did not start the program and could not keep
//! it, the number counts only while nobody else has it.
//!
//! Must not know: what the program was, and how a table is read.

use std::collections::BTreeSet;
use std::io;

/// Scans without a change after which there is none to come: a fork that was under way shows in the first.
const QUIET: u32 = 2;
/// Scans in which all are to be stopped. Two that wake each other are never all stopped; then they are killed as they are.
const MOST_TO_STOP: u32 = 200;
/// Scans after which a sweep gives up.
const MOST_TO_KILL: u32 = 2_000;

/// A process, as one scan sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number, which a later process may have as well.
    pub pid: i32,
    /// Its id, which no other process ever has.
    pub unique: u64,
    /// The number of its parent: 1 for an orphan.
    pub parent: i32,
    /// The id of its maker, or of its parent at its last exec.
    pub parent_unique: u64,
    /// The number of its group.
    pub group: i32,
    /// The number of the process that answers for it to the system, where that is known.
    pub responsible: Option<i32>,
    /// What it does.
    pub state: ProcessState,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs, or waits for something.
    Running,
    /// It was stopped, and makes no other process.
    Stopped,
    /// It has ended, and nobody has asked how.
    Zombie,
}

/// What a sweep sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SweepSignal {
    /// SIGSTOP.
    Stop,
    /// SIGKILL.
    Kill,
}

/// The processes of this user.
pub trait ProcessTable {
    /// All of them, which need not be of one moment.
    /// # Errors
    /// The system does not say.
    fn scan(&mut self) -> io::Result<Vec<Process>>;

    /// The id of the process that has this number now.
    fn unique(&mut self, pid: i32) -> Option<u64>;

    /// Sends a signal. One that has ended meanwhile is no error.
    fn signal(&mut self, pid: i32, signal: SweepSignal);

    /// Waits a moment, for what was signalled to stop or end.
    fn settle(&mut self);
}

/// How a sweep came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nobody is left that any sign tells of.
    Over,
    /// Somebody still was there, or came, at the last scan: this many.
    Unproven(usize),
}

/// The members of one run, from its start to its end.
#[derive(Clone, Debug)]
pub struct Sweep {
    program: i32,
    unique: u64,
    spared: i32,
    seen: BTreeSet<u64>,
}

impl Sweep {
    /// Of what descends from `program`, which has this id. `caller` is never a member.
    #[must_use]
    pub fn new(program: i32, unique: u64, caller: i32) -> Self {
        Self {
            program,
            unique,
            spared: caller,
            seen: BTreeSet::from([unique]),
        }
    }

    /// The living members in `scan`, whom later scans know by their ids. To be called now and then while the run goes on, so that
    /// a process that loses every other sign has been seen.
    pub fn members(&mut self, scan: &[Process]) -> Vec<Process> {
        let may_be = |process: &&Process| process.pid > 1 && process.pid != self.spared;
        let mut others: Vec<&Process> = scan.iter().filter(may_be).collect();
        let is_anothers =
            |process: &Process| process.pid == self.program && process.unique != self.unique;
        let number = (!scan.iter().any(is_anothers)).then_some(self.program);
        let mut members: Vec<Process> = Vec::new();
        loop {
            let is_member = |process: &&Process| {
                self.seen.contains(&process.unique)
                    || self.seen.contains(&process.parent_unique)
                    || Some(process.group) == number
                    || (number.is_some() && process.responsible == number)
                    || members.iter().any(|member| member.pid == process.parent)
            };
            let (found, rest): (Vec<_>, Vec<_>) = others.into_iter().partition(is_member);
            if found.is_empty() {
                break;
            }
            self.seen.extend(found.iter().map(|process| process.unique));
            members.extend(found.into_iter().cloned());
            others = rest;
        }
        members.retain(|member| member.state != ProcessState::Zombie);
        members
    }

    /// Kills the living members once, and says whether there were none. For a caller that comes again.
    /// # Errors
    /// As [`Sweep::end`].
    pub fn kill_once(&mut self, table: &mut impl ProcessTable) -> io::Result<bool> {
        let scan = table.scan()?;
        let members = self.members(&scan);
        Self::send(table, &members, SweepSignal::Kill);
        Ok(members.is_empty())
    }

    /// Ends them all.
    /// # Errors
    /// The system does not tell its processes. Then nobody knows who is left.
    pub fn end(&mut self, table: &mut impl ProcessTable) -> io::Result<Ending> {
        self.until_quiet(table, SweepSignal::Stop, MOST_TO_STOP)?;
        let left = self.until_quiet(table, SweepSignal::Kill, MOST_TO_KILL)?;
        Ok(left.map_or(Ending::Over, Ending::Unproven))
    }

    /// Signals all to whom that is still to be done, until [`QUIET`] scans find none. Where `most` scans are not enough: how many
    /// the last one found.
    fn until_quiet(
        &mut self,
        table: &mut impl ProcessTable,
        signal: SweepSignal,
        most: u32,
    ) -> io::Result<Option<usize>> {
        let (mut quiet, mut left) = (0, 0);
        for _ in 0..most {
            let scan = table.scan()?;
            let known = self.seen.len();
            let mut members = self.members(&scan);
            if signal == SweepSignal::Stop {
                members.retain(|member| member.state == ProcessState::Running);
            }
            left = members.len();
            let is_quiet = members.is_empty() && self.seen.len() == known;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == QUIET {
                return Ok(None);
            }
            Self::send(table, &members, signal);
            table.settle();
        }
        Ok(Some(left))
    }

    fn send(table: &mut impl ProcessTable, members: &[Process], signal: SweepSignal) {
        for member in members {
            // The number may have gone to a stranger since the scan.
            if table.unique(member.pid) == Some(member.unique) {
                table.signal(member.pid, signal);
            }
        }
    }
}
