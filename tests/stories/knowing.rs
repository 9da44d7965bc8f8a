//! What the owner can know: what agents did, what nobody knows, and that a pause is one.

use crate::house::{COUNT, House, READ, WRITE, Workshop, note, report, tips};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plexus_tests::owner::approval;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, list_of, text_of};
use plexus_tests::{
    folders::SAFE_WORD,
    golden,
    waiting::{until, until_true},
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn call<'v>(calls: &'v Value, did: &str) -> &'v Value {
    let mut found = calls["calls"].as_array().into_iter().flatten();
    found
        .rfind(|call| call["did"] == did)
        .unwrap_or_else(|| panic!("nothing was {did}: {calls:#}"))
}

/// What would become of a call, in words, while it is made by nobody.
#[test]
fn what_would_become_of_a_call_is_told_in_words() {
    let house = House::open();
    house.workspace.write("a.md", "one\n");
    let agent = house.reader("my-cc");
    let told = |capability: &str, input: &str| {
        let line = ["explain", "my-cc", capability, "--input", input];
        house.gateway.cli(line).expect_ok().to_owned()
    };
    let note = r#"{"path": "a.md"}"#;
    assert_contains(&told(READ, note), "it would run: ");
    let write = r#"{"path": "a.md", "content": "two\n"}"#;
    assert_contains(&told(WRITE, write), "it would wait for you: ");
    let item = agent.must_ask(WRITE, json!({"path": "a.md", "content": "two\n"}));
    house.owner().deny(&item, "not this one");
    let denied = told(WRITE, write);
    assert_contains(&denied, "You denied this call: “not this one”");
    assert_contains(
        &denied,
        &format!(
            "refused for 30 days more, also where an existing grant covers it. A new grant of {WRITE} for any input ends that."
        ),
    );
    let back = format!("plexusctl approvals undeny {item}");
    assert_contains(&denied, &format!("next: {back}"));
    // Its agent asks anew, and is denied anew.
    let undeny = |id: &str| house.gateway.cli(["approvals", "undeny", id]);
    let number = item.strip_prefix("pend_").expect("an id");
    assert_contains(
        undeny(&number[..8]).expect_ok(),
        &format!("no longer denied: {WRITE} by my-cc"),
    );
    assert_contains(&told(WRITE, write), "it would wait for you: ");
    let twice = undeny(&item);
    assert_contains(&twice.stderr, "no denial of");
    let again = agent.must_ask(WRITE, json!({"path": "a.md", "content": "two\n"}));
    assert_ne!(again, item);
    assert_contains(&undeny(&again).stderr, "waits: nobody denied it");
    house.owner().deny(&again, "not this one either");
    assert_contains(
        &undeny(&item).stderr,
        &format!("plexusctl approvals undeny {again}"),
    );
    // A narrowed grant leaves the denial, of which a digest is known; a wide one ends it, and says so.
    let allow = |more: &[&str]| {
        let line = [&["grants", "allow", "my-cc", WRITE, "--window", "1h"], more].concat();
        house.gateway.cli(line).expect_ok().to_owned()
    };
    let narrow = ["--under", "path=notes"];
    assert!(!allow(&narrow).contains("denials ended"));
    assert_contains(&told(WRITE, write), "You denied this call");
    assert_contains(
        &allow(&[]),
        "\ndenials ended: 1 (calls that you had denied are refused no more)",
    );
    assert_contains(&told(WRITE, write), "it would run: ");
    allow(&narrow);
    let elsewhere = r#"{"path": "notes/b.md", "content": "x"}"#;
    assert_contains(&told(WRITE, elsewhere), "it would run: ");
    // In a hurry the wrong word names the right one.
    let stopped = house.gateway.cli(["stop", "my-cc"]);
    stopped.expect_status(64);
    assert_contains(&stopped.stderr, "`pause` suspends every agent");
    house.gateway.cli(["pause"]).expect_ok();
    let paused = told(READ, note);
    assert_contains(&paused, "it would be refused: ");
    assert_contains(&paused, "You paused all agents.\nnext: plexusctl resume");
    assert_eq!(house.workspace.read("a.md"), "one\n", "nothing was made");
}

