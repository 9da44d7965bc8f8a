//! Finding events: with the index behind, ahead, and half way.

use plexus_ledger::{IndexTerm, Lane, Ledger, Options, Recorded};

use crate::bank::{Bank, Command, open_with, options, wait};

const NAMES: [&str; 3] = ["alice", "bob", "carol"];

fn filled(dir: &std::path::Path, index_behind: u64, count: usize) -> Ledger<Bank> {
    let ledger = open_with(
        dir,
        Options {
            index_behind,
            ..options()
        },
    );
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

fn seqs(events: &[Recorded]) -> Vec<u64> {
    events.iter().map(Recorded::seq).collect()
}

#[test]
fn what_touched_a_thing_is_found_wherever_the_index_stands() {
    // Never indexed; indexed by every commit; indexed now and then.
    for index_behind in [u64::MAX, 1, 7] {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = filled(dir.path(), index_behind, 40);
        let bob: Vec<u64> = (1..=40).filter(|seq| seq % 3 == 2).rev().collect();
        for term in [
            IndexTerm::Touched("bob".to_owned()),
            IndexTerm::Agent("agent-bob".to_owned()),
        ] {
            assert_eq!(
                seqs(&ledger.find(&term, None, 100).expect("readable")),
                bob,
                "behind {index_behind}"
            );
            assert_eq!(
                seqs(&ledger.find(&term, None, 3).expect("readable")),
                bob[..3]
            );
            for before in 0..=41 {
                let expected: Vec<_> = bob
                    .iter()
                    .copied()
                    .filter(|seq| *seq < before)
                    .take(4)
                    .collect();
                assert_eq!(
                    seqs(&ledger.find(&term, Some(before), 4).expect("readable")),
                    expected
                );
            }
        }
        let nobody = IndexTerm::Agent("bob".to_owned());
        assert!(
            ledger
                .find(&nobody, None, 100)
                .expect("readable")
                .is_empty(),
            "an agent is not a thing"
        );
        assert!(
            ledger
                .find(&IndexTerm::Touched("bo".to_owned()), None, 100)
                .expect("readable")
                .is_empty()
        );
    }
}

#[test]
fn the_index_is_written_when_the_writer_is_far_behind_and_survives_a_reopening() {
    let dir = tempfile::tempdir().expect("a directory");
    filled(dir.path(), 10, 25).close();
    let file = redb::Database::open(dir.path().join("ledger.redb")).expect("the file opens");
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    use redb::ReadableDatabase as _;
    let tx = file.begin_read().expect("readable");
    let indexed = tx
        .open_table(meta)
        .expect("a table")
        .get("indexed")
        .expect("readable")
        .expect("there")
        .value();
    assert!((10..=25).contains(&indexed), "{indexed}");
    drop((tx, file));
    let ledger = filled(dir.path(), 10, 5);
    // 25 looks, the checkpoint of the stop, 5 more.
    let alice = ledger
        .find(&IndexTerm::Touched("alice".to_owned()), None, 100)
        .expect("readable");
    assert_eq!(seqs(&alice), [30, 27, 25, 22, 19, 16, 13, 10, 7, 4, 1]);
}

#[test]
fn the_tail_and_the_pages_of_an_export_meet_without_gap_or_overlap() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = filled(dir.path(), u64::MAX, 23);
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
    for index_behind in [u64::MAX, 1, 7] {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = filled(dir.path(), index_behind, 40);
        let bob = IndexTerm::Touched("bob".to_owned());
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
                    "behind {index_behind}, most {most}, {pages} pages"
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
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = filled(dir.path(), u64::MAX, 40);
    let events = ledger.after(0, 100).expect("readable");
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
