//! Finding events: with the index behind, ahead, and half way.

use std::path::Path;
use std::time::Duration;

use plexus_ledger::{IndexTerm, Lane, Ledger, Recorded};
use redb::{Database, ReadableDatabase as _, TableDefinition, TableError};

use crate::bank::{Bank, Command, events, folder, open_with, seqs, wait, with};
use crate::starts::{killed, told};
use crate::tables::{self, META, RUNS, change, put, remove};

/// What builds had before runs.
const INDEX: TableDefinition<'_, (u8, &str, u64), ()> = TableDefinition::new("index");

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn filled(dir: &Path, index_run: usize, count: usize) -> Ledger<Bank> {
    let ledger = open_with(dir, with(|o| o.index_run = index_run));
    wait(async {
        for i in 0..count {
            ledger
                .submit(Command::Look(NAMES[i % 3]), Lane::Agent)
                .await
                .expect("recorded");
        }
    });
    ledger
}

fn touched(who: &str) -> IndexTerm {
    IndexTerm::Touched(who.to_owned())
}

fn found(ledger: &Ledger<Bank>, term: &IndexTerm, before: Option<u64>, most: usize) -> Vec<u64> {
    seqs(&ledger.find(term, before, most).expect("readable"))
}

#[test]
fn what_touched_a_thing_is_found_wherever_the_index_stands() {
    // Never indexed; indexed by every commit; indexed now and then.
    for index_run in [256, 1, 7] {
        let dir = folder();
        let ledger = filled(dir.path(), index_run, 40);
        let bob: Vec<u64> = (1..=40).filter(|seq| seq % 3 == 2).rev().collect();
        for term in [touched("bob"), IndexTerm::Agent("agent-bob".to_owned())] {
            assert_eq!(
                found(&ledger, &term, None, 100),
                bob,
                "a run of {index_run}"
            );
            assert_eq!(found(&ledger, &term, None, 3), bob[..3]);
            for before in 0..=41 {
                let expected = bob.iter().copied().filter(|seq| *seq < before).take(4);
                let expected: Vec<_> = expected.collect();
                assert_eq!(found(&ledger, &term, Some(before), 4), expected);
            }
        }
        let nobody = IndexTerm::Agent("bob".to_owned());
        assert_eq!(
            found(&ledger, &nobody, None, 100),
            [0; 0],
            "an agent is not a thing"
        );
        assert_eq!(found(&ledger, &touched("bo"), None, 100), [0; 0]);
    }
}

#[test]
fn the_index_goes_with_the_commits_and_survives_a_reopening() {
    let dir = folder();
    let ledger = filled(dir.path(), 10, 25);
    // As a kill leaves it: whole runs, in the commits that filled them.
    assert_eq!(runs(killed(dir.path()).path()), [(1, 11), (11, 21)]);
    ledger.close();
    drop(ledger);
    assert_eq!(runs(dir.path()), [(1, 11), (11, 21), (21, 27)]);
    let ledger = filled(dir.path(), 10, 5);
    let checkpoint = ledger.last_checkpoint().expect("readable");
    assert_eq!(checkpoint, 26, "the stop's");
    // 25 looks, the checkpoint of the stop, 5 more.
    let alice = found(&ledger, &touched("alice"), None, 100);
    assert_eq!(alice, [30, 27, 25, 22, 19, 16, 13, 10, 7, 4, 1]);
}

#[test]
fn the_tail_and_the_pages_of_an_export_meet_without_gap_or_overlap() {
    let dir = folder();
    let ledger = filled(dir.path(), 256, 23);
    assert_eq!(seqs(&ledger.tail(3, None).expect("readable")), [23, 22, 21]);
    assert_eq!(seqs(&ledger.tail(2, Some(21)).expect("readable")), [20, 19]);
    assert!(ledger.tail(0, None).expect("readable").is_empty());
    let mut all = Vec::new();
    loop {
        let page = ledger.after(all.len() as u64, 10).expect("readable");
        if page.is_empty() {
            break;
        }
        all.extend(seqs(&page));
    }
    assert_eq!(all, (1..=23).collect::<Vec<_>>());
    assert!(ledger.after(u64::MAX, 10).expect("readable").is_empty());
}

