//! What the gateway itself makes of an approval: what it says of a call stays true, whatever comes between.

use crate::house::{COUNT, House, READ, WRITE, Workshop, line, note};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_tests::Agent;
use plexus_tests::events::{Events, Frame};
use plexus_tests::owner::approval;
use plexus_tests::texts::{assert_contains, assert_like};
use plexus_tests::waiting::{until, until_true};
use serde_json::{Value, json};
use std::time::Duration;

fn to_run(text: &str) -> Value {
    json!({"id": COUNT, "input": line(text), "onApproval": "run"})
}

/// Asks for a call that the gateway is to make; gives its item.
fn ask(agent: &Agent, call: &Value) -> String {
    agent.invoke_body(call.clone()).text_at("/error/pendingId")
}

fn pause(owner: &plexus_tests::Owner, on: bool) {
    let body = json!({"on": on});
    owner.post("/admin/api/pause", body).expect_ok();
}

/// It was told that the call was not made: nothing that happens later makes it.
#[test]
fn a_run_that_was_refused_is_not_made_later() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let item = ask(&agent, &to_run("one"));
    let _ = owner.card(&item);
    pause(&owner, true);
    owner.approve(&item, "once");
    // What it is approved for is hidden before it can be run.
    owner.expose(COUNT, false);
    pause(&owner, false);
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(status["result"]["ok"], false, "{status}");
    assert_eq!(status["result"]["error"]["effect"], "none", "{status}");
    // It is not a denial: the owner gave none.
    let record = owner.audited(|event| event["detail"]["event"] == "item.not_made");
    assert_eq!(record["detail"]["item"], item.as_str(), "{record}");
    owner.expose(COUNT, true);
    for on in [true, false] {
        pause(&owner, on);
    }
    workshop.gateway.restart();
    let owner = workshop.owner();
    for on in [true, false] {
        pause(&owner, on);
    }
    let agent = workshop.back(&agent);
    // The control: what is approved now is made, so there was time enough to make the other.
    let other = ask(&agent, &to_run("two"));
    owner.approve(&other, "once");
    let made = agent.status_after(&other, 20).expect_ok();
    assert_eq!(made["result"]["ok"], true, "{made}");
    assert_eq!(workshop.effects(), ["two"]);
    let still = agent.status(&item).expect_ok();
    assert_eq!(still["result"], status["result"], "{still}");
    // By its run too.
    let path = format!("/invoke/status?runId={}", item.replace("pend_", "run_"));
    let run = agent.client().get(&path).expect_ok();
    assert_eq!(run["result"]["error"], still["result"]["error"], "{run}");
}

/// The owner's yes can be recorded, the intent of the call can not: nobody is told an end of it before it has one.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_could_not_be_recorded_stays_due() {
    use crate::house::{WRITE, note};
    use plexus_tests::small_disk::SmallDisk;
    use plexus_tests::{Folder, Gateway};
    let test = "approved_runs::a_run_that_could_not_be_recorded_stays_due";
    SmallDisk::with(test, 40 << 20, |disk| {
        let workspace = Folder::empty_in(disk.path());
        let gateway = Gateway::builder()
            .workspace(&workspace.path())
            .start_in(disk.home());
        let owner = gateway.owner();
        let asking = gateway.agent("asking");
        let call = json!({"id": WRITE, "input": note("asked.md", "may I?"), "onApproval": "run"});
        let item = ask(&asking, &call);
        let card = owner.card(&item);
        let filler = disk.fill();
        until_true("the end of the ledger's own room", || {
            let input = json!({"path": "asked.md"});
            let reply = gateway
                .agent_with("reader", &[])
                .invoke("workspace.read", input);
            reply.at("/error/code") == "audit_unavailable"
        });
        let approve = approval(&card, "once");
        owner.decide(&item, approve).expect_ok();
        let status = asking.status_after(&item, 2).expect_ok();
        assert_eq!(status["state"], "approved", "{status}");
        assert_eq!(status["result"], Value::Null, "{status}");
        // Nor does the same call wait for room.
        asking
            .invoke_body(call)
            .expect_error(503, "audit_unavailable");
        filler.remove().expect("a file");
        // Without another act of anybody.
        let status = until("the run", || {
            let status = asking.status_after(&item, 20).expect_ok();
            (status["result"] != Value::Null).then_some(status)
        });
        assert_eq!(status["result"]["ok"], true, "{status}");
        assert_eq!(workspace.read("asked.md"), "may I?");
    });
}

