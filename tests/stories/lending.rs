//! A folder lent for a day: what the borrower may, what nobody else sees, how it ends, and the morning after.

use crate::house::{House, READ, note, report};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Clock, Folder};
use serde_json::{Value, json};

/// A folder with a name of its own.
fn notes() -> (Folder, String) {
    let above = Folder::empty();
    above
        .write("My Notes/a.md", "one\n")
        .write("My Notes/b.md", "two\n");
    let path = above.path().join("My Notes");
    (above, path.to_str().expect("UTF-8").to_owned())
}

fn lend(house: &House, body: Value) -> Value {
    house.owner().post("/admin/api/lend", body).expect_ok()
}

fn lent(house: &House) -> Vec<Value> {
    let reply = house.owner().get("/admin/api/lend").expect_ok();
    reply["lent"].as_array().expect("a list").clone()
}

/// What an agent is told of something that does not exist.
fn nothing(agent: &Agent) -> String {
    let mut error = agent.must_fail("my-notes.nothing", json!({}), 404, "unknown_capability");
    error["capabilityId"].take();
    error.to_string()
}

fn uniform(agent: &Agent, id: &str) -> String {
    let mut error = agent.must_fail(id, json!({"path": "a.md"}), 404, "unknown_capability");
    error["capabilityId"].take();
    error.to_string()
}

#[test]
fn only_the_borrower_has_it_and_only_what_was_lent() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let (_above, path) = notes();
    let reply = lend(&house, json!({"agentId": "one", "path": path}));
    assert_eq!(reply["source"], "my-notes", "{reply}");
    assert_eq!(reply["write"], false);

    // Reads stand at once; nothing else of it exists, not even to be asked for.
    let read = one.must("my-notes.read", json!({"path": "a.md"}));
    assert_eq!(read["output"]["content"], "one\n");
    one.must("my-notes.list", json!({}));
    let mine: Vec<String> = one
        .sees()
        .into_iter()
        .filter(|id| id.starts_with("my-notes."))
        .collect();
    assert_eq!(
        mine,
        ["my-notes.how-to-use", "my-notes.list", "my-notes.read"]
    );
    assert_eq!(uniform(&one, "my-notes.write"), nothing(&one));
    assert_eq!(
        uniform(&one, "my-notes.changes"),
        nothing(&one),
        "the owner's alone"
    );

    // For everybody else there is no such source: calls, manifest, discovery, grants that the owner mistypes.
    assert!(!two.sees().iter().any(|id| id.starts_with("my-notes")));
    assert_eq!(uniform(&two, "my-notes.read"), nothing(&two));
    let discovery = house.gateway.client().get("/.well-known/plexus").text();
    assert!(!discovery.contains("my-notes") && discovery.contains("workspace.read"));
    let mistyped = house.owner().grant("two", "my-notes.read", "1d");
    mistyped.expect_error(400, "internal_error");
    assert_eq!(uniform(&two, "my-notes.read"), nothing(&two));
}

#[test]
fn writes_stand_count_and_ask_where_they_would_run() {
    let (house, one) = House::with_reader("one");
    let (above, path) = notes();
    lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true, "maxWrites": 3}),
    );
    one.must("my-notes.read", json!({"path": "a.md"}));
    let done = one.must("my-notes.write", note("a.md", "changed\n"));
    assert_eq!(done["ok"], true, "{done}");
    // What tools run unasked is asked about, and was not made: it does not count.
    let asks = one.invoke("my-notes.write", note(".envrc", "rm -rf"));
    asks.expect_error(401, "approval_required");
    one.must("my-notes.write", note("new.md", "new\n"));
    one.must("my-notes.write", note("third.md", "third\n"));
    // Three were allowed.
    let fourth = one.invoke("my-notes.write", note("fourth.md", "fourth\n"));
    fourth.expect_error(401, "approval_required");
    assert_eq!(above.read("My Notes/a.md"), "changed\n");
    assert!(!above.has("My Notes/fourth.md") && !above.has("My Notes/.envrc"));
}

