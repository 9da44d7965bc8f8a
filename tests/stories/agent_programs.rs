//! The program of a coding agent: found where it is installed, named on the card by path and content, not run once another
//! one lies in its place, and named with its version where its answer cannot be read.

use crate::agent_faults::{failed, set_program, speaking};
use crate::coding_agents::{CODEX, Desk};
use plexus_protocol::Digest;
use plexus_tests::texts::assert_contains;
use plexus_tests::{Folder, Gateway, Step, Terminal, coding_agents as programs, waiting::until};
use serde_json::json;
use std::{os::unix::fs::PermissionsExt as _, path::Path};

/// What a card says of a program: its path and the beginning of its digest.
fn named(path: &Path) -> String {
    let digest = Digest::of(&std::fs::read(path).expect("a program")).to_string();
    format!("{} (SHA-256 {}…)", path.display(), &digest[..12])
}

#[test]
fn card_of_a_run_names_its_program_and_its_content() {
    let desk = Desk::open(CODEX, [Step::say("Hello.")]);
    let item = desk.asked("run", &json!({"prompt": "Hello."}));
    let plan = desk.owner().plan(&item);
    let facts = plan["preview"]["facts"].as_array().expect("facts").iter();
    let told: Vec<_> = facts.filter(|fact| fact["name"] == "program").collect();
    assert_eq!(told.len(), 1, "{plan}");
    assert_eq!(told[0]["value"], named(&programs::codex()), "{plan}");
    // Applying runs no program.
    let shown = desk.gateway.cli(["approvals", "show"]);
    assert!(shown.expect_ok().contains("SHA-256"), "{shown:?}");
}

#[test]
fn program_replaced_after_the_approval_is_not_run() {
    let desk = Desk::open(CODEX, []);
    let agent = speaking("", "");
    set_program(&desk, &agent);
    desk.owner()
        .grant("caller", "codex.changes.read", "1d")
        .expect_ok();
    let run = || desk.run(&json!({"prompt": "Speak."}));
    assert_eq!(run()["text"], "Here.", "the control: its worker is up");
    let input = json!({"prompt": "Speak once more."});
    let item = desk.asked("run", &input);
    let path = agent
        .path()
        .canonicalize()
        .expect("it is there")
        .join("agent");
    let before = named(&path);
    assert!(desk.owner().plan(&item).to_string().contains(&before));
    desk.owner().approve(&item, "once");

    let marker = desk.gateway.home().join("ran");
    let evil = format!("#!/bin/bash\ntouch {}\n", marker.display());
    let text = std::fs::read_to_string(&path).expect("a script");
    agent.write(
        "new",
        evil + text
            .trim_start_matches("#!/bin/bash\n")
            .replace("Here.", "Evil.")
            .as_str(),
    );
    let new = agent.path().join("new");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    std::fs::rename(&new, &path).expect("it is replaced");
    let refused = desk.agent.invoke("codex.run", input);
    assert_ne!(refused.at("/ok"), json!(true), "{refused}");
    assert!(!refused.text().contains("Evil."), "{refused}");
    assert_eq!(refused.at("/error/effect"), "none", "{refused}");
    let words = refused.text_at("/error/message");
    assert!(
        words.contains("has changed since the owner looked"),
        "{refused}"
    );

    // The owner has a card that names both, and what was granted waits for it.
    let changes = desk.gateway.cli(["--json", "sources", "changes", "codex"]);
    let pending = desk.owner().get("/admin/api/pending").expect_ok();
    let shown = changes.stdout + &pending.to_string();
    assert_contains(
        &shown,
        &format!("run the program {} with SHA-256", path.display()),
    );
    let after = named(&path);
    assert_ne!(before, after);
    let card = crate::mcp_changes::card(&desk.gateway);
    let id = card["pendingId"].as_str().expect("an id");
    desk.gateway
        .cli(["approvals", "approve", id, "--yes"])
        .expect_ok();
    let answered = until("a run of the other program", || {
        let item = desk.asked("run", &json!({"prompt": "Speak anew."}));
        let plan = desk.owner().plan(&item).to_string();
        plan.contains(&after).then(|| {
            desk.owner().approve(&item, "once");
            desk.agent
                .must("codex.run", json!({"prompt": "Speak anew."}))
        })
    });
    assert_eq!(answered["output"]["text"], "Evil.", "{answered}");
}

#[test]
fn program_of_another_version_is_named_with_it() {
    let desk = Desk::open(CODEX, []);
    let programs = Folder::empty();
    let script = "#!/bin/bash\n[ \"$1\" = --version ] && echo codex-cli 0.42.0 && exit\necho a line of another time\n";
    for name in ["agent", "agent-code-mode-host"] {
        programs.write(name, script);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(programs.path().join(name), mode).expect("its mode");
    }
    set_program(&desk, &programs);
    let error = failed(&desk, &json!({"prompt": "Hello."}));
    assert_eq!(error["detail"]["reason"], "agent_failed", "{error}");
    let said = error["message"].to_string();
    assert!(said.contains("codex-cli 0.42.0"), "{error}");
    // The version that it is held against is that of the real one.
    let real = std::process::Command::new(programs::codex())
        .arg("--version")
        .output()
        .expect("codex");
    let real = String::from_utf8(real.stdout).expect("text");
    let number = real.split_whitespace().last().expect("a number");
    assert!(
        said.contains(&format!("Codex {number}")),
        "{number}: {error}"
    );
}

#[test]
fn program_that_is_not_named_is_offered() {
    let gateway = Gateway::start();
    let (folder, secrets) = (Folder::empty(), Folder::empty());
    secrets.write("key", "sk-story\n");
    let path = folder.path().display().to_string();
    let secret = format!("key={}", secrets.path().join("key").display());
    let add = [
        "sources",
        "add",
        "codex-folder",
        &path,
        "--id",
        "codex",
        "--secret",
        &secret,
    ];
    // Nobody can be asked, and nothing is there: it says where it looked.
    let refused = format!("{:?}", gateway.cli(add));
    for words in ["nothing was found", "codex in PATH", "--set binary="] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let codex = programs::codex();
    let modules = codex
        .ancestors()
        .find(|folder| folder.ends_with("node_modules"));
    let bin = modules.expect("its packages").join(".bin");
    let mut command = gateway.on_terminal(add);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let mut terminal = Terminal::start(&command, 300, 30);
    let shown = terminal.until_shows("Codex program [");
    let found = codex
        .canonicalize()
        .expect("it is there")
        .display()
        .to_string();
    assert!(
        shown.contains(&found) && shown.contains("codex-cli 0."),
        "{shown}"
    );
    terminal.keys("\r");
    terminal.until_shows("codex serves");
    let sources = gateway.owner().get("/admin/api/sources").expect_ok();
    assert!(sources.to_string().contains(&found), "{sources}");
}
