//! The log: what is in it, what is not, and that it is whole.

use crate::house::{COUNT, House, READ, WRITE, Workshop, note, report};
use plexus_tests::Response;
use plexus_tests::agent::handshake;
use plexus_tests::folders::SAFE_WORD;
use plexus_tests::owner::sequence;
use plexus_tests::texts::{assert_contains, assert_lacks};
use serde_json::json;

#[test]
fn events_are_listed_newest_first() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    for _ in 0..5 {
        agent.must(READ, report());
    }
    let events = owner.audit(1000);
    let sequences: Vec<u64> = events.iter().map(sequence).collect();
    assert!(
        sequences.windows(2).all(|pair| pair[0] > pair[1]),
        "{sequences:?}"
    );
    assert_eq!(owner.audit(3).len(), 3);
    for limit in ["abc", "0", "", "1.5"] {
        let list = owner.must_get(&format!("/admin/api/audit?limit={limit}"));
        assert!(
            list["events"]
                .as_array()
                .is_some_and(|events| events.len() >= 5),
            "{limit}"
        );
    }
    owner
        .get("/admin/api/audit/evt_x")
        .expect_error(404, "not_found");
    assert_eq!(
        owner
            .get(&format!(
                "/admin/api/audit/{}",
                events[0]["id"].as_str().expect("an id")
            ))
            .expect_ok()["event"],
        events[0]
    );
}

/// An effect has two events: what is about to happen, and what happened.
#[test]
fn an_effect_has_an_intent_and_an_outcome() {
    let (workshop, agent) = Workshop::with_writer("one");
    let done = agent.must(COUNT, json!({"line": "one"}));
    let intents = workshop.calls(COUNT, "intent");
    let outcomes = workshop.calls(COUNT, "outcome");
    assert_eq!((intents.len(), outcomes.len()), (1, 1));
    assert_eq!(
        done["auditId"], intents[0]["id"],
        "the answer names the intent"
    );
    assert_contains(
        &outcomes[0].to_string(),
        intents[0]["id"].as_str().expect("an id"),
    );
    assert_eq!(outcomes[0]["outcome"], "ok");
    assert!(sequence(&intents[0]) < sequence(&outcomes[0]));
    let log = workshop.folder.read("effects.log");
    assert!(
        log.starts_with(intents[0]["id"].as_str().expect("an id")),
        "the worker got that id: {log}"
    );
}

/// Credentials that fail leave a trace each, by kind and without their text, and so does asking for another's item (D12).
#[test]
fn failed_credentials_are_in_the_log() {
    let house = House::open();
    let (agent, other) = (house.reader("one"), house.reader("two"));
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let client = house.gateway.client();
    let pat = format!("plx_agent_{}", "P".repeat(43));
    let key = format!("plx_live_{}", "b".repeat(48));
    let (keyed, jwt) = (
        client.with("x-plexus-connection-key", &key),
        "TTTT.TTTT.TTTT",
    );
    let acts: [(u16, &dyn Fn() -> Response); 4] = [
        (401, &|| handshake(&client, &pat)),
        (401, &|| keyed.get("/admin/api/grants")),
        (401, &|| agent.invoke_with(jwt, READ, json!({}))),
        (403, &|| other.status(&item)),
    ];
    let denied = || {
        let mut events = house.owner().audit(1000);
        events.retain(|event| event["outcome"] == "denied");
        events
    };
    for (n, (status, act)) in acts.into_iter().enumerate() {
        let before = denied().len();
        act().expect_status(status);
        assert!(denied().len() > before, "failure {n} left no trace");
    }
    assert!(denied().iter().any(|event| event["type"] == "handshake"));
    for mark in [&pat, &key, jwt] {
        assert_lacks(&json!(denied()).to_string(), mark);
    }

    // So does a call beyond a token.
    let token = agent.token(&[READ]);
    let refused = agent.invoke_with(&token, "workspace.list", json!({}));
    refused.expect_error(401, "grant_required");
    let id = refused.text_at("/auditId");
    let event = house.owner().must_get(&format!("/admin/api/audit/{id}"));
    assert_eq!(event["event"]["outcome"], "denied");
    assert_eq!(event["event"]["detail"]["code"], "grant_required");
}

/// Nothing that an agent read or wrote is in the log, the daemon's talk or an index beside it.
#[test]
fn content_stays_where_it_is() {
    let (mut house, agent) = House::with_reader("one");
    let read = agent.must(READ, json!({"path": "notes/private.md"}));
    assert!(read.to_string().contains(SAFE_WORD));
    agent.must("obsidian.vault.search", json!({"query": "the safe opens"}));
    house.owner().get("/admin/api/audit?limit=1000").expect_ok();
    let stderr = house.gateway.stderr();
    assert!(house.gateway.stop().success());
    assert!(!stderr.contains(SAFE_WORD));
    let mut open = vec![house.gateway.state()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.is_file() {
                let bytes = std::fs::read(&path).expect("a file");
                let found = bytes
                    .windows(SAFE_WORD.len())
                    .any(|word| word == SAFE_WORD.as_bytes());
                assert!(!found, "content in {}", path.display());
            }
        }
    }
}

/// Inputs of the log are digests: nothing is kept, under whatever key it came.
#[test]
fn inputs_are_digests() {
    let (workshop, agent) = Workshop::with_reader("one");
    let input = json!({"ms": 1, "token": "s3cret-token", "passwd": "hunter2", "api_key": "k-123456", "note": "just text"});
    agent.must("fixture.slow", input);
    let event = workshop
        .owner()
        .audited(|event| event["type"] == "invoke" && event["capabilityId"] == "fixture.slow");
    for secret in ["s3cret-token", "hunter2", "k-123456", "just text"] {
        assert!(!event.to_string().contains(secret), "{event}");
    }
}

#[test]
fn the_log_verifies_and_exports() {
    let (house, agent) = House::with_reader("one");
    agent.must(READ, report());
    house.gateway.cli(["audit", "verify"]).expect_ok();
    let export = house.gateway.cli(["audit", "export"]);
    let mut previous = vec![0; 32];
    let mut lines = 0;
    for line in export.expect_ok().lines() {
        let (hash, event) = line.split_once(' ').expect("a hash, one space, the JSON");
        let chained = [previous.as_slice(), event.as_bytes()].concat();
        let digest = plexus_protocol::Digest::of(&chained);
        assert_eq!(hash, digest.to_string(), "line {lines}");
        assert!(event.starts_with(r#"{"seq":"#), "{event}");
        previous = digest.0.to_vec();
        lines += 1;
    }
    assert!(lines > 5);
    let dash = house.gateway.cli(["audit", "export", "-"]);
    assert!(dash.expect_ok().lines().count() >= lines, "{dash}");
    let file = house.gateway.home().join("export");
    let line = ["audit", "export", file.to_str().expect("text")];
    house.gateway.cli(line).expect_ok();
    let kept = std::fs::read_to_string(&file).expect("text");
    assert!(kept.starts_with(export.expect_ok()), "{kept}");
    let again = house.gateway.cli(line);
    assert_contains(&again.expect_status(64).stderr, "choose another name");
}
