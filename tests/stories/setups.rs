//! Setting a coding agent up and taking that back: what is shown, what is written, what stays the person's.

use crate::house::House;
use plexus_tests::Terminal;
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::waiting::{PATIENCE, ended, within};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A person with a home folder and files of their own in it.
struct Person {
    house: House,
}

impl Person {
    fn new() -> Self {
        Self {
            house: House::open(),
        }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.house.gateway.home().join(name)
    }
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    #[track_caller]
    fn read(&self, name: &str) -> String {
        match std::fs::read_to_string(self.path(name)) {
            Ok(text) => text,
            Err(error) => panic!("{name}: {error}"),
        }
    }
    fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }
    /// Types an owner's command; gives its answer.
    #[track_caller]
    fn answer(&self, line: &[&str]) -> Value {
        let said = self
            .house
            .gateway
            .cli(line.iter().copied().chain(["--json"]));
        said.expect_status(0);
        said.json()
    }
    #[track_caller]
    fn set_up(&self, kind: &str) -> Value {
        self.answer(&["connect", "--type", kind, "--here", "--yes"])
    }
}

const SETTINGS: &str = ".claude/settings.json";
const MINE: &str = "{\n    \"model\": \"opus\",\n    \"permissions\": {\n        \"deny\": [\"WebFetch\"],\n        \"allow\": [\n            \"Bash(ls:*)\"\n        ]\n    },\n    \"env\": { \"A\": \"1\" }\n}\n";

const BY_COMMANDS: [&str; 6] = [
    "connect",
    "--type",
    "codex",
    "--here",
    "--commands",
    "--yes",
];

/// Another user who can write in a folder of programs replaces them.
#[test]
fn folders_are_closed_to_others_under_an_open_mask() {
    let person = Person::new();
    let gateway = &person.house.gateway;
    let mut open = plexus_tests::programs::command(Path::new("/bin/sh"), gateway.home());
    open.env("PLEXUS_HOME", gateway.state())
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(plexus_tests::binaries::path("plexusctl"))
        .args(["--i-am-the-owner", "connect", "--type", "claude-code"])
        .args(["--here", "--yes"]);
    plexus_tests::programs::run(open).expect_status(0);
    for folder in [".claude", ".claude/skills/plexus-claude-code/bin"] {
        let about = std::fs::metadata(person.path(folder)).expect(folder);
        let mode = about.permissions().mode();
        assert_eq!(mode & 0o022, 0, "{folder}: {mode:o}");
    }
}

#[test]
fn everything_is_shown_and_nothing_is_written_without_a_yes() {
    let person = Person::new();
    person.write(SETTINGS, MINE);
    let line = ["connect", "--type", "claude-code", "--here"];
    let shown = person.answer(&[&line[..], &["--dry-run"]].concat());
    assert_eq!(shown["written"], false);
    let diffs = shown["files"].to_string();
    for part in [
        "+            \\\"Bash(plexus-claude-code:*)\\\"",
        "Bash(plexusctl:*)",
        "SKILL.md",
    ] {
        assert!(diffs.contains(part), "{part} is not in {diffs}");
    }
    // Nobody is at a terminal to say yes.
    let asked = person.house.gateway.cli(line);
    asked.expect_status(64);
    assert!(asked.stderr.contains("--yes"), "{asked}");
    assert_contains(&asked.stdout, "Bash(plexus-claude-code:*)");
    assert_eq!(person.read(SETTINGS), MINE);
    assert!(!person.has(".claude/skills"));
    let known = person.house.owner().get("/admin/api/agents/enrollments");
    assert_eq!(known.expect_ok()["agents"], json!([]));
    // An id that is none is refused before a file is shown.
    let mistyped = ["--allow", "workspace.lst"];
    let mistyped = person
        .house
        .gateway
        .cli(line.iter().chain(&mistyped).copied());
    mistyped.expect_status(1);
    assert_contains(
        &mistyped.stderr,
        "unknown capability id(s): workspace.lst; did you mean workspace.list?",
    );
    assert!(mistyped.stdout.is_empty(), "{mistyped}");
    // And an agent cannot do it for itself.
    let mut eager = plexus_tests::programs::command(
        &plexus_tests::binaries::path("plexusctl"),
        person.house.gateway.home(),
    );
    eager.env("PLEXUS_HOME", person.house.gateway.state());
    eager.env("CLAUDECODE", "1").args(line).arg("--yes");
    plexus_tests::programs::run(eager).expect_status(77);
}

