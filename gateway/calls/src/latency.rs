//! How long the calls of each source took over the last day, for the console.
//!
//! Invariants: a source has 24 hours of 48 counters, so memory is bounded by the number of sources; a restart forgets
//! it; it decides nothing.
//!
//! Must not know: agents, what was called, HTTP.

use plexus_protocol::{SourceId, Timestamp, capability::HOUR_MS};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Hours that are kept.
const HOURS: u64 = 24;
/// Bounds of the counters: half an octave each, from 0.1 ms to 20 minutes.
const STEPS: usize = 48;
/// The least of them, in microseconds.
const LEAST: u64 = 100;

type Hour = [u32; STEPS];

/// Calls by source and hour.
#[derive(Default)]
pub struct Latencies(Mutex<BTreeMap<SourceId, BTreeMap<u64, Hour>>>);

/// How long the calls of a source took: so many of a hundred took at most so long, to the next half octave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The source.
    pub source: SourceId,
    /// Of half of them.
    pub p50: Duration,
    /// Of 95 of a hundred.
    pub p95: Duration,
}

/// The most that a call of a counter took.
fn bound(step: usize) -> Duration {
    let whole = Duration::from_micros(LEAST << (step / 2));
    match step % 2 {
        0 => whole,
        _ => whole * 1_414 / 1_000,
    }
}

fn quantile(counts: &[u64; STEPS], percent: u64) -> Duration {
    let all: u64 = counts.iter().sum();
    let mut left = (all * percent).div_ceil(100);
    let reaches = |count: &u64| {
        left = left.saturating_sub(*count);
        left == 0
    };
    bound(counts.iter().position(reaches).unwrap_or(STEPS - 1))
}

impl Latencies {
    /// Counts a call.
    pub(crate) fn note(&self, source: SourceId, took: Duration, now: Timestamp) {
        let hour = now.0 / HOUR_MS;
        let step = (0..STEPS).position(|step| took <= bound(step));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hours = all.entry(source).or_default();
        if !hours.contains_key(&hour) {
            hours.retain(|of, _| of + HOURS > hour);
        }
        let counts = hours.entry(hour).or_insert([0; STEPS]);
        let count = &mut counts[step.unwrap_or(STEPS - 1)];
        *count = count.saturating_add(1);
    }

    /// Those of the last day, for each source that was called.
    pub fn of_day(&self, now: Timestamp) -> Vec<Latency> {
        let hour = now.0 / HOUR_MS;
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for hours in all.values_mut() {
            hours.retain(|of, _| of + HOURS > hour);
        }
        all.retain(|_, hours| !hours.is_empty());
        let of = |(source, hours): (&SourceId, &BTreeMap<u64, Hour>)| {
            let mut counts = [0; STEPS];
            for (sum, count) in hours.values().flat_map(|hour| hour.iter().enumerate()) {
                counts[sum] += u64::from(*count);
            }
            Latency {
                source: source.clone(),
                p50: quantile(&counts, 50),
                p95: quantile(&counts, 95),
            }
        };
        all.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_day() {
        let (latencies, source) = (Latencies::default(), SourceId::parse("s").unwrap());
        let begin = Timestamp(1_000 * HOUR_MS);
        let note = |ms, now| latencies.note(source.clone(), Duration::from_millis(ms), now);
        for _ in 0..94 {
            note(1, begin);
        }
        for _ in 0..6 {
            note(300, begin);
        }
        let [day] = &latencies.of_day(begin)[..] else {
            panic!("one source");
        };
        let near = |is: Duration, ms: u64| {
            let wanted = Duration::from_millis(ms);
            is >= wanted && is < wanted * 3 / 2
        };
        assert!(near(day.p50, 1) && near(day.p95, 300), "{day:?}");
        // What lies a day back does not count, and is forgotten.
        let later = begin.plus(HOURS * HOUR_MS);
        note(80_000, later);
        let [day] = &latencies.of_day(later)[..] else {
            panic!("one source");
        };
        assert!(near(day.p50, 80_000), "{day:?}");
        assert!(latencies.of_day(later.plus(HOURS * HOUR_MS)).is_empty());
        note(u64::from(u32::MAX), later);
        assert_eq!(latencies.of_day(later)[0].p95, bound(STEPS - 1));
    }
}
