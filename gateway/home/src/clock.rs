//! Time that only goes forward.
//!
//! Windows, codes, sessions and tokens count wall time including sleep. "Now" is the later of the wall clock and the
//! latest recorded time plus what the boot clock has counted since: setting the clock back lengthens nothing
//! (docs/design.md#time).
//!
//! Over a stop of the daemon a mark carries that on. What the boot clock shows above the mark has certainly passed
//! since: all of it, or, where the machine was started anew, only a part.
//!
//! Nothing proves a mark: a file that was damaged, or edited, could end every window for good. So one that is more
//! than a day ahead of both the wall clock and the newest record refuses the start, and ends nothing.

use nix::time::{ClockId, clock_gettime};
use plexus_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// The clock that counts while the machine sleeps.
#[cfg(target_os = "linux")]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// On macOS the monotonic clock is `mach_continuous_time`, which counts sleep (`clock_gettime(3)`).
#[cfg(not(target_os = "linux"))]
const BOOT_CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

/// The daemon's clock. Clones are the same clock.
#[derive(Clone)]
pub struct Clock(Arc<Mutex<Anchor>>);

/// A moment that was, and what the boot clock showed then. It holds no secret; one that is wrong can only end things
/// sooner, and by no more than a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    at: u64,
    boot: u64,
}

/// The file of the mark, in the state directory.
pub(crate) const MARK_FILE: &str = "clock.json";

/// How far a mark may be ahead of what the machine and the newest record say, in milliseconds: a day, more than a clock
/// without a battery loses between two looks at the net, and less than most windows.
const BELIEVED: u64 = 86_400_000;

/// A mark that is too far ahead to be believed.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} says that it was {marked} already, and by this machine's clock and the newest record it is {now}. Nothing was \
     ended. Set the clock right (date); if it is right, remove that file, and the newest record counts", .file.display()
)]
pub struct Ahead {
    file: PathBuf,
    marked: Timestamp,
    now: Timestamp,
}

struct Anchor {
    /// A moment that is known to have been.
    at: u64,
    /// What the boot clock showed then, in milliseconds.
    boot: u64,
}

fn boot_ms() -> u64 {
    let now = clock_gettime(BOOT_CLOCK).map_or(0, |t| t.tv_sec() * 1000 + t.tv_nsec() / 1_000_000);
    u64::try_from(now).unwrap_or(0)
}

fn wall_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Clock {
    /// A clock that knows nothing of the past yet.
    pub fn start() -> Self {
        Self(Arc::new(Mutex::new(Anchor {
            at: 0,
            boot: boot_ms(),
        })))
    }

    /// Learns a moment that has certainly passed: the time of the newest record.
    pub fn not_before(&self, at: Timestamp) {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = boot_ms();
        let known = anchor.at.saturating_add(boot.saturating_sub(anchor.boot));
        *anchor = Anchor {
            at: known.max(at.0),
            boot,
        };
    }

    /// Goes on from the mark in `dir`, if there is one. The newest record has been learned before.
    ///
    /// # Errors
    /// One that is more than a day ahead; the clock is as it was.
    pub fn go_on_from(&self, dir: &Path) -> Result<(), Ahead> {
        let file = dir.join(MARK_FILE);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let Ok(mark) = serde_json::from_str::<Mark>(&text) else {
            return Ok(());
        };
        let (marked, now) = (Timestamp(mark.until(boot_ms())), self.now());
        if marked.since(now) > BELIEVED {
            return Err(Ahead { file, marked, now });
        }
        self.not_before(marked);
        Ok(())
    }

    /// Leaves a mark in `dir` for the next launch.
    ///
    /// # Errors
    /// When it cannot be written; the newest record is what the next launch goes by then.
    pub fn leave_mark(&self, dir: &Path) -> std::io::Result<()> {
        let mark = Mark {
            at: self.now().0,
            boot: boot_ms(),
        };
        let text = serde_json::to_vec(&mark)?;
        crate::state_dir::write_private(&dir.join(MARK_FILE), &text)
    }

    /// Milliseconds since the epoch, never less than before.
    pub fn now(&self) -> Timestamp {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = boot_ms();
        let known = anchor.at.saturating_add(boot.saturating_sub(anchor.boot));
        let now = known.max(wall_ms());
        *anchor = Anchor { at: now, boot };
        Timestamp(now)
    }

    /// [`Clock::now`] where the wall clock is more than a second behind it.
    pub fn now_ahead_of_wall(&self) -> Option<Timestamp> {
        let now = self.now();
        (now.0 > wall_ms().saturating_add(1_000)).then_some(now)
    }
}

impl Mark {
    /// The least that it can be when the boot clock shows `boot`.
    fn until(self, boot: u64) -> u64 {
        self.at.saturating_add(boot.saturating_sub(self.boot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_lengthens_nothing() {
        let clock = Clock::start();
        let future = Timestamp(wall_ms() + 3_600_000);
        assert_eq!(clock.now_ahead_of_wall(), None);
        clock.not_before(future);
        // The record counts, not the wall clock.
        assert!(clock.now() >= future);
        assert!(clock.now_ahead_of_wall() >= Some(future));
        let first = clock.now();
        assert!(clock.now() >= first);
    }

    #[test]
    fn a_mark_counts_what_certainly_passed() {
        let mark = |at, boot| Mark { at, boot };
        assert_eq!(mark(1_000, 50).until(80), 1_030);
        // Started anew since: the boot clock began again.
        assert_eq!(mark(1_000, 50).until(20), 1_000);
        assert_eq!(mark(u64::MAX, 0).until(9), u64::MAX);
    }

    #[test]
    fn a_mark_outlives_a_launch_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let before = Clock::start();
        let future = Timestamp(wall_ms() + 3_600_000);
        before.not_before(future);
        before.leave_mark(dir.path()).unwrap();
        let after = Clock::start();
        assert!(after.now() < future, "the control");
        after.go_on_from(dir.path()).unwrap();
        assert!(after.now() >= future);

        std::fs::write(dir.path().join(MARK_FILE), "{").unwrap();
        let next = Clock::start();
        next.go_on_from(dir.path()).unwrap();
        assert!(next.now() < future);
    }

    #[test]
    fn a_mark_far_ahead_ends_nothing_and_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let far = wall_ms() + 10 * BELIEVED;
        let mark = Mark {
            at: far,
            boot: boot_ms(),
        };
        let text = serde_json::to_vec(&mark).unwrap();
        std::fs::write(dir.path().join(MARK_FILE), text).unwrap();
        let clock = Clock::start();
        let error = clock.go_on_from(dir.path()).unwrap_err().to_string();
        assert!(error.contains(MARK_FILE) && error.contains("Nothing was ended"));
        assert!(clock.now() < Timestamp(far - BELIEVED), "{error}");
        // The same one, where the newest record was made not long before it.
        clock.not_before(Timestamp(far - BELIEVED / 2));
        clock.go_on_from(dir.path()).unwrap();
        assert!(clock.now() >= Timestamp(far));
    }
}
