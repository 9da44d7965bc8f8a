//! Searching: what is a hit, in which order, how much, how fast, and what a rule hides.

use std::{cell::Cell, time::Instant};

use crate::story::vaults::{TestVault, below, note, read, reason, search, search_below};
use plexus_rooted_files::{FileError, PathRule};
use plexus_worker_obsidian::{SearchInput, SearchOutput, VaultError};
use serde_json::json;

fn lines(output: &SearchOutput) -> Vec<(String, usize)> {
    output
        .hits
        .iter()
        .map(|hit| (hit.relative_path.to_string(), hit.line))
        .collect()
}

fn at(path: &str, line: usize) -> (String, usize) {
    (path.to_owned(), line)
}

#[test]
fn text_in_the_order_of_paths_and_lines() {
    let vault = TestVault::new(&[
        ("b.md", "one\nZebra and zebra\n\nZEBRA"),
        ("a/x.md", "zebra"),
        ("a.md", "no\nzebra"),
        ("notes.txt", "a zebra"),
        ("board.canvas", "{\"zebra\":1}"),
        ("pic.png", "zebra"),
        (".trash/z.md", "zebra"),
    ]);
    let vault = vault.open();
    let output = search(&vault, json!({"query": "zEbRa"}));
    assert_eq!(
        lines(&output),
        [
            at("a.md", 2),
            at("a/x.md", 1),
            at("b.md", 2),
            at("b.md", 4),
            at("board.canvas", 1),
            at("notes.txt", 1)
        ]
    );
    assert_eq!(output.hits[2].snippet, "Zebra and zebra");
    assert_eq!(
        serde_json::to_value(search(&vault, json!({"query": "ZEBRA", "limit": 1}))).unwrap(),
        json!({"type": "search", "query": "ZEBRA", "truncated": true,
               "hits": [{"relativePath": "a.md", "line": 2, "snippet": "zebra"}],
               "next": {"after": "a.md:2"}})
    );
    assert_eq!(
        lines(&search(&vault, json!({"query": "zebra", "path": "a"}))),
        [at("a/x.md", 1)]
    );
    assert_eq!(
        lines(&search(&vault, json!({"query": "zebra", "path": "b.md"}))).len(),
        2
    );
    assert_eq!(search(&vault, json!({"query": "unicorn"})).hits, []);
    let exact = search(&vault, json!({"query": "zebra", "limit": 6}));
    assert!(
        !exact.truncated,
        "exactly as many as asked for is all of them"
    );
}

#[test]
fn case_and_normal_forms_of_every_script() {
    let vault = TestVault::new(&[
        ("a.md", "x\nU\u{308}BER ΣΊΣΥΦΟΣ straße"),
        ("b.md", "\u{fc}ber"),
    ]);
    let vault = vault.open();
    assert_eq!(
        lines(&search(&vault, json!({"query": "Über"}))),
        [at("a.md", 2), at("b.md", 1)]
    );
    assert_eq!(
        lines(&search(&vault, json!({"query": "STRASSE"}))),
        [],
        "an ASCII query is taken as it is"
    );
    assert_eq!(
        lines(&search(&vault, json!({"query": "STRAßE"}))),
        [at("a.md", 2)]
    );
    let plain = TestVault::new(&[("a.md", "x\nSTRASSE")]);
    assert_eq!(
        lines(&search(&plain.open(), json!({"query": "straße"}))),
        [at("a.md", 2)],
        "what folds to ASCII is found in lines of it"
    );
}

#[test]
fn tags_in_every_spelling() {
    let vault = TestVault::new(&[
        ("body.md", "x\n#Spa\u{df} and #spassig"),
        ("escaped.md", "---\ntags: [\"Spa\\xDF\"]\n---\n"),
        ("front.md", "---\ntags:\n  - other\n  - SPASS/deep\n---\n"),
        ("sharp.md", "---\ntags:\n  - other\n  - spa\u{df}\n---\n"),
    ]);
    let vault = vault.open();
    for tag in ["spa\u{df}", "#SPASS", "\u{17f}pass"] {
        assert_eq!(
            lines(&search(&vault, json!({ "tag": tag }))),
            [
                at("body.md", 2),
                at("escaped.md", 2),
                at("front.md", 4),
                at("sharp.md", 4)
            ],
            "{tag}"
        );
    }
}

