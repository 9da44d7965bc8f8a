//! Taking effects back: by the agent, through the same asking as any write, and by the owner, by audit id.

use crate::house::{House, READ, WRITE, note};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, list_of};
use plexus_tests::{Agent, Folder};
use serde_json::{Value, json};

const UNDO: &str = "workspace.undo";

/// Writes over what the agent has read, and says by which id that is taken back.
fn write(agent: &Agent, path: &str, content: &str) -> (String, String) {
    agent.invoke(READ, json!({ "path": path }));
    let done = agent.must(WRITE, note(path, content));
    let text = |member: &str| done[member].as_str().expect(member).to_owned();
    assert_eq!(done["ok"], true, "{done}");
    (text("auditId"), text("undo"))
}

/// The owner takes an effect back, seeing the plan first.
fn take_back(house: &House, audit: &str) -> Value {
    let path = format!("/admin/api/undo/{audit}");
    let client = house.owner().client;
    let plan = client.get(&path).expect_ok();
    client.must_post(&path, json!({"stateToken": plan["stateToken"]}))
}

#[test]
fn an_agent_takes_back_its_own_write_and_is_asked_about_like_for_any() {
    let (house, agent) = House::with_writer("one", &[WRITE]);
    house.workspace.write("a.md", "old\n");
    let (_, undo) = write(&agent, "a.md", "new\n");
    assert_eq!(house.workspace.read("a.md"), "new\n");

    // A write may stand; nothing was said of undo, so it asks, and the owner sees where it leads.
    let item = agent.must_ask(UNDO, json!({ "id": undo }));
    let card = house.owner().card(&item);
    let diff = card["asks"][0]["plan"]["preview"]["diff"]
        .as_str()
        .expect("a diff");
    assert!(diff.contains("-new") && diff.contains("+old"), "{diff}");
    house.owner().approve(&item, "once");
    let done = agent.must(UNDO, json!({ "id": undo }));
    assert_eq!(done["output"]["relativePath"], "a.md");
    assert_eq!(house.workspace.read("a.md"), "old\n");

    // And the undo of the undo.
    let again = done["undo"].as_str().expect("an id").to_owned();
    agent.must_approved(&house.owner(), UNDO, json!({ "id": again }));
    assert_eq!(house.workspace.read("a.md"), "new\n");

    // A file that was created goes with the folders made for it.
    house.workspace.write("kept/other.md", "other\n");
    let (deep, _) = write(&agent, "kept/new/deep/a.md", "text\n");
    let (second, _) = write(&agent, "kept/new/b.md", "text\n");
    take_back(&house, &deep);
    assert!(!house.workspace.has("kept/new/deep"), "it was empty");
    assert!(house.workspace.has("kept/new/b.md"));
    let removed = take_back(&house, &second);
    assert!(!house.workspace.has("kept/new/b.md"));
    assert!(house.workspace.has("kept/other.md"));
    // Taking the removal back makes it again.
    take_back(&house, removed["auditId"].as_str().expect("an id"));
    assert_eq!(house.workspace.read("kept/new/b.md"), "text\n");
}

#[test]
fn the_owner_takes_back_by_audit_id_and_it_is_recorded_as_the_owners_act() {
    let (house, agent) = House::with_writer("one", &[WRITE]);
    house.workspace.write("a.md", "one\n");
    let (audit, _) = write(&agent, "a.md", "two\n");
    let offered = || house.gateway.cli(["undo"]).expect_ok().contains(&audit);
    assert!(offered());
    let done = take_back(&house, &audit);
    assert_eq!(house.workspace.read("a.md"), "one\n");
    assert!(!offered(), "it is taken back");
    let changed = house.gateway.cli(["activity", "--changed"]);
    assert_contains(changed.expect_ok(), "by standing grant), taken back\n");

    let events = house.owner().audit(20);
    let of = |phase: &str| {
        events
            .iter()
            .find(|e| e["capabilityId"] == UNDO && e["detail"]["phase"] == phase)
            .unwrap_or_else(|| panic!("no {phase}: {events:?}"))
    };
    let (intent, outcome) = (of("intent"), of("outcome"));
    assert_eq!(intent["id"], done["auditId"]);
    assert_eq!(intent["detail"]["owner"], true);
    assert!(intent["agentId"].is_null() && outcome["agentId"].is_null());
    assert_eq!(outcome["detail"]["result"], "ok");
    assert_eq!(outcome["detail"]["touched"][0]["id"], "a.md");

    // Its outcome's id names it as well, and it can be taken back in its turn.
    take_back(&house, outcome["id"].as_str().expect("an id"));
    assert_eq!(house.workspace.read("a.md"), "two\n");
    assert!(offered(), "it is there again");
}

