//! Asking for grants: coalescing, limits, declared verbs, constraints; tokens and their exchange.

use crate::support::*;
use plexus_protocol::{AgentId, TokenId, TrustWindow, Verb, Verbs, body::Scope};
use plexus_trust::{
    AuthPath, Command, Extent, GrantEntry, ITEM_MS, ItemState, MAX_PENDING, MAX_TOKENS, OnApproval,
    REFRESH_GRACE_MS, Refusal, Reply,
};
use serde_json::json;

#[test]
fn the_same_ask_is_one_item_and_anything_else_another() {
    let (mut world, who) = World::with_member(&[]);
    let input = json!({"n": 1});
    let both = || vec![entry_with(WRITE, &input), entry(READ)];
    let first = world.ask_for(&who, both());
    assert!(!first.joined);
    let again = world.ask_for(&who, both());
    assert_eq!((again.item, again.joined), (first.item.clone(), true));
    let turned = world.ask_for(&who, both().into_iter().rev().collect());
    assert_eq!(turned.item, first.item, "the order of a map says nothing");

    let mut wish = both();
    wish[1].wish = Some(TrustWindow::HOUR);
    let mut narrow = both();
    narrow[1].constraint = Some(below("Projects"));
    for other in [
        vec![entry_with(WRITE, &json!({"n": 2})), entry(READ)],
        vec![entry_with(WRITE, &input)],
        wish,
        narrow,
    ] {
        assert!(!world.ask_for(&who, other).joined);
    }
    let mut purpose = world.request(&who, both());
    purpose.purpose = Some("because".into());
    assert!(!world.decided(purpose).joined);
    let mut run = world.request(&who, both());
    run.on_approval = OnApproval::Run;
    assert!(!world.decided(run).joined);
}

#[test]
fn an_id_is_asked_for_once_in_a_request() {
    let (mut world, who) = World::with_member(&[]);
    let twice = vec![
        entry_with(WRITE, &json!({"n": 1})),
        entry_with(WRITE, &json!({"n": 2})),
    ];
    let request = world.request(&who, twice);
    world.invalid(Command::Request(request));
}

#[test]
fn twenty_items_wait_at_most() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[]), world.member("b", &[]));
    for n in 0..MAX_PENDING {
        world.ask(&who, READ, &json!({ "n": n }));
    }
    let request = world.request(&who, vec![entry_with(READ, &json!({"n": "more"}))]);
    world.refuses(Command::Request(request.clone()), Refusal::TooManyPending);
    assert!(
        world
            .ask_for(&who, vec![entry_with(READ, &json!({"n": 0}))])
            .joined
    );
    world.ask(&other, READ, &json!({}));
    world.later(ITEM_MS);
    let session = world.open(&who.agent, None).unwrap();
    let request = plexus_trust::RequestGrants { session, ..request };
    world.ok(Command::Request(request));
}

#[test]
fn only_declared_verbs_can_be_asked_for() {
    let (mut world, who) = World::with_member(&[]);
    let mut wrong = entry(WRITE);
    wrong.verbs = Some(Verbs::READ);
    let request = world.request(&who, vec![wrong]);
    world.invalid(Command::Request(request));
    // Absent or empty means all that the call needs (E28).
    let mut empty = entry(EDIT);
    empty.verbs = Some(Verbs::NONE);
    let item = world.item(&who, vec![empty]);
    world.approve(&item, None).unwrap();
    assert!(world.allowed(&who, EDIT, &json!({})));
}

