//! Reads and plans.

use super::shelf::one_of;
use super::talk::{Talk, below, call, soon, write};
use plexus_ipc::gateway::ConnectionError;
use plexus_ipc::message::{Call, Chunk, Done, Failure, FromWorker, ToWorker, Touched, WorkerError};
use plexus_ipc::worker::serve::UNDER_WAY;
use plexus_protocol::{Digest, Effect, Verb};
use serde::Serialize;
use serde_json::{Value, json};

fn error(done: Done) -> WorkerError {
    assert!(done.touched.is_empty(), "nothing was done");
    let error = done.result.expect_err("it went through");
    assert_eq!(error.effect, Effect::None);
    error
}

fn refused(reason: &str) -> Failure {
    Failure::Refused {
        reason: reason.into(),
    }
}

fn path_miss() -> Failure {
    Failure::ConstraintMiss {
        field: "path".into(),
    }
}

fn transport(reason: &str) -> Failure {
    Failure::TransportError {
        reason: reason.into(),
    }
}

fn item(name: &str, path: impl Serialize) -> Call {
    call(name, json!({"path": path}))
}

fn output(done: &Done) -> Value {
    serde_json::from_slice(&done.result.as_ref().unwrap().output).unwrap()
}

#[tokio::test]
async fn a_read_says_what_it_touched() {
    let mut talk = Talk::reader(&[("a", "alpha")]).await;
    let done = talk.read(item("item.read", "a")).await;
    assert_eq!(output(&done), json!({"text": "alpha"}));
    assert_eq!(done.result.unwrap().summary, "read a");
    assert_eq!(
        done.touched,
        [Touched::read("item", "a", Some(Digest::of(b"alpha")))]
    );
    let missing = error(talk.read(item("item.read", "b")).await);
    assert_eq!(missing.code, transport("not_found"));
    assert_eq!(missing.detail, Some(json!({"at": 1})));
}

#[tokio::test]
async fn progress_comes_before_the_end() {
    let mut talk = Talk::reader(&[("a", "alpha")]).await;
    talk.say(ToWorker::Read(item("item.read", "a"))).await;
    let FromWorker::Progress(progress) = soon(talk.hear.next()).await.unwrap().unwrap() else {
        panic!("no progress");
    };
    assert_eq!(progress.chunk, Chunk::Text("looking".into()));
    talk.done().await.result.unwrap();
}

