//! `once` means once: every way round it that we know of.

use crate::house::{COUNT, House, READ, WRITE, Workshop, line, note, report};
use plexus_tests::owner::approval;
use plexus_tests::texts::{assert_contains, text_of};
use plexus_tests::waiting::until_true;
use serde_json::{Value, json};

/// An approved `once`: its item and its token.
fn approved(workshop: &Workshop, agent: &plexus_tests::Agent, input: &Value) -> (String, Value) {
    let item = agent.must_ask(COUNT, input.clone());
    workshop.owner().approve(&item, "once");
    let mut status = agent.status(&item).expect_ok();
    assert_eq!(status["state"], "approved");
    (item, status["token"].take())
}

#[test]
fn another_input() {
    let (workshop, agent) = Workshop::with_reader("one");
    let (item, token) = approved(&workshop, &agent, &line("approved"));
    let other = agent.must_ask(COUNT, line("something else"));
    assert_ne!(other, item);
    agent
        .invoke_with(&token, COUNT, line("something else"))
        .expect_error(401, "grant_required");
    assert!(workshop.effects().is_empty());
    // The approval still stands for what was approved.
    agent.must(COUNT, line("approved"));
    assert_eq!(workshop.effects(), ["approved"]);
}

/// The digest is that of the canonical form: order and spaces are not another input.
#[test]
fn the_same_input_otherwise_spelled() {
    let (workshop, agent) = Workshop::with_reader("one");
    agent.must_ask(COUNT, json!({"line": "é", "wait": 1}));
    let item = text_of(&workshop.owner().pending()[0]["pendingId"]);
    workshop.owner().approve(&item, "once");
    let spelled = r#"{"id": "fixture.count", "input": {"wait": 1.0, "line": "\u00e9"}}"#;
    agent
        .client()
        .request("POST", "/invoke")
        .bytes(spelled)
        .send()
        .expect_ok();
    assert_eq!(workshop.effects(), ["é"]);
}

#[test]
fn a_replayed_token() {
    let (workshop, agent) = Workshop::with_reader("one");
    let (_, token) = approved(&workshop, &agent, &line("one"));
    agent.invoke_with(&token, COUNT, line("one")).expect_ok();
    agent
        .invoke_with(&token, COUNT, line("one"))
        .expect_error(401, "grant_required");
    agent.must_ask(COUNT, line("one"));
    assert_eq!(workshop.effects(), ["one"]);
}

#[test]
fn two_at_the_same_time() {
    let (workshop, agent) = Workshop::with_reader("one");
    for round in 0..10 {
        let text = format!("round {round}");
        approved(&workshop, &agent, &line(&text));
        let done: usize = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| agent.invoke(COUNT, line(&text))))
                .collect();
            calls
                .into_iter()
                .map(|call| call.join().expect("an answer"))
                .filter(|reply| reply.at("/ok") == true)
                .count()
        });
        assert_eq!(done, 1, "round {round}");
        for item in workshop.owner().pending() {
            workshop
                .owner()
                .deny(item["pendingId"].as_str().expect("an id"), "again");
        }
    }
    assert_eq!(workshop.effects().len(), 10);
}

#[test]
fn a_second_session() {
    let (workshop, agent) = Workshop::with_reader("one");
    approved(&workshop, &agent, &line("one"));
    let second = agent.another_session();
    second.must(COUNT, line("one"));
    agent.must_ask(COUNT, line("one"));
    assert_eq!(workshop.effects(), ["one"]);
    // It was never another agent's.
    approved(&workshop, &agent, &line("mine"));
    workshop.reader("two").must_ask(COUNT, line("mine"));
    assert_eq!(workshop.effects(), ["one"]);
}

#[test]
fn a_refresh() {
    let (workshop, agent) = Workshop::with_reader("one");
    let item = agent.must_ask(COUNT, line("one"));
    workshop.owner().approve(&item, "once");
    let token = agent.status(&item).expect_ok()["token"].clone();
    agent.refresh(&token).expect_error(401, "grant_required");
    agent.must(COUNT, line("one"));
    agent.refresh(&token).expect_status(401);
    assert_eq!(workshop.effects(), ["one"]);
}

