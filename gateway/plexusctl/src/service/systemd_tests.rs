//! What is written for systemd: its words, its quoting, and what `systemd-analyze` says of it.

use super::*;
use crate::service::Manager;
use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

fn start(job: Job, program: &str, arguments: &[&str], home: &str) -> Start {
    let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
    Start::new(job, Path::new(program), arguments, Path::new(home)).unwrap()
}

fn gateway() -> Start {
    start(
        Job::Gateway,
        "/home/me/.local/bin/plexusd",
        &["--port", "7078"],
        "/home/me/.plexus",
    )
}

#[test]
fn what_is_written() {
    let text = unit(&gateway());
    for line in [
        "Type=notify",
        "ExecStart=\"/home/me/.local/bin/plexusd\" \"--port\" \"7078\"",
        "Environment=\"PLEXUS_HOME=/home/me/.plexus\"",
        "Restart=on-failure",
        "RestartPreventExitStatus=78",
        "UMask=0077",
        "LimitNOFILE=1792",
        // Not 0, which does not stop a dump into a pipe and which no worker could raise.
        "LimitCORE=1",
        "WantedBy=default.target",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    // What would reach into the workers' cages.
    for word in [
        "Protect",
        "Private",
        "RestrictNamespaces",
        "MemoryDeny",
        "SystemCallFilter",
    ] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn nothing_in_a_path_is_replaced_or_taken_apart() {
    let odd = start(
        Job::Gateway,
        "/opt/a b/$HOME/100%/\"x\"/plexusd",
        &[],
        "/srv/50% \\",
    );
    let text = unit(&odd);
    assert!(
        text.contains(r#"ExecStart="/opt/a b/$$HOME/100%%/\"x\"/plexusd""#),
        "{text}"
    );
    assert!(
        text.contains(r#"Environment="PLEXUS_HOME=/srv/50%% \\""#),
        "{text}"
    );
    for bad in ["/a\nExecStart=/bin/sh", "relative"] {
        let start = Start::new(Job::Gateway, Path::new(bad), vec![], Path::new("/h"));
        let why = start.unwrap_err().why;
        assert!(why.ends_with("cannot stand in a service's file"), "{why}");
    }
}

#[test]
fn tray_is_an_entry_of_the_autostart_and_no_unit() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = Systemd {
        config: folder.path().to_owned(),
        names: Names::Usual,
        runner: Runner::new("systemctl"),
    };
    let odd = start(
        Job::Tray,
        r#"/opt/a b/$HOME/100%/"x"\/plexus-tray"#,
        &["--home", "/home/me/.plexus"],
        "/home/me/.plexus",
    );
    // The file halves each pair of backslashes before the line is taken apart.
    let text = desktop_entry(&odd);
    let line =
        r#"Exec="/opt/a b/\\$HOME/100%%/\\"x\\"\\\\/plexus-tray" "--home" "/home/me/.plexus""#;
    assert!(text.lines().any(|l| l == line), "{text}");
    let words = |plan: Plan| plan.as_json().to_string();
    let plan = words(systemd.install(&[gateway(), odd]).unwrap());
    assert!(plan.contains("autostart/plexus-tray.desktop"), "{plan}");
    assert!(!plan.contains("plexus-tray.service"), "{plan}");
    let names = Names::Trial;
    let trial = Systemd { names, ..systemd };
    let plan = words(trial.install(&[gateway()]).unwrap());
    assert!(plan.contains("plexusd-trial.service") && !plan.contains("plexusd.service"));
    let own = "journalctl --user -u plexusd.service";
    assert_eq!(log(names), own.replace("plexusd", "plexusd-trial"));
    assert_eq!(log(Names::Usual), own);
    let systemd = Systemd {
        names: Names::Usual,
        ..trial
    };
    let alone = words(systemd.uninstall(&[Job::Tray]));
    assert!(
        alone.contains("remove") && !alone.contains("disable"),
        "{alone}"
    );
    assert!(systemd.change(Change::Start, &[Job::Tray]).is_empty());
}

/// Where the program is: that systemd itself has nothing to say about the units.
#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("plexus d");
    fs::write(&program, "").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let home = folder.path().join("state 100%");
    let (program, home) = (program.to_str().unwrap(), home.to_str().unwrap());
    let mut files = Vec::new();
    for start in [
        start(Job::Gateway, program, &["--port", "7078"], home),
        start(Job::Notify, program, &["notify", "--follow"], home),
    ] {
        let path = folder
            .path()
            .join(format!("{}.service", Names::Usual.unit(start.job)));
        fs::write(&path, unit(&start)).unwrap();
        files.push(path);
    }
    let verify = |files: &[PathBuf]| {
        Command::new("systemd-analyze")
            .args(["--user", "--man=no", "verify"])
            .args(files)
            .env("XDG_RUNTIME_DIR", folder.path())
            .output()
    };
    let Ok(verified) = verify(&files) else {
        return; // There is no systemd here; the text is held by the other tests.
    };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("plexus"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
    // Control: it would have said so.
    let bad = folder.path().join("bad.service");
    fs::write(&bad, "[Service]\nExecStart=nowhere\nTypo=yes\n").unwrap();
    assert!(!verify(&[bad]).unwrap().status.success());
}

/// Restarts the notification service where systemctl shows each unit so and ends a restart with `status`.
fn restart(is_installed: bool, shown: &str, status: i32) -> (Result<bool, Stop>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("systemctl");
    let log = folder.path().join("asked");
    let script = format!(
        "#!/bin/sh\necho \"$*\" >> {}\ncase \"$2\" in\nshow) echo '{shown}';;\nrestart) exit {status};;\nesac\n",
        log.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let systemd = Systemd {
        config: folder.path().to_owned(),
        names: Names::Usual,
        runner: Runner::new(program),
    };
    if is_installed {
        fs::create_dir_all(folder.path().join("systemd/user")).unwrap();
        fs::write(systemd.file(Job::Notify), "").unwrap();
    }
    let restarted = Manager::Systemd(systemd).restart_running(Job::Notify);
    let asked = fs::read_to_string(log).unwrap_or_default();
    let asked = asked.lines().filter(|line| !line.contains(" show "));
    (restarted, asked.map(str::to_owned).collect())
}

#[test]
fn running_notifications_are_restarted_alone() {
    let (restarted, asked) = restart(true, "MainPID=42", 0);
    assert!(restarted.unwrap());
    assert_eq!(asked, ["--user restart plexus-notify.service"]);
    let (failed, _) = restart(true, "MainPID=42", 1);
    let stop = failed.unwrap_err();
    assert!(
        stop.why
            .contains("restart plexus-notify.service` ended with 1"),
        "{stop}"
    );
    // One that does not run stays so; one that is not installed is not asked for.
    for (is_installed, shown) in [(true, "MainPID=0"), (false, "MainPID=42")] {
        let (restarted, asked) = restart(is_installed, shown, 0);
        assert!(!restarted.unwrap());
        assert_eq!(asked, [""; 0]);
    }
}
