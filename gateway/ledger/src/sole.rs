//! [`Sole`]: who holds a state directory, so that no other process does.
//!
//! The lock is on the folder, flock(2), and ends with its handle: at the latest with the process, and with an `exec`, because
//! handles close there. redb locks the ledger's file too, but gives that up whenever the file is closed; a daemon that
//! waits for a failing disk keeps its directory.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// A state directory that is this one's until it is dropped.
pub(crate) struct Sole {
    _folder: File,
}

impl Sole {
    /// Takes the lock of `dir`, which exists; `None` while somebody has it.
    ///
    /// # Errors
    /// Where there is no such folder, or there are no locks.
    pub(crate) fn of(dir: &Path) -> io::Result<Option<Self>> {
        let folder = File::open(dir)?;
        match folder.try_lock() {
            Ok(()) => Ok(Some(Self { _folder: folder })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
