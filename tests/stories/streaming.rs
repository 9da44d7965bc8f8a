//! What a long effect streams while it is under way, and how it is cancelled.

use crate::house::Workshop;
use plexus_protocol::Digest;
use plexus_tests::texts::{assert_contains, assert_like};
use plexus_tests::waiting::{PATIENCE, until, until_true};
use plexus_tests::{Agent, Terminal};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

const STREAM: &str = "fixture.stream";

/// The code of an agent whose streaming effect stands.
fn code(workshop: &Workshop, id: &str) -> String {
    let connected = workshop
        .owner()
        .connect_as(json!({"agentId": id, "capabilities": [STREAM], "standing": [STREAM]}))
        .expect_ok();
    connected["code"].as_str().expect("a code").to_owned()
}

fn streamer(workshop: &Workshop, id: &str) -> Agent {
    Agent::enroll(&workshop.gateway.client(), &code(workshop, id))
}

fn start(agent: &Agent, input: Value) -> String {
    let reply = agent.invoke_body(json!({"id": STREAM, "input": input, "async": true}));
    reply.expect_status(202);
    reply.at("/run/runId").as_str().expect("a run").to_owned()
}

/// One look at what a run streams.
fn look(agent: &Agent, run: &str, after: u64) -> Value {
    let path = format!("/invoke/status?runId={run}&after={after}&wait=20");
    agent.client().get(&path).expect_ok()
}

fn text_of(status: &Value) -> String {
    let chunks = status["progress"]["chunks"].as_array();
    let text = |chunk: &Value| chunk["text"].as_str().unwrap_or_default().to_owned();
    chunks.into_iter().flatten().map(text).collect()
}

/// Follows a run to its end: all that it streamed, and its last status.
fn follow(agent: &Agent, run: &str) -> (String, Value) {
    let (mut after, mut text) = (0, String::new());
    let status = until("the end of a run", || {
        let status = look(agent, run, after);
        text.push_str(&text_of(&status));
        after = status["progress"]["next"].as_u64().unwrap_or(after);
        (status["status"] != "running").then_some(status)
    });
    (text, status)
}

/// The owner sees what any call says, one that its caller waits for too, and is told when it is over.
#[test]
fn the_owner_sees_what_a_call_says() {
    let workshop = Workshop::open();
    let agent = streamer(&workshop, "one");
    let owner = workshop.owner().client;
    let said = |call: &str, after: u64| {
        let path = format!("/admin/api/calls/{call}?after={after}&wait=20");
        owner.get(&path)
    };
    std::thread::scope(|scope| {
        let input = json!({"text": "hé", "pieces": 2, "until": "go"});
        let waits = scope.spawn(|| agent.invoke(STREAM, input));
        let call = until("the last words of the call", || {
            let calls = owner.get("/admin/api/calls").expect_ok();
            let call = &calls["calls"][0];
            (call["says"] == "1 hé").then(|| call["id"].as_str().expect("an id").to_owned())
        });
        let first = said(&call, 0).expect_ok();
        assert_eq!(text_of(&first), "0 hé\n1 hé\n", "{first}");
        assert_like(&first, &json!({"over": false, "capabilityId": STREAM}));
        let next = first["progress"]["next"].as_u64().expect("an offset");
        let (said, of) = (&said, call.clone());
        let end = scope.spawn(move || said(&of, next));
        workshop.folder.write("go", "");
        waits.join().expect("a caller").expect_ok();
        let end = end.join().expect("an owner");
        // Not found, where the call was over before the owner asked.
        if end.status == 200 {
            assert_eq!(end.json()["over"], true, "{end}");
        } else {
            end.expect_error(404, "not_found");
        }
        said(&call, 0).expect_error(404, "not_found");
    });
    // What a run said is there as long as its answer is.
    let run = start(&agent, json!({"text": "ho", "pieces": 2}));
    let (text, _) = follow(&agent, &run);
    let kept = said(&run, 0).expect_ok();
    assert_eq!(
        (&kept["over"], text_of(&kept)),
        (&json!(true), text),
        "{kept}"
    );
    let line = ["calls", "follow", &run];
    let shown = workshop.gateway.cli(line);
    assert_eq!(
        shown.expect_ok(),
        "it is over; see what was done: plexusctl activity\n",
        "{shown:?}"
    );
    assert_eq!(shown.stderr, "0 ho\n1 ho\n", "{shown:?}");
    // One that waits for the owner is not over.
    let asks = workshop
        .owner()
        .connect_as(json!({"agentId": "two", "capabilities": [STREAM]}))
        .expect_ok();
    let code = asks["code"].as_str().expect("a code");
    let asks = Agent::enroll(&workshop.gateway.client(), code);
    let input = |text: &str| json!({"text": text, "pieces": 1});
    let run = json!({"id": STREAM, "input": input("ha"), "onApproval": "run"});
    let run = asks.invoke_body(run).text_at("/error/pendingId");
    // A call that is left to the agent is no run.
    let left = asks.must_ask(STREAM, input("hi"));
    for (item, why) in [
        (run, "This run has not begun: it waits for you."),
        (left, "This request waits for you: no call comes of it"),
    ] {
        let waits = workshop.gateway.cli(["calls", "follow", &item]);
        assert_contains(&waits.stderr, why);
        assert_contains(&waits.stderr, &format!("plexusctl approvals show {item}"));
    }
}

