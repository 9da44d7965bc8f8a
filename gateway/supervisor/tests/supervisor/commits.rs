//! Commits: once, finished or unknown; plans; verdicts.

use super::{
    proof,
    stage::{Stage, call, exists, listening, output, signal, terms},
};
use nix::sys::signal::Signal;
use plexus_ipc::message::{Failure, Role, Verdict};
use plexus_protocol::{AuditId, Effect};
use plexus_supervisor::{CallRequest, DispatchError, Finished, Health, Stands, WorkerState};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{sync::oneshot, task::JoinHandle};

fn line(text: &str) -> CallRequest {
    call("append", json!({"line": text}))
}

/// What was done of an effect that was cancelled.
async fn cancelled(commit: JoinHandle<Result<Finished, DispatchError>>) -> Effect {
    let answer = commit.await.expect("a task").expect("an answer");
    let error = answer.result.expect_err("cancelled");
    assert_eq!(error.code, Failure::Cancelled);
    error.effect
}

#[tokio::test]
async fn an_effect_is_planned_by_the_reader_and_committed_by_the_writer() {
    let mut stage = Stage::new();
    let reader = stage.code(Role::Reader).await;
    let plan = stage.supervisor.plan(&reader, line("one")).await;
    let plan = plan.expect("an answer").expect("a plan");
    assert_eq!(&*plan.preview.headline, "append a line");
    let writer = stage.supervisor.workers()[1].state;
    assert_eq!(writer, WorkerState::Stopped, "a plan needs no writer");
    assert_eq!(stage.log(), "");

    let durable = proof::durable(&stage.ledger).await;
    let mut bound = terms();
    bound.state_token = Some(plan.state_token);
    let done = stage.committed(line("one"), bound, &durable).await;
    assert_eq!(done.expect("an answer").touched.len(), 1); // Filed under the intent's event.
    assert_eq!(stage.log(), format!("{} one\n", durable.audit_id()));
    stage.started(Role::Writer).await;

    // The same proof does not do it again.
    let again = stage.committed(line("one"), terms(), &durable).await;
    let refused = again.expect("an answer").result.expect_err("a replay");
    let code = &refused.code;
    assert!(matches!(code, Failure::Refused { .. }), "{code:?}");
    assert_eq!(stage.log().lines().count(), 1);
    stage.supervisor.shutdown().await;
}

