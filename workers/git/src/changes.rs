//! What differs between two trees, and what was renamed.

use crate::{
    error::GitError,
    lines,
    objects::{Entry, EntryKind, MAX_NAME, Reader},
    scope::CallScope,
};
use gix_hash::ObjectId;
use std::collections::{BTreeMap, HashSet};

/// Most changes that are looked at between two trees.
pub(crate) const MAX_CHANGES: usize = 20_000;
/// Most folders that are looked into again between two trees: one object may be a folder at very many paths.
const MAX_AGAIN: usize = 50_000;
/// Most folders that are kept as looked into; further ones count as such.
const MAX_MET: usize = 1 << 19;
/// Deepest folder.
const MAX_DEPTH: usize = 128;
/// Most that is kept of names that differ, in all folders on the way down, in bytes.
const MAX_HELD: usize = 32 << 20;
/// Most pairs that are compared for a rename, and the largest file that is, in bytes.
const MAX_PAIRS: (usize, usize) = (400, 256 << 10);
/// The share of lines in common above which a file counts as renamed, as git has it.
const ALIKE: f64 = 0.5;

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: String,
    /// Where it was before, if that is another path.
    pub(crate) from: Option<String>,
    pub(crate) old: Option<Entry>,
    pub(crate) new: Option<Entry>,
}

impl Change {
    pub(crate) fn word(&self) -> &'static str {
        match (&self.from, self.old, self.new) {
            (Some(_), ..) => "renamed",
            (None, None, _) => "added",
            (None, _, None) => "deleted",
            (None, Some(old), Some(new)) if old.id == new.id => "mode",
            _ => "modified",
        }
    }
}

/// The files that differ at or below `under` and that may be seen, by path. `stop` ends it at the first.
pub(crate) fn between(
    reader: &Reader,
    scope: &CallScope<'_>,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    under: Option<&str>,
    stop: bool,
) -> Result<Vec<Change>, GitError> {
    let mut differ = Differ {
        reader,
        scope,
        under,
        stop,
        met: HashSet::new(),
        again: 0,
        held: 0,
        found: Vec::new(),
    };
    differ.trees(old, new, "", 0)?;
    let mut found = differ.found;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

struct Differ<'a> {
    reader: &'a Reader,
    scope: &'a CallScope<'a>,
    under: Option<&'a str>,
    stop: bool,
    /// Folders that were looked into, and how often there was no new one to look into.
    met: HashSet<ObjectId>,
    again: usize,
    /// What `trees` keeps at every level that it is in, in bytes.
    held: usize,
    found: Vec<Change>,
}

/// A name that differs, and what it stands for in each of the two trees.
type Differs = (Vec<u8>, Option<Entry>, Option<Entry>);

impl Differ<'_> {
    fn trees(
        &mut self,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        at: &str,
        depth: usize,
    ) -> Result<(), GitError> {
        self.scope.go_on()?;
        if old == new || self.is_done() {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(GitError::TooLarge("folders are too deep".to_owned()));
        }
        let met = self.met.len();
        if met < MAX_MET {
            self.met.extend([old, new].into_iter().flatten());
        }
        self.again += usize::from(self.met.len() == met);
        if self.again > MAX_AGAIN {
            return Err(GitError::TooLarge(format!(
                "more than {MAX_AGAIN} folders are like others; narrow it by path"
            )));
        }
        let differing = self.differing(old, new, at)?;
        let weight = |(name, ..): &Differs| size_of::<Differs>() + name.capacity();
        let weight: usize = differing.iter().map(weight).sum();
        self.held += weight;
        if self.held > MAX_HELD {
            return Err(GitError::TooLarge(format!(
                "the names that differ take more than {MAX_HELD} bytes; narrow it by path"
            )));
        }
        for (name, old, new) in differing {
            if self.is_done() {
                break;
            }
            let path = joined_path(at, &name);
            if path.len() > MAX_NAME {
                return Err(GitError::TooLarge(format!(
                    "a path of more than {MAX_NAME} bytes"
                )));
            }
            let folder =
                |entry: Option<Entry>| entry.filter(|e| e.kind == EntryKind::Folder).map(|e| e.id);
            let file = |entry: Option<Entry>| entry.filter(|e| e.kind != EntryKind::Folder);
            if folder(old).is_some() || folder(new).is_some() {
                self.trees(folder(old), folder(new), &path, depth + 1)?;
            }
            let (old, new) = (file(old), file(new));
            if (old.is_some() || new.is_some())
                && self.is_under(&path)
                && (self.scope.allows)(&path)
            {
                if self.found.len() >= MAX_CHANGES {
                    return Err(GitError::TooLarge(format!(
                        "more than {MAX_CHANGES} files differ; narrow it by path"
                    )));
                }
                self.found.push(Change {
                    path,
                    from: None,
                    old,
                    new,
                });
            }
        }
        self.held -= weight;
        Ok(())
    }

    /// The names in two folders that differ and are on the way, in order.
    fn differing(
        &self,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        at: &str,
    ) -> Result<Vec<Differs>, GitError> {
        let read = |tree: Option<ObjectId>| tree.map_or(Ok(Vec::new()), |id| self.reader.tree(&id));
        let mut pairs: BTreeMap<Vec<u8>, (Option<Entry>, Option<Entry>)> = BTreeMap::new();
        // Of a name that is there twice the first counts, as where one file is asked for.
        for (name, entry) in read(old)? {
            pairs.entry(name).or_default().0.get_or_insert(entry);
        }
        for (name, entry) in read(new)? {
            pairs.entry(name).or_default().1.get_or_insert(entry);
        }
        let differs =
            |name: &[u8], old, new| old != new && self.is_on_the_way(&joined_path(at, name));
        Ok(pairs
            .into_iter()
            .filter(|(name, (old, new))| differs(name, *old, *new))
            .map(|(name, (old, new))| (name, old, new))
            .collect())
    }

    fn is_done(&self) -> bool {
        self.stop && !self.found.is_empty()
    }

    fn is_under(&self, path: &str) -> bool {
        self.under.is_none_or(|under| below(under, path))
    }

    fn is_on_the_way(&self, path: &str) -> bool {
        self.under
            .is_none_or(|under| below(under, path) || below(path, under))
    }
}

