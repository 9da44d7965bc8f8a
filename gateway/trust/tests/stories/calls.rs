//! Calls: the last look, counting, unknown outcomes.

use crate::support::*;
use plexus_protocol::{TrustWindow, Verb, body::VoidReason};
use plexus_trust::{Basis, Command, ItemState, OutcomeKind, Refusal, all_rows, restore};
use serde_json::json;

fn standing(
    world: &mut World,
    who: &Who,
    id: &str,
    constraint: Option<plexus_protocol::Constraint>,
) {
    world.ok(grant(who, id, TrustWindow::HOUR, constraint));
}

#[test]
fn the_writer_decides_last() {
    type Change = fn(&mut World, &Who, &str);
    let no_grant = NO_GRANT;
    let changes: [(&str, Change, &Refusal); 6] = [
        (
            "revoked",
            |w, who, id| {
                w.ok(revoke_grant(who, id));
            },
            &no_grant,
        ),
        ("expired", |w, _, _| w.later(HOUR / 2), &no_grant),
        (
            "replaced",
            |w, who, id| {
                standing(w, who, id, Some(below("x")));
            },
            &no_grant,
        ),
        (
            "paused",
            |w, _, _| {
                w.ok(Command::Pause(true));
            },
            &Refusal::Paused,
        ),
        (
            "hidden",
            |w, _, id| {
                w.ok(expose(id, false));
            },
            &Refusal::Unexposed,
        ),
        (
            "removed",
            |w, _, _| {
                w.ok(remove("notes"));
            },
            &Refusal::UnknownCapability,
        ),
    ];
    for (what, change, why) in changes {
        for id in [READ, WRITE] {
            let (mut world, who) = World::with_member(&[]);
            standing(&mut world, &who, id, None);
            // The grant ends before the session.
            world.later(HOUR / 2);
            let who = world.again(&who);
            let permit = world.permit(&who, id, &json!({}));
            let record = |world: &mut World| match id {
                READ => world.read(permit.clone()).map(drop),
                _ => world.begin(permit.clone()).map(drop),
            };
            assert_eq!(record(&mut world), Ok(()), "{what}: control");
            change(&mut world, &who, id);
            assert_eq!(record(&mut world).as_ref(), Err(why), "{what}: {id}");
        }
    }
}

#[test]
fn max_calls_counts_over_everything() {
    let (mut world, who) = World::with_member(&[]);
    standing(
        &mut world,
        &who,
        WRITE,
        Some(constraint(json!({"maxCalls": 2}))),
    );
    let permits: Vec<_> = (0..3)
        .map(|n| world.permit(&who, WRITE, &json!({ "n": n })))
        .collect();
    let begun = permits
        .into_iter()
        .filter(|p| world.begin(p.clone()).is_ok());
    assert_eq!(begun.collect::<Vec<_>>().len(), 2);
    assert!(world.pends(&who, WRITE, &json!({"n": 9})));
}

