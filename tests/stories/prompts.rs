//! A person who takes their time: every prompt of both commands answered after longer than the gateway keeps an idle
//! connection.

use crate::channels::World;
use crate::chatting;
use crate::coding_agents::{CODEX, Desk};
use crate::house::{House, WRITE, note};
use crate::mcp_questions::{form, meanwhile, told};
use crate::watching::{self, QUESTION};
use plexus_tests::mcp_web::{Era, McpWeb, TOKEN};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::until_true;
use plexus_tests::{Folder, Gateway, Step, Terminal};
use serde_json::json;
use std::process::Command;
use std::thread::{scope, sleep};
use std::time::Duration;

/// How long the person thinks: half as long again as the gateway keeps an idle connection.
const THOUGHT: Duration = Duration::from_secs(15);

/// Runs a command on a terminal and answers each of its questions slowly; gives the last picture.
#[track_caller]
pub(crate) fn slowly(command: Command, answers: &[(&str, &str)]) -> String {
    let mut terminal = Terminal::start(&command, 120, 80);
    for (question, keys) in answers {
        terminal.until_shows(question);
        sleep(THOUGHT);
        terminal.keys(&format!("{keys}\r"));
    }
    let status = terminal.end();
    let picture = terminal.picture();
    assert!(status.success(), "{command:?}\n{picture}");
    picture
}

/// All at once, because a wait of one is no wait of another.
#[test]
fn answers_after_fifteen_seconds_are_carried_out() {
    scope(|all| {
        for case in [
            commands_at_one_gateway,
            channels,
            question_of_a_server,
            watch,
            uninstall,
        ] {
            all.spawn(case);
        }
    });
}

