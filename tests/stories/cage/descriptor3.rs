//! Everything on descriptor 3 that a worker should not say: the worker is ended or not heard, the answer is true, the
//! gateway goes on, and the next worker serves.

use super::scene::{Free, Scene, Subject};
use plexus_tests::cage::protocol::{Attack, Then, WHILE_PLANNING, WHILE_SERVING, WHILE_STARTING};
use plexus_tests::cage::{BE_STUBBORN, Orders, Outcome};
use plexus_tests::owner::approval;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Response, golden, log_lines};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;

/// What stands in an attack's place to see that all is well.
const HONEST: &str = "read a file inside";
/// Attacks that one gateway sits through. A read is tried four times, with a growing pause before each worker that
/// follows one without an answer, so most of the time is waited.
const AT_A_TIME: usize = 8;
/// Each request is planned twice, before the owner is asked and for the card, and a worker that ends each time is soon not
/// started any more.
const PLANS_AT_A_TIME: usize = 1;
/// Both roles of one connector: no other connector says anything else.
const ROLES: [Subject; 2] = [Subject::WorkspaceReader, Subject::WorkspaceWriter];

/// What the gateway notes of a worker's end, by attack and role.
type Notes = BTreeMap<(&'static str, &'static str), String>;

#[test]
fn whatever_a_worker_says_ends_it_or_is_ignored() {
    let now = |attack: &&Attack| !matches!(attack.then, Then::Noticed(_));
    let attacks: Vec<&Attack> = WHILE_SERVING.iter().filter(now).collect();
    let notes: Notes = std::thread::scope(|scope| {
        let trying: Vec<_> = ROLES
            .iter()
            .flat_map(|subject| attacks.chunks(AT_A_TIME).map(move |some| (*subject, some)))
            .map(|(subject, some)| scope.spawn(move || sit_through(subject, some)))
            .collect();
        let tried = trying
            .into_iter()
            .map(|thread| thread.join().expect("it holds"));
        tried.flatten().collect()
    });
    golden::check_section("tests/reports/sandbox-probes.md", "attacks", &page(&notes));
}

/// Silence, and what is only seen when the gateway looks after a worker, at whatever time. As a writer, because a read would
/// be tried on four of them.
#[test]
fn whatever_a_worker_does_unsaid_is_noticed() {
    std::thread::scope(|scope| {
        for attack in WHILE_SERVING {
            if matches!(attack.then, Then::Noticed(_)) {
                scope.spawn(move || sit_through(Subject::WorkspaceWriter, &[attack]));
            }
        }
    });
}

