//! Effects: planned again, compared, then done; or nothing is done.

use super::shelf::one_of;
use super::talk::{LAUNCH, Talk, below, call, content, effect, soon, write};
use plexus_ipc::message::{Commit, Content, Done, Failure, Stamp, ToWorker, Touched};
use plexus_ipc::worker::serve::ServeEnd;
use plexus_protocol::{Digest, Effect, Verb};
use serde_json::json;

/// Why nothing was done.
fn refusal(done: Done) -> Failure {
    assert!(done.touched.is_empty());
    let error = done.result.expect_err("it went through");
    assert_eq!(error.effect, Effect::None);
    error.code
}

fn changed(reason: &str) -> Failure {
    Failure::PreconditionChanged {
        reason: reason.into(),
    }
}

fn refused(reason: &str) -> Failure {
    Failure::Refused {
        reason: reason.into(),
    }
}

/// The write that was approved while the world was so.
fn approved(token: Digest) -> Commit {
    Commit {
        state_token: Some(token),
        ..write("a", "new")
    }
}

/// A write that waits within its commit.
fn slow() -> Commit {
    effect(call("item.slow", json!({"path": "a", "text": "new"})))
}

async fn token(path: &str, now: &[(&str, &str)]) -> Digest {
    let mut reader = Talk::reader(now).await;
    let plan = call("item.write", json!({"path": path, "text": "new"}));
    reader.plan(plan).await.result.unwrap().state_token
}

