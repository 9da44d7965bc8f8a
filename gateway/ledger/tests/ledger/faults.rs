//! Disks that fail, fill up, or lose power: what was answered stays true.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plexus_ledger::{Condition, Lane, Ledger, Options, SubmitError};

use crate::bank::{
    Bank, Command, deposit_each, folder, open_with, options, recorded, sound, submit, wait, with,
};
use crate::disk::{Disk, Fault};
use crate::waiting::{PATIENCE, until_true};

fn on(disk: &Disk) -> Options {
    Options {
        opener: disk.opener(),
        retry: Duration::ZERO,
        checkpoint_every: 7,
        index_run: 5,
        ..options()
    }
}

#[test]
fn a_fault_at_any_write_or_flush_never_makes_an_answer_untrue() {
    let (mut lost, mut unavailable, mut at) = (0, 0, 1);
    loop {
        let (dir, disk) = (folder(), Disk::default());
        let ledger = open_with(dir.path(), on(&disk));
        deposit_each(&ledger, 3);
        let start = disk.acts();
        disk.set(Some(Fault::Once(start + at)));
        let mut sum = 3;
        for _ in 0..20 {
            let answer = submit(&ledger, Command::Deposit("alice", 1));
            let added = match &answer {
                Ok(_) => 1,
                Err(SubmitError::Unavailable(_)) => {
                    unavailable += 1;
                    0
                }
                Err(SubmitError::Lost { found, .. }) => {
                    lost += 1;
                    u64::from(found.expect("a single fault lets it reopen"))
                }
                Err(other) => panic!("{other:?}"),
            };
            sum += added;
            assert_eq!(
                ledger.snapshot().get("alice"),
                Some(&sum),
                "fault {at}: {answer:?}"
            );
        }
        assert_eq!(ledger.condition().0, Condition::Open);
        ledger
            .verify(true)
            .unwrap_or_else(|e| panic!("fault {at}: {e}"));
        let last = disk.acts() < start + at;
        ledger.close();
        disk.set(None);
        assert_eq!(
            open_with(dir.path(), on(&disk)).snapshot().get("alice"),
            Some(&sum),
            "fault {at}"
        );
        if last {
            break;
        }
        at += 1;
    }
    assert!(
        lost > 0 && at > 20,
        "faults were met: {lost} lost, {unavailable} unavailable, {at} places"
    );
}

