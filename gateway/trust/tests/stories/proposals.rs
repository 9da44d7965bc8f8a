//! Extensions that agents propose: joined, added, denied; and what they never give.

use crate::support::*;
use plexus_protocol::{CapabilityId, Digest, PendingId, SourceId};
use plexus_trust::{
    Approve, Command, DENIAL_MS, ITEM_MS, MAX_PENDING, Propose, Refusal, Register, Reply,
};

fn propose(who: &Who, content: &str) -> (PendingId, Command) {
    let item = PendingId::fresh();
    let propose = Propose {
        agent: who.agent.clone(),
        session: who.session.clone(),
        source: SourceId::parse("box").unwrap(),
        content: Digest::of(content.as_bytes()),
        purpose: None,
        item: item.clone(),
    };
    (item, Command::Propose(propose))
}

fn proposed(world: &mut World, who: &Who, content: &str) -> Result<PendingId, Refusal> {
    let (_, command) = propose(who, content);
    match world.run(command)? {
        Reply::Proposed(item) => Ok(item),
        other => panic!("{other:?}"),
    }
}

fn register(item: &PendingId) -> Command {
    Command::Register(Register {
        item: item.clone(),
        card: Digest::of(b"card"),
        capabilities: vec![CapabilityId::parse("box.find").unwrap()],
    })
}

#[test]
fn proposal_is_joined_and_added_once() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    let item = proposed(&mut world, &who, "one").unwrap();
    assert_eq!(proposed(&mut world, &who, "one").unwrap(), item);
    assert_ne!(proposed(&mut world, &other, "one").unwrap(), item);
    // It is approved by being added, and by nothing else.
    let approve = Command::Approve(Approve {
        item: item.clone(),
        revision: 0,
        card: Digest::of(b"card"),
        window: None,
        constraint: None,
        any_input: true,
        turns: None,
        minutes: None,
    });
    assert_eq!(world.run(approve).unwrap_err(), Refusal::CardChanged);
    world.ok(register(&item));
    let held = world.state.item(&item).unwrap();
    assert_eq!(held.state.wire(), "approved");
    assert_eq!(held.register.as_ref().unwrap().registered.len(), 1);
    assert!(world.state.agent(&who.agent).unwrap().grants.is_empty());
    assert_eq!(world.run(register(&item)).unwrap_err(), Refusal::NoSuchItem);
}

#[test]
fn denied_proposal_is_remembered_for_its_agent_and_content() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    let item = proposed(&mut world, &who, "one").unwrap();
    let reason = Some("no".to_owned());
    world.ok(Command::Deny {
        item: item.clone(),
        reason: reason.clone(),
    });
    assert_eq!(world.item_state(&item).wire(), "denied");
    let refused = proposed(&mut world, &who, "one").unwrap_err();
    assert_eq!(refused, Refusal::Denied { reason });
    assert_eq!(world.run(register(&item)).unwrap_err(), Refusal::NoSuchItem);
    proposed(&mut world, &who, "two").unwrap();
    proposed(&mut world, &other, "one").unwrap();
    world.ok(Command::EndDenial { item });
    proposed(&mut world, &who, "one").unwrap();
    world.later(DENIAL_MS);
    let who = world.again(&who);
    proposed(&mut world, &who, "one").unwrap();
}

#[test]
fn proposals_are_bounded_and_end_with_the_credential() {
    let (mut world, who) = World::with_member(&[]);
    let first = proposed(&mut world, &who, "0").unwrap();
    for n in 1..MAX_PENDING {
        proposed(&mut world, &who, &n.to_string()).unwrap();
    }
    let more = proposed(&mut world, &who, "more").unwrap_err();
    assert_eq!(more, Refusal::TooManyPending);
    world.ok(withdraw(&who.agent, &first));
    let last = proposed(&mut world, &who, "more").unwrap();
    world.later(ITEM_MS);
    assert_eq!(world.run(register(&last)).unwrap_err(), Refusal::NoSuchItem);
    let who = world.again(&who);
    let item = proposed(&mut world, &who, "later").unwrap();
    world.ok(revoke(&who.agent));
    assert_eq!(world.run(register(&item)).unwrap_err(), Refusal::NoSuchItem);
}
