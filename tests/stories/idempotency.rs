//! A call that is made again under its key: the same answer, never a second effect
//! (docs/protocol/agents.md#idempotency).

use crate::house::{COUNT, House, READ, WRITE, Workshop, line, note, report};
use plexus_tests::{Agent, Clock, Gateway, Response, waiting::until_true};
use serde_json::{Value, json};

fn call(agent: &Agent, input: Value) -> Response {
    agent.invoke_body(json!({"id": COUNT, "input": input, "idempotencyKey": "k"}))
}

/// The replies that are kept on disk.
fn kept(gateway: &Gateway) -> Vec<String> {
    let folder = gateway.state().join("pending");
    let files = std::fs::read_dir(folder).expect("it is there");
    let names = files.map(|file| file.expect("a file").file_name());
    let names = names.map(|name| name.into_string().expect("text"));
    names.filter(|name| name.ends_with(".reply")).collect()
}

#[test]
fn a_key_outlives_a_restart() {
    let (mut workshop, agent) = Workshop::with_writer("one");
    let first = call(&agent, line("a")).expect_ok();
    assert_eq!(first.get("replayed"), None);
    for kill in [false, true] {
        if kill {
            workshop.gateway.kill9();
            workshop.gateway.start_again();
        } else {
            workshop.gateway.restart();
        }
        let agent = workshop.back(&agent);
        let again = call(&agent, line("a")).expect_ok();
        assert_eq!(again["replayed"], true);
        for member in ["auditId", "output"] {
            assert_eq!(first[member], again[member], "{member}");
        }
        let other = call(&agent, line("b")).expect_error(422, "schema_validation_failed");
        assert_eq!(other["detail"]["reason"], "idempotency_key_reuse");
        // As a run: its answer is there already.
        let body =
            json!({"id": COUNT, "input": {"line": "a"}, "idempotencyKey": "k", "async": true});
        assert_eq!(
            agent.invoke_body(body).expect_ok()["auditId"],
            first["auditId"]
        );
    }
    assert_eq!(workshop.effects(), ["a"]);
    // Without the key it is another call, and of another agent the key is another key.
    workshop.back(&agent).must(COUNT, line("a"));
    assert_eq!(kept(&workshop.gateway).len(), 1);
    call(&workshop.writer("two"), line("c")).expect_ok();
    assert_eq!(workshop.effects(), ["a", "a", "c"]);
}

/// The daemon dies over the effect: its key says that nobody knows, until the owner does.
#[test]
fn an_intent_without_outcome_is_unknown_under_its_key() {
    for happened in [true, false] {
        let (mut workshop, agent) = Workshop::with_writer("one");
        let body =
            json!({"id": COUNT, "input": {"line": "a", "wait": 60_000}, "idempotencyKey": "k"});
        let request = agent.client().request("POST", "/invoke").json(body.clone());
        agent.client().leave_after(&request, || {
            until_true("the effect to be under way", || {
                workshop.folder.has("begun")
            });
        });
        workshop.gateway.kill9();
        workshop.gateway.start_again();
        let agent = workshop.back(&agent);
        let again = agent.invoke_body(body.clone());
        assert_eq!(again.at("/ok"), false, "{again}");
        assert_eq!(again.at("/error/code"), "outcome_unknown", "{again}");
        assert_eq!(again.at("/error/effect"), "unknown", "{again}");
        let other = call(&agent, line("b")).expect_error(422, "schema_validation_failed");
        assert_eq!(other["detail"]["reason"], "idempotency_key_reuse");

        let intent = workshop.calls(COUNT, "intent")[0]["id"].clone();
        let intent = intent.as_str().expect("an id");
        let answer = if happened { "--happened" } else { "--did-not" };
        let said = workshop
            .gateway
            .cli(["unknown", "settle", intent, answer, "--i-am-the-owner"]);
        said.expect_ok();
        if happened {
            let again = agent.invoke_body(body).expect_ok();
            assert_eq!(again["auditId"], intent);
            assert_eq!(again["replayed"], true);
            assert_eq!(again["outputOmitted"], true);
            assert_eq!(again.get("output"), None);
        } else {
            call(&agent, line("b")).expect_ok();
            assert_eq!(workshop.effects(), ["b"]);
        }
    }
}

