//! Any bytes as an answer of the plugin: an agent sees what lies in the vault and is not hidden.

use crate::{
    api::{CommandList, Listing, Note, NoteMatches, read},
    path::Paths,
    read::{Commands, ListInput, Part, SearchInput},
};
use plexus_mutation::{Accepted, hold};
use plexus_rooted_files::{HideRules, RelPath};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Hits of one answer.
const HITS: usize = 50;

static PATHS: LazyLock<Paths> = LazyLock::new(|| {
    Paths::new(&HideRules {
        folders: vec!["Private".to_owned(), "My diary".to_owned()],
        globs: vec!["*.secret.md".to_owned()],
        ..HideRules::default()
    })
});

/// A path of an answer: below `folder`, and one that an agent may ask for as it is spelled there.
fn seen(path: &Value, folder: &str) {
    let text = path.as_str().expect("a text");
    assert!(text.starts_with(folder), "{text}");
    let path = RelPath::parse_file(text).expect("it is below the vault");
    assert_eq!(path.as_str(), text);
    assert!(PATHS.shows(&path), "{text}");
    let folded = text.to_lowercase();
    let is_secret = |name: &str| name.ends_with(".secret.md");
    assert!(!folded.split('/').any(is_secret), "{text}");
    for hidden in ["private", "my diary"] {
        let rest = folded.strip_prefix(hidden);
        assert!(rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with('/')));
    }
    assert!(!text.contains(['\u{a0}', '\u{202f}']), "{text:?}");
}

fn listed(listing: Listing) {
    let all = listing.files.len();
    let input: ListInput = serde_json::from_value(json!({})).expect("an input");
    let folder = RelPath::parse("a").expect("a path");
    let folder = input.answer(folder, listing.files, &PATHS);
    let shown = serde_json::to_value(folder).expect("JSON");
    let entries = shown["entries"].as_array().expect("entries");
    for entry in entries {
        seen(&entry["relativePath"], "a/");
        let path = format!("a/{}", entry["name"].as_str().expect("a name"));
        assert_eq!(entry["relativePath"], path);
    }
    let omitted = usize::try_from(shown["omitted"].as_u64().unwrap_or(0));
    assert!(entries.len() <= 1_000 && entries.len() + omitted.expect("a number") <= all);
}

/// Page for page, the hits in notes that may be seen.
fn searched(bytes: &[u8]) {
    let found: Vec<NoteMatches> = read(bytes).expect("it was read before");
    let of_note = |note: &NoteMatches| match PATHS.in_answer(&note.filename) {
        Some(path) if path.as_str() != "no.md" => note.matches.len(),
        _ => 0,
    };
    let mut left: usize = found.iter().map(of_note).sum();
    let mut after = None;
    loop {
        let input = json!({"query": "x", "limit": HITS, "after": after});
        let input: SearchInput = serde_json::from_value(input).expect("an input");
        let allows = |path: &RelPath| path.as_str() != "no.md";
        let found = read(bytes).expect("it was read before");
        let answer = input.answer(found, &PATHS, &RelPath::root(), allows);
        let answer = serde_json::to_value(answer.expect("an answer")).expect("JSON");
        let hits = answer["hits"].as_array().expect("hits");
        for hit in hits {
            seen(&hit["relativePath"], "");
            let snippet = hit["snippet"].as_str().expect("a text");
            assert!(snippet.chars().count() <= 200 && !snippet.contains(['\n', '\r']));
        }
        left -= hits.len();
        let Some(next) = answer["next"]["after"].as_str() else {
            break;
        };
        assert_eq!(hits.len(), HITS);
        after = Some(next.to_owned());
    }
    assert_eq!(left, 0);
}

fn chosen(note: &Note) {
    let Some(path) = PATHS.in_answer(&note.path) else {
        return;
    };
    let part = Part::of(path, note.content.as_bytes(), 0, Some(note.stat.mtime));
    let Ok(part) = part else {
        assert!(note.content.contains('\0'));
        return;
    };
    let part = serde_json::to_value(part).expect("JSON");
    seen(&part["relativePath"], "");
    let content = part["content"].as_str().expect("a text");
    assert!(note.content.ends_with(content));
    assert_eq!(
        note.content.trim_start_matches('\u{feff}'),
        content.trim_start_matches('\u{feff}')
    );
}

fn answer(bytes: &[u8]) -> Accepted {
    let listing = read::<Listing>(bytes).map(listed);
    let found = read::<Vec<NoteMatches>>(bytes).map(|_| searched(bytes));
    let note = read::<Note>(bytes).map(|note| chosen(&note));
    let commands = read::<CommandList>(bytes).map(|list| Commands::of(list.commands));
    if let Ok(commands) = &commands {
        assert!(commands.commands.len() <= 1_000);
    }
    listing.is_ok() || found.is_ok() || note.is_ok() || commands.is_ok()
}

#[test]
fn answer_shows_what_lies_in_the_vault() {
    let words: &[&[u8]] = &[
        b"\"../x.md\"",
        b"\"/etc/passwd\"",
        b"\"Private/x.md\"",
        b"\"private\"",
        b"My\xc2\xa0diary",
        b"\xe2\x80\xaf",
        b"\xe2\x80\x8b",
        b"\\u0000",
        b"\\ud800",
        b"\\\\",
        b"a//b",
        b"/./",
        b"\"mtime\":1e308",
        b"\"mtime\":-1e308",
        b"\"matches\":[{\"context\":\"a\"}]",
        b"null",
    ];
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/answers");
    hold(corpus, words, answer);
}
