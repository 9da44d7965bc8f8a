//! The list of what is installed under a prefix: `libexec/plexus/installed.json`, in a form that `cargo xtask install` and
//! `cargo xtask dist` write as well.
//!
//! ```json
//! {"format": 1, "version": "…", "folders": ["bin", …], "files": [{"path": "bin/plexus", "sha256": "…"}, …]}
//! ```
//! Paths are relative to the prefix. `folders` are those that the install made, outer ones first. Invariant: a list that
//! was tampered with leads nowhere outside of the prefix.

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};
use plexus_client::{Exit, Stop};
use plexus_protocol::{
    Digest, installation,
    state_dir::{make_folder, sync_name},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

/// Where the list lies, below the prefix.
pub(crate) const LIST: &str = "libexec/plexus/installed.json";
/// The form of the list that this version knows.
const FORMAT: u64 = 1;

/// The list, as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct List {
    format: u64,
    pub(crate) version: String,
    /// Outer ones first.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) files: Vec<ListedFile>,
}

/// A file that was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedFile {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

/// How a listed file is found.
pub(crate) enum FoundFile {
    /// As it was installed.
    Unchanged,
    /// Otherwise: it is somebody else's by now.
    Changed,
    /// Not at all.
    Missing,
}

impl ListedFile {
    /// Looks at the file below `prefix`.
    pub(crate) fn found(&self, prefix: &Path) -> Result<FoundFile, Stop> {
        let path = prefix.join(&self.path);
        match fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes).to_string() == self.sha256 => Ok(FoundFile::Unchanged),
            Ok(_) => Ok(FoundFile::Changed),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(FoundFile::Missing),
            Err(e) => Err(failed(&path, &e)),
        }
    }
}

impl List {
    pub(crate) fn new(version: &str, folders: Vec<PathBuf>, files: Vec<ListedFile>) -> Self {
        Self {
            format: FORMAT,
            version: version.to_owned(),
            folders,
            files,
        }
    }

    /// A list of this form whose paths stay below the prefix; none where the bytes are not that.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let list: Self = serde_json::from_slice(bytes).ok()?;
        let files = list.files.iter().map(|file| &file.path);
        let mut paths = files.chain(&list.folders);
        (list.format == FORMAT && paths.all(|path| is_inside(path))).then_some(list)
    }

    /// The bytes of its file.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Stop> {
        serde_json::to_vec_pretty(self)
            .map_err(|why| Stop::new(Exit::Failed, "internal_error", why.to_string()))
    }

    /// Whether a file was installed so. An install that was cut off lists it as it was and as it was to be.
    pub(crate) fn has(&self, path: &Path, sha256: &str) -> bool {
        let mut files = self.files.iter();
        files.any(|file| file.path == path && file.sha256 == sha256)
    }
}

/// Whether a relative path names something below where it starts.
pub(crate) fn is_inside(path: &Path) -> bool {
    let plain = |part| matches!(part, Component::Normal(_));
    path.components().next().is_some() && path.components().all(plain)
}

/// A prefix with a list.
pub(crate) struct Installed {
    prefix: PathBuf,
    pub(crate) list: List,
}

impl Installed {
    /// What the list under `prefix` names; none where there is none.
    pub(crate) fn read(prefix: &Path) -> Result<Option<Self>, Stop> {
        let path = prefix.join(LIST);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| failed(&path, &e))?,
        };
        let Some(list) = List::parse(&bytes) else {
            let why = format!(
                "{} cannot be read as a list of what was installed",
                path.display()
            );
            let install = installation::command(&prefix.join("bin"));
            let next = format!("remove that file, then install the same version again: {install}");
            return Err(Stop::new(Exit::Failed, "list_unreadable", why).next(next));
        };
        let prefix = prefix.to_owned();
        Ok(Some(Self { prefix, list }))
    }

    /// Every file, the list last.
    pub(crate) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let files = self
            .list
            .files
            .iter()
            .map(|file| self.prefix.join(&file.path));
        files.chain(std::iter::once(self.prefix.join(LIST)))
    }

    /// Whether the system lets this account remove the files: an administrator may have installed them for all.
    pub(crate) fn is_removable(&self) -> bool {
        let refusal = [Errno::EACCES, Errno::EPERM, Errno::EROFS];
        let refused = |folder: &Path| {
            access(folder, AccessFlags::W_OK).is_err_and(|error| refusal.contains(&error))
        };
        !self.paths().any(|path| path.parent().is_some_and(refused))
    }

    /// Removes what is still as it was installed, then folders that are empty; gives what stays.
    pub(crate) fn remove(&self) -> Result<Vec<PathBuf>, Stop> {
        let mut stayed = Vec::new();
        for file in &self.list.files {
            let path = self.prefix.join(&file.path);
            match file.found(&self.prefix)? {
                FoundFile::Unchanged => fs::remove_file(&path).map_err(|e| failed(&path, &e))?,
                FoundFile::Changed => stayed.push(path),
                FoundFile::Missing => {}
            }
        }
        // One that is listed twice was found by its other digest.
        stayed.retain(|path| path.exists());
        stayed.dedup();
        let list = self.prefix.join(LIST);
        fs::remove_file(&list).map_err(|e| failed(&list, &e))?;
        for folder in self.list.folders.iter().rev() {
            // One that somebody else uses as well is not empty, and stays.
            let _ = fs::remove_dir(self.prefix.join(folder));
        }
        Ok(stayed)
    }
}

