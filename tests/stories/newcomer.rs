//! The newcomer's script: from a clean clone in an empty account, through a first day, to an account as it was before.
//!
//! It really clones and really installs. Only this is not as for a newcomer: cargo's downloads are this machine's own, the
//! clone and what is built of it lie in `target/newcomer`, where what comes from elsewhere is built once, and the build is
//! the quick one (`--profile trial`).

use plexus_tests::programs::{self, Said};
use plexus_tests::waiting::until;
use plexus_tests::{Folder, vault, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// An empty account, and what the person shares.
struct Newcomer {
    home: TempDir,
    vault: Folder,
    workspace: Folder,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// Where the clone goes: always the same place, so that a build replaces the one before.
fn clone() -> PathBuf {
    root().join("target/newcomer/clone")
}

/// A variable of this process, or a folder in the home of whoever runs the tests.
fn tools(variable: &str, folder: &str) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    std::env::var_os(variable).map_or_else(|| home.join(folder), PathBuf::from)
}

impl Newcomer {
    fn new() -> Self {
        Self {
            home: TempDir::with_prefix("plx").expect("a folder"),
            vault: vault(),
            workspace: workspace(),
        }
    }
    fn bin(&self) -> PathBuf {
        self.home.path().join(".local/bin")
    }
    fn command(&self, program: &str) -> Command {
        let mut command = programs::command(Path::new(program), self.home.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.bin().display()))
            .env("LC_ALL", "C.UTF-8");
        command
    }
    #[track_caller]
    fn types(&self, line: &[&str]) -> Said {
        let mut command = self.command(line[0]);
        command.args(&line[1..]);
        programs::run(command)
    }
    /// As the owner at a terminal.
    #[track_caller]
    fn owner(&self, line: &[&str]) -> Said {
        self.types(&[&["plexusctl", "--i-am-the-owner"], line].concat())
    }
    /// Cargo in the clone.
    #[track_caller]
    fn cargo(&self, line: &[&str]) -> Said {
        let mut command = self.command("cargo");
        command
            .current_dir(clone())
            .env("CARGO_HOME", tools("CARGO_HOME", ".cargo"))
            .env("RUSTUP_HOME", tools("RUSTUP_HOME", ".rustup"))
            .env("CARGO_TARGET_DIR", root().join("target/newcomer/target"))
            .args(line);
        programs::run(command)
    }
    /// Every file and folder of the account.
    fn tree(&self) -> Vec<String> {
        let (mut found, mut open) = (Vec::new(), vec![self.home.path().to_path_buf()]);
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(&at).expect("a folder").flatten() {
                let path = entry.path();
                let below = path.strip_prefix(self.home.path()).expect("below");
                found.push(below.to_string_lossy().into_owned());
                if entry.file_type().expect("a type").is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }
    /// The gateway, which the person starts by hand: there is no service manager for a test.
    fn plexusd(&self, program: &str, home: &Path) -> Child {
        let mut command = self.command(program);
        command
            .arg("--home")
            .arg(home)
            .args(["--port", "0", "--vault"])
            .arg(self.vault.path())
            .arg("--workspace")
            .arg(self.workspace.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("it starts");
        until("the gateway serves", || {
            let status = self.types(&["plexusctl", "--home", &home.to_string_lossy(), "status"]);
            (status.status == 0).then_some(())
        });
        child
    }
}

fn stop(mut gateway: Child) {
    let pid = i32::try_from(gateway.id()).expect("a pid");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("our child");
    assert!(gateway.wait().expect("our child").success());
}

#[test]
fn from_a_clean_clone_through_a_first_day_to_an_account_as_it_was() {
    let newcomer = Newcomer::new();
    let (from, to) = (root().to_string_lossy(), clone());
    let _ = fs::remove_dir_all(&to);
    let to = to.to_string_lossy();
    newcomer
        .types(&["git", "clone", "--quiet", "--local", &from, &to])
        .expect_ok();
    let before = newcomer.tree();
    assert_eq!(before, Vec::<String>::new(), "the account is empty");

    install(&newcomer);
    releases(&newcomer);
    let gateway = newcomer.plexusd("plexusd", &newcomer.home.path().join(".plexus"));
    let agent = connects(&newcomer);
    reads_and_writes(&newcomer, agent);
    let backup = looks_back(&newcomer);
    stop(gateway);
    leaves(&newcomer, &backup);
}

fn install(newcomer: &Newcomer) {
    let said = newcomer.cargo(&["xtask", "install", "--profile", "trial"]);
    let text = said.expect_ok();
    let bin = newcomer.bin();
    for line in [
        format!("  {}", bin.join("plexusd").display()),
        format!("  {} service install", bin.join("plexusctl").display()),
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{said}");
    }
    // The lines of a person's own shell would say the same; here PATH has it already.
    assert!(!text.contains("export PATH="), "{said}");
    assert_eq!(
        newcomer.types(&["plexusd", "--version"]).expect_ok().trim(),
        concat!("plexusd ", env!("CARGO_PKG_VERSION"))
    );
    let page = newcomer
        .home
        .path()
        .join(".local/share/man/man1/plexusctl.1");
    assert!(
        fs::read_to_string(page)
            .expect("a page")
            .contains("plexusctl")
    );

    // Again changes nothing.
    let tree = newcomer.tree();
    newcomer
        .cargo(&["xtask", "install", "--profile", "trial"])
        .expect_ok();
    assert_eq!(newcomer.tree(), tree);

    newcomer
        .owner(&["service", "install", "--write-only", "--yes"])
        .expect_ok();
    let unit = newcomer
        .home
        .path()
        .join(".config/systemd/user/plexusd.service");
    assert!(
        fs::read_to_string(unit)
            .expect("the unit")
            .contains("/.local/bin/plexusd")
    );
}

/// A release of the same clone, unpacked in an empty folder, is a gateway.
fn releases(newcomer: &Newcomer) {
    let place = TempDir::with_prefix("plx").expect("a folder");
    let out = place.path().join("out");
    let said = newcomer.cargo(&[
        "xtask",
        "dist",
        "--profile",
        "trial",
        "--out",
        &out.to_string_lossy(),
    ]);
    said.expect_ok();
    let find = |end: &str| {
        let entries = fs::read_dir(&out).expect("the folder").flatten();
        let mut paths = entries.map(|entry| entry.path());
        paths
            .find(|path| path.to_string_lossy().ends_with(end))
            .expect(end)
    };
    let tarball = find(".tar.gz");
    let mut sums = newcomer.command("sha256sum");
    sums.current_dir(&out)
        .args(["-c", "--quiet"])
        .arg(find(".sha256"));
    programs::run(sums).expect_ok();
    let formula = fs::read_to_string(find("plexus.rb")).expect("the formula");
    let sum = fs::read_to_string(find(".sha256")).expect("the sum");
    assert!(
        formula.contains(sum.split(' ').next().expect("a digest")),
        "{formula}"
    );
    // Again: the same bytes.
    let first = fs::read(&tarball).expect("the tarball");
    newcomer
        .cargo(&[
            "xtask",
            "dist",
            "--profile",
            "trial",
            "--out",
            &out.to_string_lossy(),
        ])
        .expect_ok();
    assert!(
        first == fs::read(&tarball).expect("the tarball"),
        "another tarball of the same programs"
    );

    let unpacked = place.path().join("unpacked");
    fs::create_dir(&unpacked).expect("a folder");
    let paths = [tarball.to_string_lossy(), unpacked.to_string_lossy()];
    newcomer
        .types(&["tar", "-xzf", &paths[0], "-C", &paths[1]])
        .expect_ok();
    let folder = fs::read_dir(&unpacked)
        .expect("it")
        .flatten()
        .next()
        .expect("one folder")
        .path();
    let plexusd = folder.join("bin/plexusd").to_string_lossy().into_owned();
    let version = newcomer.types(&[&plexusd, "--version"]);
    assert!(
        version.expect_ok().contains(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
    // Its workers are found beside it, and their cages hold.
    let home = place.path().join("home");
    let gateway = newcomer.plexusd(&plexusd, &home);
    let status = newcomer.types(&[
        "plexusctl",
        "--home",
        &home.to_string_lossy(),
        "--json",
        "status",
    ]);
    let sources = status.json()["sources"].clone();
    let healthy = sources
        .as_array()
        .is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["status"] == "ok"));
    assert!(healthy, "{sources:#}");
    stop(gateway);
}

/// The agent's id.
fn connects(newcomer: &Newcomer) -> &'static str {
    let agent = "claude-code";
    let said = newcomer.owner(&[
        "--json",
        "connect",
        "--type",
        agent,
        "--here",
        "--yes",
        "--allow",
        "obsidian.vault.read,workspace.read",
    ]);
    said.expect_ok();
    // Written into the agent's own folder; the uninstall has to find all of it again.
    assert!(
        newcomer
            .tree()
            .iter()
            .any(|path| path.starts_with(".claude/")),
        "{said}"
    );
    agent
}

fn reads_and_writes(newcomer: &Newcomer, agent: &str) {
    let plexus = |line: &[&str]| newcomer.types(&[&["plexus", "--agent", agent], line].concat());
    let read = plexus(&["obsidian.vault.read", "path=Projects/Plexus.md"]);
    assert!(read.expect_ok().contains("A gateway."), "{read}");

    std::thread::scope(|scope| {
        let write = scope.spawn(|| {
            plexus(&[
                "workspace.write",
                "path=notes/new.md",
                "content=one line",
                "--purpose",
                "notes",
            ])
        });
        let item = until("the card", || {
            let waiting = newcomer.owner(&["--json", "approvals", "list"]).json();
            let card = waiting["pending"].get(0)?.clone();
            (card["asks"][0]["plan"] != "making").then_some(card)
        });
        let id = item["pendingId"].as_str().expect("an id");
        assert!(
            !newcomer.workspace.has("notes/new.md"),
            "nothing before the approval"
        );
        newcomer
            .owner(&["approvals", "approve", id, "--yes"])
            .expect_ok();
        write.join().expect("the agent").expect_ok();
    });
    assert_eq!(newcomer.workspace.read("notes/new.md").trim(), "one line");
}

/// Gives the backup.
fn looks_back(newcomer: &Newcomer) -> PathBuf {
    let activity = newcomer.owner(&["activity", "claude-code", "--changed"]);
    assert!(activity.expect_ok().contains("notes/new.md"), "{activity}");
    let tail = newcomer.owner(&["audit", "tail"]);
    assert!(tail.expect_ok().contains("workspace.write"), "{tail}");
    newcomer.owner(&["audit", "verify"]).expect_ok();
    let file = newcomer.workspace.path().join("backup");
    newcomer
        .owner(&["backup", &file.to_string_lossy()])
        .expect_ok();
    file
}

fn leaves(newcomer: &Newcomer, backup: &Path) {
    assert!(backup.is_file());
    let said = newcomer.owner(&["--json", "uninstall", "--yes"]);
    said.expect_ok();
    let leaves = said.json()["leaves"].clone();
    let state = newcomer.home.path().join(".plexus");
    assert_eq!(
        leaves,
        serde_json::json!([format!("the state: {}", state.display())]),
        "{said}"
    );
    // Nothing is left but that, and folders of the system's own making that are empty now.
    let mut left = newcomer.tree();
    left.retain(|path| !path.starts_with(".plexus") && !newcomer.home.path().join(path).is_dir());
    assert_eq!(left, Vec::<String>::new(), "{said}");
    assert_eq!(newcomer.workspace.read("notes/new.md").trim(), "one line");
}
