//! Streams: who hears what.

use crate::house::{COUNT, House, READ, WRITE, Workshop, note, report};
use plexus_tests::Clock;
use plexus_tests::events::{Events, Frame};
use plexus_tests::texts::assert_lacks;
use plexus_tests::waiting::PATIENCE;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Long enough for a frame that must not come to have come.
const QUIET: Duration = Duration::from_millis(300);

fn kinds(frames: &[Frame]) -> Vec<&str> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Event { kind, .. } => Some(kind.as_str()),
            Frame::Comment(_) => None,
        })
        .collect()
}

/// Every frame up to the first of a kind, and what still comes behind it.
#[track_caller]
fn all_with(stream: &Events, last: &str) -> Vec<Frame> {
    let began = Instant::now();
    let mut frames = Vec::new();
    while !kinds(&frames).contains(&last) {
        // A quiet stream has comments, so that the wait for a frame alone has no end.
        assert!(began.elapsed() < PATIENCE, "no {last} among {frames:#?}");
        frames.push(stream.next_frame());
    }
    frames.extend(stream.rest(QUIET));
    frames
}

#[test]
fn streams_want_a_credential() {
    let (house, agent) = House::with_reader("one");
    let client = house.gateway.client();
    client.get("/events").expect_error(401, "session_expired");
    client.get("/v1/events").expect_error(401, "unauthorized");
    agent
        .client()
        .get("/v1/events")
        .expect_error(401, "unauthorized");
    agent
        .bearing(&agent.pat)
        .get("/events")
        .expect_error(401, "session_expired");

    for stream in [
        agent.events(),
        Events::open(&agent.bearing(&agent.token(&[READ])), "/events"),
    ] {
        assert_eq!(stream.status, 200);
        let header = |name: &str| {
            stream
                .headers
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.as_str())
        };
        assert!(header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")));
        assert_eq!(header("cache-control"), Some("no-cache"));
        assert!(
            matches!(stream.next_frame(), Frame::Comment(_)),
            "the stream opens with a comment"
        );
    }
    assert_eq!(house.owner().events().status, 200);
}

#[test]
fn the_owner_hears_of_items_and_of_events() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let stream = owner.events();
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let added = stream.wait_until("pending_added", |data| {
        data["item"]["pendingId"] == item.as_str()
    });
    assert_eq!(added["type"], "pending_added");
    assert_eq!(added["item"]["kind"], "grant");
    assert_eq!(added["item"]["agentId"], "one");
    assert_eq!(added["item"]["capabilities"], json!([WRITE]));
    owner.deny(&item, "no");
    let resolved = stream.wait_until("pending_resolved", |data| {
        data["pendingId"] == item.as_str()
    });
    assert_eq!(resolved["decision"], "denied");
    let read = agent.must(READ, report());
    let appended = stream.wait_until("audit_appended", |data| data["id"] == read["auditId"]);
    assert_eq!(appended["auditType"], "invoke");
    assert_eq!(appended["capabilityId"], READ);
    assert_eq!(appended["outcome"], "ok");

    // A dead session hears nothing more.
    let stream = agent.events();
    house.owner().revoke_agent("one");
    assert!(stream.ends(), "a dead session hears nothing more");
}

/// D2: an agent hears its own, and no frame carries a token.
#[test]
fn an_agent_hears_its_own() {
    let house = House::open();
    let owner = house.owner();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let (hears_one, hears_two) = (one.events(), two.events());
    let item = one.must_ask(WRITE, note("a.txt", "a"));
    owner.approve(&item, "once");
    let resolved = hears_one.wait_for("grant_resolved");
    assert_eq!(resolved["pendingId"], item.as_str());
    assert_eq!(resolved["decision"], "approved");
    assert!(resolved.get("token").is_none(), "{resolved}");

    let token = one.token(&[READ]);
    // The control: that is how a token begins, and this one is there to be had.
    assert_eq!(token["token"].as_str().map(|jwt| &jwt[..3]), Some("eyJ"));
    assert_lacks(&resolved.to_string(), "eyJ");
    owner.must_post(
        "/grants/revoke",
        json!({"jti": token["jti"], "reason": "done"}),
    );
    let revoked = hears_one.wait_for("token_revoked");
    assert_eq!(revoked["jti"], token["jti"]);
    assert_eq!(revoked["reason"], "done");

    let other = hears_two.rest(QUIET);
    let kinds = kinds(&other);
    for foreign in [
        "grant_resolved",
        "token_revoked",
        "pending_added",
        "audit_appended",
    ] {
        assert!(!kinds.contains(&foreign), "{other:#?}");
    }
}

