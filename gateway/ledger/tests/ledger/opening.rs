//! What is refused at the door, and what is reported.

use std::fs;
use std::path::{Path, PathBuf};

use plexus_ledger::{CheckError, Condition, Finding, Ledger, OpenError, copy_at_rest, hold_closed};
use redb::{Database, TableDefinition};

use crate::bank::{
    Bank, Command, deposit_each, folder, open, open_with, options, start, submit, with,
};
use crate::disk::{Disk, Fault};
use crate::tables::{META, change, put};

fn refused(dir: &Path) -> OpenError {
    Ledger::<Bank>::open(dir, options()).err().expect("refused")
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let dir = folder();
    let ledger = open(dir.path());
    assert!(matches!(refused(dir.path()), OpenError::InUse));
    deposit_each(&ledger, 1);
    ledger.close();
    open(dir.path());
}

/// It waits for the disk to be mended, and goes on then. What was put in its place meanwhile it would take for its own.
#[test]
fn a_daemon_whose_disk_has_failed_keeps_its_directory() {
    let dir = folder();
    let disk = Disk::default();
    let on_disk = || with(|o| o.opener = disk.opener());
    let ledger = open_with(dir.path(), on_disk());
    disk.set(Some(Fault::Dead(0)));
    submit(&ledger, Command::Deposit("a", 1)).expect_err("it cannot be recorded");
    assert!(matches!(ledger.condition().0, Condition::Closed(_)));
    assert!(matches!(refused(dir.path()), OpenError::InUse));
    assert!(matches!(hold_closed(dir.path()), Err(OpenError::InUse)));
    let copied = copy_at_rest(dir.path(), &dir.path().join("copy.redb"));
    assert!(matches!(copied, Err(OpenError::InUse)));

    disk.set(None);
    drop(ledger);
    deposit_each(&open_with(dir.path(), on_disk()), 1);
}

#[test]
fn another_format_is_refused_with_a_remedy_and_left_as_it_is() {
    let dir = folder();
    open(dir.path()).close();
    let set_format = |format: u64| change(dir.path(), |tx| put(tx, META, "format", format));
    set_format(4);
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Format { found: 4 }));
    assert!(
        error
            .to_string()
            .contains("start the version that wrote it"),
        "{error}"
    );
    set_format(2);
    // The refused start was not counted as a launch.
    assert_eq!(
        Ledger::<Bank>::open(dir.path(), options())
            .expect("the ledger opens")
            .1
            .launch,
        2
    );
}

#[test]
fn a_file_that_is_no_ledger_is_refused_and_left_as_it_is() {
    let dir = folder();
    let path = dir.path().join("ledger.redb");
    fs::write(&path, vec![b'x'; 20_000]).expect("written");
    assert!(matches!(refused(dir.path()), OpenError::Store(_)));
    assert_eq!(fs::read(&path).expect("readable"), vec![b'x'; 20_000]);

    fs::remove_file(&path).expect("removed");
    let foreign = Database::create(&path).expect("made");
    let tx = foreign.begin_write().expect("a transaction");
    tx.open_table(TableDefinition::<u64, u64>::new("somebody else's"))
        .expect("a table");
    tx.commit().expect("committed");
    drop(foreign);
    assert!(matches!(
        refused(dir.path()),
        OpenError::Format { found: 0 }
    ));
    fs::write(&path, [7; 9000]).expect("written");
    let noise = refused(dir.path());
    assert!(noise.lasts() && !noise.is_the_systems(), "{noise}");
}

/// Two days of a ledger: its file, closed at the end of the second, and a copy from the end of the first.
fn two_days(dir: &Path) -> (PathBuf, PathBuf) {
    let (file, copy) = (dir.join("ledger.redb"), dir.join("copy"));
    let day = || {
        let ledger = open(dir);
        deposit_each(&ledger, 3);
        ledger.close();
    };
    day();
    fs::copy(&file, &copy).expect("copied");
    day();
    (file, copy)
}

#[test]
fn a_ledger_put_back_to_an_earlier_day_is_reported() {
    let dir = folder();
    let (file, copy) = two_days(dir.path());

    let (ledger, report) = start(dir.path());
    assert_eq!(report.rolled_back, None);
    assert!(ledger.verify(true).expect("sound").heads > 0);
    ledger.close();

    fs::copy(&copy, &file).expect("put back");
    let (ledger, report) = start(dir.path());
    let finding = Finding::Head {
        seq: 8,
        why: "the log ends before it",
    };
    assert_eq!(report.rolled_back, Some(finding));
    assert!(
        ledger
            .verify(true)
            .expect_err("found")
            .to_string()
            .contains("the log ends before it")
    );

    // Written on from there, the hashes part company instead.
    deposit_each(&ledger, 9);
    assert!(
        ledger
            .verify(true)
            .expect_err("found")
            .to_string()
            .contains("another hash")
    );
    ledger.close();
    // Its own lines are the last ones by now; it is reported all the same, at each start.
    let (_ledger, report) = start(dir.path());
    assert!(
        matches!(report.rolled_back, Some(Finding::Head { seq: 8, .. })),
        "{report:?}"
    );
}

