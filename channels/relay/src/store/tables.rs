//! [`Tables`]: acts and what is derived from them, in one redb file.
//!
//! Invariant: an act is there only behind the one that it was decided on, together with its rows and its snapshot.
//!
//! Must not know: who writes the file, and whether it is the only copy of what it holds.

use super::{Rows, Snapshot, StoreError, Subject};
use redb::{
    AccessGuard, Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable,
    TableDefinition,
};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Subject and number → act.
const ACTS: TableDefinition<'_, (&[u8; 17], u64), &[u8]> = TableDefinition::new("acts");
/// Subject → number of the last act in the fold, and the fold.
const SNAPSHOTS: TableDefinition<'_, &[u8; 17], (u64, &[u8])> = TableDefinition::new("snapshots");
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Subject → place of its last message in the log that the file is a copy of.
const LOGGED: TableDefinition<'_, &[u8; 17], u64> = TableDefinition::new("logged");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: &str = "format";

const CACHE_BYTES: usize = 32 << 20;

/// An act as a range gives it.
type Entry<'a> = Result<
    (
        AccessGuard<'a, (&'static [u8; 17], u64)>,
        AccessGuard<'a, &'static [u8]>,
    ),
    redb::StorageError,
>;

/// The file of a store that has no other.
pub(super) const STORE: u64 = 1;
/// A copy of a log that is elsewhere.
pub(super) const COPY: u64 = 2;

/// An act to be inserted.
pub(super) struct Change<'a> {
    pub(super) subject: Subject,
    pub(super) expected: u64,
    pub(super) act: &'a [u8],
    pub(super) rows: &'a Rows,
    pub(super) snapshot: Option<&'a Snapshot>,
    /// Its place in the log, where the file is a copy.
    pub(super) logged: Option<u64>,
}

/// What one commit writes.
#[derive(Default)]
pub(super) struct Commit<'a> {
    pub(super) changes: Vec<Change<'a>>,
    /// Snapshots of acts that are there already.
    pub(super) snapshots: &'a [(Subject, Snapshot)],
    pub(super) marks: &'a [(&'static str, u64)],
    /// Whether a later commit may bring it to disk.
    pub(super) deferred: bool,
}

/// The open file.
pub(super) struct Tables(Database);

impl Tables {
    /// Opens or makes the file (0600).
    pub(super) fn open(path: &Path, format: u64) -> Result<Self, StoreError> {
        let mut options = std::fs::OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(path).map_err(failed)?;
        let mut builder = redb::Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let file = builder.create_file(file).map_err(|why| match why {
            DatabaseError::DatabaseAlreadyOpen => failed("another process has it"),
            other => failed(other),
        })?;
        let prepare = || -> Result<u64, redb::Error> {
            let transaction = file.begin_write()?;
            transaction.open_table(ACTS)?;
            transaction.open_table(SNAPSHOTS)?;
            transaction.open_table(ROWS)?;
            let found = {
                let mut meta = transaction.open_table(META)?;
                let found = meta.get(FORMAT)?.map(|found| found.value());
                if found.is_none() {
                    meta.insert(FORMAT, format)?;
                }
                found.unwrap_or(format)
            };
            if found == COPY {
                transaction.open_table(LOGGED)?;
            }
            transaction.commit()?;
            Ok(found)
        };
        match prepare().map_err(failed)? {
            found if found == format => Ok(Self(file)),
            STORE => Err(failed("it is a store of its own, not a cache")),
            COPY => Err(failed("it is a cache of another store")),
            other => Err(failed(format!("format {other} is not known to this build"))),
        }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let transaction = self.0.begin_read().map_err(failed)?;
        read(&transaction).map_err(failed)
    }