#[tokio::test]
async fn what_was_approved_is_committed() {
    let token = token("a", &[("a", "alpha")]).await;
    let mut talk = Talk::writer(&[("a", "alpha")]).await;
    let commit = approved(token);
    let done = talk.commit(commit.clone()).await;
    let touched = Touched::write("item", "a", Some(Digest::of(b"new")));
    assert_eq!(done.touched, [touched]);
    let answer = done.result.unwrap();
    assert_eq!(&*answer.output, br#"{"bytes":3}"#);
    assert_eq!(answer.summary.as_str(), "wrote a");
    assert_eq!(answer.undo.as_deref(), Some("u1"));
    assert_eq!(talk.world.get("a").unwrap(), "new");
    // The world has moved, by ourselves: the same approval does not fit any more.
    assert_eq!(refusal(talk.commit(commit).await), changed("plan_changed"));
}

#[tokio::test]
async fn a_world_that_moved_is_left_alone() {
    let token = token("a", &[("a", "alpha")]).await;
    for now in [&[("a", "other")][..], &[]] {
        let mut talk = Talk::writer(now).await;
        let commit = approved(token);
        assert_eq!(refusal(talk.commit(commit).await), changed("plan_changed"));
        let text = now.first().map(|(_, text)| *text);
        assert_eq!(talk.world.get("a").as_deref(), text);
    }
}

#[tokio::test]
async fn a_standing_write_is_held_against_what_the_agent_knows() {
    let (alpha, other) = (Some(content("alpha")), Some(content("other")));
    for (now, expect, answer) in [
        (Some("alpha"), alpha, Ok(())),
        (Some("alpha"), other, Err("changed")),
        (Some("alpha"), Some(Content::Absent), Err("unread")),
        (Some("alpha"), None, Err("unread")),
        (None, Some(Content::Absent), Ok(())),
        (None, None, Ok(())),
        (None, alpha, Err("gone")),
    ] {
        let items: Vec<_> = now.map(|text| ("a", text)).into_iter().collect();
        let mut talk = Talk::writer(&items).await;
        let commit = Commit {
            expect,
            ..write("a", "new")
        };
        let done = talk.commit(commit).await;
        match answer {
            Ok(()) => {
                assert!(done.result.is_ok(), "{now:?} {expect:?}");
                assert_eq!(talk.world.get("a").as_deref(), Some("new"));
            }
            Err(reason) => {
                assert_eq!(refusal(done), changed(reason), "{now:?} {expect:?}");
                assert_eq!(talk.world.get("a").as_deref(), now);
            }
        }
    }
}

#[tokio::test]
async fn token_and_expectation_must_both_hold() {
    let now = [("a", "alpha")];
    let token = Some(token("a", &now).await);
    let both = |expect| Commit {
        state_token: token,
        expect: Some(expect),
        ..write("a", "new")
    };
    let mut talk = Talk::writer(&now).await;
    let done = talk.commit(both(content("other"))).await;
    assert_eq!(refusal(done), changed("changed"));
    assert!(talk.commit(both(content("alpha"))).await.result.is_ok());
}

#[tokio::test]
async fn a_plan_beyond_the_permit_stops_before_any_change() {
    let mut talk = Talk::writer(&[]).await;
    let done = talk.commit(write(".envrc", "new")).await;
    let rating = Verb::Execute;
    assert_eq!(refusal(done), Failure::RatingExceeded { rating });
    assert_eq!(talk.world.get(".envrc"), None);
    let permitted = Commit {
        permit_rating: Verb::Execute,
        ..write(".envrc", "new")
    };
    assert!(talk.commit(permitted).await.result.is_ok());
    let too_low = Commit {
        permit_rating: Verb::Read,
        ..write("a", "new")
    };
    let rating = Verb::Write;
    assert_eq!(
        refusal(talk.commit(too_low).await),
        Failure::RatingExceeded { rating }
    );
}

#[tokio::test]
async fn a_constraint_binds_a_commit() {
    let mut talk = Talk::writer(&[]).await;
    let named = |name, path: &str| {
        let call = call(name, json!({"path": path, "text": "new"}));
        effect(below(call, "in"))
    };
    let at = |path| named("item.write", path);
    let miss = Failure::ConstraintMiss {
        field: "path".into(),
    };
    // item.write asks first; item.stray forgets to, and the harness does not.
    for name in ["item.write", "item.stray"] {
        let done = talk.commit(named(name, "out")).await;
        assert_eq!(refusal(done), miss, "{name}");
    }
    let lost = talk.commit(named("item.lost", "in/a")).await;
    assert_eq!(refusal(lost), miss);
    assert!(talk.world.items().is_empty());
    assert!(talk.commit(at("in/a")).await.result.is_ok());
}

#[tokio::test]
async fn each_intent_of_this_launch_once() {
    let mut talk = Talk::writer(&[]).await;
    let mut commit = async |launch, sequence, path: &str| {
        let commit = Commit {
            durable: Stamp { launch, sequence },
            ..write(path, "new")
        };
        talk.say(ToWorker::Commit(Box::new(commit))).await;
        talk.done().await
    };
    assert!(commit(LAUNCH, 10, "a").await.result.is_ok());
    assert_eq!(refusal(commit(LAUNCH, 10, "b").await), refused("replayed"));
    for other in [LAUNCH + 1, LAUNCH - 1] {
        let done = commit(other, 11, "b").await;
        assert_eq!(refusal(done), refused("launch"));
    }
    // One that was overtaken is not a replay.
    assert!(commit(LAUNCH, 9, "c").await.result.is_ok());
    // A refused one is not spent by the refusal of its launch.
    assert!(commit(LAUNCH, 11, "d").await.result.is_ok());
    assert!(talk.world.items().keys().eq(["a", "c", "d"]));
}

#[tokio::test]
async fn a_deadline_stops_a_commit_only_before_it_begins() {
    let mut talk = Talk::writer(&[]).await;
    let mut late = write("a", "new");
    late.call.deadline_ms = 0;
    assert_eq!(refusal(talk.commit(late).await), Failure::DeadlineExceeded);
    assert!(talk.world.items().is_empty());

    let mut slow = slow();
    slow.call.deadline_ms = 50;
    slow.durable.sequence = 100;
    talk.say(ToWorker::Commit(Box::new(slow))).await;
    soon(one_of(&talk.world.entered)).await;
    // Only time itself makes it late.
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    talk.world.go_on.add_permits(1);
    assert!(talk.done().await.result.is_ok(), "it had begun");
}

#[tokio::test]
async fn nothing_comes_between_a_plan_and_its_commit() {
    let mut talk = Talk::writer(&[]).await;
    for id in [1, 2] {
        let mut commit = slow();
        commit.call.id = id;
        commit.durable.sequence = id;
        talk.say(ToWorker::Commit(Box::new(commit))).await;
    }
    soon(one_of(&talk.world.entered)).await;
    talk.world.go_on.add_permits(2);
    let (first, second) = (talk.done().await, talk.done().await);
    assert_eq!((first.id, second.id), (1, 2));
    assert!(first.result.is_ok());
    // Planned beside the first, it would have found nothing there.
    assert_eq!(refusal(second), changed("unread"));
}

#[tokio::test]
async fn a_commit_that_panics_is_unknown() {
    let mut talk = Talk::writer(&[]).await;
    let breaks = effect(call("item.break", json!({"path": "a", "text": "new"})));
    let done = talk.commit(breaks).await;
    // What it may have changed.
    assert_eq!(done.touched, [Touched::write("item", "a", None)]);
    let error = done.result.unwrap_err();
    assert_eq!(error.code, Failure::Internal);
    assert_eq!(error.effect, Effect::Unknown);
    let next = talk.commit(write("b", "new")).await;
    assert!(next.result.is_ok(), "the worker goes on");
}

#[tokio::test]
async fn a_stop_waits_for_what_has_begun() {
    let mut talk = Talk::writer(&[]).await;
    let mut slow = slow();
    slow.durable.sequence = 1;
    talk.say(ToWorker::Commit(Box::new(slow))).await;
    soon(one_of(&talk.world.entered)).await;
    talk.say(ToWorker::Stop).await;
    talk.world.go_on.add_permits(1);
    assert!(talk.done().await.result.is_ok());
    assert!(matches!(soon(talk.ended).await.unwrap(), ServeEnd::Stopped));
}
