//! A ledger changed behind its back: each change is found and named; the untouched copy is not.

use std::path::{Path, PathBuf};

use plexus_ledger::{EventId, Finding, Ledger, OpenError, Recorded, verify_file};

use crate::bank::{Bank, Command, events, folder, open_with, options, recorded, with};
use crate::starts::killed;
use crate::tables::{self, BASE, EVENTS, META, ROWS, put, remove, stored};

/// Twelve events, checkpoints at 5 and 10, and a copy of the file as a crash would have left it.
struct Case {
    dir: tempfile::TempDir,
    ids: Vec<EventId>,
}

impl Case {
    fn new() -> Self {
        let live = folder();
        let ledger = open_with(live.path(), with(|o| o.checkpoint_every = 5));
        for account in [
            "alice", "bob", "carol", "dave", "alice", "bob", "carol", "alice", "erin", "alice",
        ] {
            recorded(&ledger, Command::Deposit(account, 10));
        }
        let ids: Vec<_> = events(&ledger).iter().map(Recorded::id).collect();
        assert_eq!(ids.len(), 12);
        Self {
            dir: killed(live.path()),
            ids,
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("ledger.redb")
    }

    /// Changes the file in one transaction.
    fn change(self, change: impl FnOnce(&redb::WriteTransaction)) -> Self {
        tables::change(self.dir.path(), change);
        self
    }

    /// The same without one event.
    fn without(seq: u64) -> Self {
        Self::new().change(|tx| remove(tx, EVENTS, seq))
    }

    fn rewrite(self, seq: u64, rewrite: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        self.change(|tx| put(tx, EVENTS, seq, rewrite(stored(tx, seq)).as_slice()))
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
    let counted = (verified.events, verified.checkpoints, verified.rows);
    assert_eq!((counted, verified.head.seq), ((12, 2, 5), 12));
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
        let [a, b] = [6, 7].map(|seq| stored(tx, seq));
        put(tx, EVENTS, 6, b.as_slice());
        put(tx, EVENTS, 7, a.as_slice());
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
        let case = Case::without(seq);
        assert_eq!(case.found(), Finding::Missing { seq });
    }
    // The last one leaves no gap, but its row.
    let case = Case::without(12);
    let row = Finding::Row {
        key: "alice".to_owned(),
        why: "the events lead to another value",
    };
    assert_eq!((case.found(), case.opened()), (row.clone(), Err(row)));
    // A checkpoint that is gone refuses the start as well.
    let case = Case::without(10);
    let missing = Finding::Missing { seq: 10 };
    assert_eq!(
        (case.found(), case.opened()),
        (missing.clone(), Err(missing))
    );
}

#[test]
fn an_event_written_anew_with_its_own_hash_breaks_the_next_one() {
    use sha2::{Digest as _, Sha256};
    let case = Case::new();
    let before = tables::change(case.dir.path(), |tx| stored(tx, 6));
    let case = case.rewrite(7, |stored| {
        let json = replaced(stored, "10}", "99}")[32..].to_vec();
        let hash: [u8; 32] = Sha256::new()
            .chain_update(&before[..32])
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
            put(tx, ROWS, "bob", b"2000".as_slice());
        }),
        ("alice", "another value", |tx| {
            put(tx, ROWS, "alice", b"2000".as_slice());
        }),
        ("mallory", "no event makes it", |tx| {
            put(tx, ROWS, "mallory", b"2000".as_slice());
        }),
        ("dave", "the table lacks it", |tx| remove(tx, ROWS, "dave")),
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
    let case = Case::new().change(|tx| put(tx, BASE, "alice", Some(b"7".as_slice())));
    assert!(matches!(case.found(), Finding::Checkpoint { seq: 10, .. }));
    let opened = case.opened();
    assert!(
        matches!(opened, Err(Finding::Checkpoint { seq: 10, .. })),
        "{opened:?}"
    );
    // A row and the value kept for it, in step: the digest agrees, the fold does not.
    let case = Case::new().change(|tx| {
        put(tx, BASE, "bob", Some(b"20".as_slice()));
        put(tx, ROWS, "bob", b"21".as_slice());
    });
    assert!(matches!(case.opened(), Err(Finding::Row { key, .. }) if key == "bob"));
    // A value kept for a row that did not change: it hides nothing yet, but nobody wrote it.
    let case = Case::new().change(|tx| put(tx, BASE, "bob", Some(b"20".as_slice())));
    assert!(
        matches!(case.opened(), Err(Finding::Row { key, why }) if key == "bob" && why.contains("no event changed it"))
    );
    // The place of the last checkpoint.
    for at in [0, 3, 5, 11, 99] {
        let case = Case::new().change(|tx| put(tx, META, "checkpoint", at));
        let is_meant = |finding: &Finding| match at {
            0 | 5 => matches!(finding, Finding::Checkpoint { seq, .. } if *seq == at),
            99 => matches!(finding, Finding::Missing { seq: 98 }),
            _ => {
                matches!(finding, Finding::Event { seq, why, .. } if *seq == at && why.contains("the last checkpoint"))
            }
        };
        let opened = case.opened().map(drop).expect_err("it does not open");
        assert!(is_meant(&opened), "{at}: {opened}");
        match verify_file::<Bank>(&case.file(), None) {
            Err(OpenError::Damaged(found)) => assert!(is_meant(&found), "{at}: {found}"),
            other => panic!("{at}: {other:?}"),
        }
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
    let live = folder();
    let ledger = open_with(live.path(), with(|o| o.checkpoint_every = 5));
    recorded(&ledger, Command::Deposit("alice", 1));
    ledger.close();
    let (early, heads) = (
        live.path().join("early"),
        live.path().join("audit-heads.jsonl"),
    );
    std::fs::copy(live.path().join("ledger.redb"), &early).expect("copied");
    let check = |file: &Path| verify_file::<Bank>(file, Some(&heads));
    assert!(check(&early).is_ok());
    let ledger = open_with(live.path(), options());
    recorded(&ledger, Command::Deposit("alice", 1));
    ledger.close();
    assert!(check(&live.path().join("ledger.redb")).is_ok());
    assert!(matches!(
        check(&early),
        Err(OpenError::Damaged(Finding::Head { .. }))
    ));
}
