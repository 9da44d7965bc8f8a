//! Every rule that `explain` names, on states that the machine itself made.

use super::*;
use plexus_protocol::{AuditId, Constraint, Provenance, Sensitivity, SourceId, Verb, Verbs};
use plexus_trust::{Connect, GrantEntry, Reach, SourceConfig, SourceSeen};
use serde_json::json;
use std::{borrow::Cow, collections::BTreeMap};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const READ: &str = "notes.read";
/// A read whose path the source resolves.
const NAMED: &str = "notes.named";
const WRITE: &str = "notes.write";
const RUN: &str = "notes.run";

/// The state, and the events that made it.
struct World(TrustState, Vec<(Timestamp, String)>);

impl World {
    fn new() -> Self {
        let mut world = Self(TrustState::default(), Vec::new());
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
        world.act(Command::PutSource {
            id: source,
            config,
            pins: Vec::new(),
        });
        world.act(Command::SourceSeen(seen()));
        world
    }

    fn act(&mut self, command: Command) {
        self.act_at(command, NOW);
    }

    fn act_at(&mut self, command: Command, now: Timestamp) {
        let (events, _) = decide(&self.0, &command, now).unwrap();
        for event in events {
            let audit = AuditId::parse(&format!("evt_{}", uuid::Uuid::new_v4())).unwrap();
            self.0.apply(&event, &audit, now);
            self.1.push((now, serde_json::to_string(&event).unwrap()));
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

    fn judged(&self, capability: &str, input: Option<Value>, ms: u64) -> Explanation {
        let now = NOW.plus(ms);
        judge(&self.0, &agent(), &id(capability), input.as_ref(), now)
    }

    fn grant(&mut self, capability: &str, window: TrustWindow, constraint: Option<Value>) {
        self.act(Command::Grant {
            agent: agent(),
            entries: vec![GrantEntry {
                capability: id(capability),
                verbs: None,
                window: Some(window),
                constraint: constraint.map(|c| serde_json::from_value(c).unwrap()),
            }],
        });
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
        let judged = self.judged(capability, input, ms);
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

/// The notes as they are seen.
fn seen() -> SourceSeen {
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
    SourceSeen {
        id: SourceId::parse("notes").unwrap(),
        target: None,
        paths: Default::default(),
        profile: Digest::of(b""),
        rules: Vec::new(),
        base: Vec::new(),
        pins: Vec::new(),
        file_changes: Vec::new(),
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
    let why = world.judged(READ, None, 0).why;
    assert!(why.contains("path at or below Projects"), "{why}");
    assert_eq!(
        world.says(READ, Some(json!({"path": "Projects/a.md"}))),
        ("permit", "grant.standing")
    );
    assert_eq!(
        world.says(READ, Some(json!({"path": "Diary/a.md"}))),
        ("pend", "grant.constraint")
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

#[test]
fn next_command_grants_no_more_than_before() {
    let lapsed = |window, constraint| {
        let mut world = World::new();
        world.connect(Reach::Exposed, &[], None);
        world.grant(READ, window, constraint);
        let judged = world.judged(READ, None, 8 * 86_400_000);
        assert_eq!(judged.rule, "grant.lapsed");
        judged.next
    };
    let under = |allow: &[&str]| json!({"field": "path", "allow": allow});
    let allow = "plexusctl grants allow a notes.read --window";
    assert_eq!(lapsed(TrustWindow::HOUR, None), format!("{allow} 1h"));
    let narrow = json!({"pathPrefix": under(&["A", "my notes"]), "maxCalls": 3});
    assert_eq!(
        lapsed(TrustWindow::DAY, Some(narrow)),
        format!("{allow} 1d --under path=A --under 'path=my notes' --max-calls 3")
    );
    // No flag says these: the owner decides at the card.
    let matches = json!({"match": [{"field": "path", "op": "eq", "value": "A"}]});
    let among = json!({"allow": {"field": "path", "values": ["A"]}});
    for unsaid in [matches, among] {
        assert_eq!(
            lapsed(TrustWindow::DAY, Some(unsaid)),
            "plexusctl approvals watch"
        );
    }
}

#[test]
fn input_out_of_reach_adds_its_own_path() {
    let mut world = World::new();
    world.connect(Reach::Exposed, &[], None);
    let narrow = json!({"pathPrefix": {"field": "path", "allow": ["A"]}});
    world.grant(READ, TrustWindow::DAY, Some(narrow));
    let next = |path: &str| world.judged(READ, Some(json!({"path": path})), 0).next;
    assert_eq!(
        next("B/b.md"),
        "plexusctl grants allow a notes.read --window 1d --under path=A --under path=B/b.md"
    );
    assert_eq!(next(""), "plexusctl grants list a", "not everything");
}

#[test]
fn moments_of_a_grant_are_lengths() {
    let mut world = World::new();
    world.connect(Reach::Exposed, &[], None);
    let narrow = json!({"pathPrefix": {"field": "path", "allow": ["A"]}});
    world.grant(READ, TrustWindow::WEEK, Some(narrow));
    let judged = |path: &str, ms| world.judged(READ, Some(json!({"path": path})), ms);
    let why = judged("A/a.md", 61_000).why;
    assert!(
        why.starts_with("You granted it 1 min ago; it ends in 7 days."),
        "{why}"
    );
    for (ms, window) in [
        (59_000, "7d"),
        (2 * 86_400_000, "5d"),
        (7 * 86_400_000 - 5_370_000, "90m"),
        (7 * 86_400_000 - 61_000, "2m"),
    ] {
        let next = judged("B.md", ms).next;
        let anew = format!("--window {window} --under path=A --under path=B.md");
        assert!(next.ends_with(&anew), "{next}");
    }
    let why = judged("A/a.md", 7 * 86_400_000 - 500).why;
    assert!(why.contains("; it ends now."), "{why}");
    let why = judged("A/a.md", 7 * 86_400_000 + 5_000).why;
    assert!(why.starts_with("Your grant ended 5 s ago."), "{why}");
}

#[test]
fn grant_that_was_lost_is_not_called_never_given() {
    let mut world = World::new();
    world.connect(Reach::Exposed, &[READ, NAMED], None);
    let revoke = Command::RevokeGrant {
        agent: agent(),
        capability: id(READ),
        reason: None,
    };
    world.act(revoke);
    assert_eq!(world.says(READ, None), ("pend", "grant.revoked"));
    let mut config = world.0.sources[&SourceId::parse("notes").unwrap()]
        .config
        .clone();
    config.route = json!({"path": "/other"});
    let moved = Command::PutSource {
        id: SourceId::parse("notes").unwrap(),
        config,
        pins: Vec::new(),
    };
    world.act_at(moved, NOW.plus(1_000));
    let seen = seen();
    world.act_at(Command::SourceSeen(seen), NOW.plus(1_000));
    let judged = world.judged(NAMED, None, 2_000);
    assert_eq!(judged.rule, "grant.void");
    let because = "it was revoked 1 s ago because notes was changed: path is /other";
    assert!(judged.why.contains(because), "{}", judged.why);
}

#[test]
fn events_of_the_machine_tell_which_grant_ended() {
    let mut world = World::new();
    world.connect(Reach::Exposed, &[READ, NAMED], None);
    world.connect(Reach::Exposed, &[NAMED], None);
    let told = |id: CapabilityId| {
        let (mut found, agent) = (None, agent());
        let mut log = world.1.iter().rev();
        log.all(|(at, event)| ended::see(&mut found, event, *at, (&agent, &id)));
        found.map(|end| end.in_words(&agent, &id, NOW))
    };
    let words = told(id(READ)).unwrap();
    assert_eq!(
        words,
        format!(
            "You granted {READ} to a just now; that grant ended just now, when you connected a anew."
        )
    );
    assert_eq!(told(id(NAMED)), None, "the control: it was granted anew");
}

#[test]
fn grant_that_was_used_up_is_not_called_taken_away() {
    let told = |most: u32| {
        let mut world = World::new();
        let limit = json!({"maxCalls": most});
        world.connect(Reach::Exposed, &[READ, NAMED], Some(limit));
        // One call, as its event counts it.
        let held = &world.0.agent(&agent()).unwrap().grants[&id(READ)];
        let mut counted = Grant::clone(held);
        counted.calls = 1;
        let call = json!({"detail": {"phase": "read"}, "changes": [{"grant": counted}]});
        world.1.push((NOW, call.to_string()));
        world.connect(Reach::Exposed, &[NAMED], None);
        let (mut found, agent, id) = (None, agent(), id(READ));
        let mut log = world.1.iter().rev();
        log.all(|(at, event)| ended::see(&mut found, event, *at, (&agent, &id)));
        let end = found.unwrap();
        (end.rule(), end.in_words(&agent, &id, NOW))
    };
    let ended = format!("You granted {READ} to a just now; that grant ended just now");
    let used = format!("{ended}: every call that it allowed was made.");
    assert_eq!(told(1), ("grant.used-up", used));
    let left = format!("{ended}, when you connected a anew.");
    assert_eq!(
        told(2),
        ("grant.revoked", left),
        "the control: one was left"
    );
}

#[test]
fn lapsed_grant_is_not_called_suspended() {
    let mut world = World::new();
    world.connect(Reach::Exposed, &[READ], None);
    world.act(Command::Restored { made_at: NOW });
    assert_eq!(world.says(READ, None), ("pend", "grant.suspended"));
    let lapsed = world.later(READ, None, 8 * 86_400_000);
    assert_eq!(lapsed, ("pend", "grant.lapsed"));
}