#[test]
fn writing_and_taking_back_are_counted_together() {
    let (house, one) = House::with_reader("one");
    let (above, path) = notes();
    lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true, "maxWrites": 3}),
    );
    for file in ["a.md", "b.md"] {
        one.must("my-notes.read", json!({ "path": file }));
    }
    let left = |house: &House| lent(house)[0]["writesLeft"].clone();
    let write = |file: &str| one.invoke("my-notes.write", note(file, "changed\n"));
    let first = write("a.md").expect_ok();
    assert_eq!(left(&house), 2);
    let undo = json!({"id": first["undo"]});
    one.must("my-notes.undo", undo);
    assert_eq!(above.read("My Notes/a.md"), "one\n");
    assert_eq!(left(&house), 1);
    let last = write("b.md").expect_ok();
    assert_eq!((&last["ok"], left(&house)), (&json!(true), json!(0)));
    // Three it was: neither goes on by itself, and what was read or listed never counted.
    one.invoke("my-notes.undo", json!({"id": last["undo"]}))
        .expect_error(401, "approval_required");
    write("a.md").expect_error(401, "approval_required");
    one.must("my-notes.read", json!({"path": "a.md"}));
    house.gateway.cli(["audit", "verify"]).expect_ok();
}

#[test]
fn it_ends_by_itself_also_while_the_gateway_is_down_and_leaves_the_owner_what_was_kept() {
    let clock = Clock::new();
    let mut house = House::with(|builder| builder.clock(&clock));
    let one = house.reader("one");
    let (above, path) = notes();
    lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true, "forMs": 7_200_000}),
    );
    one.must("my-notes.read", json!({"path": "a.md"}));
    let done = one.must("my-notes.write", note("a.md", "changed\n"));
    let audit = done["auditId"].as_str().expect("an id").to_owned();

    // A restart in the middle changes nothing.
    house.gateway.restart();
    let one = house.back(&one);
    one.must("my-notes.read", json!({"path": "a.md"}));
    house.gateway.stop();
    clock.show("+3h");
    house.gateway.start_again();
    let one = house.back(&one);
    assert_eq!(uniform(&one, "my-notes.read"), nothing(&one));
    // Nor does a clock that is set back lengthen it.
    clock.show("+1h");
    assert_eq!(uniform(&one, "my-notes.read"), nothing(&one));
    clock.show("+3h");
    assert!(!one.sees().iter().any(|id| id.starts_with("my-notes")));
    one.must(READ, report());
    until_true("the lending to be swept", || {
        lent(&house)[0]["endedAt"].is_string()
    });
    let sources = house.owner().must_get("/admin/api/sources").to_string();
    assert!(!sources.contains("my-notes"), "{sources}");
    let grants = house.owner().must_get("/admin/api/grants").to_string();
    assert!(!grants.contains("my-notes"), "{grants}");
    until_true("no worker of it to be left", || {
        let status = house.owner().must_get("/admin/api/status").to_string();
        !status.contains("\"my-notes\"")
    });

    // The morning after: one difference, and one file taken back.
    let review = house.owner().get("/admin/api/review/one").expect_ok();
    let file = &review["sources"][0]["files"][0];
    assert_eq!(file["relativePath"], "a.md", "{review}");
    assert_eq!(file["present"], "same");
    let path = format!("/admin/api/undo/{audit}");
    let plan = house.owner().get(&path).expect_ok();
    house
        .owner()
        .must_post(&path, json!({"stateToken": plan["stateToken"]}));
    assert_eq!(above.read("My Notes/a.md"), "one\n");
    assert_eq!(
        uniform(&one, "my-notes.read"),
        nothing(&one),
        "the owner's look opens nothing"
    );

    // A week later it is forgotten, with what it kept.
    house.gateway.stop();
    let store = house.gateway.state().join("workers/my-notes");
    assert!(store.is_dir());
    clock.show("+9d");
    house.gateway.start_again();
    until_true("the lending to be forgotten", || lent(&house).is_empty());
    until_true("its store to go", || !store.exists());
}

#[test]
fn the_owner_takes_it_back_and_lends_it_again_on_other_terms() {
    let (house, one) = House::with_reader("one");
    let (_above, path) = notes();
    lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true}),
    );
    one.must("my-notes.write", note("new.md", "x"));

    // Narrower, while it is lent: the same source, writes gone.
    let again = lend(&house, json!({"agentId": "one", "path": path}));
    let like = json!({"source": "my-notes", "was": {"write": true}});
    assert_like(&again, &like);
    assert_eq!(uniform(&one, "my-notes.write"), nothing(&one));
    one.must("my-notes.read", json!({"path": "a.md"}));

    let client = house.owner().client;
    client.delete("/admin/api/lend/my-notes").expect_ok();
    assert_eq!(uniform(&one, "my-notes.read"), nothing(&one));
    client
        .delete("/admin/api/lend/my-notes")
        .expect_error(404, "not_found");
    client
        .delete("/admin/api/lend/workspace")
        .expect_error(404, "not_found");

    // Wider again: its own id, and it is there at once.
    let again = lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true}),
    );
    assert_eq!(again["source"], "my-notes", "{again}");
    one.must("my-notes.write", note("other.md", "x"));
    // The same folder for somebody else is somebody else's source.
    let two = house.reader("two");
    let other = lend(&house, json!({"agentId": "two", "path": path}));
    assert_eq!(other["source"], "my-notes-2", "{other}");
    two.must("my-notes-2.read", json!({"path": "a.md"}));
    assert_eq!(uniform(&one, "my-notes-2.read"), nothing(&one));

    // With its last grant a lending goes.
    house.owner().revoke("two", "my-notes-2.read");
    house.owner().revoke("two", "my-notes-2.list");
    assert_eq!(uniform(&two, "my-notes-2.read"), nothing(&two));
}

