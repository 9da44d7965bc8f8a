//! Resident workers: they stay, tell of events, and call what other sources offer as agents of their own.

use crate::house::{House, READ, WRITE, note, report};
use plexus_tests::events::Frame;
use plexus_tests::processes::Process;
use plexus_tests::texts::{assert_contains, assert_like, list_of, text_of};
use plexus_tests::waiting::{ended, lines, until, until_true};
use plexus_tests::{Agent, Builder, Folder};
use serde_json::{Value, json};
use std::process::Stdio;

const BELLS: &str = "beacon.bells";
const RING: &str = "beacon.ring";
const ASK: &str = "beacon.ask";
const PASS: &str = "beacon.pass";

/// A gateway with a workspace and a beacon.
struct Tower {
    house: House,
    _folder: Folder,
}

impl Tower {
    fn open() -> Self {
        Self::calling(None)
    }

    /// Its beacon calls a capability for itself when it comes up.
    fn calling(capability: Option<&str>) -> Self {
        let house = House::with(Builder::fixture);
        let folder = Folder::empty();
        let mut route = json!({"path": folder.path()});
        if let Some(capability) = capability {
            route["calls"] = json!(capability);
        }
        let source =
            json!({"id": "beacon", "kind": "beacon-dir", "label": "Beacon", "route": route});
        let owner = house.owner();
        owner.post("/admin/api/sources", source).expect_ok();
        Self {
            house,
            _folder: folder,
        }
    }

    fn agent(&self, id: &str, capabilities: &[&str]) -> Agent {
        self.house.gateway.agent_with(id, capabilities)
    }

    /// The workers of the beacon, once there are both.
    fn workers(&self) -> Vec<Process> {
        until("the workers of the beacon", || {
            let all = self.house.gateway.workers();
            let beacons: Vec<Process> = all
                .into_iter()
                .filter(|process| process.name.starts_with("plexus-worker-b"))
                .collect();
            (beacons.len() == 2).then_some(beacons)
        })
    }

    fn ring(&self, agent: &Agent, bells: &[&str]) {
        agent.must(RING, json!({"bells": bells}));
    }

    /// What agents did, newest first.
    fn calls_of(&self, agent: &str) -> Vec<Value> {
        let events = self.house.owner().audit(200);
        let of = |event: &Value| event["agentId"] == agent && event["type"] == "invoke";
        events.into_iter().filter(of).collect()
    }
}

#[test]
fn resident_worker_starts_with_the_gateway_and_comes_back() {
    let mut tower = Tower::open();
    // Nobody has called it.
    let first = tower.workers();
    let killed = &first[0];
    killed.signal(nix::sys::signal::Signal::SIGKILL);
    until_true("the killed worker's end", || !killed.alive());
    let second = tower.workers();
    assert!(second.iter().all(|process| process.pid != killed.pid));
    tower.house.gateway.restart();
    let third = tower.workers();
    assert!(
        third
            .iter()
            .all(|new| second.iter().all(|old| old.pid != new.pid))
    );
}

