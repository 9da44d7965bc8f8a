//! Why a question about the history has no answer.

use plexus_ipc::worker::SourceError;

/// The field that a constraint may narrow.
pub(crate) const FIELD: &str = "path";

/// A question without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// Nothing of that name, or nothing that may be seen.
    #[error("{0}")]
    NotFound(String),
    /// The input says nothing that can be looked up.
    #[error("{0}")]
    Invalid(String),
    /// Outside of what the grant allows.
    #[error("outside of what the grant allows")]
    Miss,
    /// More than is read.
    #[error("{0}")]
    TooLarge(String),
    /// Not text.
    #[error("{0}")]
    NotText(String),
    /// The input names no path below the folder.
    #[error("{0}")]
    Path(String),
    /// The repository leads out of its folder, or is of a kind that is not read.
    #[error("{0}")]
    Refused(String),
    /// The repository is damaged, or cannot be read.
    #[error("{0}")]
    Broken(String),
    /// The system does not let Plexus read the folder.
    #[error("the system does not let Plexus read the repository")]
    Denied,
    /// Nobody waits any more.
    #[error("nobody waits for it any more")]
    Over,
}

impl From<GitError> for SourceError {
    fn from(error: GitError) -> Self {
        let text = error.to_string();
        match error {
            GitError::NotFound(_) => Self::transport("not_found", text),
            GitError::Invalid(_) => Self::invalid(text),
            GitError::Miss => Self::constraint_miss(FIELD),
            GitError::TooLarge(_) => Self::transport("too_large", text),
            GitError::NotText(_) => Self::transport("not_text", text),
            GitError::Path(_) => Self::transport("path_confinement", text),
            GitError::Refused(_) => Self::transport("leads_out", text),
            GitError::Broken(_) => Self::transport("damaged", text),
            GitError::Denied => Self::denied(text),
            GitError::Over => Self::transport("over", text),
        }
    }
}
