//! What a source keeps of its own changes: a file for each, by the intent's audit id. It is written before the change
//! happens, so that the source can tell afterwards whether it happened, and take it back.
//!
//! A change that was taken back has a mark beside its file, which names the change that did it.
//!
//! Invariants: a file is whole or not there; the oldest go when the manifest's bound is reached, and the marks that have
//! no change any more. A change stands without its mark, which is best effort: a source asks it for words, and before it
//! does again what an undo took away.
//!
//! Must not know: what a change is.

use super::{SourceError, durable, on_file_thread};
use crate::manifest::KeepLimits;
use plexus_protocol::AuditId;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    marker::PhantomData,
    path::PathBuf,
    time::SystemTime,
};

/// Largest record, in bytes of JSON.
const LARGEST: u64 = 16 * 1024 * 1024;
/// Undos of undos that are followed.
const CHAIN: usize = 1_000;

/// The reason and the words for an undo of a change that was taken back before.
pub const ALREADY_UNDONE: (&str, &str) = ("already_undone", "this change was taken back already");

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

    fn mark(&self, intent: &AuditId) -> PathBuf {
        self.path(intent).with_extension("undone")
    }

    /// Keeps a change that is done as [`KeptChanges::put`] does; where it is an undo, marks the change `of` that it took back as
    /// [`KeptChanges::mark_undone`] does.
    ///
    /// # Errors
    /// As [`KeptChanges::put`].
    pub fn put_done(&self, intent: &AuditId, record: &R, of: Option<&AuditId>) -> io::Result<()>
    where
        R: Serialize,
    {
        self.put(intent, record)?;
        if let Some(of) = of {
            self.mark_undone(intent, of);
        }
        Ok(())
    }

    /// As [`KeptChanges::put_done`] on a file thread; nothing where the source keeps none.
    ///
    /// # Errors
    /// As [`KeptChanges::put`], in words.
    pub async fn keep(
        kept: Option<&Self>,
        intent: &AuditId,
        record: &R,
        of: Option<&AuditId>,
    ) -> Result<(), SourceError>
    where
        R: Serialize + Clone + Send + 'static,
    {
        let Some(kept) = kept.cloned() else {
            return Ok(());
        };
        let (intent, record, of) = (intent.clone(), record.clone(), of.cloned());
        let put = move || Ok(kept.put_done(&intent, &record, of.as_ref()));
        on_file_thread(put).await?.map_err(|error| {
            SourceError::internal(format!("the change cannot be kept for undo: {error}"))
        })
    }

    /// The change of the intent `id`, and whether it is taken back, for an undo; `None` where none is kept. A mark that cannot
    /// be read says nothing.
    ///
    /// # Errors
    /// If looking panicked.
    pub async fn find(
        kept: Option<&Self>,
        id: &str,
    ) -> Result<Option<(AuditId, R, bool)>, SourceError>
    where
        R: DeserializeOwned + Send + 'static,
    {
        let (Some(kept), Ok(intent)) = (kept.cloned(), id.parse::<AuditId>()) else {
            return Ok(None);
        };
        let look = move || {
            let record = kept.get(&intent).ok().flatten();
            let is_undone = kept.is_undone(&intent).unwrap_or(false);
            Ok(record.map(|record| (intent, record, is_undone)))
        };
        on_file_thread(look).await
    }

    /// Marks the change `of` as taken back by the undo of this intent, which happened. A mark that cannot be written is
    /// a line of the log: the undo is no less done, and can be taken back.
    pub fn mark_undone(&self, intent: &AuditId, of: &AuditId) {
        if let Err(error) = durable::put(&self.mark(of), intent.as_str().as_bytes()) {
            tracing::warn!(%error, %intent, %of, "a change that was taken back cannot be marked so");
        }
    }

    /// Whether the change of this intent is taken back, by an undo that is not taken back itself.
    ///
    /// # Errors
    /// The system's; a mark that names no change.
    pub fn is_undone(&self, intent: &AuditId) -> io::Result<bool> {
        let (mut of, mut is_undone) = (intent.clone(), false);
        for _ in 0..CHAIN {
            match fs::read_to_string(self.mark(&of)) {
                Ok(by) => of = by.parse().map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(is_undone),
                Err(error) => return Err(error),
            }
            is_undone = !is_undone;
        }
        Err(io::Error::other("the marks lead nowhere"))
    }

    /// Lets go of the oldest beyond what may be kept, and of marks without a change.
    ///
    /// # Errors
    /// The system's.
    pub fn prune(&self, kept: KeepLimits) -> io::Result<()> {
        let (mut files, mut marks) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            let path = entry.path();
            match path.extension() {
                Some(extension) if about.is_file() && extension == "undone" => marks.push(path),
                Some(_) if about.is_file() => {
                    let at = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push((at, about.len(), path));
                }
                _ => {}
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
        // Last: one that a kill leaves here goes the next time.
        for mark in marks {
            if !mark.with_extension("json").try_exists()? {
                fs::remove_file(mark)?;
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

    #[test]
    fn change_is_undone_until_its_undo_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeptChanges::<String>::new(folder.path().into());
        let kept = "x".to_owned();
        store.put(&intent(1), &kept).unwrap();
        let undone = |number| store.is_undone(&intent(number)).unwrap();
        assert!(!undone(1));
        for number in 2..=4 {
            let (by, of) = (intent(number), intent(number - 1));
            store.put_done(&by, &kept, Some(&of)).unwrap();
            assert_eq!(undone(1), number % 2 == 0, "after {number}");
        }
        // A mark counts for no change, and goes with its own.
        store.prune(KeepLimits { mib: 1, changes: 4 }).unwrap();
        assert!(undone(1));
        store.prune(KeepLimits { mib: 1, changes: 0 }).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn undo_without_a_mark_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeptChanges::<String>::new(folder.path().into());
        let kept = "x".to_owned();
        fs::create_dir(store.mark(&intent(1))).unwrap();
        store.put_done(&intent(2), &kept, Some(&intent(1))).unwrap();
        assert_eq!(store.get(&intent(2)).unwrap(), Some(kept));
    }

    #[test]
    fn mark_goes_with_its_change_and_with_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeptChanges::<String>::new(folder.path().into());
        let kept = "x".to_owned();
        store.put(&intent(1), &kept).unwrap();
        store.put_done(&intent(2), &kept, Some(&intent(1))).unwrap();
        // Of a change that went before its mark did.
        store.mark_undone(&intent(2), &intent(3));
        // What a kill left beside a change.
        let beside = store.path(&intent(1)).with_extension("new");
        let file = File::create(&beside).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        store.prune(KeepLimits { mib: 1, changes: 2 }).unwrap();
        assert!(!beside.exists() && !store.mark(&intent(3)).exists());
        assert!(store.is_undone(&intent(1)).unwrap());
    }
}
