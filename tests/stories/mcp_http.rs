//! An agent whose client speaks MCP over HTTP: `POST /mcp`, with a plain client and with the real ones.

use crate::house::{House, READ, WRITE};
use crate::mcp::{NOTE, outcomes, played, waiting, write};
use plexus_tests::coding_agents::{self, ask_claude, ask_codex_with};
use plexus_tests::events::Events;
use plexus_tests::texts::{assert_contains, assert_like};
use plexus_tests::waiting::until;
use plexus_tests::{Agent, Client, Gateway, Request, Response};
use serde_json::{Value, json};
use std::thread;

const MODERN: &str = "2026-07-28";

/// A client of an agent, of the era with a handshake.
pub(crate) struct Plain {
    client: Client,
}

impl Plain {
    fn of(house: &House, agent: &Agent) -> Self {
        Self::at(&house.gateway, agent)
    }

    pub(crate) fn at(gateway: &Gateway, agent: &Agent) -> Self {
        let bearer = format!("Bearer {}", agent.pat);
        let client = gateway.client().with("authorization", &bearer);
        let accept = "application/json, text/event-stream";
        Self {
            client: client.with("accept", accept),
        }
    }

    pub(crate) fn request(&self, method: &str, params: Value) -> Request {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.client.request("POST", "/mcp").json(message)
    }

    pub(crate) fn ask(&self, method: &str, params: Value) -> Value {
        let response = self.request(method, params).send();
        response.expect_status(200).json()
    }

    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.ask("tools/call", params)["result"].clone()
    }

    /// The same of the stateless era, with its headers.
    fn modern(&self, method: &str, params: Value, capabilities: &Value) -> Response {
        self.modern_request(method, params, capabilities).send()
    }

    fn modern_request(&self, method: &str, mut params: Value, capabilities: &Value) -> Request {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        });
        let name = params["name"].as_str().or(params["taskId"].as_str());
        let name = name.map(str::to_owned);
        let request = self
            .request(method, params)
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", method);
        match name {
            Some(name) => request.header("mcp-name", &name),
            None => request,
        }
    }
}

/// The messages of a stream.
fn streamed(response: &Response) -> Vec<Value> {
    assert_eq!(response.header("content-type"), Some("text/event-stream"));
    let text = response.text();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|message| serde_json::from_str(message).expect("a message"))
        .collect()
}

#[test]
fn http_client_lists_and_reads_in_both_eras() {
    let (house, agent) = House::with_reader("plain");
    let plain = Plain::of(&house, &agent);
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "plain"}});
    let begun = plain.ask("initialize", hello);
    assert_eq!(begun["result"]["protocolVersion"], "2025-06-18");
    let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    plain.client.post("/mcp", told).expect_status(202);
    let tools = plain.ask("tools/list", json!({}))["result"]["tools"].clone();
    let named = |name: &str| {
        let tools = tools.as_array().expect("a list");
        tools.iter().any(|tool| tool["name"] == name)
    };
    assert!(named("obsidian_vault_read") && named("workspace_write") && named("plexus_wait"));
    let note = plain.call("obsidian_vault_read", json!({"path": NOTE}));
    let text = note["content"][0]["text"].as_str().expect("a text");
    assert!(text.contains("A gateway. See"), "{note}");
    let rest: Value = serde_json::from_str(note["content"][1]["text"].as_str().unwrap()).unwrap();
    let event = house
        .owner()
        .audited(|event| event["id"] == rest["auditId"]);
    assert_eq!(event["agentId"], "plain");

    let none = json!({});
    let found = plain
        .modern("server/discover", json!({}), &none)
        .expect_ok();
    assert_eq!(found["result"]["supportedVersions"], json!([MODERN]));
    let read = json!({"name": "obsidian_vault_read", "arguments": {"path": NOTE}});
    let note = plain.modern("tools/call", read, &none).expect_ok();
    assert_eq!(note["result"]["resultType"], "complete", "{note}");
    // One session serves them all.
    let sessions = house.owner().audit(1000);
    let opened = |event: &&Value| event["type"] == "handshake" && event["agentId"] == "plain";
    let before = sessions.iter().filter(opened).count();
    plain.call("obsidian_vault_read", json!({"path": NOTE}));
    let after = house.owner().audit(1000);
    assert_eq!(after.iter().filter(opened).count(), before);
}

