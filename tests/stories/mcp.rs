//! An agent whose client speaks MCP: `plexus mcp` on stdin and stdout, with a plain client and with the real ones.

use crate::house::{FIXTURE_READS, House, WRITE, Workshop};
use plexus_tests::coding_agents::{self, Conversation, ask_claude, ask_codex, ask_codex_with};
use plexus_tests::texts::{assert_contains, assert_like};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Folder, Gateway, McpClient, Model, Step, programs};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) const NOTE: &str = "Projects/Plexus.md";
/// Time in which a held call would have been answered if it were.
const A_WHILE: Duration = Duration::from_millis(400);

/// `plexus mcp` of an agent.
pub(crate) fn server(gateway: &Gateway, agent: &Agent) -> Command {
    let mut command = gateway.plexus_command(&agent.id, ["mcp"]);
    command.env("PLEXUS_PAT", &agent.pat);
    command
}

pub(crate) fn write(path: &str) -> Value {
    json!({"path": path, "content": "first line"})
}

/// The one item that waits, once it does.
#[track_caller]
pub(crate) fn waiting(house: &House) -> String {
    house.owner().waiting()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// The outcomes of writes on record.
pub(crate) fn outcomes(house: &House) -> usize {
    let events = house.owner().audit(1000);
    let wrote =
        |event: &&Value| event["capabilityId"] == WRITE && event["detail"]["phase"] == "outcome";
    events.iter().filter(wrote).count()
}

#[test]
fn stdio_client_reads_lists_and_is_told_its_errors() {
    let (house, agent) = House::with_reader("plain");
    let mut client = McpClient::start(server(&house.gateway, &agent));
    for method in ["tools/list", "tools/call"] {
        let early = client.ask(method, json!({}));
        assert_eq!(early["error"]["code"], -32600, "{method}");
    }
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "plain"}});
    let reply = client.ask("initialize", hello);
    assert_eq!(reply["result"]["protocolVersion"], "2025-06-18");
    client.notify("notifications/initialized", json!({}));
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));

    let mut client = client.served();
    let tools = client.tools();
    let of = |name: &str| {
        let found = tools.iter().find(|tool| tool["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is not in {tools:#?}"))
    };
    let read = of("obsidian_vault_read");
    assert_eq!(
        read["annotations"],
        json!({"readOnlyHint": true, "openWorldHint": false})
    );
    assert_eq!(read["_meta"]["dev.plexus/id"], "obsidian.vault.read");
    let path = &read["inputSchema"]["properties"]["path"]["description"];
    assert_contains(&path.to_string(), "at most 1024 characters");
    assert_eq!(of("workspace_write")["annotations"]["readOnlyHint"], false);
    of("plexus_wait");
    assert_contains(
        &of("plexus_guide")["description"].to_string(),
        "workspace.how-to-use",
    );

    let note = client.call("obsidian_vault_read", json!({"path": NOTE}));
    assert!(text(&note).contains("A gateway. See"), "{note}");
    assert!(note.get("structuredContent").is_none());
    let rest: Value = serde_json::from_str(note["content"][1]["text"].as_str().unwrap()).unwrap();
    assert_eq!(rest["output"]["relativePath"], NOTE);
    let event = house
        .owner()
        .audited(|event| event["id"] == rest["auditId"]);
    assert_eq!(event["agentId"], "plain");
    let found = client.call("obsidian_vault_search", json!({"query": "meaning"}));
    assert_eq!(found["structuredContent"]["ok"], true);
    assert_eq!(
        serde_json::from_str::<Value>(text(&found)).unwrap(),
        found["structuredContent"]
    );
    let guide = client.call("plexus_guide", json!({"id": "workspace.how-to-use"}));
    assert!(text(&guide).contains("Working in the workspace"), "{guide}");

    let missing = client.call("obsidian_vault_read", json!({"path": "nobody.md"}));
    assert_eq!(missing["isError"], true);
    assert_eq!(missing["structuredContent"]["effect"], "none");
    assert!(text(&missing).starts_with("Nothing was done."), "{missing}");
    let wrong = client.call("obsidian_vault_read", json!({"path": 7}));
    assert_eq!(
        wrong["structuredContent"]["code"],
        "schema_validation_failed"
    );

    for name in ["plexus_wait", "plexus_guide"] {
        let wrong = client.call(name, json!({"pending_id": "pend_x"}));
        assert_eq!(wrong["isError"], true, "{wrong}");
        assert_contains(text(&wrong), r#"There is no field "pending_id" (fields: "#);
    }

    let unknown = client.ask("tools/call", json!({"name": "nobody"}));
    assert_eq!(unknown["error"]["code"], -32602);
    assert_eq!(
        client.ask("resources/list", json!({}))["error"]["code"],
        -32601
    );
    for (line, code) in [
        ("{", -32700),
        (r#"{"jsonrpc":"2.0","id":9,"id":9,"method":"ping"}"#, -32700),
        (r#"[{"jsonrpc":"2.0","id":9,"method":"ping"}]"#, -32600),
        (r#"{"jsonrpc":"1.0","id":null,"method":"ping"}"#, -32600),
    ] {
        client.write(line);
        let reply = client.hear("an error", |message| message["id"].is_null());
        assert_eq!(reply["error"]["code"], code, "{line}");
    }
    client.write(&"x".repeat((1 << 20) + 10));
    let reply = client.hear("an error", |message| message["id"].is_null());
    assert_eq!(reply["error"]["code"], -32600);
    let long = json!({"name": "obsidian_vault_read", "arguments": {"path": "x".repeat(1 << 20)}});
    let reply = client.ask("tools/call", long);
    assert_eq!(reply["error"]["code"], -32600, "{reply}");
    assert_eq!(client.end(), 0);
}

#[test]
fn stateless_client_discovers_and_calls_beside_a_handshake() {
    let (house, agent) = House::with_reader("modern");
    let mut client = McpClient::start(server(&house.gateway, &agent));
    client.stateless("plain", json!({}));
    let discovered = client.ask("server/discover", json!({}));
    assert_eq!(
        discovered["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    assert_eq!(client.ask("initialize", json!({}))["error"]["code"], -32601);
    let mut client = client.served();
    let listed = client.ask("tools/list", json!({}));
    assert_eq!(listed["result"]["cacheScope"], "private");
    let note = client.call("obsidian_vault_read", json!({"path": NOTE}));
    assert_eq!(note["resultType"], "complete");
    assert!(text(&note).contains("A gateway. See"), "{note}");
    let old = json!({"_meta": {"io.modelcontextprotocol/protocolVersion": "2025-11-25"}});
    client.write(
        &json!({"jsonrpc": "2.0", "id": "old", "method": "tools/list", "params": old}).to_string(),
    );
    let reply = client.hear("an error", |message| message["id"] == "old");
    assert_eq!(reply["error"]["code"], -32022);
    assert_eq!(reply["error"]["data"]["supported"], json!(["2026-07-28"]));
}

#[test]
fn held_write_is_done_once_when_the_owner_approves() {
    let (house, agent) = House::with_reader("writer");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "claude-code").served();
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md")});
    let held = client.send("tools/call", params);
    let item = waiting(&house);
    assert!(!client.is_answered(held, A_WHILE) && !house.workspace.has("notes/new.md"));
    // Others of its calls go on meanwhile.
    let note = client.call("obsidian_vault_read", json!({"path": NOTE}));
    assert!(text(&note).contains("A gateway. See"), "{note}");
    house.owner().approve(&item, "once");
    let result = client.reply(held)["result"].clone();
    let like = json!({"structuredContent": {"ok": true, "undo": {"tool": "workspace_undo"}}});
    assert_like(&result, &like);
    assert_eq!(house.workspace.read("notes/new.md"), "first line");
    // Who asks again is given what happened.
    let again = client.call("plexus_wait", json!({"pendingId": item}));
    assert_eq!(again["structuredContent"]["ok"], true, "{again}");
    assert_eq!(outcomes(&house), 1);
}

/// Its own answer, though the gateway was killed meanwhile: none that was given before, and nothing is left that waits.
#[test]
fn kill_leaves_a_held_write_its_own_answer() {
    let (mut house, agent) = House::with_reader("writer");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "claude-code").served();
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md")});
    let held = client.send("tools/call", params);
    let item = waiting(&house);
    // The owner may see it before the server has heard of it.
    assert!(!client.is_answered(held, A_WHILE));
    house.gateway.kill9();
    house.gateway.start_again();
    house.owner().approve(&item, "once");
    let result = client.reply(held)["result"].clone();
    let told = &result["structuredContent"];
    assert_eq!(told["ok"], true, "{result}");
    assert_eq!(told.get("replayed"), None, "{result}");
    assert_eq!(told["undo"]["tool"], "workspace_undo", "{result}");
    let listed = client.call("plexus_wait", json!({}));
    let known = &listed["structuredContent"]["waiting"][0];
    assert_eq!(known["pendingId"], item.as_str(), "{listed}");
    assert_eq!(known["status"], "ended", "{listed}");
    assert_eq!(outcomes(&house), 1);
}

#[test]
fn denied_write_says_so_and_is_not_asked_again() {
    let (house, agent) = House::with_reader("writer");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "claude-code").served();
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md")});
    let held = client.send("tools/call", params.clone());
    house.owner().deny(&waiting(&house), "not there");
    let result = client.reply(held)["result"].clone();
    assert_eq!(result["isError"], true);
    assert_eq!(result["structuredContent"]["code"], "denied_by_owner");
    assert!(text(&result).contains("not there"), "{result}");
    let again = client.ask("tools/call", params)["result"].clone();
    assert_eq!(
        again["structuredContent"]["code"], "denied_by_owner",
        "{again}"
    );
    assert!(house.owner().pending().is_empty());
}

#[test]
fn cancelled_call_leaves_its_item_with_the_owner() {
    let (house, agent) = House::with_reader("writer");
    let mut client =
        McpClient::greeted(server(&house.gateway, &agent), "codex-mcp-client").served();
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md")});
    let held = client.send("tools/call", params);
    let item = waiting(&house);
    // The owner may see it before the server has heard of it.
    let known = |client: &mut McpClient| {
        client.call("plexus_wait", json!({}))["structuredContent"]["waiting"][0].clone()
    };
    until_true("an item that the server knows", || {
        known(&mut client)["pendingId"] == item.as_str()
    });
    client.notify(
        "notifications/cancelled",
        json!({"requestId": held, "reason": "time-out"}),
    );
    let known = known(&mut client);
    assert_eq!(known["pendingId"], item.as_str(), "{known}");
    assert_eq!(known["status"], "waiting_for_owner");
    let still = client.call("plexus_wait", json!({"pendingId": item, "seconds": 0}));
    assert_eq!(still["structuredContent"]["status"], "waiting_for_owner");
    assert!(text(&still).starts_with("Nothing was done yet."), "{still}");
    house.owner().approve(&item, "once");
    let done = client.call("plexus_wait", json!({"pendingId": item}));
    assert_eq!(done["structuredContent"]["ok"], true, "{done}");
    assert_eq!(house.workspace.read("notes/new.md"), "first line");
    assert!(
        !client.is_answered(held, A_WHILE),
        "a cancelled request gets no response"
    );
    let other = "pend_00000000-0000-4000-8000-000000000000";
    let unknown = client.call("plexus_wait", json!({"pendingId": other}));
    assert_eq!(unknown["isError"], true, "{unknown}");
}

/// This server never heard of the item: the gateway says that it waits, and of no other agent's.
#[test]
fn item_that_another_program_asked_for_is_listed() {
    let house = House::open();
    let [agent, other] = ["one", "two"].map(|name| house.gateway.agent(name));
    let asked = json!({"id": WRITE, "input": write("made.md"), "purpose": "to keep it"});
    let reply = agent.invoke_body(asked);
    let error = reply.expect_error(401, "approval_required");
    let item = error["pendingId"].as_str().expect("an item");
    other.must_ask(WRITE, write("others.md"));
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "plain").served();
    let waiting = client.call("plexus_wait", json!({}))["structuredContent"]["waiting"].take();
    let like = json!({"pendingId": item, "status": "waiting_for_owner", "tool": "workspace_write", "purpose": "to keep it"});
    assert_like(&waiting[0], &like);
    assert!(waiting[0]["since"].is_string(), "{waiting}");
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{waiting}");
    let still = client.call("plexus_wait", json!({"pendingId": item, "seconds": 0}));
    assert_eq!(still["structuredContent"]["pendingId"], item);
}

/// A server that was started since, and was told nothing but the id.
#[test]
fn answer_in_another_program_names_its_tool() {
    let (house, agent) = House::with_reader("writer");
    let client = || McpClient::greeted(server(&house.gateway, &agent), "claude-code").served();
    let (mut first, mut second) = (client(), client());
    let params = json!({"name": "workspace_write", "arguments": write("notes/new.md")});
    first.send("tools/call", params);
    let item = waiting(&house);
    drop(first);
    house.owner().approve(&item, "once");
    let done = second.call("plexus_wait", json!({"pendingId": item}));
    assert_eq!(
        done["structuredContent"]["undo"]["tool"], "workspace_undo",
        "{done}"
    );
}

#[test]
fn approved_task_completes_and_cancelled_one_is_withdrawn() {
    let (house, agent) = House::with_reader("writer");
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let mut client = McpClient::start(server(&house.gateway, &agent));
    client.stateless("claude-code", tasks.clone());
    let ask = |client: &mut McpClient, path: &str| {
        let params = json!({"name": "workspace_write", "arguments": write(path)});
        let task = client.ask("tools/call", params)["result"].clone();
        assert_eq!(task["resultType"], "task", "{task}");
        task["taskId"].as_str().expect("an id").to_owned()
    };
    let first = ask(&mut client, "notes/new.md");
    let working = client.ask("tasks/get", json!({"taskId": first}))["result"].clone();
    assert_eq!(working["status"], "working", "{working}");
    house.owner().approve(&first, "once");
    // It is the item's: another process of the same agent knows it too.
    drop(client);
    let mut client = McpClient::start(server(&house.gateway, &agent));
    client.stateless("claude-code", tasks);
    let done = until("the end of the task", || {
        let task = client.ask("tasks/get", json!({"taskId": first}))["result"].clone();
        (task["status"] != "working").then_some(task)
    });
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(done["result"]["structuredContent"]["ok"], true);
    assert_eq!(house.workspace.read("notes/new.md"), "first line");

    let second = ask(&mut client, "notes/other.md");
    assert_eq!(waiting(&house), second);
    let other = client.ask("tasks/cancel", json!({"taskId": "other"}));
    assert_eq!(other["error"]["code"], -32602);
    let reply = client.ask("tasks/cancel", json!({"taskId": second}));
    assert_eq!(reply["result"]["resultType"], "complete", "{reply}");
    assert!(house.owner().pending().is_empty());
    let task = client.ask("tasks/get", json!({"taskId": second}));
    assert_eq!(task["result"]["status"], "cancelled", "{task}");
    let nobody = json!({"taskId": "pend_00000000-0000-4000-8000-000000000000"});
    assert_eq!(client.ask("tasks/get", nobody)["error"]["code"], -32602);
}

#[test]
fn list_is_kept_while_the_gateway_is_away() {
    let (mut house, agent) = House::with_reader("patient");
    let mut before = McpClient::greeted(server(&house.gateway, &agent), "plain").served();
    let names = before.names();
    assert!(names.contains(&"obsidian_vault_read".to_owned()));
    house.gateway.stop();

    // One that was there, and one that starts now.
    let away = before.call("obsidian_vault_read", json!({"path": NOTE}));
    // Codex begins its first turn after a second, and takes up no tool that comes later.
    // One of several is as quick as that, whatever else this machine does.
    let mut after = until("a start of less than a second", || {
        let began = Instant::now();
        let mut after = McpClient::greeted(server(&house.gateway, &agent), "plain");
        assert_eq!(after.names(), names, "the list that was kept");
        (began.elapsed() < Duration::from_secs(1)).then_some(after)
    });
    for result in [
        away,
        after.call("obsidian_vault_read", json!({"path": NOTE})),
    ] {
        let like = json!({"structuredContent": {"code": "unreachable", "effect": "none"}});
        assert_like(&result, &like);
        assert_contains(text(&result), "tell the owner: start plexusd");
    }
    assert_eq!(after.ask("ping", json!({}))["result"], json!({}));

    house.gateway.start_again();
    for client in [&mut before, &mut after] {
        let note = until("the gateway is back", || {
            let note = client.call("obsidian_vault_read", json!({"path": NOTE}));
            note.get("isError").is_none().then_some(note)
        });
        assert!(text(&note).contains("A gateway. See"), "{note}");
    }
    // What is kept is private and holds no credential.
    let kept = house.gateway.home().join(".cache/plexus");
    let files: Vec<_> = std::fs::read_dir(&kept)
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1);
    let path = files[0].path();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("a file").permissions());
    assert_eq!(mode & 0o7777, 0o600);
    let held = std::fs::read_to_string(&path).expect("a file");
    assert!(!held.contains("sess_") && !held.contains(&agent.pat));
}

