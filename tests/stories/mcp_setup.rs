//! Setting up what speaks MCP: any client by the block that is printed, the coding agents' further ways by a flag, and taking both back.

use crate::house::House;
use crate::mcp::NOTE;
use crate::mcp_answers::Lent;
use plexus_tests::texts::assert_contains;
use plexus_tests::{McpClient, programs, waiting::until_true};
use serde_json::{Value, json};
use std::path::Path;

const CONNECT: [&str; 7] = [
    "connect",
    "desktop",
    "--type",
    "mcp",
    "--allow",
    "obsidian.vault.read",
    "--here",
];

/// The block of what was printed: from its first brace to its last.
#[track_caller]
fn block_of(said: &str) -> Value {
    let from = said.find('{').expect("a block");
    let to = said.rfind('}').expect("a block");
    serde_json::from_str(&said[from..=to]).expect("JSON")
}

/// Starts the server as a client does that has only this block.
#[track_caller]
fn started(block: &Value, home: &Path) -> McpClient {
    let server = &block["mcpServers"]["plexus"];
    let program = server["command"].as_str().expect("a program");
    let mut command = programs::command(Path::new(program), home);
    let arguments = server["args"].as_array().expect("arguments").iter();
    command.args(arguments.map(|argument| argument.as_str().expect("a text")));
    McpClient::greeted(command, "desktop")
}

#[test]
fn mcp_client_is_set_up_by_the_printed_block_and_taken_back() {
    let house = House::open();
    let gateway = &house.gateway;
    let shown = gateway.cli(CONNECT.iter().chain(&["--dry-run"]).copied());
    shown.expect_status(0);
    assert!(shown.stdout.contains("nothing was written"), "{shown}");
    let launcher = gateway.state().join("agents/desktop");
    assert!(!launcher.exists());

    let terms = ["--under", "path=nowhere", "--yes"];
    let limited = ["connect", "limited", "--type", "mcp", "--here"];
    let read = ["--allow", "obsidian.vault.read"];
    let said = gateway.cli(limited.iter().chain(&read).chain(&terms).copied());
    said.expect_status(0);
    let missing = "warning: obsidian has nothing at nowhere now";
    assert_contains(&said.stderr, missing);

    let said = gateway.cli(CONNECT.iter().chain(&["--yes"]).copied());
    said.expect_status(0);
    assert!(!said.stderr.contains("warning"), "{said}");
    let (_, printed) = said.stdout.split_once("Put this into").expect("a block");
    let (printed, _) = printed.split_once("\n\nMAY").expect("its end");
    let block = block_of(printed);
    assert!(!said.all().contains("plx_"), "no credential: {said}");
    let mut client = started(&block, gateway.home()).served();
    let note = client.call("obsidian_vault_read", json!({"path": NOTE}));
    assert!(note.to_string().contains("A gateway. See"), "{note}");
    let event = house
        .owner()
        .audited(|event| event["capabilityId"] == "obsidian.vault.read");
    assert_eq!(event["agentId"], "desktop", "{event}");
    // A second time changes nothing, and prints the same block as data.
    let again = gateway
        .cli(CONNECT.iter().chain(&["--yes", "--json"]).copied())
        .json();
    assert_eq!(again["files"], json!([]), "{again}");
    assert_eq!(again["mcpServers"], block["mcpServers"]);

    let undone = gateway.cli(["disconnect", "desktop", "--yes"]);
    assert_contains(undone.expect_ok(), "out of the configuration");
    assert!(!launcher.exists());
    assert!(!gateway.state().join("agents/desktop.pat").exists());
    client.hear("a change of the list", |message| {
        message["method"] == "notifications/tools/list_changed"
    });
    assert_eq!(client.names(), ["plexus_setup"]);
}

