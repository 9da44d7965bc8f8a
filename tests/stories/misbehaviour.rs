//! A source that misbehaves: the gateway's answers are true, and only the worker is ended.

use crate::house::{COUNT, Workshop};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Folder, Gateway, editions};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[test]
fn answers_that_are_none() {
    let (_workshop, agent) = Workshop::with_reader("one");
    for how in ["text", "two", "half", "deep", "empty", "frame", "length"] {
        let reply = agent.invoke("fixture.garbage", json!({"how": how}));
        reply.expect_status(200);
        assert_eq!(reply.at("/ok"), false, "{how}: {reply}");
        assert!(!reply.text().contains("this is no JSON"), "{reply}");
        // The next worker is a fresh one.
        agent.must("fixture.echo", json!({"text": how}));
    }

    // The control: an answer that is one travels as it is.
    let reply = agent.invoke("fixture.garbage", json!({"how": "well"}));
    reply.expect_ok();
    // The worker's own bytes, down to how a number is written.
    assert!(
        reply.text().contains(r#"{"fine": [1, 2.50, "\u00e9"]}"#),
        "{reply}"
    );

    // A read that kills its worker is not tried for ever.
    let reply = agent.invoke("fixture.crash", json!({}));
    assert_eq!(reply.at("/ok"), false, "{reply}");
    assert_eq!(reply.at("/error/effect"), "none");
    agent.must("fixture.echo", json!({"text": "alive"}));

    // Failures that the source names.
    for (reason, code) in [
        ("denied", "permission_denied"),
        ("unavailable", "source_unavailable"),
        ("not_found", "transport_error"),
        ("internal", "internal_error"),
    ] {
        let reply = agent.invoke("fixture.fail", json!({"reason": reason}));
        reply.expect_error(200, code);
    }
}

/// What a worker answers to the owner's lists costs its own items, and says so, whatever it is.
#[test]
fn nonsense_of_a_worker_fails_no_list() {
    let programs = Folder::empty();
    let workers = editions::workers(&programs.path(), "lists");
    let builder = Gateway::builder()
        .fixture()
        .env(editions::VARIABLE, "lists")
        .arg("--workers")
        .arg(&workers.to_string_lossy());
    let workshop = Workshop::with(builder);
    let (owner, honest) = (workshop.owner(), Folder::empty());
    let at = "2026-01-02T03:04:05Z";
    let listed = json!({
        "sets": [{"id": "one", "added": 1, "edited": 0, "removed": 0, "modes": 0, "first": ["a"], "omitted": 0,
            "applied": 0, "calls": []}],
        "boards": [{"id": "one", "goal": "a goal", "made": at, "state": "new", "changeSets": "each", "counts": {}}],
        "channels": [{"id": "one", "status": "active", "members": [], "memberCount": 0, "keys": "authenticated"}],
        "you": {"id": "one", "name": "One", "fingerprint": "f", "relay": "r", "unsent": 0},
        "more": 1,
    });
    honest.write("listed.json", listed.to_string());
    let source = json!({"id": "honest", "kind": "fixture-dir", "label": "Honest", "route": {"path": honest.path()}});
    owner.post("/admin/api/sources", source).expect_ok();
    let items = |list: &Value| {
        let items = list.as_array().expect("a list").iter();
        let items = items.map(|item| item["source"].as_str().expect("a source").to_owned());
        items.collect::<Vec<_>>()
    };
    let nonsense = [
        "[7]",
        "7",
        "null",
        r#"{"sets": 7, "boards": 7, "channels": 7}"#,
        r#"{"sets": [7], "boards": [7], "channels": [7], "you": 7}"#,
        r#"{"sets": [{"id": 7}], "boards": [{"id": 7}], "channels": [{"id": 7}], "you": [7]}"#,
        r#"{"sets": [[]], "boards": [[]], "channels": [[]], "you": [], "more": 18446744073709551615}"#,
        r#"{"sets": [7, 7], "unread": [7, {}], "boards": [7, 7], "channels": [7, 7], "you": 7}"#,
    ];
    for answer in nonsense {
        workshop.folder.write("listed.json", answer);
        for (path, of, unread) in [
            ("changes", "sets", "away"),
            ("boards", "boards", "unread"),
            ("channels", "channels", "away"),
        ] {
            let list = owner.get(&format!("/admin/api/{path}")).expect_ok();
            assert_eq!(items(&list[of]), ["honest"], "{answer}: {list}");
            let away = items(&list[unread]);
            let own = away.iter().all(|source| source == "fixture");
            assert!(own && !away.is_empty(), "{answer}: {list}");
            if of == "sets" {
                assert_eq!(away.len(), 1, "{answer}: {list}");
            }
            // A row that is no board is one of its boards: the source itself has answered.
            if of == "boards" && answer.contains(r#"{"id": 7}"#) {
                assert_eq!(list[unread][0]["board"], "a board", "{list}");
            }
        }
    }
    // The control: what the honest one says is taken from the other one as well.
    workshop.folder.write("listed.json", listed.to_string());
    let list = owner.get("/admin/api/changes").expect_ok();
    assert_eq!(items(&list["sets"]), ["fixture", "honest"], "{list}");
    assert_eq!(list["away"], json!([]), "{list}");
    assert_eq!(list["more"], 2, "{list}");
}

#[test]
fn answers_that_are_too_large() {
    let (_workshop, agent) = Workshop::with_reader("one");
    let big = |bytes: u32| agent.invoke("fixture.big", json!({"bytes": bytes}));
    assert_eq!(
        big(1_000_000).expect_ok()["output"].as_str().map(str::len),
        Some(1_000_000)
    );
    let reply = big(3 * 1024 * 1024);
    let error = reply.expect_error(200, "transport_error");
    assert_eq!(error["detail"]["reason"], "too_large");
}

/// A time-out is an error, never an empty result.
#[test]
fn deadlines_hold() {
    let (_workshop, agent) = Workshop::with_reader("one");
    agent.must("fixture.brief", json!({"ms": 1}));
    let began = Instant::now();
    let reply = agent.invoke("fixture.brief", json!({"ms": 20_000}));
    let error = reply.expect_error(200, "deadline_exceeded");
    assert_eq!(error["effect"], "none", "a read changes nothing");
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// An effect that takes longer than it may: its caller is told that nobody knows, and what is recorded is how it ended.
#[test]
fn an_effect_past_its_deadline_is_recorded_as_it_ended() {
    const BOTH: &str = "fixture.both";
    let workshop = Workshop::open();
    let agent = workshop
        .gateway
        .agent_as(json!({"agentId": "one", "capabilities": [BOTH], "standing": [BOTH]}));
    agent.must(BOTH, json!({"line": "quick"}));
    let slow = json!({"line": "slow", "wait": 8_000});
    let call = json!({"id": BOTH, "input": slow, "idempotencyKey": "k"});
    let told = agent.invoke_body(call.clone());
    let error = told.expect_error(200, "outcome_unknown");
    assert_eq!(error["effect"], "unknown");
    // It is not made again while it goes on, for any caller in any way.
    for again in [call.clone(), json!({"id": BOTH, "input": slow})] {
        let again = agent.invoke_body(again);
        assert_eq!(again.at("/error/code"), "outcome_unknown", "{again}");
    }
    assert_eq!(workshop.calls(BOTH, "outcome").len(), 1);
    assert_eq!(workshop.effects(), ["quick"]);
    until_true("the outcome", || workshop.calls(BOTH, "outcome").len() == 2);
    for outcome in workshop.calls(BOTH, "outcome") {
        assert_eq!(outcome["outcome"], "ok", "{outcome}");
    }
    assert_eq!(workshop.calls(BOTH, "intent").len(), 2);
    let client = workshop.owner().client;
    let unsettled = client.get("/admin/api/unsettled").expect_ok();
    assert_eq!(unsettled["unsettled"], json!([]));
    // Its key has its answer, and the input is free.
    let known = until("its answer", || {
        let again = agent.invoke_body(call.clone());
        (again.at("/ok") == true).then(|| again.expect_ok())
    });
    assert_eq!(known["output"]["lines"], 2, "{known}");
    assert_eq!(known["auditId"], told.at("/auditId"));
    agent.must(BOTH, json!({"line": "slow"}));
    assert_eq!(workshop.effects(), ["quick", "slow", "slow"]);
}

/// A caller that goes away loses its answer, not its effect: that is finished and recorded, and its key has the answer.
#[test]
fn callers_that_go_away() {
    let (workshop, writer) = Workshop::with_writer("writer");
    let input = json!({"line": "finished", "wait": 300});
    let body = json!({"id": COUNT, "input": input, "idempotencyKey": "k"});
    let request = writer.client().request("POST", "/invoke");
    let request = request.json(body.clone());
    writer.client().leave_after(&request, || {
        until_true("the intent", || workshop.calls(COUNT, "intent").len() == 1);
    });
    until_true("the effect of a caller that went away", || {
        workshop.calls(COUNT, "outcome").len() == 1
    });
    assert_eq!(workshop.effects(), ["finished"]);
    assert_eq!(workshop.calls(COUNT, "outcome")[0]["outcome"], "ok");
    let again = writer.invoke_body(body).expect_ok();
    assert_eq!(again["replayed"], true, "{again}");
    assert_eq!(workshop.effects(), ["finished"]);
}

/// Slow calls hold up neither other calls nor the owner.
#[test]
fn slow_calls_hold_up_nobody() {
    let (workshop, agent) = Workshop::with_reader("one");
    std::thread::scope(|scope| {
        let slow: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| agent.invoke("fixture.slow", json!({"ms": 3_000}))))
            .collect();
        until_true("slow calls under way", || {
            let calls = workshop.owner().get("/admin/api/calls").expect_ok();
            calls.to_string().contains("fixture.slow")
        });
        agent.must("fixture.echo", json!({"text": "quick"}));
        workshop.owner().get("/admin/api/pending").expect_ok();
        assert!(slow.iter().all(|call| !call.is_finished()));
        for call in slow {
            call.join().expect("an answer").expect_ok();
        }
    });
}