#[test]
fn what_cannot_be_taken_back_says_why_and_changes_nothing() {
    let (house, agent) = House::with_writer("one", &[WRITE]);
    house.workspace.write("a.md", "old\n");
    house.workspace.write("b.md", "old\n");
    let (audit, _) = write(&agent, "a.md", "new\n");
    let client = house.owner().client;
    let undo = |id: &str| client.get(&format!("/admin/api/undo/{id}"));

    // Nobody's event, no call, a read.
    let nobody = "evt_00000000-0000-8000-8000-00000000000f";
    undo(nobody).expect_error(404, "not_found");
    let events = house.owner().audit(100);
    let id_of = |fits: &dyn Fn(&Value) -> bool| {
        let event = events.iter().find(|e| fits(e)).expect("an event");
        event["id"].as_str().expect("an id").to_owned()
    };
    let read = id_of(&|e| e["detail"]["phase"] == "read");
    let handshake = id_of(&|e| e["type"] == "handshake");
    undo(&read).expect_error(404, "not_found");
    undo(&handshake).expect_error(404, "not_found");

    // The plan that was seen is the one that is done: the world moves in between.
    let plan = undo(&audit).expect_ok();
    house.workspace.write("a.md", "somebody else's\n");
    let late = client.post(
        &format!("/admin/api/undo/{audit}"),
        json!({"stateToken": plan["stateToken"]}),
    );
    let error = late.expect_error(409, "precondition_changed");
    assert_eq!(error["effect"], "none", "{error}");
    // And before it is looked at.
    let error = undo(&audit).expect_error(409, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "changed_since", "{error}");
    assert_eq!(house.workspace.read("a.md"), "somebody else's\n");

    // The control: as the agent left it, it can be taken back; then never again.
    house.workspace.write("a.md", "new\n");
    take_back(&house, &audit);
    assert_eq!(house.workspace.read("a.md"), "old\n");
    let error = undo(&audit).expect_error(409, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "already_undone", "{error}");

    // An effect that was refused changed nothing.
    let refused = agent.invoke(WRITE, note("b.md", "x")).json();
    assert_eq!(refused["ok"], false, "{refused}");
    let error =
        undo(refused["auditId"].as_str().expect("an id")).expect_error(409, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "not_done", "{error}");
    assert_eq!(house.workspace.read("b.md"), "old\n");
    // Of two changes the later one is taken back first, and the refusal names it as data and as a command.
    let (first, _) = write(&agent, "a.md", "one\n");
    let (second, _) = write(&agent, "a.md", "two\n");
    let error = undo(&first).expect_error(409, "precondition_changed");
    assert_eq!(error["detail"]["reason"], "changed_since", "{error}");
    let later = error["detail"]["later"].as_str().expect("an id");
    assert_eq!(error["next"], format!("plexusctl undo {later}"), "{error}");
    let intent = |id: &str| undo(id).expect_ok()["intent"].clone();
    assert_eq!(intent(later), intent(&second), "{error}");
    // Not where that would be refused too.
    house.workspace.write("a.md", "by hand\n");
    let error = undo(&first).expect_error(409, "precondition_changed");
    assert!(error["detail"]["later"].is_null(), "{error}");
    assert_eq!(error["next"], "plexusctl review one", "{error}");
    house.workspace.write("a.md", "two\n");
    take_back(&house, &second);
    take_back(&house, &first);
    assert_eq!(house.workspace.read("a.md"), "old\n");

    // Of a source that points elsewhere the refusal says so: the file is not gone.
    let (third, _) = write(&agent, "a.md", "three\n");
    let other = Folder::empty();
    let path = format!("path={}", other.path().display());
    let set = ["sources", "set", "workspace", &path, "--yes"];
    house.gateway.cli(set).expect_ok();
    let error = undo(&third).expect_error(409, "precondition_changed");
    let said = error["message"].as_str().expect("words");
    let moved = "the settings of workspace changed since this change: path is ";
    assert_contains(said, moved);
    // A file of the same name there is another one: no later change of the first.
    other.write("a.md", "there\n");
    for id in [READ, WRITE] {
        let allow = ["grants", "allow", "one", id, "--window", "1h"];
        house.gateway.cli(allow).expect_ok();
    }
    write(&agent, "a.md", "elsewhere\n");
    assert_eq!(other.read("a.md"), "elsewhere\n");
    let error = undo(&third).expect_error(409, "precondition_changed");
    assert!(error["detail"]["later"].is_null(), "{error}");
    assert_eq!(error["next"], "plexusctl review one", "{error}");
}

