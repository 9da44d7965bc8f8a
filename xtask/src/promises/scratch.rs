//! A copy of the repository to break things in: `target/promises`. The person's own files are only read.
//!
//! The copy is brought up to date at the start, file by file, so that an earlier run that was interrupted leaves nothing
//! behind and cargo builds again only what changed. A file that is written gets a new time: cargo goes by it.

use super::breakage::{Breakage, Change};
use crate::cargo;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Not part of what is built.
const LEFT_OUT: &[&str] = &["target", ".git"];

/// The copy.
pub(crate) struct Scratch {
    tree: PathBuf,
    build: PathBuf,
}

impl Scratch {
    /// Makes it, or brings it up to date.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn open() -> Result<Self> {
        let folder = cargo::root().join("target/promises");
        let scratch = Self {
            tree: folder.join("tree"),
            build: folder.join("build"),
        };
        fs::create_dir_all(&scratch.tree)?;
        alike(&cargo::root(), &scratch.tree)
            .with_context(|| format!("copying to {}", scratch.tree.display()))?;
        Ok(scratch)
    }

    /// Cargo in the copy, with a target folder of its own.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// The same for a program that calls cargo.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            .env_remove("CARGO_MANIFEST_DIR");
        command
    }

    /// Runs `work` with the breakage applied, and takes it back whatever comes of it.
    ///
    /// # Errors
    /// Where it does not apply or cannot be taken back, and of `work`.
    pub(crate) fn broken<T>(
        &self,
        breakage: &Breakage,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut before = Vec::new();
        let done = (|| {
            for change in &breakage.changes {
                before.push((self.tree.join(&change.file), self.change(change)?));
            }
            work()
        })();
        for (path, text) in before.iter().rev() {
            fs::write(path, text).with_context(|| format!("taking back {}", path.display()))?;
        }
        done
    }

    /// Gives the text from before.
    fn change(&self, change: &Change) -> Result<String> {
        let path = self.tree.join(&change.file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        fs::write(&path, change.applied(&text)?)?;
        Ok(text)
    }
}

/// Makes `to` hold what `from` holds, and writes only what differs.
fn alike(from: &Path, to: &Path) -> Result<()> {
    let mut wanted = std::collections::BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|out| name == *out) {
            continue;
        }
        let target = to.join(&name);
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            alike(&entry.path(), &target)?;
        } else if kind.is_file() && fs::read(&target).ok() != Some(fs::read(entry.path())?) {
            fs::copy(entry.path(), &target)?;
        }
        wanted.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if wanted.contains(&entry.file_name()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_brought_up_to_date_and_what_is_the_same_is_not_touched() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in ["a", "target", "old"] {
            fs::create_dir(from.path().join(folder)).unwrap();
        }
        fs::write(from.path().join("a/same"), "1").unwrap();
        fs::write(from.path().join("a/other"), "2").unwrap();
        fs::write(from.path().join("target/x"), "3").unwrap();
        alike(from.path(), to.path()).unwrap();
        assert!(!to.path().join("target").exists());
        let time = |name: &str| {
            let metadata = fs::metadata(to.path().join(name)).unwrap();
            metadata.modified().unwrap()
        };
        let before = time("a/same");
        fs::write(to.path().join("a/other"), "broken").unwrap();
        fs::write(to.path().join("left"), "behind").unwrap();
        fs::remove_dir(from.path().join("old")).unwrap();
        alike(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("a/other")).unwrap(), "2");
        assert!(!to.path().join("left").exists() && !to.path().join("old").exists());
        assert_eq!(time("a/same"), before);
    }
}
