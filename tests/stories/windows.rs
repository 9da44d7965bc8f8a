//! For how long, and within which bounds.

use crate::house::{COUNT, House, READ, WRITE, Workshop, line, note, report};
use crate::mcp::server;
use crate::mcp_http::Plain;
use plexus_tests::texts::text_of;
use plexus_tests::{McpClient, owner::approval, texts::assert_contains, waiting::until_true};
use serde_json::{Value, json};

#[test]
fn the_owner_chooses_the_window() {
    let house = House::open();
    let owner = house.owner();
    for kind in ["1h", "1d", "7d", "until-revoked"] {
        let agent = house.gateway.agent(&format!("agent-{kind}"));
        let item = agent.must_ask(READ, report());
        owner.approve(&item, kind);
        assert_eq!(agent.ledger()[0]["trustWindow"]["kind"], kind);
        agent.must(READ, json!({"path": "notes/today.md"}));
    }
}

/// An agent can only shorten: what it asked for is what the card offers, and what a token of a standing grant lasts.
#[test]
fn an_agent_may_ask_for_less() {
    let (house, agent) = House::with_reader("one");
    let asks = |kind: &str| {
        let wish = json!({"decision": "allow", "trustWindow": {"kind": kind}});
        let reply = agent.ask(json!({WRITE: wish}));
        let item = reply.text_at("/pendingId");
        let wanted = house.owner().card(&item)["requestedTrustWindow"]["kind"].take();
        house.owner().deny(&item, "only looking");
        (
            reply.at("/pendingNarration/0/defaultTrustWindow/kind"),
            wanted,
        )
    };
    assert_eq!(asks("1h"), (json!("1h"), json!("1h")));
    // Longer than the default of a write.
    let (offered, wanted) = asks("until-revoked");
    assert_eq!(offered, "1d");
    assert_ne!(wanted, "until-revoked");

    let custom = json!({"kind": "custom", "ms": 60_000});
    let less = agent
        .ask(json!({READ: {"decision": "allow", "trustWindow": custom}}))
        .expect_ok();
    assert_eq!(less["trustWindow"], custom);
    assert_eq!(less["expiresAt"], less["grantExpiresAt"]);
    let plain = agent.ask(json!({READ: "allow"})).expect_ok();
    assert_eq!(plain["trustWindow"]["kind"], "7d", "the grant is as it was");
}

/// Whatever window an agent asks for, a grant that counts already stays as the owner made it (D3).
#[test]
fn asking_again_changes_no_grant() {
    let (house, agent) = House::with_agent("one");
    house.owner().approve(&agent.must_ask(READ, report()), "1h");
    let before = agent.ledger();
    let ends = before[0]["expiresAt"].as_str().expect("an end");
    for wish in [
        json!("allow"),
        json!({"decision": "allow", "trustWindow": {"kind": "7d"}}),
        json!({"decision": "allow", "trustWindow": {"kind": "until-revoked"}}),
        json!({"decision": "allow", "trustWindow": {"kind": "custom", "ms": 60_000}}),
    ] {
        let token = agent.ask(json!({READ: wish})).expect_ok();
        assert!(token["token"].is_string(), "{token}");
        assert!(
            token["grantExpiresAt"].as_str().expect("an end") <= ends,
            "{token}"
        );
    }
    assert_eq!(agent.ledger(), before);
}

#[test]
fn windows_that_are_none() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let item = agent.must_ask(READ, report());
    let card = owner.card(&item);
    for window in [
        json!({"kind": "2y"}),
        json!({"kind": "custom"}),
        json!({"kind": "custom", "ms": -5}),
        json!("1h"),
        json!({}),
    ] {
        owner
            .decide(&item, json!({"action": "approve", "trustWindow": window, "cardDigest": card["cardDigest"]}))
            .expect_error(400, "internal_error");
    }
    for body in [json!({"action": "maybe"}), json!({}), json!([])] {
        owner
            .decide(&item, body)
            .expect_error(400, "internal_error");
    }
    owner
        .decide("pend_nope", json!({"action": "approve"}))
        .expect_error(404, "unknown_capability");
    owner.approve(&item, "1h");
}