#[test]
fn a_grant_of_fewer_verbs_is_not_used_again_for_more() {
    let (mut world, who) = World::with_member(&[]);
    let entry_of = |verbs| GrantEntry {
        capability: cap(EDIT),
        verbs,
        window: Some(TrustWindow::DAY),
        constraint: None,
    };
    let grant = |verbs| Command::Grant {
        agent: agent("a"),
        entries: vec![entry_of(verbs)],
    };
    world.ok(grant(Some(Verbs::READ)));
    assert!(world.pends(&who, EDIT, &json!({})));
    assert!(world.ask_for(&who, vec![entry(EDIT)]).scopes.is_empty());
    world.ok(grant(Some(Verbs::of([Verb::Read, Verb::Write]))));
    assert!(world.allowed(&who, EDIT, &json!({})));
}

#[test]
fn a_constraint_is_kept_or_narrowed_and_never_widened_by_asking() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[READ]);
    connect.constraint = Some(below("Projects"));
    let who = world.join(connect);
    let ask = |world: &mut World, constraint| {
        let mut wanted = entry(READ);
        wanted.constraint = constraint;
        world.ask_for(&who, vec![wanted])
    };
    let bare = ask(&mut world, None);
    assert_eq!(bare.scopes[0].constraint, Some(below("Projects")));
    let narrower = ask(&mut world, Some(below("Projects/Plexus")));
    assert_eq!(
        narrower.scopes[0].constraint,
        Some(below("Projects/Plexus"))
    );
    for wider in [below(""), below("Private"), constraint(json!({}))] {
        let decision = ask(&mut world, Some(wider));
        assert!(decision.scopes.is_empty() && decision.item.is_some());
    }
    assert!(world.pends(&who, READ, &json!({"path": "Private/a.md"})));
    assert!(world.allowed(&who, READ, &json!({"path": "Projects/a.md"})));
}

#[test]
fn a_constraint_that_can_match_nothing_is_refused_when_made() {
    let (mut world, who) = World::with_member(&[]);
    for bad in [
        json!({"pathPrefix": {"field": "file", "allow": ["x"]}}),
        json!({"pathPrefix": {"field": "path", "allow": []}}),
        json!({"maxCalls": 0}),
    ] {
        let mut wanted = entry(READ);
        wanted.constraint = Some(constraint(bad));
        let request = world.request(&who, vec![wanted]);
        world.invalid(Command::Request(request));
    }
}

#[test]
fn connect_never_grants_what_its_constraint_cannot_narrow() {
    let mut world = World::new();
    let connect = |world: &mut World, field: &str| {
        let mut connect = world.connect_command("a", &[READ, SEARCH]);
        connect.constraint = Some(constraint(json!({
            "match": [{"field": field, "op": "eq", "value": "plexus"}], "maxCalls": 2,
        })));
        world.run(Command::Connect(connect))
    };
    let unknown = connect(&mut world, "word");
    assert!(matches!(unknown, Err(Refusal::Invalid(_))), "{unknown:?}");
    // A read takes no query: two calls of it would see everything.
    let Ok(Reply::Connected {
        granted, skipped, ..
    }) = connect(&mut world, "query")
    else {
        panic!("the search can be narrowed")
    };
    assert_eq!((granted, skipped), (vec![cap(SEARCH)], vec![cap(READ)]));
}

#[test]
fn asking_again_never_moves_a_grant() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[READ]);
    connect.window = Some(TrustWindow::HOUR);
    let who = world.join(connect);
    let held = |world: &World| world.state.agent(&who.agent).unwrap().grants[&cap(READ)].clone();
    let before = held(&world);
    world.later(MINUTE);
    let mut wanted = entry(READ);
    wanted.wish = Some(TrustWindow::WEEK);
    let decision = world.ask_for(&who, vec![wanted]);
    assert_eq!(held(&world), before);
    assert_eq!(decision.grant_expires_at, Some(before.expires_at));
}

#[test]
fn a_token_ends_with_its_grant_at_the_latest() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[READ]);
    connect.window = TrustWindow::parse("20m");
    let who = world.join(connect);
    let life = world.state.settings.token_lifetime_ms;
    let first = world
        .ask_for(&who, vec![entry(READ)])
        .token_expires_at
        .unwrap();
    assert_eq!(first, world.now.plus(life));
    world.later(10 * MINUTE);
    let second = world
        .ask_for(&who, vec![entry(READ)])
        .token_expires_at
        .unwrap();
    assert_eq!(second, world.now.plus(10 * MINUTE));
}

