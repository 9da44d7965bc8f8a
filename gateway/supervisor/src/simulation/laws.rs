//! What must hold of every history, whatever was done.
//!
//! | law | looked at |
//! |---|---|
//! | one live process for each role | where a process is born (`world`) |
//! | a call comes to its own role and revision only, never twice at once, never after it was taken back | where it arrives (`puppet`) |
//! | nothing comes after `Stop` | where it arrives (`puppet`) |
//! | never more under way than there are slots, one of them the owner's | where it arrives (`puppet`) |
//! | every call has one outcome, in time | here |
//! | a commit comes once at most, a read four times | here |
//! | what is said to be done was done once; what was never sent was never done | here |
//! | `busy` is said where the lane is full, and only there | here |
//! | a start comes no sooner than its pause allows | `ladder` |
//! | with sound workers everything serves again; afterwards no process and no task is left | `stage` |

use super::{
    ladder,
    script::{Ask, Deed, Kind, Schedule},
    world::{Fact, Good, World},
};
use crate::{AGENTS_WAITING, DispatchError, OWNER_WAITING, READ_RETRIES, Unavailable};
use std::{collections::BTreeMap, time::Duration};

/// Between a call's deadline and its caller's patience (`call.rs`).
const GRACE: Duration = Duration::from_millis(500);
/// A settle's own deadline (`supervisor.rs`).
const SETTLE: Duration = Duration::from_secs(30);

/// A call, from the log.
struct Case {
    at: Duration,
    ask: Ask,
    revision: u64,
    outcomes: Vec<(Duration, Result<Good, DispatchError>)>,
    hung_up: bool,
    /// Calls in its lane that had no outcome when it was told that it is busy.
    beside: usize,
}

impl Case {
    /// What settles has a lane of its own, which is never full.
    fn shares_a_lane_with(&self, other: &Self) -> bool {
        let lane = |Ask { kind, owner, .. }: Ask| (kind.role(), owner, kind == Kind::Settle);
        lane(self.ask) == lane(other.ask)
    }

    fn patience(&self) -> Duration {
        let deadline = match self.ask.kind {
            Kind::Settle => SETTLE,
            Kind::Read | Kind::Plan | Kind::Commit => Duration::from_millis(self.ask.deadline),
        };
        deadline + GRACE
    }
}

/// Notes in `world` each law that its history breaks.
pub(super) fn judge(world: &World, schedule: &Schedule) {
    let mut broken = Vec::new();
    {
        let inner = world.look();
        // A worker that answers without reading lies, and only its cage bounds what it can do.
        let liars = schedule
            .writers
            .iter()
            .any(|life| life.deeds.iter().any(|deed| matches!(deed, Deed::Guesses)));
        for (tag, case) in &cases(&inner.log) {
            let got = inner.got.get(tag).copied().unwrap_or(0);
            let done = inner.effects.get(tag).copied().unwrap_or(0);
            broken.extend(wrong_with(case, got, done, liars).map(|why| {
                let (ask, outcomes) = (&case.ask, &case.outcomes);
                format!("call {tag}: {why}; {ask:?} came {got} times, done {done}: {outcomes:?}")
            }));
        }
        broken.extend(ladder::broken_by(&inner.log));
    }
    for what in broken {
        world.wrong(what);
    }
}

fn cases(log: &[(Duration, Fact)]) -> BTreeMap<u64, Case> {
    let mut cases: BTreeMap<u64, Case> = BTreeMap::new();
    for (at, fact) in log {
        match fact {
            Fact::Asked { tag, ask, revision } => {
                let case = Case {
                    at: *at,
                    ask: *ask,
                    revision: *revision,
                    outcomes: Vec::new(),
                    hung_up: false,
                    beside: 0,
                };
                cases.insert(*tag, case);
            }
            Fact::HungUp { tag } => {
                cases.entry(*tag).and_modify(|case| case.hung_up = true);
            }
            Fact::Told { tag, outcome } => {
                let busy = matches!(outcome, Err(DispatchError::Busy { .. }));
                let beside = cases.get(tag).filter(|_| busy).map_or(0, |told| {
                    // Which of two that are told in one instant was answered first cannot be seen from outside; but one
                    // that found no room did not wait.
                    let waits = |other: &&Case| {
                        let no_room =
                            |told: &Result<_, _>| matches!(told, Err(DispatchError::Busy { .. }));
                        let mut outcomes = other.outcomes.iter();
                        outcomes.all(|(when, told)| when == at && !no_room(told))
                    };
                    let others = cases.values().filter(waits);
                    others
                        .filter(|other| told.shares_a_lane_with(other))
                        .count()
                        - 1
                });
                cases.entry(*tag).and_modify(|case| {
                    case.outcomes.push((*at, outcome.clone()));
                    case.beside = beside;
                });
            }
            _ => {}
        }
    }
    cases
}

fn wrong_with(case: &Case, got: u32, done: u32, liars: bool) -> Option<&'static str> {
    let kind = case.ask.kind;
    let most = match kind {
        Kind::Commit => 1,
        Kind::Read | Kind::Plan | Kind::Settle => 1 + u32::from(READ_RETRIES),
    };
    if got > most {
        return Some("it was sent too often");
    }
    if done > 1 {
        return Some("it was done twice");
    }
    let (at, outcome) = match case.outcomes.as_slice() {
        [one] if !case.hung_up => one,
        [] if case.hung_up => return None,
        _ => return Some("not one outcome"),
    };
    if *at > case.at + case.patience() {
        return Some("its caller waited too long");
    }
    let error = match outcome {
        Ok(_) if kind != Kind::Commit || liars => return None,
        Ok(Good::Done) if done != 1 => return Some("said to be done, and was not"),
        Ok(Good::Failed) if done != 0 => return Some("said to have failed, and was done"),
        Ok(_) => return None,
        Err(error) => error,
    };
    if kind == Kind::Commit && !may_be_done(error) && got > 0 {
        return Some("said never to have been sent");
    }
    match error {
        DispatchError::Busy { .. } => {
            let room = if case.ask.owner {
                OWNER_WAITING
            } else {
                AGENTS_WAITING
            };
            (case.beside < room).then_some("there was room for it")
        }
        // What a worker's failure says is the revision that it was of.
        DispatchError::Unavailable { message, .. } => message
            .rsplit_once("of revision ")
            .is_some_and(|(_, of)| of != case.revision.to_string())
            .then_some("refused for a failure of another revision"),
        _ => None,
    }
}

/// Whether a caller that is told this has to reckon with the effect.
fn may_be_done(error: &DispatchError) -> bool {
    match error {
        DispatchError::Deadline { dispatched } | DispatchError::Died { dispatched } => *dispatched,
        DispatchError::Unavailable { reason, .. } => match reason {
            Unavailable::CannotStart
            | Unavailable::CannotOpen
            | Unavailable::Replaced
            | Unavailable::Unsendable
            | Unavailable::CodeChanged => false,
        },
        DispatchError::Busy { .. }
        | DispatchError::NoSource
        | DispatchError::TakenBack
        | DispatchError::ShuttingDown => false,
    }
}
