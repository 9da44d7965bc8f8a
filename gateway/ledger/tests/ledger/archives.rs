//! Old events move into archives: each stays where it can be seen, once, whatever happens on the way.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plexus_ledger::{
    ArchiveState, CheckError, EventId, FORGOTTEN, Finding, ForgetError, IndexTerm, Lane, Ledger,
    OpenError, Options, Recorded, SEALED, SealStep, SealWatch, SubmitError, VerifiedArchives,
    VerifiedExport, copy_at_rest, verify_archives, verify_export, verify_file,
};
use redb::ReadableTable as _;

use crate::bank::{
    Bank, Command, archives, deposit_each, event, events, folder, head, open_with, options,
    recorded, seqs, sound, submit, this_test, wait,
};
use crate::tables::{self, ARCHIVES, EVENTS, RUNS, change, remove};
use crate::waiting::{PATIENCE, ended, lines};

fn keeping(keep: u64) -> Options {
    Options {
        keep,
        checkpoint_every: 5,
        index_run: 7,
        retry: Duration::ZERO,
        ..options()
    }
}

/// The same, and who watches the steps of sealing.
fn watched(keep: u64, sealing: SealWatch) -> Options {
    Options {
        sealing,
        ..keeping(keep)
    }
}

/// Events that are a sound export.
fn exported(bytes: &[u8]) -> VerifiedExport {
    verify_export(bytes).expect("sound").expect("events")
}

/// A folder of archives that holds together without its ledger.
fn archived(folder: &Path) -> VerifiedArchives {
    verify_archives(folder).expect("sound").expect("archives")
}

/// Waits until nothing is left to archive: what is in the file is what is kept, and less than an archive more.
fn settle(ledger: &Ledger<Bank>, at_most: u64) {
    let began = Instant::now();
    loop {
        let head = head(ledger);
        let first = ledger.first_in_file().expect("readable");
        let archived = archives(ledger);
        let sealed = archived.last().map_or(0, |(archive, _)| archive.last);
        if head + 1 - first <= at_most && first == sealed + 1 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{first} to {head}: {sealed}");
        // The writer looks at its archives after each batch.
        submit(ledger, Command::Ping).expect("answered");
        std::thread::yield_now();
    }
}

/// Every event, oldest first, each once.
fn all(ledger: &Ledger<Bank>) -> Vec<EventId> {
    let (head, events) = (head(ledger), events(ledger));
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!(event.seq(), seq);
        assert_eq!(event.id().seq(), seq);
    }
    assert!(events.len() as u64 >= head, "up to the head");
    events.iter().map(Recorded::id).collect()
}

fn ids(ledger: &Ledger<Bank>) -> BTreeSet<String> {
    all(ledger).iter().map(EventId::to_string).collect()
}

/// The same ledger, which archives nothing further.
fn at_rest(dir: &Path, ledger: Ledger<Bank>) -> Ledger<Bank> {
    assert!(ledger.close());
    drop(ledger);
    open_with(dir, keeping(u64::MAX))
}

/// The owner changes what is kept while the writer works out what may go.
#[test]
fn keep_changed_while_an_archive_begins_stops_nothing() {
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(10));
    let over = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                ledger.keep(u64::MAX);
                ledger.keep(10);
            }
        });
        let served = (0..300).all(|_| submit(&ledger, Command::Deposit("a", 1)).is_ok());
        over.store(true, Ordering::Relaxed);
        served
    });
    assert!(served, "the writer has gone");
    settle(&ledger, 20);
    assert_eq!(all(&ledger).len() as u64, head(&ledger));
}

fn found_in(ledger: &Ledger<Bank>) -> Finding {
    match ledger.verify(true) {
        Err(CheckError::Found(finding)) => finding,
        other => panic!("{other:?}"),
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("archive")).expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    files.sort();
    files
}