/// Waits until a run has streamed something.
fn under_way(agent: &Agent, run: &str) {
    let status = look(agent, run, 0);
    assert!(status["progress"]["next"].as_u64() > Some(0), "{status}");
}

fn outcome(workshop: &Workshop) -> Value {
    until("an outcome", || {
        workshop.calls(STREAM, "outcome").first().cloned()
    })
}

#[test]
fn stream_reaches_its_follower_in_order() {
    let workshop = Workshop::open();
    let agent = streamer(&workshop, "one");
    let events = agent.events();
    let run = start(&agent, json!({"text": "hé", "pieces": 4, "until": "go"}));
    let told = events.wait_for("invoke_progress");
    assert_eq!(
        (told["runId"].as_str(), told["id"].as_str()),
        (Some(&*run), Some(STREAM))
    );
    let expected = "0 hé\n1 hé\n2 hé\n3 hé\n";
    let all = until("all of it", || {
        let status = look(&agent, &run, 0);
        (text_of(&status) == expected).then_some(status)
    });
    assert_eq!(all["status"], "running");
    let next = all["progress"]["next"].as_u64().expect("an offset");
    assert_eq!(next, expected.len() as u64);
    assert_eq!(text_of(&look(&agent, &run, 6)), "1 hé\n2 hé\n3 hé\n");

    workshop.folder.write("go", "");
    let (text, ended) = follow(&agent, &run);
    assert_eq!(text, expected);
    assert_eq!(ended["result"]["output"], json!({"pieces": 4}));
    let outcome = outcome(&workshop);
    let digest = Digest::of(expected.as_bytes()).to_string();
    assert_eq!(
        outcome["detail"]["progress"],
        json!({"bytes": expected.len(), "digest": digest})
    );
    // The control: a call that streams nothing says nothing of it.
    let silent = start(&agent, json!({"text": "", "pieces": 0}));
    follow(&agent, &silent);
    let outcomes = until("both", || {
        let outcomes = workshop.calls(STREAM, "outcome");
        (outcomes.len() == 2).then_some(outcomes)
    });
    assert!(
        outcomes[0]["detail"].get("progress").is_none(),
        "{}",
        outcomes[0]
    );
}

/// Who has seen the beginning and looks no more holds the worker up, for a while; and no more than a mebibyte is kept.
#[test]
fn slow_follower_slows_the_worker() {
    let workshop = Workshop::open();
    let agent = streamer(&workshop, "one");
    let text = "x".repeat(15_000);
    let run = start(&agent, json!({"text": text, "pieces": 160}));
    let first = look(&agent, &run, 0);
    let next = first["progress"]["next"].as_u64().expect("an offset");
    let taken = || workshop.folder.read("streamed").parse::<u64>().unwrap_or(0);
    // As far as it gets unread: half a mebibyte, and what may be on its way beyond.
    let most = (next + 640 * 1024) / 15_000 + 2;
    until_true("it is held up", || taken() * 15_000 > next + 512 * 1024);
    assert!(taken() <= most, "{} pieces, {most} at most", taken());
    // It goes on as soon as it is read.
    let (_, ended) = follow(&agent, &run);
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let late = look(&agent, &run, 0);
    let from = late["progress"]["from"].as_u64().expect("an offset");
    assert!(
        from > 1024 * 1024,
        "the beginning is no longer kept: {from}"
    );
}

