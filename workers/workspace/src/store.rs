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
//! One entry is one file, `<call>.<state>`: a line of JSON, then the content before, then the content after. One, because
//! each file that is made costs a flush, and on ext4 a look past every inode that was freed in the last seconds
//! (`recently_deleted` in `fs/ext4/ialloc.c`). Ids of calls sort by time, so the oldest entries are the smallest names.
//!
//! Invariants: an entry and its contents are on disk before its change is visible; the state is the file's name, so
//! that one rename changes it; the store holds at most what its bounds say, the oldest go first, and it knows up to
//! which call it has forgotten; contents are believed only where their digest is the entry's.
//!
//! Must not know: frames, agents, grants.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
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

/// Longest first line of an entry, in bytes: its longest member is a path.
const LONGEST_HEAD: u64 = 64 * 1024;
/// Most bytes of a change, before and after together: an entry is one file, of at most the manifest's `fileBytes`.
pub const MAX_CHANGE_BYTES: u64 = 16 * 1024 * 1024 - LONGEST_HEAD;
/// The part of the entries that is let go of at once when there are too many.
const SLACK: usize = 32;

/// How much a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// All entries with their contents, in bytes.
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

/// The first line of an entry's file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(flatten)]
    entry: Entry,
    /// Of the content before, which follows it.
    before_bytes: u64,
    /// Of the content after, which comes last.
    after_bytes: u64,
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
pub enum CallRecord {
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
    /// The length of each entry's file, by call. Filled by [`Store::recover`], so only in a writer.
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
        for (call, mut state) in self.list()? {
            if state == State::Begun
                && let Some(Head { entry, .. }) = self.head(&call, state)
            {
                let happened = root.happened(
                    &entry.path,
                    &entry.ready,
                    entry.before.map(|before| before.inode),
                    entry.after.is_none(),
                );
                state = match happened {
                    Some(true) => State::Done,
                    Some(false) => State::Not,
                    None => State::Lost,
                };
                self.rename(&call, State::Begun, state)?;
            }
            let bytes = fs::metadata(self.dir.join(name(&call, state))).map_or(0, |m| m.len());
            sizes.insert(call, bytes);
        }
        for file in fs::read_dir(&self.dir)?.flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            if name.contains('.') && named(&name).is_none() {
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
            self.put_file(FIRST, &[call.as_bytes()])?;
        }
        let [before, after] = [before, after].map(Option::unwrap_or_default);
        let head = Head {
            entry: entry.clone(),
            before_bytes: before.len() as u64,
            after_bytes: after.len() as u64,
        };
        let mut line = serde_json::to_vec(&head).map_err(io::Error::other)?;
        line.push(b'\n');
        let parts = [line.as_slice(), before, after];
        self.put_file(&name(call, State::Begun), &parts)?;
        self.sync()?;
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        self.sizes().insert(call.to_owned(), bytes);
        self.make_room(call)
    }

    /// The change is there. Synced: after a power cut the folder itself does not tell of a removal, nor surely of a file that
    /// was replaced once more.
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
    pub fn known(&self, call: &AuditId) -> CallRecord {
        for state in State::ALL {
            if let Some(head) = self.head(call.as_str(), state) {
                return CallRecord::Entry(Box::new(head.entry), state);
            }
        }
        let damaged = |state: State| self.dir.join(name(call.as_str(), state)).exists();
        if State::ALL.into_iter().any(damaged) {
            return CallRecord::Forgotten;
        }
        // Younger than the first call it saw, and not forgotten: it would be here.
        let seen = self
            .marker(FIRST)
            .is_some_and(|first| *first < *call.as_str());
        let forgotten = self
            .marker(FORGOTTEN)
            .is_some_and(|newest| *newest >= *call.as_str());
        if seen && !forgotten {
            CallRecord::Never
        } else {
            CallRecord::Forgotten
        }
    }

    /// The content before a change: `None` where nothing was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn before(&self, entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
        let digest = entry.before.map(|before| before.digest);
        self.content(entry, digest, |head| (0, head.before_bytes))
    }

    /// The content after a change: `None` where nothing was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn after(&self, entry: &Entry) -> Result<Option<Vec<u8>>, StoreError> {
        self.content(entry, entry.after, |head| {
            (head.before_bytes, head.after_bytes)
        })
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
            if let Some(Head { entry, .. }) = self.head(&id, state)
                && let Some(undoes) = entry.undoes
                && !undone.contains_key(&entry.call)
            {
                undone.entry(undoes).or_insert(entry.call);
            }
        }
        Ok(undone)
    }

    /// The content of this digest; `at` says how far behind the first line it begins, and its length.
    fn content(
        &self,
        entry: &Entry,
        digest: Option<Digest>,
        at: impl FnOnce(&Head) -> (u64, u64),
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(digest) = digest else {
            return Ok(None);
        };
        let call = entry.call.as_str();
        let found = State::ALL
            .into_iter()
            .find_map(|state| self.open(call, state).ok());
        let (head, line, mut file) = found.ok_or(StoreError::Damaged)?;
        let (skipped, length) = at(&head);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(line.saturating_add(skipped)))?;
        file.take(length).read_to_end(&mut bytes)?;
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
            found.extend(named(&name).map(|(call, state)| (call.to_owned(), state)));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn head(&self, call: &str, state: State) -> Option<Head> {
        Some(self.open(call, state).ok()?.0)
    }

    /// An entry's first line, its length, and the file.
    fn open(&self, call: &str, state: State) -> io::Result<(Head, u64, File)> {
        let mut file = BufReader::new(File::open(self.dir.join(name(call, state)))?);
        let mut line = Vec::new();
        file.by_ref()
            .take(LONGEST_HEAD)
            .read_until(b'\n', &mut line)?;
        Ok((
            serde_json::from_slice(&line)?,
            line.len() as u64,
            file.into_inner(),
        ))
    }

    /// Lets go of the oldest entries where the bounds are passed, and of some more: what is forgotten is noted first, which
    /// is a flush.
    fn make_room(&self, keep: &str) -> Result<(), StoreError> {
        let oldest: Vec<String> = {
            let sizes = self.sizes();
            let mut bytes: u64 = sizes.values().sum();
            let mut entries = sizes.len();
            if bytes <= self.bounds.bytes && entries <= self.bounds.entries {
                return Ok(());
            }
            let room = self.bounds.entries - self.bounds.entries / SLACK;
            // None that is newer: what is forgotten is all up to a call.
            let gone = sizes.iter().take_while(|(call, _)| call.as_str() < keep);
            gone.take_while(|(_, size)| {
                let goes = bytes > self.bounds.bytes || entries > room;
                bytes -= **size;
                entries -= 1;
                goes
            })
            .map(|(call, _)| call.clone())
            .collect()
        };
        let Some(newest) = oldest.last() else {
            return Ok(());
        };
        self.put_file(FORGOTTEN, &[newest.as_bytes()])?;
        for call in oldest {
            self.remove(&call);
            self.sizes().remove(&call);
        }
        Ok(())
    }

    fn remove(&self, call: &str) {
        for state in State::ALL {
            let _ = fs::remove_file(self.dir.join(name(call, state)));
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
    fn put_file(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let part = self.dir.join(format!("part.{name}"));
        let put = put_at(&part, &self.dir.join(name), parts);
        put.inspect_err(|_| {
            // What does not fit must not fill the disk.
            let _ = fs::remove_file(&part);
        })
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    fn sizes(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_at(part: &Path, at: &Path, contents: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(part)?;
    for content in contents {
        file.write_all(content)?;
    }
    file.sync_all()?;
    fs::rename(part, at)
}

/// The call and the state that an entry's file is named after.
fn named(file: &str) -> Option<(&str, State)> {
    let (call, word) = file.split_once('.')?;
    let state = State::ALL.into_iter().find(|state| state.word() == word)?;
    Some((call, state))
}

fn name(call: &str, state: State) -> String {
    format!("{call}.{}", state.word())
}
