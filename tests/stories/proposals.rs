//! Extensions that agents propose: read, written, proposed, seen, added, called, changed; and what is in the way of more.

use crate::house::{House, READ, report, tips};
use nix::sys::signal::Signal;
use plexus_tests::home_app::{HomeApp, TOKEN};
use plexus_tests::terminal::Terminal;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, text_of};
use plexus_tests::{Agent, Folder, Gateway};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

/// The manifest that the guide shows.
fn of_the_guide(guide: &str) -> Value {
    let (_, rest) = guide.split_once("```json\n").expect("a manifest");
    let (manifest, _) = rest.split_once("```").expect("its end");
    serde_json::from_str(manifest).expect("JSON")
}

struct World {
    gateway: Gateway,
    pages: Folder,
}

impl World {
    fn new() -> Self {
        let pages = Folder::empty();
        pages.write("monday.md", "buy bread\n");
        Self {
            gateway: Gateway::start(),
            pages,
        }
    }

    fn guide(&self) -> Value {
        let guide = self.gateway.client().get("/extensions/authoring-guide");
        assert_eq!(guide.status, 200, "{guide}");
        of_the_guide(&guide.text())
    }

    fn propose(&self, agent: &Agent, manifest: &Value) -> Value {
        let body = json!({
            "manifest": manifest, "folders": {"pages": self.pages.path()}, "purpose": "search the journal",
        });
        let reply = agent.client().post("/extensions", body);
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()
    }

    fn item(&self, agent: &Agent, manifest: &Value) -> String {
        let reply = self.propose(agent, manifest);
        assert_eq!(reply["status"], "grant_pending_user", "{reply}");
        reply["pendingId"].as_str().expect("an item").to_owned()
    }

    fn card(&self, item: &str) -> Value {
        let path = format!("/admin/api/pending/{item}");
        self.gateway.owner().get(&path).expect_ok()
    }

    fn approve(&self, item: &str, card: &Value) -> plexus_tests::Response {
        let body = json!({"action": "approve", "cardDigest": card["cardDigest"]});
        self.gateway.owner().decide(item, body)
    }
}