#[test]
fn an_empty_list_of_verbs() {
    let (house, agent) = House::with_agent("one");
    let ask = |verbs: Value| agent.ask(json!({WRITE: {"decision": "allow", "verbs": verbs}}));
    // What it does not declare is no wish; no verbs at all are all that it declares.
    ask(json!(["read"])).expect_error(400, "schema_validation_failed");
    assert_eq!(house.owner().pending(), Vec::<Value>::new());
    let all = ask(json!([])).expect_ok();
    assert_eq!(all["status"], "grant_pending_user", "{all}");
    assert_eq!(all["pendingNarration"][0]["verbs"], json!(["write"]));
    assert_eq!(agent.ledger(), Vec::<Value>::new());
    agent.must_ask(WRITE, note("a.txt", "a"));

    // Half of what it declares, granted for an hour, opens nothing (D1).
    let (workshop, agent) = Workshop::with_reader("one");
    let half = agent.ask(json!({"fixture.both": {"decision": "allow", "verbs": ["read"]}}));
    workshop.owner().approve(&half.text_at("/pendingId"), "1h");
    agent.must_ask("fixture.both", line("a"));
    assert_eq!(workshop.effects(), Vec::<String>::new());
}

/// A purpose belongs to its card: the same call joins the card that waits, with whatever purpose, and changes nothing on it.
#[test]
fn a_swapped_purpose() {
    let (workshop, agent) = Workshop::with_reader("one");
    let ask = |purpose: &str| {
        let body = json!({
            "grants": {COUNT: {"decision": "allow", "purpose": purpose}},
            "intents": {COUNT: {"input": line("one")}},
        });
        let reply = agent.client().put("/grants", body).expect_ok();
        reply["pendingId"].as_str().expect("an id").to_owned()
    };
    let harmless = ask("tidy up");
    let digest = workshop.owner().card(&harmless)["cardDigest"].clone();
    assert_eq!(ask("tidy up"), harmless, "the same ask is the same item");
    assert_eq!(ask("delete everything"), harmless);
    let card = workshop.owner().card(&harmless);
    assert_eq!(card["agentPurpose"], "tidy up");
    assert_eq!(card["cardDigest"], digest);
}

#[test]
fn a_stale_or_foreign_digest() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let item = agent.must_ask(COUNT, line("one"));
    let other = agent.must_ask(COUNT, line("two"));
    let (card, foreign) = (owner.card(&item), owner.card(&other));
    let approve = |digest: Value| {
        let mut body = json!({"action": "approve", "trustWindow": {"kind": "once"}});
        if !digest.is_null() {
            body["cardDigest"] = digest;
        }
        owner.decide(&item, body)
    };
    for digest in [
        json!(null),
        json!("0".repeat(64)),
        foreign["cardDigest"].clone(),
        json!(""),
    ] {
        approve(digest).expect_error(409, "card_changed");
    }
    // Items are immutable: an approval cannot be turned to another agent.
    owner
        .decide(
            &item,
            json!({"action": "approve", "trustWindow": {"kind": "once"}, "cardDigest": card["cardDigest"], "agentId": "two"}),
        )
        .expect_error(409, "card_changed");
    agent.must_ask(COUNT, line("one"));
    assert!(workshop.effects().is_empty());
    approve(card["cardDigest"].clone()).expect_ok();
    agent.must(COUNT, line("one"));
}

/// The digest is of the card's canonical JSON without that member: anybody can compute it.
#[test]
fn the_digest_is_of_what_is_shown() {
    let (workshop, agent) = Workshop::with_reader("one");
    let item = agent.must_ask(COUNT, line("one"));
    let mut card = workshop.owner().card(&item);
    let shown = card
        .as_object_mut()
        .expect("a card")
        .remove("cardDigest")
        .expect("a digest");
    assert_eq!(shown, plexus_protocol::json::digest(&card).to_string());
}

/// The world behind the preview changes after the card was shown: nothing is done.
#[test]
fn a_swapped_preview() {
    let (workshop, agent) = Workshop::with_reader("one");
    approved(&workshop, &agent, &line("one"));
    workshop.folder.write("state", "1");
    let reply = agent.invoke(COUNT, line("one"));
    let error = reply.expect_error(200, "precondition_changed");
    assert_eq!(error["effect"], "none");
    assert!(workshop.effects().is_empty());
    // A fresh card for the new world.
    approved(&workshop, &agent, &line("one"));
    agent.must(COUNT, line("one"));
    assert_eq!(workshop.effects(), ["one"]);
}