/// A write of a managed or first-party source may stand when the owner says so on its card.
#[test]
fn an_elevated_write_may_stand() {
    let (workshop, agent) = Workshop::with_reader("one");
    let item = agent.must_ask(COUNT, line("first"));
    workshop.owner().approve(&item, "1h");
    agent.must(COUNT, line("first"));
    agent.must(COUNT, line("second"));
    assert_eq!(workshop.effects(), ["first", "second"]);
    assert_eq!(
        agent
            .ledger()
            .iter()
            .filter(|grant| grant["capabilityId"] == COUNT)
            .count(),
        1
    );
}

/// What executes has a ceiling that nobody lifts.
#[test]
fn what_executes_is_approved_call_by_call() {
    let workshop = Workshop::open();
    let owner = workshop.owner();
    // What it may do by itself does not take that along (D10).
    let agent = workshop.writer("one");
    agent.must(COUNT, line("granted"));
    let item = agent.must_ask("fixture.run", json!({"prompt": "once"}));
    let card = owner.card(&item);
    // Another window than once comes to once; it never stands.
    let longer = owner.decide(&item, approval(&card, "1h")).expect_ok();
    assert_eq!(longer["granted"], json!([]), "{longer}");
    assert_eq!(longer["once"], json!(["fixture.run"]), "{longer}");
    agent.must("fixture.run", json!({"prompt": "once"}));
    let again = agent.must_ask("fixture.run", json!({"prompt": "once"}));
    assert_ne!(again, item);
    let reply = owner.grant("one", "fixture.run", "1d");
    let standing = agent
        .ledger()
        .iter()
        .any(|grant| grant["capabilityId"] == "fixture.run");
    assert!(!standing, "{reply}");
    assert_eq!(workshop.effects(), ["granted", "once"]);
}

/// A plan that turns out worse than the permit stops before any change and asks.
#[test]
fn a_plan_above_its_permit_asks() {
    let (workshop, agent) = Workshop::with_writer("one");
    agent.must(COUNT, line("plain"));
    let worse = json!({"line": "worse", "plan": "executes"});
    let call = json!({"id": COUNT, "input": worse, "purpose": "as it says"});
    let reply = agent.invoke_body(call);
    let error = reply.expect_error(401, "approval_required");
    assert_eq!(error["effect"], "none");
    assert_eq!(workshop.effects(), ["plain"]);
    let item = error["pendingId"].as_str().expect("an id");
    let card = workshop.owner().card(item);
    // The agent's words are the agent's, and the gateway's are not among them.
    assert_eq!(card["agentPurpose"], "as it says");
    assert_eq!(card["asks"][0]["plan"]["rating"], "execute", "{card}");
    // Whatever window the owner sends, what executes stands for one call.
    let decided = workshop
        .owner()
        .decide(item, approval(&card, "1h"))
        .expect_ok();
    assert_eq!(decided["once"], json!([COUNT]));
    agent.must(COUNT, json!({"line": "worse", "plan": "executes"}));
    assert_eq!(workshop.effects(), ["plain", "worse"]);
}

fn within(prefix: &str) -> Value {
    json!({"pathPrefix": {"field": "path", "allow": [prefix]}})
}

