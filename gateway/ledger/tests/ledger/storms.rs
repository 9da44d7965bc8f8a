//! Random histories on a disk that fails and stalls at random and loses power: against the bank as a plain map.
//!
//! What was answered is so, on the disk as in memory: acknowledged, it survives; refused or not recorded, it is absent;
//! "neither saved nor lost" with a finding is as found; without one, it is one of the two and no half. Old events are
//! archived meanwhile, on a disk with troubles of its own: each event is in the file or in an archive, once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use plexus_ledger::{Condition, EventId, Lane, Ledger, Options, Receipt, SubmitError};
use proptest::prelude::*;

use crate::bank::{
    Accounts, Bank, Command, Overdrawn, folder, open_with, options, recorded, submit, wait,
};
use crate::disk::{Cut, Disk, Fault, Stalled};
use crate::histories::{command, expected};
use crate::waiting::until_true;

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Once,
    Dead,
    NoSpace,
    Read,
    /// The step of sealing with this number from now fails.
    Seal,
}

#[derive(Clone, Debug)]
enum Step {
    Do(Command),
    /// The disk stalls: the first command's flush is held while the others come; with a cut, the power goes meanwhile.
    Stall(Vec<Command>, Option<Cut>),
    /// So many acts of the disk from now.
    Trouble(Trouble, u64),
    /// The trouble is over.
    Mended,
    /// The power goes, and comes back.
    Cut(Cut),
    /// Close and open again, on a disk that is well.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let trouble = prop::sample::select(vec![
        Trouble::Once,
        Trouble::Once,
        Trouble::Dead,
        Trouble::NoSpace,
        Trouble::Read,
        Trouble::Seal,
        Trouble::Seal,
    ]);
    let cut = prop_oneof![
        Just(Cut::Nothing),
        Just(Cut::Everything),
        any::<u64>().prop_map(Cut::Some)
    ]
    .boxed();
    let stalled = (
        prop::collection::vec(command(), 2..12),
        prop::option::weighted(0.2, cut.clone()),
    );
    prop_oneof![
        16 => command().prop_map(Step::Do),
        3 => stalled.prop_map(|(commands, cut)| Step::Stall(commands, cut)),
        4 => (trouble, 0_u64..24).prop_map(|(trouble, acts)| Step::Trouble(trouble, acts)),
        2 => Just(Step::Mended),
        2 => cut.prop_map(Step::Cut),
        1 => Just(Step::Restart),
    ]
}

fn on(disk: &Disk, checkpoint_every: u64) -> Options {
    keeping(disk, checkpoint_every, u64::MAX, &Arc::default())
}

/// The same, where only so many events stay in the file; the step of sealing at which `fails` comes to zero fails.
fn keeping(disk: &Disk, checkpoint_every: u64, keep: u64, fails: &Arc<AtomicI64>) -> Options {
    let fails = Arc::clone(fails);
    Options {
        keep,
        sealing: Arc::new(move |_| match fails.fetch_sub(1, Ordering::Relaxed) {
            1 => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }),
        opener: disk.opener(),
        retry: Duration::ZERO,
        checkpoint_every,
        index_run: 5,
        ..options()
    }
}

/// What a run met: a property that never met its case proves nothing.
#[derive(Debug, Default)]
struct Met {
    lost: u32,
    unavailable: u32,
    cuts: u32,
    archives: u32,
    /// Flushes that were held while commands came.
    stalls: u32,
}

/// Cases of this property: as `plexus_tests::length` says it, which this crate cannot reach.
fn cases() -> u32 {
    match std::env::var("PLEXUS_TEST_LENGTH").as_deref() {
        Ok("long") => 3_000,
        Ok("full") => 40,
        _ => 25,
    }
}

type Answer = Result<Receipt<u64>, SubmitError<Overdrawn>>;

