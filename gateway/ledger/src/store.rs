//! The redb file: its tables, what is read from them, and the one transaction that changes them.
//!
//! Invariant: rows, their values at the last checkpoint, and events change in the same transaction or not at all.
//! Invariant: a read transaction never keeps the writer from closing the file; it only keeps its own old pages.

mod aside;
mod prefilled;
mod unsure;
mod view;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadableTable, StorageBackend, TableDefinition,
    WriteTransaction,
};

use crate::archive::Archive;
use crate::event::Recorded;
use crate::index::Row;

use aside::Aside;
use prefilled::PrefilledFile;
use unsure::{Unsure, Watched};
pub(crate) use view::{RowsInOrder, View, read};

/// The format this build writes. 2: rows may be spelled as several versions spelled them, and the build that opened the
/// file last has left its name; a build of format 1 compares bytes with its own spelling. 3: old events may lie in
/// archives, and a call's event is told by its phase; a build of format 2 would take the log for one that lost its
/// beginning, and cannot read what calls say. So each has to be kept away from what follows it.
pub(crate) const FORMAT: u64 = 3;
/// The formats that this build opens, the one that it writes first: what follows it must know that one. Another is
/// migrated, after a copy.
pub const FORMATS: [u64; 3] = [FORMAT, 2, 1];

/// seq → hash ‖ JSON.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// key → canonical bytes.
const ROWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rows");
/// The value each row had at the last checkpoint, if it has changed since; `None`: it did not exist.
const BASE: TableDefinition<'_, &str, Option<&[u8]>> = TableDefinition::new("rows_at_checkpoint");
/// First event of a run → what terms name which of it ([`crate::index`]).
const INDEX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("index_runs");
/// (kind, id, seq), up to [`META_INDEXED`]: what builds had before runs. It goes at the start; one of those builds that
/// comes after this one makes it anew.
const OLD_INDEX: TableDefinition<'_, (u8, &str, u64), ()> = TableDefinition::new("index");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// First event → the archive it is in, as JSON; oldest first. There is no such table before the first archive.
const ARCHIVES: TableDefinition<'_, u64, &str> = TableDefinition::new("archives");
/// Words about the file itself.
const NOTES: TableDefinition<'_, &str, &str> = TableDefinition::new("notes");
const NOTE_BUILD: &str = "build";
const META_FORMAT: &str = "format";
const META_LAUNCH: &str = "launch";
const META_CHECKPOINT: &str = "checkpoint";
const META_INDEXED: &str = "indexed";
const META_CLEAN: &str = "clean";

/// redb's page cache. Its default is a gigabyte; what a commit touches are the right edges of a few trees. Everything else
/// is read once and not again, and the system keeps it anyway: under load a larger cache only fills.
const CACHE_BYTES: usize = 4 << 20;

/// How the file at a path is opened: the real file, or a test's faulty one.
pub type Opener =
    Arc<dyn Fn(&Path) -> Result<Arc<dyn StorageBackend>, DatabaseError> + Send + Sync>;

/// The storage failed or is closed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Closed after a failure; the writer opens it again by itself.
    #[error("the ledger is closed")]
    Closed,
    /// redb's own error.
    #[error(transparent)]
    Redb(Box<redb::Error>),
    /// An archive that is named and not given up cannot be read.
    #[error("archive {file} (events {first} to {last}): {why}")]
    Archive {
        /// Its name in `archive/`.
        file: String,
        /// Its first event.
        first: u64,
        /// Its last event.
        last: u64,
        /// What is wrong.
        why: String,
    },
    /// A stored value is not what this crate writes.
    #[error("event {seq} cannot be read: {why}")]
    Unreadable {
        /// The event's key.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Redb(Box::new(error.into()))
    }
}

impl StoreError {
    /// True when there is no room for more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Redb(e) if matches!(&**e, redb::Error::Io(io) if is_full(io)))
    }
}

/// True when the disk, a quota or the largest file size is exhausted.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Opens the file itself, owner-only.
pub(crate) fn open_file(path: &Path) -> Result<Arc<dyn StorageBackend>, DatabaseError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(Arc::new(PrefilledFile::under(file)?))
}

/// Brings the names in `folder` to the disk: what was made or renamed there is found after a power cut.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// The folder of the archives of the ledger at `path`.
pub(crate) fn archive_folder(path: &Path) -> PathBuf {
    path.with_file_name(crate::archive::FOLDER)
}

/// Opens a file that must exist, and changes nothing of it: whatever is written to this database is nowhere.
pub(crate) fn open_unchanged(path: &Path) -> Result<Database, DatabaseError> {
    builder().create_with_backend(Aside::of(std::fs::File::open(path)?)?)
}

