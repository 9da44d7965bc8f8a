//! What each change was, by its intent: kept before Things is sent anything, so that afterwards it can be settled and taken
//! back.
//!
//! ```text
//! sent ── read back ──▶ done, with the to-do's id and the version that it then had
//! ```
//!
//! Invariants: one file for each change, whole or not there; the oldest go when the manifest's bound is reached.
//!
//! Must not know: URLs, how Things is read.

use crate::url::Fields;
use plexus_ipc::manifest::Kept;
use plexus_protocol::{AuditId, Digest};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::PathBuf,
    time::SystemTime,
};

/// Largest record, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) act: Act,
    /// The to-do; `None` of one that was not read back yet.
    pub(crate) id: Option<String>,
    pub(crate) title: String,
    /// The second that marks a to-do that is added.
    pub(crate) second: i64,
    /// What was sent.
    pub(crate) fields: Fields,
    /// What takes it back.
    pub(crate) back: Fields,
    /// The to-do's version once it was read back.
    pub(crate) version: Option<Digest>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    Add,
    Update,
    Complete,
    Undo,
}

/// The changes of one source, in the folder that the gateway gave it.
#[derive(Clone, Debug)]
pub(crate) struct Store(PathBuf);

impl Store {
    /// The changes below the worker's own folder.
    pub(crate) fn new(scratch: &std::path::Path) -> Self {
        Self(scratch.join("changes"))
    }

    fn path(&self, intent: &AuditId) -> PathBuf {
        self.0.join(format!("{}.json", intent.as_str()))
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
        let fresh = self.0.join("fresh");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.sync_all()?;
        fs::rename(&fresh, self.path(intent))?;
        File::open(&self.0)?.sync_all()
    }

    /// Makes the folder, and removes the oldest changes beyond what may be kept.
    pub(crate) fn prepare(&self, kept: Kept) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let about = entry?;
            let meta = about.metadata()?;
            files.push((
                meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                meta.len(),
                about.path(),
            ));
        }
        files.sort();
        let (mut bytes, most) = (u64::from(kept.mib) << 20, kept.changes as usize);
        for (at, (_, size, path)) in files.iter().rev().enumerate() {
            bytes = bytes.saturating_sub(*size);
            if bytes == 0 || at >= most {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}