/// A yes that comes while the gateway stops is not used up by the stop.
#[test]
fn a_yes_during_a_stop_is_run_by_the_next_launch() {
    let mut workshop = Workshop::open();
    let (agent, writer) = (workshop.reader("one"), workshop.writer("two"));
    let owner = workshop.owner();
    let items: Vec<_> = ["one", "two"].map(|text| ask(&agent, &to_run(text))).into();
    let cards: Vec<_> = items.iter().map(|item| owner.card(item)).collect();
    std::thread::scope(|scope| {
        // The stop waits for what is under way.
        let call = scope.spawn(|| writer.invoke(COUNT, json!({"line": "long", "wait": 4_000})));
        until_true("the effect to be under way", || {
            workshop.folder.has("begun")
        });
        let pid = i32::try_from(workshop.gateway.pid()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("our child");
        until_true("the stop", || {
            let reply = agent.invoke("fixture.echo", json!({"text": "x"}));
            reply.status != 200
        });
        for (item, card) in items.iter().zip(&cards) {
            let approve = approval(card, "once");
            owner.decide(item, approve).expect_ok();
        }
        call.join().expect("an answer");
    });
    workshop.gateway.stop();
    assert_eq!(
        workshop.effects(),
        ["long"],
        "the control: they came too late"
    );
    workshop.gateway.start_again();
    let agent = workshop.back(&agent);
    for item in &items {
        let status = agent.status_after(item, 20).expect_ok();
        assert_eq!(status["result"]["ok"], true, "{status}");
    }
    let mut effects = workshop.effects();
    effects.sort();
    assert_eq!(effects, ["long", "one", "two"]);
}

const ECHO: &str = "fixture.echo";

/// Of several calls in one item each has its own answer.
#[test]
fn each_call_of_an_item_gets_its_own_answer() {
    let mut workshop = Workshop::open();
    let owner = workshop.owner();
    let agent = workshop.gateway.agent("one");
    let body = json!({
        "grants": {COUNT: "allow", ECHO: "allow"},
        "intents": {COUNT: {"input": line("one")}, ECHO: {"input": {"text": "said"}}},
        "onApproval": "run",
    });
    let item = agent.client().put("/grants", body).text_at("/pendingId");
    owner.approve(&item, "once");
    let call = |id: &str, input: Value| {
        agent.invoke_body(json!({"id": id, "input": input, "onApproval": "run"}))
    };
    // Each joins its run, or is told what came of it.
    let count = call(COUNT, line("one")).expect_ok();
    let echo = call(ECHO, json!({"text": "said"})).expect_ok();
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(status["result"]["ok"], true, "{status}");
    for (told, id) in [(&count, COUNT), (&echo, ECHO)] {
        assert_like(told, &json!({"id": id, "replayed": true}));
        assert_eq!(told["auditId"], status["results"][id]["auditId"], "{told}");
    }
    assert_eq!(status["results"][ECHO]["output"], "said", "{status}");
    for (id, input) in [(COUNT, line("one")), (ECHO, json!({"text": "said"}))] {
        call(id, input).expect_error(401, "approval_required");
    }
    workshop.gateway.restart();
    let later = workshop.back(&agent).status(&item).expect_ok();
    assert_eq!(later["results"], status["results"], "{later}");
    assert_eq!(workshop.effects(), ["one"]);
}

/// The effect is on record and its answer is lost: the same call gets what is known, and asks for no second effect.
#[test]
fn a_lost_answer_is_no_second_effect() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    let item = ask(&agent, &to_run("one"));
    workshop.owner().approve(&item, "once");
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(status["result"]["ok"], true, "the control: {status}");
    let event = status["result"]["auditId"].clone();
    workshop.gateway.kill9();
    let mut lost = 0;
    for file in std::fs::read_dir(workshop.gateway.state().join("pending")).expect("a folder") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|e| e == "result") {
            std::fs::remove_file(path).expect("a file");
            lost += 1;
        }
    }
    assert_eq!(lost, 1, "the control");
    // Writes that the kill cut short hold what they were to write; the next start removes them.
    let cut_short = ["pending/.plexus-a1b2", "secrets/.plexus-c3d4"];
    let cut_short = cut_short.map(|name| workshop.gateway.state().join(name));
    for file in &cut_short {
        std::fs::write(file, "content").expect("a file");
    }
    workshop.gateway.start_again();
    assert!(!cut_short.iter().any(|file| file.exists()));
    let agent = workshop.back(&agent);
    // A HEAD brings nobody what became of it.
    let path = format!("/grants/status?pendingId={item}&wait=20");
    let head = agent.client().request("HEAD", &path).send();
    head.expect_status(200);
    let again = agent.invoke_body(to_run("one")).expect_ok();
    assert_like(&again, &json!({"replayed": true, "outputOmitted": true}));
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(status["result"]["ok"], true, "{status}");
    assert_eq!(status["result"]["outputOmitted"], true, "{status}");
    assert_eq!(status["result"]["auditId"], event, "{status}");
    // It has been told: the next is a new wish.
    agent
        .invoke_body(to_run("one"))
        .expect_error(401, "approval_required");
    assert_eq!(workshop.effects(), ["one"]);
}

