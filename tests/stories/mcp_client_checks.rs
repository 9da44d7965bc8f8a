//! The official conformance scenarios for clients, against our client of lent MCP servers: the owner adds the scenario's server
//! by its URL, and an agent reads with its tools.

use plexus_tests::coding_agents::protocol_checker;
use plexus_tests::oauth_web::browse;
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, Gateway, programs};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::{fs, thread};

/// A scenario, the version of the protocol that it is run in, and the tools that an agent calls in it.
type Scenario = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// Those that are run; the others stand in [`LEFT_OUT`].
const SCENARIOS: [Scenario; 7] = [
    ("initialize", "2025-11-25", &[]),
    ("tools_call", "2025-11-25", &[("add_numbers", SUM)]),
    ("tools_call", "2026-07-28", &[("add_numbers", SUM)]),
    (
        "http-standard-headers",
        "2026-07-28",
        &[("test_headers", "{}"), ("my-hyphenated-tool", "{}")],
    ),
    ("request-metadata", "2026-07-28", &[]),
    ("json-schema-ref-no-deref", "2026-07-28", &[]),
    ("sse-retry", "2025-11-25", &[("test_reconnection", "{}")]),
];

/// Those that are not run, by their beginnings, each with its reason.
#[rustfmt::skip]
const LEFT_OUT: [(&str, &str); 13] = [
    (
        "auth/2025-03-26-oauth-endpoint-fallback",
        "no endpoint is guessed: an authorization server without metadata is named as such",
    ),
    (
        "auth/authorization-server-migration",
        "tokens are had where the owner agreed to: a server that names another is removed and added again",
    ),
    ("auth/basic-cimd", "a client that is an https address: Plexus has none on its owner's machine, and registers"),
    ("auth/client-credentials-", "a program signs in as itself: here the owner does, by a browser"),
    ("auth/dpop", "tokens are added as bearer tokens alone"),
    (
        "auth/enterprise-managed-authorization",
        "an organization's identity provider gives the token, and no browser is there: here the owner signs in",
    ),
    ("auth/wif-jwt-bearer", "the same of a workload"),
    (
        "elicitation-sep1034-client-defaults",
        "the checker's client answers at once; here the owner does, by an item (mcp_questions)",
    ),
    ("http-custom-headers", "no argument of a call becomes a header: what leaves the machine stands on the card as an argument"),
    ("http-invalid-tool-headers", "the same"),
    (
        "json-schema-2020-12-preservation",
        "its client sends back the schema that it read; an agent reads it of the manifest, byte for byte",
    ),
    ("sep-2322-client-request-state", "its server asks for input, which the owner gives (mcp_questions)"),
    ("sep-2640-", "skills of servers are not carried: a lent server has tools alone"),
];
const SUM: &str = r#"{"a": 5, "b": 3}"#;

/// Those of a sign-in: the owner signs in by a browser, adds the server, and signs in again where a call wants more.
const SIGNED_IN: [&str; 24] = [
    "auth/2025-03-26-oauth-metadata-backcompat",
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/pre-registration",
    "auth/token-endpoint-auth-basic",
    "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none",
    "auth/resource-mismatch",
    "auth/metadata-issuer-mismatch",
    "auth/iss-supported",
    "auth/iss-supported-missing",
    "auth/iss-not-advertised",
    "auth/iss-unexpected",
    "auth/iss-wrong-issuer",
    "auth/iss-normalized",
];

/// Checks that fail, each with its reason. Any other failure is ours, and so is one of these that passes.
const DIFFERENCES: [(&str, &str); 2] = [
    (
        "sep-2575-client-populates-meta",
        "the first request is that of the handshake; a server that refuses it is spoken to without one",
    ),
    (
        "sep-2575-http-client-sends-version-header",
        "the same: a handshake has no version yet",
    ),
];

/// What the checker runs as the client: it tells where the server is and what its person knows, and ends when it is told to.
const CLIENT: &str = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$MCP_CONFORMANCE_CONTEXT\" > context\necho \"$1\" > url.new && mv url.new url\nread end < end\n";

