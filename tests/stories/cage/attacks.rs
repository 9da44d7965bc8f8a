//! Everything on descriptor 3 that a worker should not say: the worker is ended or not heard, the answer is true, the
//! gateway goes on, and the next worker serves.

use super::scene::{Free, Scene, Subject};
use plexus_tests::cage::protocol::{Attack, Then, WHILE_SERVING, WHILE_STARTING};
use plexus_tests::cage::{BE_STUBBORN, Orders, Outcome};
use plexus_tests::waiting::until;
use plexus_tests::{Length, Response, golden, length};
use serde_json::Value;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;

/// What stands in an attack's place to see that all is well.
const HONEST: &str = "read a file inside";
/// Attacks that one gateway sits through. A read is tried four times, with a growing pause before each worker that
/// follows one without an answer, so most of the time is waited.
const AT_A_TIME: usize = 8;
/// Both roles of one connector: no other connector says anything else.
const ROLES: [Subject; 2] = [Subject::WorkspaceReader, Subject::WorkspaceWriter];

#[test]
fn whatever_a_worker_says_ends_it_or_is_ignored() {
    std::thread::scope(|scope| {
        let now = |attack: &&Attack| !matches!(attack.then, Then::Noticed(_));
        let attacks: Vec<&Attack> = WHILE_SERVING.iter().filter(now).collect();
        for subject in ROLES {
            for some in attacks.chunks(AT_A_TIME) {
                let some = some.to_vec();
                scope.spawn(move || sit_through(&mut Scene::open(), subject, &some));
            }
        }
    });
    golden::check_section("docs/security.md", "attacks", &page());
}

/// Silence, and what is only seen by looking: a worker is looked after every five seconds. Under a read, that is four
/// workers.
#[test]
fn whatever_a_worker_does_unsaid_is_noticed() {
    let roles = match length() {
        Length::Long => &ROLES[..],
        Length::Quick | Length::Full => &ROLES[1..],
    };
    std::thread::scope(|scope| {
        for subject in roles {
            for attack in WHILE_SERVING {
                if matches!(attack.then, Then::Noticed(_)) {
                    scope.spawn(move || sit_through(&mut Scene::open(), *subject, &[attack]));
                }
            }
        }
    });
}

#[track_caller]
fn sit_through(scene: &mut Scene, subject: Subject, attacks: &[&Attack]) {
    let other = match subject {
        Subject::WorkspaceWriter => Subject::WorkspaceReader,
        _ => Subject::Obsidian,
    };
    // Something to replay, and the descriptors of a gateway with these two workers.
    serves(scene, other);
    let mut pid = serves(scene, subject);
    let descriptors = scene.descriptors();
    for attack in attacks {
        let at = format!("{}, {}", attack.name, subject.title());
        let reply = scene.ask(subject, attack.name);
        match attack.then {
            Then::Ended | Then::Noticed(_) => has_no_answer(&reply, subject, &at),
            Then::AnsweredThenEnded => assert_eq!(reply.expect_ok()["output"], "fine", "{at}"),
            Then::Ignored => assert_eq!(reply.expect_ok()["output"]["pid"], pid, "{at}"),
        }
        assert!(!reply.text().contains("forged"), "{at}: {reply}");
        assert!(!reply.text().contains('\u{1b}'), "{at}: {reply}");
        let next = serves(scene, subject);
        if attack.then == Then::Ignored {
            assert_eq!(next, pid, "{at}: it goes on");
        } else {
            assert_ne!(next, pid, "{at}: another process serves");
            let end = until("the record of its end", || ended(scene, pid));
            if let Then::Noticed(cause) = attack.then {
                assert_eq!(end["detail"]["cause"], cause, "{at}");
            }
        }
        pid = next;
        // What is not this worker's business has gone on all the while.
        serves(scene, other);
        until(
            "the descriptors of those that are gone to be closed",
            || (scene.descriptors() <= descriptors).then_some(()),
        );
    }
    let workers = scene.gateway.workers();
    assert_eq!(workers.len(), 2, "one process each: {workers:?}");
    scene.gateway.cli(["audit", "verify"]).expect_ok();
    assert!(scene.gateway.stop().success());
}

