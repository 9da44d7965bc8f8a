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
    script::{Deed, Kind, Schedule},
    world::{Fact, Good, World},
};
use crate::supervisor::{AGENTS_WAITING, DispatchError, OWNER_WAITING, READ_RETRIES, Unavailable};
use std::{collections::BTreeMap, time::Duration};

/// A call, from the log.
struct Case {
    kind: Kind,
    outcomes: Vec<Result<Good, DispatchError>>,
    hung_up: bool,
}

/// Notes in `world` each law that its history breaks.
pub(super) fn judge(world: &World, schedule: &Schedule) {
    let mut broken = Vec::new();
    {
        let inner = world.look();
        let mut cases: BTreeMap<u64, Case> = BTreeMap::new();
        for (_, fact) in &inner.log {
            match fact {
                Fact::Asked { tag, kind } => {
                    cases.insert(
                        *tag,
                        Case {
                            kind: *kind,
                            outcomes: Vec::new(),
                            hung_up: false,
                        },
                    );
                }
                Fact::HungUp { tag } => {
                    cases.entry(*tag).and_modify(|case| case.hung_up = true);
                }
                Fact::Told { tag, outcome } => {
                    cases
                        .entry(*tag)
                        .and_modify(|case| case.outcomes.push(outcome.clone()));
                }
                _ => {}
            }
        }
        // A worker that answers without reading lies, and only its cage bounds what it can do.
        let liars = schedule
            .writers
            .iter()
            .any(|life| life.deeds.iter().any(|deed| matches!(deed, Deed::Guesses)));
        for (tag, case) in &cases {
            let got = inner.got.get(tag).copied().unwrap_or(0);
            let done = inner.effects.get(tag).copied().unwrap_or(0);
            broken.extend(wrong_with(case, got, done, liars).map(|why| {
                let kind = case.kind;
                format!(
                    "{kind:?} {tag}: {why}; came {got}, done {done}: {:?}",
                    case.outcomes
                )
            }));
        }
        broken.extend(ladder::broken_by(&inner.log));
    }
    for what in broken {
        world.wrong(what);
    }
}

fn wrong_with(case: &Case, got: u32, done: u32, liars: bool) -> Option<&'static str> {
    let expected = usize::from(!case.hung_up);
    if case.outcomes.len() != expected {
        return Some("not one outcome");
    }
    let most = match case.kind {
        Kind::Commit => 1,
        Kind::Read | Kind::Plan | Kind::Settle => 1 + u32::from(READ_RETRIES),
    };
    if got > most {
        return Some("it was sent too often");
    }
    if done > 1 {
        return Some("it was done twice");
    }
    if case.kind != Kind::Commit {
        return None;
    }
    match case.outcomes.first() {
        Some(Ok(Good::Done)) if done != 1 && !liars => Some("said to be done, and was not"),
        Some(Ok(Good::Failed)) if done != 0 && !liars => Some("said to have failed, and was done"),
        Some(Err(error)) if !may_be_done(error) && got > 0 => Some("said never to have been sent"),
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
            | Unavailable::Unsendable => false,
        },
        DispatchError::Busy { .. }
        | DispatchError::NoSource
        | DispatchError::TakenBack
        | DispatchError::ShuttingDown => false,
    }
}