#[test]
fn what_was_replaced_outlives_the_gateway_and_not_its_store() {
    let (mut house, agent) = House::with_writer("one", &[WRITE]);
    house.workspace.write("a.md", "one\n");
    house.workspace.write("b.md", "one\n");
    let (first, _) = write(&agent, "a.md", "two\n");
    let (second, _) = write(&agent, "b.md", "two\n");
    // Of a call that the gateway made itself the answer is lost, and how it is taken back is not.
    let to_run = json!({"id": UNDO, "input": {"id": second}, "onApproval": "run"});
    let item = agent.invoke_body(to_run).text_at("/error/pendingId");
    house.owner().approve(&item, "once");
    let made = agent.status_after(&item, 20).expect_ok()["result"].clone();
    assert_eq!(house.workspace.read("b.md"), "one\n", "the control: {made}");
    house.gateway.kill9();
    let pending = house.gateway.state().join("pending");
    for file in std::fs::read_dir(pending).expect("a folder") {
        let path = file.expect("a file").path();
        if path.extension().is_some_and(|end| end == "result") {
            std::fs::remove_file(path).expect("a file");
        }
    }
    house.gateway.start_again();
    let agent = house.back(&agent);
    let lost = agent.status_after(&item, 20).expect_ok()["result"].clone();
    assert_eq!(lost["outputOmitted"], true, "{lost}");
    for member in ["auditId", "undo"] {
        assert!(made[member].is_string(), "the control: {made}");
        assert_eq!(lost[member], made[member], "{lost}");
    }
    let undo = lost["undo"].as_str().expect("an id").to_owned();
    take_back(&house, &undo);
    assert_eq!(house.workspace.read("b.md"), "two\n");
    take_back(&house, &first);
    assert_eq!(house.workspace.read("a.md"), "one\n");

    house.gateway.stop();
    let store = house.gateway.state().join("workers/workspace");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&store).expect("a store").permissions(),
    );
    assert_eq!(mode & 0o777, 0o700);
    std::fs::remove_dir_all(&store).expect("the store goes");
    house.gateway.start_again();
    let error = house
        .owner()
        .get(&format!("/admin/api/undo/{second}"))
        .expect_error(409, "transport_error");
    assert_eq!(error["detail"]["reason"], "not_kept", "{error}");
    assert_eq!(house.workspace.read("b.md"), "two\n");
}

#[test]
fn the_command_shows_asks_and_does() {
    let (house, agent) = House::with_writer("one", &[WRITE]);
    house.workspace.write("a.md", "old \u{1b}[2J\n");
    let (audit, _) = write(&agent, "a.md", "new\n");

    // Nobody is there to be asked.
    let unasked = house.gateway.cli(["undo", &audit]);
    assert_eq!(unasked.status, 64, "{unasked:?}");
    assert_eq!(house.workspace.read("a.md"), "new\n");

    let said = house.gateway.cli(["undo", &audit, "--yes"]);
    assert_eq!(said.status, 0, "{said:?}");
    assert_contains(&said.stdout, "undo: restores a.md, +1 −1");
    assert!(said.stdout.contains("  │ +old \\u{1b}[2J"), "{said:?}");
    assert!(!said.stdout.contains('\u{1b}'), "{said:?}");
    assert_eq!(house.workspace.read("a.md"), "old \u{1b}[2J\n");

    let again = house.gateway.cli(["--json", "undo", &audit, "--yes"]);
    assert_ne!(again.status, 0, "{again:?}");
    assert!(again.stderr.contains("taken back already"), "{again:?}");

    // By the file that was changed, as its source names it and as it lies there.
    let file = house.workspace.path().join("a.md");
    for path in ["a.md", &file.to_string_lossy()] {
        write(&agent, "a.md", "newest\n");
        let undo = ["undo", "--path", path, "--yes"];
        house.gateway.cli(undo).expect_ok();
        assert_eq!(house.workspace.read("a.md"), "old \u{1b}[2J\n", "{path}");
    }
    let none = house.gateway.cli(["undo", "--path", "A.txt", "--yes"]);
    assert_contains(&none.stderr, "recorded names like it: a.md");

    // Of a long change the first lines are shown, and the command that shows the others.
    let lines: String = (1..=250).map(|line| format!("line {line}\n")).collect();
    house.workspace.write("long.md", "old\n");
    let (long, _) = write(&agent, "long.md", &lines);
    let cut = house.gateway.cli(["undo", &long]).stdout;
    assert_contains(&cut, " more lines: plexusctl undo --all evt_");
    assert_lacks(&cut, "line 250");
    let whole = house.gateway.cli(["undo", "--all", &long]).stdout;
    assert_contains(&whole, "line 250");
    assert_lacks(&whole, "more lines");
}