/// The answer of a call whose worker was ended under it.
#[track_caller]
fn has_no_answer(reply: &Response, subject: Subject, at: &str) {
    assert_eq!(reply.at("/ok"), false, "{at}: {reply}");
    let (code, effect) = if subject.writes() {
        ("outcome_unknown", "unknown")
    } else {
        ("source_unavailable", "none")
    };
    assert_eq!(reply.at("/error/code"), code, "{at}: {reply}");
    assert_eq!(reply.at("/error/effect"), effect, "{at}: {reply}");
    assert!(reply.at("/error/next").is_string(), "{at}: {reply}");
}

/// A call that is answered; gives the process that did.
#[track_caller]
fn serves(scene: &Scene, subject: Subject) -> u64 {
    let (_, pid) = scene.caged(subject, HONEST);
    pid
}

/// Whether the log says how this process ended.
fn ended(scene: &Scene, pid: u64) -> Option<Value> {
    let mut events = scene.gateway.owner().audit(200).into_iter();
    events.find(|event| event["detail"]["event"] == "worker.end" && event["detail"]["pid"] == pid)
}

/// A worker that does not introduce itself as it should: the start is refused and on record, and the next one serves.
#[test]
fn whatever_a_worker_begins_with_refuses_its_start() {
    std::thread::scope(|scope| {
        for attack in WHILE_STARTING {
            scope.spawn(|| begins_with(attack));
        }
    });
}

fn begins_with(attack: &Attack) {
    let subject = Subject::WorkspaceReader;
    let mut scene = Scene::with(|orders| Orders {
        start: Some(attack.name.to_owned()),
        ..orders
    });
    let reply = std::thread::scope(|scope| {
        let asking = scope.spawn(|| scene.ask(subject, HONEST));
        until("the refusal of its start", || {
            let mut events = scene.gateway.owner().audit(200).into_iter();
            events.find(|event| event["detail"]["event"] == "worker.refused")
        });
        scene.order(|orders| orders);
        asking.join().expect("an answer")
    });
    // What does not mend itself is said at once; for the rest the call waited, and the next start has answered it.
    if reply.at("/ok") == false {
        assert_eq!(
            reply.at("/error/code"),
            "source_unavailable",
            "{}: {reply}",
            attack.name
        );
        assert_eq!(
            reply.at("/error/effect"),
            "none",
            "{}: {reply}",
            attack.name
        );
    }
    until("a worker that begins as it should", || {
        (scene.ask(subject, HONEST).at("/ok") == true).then_some(())
    });
    assert_eq!(scene.gateway.workers().len(), 1, "{}", attack.name);
    assert!(scene.gateway.stop().success());
}

/// Deaf to `Stop`, to SIGTERM and to the end of its stream: nothing of it outlives the gateway, however that ends.
#[test]
fn a_worker_that_will_not_go_is_ended() {
    let stubborn = || {
        let scene = Scene::open();
        for subject in ROLES {
            let (outcome, _) = scene.caged(subject, BE_STUBBORN);
            assert_eq!(outcome, Outcome::Through(String::new()));
        }
        assert_eq!(scene.gateway.workers().len(), 2);
        scene
    };
    // The harness holds that no process is left.
    let mut asked = stubborn();
    assert!(asked.gateway.stop().success(), "a clean stop");
    stubborn().gateway.kill9();

    // Without a gateway: SIGTERM alone ends another process and not this one, or the above proves nothing.
    assert_eq!(Free::bystander().ask_to_go().signal(), Some(15));
    assert!(Free::stubborn().ask_to_go().success());
}

fn page() -> String {
    let mut page = String::from("\n| in place of an answer | what comes of it |\n|---|---|\n");
    for attack in WHILE_SERVING {
        let _ = writeln!(page, "| {} | {} |", attack.name, attack.then.words());
    }
    page.push_str("\n| in place of an introduction | what comes of it |\n|---|---|\n");
    for attack in WHILE_STARTING {
        let _ = writeln!(page, "| {} | the start is refused |", attack.name);
    }
    page
}