/// The source's own record says that nothing was done, at once or after the daemon died over it: the key is free.
#[test]
fn what_did_not_happen_leaves_its_key_free() {
    let mut workshop = Workshop::open();
    workshop.folder.write("honest", "");
    let mut agent = workshop.writer("one");
    for times in 1..=2 {
        let not_done = call(&agent, json!({"line": "a", "die": "before"}));
        assert_eq!(not_done.at("/error/effect"), "none", "{not_done}");
        assert_ne!(not_done.at("/replayed"), true, "{not_done}");
        assert_eq!(workshop.calls(COUNT, "intent").len(), times);
    }
    // A kill, and a stop that the effect outlasts: the next start asks.
    for (line, killed) in [("b", true), ("c", false)] {
        let body =
            json!({"id": COUNT, "input": {"line": "a", "wait": 60_000}, "idempotencyKey": line});
        let request = agent.client().request("POST", "/invoke").json(body);
        agent.client().leave_after(&request, || {
            until_true("the effect to be under way", || {
                workshop.folder.has("begun")
            });
        });
        std::fs::remove_file(workshop.folder.path().join("begun")).expect("a file");
        if killed {
            workshop.gateway.kill9();
            workshop.gateway.start_again();
        } else {
            workshop.gateway.restart();
        }
        agent = workshop.back(&agent);
        assert_eq!(kept(&workshop.gateway).len(), workshop.effects().len());
        let outcomes = workshop.calls(COUNT, "outcome");
        assert_eq!(outcomes.len(), workshop.calls(COUNT, "intent").len());
        for outcome in outcomes.iter().filter(|o| o["outcome"] != "ok") {
            assert_eq!(outcome["detail"]["result"], "refused", "{outcome}");
        }
        let free = json!({"id": COUNT, "input": {"line": line}, "idempotencyKey": line});
        agent.invoke_body(free).expect_ok();
    }
    assert_eq!(workshop.effects(), ["b", "c"]);
}

/// Who repeats a call is authorized anew.
#[test]
fn what_was_taken_back_is_not_given_again() {
    let (workshop, agent) = Workshop::with_writer("one");
    call(&agent, line("a")).expect_ok();
    call(&agent, line("a")).expect_ok();
    workshop.owner().revoke("one", COUNT);
    let again = call(&agent, line("a"));
    assert_eq!(again.status, 401, "{again}");
    assert!(!again.text().contains("evt_"), "{again}");
    assert_eq!(workshop.effects(), ["a"]);
}

/// A key keeps what a read brought, and not that it brought nothing.
#[test]
fn a_read_that_failed_leaves_its_key_free() {
    let (house, agent) = House::with_reader("one");
    let read = || {
        let body = json!({"id": READ, "input": {"path": "late.txt"}, "idempotencyKey": "k"});
        agent.invoke_body(body)
    };
    let failed = read();
    assert_eq!(failed.at("/ok"), false, "{failed}");
    house.workspace.write("late.txt", "here now");
    let first = read().expect_ok();
    assert_eq!(first.get("replayed"), None, "{first}");
    let again = read().expect_ok();
    assert_eq!(again["replayed"], true, "the control: {again}");
    for member in ["auditId", "output"] {
        assert_eq!(again[member], first[member], "{member}");
    }
    let body = json!({"id": READ, "input": report(), "idempotencyKey": "k"});
    let other = agent.invoke_body(body);
    let other = other.expect_error(422, "schema_validation_failed");
    assert_eq!(other["detail"]["reason"], "idempotency_key_reuse");
}

