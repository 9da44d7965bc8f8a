//! The real Claude Code of the stateless era: a write of an interactive session is a task, and its decision wakes the model.

use crate::house::House;
use crate::mcp::{NOTE, outcomes, played, waiting, write};
use plexus_tests::coding_agents::{ask_claude_at, claude_on_terminal, claude_stateless};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until;
use plexus_tests::{Folder, Model, Step};
use serde_json::{Value, json};

const SERVER: &str = "plugin_plexus-my-cc_plexus";

/// What the model does: it looks for its tools until they are there, reads, and asks for two writes.
fn script() -> impl FnMut(&Value) -> Step + Send {
    let tool = |name: &str| format!("mcp__{SERVER}__{name}");
    let find = json!({"query": format!("select:{},{}", tool("obsidian_vault_read"), tool("workspace_write"))});
    let mut steps = [
        Step::mcp(SERVER, "obsidian_vault_read", json!({"path": NOTE})),
        Step::mcp(SERVER, "workspace_write", write("notes/new.md")),
        Step::say("I asked for it."),
        Step::mcp(SERVER, "workspace_write", write("notes/other.md")),
        Step::say("I asked for another."),
        Step::say("I leave it."),
    ]
    .into_iter();
    let mut found = false;
    move |request| {
        found |= request.to_string().contains(&tool("workspace_write"));
        match found {
            true => steps.next().expect("a step that was foreseen"),
            false => Step::Call("ToolSearch".into(), find.clone()),
        }
    }
}

/// What the model was sent last, as text.
fn told(model: &Model) -> String {
    let requests = model.requests();
    let messages = requests.last().map(|last| last["messages"].clone());
    let last = messages.and_then(|messages| messages.as_array()?.last().cloned());
    let content = last.map(|last| last["content"].clone()).unwrap_or_default();
    let texts = content.as_array().into_iter().flatten();
    let texts = texts.filter_map(|block| block["text"].as_str());
    texts.collect::<Vec<_>>().join("\n")
}

/// Waits until the client wakes its model with how a task ended.
fn woken(model: &Model, item: &str) -> String {
    until("the end of the task reaches the model", || {
        let told = told(model);
        (told.contains("<task-notification>") && told.contains(item)).then_some(told)
    })
}

#[test]
fn claude_code_on_a_terminal_is_woken_by_the_owners_decision() {
    let house = House::open();
    let project = Folder::empty();
    project.write(".git/HEAD", "ref: refs/heads/main\n");
    let reads = "obsidian.vault.read,workspace.read";
    let connect = [
        "connect",
        "my-cc",
        "--type",
        "claude-code",
        "--allow",
        reads,
        "--here",
        "--mcp",
        "--yes",
    ];
    house.gateway.cli(connect).expect_ok();
    let model = Model::start([]);
    model.by_rule(script());
    let mut terminal = claude_on_terminal(&model, house.gateway.home(), &project.path());
    terminal.until_shows("❯");
    terminal.keys("Use Plexus.");
    terminal.until_shows("Use Plexus.");
    terminal.keys("\r");

    let item = waiting(&house);
    terminal.until_shows("I asked for it.");
    assert!(!house.workspace.has("notes/new.md"));
    let results = model.results();
    let [.., note, task] = results.as_slice() else {
        panic!("{results:#?}");
    };
    assert!(note.contains("A gateway. See"), "{note}");
    assert!(
        task.contains("server-side task") && task.contains(&item),
        "the call returned at once: {task}"
    );
    house.owner().approve(&item, "once");
    let told = woken(&model, &item);
    assert!(told.contains("<status>completed</status>"), "{told}");
    assert_contains(&told, "\"ok\":true");
    assert_contains(&told, "workspace_undo");
    assert_eq!(house.workspace.read("notes/new.md"), "first line");

    let other = waiting(&house);
    terminal.until_shows("I asked for another.");
    house.owner().deny(&other, "keep it short");
    let told = woken(&model, &other);
    assert!(told.contains("<status>failed</status>"), "{told}");
    assert!(told.contains("keep it short"), "{told}");
    terminal.until_shows("I leave it.");
    assert!(!house.workspace.has("notes/other.md"));
    assert_eq!(outcomes(&house), 1);
    // Not `finish`: on a terminal it also looks for updates and plugins, which the proxy of the story refuses.
}

#[test]
fn stateless_claude_code_without_a_terminal_is_held() {
    let page = ["claude-code", "my-cc", "connect-claude-code.md", "mcp"];
    let (flag, program) = (["--allowedTools", "mcp__plexus"], claude_stateless());
    played(page, &program, &flag, |model, home, folder| {
        ask_claude_at(&program, model, home, folder, &[], &flag, "Use Plexus.")
    });
}
