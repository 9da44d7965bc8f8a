//! Backup and restore: while the gateway is at work, after damage, and across a kill.

use crate::house::{House, READ, WRITE, note, report};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_tests::agent::handshake;
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::{PATIENCE, until_true};
use plexus_tests::{Agent, Gateway, binaries};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

fn backup(gateway: &Gateway, to: &Path, more: &[&str]) -> Value {
    let mut line = vec!["--json", "backup", to.to_str().expect("a path")];
    line.extend(more);
    let said = gateway.cli(line);
    said.expect_ok();
    said.json()
}

fn restore(gateway: &Gateway, from: &Path, more: &[&str]) -> Said {
    let mut line = vec!["--json", "restore", from.to_str().expect("a path")];
    line.extend(more);
    gateway.cli(line)
}

/// Names beside the state directory that restores leave.
fn beside(gateway: &Gateway) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(gateway.home())
        .expect("the home")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("state."))
        })
        .collect();
    found.sort();
    found
}

/// Ends the load, also when a test fails beside it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_backup_made_at_work_holds_everything_acknowledged_before_it_began() {
    let mut house = House::open();
    let file = house.gateway.home().join("backup");
    let reader = house.reader("reader");
    let writer = house.reader("writer");
    house.owner().grant("writer", WRITE, "1d").expect_ok();
    reader.must(READ, report());
    let acknowledged = house.owner().audit(1)[0]["id"].clone();

    let over = AtomicBool::new(false);
    let made = std::thread::scope(|scope| {
        let ends = Ends(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                reader.must(READ, report());
            }
        });
        scope.spawn(|| {
            for n in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                writer.must(WRITE, note(&format!("made/{n}.md"), "x\n"));
            }
        });
        // Only once both are at it.
        until_true("effects under way", || house.workspace.has("made/3.md"));
        let made = backup(&house.gateway, &file, &[]);
        drop(ends);
        made
    });
    assert_eq!(
        fs::metadata(&file).expect("the file").permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(made["secrets"], false);
    let key = house.gateway.key();
    let bytes = fs::read(&file).expect("the file");
    assert!(
        !bytes.windows(key.len()).any(|w| w == key.as_bytes()),
        "no key in it"
    );
    // Nothing of the copy stays in the state directory.
    let copies = house.gateway.state().join("run/backup");
    assert_eq!(fs::read_dir(&copies).expect("the folder").count(), 0);

    assert!(house.gateway.stop().success());
    restore(&house.gateway, &file, &["--replace"]).expect_status(0);
    house.gateway.start_again();
    let owner = house.owner();
    house.gateway.cli(["audit", "verify"]).expect_ok();
    let id = acknowledged.as_str().expect("an id");
    owner.get(&format!("/admin/api/audit/{id}")).expect_ok();
    let restored = owner.audited(|event| event["detail"]["event"] == "restored");
    assert_eq!(
        restored["seq"].as_u64(),
        made["sequence"].as_u64().map(|last| last + 1),
        "{restored} {made}"
    );
}

#[test]
fn after_a_restore_nobody_gets_in_and_nothing_stands_until_the_owner_has_looked() {
    let mut house = House::open();
    let file = house.gateway.home().join("backup");
    let agent = house.reader("a");
    let gone = house.reader("gone");
    let waiting = agent.must_ask(WRITE, note("x.md", "x\n"));
    house.writer("w", &[WRITE]).must(WRITE, note("y.md", "y\n"));
    let undo = house.gateway.cli(["undo"]);
    assert_contains(undo.expect_ok(), "y.md");
    backup(&house.gateway, &file, &["--with-secrets"]);
    let key = house.gateway.key();
    // What is taken back after the backup is in it all the same.
    house.owner().revoke_agent("gone");

    // A gateway that runs is not replaced.
    let refused = restore(&house.gateway, &file, &["--replace"]);
    assert_contains(&refused.expect_status(77).stderr, "gateway_runs");
    assert!(house.gateway.stop().success());
    let refused = restore(&house.gateway, &file, &[]);
    assert_contains(&refused.expect_status(77).stderr, "home_not_empty");
    let restored = restore(&house.gateway, &file, &["--replace"]);
    restored.expect_status(0);
    let restored = restored.json();
    assert_eq!(restored["agents"], json!(["a", "gone", "w"]), "{restored}");
    assert_eq!(restored["requests"], 1, "{restored}");
    assert!(
        restored["sources"]
            .as_array()
            .is_some_and(|s| s.contains(&json!("workspace")))
    );
    assert!(restored["ageMs"].is_u64() && restored["madeAt"].is_string());
    let kept = PathBuf::from(restored["kept"].as_str().expect("the old state is kept"));
    assert_eq!(beside(&house.gateway), std::slice::from_ref(&kept));
    assert!(kept.join("ledger.redb").is_file());

    house.gateway.start_again();
    assert_eq!(house.gateway.key(), key, "the key was in it");
    for credential in [&agent, &gone] {
        let refused = handshake(&house.gateway.client(), &credential.pat);
        assert_eq!(refused.status, 401, "{refused}");
    }
    assert!(
        house
            .owner()
            .pending()
            .iter()
            .all(|card| card["pendingId"] != waiting.as_str())
    );
    let grants = house.owner().grants();
    assert!(
        !grants.is_empty() && grants.iter().all(|grant| grant["suspended"].is_string()),
        "{grants:?}"
    );
    let status = house.gateway.cli(["status"]);
    assert_contains(
        &status.stdout,
        "workspace: grants of it that are suspended until you decide",
    );
    assert_lacks(&status.all(), "can do more");
    // What an undo needs is in no backup, and nothing of the source has changed.
    let undo = house.gateway.cli(["undo"]);
    assert_lacks(undo.expect_ok(), "y.md");
    let cards = house.gateway.cli(["approvals", "list"]);
    assert_contains(cards.expect_ok(), "workspace has suspended grants");

    // A new code: the agent is back, and its grants rest until they are resumed.
    let said = house.gateway.cli(["--json", "agents", "code", "a"]);
    said.expect_ok();
    let code = said.json()["code"].as_str().expect("a code").to_owned();
    let back = Agent::enroll(&house.gateway.client(), &code);
    let resting = back.invoke(READ, report());
    assert_eq!(resting.status, 401, "{resting}");
    let resumed = house
        .gateway
        .cli(["sources", "resume", "nope", "workspace"]);
    assert_contains(&resumed.expect_status(1).stderr, "there is no source nope");
    assert_contains(&resumed.stdout, "workspace serves");
    back.must(READ, report());
}

