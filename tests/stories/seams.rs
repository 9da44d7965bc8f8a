//! Attacks on the seams: between a check and the act it allows, between what is shown and what is kept, between a
//! caller and what was begun for it.

use crate::house::{COUNT, House, READ, WRITE, Workshop, line, note, report};
use plexus_tests::Response;
use plexus_tests::owner::approval;
use plexus_tests::waiting::{until, until_true};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The head of a request proves the key; its body comes when the key is another one.
#[test]
fn a_body_that_comes_after_the_rotation_does_nothing() {
    let house = House::open();
    let stolen = house.owner();
    let requests = [
        (
            "POST",
            "/admin/api/agents/connect",
            json!({"agentId": "backdoor", "capabilities": [READ]}),
        ),
        ("PUT", "/v1/config", json!({"autoAllowReads": true})),
    ];
    let begun: Vec<_> = requests
        .into_iter()
        .map(|(method, path, body)| {
            let bytes = stolen
                .client
                .request(method, path)
                .json(body)
                .bytes_on_wire();
            let head = bytes
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("a head")
                + 4;
            let mut stream = stolen.client.connect();
            stream.write_all(&bytes[..head]).expect("the head is taken");
            (path, stream, bytes[head..].to_vec())
        })
        .collect();
    // A whole request on a later connection is answered after the heads were read.
    stolen.client.get("/admin/api/status").expect_ok();
    let rotated = stolen
        .client
        .must_post("/v1/connection-key/rotate", json!({}));
    for (path, mut stream, body) in begun {
        stream.write_all(&body).expect("the body is taken");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Response::parse(path, &answer)
            .unwrap_or_else(|| panic!("{path}: no answer"))
            .expect_error(401, "unauthorized");
    }
    let key = rotated["connectionKey"].as_str().expect("a key");
    let owner = plexus_tests::Owner::new(&house.gateway.client(), key);
    let agents = owner.get("/admin/api/agents").expect_ok();
    assert_eq!(agents["agents"], json!([]), "{agents}");
    assert_eq!(owner.get("/v1/config").expect_ok()["autoAllowReads"], false);
    // The control: the same request with the new key, its body as late.
    let connect = owner
        .client
        .request("POST", "/admin/api/agents/connect")
        .json(json!({"agentId": "one", "capabilities": [READ]}));
    let bytes = connect.bytes_on_wire();
    let mut stream = owner.client.connect();
    stream.write_all(&bytes[..bytes.len() - 1]).expect("taken");
    owner.get("/admin/api/status").expect_ok();
    stream.write_all(&bytes[bytes.len() - 1..]).expect("taken");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    Response::parse("connect", &answer)
        .expect("an answer")
        .expect_ok();
}

/// A holder of a leaked key that hammers gets nothing that outlives its rotation.
#[test]
fn nothing_that_is_begun_during_a_rotation_outlives_it() {
    let house = House::open();
    let client = house.gateway.client();
    for _ in 0..5 {
        let owner = house.owner();
        let body = json!({"connectionKey": owner.key, "client": {"name": "thief"}});
        let opened = AtomicUsize::new(0);
        let steal = || {
            let mut sessions = Vec::new();
            loop {
                let reply = client.post("/link/handshake", body.clone());
                if reply.status != 200 {
                    return sessions;
                }
                sessions.push(reply.text_at("/sessionId"));
                assert!(sessions.len() < 100_000, "the key is never rotated");
                opened.fetch_add(1, Ordering::Relaxed);
            }
        };
        let sessions: Vec<String> = std::thread::scope(|scope| {
            let thieves: Vec<_> = (0..4).map(|_| scope.spawn(steal)).collect();
            until_true("sessions of the thief", || {
                opened.load(Ordering::Relaxed) > 8
            });
            owner.must_post("/v1/connection-key/rotate", json!({}));
            let lists = thieves.into_iter().map(|t| t.join().expect("a list"));
            lists.flatten().collect()
        });
        assert!(sessions.len() > 8, "the control");
        for session in sessions {
            client
                .with("x-plexus-session", &session)
                .get("/manifest")
                .expect_error(401, "session_expired");
        }
    }
}

