//! The official SDKs as an agent's client, over both ways in. A script by each SDK takes requests and gives answers by lines,
//! so that the story speaks to it as to a server.

use crate::local_apps::lend_lines;
use crate::mcp::server;
use crate::mcp_answers::{LARGE, Lent, reads_a_long_text};
use plexus_tests::coding_agents::{node, node_packages, python_packages};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Folder, McpClient, programs};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The script of an SDK: its program, its arguments, and variables.
struct Sdk {
    command: Command,
    /// Whether it keeps integers of 64 bits in what it hears: JavaScript has doubles.
    is_exact: bool,
    _script: Folder,
}

impl Sdk {
    fn python(packages: &[PathBuf]) -> Self {
        let script = Folder::empty();
        script.write(
            "client.py",
            include_str!("../fixture/mcp-clients/client.py"),
        );
        let mut command = programs::command(Path::new("/usr/bin/python3"), &script.path());
        let packages = std::env::join_paths(packages).expect("paths");
        command.arg("client.py").env("PYTHONPATH", packages);
        Self {
            command,
            is_exact: true,
            _script: script,
        }
    }

    fn typescript() -> Self {
        let script = Folder::empty();
        let text = include_str!("../fixture/mcp-clients/client.mjs");
        script.write("client.mjs", text);
        let packages = script.path().join("node_modules");
        std::os::unix::fs::symlink(node_packages(), packages).expect("a link");
        let mut command = programs::command(&node(), &script.path());
        command.arg("client.mjs");
        Self {
            command,
            is_exact: false,
            _script: script,
        }
    }

    /// Starts `plexus mcp`, and has every kind of answer.
    fn speaks_to_a_program(mut self) {
        let (lent, agent, _folder) = lent();
        let program = server(&lent.gateway, &agent);
        let set = program.get_envs();
        self.command
            .arg(program.get_program())
            .args(program.get_args())
            .envs(set.filter_map(|(name, value)| Some((name, value?))));
        let mut client = McpClient::start(self.command).served();
        reads_a_long_text(&mut client);
        has_answers(&mut client, self.is_exact);
        has_decisions(&mut client, &lent, &agent);
        assert_eq!(client.end(), 0);
    }

    /// The same at `/mcp`, which keeps no long texts.
    fn speaks_over_http(mut self) {
        let (lent, agent, _folder) = lent();
        let url = format!("http://127.0.0.1:{}/mcp", lent.gateway.port());
        self.command.arg(url).env("PLEXUS_PAT", &agent.pat);
        let mut client = McpClient::start(self.command).served();
        has_answers(&mut client, self.is_exact);
        has_decisions(&mut client, &lent, &agent);
        assert_eq!(client.end(), 0);
    }
}

/// The odd server, and an extension that gives back what it is given.
fn lent() -> (Lent, Agent, Folder) {
    let (lent, folder) = (Lent::odd(), Folder::empty());
    lend_lines(&lent.gateway, &folder);
    let agent = lent
        .gateway
        .agent_with("caller", &["odd.say", "odd.do", "lines.look"]);
    (lent, agent, folder)
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().expect("a text")
}

