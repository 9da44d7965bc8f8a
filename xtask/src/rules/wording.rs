//! Pages stay short enough to be read, and phrases that a first reader did not understand do not come back.
//!
//! Read as text: pages, and of the product what is no comment.

use anyhow::{Context as _, Result};
use std::path::Path;

/// Pages for people, and the product.
const PLACES: &[&str] = &[
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "START-HERE.md",
    "channels",
    "docs",
    "gateway",
    "integrations",
    "workers",
    "xtask/src/dist",
];
/// Files with words in them.
const KINDS: &[&str] = &["html", "js", "json", "md", "rs", "sh"];
/// Records of the past keep their words, and count for nobody's reading.
const DECISIONS: &str = "docs/decisions/";
/// The most words of `docs` without the decisions.
const MOST_WORDS: usize = 100_000;
/// What was misread, in lower case. Pages of the console that do not exist have an arrow.
const PHRASES: &[&str] = &[
    "all talk",
    "and is let",
    "anytime in plexus",
    "approve one call, unseen",
    "believe the ledger",
    "blunt flag",
    "dying at rest",
    "every entry is yours alone",
    "look here:",
    "members of now",
    "is out, and its files",
    "not obeyed",
    "older records lie",
    "plexus →",
    "restart ends what is only held",
    "the key is you",
    "sandbox and found no way out",
    "| heeded |",
    "waits no longer",
    "what you decided stays",
    "write write",
];

/// One line for each phrase, and one where the pages are too long.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let (mut breaches, mut words) = (Vec::new(), 0);
    let mut open: Vec<_> = PLACES.iter().map(|place| root.join(place)).collect();
    while let Some(path) = open.pop() {
        let reading = || format!("reading {}", path.display());
        if path.is_dir() {
            for entry in path.read_dir().with_context(reading)? {
                open.push(entry?.path());
            }
            continue;
        }
        let named = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
        let kind = path.extension().and_then(|kind| kind.to_str());
        if named.starts_with(DECISIONS) || !kind.is_some_and(|kind| KINDS.contains(&kind)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).with_context(reading)?;
        if named.starts_with("docs/") && kind == Some("md") {
            words += text.split_whitespace().count();
        }
        let found = misread(&text);
        breaches.extend(
            found.map(|(line, phrase)| format!("{named}:{line}: say it otherwise: {phrase:?}")),
        );
    }
    if words > MOST_WORDS {
        breaches.push(format!(
            "docs: {words} words without decisions; {MOST_WORDS} are the most"
        ));
    }
    Ok(breaches)
}

/// The phrases of a file, with the lines on which they begin: they may go over the end of one.
fn misread(text: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let lines = lines.map(|(at, line)| (at + 1, line.trim().trim_end_matches('\\').to_lowercase()));
    let lines: Vec<_> = lines.collect();
    let found = lines.iter().enumerate().flat_map(|(n, (at, line))| {
        let next = lines.get(n + 1).map_or("", |(_, next)| next);
        let both = format!("{} {next}", line.trim_end());
        let is_here = move |phrase: &&str| both.contains(phrase) && !next.contains(phrase);
        let found = PHRASES.iter().copied().filter(is_here);
        found.map(|phrase| (*at, phrase)).collect::<Vec<_>>()
    });
    found.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrase_is_found_in_words_for_people_alone() {
        let text = "note(`It waits no longer: ${title}.`);\n// It waits no longer.\nrevoke in Plexus → Grants\nIt waits no\n  longer. It is over.\n";
        let found: Vec<_> = misread(text).collect();
        assert_eq!(
            found,
            [
                (1, "waits no longer"),
                (3, "plexus →"),
                (4, "waits no longer")
            ]
        );
    }

    #[test]
    fn pages_that_grow_too_long_are_a_breach() {
        let folder = tempfile::tempdir().unwrap();
        for place in PLACES {
            let path = folder.path().join(place);
            match place.ends_with(".md") {
                true => std::fs::write(path, "").unwrap(),
                false => std::fs::create_dir_all(path).unwrap(),
            }
        }
        let write = |page: &str, words: usize| {
            let path = folder.path().join("docs").join(page);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "word ".repeat(words)).unwrap();
        };
        write("decisions/0001.md", MOST_WORDS);
        write("page.md", MOST_WORDS - 1);
        write("below/other.md", 1);
        assert_eq!(breaches(folder.path()).unwrap(), Vec::<String>::new());
        write("below/other.md", 2);
        let said = breaches(folder.path()).unwrap().join("\n");
        assert!(said.starts_with("docs: 100001 words"), "{said}");
    }
}
