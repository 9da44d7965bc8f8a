//! The database, read while another process writes it: the test's writer is another SQLite (python's), with checkpoints.

use crate::waiting::lines;
use plexus_worker_things::{Database, Failure, Reads, View};
use rusqlite::Connection;
use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const TABLES: &str = include_str!("../src/tables.sql");

/// Writes all to-dos of `folder` anew in each transaction, until it is killed.
const WRITER: &str = r#"
import sqlite3, sys
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute("PRAGMA journal_mode = WAL")
base.execute("PRAGMA synchronous = OFF")
base.execute("PRAGMA wal_autocheckpoint = 0")
round = 0
while True:
    round += 1
    base.execute("BEGIN IMMEDIATE")
    base.execute("UPDATE TMTask SET title = ?, notes = ?", (str(round), str(round) * 300))
    base.execute("COMMIT")
    if round % 40 == 0:
        base.execute("PRAGMA wal_checkpoint(RESTART)")
    if round == 50:
        print("writing", flush=True)
"#;

struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.kill().expect("the writer runs");
        self.0.wait().expect("its end");
    }
}

fn filled(count: usize) -> (TempDir, Connection) {
    let folder = tempfile::tempdir().expect("a folder");
    let base = Connection::open(folder.path().join("main.sqlite")).expect("a database");
    base.pragma_update(None, "journal_mode", "WAL")
        .expect("a log");
    base.execute_batch(TABLES).expect("tables");
    for number in 0..count {
        let sentence = "INSERT INTO TMTask (uuid, type, title, start) VALUES (?1, 0, '0', 1)";
        base.execute(sentence, [format!("Todo{number:018}")])
            .expect("a row");
    }
    (folder, base)
}

fn titles(folder: &Path) -> Result<Vec<String>, Failure> {
    let reads = Reads::Database(Database::find(folder)?);
    let today = "2026-11-22".parse().expect("a day");
    let todos = reads.todos(Some(View::Anytime), today, &|| false)?;
    Ok(todos.into_iter().map(|todo| todo.title).collect())
}

