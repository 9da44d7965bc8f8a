//! The program of a coding agent: found where it is installed, named on the card by path and content, not run once another
//! one lies in its place, and named with its version where its answer cannot be read.

use crate::agent_faults::{failed, set_program, speaking};
use crate::coding_agents::{CODEX, Desk};
use plexus_protocol::Digest;
use plexus_tests::texts::{assert_contains, assert_lacks};
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
        .must_grant("caller", "codex.changes.read", "1d");
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
    let text = text.trim_start_matches("#!/bin/bash\n");
    let new = agent.program("new", evil + &text.replace("Here.", "Evil."));
    std::fs::rename(&new, &path).expect("it is replaced");
    let refused = desk.agent.invoke("codex.run", input);
    assert_ne!(refused.at("/ok"), json!(true), "{refused}");
    assert!(!refused.text().contains("Evil."), "{refused}");
    assert_eq!(refused.at("/error/effect"), "none", "{refused}");
    let words = refused.text_at("/error/message");
    assert_contains(&words, "has changed since the owner looked");

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
    desk.gateway.must_cli(["approvals", "approve", id, "--yes"]);
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
        programs.program(name, script);
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

/// It is run once when it is added, and no run of an agent has to find that out.
#[test]
fn program_that_cannot_run_is_told_when_it_is_added() {
    let (gateway, secrets) = (Gateway::start(), Folder::empty());
    secrets.write("key", "sk-story\n");
    let secret = format!("key={}", secrets.path().join("key").display());
    let add = |kind: &str, id: &str, program: &Path| {
        let folder = Folder::empty();
        let path = folder.path().display().to_string();
        let (kind, binary) = (
            format!("{kind}-folder"),
            format!("binary={}", program.display()),
        );
        let line = ["sources", "add", &kind, &path, "--id", id];
        let line = [&line[..], &["--secret", &secret, "--set", &binary]].concat();
        let told = gateway.cli(line);
        // Of the ones that were not added there is nothing to remove.
        drop(gateway.cli(["sources", "remove", id, "--yes"]));
        told
    };
    // An ELF header of another processor (EM_S390), and nothing behind it.
    let mut foreign = [0_u8; 64];
    foreign[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    foreign[16..24].copy_from_slice(&[0, 2, 0, 22, 0, 0, 0, 1]);
    #[rustfmt::skip]
    let scripts: [(&[u8], u32, &str); 6] = [
        (b"#!/bin/bash\nexit 0\n", 0o644, "make it executable (chmod +x)"),
        (&foreign, 0o755, "it was made for another one"),
        (b"#!/nowhere/ruby\n", 0o755, "the interpreter that its first line names"),
        (b"#!/bin/bash\necho no config >&2\nexit 3\n", 0o755, "ended with status 3; it said last: no config"),
        (b"#!/bin/bash\nkill -SEGV $$\n", 0o755, "was ended by signal 11"),
        (b"#!/bin/bash\nsleep 60\n", 0o755, "it may only be slow"),
    ];
    let put = |content: &[u8], mode: u32| {
        let programs = Folder::empty();
        for name in ["agent", "agent-code-mode-host"] {
            programs.write(name, content);
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(programs.path().join(name), mode).expect("its mode");
        }
        programs
    };
    for kind in ["codex", "claudecode"] {
        for (content, mode, words) in scripts {
            let programs = put(content, mode);
            let told = add(kind, "agent", &programs.path().join("agent"));
            assert_contains(told.expect_ok(), "agent serves in part: ");
            assert_lacks(told.expect_ok(), "agent serves: ");
            assert_contains(&told.all(), words);
            assert_contains(&told.all(), "plexusctl sources test");
        }
        let told = add(kind, "agent", Path::new("/nowhere/agent"));
        assert_ne!(told.status, 0, "{told}");
        assert_contains(&told.all(), "/nowhere/agent");
        // The control.
        let programs = put(b"#!/bin/bash\necho 1.0\n", 0o755);
        let told = add(kind, "agent", &programs.path().join("agent"));
        assert_lacks(told.expect_ok(), "in part");
    }
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
    assert_contains(&shown, &found);
    assert_contains(&shown, "codex-cli 0.");
    terminal.keys("\r");
    terminal.until_shows("codex serves");
    let sources = gateway.owner().get("/admin/api/sources").expect_ok();
    assert!(sources.to_string().contains(&found), "{sources}");
}
