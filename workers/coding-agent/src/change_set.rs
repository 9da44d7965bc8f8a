//! [`ChangeSet`]: what lies between two snapshots, and [`Sets`]: where change sets and their contents are kept.
//!
//! ```text
//! changes/<id>/set.json     the change set; written last, so a folder without it is none
//! changes/<id>/head.json    the same without its files, for a list
//! changes/<id>/<sha256>     a content before or after
//! ```
//! Invariants: a change set is never changed; a content is believed only where its digest is its name; sets go after a
//! week, and the oldest first where together they hold more than 8 GiB; one without its `set.json` is none, so a drop that
//! was cut off dropped it or did nothing.
//!
//! Must not know: runs, the folder that is changed.

use crate::{
    onto::Onto,
    snapshot::{FileFacts, LARGEST, Snapshot, leave_free},
};
use plexus_ipc::worker::durable;
use plexus_protocol::{AuditId, Timestamp};
use plexus_rooted_files::{Digest, RelPath, Root};
use serde::{Deserialize, Serialize};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use uuid::Uuid;

/// How long a change set is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// What all of them may hold, in bytes.
const MOST_BYTES: u64 = 8 * 1024 * 1024 * 1024;
/// Most files of a change set.
const MOST_FILES: usize = 50_000;
/// Files that a change set's head names.
const NAMED: usize = 5;
const SET: &str = "set.json";
const HEAD: &str = "head.json";
/// Longest `set.json`, in bytes.
const LONGEST_SET: u64 = 32 * 1024 * 1024;

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileChange {
    pub(crate) path: RelPath,
    /// None: there is no such file.
    pub(crate) before: Option<FileFacts>,
    /// None: the file goes.
    pub(crate) after: Option<FileFacts>,
}

/// The four things that can become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ChangeKind {
    Added,
    Edited,
    Removed,
    /// The content stays.
    Mode,
}

impl FileChange {
    pub(crate) fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            (Some(before), Some(after)) if before.digest == after.digest => ChangeKind::Mode,
            (Some(_), Some(_)) => ChangeKind::Edited,
        }
    }

    /// The same, the other way round.
    pub(crate) fn reversed(&self) -> Self {
        Self {
            path: self.path.clone(),
            before: self.after,
            after: self.before,
        }
    }
}

/// Which added file has the content of which removed one, each in the order of their paths: renamed. For display alone; an
/// empty content names nothing.
pub(crate) fn renames<'f>(
    files: impl IntoIterator<Item = &'f FileChange> + Clone,
) -> BTreeMap<&'f RelPath, &'f FileChange> {
    let mut gone: HashMap<Digest, VecDeque<&FileChange>> = HashMap::new();
    for file in files.clone() {
        if let (Some(before), None) = (file.before, file.after)
            && before.bytes > 0
        {
            gone.entry(before.digest).or_default().push_back(file);
        }
    }
    let added = files.into_iter().filter_map(|file| match file.before {
        None => Some((&file.path, file.after?.digest)),
        Some(_) => None,
    });
    let renamed =
        added.filter_map(|(path, digest)| Some((path, gone.get_mut(&digest)?.pop_front()?)));
    renamed.collect()
}

/// What a run would change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ChangeSet {
    pub(crate) files: Vec<FileChange>,
    /// Links and special files in the copy; never applied.
    pub(crate) omitted: usize,
    /// Of one that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

/// Where a change set comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Whose run it was; none: the owner's.
    pub(crate) agent: Option<String>,
    pub(crate) made: Timestamp,
    /// The conversation that it is of; a list has the last change set of one alone.
    pub(crate) conversation: Option<String>,
    /// The event of its run, and the beginning of what that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<AuditId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) prompt: String,
    /// What its copy began with.
    #[serde(default)]
    pub(crate) onto: Onto,
    /// Its run was ended before it came to its end: by a stop, or at a limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unfinished: bool,
    /// The limit that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<Limit>,
}

/// A limit of the caller's that ended a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Limit {
    #[serde(rename = "maxTokens")]
    Tokens,
    #[serde(rename = "maxCost")]
    Cost,
    #[serde(rename = "maxTurns")]
    Turns,
    #[serde(rename = "maxSeconds")]
    Seconds,
}

