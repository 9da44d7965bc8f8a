//! The form of the pages: each opens with its purpose, long ones list their contents, tables stay readable, users meet no
//! test names, decisions have their parts, and the OpenAPI document is one.

use crate::documents::{REPORTS, anchor, named_tests, pages, root};
use std::path::Path;

/// Folders and pages for people who change Plexus; names of tests are what some of them are for.
const FOR_DEVELOPERS: [&str; 3] = [REPORTS, "docs/decisions/", "CONTRIBUTING.md"];

/// Most words of a cell of a table.
const WORDS: usize = 30;
/// Lines of a page up to which a reader needs no list of its contents.
const SHORT: usize = 100;
/// The front page, which leads to all others by its links.
const FRONT: &str = "README.md";
/// The parts of a decision, in their order.
const PARTS: [&str; 5] = [
    "Status: ",
    "**Context.**",
    "**Decision.**",
    "**Alternatives.**",
    "**Consequences.**",
];

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

/// The headings of a long page that nothing before the first of them links to.
fn unlisted(text: &str) -> Vec<&str> {
    if text.lines().count() <= SHORT {
        return Vec::new();
    }
    let mut fenced = false;
    let headings = text.lines().filter_map(|line| {
        fenced ^= line.starts_with("```");
        line.strip_prefix("## ").filter(|_| !fenced)
    });
    let contents = text.split("\n## ").next().unwrap_or_default();
    headings
        .filter(|heading| !contents.contains(&format!("(#{})", anchor(heading))))
        .collect()
}

#[test]
fn long_page_lists_its_contents() {
    let long = "a line\n".repeat(SHORT);
    let page = |contents: &str| format!("# A page\n\n{contents}\n\n## A part\n\n{long}");
    assert_eq!(unlisted(&page("")), ["A part"], "the control");
    assert!(unlisted(&page("[A part](#a-part)")).is_empty());
    let pages = pages();
    let pages = pages.iter().filter(|(page, _)| name_of(page) != FRONT);
    let missing = pages.flat_map(|(page, text)| {
        let headings = unlisted(text).into_iter();
        headings.map(|heading| format!("{}: {heading}", name_of(page)))
    });
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The sentences of a page, but for tables, headings and code, that begin with a word that is no subject.
fn odd_openings(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let is_prose = !is_code && !line.starts_with(['|', '#', '`']) && !line.starts_with("    ");
        prose.push_str(if is_prose { line } else { "\n" });
        prose.push('\n');
    }
    let paragraphs = prose.split("\n\n").flat_map(|one| one.split("\n- "));
    let words = paragraphs.map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "));
    let sentences = words.flat_map(|one| {
        let sentences = one.split(". ").map(str::to_owned);
        sentences.collect::<Vec<_>>()
    });
    let odd = sentences
        .map(|one| one.trim_start_matches(['-', '*', ' ']).to_owned())
        .filter(|one| {
            let first = one.split(' ').next().unwrap_or_default();
            matches!(first, "What" | "Who" | "Whoever" | "Nothing") && !one.contains('?')
        });
    odd.collect()
}

#[test]
fn sentences_begin_with_their_subject() {
    let odd = odd_openings(
        "# What it is\n\nA page. What is said\nhere counts. What is it?\n\n- Nothing is here.\n",
    );
    assert_eq!(
        odd,
        ["What is said here counts", "Nothing is here."],
        "the control"
    );
    let pages = pages();
    let pages = pages.iter().filter(|(page, _)| {
        let name = name_of(page);
        let is_kept = name.starts_with("docs/decisions/") || name.starts_with(REPORTS);
        !is_kept && name != "CHANGELOG.md"
    });
    let found = pages.flat_map(|(page, text)| {
        let odd = odd_openings(text).into_iter();
        odd.map(|sentence| format!("{}: {sentence}", name_of(page)))
    });
    let found: Vec<_> = found.collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Whether each part begins a paragraph, once, in order.
fn has_its_parts(text: &str) -> bool {
    let paragraphs = text.split("\n\n").map(str::trim_start);
    let parts = paragraphs.filter_map(|paragraph| {
        let part = PARTS.iter().find(|part| paragraph.starts_with(**part));
        part.copied()
    });
    parts.eq(PARTS)
}

#[test]
fn each_decision_has_its_parts_and_its_row() {
    let whole = PARTS.map(|part| format!("{part} a word.")).join("\n\n");
    assert!(has_its_parts(&whole));
    assert!(!has_its_parts(&whole.replace("**Alternatives.**", "")));
    let list = crate::documents::page("decisions/README.md");
    let pages = pages();
    let decisions = pages.iter().filter_map(|(page, text)| {
        let name = name_of(page).strip_prefix("docs/decisions/")?;
        (name != "README.md").then_some((name, text))
    });
    let wrong: Vec<_> = decisions
        .clone()
        .filter(|(name, text)| !has_its_parts(text) || !list.contains(&format!("]({name})")))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(decisions.count() > 100, "too few decisions");
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
    let coverage = crate::documents::report("coverage.md");
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
