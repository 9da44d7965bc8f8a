//! Which commits an agent may name by their ids: those that a branch, a tag or `HEAD` leads to.
//!
//! ```text
//! tips of all refs ──same as last time?──▶ go on with the walk that is there
//!         └─────────changed─────────────▶ begin anew
//! walk: newest first, until the id is found, the history ends, or MAX_WALK commits were read
//! ```
//! Invariants: what was amended away, reset or stashed is not there, also for one who knows its id; it, an id that no object has
//! and one beyond the bound are one answer. A walk that its caller's deadline ended is kept and gone on with.

use crate::{
    error::GitError, objects::Reader, refs, repository::Repository, scope::CallScope,
    walk::MAX_WALK,
};
use gix_hash::ObjectId;
use std::{
    collections::{BTreeSet, BinaryHeap},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most refs that are begun from: what only others lead to is named by them, not by id.
pub(crate) const MAX_TIPS: usize = 20_000;
/// Most ids that are kept, so that a repository of ids without objects ends too.
const MAX_KNOWN: usize = 2 * MAX_WALK + 5 * MAX_TIPS;
/// Most parents that are kept until it is their child's turn; of a larger merge they are read again then.
const FEW: usize = 4;

/// The walk so far, kept from call to call.
#[derive(Debug, Default)]
pub(crate) struct Reachable(Mutex<WalkState>);

#[derive(Debug, Default)]
struct WalkState {
    /// What the refs named when the walk began, in order.
    tips: Vec<ObjectId>,
    /// Commits, and tags that name them.
    ids: BTreeSet<ObjectId>,
    /// Found and not gone on from, by time, each with its parents unless they are many.
    due: BinaryHeap<(i64, ObjectId, Option<Vec<ObjectId>>)>,
    walked: usize,
}

/// What the beginning of an id stands for.
pub(crate) enum Begins {
    Nothing,
    One(ObjectId),
    Several,
}

impl Reachable {
    /// Whether a ref leads to this commit or tag.
    pub(crate) fn holds(
        &self,
        repository: &Repository,
        reader: &Reader,
        scope: &CallScope<'_>,
        id: &ObjectId,
    ) -> Result<bool, GitError> {
        let mut known = self.now(repository, reader, scope)?;
        loop {
            if known.ids.contains(id) {
                return Ok(true);
            }
            scope.go_on()?;
            if !known.step(repository, reader, scope, MAX_WALK)? {
                return Ok(false);
            }
        }
    }

    /// What of all that refs lead to begins with these digits, four at least.
    pub(crate) fn beginning(
        &self,
        repository: &Repository,
        reader: &Reader,
        scope: &CallScope<'_>,
        digits: &str,
    ) -> Result<Begins, GitError> {
        let digits = digits.to_ascii_lowercase();
        let Ok(first) = ObjectId::from_hex(format!("{digits:0<40}").as_bytes()) else {
            return Ok(Begins::Nothing);
        };
        let mut known = self.now(repository, reader, scope)?;
        // Another one may come last.
        while known.step(repository, reader, scope, MAX_WALK)? {
            scope.go_on()?;
        }
        let begins = |id: &&ObjectId| id.to_hex().to_string().starts_with(&digits);
        let mut found = known.ids.range(first..).take_while(begins);
        Ok(match (found.next(), found.next()) {
            (None, _) => Begins::Nothing,
            (Some(id), None) => Begins::One(*id),
            (Some(_), Some(_)) => Begins::Several,
        })
    }

    fn now(
        &self,
        repository: &Repository,
        reader: &Reader,
        scope: &CallScope<'_>,
    ) -> Result<MutexGuard<'_, WalkState>, GitError> {
        let tips = refs::tips(repository, scope, MAX_TIPS)?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.tips != tips {
            let mut fresh = WalkState::default();
            for tip in &tips {
                scope.go_on()?;
                fresh.tip(reader, *tip);
            }
            fresh.tips = tips;
            *known = fresh;
        }
        Ok(known)
    }
}

impl WalkState {
    /// A ref's own, and what it names if it is a tag.
    fn tip(&mut self, reader: &Reader, tip: ObjectId) {
        let way = refs::way(reader, tip);
        if let Some((commit, tags)) = way.split_last() {
            self.ids.extend(tags);
            self.found(reader, *commit);
        }
    }

    /// Named by a ref or a child: it counts even where it is damaged or this clone lacks it, and then leads nowhere.
    fn found(&mut self, reader: &Reader, id: ObjectId) {
        if self.ids.insert(id)
            && let Ok(commit) = reader.commit(&id)
        {
            let parents = (commit.parents.len() <= FEW).then_some(commit.parents);
            self.due.push((commit.committer.seconds, id, parents));
        }
    }