fn to_settle(intent: &str) -> String {
    format!("stop; tell the owner: plexusctl unknown list {intent}")
}

/// The gateway died over a call that it made: the item and its run say the same, and name what the owner settles.
#[test]
fn run_cut_off_by_a_crash_names_its_intent() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    let input = json!({"line": "one", "wait": 60_000});
    let item = ask(
        &agent,
        &json!({"id": COUNT, "input": input, "onApproval": "run"}),
    );
    workshop.owner().approve(&item, "once");
    let run = item.replace("pend_", "run_");
    until_true("the call to be under way", || workshop.folder.has("begun"));
    workshop.gateway.kill9();
    workshop.gateway.start_again();
    let agent = workshop.back(&agent);
    let intent = workshop.calls(COUNT, "intent")[0]["id"].clone();
    let intent = intent.as_str().expect("an id");
    // It is found by the name of its thing.
    let told = workshop
        .gateway
        .cli(["activity", "--touched", "effects.log"]);
    assert_contains(told.expect_ok(), "NOT KNOWN whether it happened");
    let status = agent.status(&item).expect_ok();
    let path = format!("/invoke/status?runId={run}");
    let follow = ["calls", "follow", run.as_str(), "--json"];
    let run = agent.client().get(&path).expect_ok();
    assert_eq!(run["status"], "failed", "{run}");
    let followed = workshop.gateway.cli(follow).json();
    assert_eq!(followed["next"], "plexusctl unknown", "{followed}");
    for said in [&status["result"], &run["result"]] {
        assert_eq!(said["error"]["code"], "outcome_unknown", "{said}");
        assert_eq!(said["error"]["next"], to_settle(intent), "{said}");
        assert_eq!(said["auditId"], intent, "{said}");
    }
    let settle = ["unknown", "settle", intent, "--happened"];
    workshop.gateway.cli(settle).expect_ok();
    let run = agent.client().get(&path).expect_ok();
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["result"]["outputOmitted"], true, "{run}");
    let followed = workshop.gateway.cli(follow).json();
    assert_eq!(followed["error"], Value::Null, "{followed}");
    // Its answer is kept once, with its item.
    let kept = std::fs::read_dir(workshop.gateway.state().join("pending")).expect("a folder");
    let mut names = kept.map(|file| file.expect("a file").file_name());
    assert!(!names.any(|name| name.to_string_lossy().ends_with(".run")));
}