#[test]
fn a_constraint_holds() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let reply = agent
        .ask(json!({READ: {"decision": "allow", "constraint": within("notes/")}}))
        .expect_ok();
    let item = reply["pendingId"].as_str().expect("it pends");
    owner.approve(item, "1h");
    // A tool whose grant covers a part of its inputs says that a call may ask.
    let list = "workspace.list";
    owner.grant("one", list, "1h").expect_ok();
    let tools = Plain::at(&house.gateway, &agent).ask("tools/list", json!({}));
    let tools = tools["result"]["tools"].as_array().expect("tools");
    for (id, asks) in [(READ, true), (list, false)] {
        assert_eq!(agent.entry(id).get("narrowed").is_some(), asks, "{id}");
        let mut tool = tools.iter().filter(|t| t["_meta"]["dev.plexus/id"] == id);
        let words = tool.next().expect(id)["description"].to_string();
        assert_eq!(words.contains("may have to approve"), asks, "{id}: {words}");
    }
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "plain").served();
    let asks = |client: &mut McpClient| {
        let tools = client.tools();
        let mut tool = tools.iter().filter(|t| t["_meta"]["dev.plexus/id"] == list);
        let words = tool.next().expect(list)["description"].to_string();
        words.contains("may have to approve")
    };
    assert!(!asks(&mut client));
    let line = ["grants", "allow", "one", list, "--window", "1h"];
    let line = line.into_iter().chain(["--under", "path=notes"]);
    house.gateway.cli(line).expect_ok();
    client.hear("a change of the list", |message| {
        message["method"] == "notifications/tools/list_changed"
    });
    assert!(asks(&mut client));

    let token = agent.token(&[READ]);
    assert_eq!(
        token["scopes"][0]["constraint"],
        within("notes/"),
        "a bare request inherits it"
    );
    let read = |token: &Value, path: &str| agent.invoke_with(token, READ, json!({"path": path}));
    read(&token, "notes/today.md").expect_ok();
    for outside in ["notes/../report.txt", "/notes/today.md"] {
        let reply = read(&token, outside);
        assert_eq!(reply.at("/ok"), false, "{outside}");
        assert!(reply.at("/output").is_null(), "{reply}");
    }
    for outside in ["report.txt", "notesx/a"] {
        read(&token, outside).expect_error(401, "grant_required");
    }
    // A narrower wish is within the grant, and holds.
    let narrower = json!({READ: {"decision": "allow", "constraint": within("notes/deep/")}});
    let narrower = agent.ask(narrower).expect_ok();
    read(&narrower, "notes/today.md").expect_error(401, "grant_required");
    // A wider wish pends (D7); so does one that asks for none.
    for wider in [
        within(""),
        within("report.txt"),
        json!({}),
        json!({"match": []}),
    ] {
        let reply = agent
            .ask(json!({READ: {"decision": "allow", "constraint": wider}}))
            .expect_ok();
        assert_eq!(reply["status"], "grant_pending_user", "{wider}");
        owner.deny(reply["pendingId"].as_str().expect("an id"), "narrower");
    }
}

