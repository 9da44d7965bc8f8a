//! Connect, enroll, sessions, revoke, rotation.

use crate::support::*;
use plexus_protocol::{AgentId, SessionId, TrustWindow};
use plexus_trust::{
    AuthPath, Bounds, Command, EnrollmentStatus, Extent, MAX_SESSIONS, OutcomeKind, Reach, Refusal,
    Reply, SESSION_MS, SessionProof, Verdict,
};
use serde_json::json;

#[test]
fn nothing_is_allowed_without_an_act_of_the_owner() {
    let (mut world, who) = World::with_member(&[]);
    for id in ALL.into_iter().filter(|id| *id != GUIDE) {
        assert!(world.pends(&who, id, &json!({})), "{id}");
    }
    // Control: the owner's act is what was missing.
    let who = world.member("a", &[READ]);
    assert!(world.allowed(&who, READ, &json!({})));
}

#[test]
fn connect_grants_reads_and_only_the_effects_that_may_stand() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &ALL);
    connect.standing = [WRITE, RUN, SEND, EXT_WRITE].map(cap).into();
    let Reply::Connected {
        granted,
        skipped,
        refused,
        ..
    } = world.ok(Command::Connect(connect))
    else {
        panic!()
    };
    let ids = |ids: &[&str]| ids.iter().map(|id| cap(id)).collect::<Vec<_>>();
    assert_eq!(granted, ids(&[EXT_READ, READ, SEARCH, WRITE]));
    assert_eq!(skipped, ids(&[EXT_WRITE, EDIT, RUN, SEND]));
    assert_eq!(refused, ids(&[EXT_WRITE, RUN, SEND]));
}

#[test]
fn a_code_is_redeemed_once() {
    let mut world = World::new();
    let connect = world.connect_command("a", &[]);
    let enroll = |pat| Command::Enroll {
        code: connect.code,
        pat: secret(pat),
    };
    world.ok(Command::Connect(connect.clone()));
    world.ok(enroll("first"));
    world.refuses(enroll("second"), Refusal::CodeConsumed);
    assert_eq!(
        world
            .open(&connect.agent, Some(secret("second")))
            .unwrap_err(),
        Refusal::SessionExpired
    );
    assert!(world.open(&connect.agent, Some(secret("first"))).is_ok());
}

#[test]
fn a_code_ends_with_its_time_or_with_a_newer_one() {
    let mut world = World::new();
    let (old, new) = (
        world.connect_command("a", &[]),
        world.connect_command("a", &[]),
    );
    let enroll = |code| Command::Enroll {
        code,
        pat: secret("pat"),
    };
    world.ok(Command::Connect(old.clone()));
    world.ok(Command::Connect(new.clone()));
    world.refuses(enroll(old.code), Refusal::UnknownCode);
    world.later(plexus_trust::CODE_MS);
    world.refuses(enroll(new.code), Refusal::CodeExpired);
    let fresh = world.connect_command("a", &[]);
    world.ok(Command::Connect(fresh.clone()));
    world.later(plexus_trust::CODE_MS - 1);
    world.ok(enroll(fresh.code));
}

#[test]
fn connecting_again_ends_what_was_and_keeps_only_what_it_grants() {
    let mut world = World::new();
    let mut first = world.connect_command("a", &[READ, SEARCH, WRITE]);
    first.standing = [cap(WRITE)].into();
    let old = world.join(first);
    let pending = world.ask(&old, EDIT, &json!({}));
    let token = world.token(&old, vec![entry(READ)]);
    let permit = world.permit(&old, READ, &json!({}));

    // WRITE is selected again, but not to stand: the answer says that it will ask, and so it does.
    let new = world.member("a", &[READ, WRITE]);
    assert_eq!(world.refusal(&old, READ), Refusal::SessionExpired);
    let by_token = world.through(&old.agent, AuthPath::Token(&token), READ, &json!({}));
    assert_eq!(refused(by_token), Refusal::TokenRevoked);
    assert_eq!(world.read(permit).unwrap_err(), Refusal::SessionExpired);
    world.gone(&pending);
    assert!(world.allowed(&new, READ, &json!({})));
    assert!(world.pends(&new, SEARCH, &json!({})));
    assert!(world.pends(&new, WRITE, &json!({})));
}

