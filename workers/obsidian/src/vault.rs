//! [`Vault`]: an open vault folder, and what every answer from it carries.

use std::{ops::ControlFlow, path::Path};

use plexus_rooted_files::{Digest, FileError, Identity, Kind, Policy, RelPath, Root, WalkBounds};

use crate::{NoteIndex, VaultError};

/// A vault: any folder of notes. Dot-files in it do not exist; files with a second hard link are refused.
#[derive(Debug)]
pub struct Vault {
    pub(crate) root: Root,
}

/// An output, and what was disclosed in it.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the agent gets.
    pub output: T,
    /// Everything whose content or names are in it.
    pub touched: Vec<Touched>,
}

/// One note or folder that an answer discloses something of. All access of this connector is reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its path as resolved.
    pub path: RelPath,
    /// SHA-256 of the note's bytes; `None` for a folder.
    pub digest: Option<Digest>,
}

impl Vault {
    /// Opens the vault folder.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let policy = Policy {
            allow_hard_links: false,
            hide_dot_files: true,
        };
        Ok(Self {
            root: Root::open(path, policy)?,
        })
    }

    /// Which directory the vault is, to notice that another took its name.
    ///
    /// # Errors
    /// As [`Root::identity`].
    pub fn identity(&self) -> Result<Identity, FileError> {
        self.root.identity()
    }

    /// The names of all files, as they are now.
    pub(crate) fn index(&self) -> Result<NoteIndex, VaultError> {
        let mut files = Vec::new();
        self.root.walk(
            &RelPath::root(),
            WalkBounds::default(),
            |_| true,
            |entry| {
                if entry.kind == Kind::File {
                    files.push(entry.path.clone());
                }
                ControlFlow::Continue(())
            },
        )?;
        Ok(NoteIndex::new(files))
    }
}