/// What one program was told stays its own when another one is connected under its name.
#[test]
fn what_was_told_ends_with_the_credential() {
    const LONG: &str = "fixture.long";
    let workshop = Workshop::open();
    let owner = workshop.owner();
    for how in ["revoked", "deleted", "connected anew", "a new code"] {
        let agent = workshop.reader("one");
        let listening = agent.events();
        let item = ask(&agent, &to_run(how));
        owner.approve(&item, "once");
        let status = agent.status_after(&item, 20).expect_ok();
        assert_eq!(status["result"]["ok"], true, "the control: {status}");
        let body = json!({"id": LONG, "input": {"ms": 1}, "async": true});
        let run = agent.invoke_body(body).text_at("/run/runId");
        let path = format!("/invoke/status?runId={run}");
        agent.client().get(&format!("{path}&wait=20")).expect_ok();
        listening.wait_until("invoke_resolved", |data| data["runId"] == run.as_str());

        let another = match how {
            "a new code" => {
                let reply = owner.post("/admin/api/agents/one/code", json!({}));
                Agent::enroll(&workshop.gateway.client(), &reply.text_at("/code"))
            }
            _ => {
                match how {
                    "revoked" => drop(owner.revoke_agent("one")),
                    "deleted" => {
                        let body = json!({"agentId": "one", "delete": true});
                        let client = &owner.client;
                        client.post("/admin/api/agents/revoke", body).expect_ok();
                    }
                    _ => {}
                }
                workshop.reader("one")
            }
        };
        agent
            .client()
            .get(&path)
            .expect_error(403, "session_expired");
        if how == "revoked" {
            agent.status(&item).expect_error(403, "session_expired");
        }
        for path in [path, format!("/grants/status?pendingId={item}")] {
            another
                .client()
                .get(&path)
                .expect_error(403, "session_expired");
        }
        // The same call is its own wish.
        another
            .invoke_body(to_run(how))
            .expect_error(401, "approval_required");
        let from_the_start = another.client().with("last-event-id", "0-0");
        let stream = Events::open(&from_the_start, "/events");
        let frames = stream.rest(Duration::from_millis(500));
        let about = |word: &str| {
            let told = |frame: &&Frame| format!("{frame:?}").contains(word);
            frames.iter().filter(told).count()
        };
        assert_eq!(
            (about(&run), about(&item), about("token_revoked")),
            (0, 0, 0),
            "{how}: {frames:?}"
        );
        // The control: its own are kept for it.
        let body = json!({"id": LONG, "input": {"ms": 1}, "async": true});
        if how != "a new code" {
            let run = another.invoke_body(body).text_at("/run/runId");
            stream.wait_until("invoke_resolved", |data| data["runId"] == run.as_str());
            let again = Events::open(&from_the_start, "/events");
            again.wait_until("invoke_resolved", |data| data["runId"] == run.as_str());
        }
        // The owner sees what it was.
        let kept = owner.get(&format!("/invoke/status?runId={run}"));
        kept.expect_ok();
    }
}