/// What ends a credential ends it by itself: its sessions are one thing, the PAT that opens the next one another.
#[test]
fn every_act_that_ends_a_credential_ends_its_pat() {
    type Act = fn(&mut World, AgentId) -> Command;
    let acts: [(&str, Act); 6] = [
        ("connected anew", |world, _| {
            Command::Connect(world.connect_command("a", &[]))
        }),
        ("a new code", |_, agent| new_code(&agent)),
        ("a reissued code", |_, agent| deliver(&agent, true)),
        ("revoked", |_, agent| revoke(&agent)),
        ("the key rotated", |_, _| Command::RotateKey),
        ("restored", |world, _| Command::Restored {
            made_at: world.now,
        }),
    ];
    for (act, command) in acts {
        let mut world = World::new();
        let connect = world.connect_command("a", &[]);
        world.ok(Command::Connect(connect.clone()));
        let pat = secret("pat");
        world.ok(Command::Enroll {
            code: connect.code,
            pat,
        });
        let known = |world: &World| world.state.agent_by_pat(&pat).map(|agent| agent.id.clone());
        world.open(&connect.agent, Some(pat)).expect("the control");
        assert_eq!(known(&world), Some(connect.agent.clone()));
        world.later(1);
        let command = command(&mut world, connect.agent.clone());
        world.ok(command);
        let opened = world.open(&connect.agent, Some(pat));
        assert_eq!(opened.unwrap_err(), Refusal::SessionExpired, "{act}");
        assert_eq!(known(&world), None, "{act}");
        let row = world.state.agent(&connect.agent).unwrap();
        assert_eq!(row.pat, None, "{act}: no digest of it is kept");
        // A connect makes the row anew, with a code of now.
        let ended = row.revoked_at.unwrap_or(row.issued_at);
        assert_eq!(ended, world.now, "{act}");
    }
}

#[test]
fn sessions_last_an_hour_and_the_oldest_gives_way() {
    let (mut world, who) = World::with_member(&[READ]);
    let token = world.token(&who, vec![entry(READ)]);
    world.later(1);
    let mut last = who.clone();
    for _ in 1..MAX_SESSIONS {
        last.session = world.open(&who.agent, None).unwrap();
    }
    assert!(world.allowed(&who, READ, &json!({})));
    world.open(&who.agent, None).unwrap();
    assert_eq!(world.refusal(&who, READ), Refusal::SessionExpired);
    // What hung on the session went with it.
    let by_token = refused(world.by_token(&who, &token, READ));
    assert_eq!(by_token, Refusal::TokenRevoked);
    assert_eq!(
        world.state.agent(&who.agent).unwrap().sessions.len(),
        MAX_SESSIONS
    );

    world.later(SESSION_MS - 1);
    assert!(world.allowed(&last, READ, &json!({})));
    world.later(1);
    assert_eq!(world.refusal(&last, READ), Refusal::SessionExpired);
}

#[test]
fn a_revoked_agent_has_nothing_left() {
    let (mut world, who) = World::with_member(&[READ]);
    let other = world.member("b", &[READ]);
    let pending = world.ask(&who, WRITE, &json!({}));
    let permit = world.permit(&who, READ, &json!({}));
    world.ok(revoke(&who.agent));
    assert_eq!(world.refusal(&who, READ), Refusal::SessionExpired);
    assert_eq!(world.read(permit).unwrap_err(), Refusal::SessionExpired);
    assert_eq!(
        world.open(&who.agent, None).unwrap_err(),
        Refusal::SessionExpired
    );
    world.gone(&pending);
    assert!(world.allowed(&other, READ, &json!({})));
}

