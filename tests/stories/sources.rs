//! Sources: adding, changing and removing what can be reached, and what that does to grants.

use crate::house::House;
#[cfg(target_os = "linux")]
use plexus_tests::Fault;
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::{
    Folder, Response, golden,
    waiting::{until, until_true},
};
use serde_json::{Value, json};

fn folder(id: &str, path: &std::path::Path) -> Value {
    json!({"id": id, "kind": "workspace-dir", "label": "Notes", "route": {"path": path}})
}

fn source(house: &House, id: &str) -> Value {
    let list = house.owner().get("/admin/api/sources").expect_ok();
    let sources = list["sources"].as_array().expect("sources");
    sources
        .iter()
        .find(|source| source["id"] == id)
        .cloned()
        .unwrap_or(Value::Null)
}

#[test]
fn a_folder_is_added_and_used_at_once() {
    let house = House::open();
    let other = Folder::empty();
    other.write("hello.txt", "hello");
    let reply = house
        .owner()
        .must_post("/admin/api/sources", folder("notes", &other.path()));
    assert_eq!(reply["source"]["enabled"], true);
    let registered = reply["registered"].as_array().expect("registered");
    assert!(registered.contains(&json!("notes.read")), "{reply}");
    let agent = house.gateway.agent_with("one", &["notes.read"]);
    let read = agent.must("notes.read", json!({"path": "hello.txt"}));
    assert_eq!(read["output"]["content"], "hello");
    // A worker of one source reaches nothing of another.
    agent
        .invoke("notes.read", json!({"path": "../report.txt"}))
        .expect_error(200, "transport_error");
    // The same id again is no second source.
    house
        .owner()
        .must_post("/admin/api/sources", folder("notes", &other.path()));
    let list = house.owner().get("/admin/api/sources").expect_ok();
    let count = list_of(&list["sources"])
        .iter()
        .filter(|one| one["id"] == "notes")
        .count();
    assert_eq!(count, 1);

    // Its kind is described as ever.
    let connectors = house.owner().get("/admin/api/connectors").expect_ok();
    // Which connectors there are is no promise of the wire; how one is described is.
    let described: Vec<&Value> = list_of(&connectors["connectors"])
        .iter()
        .filter(|one| one["kind"] == "obsidian-fs" || one["kind"] == "workspace-dir")
        .collect();
    golden::check("connectors", &json!(described));
}

#[test]
fn sources_that_cannot_be() {
    let house = House::open();
    let other = Folder::empty();
    let add = |body: Value| house.owner().post("/admin/api/sources", body);
    let home = house.gateway.home().to_path_buf();
    let state = house.gateway.state();
    std::fs::create_dir(other.path().join("bell\u{7}")).expect("a folder");
    std::os::unix::fs::symlink(other.path().join("bell\u{7}"), other.path().join("plain"))
        .expect("a link");
    #[rustfmt::skip]
    let rows = [
        (json!({"id": "q", "kind": "nope", "label": "Q"}), "unknown kind"),
        (json!({"id": "q", "kind": "workspace-dir", "label": "Q", "route": {"path": "./x"}}), "relative path"),
        (json!({"id": "q", "kind": "workspace-dir", "label": "Q", "route": {}}), "no path"),
        (json!({"kind": "workspace-dir", "label": "Q", "route": {"path": other.path()}}), "no id"),
        (folder("obsidian", &other.path()), "an id of another connector"),
        (folder("q", &state), "the state directory"),
        (folder("q", &state.join("run")), "inside of the state directory"),
        (folder("q", &home), "around the state directory"),
        (folder("q", std::path::Path::new("/")), "everything"),
        (folder("q", &other.path().join("a\nb")), "a control character"),
        (folder("q", &other.path().join("plain")), "a link to a name with a control character"),
    ];
    for (body, why) in rows {
        let reply = add(body);
        assert_eq!(reply.status, 422, "{why}: {reply}");
        assert_eq!(reply.at("/ok"), false, "{why}");
        assert!(reply.at("/reason").is_string(), "{why}: {reply}");
    }
    let mut bad = folder("q", &other.path());
    bad["approval"] = json!("sometimes");
    add(bad).expect_status(422);
    assert!(source(&house, "q").is_null(), "nothing was kept");
    add(json!({"id": "q"})).expect_error(400, "internal_error");
    for body in ["{nope", "null"] {
        let request = house.owner().client.request("POST", "/admin/api/sources");
        request
            .bytes(body)
            .send()
            .expect_error(400, "internal_error");
    }
    add(folder("q", &other.path())).expect_ok();
}

