//! A change set into the folder, and back.
//!
//! ```text
//! change set ─▶ each file is as the run found it? ─▶ Plan: differences, token, rating ─▶ record ─▶ files ─▶ record: done
//!                                                                                          └ undo: the same, reversed; the folders that it made go
//! ```
//! Invariants: every file is looked at before the first one is changed; a file that is not as planned ends the change
//! there, and the answer says how far it came; what an undo needs is on disk before the first file changes.
//!
//! Must not know: frames, agents, grants, how a run is made.

mod dropping;

use crate::{
    change_set::{
        ChangeKind, ChangeSet, FileChange, KEPT, Origin, SetError, Sets, read_most, renames,
        write_once,
    },
    direct::why_it_waits,
    snapshot::FileFacts,
};
use plexus_ipc::worker::{ALREADY_UNDONE, durable};
use plexus_protocol::{AuditId, shell::option};
use plexus_rooted_files::{
    Change, Digest, FileError, RelPath, Root, WriteError, WriteTarget, runs_unasked,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Most files of one apply, and most bytes of their contents before and after.
const MOST_FILES: usize = 500;
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Most differences that are made for a card, which shows as much.
const LONGEST_DIFF: usize = 256 * 1024;
/// Most files that a refusal names.
const NAMED: usize = 8;
/// Has the last call whose record is gone.
const FORGOTTEN: &str = "forgotten";
/// Longest record, in bytes.
const LONGEST_RECORD: u64 = 32 * 1024 * 1024;

/// What was applied by one call. Its file is named after the call, and ends in `done` once it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Whose contents these are.
    pub(crate) set: String,
    pub(crate) files: Vec<FileChange>,
    /// The folders that it made: an undo removes those that are empty then.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    folders: BTreeSet<RelPath>,
}

/// Why nothing was applied, or how far it came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{0} is not in this change set")]
    NotInSet(String),
    #[error("nothing of it can be applied: no file is named, or one of them twice")]
    Nothing,
    #[error(
        "{0} changed since; nothing was done. Run again, or apply the other files with paths (plexusctl: --path)"
    )]
    Changed(RelPath),
    #[error(
        "{path} changed since: it is as the change set {set} has it; nothing was done. Run again, or take that back first (plexusctl undo {call})"
    )]
    ChangedBy {
        path: RelPath,
        set: String,
        call: AuditId,
    },
    #[error(
        "{path} changed since it was applied, and an undo takes back all or nothing; nothing was done. The change set {set} shows what they held before (plexusctl changes {set})"
    )]
    ChangedSince { path: RelPath, set: String },
    #[error("all of it is applied already; nothing was done{}", undo_words(.0.as_ref()))]
    AlreadyApplied(Option<AuditId>),
    #[error("{path} builds on {}: apply that first; nothing was done", named(.set.as_ref()))]
    BuildsOn { path: RelPath, set: Option<String> },
    #[error(
        "more than 500 files or 64 MiB at once: apply it in parts, with paths of files or folders (plexusctl: --path)"
    )]
    TooMuch,
    #[error("it has files that tools run, and a card cannot show all of it: {0}")]
    NotShown(String),
    #[error("{0} is hidden from agents: apply the other files with paths (plexusctl: --path)")]
    Hidden(RelPath),
    #[error(
        "{path} takes the place of {file}, which this change set removes: apply that removal first, with paths (plexusctl: --path)"
    )]
    InPlaceOf { path: RelPath, file: RelPath },
    #[error("cancelled")]
    Over,
    #[error("every file is changed, but what an undo needs could not be put in place: {0}")]
    NotKept(io::Error),
    #[error("no change with this id is kept, or nothing of it was made")]
    NotUndoable,
    #[error("{}", ALREADY_UNDONE.1)]
    AlreadyUndone,
    #[error(
        "{path} could not be changed: {why}; {done} of {all} files are changed, and an undo takes those back"
    )]
    Partly {
        path: RelPath,
        why: String,
        done: usize,
        all: usize,
    },
    #[error(
        "it is applied, or a part of it is, and what takes that back is kept with it: take it back first (plexusctl undo {0}); where a file changed since, it stays for its week"
    )]
    IsApplied(AuditId),
    #[error(
        "it cannot be read, and it was applied, or a part of it was: what takes that back is kept with it. It goes by itself after its week"
    )]
    WasApplied,
    #[error("the change set {0} builds on it: drop that first (plexusctl changes drop {0})")]
    IsBuiltOn(String),
    #[error(
        "the change set {0} may build on it and cannot be read now: make it readable, or drop that first (plexusctl changes drop {0})"
    )]
    PerhapsBuiltOn(String),
    #[error(
        "a run that is under way made it or began with it: wait for its end, or end it (plexusctl calls stop {0})"
    )]
    InUse(AuditId),
    #[error("it is dropped, but it may be there again after a power cut: {0}")]
    NotSynced(SetError),
    #[error("what is kept for undo: {0}")]
    Io(#[from] io::Error),
}

/// How to take back what is applied; empty where no call is known that applied it.
fn undo_words(call: Option<&AuditId>) -> String {
    call.map_or_else(String::new, |call| {
        format!(". An undo of {call} takes it back (plexusctl undo {call})")
    })
}

/// Another change set, by its id where a refusal has that.
fn named(set: Option<&String>) -> &str {
    set.map_or("another change set, which is not applied", String::as_str)
}

/// How to apply a change set whose card would not show all files that tools run: those alone first, or one at a time.
fn in_parts(set: &str, runs: &[&RelPath], all: bool) -> String {
    let most = if all { 1 } else { NAMED };
    let paths = runs.iter().take(most);
    let paths: String = paths.map(|path| option("path", path.as_str())).collect();
    let how = match all {
        true => "apply one at a time",
        false => "apply those first, and then the rest",
    };
    format!("{how}, with paths (plexusctl changes apply {set}{paths})")
}

/// What a run brought into the folder with its own approval.
#[derive(Debug)]
pub(crate) struct AtOnce {
    pub(crate) applied: Vec<FileChange>,
    /// What stays in the change set, and why.
    pub(crate) left: Vec<(RelPath, String)>,
}

/// Why a file stays in the change set of a run that applies at once.
const CHANGED: &str = "somebody changed it since the run began";
const REPLACED: &str = "a folder takes its place";
/// Why a file stays as it is when an apply that ended halfway is taken back.
const CHANGED_SINCE: &str = "it is neither as it was nor as the apply would have left it";

