//! Follows a run from its program's start to its end, where the kernel does not keep track of it: on macOS. Pure but for the
//! [`RunProcesses`] that it is given.
//!
//! ```text
//! following ──program ended, or the keeper──────────────▶ sweep ▸ over, or unproven
//!     │                                                     ▲
//!     └─asked to end─▶ SIGTERM to the group ▸ grace or end ─┘
//! ```
//!
//! A scan is due after each fork that was told of, though not twice within [`PAUSE`], and after [`AT_LEAST`] in any case. Each new
//! member is watched for forks of its own.
//!
//! Invariants: the sweep begins at once where nobody is there to be asked any more; a second wish to end shortens nothing and
//! prolongs nothing; the program gets SIGINT only while it was not asked to end.
//!
//! Must not know: kqueue, bounds of a run.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use crate::sweep::{Ending, ProcessTable, Sweep};

/// How soon one scan may follow the other: a run that forks without a pause is looked at 50 times a second.
pub const PAUSE: Duration = Duration::from_millis(20);
/// How long at most there is no scan.
pub const AT_LEAST: Duration = Duration::from_secs(1);
/// How long the program's group has to end after SIGTERM.
pub const GRACE: Duration = Duration::from_millis(500);

/// What a monitor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// A watched process has made another one.
    Forked,
    /// The program has ended.
    Ended,
    /// The run is to end.
    EndAsked,
    /// A person wants to stop what the program does.
    Interrupted,
    /// The monitor's starter has ended.
    KeeperGone,
}

/// The processes of one run, and what is told of it.
pub trait RunProcesses: ProcessTable {
    /// How long the run has been followed.
    fn now(&self) -> Duration;

    /// What is told within this time at most; nothing where it passes.
    /// # Errors
    /// The system does not say.
    fn wait(&mut self, most: Duration) -> io::Result<Vec<RunEvent>>;

    /// Has the forks of this process told from now on. One that has ended meanwhile is no error.
    fn watch(&mut self, pid: i32);

    /// Sends SIGINT to the program.
    fn interrupt(&mut self);

    /// Sends SIGTERM to the program's group.
    fn terminate(&mut self);
}

/// Follows the run until it has ended, and ends what is left of it.
///
/// # Errors
/// The system does not tell its processes. Then nobody knows who is left.
pub fn follow(run: &mut impl RunProcesses, sweep: &mut Sweep) -> io::Result<Ending> {
    let mut pace = Pace::default();
    let mut watched = BTreeSet::new();
    let mut grace: Option<Duration> = None;
    loop {
        let now = run.now();
        if grace.is_some_and(|over| now >= over) {
            return sweep.end(run);
        }
        if pace.is_due(now) {
            let scan = run.scan()?;
            for member in sweep.members(&scan) {
                if watched.insert(member.unique) {
                    run.watch(member.pid);
                }
            }
            pace.scanned(now);
        }
        let left = grace.map_or(AT_LEAST, |over| over.saturating_sub(now));
        for event in run.wait(pace.left(now).min(left))? {
            match event {
                RunEvent::Forked => pace.forked = true,
                RunEvent::Ended | RunEvent::KeeperGone => return sweep.end(run),
                RunEvent::Interrupted if grace.is_none() => run.interrupt(),
                RunEvent::EndAsked if grace.is_none() => {
                    run.terminate();
                    grace = Some(run.now() + GRACE);
                }
                RunEvent::Interrupted | RunEvent::EndAsked => {}
            }
        }
    }
}

/// When a scan is due.
#[derive(Default)]
struct Pace {
    last: Option<Duration>,
    forked: bool,
}

impl Pace {
    fn is_due(&self, now: Duration) -> bool {
        self.left(now).is_zero()
    }

    fn left(&self, now: Duration) -> Duration {
        let pause = if self.forked { PAUSE } else { AT_LEAST };
        let due = self.last.map(|last| last + pause);
        due.unwrap_or_default().saturating_sub(now)
    }

    fn scanned(&mut self, now: Duration) {
        (self.last, self.forked) = (Some(now), false);
    }
}

/// The program of a run with its own id, as the lock of the run has them behind its monitor: `NUMBER BOOT/ID` in the second line.
#[must_use]
pub fn program_in(lock: &str) -> Option<(i32, u64)> {
    let (number, started) = lock.lines().nth(1)?.split_once(' ')?;
    let (_boot, unique) = started.rsplit_once('/')?;
    let number = number.parse().ok().filter(|number| *number > 1)?;
    Some((number, unique.parse().ok()?))
}