#[test]
fn a_source_that_asks_for_everything() {
    let house = House::open();
    let owner = house.owner();
    let (one, two) = (Folder::empty(), Folder::empty());
    for (id, asks, target) in [("careful", json!("ask"), &one), ("easy", Value::Null, &two)] {
        target.write("a.txt", "a");
        let mut body = folder(id, &target.path());
        body["approval"] = asks;
        owner.post("/admin/api/sources", body).expect_ok();
    }
    owner.must_put("/v1/config", json!({"autoAllowReads": true}));
    let selected = json!({"agentId": "one", "capabilities": ["careful.read", "easy.read"], "trustWindow": {"kind": "once"}});
    let agent = house.gateway.agent_as(selected);
    // The control: in the same selection, what another source reads is allowed by itself.
    agent.must("easy.read", json!({"path": "a.txt"}));
    agent.must_ask("careful.read", json!({"path": "a.txt"}));
}

/// A changed target voids grants, tokens and items on it; a changed label does not.
#[test]
fn a_changed_target_voids_what_was_granted() {
    let house = House::open();
    let (first, second) = (Folder::empty(), Folder::empty());
    first.write("a.txt", "first");
    second.write("a.txt", "second");
    let owner = house.owner();
    owner.must_post("/admin/api/sources", folder("notes", &first.path()));
    let agent = house.gateway.agent_with("one", &["notes.read"]);
    let token = agent.token(&["notes.read"]);
    let item = agent.must_ask("notes.write", json!({"path": "b.txt", "content": "b"}));
    let reconfigure = |body: Value| owner.post("/admin/api/sources/notes/reconfigure", body);

    reconfigure(json!({"label": "Notes 2"})).expect_ok();
    agent
        .invoke_with(&token, "notes.read", json!({"path": "a.txt"}))
        .expect_ok();
    assert_eq!(agent.ledger().len(), 1);

    reconfigure(json!({"route": {"path": second.path()}})).expect_ok();
    let late = agent.invoke_with(&token, "notes.read", json!({"path": "a.txt"}));
    assert_eq!(late.status, 401, "{late}");
    assert!(agent.ledger().is_empty());
    owner
        .decide(
            &item,
            json!({"action": "approve", "trustWindow": {"kind": "once"}}),
        )
        .expect_error(404, "unknown_capability");
    agent.must_ask("notes.read", json!({"path": "a.txt"}));
    reconfigure(json!({"route": {"path": "relative"}})).expect_status(422);
    assert!(!second.has("b.txt") && !first.has("b.txt"));
}

/// The folder behind the path is another one: grants were for what was there.
#[test]
fn a_replaced_folder_voids_what_was_granted() {
    let house = House::open();
    let parent = Folder::empty();
    parent.write("notes/a.txt", "mine");
    let root = parent.path().join("notes");
    house
        .owner()
        .must_post("/admin/api/sources", folder("notes", &root));
    let agent = house.gateway.agent_with("one", &["notes.read"]);
    agent.must("notes.read", json!({"path": "a.txt"}));
    std::fs::rename(&root, parent.path().join("old")).expect("a rename");
    parent.write("notes/a.txt", "somebody else's");
    house.owner().get("/admin/api/health").expect_ok();
    let reply = agent.invoke("notes.read", json!({"path": "a.txt"}));
    assert!(!reply.text().contains("somebody else's"), "{reply}");
}

