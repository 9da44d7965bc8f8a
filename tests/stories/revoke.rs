//! Taking back: what stops, and what does not.

use crate::house::{COUNT, House, READ, WRITE, Workshop, nobody, note, report};
use plexus_tests::Response;
use plexus_tests::agent::handshake;
use plexus_tests::owner::sequence;
use serde_json::{Value, json};

fn read(agent: &plexus_tests::Agent, token: &Value) -> Response {
    agent.invoke_with(token, READ, report())
}

#[test]
fn an_agent_gives_up_its_own_token_and_no_other() {
    let (house, agent) = House::with_reader("one");
    let (first, second) = (agent.token(&[READ]), agent.token(&[READ]));
    let give_up = |bearer: &Value, body: Value| agent.bearing(bearer).post("/grants/revoke", body);
    give_up(&second, json!({"jti": first["jti"]})).expect_error(401, "session_expired");
    give_up(&first, json!({"agentId": "one", "capabilityId": READ}))
        .expect_error(401, "session_expired");
    agent
        .client()
        .post("/grants/revoke", json!({"jti": first["jti"]}))
        .expect_error(401, "session_expired");
    house
        .gateway
        .client()
        .post("/grants/revoke", json!({"jti": first["jti"]}))
        .expect_error(401, "session_expired");
    read(&agent, &first).expect_ok();

    let answer = give_up(&first, json!({"jti": first["jti"], "reason": "done"})).expect_ok();
    assert_eq!(answer["revokedJtis"], json!([first["jti"]]));
    assert_eq!(answer["grantRemoved"], false);
    read(&agent, &first).expect_error(401, "token_revoked");
    read(&agent, &second).expect_ok();
    read(&agent, &agent.token(&[READ])).expect_ok();

    // Once more: it is gone, and nobody is troubled with it.
    let head = || house.owner().audit(1)[0]["id"].clone();
    let before = head();
    let again = give_up(&first, json!({"jti": first["jti"]}));
    again.expect_status(200);
    assert_eq!(again.json()["ok"], false, "{again}");
    assert_eq!(again.json()["revokedJtis"], json!([]), "{again}");
    assert_eq!(head(), before);
}

#[test]
fn bodies_that_name_nothing() {
    let house = House::open();
    let client = house.gateway.client();
    for body in [
        "{}",
        "{nope",
        "null",
        "",
        r#"{"agentId":"one"}"#,
        r#"{"jti":5}"#,
    ] {
        client
            .request("POST", "/grants/revoke")
            .bytes(body)
            .send()
            .expect_error(400, "internal_error");
    }
}

#[test]
fn the_owner_takes_a_grant_back() {
    let house = House::open();
    let owner = house.owner();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let (first, other, foreign) = (
        one.token(&[READ]),
        one.token(&["obsidian.vault.read"]),
        two.token(&[READ]),
    );
    let answer = owner.revoke("one", READ);
    assert_eq!(answer["ok"], true);
    assert_eq!(answer["grantRemoved"], true);
    let jtis = answer["revokedJtis"].as_array().expect("a list");
    assert!(
        jtis.contains(&first["jti"]) && jtis.contains(&other["jti"]),
        "every token of the agent: {answer}"
    );
    assert_eq!(answer["inFlight"], json!([]), "nothing was under way");

    read(&one, &first).expect_error(401, "token_revoked");
    read(&two, &foreign).expect_ok();
    // Other grants stand and give new tokens.
    one.token(&["obsidian.vault.read"]);
    // The reading pends, also after a restart (E22).
    one.must_ask(READ, report());
    assert!(one.sees().contains(&READ.to_owned()));
    assert!(one.entry(READ).get("standing").is_none());

    let again = owner.post(
        "/grants/revoke",
        json!({"agentId": "one", "capabilityId": READ}),
    );
    assert_eq!(again.json()["grantRemoved"], false);
    let stranger = owner.post(
        "/grants/revoke",
        json!({"agentId": "nobody", "capabilityId": READ}),
    );
    stranger.expect_status(200);
    assert_eq!(stranger.json()["ok"], false);
}

#[test]
fn what_was_taken_back_stays_so_over_a_restart() {
    let (mut house, agent) = House::with_reader("one");
    house.owner().revoke("one", READ);
    house.gateway.restart();
    let agent = house.back(&agent);
    agent.must_ask(READ, report());
    agent.must("workspace.list", json!({}));
}

#[test]
fn unknown_and_wrong() {
    let (house, agent) = House::with_reader("one");
    let token = agent.token(&[READ]);
    let owner = house.owner();
    let unknown = owner.post("/grants/revoke", json!({"jti": nobody("tok_")}));
    unknown.expect_status(200);
    assert_eq!(unknown.json()["ok"], false, "nothing was revoked (E8)");
    house
        .gateway
        .client()
        .with(
            "x-plexus-connection-key",
            &format!("plx_live_{}", "0".repeat(48)),
        )
        .post("/grants/revoke", json!({"jti": token["jti"]}))
        .expect_error(401, "session_expired");
    read(&agent, &token).expect_ok();
    owner.must_post("/grants/revoke", json!({"jti": token["jti"]}));
    read(&agent, &token).expect_error(401, "token_revoked");
}