/// Nobody knew how the gateway's run ended, until the owner said: the agent is told so, and what did not happen it may ask
/// for again.
#[test]
fn what_the_owner_settles_is_told_to_whoever_asked() {
    for (how, moment, lines) in [
        ("--happened", "after", 1),
        ("--did-not", "before", 0),
        ("--in-part", "after", 1),
    ] {
        // Alone, or one of two calls in an item.
        for restarted in [false, true] {
            let mut workshop = Workshop::open();
            let owner = workshop.owner();
            let mut agent = workshop.gateway.agent("one");
            let lost = json!({"line": "lost", "die": moment});
            let call = json!({"id": COUNT, "input": lost, "onApproval": "run"});
            let item = if restarted {
                let body = json!({
                    "grants": {COUNT: "allow", ECHO: "allow"},
                    "intents": {COUNT: {"input": lost}, ECHO: {"input": {"text": "said"}}},
                    "onApproval": "run",
                });
                agent.client().put("/grants", body).text_at("/pendingId")
            } else {
                ask(&agent, &call)
            };
            owner.approve(&item, "once");
            let status = agent.status_after(&item, 20).expect_ok();
            let told = &status["result"]["error"];
            assert_eq!(told["code"], "outcome_unknown", "{status}");
            let intent = status["result"]["auditId"].as_str().expect("an id");
            assert_eq!(told["next"], to_settle(intent), "{status}");
            assert_eq!(workshop.effects().len(), lines, "the control");
            // Nor may it be asked for meanwhile.
            let again = agent.invoke_body(call.clone());
            assert_eq!(again.at("/error/code"), "outcome_unknown", "{again}");
            if restarted {
                workshop.gateway.restart();
                agent = workshop.back(&agent);
            }
            let listed = workshop.gateway.cli(["unknown", "list", "--json"]).json();
            let event = listed["unsettled"][0]["auditId"].as_str();
            let settle = ["unknown", "settle", event.expect("an event"), how];
            workshop.gateway.cli(settle).expect_ok();

            // What is known since was told to nobody: the same call is told, once.
            let again = agent.invoke_body(call.clone());
            let again = again.at("");
            let status = agent.status(&item).expect_ok();
            let of_call = match restarted {
                true => &status["results"][COUNT],
                false => &status["result"],
            };
            for said in [of_call, &again] {
                assert_eq!(said["ok"], how == "--happened", "{said}");
                match how {
                    "--happened" => assert_eq!(said["outputOmitted"], true, "{said}"),
                    "--in-part" => assert_eq!(said["error"]["effect"], "unknown", "{said}"),
                    _ => assert_eq!(said["error"]["effect"], "none", "{said}"),
                }
            }
            assert_eq!(again["replayed"], true, "{again}");
            assert_eq!(workshop.effects().len(), lines, "nothing was run");
            let next = agent.invoke_body(call.clone());
            let asked = next.expect_error(401, "approval_required");
            assert_ne!(asked["pendingId"], item.as_str());
        }
    }
}

fn to_read(path: &str) -> Value {
    json!({"id": READ, "input": {"path": path}, "onApproval": "run"})
}

/// What the gateway read for an approval is given to its agent once. It is no answer to what the agent reads later.
#[test]
fn what_was_read_is_no_standing_answer() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let approved = |path: &str| {
        house.workspace.write(path, "of before");
        let item = ask(&agent, &to_read(path));
        let reads = || {
            let events = owner.audit(200);
            let is_read =
                |event: &&Value| event["capabilityId"] == READ && event["outcome"] == "ok";
            events.iter().filter(is_read).count()
        };
        let before = reads();
        owner.approve(&item, "once");
        until_true("the read", || reads() > before);
        house.workspace.write(path, "of now");
        item
    };
    let item = approved("a.txt");
    // The session that asked may have gone meanwhile: the control.
    let lost = agent.another_session().invoke_body(to_read("a.txt"));
    let collected = lost.expect_ok();
    assert_eq!(collected["replayed"], true, "{collected}");
    assert_eq!(collected["output"]["content"], "of before", "{collected}");
    for session in [&agent, &agent.another_session()] {
        let asked = session.invoke_body(to_read("a.txt"));
        let asked = asked.expect_error(401, "approval_required");
        assert_ne!(asked["pendingId"], item.as_str());
    }
    assert_eq!(agent.status(&item).expect_ok()["result"]["ok"], true);

    // What it may read anyway is read.
    let _ = approved("b.txt");
    owner.grant("one", READ, "1h").expect_ok();
    let fresh = agent.invoke_body(to_read("b.txt")).expect_ok();
    assert_ne!(fresh["replayed"], true, "{fresh}");
    assert_eq!(fresh["output"]["content"], "of now", "{fresh}");
}