impl Limit {
    /// As its field is named.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "maxTokens",
            Self::Cost => "maxCost",
            Self::Turns => "maxTurns",
            Self::Seconds => "maxSeconds",
        }
    }
}

impl Origin {
    /// The change sets whose changes it has, too.
    pub(crate) fn joined(&self) -> &[String] {
        match self.onto.join {
            true => &self.onto.sets,
            false => &[],
        }
    }
}

/// A change set without its files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) counts: Counts,
    /// The first of its files.
    #[serde(default)]
    pub(crate) first: Vec<RelPath>,
    pub(crate) omitted: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
}

impl Head {
    /// `1 added, 2 edited, 0 removed: a.txt, b.txt and 1 more`.
    pub(crate) fn words(&self) -> String {
        let named: Vec<_> = self.first.iter().map(RelPath::as_str).collect();
        let more = self.counts.paths().saturating_sub(named.len());
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}: {}{more}", self.counts.words(), named.join(", "))
    }
}

/// How many files of a change set have which change.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    added: usize,
    edited: usize,
    removed: usize,
    modes: usize,
    /// Files that only got another name. Each is one of the removed and one of the added, too.
    #[serde(default)]
    renamed: usize,
}

impl Counts {
    pub(crate) fn of<'f>(files: impl IntoIterator<Item = &'f FileChange> + Clone) -> Self {
        let mut counts = Self {
            renamed: renames(files.clone()).len(),
            ..Self::default()
        };
        for file in files {
            *match file.kind() {
                ChangeKind::Added => &mut counts.added,
                ChangeKind::Edited => &mut counts.edited,
                ChangeKind::Removed => &mut counts.removed,
                ChangeKind::Mode => &mut counts.modes,
            } += 1;
        }
        counts
    }

    /// How many paths there are in all: a file that got another name has two.
    fn paths(&self) -> usize {
        self.added + self.edited + self.removed + self.modes
    }

    /// How many files there are in all.
    pub(crate) fn files(&self) -> usize {
        self.paths().saturating_sub(self.renamed)
    }

    pub(crate) fn words(&self) -> String {
        let Self {
            edited, renamed, ..
        } = self;
        let added = self.added.saturating_sub(*renamed);
        let removed = self.removed.saturating_sub(*renamed);
        let mut words = format!("{added} added, {edited} edited, {removed} removed");
        for (count, word) in [(*renamed, "renamed"), (self.modes, "of another mode")] {
            if count > 0 {
                words.push_str(&format!(", {count} {word}"));
            }
        }
        words
    }
}

/// Why there is no change set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    #[error("the run changed more than 50,000 files")]
    TooMany,
    #[error("there is no such change set; they are kept for a week, or until the owner drops them")]
    Unknown,
    #[error("this change set is damaged")]
    Damaged,
    #[error("a content of this change set is damaged")]
    DamagedContent,
    #[error("the change sets: {0}")]
    Io(#[from] io::Error),
}

/// Why a file of a change set cannot be had: without it there is none.
fn gone(error: io::Error) -> SetError {
    match error.kind() {
        io::ErrorKind::NotFound => SetError::Unknown,
        _ => error.into(),
    }
}

impl ChangeSet {
    /// What changed from one snapshot to the next, which is of the folder `copy`. Commits are no changes of files:
    /// no snapshot has `.git`. What is there and could not be read is omitted: it did not go. A file whose place a folder has, did.
    pub(crate) fn between(
        before: &Snapshot,
        after: &Snapshot,
        copy: &Path,
    ) -> Result<Self, SetError> {
        let is_gone = |path: &&RelPath| match fs::symlink_metadata(copy.join(path.as_str())) {
            Ok(there) => there.is_dir(),
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ),
        };
        let missing = before
            .files
            .keys()
            .filter(|path| !after.files.contains_key(*path));
        let (gone, unread): (Vec<_>, Vec<_>) = missing.partition(is_gone);
        let paths = after.files.keys().chain(gone.iter().copied());
        let mut files: Vec<_> = paths
            .map(|path| FileChange {
                path: path.clone(),
                before: before.files.get(path).copied(),
                after: after.files.get(path).copied(),
            })
            .filter(|change| change.before != change.after)
            .collect();
        if files.len() > MOST_FILES {
            return Err(SetError::TooMany);
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self {
            files,
            omitted: after.omitted.max(unread.len()),
            origin: None,
        })
    }

    fn head(&self) -> Head {
        Head {
            counts: Counts::of(&self.files),
            first: self
                .files
                .iter()
                .take(NAMED)
                .map(|file| file.path.clone())
                .collect(),
            omitted: self.omitted,
            origin: self.origin.clone(),
        }
    }

    /// Stands for all that it changes.
    pub(crate) fn digest(&self) -> Result<Digest, SetError> {
        let changes = (&self.files, self.omitted);
        let bytes = serde_json::to_vec(&changes).map_err(io::Error::other)?;
        Ok(Digest::of(&bytes))
    }
}