#[test]
fn event_reaches_agents_whose_grant_allows_what_it_is_about() {
    let tower = Tower::open();
    let owner = tower.house.owner();
    let gateway = &tower.house.gateway;
    let narrowed = json!({
        "agentId": "narrow", "capabilities": [BELLS],
        "constraint": {"allow": {"field": "bell", "values": ["tower"]}},
    });
    let narrow = tower.house.gateway.agent_as(narrowed);
    let wide = tower.agent("wide", &[BELLS, RING]);
    let none = tower.agent("none", &[ASK]);
    let (hears_narrow, hears_wide) = (narrow.events(), wide.events());
    let (hears_none, hears_owner) = (none.events(), owner.events());

    let rings: [&[&str]; 4] = [&["crypt"], &[], &["tower", "crypt"], &["tower"]];
    for bells in rings {
        tower.ring(&wide, bells);
    }
    let heard = hears_wide.wait_until("source_event", |data| {
        data["payload"]["bells"] == json!(["tower"])
    });
    let like = json!({"source": "beacon", "capability": BELLS, "topic": "rang", "summary": "rang"});
    assert_like(&heard, &like);
    // Of the four the narrow one hears of one: another bell, no bell and one too many are not within its grant.
    let heard = hears_narrow.wait_for("source_event");
    assert_eq!(heard["payload"]["bells"], json!(["tower"]));
    hears_owner.wait_until("source_event", |data| {
        data["payload"]["bells"] == json!(["crypt"])
    });
    for stream in [&hears_none, &hears_narrow] {
        let rest = stream.rest(std::time::Duration::from_millis(300));
        let more = rest
            .iter()
            .any(|frame| matches!(frame, Frame::Event { kind, .. } if kind == "source_event"));
        assert!(!more, "{rest:?}");
    }

    // It is on record as a read of what the event was about, before it was heard.
    let recorded =
        owner.audited(|event| event["agentId"] == "narrow" && event["capabilityId"] == BELLS);
    assert_eq!(
        recorded["detail"]["touched"][0]["id"], "tower",
        "{recorded}"
    );
    assert_eq!(
        recorded["detail"]["summary"], "events: 1 rang",
        "{recorded}"
    );
    let recorded = owner.audit(200);
    assert!(
        !recorded
            .iter()
            .any(|event| event["agentId"] == "none" && event["capabilityId"] == BELLS)
    );

    // The agent's own command prints them.
    let mut watch = gateway.plexus_command("wide", ["watch", "beacon", "--count", "1"]);
    watch.env("PLEXUS_PAT", &wide.pat);
    let mut watch = watch
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let line = lines(watch.stderr.take().expect("a pipe")).next();
    assert_eq!(line.as_deref(), Some("watching; Ctrl-C ends it"));
    tower.ring(&wide, &["tower", "watched"]);
    let printed: Vec<String> = lines(watch.stdout.take().expect("a pipe")).collect();
    assert!(ended("the command", &mut watch).success());
    assert_eq!(
        printed,
        ["beacon rang: rang {\"bells\":[\"tower\",\"watched\"],\"time\":0}"]
    );

    // With the grant the events end.
    owner.revoke("narrow", BELLS);
    tower.ring(&wide, &["tower"]);
    tower.ring(&wide, &["tower", "last"]);
    hears_wide.wait_until("source_event", |data| {
        data["payload"]["bells"] == json!(["tower", "last"])
    });
    let rest = hears_narrow.rest(std::time::Duration::from_millis(300));
    let more = rest
        .iter()
        .any(|frame| matches!(frame, Frame::Event { kind, .. } if kind == "source_event"));
    assert!(!more, "{rest:?}");
}

#[test]
fn flood_of_events_is_counted_and_then_ends_the_worker() {
    let tower = Tower::open();
    let owner = tower.house.owner();
    let agent = tower.agent("one", &[BELLS, RING]);
    agent.must(RING, json!({"times": 600}));
    until("the record of the events that were dropped", || {
        let events = owner.audit(200);
        let dropped = events
            .iter()
            .find(|event| event["detail"]["event"] == "worker.events_dropped")?;
        let count = dropped["detail"]["count"].as_u64().expect("a number");
        assert!((280..=600).contains(&count), "{dropped}");
        Some(())
    });
    drop(agent.invoke(RING, json!({"times": 10_000})));
    until("the end of the worker", || {
        let events = owner.audit(200);
        let mut ended = events
            .iter()
            .filter(|event| event["detail"]["event"] == "worker.end");
        ended
            .find(|event| {
                event["detail"]["cause"]
                    .as_str()
                    .is_some_and(|cause| cause.contains("a flood of events"))
            })
            .map(|_| ())
    });
    agent.must(BELLS, json!({}));
}