/// A call that was refused before any change is given back to the grant that counted it, and to no other; what was done,
/// or may have been, is not.
#[test]
fn only_a_refused_call_is_given_back_to_its_grant() {
    let (mut world, mut who) = World::with_member(&[]);
    let one = || Some(constraint(json!({"maxCalls": 1})));
    let agent = who.agent.clone();
    let calls = |world: &World| {
        let grants = &world.state.agent(&agent).unwrap().grants;
        grants.get(&cap(WRITE)).unwrap().calls
    };
    let begin = |world: &mut World, who: &Who, n: u8| {
        let permit = world.permit(who, WRITE, &json!({ "n": n }));
        world.begin(permit).unwrap()
    };
    standing(&mut world, &who, WRITE, one());
    for (outcome, left) in [
        (OutcomeKind::Ok, 1),
        (OutcomeKind::Failed, 1),
        (OutcomeKind::Unknown, 1),
        (OutcomeKind::Refused, 0),
    ] {
        standing(&mut world, &who, WRITE, one());
        let intent = begin(&mut world, &who, 1);
        assert_eq!(
            calls(&world),
            1,
            "{outcome:?}: it is counted when it begins"
        );
        world.end(&intent, outcome);
        assert_eq!(calls(&world), left, "{outcome:?}");
        if outcome == OutcomeKind::Unknown {
            world.ok(settle(&who, &intent, false));
            assert_eq!(calls(&world), 0, "the owner says that it did not happen");
        }
    }
    // Another grant of the same capability counts its own calls alone.
    let intent = begin(&mut world, &who, 2);
    standing(&mut world, &who, WRITE, one());
    begin(&mut world, &who, 3);
    world.end(&intent, OutcomeKind::Refused);
    assert_eq!(calls(&world), 1);
    // The same over a stop: what nobody knew is refused, or settled, afterwards.
    for says in [true, false] {
        standing(&mut world, &who, WRITE, one());
        let intent = begin(&mut world, &who, 4);
        let latest = world.state.latest;
        world.state = restore(all_rows(&world.state)).unwrap();
        world.state.latest = latest;
        world.ok(Command::Launch);
        assert_eq!(calls(&world), 1);
        match says {
            true => world.end(&intent, OutcomeKind::Refused),
            false => drop(world.ok(settle(&who, &intent, false))),
        }
        assert_eq!(calls(&world), 0, "the worker says so: {says}");
        who = world.again(&who);
    }
}

#[test]
fn call_settled_in_part_stays_counted() {
    let (mut world, who) = World::with_member(&[]);
    let one = Some(constraint(json!({"maxCalls": 1})));
    standing(&mut world, &who, WRITE, one);
    let permit = world.permit(&who, WRITE, &json!({}));
    let intent = world.begin(permit).unwrap();
    world.end(&intent, OutcomeKind::Unknown);
    world.invalid(Command::SettleUnknown {
        agent: who.agent.clone(),
        intent: intent.clone(),
        happened: false,
        in_part: true,
    });
    world.ok(settle_in_part(&who, &intent));
    let agent = world.state.agent(&who.agent).unwrap();
    assert_eq!(agent.grants[&cap(WRITE)].calls, 1);
    assert!(agent.unknown.is_empty());
}

#[test]
fn an_unknown_outcome_blocks_its_digest_until_settled() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    for agent in [&who, &other] {
        standing(&mut world, agent, WRITE, None);
    }
    let input = json!({"n": 1});
    let again = world.permit(&who, WRITE, &input);
    let intent = world.begin(again.clone()).unwrap();
    world.end(&intent, OutcomeKind::Unknown);
    let blocked = Refusal::OutcomeUnknown {
        intent: intent.clone(),
    };
    assert_eq!(refused(world.call(&who, WRITE, &input)), blocked);
    assert_eq!(world.begin(again.clone()).unwrap_err(), blocked);
    let asked = world.ask_for(&who, vec![entry_with(WRITE, &input)]);
    assert_eq!(asked.denied.len(), 1);
    assert!(world.allowed(&who, WRITE, &json!({"n": 2})));
    assert!(world.allowed(&other, WRITE, &input));
    let settle = settle(&who, &intent, true);
    world.ok(settle.clone());
    assert!(world.begin(again).is_ok());
    assert_eq!(world.run(settle).unwrap_err(), Refusal::NoSuchIntent);
}

#[test]
fn two_unknown_outcomes_of_one_digest_are_settled_one_by_one() {
    let (mut world, who) = World::with_member(&[]);
    standing(&mut world, &who, WRITE, None);
    let permit = world.permit(&who, WRITE, &json!({}));
    let intents = [
        world.begin(permit.clone()).unwrap(),
        world.begin(permit).unwrap(),
    ];
    for intent in &intents {
        world.end(intent, OutcomeKind::Unknown);
    }
    for (n, intent) in intents.iter().rev().enumerate() {
        assert!(!world.allowed(&who, WRITE, &json!({})), "{n} settled");
        world.ok(settle(&who, intent, false));
    }
    assert!(world.allowed(&who, WRITE, &json!({})));
}