/// Names and sizes of what lies in a folder.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"));
    let mut all: Vec<_> = entries
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.metadata().expect("a file").len(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn rows_are_of_one_moment_while_another_process_writes() {
    let (folder, base) = filled(200);
    drop(base);
    let child = Command::new("python3")
        .args(["-c", WRITER])
        .arg(folder.path().join("main.sqlite"))
        .stdout(Stdio::piped())
        .spawn();
    let mut writer = Writer(child.expect("this test needs python3"));
    let line = lines(writer.0.stdout.take().expect("its output")).next();
    assert_eq!(line.as_deref(), Some("writing"));
    let (begun, mut read, mut moved, mut last) = (Instant::now(), 0, 0, 0);
    while begun.elapsed() < Duration::from_secs(3) {
        match titles(folder.path()) {
            Ok(titles) => {
                assert_eq!(titles.len(), 200);
                assert!(
                    titles.iter().all(|title| *title == titles[0]),
                    "rows of two moments"
                );
                let round: u64 = titles[0].parse().expect("a number");
                assert!(round >= last, "an older moment than the one before");
                (read, last) = (read + 1, round);
            }
            Err(Failure::Moving) => moved += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(
        read > 3 && last > 50,
        "{read} reads, {moved} without a moment, up to transaction {last}"
    );
}

#[test]
fn newest_rows_are_read_and_no_file_is_made() {
    let (folder, base) = filled(1);
    let before = files(folder.path());
    assert_eq!(before.len(), 3, "a log with its index: {before:?}");
    assert_eq!(titles(folder.path()).expect("rows"), ["0"]);
    base.execute("UPDATE TMTask SET title = 'new'", [])
        .expect("a change");
    let before = files(folder.path());
    assert_eq!(titles(folder.path()).expect("rows"), ["new"]);
    assert_eq!(files(folder.path()), before);
    // What a crash leaves: a log without an index, and then an index that nobody has open.
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["main.sqlite", "main.sqlite-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).expect("a copy");
    }
    assert_eq!(titles(copy.path()).expect("rows"), ["new"]);
    assert_eq!(files(copy.path()).len(), 2);
    // The app has quit: one file.
    drop(base);
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(titles(folder.path()).expect("rows"), ["new"]);
    assert_eq!(files(folder.path()).len(), 1);
}

#[test]
fn database_is_found_in_its_folder_and_above() {
    let above = tempfile::tempdir().expect("a folder");
    assert_eq!(titles(above.path()), Err(Failure::NoDatabase));
    let package = above
        .path()
        .join("ThingsData-AB12C/Things Database.thingsdatabase");
    fs::create_dir_all(&package).expect("folders");
    assert_eq!(titles(above.path()), Err(Failure::NoDatabase));
    let (folder, base) = filled(1);
    drop(base);
    fs::copy(
        folder.path().join("main.sqlite"),
        package.join("main.sqlite"),
    )
    .expect("a copy");
    for folder in [above.path(), package.parent().expect("a folder"), &package] {
        assert_eq!(titles(folder).expect("rows"), ["0"], "{}", folder.display());
    }
}

#[test]
fn unknown_tables_give_no_rows() {
    #[rustfmt::skip]
    let rows = [
        ("UPDATE Meta SET value = '<plist><integer>27</integer></plist>'", "version 27"),
        ("UPDATE Meta SET value = '<plist><integer>23</integer></plist>'", "version 23"),
        ("UPDATE Meta SET value = 'new'", "no version"),
        ("DELETE FROM Meta", "no version"),
        ("DROP TABLE Meta", "other tables"),
        ("ALTER TABLE TMTask RENAME COLUMN startDate TO startsOn", "other tables"),
        ("ALTER TABLE TMTaskTag RENAME TO TMTaskTags", "other tables"),
        ("UPDATE TMTask SET startDate = 'soon'", "other tables"),
        ("UPDATE TMTask SET startDate = 5", "other tables"),
        ("UPDATE TMTask SET deadline = 1", "other tables"),
    ];
    for (change, words) in rows {
        let (folder, base) = filled(1);
        assert!(titles(folder.path()).is_ok(), "the control");
        base.execute_batch(change).expect("a change");
        match titles(folder.path()) {
            Err(Failure::Schema(what)) => assert!(what.contains(words), "{change}: {what}"),
            other => panic!("{change}: {other:?}"),
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("main.sqlite"),
        "no database at all".repeat(100),
    )
    .expect("a file");
    assert!(matches!(titles(folder.path()), Err(Failure::Schema(_))));
}

#[test]
fn more_rows_than_one_answer_holds_are_refused_and_the_logbook_gives_its_newest() {
    let (folder, base) = filled(0);
    base.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
         INSERT INTO TMTask (uuid, type, title, start, status, stopDate)
         SELECT 'Open' || i, 0, '', 1, 0, NULL FROM n UNION ALL SELECT 'Done' || i, 0, '', 1, 3, i FROM n;",
    )
    .expect("rows");
    let reads = Reads::Database(Database::find(folder.path()).expect("a database"));
    let today = "2026-11-22".parse().expect("a day");
    let todos = |view| reads.todos(view, today, &|| false);
    assert_eq!(todos(None).expect("as many as allowed").len(), 20_000);
    base.execute_batch(
        "INSERT INTO TMTask (uuid, type, title, start) VALUES ('One', 0, '', 1);
         INSERT INTO TMTask (uuid, type, title, start, status, stopDate) VALUES ('Last', 0, '', 1, 3, 20001);",
    )
    .expect("rows");
    let refused = todos(None).expect_err("one too many");
    assert!(
        matches!(refused, Failure::TooMuch(why) if why.contains("ask for one list")),
        "{refused:?}"
    );
    assert_eq!(todos(Some(View::Inbox)).expect("another list").len(), 0);
    for (table, is_more) in [("TMArea", true), ("TMTag", false)] {
        base.execute_batch(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO {table} (uuid, title) SELECT i, i FROM n;"
        ))
        .expect("rows");
        if is_more {
            base.execute_batch(&format!(
                "INSERT INTO {table} (uuid, title) VALUES ('x', 'x')"
            ))
            .expect("a row");
        }
    }
    assert!(matches!(reads.areas(), Err(Failure::TooMuch(_))));
    assert_eq!(reads.tags().expect("as many as allowed").len(), 20_000);
    let logbook = todos(Some(View::Logbook)).expect("the newest");
    assert_eq!((logbook.len(), &*logbook[0].id), (20_000, "Last"));
}