#[test]
fn wrong_request_is_told_by_its_status() {
    let (house, agent) = House::with_reader("plain");
    let plain = Plain::of(&house, &agent);
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    for method in ["GET", "DELETE"] {
        let response = plain.client.request(method, "/mcp").send();
        assert_eq!(
            (response.status, response.header("allow")),
            (405, Some("POST"))
        );
    }
    let nobody = plain.client.without("authorization");
    nobody
        .post("/mcp", list.clone())
        .expect_error(401, "unauthorized");
    let unknown = format!("Bearer plx_agent_{}", "x".repeat(43));
    for (wrong, why) in [
        (&*unknown, "not a live agent credential"),
        ("Bearer plx_agent_nobody", "one has 53 characters"),
        ("Basic abc", "MCP needs"),
        ("Bearer", "MCP needs"),
    ] {
        let refused = nobody.with("authorization", wrong);
        let refused = refused.post("/mcp", list.clone());
        let error = refused.expect_error(401, "unauthorized");
        assert_contains(&error["message"].to_string(), why);
    }
    // A page in a browser is refused before its credential is looked at.
    let page = plain.client.with("origin", "https://example.com");
    page.post("/mcp", list.clone()).expect_status(403);
    plain.client.post("/mcp", list.clone()).expect_ok();

    let code = |response: Response, status: u16| {
        assert_eq!(response.status, status, "{}", response.text());
        response.json()["error"]["code"].clone()
    };
    let old = plain.client.with("mcp-protocol-version", "1900-01-01");
    assert_eq!(code(old.post("/mcp", list), 400), -32022);
    let raw = |body: &str| plain.client.request("POST", "/mcp").bytes(body).send();
    assert_eq!(code(raw("{"), 400), -32700);
    assert_eq!(code(raw("[]"), 400), -32600);
    let twice = r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#;
    assert_eq!(code(raw(twice), 400), -32700);
    assert_eq!(code(raw(&"x".repeat((1 << 20) + 1)), 413), -32600);
    let none = json!({});
    let unknown = plain.modern("prompts/list", json!({}), &none);
    assert_eq!(code(unknown, 404), -32601);
    let other = plain
        .request("tools/call", json!({"name": "nobody"}))
        .header("mcp-protocol-version", "2025-11-25");
    assert_eq!(code(other.send(), 200), -32602);
}

#[test]
fn held_write_is_done_once_and_its_client_hears_of_it() {
    let (house, agent) = House::with_reader("writer");
    let plain = Plain::of(&house, &agent);
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md"), "_meta": {"progressToken": 7}});
    let (response, item) = thread::scope(|scope| {
        let held = scope.spawn(|| plain.request("tools/call", params.clone()).send());
        let item = waiting(&house);
        assert!(!house.workspace.has("notes/new.md") && !held.is_finished());
        // Others of its calls go on meanwhile, and list what waits.
        let listed = plain.call("plexus_wait", json!({}));
        let known = &listed["structuredContent"]["waiting"][0];
        assert_eq!(known["pendingId"], item.as_str(), "{listed}");
        assert_eq!(known["tool"], "workspace_write");
        house.owner().approve(&item, "once");
        (held.join().expect("an answer"), item)
    });
    // With progress it is a stream, which ends with the response.
    let last = match response.header("content-type") {
        Some("text/event-stream") => streamed(&response).pop().expect("a message"),
        _ => response.json(),
    };
    let like =
        json!({"result": {"structuredContent": {"ok": true, "undo": {"tool": "workspace_undo"}}}});
    assert_like(&last, &like);
    let again = plain.call("plexus_wait", json!({"pendingId": item}));
    assert_eq!(
        again["structuredContent"]["undo"]["tool"], "workspace_undo",
        "{again}"
    );
    assert_eq!(outcomes(&house), 1);
    // Another agent knows nothing of it.
    let stranger = Plain::of(&house, &house.reader("stranger"));
    let unknown = stranger.call("plexus_wait", json!({"pendingId": item}));
    assert_eq!(unknown["isError"], true, "{unknown}");
}