/// One line a call, in words; what was touched is named, and cannot hide; then the totals.
#[test]
fn what_an_agent_did_is_told_in_words() {
    let house = House::open();
    let hidden = "notes/\u{202e}dm.terces";
    house.workspace.write(hidden, "not what it looks like");
    let cc = house.reader("my-cc");
    let other = house.reader("other");
    for _ in 0..3 {
        cc.must("obsidian.vault.read", json!({"path": "Projects/Plexus.md"}));
    }
    cc.must(READ, json!({"path": hidden}));
    other.must(READ, report());
    let input = note("notes/today.md", "one\ntwo\n");
    cc.must_approved(&house.owner(), WRITE, input);
    let no = note("notes/no.md", "x");
    let item = cc.must_ask(WRITE, no.clone());
    house.owner().deny(&item, "not this one");
    cc.invoke(WRITE, no).expect_error(403, "denied_by_owner");
    cc.must_fail("no.such", json!({}), 404, "unknown_capability");

    let said = house.gateway.cli(["activity", "my-cc"]);
    let said = said.expect_ok();
    for words in [
        "my-cc read Projects/Plexus.md (obsidian, ",
        " ×3\n",
        "read notes/\u{fffd}dm.terces (workspace, ",
        "replaced notes/today.md, +2 −",
        "(workspace, approved by you)",
        "was refused workspace.write: you denied this before (not this one): notes/no.md",
        "was refused no.such: there is no such capability for it, or its source is off",
        "was denied workspace.write by you (not this one)",
        "7 calls: 4 read, 1 changed, 2 refused, 0 unknown; 2 requests to you; 1 denied by you",
    ] {
        assert!(said.contains(words), "{words:?} is missing:\n{said}");
    }
    assert!(!said.contains('\u{202e}'), "nothing is obeyed:\n{said}");
    assert!(!said.contains("report.txt"), "another agent's:\n{said}");

    let json = |line: &[&str]| {
        house
            .gateway
            .cli([&["--json", "activity"], line].concat())
            .json()
    };
    // The control: without the filter both agents' reads are there.
    assert_eq!(json(&[])["totals"]["read"], 5);
    let touched = json(&["--touched", hidden]);
    assert_eq!(touched["totals"]["read"], 1);
    assert_eq!(call(&touched, "read")["agentId"], "my-cc");
    let changed = json(&["--changed"]);
    assert_eq!(changed["calls"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        call(&changed, "changed")["touched"][0]["id"],
        "notes/today.md"
    );
    assert_eq!(json(&["--refused"])["totals"]["refused"], 2);
    for (only, count) in [("read", 5), ("asked", 2), ("failed", 0)] {
        let found = json(&["--only", only]);
        assert_eq!(found["totals"][only], count, "{only}");
        let all: u64 = found["totals"]
            .as_object()
            .expect("totals")
            .values()
            .filter_map(Value::as_u64)
            .sum();
        assert_eq!(all, count, "{only}, and nothing else");
    }
    assert_eq!(json(&["--source", "obsidian"])["totals"]["read"], 3);
    assert_eq!(json(&["--until", "1h"])["totals"]["read"], 0);
    let reversed = ["activity", "--since", "1h", "--until", "2h"];
    let reversed = house.gateway.cli(reversed);
    assert_contains(&reversed.expect_status(1).all(), "is later than `until`");
    let two = json(&["--limit", "2"]);
    assert_eq!(
        (&two["more"], &two["totals"]),
        (&json!(true), &json(&[])["totals"])
    );
    assert_eq!(
        two["calls"].as_array().map(Vec::len),
        Some(2),
        "the totals count what is not shown"
    );
    // A request of several capabilities is a line for each, and one request.
    cc.ask(json!({"workspace.undo": "allow", WRITE: "allow"}))
        .expect_ok();
    let asked = json(&["my-cc", "--only", "asked"]);
    let lines = asked["calls"].as_array().map(Vec::len);
    assert_eq!(lines, Some(4), "{asked}");
    assert_like(&asked, &json!({"totals": {"asked": 3}, "more": false}));
    for limit in ["1", "2"] {
        let asked = json(&["my-cc", "--only", "asked", "--limit", limit]);
        assert_like(&asked, &json!({"totals": {"asked": 3}, "more": true}));
    }
    let ends = house.gateway.cli(["activity", "--since", "tomorrow"]);
    assert!(ends.expect_status(64).stderr.contains("yesterday"));
    house
        .owner()
        .get("/admin/api/activity?only=everything")
        .expect_error(400, "internal_error");
}

/// A refused call is in the log by itself, or in a count: also those beyond what an agent's refusals may fill.
#[test]
fn no_refusal_goes_uncounted() {
    let (mut house, agent) = House::with_reader("one");
    for n in 0..150 {
        agent.must_fail("no.such", json!({"n": n}), 404, "unknown_capability");
    }
    // The body is refused before it is a call of anything; who sent it is known.
    let refused = agent.invoke_body(json!({"id": READ, "input": {}, "onApproval": "later"}));
    refused.expect_error(400, "internal_error");
    house.gateway.restart();
    let said = house.gateway.cli(["activity", "one", "--json"]).json();
    assert_eq!(said["totals"]["refused"], 151, "{said}");
    let recorded = said["calls"].as_array().map(Vec::len).unwrap_or_default();
    assert!(recorded < 130, "a flood is a count: {recorded} lines");
}

/// Two equal calls were under way: each is listed and each is settled, in any order.
#[test]
fn equal_calls_of_which_nobody_knows_are_settled_one_by_one() {
    let (mut workshop, agent) = Workshop::with_writer("one");
    std::thread::scope(|scope| {
        let client = agent.client();
        let body = json!({"id": COUNT, "input": {"line": "twice", "wait": 600_000}});
        for _ in 0..2 {
            let request = client.request("POST", "/invoke").json(body.clone());
            scope.spawn(move || request.try_send());
        }
        until_true("both to be under way", || {
            workshop.calls(COUNT, "intent").len() == 2
        });
        workshop.gateway.kill9();
    });
    workshop.gateway.start_again();
    let listed = || {
        let said = workshop.gateway.cli(["unknown", "list", "--json"]).json();
        let rows = said["unsettled"].as_array().expect("a list").iter();
        rows.map(|row| row["auditId"].as_str().expect("an event").to_owned())
            .collect::<Vec<_>>()
    };
    let mut left = listed();
    assert_eq!(left.len(), 2);
    while let Some(last) = left.pop() {
        let settled = workshop
            .gateway
            .cli(["unknown", "settle", &last, "--did-not"]);
        settled.expect_ok();
        assert_eq!(listed(), left);
    }
}

/// What is known of a call without an end, where to look, and settling it by command.
#[test]
fn what_nobody_knows_is_listed_and_settled() {
    let (workshop, agent) = Workshop::with_writer("one");
    let lost = json!({"line": "lost", "die": "after"});
    agent.must_fail(COUNT, lost.clone(), 200, "outcome_unknown");
    let listed = workshop.gateway.cli(["unknown", "list", "--json"]).json();
    let event = text_of(&listed["unsettled"][0]["auditId"]);
    let begins = &event["evt_".len()..][..20];
    let one = workshop.gateway.cli(["unknown", "list", begins]);
    assert_contains(one.expect_ok(), &event);
    let said = workshop.gateway.cli(["unknown"]);
    for words in [
        event.as_str(),
        "fixture.count by one, ",
        ", by standing grant",
        &format!("plexusctl unknown settle {event} --happened"),
        "one cannot run fixture.count with this input again",
    ] {
        assert!(said.expect_ok().contains(words), "{words:?}:\n{said}");
    }
    let told = workshop.gateway.cli(["activity"]);
    let line = format!(
        "NOT KNOWN whether it happened (there was no answer): plexusctl unknown list {event}"
    );
    assert!(told.expect_ok().contains(&line), "{told}");
    assert_eq!(agent.invoke(COUNT, lost.clone()).at("/ok"), false);
    let of = |only| {
        let found = workshop.gateway.cli(["--json", "activity", "--only", only]);
        let calls = found.json()["calls"].clone();
        calls.as_array().map(Vec::len)
    };
    assert_eq!(
        ["unknown", "failed", "settled"].map(of),
        [Some(1), Some(0), Some(0)]
    );

    workshop
        .gateway
        .must_cli(["unknown", "settle", &event, "--did-not"]);
    // It is found under what the owner said of it.
    assert_eq!(
        ["unknown", "failed", "settled"].map(of),
        [Some(0), Some(1), Some(1)]
    );
    let said = workshop.gateway.cli(["unknown"]);
    assert_contains(said.expect_ok(), "no call has an unknown outcome");
    let said = workshop.gateway.cli(["unknown", "list", &event]);
    said.expect_status(1);
    let told = workshop.gateway.cli(["activity"]);
    for words in [
        "NOT KNOWN whether it happened (there was no answer), settled since",
        "fixture.count: you recorded that it did not happen",
    ] {
        assert!(told.expect_ok().contains(words), "{words:?}:\n{told}");
    }
    // Settled: it may be tried again.
    agent.must_fail(COUNT, lost, 200, "outcome_unknown");
}

/// An intent says what it is about to change, and what was there.
#[test]
fn an_intent_names_what_it_is_about() {
    let (house, agent) = House::with_reader("one");
    let before = plexus_protocol::Digest::of(house.workspace.read("report.txt").as_bytes());
    for window in ["once", "1h"] {
        let input = note("report.txt", window);
        if window == "once" {
            let item = agent.must_ask(WRITE, input.clone());
            house.owner().approve(&item, "once");
        } else {
            house.owner().grant("one", WRITE, "1h").expect_ok();
        }
        let held = plexus_protocol::Digest::of(house.workspace.read("report.txt").as_bytes());
        agent.must(WRITE, input);
        let intent = house
            .owner()
            .audited(|event| event["detail"]["phase"] == "intent");
        let about = &intent["detail"]["touched"][0];
        assert_eq!(about["id"], "report.txt");
        assert_eq!(about["digest"], held.to_string(), "{window}");
    }
    let touched = house
        .owner()
        .must_get("/admin/api/audit?touched=report.txt");
    assert!(touched.to_string().contains(&before.to_string()));
}

/// Every act of an agent is refused, none of the owner; it holds over a restart; its end brings everything back.
#[test]
fn a_pause_refuses_every_agent_and_not_the_owner() {
    let (mut house, agent) = House::with_reader("one");
    let read = || report();
    let token = agent.token(&[READ]);
    let waiting = agent.must_ask(WRITE, note("a.md", "x"));
    house.gateway.cli(["pause"]).expect_ok();

    let refused = |reply: plexus_tests::Response| {
        let error = reply.expect_error(503, "paused");
        assert_eq!(error["effect"], "none");
        assert_eq!(error["next"], "stop; tell the owner: Plexus is paused");
    };
    refused(agent.invoke(READ, read()));
    refused(agent.invoke_with(&token, READ, read()));
    refused(agent.ask(json!({READ: "allow"})));
    refused(agent.refresh(&token));
    let proposed = json!({ "manifest": tips() });
    refused(agent.client().post("/extensions", proposed));
    refused(plexus_tests::agent::handshake(
        &house.gateway.client(),
        &agent.pat,
    ));
    // A client tries again with each message: the log has the first.
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let bearer = format!("Bearer {}", agent.pat);
    let client = house.gateway.client().with("authorization", &bearer);
    for _ in 0..3 {
        refused(client.post("/mcp", list.clone()));
    }

    let said = house.gateway.cli(["status"]);
    assert!(said.stdout.contains("PAUSED"), "{said}");
    let said = house.gateway.cli(["approvals"]);
    assert!(said.expect_ok().contains("PAUSED"), "{said}");
    let refusals = house.gateway.cli(["activity", "--refused"]);
    let words = "was refused workspace.read: you have paused all agents: report.txt ×2";
    assert!(refusals.expect_ok().contains(words), "{refusals}");
    // A request to the owner and a session are refused calls too: the log has them.
    let refusals = refusals.expect_ok();
    assert_eq!(refusals.matches("was refused workspace.read").count(), 2);
    assert_contains(refusals, "was refused: you have paused all agents");
    let of_no_call = |e: &&Value| e["detail"]["code"] == "paused" && e["capabilityId"].is_null();
    let recorded = || {
        let events = house.owner().audit(200);
        events.iter().filter(of_no_call).count()
    };
    assert_eq!(recorded(), 4, "a refresh, a proposal and two sessions");
    // The next pause has a first one of its own.
    for line in ["resume", "pause"] {
        house.gateway.cli([line]).expect_ok();
    }
    for _ in 0..2 {
        refused(client.post("/mcp", list.clone()));
    }
    assert_eq!(recorded(), 5);

    house.gateway.restart();
    refused(plexus_tests::agent::handshake(
        &house.gateway.client(),
        &agent.pat,
    ));
    assert_eq!(house.owner().pending()[0]["pendingId"], waiting.as_str());
    house.gateway.cli(["resume"]).expect_ok();
    let agent = house.back(&agent);
    agent.must(READ, read());
    let said = house.gateway.cli(["approvals"]);
    assert!(!said.expect_ok().contains("PAUSED"), "{said}");
    let events = house.owner().audit(200);
    for on in [true, false] {
        let paused = |e: &&Value| e["detail"]["event"] == "pause" && e["detail"]["on"] == on;
        assert_eq!(events.iter().filter(paused).count(), 2);
    }
}

/// What reads is cut off; what changes something ends, and has its record.
#[test]
fn a_pause_ends_reads_and_lets_effects_end() {
    let workshop = Workshop::open();
    let (reader, writer) = (workshop.reader("reads"), workshop.writer("writes"));
    reader.must("fixture.slow", json!({"ms": 1}));
    let run =
        reader.invoke_body(json!({"id": "fixture.long", "input": {"ms": 60_000}, "async": true}));
    run.expect_status(202);
    let run = run.text_at("/run/runId");
    std::thread::scope(|scope| {
        let effect = scope.spawn(|| writer.invoke(COUNT, json!({"line": "last", "wait": 1_000})));
        until_true("an effect to be under way", || workshop.folder.has("begun"));
        let began = Instant::now();
        let client = &workshop.owner().client;
        let paused = client.post("/admin/api/pause", json!({"on": true}));
        let said = paused.expect_ok();
        assert_eq!(said["inFlight"].as_array().map(Vec::len), Some(1));
        let cancelled = said["cancelled"].as_array().expect("cancelled calls");
        let cancels = |call: &Value| call["auditId"] == said["inFlight"][0];
        assert!(cancelled.iter().any(cancels), "{said}");
        let over = client.get(&format!("/invoke/status?runId={run}&wait=50"));
        assert_eq!(over.at("/result/error/code"), "paused", "{over}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "the read was not waited for"
        );
        effect.join().expect("an answer").expect_ok();
    });
    assert_eq!(workshop.effects(), ["last"]);
    let outcomes = workshop.calls(COUNT, "outcome");
    assert_eq!(outcomes[0]["detail"]["result"], "ok");
}

/// What the owner approves during a pause is run at its end, once.
#[test]
fn an_approved_run_waits_for_the_end_of_the_pause() {
    let (house, agent) = House::with_reader("one");
    let body = json!({"id": WRITE, "input": note("later.md", "x"), "onApproval": "run"});
    let asked = agent.invoke_body(body);
    let error = asked.expect_error(401, "approval_required");
    let item = error["pendingId"].as_str().expect("an item");
    house.gateway.cli(["pause"]).expect_ok();
    house.owner().approve(item, "once");
    assert!(!house.workspace.has("later.md"));
    house.gateway.cli(["resume"]).expect_ok();
    let status = agent.status_after(item, 30).expect_ok();
    assert_eq!(status["result"]["ok"], true, "{status}");
    assert_eq!(house.workspace.read("later.md"), "x");
}

/// A signal pauses too, for an owner without a command at hand; it does not end the daemon, and is in the record.
#[test]
fn a_signal_pauses() {
    let (house, agent) = House::with_reader("one");
    agent.must(READ, report());
    let pid = i32::try_from(house.gateway.pid()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGUSR1).expect("our child");
    until_true("the pause", || agent.invoke(READ, report()).status == 503);
    let recorded = until("its record", || {
        let events = house.owner().audit(50);
        let found = |e: &Value| e["detail"]["event"] == "pause.signal";
        events.into_iter().find(found)
    });
    assert_eq!(recorded["detail"]["signal"], "SIGUSR1");
    house.gateway.cli(["resume"]).expect_ok();
    agent.must(READ, report());
}

/// A grant's last use is that of the grant itself: what was refused is none, one that is given anew has none, and a restart
/// forgets none.
#[test]
fn last_use_of_a_grant_is_known() {
    let mut house = House::open();
    house.workspace.write("a.md", "one\n");
    let agent = house.reader("my-cc");
    let listed = |house: &House| {
        let all = house.owner().get("/admin/api/grants").expect_ok();
        assert_eq!(all["usesSince"], Value::Null, "{all}");
        let mut rows = list_of(&all["grants"]).clone().into_iter();
        let row = rows.find(|row| row["capabilityId"] == READ);
        row.expect("a grant")["lastUsedAt"].clone()
    };
    assert_eq!(listed(&house), Value::Null);
    let outside = json!({"path": "../a.md"});
    assert_eq!(agent.invoke(READ, outside).at("/ok"), false);
    assert_eq!(listed(&house), Value::Null, "a refusal is no use");
    agent.must(READ, json!({"path": "a.md"}));
    let used = listed(&house);
    let read = house
        .owner()
        .audited(|event| event["capabilityId"] == READ && event["type"] == "invoke");
    assert_eq!(used, read["at"], "{read}");
    // An effect that its worker refuses has begun, and is no use.
    house.owner().grant("my-cc", WRITE, "1h").expect_ok();
    let of_write = |house: &House| {
        let all = house.owner().get("/admin/api/grants").expect_ok();
        let rows = all["grants"].as_array().expect("grants").clone();
        let row = rows.into_iter().find(|row| row["capabilityId"] == WRITE);
        row.expect("a grant")["lastUsedAt"].clone()
    };
    house.workspace.write("c.md", "one\n");
    assert_eq!(agent.invoke(WRITE, note("c.md", "two\n")).at("/ok"), false);
    assert_eq!(of_write(&house), Value::Null);
    agent.must(WRITE, note("new.md", "two\n"));
    assert_ne!(of_write(&house), Value::Null);
    house.gateway.restart();
    assert_eq!(listed(&house), used, "after a restart");
    house.owner().grant("my-cc", READ, "1h").expect_ok();
    assert_eq!(listed(&house), Value::Null, "another grant");
    // The call that a number of calls is given with is the first of them, and a use.
    let other = house.gateway.agent("other");
    let call = json!({"id": WRITE, "input": note("other.md", "two\n"), "onApproval": "run"});
    let asked = other
        .invoke_body(call)
        .expect_error(401, "approval_required");
    let item = asked["pendingId"].as_str().expect("an id");
    let mut yes = approval(&house.owner().card(item), "1h");
    yes["constraint"] = json!({"maxCalls": 2});
    house.owner().decide(item, yes).expect_ok();
    let held = house.owner().grants();
    let held = held.iter().find(|row| row["agentId"] == "other");
    let held = held.expect("a grant");
    assert_eq!(held["callsLeft"], 1, "{held}");
    assert_eq!(held["lastUsedAt"], held["grantedAt"], "{held}");
}

/// The whole of it as JSON, which scripts may rely on; and exit status 1 as long as something needs the owner.
#[test]
fn a_glance_has_a_stable_form_and_says_when_it_needs_the_owner() {
    let (house, agent) = House::with_reader("one");
    let said = house.gateway.cli(["--json", "status"]);
    said.expect_status(0);
    let mut glance = said.json();
    for source in glance["sources"].as_array_mut().expect("sources") {
        // The folder's own name, which differs from run to run.
        source["label"] = "<label>".into();
    }
    for source in glance["status"]["sources"].as_array_mut().expect("sources") {
        source["label"] = "<label>".into();
    }
    glance["status"]["cages"] = "<of this machine>".into();
    glance["status"]["ledger"]["events"] = "<number>".into();
    // A record of the start may be on its way still.
    glance["status"]["ledger"]["queued"] = "<number>".into();
    for worker in glance["status"]["workers"].as_array_mut().expect("workers") {
        if worker["cage"].is_object() {
            worker["cage"] = "<checks>".into();
        }
    }
    glance["status"]["uptimeMs"] = "<ms>".into();
    golden::check("status", &glance);

    let item = agent.must_ask(WRITE, note("a.md", "x"));
    let said = house.gateway.cli(["--json", "status"]);
    said.expect_status(1);
    assert_eq!(said.json()["needs"][0]["next"], "plexusctl approvals watch");
    house.owner().deny(&item, "no");
    house.gateway.cli(["status"]).expect_ok();
}

/// Whether the record is sound is known from the last comparison: the start's, then the owner's.
#[test]
fn a_glance_says_when_the_record_was_last_compared() {
    let house = House::open();
    let said = house.gateway.cli(["status"]);
    assert_contains(said.expect_ok(), "sound, checked at the start");
    house.gateway.cli(["audit", "verify"]).expect_ok();
    let said = house.gateway.cli(["status"]);
    assert_contains(said.expect_ok(), "sound, all of it checked");
}

/// The log is on disk, private, of bounded size and readable with the daemon down; no credential that went through the
/// gateway is in it, however much is logged.
#[test]
fn the_log_is_kept_and_holds_no_credential() {
    let mut house = House::with(|builder| builder.env("PLEXUS_LOG", "trace"));
    let owner = house.owner();
    let agent = house.reader("one");
    let token = agent.token(&[READ]);
    let token = token["token"].as_str().expect("a token");
    agent
        .invoke_with(token, READ, json!({"path": "notes/private.md"}))
        .expect_ok();
    agent.must(READ, report());
    let wrong = format!("plx_agent_{}", "Q".repeat(43));
    plexus_tests::agent::handshake(&house.gateway.client(), &wrong).expect_status(401);
    owner.must_post(
        "/admin/api/secrets/my-key",
        json!({"value": "canary-secret"}),
    );
    let code = owner.connect("two", &[READ])["code"]
        .as_str()
        .expect("a code")
        .to_owned();
    let key = house.gateway.key();
    assert!(house.gateway.stop().success());

    let dir = house.gateway.state().join("logs");
    let mut text = String::new();
    for entry in std::fs::read_dir(&dir).expect("the folder").flatten() {
        let meta = entry.metadata().expect("a file");
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
        text += &std::fs::read_to_string(entry.path()).expect("text");
    }
    // The control: it logged, and more than is usual.
    assert!(text.contains(r#""message":"serving""#), "{text}");
    assert!(
        text.contains(r#""level":"debug""#) || text.contains(r#""level":"trace""#),
        "{text}"
    );
    for secret in [
        &*key,
        &agent.pat,
        token,
        &wrong,
        "canary-secret",
        &code,
        SAFE_WORD,
    ] {
        assert_lacks(&text, secret);
    }
    let said = house
        .gateway
        .cli(["logs", "--level", "info", "--since", "1h"]);
    assert!(said.expect_ok().contains("info  serving"), "{said}");
    assert!(!said.stdout.contains("trace"), "{said}");
    let last = house.gateway.cli(["--json", "logs", "-n", "1"]);
    assert!(last.json()["time"].is_string());
}

/// What a worker says is told under its source's name, and only there.
#[test]
fn a_worker_has_a_log_of_its_own() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    assert_eq!(agent.invoke("fixture.crash", json!({})).at("/ok"), false);
    let said = until("the worker's last word", || {
        let said = workshop.gateway.cli(["logs", "fixture", "--json"]);
        said.stdout
            .contains(r#""target":"plexusd::worker""#)
            .then_some(said)
    });
    for line in said.stdout.lines() {
        let line: Value = serde_json::from_str(line).expect("an object");
        assert_eq!(line["source"], "fixture");
    }
    // A name that is mistyped is no source without lines.
    let unknown = workshop.gateway.cli(["logs", "obsidian"]);
    let there = "there is no source obsidian; there are: fixture";
    assert_contains(&unknown.expect_status(1).stderr, there);
    assert!(workshop.gateway.stop().success());
    let others = workshop.gateway.cli(["logs", "obsidian"]);
    assert_eq!(others.expect_ok(), "");
    let there = "no line is about obsidian; there are lines about: fixture";
    assert_contains(&others.stderr, there);
}