/// A person, or the agent itself, who writes into a file between the look and the yes loses nothing.
#[test]
fn what_changed_between_the_look_and_the_yes_is_not_written_over() {
    let person = Person::new();
    person.write(SETTINGS, MINE);
    let other = MINE.replace("opus", "sonnet");
    let yes_to = |line: &[&str]| {
        let command = person.house.gateway.on_terminal(line.iter().copied());
        let mut terminal = Terminal::start(&command, 120, 60);
        terminal.until_shows("[y/N]");
        person.write(SETTINGS, &other);
        terminal.keys("y\n");
        let status = terminal.end();
        let picture = terminal.picture();
        assert_eq!(status.code(), Some(1), "{picture}");
        assert_contains(&picture, "changed_meanwhile");
        assert_contains(&picture, "nothing was done");
        assert_eq!(person.read(SETTINGS), other);
    };
    let agents = || {
        let reply = person.house.owner().get("/admin/api/agents/enrollments");
        reply.expect_ok()["agents"].clone()
    };
    yes_to(&["connect", "--type", "claude-code", "--here"]);
    assert!(!person.has(".claude/skills"));
    assert_eq!(agents(), json!([]), "and nobody was let in");

    person.write(SETTINGS, MINE);
    person.set_up("claude-code");
    yes_to(&["disconnect", "claude-code"]);
    assert!(person.has(".claude/skills"));
    assert_eq!(agents()[0]["status"], "active");
    // A revoked agent's setup is there still, and its owner hears how it is removed.
    let revoked = person
        .house
        .gateway
        .cli(["agents", "revoke", "claude-code"]);
    assert_contains(revoked.expect_ok(), "plexusctl disconnect claude-code");
    let again = person.answer(&["disconnect", "claude-code", "--yes"]);
    assert_eq!(again["written"], true);
    assert_eq!(person.read(SETTINGS), other);
}

#[test]
fn what_is_taken_back_is_what_was_written_to_the_byte() {
    let person = Person::new();
    let config = "# mine\nmodel = \"gpt-5.5\" # and this\n\n[tui]\nnotifications = true\n";
    let agents = "# How I work\n\nNo trailing line break";
    person.write(SETTINGS, MINE);
    person.write(".codex/config.toml", config);
    person.write(".codex/AGENTS.md", agents);
    let before = [SETTINGS, ".codex/config.toml", ".codex/AGENTS.md"].map(|name| person.read(name));

    let written = person.set_up("claude-code");
    assert_eq!(written["written"], true);
    person.set_up("codex");
    let settings: Value = serde_json::from_str(&person.read(SETTINGS)).expect("JSON");
    assert_eq!(settings["permissions"]["allow"][0], "Bash(ls:*)");
    assert_eq!(settings["permissions"]["deny"][0], "WebFetch");
    assert_eq!(settings["env"], json!({"A": "1"}));
    let order: Vec<&String> = settings.as_object().expect("an object").keys().collect();
    assert_eq!(order, ["model", "permissions", "env"]);
    assert!(person.read(".codex/config.toml").contains("# and this"));
    assert!(person.read(".codex/AGENTS.md").starts_with(agents));
    let record: Value = serde_json::from_str(
        &person
            .house
            .gateway
            .state_file("agents/claude-code.installed.json"),
    )
    .expect("JSON");
    assert_eq!(record["agent"], "claude-code");
    assert_eq!(record["type"], "claude-code");
    let kinds: Vec<&str> = list_of(&record["changes"])
        .iter()
        .map(|change| change["kind"].as_str().expect("a kind"))
        .collect();
    assert!(
        kinds.contains(&"file") && kinds.contains(&"json-rule"),
        "{kinds:?}"
    );
    // The skill is what `plexus skill` prints to that agent.
    let mut skill = plexus_tests::programs::command(
        &person.path("state/agents/claude-code/bin/plexus-claude-code"),
        person.house.gateway.home(),
    );
    // It has the plugin's programs on its PATH.
    skill.env("PATH", person.path(".claude/skills/plexus-claude-code/bin"));
    skill.arg("skill");
    let skill = plexus_tests::programs::run(skill);
    assert!(
        person
            .read(".claude/skills/plexus-claude-code/SKILL.md")
            .ends_with(skill.expect_ok())
    );

    for agent in ["claude-code", "codex"] {
        let undone = person.answer(&["disconnect", agent, "--yes"]);
        assert_eq!(undone["left"], json!([]), "{undone}");
        assert_eq!(undone["revoked"], true);
        assert!(!person.has(&format!("state/agents/{agent}.pat")));
        assert!(!person.has(&format!("state/agents/{agent}")));
        assert!(!person.has(&format!("state/agents/{agent}.installed.json")));
    }
    let after = [SETTINGS, ".codex/config.toml", ".codex/AGENTS.md"].map(|name| person.read(name));
    assert_eq!(after, before);
    assert!(!person.has(".claude/skills") && !person.has(".codex/rules"));
    person
        .house
        .gateway
        .cli(["disconnect", "codex", "--yes"])
        .expect_status(1);
}