/// A file that has its mode from the first moment: another user who opened it for writing would keep it open.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    options.open(path)
}

/// Writes a file of exactly this mode: whole or not at all, under its name at once and durably, if `still` holds just before.
pub(crate) fn replace(
    path: &Path,
    text: &str,
    mode: u32,
    failed: impl Fn(io::Error) -> Stop,
    still: impl FnOnce() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    make_folder(folder, 0o755).map_err(&failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    // No link that somebody else made of this name is followed.
    options.write(true).create_new(true).mode(mode);
    let write = |mut file: fs::File| {
        file.write_all(text.as_bytes())?;
        // The mask of this process may have narrowed the mode.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    };
    let written = options.open(&beside).and_then(write).map_err(&failed);
    let written = written
        .and_then(|()| still())
        .and_then(|()| fs::rename(&beside, path).map_err(&failed))
        .and_then(|()| sync_name(path).map_err(&failed));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

/// A file that could not be read or written.
pub(crate) fn failed(path: &Path, error: &io::Error) -> Stop {
    Stop::new(
        Exit::Failed,
        "system",
        format!("{}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_that_leads_elsewhere_is_none() {
        let list = |path: &str| {
            let path = PathBuf::from(path);
            let sha256 = String::new();
            List::new("1", Vec::new(), vec![ListedFile { path, sha256 }])
        };
        let good = list("bin/x");
        assert_eq!(List::parse(&good.bytes().expect("bytes")), Some(good));
        for path in ["../x", "/x", "bin/../../x", ""] {
            let bytes = list(path).bytes().expect("bytes");
            assert_eq!(List::parse(&bytes), None, "{path}");
        }
        assert_eq!(List::parse(b"{}"), None);
    }

    #[test]
    fn file_that_is_listed_twice_is_removed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [("a", "new"), ("a", "old"), ("b", "new"), ("b", "old")];
        let files = files.map(|(path, text)| ListedFile {
            path: path.into(),
            sha256: Digest::of(text.as_bytes()).to_string(),
        });
        let installed = Installed {
            prefix: folder.path().to_owned(),
            list: List::new("1", Vec::new(), files.to_vec()),
        };
        let list = folder.path().join(LIST);
        fs::create_dir_all(list.parent().expect("a folder")).expect("a folder");
        for (path, text) in [("a", "old"), ("b", "theirs"), (LIST, "")] {
            fs::write(folder.path().join(path), text).expect("a file");
        }
        assert!(installed.is_removable());
        let theirs = folder.path().join("b");
        assert_eq!(installed.remove().expect("it goes"), [theirs]);
        assert!(!folder.path().join("a").exists());
    }

    /// Root is refused nothing.
    #[test]
    fn files_of_another_account_are_not_removable() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let installed = Installed {
            prefix: folder.path().to_owned(),
            list: List::new("1", Vec::new(), Vec::new()),
        };
        let parent = folder.path().join("libexec/plexus");
        fs::create_dir_all(&parent).expect("a folder");
        assert!(installed.is_removable(), "the control");
        fs::set_permissions(&parent, fs::Permissions::from_mode(0o500)).expect("its mode");
        assert_eq!(installed.is_removable(), nix::unistd::geteuid().is_root());
    }
}
