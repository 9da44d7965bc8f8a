//! The service and the removal, as a person types them: with a service manager that writes down what it is asked.

use plexus_tests::folders::write_program;
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::waiting::{ended, until};
use plexus_tests::{Folder, Gateway, binaries};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A person's account with a `systemctl` and a `launchctl` in front of PATH.
struct Account {
    home: TempDir,
}

impl Account {
    fn new() -> Self {
        let account = Self {
            home: TempDir::with_prefix("plx").expect("a folder"),
        };
        for name in ["systemctl", "launchctl"] {
            // Fails where a file beside it says so.
            account.program(
                name,
                "#!/bin/sh\necho \"$(basename \"$0\") $*\" >> \"$HOME/asked\"\n\
                 case \"$1 $2\" in print\\ gui/*/*) exit 113;; esac\n\
                 [ ! -e \"$HOME/no-manager\" ]\n",
            );
        }
        account
    }
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
    fn program(&self, name: &str, text: &str) {
        let fakes = self.path("fakes");
        fs::create_dir_all(&fakes).expect("a folder");
        write_program(&fakes.join(name), text);
    }
    fn command(&self, program: &Path, line: &[&str]) -> Said {
        let mut command = programs::command(program, self.home.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.path("fakes").display()))
            .args(line);
        programs::run(command)
    }
    fn plexusctl(&self, line: &[&str]) -> Said {
        self.command(&binaries::path("plexusctl"), line)
    }
    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.path("asked"));
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_service_is_shown_before_it_is_written_and_taken_back_whole() {
    let account = Account::new();
    let unit = account.path(".config/systemd/user/plexusd.service");

    let dry = account.plexusctl(&["service", "install", "--dry-run"]);
    assert_contains(dry.expect_ok(), "RestartPreventExitStatus=78");
    assert_contains(&dry.stdout, "run systemctl --user enable plexusd.service");
    assert!(!unit.exists() && account.asked().is_empty(), "{dry}");
    // Nobody can be asked here, so nothing is done without the word.
    let unasked = account.plexusctl(&["service", "install"]);
    assert_contains(
        &unasked.expect_status(64).stderr,
        "plexusctl service install --yes",
    );
    assert!(!unit.exists());

    account.asked();
    account
        .plexusctl(&["service", "install", "--yes", "--port", "7078", "--tray"])
        .expect_ok();
    let tray = account.path(".config/autostart/plexus-tray.desktop");
    assert_contains(
        &fs::read_to_string(&tray).expect("the entry"),
        "plexus-tray\" \"--home\" ",
    );
    let text = fs::read_to_string(&unit).expect("the unit");
    assert_contains(&text, "\"--port\" \"7078\"");
    assert_contains(&text, ".plexus");
    let notify = account.path(".config/systemd/user/plexus-notify.service");
    assert_contains(
        &fs::read_to_string(&notify).expect("the unit"),
        "\"notify\" \"--follow\"",
    );
    assert_eq!(
        account.asked(),
        [
            "systemctl --user show --property=Version",
            "systemctl --user daemon-reload",
            "systemctl --user enable plexusd.service plexus-notify.service",
            "systemctl --user restart plexusd.service plexus-notify.service",
        ]
    );
    let status = account.plexusctl(&["--json", "service", "status"]).json();
    assert_eq!(
        (&status["manager"], &status["jobs"][0]["installed"]),
        (&json!("systemd"), &json!(true))
    );
    assert_eq!(
        status["jobs"][2]["state"],
        "your desktop starts it at login"
    );
    account.asked();
    account.plexusctl(&["service", "restart"]).expect_ok();
    assert!(
        account
            .asked()
            .contains(&"systemctl --user restart plexusd.service plexus-notify.service".to_owned())
    );

    account
        .plexusctl(&["service", "uninstall", "--yes"])
        .expect_ok();
    assert!(!unit.exists() && !notify.exists() && !tray.exists());
    account.plexusctl(&["service", "restart"]).expect_status(1);
}

#[test]
fn without_a_service_manager_it_says_what_else_can_be_done() {
    let account = Account::new();
    fs::write(account.path("no-manager"), "").expect("a file");
    let refused = account.plexusctl(&["service", "install", "--yes", "--port", "7177"]);
    assert_contains(&refused.expect_status(1).stderr, "enable-linger");
    let alone = "plexusctl service install --port 7177 --write-only";
    assert_contains(&refused.stderr, alone);
    let unit = account.path(".config/systemd/user/plexusd.service");
    assert!(!unit.exists(), "{refused}");
    account
        .plexusctl(&["service", "install", "--yes", "--write-only"])
        .expect_ok();
    assert!(unit.exists());
    // Nor can anything be told to stop: the files go all the same.
    account
        .plexusctl(&["service", "uninstall", "--yes"])
        .expect_ok();
    assert!(!unit.exists());
}

