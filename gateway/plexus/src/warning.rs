//! Warnings of an answer, for who reads them on standard error.
//!
//! Must not know: which source an answer is of.

use plexus_client::text;
use serde_json::Value;

/// The codes of the workers that come with Plexus, each with what it means. Other sources warn in sentences of their own.
#[rustfmt::skip]
const MEANINGS: [(&str, &str); 23] = [
    ("ambiguous_link", "a name or a link fits several notes; the paths say which was taken"),
    ("bad_frontmatter", "its front matter cannot be read"),
    ("bad_frontmatter_skipped", "notes whose front matter cannot be read are left out"),
    ("binary_files_match", "a binary file has the text, and is not shown"),
    ("bom_removed", "a byte order mark at its beginning is left out"),
    ("damaged_files_skipped", "files that the repository holds damaged are left out"),
    ("decoded_utf16be", "its bytes are UTF-16 (big-endian), shown as text"),
    ("decoded_utf16le", "its bytes are UTF-16 (little-endian), shown as text"),
    ("files_unreadable", "files that cannot be read are left out"),
    ("folders_unreadable", "folders that cannot be read are left out"),
    ("hits_bounded", "a file or commit has more hits than are shown"),
    ("large_files_skipped", "files that are too large are left out"),
    ("links_may_be_old", "its links were looked up in an index that may be old"),
    ("links_not_read", "its links were not looked for: the text is too large"),
    ("links_truncated", "only its first links are listed"),
    ("merge_against_first_parent", "the commit is a merge, compared with its first parent"),
    ("names_bounded", "the vault has more names than are known; some links may not be found"),
    ("names_skipped", "entries are left out: links, special files, or names that cannot be used"),
    ("not_in_this_clone", "files that this clone does not hold are left out"),
    ("not_text_skipped", "files that are no text are left out"),
    ("refs_skipped", "branches or tags are left out: too many, or unreadable"),
    ("search_bounded", "the search ended at a bound: there may be more"),
    ("shallow", "the clone is shallow: the history ends early here"),
];

/// A warning as a line: a code with what it means, a sentence as it is.
pub(crate) fn line(warning: &Value) -> String {
    let said = warning
        .as_str()
        .map_or_else(|| warning.to_string(), str::to_owned);
    let meaning = MEANINGS.iter().find(|(code, _)| *code == said);
    match meaning {
        Some((code, meaning)) => format!("warning: {meaning} ({code})"),
        None => format!("warning: {}", text::line(&said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::{collections::BTreeSet, fs, path::PathBuf};

    #[test]
    fn code_is_said_with_its_meaning_and_sentence_as_it_is() {
        let skipped = "warning: entries are left out: links, special files, or names that cannot be used (names_skipped)";
        assert_eq!(line(&json!("names_skipped")), skipped);
        assert_eq!(line(&json!("a \u{1b} b")), "warning: a \\u{1b} b");
        assert_eq!(line(&json!({"a": 1})), "warning: {\"a\":1}");
    }

    /// A literal in a worker is a code by the call that it is given to, or by its end.
    #[test]
    fn codes_with_meaning_are_those_of_workers() {
        let (mut literals, mut codes) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../workers"
        ))];
        while let Some(path) = open.pop() {
            if path.is_dir() && !path.ends_with("tests") {
                open.extend(fs::read_dir(path).unwrap().map(|of| of.unwrap().path()));
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = fs::read_to_string(path).unwrap();
                let pieces: Vec<_> = text.split('"').collect();
                for (before, word) in pieces.iter().zip(pieces.iter().skip(1)) {
                    let is_given = ["warn(", "warnings.push(", "then_some("]
                        .iter()
                        .any(|call| before.ends_with(call));
                    let is_named = ["_bounded", "_skipped", "_truncated", "_unreadable"]
                        .iter()
                        .any(|end| word.ends_with(end));
                    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                    if word.bytes().all(is_word) {
                        literals.insert((*word).to_owned());
                        if is_named || (is_given && word.contains('_')) {
                            codes.insert((*word).to_owned());
                        }
                    }
                }
            }
        }
        let known = MEANINGS.map(|(code, _)| code.to_owned());
        let without_meaning: Vec<_> = codes.iter().filter(|c| !known.contains(c)).collect();
        let of_no_worker: Vec<_> = known.iter().filter(|c| !literals.contains(*c)).collect();
        let none: [&String; 0] = [];
        assert_eq!(without_meaning, none, "codes of workers that need words");
        assert_eq!(of_no_worker, none, "words for no code");
    }
}
