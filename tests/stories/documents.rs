//! The pages under `docs/` and `tests/reports/`, and in the first folder, name only what there is: files, types, commands,
//! sections. `cargo xtask rules` holds their links, and the tests that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests lie in the workspace")
}

/// Every file below the workspace whose name ends so, but for what builds leave.
fn files(extension: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root().to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if entry.file_type().expect("a type").is_dir() {
                if name != "target" && name != ".git" {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn pages() -> BTreeMap<PathBuf, String> {
    let pages = files("md").into_iter();
    pages
        .filter(|page| {
            let folder = page.parent();
            page.starts_with(root().join("docs"))
                || page.starts_with(root().join("tests/reports"))
                || folder == Some(root())
        })
        .map(|page| (page.clone(), fs::read_to_string(page).expect("a page")))
        .collect()
}

pub(crate) fn page(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("the page")
}

/// What stands between backticks outside of fenced blocks.
pub(crate) fn quoted(page: &str) -> Vec<&str> {
    let mut fenced = false;
    let lines = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

fn is_word(text: &str, first: fn(char) -> bool) -> bool {
    text.starts_with(first) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[test]
fn the_files_that_the_pages_name_exist() {
    let mut seen = 0;
    for (path, text) in pages() {
        for name in quoted(&text) {
            let is_file = name.contains('/')
                && [".rs", ".sb", ".py", ".html"]
                    .iter()
                    .any(|end| name.ends_with(end))
                && !name.contains(['*', '<', '{', ' ', '~']);
            if is_file {
                seen += 1;
                assert!(root().join(name).is_file(), "{}: {name}", path.display());
            }
        }
    }
    assert!(seen > 20, "only {seen} files are named");
}

/// The map uses the code's own names.
#[test]
fn the_types_that_the_map_names_exist() {
    let code: String = files("rs")
        .iter()
        .map(|path| fs::read_to_string(path).expect("a source"))
        .collect();
    let page = page("architecture.md");
    let mut seen = 0;
    for name in quoted(&page) {
        let (kind, member) = name.split_once("::").unwrap_or((name, ""));
        let is_type = is_word(kind, |c| c.is_ascii_uppercase())
            && kind.contains(|c: char| c.is_ascii_lowercase());
        if !is_type {
            continue;
        }
        seen += 1;
        let defined = ["struct", "enum", "trait", "type"]
            .iter()
            .any(|word| code.contains(&format!("{word} {kind}")))
            || [",", " {", "("]
                .iter()
                .any(|end| code.contains(&format!("    {kind}{end}")));
        assert!(defined, "there is no {kind}");
        let method = member.trim_end_matches("()");
        assert!(
            method.is_empty() || code.contains(&format!("fn {method}")) || code.contains(method),
            "there is no {name}"
        );
    }
    assert!(seen > 20, "only {seen} types are named");
}

/// What follows each `plexusctl` of a page, to the end of its line or of its quotes.
fn typed(page: &str) -> BTreeSet<Vec<String>> {
    let after = page.split("plexusctl ").skip(1);
    let words = |rest: &str| {
        let rest = rest.split(['`', '\n', '#', '|', ';', ')']).next();
        let words = rest.unwrap_or_default().split_whitespace();
        let words: Vec<String> = words
            .map(|word| word.trim_end_matches([',', ':', '.']).to_owned())
            .collect();
        words
    };
    let is_word = |word: &String| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    after
        .map(words)
        .filter(|words| {
            words
                .first()
                .is_some_and(|word| !word.is_empty() && is_word(word))
        })
        .collect()
}

/// What an owner reads with a terminal at hand.
const OWNERS_PAGES: [&str; 11] = [
    "runbook.md",
    "install-and-upgrade.md",
    "backup.md",
    "audit.md",
    "approvals.md",
    "lending.md",
    "sources/README.md",
    "reference/flags.md",
    "reference/state-directory.md",
    "reference/metrics.md",
    "reference/log-events.md",
];

/// The commands of `plexusctl` in a text, and how many options they have; each is one that the program knows.
#[track_caller]
pub(crate) fn plexusctl_commands(text: &str) -> (BTreeSet<String>, usize) {
    let help = |words: &[&str]| {
        let said = std::process::Command::new(plexus_tests::binaries::path("plexusctl"))
            .args(words)
            .arg("--help")
            .output()
            .expect("plexusctl runs");
        let text = String::from_utf8(said.stdout).expect("text");
        said.status.success().then_some(text)
    };
    let listed = |help: &str, word: &str| {
        let (_, commands) = help.split_once("Commands:").unwrap_or_default();
        commands
            .lines()
            .any(|line| line.split_whitespace().next() == Some(word))
    };
    assert!(help(&["no-such-command"]).is_none(), "the control");
    let (mut commands, mut options) = (BTreeSet::new(), 0);
    let top = help(&[]).expect("help");
    for words in typed(text) {
        // Prose goes on behind the command: "plexusctl sources say why".
        let first = words[0].as_str();
        if first.starts_with("--") {
            continue;
        }
        assert!(listed(&top, first), "plexusctl has no {first}: {words:?}");
        let mut path = vec![first];
        let mut text = help(&path).expect("help");
        while let Some(next) = words.get(path.len()).filter(|next| listed(&text, next)) {
            path.push(next);
            text = help(&path).expect("help");
        }
        for option in words.iter().filter(|word| word.starts_with("--")) {
            let option = option.split(['=', '[']).next().unwrap_or_default();
            options += 1;
            let known = text.contains(option) || top.contains(option);
            assert!(
                known,
                "`plexusctl {}` has no {option}: {words:?}",
                path.join(" ")
            );
        }
        commands.insert(path.join(" "));
    }
    (commands, options)
}

/// A person who is woken at night types what the pages say: commands and their options are there.
#[test]
fn the_commands_of_the_owners_pages_are_there() {
    let page: String = OWNERS_PAGES.map(page).concat();
    let (commands, options) = plexusctl_commands(&page);
    assert!(
        commands.len() > 40 && options > 20,
        "{} {options}: {commands:?}",
        commands.len()
    );
}

/// The anchor of a heading.
pub(crate) fn anchor(heading: &str) -> String {
    let text = heading.trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().replace(' ', "-")
}

/// The anchors of a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// A page and a section of it, as a comment cites it: `docs/design.md#trust`.
#[track_caller]
fn assert_section(from: &Path, page: &Path, section: &str) {
    let about = format!("{}: {}#{section}", from.display(), page.display());
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{about}: {error}"));
    assert!(
        section.is_empty() || anchors(&text).contains(section),
        "{about}: no such section"
    );
}

/// Whether a text cites what is not in the repository: papers of its making, or an issue by its number alone.
fn cites_elsewhere(text: &str) -> bool {
    let papers = [
        " DESIGN ",
        "(DESIGN ",
        "wire \u{a7}",
        "Wire \u{a7}",
        "(\u{a7}",
        "the seeds'",
        "the design's",
    ];
    let mut after = text.split("issue ").skip(1);
    papers.iter().any(|words| text.contains(words))
        || after.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// A citation of a text that is not in the repository leads nobody anywhere: a comment cites a page, with its section.
#[test]
fn cited_sections_exist() {
    assert!(cites_elsewhere("as issue 4 says") && cites_elsewhere("(DESIGN 4)"));
    assert!(!cites_elsewhere("nats-server issues 4320 and 8469"));
    let mut cited = 0;
    let sources = ["rs", "sb", "toml"].iter().flat_map(|end| files(end));
    for path in sources {
        let text = fs::read_to_string(&path).expect("a source");
        for line in text.lines() {
            let Some(at) = line.find("//").or_else(|| line.find(['#', ';'])) else {
                continue;
            };
            let comment = &line[at..];
            assert!(
                !cites_elsewhere(comment),
                "{}: cite docs/design.md or docs/protocol: {line}",
                path.display()
            );
            for citation in comment.split("docs/").skip(1) {
                let end =
                    citation.find(|c: char| !c.is_ascii_alphanumeric() && !"-_./#".contains(c));
                let citation = citation[..end.unwrap_or(citation.len())].trim_end_matches('.');
                let (page, section) = citation.split_once('#').unwrap_or((citation, ""));
                if page.ends_with(".md") {
                    cited += 1;
                    assert_section(&path, &root().join("docs").join(page), section);
                }
            }
        }
    }
    assert!(cited > 100, "only {cited} sections are cited");
    for (path, text) in pages() {
        let elsewhere = text.lines().find(|line| cites_elsewhere(line));
        assert_eq!(elsewhere, None, "{}", path.display());
    }
}
