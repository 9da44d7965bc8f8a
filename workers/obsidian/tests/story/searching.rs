//! Searching: what is a hit, in which order, how much, how fast, and what a rule hides.

use std::{cell::Cell, time::Instant};

use crate::story::vaults::{TestVault, below, note, read, reason, search, search_below};
use plexus_rooted_files::{FileError, PathRule};
use plexus_worker_obsidian::{SearchInput, SearchOutput, Vault, VaultError};
use serde_json::{Value, json};

/// The hits, each as `path:line`.
fn lines(output: &SearchOutput) -> Vec<String> {
    let hits = output.hits.iter();
    hits.map(|hit| format!("{}:{}", hit.relative_path, hit.line))
        .collect()
}

fn found(vault: &Vault, input: Value) -> Vec<String> {
    lines(&search(vault, input))
}

const NONE: [&str; 0] = [];

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
        ("u\u{308}/folder from a Mac.md", "okapi"),
    ]);
    let vault = vault.open();
    let output = search(&vault, json!({"query": "zEbRa"}));
    let all = [
        "a.md:2",
        "a/x.md:1",
        "b.md:2",
        "b.md:4",
        "board.canvas:1",
        "notes.txt:1",
    ];
    assert_eq!(lines(&output), all);
    assert_eq!(output.hits[2].snippet, "Zebra and zebra");
    assert_eq!(
        json!(search(&vault, json!({"query": "ZEBRA", "limit": 1}))),
        json!({"type": "search", "query": "ZEBRA", "truncated": true,
               "hits": [{"relativePath": "a.md", "line": 2, "snippet": "zebra"}],
               "next": {"after": "a.md:2"}})
    );
    let below = |path| found(&vault, json!({"query": "zebra", "path": path}));
    assert_eq!(below("a"), ["a/x.md:1"]);
    assert_eq!(below("b.md"), ["b.md:2", "b.md:4"]);
    let composed = json!({"query": "okapi", "path": "\u{fc}"});
    assert_eq!(found(&vault, composed), ["u\u{308}/folder from a Mac.md:1"]);
    assert_eq!(found(&vault, json!({"query": "unicorn"})), NONE);
    // Exactly as many as asked for is all of them.
    let exact = search(&vault, json!({"query": "zebra", "limit": 6}));
    assert_eq!((lines(&exact).len(), exact.truncated), (6, false));
}

#[test]
fn case_and_normal_forms_of_every_script() {
    let vault = TestVault::new(&[
        ("a.md", "x\nU\u{308}BER ΣΊΣΥΦΟΣ straße"),
        ("b.md", "\u{fc}ber"),
    ]);
    let vault = vault.open();
    let of = |vault: &Vault, query| found(vault, json!({ "query": query }));
    assert_eq!(of(&vault, "Über"), ["a.md:2", "b.md:1"]);
    // An ASCII query is taken as it is.
    assert_eq!(of(&vault, "STRASSE"), NONE);
    assert_eq!(of(&vault, "STRAßE"), ["a.md:2"]);
    // What folds to ASCII is found in lines of it.
    let plain = TestVault::new(&[("a.md", "x\nSTRASSE")]);
    assert_eq!(of(&plain.open(), "straße"), ["a.md:2"]);
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
        let all = ["body.md:2", "escaped.md:2", "front.md:4", "sharp.md:4"];
        assert_eq!(found(&vault, json!({ "tag": tag })), all, "{tag}");
    }
}

