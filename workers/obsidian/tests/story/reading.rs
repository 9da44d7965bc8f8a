//! Reading notes and folders: what comes back, what is refused, what a rule hides.

use crate::story::vaults::{TestVault, ask, folder, note, read, read_below, reason};
use plexus_rooted_files::{Digest, PathRule};
use plexus_worker_obsidian::{Next, ReadInput};
use serde_json::json;

#[test]
fn a_note_with_everything() {
    let text = "---\ntitle: Plan\ntags: [a, b]\n---\n# Plan\nSee [[Other|that]], ![[pic.png]], [x](Other.md#Top), [[Nowhere]].\n";
    let vault = TestVault::new(&[
        ("Projects/Plan.md", text),
        ("Other.md", "x"),
        ("img/pic.png", "\u{89}PNG"),
    ]);
    let answer = read(&vault.open(), "Projects/Plan.md").unwrap();
    assert_eq!(answer.touched.len(), 1);
    assert_eq!(answer.touched[0].path.as_str(), "Projects/Plan.md");
    assert_eq!(answer.touched[0].digest, Some(Digest::of(text.as_bytes())));
    let mut json = serde_json::to_value(&answer.output).unwrap();
    let modified = json["modifiedAt"].take();
    let modified = modified.as_str().unwrap();
    let is_utc = modified.len() == 24 && modified.ends_with('Z') && &modified[19..20] == ".";
    assert!(is_utc, "{modified}");
    assert_eq!(
        json,
        json!({
            "type": "file", "relativePath": "Projects/Plan.md", "content": text, "bytes": text.len(), "modifiedAt": null,
            "frontmatter": {"title": "Plan", "tags": ["a", "b"]},
            "links": [
                {"raw": "[[Other|that]]", "target": "Other.md", "embed": false},
                {"raw": "![[pic.png]]", "target": "img/pic.png", "embed": true},
                {"raw": "[x](Other.md#Top)", "target": "Other.md", "heading": "Top", "embed": false},
                {"raw": "[[Nowhere]]", "target": null, "embed": false},
            ],
            "warnings": [],
        })
    );
}

#[test]
fn names_and_links_find_their_note() {
    let vault = TestVault::new(&[
        ("Projects/Plexus.md", "p"),
        ("Deep/er/Plexus.md", "q"),
        ("a/Twin.md", "1"),
        ("b/Twin.md", "2"),
        ("Top.md", "t"),
        ("\u{30ab}\u{3099}/U\u{308}b/Leaf.md", "l"),
    ]);
    let vault = vault.open();
    for (asked, path) in [
        ("Projects/Plexus.md", "Projects/Plexus.md"),
        ("Projects/Plexus", "Projects/Plexus.md"),
        ("./Top.md", "Top.md"),
        ("Top", "Top.md"),
        ("top", "Top.md"),
        ("er/Plexus", "Deep/er/Plexus.md"),
        ("[[Top]]", "Top.md"),
        ("[[Top|shown]]", "Top.md"),
        ("![[Top#Heading]]", "Top.md"),
        ("[[Projects/Plexus#^id]]", "Projects/Plexus.md"),
        ("Top#Heading", "Top.md"),
    ] {
        let answer = note(read(&vault, asked).unwrap());
        assert_eq!(answer.relative_path.as_str(), path, "{asked}");
        assert_eq!(answer.warnings, [""; 0], "{asked}");
    }
    for (asked, path, other) in [
        ("Twin", "a/Twin.md", "b/Twin.md"),
        ("Plexus", "Deep/er/Plexus.md", "Projects/Plexus.md"),
        ("plexus.md", "Deep/er/Plexus.md", "Projects/Plexus.md"),
    ] {
        let tie = note(read(&vault, asked).unwrap());
        assert_eq!(tie.relative_path.as_str(), path, "{asked}");
        assert_eq!(json!(tie.also_fits), json!([other]), "{asked}");
        assert_eq!(tie.warnings, ["ambiguous_link"], "{asked}");
    }
    let composed = folder(read(&vault, "\u{30ac}/\u{dc}b").unwrap());
    assert_eq!(
        json!(composed)["relativePath"],
        "\u{30ab}\u{3099}/U\u{308}b"
    );
    for missing in ["Nope", "[[Nope]]", "Projects/Top", "lexus", "x/Top.md"] {
        assert_eq!(reason(read(&vault, missing)), "not_found", "{missing}");
    }
}

