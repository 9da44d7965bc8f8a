//! What happened to the ledger's files while no daemon looked: an edited row, an older copy. Found at the start, and by
//! both ways to verify.

use crate::house::{House, READ, report};
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Gateway, binaries};
use redb::{Database, ReadableTable as _, TableDefinition};
use std::fs;
use std::path::Path;

const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");

/// Rewrites one piece of one row of a ledger that no daemon has open, as somebody would who knows redb.
fn edit(ledger: &Path, from: &str, to: &str) -> String {
    let db = Database::create(ledger).expect("nobody has it open");
    let tx = db.begin_write().expect("a transaction");
    let changed = {
        let mut rows = tx.open_table(ROWS).expect("the rows");
        let (key, value) = rows
            .iter()
            .expect("rows")
            .map(|row| row.expect("a row"))
            .map(|(key, value)| {
                let text = String::from_utf8(value.value().to_vec()).expect("JSON");
                (key.value().to_owned(), text)
            })
            .find(|(_, value)| value.contains(from))
            .unwrap_or_else(|| panic!("no row holds {from}"));
        let edited = value.replace(from, to);
        rows.insert(key.as_str(), edited.as_bytes()).expect("put");
        key
    };
    tx.commit().expect("committed");
    changed
}

fn verify_copy(gateway: &Gateway, copy: &Path) -> Said {
    let mut command = programs::command(&binaries::path("plexusd"), gateway.home());
    command.arg("verify").arg(copy);
    programs::run(command)
}

/// A grant that nobody gave, put into the rows after a crash: there was no clean stop to write a checkpoint.
#[test]
fn a_row_that_was_edited_after_a_crash_refuses_the_start_and_says_what_to_do() {
    let (mut house, agent) = House::with_reader("one");
    agent.must(READ, report());
    house.gateway.kill9();
    let file = house.gateway.state().join("ledger.redb");
    let good = fs::read(&file).expect("the ledger");
    let key = edit(&file, "\"workspace.list\"", "\"workspace.lisp\"");
    let edited = fs::read(&file).expect("the ledger");

    let said = Gateway::builder().refused(house.gateway.home());
    assert_eq!(said.status, 78, "trying again does not help: {said}");
    for word in [
        "the ledger does not hold together",
        &format!("row `{key}`"),
        "Keep a copy",
        "plexusd verify",
        "restore a good one",
    ] {
        assert!(said.stderr.contains(word), "{word:?} is not in {said}");
    }
    let told = said.stderr.matches("the ledger does not hold together");
    assert_eq!(told.count(), 1, "{said}");
    assert!(
        fs::read(&file).expect("the ledger").len() == edited.len(),
        "a refused ledger is left as it is"
    );
    // What the words say to do.
    let copy = house.gateway.home().join("copy.redb");
    fs::copy(&file, &copy).expect("a copy");
    let found = verify_copy(&house.gateway, &copy);
    assert_eq!(found.status, 1, "{found}");
    assert!(found.stderr.contains(&key), "{found}");
    assert!(found.stderr.starts_with("not sound: "), "{found}");
    assert!(!found.stderr.contains("plexusd verify"), "{found}");
    fs::write(&file, good).expect("a good one");
    house.gateway.start_again();
    let agent = house.back(&agent);
    agent.must(READ, report());
    house.gateway.cli(["audit", "verify"]).expect_ok();
    // Of a file that could not be checked nothing is known.
    let backup = house.gateway.home().join("backup");
    let line = ["backup", backup.to_str().expect("a path")];
    house.gateway.cli(line).expect_ok();
    let unread = house.gateway.home().join("unread");
    fs::create_dir_all(unread.join("archives.jsonl")).expect("a folder");
    for (path, words) in [
        (unread, "Is a directory"),
        (file, "the ledger is in use"),
        (backup, "it is a backup"),
        (house.gateway.home().join("none"), "none: No such file"),
    ] {
        let found = verify_copy(&house.gateway, &path);
        assert_eq!(found.status, 1, "{found}");
        let begins = found.stderr.starts_with("not checked: ");
        assert!(begins && found.stderr.contains(words), "{found}");
        let mut command = programs::command(&binaries::path("plexusd"), house.gateway.home());
        command.args(["verify", "--json"]).arg(&path);
        assert_eq!(programs::run(command).json()["checked"], false);
    }
}

/// An older ledger would bring back what was revoked since. It is served, and every look at the gateway says what it is.
#[test]
fn an_older_copy_is_found_at_every_start_and_by_both_ways_to_verify() {
    let (mut house, agent) = House::with_reader("one");
    assert!(house.gateway.stop().success());
    let file = house.gateway.state().join("ledger.redb");
    let older = fs::read(&file).expect("the ledger");
    house.gateway.start_again();
    house.owner().revoke_agent("one");
    house.gateway.restart();
    let sound = house.owner().get("/admin/api/status").expect_ok();
    assert_eq!(sound["ledger"]["checked"]["holds"], true, "the control");
    house.gateway.cli(["audit", "verify"]).expect_ok();
    assert!(house.gateway.stop().success());

    fs::write(&file, older).expect("the older one");
    house.gateway.start_again();
    // The second start as well, when the log has lines of its own after the ones that contradict it.
    for start in 1..3 {
        let status = house.owner().get("/admin/api/status").expect_ok();
        assert_eq!(status["ledger"]["checked"]["holds"], false, "start {start}");
        let said = house.gateway.cli(["status"]);
        assert!(
            said.stdout.contains("the audit log is not consistent"),
            "start {start}: {said}"
        );
        assert_contains(&house.gateway.stderr(), "audit-heads.jsonl");
        let found = house.gateway.cli(["audit", "verify"]);
        assert_ne!(found.status, 0, "start {start}: {found}");
        let _ = house
            .owner()
            .audited(|event| event["detail"]["rolledBack"].is_string());
        house.back(&agent);
        house.gateway.restart();
    }
    assert!(house.gateway.stop().success());
    let copy = house.gateway.home().join("copy.redb");
    fs::copy(&file, &copy).expect("a copy");
    let alone = verify_copy(&house.gateway, &copy);
    assert_eq!(alone.status, 0, "alone it holds: {alone}");
    let heads = house.gateway.state().join("audit-heads.jsonl");
    fs::copy(heads, house.gateway.home().join("audit-heads.jsonl")).expect("a copy");
    let found = verify_copy(&house.gateway, &copy);
    assert_eq!(found.status, 1, "{found}");
    assert!(found.stderr.contains("audit-heads.jsonl"), "{found}");
    // The owner goes on with it knowingly, as docs/runbook.md says.
    fs::remove_file(house.gateway.state().join("audit-heads.jsonl")).expect("moved away");
    house.gateway.start_again();
    let status = house.owner().get("/admin/api/status").expect_ok();
    assert_eq!(status["ledger"]["checked"]["holds"], true);
}
