//! MCP servers that the owner lends: a real one from npm, and one that does what none should, each in its cage.

pub(crate) use plexus_tests::coding_agents::server_packages as packages;
use plexus_tests::coding_agents::system_node;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Folder, Gateway, Listener, McpClient, programs};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

/// A gateway and a server, with a folder.
struct Lent {
    gateway: Gateway,
    folder: Folder,
}

const NAME: &str = "rude";

impl Lent {
    /// The server that does what none should.
    fn rude(reads: &[&str]) -> Self {
        let (gateway, folder) = (Gateway::start(), Folder::empty());
        folder.write("words", "Does");
        let lent = Self { gateway, folder };
        let program = plexus_tests::binaries::path("plexus-mcp-rude");
        let path = lent.folder.path().display().to_string();
        let mut words = vec!["mcp", "add", NAME, "--folder", &path, "--yes"];
        words.extend(reads.iter().flat_map(|read| ["--read", read]));
        let program = program.display().to_string();
        words.extend(["--", &program, &path]);
        let shown = lent.gateway.cli(words);
        let shown = shown.expect_ok();
        for said in [
            "tool write",
            "asks you each time",
            "network      none",
            "not lent: its name",
        ] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        lent
    }

    fn agent(&self, tools: &[&str]) -> Agent {
        self.gateway.agent_of("caller", NAME, tools)
    }

    /// Asks, has the owner approve, and calls.
    fn approved(&self, agent: &Agent, tool: &str, input: &Value) -> plexus_tests::Response {
        let id = format!("{NAME}.{tool}");
        agent.approved(&self.gateway.owner(), &id, input.clone())
    }

    /// Has the lent server connect, and holds that nobody was reached.
    #[track_caller]
    fn reaches_nobody(&self, connect: impl Fn(&Value) -> Value) {
        let listener = Listener::start();
        let input = json!({"port": listener.port()});
        let done = connect(&input);
        let words = done["output"]["text"].as_str().expect("words");
        assert!(words.contains("os error"), "{words}");
        assert_eq!(listener.heard(), Vec::<String>::new());
        // The control: the same program without a cage.
        let mut free = Command::new(plexus_tests::binaries::path("plexus-mcp-rude"));
        free.arg(self.folder.path());
        let done = McpClient::greeted(free, "control").call("connect", input);
        assert_eq!(done["content"][0]["text"], "done", "{done}");
        assert_eq!(listener.heard(), [""], "it comes, and says nothing");
    }

    fn file(&self) -> String {
        self.folder.path().join("made").display().to_string()
    }
}

#[test]
fn real_server_serves_after_approval() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let place = Folder::empty();
    let (code, entry) = packages(&place);
    let memory = folder.path().join("memory.jsonl").display().to_string();
    let node = system_node().display().to_string();
    let add = [
        "mcp",
        "add",
        "memory",
        "--env",
        &format!("MEMORY_FILE_PATH={memory}"),
        "--folder",
        &folder.path().display().to_string(),
        "--code",
        &code.display().to_string(),
        "--read",
        "read_graph",
        "--yes",
        "--",
        &node,
        &entry.display().to_string(),
    ];
    let added = gateway.cli(add);
    assert!(added.expect_ok().contains("memory.read_graph"), "{added:?}");
    let listed = gateway.cli(["mcp", "list"]);
    assert!(listed.expect_ok().contains("memory"), "{listed:?}");
    let shown = gateway.cli(["mcp", "show", "memory"]);
    assert_contains(shown.expect_ok(), "tool delete_entities");

    let agent = gateway.agent_with("caller", &["memory.read_graph", "memory.create_entities"]);
    let entry = agent.entry("memory.create_entities");
    let describe = entry["describe"].as_str().expect("words");
    assert!(
        describe.starts_with("Third-party tool of memory:\n"),
        "{entry}"
    );
    assert_eq!(entry["provenance"], "extension");
    let input =
        json!({"entities": [{"name": "tea", "entityType": "drink", "observations": ["hot"]}]});
    let item = agent.must_ask("memory.create_entities", input.clone());
    let card = gateway.owner().card(&item).to_string();
    for said in [
        "Plexus cannot preview",
        "argument entities",
        "no network",
        "pinned description",
    ] {
        assert!(card.contains(said), "{said}: {card}");
    }
    assert!(!folder.has("memory.jsonl"), "before the approval");
    gateway.owner().approve(&item, "once");
    let made = agent.must("memory.create_entities", input);
    assert_contains(&made["output"]["text"].to_string(), "tea");
    assert!(folder.read("memory.jsonl").contains("tea"));
    // A read, in a process of its own, that finds what the writer has kept.
    let graph = agent.must("memory.read_graph", json!({}));
    assert_eq!(
        graph["output"]["structured"]["entities"][0]["name"], "tea",
        "{graph}"
    );

    // It is there after a restart, and gone when it is taken back.
    let mut gateway = gateway;
    gateway.restart();
    let agent = gateway.agent_with("later", &["memory.read_graph"]);
    agent.must("memory.read_graph", json!({}));
    gateway.cli(["mcp", "remove", "memory"]).expect_ok();
    assert!(!agent.sees().iter().any(|id| id.starts_with("memory.")));
    assert!(!gateway.state().join("extensions/memory.json").exists());
}

