//! [`Vault`]: an open vault folder, and what every answer from it carries.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use plexus_rooted_files::{
    Digest, FileError, HideRules, Identity, Kind, Policy, RelPath, Root, WalkBounds,
};

use crate::{NoteIndex, hidden::Hidden, names::Names};

/// Most bytes of paths that the index keeps. With folded forms of that size, the entries, and all of it twice while a new
/// one is made: some 150 MiB of the worker's 512.
const MAX_INDEX_TEXT: usize = 32 * 1024 * 1024;

/// A vault: any folder of notes. Dot-files in it do not exist; files with a second hard link are refused.
#[derive(Debug)]
pub struct Vault {
    pub(crate) root: Arc<Root>,
    /// The names of all files.
    pub(crate) names: Names,
}

/// An output, and what was disclosed in it.
#[derive(Debug)]
pub struct Answer<T> {
    /// What the agent gets.
    pub output: T,
    /// Everything whose content or names are in it.
    pub touched: Vec<Touched>,
}

/// One note or folder that an answer discloses something of. All access of this connector is reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its path as resolved.
    pub path: RelPath,
    /// SHA-256 of the note's bytes; `None` for a folder.
    pub digest: Option<Digest>,
}

impl Vault {
    /// Opens the vault folder.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_with(path, false, &HideRules::default())
    }

    /// The same; where the owner says so, also notes that have a second name, which may lie outside the vault, and
    /// without what the owner hides.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_with(
        path: &Path,
        allow_hard_links: bool,
        hide: &HideRules,
    ) -> Result<Self, FileError> {
        let policy = Policy {
            allow_hard_links,
            hide_dot_files: true,
        };
        let mut root = Root::open(path, policy)?;
        if !hide.is_empty() {
            root = root.hiding(Arc::new(Hidden::new(hide)));
        }
        let root = Arc::new(root);
        let names = Names::new({
            let root = Arc::clone(&root);
            move || index(&root, WalkBounds::default(), MAX_INDEX_TEXT)
        });
        Ok(Self { root, names })
    }

    /// Which directory the vault is, to notice that another took its name.
    ///
    /// # Errors
    /// As [`Root::identity`].
    pub fn identity(&self) -> Result<Identity, FileError> {
        self.root.identity()
    }
}

/// The names of all files, as they are now, up to the bounds.
fn index(root: &Root, bounds: WalkBounds, max_text: usize) -> Result<NoteIndex, FileError> {
    let mut files = Vec::new();
    let (mut text, mut fits) = (0, true);
    let report = root.walk(
        &RelPath::root(),
        bounds,
        // For all who wait for it, now or later.
        &|| false,
        |entry| {
            text += entry.path.as_str().len();
            if text > max_text {
                fits = false;
                return ControlFlow::Break(());
            }
            if entry.kind == Kind::File {
                files.push(entry.path.clone());
            }
            ControlFlow::Continue(())
        },
    )?;
    let mut index = NoteIndex::new(files);
    index.is_whole = fits && !report.bounded;
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_indexed_is_bounded_in_number_and_size() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::write(folder.path().join(format!("n{number:02}.md")), "").unwrap();
        }
        let root = Root::open(folder.path(), Policy::default()).unwrap();
        let bounds = |max_entries| WalkBounds {
            max_entries,
            ..WalkBounds::default()
        };
        let count = |max_entries, max_text| {
            let index = index(&root, bounds(max_entries), max_text).unwrap();
            let is_there = |number: &usize| {
                index
                    .find(&format!("n{number:02}"), &RelPath::root())
                    .is_some()
            };
            ((0..50).filter(is_there).count(), index.is_whole)
        };
        assert_eq!(count(50, 50 * 6), (50, true), "control: all fit");
        assert_eq!(count(20, 50 * 6), (20, false));
        assert_eq!(count(50, 10 * 6 + 5), (10, false));
    }
}
