//! A ledger changed behind its back: each change is found and named; the untouched copy is not.

use std::path::{Path, PathBuf};

use plexus_ledger::{EventId, Finding, Ledger, OpenError, Options, verify_file};
use redb::{Database, ReadableTable as _, TableDefinition};

use crate::bank::{Bank, Command, open_with, options, submit};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");
const BASE: TableDefinition<'_, &str, Option<&[u8]>> = TableDefinition::new("rows_at_checkpoint");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Twelve events, checkpoints at 5 and 10, and a copy of the file as a crash would have left it.
struct Case {
    dir: tempfile::TempDir,
    ids: Vec<EventId>,
}

impl Case {
    fn new() -> Self {
        let live = tempfile::tempdir().expect("a directory");
        let ledger = open_with(
            live.path(),
            Options {
                checkpoint_every: 5,
                ..options()
            },
        );
        for account in [
            "alice", "bob", "carol", "dave", "alice", "bob", "carol", "alice", "erin", "alice",
        ] {
            submit(&ledger, Command::Deposit(account, 10)).expect("recorded");
        }
        let ids = ledger
            .after(0, 100)
            .expect("readable")
            .iter()
            .map(plexus_ledger::Recorded::id)
            .collect::<Vec<_>>();
        assert_eq!(ids.len(), 12);
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::copy(
            live.path().join("ledger.redb"),
            dir.path().join("ledger.redb"),
        )
        .expect("copied");
        Self { dir, ids }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ledger.redb")
    }

    /// Changes the file in one transaction.
    fn change(self, change: impl FnOnce(&redb::WriteTransaction)) -> Self {
        let file = Database::open(self.file()).expect("the file opens");
        let tx = file.begin_write().expect("a transaction");
        change(&tx);
        tx.commit().expect("committed");
        self
    }

    fn rewrite(self, seq: u64, rewrite: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        self.change(|tx| {
            let mut events = tx.open_table(EVENTS).expect("a table");
            let old = events
                .get(seq)
                .expect("readable")
                .expect("there")
                .value()
                .to_vec();
            events
                .insert(seq, rewrite(old).as_slice())
                .expect("written");
        })
    }

    /// What the offline check finds.
    fn found(&self) -> Finding {
        match verify_file::<Bank>(&self.file(), None) {
            Err(OpenError::Damaged(finding)) => finding,
            other => panic!("not found: {other:?}"),
        }
    }

    /// What the daemon says when it starts on it.
    fn opened(&self) -> Result<(), Finding> {
        match Ledger::<Bank>::open(self.dir.path(), options()) {
            Ok(_) => Ok(()),
            Err(OpenError::Damaged(finding)) => Err(finding),
            Err(other) => panic!("{other}"),
        }
    }

