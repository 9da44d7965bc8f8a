//! Reads: started for, queued, retried, cancelled.

use super::stage::{PATIENCE, Stage, call, eventually, exists, listening, output, pace, signal};
use nix::sys::signal::Signal;
use plexus_ipc::message::{Chunk, Role};
use plexus_supervisor::{
    AGENTS_WAITING, Cause, DispatchError, Health, Notice, Pace, READ_RETRIES, UNDER_WAY,
    Unavailable, WorkerState, WorkerStatus,
};
use serde_json::json;
use std::time::Duration;

fn is_replaced(error: &DispatchError) -> bool {
    let replaced = Unavailable::Replaced;
    matches!(error, DispatchError::Unavailable { reason, .. } if *reason == replaced)
}

#[tokio::test]
async fn the_first_call_starts_a_worker_and_the_second_finds_it() {
    let mut stage = Stage::new();
    let workers = stage.supervisor.workers();
    let stopped = |w: &&WorkerStatus| w.state == WorkerState::Stopped && w.pid.is_none();
    assert_eq!(workers.iter().filter(stopped).count(), 2, "{workers:?}");
    assert_eq!(stage.health().status, Health::Unknown);

    stage.serves("echo", json!({"a": 1}), json!({"a": 1})).await;
    let pid = stage.started(Role::Reader).await;
    stage.serves("echo", json!({"b": 2}), json!({"b": 2})).await;
    assert_eq!(stage.pid(Role::Reader), pid);

    let workers = stage.supervisor.workers();
    assert_eq!(workers.len(), 2, "{workers:?}");
    let states: Vec<_> = workers.iter().map(|w| (w.role, w.state)).collect();
    let (ready, stopped) = (WorkerState::Ready, WorkerState::Stopped);
    assert_eq!(states, [(Role::Reader, ready), (Role::Writer, stopped)]);
    let cage = workers[0].cage.as_ref().expect("a report");
    assert!(cage.sound() && cage.checks.len() > 8, "{cage:?}");
    assert_eq!(stage.health().status, Health::Ok);
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_worker_has_its_secret_and_an_environment_of_nothing() {
    let stage = Stage::new();
    let told = output(stage.read("secret", json!({})).await);
    assert_eq!(told["secret"], 4);
    let names = told["environment"].as_array().expect("a list");
    assert!(names.iter().all(|name| name == "TZ"), "{names:?}");
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_kill_under_200_reads_fails_none_of_them() {
    let mut stage = Stage::new();
    let reads: Vec<_> = (0..200)
        .map(|n| {
            stage.reading(match n % 2 {
                0 => call("echo", json!({"n": n})),
                _ => call("wait", json!({"after": "go"})),
            })
        })
        .collect();
    // Half of them wait for a file, so they are under way when the worker dies.
    let first = stage.started(Role::Reader).await;
    signal(first, Signal::SIGKILL);
    let second = stage.started(Role::Reader).await;
    assert_ne!(first, second);
    stage.touch("go");
    for (n, read) in reads.into_iter().enumerate() {
        let expected = match n % 2 {
            0 => json!({"n": n}),
            _ => json!("waited"),
        };
        assert_eq!(output(read.await.expect("a task")), expected, "read {n}");
    }
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_read_that_kills_every_worker_is_given_up_and_the_source_goes_on() {
    let mut stage = Stage::new();
    let lost = stage.read("crash", json!({})).await.expect_err("no answer");
    assert_eq!(lost, DispatchError::Died { dispatched: true });
    for _ in 0..=READ_RETRIES {
        stage.started(Role::Reader).await;
    }
    stage.echoes().await;
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn dropping_a_read_cancels_it_and_the_others_go_on() {
    let mut stage = Stage::new();
    let (listener, mut progress) = listening();
    let mut slow = call("wait", json!({"after": "never"}));
    // So long that only a cancellation ends it.
    slow.deadline = Duration::from_secs(3600);
    slow.progress = Some(listener);
    let slow = stage.reading(slow);
    let other = stage.reading(call("wait", json!({"after": "go"})));
    assert_eq!(progress.recv().await, Some(Chunk::Text("waiting".into())));
    slow.abort();
    // The listener is let go of with the call, which is when the worker has let go of it.
    let gone = tokio::time::timeout(PATIENCE, progress.recv()).await;
    assert!(gone.expect("the worker let go of it").is_none());
    stage.touch("go");
    assert_eq!(output(other.await.expect("a task")), json!("waited"));
    let pid = stage.started(Role::Reader).await;
    assert_eq!(stage.pid(Role::Reader), pid, "the same worker serves");
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_full_queue_says_busy_and_the_owner_is_still_served() {
    let mut stage = Stage::new();
    let wait = || call("wait", json!({"after": "go"}));
    let first: Vec<_> = (0..AGENTS_WAITING).map(|_| stage.reading(wait())).collect();
    stage.started(Role::Reader).await;
    // The worker took as many as agents may have under way: so many places are free again, and ten are asked for more.
    let mut more = tokio::task::JoinSet::new();
    for _ in 0..UNDER_WAY - 1 + 10 {
        let (supervisor, code) = (stage.supervisor.clone(), stage.code(Role::Reader).await);
        let call = wait();
        more.spawn(async move { supervisor.read(&code, call).await });
    }
    for _ in 0..10 {
        let refused = more.join_next().await.expect("a read").expect("a task");
        let refused = refused.expect_err("no room");
        assert!(
            matches!(refused, DispatchError::Busy { retry_after } if retry_after > Duration::ZERO),
            "{refused:?}"
        );
    }
    let mut owners = call("echo", json!({"who": "owner"}));
    owners.owner = true;
    let owners = stage.asked(owners).await;
    assert_eq!(output(owners), json!({"who": "owner"}));
    let agents = stage.read("echo", json!({})).await.expect_err("no room");
    assert!(matches!(agents, DispatchError::Busy { .. }), "{agents:?}");
    stage.touch("go");
    for read in first {
        assert_eq!(output(read.await.expect("a task")), json!("waited"));
    }
    while let Some(read) = more.join_next().await {
        assert_eq!(output(read.expect("a task")), json!("waited"));
    }
    // The control: with room the same call is served.
    stage.echoes().await;
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_deadline_is_kept_by_the_worker_and_without_it() {
    let mut stage = Stage::new();
    stage.echoes().await;
    let mut late = call("wait", json!({"after": "never"}));
    late.deadline = Duration::from_millis(300);
    let finished = stage.asked(late).await.expect("the worker's word");
    let error = finished.result.expect_err("too late");
    assert_eq!(error.code, plexus_ipc::message::Failure::DeadlineExceeded);

    let pid = stage.started(Role::Reader).await;
    signal(pid, Signal::SIGSTOP);
    let mut late = call("echo", json!({}));
    late.deadline = Duration::from_millis(100);
    let lost = stage.asked(late).await.expect_err("no answer");
    assert_eq!(lost, DispatchError::Deadline { dispatched: true });
    signal(pid, Signal::SIGCONT);
    stage.echoes().await;
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_missed_probe_ends_the_worker_and_the_next_one_serves() {
    let quick = Pace {
        probe_every: Duration::from_millis(50),
        probe_within: Duration::from_millis(300),
        ..pace()
    };
    let mut stage = Stage::with(quick);
    stage.echoes().await;
    let first = stage.started(Role::Reader).await;
    signal(first, Signal::SIGSTOP);
    let read = stage.reading(call("echo", json!({"again": true})));
    assert_eq!(stage.ended().await, Cause::Mute);
    assert_eq!(output(read.await.expect("a task")), json!({"again": true}));
    assert_ne!(stage.started(Role::Reader).await, first);
    let worker = &stage.supervisor.workers()[0];
    assert_eq!((worker.state, worker.restarts), (WorkerState::Ready, 1));
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn more_memory_than_the_manifest_allows_ends_the_worker() {
    let quick = Pace {
        probe_every: Duration::from_millis(50),
        ..pace()
    };
    let mut stage = Stage::with(quick);
    stage
        .serves("hoard", json!({"bytes": 1 << 20}), json!("kept"))
        .await;
    let first = stage.started(Role::Reader).await;
    assert_eq!(stage.probed().await.status, Health::Ok);
    assert_eq!(stage.pid(Role::Reader), first, "a little is no harm");
    // It may be ended before it has answered.
    drop(stage.read("hoard", json!({"bytes": 96 << 20})).await);
    assert_eq!(stage.ended().await, Cause::Memory);
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_flood_on_stderr_hurts_nobody() {
    let stage = Stage::new();
    stage
        .serves("shout", json!({"bytes": 800_000}), json!("shouted"))
        .await;
    stage.echoes().await;
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn health_is_the_apps_and_restarts_nothing() {
    let mut stage = Stage::new();
    assert_eq!(stage.probed().await.status, Health::Ok);
    let pid = stage.started(Role::Reader).await;
    stage.touch("ill");
    let health = stage.probed().await;
    assert_eq!(
        (health.status, health.detail.as_deref()),
        (Health::Degraded, Some("told to be ill"))
    );
    let told = stage
        .notice(|n| match n {
            Notice::Health { health, .. } if health.status == Health::Degraded => {
                Some(health.clone())
            }
            _ => None,
        })
        .await;
    assert_eq!(told.detail, health.detail);
    stage.untouch("ill");
    assert_eq!(stage.probed().await.status, Health::Ok);
    assert_eq!(stage.pid(Role::Reader), pid);
    stage.supervisor.shutdown().await;
}

/// A look at a source on a folder that hangs may come after the owner has changed it.
#[tokio::test]
async fn what_a_source_was_is_not_put_in_the_place_of_what_it_is() {
    let stage = Stage::empty(pace());
    for revision in [2, 1] {
        let spec = stage.spec("tame", json!({}), revision);
        stage.supervisor.put(spec);
    }
    let mut request = call("echo", json!({"a": 1}));
    request.revision = 2;
    let read = stage.asked(request).await;
    assert_eq!(output(read), json!({"a": 1}));
    // The control: a newer one is.
    stage.supervisor.put(stage.spec("tame", json!({}), 3));
    let mut request = call("echo", json!({}));
    request.revision = 2;
    let refused = stage.asked(request).await;
    let refused = refused.expect_err("another revision");
    assert!(is_replaced(&refused), "{refused:?}");
    stage.supervisor.shutdown().await;
}

/// An act that takes no turn may come after another has stopped the source.
#[tokio::test]
async fn replacing_leaves_a_source_that_is_not_in_place() {
    let stage = Stage::empty(pace());
    let read = async |revision| {
        let mut request = call("echo", json!({}));
        request.revision = revision;
        let code = stage.supervisor.compared(&stage.source, Role::Reader);
        stage.supervisor.read(&code.await?, request).await
    };
    stage.supervisor.replace(stage.spec("tame", json!({}), 1));
    let none = Some(DispatchError::NoSource);
    assert_eq!(read(1).await.err(), none, "it is not put in place");
    stage.supervisor.put(stage.spec("tame", json!({}), 1));
    stage.supervisor.replace(stage.spec("tame", json!({}), 2));
    assert_eq!(output(read(2).await), json!({}));
    stage.supervisor.remove(&stage.source).await;
    stage.supervisor.replace(stage.spec("tame", json!({}), 3));
    assert_eq!(read(3).await.err(), none, "it stays removed");
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_new_revision_answers_what_waits_and_serves_with_its_own_worker() {
    let mut stage = Stage::new();
    let old = stage.reading(call("wait", json!({"after": "never"})));
    let first = stage.started(Role::Reader).await;
    stage.supervisor.put(stage.spec("tame", json!({}), 2));
    let refused = old.await.expect("a task").expect_err("another revision");
    assert!(is_replaced(&refused), "{refused:?}");
    // A permit for the old revision opens nothing in the new one.
    let refused = stage.read("echo", json!({})).await;
    let refused = refused.expect_err("another revision");
    assert!(is_replaced(&refused), "{refused:?}");
    let mut new = call("echo", json!({"new": true}));
    new.revision = 2;
    assert_eq!(output(stage.asked(new).await), json!({"new": true}));
    assert_ne!(stage.started(Role::Reader).await, first);

    stage.supervisor.remove(&stage.source).await;
    let gone = stage.read("echo", json!({})).await.expect_err("gone");
    assert_eq!(gone, DispatchError::NoSource);
    assert!(stage.supervisor.workers().is_empty());
    eventually("the old workers are gone", || !exists(first)).await;
}

#[tokio::test]
async fn an_idle_worker_is_stopped_and_the_next_call_starts_one() {
    let quick = Pace {
        probe_every: Duration::from_millis(20),
        idle: Duration::from_millis(40),
        ..pace()
    };
    let mut stage = Stage::with(quick);
    stage.echoes().await;
    assert_eq!(stage.ended().await, Cause::Idle);
    assert_eq!(stage.supervisor.workers()[0].state, WorkerState::Stopped);
    assert_eq!(stage.health().status, Health::Ok, "as last heard");
    stage.echoes().await;
    stage.supervisor.shutdown().await;
}
