//! Time that only goes forward.
//!
//! Windows, codes, sessions and tokens count wall time including sleep. "Now" is the later of the wall clock and the
//! latest recorded time plus what the boot clock has counted since: setting the clock back lengthens nothing (DESIGN 5).

use nix::time::{ClockId, clock_gettime};
use plexus_protocol::Timestamp;
use std::{
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
pub(crate) struct Clock(Arc<Mutex<Anchor>>);

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
    pub(crate) fn start() -> Self {
        Self(Arc::new(Mutex::new(Anchor {
            at: 0,
            boot: boot_ms(),
        })))
    }

    /// Learns a moment that has certainly passed: the time of the newest record.
    pub(crate) fn not_before(&self, at: Timestamp) {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = boot_ms();
        let known = anchor.at.saturating_add(boot.saturating_sub(anchor.boot));
        *anchor = Anchor {
            at: known.max(at.0),
            boot,
        };
    }

    /// Milliseconds since the epoch, never less than before.
    pub(crate) fn now(&self) -> Timestamp {
        let mut anchor = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let boot = boot_ms();
        let known = anchor.at.saturating_add(boot.saturating_sub(anchor.boot));
        let now = known.max(wall_ms());
        *anchor = Anchor { at: now, boot };
        Timestamp(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_lengthens_nothing() {
        let clock = Clock::start();
        let future = Timestamp(wall_ms() + 3_600_000);
        clock.not_before(future);
        assert!(
            clock.now() >= future,
            "the record counts, not the wall clock"
        );
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
