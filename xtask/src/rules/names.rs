//! Files and folders are named for what a reader looks for.

use anyhow::{Context, Result};
use std::path::Path;

/// Words that say nothing about what is inside.
const EMPTY_WORDS: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "manager", "misc",
];
/// Folders that are not ours to name.
const SKIPPED: &[&str] = &["target", ".git"];

/// One line for each file or folder with an empty word in its name.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if says_nothing(&name) {
                let path = entry.path();
                let path = path.strip_prefix(root).unwrap_or(&path);
                breaches.push(format!("{}: say what is inside", path.display()));
            }
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(breaches)
}

fn says_nothing(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_lowercase();
    stem.split(['_', '-'])
        .any(|word| EMPTY_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::says_nothing;

    #[test]
    fn empty_words() {
        for bad in [
            "utils.rs",
            "helpers",
            "session_manager.rs",
            "test-util.rs",
            "Common.rs",
        ] {
            assert!(says_nothing(bad), "{bad}");
        }
        for good in [
            "manage.rs",
            "commons_licence.md",
            "ledger.rs",
            "service-managers-of-macos.md",
        ] {
            assert!(!says_nothing(good), "{good}");
        }
    }
}
