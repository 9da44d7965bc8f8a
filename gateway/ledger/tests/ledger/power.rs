//! A power cut, for the real files: what was acknowledged or archived is there, with the names that lead to it.

use std::path::Path;
use std::time::Duration;

use plexus_ledger::{Options, verify_archives, verify_file};
use plexus_power_cut::{Disk, needed};

use crate::bank::{Bank, Command, open_with, options, recorded, submit};
use crate::waiting::until_true;

/// The last event of the ledger in `dir`; 0 where it does not hold together.
fn events(dir: &Path) -> u64 {
    let heads = Some(dir.join("audit-heads.jsonl")).filter(|path| path.is_file());
    let ledger = dir.join("ledger.redb");
    let verified = ledger
        .is_file()
        .then(|| verify_file::<Bank>(&ledger, heads.as_deref()));
    verified
        .and_then(Result::ok)
        .map_or(0, |found| found.head.seq)
}

#[test]
fn acknowledged_command_survives_a_power_cut() {
    let act = |disk: &Disk, ()| {
        let ledger = open_with(&disk.path(), options());
        recorded(&ledger, Command::Deposit("a", 1));
        recorded(&ledger, Command::Deposit("a", 1));
        disk.off();
    };
    // The name of a file that is new, and the last commit.
    let (lost, _) = needed(|_| (), act, |dir| events(dir) >= 2);
    assert!(lost.len() >= 2, "{lost:?}");
}

/// An event leaves the file of the ledger only when its archive, and that archive's name, are on the disk.
#[test]
fn no_event_is_lost_by_a_power_cut_while_it_is_archived() {
    const EVENTS: u64 = 40;
    // An archive ends at a checkpoint.
    let checked = || Options {
        keep: u64::MAX,
        checkpoint_every: 5,
        retry: Duration::ZERO,
        ..options()
    };
    let before = |dir: &Path| {
        let ledger = open_with(dir, checked());
        for _ in 0..EVENTS {
            recorded(&ledger, Command::Deposit("a", 1));
        }
        assert!(ledger.close());
    };
    let act = |disk: &Disk, ()| {
        let ledger = open_with(
            &disk.path(),
            Options {
                keep: 10,
                ..checked()
            },
        );
        until_true("the first archive", || {
            let is_made = ledger.first_in_file().expect("readable") > 1;
            if !is_made {
                submit(&ledger, Command::Ping).expect("answered");
            }
            is_made
        });
        disk.off();
    };
    let archived = |dir: &Path| {
        let alone = verify_archives(&dir.join("archive"));
        events(dir) >= EVENTS && matches!(alone, Ok(Some(_)))
    };
    // The archive, its list, and the commit that takes the events out of the file.
    let (lost, _) = needed(before, act, archived);
    assert!(lost.len() >= 3, "{lost:?}");
}
