//! The code of a source: held against what the owner agreed to, never against what was seen last.

use crate::support::*;
use plexus_trust::{Command, ItemState, Refusal, Source, SourceConfig, Verdict};
use serde_json::json;
use std::sync::Arc;

fn program(digit: u8) -> String {
    format!("program turn /usr/bin/agent {}", secret(&digit.to_string()))
}

fn found(pins: &[String]) -> Command {
    changed(|now| now.pins = pins.to_vec())
}

fn put(change: fn(&mut SourceConfig), pins: &[String]) -> Command {
    let mut config = config("notes");
    change(&mut config);
    Command::PutSource {
        id: source("notes"),
        config,
        pins: pins.to_vec(),
    }
}

fn decide(revision: Option<u64>, go_on: bool) -> Command {
    Command::ResumeSource {
        id: source("notes"),
        revision,
        go_on,
    }
}

fn of(world: &World) -> Arc<Source> {
    world.state.sources[&source("notes")].clone()
}

fn agrees(world: &mut World) {
    let revision = of(world).revision;
    world.ok(decide(Some(revision), true));
}

/// A source whose owner agreed to the first program.
fn world() -> World {
    let mut world = World::empty();
    world.ok(put(|_| {}, &[program(1)]));
    world.ok(found(&[program(1)]));
    world
}

fn is_refused(world: &World, who: &Who, id: &str) -> bool {
    let verdict = world.call(who, id, &json!({}));
    matches!(verdict, Verdict::Refuse(Refusal::SourceStopped))
}

#[test]
fn another_program_stops_the_source_until_it_is_agreed_to() {
    for granted in [&[READ][..], &[]] {
        let mut world = world();
        let who = world.member("a", granted);
        let item = world.ask(&who, WRITE, &json!({}));
        world.ok(found(&[program(2)]));
        for id in [READ, WRITE] {
            assert!(is_refused(&world, &who, id), "{granted:?} {id}");
        }
        world.gone(&item);
        let first = of(&world);
        assert_eq!(first.agreed(), [program(1)]);
        assert_eq!(first.found(), [program(2)]);
        let events = world.log.len();
        world.ok(found(&[program(2)]));
        assert_eq!(world.log.len(), events, "nothing new was found");
        // Without what was seen, and on what was seen before, nothing is agreed to.
        let blind = world.run(decide(None, true));
        assert_eq!(blind.unwrap_err(), Refusal::SourceStopped);
        world.ok(found(&[program(3)]));
        let stale = world.run(decide(Some(first.revision), true));
        assert_eq!(stale.unwrap_err(), Refusal::CardChanged);
        let kept = of(&world).changed.clone();
        assert_eq!(kept.len(), 1, "{kept:?}");
        assert_eq!(
            (&kept[0].rules, &kept[0].rules_gone),
            (&vec![program(3)], &vec![program(1)])
        );
        // A read that is asked for meanwhile is answered by the grants that go on, and by nothing else.
        let read = world.ask(&who, READ, &json!({}));
        agrees(&mut world);
        let is_answered = matches!(world.item_state(&read), ItemState::Approved { .. });
        assert_eq!(is_answered, !granted.is_empty(), "{granted:?}");
        assert_eq!(world.allowed(&who, READ, &json!({})), !granted.is_empty());
        assert!(world.pends(&who, WRITE, &json!({})));
        // What was agreed to before is agreed to no more; what is missing for now is no difference.
        world.ok(found(&[]));
        assert!(of(&world).stopped.is_none());
        world.ok(found(&[program(1)]));
        assert!(is_refused(&world, &who, WRITE));
        world.ok(found(&[program(3)]));
        assert!(world.pends(&who, WRITE, &json!({})), "it is there again");
        // Its grants stay suspended until the owner decides, and the card says that its code differed.
        let changed = of(&world).changed.clone();
        let told = changed.iter().flat_map(|one| &one.words).count();
        assert_eq!(told, usize::from(!granted.is_empty()));
        assert!(!world.allowed(&who, READ, &json!({})), "{granted:?}");
    }
}

#[test]
fn denied_code_stays_stopped_and_is_asked_about_once() {
    let mut world = world();
    let who = world.member("a", &[READ]);
    world.ok(found(&[program(2)]));
    world.ok(decide(None, false));
    assert!(world.state.agents[&who.agent].grants.is_empty());
    assert!(is_refused(&world, &who, READ));
    assert!(!of(&world).asks());
    world.ok(found(&[program(2)]));
    assert!(!of(&world).asks());
    world.ok(found(&[program(3)]));
    assert!(of(&world).asks(), "that was not denied");
    world.ok(decide(None, false));
    // The owner wants the card again.
    world.ok(decide(None, true));
    assert!(of(&world).asks() && is_refused(&world, &who, READ));
    agrees(&mut world);
    assert!(world.pends(&who, READ, &json!({})));
}