/// A caller that asks and hangs up leaves a whole item behind, or nothing.
#[test]
fn an_item_is_planned_although_its_caller_hung_up() {
    let (house, agent) = House::with_reader("one");
    for n in 0..12_u8 {
        let input = note(&format!("new-{n}.txt"), "text");
        let request = if n.is_multiple_of(2) {
            agent
                .client()
                .request("POST", "/invoke")
                .json(json!({"id": WRITE, "input": input}))
        } else {
            agent
                .client()
                .request("PUT", "/grants")
                .json(json!({"grants": {WRITE: "allow"}, "intents": {WRITE: {"input": input}}}))
        };
        agent.client().leave_after(&request, || {});
    }
    // The last of the agent's own asks comes after all of them.
    agent.must_ask(WRITE, note("last.txt", "text"));
    let pending = until("a plan of every item", || {
        let pending = house.owner().pending();
        pending
            .iter()
            .all(|card| card["asks"][0]["plan"].is_object())
            .then_some(pending)
    });
    let kept = std::fs::read_dir(house.gateway.state().join("pending")).expect("the folder");
    assert_eq!(
        kept.count(),
        pending.len(),
        "an input for each item, and no other"
    );
}

/// The owner approves and closes the window: what was approved is done all the same.
#[test]
fn an_approved_run_runs_although_the_owner_hung_up() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    for n in 0..8 {
        let text = format!("run {n}");
        let reply =
            agent.invoke_body(json!({"id": COUNT, "input": line(&text), "onApproval": "run"}));
        let item = reply.text_at("/error/pendingId");
        let card = owner.card(&item);
        let approve = owner
            .client
            .request("POST", &format!("/admin/api/pending/{item}"))
            .json(approval(&card, "once"));
        owner.client.leave_after(&approve, || {});
        // It was heard whole, or not at all.
        let again = approval(&card, "once");
        let status = owner.decide(&item, again).status;
        assert!(matches!(status, 200 | 404), "{status}");
        until_true("the effect", || workshop.effects().contains(&text));
    }
    assert_eq!(workshop.effects().len(), 8);
}

fn input_file(workshop: &Workshop, item: &str) -> std::path::PathBuf {
    workshop
        .gateway
        .state()
        .join(format!("pending/{item}.{COUNT}.input"))
}

/// The file of an input holds something else than what was asked with: it is not shown as if it were, and not approved.
#[test]
fn an_input_that_was_swapped_on_disk_is_neither_shown_nor_run() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let ask = |text: &str| {
        let reply =
            agent.invoke_body(json!({"id": COUNT, "input": line(text), "onApproval": "run"}));
        reply.text_at("/error/pendingId")
    };
    let swapped = ask("harmful");
    let _ = owner.card(&swapped);
    let kept = std::fs::read(input_file(&workshop, &swapped)).expect("the input");
    std::fs::write(input_file(&workshop, &swapped), r#"{"line":"harmless"}"#).expect("swapped");
    let card = owner.card(&swapped);
    assert!(!card.to_string().contains("harmless"), "{card}");
    let approve = approval(&card, "once");
    owner
        .decide(&swapped, approve.clone())
        .expect_error(409, "plan_failed");
    std::fs::remove_file(input_file(&workshop, &swapped)).expect("removed");
    owner
        .decide(&swapped, approve)
        .expect_error(409, "plan_failed");
    assert!(workshop.effects().is_empty());
    // The control: with what was asked it can be approved, and is run.
    std::fs::write(input_file(&workshop, &swapped), kept).expect("put back");
    owner.approve(&swapped, "once");
    until_true("the effect", || workshop.effects() == ["harmful"]);
}