#[test]
fn tags_and_properties() {
    #[rustfmt::skip]
    let vault = TestVault::new(&[
        ("front.md", "---\nstatus: Open\ntags:\n  - x\n  - Work/Plan\n---\nbody"),
        ("inline.md", "text\n#work and #WORK/deep\n`#work`\nagain #work"),
        ("string.md", "---\ntags: work, home\npriority: 3\n---\nzebra"),
        ("list.md", "---\nstatus: [done, open]\n---\n"),
        ("not.md", "---\nworkload: 1\n---\nworking [[#work]] #workshop ```#work```"),
    ]);
    let vault = vault.open();
    let work = &["front.md:5", "inline.md:2", "inline.md:4", "string.md:2"][..];
    let status = &["front.md:2", "list.md:2"][..];
    #[rustfmt::skip]
    let rows = [
        (json!({"tag": "work"}), work),
        (json!({"tag": "#Work"}), work),
        (json!({"tag": "work/"}), work),
        (json!({"tag": "work/plan"}), &["front.md:5"]),
        (json!({"property": {"name": "status"}}), status),
        (json!({"property": {"name": "STATUS", "value": "open"}}), status),
        (json!({"property": {"name": "priority", "value": 3}}), &["string.md:3"]),
        (json!({"property": {"name": "priority", "value": "3"}}), &["string.md:3"]),
        (json!({"property": {"name": "status", "value": "closed"}}), &[]),
        // All must hold.
        (json!({"query": "zebra", "tag": "home"}), &["string.md:5"]),
        (json!({"query": "zebra", "tag": "plan"}), &[]),
    ];
    for (input, hits) in rows {
        assert_eq!(found(&vault, input.clone()), hits, "{input}");
    }
    for nothing in [
        json!({}),
        json!({"query": "  "}),
        json!({"tag": "#"}),
        json!({"query": "a\nb"}),
    ] {
        is_invalid(&vault, nothing);
    }
}

#[track_caller]
fn is_invalid(vault: &Vault, input: Value) {
    let input: SearchInput = serde_json::from_value(input).unwrap();
    let answer = vault.search(&input, PathRule::all(), &|| false);
    assert!(
        matches!(answer, Err(VaultError::InvalidInput(_))),
        "{input:?}"
    );
}

#[test]
fn properties_are_found_as_they_are_written() {
    let written = "yes On off 1.10 1e3 0x1F 017 00123 1_000 12345678901234567890 2026-01-02 12:30 .nan -.inf ~ True 0o17 +5";
    let written: Vec<&str> = written.split(' ').collect();
    let vault = TestVault::new(&[]);
    for (number, text) in written.iter().enumerate() {
        for (name, lines) in [
            ("one", format!("a: b\nkey: {text} # why\nnan: .nan")),
            ("two", format!("key:\n  - other\n  - {text}")),
            (
                "with",
                format!("key: [x, {text}]\nold: &n {text}\nkeep: *n"),
            ),
        ] {
            vault.file(
                &format!("{number:02}-{name}.md"),
                format!("---\n{lines}\n---\n"),
            );
        }
    }
    let vault = vault.open();
    let of = |name: &str, value: &Value| {
        let property = json!({"name": name, "value": value});
        let found = search(&vault, json!({"property": property, "limit": 100}));
        assert_eq!(found.warnings, NONE);
        let paths = found.hits.iter().map(|hit| hit.relative_path.to_string());
        paths.collect::<Vec<_>>()
    };
    for (number, text) in written.iter().enumerate() {
        let [one, two, with] = ["one", "two", "with"].map(|name| format!("{number:02}-{name}.md"));
        assert_eq!(
            of("keep", &json!(text)),
            std::slice::from_ref(&with),
            "{text}"
        );
        assert_eq!(of("key", &json!(text)), [one, two, with], "{text}");
    }
    // A number is also found by what it comes to.
    for (value, number) in [(json!(1.1), "03"), (json!(31), "05"), (json!(1000), "08")] {
        let found = of("key", &value);
        assert!(
            found.iter().any(|path| path.starts_with(number)),
            "{value}: {found:?}"
        );
    }
}

