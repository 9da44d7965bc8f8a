//! Tests that pages name: those of the reports, and of README's claims, exist; each row of a found defect has one; users meet none.
//!
//! A threat without its test is worse than one that says that it has none.

use super::links::{Pages, prose};
use super::targets::TESTS;
use std::{collections::BTreeSet, path::Path};

/// Folders and pages for people who change Plexus; names of tests are what some of them are for.
const FOR_DEVELOPERS: [&str; 3] = ["tests/reports/", "docs/decisions/", "CONTRIBUTING.md"];
/// Reports that name tests of now.
const REPORTS: [&str; 8] = [
    "tests/reports/coverage.md",
    "tests/reports/sandbox-probes.md",
    "tests/reports/contained.md",
    "tests/reports/console.md",
    "tests/reports/mac.md",
    "tests/reports/day-of-use.md",
    "tests/reports/front-door.md",
    "tests/reports/mcp-servers.md",
];
/// README's claims, with the tests of each.
const CLAIMS: &str = "tests/stories/claims.rs";
/// Rows of a report, by their beginning and how many there are: defects of similar gateways, and what hostile readers found.
const ROWS: [(&str, &str, usize); 6] = [
    ("| D", ": ", 13),
    ("| E", ": ", 30),
    ("| 0.", " | ", 5),
    ("| 1.", " | ", 10),
    ("| 2.", " | ", 6),
    ("| 3.", " | ", 6),
];

/// One line for each name of no test, each row without one, and each test that users meet.
pub(crate) fn breaches(root: &Path, pages: &Pages, sources: &[(String, String)]) -> Vec<String> {
    let tests = sources.iter().flat_map(|(path, text)| tests(path, text));
    let tests: BTreeSet<String> = tests.collect();
    let (mut breaches, mut reports) = (Vec::new(), String::new());
    let is_gone = |name: &&str| has_the_form(name) && !tests.contains(&last_two(name));
    let gone = |page: &str, name| format!("{page}: there is no test {name}");
    for (path, text) in pages {
        let page = path.strip_prefix(root).unwrap_or(path).to_string_lossy();
        if REPORTS.contains(&&*page) {
            breaches.extend(quoted(text).filter(is_gone).map(|name| gone(&page, name)));
            reports += text;
        }
        if !FOR_DEVELOPERS.iter().any(|begin| page.starts_with(begin)) {
            let met = quoted(text).filter(|name| tests.contains(*name));
            breaches.extend(met.map(|name| format!("{page}: {name} is a test: leave it out")));
        }
    }
    for (_, text) in sources.iter().filter(|(path, _)| path == CLAIMS) {
        let literals = text.lines().flat_map(|line| line.split('"').skip(1));
        breaches.extend(literals.filter(is_gone).map(|name| gone(CLAIMS, name)));
    }
    for (begin, end, all) in ROWS {
        for begin in (1..=all).map(|number| format!("{begin}{number}{end}")) {
            let row = reports.lines().find(|row| row.starts_with(&begin));
            if !row.is_some_and(|row| quoted(row).any(has_the_form)) {
                breaches.push(format!("no row `{begin}` of a report names a test"));
            }
        }
    }
    breaches
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether a text is like `file::name`, or names a folder before that.
fn has_the_form(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || c == '_';
        part.starts_with(|c: char| c.is_ascii_lowercase()) && part.chars().all(is_known)
    };
    text.contains("::") && text.split("::").all(is_part)
}

/// The file and the name of `folder::file::tests::name`.
fn last_two(text: &str) -> String {
    let mut parts: Vec<_> = text.split("::").filter(|part| *part != "tests").collect();
    parts.drain(..parts.len().saturating_sub(2));
    parts.join("::")
}

/// The tests of a file as `file::name`. A file called `main` or `tests` goes by its folder.
fn tests(path: &str, text: &str) -> Vec<String> {
    let mut parts = path.trim_end_matches(".rs").rsplit('/');
    let file = parts.find(|part| !matches!(*part, "main" | "tests"));
    let mut is_test = false;
    let names = text.lines().map(str::trim_start).filter_map(|line| {
        is_test |= TESTS.iter().any(|begin| line.starts_with(begin));
        let (_, name) = line.split_once("fn ").filter(|_| is_test)?;
        is_test = false;
        Some(format!("{}::{}", file?, name.split('(').next()?))
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_no_test_and_one_that_users_meet_are_found() {
        let root = Path::new("/r");
        let pages = [
            ("docs/a.md", "It is `b::c`, no `b::d`.\n"),
            ("CONTRIBUTING.md", "It is `b::c`, or `b::d`.\n"),
            (
                "tests/reports/coverage.md",
                "| D1: x | `b::c`, `b::d` |\n| D2: y | none |\n",
            ),
        ];
        let pages = pages.map(|(name, text)| (root.join(name), text.to_owned()));
        let sources = [
            ("a/b/main.rs", "#[test]\n#[ignore]\nfn c() {}\nfn d() {}\n"),
            (
                CLAIMS,
                "    \"a claim: of e\",\n    &[\"b::c\", \"b::e\"],\n",
            ),
        ];
        let sources = sources.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let mut found = breaches(root, &Pages::from(pages), &sources);
        let rows = found.split_off(3);
        assert_eq!(
            found,
            [
                "docs/a.md: b::c is a test: leave it out",
                "tests/reports/coverage.md: there is no test b::d",
                "tests/stories/claims.rs: there is no test b::e",
            ]
        );
        assert_eq!(rows[0], "no row `| D2: ` of a report names a test");
        assert_eq!(rows.len(), 69, "but for the first");
    }
}
