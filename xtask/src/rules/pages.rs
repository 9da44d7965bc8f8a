//! The form of the pages: each opens with its purpose, long ones list their contents, sentences begin with their subject, cells
//! of tables are short, decisions have their parts and their row.

use super::links::{Pages, anchor, prose};
use std::path::Path;

/// The front page, which leads to all others by its links.
const FRONT: &str = "README.md";
/// Records of decisions, and the page that lists them.
const DECISIONS: (&str, &str) = ("docs/decisions/", "docs/decisions/README.md");
/// Fewer, and this rule no longer finds them.
const LEAST: usize = 100;
/// The parts of a decision, in their order.
const PARTS: [&str; 5] = [
    "Status: ",
    "**Context.**",
    "**Decision.**",
    "**Alternatives.**",
    "**Consequences.**",
];
/// Where sentences are kept as they were written.
const KEPT: [&str; 3] = ["tests/reports/", DECISIONS.0, "CHANGELOG.md"];
/// Most words of a cell of a table.
const WORDS: usize = 30;
/// Lines of a page up to which a reader needs no list of its contents.
const SHORT: usize = 100;

/// One line for each part of a page that has another form.
pub(crate) fn breaches(root: &Path, pages: &Pages) -> Vec<String> {
    let listed = pages.get(&root.join(DECISIONS.1));
    let listed = listed.map_or("", String::as_str);
    let (mut breaches, mut decisions) = (Vec::new(), 0);
    for (path, text) in pages {
        let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        let mut faults = long_cells(text);
        if !name.starts_with(DECISIONS.0) && !opens_with_its_purpose(text) {
            faults.push("it does not begin with a heading and its purpose".to_owned());
        }
        if name != FRONT {
            faults.extend(unlisted(text));
        }
        if !KEPT.iter().any(|begin| name.starts_with(begin)) {
            faults.extend(odd_openings(text));
        }
        if let Some(file) = name.strip_prefix(DECISIONS.0)
            && name != DECISIONS.1
        {
            decisions += 1;
            if !has_its_parts(text) {
                faults.push(format!("its parts are not {PARTS:?}"));
            }
            if !listed.contains(&format!("]({file})")) {
                faults.push(format!("{} has no row for it", DECISIONS.1));
            }
        }
        breaches.extend(faults.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    if decisions < LEAST {
        breaches.push(format!("only {decisions} decisions are found"));
    }
    breaches
}

/// A heading, and a sentence that says what the page is for.
fn opens_with_its_purpose(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let heading = lines.next().is_some_and(|line| line.starts_with("# "));
    let first = lines.next().unwrap_or_default();
    heading && first.contains(' ') && !first.starts_with(['#', '|', '-', '*', '>', '`', '!', '<'])
}

/// The headings of a long page that nothing before the first of them links to.
fn unlisted(text: &str) -> Vec<String> {
    if text.lines().count() <= SHORT {
        return Vec::new();
    }
    let contents = text.split("\n## ").next().unwrap_or_default();
    let headings = prose(text).filter_map(|line| line.strip_prefix("## "));
    let unlisted = headings.filter(|one| !contents.contains(&format!("(#{})", anchor(one))));
    unlisted
        .map(|heading| format!("its contents do not list {heading:?}"))
        .collect()
}

/// The sentences of a page, but for tables, headings and code, that begin with a word that is no subject.
fn odd_openings(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut words = String::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        let is_prose = !is_code && !line.starts_with(['|', '#', '`']) && !line.starts_with("    ");
        words.push_str(if is_prose { line } else { "\n" });
        words.push('\n');
    }
    let paragraphs = words.split("\n\n").flat_map(|one| one.split("\n- "));
    let paragraphs = paragraphs.map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut odd = Vec::new();
    for paragraph in paragraphs {
        let sentences = paragraph
            .split(". ")
            .map(|one| one.trim_start_matches(['-', '*', ' ']));
        let found = sentences.filter(|one| {
            let first = one.split(' ').next().unwrap_or_default();
            matches!(first, "What" | "Who" | "Whoever" | "Nothing") && !one.contains('?')
        });
        odd.extend(found.map(|one| format!("begin this with its subject: {one}")));
    }
    odd
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

/// The cells of the tables of a page that have too many words.
fn long_cells(text: &str) -> Vec<String> {
    let rows = prose(text)
        .map(str::trim)
        .filter(|line| line.starts_with('|'));
    let rows = rows.map(|row| row.replace("\\|", "/"));
    let mut long = Vec::new();
    for row in rows {
        let cells = row.split('|').map(str::trim);
        let found = cells.filter(|cell| cell.split_whitespace().count() > WORDS);
        long.extend(found.map(|cell| format!("more than {WORDS} words: {cell}")));
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_of_another_form_is_found() {
        let opens = opens_with_its_purpose;
        assert!(opens("# A page\n\nIt is for you.\n") && !opens("# A page\n\n| a | b |\n"));
        let long = "a line\n".repeat(SHORT);
        let page = |contents: &str| format!("# A page\n\n{contents}\n\n## A part\n\n{long}");
        assert_eq!(unlisted(&page("")), ["its contents do not list \"A part\""]);
        assert_eq!(unlisted(&page("[A part](#a-part)")), Vec::<String>::new());
        let odd = "# What it is\n\nA page. What is said\nhere counts. What is it?\n\n- Nothing is here.\n";
        assert_eq!(
            odd_openings(odd),
            [
                "begin this with its subject: What is said here counts",
                "begin this with its subject: Nothing is here."
            ]
        );
        let whole = PARTS.map(|part| format!("{part} a word.")).join("\n\n");
        assert!(has_its_parts(&whole));
        assert!(!has_its_parts(&whole.replace("**Alternatives.**", "")));
        let row = |words: usize| format!("| {} | b |\n", vec!["a"; words].join(" "));
        let lengths = [31, 30].map(|words| long_cells(&row(words)).len());
        assert_eq!(lengths, [1, 0]);
    }

    #[test]
    fn decision_without_parts_or_row_is_found() {
        let root = Path::new("/r");
        let pages = [
            ("docs/decisions/README.md", "[x](0002-x.md)"),
            ("docs/decisions/0001-x.md", "x"),
        ];
        let pages = pages.map(|(name, text)| (root.join(name), text.to_owned()));
        assert_eq!(
            breaches(root, &Pages::from(pages)),
            [
                format!("docs/decisions/0001-x.md: its parts are not {PARTS:?}"),
                "docs/decisions/0001-x.md: docs/decisions/README.md has no row for it".to_owned(),
                "only 1 decisions are found".to_owned(),
            ]
        );
    }
}
