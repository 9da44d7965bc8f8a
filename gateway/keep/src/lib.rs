//! A backup: one file with the ledger as it was after one commit, the archives of its older events, and the few files beside it that are worth keeping.
//!
//! ```text
//! plexus-backup 1 ⏎  header (one line of JSON) ⏎  the files' bytes, in the header's order  "sha256 " hex ⏎
//! ```
//! The header names each file with its size and digest; the last line is the digest of everything before it. Nothing
//! stands between or after. The digests have no key: they find what was torn or damaged, not who forged it, which is
//! why a restore lets nothing in a backup count until the owner has looked.
//!
//! Invariants: the file is 0600, and whole or not there; without `secrets` no credential is in it; agents' PATs never
//! are, because a restore ends them. Of what a worker keeps, its identities among people are credentials, and all else
//! (before-images for undo, boards, change sets) is not in it; nor are inputs that wait.

pub mod make;
mod read;
pub mod restore;
pub mod verify;

use plexus_home::state_dir::secret_name;
use plexus_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// First line of every backup of this form.
const MAGIC: &str = "plexus-backup 1\n";
/// What the last line begins with; 64 hex digits and a line break follow.
const SEAL: &str = "sha256 ";
/// Length of the last line, in bytes.
const SEAL_BYTES: u64 = SEAL.len() as u64 + 64 + 1;
/// A longer header is none of ours: two hundred bytes for each of forty thousand files.
const HEADER_MOST: u64 = 8 << 20;
/// The ledger's name in the backup and in the state directory.
const LEDGER: &str = "ledger.redb";
const HEADS: &str = "audit-heads.jsonl";
/// A longer file of a worker is none of an identity.
const IDENTITY_MOST: u64 = 16 << 20;
/// What all identities may come to, in bytes: they are read whole.
const IDENTITIES_MOST: u64 = 256 << 20;
/// The folder of what workers keep, in both.
const WORKERS: &str = "workers";
/// The folder of archives, in both.
const ARCHIVE: &str = "archive";

/// The second line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header {
    /// When the ledger was copied.
    pub(crate) made_at: Timestamp,
    /// Version of the programs that made it.
    pub(crate) version: String,
    /// Sequence of the last event in it.
    pub(crate) sequence: u64,
    /// Hash of that event, lower-case hex.
    pub(crate) head: String,
    /// Whether it holds credentials.
    pub(crate) secrets: bool,
    /// What follows, in this order.
    pub(crate) files: Vec<Entry>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its path in the state directory.
    pub(crate) name: String,
    /// Its length.
    pub(crate) bytes: u64,
    /// SHA-256 of its content, lower-case hex.
    pub(crate) sha256: String,
}

/// Why there is no backup, or no restored state.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message describes its variant")]
pub enum BackupError {
    #[error("{0}")]
    Ledger(#[from] plexus_ledger::OpenError),
    #[error("{0}")]
    Copy(#[from] plexus_ledger::StoreError),
    #[error("{path}: {error}")]
    Io { path: String, error: std::io::Error },
    #[error("{0} is there already: a backup replaces nothing")]
    Exists(String),
    #[error("{file} is no whole backup: {why}")]
    Torn { file: String, why: String },
    #[error(
        "{file} belongs to another user (uid {uid}): a key in it would make them the owner here"
    )]
    Foreign { file: String, uid: u32 },
    #[error("{home} is not empty")]
    Occupied { home: String },
    #[error("another restore to {home} is under way")]
    UnderWay { home: String },
    #[error("there is no state in {home}")]
    NoState { home: String },
    #[error("{0}")]
    Other(String),
}

impl BackupError {
    fn io(path: &Path, error: std::io::Error) -> Self {
        let path = path.display().to_string();
        Self::Io { path, error }
    }