/// What the owner closed since the backup stays closed, and is named.
#[test]
fn a_restore_opens_no_address() {
    let mut house = House::open();
    let file = house.gateway.home().join("backup");
    let network = |house: &House| house.owner().get("/admin/api/network").expect_ok();
    let closed = network(&house);
    let opened = json!({"bindAddresses": ["0.0.0.0"], "publicHostnames": ["plexus.example"]});
    let client = house.owner().client;
    client.post("/admin/api/network", opened).expect_ok();
    backup(&house.gateway, &file, &["--with-secrets"]);
    assert!(house.gateway.stop().success());
    let said = restore(&house.gateway, &file, &["--replace"]);
    said.expect_status(0);
    let restored = said.json();
    assert_eq!(
        restored["network"]["bindAddresses"],
        json!(["0.0.0.0"]),
        "{restored}"
    );
    house.gateway.start_again();
    let after = network(&house);
    for member in ["bindAddresses", "publicHostnames"] {
        assert_eq!(after[member], closed[member], "{after}");
    }
}

#[test]
fn what_was_lent_at_the_backup_is_lent_to_nobody_after_a_restore() {
    let mut house = House::open();
    let file = house.gateway.home().join("backup");
    let one = house.reader("one");
    let above = plexus_tests::Folder::empty();
    above.write("My Notes/a.md", "one\n");
    let body = json!({"agentId": "one", "path": above.path().join("My Notes"), "write": true});
    let lend = |house: &House| {
        let reply = house.owner().post("/admin/api/lend", body.clone());
        reply.expect_ok();
    };
    lend(&house);
    let a = json!({"path": "a.md"});
    one.must("my-notes.read", a.clone());
    backup(&house.gateway, &file, &["--with-secrets"]);
    assert!(house.gateway.stop().success());
    let restored = restore(&house.gateway, &file, &["--replace"]);
    restored.expect_status(0);
    let restored = restored.json();
    assert_eq!(restored["lendings"], json!(["my-notes"]), "{restored}");
    let sources = restored["sources"].to_string();
    // It is not suspended.
    assert_lacks(&sources, "my-notes");

    house.gateway.start_again();
    let code = house
        .gateway
        .cli(["--json", "agents", "code", "one"])
        .json();
    let back = Agent::enroll(
        &house.gateway.client(),
        code["code"].as_str().expect("a code"),
    );
    // All that a restore leaves to the owner to say is said, and it is lent to nobody all the same.
    house.gateway.must_cli(["sources", "resume", "workspace"]);
    back.must_fail("my-notes.read", a.clone(), 404, "unknown_capability");
    let lent = house.owner().get("/admin/api/lend").expect_ok();
    assert!(lent["lent"][0]["endedAt"].is_string(), "{lent}");
    house.gateway.cli(["audit", "verify"]).expect_ok();
    // The control: the owner lends it again.
    lend(&house);
    back.must("my-notes.read", a);
}

