//! [`WriteTarget`]: where a change would happen and what is there, and the [`StateToken`] that stands for both.

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
};

use rustix::fs::Stat as FileStat;
use sha2::{Digest as _, Sha256};

use crate::{
    Digest, FileBytes, FileError, Identity, MAX_FILE_BYTES, PathError, RelPath, Root,
    is_leftover_name,
    names::fold_for_lookup,
    read::read_with_stat,
    root::{identity_of, open_dir, stat_in},
};

/// A path a file may be written to, as it was found.
#[derive(Debug)]
pub struct WriteTarget {
    pub(crate) path: RelPath,
    /// The deepest folder on the way that exists: the parent itself unless folders are missing.
    pub(crate) folder: RelPath,
    pub(crate) folder_identity: Identity,
    /// The folders above it, outermost first.
    above: Vec<(RelPath, Identity)>,
    pub(crate) current: Option<Current>,
}

/// The file that is there now.
#[derive(Debug)]
pub struct Current {
    /// Its content.
    pub content: FileBytes,
    /// SHA-256 of it.
    pub digest: Digest,
    pub(crate) stat: FileStat,
}

/// Stands for a place and everything it assumed: path, device and inode of the folder, kind, mode, content. Text form:
/// 64 lower-case hex digits. Two looks with equal tokens saw the same; a reboot may change device numbers, and with
/// them every token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StateToken(Digest);

impl StateToken {
    /// The raw 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

impl fmt::Display for StateToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StateToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateToken({self})")
    }
}

impl WriteTarget {
    /// The path that was looked at.
    #[must_use]
    pub const fn path(&self) -> &RelPath {
        &self.path
    }

    /// The file there, if there is one.
    #[must_use]
    pub const fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// The digest of the file there, if there is one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.current.as_ref().map(|current| current.digest)
    }

    /// The innermost folder on the way that is there.
    #[must_use]
    pub const fn folder(&self) -> &RelPath {
        &self.folder
    }

    /// How many folders on the way are missing: a write makes them.
    #[must_use]
    pub fn missing_folders(&self) -> usize {
        let parent = self.path.components().count().saturating_sub(1);
        parent.saturating_sub(self.folder.components().count())
    }

    /// The token for this place as it was found.
    #[must_use]
    pub fn token(&self) -> StateToken {
        self.token_below(&self.folder, self.folder_identity)
    }

    /// The tokens that this place had while folders on its way were missing, if they were made since: those above them are
    /// the same, and no file is there yet. A write then does what it would have done, but for making them.
    #[must_use]
    pub fn tokens_before_its_folders(&self) -> Vec<StateToken> {
        match &self.current {
            Some(_) => Vec::new(),
            None => self
                .above
                .iter()
                .map(|(folder, identity)| self.token_below(folder, *identity))
                .collect(),
        }
    }

    fn token_below(&self, folder: &RelPath, identity: Identity) -> StateToken {
        let mut hash = Sha256::new_with_prefix(b"plexus place 1\0");
        for text in [self.path.as_str(), folder.as_str()] {
            // Paths hold no NUL, so the fields cannot run into each other.
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        hash.update(identity.device.to_le_bytes());
        hash.update(identity.inode.to_le_bytes());
        match &self.current {
            None => hash.update(b"absent"),
            Some(current) => {
                hash.update(b"file");
                hash.update(current.content.meta.mode.to_le_bytes());
                hash.update(current.digest.as_bytes());
            }
        }
        let bytes: [u8; 32] = hash.finalize().into();
        StateToken(Digest::from_raw(bytes))
    }
}

impl Root {
    /// Looks at the place a file may be written to. Changes nothing.
    ///
    /// # Errors
    /// As [`Root::read`], except that absence, of the file or of folders on the way, is a finding and not an error.
    /// [`PathError::Reserved`] for the names of our own temporary files.
    pub fn look(&self, path: &RelPath) -> Result<WriteTarget, FileError> {
        self.locate(path).map(|(place, _)| place)
    }

    /// As [`Root::look`], with the handle of the deepest folder that exists.
    pub(crate) fn locate(&self, path: &RelPath) -> Result<(WriteTarget, OwnedFd), FileError> {
        let Some((parent, name)) = path.split_last() else {
            return Err(PathError::NotAFileName.into());
        };
        if path
            .components()
            .any(|name| is_leftover_name(&fold_for_lookup(name)))
        {
            return Err(PathError::Reserved.into());
        }
        self.refuse_hidden(path)?;
        let mut dir = self.reopen(path)?;
        let mut folder = RelPath::root();
        let mut above = Vec::new();
        for component in parent.components() {
            match open_dir(dir.as_fd(), component, path) {
                Ok(next) => {
                    above.push((folder.clone(), identity_of(dir.as_fd(), path)?));
                    dir = next;
                }
                // `open_dir` calls a file in a folder's place absent too; only real absence may be filled in.
                Err(FileError::NotFound(_)) if is_absent(&dir, component, path)? => break,
                Err(FileError::NotFound(_)) => {
                    return Err(FileError::NotADirectory(folder.join(component)?));
                }
                Err(other) => return Err(other),
            }
            folder = folder.join(component)?;
        }
        let current = if folder == parent {
            self.current(&dir, name, path)?
        } else {
            None
        };
        let folder_identity = identity_of(dir.as_fd(), path)?;
        Ok((
            WriteTarget {
                path: path.clone(),
                folder,
                folder_identity,
                above,
                current,
            },
            dir,
        ))
    }

    fn current(
        &self,
        dir: &OwnedFd,
        name: &str,
        path: &RelPath,
    ) -> Result<Option<Current>, FileError> {
        let read = stat_in(dir.as_fd(), name, path).and_then(|seen| {
            read_with_stat(dir.as_fd(), name, path, self.policy(), MAX_FILE_BYTES, seen)
        });
        match read {
            // Both of one handle: a look of its own would be at what was saved since, and a write would take that for
            // what it read.
            Ok((content, stat)) => Ok(Some(Current {
                digest: content.digest(),
                content,
                stat,
            })),
            Err(FileError::NotFound(_)) => Ok(None), // also gone since
            Err(error) => Err(error),
        }
    }
}

fn is_absent(dir: &OwnedFd, name: &str, path: &RelPath) -> Result<bool, FileError> {
    match stat_in(dir.as_fd(), name, path) {
        Ok(_) => Ok(false),
        Err(FileError::NotFound(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::Policy;

    /// Another program saves all the time, each time another length: what is known of a file is of what was read.
    #[test]
    fn content_and_look_are_of_one_moment() {
        let temp = tempfile::tempdir().unwrap();
        let [file, spare] = ["file", "spare"].map(|name| temp.path().join(name));
        fs::write(&file, "").unwrap();
        let root = Root::open(temp.path(), Policy::default()).unwrap();
        let path = RelPath::parse("file").unwrap();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for length in (1..100).cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    fs::write(&spare, "x".repeat(length)).unwrap();
                    fs::rename(&spare, &file).unwrap();
                }
            });
            let torn = (0..3000)
                .filter_map(|_| root.look(&path).ok()?.current)
                .find(|current| current.stat.st_size as usize != current.content.bytes.len());
            is_over.store(true, Ordering::Relaxed);
            assert!(torn.is_none(), "{torn:?}");
        });
    }
}
