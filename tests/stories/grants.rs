//! Asking for grants, and where an asked-for item stands.

use crate::house::{House, READ, WRITE, nobody, note, report};
use plexus_tests::{Terminal, golden, owner::approval, texts::assert_contains};
use serde_json::json;

#[test]
fn what_stands_gives_a_token_at_once() {
    let (house, agent) = House::with_reader("one");
    for wish in [
        json!("allow"),
        json!({"decision": "allow"}),
        json!({"decision": "allow", "verbs": ["read"]}),
        json!({"decision": "allow", "verbs": ["read", "write"]}),
        json!({"decision": "allow", "verbs": []}),
    ] {
        let reply = agent.ask(json!({READ: wish})).expect_ok();
        assert_eq!(
            reply["scopes"],
            json!([{"id": READ, "verbs": ["read"]}]),
            "{wish}"
        );
        assert!(
            reply["jti"]
                .as_str()
                .is_some_and(|jti| jti.starts_with("tok_"))
        );
        assert_eq!(
            reply["token"].as_str().map(|jwt| jwt.split('.').count()),
            Some(3)
        );
    }
    golden::check(
        "grants-token",
        &agent.ask(json!({READ: "allow"})).expect_ok(),
    );

    // Beside it, a capability that is not granted pends.
    let reply = agent
        .ask(json!({READ: "allow", WRITE: "allow"}))
        .expect_ok();
    assert_eq!(reply["pending"], json!([WRITE]));
    assert_eq!(
        reply["partialToken"]["scopes"],
        json!([{"id": READ, "verbs": ["read"]}])
    );
    let token = reply["partialToken"]["token"].as_str().expect("a token");
    agent.invoke_with(token, READ, report()).expect_ok();

    // Nothing is allowed without an act of the owner, reads included (docs/design.md#trust).
    let agent = house.gateway.agent("new");
    let reply = agent.ask(json!({READ: "allow"})).expect_ok();
    assert_eq!(reply["status"], "grant_pending_user");
    let item = reply["pendingId"].as_str().expect("an id");
    house.owner().approve(item, "1h");
    assert_eq!(
        agent.ask(json!({READ: "allow"})).expect_ok()["scopes"][0]["id"],
        READ
    );
}

#[test]
fn an_effect_pends_with_words_for_the_owner() {
    let (house, agent) = House::with_reader("one");
    let reply = agent
        .ask(json!({WRITE: {"decision": "allow", "purpose": "Save the\n weekly\treport\u{7}"}}))
        .expect_ok();
    golden::check("grants-pending", &reply);
    let base = house.gateway.base();
    let item = reply["pendingId"].as_str().expect("an id");
    assert_eq!(
        reply["statusUrl"],
        format!("{base}/grants/status?pendingId={item}")
    );
    let card = house.owner().card(item);
    assert_eq!(card["agentPurpose"], "Save the weekly report");

    // A purpose is cut, and cannot break a line.
    let reply = house
        .reader("two")
        .ask(json!({WRITE: {"decision": "allow", "purpose": "x".repeat(500)}}))
        .expect_ok();
    let item = reply["pendingId"].as_str().expect("an id");
    let card = house.owner().card(item);
    let purpose = card["agentPurpose"].as_str().expect("it");
    assert_eq!(
        (
            purpose.chars().count(),
            purpose.ends_with("x… (cut at 280 characters)")
        ),
        (280, true)
    );
    let line = reply["pendingNarration"][0]["notificationLine"]
        .as_str()
        .expect("a line");
    assert!(
        line.chars().count() <= 120 && !line.contains(&"x".repeat(49)),
        "{line}"
    );
}

