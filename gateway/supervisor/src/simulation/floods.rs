//! Workers that say more than anybody asked for: when they are ended, and who has a turn meanwhile.

use super::{
    script::{Ask, Deed, Kind, Life},
    stage::{Stage, run},
    world::{Fact, World},
};
use crate::{CallRequest, Cause, Listener, Pace, Stands};
use bytes::Bytes;
use plexus_ipc::message::Role;
use plexus_protocol::Digest;
use std::time::Duration;
use tokio::{sync::mpsc, task::yield_now, time::sleep};

fn flooding(lines: u32) -> World {
    let life = Life {
        deeds: vec![Deed::Floods(lines)],
        ..Life::sound()
    };
    World::new(&vec![life; 100], &[])
}

/// What ended workers that told so many lines for each of so many reads, `pause` apart.
fn ended_by(lines: u32, reads: u32, pause: Duration) -> Vec<Cause> {
    let history = run(|| async {
        let stage = Stage::new(flooding(lines));
        for _ in 0..reads {
            stage.ask(&Ask {
                kind: Kind::Read,
                owner: false,
                deadline: 10_000,
                stale: false,
                taken_back: false,
            });
            sleep(pause).await;
        }
        stage.supervisor.shutdown().await;
        stage.world.clone()
    });
    assert_eq!(history.broken, [""; 0]);
    let ends = history.log.into_iter().filter_map(|(_, fact)| match fact {
        Fact::Ended { cause, .. } if !cause.asked_for() => Some(cause),
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_worker_that_floods_the_gateway_with_progress_is_ended() {
    let every = Pace::default().probe_every;
    let flood = Cause::Broke("progress beyond its credit".to_owned());
    assert_eq!(
        ended_by(501, 1, every),
        vec![flood; 4],
        "and each that is tried after it"
    );
    // The controls.
    assert_eq!(ended_by(500, 1, every), []);
    assert_eq!(ended_by(500, 10, every), [], "each call has its own");
}

/// The whole daemon runs on one thread.
#[test]
fn whatever_a_worker_says_others_have_their_turn() {
    const LINES: usize = 500;
    let history = run(|| async {
        let stage = Stage::new(flooding(500));
        let (told, mut lines) = mpsc::unbounded_channel();
        let listener = Listener::new(move |chunk, _| drop(told.send(chunk)));
        let input = Bytes::from_static(br#"{"tag": 1, "revision": 1}"#);
        let request = CallRequest {
            capability: "read".to_owned(),
            digest: Digest::of(&input),
            input,
            constraint: None,
            deadline: Duration::from_secs(10),
            revision: 1,
            origin: None,
            owner: false,
            stands: Stands::default(),
            audit: None,
            progress: Some(listener),
            cancel: None,
            late: None,
        };
        let hearing = tokio::spawn(async move {
            let mut turns = Vec::new();
            while lines.recv().await.is_some() {
                let more = std::iter::from_fn(|| lines.try_recv().ok());
                turns.push(1 + more.count());
                yield_now().await;
            }
            turns
        });
        let compared = stage.supervisor.compared(&stage.source, Role::Reader);
        let code = compared.await.expect("a source");
        let read = stage.supervisor.read(&code, request).await;
        assert!(read.is_ok(), "{read:?}");
        let turns = hearing.await.expect("a task");
        assert_eq!(turns.iter().sum::<usize>(), LINES, "the control: all of it");
        assert!(turns.iter().all(|lines| *lines <= 256), "{turns:?}");
        stage.supervisor.shutdown().await;
        stage.world.clone()
    });
    assert_eq!(history.broken, [""; 0]);
}
