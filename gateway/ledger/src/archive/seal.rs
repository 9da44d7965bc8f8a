//! Writing an archive: on a thread of its own, beside the writer, which only names it in a commit when it is whole.
//!
//! ```text
//! name.part ─events from snapshots, the chain checked on the way─▶ cut after the last checkpoint ▸ flushed ▸ renamed
//! ```
//! Invariants: nothing is archived that does not follow from what was archived before. A failure leaves the ledger as it
//! was, and at most a file of which no event speaks; [`tidy`] removes such a file where the ledger still has all of it.

use std::fs::{DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest as _, Sha256};

use super::{Archive, PART, create, digest_text, end};
use crate::check;
use crate::event::{Head, Recorded, time_text};
use crate::finding::CheckError;
use crate::machine::CHECKPOINT;
use crate::store::{Store, StoreError, View, sync_folder};

/// Events that one snapshot is read for: a longer one would keep the pages that the writer frees meanwhile.
const AT_ONCE: u64 = 1_000;
/// An archive takes no further events after this many, or this many bytes: a file that can be handled, and read in a
/// moment.
const MOST_EVENTS: u64 = 50_000;
const MOST_BYTES: u64 = 64 << 20;
/// Bytes after which what was written is brought to the disk, so that no long flush stands before a commit's.
const FLUSH_BYTES: u64 = 1 << 20;

/// A step of sealing, before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealStep {
    /// The file is made.
    Create,
    /// Some events are written to it.
    Write,
    /// It is flushed.
    Flush,
    /// It gets its name.
    Rename,
    /// Its name is flushed.
    FlushFolder,
    /// The event that names it is recorded.
    Record,
    /// The list beside it is written.
    List,
    /// Some events leave the ledger.
    Remove,
}

/// Asked before each step, on the thread that does it; an error is one of the step. Only tests give another than one
/// that always agrees.
pub type SealWatch = Arc<dyn Fn(SealStep) -> io::Result<()> + Send + Sync>;

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The events do not follow from each other.
    #[error("{0}")]
    Found(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the ledger is being closed")]
    Stopped,
}

impl From<CheckError> for SealError {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Store(error) => Self::Store(error),
            other => Self::Found(other.to_string()),
        }
    }
}

/// Up to where to seal, and who may stop it.
pub(crate) struct Task {
    /// No event after this one.
    pub(crate) upto: u64,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) watch: SealWatch,
}

/// Writes the next archive. `None`: no checkpoint stands where one could end.
///
/// # Errors
/// Nothing that counts was changed.
pub(crate) fn write(store: &Store, task: &Task) -> Result<Option<Archive>, SealError> {
    let view = store.read()?;
    let list = view.archives()?.to_vec();
    let folder = view.archive_folder().to_owned();
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        made => {
            made?;
            sync_folder(folder.parent().unwrap_or(&folder))?;
        }
    }
    tidy(&view, &folder)?;
    drop(view);
    let part = folder.join(format!("audit{PART}"));
    let sealed = fill(store, task, &list, &part).and_then(|archive| {
        let Some(archive) = archive else {
            return Ok(None);
        };
        (task.watch)(SealStep::Rename)?;
        std::fs::rename(&part, folder.join(&archive.file))?;
        (task.watch)(SealStep::FlushFolder)?;
        sync_folder(&folder)?;
        Ok(Some(archive))
    });
    if !matches!(sealed, Ok(Some(_))) {
        let _ = std::fs::remove_file(&part);
    }
    sealed
}

/// What is written so far.
struct Filling {
    out: BufWriter<File>,
    digest: Sha256,
    bytes: u64,
    unflushed: u64,
    head: Head,
    first: Option<Head>,
    /// The last checkpoint: where an archive can end.
    mark: Option<(Head, u64, Sha256)>,
}