#[test]
fn an_effect_of_a_deleted_agent_still_gets_its_outcome() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[WRITE]);
    connect.standing = [cap(WRITE)].into();
    let who = world.join(connect);
    let permit = world.permit(&who, WRITE, &json!({}));
    let intent = world.begin(permit).unwrap();
    world.ok(Command::RevokeAgent {
        agent: who.agent.clone(),
        reason: None,
        delete: true,
    });
    assert!(world.state.agent(&who.agent).is_none());
    world.end(&intent, OutcomeKind::Unknown);
    assert!(world.state.open_intents.is_empty());
}

#[test]
fn rotating_the_key_ends_every_credential() {
    let (mut world, who) = World::with_member(&[READ]);
    let pending = world.ask(&who, WRITE, &json!({}));
    let permit = world.permit(&who, READ, &json!({}));
    let open = world.connect_command("b", &[]);
    world.ok(Command::Connect(open.clone()));
    world.ok(Command::RotateKey);
    assert_eq!(world.refusal(&who, READ), Refusal::SessionExpired);
    assert_eq!(world.read(permit).unwrap_err(), Refusal::SessionExpired);
    world.gone(&pending);
    let enroll = Command::Enroll {
        code: open.code,
        pat: secret("pat"),
    };
    assert_eq!(world.run(enroll).unwrap_err(), Refusal::UnknownCode);
    // The grants are the owner's decision, not a credential: a new connect that selects them goes on.
    let again = world.member("a", &[READ]);
    assert!(world.allowed(&again, READ, &json!({})));
}

#[test]
fn a_restored_state_lets_nobody_in_and_allows_nothing_until_the_owner_has_looked() {
    let (mut world, who) = World::with_member(&[READ]);
    let pending = world.ask(&who, WRITE, &json!({}));
    let permit = world.permit(&who, READ, &json!({}));
    world.ok(set(|s| s.auto_allow_reads = true));
    world.later(1);
    world.ok(Command::Restored { made_at: world.now });
    // The card of what rests is as old as that.
    let changed = &world.notes().changed;
    assert_eq!(
        changed.first().map(|first| first.at),
        Some(world.now),
        "{changed:?}"
    );
    assert!(
        !world.state.settings.auto_allow_reads,
        "the owner says it again"
    );
    assert_eq!(world.refusal(&who, READ), Refusal::SessionExpired);
    assert_eq!(world.read(permit).unwrap_err(), Refusal::SessionExpired);
    world.gone(&pending);
    // A new code lets the agent in again. Its grant is there, and rests.
    world.ok(new_code(&who.agent));
    let back = world.redeem(&who.agent);
    assert_eq!(world.state.agent(&who.agent).unwrap().revoked_at, None);
    assert!(world.pends(&back, READ, &json!({})));
    world.ok(resume("notes", true));
    assert!(world.notes().changed.is_empty());
    assert!(world.allowed(&back, READ, &json!({})));
}

#[test]
fn a_new_code_ends_the_credential_and_keeps_the_grants() {
    let (mut world, who) = World::with_member(&[READ]);
    world.ok(new_code(&who.agent));
    assert_eq!(world.refusal(&who, READ), Refusal::SessionExpired);
    let back = world.redeem(&who.agent);
    assert!(world.allowed(&back, READ, &json!({})));
    world.ok(revoke(&who.agent));
    // One that was revoked is connected anew or not at all.
    world.invalid(new_code(&who.agent));
}

