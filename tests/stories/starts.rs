//! What refuses a start: each refusal names what is wrong, and the start succeeds once it is mended.

#[cfg(target_os = "linux")]
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Builder, Folder, Gateway, binaries};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

#[track_caller]
fn says(said: &Said, words: &[&str]) {
    // 78: another try would end the same way.
    assert!(said.status == 1 || said.status == 78, "{said}");
    assert!(!said.stdout.contains("PLEXUS_READY"), "{said}");
    for word in words {
        assert!(said.stderr.contains(word), "{word:?} is not in {said}");
    }
}

fn again() -> Builder {
    Gateway::builder()
}

/// A credential's file that is a link could be read from, or written to, a place that others reach.
#[test]
fn a_link_in_a_files_place_is_not_followed() {
    let mut gateway = Gateway::start();
    let elsewhere = Folder::empty();
    elsewhere.write("key", gateway.state_file("connection-key"));
    let target = elsewhere.path().join("key");
    fs::set_permissions(&target, PermissionsExt::from_mode(0o644)).expect("a mode");
    assert!(gateway.stop().success());
    let key = gateway.state().join("connection-key");
    let kept = fs::read(&key).expect("the key");
    fs::remove_file(&key).expect("the key goes");
    symlink(&target, &key).expect("a link");

    says(
        &again().refused(gateway.home()),
        &["connection-key", "not a plain file"],
    );
    let mode = fs::metadata(&target).expect("the target").permissions();
    assert_eq!(mode.mode() & 0o777, 0o644, "the target was left alone");

    fs::remove_file(&key).expect("the link goes");
    fs::write(&key, kept).expect("the key comes back");
    gateway.start_again();
    gateway.owner().get("/admin/api/grants").expect_ok();
}

/// A variable that is set and empty counts as unset: the start gets as far as the home, which another gateway has, and
/// `edition`, which an upgrade asks in the daemon's environment, answers.
#[test]
fn empty_variable_counts_as_unset() {
    let gateway = Gateway::start();
    let start = |port: &str| {
        let mut command = programs::command(&binaries::path("plexusd"), gateway.home());
        command.arg("--home").arg(gateway.state());
        command.env("PLEXUS_PORT", port);
        programs::run(command)
    };
    let empty = start("");
    says(&empty, &["another plexusd runs"]);
    let wrong = start("x");
    // The control.
    assert_contains(&wrong.stderr, "invalid value 'x'");
    assert_eq!((wrong.status, empty.status), (2, 1), "{wrong}");

    let with_empty = |arguments: &[&str], name: &str| {
        let mut command = programs::command(&binaries::path("plexusd"), gateway.home());
        command.args(arguments).env(name, "");
        programs::run(command)
    };
    let home = gateway.state().to_string_lossy().into_owned();
    let edition = ["edition", "--home", &home];
    with_empty(&edition, "PLEXUS_PORT").expect_ok();
    with_empty(&edition[..1], "PLEXUS_HOME").expect_ok();
    let homeless = with_empty(&["restore", "/nonexistent"], "HOME");
    assert!(homeless.stdout.contains("no home directory"), "{homeless}");
}

/// Guessing could open a port, or end a credential that somebody holds.
#[test]
fn a_file_that_cannot_be_read_is_not_guessed_at() {
    let mut gateway = Gateway::start();
    assert!(gateway.stop().success());
    for (name, words) in [
        ("network.json", "fix it, or remove it"),
        ("connection-key", "does not hold a connection key"),
        ("network.json", "twice"),
    ] {
        let path = gateway.state().join(name);
        let kept = fs::read(&path).ok();
        // Two readers could take the last one differently, also where its members are not ours.
        let nonsense = match words {
            "twice" => {
                "{\"version\":1,\"bindAddresses\":[\"127.0.0.1\"],\"publicHostnames\":[],\"x\":1,\"x\":2}"
            }
            _ => "nonsense",
        };
        fs::write(&path, nonsense).expect("a file");
        let said = again().refused(gateway.home());
        says(said.expect_status(78), &[name, words]);
        assert_eq!(
            fs::read_to_string(&path).expect("the file"),
            nonsense,
            "{name} was left as it is"
        );
        match kept {
            Some(kept) => fs::write(&path, kept).expect("the file comes back"),
            None => fs::remove_file(&path).expect("the file goes"),
        }
    }
    gateway.start_again();
}