#[test]
fn further_way_of_a_coding_agent_is_taken_back_to_the_byte() {
    let house = House::open();
    let home = house.gateway.home();
    let path = |name: &str| home.join(name);
    let settings =
        "{\n  \"permissions\": {\n    \"allow\": [\n      \"Bash(ls:*)\"\n    ]\n  }\n}\n";
    let config = "# mine\nmodel = \"gpt-5.5\"\n\n[mcp_servers.other]\ncommand = \"/bin/true\"\n";
    let written = [
        (".claude/settings.json", settings),
        (".codex/config.toml", config),
    ];
    for (name, text) in written {
        std::fs::create_dir_all(path(name).parent().expect("a folder")).expect("a folder");
        std::fs::write(path(name), text).expect("a file");
    }
    let read = |name: &str| std::fs::read_to_string(path(name)).expect("a file");
    for (kind, flag, name, is) in [
        (
            "claude-code",
            "--mcp",
            ".claude/settings.json",
            "mcp__plugin_plexus-claude-code_plexus",
        ),
        ("codex", "--commands", ".codex/config.toml", "network_proxy"),
    ] {
        let connect = ["connect", "--type", kind, "--here", flag, "--yes"];
        house.gateway.cli(connect).expect_status(0);
        assert!(read(name).contains(is), "{}", read(name));
        if kind == "claude-code" {
            let server = ".claude/skills/plexus-claude-code/.mcp.json";
            assert!(read(server).contains("mcpServers"));
        }
        // Without it from now on: what was there for it goes, the rest stays.
        let less = ["connect", "--type", kind, "--here", "--yes"];
        house.gateway.cli(less).expect_status(0);
        assert!(!read(name).contains(is), "{}", read(name));
        assert_eq!(read(name).contains("[mcp_servers.plexus]"), kind == "codex");
        house.gateway.cli(connect).expect_status(0);
        house
            .gateway
            .cli(["disconnect", kind, "--yes"])
            .expect_status(0);
    }
    for (name, text) in written {
        assert_eq!(read(name), text);
    }
    assert!(!path(".claude/skills").exists());
}

/// Models take names of 64 characters, and Claude Code puts 36 before those of this plugin.
#[test]
fn plugin_of_claude_code_keeps_names_short_enough_for_models() {
    let lent = Lent::unlent();
    let ends = ["one", "two"];
    let names =
        ends.map(|end| format!("a-tool-whose-name-takes-all-that-a-model-may-have-of-it-{end}"));
    let tools = names
        .iter()
        .map(String::as_str)
        .chain(["say", "do"])
        .map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
    let tools: Vec<Value> = tools.collect();
    lent.folder.write("tools", json!(tools).to_string());
    lent.add().expect_ok();
    let ids = names.each_ref().map(|name| format!("odd.{name}"));
    let allow = ids.join(",");
    let connect = [
        "connect",
        "claude-code",
        "--type",
        "claude-code",
        "--here",
        "--mcp",
        "--allow",
        &allow,
        "--yes",
    ];
    lent.gateway.cli(connect).expect_ok();
    let home = lent.gateway.home();
    let block = home.join(".claude/skills/plexus-claude-code/.mcp.json");
    let block: Value =
        serde_json::from_slice(&std::fs::read(block).expect("a block")).expect("JSON");
    let long = |client: &mut McpClient| {
        let mut names = client.names();
        names.retain(|name| name.starts_with("odd_a-tool"));
        names
    };
    let mut client = started(&block, home).served();
    let short = long(&mut client);
    assert_eq!(short.len(), 2, "{short:?}");
    for name in &short {
        let whole = format!("mcp__plugin_plexus-claude-code_plexus__{name}");
        assert!(whole.len() <= 64, "{whole}");
        client.send(
            "tools/call",
            json!({"name": name, "arguments": {"who": name}}),
        );
    }
    // Each means its own tool.
    until_true("both at the owner", || {
        let items = json!(lent.gateway.owner().pending()).to_string();
        names
            .iter()
            .all(|name| items.contains(&format!("odd.{name}")))
    });
    // The control: the same block without the prefix has names that are longer.
    let mut bare = block;
    bare["mcpServers"]["plexus"]["args"] = json!(["mcp"]);
    let longer = long(&mut started(&bare, home).served());
    assert_eq!(longer.len(), 2, "{longer:?}");
    let most = |names: &[String]| names.iter().map(String::len).max();
    assert!(most(&longer) > most(&short), "{longer:?} {short:?}");
}