/// Where links lead, as Obsidian's help and its `getFirstLinkpathDest` have it: beside, above, namesakes, forms of a letter.
#[test]
fn links_lead_where_obsidian_leads_them() {
    let files = "Top.md N.md a/N.md a/only.md a/deep/only.md long-name/only.md b/sub/x.md a/sub/x.md zz/tie.md yy/tie.md \
        a/below/here/late.md c/late.md C#/notes.md Note.md.md plain c/plain.md v1.2.md Caf\u{e9}.md A\u{30a}ngstrom.md \
        twin/\u{fc}.md twin/u\u{308}.md img/p.png STRASSE.md p/Spelt.md q/spelt.md";
    let vault = TestVault::new(&files.split(' ').map(|path| (path, "x")).collect::<Vec<_>>());
    // The note that has the link, the link, where it leads.
    let cases: &[(&str, &str, Option<&str>)] = &[
        ("a/from.md", "[[Top]]", Some("Top.md")),
        ("a/from.md", "[[N]]", Some("N.md")), // exactly that path of the vault, before what lies beside
        ("a/from.md", "[[a/N]]", Some("a/N.md")),
        ("a/from.md", "[[./N]]", Some("a/N.md")),
        ("a/deep/from.md", "[[../N]]", Some("a/N.md")),
        ("a/deep/from.md", "[[../../N]]", Some("N.md")),
        ("a/from.md", "[[../../N]]", None), // beyond the vault
        ("a/from.md", "[[./Top]]", None),   // from that folder, and nowhere else
        ("a/from.md", "[[/N]]", Some("N.md")),
        ("a/from.md", "[[/only]]", None), // from the vault's top, and nowhere else
        ("a/from.md", "[[only]]", Some("a/only.md")),
        ("a/deep/from.md", "[[only]]", Some("a/deep/only.md")), // beside, though another path is shorter
        ("a/below/from.md", "[[only]]", Some("a/only.md")), // above counts for nothing: the shortest
        ("long-name/from.md", "[[only]]", Some("long-name/only.md")),
        ("from.md", "[[only]]", Some("a/only.md")),
        ("a/from.md", "[[late]]", Some("a/below/here/late.md")), // below the folder
        ("b/from.md", "[[late]]", Some("c/late.md")),
        ("a/from.md", "[[sub/x]]", Some("a/sub/x.md")),
        ("b/from.md", "[[sub/x]]", Some("b/sub/x.md")),
        ("c/from.md", "[[tie]]", Some("yy/tie.md")), // of equals the first
        ("c/from.md", "[[TOP]]", Some("Top.md")),
        ("c/from.md", "[[top.MD]]", Some("Top.md")),
        ("c/from.md", "[[Note.md]]", Some("Note.md.md")),
        ("c/from.md", "[[plain]]", Some("plain")), // as it stands, before with .md
        ("c/from.md", "[[./plain]]", Some("c/plain.md")),
        ("c/from.md", "[[v1.2]]", Some("v1.2.md")),
        ("c/from.md", "[[Cafe\u{301}]]", Some("Caf\u{e9}.md")),
        ("c/from.md", "[[\u{c5}ngstrom]]", Some("A\u{30a}ngstrom.md")),
        ("twin/from.md", "[[twin/\u{fc}]]", Some("twin/\u{fc}.md")),
        ("c/from.md", "[[spelt]]", Some("q/spelt.md")), // of equals the one that is spelled so
        ("c/from.md", "[[stra\u{df}e]]", Some("STRASSE.md")),
        ("c/from.md", "![[p.png|300]]", Some("img/p.png")),
        ("c/from.md", "[[N#Head]]", Some("N.md")),
        ("c/from.md", "[[#Head]]", Some("c/from.md")),
        ("c/from.md", "[[nowhere]]", None),
        ("a/from.md", "[x](N.md)", Some("N.md")),
        ("a/from.md", "[x](./N.md#h)", Some("a/N.md")),
        ("a/from.md", "[x](../img/p.png)", Some("img/p.png")),
        ("c/from.md", "[x](Caf%C3%A9.md)", Some("Caf\u{e9}.md")),
        ("c/from.md", "[x](only.md)", Some("a/only.md")), // looked for in the whole vault
    ];
    for (from, link, leads) in cases {
        vault.file(from, link);
        let answer = note(read(&vault.open(), from).unwrap());
        let target = answer.links[0].target.as_ref().map(ToString::to_string);
        assert_eq!(target.as_deref(), *leads, "{link} of {from}");
        let warns = answer.warnings.contains(&"ambiguous_link");
        let has_equals = ["[[tie]]", "[[spelt]]"].contains(link);
        assert_eq!(warns, has_equals, "{link} of {from}");
        std::fs::remove_file(vault.path().join(from)).unwrap();
    }
}

