//! The real coding agents against a scripted model: set up in one step, they list, read, ask and write, and their own
//! rules keep them from the owner's command and from credentials.

use crate::house::{House, WRITE};
use crate::mcp::waiting;
use plexus_tests::coding_agents::{Conversation, ask_claude, ask_codex};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, Gate, Listener, Model, Step, programs};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A person's machine: a gateway, and a folder that the coding agent works in.
struct Desk {
    house: House,
    project: Folder,
}

impl Desk {
    fn open() -> Self {
        let desk = Self {
            house: House::open(),
            project: Folder::empty(),
        };
        // A repository of its own: agents look for the folder that they trust upwards from where they are.
        desk.project
            .write(".git/HEAD", "ref: refs/heads/main\n")
            .write("README.md", "the person's project\n");
        desk
    }
    /// Sets an agent up as its person does, and holds that it worked.
    #[track_caller]
    fn connect(&self, line: &[&str]) -> String {
        let words = ["connect"].iter().chain(line).chain(&["--here", "--yes"]);
        let said = self.house.gateway.cli(words.copied());
        said.expect_status(0);
        said.all()
    }
    fn claude(&self, model: &Model, more: &[&str]) -> Conversation {
        let home = self.house.gateway.home();
        ask_claude(model, home, &self.project.path(), more, "Use Plexus.")
    }
    fn codex(&self, model: &Model, more: &[&str]) -> Conversation {
        let home = self.house.gateway.home();
        ask_codex(model, home, &self.project.path(), more, "Use Plexus.")
    }
    /// Has an agent write a note, of which nothing is there before its owner approves it elsewhere.
    #[track_caller]
    fn writes(&self, model: &Model, ask: impl FnOnce() -> Conversation + Send) -> Conversation {
        let went = std::thread::scope(|scope| {
            let talking = scope.spawn(ask);
            let item = waiting(&self.house);
            assert!(!self.house.workspace.has("notes/new.md"));
            approve_elsewhere(&self.house, &item);
            talking.join().expect("a conversation")
        });
        went.expect_ok();
        model.finish();
        went
    }
    fn state(&self, path: &str) -> String {
        let path = self.house.gateway.state().join(path);
        path.display().to_string()
    }
}

/// The owner, in a terminal of their own, looks at the card and approves it by its digest.
#[track_caller]
fn approve_elsewhere(house: &House, item: &str) {
    let card = house.owner().card(item);
    let digest = card["cardDigest"].as_str().expect("a digest");
    house
        .gateway
        .must_cli(["approvals", "approve", item, "--card", digest]);
}

const NOTE: &str = "path=Projects/Plexus.md";

/// The whole of it: list, read, a write that waits and is approved by another process, and ten calls in a row.
fn story(command: &str, step: fn(&str) -> Step) -> Vec<Step> {
    let mut lines = vec![
        format!("{command} list"),
        format!("{command} obsidian.vault.read {NOTE}"),
        format!(
            "{command} {WRITE} path=notes/new.md content='first line' --purpose 'to keep what we said'"
        ),
        format!("{command} describe workspace.write"),
        format!("{command} obsidian.vault.search query=meaning"),
        format!("{command} workspace.list path=notes"),
        format!("{command} workspace.read --input '{{\"path\":\"notes/today.md\"}}' --json"),
        format!("{command} obsidian.vault.read path=Ideas.md | head -3"),
        format!("{command} whoami"),
        format!("{command} workspace.read path=notes/new.md"),
    ]
    .into_iter()
    .map(|line| step(&line))
    .collect::<Vec<_>>();
    lines.push(Step::say("That is all."));
    lines
}

/// What came of [`story`], in the words of the tools.
#[track_caller]
fn held(results: &[String]) {
    let expected = [
        "obsidian.vault.read",
        "A gateway. See",
        "notes/new.md",
        "workspace.write",
        "Ideas.md",
        "today.md",
        "write the report",
        "# Ideas",
        "",
        "first line",
    ];
    assert_eq!(results.len(), expected.len(), "{results:#?}");
    for (result, part) in results.iter().zip(expected) {
        assert!(result.contains(part), "{part:?} is not in {result:?}");
    }
}

