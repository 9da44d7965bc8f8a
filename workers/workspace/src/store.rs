//! [`Store`]: what each change replaced and led to, kept outside of the folder so that it can be taken back.
//!
//! ```text
//!            begin (synced, before anything is visible)
//!                 │
//!               Begun ──finish──▶ Done          the change is there
//!                 ├──discard──▶ (no entry)      it failed and nothing was done
//!                 └──the writer was killed; the next one looks at the folder:
//!                        Done │ Not (it did not happen) │ Lost (nobody can tell)
//! ```
//! One entry is the file `<call>.<state>` (JSON) with `<call>.before` and `<call>.after` beside it. Ids of calls sort by
//! time, so the oldest entries are the smallest names.
//!
//! Invariants: an entry and its contents are on disk before its change is visible; the state is the file's name, so
//! that one rename changes it; the store holds at most what its bounds say, the oldest go first, and it knows up to
//! which call it has forgotten; contents are believed only where their digest is the entry's.
//!
//! Must not know: frames, agents, grants.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use plexus_protocol::AuditId;
use plexus_rooted_files::{Digest, Ready, RelPath, Root};
use serde::{Deserialize, Serialize};

/// The first call that this store saw the beginning of.
const FIRST: &str = "first";
/// The newest call that it has forgotten.
const FORGOTTEN: &str = "forgotten";

/// How much a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Contents, in bytes.
    pub bytes: u64,
    /// Entries.
    pub entries: usize,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The event of its intent.
    pub call: AuditId,
    /// The file.
    pub path: RelPath,
    /// What was there; none: nothing.
    pub before: Option<Before>,
    /// Digest of what is there afterwards; none: nothing.
    pub after: Option<Digest>,
    /// What tells whether it happened.
    pub ready: Ready,
    /// The change that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<AuditId>,
}

/// A file before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Of its content.
    pub digest: Digest,
    /// Its inode.
    pub inode: u64,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Under way, or its writer was killed and no writer has looked since.
    Begun,
    /// It happened.
    Done,
    /// It did not happen.
    Not,
    /// Nobody can tell.
    Lost,
}

impl State {
    const ALL: [Self; 4] = [Self::Begun, Self::Done, Self::Not, Self::Lost];

    const fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Not => "not",
            Self::Lost => "lost",
        }
    }
}

/// What the store says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It holds this.
    Entry(Box<Entry>, State),
    /// It held it once, or is younger than the call.
    Forgotten,
    /// The call never came so far as to change anything.
    Never,
}

/// The contents of one side, or why there are none.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("the store of what was replaced: {0}")]
    Io(#[from] io::Error),
    /// The content is not what the entry says.
    #[error("what was kept is damaged")]
    Damaged,
}

/// A folder of entries. A reader looks; only a writer has [`Store::begin`] succeed, by its cage.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    bounds: Bounds,
    /// What each entry takes, by call. Filled by [`Store::recover`], so only in a writer.
    sizes: Mutex<BTreeMap<String, u64>>,
}

impl Store {
    /// The store in `dir`, which exists.
    #[must_use]
    pub fn new(dir: &Path, bounds: Bounds) -> Self {
        Self {
            dir: dir.to_owned(),
            bounds,
            sizes: Mutex::default(),
        }
    }

