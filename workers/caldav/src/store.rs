//! What each change was, by its intent: written before the request that makes it, so that afterwards the server can be
//! asked whether it happened, and it can be taken back.
//!
//! ```text
//! begun ── the server has done it ──▶ done, with the version that it made
//! ```
//!
//! Invariants: one file for each change, whole or not there; the oldest go when the manifest's bound is reached.
//!
//! Must not know: servers, iCalendar.

use plexus_ipc::manifest::Kept;
use plexus_protocol::AuditId;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Largest record: an object of 1 MiB, as JSON.
const LARGEST: u64 = 4 * 1024 * 1024;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) act: Act,
    /// The id of the calendar.
    pub(crate) calendar: String,
    /// The id of the object.
    pub(crate) object: String,
    /// What it is called, for the card of an undo.
    pub(crate) title: String,
    /// The version that it changed; none for an object that is made.
    pub(crate) from: Option<String>,
    /// The text that it replaces or removes.
    pub(crate) before: Option<String>,
    /// The version that it made; none where it removed the object, and where the server does not say.
    pub(crate) version: Option<String>,
    /// The server has done it.
    pub(crate) done: bool,
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Act {
    /// An object was made, or made again.
    Add,
    /// A to-do was completed, as of this second.
    Complete(i64),
    /// An object was removed.
    Remove,
    /// An older text was put in place of a newer one.
    Restore,
}

/// The changes of one source, in the folder that the gateway gave it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn path(&self, intent: &AuditId) -> PathBuf {
        self.folder.join(format!("{}.json", intent.as_str()))
    }

    /// The change of this intent; `None` where it never came to one, or is no longer kept.
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
        let (path, fresh) = (self.path(intent), self.folder.join("fresh"));
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Lets go of the oldest beyond what may be kept.
    pub(crate) fn prune(&self, kept: Kept) -> io::Result<()> {
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

    fn record(title: &str) -> Record {
        Record {
            act: Act::Add,
            calendar: "home".into(),
            object: "home/a.ics".into(),
            title: title.into(),
            from: None,
            before: None,
            version: None,
            done: false,
        }
    }

    #[test]
    fn newest_changes_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().into());
        for number in 1..=3 {
            store.put(&intent(number), &record("x")).unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number);
            File::open(store.path(&intent(number)))
                .unwrap()
                .set_modified(at)
                .unwrap();
        }
        store.prune(Kept { mib: 1, changes: 2 }).unwrap();
        let there = |number| store.get(&intent(number)).unwrap().is_some();
        assert!(!there(1) && there(2) && there(3));
        store
            .put(&intent(3), &record(&"x".repeat(2 << 20)))
            .unwrap();
        store.prune(Kept { mib: 1, changes: 2 }).unwrap();
        assert!(!there(2) && !there(3));
    }
}
