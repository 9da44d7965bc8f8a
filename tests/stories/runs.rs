//! Calls that go on without their caller.

use crate::house::{COUNT, House, READ, WRITE, Workshop, nobody, note, report};
#[cfg(target_os = "linux")]
use plexus_tests::Fault;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Client, Clock, Gateway};
use serde_json::{Value, json};

const LONG: &str = "fixture.long";

fn start(agent: &Agent, ms: u64) -> Value {
    let reply = agent.invoke_body(json!({"id": LONG, "input": {"ms": ms}, "async": true}));
    reply.expect_status(202);
    reply.json()["run"].clone()
}

fn finished(client: &Client, run: &Value) -> Value {
    let path = format!(
        "/invoke/status?runId={}",
        run["runId"].as_str().expect("an id")
    );
    until("the end of a run", || {
        let status = client.get(&format!("{path}&wait=30")).expect_ok();
        (status["status"] != "running").then_some(status)
    })
}

#[test]
fn a_run_is_accepted_followed_and_collected() {
    let (workshop, agent) = Workshop::with_reader("one");
    let accepted = agent.invoke_body(json!({"id": LONG, "input": {"ms": 300}, "async": true}));
    accepted.expect_status(202);
    assert_eq!(accepted.at("/ok"), true);
    assert!(accepted.at("/output").is_null());
    let run = accepted.at("/run");
    assert!(
        run["runId"]
            .as_str()
            .is_some_and(|id| id.starts_with("run_"))
    );
    assert_eq!(run["status"], "running");
    let url = run["statusUrl"].as_str().expect("a URL");
    assert_eq!(
        url,
        format!(
            "{}/invoke/status?runId={}",
            workshop.gateway.base(),
            run["runId"].as_str().expect("an id")
        )
    );

    let status = finished(&agent.client(), &run);
    assert_eq!(status["status"], "succeeded");
    assert_eq!(status["id"], LONG);
    assert_eq!(status["result"]["ok"], true);
    assert_eq!(status["result"]["output"], json!({"waited": 300}));
    assert!(status["finishedAt"].is_string());
    // Reading is repeatable, from a new session and for the owner.
    assert_eq!(finished(&agent.another_session().client(), &run), status);
    assert_eq!(
        finished(&workshop.owner().client, &run)["result"],
        status["result"]
    );
}

#[test]
fn run_result_outlives_a_restart() {
    let (mut workshop, writer) = Workshop::with_writer("two");
    let reader = workshop.reader("one");
    let effect = writer.invoke_body(json!({"id": COUNT, "input": {"line": "kept"}, "async": true}));
    effect.expect_status(202);
    let runs = [start(&reader, 1), effect.at("/run")];
    let before = [
        finished(&reader.client(), &runs[0]),
        finished(&writer.client(), &runs[1]),
    ];
    workshop.gateway.restart();
    let back = [workshop.back(&reader), workshop.back(&writer)];
    for ((agent, run), before) in back.iter().zip(&runs).zip(&before) {
        let after = finished(&agent.client(), run);
        for member in ["status", "result", "finishedAt", "startedAt"] {
            assert_eq!(after[member], before[member], "{member}");
        }
    }
    assert_eq!(workshop.effects(), ["kept"], "it was not done again");
    // Another agent does not get it, nor the same after a revoke of what it was read by.
    let path = format!(
        "/invoke/status?runId={}",
        runs[0]["runId"].as_str().expect("an id")
    );
    back[1]
        .client()
        .get(&path)
        .expect_error(403, "session_expired");
    workshop.owner().revoke("one", LONG);
    let withheld = back[0].client().get(&path).expect_ok();
    assert_eq!(
        withheld["result"]["error"]["code"], "grant_required",
        "{withheld}"
    );
}

#[test]
fn who_may_read_a_run() {
    let workshop = Workshop::open();
    let (one, two) = (workshop.reader("one"), workshop.reader("two"));
    let run = start(&one, 1);
    finished(&one.client(), &run);
    let id = run["runId"].as_str().expect("an id");
    let path = format!("/invoke/status?runId={id}");
    let unknown = format!("/invoke/status?runId={}", nobody("run_"));
    let answers = [
        workshop.gateway.client().get(&path),
        two.client().get(&path),
        one.bearing(&one.pat).get(&path),
        one.client().get(&unknown),
        one.client().get("/invoke/status"),
    ];
    for answer in &answers {
        let error = answer.expect_error(403, "session_expired");
        assert_eq!(
            error["message"],
            answers[0].at("/error/message"),
            "one answer for all"
        );
    }
    let token = one.token(&["fixture.echo"]);
    one.bearing(&token).get(&path).expect_ok();

    // A revoked token reads no run, and the run goes on.
    let token = one.token(&[LONG]);
    let bearing = one.bearing(&token);
    let reply = bearing.post(
        "/invoke",
        json!({"id": LONG, "input": {"ms": 400}, "async": true}),
    );
    reply.expect_status(202);
    let path = format!("/invoke/status?runId={}", reply.text_at("/run/runId"));
    bearing.get(&path).expect_ok();
    bearing.must_post("/grants/revoke", json!({"jti": token["jti"]}));
    bearing.get(&path).expect_error(403, "session_expired");
    assert_eq!(
        finished(&one.client(), &reply.at("/run"))["status"],
        "succeeded"
    );
}