#[test]
fn a_whole_agent() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let second = agent.another_session();
    let tokens = [agent.token(&[READ]), second.token(&[READ])];
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let answer = owner.must_post(
        "/admin/api/agents/revoke",
        json!({"agentId": " one ", "reason": "offboarding"}),
    );
    assert_eq!(answer["agentId"], "one");
    assert_eq!(
        answer["sessionsInvalidated"], 2,
        "sessions are counted, not tokens (E14)"
    );
    let jtis = answer["revokedJtis"].as_array().expect("a list");
    for (session, token) in [&agent, &second].into_iter().zip(&tokens) {
        assert!(jtis.contains(&token["jti"]), "{answer}");
        session.must_be_signed_out();
        read(session, token).expect_error(401, "token_revoked");
    }
    handshake(&house.gateway.client(), &agent.pat).expect_error(401, "session_expired");
    assert!(owner.grants().is_empty());
    // Nobody can approve for an agent that is gone (E21).
    owner
        .decide(
            &item,
            json!({"action": "approve", "trustWindow": {"kind": "once"}}),
        )
        .expect_error(404, "unknown_capability");
    assert!(owner.pending().is_empty());
}

/// Rotating the key ends everything (docs/design.md#credentials).
#[test]
fn rotating_the_key_ends_everything() {
    let (mut house, agent) = House::with_reader("one");
    let owner = house.owner();
    let waiting = owner.connect("two", &[])["code"].clone();
    let token = agent.token(&[READ]);
    let asked = agent.must_ask(WRITE, note("x.md", "x\n"));
    let rotated = owner.must_post("/v1/connection-key/rotate", json!({}));
    assert_eq!(rotated["ended"], json!([asked]), "{rotated}");
    let key = rotated["connectionKey"].as_str().expect("a key");
    assert!(key.starts_with("plx_live_") && key.len() == 57 && key != owner.key);
    assert_eq!(house.gateway.key(), key, "the file holds the new key");

    owner
        .get("/admin/api/pending")
        .expect_error(401, "unauthorized");
    house.owner().get("/admin/api/pending").expect_ok();
    agent.must_be_signed_out();
    read(&agent, &token).expect_error(401, "token_revoked");
    for restarted in [false, true] {
        if restarted {
            house.gateway.restart();
        }
        let client = house.gateway.client();
        handshake(&client, &agent.pat).expect_error(401, "session_expired");
        let redeemed = client.post("/agents/enroll", json!({"code": waiting}));
        redeemed.expect_error(401, "unknown_code");
    }
    house.owner().get("/admin/api/pending").expect_ok();
}

/// A revoke between a call's authorization and its record: the record is refused, or the call is named
/// (docs/design.md#the-life-of-a-call).
#[test]
fn the_writer_decides_last() {
    let (workshop, agent) = Workshop::with_writer("racer");
    let owner = workshop.owner();
    let revoked = std::thread::scope(|scope| {
        for thread in 0..4 {
            let agent = agent.another_session();
            scope.spawn(move || {
                for n in 0..50 {
                    let reply = agent.invoke(COUNT, json!({"line": format!("{thread}-{n}")}));
                    if reply.at("/ok") != true {
                        return;
                    }
                }
            });
        }
        plexus_tests::waiting::until_true("some effects", || workshop.effects().len() > 8);
        owner.revoke("racer", COUNT)
    });
    let at = owner.get(&format!(
        "/admin/api/audit/{}",
        revoked["auditId"].as_str().expect("an id")
    ));
    let at = sequence(&at.expect_ok()["event"]);
    let in_flight = revoked["inFlight"].as_array().cloned().unwrap_or_default();
    for intent in workshop.calls(COUNT, "intent") {
        assert!(
            sequence(&intent) < at,
            "an intent after the revoke: {intent}"
        );
    }
    for outcome in workshop.calls(COUNT, "outcome") {
        if sequence(&outcome) > at {
            assert!(
                in_flight.contains(&outcome["detail"]["intent"])
                    || in_flight.contains(&outcome["intent"]),
                "{outcome} was not named in {revoked}"
            );
        }
    }
    // An intent that was recorded and not yet sent when the revoke came is not sent: its outcome says so.
    let outcomes = workshop.calls(COUNT, "outcome");
    assert_eq!(outcomes.len(), workshop.calls(COUNT, "intent").len());
    let done = outcomes.iter().filter(|event| event["outcome"] == "ok");
    assert_eq!(workshop.effects().len(), done.count());
}
