//! The thirteen defects of the peer, each with the behaviour that replaces it.

use crate::house::{COUNT, House, READ, WRITE, Workshop, note};
use plexus_tests::{Clock, Folder};
use serde_json::{Value, json};

/// Asking for verbs that an entry does not have gives no grant that counts for those it has.
#[test]
fn d01_verbs_are_intersected_first() {
    let house = House::open();
    let agent = house.gateway.agent("one");
    let reply = agent.ask(json!({WRITE: {"decision": "allow", "verbs": ["read"]}}));
    reply.expect_error(400, "schema_validation_failed");
    assert!(agent.ledger().is_empty() && house.owner().pending().is_empty());
    agent.must_ask(WRITE, note("a.txt", "a"));

    let workshop = Workshop::open();
    let agent = workshop.reader("one");
    let half = agent
        .ask(json!({"fixture.both": {"decision": "allow", "verbs": ["read"]}}))
        .expect_ok();
    if let Some(item) = half["pendingId"].as_str() {
        workshop.owner().approve(item, "1h");
    }
    agent.must_ask("fixture.both", json!({"line": "a"}));
    assert!(workshop.effects().is_empty());
}

#[test]
fn d02_the_event_stream_wants_a_credential_and_carries_no_token() {
    let house = House::open();
    house
        .gateway
        .client()
        .get("/events")
        .expect_error(401, "session_expired");
    let agent = house.reader("one");
    let stream = agent.events();
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    house.owner().approve(&item, "once");
    let frame = stream.wait_for("grant_resolved");
    assert!(!frame.to_string().contains("eyJ"), "{frame}");
    // The control: that is how a token begins, and this one is there to be had.
    let token = agent.token(&[WRITE])["token"].clone();
    assert!(token.to_string().starts_with("\"eyJ"), "{token}");
}

#[test]
fn d03_asking_again_changes_no_grant() {
    let house = House::open();
    let agent = house.gateway.agent("one");
    let item = agent.must_ask(READ, json!({"path": "report.txt"}));
    house.owner().approve(&item, "1h");
    let before = agent.ledger();
    for wish in [
        json!("allow"),
        json!({"decision": "allow", "trustWindow": {"kind": "7d"}}),
        json!({"decision": "allow", "trustWindow": {"kind": "until-revoked"}}),
        json!({"decision": "allow", "trustWindow": {"kind": "custom", "ms": 60_000}}),
    ] {
        let token = agent.ask(json!({READ: wish})).expect_ok();
        assert!(token["token"].is_string(), "{token}");
        assert!(
            token["grantExpiresAt"].as_str() <= before[0]["expiresAt"].as_str(),
            "{token}"
        );
    }
    assert_eq!(agent.ledger(), before);
}

#[test]
fn d04_once_is_once_and_no_token_outlives_its_window() {
    let clock = Clock::new();
    let house = House::with(|builder| builder.clock(&clock));
    let owner = house.owner();
    let agent = house.reader("one");
    let item = agent.must_ask(WRITE, note("o1.txt", "1"));
    owner.approve(&item, "once");
    agent.invoke(WRITE, note("o1.txt", "1")).expect_ok();
    agent.must_ask(WRITE, note("o2.txt", "2"));
    assert!(!house.workspace.has("o2.txt"));

    let second = house.gateway.agent("two");
    let item = second.must_ask(READ, json!({"path": "report.txt"}));
    let card = owner.card(&item);
    owner
        .decide(
            &item,
            json!({"action": "approve", "trustWindow": {"kind": "custom", "ms": 60_000}, "cardDigest": card["cardDigest"]}),
        )
        .expect_ok();
    let token = second.token(&[READ]);
    assert!(
        token["expiresAt"].as_str() <= token["grantExpiresAt"].as_str(),
        "{token}"
    );
    clock.show("+5m");
    let late = second.invoke_with(
        token["token"].as_str().expect("a token"),
        READ,
        json!({"path": "report.txt"}),
    );
    assert_eq!(late.status, 401, "{late}");
}

