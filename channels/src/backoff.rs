//! [`Backoff`]: how long a client waits before it connects again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// 1 s, doubling to 30 s, each ± 20 %.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause; `random` spreads it over its ± 20 %.
    pub fn next(&mut self, random: u8) -> Duration {
        let pause = (FIRST * 2_u32.saturating_pow(self.failures.min(8))).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause * 4 / 5 + pause * 2 / 5 * u32::from(random) / 255
    }

    /// The connection has held for long enough: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..7).map(|_| backoff.next(0).as_millis()).collect();
        assert_eq!(pauses, [800, 1_600, 3_200, 6_400, 12_800, 24_000, 24_000]);
        assert_eq!(backoff.next(255), Duration::from_secs(36));
        backoff.reset();
        assert_eq!(backoff.next(255), Duration::from_millis(1_200));
    }
}