/// What the owner and an agent do with the server.
fn act(url: &str, calls: &[(&str, &str)]) {
    let gateway = Gateway::start();
    let mut add = vec!["mcp", "add", "checked", "--url", url, "--yes"];
    add.extend(calls.iter().flat_map(|(tool, _)| ["--read", tool]));
    let added = gateway.cli(add);
    let ids: Vec<String> = calls
        .iter()
        .map(|(tool, _)| format!("checked.{tool}"))
        .collect();
    if added.status != 0 || ids.is_empty() {
        return;
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let agent = gateway.agent_with("caller", &ids);
    for ((_, input), id) in calls.iter().zip(ids) {
        // What came of it is for the checks to say.
        let _ = agent.invoke(id, serde_json::from_str(input).expect("JSON"));
    }
}

/// What the owner and an agent do with a server that wants a sign-in. A client that was registered by hand is in `context`.
fn act_signed_in(url: &str, context: &Value) {
    let gateway = Gateway::start();
    let owner = gateway.owner();
    let begun = |mut asked: Value| {
        for name in ["client_id", "client_secret"] {
            asked[name] = context[name].clone();
        }
        let begun = owner.post("/admin/api/sign-ins", asked);
        let begun = (begun.status == 200).then(|| begun.json())?;
        let of = |name: &str| begun["sign_in"][name].as_str().map(str::to_owned);
        drop(browse(&of("address")?));
        of("id")
    };
    let Some(id) = begun(json!({"name": "checked", "url": url})) else {
        return;
    };
    let mut draft = json!({"name": "checked", "url": url, "sign_in": id, "reads": ["test-tool"]});
    let seen = owner.post("/admin/api/extensions/preview", draft.clone());
    if seen.status != 200 {
        return;
    }
    draft["digest"] = seen.json()["digest"].clone();
    owner.post("/admin/api/extensions", draft).expect_ok();
    let call = |agent: &str| {
        let agent = gateway.agent_with(agent, &["checked.test-tool"]);
        agent.invoke("checked.test-tool", json!({}))
    };
    if call("first").text().contains("scope_missing")
        && let Some(id) = begun(json!({"name": "checked"}))
    {
        let renewed = owner.post(&format!("/admin/api/sign-ins/{id}/renew"), json!({}));
        renewed.expect_ok();
        assert_eq!(call("second").json()["ok"], true);
    }
}

/// The checks of one scenario, each with its `id` and its `status`.
fn checks((scenario, version, calls): Scenario) -> Vec<Value> {
    checks_of(scenario, version, |url, _| act(url, calls))
}

fn checks_of(scenario: &str, version: &str, act: impl FnOnce(&str, &Value)) -> Vec<Value> {
    let folder = Folder::empty();
    let path = folder.path();
    folder.program("client", CLIENT);
    nix::unistd::mkfifo(&path.join("end"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let mut command = protocol_checker("conformance", &path);
    let client = path.join("client").display().to_string();
    command.args(["client", "--command", &client, "--scenario", scenario]);
    command.args(["--spec-version", version, "--timeout", "120000", "-o", "."]);
    let said = thread::scope(|scope| {
        let checking = scope.spawn(|| programs::run(command));
        until_true("the server of the scenario", || folder.has("url"));
        let context = serde_json::from_str(&folder.read("context")).unwrap_or_default();
        act(folder.read("url").trim(), &context);
        folder.write("end", "end\n");
        checking.join().expect("an end")
    });
    // A scenario of a sign-in has a folder of its kind.
    let results = match scenario.split_once('/') {
        Some((kind, _)) => path.join(kind),
        None => path,
    };
    let mut written = fs::read_dir(&results).expect("a folder").flatten();
    let checks = written.find_map(|run| fs::read(run.path().join("checks.json")).ok());
    let checks = checks.unwrap_or_else(|| panic!("no checks: {said}"));
    serde_json::from_slice(&checks).expect("a list of checks")
}

#[test]
fn lent_servers_pass_conformance_scenarios_of_clients() {
    let mut failed = BTreeSet::new();
    for scenario in SCENARIOS {
        let checks = checks(scenario);
        let ended = |how: &str| {
            let ended = checks.iter().filter(|check| check["status"] == how);
            let ids = ended.map(|check| check["id"].as_str().expect("an id").to_owned());
            ids.collect::<BTreeSet<String>>()
        };
        assert!(!ended("SUCCESS").is_empty(), "{scenario:?}: {checks:#?}");
        failed.extend(ended("FAILURE"));
    }
    let expected = DIFFERENCES.map(|(check, _)| check.to_owned());
    assert_eq!(failed, BTreeSet::from(expected));
}

#[test]
fn sign_in_passes_conformance_scenarios_of_clients() {
    let mut failed = BTreeSet::new();
    for scenario in SIGNED_IN {
        // The scenarios of an older revision are run in it.
        let older = scenario
            .strip_prefix("auth/")
            .and_then(|name| name.get(..10));
        let older = older.filter(|version| version.starts_with("20"));
        let version = older.unwrap_or("2026-07-28");
        let checks = checks_of(scenario, version, act_signed_in);
        let ended = |check: &Value, how: &str| check["status"] == how;
        assert!(
            checks.iter().any(|check| ended(check, "SUCCESS")),
            "{scenario}: {checks:#?}"
        );
        let not = checks
            .iter()
            .filter(|check| ended(check, "FAILURE") || ended(check, "WARNING"));
        failed.extend(
            not.map(|check| format!("{scenario} {}: {}", check["id"], check["errorMessage"])),
        );
    }
    assert_eq!(failed, BTreeSet::new());
}

#[test]
fn every_scenario_of_clients_is_run_or_has_its_reason() {
    let folder = Folder::empty();
    let mut command = protocol_checker("conformance", &folder.path());
    command.arg("list");
    let said = programs::run(command);
    let said = said.expect_ok();
    let (_, clients) = said.split_once("Client scenarios").expect("its list");
    let (clients, _) = clients.split_once("Authorization").expect("the next list");
    let names = clients
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "));
    let names: Vec<&str> = names.filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"initialize"), "{said}");
    for name in names {
        let is_run = SCENARIOS.iter().any(|(run, ..)| *run == name) || SIGNED_IN.contains(&name);
        let has_reason = LEFT_OUT.iter().any(|(begin, _)| name.starts_with(begin));
        assert!(
            is_run || has_reason,
            "{name} is not run, and no reason says why"
        );
    }
}