#[test]
fn cancelled_run_says_what_was_done() {
    let workshop = Workshop::open();
    let agent = streamer(&workshop, "one");
    let cancel = |run: &str| {
        let reply = agent.client().post("/invoke/cancel", json!({"runId": run}));
        reply.expect_status(202);
    };
    let run = start(
        &agent,
        json!({"text": "half", "pieces": 2, "until": "never"}),
    );
    under_way(&agent, &run);
    cancel(&run);
    cancel(&run);
    let (_, ended) = follow(&agent, &run);
    assert_eq!(ended["status"], "failed");
    let error = &ended["result"]["error"];
    assert_like(error, &json!({"code": "cancelled", "effect": "partial"}));
    assert_eq!(error["message"], "You cancelled it.");
    let outcome = outcome(&workshop);
    assert_eq!(outcome["outcome"], "error");
    for (member, value) in [
        ("code", "cancelled"),
        ("effect", "partial"),
        ("reason", "agent"),
    ] {
        assert_eq!(outcome["detail"][member], value, "{outcome}");
    }
    // The control: an effect whose source does not heed it is carried to its end, and says so.
    let whole = json!({"text": "whole", "pieces": 2, "until": "go", "stubborn": true});
    let run = start(&agent, whole);
    under_way(&agent, &run);
    cancel(&run);
    workshop.folder.write("go", "");
    let (_, ended) = follow(&agent, &run);
    assert_eq!(ended["result"]["output"], json!({"pieces": 2}));
    cancel(&run);
    assert_eq!(follow(&agent, &run).1["status"], "succeeded", "it is over");
}

#[test]
fn only_its_agent_cancels_a_run() {
    let workshop = Workshop::open();
    let (agent, other) = (streamer(&workshop, "one"), streamer(&workshop, "two"));
    let run = start(
        &agent,
        json!({"text": "mine", "pieces": 1, "until": "never"}),
    );
    under_way(&agent, &run);
    let body = json!({"runId": run});
    for client in [
        workshop.gateway.client(),
        other.client(),
        agent.bearing(&agent.pat),
    ] {
        client
            .post("/invoke/cancel", body.clone())
            .expect_error(403, "session_expired");
    }
    assert_eq!(look(&agent, &run, 0)["status"], "running");
    agent
        .another_session()
        .client()
        .post("/invoke/cancel", body)
        .expect_status(202);
    assert_eq!(
        follow(&agent, &run).1["result"]["error"]["code"],
        "cancelled"
    );
}

#[test]
fn pause_and_revoke_cancel_effects() {
    let workshop = Workshop::open();
    let (one, two) = (streamer(&workshop, "one"), streamer(&workshop, "two"));
    let input = json!({"text": "a", "pieces": 1, "until": "never"});
    let [run, other] = [&one, &two].map(|agent| start(agent, input.clone()));
    under_way(&one, &run);
    under_way(&two, &other);
    workshop.owner().revoke("one", STREAM);
    let path = format!("/invoke/status?runId={run}&wait=20");
    let ended = one.client().get(&path).expect_ok();
    assert_eq!(ended["result"]["error"]["code"], "cancelled", "{ended}");
    assert_eq!(ended["result"]["error"]["effect"], "partial");
    // What it streamed is not given any more.
    let after = one.client().get(&format!("{path}&after=0")).expect_ok();
    assert!(after.get("progress").is_none(), "{after}");
    // The control: another agent's goes on, until all are paused.
    assert_eq!(look(&two, &other, 0)["status"], "running");
    let pause = |on: bool| {
        let body = json!({ "on": on });
        workshop.owner().post("/admin/api/pause", body).expect_ok();
    };
    pause(true);
    let outcome = until("its outcome", || {
        let outcomes = workshop.calls(STREAM, "outcome");
        outcomes.into_iter().find(|event| event["agentId"] == "two")
    });
    assert_eq!(outcome["detail"]["reason"], "pause", "{outcome}");
    pause(false);
}