/// Change sets as a list has them.
#[derive(Debug, Default)]
pub(crate) struct FoundSets {
    /// With their ids.
    pub(crate) sets: Vec<(String, Head)>,
    /// The ids of those that cannot be read, and why.
    pub(crate) unread: Vec<(String, SetError)>,
}

/// The folder of all change sets.
#[derive(Clone, Debug)]
pub(crate) struct Sets(PathBuf);

impl Sets {
    pub(crate) fn in_folder(scratch: &Path) -> Self {
        Self(scratch.join("changes"))
    }

    /// Keeps a change set with its contents: those before from `folder`, as far as they are still there, or from the change
    /// sets that its copy began with; those after from `copy`. Answers with its id.
    pub(crate) fn keep(
        &self,
        set: &ChangeSet,
        folder: &Root,
        copy: &Root,
    ) -> Result<String, SetError> {
        let id = format!("cs_{}", Uuid::new_v4());
        let dir = self.0.join(&id);
        let bytes = serde_json::to_vec(set).map_err(io::Error::other)?;
        if bytes.len() as u64 > LONGEST_SET {
            return Err(SetError::TooMany);
        }
        // What cannot go now goes with a later one.
        let _ = self.prune();
        durable::make_folder(&dir)?;
        let kept = self.keep_in(&dir, set, &bytes, folder, copy);
        if kept.is_err() {
            // As much as goes: room on the disk may be what it lacked.
            let _ = fs::remove_dir_all(&dir);
        }
        kept.map(|()| id)
    }

    fn keep_in(
        &self,
        dir: &Path,
        set: &ChangeSet,
        bytes: &[u8],
        folder: &Root,
        copy: &Root,
    ) -> Result<(), SetError> {
        let sides = set.files.iter();
        let sides = sides.flat_map(|change| [change.before, change.after]);
        leave_free(dir, sides.flatten().map(|facts| facts.bytes).sum())?;
        let onto = set.origin.as_ref().map(|origin| &*origin.onto.sets);
        for change in &set.files {
            for (root, facts) in [(folder, &change.before), (copy, &change.after)] {
                let Some(facts) = facts else { continue };
                let read = root.read(&change.path).ok();
                let read = read.filter(|read| read.digest() == facts.digest);
                let mut earlier = onto.unwrap_or_default().iter();
                let bytes = read.map(|read| read.bytes).or_else(|| {
                    earlier.find_map(|set| self.content(set, &facts.digest).ok().flatten())
                });
                if let Some(bytes) = bytes {
                    // Not synced: one that a crash takes along is missed by its digest, and the run is made again.
                    write_once(&dir.join(facts.digest.to_string()), &bytes)?;
                }
            }
        }
        let head = serde_json::to_vec(&set.head()).map_err(io::Error::other)?;
        write_once(&dir.join(HEAD), &head)?;
        write_once(&dir.join(SET), bytes)?.sync_all()?;
        File::open(dir)?.sync_all()?;
        Ok(())
    }

    pub(crate) fn get(&self, id: &str) -> Result<ChangeSet, SetError> {
        let bytes = read_most(&self.dir(id)?.join(SET), LONGEST_SET).map_err(gone)?;
        serde_json::from_slice(&bytes).map_err(|_| SetError::Damaged)
    }