/// A run that came to nothing is not tried again by a restart.
#[test]
fn a_run_that_was_refused_stays_so() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    let reply = agent.invoke_body(json!({"id": COUNT, "input": line("one"), "onApproval": "run"}));
    let item = reply.text_at("/error/pendingId");
    let card = workshop.owner().card(&item);
    workshop.folder.write("state", "1");
    workshop
        .owner()
        .decide(&item, approval(&card, "once"))
        .expect_ok();
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(
        status["result"]["error"]["code"], "precondition_changed",
        "{status}"
    );
    workshop.gateway.restart();
    let agent = workshop.back(&agent);
    let again = agent.status(&item).expect_ok();
    assert_eq!(
        again["result"]["error"]["code"], "precondition_changed",
        "{again}"
    );
    assert!(workshop.effects().is_empty());
}

/// The session that asked is a credential of its agent: with the agent it ends, and what a run brought is its secret.
#[test]
fn the_result_of_a_run_ends_with_its_agent() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let reply = agent.invoke_body(json!({"id": COUNT, "input": line("one"), "onApproval": "run"}));
    let item = reply.text_at("/error/pendingId");
    owner.approve(&item, "once");
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(status["result"]["ok"], true, "the control: {status}");
    owner.revoke_agent("one");
    agent.status(&item).expect_error(403, "session_expired");
    // Under the same name again: another program, which the old session does not speak for.
    workshop.reader("one");
    let status = agent.status(&item);
    assert!(status.at("/result").is_null(), "{status}");
}

/// Looking at what became of an item asks the owner for nothing.
#[test]
fn a_status_after_a_revoke_asks_for_nothing() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let item = agent.ask(json!({READ: "allow"})).text_at("/pendingId");
    owner.approve(&item, "1h");
    assert!(
        agent.status(&item).at("/token/token").is_string(),
        "the control"
    );
    owner.revoke("one", READ);
    for session in [agent.clone(), agent.another_session()] {
        session.status(&item).expect_status(200);
    }
    assert_eq!(owner.pending(), Vec::<Value>::new());
    let grant = house.gateway.agent("two");
    let item = grant.ask(json!({READ: "allow"})).text_at("/pendingId");
    owner.approve(&item, "1h");
    owner.revoke("two", READ);
    let status = grant.another_session().status(&item).expect_ok();
    assert!(status["token"].is_null(), "{status}");
    assert_eq!(owner.pending(), Vec::<Value>::new());
}

/// The session that asked learns that nothing was done, although its credential has ended; nobody else learns anything.
#[test]
fn a_request_says_how_it_ended_with_its_credential() {
    let house = House::open();
    for how in ["the agent was revoked", "the connection key was rotated"] {
        let agent = house.reader("one");
        let item = agent.must_ask(WRITE, note("a.txt", "a"));
        let second = agent.another_session();
        second.status(&item).expect_ok();
        match how {
            "the agent was revoked" => drop(house.owner().revoke_agent("one")),
            _ => {
                house.gateway.cli(["key", "rotate"]).expect_ok();
            }
        }
        let status = agent.status(&item).expect_ok();
        assert_eq!(status["state"], "expired", "{status}");
        assert_eq!(status["reason"], how, "{status}");
        assert!(status["token"].is_null(), "{status}");
        let other = house.reader("other");
        for session in [second, other] {
            session.status(&item).expect_error(403, "session_expired");
        }
    }
    assert!(!house.workspace.has("a.txt"), "nothing was done");
}

