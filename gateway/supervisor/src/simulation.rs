//! The supervisor on a machine that does not exist: its processes are puppets, its clock moves when all is quiet.
//!
//! ```text
//! schedule ─▶ stage ─▶ Supervisor ─ frames, in memory ─▶ puppet ─▶ world: what happened, and when
//!                 one seed, one history                              └─▶ laws, and a model of the pauses
//! ```
//!
//! Everything but the process and the clock is the real thing: the actors, the queue, the tickets of callers, the
//! gateway's end of the stream with its table of phases, the frames. The runtime has no door to the system, so nothing
//! but the schedule can decide what comes next: a failing one shrinks and can be played again.
//!
//! Must not know: how an actor decides.

mod floods;
mod ladder;
mod laws;
mod puppet;
mod script;
pub(crate) mod stage;
mod storms;
mod words;
mod world;

use super::notice::Cause;
use proptest::prelude::*;
use std::time::Duration;
use world::Fact;

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever workers do and whatever is asked meanwhile, every law holds, and afterwards the source serves again.
    #[test]
    fn every_schedule_keeps_the_laws(schedule in script::schedules()) {
        let history = stage::play(&schedule);
        prop_assert!(history.broken.is_empty(), "{}", history.told());
    }
}

/// As many as the length of the tests allows (`plexus_tests::length`), or as `PROPTEST_CASES` says.
fn cases() -> u32 {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return ProptestConfig::default().cases;
    }
    match std::env::var("PLEXUS_TEST_LENGTH").as_deref() {
        Ok("long") => 20_000,
        Ok("full") => 100,
        Ok(_) | Err(_) => 32,
    }
}

/// An hour in which nobody calls.
#[test]
fn resident_worker_starts_uncalled_and_stays() {
    let uncalled = |resident| {
        let history = stage::run(move || async move {
            let stage = stage::Stage::of(world::World::new(&[], &[]), resident);
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            stage.supervisor.shutdown().await;
            stage.world.clone()
        });
        assert!(history.broken.is_empty(), "{}", history.told());
        let is_start = |fact: &Fact| matches!(fact, Fact::Begun { .. });
        let is_idle = |fact: &Fact| {
            let cause = Cause::Idle;
            matches!(fact, Fact::Ended { cause: found, .. } if *found == cause)
        };
        let count = |is: &dyn Fn(&Fact) -> bool| {
            let log = history.log.iter();
            log.filter(|(_, fact)| is(fact)).count()
        };
        (count(&is_start), count(&is_idle))
    };
    assert_eq!(uncalled(true), (2, 0));
    assert_eq!(uncalled(false), (0, 0), "the control");
}

/// What makes a failing schedule worth printing.
#[test]
fn a_schedule_has_one_history() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..8 {
        let schedule = script::schedules().new_tree(&mut runner).expect("one");
        let schedule = proptest::strategy::ValueTree::current(&schedule);
        let (one, other) = (stage::play(&schedule), stage::play(&schedule));
        assert_eq!(one.told(), other.told());
        assert!(one.log.len() > 8, "something happened: {}", one.told());
    }
}

/// What twenty thousand schedules found, each time in one instant in which more than one thing happened.
mod found {
    use super::{
        script::{Act, Ask, Birth, Deed, End, Kind, Life, OnStop, Probes, Schedule, Step, Trouble},
        stage,
        world::{Fact, Good},
    };
    use crate::{DispatchError, OWNER_WAITING};
    use plexus_ipc::message::Role;

    fn ask(owner: bool) -> Ask {
        Ask {
            kind: Kind::Read,
            owner,
            deadline: 0,
            stale: false,
            taken_back: false,
        }
    }

    /// Comes to serve at once, and dies of its first call.
    fn dying() -> Life {
        Life {
            birth: Birth::Well,
            slow: 0,
            deeds: vec![Deed::Dies(0)],
            probes: Probes::In(0),
            stop: OnStop::Ends,
            heeds_cancel: false,
            heeds_term: false,
            lingers: 0,
            exits_at: None,
            grows_at: None,
        }
    }

    fn holds(readers: Vec<Life>, acts: Vec<(u64, Act)>) -> stage::History {
        let schedule = Schedule {
            readers,
            writers: Vec::new(),
            acts,
            end: End::Shutdown,
        };
        let history = stage::play(&schedule);
        assert!(history.broken.is_empty(), "{}", history.told());
        history
    }

    /// The owner asks as a start fails, and is heard after it: then the next one is due at once.
    #[test]
    fn the_owner_asks_as_a_start_fails() {
        let acts = vec![
            (0, Act::Ask(ask(false))),
            (1, Act::Freeze(Role::Reader)),
            (0, Act::Kill(Role::Reader)),
            (0, Act::Ask(ask(false))),
            (0, Act::Probe),
        ];
        holds(Vec::new(), acts);
    }

    /// A source is changed before a removal that was asked for earlier, and comes back as it is: what failed is forgotten.
    #[test]
    fn a_source_is_removed_after_a_change_and_comes_back_the_same() {
        let life = |birth| Life { birth, ..dying() };
        let read = || Act::Ask(ask(false));
        let acts = vec![
            (0, Act::Remove(0)),
            (0, Act::Replace),
            (0, read()),
            (0, read()),
            (1, read()),
            (0, read()),
        ];
        holds(vec![life(Birth::NoProcess), life(Birth::Well)], acts);
    }

    /// A worker of what the source was fails while the one of what it is now starts: whose failure is told is not said.
    #[test]
    fn a_start_fails_as_the_source_is_changed() {
        let early = Life {
            birth: Birth::Until(Step::Hello, Trouble::Exits),
            slow: 9,
            ..dying()
        };
        let read = |deadline| {
            Act::Ask(Ask {
                deadline,
                ..ask(false)
            })
        };
        let acts = vec![
            (0, read(0)),
            (1, Act::Kill(Role::Reader)),
            (0, Act::Replace),
            (0, read(0)),
            (1, read(1)),
        ];
        holds(vec![early, dying()], acts);
    }

    /// Many effects have lost their worker, or were left by a crash: the source is asked about each of them at once.
    #[test]
    fn a_source_is_asked_about_any_number_of_effects_at_once() {
        let settle = Ask {
            kind: Kind::Settle,
            ..ask(true)
        };
        let write = Ask {
            kind: Kind::Commit,
            deadline: 10_000,
            ..ask(true)
        };
        let of_owner = u16::try_from(OWNER_WAITING).expect("few");
        let acts = vec![
            (0, Act::Burst(settle, 100)),
            // The control: they take no room from what has a bound.
            (0, Act::Burst(write, of_owner + 1)),
            (1_000, Act::Ask(settle)),
        ];
        let history = holds(Vec::new(), acts);
        let told = |good: fn(&Result<Good, DispatchError>) -> bool| {
            let told = history.log.iter().filter(|(_, fact)| match fact {
                Fact::Told { tag, outcome } => *tag <= 118 && good(outcome),
                _ => false,
            });
            told.count()
        };
        assert_eq!(
            told(|outcome| *outcome == Ok(Good::Done)),
            100 + OWNER_WAITING + 1,
            "{}",
            history.told()
        );
        assert_eq!(
            told(|outcome| matches!(outcome, Err(DispatchError::Busy { .. }))),
            1
        );
    }

    /// A call finds the queue full, and all that waited there is refused before its caller hears of it.
    #[test]
    fn a_full_queue_is_refused_as_a_whole() {
        let acts = vec![(0, Act::Burst(ask(true), 17)), (0, Act::Replace)];
        holds(Vec::new(), acts);
    }
}
