//! What a revision names: `HEAD`, a branch, a tag, an id or its beginning, with `~n` and `^n`.

use crate::{
    error::GitError,
    objects::{Commit, Reader},
    reachable::Begins,
    repository::Repository,
    scope::CallScope,
    walk::MAX_WALK,
};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::{
    cell::{Cell, OnceCell},
    collections::BTreeMap,
};

/// How often a ref may lead to another, and a tag to another.
const MAX_HOPS: usize = 5;
/// Most steps that `~n` takes.
const MAX_BACK: usize = 10_000;
/// Most packed refs that are named beside commits.
const MAX_NAMES: usize = 2_000;
/// Where the refs are whose history an agent may read.
pub(crate) const TIPS: [&str; 3] = ["refs/heads/", "refs/remotes/", "refs/tags/"];
/// Where the loose refs are that are named beside commits: what is another's is named once it is packed.
const NAMED: [&str; 2] = ["refs/heads/", "refs/tags/"];
/// Where a short name is looked for, in the order of git.
const PLACES: [(&str, &str); 6] = [
    ("", ""),
    ("refs/", ""),
    ("refs/tags/", ""),
    ("refs/heads/", ""),
    ("refs/remotes/", ""),
    ("refs/remotes/", "/HEAD"),
];

/// The commit that `text` names.
pub(crate) fn resolve(
    repository: &Repository,
    reader: &Reader,
    scope: &CallScope<'_>,
    text: &str,
) -> Result<Commit, GitError> {
    if text.contains("..") || text.contains(':') || text.contains("@{") {
        return Err(GitError::Invalid(
            "a revision is a branch, a tag, a commit's id or HEAD, with ~n or ^n behind it; for a range use rev and not"
                .to_owned(),
        ));
    }
    let end = text.find(['~', '^']).unwrap_or(text.len());
    let (name, mut steps) = text.split_at(end);
    let name = if name == "@" { "HEAD" } else { name };
    let id = named(repository, reader, scope, name)?;
    let mut commit = reader.commit(&peeled(reader, id)?)?;
    while let Some(step) = steps.chars().next() {
        // Behind a number anything may stand, a character of several bytes too.
        let rest = steps
            .strip_prefix(['~', '^'])
            .ok_or_else(|| GitError::Invalid(format!("{text:?} is no revision")))?;
        scope.go_on()?;
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let count: usize = match &rest[..digits] {
            "" => 1,
            number => number.parse().unwrap_or(usize::MAX),
        };
        steps = &rest[digits..];
        let back = || GitError::NotFound(format!("the history does not go back to {text:?}"));
        if step == '^' {
            if steps.starts_with('{') {
                return Err(GitError::Invalid("^{…} is not read".to_owned()));
            }
            if count > 0 {
                let parent = commit.parents.get(count - 1).ok_or_else(back)?;
                commit = reader.commit(parent)?;
            }
        } else {
            if count > MAX_BACK {
                return Err(back());
            }
            for _ in 0..count {
                scope.go_on()?;
                if repository.shallow.contains(&commit.id) {
                    return Err(back());
                }
                let parent = commit.parents.first().ok_or_else(back)?;
                commit = reader.commit(parent)?;
            }
        }
    }
    Ok(commit)
}

