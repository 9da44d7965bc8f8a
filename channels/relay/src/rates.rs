//! [`Rates`]: how many requests a device may make, and how many that are refused an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Keys that are kept before full ones are forgotten; then as many again as were left.
const KEPT: usize = 20_000;

/// Requests a second, after a burst of twice as many. 0 is no limit.
pub(crate) struct Rates<K> {
    rate: f64,
    buckets: Mutex<Buckets<K>>,
}

/// By key: what is left, and since when.
struct Buckets<K> {
    left: HashMap<K, (f64, Instant)>,
    /// How many there are when full ones are forgotten.
    sweep: usize,
}

impl<K: Hash + Eq> Rates<K> {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate: f64::from(rate),
            buckets: Mutex::new(Buckets {
                left: HashMap::new(),
                sweep: KEPT,
            }),
        }
    }

    /// Counts a request; the pause in seconds where there were too many.
    pub(crate) fn admit(&self, key: K, now: Instant) -> Result<(), u64> {
        if self.rate == 0.0 {
            return Ok(());
        }
        let full = self.rate * 2.0;
        let filled = |(left, at): (f64, Instant)| {
            let since = now.saturating_duration_since(at).as_secs_f64();
            since.mul_add(self.rate, left).min(full)
        };
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { left, sweep } = &mut *buckets;
        if left.len() >= *sweep {
            left.retain(|_, bucket| filled(*bucket) < full);
            *sweep = KEPT.max(left.len() * 2);
        }
        let bucket = left.entry(key).or_insert((full, now));
        *bucket = (filled(*bucket), now);
        if bucket.0 < 1.0 {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "seconds, between 0 and 1 over the rate"
            )]
            return Err(((1.0 - bucket.0) / self.rate).ceil().max(1.0) as u64);
        }
        bucket.0 -= 1.0;
        Ok(())
    }

    /// Takes back a request that was counted.
    pub(crate) fn forgive(&self, key: &K) {
        let full = self.rate * 2.0;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((left, _)) = buckets.left.get_mut(key) {
            *left = (*left + 1.0).min(full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn burst_is_admitted_then_refused_until_time_passes() {
        let (rates, now) = (Rates::new(5), Instant::now());
        assert!((0..10).all(|_| rates.admit("a", now).is_ok()));
        assert_eq!(rates.admit("a", now), Err(1));
        assert_eq!(rates.admit("b", now), Ok(()));
        let later = now + Duration::from_millis(400);
        assert_eq!(
            (rates.admit("a", later), rates.admit("a", later)),
            (Ok(()), Ok(()))
        );
        assert_eq!(rates.admit("a", later), Err(1));
        rates.forgive(&"a");
        assert_eq!(rates.admit("a", later), Ok(()), "taken back");
        let unbounded = Rates::new(0);
        assert!((0..1_000).all(|_| unbounded.admit("a", now).is_ok()));
    }
}