const READS: &str = "obsidian.vault.read,obsidian.vault.search,workspace.list,workspace.read";

#[test]
fn claude_code_lists_reads_asks_and_writes_without_a_prompt_of_its_own() {
    let desk = Desk::open();
    let said = desk.connect(&["--type", "claude-code", "--allow", READS]);
    assert!(said.contains("plexusctl disconnect claude-code"), "{said}");
    let plugin = desk
        .house
        .gateway
        .home()
        .join(".claude/skills/plexus-claude-code");
    let mut validate = programs::command(
        &plexus_tests::coding_agents::claude(),
        desk.house.gateway.home(),
    );
    validate
        .args(["plugin", "validate", "--strict"])
        .arg(&plugin);
    programs::run(validate).expect_ok();

    let model = Model::start(story("plexus-claude-code", Step::bash));
    let went = desk.writes(&model, || desk.claude(&model, &[]));
    held(&model.results());
    assert_eq!(desk.house.workspace.read("notes/new.md"), "first line");
    assert_eq!(
        went.denied(),
        Vec::<String>::new(),
        "nothing was asked of the person in Claude Code"
    );
    assert_eq!(went.init()["permissionMode"], "default");
    let plugins = went.init()["plugins"].to_string();
    assert_contains(&plugins, "plexus-claude-code@skills-dir");
    // The skill is in what the model is told.
    let first = model.requests()[0].to_string();
    assert!(first.contains("Read and change the notes, files and apps that the owner shares"));
}

/// What an agent must not do, and what it may: the same steps with and without our rules.
fn temptations(desk: &Desk, step: fn(&str) -> Step) -> Vec<Step> {
    let plexusctl = plexus_tests::binaries::path("plexusctl");
    let plexusctl = plexusctl.display();
    let key = desk.state("connection-key");
    let other = desk.state("agents/other.pat");
    let mut steps: Vec<Step> = [
        format!("{plexusctl} --version"),
        format!("cat {key}"),
        format!("cat {other}"),
    ]
    .iter()
    .map(|line| step(line))
    .collect();
    steps.push(Step::say("I tried."));
    steps
}

/// Another agent's credential, beside the one under test.
fn neighbour(desk: &Desk) -> String {
    let agent = desk.house.reader("other");
    let path = desk.house.gateway.state().join("agents/other.pat");
    std::fs::write(&path, &agent.pat).expect("a file");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).expect("a mode");
    agent.pat
}

#[test]
fn claude_codes_own_rules_keep_it_from_the_owners_command_and_from_credentials() {
    let desk = Desk::open();
    desk.connect(&["--type", "claude-code"]);
    let (key, pat) = (desk.house.gateway.key(), neighbour(&desk));
    // A person who lets it run any command still does not let it run these.
    let everything = ["--allowedTools", "Bash", "Read"];
    let with_read = |steps: Vec<Step>| {
        let read = json!({"file_path": desk.state("connection-key")});
        let mut steps = steps;
        steps.insert(3, Step::Call("Read".into(), read));
        // A note, past the gateway: a shell of its own is held by nobody.
        let note = desk.house.vault.path().join("Projects/Plexus.md");
        steps.insert(4, Step::bash(&format!("cat {}", note.display())));
        steps
    };
    let model = Model::start(with_read(temptations(&desk, Step::bash)));
    let went = desk.claude(&model, &everything);
    model.finish();
    let results = model.results().join("\n");
    assert_lacks(&results, &key);
    assert_lacks(&results, &pat);
    assert_eq!(results.matches("denied").count(), 4, "{results}");
    assert_contains(&model.results()[4], "A gateway. See");
    let called = |event: &serde_json::Value| event["type"] == "invoke";
    let calls: Vec<_> = desk
        .house
        .owner()
        .audit(100)
        .into_iter()
        .filter(called)
        .collect();
    assert!(calls.is_empty(), "no call of it: {calls:?}");
    assert_eq!(
        went.denied().len(),
        3,
        "the Read tool refuses before it asks: {:?}",
        went.denied()
    );

    // The control: without our rules each of them works.
    desk.house
        .gateway
        .must_cli(["disconnect", "claude-code", "--keep-agent", "--yes"]);
    let model = Model::start(with_read(temptations(&desk, Step::bash)));
    let went = desk.claude(&model, &everything);
    model.finish();
    assert_eq!(went.denied(), Vec::<String>::new());
    let results = model.results();
    assert!(results[0].contains("plexusctl 0"), "{results:?}");
    assert_contains(&results[1], &key);
    assert_contains(&results[2], &pat);
    assert!(results[3].contains(&key), "{results:?}");
}