/// The folder above the file becomes a link between card and commit.
#[test]
fn a_link_in_the_way() {
    let house = House::open();
    let outside = plexus_tests::Folder::empty();
    outside.write("today.md", "not yours\n");
    let agent = house.reader("one");
    let write = note("notes/today.md", "changed\n");
    let item = agent.must_ask(WRITE, write.clone());
    house.owner().approve(&item, "once");
    let root = house.workspace.path();
    std::fs::rename(root.join("notes"), root.join("notes.away")).expect("a rename");
    std::os::unix::fs::symlink(outside.path(), root.join("notes")).expect("a link");
    let reply = agent.invoke(WRITE, write.clone());
    let error = reply.expect_error(200, "precondition_changed");
    assert_eq!(error["effect"], "none");
    assert_eq!(outside.read("today.md"), "not yours\n");
    assert_eq!(outside.tree(), ["today.md"]);
    let told = house
        .gateway
        .cli(["activity", "--touched", "notes/today.md"]);
    assert_contains(told.expect_ok(), ": notes/today.md (approved by you)");

    // Back as it was: a fresh card, and the write is done.
    std::fs::remove_file(root.join("notes")).expect("the link goes");
    std::fs::rename(root.join("notes.away"), root.join("notes")).expect("a rename");
    let item = agent.must_ask(WRITE, write.clone());
    house.owner().approve(&item, "once");
    agent.must(WRITE, write);
    assert_eq!(house.workspace.read("notes/today.md"), "changed\n");
}

/// An item without an input is approved for a window, or for one call only when the owner says so.
#[test]
fn an_item_without_input() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let ask = || {
        let reply = agent.ask(json!({COUNT: "allow"})).expect_ok();
        reply["pendingId"].as_str().expect("an id").to_owned()
    };
    let item = ask();
    let card = owner.card(&item);
    let once = approval(&card, "once");
    owner
        .decide(&item, once.clone())
        .expect_error(409, "input_required");
    let mut any = once;
    any["anyInput"] = json!(true);
    owner.decide(&item, any).expect_ok();
    agent.must(COUNT, line("whatever"));
    agent.must_ask(COUNT, line("whatever"));
    agent.must_ask(COUNT, line("and another"));
    assert_eq!(workshop.effects(), ["whatever"]);
}

#[test]
fn a_plan_that_failed_cannot_be_approved() {
    let (workshop, agent) = Workshop::with_reader("one");
    let owner = workshop.owner();
    let item = agent.must_ask(COUNT, json!({"line": "one", "plan": "fails"}));
    let card = owner.card(&item);
    assert!(!card["asks"][0]["plan"]["error"].is_null(), "{card:#}");
    owner
        .decide(&item, approval(&card, "once"))
        .expect_error(409, "plan_failed");
    owner.deny(&item, "it cannot be done");
}

/// Denials are remembered for the call that was denied, and for no other.
#[test]
fn a_denial_is_remembered() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    let item = agent.must_ask(COUNT, line("one"));
    workshop.owner().deny(&item, "never this");
    let refused = agent.must_fail(COUNT, line("one"), 403, "denied_by_owner");
    assert_contains(&refused["message"].to_string(), "never this");
    assert!(
        refused["next"]
            .as_str()
            .is_some_and(|next| next.starts_with("stop")),
        "no way round a denial: {refused}"
    );
    let asked = agent.ask_to(COUNT, line("one")).expect_ok();
    assert_eq!(asked["declined"][0]["id"], COUNT);
    assert_contains(&asked["declined"][0]["reason"].to_string(), "never this");
    assert!(
        workshop.owner().pending().is_empty(),
        "the owner is not disturbed"
    );
    agent.must_ask(COUNT, line("two"));

    workshop.gateway.restart();
    let agent = workshop.back(&agent);
    agent.must_fail(COUNT, line("one"), 403, "denied_by_owner");
    // Until the owner grants it.
    workshop.owner().grant("one", COUNT, "1h").expect_ok();
    agent.must(COUNT, line("one"));
    assert_eq!(workshop.effects(), ["one"]);
}