#[test]
fn a_narrowed_agent_takes_back_nothing_outside_its_part() {
    let (house, agent) = House::with_writer("one", &[WRITE]);
    house.workspace.write("docs/a.md", "old\n");
    house.workspace.write("private/b.md", "old\n");
    let (_, inside) = write(&agent, "docs/a.md", "new\n");
    let (_, outside) = write(&agent, "private/b.md", "new\n");
    let client = house.owner().client;
    client
        .must_put(
            "/admin/api/grants",
            json!({"agentId": "one", "trustWindow": {"kind": "1h"},
                   "grants": {UNDO: {"decision": "allow", "constraint": {"pathPrefix": {"field": "path", "allow": ["docs"]}}}}}),
        );
    agent.must_fail(UNDO, json!({ "id": outside }), 401, "approval_required");
    assert_eq!(house.workspace.read("private/b.md"), "new\n");
    let done = agent.must(UNDO, json!({ "id": inside }));
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(house.workspace.read("docs/a.md"), "old\n");
}

#[test]
fn what_another_did_is_asked_about_one_by_one_and_the_card_says_whose_it_was() {
    let (house, one) = House::with_writer("one", &[WRITE]);
    let two = house.writer("two", &[WRITE, UNDO]);
    for name in ["a.md", "b.md", "c.md"] {
        house.workspace.write(name, "old\n");
    }
    let (_, others) = write(&one, "a.md", "of one\n");
    let (audit, _) = write(&one, "b.md", "of one\n");
    let owners = take_back(&house, &audit)["undo"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (_, own) = write(&two, "c.md", "of two\n");

    // The control: its own needs no asking, by token or by session.
    let done = two.must(UNDO, json!({ "id": own }));
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(house.workspace.read("c.md"), "old\n");

    // What the owner is told when asking beforehand.
    let would = |id: &str| {
        let body = json!({"agentId": "two", "capabilityId": UNDO, "input": {"id": id}});
        let client = house.owner().client;
        client.post("/admin/api/explain", body).expect_ok()
    };
    assert_eq!(would(&own)["decision"], "permit");
    let asks = would(&others);
    assert_eq!(asks["decision"], "pend", "{asks}");
    let why = asks["why"].as_str().expect("why");
    assert!(why.contains("the agent one"), "{asks}");

    // Another agent's, the owner's, and nobody's: the same answer but for the item's name, by either door.
    let token = two.token(&[UNDO]);
    let nobodys = "evt_00000000-0000-8000-8000-00000000000f";
    let mut said = Vec::new();
    for (id, whose) in [
        (others.as_str(), Some("the agent one")),
        (owners.as_str(), Some("you")),
        (nobodys, None),
        ("anything", None),
    ] {
        let item = two.must_ask(UNDO, json!({ "id": id }));
        let by_token = two
            .invoke_with(&token, UNDO, json!({ "id": id }))
            .expect_error(401, "approval_required");
        assert_eq!(by_token["pendingId"], item, "{id}");
        let again = two.invoke(UNDO, json!({ "id": id }));
        let mut answer = again.expect_error(401, "approval_required");
        let text = answer.to_string().replace(&item, "");
        answer = serde_json::from_str(&text).expect("still JSON");
        said.push(answer);
        let card = house.owner().card(&item);
        let plan = &card["asks"][0]["plan"];
        let Some(whose) = whose else {
            assert!(plan["error"].is_string(), "{card}");
            continue;
        };
        let fact = &plan["preview"]["facts"][0];
        assert_like(fact, &json!({"name": "change_of", "value": whose}));
        let warning = plan["warnings"][0].as_str().expect("a warning");
        assert_contains(warning, "two did not make");
        assert_contains(warning, whose);
        let offered: Vec<_> = list_of(&card["choices"])
            .iter()
            .filter(|c| c["refused"].is_null())
            .map(|c| c["window"].clone())
            .collect();
        assert_eq!(offered, ["once"], "{card}");
    }
    assert!(said.iter().all(|answer| *answer == said[0]), "{said:?}");
    assert_eq!(house.workspace.read("a.md"), "of one\n");
    assert_eq!(house.workspace.read("b.md"), "old\n");

    // What the owner saw is done, once, whatever window was named.
    let item = two.must_ask(UNDO, json!({ "id": others }));
    house.owner().approve(&item, "1h");
    let done = two.must(UNDO, json!({ "id": others }));
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(house.workspace.read("a.md"), "old\n");
    let (_, more) = write(&one, "a.md", "again of one\n");
    two.must_ask(UNDO, json!({ "id": more }));
    assert_eq!(house.workspace.read("a.md"), "again of one\n");
}

/// A name is given again: what another program did under it is asked about like anybody else's.
#[test]
fn what_a_program_of_its_name_did_before_is_not_its_own() {
    let house = House::open();
    let connect = || {
        let connected = house
            .owner()
            .connect_as(json!({"agentId": "one", "capabilities": [READ, WRITE, UNDO], "standing": [WRITE, UNDO]}))
            .expect_ok();
        let code = connected["code"].as_str().expect("a code").to_owned();
        Agent::enroll(&house.gateway.client(), &code)
    };
    for name in ["a.md", "b.md"] {
        house.workspace.write(name, "old\n");
    }
    let (_, before) = write(&connect(), "a.md", "of the first\n");
    let next = connect();
    let (_, own) = write(&next, "b.md", "of the second\n");
    // The control.
    let done = next.must(UNDO, json!({ "id": own }));
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(house.workspace.read("b.md"), "old\n");

    let item = next.must_ask(UNDO, json!({ "id": before }));
    assert_eq!(house.workspace.read("a.md"), "of the first\n");
    let card = house.owner().card(&item);
    let fact = &card["asks"][0]["plan"]["preview"]["facts"][0];
    assert_eq!(fact["value"], "a program that had its name before");
    house.owner().approve(&item, "once");
    let done = next.must(UNDO, json!({ "id": before }));
    assert_eq!(done["ok"], true, "{done}");
    assert_eq!(house.workspace.read("a.md"), "old\n");
}

#[test]
fn an_agent_is_not_told_by_which_act_the_owner_took_its_change_back() {
    let (house, agent) = House::with_writer("one", &[WRITE, UNDO]);
    house.workspace.write("a.md", "old\n");
    let (audit, undo) = write(&agent, "a.md", "new\n");
    let by = take_back(&house, &audit)["auditId"].clone();
    let by = by.as_str().expect("an id");
    let again = agent.invoke(UNDO, json!({ "id": undo })).json();
    assert_eq!(
        again["error"]["detail"]["reason"], "already_undone",
        "{again}"
    );
    assert!(!again.to_string().contains(by), "{again}");
    assert_eq!(house.workspace.read("a.md"), "old\n");
}

#[test]
fn undo_is_offered_as_its_agent_may_call_it() {
    let house = House::open();
    for (agent, reach, standing, offered) in [
        ("asks", "exposed", &[WRITE][..], Some("undo (asks): ")),
        ("holds", "exposed", &[WRITE, UNDO], Some("undo: ")),
        ("may", "exposed", &[WRITE, UNDO], Some("undo (may ask): ")),
        ("blind", "selected", &[WRITE], None),
    ] {
        let body = json!({"agentId": agent, "capabilities": standing, "standing": standing, "reach": reach});
        let connected = house.owner().connect_as(body).expect_ok();
        let code = connected["code"].as_str().expect("a code");
        house.gateway.plexus(agent, ["enroll", code]).expect_ok();
        if agent == "may" {
            let line = ["grants", "allow", agent, UNDO, "--window", "1h"];
            let line = line.into_iter().chain(["--under", "path=docs"]);
            house.gateway.cli(line).expect_ok();
        }
        let path = format!("path={agent}.md");
        let said = house.gateway.plexus(agent, [WRITE, &path, "content=a"]);
        said.expect_ok();
        assert_eq!(house.workspace.read(&format!("{agent}.md")), "a");
        let line = said.stderr.lines().find(|line| line.starts_with("undo"));
        let printed = line.and_then(|line| Some(line.split_once(": ")?.0));
        assert_eq!(
            printed.map(|word| format!("{word}: ")).as_deref(),
            offered,
            "{said}"
        );
    }
}
