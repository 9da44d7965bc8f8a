//! The database of Things, read while Things writes it: no lock is taken and no file is made or changed.
//!
//! ```text
//! mark ▸ open ▸ select … ▸ mark again ── the same, and no checkpoint under way ─▶ the rows
//!   ▲                          └─ another ─┐
//!   └───────────── at most 5 times ◀───────┘
//! ```
//!
//! SQLite's own protocol has a reader hold locks and write in `-shm`. This reader may do neither: a lock of a worker that
//! hangs would hold up the person's app. SQLite reads the main file and the log (`-wal`) into an index of its own. That is one
//! moment of the database unless, meanwhile, a checkpoint wrote the main file or the log began anew. The *mark* tells of both:
//! `-shm` holds the log's salts, and two counters that a checkpoint moves before and after it writes; the main file has a time.
//!
//! Invariants: rows are given out only between two equal marks; a schema that is not known gives none.
//!
//! Must not know: lists of an agent, URLs.

use crate::{
    failure::Failure,
    item::{Container, Project, Start, Status, Tag, Todo, View},
};
use chrono::{Datelike as _, NaiveDate};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, OpenFlags, Row, config::DbConfig};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// The values of `databaseVersion` whose tables are known.
const VERSIONS: std::ops::RangeInclusive<u32> = 24..=26;
/// The folder of a database, and the file in it.
const PACKAGE: &str = "Things Database.thingsdatabase";
const MAIN: &str = "main.sqlite";
/// How often a database that moves is read again.
const ATTEMPTS: usize = 5;
/// Most rows of one answer of the database.
const ROWS: usize = 20_000;
/// Where `-shm` has the log's salts, and how much of the log a checkpoint has written and is about to write. Source:
/// "WAL-Index Format" of SQLite's file format documents.
const SALTS: std::ops::Range<usize> = 32..40;
const WRITTEN: std::ops::Range<usize> = 96..100;
const ATTEMPTED: std::ops::Range<usize> = 128..132;
/// Size of that part of `-shm`.
const INDEX_HEADER: usize = 136;

/// Columns of a to-do, and the tables that they come from.
const TODOS: &str = "
SELECT t.uuid, t.title, t.notes, t.status, t.start, t.startDate, t.startBucket, t.deadline, t.stopDate, t.creationDate,
       p.uuid, p.title, a.uuid, a.title, h.title, t.checklistItemsCount,
       t.rt1_recurrenceRule IS NOT NULL OR t.rt1_repeatingTemplate IS NOT NULL,
       (SELECT group_concat(g.title, char(31)) FROM TMTaskTag tt JOIN TMTag g ON g.uuid = tt.tags WHERE tt.tasks = t.uuid)
FROM TMTask t
LEFT JOIN TMTask h ON h.uuid = t.heading
LEFT JOIN TMTask p ON p.uuid = coalesce(t.project, h.project)
LEFT JOIN TMArea a ON a.uuid = coalesce(t.area, p.area)
WHERE t.type = 0 AND t.trashed = 0 AND coalesce(h.trashed, 0) = 0 AND coalesce(p.trashed, 0) = 0";

/// A database of Things.
#[derive(Clone, Debug)]
pub struct Database {
    main: PathBuf,
}

/// What moves when the main file may have been written, or the log began anew.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    main: (u64, u64, i64, i64),
    /// The first 100 bytes of the main file: what kind it is, and its counter of changes.
    header: Vec<u8>,
    journal: bool,
    log: bool,
    index: Option<Vec<u8>>,
}

