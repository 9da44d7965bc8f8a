//! Failed credentials: each failure of a kind from a peer makes the next failure slower, then 429; a right credential
//! is never delayed (docs/design.md#credentials).

use plexus_calls::metrics::FailedCredential;
pub use plexus_calls::metrics::FailedCredential as Kind;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Over TCP.
    Address(std::net::IpAddr),
    /// Over a Unix socket.
    User(u32),
}

impl Peer {
    /// Every address of this machine is one peer: a program on it may send from any of 127.0.0.0/8.
    pub(crate) fn from_address(address: std::net::IpAddr) -> Self {
        let address = address.to_canonical();
        if address.is_loopback() {
            return Self::Address(std::net::Ipv4Addr::LOCALHOST.into());
        }
        Self::Address(match address {
            // What one host is commonly given is a whole /64.
            std::net::IpAddr::V6(v6) => {
                std::net::Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()
            }
            v4 @ std::net::IpAddr::V4(_) => v4,
        })
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::User(uid) => write!(f, "uid {uid}"),
        }
    }
}

/// Failures without a delay.
const FREE: u32 = 5;
/// Failures after which the answer is 429. The recorded clients try 51 wrong keys in a row and read 401 each time.
const MOST: u32 = 64;
/// After so long without a failure the count starts anew.
const FORGET: Duration = Duration::from_secs(60);
/// Longest delay.
const LONGEST: Duration = Duration::from_secs(2);
/// Peers that are remembered; the oldest go first.
const PEERS: usize = 1_024;

/// Records of failed credentials in a day, from everybody: 300 bytes each. Beyond, they are only counted, and the counts
/// recorded once an hour.
const RECORDS_A_DAY: u32 = 1_000;
const DAY: Duration = Duration::from_hours(24);
/// From one record of counts to the next, once the day's records are used up.
const COUNTED_EVERY: Duration = Duration::from_hours(1);

/// Failures, by credential and peer, and what of them may be recorded.
#[derive(Default)]
pub struct Throttle(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    failures: HashMap<(FailedCredential, Peer), Failures>,
    /// When the day began, and how many records it has seen.
    day: Option<(Instant, u32)>,
    counted: Option<Instant>,
}

impl Inner {
    /// Whether the day has another record.
    fn may_record(&mut self, now: Instant) -> bool {
        let (began, records) = self.day.get_or_insert((now, 0));
        if now.saturating_duration_since(*began) >= DAY {
            (*began, *records) = (now, 0);
        }
        *records = records.saturating_add(1);
        *records <= RECORDS_A_DAY
    }
}

struct Failures {
    count: u32,
    last: Instant,
    /// Those that no record tells of yet.
    unrecorded: u64,
}

/// What a failure costs.
pub(crate) enum Cost {
    /// And whether it is recorded by itself.
    Delay(Duration, bool),
    TooMany {
        retry_after: Duration,
    },
}

impl Throttle {
    /// Counts a failure.
    pub(crate) fn failed(&self, kind: FailedCredential, peer: Peer) -> Cost {
        let now = Instant::now();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = &mut inner.failures;
        all.retain(|_, held| {
            held.unrecorded > 0 || now.saturating_duration_since(held.last) < FORGET
        });
        if all.len() >= PEERS
            && let Some(oldest) = all
                .iter()
                .min_by_key(|(_, held)| held.last)
                .map(|(key, _)| *key)
        {
            all.remove(&oldest);
        }
        let held = all.entry((kind, peer)).or_insert(Failures {
            count: 0,
            last: now,
            unrecorded: 0,
        });
        // Kept only to be recorded: it counts anew.
        if now.saturating_duration_since(held.last) >= FORGET {
            held.count = 0;
        }
        held.count = held.count.saturating_add(1);
        held.last = now;
        let count = held.count;
        let recorded = count <= MOST && inner.may_record(now);
        if !recorded && let Some(held) = inner.failures.get_mut(&(kind, peer)) {
            held.unrecorded += 1;
        }
        match count {
            n if n > MOST => Cost::TooMany {
                retry_after: FORGET,
            },
            n if n > FREE => {
                let delay = LONGEST.min(Duration::from_millis(25 << (n - FREE).min(8)));
                Cost::Delay(delay, recorded)
            }
            _ => Cost::Delay(Duration::ZERO, recorded),
        }
    }

    /// Takes what was refused and not recorded, where it may be recorded now.
    pub(crate) fn unrecorded(&self) -> Vec<(FailedCredential, Peer, u64)> {
        let now = Instant::now();
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used_up = inner.day.is_some_and(|(began, records)| {
            records >= RECORDS_A_DAY && now.saturating_duration_since(began) < DAY
        });
        let lately = |at| now.saturating_duration_since(at) < COUNTED_EVERY;
        if used_up && inner.counted.is_some_and(lately) {
            return Vec::new();
        }
        inner.counted = Some(now);
        let all = inner.failures.iter_mut();
        all.filter(|(_, held)| held.unrecorded > 0)
            .map(|((kind, peer), held)| (*kind, *peer, std::mem::take(&mut held.unrecorded)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_is_one_peer() {
        let peer = |text: &str| Peer::from_address(text.parse().unwrap());
        for loopback in ["127.0.0.2", "127.255.0.1", "::1", "::ffff:127.0.0.9"] {
            assert_eq!(peer(loopback), peer("127.0.0.1"), "{loopback}");
        }
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn failures_cost_more_and_more() {
        let throttle = Throttle::default();
        let peer = Peer::User(1);
        let delay = |kind| match throttle.failed(kind, peer) {
            Cost::Delay(delay, _) => Some(delay),
            Cost::TooMany { .. } => None,
        };
        for _ in 0..FREE {
            assert_eq!(delay(FailedCredential::Key), Some(Duration::ZERO));
        }
        let first = delay(FailedCredential::Key).unwrap();
        assert!(delay(FailedCredential::Key).unwrap() > first);
        for _ in 0..MOST {
            let _ = delay(FailedCredential::Key);
        }
        assert_eq!(delay(FailedCredential::Key), None);
        let beyond = u64::from(FREE + 3);
        let key = FailedCredential::Key;
        assert_eq!(throttle.unrecorded(), [(key, peer, beyond)]);
        assert_eq!(throttle.unrecorded(), [], "told once");
        assert_eq!(delay(FailedCredential::Key), None, "and goes on counting");
        // Another kind has its own count.
        assert_eq!(delay(FailedCredential::Pat), Some(Duration::ZERO));
    }

    #[test]
    fn records_of_a_day_are_bounded() {
        let throttle = Throttle::default();
        let failed = |n: u32| {
            let cost = throttle.failed(FailedCredential::Pat, Peer::User(n / 10));
            matches!(cost, Cost::Delay(_, true))
        };
        let beyond = 50;
        let recorded = (0..RECORDS_A_DAY + beyond).filter(|n| failed(*n)).count();
        assert_eq!(recorded, RECORDS_A_DAY as usize);
        let counted = || {
            let counts = throttle.unrecorded().into_iter();
            counts.map(|(.., count)| count).sum::<u64>()
        };
        assert_eq!(counted(), u64::from(beyond), "all are counted");
        assert!(!failed(5_000));
        assert_eq!(counted(), 0, "not before an hour has passed");
    }
}
