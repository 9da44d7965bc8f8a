//! A change set into the folder, and back.
//!
//! ```text
//! change set ─▶ each file is as the run found it? ─▶ Plan: differences, token, rating ─▶ record ─▶ files ─▶ record: done
//!                                                                                          └ undo: the same, reversed
//! ```
//! Invariants: every file is looked at before the first one is changed; a file that is not as planned ends the change
//! there, and the answer says how far it came; what an undo needs is on disk before the first file changes.
//!
//! Must not know: frames, agents, grants, how a run is made.

use crate::{
    change_set::{ChangeKind, ChangeSet, FileChange, SetError, Sets, read_most, write_once},
    snapshot::FileFacts,
};
use plexus_protocol::AuditId;
use plexus_rooted_files::{
    Change, Digest, FileError, RelPath, Root, WriteError, WriteTarget, runs_unasked,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

/// Most files of one apply, and most bytes of their contents before and after.
const MOST_FILES: usize = 500;
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// Most differences that are made for a card, which shows as much.
const LONGEST_DIFF: usize = 256 * 1024;
/// Longest record, in bytes.
const LONGEST_RECORD: u64 = 32 * 1024 * 1024;

/// What was applied by one call. Its file is named after the call, and ends in `done` once it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Applied {
    /// Whose contents these are.
    pub(crate) set: String,
    pub(crate) files: Vec<FileChange>,
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
    #[error("nothing of it can be applied: only modes of files changed, or what is named twice")]
    Nothing,
    #[error("{0} changed since; nothing was done. Run again, or apply the other files with paths")]
    Changed(RelPath),
    #[error("more than 500 files or 64 MiB at once: apply it in parts, with paths")]
    TooMuch,
    #[error(
        "it has files that tools run, and more than one card can show: apply it in parts, with paths"
    )]
    NotShown,
    #[error("cancelled")]
    Over,
    #[error("every file is changed, but what an undo needs could not be put in place: {0}")]
    NotKept(io::Error),
    #[error("no change with this id is kept, or it did not come to its end")]
    NotUndoable,
    #[error("{path} could not be changed: {why}; {done} of {all} files are changed")]
    Partly {
        path: RelPath,
        why: String,
        done: usize,
        all: usize,
    },
    #[error("what is kept for undo: {0}")]
    Io(#[from] io::Error),
}

/// A change, computed and not made.
#[derive(Debug)]
pub(crate) struct Plan {
    set: String,
    files: Vec<(FileChange, WriteTarget, Option<Vec<u8>>)>,
    pub(crate) token: Digest,
    pub(crate) diff: String,
    /// A part of the differences is not shown.
    pub(crate) cut: bool,
    /// The files that tools run, and why.
    pub(crate) runs: Vec<(RelPath, &'static str)>,
}

/// The folder that change sets are applied to, and what is kept of that.
#[derive(Debug)]
pub(crate) struct Folder {
    root: std::sync::Arc<Root>,
    sets: Sets,
    records: PathBuf,
}

impl Folder {
    pub(crate) fn new(root: std::sync::Arc<Root>, sets: Sets, scratch: &Path) -> Self {
        Self {
            root,
            sets,
            records: scratch.join("applied"),
        }
    }

