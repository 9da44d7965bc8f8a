//! [`RedbFile`]: a store in one file, for one relay.
//!
//! ```text
//! open ──commit failed──▶ closed, its callers told ──next batch──▶ reopened, as it is on disk ──▶ open
//! ```
//! One thread writes. It takes what has been queued, at most [`MOST`], and commits it once: callers that came meanwhile
//! share the next flush. On a disk whose flush is slow the thread lingers for the callers that it has just answered, as the
//! ledger's writer does and for the same reason (docs/performance-notes.md, "Rounds of 64 callers").
//!
//! Invariant: after a failed commit the file is opened again before anything is read from it; what a caller hears then is
//! "not known", and the same act again finds out.

use super::{Append, Full, Store, StoreError, Subject};
use redb::{
    AccessGuard, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _,
    TableDefinition,
};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Subject and number → act.
const ACTS: TableDefinition<'_, (&[u8; 17], u64), &[u8]> = TableDefinition::new("acts");
/// Subject → number of its last act.
const HEADS: TableDefinition<'_, &[u8; 17], u64> = TableDefinition::new("heads");
/// Subject → number of the last act in the fold, and the fold.
const SNAPSHOTS: TableDefinition<'_, &[u8; 17], (u64, &[u8])> = TableDefinition::new("snapshots");
const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: (&str, u64) = ("format", 1);

/// An act as a range gives it.
type Entry<'a> = Result<
    (
        AccessGuard<'a, (&'static [u8; 17], u64)>,
        AccessGuard<'a, &'static [u8]>,
    ),
    redb::StorageError,
>;

/// Acts of one commit.
const MOST: usize = 512;
/// Acts that wait.
const QUEUE: usize = 8_192;
const CACHE_BYTES: usize = 32 << 20;
/// A faster commit is not worth lingering for.
const SLOW_COMMIT: Duration = Duration::from_millis(1);
/// However slow the last commit was.
const LONGEST_LINGER: Duration = Duration::from_millis(20);

struct Shared {
    path: PathBuf,
    /// Nothing between a failed commit and the next opening.
    file: RwLock<Option<Database>>,
}

/// A store in one redb file.
pub struct RedbFile {
    shared: Arc<Shared>,
    queue: Option<SyncSender<Append>>,
    writer: Option<JoinHandle<()>>,
}

impl RedbFile {
    /// Opens or makes the file (0600), and starts its writer.
    ///
    /// # Errors
    /// Where another process has it, it is no store of this format, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            file: RwLock::new(Some(open(path)?)),
        });
        let (queue, jobs) = sync_channel(QUEUE);
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write(&writing, &jobs))
            .map_err(failed)?;
        Ok(Self {
            shared,
            queue: Some(queue),
            writer: Some(writer),
        })
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let file = self.shared.file.read();
        let file = file.unwrap_or_else(PoisonError::into_inner);
        let file = file
            .as_ref()
            .ok_or_else(|| failed("it is closed after a failure"))?;
        let transaction = file.begin_read().map_err(failed)?;
        read(&transaction).map_err(failed)
    }
}

impl Drop for RedbFile {
    /// What is queued is written.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has ended the process already.
            let _ = writer.join();
        }
    }
}

impl Store for RedbFile {
    fn append(&self, append: Append) -> Result<(), Full> {
        let queue = self.queue.as_ref().ok_or(Full)?;
        queue.try_send(append).map_err(|refused| match refused {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Full,
        })
    }

