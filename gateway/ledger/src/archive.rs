//! Archives: old events, moved out of the ledger's file into files of their own that are never changed again.
//!
//! ```text
//! in the ledger ─write, flush, rename─▶ a file nobody knows of ─one commit: `audit.sealed`, a row here─▶ archived
//!                                                                   └─ a thousand events at a time ─▶ gone from the ledger
//! ```
//! An archive has an export's lines: whatever reads exports reads it. What chains them is kept twice, in a table of the
//! ledger and in the event that says so: first and last event, the hash before and at the end, the file's digest, and the
//! digest of the archive before. `archives.jsonl` in the same folder repeats the table for a reader of the files alone.
//!
//! Invariants: an event leaves the ledger only after the commit that names its archive, whose bytes and name were on
//! disk before. Each archive begins where the one before ended, and ends with a checkpoint, at least one event before the
//! last one: what a start folds is always in the ledger. Readers take an event from the ledger as long as it is there,
//! so each is seen once at any moment.
//! A stop at any point leaves a file that no event names (it is removed or written again), or events that lie in both
//! (they go at the next chance).

mod check;
mod file;
pub(crate) mod seal;

use std::cell::{OnceCell, RefCell};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::event::{Head, Recorded, hex, unhex};
use crate::store::{StoreError, sync_folder};
use file::Lines;

pub(crate) use check::{held_against, sound, unread, wrong};
pub use seal::{SealStep, SealWatch};

/// The folder of archives, in the state directory.
pub(crate) const FOLDER: &str = "archive";
/// The list of archives beside them.
pub(crate) const LIST: &str = "archives.jsonl";
/// How names of unfinished files end.
const PART: &str = ".part";
/// One archive: what the ledger, its event and the list beside it say of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Name of the file in `archive/`.
    pub file: String,
    /// Number of its first event.
    pub first: u64,
    /// Number of its last event, a checkpoint.
    pub last: u64,
    /// When the first was recorded, as events write it.
    pub from: String,
    /// When the last was recorded.
    pub until: String,
    /// Hash of the event before the first, lower-case hex.
    pub previous: String,
    /// Hash of the last event.
    pub head: String,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// SHA-256 of the archive before it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The owner has given it up: its events are nowhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forgotten: bool,
}

impl Archive {
    /// The one line that stands in the table, in its event and in the list.
    pub(crate) fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The name of an archive with these events and this digest: no two contents share one.
    pub(crate) fn name(first: u64, last: u64, sha256: &str) -> String {
        let digest = sha256.get(..12).unwrap_or(sha256);
        format!("audit-{first:012}-{last:012}-{digest}.log")
    }

    /// Whether a file of this name may be an archive, or the list beside them.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        name == LIST || Self::range(name).is_some()
    }

    /// The events that a file of this name holds; `None`: it is none of ours.
    pub(crate) fn range(name: &str) -> Option<(u64, u64)> {
        let (first, rest) = name
            .strip_prefix("audit-")?
            .strip_suffix(".log")?
            .split_once('-')?;
        let (last, digest) = rest.split_once('-')?;
        let number = |text: &str| (text.len() >= 12).then(|| text.parse().ok()).flatten();
        let hexadecimal = digest.len() == 12 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        Some((number(first)?, number(last)?)).filter(|_| hexadecimal)
    }
}

/// Whether the file of an archive is where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveState {
    /// It is, and has its length. Only a full check reads it.
    There,
    /// It is not.
    Missing,
    /// It has another length than when it was written.
    Changed,
    /// The owner has given it up.
    Forgotten,
}

impl ArchiveState {
    pub(crate) fn of(folder: &Path, archive: &Archive) -> Self {
        match std::fs::metadata(folder.join(&archive.file)) {
            _ if archive.forgotten => Self::Forgotten,
            Ok(about) if about.is_file() && about.len() == archive.bytes => Self::There,
            Ok(_) => Self::Changed,
            Err(_) => Self::Missing,
        }
    }
}

/// Archives that a view keeps open. A walk is done with one before it takes the next; a search for single events goes to and
/// fro between a few.
const OPEN: usize = 8;

/// Takes a number and a stored value; false ends the walk.
type Each<'a> = dyn FnMut(u64, &[u8]) -> Result<bool, StoreError> + 'a;

/// The archives as one view of the ledger names them, opened as they are needed.
pub(crate) struct Archives {
    folder: PathBuf,
    list: OnceCell<Vec<Archive>>,
    /// By their first event, the one used last at the end.
    open: RefCell<VecDeque<(u64, Rc<Lines>)>>,
}

