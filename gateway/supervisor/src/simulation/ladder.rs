//! A model of the pauses between starts, that knows the design and not the actor: from the supervisor's own notices it
//! says when the next start may come at the soonest.
//!
//! ```text
//! failed n times in a row ─▶ 200 ms, 400 ms, 800 ms, 1.6 s, then 60 s each time for a call, more for none
//! had answered, was asked to end, was replaced ─▶ n = 0, at once          the owner probes ─▶ n as it is, at once
//! ```

use super::world::Fact;
use crate::{Pace, START_ATTEMPTS};
use plexus_ipc::message::Role;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Of one role. Whether a worker's answer was heard before its end cannot always be known from outside, so more than
/// one count may be right.
#[derive(Debug)]
struct Ladder {
    failures: BTreeSet<u32>,
    not_before: Duration,
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            failures: BTreeSet::from([0]),
            not_before: Duration::ZERO,
        }
    }
}

/// The pause after so many failures in a row, if a call comes then.
pub(super) fn pause(failures: u32) -> Duration {
    let pace = Pace::default();
    match failures {
        0 => Duration::ZERO,
        n if n >= START_ATTEMPTS => pace.failed_pause,
        n => pace.backoff * 2_u32.pow(n - 1),
    }
}

impl Ladder {
    fn reset(&mut self) {
        *self = Self::default();
    }

    fn fell(&mut self, at: Duration, failures: BTreeSet<u32>) {
        let least = failures.iter().min().copied().unwrap_or(0);
        self.not_before = at + pause(least);
        self.failures = failures;
    }

    /// What the owner asked at the very moment of a fall may be heard after it.
    fn at_once_if(&mut self, owner_asked: bool) {
        if owner_asked {
            self.not_before = Duration::ZERO;
        }
    }
}

/// Each start that came too soon, and each count of failures that cannot be.
pub(super) fn broken_by(log: &[(Duration, Fact)]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut ladders: BTreeMap<Role, Ladder> = BTreeMap::new();
    let mut answered = BTreeSet::new();
    // What became of a worker of an older revision says nothing about those of the present one; nor what became of one from
    // before a removal, so the times that the source was put in place count.
    let mut present = (1, 0);
    let mut revisions: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
    let mut last: BTreeMap<Role, u32> = BTreeMap::new();
    let (mut probed, mut removed) = (None, false);
    // Starts of which nothing was heard yet. A failure does not say whose it is.
    let mut starting: BTreeMap<u32, Role> = BTreeMap::new();
    for (at, fact) in log {
        match fact {
            Fact::Begun {
                role,
                pid,
                revision,
            } => {
                revisions.insert(*pid, (*revision, present.1));
                last.insert(*role, *pid);
                starting.insert(*pid, *role);
                let ladder = ladders.entry(*role).or_default();
                let soonest = ladder.not_before;
                // That it fails again may not be reported.
                if ladder.failures.iter().all(|n| *n >= START_ATTEMPTS) {
                    ladder.not_before = *at + pause(START_ATTEMPTS);
                }
                if *revision == present.0 && *at < soonest {
                    broken.push(format!(
                        "{at:?}: {role} {pid} is started before {soonest:?}"
                    ));
                }
            }
            Fact::StartFailed { role, attempts } => {
                let revision = last.get(role).and_then(|pid| revisions.get(pid));
                if revision != Some(&present) {
                    continue;
                }
                let ladder = ladders.entry(*role).or_default();
                // Those that are not reported are between.
                let fits = ladder
                    .failures
                    .iter()
                    .any(|n| n + 1 == *attempts || (*n >= START_ATTEMPTS && attempts > n));
                let of_an_older = starting
                    .iter()
                    .find(|(pid, of)| *of == role && revisions.get(pid) != Some(&present));
                if let Some((&pid, _)) = of_an_older {
                    starting.remove(&pid);
                    // Either's: then both counts may be right, and a start may come as soon as it might before.
                    if fits {
                        ladder.failures.insert(*attempts);
                    }
                    continue;
                }
                if !fits {
                    let known = &ladder.failures;
                    broken.push(format!(
                        "{at:?}: {role} failed {attempts} times after {known:?}"
                    ));
                }
                ladder.fell(*at, BTreeSet::from([*attempts]));
                ladder.at_once_if(probed == Some(*at));
            }
            Fact::Answered { pid } => {
                answered.insert(*pid);
            }
            Fact::Serves { role, pid } => {
                starting.remove(pid);
                // Its end sets the pause anew; the start that follows may be noted before that end.
                ladders.entry(*role).or_default().not_before = Duration::ZERO;
            }
            Fact::Ended { role, pid, cause } => {
                starting.remove(pid);
                if revisions.get(pid) != Some(&present) {
                    continue;
                }
                let ladder = ladders.entry(*role).or_default();
                if cause.asked_for() {
                    ladder.reset();
                    continue;
                }
                let mut failures: BTreeSet<u32> = ladder.failures.iter().map(|n| n + 1).collect();
                if answered.contains(pid) {
                    failures.insert(0);
                }
                ladder.fell(*at, failures);
                ladder.at_once_if(probed == Some(*at));
            }
            Fact::OwnerProbes => {
                probed = Some(*at);
                for ladder in ladders.values_mut() {
                    ladder.not_before = Duration::ZERO;
                }
            }
            Fact::Removed => removed = true,
            // The same again changes nothing, where it was not removed meanwhile.
            Fact::Replaced { revision } if *revision != present.0 || removed => {
                (present, removed) = ((*revision, present.1 + 1), false);
                ladders.values_mut().for_each(Ladder::reset);
            }
            _ => {}
        }
    }
    broken
}
