//! A copy of the file as it was after one commit: what a backup is made of.
//!
//! Invariants: the copy is a new file of mode 0600 or none that anybody was told of; it holds everything that was
//! acknowledged before the copy began; the writer is not held up. The index is left out: it is derived.
//! Archives are never changed: they are linked into the folder `archive` beside the copy, not copied.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::archive::{self, Archive};
use crate::event::Head;
use crate::heads;
use crate::ledger::{Ledger, OpenError, locked};
use crate::machine::Machine;
use crate::sole::Sole;
use crate::store::{FORMAT, StoreError, View, archive_folder, is_unsure, open_new, open_unchanged};

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The end of its log.
    pub head: Head,
    /// The lines of `audit-heads.jsonl` up to there, some megabytes at most: what the copy is held against later.
    pub heads: String,
    /// The archives that belong to it: all that are named and not given up. They are in the folder `archive` beside the
    /// copy; one that was missing is missing there.
    pub archives: Vec<Archive>,
}

impl<M: Machine> Ledger<M> {
    /// Copies the ledger as it is now to `to`, which must not exist. Blocks on both files.
    ///
    /// # Errors
    /// When either file fails. What was written so far is the caller's to remove.
    pub fn copy(&self, to: &Path) -> Result<Copied, StoreError> {
        // Before the view: a head noted later would look like a log cut short.
        let noted = text(self.heads_file())?;
        copied(&self.shared().store.read()?, noted, to)
    }
}

/// Copies the ledger in the state directory `dir`, which no daemon may have, to `to`, which must not exist.
/// Nothing is changed in `dir`.
///
/// # Errors
/// [`OpenError::InUse`] while a daemon runs, also one that has closed a ledger it cannot read; [`OpenError::Unsure`];
/// otherwise why a file could not be read or written.
pub fn copy_at_rest(dir: &Path, to: &Path) -> Result<Copied, OpenError> {
    let _sole = locked(dir)?;
    let path = dir.join(crate::ledger::LEDGER_FILE);
    if is_unsure(&path) {
        return Err(OpenError::Unsure);
    }
    let db = open_unchanged(&path)?;
    let view = View::of(&db, archive_folder(&path))?;
    match view.format()? {
        Some(FORMAT) => {}
        found => {
            return Err(OpenError::Format {
                found: found.unwrap_or(0),
            });
        }
    }
    let noted = text(&dir.join(crate::ledger::HEADS_FILE))?;
    Ok(copied(&view, noted, to)?)
}

/// Holds a state directory closed to every daemon until it is dropped.
pub struct Closed {
    _sole: Sole,
}

/// Takes the lock of the state directory `dir`; none where there is no folder. Opens no file in it.
///
/// # Errors
/// [`OpenError::InUse`] while a daemon runs, also one that has closed a ledger it cannot read, or while somebody copies it.
pub fn hold_closed(dir: &Path) -> Result<Option<Closed>, OpenError> {
    if !dir.exists() {
        return Ok(None);
    }
    let _sole = locked(dir)?;
    Ok(Some(Closed { _sole }))
}

fn copied(view: &View, mut heads: String, to: &Path) -> Result<Copied, StoreError> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(failed)?;
    view.copy_to(&open_new(file)?)?;
    let head = view.head()?;
    let last = heads::line(&head);
    if head != Head::START && !heads.ends_with(&last) {
        heads.push_str(&last);
    }
    let there = view.archives()?.iter().filter(|a| !a.forgotten);
    let archives: Vec<Archive> = there.cloned().collect();
    bring(view, &archives, &archive_folder(to)).map_err(failed)?;
    Ok(Copied {
        head,
        heads,
        archives,
    })
}

/// Links the archives into `folder`; to where they are, if that is on another file system.
fn bring(view: &View, archives: &[Archive], folder: &Path) -> io::Result<()> {
    if archives.is_empty() || view.archive_folder() == folder {
        return Ok(());
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    for archive in archives {
        let (from, to) = (
            view.archive_folder().join(&archive.file),
            folder.join(&archive.file),
        );
        let linked = match std::fs::hard_link(&from, &to) {
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                std::os::unix::fs::symlink(std::path::absolute(&from)?, &to)
            }
            linked => linked,
        };
        match linked {
            // The check of the copy says so, and which.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            linked => linked?,
        }
    }
    let all = view.archives().map_err(io::Error::other)?;
    archive::write_list(folder, all)
}

/// The whole lines of the file of heads.
fn text(path: &Path) -> Result<String, StoreError> {
    let mut text = heads::text(path).map_err(failed)?;
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    Ok(text)
}

fn failed(error: io::Error) -> StoreError {
    StoreError::from(redb::Error::Io(error))
}
