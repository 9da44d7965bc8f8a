//! Properties of the pure parts, looked for over generated inputs.

use std::ops::ControlFlow;

use plexus_rooted_files::{
    Digest, DigestParseError, Policy, RelPath, Root, WalkBounds,
    names::{code_unit_order, escape_controls, fold, fold_for_guard},
    text::{NotText, decode, page},
};
use proptest::{collection::vec, prelude::*};

/// Text made of what paths are attacked with, and of anything.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("/".to_owned()),
        Just("\\".to_owned()),
        Just("\0".to_owned()),
        Just("%2e".to_owned()),
        "[a-c]{1,3}",
        "\\PC{0,3}",
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_parsed_path_is_canonical_and_inside(text in hostile()) {
        if let Ok(path) = RelPath::parse(&text) {
            let clean = path.as_str();
            prop_assert!(!clean.starts_with('/') && !clean.ends_with('/') && !clean.contains("//"));
            prop_assert!(clean.split('/').all(|c| c != "." && c != ".."));
            prop_assert!(!clean.chars().any(char::is_control));
            prop_assert_eq!(RelPath::parse(clean), Ok(path.clone()), "parsing is idempotent");
            prop_assert_eq!(path.components().collect::<Vec<_>>().join("/"), clean);
            if let Some((parent, name)) = path.split_last() {
                prop_assert_eq!(parent.join(name), Ok(path.clone()));
            }
        }
    }

    #[test]
    fn only_the_named_offences_are_refused(components in vec("[^/\\x00-\\x1f\\x7f-\\x9f]{1,20}", 1..8)) {
        let text = components.join("/");
        let is_offence = components.iter().any(|c| c == "..");
        prop_assert_eq!(RelPath::parse(&text).is_err(), is_offence);
    }

    #[test]
    fn pages_give_every_byte_once(text in "(\\PC|\n){0,80}", limit in 1_usize..20) {
        let (mut offset, mut seen) = (0, String::new());
        loop {
            let page = page(&text, offset, limit).unwrap();
            seen.push_str(page.content);
            prop_assert!(page.content.len() <= limit.max(4));
            match page.next_offset {
                Some(next) => {
                    prop_assert!(next > offset, "it always gets on");
                    offset = next;
                }
                None => break,
            }
        }
        prop_assert_eq!(seen, text);
    }

    #[test]
    fn decoding_never_panics_and_undoes_utf16(text in "[^\u{0}\u{feff}]{0,40}", bytes in vec(any::<u8>(), 0..60)) {
        let _ = decode(&bytes);
        let mut le = vec![0xff, 0xfe];
        le.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
        let mut be = vec![0xfe, 0xff];
        be.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        for (bytes, warning) in [(le, "decoded_utf16le"), (be, "decoded_utf16be")] {
            let decoded = decode(&bytes).unwrap();
            prop_assert_eq!((decoded.content.as_ref(), decoded.warning), (text.as_str(), Some(warning)));
        }
    }

    #[test]
    fn order_is_that_of_utf16(a in "\\PC{0,6}", b in "\\PC{0,6}") {
        let utf16 = |text: &str| text.encode_utf16().collect::<Vec<_>>();
        prop_assert_eq!(code_unit_order(&a, &b), utf16(&a).cmp(&utf16(&b)));
    }

    #[test]
    fn folding_is_idempotent_and_blind_to_case(text in "\\PC{0,12}") {
        let folded = fold(&text);
        prop_assert_eq!(&fold(&folded), &folded);
        prop_assert_eq!(&fold(&text.to_uppercase()), &folded);
        prop_assert_eq!(&fold(&text.to_lowercase()), &folded);
        prop_assert_eq!(fold_for_guard(&fold_for_guard(&text)), fold_for_guard(&text));
    }

    #[test]
    fn escaped_text_holds_nothing_that_acts(text in any::<String>()) {
        let escaped = escape_controls(&text, false);
        let acts = escaped.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c));
        prop_assert!(!acts);
    }

    #[test]
    fn a_digest_is_its_text(bytes in vec(any::<u8>(), 0..40)) {
        let digest = Digest::of(&bytes);
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        prop_assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err() || digest.to_string().bytes().all(|b| b.is_ascii_digit()));
    }
}

