//! Every rule that `explain` names, on states that the machine itself made.

use super::*;
use plexus_protocol::{AuditId, Constraint, Provenance, Sensitivity, SourceId, Verb, Verbs};
use plexus_trust::{Connect, Reach, SourceConfig, SourceSeen};
use serde_json::json;
use std::{borrow::Cow, collections::BTreeMap};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const READ: &str = "notes.read";
/// A read whose path the source resolves.
const NAMED: &str = "notes.named";
const WRITE: &str = "notes.write";
const RUN: &str = "notes.run";

struct World(TrustState);

impl World {
    fn new() -> Self {
        let mut world = Self(TrustState::default());
        let source = SourceId::parse("notes").unwrap();
        let config = SourceConfig {
            kind: "workspace-dir".into(),
            label: "Notes".into(),
            enabled: true,
            hide: Default::default(),
            lent: None,
            route: json!({}),
            secret_ref: None,
            ask: false,
            provenance: Provenance::Managed,
        };
        let facts = |verb, sensitivity| Facts {
            verbs: Verbs::of([verb]),
            sensitivity,
            resolved: Vec::new(),
            fields: vec!["path".into()],
            shape: Digest::of(b""),
            input: None,
            narrow: Value::Null,
            staged: false,
        };
        world.act(Command::PutSource {
            id: source.clone(),
            config,
            pins: Vec::new(),
        });
        world.act(Command::SourceSeen(SourceSeen {
            id: source,
            target: None,
            paths: Default::default(),
            profile: Digest::of(b""),
            rules: Vec::new(),
            base: Vec::new(),
            pins: Vec::new(),
            capabilities: BTreeMap::from([
                (id(READ), facts(Verb::Read, Sensitivity::Low)),
                (
                    id(NAMED),
                    Facts {
                        resolved: vec!["path".into()],
                        ..facts(Verb::Read, Sensitivity::Low)
                    },
                ),
                (id(WRITE), facts(Verb::Write, Sensitivity::Elevated)),
                (id(RUN), facts(Verb::Execute, Sensitivity::High)),
            ]),
        }));
        world
    }

    fn act(&mut self, command: Command) {
        let (events, _) = decide(&self.0, &command, NOW).unwrap();
        for event in events {
            let audit = AuditId::parse(&format!("evt_{}", uuid::Uuid::new_v4())).unwrap();
            self.0.apply(&event, &audit, NOW);
        }
    }

    fn connect(&mut self, reach: Reach, ids: &[&str], constraint: Option<Value>) {
        self.act(Command::Connect(Connect {
            agent: agent(),
            agent_type: None,
            reach: Some(reach),
            capabilities: ids.iter().map(|i| id(i)).collect(),
            standing: Default::default(),
            window: None,
            constraint: constraint.map(|c| serde_json::from_value::<Constraint>(c).unwrap()),
            code: Digest::of(b"code"),
            code_ms: 60_000,
        }));
    }

    fn says(&self, capability: &str, input: Option<Value>) -> (&'static str, &'static str) {
        self.later(capability, input, 0)
    }

    fn later(
        &self,
        capability: &str,
        input: Option<Value>,
        ms: u64,
    ) -> (&'static str, &'static str) {
        let judged = judge(
            &self.0,
            &agent(),
            &id(capability),
            input.as_ref(),
            NOW.plus(ms),
        );
        let decision = match judged.decision {
            Permit => "permit",
            Pend => "pend",
            Refuse => "refuse",
        };
        let Cow::Borrowed(rule) = judged.rule else {
            unreachable!("the rules are known")
        };
        (decision, rule)
    }
}

fn agent() -> AgentId {
    AgentId::parse("a").unwrap()
}

fn id(text: &str) -> CapabilityId {
    CapabilityId::parse(text).unwrap()
}

#[test]
fn each_rule_is_named() {
    let mut world = World::new();
    assert_eq!(world.says(READ, None), ("refuse", "agent.unknown"));
    world.connect(Reach::Exposed, &[READ], None);
    assert_eq!(world.says(READ, None), ("permit", "grant.standing"));
    assert_eq!(
        world.later(READ, None, 8 * 86_400_000),
        ("pend", "grant.lapsed")
    );
    assert_eq!(
        world.says(WRITE, Some(json!({"path": "a"}))),
        ("pend", "no-grant")
    );
    assert_eq!(world.says(RUN, None), ("pend", "ceiling.once"));
    assert_eq!(
        world.says("notes.nope", None),
        ("refuse", "capability.unknown")
    );
    assert_eq!(
        world.says("other.read", None),
        ("refuse", "capability.unknown")
    );
    world.act(Command::Expose {
        capability: id(READ),
        enabled: false,
    });
    assert_eq!(world.says(READ, None), ("refuse", "capability.hidden"));
    world.act(Command::Expose {
        capability: id(READ),
        enabled: true,
    });
    world.act(Command::Pause(true));
    assert_eq!(world.says(READ, None), ("refuse", "paused"));
    world.act(Command::Pause(false));
    world.act(Command::RevokeAgent {
        agent: agent(),
        reason: None,
        delete: false,
    });
    assert_eq!(world.says(READ, None), ("refuse", "agent.revoked"));
}

#[test]
fn a_narrow_view_and_a_narrow_grant() {
    let mut world = World::new();
    let narrow = json!({"pathPrefix": {"field": "path", "allow": ["Projects"]}});
    world.connect(Reach::Selected, &[READ], Some(narrow));
    assert_eq!(world.says(WRITE, None), ("refuse", "reach.selected"));
    assert_eq!(world.says(READ, None), ("permit", "grant.constrained"));
    assert_eq!(
        world.says(READ, Some(json!({"path": "Projects/a.md"}))),
        ("permit", "grant.standing")
    );
    assert_eq!(
        world.says(READ, Some(json!({"path": "Diary/a.md"}))),
        ("refuse", "grant.constraint")
    );
}

#[test]
fn what_the_source_resolves_is_left_to_it() {
    let mut world = World::new();
    let narrow = json!({"pathPrefix": {"field": "path", "allow": ["Projects"]}});
    world.connect(Reach::Exposed, &[NAMED], Some(narrow));
    assert_eq!(world.says(NAMED, None), ("permit", "grant.constrained"));
    let inside = Some(json!({"path": "Projects/a.md"}));
    assert_eq!(world.says(NAMED, inside), ("permit", "grant.standing"));
    let by_name = Some(json!({"path": "a"}));
    assert_eq!(
        world.says(NAMED, by_name),
        ("permit", "grant.constraint-resolved")
    );
}

#[test]
fn explaining_changes_nothing() {
    let mut world = World::new();
    world.connect(Reach::Exposed, &[], None);
    let before = plexus_trust::all_rows(&world.0);
    assert_eq!(world.says(READ, None), ("pend", "no-grant"));
    assert_eq!(plexus_trust::all_rows(&world.0), before);
    assert!(world.0.agent(&agent()).unwrap().sessions.is_empty());
}
