//! Laws of the order, and what people type.

use super::*;
use proptest::prelude::*;

#[rustfmt::skip]
const ENTRIES: [(&str, &str, &str); 6] = [
    ("calendar.events.list", "List events", "List the events of a day or a week."),
    ("git.log", "Show the log", "Commits, the newest first."),
    ("obsidian.vault.read", "Read a note", "Read one note of the vault, with its links and tasks."),
    ("obsidian.vault.search", "Search notes", "Find notes by text, tag or property."),
    ("things.list", "List to-dos", "To-dos of a list or a project."),
    ("workspace.write", "Write a file", "Create or replace a file of the workspace. Not for notes."),
];

fn index() -> Index {
    Index::of(ENTRIES.map(|(id, label, usage)| Document {
        id,
        label,
        usage,
        ..Document::default()
    }))
}

fn found(query: &str) -> Vec<&'static str> {
    let positions = index().search(query);
    positions.into_iter().map(|at| ENTRIES[at].0).collect()
}

#[test]
fn best_fit_comes_first() {
    assert_eq!(found("search my notes")[0], "obsidian.vault.search");
    assert_eq!(found("write file")[0], "workspace.write");
    assert_eq!(found("todos"), ["things.list"]);
    assert_eq!(found("to-do list")[0], "things.list");
    assert_eq!(found("OBSIDIAN").len(), 2);
    assert_eq!(found("cal"), ["calendar.events.list"]);
}

#[test]
fn query_without_a_fit_finds_none() {
    for query in ["", "  ..", "printer", "ca"] {
        assert!(found(query).is_empty(), "{query}");
    }
    assert!(Index::default().search("note").is_empty());
}

#[test]
fn keyword_and_source_are_found() {
    let keywords = ["appointment".to_owned()];
    let calendar = Document {
        id: "a.list",
        keywords: &keywords,
        source: "family-calendar",
        ..Document::default()
    };
    let index = Index::of([Document::default(), calendar]);
    assert_eq!(index.search("appointments"), [1]);
    assert_eq!(index.search("family"), [1]);
}

#[test]
fn word_is_found_in_a_sentence_without_spaces() {
    let usage = ["社内文書を検索します。", "ページを書きます。", "ค้นหาเอกสาร"];
    let index = Index::of(usage.map(|usage| Document {
        usage,
        ..Document::default()
    }));
    for (query, first) in [
        ("検索", 0),
        ("文書の検索", 0),
        (
            "いろはにほへとちりぬるをわかよたれそつねならむうゐのおくやまけふこえて検索",
            0,
        ),
        ("ページ", 1),
        ("เอกสาร", 2),
    ] {
        assert_eq!(index.search(query).first(), Some(&first), "{query}");
    }
    assert!(index.search("予定").is_empty());
}

fn words(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-e]{1,4}", 0..most).prop_map(|words| words.join(" "))
}

fn corpus() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec((words(3), words(8)), 0..12)
}

fn index_of(corpus: &[(String, String)]) -> Index {
    Index::of(corpus.iter().map(|(id, usage)| Document {
        id,
        usage,
        ..Document::default()
    }))
}

/// Whether a term of the query, or a longer word where it is long enough for that, stands in an entry.
fn fits(query: &str, (id, usage): &(String, String)) -> bool {
    let held: Vec<String> = terms::of(id).into_iter().chain(terms::of(usage)).collect();
    terms::of(query).iter().any(|term| {
        held.iter().any(|word| {
            word == term || (term.len() >= SHORTEST_BEGINNING && word.starts_with(term))
        })
    })
}

proptest! {
    #[test]
    fn just_what_fits_is_found_once(corpus in corpus(), query in words(4)) {
        let mut found = index_of(&corpus).search(&query);
        found.sort_unstable();
        let expected: Vec<usize> = (0..corpus.len()).filter(|at| fits(&query, &corpus[*at])).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn rarer_of_two_terms_counts_more(others in 1_usize..20) {
        let mut corpus = vec![("rare".to_owned(), String::new()), ("common".to_owned(), String::new())];
        corpus.extend((0..others).map(|_| ("common".to_owned(), String::new())));
        prop_assert_eq!(index_of(&corpus).search("common rare")[0], 0);
    }

    #[test]
    fn name_counts_more_than_mention(filler in words(6)) {
        let corpus = [(String::new(), format!("note {filler}")), ("note".to_owned(), filler)];
        prop_assert_eq!(index_of(&corpus).search("note")[0], 1);
    }
}