#[test]
fn what_is_archived_is_seen_as_before_and_is_no_longer_in_the_file() {
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(u64::MAX));
    for i in 0..120 {
        let who = ["alice", "bob", "carol"][i % 3];
        recorded(&ledger, Command::Deposit(who, 1));
        recorded(&ledger, Command::Look(who));
    }
    let before = events(&ledger);
    ledger.keep(20);
    settle(&ledger, 35);
    let ledger = at_rest(dir.path(), ledger);
    sound(&ledger);
    let (now, head) = (
        ledger.after(0, before.len()).expect("readable"),
        head(&ledger),
    );
    let text =
        |events: &[Recorded]| -> Vec<_> { events.iter().map(Recorded::export_line).collect() };
    assert_eq!(text(&before), text(&now));
    for old in &before {
        let again = event(&ledger, &old.id());
        assert_eq!(again.export_line(), old.export_line());
        let mut later = before.iter().filter(|e| e.at() >= old.at());
        let first = later.next().expect("itself").seq();
        assert_eq!(ledger.first_at(old.at()).expect("readable"), first);
    }
    let everything = ledger.tail(usize::MAX, None).expect("readable");
    assert!(everything.iter().rev().map(|e| e.seq()).eq(1..=head));
    for who in ["alice", "bob", "carol"] {
        for term in [
            IndexTerm::Touched(who.to_owned()),
            IndexTerm::Agent(format!("agent-{who}")),
        ] {
            let member = format!(r#""account":"{who}""#);
            let about = everything.iter().filter(|e| e.json().contains(&member));
            let mut expected: Vec<_> = about.map(Recorded::seq).collect();
            let found = ledger.find(&term, None, usize::MAX).expect("readable");
            assert_eq!(seqs(&found), expected);
            let below = ledger.find(&term, Some(100), 7).expect("readable");
            let few = expected.iter().copied().filter(|seq| *seq < 100).take(7);
            assert_eq!(seqs(&below), few.collect::<Vec<_>>());
            // Page by page, of any size.
            for most in [1, 3, 50, 10_000] {
                let (mut paged, mut end) = (Vec::new(), Some(head + 1));
                while let Some(at) = end {
                    let next = ledger.walk_back(Some(&term), 5..at, most, |event| {
                        paged.push(event.seq());
                        true
                    });
                    end = next.expect("readable");
                    assert!(end.is_none_or(|end| end < at), "it goes on");
                }
                expected.retain(|seq| *seq >= 5);
                assert_eq!(paged, expected, "{most} at once");
            }
        }
    }

    let archives = archives(&ledger);
    let last = archives.last().expect("some").0.last;
    assert!(
        archives
            .iter()
            .all(|(_, place)| *place == ArchiveState::There)
    );
    let told = everything.iter().filter(|e| e.event_type() == SEALED);
    assert_eq!(told.count(), archives.len());
    assert!(ledger.close());
    drop(ledger);
    let about = change(dir.path(), |tx| {
        assert_eq!(
            tables::format(tx),
            3,
            "also after starts: who knows no archives is kept away"
        );
        let kept: Vec<_> = tables::all(&tx.open_table(EVENTS).expect("a table"), |seq, _| seq);
        assert_eq!(kept[0], last + 1);
        assert!(kept.len() < 45);
        tables::runs(&tx.open_table(RUNS).expect("a table"))
    });
    assert!(
        about.iter().all(|(_, end)| *end > last + 1),
        "an index of what is gone"
    );
    // One run may have begun among those that are gone.
    assert!(about.iter().filter(|(first, _)| *first <= last).count() <= 1);
    assert!(!about.is_empty());
}

#[test]
fn each_archive_is_an_export_and_together_they_are_one() {
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(5));
    deposit_each(&ledger, 100);
    settle(&ledger, 20);
    let ledger = at_rest(dir.path(), ledger);
    let (mut whole, mut end) = (Vec::new(), 0);
    let named = archives(&ledger);
    for (archive, _) in &named {
        let path = dir.path().join("archive").join(&archive.file);
        let bytes = fs::read(&path).expect("readable");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let checked = exported(&bytes);
        assert_eq!(checked.first, end + 1);
        end = checked.head.seq;
        whole.extend(bytes);
    }
    for event in ledger.after(end, usize::MAX).expect("readable") {
        whole.extend((event.export_line() + "\n").bytes());
    }
    let checked = exported(&whole);
    assert_eq!(
        (checked.first, checked.head),
        (1, ledger.head().expect("readable"))
    );

    let folder = dir.path().join("archive");
    let alone = archived(&folder);
    assert_eq!((alone.first, alone.head.seq), (1, end));
    assert_eq!(alone.archives, named.len() as u64);

    // And beside a copy of the ledger, wherever both are.
    ledger.close();
    let copy = dir.path().join("copy");
    fs::create_dir(&copy).expect("a folder");
    let copied = copy_at_rest(dir.path(), &copy.join("ledger.redb")).expect("copied");
    fs::rename(copy.join("archive"), dir.path().join("aside")).expect("moved");
    assert!(matches!(
        verify_file::<Bank>(&copy.join("ledger.redb"), None),
        Err(OpenError::Damaged(Finding::Archive { first: 1, .. }))
    ));
    fs::rename(dir.path().join("aside"), copy.join("archive")).expect("moved back");
    archived(&copy.join("archive"));
    let verified = verify_file::<Bank>(&copy.join("ledger.redb"), None).expect("sound");
    assert_eq!(verified.archives, copied.archives.len() as u64);
    assert_eq!((verified.first, verified.events), (1, verified.head.seq));
}