impl Archives {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            list: OnceCell::new(),
            open: RefCell::default(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Oldest first; `read` is asked once.
    pub(crate) fn list(
        &self,
        read: impl FnOnce() -> Result<Vec<Archive>, StoreError>,
    ) -> Result<&[Archive], StoreError> {
        if self.list.get().is_none() {
            let _ = self.list.set(read()?);
        }
        Ok(self.list.get().map_or(&[], Vec::as_slice))
    }

    fn lines(&self, archive: &Archive) -> Result<Rc<Lines>, StoreError> {
        let mut open = self.open.borrow_mut();
        let at = open.iter().position(|(first, _)| *first == archive.first);
        let lines = match at.and_then(|at| open.remove(at)) {
            Some((_, lines)) => lines,
            None => {
                if open.len() == OPEN {
                    open.pop_front();
                }
                let opened = Lines::open(&self.folder.join(&archive.file));
                Rc::new(opened.map_err(|e| unreadable(archive, e))?)
            }
        };
        open.push_back((archive.first, Rc::clone(&lines)));
        Ok(lines)
    }

    /// The event with this number, if one of `list` holds it.
    pub(crate) fn event(&self, list: &[Archive], seq: u64) -> Result<Option<Recorded>, StoreError> {
        let at = list.partition_point(|archive| archive.last < seq);
        let Some(archive) = list.get(at).filter(|a| a.first <= seq && !a.forgotten) else {
            return Ok(None);
        };
        let mut found = None;
        let lines = self.lines(archive)?;
        let walked = lines.forward(seq, |line| {
            found = Some(line.recorded(seq)?);
            Ok(false)
        });
        walked.map_err(|e| unreadable(archive, e))?;
        Ok(found)
    }

    /// Stored values of the events in `range`, oldest first; `each` stops the walk by returning false. True if it went
    /// to the end.
    pub(crate) fn walk(
        &self,
        list: &[Archive],
        range: Range<u64>,
        each: &mut Each<'_>,
    ) -> Result<bool, StoreError> {
        let at = list.partition_point(|archive| archive.last < range.start);
        for archive in list[at..].iter().filter(|a| !a.forgotten) {
            if archive.first >= range.end {
                break;
            }
            let (lines, mut failed, mut on) = (self.lines(archive)?, None, true);
            let walked = lines.forward(range.start.max(archive.first), |line| {
                let seq = line.seq()?;
                if seq >= range.end {
                    return Ok(false);
                }
                match each(seq, &line.stored()?) {
                    Ok(more) => on = more,
                    Err(error) => failed = Some(error),
                }
                Ok(on && failed.is_none())
            });
            walked.map_err(|e| unreadable(archive, e))?;
            match failed {
                Some(error) => return Err(error),
                None if !on => return Ok(false),
                None => {}
            }
        }
        Ok(true)
    }

    /// The events in `range`, newest first, until `each` returns false; where `needle` is given, an event whose text
    /// lacks it comes without its content. True if it went to the end.
    pub(crate) fn walk_back(
        &self,
        list: &[Archive],
        range: Range<u64>,
        needle: Option<&str>,
        each: &mut dyn FnMut(u64, Option<Recorded>) -> bool,
    ) -> Result<bool, StoreError> {
        let end = list.partition_point(|archive| archive.first < range.end);
        for archive in list[..end].iter().rev().filter(|a| !a.forgotten) {
            if archive.last < range.start {
                break;
            }
            let (lines, mut on) = (self.lines(archive)?, true);
            let walked = lines.backward(range.end, |line| {
                let seq = line.seq()?;
                if seq < range.start {
                    return Ok(false);
                }
                let wanted = needle.is_none_or(|needle| line.contains(needle));
                on = each(seq, wanted.then(|| line.recorded(seq)).transpose()?);
                Ok(on)
            });
            walked.map_err(|e| unreadable(archive, e))?;
            if !on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether it is this process or the system that has no more to give: that says nothing of the file.
fn is_exhausted(error: &io::Error) -> bool {
    // ENFILE and EMFILE, on Linux and macOS alike: there is no kind for them.
    let no_more_files = matches!(error.raw_os_error(), Some(23 | 24));
    no_more_files || error.kind() == io::ErrorKind::OutOfMemory
}

fn unreadable(archive: &Archive, error: io::Error) -> StoreError {
    if is_exhausted(&error) {
        return redb::Error::Io(error).into();
    }
    let why = match error.kind() {
        io::ErrorKind::NotFound => "it is missing".to_owned(),
        _ => error.to_string(),
    };
    StoreError::Archive {
        file: archive.file.clone(),
        first: archive.first,
        last: archive.last,
        why,
    }
}

/// An owner-only file, emptied.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// Writes the list beside the archives anew, whole or not at all.
pub(crate) fn write_list(folder: &Path, list: &[Archive]) -> io::Result<()> {
    let text: String = list.iter().map(|archive| archive.line() + "\n").collect();
    let (path, part) = (folder.join(LIST), folder.join(format!("{LIST}{}", PART)));
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let mut file = create(&part)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, &path)?;
    sync_folder(folder)
}

/// The head that the first event after `list` follows.
pub(crate) fn end(list: &[Archive]) -> Result<Head, StoreError> {
    let Some(last) = list.last() else {
        return Ok(Head::START);
    };
    let hash = unhex(&last.head).ok_or_else(|| StoreError::Archive {
        file: last.file.clone(),
        first: last.first,
        last: last.last,
        why: "its entry names no hash".to_owned(),
    })?;
    Ok(Head {
        seq: last.last,
        hash,
        at: 0,
    })
}

/// The members of the event that gives archives up: which, and where their events ended.
pub(crate) fn forgotten_members(archive: &Archive) -> String {
    let Archive {
        file,
        first,
        last,
        sha256,
        ..
    } = archive;
    format!(r#"{{"file":"{file}","first":{first},"last":{last},"sha256":"{sha256}"}}"#)
}

/// A digest as it is written everywhere here.
pub(crate) fn digest_text(digest: &[u8]) -> String {
    hex(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_which_events_and_nothing_else_is_one() {
        let name = Archive::name(1, 10_000, &"ab".repeat(32));
        assert_eq!(name, "audit-000000000001-000000010000-abababababab.log");
        assert_eq!(Archive::range(&name), Some((1, 10_000)));
        let all = "audit-1-10000-abababababab.log audit-000000000001-000000010000-abababababab.log.part \
            audit-000000000001-000000010000.log archives.jsonl \
            audit-000000000001-000000010000-../../../../x.log";
        for other in all.split(' ') {
            assert_eq!(Archive::range(other), None, "{other}");
        }
    }
}