/// Whether a daemon has ended before it had made up for a failed flush of the file at `path`.
pub(crate) fn is_unsure(path: &Path) -> bool {
    unsure::mark_of(path).exists()
}

/// Makes a database in an empty file.
pub(crate) fn open_new(file: std::fs::File) -> Result<Database, DatabaseError> {
    builder().create_file(file)
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// The open file, or the place where it was.
pub(crate) struct Store {
    path: PathBuf,
    opener: Opener,
    unsure: Arc<Unsure>,
    /// Whether redb had to walk through the file to open it.
    walked: Arc<AtomicBool>,
    db: Mutex<Option<Database>>,
}

/// One change of the file. Empty parts cost nothing.
#[derive(Default)]
pub(crate) struct Change<'a> {
    pub(crate) events: &'a [Arc<Recorded>],
    /// key, value before, value after.
    pub(crate) rows: &'a [RowChange],
    /// Keys of `rows` whose value before is also their value at the last checkpoint.
    pub(crate) first_touched: Vec<usize>,
    /// The last of `events` is a checkpoint: what was kept for the one before it goes.
    pub(crate) checkpoint: bool,
    /// Set or clear the mark of a clean stop.
    pub(crate) clean: Option<bool>,
    /// Rows of the index.
    pub(crate) index: &'a [Row],
    /// Entries of archives that are new or change.
    pub(crate) archives: &'a [Archive],
}

/// A row that changes.
pub(crate) struct RowChange {
    pub(crate) key: String,
    pub(crate) old: Option<Vec<u8>>,
    pub(crate) new: Option<Vec<u8>>,
}

/// A failed [`Store::commit`].
pub(crate) struct CommitFailure {
    pub(crate) error: StoreError,
    /// Whether the commit itself was tried. If not, nothing was written.
    pub(crate) attempted: bool,
}

impl CommitFailure {
    /// Failed on the way to the commit, for this reason.
    pub(crate) fn before(why: String) -> Self {
        Self {
            error: StoreError::Unreadable { seq: 0, why },
            attempted: false,
        }
    }
}

impl Store {
    pub(crate) fn new(path: PathBuf, opener: Opener) -> Self {
        Self {
            unsure: Arc::new(Unsure::new(unsure::mark_of(&path))),
            path,
            opener,
            walked: Arc::default(),
            db: Mutex::new(None),
        }
    }

    pub(crate) fn open(&self) -> Result<(), DatabaseError> {
        let storage = (self.opener)(&self.path)?;
        let walked = Arc::clone(&self.walked);
        walked.store(false, Ordering::Relaxed);
        let mut builder = builder();
        builder.set_repair_callback(move |_| walked.store(true, Ordering::Relaxed));
        let watched = Watched::new(storage, Arc::clone(&self.unsure));
        *self.slot() = Some(builder.create_with_backend(watched)?);
        Ok(())
    }

    /// Whether the file had to be walked through when it was opened last: it was neither closed nor [settled](Self::settle).
    pub(crate) fn was_walked(&self) -> bool {
        self.walked.load(Ordering::Relaxed)
    }

    /// Closes the file and gives up its lock, also under readers.
    pub(crate) fn close(&self) {
        let db = self.slot().take();
        drop(db);
    }

    /// Copies the file as it is, owner-only, to a name beside it that tells the format; whole or not at all, and there after a
    /// power cut. The caller writes nothing meanwhile.
    pub(crate) fn copy_before(&self, format: u64) -> io::Result<()> {
        let name = |end: &str| {
            self.path
                .with_extension(format!("redb.format-{format}{end}"))
        };
        let (part, copy) = (name(".part"), name(""));
        // `copy` takes the mode of the original with it, and shares the blocks where the file system can.
        std::fs::copy(&self.path, &part)?;
        std::fs::File::open(&part)?.sync_all()?;
        std::fs::rename(&part, &copy)?;
        // Before anything is written in the new format: without its name the copy is nowhere.
        sync_folder(self.path.parent().ok_or(io::ErrorKind::InvalidInput)?)
    }

    pub(crate) fn read(&self) -> Result<View, StoreError> {
        let folder = archive_folder(&self.path);
        View::of(self.slot().as_ref().ok_or(StoreError::Closed)?, folder)
    }

