//! Things elsewhere than on macOS: a database of the tables that the app has, and an opener that carries URLs out on it. For
//! tests alone; all above reads and opener is the code that serves on a Mac.
//!
//! ```text
//! a folder of its own:  writer ── main.sqlite ──▶ reader, with the code for the app's own file
//! none yet:             the same to-dos in memory
//! a database was named: it is read; nobody carries URLs out on it, as where Things does not run
//! ```
//!
//! Must not know: calls, cards.

use crate::{
    database::{Base, Database, packed},
    failure::Failure,
    opener::Opener,
    url::{Url, read_date},
};
use chrono::{DateTime, Days, Local};
use percent_encoding::percent_decode_str;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The tables.
const TABLES: &str = include_str!("tables.sql");

/// The to-dos of a folder that has none yet. `?1` is today as the database has it, `?2` tomorrow.
const TODOS: &str = "
INSERT INTO TMArea VALUES ('AreaHome00000000000001', 'Home', 1);
INSERT INTO TMTag VALUES ('TagErrand0000000000001', 'Errand', NULL, 1), ('TagShop000000000000001', 'Shop', 'TagErrand0000000000001', 2);
INSERT INTO TMTask (uuid, type, title, start, area, creationDate) VALUES ('ProjectGarden000000001', 1, 'Garden', 1, 'AreaHome00000000000001', 1.5);
INSERT INTO TMTask (uuid, type, title, start, project, creationDate) VALUES ('HeadingSpring000000001', 2, 'Spring', 1, 'ProjectGarden000000001', 1.5);
INSERT INTO TMTask (uuid, type, title, notes, start, startDate, heading, creationDate, checklistItemsCount) VALUES
    ('TodoSeeds0000000000001', 0, 'Buy seeds', 'Peas & beans', 1, ?1, 'HeadingSpring000000001', 1.5, 2);
