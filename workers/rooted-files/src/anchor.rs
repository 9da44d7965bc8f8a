//! Where a root was opened: a handle goes on serving a folder that the owner has moved away or replaced, a source must not.

use crate::{Identity, at_hand::Hand};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The path at which a root was opened, and what was there then.
#[derive(Clone, Debug)]
pub struct Anchor {
    pub(crate) path: PathBuf,
    identity: Identity,
    /// Whether it was last found in place.
    pub(crate) hand: Hand<()>,
}

/// What became of the folder at that path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Adrift {
    /// Nothing is there, or it cannot be looked at.
    #[error("the folder is not there any more")]
    Gone,
    /// Something else is there.
    #[error("another folder is now where this one was")]
    Replaced,
}

impl Anchor {
    /// Remembers that the root of this identity was opened at `path`.
    #[must_use]
    pub fn new(path: &Path, identity: Identity) -> Self {
        Self {
            path: path.to_owned(),
            identity,
            hand: fs::File::open(path).map_or_else(|_| Hand::nowhere(), Hand::on),
        }
    }

    /// Looks whether the path still leads to the root.
    ///
    /// # Errors
    /// [`Adrift`] says what is there instead.
    pub fn check(&self) -> Result<(), Adrift> {
        let now = fs::metadata(&self.path).map_err(|_: io::Error| Adrift::Gone)?;
        let now = Identity {
            device: now.dev(),
            inode: now.ino(),
        };
        self.judge(now)
    }

    /// What it means that `now` is at the path.
    pub(crate) fn judge(&self, now: Identity) -> Result<(), Adrift> {
        if now == self.identity {
            Ok(())
        } else {
            Err(Adrift::Replaced)
        }
    }
}
