//! What a decision costs at a busy gateway: 100 agents with 20 standing grants each, and a session each.
//!
//! `cargo bench -p plexus-trust`. No cost here may grow with the number of agents: compare with `AGENTS` at 1.

#[allow(dead_code, reason = "the tests' world, of which a bench needs a part")]
#[path = "../tests/support/mod.rs"]
mod support;

use divan::{Bencher, black_box};
use plexus_protocol::{AuditId, CapabilityId, Constraint, Sensitivity, Verbs};
use plexus_trust::{AuthPath, Command, Facts, Permit, Verdict, decide};
use serde_json::{Value, json};
use support::{Who, World, below, cap, config, digest, granted, secret, seen, source, uuid};

const AGENTS: usize = 100;
const GRANTS: usize = 20;

fn main() {
    divan::main();
}

struct Busy {
    world: World,
    who: Who,
    capability: CapabilityId,
    input: Value,
}

impl Busy {
    /// Half of the grants are narrowed to a folder, as those of a careful owner are.
    fn new() -> Self {
        let mut world = World::empty();
        let ids: Vec<String> = (0..GRANTS).map(|n| format!("notes.read{n}")).collect();
        world.ok(Command::PutSource {
            id: source("notes"),
            config: config("notes"),
            pins: Vec::new(),
        });
        let mut look = seen("notes");
        look.capabilities = ids.iter().map(|id| (cap(id), read())).collect();
        world.ok(Command::SourceSeen(look));
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut all = vec![];
        for n in 0..AGENTS {
            let mut connect = world.connect_command(&format!("agent{n}"), &names);
            connect.constraint = narrowed(n);
            all.push(world.join(connect));
        }
        Self {
            world,
            who: all.swap_remove(AGENTS / 2),
            capability: cap("notes.read7"),
            input: json!({"path": "Projects/Plexus/a.md"}),
        }
    }
    fn authorize(&self, path: AuthPath<'_>) -> Verdict {
        let id = self.capability.as_str();
        let (who, input) = (&self.who.agent, &self.input);
        self.world.through_as(who, path, id, input, digest(input))
    }
    fn permit(&self) -> Permit {
        granted(self.authorize(AuthPath::Session(&self.who.session)))
    }
}

fn narrowed(n: usize) -> Option<Constraint> {
    n.is_multiple_of(2).then(|| below("Projects"))
}

fn read() -> Facts {
    Facts {
        verbs: Verbs::READ,
        sensitivity: Sensitivity::Low,
        resolved: vec![],
        fields: vec!["path".into()],
        shape: secret("shape"),
        input: None,
        narrow: Value::Null,
        staged: false,
    }
}

#[divan::bench]
fn authorize_by_session(bencher: Bencher<'_, '_>) {
    let busy = Busy::new();
    bencher.bench_local(|| black_box(busy.authorize(AuthPath::Session(&busy.who.session))));
}

#[divan::bench]
fn authorize_by_token(bencher: Bencher<'_, '_>) {
    let mut busy = Busy::new();
    let who = busy.who.clone();
    let asked = vec![support::entry(busy.capability.as_str())];
    let token = busy.world.token(&who, asked);
    bencher.bench_local(|| black_box(busy.authorize(AuthPath::Token(&token))));
}

#[divan::bench]
fn decide_a_read(bencher: Bencher<'_, '_>) {
    let busy = Busy::new();
    let command = support::player::used(busy.permit());
    bencher.bench_local(|| black_box(decide(&busy.world.state, &command, busy.world.now)));
}

/// A read under a standing grant changes no row.
#[divan::bench]
fn apply_a_read(bencher: Bencher<'_, '_>) {
    let busy = Busy::new();
    let command = support::player::used(busy.permit());
    apply(bencher, &busy, &command);
}

/// A pending item copies one agent of the hundred, because a snapshot of the state before is still held.
#[divan::bench]
fn apply_a_pending_item(bencher: Bencher<'_, '_>) {
    let mut busy = Busy::new();
    let who = busy.who.clone();
    busy.world.ok(Command::Expose {
        capability: cap("notes.read8"),
        enabled: true,
    });
    let mut asked = support::entry_with("notes.read8", &busy.input);
    asked.constraint = Some(below(""));
    let request = busy.world.request(&who, vec![asked]);
    apply(bencher, &busy, &Command::Request(request));
}

fn apply(bencher: Bencher<'_, '_>, busy: &Busy, command: &Command) {
    let (state, now) = (&busy.world.state, busy.world.now);
    let (events, _) = decide(state, command, now).expect("it is decided");
    let id = AuditId::parse(&uuid("evt", 1)).expect("an audit id");
    bencher.bench_local(|| {
        let mut next = state.clone();
        events.iter().for_each(|event| next.apply(event, &id, now));
        black_box(next)
    });
}