#[test]
fn agent_without_a_credential_is_offered_what_to_run() {
    let gateway = Gateway::start();
    let mut client = McpClient::greeted(gateway.plexus_command("nobody", ["mcp"]), "plain");
    assert_eq!(client.names(), ["plexus_setup"]);
    let tools = client.tools();
    assert_contains(&tools[0]["description"].to_string(), "plexusctl connect");
    let result = client.call("plexus_setup", json!({}));
    assert_eq!(result["structuredContent"]["code"], "not_enrolled");
    // Once there is one, the tools come by themselves.
    let agent = gateway.agent("nobody");
    let path = gateway.state().join("agents/nobody.pat");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(&path, &agent.pat).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).expect("a mode");
    client.hear("a change of the list", |message| {
        message["method"] == "notifications/tools/list_changed"
    });
    assert!(client.names().contains(&"plexus_wait".to_owned()));
    assert_eq!(client.end(), 0);
}

#[test]
fn list_changes_with_what_the_owner_exposes() {
    let (house, agent) = House::with_reader("watcher");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "plain").served();
    let listed = |client: &mut McpClient| client.names().contains(&"workspace_write".to_owned());
    assert!(listed(&mut client));
    house.owner().expose(WRITE, false);
    let changed = |message: &Value| message["method"] == "notifications/tools/list_changed";
    client.hear("a change of the list", changed);
    assert!(!listed(&mut client));
    let reply = client.ask(
        "tools/call",
        json!({"name": "workspace_write", "arguments": write("a.md")}),
    );
    assert_eq!(reply["error"]["code"], -32602);
    house.owner().expose(WRITE, true);
    client.hear("a change of the list", changed);
    assert!(listed(&mut client));
}

