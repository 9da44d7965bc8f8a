//! A write that waits for the owner for longer than its client waits for a tool: the real clients give it up, ask again, and
//! it is done once.

use crate::mcp::{Desk, codex_asked, lines_of, outcomes, set_up, waiting, write};
use plexus_tests::coding_agents::{self, Conversation, ask_claude_at};
use plexus_tests::waiting::until;
use plexus_tests::{Gate, Model, Step};
use std::path::Path;

/// How long the clients wait for a tool.
const CLAUDE_WAITS: [(&str, &str); 1] = [("MCP_TOOL_TIMEOUT", "4000")];
const CODEX_WAITS: [&str; 2] = ["-c", "mcp_servers.plexus.tool_timeout_sec=4"];
/// What lets Claude Code use the tools without asking its own user.
const CLAUDE_ALLOWS: [&str; 2] = ["--allowedTools", "mcp__plexus"];

/// A client that is set up, and adds what `add` says, makes a write, gives it up, and makes it again once the owner has approved.
fn given_up(
    agent: [&str; 2],
    add: &str,
    program: &Path,
    ask: impl Fn(&Model, &Desk) -> Conversation + Sync,
) {
    let desk = set_up(agent, &[], add, program);
    let house = &desk.house;
    let gate = Gate::closed();
    let model = Model::start([
        Step::mcp("plexus", "workspace_write", write("notes/new.md")),
        Step::Wait(gate.clone()),
        Step::mcp("plexus", "workspace_write", write("notes/new.md")),
        Step::say("That is all."),
    ]);
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| ask(&model, &desk));
        let item = waiting(house);
        let first = until("the client to give up", || {
            model.results().into_iter().next()
        });
        let first = first.to_lowercase();
        assert!(first.contains("timed out"), "{first}");
        assert!(!house.workspace.has("notes/new.md"));
        assert_eq!(waiting(house), item, "it still waits");
        house.owner().approve(&item, "once");
        gate.open();
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert!(results[1].contains("\"ok\":true"), "{results:#?}");
    assert!(results[1].contains("workspace_undo"), "{results:#?}");
    assert_eq!(house.workspace.read("notes/new.md"), "first line");
    assert_eq!(outcomes(house), 1);
    assert!(house.owner().pending().is_empty());
}

fn claude(page: &str, fence: &str) {
    let [add, _] = lines_of(page, fence);
    let agent = ["claude-code", "my-cc"];
    given_up(agent, &add, &coding_agents::claude(), |model, desk| {
        let folder = desk.project.path();
        ask_claude_at(
            &coding_agents::claude(),
            model,
            &desk.home,
            &folder,
            &CLAUDE_WAITS,
            &CLAUDE_ALLOWS,
            "Use Plexus.",
        )
    });
}

fn codex(add: &str) {
    let agent = ["codex", "codex"];
    given_up(agent, add, &coding_agents::codex(), |model, desk| {
        codex_asked(model, desk, &CODEX_WAITS)
    });
}

#[test]
fn write_that_claude_gives_up_is_done_once() {
    claude("connect-claude-code.md", "mcp");
}

#[test]
fn write_that_claude_gives_up_over_http_is_done_once() {
    claude("mcp.md", "mcp-http claude");
}

#[test]
fn write_that_codex_gives_up_is_done_once() {
    // Connecting has given it the tools.
    codex("true");
}

#[test]
fn write_that_codex_gives_up_over_http_is_done_once() {
    let [add, _] = lines_of("mcp.md", "mcp-http codex");
    codex(&add);
}