#[test]
fn a_source_that_does_not_open() {
    let workshop = Workshop::open();
    workshop.folder.write("unopenable", "");
    let agent = workshop.reader("one");
    let reply = agent.invoke("fixture.echo", json!({"text": "x"}));
    assert_eq!(reply.at("/error/code"), "source_unavailable", "{reply}");
    std::fs::remove_file(workshop.folder.path().join("unopenable")).expect("the file goes");
    until_true("the source to open again", || {
        let reply = agent.invoke("fixture.echo", json!({"text": "x"}));
        reply.at("/ok") == true
    });
}

/// Types of inputs, as the peer's clients know them.
#[test]
fn schemas_are_held() {
    let (_workshop, agent) = Workshop::with_reader("one");
    let call = |input: Value| agent.invoke("fixture.echo", input);
    call(json!({"text": "x", "n": 1, "flag": true, "list": [], "obj": {}, "num": 1.5})).expect_ok();
    for bad in [
        json!({"text": "x", "extra": 1}),
        json!({"text": "x", "n": 1.5}),
        json!({"text": "x", "flag": "true"}),
        json!({"text": "x", "list": {}}),
        json!({"text": "x", "obj": []}),
        json!({"text": "x", "num": "1"}),
        json!({"text": null}),
    ] {
        call(bad).expect_error(422, "schema_validation_failed");
    }
}

/// An entry that needs two verbs is asked for with both (E28).
#[test]
fn an_entry_with_two_verbs() {
    let (workshop, agent) = Workshop::with_reader("one");
    let reply = agent.ask(json!({"fixture.both": "allow"})).expect_ok();
    assert_eq!(
        reply["pendingNarration"][0]["verbs"],
        json!(["read", "write"])
    );
    let card = workshop
        .owner()
        .card(reply["pendingId"].as_str().expect("an id"));
    assert_eq!(card["scopes"][0]["verbs"], json!(["read", "write"]));
    assert_eq!(
        agent.must_approved(&workshop.owner(), "fixture.both", json!({"line": "a"}))["output"]["lines"],
        1
    );
}