#[test]
fn claude_code_in_one_folder_only() {
    let desk = Desk::open();
    let project = desk.project.path();
    let folder = project.display().to_string();
    desk.connect(&[
        "--type",
        "claude-code",
        "--allow",
        READS,
        "--project",
        &folder,
    ]);
    // The person trusts the folder in Claude Code, as its first session there asks.
    let trusted = json!({"projects": {&folder: {"hasTrustDialogAccepted": true}}});
    std::fs::write(
        desk.house.gateway.home().join(".claude.json"),
        trusted.to_string(),
    )
    .expect("a file");
    let steps = || [Step::bash("plexus-claude-code list"), Step::say("done")];
    let model = Model::start(steps());
    let went = desk.claude(&model, &[]);
    model.finish();
    assert_contains(&model.results()[0], "obsidian.vault.read");
    assert_eq!(went.denied(), Vec::<String>::new());

    // Elsewhere it knows nothing of Plexus.
    let elsewhere = Folder::empty();
    let model = Model::start(steps());
    let home = desk.house.gateway.home();
    let went = ask_claude(&model, home, &elsewhere.path(), &[], "Use Plexus.");
    model.finish();
    assert_eq!(went.denied(), ["plexus-claude-code list"]);
}

/// The command of the agent `codex`, as its instructions name it.
fn codex_command(desk: &Desk) -> String {
    desk.state("agents/codex/bin/plexus-codex")
}

/// Ways to a port of this machine that a command has: as Codex's proxy leads there where there is one, else straight.
fn ways_to(port: u16) -> [String; 4] {
    let get = |way: &str, options: &str| {
        format!(
            "curl -s -m 5 --noproxy '' {options} http://127.0.0.1:{port}/{way} || echo \" kept from {way}\""
        )
    };
    [
        format!(
            "curl -s -m 5 --noproxy '*' http://127.0.0.1:{port}/straight || echo \" kept from straight\""
        ),
        get("plain", "${HTTP_PROXY:+-x \"$HTTP_PROXY\"}"),
        get("connect", "-p ${HTTP_PROXY:+-x \"$HTTP_PROXY\"}"),
        get("socks", "${ALL_PROXY:+-x \"$ALL_PROXY\"}"),
    ]
}

/// Which of [`ways_to`] reached the listener.
fn arrived(listener: &Listener) -> Vec<String> {
    let heard = listener.heard();
    let way = |first: &String| {
        let path = first.split(' ').nth(1).expect("a request");
        path.trim_start_matches('/').to_owned()
    };
    heard.iter().map(way).collect()
}

/// The control of [`ways_to`]: outside of a sandbox each of them arrives.
#[track_caller]
fn every_way_is_open_outside(desk: &Desk, listener: &Listener) {
    for line in ways_to(listener.port()) {
        let mut shell = programs::command(Path::new("/bin/bash"), desk.house.gateway.home());
        shell.args(["-c", &line]);
        assert_eq!(programs::run(shell).expect_ok(), "reached", "{line}");
    }
    assert_eq!(arrived(listener), ["straight", "plain", "connect", "socks"]);
}

/// What a command may not do, whatever the setup: read what lies in the state directory, write outside of the workspace.
fn forbidden(desk: &Desk) -> (PathBuf, Vec<Step>) {
    // Codex lets its commands write below /tmp and TMPDIR, where the homes of tests are.
    let outside = PathBuf::from("/plexus-outside");
    let mut steps = vec![
        Step::exec(&format!("touch {} && echo outside", outside.display())),
        Step::exec("echo mine > kept.txt && cat kept.txt"),
    ];
    steps.extend(temptations(desk, Step::exec));
    (outside, steps)
}