#[test]
fn approval_runs_it_once() {
    let (mut workshop, agent) = Workshop::with_reader("one");
    let call = json!({"id": COUNT, "input": line("one"), "onApproval": "run"});
    let item = agent
        .invoke_body(call.clone())
        .expect_error(401, "approval_required")["pendingId"]
        .as_str()
        .expect("an id")
        .to_owned();
    workshop.owner().approve(&item, "once");
    let state = agent.status_after(&item, 30).expect_ok();
    assert_eq!(state["state"], "approved");
    assert_eq!(state["result"]["ok"], true, "{state}");
    assert!(state.get("token").is_none());
    assert_eq!(workshop.effects(), ["one"]);
    // The answer stays there to be fetched by its item. It has been given, so the same call is a wish of its own, in every
    // session.
    assert_eq!(agent.status(&item).expect_ok()["result"], state["result"]);
    let next = agent
        .another_session()
        .invoke_body(call.clone())
        .expect_error(401, "approval_required");
    assert_ne!(next["pendingId"], item.as_str());
    let same = agent.invoke_body(call.clone());
    let same = same.expect_error(401, "approval_required");
    assert_eq!(same["pendingId"], next["pendingId"]);
    assert_eq!(workshop.effects(), ["one"]);
    let second = next["pendingId"].as_str().expect("an id");
    workshop.owner().approve(second, "once");
    // Nobody has heard of that one: the first who asks is told, once, and nothing is done again.
    until_true("the second effect", || {
        workshop.calls(COUNT, "outcome").len() == 2
    });
    let told = agent
        .another_session()
        .invoke_body(call.clone())
        .expect_ok();
    assert_eq!(told["replayed"], true, "{told}");
    agent
        .invoke_body(call)
        .expect_error(401, "approval_required");
    workshop.gateway.restart();
    assert_eq!(workshop.effects(), ["one", "one"]);
    workshop
        .back(&agent)
        .client()
        .put(
            "/grants",
            json!({"grants": {COUNT: "allow"}, "onApproval": "explode"}),
        )
        .expect_error(400, "schema_validation_failed");
}

/// A read that was granted once is once as well.
#[test]
fn reads_too() {
    let (house, agent) = House::with_agent("one");
    let item = agent.must_ask(READ, report());
    house.owner().approve(&item, "once");
    agent.must_ask(READ, json!({"path": "notes/private.md"}));
    agent.must(READ, report());
    agent.must_ask(READ, report());
}

/// One call with any input is held against what the agent has read, like a standing write: the owner saw no plan of it.
#[test]
fn one_call_with_any_input_replaces_what_was_read() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let write = |text: &str| agent.invoke(WRITE, json!({"path": "mine.txt", "content": text}));
    let allow = || {
        let asked = agent.ask(json!({WRITE: "allow"})).expect_ok();
        let item = asked["pendingId"].as_str().expect("an id").to_owned();
        let card = owner.card(&item);
        let once = json!({"action": "approve", "trustWindow": {"kind": "once"}, "cardDigest": card["cardDigest"], "anyInput": true});
        owner.decide(&item, once).expect_ok();
    };
    let listed = || {
        let said = house.gateway.cli(["grants", "list", "one"]);
        said.expect_ok().to_owned()
    };
    let unused = "one may make one call of workspace.write with any input";
    assert!(!listed().contains(unused));
    house.workspace.write("mine.txt", "of before");
    allow();
    assert!(listed().contains(unused), "{}", listed());
    let error = write("unread").expect_error(200, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "unread", "{error}");
    allow();
    agent.must(READ, json!({"path": "mine.txt"}));
    write("of now").expect_ok();
    assert_eq!(house.workspace.read("mine.txt"), "of now");
    allow();
    house.workspace.write("mine.txt", "somebody else's");
    let error = write("lost").expect_error(200, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "changed", "{error}");
    assert_eq!(house.workspace.read("mine.txt"), "somebody else's");
    // What is not there yet it may make.
    allow();
    let made = json!({"path": "made.txt", "content": "new"});
    agent.must(WRITE, made);
    assert_eq!(house.workspace.read("made.txt"), "new");
    assert!(!listed().contains(unused), "{}", listed());
}