#[test]
fn owner_lists_and_stops_calls() {
    let workshop = Workshop::open();
    let agent = streamer(&workshop, "one");
    let none = workshop.gateway.cli(["calls"]);
    assert!(none.expect_ok().contains("no call is running"), "{none}");
    let run = start(&agent, json!({"text": "a", "pieces": 1, "until": "never"}));
    under_way(&agent, &run);
    let listed = workshop.gateway.cli(["calls", "list"]);
    let shown = listed.expect_ok();
    assert_contains(shown, STREAM);
    assert_contains(shown, "one");
    assert_contains(shown, "effect");
    let calls = workshop.gateway.cli(["calls", "list", "--json"]).json();
    let call = &calls["calls"][0];
    assert_eq!(call["runId"], run.as_str());
    let id = call["auditId"].as_str().expect("the event of its intent");
    let stopping = workshop.gateway.cli(["calls", "stop", id]);
    let next = format!("see what was done: plexusctl calls follow {run}");
    assert_contains(stopping.expect_ok(), &next);
    let (_, ended) = follow(&agent, &run);
    assert_eq!(ended["result"]["error"]["message"], "The owner stopped it.");
    let gone = workshop.gateway.cli(["calls", "stop", id]);
    gone.expect_status(1);
    assert_contains(&gone.stderr, &format!("plexusctl audit show {id}"));
}

#[test]
fn command_prints_the_stream_and_cancels_it() {
    let workshop = Workshop::open();
    let code = code(&workshop, "one");
    workshop
        .gateway
        .plexus("one", ["enroll", &code])
        .expect_ok();
    let words = ["fixture.stream", "text=hello", "pieces=3"];
    let done = workshop.gateway.plexus("one", words);
    assert!(done.expect_ok().contains(r#""pieces": 3"#), "{done}");
    assert_contains(&done.stderr, "0 hello\n1 hello\n2 hello\n");

    let words = words.into_iter().chain(["until=never"]);
    let command = workshop.gateway.plexus_command("one", words);
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.until_shows("2 hello");
    terminal.keys("\u{3}");
    terminal.until_shows("press Ctrl-C again");
    terminal.keys("\u{3}");
    terminal.until_shows("You cancelled it.");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.picture());

    // From another command, by the run's id.
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.until_shows("2 hello");
    let calls = workshop.owner().get("/admin/api/calls").expect_ok();
    let run = calls["calls"][0]["runId"].as_str().expect("a run");
    let said = workshop.gateway.plexus("one", ["cancel", run]);
    assert_contains(said.expect_ok(), &format!("plexus wait {run}"));
    terminal.until_shows("You cancelled it.");
    assert_eq!(terminal.end().code(), Some(1), "{}", terminal.picture());
    let ended = workshop.gateway.plexus("one", ["wait", run]);
    ended.expect_status(1);
    assert!(ended.stderr.contains("You cancelled it."), "{ended}");
    let outcomes = workshop.calls(STREAM, "outcome");
    let partial = |outcome: &&Value| outcome["detail"]["effect"] == "partial";
    assert_eq!(
        outcomes.iter().filter(partial).count(),
        2,
        "both of them: {outcomes:?}"
    );
}

/// The time from a worker's write to its client's eyes. The bound is far from what is measured, for a loaded machine.
#[test]
fn pieces_arrive_as_they_are_made() {
    let workshop = Workshop::open();
    let agent = streamer(&workshop, "one");
    // One run of several is as quick as that, whatever else this machine does.
    until_true("pieces within a tenth of a second", || {
        let late = lateness(&agent);
        assert!(late.len() >= 10, "{late:?}");
        late[late.len() / 2] < Duration::from_millis(100)
    });
}

/// How long each piece of a run was on its way, the shortest first.
fn lateness(agent: &Agent) -> Vec<Duration> {
    let run = start(agent, json!({"text": "", "pieces": 40, "timed": true}));
    let (mut after, mut late, began) = (0, Vec::new(), Instant::now());
    loop {
        let status = look(agent, &run, after);
        assert!(began.elapsed() < PATIENCE, "it does not end: {status}");
        let now = SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("a clock")
            .as_nanos();
        let chunks = status["progress"]["chunks"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if let Some(last) = chunks.last() {
            let at = last["json"]["at"]
                .as_str()
                .and_then(|at| at.parse::<u128>().ok());
            let took = now.saturating_sub(at.expect("a time"));
            late.push(Duration::from_nanos(u64::try_from(took).expect("a while")));
        }
        after = status["progress"]["next"].as_u64().unwrap_or(after);
        if status["status"] != "running" {
            break;
        }
    }
    late.sort();
    late
}