/// Holds an answer against what the bank may be, and says what it may be from here on.
fn heard(
    ledger: &Ledger<Bank>,
    command: &Command,
    answer: Answer,
    banks: &mut Vec<Accounts>,
    acknowledged: &mut Vec<EventId>,
    met: &mut Met,
) -> Result<(), TestCaseError> {
    // Where it is possible, and what the bank is then.
    let mut after = banks.clone();
    after.retain_mut(|bank| expected(bank, command).is_some());
    match answer {
        Ok(receipt) => {
            prop_assert!(!after.is_empty(), "{command:?}");
            acknowledged.extend(receipt.events.iter().map(|event| event.id));
            *banks = after;
        }
        Err(SubmitError::Refused(_)) => {
            prop_assert!(after.len() < banks.len(), "{command:?}");
        }
        Err(SubmitError::Unavailable(_)) => met.unavailable += 1,
        Err(SubmitError::Lost { found, event, .. }) => {
            met.lost += 1;
            if let Some(found) = found {
                let event = event.expect("the writer lives");
                let there = ledger.event(&event);
                let there = there.map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(there.is_some(), found, "{}", event);
            }
            match found {
                Some(true) => *banks = after,
                Some(false) => {}
                None => banks.extend(after),
            }
        }
        Err(SubmitError::Busy) => prop_assert!(false, "the lane has room"),
    }
    Ok(())
}

fn storm(
    steps: Vec<Step>,
    checkpoint_every: u64,
    keep: u64,
    met: &mut Met,
) -> Result<(), TestCaseError> {
    let fails = Arc::default();
    let dir = folder();
    let mut disk = Disk::default();
    let open = |disk: &Disk| {
        Ledger::<Bank>::open(dir.path(), keeping(disk, checkpoint_every, keep, &fails))
    };
    let fail = |error: &dyn std::fmt::Display| TestCaseError::fail(error.to_string());
    let mut ledger = open(&disk).map_err(|e| fail(&e))?.0;
    // What the bank may be: more than one thing only while commands are out of which nobody knows whether they count.
    let mut banks: Vec<Accounts> = vec![BTreeMap::new()];
    let mut acknowledged: Vec<EventId> = Vec::new();
    for step in steps {
        let mut look = false;
        match step {
            Step::Do(command) => {
                let answer = submit(&ledger, command.clone());
                heard(
                    &ledger,
                    &command,
                    answer,
                    &mut banks,
                    &mut acknowledged,
                    met,
                )?;
            }
            Step::Stall(commands, cut) => {
                let asked = |command: &Command| ledger.submit(command.clone(), Lane::Agent);
                let (first, others) = commands.split_first().expect("there are some");
                let Stalled {
                    first,
                    others,
                    after,
                    was_held,
                } = disk.stalled(
                    || asked(first),
                    || -> Vec<_> { others.iter().map(asked).collect() },
                    cut,
                );
                met.stalls += u32::from(was_held);
                let answers = std::iter::once(first).chain(others.into_iter().map(wait));
                for (command, answer) in commands.iter().zip(answers) {
                    heard(&ledger, command, answer, &mut banks, &mut acknowledged, met)?;
                }
                if let Some(after) = after {
                    met.cuts += 1;
                    drop(ledger);
                    disk = after;
                    ledger = open(&disk).map_err(|e| fail(&e))?.0;
                    look = true;
                }
            }
            Step::Trouble(kind, after) => {
                let (acts, reads) = (disk.acts() + 1 + after, disk.reads() + 1 + after);
                if matches!(kind, Trouble::Seal) {
                    fails.store(1 + i64::try_from(after).unwrap_or(0), Ordering::Relaxed);
                    continue;
                }
                disk.set(Some(match kind {
                    Trouble::Once => Fault::Once(acts),
                    Trouble::Dead => Fault::Dead(acts),
                    Trouble::NoSpace => Fault::NoSpace(acts),
                    Trouble::Read | Trouble::Seal => Fault::Read(reads),
                }));
            }
            Step::Mended => disk.set(None),
            Step::Cut(cut) => {
                met.cuts += 1;
                let after = disk.cut(cut);
                drop(ledger);
                disk = after;
                ledger = open(&disk).map_err(|e| fail(&e))?.0;
                look = true;
            }
            Step::Restart => {
                disk.set(None);
                ledger.close();
                ledger = open(&disk).map_err(|e| fail(&e))?.0;
                look = true;
            }
        }
        let known = (*ledger.snapshot()).clone();
        if look {
            ledger.verify(true).map_err(|e| fail(&e))?;
            for id in &acknowledged {
                let event = ledger.event(id).map_err(|e| fail(&e))?;
                prop_assert!(event.is_some(), "{id} was acknowledged and is gone");
            }
            let head = ledger.head().map_err(|e| fail(&e))?.seq;
            let events = ledger.after(0, usize::MAX).map_err(|e| fail(&e))?;
            let once = events.iter().map(plexus_ledger::Recorded::seq).zip(1..);
            prop_assert!(
                once.clone().all(|(seq, place)| seq == place) && events.len() as u64 >= head
            );
            met.archives += u32::from(!ledger.archives().map_err(|e| fail(&e))?.is_empty());
        }
        if ledger.condition().0 == Condition::Open {
            // The writer knows what has become of the unknown ones.
            prop_assert!(banks.contains(&known), "{known:?} is none of {banks:?}");
            banks = vec![known];
        }
    }
    Ok(())
}