#[test]
fn d05_a_refresh_stays_with_its_agent() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let token = one.token(&[READ]);
    one.bearing(token["token"].as_str().expect("a token"))
        .post(
            "/grants/refresh",
            json!({"sessionId": two.session, "jti": token["jti"]}),
        )
        .expect_error(401, "session_expired");
    one.refresh(&token).expect_ok();
}

/// An agent's registration waits for the owner, whatever it is of; taking over and removing are not an agent's to do.
#[test]
fn d06_an_agent_registers_and_removes_nothing() {
    let house = House::open();
    let agent = house.reader("one");
    let register = |source: &str, transport: &str, capability: Value| {
        let manifest = json!({
            "manifest": "plexus-extension/0.1", "source": source, "label": "Tips", "transport": transport,
            "capabilities": [capability],
        });
        let body = json!({"sessionId": agent.session, "manifest": manifest});
        agent.client().post("/extensions", body).json()
    };
    let text = json!({
        "name": "note.how", "kind": "skill", "label": "Tip", "describe": "A tip.", "grants": [],
        "transport": "skill", "body": {"format": "markdown", "markdown": "Do this."},
    });
    let taken = register("workspace", "skill", text.clone());
    assert_eq!(taken["ok"], false, "{taken}");
    let waits = register("tips", "skill", text);
    assert_eq!(waits["status"], "grant_pending_user", "{waits}");
    assert!(!agent.sees().iter().any(|id| id.starts_with("tips.")));
    for source in ["tips", "workspace"] {
        let kept = agent
            .client()
            .delete(&format!("/extensions/{source}"))
            .json();
        assert_eq!(
            (&kept["ok"], &kept["removed"]),
            (&json!(false), &json!([])),
            "{kept}"
        );
    }
    agent
        .invoke(READ, json!({"path": "report.txt"}))
        .expect_ok();
}

#[test]
fn d07_a_constraint_is_not_widened_by_asking() {
    let house = House::open();
    let agent = house.gateway.agent("one");
    let notes = json!({"pathPrefix": {"field": "path", "allow": ["notes/"]}});
    let reply = agent
        .ask(json!({READ: {"decision": "allow", "constraint": notes}}))
        .expect_ok();
    house
        .owner()
        .approve(reply["pendingId"].as_str().expect("an id"), "1h");
    for wider in [
        json!({"match": []}),
        json!({}),
        json!({"pathPrefix": {"field": "path", "allow": [""]}}),
    ] {
        let reply = agent
            .ask(json!({READ: {"decision": "allow", "constraint": wider}}))
            .expect_ok();
        assert_eq!(reply["status"], "grant_pending_user", "{wider}");
    }
    let narrower = json!({"pathPrefix": {"field": "path", "allow": ["notes/deep/"]}});
    let token = agent
        .ask(json!({READ: {"decision": "allow", "constraint": narrower}}))
        .expect_ok();
    let token = token["token"]
        .as_str()
        .expect("narrower is within the grant");
    let outside = agent.invoke_with(token, READ, json!({"path": "notes/today.md"}));
    assert_eq!(outside.status, 401, "{outside}");
}

#[test]
fn d08_an_empty_token_opens_nothing() {
    let house = House::open();
    let agent = house.reader("one");
    let empty = agent.ask(json!({"nope": "allow"})).expect_ok();
    assert_eq!(empty["scopes"], json!([]));
    if let Some(token) = empty["token"].as_str() {
        for id in [READ, "workspace.how-to-use", "workspace.list"] {
            let reply = agent.invoke_with(token, id, json!({"path": "report.txt"}));
            assert_eq!(reply.at("/ok"), false, "{reply}");
            assert!(reply.at("/output").is_null(), "{reply}");
        }
    }
}

