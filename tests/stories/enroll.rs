//! A code is redeemed once, for one agent.

use crate::house::House;
use plexus_tests::texts::assert_lacks;
use plexus_tests::{Agent, Client, Response};
use serde_json::{Value, json};

fn redeem(client: &Client, code: &Value) -> Response {
    client.post("/agents/enroll", json!({"code": code}))
}

#[test]
fn bodies_that_are_no_request() {
    let house = House::open();
    let client = house.gateway.client();
    for body in [
        "",
        "{nope",
        "[]",
        "{}",
        r#"{"code":""}"#,
        r#"{"code":42}"#,
        r#"{"code":null}"#,
        "null",
        r#"{"code":"a","code":"b"}"#,
    ] {
        client
            .request("POST", "/agents/enroll")
            .bytes(body)
            .send()
            .expect_error(400, "malformed");
    }

    // Nor is one for a code that ends after no length of time.
    for ttl in [json!(0), json!(-1), json!("60000"), json!([1])] {
        house
            .owner()
            .connect_as(json!({"agentId": "x", "capabilities": [], "ttlMs": ttl}))
            .expect_error(400, "internal_error");
    }
}

#[test]
fn a_code_opens_one_credential_once() {
    let house = House::open();
    let client = house.gateway.client();
    let connected = house.owner().connect("one", &["workspace.read"]);
    let code = &connected["code"];
    let text = code.as_str().expect("a code");
    assert!(
        text.starts_with("plx_enroll_") && text.len() == 54,
        "{text}"
    );

    let reply = redeem(&client, code).expect_ok();
    assert_eq!(reply["agentId"], "one");
    let pat = reply["pat"].as_str().expect("a PAT");
    assert!(pat.starts_with("plx_agent_") && pat.len() == 53, "{pat}");

    let again = redeem(&client, code).expect_error(401, "code_consumed");
    assert!(again["message"].as_str().is_some_and(|why| !why.is_empty()));
    assert!(
        Agent::with_pat(&client, "one", pat)
            .sees()
            .contains(&"workspace.read".to_owned())
    );

    // Anything else is no code.
    let code = house.owner().connect("two", &[])["code"].clone();
    let spaced = format!(" {}", code.as_str().expect("a code"));
    for wrong in ["plx_enroll_nosuchcode", &house.gateway.key(), &spaced, "x"] {
        redeem(&client, &json!(wrong)).expect_error(401, "unknown_code");
    }
    redeem(&client, &code).expect_ok();

    // The content type is not considered.
    let code = house.owner().connect("plain", &[])["code"].clone();
    client
        .request("POST", "/agents/enroll")
        .bytes(json!({"code": code}).to_string())
        .header("content-type", "text/plain")
        .send()
        .expect_ok();
}

#[test]
fn codes_end() {
    let house = House::open();
    let (client, owner) = (house.gateway.client(), house.owner());
    let brief = owner
        .connect_as(json!({"agentId": "brief", "capabilities": [], "ttlMs": 1}))
        .expect_ok();
    plexus_tests::waiting::until_true("the end of a code of one millisecond", || {
        let reply = redeem(&client, &brief["code"]);
        reply.status == 401 && reply.at("/error/code") == "code_expired"
    });

    let first = owner.connect("twice", &[])["code"].clone();
    let second = owner.connect("twice", &[])["code"].clone();
    redeem(&client, &first).expect_error(401, "unknown_code");
    redeem(&client, &second).expect_ok();

    let gone = owner.connect("gone", &[])["code"].clone();
    owner.revoke_agent("gone");
    redeem(&client, &gone).expect_error(401, "code_consumed");
}

#[test]
fn enrolling_is_audited_and_the_log_holds_no_credential() {
    let house = House::open();
    let owner = house.owner();
    let client = house.gateway.client();
    let connected = owner.connect("noted", &[]);
    let reply = redeem(&client, &connected["code"]).expect_ok();
    redeem(&client, &json!("plx_enroll_wrong")).expect_error(401, "unknown_code");

    let event = owner.audited(|event| {
        event["detail"]["event"] == "agent.enroll" && event["detail"]["outcome"] == "redeemed"
    });
    assert_eq!(event["type"], "handshake");
    assert_eq!(event["agentId"], "noted");
    let refused = owner.audited(|event| {
        event["detail"]["event"] == "agent.enroll" && event["detail"]["outcome"] == "rejected"
    });
    assert_eq!(refused["detail"]["reason"], "unknown_code");
    assert!(refused.get("agentId").is_none());

    let log = house.gateway.cli(["audit", "export"]);
    for secret in [&connected["code"], &reply["pat"]] {
        let secret = secret.as_str().expect("a secret");
        assert_lacks(log.expect_ok(), secret);
    }
    assert!(!log.stdout.contains(&house.gateway.key()));
}