#[test]
fn an_effect_that_was_open_when_the_daemon_stopped_is_unknown_until_its_outcome_comes() {
    let (mut world, who) = World::with_member(&[]);
    standing(&mut world, &who, WRITE, None);
    let (kept, lost) = (json!({"n": 1}), json!({"n": 2}));
    let [first, second] = [&kept, &lost].map(|input| {
        let permit = world.permit(&who, WRITE, input);
        world.begin(permit).unwrap()
    });
    world.ok(Command::Launch);
    let who = world.again(&who);
    for input in [&kept, &lost] {
        assert!(matches!(
            refused(world.call(&who, WRITE, input)),
            Refusal::OutcomeUnknown { .. }
        ));
    }
    // The worker's own store remembers the first; the owner looks after the second.
    world.end(&first, OutcomeKind::Ok);
    assert!(world.allowed(&who, WRITE, &kept));
    world.ok(settle(&who, &second, false));
    assert!(world.allowed(&who, WRITE, &lost));
    assert!(world.state.open_intents.is_empty());
}

#[test]
fn effect_ends_requests_of_its_own_agent_alone() {
    let input = json!({});
    for is_revoked in [false, true] {
        let (mut world, who) = World::with_member(&[]);
        let mut item = world.ask(&who, WRITE, &input);
        standing(&mut world, &who, WRITE, None);
        let permit = world.permit(&who, WRITE, &input);
        let intent = world.begin(permit).unwrap();
        if is_revoked {
            world.ok(revoke(&who.agent));
            let next = world.member("a", &[]);
            item = world.ask(&next, WRITE, &input);
        }
        world.end(&intent, OutcomeKind::Ok);
        let state = world.item_state(&item);
        let expected = match is_revoked {
            true => ItemState::Pending,
            false => ItemState::Void {
                why: VoidReason::MadeByGrant,
            },
        };
        assert_eq!(state, expected);
        // It is kept as its words.
        let kept = serde_json::to_value(&state).unwrap();
        assert_eq!(serde_json::from_value::<ItemState>(kept).unwrap(), state);
    }
}

#[test]
fn an_outcome_comes_once() {
    let (mut world, who) = World::with_member(&[]);
    standing(&mut world, &who, WRITE, None);
    let permit = world.permit(&who, WRITE, &json!({}));
    assert_eq!(permit.rating, Verb::Write);
    assert!(matches!(permit.basis, Basis::Grant(_)));
    let intent = world.begin(permit).unwrap();
    world.end(&intent, OutcomeKind::Ok);
    let again = Command::Outcome {
        intent,
        outcome: outcome(OutcomeKind::Ok),
    };
    assert_eq!(world.run(again).unwrap_err(), Refusal::NoSuchIntent);
}

#[test]
fn a_key_stands_for_one_effect() {
    let (mut world, who) = World::with_member(&[]);
    standing(&mut world, &who, WRITE, None);
    let key = plexus_trust::key_digest(&cap(WRITE), "k");
    let begin = |world: &mut World, n: u32, key| {
        let permit = world.permit(&who, WRITE, &json!({ "n": n }));
        world.begin_keyed(permit, Some(key))
    };
    let first = begin(&mut world, 1, key).unwrap();
    let taken = Err(Refusal::KeyUsed {
        intent: first.clone(),
    });
    // Under way, ended, and after the daemon has died: whatever the input, and only that key.
    assert_eq!(begin(&mut world, 1, key), taken);
    assert_eq!(begin(&mut world, 2, key), taken);
    let other = plexus_trust::key_digest(&cap(WRITE), "other");
    assert!(begin(&mut world, 2, other).is_ok());
    world.end(&first, OutcomeKind::Ok);
    assert_eq!(begin(&mut world, 1, key), taken);
    // Over a restart of the daemon, for a day; then it is free, and forgotten.
    world.ok(Command::Launch);
    let later = |world: &mut World, ms| {
        world.later(ms);
        let pat = world.state.agent(&who.agent).unwrap().pat;
        let session = world.open(&who.agent, pat).unwrap();
        let again = Who {
            agent: who.agent.clone(),
            session,
        };
        standing(world, &again, WRITE, None);
        let permit = world.permit(&again, WRITE, &json!({ "n": 1 }));
        world.begin_keyed(permit, Some(key))
    };
    assert_eq!(later(&mut world, DAY - 1), taken);
    world.later(1);
    world.ok(Command::Sweep);
    assert!(world.state.agent(&who.agent).unwrap().keys.is_empty());
    assert!(later(&mut world, 0).is_ok());
}