/// A narrowing spares questions: outside of it a call asks as it would without any grant, and the yes is for that call.
#[test]
fn call_outside_of_a_narrowed_grant_asks() {
    let house = House::open();
    let owner = house.owner();
    house.workspace.write("notes/mine.md", "there");
    let agent = house.gateway.agent("one");
    let search = "obsidian.vault.search";
    let line = |id, under| {
        let line = [
            "grants", "allow", "one", id, "--window", "1h", "--under", under,
        ];
        house.gateway.cli(line).expect_ok();
    };
    line(READ, "path=notes");
    line(WRITE, "path=notes");
    line("obsidian.vault.read", "path=Projects");
    let only = json!({"decision": "allow", "constraint": {"allow": {"field": "query", "values": ["plan"]}}});
    owner.client.must_put(
        "/admin/api/grants",
        json!({"agentId": "one", "grants": {search: only}, "trustWindow": {"kind": "1h"}}),
    );
    let narrowed = owner.grants();

    // The controls: within them nobody is asked.
    agent.must(READ, json!({"path": "notes/mine.md"}));
    agent.must(WRITE, note("notes/new.md", "x"));
    agent.must(search, json!({"query": "plan"}));
    assert_eq!(owner.pending(), Vec::<Value>::new());

    // What the source judges by where it leads, a read and an effect; what the gateway judges as it is written.
    let outside = [
        (READ, json!({"path": "report.txt"})),
        (WRITE, note("outside.md", "x")),
        (search, json!({"query": "secret"})),
    ];
    for (id, input) in outside {
        let item = agent.must_ask(id, input.clone());
        let again = agent.must_ask(id, input.clone());
        assert_eq!(item, again, "one card for one call");
        let card = owner.card(&item);
        let hour = card["choices"].as_array().expect("choices").iter();
        let hour = hour.clone().find(|one| one["window"] == "1h").expect("it");
        let words = hour["words"].as_str().expect("words");
        assert_contains(words, "; it replaces any grant that is limited to ");
        owner.approve(&item, "once");
        agent.must(id, input.clone());
        // The yes is used.
        let item = agent.must_ask(id, input.clone());
        owner.deny(&item, "no");
        agent.invoke(id, input).expect_error(403, "denied_by_owner");
    }
    assert_eq!(house.workspace.read("outside.md"), "x");

    // The same with a yes that the gateway carries out: a repeated call joins it, by its key as often as it is made.
    let read = json!({"id": READ, "input": {"path": "other.txt"}, "onApproval": "run"});
    let write = json!({"id": WRITE, "input": note("keyed.md", "x"), "onApproval": "run", "idempotencyKey": "k"});
    house.workspace.write("other.txt", "other");
    for (body, again) in [(read, false), (write, true)] {
        let error = agent
            .invoke_body(body.clone())
            .expect_error(401, "approval_required");
        let item = error["pendingId"].as_str().expect("an id").to_owned();
        owner.approve(&item, "once");
        agent.invoke_body(body.clone()).expect_ok();
        assert_eq!(owner.pending(), Vec::<Value>::new(), "joined");
        if again {
            house.workspace.write("keyed.md", "by hand");
            assert_eq!(agent.invoke_body(body).expect_ok()["replayed"], true);
            assert_eq!(house.workspace.read("keyed.md"), "by hand");
        }
    }

    // Asked for beforehand with the call itself: no token that would refuse it, and the yes opens it once.
    house.workspace.write("asked.txt", "asked");
    let asked = || json!({"path": "asked.txt"});
    let outside = [(READ, asked()), (search, json!({"query": "asked"}))];
    for (id, input) in outside {
        let pends = agent.ask_to(id, input.clone()).expect_ok();
        assert_eq!(pends["status"], "grant_pending_user", "{pends}");
        let item = pends["pendingId"].as_str().expect("an id");
        owner.approve(item, "once");
        let token = agent.ask_to(id, input.clone()).expect_ok();
        agent.invoke_with(&token, id, input.clone()).expect_ok();
        let item = agent.must_ask(id, input);
        owner.deny(&item, "no");
    }
    // A yes to one call, whatever it is, reaches it too: once.
    let yes_to_one_call = |constraint: Value| {
        let wanted = json!({"decision": "allow", "constraint": constraint});
        let pends = agent.ask(json!({search: wanted})).expect_ok();
        let item = pends["pendingId"].as_str().expect("an id");
        let mut yes = approval(&owner.card(item), "once");
        yes["anyInput"] = json!(true);
        owner.decide(item, yes).expect_ok();
    };
    yes_to_one_call(json!({}));
    let any = || json!({"query": "any"});
    let token = agent.ask_to(search, any()).expect_ok();
    agent.invoke_with(&token, search, any()).expect_ok();
    let asks = agent.ask_to(search, any()).expect_ok();
    owner.deny(asks["pendingId"].as_str().expect("an id"), "no");
    // One that is narrowed itself does not: what lies outside of both asks, and is not sent round.
    yes_to_one_call(json!({"allow": {"field": "query", "values": ["other"]}}));
    let third = || json!({"query": "third"});
    let item = agent.must_ask(search, third());
    let asks = agent.ask_to(search, third()).expect_ok();
    assert_eq!(asks["pendingId"], item, "{asks}");
    owner.deny(&item, "no");
    agent.must(search, json!({"query": "other"}));
    // The controls: calls within have their token at once, also one whose note goes by its name.
    house.vault.write("Projects/Only here.md", "x");
    for (id, path) in [
        (READ, "notes/mine.md"),
        ("obsidian.vault.read", "Only here"),
    ] {
        let input = || json!({ "path": path });
        let token = agent.ask_to(id, input()).expect_ok();
        assert!(token["token"].is_string(), "{token}");
        agent.invoke_with(&token, id, input()).expect_ok();
    }

    house.workspace.write("third.txt", "third");
    let third = || json!({"path": "third.txt"});
    // A token of the narrowed grant does not use the yes up; the one that comes with the yes opens it.
    let token = agent.token(&[READ]);
    let item = agent.must_ask(READ, third());
    owner.approve(&item, "once");
    agent
        .invoke_with(&token, READ, third())
        .expect_error(401, "grant_required");
    let status = agent.status(&item).expect_ok();
    agent
        .invoke_with(&status["token"], READ, third())
        .expect_ok();
    agent.must_ask(READ, third());
    let item = text_of(&owner.pending()[0]["pendingId"]);
    // Nor does a yes that would exclude its own call.
    for window in ["once", "1h"] {
        let mut narrow = approval(&owner.card(&item), window);
        narrow["constraint"] = within("notes");
        let error = owner
            .decide(&item, narrow)
            .expect_error(422, "schema_validation_failed");
        let message = error["message"].to_string();
        assert_contains(&message, "lies outside of that: limit its “path” to “");
    }
    // A yes that names no time is for this call.
    owner
        .decide(&item, json!({"action": "approve"}))
        .expect_ok();
    let held = owner.grants();
    let constraints = |grants: &[Value]| -> Vec<Value> {
        grants
            .iter()
            .map(|grant| grant["constraint"].clone())
            .collect()
    };
    assert_eq!(constraints(&held), constraints(&narrowed));
    // One that takes its place says so.
    let again = ["grants", "allow", "one", READ, "--window", "1h"];
    let said = house.gateway.cli(again);
    assert_contains(
        said.expect_ok(),
        "in place of the grant before it: path at or below notes; ends in ",
    );

    // A limit to a path that is not there is reported; so is a request that waits, and that the new grant may cover.
    assert!(!said.stderr.contains("warning"), "{said}");
    let under = |path: &str| {
        let path = format!("path={path}");
        let line = [
            "grants", "allow", "one", READ, "--window", "1h", "--under", &path,
        ];
        house.gateway.cli(line)
    };
    let nowhere = under("nowhere");
    nowhere.expect_ok();
    assert_contains(
        &nowhere.stderr,
        "warning: workspace has nothing at nowhere now",
    );
    // A Mac takes both for one.
    if cfg!(target_os = "linux") {
        house.workspace.write("u\u{308}/x.md", "there");
        let but = "nothing at \u{fc} now, but at that name with its letters composed otherwise";
        assert_contains(&under("\u{fc}").stderr, but);
    }
    house.workspace.write("other.txt", "there");
    let other = json!({"path": "other.txt"});
    let once = format!("connect two --standing {WRITE} --allow {READ} --window once");
    let said = house.gateway.cli(once.split(' '));
    for id in [READ, WRITE] {
        let row = format!("{id:<15}  a window of once grants nothing in advance\n");
        assert_contains(said.expect_ok(), &row);
    }
    let waits = agent.must_ask(READ, other.clone());
    let covers = under("other.txt");
    let named = format!("requests for this that still wait for you: {waits}");
    assert_contains(covers.expect_ok(), &named);
    agent.must(READ, other);
    // A yes for a time names it too, and what it covers would run.
    let mine = json!({"path": "notes/mine.md"});
    let item = agent.must_ask(READ, mine.clone());
    let yes = format!("approvals approve {item} --window 1h --under path=notes --yes");
    assert_contains(house.gateway.cli(yes.split(' ')).expect_ok(), &named);
    let input = mine.to_string();
    let explain = ["explain", "one", READ, "--input", &input];
    let would = house.gateway.cli(explain);
    assert_contains(would.expect_ok(), "it would run: ");
    agent.must(READ, mine);
}