impl Database {
    /// The database in `folder`: its own folder, that above, or the app's group container.
    ///
    /// # Errors
    /// [`Failure::NoDatabase`], [`Failure::Unreadable`].
    pub fn find(folder: &Path) -> Result<Self, Failure> {
        let mut candidates = vec![folder.join(MAIN), folder.join(PACKAGE).join(MAIN)];
        let entries = fs::read_dir(folder).map_err(|error| unreadable(&error))?;
        let data = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            name.as_bytes().starts_with(b"ThingsData-")
        });
        candidates.extend(data.map(|entry| entry.path().join(PACKAGE).join(MAIN)));
        let found = candidates.into_iter().find(|path| path.is_file());
        found.map(Self::at).ok_or(Failure::NoDatabase)
    }

    /// The database that this file is.
    #[must_use]
    pub fn at(main: PathBuf) -> Self {
        Self { main }
    }

    /// Whether the tables are those that are known.
    ///
    /// # Errors
    /// Why they cannot be read; [`Failure::Schema`].
    pub fn check(&self) -> Result<(), Failure> {
        self.read(|base| base.row(&format!("{TODOS} LIMIT 0"), &[]).map(drop))
    }

    /// What `read` reads, of one moment.
    ///
    /// # Errors
    /// Those of `read`; [`Failure::Moving`] where the database never held still.
    pub fn read<T>(&self, read: impl Fn(&Base) -> Result<T, Failure>) -> Result<T, Failure> {
        for _ in 0..ATTEMPTS {
            let before = self.mark()?;
            let result = self.open(&before).and_then(|base| read(&base));
            // A row that was torn is no error of the database either.
            if before.is_still() && self.mark()? == before {
                return result;
            }
            if matches!(result, Err(Failure::Over)) {
                return Err(Failure::Over);
            }
        }
        Err(Failure::Moving)
    }

    fn open(&self, mark: &Mark) -> Result<Base, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let path = self.main.to_str().ok_or(Failure::NoDatabase)?;
        // Without a log the main file is all there is, and SQLite would want to make a log.
        let how = if mark.log {
            "vfs=unix-none"
        } else {
            "immutable=1"
        };
        let uri = format!("file:{}?{how}", utf8_percent_encode(path, NON_ALPHANUMERIC));
        let connection = Connection::open_with_flags(uri, flags).map_err(|error| sql(&error))?;
        let set = || {
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // The index of the log then lies in this process's own memory.
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")
        };
        set().map_err(|error| sql(&error))?;
        let base = Base(connection);
        base.check_version()?;
        Ok(base)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.main.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn mark(&self) -> Result<Mark, Failure> {
        let about = fs::metadata(&self.main).map_err(|error| unreadable(&error))?;
        let head = |path: &Path, most: usize| -> Result<Option<Vec<u8>>, Failure> {
            let mut bytes = Vec::new();
            match File::open(path) {
                Ok(file) => file.take(most as u64).read_to_end(&mut bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(unreadable(&error)),
            }
            .map_err(|error| unreadable(&error))?;
            Ok(Some(bytes))
        };
        let index = head(&self.beside("-shm"), INDEX_HEADER)?;
        let index = index.map(|bytes| {
            let part = |range| bytes.get(range).unwrap_or_default();
            [part(SALTS), part(WRITTEN), part(ATTEMPTED)].concat()
        });
        Ok(Mark {
            main: (about.ino(), about.size(), about.mtime(), about.mtime_nsec()),
            header: head(&self.main, 100)?.ok_or(Failure::NoDatabase)?,
            journal: self.beside("-journal").exists(),
            log: self.beside("-wal").exists(),
            index,
        })
    }
}

impl Mark {
    /// Whether nobody is writing the main file: the counters are equal, or the file was not written for a second. (They differ
    /// during a checkpoint, and from a crash to the next one. A checkpoint that begins later moves the file's time.)
    fn is_still(&self) -> bool {
        let rests = |index: &Vec<u8>| index.get(8..12) == index.get(12..16);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let is_old = i64::try_from(now.as_secs()).is_ok_and(|now| self.main.2 + 1 < now);
        !self.journal && (is_old || self.index.as_ref().is_none_or(rests))
    }
}

/// An open database.
#[derive(Debug)]
pub struct Base(Connection);

impl Base {
    /// A connection that nobody else writes.
    #[cfg(all(feature = "fake", not(target_os = "macos")))]
    pub(crate) fn of(connection: Connection) -> Self {
        Self(connection)
    }

    /// The connection again.
    #[cfg(all(feature = "fake", not(target_os = "macos")))]
    pub(crate) fn into_inner(self) -> Connection {
        self.0
    }

