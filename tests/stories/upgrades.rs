//! A home outlives the build that made it: what an earlier one wrote is read, what the owner granted goes on.

use plexus_tests::{Agent, Folder, Gateway, earlier};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use tempfile::TempDir;

/// The PAT that `claude-code` holds in the earlier home.
const PAT: &str = "plx_agent_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A home of format 1, killed in the middle of a day: two agents, one of them ended; reads until revoked, writes below
/// `Projects`, one of five used; one call denied; a setting, a hidden capability.
fn lay(home: &Path, folder: &Folder) {
    let hex = Sha256::digest(PAT)
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let root = folder.path().canonicalize().expect("the folder");
    let inode = root.metadata().expect("the folder").ino().to_string();
    earlier::lay(
        &home.join("state"),
        include_str!("../homes/format-1.txt"),
        &[
            ("@ROOT@", &root.to_string_lossy()),
            ("@INODE@", &inode),
            ("@PAT@", &hex),
        ],
    );
}

fn folder() -> Folder {
    let folder = Folder::empty();
    folder.write("report.txt", "the report");
    folder.write("Projects/a.txt", "a");
    folder
}

#[test]
fn a_home_of_the_format_before_goes_on_as_it_was() {
    let (home, folder) = (
        TempDir::with_prefix("plx").expect("a temporary folder"),
        folder(),
    );
    lay(home.path(), &folder);
    let mut gateway = Gateway::builder().start_in(home);
    for launch in 0..2 {
        let owner = gateway.owner();
        let mut grants = owner.grants();
        grants.retain(|grant| grant["suspended"].is_null());
        assert_eq!(grants.len(), 3, "{grants:#?}");
        let config = owner.client.get("/v1/config").expect_ok();
        assert_eq!(config["tokenLifetimeMs"], 600_000, "{config}");

        let agent = Agent::with_pat(&gateway.client(), "claude-code", PAT);
        let sees = agent.sees();
        assert!(!sees.contains(&"workspace.delete".to_owned()), "{sees:?}");
        agent
            .invoke("workspace.read", json!({"path": "report.txt"}))
            .expect_ok();
        let new = json!({"path": format!("Projects/{launch}.txt"), "content": "new"});
        agent.invoke("workspace.write", new).expect_ok();
        // The narrowing came over as well.
        let beyond = json!({"path": format!("{launch}.txt"), "content": "new"});
        agent
            .invoke("workspace.write", beyond)
            .expect_error(401, "grant_required");
        gateway.cli(["audit", "verify"]).expect_status(0);
        gateway.restart();
    }
    // The way back is there.
    let copy = gateway.state().join("ledger.redb.format-1");
    assert_eq!(copy.metadata().expect("a copy").mode() & 0o777, 0o600);
}

/// An earlier home that was edited is refused like any other, and the words name the row.
#[test]
fn an_edited_row_of_an_earlier_home_is_found() {
    let home = TempDir::with_prefix("plx").expect("a temporary folder");
    lay(home.path(), &folder());
    let file = home.path().join("state/ledger.redb");
    let rows = redb::TableDefinition::<&str, &[u8]>::new("rows");
    let key = "grant/claude-code/workspace.write";
    let edit = |change: &dyn Fn(&mut Value)| {
        let file = redb::Database::open(&file).expect("the ledger");
        let tx = file.begin_write().expect("a transaction");
        let mut table = tx.open_table(rows).expect("rows");
        let mut row: Value = {
            use redb::ReadableTable as _;
            let held = table.get(key).expect("readable").expect("there");
            serde_json::from_slice(held.value()).expect("JSON")
        };
        change(&mut row);
        let row = serde_json::to_vec(&row).expect("JSON");
        table.insert(key, row.as_slice()).expect("written");
        drop(table);
        tx.commit().expect("committed");
    };
    edit(&|row| row["constraint"]["maxCalls"] = json!(500));
    let said = Gateway::builder().refused(home.path());
    said.expect_status(1);
    for words in [
        key,
        "another value",
        "does not hold together",
        "plexusd verify",
    ] {
        assert!(said.stderr.contains(words), "{words:?} is not in {said}");
    }
    assert!(!home.path().join("state/ledger.redb.format-1").exists());
    edit(&|row| row["constraint"]["maxCalls"] = json!(5));
    assert_eq!(Gateway::builder().start_in(home).owner().grants().len(), 3);
}