#[test]
fn the_shortest_path_is_counted_in_characters() {
    let vault = TestVault::new(&[("long-folder/N.md", "far"), ("äöüß/N.md", "near")]);
    assert_eq!(note(read(&vault.open(), "N").unwrap()).content, "near");
}

#[test]
fn folders_list_what_can_be_read() {
    let vault = TestVault::new(&[
        ("b.md", ""),
        ("a/x.md", ""),
        ("B.md", ""),
        (".obsidian/app.json", "{}"),
        (".trash/t.md", ""),
        (".hidden.md", ""),
        ("z.png", ""),
    ]);
    vault.link("/etc", "link");
    let vault = vault.open();
    let list = |input: serde_json::Value| {
        let input: ReadInput = serde_json::from_value(input).unwrap();
        vault.read(&input, PathRule::all(), &|| false).unwrap()
    };
    for root in [
        json!({}),
        json!({"path": ""}),
        json!({"path": "."}),
        json!({"path": "./"}),
    ] {
        let answer = list(root);
        assert_eq!(
            json!(answer.output),
            json!({"type": "dir", "relativePath": "", "omitted": 1, "warnings": ["names_skipped"], "entries": [
                {"name": "B.md", "relativePath": "B.md", "kind": "file"},
                {"name": "a", "relativePath": "a", "kind": "dir"},
                {"name": "b.md", "relativePath": "b.md", "kind": "file"},
                {"name": "z.png", "relativePath": "z.png", "kind": "file"},
            ]})
        );
        assert_eq!(answer.touched[0].path.display_id(), ".");
    }
    assert_eq!(folder(list(json!({"path": "a/"}))).entries.len(), 1);
    let first = folder(list(json!({"limit": 2})));
    assert_eq!(first.next, Some(Next::After("a".to_owned())));
    assert_eq!(folder(list(json!({"after": "a"}))).entries.len(), 2);
}

#[test]
fn what_is_refused_says_why() {
    let vault = TestVault::new(&[
        ("ok.md", "fine"),
        (".obsidian/plugins/p/data.json", "secret"),
        (".trash/old.md", "gone"),
        ("pic.PNG", "x"),
        ("clip.mp4", "x"),
    ]);
    vault.file("binary.md", [0xff, 0xfe_u8 ^ 1, 1, 2]);
    vault.file("nul.md", b"a\0b");
    let huge = std::fs::File::create(vault.path().join("huge.md")).unwrap();
    huge.set_len(17 << 20).unwrap();
    vault.link("ok.md", "linked.md");
    std::fs::hard_link(vault.path().join("nul.md"), vault.path().join("hard.md")).unwrap();
    let vault = vault.open();
    for (path, why) in [
        ("../x.md", "path_confinement"),
        ("/etc/passwd", "path_confinement"),
        ("[[../../x]]", "path_confinement"),
        ("a\0.md", "path_confinement"),
        (".obsidian/plugins/p/data.json", "not_found"),
        (".obsidian", "not_found"),
        (".trash/old.md", "not_found"),
        ("[[.trash/old]]", "not_found"),
        ("data.json", "not_found"),
        ("old", "not_found"),
        ("linked.md", "symlink"),
        ("hard.md", "hard_link"),
        ("pic.PNG", "not_text"),
        ("clip.mp4", "not_text"),
        ("binary.md", "not_text"),
        ("huge.md", "too_large"),
        ("ok.md/", "not_a_file"),
        ("ok.md/x", "not_found"),
    ] {
        assert_eq!(reason(read(&vault, path)), why, "{path:?}");
    }
    assert_eq!(note(read(&vault, "ok.md").unwrap()).content, "fine");
    let message = read(&vault, "pic.PNG").unwrap_err().to_string();
    assert!(message.contains("image/png"), "{message}");
}