#[test]
fn client_that_goes_away_leaves_its_item_with_the_owner() {
    let (house, agent) = House::with_reader("writer");
    let plain = Plain::of(&house, &agent);
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md")});
    let mut item = String::new();
    let request = plain.request("tools/call", params);
    plain
        .client
        .leave_after(&request, || item = waiting(&house));
    house.owner().approve(&item, "once");
    let done = plain.call("plexus_wait", json!({"pendingId": item}));
    assert_eq!(done["structuredContent"]["ok"], true, "{done}");
    assert_eq!(house.workspace.read("notes/new.md"), "first line");
}

#[test]
fn task_is_followed_over_a_restart_and_cancelling_withdraws() {
    let (mut house, agent) = House::with_reader("writer");
    let plain = Plain::of(&house, &agent);
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let begin = |plain: &Plain, path: &str| {
        let params = json!({"name": "workspace_write", "arguments": write(path)});
        let task = plain.modern("tools/call", params, &tasks).expect_ok()["result"].clone();
        assert_eq!(task["resultType"], "task", "{task}");
        task["taskId"].as_str().expect("an id").to_owned()
    };
    let first = begin(&plain, "notes/new.md");
    house.gateway.restart();
    let plain = Plain::of(&house, &agent);
    let get = |task: &str| plain.modern("tasks/get", json!({"taskId": task}), &tasks);
    assert_eq!(get(&first).expect_ok()["result"]["status"], "working");
    house.owner().approve(&first, "once");
    let done = until("the end of the task", || {
        let task = get(&first).expect_ok()["result"].clone();
        (task["status"] != "working").then_some(task)
    });
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(
        done["result"]["structuredContent"]["undo"]["tool"], "workspace_undo",
        "{done}"
    );
    let second = begin(&plain, "notes/other.md");
    plain
        .modern("tasks/cancel", json!({"taskId": second}), &tasks)
        .expect_ok();
    assert!(house.owner().pending().is_empty());
    assert_eq!(get(&second).expect_ok()["result"]["status"], "cancelled");
}

#[test]
fn subscription_tells_of_changes_and_ends_with_its_credential() {
    let (house, agent) = House::with_reader("watcher");
    let plain = Plain::of(&house, &agent);
    let params = json!({"notifications": {"toolsListChanged": true}});
    let listening = plain.modern_request("subscriptions/listen", params, &json!({}));
    let stream = Events::of(&listening);
    let is = |method: &str| {
        let method = method.to_owned();
        move |message: &Value| message["method"] == method
    };
    let begun = stream.wait_until("message", is("notifications/subscriptions/acknowledged"));
    assert_eq!(
        begun["params"]["notifications"]["toolsListChanged"], true,
        "{begun}"
    );
    let changed = || stream.wait_until("message", is("notifications/tools/list_changed"));
    house.owner().revoke("watcher", READ);
    changed();
    house.owner().expose(WRITE, false);
    let changed = changed();
    let subscription = &changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
    assert_eq!(subscription, 1, "{changed}");
    house.owner().revoke_agent("watcher");
    assert!(stream.ends());
    let list = plain.request("tools/list", json!({})).send();
    list.expect_error(401, "unauthorized");
}

#[test]
fn claude_code_reads_and_writes_over_http() {
    let page = ["claude-code", "my-cc", "mcp.md", "mcp-http claude"];
    let flag = ["--allowedTools", "mcp__plexus"];
    played(
        page,
        &coding_agents::claude(),
        &flag,
        |model, home, folder| ask_claude(model, home, folder, &flag, "Use Plexus."),
    );
}

#[test]
fn codex_reads_and_writes_over_http() {
    let page = ["codex", "codex", "mcp.md", "mcp-http codex"];
    let setting = "mcp_servers.plexus.default_tools_approval_mode=\"approve\"";
    let flag = ["-c", setting];
    played(
        page,
        &coding_agents::codex(),
        &flag,
        |model, home, folder| {
            let pat = std::fs::read_to_string(home.join(".plexus/agents/codex.pat"));
            let pat = pat.expect("a credential");
            let environment = [("PLEXUS_PAT", pat.trim())];
            ask_codex_with(model, home, folder, &environment, &flag, "Use Plexus.")
        },
    );
}