    /// Finds out what became of changes whose writer was killed, and lets go of what belongs to no entry. To be called
    /// once by a writer that starts, before [`Root::remove_leftovers`].
    ///
    /// # Errors
    /// The system's.
    pub fn recover(&self, root: &Root) -> Result<(), StoreError> {
        let mut sizes = BTreeMap::new();
        for (call, state) in self.list()? {
            if state == State::Begun
                && let Some(entry) = self.entry(&call, state)
            {
                let happened = root.happened(
                    &entry.path,
                    &entry.ready,
                    entry.before.map(|before| before.inode),
                    entry.after.is_none(),
                );
                let state = match happened {
                    Some(true) => State::Done,
                    Some(false) => State::Not,
                    None => State::Lost,
                };
                self.rename(&call, State::Begun, state)?;
            }
            let size = |side| fs::metadata(self.dir.join(format!("{call}.{side}")));
            let bytes = ["before", "after"].map(|side| size(side).map_or(0, |meta| meta.len()));
            sizes.insert(call, bytes.iter().sum());
        }
        for file in fs::read_dir(&self.dir)?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let of_an_entry = name
                .split_once('.')
                .is_none_or(|(call, _)| sizes.contains_key(call));
            if !of_an_entry {
                let _ = fs::remove_file(file.path());
            }
        }
        *self.sizes() = sizes;
        Ok(())
    }

    /// Keeps an entry and its contents, durably. `before` and `after` are what the entry's digests are of.
    ///
    /// # Errors
    /// The system's: then the change must not be made.
    pub fn begin(
        &self,
        entry: &Entry,
        before: Option<&[u8]>,
        after: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let call = entry.call.as_str();
        if self.marker(FIRST).is_none() {
            self.put_file(FIRST, call.as_bytes())?;
        }
        let mut bytes = 0;
        for (side, content) in [("before", before), ("after", after)] {
            if let Some(content) = content {
                self.put_file(&format!("{call}.{side}"), content)?;
                bytes += content.len() as u64;
            }
        }
        let json = serde_json::to_vec(entry).map_err(io::Error::other)?;
        self.put_file(&name(call, State::Begun), &json)?;
        self.sync()?;
        self.sizes().insert(call.to_owned(), bytes);
        self.make_room(call)
    }

    /// The change is there.
    ///
    /// # Errors
    /// The system's; the next writer finds out by itself.
    pub fn finish(&self, call: &AuditId) -> Result<(), StoreError> {
        self.rename(call.as_str(), State::Begun, State::Done)?;
        Ok(self.sync()?)
    }

    /// Nothing was done.
    pub fn discard(&self, call: &AuditId) {
        self.remove(call.as_str());
        self.sizes().remove(call.as_str());
    }

    /// What is known of a call.
    #[must_use]
    pub fn known(&self, call: &AuditId) -> Known {
        for state in State::ALL {
            if let Some(entry) = self.entry(call.as_str(), state) {
                return Known::Entry(Box::new(entry), state);
            }
        }
        let damaged = |state: State| self.dir.join(name(call.as_str(), state)).exists();
        if State::ALL.into_iter().any(damaged) {
            return Known::Forgotten;
        }
        // Younger than the first call it saw, and not forgotten: it would be here.
        let seen = self
            .marker(FIRST)
            .is_some_and(|first| *first < *call.as_str());
        let forgotten = self
            .marker(FORGOTTEN)
            .is_some_and(|newest| *newest >= *call.as_str());
        if seen && !forgotten {
            Known::Never
        } else {
            Known::Forgotten
        }
    }

    /// The content before a change: `None` where nothing was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn before(&self, entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
        self.side(entry, "before", entry.before.map(|before| before.digest))
    }

    /// The content after a change: `None` where nothing was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn after(&self, entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
        self.side(entry, "after", entry.after)
    }

    /// The change that took `call` back and was not taken back itself.
    ///
    /// # Errors
    /// The system's.
    pub fn undone_by(&self, call: &AuditId) -> Result<Option<AuditId>, StoreError> {
        Ok(self.undone()?.remove(call))
    }

    /// Every change that is taken back, with the one that did.
    ///
    /// # Errors
    /// The system's.
    pub fn undone(&self) -> Result<BTreeMap<AuditId, AuditId>, StoreError> {
        let mut undone: BTreeMap<AuditId, AuditId> = BTreeMap::new();
        // From the newest on, so that what was taken back itself is known by then.
        for (id, state) in self.list()?.into_iter().rev() {
            if state != State::Done {
                continue;
            }
            if let Some(entry) = self.entry(&id, state)
                && let Some(undoes) = entry.undoes
                && !undone.contains_key(&entry.call)
            {
                undone.entry(undoes).or_insert(entry.call);
            }
        }
        Ok(undone)
    }

    fn side(
        &self,
        entry: &Entry,
        side: &str,
        digest: Option<Digest>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(digest) = digest else {
            return Ok(None);
        };
        let bytes = fs::read(self.dir.join(format!("{}.{side}", entry.call)))?;
        if Digest::of(&bytes) == digest {
            Ok(Some(bytes))
        } else {
            Err(StoreError::Damaged)
        }
    }

    /// Every entry, oldest first.
    fn list(&self) -> Result<Vec<(String, State)>, StoreError> {
        let mut found = Vec::new();
        for file in fs::read_dir(&self.dir)? {
            let name = file?.file_name().to_string_lossy().into_owned();
            let Some((call, word)) = name.split_once('.') else {
                continue;
            };
            if let Some(state) = State::ALL.into_iter().find(|state| state.word() == word) {
                found.push((call.to_owned(), state));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn entry(&self, call: &str, state: State) -> Option<Entry> {
        let bytes = fs::read(self.dir.join(name(call, state))).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn make_room(&self, keep: &str) -> Result<(), StoreError> {
        loop {
            let oldest = {
                let sizes = self.sizes();
                let bytes: u64 = sizes.values().sum();
                if bytes <= self.bounds.bytes && sizes.len() <= self.bounds.entries {
                    return Ok(());
                }
                sizes.keys().next().filter(|call| *call != keep).cloned()
            };
            let Some(oldest) = oldest else {
                return Ok(());
            };
            self.put_file(FORGOTTEN, oldest.as_bytes())?;
            self.remove(&oldest);
            self.sizes().remove(&oldest);
        }
    }

    fn remove(&self, call: &str) {
        // The entry first: contents without one are let go of by the next writer.
        let names = State::ALL.map(State::word).into_iter();
        for end in names.chain(["before", "after"]) {
            let _ = fs::remove_file(self.dir.join(format!("{call}.{end}")));
        }
    }

    fn rename(&self, call: &str, from: State, to: State) -> io::Result<()> {
        fs::rename(
            self.dir.join(name(call, from)),
            self.dir.join(name(call, to)),
        )
    }

    fn marker(&self, which: &str) -> Option<String> {
        fs::read_to_string(self.dir.join(which)).ok()
    }

    /// Puts a whole file in place, synced: a reader sees the old one or the new one.
    fn put_file(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let part = self.dir.join(format!("part.{name}"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, self.dir.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn sizes(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(call: &str, state: State) -> String {
    format!("{call}.{}", state.word())
}