#[test]
fn the_same_for_launchd() {
    let account = Account::new();
    account
        .plexusctl(&[
            "service",
            "--manager",
            "launchd",
            "install",
            "--yes",
            "--no-notify",
        ])
        .expect_ok();
    let file = account.path("Library/LaunchAgents/local.plexus.plexusd.plist");
    assert_contains(
        &fs::read_to_string(&file).expect("the list"),
        "--under-launchd",
    );
    let asked = account.asked();
    let word = |line: &String| line.split(' ').nth(1).unwrap_or_default().to_owned();
    let words: Vec<String> = asked.iter().map(word).collect();
    assert_eq!(
        words,
        [
            "print",
            "enable",
            "bootout",
            "print",
            "bootstrap",
            "kickstart"
        ],
        "{asked:?}"
    );
    account
        .plexusctl(&["service", "--manager", "launchd", "uninstall", "--yes"])
        .expect_ok();
    assert!(!file.exists());
}

/// What systemd waits for, and what it is told at the end.
#[test]
fn the_gateway_says_when_it_is_ready_and_when_it_stops() {
    let folder = TempDir::with_prefix("plx").expect("a folder");
    let path = folder.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    assert!(fs::metadata(&path).expect("it").file_type().is_socket());
    socket
        .set_read_timeout(Some(plexus_tests::waiting::PATIENCE))
        .expect("a timeout");
    let told = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    let mut gateway = Gateway::builder()
        .env("NOTIFY_SOCKET", path.to_str().expect("a path"))
        .start();
    assert_eq!(told(), "READY=1");
    assert!(gateway.stop().success());
    assert_eq!(told(), "STOPPING=1");
}

/// A service manager tries again what may pass, and not what lasts.
#[test]
fn a_start_that_cannot_succeed_ends_with_78_and_one_that_may_with_1() {
    let mut gateway = Gateway::start();
    let port = gateway.port().to_string();
    let home = TempDir::with_prefix("plx").expect("a folder");
    let taken = Gateway::builder().arg("--port").arg(&port);
    let second = programs::command(&binaries::path("plexusd"), home.path());
    drop(taken);
    let mut second = second;
    second.args(["--port", &port]);
    assert_eq!(
        programs::run(second).status,
        1,
        "the port is taken, for now"
    );
    assert!(gateway.stop().success());
    let key = gateway.state().join("connection-key");
    fs::write(&key, "nonsense").expect("a file");
    Gateway::builder().refused(gateway.home()).expect_status(78);
    // launchd tries again whatever does not end with 0.
    let under = Gateway::builder()
        .arg("--under-launchd")
        .refused(gateway.home());
    assert_contains(&under.expect_status(0).stderr, "connection key");
}

