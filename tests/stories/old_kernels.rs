//! Kernels older than this one: `plexus-old-kernel` answers the question for Landlock's version in the kernel's place,
//! for the daemon and whatever it starts.

use crate::house::{COUNT, House, Workshop};
use plexus_tests::texts::{assert_contains, assert_lacks, list_of};
use plexus_tests::{Gateway, binaries, programs, vault, waiting::until};
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
    agent.must("workspace.list", json!({}));
    let owner = house.owner();
    let status = owner.get("/admin/api/status").expect_ok();
    assert_eq!(status["cages"]["version"], 4, "{status:#}");
    assert_eq!(status["cages"]["supported"], true);

    let workshop = Workshop::with(Gateway::builder().fixture().kernel("4"));
    let writer = workshop.writer("writer");
    writer.must(COUNT, json!({"line": "counted"}));
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

/// What the desperate may do: one source, by its name, for one launch, and everybody who looks is told.
#[test]
fn a_source_without_a_cage_is_the_owners_own_doing_and_loud() {
    let flag = "--unsandboxed-i-understand";
    let mut house = House::with(|builder| builder.kernel("missing").arg(flag).arg("workspace"));
    let agent = house.reader("reader");
    agent.must("workspace.list", json!({}));
    // Nobody else is let out.
    let refused = agent.invoke("obsidian.vault.read", json!({"path": "Home.md"}));
    assert_eq!(refused.at("/ok"), false, "{refused}");

    let owner = house.owner();
    let status = owner.get("/admin/api/status").expect_ok();
    assert_eq!(status["unsandboxed"], json!(["workspace"]));
    let said = house.gateway.cli(["status"]);
    said.expect_status(1);
    assert_contains(&said.stdout, "workspace RUNS WITHOUT A SANDBOX");
    let said = house.gateway.cli(["doctor"]);
    said.expect_status(1);
    assert_contains(&said.stdout, "workspace RUNS WITHOUT A SANDBOX");
    let said = house.gateway.cli(["sources", "profile", "workspace"]);
    assert!(
        said.stdout.starts_with("workspace RUNS WITHOUT A SANDBOX"),
        "{said}"
    );
    let shown = console(&house.gateway);
    assert_contains(&shown, "ITS WORKERS RUN WITHOUT A SANDBOX");
    assert!(shown.contains("reader NOT SANDBOXED"), "{shown}");
    assert!(shown.contains("<b>Something is wrong:</b>"), "{shown}");
    let said = owner.audited(|event| event["detail"]["event"] == "sources.unsandboxed");
    assert_eq!(said["detail"]["sources"], json!(["workspace"]));
    let start = until("the start of its worker to be on record", || {
        let mut events = owner.audit(200).into_iter();
        events.find(|event| event["detail"]["event"] == "worker.start")
    });
    assert_eq!(start["detail"]["unsandboxed"], true, "{start}");
    let told = house.gateway.cli(["audit", "tail", "-n", "200"]);
    for words in [
        "you let RUN WITHOUT A SANDBOX: workspace",
        "reader of workspace starts WITHOUT A SANDBOX",
    ] {
        assert!(told.expect_ok().contains(words), "{told}");
    }
    // It attacked all the same, and what it found is on record.
    let checks = list_of(&start["detail"]["cage"]["checks"]);
    assert!(checks.iter().any(|check| check["held"] == false), "{start}");

    // It ends with the flag.
    assert!(house.gateway.stop().success());
    house.gateway.start_again_as(Gateway::builder());
    let status = house.owner().get("/admin/api/status").expect_ok();
    assert_eq!(status["unsandboxed"], json!([]));
    let back = house.back(&agent);
    back.must("workspace.list", json!({}));
    let start = until("the start of its worker to be on record", || {
        let mut events = house.owner().audit(200).into_iter();
        events.find(|event| event["detail"]["event"] == "worker.start")
    });
    assert!(start["detail"]["unsandboxed"].is_null(), "{start}");
    let shown = console(&house.gateway);
    assert!(!shown.contains("WITHOUT A SANDBOX"), "{shown}");
    assert!(shown.contains("reader sandboxed"), "{shown}");
    assert_lacks(&shown, "NOT SANDBOXED");
    assert_lacks(&shown, "Something is wrong:");

    // A name that means nothing is no name.
    assert!(house.gateway.stop().success());
    let nobody = Gateway::builder().arg(flag).arg("nowhere");
    let said = nobody.refused(house.gateway.home());
    said.expect_status(78);
    assert!(said.stderr.contains("there is no such source"), "{said}");
}

/// What the console's first view says of the sources, as HTML.
fn console(gateway: &Gateway) -> String {
    let at = format!("localhost:{}", gateway.port());
    let page = gateway
        .client()
        .with("host", &at)
        .with("origin", &format!("http://{at}"));
    let opened = page.post("/admin/console/sign-in", json!({"key": gateway.key()}));
    let cookie = opened.header("set-cookie").expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair");
    let view = page
        .with("cookie", cookie)
        .with("x-plexus-tab", &opened.text_at("/tab"))
        .get("/admin/console/view")
        .expect_ok();
    view["glance"].as_str().expect("HTML").to_owned()
}