/// A denial with a reason that is too long is refused, and the request waits on. A revocation is made all the same, and keeps the
/// reason with a mark; an approval has no reason.
#[test]
fn long_reason_refuses_a_denial_and_no_revocation() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let asks = |path| agent.must_ask(WRITE, note(path, "x"));
    let [item, other] = ["a.md", "b.md"].map(asks);
    let (just, long) = ("x".repeat(280), "x".repeat(281));
    let said = "a reason has 280 characters at most, and this one has 281";
    let deny = |reason: &str| json!({"action": "deny", "reason": reason});
    let refused = owner.decide(&item, deny(&long));
    let error = refused.expect_error(422, "schema_validation_failed");
    assert_eq!(error["message"], said);
    assert_eq!(error["detail"]["field"], "reason");
    let line = ["approvals", "deny", &*item, "--reason", &*long];
    let stopped = house.gateway.cli(line);
    stopped.expect_status(64);
    assert_contains(&stopped.stderr, said);
    assert_eq!(agent.status(&item).at("/state"), "pending");
    owner.decide(&item, deny(&just)).expect_ok();
    assert_eq!(agent.status(&item).at("/reason"), just.as_str());
    let mut yes = approval(&owner.card(&other), "once");
    yes["reason"] = long.as_str().into();
    owner.decide(&other, yes).expect_ok();
    // Without a name the only one is meant, where a person can be asked.
    let only = asks("c.md");
    let unasked = house.gateway.cli(["approvals", "deny"]);
    unasked.expect_status(64);
    assert_contains(
        &unasked.stderr,
        "nobody can confirm here: add the request's id",
    );
    assert_contains(&unasked.stderr, "plexusctl approvals list");
    for (answer, state) in [("n", "pending"), ("y", "denied")] {
        let deny = house.gateway.on_terminal(["approvals", "deny"]);
        let mut terminal = Terminal::start(&deny, 300, 30);
        terminal.until_shows("[y/N]");
        assert_contains(&terminal.picture(), &format!("deny {only} ({WRITE})?"));
        terminal.keys(&format!("{answer}\r"));
        assert_eq!(terminal.end().success(), state == "denied");
        let ends = "also where a grant covers it, until you grant it for any input, or take that back: plexusctl approvals undeny pend_";
        assert_eq!(terminal.picture().contains(ends), state == "denied");
        assert_eq!(agent.status(&only).at("/state"), state);
    }

    let (token, hears) = (agent.token(&[READ]), agent.events());
    let body = json!({"jti": token["jti"], "reason": long});
    owner.client.post("/grants/revoke", body).expect_ok();
    let kept = hears.wait_for("token_revoked")["reason"].to_string();
    assert_contains(&kept, "x… (cut at 280 characters)");
    let revoke = |line: &[&str]| {
        let line = line.iter().copied().chain(["--reason", &*long]);
        assert_contains(house.gateway.cli(line).expect_ok(), said);
    };
    agent.must(READ, report());
    revoke(&["grants", "revoke", "one", READ]);
    agent.must_ask(READ, report());
    revoke(&["agents", "revoke", "one"]);
    let over = agent.invoke(READ, report());
    over.expect_error(401, "session_expired");
}

#[test]
fn ids_outside_of_the_view_are_declined_alike() {
    let house = House::open();
    let owner = house.owner();
    let agent = house.narrow("narrow", &[READ]);
    owner.expose("workspace.list", false);
    let reply = agent
        .ask(json!({"nope.read": "allow", "obsidian.vault.read": "allow", "workspace.list": "allow", READ: "allow"}))
        .expect_ok();
    assert_eq!(reply["scopes"], json!([{"id": READ, "verbs": ["read"]}]));
    let declined = reply["declined"].as_array().expect("declined");
    assert_eq!(declined.len(), 3, "{reply}");
    for one in declined {
        assert_eq!(
            one["reason"], declined[0]["reason"],
            "existence must not show"
        );
    }
}

#[test]
fn nothing_asked_for_and_nothing_given() {
    let (_house, agent) = House::with_reader("one");
    for (grants, declined) in [
        (json!({READ: "deny"}), json!(null)),
        (json!({"nope.read": "allow"}), json!("nope.read")),
    ] {
        let reply = agent.ask(grants).expect_ok();
        assert_eq!(reply["scopes"], json!([]));
        assert_eq!(reply["declined"][0]["id"], declined, "{reply}");
        // The token opens nothing, a text without verbs neither (D8).
        for id in [READ, "workspace.list"] {
            let call = agent.invoke_with(&reply, id, report());
            call.expect_error(401, "grant_required");
        }
        let text = agent.invoke_with(&reply, "workspace.how-to-use", report());
        assert_eq!(text.at("/ok"), false, "{text}");
        assert!(text.at("/output").is_null(), "{text}");
    }
}

