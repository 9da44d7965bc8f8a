//! [`RedbFile`]: a store in one file, for one relay.
//!
//! ```text
//! open ──commit failed──▶ closed, its callers told ──next batch, or the next reader──▶ reopened, as it is on disk ──▶ open
//! ```
//! One thread writes. It takes what has been queued, at most [`MOST`], and commits it once: callers that came meanwhile
//! share the next flush. On a disk whose flush is slow the thread lingers for the callers that it has just answered, as the
//! ledger's writer does and for the same reason (tests/reports/performance.md#where-the-time-goes).
//!
//! Invariant: after a failed commit the file is opened again before anything is read from it; what a caller hears then is
//! "not known", and the same act again finds out.

use super::tables::{self, Change, Commit, Tables, failed};
use super::{AbortOnPanic, Append, Full, Outcome, Snapshot, Store, StoreError, Subject};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Acts of one commit.
const MOST: usize = 512;
/// Acts that wait.
const QUEUE: usize = 8_192;
/// A faster commit is not worth lingering for.
const SLOW_COMMIT: Duration = Duration::from_millis(1);
/// However slow the last commit was.
const LONGEST_LINGER: Duration = Duration::from_millis(20);

struct Shared {
    path: PathBuf,
    /// Nothing between a failed commit and the next opening.
    file: RwLock<Option<Tables>>,
}

impl Shared {
    /// The file, opened again where a failed commit has closed it: an act waits for what it is decided on, so a reader
    /// cannot wait for an act.
    fn open(&self) -> Result<RwLockReadGuard<'_, Option<Tables>>, StoreError> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        if file.is_some() {
            return Ok(file);
        }
        drop(file);
        let mut slot = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            *slot = Some(Tables::open(&self.path, tables::STORE)?);
        }
        drop(slot);
        Ok(self.file.read().unwrap_or_else(PoisonError::into_inner))
    }
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
            file: RwLock::new(Some(Tables::open(path, tables::STORE)?)),
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
        read: impl FnOnce(&Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let file = self.shared.open()?;
        read(file.as_ref().ok_or_else(|| failed("it is closed"))?)
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
        numbers: (u64, u64),
        most: usize,
        backwards: bool,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        self.read(|tables| tables.acts(subject, numbers, most, backwards))
    }

    fn snapshot(&self, subject: Subject) -> Result<Option<Snapshot>, StoreError> {
        self.read(|tables| tables.snapshot(subject))
    }

    fn row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|tables| tables.row(key))
    }

    fn row_keys(&self, prefix: &[u8], most: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.read(|tables| tables.row_keys(prefix, most))
    }
}

/// The writer thread, until nobody can append any more.
fn write(shared: &Shared, jobs: &Receiver<Append>) {
    let _abort = AbortOnPanic;
    let mut crowd: Option<(usize, Instant)> = None;
    let (mut acts, mut commits) = (0_u64, 0_u64);
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
        let outcomes = committed.map(|taken| taken.into_iter().map(Outcome::of).collect());
        let outcomes: Vec<_> = outcomes.unwrap_or_else(|_| vec![Outcome::Unknown; batch.len()]);
        (acts, commits) = (acts + batch.len() as u64, commits + 1);
        for (job, outcome) in batch.into_iter().zip(outcomes) {
            (job.then)(outcome);
        }
    }
    tracing::info!(name: "store.closed", acts, commits, "the store is closed");
}

/// Commits a batch: for each append whether it was taken. One that does not follow its subject's last act is left out.
fn commit(shared: &Shared, batch: &[Append]) -> Result<Vec<bool>, StoreError> {
    let committed = {
        let file = shared.open()?;
        let file = file.as_ref().ok_or_else(|| failed("it is closed"))?;
        let changes = batch.iter().map(|append| Change {
            subject: append.subject,
            expected: append.expected,
            act: &append.act,
            rows: &append.rows,
            snapshot: append.snapshot.as_ref(),
            logged: None,
        });
        file.commit(&Commit {
            changes: changes.collect(),
            ..Commit::default()
        })
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
    fn reader_opens_the_file_that_a_failed_commit_has_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = RedbFile::open(&folder.path().join("store.redb")).expect("opens");
        let closed = store.shared.file.write().expect("no panic").take();
        drop(closed.expect("it was open"));
        assert_eq!(store.row(b"none").expect("reads"), None);
        assert!(store.shared.file.read().expect("no panic").is_some());
    }

    #[test]
    fn file_in_use_or_of_another_format_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.redb");
        let store = RedbFile::open(&path).expect("opens");
        let refused = RedbFile::open(&path).err().expect("in use").to_string();
        assert!(refused.contains("another process has it"), "{refused}");
        drop(store);
        let cache = folder.path().join("cache.redb");
        drop(Tables::open(&cache, tables::COPY).expect("opens"));
        let refused = RedbFile::open(&cache).err().expect("refused").to_string();
        assert!(refused.contains("a cache of another store"), "{refused}");
        let tables = Tables::open(&path, tables::STORE).expect("opens");
        let marks = [("format", 9)];
        let commit = Commit {
            marks: &marks,
            ..Commit::default()
        };
        tables.commit(&commit).expect("committed");
        drop(tables);
        let refused = RedbFile::open(&path).err().expect("refused").to_string();
        assert!(refused.contains("format 9"), "{refused}");
    }
}
