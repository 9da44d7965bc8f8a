//! Lent MCP servers that change, take secrets, or come from a client's file.

use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Folder, Gateway, programs, waiting::until};
use serde_json::{Value, json};

/// Adds the server that does what none should, with `more` options.
fn add_rude(gateway: &Gateway, folder: &Folder, more: &[&str]) -> programs::Said {
    let path = folder.path().display().to_string();
    let program = plexus_tests::binaries::path("plexus-mcp-rude")
        .display()
        .to_string();
    let mut words = vec!["mcp", "add", "rude", "--folder", &path, "--yes"];
    words.extend(more);
    words.extend(["--", &program, &path]);
    gateway.cli(words)
}

/// The one card of the source, once there is one.
pub(crate) fn card(gateway: &Gateway) -> Value {
    until("a card of the source", || {
        let mut cards = gateway.owner().pending();
        cards.retain(|card| card["kind"] == "change");
        assert!(cards.len() < 2, "{cards:?}");
        cards.pop()
    })
}

fn notices(gateway: &Gateway, agent: &Agent) -> Value {
    agent
        .invoke("rude.peek", json!({"path": "/tmp/none"}))
        .expect_error(200, "precondition_changed");
    card(gateway)
}

#[test]
fn changed_and_new_tools_are_hidden_until_one_card_is_decided() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("words", "Does");
    add_rude(&gateway, &folder, &["--read", "peek"]).expect_ok();
    let agent = gateway.agent_with("caller", &["rude.peek", "rude.sample"]);
    agent.must("rude.peek", json!({"path": "/tmp/none"}));

    folder.write("words", "Now does");
    folder.write("more", "");
    let asked = notices(&gateway, &agent);
    let shown = gateway.cli([
        "approvals",
        "show",
        asked["pendingId"].as_str().expect("an id"),
    ]);
    for said in [
        "hidden until you decide",
        "Now does peek",
        "a new tool",
        "it stays a read",
    ] {
        assert!(shown.expect_ok().contains(said), "{said}: {shown}");
    }
    // Every view says so, and until it is decided.
    #[rustfmt::skip]
    let views = [
        ("status", "waiting for you: 1 request"),
        ("status", "rude: changed tools of it are hidden until you decide"),
        ("doctor", "source rude: changed tools of it are hidden until you decide"),
        ("mcp list", "hidden until you decide: plexusctl approvals"),
        ("mcp show rude", "hidden until you decide (plexusctl approvals): "),
    ];
    for (view, words) in views {
        let said = gateway.cli(view.split(' '));
        assert!(said.all().contains(words), "{view}: {said}");
    }
    assert!(
        !agent.sees().iter().any(|id| id.starts_with("rude.")),
        "{:?}",
        agent.sees()
    );
    let found = agent.client().get("/capabilities?q=peek").text();
    assert!(!found.contains("rude.peek"), "{found}");
    agent
        .invoke("rude.peek", json!({"path": "/tmp/none"}))
        .expect_error(404, "unknown_capability");
    let id = asked["pendingId"].as_str().expect("an id");
    let approved = gateway.cli(["approvals", "approve", id, "--yes"]);
    approved.expect_ok();
    for (view, words) in views {
        let said = gateway.cli(view.split(' '));
        assert!(!said.all().contains(words), "{view}: {said}");
    }
    assert!(
        agent.sees().contains(&"rude.more".to_owned()),
        "{:?}",
        agent.sees()
    );
    // The grants of before go on, and nobody is asked again.
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
    assert_eq!(gateway.owner().pending(), Vec::<Value>::new());
    // The owner's own comparison leaves a read one, too.
    folder.write("words", "Does yet more");
    notices(&gateway, &agent);
    let compared = gateway.cli(["mcp", "refresh", "rude", "--yes"]);
    assert_contains(compared.expect_ok(), "tool peek: a read");
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
    // A grant of less than the tool does now is not called one without a source.
    gateway.must_cli(["mcp", "refresh", "rude", "--read", "sample", "--yes"]);
    let grants = gateway.cli(["grants"]).all();
    assert_contains(&grants, "does more now than was granted");
}

#[test]
fn blocked_tool_stays_hidden_and_is_not_asked_about_again() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("words", "Does");
    add_rude(&gateway, &folder, &["--read", "peek"]).expect_ok();
    let agent = gateway.agent_with("caller", &["rude.peek"]);
    folder.write("more", "");
    // The new one ails nobody: what was agreed to serves.
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
    let asked = card(&gateway);
    let id = asked["pendingId"].as_str().expect("an id");
    assert_eq!(asked["changes"][0]["about"], "more", "{asked}");
    gateway.owner().deny(id, "no");
    assert_eq!(gateway.owner().pending(), Vec::<Value>::new());
    assert!(!agent.sees().contains(&"rude.more".to_owned()));
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
    let health = gateway.cli(["sources", "test", "rude"]);
    assert!(!health.all().contains("otherwise"), "{health}");
    assert_eq!(gateway.owner().pending(), Vec::<Value>::new());
    // The control: the owner's own comparison offers it.
    gateway.cli(["mcp", "refresh", "rude", "--yes"]).expect_ok();
    assert!(agent.sees().contains(&"rude.more".to_owned()));
}

