//! [`Rebuilding`]: a repository with what the branches and tags of the owner's lead to.
//!
//! ```text
//! HEAD's commit, whole ─▶ commits of all refs, the newest first ─▶ bounds met: cut as `git clone --depth` cuts
//! ```
//! Invariants: no object comes along that no ref leads to; of the configuration a few words of `core` do, each of which is one
//! of a list; a ref is a line of `packed-refs`, so that its name makes no file; a large history takes no longer than its bounds.
//!
//! Must not know: what is hidden; it is not asked where anything is.

use super::{
    HistoryError, USER,
    index::{Index, Staged},
    laid_out,
    pack::Packs,
    write_new,
};
use crate::snapshot::{FileFacts, LARGEST, MOST_BYTES, MOST_ENTRIES};
use plexus_rooted_files::{FileError, RelPath, Root};
use plexus_worker_git::{Entry, EntryKind, GitError, Head, History, ObjectId};
use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet},
    io,
    path::Path,
};

/// Most of all that is older than the newest commits: objects, and their bytes unpacked.
const MOST_OBJECTS: usize = 100_000;
const MOST_PAST: u64 = 128 * 1024 * 1024;
/// Longest names of the newest commit, all together, in bytes.
const MOST_NAMES: u64 = 64 * 1024 * 1024;
/// Most branches and tags.
const MOST_REFS: usize = 5_000;
/// Most folders in folders.
const DEEPEST: usize = 128;
/// What says how files are compared, in the section `core`, and the values that it may have.
const CORE: [&str; 6] = [
    "filemode",
    "ignorecase",
    "precomposeunicode",
    "symlinks",
    "autocrlf",
    "eol",
];
const VALUES: [&str; 5] = ["true", "false", "input", "lf", "crlf"];

/// Rebuilds the repositories of one folder.
pub(super) struct Rebuilding<'a> {
    root: &'a Root,
    to: &'a Path,
    is_over: &'a dyn Fn() -> bool,
    /// Of the newest commits of all of them: as much as a folder that is copied has at most.
    newest: Bounds,
    /// Of what is older.
    past: Bounds,
}

/// A repository whose index is not written yet.
pub(super) struct Rebuilt {
    /// What its newest commit has, by path as git spells it.
    files: BTreeMap<Vec<u8>, Entry>,
    /// Of those the ones that are too large.
    large: HashSet<ObjectId>,
}

/// What may still be taken.
struct Bounds {
    objects: usize,
    bytes: u64,
}

impl Bounds {
    fn take(&mut self, bytes: u64) -> Result<(), HistoryError> {
        self.objects = self.objects.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        match self.is_spent() {
            true => Err(HistoryError::Unreadable),
            false => Ok(()),
        }
    }

    const fn is_spent(&self) -> bool {
        self.objects == 0 || self.bytes == 0
    }
}

impl<'a> Rebuilding<'a> {
    pub(super) const fn new(root: &'a Root, to: &'a Path, is_over: &'a dyn Fn() -> bool) -> Self {
        Self {
            root,
            to,
            is_over,
            newest: Bounds {
                objects: MOST_ENTRIES,
                bytes: MOST_BYTES,
            },
            past: Bounds {
                objects: MOST_OBJECTS,
                bytes: MOST_PAST,
            },
        }
    }

