//! Exchanging a token: never for more, never for another agent, never back to life.

use crate::house::{House, READ, nobody, report};
use plexus_tests::Clock;
use serde_json::json;

#[test]
fn a_token_is_exchanged_for_a_fresh_one() {
    let (house, agent) = House::with_reader("one");
    let old = agent.token(&[READ, "obsidian.vault.read"]);
    let new = agent.refresh(&old).expect_ok();
    assert_ne!(new["jti"], old["jti"]);
    assert_eq!(new["scopes"], old["scopes"]);
    assert_eq!(
        new["grantExpiresAt"], old["grantExpiresAt"],
        "a refresh lengthens no grant"
    );
    assert!(new.get("trustWindow").is_none());
    agent.refresh(&old).expect_error(401, "token_revoked");
    let call = |token: &serde_json::Value| agent.invoke_with(token, READ, report());
    call(&old).expect_error(401, "token_revoked");
    call(&new).expect_ok();
    // Another session of the same agent may take it over.
    agent.another_session().refresh(&new).expect_ok();

    // A grant that was revoked drops out.
    let token = agent.token(&[READ]);
    house.owner().revoke("one", READ);
    agent.refresh(&token).expect_error(401, "token_revoked");
    // The reading was taken back: the next request asks.
    assert_eq!(
        agent.ask(json!({READ: "allow"})).expect_ok()["status"],
        "grant_pending_user"
    );
}

#[test]
fn the_order_of_refusals() {
    let (house, agent) = House::with_reader("one");
    let token = agent.token(&[READ]);
    let jwt = token["token"].as_str().expect("a token");
    let body = json!({"sessionId": agent.session, "jti": token["jti"]});
    let refresh = |bearer: Option<&str>, body: &str| {
        let client = bearer.map_or_else(|| house.gateway.client(), |bearer| agent.bearing(bearer));
        client.request("POST", "/grants/refresh").bytes(body).send()
    };
    for bad in ["{nope", "", "null", "[]"] {
        refresh(Some(jwt), bad).expect_error(400, "internal_error");
    }
    refresh(None, &body.to_string()).expect_error(401, "token_expired");
    refresh(Some("garbage"), &body.to_string()).expect_error(401, "token_revoked");
    refresh(Some(&agent.pat), &body.to_string()).expect_error(401, "token_revoked");
    let other = json!({"sessionId": agent.session, "jti": nobody("tok_")});
    refresh(Some(jwt), &other.to_string()).expect_error(401, "token_revoked");
    // A session that does not live, or is another agent's (D5).
    let foreign = house.reader("two").session;
    for session in [
        json!(nobody("sess_")),
        json!(null),
        json!(5),
        json!(foreign),
    ] {
        let dead = json!({"sessionId": session, "jti": token["jti"]});
        refresh(Some(jwt), &dead.to_string()).expect_error(401, "session_expired");
    }
    refresh(Some(jwt), &body.to_string()).expect_ok();
}

#[test]
fn an_expired_token_has_five_minutes_of_grace() {
    let clock = Clock::new();
    let house = House::with(|builder| builder.clock(&clock));
    let agent = house.reader("one");
    let token = agent.token(&[READ]);
    agent.invoke_with(&token, READ, report()).expect_ok();

    clock.show("+15m10s");
    agent
        .invoke_with(&token, READ, report())
        .expect_error(401, "token_expired");
    let fresh = agent.refresh(&token).expect_ok();
    clock.show("+35m20s");
    agent.refresh(&fresh).expect_error(401, "token_expired");
}