#[test]
fn agent_writes_an_extension_and_the_owner_decides() {
    let world = World::new();
    let gateway = &world.gateway;
    let connected = gateway.owner().connect("coder", &[]);
    let code = connected["code"].as_str().expect("a code");
    gateway.plexus("coder", ["enroll", code]).expect_ok();
    let pat = gateway.state_file("agents/coder.pat");
    let agent = Agent::with_pat(&gateway.client(), "coder", pat.trim());
    // The agent reads the guide, and proposes what stands there with the real command.
    let guide = gateway.plexus("coder", ["extension", "guide"]);
    let manifest = of_the_guide(guide.expect_ok());
    assert_eq!(manifest, world.guide());
    let folder = Folder::empty();
    let file = folder.path().join("journal.json");
    std::fs::write(&file, manifest.to_string()).expect("a file");
    let file = file.display().to_string();
    let pages = format!("pages={}", world.pages.path().display());
    let line = ["extension", "propose", &file, "--folder", &pages];
    let command =
        gateway.plexus_command("coder", line.into_iter().chain(["--purpose", "search it"]));
    let mut waits = Terminal::start(&command, 160, 24);
    waits.until_shows("waiting for the owner");
    waits.signal(Signal::SIGINT);
    waits.until_shows("you interrupted the waiting; the request still waits");
    assert!(!waits.end().success());
    let item = gateway.owner().pending()[0]["pendingId"].clone();
    let item = item.as_str().expect("it still waits");
    gateway.plexus("coder", ["cancel", item]).expect_ok();
    let said = gateway.plexus(
        "coder",
        [
            "extension",
            "propose",
            &file,
            "--folder",
            &pages,
            "--purpose",
            "search it",
            "--wait",
            "0",
        ],
    );
    assert_eq!(said.status, 75, "{said}");
    assert!(
        !gateway.state().join("extensions").exists(),
        "nothing is added"
    );
    // The owner sees what it may touch.
    let shown = gateway.cli(["approvals", "show"]);
    let shown = shown.expect_ok();
    for part in [
        "agent: coder asks to add the extension journal",
        "/usr/bin/grep",
        "SHA-256",
        "monday.md",
        "journal.find: read: once granted it asks no more",
        "\"--regexp={text}\"",
        "search it",
        "a text that agents read without asking",
        "it is added as shown; nothing is granted",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_contains(shown, &world.pages.path().display().to_string());
    let item = text_of(&gateway.owner().pending()[0]["pendingId"]);
    let added = gateway.cli(["approvals", "approve", &item, "--yes"]);
    assert!(added.expect_ok().contains("journal serves"), "{added}");
    let status = agent.status(&item).expect_ok();
    let like = json!({"state": "approved", "register": {"registered": ["journal.find", "journal.how-to"]}});
    assert_like(&status, &like);
    // Its command says so, also where it did not wait.
    let waited = gateway.plexus("coder", ["wait", &item]);
    assert_contains(waited.expect_ok(), "journal is added: ");
    // Adding grants nothing.
    let input = json!({"text": "bread"});
    let refused = agent.invoke("journal.find", input.clone());
    assert_eq!(refused.status, 401, "{refused}");
    gateway.owner().must_grant("coder", "journal.find", "1d");
    let found = agent.must("journal.find", input.clone());
    assert_contains(&found["output"]["text"].to_string(), "buy bread");
    // The text is there without asking, and says whose it is.
    let text = agent.entry("journal.how-to");
    let words = text["body"]["markdown"].as_str().expect("a text");
    assert!(
        words.starts_with("> Third-party text of the extension \"Journal\"."),
        "{words}"
    );
    assert!(words.contains("One file for each day"), "{words}");
    assert_eq!(text["provenance"], "extension");

    // A changed one: the owner sees the difference before anything of it is there.
    let more = Folder::empty();
    let mut changed = manifest;
    changed["folders"]
        .as_array_mut()
        .expect("folders")
        .push(json!({"name": "drafts", "label": "Drafts", "access": "read"}));
    changed["capabilities"][0]["route"]["args"] = json!([
        "-rnIF",
        "--regexp={text}",
        "--",
        "{folder.pages}",
        "{folder.drafts}"
    ]);
    let body = json!({
        "manifest": changed, "folders": {"pages": world.pages.path(), "drafts": more.path()},
    });
    let reply = agent.client().post("/extensions", body).expect_ok();
    let item = reply["pendingId"].as_str().expect("an item").to_owned();
    let card = world.card(&item);
    let changes = card["changes"].to_string();
    for part in ["the folder drafts is new", "journal.find: arguments was"] {
        assert!(changes.contains(part), "{part}: {changes}");
    }
    more.write("draft.md", "bread again\n");
    let found = agent.must("journal.find", input.clone());
    assert_lacks(&found["output"]["text"].to_string(), "again");
    world.approve(&item, &card).expect_ok();
    // Another folder is another reach: what was granted before has ended.
    let ended = agent.invoke("journal.find", input.clone());
    assert_eq!(ended.status, 401, "{ended}");
    gateway.owner().must_grant("coder", "journal.find", "1d");
    let found = agent.must("journal.find", input);
    assert_contains(&found["output"]["text"].to_string(), "bread again");
}

/// The example of an app with an HTTP API, for this app.
fn home_at(url: &str) -> Value {
    let example = include_str!("../../docs/extensions/home.json");
    serde_json::from_str(&example.replace("http://192.168.1.5:8123", url)).expect("the example")
}

#[test]
fn proposed_app_is_shown_whole_and_serves_once_its_secret_is_set() {
    let (world, app) = (World::new(), HomeApp::start());
    let gateway = &world.gateway;
    let agent = gateway.agent_with("coder", &[]);
    let body = json!({"manifest": home_at(&app.url()), "purpose": "switch the lamp"});
    let reply = agent.client().post("/extensions", body).expect_ok();
    let item = reply["pendingId"].as_str().expect("an item");
    let shown = gateway.cli(["approvals", "show", item]);
    let shown = shown.expect_ok();
    for part in [
        format!("{} alone, not encrypted", app.url()),
        "a read sends  ".to_owned(),
        "GET /api/states/*".to_owned(),
        "POST /api/services/light/*".to_owned(),
        format!("GET {}/api/states/{{entity}}", app.url()),
        "brightness".to_owned(),
        format!("token: sent to {} as Authorization: Bearer", app.url()),
        "token: once it is added, plexusctl sources secret home token".to_owned(),
        "json of at most 1 MiB within 30 s".to_owned(),
        "200, 201, 202, 204".to_owned(),
        "it is added as shown; nothing is granted by that".to_owned(),
    ] {
        assert!(shown.contains(&part), "{part}: {shown}");
    }
    let added = gateway.cli(["approvals", "approve", item, "--yes"]);
    let command = "plexusctl sources secret home token";
    assert!(added.expect_ok().contains(command), "{added}");
    // Until it is set, the source says so.
    let status = gateway.owner().get("/admin/api/status").expect_ok();
    let sources = status["sources"].as_array().expect("sources");
    let home = sources.iter().find(|source| source["id"] == "home");
    let health = &home.expect("it is there")["health"];
    assert_eq!(health["status"], "unavailable", "{health}");
    assert!(health["detail"].to_string().contains(command), "{health}");
    let token = json!({"value": TOKEN});
    let owner = gateway.owner();
    owner.must_post("/admin/api/secrets/home.token", token);
    owner.grant("coder", "home.state", "1d").expect_ok();
    let state = agent.invoke("home.state", json!({"entity": "light.kitchen"}));
    assert_eq!(state.expect_ok()["output"]["json"]["state"], "off");
}

#[test]
fn proposed_program_that_speaks_json_is_shown_with_its_sandbox() {
    let world = World::new();
    let agent = world.gateway.agent_with("coder", &[]);
    let program = plexus_tests::binaries::path("plexus-lines");
    let one = |name: &str, verb: &str| {
        json!({
            "name": name, "kind": "capability", "label": name, "describe": "Works.", "grants": [verb], "transport": "stdio",
            "route": {"bin": program, "args": ["{folder.pages}"], "env": {"COLOUR": "none"}, "timeoutMs": 20_000},
            "io": {"input": {"type": "object", "properties": {"how": {"type": "string"}}}},
        })
    };
    let manifest = json!({
        "manifest": "plexus-extension/0.1", "source": "lines", "label": "Lines", "transport": "stdio",
        "folders": [{"name": "pages", "label": "Pages", "access": "read-write"}],
        "capabilities": [one("look", "read"), one("act", "write")],
    });
    let item = world.item(&agent, &manifest);
    let card = world.card(&item);
    let section = |title: &str| {
        let sections = card["register"]["sections"].as_array().expect("sections");
        let found = sections.iter().find(|section| section["title"] == title);
        found.unwrap_or_else(|| panic!("{title}: {card}"))["facts"].to_string()
    };
    let pages = world.pages.path().display().to_string();
    // What a run may write is of the profile that it gets.
    let (read, write) = (
        section("Sandbox of a read"),
        section("Sandbox of a call that you approve"),
    );
    let writes = format!(r#"{{"name":"may write","value":"{pages} and all below it"}}"#);
    assert!(write.contains(&writes), "{write}");
    assert!(
        read.contains(r#"{"name":"may write","value":"nothing"}"#) && !read.contains(&writes),
        "{read}"
    );
    for facts in [&read, &write] {
        for part in [&pages, "plexus-lines", "512 MiB of memory, 4 processes"] {
            assert!(facts.contains(part), "{part}: {facts}");
        }
        assert!(
            facts.contains(r#"{"name":"network","value":"nothing"}"#),
            "{facts}"
        );
    }
    let act = section("lines.act");
    for part in [
        "COLOUR=none",
        "all fields, as one line of JSON",
        "within 20 s",
    ] {
        assert!(act.contains(part), "{part}: {act}");
    }
    world.approve(&item, &card).expect_ok();
    world
        .gateway
        .owner()
        .must_grant("coder", "lines.look", "1d");
    let look = agent.must("lines.look", json!({"how": "progress"}));
    assert_eq!(look["output"]["output"], "all of it", "{look}");
}

#[test]
fn secret_goes_to_another_host_by_an_act_of_the_owner_alone() {
    let (world, first, second) = (World::new(), HomeApp::start(), HomeApp::start());
    let gateway = &world.gateway;
    let owner = gateway.owner();
    let agent = gateway.agent_with("coder", &[]);
    let lamp = json!({"entity": "light.kitchen"});
    let propose = |manifest: &Value| {
        let body = json!({ "manifest": manifest });
        let reply = agent.client().post("/extensions", body).expect_ok();
        reply["pendingId"].as_str().expect("an item").to_owned()
    };
    let set = || {
        let body = json!({"value": TOKEN});
        let path = "/admin/api/secrets/home.token";
        owner.post(path, body).expect_ok();
    };
    let secret = gateway.state().join("secrets/home.token");
    // One that lies there before is no secret of this host either.
    set();
    let item = propose(&home_at(&first.url()));
    world.approve(&item, &world.card(&item)).expect_ok();
    assert!(!secret.exists());
    set();
    owner.grant("coder", "home.state", "1d").expect_ok();
    agent.must("home.state", lamp.clone());

    let item = propose(&home_at(&second.url()));
    let shown = gateway.cli(["approvals", "show", &item]);
    let shown = shown.expect_ok();
    let goes = format!("the secret token will go to {}", second.url());
    for part in [
        goes.as_str(),
        "--keep-secret token",
        "every grant on it is revoked, since a stored secret is deleted",
        "its grants stay valid",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let body = json!({
        "action": "approve", "cardDigest": world.card(&item)["cardDigest"], "keepSecrets": ["tokens"],
    });
    let typo = owner.decide(&item, body);
    assert!(typo.text().contains("no stored secret"), "{typo}");
    assert!(secret.exists(), "nothing is done yet");
    let added = gateway.cli(["approvals", "approve", &item, "--yes"]);
    assert_contains(added.expect_ok(), "plexusctl sources secret home token");
    assert!(!secret.exists());
    let ended = agent.invoke("home.state", lamp.clone());
    assert_eq!(ended.status, 401, "{ended}");
    assert_eq!(second.heard().len(), 0);

    // The control: kept by name it goes there, and the grant stays.
    set();
    owner.grant("coder", "home.state", "1d").expect_ok();
    let item = propose(&home_at(&first.url()));
    let before = first.heard().len();
    let line = format!("approvals approve {item} --keep-secret token --yes");
    let added = gateway.cli(line.split(' '));
    assert!(added.expect_ok().contains("home serves"), "{added}");
    agent.must("home.state", lamp);
    assert_eq!(first.heard().len(), before + 1);

    // What is declared no longer is kept for nobody.
    let mut without = home_at(&first.url());
    without.as_object_mut().expect("members").remove("secrets");
    let item = propose(&without);
    world.approve(&item, &world.card(&item)).expect_ok();
    assert!(!secret.exists());
}

#[test]
fn changed_proposal_says_what_becomes_of_grants() {
    let world = World::new();
    let (gateway, owner) = (&world.gateway, world.gateway.owner());
    let agent = gateway.agent_with("coder", &[]);
    let manifest = world.guide();
    let item = world.item(&agent, &manifest);
    world.approve(&item, &world.card(&item)).expect_ok();
    let find = || agent.invoke("journal.find", json!({"text": "bread"}));
    let words = |item: &str| {
        let card = world.card(item);
        (card["changes"].to_string(), card["ifApproved"].to_string())
    };
    let mut worded = manifest;
    worded["capabilities"][0]["describe"] = json!("Finds lines.");
    let item = world.item(&agent, &worded);
    assert!(
        words(&item).1.contains("nothing is granted by that"),
        "{:?}",
        words(&item)
    );
    owner.grant("coder", "journal.find", "1d").expect_ok();
    assert!(
        words(&item).1.contains("its grants stay valid"),
        "{:?}",
        words(&item)
    );
    world.approve(&item, &world.card(&item)).expect_ok();
    find().expect_ok();

    // With a second folder, which nobody has named: the difference is there, and the first stays as it is.
    let mut wider = worded.clone();
    wider["folders"]
        .as_array_mut()
        .expect("folders")
        .push(json!({"name": "drafts", "label": "Drafts", "access": "read"}));
    wider["capabilities"][0]["route"]["args"] = json!([
        "-rnIF",
        "--regexp={text}",
        "--",
        "{folder.pages}",
        "{folder.drafts}"
    ]);
    let body = json!({ "manifest": wider });
    let reply = agent.client().post("/extensions", body).expect_ok();
    let item = reply["pendingId"].as_str().expect("an item");
    let card = world.card(item);
    assert_eq!(
        card["foldersToName"],
        json!([{"name": "drafts", "label": "Drafts"}]),
        "{card}"
    );
    let (changes, then) = words(item);
    assert!(changes.contains("the folder drafts is new"), "{changes}");
    assert!(!changes.contains("the folder pages"), "{changes}");
    assert_contains(&then, "every grant on it is revoked, since a folder is new");
    let more = Folder::empty();
    more.write("draft.md", "bread again\n");
    let drafts = format!("drafts={}", more.path().display());
    let added = gateway.cli(["approvals", "approve", item, "--folder", &drafts, "--yes"]);
    assert!(added.expect_ok().contains("journal serves"), "{added}");
    assert_eq!(find().status, 401);
    owner.grant("coder", "journal.find", "1d").expect_ok();
    let found = find().expect_ok()["output"]["text"].to_string();
    assert_contains(&found, "buy bread");
    assert_contains(&found, "bread again");
}

#[test]
fn installed_source_is_named_and_made_to_ask() {
    let world = World::new();
    let gateway = &world.gateway;
    let agent = gateway.agent_with("coder", &[]);
    let item = world.item(&agent, &world.guide());
    world.approve(&item, &world.card(&item)).expect_ok();
    let set = |words: &[&str]| gateway.cli([&["sources", "set", "journal"], words].concat());
    set(&["--label", "My pages"]).expect_ok();
    set(&["--ask", "--yes"]).expect_ok();
    let row = || {
        let sources = gateway.owner().get("/admin/api/sources").expect_ok();
        let all = sources["sources"].as_array().expect("sources");
        let journal = all.iter().find(|source| source["id"] == "journal");
        journal.expect("it is there").clone()
    };
    assert_eq!(
        (&row()["label"], &row()["approval"]),
        (&json!("My pages"), &json!("ask"))
    );
    // Both stay through a change of the manifest.
    let mut changed = world.guide();
    changed["capabilities"][0]["describe"] = json!("Finds lines.");
    let item = world.item(&agent, &changed);
    world.approve(&item, &world.card(&item)).expect_ok();
    assert_eq!(
        (&row()["label"], &row()["approval"]),
        (&json!("My pages"), &json!("ask"))
    );
    // Its folders are a part of what was agreed to.
    let refused = set(&["pages=/tmp"]);
    assert_eq!(refused.status, 64, "{refused}");
    assert_contains(
        &refused.all(),
        "plexusctl extension add FILE --folder NAME=PATH",
    );
}

#[test]
fn denied_proposal_is_not_asked_again() {
    let world = World::new();
    let agent = world.gateway.agent_with("coder", &[]);
    let manifest = world.guide();
    let item = world.item(&agent, &manifest);
    // The same that waits is one item, also for another session.
    assert_eq!(world.item(&agent.another_session(), &manifest), item);
    world.gateway.owner().deny(&item, "not this one");
    let again = json!({
        "manifest": manifest, "folders": {"pages": world.pages.path()}, "purpose": "once more",
    });
    let refused = agent.client().post("/extensions", again);
    refused.expect_error(403, "denied_by_owner");
    assert!(refused.text().contains("not this one"), "{refused}");
    assert_eq!(world.gateway.owner().pending(), Vec::<Value>::new());
    // The control: another content is another question.
    let mut other = manifest;
    other["label"] = json!("Diary");
    world.item(&agent, &other);
    assert_eq!(world.gateway.owner().pending().len(), 1);
}

#[test]
fn changed_program_makes_a_fresh_card() {
    let mut world = World::new();
    let agent = world.gateway.agent_with("coder", &[]);
    let programs = Folder::empty();
    let tool = programs.path().join("tool");
    let put = |program: &str| {
        std::fs::copy(program, programs.path().join("new")).expect("a copy");
        std::fs::rename(programs.path().join("new"), &tool).expect("it is replaced");
    };
    put("/usr/bin/grep");
    let mut manifest = world.guide();
    manifest["capabilities"][0]["route"]["bin"] = json!(tool);
    let item = world.item(&agent, &manifest);
    let card = world.card(&item);
    put("/usr/bin/cat");
    world
        .approve(&item, &card)
        .expect_error(409, "card_changed");
    assert!(!world.gateway.state().join("extensions").exists());
    // It waits over a restart, and lapses with the agent's credential.
    world.gateway.restart();
    let fresh = world.card(&item);
    assert_ne!(fresh["cardDigest"], card["cardDigest"]);
    put("/usr/bin/grep");
    // The control: what is as it was shown is added.
    world.approve(&item, &world.card(&item)).expect_ok();
    let listed = world.gateway.cli(["extension", "list"]);
    assert!(listed.expect_ok().contains("journal"), "{listed}");
}

#[test]
fn owner_names_the_folder_that_a_proposal_leaves_open() {
    let world = World::new();
    let agent = world.gateway.agent_with("coder", &[]);
    let body = json!({"sessionId": agent.session, "manifest": world.guide()});
    let reply = world.gateway.client().post("/extensions", body).expect_ok();
    let item = reply["pendingId"].as_str().expect("an item");
    let card = world.card(item);
    assert_eq!(card["foldersToName"][0]["name"], "pages", "{card}");
    let refused = world.approve(item, &card);
    assert!(refused.text().contains("--folder pages=PATH"), "{refused}");
    let listed = world.gateway.cli(["approvals", "list"]);
    assert_contains(listed.expect_ok(), "add the extension journal");
    let pages = format!("pages={}", world.pages.path().display());
    // Names are held against the card before anybody is asked.
    let other = pages.replace("pages=", "texts=");
    let stray = world
        .gateway
        .cli(["approvals", "approve", item, "--folder", &other]);
    assert_contains(&stray.all(), "the extension has no folder texts");
    let added = world
        .gateway
        .cli(["approvals", "approve", item, "--folder", &pages, "--yes"]);
    assert!(added.expect_ok().contains("journal serves"), "{added}");
    let activity = world.gateway.cli(["activity"]);
    assert_contains(activity.expect_ok(), "asked you for the extension journal");
}

#[test]
fn proposal_tells_nothing_of_this_machine() {
    let world = World::new();
    let agent = world.gateway.agent_with("coder", &[]);
    let mut manifest = world.guide();
    manifest["capabilities"][0]["route"]["bin"] = json!("no-such-program");
    manifest["source"] = json!("ghost");
    manifest["capabilities"][1]["route"]["attachTo"] = json!(["ghost.find"]);
    let there = world.guide();
    let body =
        |manifest: &Value, path: &str| json!({"manifest": manifest, "folders": {"pages": path}});
    for (manifest, path) in [(&manifest, "/no/such/folder"), (&there, "/etc")] {
        let reply = agent
            .client()
            .must_post("/extensions", body(manifest, path));
        assert_eq!(reply["status"], "grant_pending_user", "{reply}");
    }
    // The owner is told, and cannot add it.
    let item = world.gateway.owner().pending();
    let ghost = item
        .iter()
        .find(|item| item["register"]["source"] == "ghost")
        .expect("it waits");
    let problems = ghost["problems"].to_string();
    assert!(problems.contains("no-such-program"), "{ghost}");
    let refused = world.approve(ghost["pendingId"].as_str().expect("an item"), ghost);
    refused.expect_error(409, "plan_failed");
    // What its own words tell is told at once.
    let mut bad = world.guide();
    bad["capabilities"][0]["route"]["args"] = json!(["-e{text}"]);
    let reply = world.propose(&agent, &bad);
    assert_eq!(reply["ok"], false, "{reply}");
    assert_contains(&reply["reason"].to_string(), "could become an option");
    // All of it, and what only a look at the machine was needed for before: its own port, and the name of an interpreter.
    bad["label"] = json!("Checked by Plexus");
    let reason = world.propose(&agent, &bad)["reason"].to_string();
    assert_contains(&reason, "could become an option");
    assert_contains(&reason, "speaks of Plexus");
    let mut shell = world.guide();
    shell["capabilities"][0]["route"]["bin"] = json!("bash");
    let reply = world.propose(&agent, &shell);
    assert_contains(&reply["reason"].to_string(), "bash runs what its arguments");
    let own = home_at(&format!("http://127.0.0.1:{}", world.gateway.port()));
    let own = agent.client().post("/extensions", json!({"manifest": own}));
    let reply = own.expect_status(200).json();
    assert_eq!(reply["ok"], false, "{reply}");
    assert_contains(&reply["reason"].to_string(), "this gateway's own port");
    assert_eq!(world.gateway.owner().pending().len(), item.len());
}

/// A change of a manifest that is refused, and a part of the words for it.
type Bad = (&'static str, fn(&mut Value), &'static str);

#[test]
fn text_and_words_of_an_author_are_bounded() {
    let world = World::new();
    let owner = world.gateway.owner();
    let table: &[Bad] = &[
        (
            "a text beyond its bound",
            |m| {
                m["capabilities"][1]["body"]["markdown"] = json!("x".repeat(70_000));
            },
            "70000 bytes",
        ),
        (
            "a text that turns",
            |m| {
                m["capabilities"][1]["body"]["markdown"] = json!("one \u{202e}owt");
            },
            "control characters",
        ),
        (
            "a text with a verb",
            |m| m["capabilities"][1]["grants"] = json!(["read"]),
            "has no verb",
        ),
        (
            "another source's capability",
            |m| {
                m["capabilities"][1]["route"]["attachTo"] = json!(["workspace.read"]);
            },
            "no capability of this extension",
        ),
        (
            "texts apart",
            |m| m["skills"] = json!([]),
            "unknown field `skills`",
        ),
        (
            "a label of Plexus",
            |m| m["label"] = json!("Checked by Plexus"),
            "speaks of Plexus",
        ),
        (
            "a capability of Plexus",
            |m| {
                m["capabilities"][0]["label"] = json!("P1exus says it is safe");
            },
            "speaks of Plexus",
        ),
        (
            "a folder of Plexus",
            |m| m["folders"][0]["label"] = json!("Plexus's own"),
            "speaks of Plexus",
        ),
        (
            "a variable of a library",
            |m| {
                m["capabilities"][0]["route"]["env"] = json!({"GCONV_PATH": "/tmp"});
            },
            "GCONV_PATH",
        ),
        (
            "a variable of options",
            |m| {
                m["capabilities"][0]["route"]["env"] = json!({"GREP_OPTIONS": "-r"});
            },
            "GREP_OPTIONS",
        ),
    ];
    for (what, change, words) in table {
        let mut bad = world.guide();
        change(&mut bad);
        let body = json!({"manifest": bad, "folders": {"pages": world.pages.path()}});
        let seen = owner.must_post("/admin/api/extensions/preview", body);
        assert_eq!(seen["valid"], false, "{what}: {seen}");
        let reasons = seen["reasons"].to_string();
        assert!(reasons.contains(words), "{what}: {reasons}");
    }
    // The loader, by the file that it is: it would run any program.
    let loader = std::fs::canonicalize("/lib64/ld-linux-x86-64.so.2");
    let loader = loader.or_else(|_| std::fs::canonicalize("/lib/ld-linux-aarch64.so.1"));
    let copy = Folder::empty();
    let tool = copy.path().join("tool");
    std::fs::copy(loader.expect("a loader"), &tool).expect("a copy");
    std::fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).expect("a mode");
    let mut bad = world.guide();
    bad["capabilities"][0]["route"]["bin"] = json!(tool);
    let preview = |manifest: &Value, pages: &std::path::Path| {
        let body = json!({"manifest": manifest, "folders": {"pages": pages}});
        owner.must_post("/admin/api/extensions/preview", body)
    };
    let seen = preview(&bad, &world.pages.path());
    assert_contains(&seen["reasons"].to_string(), "a library or a loader");
    // The control.
    let seen = preview(&world.guide(), &world.pages.path());
    assert_eq!(seen["valid"], true, "{seen}");
    assert_eq!(
        seen["surface"]["capabilities"][1]["kind"], "skill",
        "{seen}"
    );
}

#[test]
fn private_folder_is_given_by_no_way() {
    let world = World::new();
    let owner = world.gateway.owner();
    let keys = Folder::empty();
    std::fs::create_dir_all(keys.path().join("inner/.ssh/deep")).expect("folders");
    std::os::unix::fs::symlink(
        keys.path().join("inner/.ssh/deep"),
        keys.path().join("link"),
    )
    .expect("a link");
    let preview = |pages: &std::path::Path| {
        let body = json!({"manifest": world.guide(), "folders": {"pages": pages}});
        owner.must_post("/admin/api/extensions/preview", body)
    };
    for folder in ["inner", "inner/.ssh", "inner/.ssh/deep", "link"] {
        let seen = preview(&keys.path().join(folder));
        assert!(
            seen["reasons"].to_string().contains("keys or settings"),
            "{folder}: {seen}"
        );
    }
    let seen = preview(&world.pages.path());
    let body = json!({
        "manifest": world.guide(), "folders": {"pages": world.pages.path()}, "digest": seen["digest"],
    });
    owner.post("/admin/api/extensions", body).expect_ok();
    // Nor when it is there already.
    let at = |folder: &std::path::Path| {
        let body = json!({"route": {"pages": folder}});
        owner.post("/admin/api/sources/journal/reconfigure", body)
    };
    let refused = at(&keys.path().join("inner/.ssh"));
    assert_eq!(refused.status, 422, "{refused}");
    assert!(refused.text().contains("keys or settings"), "{refused}");
    // The control.
    let other = Folder::empty();
    at(&other.path()).expect_ok();
}

#[test]
fn source_that_is_off_stays_off_through_a_change() {
    let world = World::new();
    let owner = world.gateway.owner();
    let agree = |manifest: &Value| {
        let mut body = json!({"manifest": manifest, "folders": {"pages": world.pages.path()}});
        let seen = owner.must_post("/admin/api/extensions/preview", body.clone());
        body["digest"] = seen["digest"].clone();
        owner.post("/admin/api/extensions", body).expect_ok()
    };
    let manifest = world.guide();
    agree(&manifest);
    owner.must_post("/admin/api/sources/journal/disable", json!({}));
    let mut changed = manifest;
    changed["capabilities"][0]["describe"] = json!("Prints lines.");
    assert_eq!(agree(&changed)["ok"], true);
    let sources = owner.get("/admin/api/sources").expect_ok();
    let all = sources["sources"].as_array().expect("sources");
    let journal = all
        .iter()
        .find(|source| source["id"] == "journal")
        .expect("it is there");
    assert_eq!(journal["enabled"], false, "{journal}");
}

/// What an agent sends, and a part of the reason for which it is refused at once.
type Sent = (&'static str, fn(&mut Value), &'static str);

/// The rows of the recorded exchanges about proposing, as statuses, codes and members; the differences are in
/// docs/protocol/compatibility.md.
#[test]
fn proposing_answers_as_the_wire_has_it() {
    let world = World::new();
    let agent = world.gateway.agent_with("coder", &[]);
    let tip = tips();
    let anyone = world.gateway.client();
    let send = |manifest: &Value| {
        let body = json!({"sessionId": agent.session, "manifest": manifest});
        let reply = agent.client().post("/extensions", body);
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()
    };
    #[rustfmt::skip]
    let table: &[Sent] = &[
        ("a shipped source", |m| m["source"] = json!("workspace"), "looks like, an id of"),
        ("another shipped one", |m| m["source"] = json!("obsidian"), "looks like, an id of"),
        ("another format", |m| m["manifest"] = json!("plexus-extension/9"), "not \"plexus-extension/0.1\""),
        ("no source", |m| *m = json!({"manifest": "plexus-extension/0.1"}), "missing field"),
        (
            "a secret of a path",
            |m| {
                m["secrets"] = json!([{"name": "../../x", "attach": "bearer"}]);
            },
            "secrets and certificate are for",
        ),
        ("300 kB", |m| m["label"] = json!("x".repeat(300_000)), "more than 256 KiB"),
        (
            "257 capabilities",
            |m| {
                let one = m["capabilities"][0].clone();
                let many = (0..257).map(|n| {
                    let mut one = one.clone();
                    one["name"] = json!(format!("note{n}"));
                    one
                });
                m["capabilities"] = many.collect();
            },
            "257 capabilities",
        ),
        (
            "70 kB of text",
            |m| {
                m["capabilities"][0]["body"]["markdown"] = json!("x".repeat(70_000));
            },
            "70000 bytes",
        ),
        ("no capabilities", |m| _ = m.as_object_mut().expect("members").remove("capabilities"), "missing field"),
        (
            "another source's capability",
            |m| {
                m["capabilities"][0]["route"] = json!({"attachTo": ["workspace.read"]});
            },
            "no capability of this extension",
        ),
        ("null", |m| *m = Value::Null, "required"),
    ];
    for (what, change, words) in table {
        let mut sent = tip.clone();
        change(&mut sent);
        let reply = send(&sent);
        let refused = (&reply["ok"], &reply["registered"]);
        assert_eq!(refused, (&json!(false), &json!([])), "{what}: {reply}");
        assert!(
            reply["revision"].is_u64() && reply["source"].is_string(),
            "{what}: {reply}"
        );
        let reason = reply["reason"].as_str().expect("a reason");
        assert!(reason.contains(words), "{what}: {reason}");
    }
    // The control: the same text as it is waits.
    let waits = send(&tip);
    assert_eq!(waits["pending"], json!(["tips"]), "{waits}");
    assert!(
        waits["statusUrl"].is_string() && waits["approvalUrl"].is_string(),
        "{waits}"
    );
    // Without a session, with a dead one, with the key alone; and what is no JSON.
    let body = json!({"manifest": tip});
    let dead = json!({"sessionId": "x", "manifest": tip});
    for (client, body) in [
        (&anyone, &body),
        (&anyone, &dead),
        (&world.gateway.owner().client, &body),
    ] {
        client
            .post("/extensions", body.clone())
            .expect_error(401, "session_expired");
    }
    let raw = agent
        .client()
        .request("POST", "/extensions")
        .bytes("{nope".to_owned())
        .send();
    raw.expect_error(400, "internal_error");
    anyone
        .delete("/extensions/tips")
        .expect_error(401, "session_expired");
    // A denial with its words, and what waits no longer.
    let item = waits["pendingId"].as_str().expect("an item");
    let denied = world.gateway.owner().deny(item, "no");
    assert_like(&denied, &json!({"ok": true, "kind": "register"}));
    let status = agent.status(item).expect_ok();
    assert_like(&status, &json!({"state": "denied", "reason": "no"}));
    assert_eq!(status["capabilities"], json!([]), "{status}");
}

/// The same of the owner's routes.
#[test]
fn owner_routes_answer_as_the_wire_has_them() {
    let mut world = World::new();
    let owner = world.gateway.owner();
    let list = || owner.get("/admin/api/extensions").expect_ok();
    let at = |path: &str, body: Value| owner.post(&format!("/admin/api/extensions{path}"), body);
    assert_eq!(list()["extensions"], json!([]));
    let mut body = json!({"manifest": world.guide(), "folders": {"pages": world.pages.path()}});
    let seen = at("/preview", body.clone()).expect_ok();
    assert_like(&seen, &json!({"ok": true, "valid": true, "reasons": []}));
    let surface = &seen["surface"];
    assert_eq!(surface["cliBins"], json!(["grep"]), "{surface}");
    assert_like(surface, &json!({"restHosts": [], "crossSource": []}));
    assert_eq!(surface["transportBacked"], true, "{surface}");
    let first = &surface["capabilities"][0];
    let like =
        json!({"id": "journal.find", "kind": "capability", "transport": "cli", "verbs": ["read"]});
    assert_like(first, &like);
    let missing = at("/preview", json!({})).expect_ok();
    assert_like(&missing, &json!({"valid": false, "surface": null}));
    assert_eq!(
        missing["reasons"],
        json!(["`manifest` is required"]),
        "{missing}"
    );
    let raw = owner
        .client
        .request("POST", "/admin/api/extensions/preview");
    raw.bytes("{nope".to_owned())
        .send()
        .expect_error(400, "internal_error");
    assert_eq!(list()["extensions"], json!([]), "a preview adds nothing");
    let refused = at("", json!({}));
    assert_eq!(
        (refused.status, &refused.json()["ok"]),
        (400, &json!(false)),
        "{refused}"
    );
    let mut empty = world.guide();
    empty["capabilities"] = json!([]);
    let refused = at("", json!({"manifest": empty, "digest": "0"}));
    assert_eq!(
        (refused.status, &refused.json()["ok"]),
        (422, &json!(false)),
        "{refused}"
    );
    body["digest"] = seen["digest"].clone();
    let added = at("", body).expect_ok();
    let ids = json!(["journal.find", "journal.how-to"]);
    assert_eq!(
        (&added["ok"], &added["registered"]),
        (&json!(true), &ids),
        "{added}"
    );
    let is_listed = |all: &Value| {
        assert_eq!(all["extensions"][0]["source"], "journal", "{all}");
        assert_eq!(all["extensions"][0]["capabilities"], ids, "{all}");
    };
    is_listed(&list());
    let guide = owner.get("/admin/api/extensions/authoring-guide");
    assert!(guide.text().starts_with("# Write an extension"), "{guide}");

    world.gateway.restart();
    let owner = world.gateway.owner();
    is_listed(&owner.get("/admin/api/extensions").expect_ok());
    let remove = || owner.delete("/admin/api/extensions/journal").json();
    let removed = remove();
    assert_eq!(
        (&removed["ok"], &removed["removed"]),
        (&json!(true), &ids),
        "{removed}"
    );
    let again = remove();
    assert_like(&again, &json!({"ok": false, "removed": []}));
}

/// An agent's registration waits for the owner, whatever it is of; taking over and removing are not an agent's to do (D6).
#[test]
fn agent_takes_over_and_removes_no_source() {
    let (house, agent) = House::with_reader("one");
    let mut shipped = tips();
    shipped["source"] = json!("workspace");
    let register = |manifest: Value| {
        let body = json!({"sessionId": agent.session, "manifest": manifest});
        agent.client().post("/extensions", body).json()
    };
    let seen = agent.sees();
    for refused in [shipped, json!({})] {
        assert_eq!(register(refused)["ok"], false);
    }
    assert_eq!(house.owner().pending(), Vec::<Value>::new());
    let waits = register(tips());
    assert_eq!(waits["status"], "grant_pending_user", "{waits}");
    for source in ["tips", "workspace"] {
        let kept = agent
            .client()
            .delete(&format!("/extensions/{source}"))
            .json();
        let (ok, removed) = (&kept["ok"], &kept["removed"]);
        assert_eq!((ok, removed), (&json!(false), &json!([])), "{kept}");
    }
    assert_eq!(agent.sees(), seen);
    agent.must(READ, report());
}