    /// Whether it failed because a disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::Copy(error) | Self::Ledger(plexus_ledger::OpenError::Store(error)) => {
                error.is_full()
            }
            Self::Io { error, .. } => matches!(error.kind(), StorageFull | QuotaExceeded),
            _ => false,
        }
    }

    /// A word to branch on.
    pub fn code(&self) -> &'static str {
        match self {
            full if full.is_disk_full() => "persist_failed",
            Self::Ledger(plexus_ledger::OpenError::InUse) => "gateway_runs",
            Self::Ledger(plexus_ledger::OpenError::Unsure) => "ledger_unsure",
            Self::Ledger(plexus_ledger::OpenError::Damaged(_)) => "ledger_damaged",
            Self::Ledger(_) | Self::Copy(_) => "ledger_unreadable",
            Self::Io { .. } | Self::Other(_) => "system",
            Self::Exists(_) => "file_exists",
            Self::Torn { .. } => "backup_damaged",
            Self::Foreign { .. } => "backup_untrusted",
            Self::Occupied { .. } => "home_not_empty",
            Self::UnderWay { .. } => "busy",
            Self::NoState { .. } => "no_state",
        }
    }

    /// What to do next.
    pub fn next(&self) -> &'static str {
        match self {
            Self::Io { .. } if self.is_disk_full() => {
                "free some space on the disk that holds this file, then run it again"
            }
            full if full.is_disk_full() => {
                "free as much space on the disk of the state directory as the ledger takes, then run it again"
            }
            Self::Ledger(plexus_ledger::OpenError::InUse) => {
                "stop the gateway first: plexusctl service stop (or end the plexusd that you started)"
            }
            Self::Ledger(plexus_ledger::OpenError::Unsure) => {
                "start the gateway, which settles it: plexusctl service start (or plexusd)"
            }
            Self::Ledger(_) | Self::Copy(_) => {
                "keep the file as it is, and look at it: plexusd verify FILE"
            }
            Self::Io { .. } | Self::Other(_) => "fix what the system reports, then run it again",
            Self::Exists(_) => "name another file",
            Self::Torn { .. } => "use another copy of the backup; nothing of this one was restored",
            Self::Foreign { .. } => {
                "if you made it, make it yours with a copy (cp FILE COPY) and restore that"
            }
            Self::Occupied { .. } => {
                "choose an empty folder with --home, or pass --replace: the old state is then kept beside the new one"
            }
            Self::UnderWay { .. } => "wait for it to end",
            Self::NoState { .. } => "say where the state is: --home DIR",
        }
    }
}

/// Whether a backup may hold a file of this name: the ones that [`make`] writes, and nothing that leads elsewhere.
fn known(name: &str) -> bool {
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    match name.split_once('/') {
        None => [
            LEDGER,
            HEADS,
            "instance-id",
            "network.json",
            "connection-key",
        ]
        .contains(&name),
        Some((ARCHIVE, file)) => plexus_ledger::Archive::is_name(file),
        Some(("secrets", secret)) => secret_name(secret),
        Some(("extensions", manifest)) => {
            plain(manifest) && (manifest.ends_with(".json") || manifest.ends_with(".proposed"))
        }
        Some(("agents", record)) => plain(record) && record.ends_with(".installed.json"),
        Some((WORKERS, file)) => is_of_identity(file) && file.split('/').all(plain),
        Some(_) => false,
    }
}

/// Whether a file in the folder of workers is of an identity: `<source>/agents/<identity>/…`. The lock is made anew.
fn is_of_identity(file: &str) -> bool {
    match file.split('/').collect::<Vec<_>>()[..] {
        [_, "agents", _, file] | [_, "agents", _, "chains", file] => file != "lock",
        _ => false,
    }
}

/// Whether a file of this name is a credential.
fn secret(name: &str) -> bool {
    name == "connection-key" || name.starts_with("secrets/") || is_of_worker(name)
}

/// Whether a worker keeps it.
fn is_of_worker(name: &str) -> bool {
    name.split_once('/')
        .is_some_and(|(folder, _)| folder == WORKERS)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod backup_tests;
#[cfg(test)]
mod oracles;
