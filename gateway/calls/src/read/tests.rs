//! What the gateway holds against a worker that let something through.

use super::*;
use crate::{
    call::{Asked, Caller, CallerProof},
    shipped::SHIPPED,
};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Constraint, Digest, Provenance, SessionId, SourceId, Timestamp,
};
use plexus_sources::{Registry, catalogue::Catalogue};
use plexus_trust::{
    AuthPath, Call, Connect, Permit, SESSION_MS, Session, SourceConfig, SourceSeen, State, Verdict,
    authorize, decide,
};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn act(state: &mut State, command: &Command) {
    let (events, _) = decide(state, command, NOW).unwrap();
    for event in events {
        let audit = AuditId::parse(&format!("evt_{}", uuid::Uuid::new_v4())).unwrap();
        state.apply(&event, &audit, NOW);
    }
}

/// A permitted read of the workspace under a grant with this constraint.
fn permitted(constraint: Option<Value>) -> (Permit, Asked) {
    let registry = Registry::read(SHIPPED).unwrap();
    let source = SourceId::parse("workspace").unwrap();
    let id = CapabilityId::parse("workspace.read").unwrap();
    let agent = AgentId::parse("one").unwrap();
    let mut state = State::default();
    let config = SourceConfig {
        kind: "workspace-dir".into(),
        label: "Folder".into(),
        enabled: true,
        hide: Default::default(),
        lent: None,
        route: json!({}),
        secret_ref: None,
        ask: false,
        provenance: Provenance::FirstParty,
    };
    let put = Command::PutSource {
        id: source.clone(),
        config,
        pins: Vec::new(),
    };
    act(&mut state, &put);
    let connector = registry.of_kind("workspace-dir").unwrap();
    let seen = SourceSeen {
        id: source.clone(),
        target: None,
        paths: Default::default(),
        profile: connector.profile_digest,
        capabilities: connector.facts(&source),
        rules: connector.rules.clone(),
        base: connector.base.clone(),
        pins: Vec::new(),
        file_changes: Vec::new(),
    };
    act(&mut state, &Command::SourceSeen(seen));
    let connect = Connect {
        agent: agent.clone(),
        agent_type: None,
        reach: None,
        capabilities: [id.clone()].into(),
        standing: Default::default(),
        window: None,
        constraint: constraint.map(|c| serde_json::from_value::<Constraint>(c).unwrap()),
        code: Digest::of(b"code"),
        code_ms: 60_000,
    };
    act(&mut state, &Command::Connect(connect));
    let session = SessionId::fresh();
    let open = Session {
        expires_at: NOW.plus(SESSION_MS),
        client: (None, None),
    };
    let known = Arc::make_mut(&mut state.agents).get_mut(&agent).unwrap();
    Arc::make_mut(known).sessions.insert(session.clone(), open);

    let entry = Catalogue::build(&state, &registry, 1).get(&id).cloned();
    let caller = Caller {
        agent,
        by: CallerProof::Session(session.clone()),
    };
    let asked = Asked::new(caller, entry.unwrap(), json!({"path": "notes/a.md"}));
    let call = Call {
        agent: &asked.caller.agent,
        capability: asked.id(),
        input: &asked.input,
        digest: asked.digest,
    };
    match authorize(&state, call, AuthPath::Session(&session), NOW) {
        Verdict::Permit(permit) => (*permit, asked),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_lies_outside_of_the_grant_is_withheld_whatever_the_worker_says() {
    let within = json!({"pathPrefix": {"field": "path", "allow": ["notes/"]}});
    let (permit, asked) = permitted(Some(within));
    let read = |id: &str| Touched::read("file", id, None);
    let is_withheld = |touched: &[Touched]| beyond(&permit, &asked, touched).is_some();
    assert!(!is_withheld(&[read("notes/a.md"), read("notes/deep/b.md")]));
    for outside in ["report.txt", "notesx/a.md", "notes.md", "", "."] {
        let touched = [read("notes/a.md"), read(outside)];
        assert!(is_withheld(&touched), "{outside:?}");
    }
    let error = beyond(&permit, &asked, &[read("report.txt")]).unwrap();
    assert_eq!(error.code, ErrorCode::GrantRequired);
    assert_eq!(error.effect, plexus_protocol::Effect::None);

    // Every part of a constraint, not paths alone.
    for one in [
        json!({"allow": {"field": "path", "values": ["notes/a.md"]}}),
        json!({"match": [{"field": "path", "op": "eq", "value": "notes/a.md"}]}),
    ] {
        let (permit, asked) = permitted(Some(one));
        assert!(beyond(&permit, &asked, &[read("notes/a.md")]).is_none());
        assert!(beyond(&permit, &asked, &[read("notes/b.md")]).is_some());
    }

    let (permit, asked) = permitted(None);
    assert!(beyond(&permit, &asked, &[read("report.txt")]).is_none());
}