/// Of Linux alone: its control reads `/proc`.
#[cfg(target_os = "linux")]
#[test]
fn secret_of_a_server_is_on_no_command_line() {
    use plexus_tests::texts::{assert_contains, assert_lacks};
    use std::fs;

    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("words", "Does");
    folder.write("key", "hush-hush\n");
    let secret = format!("API_KEY={}", folder.path().join("key").display());
    let added = add_rude(
        &gateway,
        &folder,
        &[
            "--secret",
            &secret,
            "--env",
            "LEVEL=loud-loud",
            "--read",
            "variable",
        ],
    );
    assert_contains(added.expect_ok(), "secrets      API_KEY");
    assert!(!added.all().contains("hush-hush"), "{added}");
    let agent = gateway.agent_with("caller", &["rude.variable", "rude.sample"]);
    let value = |name: &str| agent.must("rude.variable", json!({"name": name}));
    assert_eq!(value("API_KEY")["output"]["text"], "hush-hush");
    let lines = || -> String {
        let pids: Vec<u32> = gateway
            .workers()
            .iter()
            .map(|process| process.pid)
            .collect();
        let read = |pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let lines = pids.into_iter().flat_map(read).collect::<Vec<_>>();
        String::from_utf8_lossy(&lines).into_owned()
    };
    let all = lines();
    assert!(!all.contains("hush-hush"), "{all}");
    // The control: what is no secret is on one.
    assert!(all.contains("loud-loud"), "{all}");
    assert_lacks(&gateway.state_file("extensions/rude.json"), "hush-hush");
    // Another value ends what was granted with the one before.
    folder.write("key", "louder");
    let key = folder.path().join("key").display().to_string();
    gateway.must_cli(["sources", "secret", "rude", "API_KEY", "--file", &key]);
    agent
        .invoke("rude.variable", json!({"name": "API_KEY"}))
        .expect_status(401);
}

#[test]
fn changed_file_of_a_server_suspends_its_grants() {
    let (gateway, folder, code) = (Gateway::start(), Folder::empty(), Folder::empty());
    folder.write("words", "Does");
    code.write("lib/a.js", "one");
    let path = code.path().display().to_string();
    let added = add_rude(&gateway, &folder, &["--code", &path, "--read", "peek"]);
    assert!(added.expect_ok().contains("every file"), "{added}");
    let agent = gateway.agent_with("caller", &["rude.peek"]);
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
    let mut gateway = gateway;
    gateway.stop();
    code.write("lib/a.js", "two");
    gateway.start_again();
    let shown = card(&gateway);
    assert!(shown.to_string().contains("run the files in"), "{shown}");
    gateway
        .owner()
        .approve(shown["pendingId"].as_str().expect("an id"), "once");
    let agent = gateway.agent_with("later", &["rude.peek"]);
    agent.must("rude.peek", json!({"path": "/tmp/none"}));
}

#[test]
fn servers_of_a_client_are_listed_and_added() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    folder.write("words", "Does");
    let program = plexus_tests::binaries::path("plexus-mcp-rude");
    let clients = json!({"mcpServers": {
        "Rude One": {"command": program, "args": [folder.path()], "env": {"API_KEY": "hush-hush", "LEVEL": "1"}},
        "other": {"command": "npx", "args": ["-y", "@a/b"]},
        "argued": {"command": program, "args": ["--token", "loud-and-clear"]},
        "placed": {"url": "https://tools.example/s/AbCd1234efGH5678ijKL90/mcp"},
    }});
    folder.write("clients.json", clients.to_string());
    let file = folder.path().join("clients.json").display().to_string();
    let listed = gateway.cli(["mcp", "add", "--from", &file]);
    for said in [
        "plexusctl mcp add rude-one --from",
        "secrets      API_KEY",
        "plexusctl mcp install NAME npm:@a/b@VERSION",
    ] {
        assert!(listed.expect_ok().contains(said), "{said}: {listed}");
    }
    for said in [
        "argued: not lent: its argument --token",
        "placed: not lent: a part of its path",
    ] {
        assert!(listed.all().contains(said), "{said}: {listed}");
    }
    let data = gateway.cli(["--json", "mcp", "add", "--from", &file]).all();
    for hush in ["hush-hush", "loud-and-clear", "AbCd1234"] {
        assert!(!listed.all().contains(hush), "{listed}");
        assert!(!data.contains(hush), "{data}");
    }
    let shown = gateway
        .cli(["--json", "mcp", "add", "--from", &file])
        .json();
    assert_eq!(shown["servers"][1]["source"], "other", "{shown}");
    let refused = gateway.cli(["mcp", "add", "other", "--from", &file, "--yes"]);
    refused.expect_status(64);
    gateway.must_cli([
        "mcp", "add", "--from", &file, "--all", "--read", "variable", "--yes",
    ]);
    let agent = gateway.agent_with("caller", &["rude-one.variable"]);
    let value = agent.must("rude-one.variable", json!({"name": "API_KEY"}));
    assert_eq!(value["output"]["text"], "hush-hush", "{value}");
}