fn commands_at_one_gateway() {
    let folder = Folder::empty();
    for name in ["library", "out"] {
        folder.write(&format!("{name}/note.txt"), name);
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    let builder = Gateway::builder()
        .fixture()
        .env("PLEXUS_FAKE_APPLE", "offered");
    let edits = (CODEX.exec)("echo more >> a.txt; echo more >> docs/b.txt");
    let steps = [edits, Step::say("Edited two files.")];
    let desk = Desk::at(builder.start(), CODEX, steps, &[]);
    let (gateway, owner) = (&desk.gateway, desk.owner());
    let yes: &[(&str, &str)] = &[("[y/N]", "y")];
    let slow = |line: &[&str], answers: &[(&str, &str)]| {
        slowly(gateway.on_terminal(line.iter().copied()), answers)
    };

    let done = desk.run(&json!({"prompt": "Edit."}));
    let set = done["changes"]["id"].as_str().expect("a change set");
    let applied = gateway.cli(["changes", "apply", set, "--path", "docs/b.txt", "--yes"]);
    let audit = applied.expect_ok().rsplit("plexusctl undo ").next();
    let audit = audit.expect("the way back").trim();
    let item = desk.asked("run", &json!({"prompt": "Again."}));
    folder.write("token", "first");
    let library = format!("library={}", at("library"));
    let out = format!("outTray={}", at("out"));
    let token = format!("token={}", at("token"));
    for id in ["asked", "keyed", "gone"] {
        let add = ["sources", "add", "cabinet-app", "--id", id];
        let fields = ["--set", &library, "--set", &out, "--secret", &token];
        gateway.cli(add.into_iter().chain(fields)).expect_ok();
    }
    let _ = gateway.agent_with("reader", &["asked.about"]);
    let connect = ["connect", "--type", "codex", "--here", "--yes"];
    gateway.cli(connect).expect_ok();
    let webs = [(); 2].map(|()| McpWeb::start(Era::Stateless));
    let manifest = json!({
        "manifest": "plexus-extension/0.1", "source": "web", "label": "Web", "transport": "mcp",
        "mcp": {"url": webs[0].url(), "secrets": ["authorization"]},
    });
    folder.write("web.json", manifest.to_string());
    folder.write("token", TOKEN);
    let (manifest, authorization) = (at("web.json"), format!("authorization={}", at("token")));
    let url = webs[1].url();
    let connected = owner.connect("person", &["codex.changes.read"]);
    let code = connected["code"].as_str().expect("a code");
    gateway.plexus("person", ["enroll", code]).expect_ok();

    scope(|all| {
        all.spawn(|| {
            slow(&["approvals", "approve", &item], yes);
            assert_eq!(desk.agent.status(&item).json()["state"], "approved");
        });
        all.spawn(|| {
            let picture = slow(&["changes", "apply", set, "--path", "a.txt"], yes);
            let headlines = picture.matches("applies a change set").count();
            assert_eq!(headlines, 1, "{picture}");
            assert_eq!(desk.folder.read("a.txt"), "one\nmore\n");
        });
        all.spawn(|| {
            slow(&["undo", audit], yes);
            assert_eq!(desk.folder.read("docs/b.txt"), "two\n");
        });
        all.spawn(|| {
            slow(&["connect", "--type", "claude-code", "--here"], yes);
            assert!(gateway.home().join(".claude/skills").exists());
        });
        all.spawn(|| {
            slow(&["disconnect", "codex"], yes);
            assert!(!gateway.state().join("agents/codex.pat").exists());
        });
        all.spawn(|| {
            let add = ["sources", "add", "cabinet-app", "--set", &library];
            let picture = slow(&add, &[("Out tray", &at("out")), ("Token", "second")]);
            assert!(picture.contains("cabinet serves"), "{picture}");
        });
        all.spawn(|| {
            let path = desk.folder.path().display().to_string();
            let add = ["sources", "add", "codex-folder", &path, "--id", "other"];
            // The path of the program is offered where one is installed.
            let program = plexus_tests::coding_agents::codex().display().to_string();
            let picture = slow(&add, &[("Codex program", &program), ("API key", "sk-1")]);
            assert!(picture.contains("other serves"), "{picture}");
        });
        all.spawn(|| {
            let picture = slow(&["sources", "secret", "keyed", "token"], &[("token", "t")]);
            assert!(picture.contains("keyed.token is set"), "{picture}");
        });
        all.spawn(|| {
            let question = "remove gone with its secrets? [y/N]";
            let picture = slow(&["sources", "remove", "gone"], &[(question, "y")]);
            assert!(picture.contains("gone is removed"), "{picture}");
        });
        all.spawn(|| {
            slow(&["sources", "set", "asked", "--ask"], yes);
            let sources = owner.get("/admin/api/sources").expect_ok();
            let mut sources = sources["sources"].as_array().expect("sources").iter();
            let set = sources.find(|source| source["id"] == "asked");
            assert_eq!(set.expect("the source")["approval"], "ask");
        });
        all.spawn(|| {
            let add = ["extension", "add", &manifest, "--secret", &authorization];
            let start = "with its secret authorization? [y/N]";
            slow(&add, &[(start, "y"), ("add web as shown? [y/N]", "y")]);
        });
        all.spawn(|| {
            let add = [
                "mcp",
                "add",
                "lent",
                "--url",
                &url,
                "--secret",
                "authorization",
            ];
            let agree = "add lent as shown? [y/N]";
            let picture = slow(&add, &[("authorization", TOKEN), (agree, "y")]);
            assert!(picture.contains("lent serves"), "{picture}");
        });
        all.spawn(|| {
            slow(&["service", "install", "--write-only"], yes);
            let units = gateway.home().join(".config/systemd/user");
            assert!(units.join("plexusd.service").exists());
        });
        // The agent's command has two: the first message, and each further one.
        all.spawn(|| {
            desk.model.then([Step::say("Which file?")]);
            let command = gateway.plexus_command("person", ["codex.chat"]);
            let mut terminal = Terminal::start(&command, 100, 40);
            terminal.until_shows("what is it about?");
            sleep(THOUGHT);
            terminal.keys("Add a line\r");
            terminal.until_shows("waiting for the owner");
            let mut pending = owner.pending().into_iter();
            let item = pending.find(|item| item["agentId"] == "person");
            let item = item.expect("the request");
            owner.approve(item["pendingId"].as_str().expect("an id"), "once");
            terminal.until_shows("(19 turns left");
            sleep(THOUGHT);
            desk.model.then([Step::say("Added it.")]);
            terminal.keys("a.txt\r");
            // Leaving is heard during the turn, too.
            until_true("the turn", || terminal.is_cooked());
            terminal.keys("\u{4}");
            terminal.until_shows("Added it.");
            assert!(terminal.end().success(), "{}", terminal.picture());
        });
    });
}

fn channels() {
    let world = World::joined();
    let [_, talk] = ["sums", "talk"].map(|name| world.channel(name));
    world
        .channels(["create", "plans", "--with", "Pat"])
        .expect_ok();
    let slow = |line: &[&str], answers: &[(&str, &str)]| {
        let line = ["channels"].into_iter().chain(line.iter().copied());
        slowly(world.gateway.on_terminal(line), answers)
    };
    let invitation = world.invitation();
    scope(|all| {
        all.spawn(|| {
            let picture = slow(&["remove", "plans", "Pat"], &[("[y/N]", "y")]);
            assert_contains(&picture, "\"Pat\" is no longer in \"plans\"");
        });
        all.spawn(|| {
            let picture = slow(&["leave", "sums"], &[("[y/N]", "y")]);
            assert!(picture.contains("left \"sums\""), "{picture}");
        });
        all.spawn(|| {
            let join = ["--source", "second", "join"];
            let join = [&join[..], &[&*world.office.address, "--name", "Bo"]].concat();
            let picture = slow(&join, &[("Invitation", &invitation)]);
            assert!(picture.contains("you are Bo"), "{picture}");
        });
        all.spawn(|| {
            let mut terminal = chatting::chat(&world, "talk", 100, 24);
            sleep(THOUGHT);
            terminal.keys(&format!("It is 4.{}", chatting::ENTER));
            terminal.until_shows("sent  you");
            chatting::ends_well(terminal);
        });
    });
    assert_eq!(world.heard(talk), ["It is 4."]);
}

fn question_of_a_server() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let (agent, asked) = (gateway.lend_rude(&folder), form("Tell me", "city"));
    let over = meanwhile(&gateway, &agent, "rude.ask", &asked, |card| {
        let id = card["pendingId"].as_str().expect("an id");
        let answers = [("city: ", "Bern"), ("send this answer to rude? [y/N]", "y")];
        slowly(gateway.on_terminal(["approvals", "approve", id]), &answers);
    });
    assert_eq!(told(&over)["content"]["city"], "Bern");
}