#[test]
fn a_token_opens_its_scopes_to_its_agent_and_nothing_else() {
    let mut world = World::new();
    let (who, other) = (
        world.member("a", &[READ, SEARCH]),
        world.member("b", &[READ]),
    );
    let mut narrow = entry(READ);
    narrow.constraint = Some(below("Projects"));
    let token = world.token(&who, vec![narrow]);
    let input = json!({"path": "Projects/a.md"});
    let by = |world: &World, agent: &AgentId, id: &str, input: &serde_json::Value| {
        world.through(agent, AuthPath::Token(&token), id, input)
    };
    granted(by(&world, &who.agent, READ, &input));
    let miss = refused(by(&world, &who.agent, READ, &json!({"path": "a.md"})));
    assert!(matches!(miss, Refusal::GrantRequired { constraint: Some(field) } if field == "path"));
    assert!(matches!(
        refused(by(&world, &who.agent, SEARCH, &input)),
        Refusal::GrantRequired { .. }
    ));
    assert_eq!(
        refused(by(&world, &other.agent, READ, &input)),
        Refusal::TokenRevoked
    );
}

/// A field that is judged on what it resolves to passes here, so the permit has to carry the token's narrowing to its judge.
#[test]
fn a_token_narrows_what_is_judged_on_what_it_resolves_to() {
    let mut world = World::new();
    let mut resolving = seen("notes");
    for facts in resolving.capabilities.values_mut() {
        facts.resolved = vec!["path".into()];
    }
    world.ok(Command::SourceSeen(resolving));
    let mut connect = world.connect_command("a", &[READ]);
    connect.constraint = Some(below("Projects"));
    let (narrow, wide) = (world.join(connect), world.member("b", &[READ]));
    for (who, asked, held) in [
        (&narrow, Some("Projects/Plexus"), "Projects/Plexus"),
        (&narrow, None, "Projects"),
        (&wide, Some("Projects"), "Projects"),
    ] {
        let mut wanted = entry(READ);
        wanted.constraint = asked.map(below);
        let token = world.token(who, vec![wanted]);
        let by_token = world.by_token(who, &token, READ);
        assert_eq!(granted(by_token).constraint, Some(below(held)));
    }
    // The control: a session has no scope, and the grant alone narrows it.
    assert_eq!(world.permit(&wide, READ, &json!({})).constraint, None);
    let by_session = world.permit(&narrow, READ, &json!({}));
    assert_eq!(by_session.constraint, Some(below("Projects")));
}

/// The owner granted anew what a source now does; a token of before says less.
#[test]
fn a_token_of_fewer_verbs_opens_no_more() {
    let (mut world, who) = World::with_member(&[READ]);
    let token = world.token(&who, vec![entry(READ)]);
    let by_token = |world: &World, token: &TokenId| {
        world.through(&who.agent, AuthPath::Token(token), READ, &json!({}))
    };
    granted(by_token(&world, &token));
    let mut writes = seen("notes");
    let facts = writes.capabilities.get_mut(&cap(READ)).unwrap();
    facts.verbs = Verbs::of([Verb::Read, Verb::Write]);
    world.ok(Command::SourceSeen(writes));
    world.ok(grant(&who, READ, TrustWindow::DAY, None));
    assert!(world.allowed(&who, READ, &json!({})), "the grant itself");
    assert_eq!(refused(by_token(&world, &token)), NO_GRANT);
    let fresh = world.token(&who, vec![entry(READ)]);
    granted(by_token(&world, &fresh));
}