#[test]
fn d09_no_write_leaves_the_root_through_a_link() {
    let house = House::open();
    let outside = Folder::empty();
    std::os::unix::fs::symlink(outside.path(), house.workspace.path().join("link"))
        .expect("a link");
    let agent = house.reader("one");
    let reply = agent.invoke(WRITE, note("link/escaped.txt", "x"));
    if let Some(item) = reply.at("/error/pendingId").as_str() {
        let card = house.owner().card(item);
        let approve = house.owner().decide(
            item,
            json!({"action": "approve", "trustWindow": {"kind": "once"}, "cardDigest": card["cardDigest"]}),
        );
        if approve.status == 200 {
            let late = agent.invoke(WRITE, note("link/escaped.txt", "x"));
            assert_eq!(late.at("/ok"), false, "{late}");
        }
    }
    assert!(outside.tree().is_empty());
    // A folder that is one takes the same write.
    let item = agent.must_ask(WRITE, note("folder/kept.txt", "x"));
    house.owner().approve(&item, "once");
    agent
        .invoke(WRITE, note("folder/kept.txt", "x"))
        .expect_ok();
    assert_eq!(house.workspace.read("folder/kept.txt"), "x");
}

/// Workflows are not built; nothing that executes is granted by granting something else.
#[test]
fn d10_execute_is_granted_by_its_own_name_only() {
    let workshop = Workshop::open();
    let agent = workshop.writer("one");
    agent.invoke(COUNT, json!({"line": "a"})).expect_ok();
    agent.must_ask("fixture.run", json!({"prompt": "b"}));
    assert!(
        agent
            .ledger()
            .iter()
            .all(|grant| grant["verbs"] != json!(["execute"]))
    );
    let manifest = agent.manifest();
    let entries = manifest["entries"].as_array().expect("entries");
    assert!(entries.iter().all(|entry| entry["kind"] != "workflow"));
    assert_eq!(workshop.effects(), ["a"]);
}

#[test]
fn d11_items_are_limited_and_coalesced() {
    let house = House::open();
    let agent = house.reader("one");
    let ask = || agent.ask(json!({WRITE: "allow"})).expect_ok()["pendingId"].clone();
    assert_eq!(ask(), ask());
    let mut limited = false;
    for n in 0..30 {
        let reply = agent.invoke(WRITE, note(&format!("{n}.txt"), "x"));
        if reply.status == 429 {
            reply.expect_error(429, "rate_limited");
            limited = true;
            break;
        }
    }
    assert!(limited);
    assert_eq!(house.owner().pending().len(), 20);
}

#[test]
fn d12_failed_credentials_are_audited_without_their_text() {
    let house = House::open();
    let agent = house.reader("one");
    let other = house.reader("two");
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let count = || {
        let events = house.owner().audit(1000);
        events
            .iter()
            .filter(|event| event["outcome"] == "denied")
            .count()
    };
    let acts: [&dyn Fn() -> u16; 4] = [
        &|| plexus_tests::agent::handshake(&house.gateway.client(), "plx_agent_x").status,
        &|| {
            let client = house.gateway.client().with("x-plexus-connection-key", "x");
            client.get("/admin/api/grants").status
        },
        &|| agent.invoke_with("garbage", READ, json!({})).status,
        &|| other.status(&item).status,
    ];
    for (n, act) in acts.iter().enumerate() {
        let before = count();
        assert!([401, 403].contains(&act()));
        assert!(count() > before, "failure {n} left no trace");
    }
    let log: Value = json!(house.owner().audit(1000));
    assert!(!log.to_string().contains("garbage"));
}

#[test]
fn d13_bodies_are_limited_before_anything_else() {
    let house = House::open();
    let huge = "x".repeat(20 * 1024 * 1024);
    house
        .gateway
        .client()
        .post("/agents/enroll", json!({"code": huge}))
        .expect_error(413, "payload_too_large");
    house.gateway.client().get("/v1/health").expect_ok();
}
