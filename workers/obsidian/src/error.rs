//! Why a call to the vault has no answer.

use plexus_rooted_files::{FileError, PathError};
use thiserror::Error;

/// A call that was not answered. Nothing was changed: this connector cannot change anything.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The file system, or a rule about paths, stood in the way.
    #[error(transparent)]
    File(#[from] FileError),
    /// The input fits its schema but makes no sense.
    #[error("{0}")]
    InvalidInput(String),
    /// What the input resolved to lies outside the grant's constraint. Said without saying whether it exists.
    #[error("outside what the grant allows")]
    ConstraintMiss,
    /// The walk that gathers the vault's names broke off: a fault of this program.
    #[error("the walk over the vault's names broke off")]
    WalkBroken,
}

impl From<PathError> for VaultError {
    fn from(error: PathError) -> Self {
        Self::File(error.into())
    }
}