/// Every file and folder below `folder`.
pub(crate) fn tree(folder: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(&at).expect("a folder").flatten() {
            let path = entry.path();
            found.push(
                path.strip_prefix(folder)
                    .expect("below")
                    .to_string_lossy()
                    .into_owned(),
            );
            if entry.file_type().expect("a type").is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Installs what ships under `prefix` as `cargo xtask install` lays it out, with its list. All but what these stories start is
/// a stand-in: it is quick.
fn installed(prefix: &Path) {
    use sha2::Digest as _;
    let started = [
        "plexusctl",
        "plexusd",
        "plexus-sandbox-exec",
        "plexus-worker-workspace",
    ];
    let mut files = Vec::new();
    for name in binaries::shipped() {
        let at = binaries::installed_at(&name);
        let path = prefix.join(&at);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        match started.contains(&&*name) {
            true => drop(fs::copy(binaries::path(&name), &path).expect("a program")),
            false => fs::write(&path, "#!/bin/sh\nexit 70\n").expect("a stand-in"),
        }
        let digest: String = sha2::Sha256::digest(fs::read(&path).expect("it"))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        files.push(json!({"path": at, "sha256": digest}));
    }
    let list = json!({"format": 1, "version": "0", "folders": ["bin", "libexec", "libexec/plexus"], "files": files});
    fs::write(
        prefix.join("libexec/plexus/installed.json"),
        list.to_string(),
    )
    .expect("the list");
}

#[test]
fn an_uninstall_leaves_what_it_says_and_nothing_else() {
    let account = Account::new();
    let prefix = account.path("local");
    fs::create_dir_all(prefix.join("bin")).expect("a folder");
    installed(&prefix);
    fs::write(prefix.join("bin/other"), "of somebody else").expect("a file");
    let aside = ".plexus.before-20261119T104200000Z";
    fs::create_dir(account.path(aside)).expect("a state");
    let plexusctl = prefix.join("bin/plexusctl");
    let before = tree(account.home.path());
    account
        .command(&plexusctl, &["service", "install", "--yes"])
        .expect_ok();

    let dry = account.command(&plexusctl, &["--json", "uninstall", "--dry-run"]);
    dry.expect_ok();
    let removes = dry.json()["removes"].to_string();
    for word in [
        "plexusd.service",
        "bin/plexusd",
        "plexus-worker-workspace",
        "installed.json",
    ] {
        assert!(removes.contains(word), "{word}: {removes}");
    }
    assert!(
        tree(account.home.path()).len() > before.len(),
        "and did nothing"
    );
    let dry = account.command(&plexusctl, &["uninstall", "--dry-run"]);
    assert_contains(dry.expect_ok(), "would do:\n  ");
    let unasked = account.command(&plexusctl, &["uninstall"]);
    unasked.expect_status(64);

    // One that was replaced since by something else is not ours any more.
    fs::write(prefix.join("bin/plexus"), "another program").expect("a file");
    let done = account.command(&plexusctl, &["uninstall", "--yes"]);
    let (_, leaves) = done.expect_ok().split_once("\nleft:\n").expect("both");
    for word in ["bin/plexus:", aside] {
        assert!(leaves.contains(word), "{word}: {leaves}");
    }
    assert_contains(&done.stderr, "stopping the services; that may take");
    let mut left = tree(account.home.path());
    left.retain(|path| {
        !path.starts_with("fakes") && path != "asked" && !path.starts_with(".config")
    });
    assert_eq!(
        left,
        [
            aside,
            "local",
            "local/bin",
            "local/bin/other",
            "local/bin/plexus"
        ]
    );
}

#[test]
fn an_uninstall_does_not_pull_the_floor_from_under_a_gateway_and_keeps_the_state_unless_told() {
    let account = Account::new();
    let prefix = account.path("local");
    installed(&prefix);
    let plexusctl = prefix.join("bin/plexusctl");
    let mut gateway = Gateway::start();
    let state = gateway.state().to_string_lossy().into_owned();
    let line = ["--home", &state, "--i-am-the-owner", "uninstall", "--yes"];
    let refused = account.command(&plexusctl, &line);
    assert_contains(&refused.expect_status(77).stderr, "gateway_runs");
    assert_contains(&refused.stderr, &format!("kill {}", gateway.pid()));
    assert!(plexusctl.is_file());
    assert!(gateway.stop().success());
    let kept = account.command(&plexusctl, &line);
    assert!(kept.expect_ok().contains(&state), "{kept}");
    // Nobody lists them now, and it does not say that there are none.
    assert_contains(&kept.stdout, "folders that you shared, if any");
    assert!(Path::new(&state).join("ledger.redb").is_file());

    installed(&prefix);
    // A folder that is no state directory is not removed, whatever it is called.
    let other = account.path("documents");
    fs::create_dir(&other).expect("a folder");
    let other = other.to_string_lossy().into_owned();
    let delete = |home: &str| {
        let line = [
            "--home",
            home,
            "--i-am-the-owner",
            "uninstall",
            "--yes",
            "--state",
            "delete",
        ];
        account.command(&plexusctl, &line)
    };
    delete(&other).expect_status(77);
    assert!(plexusctl.is_file(), "and nothing else went");
    // One that ends in the middle does not say that nothing was done.
    let odd = prefix.join("bin/plexus");
    fs::remove_file(&odd).expect("removed");
    fs::create_dir(&odd).expect("a folder");
    let at = prefix.to_string_lossy().into_owned();
    let mut of_prefix = line.to_vec();
    of_prefix.extend(["--prefix", at.as_str()]);
    let ended = account.plexusctl(&of_prefix);
    assert_lacks(&ended.expect_status(1).stderr, "nothing was done");
    fs::remove_dir(&odd).expect("removed");
    installed(&prefix);
    delete(&state).expect_ok();
    assert!(!Path::new(&state).exists());
}

/// A daemon that runs survives the replacement of its own program and its workers' programs.
#[test]
fn a_running_gateway_survives_an_install() {
    let account = Account::new();
    let prefix = account.path("local");
    installed(&prefix);
    let workspace = plexus_tests::workspace();
    let mut command = programs::command(&prefix.join("bin/plexusd"), account.home.path());
    command
        .args(["--port", "0", "--workspace"])
        .arg(workspace.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let plexusctl = prefix.join("bin/plexusctl");
    let sources = || -> Option<Value> {
        let said = account.command(&plexusctl, &["--json", "status"]);
        (said.status == 0).then(|| said.json())
    };
    until("the gateway serves", sources);
    for folder in ["bin", "libexec/plexus"] {
        for entry in fs::read_dir(prefix.join(folder))
            .expect("a folder")
            .flatten()
        {
            let (path, new) = (entry.path(), prefix.join("new"));
            fs::copy(&path, &new).expect("a copy");
            fs::rename(&new, &path).expect("a new file in its place");
        }
    }
    assert!(
        sources().is_some(),
        "it goes on, and starts workers of the same build"
    );
    let pid = i32::try_from(child.id()).expect("a pid");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("our child");
    assert!(ended("plexusd", &mut child).success());
}

/// A worker that an upgrade has put there while the old gateway runs is not of its build: the owner is told what to do.
#[test]
fn a_worker_of_another_build_is_refused_and_the_reason_says_to_restart() {
    let account = Account::new();
    let prefix = account.path("local");
    installed(&prefix);
    let worker = prefix.join("libexec/plexus/plexus-worker-workspace");
    let whole = fs::read(&worker).expect("the worker");
    let build = concat!(env!("CARGO_PKG_VERSION"), "+ipc.").as_bytes();
    let mut other = whole.clone();
    let mut found = 0;
    for at in 0..other.len() - build.len() {
        if &other[at..at + build.len()] == build {
            other[at] = b'9';
            found += 1;
        }
    }
    assert!(found > 0, "the build's name is in the program");
    let replace = |bytes: &[u8]| {
        let new = prefix.join("new");
        write_program(&new, bytes);
        fs::rename(&new, &worker).expect("a new file in its place");
    };
    let workspace = plexus_tests::workspace();
    let libexec = prefix.join("libexec/plexus");
    let gateway = Gateway::builder()
        .workspace(&workspace.path())
        .arg("--workers")
        .arg(&libexec.to_string_lossy())
        .start();
    let agent = gateway.agent_with("a", &["workspace.read"]);
    let read = || agent.invoke("workspace.read", json!({"path": "report.txt"}));
    read().expect_ok();
    replace(&other);
    // What runs goes on.
    read().expect_ok();
    let again = |source: &str| {
        gateway.cli(["sources", "disable", source]).expect_ok();
        gateway.cli(["sources", "enable", source]).expect_ok();
    };
    again("workspace");
    let refused = read();
    assert!(refused.text().contains("plexusctl upgrade"), "{refused}");
    replace(&whole);
    again("workspace");
    read().expect_ok();
}

/// An extension that shows a file of a folder.
pub(crate) fn viewer(source: &str) -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": source, "label": source, "transport": "cli",
        "folders": [{"name": "files", "label": "Files", "access": "read"}],
        "capabilities": [{
            "name": "show", "kind": "capability", "label": "Show", "describe": "Shows a file. Example: name=a.md",
            "grants": ["read"], "transport": "cli", "route": {"bin": "cat", "args": ["--", "{folder.files}/{name}"]},
            "io": {"input": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}},
        }],
    })
}

