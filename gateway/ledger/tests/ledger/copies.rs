//! Copies made while the writer goes on, and of a ledger at rest.

use plexus_ledger::{OpenError, copy_at_rest, hold_closed, verify_file};

use crate::bank::{Bank, deposit_each, folder, open_with, options, start, with};

#[test]
fn a_copy_holds_all_that_was_acknowledged_before_it_and_holds_together() {
    let dir = folder();
    let ledger = open_with(dir.path(), with(|o| o.checkpoint_every = 5));
    deposit_each(&ledger, 13);
    let before = ledger.head().expect("readable");
    let to = dir.path().join("copy.redb");
    let copied = std::thread::scope(|scope| {
        scope.spawn(|| deposit_each(&ledger, 40));
        ledger.copy(&to).expect("copied")
    });
    assert!(copied.head.seq >= before.seq);
    let heads = dir.path().join("copied-heads.jsonl");
    std::fs::write(&heads, &copied.heads).expect("written");
    let verified = verify_file::<Bank>(&to, Some(&heads)).expect("it holds together");
    assert_eq!(verified.head, copied.head);
    assert!(verified.heads >= 1, "the copy's own head is among them");
    // What is there is not written over.
    let again = ledger.copy(&to).map(drop).expect_err("it is there");
    assert!(again.to_string().contains("File exists"), "{again}");

    // The copy is a ledger: it opens, and goes on.
    let home = dir.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    std::fs::rename(&to, home.join("ledger.redb")).expect("moved");
    let again = open_with(&home, options());
    deposit_each(&again, 3);
    again.verify(true).expect("it holds together");
}

#[test]
fn a_ledger_in_use_is_neither_copied_from_outside_nor_held_closed() {
    let dir = folder();
    let nowhere = dir.path().join("nowhere");
    assert!(hold_closed(&nowhere).expect("nothing there").is_none());
    drop(hold_closed(dir.path()).expect("empty"));
    let ledger = open_with(dir.path(), options());
    deposit_each(&ledger, 3);
    let to = dir.path().join("copy.redb");
    assert!(matches!(
        copy_at_rest(dir.path(), &to),
        Err(OpenError::InUse)
    ));
    assert!(matches!(hold_closed(dir.path()), Err(OpenError::InUse)));
    assert!(!to.exists());
    assert!(ledger.close());
    drop(ledger);
    let held = hold_closed(dir.path()).expect("at rest").expect("a ledger");
    assert!(matches!(hold_closed(dir.path()), Err(OpenError::InUse)));
    drop(held);
    let copied = copy_at_rest(dir.path(), &to).expect("copied");
    assert_eq!(
        verify_file::<Bank>(&to, None).expect("sound").head,
        copied.head
    );
}

/// A state directory whose daemon was killed at work: its file says that it has to be repaired.
fn killed() -> tempfile::TempDir {
    let (live, dir) = (folder(), folder());
    let ledger = open_with(live.path(), options());
    deposit_each(&ledger, 5);
    for name in ["ledger.redb", "audit-heads.jsonl"] {
        std::fs::copy(live.path().join(name), dir.path().join(name)).expect("copied");
    }
    dir
}

/// Repairing a ledger is the daemon's: it knows what may be on no disk, and who only looks may have evidence before it.
#[test]
fn who_looks_at_a_ledger_or_copies_it_changes_no_byte_of_it() {
    let dir = killed();
    let (path, to) = (dir.path().join("ledger.redb"), dir.path().join("copy.redb"));
    let found = std::fs::read(&path).expect("readable");
    let unchanged = |who: &str| {
        let now = std::fs::read(&path).expect("readable");
        assert!(now == found, "{who} changed it");
    };
    let verified = verify_file::<Bank>(&path, None).expect("sound");
    unchanged("who verifies");
    let copied = copy_at_rest(dir.path(), &to).expect("copied");
    unchanged("who copies");
    drop(hold_closed(dir.path()).expect("at rest").expect("a ledger"));
    unchanged("who holds it closed");
    assert_eq!(copied.head, verified.head);
    let head = verify_file::<Bank>(&to, None).expect("sound").head;
    assert_eq!(head, copied.head, "the copy is whole");
    // The control: a daemon repairs it.
    let (ledger, boot) = start(dir.path());
    assert!(boot.walked, "it had to be repaired");
    ledger.close();
    assert!(std::fs::read(&path).expect("readable") != found);
}

/// What is read now may be on no disk: a copy that was called sound would be of what is not there after a power cut.
#[test]
fn a_ledger_that_awaits_a_failed_flush_is_not_copied_before_a_daemon_has_settled_it() {
    let dir = killed();
    let (mark, to) = (
        dir.path().join("ledger.unsure"),
        dir.path().join("copy.redb"),
    );
    std::fs::write(&mark, "").expect("left");
    let refused = copy_at_rest(dir.path(), &to).expect_err("refused");
    assert!(matches!(refused, OpenError::Unsure));
    assert!(refused.to_string().contains("start plexusd once"));
    assert!(!to.exists() && mark.exists());
    // The control: as it says.
    open_with(dir.path(), options()).close();
    assert!(!mark.exists());
    copy_at_rest(dir.path(), &to).expect("copied");
}