/// What is taken back while a commit waits for its worker is not sent.
#[tokio::test]
async fn a_commit_that_no_longer_stands_is_not_sent() {
    let stage = Stage::new();
    let durable = proof::durable(&stage.ledger).await;
    let mut request = line("one");
    // Nothing runs yet, so it waits for a start; what allows it goes meanwhile.
    let looks = Arc::new(AtomicUsize::new(0));
    request.stands = Stands::while_so({
        let looks = looks.clone();
        move || looks.fetch_add(1, Ordering::SeqCst) > 0
    });
    let refused = stage.committed(request, terms(), &durable).await;
    assert_eq!(refused.err(), Some(DispatchError::TakenBack));
    // Looked at when its turn came.
    assert_eq!(looks.load(Ordering::SeqCst), 1);
    assert_eq!(stage.log(), "");
    // The control: the same proof does it once for a call that stands.
    let done = stage.committed(line("one"), terms(), &durable).await;
    assert!(done.expect("an answer").result.is_ok());
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_kill_during_a_commit_is_unknown_and_never_tried_again() {
    let mut stage = Stage::new();
    assert_eq!(stage.health().status, Health::Unknown);
    let durable = proof::durable(&stage.ledger).await;
    let dies = call("append", json!({"line": "x", "die": true}));
    let lost = stage.committed(dies, terms(), &durable).await;
    let lost = lost.expect_err("no answer");
    assert_eq!(lost, DispatchError::Died { dispatched: true });
    let first = stage.started(Role::Writer).await;
    // What it did it did once, and the source can tell.
    let audit = AuditId::parse(&durable.audit_id().to_string()).expect("an id");
    assert_eq!(stage.settled(audit).await, Verdict::Happened);
    assert_ne!(stage.started(Role::Writer).await, first);
    assert_eq!(stage.log().lines().count(), 1);

    // One that was killed before it did anything is no more known, and no more repeated.
    let durable = proof::durable(&stage.ledger).await;
    let (listener, mut progress) = listening();
    let mut request = call("append", json!({"line": "y", "after": "never"}));
    request.progress = Some(listener);
    let (supervisor, code) = (stage.supervisor.clone(), stage.code(Role::Writer).await);
    let audit = AuditId::parse(&durable.audit_id().to_string()).expect("an id");
    let commit =
        tokio::spawn(async move { supervisor.commit(&code, request, terms(), &durable).await });
    progress.recv().await.expect("it is under way");
    signal(stage.pid(Role::Writer), Signal::SIGKILL);
    let lost = commit.await.expect("a task").expect_err("no answer");
    assert_eq!(lost, DispatchError::Died { dispatched: true });
    assert_eq!(stage.settled(audit).await, Verdict::DidNot);
    assert_eq!(stage.log().lines().count(), 1);
    // The control: the next commit goes through.
    assert_eq!(
        output(stage.commit(json!({"line": "z"})).await),
        json!("appended")
    );
    // Nobody asked its reader: what its writer says is known all the same.
    assert_eq!(stage.health().status, Health::Ok);
    stage.supervisor.shutdown().await;
}

/// The caller is told at the deadline. What became of it is heard by its recorder: the worker's word, or its end.
#[tokio::test]
async fn what_a_worker_says_after_the_deadline_is_heard() {
    let mut stage = Stage::new();
    let done = stage.commit(json!({"line": "in time"})).await;
    assert_eq!(output(done), json!("appended"));
    let pid = stage.started(Role::Writer).await;
    for ends in [false, true] {
        let durable = proof::durable(&stage.ledger).await;
        let (late, word) = oneshot::channel();
        let mut request = call("append", json!({"line": "late", "after": "go"}));
        request.deadline = Duration::from_secs(2);
        request.late = Some(late);
        let told = stage.committed(request, terms(), &durable).await;
        let late = DispatchError::Deadline { dispatched: true };
        assert_eq!(told.err(), Some(late));
        assert_eq!(stage.log().lines().count(), if ends { 2 } else { 1 });
        if ends {
            signal(pid, Signal::SIGKILL);
            let none = word.await.err().map(|why| why.to_string());
            assert_eq!(none.as_deref(), Some("channel closed"));
        } else {
            stage.touch("go");
            let finished = word.await.expect("the worker's word");
            assert!(finished.result.is_ok());
            stage.untouch("go");
        }
    }
    assert_eq!(stage.log().lines().count(), 2);
    stage.supervisor.shutdown().await;
}

/// Its worker says what was done by then; one that was not sent yet was not done.
#[tokio::test]
async fn cancelled_effect_says_what_was_done() {
    let stage = Stage::new();
    let commit = async |input| {
        let durable = proof::durable(&stage.ledger).await;
        let (cancel, cancelled) = oneshot::channel();
        let (listener, progress) = listening();
        let mut request = call("append", input);
        request.progress = Some(listener);
        request.cancel = Some(cancelled);
        (stage.committing(request, durable).await, cancel, progress)
    };
    let (half, cancel, mut progress) =
        commit(json!({"line": "half", "after": "never", "heeds": true})).await;
    progress.recv().await.expect("it is under way");
    // Commits happen one after the other: this one waits in the worker, and is not begun.
    let (next, cancel_next, _) = commit(json!({"line": "next", "after": "never"})).await;
    cancel_next.send(()).expect("its commit waits");
    assert_eq!(cancelled(next).await, Effect::None);
    cancel.send(()).expect("its commit waits");
    assert_eq!(cancelled(half).await, Effect::Partial);
    // The control: one whose handler does not look is carried to its end.
    let (whole, cancel, mut progress) = commit(json!({"line": "whole", "after": "go"})).await;
    progress.recv().await.expect("it is under way");
    cancel.send(()).expect("its commit waits");
    stage.touch("go");
    assert_eq!(output(whole.await.expect("a task")), json!("appended"));
    assert_eq!(stage.log().lines().count(), 1);
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn dropping_a_commit_does_not_cancel_it() {
    let stage = Stage::new();
    let durable = proof::durable(&stage.ledger).await;
    let (listener, mut progress) = listening();
    let mut request = call("append", json!({"line": "kept", "after": "go"}));
    request.progress = Some(listener);
    let commit = stage.committing(request, durable).await;
    progress.recv().await.expect("it is under way");
    commit.abort();
    assert!(commit.await.expect_err("dropped").is_cancelled());
    stage.touch("go");
    // The listener goes when the worker has answered.
    while progress.recv().await.is_some() {}
    assert!(stage.log().ends_with(" kept\n"), "{}", stage.log());
    stage.supervisor.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_lets_an_effect_finish_and_cancels_reads() {
    let mut stage = Stage::new();
    let durable = proof::durable(&stage.ledger).await;
    let (listener, mut progress) = listening();
    let mut request = call("append", json!({"line": "last", "after": "go"}));
    request.progress = Some(listener);
    let commit = stage.committing(request, durable).await;
    progress.recv().await.expect("it is under way");
    let read = stage.reading(call("wait", json!({"after": "never"})));
    let pids = [stage.started(Role::Reader).await, stage.pid(Role::Writer)];
    let closing = {
        let supervisor = stage.supervisor.clone();
        tokio::spawn(async move { supervisor.shutdown().await })
    };
    let read = read.await.expect("a task").expect_err("cancelled");
    assert_eq!(read, DispatchError::ShuttingDown);
    stage.touch("go");
    assert_eq!(output(commit.await.expect("a task")), json!("appended"));
    closing.await.expect("a task");
    for pid in pids {
        assert!(!exists(pid), "{pid} is left");
    }
    let closed = stage.read("echo", json!({})).await.expect_err("closed");
    assert_eq!(closed, DispatchError::ShuttingDown);
}