#[test]
fn read_that_writes_gets_nothing_written() {
    let lent = Lent::rude(&["peek"]);
    let agent = lent.agent(&["peek", "write"]);
    let input = json!({"path": lent.file()});
    let lie = agent.must("rude.peek", input.clone());
    let words = lie["output"]["text"].as_str().expect("words");
    assert!(
        words.contains("os error 13") || words.contains("os error 1)"),
        "{words}"
    );
    assert!(!lent.folder.has("made"));
    // The control: the same write by the writer.
    let done = lent.approved(&agent, "write", &input).expect_ok();
    assert_eq!(done["output"]["text"], "done", "{done}");
    assert!(lent.folder.has("made"));
}

#[test]
fn read_changes_no_mode_and_takes_no_lock() {
    let lent = Lent::rude(&["mode"]);
    lent.folder.write("made", "mine");
    let mode = || {
        let about = std::fs::metadata(lent.file()).expect("a file");
        std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777
    };
    let before = mode();
    assert_ne!(before, 0o600);
    let agent = lent.agent(&["mode"]);
    let input = json!({"path": lent.file()});
    let lie = agent.must("rude.mode", input.clone());
    let words = lie["output"]["text"].as_str().expect("words");
    // It is told that it has the lock, which nobody else sees.
    assert_eq!(words, "Operation not permitted (os error 1) done");
    assert_eq!(mode(), before);
    // The control: the same by the writer, in the folder that is its own to change.
    lent.gateway
        .must_cli(["mcp", "refresh", "rude", "--read", "peek", "--yes"]);
    let agent = lent.gateway.agent_with("other", &["rude.mode"]);
    let done = lent.approved(&agent, "mode", &input).expect_ok();
    assert_eq!(done["output"]["text"], "done done", "{done}");
    assert_eq!(mode(), 0o600);
}

#[test]
fn servers_have_no_network() {
    let lent = Lent::rude(&[]);
    let agent = lent.agent(&["connect"]);
    lent.reaches_nobody(|input| lent.approved(&agent, "connect", input).expect_ok());
}

#[test]
fn reads_of_a_server_have_no_network() {
    let lent = Lent::rude(&["connect"]);
    let agent = lent.agent(&["connect"]);
    lent.reaches_nobody(|input| agent.must("rude.connect", input.clone()));
}

/// `mcp add` of the server that does what none should, as it is by now.
fn added(gateway: &Gateway, folder: &Folder) -> programs::Said {
    let program = plexus_tests::binaries::path("plexus-mcp-rude");
    let (program, path) = (program.display().to_string(), folder.path());
    let path = path.display().to_string();
    gateway.cli([
        "mcp", "add", NAME, "--folder", &path, "--read", "variable", "--yes", "--", &program, &path,
    ])
}

