//! The form of the pages: each opens with its purpose, tables stay readable, users meet no test names, and the OpenAPI
//! document is one.

use crate::documents::{named_tests, pages, root};
use std::path::Path;

/// Folders and pages for people who change Plexus; names of tests are what some of them are for.
const FOR_DEVELOPERS: [&str; 4] = [
    "docs/test-coverage.md",
    "docs/sandbox-probes.md",
    "docs/decisions/",
    "CONTRIBUTING.md",
];

/// Most words of a cell of a table.
const WORDS: usize = 30;

fn name_of(page: &Path) -> &str {
    let name = page.strip_prefix(root()).expect("a page of the workspace");
    name.to_str().expect("a name")
}

/// A page begins with a heading, and a sentence that says what it is for; a decision begins with its status.
fn opens_with_its_purpose(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let heading = lines.next().is_some_and(|line| line.starts_with("# "));
    let first = lines.next().unwrap_or_default();
    heading && first.contains(' ') && !first.starts_with(['#', '|', '-', '*', '>', '`', '!', '<'])
}

#[test]
fn each_page_opens_with_its_purpose() {
    assert!(
        !opens_with_its_purpose("# A page\n\n| a | b |\n"),
        "the control"
    );
    let pages = pages();
    let pages = pages
        .iter()
        .filter(|(page, _)| !name_of(page).starts_with("docs/decisions/"));
    let silent: Vec<_> = pages
        .filter(|(_, text)| !opens_with_its_purpose(text))
        .map(|(page, _)| name_of(page))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// The cells of the tables of a page that have too many words.
fn long_cells(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut long = Vec::new();
    for line in text.lines().map(str::trim) {
        fenced ^= line.starts_with("```");
        if fenced || !line.starts_with('|') {
            continue;
        }
        let line = line.replace("\\|", "/");
        let cells = line
            .split('|')
            .filter(|cell| cell.split_whitespace().count() > WORDS);
        long.extend(cells.map(|cell| cell.trim().to_owned()));
    }
    long
}

#[test]
fn no_cell_of_a_table_has_more_than_thirty_words() {
    let row = |words: usize| format!("| {} | b |\n", vec!["a"; words].join(" "));
    assert_eq!(
        (long_cells(&row(31)).len(), long_cells(&row(30)).len()),
        (1, 0)
    );
    let pages = pages();
    let long = pages.iter().flat_map(|(page, text)| {
        let cells = long_cells(text).into_iter();
        cells.map(|cell| format!("{}: {cell}", name_of(page)))
    });
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn pages_for_users_name_no_test() {
    let tests = crate::documents::tests();
    let pages = pages();
    let for_users = pages.iter().filter(|(page, _)| {
        let name = name_of(page);
        !FOR_DEVELOPERS.iter().any(|other| name.starts_with(other))
    });
    let mut found = Vec::new();
    for (page, text) in for_users {
        let named = named_tests(text).filter(|name| tests.contains(*name));
        found.extend(named.map(|name| format!("{}: {name}", name_of(page))));
    }
    assert!(found.is_empty(), "{found:#?}");
    let coverage = crate::documents::page("test-coverage.md");
    assert!(
        named_tests(&coverage).any(|name| tests.contains(name)),
        "the control"
    );
}

/// By a validator of others; it says no to a document without a list of paths.
#[test]
fn openapi_document_is_valid() {
    let folder = plexus_tests::Folder::empty();
    let validate = |document: &Path| {
        let mut checker = plexus_tests::coding_agents::protocol_checker("openapi", &folder.path());
        let checked = checker.arg(document).output().expect("node runs");
        (checked.status.success(), format!("{checked:?}"))
    };
    let published = root().join("docs/protocol/openapi.json");
    let (is_valid, said) = validate(&published);
    assert!(is_valid, "{said}");
    let text = std::fs::read_to_string(published).expect("the document");
    folder.write("broken.json", text.replace("\"paths\"", "\"ways\""));
    let (is_valid, said) = validate(&folder.path().join("broken.json"));
    assert!(!is_valid, "the control: {said}");
}