    fn acts(
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

    fn snapshot(&self, subject: Subject) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.read(|transaction| {
            let snapshots = transaction.open_table(SNAPSHOTS)?;
            let found = snapshots.get(&subject.to_bytes())?;
            Ok(found.map(|found| {
                let (number, fold) = found.value();
                (number, fold.to_vec())
            }))
        })
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let rows = transaction.open_table(ROWS)?;
            Ok(rows.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn row_keys(&self, prefix: &[u8], most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
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
}

fn failed(why: impl std::fmt::Display) -> StoreError {
    StoreError(why.to_string())
}

fn open(path: &Path) -> Result<Database, StoreError> {
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
    let prepare = || -> Result<Option<u64>, redb::Error> {
        let transaction = file.begin_write()?;
        transaction.open_table(ACTS)?;
        transaction.open_table(HEADS)?;
        transaction.open_table(SNAPSHOTS)?;
        transaction.open_table(ROWS)?;
        let found = {
            let mut meta = transaction.open_table(META)?;
            let found = meta.get(FORMAT.0)?.map(|found| found.value());
            if found.is_none() {
                meta.insert(FORMAT.0, FORMAT.1)?;
            }
            found
        };
        transaction.commit()?;
        Ok(found)
    };
    match prepare().map_err(failed)? {
        None | Some(1) => Ok(file),
        Some(other) => Err(failed(format!("format {other} is not known to this build"))),
    }
}

/// The writer thread, until nobody can append any more.
fn write(shared: &Shared, jobs: &Receiver<Append>) {
    /// Nobody would answer the callers; the next process believes what it reads.
    struct AbortOnPanic;
    impl Drop for AbortOnPanic {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::process::abort();
            }
        }
    }
    let _abort = AbortOnPanic;
    let mut crowd: Option<(usize, Instant)> = None;
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        while batch.len() < MOST {
            match jobs.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        if let Some((callers, until)) = crowd.take() {
            while batch.len() < callers.min(MOST) {
                let left = until.saturating_duration_since(Instant::now());
                match jobs.recv_timeout(left) {
                    Ok(job) => batch.push(job),
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
        }
        let began = Instant::now();
        let committed = commit(shared, &batch);
        let took = began.elapsed();
        if let Err(why) = &committed {
            tracing::error!(name: "store.commit_failed", %why, "a commit failed; the store is opened again");
        }
        if batch.len() > 1 && took > SLOW_COMMIT {
            let linger = (took * 5 / 4).min(LONGEST_LINGER);
            crowd = Some((batch.len(), Instant::now() + linger));
        }
        let taken = committed.unwrap_or_else(|_| vec![false; batch.len()]);
        for (job, taken) in batch.into_iter().zip(taken) {
            (job.then)(taken);
        }
    }
}

/// Commits a batch: for each append whether it was taken. One that does not follow its subject's last act is left out.
fn commit(shared: &Shared, batch: &[Append]) -> Result<Vec<bool>, StoreError> {
    let committed = {
        let mut slot = shared.file.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(open(&shared.path)?);
        }
        drop(slot);
        let file = shared.file.read().unwrap_or_else(PoisonError::into_inner);
        let file = file.as_ref().ok_or_else(|| failed("it is closed"))?;
        insert(file, batch)
    };
    committed.map_err(|why| {
        // Readers go on with nothing until the file is open again.
        drop(
            shared
                .file
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        failed(why)
    })
}

fn insert(file: &Database, batch: &[Append]) -> Result<Vec<bool>, redb::Error> {
    let transaction = file.begin_write()?;
    let mut taken = Vec::with_capacity(batch.len());
    {
        let mut acts = transaction.open_table(ACTS)?;
        let mut heads = transaction.open_table(HEADS)?;
        let mut snapshots = None;
        let mut rows = None;
        for append in batch {
            let subject = append.subject.to_bytes();
            let head = heads.get(&subject)?.map_or(0, |head| head.value());
            taken.push(head == append.expected);
            if head != append.expected {
                continue;
            }
            acts.insert((&subject, head + 1), append.act.as_slice())?;
            heads.insert(&subject, head + 1)?;
            if let Some((number, fold)) = &append.snapshot {
                if snapshots.is_none() {
                    snapshots = Some(transaction.open_table(SNAPSHOTS)?);
                }
                if let Some(snapshots) = &mut snapshots {
                    snapshots.insert(&subject, (*number, fold.as_slice()))?;
                }
            }
            for (key, value) in &append.rows {
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
    transaction.commit()?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[test]
    fn redb_file_keeps_the_laws_of_a_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        conformance::all(|| RedbFile::open(&path).expect("opens"));
    }

    #[test]
    fn file_in_use_or_of_another_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        let store = RedbFile::open(&path).expect("opens");
        assert!(RedbFile::open(&path).is_err());
        drop(store);
        {
            let file = Database::open(&path).expect("opens");
            let transaction = file.begin_write().expect("begins");
            transaction
                .open_table(META)
                .expect("a table")
                .insert(FORMAT.0, 9)
                .expect("written");
            transaction.commit().expect("committed");
        }
        let refused = RedbFile::open(&path).err().expect("refused").to_string();
        assert!(refused.contains("format 9"), "{refused}");
    }
}