/// The same where no worker runs that would notice: the next one is not started in what lies there now. A reader and a
/// writer; and a folder that was away when it was looked at.
#[test]
fn a_folder_replaced_while_no_worker_runs_is_not_served() {
    let mut house = House::open();
    let parent = Folder::empty();
    let other = |name: &str| parent.path().join(name);
    for name in ["read", "written", "away"] {
        parent.write(&format!("{name}/a.txt"), "mine");
        let body = folder(name, &other(name));
        house.owner().post("/admin/api/sources", body).expect_ok();
    }
    let reads = ["read.read", "written.read", "away.read"];
    let agent = house.gateway.agent_with("one", &reads);
    house
        .owner()
        .must_grant("one", "written.write", "until-revoked");
    // Restarted: they were looked at, and nobody has called since. The control: another source is served.
    house.gateway.restart();
    let agent = house.back(&agent);
    agent.must("away.read", json!({"path": "a.txt"}));
    let away = other("away was here");
    std::fs::rename(other("away"), &away).expect("it goes");
    until_true("it is known to be away", || {
        let reply = agent.invoke("away.read", json!({"path": "a.txt"}));
        reply.at("/error/code") == "source_unavailable"
    });
    for name in ["read", "written"] {
        std::fs::rename(other(name), other(&format!("{name} before"))).expect("a rename");
    }
    for name in ["read", "written", "away"] {
        parent.write(&format!("{name}/a.txt"), "somebody else's");
    }
    let write = json!({"path": "b.txt", "content": "into the wrong folder"});
    let reply = agent.invoke("written.write", write);
    assert_eq!(reply.at("/ok"), false, "{reply}");
    for name in ["read", "written", "away"] {
        let id = format!("{name}.read");
        until_true("nothing to stand on any more", || {
            let reply = agent.invoke(&id, json!({"path": "a.txt"}));
            assert!(!reply.text().contains("somebody else's"), "{reply}");
            reply.status == 401
        });
        assert!(!parent.has(&format!("{name}/b.txt")), "{name}");
    }
}

/// What may write beside the gateway's programs could become one of them, and those run without a cage.
#[test]
fn a_folder_that_holds_the_gateways_programs_is_no_source_to_write_in() {
    let house = House::open();
    let programs = plexus_tests::binaries::path("plexusd");
    let programs = programs.parent().expect("a folder");
    let add = |id: &str, path: &std::path::Path| {
        let client = house.owner().client;
        client.post("/admin/api/sources", folder(id, path))
    };
    for holds in [programs, programs.parent().expect("a folder")] {
        let refused = add("programs", holds);
        assert_contains(&refused.text(), "the gateway's own programs");
    }
    assert_eq!(source(&house, "programs"), Value::Null);
    // The controls: a folder beside them, and reading what lies there.
    let beside = Folder::empty();
    add("beside", &beside.path()).expect_ok();
    let read = json!({"id": "code", "kind": "git-repository", "label": "Code", "route": {"path": programs}});
    let said = house.owner().post("/admin/api/sources", read);
    assert!(!said.text().contains("own programs"), "{said}");
}

#[test]
fn disable_enable_remove() {
    let (mut house, agent) = House::with_reader("one");
    let owner = house.owner();
    let act = |verb: &str| owner.post(&format!("/admin/api/sources/obsidian/{verb}"), json!({}));
    act("disable").expect_ok();
    act("disable").expect_ok();
    assert_eq!(source(&house, "obsidian")["enabled"], false);
    assert!(!agent.sees().iter().any(|id| id.starts_with("obsidian.")));
    agent
        .invoke("obsidian.vault.read", json!({"path": "Ideas.md"}))
        .expect_error(404, "unknown_capability");
    act("enable").expect_ok();
    agent.must("obsidian.vault.read", json!({"path": "Ideas.md"}));

    let nope = owner.must_post("/admin/api/sources/nope/disable", json!({}));
    assert_eq!(nope["known"], false);
    for verb in ["enable", "reconfigure"] {
        let reply = owner.post(
            &format!("/admin/api/sources/nope/{verb}"),
            json!({"label": "x"}),
        );
        reply.expect_status(422);
    }
    let other = Folder::empty();
    owner.must_post("/admin/api/sources", folder("notes", &other.path()));
    let second = house.gateway.agent_with("two", &["notes.read"]);
    for known in [true, false] {
        let gone = owner.delete("/admin/api/sources/notes").expect_ok();
        assert_eq!(gone["known"], known);
    }
    assert!(second.ledger().is_empty());
    owner.must_post("/admin/api/sources", folder("notes", &other.path()));
    second.must_ask("notes.list", json!({}));
    assert!(source(&house, "notes")["live"] == true);
    house.gateway.restart();
    assert_eq!(source(&house, "notes")["enabled"], true, "sources persist");
}