#[test]
fn a_second_time_says_what_is_there_and_mends_it() {
    let person = Person::new();
    person.set_up("codex");
    let (block, config) = (
        person.read(".codex/AGENTS.md"),
        person.read(".codex/config.toml"),
    );
    let pat = person.read("state/agents/codex.pat");
    let again = person.set_up("codex");
    assert_eq!(again["files"], json!([]), "{again:#}");
    let notes = again["notes"].to_string();
    assert!(notes.contains("its credential and grants stay"), "{notes}");
    assert_eq!(person.read("state/agents/codex.pat"), pat);

    // Something went missing, and something of the person's came around it.
    person.write(
        ".codex/AGENTS.md",
        &format!("mine, above\n\n{block}\nmine, below\n"),
    );
    std::fs::remove_file(person.path(".codex/rules/plexus-codex.rules")).expect("a file");
    let mended = person.set_up("codex");
    let notes = mended["notes"].to_string();
    assert!(notes.contains("plexus-codex.rules: it is gone"), "{notes}");
    assert!(person.has(".codex/rules/plexus-codex.rules"));
    let text = person.read(".codex/AGENTS.md");
    assert_eq!(text.matches("<!-- BEGIN PLEXUS -->").count(), 1, "{text}");
    assert!(text.contains("mine, above") && text.contains("mine, below"));
    assert_eq!(person.read(".codex/config.toml"), config);

    // What the person changed inside of it is the person's, and is named.
    person.write(".codex/AGENTS.md", &text.replace("# Plexus", "# My Plexus"));
    let undone = person.answer(&["disconnect", "codex", "--keep-agent", "--yes"]);
    let left = undone["left"].to_string();
    assert_contains(&left, "AGENTS.md");
    assert_contains(&left, "edited");
    assert!(person.read(".codex/AGENTS.md").contains("# My Plexus"));
    assert_eq!(undone["revoked"], false);
    assert!(
        !person.has(".codex/config.toml"),
        "it held nothing of the person's"
    );
}

#[test]
fn a_file_that_is_not_of_its_form_stops_it_before_anything_is_done() {
    let person = Person::new();
    person.write(SETTINGS, "{ not json");
    let line = ["connect", "--type", "claude-code", "--here", "--yes"];
    let refused = person.house.gateway.cli(line);
    refused.expect_status(1);
    assert!(refused.stderr.contains("nothing was done"), "{refused}");
    assert!(refused.stderr.contains("settings.json"), "{refused}");
    assert!(!person.has(".claude/skills") && !person.has("state/agents/claude-code.pat"));
    person.write(SETTINGS, "{}");
    person.house.gateway.cli(line).expect_status(0);
}

/// The command of an agent cannot be turned against another gateway, home or agent.
#[test]
fn an_agents_own_command_speaks_for_that_agent_only() {
    let person = Person::new();
    person.set_up("codex");
    let typed = |line: &[&str]| {
        let mut command = plexus_tests::programs::command(
            &person.path("state/agents/codex/bin/plexus-codex"),
            person.house.gateway.home(),
        );
        command
            .env("PLEXUS_GATEWAY", "http://127.0.0.1:9")
            .args(line);
        plexus_tests::programs::run(command)
    };
    typed(&["list"]).expect_status(0);
    for line in [
        &["--url", "http://127.0.0.1:9", "list"][..],
        &["workspace.read", "--url", "http://127.0.0.1:9", "path=a"],
        &["--home", "/tmp", "list"],
        &["--agent", "other", "list"],
    ] {
        typed(line).expect_status(64);
    }
}