#[test]
fn whatever_was_answered_is_so_after_any_trouble_and_any_power_cut() {
    let mut met = Met::default();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let keep = prop::sample::select(vec![0, 3, 20, u64::MAX]);
    let histories = (prop::collection::vec(step(), 0..80), 2_u64..9, keep);
    let shared = std::cell::RefCell::new(&mut met);
    let result = runner.run(&histories, |(steps, checkpoint_every, keep)| {
        storm(steps, checkpoint_every, keep, &mut shared.borrow_mut())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    assert!(
        [
            met.lost,
            met.unavailable,
            met.cuts,
            met.archives,
            met.stalls
        ]
        .iter()
        .all(|n| *n > 0),
        "the troubles were met: {met:?}",
    );
}

/// A flush that failed has left bytes that readers see and that are on no disk. What is acknowledged afterwards
/// must not rest on them; nor what another daemon acknowledges that found the file so.
#[test]
fn what_a_failed_flush_left_in_memory_only_is_written_again() {
    for is_killed in [false, true] {
        let mut failed_flushes = 0;
        for at in 1..40 {
            failed_flushes += u32::from(after_a_fault(at, is_killed));
        }
        assert!(failed_flushes > 5, "the control: {failed_flushes}");
    }
}

/// Meets a fault at that act, in this daemon or at the end of it, goes on, and loses power. True if a commit was hit.
fn after_a_fault(at: u64, is_killed: bool) -> bool {
    let (dir, disk) = (folder(), Disk::default());
    let open =
        |disk: &Disk| Ledger::<Bank>::open(dir.path(), on(disk, 1_000)).map(|opened| opened.0);
    let mut ledger = open(&disk).expect("opens");
    recorded(&ledger, Command::Deposit("a", 1));
    let fault = disk.acts() + at;
    disk.set(Some(match is_killed {
        false => Fault::Once(fault),
        true => Fault::Dead(fault),
    }));
    let (mut sum, mut was_lost) = (1, false);
    let mut or = sum;
    for _ in 0..20 {
        match submit(&ledger, Command::Deposit("a", 1)) {
            Ok(_) => sum += 1,
            Err(SubmitError::Lost { found, .. }) => {
                was_lost = true;
                or = sum + 1;
                sum += u64::from(found.unwrap_or(false));
                break;
            }
            Err(SubmitError::Unavailable(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    if is_killed {
        drop(ledger);
        disk.set(None);
        ledger = open(&disk).unwrap_or_else(|e| panic!("fault {at}: {e}"));
        // What nobody could look for is what the next daemon reads, and holds from here on.
        let known = ledger.snapshot()["a"];
        assert!(known == sum || known == or, "fault {at}: {known}");
        sum = known;
    }
    // From here on only the events' pages are written, never again those of the rows.
    for _ in 0..10 {
        submit(&ledger, Command::Look("a")).unwrap_or_else(|e| panic!("fault {at}: {e}"));
    }
    let after = disk.cut(Cut::Everything);
    drop(ledger);
    let (ledger, report) = Ledger::<Bank>::open(dir.path(), on(&after, 1_000))
        .unwrap_or_else(|e| panic!("fault {at}: {e}"));
    assert_eq!(report.rolled_back, None, "fault {at}");
    ledger
        .verify(true)
        .unwrap_or_else(|e| panic!("fault {at}: {e}"));
    assert_eq!(ledger.snapshot().get("a"), Some(&sum), "fault {at}");
    assert!(!dir.path().join("ledger.unsure").exists());
    was_lost
}

/// If writing it again fails as well, the file is left as it is: redb, which would have seen no error, would have closed
/// it as one in which nothing is amiss.
#[test]
fn a_file_that_could_not_be_written_again_is_left_alone() {
    let mut failed_twice = 0;
    for at in 1..60 {
        let (dir, disk) = (folder(), Disk::default());
        let open =
            |disk: &Disk| Ledger::<Bank>::open(dir.path(), on(disk, 1_000)).map(|opened| opened.0);
        let ledger = open(&disk).expect("opens");
        recorded(&ledger, Command::Deposit("a", 1));
        // The flush of the second commit, and all that would be done about it.
        disk.set(Some(Fault::Dead(disk.acts() + flush_of_a_commit())));
        let lost = submit(&ledger, Command::Deposit("a", 1));
        assert!(matches!(lost, Err(SubmitError::Lost { found: None, .. })));
        // The disk works again, but for one act.
        disk.set(Some(Fault::Once(disk.acts() + at)));
        let answered = submit(&ledger, Command::Look("a"));
        failed_twice += u32::from(answered.is_err());
        let after = disk.cut(Cut::Everything);
        drop(ledger);
        let ledger = open(&after).unwrap_or_else(|e| panic!("fault {at}: {e}"));
        ledger
            .verify(true)
            .unwrap_or_else(|e| panic!("fault {at}: {e}"));
        assert!(ledger.snapshot()["a"] >= 1, "fault {at}");
    }
    assert!(failed_twice > 5, "the control: {failed_twice}");
}

/// A write fails, and then the flush of the reopening, or of the next process: it may forget what the failed commit wrote
/// before, too. (The gateway's own histories found it: the list of that had been thrown away with the reopening.)
#[test]
fn what_a_failed_commit_wrote_is_written_again_after_a_later_flush_failed() {
    let mut failed_again = [0, 0];
    for (at, then) in (1..flush_of_a_commit()).flat_map(|at| (1..6).map(move |then| (at, then))) {
        for restarted in [false, true] {
            let case = format!("{at}, {then}, restarted: {restarted}");
            let (dir, disk) = (folder(), Disk::default());
            let open = |disk: &Disk| {
                Ledger::<Bank>::open(dir.path(), on(disk, 1_000)).map(|opened| opened.0)
            };
            let mut ledger = open(&disk).expect("opens");
            for _ in 0..3 {
                recorded(&ledger, Command::Deposit("a", 1));
            }
            disk.set(Some(Fault::Dead(disk.acts() + at)));
            let lost = submit(&ledger, Command::Deposit("a", 1));
            assert!(matches!(lost, Err(SubmitError::Lost { found: None, .. })));
            let last;
            if restarted {
                // Killed: it would have flushed nothing more, so it would have left no mark of a flush that failed.
                drop(ledger);
                let _ = std::fs::remove_file(dir.path().join("ledger.unsure"));
                last = disk.acts() + then;
                disk.set(Some(Fault::Once(last)));
                ledger = open(&disk).or_else(|_| open(&disk)).expect("opens");
            } else {
                last = disk.acts() + then;
                disk.set(Some(Fault::Once(last)));
            }
            // It is opened again for this, or by itself; no page is written anew.
            until_true("a disk that is well again", || {
                submit(&ledger, Command::Look("a")).is_ok()
            });
            failed_again[usize::from(restarted)] += u32::from(disk.acts() >= last);
            disk.set(None);
            let sum = ledger.snapshot()["a"];
            let after = disk.cut(Cut::Everything);
            drop(ledger);
            let ledger = open(&after).unwrap_or_else(|e| panic!("{case}: {e}"));
            let verified = ledger.verify(true);
            verified.unwrap_or_else(|e| panic!("{case}: {e}"));
            assert_eq!(ledger.snapshot()["a"], sum, "{case}");
        }
    }
    assert!(
        failed_again.iter().all(|n| *n > 5),
        "the control: {failed_again:?}"
    );
}

/// Which act of a commit is its flush.
fn flush_of_a_commit() -> u64 {
    let (dir, disk) = (folder(), Disk::default());
    let ledger = open_with(dir.path(), on(&disk, 1_000));
    recorded(&ledger, Command::Deposit("a", 1));
    let before = disk.acts();
    recorded(&ledger, Command::Deposit("a", 1));
    disk.acts() - before
}
