//! Where the parts of a repository lie, and that none of them lies outside of the folder.
//!
//! The cage is what keeps the worker in; these checks are so that a repository that leads out is refused in words, at
//! once, and in the same way on every system.

use crate::{error::GitError, objects::Reader, reachable::Reachable};
use gix_odb::{Store, store::init};
use plexus_rooted_files::{FileError, Identity, Policy, RelPath, Root};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest single thing that is unpacked, in bytes: the largest tree that is read.
const MAX_UNPACKED: usize = 32 << 20;
/// Most borrowed object folders.
const MAX_ALTERNATES: usize = 16;

/// An opened repository.
#[derive(Debug)]
pub(crate) struct Repository {
    /// Its folder of refs and HEAD; paths in it are walked without following links.
    pub(crate) git: Root,
    store: Odb,
    identity: Identity,
    /// Commits whose parents a shallow clone left out.
    pub(crate) shallow: HashSet<gix_hash::ObjectId>,
    /// What refs lead to.
    pub(crate) reachable: Reachable,
}

struct Odb(Arc<Store>);

impl std::fmt::Debug for Odb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Odb(…)")
    }
}

impl Repository {
    /// Opens the repository of this folder: a work tree with `.git`, or a bare one.
    pub(crate) fn open(folder: &Path) -> Result<Self, GitError> {
        let folder = fs::canonicalize(folder)
            .map_err(|_| GitError::NotFound("the folder is not there".to_owned()))?;
        // Objects of a clone on the same disk have two names, so hard links are ordinary here.
        let policy = Policy {
            allow_hard_links: true,
            hide_dot_files: false,
        };
        let root = Root::open(&folder, policy).map_err(broken)?;
        let identity = root.identity().map_err(broken)?;
        let dir = git_dir(&folder, &root)?;
        let git = Root::open(&dir, policy).map_err(broken)?;
        // A linked work tree keeps its own HEAD and everything else elsewhere.
        if file(&git, "commondir")?.is_some() {
            return Err(GitError::Refused(
                "this is a linked work tree; add the folder of the main repository".to_owned(),
            ));
        }
        if file(&git, "HEAD")?.is_none() {
            return Err(GitError::NotFound(
                "there is no repository in the folder".to_owned(),
            ));
        }
        if let Some(kind) = file(&git, "config")?.as_deref().and_then(unread_format) {
            return Err(GitError::Refused(format!(
                "the repository is of a kind that is not read: {kind}"
            )));
        }
        let objects = dir.join("objects");
        let mut checked = Vec::new();
        confined(&folder, &objects, &mut checked)?;
        let options = init::Options {
            alloc_limit_bytes: Some(MAX_UNPACKED),
            // It names packs by paths, which may lead anywhere; each pack has an index of its own.
            use_multi_pack_index: false,
            current_dir: Some(folder.clone()),
            ..init::Options::default()
        };
        let store = Store::at_opts(
            objects,
            gix_hash::Kind::Sha1,
            &mut std::iter::empty(),
            options,
        )
        // What the library says names paths of this machine.
        .map_err(|_| GitError::Broken("the objects cannot be read".to_owned()))?;
        let shallow = file(&git, "shallow")?.unwrap_or_default();
        let shallow = shallow
            .lines()
            .map(|line| gix_hash::ObjectId::from_hex(line.trim().as_bytes()))
            .collect::<Result<_, _>>()
            .map_err(|_| GitError::Broken("the file shallow cannot be read".to_owned()))?;
        Ok(Self {
            git,
            store: Odb(Arc::new(store)),
            identity,
            shallow,
            reachable: Reachable::default(),
        })
    }

    /// The folder that it was opened in.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// A reader of its own for one call.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(self.store.0.to_cache_arc())
    }

    /// The text of a small file of the repository; `None` where there is none.
    pub(crate) fn file(&self, path: &str) -> Result<Option<String>, GitError> {
        file(&self.git, path)
    }
}

/// What of a repository's configuration says that it cannot be read. Nothing else in it is looked at.
fn unread_format(config: &str) -> Option<&'static str> {
    let mut section = String::new();
    for line in config.lines() {
        let mut line = line.trim();
        if let Some((head, rest)) = line.strip_prefix('[').and_then(|l| l.split_once(']')) {
            section = head.trim().to_ascii_lowercase();
            line = rest.trim();
        }
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let Some((key, value)) = line.split_once('=').filter(|_| section == "extensions") else {
            continue;
        };
        let value = value.trim().trim_matches('"').to_ascii_lowercase();
        match (key.trim().to_ascii_lowercase().as_str(), value.as_str()) {
            ("objectformat", "sha1") | ("refstorage", "files") => {}
            ("objectformat", _) => return Some("its ids are not SHA-1 (extensions.objectFormat)"),
            ("refstorage", _) => return Some("its refs are no files (extensions.refStorage)"),
            _ => {}
        }
    }
    None
}