#[test]
fn a_key_of_an_effect_that_did_not_happen_is_free() {
    for (kind, stays) in [
        (OutcomeKind::Refused, false),
        (OutcomeKind::Failed, true),
        (OutcomeKind::Ok, true),
    ] {
        let (mut world, who) = World::with_member(&[]);
        standing(&mut world, &who, WRITE, None);
        let key = Some(plexus_trust::key_digest(&cap(WRITE), "k"));
        let permit = world.permit(&who, WRITE, &json!({}));
        let first = world.begin_keyed(permit.clone(), key).unwrap();
        world.end(&first, kind);
        let used = matches!(
            world.begin_keyed(permit, key),
            Err(Refusal::KeyUsed { intent }) if intent == first
        );
        assert_eq!(used, stays, "{kind:?}");
    }
}

/// Nobody knows how it ended: the key knows as much, and what the owner settles.
#[test]
fn a_key_learns_what_the_owner_settles() {
    let (mut world, who) = World::with_member(&[]);
    standing(&mut world, &who, WRITE, None);
    let key = plexus_trust::key_digest(&cap(WRITE), "k");
    let permit = world.permit(&who, WRITE, &json!({}));
    let first = world.begin_keyed(permit, Some(key)).unwrap();
    let result = |world: &World| {
        let agent = world.state.agent(&who.agent).unwrap();
        agent.used_key(key, world.now).unwrap().1.result
    };
    assert_eq!(result(&world), None);
    world.end(&first, OutcomeKind::Unknown);
    assert_eq!(result(&world), Some(OutcomeKind::Unknown));
    world.ok(settle(&who, &first, true));
    assert_eq!(result(&world), Some(OutcomeKind::Ok));

    let other = plexus_trust::key_digest(&cap(WRITE), "other");
    let permit = world.permit(&who, WRITE, &json!({}));
    let second = world.begin_keyed(permit.clone(), Some(other)).unwrap();
    world.end(&second, OutcomeKind::Unknown);
    world.ok(settle(&who, &second, false));
    assert!(world.begin_keyed(permit, Some(other)).is_ok(), "it is free");
}

/// The oldest of too many gives way, and none whose effect is under way.
#[test]
fn keys_are_bounded() {
    let (mut world, who) = World::with_member(&[]);
    standing(&mut world, &who, WRITE, None);
    let key = |n: usize| plexus_trust::key_digest(&cap(WRITE), &n.to_string());
    let mut begun = Vec::new();
    for n in 0..plexus_trust::MAX_KEYS {
        let permit = world.permit(&who, WRITE, &json!({ "n": n }));
        begun.push(world.begin_keyed(permit, Some(key(n))).unwrap());
    }
    for intent in &begun[1..] {
        world.end(intent, OutcomeKind::Ok);
    }
    let permit = world.permit(&who, WRITE, &json!({}));
    world.begin_keyed(permit, Some(key(usize::MAX))).unwrap();
    let agent = world.state.agent(&who.agent).unwrap();
    assert_eq!(agent.keys.len(), plexus_trust::MAX_KEYS);
    assert!(agent.used_key(key(0), world.now).is_some(), "under way");
    assert!(agent.used_key(key(1), world.now).is_none(), "the oldest");
    assert!(agent.used_key(key(2), world.now).is_some());
}
