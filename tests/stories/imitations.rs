//! Labels that imitate what is there: an owner tells sources and capabilities apart by them.

use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Agent, Gateway};
use serde_json::{Value, json};

fn manifest(source: &str, label: &str, capabilities: &[&str]) -> Value {
    let capabilities = capabilities.iter().enumerate().map(|(at, label)| {
        json!({
            "name": format!("c{at}"), "kind": "capability", "label": label, "describe": "Works.", "grants": ["read"],
            "transport": "cli", "route": {"bin": "grep", "args": ["--help"]},
        })
    });
    json!({
        "manifest": "plexus-extension/0.1", "source": source, "label": label, "transport": "cli",
        "capabilities": capabilities.collect::<Vec<_>>(),
    })
}

fn propose(agent: &Agent, manifest: &Value) -> Value {
    let body = json!({ "manifest": manifest });
    let reply = agent.client().post("/extensions", body);
    assert_eq!(reply.status, 200, "{reply}");
    reply.json()
}

fn card(gateway: &Gateway, reply: &Value) -> Value {
    let item = reply["pendingId"].as_str();
    let item = item.unwrap_or_else(|| panic!("{reply}"));
    let path = format!("/admin/api/pending/{item}");
    gateway.owner().get(&path).expect_ok()
}

fn approve(gateway: &Gateway, card: &Value) -> plexus_tests::Response {
    let item = card["pendingId"].as_str().expect("an item");
    let body = json!({"action": "approve", "cardDigest": card["cardDigest"]});
    gateway.owner().decide(item, body)
}

#[test]
fn label_that_imitates_another_is_refused_in_words() {
    let gateway = Gateway::start();
    let agent = gateway.agent_with("coder", &[]);
    let first = card(
        &gateway,
        &propose(&agent, &manifest("coco", "Coco", &["Read"])),
    );
    approve(&gateway, &first).expect_ok();
    // An agent that sees the other source has the answer at once.
    for (source, label) in [("other", "Сосо"), ("c0c0", "Other")] {
        let refused = propose(&agent, &manifest(source, label, &["Read"]));
        assert_eq!(refused["ok"], false, "{refused}");
        let why = refused["reason"].to_string();
        assert_contains(&why, "looks like the source coco: choose another");
    }
    let stranger = gateway.agent_as(json!({
        "agentId": "stranger", "capabilities": [], "reach": "selected",
    }));
    // All of it Cyrillic, which only this machine's sources tell from an honest label: the owner's card does.
    let imitation = card(
        &gateway,
        &propose(&stranger, &manifest("other", "Сосо", &["Read"])),
    );
    let why = imitation["problems"].to_string();
    for part in ["looks like the source coco", "choose another"] {
        assert!(why.contains(part), "{part}: {imitation}");
    }
    assert!(imitation["cardDigest"].is_null(), "{imitation}");
    approve(&gateway, &imitation).expect_error(409, "plan_failed");
    // Nobody is asked about what cannot be added.
    let id = imitation["pendingId"].as_str().expect("an id");
    let asked = gateway.cli(["approvals", "approve", id, "--yes"]);
    assert_contains(&asked.expect_status(77).stderr, "it cannot be added: ");
    let id = card(
        &gateway,
        &propose(&stranger, &manifest("c0c0", "Other", &["Read"])),
    );
    assert_contains(&id["problems"].to_string(), "looks like the source coco");
    // Mixed scripts, and two labels of one manifest, are seen without it.
    for (label, capabilities, says) in [
        ("Саlendar", &["Read"][..], "write it in one script"),
        ("Fine", &["Rеad"], "write it in one script"),
        ("Fine", &["Coco", "Сосо"], "looks like"),
    ] {
        let refused = propose(&agent, &manifest("third", label, capabilities));
        assert_eq!(refused["ok"], false, "{label}: {refused}");
        let why = refused["reason"].as_str().expect("words");
        assert!(why.contains(says), "{label}: {why}");
    }
    // The control: honest labels in their own scripts.
    for (source, label) in [
        ("cyrillic", "Календарь"),
        ("japanese", "日本語メモ Notes"),
        ("german", "Größenübersicht"),
        ("korean", "한국어 노트"),
    ] {
        let honest = card(
            &gateway,
            &propose(&agent, &manifest(source, label, &[label])),
        );
        assert!(honest["cardDigest"].is_string(), "{honest}");
        approve(&gateway, &honest).expect_ok();
    }
    // The one that is there is changed under its own label.
    let mut changed = manifest("coco", "Coco", &["Read", "Read more"]);
    changed["capabilities"][0]["describe"] = json!("Works well.");
    let changed = card(&gateway, &propose(&agent, &changed));
    approve(&gateway, &changed).expect_ok();
    // The owner's own label is compared on the owner's card alone.
    let set = ["sources", "set", "coco", "--label", "Lawyer", "--yes"];
    gateway.cli(set).expect_ok();
    let reply = propose(&agent, &manifest("other", "Lawyer", &["Read"]));
    let problems = card(&gateway, &reply)["problems"].to_string();
    assert_contains(&problems, "looks like the source coco");
    // A proposal that is refused anyway is not compared.
    for label in ["Lawyer", "Coco"] {
        let faulty = manifest("another", label, &["Read"]);
        let body = json!({"manifest": faulty, "folders": {"undeclared": "/"}});
        let refused = agent.client().post("/extensions", body).json();
        assert_eq!(refused["ok"], false, "{refused}");
        assert_lacks(&refused["reason"].to_string(), "looks like");
    }
}