/// The id that a name, or the beginning of an id, stands for: a branch, a tag, `HEAD`, or what one of them leads to.
fn named(
    repository: &Repository,
    reader: &Reader,
    scope: &CallScope<'_>,
    name: &str,
) -> Result<ObjectId, GitError> {
    // One answer for what is not there, what no ref leads to, and what lies beyond the bound of the walk.
    let missing = || {
        let text = format!(
            "no branch or tag is called {name:?}, and among the newest {MAX_WALK} commits that branches and tags lead to \
             none has that id"
        );
        GitError::NotFound(text)
    };
    if name.is_empty() || name.len() > 250 {
        return Err(missing());
    }
    let hex = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex && name.len() == 40 {
        let id = ObjectId::from_hex(name.as_bytes()).map_err(|_| missing())?;
        return match repository.reachable.holds(repository, reader, scope, &id)? {
            true => Ok(id),
            false => Err(missing()),
        };
    }
    let refs = Refs::new(repository, scope);
    for (before, after) in PLACES {
        // Only refs lie directly in the repository's folder, and they are in capitals.
        let capitals = |c: char| c.is_ascii_uppercase() || c == '_';
        if before.is_empty() && !name.starts_with("refs/") && !name.chars().all(capitals) {
            continue;
        }
        let full = format!("{before}{name}{after}");
        let Some(id) = refs.followed(&full)? else {
            continue;
        };
        // ORIG_HEAD, FETCH_HEAD, refs/stash and their like lead to what was left behind.
        let leads = full == "HEAD" || TIPS.iter().any(|tips| full.starts_with(tips));
        if leads || repository.reachable.holds(repository, reader, scope, &id)? {
            return Ok(id);
        }
    }
    if hex && name.len() >= 4 {
        return match repository
            .reachable
            .beginning(repository, reader, scope, name)?
        {
            Begins::One(id) => Ok(id),
            Begins::Nothing => Err(missing()),
            Begins::Several => Err(GitError::Invalid(format!(
                "{name:?} begins several ids; give more of it"
            ))),
        };
    }
    // `v1.0-3-g1a2b3c4`, as `git describe` says it: the id at its end.
    if let Some((_, id)) = name.rsplit_once("-g")
        && id.len() >= 4
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    {
        return named(repository, reader, scope, id);
    }
    if name == "HEAD" {
        let why = match refs.below(&TIPS, MAX_NAMES)?.is_empty() {
            true => "there is no commit yet",
            false => "HEAD leads to no commit: name a branch, such as main or master, or a tag",
        };
        return Err(GitError::NotFound(why.to_owned()));
    }
    Err(missing())
}

fn peeled(reader: &Reader, id: ObjectId) -> Result<ObjectId, GitError> {
    match way(reader, id).last() {
        Some(last) if reader.header(last)?.0 != Kind::Tag => Ok(*last),
        _ => Err(GitError::Broken("a tag of tags of tags".to_owned())),
    }
}

/// An id, and what it names in turn as long as these are tags.
pub(crate) fn way(reader: &Reader, id: ObjectId) -> Vec<ObjectId> {
    let mut way = vec![id];
    let mut last = id;
    while way.len() <= MAX_HOPS
        && let Ok((Kind::Tag, _)) = reader.header(&last)
        && let Ok(next) = reader.tagged(&last)
    {
        way.push(next);
        last = next;
    }
    way
}

/// What `HEAD` and at most `most` branches and tags name, in order.
pub(crate) fn tips(
    repository: &Repository,
    scope: &CallScope<'_>,
    most: usize,
) -> Result<Vec<ObjectId>, GitError> {
    let refs = Refs::new(repository, scope);
    let all = refs.below(&TIPS, most)?;
    let mut ids: Vec<ObjectId> = all.into_values().collect();
    ids.extend(unless_over(refs.followed("HEAD"))?);
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Branches and tags by the commit that they name: what `git log --decorate` shows; and whether some were left out.
pub(crate) fn names(
    repository: &Repository,
    reader: &Reader,
    scope: &CallScope<'_>,
) -> Result<(BTreeMap<ObjectId, Vec<String>>, bool), GitError> {
    let mut names: BTreeMap<ObjectId, Vec<String>> = BTreeMap::new();
    let refs = Refs::new(repository, scope);
    for (name, id) in refs.below(&NAMED, MAX_NAMES)? {
        scope.go_on()?;
        let short = TIPS.iter().find_map(|start| name.strip_prefix(start));
        if let (Some(short), Ok(id)) = (short, peeled(reader, id)) {
            names.entry(id).or_default().push(short.to_owned());
        }
    }
    Ok((names, refs.skipped.get()))
}

/// The refs, for one call.
pub(crate) struct Refs<'a> {
    repository: &'a Repository,
    scope: &'a CallScope<'a>,
    /// Read only if a ref is not a file of its own.
    packed: OnceCell<BTreeMap<String, ObjectId>>,
    /// A later reading, for refs that were packed since the first.
    packed_again: OnceCell<BTreeMap<String, ObjectId>>,
    /// Whether some were left out: beyond a bound, or not to be read.
    skipped: Cell<bool>,
}

