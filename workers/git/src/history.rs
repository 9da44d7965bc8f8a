//! [`History`]: what the refs of a repository lead to, to make another repository of it.
//!
//! Invariants: as of this crate; a ref that is no branch, tag or branch of a remote is none.
//!
//! Must not know: what is made of it.

use crate::{
    error::GitError,
    objects::{Entry, Reader},
    refs::{self, Refs},
    repository::Repository,
    scope::CallScope,
};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::{collections::BTreeMap, path::Path};

/// The history of one repository, as its refs have it.
#[derive(Debug)]
pub struct History {
    repository: Repository,
    reader: Reader,
}

/// What `HEAD` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The branch that it names, as `refs/heads/…`.
    pub branch: Option<String>,
    /// The commit; none where that branch has none yet.
    pub commit: Option<ObjectId>,
}

/// Of a commit, what leads on.
#[derive(Clone, Debug)]
pub struct Links {
    /// Its tree.
    pub tree: ObjectId,
    /// Its parents.
    pub parents: Vec<ObjectId>,
    /// Whether the repository is shallow there: its parents count for none.
    pub is_cut: bool,
    /// When it was made, in seconds since 1970.
    pub seconds: i64,
}

impl History {
    /// Opens the repository of a folder.
    ///
    /// # Errors
    /// It is damaged, leads out of the folder, or is of a kind that is not read.
    pub fn open(folder: &Path) -> Result<Self, GitError> {
        let repository = Repository::open(folder)?;
        let reader = repository.reader();
        Ok(Self { repository, reader })
    }

    /// What `HEAD` names.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn head(&self) -> Result<Head, GitError> {
        let text = self.repository.file("HEAD")?.unwrap_or_default();
        let branch = text.trim().strip_prefix("ref:").map(str::trim);
        let branch = branch.filter(|name| name.starts_with("refs/heads/"));
        let branch = branch.map(str::to_owned);
        let commit = Refs::new(&self.repository, &ANYBODY).followed("HEAD")?;
        Ok(Head { branch, commit })
    }

    /// At most `most` branches, tags and branches of remotes.
    ///
    /// # Errors
    /// [`GitError::Over`] once `is_over` says so.
    pub fn refs(
        &self,
        most: usize,
        is_over: &dyn Fn() -> bool,
    ) -> Result<BTreeMap<String, ObjectId>, GitError> {
        let scope = CallScope { is_over, ..ANYBODY };
        Refs::new(&self.repository, &scope).below(&refs::TIPS, most)
    }

    /// An id, and what it names in turn as long as these are tags.
    #[must_use]
    pub fn tags(&self, id: ObjectId) -> Vec<ObjectId> {
        refs::way(&self.reader, id)
    }

    /// What a commit leads to.
    ///
    /// # Errors
    /// It is missing, damaged or no commit.
    pub fn links(&self, id: &ObjectId) -> Result<Links, GitError> {
        let commit = self.reader.commit(id)?;
        Ok(Links {
            tree: commit.tree,
            parents: commit.parents,
            is_cut: self.repository.shallow.contains(id),
            seconds: commit.committer.seconds,
        })
    }

    /// The names in a folder, in the order of git.
    ///
    /// # Errors
    /// It is missing, damaged or no tree.
    pub fn tree(&self, id: &ObjectId) -> Result<Vec<(Vec<u8>, Entry)>, GitError> {
        self.reader.tree(id)
    }

    /// Kind and size of an object.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn header(&self, id: &ObjectId) -> Result<(Kind, u64), GitError> {
        self.reader.header(id)
    }

    /// An object as it is stored; its header says how large it is.
    ///
    /// # Errors
    /// It is missing, damaged or larger than `most` bytes.
    pub fn object(&self, id: &ObjectId, most: u64) -> Result<(Kind, Vec<u8>), GitError> {
        let (kind, _) = self.reader.header(id)?;
        self.reader
            .read(id, kind, most, |bytes| Ok((kind, bytes.to_vec())))
    }
}

/// A reader that may see everything, and waits.
const ANYBODY: CallScope<'static> = CallScope {
    allows: &|_| true,
    is_over: &|| false,
};