#[test]
fn changes_of_what_is_seen() {
    let house = House::open();
    let owner = house.owner();
    let narrow = house.narrow("narrow", &[READ]);
    let wide = house.reader("wide");
    let (hears_narrow, hears_wide) = (narrow.events(), wide.events());
    // Frames of grants name no ids.
    let names = |data: &Value| data["changed"].to_string().contains("obsidian.vault.read");
    for exposed in [false, true] {
        owner.expose("obsidian.vault.read", exposed);
        let changed = hears_wide.wait_until("manifest_changed", names);
        assert!(changed["revision"].is_u64(), "{changed}");
    }
    let narrow_frames = hears_narrow.rest(QUIET);
    assert_lacks(&format!("{narrow_frames:?}"), "obsidian.vault.read");
    owner.revoke("narrow", READ);
    hears_narrow.wait_for("manifest_changed");
    // No change, no frame; nor for another's grant.
    owner.expose("obsidian.vault.read", true);
    assert!(!kinds(&hears_wide.rest(QUIET)).contains(&"manifest_changed"));
}

/// E10: the health of a source is told.
#[test]
fn sources_tell_their_state() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    agent.must("obsidian.vault.read", json!({"path": "Ideas.md"}));
    let stream = owner.events();
    let original = house.vault.path();
    let moved = original.with_extension("away");
    std::fs::rename(&original, &moved).expect("the vault moves");
    owner.get("/admin/api/health").expect_ok();
    let of_vault = |data: &Value| data["source"] == "obsidian";
    let status = stream.wait_until("source_status", of_vault);
    assert_eq!(status["available"], false);
    std::fs::rename(&moved, &original).expect("the vault moves back");
    owner.get("/admin/api/health").expect_ok();
    let status = stream.wait_until("source_status", of_vault);
    assert_eq!(status["available"], true);
}

#[test]
fn a_preview_is_in_no_frame() {
    let (workshop, agent) = Workshop::with_reader("one");
    let (owner, stream) = (workshop.owner(), agent.events());
    let owners = owner.events();
    let item = agent.must_ask(COUNT, json!({"line": "a line that only the card shows"}));
    // The control: there is something to keep back.
    let card = owner.card(&item).to_string();
    assert!(card.contains("only the card"), "{card}");
    owner.deny(&item, "no");
    let heard = all_with(&owners, "pending_resolved");
    assert!(kinds(&heard).contains(&"pending_added"), "{heard:#?}");
    for frames in [heard, all_with(&stream, "grant_resolved")] {
        let said = format!("{frames:?}");
        assert!(said.contains(&item), "they tell of this item: {said}");
        assert!(!said.contains("only the card"), "{said}");
    }

    // A run tells its end.
    let stream = agent.events();
    let reply =
        agent.invoke_body(json!({"id": "fixture.long", "input": {"ms": 50}, "async": true}));
    let resolved = stream.wait_for("invoke_resolved");
    assert_eq!(resolved["runId"], reply.at("/run/runId"));
    assert_eq!(resolved["status"], "succeeded");
}

/// Whatever ends a token, its agent hears of it and why, and then no more.
#[test]
fn the_ends_of_tokens_have_reasons() {
    let house = House::open();
    let owner = house.owner();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let tokens = [one.token(&[READ]), two.token(&[READ])];
    let (first, second) = (one.events(), two.events());
    owner.revoke_agent("one");
    owner.must_post("/v1/connection-key/rotate", json!({}));
    for (stream, token, reason) in [
        (first, &tokens[0], "agent revoked"),
        (second, &tokens[1], "connection-key rotated"),
    ] {
        let revoked = stream.wait_for("token_revoked");
        assert_eq!(revoked["jti"], token["jti"]);
        assert_eq!(revoked["reason"], reason);
    }
}