/// A change, computed and not made.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The change set that it is of.
    pub(crate) set: String,
    files: Vec<(FileChange, WriteTarget, Option<Vec<u8>>)>,
    /// Folders that go with the last file in them.
    folders: BTreeSet<RelPath>,
    /// Files that it leaves as they are, although it is about them too, and why.
    pub(crate) left: Vec<(RelPath, String)>,
    pub(crate) token: Digest,
    pub(crate) diff: String,
    /// A part of the differences is not shown.
    pub(crate) cut: bool,
    /// It takes back what an earlier one did.
    pub(crate) takes_back: bool,
    /// The files that tools run, and why.
    pub(crate) runs: Vec<(RelPath, &'static str)>,
}

/// The folder that change sets are applied to, and what is kept of that.
#[derive(Debug)]
pub(crate) struct Folder {
    root: std::sync::Arc<Root>,
    sets: Sets,
    records: PathBuf,
    /// Held over each apply, undo and drop.
    changing: Mutex<()>,
}

impl Folder {
    pub(crate) fn new(root: std::sync::Arc<Root>, sets: Sets, scratch: &Path) -> Self {
        Self {
            root,
            sets,
            records: scratch.join("applied"),
            changing: Mutex::default(),
        }
    }

    /// Computes what applying a change set, or some files of it, would do. Files that are applied stay as they are.
    pub(crate) fn plan(
        &self,
        id: &str,
        paths: Option<&[String]>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Plan, ApplyError> {
        let ChangeSet { files, origin, .. } = self.sets.get(id)?;
        let files = match paths {
            None => files,
            Some(paths) => chosen(&files, paths)?,
        };
        let mut waiting = Vec::new();
        for change in &files {
            if is_over() {
                return Err(ApplyError::Over);
            }
            // One that cannot be looked at fails below, in the words of an apply.
            let standing = self.standing(change).map(|(standing, _)| standing);
            if !matches!(standing, Ok(Standing::Applied)) {
                waiting.push(change.clone());
            }
            if waiting.len() > MOST_FILES {
                return Err(ApplyError::TooMuch);
            }
        }
        if waiting.is_empty() && !files.is_empty() {
            return Err(ApplyError::AlreadyApplied(None));
        }
        let files = waiting;
        let planned = self.planned(id.to_owned(), files, is_over);
        planned.map_err(|error| match error {
            ApplyError::Changed(path) => match self.builds_on(origin.as_ref(), &path) {
                Some(_) => ApplyError::BuildsOn { path, set: None },
                None => ApplyError::Changed(path),
            },
            error => error,
        })
    }

    /// A refusal of [`Self::plan`] in words for the owner, which name other change sets and calls. An agent learns of none: who
    /// knows the id of a change set can read it.
    pub(crate) fn for_owner(
        &self,
        id: &str,
        paths: Option<&[String]>,
        refusal: ApplyError,
    ) -> ApplyError {
        match refusal {
            ApplyError::Changed(path) => match self.changed_by(&path) {
                Some((call, set)) => ApplyError::ChangedBy { path, set, call },
                None => ApplyError::Changed(path),
            },
            ApplyError::BuildsOn { path, .. } => {
                let origin = self.sets.get(id).ok().and_then(|set| set.origin);
                let set = self.builds_on(origin.as_ref(), &path);
                ApplyError::BuildsOn { path, set }
            }
            ApplyError::AlreadyApplied(_) => {
                let files = self.sets.get(id).ok().map(|set| set.files);
                let files = files.and_then(|files| match paths {
                    None => Some(files),
                    Some(paths) => chosen(&files, paths).ok(),
                });
                let by = files.and_then(|files| self.applied_by(id, &files));
                ApplyError::AlreadyApplied(by)
            }
            refusal => refusal,
        }
    }

    /// The last call that brought these files of a change set into the folder, and no others; none where several did.
    fn applied_by(&self, id: &str, files: &[FileChange]) -> Option<AuditId> {
        // An undo has the same set, and its files the other way round.
        let applies = |(_, applied): &(AuditId, Applied)| {
            applied.set == id
                && applied.files.len() == files.len()
                && files.iter().all(|file| applied.files.contains(file))
        };
        let history = self.history().ok()?;
        let last = history.into_iter().rev().find(applies);
        last.map(|(call, _)| call)
    }

    /// The calls that brought files of a change set into the folder, one for each file that nobody took back.
    pub(crate) fn calls_of(
        &self,
        id: &str,
        history: &[(AuditId, Applied)],
    ) -> Result<Vec<AuditId>, SetError> {
        // What the last call on each file made of it.
        let mut last = BTreeMap::<&RelPath, (&AuditId, Option<FileFacts>)>::new();
        for (call, applied) in history.iter().filter(|(_, applied)| applied.set == id) {
            let files = applied.files.iter();
            last.extend(files.map(|file| (&file.path, (call, file.after))));
        }
        // The files of a change set that nothing was applied of are not needed.
        if last.is_empty() {
            return Ok(Vec::new());
        }
        let stands = |file: &FileChange| {
            let (call, after) = last.get(&file.path)?;
            (*after == file.after).then(|| AuditId::clone(call))
        };
        Ok(self.sets.get(id)?.files.iter().filter_map(stands).collect())
    }

    /// The change set that is to be applied first, where a file is not as the run of `origin` found it: its copy began with
    /// that one.
    pub(crate) fn builds_on(&self, origin: Option<&Origin>, path: &RelPath) -> Option<String> {
        let mut onto = origin?.onto.sets.iter();
        let waits = |set: &&String| {
            let files = self.sets.get(set).map(|set| set.files).unwrap_or_default();
            let mut same = files.iter().filter(|file| file.path == *path);
            same.any(|file| matches!(self.standing(file), Ok((Standing::Waits, _))))
        };
        onto.find(waits).cloned()
    }

    /// The change set that a file is from now, and the call that applied it.
    fn changed_by(&self, path: &RelPath) -> Option<(AuditId, String)> {
        let mut history = self.history().ok()?.into_iter().rev();
        let (call, file, set) = history.find_map(|(call, applied)| {
            let mut files = applied.files.into_iter();
            let file = files.find(|file| file.path == *path)?;
            Some((call, file, applied.set))
        })?;
        let other = self.sets.get(&set).ok()?;
        // An undo has the same set, and its files the other way round.
        let is_there = other.files.contains(&file)
            && matches!(self.standing(&file), Ok((Standing::Applied, _)));
        is_there.then_some((call, set))
    }

    /// Computes what taking back a call's change would do.
    pub(crate) fn plan_undo(
        &self,
        call: &str,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Plan, ApplyError> {
        let call = AuditId::parse(call).map_err(|_| ApplyError::NotUndoable)?;
        let recorded = self.recorded(&call);
        let (applied, is_whole) = recorded.map_err(|_| ApplyError::NotUndoable)?;
        let (mut files, mut left, mut undone) = (Vec::new(), Vec::new(), 0);
        for change in applied.files.iter().map(FileChange::reversed) {
            // One that ended halfway changed the files that are as it would have left them.
            let standing = self.standing(&change).map(|(standing, _)| standing);
            undone += usize::from(matches!(standing, Ok(Standing::Applied)));
            match standing {
                Ok(Standing::Waits) => files.push(change),
                _ if is_whole => files.push(change),
                Ok(Standing::Applied) => {}
                Ok(Standing::Changed) => left.push((change.path, CHANGED_SINCE.to_owned())),
                Err(error) => left.push((change.path, error.to_string())),
            }
        }
        if is_whole && !files.is_empty() && undone == files.len() {
            return Err(ApplyError::AlreadyUndone);
        }
        match self.planned(applied.set.clone(), files, is_over) {
            Err(ApplyError::Set(_) | ApplyError::Nothing) => Err(ApplyError::NotUndoable),
            Err(ApplyError::Changed(path)) => Err(ApplyError::ChangedSince {
                path,
                set: applied.set,
            }),
            planned => Ok(Plan {
                folders: applied.folders,
                left,
                takes_back: true,
                ..planned?
            }),
        }
    }

    fn planned(
        &self,
        set: String,
        mut files: Vec<FileChange>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Plan, ApplyError> {
        if files.len() > MOST_FILES {
            return Err(ApplyError::TooMuch);
        }
        // What tools run stands first, so that a card shows it whatever else there is.
        files.sort_by_key(is_plain);
        let moved = moved(&files);
        let removed = files.iter().filter(|change| change.after.is_none());
        let removed: BTreeSet<_> = removed.map(|change| change.path.clone()).collect();
        let (mut planned, mut held) = (Vec::new(), 0);
        let (mut tokens, mut diff) = (Vec::new(), String::new());
        let (mut cut, mut runs) = (false, Vec::new());
        for change in files {
            if is_over() {
                return Err(ApplyError::Over);
            }
            let place = self.root.look(&change.path).map_err(|error| match error {
                // A path that is there for nobody: one without a file is a place all the same.
                FileError::NotFound(path) => ApplyError::Hidden(path),
                FileError::NotADirectory(file) if removed.contains(&file) => {
                    let path = change.path.clone();
                    ApplyError::InPlaceOf { path, file }
                }
                error => error.into(),
            })?;
            if !is_as(&place, change.before) {
                return Err(ApplyError::Changed(change.path));
            }
            let content = match &change.after {
                None => None,
                Some(after) => Some(self.content(&set, after)?),
            };
            let current = place.current().map(|current| &current.content);
            let before = current.map(|current| &*current.bytes);
            held += before.map_or(0, <[u8]>::len) + content.as_ref().map_or(0, Vec::len);
            if held > MOST_BYTES {
                return Err(ApplyError::TooMuch);
            }
            if let Some(words) = moved.get(&change.path) {
                diff.push_str(words);
            } else if diff.len() < LONGEST_DIFF {
                let shown =
                    Change::between(&change.path, before, content.as_deref(), verbs(&change));
                match (shown.diff, change.kind()) {
                    (_, ChangeKind::Mode) => {
                        diff.push_str(&format!("--- {0}\n+++ {0}\n", change.path));
                    }
                    (Some(text), _) => diff.push_str(&text),
                    (None, _) => diff.push_str(&format!("{}\n", shown.headline)),
                }
                if let Some(words) = mode_words(&change) {
                    diff.push_str(&format!("({words}: {})\n", change.path));
                }
                cut |= shown.is_cut && change.kind() != ChangeKind::Mode;
            }
            cut |= diff.len() >= LONGEST_DIFF;
            runs.extend(why_it_runs(&change, &place).map(|why| (change.path.clone(), why)));
            tokens.extend_from_slice(place.token().as_bytes());
            if let Some(after) = &change.after {
                tokens.extend_from_slice(after.digest.as_bytes());
                tokens.push(after.executable.into());
            }
            planned.push((change, place, content));
        }
        if planned.is_empty() {
            return Err(ApplyError::Nothing);
        }
        if cut && !runs.is_empty() {
            let paths: Vec<_> = runs.iter().map(|(path, _)| path).collect();
            let words = match &*planned {
                [(change, ..)] => format!(
                    "no card can show this one file: the owner looks at it (plexusctl changes export {set}{} --to NEW_FILE) and brings it over by hand",
                    option("path", change.path.as_str())
                ),
                _ => in_parts(&set, &paths, paths.len() == planned.len()),
            };
            return Err(ApplyError::NotShown(words));
        }
        Ok(Plan {
            set,
            files: planned,
            folders: BTreeSet::new(),
            left: Vec::new(),
            token: Digest::of(&tokens),
            diff,
            cut,
            takes_back: false,
            runs,
        })
    }

    fn content(&self, set: &str, facts: &FileFacts) -> Result<Vec<u8>, ApplyError> {
        let content = self.sets.content(set, &facts.digest)?;
        Ok(content.ok_or(SetError::DamagedContent)?)
    }

    /// Makes a change, in the order of its paths. `call` names it for an undo.
    pub(crate) fn commit(&self, plan: Plan, call: &AuditId) -> Result<Vec<FileChange>, ApplyError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let files: Vec<_> = plan
            .files
            .iter()
            .map(|(change, ..)| change.clone())
            .collect();
        durable::make_folder(&self.records)?;
        for (_, place, _) in &plan.files {
            // The set has what was there when the run ended; this is what is there now, which an undo brings back.
            if let Some(current) = place.current() {
                let bytes = &current.content.bytes;
                self.sets.add(&plan.set, &current.digest, bytes)?;
            }
        }
        let written = plan
            .files
            .iter()
            .filter(|(change, ..)| change.after.is_some());
        let applied = Applied {
            set: plan.set,
            files: files.clone(),
            folders: written
                .flat_map(|(_, place, _)| missing_folders(place))
                .collect(),
        };
        let record = serde_json::to_vec(&applied).map_err(io::Error::other)?;
        let begun = self.record(call, "begun");
        let noted = write_once(&begun, &record).and_then(|file| file.sync_all());
        let noted = noted.map_err(ApplyError::from);
        let noted = noted.and_then(|()| Ok(self.sets.renew(&applied.set)?));
        if let Err(error) = noted.and_then(|()| Ok(File::open(&self.records)?.sync_all()?)) {
            // Nothing was changed. If this fails too, the files themselves say so.
            let _ = fs::remove_file(&begun);
            return Err(error);
        }
        let mut made = BTreeSet::new();
        for (done, (change, place, content)) in plan.files.iter().enumerate() {
            let changed = match content.as_ref().zip(change.after) {
                Some((content, after)) => self.beside(place, &made).and_then(|renewed| {
                    let place = renewed.as_ref().unwrap_or(place);
                    let put = self.root.put_marked(place, content, after.executable);
                    put.map(|_| ())
                }),
                None => {
                    let above = folders_above(place.path());
                    let empty = above.take_while(|folder| plan.folders.contains(folder));
                    self.root.remove_noting(place, empty.count(), |_| Ok(()))
                }
            };
            match changed {
                Ok(()) | Err(WriteError::Unconfirmed(_)) => made.extend(missing_folders(place)),
                Err(error) => {
                    if done == 0 {
                        let _ = fs::remove_file(&begun);
                    }
                    if let (WriteError::Moved { .. }, 0) = (&error, done) {
                        let (path, set) = (change.path.clone(), applied.set);
                        return Err(match plan.takes_back {
                            true => ApplyError::ChangedSince { path, set },
                            false => ApplyError::Changed(path),
                        });
                    }
                    return Err(ApplyError::Partly {
                        path: change.path.clone(),
                        why: error.to_string(),
                        done,
                        all: files.len(),
                    });
                }
            }
        }
        fs::rename(&begun, self.record(call, "done")).map_err(ApplyError::NotKept)?;
        Ok(files)
    }

    /// The place of a file in a folder that this very commit has `made`, as it is now; none for any other file, which is
    /// held to what the plan saw.
    fn beside(
        &self,
        place: &WriteTarget,
        made: &BTreeSet<RelPath>,
    ) -> Result<Option<WriteTarget>, WriteError> {
        if !missing_folders(place).any(|folder| made.contains(&folder)) {
            return Ok(None);
        }
        let now = self.root.look(place.path()).map_err(WriteError::Before)?;
        if now.current().is_none() && made.contains(now.folder()) {
            return Ok(Some(now));
        }
        Err(WriteError::Moved {
            path: place.path().clone(),
            what: "moved",
        })
    }

    /// Applies what a run changed as far as its approval reaches: documents and source files, nothing that somebody changed since.
    ///
    /// # Errors
    /// Something was changed, and not all that should have been.
    pub(crate) fn apply_at_once(
        &self,
        id: &str,
        call: &AuditId,
        is_over: &dyn Fn() -> bool,
    ) -> Result<AtOnce, ApplyError> {
        let (mut chosen, mut left) = (Vec::new(), Vec::new());
        let files = self.sets.get(id)?.files;
        let written = files.iter().filter(|change| change.after.is_some());
        let folders: BTreeSet<_> = written
            .flat_map(|change| folders_above(&change.path))
            .collect();
        for change in files {
            // What is to come in its place waits, so it does too.
            if folders.contains(&change.path) {
                left.push((change.path, REPLACED.to_owned()));
                continue;
            }
            match self.standing(&change) {
                Ok((Standing::Waits, why)) => {
                    let waits = || why_it_waits(&change.path, change.before.is_some());
                    match why.or_else(waits) {
                        None => chosen.push(change),
                        Some(why) => left.push((change.path, why.to_owned())),
                    }
                }
                Ok((Standing::Applied, _)) => {}
                Ok((Standing::Changed, _)) => left.push((change.path, CHANGED.to_owned())),
                Err(error) => left.push((change.path, error.to_string())),
            }
        }
        while !chosen.is_empty() {
            let done = self.planned(id.to_owned(), chosen.clone(), is_over);
            let done = done.and_then(|plan| match plan.runs.first() {
                Some((path, _)) => Err(ApplyError::Changed(path.clone())),
                None => self.commit(plan, call),
            });
            match done {
                Ok(applied) => return Ok(AtOnce { applied, left }),
                Err(ApplyError::Changed(path)) => {
                    chosen.retain(|change| change.path != path);
                    left.push((path, CHANGED.to_owned()));
                }
                Err(error @ (ApplyError::Partly { done: 1.., .. } | ApplyError::NotKept(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    let why = error.to_string();
                    left.extend(chosen.drain(..).map(|change| (change.path, why.clone())));
                }
            }
        }
        let applied = Vec::new();
        Ok(AtOnce { applied, left })
    }

    /// Whether a call's change came to its end; none where it did not, or nobody can tell how far it came.
    pub(crate) fn happened(&self, call: &AuditId) -> Option<bool> {
        if self.record(call, "done").exists() {
            Some(true)
        } else if self.record(call, "begun").exists() {
            self.by_files(call)
        } else if call.as_str() <= &*self.forgotten() {
            None
        } else {
            Some(false)
        }
    }

    /// The same of a change that began, by the files: all are as it would have left them, or all as they were before.
    fn by_files(&self, call: &AuditId) -> Option<bool> {
        let (applied, _) = self.recorded(call).ok()?;
        let standings = applied.files.iter().map(|change| self.standing(change));
        let standings: Vec<_> = standings.collect::<Result<_, _>>().ok()?;
        let all = |of| standings.iter().all(|(standing, _)| *standing == of);
        match (all(Standing::Applied), all(Standing::Waits)) {
            (true, false) => Some(true),
            (false, true) => Some(false),
            _ => None,
        }
    }

    /// A call's change as its record has it, and whether that came to its end.
    ///
    /// # Errors
    /// There is no record, or it says nothing to us, as one that a power cut emptied.
    fn recorded(&self, call: &AuditId) -> io::Result<(Applied, bool)> {
        let read = |state| read_most(&self.record(call, state), LONGEST_RECORD);
        let done = || read("done").map(|bytes| (bytes, true));
        let begun = || read("begun").map(|bytes| (bytes, false));
        // It may come to its end between two looks.
        let (bytes, is_whole) = done().or_else(|_| begun()).or_else(|_| done())?;
        Ok((serde_json::from_slice(&bytes)?, is_whole))
    }

    /// Every call's change as far as it came, in the order of the calls: all of one that came to its end, and of one that
    /// did not, or is under way, the files that the folder has as it leaves them.
    pub(crate) fn history(&self) -> io::Result<Vec<(AuditId, Applied)>> {
        let listed = match fs::read_dir(&self.records) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed?,
        };
        // In their order: an id begins with the place of its event in the log.
        let mut ids = BTreeSet::new();
        for entry in listed {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.rsplit_once('.'));
            let call = name.filter(|(_, state)| ["done", "begun"].contains(state));
            ids.extend(call.and_then(|(call, _)| AuditId::parse(call).ok()));
        }
        let mut calls = Vec::new();
        for call in ids {
            let (mut applied, is_whole) = match self.recorded(&call) {
                // One that came to nothing since it was listed, or whose record a power cut emptied: its outcome is unknown,
                // and the other calls are told.
                Err(_) if !self.record(&call, "done").exists() => continue,
                recorded => recorded?,
            };
            if !is_whole {
                applied.files.retain(|change| {
                    let standing = self.standing(change);
                    standing.is_ok_and(|(standing, _)| standing == Standing::Applied)
                });
            }
            calls.push((call, applied));
        }
        Ok(calls)
    }

    /// Forgets the calls whose contents are kept no more. For a writer that starts.
    pub(crate) fn prune(&self) -> io::Result<()> {
        let listed = match fs::read_dir(&self.records) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            listed => listed?,
        };
        let mut old = Vec::new();
        for entry in listed {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default().rsplit_once('.');
            let call = name.filter(|(_, state)| ["done", "begun"].contains(state));
            let call = call.and_then(|(call, _)| AuditId::parse(call).ok());
            let made = entry.metadata().and_then(|meta| meta.modified())?;
            // A clock that was set back makes nothing old.
            if let Some(call) = call.filter(|_| made.elapsed().is_ok_and(|age| age > KEPT)) {
                old.push((call, entry.path()));
            }
        }
        let Some((newest, _)) = old
            .iter()
            .max_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()))
        else {
            return Ok(());
        };
        // First: of a call that was forgotten nobody may say that it did not happen.
        if newest.as_str() > &*self.forgotten() {
            let path = self.records.join(FORGOTTEN);
            durable::put(&path, newest.as_str().as_bytes())?;
        }
        old.iter().try_for_each(|(_, path)| fs::remove_file(path))
    }

    /// The last call that was forgotten; empty where none was.
    fn forgotten(&self) -> String {
        fs::read_to_string(self.records.join(FORGOTTEN)).unwrap_or_default()
    }

    /// How far a file of a change set has come, and why writing it would be running code.
    pub(crate) fn standing(
        &self,
        change: &FileChange,
    ) -> Result<(Standing, Option<&'static str>), FileError> {
        let place = self.root.look(&change.path)?;
        let standing = if is_as(&place, change.after) {
            Standing::Applied
        } else if is_as(&place, change.before) {
            Standing::Waits
        } else {
            Standing::Changed
        };
        Ok((standing, why_it_runs(change, &place)))
    }

    /// What somebody made of a file since it was as `facts` say, with this content; none where that is not kept.
    pub(crate) fn meanwhile(
        &self,
        path: &RelPath,
        facts: Option<FileFacts>,
        was: Option<&[u8]>,
    ) -> Result<Option<Change>, FileError> {
        if was.is_some() != facts.is_some() {
            return Ok(None);
        }
        let place = self.root.look(path)?;
        let now = place.current().map(|current| &*current.content.bytes);
        let made = Change::between(path, was, now, ("", ""));
        Ok(Some(made))
    }

    fn record(&self, call: &AuditId, state: &str) -> PathBuf {
        self.records.join(format!("{call}.{state}"))
    }
}