#[test]
fn a_power_cut_keeps_what_was_acknowledged_and_no_half_of_a_command() {
    let dice = AtomicU64::new(7);
    let roll = |sides: u64| {
        // Numerical Recipes' congruential generator; the upper bits are good enough for a dice.
        let next = |x: u64| {
            Some(
                x.wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let x = dice
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .expect("always some");
        (x >> 33) % sides
    };
    let mut cut_short = 0;
    for round in 0..60 {
        let (dir, disk) = (folder(), Disk::default());
        let ledger = open_with(dir.path(), on(&disk));
        recorded(&ledger, Command::Deposit("a", 1_000));
        disk.set(Some(Fault::Dead(disk.acts() + 1 + roll(120))));
        let mut acknowledged = Vec::new();
        wait(async {
            for _ in 0..25 {
                let both = tokio::join!(
                    ledger.submit(Command::Move("a", "b", 1), Lane::Agent),
                    ledger.submit(Command::Move("a", "c", 1), Lane::Agent)
                );
                for receipt in [both.0, both.1].into_iter().flatten() {
                    acknowledged.extend(receipt.events.iter().map(|e| e.id));
                }
            }
        });
        let died = matches!(ledger.condition().0, Condition::Closed(_));
        cut_short += u32::from(died);
        disk.set(Some(Fault::Dead(0)));
        let after = disk.after_power_cut(|| roll(2) == 0, || roll(4) == 0);
        drop(ledger);

        let (ledger, report) = Ledger::<Bank>::open(dir.path(), on(&after))
            .unwrap_or_else(|e| panic!("round {round}: after the cut: {e}"));
        ledger
            .verify(true)
            .unwrap_or_else(|e| panic!("round {round}: {e}"));
        assert!(!(report.clean && died), "round {round}");
        for id in &acknowledged {
            let event = ledger.event(id).expect("readable");
            assert!(
                event.is_some(),
                "round {round}: {id} was acknowledged and is gone"
            );
        }
        let bank: BTreeMap<_, _> = (*ledger.snapshot()).clone();
        assert_eq!(
            bank.values().sum::<u64>(),
            1_000,
            "round {round}: half a transfer"
        );
        deposit_each(&ledger, 1);
    }
    assert!(cut_short > 30, "most rounds must be cut short: {cut_short}");
}

#[test]
fn nothing_is_shown_before_its_flush() {
    let (dir, disk) = (folder(), Disk::default());
    let ledger = open_with(dir.path(), on(&disk));
    let mut told = ledger.subscribe();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let (looker, seen) = (ledger.clone(), Arc::clone(&shown));
    disk.before_flush(move || {
        let early = told.try_recv().is_ok();
        seen.lock()
            .expect("no panic")
            .push((looker.snapshot().get("alice").copied(), early));
    });
    deposit_each(&ledger, 1);
    assert_eq!(ledger.snapshot().get("alice"), Some(&1));
    assert_eq!(*shown.lock().expect("no panic"), [(None, false)]);
    disk.before_flush(|| {});
}

#[test]
fn a_refusal_that_rests_on_a_failed_commit_is_not_given_as_one() {
    let (dir, disk) = (folder(), Disk::default());
    let ledger = open_with(dir.path(), on(&disk));
    recorded(&ledger, Command::Deposit("a", 1));
    let spend = || ledger.submit(Command::Move("a", "b", 1), Lane::Agent);
    // Both commands are in one batch: the flush of a command before them is held until both are queued.
    let hold = |fault: bool| {
        let (queue, again, armed) = (ledger.clone(), disk.clone(), AtomicBool::new(true));
        let (entered, is_in) = std::sync::mpsc::sync_channel(1);
        disk.before_flush(move || {
            if armed.swap(false, Ordering::Relaxed) {
                let _ = entered.send(());
                until_true("both in the queue", || queue.condition().1 >= 2);
                if fault {
                    again.set(Some(Fault::Dead(again.acts() + 2)));
                }
            }
        });
        let other = ledger.clone();
        let first = std::thread::spawn(move || submit(&other, Command::Look("a")).map(drop));
        let begun = is_in.recv_timeout(PATIENCE);
        begun.expect("the flush has begun");
        first
    };
    let first = hold(true);
    let both = wait(async { tokio::join!(spend(), spend()) });
    let _ = first.join();
    assert!(
        matches!(
            both.0,
            Err(SubmitError::Lost { .. } | SubmitError::Unavailable(_))
        ),
        "{both:?}"
    );
    assert!(
        matches!(both.1, Err(SubmitError::Unavailable(_))),
        "not `overdrawn`, for nothing was spent: {both:?}"
    );

    disk.set(None);
    recorded(&ledger, Command::Deposit("a", 1));
    let have = ledger.snapshot()["a"];
    recorded(&ledger, Command::Move("a", "z", have - 1));
    let first = hold(false);
    let both = wait(async { tokio::join!(spend(), spend()) });
    let _ = first.join();
    assert!(
        both.0.is_ok() && matches!(both.1, Err(SubmitError::Refused(_))),
        "the control: {both:?}"
    );
    disk.before_flush(|| {});
}

#[test]
fn on_a_full_disk_the_last_space_is_the_owners() {
    let (dir, disk) = (folder(), Disk::default());
    let slow = Duration::from_secs(3_600); // no second look for room in this test
    let ledger = open_with(
        dir.path(),
        Options {
            ballast: 4096,
            retry: slow,
            ..on(&disk)
        },
    );
    let ballast = dir.path().join("ledger.ballast");
    deposit_each(&ledger, 1);

    let set_aside = ballast.clone();
    disk.set(Some(Fault::Full(Box::new(move || set_aside.exists()))));
    let refused = submit(&ledger, Command::Deposit("alice", 1)).expect_err("no space");
    assert!(
        matches!(refused, SubmitError::Unavailable(_)),
        "{refused:?}"
    );
    // An agent alone does not free the ballast unless the file cannot even be opened without; either way it is the
    // owner's space from here on.
    assert_eq!(ledger.condition().0, Condition::DiskFull);
    let revoked =
        wait(ledger.submit(Command::Deposit("owner", 1), Lane::Owner)).expect("the owner can act");
    assert!(revoked.durable.is_some() && !ballast.exists());
    let still = submit(&ledger, Command::Deposit("alice", 1)).expect_err("not for agents");
    assert_eq!(
        still,
        SubmitError::Unavailable("the disk is full".to_owned())
    );
    wait(ledger.submit(Command::Deposit("owner", 1), Lane::Owner)).expect("and again");
    assert_eq!(
        *ledger.snapshot(),
        BTreeMap::from([("alice".to_owned(), 1), ("owner".to_owned(), 2)])
    );
    sound(&ledger);
}

#[test]
fn when_there_is_room_again_the_space_is_set_aside_and_agents_go_on() {
    let (dir, disk) = (folder(), Disk::default());
    let ledger = open_with(
        dir.path(),
        Options {
            ballast: 4096,
            ..on(&disk)
        },
    );
    let ballast = dir.path().join("ledger.ballast");
    let set_aside = ballast.clone();
    disk.set(Some(Fault::Full(Box::new(move || set_aside.exists()))));
    wait(ledger.submit(Command::Deposit("owner", 1), Lane::Owner)).expect("the owner can act");
    assert!(!ballast.exists());
    disk.set(None);
    deposit_each(&ledger, 1);
    assert!(ballast.exists());
    assert_eq!(ledger.condition().0, Condition::Open);
}

#[test]
fn a_disk_that_is_gone_closes_the_ledger_and_its_return_opens_it() {
    let (dir, disk) = (folder(), Disk::default());
    let ledger = open_with(dir.path(), on(&disk));
    deposit_each(&ledger, 2);
    disk.set(Some(Fault::Dead(0)));
    let lost = submit(&ledger, Command::Deposit("alice", 1)).map(drop);
    assert!(matches!(lost, Err(SubmitError::Lost { .. })), "{lost:?}");
    assert!(matches!(ledger.condition().0, Condition::Closed(_)));
    let refused = submit(&ledger, Command::Deposit("alice", 1)).expect_err("closed");
    assert!(
        matches!(refused, SubmitError::Unavailable(_)),
        "{refused:?}"
    );
    assert_eq!(
        ledger.snapshot().get("alice"),
        Some(&2),
        "what is known is still known"
    );
    disk.set(None);
    deposit_each(&ledger, 1);
    assert_eq!(
        (ledger.condition().0, ledger.snapshot().get("alice")),
        (Condition::Open, Some(&3))
    );
    sound(&ledger);
}

#[test]
fn on_a_disk_that_was_full_before_the_start_the_owner_can_still_act() {
    let (dir, disk) = (folder(), Disk::default());
    let with_ballast = || Options {
        ballast: 4096,
        ..on(&disk)
    };
    open_with(dir.path(), with_ballast()).close();
    let ballast = dir.path().join("ledger.ballast");
    let set_aside = ballast.clone();
    disk.set(Some(Fault::Full(Box::new(move || set_aside.exists()))));
    // This ballast can be set aside again at once, unlike on a disk that is truly full, so the act frees it again.
    let ledger = open_with(dir.path(), with_ballast());
    wait(ledger.submit(Command::Deposit("owner", 1), Lane::Owner)).expect("the owner can act");
    assert!(!ballast.exists());
}

#[test]
#[cfg(target_os = "linux")] // for /dev/full
fn a_start_without_room_for_the_ballast_leaves_the_rest_to_the_owner() {
    let dir = folder();
    // A file that can never be filled stands in for a full disk.
    std::os::unix::fs::symlink("/dev/full", dir.path().join("ledger.ballast")).expect("linked");
    let (ledger, report) = Ledger::<Bank>::open(
        dir.path(),
        with(|o| {
            o.ballast = 4096;
            o.retry = Duration::from_secs(3_600);
        }),
    )
    .expect("the ledger opens");
    assert!(report.no_ballast.is_some());
    assert_eq!(ledger.condition().0, Condition::DiskFull);
    assert!(matches!(
        submit(&ledger, Command::Deposit("alice", 1)),
        Err(SubmitError::Unavailable(_))
    ));
    wait(ledger.submit(Command::Deposit("owner", 1), Lane::Owner)).expect("the owner can act");
}