/// A token ends with a grant and with what a source points at, and its agent goes on: it hears of it.
#[test]
fn who_keeps_its_credential_hears_that_a_token_has_gone() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let stream = agent.events();
    for how in ["the grant is revoked", "the source is removed"] {
        let token = agent.token(&[READ]);
        if how == "the grant is revoked" {
            owner.revoke("one", READ);
        } else {
            owner.delete("/admin/api/sources/workspace").expect_ok();
        }
        let jti = token["jti"].as_str().expect("an id");
        stream.wait_until("token_revoked", |data| data["jti"] == jti);
        if how == "the grant is revoked" {
            owner.grant("one", READ, "1d").expect_ok();
        }
    }
}

/// A stream ends with the token or the session that opened it, although its agent has others.
#[test]
fn a_stream_ends_with_what_opened_it() {
    let clock = Clock::new();
    let house = House::with(|builder| builder.clock(&clock));
    let agent = house.reader("one");
    let by_token = || {
        let token = agent.token(&[READ]);
        let bearing = agent.bearing(&token);
        let stream = Events::open(&bearing, "/events");
        assert_eq!(stream.status, 200);
        (token, bearing, stream)
    };
    let by_session = agent.events();
    let (revoked, bearing, hears) = by_token();
    let revoke = json!({"jti": revoked["jti"]});
    bearing.post("/grants/revoke", revoke).expect_ok();
    let end = hears.wait_for("token_revoked");
    assert_eq!(end["jti"], revoked["jti"], "of its own end it hears");
    assert!(hears.ends(), "the token was revoked");

    let (.., hears) = by_token();
    clock.show("+16m");
    assert!(hears.ends(), "the token is over");
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    house.owner().deny(&item, "no");
    by_session.wait_for("grant_resolved");
    clock.show("+61m");
    assert!(by_session.ends(), "the session is over");
}

/// Why a source does not do well is said to the owner, with the path; an agent hears none, and who may not know of the
/// source hears nothing (E17).
#[test]
fn why_a_source_fails_is_said_to_the_owner() {
    let (mut house, agent) = House::with_reader("one");
    let far = house.narrow("far", &["obsidian.vault.read"]);
    house.gateway.restart();
    let (agent, far) = (house.back(&agent), house.back(&far));
    let streams = (house.owner().events(), agent.events(), far.events());
    let original = house.workspace.path();
    let away = original.with_extension("away");
    std::fs::rename(&original, &away).expect("a rename");
    std::os::unix::fs::symlink(&away, &original).expect("a link");
    let path = original.to_string_lossy();
    let refused = agent.invoke(READ, report());
    refused.expect_error(503, "source_unavailable");
    assert!(!refused.text().contains(&*path), "{refused}");
    let of_workspace = |data: &Value| data["source"] == "workspace";
    let reason =
        |stream: &Events| stream.wait_until("source_status", of_workspace)["reason"].to_string();
    // The control: the owner is told which folder it is.
    let words = reason(&streams.0);
    assert!(words.contains(&*path), "{words}");
    let words = reason(&streams.1);
    assert!(!words.contains(&*path), "{words}");
    let heard = format!("{:?}", streams.2.rest(QUIET));
    assert!(!heard.contains("workspace"), "{heard}");

    let (workshop, agent) = Workshop::with_reader("one");
    workshop.folder.write("unopenable", "");
    let refused = agent.invoke("fixture.echo", json!({"text": "x"}));
    refused.expect_error(503, "source_unavailable");
    let said = "told not to open";
    assert!(!refused.text().contains(said), "{refused}");
    let manifest = agent.manifest().to_string();
    assert!(manifest.contains("unavailable"), "{manifest}");
    assert!(!manifest.contains(said), "{manifest}");
    let health = workshop.owner().get("/admin/api/health").expect_ok();
    assert!(health.to_string().contains(said), "{health}");
}