#[test]
fn bodies_that_are_no_request() {
    let (house, agent) = House::with_reader("one");
    let send = |body: &str| agent.client().request("PUT", "/grants").bytes(body).send();
    for bad in [
        "{nope",
        "",
        "null",
        "[]",
        "{}",
        r#"{"grants":["workspace.read"]}"#,
        r#"{"grants":{}}"#,
        r#"{"grants":{"workspace.read":null}}"#,
        r#"{"grants":{"workspace.read":"maybe"}}"#,
        r#"{"grants":{"workspace.read":{"decision":"nope"}}}"#,
        r#"{"grants":{"workspace.read":{"decision":"allow","verbs":"read"}}}"#,
        r#"{"grants":{"workspace.read":{"decision":"allow","verbs":["fly"]}}}"#,
        r#"{"grants":{"workspace.read":{"decision":"allow","trustWindow":{"kind":"bogus"}}}}"#,
        r#"{"grants":{"workspace.read":{"decision":"allow","trustWindow":{"kind":"custom","ms":-5}}}}"#,
        r#"{"grants":{"workspace.read":{"decision":"allow","purpose":7}}}"#,
        r#"{"grants":{"workspace.read":"allow","workspace.read":"deny"}}"#,
        r#"{"grants":{"workspace.read":"allow"},"onApproval":"explode"}"#,
        r#"{"grants":{"workspace.write":"allow"},"intents":{"workspace.write":"x"}}"#,
        r#"{"grants":{"workspace.list":"allow"},"intents":{"workspace.list":[]}}"#,
        r#"{"grants":{"workspace.list":["allow"]}}"#,
        r#"{"grants":{"workspace.list":{"decision":"allow","trustWindow":["custom",5]}}}"#,
        r#"{"grants":{"workspace.list":{"decision":"allow","constraint":{"pathPrefix":["path",["a"]]}}}}"#,
        r#"{"grants":{"workspace.list":{"decision":"allow","constraint":[["path",["a"]],null,[],null]}}}"#,
    ] {
        let reply = send(bad);
        assert_eq!(reply.status, 400, "{bad}: {reply}");
        assert_eq!(reply.at("/error/code"), "schema_validation_failed", "{bad}");
    }
    send(r#"{"grants":{"workspace.read":"allow"}}"#).expect_ok();
    assert!(house.owner().pending().is_empty());

    // The session comes in the header or the body.
    let client = house.gateway.client();
    let body = json!({"sessionId": agent.session, "grants": {READ: "allow"}});
    client.put("/grants", body.clone()).expect_ok();
    client
        .with("x-plexus-session", &nobody("sess_"))
        .put("/grants", body)
        .expect_error(401, "session_expired");
    client
        .put("/grants", json!({"grants": {READ: "allow"}}))
        .expect_error(401, "session_expired");
    // The shape is looked at before the session.
    client
        .put("/grants", json!({"grants": {}}))
        .expect_error(400, "schema_validation_failed");
}

/// Read as an object, an empty array would be a constraint without parts: none.
#[test]
fn an_array_is_no_constraint_of_the_owners() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let item = agent.must_ask(READ, report());
    for array in [
        json!([]),
        json!([null, null, [], 3]),
        json!({"pathPrefix": ["path", ["a"]]}),
    ] {
        let terms = json!({"decision": "allow", "constraint": array});
        let put = json!({"agentId": "one", "grants": {READ: terms}, "trustWindow": {"kind": "1h"}});
        for reply in [
            owner.put("/admin/api/grants", put),
            owner
                .connect_as(json!({"agentId": "two", "capabilities": [READ], "constraint": array})),
            owner.decide(
                &item,
                json!({"action": "approve", "trustWindow": {"kind": "1h"}, "constraint": array}),
            ),
        ] {
            assert_eq!(reply.status, 400, "{array}: {reply}");
        }
    }
    assert!(owner.grants().is_empty());
}

#[test]
fn the_owners_session_without_an_agent_is_granted_nothing() {
    let house = House::open();
    let session = house
        .gateway
        .client()
        .post(
            "/link/handshake",
            json!({"connectionKey": house.gateway.key(), "client": {"name": "console"}}),
        )
        .text_at("/sessionId");
    let client = house.gateway.client().with("x-plexus-session", &session);
    let error = client
        .put(
            "/grants",
            json!({"grants": {"nope.read": "allow", READ: "allow"}}),
        )
        .expect_error(400, "schema_validation_failed");
    assert_eq!(error["detail"]["unknownCapabilities"], json!(["nope.read"]));
    let reply = client.must_put("/grants", json!({"grants": {READ: "allow"}}));
    assert_eq!(reply["declined"][0]["id"], READ);
}

