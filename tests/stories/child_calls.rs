//! Child calls: one approval, several calls of another source, made by a resident worker.

use crate::house::{COUNT, Workshop};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Folder, Gateway};
use serde_json::{Value, json};

const ORCHESTRATE: &str = "beacon.orchestrate";
const CHILDREN: &str = "beacon.children";
/// What works on a copy, as its manifest says; a child ends when its file is there.
const STREAM: &str = "fixture.stream";

/// A beacon that may have the fixture called, and the approval of it.
struct Board {
    workshop: Workshop,
    _tower: Folder,
    agent: Agent,
    approval: Value,
    /// The item that the owner approved.
    item: String,
    /// The answer to the approved call.
    first: Value,
}

/// A gateway with a beacon beside its fixture, and an agent that may ask the beacon.
fn scene() -> (Workshop, Folder, Agent) {
    let workshop = Workshop::with(Gateway::builder().fixture());
    let tower = Folder::empty();
    let source = json!({
        "id": "beacon", "kind": "beacon-dir", "label": "Beacon", "route": {"path": tower.path()},
    });
    let owner = workshop.owner();
    owner.post("/admin/api/sources", source).expect_ok();
    let agent = workshop.gateway.agent_with("caller", &[CHILDREN]);
    (workshop, tower, agent)
}

impl Board {
    fn open(input: &Value) -> Self {
        let (workshop, tower, agent) = scene();
        let item = agent.must_ask(ORCHESTRATE, input.clone());
        workshop.owner().approve(&item, "once");
        let first = agent.must(ORCHESTRATE, input.clone());
        let approval = first["output"]["approval"].clone();
        Self {
            workshop,
            _tower: tower,
            agent,
            approval,
            item,
            first,
        }
    }

    /// With two runs of the stream, side by side.
    fn of_two() -> Self {
        Self::open(&json!({"agents": [STREAM]}))
    }

    fn asks(&self, ask: Value) -> Value {
        let mut input = ask;
        input["approval"] = self.approval.clone();
        self.agent.must(CHILDREN, input)["output"].take()
    }

    fn call_of(&self, capability: &str, name: &str, input: &Value) -> Value {
        self.asks(json!({"call": name, "capability": capability, "input": input}))
    }

    /// A child call that goes on until its file is there.
    fn call(&self, name: &str) -> Value {
        let input = json!({"text": name, "pieces": 1, "until": format!("{name}.end")});
        self.call_of(STREAM, name, &input)
    }

    /// How a child stands once it is over.
    fn over(&self, name: &str) -> Value {
        self.workshop.folder.write(&format!("{name}.end"), "");
        until("the end of a child", || {
            let stands = self.asks(json!({"run": name}));
            (stands["state"] != "running").then_some(stands)
        })
    }

    fn stands(&self) -> Value {
        self.asks(json!({}))
    }

    fn refused(&self, name: &str, why: &str) {
        let refused = self.call(name);
        assert_eq!(refused["ok"], false, "{refused}");
        let message = refused["error"]["message"].to_string();
        assert!(message.contains(why), "{refused}");
    }

    /// The intents of children, the oldest first.
    fn intents(&self) -> Vec<Value> {
        let events = self.workshop.owner().audit(200).into_iter().rev();
        let is_child = |e: &Value| e["capabilityId"] == STREAM && e["detail"]["phase"] == "intent";
        events.filter(is_child).collect()
    }
}

#[test]
fn approval_permits_so_many_children_and_no_more() {
    let board = Board::of_two();
    let left = &board.first["children"];
    assert_eq!((&left["runs"], &left["runsLeft"]), (&json!(0), &json!(2)));
    let stands = board.stands();
    assert_like(&stands, &json!({"state": "open", "left": 2}));

    // Two side by side; another source's other capability is none of them, nor is the source's own.
    let one = board.call("one");
    assert_like(&one, &json!({"ok": true, "left": 1}));
    let other = board.call_of(COUNT, "other", &json!({"line": "x"}));
    assert_eq!(other["error"]["code"], "not_accepting_input", "{other}");
    let unfit = board.call_of(STREAM, "unfit", &json!({"text": 1}));
    assert_eq!(
        unfit["error"]["code"], "schema_validation_failed",
        "{unfit}"
    );
    assert!(
        !board.workshop.folder.has("effects.log"),
        "nothing was counted"
    );
    let two = board.call("two");
    assert_like(&two, &json!({"ok": true, "left": 0}));
    assert_ne!(one["run"], two["run"]);
    board.refused("three", "every run of it is used");
    assert_eq!(board.stands()["state"], "spent");

    // The same name is the same run, and no further one.
    let again = board.call("one");
    assert_eq!(again["run"], one["run"], "{again}");
    assert_eq!(board.asks(json!({"run": "one"}))["state"], "running");
    let over = board.over("one");
    assert_eq!(over["answer"]["output"]["pieces"], 1, "{over}");
    assert_eq!(board.call("one")["run"], one["run"]);
    let never = board.asks(json!({"run": "three"}));
    assert_eq!(never["error"]["code"], "not_found", "{never}");
    board.over("two");

    // Each is a call of the agent, and names its parent and the source that made it.
    let intents = board.intents();
    let named: Vec<_> = intents
        .iter()
        .map(|e| {
            let of = |member: &str| e["detail"][member].clone();
            json!([e["agentId"], of("turn"), of("via"), of("parent")])
        })
        .collect();
    let parent = &board.first["auditId"];
    let child = |n: u32| json!(["caller", n, "beacon", parent]);
    assert_eq!(named, [child(1), child(2)]);
}

