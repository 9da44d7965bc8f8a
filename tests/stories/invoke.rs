//! Calls: what is checked in which order, and what every refusal says.

use crate::house::{House, READ, WRITE, nobody, note, report};
use plexus_tests::folders::{CANARY, SAFE_WORD};
use plexus_tests::owner::approval;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, list_of};
use plexus_tests::{Agent, golden};
use serde_json::{Value, json};

fn token(agent: &Agent, ids: &[&str]) -> String {
    agent.token(ids)["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

#[test]
fn listings_and_searches() {
    let (_house, agent) = House::with_reader("one");
    let list = agent.must("workspace.list", json!({}));
    assert_eq!(list["output"]["type"], "dir");
    let names: Vec<&Value> = list_of(&list["output"]["entries"])
        .iter()
        .map(|entry| &entry["name"])
        .collect();
    assert_eq!(names, [&json!("notes"), &json!("report.txt")]);
    let bare = agent
        .invoke_body(json!({"id": "workspace.list"}))
        .expect_ok();
    assert_eq!(bare["output"], list["output"], "input may be left out");

    let root = agent.must("obsidian.vault.read", json!({}));
    assert!(!root.to_string().contains(".obsidian"), "{root}");
    let hits = agent.must("obsidian.vault.search", json!({"query": "ONE WORD"}));
    assert_eq!(hits["output"]["hits"][0]["relativePath"], "Ideas.md");
    assert_eq!(hits["output"]["hits"][0]["line"], 3);
    assert_eq!(hits["output"]["truncated"], false);

    // A read returns the content that is there.
    let token = token(&agent, &[READ]);
    let reply = agent.invoke_with(&token, READ, report());
    let body = reply.expect_ok();
    golden::check("invoke-read", &body);
    let by_session = agent.must(READ, report());
    assert_eq!(by_session["output"], body["output"]);
    assert!(
        by_session["grant"]["token"].is_string(),
        "a token comes with it: {by_session}"
    );
}

#[test]
fn without_credentials() {
    let house = House::open();
    let client = house.gateway.client();
    let reply = client.post(
        "/invoke",
        json!({"id": READ, "input": {"path": "report.txt"}}),
    );
    let error = reply.expect_error(401, "grant_required");
    golden::check("invoke-without-credentials", &reply.json());
    assert_eq!(
        error["grantRequestUrl"],
        format!("{}/grants", house.gateway.base())
    );
    client
        .post("/invoke", json!({}))
        .expect_error(401, "grant_required");

    // The owner's own session, which is no agent's, calls nothing; it is told what is switched off.
    let key = json!({"connectionKey": house.gateway.key()});
    let opened = client.post("/link/handshake", key).expect_ok();
    let session = opened["sessionId"].as_str().expect("a session");
    let call = |id: &str| {
        client.with("x-plexus-session", session).post(
            "/invoke",
            json!({"id": id, "input": {"path": "report.txt"}}),
        )
    };
    call(READ).expect_error(404, "unknown_capability");
    call("nope.read").expect_error(404, "unknown_capability");
    house.owner().expose(READ, false);
    call(READ).expect_error(403, "capability_unexposed");
}

#[test]
fn bearers_that_are_no_token() {
    let (house, agent) = House::with_reader("one");
    let good = token(&agent, &[READ]);
    let (head, rest) = good.split_once('.').expect("three parts");
    let (claims, signature) = rest.split_once('.').expect("three parts");
    let flipped: String = signature
        .chars()
        .enumerate()
        .map(|(n, c)| {
            if n == 5 {
                if c == 'A' { 'B' } else { 'A' }
            } else {
                c
            }
        })
        .collect();
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    for bad in [
        "garbage",
        &agent.pat,
        &house.gateway.key(),
        &agent.session,
        &format!("{head}.{claims}.{flipped}"),
        &format!("{head}.{claims}."),
        &none,
        &format!("{head}.{claims}.{signature}.{signature}"),
    ] {
        agent
            .invoke_with(bad, READ, report())
            .expect_error(401, "token_revoked");
    }
    agent.invoke_with(&good, READ, report()).expect_ok();
    // With a bearer the session is not looked at.
    agent
        .client()
        .with("authorization", "Bearer garbage")
        .post(
            "/invoke",
            json!({"id": READ, "input": {"path": "report.txt"}}),
        )
        .expect_error(401, "token_revoked");
}

#[test]
fn a_token_opens_its_scopes_and_nothing_else() {
    let (house, agent) = House::with_reader("one");
    let token = token(&agent, &[READ]);
    agent.invoke_with(&token, READ, report()).expect_ok();
    agent
        .invoke_with(&token, "workspace.list", json!({}))
        .expect_error(401, "grant_required");
    agent
        .invoke_with(&token, WRITE, note("a.txt", "a"))
        .expect_error(401, "grant_required");
    agent
        .invoke_with(&token, "nope.read", json!({}))
        .expect_error(404, "unknown_capability");
    assert!(!house.workspace.has("a.txt"));

    // Nor what is not exposed.
    house.owner().expose(READ, false);
    // Its token names it, so it is told; its session knows of nothing.
    agent
        .invoke_with(&token, READ, report())
        .expect_error(403, "capability_unexposed");
    agent.must_fail(READ, report(), 404, "unknown_capability");
    house.owner().expose(READ, true);
    agent.invoke_with(&token, READ, report()).expect_ok();

    // A session that does not live opens no call.
    let client = house
        .gateway
        .client()
        .with("x-plexus-session", &nobody("sess_"));
    client
        .post(
            "/invoke",
            json!({"id": READ, "input": {"path": "report.txt"}}),
        )
        .expect_error(401, "session_expired");
    agent
        .invoke_body(json!({}))
        .expect_error(404, "unknown_capability");
    agent.must_fail("nope.read", json!({}), 404, "unknown_capability");
}

/// Ids outside of an agent's view answer alike, whether they exist or not (E26).
#[test]
fn what_an_agent_may_not_know_of_is_unknown() {
    let house = House::open();
    let agent = house.narrow("narrow", &[READ, "workspace.list"]);
    let token = token(&agent, &[READ]);
    let say = |reply: plexus_tests::Response, id: &str| {
        let error = reply.expect_error(404, "unknown_capability");
        error["message"]
            .as_str()
            .expect("a message")
            .replace(id, "?")
    };
    let unknown = say(
        agent.invoke("obsidian.vault.tickle", json!({})),
        "obsidian.vault.tickle",
    );
    let foreign = say(
        agent.invoke("obsidian.vault.read", json!({})),
        "obsidian.vault.read",
    );
    assert_eq!(unknown, foreign);
    let unknown = say(
        agent.invoke_with(&token, "obsidian.vault.tickle", json!({})),
        "obsidian.vault.tickle",
    );
    let foreign = say(
        agent.invoke_with(&token, "obsidian.vault.read", json!({})),
        "obsidian.vault.read",
    );
    assert_eq!(unknown, foreign);
    // A call that names none is told so.
    let unnamed = agent.invoke_body(json!({"input": {"path": "a"}}));
    let error = unnamed.expect_error(404, "unknown_capability");
    let why = error["message"].as_str().expect("a message");
    assert!(why.contains("`id`"), "{why}");
}

#[test]
fn inputs_that_do_not_fit() {
    let (_house, agent) = House::with_reader("one");
    let token = token(&agent, &[READ]);
    for bad in [
        json!({}),
        json!({"path": 5}),
        json!({"path": null}),
        json!({"path": ["report.txt"]}),
        json!([]),
        json!(["report.txt"]),
        json!("report.txt"),
        json!(null),
        json!(7),
    ] {
        let reply = agent.invoke_with(&token, READ, bad.clone());
        let error = reply.expect_error(422, "schema_validation_failed");
        assert_eq!(error["capabilityId"], READ, "{bad}");
        assert!(
            reply
                .at("/auditId")
                .as_str()
                .is_some_and(|id| id.starts_with("evt_")),
            "{reply}"
        );
    }
    let by_session = agent.invoke(READ, json!({}));
    by_session.expect_error(422, "schema_validation_failed");
    agent.invoke_with(&token, READ, report()).expect_ok();

    // Clients may say more than a read asks for. An effect is taken at its word.
    for (id, input) in [
        (READ, json!({"path": "report.txt", "extra": 1})),
        ("workspace.list", json!({"extra": null})),
        ("obsidian.vault.read", json!({"extra": "x"})),
    ] {
        agent.must(id, input);
    }
    let mut misspelt = note("a.txt", "a");
    misspelt["ifDigset"] = json!("absent");
    agent.must_fail(WRITE, misspelt, 422, "schema_validation_failed");
}

#[test]
fn paths_that_leave_the_root() {
    let (house, agent) = House::with_reader("one");
    let outside = plexus_tests::Folder::empty();
    outside.write("secret.txt", CANARY);
    let link = |name: &str, target: &std::path::Path| {
        std::os::unix::fs::symlink(target, house.workspace.path().join(name)).expect("a link");
    };
    link("escape.txt", &outside.path().join("secret.txt"));
    link("escape", &outside.path());
    link("inside.txt", std::path::Path::new("report.txt"));
    std::fs::hard_link(
        outside.path().join("secret.txt"),
        house.workspace.path().join("hard.txt"),
    )
    .expect("a link");
    for (path, reason) in [
        ("../../../etc/passwd", "path_confinement"),
        ("notes/../report.txt", "path_confinement"),
        ("/etc/passwd", "path_confinement"),
        ("notes\u{0}x", "path_confinement"),
        ("escape.txt", "symlink"),
        ("escape/secret.txt", "symlink"),
        ("inside.txt", "symlink"),
        ("hard.txt", "hard_link"),
        ("missing.txt", "not_found"),
    ] {
        let reply = agent.invoke(READ, json!({"path": path}));
        let error = reply.expect_error(200, "transport_error");
        assert_eq!(error["detail"]["reason"], reason, "{path:?}: {reply}");
        assert_eq!(error["capabilityId"], READ);
        assert!(!reply.text().contains(SAFE_WORD), "{reply}");
        assert_lacks(&reply.text(), &house.workspace.path().to_string_lossy());
    }
    agent.must(READ, report());
}

/// A write through a link has no plan, so it is approved by nobody (D9).
#[test]
fn no_write_leaves_the_root_through_a_link() {
    let house = House::open();
    let outside = plexus_tests::Folder::empty();
    let link = house.workspace.path().join("link");
    std::os::unix::fs::symlink(outside.path(), link).expect("a link");
    let (owner, agent) = (house.owner(), house.reader("one"));
    let told = agent.invoke(WRITE, note("link/escaped.txt", "x"));
    let error = told.expect_error(400, "transport_error");
    assert_eq!(error["detail"]["reason"], "symlink", "{told}");
    // Who may not read there is told nothing, and an approval is refused.
    let blind = house.gateway.agent("blind");
    let item = blind.must_ask(WRITE, note("link/escaped.txt", "x"));
    let once = approval(&owner.card(&item), "once");
    owner.decide(&item, once).expect_error(409, "plan_failed");
    assert_eq!(outside.tree(), Vec::<String>::new());
    // The control: a folder that is one takes the same write.
    agent.must_approved(&owner, WRITE, note("folder/kept.txt", "x"));
    assert_eq!(house.workspace.read("folder/kept.txt"), "x");
}

#[test]
fn a_skill_is_read_and_not_called() {
    let (house, agent) = House::with_reader("one");
    agent.must_fail("workspace.how-to-use", json!({}), 200, "transport_error");
    // The same for a skill that the agent sees only because something it was connected to brings it along.
    let chosen = house.narrow("two", &[READ]);
    let token = token(&chosen, &[READ]);
    for reply in [
        chosen.invoke("workspace.how-to-use", json!({})),
        chosen.invoke_with(&token, "workspace.how-to-use", json!({})),
    ] {
        reply.expect_error(200, "transport_error");
    }
    chosen
        .invoke("obsidian.vault.how-to-cite", json!({}))
        .expect_error(404, "unknown_capability");
}

#[test]
fn an_effect_asks_and_says_so() {
    let (house, agent) = House::with_reader("one");
    let reply = agent.invoke(WRITE, note("a.txt", "a"));
    let error = reply.expect_error(401, "approval_required");
    golden::check("invoke-approval-required", &reply.json());
    assert_contains(
        &error["grantStatusUrl"].to_string(),
        error["pendingId"].as_str().expect("an id"),
    );
    assert!(!house.workspace.has("a.txt"));
    house
        .owner()
        .approve(error["pendingId"].as_str().expect("an id"), "once");
    let done = agent.must(WRITE, note("a.txt", "a"));
    let output = &done["output"];
    let like = json!({"ok": true, "relativePath": "a.txt", "bytes": 1});
    assert_like(output, &like);
    assert_eq!(house.workspace.read("a.txt"), "a");
}

/// The reply of a pend comes before the plan is made and shows nothing of it (docs/design.md#approvals).
#[test]
fn a_preview_is_the_owners() {
    let (house, agent) = House::with_agent("blind");
    let reply = agent.invoke(WRITE, note("notes/private.md", "overwritten"));
    reply.expect_error(401, "approval_required");
    let item = reply.text_at("/error/pendingId");
    let card = house.owner().card(&item);
    // The owner sees what would be lost.
    assert_contains(&card["asks"][0]["plan"].to_string(), SAFE_WORD);
    let status = agent.status(&item);
    assert!(!reply.text().contains(SAFE_WORD) && !status.text().contains(SAFE_WORD));
    house.owner().deny(&item, "no");
    let log = house.gateway.cli(["audit", "export"]);
    assert!(!log.expect_ok().contains(SAFE_WORD) && !house.gateway.stderr().contains(SAFE_WORD));
}

/// A read that was answered has exactly one event, and it was there before the answer.
#[test]
fn every_answer_has_its_record() {
    let (house, agent) = House::with_reader("one");
    let reply = agent.must(READ, json!({"path": "notes/private.md"}));
    assert_contains(&reply["output"]["content"].to_string(), SAFE_WORD);
    let id = reply["auditId"].as_str().expect("an id");
    let event = house.owner().must_get(&format!("/admin/api/audit/{id}"));
    let event = &event["event"];
    let like = json!({"type": "invoke", "agentId": "one", "capabilityId": READ, "outcome": "ok"});
    assert_like(event, &like);
    assert_eq!(event["detail"]["phase"], "read");
    // No content in the log.
    assert_lacks(&event.to_string(), SAFE_WORD);
    // The log has the path that was touched.
    assert_contains(&event.to_string(), "notes/private.md");
}
