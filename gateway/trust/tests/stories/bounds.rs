//! Nothing grows with what an agent does; nothing secret and nothing of an input reaches the log.

use crate::support::*;
use plexus_protocol::{SessionId, TrustWindow, constraint::MAX_PARTS, constraint::MAX_TEXT};
use plexus_trust::{Command, Entry, Event, MAX_DECIDED, MAX_PENDING, MAX_SESSIONS, Refusal};
use serde_json::json;

#[test]
fn an_agent_that_asks_and_withdraws_keeps_a_bounded_past() {
    let (mut world, who) = World::with_member(&[]);
    world.approved(&who, READ, &json!({"n": "approved"}));
    for n in 0..MAX_DECIDED + MAX_PENDING {
        let item = world.ask(&who, READ, &json!({ "n": n }));
        world.ok(withdraw(&who.agent, &item));
        world.later(1);
    }
    let held = world.state.agent(&who.agent).unwrap().items.len();
    assert!(held <= MAX_DECIDED + MAX_PENDING, "{held}");
    assert!(
        world.allowed(&who, READ, &json!({"n": "approved"})),
        "what the owner decided is not crowded out"
    );
}

#[test]
fn sessions_of_the_console_are_bounded_and_swept() {
    let mut world = World::new();
    let open = |world: &mut World| {
        let session = SessionId::parse(&uuid("sess", world.fresh())).unwrap();
        world.ok(Command::OpenSession {
            agent: None,
            by: plexus_trust::SessionProof::Owner,
            session,
            client: (None, None),
        });
    };
    for _ in 0..=MAX_SESSIONS {
        open(&mut world);
    }
    assert_eq!(world.state.console_sessions.len(), MAX_SESSIONS);
    world.later(plexus_trust::SESSION_MS);
    world.ok(Command::Sweep);
    assert!(world.state.console_sessions.is_empty());
}

#[test]
fn a_sweep_forgets_what_time_has_ended_and_nothing_else() {
    let (mut world, who) = World::with_member(&[READ]);
    world.token(&who, vec![entry(READ)]);
    world.ok(Command::Sweep);
    let agent = world.state.agent(&who.agent).unwrap();
    assert_eq!(
        (agent.sessions.len(), agent.tokens.len(), agent.grants.len()),
        (1, 1, 1)
    );
    world.later(DAY);
    world.ok(Command::Sweep);
    let agent = world.state.agent(&who.agent).unwrap();
    assert_eq!(
        (agent.sessions.len(), agent.tokens.len(), agent.grants.len()),
        (0, 0, 1)
    );
    world.later(60 * DAY);
    world.ok(Command::Sweep);
    assert!(world.state.agent(&who.agent).unwrap().grants.is_empty());
}

#[test]
fn a_clients_name_is_cut() {
    let (mut world, who) = World::with_member(&[]);
    let session = SessionId::parse(&uuid("sess", 9_000)).unwrap();
    world.ok(Command::OpenSession {
        agent: Some(who.agent.clone()),
        by: plexus_trust::SessionProof::Owner,
        session: session.clone(),
        client: (Some("ä".repeat(500)), Some("x\u{1b}[2J".into())),
    });
    let held = &world.state.agent(&who.agent).unwrap().sessions[&session];
    assert_eq!(held.client.0.as_ref().unwrap().chars().count(), 80);
    assert!(!held.client.1.as_ref().unwrap().contains('\u{1b}'));
}

#[test]
fn the_log_holds_no_text_of_an_input() {
    let mut world = World::new();
    let mut connect = world.connect_command("a", &[WRITE]);
    connect.standing = [cap(WRITE)].into();
    let who = world.join(connect);
    let input = json!({"path": "Private/diary.md", "text": "dear diary"});
    world.approved(&who, EDIT, &input);
    for id in [EDIT, WRITE] {
        let permit = world.permit(&who, id, &input);
        let intent = world.begin(permit).unwrap();
        world.end(&intent, plexus_trust::OutcomeKind::Unknown);
    }
    let denied = world.ask(&who, RUN, &input);
    world.ok(deny(&denied));
    let log: Vec<String> = world
        .log
        .iter()
        .map(|l| serde_json::to_string(&l.event).unwrap())
        .collect();
    let log = log.join("\n");
    assert!(!log.contains("diary") && !log.contains("Private"));
    assert!(
        log.contains(&digest(&input).to_string()),
        "its digest is there"
    );
    for prefix in ["plx_live_", "plx_agent_", "plx_enroll_"] {
        assert!(!log.contains(prefix));
    }
}