/// Nor is a read that came to nothing.
#[test]
fn a_read_that_failed_is_no_standing_answer() {
    let workshop = Workshop::open();
    let owner = workshop.owner();
    let agent = workshop.gateway.agent("one");
    for reason in ["unavailable", "not_found"] {
        let input = json!({"reason": reason});
        let call = json!({"id": "fixture.fail", "input": input, "onApproval": "run"});
        let item = ask(&agent, &call);
        owner.approve(&item, "once");
        // The call joins its run, or is told what came of it: the control.
        let told = agent.invoke_body(call.clone());
        assert_eq!(told.at("/replayed"), true, "{told}");
        let status = agent.status(&item).expect_ok();
        assert_eq!(told.at("/error"), status["result"]["error"], "{told}");
        let asked = agent.invoke_body(call);
        let asked = asked.expect_error(401, "approval_required");
        assert_ne!(asked["pendingId"], item.as_str());
    }
}

/// What was read is given only while the owner would have it read as it was.
#[test]
fn what_was_read_is_not_given_past_what_was_taken_back() {
    const PATH: &str = "private/a.txt";
    for how in ["hidden", "revoked", "unexposed", "removed", "paused"] {
        let mut house = House::open();
        house.workspace.write(PATH, "of before");
        let owner = house.owner();
        let agent = house.gateway.agent("one");
        let item = ask(&agent, &to_read(PATH));
        owner.approve(&item, if how == "revoked" { "1h" } else { "once" });
        let _ = agent.status_after(&item, 20);
        let status = agent.status(&item).expect_ok();
        assert_eq!(status["result"]["output"]["content"], "of before", "{how}");
        let of_source = |act: &str, body: Value| {
            let path = format!("/admin/api/sources/workspace/{act}");
            owner.post(&path, body).expect_ok()
        };
        match how {
            "hidden" => drop(of_source("hide", json!({"folders": ["private"]}))),
            "revoked" => drop(owner.revoke("one", READ)),
            "unexposed" => drop(owner.expose(READ, false)),
            "removed" => {
                let reply = owner.delete("/admin/api/sources/workspace");
                drop(reply.expect_ok());
            }
            _ => pause(&owner, true),
        }
        let is_not_given = |agent: &Agent| {
            let later = agent.status(&item).expect_ok();
            assert!(!later.to_string().contains("of before"), "{how}: {later}");
            let error = &later["result"]["error"];
            assert_eq!(error["effect"], "none", "{how}: {later}");
            assert!(error["next"].is_string(), "{how}: {later}");
            let again = agent.invoke_body(to_read(PATH));
            assert_eq!(again.at("/ok"), false, "{how}: {again}");
            assert!(!again.text().contains("of before"), "{how}: {again}");
        };
        is_not_given(&agent);
        if how == "paused" {
            // Only held back.
            pause(&owner, false);
            let after = agent.status(&item).expect_ok();
            assert_eq!(after["result"], status["result"], "{after}");
            continue;
        }
        house.gateway.restart();
        is_not_given(&house.back(&agent));
    }
}

/// A yes that reached no worker is not used up: the read is refused, and may be repeated as it says.
#[test]
fn a_read_that_reached_no_worker_uses_up_no_yes() {
    let workshop = Workshop::open();
    let owner = workshop.owner();
    let agent = workshop.gateway.agent("one");
    let say = || json!({"text": "said"});
    let item = agent.must_ask(ECHO, say());
    owner.approve(&item, "once");
    workshop.folder.write("unopenable", "");
    let refused = agent.invoke(ECHO, say());
    let error = refused.expect_error(503, "source_unavailable");
    assert_eq!(error["effect"], "none", "{refused}");
    let record = owner.audited(|event| event["id"] == refused.at("/auditId"));
    assert_eq!(record["outcome"], "denied", "{record}");
    // One that the gateway cannot make is over, and is told so once.
    let to_run = json!({"id": ECHO, "input": {"text": "run"}, "onApproval": "run"});
    let run = ask(&agent, &to_run);
    owner.approve(&run, "once");
    let told = agent.invoke_body(to_run.clone());
    assert_eq!(told.at("/replayed"), true, "{told}");
    assert_eq!(told.at("/error/code"), "source_unavailable", "{told}");
    agent
        .invoke_body(to_run)
        .expect_error(401, "approval_required");
    std::fs::remove_file(workshop.folder.path().join("unopenable")).expect("the file goes");
    let reply = until("the source to open again", || {
        let reply = agent.invoke(ECHO, say());
        (reply.at("/error/code") != "source_unavailable").then_some(reply)
    });
    assert_eq!(reply.expect_ok()["output"], "said");
    // It was one call.
    agent.must_ask(ECHO, say());
}