#[test]
fn revoked_agent_is_left_with_what_to_run() {
    let (house, agent) = House::with_reader("former");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "plain").served();
    assert!(client.names().len() > 3);
    // A pause takes no tool away; calls say it.
    house.gateway.cli(["pause"]).expect_ok();
    let paused = client.call("obsidian_vault_read", json!({"path": NOTE}));
    assert_eq!(paused["structuredContent"]["code"], "paused", "{paused}");
    assert!(client.names().len() > 3);
    house.gateway.cli(["resume"]).expect_ok();
    let note = client.call("obsidian_vault_read", json!({"path": NOTE}));
    assert!(text(&note).contains("A gateway. See"), "{note}");

    house.owner().revoke_agent("former");
    client.hear("a change of the list", |message| {
        message["method"] == "notifications/tools/list_changed"
    });
    assert_eq!(client.names(), ["plexus_setup"]);
    let result = client.call("plexus_setup", json!({}));
    assert!(text(&result).contains("plexusctl connect"), "{result}");
}

#[test]
fn slow_read_holds_up_nothing_and_ends_with_its_client() {
    let workshop = Workshop::open();
    let agent = workshop.gateway.agent_with("hasty", FIXTURE_READS);
    let mut client = McpClient::greeted(server(&workshop.gateway, &agent), "plain").served();
    let slow = client.send(
        "tools/call",
        json!({"name": "fixture_slow", "arguments": {"ms": 20_000}}),
    );
    let began = Instant::now();
    let quick = client.call("fixture_echo", json!({"text": "hello"}));
    assert!(quick.to_string().contains("hello"), "{quick}");
    assert!(began.elapsed() < Duration::from_secs(10));
    until_true("the slow call is under way", || {
        let calls = workshop.owner().get("/admin/api/calls").expect_ok();
        calls.to_string().contains("fixture.slow")
    });
    client.notify("notifications/cancelled", json!({"requestId": slow}));
    until_true("the slow call was cancelled", || {
        let calls = workshop.owner().get("/admin/api/calls").expect_ok();
        !calls.to_string().contains("fixture.slow")
    });
}