#[test]
fn an_emptied_ledger_is_refused_while_its_heads_are_known() {
    let dir = folder();
    let (file, _) = two_days(dir.path());
    let refusal = |how: &str, known_by: &str| {
        let refused = refused(dir.path());
        assert!(refused.lasts(), "{refused}");
        assert!(matches!(refused, OpenError::Gone { .. }), "{refused}");
        for words in [how, &format!("move {known_by} away")] {
            assert!(refused.to_string().contains(words), "{refused}");
        }
    };
    fs::write(&file, "").expect("emptied");
    refusal("is empty", "audit-heads.jsonl");
    let length = fs::metadata(&file).expect("there").len();
    assert_eq!(length, 0, "left as it was");
    fs::remove_file(&file).expect("removed");
    refusal("is missing", "audit-heads.jsonl");
    let archives = dir.path().join("archive");
    fs::create_dir_all(&archives).expect("a folder");
    let archive = archives.join("audit-000000000001-000000000009-0123456789ab.log");
    fs::write(&archive, "").expect("one");
    refusal("is missing", "audit-heads.jsonl and archive/");
    assert!(!file.exists(), "nothing was made");
    // An owner who means it moves both away.
    fs::remove_file(dir.path().join("audit-heads.jsonl")).expect("moved away");
    refusal("is missing", "archive/");
    fs::remove_file(archive).expect("moved away");
    let (_, report) = start(dir.path());
    assert_eq!(report.launch, 1);
}

#[test]
fn a_file_of_heads_that_is_put_aside_takes_nothing_from_what_later_starts_report() {
    let dir = folder();
    let (file, copy) = two_days(dir.path());
    let heads = dir.path().join("audit-heads.jsonl");
    fs::copy(&copy, &file).expect("put back");
    // So many true lines that the file is full.
    let text = fs::read_to_string(&heads).expect("readable");
    let first = format!("{}\n", text.lines().next().expect("a line"));
    let full = first.repeat((8 << 20) / first.len());
    fs::write(&heads, full + &text).expect("written");

    for time in 0..3 {
        let (ledger, report) = start(dir.path());
        assert!(
            matches!(report.rolled_back, Some(Finding::Head { seq: 8, .. })),
            "start {time}: {report:?}"
        );
        let found = ledger.verify(true);
        let of_heads = matches!(found, Err(CheckError::Found(Finding::Head { .. })));
        assert!(of_heads, "start {time}: {found:?}");
        deposit_each(&ledger, 9);
        ledger.close();
        assert!(dir.path().join("audit-heads.1.jsonl").exists());
        // More lines of its own than a start looks at.
        let mut text = fs::read_to_string(&heads).expect("readable");
        assert!(text.len() < 1 << 20, "start {time}");
        let last = format!("{}\n", text.lines().last().expect("a line"));
        text.push_str(&last.repeat(1_000));
        fs::write(&heads, text).expect("written");
    }
    fs::remove_file(&heads).expect("moved away");
    let (_ledger, report) = start(dir.path());
    assert_eq!(report.rolled_back, None);
}

#[test]
fn space_is_set_aside_and_the_files_are_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let ledger = open_with(dir.path(), with(|o| o.ballast = 100_000));
    deposit_each(&ledger, 1);
    ledger.close();
    for name in ["ledger.redb", "audit-heads.jsonl", "ledger.ballast"] {
        let mode = fs::metadata(dir.path().join(name))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        fs::metadata(dir.path().join("ledger.ballast"))
            .expect("there")
            .len(),
        100_000
    );
}

#[test]
fn heads_are_lines_of_json_and_a_torn_one_is_passed_over() {
    let dir = folder();
    let ledger = open(dir.path());
    deposit_each(&ledger, 50);
    ledger.close();
    let path = dir.path().join("audit-heads.jsonl");
    let text = fs::read_to_string(&path).expect("readable");
    // The first commit, then nothing within the second, then the stop.
    assert!(text.lines().count() <= 4, "{text}");
    assert!(
        text.lines()
            .last()
            .expect("a line")
            .starts_with(r#"{"seq":51,"hash":""#),
        "{text}"
    );
    fs::write(&path, format!("{text}{{\"seq\":9")).expect("written");
    let (ledger, report) = start(dir.path());
    assert_eq!(report.rolled_back, None);
    deposit_each(&ledger, 1);
    ledger.close();
    let lines = fs::read_to_string(&path).expect("readable");
    assert!(
        lines
            .lines()
            .last()
            .expect("a line")
            .starts_with(r#"{"seq":53,"#),
        "{lines}"
    );
}