#[test]
fn a_number_survives_the_log() {
    // The shortest text of a double must come back as the same double: rows made from a folded log are compared with
    // rows made from the live state.
    let (mut world, who) = World::with_member(&[]);
    let tricky = [
        5.0e-324,
        1.797_693_134_862_315_7e308,
        0.1 + 0.2,
        7.038_531e-26,
        9.5e-47,
    ];
    let mut wanted = entry(READ);
    wanted.constraint = Some(constraint(
        json!({"allow": {"field": "path", "values": tricky}}),
    ));
    let asked = wanted.constraint.clone();
    let item = world.item(&who, vec![wanted]);
    assert_eq!(world.state.item(&item).unwrap().asks[0].constraint, asked);
}

#[test]
fn a_note_that_could_not_be_read_back_is_not_written() {
    let mut world = World::new();
    let note = |kind| {
        Command::Note(plexus_trust::Note {
            kind,
            agent: None,
            capability: None,
            outcome: None,
            detail: json!({}),
        })
    };
    world.invalid(note("no.such.type"));
    world.ok(note("handshake"));
}

#[test]
fn a_constraint_is_bounded_whoever_makes_it() {
    let (mut world, who) = World::with_member(&[]);
    let names = |n: usize| (0..n).map(|n| format!("d{n}")).collect::<Vec<_>>();
    let prefixes = |n| json!({"pathPrefix": {"field": "path", "allow": names(n)}});
    let values = |n| json!({"allow": {"field": "path", "values": names(n)}});
    let among = |n| json!({"match": [{"field": "path", "op": "in", "values": names(n)}]});
    let rule = |name| json!({"field": "path", "op": "eq", "value": name});
    let rules = |n| json!({"match": names(n).into_iter().map(rule).collect::<Vec<_>>()});
    let long = |n| json!({"allow": {"field": "path", "values": ["x".repeat(n)]}});
    let parts: [&dyn Fn(usize) -> serde_json::Value; 4] = [&prefixes, &values, &among, &rules];
    let parts = parts.map(|part| (part(MAX_PARTS), part(MAX_PARTS + 1), "64"));
    let texts = (long(MAX_TEXT - 100), long(MAX_TEXT), "16 KiB");
    for (fits, beyond, bound) in parts.into_iter().chain([texts]) {
        let (fits, beyond) = (constraint(fits), constraint(beyond));
        fits.check().unwrap();
        let asks = |constraint| Entry {
            constraint: Some(constraint),
            ..entry_with(READ, &json!({}))
        };
        let request = world.request(&who, vec![asks(beyond.clone())]);
        let item = world.item(&who, vec![asks(fits.clone())]);
        let mut approval = world.approval(&item, Some(TrustWindow::WEEK));
        approval.constraint = Some(beyond.clone());
        let mut connect = world.connect_command("b", &[READ]);
        connect.constraint = Some(beyond.clone());
        let grant = grant(&who, READ, TrustWindow::WEEK, Some(beyond));
        for command in [
            Command::Request(request),
            Command::Approve(approval),
            Command::Connect(connect),
            grant,
        ] {
            let refusal = world.run(command).unwrap_err();
            let Refusal::Invalid(why) = &refusal else {
                panic!("{refusal:?}");
            };
            assert!(why.contains(bound), "{why}");
        }
        world.ok(withdraw(&who.agent, &item));
    }
}

#[test]
fn a_larger_constraint_of_an_earlier_build_is_read_and_holds() {
    let (mut world, who) = World::with_member(&[]);
    let before = world.state.clone();
    world.ok(grant(&who, READ, TrustWindow::WEEK, Some(below("d0"))));
    let names: Vec<_> = (0..1_000).map(|n| format!("\"d{n}\"")).collect();
    let granted = world.log.last().unwrap();
    let text = serde_json::to_string(&granted.event).unwrap();
    let larger = text.replace("\"d0\"", &names.join(","));
    let (id, at) = (granted.id.clone(), granted.at);
    let event = Event::read(granted.event.kind, larger.as_bytes());
    world.state = before;
    world.state.apply(&event.unwrap().unwrap(), &id, at);
    assert!(world.allowed(&who, READ, &json!({"path": "d999/a"})));
    assert!(world.pends(&who, READ, &json!({"path": "elsewhere"})));
    let narrower = Entry {
        constraint: Some(below("d7/x")),
        ..entry(READ)
    };
    assert!(!world.ask_for(&who, vec![narrower]).scopes.is_empty());
}