/// What each of the real clients is told to do: read, and write what the owner has to approve.
fn script(server: &str) -> Vec<Step> {
    vec![
        Step::mcp(server, "obsidian_vault_read", json!({"path": NOTE})),
        Step::mcp(server, "workspace_write", write("notes/new.md")),
        Step::say("That is all."),
    ]
}

/// The two lines of a block of a page: what adds the server, and what is typed then.
pub(crate) fn lines_of(page: &str, fence: &str) -> [String; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let (_, block) = text
        .split_once(&format!("```sh {fence}\n"))
        .expect("a block");
    let mut lines = block.lines().map(str::to_owned);
    [(); 2].map(|()| lines.next().expect("two lines"))
}

/// Sets a real client up by its page, lets it play the script, and approves its write while the client waits.
pub(crate) fn played(
    [kind, agent, page, fence]: [&str; 4],
    program: &Path,
    flag: &[&str],
    ask: impl Fn(&Model, &Path, &Path) -> Conversation + Sync,
) {
    let [add, typed] = lines_of(page, fence);
    assert!(typed.contains(&flag.join(" ")), "{typed}");
    used([kind, agent, "plexus"], &[], &add, program, ask);
}

/// A person's machine on which a client is connected and knows the server.
pub(crate) struct Desk {
    pub(crate) house: House,
    pub(crate) home: PathBuf,
    pub(crate) project: Folder,
    _path: Folder,
}