impl<'a> Refs<'a> {
    pub(crate) fn new(repository: &'a Repository, scope: &'a CallScope<'a>) -> Self {
        Self {
            repository,
            scope,
            packed: OnceCell::new(),
            packed_again: OnceCell::new(),
            skipped: Cell::default(),
        }
    }

    /// Follows a ref to an id.
    pub(crate) fn followed(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        let mut name = name.to_owned();
        for _ in 0..MAX_HOPS {
            self.scope.go_on()?;
            let text = match self.repository.file(&name) {
                Ok(text) => text,
                // No ref can have that name.
                Err(GitError::Invalid(_)) => None,
                Err(error) => return Err(error),
            };
            let Some(text) = text else {
                return self.without_a_file(&name);
            };
            let text = text.trim();
            match text.strip_prefix("ref:") {
                Some(target) if target.trim() == "refs/heads/.invalid" => {
                    return Err(GitError::Refused(
                        "refs are kept in a reftable, which is not read".to_owned(),
                    ));
                }
                Some(target) => name = target.trim().to_owned(),
                None if text.len() == 64 => {
                    return Err(GitError::Refused(
                        "its ids are SHA-256, which is not read".to_owned(),
                    ));
                }
                None => {
                    // Behind the id in FETCH_HEAD is where it comes from.
                    let id = text.split_whitespace().next().unwrap_or_default();
                    let id = ObjectId::from_hex(id.as_bytes()).ok();
                    self.skipped.set(self.skipped.get() || id.is_none());
                    return Ok(id);
                }
            }
        }
        Err(GitError::Broken(format!("{name:?} leads in a circle")))
    }

    /// What a ref that has no file of its own names. Git packs a ref before it removes the file, so what was read before
    /// that look at the file may lack it: it is read once more in a call.
    fn without_a_file(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        let was_read = self.packed.get().is_some();
        let found = self.packed()?.get(name).copied();
        if found.is_some() || !was_read {
            return Ok(found);
        }
        Ok(self.read_once(&self.packed_again)?.get(name).copied())
    }

    fn packed(&self) -> Result<&BTreeMap<String, ObjectId>, GitError> {
        self.read_once(&self.packed)
    }