#[test]
fn tags_and_properties() {
    let vault = TestVault::new(&[
        (
            "front.md",
            "---\nstatus: Open\ntags:\n  - x\n  - Work/Plan\n---\nbody",
        ),
        (
            "inline.md",
            "text\n#work and #WORK/deep\n`#work`\nagain #work",
        ),
        (
            "string.md",
            "---\ntags: work, home\npriority: 3\n---\nzebra",
        ),
        ("list.md", "---\nstatus: [done, open]\n---\n"),
        (
            "not.md",
            "---\nworkload: 1\n---\nworking [[#work]] #workshop ```#work```",
        ),
    ]);
    let vault = vault.open();
    for tag in ["work", "#Work", "work/"] {
        assert_eq!(
            lines(&search(&vault, json!({"tag": tag}))),
            [
                at("front.md", 5),
                at("inline.md", 2),
                at("inline.md", 4),
                at("string.md", 2)
            ],
            "{tag}"
        );
    }
    assert_eq!(
        lines(&search(&vault, json!({"tag": "work/plan"}))),
        [at("front.md", 5)]
    );
    let property = |property| lines(&search(&vault, json!({ "property": property })));
    assert_eq!(
        property(json!({"name": "status"})),
        [at("front.md", 2), at("list.md", 2)]
    );
    assert_eq!(
        property(json!({"name": "STATUS", "value": "open"})),
        [at("front.md", 2), at("list.md", 2)]
    );
    assert_eq!(
        property(json!({"name": "priority", "value": 3})),
        [at("string.md", 3)]
    );
    assert_eq!(
        property(json!({"name": "priority", "value": "3"})),
        [at("string.md", 3)]
    );
    assert_eq!(property(json!({"name": "status", "value": "closed"})), []);
    assert_eq!(
        lines(&search(&vault, json!({"query": "zebra", "tag": "home"}))),
        [at("string.md", 5)],
        "all must hold"
    );
    assert_eq!(
        lines(&search(&vault, json!({"query": "zebra", "tag": "plan"}))),
        []
    );
    for nothing in [
        json!({}),
        json!({"query": "  "}),
        json!({"tag": "#"}),
        json!({"query": "a\nb"}),
    ] {
        let input: SearchInput = serde_json::from_value(nothing).unwrap();
        assert!(matches!(
            vault.search(&input, PathRule::all(), &|| false),
            Err(VaultError::InvalidInput(_))
        ));
    }
}

