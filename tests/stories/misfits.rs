//! Inputs that no approval could carry out: told to the agent at once, with no card, and to nobody who may not read there.

use crate::house::{House, READ, WRITE};
use plexus_tests::{Agent, Response};
use serde_json::{Value, json};

/// An edit of a note: `find` becomes `replace`.
fn edit(path: &str, find: &str) -> Value {
    json!({"path": path, "edits": [{"find": find, "replace": "another"}]})
}

#[track_caller]
fn told(reply: &Response, words: &str) {
    let error = reply.expect_error(422, "schema_validation_failed");
    assert!(error["message"].to_string().contains(words), "{reply}");
    assert_eq!(error["effect"], "none");
    assert!(error["pendingId"].is_null(), "{reply}");
}

/// What an agent hears of one call and what the owner gets to see of it, without what differs from call to call.
fn heard(house: &House, agent: &Agent, input: Value) -> String {
    let reply = agent.invoke(WRITE, input);
    let item = reply.text_at("/error/pendingId");
    let mut body = reply.json();
    body["auditId"].take();
    house.owner().deny(&item, "no");
    body.to_string().replace(&item, "ITEM")
}

#[test]
fn an_edit_that_cannot_apply_is_told_at_once() {
    let house = House::open();
    house.workspace.write("twice.md", "same\nsame\n");
    let agent = house.reader("one");
    for (input, words) in [
        (
            edit("twice.md", "absent"),
            "edit 1: the text to find does not occur",
        ),
        (edit("twice.md", "same"), "occurs 2 times"),
        (json!({"path": "twice.md"}), "either content or edits"),
        (
            json!({"path": "twice.md", "content": "a", "edits": edit("", "b")["edits"]}),
            "either content or edits",
        ),
    ] {
        told(&agent.invoke(WRITE, input.clone()), words);
        // The same by a request for grants.
        let reply = agent.ask_to(WRITE, input);
        let error = reply.expect_error(400, "schema_validation_failed");
        assert!(error["message"].to_string().contains(words), "{reply}");
    }
    agent.must_fail(WRITE, edit("nowhere.md", "a"), 400, "transport_error");
    let stale = json!({"path": "twice.md", "content": "x", "ifDigest": "absent"});
    agent.must_fail(WRITE, stale, 409, "precondition_changed");
    assert_eq!(house.owner().pending().len(), 0, "no card");
    let audited = house.owner().audited(|event| {
        event["type"] == "invoke" && event["detail"]["code"] == "schema_validation_failed"
    });
    assert_eq!(audited["capabilityId"], WRITE);
    // The control: what fits is asked for.
    agent.must_approved(&house.owner(), WRITE, edit("twice.md", "same\nsame"));
    assert_eq!(house.workspace.read("twice.md"), "another\n");
}

/// An agent that may edit a note and not read it learns nothing of its text, whichever text it tries to find.
#[test]
fn a_note_that_may_not_be_read_is_not_probed() {
    let house = House::open();
    house.workspace.write("secret/a.md", "the word is zebra\n");
    house.workspace.write("open/b.md", "the word is zebra\n");
    let blind = house.gateway.agent("blind");
    let hit = heard(&house, &blind, edit("secret/a.md", "zebra"));
    for guess in ["horse", "e", "the word is z"] {
        let heard = heard(&house, &blind, edit("secret/a.md", guess));
        assert_eq!(heard, hit, "{guess}");
    }
    assert_eq!(heard(&house, &blind, edit("secret/none.md", "x")), hit);
    // With a grant for another folder it is the same there, and not here.
    let narrow = house.gateway.agent("narrow");
    let line = format!("grants allow narrow {READ} --window 1h --under path=open");
    house.gateway.must_cli(line.split(' '));
    let hit = heard(&house, &narrow, edit("secret/a.md", "zebra"));
    for guess in ["horse", "e"] {
        let heard = heard(&house, &narrow, edit("secret/a.md", guess));
        assert_eq!(heard, hit, "{guess}");
    }
    told(
        &narrow.invoke(WRITE, edit("open/b.md", "horse")),
        "does not occur",
    );
    narrow.must_ask(WRITE, edit("open/b.md", "zebra"));
    // One that may list and not read is as blind.
    let lister = house.gateway.agent_with("lister", &["workspace.list"]);
    assert_eq!(
        heard(&house, &lister, edit("secret/a.md", "horse")),
        heard(&house, &lister, edit("secret/a.md", "zebra"))
    );
    // What the input alone shows is told to all, in words that no source chose.
    let reply = blind.invoke(WRITE, json!({"path": "secret/a.md"}));
    told(&reply, "No call can have this input");
    for path in [
        "../a.md",
        "secret/../../a.md",
        "/secret/a.md",
        "secret//a.md",
    ] {
        let reply = blind.invoke(WRITE, json!({"path": path, "content": "x"}));
        told(&reply, "No call can have this input. path: ");
    }
}