impl Plan {
    /// What it does to each file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileChange> + Clone {
        self.files.iter().map(|(change, ..)| change)
    }
}

/// How far a file of a change set has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Standing {
    /// The folder has it as the run found it.
    Waits,
    /// The folder has it as the run left it.
    Applied,
    /// Somebody has made something else of it.
    Changed,
}

/// The folders that a path lies in, innermost first.
fn folders_above(path: &RelPath) -> impl Iterator<Item = RelPath> {
    let above = |path: &RelPath| path.split_last().map(|(folder, _)| folder);
    std::iter::successors(above(path), move |folder| above(folder))
}

/// The folders that a write to the place makes, innermost first.
fn missing_folders(place: &WriteTarget) -> impl Iterator<Item = RelPath> {
    folders_above(place.path()).take(place.missing_folders())
}

/// Whether a place has what these facts say; none: that there is no file.
fn is_as(place: &WriteTarget, facts: Option<FileFacts>) -> bool {
    let there = place.current().map(|current| {
        let is_executable = current.content.meta.mode & 0o100 != 0;
        (current.digest, is_executable)
    });
    there == facts.map(|facts| (facts.digest, facts.executable))
}

/// Why a change would be running code.
fn why_it_runs(change: &FileChange, place: &WriteTarget) -> Option<&'static str> {
    let current = place.current().map(|current| current.content.meta.mode);
    let is_executable = current.is_some_and(|mode| mode & 0o111 != 0);
    let becomes = change.after.is_some_and(|after| after.executable);
    runs_unasked(&change.path)
        .or(is_executable.then_some("the file is marked as executable"))
        .or(becomes.then_some("the file becomes executable"))
}