#[test]
fn a_run_that_fails() {
    let (_workshop, agent) = Workshop::with_reader("one");
    let reply = agent.invoke_body(
        json!({"id": "fixture.fail", "input": {"reason": "not_found"}, "async": true}),
    );
    reply.expect_status(202);
    let status = finished(&agent.client(), &reply.at("/run"));
    assert_eq!(status["status"], "failed");
    assert_eq!(status["result"]["error"]["code"], "transport_error");
    assert_eq!(status["result"]["error"]["detail"]["reason"], "not_found");
}

#[test]
fn refusals_are_inline() {
    let (_house, agent) = House::with_reader("one");
    let call = |id: &str, input: Value| {
        agent.invoke_body(json!({"id": id, "input": input, "async": true}))
    };
    call("nope.read", json!({})).expect_error(404, "unknown_capability");
    call(READ, json!({})).expect_error(422, "schema_validation_failed");
    call(WRITE, note("a.txt", "a")).expect_error(401, "approval_required");
    // Only true is true.
    for word in [json!("yes"), json!(1), json!(false)] {
        let reply = agent.invoke_body(json!({"id": READ, "input": report(), "async": word}));
        reply.expect_status(200);
        assert_eq!(reply.at("/output/content"), "first line\n");
    }
    // A session alone opens a run as well (E30).
    let opened = call(READ, report());
    opened.expect_status(202);
    assert!(opened.at("/grant/token").is_string(), "{opened}");
    assert_eq!(opened.at("/grant/scopes/0/id"), READ);
}

#[test]
fn eight_runs_at_once() {
    let (workshop, agent) = Workshop::with_reader("one");
    // What the gateway makes for an approval is none of them.
    let input = json!({"text": "x", "pieces": 1, "until": "never"});
    let approved = json!({"id": "fixture.stream", "input": input, "onApproval": "run"});
    let item = agent.invoke_body(approved).text_at("/error/pendingId");
    workshop.owner().approve(&item, "once");
    let path = format!("/grants/status?pendingId={item}&wait=20&run=1");
    let status = agent.client().get(&path).expect_ok();
    assert_eq!(status["run"]["status"], "running", "{status}");
    let runs: Vec<Value> = (0..8).map(|_| start(&agent, 5_000)).collect();
    agent
        .invoke_body(json!({"id": LONG, "input": {"ms": 1}, "async": true}))
        .expect_error(429, "rate_limited");
    agent.must("fixture.echo", json!({"text": "still here"}));
    start(&workshop.reader("two"), 1);
    assert_eq!(runs.len(), 8);
}

/// While an effect runs, its key gives the run, as it is now; afterwards what became of it.
#[test]
fn the_key_of_a_run_knows_how_its_effect_ended() {
    let (workshop, agent) = Workshop::with_writer("one");
    let input = json!({"line": "a", "wait": 3_000});
    let body = json!({"id": COUNT, "input": input, "async": true, "idempotencyKey": "k"});
    let first = agent.invoke_body(body.clone());
    first.expect_status(202);
    until_true("the effect to be under way", || {
        workshop.folder.has("begun")
    });
    let again = agent.invoke_body(body.clone());
    again.expect_status(202);
    assert_eq!(again.at("/replayed"), true, "{again}");
    assert_eq!(again.at("/run/runId"), first.at("/run/runId"));
    assert_eq!(again.at("/run/startedAt"), first.at("/run/startedAt"));
    assert_ne!(again.at("/run/expiresAt"), first.at("/run/expiresAt"));
    let status = finished(&agent.client(), &first.at("/run"));
    assert_eq!(status["status"], "succeeded", "{status}");
    let again = agent.invoke_body(body).expect_ok();
    assert_eq!(again["replayed"], true, "{again}");
    for member in ["auditId", "output"] {
        assert_eq!(again[member], status["result"][member], "{member}");
    }
    assert_eq!(workshop.effects(), ["a"]);
}

/// Nothing was done in the run: the same call may be made again under its key, or another one.
#[test]
fn a_run_that_was_refused_leaves_its_key_free() {
    let (house, agent) = House::with_reader("one");
    house.owner().grant("one", WRITE, "1h").expect_ok();
    let write = |text: &str| {
        let input = note("report.txt", text);
        let reply = agent.invoke_body(
            json!({"id": WRITE, "input": input, "async": true, "idempotencyKey": "k"}),
        );
        reply.expect_status(202);
        finished(&agent.client(), &reply.at("/run"))
    };
    for text in ["one", "one", "two"] {
        let refused = write(text);
        assert_eq!(
            refused["result"]["error"]["detail"]["reason"], "unread",
            "{refused}"
        );
    }
    agent.must(READ, report());
    assert_eq!(write("two")["status"], "succeeded");
    assert_eq!(house.workspace.read("report.txt"), "two");
}

