//! A real directory tree to attack: a root with honest files, and next to it an outside that must never be reached.

use std::{
    fs,
    path::{Path, PathBuf},
};

use plexus_rooted_files::{FileError, Policy, RelPath, Root};

/// What no read below the root may ever return.
pub(crate) const SECRET: &str = "SECRET of the outside";
/// What honest files hold.
pub(crate) const INSIDE: &str = "inside";

pub(crate) struct Tree {
    temp: tempfile::TempDir,
}

impl Tree {
    /// `root/ok.md`, `root/dir/ok.md`, `outside/secret.md`.
    pub(crate) fn new() -> Self {
        let tree = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(tree.root().join("dir")).unwrap();
        fs::create_dir_all(tree.outside()).unwrap();
        fs::write(tree.outside().join("secret.md"), SECRET).unwrap();
        tree.file("ok.md", INSIDE);
        tree.file("dir/ok.md", INSIDE);
        tree
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temp.path().join("root")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.temp.path().join("outside")
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn link(&self, target: impl AsRef<Path>, path: &str) {
        std::os::unix::fs::symlink(target, self.at(path)).unwrap();
    }

    pub(crate) fn open(&self) -> Root {
        self.open_with(Policy::default())
    }

    pub(crate) fn open_with(&self, policy: Policy) -> Root {
        Root::open(&self.root(), policy).unwrap()
    }
}

/// Reads as a worker does: text to path, path to bytes.
pub(crate) fn read(root: &Root, path: &str) -> Result<String, FileError> {
    let file = root.read(&RelPath::parse_file(path)?)?;
    Ok(String::from_utf8(file.bytes).unwrap())
}

/// The reason word of a refused read, or what it wrongly gave.
pub(crate) fn refusal(root: &Root, path: &str) -> String {
    match read(root, path) {
        Ok(content) => format!("gave {content:?}"),
        Err(error) => error.reason().to_owned(),
    }
}
