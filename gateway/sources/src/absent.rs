//! Folders that the owner names within a source's folder, held against what is there now.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};
use unicode_normalization::UnicodeNormalization as _;

/// The folders of `named`, relative to `root`, where nothing is now. Names compare without case and normal form, as those
/// do that are hidden. A folder that cannot be read counts as there. Blocks on the disk.
#[must_use]
pub fn absent_folders(root: &Path, named: Vec<String>) -> Vec<String> {
    let is_absent = |folder: &String| matches!(is_there(root, folder), Ok(false));
    named.into_iter().filter(is_absent).collect()
}

fn is_there(root: &Path, named: &str) -> io::Result<bool> {
    let mut reached = vec![root.to_owned()];
    for (depth, wanted) in named.split('/').map(folded).enumerate() {
        let mut next = Vec::new();
        for folder in reached {
            let entries = match fs::read_dir(&folder) {
                Err(error) if depth > 0 && leads_nowhere(&error) => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_str().is_some_and(|name| folded(name) == wanted) {
                    next.push(entry.path());
                }
            }
        }
        reached = next;
    }
    Ok(!reached.is_empty())
}

/// Whether nothing can be below: it is a file, a link to nothing, or gone since.
fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn folded(name: &str) -> String {
    let upper = name.nfc().flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_found_in_any_case_and_form() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("Daily/u\u{308}ber")).unwrap();
        fs::write(root.path().join("note.md"), "").unwrap();
        let absent = |name: &str| absent_folders(root.path(), vec![name.to_owned()]);
        for there in ["daily", "DAILY/\u{dc}ber", "note.md"] {
            assert_eq!(absent(there), [""; 0], "{there}");
        }
        for none in ["Dayli", "Daily/unter", "note.md/a", "Nope/a"] {
            assert_eq!(absent(none), [none]);
        }
        // A disk that is away says nothing of what is on it.
        assert!(absent_folders(&root.path().join("gone"), vec!["a".to_owned()]).is_empty());
    }
}