/// A read that ran is made again once its run is forgotten: its handle leads nowhere.
#[test]
fn a_key_leads_to_no_run_that_is_forgotten() {
    let clock = Clock::new();
    let workshop = Workshop::with(Gateway::builder().fixture().clock(&clock));
    let agent = workshop.reader("one");
    let body = json!({"id": LONG, "input": {"ms": 1}, "async": true, "idempotencyKey": "k"});
    let first = agent.invoke_body(body.clone());
    first.expect_status(202);
    finished(&agent.client(), &first.at("/run"));
    let ended = agent.invoke_body(body.clone());
    ended.expect_status(202);
    assert_eq!(ended.at("/run/runId"), first.at("/run/runId"));
    assert_eq!(ended.at("/run/status"), "succeeded", "{ended}");
    clock.show("+25h");
    let agent = agent.another_session();
    let anew = agent.invoke_body(body);
    anew.expect_status(202);
    assert_ne!(anew.at("/run/runId"), first.at("/run/runId"), "{anew}");
    assert_eq!(
        finished(&agent.client(), &anew.at("/run"))["status"],
        "succeeded"
    );
}

/// What a run read is given for as long as its agent may still have it: what the owner takes back ends that, a pause for as
/// long as it lasts.
#[test]
fn narrowed_run_result_is_withheld() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let read = || {
        let input = report();
        let reply = agent.invoke_body(json!({"id": READ, "input": input, "async": true}));
        reply.expect_status(202);
        reply.at("/run")
    };
    let result = |run: &Value| finished(&agent.client(), run)["result"].clone();
    let is_given = |run: &Value| {
        let result = result(run);
        assert_eq!(result["output"]["content"], "first line\n", "{result}");
    };
    let is_withheld = |run: &Value, code: &str| {
        let result = result(run);
        assert_eq!(result["error"]["code"], code, "{result}");
        assert!(result.get("output").is_none(), "{result}");
        // The owner's own look shows it all the same.
        let seen = finished(&owner.client, run);
        assert!(seen["result"]["output"].is_object(), "{seen}");
    };
    let post = |path: &str, body: Value| owner.post(path, body).expect_ok();

    let run = read();
    is_given(&run);
    post("/admin/api/pause", json!({"on": true}));
    is_withheld(&run, "paused");
    post("/admin/api/pause", json!({"on": false}));
    is_given(&run);

    owner.expose(READ, false);
    is_withheld(&run, "grant_required");
    owner.expose(READ, true);
    is_given(&run);

    owner.revoke("one", READ);
    is_withheld(&run, "grant_required");
    // Nor does another permission give what was read under the one before.
    owner.grant("one", READ, "1h").expect_ok();
    is_withheld(&run, "grant_required");

    let run = read();
    is_given(&run);
    post(
        "/admin/api/sources/workspace/hide",
        json!({"globs": ["report*"]}),
    );
    is_withheld(&run, "grant_required");
}

/// One approved call has no grant of its own that could be missed: its revoke counts all the same.
#[test]
fn revoked_once_run_result_is_withheld() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let input = report();
    let item = agent.must_ask(READ, input.clone());
    owner.approve(&item, "once");
    let reply = agent.invoke_body(json!({"id": READ, "input": input, "async": true}));
    reply.expect_status(202);
    let result = || finished(&agent.client(), &reply.at("/run"))["result"].clone();
    assert_eq!(result()["ok"], true, "the control");
    let revoke = json!({"agentId": "one", "capabilityId": READ});
    let revoked = owner.post("/admin/api/revoke", revoke);
    // No grant is left to remove: the call was its last.
    assert_eq!(revoked.expect_status(200).at("/grantRemoved"), false);
    assert_eq!(result()["error"]["code"], "grant_required");
}

/// A revoke that could not be saved counts like one that was.
#[cfg(target_os = "linux")]
#[test]
fn unsaved_revoke_withholds_run_result() {
    let disk = Fault::read_only_disk();
    let house = House::with(|builder| builder.fault(&disk));
    let agent = house.reader("one");
    let input = report();
    let reply = agent.invoke_body(json!({"id": READ, "input": input, "async": true}));
    reply.expect_status(202);
    let result = || finished(&agent.client(), &reply.at("/run"))["result"].clone();
    assert_eq!(result()["ok"], true, "the control");
    disk.begin();
    let revoked = house.owner().post(
        "/admin/api/revoke",
        json!({"agentId": "one", "capabilityId": READ}),
    );
    revoked.expect_error(503, "audit_unavailable");
    assert_eq!(result()["error"]["code"], "grant_required");
}