/// Two that decide at the same time: one of them did.
#[test]
fn one_decision_of_many() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    for round in 0..6 {
        let text = format!("round {round}");
        let reply =
            agent.invoke_body(json!({"id": COUNT, "input": line(&text), "onApproval": "run"}));
        let item = reply.text_at("/error/pendingId");
        let card = owner.card(&item);
        let decide = |n: usize| {
            let body = if n.is_multiple_of(2) {
                approval(&card, "once")
            } else {
                json!({"action": "deny"})
            };
            (n.is_multiple_of(2), owner.decide(&item, body).status)
        };
        let answers: Vec<(bool, u16)> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..6).map(|n| scope.spawn(move || decide(n))).collect();
            all.into_iter()
                .map(|t| t.join().expect("an answer"))
                .collect()
        });
        let decided: Vec<_> = answers
            .iter()
            .filter(|(_, status)| *status == 200)
            .collect();
        assert_eq!(decided.len(), 1, "{answers:?}");
        if decided[0].0 {
            let status = agent.status_after(&item, 20).expect_ok();
            assert_eq!(status["result"]["ok"], true, "{status}");
        } else {
            agent.must_fail(COUNT, line(&text), 403, "denied_by_owner");
        }
        assert_eq!(workshop.effects().contains(&text), decided[0].0);
    }
}

/// Lets no write of the daemon go beyond the first byte of a file, or lets them go on.
#[cfg(target_os = "linux")]
fn files_may_grow(gateway: &plexus_tests::Gateway, may: bool) {
    let limit = if may { "unlimited" } else { "1" };
    let set = std::process::Command::new("prlimit")
        .args(["--pid", &gateway.pid().to_string()])
        .arg(format!("--fsize={limit}:unlimited"))
        .status()
        .expect("prlimit of util-linux");
    assert!(set.success());
}

/// The ledger cannot record, so the revoke cannot be saved: it holds all the same, says so, and is saved later.
#[cfg(target_os = "linux")]
#[test]
fn a_revoke_that_cannot_be_saved_holds() {
    let workshop = Workshop::open();
    let owner = workshop.owner();
    let (one, two) = (workshop.reader("one"), workshop.reader("two"));
    let bystander = workshop.reader("three");
    let echo = |agent: &plexus_tests::Agent| agent.invoke("fixture.echo", json!({"text": "x"}));
    let token = one.token(&["fixture.echo"]);
    echo(&one).expect_ok();
    let revoke = |path: &str, body: Value| {
        let reply = owner.post(path, body);
        let error = reply.expect_error(503, "audit_unavailable");
        assert_eq!(error["held"], true, "{reply}");
    };
    // One token of somebody who keeps its credential.
    let four = workshop.reader("four");
    let one_of_four = four.token(&["fixture.echo"]);
    let bearing = four.bearing(&one_of_four);
    let body = json!({"id": "fixture.long", "input": {"ms": 1}, "async": true});
    let run = four.invoke_body(body).text_at("/run/runId");
    let run = format!("/invoke/status?runId={run}");
    bearing.get(&run).expect_ok();
    files_may_grow(&workshop.gateway, false);
    let id = json!({"agentId": "two", "capabilityId": "fixture.echo"});
    echo(&two).expect_error(503, "audit_unavailable");
    revoke("/admin/api/agents/revoke", json!({"agentId": "one"}));
    revoke("/admin/api/revoke", id);
    revoke("/grants/revoke", json!({"jti": one_of_four["jti"]}));
    let again = json!({"jti": one_of_four["jti"], "sessionId": four.session});
    let refused = |when: &str| {
        let reply = bearing.post("/grants/refresh", again.clone());
        reply.expect_error(401, "token_revoked");
        let reply = bearing.get(&run);
        assert_eq!(reply.status, 403, "{when}: {reply}");
    };
    refused("held");
    files_may_grow(&workshop.gateway, true);
    // The ledger records again; what was taken back is taken back.
    until_true("the ledger to record", || echo(&bystander).status == 200);
    refused("held or saved");
    echo(&one).expect_error(401, "session_expired");
    one.must_be_signed_out();
    let called = one.invoke_with(&token, "fixture.echo", json!({"text": "x"}));
    assert_eq!(called.status, 401, "{called}");
    plexus_tests::agent::handshake(&one.anonymous, &one.pat).expect_status(401);
    echo(&two).expect_error(401, "grant_required");
    // Any act of the owner saves it first.
    owner.must_post("/admin/api/pause", json!({"on": false}));
    let _ = owner
        .audited(|event| event["detail"]["event"] == "agent.revoke" && event["agentId"] == "one");
    let two_again = workshop.reader("two");
    echo(&two_again).expect_ok();
}