#[test]
fn worker_calls_other_sources_as_a_nested_agent() {
    let tower = Tower::open();
    let owner = tower.house.owner();
    let gateway = &tower.house.gateway;
    let agent = tower.agent("cc", &[ASK]);
    let ask = |capability: &str, input: Value| {
        agent.must(ASK, json!({"capability": capability, "input": input}))["output"].take()
    };
    let report = || report();

    // The owner has to connect it, to nothing at first.
    let early = ask(READ, report());
    assert_eq!(early["error"]["code"], "grant_required");
    assert_eq!(
        early["error"]["message"],
        "The owner has not connected cc.via.beacon."
    );
    assert_eq!(tower.calls_of("cc.via.beacon")[0]["outcome"], "denied");
    let connected = gateway.cli(["connect", "cc.via.beacon", "--reach", "selected"]);
    let text = connected.expect_ok();
    assert!(text.contains("there is no code to hand over"), "{text}");
    assert_eq!(ask(READ, report())["error"]["code"], "unknown_capability");
    let connected = format!("--json connect cc.via.beacon --reach selected --allow {READ}");
    let connected = gateway.cli(connected.split(' '));
    let connected: Value = serde_json::from_str(connected.expect_ok()).expect("JSON");
    assert!(
        connected.get("code").is_none() && connected.get("enrollCommand").is_none(),
        "{connected}"
    );

    let answer = ask(READ, report());
    assert_eq!(answer["ok"], true, "{answer}");
    let recorded = owner.audited(|event| event["id"] == answer["auditId"]);
    assert_eq!(recorded["agentId"], "cc.via.beacon");
    assert_eq!(recorded["capabilityId"], READ);
    let listed = agent.must(ASK, json!({}))["output"].take();
    let ids = list_of(&listed["capabilities"])
        .iter()
        .map(|one| one["id"].clone());
    assert!(
        ids.clone().any(|id| id == READ) && !ids.clone().any(|id| id == WRITE),
        "{listed}"
    );

    // A read calls reads alone; a source is not called through itself; one agent's grant is not another's.
    assert_eq!(
        ask(WRITE, note("a.txt", "a"))["error"]["message"],
        "A read changes nothing, so it calls reads alone."
    );
    assert_eq!(
        ask(BELLS, json!({}))["error"]["code"],
        "unknown_capability",
        "it is not selected"
    );
    let other = tower.agent("dd", &[ASK]);
    let refused = other.must(ASK, json!({"capability": READ, "input": report()}));
    assert_eq!(
        refused["output"]["error"]["message"],
        "The owner has not connected dd.via.beacon."
    );

    // Nobody else speaks as it.
    let handshake = owner.post(
        "/link/handshake",
        json!({"connectionKey": gateway.key(), "client": {"agentId": "cc.via.beacon"}}),
    );
    handshake.expect_error(422, "schema_validation_failed");
    let code = gateway.cli(["agents", "code", "cc.via.beacon"]);
    assert_contains(&code.stderr, "the gateway makes its calls");

    // Revoking the caller revokes it.
    owner.revoke_agent("cc");
    let agents = owner.get("/admin/api/agents").expect_ok();
    let nested = list_of(&agents["agents"])
        .iter()
        .find(|one| one["agentId"] == "cc.via.beacon");
    assert_eq!(
        nested.expect("it is listed")["status"],
        "revoked",
        "{agents}"
    );
    assert!(
        owner
            .grants()
            .iter()
            .all(|grant| grant["agentId"] != "cc.via.beacon")
    );
}

#[test]
fn nested_effect_pends_and_happens_once_it_is_approved() {
    let tower = Tower::open();
    let owner = tower.house.owner();
    let agent = tower.agent("cc", &[PASS]);
    owner.connect("cc.via.beacon", &[WRITE]);
    let input = json!({"capability": WRITE, "input": note("passed.txt", "passed on")});
    let pass = || {
        let item = agent.must_ask(PASS, input.clone());
        let card = owner.card(&item);
        // Its plan could call nobody.
        let preview = card["plan"].to_string() + &card.to_string();
        assert_contains(&preview, "is over, is a plan, or is the owner's own");
        owner.approve(&item, "once");
        agent.must(PASS, input.clone())["output"].take()
    };
    let waits = pass();
    assert_eq!(waits["error"]["code"], "approval_required", "{waits}");
    let item = text_of(&waits["error"]["pendingId"]);
    let card = owner.card(&item);
    assert_eq!(card["agentId"], "cc.via.beacon");
    assert!(!tower.house.workspace.has("passed.txt"));
    owner.approve(&item, "once");
    let done = pass();
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(tower.house.workspace.read("passed.txt"), "passed on");
}

#[test]
fn resident_worker_calls_for_itself() {
    let mut tower = Tower::calling(Some(READ));
    let refused = until("its refused call", || tower.calls_of("via.beacon").pop());
    assert_eq!(refused["outcome"], "denied");
    let connected = tower.house.owner().connect("via.beacon", &[READ]);
    assert_eq!(connected["nested"], true);
    tower.house.gateway.restart();
    until("its call", || {
        let calls = tower.calls_of("via.beacon");
        calls.into_iter().find(|call| call["outcome"] == "ok")
    });
}