/// The longest answer that is kept, to the byte: as JSON, without the words around it. One byte more is given once.
#[test]
fn a_large_answer_is_given_once() {
    const LONGEST: usize = 64 * 1024;
    let around = json!({"much": ""}).to_string().len();
    let mut workshop = Workshop::open();
    let mut agent = workshop.writer("one");
    let said = [("fits", LONGEST), ("does not", LONGEST + 1)].map(|(key, bytes)| {
        let input = json!({"line": key, "answer": bytes - around});
        let body = json!({"id": COUNT, "input": input, "idempotencyKey": key});
        let first = agent.invoke_body(body.clone()).expect_ok();
        assert_eq!(first["output"].to_string().len(), bytes);
        (bytes, body, first)
    });
    for restarted in [false, true] {
        if restarted {
            workshop.gateway.restart();
            agent = workshop.back(&agent);
        }
        for (bytes, body, first) in &said {
            let again = agent.invoke_body(body.clone()).expect_ok();
            assert_eq!(again["auditId"], first["auditId"]);
            let (output, omitted) = match *bytes <= LONGEST {
                true => (first.get("output"), None),
                false => (None, Some(&Value::Bool(true))),
            };
            assert_eq!(again.get("output"), output, "{bytes}");
            assert_eq!(again.get("outputOmitted"), omitted, "{bytes}");
        }
        assert_eq!(kept(&workshop.gateway).len(), 1);
    }
    assert_eq!(workshop.effects(), ["fits", "does not"]);
}

#[test]
fn the_same_key_at_the_same_time_is_one_effect() {
    let (workshop, agent) = Workshop::with_writer("one");
    let ids: Vec<Value> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| call(&agent, line("a")).expect_ok()["auditId"].clone()))
            .collect();
        calls
            .into_iter()
            .map(|call| call.join().expect("an answer"))
            .collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(workshop.effects(), ["a"]);
}

/// Nothing was done, so the same call may be made again under its key once it can be.
#[test]
fn a_refused_effect_leaves_its_key_free() {
    let (house, agent) = House::with_reader("one");
    let line = format!("grants allow one {WRITE} --window 1h");
    house.gateway.must_cli(line.split(' '));
    let write = || {
        agent.invoke_body(json!({
            "id": WRITE, "input": note("report.txt", "new"), "idempotencyKey": "k",
        }))
    };
    for _ in 0..2 {
        let refused = write().expect_error(200, "precondition_changed");
        assert_eq!(refused["detail"]["reason"], "unread");
    }
    agent.must(READ, report());
    let done = write().expect_ok();
    assert_eq!(house.workspace.read("report.txt"), "new");
    assert_eq!(write().expect_ok()["auditId"], done["auditId"]);
}

#[test]
fn keys_and_answers_are_forgotten_after_a_day() {
    let clock = Clock::new();
    let mut workshop = Workshop::with(Gateway::builder().fixture().clock(&clock));
    let agent = workshop.gateway.agent_as(json!({
        "agentId": "one", "capabilities": [COUNT], "standing": [COUNT], "trustWindow": {"kind": "7d"},
    }));
    let first = call(&agent, line("a")).expect_ok();
    let file = format!("{}.reply", first["auditId"].as_str().expect("an id"));
    assert_eq!(kept(&workshop.gateway), [file.as_str()]);
    clock.show("+23h");
    let agent = swept(&mut workshop, &agent);
    assert_eq!(kept(&workshop.gateway), [file.as_str()]);
    let again = call(&agent, line("a")).expect_ok();
    assert_eq!(again["auditId"], first["auditId"]);
    assert_eq!(again["output"], first["output"]);
    clock.show("+25h");
    let agent = swept(&mut workshop, &agent);
    until_true("the answer to go", || kept(&workshop.gateway).is_empty());
    let anew = call(&agent, line("a")).expect_ok();
    assert_ne!(anew["auditId"], first["auditId"]);
    assert_eq!(anew.get("replayed"), None);
    assert_eq!(workshop.effects(), ["a", "a"]);
}

/// The agent after a restart and the sweep that follows it: an answer to which no key leads is gone.
fn swept(workshop: &mut Workshop, agent: &Agent) -> Agent {
    assert!(workshop.gateway.stop().success());
    let nobodys = format!("evt_{}.reply", "0".repeat(32));
    let pending = workshop.gateway.state().join("pending");
    std::fs::write(pending.join(&nobodys), "{}").expect("a file");
    workshop.gateway.start_again();
    until_true("what no key leads to, to go", || {
        !kept(&workshop.gateway).contains(&nobodys)
    });
    workshop.back(agent)
}