/// A rule is judged on what a path leads to, and a rule that can match nothing is refused when made.
#[test]
fn constraints_that_are_none() {
    let (house, agent) = House::with_agent("one");
    for bad in [
        json!({"pathPrefix": {"field": "path", "allow": ["/etc"]}}),
        json!({"pathPrefix": {"field": "path", "allow": ["../x"]}}),
        json!({"pathPrefix": {"field": "path", "allow": ["Projects/Plexus/../.."]}}),
        json!({"pathPrefix": {"field": "path"}}),
        json!({"unknownPart": 1}),
        json!({"pathPrefix": {"field": "colour", "allow": ["red"]}}),
        json!({"pathPrefix": {"field": "path", "allow": vec!["notes"; 65]}}),
        json!("notes/"),
    ] {
        let reply = agent.ask(json!({READ: {"decision": "allow", "constraint": bad}}));
        assert_eq!(reply.status, 400, "{bad}: {reply}");
    }
    assert!(house.owner().pending().is_empty());
}

#[test]
fn a_number_of_calls() {
    let (workshop, agent) = Workshop::with_reader("one");
    let reply = agent
        .ask(json!({COUNT: {"decision": "allow", "constraint": {"maxCalls": 3}}}))
        .expect_ok();
    workshop
        .owner()
        .approve(reply["pendingId"].as_str().expect("an id"), "1h");
    let (one, two) = (agent.token(&[COUNT]), agent.token(&[COUNT]));
    let call =
        |token: &Value, n: u32| agent.invoke_with(token, COUNT, json!({"line": n.to_string()}));
    call(&one, 1).expect_ok();
    // By the session alone a token comes with it, while there are calls left; the last one asks the owner for nothing.
    let by_session = |n: &str| agent.must(COUNT, json!({ "line": n }));
    assert!(by_session("2")["grant"].is_object());
    assert!(by_session("3")["grant"].is_null());
    assert_eq!(workshop.owner().pending(), Vec::<Value>::new());
    for token in [&one, &two] {
        call(token, 4).expect_error(401, "grant_required");
    }
    assert_eq!(workshop.effects(), ["1", "2", "3"]);
}

