//! What the owner lets be seen.

use crate::house::{House, READ, report};
use plexus_tests::texts::assert_contains;
use serde_json::{Value, json};

#[test]
fn exposure_is_listed_and_set() {
    let house = House::open();
    let owner = house.owner();
    let list = || owner.get("/admin/api/exposure").expect_ok();
    let entry = |list: &Value, id: &str| -> Value {
        let entries = list["capabilities"].as_array().expect("capabilities");
        entries
            .iter()
            .find(|entry| entry["id"] == id)
            .cloned()
            .unwrap_or(Value::Null)
    };
    let before = list();
    assert_eq!(entry(&before, READ)["enabled"], true);
    let off = owner.expose(READ, false);
    assert_eq!(off["enabled"], false);
    assert!(
        off["revision"].as_u64() > before["revision"].as_u64(),
        "a change counts"
    );
    assert_eq!(
        owner.expose(READ, false)["revision"],
        off["revision"],
        "no change does not"
    );
    assert_eq!(entry(&list(), READ)["enabled"], false);
    // Ids that are not there are remembered.
    owner.expose("no.such.cap", false);
    assert_eq!(entry(&list(), "no.such.cap")["label"], "no.such.cap");
    let event =
        owner.audited(|event| event["type"] == "exposure.set" && event["capabilityId"] == READ);
    assert_eq!(event["detail"]["enabled"], false);
}

/// A tick that the console offers; it gives no right.
#[test]
fn a_default_grant_is_a_tick() {
    let house = House::open();
    let owner = house.owner();
    owner.must_post(
        "/admin/api/default-grant/workspace.read",
        json!({"defaultGrant": true}),
    );
    let agent = house.gateway.agent("new");
    agent.must_ask(READ, report());

    // Bodies that are none, of a tick and of an exposure.
    for path in [
        "/admin/api/exposure/workspace.read",
        "/admin/api/default-grant/workspace.read",
    ] {
        for body in [
            "{}",
            r#"{"enabled":"no","defaultGrant":1}"#,
            "{nope",
            "null",
        ] {
            let request = owner.client.request("POST", path);
            request
                .bytes(body)
                .send()
                .expect_error(400, "internal_error");
        }
    }
}

#[test]
fn what_is_not_exposed_is_hidden_and_kept() {
    let (mut house, agent) = House::with_reader("one");
    let owner = house.owner();
    assert!(agent.sees().contains(&READ.to_owned()));
    owner.expose(READ, false);
    assert!(!agent.sees().contains(&READ.to_owned()));
    let asked = agent.ask(json!({READ: "allow"})).expect_ok();
    assert_eq!(asked["declined"][0]["id"], READ);
    house.gateway.restart();
    let agent = house.back(&agent);
    assert!(!agent.sees().contains(&READ.to_owned()), "over a restart");
    house.owner().expose(READ, true);
    agent.must(READ, report());
}

/// A request for what is hidden meanwhile: its card says so, and it is approved once that is shown again.
#[test]
fn request_for_what_is_hidden_waits_until_it_is_shown() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let item = agent.must_ask(READ, report());
    let approve = || house.gateway.cli(["approvals", "approve", &item, "--yes"]);
    owner.expose(READ, false);
    let expose = format!("plexusctl expose {READ}");
    let card = owner.card(&item);
    assert_eq!(
        card["choices"][0]["refused"],
        format!("{READ} is hidden from agents: {expose}")
    );
    let shown = house.gateway.cli(["approvals", "show", &item]);
    assert_contains(shown.expect_ok(), &expose);
    let refused = approve();
    assert_eq!(refused.status, 77, "{refused}");
    assert_contains(&refused.stderr, "is hidden from agents: expose it");
    assert_contains(&refused.stderr, &expose);
    assert_eq!(agent.status(&item).at("/state"), "pending");
    // The control: nothing was decided by that.
    owner.expose(READ, true);
    approve().expect_ok();
    agent.must(READ, report());
}