/// Whether neither tools run it nor anybody may execute it.
fn is_plain(file: &FileChange) -> bool {
    let mut sides = [file.before, file.after].into_iter().flatten();
    runs_unasked(&file.path).is_none() && !sides.any(|facts| facts.executable)
}

/// What a card says of files that another name is all that they get, in place of twice their content; empty for the old name.
/// What tools run, or may be executed, is shown whole.
fn moved(files: &[FileChange]) -> BTreeMap<RelPath, String> {
    let mut moved = BTreeMap::new();
    let renamed = renames(files);
    for added in files.iter().filter(|file| is_plain(file)) {
        if let Some(removed) = renamed.get(&added.path).filter(|file| is_plain(file)) {
            let (from, to) = (&removed.path, &added.path);
            moved.insert(
                to.clone(),
                format!("renames {from} to {to}; its content stays\n"),
            );
            moved.insert(from.clone(), String::new());
        }
    }
    moved
}

/// What becomes of its mode.
fn mode_words(change: &FileChange) -> Option<&'static str> {
    let was = change.before.is_some_and(|before| before.executable);
    match change.after?.executable {
        true if !was => Some("becomes executable"),
        false if was => Some("is executable no more"),
        true | false => None,
    }
}

fn verbs(change: &FileChange) -> (&'static str, &'static str) {
    match change.kind() {
        ChangeKind::Added => ("creates", "created"),
        ChangeKind::Removed => ("removes", "removed"),
        ChangeKind::Edited | ChangeKind::Mode => ("replaces", "replaced"),
    }
}

