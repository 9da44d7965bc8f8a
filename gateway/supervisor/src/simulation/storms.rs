//! Workers that never come to anything, under calls that never cease: how often they are started.
//!
//! The bounds are those of the design: five starts in a row, then one a minute while somebody asks, and ever fewer while
//! nobody does; and one for each answer, of a worker that answers and dies.

use super::{
    ladder::pause,
    script::{Act, Ask, Birth, Deed, Kind, Life, Probes, Step, Trouble},
    stage::{Stage, run},
    world::{Fact, World},
};
use crate::{Health, Pace, START_ATTEMPTS};
use std::time::Duration;
use tokio::time::sleep;

const HOUR: u64 = 3_600;

fn read() -> Ask {
    Ask {
        kind: Kind::Read,
        owner: false,
        deadline: 10_000,
        stale: false,
        taken_back: false,
    }
}

/// When a worker was started, in so many seconds with a call in each.
fn starts_of(life: &Life, seconds: u64) -> Vec<Duration> {
    let history = run(|| async {
        let world = World::new(&vec![life.clone(); 10_000], &[]);
        let stage = Stage::new(world.clone());
        for _ in 0..seconds {
            stage.ask(&read());
            sleep(Duration::from_secs(1)).await;
        }
        stage.supervisor.shutdown().await;
        world
    });
    assert_eq!(history.broken, [""; 0]);
    let begun = |(at, fact): &(Duration, Fact)| matches!(fact, Fact::Begun { .. }).then_some(*at);
    history.log.iter().filter_map(begun).collect()
}

#[test]
fn a_worker_that_never_serves_is_started_five_times_and_then_once_a_minute() {
    let births = [
        Birth::NoProcess,
        Birth::NotPrepared,
        Birth::Until(Step::Hello, Trouble::Exits),
        Birth::Until(Step::Hello, Trouble::Unsound),
        Birth::Until(Step::Described, Trouble::Otherwise),
        Birth::Until(Step::Opened, Trouble::Otherwise),
        Birth::Until(Step::Opened, Trouble::Garbage),
    ];
    for birth in births {
        let starts = starts_of(
            &Life {
                birth: birth.clone(),
                ..Life::sound()
            },
            HOUR,
        );
        let most = START_ATTEMPTS as usize + 60;
        assert!(
            (most - 2..=most).contains(&starts.len()),
            "{birth:?}: {} starts in an hour",
            starts.len()
        );
        let gaps: Vec<Duration> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (n, gap) in (1..).zip(&gaps) {
            let due = pause(n.min(START_ATTEMPTS));
            // Between two starts lie the failing one and its pause, and the time until somebody asks again.
            assert!(
                *gap >= due && *gap <= due + Duration::from_secs(2),
                "{birth:?}: the pause before start {} is {gap:?}, not {due:?}",
                n + 1
            );
        }
    }
}

/// Nobody asks for it any more: the pauses grow, and so does not the audit log.
#[test]
fn failed_source_is_tried_ever_more_rarely_and_told_once() {
    let life = Life {
        birth: Birth::NoProcess,
        ..Life::sound()
    };
    let history = run(|| async {
        let lives = [vec![life; 15], vec![Life::sound()]].concat();
        let world = World::new(&lives, &[]);
        let stage = Stage::new(world.clone());
        stage.ask(&read());
        sleep(Duration::from_secs(12 * HOUR)).await;
        stage.supervisor.shutdown().await;
        world
    });
    assert_eq!(history.broken, [""; 0]);
    let of = |wanted: fn(&Fact) -> bool| -> Vec<Duration> {
        let log = history.log.iter();
        log.filter(|(_, fact)| wanted(fact))
            .map(|(at, _)| *at)
            .collect()
    };
    let begun = of(|fact| matches!(fact, Fact::Begun { .. }));
    let pauses: Vec<u64> = begun
        .windows(2)
        .skip(START_ATTEMPTS as usize - 1)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect();
    let expected = [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600];
    assert_eq!(pauses, expected);
    let failed = of(|fact| matches!(fact, Fact::StartFailed { .. }));
    assert_eq!(failed.len(), START_ATTEMPTS as usize, "{failed:?}");
    assert_eq!(of(|fact| matches!(fact, Fact::Serves { .. })).len(), 1);
}

#[test]
fn a_worker_that_dies_under_its_first_call_counts_as_one_that_never_served() {
    let starts = starts_of(
        &Life {
            deeds: vec![Deed::Dies(0)],
            ..Life::sound()
        },
        HOUR,
    );
    assert!(
        starts.len() <= START_ATTEMPTS as usize + 60,
        "{} starts",
        starts.len()
    );
    assert!(starts.len() >= 50, "{} starts", starts.len());
}

#[test]
fn a_worker_that_answers_and_dies_is_started_once_for_each_answer() {
    let calls = 600;
    let starts = starts_of(
        &Life {
            deeds: vec![Deed::AnswersAndDies(0)],
            ..Life::sound()
        },
        600,
    );
    assert!(
        starts.len() <= calls + 1,
        "{} starts for {calls} answers",
        starts.len()
    );
}

