//! The protocol's own checks: the Inspector's command line against both ways to speak MCP, in both eras, and the official
//! conformance scenarios that fit a server without tools of their own.

use crate::house::House;
use crate::mcp::{self, NOTE, waiting, write};
use plexus_tests::bearer_proxy::BearerProxy;
use plexus_tests::coding_agents::protocol_checker;
use plexus_tests::programs::{self, Said};
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Folder, McpClient, binaries};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::thread;

/// The Inspector's exit status where a tool answered with an error.
const IS_ERROR: i32 = 5;

/// A conformance scenario, and the version of the protocol that it is run in.
type Scenario = (&'static str, &'static str);

/// Those that fit a server without tools of their own.
const SCENARIOS: [Scenario; 7] = [
    ("server-initialize", "2025-11-25"),
    ("ping", "2025-11-25"),
    ("tools-list", "2025-11-25"),
    ("tools-list", "2026-07-28"),
    ("dns-rebinding-protection", "2026-07-28"),
    ("http-header-validation", "2026-07-28"),
    ("server-stateless", "2026-07-28"),
];

/// Checks that fail, each with its reason. Any other failure is ours, and so is one of these that passes.
const DIFFERENCES: [(&str, &str); 4] = [
    (
        "sep-2575-server-rejects-undeclared-capability",
        "needs a tool test_missing_capability; no call needs a capability of its client",
    ),
    (
        "sep-2575-missing-capability-http-400",
        "needs the same tool",
    ),
    (
        "sep-2575-http-server-no-independent-requests-on-stream",
        "needs a tool test_streaming_elicitation; the server sends no requests",
    ),
    (
        "sep-2575-server-no-log-without-loglevel",
        "needs a tool test_logging_tool; the server sends no log messages",
    ),
];

/// The checks of one scenario, each with its `id` and its `status`.
fn checks(scenario: &str, version: &str, url: &str) -> Vec<Value> {
    let folder = Folder::empty();
    let mut command = protocol_checker("conformance", &folder.path());
    command.args(["server", "--url", url, "--scenario", scenario]);
    command.args(["--spec-version", version, "-o", "."]);
    let said = programs::run(command);
    let mut written = fs::read_dir(folder.path()).expect("a folder").flatten();
    let checks = written.find_map(|run| fs::read(run.path().join("checks.json")).ok());
    let checks = checks.unwrap_or_else(|| panic!("no checks: {said}"));
    serde_json::from_slice(&checks).expect("a list of checks")
}

#[test]
fn http_server_passes_conformance_scenarios() {
    let house = House::open();
    let agent = house.reader("checked");
    let proxy = BearerProxy::before(house.gateway.port(), &agent.pat);
    let mut failed = BTreeSet::new();
    for (scenario, version) in SCENARIOS {
        let checks = checks(scenario, version, &proxy.url());
        let ended = |how: &str| {
            let ended = checks.iter().filter(|check| check["status"] == how);
            let ids = ended.map(|check| check["id"].as_str().expect("an id").to_owned());
            ids.collect::<BTreeSet<String>>()
        };
        assert!(!ended("SUCCESS").is_empty(), "{scenario}: {checks:#?}");
        failed.extend(ended("FAILURE"));
    }
    let expected = DIFFERENCES.map(|(check, _)| check.to_owned());
    assert_eq!(failed, BTreeSet::from(expected));
}

/// The two ways to speak MCP.
#[derive(Clone, Copy, Debug)]
enum Door {
    Stdio,
    Http,
}

struct Inspected {
    house: House,
    agent: Agent,
    home: Folder,
}

impl Inspected {
    fn run(&self, door: Door, era: &str, method: &[&str]) -> Said {
        let gateway = &self.house.gateway;
        let mut command = protocol_checker("inspector", &self.home.path());
        command.args(["--cli", "--protocol-era", era]).args(method);
        match door {
            Door::Stdio => {
                for (name, value) in [
                    ("PLEXUS_HOME", gateway.state().display().to_string()),
                    ("PLEXUS_AGENT_ID", self.agent.id.clone()),
                    ("PLEXUS_PAT", self.agent.pat.clone()),
                ] {
                    command.arg("-e").arg(format!("{name}={value}"));
                }
                command.arg(binaries::path("plexus")).arg("mcp");
            }
            Door::Http => {
                let url = format!("http://127.0.0.1:{}/mcp", gateway.port());
                command.args(["--transport", "http", "--server-url", &url]);
                let header = format!("Authorization: Bearer {}", self.agent.pat);
                command.args(["--header", &header]);
            }
        }
        programs::run(command)
    }

    fn call(&self, door: Door, era: &str, tool: &str, arguments: &Value) -> Said {
        let arguments = arguments.to_string();
        let call = ["--method", "tools/call", "--tool-name", tool];
        let call = [&call[..], &["--tool-args-json", &arguments]].concat();
        self.run(door, era, &call)
    }
}

#[test]
fn inspector_lists_and_calls_in_both_eras() {
    let house = House::open();
    let inspected = Inspected {
        agent: house.reader("checked"),
        house,
        home: Folder::empty(),
    };
    // From here on `plexus mcp` has a list that it kept, however late the gateway answers.
    let mut command = mcp::server(&inspected.house.gateway, &inspected.agent);
    command.env("HOME", inspected.home.path());
    let mut first = McpClient::greeted(command, "plain");
    until_true("the list", || first.names().len() > 1);
    for (door, era) in [
        (Door::Stdio, "legacy"),
        (Door::Stdio, "modern"),
        (Door::Http, "legacy"),
        (Door::Http, "modern"),
    ] {
        let about = format!("{door:?} {era}");
        let listed = inspected.run(door, era, &["--method", "tools/list", "--strict"]);
        let tools = listed.expect_ok();
        assert!(tools.contains("obsidian_vault_read"), "{about}: {listed}");
        let read = inspected.call(door, era, "obsidian_vault_read", &json!({"path": NOTE}));
        assert!(
            read.expect_ok().contains("A gateway. See"),
            "{about}: {read}"
        );
        if era == "legacy" {
            let missing = json!({"path": "nobody.md"});
            let missing = inspected.call(door, era, "obsidian_vault_read", &missing);
            missing.expect_status(IS_ERROR);
            continue;
        }
        // It waits for the owner as a task, which the Inspector follows.
        let path = format!("notes/{door:?}.md");
        let wrote = thread::scope(|scope| {
            let held = scope.spawn(|| inspected.call(door, era, "workspace_write", &write(&path)));
            let house = &inspected.house;
            house.owner().approve(&waiting(house), "once");
            held.join().expect("an answer")
        });
        wrote.expect_status(0);
        assert!(inspected.house.workspace.has(&path), "{about}: {wrote}");
    }
}