    /// A change set without its files. One of an earlier version, or whose head a crash took along, is read whole.
    pub(crate) fn head(&self, id: &str) -> Result<Head, SetError> {
        let dir = self.dir(id)?;
        if !dir.join(SET).try_exists()? {
            return Err(SetError::Unknown);
        }
        let head = read_most(&dir.join(HEAD), LONGEST_SET).ok();
        let head = head.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        head.map_or_else(|| Ok(self.get(id)?.head()), Ok)
    }

    /// Whether one that can be read is of this call.
    pub(crate) fn has_of(&self, call: &AuditId) -> bool {
        let is_of = |dir: &PathBuf| {
            let id = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let origin = self.head(id).ok().and_then(|head| head.origin);
            origin.is_some_and(|origin| origin.call.as_ref() == Some(call))
        };
        let dirs = self.dirs();
        dirs.map_or(true, |dirs| dirs.iter().any(|(_, dir)| is_of(dir)))
    }

    /// The newest, in no order; and how many there are beyond `most`, which are not looked at.
    pub(crate) fn newest(&self, most: usize) -> Result<(FoundSets, usize), SetError> {
        let mut dirs = self.dirs()?;
        dirs.sort_unstable_by(|a, b| b.cmp(a));
        let more = dirs.len().saturating_sub(most);
        Ok((self.heads(dirs.into_iter().take(most)), more))
    }

    /// All change sets, in no order.
    pub(crate) fn all(&self) -> Result<FoundSets, SetError> {
        Ok(self.heads(self.dirs()?))
    }

    fn heads(&self, dirs: impl IntoIterator<Item = (SystemTime, PathBuf)>) -> FoundSets {
        let mut found = FoundSets::default();
        for (_, dir) in dirs {
            let id = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
            match self.head(id) {
                Ok(head) => found.sets.push((id.to_owned(), head)),
                // Not finished, or gone since it was listed.
                Err(SetError::Unknown) => {}
                // It costs itself, never the list.
                Err(error) => found.unread.push((id.to_owned(), error)),
            }
        }
        found
    }