    pub(super) fn acts(
        &self,
        subject: Subject,
        (first, last): (u64, u64),
        most: usize,
        backwards: bool,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let subject = subject.to_bytes();
        self.read(|transaction| {
            if first > last {
                return Ok(Vec::new());
            }
            let acts = transaction.open_table(ACTS)?;
            let range = acts.range((&subject, first)..=(&subject, last))?;
            let taken = |entry: Entry<'_>| {
                let (key, act) = entry?;
                Ok((key.value().1, act.value().to_vec()))
            };
            if backwards {
                range.rev().take(most).map(taken).collect()
            } else {
                range.take(most).map(taken).collect()
            }
        })
    }

    pub(super) fn snapshot(&self, subject: Subject) -> Result<Option<Snapshot>, StoreError> {
        self.read(|transaction| {
            let snapshots = transaction.open_table(SNAPSHOTS)?;
            let found = snapshots.get(&subject.to_bytes())?;
            Ok(found.map(|found| {
                let (number, fold) = found.value();
                (number, fold.to_vec())
            }))
        })
    }

    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let rows = transaction.open_table(ROWS)?;
            Ok(rows.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    pub(super) fn row_keys(&self, prefix: &[u8], most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let rows = transaction.open_table(ROWS)?;
            let mut keys = Vec::new();
            for entry in rows.range(prefix..)? {
                let (key, _) = entry?;
                if keys.len() == most || !key.value().starts_with(prefix) {
                    break;
                }
                keys.push(key.value().to_vec());
            }
            Ok(keys)
        })
    }

    /// The number of a subject's last act, and the place of its last message in the log.
    pub(super) fn head(&self, subject: Subject) -> Result<(u64, u64), StoreError> {
        let subject = subject.to_bytes();
        self.read(|transaction| {
            let head = head_of(&transaction.open_table(ACTS)?, &subject)?;
            let logged = transaction.open_table(LOGGED)?;
            let place = logged.get(&subject)?.map_or(0, |place| place.value());
            Ok((head, place))
        })
    }

    pub(super) fn marks<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<u64>; N], StoreError> {
        self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            let mut found = [None; N];
            for (found, name) in found.iter_mut().zip(names) {
                *found = meta.get(name)?.map(|found| found.value());
            }
            Ok(found)
        })
    }

    /// Commits: for each change whether it was taken. One that does not follow its subject's last act is left out.
    pub(super) fn commit(&self, commit: &Commit<'_>) -> Result<Vec<bool>, redb::Error> {
        let mut transaction = self.0.begin_write()?;
        if commit.deferred {
            transaction.set_durability(Durability::None)?;
        }
        let mut taken = Vec::with_capacity(commit.changes.len());
        {
            let mut acts = transaction.open_table(ACTS)?;
            let mut snapshots = None;
            let mut rows = None;
            for change in &commit.changes {
                let subject = change.subject.to_bytes();
                if let Some(place) = change.logged {
                    transaction.open_table(LOGGED)?.insert(&subject, place)?;
                }
                let head = head_of(&acts, &subject)?;
                taken.push(head == change.expected);
                if head != change.expected {
                    continue;
                }
                acts.insert((&subject, head + 1), change.act)?;
                if let Some((number, fold)) = change.snapshot {
                    if snapshots.is_none() {
                        snapshots = Some(transaction.open_table(SNAPSHOTS)?);
                    }
                    if let Some(snapshots) = &mut snapshots {
                        snapshots.insert(&subject, (*number, fold.as_slice()))?;
                    }
                }
                for (key, value) in change.rows {
                    if rows.is_none() {
                        rows = Some(transaction.open_table(ROWS)?);
                    }
                    let Some(rows) = &mut rows else { continue };
                    match value {
                        Some(value) => drop(rows.insert(key.as_slice(), value.as_slice())?),
                        None => drop(rows.remove(key.as_slice())?),
                    }
                }
            }
        }
        for (subject, (number, fold)) in commit.snapshots {
            let mut snapshots = transaction.open_table(SNAPSHOTS)?;
            snapshots.insert(&subject.to_bytes(), (*number, fold.as_slice()))?;
        }
        for (name, value) in commit.marks {
            transaction.open_table(META)?.insert(*name, *value)?;
        }
        transaction.commit()?;
        Ok(taken)
    }
}

/// The number of a subject's last act; 0 where there is none.
fn head_of(
    acts: &impl ReadableTable<(&'static [u8; 17], u64), &'static [u8]>,
    subject: &[u8; 17],
) -> Result<u64, redb::StorageError> {
    let mut range = acts.range((subject, 0)..=(subject, u64::MAX))?;
    let last = range.next_back().transpose()?;
    Ok(last.map_or(0, |(key, _)| key.value().1))
}

pub(super) fn failed(why: impl std::fmt::Display) -> StoreError {
    StoreError(why.to_string())
}
