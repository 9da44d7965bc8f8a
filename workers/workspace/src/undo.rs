//! Taking a change back: a write whose content comes from the [`Store`].
//!
//! ```text
//! id ─▶ entry ─▶ not taken back yet? ─▶ present content = what the change left? ─▶ Undo: preview, token, rating
//!                                        └─ no: the world has moved, nothing is done
//! ```
//! Invariants: what was changed since by anybody is never overwritten; a file that the change created goes, with the
//! folders made for it as far as they are empty; an undo is kept like any change, so that it can be taken back.

use plexus_protocol::AuditId;
use plexus_rooted_files::{Digest, FileError, PathRule, RelPath, WriteTarget};
use serde::{Deserialize, Serialize};

use crate::{
    Before, CallRecord, Change, KeptEntry, State, Store, StoreError, Workspace, WorkspaceError,
    plan,
};

/// Which change to take back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoInput {
    /// `undo` of the answer to the change.
    pub id: String,
    /// The file that it changed, to be sure.
    pub path: Option<String>,
}

/// What was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoOutput {
    /// Always true: a failure is an error.
    pub ok: bool,
    /// The file.
    pub relative_path: RelPath,
    /// Whether it is gone, because the change had created it.
    pub removed: bool,
    /// SHA-256 of its content, where it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// Where a change is kept, and as what.
#[derive(Clone, Debug)]
pub struct Keeping<'s> {
    /// The store.
    pub store: &'s Store,
    /// The event of its intent.
    pub call: AuditId,
    /// The change that it takes back.
    pub undoes: Option<AuditId>,
}

/// An undo, computed and not done.
#[derive(Debug)]
pub struct Undo {
    place: WriteTarget,
    entry: KeptEntry,
    content: Option<Vec<u8>>,
    change: Change,
    runs_because: Option<&'static str>,
}

impl Workspace {
    /// Computes an undo. Changes nothing.
    ///
    /// # Errors
    /// [`WorkspaceError::ConstraintMiss`] for a file outside the rule; [`WorkspaceError::NotUndoable`] with the reason;
    /// [`WorkspaceError::PreconditionChanged`] where the file is not as the change left it; [`WorkspaceError::File`].
    pub fn plan_undo(
        &self,
        store: &Store,
        input: &UndoInput,
        rule: PathRule<'_>,
    ) -> Result<Undo, WorkspaceError> {
        let not = |reason, message: &str| WorkspaceError::NotUndoable {
            reason,
            message: message.to_owned(),
        };
        let unknown = || not("no_change", "no change of this id is known here");
        let call = AuditId::parse(&input.id).map_err(|_| unknown())?;
        let (entry, state) = match store.known(&call) {
            CallRecord::Entry(entry, state) => (*entry, state),
            CallRecord::Never => return Err(unknown()),
            CallRecord::Forgotten => {
                return Err(not(
                    "not_kept",
                    "what this change replaced is not, or no longer, kept",
                ));
            }
        };
        let path = self.allowed(entry.path.clone(), rule)?;
        if self.root.is_hidden(&path) {
            return Err(unknown());
        }
        if let Some(named) = &input.path
            && RelPath::parse_file(named)? != path
        {
            return Err(WorkspaceError::InvalidInput(
                "the change of this id was to another file".to_owned(),
            ));
        }
        match state {
            State::Done | State::Lost => {}
            State::Begun => return Err(not("under_way", "this change is still under way")),
            State::Not => return Err(not("not_done", "this change did not happen")),
        }
        if store.undone_by(&call)?.is_some() {
            // Not by what: its id is the key to taking that back, and it may have been the owner's own act.
            return Err(WorkspaceError::PreconditionChanged {
                reason: "already_undone",
                message: "this change was taken back already".to_owned(),
            });
        }
        let place = self.root.look(&path)?;
        if place.digest().is_none() && entry.after.is_some() && store.before(&entry)?.is_none() {
            return Err(WorkspaceError::PreconditionChanged {
                reason: "gone_already",
                message: format!("{path}, which this change made, is gone already"),
            });
        }
        if place.digest() != entry.after {
            let now = match place.digest() {
                None => "it is gone",
                Some(_) if entry.after.is_none() => "something is there again",
                Some(_) => "it has other content",
            };
            return Err(WorkspaceError::PreconditionChanged {
                reason: "changed_since",
                message: format!("{path} is not as this change left it: {now}"),
            });
        }
        let content = store.before(&entry)?;
        // Entries of an earlier build held more.
        if content.as_ref().map_or(0, Vec::len) > plan::room_beside(&place)? {
            return Err(plan::too_large(&place));
        }
        let current = place.current();
        let change = Change::between(
            &path,
            current.map(|current| current.content.bytes.as_slice()),
            content.as_deref(),
            if content.is_some() {
                ("restores", "restored")
            } else {
                ("removes", "removed")
            },
        );
        let is_executable = current.is_some_and(|current| current.content.meta.mode & 0o111 != 0);
        let runs_because = self
            .runs_unasked(&path)
            .or(is_executable.then_some("the file is marked as executable"));
        Ok(Undo {
            place,
            entry,
            content,
            change,
            runs_because,
        })
    }