#[test]
fn an_archive_that_is_missing_changed_or_in_anothers_place_is_named() {
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(5));
    deposit_each(&ledger, 100);
    settle(&ledger, 20);
    let ledger = at_rest(dir.path(), ledger);
    let verified = ledger.verify(true).expect("the control: sound");
    let list = archives(&ledger);
    assert!(verified.archives >= 3 && list.len() as u64 == verified.archives);
    let archive = list[1].0.clone();
    let folder = dir.path().join("archive");
    let path = folder.join(&archive.file);
    let good = fs::read(&path).expect("readable");
    let named = |place: ArchiveState| {
        let Finding::Archive {
            file,
            first,
            last,
            why,
        } = found_in(&ledger)
        else {
            panic!("an archive is to be named");
        };
        assert_eq!(
            (&file, first, last),
            (&archive.file, archive.first, archive.last)
        );
        assert_eq!(archives(&ledger)[1].1, place);
        let alone = verify_archives(&folder).expect_err("found without the ledger as well");
        assert!(alone.to_string().contains(&archive.file), "{alone}");
        why
    };

    fs::remove_file(&path).expect("removed");
    assert!(named(ArchiveState::Missing).contains("missing"));
    let gone = ledger
        .after(archive.first, 3)
        .expect_err("not as if there were none");
    assert!(gone.to_string().contains(&archive.file), "{gone}");
    // What does not lie in it is there, and the ledger goes on.
    assert!(!ledger.tail(10, None).expect("readable").is_empty());
    deposit_each(&ledger, 3);
    // Of one that the system does not open nothing is known.
    std::os::unix::fs::symlink(&path, &path).expect("a loop");
    let alone = verify_archives(&folder);
    assert!(matches!(alone, Err(CheckError::Store(_))), "{alone:?}");
    fs::remove_file(&path).expect("removed");
    // Nor of one whose reading fails: nothing lies at the first address.
    if cfg!(target_os = "linux") {
        let list = folder.join("archives.jsonl");
        let lines = fs::read_to_string(&list).expect("readable");
        let of = |bytes: u64| format!(r#""bytes":{bytes},"sha256":"{}""#, archive.sha256);
        fs::write(&list, lines.replace(&of(archive.bytes), &of(0))).expect("written");
        std::os::unix::fs::symlink("/proc/self/mem", &path).expect("a link");
        let alone = verify_archives(&folder);
        assert!(matches!(alone, Err(CheckError::Store(_))), "{alone:?}");
        fs::remove_file(&path).expect("removed");
        fs::write(&list, lines).expect("written");
    }

    let mut bytes = good.clone();
    *bytes.last_mut().expect("some") = b' ';
    fs::write(&path, &bytes).expect("written");
    assert!(named(ArchiveState::There).contains("content"));
    fs::write(&path, &good[..good.len() - 1]).expect("written");
    assert!(named(ArchiveState::Changed).contains("length"));
    let other = folder.join(&list[2].0.file);
    let others = fs::read(&other).expect("readable");
    fs::write(&path, &others).expect("written");
    fs::write(&other, &good).expect("written");
    named(if others.len() == good.len() {
        ArchiveState::There
    } else {
        ArchiveState::Changed
    });
    fs::write(&path, &good).expect("written");
    fs::write(&other, &others).expect("written");
    ledger.verify(true).expect("all as it was");

    // A start needs none of them, and says which are astray.
    ledger.close();
    let aside = dir.path().join("aside");
    fs::rename(&folder, &aside).expect("moved");
    let (ledger, report) = Ledger::<Bank>::open(dir.path(), keeping(u64::MAX)).expect("opens");
    assert_eq!(report.archives_astray.len(), list.len());
    assert!(matches!(
        found_in(&ledger),
        Finding::Archive { first: 1, .. }
    ));
    deposit_each(&ledger, 3);
    fs::remove_dir_all(&folder).ok();
    fs::rename(&aside, &folder).expect("moved back");
    sound(&ledger);
}