/// The files that these paths name: each is one of them, or a folder that has some.
fn chosen(files: &[FileChange], paths: &[String]) -> Result<Vec<FileChange>, ApplyError> {
    let (mut chosen, mut named) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let file = files.iter().find(|change| change.path.as_str() == path);
        let folder = path.strip_suffix('/').unwrap_or(path);
        let is_below = |change: &&FileChange| {
            let rest = change.path.as_str().strip_prefix(folder);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let found: Vec<_> = match file {
            Some(file) => vec![file],
            None => files.iter().filter(is_below).collect(),
        };
        if found.is_empty() {
            return Err(ApplyError::NotInSet(path.clone()));
        }
        for change in found {
            if !named.insert(&change.path) {
                return Err(ApplyError::Nothing);
            }
            chosen.push(change.clone());
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ignored::IgnoreTexts, onto::Onto, snapshot::Snapshot};
    use plexus_protocol::Timestamp;
    use plexus_rooted_files::Policy;
    use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::SystemTime};

    pub(super) struct Scene {
        pub(super) dir: tempfile::TempDir,
        pub(super) folder: Folder,
        pub(super) set: String,
    }

    fn write(dir: &Path, path: &str, content: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        if content.starts_with("#!") {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// A folder with `before`, and a change set that makes `after` of it.
    pub(super) fn scene(before: &[(&str, &str)], after: &[(&str, &str)]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let places = ["folder", "copy"].map(|name| dir.path().join(name));
        for (place, files) in places.iter().zip([before, after]) {
            fs::create_dir(place).unwrap();
            for (path, text) in files {
                write(place, path, text);
            }
        }
        let root = Root::open(&places[0], Policy::default()).unwrap();
        let sets = Sets::in_folder(dir.path());
        let folder = Folder::new(Arc::new(root), sets, dir.path());
        let set = kept(&folder, dir.path(), None::<Origin>);
        Scene { dir, folder, set }
    }

    pub(super) fn origin(
        made: u64,
        conversation: Option<&str>,
        onto: &[&str],
        join: bool,
    ) -> Origin {
        Origin {
            agent: None,
            made: Timestamp(made),
            conversation: conversation.map(str::to_owned),
            call: None,
            prompt: String::new(),
            onto: Onto {
                sets: onto.iter().copied().map(str::to_owned).collect(),
                join,
            },
            unfinished: false,
            limit: None,
        }
    }

    /// A change set of the folder `top/folder` to `top/copy`.
    pub(super) fn kept(folder: &Folder, top: &Path, origin: impl Into<Option<Origin>>) -> String {
        let [before, after] =
            ["folder", "copy"].map(|name| Root::open(&top.join(name), Policy::default()).unwrap());
        let snapshot = |root| Snapshot::of_copy(root, &IgnoreTexts::default(), &|| false).unwrap();
        let copy = top.join("copy");
        let set = ChangeSet::between(&snapshot(&before), &snapshot(&after), &copy).unwrap();
        let set = ChangeSet {
            origin: origin.into(),
            ..set
        };
        folder.sets.keep(&set, &before, &after).unwrap()
    }

    impl Scene {
        pub(super) fn apply(
            &self,
            call: &AuditId,
            meanwhile: impl FnOnce(&Path),
        ) -> Result<(), ApplyError> {
            let plan = self.folder.plan(&self.set, None, &|| false)?;
            meanwhile(&self.dir.path().join("folder"));
            self.folder.commit(plan, call).map(drop)
        }

        pub(super) fn undo(&self, of: &AuditId, call: &AuditId) -> Result<(), ApplyError> {
            let plan = self.folder.plan_undo(of.as_str(), &|| false)?;
            self.folder.commit(plan, call).map(drop)
        }

        pub(super) fn read(&self, path: &str) -> Option<String> {
            fs::read_to_string(self.dir.path().join("folder").join(path)).ok()
        }

        fn has(&self, path: &str) -> bool {
            self.dir.path().join("folder").join(path).exists()
        }
    }

    pub(super) fn call(number: u8) -> AuditId {
        let id = format!("evt_00000000-0000-8000-8000-0000000000{number:02}");
        AuditId::parse(&id).unwrap()
    }

    #[test]
    fn undo_removes_folders_that_the_apply_made() {
        let before = ("old/a", "a");
        let made = [("old/new/b", "b"), ("new/deep/c", "c"), ("new/d", "d")];
        let scene = scene(&[before], &[&[before], &made[..]].concat());
        scene.apply(&call(1), |_| ()).unwrap();
        assert_eq!(scene.read("new/deep/c").unwrap(), "c");
        scene.undo(&call(1), &call(2)).unwrap();
        let twice = scene.undo(&call(1), &call(9));
        assert!(matches!(twice, Err(ApplyError::AlreadyUndone)), "{twice:?}");
        assert!(
            !scene.has("new") && !scene.has("old/new"),
            "the folders went"
        );
        assert_eq!(scene.read("old/a").unwrap(), "a");
        // The undo is taken back, and somebody's file keeps its folder.
        scene.undo(&call(2), &call(3)).unwrap();
        assert_eq!(scene.read("new/deep/c").unwrap(), "c");
        write(&scene.dir.path().join("folder"), "new/deep/mine", "m");
        scene.undo(&call(3), &call(4)).unwrap();
        assert_eq!(scene.read("new/deep/mine").unwrap(), "m");
        assert!(!scene.has("new/d") && !scene.has("old/new"));
    }

    /// What was applied is there, and can be taken back.
    #[test]
    #[cfg(target_os = "linux")]
    fn applied_set_survives_a_power_cut_and_is_undone_after_it() {
        let open = |top: &Path| {
            let root = Root::open(&top.join("folder"), Policy::default()).unwrap();
            Folder::new(Arc::new(root), Sets::in_folder(top), top)
        };
        let before = |top: &Path| {
            write(top, "folder/edited", "old");
            write(top, "copy/edited", "new");
            write(top, "copy/deep/added", "new");
            let [root, copy] = ["folder", "copy"]
                .map(|name| Root::open(&top.join(name), Policy::default()).unwrap());
            let snapshot =
                |root| Snapshot::of_copy(root, &IgnoreTexts::default(), &|| false).unwrap();
            let set = ChangeSet::between(&snapshot(&root), &snapshot(&copy), &top.join("copy"));
            let sets = Sets::in_folder(top);
            sets.keep(&set.unwrap(), &root, &copy).unwrap()
        };
        let apply = |top: &Path, set: String| {
            let folder = open(top);
            let plan = folder.plan(&set, None, &|| false).unwrap();
            folder.commit(plan, &call(1)).unwrap();
        };
        let done = |top: &Path| {
            let is_new = |path: &str| fs::read(top.join(path)).is_ok_and(|text| text == b"new");
            is_new("folder/edited")
                && is_new("folder/deep/added")
                && open(top).plan_undo(call(1).as_str(), &|| false).is_ok()
        };
        // What was kept already is synced once more with its folder, and the second file's folder is the first one's.
        let again = &[2, 4, 7];
        plexus_power_cut::holds(before, |disk, set| apply(&disk.path(), set), done, again);
    }

    #[test]
    fn card_names_a_rename_in_place_of_two_contents() {
        let before = [("old", "same\n"), ("hook", "x\n"), ("none", "")];
        let after = [
            ("new", "same\n"),
            (".githooks/pre-commit", "x\n"),
            ("empty", ""),
        ];
        let scene = scene(&before, &after);
        let plan = |paths| {
            let planned = scene.folder.plan(&scene.set, paths, &|| false);
            planned.unwrap().diff
        };
        let whole = plan(None);
        let renames = "renames old to new; its content stays\n";
        assert!(whole.contains(renames), "{whole}");
        assert!(!whole.contains("same"), "{whole}");
        // What tools run is shown, and a part of a rename is no rename.
        assert!(whole.contains("+x") && whole.contains("-x"), "{whole}");
        assert!(!whole.contains("empty;"), "{whole}");
        let part = plan(Some(&["new".to_owned()]));
        assert!(
            part.contains("+same") && !part.contains("renames"),
            "{part}"
        );
        scene.apply(&call(1), |_| ()).unwrap();
        let back = scene.folder.plan_undo(call(1).as_str(), &|| false);
        let back = back.unwrap().diff;
        let renames = "renames new to old; its content stays\n";
        assert!(back.contains(renames), "{back}");
    }

    #[test]
    fn apply_skips_what_is_applied_and_names_its_undo() {
        let scene = scene(&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "2")]);
        let a = ["a".to_owned()];
        let a = Some(a.as_slice());
        let plan = |paths| scene.folder.plan(&scene.set, paths, &|| false);
        let refused = |paths| {
            let refused = plan(paths).unwrap_err();
            // As an agent has it.
            assert!(!refused.to_string().contains("undo"), "{refused}");
            scene.folder.for_owner(&scene.set, paths, refused)
        };
        scene.folder.commit(plan(a).unwrap(), &call(1)).unwrap();
        let again = refused(a);
        assert!(matches!(&again, ApplyError::AlreadyApplied(Some(by)) if *by == call(1)));
        assert!(again.to_string().contains(call(1).as_str()), "{again}");
        let rest = plan(None).unwrap();
        let rest: Vec<_> = rest.files().map(|file| file.path.as_str()).collect();
        assert_eq!(rest, ["b"]);
        scene.apply(&call(2), |_| ()).unwrap();
        // No one call's undo takes both back.
        assert!(matches!(refused(None), ApplyError::AlreadyApplied(None)));
        let again = refused(a);
        assert!(matches!(&again, ApplyError::AlreadyApplied(Some(by)) if *by == call(1)));
        // Somebody's own change is no apply.
        write(&scene.dir.path().join("folder"), "a", "mine");
        let changed = refused(None);
        assert!(matches!(&changed, ApplyError::Changed(path) if path.as_str() == "a"));
    }

    #[test]
    fn owner_alone_learns_which_set_changed_a_file() {
        let mut scene = scene(&[("a", "1")], &[("a", "2")]);
        let (folder, top) = (&scene.folder, scene.dir.path());
        let keep = |text: &str, agent: &str, onto: &[&str]| {
            write(&top.join("copy"), "a", text);
            let agent = Some(agent.to_owned());
            let origin = origin(1, None, onto, false);
            kept(folder, top, Origin { agent, ..origin })
        };
        let applied = keep("3", "one", &[]);
        let (other, strange) = (keep("4", "one", &[]), keep("5", "two", &[]));
        let unknown = std::mem::replace(&mut scene.set, applied);
        let plan = |set: &str| folder.plan(set, None, &|| false);
        let refused = |set: &str| {
            let refused = plan(set).unwrap_err();
            // As an agent has it, of its own or not.
            let words = refused.to_string();
            let names = words.contains(&*scene.set) || words.contains(call(3).as_str());
            assert!(words.starts_with("a ") && !names, "{words}");
            folder.for_owner(set, None, refused).to_string()
        };
        scene.apply(&call(1), |_| ()).unwrap();
        scene.undo(&call(1), &call(2)).unwrap();
        plan(&other).unwrap();
        scene.apply(&call(3), |_| ()).unwrap();
        // It is applied by the newest call, whose undo is named.
        let again = scene.apply(&call(4), |_| ()).unwrap_err();
        let again = folder.for_owner(&scene.set, None, again);
        assert!(matches!(&again, ApplyError::AlreadyApplied(Some(by)) if *by == call(3)));
        for set in [&other, &strange, &unknown] {
            let words = refused(set);
            for named in ["a changed since: ", &*scene.set, call(3).as_str()] {
                assert!(words.contains(named), "{named}: {words}");
            }
        }
        let later = keep("6", "two", &[&scene.set]);
        scene.undo(&call(3), &call(5)).unwrap();
        let words = refused(&later);
        let first = format!("a builds on {}: ", scene.set);
        assert!(words.starts_with(&first), "{words}");
    }

    #[test]
    fn file_in_place_of_another_names_both() {
        let scene = scene(&[("top", "1")], &[("top/in", "2")]);
        let refused = scene.apply(&call(1), |_| ()).unwrap_err().to_string();
        assert!(
            refused.contains("top/in takes the place of top, which"),
            "{refused}"
        );
    }

    #[test]
    fn folder_names_all_files_below_it() {
        let after = [
            ("a.txt", "1"),
            ("docs/b.txt", "1"),
            ("docs/in/c.txt", "1"),
            ("docs2/d.txt", "1"),
        ];
        let scene = scene(&[], &after);
        let planned = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
            let plan = scene.folder.plan(&scene.set, Some(&paths), &|| false)?;
            let files = plan.files().map(|file| file.path.as_str().to_owned());
            Ok::<Vec<_>, ApplyError>(files.collect())
        };
        let docs = ["docs/b.txt", "docs/in/c.txt"];
        assert_eq!(planned(&["docs"]).unwrap(), docs);
        assert_eq!(planned(&["docs/"]).unwrap(), docs);
        assert_eq!(planned(&["docs/in", "a.txt"]).unwrap().len(), 2);
        for none in ["doc", "a.txt/", "/", "."] {
            let refused = planned(&[none]).unwrap_err();
            assert!(matches!(refused, ApplyError::NotInSet(_)), "{none}");
        }
        let twice = planned(&["docs", "docs/b.txt"]).unwrap_err();
        assert!(matches!(twice, ApplyError::Nothing), "{twice}");
        // A file is meant before the folder of its name.
        let scene = self::scene(&[("top", "1")], &[("top/in", "2")]);
        let top = ["top".to_owned()];
        let plan = scene.folder.plan(&scene.set, Some(&top), &|| false);
        assert_eq!(plan.unwrap().files().count(), 1);
    }

    #[test]
    fn long_apply_with_an_executable_names_it() {
        let long = "line\n".repeat(LONGEST_DIFF / 5);
        let after = [
            ("a.txt", &*long),
            ("run it.py", "#!/bin/sh"),
            ("z.py", "#!"),
        ];
        let scene = scene(&[], &after);
        let planned = |paths: &[&str]| {
            let paths: Vec<_> = paths.iter().map(|path| (*path).to_owned()).collect();
            let paths = Some(&*paths).filter(|paths| !paths.is_empty());
            scene.folder.plan(&scene.set, paths, &|| false)
        };
        let words = planned(&[]).unwrap_err().to_string();
        let first = format!(
            "apply those first, and then the rest, with paths (plexusctl changes apply {} --path 'run it.py' --path z.py)",
            scene.set
        );
        assert!(words.ends_with(&first), "{words}");
        let plan = planned(&["run it.py", "z.py"]).unwrap();
        scene.folder.commit(plan, &call(1)).unwrap();
        assert!(planned(&[]).unwrap().cut, "the rest");
        // One that no card can show whole, however it is named.
        let large = self::scene(&[], &[("-z.py", &*"#!\n".repeat(LONGEST_DIFF))]);
        let refused = large.folder.plan(&large.set, None, &|| false);
        let words = refused.unwrap_err().to_string();
        assert!(words.ends_with("brings it over by hand"), "{words}");
        let export = format!("changes export {} --path=-z.py --to", large.set);
        assert!(words.contains(&export), "{words}");
        // One beside them of which a card has the size alone, as of a picture.
        let uncompared = "x".repeat((1 << 20) + 1);
        let beside = self::scene(&[], &[("a.txt", &*uncompared), ("z.py", "#!")]);
        let refused = beside.folder.plan(&beside.set, None, &|| false);
        let words = refused.unwrap_err().to_string();
        let why = "a card cannot show all of it: apply those first";
        assert!(words.contains(why), "{words}");
        // Those that may be executed stand first, of what a card can show.
        let short = self::scene(&[], &[("a.txt", "a"), ("z.py", "#!")]);
        let plan = short.folder.plan(&short.set, None, &|| false).unwrap();
        let paths: Vec<_> = plan.files().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["z.py", "a.txt"]);
    }

    #[test]
    fn undo_names_the_file_that_changed_since() {
        let scene = scene(&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "2")]);
        scene.apply(&call(1), |_| ()).unwrap();
        write(&scene.dir.path().join("folder"), "a", "mine");
        let changed = scene.undo(&call(1), &call(2)).unwrap_err();
        let words = changed.to_string();
        assert!(
            words.starts_with("a changed since it was applied"),
            "{words}"
        );
        let ApplyError::ChangedSince { set, .. } = changed else {
            panic!("{changed:?}")
        };
        assert!(
            words.contains(&format!("plexusctl changes {set}")),
            "{words}"
        );
        assert_eq!(scene.read("b").unwrap(), "2");
        // The control: once it is as it was applied, both are taken back.
        write(&scene.dir.path().join("folder"), "a", "2");
        scene.undo(&call(1), &call(3)).unwrap();
        assert_eq!(scene.read("b").unwrap(), "1");
    }

    #[test]
    fn partly_failed_apply_is_undone_as_far_as_it_came() {
        let after = [("a", "2"), ("made/b", "b"), ("z", "2")];
        let scene = scene(&[("a", "1"), ("z", "1")], &after);
        let failed = scene.apply(&call(1), |folder| write(folder, "z", "mine"));
        let Err(ApplyError::Partly { done, all, .. }) = failed else {
            panic!("{failed:?}")
        };
        assert_eq!((done, all), (2, 3));
        assert_eq!(scene.folder.happened(&call(1)), None);
        let there = || {
            let calls = scene.folder.history().unwrap().into_iter();
            let files = calls.map(|(call, applied)| (call, applied.files));
            let paths =
                |files: Vec<FileChange>| files.iter().map(|file| file.path.to_string()).collect();
            files
                .map(|(call, files)| (call, paths(files)))
                .collect::<Vec<(_, Vec<_>)>>()
        };
        let came = ["a", "made/b"].map(str::to_owned).to_vec();
        assert_eq!(there(), [(call(1), came)]);
        // What somebody changed.
        let plan = scene.folder.plan_undo(call(1).as_str(), &|| false);
        let left = plan.unwrap().left.into_iter().map(|(path, _)| path);
        assert_eq!(left.collect::<Vec<_>>(), [RelPath::parse("z").unwrap()]);
        scene.undo(&call(1), &call(2)).unwrap();
        assert_eq!(scene.read("a").unwrap(), "1");
        assert_eq!(scene.read("z").unwrap(), "mine");
        assert!(!scene.has("made"));
        assert_eq!(there()[0], (call(1), Vec::new()));
        let twice = scene.undo(&call(1), &call(3));
        assert!(matches!(twice, Err(ApplyError::NotUndoable)), "{twice:?}");
        // A record that a power cut emptied costs no other call.
        let (listed, emptied) = (there(), scene.folder.record(&call(9), "begun"));
        fs::write(emptied, "").unwrap();
        assert_eq!(there(), listed);
        assert_eq!(scene.folder.happened(&call(9)), None);
    }

    #[test]
    fn apply_that_fails_or_dies_is_settled_by_its_files() {
        let scene = scene(&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "2")]);
        let set = format!("changes/{}/set.json", scene.set);
        let away = |folder: &Path| {
            let set = folder.parent().unwrap().join(&set);
            fs::rename(&set, set.with_extension("away")).unwrap();
        };
        // After its record.
        let failed = scene.apply(&call(1), away);
        assert!(matches!(failed, Err(ApplyError::Set(_))), "{failed:?}");
        assert_eq!(scene.folder.happened(&call(1)), Some(false));
        let set = scene.dir.path().join(set);
        fs::rename(set.with_extension("away"), &set).unwrap();
        scene.apply(&call(2), |_| ()).unwrap();
        // It died before it could say that it was done; then somebody took one of two files back.
        let record = |state| scene.folder.record(&call(2), state);
        fs::rename(record("done"), record("begun")).unwrap();
        assert_eq!(scene.folder.happened(&call(2)), Some(true));
        write(&scene.dir.path().join("folder"), "a", "1");
        assert_eq!(scene.folder.happened(&call(2)), None);
        write(&scene.dir.path().join("folder"), "b", "1");
        assert_eq!(scene.folder.happened(&call(2)), Some(false));
    }

    #[test]
    fn old_records_go_and_leave_their_calls_in_doubt() {
        let scene = scene(&[], &[("a", "a")]);
        scene.apply(&call(2), |_| ()).unwrap();
        scene.folder.prune().unwrap();
        assert_eq!(scene.folder.happened(&call(2)), Some(true), "the control");
        let record = File::options()
            .write(true)
            .open(scene.folder.record(&call(2), "done"));
        let long_ago = SystemTime::now() - KEPT - std::time::Duration::from_secs(60);
        record.unwrap().set_modified(long_ago).unwrap();
        scene.folder.prune().unwrap();
        assert!(scene.folder.history().unwrap().is_empty());
        let happened = [1, 2, 3].map(|number| scene.folder.happened(&call(number)));
        assert_eq!(happened, [None, None, Some(false)]);
    }
}
