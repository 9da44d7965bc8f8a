//! A PAT opens an agent's session; the key, in the body and nowhere else, the owner's. Neither falls through to the other.

use crate::house::House;
use plexus_tests::agent::handshake;
use plexus_tests::texts::{assert_lacks, list_of};
use plexus_tests::{Response, golden};
use serde_json::{Value, json};

fn with_body(house: &House, authorization: Option<&str>, body: &str) -> Response {
    let mut client = house.gateway.client();
    if let Some(value) = authorization {
        client = client.with("authorization", value);
    }
    client.request("POST", "/link/handshake").bytes(body).send()
}

#[test]
fn a_pat_opens_a_session() {
    let (house, agent) = House::with_reader("one");
    let reply = handshake(&house.gateway.client(), &agent.pat);
    let body = reply.expect_ok();
    golden::check("handshake", &body);
    assert!(
        body["sessionId"]
            .as_str()
            .is_some_and(|id| id.starts_with("sess_") && id.len() == 41)
    );
    assert_eq!(body["expiresAt"], body["manifest"]["expiresAt"]);
    assert_eq!(body["sessionId"], body["manifest"]["sessionId"]);
    assert_eq!(
        body["grantsUrl"],
        format!("{}/grants", house.gateway.base())
    );

    let ids: Vec<&str> = list_of(&body["manifest"]["entries"])
        .iter()
        .filter_map(|entry| entry["id"].as_str())
        .collect();
    assert!(ids.is_sorted(), "entries are sorted by id: {ids:?}");
    assert_eq!(agent.manifest()["entries"], body["manifest"]["entries"]);

    // Many sessions live at once.
    let later: Vec<_> = (0..20).map(|_| agent.another_session()).collect();
    for one in later.iter().chain([&agent]) {
        one.client().get("/manifest").expect_ok();
    }
}

#[test]
fn what_a_pat_tolerates() {
    let (house, agent) = House::with_reader("one");
    let bearer = format!("Bearer {}", agent.pat);
    for body in [
        "",
        "{nope",
        "{}",
        "null",
        r#"{"connectionKey":""}"#,
        r#"{"connectionKey":5}"#,
    ] {
        with_body(&house, Some(&bearer), body).expect_ok();
    }
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        with_body(&house, Some(&format!("{scheme} {}", agent.pat)), "{}").expect_ok();
    }
    // Who an agent is, its credential says, not its body.
    let claimed = with_body(
        &house,
        Some(&bearer),
        r#"{"client":{"name":"x","agentId":"someone-else"}}"#,
    );
    let session = claimed.text_at("/sessionId");
    let grants = house
        .gateway
        .client()
        .with("x-plexus-session", &session)
        .get("/grants")
        .expect_ok();
    assert!(grants["grants"].as_array().is_some_and(
        |grants| !grants.is_empty() && grants.iter().all(|grant| grant["agentId"] == "one")
    ));
}

#[test]
fn the_key_opens_the_owners_session() {
    let house = House::open();
    let key = house.gateway.key();
    let body = |agent: Option<&str>| {
        json!({"connectionKey": key, "client": {"name": "console", "agentId": agent}}).to_string()
    };
    let all = with_body(&house, None, &body(None).replace(r#","agentId":null"#, "")).expect_ok();
    let ids = |body: &Value| -> Vec<String> {
        list_of(&body["manifest"]["entries"])
            .iter()
            .map(|entry| entry["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    assert!(ids(&all).contains(&"workspace.write".to_owned()));
    // A scheme that is not Bearer is no bearer.
    with_body(
        &house,
        Some("Basic abc"),
        &json!({"connectionKey": key}).to_string(),
    )
    .expect_ok();

    house.narrow("narrow", &["workspace.read"]);
    let as_agent = with_body(&house, None, &body(Some("narrow"))).expect_ok();
    assert!(ids(&as_agent).contains(&"workspace.read".to_owned()));
    assert!(!ids(&as_agent).contains(&"workspace.write".to_owned()));
}

#[test]
fn no_credential_falls_through_to_the_other() {
    let (house, agent) = House::with_reader("one");
    let key = house.gateway.key();
    let right_key = json!({"connectionKey": key}).to_string();
    let forged = format!("plx_agent_{}", "A".repeat(43));
    for bearer in [forged.as_str(), key.as_str(), "nope", &agent.session] {
        with_body(&house, Some(&format!("Bearer {bearer}")), &right_key)
            .expect_error(401, "session_expired");
    }
    let wrong = format!("plx_live_{}", "0".repeat(48));
    for body in [
        json!({"connectionKey": wrong}),
        json!({"connectionKey": agent.pat}),
        json!({"connectionKey": 5}),
        json!({"connectionKey": [key]}),
        json!({"connectionKey": format!("{key} ")}),
        json!({}),
    ] {
        with_body(&house, None, &body.to_string()).expect_error(401, "session_expired");
    }
    house
        .owner()
        .post("/link/handshake", json!({}))
        .expect_error(401, "session_expired");
    for body in ["", "{nope"] {
        with_body(&house, None, body).expect_error(400, "internal_error");
    }
    with_body(&house, None, &right_key).expect_ok();
}

/// E17: what the owner configured is the owner's.
#[test]
fn a_manifest_shows_no_path_of_the_machine() {
    let (house, agent) = House::with_reader("one");
    let manifest = agent.manifest().to_string();
    for private in [
        house.vault.path(),
        house.workspace.path(),
        house.gateway.state(),
    ] {
        let private = private.to_string_lossy().into_owned();
        assert!(!manifest.contains(&private), "{private} is in the manifest");
    }
    assert_lacks(&manifest, "\"route\"");
}