    /// Each change set's folder with its age; one that is not finished is as old as what was last put in it.
    fn dirs(&self) -> io::Result<Vec<(SystemTime, PathBuf)>> {
        let listed = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        let dated = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let dir = entry.path();
            // What lies beside them is none of them.
            let name = dir.file_name().and_then(OsStr::to_str).unwrap_or_default();
            if self.dir(name).is_err() || !entry.file_type()?.is_dir() {
                return Ok(None);
            }
            let meta = fs::metadata(dir.join(SET)).or_else(|_| fs::metadata(&dir));
            let made = meta.and_then(|meta| meta.modified());
            Ok(Some((made.unwrap_or(SystemTime::UNIX_EPOCH), dir)))
        };
        listed
            .filter_map(|entry| dated(entry).transpose())
            .collect()
    }

    /// A content of a change set; none where it was not kept.
    pub(crate) fn content(&self, id: &str, digest: &Digest) -> Result<Option<Vec<u8>>, SetError> {
        match read_most(&self.dir(id)?.join(digest.to_string()), LARGEST) {
            Ok(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Ok(_) => Err(SetError::DamagedContent),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a further content with a change set.
    pub(crate) fn add(&self, id: &str, digest: &Digest, bytes: &[u8]) -> Result<(), SetError> {
        let path = self.dir(id)?.join(digest.to_string());
        if matches!(self.content(id, digest), Err(SetError::DamagedContent)) {
            // A crash took a part of it along before it was synced.
            fs::remove_file(&path)?;
        }
        Ok(write_once(&path, bytes).map_err(gone)?.sync_all()?)
    }

    /// Has a change set be as new as now, with all that was added to it on disk: it is kept for an undo.
    pub(crate) fn renew(&self, id: &str) -> Result<(), SetError> {
        let dir = self.dir(id)?;
        // In the sandbox no time can be set; to write what is there already sets it.
        let set = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.join(SET))
            .map_err(gone)?;
        let mut first = [0];
        set.read_exact_at(&mut first, 0)?;
        set.write_all_at(&first, 0)?;
        self.sync(id)
    }

    /// Has a change set be none from now on, which [`Self::sync`] makes last. The rest of it stays until [`Self::clear`], or a
    /// later [`Self::prune`].
    pub(crate) fn unmake(&self, id: &str) -> Result<(), SetError> {
        fs::remove_file(self.dir(id)?.join(SET)).map_err(gone)
    }

    /// Has on disk which files a change set has.
    pub(crate) fn sync(&self, id: &str) -> Result<(), SetError> {
        Ok(File::open(self.dir(id)?)?.sync_all()?)
    }

    /// Removes what a change set held that is none any more.
    pub(crate) fn clear(&self, id: &str) -> Result<(), SetError> {
        Ok(fs::remove_dir_all(self.dir(id)?)?)
    }

    /// Lets go of what is too old, and of the oldest where all hold too much. For a writer that starts.
    pub(crate) fn prune(&self) -> io::Result<()> {
        let mut dirs = self.dirs()?;
        dirs.sort_unstable_by(|a, b| b.cmp(a));
        let mut held = 0;
        for (made, dir) in dirs {
            // One that cannot be read or removed keeps no older one.
            let files = fs::read_dir(&dir).into_iter().flatten();
            let bytes = files
                .filter_map(|file| file.and_then(|file| file.metadata()).ok())
                .map(|meta| meta.len());
            held += bytes.sum::<u64>();
            if (held > MOST_BYTES || made.elapsed().is_ok_and(|age| age > KEPT))
                && let Err(error) = fs::remove_dir_all(dir)
            {
                tracing::warn!(%error, "an old change set cannot be removed");
            }
        }
        Ok(())
    }

    fn dir(&self, id: &str) -> Result<PathBuf, SetError> {
        let uuid = id.strip_prefix("cs_").ok_or(SetError::Unknown)?;
        let uuid = Uuid::try_parse(uuid).map_err(|_| SetError::Unknown)?;
        Ok(self.0.join(format!("cs_{uuid}")))
    }
}

/// Leaves the newest first, of a conversation the last, and none that another has joined.
pub(crate) fn keep_listed(sets: &mut Vec<(String, Head)>) {
    let made = |set: &Head| set.origin.as_ref().map(|origin| origin.made);
    sets.sort_by_key(|(_, set)| Reverse(made(set)));
    let joined = sets.iter().filter_map(|(_, set)| set.origin.as_ref());
    let joined: BTreeSet<String> = joined.flat_map(Origin::joined).cloned().collect();
    sets.retain(|(id, _)| !joined.contains(id));
    let mut conversations = BTreeSet::new();
    sets.retain(|(_, set)| {
        let origin = set.origin.as_ref();
        let of = origin.and_then(|origin| origin.conversation.clone());
        of.is_none_or(|of| conversations.insert(of))
    });
}

/// The newest that goes on from a change set: one that has joined it, or of a later turn of its conversation.
pub(crate) fn superseding<'s>(id: &str, sets: &'s [(String, Head)]) -> Option<&'s str> {
    let made = |set: &Head| set.origin.as_ref().map(|origin| origin.made);
    let (_, own) = sets.iter().find(|(one, _)| one == id)?;
    let talk = own.origin.as_ref().filter(|own| own.conversation.is_some());
    let goes_on = |(_, set): &&(String, Head)| {
        set.origin.as_ref().is_some_and(|later| {
            let is_turn =
                |own: &Origin| own.conversation == later.conversation && own.made < later.made;
            later.joined().iter().any(|set| set == id) || talk.is_some_and(is_turn)
        })
    };
    let later = sets.iter().filter(goes_on);
    let newest = later.max_by_key(|(_, set)| made(set));
    newest.map(|(id, _)| id.as_str())
}

/// The ids of those that may take others out of a list: one that has joined some, or shares a conversation.
pub(crate) fn may_hide(sets: &[(String, Head)]) -> BTreeSet<String> {
    fn conversation(set: &Head) -> Option<&str> {
        set.origin.as_ref()?.conversation.as_deref()
    }
    let mut turns = BTreeMap::<&str, usize>::new();
    for of in sets.iter().filter_map(|(_, set)| conversation(set)) {
        *turns.entry(of).or_default() += 1;
    }
    let hides = |(_, set): &&(String, Head)| {
        let origin = set.origin.as_ref();
        let turns = conversation(set).and_then(|of| turns.get(of));
        origin.is_some_and(|origin| !origin.joined().is_empty()) || turns > Some(&1)
    };
    let hiding = sets.iter().filter(hides);
    hiding.map(|(id, _)| id.clone()).collect()
}