/// Whatever was not looked into is told, once, by a word of its own.
#[test]
fn what_is_not_shown_is_told() {
    let vault = TestVault::new(&[("a.md", "zebra"), ("Other/b.md", "zebra")]);
    let words = |input: Value| {
        let mut words = search(&vault.open(), input).warnings;
        words.sort_unstable();
        words
    };
    let query = || json!({"query": "zebra"});
    assert_eq!(words(query()), NONE, "control");
    vault.file("Other/latin1.md", b"zebra caf\xe9");
    vault.file("Other/nul.txt", "zebra\0");
    assert_eq!(words(query()), ["not_text_skipped"]);
    vault.file("Other/large.md", "zebra".repeat(1024 * 1024));
    let [file, second] = ["a.md", "Other/second.md"].map(|name| vault.path().join(name));
    std::fs::hard_link(file, second).unwrap();
    let more = [
        "files_unreadable",
        "large_files_skipped",
        "not_text_skipped",
    ];
    assert_eq!(words(query()), more);
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
    vault.file("In/c.md", "zebra");
    let warned = |folder: &str| {
        let rule = below(folder);
        let answer = search_below(&vault.open(), query(), PathRule::new(&rule));
        answer.unwrap().output.warnings
    };
    assert_eq!(warned("In"), NONE);
    assert!(warned("Other").contains(&"names_skipped"), "control");
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
        is_invalid(&vault, json!({"query": "zebra", "after": bad}));
    }
}

#[test]
fn snippets_are_short_and_show_the_find() {
    let long = format!("{}zebra{}", "ä".repeat(500), "ö".repeat(500));
    let wide = format!("   \tzebra {}", "🚀".repeat(300));
    let vault = TestVault::new(&[("a.md", &long), ("b.md", &wide)]);
    let hits = search(&vault.open(), json!({"query": "zebra"})).hits;
    assert_eq!(hits.len(), 2);
    for hit in hits {
        let length = hit.snippet.encode_utf16().count();
        assert!(hit.snippet.contains("zebra") && length <= 200, "{hit:?}");
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
    let all = || json!({"query": "zebra"});
    let of = |path| search_below(&vault, json!({"query": "zebra", "path": path}), rule);
    let answer = search_below(&vault, all(), rule).unwrap();
    assert_eq!(lines(&answer.output), ["Projects/a.md:1"]);
    assert_eq!(answer.touched.len(), 1, "only what is shown counts as read");
    for path in ["Private", "", "c.md", "Nowhere"] {
        assert_eq!(reason(of(path)), "constraint_miss", "{path}");
    }
    assert_eq!(lines(&of("Projects").unwrap().output), ["Projects/a.md:1"]);
    assert_eq!(found(&vault, all()).len(), 3, "control");
    let none = |_: &plexus_rooted_files::RelPath| false;
    let nothing = search_below(&vault, all(), PathRule::new(&none)).unwrap();
    assert_eq!(nothing.output.hits, []);
}

#[test]
fn time_that_is_over_is_an_error_and_never_a_short_answer() {
    let vault = TestVault::generated(50);
    let vault = vault.open();
    let input: SearchInput = serde_json::from_value(json!({"query": "zebra"})).unwrap();
    let within = |most| {
        let looks = Cell::new(0);
        let is_over = || looks.replace(looks.get() + 1) >= most;
        vault.search(&input, PathRule::all(), &is_over)
    };
    let late = within(10);
    assert!(matches!(late, Err(VaultError::File(FileError::Over))));
    assert_eq!(within(1000).unwrap().output.hits.len(), 1);
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
    let rare = json!({"tag": "rare", "limit": 100});
    assert_eq!(found(&vault, rare).len(), 5);
    let lorem = json!({"query": "lorem", "path": "日記", "limit": 100});
    assert_eq!(found(&vault, lorem).len(), 100);
    let open = json!({"name": "status", "value": "open"});
    assert!(search(&vault, json!({"property": open, "limit": 100})).truncated);

    let started = Instant::now();
    let read = note(read(&vault, "note 1234").unwrap());
    let read_time = started.elapsed();
    assert_eq!(read.relative_path.as_str(), "Inbox/Note 1234.md");
    let links = read.links.iter();
    let targets: Vec<_> = links.map(|link| link.target.is_some()).collect();
    assert_eq!(targets, [true, false], "one whole link, one broken");
    // Unoptimized and on a busy machine; a release build takes a tenth.
    let slower = text_time.max(read_time);
    assert!(slower.as_secs_f64() < 5.0, "{text_time:?} {read_time:?}");
}