/// What runs unasked is not what the agent may edit: below a project it could, by accepting its own edits.
#[test]
fn claude_code_may_not_edit_the_command_that_it_runs_unasked() {
    let person = Person::new();
    person.write("project/README.md", "mine\n");
    let project = person.path("project");
    let to = project.display().to_string();
    person.answer(&[
        "connect",
        "--type",
        "claude-code",
        "--here",
        "--yes",
        "--project",
        &to,
    ]);
    let settings: Value =
        serde_json::from_str(&person.read("project/.claude/settings.local.json")).expect("JSON");
    let real = project.canonicalize().expect("a folder");
    let plugin = real.join(".claude/skills/plexus-claude-code");
    assert!(plugin.join("bin/plexus-claude-code").exists());
    let rule = format!("Edit(/{}/**)", plugin.display());
    let deny = settings["permissions"]["deny"].as_array().expect("rules");
    assert!(deny.contains(&json!(rule)), "{deny:?}");
}

/// A file of the person's own where one of ours would be is neither replaced nor, later, removed.
#[test]
fn a_persons_own_file_of_the_same_name_stops_it_and_stays() {
    let person = Person::new();
    let skill = ".claude/skills/plexus-claude-code/SKILL.md";
    let rules = ".codex/rules/plexus-codex.rules";
    for (kind, file) in [("claude-code", skill), ("codex", rules)] {
        person.write(file, "mine\n");
        let line = ["connect", "--type", kind, "--here", "--yes"];
        let refused = person.house.gateway.cli(line);
        refused.expect_status(1);
        assert!(refused.stderr.contains("nothing was done"), "{refused}");
        let moved = format!("mv {0} {0}.mine", person.path(file).display());
        assert!(refused.stderr.contains(&moved), "{refused}");
        assert_eq!(person.read(file), "mine\n");
        assert!(!person.has(&format!("state/agents/{kind}.pat")));

        // As it was told.
        let away = person.path(&format!("{file}.mine"));
        std::fs::rename(person.path(file), &away).expect("moved");
        person.set_up(kind);
        let ours = person.read(file);
        assert_ne!(ours, "mine\n");
        assert_eq!(
            person.set_up(kind)["files"],
            json!([]),
            "ours is not theirs"
        );

        // What the person made of ours is the person's too.
        person.write(file, "mine by now\n");
        person.house.gateway.cli(line).expect_status(1);
        let undone = person.answer(&["disconnect", kind, "--yes"]);
        assert!(undone["left"].to_string().contains("edited"), "{undone}");
        assert_eq!(person.read(file), "mine by now\n");
        assert_eq!(std::fs::read_to_string(&away).expect("kept"), "mine\n");
    }
}

/// What is shown is where it is written, also where the agent's folder is a link.
#[test]
fn a_folder_that_is_a_link_is_shown_as_where_it_leads() {
    let person = Person::new();
    let dotfiles = person.path("dotfiles/claude");
    std::fs::create_dir_all(&dotfiles).expect("a folder");
    std::os::unix::fs::symlink(&dotfiles, person.path(".claude")).expect("a link");
    let real = dotfiles.canonicalize().expect("a folder");
    let shown = person.set_up("claude-code");
    let under = |folder: &str| {
        let files = shown["files"].as_array().expect("files").iter();
        let named = files.filter_map(|file| file["path"].as_str());
        named.filter(|path| path.contains(folder)).count()
    };
    assert_eq!(under("/.claude/"), 0, "{shown}");
    assert!(under(&real.display().to_string()) >= 4, "{shown}");
    let settings: Value =
        serde_json::from_str(&person.read("dotfiles/claude/settings.json")).expect("JSON");
    let deny = settings["permissions"]["deny"].to_string();
    for folder in [&person.path(".claude"), &real] {
        let plugin = folder.join("skills/plexus-claude-code");
        let rule = format!("Edit(/{}/**)", plugin.display());
        assert!(deny.contains(&rule), "{rule} is not in {deny}");
    }
    person.answer(&["disconnect", "claude-code", "--yes"]);
    assert!(person.path(".claude").is_symlink());
    assert_eq!(std::fs::read_dir(&real).expect("a folder").count(), 0);

    // One that leads nowhere is no place to write to.
    std::fs::remove_dir(&real).expect("a folder");
    let line = ["connect", "--type", "claude-code", "--here", "--yes"];
    let refused = person.house.gateway.cli(line);
    refused.expect_status(1);
    assert!(refused.stderr.contains("leads nowhere"), "{refused}");
    assert!(!real.exists() && !person.has("state/agents/claude-code.pat"));
}