#[test]
fn the_ledger_shows_the_callers_live_grants() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.gateway.agent("two"));
    let ledger = one.ledger();
    assert_eq!(ledger.len(), crate::house::READS.len(), "{ledger:#?}");
    for grant in &ledger {
        assert_eq!(grant["agentId"], "one");
        assert_eq!(grant["standing"], true);
    }
    assert!(two.ledger().is_empty());
    let client = house.gateway.client();
    client.get("/grants").expect_error(401, "session_expired");
    house
        .owner()
        .get("/grants")
        .expect_error(401, "session_expired");
    house.owner().expose(READ, false);
    let hidden = one
        .ledger()
        .into_iter()
        .find(|grant| grant["capabilityId"] == READ);
    assert_eq!(hidden.expect("it is kept")["topLevelDisabled"], true);
}

#[test]
fn the_life_of_an_item() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let reply = agent.ask_to(WRITE, note("a.txt", "a")).expect_ok();
    let item = reply["pendingId"].as_str().expect("an id");
    let status = agent.status(item).expect_ok();
    golden::check("status-pending", &status);

    assert_eq!(owner.approve(item, "once")["action"], "approve");
    let approved = agent.status(item).expect_ok();
    assert_eq!(approved["state"], "approved");
    assert_eq!(
        agent.status(item).expect_ok(),
        approved,
        "reading changes nothing"
    );
    let refused = owner.decide(item, json!({"action": "approve"}));
    refused.expect_error(404, "unknown_capability");
    agent.must(WRITE, note("a.txt", "a"));
    assert_eq!(agent.status(item).expect_ok()["state"], "approved");

    let other = agent.must_ask(WRITE, note("b.txt", "b"));
    owner.deny(&other, "not today");
    let denied = agent.status(&other).expect_ok();
    assert_eq!(denied["state"], "denied");
    owner
        .decide(&other, json!({"action": "deny"}))
        .expect_error(404, "unknown_capability");
}

#[test]
fn who_may_read_a_status() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let item = one.must_ask(WRITE, note("a.txt", "a"));
    one.status(&item).expect_ok();
    one.another_session().status(&item).expect_ok();
    house
        .owner()
        .must_get(&format!("/grants/status?pendingId={item}"));

    let client = house.gateway.client();
    let path = format!("/grants/status?pendingId={item}");
    let foreign = two.status(&item);
    let unknown = two.status(&nobody("pend_"));
    foreign.expect_error(403, "session_expired");
    assert_eq!(
        foreign.text().replace(&item, "?"),
        unknown.text().replace(&nobody("pend_"), "?"),
        "whether an item exists does not show (E7)"
    );
    client.get(&path).expect_error(403, "session_expired");
    one.bearing(&one.pat)
        .get(&path)
        .expect_error(403, "session_expired");
    client
        .with("x-plexus-connection-key", "plx_live_wrong")
        .get(&path)
        .expect_error(403, "session_expired");
    one.client()
        .get("/grants/status")
        .expect_error(400, "internal_error");
}

/// A status waits for the decision instead of being asked again and again.
#[test]
fn a_status_waits_for_the_decision() {
    let (house, agent) = House::with_reader("one");
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let owner = house.owner();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| agent.status_after(&item, 60).expect_ok());
        owner.deny(&item, "no");
        assert_eq!(waiting.join().expect("an answer")["state"], "denied");
    });
    agent
        .client()
        .get(&format!("/grants/status?pendingId={item}&wait=soon"))
        .expect_status(400);
}

/// An item survives a restart, its session does not; the approval is claimed by the agent's next session (E18).
#[test]
fn items_survive_a_restart() {
    let (mut house, agent) = House::with_reader("one");
    let item = agent.must_ask(WRITE, note("a.txt", "after the restart"));
    house.gateway.restart();
    house
        .gateway
        .client()
        .with("x-plexus-session", &agent.session)
        .get("/manifest")
        .expect_error(401, "session_expired");
    let agent = house.gateway.back(&agent);
    assert_eq!(agent.status(&item).expect_ok()["state"], "pending");
    house.owner().approve(&item, "once");
    house.gateway.restart();
    let agent = house.gateway.back(&agent);
    assert_eq!(agent.status(&item).expect_ok()["state"], "approved");
    agent.must(WRITE, note("a.txt", "after the restart"));
    assert_eq!(house.workspace.read("a.txt"), "after the restart");
}
