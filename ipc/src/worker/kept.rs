//! What a source keeps of its own changes: a file for each, by the intent's audit id. It is written before the change
//! happens, so that the source can tell afterwards whether it happened, and take it back.
//!
//! Invariants: a file is whole or not there; the oldest go when the manifest's bound is reached.
//!
//! Must not know: what a change is.

use super::durable;
use crate::manifest::KeepLimits;
use plexus_protocol::AuditId;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    marker::PhantomData,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Largest record, in bytes of JSON.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The changes of one source, each an `R`, in the folder that the gateway gave it.
#[derive(Debug)]
pub struct KeptChanges<R> {
    folder: PathBuf,
    record: PhantomData<fn() -> R>,
}

impl<R> Clone for KeptChanges<R> {
    fn clone(&self) -> Self {
        Self::new(self.folder.clone())
    }
}

impl<R> KeptChanges<R> {
    /// Those in `folder`.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            record: PhantomData,
        }
    }

    fn path(&self, intent: &AuditId) -> PathBuf {
        self.folder.join(format!("{}.json", intent.as_str()))
    }

    /// The change of this intent; `None` where it never came to one, or is no longer kept.
    ///
    /// # Errors
    /// The system's; a file that holds no such record.
    pub fn get(&self, intent: &AuditId) -> io::Result<Option<R>>
    where
        R: DeserializeOwned,
    {
        let file = match File::open(self.path(intent)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(io::Error::other)
    }

    /// Keeps a change; on the disk when this returns.
    ///
    /// # Errors
    /// The system's; a record of more than 16 MiB of JSON.
    pub fn put(&self, intent: &AuditId, record: &R) -> io::Result<()>
    where
        R: Serialize,
    {
        let record = serde_json::to_vec(record)?;
        if record.len() as u64 > LARGEST {
            return Err(io::Error::other("it is larger than 16 MiB"));
        }
        durable::put(&self.path(intent), &record)
    }

    /// Lets go of the oldest beyond what may be kept.
    ///
    /// # Errors
    /// The system's.
    pub fn prune(&self, kept: KeepLimits) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() && Path::new(&entry.file_name()).extension().is_some() {
                let at = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((at, about.len(), entry.path()));
            }
        }
        files.sort();
        let mut room = (u64::from(kept.mib) << 20, kept.changes);
        for (_, bytes, path) in files.iter().rev() {
            match (room.0.checked_sub(*bytes), room.1.checked_sub(1)) {
                (Some(bytes), Some(changes)) => room = (bytes, changes),
                _ => {
                    room = (0, 0);
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent(number: u64) -> AuditId {
        format!("evt_00000000-000{number}-8000-8000-000000000000")
            .parse()
            .unwrap()
    }

    #[test]
    fn newest_changes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeptChanges::<String>::new(folder.path().into());
        for number in 1..=3 {
            store.put(&intent(number), &"x".to_owned()).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
            let file = File::open(store.path(&intent(number))).unwrap();
            file.set_modified(at).unwrap();
        }
        store.prune(KeepLimits { mib: 1, changes: 2 }).unwrap();
        let there = |number| store.get(&intent(number)).unwrap().is_some();
        assert!(!there(1) && there(2) && there(3));
        store.put(&intent(3), &"x".repeat(2 << 20)).unwrap();
        store.prune(KeepLimits { mib: 1, changes: 2 }).unwrap();
        assert!(!there(2) && !there(3));
    }
}
