//! A file of which nothing is changed, whatever redb does with it.
//!
//! redb writes to what it opens: a file that was not closed is repaired at once, one whose last commit is torn goes
//! back to the one before, and each is closed as one in which nothing is amiss. That is the daemon's to do, which knows
//! what a failed flush has left; a mere reader must leave the evidence as it lies. What redb writes stays in
//! memory here, over what the file says: a few pages for each opening, however long the file is.
//!
//! Invariant: the file is open for reading only.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

#[derive(Debug)]
pub(super) struct Aside {
    file: FileBackend,
    over: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    /// The length that redb sees.
    end: u64,
    /// Up to where the file itself shows: what was cut off does not come back.
    shows: u64,
    /// Offset and bytes, the latest last.
    written: Vec<(u64, Vec<u8>)>,
}

impl Aside {
    pub(super) fn of(file: File) -> Result<Self, DatabaseError> {
        let end = file.metadata()?.len();
        // redb would make a database of it.
        if end == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        Ok(Self {
            file: FileBackend::new(file)?,
            over: Mutex::new(Overlay {
                end,
                shows: end,
                written: Vec::new(),
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Overlay> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The distance from `from` to `to`, in memory.
fn span(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

impl StorageBackend for Aside {
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        let end = offset.saturating_add(out.len() as u64);
        if end > over.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let shown = span(offset, over.shows.min(end));
        let (shown, longer) = out.split_at_mut(shown);
        self.file.read(offset, shown)?;
        longer.fill(0);
        for (at, bytes) in &over.written {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if from < to {
                out[span(offset, from)..span(offset, to)]
                    .copy_from_slice(&bytes[span(*at, from)..span(*at, to)]);
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        over.end = over.end.max(offset.saturating_add(data.len() as u64));
        over.written.push((offset, data.to_vec()));
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.lock();
        over.end = len;
        over.shows = over.shows.min(len);
        for (at, bytes) in &mut over.written {
            bytes.truncate(span(*at, len));
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().end)
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    /// Shared, because the file is open for reading only: it keeps out writers.
    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(from, to)
    }
    fn try_lock_shared_range(
        &self,
        from: Bound<u64>,
        to: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(from, to)
    }
    fn lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(from, to)
    }
    fn lock_shared_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(from, to)
    }
    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(from, to)
    }
    fn query_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file would show after the same, and the file itself as it was.
    #[test]
    fn it_reads_as_if_it_had_been_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, [1; 20]).expect("written");
        let aside = Aside::of(File::open(&path).expect("opened")).expect("taken");
        let shown = || {
            let mut out = vec![9; span(0, aside.len().expect("known"))];
            aside.read(0, &mut out).expect("readable");
            out
        };
        aside.write(2, &[2; 4]).expect("written");
        aside.write(4, &[3; 4]).expect("over the end of that");
        let mut piece = [0; 3];
        aside.read(3, &mut piece).expect("readable");
        assert_eq!(piece, [2, 3, 3]);
        aside.set_len(5).expect("cut");
        aside.set_len(8).expect("lengthened");
        assert_eq!(shown(), [1, 1, 2, 2, 3, 0, 0, 0]);
        let beyond = aside.read(6, &mut piece).expect_err("beyond the end");
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        aside.write(7, &[4; 2]).expect("beyond the end");
        assert_eq!(shown(), [1, 1, 2, 2, 3, 0, 0, 4, 4]);
        assert_eq!(std::fs::read(&path).expect("readable"), [1; 20]);
    }
}