/// What was read under a credential that has ended, or before a code that is yet to be redeemed, was another program's.
#[test]
fn what_was_read_ends_with_the_credential() {
    let house = House::open();
    house
        .owner()
        .connect_as(json!({"agentId": "w", "capabilities": [READ, WRITE], "standing": [WRITE]}))
        .expect_ok();
    let key = house.gateway.key();
    let client = house.gateway.client();
    let by_key = |key: &str| {
        let body = json!({"connectionKey": key, "client": {"name": "old", "version": "1", "agentId": "w"}});
        let reply = client.post("/link/handshake", body);
        reply.expect_ok();
        client.with("x-plexus-session", &reply.text_at("/sessionId"))
    };
    let call = |client: &plexus_tests::http::Client, id: &str, input: Value| {
        client.post("/invoke", json!({"id": id, "input": input}))
    };
    let read = |client: &plexus_tests::http::Client| {
        call(client, READ, report()).expect_ok();
    };
    let write = |client: &plexus_tests::http::Client, text: &str| {
        call(client, WRITE, note("report.txt", text))
    };
    let unread = |reply: &plexus_tests::Response| {
        let error = reply.expect_error(200, "precondition_changed");
        assert_eq!(error["detail"]["reason"], "unread");
    };
    // A code is made for an agent that has none redeemed: the program that comes with it has read nothing.
    let session = by_key(&key);
    read(&session);
    let made = house.owner().get("/integration/w?as=generic").expect_ok();
    let code = made["enrollCode"].as_str().expect("a code");
    let agent = plexus_tests::Agent::enroll(&client, code).client();
    unread(&write(&agent, "unseen\n"));
    read(&agent);
    write(&agent, "seen\n").expect_ok();
    // The key is another: so is its program.
    let rotated = house
        .owner()
        .must_post("/v1/connection-key/rotate", json!({}));
    let session = by_key(rotated["connectionKey"].as_str().expect("a key"));
    unread(&write(&session, "unseen\n"));
    assert_eq!(house.workspace.read("report.txt"), "seen\n");
    read(&session);
    write(&session, "seen again\n").expect_ok();
}

/// Two writers never overwrite each other silently: a standing write is held against what this agent last saw there.
#[test]
fn a_standing_write_is_held_against_what_was_read() {
    let (house, agent) = House::with_writer("w", &[WRITE]);

    let unread = agent.invoke(WRITE, note("report.txt", "blind\n"));
    let error = unread.expect_error(200, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "unread");
    assert_eq!(house.workspace.read("report.txt"), "first line\n");
    // Of the file the owner finds it too, although its worker touched nothing.
    let told = house
        .gateway
        .cli(["activity", "--touched", "report.txt", "--refused"]);
    assert_contains(
        told.expect_ok(),
        "w was refused workspace.write: it had not read what it would replace: report.txt",
    );

    agent.must(READ, report());
    agent.must(WRITE, note("report.txt", "seen\n"));
    agent.must(WRITE, note("report.txt", "its own write counts\n"));

    house.workspace.write("report.txt", "the owner\n");
    agent
        .invoke(WRITE, note("report.txt", "over it\n"))
        .expect_error(200, "precondition_changed");
    assert_eq!(house.workspace.read("report.txt"), "the owner\n");
    // A new file is nobody's.
    agent.must(WRITE, note("brand/new.txt", "new\n"));
    // The digest may come with the input.
    let wrong = json!({"path": "report.txt", "content": "x", "ifDigest": "absent"});
    agent.must_fail(WRITE, wrong, 200, "precondition_changed");
}