/// One yes for a time answers what else waits for it and only reads, by an item's page or unasked. What changes something
/// keeps its card.
#[test]
fn reads_that_wait_go_on_with_a_grant_that_covers_them() {
    let house = House::open();
    let owner = house.owner();
    for name in ["a.txt", "b.txt", "c.txt"] {
        house.workspace.write(name, name);
    }
    let agent = house.gateway.agent("one");
    let first = ask(&agent, &to_read("a.txt"));
    let run = ask(&agent, &to_read("b.txt"));
    let wait = agent.must_ask(READ, json!({"path": "c.txt"}));
    let write = json!({"id": WRITE, "input": note("d.txt", "new"), "onApproval": "run"});
    let write = ask(&agent, &write);
    let yes = approval(&owner.card(&first), "1d");
    let decided = owner.decide(&first, yes).expect_ok();
    let also = decided["alsoAnswered"].as_array().expect("others");
    assert!(also.len() == 2, "{decided}");
    assert!(also.contains(&json!(run)) && also.contains(&json!(wait)));
    let made = agent.status_after(&run, 20).expect_ok();
    assert_eq!(made["result"]["output"]["content"], "b.txt", "{made}");
    assert_eq!(agent.status(&wait).expect_ok()["state"], "approved");
    agent.must(READ, json!({"path": "c.txt"}));
    let waiting: Vec<_> = owner
        .pending()
        .iter()
        .map(|i| i["pendingId"].clone())
        .collect();
    assert_eq!(waiting, [json!(write)]);
    let record = owner.audited(|event| event["detail"]["policy"] == "by-grant");
    assert_eq!(record["detail"]["event"], "grant.allow", "{record}");
    // Nobody decided its card: it is told as made by the grant.
    let reads = owner
        .audit(200)
        .into_iter()
        .filter(|e| e["detail"]["phase"] == "read");
    let bases: Vec<_> = reads.map(|read| read["detail"]["basis"].clone()).collect();
    let by_grant = bases.iter().filter(|basis| basis.get("grant").is_some());
    assert_eq!((bases.len(), by_grant.count()), (3, 2), "{bases:?}");
    assert_ne!(owner.grants()[0]["lastUsedAt"], Value::Null);

    // Unasked, and while agents are paused: it is made when they go on.
    let agent = house.gateway.agent("two");
    let item = ask(&agent, &to_read("a.txt"));
    pause(&owner, true);
    let said = house
        .gateway
        .cli(["grants", "allow", "two", READ, "--window", "1d"]);
    let goes_on = format!("requests that waited for this and need no answer of yours: {item}");
    assert!(said.expect_ok().contains(&goes_on));
    pause(&owner, false);
    let made = agent.status_after(&item, 20).expect_ok();
    assert_eq!(made["result"]["output"]["content"], "a.txt", "{made}");
}

/// Asked for, granted meanwhile, and made by its agent: a yes to the card that waits would make it again.
#[test]
fn call_that_its_agent_made_by_a_grant_is_made_once() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let [same, other] = ["one", "two"].map(|text| ask(&agent, &to_run(text)));
    let yes = approval(&owner.card(&same), "once");
    owner.grant("one", COUNT, "1h").expect_ok();
    agent.invoke_body(to_run("one")).expect_ok();
    let status = agent.status(&same).expect_ok();
    assert_eq!(
        status["reason"], "its agent made this call by a grant",
        "{status}"
    );
    owner.decide(&same, yes).expect_status(404);
    // The control: the other one waits, and is made by its own yes.
    owner.approve(&other, "once");
    agent.status_after(&other, 20).expect_ok();
    assert_eq!(workshop.effects(), ["one", "two"]);
}
