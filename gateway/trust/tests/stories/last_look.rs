//! The last look before an effect is sent, and who may know of a capability.

use crate::support::*;
use plexus_protocol::TrustWindow;
use plexus_trust::{AuthPath, Command, GrantEntry, Permit, Reach, in_reach, standing_for, visible};
use serde_json::{Value, json};

fn grant(world: &mut World, who: &Who, id: &str) {
    world.ok(Command::Grant {
        agent: who.agent.clone(),
        entries: vec![GrantEntry {
            capability: cap(id),
            verbs: None,
            window: Some(TrustWindow::HOUR),
            constraint: None,
        }],
    });
}

fn revoke(world: &mut World, who: &Who, id: &str) {
    world.ok(Command::RevokeGrant {
        agent: who.agent.clone(),
        capability: cap(id),
        reason: None,
    });
}

fn expose(world: &mut World, id: &str, enabled: bool) {
    let capability = cap(id);
    world.ok(Command::Expose {
        capability,
        enabled,
    });
}

/// A write by a standing grant whose intent is recorded.
fn begun() -> (World, Who, Permit) {
    let mut world = World::new();
    let who = world.member("a", &[]);
    grant(&mut world, &who, WRITE);
    let permit = world.permit(&who, WRITE, &json!({}));
    world.begin(permit.clone()).unwrap();
    (world, who, permit)
}

#[test]
fn effect_is_not_sent_after_anything_was_taken_back() {
    type Change = fn(&mut World, &Who);
    let changes: [(&str, Change); 9] = [
        ("grant revoked", |w, who| revoke(w, who, WRITE)),
        ("grant replaced", |w, who| grant(w, who, WRITE)),
        ("paused", |w, _| {
            w.ok(Command::Pause(true));
        }),
        ("hidden", |w, _| expose(w, WRITE, false)),
        ("source removed", |w, _| {
            let id = source("notes");
            w.ok(Command::RemoveSource { id });
        }),
        ("other code", |w, _| {
            let mut found = seen("notes");
            found.pins = vec![format!("program turn /bin/x {}", secret("x"))];
            w.ok(Command::SourceSeen(found));
        }),
        ("other profile", |w, _| {
            let mut found = seen("notes");
            found.profile = secret("other");
            w.ok(Command::SourceSeen(found));
        }),
        ("keys rotated", |w, _| {
            w.ok(Command::RotateKey);
        }),
        ("agent deleted", |w, who| {
            w.ok(Command::RevokeAgent {
                agent: who.agent.clone(),
                reason: None,
                delete: true,
            });
        }),
    ];
    for (what, change) in changes {
        let (mut world, who, permit) = begun();
        assert!(permit.not_taken_back(&world.state), "{what}: the control");
        change(&mut world, &who);
        assert!(!permit.not_taken_back(&world.state), "{what}");
    }
    // What concerns another capability, or only the time, takes nothing back.
    let (mut world, who, permit) = begun();
    grant(&mut world, &who, EDIT);
    revoke(&mut world, &who, EDIT);
    world.later(2 * HOUR);
    assert!(permit.not_taken_back(&world.state));
}

#[test]
fn used_approval_and_last_turn_still_send_their_effect() {
    let mut world = World::new();
    let who = world.member("a", &[]);
    let input = json!({"text": "a"});
    let item = world.ask(&who, WRITE, &input);
    world.approve(&item, Some(TrustWindow::Once)).unwrap();
    let permit = world.permit(&who, WRITE, &input);
    world.begin(permit.clone()).unwrap();
    assert!(permit.not_taken_back(&world.state), "its one call is used");
    let mut found = seen("notes");
    found.profile = secret("other");
    world.ok(Command::SourceSeen(found));
    assert!(!permit.not_taken_back(&world.state), "of another source");

    let item = world.ask(&who, RUN, &input);
    world.approve(&item, Some(TrustWindow::Once)).unwrap();
    let first = world.permit(&who, RUN, &input);
    let mut intent = world.begin(first).unwrap();
    let mut last = None;
    for n in 1..TURNS.turns {
        world.end(&intent, plexus_trust::OutcomeKind::Ok);
        let turn: Value = json!({"text": n});
        let permit = granted(world.through(&who.agent, AuthPath::Bounded(&item), RUN, &turn));
        intent = world.say(permit.clone(), &format!("m{n}")).unwrap();
        last = Some(permit);
    }
    let last = last.unwrap();
    assert!(last.not_taken_back(&world.state), "the turns are used");
}

#[test]
fn ended_conversation_sends_nothing() {
    let mut world = World::new();
    let who = world.member("a", &[]);
    let input = json!({"text": "a"});
    let item = world.ask(&who, RUN, &input);
    world.approve(&item, Some(TrustWindow::Once)).unwrap();
    let first = world.permit(&who, RUN, &input);
    let intent = world.begin(first).unwrap();
    world.end(&intent, plexus_trust::OutcomeKind::Ok);
    let turn = granted(world.through(&who.agent, AuthPath::Bounded(&item), RUN, &json!({})));
    world.say(turn.clone(), "m").unwrap();
    assert!(turn.not_taken_back(&world.state), "the control");
    let by_source = false;
    world.ok(Command::EndTurns { item, by_source });
    assert!(!turn.not_taken_back(&world.state));
}

#[test]
fn agent_knows_what_it_was_given_and_what_all_see() {
    let mut world = World::new();
    let mut narrow = world.connect_command("a", &[READ]);
    narrow.reach = Some(Reach::Selected);
    let (a, b) = (world.join(narrow), world.member("b", &[]));
    let (read, write) = (cap(READ), cap(WRITE));
    let knows = |world: &World, who: &Who, id| {
        let agent = world.state.agent(&who.agent).unwrap();
        let seen = visible(&world.state, agent, id, world.now);
        let granted = standing_for(&world.state, agent, id, world.now).is_some();
        (seen, in_reach(&world.state, agent, id), granted)
    };
    assert_eq!(knows(&world, &a, &read), (true, true, true));
    assert_eq!(knows(&world, &a, &write), (false, false, false));
    assert_eq!(knows(&world, &b, &write), (true, true, false));
    grant(&mut world, &a, WRITE);
    assert_eq!(knows(&world, &a, &write), (true, true, true));
    expose(&mut world, WRITE, false);
    assert_eq!(knows(&world, &b, &write), (false, true, false));
    assert_eq!(knows(&world, &b, &cap("notes.none")), (false, true, false));
}