/// What came of [`forbidden`].
#[track_caller]
fn forbade(desk: &Desk, outside: &Path, results: &[String], secrets: &[&str]) {
    let [write, own, ctl, credentials @ ..] = results else {
        panic!("{results:#?}");
    };
    assert!(!outside.exists(), "{write}");
    assert!(own.contains("mine"), "the control, in the workspace: {own}");
    assert!(desk.project.has("kept.txt"));
    assert!(ctl.contains("owner's command"), "{ctl}");
    for result in credentials {
        assert!(result.contains("Permission denied"), "{result}");
        assert!(
            !secrets.iter().any(|secret| result.contains(secret)),
            "{result}"
        );
    }
}

/// The control of [`temptations`]: without what we wrote, in the sandbox that Codex has by itself, all of it can be read.
#[track_caller]
fn codex_alone_reads(desk: &Desk, key: &str, pat: &str) {
    desk.house
        .gateway
        .must_cli(["disconnect", "codex", "--keep-agent", "--yes"]);
    let model = Model::start(temptations(desk, Step::exec));
    desk.codex(&model, &[]).expect_ok();
    model.finish();
    let results = model.results();
    assert!(results[0].contains("plexusctl 0"), "{results:?}");
    assert_contains(&results[1], key);
    assert_contains(&results[2], pat);
}

#[test]
fn codex_has_its_tools_and_its_commands_reach_no_port() {
    let desk = Desk::open();
    let said = desk.connect(&["--type", "codex", "--allow", READS]);
    assert!(said.contains("reach no port and no network"), "{said}");
    let (key, pat) = (desk.house.gateway.key(), neighbour(&desk));
    let own = std::fs::read_to_string(desk.state("agents/codex.pat")).expect("a credential");
    let listener = Listener::start();
    let mut steps = vec![
        Step::mcp(
            "plexus",
            "obsidian_vault_read",
            json!({"path": "Projects/Plexus.md"}),
        ),
        Step::mcp(
            "plexus",
            "workspace_write",
            json!({"path": "notes/new.md", "content": "first line"}),
        ),
    ];
    steps.extend(ways_to(listener.port()).iter().map(|line| Step::exec(line)));
    steps.push(Step::exec(&format!("{} list", codex_command(&desk))));
    let (outside, more) = forbidden(&desk);
    steps.extend(more);
    steps.insert(
        steps.len() - 1,
        Step::exec(&format!("cat {}", desk.state("agents/codex.pat"))),
    );
    let model = Model::start(steps);
    desk.writes(&model, || desk.codex(&model, &[]));
    let results = model.results();
    assert!(results[0].contains("A gateway. See"), "{results:#?}");
    assert!(results[1].contains("\"ok\":true"), "{results:#?}");
    assert_eq!(desk.house.workspace.read("notes/new.md"), "first line");
    for result in &results[2..6] {
        assert!(result.contains("kept from"), "{result}");
    }
    assert_eq!(arrived(&listener), Vec::<String>::new(), "{results:#?}");
    every_way_is_open_outside(&desk, &listener);
    // The agent's command is of the same sandbox.
    assert!(!results[6].contains("obsidian"), "{}", results[6]);
    forbade(&desk, &outside, &results[7..], &[&key, &pat, own.trim()]);
    // The instructions are in what the model is told, and name no command.
    let told = model.requests()[0].to_string();
    assert!(told.contains("the tools of the MCP server `plexus`"));
    assert!(!told.contains(&codex_command(&desk)));
    codex_alone_reads(&desk, &key, &pat);
}