#[test]
fn a_worker_that_dies_after_each_probe_is_started_as_often_as_it_is_probed() {
    let history = run(|| async {
        let life = Life {
            probes: Probes::In(0),
            exits_at: Some(5_500),
            ..Life::sound()
        };
        let world = World::new(&vec![life; 10_000], &[]);
        let stage = Stage::new(world.clone());
        stage.ask(&read());
        sleep(Duration::from_secs(HOUR)).await;
        stage.supervisor.shutdown().await;
        world
    });
    assert_eq!(history.broken, [""; 0]);
    let begun = |(_, fact): &&(Duration, Fact)| matches!(fact, Fact::Begun { .. });
    let starts = history.log.iter().filter(begun).count();
    let probes = HOUR / Pace::default().probe_every.as_secs();
    assert!(
        starts <= usize::try_from(probes).expect("a number"),
        "{starts} starts"
    );
}

#[test]
fn probe_of_the_owner_checks_though_another_is_out() {
    let every = Pace::default().probe_every;
    // Before a probe of the supervisor's own, and while one is out that is answered after 400 ms.
    for since_start in [every / 2, every + Duration::from_millis(200)] {
        let history = run(|| async move {
            let life = Life {
                probes: Probes::In(400),
                ..Life::sound()
            };
            let world = World::new(&[life], &[]);
            let stage = Stage::new(world.clone());
            let tag = stage.ask(&read());
            drop(stage.outcome(tag).await);
            let (supervisor, source) = (stage.supervisor.clone(), stage.source.clone());
            sleep(since_start).await;
            let before = supervisor.health(&source);
            let checked = supervisor.probe(&source).await;
            sleep(every + Duration::from_secs(1)).await;
            let after = supervisor.health(&source);
            let found = [&before, &checked, &after].map(|health| health.status);
            if found != [Health::Ok, Health::Degraded, Health::Ok] {
                world.wrong(format!("after {since_start:?}: {found:?}, {checked:?}"));
            }
            supervisor.shutdown().await;
            world
        });
        assert_eq!(history.broken, [""; 0]);
    }
}

/// The app was away when the writer was first wanted, and is back.
#[test]
fn probe_of_the_owner_asks_a_failed_writer() {
    let history = run(|| async {
        let well = Life {
            probes: Probes::Only(9),
            ..Life::sound()
        };
        let failing = Life {
            birth: Birth::Until(Step::Opened, Trouble::Otherwise),
            ..well.clone()
        };
        let world = World::new(std::slice::from_ref(&well), &[failing, well.clone()]);
        let stage = Stage::new(world.clone());
        let (supervisor, source) = (stage.supervisor.clone(), stage.source.clone());
        let started = supervisor.probe(&source).await;
        let tag = stage.ask(&Ask {
            kind: Kind::Commit,
            ..read()
        });
        drop(stage.outcome(tag).await);
        // Beyond its pause: no start is due any more.
        sleep(Duration::from_secs(1)).await;
        let failed = supervisor.health(&source);
        let checked = supervisor.probe(&source).await;
        let found = [&started, &failed, &checked].map(|health| health.status);
        if found != [Health::Ok, Health::Degraded, Health::Ok] {
            world.wrong(format!("{found:?}, {failed:?}, {checked:?}"));
        }
        supervisor.shutdown().await;
        world
    });
    assert_eq!(history.broken, [""; 0]);
}

/// A worker that guesses the ids of its calls and answers them unread fills the queue to it. What is then hung up costs
/// the actor its patience once, not once for each caller: it stays able to hear.
#[test]
fn a_worker_that_answers_without_reading_stalls_the_actor_once_at_most() {
    // The queue holds 256 frames and the stream some more: one of these counts fills both, but for what is hung up.
    for count in (300..900).step_by(45) {
        let history = run(|| async move {
            let life = Life {
                deeds: vec![Deed::Guesses],
                heeds_cancel: false,
                ..Life::sound()
            };
            let world = World::new(&[life], &[]);
            let stage = Stage::new(world.clone());
            let long = Ask {
                deadline: 3_000_000,
                ..read()
            };
            for _ in 0..60 {
                stage.ask(&long);
            }
            for _ in 0..count {
                sleep(Duration::from_millis(1)).await;
                stage.ask(&long);
            }
            for back in 0..60 {
                stage.act(&Act::HangUp(back));
            }
            sleep(Duration::from_millis(1)).await;
            let (asked, tag) = (
                world.now(),
                stage.ask(&Ask {
                    deadline: 0,
                    ..read()
                }),
            );
            drop(stage.outcome(tag).await);
            let waited = world.now() - asked;
            if waited > Duration::from_secs(4) {
                world.wrong(format!("after {count} calls one is answered in {waited:?}"));
            }
            stage.supervisor.shutdown().await;
            world
        });
        assert_eq!(history.broken, [""; 0]);
    }
}