#[test]
fn a_revoked_token_is_dead_and_its_grant_is_not() {
    let (mut world, who) = World::with_member(&[READ]);
    let token = world.token(&who, vec![entry(READ)]);
    let permit = granted(world.by_token(&who, &token, READ));
    let revoke = Command::RevokeToken {
        token,
        reason: None,
    };
    world.ok(revoke.clone());
    assert_eq!(world.read(permit).unwrap_err(), Refusal::TokenRevoked);
    assert_eq!(world.run(revoke).unwrap_err(), Refusal::TokenRevoked);
    world.token(&who, vec![entry(READ)]);
}

#[test]
fn revoking_a_grant_ends_every_token_of_its_agent() {
    let (mut world, who) = World::with_member(&[READ, SEARCH]);
    let token = world.token(&who, vec![entry(SEARCH)]);
    world.ok(revoke_grant(&who, READ));
    let by_token = refused(world.by_token(&who, &token, SEARCH));
    assert_eq!(by_token, Refusal::TokenRevoked);
    assert!(world.allowed(&who, SEARCH, &json!({})) && world.pends(&who, READ, &json!({})));
}

/// Exchanges a token; answers with the fresh one and what it opens.
fn refresh(
    world: &mut World,
    who: &Who,
    token: &TokenId,
) -> Result<(TokenId, Vec<Scope>), Refusal> {
    let fresh = TokenId::parse(&uuid("tok", world.fresh())).unwrap();
    let reply = world.run(Command::Refresh {
        agent: who.agent.clone(),
        token: token.clone(),
        session: who.session.clone(),
        fresh: fresh.clone(),
    })?;
    match reply {
        Reply::Refreshed { scopes, .. } => Ok((fresh, scopes)),
        other => panic!("a token is refreshed, not {other:?}"),
    }
}

#[test]
fn refresh_is_the_agents_own_and_once() {
    let mut world = World::new();
    let (who, other) = (world.member("a", &[READ]), world.member("b", &[READ]));
    let token = world.token(&who, vec![entry(READ)]);
    let crossed = Who {
        session: other.session.clone(),
        ..who.clone()
    };
    assert_eq!(
        refresh(&mut world, &crossed, &token).unwrap_err(),
        Refusal::SessionExpired
    );
    assert_eq!(
        refresh(&mut world, &other, &token).unwrap_err(),
        Refusal::TokenRevoked
    );
    let (fresh, _) = refresh(&mut world, &who, &token).unwrap();
    assert_eq!(
        refresh(&mut world, &who, &token).unwrap_err(),
        Refusal::TokenRevoked
    );
    granted(world.by_token(&who, &fresh, READ));
}

#[test]
fn refresh_has_five_minutes_of_grace_and_no_grant_no_token() {
    let (mut world, who) = World::with_member(&[READ]);
    let life = world.state.settings.token_lifetime_ms;
    let (late, too_late) = (
        world.token(&who, vec![entry(READ)]),
        world.token(&who, vec![entry(READ)]),
    );
    world.later(life);
    let expired = world.by_token(&who, &late, READ);
    assert_eq!(refused(expired), Refusal::TokenExpired);
    world.later(REFRESH_GRACE_MS - 1);
    assert!(refresh(&mut world, &who, &late).is_ok());
    world.later(1);
    assert_eq!(
        refresh(&mut world, &who, &too_late).unwrap_err(),
        Refusal::TokenExpired
    );

    world.approved(&who, WRITE, &json!({}));
    let once = world.token(&who, vec![entry(WRITE)]);
    assert!(matches!(
        refresh(&mut world, &who, &once),
        Err(Refusal::GrantRequired { .. })
    ));
}