/// A program that is put in a folder of PATH does not become the launcher.
#[cfg(target_os = "linux")]
#[test]
fn programs_are_looked_for_in_one_place_only() {
    let (home, empty) = (
        TempDir::with_prefix("plx").expect("a folder"),
        Folder::empty(),
    );
    let programs = binaries::path("plexusd");
    let programs = programs
        .parent()
        .expect("a folder")
        .to_string_lossy()
        .into_owned();
    let workers = empty.path().to_string_lossy().into_owned();
    let said = again()
        .env("PATH", &programs)
        .arg("--workers")
        .arg(&workers)
        .refused(home.path());
    says(&said, &["plexus-sandbox-exec", &workers, "--workers"]);
    let mut gateway = again().arg("--workers").arg(&programs).start();
    assert!(gateway.stop().success());
}

/// A source that held the gateway's state, or all that its owner has, would hand out every credential.
#[test]
fn a_folder_that_is_too_much_is_refused() {
    let home = TempDir::with_prefix("plx").expect("a folder");
    says(
        &again().workspace(home.path()).refused(home.path()),
        &["--workspace", "overlaps"],
    );

    let person = Folder::empty();
    let said = again()
        .workspace(&person.path())
        .env("HOME", &person.path().to_string_lossy())
        .refused(home.path());
    says(&said, &["--workspace", "home directory itself"]);
    // If the state lies elsewhere, what holds the home holds nothing of ours, and is more than the home.
    person.write("me/.profile", "");
    let said = again()
        .workspace(&person.path())
        .env("HOME", &person.path().join("me").to_string_lossy())
        .refused(home.path());
    says(&said, &["--workspace", "what holds it"]);

    person.write("project/a.txt", "a");
    let mut gateway = again()
        .workspace(&person.path().join("project"))
        .env("HOME", &person.path().to_string_lossy())
        .start();
    assert!(gateway.stop().success());
}

#[test]
fn a_state_directory_too_deep_for_a_socket_is_refused() {
    let home = TempDir::with_prefix("plx").expect("a folder");
    let deep = home.path().join("d".repeat(90));
    fs::create_dir(&deep).expect("a folder");
    says(
        &again().refused(&deep),
        &["too long for a socket", "--home"],
    );
}

/// A mark of time that nothing supports would end every window for good.
#[test]
fn a_clock_file_far_ahead_is_not_believed_and_ends_nothing() {
    let mut gateway = Gateway::start();
    let _one = gateway.agent("one");
    let enrolled = |gateway: &Gateway| {
        let agents = gateway.owner().get("/admin/api/agents/enrollments");
        agents.expect_ok()["agents"][0]["status"].clone()
    };
    let now = |gateway: &Gateway| -> u64 {
        let text = gateway.state_file("clock.json");
        let mark: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        mark["at"].as_u64().expect("a moment")
    };
    assert!(gateway.stop().success());
    let mark = gateway.state().join("clock.json");
    let (right, hour) = (now(&gateway), 3_600_000);
    let put = |at: u64| {
        fs::write(&mark, format!("{{\"at\":{at},\"boot\":{}}}", u64::MAX)).expect("a mark");
    };
    put(right + 10 * 365 * 24 * hour);
    let refused = again().refused(gateway.home());
    says(
        &refused,
        &["clock.json", "Nothing was ended", "remove that file"],
    );
    let doctor = gateway.cli(["doctor"]);
    assert_contains(&doctor.stdout, "ahead of this machine's clock");
    let remedy = format!("rm -i {}", mark.display());
    assert!(doctor.stdout.contains(&remedy), "{doctor}");

    // As it says.
    fs::remove_file(&mark).expect("removed");
    gateway.start_again();
    assert_eq!(enrolled(&gateway), "active");
    // The control: a mark within the bound counts.
    assert!(gateway.stop().success());
    put(right + 20 * hour);
    gateway.start_again();
    assert!(gateway.stop().success());
    assert!(now(&gateway) >= right + 20 * hour);
}

/// `nohup plexusd &`, where no service manager is: the end of an ssh session ends no gateway.
#[cfg(target_os = "linux")]
#[test]
fn gateway_under_nohup_outlives_its_terminal() {
    let real = binaries::path("plexusd");
    let hung_up = |by: &str| {
        let own = Folder::empty();
        let wrapper = format!("#!/bin/sh\nexec {by} {} \"$@\"\n", real.display());
        own.program("plexusd", wrapper);
        let gateway = Gateway::builder().programs(&own.path()).start();
        let pid = i32::try_from(gateway.pid()).expect("a pid");
        kill(Pid::from_raw(pid), Signal::SIGHUP).expect("the gateway");
        gateway
    };
    let mut kept = hung_up("nohup");
    // The control, whatever these tests themselves were started by.
    let mut other = hung_up("env --default-signal=HUP");
    assert!(other.ended().success(), "the control");
    kept.client().get("/v1/health").expect_status(200);
    assert!(kept.stop().success());
}
