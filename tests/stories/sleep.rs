//! Eight hours of sleep, and a clock that is set: what counts wall time ends, what counts awake time goes on.

use crate::house::{House, READ, WRITE, Workshop, note, report};
use plexus_tests::{Agent, Gateway, Machine, texts::assert_contains};
use serde_json::json;

const HOUR: i64 = 3_600;

fn house() -> (House, Machine) {
    let machine = Machine::new();
    let house = House::with(|builder| builder.machine(&machine));
    (house, machine)
}

/// Windows, codes, sessions and tokens end with the night; a longer window, a waiting item and a PAT do not.
#[test]
fn eight_hours_of_sleep_end_what_counts_wall_time() {
    let (house, machine) = house();
    let owner = house.owner();
    let agent = house.gateway.agent("one");
    let code = owner.connect("two", &[]);
    owner.grant("one", READ, "1h").expect_ok();
    owner.grant("one", "workspace.list", "1d").expect_ok();
    let token = agent.token(&[READ]);
    let waiting = agent.must_ask(WRITE, note("a.txt", "a"));
    agent.must(READ, report());

    machine.sleep(8 * HOUR);

    agent.must_fail(READ, report(), 401, "session_expired");
    let late = agent.invoke_with(&token, READ, report());
    assert_eq!(late.status, 401, "{late}");
    house
        .gateway
        .client()
        .post("/agents/enroll", json!({"code": code["code"]}))
        .expect_error(401, "code_expired");

    let agent = agent.another_session();
    agent.must_ask(READ, report());
    agent.must("workspace.list", json!({}));
    assert_eq!(agent.status(&waiting).expect_ok()["state"], "pending");
    owner.approve(&waiting, "once");
    agent.must(WRITE, note("a.txt", "a"));
    assert_eq!(house.workspace.read("a.txt"), "a");

    // Items live for a day: two more nights end those that are left.
    let waiting = agent.must_ask(WRITE, note("b.txt", "b"));
    machine.sleep(25 * HOUR);
    let agent = agent.another_session();
    assert_eq!(agent.status(&waiting).expect_ok()["state"], "expired");
}

/// A call's deadline and the worker's probes count awake time: the night passes in the middle of a call, and the call
/// ends as it would have.
#[test]
fn a_call_sleeps_with_the_machine() {
    let machine = Machine::new();
    let workshop = Workshop::with(Gateway::builder().fixture().machine(&machine));
    let agent = workshop.reader("one");
    agent.must("fixture.slow", json!({"ms": 1}));
    let before = workshop.gateway.workers();
    // As a run: its answer says that it is under way.
    let run =
        agent.invoke_body(json!({"id": "fixture.slow", "input": {"ms": 1_500}, "async": true}));
    run.expect_status(202);
    let path = format!("/invoke/status?runId={}&wait=30", run.text_at("/run/runId"));
    machine.sleep(8 * HOUR);
    // The session that began it is over, and that is all.
    let agent = workshop.back(&agent);
    let ended = agent.client().get(&path).expect_ok();
    assert_eq!(ended["status"], "succeeded", "{ended}");
    agent.must("fixture.slow", json!({"ms": 1}));
    let pids = |all: &[plexus_tests::processes::Process]| {
        all.iter().map(|process| process.pid).collect::<Vec<_>>()
    };
    assert_eq!(
        pids(&workshop.gateway.workers()),
        pids(&before),
        "no worker was restarted"
    );
}

/// The wall clock says yesterday; the boot clock says how long it has been.
#[test]
fn a_clock_set_back_lengthens_nothing_while_the_gateway_runs() {
    let (house, machine) = house();
    let agent = house.gateway.agent("one");
    house.owner().grant("one", READ, "1h").expect_ok();
    machine.set_clock(-24 * HOUR);
    agent.must(READ, report());
    machine.sleep(HOUR + 5);
    agent.must_fail(READ, report(), 401, "session_expired");
    let agent = agent.another_session();
    agent.must_ask(READ, report());
}

/// Forward and back again: what ended stays ended, for credentials as for windows.
#[test]
fn a_clock_set_forward_and_back_revives_nothing() {
    let (mut house, machine) = house();
    let owner = house.owner();
    let agent = house.gateway.agent("one");
    let code = owner.connect("two", &[]);
    owner.grant("one", READ, "1h").expect_ok();
    let token = agent.token(&[READ]);
    machine.set_clock(2 * HOUR);
    agent.must_be_signed_out();
    machine.set_clock(0);
    // The owner sees the hour that they give, and not the two more that the gateway is ahead.
    owner.grant("one", "workspace.list", "1h").expect_ok();
    assert_contains(house.gateway.cli(["grants"]).expect_ok(), " min ");
    for restarted in [false, true] {
        if restarted {
            machine.set_clock(-30 * 24 * HOUR);
            house.gateway.restart();
        }
        // Another launch has another port.
        let agent = Agent {
            anonymous: house.gateway.client(),
            ..agent.clone()
        };
        let late = agent.invoke_with(&token, READ, report());
        assert_eq!(late.status, 401, "{late}");
        agent.must_be_signed_out();
        house
            .gateway
            .client()
            .post("/agents/enroll", json!({"code": code["code"]}))
            .expect_error(401, "code_expired");
        house.back(&agent).must_ask(READ, report());
    }
}

/// The gateway is stopped for the night, and the clock is set back meanwhile: the boot clock has counted the night.
#[test]
fn a_clock_set_back_while_the_gateway_is_stopped_lengthens_nothing() {
    let (mut house, machine) = house();
    let agent: Agent = house.gateway.agent("one");
    house.owner().grant("one", READ, "1h").expect_ok();
    house.owner().must_grant("one", "workspace.list", "1d");
    assert!(house.gateway.stop().success(), "a clean stop");
    machine.set_clock(-8 * HOUR);
    machine.sleep(2 * HOUR);
    house.gateway.start_again();
    let agent = house.back(&agent);
    agent.must_ask(READ, report());
    agent.must("workspace.list", json!({}));
}
