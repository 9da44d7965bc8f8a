//! Any bytes as a request for grants: refused, or exactly what it says, and nothing that the owner did not give.

use super::*;
use crate::shipped::SHIPPED;
use plexus_mutation::{Accepted, hold};
use plexus_protocol::{Provenance, SessionId, SourceId};
use plexus_sources::Registry;
use plexus_trust::{
    Connect, GrantEntry, ItemState, Lend, Lent, MAX_PENDING, Reach, SessionProof, SourceConfig,
    SourceSeen, State, decide,
};
use std::{collections::BTreeSet, sync::LazyLock};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const GRANTED: &str = "workspace.read";

struct World {
    state: State,
    catalogue: Catalogue,
    agent: AgentId,
    session: SessionId,
}

fn act(state: &mut State, command: &Command) -> Result<Reply, Refusal> {
    let (events, reply) = decide(state, command, NOW)?;
    for event in events {
        let id = format!("evt_{}", uuid::Uuid::new_v4());
        let id = plexus_protocol::AuditId::parse(&id).expect("an id");
        state.apply(&event, &id, NOW);
    }
    Ok(reply)
}

/// What connects an agent to one capability, enrolls it and opens its session.
fn joins(agent: &AgentId, reach: Reach, id: &str, session: &SessionId) -> [Command; 3] {
    let secret = |what| Digest::of(format!("{what} of {agent}").as_bytes());
    let (code, pat) = (secret("code"), secret("pat"));
    [
        Command::Connect(Connect {
            agent: agent.clone(),
            agent_type: None,
            reach: Some(reach),
            capabilities: [CapabilityId::parse(id).expect("an id")].into(),
            standing: BTreeSet::new(),
            window: None,
            constraint: None,
            code,
            code_ms: 60_000,
        }),
        Command::Enroll { code, pat },
        Command::OpenSession {
            agent: Some(agent.clone()),
            by: SessionProof::Pat(pat),
            session: session.clone(),
            client: (None, None),
        },
    ]
}

/// A workspace, and an agent that sees all of it and was granted one read.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let registry = Registry::read(SHIPPED).expect("what ships");
    let connector = registry.of_kind("workspace-dir").expect("a connector");
    let mut state = State::default();
    let source = SourceId::parse("workspace").expect("an id");
    let agent = AgentId::parse("one").expect("an id");
    let session = SessionId::fresh();
    let commands = [
        Command::PutSource {
            id: source.clone(),
            config: SourceConfig {
                kind: "workspace-dir".into(),
                label: "Workspace".into(),
                enabled: true,
                hide: Default::default(),
                lent: None,
                route: json!({}),
                secret_ref: None,
                ask: false,
                provenance: Provenance::FirstParty,
            },
            pins: Vec::new(),
        },
        Command::SourceSeen(SourceSeen {
            id: source.clone(),
            target: None,
            paths: Default::default(),
            profile: Digest::of(b""),
            capabilities: connector.facts(&source),
            rules: Vec::new(),
            base: Vec::new(),
            pins: Vec::new(),
            file_changes: Vec::new(),
        }),
    ];
    let joins = joins(&agent, Reach::Exposed, GRANTED, &session);
    for command in commands.into_iter().chain(joins) {
        act(&mut state, &command).expect("it is carried out");
    }
    let catalogue = Catalogue::build(&state, &registry, 1);
    World {
        state,
        catalogue,
        agent,
        session,
    }
});

fn asked(bytes: &[u8]) -> Accepted {
    let Ok(Value::Object(body)) = strict::parse(bytes) else {
        return false;
    };
    let Some(grants) = body.get("grants").and_then(Value::as_object) else {
        return false;
    };
    if grants.is_empty() {
        return false;
    }
    let world = &*WORLD;
    let in_view = InView {
        catalogue: &world.catalogue,
        state: &world.state,
        agent: Some(&world.agent),
        now: NOW,
    };
    let wanted = match read(&in_view, &body, grants) {
        Ok(wanted) => wanted,
        Err(refused) => {
            let error = refused.into_error();
            assert!(!error.message.is_empty() && !error.next.is_empty());
            return false;
        }
    };
    // One entry for each id, as it was spelled; an input is canonical, and its digest is what is asked for.
    assert!(
        wanted
            .entries
            .iter()
            .map(|entry| &entry.id)
            .eq(grants.keys())
    );
    for entry in &wanted.entries {
        let id = CapabilityId::parse(&entry.id).ok();
        let input = id.and_then(|id| wanted.inputs.get(&id));
        let asked = input.map(|input| (Digest::of(input), input.len() as u64));
        assert_eq!(entry.input, asked);
        if let Some(input) = input {
            let value = strict::parse(input).expect("strict");
            assert_eq!(strict::canonical(&value), *input);
        }
    }
    let wishes = wanted.entries.iter().filter(|e| e.wanted);
    let wishes: BTreeSet<String> = wishes.map(|e| e.id.clone()).collect();
    let mut state = world.state.clone();
    let command = Command::Request(RequestGrants {
        agent: Some(world.agent.clone()),
        session: world.session.clone(),
        entries: wanted.entries,
        purpose: wanted.purpose,
        on_approval: wanted.on_approval,
        extent: Extent::Anything,
        token: TokenId::fresh(),
        item: PendingId::fresh(),
    });
    let Ok(reply) = act(&mut state, &command) else {
        return false;
    };
    let Reply::Decided(decision) = reply else {
        panic!("a request is decided")
    };
    // Allowed is what was granted and asked for; asking makes no grant, and changes none (D3).
    for scope in &decision.scopes {
        assert_eq!(scope.id.as_str(), GRANTED);
        assert!(wishes.contains(GRANTED) && scope.verbs.is_read());
    }
    let (before, after) = (world.state.agent(&world.agent), state.agent(&world.agent));
    let (before, after) = (before.expect("the agent"), after.expect("the agent"));
    assert_eq!(before.grants, after.grants);
    assert_eq!((before.bounds, before.reach), (after.bounds, after.reach));
    // What waits is what was asked for, exists, and nothing of it is decided.
    assert!(after.items.len() <= MAX_PENDING);
    for item in after.items.values() {
        assert_eq!(item.state, ItemState::Pending);
        assert_eq!(item.agent, world.agent);
        for ask in &item.asks {
            assert!(wishes.contains(ask.capability.as_str()));
            assert!(world.catalogue.get(&ask.capability).is_some());
            assert!(!ask.verbs.is_empty());
        }
    }
    true
}