#[test]
fn an_entry_that_no_event_explains_is_found() {
    for changed in [true, false] {
        let dir = folder();
        let ledger = open_with(dir.path(), keeping(5));
        deposit_each(&ledger, 60);
        settle(&ledger, 20);
        sound(&ledger);
        ledger.close();
        drop(ledger);
        if changed {
            with_entries(dir.path(), |entry| {
                if entry.first == 1 {
                    entry.until = entry.from.clone();
                }
            });
        } else {
            change(dir.path(), |tx| remove(tx, ARCHIVES, 1));
        }
        let ledger = open_with(dir.path(), keeping(u64::MAX));
        let finding = found_in(&ledger);
        assert!(
            matches!(&finding, Finding::Event { .. } if changed)
                || matches!(&finding, Finding::Archive { .. } | Finding::Missing { .. } if !changed),
            "{finding}"
        );
    }
}

/// Fails, or blocks, the step that it is told to.
fn watch(at: Arc<AtomicI64>, steps: Arc<Mutex<Vec<SealStep>>>) -> SealWatch {
    Arc::new(move |step| {
        steps.lock().expect("no panic").push(step);
        if at.fetch_sub(1, Ordering::Relaxed) == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        Ok(())
    })
}

#[test]
fn a_failure_at_any_step_leaves_everything_as_it_was_and_is_made_good() {
    let mut failed_at = BTreeSet::new();
    for at in 0.. {
        let dir = folder();
        let (fails, steps) = (Arc::new(AtomicI64::new(at)), Arc::default());
        let sealing = watch(Arc::clone(&fails), Arc::clone(&steps));
        let ledger = open_with(dir.path(), watched(3, sealing));
        let mut acknowledged = Vec::new();
        for _ in 0..40 {
            let receipt = recorded(&ledger, Command::Deposit("alice", 1));
            acknowledged.extend(receipt.events.iter().map(|event| event.id));
            let events = ids(&ledger);
            assert!(
                acknowledged
                    .iter()
                    .all(|id| events.contains(&id.to_string()))
            );
        }
        settle(&ledger, 15);
        ledger
            .verify(true)
            .unwrap_or_else(|e| panic!("step {at}: {e}"));
        all(&ledger);
        assert_eq!(ledger.snapshot()["alice"], 40);
        // What a failure has left is gone; one more may be being written.
        ledger.keep(u64::MAX);
        let patience = Instant::now() + Duration::from_secs(60);
        while files(dir.path()).len() != archives(&ledger).len() {
            assert!(
                Instant::now() < patience,
                "step {at}: {:?}",
                files(dir.path())
            );
            submit(&ledger, Command::Ping).expect("answered");
        }
        ledger.close();
        let steps = steps.lock().expect("no panic");
        match usize::try_from(at).ok().and_then(|at| steps.get(at)) {
            Some(step) => failed_at.insert(format!("{step:?}")),
            None => break,
        };
        if at > 16 {
            break;
        }
    }
    assert_eq!(
        failed_at.len(),
        8,
        "each kind of step was met: {failed_at:?}"
    );
}

#[test]
fn calls_are_answered_while_an_archive_is_being_written() {
    let dir = folder();
    let (entered, is_in) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (entered, released) = (Mutex::new(entered), Mutex::new(released));
    let sealing: SealWatch = Arc::new(move |step| {
        if step == SealStep::Write {
            let _ = entered.lock().expect("no panic").send(());
            // Until the other end is dropped.
            let _ = released.lock().expect("no panic").recv();
        }
        Ok(())
    });
    let ledger = open_with(dir.path(), watched(3, sealing));
    deposit_each(&ledger, 30);
    is_in.recv_timeout(PATIENCE).expect("an archive is begun");
    deposit_each(&ledger, 200);
    assert!(archives(&ledger).is_empty());
    drop(release);
    settle(&ledger, 15);
    sound(&ledger);
}