#[test]
fn no_more_children_are_side_by_side_than_the_card_says() {
    let board = Board::open(&json!({"agents": [STREAM], "runs": 5, "parallel": 1}));
    board.call("one");
    board.refused("two", "as many runs as it permits side by side");
    board.over("one");
    assert_eq!(board.call("two")["ok"], true);
    // One that is stopped makes place for another.
    assert_eq!(board.asks(json!({"stop": "two"}))["ok"], true);
    let stopped = until("the end of a child", || {
        let stands = board.asks(json!({"run": "two"}));
        (stands["state"] == "over").then_some(stands)
    });
    assert_eq!(stopped["answer"]["error"]["code"], "cancelled", "{stopped}");
    assert_eq!(board.call("three")["ok"], true);
}

#[test]
fn card_says_what_may_be_called_and_owner_lowers_it() {
    let (workshop, _tower, agent) = scene();
    let owner = workshop.owner();
    // Only what works on a copy, of another source, can be asked for.
    for agents in [
        json!([COUNT]),
        json!([STREAM, ORCHESTRATE]),
        json!(["fixture.none"]),
        json!([]),
    ] {
        let reply = agent.invoke(ORCHESTRATE, json!({"agents": agents}));
        reply.expect_error(422, "schema_validation_failed");
    }
    let input = json!({"agents": [STREAM], "runs": 6, "minutes": 30, "parallel": 3});
    let item = agent.must_ask(ORCHESTRATE, input.clone());
    let card = owner.card(&item);
    let asked = &card["asks"][0]["children"];
    assert_eq!(
        json!([
            asked["capabilities"],
            asked["runs"],
            asked["minutes"],
            asked["parallel"]
        ]),
        json!([[STREAM], 6, 30, 3])
    );
    let cli = |arguments: &[&str]| workshop.gateway.cli(arguments.iter().copied());
    let shown = cli(&["approvals", "show", &item]);
    let shown = shown
        .expect_ok()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let said = "at most 6 calls of fixture.stream within 30 minutes from its start, 3 side by side";
    assert!(shown.contains(said), "{shown}");
    assert_contains(&shown, "changes nothing in its folder until");
    cli(&["approvals", "approve", &item, "--yes", "--runs", "7"]).expect_status(1);
    let fewer = format!("approvals approve {item} --yes --runs 1 --minutes 5");
    workshop.gateway.must_cli(fewer.split(' '));
    let first = agent.must(ORCHESTRATE, input);
    assert_eq!(first["children"]["runsLeft"], 1, "{first}");
    let listed = cli(&["calls", "list"]);
    let listed = listed.expect_ok();
    assert_contains(listed, "1 run ");
    assert_contains(listed, ORCHESTRATE);
}

#[test]
fn children_end_with_what_allowed_them() {
    let board = Board::of_two();
    let owner = board.workshop.owner();
    board.call("one");
    // A pause and a switch suspend; neither ends it.
    board.workshop.gateway.cli(["pause"]).expect_ok();
    board.workshop.gateway.cli(["resume"]).expect_ok();
    owner.expose(STREAM, false);
    board.refused("two", "");
    owner.expose(STREAM, true);
    let open = owner.get("/admin/api/calls").expect_ok()["conversations"].clone();
    assert_eq!(open[0]["children"], json!([STREAM]), "{open}");
    let id = open[0]["id"].as_str().expect("its name");
    board
        .workshop
        .gateway
        .cli(["calls", "stop", id])
        .expect_ok();
    board.refused("two", "it was ended");
    assert_eq!(board.stands()["state"], "void");
    until_true("the end of the child", || {
        let calls = owner.get("/admin/api/calls").expect_ok();
        let calls = calls["calls"].as_array().expect("calls").clone();
        calls.iter().all(|c| c["capabilityId"] != STREAM)
    });

    // The control, and the end of the agent's right to the child's capability.
    let board = Board::of_two();
    assert_eq!(board.call("one")["ok"], true);
    board.workshop.owner().revoke("caller", STREAM);
    let back = Board {
        agent: board.agent.another_session(),
        ..board
    };
    back.refused("two", "it was ended");
}

/// Cancelled under way, or refused because its approval had gone before it began.
#[track_caller]
fn assert_was_ended(stands: &Value) {
    let error = &stands["answer"]["error"];
    let had_not_begun = error["code"] == "grant_required" && error["effect"] == "none";
    assert!(error["code"] == "cancelled" || had_not_begun, "{stands}");
}