#[test]
fn a_rule_hides_what_lies_outside_and_whether_it_exists() {
    let vault = TestVault::new(&[
        ("Projects/a.md", "[[Private]] [[Projects/b]] [[Nowhere]]"),
        ("Projects/b.md", "b"),
        ("Private.md", "p"),
        ("Projects2/c.md", "c"),
        ("pic.png", "x"),
    ]);
    vault.link("Private.md", "link.md");
    let vault = vault.open();
    let below = |path| read_below(&vault, "Projects", path);
    for path in [
        "Private.md",
        "Private",
        "[[Private]]",
        "Missing.md",
        "Missing",
        "[[Missing]]",
        "",
        ".",
        "Projects2/c.md",
        "Projects2",
        "c",
        "Projects2/missing.md",
        "link.md",
        "pic.png",
        "Private.md/x",
    ] {
        assert_eq!(reason(below(path)), "constraint_miss", "{path:?}");
    }
    // Outside and missing look the same.
    let links = note(below("Projects/a.md").unwrap()).links.into_iter();
    let targets: Vec<_> = links
        .map(|link| link.target.map(|path| path.to_string()))
        .collect();
    assert_eq!(targets, [None, Some("Projects/b.md".to_owned()), None]);
    // A name that resolves inside; and inside, absence is said.
    assert_eq!(note(below("b").unwrap()).content, "b");
    assert_eq!(folder(below("Projects").unwrap()).entries.len(), 2);
    assert_eq!(reason(below("Projects/missing.md")), "not_found");
    let all = note(read(&vault, "Private").unwrap());
    assert_eq!(all.content, "p", "control: without the rule it is there");
}

#[test]
fn encodings_and_front_matter_give_warnings_not_failures() {
    let vault = TestVault::new(&[
        ("bad.md", "---\n{[ : broken\n---\nbody [[bad]]"),
        ("list.md", "---\n- a\n---\nbody"),
        ("open.md", "---\na: b\nno end"),
        ("empty.md", "---\n---\nbody"),
        ("crlf.md", "---\r\na: b\r\n---\r\nbody"),
        ("late.md", "\n---\na: b\n---\n"),
    ]);
    let ten = |name: &str| format!("[{}]", [name; 10].join(","));
    let [x, a, b, c, d] = ["x", "*a", "*b", "*c", "*d"].map(ten);
    let bomb = format!("---\na: &a {x}\nb: &b {a}\nc: &c {b}\nd: &d {c}\ne: {d}\n---\n");
    vault.file("bomb.md", bomb);
    let (opens, ends) = ("[".repeat(5000), "]".repeat(5000));
    vault.file("deep.md", format!("---\na: {opens}{ends}\n---\n"));
    vault.file("bom.md", "\u{feff}---\na: b\n---\nx");
    let wide = "\u{feff}---\na: ä\n---\nx".encode_utf16();
    vault.file(
        "utf16.md",
        wide.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
    );
    let vault = vault.open();
    for (path, frontmatter, warnings) in [
        ("bad.md", None, vec!["bad_frontmatter"]),
        ("list.md", None, vec!["bad_frontmatter"]),
        ("bomb.md", None, vec!["bad_frontmatter"]),
        ("deep.md", None, vec!["bad_frontmatter"]),
        ("open.md", None, vec![]),
        ("late.md", None, vec![]),
        ("empty.md", Some(json!({})), vec![]),
        ("crlf.md", Some(json!({"a": "b"})), vec![]),
        ("bom.md", Some(json!({"a": "b"})), vec!["bom_removed"]),
        ("utf16.md", Some(json!({"a": "ä"})), vec!["decoded_utf16le"]),
    ] {
        let note = note(read(&vault, path).unwrap());
        let found = note.frontmatter.map(serde_json::Value::from);
        assert_eq!(found, frontmatter, "{path}");
        assert_eq!(note.warnings, warnings, "{path}");
        assert!(!note.content.starts_with('\u{feff}'));
    }
    // The body is read all the same.
    assert_eq!(note(read(&vault, "bad.md").unwrap()).links.len(), 1);
}