impl Filling {
    /// Adds the event that follows; false once the archive is as long as it may be.
    fn add(&mut self, seq: u64, stored: &[u8]) -> Result<bool, SealError> {
        let (head, event) =
            check::follow(&self.head, seq, stored.to_vec()).map_err(CheckError::from)?;
        self.line(&event)?;
        self.head = head;
        let first = *self.first.get_or_insert(head);
        if event.event_type() != CHECKPOINT {
            return Ok(true);
        }
        self.mark = Some((head, self.bytes, self.digest.clone()));
        Ok(seq - first.seq < MOST_EVENTS && self.bytes < MOST_BYTES)
    }

    fn line(&mut self, event: &Recorded) -> io::Result<()> {
        let line = event.export_line() + "\n";
        self.out.write_all(line.as_bytes())?;
        self.digest.update(&line);
        self.bytes += line.len() as u64;
        self.unflushed += line.len() as u64;
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
        }
        Ok(())
    }
}

/// Fills the unfinished file and flushes it.
fn fill(
    store: &Store,
    task: &Task,
    list: &[Archive],
    part: &Path,
) -> Result<Option<Archive>, SealError> {
    (task.watch)(SealStep::Create)?;
    let begin = end(list)?;
    let mut filling = Filling {
        out: BufWriter::new(create(part)?),
        digest: Sha256::new(),
        bytes: 0,
        unflushed: 0,
        head: begin,
        first: None,
        mark: None,
    };
    let mut more = true;
    while more && filling.head.seq < task.upto {
        if task.stop.load(Ordering::Relaxed) {
            return Err(SealError::Stopped);
        }
        (task.watch)(SealStep::Write)?;
        let (from, mut failed) = (filling.head.seq + 1, None);
        let last = task.upto.min(from + AT_ONCE - 1);
        store.read()?.walk(from, |seq, stored| {
            if seq > last {
                return Ok(false);
            }
            match filling.add(seq, stored) {
                Ok(on) => more = on,
                Err(error) => failed = Some(error),
            }
            Ok(more && failed.is_none())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        if more && filling.head.seq < last {
            return Err(SealError::Found(format!(
                "event {} is missing",
                filling.head.seq + 1
            )));
        }
    }
    let (Some(first), Some((last, bytes, digest))) = (filling.first, filling.mark) else {
        return Ok(None);
    };
    (task.watch)(SealStep::Flush)?;
    let file = filling
        .out
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    file.set_len(bytes)?;
    file.sync_all()?;
    let sha256 = digest_text(&digest.finalize());
    Ok(Some(Archive {
        file: Archive::name(first.seq, last.seq, &sha256),
        first: first.seq,
        last: last.seq,
        from: time_text(first.at),
        until: time_text(last.at),
        previous: digest_text(&begin.hash),
        head: digest_text(&last.hash),
        bytes,
        sha256,
        before: list.last().map(|archive| archive.sha256.clone()),
        forgotten: false,
    }))
}

/// Removes files that a stop has left: unfinished ones, those of archives that were given up, and whole ones that no event names while the ledger has each of
/// their events. Any other file stays: it may be all that is left of a log that was put back.
fn tidy(view: &View, folder: &Path) -> Result<(), SealError> {
    let (list, first) = (view.archives()?, view.first_seq()?);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(PART) {
            std::fs::remove_file(entry.path())?;
            continue;
        }
        if list.iter().any(|a| a.forgotten && a.file == name) {
            std::fs::remove_file(entry.path())?;
            continue;
        }
        let Some((from, last)) = Archive::range(&name) else {
            continue;
        };
        if list.iter().any(|archive| archive.file == name) || from < first {
            continue;
        }
        // An export's last line begins with the hash that the ledger must have there.
        let same = view.event(last)?.is_some_and(|event| {
            last_line(&entry.path()).is_ok_and(|line| line == event.export_line())
        });
        if same {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn last_line(path: &Path) -> io::Result<String> {
    let (mut last, lines) = (String::new(), super::Lines::open(path)?);
    lines.backward(u64::MAX, |line| {
        let text = line.text();
        last = text.to_owned();
        Ok(false)
    })?;
    Ok(last)
}
