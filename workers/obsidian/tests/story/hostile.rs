//! Hostile notes: whatever a note holds, an answer comes, within bounds, and it is true to the text.

use crate::story::vaults::{TestVault, note, read, search};
use plexus_worker_obsidian::{Frontmatter, Mark, Reference, scan};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

/// Text made of what Markdown, YAML and links are made of, and of anything.
fn notes() -> impl Strategy<Value = String> {
    const PIECES: &str = "---\n [[ ]] ![[ | # ^ ```\n ` $ $$ <div> <!-- --> ]( [ ) ( tags:~ -~ :~ &a~ *a { } !!binary~ <<:~ ?~ \n \r\n ~~ \t %% \\ \
        https://x/#y %20 % %zz #tag/ \u{feff} \u{0} >~ |~a~|~b~|\n|--|--|\n 1.~ [^1] ***";
    let pieces: Vec<String> = PIECES
        .split(' ')
        .map(|piece| piece.replace('~', " "))
        .collect();
    let piece = prop_oneof![
        proptest::sample::select(pieces),
        "[a-zA-Z0-9 ]{1,8}",
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn marks_are_where_they_are_said_to_be(body in notes()) {
        for mark in scan(&body) {
            match mark {
                Mark::Tag { name, offset } => {
                    let is_there = body[offset..].strip_prefix('#').is_some_and(|rest| rest.starts_with(&name));
                    prop_assert!(is_there);
                    prop_assert!(name.chars().any(|c| !c.is_ascii_digit()));
                    prop_assert!(!name.contains(char::is_whitespace) && !name.contains('#') && !name.ends_with('/'));
                }
                Mark::Link { raw, .. } => prop_assert!(body.contains(&raw)),
            }
        }
    }

    #[test]
    fn front_matter_is_an_object_or_bad_or_absent(text in notes(), inner in notes()) {
        let _ = Frontmatter::of(&text);
        match Frontmatter::of(&format!("---\n{inner}\n---\n{text}")) {
            Frontmatter::Present(map) => {
                let json = serde_json::to_string(&map).unwrap();
                let again: serde_json::Value = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(again, serde_json::Value::Object(map));
            }
            Frontmatter::Bad => {}
            Frontmatter::Absent => prop_assert!(false, "the block is closed"),
        }
    }

    #[test]
    fn plain_properties_come_back(pairs in proptest::collection::btree_map("[a-z]{1,8}", "[a-z][a-z ]{0,10}[a-z]", 0..8)) {
        let is_plain = |text: &String| !["null", "true", "false", "yes", "no", "on", "off"].contains(&text.as_str());
        prop_assume!(pairs.iter().all(|(key, value)| is_plain(key) && is_plain(value) && key != "y" && key != "n"));
        let yaml: String = pairs.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        let expected = pairs.into_iter().map(|(key, value)| (key, value.into())).collect();
        prop_assert_eq!(Frontmatter::of(&format!("---\n{yaml}---\n")), Frontmatter::Present(expected));
    }

    #[test]
    fn written_links_come_back(path in "[a-zA-Z][a-zA-Z ]{0,10}[a-zA-Z]", heading in proptest::option::of("[a-zA-Z]{1,8}"), embed in any::<bool>()) {
        let target = heading.as_ref().map_or(path.clone(), |heading| format!("{path}#{heading}"));
        let raw = format!("{}[[{target}|shown]]", if embed { "!" } else { "" });
        let expected = Mark::Link { raw: raw.clone(), to: Reference { path, heading, block: None }, is_embed: embed };
        prop_assert_eq!(scan(&format!("before {raw} after")), vec![expected]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_bytes_are_read_and_searched_without_harm(text in notes(), bytes in vec(any::<u8>(), 0..200)) {
        let vault = TestVault::new(&[("note.md", &text), ("zebra.md", "zebra #zebra")]);
        vault.file("bytes.md", &bytes);
        let vault = vault.open();
        if let Ok(answer) = read(&vault, "note.md") {
            prop_assert_eq!(note(answer).content, text.strip_prefix('\u{feff}').unwrap_or(&text));
        } else {
            let is_no_text = text.contains('\0') || text.starts_with('\u{feff}');
            prop_assert!(is_no_text);
        }
        let _ = read(&vault, "bytes.md");
        for input in [json!({"query": "zebra"}), json!({"tag": "zebra"})] {
            let found = search(&vault, input);
            prop_assert!(found.hits.iter().any(|hit| hit.relative_path.as_str() == "zebra.md"));
        }
        search(&vault, json!({"property": {"name": "tags"}}));
    }
}

#[test]
fn nesting_and_repetition_without_end() {
    let deep = 20_000;
    for body in [
        "[".repeat(deep),
        "[[".repeat(deep),
        "![".repeat(deep),
        "> ".repeat(deep),
        "- ".repeat(deep),
        "*a _b ".repeat(deep),
        "`".repeat(deep),
        "<".repeat(deep),
        "#".repeat(deep),
        "#a/".repeat(deep),
        "(#a".repeat(20 * deep),
        "[a](".repeat(deep),
        "|".repeat(deep),
        "$".repeat(deep),
        "<!--".repeat(deep),
        format!("#{}", "x".repeat(deep)),
    ] {
        let _ = scan(&body);
    }
    for yaml in [
        "[".repeat(deep),
        "{a: ".repeat(deep),
        "- ".repeat(deep),
        "? ".repeat(deep),
        "&a ".repeat(deep),
        "a: |\n".repeat(deep),
        "!t ".repeat(deep),
        format!("{}x", "a:\n ".repeat(deep)),
    ] {
        assert!(!matches!(
            Frontmatter::of(&format!("---\n{yaml}\n---\n")),
            Frontmatter::Present(_)
        ));
    }
    assert_eq!(scan("#fine").len(), 1, "control");
}