    /// Carries an undo out.
    ///
    /// # Errors
    /// As [`Workspace::commit`].
    pub fn commit_undo(
        &self,
        undo: &Undo,
        keeping: Option<Keeping<'_>>,
    ) -> Result<UndoOutput, WorkspaceError> {
        let folders = undo.entry.ready.folders;
        self.change(&undo.place, undo.content.as_deref(), folders, keeping)?;
        Ok(UndoOutput {
            ok: true,
            relative_path: undo.path().clone(),
            removed: undo.content.is_none(),
            digest: undo.content.as_deref().map(Digest::of),
        })
    }

    /// Makes a change at `place`: to `after`, or to nothing and then as many of the folders above it as `folders` says.
    pub(crate) fn change(
        &self,
        place: &WriteTarget,
        after: Option<&[u8]>,
        folders: usize,
        keeping: Option<Keeping<'_>>,
    ) -> Result<(), WorkspaceError> {
        let note = |ready: &plexus_rooted_files::Ready| -> Result<(), FileError> {
            let Some(Keeping {
                store,
                call,
                undoes,
            }) = &keeping
            else {
                return Ok(());
            };
            let current = place.current();
            let entry = KeptEntry {
                call: call.clone(),
                path: place.path().clone(),
                before: current.map(|current| Before {
                    digest: current.digest,
                    inode: current.content.meta.identity.inode,
                }),
                after: after.map(Digest::of),
                ready: ready.clone(),
                undoes: undoes.clone(),
            };
            let before = current.map(|current| current.content.bytes.as_slice());
            store
                .begin(&entry, before, after)
                .map_err(|error| FileError::NotKept(error.to_string()))
        };
        let done = match after {
            Some(content) => self.root.put_noting(place, content, note).map(drop),
            None => self.root.remove_noting(place, folders, note),
        };
        let done = done.map_err(WorkspaceError::from);
        if let Some(Keeping { store, call, .. }) = &keeping {
            match &done {
                // If it cannot be noted, the next writer finds out what happened.
                Ok(()) | Err(WorkspaceError::Unconfirmed(_)) => drop(store.finish(call)),
                Err(_) => store.discard(call),
            }
        }
        done
    }
}

impl Undo {
    /// The file.
    #[must_use]
    pub const fn path(&self) -> &RelPath {
        self.place.path()
    }

    /// The change that is taken back.
    #[must_use]
    pub const fn of(&self) -> &AuditId {
        &self.entry.call
    }

    /// Stands for everything the plan assumed: the place as it is, and what it becomes.
    #[must_use]
    pub fn state_token(&self) -> Digest {
        let after = self.after().map_or([0; 32], |digest| *digest.as_bytes());
        Digest::of(
            &[
                self.place.token().as_bytes().as_slice(),
                &after,
                self.entry.call.as_str().as_bytes(),
            ]
            .concat(),
        )
    }

    /// Digest of what is there now; `None` if nothing is.
    #[must_use]
    pub fn before(&self) -> Option<Digest> {
        self.place.digest()
    }

    /// Digest of what would be there.
    #[must_use]
    pub fn after(&self) -> Option<Digest> {
        self.content.as_deref().map(Digest::of)
    }

    /// What would change, for the owner's eyes.
    #[must_use]
    pub const fn change(&self) -> &Change {
        &self.change
    }

    /// Why this amounts to running code, if it does.
    #[must_use]
    pub const fn runs_because(&self) -> Option<&'static str> {
        self.runs_because
    }
}

impl From<StoreError> for WorkspaceError {
    fn from(error: StoreError) -> Self {
        Self::NotUndoable {
            reason: match error {
                StoreError::Io(_) => "not_kept",
                StoreError::Damaged => "damaged",
            },
            message: error.to_string(),
        }
    }
}
