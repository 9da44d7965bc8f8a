//! What a revision names: `HEAD`, a branch, a tag, an id or its beginning, with `~n` and `^n`.

use crate::{
    error::GitError,
    look::Look,
    objects::{Commit, Reader},
    reachable::Begins,
    repository::Repository,
    walk::MAX_WALK,
};
use gix_hash::ObjectId;
use gix_object::Kind;
use std::collections::BTreeMap;

/// How often a ref may lead to another, and a tag to another.
const MAX_HOPS: usize = 5;
/// Most steps that `~n` takes.
const MAX_BACK: usize = 10_000;
/// Most packed refs that are named beside commits.
const MAX_NAMES: usize = 2_000;
/// Where the refs are whose history an agent may read.
const TIPS: [&str; 3] = ["refs/heads/", "refs/remotes/", "refs/tags/"];
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
    look: &Look<'_>,
    text: &str,
) -> Result<Commit, GitError> {
    if text.contains("..") || text.contains([':', '@']) && text != "@" {
        return Err(GitError::Invalid(
            "a revision is a branch, a tag, a commit's id or HEAD, with ~n or ^n behind it; for a range use rev and not"
                .to_owned(),
        ));
    }
    let end = text.find(['~', '^']).unwrap_or(text.len());
    let (name, mut steps) = text.split_at(end);
    let name = if name == "@" { "HEAD" } else { name };
    let id = named(repository, reader, look, name)?;
    let mut commit = reader.commit(&peeled(reader, id)?)?;
    while let Some(step) = steps.chars().next() {
        let rest = &steps[1..];
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
        } else if step == '~' {
            if count > MAX_BACK {
                return Err(back());
            }
            for _ in 0..count {
                look.go_on()?;
                if repository.shallow.contains(&commit.id) {
                    return Err(back());
                }
                let parent = commit.parents.first().ok_or_else(back)?;
                commit = reader.commit(parent)?;
            }
        } else {
            return Err(GitError::Invalid(format!("{text:?} is no revision")));
        }
    }
    Ok(commit)
}

/// The id that a name, or the beginning of an id, stands for: a branch, a tag, `HEAD`, or what one of them leads to.
fn named(
    repository: &Repository,
    reader: &Reader,
    look: &Look<'_>,
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
        return match repository.reachable.holds(repository, reader, look, &id)? {
            true => Ok(id),
            false => Err(missing()),
        };
    }
    for (before, after) in PLACES {
        // Only refs lie directly in the repository's folder, and they are in capitals.
        let capitals = |c: char| c.is_ascii_uppercase() || c == '_';
        if before.is_empty() && !name.starts_with("refs/") && !name.chars().all(capitals) {
            continue;
        }
        let full = format!("{before}{name}{after}");
        let Some(id) = followed(repository, &full)? else {
            continue;
        };
        // ORIG_HEAD, FETCH_HEAD, refs/stash and their like lead to what was left behind.
        let leads = full == "HEAD" || TIPS.iter().any(|tips| full.starts_with(tips));
        if leads || repository.reachable.holds(repository, reader, look, &id)? {
            return Ok(id);
        }
    }
    if hex && name.len() >= 4 {
        return match repository
            .reachable
            .beginning(repository, reader, look, name)?
        {
            Begins::One(id) => Ok(id),
            Begins::Nothing => Err(missing()),
            Begins::Several => Err(GitError::Invalid(format!(
                "{name:?} begins several ids; give more of it"
            ))),
        };
    }
    if name == "HEAD" {
        return Err(GitError::NotFound("there is no commit yet".to_owned()));
    }
    Err(missing())
}

/// Follows a ref to an id.
fn followed(repository: &Repository, name: &str) -> Result<Option<ObjectId>, GitError> {
    let mut name = name.to_owned();
    for _ in 0..MAX_HOPS {
        let text = match repository.file(&name) {
            Ok(text) => text,
            // No ref can have that name.
            Err(GitError::Invalid(_)) => None,
            Err(error) => return Err(error),
        };
        let Some(text) = text else {
            return Ok(packed(repository)?.get(&name).copied());
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
            None => return Ok(ObjectId::from_hex(text.as_bytes()).ok()),
        }
    }
    Err(GitError::Broken(format!("{name:?} leads in a circle")))
}

fn packed(repository: &Repository) -> Result<BTreeMap<String, ObjectId>, GitError> {
    let text = repository.file("packed-refs")?.unwrap_or_default();
    let line = |line: &str| {
        let (id, name) = line.split_once(' ')?;
        Some((name.to_owned(), ObjectId::from_hex(id.as_bytes()).ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
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
pub(crate) fn tips(repository: &Repository, most: usize) -> Vec<ObjectId> {
    let mut all = packed(repository).unwrap_or_default();
    all.retain(|name, _| TIPS.iter().any(|tips| name.starts_with(tips)));
    for tips in TIPS {
        loose(repository, tips.trim_end_matches('/'), &mut all, most, 0);
    }
    let mut ids: Vec<ObjectId> = all.into_values().take(most).collect();
    ids.extend(followed(repository, "HEAD").ok().flatten());
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Branches and tags by the commit that they name: what `git log --decorate` shows.
pub(crate) fn names(repository: &Repository, reader: &Reader) -> BTreeMap<ObjectId, Vec<String>> {
    let mut all: BTreeMap<String, ObjectId> = packed(repository).unwrap_or_default();
    for kind in ["heads", "tags"] {
        loose(repository, &format!("refs/{kind}"), &mut all, MAX_NAMES, 0);
    }
    let mut names: BTreeMap<ObjectId, Vec<String>> = BTreeMap::new();
    for (name, id) in all.into_iter().take(MAX_NAMES) {
        let short = ["refs/heads/", "refs/tags/", "refs/remotes/"]
            .iter()
            .find_map(|start| name.strip_prefix(start));
        if let (Some(short), Ok(id)) = (short, peeled(reader, id)) {
            names.entry(id).or_default().push(short.to_owned());
        }
    }
    names
}

/// Loose refs below a folder. Links are not followed; folders in folders only so deep as names may be.
fn loose(
    repository: &Repository,
    folder: &str,
    all: &mut BTreeMap<String, ObjectId>,
    most: usize,
    depth: usize,
) {
    use plexus_rooted_files::{Kind as FileKind, RelPath};
    if depth > 8 || all.len() > most {
        return;
    }
    let Ok(path) = RelPath::parse(folder) else {
        return;
    };
    let Ok(listing) = repository.git.list(&path, most, None) else {
        return;
    };
    for entry in listing.entries {
        let name = entry.path.as_str().to_owned();
        match entry.kind {
            FileKind::Dir => loose(repository, &name, all, most, depth + 1),
            FileKind::File => {
                if let Ok(Some(id)) = followed(repository, &name) {
                    all.insert(name, id);
                }
            }
        }
    }
}
