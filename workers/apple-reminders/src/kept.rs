//! What each change was, by its intent: on the disk before the change, so that afterwards the store can be asked whether
//! it happened, and it can be taken back.
//!
//! ```text
//! begun ── the store has done it ──▶ done, with what it made of the reminder
//! ```
//!
//! Invariants: one file for each change, whole or not there; the oldest go when the manifest's bound is reached.
//!
//! Must not know: apps, calls.

use crate::store::Content;
use jiff::Timestamp;
use plexus_ipc::manifest;
use plexus_protocol::AuditId;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Largest record, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Id of the list.
    pub(crate) list: String,
    /// Id of the reminder; none for one that is not added yet.
    pub(crate) id: Option<String>,
    /// What the reminder was; none for one that is added.
    pub(crate) before: Option<Content>,
    /// What it is to be; none where it is removed.
    pub(crate) after: Option<Content>,
    /// When it began.
    pub(crate) begun: Timestamp,
    /// Ids of reminders that were made in the minute before: none of them is the added one.
    #[serde(default)]
    pub(crate) known: Vec<String>,
    /// The store has done it.
    pub(crate) done: bool,
}

/// The changes of one source, in the folder that the gateway gave it.
#[derive(Clone, Debug)]
pub(crate) struct KeptChanges {
    folder: PathBuf,
}

impl KeptChanges {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, intent: &AuditId) -> PathBuf {
        self.folder.join(format!("{}.json", intent.as_str()))
    }

    /// The change of this intent; `None` where it never began, or is no longer kept.
    pub(crate) fn get(&self, intent: &AuditId) -> io::Result<Option<Record>> {
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
    pub(crate) fn put(&self, intent: &AuditId, record: &Record) -> io::Result<()> {
        let fresh = self.folder.join("fresh");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&fresh, self.path(intent))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the oldest beyond what may be kept.
    pub(crate) fn prune(&self, kept: manifest::Kept) -> io::Result<()> {
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

    #[test]
    fn newest_changes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptChanges::new(folder.path().into());
        let intent = |number: u64| -> AuditId {
            let text = format!("evt_00000000-000{number}-8000-8000-000000000000");
            text.parse().unwrap()
        };
        let record = Record {
            list: "reminders".into(),
            id: None,
            before: None,
            after: None,
            begun: Timestamp::UNIX_EPOCH,
            known: vec![],
            done: false,
        };
        for number in 1..=3 {
            kept.put(&intent(number), &record).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
            let file = File::open(kept.path(&intent(number))).unwrap();
            file.set_modified(at).unwrap();
        }
        kept.prune(manifest::Kept { mib: 1, changes: 2 }).unwrap();
        let there = |number| kept.get(&intent(number)).unwrap().is_some();
        assert!(!there(1) && there(2) && there(3));
    }
}