#[test]
fn a_stop_ends_an_archive_that_is_being_written_and_the_next_launch_makes_it() {
    let dir = folder();
    let (entered, is_in) = std::sync::mpsc::channel();
    let entered = Mutex::new(entered);
    let sealing: SealWatch = Arc::new(move |step| {
        if step == SealStep::Write {
            let _ = entered.lock().expect("no panic").send(());
        }
        Ok(())
    });
    let ledger = open_with(dir.path(), watched(3, sealing));
    deposit_each(&ledger, 30);
    is_in.recv_timeout(PATIENCE).expect("an archive is begun");
    assert!(ledger.close());
    drop(ledger);
    let ledger = open_with(dir.path(), keeping(3));
    settle(&ledger, 15);
    let ledger = at_rest(dir.path(), ledger);
    sound(&ledger);
    assert!(!dir.path().join("archive/audit.part").exists());
}

#[test]
fn what_the_owner_gives_up_is_gone_is_said_and_leaves_the_rest_provable() {
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(5));
    // An archive each at least, however late the writer seals.
    for _ in 0..5 {
        deposit_each(&ledger, 20);
        settle(&ledger, 20);
    }
    let ledger = at_rest(dir.path(), ledger);
    let list = archives(&ledger);
    assert!(list.len() > 3);
    let forget = |name: &str| wait(ledger.forget_archives(name.to_owned()));
    assert_eq!(forget("audit.log"), Err(ForgetError::Unknown));
    sound(&ledger);
    let through = &list[1].0;
    let gone = forget(&through.file).expect("given up");
    assert_eq!(gone.len(), 2);
    assert_eq!(forget(&through.file), Err(ForgetError::Unknown));

    let verified = sound(&ledger);
    assert_eq!(verified.first, through.last + 1);
    assert_eq!(verified.archives, list.len() as u64 - 2);
    let events = events(&ledger);
    assert_eq!(events[0].seq(), through.last + 1);
    let said = events.iter().filter(|e| e.event_type() == FORGOTTEN);
    assert_eq!(said.count(), 2);
    let places: Vec<_> = archives(&ledger).iter().map(|(_, p)| *p).collect();
    use ArchiveState::{Forgotten, There};
    assert_eq!(places[..3], [Forgotten, Forgotten, There]);
    let folder = dir.path().join("archive");
    assert!(
        list[..2]
            .iter()
            .all(|(a, _)| !folder.join(&a.file).exists())
    );
    let alone = archived(&folder);
    assert_eq!(alone.first, through.last + 1);
    let term = IndexTerm::Touched("alice".to_owned());
    let found = ledger.find(&term, None, usize::MAX).expect("readable");
    assert!(found.len() > 50 && found.iter().all(|e| e.seq() > through.last));
    assert_eq!(ledger.first_at(0).expect("readable"), through.last + 1);

    // A file that goes without a word is still found.
    let kept = folder.join(&list[2].0.file);
    let bytes = fs::read(&kept).expect("readable");
    fs::remove_file(&kept).expect("removed");
    assert!(matches!(found_in(&ledger), Finding::Archive { file, .. } if file == list[2].0.file));
    fs::write(&kept, bytes).expect("written");
    // And it goes on: the next are archived behind what is left.
    ledger.keep(5);
    deposit_each(&ledger, 60);
    settle(&ledger, 20);
    sound(&ledger);
    assert_eq!(ledger.snapshot()["alice"], 160);
}

/// Changes the entries of a ledger's archives behind its back.
fn with_entries(dir: &Path, change: impl Fn(&mut plexus_ledger::Archive)) {
    tables::change(dir, |tx| {
        let mut table = tx.open_table(ARCHIVES).expect("a table");
        let rows = table.iter().expect("readable").flatten();
        let rows = rows.map(|(first, line)| (first.value(), line.value().to_owned()));
        for (first, line) in rows.collect::<Vec<_>>() {
            let mut entry = serde_json::from_str(&line).expect("an entry");
            change(&mut entry);
            let line = serde_json::to_string(&entry).expect("text");
            table.insert(first, line.as_str()).expect("changed");
        }
    });
}