/// The credential goes through a proxy where nothing else is possible, and not because a variable says so.
#[test]
fn a_proxy_is_taken_only_where_the_gateway_is_out_of_reach() {
    let mut person = Person::new();
    person.answer(&BY_COMMANDS);
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    proxy.set_nonblocking(true).expect("no waiting");
    let port = proxy.local_addr().expect("an address").port();
    let typed = |person: &Person| {
        let mut command = plexus_tests::programs::command(
            &person.path("state/agents/codex/bin/plexus-codex"),
            person.house.gateway.home(),
        );
        command
            .env("CODEX_NETWORK_PROXY_ACTIVE", "1")
            .env("HTTP_PROXY", format!("http://127.0.0.1:{port}"))
            .arg("list");
        command
    };
    // With the gateway there, and with nobody there to answer.
    plexus_tests::programs::run(typed(&person)).expect_status(0);
    person.house.gateway.stop();
    // Without it the command asks the default port, and another gateway may hold that.
    person.write("state/gateway", "http://127.0.0.1:1");
    plexus_tests::programs::run(typed(&person)).expect_status(69);
    let none = proxy.accept().expect_err("a connection to the proxy");
    assert_eq!(none.kind(), std::io::ErrorKind::WouldBlock);

    // The control: where the owner's key is out of reach, as in the profile's sandbox, the proxy is the way.
    std::fs::rename(
        person.path("state/connection-key"),
        person.path("connection-key.away"),
    )
    .expect("moved");
    proxy.set_nonblocking(false).expect("waiting");
    let mut running = typed(&person).spawn().expect("a start");
    let accepted = within(PATIENCE, "the proxy is asked", move || proxy.accept());
    let (mut asked, _) = accepted.expect("a connection");
    asked.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let mut first = [0; 5];
    std::io::Read::read_exact(&mut asked, &mut first).expect("a request");
    assert_eq!(&first, b"GET h", "an absolute address, as a proxy is asked");
    drop(asked);
    ended("the command", &mut running);
}

/// An earlier version let Codex's commands reach every port, unasked: `doctor` says so, and connecting again and
/// disconnecting take it back.
#[test]
fn ports_that_an_earlier_version_opened_are_closed() {
    let person = Person::new();
    let (config, record) = (".codex/config.toml", "state/agents/codex.installed.json");
    let mine = "# mine\nmodel = \"gpt-5.5\"\n\n[features]\nmemories = false\n";
    person.write(config, mine);
    let opened = || person.read(config).contains("network");
    let warned = || {
        let said = person.house.gateway.cli(["doctor", "--json"]);
        let found = said.json()["findings"].to_string();
        found.contains("every command of it reaches every port of 127.0.0.1")
    };
    let as_earlier = || {
        person.answer(&BY_COMMANDS);
        assert!(opened() && !warned(), "the owner chose it");
        // The earlier version wrote the same, and noted no choice.
        let mut noted: Value = serde_json::from_str(&person.read(record)).expect("JSON");
        let chosen = noted.as_object_mut().expect("a record").remove("commands");
        assert_eq!(chosen, Some(json!(true)));
        person.write(record, &noted.to_string());
        assert!(warned());
    };
    as_earlier();
    person.set_up("codex");
    assert!(!opened() && !warned(), "{}", person.read(config));
    assert!(person.read(config).contains("[mcp_servers.plexus]"));
    assert_lacks(&person.read(".codex/rules/plexus-codex.rules"), "allow");
    as_earlier();
    person.answer(&["disconnect", "codex", "--yes"]);
    assert_eq!(person.read(config), mine);
}