/// A key gives again what a read brought, on the terms on which it was read: not past a narrower grant, and not to
/// the next agent of that name.
#[test]
fn a_kept_answer_is_no_way_round_a_narrower_grant() {
    let house = House::open();
    house.workspace.write("private/a.txt", "private");
    let owner = house.owner();
    let call = |agent: &plexus_tests::Agent| {
        agent.invoke_body(
            json!({"id": READ, "input": {"path": "private/a.txt"}, "idempotencyKey": "k"}),
        )
    };
    let agent = house.reader("one");
    call(&agent).expect_ok();
    assert_eq!(call(&agent).expect_ok()["replayed"], true, "the control");
    let narrower = json!({"pathPrefix": {"field": "path", "allow": ["docs"]}});
    owner.must_put(
        "/admin/api/grants",
        json!({"agentId": "one", "grants": {READ: {"decision": "allow", "constraint": narrower}}}),
    );
    let reply = call(&agent);
    reply.expect_error(401, "approval_required");
    let next = house.reader("one");
    let fresh = call(&next).expect_ok();
    assert_ne!(fresh["replayed"], true, "{fresh}");
}

/// Nor past what the owner hid since, nor back to where the source pointed before.
#[test]
fn a_kept_answer_is_no_way_to_what_was_hidden_or_was_elsewhere() {
    let house = House::open();
    house.workspace.write("private/a.txt", "of before");
    let owner = house.owner();
    let agent = house.reader("one");
    let of_workspace = |act: &str, body: Value| {
        let path = format!("/admin/api/sources/workspace/{act}");
        owner.post(&path, body).expect_ok()
    };
    let call = |path: &str| {
        agent.invoke_body(json!({"id": READ, "input": {"path": path}, "idempotencyKey": path}))
    };
    for path in ["private/a.txt", "report.txt"] {
        call(path).expect_ok();
        assert_eq!(call(path).expect_ok()["replayed"], true, "the control");
    }
    of_workspace("hide", json!({"folders": ["private"]}));
    let hidden = call("private/a.txt");
    let error = hidden.expect_error(200, "transport_error");
    assert_eq!(error["detail"]["reason"], "not_found", "{hidden}");

    let elsewhere = plexus_tests::Folder::empty();
    elsewhere.write("report.txt", "of elsewhere");
    of_workspace("reconfigure", json!({"route": {"path": elsewhere.path()}}));
    owner.grant("one", READ, "1h").expect_ok();
    let moved = call("report.txt").expect_ok();
    assert_ne!(moved["replayed"], true, "{moved}");
    assert!(moved.to_string().contains("of elsewhere"), "{moved}");
}

/// Connections that say nothing take no descriptor that the owner's socket and the ledger need.
#[cfg(target_os = "linux")]
#[test]
fn a_crowd_does_not_lock_the_owner_out() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // What a program commonly starts with; the daemon inherits it.
    setrlimit(Resource::RLIMIT_NOFILE, 1024, most).expect("lowered");
    let house = House::open();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    assert!(most > 2_400, "the crowd needs descriptors of its own");
    let agent = house.reader("one");
    agent.must(READ, report());
    let client = house.gateway.client();
    let crowd: Vec<_> = (0..1_100).map(|_| client.connect()).collect();
    let began = std::time::Instant::now();
    let owner = plexus_tests::Owner::new(&house.gateway.owner_socket(), &house.gateway.key());
    owner.must_post("/admin/api/pause", json!({"on": true}));
    owner.connect("two", &[READ]);
    assert_eq!(crowd.len(), 1_100);
    // Not only when the silent ones were sent away, which takes ten seconds.
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}
