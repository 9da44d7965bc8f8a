//! From `cargo xtask start` to an approved write whose change was seen, by reading only the screens of terminals.
//!
//! Three terminals with a shell in each: the gateway's, the owner's, the agent's. What is typed is what one of the
//! screens says, as it says it. The twin of the story with this name that has a browser.

use crate::watching::answer;
use plexus_tests::terminal::Shell;
use plexus_tests::{Folder, Terminal, binaries, golden, programs, vault, workspace};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the whole way may take a newcomer. The test is quicker; building the gateway comes before.
const THREE_MINUTES: Duration = Duration::from_secs(180);
fn start(vault: &Folder, workspace: &Folder, state: &Path) -> Command {
    let program = binaries::path("xtask");
    let mut start = programs::command(&program, state.parent().expect("a folder"));
    start
        .arg("start")
        // Built before, with everything that is tested: building is not what is timed.
        .arg("--binaries")
        .arg(program.parent().expect("a folder"))
        .args(["--port", "0", "--vault"])
        .arg(vault.path())
        .arg("--workspace")
        .arg(workspace.path())
        .arg("--home")
        .arg(state);
    start
}

#[test]
fn from_start_to_an_approved_write_in_terminals() {
    let (vault, workspace) = (vault(), workspace());
    let person = TempDir::with_prefix("plx").expect("a folder");
    let began = Instant::now();
    let start = start(&vault, &workspace, &person.path().join("state"));
    let mut gateway = Terminal::start(&start, 160, 60);
    // The last thing that it says leads to the screen of the owner.
    let said = gateway.until_shows("  plexusctl approvals watch");
    let line = |begin: &str| {
        let mut lines = said.lines().filter_map(|line| line.strip_prefix("  "));
        let found = lines.find(|line| line.starts_with(begin));
        found
            .unwrap_or_else(|| panic!("nothing says to type {begin}:\n{said}"))
            .trim_end()
            .to_owned()
    };

    let mut owner = Shell::open(person.path(), "newcomer$ ", 100, 30);
    let mut agent = Shell::open(person.path(), "newcomer$ ", 100, 50);
    for shell in [&mut owner, &mut agent] {
        shell.runs(&line("export PATH="));
        shell.runs(&line("export PLEXUS_HOME="));
    }
    owner.types(&line("plexusctl approvals watch"));
    owner.terminal.until_shows("nothing waits");

    // An agent is let in; what that prints is the agent's line.
    let connected = agent.runs(&line("plexusctl connect"));
    let enroll = connected
        .lines()
        .find_map(|line| line.find("plexus enroll plx_").map(|at| line[at..].trim()))
        .unwrap_or_else(|| panic!("no line for the agent:\n{connected}"));
    agent.runs(enroll);
    let listed = agent.runs(&line("plexus list"));
    assert!(listed.contains("workspace.write"), "{listed}");

    // It asks for a write, and waits for the owner, who sees all of it.
    agent.types(&line("plexus workspace.write"));
    let request = owner.terminal.until_shows("creates hello.md");
    for shown in [
        "agent: first-agent",
        "to see what you would see",
        "┃ +Hello",
    ] {
        assert!(request.contains(shown), "{shown}\n{request}");
    }
    assert_eq!(
        owner.terminal.colour_of(|row| row.contains("+Hello")),
        Some(vt100::Color::Idx(2)),
        "what is added is green"
    );
    assert!(!workspace.has("hello.md"));

    // By keyboard, and by what the screen says of its keys.
    assert!(request.contains("a approve"), "{request}");
    owner.terminal.keys("a");
    let panel = owner
        .terminal
        .until_shows("(•) once: this one call, exactly as shown");
    assert!(panel.contains("Enter approve"), "{panel}");
    answer(&mut owner.terminal, "\r", "approved pend_");
    agent.until_ready("the end of the call", |picture| {
        picture.contains("hello.md")
    });
    assert_eq!(workspace.read("hello.md"), "Hello");
    assert!(began.elapsed() < THREE_MINUTES, "{:?}", began.elapsed());

    golden::check_screen("newcomer-terminal", &without_clock(&request));
    owner.terminal.keys("q");
    owner.until_ready("the shell again", |_| true);
    gateway.keys("\x03");
    assert!(gateway.end().success(), "{}", gateway.picture());
    for mut shell in [owner, agent] {
        shell.types("exit");
        assert!(shell.terminal.end().success());
    }
}

/// The screen without what the moment makes of it: the request's name, and how long ago it was asked.
fn without_clock(picture: &str) -> String {
    let mut lines = Vec::new();
    for line in picture.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for at in 0..words.len() {
            if words[at].starts_with("pend_") {
                let comma = if words[at].ends_with(',') { "," } else { "" };
                words[at] = format!("pend_…{comma}");
            }
            let is_age = words.get(at + 1).is_some_and(|word| word == "s")
                && words
                    .get(at + 2)
                    .is_some_and(|word| word.starts_with("ago"));
            if is_age {
                words[at] = "1".to_owned();
            }
        }
        lines.push(words.join(" "));
    }
    lines.join("\n")
}