#[test]
fn what_cannot_be_lent_is_refused_with_the_reason() {
    let house = House::open();
    house.reader("one");
    let (_above, path) = notes();
    let client = house.owner().client;
    let refused = |body: Value| client.post("/admin/api/lend", body);
    let error =
        refused(json!({"agentId": "nobody", "path": path})).expect_error(404, "unknown_agent");
    assert!(
        error["next"]
            .as_str()
            .expect("next")
            .starts_with("plexusctl connect nobody"),
        "{error}"
    );
    let home = house.gateway.home().to_str().expect("UTF-8").to_owned();
    let state = house.gateway.state();
    #[rustfmt::skip]
    let rows = [
        (json!({"agentId": "one", "path": home}), "overlaps"),
        (json!({"agentId": "one", "path": state}), "overlaps"),
        (json!({"agentId": "one", "path": state.join("run")}), "overlaps"),
        (json!({"agentId": "one", "path": "relative"}), "root of the disk"),
        (json!({"agentId": "one", "path": format!("{path}/a.md")}), "not a folder"),
        (json!({"agentId": "one", "path": format!("{path}/gone")}), "gone"),
        (json!({"agentId": "one", "path": path, "maxWrites": 3}), "maxWrites"),
        (json!({"agentId": "one", "path": path, "forMs": 1}), "forMs"),
        (json!({"agentId": "one", "path": path, "forMs": 99_999_999_999_u64}), "forMs"),
    ];
    for (body, why) in rows {
        let error = refused(body.clone()).expect_error(400, "internal_error");
        assert!(
            error["message"].as_str().expect("why").contains(why),
            "{body}: {error}"
        );
    }
    assert_eq!(lent(&house), Vec::<Value>::new(), "nothing is half lent");
    // The control.
    refused(json!({"agentId": "one", "path": path})).expect_ok();
}

#[test]
fn the_commands_of_a_day() {
    let (house, one) = House::with_reader("one");
    let (above, path) = notes();
    let said = house.gateway.cli([
        "lend",
        "one",
        &path,
        "--write",
        "--for",
        "1d",
        "--max-writes",
        "20",
    ]);
    let lines: Vec<&str> = said.expect_ok().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("one may list and read the files in "),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("one may not reach anything outside of that folder"),
        "{lines:?}"
    );
    assert_eq!(lines[2], "to end it: plexusctl lend end my-notes");
    let listed = house.gateway.cli(["lend", "list"]);
    assert_contains(listed.expect_ok(), "read, write (20 left)");

    one.must("my-notes.read", json!({"path": "a.md"}));
    one.must("my-notes.write", note("a.md", "changed once\n"));
    one.must("my-notes.write", note("a.md", "changed \u{1b}[2J twice\n"));
    let done = one.must("my-notes.write", note("deep/new.md", "new\n"));

    let review = house.gateway.cli(["review", "one"]);
    let text = review.expect_ok();
    assert!(text.contains("my-notes: replaced a.md, +1 −1"), "{text}");
    assert!(
        text.contains("  │ -one\n  │ +changed \\u{1b}[2J twice\n"),
        "first before against last after: {text}"
    );
    assert_lacks(text, "changed once");
    assert_lacks(text, "\u{1b}");
    assert_contains(text, "my-notes: created deep/new.md, +1 −0");
    assert_contains(text, "one changed since ");
    assert_contains(text, ": 2 files.");

    let audit = done["auditId"].as_str().expect("an id");
    house.gateway.cli(["undo", audit, "--yes"]).expect_ok();
    assert!(!above.has("My Notes/deep"));
    // Somebody else goes on with the other file: the agent's part is still told.
    above.write("My Notes/a.md", "mine again\n");
    let after = house
        .gateway
        .cli(["review", "one", "--since", "today", "--source", "my-notes"]);
    let text = after.expect_ok();
    assert_contains(
        text,
        "changed since by someone else; this is the agent's part",
    );
    assert!(text.contains("+changed \\u{1b}[2J twice"), "{text}");
    assert!(text.contains("every change to it was undone"), "{text}");
    // An undo of that is refused, and leads here.
    assert!(!text.contains("plexusctl undo"), "{text}");
    let found = house
        .gateway
        .cli(["activity", "--source", "my-notes", "--touched", "a.md"]);
    assert_contains(text, "plexusctl activity --source my-notes --touched a.md");
    assert_contains(found.expect_ok(), "2 changed");

    house.gateway.cli(["lend", "end", "my-notes"]).expect_ok();
    assert_eq!(uniform(&one, "my-notes.read"), nothing(&one));
    house.gateway.cli(["review", "one"]).expect_ok();
    assert_eq!(house.gateway.cli(["review", "nobody"]).status, 1);
    let unknown = house.gateway.cli(["lend", "nobody", &path]);
    assert_eq!(unknown.status, 1, "{unknown}");
    assert_contains(&unknown.stderr, "plexusctl connect nobody");
    house.gateway.cli(["audit", "verify"]).expect_ok();
}

