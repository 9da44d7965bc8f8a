//! Files, folders and types are named for what a reader looks for.

use anyhow::{Context, Result};
use std::path::Path;

/// Words that say nothing about what is inside.
const EMPTY_WORDS: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "manager", "misc",
];
/// Pronouns, particles and verbs: as the name of a type they say nothing about what it is.
const NO_NOUNS: &[&str] = &[
    "Both", "By", "Came", "Ended", "Gone", "Heard", "How", "Known", "Looked", "May", "Nothing",
    "Said", "Shown", "Then", "Told", "Wanted", "What", "When", "Where", "Which", "Who", "Whose",
];
/// Folders that are not ours to name.
const SKIPPED: &[&str] = &["target", ".git"];

/// One line for each file or folder with an empty word in its name, and for each type of the product that no noun names.
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
                continue;
            }
            let path = entry.path();
            let path = path.strip_prefix(root).unwrap_or(&path);
            if is_of_the_product(path) {
                let text = std::fs::read_to_string(entry.path())
                    .with_context(|| format!("reading {}", path.display()))?;
                let types = text.lines().filter_map(type_without_noun);
                breaches.extend(
                    types.map(|name| format!("{}: the type {name} is no noun", path.display())),
                );
            }
        }
    }
    Ok(breaches)
}

/// Whether this is source of a program that is shipped, or of a library of one.
fn is_of_the_product(path: &Path) -> bool {
    let mut parts = path.iter();
    let is_ours = parts
        .next()
        .is_some_and(|top| top != "tests" && top != "xtask");
    is_ours && parts.any(|part| part == "src") && path.extension().is_some_and(|kind| kind == "rs")
}

/// The type that this line defines, where its name is none of a thing.
fn type_without_noun(line: &str) -> Option<&str> {
    let mut words = line
        .split_whitespace()
        .skip_while(|word| word.starts_with("pub"));
    let is_type = matches!(
        words.next()?,
        "struct" | "enum" | "trait" | "type" | "union"
    );
    let name = words.next().filter(|_| is_type)?;
    let name = name.split(|c: char| !c.is_alphanumeric()).next()?;
    NO_NOUNS.contains(&name).then_some(name)
}

fn says_nothing(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).to_lowercase();
    stem.split(['_', '-'])
        .any(|word| EMPTY_WORDS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::{says_nothing, type_without_noun};

    #[test]
    fn types_without_a_noun() {
        for (bad, name) in [
            ("enum Said {", "Said"),
            ("    pub(crate) struct Shown<'a> {", "Shown"),
            ("pub type Then = Box<dyn FnOnce()>;", "Then"),
            ("struct Nothing;", "Nothing"),
        ] {
            assert_eq!(type_without_noun(bad), Some(name), "{bad}");
        }
        for good in [
            "enum Outcome {",
            "    Said {",
            "/// struct Shown",
            "struct ShownItem {",
            "let what = What;",
        ] {
            assert_eq!(type_without_noun(good), None, "{good}");
        }
    }

    #[test]
    fn empty_words() {
        for bad in "utils.rs helpers session_manager.rs test-util.rs Common.rs".split(' ') {
            assert!(says_nothing(bad), "{bad}");
        }
        let all = "manage.rs commons_licence.md ledger.rs service-managers-of-macos.md";
        for good in all.split(' ') {
            assert!(!says_nothing(good), "{good}");
        }
    }
}
