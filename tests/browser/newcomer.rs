//! From `cargo xtask start` to an approved write whose change was seen, by reading only the screen.
//!
//! The test types what is printed, as it is printed, in terminals of its own, and has a browser where the desktop would
//! have one: `xdg-open` is a script that keeps the address it is given.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_tests::binaries;
use plexus_tests::browser::Browser;
use plexus_tests::waiting::until;
use plexus_tests::{Folder, vault, workspace};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the whole way may take a newcomer. The test is quicker; building the gateway comes before.
const THREE_MINUTES: Duration = Duration::from_secs(180);

/// The terminal in which the gateway runs, and what it shows.
struct Start {
    daemon: Child,
    screen: Arc<Mutex<String>>,
}

impl Start {
    fn run(vault: &Folder, workspace: &Folder, state: &Path) -> Self {
        let program = binaries::path("xtask");
        let mut daemon = Command::new(&program)
            .arg("start")
            // Built before, with everything that is tested: building is not what is timed.
            .arg("--binaries")
            .arg(program.parent().expect("a folder"))
            .args(["--port", "0", "--vault"])
            .arg(vault.path())
            .arg("--workspace")
            .arg(workspace.path())
            .arg("--home")
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let screen = Arc::new(Mutex::new(String::new()));
        let (pipe, shown) = (daemon.stdout.take().expect("a pipe"), screen.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shown
                    .lock()
                    .expect("nobody panics with it")
                    .push_str(&(line + "\n"));
            }
        });
        Self { daemon, screen }
    }
    /// The lines that it says to type, in their order.
    fn says_to_type(&self) -> Vec<String> {
        let began = Instant::now();
        loop {
            let screen = self.screen.lock().expect("nobody panics with it").clone();
            if screen.contains("plexusctl approvals watch") {
                let lines = screen.lines().filter_map(|line| line.strip_prefix("  "));
                return lines.map(str::to_owned).collect();
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it did not start:\n{screen}"
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        // `xtask` has become the daemon: this one's child.
        if let Ok(pid) = i32::try_from(self.daemon.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.daemon.wait();
    }
}

/// A terminal in which the newcomer types.
struct Terminal {
    desktop: TempDir,
    exports: Vec<String>,
}

impl Terminal {
    fn open() -> Self {
        let desktop = TempDir::with_prefix("plxd").expect("a folder");
        let opener = desktop.path().join("xdg-open");
        let kept = desktop.path().join("opened");
        std::fs::write(
            &opener,
            format!("#!/bin/sh\nprintf %s \"$1\" > '{}'\n", kept.display()),
        )
        .expect("a file");
        std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        Self {
            desktop,
            exports: Vec::new(),
        }
    }
    fn opened(&self) -> PathBuf {
        self.desktop.path().join("opened")
    }
    fn command(&self, line: &str) -> Command {
        let whole = format!("{}\n{line}", self.exports.join("\n"));
        let mut command = Command::new("script");
        command
            .args(["-qefc", &whole, "/dev/null"])
            .env_clear()
            .env("HOME", self.desktop.path())
            .env("TERM", "dumb")
            .env("SHELL", "/bin/sh")
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.desktop.path().display()),
            )
            .stdin(Stdio::null());
        command
    }
    /// Types a line and reads what comes.
    #[track_caller]
    fn types(&self, line: &str) -> String {
        let ended = self.command(line).output().expect("a terminal");
        let text = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success(), "{line}\n{text}");
        text
    }
}

#[test]
fn from_start_to_an_approved_write_by_reading_the_screen() {
    let (vault, workspace) = (vault(), workspace());
    let state = TempDir::with_prefix("plx").expect("a folder");
    let start = Start::run(&vault, &workspace, &state.path().join("state"));
    let lines = start.says_to_type();
    let began = Instant::now();
    let line = |begin: &str| {
        let found = lines.iter().find(|line| line.starts_with(begin));
        found
            .unwrap_or_else(|| panic!("nothing says to type {begin}: {lines:#?}"))
            .clone()
    };
    let mut terminal = Terminal::open();
    terminal.exports = lines
        .iter()
        .filter(|line| line.starts_with("export "))
        .cloned()
        .collect();
    assert_eq!(terminal.exports.len(), 2, "{lines:#?}");

    // The browser opens by itself, signed in.
    terminal.types(&line("plexusctl console"));
    let link = std::fs::read_to_string(terminal.opened()).expect("the browser was opened");
    let browser = Browser::start();
    browser.go(&link);
    browser.reads("#quiet", "All quiet");
    picture(&browser, "newcomer-1-signed-in");

    // An agent is let in; what that prints is the agent's line.
    let said = terminal.types(&line("plexusctl connect"));
    let enroll = said
        .lines()
        .find(|line| line.contains("plexus enroll "))
        .expect("the agent's line");
    terminal.types(enroll.trim());
    assert!(
        terminal
            .types(&line("plexus list"))
            .contains("workspace.write")
    );

    // It asks for a write, and waits for the owner.
    let asking = terminal
        .command(&line("plexus workspace.write"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("a terminal");
    browser.reads("#card .who", "first-agent");
    browser.reads(".words", "to see what you would see");
    browser.reads(".headline", "creates hello.md, +1 −0");
    browser.reads(".diff .add", "Hello");
    picture(&browser, "newcomer-2-the-request");
    assert!(!workspace.has("hello.md"));
    browser.see("form:not([data-fresh]) [value=once]").click();
    browser.reads("#notes", "Approved once");
    let ended = asking.wait_with_output().expect("it ends");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stdout)
    );
    until("the file", || workspace.has("hello.md").then_some(()));
    assert_eq!(workspace.read("hello.md"), "Hello");
    picture(&browser, "newcomer-3-approved");
    assert!(began.elapsed() < THREE_MINUTES, "{:?}", began.elapsed());
}

fn picture(browser: &Browser, name: &str) {
    if let Some(folder) = std::env::var_os("PLEXUS_PICTURES") {
        let path = Path::new(&folder).join(format!("{name}.png"));
        std::fs::write(path, browser.picture()).expect("the folder is there");
    }
}