fn joined_path(at: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if at.is_empty() {
        name.into_owned()
    } else {
        format!("{at}/{name}")
    }
}

/// Whether `path` is `folder` or lies below it.
fn below(folder: &str, path: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Joins what was deleted and what was added where they are the same file, or much alike.
pub(crate) fn with_renames(
    reader: &Reader,
    scope: &CallScope<'_>,
    changes: Vec<Change>,
) -> Result<Vec<Change>, GitError> {
    let (mut gone, rest): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|c| c.new.is_none());
    let (mut added, mut kept): (Vec<Change>, Vec<Change>) =
        rest.into_iter().partition(|c| c.old.is_none());
    let is_small = gone.len().saturating_mul(added.len()) <= MAX_PAIRS.0;
    added.retain_mut(|new| {
        let same = gone
            .iter()
            .position(|old| old.old.map(|e| e.id) == new.new.map(|e| e.id));
        match same {
            Some(at) => {
                kept.push(joined(&gone.remove(at), new));
                false
            }
            None => true,
        }
    });
    if is_small {
        let mut left = Vec::new();
        for new in added {
            scope.go_on()?;
            match alike(reader, &gone, &new)? {
                Some(at) => kept.push(joined(&gone.remove(at), &new)),
                None => left.push(new),
            }
        }
        added = left;
    }
    kept.extend(gone);
    kept.extend(added);
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(kept)
}

fn joined(old: &Change, new: &Change) -> Change {
    Change {
        path: new.path.clone(),
        from: Some(old.path.clone()),
        old: old.old,
        new: new.new,
    }
}

/// The one among `gone` that is most like `new`.
fn alike(reader: &Reader, gone: &[Change], new: &Change) -> Result<Option<usize>, GitError> {
    let Some(text) = small(reader, new.new)? else {
        return Ok(None);
    };
    let mut best = (ALIKE, None);
    for (at, old) in gone.iter().enumerate() {
        if let Some(before) = small(reader, old.old)? {
            let share = lines::in_common(&before, &text);
            if share > best.0 {
                best = (share, Some(at));
            }
        }
    }
    Ok(best.1)
}

/// The content of a file that is small enough to be compared with others.
fn small(reader: &Reader, entry: Option<Entry>) -> Result<Option<Vec<u8>>, GitError> {
    let Some(entry) = entry.filter(|entry| entry.kind == EntryKind::Blob) else {
        return Ok(None);
    };
    match reader.header(&entry.id) {
        Ok((_, size)) if size > 0 && size <= MAX_PAIRS.1 as u64 => {}
        // What this clone lacks, or cannot be read, cannot be compared.
        Ok(_) | Err(GitError::NotFound(_) | GitError::Broken(_)) => return Ok(None),
        Err(error) => return Err(error),
    }
    match reader.blob(&entry.id) {
        Ok(bytes) => Ok(lines::is_text(&bytes).then_some(bytes)),
        Err(GitError::Broken(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