#[test]
fn server_of_either_era_is_lent_and_of_no_known_version_is_not() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("words", "Does");
    for unknown in ["2019-01-01", "2031-01-01"] {
        folder.write("version", unknown);
        let refused = added(&gateway, &folder);
        refused.expect_status(1);
        let why = "a version that Plexus does not speak";
        assert!(refused.stderr.contains(why), "{unknown}: {refused}");
        assert!(!gateway.state().join("extensions/rude.json").exists());
    }
    for known in ["2024-11-05", "2025-06-18", "2026-07-28"] {
        folder.write("version", known);
        added(&gateway, &folder).expect_ok();
        let agent = gateway.agent_with("caller", &["rude.variable"]);
        let said = agent.invoke("rude.variable", json!({"name": "HOME"}));
        assert!(said.expect_ok()["output"]["text"].is_string(), "{known}");
        gateway.cli(["mcp", "remove", NAME]).expect_ok();
    }
}

#[test]
fn list_of_more_than_a_mebibyte_is_refused() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    // Each of its tools is described by them.
    folder.write("words", "many words ".repeat(10_000));
    let refused = added(&gateway, &folder);
    refused.expect_status(1);
    assert_contains(&refused.stderr, "a list of more than 1 MiB");
    // The control: a long list that is not too long.
    folder.write("words", "many words ".repeat(1_000));
    added(&gateway, &folder).expect_ok();
}

#[test]
fn changed_definition_is_refused_until_agreed_to() {
    let lent = Lent::rude(&["peek"]);
    let agent = lent.agent(&["peek", "sample", "fail"]);
    lent.approved(&agent, "sample", &json!({})).expect_ok();
    lent.folder.write("words", "Now does");
    let told = agent
        .invoke("rude.peek", json!({"path": lent.file()}))
        .expect_error(200, "precondition_changed");
    assert_eq!(told["detail"]["reason"], "definition_changed", "{told}");
    let words = told["message"].as_str().expect("words");
    assert!(words.contains("plexusctl mcp refresh rude"), "{words}");
    // Under its name nothing else is added, and nothing is started for it.
    let again = added(&lent.gateway, &lent.folder);
    again.expect_status(1);
    assert_contains(&again.stderr, "There is a server rude already");
    assert_contains(&again.stderr, "plexusctl mcp refresh rude\n");
    let refreshed = lent.gateway.cli(["mcp", "refresh", "rude", "--yes"]);
    let shown = refreshed.expect_ok();
    assert_contains(shown, "since you agreed to it:\n  changed tools\n");
    assert!(shown.contains("Now does sample"), "{shown}");
    let done = lent.approved(&agent, "sample", &json!({})).expect_ok();
    // Sampling is not offered.
    assert_eq!(done["output"]["text"], "-32601", "{done}");
}