#[test]
fn what_an_agent_may_do_is_the_owners_to_say_and_outlives_a_connect() {
    let (mut world, who) = World::with_member(&[READ]);
    let bounds = |world: &World| world.state.agent(&who.agent).unwrap().bounds;
    let bound = |bounds| Command::Bound {
        agent: who.agent.clone(),
        bounds,
    };
    assert_eq!(
        (bounds(&world).calls(), bounds(&world).ledger()),
        (200, 64 << 20)
    );
    let narrow = Bounds {
        calls_per_second: Some(5),
        ledger_per_day: None,
    };
    assert!(matches!(world.ok(bound(narrow)), Reply::Changed(true)));
    assert!(matches!(world.ok(bound(narrow)), Reply::Changed(false)));
    assert_eq!(
        (bounds(&world).calls(), bounds(&world).ledger()),
        (5, 64 << 20)
    );
    assert!(world.allowed(&who, READ, &json!({})), "no grant is touched");
    world.member("a", &[READ]);
    world.ok(Command::RotateKey);
    assert_eq!(bounds(&world), narrow);
    for (calls, ledger) in [
        (Some(0), None),
        (Some(1_000_001), None),
        (None, Some(0)),
        (None, Some((1 << 40) + 1)),
    ] {
        let beyond = Bounds {
            calls_per_second: calls,
            ledger_per_day: ledger,
        };
        assert!(
            matches!(world.run(bound(beyond)), Err(Refusal::Invalid(_))),
            "{beyond:?}"
        );
    }
    world.ok(bound(Bounds::default()));
    assert_eq!(bounds(&world), Bounds::default());
    let stranger = Command::Bound {
        agent: agent("stranger"),
        bounds: narrow,
    };
    assert_eq!(world.run(stranger).unwrap_err(), Refusal::NoSuchAgent);
}

#[test]
fn a_reissued_credential_takes_over_nothing_that_its_former_holder_asked_for() {
    let (mut world, who) = World::with_member(&[READ]);
    let (waits, approved) = (
        world.ask(&who, WRITE, &json!({"path": "a"})),
        world.ask(&who, WRITE, &json!({"path": "b"})),
    );
    world.approve(&approved, ONCE).unwrap();
    assert!(
        world.allowed(&who, WRITE, &json!({"path": "b"})),
        "the control"
    );

    // Material alone ends nothing.
    world.ok(deliver(&who.agent, false));
    assert!(world.allowed(&who, WRITE, &json!({"path": "b"})));
    world.ok(deliver(&who.agent, true));
    let back = world.redeem(&who.agent);
    assert!(world.pends(&back, WRITE, &json!({"path": "b"})));
    world.gone(&waits);
    assert!(world.allowed(&back, READ, &json!({})), "grants stay");
}

#[test]
fn selected_reach_hides_the_rest_uniformly() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[READ, WRITE]);
    connect.reach = Some(Reach::Selected);
    let who = world.join(connect);
    let hidden = world.refusal(&who, SEARCH);
    let absent = world.refusal(&who, "notes.nothing");
    assert_eq!(
        (&hidden, &absent),
        (&Refusal::UnknownCapability, &Refusal::UnknownCapability)
    );
    let decision = world.ask_for(
        &who,
        vec![entry(SEARCH), entry("notes.nothing"), entry("?")],
    );
    assert_eq!(decision.unknown, [SEARCH, "notes.nothing", "?"]);
    assert!(world.allowed(&who, READ, &json!({})) && world.pends(&who, WRITE, &json!({})));
    // What the owner grants later stays in view when it lapses: it asks, it does not vanish.
    world.ok(grant(&who, SEARCH, TrustWindow::HOUR, None));
    assert!(world.allowed(&who, SEARCH, &json!({})));
    world.later(HOUR);
    let who = world.again(&who);
    assert!(world.pends(&who, SEARCH, &json!({})));
}

#[test]
fn pause_stops_every_agent_until_it_ends() {
    let (mut world, who) = World::with_member(&[READ]);
    let permit = world.permit(&who, READ, &json!({}));
    world.ok(Command::Pause(true));
    assert_eq!(world.refusal(&who, READ), Refusal::Paused);
    assert_eq!(world.read(permit.clone()).unwrap_err(), Refusal::Paused);
    let asking = |world: &mut World| {
        let request = world.request(&who, vec![entry(READ)]);
        world.run(Command::Request(request)).map(drop)
    };
    let pat = world.state.agent(&who.agent).unwrap().pat;
    let session = |world: &mut World| world.open(&who.agent, pat).map(drop);
    assert_eq!(asking(&mut world).unwrap_err(), Refusal::Paused);
    assert_eq!(session(&mut world).unwrap_err(), Refusal::Paused);
    // The owner may give a token that opens nothing yet.
    let mut owners = world.request(&who, vec![entry(READ)]);
    owners.extent = Extent::OwnersToken;
    owners.session = world.open(&who.agent, None).unwrap();
    let token = owners.token.clone();
    world.ok(Command::Request(owners));
    assert_eq!(refused(world.by_token(&who, &token, READ)), Refusal::Paused);
    world.ok(Command::Pause(false));
    assert!(world.read(permit).is_ok());
    assert!(asking(&mut world).is_ok() && session(&mut world).is_ok());
}

