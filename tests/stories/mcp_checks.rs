//! The protocol's own checks: the Inspector's command line against both ways to speak MCP, in both eras, and the official
//! conformance scenarios: those of a server without tools of its own, and those of tools, which a lent server has.

use crate::house::House;
use crate::mcp::{self, NOTE, waiting, write};
use plexus_tests::bearer_proxy::BearerProxy;
use plexus_tests::coding_agents::protocol_checker;
use plexus_tests::mcp_web::{CHECKED, CHECKED_SCHEMA, Era, McpWeb, TOKEN};
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

/// Those of tools, which a lent server has: its name and that of a tool make the one that a scenario calls.
const OF_TOOLS: [&str; 8] = [
    "tools-call-simple-text",
    "tools-call-image",
    "tools-call-audio",
    "tools-call-embedded-resource",
    "tools-call-mixed-content",
    "tools-call-error",
    "tools-call-with-progress",
    "json-schema-2020-12",
];

/// Checks of these that fail, each with its reason.
const TOOL_DIFFERENCES: [(&str, &str); 5] = [
    (
        "sep-2106-composition-keywords-preserved",
        "some clients refuse combinators at the root of a schema: they are a sentence, and calls are held to them",
    ),
    ("sep-2106-conditional-keywords-preserved", "the same"),
    (
        "tools-call-with-progress",
        "the tool is a read: a client hears how long it has worked, and no words of it before it is judged",
    ),
    (
        "tools-call-embedded-resource",
        "a resource that is text is told as text, and its address as a link",
    ),
    ("tools-call-mixed-content", "the same"),
];

/// Those that are not run, by their beginnings, each with its reason.
#[rustfmt::skip]
const LEFT_OUT: [(&str, &str); 15] = [
    ("caching", "tools/list has the hints that it wants; its other lists are no methods here"),
    ("completion-complete", "no completion: arguments of prompts are those of a capability, with a schema"),
    ("elicitation-sep", "a question of a lent server goes to the owner, and to no client"),
    ("tools-call-elicitation", "the same"),
    ("input-required-result-", "the same"),
    ("tools-call-sampling", "no lent server has the words of a client's model"),
    ("tools-call-with-logging", "log messages of a lent server are passed over: they are no part of an answer"),
    ("logging-set-level", "the same"),
    ("resources-", "resources are capabilities that a model calls, and not those of a client (0135)"),
    ("sep-2164-resource-not-found", "the same"),
    ("prompts-", "prompts are, too"),
    ("sep-2640-", "skills are not carried"),
    ("http-custom-header-server-validation", "no argument of a call becomes a header"),
    ("server-s", "no session and no stream that outlives a request: a client asks anew"),
    ("tasks-", "an extension; how its tasks are followed is in mcp_tasks"),
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
    let (house, agent) = House::with_reader("checked");
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

/// Lends the server whose tools the scenarios call.
fn lend_checked(house: &House) -> Vec<String> {
    let web = McpWeb::start(Era::Handshake);
    let folder = Folder::empty();
    folder.write("token", TOKEN);
    let secret = format!("authorization={}", folder.path().join("token").display());
    let lent = [("test", CHECKED.to_vec()), ("json", vec![CHECKED_SCHEMA])];
    let mut ids = Vec::new();
    for (source, tools) in lent {
        let url = format!("{}?checks={source}", web.url());
        let mut add = vec![
            "mcp", "add", source, "--url", &url, "--secret", &secret, "--yes",
        ];
        add.extend(tools.iter().flat_map(|tool| ["--read", tool]));
        house.gateway.cli(add).expect_ok();
        ids.extend(tools.iter().map(|tool| format!("{source}.{tool}")));
    }
    ids
}

#[test]
fn lent_tools_pass_conformance_scenarios() {
    let house = House::open();
    let ids = lend_checked(&house);
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let agent = house.gateway.agent_with("checked", &ids);
    let proxy = BearerProxy::before(house.gateway.port(), &agent.pat);
    let mut failed = BTreeSet::new();
    for scenario in OF_TOOLS {
        for version in ["2025-11-25", "2026-07-28"] {
            let checks = checks(scenario, version, &proxy.url());
            let is = |check: &Value, how: &str| check["status"] == how;
            assert!(
                checks.iter().any(|check| is(check, "SUCCESS")),
                "{scenario} {version}: {checks:#?}"
            );
            let not = checks.iter().filter(|check| is(check, "FAILURE"));
            failed.extend(not.map(|check| check["id"].as_str().expect("an id").to_owned()));
        }
    }
    let expected = TOOL_DIFFERENCES.map(|(check, _)| check.to_owned());
    assert_eq!(failed, BTreeSet::from(expected));
}

#[test]
fn every_scenario_of_servers_is_run_or_has_its_reason() {
    let home = Folder::empty();
    let mut command = protocol_checker("conformance", &home.path());
    command.arg("list");
    let listed = programs::run(command).expect_ok().to_owned();
    let of_servers = listed.split("Client scenarios").next().unwrap_or_default();
    let all: Vec<&str> = of_servers
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ")?.split(' ').next())
        .collect();
    assert!(all.len() > 40, "{listed}");
    let is_run = |name: &str| {
        OF_TOOLS.contains(&name) || SCENARIOS.iter().any(|(scenario, _)| *scenario == name)
    };
    let mut without: Vec<&str> = all.iter().copied().filter(|name| !is_run(name)).collect();
    for (begins, why) in LEFT_OUT {
        let before = without.len();
        without.retain(|name| !name.starts_with(begins));
        assert!(
            without.len() < before,
            "{begins} ({why}) leaves nothing out"
        );
    }
    assert!(without.is_empty(), "neither run nor left out: {without:?}");
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