#[test]
fn properties_are_found_as_they_are_written() {
    let written = [
        "yes",
        "On",
        "off",
        "1.10",
        "1e3",
        "0x1F",
        "017",
        "00123",
        "1_000",
        "12345678901234567890",
        "2026-01-02",
        "12:30",
        ".nan",
        "-.inf",
        "~",
        "True",
        "0o17",
        "+5",
    ];
    let files: Vec<(String, String)> = written
        .iter()
        .enumerate()
        .flat_map(|(number, text)| {
            [
                (
                    format!("{number:02}-one.md"),
                    format!("---\na: b\nkey: {text} # why\nnan: .nan\n---\n"),
                ),
                (
                    format!("{number:02}-two.md"),
                    format!("---\nkey:\n  - other\n  - {text}\n---\n"),
                ),
                (
                    format!("{number:02}-with.md"),
                    format!("---\nkey: [x, {text}]\nold: &n {text}\nkeep: *n\n---\n"),
                ),
            ]
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let test_vault = TestVault::new(&files);
    let vault = test_vault.open();
    for (number, text) in written.iter().enumerate() {
        for (key, name) in [("key", ""), ("keep", "-with")] {
            let found = search(
                &vault,
                json!({"property": {"name": key, "value": text}, "limit": 100}),
            );
            let paths: Vec<String> = found
                .hits
                .iter()
                .map(|hit| hit.relative_path.to_string())
                .collect();
            let is_it = |path: &String| path.starts_with(&format!("{number:02}{name}"));
            let wanted = if key == "key" { 3 } else { 1 };
            assert_eq!(
                paths.iter().filter(|path| is_it(path)).count(),
                wanted,
                "{key}: {text} in {paths:?}"
            );
            assert_eq!(paths.len(), wanted, "{key}: {text} in {paths:?}");
            assert_eq!(found.warnings, [""; 0]);
        }
    }
    // A number is also found by what it comes to.
    for (value, number) in [(json!(1.1), "03"), (json!(31), "05"), (json!(1000), "08")] {
        let found = search(
            &vault,
            json!({"property": {"name": "key", "value": value}, "limit": 100}),
        );
        let is_it = |path: &str| path.starts_with(number);
        assert!(
            found
                .hits
                .iter()
                .any(|hit| is_it(hit.relative_path.as_str())),
            "{value}"
        );
    }
}

/// Whatever was not looked into is told, once, by a word of its own.
#[test]
fn what_is_not_shown_is_told() {
    let vault = TestVault::new(&[("a.md", "zebra"), ("Other/b.md", "zebra")]);
    let words = |input: serde_json::Value| {
        let mut words = search(&vault.open(), input).warnings;
        words.sort_unstable();
        words
    };
    let query = || json!({"query": "zebra"});
    assert_eq!(words(query()), [""; 0], "control");
    vault.file("Other/latin1.md", b"zebra caf\xe9");
    vault.file("Other/nul.txt", "zebra\0");
    assert_eq!(words(query()), ["not_text_skipped"]);
    vault.file("Other/large.md", "zebra".repeat(1024 * 1024));
    std::fs::hard_link(
        vault.path().join("a.md"),
        vault.path().join("Other/second.md"),
    )
    .unwrap();
    assert_eq!(
        words(query()),
        [
            "files_unreadable",
            "large_files_skipped",
            "not_text_skipped"
        ]
    );
    vault.link("a.md", "Other/link.md");
    vault.file("Other/bad.md", "---\n{[ : broken\n---\n#tagged");
    let all = [
        "files_unreadable",
        "large_files_skipped",
        "names_skipped",
        "not_text_skipped",
    ];
    assert_eq!(words(query()), all);
    let with_bad = |input| words(input).contains(&"bad_frontmatter_skipped");
    assert!(with_bad(json!({"property": {"name": "status"}})));
    assert!(with_bad(json!({"tag": "tagged"})));
    assert!(!with_bad(query()), "front matter does not decide");
    // Of what lies outside of the rule, nothing is told.
    std::fs::create_dir(vault.path().join("In")).unwrap();
    vault.file("In/c.md", "zebra");
    let rule = below("In");
    let answer = search_below(&vault.open(), query(), PathRule::new(&rule)).unwrap();
    assert_eq!(answer.output.warnings, [""; 0]);
    let rule = below("Other");
    let answer = search_below(&vault.open(), query(), PathRule::new(&rule)).unwrap();
    assert!(
        answer.output.warnings.contains(&"names_skipped"),
        "control: {:?}",
        answer.output.warnings
    );
}

#[test]
fn a_search_goes_on_to_its_end() {
    let long: String = (0..250).map(|line| format!("zebra {line}\n\n")).collect();
    let test_vault = TestVault::new(&[
        ("a.md", "zebra"),
        ("a/b: c.md", &long),
        ("a/d.md", "---\ntags: zebra\n---\n#zebra\n\n#zebra"),
        ("b.md", "zebra\nzebra"),
        ("b/none.md", "x"),
    ]);
    let vault = test_vault.open();
    for (input, all) in [
        (json!({"query": "zebra"}), 1 + 250 + 3 + 2),
        (json!({"tag": "zebra"}), 3),
        (json!({"query": "zebra", "path": "a"}), 253),
        (json!({"query": "zebra", "path": "a/b: c.md"}), 250),
    ] {
        for limit in [1, 2, 7, 100] {
            let (mut found, mut after) = (Vec::new(), json!(null));
            loop {
                let mut input = input.clone();
                input["limit"] = limit.into();
                if !after.is_null() {
                    input["after"] = after;
                }
                let page = search(&vault, input);
                found.extend(lines(&page));
                assert!(page.hits.len() <= limit);
                assert_eq!(page.truncated, page.next.is_some());
                after = serde_json::to_value(&page.next).unwrap()["after"].take();
                if after.is_null() {
                    break;
                }
            }
            assert_eq!(found.len(), all, "{input} by {limit}");
            let mut once = found.clone();
            once.dedup();
            assert_eq!(once.len(), all, "{input} by {limit}: each once, in order");
        }
    }
    for bad in ["", "x", "a.md:", "../a.md:1", ":1", "a.md:-1"] {
        let input = json!({"query": "zebra", "after": bad});
        let input: SearchInput = serde_json::from_value(input).unwrap();
        let answer = vault.search(&input, PathRule::all(), &|| false);
        assert!(
            matches!(answer, Err(VaultError::InvalidInput(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn snippets_are_short_and_show_the_find() {
    let vault = TestVault::new(&[
        (
            "a.md",
            &format!("{}zebra{}", "ä".repeat(500), "ö".repeat(500)),
        ),
        ("b.md", &format!("   \tzebra {}", "🚀".repeat(300))),
    ]);
    for hit in search(&vault.open(), json!({"query": "zebra"})).hits {
        assert!(
            hit.snippet.contains("zebra") && hit.snippet.encode_utf16().count() <= 200,
            "{hit:?}"
        );
    }
}

#[test]
fn a_rule_narrows_a_search_and_judges_a_path() {
    let vault = TestVault::new(&[
        ("Projects/a.md", "zebra"),
        ("Private/b.md", "zebra"),
        ("c.md", "zebra"),
    ]);
    let vault = vault.open();
    let rule = below("Projects");
    let rule = PathRule::new(&rule);
    let answer = search_below(&vault, json!({"query": "zebra"}), rule).unwrap();
    assert_eq!(lines(&answer.output), [at("Projects/a.md", 1)]);
    assert_eq!(answer.touched.len(), 1, "only what is shown counts as read");
    for path in ["Private", "", "c.md", "Nowhere"] {
        assert_eq!(
            reason(search_below(
                &vault,
                json!({"query": "zebra", "path": path}),
                rule
            )),
            "constraint_miss"
        );
    }
    assert_eq!(
        search_below(&vault, json!({"query": "zebra", "path": "Projects"}), rule)
            .unwrap()
            .output
            .hits
            .len(),
        1
    );
    assert_eq!(
        search(&vault, json!({"query": "zebra"})).hits.len(),
        3,
        "control"
    );
    let none = |_: &plexus_rooted_files::RelPath| false;
    assert_eq!(
        search_below(&vault, json!({"query": "zebra"}), PathRule::new(&none))
            .unwrap()
            .output
            .hits,
        []
    );
}

#[test]
fn time_that_is_over_is_an_error_and_never_a_short_answer() {
    let vault = TestVault::generated(50);
    let vault = vault.open();
    let input: SearchInput = serde_json::from_value(json!({"query": "zebra"})).unwrap();
    let looks = Cell::new(0);
    let over_after = |most| {
        move |looks: &Cell<usize>| {
            looks.set(looks.get() + 1);
            looks.get() > most
        }
    };
    let late = over_after(10);
    assert!(matches!(
        vault.search(&input, PathRule::all(), &|| late(&looks)),
        Err(VaultError::File(FileError::Over))
    ));
    looks.set(0);
    let early = over_after(1000);
    assert_eq!(
        vault
            .search(&input, PathRule::all(), &|| early(&looks))
            .unwrap()
            .output
            .hits
            .len(),
        1
    );
}

#[test]
fn a_vault_of_five_thousand_notes() {
    let test_vault = TestVault::generated(5000);
    let vault = test_vault.open();
    let started = Instant::now();
    let zebras = search(&vault, json!({"query": "zebra", "limit": 100}));
    let text_time = started.elapsed();
    assert_eq!(zebras.hits.len(), 5, "not those outside, hidden or deleted");
    assert!(!zebras.truncated);
    assert_eq!(
        search(&vault, json!({"tag": "rare", "limit": 100}))
            .hits
            .len(),
        5
    );
    assert_eq!(
        search(
            &vault,
            json!({"query": "lorem", "path": "日記", "limit": 100})
        )
        .hits
        .len(),
        100
    );
    let open = json!({"name": "status", "value": "open"});
    assert!(search(&vault, json!({"property": open, "limit": 100})).truncated);

    let started = Instant::now();
    let read = note(read(&vault, "note 1234").unwrap());
    let read_time = started.elapsed();
    assert_eq!(read.relative_path.as_str(), "Inbox/Note 1234.md");
    let targets: Vec<_> = read
        .links
        .iter()
        .map(|link| link.target.is_some())
        .collect();
    assert_eq!(targets, [true, false], "one whole link, one broken");
    // Unoptimized and on a busy machine; a release build takes a tenth.
    assert!(
        text_time.as_secs_f64() < 5.0 && read_time.as_secs_f64() < 5.0,
        "{text_time:?} {read_time:?}"
    );
}
