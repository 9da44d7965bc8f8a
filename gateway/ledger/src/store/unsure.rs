//! What was written since the last flush that succeeded, so that a flush that failed can be made again.
//!
//! ```text
//! written ─flush─┬ ok ─────▶ on disk
//!                └ failed ─▶ unsure ─file opened again─▶ written again, flushed ─▶ on disk
//! ```
//! After a failed flush Linux forgets which pages it could not write: it shows them to readers, calls them clean, and
//! the next flush says that all is well. What rests on such pages is gone after a power cut, although later commits were
//! acknowledged. So nothing is trusted that a failed flush was to bring to the disk until it was written once more.
//! A process that ends in between leaves a mark beside the file; it need not survive a power cut, after which reads tell
//! the truth. A process that finds it does not know the places, and writes all of the file again. So does one whose first flush
//! fails: what a process before it wrote and did not flush is on no list.
//! Invariant: a place leaves the list only after a flush that succeeded, also if the file was opened meanwhile: redb may take a
//! commit for whole whose last write failed half-way, and rests on all that was written before.
//! Invariant: once a flush has failed, only [`Unsure::settle`] makes the list empty, and removes the mark. Until it has, redb
//! reads and writes nothing: it would go by pages that are on no disk, and close the file as one in which nothing is amiss.

use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// Places in the file, outliving the database that wrote there.
#[derive(Debug)]
pub(super) struct Unsure {
    since: Mutex<Since>,
    mark: PathBuf,
}

#[derive(Debug, Default)]
struct Since {
    /// Offset and length.
    written: Vec<(u64, usize)>,
    flush_failed: bool,
    /// Whether a flush of this process has succeeded. Until one has, an earlier process may have left pages that no flush
    /// brought to the disk, and redb may rest on them.
    flushed: bool,
}

/// The mark beside the file at `path`.
pub(super) fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("unsure")
}

/// What is read and written again at once where all of the file is.
const BLOCK: usize = 1 << 20;

impl Unsure {
    pub(super) fn new(mark: PathBuf) -> Self {
        Self {
            since: Mutex::default(),
            mark,
        }
    }

    /// Writes again what a failed flush was to bring to the disk. Nobody else writes meanwhile.
    ///
    /// # Errors
    /// Where the storage fails still; it is tried again with the next opening.
    pub(super) fn settle(&self, storage: &dyn StorageBackend) -> io::Result<()> {
        let mut since = self.lock();
        let marked = self.mark.exists();
        if !since.flush_failed && !marked {
            // What was written and not flushed may still be forgotten by the next flush: it stays on the list.
            return Ok(());
        }
        let end = storage.len()?;
        if !since.flush_failed || !since.flushed {
            since.written = (0..end).step_by(BLOCK).map(|at| (at, BLOCK)).collect();
        }
        // A flush brings the length as well.
        storage.set_len(end)?;
        for &(offset, length) in &since.written {
            let room = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length.min(room)];
            storage.read(offset, &mut bytes)?;
            storage.write(offset, &bytes)?;
        }
        storage.sync_data()?;
        tracing::warn!(name: "ledger.rewritten", count = since.written.len(),
            "what a failed flush was to bring to the disk is written again"
        );
        if marked {
            std::fs::remove_file(&self.mark)?;
        }
        *since = Since {
            flushed: true,
            ..Since::default()
        };
        Ok(())
    }

    /// For the next process, should this one end before it has settled. It is logged if it cannot be left.
    fn leave_mark(&self) {
        let mut options = OpenOptions::new();
        let made = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.mark);
        if let Err(error) = made {
            tracing::error!(name: "ledger.unsure", %error, "a flush failed, and the next daemon cannot be told");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The storage as redb sees it, which locks it before it asks for anything else.
#[derive(Debug)]
pub(super) struct Watched {
    storage: Arc<dyn StorageBackend>,
    unsure: Arc<Unsure>,
    settled: AtomicBool,
}

impl Watched {
    pub(super) fn new(storage: Arc<dyn StorageBackend>, unsure: Arc<Unsure>) -> Self {
        Self {
            storage,
            unsure,
            settled: AtomicBool::new(false),
        }
    }

    /// The storage, once it holds what it shows. The lock on the file is held by now, so nobody else writes.
    fn sure(&self) -> io::Result<&dyn StorageBackend> {
        if !self.settled.load(Ordering::Acquire) {
            self.unsure.settle(&*self.storage)?;
            self.settled.store(true, Ordering::Release);
        }
        Ok(&*self.storage)
    }
}

impl StorageBackend for Watched {
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let storage = self.sure()?;
        self.unsure.lock().written.push((offset, data.len()));
        storage.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        let flushed = self.sure()?.sync_data();
        let mut since = self.unsure.lock();
        if flushed.is_err() && !since.flush_failed {
            since.flush_failed = true;
            self.unsure.leave_mark();
        }
        if !since.flush_failed {
            since.written.clear();
            since.flushed = true;
        }
        flushed
    }

    fn len(&self) -> io::Result<u64> {
        self.sure()?.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.sure()?.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.sure()?.set_len(len)
    }
    fn close(&self) -> io::Result<()> {
        self.storage.close()
    }
    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.try_lock_range(from, to)
    }
    fn try_lock_shared_range(
        &self,
        from: Bound<u64>,
        to: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.storage.try_lock_shared_range(from, to)
    }
    fn lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.storage.lock_range(from, to)
    }
    fn lock_shared_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.storage.lock_shared_range(from, to)
    }
    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.storage.unlock_range(from, to)
    }
    fn query_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.query_lock_range(from, to)
    }
}