    /// Writes the repository of the folder `at`, which lies at `folder`, into the copy, all but its index.
    pub(super) fn rebuild(&mut self, folder: &Path, at: &RelPath) -> Result<Rebuilt, HistoryError> {
        let git = laid_out(self.to.join(at.as_str()).join(".git"))?;
        let owners = History::open(folder)?;
        let head = owners.head()?;
        let mut refs = owners.refs(MOST_REFS, self.is_over)?;
        refs.extend(head.branch.clone().zip(head.commit));
        let mut taking = Taking {
            owners: &owners,
            packs: Packs::in_folder(&git),
            large: HashSet::new(),
            is_over: self.is_over,
        };
        let mut files = BTreeMap::new();
        if let Some(commit) = &head.commit {
            let tree = owners.links(commit)?.tree;
            files = taking.files(&tree)?;
            taking.tree(&tree, &mut self.newest, 0)?;
            taking.take(commit)?;
        }
        let shallow = taking.past(&head, &refs, &mut self.past)?;
        let mut packed = String::from("# pack-refs with: sorted \n");
        for (name, id) in &refs {
            let way = owners.tags(*id);
            let (Some((commit, tags)), Ok(_)) = (way.split_last(), RelPath::parse(name)) else {
                continue;
            };
            if taking.packs.has(commit) {
                tags.iter().try_for_each(|tag| taking.take(tag))?;
                packed.push_str(&format!("{} {name}\n", id.to_hex()));
            }
        }
        taking.packs.finish()?;
        let branch = head.branch.filter(|name| RelPath::parse(name).is_ok());
        let named = match (branch, head.commit) {
            (Some(branch), _) => format!("ref: {branch}\n"),
            (None, Some(commit)) => format!("{}\n", commit.to_hex()),
            (None, None) => "ref: refs/heads/main\n".to_owned(),
        };
        if !shallow.is_empty() {
            let lines = shallow.iter().map(|id| format!("{}\n", id.to_hex()));
            write_new(&git.join("shallow"), lines.collect::<String>().as_bytes())?;
        }
        let config = at.join(".git").and_then(|git| git.join("config")).ok();
        let config = config.and_then(|path| self.root.read(&path).ok());
        let config = config.map(|read| read.bytes).unwrap_or_default();
        let config = format!("{USER}{}", core(&String::from_utf8_lossy(&config)));
        for (name, text) in [("packed-refs", packed), ("HEAD", named), ("config", config)] {
            write_new(&git.join(name), text.as_bytes())?;
        }
        let large = taking.large;
        Ok(Rebuilt { files, large })
    }

    /// Writes the index: what the newest commit has, so that git shows what the owner made of it since.
    pub(super) fn index(
        &self,
        at: &RelPath,
        rebuilt: &Rebuilt,
        copied: &BTreeMap<RelPath, FileFacts>,
    ) -> io::Result<()> {
        let mut index = Index::default();
        for (name, entry) in &rebuilt.files {
            let path = std::str::from_utf8(name).ok().and_then(|name| {
                let path = RelPath::parse(name).ok()?;
                path.components()
                    .try_fold(at.clone(), |at, name| at.join(name).ok())
            });
            let is_there = |path: &RelPath| match entry.kind {
                EntryKind::Submodule => self.to.join(path.as_str()).is_dir(),
                _ => copied.contains_key(path),
            };
            // What the folder has and no copy takes did not go.
            let is_gone = |path: &RelPath| {
                let kind = self.root.kind(path);
                matches!(
                    kind,
                    Err(FileError::NotFound(_) | FileError::NotADirectory(_))
                )
            };
            let is_compared = path.is_some_and(|path| is_there(&path) || is_gone(&path))
                && !rebuilt.large.contains(&entry.id);
            let staged = if is_compared {
                Staged::Compared
            } else {
                Staged::Skipped
            };
            index.add(name, entry.mode, &entry.id, staged);
        }
        let git = self.to.join(at.as_str()).join(".git");
        write_new(&git.join("index"), &index.bytes()?)
    }
}

/// Takes objects of the owner's repository.
struct Taking<'a> {
    owners: &'a History,
    packs: Packs,
    large: HashSet<ObjectId>,
    is_over: &'a dyn Fn() -> bool,
}