#[track_caller]
fn sit_through(subject: Subject, attacks: &[&'static Attack]) -> Notes {
    let mut scene = Scene::open();
    let mut notes = Notes::new();
    let other = match subject {
        Subject::WorkspaceWriter => Subject::WorkspaceReader,
        _ => Subject::Obsidian,
    };
    // Something to replay, and the descriptors of a gateway with these two workers.
    serves(&scene, other);
    let mut pid = serves(&scene, subject);
    let descriptors = scene.descriptors();
    for attack in attacks {
        let at = format!("{}, {}", attack.name, subject.title());
        let reply = scene.ask(subject, attack.name);
        let has_answer = !matches!(attack.then, Then::Ended | Then::Noticed(_));
        assert_eq!(reply.at("/ok"), has_answer, "{at}: {reply}");
        match attack.then {
            Then::Ended | Then::Noticed(_) => has_no_answer(&reply, subject, &at),
            Then::AnsweredThenEnded => assert_eq!(reply.expect_ok()["output"], "fine", "{at}"),
            Then::Ignored | Then::Believed => {
                assert_eq!(reply.expect_ok()["output"]["pid"], pid, "{at}");
            }
        }
        assert!(!reply.text().contains("forged"), "{at}: {reply}");
        assert!(!reply.text().contains('\u{1b}'), "{at}: {reply}");
        let next = serves(&scene, subject);
        if attack.then == Then::Ignored {
            assert_eq!(next, pid, "{at}: it goes on");
        } else {
            assert_ne!(next, pid, "{at}: another process serves");
            let end = until("the log's line of its end", || ended(&scene, pid));
            let cause = end["cause"].as_str().expect("a cause").to_owned();
            if let Then::Noticed(expected) = attack.then {
                assert_eq!(cause, expected, "{at}");
            }
            let broke = cause.strip_prefix("it broke the protocol: ");
            let note = broke.unwrap_or(&cause).to_owned();
            notes.insert((attack.name, subject.title()), note);
        }
        pid = next;
        // What is not this worker's business has gone on all the while.
        serves(&scene, other);
        until_true(
            "the descriptors of those that are gone to be closed",
            || scene.descriptors() <= descriptors,
        );
    }
    let workers = scene.gateway.workers();
    assert_eq!(workers.len(), 2, "one process each: {workers:?}");
    scene.gateway.cli(["audit", "verify"]).expect_ok();
    assert!(scene.gateway.stop().success());
    notes
}

/// The answer of a call whose worker was ended under it.
#[track_caller]
fn has_no_answer(reply: &Response, subject: Subject, at: &str) {
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

/// What the daemon's log says of how this process ended: in the audit log so many ends are a count.
fn ended(scene: &Scene, pid: u64) -> Option<Map<String, Value>> {
    let mut lines = log_lines::check(&scene.gateway.state()).into_iter();
    lines.find(|line| line["event"] == "worker.ended" && line["pid"] == pid)
}

/// The reader makes the plan that the owner's card shows.
#[test]
fn whatever_a_worker_says_of_a_plan_is_bounded() {
    std::thread::scope(|scope| {
        for some in WHILE_PLANNING.chunks(PLANS_AT_A_TIME) {
            scope.spawn(move || plan_with(some));
        }
    });
}

fn plan_with(attacks: &[Attack]) {
    let mut scene = Scene::open();
    let owner = scene.gateway.owner();
    for attack in attacks {
        let at = attack.name;
        let item = scene.must_ask(at);
        let card = owner.card(&item);
        let plan = &card["asks"][0]["plan"];
        if attack.then == Then::Ended {
            assert!(plan["error"].is_string(), "{at}: {card:#}");
            let yes = approval(&card, "once");
            owner.decide(&item, yes).expect_error(409, "plan_failed");
        } else {
            assert!(plan["preview"]["headline"].is_string(), "{at}: {card:#}");
        }
        if attack.then != Then::Believed {
            // Never less than the manifest says, whatever the worker does.
            assert!(
                plan["rating"] == "write" || attack.then == Then::Ended,
                "{at}: {card:#}"
            );
        }
        owner.deny(&item, "no");
        // A worker that ended in both plans is started again after a pause.
        until_true("the source to serve again", || {
            let read = scene.ask(Subject::WorkspaceReader, HONEST);
            read.status == 200
        });
        serves(&scene, Subject::WorkspaceReader);
    }
    assert_eq!(scene.gateway.workers().len(), 1);
    assert!(scene.gateway.stop().success());
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
    until_true("a worker that begins as it should", || {
        scene.ask(subject, HONEST).at("/ok") == true
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

fn page(notes: &Notes) -> String {
    let mut page = String::from(
        "\n| in place of an answer | what comes of it | what is noted of the worker |\n|---|---|---|\n",
    );
    for attack in WHILE_SERVING {
        let noted = match attack.then {
            Then::Ignored | Then::Believed => String::new(),
            Then::Noticed(cause) => cause.to_owned(),
            Then::Ended | Then::AnsweredThenEnded => {
                let of = ROLES.map(|role| notes[&(attack.name, role.title())].as_str());
                if of[0] == of[1] {
                    of[0].to_owned()
                } else {
                    of.join("; of a writer: ")
                }
            }
        };
        let (name, what) = (attack.name, attack.then.words());
        let _ = writeln!(page, "| {name} | {what} | {noted} |");
    }
    page.push_str("\n| in place of a plan | what comes of it |\n|---|---|\n");
    for attack in WHILE_PLANNING {
        let what = match attack.then {
            Then::Ended => "ended; the card has no plan and cannot be approved",
            Then::Ignored => "the card says what it must, and shows the rest as text",
            other => other.words(),
        };
        let _ = writeln!(page, "| {} | {what} |", attack.name);
    }
    page.push_str("\n| in place of an introduction | what comes of it |\n|---|---|\n");
    for attack in WHILE_STARTING {
        let _ = writeln!(page, "| {} | the start is refused |", attack.name);
    }
    page
}
