//! Commits, the newest first.

use crate::{
    error::GitError,
    look::Look,
    objects::{Commit, Reader},
    repository::Repository,
};
use gix_hash::ObjectId;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
};

/// Most commits that one call walks over.
pub(crate) const MAX_WALK: usize = 200_000;

/// A walk over the history. Whoever walks says after each commit by which parents to go on.
pub(crate) struct Walk<'a> {
    repository: &'a Repository,
    reader: &'a Reader,
    look: &'a Look<'a>,
    /// By time, then by the order in which they were found.
    due: BinaryHeap<(i64, Reverse<u64>, ObjectId)>,
    read: HashMap<ObjectId, Commit>,
    seen: HashSet<ObjectId>,
    found: u64,
    walked: usize,
    /// Whether it has come to where a shallow clone ends.
    pub(crate) is_cut: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(repository: &'a Repository, reader: &'a Reader, look: &'a Look<'a>) -> Self {
        Self {
            repository,
            reader,
            look,
            due: BinaryHeap::new(),
            read: HashMap::new(),
            seen: HashSet::new(),
            found: 0,
            walked: 0,
            is_cut: false,
        }
    }

    /// Leaves out this commit and all before it.
    pub(crate) fn without(&mut self, commit: Commit) -> Result<(), GitError> {
        let mut due = vec![commit];
        while let Some(commit) = due.pop() {
            if !self.seen.insert(commit.id) {
                continue;
            }
            self.count()?;
            for parent in self.parents(&commit) {
                if !self.seen.contains(&parent) {
                    due.push(self.reader.commit(&parent)?);
                }
            }
        }
        Ok(())
    }

    /// Adds a commit to those that are due, unless it was seen before.
    pub(crate) fn add(&mut self, commit: Commit) {
        if self.seen.insert(commit.id) {
            self.found += 1;
            let key = (commit.committer.seconds, Reverse(self.found), commit.id);
            self.due.push(key);
            self.read.insert(commit.id, commit);
        }
    }

    /// The newest commit that is due.
    pub(crate) fn next(&mut self) -> Result<Option<Commit>, GitError> {
        let Some((_, _, id)) = self.due.pop() else {
            return Ok(None);
        };
        self.count()?;
        Ok(self.read.remove(&id))
    }

    /// Goes on by these parents.
    pub(crate) fn go_on(&mut self, parents: &[ObjectId]) -> Result<(), GitError> {
        for parent in parents {
            if !self.seen.contains(parent) {
                let commit = self.reader.commit(parent)?;
                self.add(commit);
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
        self.look.go_on()?;
        self.walked += 1;
        if self.walked > MAX_WALK {
            return Err(GitError::TooLarge(format!(
                "more than {MAX_WALK} commits; narrow it by rev, not or since"
            )));
        }
        Ok(())
    }
}
