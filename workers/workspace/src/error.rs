//! Why a call to the workspace was not answered or carried out.

use plexus_rooted_files::{FileError, PathError, RelPath, WriteError};
use thiserror::Error;

use crate::{EditError, MAX_CHANGE_BYTES, Suggestion};

/// A call that did not succeed. Nothing was changed, except for [`WorkspaceError::Unconfirmed`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WorkspaceError {
    /// The file system, or a rule about paths, stood in the way.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing of that name, and what was meant may be told.
    #[error("{path} does not exist; {suggestion}")]
    NotFound {
        /// What was asked for.
        path: RelPath,
        /// What may have been meant.
        suggestion: Suggestion,
    },
    /// No file is made under such a name.
    #[error("{path} is not made: {suggestion}; choose the name that you mean")]
    OddName {
        /// What was to be made.
        path: RelPath,
        /// What may have been meant.
        suggestion: Suggestion,
    },
    /// The input fits its schema but makes no sense.
    #[error("{0}")]
    InvalidInput(String),
    /// An edit does not fit the file.
    #[error("edit {number}: {error}")]
    Edit {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        error: EditError,
    },
    /// More than the store could keep of it.
    #[error(
        "this change of {path} is too large: its content before ({before} bytes) and after it come to at most \
         {MAX_CHANGE_BYTES} bytes together"
    )]
    TooLarge {
        /// The file.
        path: RelPath,
        /// Size of what is there, in bytes.
        before: usize,
    },
    /// The path lies outside the grant's constraint. Said without saying whether it exists.
    #[error("outside what the grant allows")]
    ConstraintMiss,
    /// The world is not as the input or the plan assumed. Nothing was written.
    #[error("{message}")]
    PreconditionChanged {
        /// `digest`: other content; `moved`: another place, kind or mode.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// The change cannot be taken back. Nothing was written.
    #[error("{message}")]
    NotUndoable {
        /// `not_found`, `not_kept`, `not_done`, `under_way`, `damaged`.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// Written, but the system did not confirm that the change would survive a power cut.
    #[error("{0}")]
    Unconfirmed(FileError),
}

impl From<PathError> for WorkspaceError {
    fn from(error: PathError) -> Self {
        Self::File(error.into())
    }
}

impl From<WriteError> for WorkspaceError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Moved { what, .. } => Self::PreconditionChanged {
                reason: what,
                message: error.to_string(),
            },
            WriteError::Before(error) => Self::File(error),
            WriteError::Unconfirmed(error) => Self::Unconfirmed(error),
        }
    }
}
