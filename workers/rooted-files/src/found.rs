//! [`Found`]: what is at a path, looked up once, to be judged by its real spelling and then read through the same handle.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::stat::SFlag;
use rustix::fs::Stat as FileStat;

use crate::{
    FileBytes, FileError, Identity, Kind, MAX_FILE_BYTES, RelPath, Root,
    read::read_seen,
    root::{identity_of, kind_of, open_dir, spelled_name, stat_in, wrong_kind},
};

/// A file or folder that was there a moment ago.
#[derive(Debug)]
pub struct Found<'r> {
    root: &'r Root,
    /// The folder it lies in; `None` for the root's own.
    folder: Option<OwnedFd>,
    path: RelPath,
    /// The file as it was seen; `None` for a folder.
    file: Option<FileStat>,
}

impl Root {
    /// What is at `path`, with every component spelled as its folder's listing spells it: [`Root::kind`] and
    /// [`Root::spelling`] in one walk, and the walk that reading needs.
    ///
    /// # Errors
    /// As [`Root::kind`].
    pub fn find(&self, path: &RelPath) -> Result<Found<'_>, FileError> {
        self.refuse_hidden(path)?;
        let mut folder: Option<OwnedFd> = None;
        let mut spelled = Vec::new();
        let mut file = None;
        let mut components = path.components().enumerate().peekable();
        while let Some((position, name)) = components.next() {
            let dir = folder.as_ref().map_or(self.handle(), AsFd::as_fd);
            let other = if components.peek().is_some() {
                let next = open_dir(dir, name, path)?;
                let other = spelled_name(dir, name, path, || identity_of(next.as_fd(), path))?;
                folder = Some(next);
                other
            } else {
                let stat = stat_in(dir, name, path)?;
                match kind_of(&stat) {
                    SFlag::S_IFDIR => {}
                    SFlag::S_IFREG => file = Some(stat),
                    kind => return Err(wrong_kind(kind, path)),
                }
                spelled_name(dir, name, path, || Ok(Identity::from(&stat)))?
            };
            spelled.extend(other.map(|other| (position, other)));
        }
        let spelled = respelled(path, &spelled)?;
        self.refuse_spelling(path, &spelled)?;
        Ok(Found {
            root: self,
            folder,
            path: spelled,
            file,
        })
    }
}

impl Found<'_> {
    /// Its path, as its folders spell it.
    #[must_use]
    pub const fn path(&self) -> &RelPath {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.file {
            Some(_) => Kind::File,
            None => Kind::Dir,
        }
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// As [`Root::read`], without those about the folders on the way.
    pub fn read(&self) -> Result<FileBytes, FileError> {
        let Some(seen) = self.file else {
            return Err(wrong_kind(SFlag::S_IFDIR, &self.path));
        };
        let policy = self.root.policy();
        let name = self.path.name();
        read_seen(self.dir(), name, &self.path, policy, MAX_FILE_BYTES, seen)
    }

    fn dir(&self) -> BorrowedFd<'_> {
        self.folder.as_ref().map_or(self.root.handle(), AsFd::as_fd)
    }
}

/// `path` with some components replaced, each by its position.
fn respelled(path: &RelPath, other: &[(usize, String)]) -> Result<RelPath, FileError> {
    if other.is_empty() {
        return Ok(path.clone());
    }
    let mut respelled = RelPath::root();
    for (position, name) in path.components().enumerate() {
        let name = other
            .iter()
            .find(|(replaced, _)| *replaced == position)
            .map_or(name, |(_, other)| other);
        respelled = respelled.join(name)?;
    }
    Ok(respelled)
}
