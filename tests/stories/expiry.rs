//! The passing of time, with a wall clock that the test moves.

use crate::house::{House, READ, WRITE, note, report};
use plexus_tests::owner::approval;
use plexus_tests::{Agent, Clock, texts::assert_contains};
use serde_json::json;

fn house() -> (House, Clock) {
    let clock = Clock::new();
    let house = House::with(|builder| builder.clock(&clock));
    (house, clock)
}

#[test]
fn codes_end_after_a_quarter_of_an_hour() {
    let (house, clock) = house();
    let (first, second) = (
        house.owner().connect("one", &[]),
        house.owner().connect("two", &[]),
    );
    clock.show("+14m");
    Agent::enroll(
        &house.gateway.client(),
        first["code"].as_str().expect("a code"),
    );
    clock.show("+15m1s");
    house
        .gateway
        .client()
        .post("/agents/enroll", json!({"code": second["code"]}))
        .expect_error(401, "code_expired");
}

#[test]
fn sessions_end_after_an_hour() {
    let (house, clock) = house();
    let agent = house.reader("one");
    clock.show("+59m");
    agent.client().get("/manifest").expect_ok();
    let token = agent.token(&[READ]);
    clock.show("+60m1s");
    agent.must_be_signed_out();
    let late = agent.invoke_with(&token, READ, report());
    late.expect_error(401, "session_expired");
    agent.another_session().client().must_get("/manifest");
}

/// A PAT does not end.
#[test]
fn a_credential_outlives_a_year() {
    let (house, clock) = house();
    let agent = house.reader("one");
    clock.show("+400d");
    agent.another_session().client().must_get("/manifest");
}

#[test]
fn windows_end() {
    let (house, clock) = house();
    let agent = house.gateway.agent("one");
    house.owner().grant("one", READ, "1h").expect_ok();
    clock.show("+59m");
    agent.must(READ, report());
    let agent = agent.another_session();
    let token = agent.token(&[READ]);
    clock.show("+60m5s");
    // Neither a token nor a session outlives the window (D4).
    let late = agent.invoke_with(&token, READ, report());
    late.expect_error(401, "token_expired");
    agent.must_ask(READ, report());
    assert!(agent.ledger().is_empty());
}

#[test]
fn windows_end_over_a_restart() {
    let (mut house, clock) = house();
    let agent = house.gateway.agent("one");
    house.owner().grant("one", READ, "1h").expect_ok();
    clock.show("+30m");
    house.gateway.restart();
    let agent = house.back(&agent);
    agent.must(READ, report());
    clock.show("+2h");
    house.gateway.restart();
    house.back(&agent).must_ask(READ, report());
}

/// After two weeks away one act gives the reads that ended again. An effect is renewed by its name, a revoked grant never.
#[test]
fn ended_reads_are_renewed_in_one_act() {
    let (house, clock) = house();
    let owner = house.owner();
    let agent = house.gateway.agent("one");
    let _two = house.gateway.agent("two");
    for (who, capability, window) in [
        ("one", READ, "7d"),
        ("one", "workspace.list", "7d"),
        ("one", WRITE, "1h"),
        ("two", READ, "7d"),
        ("two", "workspace.list", "7d"),
    ] {
        owner.must_grant(who, capability, window);
    }
    owner.revoke("two", "workspace.list");
    clock.show("+14d");
    let listed = house.gateway.cli(["grants"]);
    assert_contains(listed.expect_ok(), "no grants: every call asks");
    assert_contains(listed.expect_ok(), "plexusctl grants renew");
    // The named one alone.
    let renew = |line: &[&str]| {
        house
            .gateway
            .cli([&["grants", "renew", "--yes"], line].concat())
    };
    let named = renew(&["one", READ]);
    assert_contains(named.expect_ok(), "one may use again: workspace.read\n");
    let words = "one may use again: workspace.list\n\
                 two may use again: workspace.read\n";
    assert_contains(renew(&[]).expect_ok(), words);
    let agent = agent.another_session();
    agent.must(READ, report());
    agent.must_ask(WRITE, note("a.txt", "a"));
    assert_contains(
        &renew(&[]).stderr,
        "plexusctl grants renew one workspace.write\n",
    );
    renew(&["one", WRITE]).expect_ok();
    agent.another_session().must(WRITE, note("b.txt", "b"));
    assert_contains(
        &renew(&[]).stderr,
        "no such grant ended in the last 30 days",
    );
}

#[test]
fn items_lapse_after_a_day() {
    let (house, clock) = house();
    let owner = house.owner();
    let agent = house.reader("one");
    let waiting = agent.must_ask(WRITE, note("a.txt", "a"));
    let approved = agent.must_ask(WRITE, note("b.txt", "b"));
    owner.approve(&approved, "once");
    clock.show("+23h");
    let agent = agent.another_session();
    assert_eq!(agent.status(&waiting).expect_ok()["state"], "pending");
    clock.show("+25h");
    let agent = agent.another_session();
    for item in [&waiting, &approved] {
        assert_eq!(agent.status(item).expect_ok()["state"], "expired");
    }
    owner
        .decide(
            &waiting,
            json!({"action": "approve", "trustWindow": {"kind": "once"}}),
        )
        .expect_error(404, "unknown_capability");
    assert!(owner.pending().is_empty());
    agent.must_ask(WRITE, note("b.txt", "b"));
    assert!(!house.workspace.has("b.txt"));
}

#[test]
fn denials_are_forgotten_after_a_month() {
    let (house, clock) = house();
    let agent = house.reader("one");
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    house.owner().deny(&item, "not now");
    clock.show("+29d");
    let agent = agent.another_session();
    agent.must_fail(WRITE, note("a.txt", "a"), 403, "denied_by_owner");
    clock.show("+31d");
    agent.another_session().must_ask(WRITE, note("a.txt", "a"));
}

#[test]
fn a_custom_window_ends_when_it_says() {
    let (house, clock) = house();
    let agent = house.gateway.agent("one");
    let item = agent.must_ask(READ, report());
    let mut minute = approval(&house.owner().card(&item), "custom");
    minute["trustWindow"]["ms"] = json!(60_000);
    house.owner().decide(&item, minute).expect_ok();
    // A token does not outlive its window (D4).
    let token = agent.token(&[READ]);
    assert!(token["expiresAt"].is_string(), "{token}");
    assert_eq!(token["expiresAt"], token["grantExpiresAt"]);
    agent.invoke_with(&token, READ, report()).expect_ok();
    clock.show("+61s");
    let late = agent.invoke_with(&token, READ, report());
    late.expect_error(401, "token_expired");
}

#[test]
fn run_results_are_kept_for_a_day() {
    let (house, clock) = house();
    let agent = house.reader("one");
    let reply =
        agent.invoke_body(json!({"id": READ, "input": {"path": "report.txt"}, "async": true}));
    reply.expect_status(202);
    let path = format!("/invoke/status?runId={}", reply.text_at("/run/runId"));
    let done = agent.client().get(&format!("{path}&wait=30")).expect_ok();
    assert_eq!(done["status"], "succeeded");
    clock.show("+23h");
    house.owner().get(&path).expect_ok();
    clock.show("+25h");
    house
        .owner()
        .get(&path)
        .expect_error(403, "session_expired");
}