/// Connects a client of a kind with `more`, and has its person type `add`.
pub(crate) fn set_up([kind, agent]: [&str; 2], more: &[&str], add: &str, program: &Path) -> Desk {
    let house = House::open();
    let (project, path) = (Folder::empty(), Folder::empty());
    project.write(".git/HEAD", "ref: refs/heads/main\n");
    let home = house.gateway.home().to_owned();
    symlink(house.gateway.state(), home.join(".plexus")).expect("a link");
    symlink(
        program,
        path.path().join(program.file_name().expect("a name")),
    )
    .expect("a link");
    let reads = "obsidian.vault.read,workspace.read";
    let connect = [
        "connect", agent, "--type", kind, "--allow", reads, "--here", "--yes",
    ];
    let connect = connect.iter().chain(more);
    house.gateway.cli(connect.copied()).expect_ok();
    let add = add.replace("http://127.0.0.1:7077", &house.gateway.base());
    let mut shell = programs::command(Path::new("/bin/bash"), &home);
    shell
        .env("PATH", format!("{}:/usr/bin:/bin", path.path().display()))
        .current_dir(project.path())
        .args(["-c", &add]);
    programs::run(shell).expect_ok();
    Desk {
        house,
        home,
        project,
        _path: path,
    }
}

/// Claude Code beside a house, set up as its page says.
pub(crate) fn claude_desk() -> Desk {
    let [add, _] = lines_of("connect-claude-code.md", "mcp");
    let claude = coding_agents::claude();
    set_up(["claude-code", "my-cc"], &[], &add, &claude)
}