INSERT INTO TMTask (uuid, type, title, start, startDate, area, creationDate, \"index\") VALUES ('TodoRoof00000000000001', 0, 'Call the roofer', 2, ?2, 'AreaHome00000000000001', 1.5, 1);
INSERT INTO TMTask (uuid, type, title, start, creationDate, \"index\") VALUES ('TodoIdea00000000000001', 0, 'An idea', 0, 1.5, 2);
INSERT INTO TMTask (uuid, type, title, start, startDate, creationDate, rt1_repeatingTemplate, \"index\") VALUES
    ('TodoBins00000000000001', 0, 'Put the bins out', 1, ?1, 1.5, 'Template', 3);
INSERT INTO TMTask (uuid, type, title, status, start, stopDate, creationDate, area) VALUES ('TodoDone00000000000001', 0, 'Old news', 3, 1, 86400.5, 1.5, 'AreaHome00000000000001');
INSERT INTO TMTaskTag VALUES ('TodoSeeds0000000000001', 'TagShop000000000000001');
";

/// The to-dos of a worker without a folder.
static MEMORY: Mutex<Option<Connection>> = Mutex::new(None);

/// Reads.
#[derive(Debug)]
pub struct Fake(Option<PathBuf>);

/// Carries URLs out.
#[derive(Debug)]
pub(crate) struct Hand(Option<Mutex<Connection>>);

/// Carries nothing out, and says so to nobody.
#[derive(Debug)]
pub(crate) struct Nobody;

impl Opener for Nobody {
    fn open(&self, _: &Url) -> Result<(), Failure> {
        Ok(())
    }
}

/// The fake of a worker with this folder; a writer makes the database there.
pub(crate) fn open(folder: Option<&Path>, writes: bool) -> rusqlite::Result<(Fake, Hand)> {
    let file = folder.map(|folder| folder.join("main.sqlite"));
    let hand = match &file {
        Some(file) if writes => {
            // A worker locks no ranges; nobody else writes here.
            let flags = OpenFlags::default();
            let connection = Connection::open_with_flags_and_vfs(file, flags, "unix-none")?;
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            let tables = "SELECT count(*) FROM sqlite_master";
            if connection.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
                fill(&connection)?;
            }
            Some(Mutex::new(connection))
        }
        _ => None,
    };
    Ok((Fake(file), Hand(hand)))
}

fn fill(connection: &Connection) -> rusqlite::Result<()> {
    let today = Local::now().date_naive();
    let tomorrow = today.checked_add_days(Days::new(1)).unwrap_or(today);
    let todos = TODOS.replace("?1", &packed(today).to_string());
    let todos = todos.replace("?2", &packed(tomorrow).to_string());
    connection.execute_batch(&format!("BEGIN;{TABLES}{todos}COMMIT;"))
}

fn in_memory<T>(work: impl FnOnce(Connection) -> (Connection, T)) -> rusqlite::Result<T> {
    let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let connection = match memory.take() {
        Some(connection) => connection,
        None => {
            let connection = Connection::open_in_memory()?;
            fill(&connection)?;
            connection
        }
    };
    let (connection, result) = work(connection);
    *memory = Some(connection);
    Ok(result)
}

/// Another name for what is in memory, as if somebody had renamed it in Things. `None`: as at the start.
pub fn rename(id_and_title: Option<(&str, &str)>) {
    let Some((id, title)) = id_and_title else {
        *MEMORY.lock().unwrap_or_else(PoisonError::into_inner) = None;
        return;
    };
    let renamed = in_memory(|connection| {
        let done = connection.execute("UPDATE TMTask SET title = ?2 WHERE uuid = ?1", [id, title]);
        (connection, done)
    });
    assert!(matches!(renamed, Ok(Ok(1))), "{renamed:?}");
}

impl Fake {
    pub(crate) fn read<T>(&self, read: impl Fn(&Base) -> Result<T, Failure>) -> Result<T, Failure> {
        match &self.0 {
            Some(file) if file.exists() => Database::at(file.clone()).read(read),
            _ => in_memory(|connection| {
                let base = Base::of(connection);
                let result = read(&base);
                (base.into_inner(), result)
            })
            .map_err(|_| Failure::NoDatabase)?,
        }
    }
}

impl Opener for Hand {
    fn open(&self, url: &Url) -> Result<(), Failure> {
        // What Things makes of a URL it tells nobody.
        let _done = match &self.0 {
            Some(file) => apply(&file.lock().unwrap_or_else(PoisonError::into_inner), url),
            None => in_memory(|connection| {
                let done = apply(&connection, url);
                (connection, done)
            })
            .and_then(|done| done),
        };
        Ok(())
    }
}

/// Carries `url` out as Things is known to.
fn apply(base: &Connection, url: &Url) -> rusqlite::Result<()> {
    let none = || rusqlite::Error::QueryReturnedNoRows;
    let (command, query) = url
        .expose()
        .strip_prefix("things:///")
        .and_then(|rest| rest.split_once('?'))
        .ok_or_else(none)?;
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let given: BTreeMap<&str, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name, decode(value)))
        .collect();
    let given = |name: &str| given.get(name).map(String::as_str);
    let now = Local::now();
    let id = match command {
        "add" => {
            let count: i64 = base.query_row("SELECT count(*) FROM TMTask", [], |row| row.get(0))?;
            let id = format!("TodoFake{count:014}");
            let made =
                given("creation-date").and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            let made = made.map_or(now.timestamp(), |at| at.timestamp());
            // The app's clock has a fraction.
            base.execute(
                "INSERT INTO TMTask (uuid, type, creationDate) VALUES (?1, 0, ?2 + 0.25)",
                params![id, made],
            )?;
            id
        }
        "update" => {
            let token: String = base.query_row(
                "SELECT uriSchemeAuthenticationToken FROM TMSettings",
                [],
                |row| row.get(0),
            )?;
            given("auth-token")
                .filter(|given| *given == token)
                .ok_or_else(none)?;
            given("id").ok_or_else(none)?.to_owned()
        }
        _ => return Err(none()),
    };
    let set = |column: &str, value: &dyn rusqlite::ToSql| {
        base.execute(
            &format!("UPDATE TMTask SET {column} = ?2 WHERE uuid = ?1"),
            params![id, value],
        )
    };
    for (name, column) in [("title", "title"), ("notes", "notes")] {
        given(name).map_or(Ok(0), |text| set(column, &text))?;
    }
    if let Some(when) = given("when") {
        let (start, day, evening) = match when {
            "today" => (1, Some(packed(now.date_naive())), 0),
            "evening" => (1, Some(packed(now.date_naive())), 1),
            "anytime" => (1, None, 0),
            "someday" => (2, None, 0),
            date => (2, read_date(date).map(packed), 0),
        };
        base.execute(
            "UPDATE TMTask SET start = ?2, startDate = ?3, startBucket = ?4 WHERE uuid = ?1",
            params![id, start, day, evening],
        )?;
    }
    given("deadline").map_or(Ok(0), |date| set("deadline", &read_date(date).map(packed)))?;
    if let Some(tags) = given("tags") {
        base.execute("DELETE FROM TMTaskTag WHERE tasks = ?1", [&id])?;
        for tag in tags.split(',') {
            base.execute(
                "INSERT INTO TMTaskTag SELECT ?1, uuid FROM TMTag WHERE title = ?2",
                [&id, tag],
            )?;
        }
    }
    if let Some(list) = given("list-id") {
        let is_project = base
            .query_row(
                "SELECT 1 FROM TMTask WHERE uuid = ?1 AND type = 1",
                [list],
                |_| Ok(()),
            )
            .optional()?
            .is_some();
        let (project, area) = if is_project {
            (Some(list), None)
        } else {
            (None, Some(list))
        };
        let sentence = "UPDATE TMTask SET project = ?2, area = ?3, heading = NULL, start = max(start, 1) WHERE uuid = ?1";
        base.execute(sentence, params![id, project, area])?;
        if let (Some(name), Some(project)) = (given("heading"), project) {
            let sentence = "SELECT uuid FROM TMTask WHERE type = 2 AND project = ?1 AND title = ?2";
            let heading: Option<String> = base
                .query_row(sentence, [project, name], |row| row.get(0))
                .optional()?;
            if heading.is_some() {
                base.execute(
                    "UPDATE TMTask SET project = NULL, heading = ?2 WHERE uuid = ?1",
                    params![id, heading],
                )?;
            }
        }
    }
    if let Some(items) = given("checklist-items") {
        set("checklistItemsCount", &(items.lines().count() as i64))?;
    }
    for (name, status) in [("completed", 3), ("canceled", 2)] {
        match given(name) {
            Some("true") => base.execute(
                "UPDATE TMTask SET status = ?2, stopDate = ?3 WHERE uuid = ?1",
                params![id, status, now.timestamp()],
            )?,
            Some(_) => base.execute(
                "UPDATE TMTask SET status = 0, stopDate = NULL WHERE uuid = ?1",
                [&id],
            )?,
            None => 0,
        };
    }
    Ok(())
}