    /// Goes on from the newest. False: nothing is left, or a bound is reached.
    fn step(
        &mut self,
        repository: &Repository,
        reader: &Reader,
        scope: &CallScope<'_>,
        most: usize,
    ) -> Result<bool, GitError> {
        if self.walked >= most || self.ids.len() >= MAX_KNOWN {
            return Ok(false);
        }
        let Some((at, id, kept)) = self.due.pop() else {
            return Ok(false);
        };
        if !repository.shallow.contains(&id) {
            let read = || reader.commit(&id).map_or(Vec::new(), |c| c.parents);
            for parent in kept.clone().unwrap_or_else(read) {
                if let Err(over) = scope.go_on() {
                    // The next caller begins with it again.
                    self.due.push((at, id, kept));
                    return Err(over);
                }
                self.found(reader, parent);
            }
        }
        self.walked += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, path::Path, process::Command};

    fn git(folder: &Path, words: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=A", "-c", "user.email=a@example.org"])
            .args(words)
            .current_dir(folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", "/nonexistent")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {words:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    #[test]
    fn a_walk_ends_at_its_bound_and_is_gone_on_with_while_the_refs_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        git(&path, &["init", "-q", "-b", "main", "."]);
        let commits: Vec<ObjectId> = (0..6)
            .map(|n| {
                git(
                    &path,
                    &["commit", "-q", "--allow-empty", "-m", &n.to_string()],
                );
                ObjectId::from_hex(git(&path, &["rev-parse", "HEAD"]).as_bytes()).unwrap()
            })
            .collect();
        let repository = Repository::open(&path).unwrap();
        let reader = repository.reader();
        let ends = |over: bool| move || over;
        let (all, waits, over) = (|_: &str| true, ends(false), ends(true));
        let scope = |is_over| CallScope {
            allows: &all,
            is_over,
        };
        let reachable = Reachable::default();

        let mut known = reachable.now(&repository, &reader, &scope(&waits)).unwrap();
        assert!(known.ids.contains(&commits[5]) && known.ids.len() == 1);
        let waiting = scope(&waits);
        while known.step(&repository, &reader, &waiting, 2).unwrap() {}
        assert_eq!((known.walked, known.ids.len()), (2, 3));
        assert!(!known.ids.contains(&commits[2]), "beyond the bound");
        drop(known);

        // Nobody waits any more: nothing of what was found is lost.
        let first = &commits[0];
        let ended = reachable.holds(&repository, &reader, &scope(&over), first);
        assert!(matches!(ended, Err(GitError::Over)));
        assert_eq!(reachable.0.lock().unwrap().walked, 2);
        let held = reachable.holds(&repository, &reader, &scope(&waits), first);
        assert!(held.unwrap());
        assert_eq!(reachable.0.lock().unwrap().walked, 5);

        // Another tip, another walk.
        git(&path, &["reset", "-q", "--hard", "HEAD~1"]);
        let gone = reachable.holds(&repository, &reader, &scope(&waits), &commits[5]);
        assert!(!gone.unwrap());
        let held = reachable.holds(&repository, &reader, &scope(&waits), first);
        assert!(held.unwrap());
    }
    #[test]
    fn the_parents_of_a_large_merge_are_walked_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        git(&path, &["init", "-q", "-b", "main", "."]);
        let tree = git(&path, &["write-tree"]);
        let alone = |n: usize| git(&path, &["commit-tree", &tree, "-m", &n.to_string()]);
        let parents: Vec<String> = (0..=FEW).map(alone).collect();
        let mut words = vec!["commit-tree", &tree, "-m", "merged"];
        words.extend(parents.iter().flat_map(|parent| ["-p", parent]));
        let merged = git(&path, &words);
        git(&path, &["update-ref", "refs/heads/main", &merged]);
        let repository = Repository::open(&path).unwrap();
        let reader = repository.reader();
        let waits = Cell::new(true);
        let scope = CallScope {
            allows: &|_| true,
            is_over: &|| !waits.get(),
        };
        let reachable = Reachable::default();
        let mut known = reachable.now(&repository, &reader, &scope).unwrap();
        assert!(known.due.iter().all(|(_, _, kept)| kept.is_none()));
        // The waiter gives up in between: nothing of the merge is lost.
        waits.set(false);
        let ended = known.step(&repository, &reader, &scope, MAX_WALK);
        assert!(matches!(ended, Err(GitError::Over)));
        waits.set(true);
        drop(known);
        for parent in parents {
            let id = ObjectId::from_hex(parent.as_bytes()).unwrap();
            assert!(reachable.holds(&repository, &reader, &scope, &id).unwrap());
        }
    }
}