/// Half of ours in another server's table would let that server's tools run unasked.
#[test]
fn another_server_of_the_name_stops_it_and_stays() {
    let person = Person::new();
    let config = ".codex/config.toml";
    let theirs = "[mcp_servers.plexus]\nurl = \"http://127.0.0.1:7077/mcp\"\n";
    person.write(config, theirs);
    let line = ["connect", "--type", "codex", "--here", "--yes"];
    let refused = person.house.gateway.cli(line);
    refused.expect_status(1);
    assert_contains(&refused.stderr, "another MCP server `plexus`");
    assert_eq!(person.read(config), theirs);
    assert!(!person.has(".codex/AGENTS.md") && !person.has("state/agents/codex.pat"));
    // As it is told; and the same server, written by hand, is the person's and stays.
    let launcher = person.path("state/agents/codex/bin/plexus-codex");
    let by_hand = format!(
        "[mcp_servers.plexus]\ncommand = \"{}\"\nargs = [\"mcp\"]\n",
        launcher.display()
    );
    for held in ["", &by_hand] {
        person.write(config, held);
        person.set_up("codex");
        person.answer(&["disconnect", "codex", "--yes"]);
        let left = std::fs::read_to_string(person.path(config)).unwrap_or_default();
        assert_eq!(left, held);
    }
}

/// The script of the repository: both commands on the person's PATH, Codex connected; what is the person's stays.
#[test]
fn script_of_the_repository_sets_codex_up() {
    let person = Person::new();
    let home = person.house.gateway.home().to_owned();
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../integrations/codex/setup.sh"
    );
    let built = plexus_tests::binaries::path("plexus");
    let built = built.parent().expect("a folder").display().to_string();
    let run = |path: &str, flags: &[&str]| {
        let mut command = plexus_tests::programs::command(Path::new("/bin/sh"), &home);
        command
            .env("PLEXUS_HOME", person.house.gateway.state())
            .env("PATH", path)
            .arg(script)
            .args(flags);
        plexus_tests::programs::run(command)
    };
    // A file of the person's own stays. It is there first: what is written through a link would be a program of this build.
    person.write(".local/bin/plexusctl", "mine\n");
    // From the PATH, as the front door installs them.
    let system = "/usr/bin:/bin";
    let path = format!("{built}:{system}");
    // Nothing is written where nobody says yes.
    let unasked = run(&path, &[]);
    assert_ne!(unasked.status, 0, "{unasked}");
    assert!(!person.has(".codex/config.toml"), "{unasked}");
    let yes = ["--yes", "--i-am-the-owner"];
    let said = run(&path, &yes);
    assert_contains(said.expect_ok(), "put it on your PATH");
    assert_contains(&person.read(".codex/config.toml"), "[mcp_servers.plexus]");
    // What this repository has built is linked; what is installed elsewhere is on the PATH already.
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a folder");
    let is_built_here = Path::new(&built).starts_with(repository);
    let linked = std::fs::read_link(home.join(".local/bin/plexus"));
    let expected = is_built_here.then(|| plexus_tests::binaries::path("plexus"));
    assert_eq!(linked.ok(), expected);
    let stays = said
        .all()
        .contains("plexusctl is a file of yours: it stays");
    assert_eq!(stays, is_built_here, "{said}");
    // A second time says what is there. With the person's folder of commands on the PATH, the agent's command is there too.
    let typed = format!("{path}:{}", home.join(".local/bin").display());
    let again = run(&typed, &yes);
    assert_lacks(again.expect_ok(), "put it on your PATH");
    assert_eq!(person.read(".local/bin/plexusctl"), "mine\n");
    let command = home.join(".local/bin/plexus-codex");
    let who = plexus_tests::programs::command(&command, &home)
        .arg("whoami")
        .output()
        .expect("it runs");
    assert_contains(&String::from_utf8_lossy(&who.stdout), "agent codex");
    // Taken back, with the command.
    person.answer(&["disconnect", "codex", "--yes"]);
    assert!(!command.exists() && !person.has(".codex/config.toml"));
    assert_eq!(person.read(".local/bin/plexusctl"), "mine\n");
}
