//! Commits, the newest first.

use crate::{
    error::GitError,
    objects::{Commit, Reader},
    repository::Repository,
    scope::CallScope,
};
use gix_hash::ObjectId;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

/// Most commits that one call walks over, or knows of.
pub(crate) const MAX_WALK: usize = 200_000;
/// Most that is kept of commits that are due, in bytes. What has no room is read again when it is its turn.
const MAX_KEPT: usize = 16 << 20;

/// A walk over the history. The caller says after each commit by which parents to go on.
pub(crate) struct Walk<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    scope: &'a CallScope<'a>,
    /// By time, then by the order in which they were found.
    due: BinaryHeap<(i64, Reverse<u64>, ObjectId)>,
    read: HashMap<ObjectId, Commit>,
    /// What is in `read`, in bytes.
    kept: usize,
    seen: HashSet<ObjectId>,
    found: u64,
    walked: usize,
    /// Whether it has come to where a shallow clone ends.
    pub(crate) is_cut: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        reader: &'a Reader,
        scope: &'a CallScope<'a>,
    ) -> Self {
        Self {
            repository,
            reader,
            scope,
            due: BinaryHeap::new(),
            read: HashMap::new(),
            kept: 0,
            seen: HashSet::new(),
            found: 0,
            walked: 0,
            is_cut: false,
        }
    }

    /// Leaves out this commit and all before it.
    pub(crate) fn without(&mut self, commit: ObjectId) -> Result<(), GitError> {
        self.is_new(commit)?;
        let mut due = vec![commit];
        while let Some(id) = due.pop() {
            self.count()?;
            let commit = self.reader.commit(&id)?;
            for parent in self.parents(&commit) {
                if self.is_new(parent)? {
                    due.push(parent);
                }
            }
        }
        Ok(())
    }

    /// Adds a commit to those that are due, unless it was seen before.
    pub(crate) fn add(&mut self, commit: Commit) -> Result<(), GitError> {
        if self.is_new(commit.id)? {
            self.found += 1;
            let key = (commit.committer.seconds, Reverse(self.found), commit.id);
            self.due.push(key);
            let weight = commit.weight();
            if self.kept + weight <= MAX_KEPT {
                self.kept += weight;
                self.read.insert(commit.id, commit);
            }
        }
        Ok(())
    }

    /// The newest commit that is due.
    pub(crate) fn next(&mut self) -> Result<Option<Commit>, GitError> {
        let Some((_, _, id)) = self.due.pop() else {
            return Ok(None);
        };
        self.count()?;
        let commit = match self.read.remove(&id) {
            Some(commit) => {
                self.kept -= commit.weight();
                commit
            }
            None => self.reader.commit(&id)?,
        };
        Ok(Some(commit))
    }

    /// Goes on by these parents.
    pub(crate) fn go_on(&mut self, parents: &[ObjectId]) -> Result<(), GitError> {
        for parent in parents {
            self.scope.go_on()?;
            if !self.seen.contains(parent) {
                let commit = self.reader.commit(parent)?;
                self.add(commit)?;
            }
        }
        Ok(())
    }

    /// The parents of a commit that this clone has.
    pub(crate) fn parents(&mut self, commit: &Commit) -> Vec<ObjectId> {
        if self.repository.shallow.contains(&commit.id) {
            self.is_cut = true;
            Vec::new()
        } else {
            commit.parents.clone()
        }
    }

    fn count(&mut self) -> Result<(), GitError> {
        self.scope.go_on()?;
        self.walked += 1;
        bounded(self.walked)
    }

    /// Whether it was not seen before; from now on it was.
    fn is_new(&mut self, id: ObjectId) -> Result<bool, GitError> {
        let is_new = self.seen.insert(id);
        bounded(self.seen.len())?;
        Ok(is_new)
    }
}

fn bounded(commits: usize) -> Result<(), GitError> {
    if commits > MAX_WALK {
        return Err(GitError::TooLarge(format!(
            "more than {MAX_WALK} commits; narrow it by rev, not or since"
        )));
    }
    Ok(())
}