    /// Computes what applying a change set, or some files of it, would do.
    pub(crate) fn plan(
        &self,
        id: &str,
        paths: Option<&[String]>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Plan, ApplyError> {
        let ChangeSet { files, .. } = self.sets.get(id)?;
        let files = match paths {
            None => files,
            Some(paths) => chosen(&files, paths)?,
        };
        self.planned(id.to_owned(), files, is_over)
    }

    /// Computes what taking back a call's change would do.
    pub(crate) fn plan_undo(
        &self,
        call: &str,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Plan, ApplyError> {
        let call = AuditId::parse(call).map_err(|_| ApplyError::NotUndoable)?;
        let bytes = read_most(&self.record(&call, "done"), LONGEST_RECORD);
        let bytes = bytes.map_err(|_| ApplyError::NotUndoable)?;
        let applied: Applied =
            serde_json::from_slice(&bytes).map_err(|_| ApplyError::NotUndoable)?;
        let files = applied.files.iter().map(FileChange::reversed).collect();
        match self.planned(applied.set, files, is_over) {
            Err(ApplyError::Set(_)) => Err(ApplyError::NotUndoable),
            planned => planned,
        }
    }

    fn planned(
        &self,
        set: String,
        mut files: Vec<FileChange>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Plan, ApplyError> {
        files.retain(|change| change.kind() != ChangeKind::Mode);
        if files.len() > MOST_FILES {
            return Err(ApplyError::TooMuch);
        }
        // What tools run stands first, so that a card shows it whatever else there is.
        files.sort_by_key(|change| runs_unasked(&change.path).is_none());
        let (mut planned, mut held) = (Vec::new(), 0);
        let (mut tokens, mut diff) = (Vec::new(), String::new());
        let (mut cut, mut runs) = (false, Vec::new());
        for change in files {
            if is_over() {
                return Err(ApplyError::Over);
            }
            let place = self.root.look(&change.path)?;
            if place.digest() != change.before.map(|before| before.digest) {
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
            if diff.len() < LONGEST_DIFF {
                let shown =
                    Change::between(&change.path, before, content.as_deref(), verbs(&change));
                match shown.diff {
                    Some(text) => diff.push_str(&text),
                    None => diff.push_str(&format!("{}\n", shown.headline)),
                }
                cut |= shown.is_cut;
            }
            cut |= diff.len() >= LONGEST_DIFF;
            let is_executable = current.is_some_and(|current| current.meta.mode & 0o111 != 0);
            let why = runs_unasked(&change.path)
                .or(is_executable.then_some("the file is marked as executable"));
            runs.extend(why.map(|why| (change.path.clone(), why)));
            tokens.extend_from_slice(place.token().as_bytes());
            if let Some(after) = &change.after {
                tokens.extend_from_slice(after.digest.as_bytes());
            }
            planned.push((change, place, content));
        }
        if planned.is_empty() {
            return Err(ApplyError::Nothing);
        }
        if cut && !runs.is_empty() {
            return Err(ApplyError::NotShown);
        }
        Ok(Plan {
            set,
            files: planned,
            token: Digest::of(&tokens),
            diff,
            cut,
            runs,
        })
    }

    fn content(&self, set: &str, facts: &FileFacts) -> Result<Vec<u8>, ApplyError> {
        let content = self.sets.content(set, &facts.digest)?;
        Ok(content.ok_or(SetError::Damaged)?)
    }

    /// Makes a change, in the order of its paths. `call` names it for an undo.
    pub(crate) fn commit(&self, plan: Plan, call: &AuditId) -> Result<Vec<FileChange>, ApplyError> {
        let files: Vec<_> = plan
            .files
            .iter()
            .map(|(change, ..)| change.clone())
            .collect();
        let mut made = DirBuilder::new();
        made.recursive(true).mode(0o700).create(&self.records)?;
        for (_, place, _) in &plan.files {
            // The set has what was there when the run ended; this is what is there now, which an undo brings back.
            if let Some(current) = place.current() {
                let bytes = &current.content.bytes;
                self.sets.add(&plan.set, &current.digest, bytes)?;
            }
        }
        let applied = Applied {
            set: plan.set,
            files: files.clone(),
        };
        let record = serde_json::to_vec(&applied).map_err(io::Error::other)?;
        write_once(&self.record(call, "begun"), &record)?.sync_all()?;
        self.sets.renew(&applied.set)?;
        File::open(&self.records)?.sync_all()?;
        for (done, (change, place, content)) in plan.files.iter().enumerate() {
            let changed = match content {
                Some(content) => self.root.put(place, content).map(|_| ()),
                None => self.root.remove_noting(place, 0, |_| Ok(())),
            };
            match changed {
                Ok(()) | Err(WriteError::Unconfirmed(_)) => {}
                Err(error) => {
                    if done == 0 {
                        fs::remove_file(self.record(call, "begun"))?;
                    }
                    if let (WriteError::Moved { .. }, 0) = (&error, done) {
                        return Err(ApplyError::Changed(change.path.clone()));
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
        fs::rename(self.record(call, "begun"), self.record(call, "done"))
            .map_err(ApplyError::NotKept)?;
        Ok(files)
    }

    /// Whether a call's change came to its end; none where it did not, or nobody can tell how far it came.
    pub(crate) fn happened(&self, call: &AuditId) -> Option<bool> {
        if self.record(call, "done").exists() {
            Some(true)
        } else if self.record(call, "begun").exists() {
            None
        } else {
            Some(false)
        }
    }

    fn record(&self, call: &AuditId, state: &str) -> PathBuf {
        self.records.join(format!("{call}.{state}"))
    }
}

impl Plan {
    /// What it does to each file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileChange> {
        self.files.iter().map(|(change, ..)| change)
    }
}

fn verbs(change: &FileChange) -> (&'static str, &'static str) {
    match change.kind() {
        ChangeKind::Added => ("creates", "created"),
        ChangeKind::Removed => ("removes", "removed"),
        ChangeKind::Edited | ChangeKind::Mode => ("replaces", "replaced"),
    }
}

fn chosen(files: &[FileChange], paths: &[String]) -> Result<Vec<FileChange>, ApplyError> {
    let mut chosen = Vec::new();
    for path in paths {
        let found = files.iter().find(|change| change.path.as_str() == path);
        let found = found.ok_or_else(|| ApplyError::NotInSet(path.clone()))?;
        if chosen.contains(found) {
            return Err(ApplyError::Nothing);
        }
        chosen.push(found.clone());
    }
    Ok(chosen)
}