/// A name that was mistyped is no success: the source that was meant serves on.
#[test]
fn the_command_says_that_there_is_no_such_source() {
    let house = House::open();
    for verb in ["disable", "remove"] {
        let said = house.gateway.cli(["sources", verb, "obsidan"]);
        assert_eq!(said.status, 1, "{said:?}");
        assert_contains(
            &said.stderr,
            "there is no source obsidan; did you mean obsidian? There are: obsidian, workspace",
        );
    }
    let _agent = house.gateway.agent("helper");
    let home = house.gateway.home().to_str().expect("a path");
    for line in [&["agents", "limit", "helpr"][..], &["lend", "helpr", home]] {
        let said = house.gateway.cli(line.iter().copied());
        assert_contains(&said.stderr, "no agent helpr; did you mean helper?");
    }
    let said = house.gateway.cli(["sources", "disable", "obsidian"]);
    assert_eq!(said.status, 0, "{said:?}");
    let said = house.gateway.cli(["sources", "enable", "obsidian"]);
    let serves = "enabled: obsidian serves; nothing is granted on it";
    assert_contains(&said.stdout, serves);
    let _reader = house.reader("one");
    let said = house.gateway.cli(["sources", "enable", "obsidian"]);
    let serves = "it was enabled already: obsidian serves; its grants are valid";
    assert_contains(&said.stdout, serves);
}

#[test]
fn a_source_added_switched_off_stays_off() {
    let house = House::open();
    let other = Folder::empty();
    let mut body = folder("off", &other.path());
    body["enabled"] = json!(false);
    house.owner().post("/admin/api/sources", body).expect_ok();
    assert_eq!(source(&house, "off")["enabled"], false);
    let agent = house.gateway.agent("one");
    assert!(!agent.sees().iter().any(|id| id.starts_with("off.")), "E23");
}

#[test]
fn health_says_what_is_wrong() {
    let house = House::open();
    let health = |id: &str| {
        let report = house.owner().get("/admin/api/health").expect_ok();
        let sources = report["sources"].as_array().expect("sources");
        sources
            .iter()
            .find(|source| source["id"] == id)
            .cloned()
            .expect("a source")
    };
    assert_eq!(health("obsidian")["status"], "ok");
    let original = house.vault.path();
    let moved = original.with_extension("away");
    std::fs::rename(&original, &moved).expect("the vault moves");
    assert_eq!(health("obsidian")["status"], "unavailable");
    let agent = house.reader("one");
    let reply = agent.invoke("obsidian.vault.read", json!({"path": "Ideas.md"}));
    reply.expect_error(503, "source_unavailable");
    std::fs::rename(&moved, &original).expect("the vault moves back");
    assert_eq!(health("obsidian")["status"], "ok");
    agent.must("obsidian.vault.read", json!({"path": "Ideas.md"}));
}

/// What the owner changes is in the log, each by its kind and none with a secret (E16).
#[test]
fn changes_are_audited() {
    let house = House::open();
    let owner = house.owner();
    let other = Folder::empty();
    // Asked anew each time: the last act gives the owner another key.
    let count = |kind: &str| {
        let events = house.owner().audit(1000);
        assert_lacks(&json!(events).to_string(), "v-secret");
        events
            .iter()
            .filter(|e| e["detail"]["event"] == kind)
            .count()
    };
    let post = |path: &str, body: Value| owner.post(&format!("/admin/api/{path}"), body);
    #[rustfmt::skip]
    let acts: [(&str, &dyn Fn() -> Response); 8] = [
        ("source.change", &|| post("sources", folder("notes", &other.path()))),
        ("source.change", &|| post("sources/notes/disable", json!({}))),
        ("source.change", &|| owner.delete("/admin/api/sources/notes")),
        ("secret.set", &|| post("secrets/k", json!({"value": "v-secret"}))),
        ("network.set", &|| post("network", json!({"bindAddresses": ["127.0.0.1"]}))),
        ("settings.change", &|| owner.put("/v1/config", json!({"tokenLifetimeMs": 60_000}))),
        ("exposure.set", &|| post("exposure/workspace.list", json!({"enabled": false}))),
        ("key.rotate", &|| owner.post("/v1/connection-key/rotate", json!({}))),
    ];
    for (kind, act) in acts {
        let before = count(kind);
        act().expect_ok();
        assert!(count(kind) > before, "{kind} left no trace");
    }
}