    /// Makes all tables, counts this launch as one of `build`, stamps the format, and clears the mark of a clean stop.
    /// Returns the launch number. The caller has made sure of the format found.
    pub(crate) fn begin_launch(&self, build: &str) -> Result<u64, StoreError> {
        let tx = self.begin()?;
        let launch = {
            let mut meta = tx.open_table(META)?;
            let launch = meta.get(META_LAUNCH)?.map_or(0, |v| v.value()) + 1;
            meta.insert(META_FORMAT, FORMAT)?;
            meta.insert(META_LAUNCH, launch)?;
            meta.insert(META_CLEAN, 0)?;
            tx.open_table(EVENTS)?;
            tx.open_table(ROWS)?;
            tx.open_table(BASE)?;
            tx.delete_table(OLD_INDEX)?;
            meta.remove(META_INDEXED)?;
            tx.open_table(INDEX)?;
            tx.open_table(NOTES)?.insert(NOTE_BUILD, build)?;
            launch
        };
        tx.commit()?;
        Ok(launch)
    }

    /// Makes one change durable.
    pub(crate) fn commit(&self, change: &Change<'_>) -> Result<(), CommitFailure> {
        let prepared = self.prepare(change).map_err(|error| CommitFailure {
            error,
            attempted: false,
        })?;
        prepared.commit().map_err(|e| CommitFailure {
            error: e.into(),
            attempted: true,
        })
    }

    fn prepare(&self, change: &Change<'_>) -> Result<WriteTransaction, StoreError> {
        let tx = self.begin()?;
        if !change.events.is_empty() {
            let mut events = tx.open_table(EVENTS)?;
            for event in change.events {
                events.insert(event.seq(), event.stored.as_slice())?;
            }
        }
        if !change.rows.is_empty() {
            let mut rows = tx.open_table(ROWS)?;
            for row in change.rows {
                match &row.new {
                    Some(value) => drop(rows.insert(row.key.as_str(), value.as_slice())?),
                    None => drop(rows.remove(row.key.as_str())?),
                }
            }
        }
        if let Some(last) = change.events.last().filter(|_| change.checkpoint) {
            tx.delete_table(BASE)?;
            tx.open_table(BASE)?;
            tx.open_table(META)?.insert(META_CHECKPOINT, last.seq())?;
        } else if !change.first_touched.is_empty() {
            let mut base = tx.open_table(BASE)?;
            for row in change
                .first_touched
                .iter()
                .filter_map(|at| change.rows.get(*at))
            {
                base.insert(row.key.as_str(), row.old.as_deref())?;
            }
        }
        if !change.index.is_empty() {
            let mut index = tx.open_table(INDEX)?;
            for row in change.index {
                index.insert(row.first, row.bytes.as_slice())?;
            }
        }
        if !change.archives.is_empty() {
            let mut archives = tx.open_table(ARCHIVES)?;
            for archive in change.archives {
                archives.insert(archive.first, archive.line().as_str())?;
            }
        }
        if let Some(clean) = change.clean {
            tx.open_table(META)?.insert(META_CLEAN, u64::from(clean))?;
        }
        Ok(tx)
    }

    /// Takes archived events out of the file, and the rows of the index that are about nothing else.
    pub(crate) fn remove(&self, range: RangeInclusive<u64>) -> Result<(), StoreError> {
        let first_left = range.end() + 1;
        let tx = self.begin()?;
        {
            let mut events = tx.open_table(EVENTS)?;
            for seq in range {
                events.remove(seq)?;
            }
            let mut index = tx.open_table(INDEX)?;
            let gone = |first: u64, row: &[u8]| {
                Row::read(first, row).is_none_or(|row| row.end() <= first_left)
            };
            index.retain_in(..first_left, |first, row| !gone(first, row))?;
        }
        tx.commit()?;
        Ok(())
    }

    /// Writes down which pages of the file are in use, as closing it does: a start then reads that instead of walking
    /// through the file, for as long as no other commit follows. Costs two flushes, so no commit that somebody waits for
    /// does it.
    pub(crate) fn settle(&self) -> Result<(), StoreError> {
        let mut tx = self.begin()?;
        tx.set_quick_repair(true);
        tx.commit()?;
        Ok(())
    }

    fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let mut tx = self
            .slot()
            .as_ref()
            .ok_or(StoreError::Closed)?
            .begin_write()?;
        // One flush per commit: redb's checksums make the single phase safe against a torn write.
        tx.set_durability(Durability::Immediate)?;
        Ok(tx)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Database>> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_its_view_and_keeps_nobody_from_reopening_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path().join("ledger.redb"), Arc::new(open_file));
        store.open().expect("opens");
        assert_eq!(store.begin_launch("1").expect("counted"), 1);
        let view = store.read().expect("readable");
        store.close();
        assert!(matches!(store.read().err(), Some(StoreError::Closed)));
        store.open().expect("opens again beside the reader");
        assert_eq!(store.begin_launch("1").expect("counted"), 2);
        let head = view.head().expect("still readable");
        assert_eq!(head, crate::event::Head::START);
    }
}