/// By commands, because the owner asked for that: every port of 127.0.0.1 is open then, and the owner is told so.
#[test]
fn codex_by_commands_reaches_what_its_owner_was_told() {
    let desk = Desk::open();
    let said = desk.connect(&["--type", "codex", "--commands", "--allow", READS]);
    assert_contains(&said, "reach any port of 127.0.0.1, not only Plexus's");
    let (key, pat) = (desk.house.gateway.key(), neighbour(&desk));
    let command = codex_command(&desk);
    let listener = Listener::start();
    let mut steps = story(&command, Step::exec);
    steps.truncate(steps.len() - 1);
    steps.extend(ways_to(listener.port()).iter().map(|line| Step::exec(line)));
    let (outside, more) = forbidden(&desk);
    steps.extend(more);
    let model = Model::start(steps);
    desk.writes(&model, || desk.codex(&model, &[]));
    let results = model.results();
    held(&results[..10]);
    assert_eq!(desk.house.workspace.read("notes/new.md"), "first line");
    assert_eq!(
        arrived(&listener),
        ["plain", "connect", "socks"],
        "{results:#?}"
    );
    forbade(&desk, &outside, &results[14..], &[&key, &pat]);
    // The instructions are in what the model is told.
    assert_contains(&model.requests()[0].to_string(), &format!("{command} list"));
    codex_alone_reads(&desk, &key, &pat);
}

/// A person who chose a sandbox keeps it: nothing is let out of it, or, by commands, the agent's command alone.
#[test]
fn codex_in_a_sandbox_that_its_person_chose() {
    let desk = Desk::open();
    let config = desk.house.gateway.home().join(".codex/config.toml");
    let chosen =
        "# mine\nsandbox_mode = \"workspace-write\" # and this\n\n[features]\nmemories = false\n";
    std::fs::create_dir_all(config.parent().expect("a folder")).expect("a folder");
    std::fs::write(&config, chosen).expect("a file");
    let connect = ["--type", "codex", "--allow", READS];
    let said = desk.connect(&connect);
    assert_contains(&said, "`sandbox_mode`");
    assert_contains(&said, "can be read in it");
    let servers = || {
        let text = std::fs::read_to_string(&config).expect("a file");
        let ours = text
            .strip_prefix(chosen)
            .expect("the person's, to the byte");
        ours.trim()
            .lines()
            .filter(|line| line.starts_with('['))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(servers(), "[mcp_servers.plexus]");
    let command = codex_command(&desk);
    let listener = Listener::start();
    let ways = || ways_to(listener.port()).map(|line| Step::exec(&line));
    let mut steps = vec![Step::mcp(
        "plexus",
        "obsidian_vault_read",
        json!({"path": "Projects/Plexus.md"}),
    )];
    steps.extend(ways());
    steps.extend([Step::exec(&format!("{command} list")), Step::say("done")]);
    let model = Model::start(steps);
    desk.codex(&model, &[]).expect_ok();
    model.finish();
    let results = model.results();
    assert!(results[0].contains("A gateway. See"), "{results:?}");
    assert!(!results[5].contains("obsidian"), "{results:?}");
    assert_eq!(arrived(&listener), Vec::<String>::new(), "{results:?}");

    let said = desk.connect(&[&connect[..], &["--commands"]].concat());
    assert_contains(&said, "only the command above runs outside of it");
    assert_eq!(servers(), "[mcp_servers.plexus]");
    let gate = Gate::closed();
    let mut steps = vec![
        Step::exec(&format!("{command} list")),
        Step::Wait(gate.clone()),
        Step::exec(&format!("{command} obsidian.vault.read {NOTE}")),
        Step::exec(&format!("{command} --url http://127.0.0.1:9/ list")),
        Step::exec("plexusctl status"),
    ];
    steps.extend(ways());
    steps.push(Step::say("done"));
    let model = Model::start(steps);
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| desk.codex(&model, &[]));
        until_true("the second request", || model.requests().len() > 1);
        gate.open();
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert!(results[0].contains("obsidian.vault.read"), "{results:?}");
    assert!(results[1].contains("A gateway. See"), "{results:?}");
    assert_contains(&results[2], "one agent to one gateway");
    assert!(results[3].contains("owner's command"), "{results:?}");
    assert_eq!(arrived(&listener), Vec::<String>::new(), "{results:?}");
    every_way_is_open_outside(&desk, &listener);
}