/// By keys: line by line, and on the whole screen.
fn watch() {
    let (house, agent) = House::with_agent("one");
    let item = agent.must_ask(WRITE, note("a.txt", "x"));
    let line = ["approvals", "watch", "--lines"];
    let mut terminal = Terminal::start(&house.gateway.on_terminal(line), 120, 60);
    terminal.until_shows(QUESTION);
    sleep(THOUGHT);
    terminal.keys("y\n");
    terminal.until_shows("approved pend_");
    terminal.keys("q\n");
    assert!(terminal.end().success());
    assert_eq!(agent.status(&item).json()["state"], "approved");

    let item = agent.must_ask(WRITE, note("b.txt", "x"));
    let mut terminal = watching::watch(&house, 120, 40);
    terminal.until_shows("creates b.txt");
    sleep(THOUGHT);
    terminal.keys("a");
    terminal.until_shows("(•) once");
    watching::answer(&mut terminal, chatting::ENTER, "approved pend_");
    assert_eq!(agent.status(&item).json()["state"], "approved");
    terminal.keys("q");
    watching::ends_well(terminal);
}

fn uninstall() {
    let folder = Folder::empty();
    folder.write("state/connection-key", "kept");
    let [home, state, prefix] = ["home", "state", "local"].map(|name| folder.path().join(name));
    std::fs::create_dir(&home).expect("a folder");
    let program = plexus_tests::binaries::path("plexusctl");
    let mut command = plexus_tests::programs::command(&program, &home);
    command.env("PLEXUS_HOME", &state).arg("uninstall");
    command.arg("--prefix").arg(&prefix);
    let state_too = "remove the state as well";
    let mut left = Terminal::start(&command, 120, 80);
    left.until_shows("go ahead? [y/N]");
    left.keys("y\r");
    left.until_shows(state_too);
    left.keys("\u{3}");
    assert!(!left.end().success(), "{}", left.picture());
    assert_contains(&left.picture(), "nothing was removed");
    assert!(state.exists() && left.is_cooked());
    slowly(command, &[("go ahead? [y/N]", "y"), (state_too, "y")]);
    assert!(!state.exists());
}