#[test]
fn revoked_orchestration_ends_with_its_runs() {
    let board = Board::of_two();
    board.call("one");
    let revoke = ["grants", "revoke", "caller", ORCHESTRATE];
    let said = board.workshop.gateway.cli(revoke);
    let said = said.expect_ok();
    assert_contains(
        said,
        &format!("requests and approvals ended: {}", board.item),
    );
    assert_contains(
        said,
        "asked to stop, and perhaps done all the same: fixture.stream (evt_",
    );
    assert!(!said.contains("not stopped"), "{said}");
    let back = Board {
        agent: board.agent.another_session(),
        ..board
    };
    let ended = until("the end of the child", || {
        let stands = back.asks(json!({"run": "one"}));
        (stands["state"] == "over").then_some(stands)
    });
    assert_was_ended(&ended);
    back.refused("two", "it was ended");
    // The control: of what is over nothing is revoked but the tokens of the other session, and then nothing at all.
    let again = back.workshop.gateway.cli(revoke);
    let said = again.expect_ok();
    assert_lacks(said, "ended: pend_");
    assert_lacks(said, "asked to stop");
    back.workshop.gateway.cli(revoke).expect_status(1);
}

#[test]
fn spent_orchestration_is_stopped_by_its_id() {
    let board = Board::of_two();
    board.call("one");
    board.call("two");
    assert_eq!(board.stands()["state"], "spent");
    let owner = board.workshop.owner();
    let open = owner.get("/admin/api/calls").expect_ok()["conversations"].clone();
    assert_eq!(open[0]["turnsLeft"], 0, "{open}");
    let id = open[0]["id"].as_str().expect("its name");
    let listed = board.workshop.gateway.cli(["calls", "list"]);
    assert_contains(listed.expect_ok(), "with its last runs");
    let stopped = board.workshop.gateway.cli(["calls", "stop", id]);
    let stopped = stopped.expect_ok();
    assert_eq!(
        stopped.matches("fixture.stream (evt_").count(),
        2,
        "{stopped}"
    );
    for name in ["one", "two"] {
        let ended = until("the end of a child", || {
            let stands = board.asks(json!({"run": name}));
            (stands["state"] == "over").then_some(stands)
        });
        assert_was_ended(&ended);
    }
    board
        .workshop
        .gateway
        .cli(["calls", "stop", id])
        .expect_status(1);
}

#[test]
fn revoked_agents_children_are_nobodys() {
    let board = Board::of_two();
    board.call("one");
    let owner = board.workshop.owner();
    owner.revoke_agent("caller");
    until_true("the end of the child", || {
        let calls = owner.get("/admin/api/calls").expect_ok();
        calls["calls"] == json!([]) && calls["conversations"] == json!([])
    });
    let other = board.workshop.gateway.agent_with("other", &[CHILDREN]);
    let board = Board {
        agent: other,
        ..board
    };
    assert_eq!(board.stands()["state"], "void");
    board.refused("two", "no such approval");
}

#[test]
fn children_go_on_after_a_crash_and_none_is_repeated() {
    let mut board = Board::open(&json!({"agents": [STREAM], "parallel": 1}));
    let one = board.call("one");
    until_true("the child has begun", || {
        board.workshop.folder.has("streamed")
    });
    board.workshop.gateway.kill9();
    board.workshop.gateway.start_again();
    board.agent = Agent::with_pat(&board.workshop.gateway.client(), "caller", &board.agent.pat);
    let stands = until("the beacon is up", || {
        let input = json!({"approval": board.approval});
        let reply = board.agent.invoke(CHILDREN, input);
        (reply.status == 200 && reply.at("/ok") == true).then(|| reply.at("/output"))
    });
    assert_like(&stands, &json!({"state": "open", "left": 1}));
    // The name is known, and nothing is made under it again.
    let again = board.call("one");
    assert_eq!((&again["ok"], &again["run"]), (&json!(true), &one["run"]));
    let lost = board.asks(json!({"run": "one"}));
    assert_eq!(lost["answer"]["error"]["code"], "outcome_unknown", "{lost}");
    assert_eq!(lost["answer"]["error"]["effect"], "unknown", "{lost}");
    assert_eq!(board.intents().len(), 1);
    // Its agent finds the run too, with the intent that the owner settles.
    let run = one["run"].as_str().expect("a run");
    let path = format!("/invoke/status?runId={run}");
    let status = board.agent.client().get(&path).expect_ok();
    assert_eq!(status["status"], "failed", "{status}");
    assert_eq!(
        status["result"]["auditId"],
        board.intents()[0]["id"],
        "{status}"
    );
    // The other place is not taken by it.
    let two = board.call("two");
    assert_like(&two, &json!({"ok": true, "left": 0}));
    assert_eq!(board.over("two")["answer"]["ok"], true);
    board.refused("three", "every run of it is used");
    assert_eq!(board.intents().len(), 2);
}