#[test]
fn a_walk_reads_no_more_than_it_may_and_goes_on_where_it_stopped() {
    for index_run in [256, 1, 7] {
        let dir = folder();
        let ledger = filled(dir.path(), index_run, 40);
        let bob = touched("bob");
        for (term, all) in [
            (None, (5..38).rev().collect::<Vec<u64>>()),
            (
                Some(&bob),
                (5..38).filter(|seq| seq % 3 == 2).rev().collect(),
            ),
        ] {
            for (most, stop_after) in [(1, 99), (4, 99), (100, 2), (100, 99)] {
                let (mut end, mut found, mut pages) = (38, Vec::new(), 0);
                loop {
                    let mut here = 0;
                    let next = ledger.walk_back(term, 5..end, most, |event| {
                        found.push(event.seq());
                        here += 1;
                        here < stop_after
                    });
                    assert!(here <= most.min(stop_after));
                    pages += 1;
                    match next.expect("readable") {
                        Some(next) => {
                            assert!(next < end && next > 5, "it gets on: {next} of {end}");
                            end = next;
                        }
                        None => break,
                    }
                }
                assert_eq!(
                    found, all,
                    "a run of {index_run}, most {most}, {pages} pages"
                );
            }
        }
        let nothing = |range| ledger.walk_back(None, range, 10, |_| panic!("nothing is in it"));
        assert_eq!(nothing(7..7).expect("readable"), None);
        assert_eq!(nothing(41..99).expect("readable"), None);
    }
}

#[test]
fn a_moment_is_found_in_the_log() {
    let dir = folder();
    let ledger = filled(dir.path(), 256, 40);
    let events = events(&ledger);
    let mut before = 0;
    for event in &events {
        assert!(event.at() >= before, "recorded time does not go back");
        before = event.at();
        let first = ledger.first_at(event.at()).expect("readable");
        let expected = events.iter().find(|e| e.at() >= event.at());
        assert_eq!(Some(first), expected.map(Recorded::seq));
    }
    assert_eq!(ledger.first_at(0).expect("readable"), 1);
    assert_eq!(ledger.first_at(u64::MAX).expect("readable"), 41);
}

/// What the rows of the index of a ledger are about that is not open: first event, and the number after the last.
fn runs(dir: &Path) -> Vec<(u64, u64)> {
    let db = Database::open(dir.join("ledger.redb")).expect("opens");
    let tx = db.begin_read().expect("readable");
    let old = tx.open_table(INDEX);
    assert!(
        matches!(old, Err(TableError::TableDoesNotExist(_))),
        "both kinds of index"
    );
    let mut about = tables::runs(&tx.open_table(RUNS).expect("a table"));
    about.retain(|(first, end)| end - first <= 256);
    about
}

/// Copies, files of earlier builds, and kills leave events that no row of the index is about.
#[test]
fn what_the_index_lacks_is_found_all_the_same_and_made_up_for_while_nobody_calls() {
    let dir = folder();
    let ledger = filled(dir.path(), 7, 40);
    assert!(ledger.close());
    drop(ledger);
    // 40 looks and the checkpoint of the stop.
    let whole: Vec<_> = (0..6)
        .map(|at| (1 + 7 * at, (8 + 7 * at).min(42)))
        .collect();
    assert_eq!(runs(dir.path()), whole);

    change(dir.path(), |tx| {
        for first in [1, 15, 22] {
            remove(tx, RUNS, first);
        }
        // Not one of ours: as if it were not there.
        put(tx, RUNS, 15, &[9, 9, 9][..]);
        put(tx, INDEX, (0, "agent-bob", 2), ());
        put(tx, META, "indexed", 2);
    });

    let (opener, flushes) = told();
    let with = with(|o| {
        o.opener = opener;
        o.index_run = 7;
    });
    let ledger = open_with(dir.path(), with);
    let bob: Vec<u64> = (1..=40).filter(|seq| seq % 3 == 2).rev().collect();
    let term = touched("bob");
    let all_of_bob = || found(&ledger, &term, None, 100);
    assert_eq!(all_of_bob(), bob);
    while runs(killed(dir.path()).path()).len() < whole.len() {
        let flushed = flushes.recv_timeout(Duration::from_secs(20));
        flushed.expect("the index is made up for");
    }
    assert_eq!(all_of_bob(), bob);
    // With a row for all but the last few, nothing is read that the term does not name.
    let mut read = 0;
    let next = ledger.walk_back(Some(&term), 0..42, bob.len(), |_| {
        read += 1;
        true
    });
    assert_eq!((next.expect("readable"), read), (Some(2), bob.len()));
    assert!(ledger.close());
    drop(ledger);
    let made_up = runs(dir.path());
    assert!(whole.iter().all(|run| made_up.contains(run)), "{made_up:?}");
}