    /// Asserts that the bad event is named by number and id.
    #[track_caller]
    fn names(&self, finding: &Finding, bad: u64, because: &str) {
        match finding {
            Finding::Event { seq, id, why } => {
                let expected = usize::try_from(bad).expect("small") - 1;
                assert_eq!(
                    (*seq, id.as_deref()),
                    (bad, Some(self.ids[expected].to_string().as_str())),
                    "{why}"
                );
                assert!(why.contains(because), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn replaced(stored: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let (hash, json) = stored.split_at(32);
    let json = std::str::from_utf8(json).expect("text");
    assert!(json.contains(from), "{json}");
    [hash, json.replacen(from, to, 1).as_bytes()].concat()
}

#[test]
fn an_untouched_copy_is_sound() {
    let case = Case::new();
    let verified = verify_file::<Bank>(&case.file(), None).expect("sound");
    assert_eq!(
        (
            verified.events,
            verified.checkpoints,
            verified.rows,
            verified.head.seq
        ),
        (12, 2, 5, 12)
    );
    assert_eq!(case.opened(), Ok(()));
}

#[test]
fn a_changed_byte_in_an_event_is_named() {
    for seq in [1, 4, 5, 9, 11, 12] {
        let from = if seq == 5 { "\"rows\":\"" } else { "10}" };
        let to = if seq == 5 { "\"rowz\":\"" } else { "11}" };
        let case = Case::new().rewrite(seq, |stored| replaced(stored, from, to));
        case.names(&case.found(), seq, "hash does not follow");
        // The start folds what came after the last checkpoint.
        match (seq, case.opened()) {
            (11.., Err(finding)) => case.names(&finding, seq, "hash does not follow"),
            (..11, Ok(())) => {}
            (_, other) => panic!("{seq}: {other:?}"),
        }
    }
}

#[test]
fn a_changed_header_is_named() {
    for (from, to, because) in [
        ("\"seq\":7", "\"seq\":8", "number 8"),
        ("\"seq\":7", "\"seq\":07", "spelled"),
        (".00", ".10", "hash does not follow"),
        ("T08:", "T07:", "older"),
        ("Z\"", "+00:00\"", "spelled"),
        ("\"type\":\"dep", "\"type\":\"Dep", "hash does not follow"),
        ("\"type\"", "\"Type\"", "no type"),
        ("-8", "-4", "no id"),
        ("evt_0", "evt_1", "another number"),
    ] {
        let case = Case::new().rewrite(7, |stored| replaced(stored, from, to));
        let Finding::Event { seq: 7, why, .. } = case.found() else {
            panic!("{:?}", case.found())
        };
        assert!(why.contains(because), "{from} → {to}: {why}");
    }
    // A damaged hash, a value too short to hold one, bytes that are no text.
    let case = Case::new().rewrite(7, |mut stored| {
        stored[3] ^= 1;
        stored
    });
    case.names(&case.found(), 7, "hash does not follow");
    let case = Case::new().rewrite(7, |stored| stored[..9].to_vec());
    assert_eq!(
        case.found(),
        Finding::Event {
            seq: 7,
            id: None,
            why: "shorter than a hash".to_owned()
        }
    );
    let case = Case::new().rewrite(7, |stored| [&stored[..stored.len() - 2], b"\xff}"].concat());
    case.names(&case.found(), 7, "not text");
}

#[test]
fn swapped_events_are_named() {
    let case = Case::new().change(|tx| {
        let mut events = tx.open_table(EVENTS).expect("a table");
        let [a, b] = [6, 7].map(|seq| {
            events
                .get(seq)
                .expect("readable")
                .expect("there")
                .value()
                .to_vec()
        });
        events.insert(6, b.as_slice()).expect("written");
        events.insert(7, a.as_slice()).expect("written");
    });
    let finding = case.found();
    let id = Some(case.ids[6].to_string());
    assert_eq!(
        finding,
        Finding::Event {
            seq: 6,
            id,
            why: "it says it is number 7".to_owned()
        }
    );
}

#[test]
fn a_removed_event_is_named() {
    for seq in [1, 7, 11] {
        let case = Case::new().change(|tx| {
            tx.open_table(EVENTS)
                .expect("a table")
                .remove(seq)
                .expect("removed");
        });
        assert_eq!(case.found(), Finding::Missing { seq });
    }
    // The last one leaves no gap, but its row.
    let case = Case::new().change(|tx| {
        tx.open_table(EVENTS)
            .expect("a table")
            .remove(12)
            .expect("removed");
    });
    let row = Finding::Row {
        key: "alice".to_owned(),
        why: "the events lead to another value",
    };
    assert_eq!((case.found(), case.opened()), (row.clone(), Err(row)));
    // A checkpoint that is gone refuses the start as well.
    let case = Case::new().change(|tx| {
        tx.open_table(EVENTS)
            .expect("a table")
            .remove(10)
            .expect("removed");
    });
    assert_eq!(
        (case.found(), case.opened()),
        (
            Finding::Missing { seq: 10 },
            Err(Finding::Missing { seq: 10 })
        )
    );
}

#[test]
fn an_event_written_anew_with_its_own_hash_breaks_the_next_one() {
    use sha2::{Digest as _, Sha256};
    let case = Case::new();
    let previous = {
        let file = Database::open(case.file()).expect("the file opens");
        let tx = file.begin_write().expect("a transaction");
        let events = tx.open_table(EVENTS).expect("a table");
        events.get(6).expect("readable").expect("there").value()[..32].to_vec()
    };
    let case = case.rewrite(7, |stored| {
        let json = replaced(stored, "10}", "99}")[32..].to_vec();
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&previous)
            .chain_update(&json)
            .finalize()
            .into();
        [&hash[..], &json].concat()
    });
    case.names(&case.found(), 8, "hash does not follow");
}

#[test]
fn a_changed_an_added_and_a_removed_row_are_named_by_check_and_start() {
    type Change = fn(&redb::WriteTransaction);
    // bob changed after the last checkpoint's predecessor only; alice after the last checkpoint.
    let cases: [(&str, &str, Change); 4] = [
        ("bob", "another value", |tx| {
            tx.open_table(ROWS)
                .expect("a table")
                .insert("bob", b"2000".as_slice())
                .expect("written");
        }),
        ("alice", "another value", |tx| {
            tx.open_table(ROWS)
                .expect("a table")
                .insert("alice", b"2000".as_slice())
                .expect("written");
        }),
        ("mallory", "no event makes it", |tx| {
            tx.open_table(ROWS)
                .expect("a table")
                .insert("mallory", b"2000".as_slice())
                .expect("written");
        }),
        ("dave", "the table lacks it", |tx| {
            tx.open_table(ROWS)
                .expect("a table")
                .remove("dave")
                .expect("removed");
        }),
    ];
    for (row, because, change) in cases {
        let case = Case::new().change(change);
        for finding in [case.found(), case.opened().expect_err("refused")] {
            let Finding::Row { key, why } = &finding else {
                panic!("{finding:?}")
            };
            assert_eq!(
                (key.as_str(), why.contains(because)),
                (row, true),
                "{finding}"
            );
        }
    }
}

#[test]
fn tampering_with_what_the_start_relies_on_is_found() {
    // A value kept for the checkpoint.
    let case = Case::new().change(|tx| {
        tx.open_table(BASE)
            .expect("a table")
            .insert("alice", Some(b"7".as_slice()))
            .expect("written");
    });
    assert!(matches!(case.found(), Finding::Checkpoint { seq: 10, .. }));
    assert!(case.opened().is_err());
    // A row and the value kept for it, in step: the digest agrees, the fold does not.
    let case = Case::new().change(|tx| {
        tx.open_table(BASE)
            .expect("a table")
            .insert("bob", Some(b"20".as_slice()))
            .expect("written");
        tx.open_table(ROWS)
            .expect("a table")
            .insert("bob", b"21".as_slice())
            .expect("written");
    });
    assert!(matches!(case.opened(), Err(Finding::Row { key, .. }) if key == "bob"));
    // A value kept for a row that did not change: it hides nothing yet, but nobody wrote it.
    let case = Case::new().change(|tx| {
        let mut base = tx.open_table(BASE).expect("a table");
        base.insert("bob", Some(b"20".as_slice())).expect("written");
    });
    assert!(
        matches!(case.opened(), Err(Finding::Row { key, why }) if key == "bob" && why.contains("no event changed it"))
    );
    // The place of the last checkpoint.
    for at in [0, 3, 5, 11, 99] {
        let case = Case::new().change(|tx| {
            tx.open_table(META)
                .expect("a table")
                .insert("checkpoint", at)
                .expect("written");
        });
        assert!(case.opened().is_err(), "{at}");
        assert!(verify_file::<Bank>(&case.file(), None).is_err(), "{at}");
    }
}

#[test]
fn a_flipped_bit_in_the_file_itself_is_found() {
    let case = Case::new();
    let mut bytes = std::fs::read(case.file()).expect("readable");
    let text = case.ids[2].to_string();
    let places: Vec<_> = (0..bytes.len() - text.len())
        .filter(|at| bytes[*at..].starts_with(text.as_bytes()))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at + 20] ^= 1; // every copy: only one of them is live
    }
    std::fs::write(case.file(), bytes).expect("written");
    match verify_file::<Bank>(&case.file(), None) {
        Err(OpenError::Damaged(Finding::Pages { .. })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn heads_beside_a_copy_contradict_a_log_that_was_cut_short_at_a_checkpoint() {
    let live = tempfile::tempdir().expect("a directory");
    let ledger = open_with(
        live.path(),
        Options {
            checkpoint_every: 5,
            ..options()
        },
    );
    submit(&ledger, Command::Deposit("alice", 1)).expect("recorded");
    ledger.close();
    let (early, heads) = (
        live.path().join("early"),
        live.path().join("audit-heads.jsonl"),
    );
    std::fs::copy(live.path().join("ledger.redb"), &early).expect("copied");
    let check = |file: &Path| verify_file::<Bank>(file, Some(&heads));
    assert!(check(&early).is_ok());
    let ledger = open_with(live.path(), options());
    submit(&ledger, Command::Deposit("alice", 1)).expect("recorded");
    ledger.close();
    assert!(check(&live.path().join("ledger.redb")).is_ok());
    assert!(matches!(
        check(&early),
        Err(OpenError::Damaged(Finding::Head { .. }))
    ));
}