    fn check_version(&self) -> Result<(), Failure> {
        let sentence = "SELECT value FROM Meta WHERE key = 'databaseVersion'";
        let value: String = match self.0.query_row(sentence, [], |row| row.get(0)) {
            Ok(value) => value,
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                return Err(Failure::Schema("no version".into()));
            }
            Err(error) => return Err(sql(&error)),
        };
        // A property list of one integer.
        let number = value
            .split_once("<integer>")
            .map_or(&*value, |(_, rest)| rest);
        let number = number.split('<').next().unwrap_or_default().trim();
        match number.parse() {
            Ok(version) if VERSIONS.contains(&version) => Ok(()),
            Ok(version) => Err(Failure::Schema(format!("version {version}"))),
            Err(_) => Err(Failure::Schema("no version that is a number".into())),
        }
    }

    /// The open to-dos, or those of one list, in the order that Things shows them.
    pub(crate) fn todos(
        &self,
        view: Option<View>,
        today: NaiveDate,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Vec<Todo>, Failure> {
        let open = "t.status = 0 AND t.rt1_recurrenceRule IS NULL";
        let (what, order) = match view {
            None => ("1", "t.\"index\""),
            Some(View::Inbox) => ("t.start = 0", "t.\"index\""),
            Some(View::Today) => (
                "(t.start IN (1, 2) AND t.startDate <= ?1 OR t.startDate IS NULL AND t.deadline <= ?1
                  AND (t.deadlineSuppressionDate IS NULL OR t.deadlineSuppressionDate < ?1))",
                "t.startBucket, t.todayIndex, t.\"index\"",
            ),
            Some(View::Upcoming) => ("t.start = 2 AND t.startDate > ?1", "t.startDate, t.\"index\""),
            Some(View::Anytime) => ("t.start = 1 AND coalesce(p.start, 1) = 1", "t.\"index\""),
            Some(View::Someday) => ("t.start = 2 AND t.startDate IS NULL", "t.\"index\""),
            Some(View::Logbook) => ("t.status IN (2, 3)", "t.stopDate DESC"),
        };
        let open = if view == Some(View::Logbook) {
            "1"
        } else {
            open
        };
        let sentence = format!(
            "{TODOS} AND {open} AND {what} AND ?1 = ?1 ORDER BY {order}, t.uuid LIMIT {}",
            ROWS + 1
        );
        let mut statement = self.0.prepare(&sentence).map_err(|error| sql(&error))?;
        let mut rows = statement
            .query([packed(today)])
            .map_err(|error| sql(&error))?;
        let mut todos = Vec::new();
        while let Some(row) = rows.next().map_err(|error| sql(&error))? {
            if is_over() {
                return Err(Failure::Over);
            }
            if todos.len() == ROWS {
                // The newest entries of a Logbook are what anybody asks for.
                if view == Some(View::Logbook) {
                    break;
                }
                return Err(Failure::TooMuch(
                    "more than 20,000 to-dos: ask for one list",
                ));
            }
            todos.push(todo(row).map_err(|error| sql(&error))?);
        }
        Ok(todos)
    }

    /// The to-do of this id; `None` where there is none that can be changed.
    pub(crate) fn todo(&self, id: &str) -> Result<Option<Todo>, Failure> {
        let todos = self.row(&format!("{TODOS} AND t.uuid = ?1"), &[&id])?;
        Ok(todos.into_iter().next())
    }

    /// To-dos of this title, made in this second.
    pub(crate) fn made(&self, title: &str, second: i64) -> Result<Vec<Todo>, Failure> {
        let sentence = format!(
            "{TODOS} AND t.title = ?1 AND t.creationDate >= ?2 AND t.creationDate < ?2 + 1"
        );
        self.row(&sentence, &[&title, &second])
    }

    fn row(&self, sentence: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Todo>, Failure> {
        let found = self.0.prepare(sentence).and_then(|mut statement| {
            statement
                .query_map(values, todo)?
                .collect::<Result<Vec<_>, _>>()
        });
        found.map_err(|error| sql(&error))
    }

    pub(crate) fn projects(&self) -> Result<Vec<Project>, Failure> {
        let sentence = "SELECT p.uuid, p.title, p.deadline, a.uuid, a.title FROM TMTask p LEFT JOIN TMArea a ON a.uuid = p.area
            WHERE p.type = 1 AND p.trashed = 0 AND p.status = 0 AND p.rt1_recurrenceRule IS NULL ORDER BY p.\"index\", p.uuid";
        self.all(sentence, |row| {
            Ok(Project {
                id: row.get(0)?,
                title: text(row, 1)?,
                deadline: day(row, 2)?,
                area: place(row, 3)?,
            })
        })
    }

    pub(crate) fn areas(&self) -> Result<Vec<Container>, Failure> {
        let sentence = "SELECT uuid, title FROM TMArea ORDER BY \"index\", uuid";
        self.all(sentence, |row| {
            Ok(Container {
                id: row.get(0)?,
                title: text(row, 1)?,
            })
        })
    }

    pub(crate) fn tags(&self) -> Result<Vec<Tag>, Failure> {
        let sentence = "SELECT g.title, p.title FROM TMTag g LEFT JOIN TMTag p ON p.uuid = g.parent ORDER BY g.\"index\", g.uuid";
        self.all(sentence, |row| {
            Ok(Tag {
                name: text(row, 0)?,
                parent: row.get(1)?,
            })
        })
    }

    fn all<T>(
        &self,
        sentence: &str,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        let found = self.0.prepare(sentence).and_then(|mut statement| {
            statement
                .query_map([], read)?
                .take(ROWS + 1)
                .collect::<Result<Vec<_>, _>>()
        });
        let found = found.map_err(|error| sql(&error))?;
        match found.len() > ROWS {
            true => Err(Failure::TooMuch("more than 20,000 of them")),
            false => Ok(found),
        }
    }
}