#[test]
fn a_launch_ends_sessions_and_tokens_and_keeps_decisions() {
    let (mut world, who) = World::with_member(&[READ]);
    let token = world.token(&who, vec![entry(READ)]);
    world.ok(Command::Launch);
    assert_eq!(world.refusal(&who, READ), Refusal::SessionExpired);
    let by_token = refused(world.by_token(&who, &token, READ));
    assert_eq!(by_token, Refusal::TokenRevoked);
    let session = world.open(&who.agent, None).unwrap();
    assert!(world.allowed(&Who { session, ..who }, READ, &json!({})));
}

#[test]
fn nested_agent_has_no_credential_and_ends_with_its_caller() {
    let mut world = World::new();
    let caller = world.member("cc", &[READ]);
    let source = source("codex");
    let nested = AgentId::via(Some(&caller.agent), &source).unwrap();
    let deeper = AgentId::via(Some(&nested), &source).unwrap();
    let namesake = world.member("cc-2", &[READ]);
    for agent in [&nested, &deeper] {
        let connect = world.connect_command(agent.as_str(), &[READ]);
        world.ok(Command::Connect(connect.clone()));
        let enroll = Command::Enroll {
            code: connect.code,
            pat: secret("pat"),
        };
        let enrolled = world.run(enroll);
        assert!(matches!(enrolled, Err(Refusal::UnknownCode)));
    }
    world.invalid(new_code(&nested));
    // The owner's key opens no session as it, and nothing but the gateway does.
    let gateways_own =
        || Refusal::Invalid("the sessions of a nested agent are the gateway's own".into());
    assert_eq!(world.open(&nested, None).unwrap_err(), gateways_own());
    let session = |n| SessionId::parse(&uuid("sess", n)).unwrap();
    let open = |agent: &AgentId, n| Command::OpenSession {
        agent: Some(agent.clone()),
        by: SessionProof::Gateway,
        session: session(n),
        client: (None, None),
    };
    world.refuses(open(&caller.agent, 7_000), gateways_own());
    world.ok(open(&nested, 7_001));
    let called = world.through(
        &nested,
        AuthPath::Session(&session(7_001)),
        READ,
        &json!({}),
    );
    granted(called);

    world.ok(revoke(&caller.agent));
    for agent in [&nested, &deeper] {
        let known = world.state.agent(agent).unwrap();
        assert_eq!(known.status, EnrollmentStatus::Revoked, "{agent}");
        assert!(
            known.grants.is_empty() && known.sessions.is_empty(),
            "{agent}"
        );
    }
    world.refuses(open(&nested, 7_002), Refusal::SessionExpired);
    assert!(world.allowed(&namesake, READ, &json!({})));
}

#[test]
fn event_needs_a_standing_grant_and_uses_no_approval() {
    let (mut world, who) = World::with_member(&[READ]);
    let event = |world: &World, id| world.through(&who.agent, AuthPath::Standing, id, &json!({}));
    granted(event(&world, READ));
    world.approved(&who, SEARCH, &json!({}));
    assert!(matches!(event(&world, SEARCH), Verdict::Refuse(_)));
    // The approval is still there for the call itself.
    assert!(world.allowed(&who, SEARCH, &json!({})));
    world.ok(Command::Pause(true));
    assert!(matches!(
        event(&world, READ),
        Verdict::Refuse(Refusal::Paused)
    ));
}