#[test]
fn any_request_for_grants_is_refused_or_says_what_it_says() {
    let words: &[&[u8]] = &[
        b"\"workspace.read\":",
        b"\"workspace.write\":",
        b"\"workspace.delete\":",
        b"\"allow\"",
        b"\"deny\"",
        b"{\"decision\":\"allow\",",
        b"\"verbs\":[",
        b"\"execute\"",
        b"\"trustWindow\":{\"kind\":\"until-revoked\"}",
        b"\"constraint\":{",
        b"\"intents\":{",
        b"\"input\":{",
        b"\"onApproval\":\"run\"",
        b"\"purpose\":\"",
        b"null",
        b"\\u202e",
    ];
    let corpus = format!("{}/tests/corpus/grant-requests", env!("CARGO_MANIFEST_DIR"));
    hold(corpus, words, asked);
}

/// What a request with an input that no schema takes comes to: the schema's word, or the decision without its ids.
fn with_misfit(
    state: &State,
    agent: &AgentId,
    session: &SessionId,
    id: &str,
) -> Result<String, String> {
    let registry = Registry::read(SHIPPED).expect("what ships");
    let in_view = InView {
        catalogue: &Catalogue::build(state, &registry, 1),
        state,
        agent: Some(agent),
        now: NOW,
    };
    let body = json!({"grants": {id: "allow"}, "intents": {id: {"input": {"path": 5}}}});
    let body = body.as_object().expect("an object");
    let grants = body["grants"].as_object().expect("an object");
    let wanted = read(&in_view, body, grants).map_err(|refused| refused.into_error().message)?;
    assert!(wanted.inputs.is_empty(), "{id}: its input is kept");
    let command = Command::Request(RequestGrants {
        agent: Some(agent.clone()),
        session: session.clone(),
        entries: wanted.entries,
        purpose: None,
        on_approval: OnApproval::Wait,
        extent: Extent::Anything,
        token: TokenId::fresh(),
        item: PendingId::fresh(),
    });
    match act(&mut state.clone(), &command) {
        Ok(Reply::Decided(decision)) => Ok(format!("{decision:?}").replace(id, "")),
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn an_input_tells_nothing_of_what_is_out_of_view() {
    let mut state = WORLD.state.clone();
    let id = |id: &str| CapabilityId::parse(id).expect("an id");
    let (one, mine) = (&WORLD.agent, &WORLD.session);
    let two = AgentId::parse("two").expect("an id");
    let theirs = SessionId::fresh();
    let source = SourceId::parse("lent").expect("an id");
    let workspace = &state.sources[&SourceId::parse("workspace").expect("an id")];
    let config = SourceConfig {
        lent: Some(Lent {
            agent: two.clone(),
            until: NOW.plus(60_000),
            capabilities: [id("lent.read")].into(),
            ended: None,
        }),
        ..workspace.config.clone()
    };
    let registry = Registry::read(SHIPPED).expect("what ships");
    let connector = registry.of_kind("workspace-dir").expect("a connector");
    let lend = Lend {
        config,
        seen: SourceSeen {
            capabilities: connector.facts(&source),
            id: source,
            target: None,
            paths: Default::default(),
            profile: Digest::of(b""),
            rules: Vec::new(),
            base: Vec::new(),
            pins: Vec::new(),
            file_changes: Vec::new(),
        },
        grants: vec![GrantEntry {
            capability: id("lent.read"),
            verbs: None,
            window: None,
            constraint: None,
        }],
    };
    let commands = [
        Command::Lend(Box::new(lend)),
        Command::Expose {
            capability: id("workspace.list"),
            enabled: false,
        },
    ];
    let joins = joins(&two, Reach::Selected, GRANTED, &theirs);
    for command in joins.into_iter().chain(commands) {
        act(&mut state, &command).expect("it is carried out");
    }
    let (one, two) = ((one, mine), (&two, &theirs));
    let said = |(agent, session): (&AgentId, &SessionId), id: &str| {
        with_misfit(&state, agent, session, id)
    };
    // The control: what is in view is held against its schema.
    for (who, id) in [(one, "workspace.write"), (two, GRANTED), (two, "lent.read")] {
        let why = said(who, id).expect_err("it does not fit");
        assert!(why.starts_with(id), "{why}");
    }
    // Switched off, lent to somebody else, out of its selection: as if it were not there.
    for (who, id) in [
        (one, "workspace.list"),
        (one, "lent.read"),
        (one, "lent.write"),
        (two, "workspace.write"),
        (two, "lent.write"),
    ] {
        let catalogue = Catalogue::build(&state, &registry, 1);
        let entry = CapabilityId::parse(id).expect("an id");
        assert!(catalogue.get(&entry).is_some(), "{id} is there");
        assert_eq!(said(who, id), said(who, "nothing.such"), "{id}");
    }
}
