//! A world for one rule: a folder of its own, and what it held at a moment.

use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The folder that a source is opened on, and one beside it that no call may reach.
#[derive(Debug)]
pub(crate) struct World {
    _folder: TempDir,
    pub(crate) root: PathBuf,
    /// Those of further path fields, by field.
    pub(crate) folders: BTreeMap<String, PathBuf>,
    pub(crate) outside: PathBuf,
}

/// Stands in a file outside of every root.
pub(crate) const CANARY: &str = "canary-5d0c: outside of the root";
/// That file.
pub(crate) const CANARY_FILE: &str = "canary.md";

impl World {
    /// An empty root that `make` fills, and an empty folder for each of `fields`.
    pub(crate) fn new<'f>(make: &dyn Fn(&Path), fields: impl Iterator<Item = &'f str>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // A rule of a profile speaks of what a path leads to.
        let path = folder.path().canonicalize().expect("the folder is there");
        let (root, outside) = (path.join("root"), path.join("outside"));
        fs::create_dir(&root).expect("a root");
        fs::create_dir(&outside).expect("a folder beside it");
        fs::write(outside.join(CANARY_FILE), CANARY).expect("the canary");
        make(&root);
        let folder_of = |field: &str| {
            let place = path.join(format!("field-{field}"));
            fs::create_dir(&place).expect("a folder of a field");
            (field.to_owned(), place)
        };
        Self {
            _folder: folder,
            root,
            folders: fields.map(folder_of).collect(),
            outside,
        }
    }

    /// What is there now.
    pub(crate) fn look(&self) -> Snapshot {
        let mut found = BTreeMap::new();
        collect(&self.root, &self.root, &mut found);
        for (field, folder) in &self.folders {
            let mut below = BTreeMap::new();
            collect(folder, folder, &mut below);
            let named = below.into_iter();
            found.extend(named.map(|(path, entry)| (format!("{field}: {path}"), entry)));
        }
        Snapshot(found)
    }
}

/// Every path below the root and the folders of path fields, with kind, mode, time of change and content. A read may move the time of access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// The paths whose entries differ between the two, or that are in one only.
    pub(crate) fn changed(&self, after: &Self) -> Vec<String> {
        let differs = |path: &&String| self.0.get(*path) != after.0.get(*path);
        let mut paths: Vec<String> = self
            .0
            .keys()
            .chain(after.0.keys())
            .filter(differs)
            .cloned()
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// The regular files among them whose content differs.
    pub(crate) fn changed_files(&self, after: &Self) -> Vec<String> {
        let content = |all: &Self, path: &str| {
            let entry = all.0.get(path)?;
            entry
                .strip_prefix("file ")
                .map(|entry| entry.rsplit(' ').next().unwrap_or_default().to_owned())
        };
        let mut paths = self.changed(after);
        paths.retain(|path| content(self, path) != content(after, path));
        paths
    }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let about = path.symlink_metadata().expect("an entry");
        let kind = about.file_type();
        let (word, content) = if kind.is_dir() {
            ("folder", String::new())
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            ("link", target.to_string_lossy().into_owned())
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let digest = Sha256::digest(&bytes);
            let hex = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            ("file", hex)
        } else {
            ("other", String::new())
        };
        let name = path.strip_prefix(root).expect("below the root");
        let line = format!(
            "{word} {:o} {}.{:09} {content}",
            about.mode(),
            about.mtime(),
            about.mtime_nsec()
        );
        found.insert(name.to_string_lossy().into_owned(), line);
        if kind.is_dir() {
            collect(root, &path, found);
        }
    }
}
