//! What a copy begins with beyond the folder: what earlier runs changed.
//!
//! ```text
//! copy of the folder ─▶ the change sets, in their order ─▶ the copy of this run
//! ```
//! Invariants: a change set counts for the agent alone whose run made it; what the owner hides is put onto no copy; two
//! change sets that make different things of one file are an error, and no copy.
//!
//! Must not know: which tasks there are, who needs whom.

use crate::{
    change_set::{FileChange, SetError, Sets},
    snapshot::{FileFacts, Snapshot, leave_free},
};
use plexus_rooted_files::{RelPath, Root};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// The change sets that a run begins with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Onto {
    /// Their ids, in the order in which they count.
    pub(crate) sets: Vec<String>,
    /// Whether the run's own change set has what they changed, too.
    pub(crate) join: bool,
}

/// Why a copy cannot begin with them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OntoError {
    #[error(transparent)]
    Set(#[from] SetError),
    #[error(
        "{earlier} and {later} make different things of {path}: have one of the two runs begin with the other's change set"
    )]
    Conflict {
        path: RelPath,
        earlier: String,
        later: String,
    },
    #[error("the copy: {0}")]
    Copy(#[from] io::Error),
}

impl Onto {
    /// Puts them onto a copy that was just made of `folder`, of which `before` says what it held. From then on `before` says
    /// what the run's own change set counts from. Answers with the files that somebody changed in the folder since: the copy
    /// has what the earlier run made of them.
    ///
    /// # Errors
    /// [`OntoError`]; the copy is of no use then.
    pub(crate) fn put(
        &self,
        (sets, agent): (&Sets, Option<&str>),
        folder: &Root,
        copy: &Path,
        before: &mut Snapshot,
    ) -> Result<Vec<RelPath>, OntoError> {
        let made = self.made(sets, agent, folder)?;
        // What goes makes room for a folder of its name.
        let (gone, there): (Vec<_>, Vec<_>) = made
            .iter()
            .partition(|(_, (change, _))| change.after.is_none());
        let mut changed = Vec::new();
        for (path, (change, set)) in gone.into_iter().chain(there) {
            let now = before.files.get(path).copied();
            if now != change.after {
                if now != change.before {
                    changed.push(path.clone());
                }
                let at = copy.join(path.as_str());
                match change.after {
                    None => removed(copy, &at)?,
                    Some(after) => {
                        let content = sets.content(set, &after.digest)?;
                        written(copy, &at, &content.ok_or(SetError::Damaged)?, after)?;
                    }
                }
            }
            let counts = match (self.join, now == change.after) {
                (true, false) => change.before,
                (true, true) | (false, _) => change.after,
            };
            match counts {
                Some(facts) => before.files.insert(path.clone(), facts),
                None => before.files.remove(path),
            };
        }
        Ok(changed)
    }

    /// What all of them together make of each file, with the change set that has its content.
    fn made<'s>(
        &'s self,
        sets: &Sets,
        agent: Option<&str>,
        folder: &Root,
    ) -> Result<BTreeMap<RelPath, (FileChange, &'s str)>, OntoError> {
        let mut made = BTreeMap::<RelPath, (FileChange, &str)>::new();
        for id in &self.sets {
            let id = id.as_str();
            let set = sets.get(id)?;
            let of = set.origin.as_ref().map(|origin| origin.agent.as_deref());
            if of != Some(agent) {
                return Err(SetError::Unknown.into());
            }
            for change in set.files {
                if folder.is_hidden(&change.path) {
                    continue;
                }
                match made.get_mut(&change.path) {
                    None => drop(made.insert(change.path.clone(), (change, id))),
                    Some((earlier, of)) if earlier.after == change.before => {
                        (earlier.after, *of) = (change.after, id);
                    }
                    Some((earlier, _)) if earlier.after == change.after => {}
                    Some((_, of)) => {
                        return Err(OntoError::Conflict {
                            path: change.path,
                            earlier: (*of).to_owned(),
                            later: id.to_owned(),
                        });
                    }
                }
            }
        }
        Ok(made)
    }
}

fn removed(copy: &Path, at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        // The folder has it no more either.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    // A file may have taken the place of a folder that this leaves empty.
    let above = at.ancestors().skip(1).take_while(|folder| *folder != copy);
    let _ = above.map(fs::remove_dir).take_while(Result::is_ok).count();
    Ok(())
}

/// Writes a file of a copy, on which no program has worked yet: nothing in it is a link.
fn written(copy: &Path, at: &Path, content: &[u8], facts: FileFacts) -> Result<(), OntoError> {
    leave_free(copy, facts.bytes)?;
    if let Some(folder) = at.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    // Anew, with the mode that it is to have.
    match fs::remove_file(at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed?,
    }
    let mode = if facts.executable { 0o700 } else { 0o600 };
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(mode);
    Ok(options.open(at)?.write_all(content)?)
}