/// Lists, and has an answer with integers of 64 bits, an image and an error.
fn has_answers(client: &mut McpClient, is_exact: bool) {
    let names = client.names();
    for name in ["odd_say", "odd_do", "plexus_wait"] {
        assert!(names.iter().any(|listed| listed == name), "{names:?}");
    }
    let said = client.call(
        "odd_say",
        json!({"id": LARGE, "least": i64::MIN, "most": u64::MAX}),
    );
    let as_sent = format!(
        r#"{{"id":{LARGE},"least":{},"most":{}}}"#,
        i64::MIN,
        u64::MAX
    );
    assert_contains(text(&said), &as_sent);
    if is_exact {
        let answered = format!(r#"{{"content":[],"structuredContent":{{"id":{LARGE}}}}}"#);
        let said = client.call("odd_say", json!({ "result": answered }));
        let structured = &said["structuredContent"]["output"]["structured"];
        assert_eq!(structured["id"], LARGE, "{said}");
    }

    has_large_arguments(client);

    let image = json!({"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="});
    let answered = json!({ "content": [image] }).to_string();
    let said = client.call("odd_say", json!({ "result": answered }));
    assert_eq!(said["content"][0], image, "{said}");

    let error = r#"{"code":-32602,"message":"q must be an ISO date"}"#;
    let said = client.call("odd_say", json!({ "error": error }));
    assert_eq!(said["isError"], true, "{said}");
    assert_contains(text(&said), "q must be an ISO date");
}

/// An extension has integers of 64 bits as they were sent; what is larger is refused in words, and neither lets its client wait.
fn has_large_arguments(client: &mut McpClient) {
    let input = json!({"list": [i64::MIN], "n": u64::MAX});
    let said = client.call("lines_look", input);
    let as_sent = format!(r#""list":[{}],"n":{}"#, i64::MIN, u64::MAX);
    assert_contains(&said["content"].to_string().replace('\\', ""), &as_sent);
    for (id, tool) in [(9_001, "lines_look"), (9_002, "odd_say")] {
        let params = format!(r#"{{"name":"{tool}","arguments":{{"n":18446744073709551616}}}}"#);
        client.write(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#
        ));
        let refused = client.reply(id)["result"].clone();
        assert_eq!(refused["isError"], true, "{refused}");
        assert_contains(&refused["content"].to_string(), "more than 64 bits");
    }
}

/// Calls that wait for the owner: approved, denied, given up; and one that runs, whose progress is heard.
fn has_decisions(client: &mut McpClient, lent: &Lent, agent: &Agent) {
    let owner = lent.gateway.owner();
    let begin = |client: &mut McpClient, arguments: Value| {
        client.send(
            "tools/call",
            json!({"name": "odd_do", "arguments": arguments}),
        )
    };
    let approved = begin(client, json!({"n": 1}));
    owner.approve(&owner.waiting(), "once");
    let said = client.reply(approved)["result"].clone();
    assert_contains(text(&said), r#"got {"n":1}"#);

    let denied = begin(client, json!({"n": 2}));
    owner.deny(&owner.waiting(), "not today");
    let said = client.reply(denied)["result"].clone();
    assert_eq!(said["isError"], true, "{said}");
    assert_contains(text(&said), "not today");

    // A call that its client gives up stays with the owner, and is done once: by who waits for it, or by who repeats it.
    for (n, is_repeated) in [(3, false), (5, true)] {
        let input = json!({ "n": n });
        let given_up = begin(client, input.clone());
        let item = owner.waiting();
        client.notify("notifications/cancelled", json!({"requestId": given_up}));
        assert_eq!(client.reply(given_up)["cancelled"], true);
        assert_eq!(owner.waiting(), item);
        owner.approve(&item, "once");
        let said = match is_repeated {
            true => client.call("odd_do", input),
            false => client.call("plexus_wait", json!({"pendingId": item})),
        };
        assert_contains(&said.to_string(), &format!(r#"got {{\"n\":{n}}}"#));
    }

    let hangs = begin(client, json!({"hang": true}));
    owner.approve(&owner.waiting(), "once");
    until_true("the call at the server", || lent.folder.has("hangs"));
    let progress = client.hear("progress", |message| {
        message["method"] == "progress" && message["params"]["id"] == hangs
    });
    assert_contains(&progress.to_string(), "approved, and under way");
    client.notify("notifications/cancelled", json!({"requestId": hangs}));
    assert_eq!(client.reply(hangs)["cancelled"], true);
    // The control: what was given up holds up no other.
    agent.must("odd.say", json!({"n": 4}));
}

#[test]
fn python_sdk_has_every_answer_of_the_program() {
    let [packages, _] = python_packages();
    Sdk::python(&[packages]).speaks_to_a_program();
}

#[test]
fn python_sdk_before_has_every_answer_of_the_program() {
    let [packages, before] = python_packages();
    Sdk::python(&[before, packages]).speaks_to_a_program();
}

#[test]
fn python_sdk_has_every_answer_over_http() {
    let [packages, _] = python_packages();
    Sdk::python(&[packages]).speaks_over_http();
}

#[test]
fn typescript_sdk_has_every_answer_of_the_program() {
    Sdk::typescript().speaks_to_a_program();
}

#[test]
fn typescript_sdk_has_every_answer_over_http() {
    Sdk::typescript().speaks_over_http();
}