/// What the owner's tools execute is never a plain write.
#[test]
fn paths_that_tools_execute_are_rated_higher() {
    let (house, agent) = House::with_writer("w", &[WRITE]);
    agent.must(WRITE, note("plain.txt", "fine\n"));
    for path in [
        ".envrc",
        ".git/hooks/pre-commit",
        ".vscode/tasks.json",
        "CLAUDE.md",
        ".GIT/Hooks/post-merge",
    ] {
        let reply = agent.invoke(WRITE, note(path, "echo hi\n"));
        reply.expect_error(401, "approval_required");
        assert!(!house.workspace.has(path), "{path}");
    }
}

#[test]
fn settings_apply_at_once() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let reply = owner.must_put(
        "/v1/config",
        json!({"tokenLifetimeMs": 5, "maxTrustWindowMs": 1, "allowUntilRevoked": false}),
    );
    assert_eq!(reply["config"]["tokenLifetimeMs"], 60_000, "clamped");
    assert_eq!(reply["config"]["maxTrustWindowMs"], 86_400_000);
    let config = owner.get("/v1/config").expect_ok();
    assert_eq!(config["tokenLifetimeMs"], 60_000);
    assert_eq!(config["allowUntilRevoked"], false);
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let card = owner.card(&item);
    let approved = owner.decide(&item, approval(&card, "until-revoked"));
    approved.expect_ok();
    let held = agent.ledger().into_iter();
    let held: Vec<_> = held
        .filter(|grant| grant["capabilityId"] == WRITE)
        .collect();
    assert_eq!(held.len(), 1, "{held:?}");
    assert_eq!(
        held[0]["trustWindow"]["kind"], "1d",
        "forever is switched off"
    );
    for body in ["{nope", "5", "null"] {
        owner
            .client
            .request("PUT", "/v1/config")
            .bytes(body)
            .send()
            .expect_error(400, "internal_error");
    }
}

/// The one setting that lets reads through without a card, off unless the owner switches it on.
#[test]
fn reads_may_allow_themselves_only_by_setting() {
    let house = House::open();
    let agent = house.narrow("one", &[READ, "workspace.list"]);
    house.owner().revoke("one", "workspace.list");
    let fresh = house.gateway.agent("two");
    fresh.must_ask(READ, report());
    house
        .owner()
        .must_put("/v1/config", json!({"autoAllowReads": true}));
    // In its selection, and not granted at connect.
    let connected = house
        .owner()
        .connect_as(json!({"agentId": "three", "capabilities": [READ, WRITE], "trustWindow": {"kind": "once"}}))
        .expect_ok();
    assert_eq!(connected["granted"], json!([]));
    let third = plexus_tests::Agent::enroll(
        &house.gateway.client(),
        connected["code"].as_str().expect("a code"),
    );
    // Exposed, and not in its selection: it asks.
    third.must_ask("workspace.list", json!({}));
    third.must(READ, report());
    // Effects ask as ever, and what was revoked stays so.
    third.must_ask(WRITE, note("a.txt", "a"));
    agent.must_ask("workspace.list", json!({}));
}

/// An approval that is narrowed past the very call it is about would end in a refusal of that call.
#[test]
fn approval_is_not_narrowed_past_its_own_call() {
    let (house, agent) = House::with_reader("one");
    let item = agent.must_ask(WRITE, note("notes/today.md", "one\n"));
    let under = |prefix: &str| {
        let mut approval = approval(&house.owner().card(&item), "1h");
        approval["constraint"] = json!({"pathPrefix": {"field": "path", "allow": [prefix]}});
        house.owner().decide(&item, approval)
    };
    let refused = under("elsewhere");
    assert_eq!(refused.status, 422, "{refused}");
    assert_contains(&refused.text_at("/error/message"), "“path”");
    assert_eq!(house.owner().pending().len(), 1, "it still waits");
    // The control: one that the call lies within.
    under("notes").expect_ok();
    until_true("the write", || house.workspace.has("notes/today.md"));
}