/// Codex beside a house, set up as its page says.
pub(crate) fn codex_desk() -> Desk {
    set_up(["codex", "codex"], &[], "true", &coding_agents::codex())
}

/// Has Claude Code use Plexus, whose tools need no approval of its own.
pub(crate) fn claude_asked(model: &Model, desk: &Desk) -> Conversation {
    let allowed = ["--allowedTools", "mcp__plexus"];
    let folder = desk.project.path();
    ask_claude(model, &desk.home, &folder, &allowed, "Use Plexus.")
}

/// Codex on that machine is asked to use Plexus, with `more` arguments, and uses the tools without asking its own user.
pub(crate) fn codex_asked(model: &Model, desk: &Desk, more: &[&str]) -> Conversation {
    let pat = desk.home.join(".plexus/agents/codex.pat");
    let pat = std::fs::read_to_string(pat).expect("a credential");
    let allows = [
        "-c",
        "mcp_servers.plexus.default_tools_approval_mode=\"approve\"",
    ];
    ask_codex_with(
        model,
        &desk.home,
        &desk.project.path(),
        &[("PLEXUS_PAT", pat.trim())],
        &[&allows[..], more].concat(),
        "Use Plexus.",
    )
}

/// Sets a client up, and holds what it does with the tools of `server`.
fn used(
    [kind, agent, server]: [&str; 3],
    more: &[&str],
    add: &str,
    program: &Path,
    ask: impl Fn(&Model, &Path, &Path) -> Conversation + Sync,
) {
    let desk = set_up([kind, agent], more, add, program);
    let house = &desk.house;
    let model = Model::start(script(server));
    let folder = desk.project.path();
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| ask(&model, &desk.home, &folder));
        let item = waiting(house);
        assert!(!house.workspace.has("notes/new.md"));
        assert_eq!(model.results().len(), 1, "the write is held");
        house.owner().approve(&item, "once");
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert!(results[0].contains("A gateway. See"), "{results:#?}");
    assert!(results[1].contains("\"ok\":true"), "{results:#?}");
    assert!(results[1].contains("workspace_undo"), "{results:#?}");
    assert_eq!(house.workspace.read("notes/new.md"), "first line");
    assert_eq!(outcomes(house), 1);
    let first = model.requests()[0].to_string();
    // The model has the tools.
    assert_contains(&first, &format!("mcp__{server}"));
}

#[test]
fn claude_code_reads_and_writes_over_mcp() {
    let page = ["claude-code", "my-cc", "connect-claude-code.md", "mcp"];
    let flag = ["--allowedTools", "mcp__plexus"];
    played(
        page,
        &coding_agents::claude(),
        &flag,
        |model, home, folder| ask_claude(model, home, folder, &flag, "Use Plexus."),
    );
}

#[test]
fn claude_code_is_set_up_with_its_tools() {
    let server = "plugin_plexus-my-cc_plexus";
    let setup = ["claude-code", "my-cc", server];
    used(
        setup,
        &["--mcp"],
        "true",
        &coding_agents::claude(),
        |model, home, folder| ask_claude(model, home, folder, &[], "Use Plexus."),
    );
}

#[test]
fn codex_reads_and_writes_over_mcp() {
    used(
        ["codex", "codex", "plexus"],
        &[],
        "true",
        &coding_agents::codex(),
        |model, home, folder| ask_codex(model, home, folder, &[], "Use Plexus."),
    );
}