#[test]
fn a_refreshed_token_follows_the_grant_as_it_is_now() {
    let (mut world, who) = World::with_member(&[READ]);
    let token = world.token(&who, vec![entry(READ)]);
    world.ok(grant(&who, READ, TrustWindow::DAY, Some(below("Projects"))));
    let outside = json!({"path": "a.md"});
    let stale = world.through(&who.agent, AuthPath::Token(&token), READ, &outside);
    assert!(matches!(refused(stale), Refusal::GrantRequired { .. }));
    let (_, scopes) = refresh(&mut world, &who, &token).unwrap();
    assert_eq!(scopes[0].constraint, Some(below("Projects")));
}

#[test]
fn the_oldest_token_gives_way() {
    let (mut world, who) = World::with_member(&[READ]);
    let first = world.token(&who, vec![entry(READ)]);
    world.later(1);
    for _ in 1..MAX_TOKENS {
        world.token(&who, vec![entry(READ)]);
    }
    granted(world.by_token(&who, &first, READ));
    world.token(&who, vec![entry(READ)]);
    let by_token = refused(world.by_token(&who, &first, READ));
    assert_eq!(by_token, Refusal::TokenRevoked);
}

/// A call that used the last of its number, or a look at a status, wants a token of what stands and no more.
#[test]
fn who_wants_only_a_token_asks_the_owner_for_nothing() {
    let (mut world, who) = World::with_member(&[READ]);
    let one_call = constraint(json!({"maxCalls": 1}));
    world.ok(grant(&who, READ, TrustWindow::DAY, Some(one_call)));
    let request = |world: &mut World| {
        let mut request = world.request(&who, vec![entry(READ)]);
        request.extent = Extent::Token;
        request
    };
    // The control: what stands is in the token.
    let stands = request(&mut world);
    assert_eq!(world.decided(stands).scopes.len(), 1);
    let permit = world.permit(&who, READ, &json!({}));
    world.read(permit).unwrap();
    let over = request(&mut world);
    let decision = world.decided(over.clone());
    assert!(decision.scopes.is_empty() && decision.item.is_none());
    assert!(world.state.agent(&who.agent).unwrap().items.is_empty());
    // And the other: the same asked for in earnest is an item.
    let mut asks = over;
    asks.extent = Extent::Anything;
    assert!(world.decided(asks).item.is_some());
}

#[test]
fn a_skill_needs_no_grant_and_is_no_call() {
    let (mut world, who) = World::with_member(&[GUIDE]);
    assert_eq!(world.refusal(&who, GUIDE), Refusal::NotCallable);
    let decision = world.ask_for(&who, vec![entry(GUIDE)]);
    assert!(decision.item.is_none() && decision.scopes.is_empty());
}

#[test]
fn the_owners_key_without_a_name_is_declined_everything() {
    let mut world = World::new();
    let session = plexus_protocol::SessionId::parse(&uuid("sess", 9_000)).unwrap();
    world.ok(Command::OpenSession {
        agent: None,
        by: plexus_trust::SessionProof::Owner,
        session: session.clone(),
        client: (None, None),
    });
    let who = world.member("a", &[READ]);
    let mut request = world.request(&who, vec![entry(READ)]);
    (request.agent, request.session) = (None, session);
    let decision = world.decided(request);
    assert_eq!(decision.unknown, [READ]);
    assert!(decision.scopes.is_empty());
}

/// An item that became grants was used by being approved: what ends the grants does not turn it into a refusal.
#[test]
fn what_became_a_grant_is_not_voided_with_it() {
    let (mut world, who) = World::with_member(&[]);
    let granted = world.item(&who, vec![entry(READ)]);
    world.approve(&granted, Some(TrustWindow::DAY)).unwrap();
    let call = world.approved(&who, WRITE, &json!({"path": "a"}));
    let rotated = world.ok(Command::RotateKey);
    assert!(
        matches!(&rotated, Reply::KeyRotated { items } if *items == [call.clone()]),
        "{rotated:?}"
    );
    let (granted, call) = (world.item_state(&granted), world.item_state(&call));
    assert!(matches!(granted, ItemState::Approved { .. }));
    assert!(matches!(call, ItemState::Void { .. }));
}