/// `.git` below the folder, where a `.git` file says within it, or the folder itself.
fn git_dir(folder: &Path, root: &Root) -> Result<PathBuf, GitError> {
    let dot_git = RelPath::parse(".git").map_err(|e| GitError::Refused(e.to_string()))?;
    let at = folder.join(".git");
    let Ok(about) = at.symlink_metadata() else {
        return Ok(folder.to_path_buf());
    };
    if about.is_dir() {
        return Ok(at);
    }
    if about.is_symlink() {
        return Err(outside(".git is a link"));
    }
    let text = root.read(&dot_git).map_err(broken)?;
    let text = String::from_utf8_lossy(&text.bytes).into_owned();
    let target = text
        .strip_prefix("gitdir:")
        .map(str::trim)
        .ok_or_else(|| GitError::Broken(".git is neither a folder nor names one".to_owned()))?;
    let found = fs::canonicalize(folder.join(target))
        .map_err(|_| outside(".git names a folder that is not there, or not in this one"))?;
    if found.starts_with(folder) {
        Ok(found)
    } else {
        Err(outside(
            ".git names a folder elsewhere, as in a linked work tree or a submodule; add the folder of the main repository",
        ))
    }
}

/// Checks an object folder and those that it borrows from: all within the folder, and not by way of links.
fn confined(folder: &Path, objects: &Path, checked: &mut Vec<PathBuf>) -> Result<(), GitError> {
    let found = fs::canonicalize(objects).map_err(|_| outside("its objects are not in it"))?;
    if found != objects || !found.starts_with(folder) {
        return Err(outside("its objects lie elsewhere"));
    }
    if checked.contains(&found) {
        return Ok(());
    }
    if checked.len() > MAX_ALTERNATES {
        return Err(GitError::Refused(
            "it borrows from too many others".to_owned(),
        ));
    }
    checked.push(found);
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let inner = entries(objects).map(|entry| entry.path());
    // Packs lie one folder down, and so do loose objects.
    for folder in std::iter::once(objects.to_path_buf()).chain(inner) {
        let is_link = |entry: fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if entries(&folder).any(is_link) {
            return Err(outside("some of its objects are links"));
        }
    }
    let Ok(alternates) = fs::read(objects.join("info/alternates")) else {
        return Ok(());
    };
    let listed = gix_odb::alternate::parse(&alternates)
        .map_err(|_| GitError::Broken("objects/info/alternates cannot be read".to_owned()))?;
    for other in listed {
        let other = fs::canonicalize(objects.join(other))
            .map_err(|_| outside("it borrows objects from a place that is not in it"))?;
        if !other.starts_with(folder) {
            return Err(outside(
                "it borrows objects from a repository elsewhere (objects/info/alternates); `git repack -a -d` there makes it whole",
            ));
        }
        confined(folder, &other, checked)?;
    }
    Ok(())
}

fn outside(what: &str) -> GitError {
    GitError::Refused(format!("the repository leads out of its folder: {what}"))
}

fn broken(error: FileError) -> GitError {
    match error {
        FileError::Permission(_) => GitError::Denied,
        FileError::Symlink(_) | FileError::Path(_) => GitError::Refused(error.to_string()),
        FileError::NotFound(_) => GitError::NotFound(error.to_string()),
        FileError::TooLarge { .. } => GitError::TooLarge(error.to_string()),
        other => GitError::Broken(other.to_string()),
    }
}

fn file(git: &Root, path: &str) -> Result<Option<String>, GitError> {
    let path = RelPath::parse_file(path).map_err(|error| GitError::Invalid(error.to_string()))?;
    match git.read(&path) {
        Ok(file) => Ok(Some(String::from_utf8_lossy(&file.bytes).into_owned())),
        Err(FileError::NotFound(_) | FileError::NotADirectory(_) | FileError::NotAFile { .. }) => {
            Ok(None)
        }
        Err(error) => Err(broken(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_the_system_is_no_damage() {
        let refused = FileError::Permission(RelPath::parse(".git").unwrap());
        assert_eq!(broken(refused), GitError::Denied);
    }
}