#[test]
fn archives_are_given_up_again_and_the_events_that_said_so_before_with_them() {
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(5));
    // However slowly the archives follow: each round leaves too much in the file for there to be none of it.
    let rounds = |count: u32| {
        for _ in 0..count {
            deposit_each(&ledger, 30);
            settle(&ledger, 20);
        }
    };
    rounds(4);
    let forget = |ledger: &Ledger<Bank>, name: &str| {
        wait(ledger.forget_archives(name.to_owned())).expect("given up")
    };
    let names = |ledger: &Ledger<Bank>| -> Vec<_> {
        let list = archives(ledger).into_iter();
        list.map(|(archive, _)| archive).collect()
    };
    let early = names(&ledger);
    let first_file = dir.path().join("archive").join(&early[0].file);
    let first_bytes = fs::read(&first_file).expect("readable");
    assert_eq!(forget(&ledger, &early[1].file).len(), 2);
    sound(&ledger);
    let said = head(&ledger);
    rounds(5);
    let ledger = at_rest(dir.path(), ledger);
    sound(&ledger); // What said so lies in an archive.
    let list = names(&ledger);
    let at = list.iter().position(|archive| archive.last >= said);
    let at = at.expect("what said so is archived");
    assert!(at > 3 && at + 2 < list.len());
    assert_eq!(forget(&ledger, &list[at].file).len(), at - 1);

    let verified = sound(&ledger);
    assert_eq!(verified.first, list[at].last + 1);
    let (copy, folder) = (dir.path().join("copy"), dir.path().join("archive"));
    fs::create_dir(&copy).expect("a folder");
    ledger.copy(&copy.join("ledger.redb")).expect("copied");
    verify_file::<Bank>(&copy.join("ledger.redb"), None).expect("a backup as well");
    let alone = archived(&folder);
    assert_eq!(alone.first, list[at].last + 1);
    ledger.close();
    drop(ledger);

    // An entry that says so on its own is found, and so is one that no longer says it.
    let gone = |archive: &str, gone: bool| {
        with_entries(dir.path(), |entry| {
            if entry.file == archive {
                entry.forgotten = gone;
            }
        });
    };
    let found_at = |archive: &str| {
        let ledger = open_with(dir.path(), keeping(u64::MAX));
        let finding = found_in(&ledger);
        assert!(
            matches!(&finding, Finding::Archive { file, .. } if file == archive),
            "{finding}"
        );
        finding.to_string()
    };
    let (next, kept) = (&list[at + 1].file, folder.join(&list[at + 1].file));
    let bytes = fs::read(&kept).expect("readable");
    fs::remove_file(&kept).expect("removed");
    gone(next, true);
    assert!(found_at(next).contains("no event says that it was given up"));
    gone(next, false);
    fs::write(&kept, bytes).expect("written");
    gone(&early[0].file, false);
    fs::write(&first_file, first_bytes).expect("put back");
    assert!(found_at(&early[1].file).contains("the one before it was not"));
    gone(&early[0].file, true);
    let ledger = open_with(dir.path(), keeping(u64::MAX));
    sound(&ledger);
}

#[test]
fn a_file_of_another_log_is_left_alone() {
    let dir = folder();
    let other = folder();
    let elsewhere = open_with(other.path(), keeping(3));
    deposit_each(&elsewhere, 40);
    settle(&elsewhere, 15);
    let theirs = files(other.path()).remove(0);
    let name = theirs.file_name().expect("a name");
    let ledger = open_with(dir.path(), keeping(3));
    fs::create_dir_all(dir.path().join("archive")).expect("a folder");
    let here = dir.path().join("archive").join(name);
    fs::copy(&theirs, &here).expect("copied");
    deposit_each(&ledger, 40);
    settle(&ledger, 15);
    assert_eq!(
        fs::read(&here).expect("there"),
        fs::read(&theirs).expect("there")
    );
    sound(&ledger);
}

/// Names the directory to a child that is this test again and may open few files.
const FEW_FILES: &str = "PLEXUS_LEDGER_FEW_FILES_TEST";

#[test]
fn more_archives_than_files_that_may_be_open_are_read_and_too_few_are_no_damage() {
    if let Some(dir) = std::env::var_os(FEW_FILES) {
        return read_with_few_files(&PathBuf::from(dir));
    }
    let dir = folder();
    let ledger = open_with(dir.path(), keeping(5));
    while archives(&ledger).len() <= 40 {
        deposit_each(&ledger, 10);
        settle(&ledger, 20);
    }
    let ledger = at_rest(dir.path(), ledger);
    sound(&ledger);
    ledger.close();
    let child = Process::new("sh")
        .args(["-c", "ulimit -n 36 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this test's file"))
        .args([
            "--exact",
            "archives::more_archives_than_files_that_may_be_open_are_read_and_too_few_are_no_damage",
            "--nocapture",
        ])
        .env(FEW_FILES, dir.path())
        .output()
        .expect("the child runs");
    let said = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}");
}

