//! [`Sole`]: who holds a state directory, so that no other process does.
//!
//! The lock is on the folder, flock(2), and ends with its handle: at the latest with the process, and with an `exec`, because
//! handles close there. redb locks the ledger's file too, but gives that up whenever the file is closed; a daemon that
//! waits for a failing disk keeps its directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::ledger::OpenError;

/// A state directory that is this one's until it is dropped.
pub(crate) struct Sole {
    _folder: File,
}

impl Sole {
    /// Takes the lock of `dir`, which exists.
    ///
    /// # Errors
    /// [`OpenError::InUse`] while somebody has it, [`OpenError::Io`] where there are no locks.
    pub(crate) fn of(dir: &Path) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io {
            what: "locking the state directory",
            error,
        };
        let folder = File::open(dir).map_err(io)?;
        match folder.try_lock() {
            Ok(()) => Ok(Self { _folder: folder }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
            Err(TryLockError::Error(error)) => Err(io(error)),
        }
    }
}