#[test]
fn act_that_names_no_program_agrees_to_none() {
    let mut world = world();
    let who = world.member("a", &[]);
    world.ok(found(&[program(2)]));
    let label: fn(&mut SourceConfig) = |c| c.label = "Other".into();
    world.ok(put(label, &[program(2)]));
    assert!(is_refused(&world, &who, WRITE));
    // Another folder, and the program where it was.
    let folder: fn(&mut SourceConfig) = |c| c.route = json!({"path": "/srv/other"});
    world.ok(put(folder, &[program(2)]));
    world.ok(found(&[program(2)]));
    assert!(is_refused(&world, &who, WRITE));
    // The control: the owner names another one.
    let named = format!("program turn /usr/bin/other {}", secret("2"));
    let program: fn(&mut SourceConfig) =
        |c| c.route = json!({"path": "/srv/other", "binary": "/usr/bin/other"});
    world.ok(put(program, std::slice::from_ref(&named)));
    world.ok(found(&[named]));
    assert!(world.pends(&who, WRITE, &json!({})));
}

#[test]
fn code_that_is_shown_is_all_that_is_agreed_to() {
    let mut world = world();
    let who = world.member("a", &[READ]);
    // Its manifest has another name for its program, and the card keeps what is missing for now.
    let shown = [program(1).replace("turn", "other")];
    world.ok(found(&shown));
    agrees(&mut world);
    assert_eq!(of(&world).agreed(), [shown[0].clone(), program(1)]);
    let agree = |world: &World, pins: &[String]| Command::AgreeToSource {
        id: source("notes"),
        revision: of(world).revision,
        pins: pins.to_vec(),
    };
    let to_all = agree(&world, &shown);
    world.ok(to_all.clone());
    assert_eq!(of(&world).agreed(), shown);
    // Code that was compared with all of that before is handed to no worker any more.
    assert_eq!(world.run(to_all).unwrap_err(), Refusal::CardChanged);
    let (script, named) = ("script turn.1 /srv/a.js 1", shown[0].clone());
    let two = [script.to_owned(), named.clone()];
    let to_two = agree(&world, &two);
    assert_eq!(world.run(to_two).unwrap_err(), Refusal::CardChanged);
    world.ok(found(&two));
    for (rules, is_new) in [
        (vec![named, script.to_owned()], true),
        (two.to_vec(), false),
    ] {
        let events = world.log.len();
        let again = agree(&world, &rules);
        world.ok(again);
        assert_eq!(world.log.len() > events, is_new, "{rules:?}");
    }
    let to_all = agree(&world, &shown);
    world.ok(to_all);
    assert_eq!(of(&world).agreed(), shown);
    // What went by that stops the source where it is back.
    world.ok(found(&[program(1)]));
    assert!(is_refused(&world, &who, WRITE));
    // What was found otherwise than shown is not agreed to.
    let unlike = agree(&world, &[program(2)]);
    assert_eq!(world.run(unlike).unwrap_err(), Refusal::CardChanged);
    assert!(is_refused(&world, &who, READ));
    let alike = agree(&world, &[program(1)]);
    world.ok(alike);
    assert_eq!(of(&world).agreed(), [program(1)]);
    assert!(world.allowed(&who, READ, &json!({})));
}

#[test]
fn row_of_an_earlier_version_is_agreed_to_once() {
    let base = seen("notes").base;
    for (now, stops) in [(program(1), false), (program(2), true)] {
        let mut world = world();
        let who = world.member("a", &[READ]);
        let mut row = Source::clone(&of(&world));
        row.pins = None;
        row.base = [base.clone(), vec![program(1)]].concat();
        Arc::make_mut(&mut world.state.sources).insert(row.id.clone(), Arc::new(row));
        // What it did not know, it did not keep.
        let script = format!("script turn.1 /srv/a.js {}", secret("3"));
        world.ok(found(&[now, script.clone()]));
        assert_eq!(of(&world).stopped.is_some(), stops);
        assert_eq!(of(&world).agreed(), [program(1), script]);
        assert_eq!(world.allowed(&who, READ, &json!({})), !stops);
        assert_eq!(of(&world).base, base);
    }
}
