//! [`OneCommit`]: a repository with one commit of what a copy has.
//!
//! Invariant: it has nothing that the files of the copy do not have.
//!
//! Must not know: why there is no more.

use super::{
    USER,
    index::{Index, Staged},
    laid_out,
    pack::Packs,
    write_new,
};
use plexus_rooted_files::RelPath;
use plexus_worker_git::{Kind, ObjectId};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

const FILE: u32 = 0o100_644;
const EXECUTABLE: u32 = 0o100_755;
const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n";
const WHO: &str = "Plexus <plexus@localhost>";
const MESSAGE: &str = "The folder as the run began with it\n\nIts history is left out.\n";

/// The commit that is being made.
pub(super) struct OneCommit {
    git: PathBuf,
    packs: Packs,
    files: BTreeMap<RelPath, (u32, ObjectId)>,
}

impl OneCommit {
    /// In the folder `git`, which is made.
    pub(super) fn in_folder(git: &Path) -> io::Result<Self> {
        let git = laid_out(git.to_owned())?;
        Ok(Self {
            packs: Packs::in_folder(&git),
            git,
            files: BTreeMap::new(),
        })
    }

    /// Adds a file of the copy.
    pub(super) fn add(&mut self, path: &RelPath, bytes: &[u8], executable: bool) -> io::Result<()> {
        let id = self.packs.add_new(Kind::Blob, bytes)?;
        let mode = if executable { EXECUTABLE } else { FILE };
        self.files.insert(path.clone(), (mode, id));
        Ok(())
    }

    /// Writes the repository.
    pub(super) fn write(mut self) -> io::Result<()> {
        let files = self.files.iter();
        let files = files.map(|(path, (mode, id))| (path.as_str(), *mode, *id));
        let tree = tree(&mut self.packs, &files.collect::<Vec<_>>())?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let who = format!("{WHO} {} +0000", now.unwrap_or_default().as_secs());
        let tree = tree.to_hex();
        let commit = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{MESSAGE}");
        let commit = self.packs.add_new(Kind::Commit, commit.as_bytes())?;
        self.packs.finish()?;
        let refs = format!("{} refs/heads/main\n", commit.to_hex());
        let mut index = Index::default();
        for (path, (mode, id)) in &self.files {
            index.add(path.as_str().as_bytes(), *mode, id, Staged::Compared);
        }
        let index = index.bytes()?;
        for (name, bytes) in [
            ("packed-refs", refs.as_bytes()),
            ("HEAD", b"ref: refs/heads/main\n"),
            ("config", format!("{USER}{CONFIG}").as_bytes()),
            ("index", &index),
        ] {
            write_new(&self.git.join(name), bytes)?;
        }
        Ok(())
    }
}

/// Writes the tree of files whose paths are sorted, which is the order of git too: a folder sorts with the slash behind it.
fn tree<'a>(packs: &mut Packs, files: &[(&'a str, u32, ObjectId)]) -> io::Result<ObjectId> {
    let mut bytes = Vec::new();
    let mut entry = |mode: &str, name: &str, id: &ObjectId| {
        bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
        bytes.extend_from_slice(id.as_slice());
    };
    let mut rest = files;
    while let Some((path, mode, id)) = rest.first() {
        let Some((folder, _)) = path.split_once('/') else {
            entry(&format!("{mode:o}"), path, id);
            rest = &rest[1..];
            continue;
        };
        let below = |path: &'a str| path.strip_prefix(folder)?.strip_prefix('/');
        let inner = rest
            .iter()
            .map_while(|(path, mode, id)| Some((below(path)?, *mode, *id)));
        let inner: Vec<_> = inner.collect();
        entry("40000", folder, &tree(packs, &inner)?);
        rest = &rest[inner.len()..];
    }
    packs.add_new(Kind::Tree, &bytes)
}