    fn read_once<'r>(
        &self,
        place: &'r OnceCell<BTreeMap<String, ObjectId>>,
    ) -> Result<&'r BTreeMap<String, ObjectId>, GitError> {
        if let Some(packed) = place.get() {
            return Ok(packed);
        }
        let text = self.repository.file("packed-refs")?.unwrap_or_default();
        let mut packed = BTreeMap::new();
        // Beside refs there are what their tags name, and a head.
        for line in text.lines().filter(|line| !line.starts_with(['^', '#'])) {
            let parts = line.split_once(' ');
            let id = parts.and_then(|(id, _)| ObjectId::from_hex(id.as_bytes()).ok());
            match (parts, id) {
                (Some((_, name)), Some(id)) => {
                    packed.insert(name.to_owned(), id);
                }
                _ => self.skipped.set(true),
            }
        }
        Ok(place.get_or_init(|| packed))
    }

    /// The first `most` branches and tags by name: packed ones, and loose ones below these places. Of what may be a
    /// loose ref as many are looked at, whatever they hold; what cannot be read is left out.
    pub(crate) fn below(
        &self,
        places: &[&str],
        most: usize,
    ) -> Result<BTreeMap<String, ObjectId>, GitError> {
        let is_tip = |(name, _): &(&String, _)| TIPS.iter().any(|tips| name.starts_with(tips));
        let mut all = BTreeMap::new();
        match self.packed() {
            Ok(packed) => {
                let tips = packed.iter().filter(is_tip).take(most);
                all.extend(tips.map(|(name, id)| (name.clone(), *id)));
            }
            Err(_) => self.skipped.set(true),
        }
        let mut left = most;
        for place in places {
            self.loose(place.trim_end_matches('/'), &mut all, &mut left, 0)?;
        }
        if all.len() >= most {
            self.skipped.set(true);
        }
        Ok(all.into_iter().take(most).collect())
    }

    /// Loose refs below a folder. Links are not followed; folders in folders only so deep as names may be.
    fn loose(
        &self,
        folder: &str,
        all: &mut BTreeMap<String, ObjectId>,
        left: &mut usize,
        depth: usize,
    ) -> Result<(), GitError> {
        use plexus_rooted_files::{FileError, Kind as FileKind, RelPath};
        self.scope.go_on()?;
        let Ok(path) = RelPath::parse(folder) else {
            self.skipped.set(true);
            return Ok(());
        };
        if depth > 8 {
            self.skipped.set(true);
            return Ok(());
        }
        let listing = match self
            .repository
            .git
            .list(&path, *left, None, self.scope.is_over)
        {
            Ok(listing) => listing,
            Err(FileError::Over) => return Err(GitError::Over),
            Err(FileError::NotFound(_)) => return Ok(()),
            Err(_) => {
                self.skipped.set(true);
                return Ok(());
            }
        };
        if listing.omitted > 0 || listing.next_after.is_some() {
            self.skipped.set(true);
        }
        for entry in listing.entries {
            if *left == 0 {
                break;
            }
            *left -= 1;
            let name = entry.path.as_str().to_owned();
            match entry.kind {
                FileKind::Dir => self.loose(&name, all, left, depth + 1)?,
                FileKind::File => {
                    let followed = self.followed(&name);
                    if followed.is_err() {
                        self.skipped.set(true);
                    }
                    if let Some(id) = unless_over(followed)? {
                        all.insert(name, id);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A ref that cannot be read is none, but a call that is over is over.
fn unless_over(followed: Result<Option<ObjectId>, GitError>) -> Result<Option<ObjectId>, GitError> {
    match followed {
        Err(GitError::Over) => Err(GitError::Over),
        other => Ok(other.ok().flatten()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::Cell, fs};

    /// As `git pack-refs` does it, in the middle of a call.
    #[test]
    fn a_ref_that_is_packed_during_a_call_is_still_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        for part in ["objects", "refs/heads"] {
            fs::create_dir_all(path.join(part)).unwrap();
        }
        let id = "0123456789".repeat(4);
        fs::write(path.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(path.join("refs/heads/main"), &id).unwrap();
        let repository = Repository::open(&path).unwrap();
        let scope = CallScope {
            allows: &|_| true,
            is_over: &|| false,
        };
        let refs = Refs::new(&repository, &scope);
        assert_eq!(refs.followed("refs/tags/main"), Ok(None));
        fs::write(path.join("packed-refs"), format!("{id} refs/heads/main\n")).unwrap();
        fs::remove_file(path.join("refs/heads/main")).unwrap();
        let known = ObjectId::from_hex(id.as_bytes()).ok();
        assert_eq!(refs.followed("refs/heads/main"), Ok(known));
        assert_eq!(refs.followed("HEAD"), Ok(known));
    }

    #[test]
    fn what_leads_nowhere_counts_too_and_nobody_is_worked_for_who_no_longer_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        for part in ["objects", "refs/heads", "refs/tags"] {
            fs::create_dir_all(path.join(part)).unwrap();
        }
        let id = "0123456789".repeat(4);
        fs::write(path.join("HEAD"), "ref: refs/heads/none\n").unwrap();
        for (name, text) in [
            ("heads/a", "ref: refs/heads/none"),
            ("heads/b", "nothing"),
            ("heads/c", &id),
            ("tags/t", &id),
        ] {
            fs::write(path.join("refs").join(name), text).unwrap();
        }
        let repository = Repository::open(&path).unwrap();
        let asked = Cell::new(0);
        let most_asked = Cell::new(usize::MAX);
        let is_over = || {
            asked.set(asked.get() + 1);
            asked.get() > most_asked.get()
        };
        let scope = CallScope {
            allows: &|_| true,
            is_over: &is_over,
        };
        let found = |most| tips(&repository, &scope, most).map(|ids| ids.len());
        assert_eq!((found(2), found(3)), (Ok(0), Ok(1)));
        asked.set(0);
        assert_eq!(found(20), Ok(1));
        // Whenever it is that nobody waits any more, it ends there.
        for most in 0..asked.get() {
            asked.set(0);
            most_asked.set(most);
            assert_eq!(found(20), Err(GitError::Over));
            assert_eq!(asked.get(), most + 1);
        }
    }
}
