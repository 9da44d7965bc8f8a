//! Kernels older than this one: `plexus-old-kernel` answers the question for Landlock's version in the kernel's place,
//! for the daemon and whatever it starts.

use crate::house::{COUNT, House, Workshop};
use plexus_tests::{Gateway, binaries, programs, until, vault};
use serde_json::{Value, json};
use tempfile::TempDir;

#[test]
fn a_kernel_without_cages_starts_no_gateway_and_the_doctor_says_why() {
    let vault = vault();
    for (kernel, missing, remedy) in [
        ("missing", "Landlock is not available", "Linux 6.7 or newer"),
        ("off", "Landlock is switched off", "lsm="),
        ("3", "Landlock is version 3", "Linux 6.7 or newer"),
    ] {
        let home = TempDir::with_prefix("plx").expect("a temporary folder");
        let start = || Gateway::builder().vault(&vault.path()).kernel(kernel);
        let said = start().refused(home.path());
        said.expect_status(78);
        let last = said.stderr.lines().last().unwrap_or_default();
        for words in ["workers cannot be caged here", missing, remedy] {
            assert!(last.contains(words), "{words:?} is not in {said}");
        }
        // Refused before anything was made.
        assert!(!home.path().join("state/ledger.redb").exists(), "{kernel}");

        let mut doctor = programs::command(&binaries::path("plexus-old-kernel"), home.path());
        doctor
            .env("PLEXUS_HOME", home.path().join("state"))
            .arg(kernel)
            .arg(binaries::path("plexusctl"))
            .args(["--json", "doctor", "--port", "0"]);
        let said = programs::run(doctor);
        said.expect_status(1);
        let seen = said.json();
        let findings = seen["findings"].as_array().expect("findings");
        let of_kernel = |f: &&Value| f["name"] == "kernel" && f["level"] == "fail";
        let found = findings.iter().find(of_kernel).expect("the kernel's");
        let what = found["what"].as_str().expect("words");
        assert!(what.contains(missing) && what.contains(remedy), "{found}");
        assert!(found["remedy"].is_string(), "{found}");
    }
}

/// The control of the refusals, and more: on the lowest version that cages a note is read and an effect happens, by
/// workers that have attacked their own cages first.
#[test]
fn the_oldest_kernel_that_cages_serves_in_proven_cages() {
    let house = House::with(|builder| builder.kernel("4"));
    let agent = house.reader("reader");
    agent.invoke("workspace.list", json!({})).expect_ok();
    let owner = house.owner();
    let status = owner.client.get("/admin/api/status").expect_ok();
    assert_eq!(status["cages"]["version"], 4, "{status:#}");
    assert_eq!(status["cages"]["supported"], true);

    let workshop = Workshop::with(Gateway::builder().fixture().kernel("4"));
    let writer = workshop.writer("writer");
    writer.invoke(COUNT, json!({"line": "counted"})).expect_ok();
    assert_eq!(workshop.effects(), ["counted"]);

    for (owner, role) in [(owner, "reader"), (workshop.owner(), "writer")] {
        let event = until("the start of its worker to be on record", || {
            let mut events = owner.audit(1000).into_iter();
            events.find(|event| {
                let detail = &event["detail"];
                detail["event"] == "worker.start" && detail["role"] == role
            })
        });
        let checks = &event["detail"]["cage"]["checks"];
        let checks = checks.as_array().expect("checks");
        assert!(checks.len() > 10, "{event}");
        assert!(checks.iter().all(|check| check["held"] == true), "{event}");
    }
}
