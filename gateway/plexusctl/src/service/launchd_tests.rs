//! What is written for launchd, read back; and a stand-in for `launchctl` with its exit codes.

use super::*;
use crate::service::Manager;
use std::{fs, os::unix::fs::PermissionsExt as _};

fn start(job: Job, home: &Path) -> Start {
    let line = match job {
        Job::Gateway => vec!["--under-launchd".to_owned()],
        Job::Notify => vec!["notify".to_owned(), "--follow".to_owned()],
        Job::Tray => vec!["--home".to_owned()],
    };
    Start::new(job, Path::new("/Users/me/a & <b>/plexusd"), line, home).unwrap()
}

#[test]
fn the_property_list_says_what_it_is_meant_to() {
    let text = plist(
        &start(Job::Gateway, Path::new("/Users/me/.plexus")),
        "local.plexus.plexusd",
    );
    let value = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
    let list = value.as_dictionary().unwrap();
    assert_eq!(list["Label"].as_string(), Some("local.plexus.plexusd"));
    let line: Vec<_> = list["ProgramArguments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w.as_string().unwrap())
        .collect();
    assert_eq!(line, ["/Users/me/a & <b>/plexusd", "--under-launchd"]);
    assert_eq!(list["RunAtLoad"].as_boolean(), Some(true));
    // Ended by itself with 0: what another try would not mend. Anything else is started again.
    let alive = list["KeepAlive"].as_dictionary().unwrap();
    assert_eq!(alive["SuccessfulExit"].as_boolean(), Some(false));
    assert_eq!(list["Umask"].as_signed_integer(), Some(0o077));
    assert_eq!(list["ExitTimeOut"].as_signed_integer(), Some(20));
    let limits = list["SoftResourceLimits"].as_dictionary().unwrap();
    assert_eq!(limits["NumberOfFiles"].as_signed_integer(), Some(1792));
    let environment = list["EnvironmentVariables"].as_dictionary().unwrap();
    assert_eq!(
        environment["PLEXUS_HOME"].as_string(),
        Some("/Users/me/.plexus")
    );
    assert_eq!(environment.len(), 1);
    assert_eq!(
        list["StandardErrorPath"].as_string(),
        Some("/Users/me/.plexus/logs/service.log")
    );
    let notify = plist(&start(Job::Notify, Path::new("/h")), "local.plexus.notify");
    assert!(plist::Value::from_reader_xml(notify.as_bytes()).is_ok());
}

/// A launchctl that writes down what it is asked and answers from a table; `print` says "gone" from the second time on.
struct Fake {
    folder: tempfile::TempDir,
    launchd: Launchd,
}

impl Fake {
    fn answering(cases: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("launchctl");
        let log = folder.path().join("asked");
        let seen = folder.path().join("seen");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {log}\ncase \"$1\" in\n{cases}\nprint) if [ -e {seen} ]; then exit 113; fi; \
             touch {seen}; exit 0;;\nesac\nexit 0\n",
            log = log.display(),
            seen = seen.display(),
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let person = folder.path().join("me");
        let mut launchd = Launchd::new(&person, Names::Usual, Runner::new(program));
        launchd.uid = 501;
        Self { folder, launchd }
    }

    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn install(&self) -> Result<(), Stop> {
        let home = self.folder.path().join("state");
        let plan = self.launchd.install(&[start(Job::Gateway, &home)])?;
        plan.carry_out(&self.launchd.runner)
    }
}

#[test]
fn trial_leaves_the_own_service_alone() {
    let mut fake = Fake::answering("");
    fake.install().unwrap();
    let own = fake.launchd.file(Job::Gateway);
    let (kept, before) = (fs::read_to_string(&own).unwrap(), fake.asked().len());
    fake.launchd.names = Names::Trial;
    fs::remove_file(fake.folder.path().join("seen")).unwrap();
    fake.install().unwrap();
    let plan = fake.launchd.uninstall(&[Job::Gateway]);
    plan.carry_out(&fake.launchd.runner).unwrap();
    assert_eq!(fs::read_to_string(own).unwrap(), kept);
    let asked = fake.asked();
    let asked = &asked[before..];
    assert!(asked.len() > 5, "{asked:?}");
    for line in asked {
        assert!(line.contains("local.plexus.plexusd.trial"), "{line}");
    }
    for (names, next) in [
        (Names::Trial, "plexusctl service install --trial"),
        (Names::Usual, "plexusctl service install"),
    ] {
        assert_eq!(explain(names, 113).unwrap().1, next);
    }
}

#[test]
fn an_install_waits_until_the_old_one_is_gone() {
    let fake = Fake::answering("");
    fake.install().unwrap();
    let file = fake.launchd.file(Job::Gateway);
    let target = "gui/501/local.plexus.plexusd";
    assert_eq!(
        fake.asked(),
        [
            format!("enable {target}"),
            format!("bootout {target}"),
            format!("print {target}"),
            format!("print {target}"),
            format!("bootstrap gui/501 {}", file.display()),
            format!("kickstart {target}"),
        ]
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert!(fake.folder.path().join("state/logs").is_dir());
    // Again is the same; a file of somebody else is not replaced.
    fake.install().unwrap();
    fs::write(&file, "<plist/>").unwrap();
    assert_eq!(fake.install().unwrap_err().code, "not_ours");
}

#[test]
fn exit_statuses_of_launchctl() {
    // Nothing was loaded, or it goes already.
    for fine in [3, 36, 113] {
        Fake::answering(&format!("bootout) exit {fine};;"))
            .install()
            .unwrap();
    }
    for (status, word) in [
        (5, "Login Items"),
        (119, "Login Items"),
        (125, "own screen"),
        (9, "status"),
    ] {
        let fake = Fake::answering(&format!("bootstrap) echo no >&2; exit {status};;"));
        let stop = fake.install().unwrap_err();
        assert!(
            stop.why.contains(&format!("ended with {status}: no")),
            "{stop}"
        );
        assert!(stop.to_string().contains(word), "{stop}");
    }
    let fake = Fake::answering("print) exit 125;;");
    let stop = fake.launchd.reachable().unwrap_err();
    assert!(stop.next.contains("--write-only"), "{stop}");
}

#[test]
fn an_uninstall_ends_it_and_then_removes_the_file() {
    let fake = Fake::answering("");
    fake.install().unwrap();
    let file = fake.launchd.file(Job::Gateway);
    let plan = fake.launchd.uninstall(&[Job::Gateway]);
    plan.carry_out(&fake.launchd.runner).unwrap();
    assert!(!file.exists());
    assert!(
        fake.asked()
            .iter()
            .filter(|line| line.starts_with("bootout"))
            .count()
            == 2
    );
}

#[test]
fn what_print_says_is_read_as_far_as_it_is_known() {
    let fake = Fake::answering(
        "print) printf '\\tstate = running\\n\\tpid = 42\\n\\tlast exit code = 78\\n'; exit 0;;",
    );
    let status = fake.launchd.status(Job::Gateway);
    assert_eq!(
        (status["state"].as_str(), status["pid"].as_u64()),
        (Some("running"), Some(42))
    );
    assert_eq!(status["lastExit"], 78);
    let absent = Fake::answering("print) exit 113;;");
    assert_eq!(absent.launchd.status(Job::Gateway)["state"], "not loaded");
}

#[test]
fn running_notifications_are_restarted_alone() {
    let fake = Fake::answering("print) printf '\\tpid = 42\\n'; exit 0;;");
    let file = fake.launchd.file(Job::Notify);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, "").unwrap();
    let Fake { folder, launchd } = fake;
    let manager = Manager::Launchd(launchd);
    assert!(manager.restart_running(Job::Notify).unwrap());
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    let target = "gui/501/local.plexus.notify";
    assert_eq!(asked, format!("print {target}\nkickstart -k {target}\n"));
}