#[tokio::test]
async fn what_is_not_as_recorded_is_not_handed_on() {
    let mut talk = Talk::reader(&[("a", "alpha")]).await;
    let mut forged = item("item.read", "a");
    forged.input = br#"{"path":"b"}"#.to_vec().into();
    for (call, code) in [
        (forged, refused("input_digest")),
        (call("item.gone", json!({})), refused("unknown_capability")),
        (item("item.write", "a"), refused("kind")),
        (
            call("item.read", json!({"paths": "a"})),
            Failure::InvalidInput,
        ),
    ] {
        assert_eq!(error(talk.read(call).await).code, code);
    }
    let planned = talk.plan(item("item.read", "a")).await;
    assert_eq!(planned.result.unwrap_err().code, refused("kind"));
    talk.reads(item("item.read", "a")).await;
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_not_quoted() {
    let mut talk = Talk::reader(&[]).await;
    let error = error(talk.read(item("item.read", ["hunter2"])).await);
    assert_eq!(error.code, Failure::InvalidInput);
    assert!(!error.message.contains("hunter2"), "{}", error.message);
}

#[tokio::test]
async fn a_constraint_is_held_against_what_a_call_resolved_to() {
    let mut talk = Talk::reader(&[("in/a", "alpha"), ("out/b", "beta")]).await;
    // item.read asks first; item.leak forgets to, and the harness does not.
    let not_found = Failure::TransportError {
        reason: "not_found".into(),
    };
    for (name, climbs) in [("item.read", path_miss()), ("item.leak", not_found)] {
        let inside = below(item(name, "in/a"), "in");
        talk.reads(inside).await;
        let outside = below(item(name, "out/b"), "in");
        assert_eq!(error(talk.read(outside).await).code, path_miss(), "{name}");
        let climbing = below(item(name, "in/../out/b"), "in");
        assert_eq!(error(talk.read(climbing).await).code, climbs, "{name}");
    }
    let all = talk.read(call("item.find", json!({}))).await;
    assert_eq!(output(&all), json!(["in/a", "out/b"]));
    let narrowed = talk.read(below(call("item.find", json!({})), "in")).await;
    assert_eq!(output(&narrowed), json!(["in/a"]));
    let elsewhere = below(call("item.find", json!({})), "elsewhere");
    let nothing = output(&talk.read(elsewhere).await);
    assert_eq!(nothing, json!([]), "a read that found nothing is fine");
}

#[tokio::test]
async fn a_plan_changes_nothing_and_says_everything() {
    let mut talk = Talk::reader(&[("in/a", "alpha")]).await;
    let plan = |path| call("item.write", json!({"path": path, "text": "new"}));
    let made = talk.plan(plan("in/a")).await.result.unwrap();
    assert_eq!(made.preview.headline, "write in/a");
    assert_eq!(made.preview.diff.unwrap(), "+new\n");
    // The manifest's, though the plan said less.
    assert_eq!(made.rating, Verb::Write);
    assert_eq!(
        made.touched,
        [Touched::write("item", "in/a", Some(Digest::of(b"alpha")))]
    );
    let again = talk.plan(plan("in/a")).await.result.unwrap();
    assert_eq!(again.state_token, made.state_token);
    let executes = talk.plan(plan(".envrc")).await.result.unwrap();
    assert_eq!(executes.rating, Verb::Execute);
    assert!(talk.plan(below(plan("in/b"), "in")).await.result.is_ok());
    let miss = talk.plan(below(plan("out"), "in")).await.result;
    assert_eq!(miss.unwrap_err().code, path_miss());
    let lost = item("item.lost", "in/a");
    assert!(talk.plan(lost.clone()).await.result.is_ok());
    let miss = talk.plan(below(lost, "in")).await.result.unwrap_err();
    // An effect that does not say where is not below anything.
    assert_eq!(miss.code, path_miss());
    assert_eq!(talk.world.get("in/a").unwrap(), "alpha");
    assert_eq!(talk.world.items().len(), 1);
}

#[tokio::test]
async fn a_cancel_ends_a_read() {
    let mut talk = Talk::reader(&[]).await;
    talk.say(ToWorker::Read(call("item.wait", json!({})))).await;
    soon(one_of(&talk.world.entered)).await;
    talk.say(ToWorker::Cancel { id: 99 }).await; // of a call that is long over
    talk.say(ToWorker::Cancel { id: 1 }).await;
    assert_eq!(error(talk.done().await).code, Failure::Cancelled);
    soon(one_of(&talk.world.dropped)).await;
    // Its id is free again, and one that is not cancelled goes on.
    talk.world.go_on.add_permits(1);
    talk.reads(call("item.wait", json!({}))).await;
}

#[tokio::test]
async fn a_deadline_ends_a_read_and_starts_none() {
    let mut talk = Talk::reader(&[]).await;
    let mut late = call("item.wait", json!({}));
    late.deadline_ms = 20;
    let over = talk.read(late.clone()).await;
    assert_eq!(error(over).code, Failure::DeadlineExceeded);
    soon(one_of(&talk.world.dropped)).await;
    soon(one_of(&talk.world.entered)).await;
    late.deadline_ms = 0;
    assert_eq!(error(talk.read(late).await).code, Failure::DeadlineExceeded);
    let begun = talk.world.entered.available_permits();
    assert_eq!(begun, 0);
}

#[tokio::test]
async fn a_panic_ends_its_call_and_not_the_worker() {
    let mut talk = Talk::reader(&[("a", "alpha")]).await;
    let panicked = talk.read(call("item.panic", json!({}))).await;
    assert_eq!(error(panicked).code, Failure::Internal);
    talk.reads(item("item.read", "a")).await;
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_an_error() {
    let mut talk = Talk::reader(&[]).await;
    let huge = |kib| call("item.huge", json!({"path": "", "text": "x".repeat(kib)}));
    let most = talk.read(huge(63)).await.result.unwrap();
    assert_eq!(most.output.len(), 63 * 1024 + 2);
    let beyond = error(talk.read(huge(64)).await);
    assert_eq!(beyond.code, transport("too_large"));
}

#[tokio::test]
async fn reads_go_on_beside_each_other_up_to_a_limit() {
    let mut talk = Talk::reader(&[]).await;
    let waiting = |id| {
        let mut call = call("item.wait", json!({}));
        call.id = id;
        call
    };
    for id in 0..UNDER_WAY as u64 {
        talk.say(ToWorker::Read(waiting(id))).await;
    }
    talk.say(ToWorker::Read(waiting(9_999))).await;
    let busy = talk.done().await;
    assert_eq!(busy.id, 9_999);
    assert_eq!(error(busy).code, Failure::Busy);
    // A probe is answered all the same.
    talk.say(ToWorker::Probe { nonce: 5 }).await;
    assert!(matches!(
        talk.next().await,
        FromWorker::Probed { nonce: 5, .. }
    ));
    talk.world.go_on.add_permits(UNDER_WAY);
    let mut ids = Vec::new();
    for _ in 0..UNDER_WAY {
        let done = talk.done().await;
        assert!(done.result.is_ok());
        ids.push(done.id);
    }
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..UNDER_WAY as u64), "each exactly once");
}

#[tokio::test]
async fn a_reader_is_sent_no_commit() {
    let talk = Talk::reader(&[]).await;
    let commit = ToWorker::Commit(Box::new(write("a", "new")));
    assert!(matches!(
        talk.say.send(commit).await,
        Err(ConnectionError::OutOfPlace { .. })
    ));
    let writer = Talk::writer(&[]).await;
    let read = ToWorker::Read(call("item.find", json!({})));
    assert!(matches!(
        writer.say.send(read).await,
        Err(ConnectionError::OutOfPlace { .. })
    ));
    let commit = ToWorker::Commit(Box::new(write("a", "new")));
    writer.say.send(commit).await.unwrap();
}
