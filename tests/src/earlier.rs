//! A home as an earlier build left it: laid down from its text in `tests/homes`, so that what is read is what that build
//! wrote and not what this one would write.
//!
//! A home is one line for each record of the ledger's file: `meta NAME NUMBER`, `event JSON`, `row KEY JSON`, and
//! `base KEY JSON` for a row as it was at the last checkpoint (`-`: not at all). `@NAME@` stands for what differs from
//! machine to machine. The chain is made anew, because it covers those.

use redb::{Database, TableDefinition};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Lays down the ledger of an earlier home in the state directory `state`, which it makes.
///
/// # Panics
/// When the text is not a home, or it cannot be written.
#[track_caller]
pub fn lay(state: &Path, home: &str, swaps: &[(&str, &str)]) {
    let mut text = home.to_owned();
    for (name, value) in swaps {
        assert!(text.contains(name), "nothing stands for {name}");
        text = text.replace(name, value);
    }
    assert!(!text.contains('@'), "something was not filled in");
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(state)
        .expect("a state directory");
    let file = Database::create(state.join("ledger.redb")).expect("a file");
    let tx = file.begin_write().expect("a transaction");
    {
        let mut meta = tx
            .open_table(TableDefinition::<&str, u64>::new("meta"))
            .expect("a table");
        let mut events = tx
            .open_table(TableDefinition::<u64, &[u8]>::new("events"))
            .expect("a table");
        let mut rows = tx
            .open_table(TableDefinition::<&str, &[u8]>::new("rows"))
            .expect("a table");
        let mut base = tx
            .open_table(TableDefinition::<&str, Option<&[u8]>>::new(
                "rows_at_checkpoint",
            ))
            .expect("a table");
        tx.open_table(TableDefinition::<(u8, &str, u64), ()>::new("index"))
            .expect("a table");
        let (mut previous, mut seq) = ([0; 32], 0);
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').expect("a record");
            if kind == "event" {
                seq += 1;
                previous = Sha256::new()
                    .chain_update(previous)
                    .chain_update(rest)
                    .finalize()
                    .into();
                let stored = [&previous, rest.as_bytes()].concat();
                events.insert(seq, stored.as_slice()).expect("written");
                continue;
            }
            let (key, value) = rest.split_once(' ').expect("a key and a value");
            match kind {
                "meta" => drop(meta.insert(key, value.parse::<u64>().expect("a number"))),
                "row" => drop(rows.insert(key, value.as_bytes())),
                "base" => drop(base.insert(key, (value != "-").then_some(value.as_bytes()))),
                other => panic!("{other} is no record"),
            }
        }
    }
    tx.commit().expect("committed");
}