/// What is no number is read as it is written, and costs nothing else; `yes` and `on` are words, as in Obsidian.
#[test]
fn one_odd_property_costs_no_other() {
    let text =
        "---\nnan: .nan\ninf: -.inf\nyes: yes\non: off\nversion: 1.10\ndone: true\ntitle: T\n---\n";
    let vault = TestVault::new(&[("a.md", text)]);
    let read = note(read(&vault.open(), "a.md").unwrap());
    assert_eq!(
        read.frontmatter.map(serde_json::Value::from),
        Some(json!({
            "nan": ".nan", "inf": "-.inf", "yes": "yes", "on": "off", "version": 1.1, "done": true, "title": "T",
        }))
    );
    assert_eq!(read.warnings, [""; 0]);
}

#[test]
fn a_long_note_comes_in_stretches() {
    let text = "A line of some length, with an umlaut: ä.\n".repeat(60_000);
    let vault = TestVault::new(&[("long.md", &format!("---\na: b\n---\n{text}"))]);
    let vault = vault.open();
    let (mut offset, mut seen, mut stretches) = (None, String::new(), 0);
    loop {
        let input = ReadInput {
            offset,
            ..ask("long.md")
        };
        let part = note(vault.read(&input, PathRule::all(), &|| false).unwrap());
        assert!(part.content.len() <= 1 << 20 && part.content.ends_with('\n'));
        assert_eq!(
            part.frontmatter.is_some(),
            offset.is_none(),
            "properties come with the first stretch"
        );
        seen.push_str(&part.content);
        stretches += 1;
        match part.next {
            Some(Next::Offset(next)) => offset = Some(next),
            _ => break,
        }
    }
    assert_eq!((seen.len(), stretches), (text.len() + 13, 3));
    let inside = ReadInput {
        offset: Some(seen.find('ä').unwrap() + 1),
        ..ask("long.md")
    };
    assert!(reason(vault.read(&inside, PathRule::all(), &|| false)).contains("offset"));
}

#[test]
fn name_beyond_the_bounds_of_the_index_is_warned_of() {
    for (levels, target, warnings) in [(64, true, &[][..]), (65, false, &["names_bounded"][..])] {
        let deep = format!("{}deep.md", "d/".repeat(levels));
        let vault = TestVault::new(&[("top.md", "[[deep]]"), (&deep, "x")]);
        let read = note(read(&vault.open(), "top.md").unwrap());
        let found = read.links[0].target.as_ref().map(|path| path.as_str());
        assert_eq!(found, target.then_some(&*deep), "{levels}");
        assert_eq!(read.warnings, warnings, "{levels}");
    }
}

#[test]
fn many_and_long_links_are_bounded() {
    let wide = format!("[[x|{}]] ", "y".repeat(100_000));
    let vault = TestVault::new(&[
        ("many.md", &"[[x]] ".repeat(5000)),
        ("wide.md", &wide.repeat(3)),
        ("few.md", &"[[x]] ".repeat(1000)),
    ]);
    let vault = vault.open();
    for (path, count, is_cut) in [
        ("many.md", 1000, true),
        ("wide.md", 1, true),
        ("few.md", 1000, false),
    ] {
        let note = note(read(&vault, path).unwrap());
        assert_eq!(note.links.len(), count, "{path}");
        assert_eq!(note.warnings.contains(&"links_truncated"), is_cut, "{path}");
    }
}