impl Taking<'_> {
    /// The files of a tree, by path as git spells it.
    fn files(&self, tree: &ObjectId) -> Result<BTreeMap<Vec<u8>, Entry>, HistoryError> {
        let mut files = BTreeMap::new();
        let mut names = Bounds {
            objects: MOST_ENTRIES,
            bytes: MOST_NAMES,
        };
        let mut folders = vec![(Vec::new(), *tree, 0)];
        while let Some((folder, tree, depth)) = folders.pop() {
            for (name, entry) in self.owners.tree(&tree)? {
                let path = [&*folder, &*name].concat();
                // The same folder may be there often.
                names.take(path.len() as u64)?;
                match entry.kind {
                    EntryKind::Folder if depth < DEEPEST => {
                        folders.push(([&*path, b"/"].concat(), entry.id, depth + 1));
                    }
                    EntryKind::Folder => return Err(HistoryError::Unreadable),
                    EntryKind::Blob | EntryKind::Submodule => {
                        files.insert(path, entry);
                    }
                }
            }
        }
        Ok(files)
    }

    /// Takes a tree with all that it has and that was not taken before.
    fn tree(
        &mut self,
        id: &ObjectId,
        bounds: &mut Bounds,
        depth: usize,
    ) -> Result<(), HistoryError> {
        if depth > DEEPEST {
            return Err(HistoryError::Unreadable);
        }
        if self.packs.has(id) {
            return Ok(());
        }
        bounds.take(self.owners.header(id)?.1)?;
        for (_, entry) in self.owners.tree(id)? {
            match entry.kind {
                EntryKind::Folder => self.tree(&entry.id, bounds, depth + 1)?,
                EntryKind::Blob if !self.packs.has(&entry.id) => {
                    let (_, size) = self.owners.header(&entry.id)?;
                    if size > LARGEST {
                        self.large.insert(entry.id);
                        continue;
                    }
                    bounds.take(size)?;
                    self.take(&entry.id)?;
                }
                EntryKind::Blob | EntryKind::Submodule => {}
            }
        }
        self.take(id)
    }

    /// Takes one object.
    fn take(&mut self, id: &ObjectId) -> Result<(), HistoryError> {
        if (self.is_over)() {
            return Err(GitError::Over.into());
        }
        if !self.packs.has(id) {
            let (kind, bytes) = self.owners.object(id, LARGEST)?;
            self.packs.add(*id, kind, &bytes)?;
        }
        Ok(())
    }

    /// Takes commits that refs lead to, as far as the bounds reach; answers with those whose parents are left out.
    fn past(
        &mut self,
        head: &Head,
        refs: &BTreeMap<String, ObjectId>,
        bounds: &mut Bounds,
    ) -> Result<BTreeSet<ObjectId>, HistoryError> {
        let owners = self.owners;
        let mut known = HashSet::new();
        let mut due = BinaryHeap::new();
        let mut find = |due: &mut BinaryHeap<_>, id: ObjectId| {
            // One that this clone lacks leads nowhere.
            if known.insert(id)
                && let Ok(links) = owners.links(&id)
            {
                let is_first = head.commit == Some(id);
                due.push((if is_first { i64::MAX } else { links.seconds }, id));
            }
        };
        let tips = refs.values().filter_map(|id| owners.tags(*id).pop());
        for tip in head.commit.into_iter().chain(tips) {
            find(&mut due, tip);
        }
        let mut taken: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        while let Some((_, id)) = due.pop() {
            let links = owners.links(&id)?;
            let whole = match self.packs.has(&id) {
                true => Ok(()),
                false if bounds.is_spent() => break,
                false => self
                    .tree(&links.tree, bounds, 0)
                    .and_then(|()| bounds.take(0))
                    .and_then(|()| self.take(&id)),
            };
            match whole {
                Ok(()) => {}
                Err(HistoryError::Unreadable) => continue,
                Err(error) => return Err(error),
            }
            for parent in links.parents.iter().filter(|_| !links.is_cut) {
                find(&mut due, *parent);
            }
            taken.insert(id, links.parents);
        }
        let is_cut = |parents: &Vec<ObjectId>| parents.iter().any(|id| !taken.contains_key(id));
        let cut = taken.iter().filter(|(_, parents)| is_cut(parents));
        Ok(cut.map(|(id, _)| *id).collect())
    }
}

/// A configuration of what may be known of the owner's.
fn core(owners: &str) -> String {
    let mut kept = String::from("[core]\n\trepositoryformatversion = 0\n\tbare = false\n");
    let mut is_core = false;
    for line in owners.lines() {
        let mut line = line.trim();
        if let Some((section, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        {
            is_core = section.trim().eq_ignore_ascii_case("core");
            line = rest.trim();
        }
        let (name, value) = line.split_once('=').unwrap_or((line, "true"));
        let (name, value) = (name.trim().to_lowercase(), value.trim().to_lowercase());
        if is_core && CORE.contains(&&*name) && VALUES.contains(&&*value) {
            kept.push_str(&format!("\t{name} = {value}\n"));
        }
    }
    kept
}
