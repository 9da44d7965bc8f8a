//! The errors of this crate, and the reason words by which clients tell them apart.

use nix::errno::Errno;
use thiserror::Error;

use crate::{PathError, RelPath};

/// Why a path was not read, listed or planned. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The text is no path below the root.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A component is a symbolic link; where it leads was not looked at.
    #[error("{0} is or lies behind a symbolic link; links are not followed")]
    Symlink(RelPath),
    /// The file has a second name, which may lie outside the root.
    #[error("{0} has more than one hard link; its other name may lie outside the folder")]
    HardLink(RelPath),
    /// Nothing of that name, or it is hidden.
    #[error("{0} does not exist")]
    NotFound(RelPath),
    /// A directory, FIFO, socket or device where a file is needed.
    #[error("{path} is {what}, not a file")]
    NotAFile {
        /// What was asked for.
        path: RelPath,
        /// What is there, with its article.
        what: &'static str,
    },
    /// A file where a directory is needed.
    #[error("{0} is a file, not a folder")]
    NotADirectory(RelPath),
    /// Not text in an encoding we read.
    #[error("{path} is not text: {what}")]
    NotText {
        /// What was asked for.
        path: RelPath,
        /// What it seems to be.
        what: String,
    },
    /// More bytes, or more directory entries, than are taken.
    #[error("{path} is too large: {size} {unit}, at most {limit} are read")]
    TooLarge {
        /// What was asked for.
        path: RelPath,
        /// What was found.
        size: u64,
        /// What is taken.
        limit: u64,
        /// What is counted: `bytes` or `entries`.
        unit: &'static str,
    },
    /// Only a placeholder of a cloud service is on this disk; reading would fetch it over the network.
    #[error("{0} is not downloaded to this machine")]
    NotDownloaded(RelPath),
    /// Another program kept writing the file while it was read.
    #[error("{0} kept changing while it was read")]
    Changing(RelPath),
    /// The operating system, or the worker's cage, said no.
    #[error("no permission for {0}")]
    Permission(RelPath),
    /// What the change would replace cannot be kept.
    #[error("what it would replace cannot be kept ({0}), so nothing was changed")]
    NotKept(String),
    /// Nobody waits for the answer any more.
    #[error("the time was over before the answer was complete")]
    Over,
    /// Any other failure of the operating system.
    #[error("{path}: {source}")]
    Io {
        /// What was asked for.
        path: RelPath,
        /// What the system said.
        source: Errno,
    },
}

impl FileError {
    /// The word for `detail.reason`. Clients branch on it (docs/protocol/errors.md).
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Path(PathError::NotAFileName) | Self::NotAFile { .. } => "not_a_file",
            Self::Path(_) => "path_confinement",
            Self::Symlink(_) => "symlink",
            Self::HardLink(_) => "hard_link",
            Self::NotFound(_) => "not_found",
            Self::NotText { .. } => "not_text",
            Self::TooLarge { .. } => "too_large",
            Self::NotADirectory(_) => "not_a_directory",
            Self::NotDownloaded(_) => "not_downloaded",
            Self::Changing(_) => "changing",
            Self::Permission(_) => "permission",
            Self::NotKept(_) => "not_kept",
            Self::Over => "over",
            Self::Io { .. } => "io",
        }
    }

    /// The error for a failed system call on `path`.
    pub(crate) fn from_errno(path: &RelPath, errno: Errno) -> Self {
        match errno {
            // Some file systems take shorter names than NAME_MAX: such a name cannot exist there.
            Errno::ENOENT | Errno::ENAMETOOLONG => Self::NotFound(path.clone()),
            Errno::ELOOP => Self::Symlink(path.clone()),
            Errno::EACCES | Errno::EPERM | Errno::EROFS => Self::Permission(path.clone()),
            source => Self::Io {
                path: path.clone(),
                source,
            },
        }
    }
}

/// Why a planned change was not made. Exhaustive: a caller must say for each kind whether anything was done.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The place is not what the plan saw (content, mode, kind, or the folder it lies in); nothing was done.
    #[error("{path} is no longer what was planned against ({what}); nothing was written")]
    Moved {
        /// What was to be written.
        path: RelPath,
        /// What differs: `moved` (the place) or `digest` (the content).
        what: &'static str,
    },
    /// A failure before the change was visible; nothing was done.
    #[error("nothing was written: {0}")]
    Before(#[source] FileError),
    /// The change is visible, but the system did not confirm that it would survive a power cut.
    #[error("written, but not confirmed on disk: {0}")]
    Unconfirmed(#[source] FileError),
}