#[test]
fn refresh_of_an_unchanged_server_asks_nothing() {
    let lent = Lent::rude(&["peek"]);
    let agent = lent.agent(&["peek"]);
    let refresh = |more: &[&str]| {
        let line = [&["mcp", "refresh", NAME], more].concat();
        lent.gateway.cli(line)
    };
    let file = || lent.gateway.state_file("extensions/rude.json");
    let before = file();
    for more in [&[][..], &["--yes"], &["--read", "peek"]] {
        let told = refresh(more);
        assert_contains(told.expect_ok(), "nothing has changed: rude is what you");
        assert_contains(&told.stdout, "\ntool not a name: not lent: its name is not");
        assert_lacks(&told.all(), "since you agreed to it");
    }
    assert_eq!(file(), before);
    let listed = lent.gateway.cli(["mcp", "list"]);
    assert_contains(listed.expect_ok(), ", 1 not lent ");
    let shown = lent.gateway.cli(["mcp", "show", NAME]);
    let unlent = "not lent     1 (plexusctl mcp refresh rude says why): not a name";
    assert_contains(shown.expect_ok(), unlent);
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
    // The controls: other reads, and another definition, take a decision.
    for (words, more) in [("Does", &["--read", "sample"][..]), ("Now does", &[])] {
        lent.folder.write("words", words);
        let told = refresh(more);
        assert_ne!(told.status, 0, "{told}");
        assert_contains(&told.all(), "since you agreed to it");
        assert_contains(&told.all(), "--yes");
        assert_eq!(file(), before);
    }
    let [made, unmade] = [&["--yes", "--json"][..], &["--json"]].map(|more| {
        let told = refresh(more);
        serde_json::from_str::<Value>(told.expect_ok()).expect("JSON")
    });
    assert_ne!(file(), before);
    assert_eq!(
        (&made["changed"], &unmade["changed"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(made["source"]["id"], NAME, "{made}");
    assert_eq!(made["source"], unmade["source"], "{made} {unmade}");
    let members = |told: &Value| {
        let all = told.as_object().expect("an object");
        all.keys().cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(members(&made), members(&unmade));
    let registered = |told: &Value| {
        let ids = told["registered"].as_array().expect("ids");
        ids.iter().map(Value::to_string).collect::<BTreeSet<_>>()
    };
    assert!(!registered(&made).is_empty(), "{made}");
    assert_eq!(registered(&made), registered(&unmade));
    assert_contains(refresh(&[]).expect_ok(), "nothing has changed");
}

#[test]
fn server_that_dies_or_floods_leaves_the_outcome_unknown() {
    let lent = Lent::rude(&[]);
    let agent = lent.agent(&["die", "flood", "fail", "sample"]);
    for tool in ["die", "flood"] {
        let over = lent.approved(&agent, tool, &json!({}));
        assert_eq!(
            over.json()["error"]["effect"],
            "unknown",
            "{tool}: {over:?}"
        );
    }
    let failed = lent.approved(&agent, "fail", &json!({})).json();
    assert_eq!(failed["error"]["effect"], "done", "{failed:?}");
    let words = failed["error"]["message"].as_str().expect("words");
    assert_contains(words, "this tool is broken");
    assert_lacks(words, "\u{202e}");
    // The next call has a server that is well.
    lent.approved(&agent, "sample", &json!({})).expect_ok();
}

#[test]
fn server_that_ignores_a_cancel_is_ended() {
    let lent = Lent::rude(&["peek"]);
    let agent = lent.agent(&["hang", "sample", "peek"]);
    let item = agent.must_ask("rude.hang", json!({}));
    lent.gateway.owner().approve(&item, "once");
    let call = json!({"id": "rude.hang", "input": {}, "async": true});
    let begun = agent.invoke_body(call).expect_status(202).clone();
    let run = begun.text_at("/run/runId");
    let status = |more: &str| {
        let path = format!("/invoke/status?runId={run}&wait=20{more}");
        agent.client().get(&path).expect_ok()
    };
    until_true("a word of the server", || {
        let chunks = status("&after=0")["progress"]["chunks"].to_string();
        chunks.contains("hanging")
    });
    let servers = || {
        let mut all = lent.gateway.workers();
        all.retain(|process| "plexus-mcp-rude".starts_with(&process.name));
        all
    };
    let hanging = servers();
    assert_eq!(hanging.len(), 1, "{hanging:?}");

    let cancelled = Instant::now();
    let cancel = agent.client().post("/invoke/cancel", json!({"runId": run}));
    cancel.expect_status(202);
    let over = until("the end of the call", || {
        let status = status("");
        (status["status"] != "running").then_some(status)
    });
    // The server was given its time to answer all the same.
    assert!(cancelled.elapsed() >= Duration::from_secs(5), "{over}");
    let error = &over["result"]["error"];
    assert_like(error, &json!({"code": "cancelled", "effect": "unknown"}));
    until_true("the end of the server", || !hanging[0].alive());
    // The control: the next call has a server that is well, and reads go on.
    lent.approved(&agent, "sample", &json!({})).expect_ok();
    let read = json!({"path": lent.file()});
    agent.must("rude.peek", read);
}

#[test]
fn server_that_floods_progress_is_slowed_and_served() {
    let lent = Lent::rude(&[]);
    let agent = lent.agent(&["progress", "sample"]);
    // It waits while nobody takes more, and is done once its progress is let go.
    let over = lent.approved(&agent, "progress", &json!({})).json();
    assert_eq!(over["output"]["text"], "done", "{over}");
    // The control: the gateway and the server serve on.
    lent.approved(&agent, "sample", &json!({})).expect_ok();
}

#[test]
fn installed_file_that_does_not_read_stops_its_source_alone() {
    let mut lent = Lent::rude(&[]);
    let file = lent.gateway.state().join("extensions/rude.json");
    std::fs::write(&file, "{}").expect("a file");
    lent.gateway.restart();
    let listed = lent.gateway.cli(["mcp", "list"]);
    assert!(listed.expect_ok().contains("rude.json"), "{listed:?}");
    lent.gateway.cli(["status"]).expect_ok();
}

#[test]
fn what_was_not_shown_is_not_added() {
    let (gateway, folder, code) = (Gateway::start(), Folder::empty(), Folder::empty());
    let others = Folder::empty();
    folder.write("words", "Does");
    code.write("a.js", "one");
    others.write("pages/a.md", "a");
    let [pages, aside] = ["pages", "aside"].map(|name| others.path().join(name));
    let path = folder.path().display().to_string();
    let program = plexus_tests::binaries::path("plexus-mcp-rude");
    let owner = gateway.owner();
    let mut body = json!({
        "name": "rude", "program": program, "arguments": [path], "folders": [path, pages], "code": [code.path()],
    });
    let shown = owner.must_post("/admin/api/extensions/preview", body.clone());
    assert!(
        !gateway.state().join("extensions").exists(),
        "a preview adds nothing"
    );
    body["digest"] = shown["digest"].clone();
    folder.write("words", "Secretly does");
    let refused = owner.post("/admin/api/extensions", body.clone());
    assert_eq!(
        refused.json()["error"]["code"],
        "precondition_changed",
        "{refused:?}"
    );
    let words = folder.path().join("words");
    let unlink = || std::fs::remove_file(&words).expect("it is gone");
    // The comparison is over once it is asked for its tools.
    let refused_after = |meanwhile: &dyn Fn()| {
        unlink();
        nix::unistd::mkfifo(&words, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let refused = std::thread::scope(|scope| {
            let adding = scope.spawn(|| owner.post("/admin/api/extensions", body.clone()));
            let mut pipe = until("the server at its words", || {
                let mut pipe = std::fs::OpenOptions::new();
                let pipe = pipe.write(true).custom_flags(nix::libc::O_NONBLOCK);
                pipe.open(&words).ok()
            });
            meanwhile();
            unlink();
            folder.write("words", "Does");
            pipe.write_all(b"Does").expect("its words");
            drop(pipe);
            adding.join().expect("an answer")
        });
        refused.expect_error(409, "precondition_changed");
        assert!(!gateway.state().join("extensions/rude.json").exists());
        refused.text()
    };
    // A file of its own is another one.
    let why = refused_after(&|| {
        code.write("a.js", "two");
    });
    assert_contains(&why, "is not as it was shown");
    code.write("a.js", "one");
    // A folder is gone.
    let rename = |from, to| std::fs::rename(from, to).expect("a folder");
    let why = refused_after(&|| rename(&pages, &aside));
    assert_contains(&why, "pages is missing");
    rename(&aside, &pages);
    // The control.
    owner.post("/admin/api/extensions", body).expect_ok();
}

/// Effects of a source are done one after the other, for all agents: one that waits for another says so.
#[test]
fn call_behind_another_says_that_it_waits() {
    let lent = Lent::rude(&[]);
    let agent = lent.agent(&["hang", "sample"]);
    let begun = |tool: &str| {
        let id = format!("rude.{tool}");
        let item = agent.must_ask(&id, json!({}));
        lent.gateway.owner().approve(&item, "once");
        let call = json!({"id": id, "input": {}, "async": true});
        let begun = agent.invoke_body(call).expect_status(202).clone();
        begun.text_at("/run/runId")
    };
    let status = |run: &str| {
        let path = format!("/invoke/status?runId={run}&wait=20&after=0");
        agent.client().get(&path).expect_ok()
    };
    let says = |run: &str, words: &str| {
        until_true("its words", || {
            status(run)["progress"].to_string().contains(words)
        });
    };
    let first = begun("hang");
    says(&first, "hanging");
    let second = begun("sample");
    says(&second, "waits for another call of this source");
    let cancel = json!({"runId": first});
    agent
        .client()
        .post("/invoke/cancel", cancel)
        .expect_status(202);
    let over = until("the end of the second", || {
        let status = status(&second);
        (status["status"] != "running").then_some(status)
    });
    assert_eq!(over["result"]["ok"], true, "{over}");
}
