//! [`Snapshot`]: the regular files of a folder at one moment, by path, with what tells two contents apart; and copying.
//!
//! Invariants: links and special files are counted, never followed or copied; a folder beyond the bounds is an error,
//! not a part of it.
//!
//! Must not know: what the folder is for.

use plexus_rooted_files::{Digest, FileError, Kind, RelPath, Root, WalkBounds};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    ops::ControlFlow,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};
use uuid::Uuid;

/// Most bytes of a folder that is copied.
const MOST_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Most files and folders of it.
const MOST_ENTRIES: usize = 200_000;
/// Largest file that is copied, in bytes: half of what one process may write.
pub(crate) const LARGEST: u64 = 16 * 1024 * 1024;

/// What tells a file's versions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFacts {
    /// Of its content.
    pub(crate) digest: Digest,
    /// Of its content.
    pub(crate) bytes: u64,
    /// Whether its owner may execute it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
}

/// The files of a folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) files: BTreeMap<RelPath, FileFacts>,
    /// Links, special files, files with a second name, names that are no text, and folders that may not be read.
    pub(crate) omitted: usize,
    /// Files larger than [`LARGEST`], and files and folders that may not be read.
    pub(crate) left_out: Vec<RelPath>,
    pub(crate) bytes: u64,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("the folder holds more than 2 GiB or 200,000 files; hide what a run need not see")]
    TooLarge,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the copy: {0}")]
    Copy(#[from] io::Error),
}

impl Snapshot {
    /// Reads every file of a folder.
    ///
    /// # Errors
    /// [`SnapshotError`]; [`FileError::Over`] once `is_over` says that nobody waits any more.
    pub(crate) fn of(root: &Root, is_over: &dyn Fn() -> bool) -> Result<Self, SnapshotError> {
        Self::each(root, is_over, |_, _| Ok(()), |_| Ok(()))
    }

    /// The same, and copies all of it into the folder `to`, which is empty.
    pub(crate) fn copy(
        root: &Root,
        to: &Path,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Self, SnapshotError> {
        let file = |path: &RelPath, (bytes, executable): (&[u8], bool)| {
            let mode = if executable { 0o700 } else { 0o600 };
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(mode);
            options.open(to.join(path.as_str()))?.write_all(bytes)
        };
        let folder = |path: &RelPath| fs::create_dir(to.join(path.as_str()));
        Self::each(root, is_over, file, folder)
    }

    /// How many files a copy would have, and how many bytes, without reading any.
    ///
    /// # Errors
    /// As [`Snapshot::of`].
    pub(crate) fn size(
        root: &Root,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(usize, u64), SnapshotError> {
        let (mut files, mut bytes) = (0, 0);
        let bounds = WalkBounds {
            max_entries: MOST_ENTRIES,
            ..WalkBounds::default()
        };
        let report = root.walk(&RelPath::root(), bounds, is_over, |entry| {
            // One that is gone, has a second name or is too large is not in the copy.
            if entry.kind == Kind::File
                && let Ok(size @ ..=LARGEST) = entry.size()
            {
                files += 1;
                bytes += size;
            }
            match bytes > MOST_BYTES {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        match report.bounded || bytes > MOST_BYTES {
            true => Err(SnapshotError::TooLarge),
            false => Ok((files, bytes)),
        }
    }

    fn each(
        root: &Root,
        is_over: &dyn Fn() -> bool,
        file: impl Fn(&RelPath, (&[u8], bool)) -> io::Result<()>,
        folder: impl Fn(&RelPath) -> io::Result<()>,
    ) -> Result<Self, SnapshotError> {
        let mut found = Self::default();
        let mut failed = None;
        let bounds = WalkBounds {
            max_entries: MOST_ENTRIES,
            ..WalkBounds::default()
        };
        let report = root.walk(&RelPath::root(), bounds, is_over, |entry| {
            let seen = match entry.kind {
                Kind::Dir => folder(entry.path).map_err(SnapshotError::from),
                Kind::File => match entry.read(LARGEST) {
                    Ok(read) => {
                        let facts = FileFacts {
                            digest: read.digest(),
                            bytes: read.bytes.len() as u64,
                            executable: read.meta.mode & 0o100 != 0,
                        };
                        found.bytes += facts.bytes;
                        found.files.insert(entry.path.clone(), facts);
                        file(entry.path, (&read.bytes, facts.executable)).map_err(Into::into)
                    }
                    // Gone since it was listed.
                    Err(FileError::NotFound(_)) => Ok(()),
                    Err(FileError::TooLarge { .. } | FileError::Permission(_)) => {
                        found.left_out.push(entry.path.clone());
                        Ok(())
                    }
                    Err(FileError::HardLink(_)) => {
                        found.omitted += 1;
                        Ok(())
                    }
                    Err(error) => Err(error.into()),
                },
            };
            match seen {
                Ok(()) if found.bytes > MOST_BYTES => failed = Some(SnapshotError::TooLarge),
                Ok(()) => return ControlFlow::Continue(()),
                Err(error) => failed = Some(error),
            }
            ControlFlow::Break(())
        })?;
        match failed {
            Some(error) => Err(error),
            None if report.bounded => Err(SnapshotError::TooLarge),
            None => {
                found.omitted += report.omitted + report.unreadable;
                Ok(found)
            }
        }
    }
}

/// Makes an empty folder for nobody else's eyes, in place of whatever was there. What cannot be removed, because a
/// program took away its own rights on it, is put aside under another name.
pub(crate) fn empty_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            fs::rename(path, path.with_extension(Uuid::new_v4().to_string()))?;
        }
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}