/// What a worker may reach is told in words, with the folder's own path, and with the digest that grants rest on.
#[test]
fn a_profile_is_told_in_words() {
    let house = House::open();
    let owner = house.owner();
    let asked = |id: &str| owner.get(&format!("/admin/api/sources/{id}/profile"));
    let told = asked("workspace").expect_ok();
    assert_eq!(told["digest"], told["pinned"], "{told:#}");
    let root = house.workspace.path().canonicalize().expect("the folder");
    let below = format!("{} and all below it", root.display());
    let may = |role: &Value, list: &str| -> Vec<String> {
        let entries = role[list].as_array().expect("a list");
        let what = |may: &Value| may["what"].as_str().expect("words").to_owned();
        entries.iter().map(what).collect()
    };
    let roles = told["roles"].as_array().expect("two roles");
    let [reader, writer] = roles.as_slice() else {
        panic!("{told:#}")
    };
    assert!(may(reader, "mayRead").contains(&below), "{told:#}");
    assert!(may(reader, "mayWrite").is_empty(), "{told:#}");
    assert!(may(writer, "mayWrite").contains(&below), "{told:#}");
    for role in roles {
        assert!(may(role, "mayTalkTo").is_empty(), "{told:#}");
        assert_eq!(may(role, "mayRun").len(), 1, "{told:#}");
        // Every rule says why, and that is told as well.
        for list in ["mayRead", "mayWrite", "mayRun", "mayAlso"] {
            for entry in role[list].as_array().expect("a list") {
                assert!(entry["why"].is_string(), "{entry}");
            }
        }
    }
    // A vault changes nothing, so nobody writes there.
    assert_eq!(
        asked("obsidian").expect_ok()["roles"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    asked("nowhere").expect_error(404, "not_found");

    let said = house.gateway.cli(["sources", "profile", "workspace"]);
    said.expect_status(0);
    for words in [
        "workspace, reader:\n  may read:",
        "  may write: nothing\n",
        "  may talk to: nobody\n",
        "  nothing else\n",
        "existence, size, times",
        "workspace, writer:",
        below.as_str(),
        told["digest"].as_str().expect("a digest"),
    ] {
        assert!(said.stdout.contains(words), "{words:?} is not in {said}");
    }
    let line = "--json sources profile workspace --role writer";
    let one = house.gateway.cli(line.split(' ')).json();
    assert_eq!(one["roles"].as_array().map(Vec::len), Some(1));
    let text = house
        .gateway
        .cli(["sources", "profile", "workspace", "--text"]);
    assert_eq!(
        text.stdout,
        include_str!("../../sandbox-profiles/workspace.sb")
    );
    let none = ["sources", "profile", "obsidian", "--role", "writer"];
    house.gateway.cli(none).expect_status(64);
}

/// A network share that has gone holds up a caller that names it, for a moment, and nobody else.
#[cfg(target_os = "linux")]
#[test]
fn dead_share_holds_no_other_act() {
    let share = Fault::dead_share();
    let house = House::with(|builder| builder.fault(&share));
    let owner = house.owner();
    let _agent = house.reader("one");
    let far = share.folder();
    let post = |path: &str, body: Value| owner.post(path, body);
    post("/admin/api/sources", folder("far", &far)).expect_ok();
    for (path, body) in [
        ("/admin/api/sources", folder("farther", &far)),
        (
            "/admin/api/sources/far/reconfigure",
            json!({"label": "Far"}),
        ),
        ("/admin/api/sources/far/enable", json!({})),
        ("/admin/api/lend", json!({"agentId": "one", "path": far})),
    ] {
        // Again where this machine was so slow that the share was given up before the other acts were made.
        let answer = until("other acts while one waits for the share", || {
            share.begin();
            let answer = std::thread::scope(|scope| {
                let slow = scope.spawn(|| post(path, body.clone()));
                share.wait_until_asked();
                let limit = json!({"callsPerSecond": 50});
                owner.limit("one", limit).expect_ok();
                let hidden = json!({"globs": ["*.secret"]});
                post("/admin/api/sources/workspace/hide", hidden).expect_ok();
                post("/admin/api/sources/workspace/disable", json!({})).expect_ok();
                post("/admin/api/sources/workspace/enable", json!({})).expect_ok();
                let meanwhile = !slow.is_finished();
                let answer = slow.join().expect("an answer");
                meanwhile.then_some(answer)
            });
            share.end();
            answer
        });
        if path.ends_with("enable") {
            // As with a folder that is missing for now: its worker starts when it is there again.
            answer.expect_ok();
        } else {
            assert!([400, 422].contains(&answer.status), "{answer}");
            let said = answer.json().to_string();
            assert!(said.contains("did not answer"), "{said}");
        }
        // The control: the share was all that was wrong.
        post(path, body).expect_ok();
    }
}