/// Writes a file that is there afterwards, whole, or not at all; one that is there already has the same content.
pub(crate) fn write_once(path: &Path, bytes: &[u8]) -> io::Result<File> {
    if let Ok(file) = File::open(path) {
        return Ok(file);
    }
    let new = path.with_extension(format!("{}.new", Uuid::new_v4()));
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        // What cannot be removed goes with its folder.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    Ok(file)
}

/// Reads a file of ours that is no longer than `most` bytes.
pub(crate) fn read_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other("longer than it can be")),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_rooted_files::Policy;
    use std::os::unix::fs::PermissionsExt as _;

    type Folder = (tempfile::TempDir, Root);

    fn folder(files: &[(&str, &str)]) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let root = Root::open(dir.path(), Policy::default()).unwrap();
        (dir, root)
    }

    fn snapshot(root: &Root) -> Snapshot {
        Snapshot::of_copy(root, &crate::ignored::IgnoreTexts::default(), &|| false).unwrap()
    }

    #[test]
    fn change_set_names_what_differs_and_keeps_contents() {
        let (_one, before) = folder(&[
            ("a", "a"),
            ("b/c", "c"),
            ("gone", "x"),
            (".git/HEAD", "1"),
            ("twice", "t"),
            ("linked", "l"),
            ("folder", "f"),
        ]);
        let (two, after) = folder(&[
            ("a", "a"),
            ("b/c", "d"),
            ("new", "y"),
            (".git/HEAD", "2"),
            ("twice", "t"),
            ("linked", "l"),
            ("folder/in", "f"),
        ]);
        std::os::unix::fs::symlink("/etc/passwd", two.path().join("link")).unwrap();
        // A second name, and a link in a file's place, are no removal.
        fs::hard_link(two.path().join("twice"), two.path().join("again")).unwrap();
        fs::remove_file(two.path().join("linked")).unwrap();
        std::os::unix::fs::symlink("a", two.path().join("linked")).unwrap();
        let made = snapshot(&after);
        let mut unnamed: Vec<_> = made.omitted_names.iter().map(RelPath::as_str).collect();
        unnamed.sort_unstable();
        assert_eq!(unnamed, ["again", "link", "linked", "twice"]);
        let mut set = ChangeSet::between(&snapshot(&before), &made, two.path()).unwrap();
        let said: Vec<_> = set
            .files
            .iter()
            .map(|change| (change.path.as_str(), change.kind()))
            .collect();
        assert_eq!(
            said,
            [
                ("b/c", ChangeKind::Edited),
                ("folder", ChangeKind::Removed),
                ("folder/in", ChangeKind::Added),
                ("gone", ChangeKind::Removed),
                ("new", ChangeKind::Added)
            ]
        );
        assert_eq!(set.omitted, 4);
        let scratch = tempfile::tempdir().unwrap();
        let sets = Sets::in_folder(scratch.path());
        let call = |digit: char| {
            AuditId::parse(&format!("evt_{digit}0000000-0000-8000-8000-000000000000")).unwrap()
        };
        set.origin = Some(Origin {
            agent: None,
            made: Timestamp(1),
            conversation: None,
            call: Some(call('1')),
            prompt: String::new(),
            onto: Onto::default(),
            unfinished: false,
            limit: None,
        });
        let id = sets.keep(&set, &before, &after).unwrap();
        assert!(sets.has_of(&call('1')) && !sets.has_of(&call('2')));
        assert_eq!(sets.get(&id).unwrap().files, set.files);
        assert_eq!(sets.content(&id, &Digest::of(b"d")).unwrap().unwrap(), b"d");
        assert_eq!(sets.content(&id, &Digest::of(b"c")).unwrap().unwrap(), b"c");
        // Another content under its name is no content.
        let kept = scratch.path().join("changes").join(&id);
        fs::write(kept.join(Digest::of(b"d").to_string()), "evil").unwrap();
        assert!(matches!(
            sets.content(&id, &Digest::of(b"d")),
            Err(SetError::DamagedContent)
        ));
        for no_id in ["", "cs_", "cs_../../x", "../cs_x"] {
            assert!(matches!(sets.get(no_id), Err(SetError::Unknown)), "{no_id}");
        }
        sets.prune().unwrap();
        assert!(sets.get(&id).is_ok());
        // A list reads the head alone.
        let whole = fs::read(kept.join(SET)).unwrap();
        fs::write(kept.join(SET), "not read").unwrap();
        let (listed, more) = sets.newest(1).unwrap();
        assert_eq!(
            (listed.sets[0].1.counts.words(), more),
            (set.head().counts.words(), 0)
        );
        fs::remove_file(kept.join(HEAD)).unwrap();
        let (listed, _) = sets.newest(1).unwrap();
        assert!(listed.sets.is_empty(), "damaged");
        assert!(
            matches!(&*listed.unread, [(of, SetError::Damaged)] if *of == id),
            "{listed:?}"
        );
        assert!(matches!(sets.head(&id), Err(SetError::Damaged)));
        // So does one that cannot be read at all, a folder here.
        fs::remove_file(kept.join(SET)).unwrap();
        fs::create_dir(kept.join(SET)).unwrap();
        let (listed, _) = sets.newest(1).unwrap();
        assert!(listed.sets.is_empty(), "not readable");
        assert!(
            matches!(&*listed.unread, [(of, SetError::Io(_))] if *of == id),
            "{listed:?}"
        );
        fs::remove_dir(kept.join(SET)).unwrap();
        fs::write(kept.join(SET), whole).unwrap();
        let (listed, _) = sets.newest(1).unwrap();
        let counts = (listed.sets.len(), listed.unread.len());
        assert_eq!(counts, (1, 0), "of an earlier version");
        let long_ago = SystemTime::now() - KEPT - Duration::from_secs(60);
        let file = File::options().write(true).open(kept.join(SET)).unwrap();
        file.set_modified(long_ago).unwrap();
        // What somebody put beside it stays, and is no reason to keep it.
        let stray = scratch.path().join("changes/.DS_Store");
        fs::write(&stray, "x").unwrap();
        // Nor is a newer one that cannot be read.
        let closed = sets.dir(&format!("cs_{}", Uuid::new_v4())).unwrap();
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        sets.prune().unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(stray.exists());
        assert!(matches!(sets.get(&id), Err(SetError::Unknown)));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn change_set_survives_a_power_cut() {
        let id = std::cell::RefCell::default();
        let before = |_: &Path| (folder(&[("a", "a")]), folder(&[("a", "b"), ("new", "y")]));
        let keep = |top: &Path, ((_, one), (two, after)): (Folder, Folder)| {
            let set = ChangeSet::between(&snapshot(&one), &snapshot(&after), two.path()).unwrap();
            *id.borrow_mut() = Sets::in_folder(top).keep(&set, &one, &after).unwrap();
        };
        let kept = |top: &Path| {
            let set = Sets::in_folder(top).get(&id.borrow());
            set.is_ok_and(|set| set.files.len() == 2)
        };
        plexus_power_cut::holds(
            before,
            |disk, folders| keep(&disk.path(), folders),
            kept,
            &[],
        );
    }

    #[test]
    fn names_that_leave_the_folder_are_damage() {
        let scratch = tempfile::tempdir().unwrap();
        let sets = Sets::in_folder(scratch.path());
        let id = format!("cs_{}", Uuid::new_v4());
        let dir = scratch.path().join("changes").join(&id);
        fs::create_dir_all(&dir).unwrap();
        let read = |path: &str| {
            let digest = Digest::of(b"x").to_string();
            let after = serde_json::json!({"digest": digest, "bytes": 1});
            let file = serde_json::json!({"path": path, "before": null, "after": after});
            let set = serde_json::json!({"files": [file], "omitted": 0});
            fs::write(dir.join(SET), set.to_string()).unwrap();
            sets.get(&id)
        };
        for path in ["../x", "a/../../x", "/etc/x", "a//x", "a\nb"] {
            assert!(matches!(read(path), Err(SetError::Damaged)), "{path:?}");
        }
        assert_eq!(read("a/..x").unwrap().files.len(), 1);
    }
}