#[test]
fn a_digest_is_lower_case_hex_of_full_length() {
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest::of(b"").to_string(), text);
    for bad in [
        "",
        &text[1..],
        &format!("{text}0"),
        &text.to_uppercase(),
        &text.replace('e', "g"),
    ] {
        assert_eq!(bad.parse::<Digest>(), Err(DigestParseError), "{bad}");
    }
}

#[test]
fn guard_folding_meets_the_plain_name() {
    for (disguised, plain) in [
        (".GIT", ".git"),
        (".g\u{200c}it", ".git"),
        ("\u{feff}.git", ".git"),
        (".git. .", ".git"),
        ("AGENT\u{17f}.md", "agents.md"),
        ("\u{212a}it", "kit"),
        ("Make\u{fb01}le", "makefile"),
        (".g\u{ad}it", ".git"),
        ("\u{200b}.git\u{fe0f}", ".git"),
        ("STRA\u{1e9e}E", "strasse"),
    ] {
        assert_eq!(fold_for_guard(disguised), plain, "{disguised:?}");
    }
    assert_ne!(fold_for_guard("git"), ".git");
}

#[test]
fn text_that_is_none() {
    let (nul, neither) = ("it contains NUL bytes", "it is neither UTF-8 nor UTF-16");
    for (bytes, words) in [
        (&b"a\0b"[..], nul),
        (b"\xff", neither),
        (b"caf\xe9", neither),
        (b"\xff\xfea", "UTF-16"),
        (b"\xff\xfe\x00\xd8", "UTF-16"),
        (b"\xef\xbb\xbfa\0", nul),
    ] {
        let NotText(why) = decode(bytes).expect_err(words);
        assert!(why.contains(words), "{bytes:?}: {why}");
    }
    assert_eq!(
        decode(b"\xef\xbb\xbfa").unwrap().warning,
        Some("bom_removed")
    );
    assert_eq!(decode("ä".as_bytes()).unwrap().warning, None);
    assert!(page("äb", 1, 9).is_none() && page("ab", 3, 9).is_none() && page("ab", 2, 9).is_some());
    assert_eq!(
        page("ab\ncd\nef", 0, 7).unwrap().content,
        "ab\ncd\n",
        "cut after a line"
    );
}

#[test]
fn listings_go_on_and_walks_run_in_the_order_of_paths() {
    let temp = tempfile::tempdir().unwrap();
    for path in [
        "b.md",
        "a/x.md",
        "a.md",
        "a b.md",
        "B.md",
        "\u{10000}.md",
        "\u{ff21}.md",
        "a/b/c/d.md",
    ] {
        let path = temp.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    }
    std::os::unix::fs::symlink("/etc", temp.path().join("link")).unwrap();
    let root = Root::open(temp.path(), Policy::default()).unwrap();
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let listing = root
            .list(&RelPath::root(), 3, after.as_deref(), &|| false)
            .unwrap();
        assert_eq!(listing.omitted, 1);
        names.extend(
            listing
                .entries
                .into_iter()
                .map(|entry| entry.path.to_string()),
        );
        match listing.next_after {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    // U+10000 is written with surrogates, which sort before U+FF21.
    assert_eq!(
        names,
        [
            "B.md",
            "a",
            "a b.md",
            "a.md",
            "b.md",
            "\u{10000}.md",
            "\u{ff21}.md"
        ]
    );

    let walk = |bounds: WalkBounds| {
        let mut seen = Vec::new();
        let report = root
            .walk(&RelPath::root(), bounds, &|| false, |entry| {
                if entry.kind == plexus_rooted_files::Kind::File {
                    assert_eq!(entry.read(9).unwrap().bytes, b"x");
                    seen.push(entry.path.to_string());
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        (seen, report)
    };
    let (seen, report) = walk(WalkBounds::default());
    let mut sorted = seen.clone();
    sorted.sort_by(|a, b| code_unit_order(a, b));
    assert_eq!(seen, sorted);
    assert_eq!((seen.len(), report.bounded, report.omitted), (8, false, 1));
    assert!(
        walk(WalkBounds {
            max_depth: 1,
            ..WalkBounds::default()
        })
        .1
        .bounded
    );
    assert!(
        walk(WalkBounds {
            max_entries: 5,
            ..WalkBounds::default()
        })
        .1
        .bounded
    );
}
