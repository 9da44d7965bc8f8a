//! Calls: the last look, counting, unknown outcomes.

use crate::support::*;
use plexus_protocol::{TrustWindow, Verb};
use plexus_trust::{Basis, Command, GrantEntry, OutcomeKind, Refusal};
use serde_json::json;

fn standing(
    world: &mut World,
    who: &Who,
    id: &str,
    constraint: Option<plexus_protocol::Constraint>,
) {
    world.ok(Command::Grant {
        agent: who.agent.clone(),
        entries: vec![GrantEntry {
            capability: cap(id),
            verbs: None,
            window: Some(TrustWindow::HOUR),
            constraint,
        }],
    });
}

#[test]
fn the_writer_decides_last() {
    type Change = fn(&mut World, &Who);
    let changes: [(&str, Change); 6] = [
        ("revoked", |w, who| {
            w.ok(Command::RevokeGrant {
                agent: who.agent.clone(),
                capability: cap(READ),
                reason: None,
            });
        }),
        ("expired", |w, _| w.later(HOUR)),
        ("replaced", |w, who| {
            standing(w, who, READ, Some(below("x")));
        }),
        ("paused", |w, _| {
            w.ok(Command::Pause(true));
        }),
        ("hidden", |w, _| {
            w.ok(Command::Expose {
                capability: cap(READ),
                enabled: false,
            });
        }),
        ("removed", |w, _| {
            w.ok(Command::RemoveSource {
                id: source("notes"),
            });
        }),
    ];
    for (what, change) in changes {
        let mut world = World::new();
        let who = world.member("a", &[]);
        standing(&mut world, &who, READ, None);
        let permit = world.permit(&who, READ, &json!({}));
        assert!(world.read(permit.clone()).is_ok(), "{what}: control");
        change(&mut world, &who);
        assert!(world.read(permit).is_err(), "{what}");
    }
}

#[test]
fn max_calls_counts_over_everything() {
    let mut world = World::new();
    let who = world.member("a", &[]);
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
    let settle = Command::SettleUnknown {
        agent: who.agent.clone(),
        intent,
        happened: true,
    };
    world.ok(settle.clone());
    assert!(world.begin(again).is_ok());
    assert_eq!(world.run(settle).unwrap_err(), Refusal::NoSuchIntent);
}

#[test]
fn two_unknown_outcomes_of_one_digest_are_settled_one_by_one() {
    let mut world = World::new();
    let who = world.member("a", &[]);
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
        world.ok(Command::SettleUnknown {
            agent: who.agent.clone(),
            intent: intent.clone(),
            happened: false,
        });
    }
    assert!(world.allowed(&who, WRITE, &json!({})));
}

#[test]
fn an_effect_that_was_open_when_the_daemon_stopped_is_unknown_until_its_outcome_comes() {
    let mut world = World::new();
    let who = world.member("a", &[]);
    standing(&mut world, &who, WRITE, None);
    let (kept, lost) = (json!({"n": 1}), json!({"n": 2}));
    let [first, second] = [&kept, &lost].map(|input| {
        let permit = world.permit(&who, WRITE, input);
        world.begin(permit).unwrap()
    });
    world.ok(Command::Launch);
    let session = world.open(&who.agent, None).unwrap();
    let who = Who { session, ..who };
    for input in [&kept, &lost] {
        assert!(matches!(
            refused(world.call(&who, WRITE, input)),
            Refusal::OutcomeUnknown { .. }
        ));
    }
    // The worker's own store remembers the first; the owner looks after the second.
    world.end(&first, OutcomeKind::Ok);
    assert!(world.allowed(&who, WRITE, &kept));
    world.ok(Command::SettleUnknown {
        agent: who.agent.clone(),
        intent: second,
        happened: false,
    });
    assert!(world.allowed(&who, WRITE, &lost));
    assert!(world.state.open_intents.is_empty());
}

#[test]
fn an_outcome_comes_once() {
    let mut world = World::new();
    let who = world.member("a", &[]);
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
