//! The proof that a worker gives of its cage: sound in every real cage, unsound wherever something is missing.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::{Cage, OBSIDIAN, Outcome, uncaged};

/// The targets that a gateway makes.
struct Targets {
    _tcp: TcpListener,
    _unix: UnixListener,
    act: Vec<String>,
}

impl Targets {
    fn of(cage: &Cage, role: &str) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let socket = cage.outside("probe.sock");
        let unix = UnixListener::bind(&socket).expect("a socket");
        let port = tcp.local_addr().expect("an address").port().to_string();
        let parent = std::process::id().to_string();
        let (canary, state) = (cage.outside("note.md"), cage.outside(""));
        let root = cage.root.display().to_string();
        let act = [
            "give-up", "probe", &canary, &state, &port, &socket, &root, role, &parent, "became",
        ]
        .map(str::to_owned)
        .to_vec();
        Self {
            _tcp: tcp,
            _unix: unix,
            act,
        }
    }

    fn act(&self) -> Vec<&str> {
        self.act.iter().map(String::as_str).collect()
    }
}

/// The names of the checks that did not hold.
fn failures(report: &str) -> Vec<&str> {
    let failed = report
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(" false "));
    failed
        .map(|(_, rest)| rest.split(':').next().unwrap_or(rest))
        .collect()
}

fn names(cage: &Cage) -> Vec<String> {
    let entries = std::fs::read_dir(&cage.root).expect("the root");
    entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn every_real_cage_is_sound_and_the_root_is_left_as_it_was() {
    for (cage, role) in [
        (Cage::reader(), "reader"),
        (Cage::writer(), "writer"),
        (Cage::new(OBSIDIAN, "reader"), "reader"),
    ] {
        let report = cage.allows(&Targets::of(&cage, role).act());
        assert!(report.starts_with("sound true\n"), "{report}");
        assert_eq!(names(&cage), ["note.md"]);
    }
}

#[test]
fn source_without_folders_is_proven_by_its_executable() {
    let cage = Cage::reader();
    let mut targets = Targets::of(&cage, "reader");
    targets.act[6].clear();
    let report = cage.allows(&targets.act());
    assert!(report.starts_with("sound true\n"), "{report}");
    let control = "Control true read the worker's executable";
    assert!(
        report.contains(control) && !report.contains("the root"),
        "{report}"
    );
}

#[test]
fn without_a_cage_every_attack_goes_through_and_changes_nothing() {
    let cage = Cage::reader();
    let targets = Targets::of(&cage, "reader");
    // Not even exec and fork are given up.
    let Outcome::Done(report) = uncaged(&targets.act()[1..]) else {
        panic!("no report")
    };
    assert!(report.starts_with("sound false\n"), "{report}");
    let attacks = report
        .lines()
        .filter(|line| line.starts_with("Attack"))
        .collect::<Vec<_>>();
    assert!(attacks.len() >= 10, "{report}");
    let reached = |line: &&str| {
        line.contains("went through")
        // A stream socket takes no datagram: it was reached, and said so.
        || line.contains("datagram") && line.contains("proves nothing")
    };
    assert!(attacks.iter().all(reached), "{report}");
    assert!(
        report
            .lines()
            .filter(|line| line.starts_with("Control"))
            .all(|line| line.starts_with("Control true")),
        "{report}"
    );
    assert_eq!(names(&cage), ["note.md"]);
    assert_eq!(
        std::fs::read_to_string(cage.root.join("note.md")).expect("the note"),
        "text"
    );
}

#[test]
fn each_hole_is_found() {
    let hole = |rule: &str, expected: &[&str]| {
        let cage = Cage::reader();
        let targets = Targets::of(&cage, "reader");
        let rule = rule
            .replace("OUTSIDE", &cage.outside.display().to_string())
            .replace("PORT", &targets.act[4]);
        let report = cage.with(&rule).allows(&targets.act());
        assert!(report.starts_with("sound false\n"), "{rule}: {report}");
        assert_eq!(failures(&report), expected, "{report}");
    };
    hole(
        "(allow file-read* (literal \"OUTSIDE/note.md\"))",
        &["open the canary"],
    );
    hole(
        "(allow file-read* (subpath \"OUTSIDE\"))",
        &[
            "open the canary",
            "open the state directory",
            "list the state directory",
        ],
    );
    hole(
        "(allow file-write* (subpath \"OUTSIDE\"))",
        &["open the canary for writing"],
    );
    hole(
        "(allow network-outbound (remote tcp \"*:PORT\"))",
        &["connect to a TCP port"],
    );
}

/// With a launcher that stayed outside: it is the parent, and not signalled either.
#[cfg(target_os = "linux")]
#[test]
fn monitored_worker_proves_its_cage() {
    let cage = Cage::reader();
    let mut targets = Targets::of(&cage, "reader");
    let another = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = another.local_addr().expect("an address").port();
    let cage = cage.with(&format!(
        "(allow network-outbound (remote tcp \"localhost:{port}\"))"
    ));
    // A process that takes the launcher for itself sees that its parent is somebody else.
    let report = cage.allows(&targets.act());
    assert_eq!(
        failures(&report),
        ["have the gateway as parent"],
        "{report}"
    );
    targets.act[9] = "stayed".to_owned();
    let report = cage.allows(&targets.act());
    assert!(report.starts_with("sound true\n"), "{report}");
    assert!(
        report.contains("Attack true signal the launcher"),
        "{report}"
    );
}

#[test]
fn a_writer_that_claims_to_be_a_reader_is_found() {
    let cage = Cage::writer();
    let report = cage.allows(&Targets::of(&cage, "reader").act());
    assert!(report.starts_with("sound false\n"), "{report}");
    assert!(
        failures(&report).contains(&"create a file in the root"),
        "{report}"
    );
}

#[test]
fn a_reader_that_claims_to_be_a_writer_fails_its_control() {
    let cage = Cage::reader();
    let report = cage.allows(&Targets::of(&cage, "writer").act());
    assert_eq!(failures(&report), ["write in the root"], "{report}");
}

#[test]
fn a_target_that_is_missing_proves_nothing() {
    let cage = Cage::reader();
    let mut targets = Targets::of(&cage, "reader");
    let parent_of_the_missing = Path::new(&targets.act[6]).join("missing");
    targets.act[2] = parent_of_the_missing.display().to_string();
    targets.act[8] = "0".to_owned();
    let report = cage.allows(&targets.act());
    assert_eq!(
        failures(&report),
        [
            "open the canary",
            "open the canary for writing",
            "signal the parent",
            "have the gateway as parent"
        ],
        "{report}"
    );
}
