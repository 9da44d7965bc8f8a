//! The install's own list of what it put where: `libexec/plexus/installed.json`.
//!
//! ```json
//! {"format": 1, "version": "…", "folders": ["bin", …], "files": [{"path": "bin/plexus", "sha256": "…"}, …]}
//! ```
//! Paths are relative to the prefix. `folders` are those that the install made, outer ones first.

use super::failed;
use plexus_client::{Exit, Stop};
use plexus_protocol::Digest;
use serde_json::Value;
use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

/// Where the list lies, below the prefix.
const LIST: &str = "libexec/plexus/installed.json";
/// The form of the list that this version knows.
const FORMAT: u64 = 1;

pub(super) struct Installed {
    prefix: PathBuf,
    files: Vec<(PathBuf, String)>,
    folders: Vec<PathBuf>,
}

impl Installed {
    /// The list under `prefix`; none where there is none.
    pub(super) fn read(prefix: &Path) -> Result<Option<Self>, Stop> {
        let path = prefix.join(LIST);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| failed(&path, &e))?,
        };
        let unreadable = || {
            let why = format!(
                "{} cannot be read as a list of what was installed",
                path.display()
            );
            Stop::new(Exit::Failed, "list_unreadable", why)
                .next("install again (cargo xtask install), then uninstall")
        };
        let list: Value = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        if list["format"] != FORMAT {
            return Err(unreadable());
        }
        let inside = |value: &Value| -> Option<PathBuf> {
            let path = PathBuf::from(value.as_str()?);
            let plain = path
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            (plain && path.components().next().is_some()).then_some(path)
        };
        let files = list["files"].as_array().ok_or_else(unreadable)?;
        let files = files.iter().map(|file| {
            let digest = file["sha256"].as_str()?.to_owned();
            Some((inside(&file["path"])?, digest))
        });
        let files = files.collect::<Option<_>>().ok_or_else(unreadable)?;
        let folders = list["folders"].as_array().ok_or_else(unreadable)?;
        let folders = folders.iter().map(inside).collect::<Option<_>>();
        Ok(Some(Self {
            prefix: prefix.to_owned(),
            files,
            folders: folders.ok_or_else(unreadable)?,
        }))
    }

    /// Every file, the list last.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let files = self.files.iter().map(|(path, _)| self.prefix.join(path));
        files.chain(std::iter::once(self.prefix.join(LIST)))
    }

    /// Removes what is still as it was installed, then folders that are empty; gives what stays.
    pub(super) fn remove(&self) -> Result<Vec<PathBuf>, Stop> {
        let mut stayed = Vec::new();
        for (path, digest) in &self.files {
            let path = self.prefix.join(path);
            match fs::read(&path) {
                Ok(bytes) if Digest::of(&bytes).to_string() == *digest => {
                    fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
                }
                Ok(_) => stayed.push(path),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed(&path, &e)),
            }
        }
        let list = self.prefix.join(LIST);
        fs::remove_file(&list).map_err(|e| failed(&list, &e))?;
        for folder in self.folders.iter().rev() {
            // One that somebody else uses as well is not empty, and stays.
            let _ = fs::remove_dir(self.prefix.join(folder));
        }
        Ok(stayed)
    }
}