/// What `cargo xtask install` puts under a prefix is all that Plexus has: each kind of thing works from there. If a
/// worker's program is gone, the owner is told so, and what to type, before anything is said to serve.
#[test]
fn installed_box_is_whole_and_a_missing_worker_is_told() {
    let account = Account::new();
    let prefix = account.path("local");
    binaries::install(&prefix);
    // Another user who can write in a folder of programs replaces them.
    for folder in ["", "bin", "libexec", "libexec/plexus"] {
        let about = fs::metadata(prefix.join(folder)).expect(folder);
        let mode = about.permissions().mode();
        assert_eq!(mode & 0o022, 0, "{folder}: {mode:o}");
    }
    let bin = |name: &str| prefix.join("bin").join(name);
    for page in [
        "plexusctl-extension-add.1",
        "plexus-relay-serve.1",
        "plexus-peer.1",
        "plexus-tray.1",
    ] {
        let page = prefix.join("share/man/man1").join(page);
        assert!(page.is_file(), "{}", page.display());
    }

    let mut gateway = Gateway::builder().programs(&prefix.join("bin")).start();
    let state = gateway.state().display().to_string();
    let owner = |line: &[&str]| {
        let by = ["--home", &state, "--i-am-the-owner"];
        account.command(&bin("plexusctl"), &[&by[..], line].concat())
    };
    let (folder, elsewhere) = (Folder::empty(), Folder::empty());
    folder.write("words", "Does").write("a.md", "shown\n");
    let path = folder.path().display().to_string();
    let files = format!("files={path}");
    let server = binaries::path("plexus-mcp-rude").display().to_string();
    let lends = |name: &str| {
        owner(&[
            "mcp", "add", name, "--folder", &path, "--yes", "--", &server, &path,
        ])
    };
    let manifest = |source: &str| {
        let file = format!("{source}.json");
        elsewhere.write(&file, viewer(source).to_string());
        elsewhere.path().join(file).display().to_string()
    };
    let previews = |source: &str| {
        owner(&[
            "--json",
            "extension",
            "preview",
            &manifest(source),
            "--folder",
            &files,
        ])
    };
    let adds = |source: &str, digest: &str| {
        owner(&[
            "extension",
            "add",
            &manifest(source),
            "--folder",
            &files,
            "--digest",
            digest,
        ])
    };
    let digest = |seen: &Said| seen.json()["digest"].as_str().expect("a digest").to_owned();

    assert!(lends("server").expect_ok().contains("server serves"));
    let seen = previews("viewer");
    assert_contains(adds("viewer", &digest(&seen)).expect_ok(), "viewer serves");
    let agent = gateway.agent_with("caller", &["viewer.show", "server.write"]);
    let shown = agent.must("viewer.show", json!({"name": "a.md"}));
    assert_eq!(shown["output"]["text"], "shown\n");
    let made = json!({"path": folder.path().join("made")});
    agent.must_approved(&gateway.owner(), "server.write", made);
    assert_eq!(folder.read("made"), "written by a tool\n");

    let findings = || owner(&["--json", "doctor"]).json()["findings"].clone();
    let of = |all: &Value, name: &str| {
        let mut all = all.as_array().expect("findings").iter();
        let found = all.find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("{name}")).clone()
    };
    let cage = of(&findings(), "cage of viewer");
    assert_eq!(cage["level"], "ok", "{cage}");

    // One program after the other is gone, and back.
    let remedy = format!("cargo xtask install --prefix {}", prefix.display());
    let without = |worker: &str, fails: &dyn Fn() -> Said, works: &dyn Fn() -> Said| {
        let program = prefix.join("libexec/plexus").join(worker);
        fs::rename(&program, prefix.join("away")).expect("it goes");
        let said = fails();
        assert_ne!(said.status, 0, "{said}");
        let line = format!(
            "{} is not there; install all programs together: {remedy}",
            program.display()
        );
        assert_contains(&said.stderr, &line);
        assert_lacks(&said.all(), "serves");
        let looked = findings();
        let lost = of(&looked, "programs")["what"].to_string();
        assert_contains(&lost, worker);
        fs::rename(prefix.join("away"), &program).expect("it comes back");
        works().expect_ok();
        looked
    };
    let later = previews("later");
    without("plexus-worker-extension", &|| previews("later"), &|| {
        previews("later")
    });
    let add = || adds("later", &digest(&later));
    let looked = without("plexus-worker-extension", &add, &add);
    let cage = of(&looked, "cage of viewer");
    assert_like(&cage, &json!({"level": "fail", "remedy": remedy}));
    owner(&["sources", "disable", "later"]).expect_ok();
    let enable = || owner(&["sources", "enable", "later"]);
    without("plexus-worker-extension", &enable, &enable);
    without("plexus-worker-mcp", &|| lends("second"), &|| {
        lends("second")
    });
    let lend = || owner(&["lend", "caller", &elsewhere.path().display().to_string()]);
    without("plexus-worker-workspace", &lend, &lend);

    assert!(gateway.stop().success());
    let removed = owner(&["--json", "uninstall", "--yes"]);
    removed.expect_ok();
    assert_eq!(tree(&prefix), Vec::<String>::new(), "{removed}");
}