#[test]
fn what_nothing_is_kept_of_is_named_and_not_made_up() {
    let (mut house, one) = House::with_reader("one");
    let (_above, path) = notes();
    lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true}),
    );
    one.must("my-notes.read", json!({"path": "a.md"}));
    let done = one.must("my-notes.write", note("a.md", "changed\n"));
    house.gateway.stop();
    std::fs::remove_dir_all(house.gateway.state().join("workers/my-notes")).expect("it goes");
    house.gateway.start_again();
    let review = house.owner().get("/admin/api/review/one").expect_ok();
    let source = &review["sources"][0];
    assert_eq!(source["files"], json!([]), "{review}");
    assert_eq!(source["notKept"][0]["auditId"], done["auditId"], "{review}");
    let said = house.gateway.cli(["review", "one"]);
    assert_contains(said.expect_ok(), "no before-image kept");
    house
        .owner()
        .get("/admin/api/review/nobody")
        .expect_error(404, "unknown_agent");
}

#[test]
fn other_terms_show_nothing_that_was_hidden() {
    let (house, one) = House::with_reader("one");
    let (above, path) = notes();
    above.write("My Notes/Diary/d.md", "private\n");
    lend(&house, json!({"agentId": "one", "path": path}));
    let diary = || {
        one.invoke("my-notes.read", json!({"path": "Diary/d.md"}))
            .json()
    };
    assert_eq!(diary()["ok"], true, "the control");
    let hide = "/admin/api/sources/my-notes/hide";
    let owner = house.owner().client;
    owner.post(hide, json!({"folders": ["Diary"]})).expect_ok();
    assert_eq!(diary()["ok"], false);
    // For longer, with writes, and after its end: the owner has said nothing of the diary.
    lend(
        &house,
        json!({"agentId": "one", "path": path, "write": true, "forMs": 7_200_000}),
    );
    assert_eq!(diary()["error"]["detail"]["reason"], "not_found");
    owner.delete("/admin/api/lend/my-notes").expect_ok();
    lend(&house, json!({"agentId": "one", "path": path}));
    assert_eq!(diary()["error"]["detail"]["reason"], "not_found");
    one.must("my-notes.read", json!({"path": "a.md"}));
}

/// A vault's hidden folder is not lent by lending the vault, or what lies above it.
#[test]
fn what_another_source_hides_is_not_lent() {
    let house = House::open();
    house.reader("one");
    let owner = house.owner().client;
    let (above, path) = notes();
    above.write("My Notes/Diary/d.md", "private\n");
    let id = "kept";
    owner.must_post(
        "/admin/api/sources",
        json!({"id": id, "kind": "workspace-dir", "label": "Kept", "route": {"path": path}}),
    );
    let hide = format!("/admin/api/sources/{id}/hide");
    owner.post(&hide, json!({"folders": ["Diary"]})).expect_ok();
    let all = above.path().canonicalize().expect("a path");
    for folder in [
        path.clone(),
        all.display().to_string(),
        format!("{path}/Diary"),
    ] {
        let refused = owner.post("/admin/api/lend", json!({"agentId": "one", "path": folder}));
        assert_contains(&refused.json().to_string(), "sources unhide kept");
        refused.expect_status(400);
    }
    owner.must_post(&hide, json!({"folders": ["Diary"], "remove": true}));
    lend(&house, json!({"agentId": "one", "path": path}));
}