fn todo(row: &Row<'_>) -> rusqlite::Result<Todo> {
    let number = |at| row.get::<_, Option<i64>>(at);
    // Seconds with a fraction.
    let second = |at| {
        row.get::<_, Option<f64>>(at)
            .map(|at| at.map(|at| at.floor() as i64))
    };
    let mut tags: Vec<String> = match row.get::<_, Option<String>>(17)? {
        Some(names) => names.split('\u{1f}').map(str::to_owned).collect(),
        None => Vec::new(),
    };
    tags.sort();
    let scheduled = day(row, 5)?;
    Ok(Todo {
        id: row.get(0)?,
        title: text(row, 1)?,
        notes: text(row, 2)?,
        status: match row.get(3)? {
            0 => Status::Open,
            2 => Status::Canceled,
            3 => Status::Completed,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
        },
        start: match row.get(4)? {
            0 => Some(Start::Inbox),
            1 => Some(Start::Anytime),
            2 => Some(Start::Someday),
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(4, other)),
        },
        day: scheduled,
        evening: Some(scheduled.is_some() && number(6)? == Some(1)),
        deadline: day(row, 7)?,
        stopped: second(8)?,
        created: second(9)?.unwrap_or_default(),
        project: place(row, 10)?,
        area: place(row, 12)?,
        heading: row.get(14)?,
        checklist: number(15)?
            .and_then(|count| count.try_into().ok())
            .unwrap_or_default(),
        repeats: Some(row.get(16)?),
        tags,
    })
}

/// The day in column `at`. A number that is no day is of another schema.
fn day(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<NaiveDate>> {
    let number: Option<i64> = row.get(at)?;
    let read =
        |number| unpacked(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(at, number));
    number.filter(|number| *number != 0).map(read).transpose()
}

/// The id in column `at` and the name behind it.
fn place(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Container>> {
    let id: Option<String> = row.get(at)?;
    let title = text(row, at + 1)?;
    Ok(id.map(|id| Container { id, title }))
}

fn text(row: &Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())
}

/// A day as the database has it.
pub(crate) fn packed(day: NaiveDate) -> i64 {
    i64::from(day.year()) << 16 | i64::from(day.month()) << 12 | i64::from(day.day()) << 7
}

/// The day of a number in the database.
pub(crate) fn unpacked(number: i64) -> Option<NaiveDate> {
    let part = |shift: u32, mask: i64| u32::try_from(number >> shift & mask).ok();
    NaiveDate::from_ymd_opt(
        i32::try_from(part(16, 2047)?).ok()?,
        part(12, 15)?,
        part(7, 31)?,
    )
}

fn unreadable(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::NoDatabase,
        _ => Failure::Unreadable,
    }
}

/// What SQLite says, without values: a table or a column that is missing is another schema.
fn sql(error: &rusqlite::Error) -> Failure {
    use rusqlite::ErrorCode::{CannotOpen, NotADatabase, PermissionDenied};
    match error {
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => Failure::Schema("other tables".into()),
        rusqlite::Error::SqliteFailure(code, _) => match code.code {
            rusqlite::ErrorCode::Unknown => Failure::Schema("other tables".into()),
            NotADatabase => Failure::Schema("another format".into()),
            PermissionDenied | CannotOpen => Failure::Unreadable,
            other => Failure::Answer(format!("{other:?}")),
        },
        _ => Failure::Answer("a row of another shape".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_day_is_that_of_the_database() {
        let day = NaiveDate::from_ymd_opt(2021, 3, 28).unwrap();
        assert_eq!(packed(day), 132_464_128);
        assert_eq!(unpacked(132_464_128), Some(day));
        assert_eq!(unpacked(0), None);
    }
}