fn read_with_few_files(dir: &Path) {
    let ledger = open_with(dir, keeping(u64::MAX));
    assert_eq!(sound(&ledger).archives, archives(&ledger).len() as u64);
    let head = head(&ledger);
    assert_eq!(all(&ledger).len() as u64, head);
    let newest_first = ledger.tail(usize::MAX, None).expect("readable");
    assert_eq!(newest_first.len() as u64, head);
    for event in newest_first {
        let first_at = ledger.first_at(event.at()).expect("readable");
        assert!(first_at <= event.seq());
    }
    let copy = dir.join("copy");
    fs::create_dir(&copy).expect("a folder");
    ledger.copy(&copy.join("ledger.redb")).expect("copied");
    verify_file::<Bank>(&copy.join("ledger.redb"), None).expect("sound");
    // One file at once is too few: that is no word about an archive.
    let mut taken: Vec<_> = std::iter::from_fn(|| fs::File::open(dir).ok()).collect();
    taken.pop();
    match ledger.verify(true) {
        Err(CheckError::Store(error)) => assert!(error.to_string().contains("open files")),
        other => panic!("{other:?}"),
    }
    taken.clear();
    sound(&ledger);
}

/// Names the directory to a child that is this test again, and the step that it dies before.
const CHILD: &str = "PLEXUS_LEDGER_SEAL_KILL_TEST";
const AT: &str = "PLEXUS_LEDGER_SEAL_KILL_AT";

#[test]
fn killed_before_any_step_of_sealing_nothing_is_missing_or_twice() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return seal_until_killed(&PathBuf::from(dir));
    }
    let dir = folder();
    let mut acknowledged: BTreeSet<String> = BTreeSet::new();
    let mut died_at = BTreeSet::new();
    // One after the other on the same ledger: what one kill has left, the next launch takes up.
    for at in (0..24).chain(0..6) {
        let mut child =
            this_test("archives::killed_before_any_step_of_sealing_nothing_is_missing_or_twice")
                .env(CHILD, dir.path())
                .env(AT, at.to_string())
                .stdout(Stdio::piped())
                .spawn()
                .expect("the child starts");
        for line in lines(child.stdout.take().expect("its output")) {
            if let Some(id) = line.strip_prefix("ack ") {
                acknowledged.insert(id.to_owned());
            }
            if let Some(step) = line.strip_prefix("step ") {
                died_at.insert(step.to_owned());
            }
        }
        assert!(
            !ended("the child", &mut child).success(),
            "it dies at step {at}"
        );
        let (ledger, report) =
            Ledger::<Bank>::open(dir.path(), keeping(u64::MAX)).expect("opens after a kill");
        assert!(!report.clean && report.rolled_back.is_none() && report.archives_astray.is_empty());
        ledger
            .verify(true)
            .unwrap_or_else(|e| panic!("killed at step {at}: {e}"));
        let events = ids(&ledger);
        assert_eq!(
            acknowledged.difference(&events).count(),
            0,
            "killed at step {at}"
        );
        assert_eq!(ledger.snapshot().values().sum::<u64>(), 1_000_000);
        ledger.close();
    }
    assert_eq!(died_at.len(), 8, "each kind of step was met: {died_at:?}");
}

fn seal_until_killed(dir: &Path) {
    let left = AtomicU64::new(
        std::env::var(AT)
            .expect("a number")
            .parse()
            .expect("a number"),
    );
    let say = |text: String| {
        // Not `println`: a kill must not leave an acknowledgement in a buffer.
        let _ = io::stdout().write_all(text.as_bytes());
    };
    let sealing: SealWatch = Arc::new(move |step| {
        if left.fetch_sub(1, Ordering::Relaxed) == 0 {
            let _ = io::stdout().write_all(format!("step {step:?}\n").as_bytes());
            std::process::abort();
        }
        Ok(())
    });
    let ledger = open_with(dir, watched(4, sealing));
    if ledger.snapshot().is_empty() {
        wait(ledger.submit(Command::Deposit("a", 1_000_000), Lane::Owner)).expect("recorded");
    }
    for turn in 0.. {
        let (from, to) = [("a", "b"), ("b", "c"), ("c", "a")][turn % 3];
        match submit(&ledger, Command::Move(from, to, 1)) {
            Ok(receipt) => {
                for event in &receipt.events {
                    say(format!("ack {}\n", event.id));
                }
            }
            Err(SubmitError::Refused(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}