#[test]
fn a_backup_at_rest_and_a_restore_to_an_empty_place() {
    let mut house = House::open();
    let (agent, file) = (house.reader("a"), house.gateway.home().join("backup"));
    agent.must(READ, report());
    assert!(house.gateway.stop().success());
    backup(&house.gateway, &file, &[]);
    let again = house
        .gateway
        .cli(["backup", file.to_str().expect("a path")]);
    assert_contains(&again.expect_status(77).stderr, "file_exists");
    let elsewhere = house.gateway.home().join("elsewhere/new");
    let place = elsewhere.to_str().expect("a path");
    let restored = house
        .gateway
        .cli(["--home", place, "restore", file.to_str().expect("a path")]);
    // Its lines act on the state directory that was restored.
    assert_contains(restored.expect_ok(), "  plexusctl agents code a\n");
    assert_contains(&restored.stderr, &format!(": export PLEXUS_HOME={place}\n"));
    let mode = fs::metadata(&elsewhere)
        .expect("the home")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert!(
        !elsewhere.join("connection-key").exists(),
        "it was not in it"
    );
    let state = house.gateway.state();
    fs::remove_dir_all(&state).expect("the old state goes");
    fs::rename(&elsewhere, &state).expect("the restored one is the state");
    house.gateway.start_again();
    house.gateway.cli(["audit", "verify"]).expect_ok();
}

#[test]
fn a_torn_or_altered_backup_is_refused_and_changes_nothing() {
    let mut house = House::open();
    let file = house.gateway.home().join("backup");
    backup(&house.gateway, &file, &[]);
    assert!(house.gateway.stop().success());
    let whole = fs::read(&file).expect("the file");
    let before = fs::read(house.gateway.state().join("ledger.redb")).expect("the ledger");
    let bad = house.gateway.home().join("bad");
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for bytes in [&whole[..whole.len() - 100], &whole[..30], &altered] {
        fs::write(&bad, bytes).expect("a file");
        let refused = restore(&house.gateway, &bad, &["--replace"]);
        assert_contains(&refused.expect_status(77).stderr, "backup_damaged");
    }
    assert!(beside(&house.gateway).is_empty());
    assert_eq!(
        fs::read(house.gateway.state().join("ledger.redb")).expect("the ledger"),
        before
    );
    restore(&house.gateway, &file, &["--replace"]).expect_status(0);
}

/// Runs `plexusd` and kills it as soon as `when` gives something.
fn killed(gateway: &Gateway, line: &[&str], when: impl Fn() -> bool) {
    let mut command = programs::command(&binaries::path("plexusd"), gateway.home());
    let mut child = command
        .args(line)
        .arg("--home")
        .arg(gateway.state())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    while !when() && child.try_wait().expect("our child").is_none() {
        assert!(began.elapsed() < PATIENCE, "{line:?}: no such moment");
        std::hint::spin_loop();
    }
    // Not reaped unless it has ended by itself: then there is nothing to kill.
    let pid = i32::try_from(child.id()).expect("a pid");
    if child.try_wait().expect("our child").is_none() {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("our child");
    }
    child.wait().expect("our child");
}

#[test]
fn a_kill_in_the_middle_leaves_no_half_home_and_no_half_backup() {
    let mut house = House::open();
    let file = house.gateway.home().join("backup");
    house.reader("a");
    backup(&house.gateway, &file, &[]);
    assert!(house.gateway.stop().success());
    let (home, state) = (house.gateway.home().to_owned(), house.gateway.state());
    let from = file.to_str().expect("a path").to_owned();
    let stage = home.join("state.restoring");

    // At each thing that can be seen of a restore from outside.
    let seen: [&dyn Fn() -> bool; 6] = [
        &|| stage.exists(),
        &|| stage.join("home/ledger.redb").exists(),
        &|| stage.join("home/audit-heads.jsonl").exists(),
        &|| stage.join("home/ledger.ballast").exists(),
        &|| stage.join("ready").exists(),
        &|| {
            fs::read_dir(&home).is_ok_and(|d| {
                d.flatten()
                    .any(|e| e.file_name().to_string_lossy().starts_with("state.before-"))
            })
        },
    ];
    for when in seen {
        killed(&house.gateway, &["restore", &from, "--replace"], when);
        // Whichever it is, it is whole: it opens, verifies, and serves.
        house.gateway.start_again();
        house.gateway.cli(["audit", "verify"]).expect_ok();
        assert!(house.gateway.stop().success());
    }
    // A later restore clears what is left, and loses no state that was there.
    restore(&house.gateway, &file, &["--replace"]).expect_status(0);
    assert!(!stage.exists());
    let all = beside(&house.gateway);
    assert!(!all.is_empty());
    for kept in all {
        assert!(kept.join("ledger.redb").is_file(), "{}", kept.display());
    }

    let folder = home.join("backups");
    fs::create_dir(&folder).expect("a folder");
    let to = folder.join("b");
    let part = || fs::read_dir(&folder).is_ok_and(|mut d| d.next().is_some());
    killed(
        &house.gateway,
        &["backup", to.to_str().expect("a path")],
        part,
    );
    if to.exists() {
        // It was quicker than the kill: then it is whole.
        restore(&house.gateway, &to, &["--replace"]).expect_status(0);
    }
    let copies = state.join("run/backup");
    house.gateway.start_again();
    assert!(!copies.exists(), "a start clears what a backup left");
}
