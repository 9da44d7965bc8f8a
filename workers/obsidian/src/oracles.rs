//! Any bytes as a note: its links and tags lie in it, and what says quickly that there is none is right.

use crate::{
    frontmatter::{Frontmatter, Properties, cut, may_name_tag},
    markdown::{Mark, Reference, may_have_links, may_have_tag, scan},
};
use plexus_mutation::{Accepted, hold};
use plexus_rooted_files::names::fold;

fn note(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let cut = cut(text);
    let body = &text[cut.body_offset..];
    let marks = scan(body);
    for mark in &marks {
        match mark {
            Mark::Tag { name, offset } => {
                assert!(body[*offset..].starts_with('#'), "{offset}");
                assert!(body[*offset + 1..].starts_with(&**name), "{name}");
                assert!(may_have_tag(body, &fold(name)), "{name}");
            }
            Mark::Link { raw, .. } => {
                assert!(body.contains(&**raw), "{raw}");
                assert!(may_have_links(body), "{raw}");
            }
        }
    }
    let Some(yaml) = cut.yaml else {
        assert_eq!(
            (cut.body_offset, Frontmatter::of(text)),
            (0, Frontmatter::Absent)
        );
        return !marks.is_empty();
    };
    assert_eq!(&text[cut.yaml_offset..][..yaml.len()], yaml);
    let (whole, properties) = (Frontmatter::of(text), Properties::parse(yaml));
    if let Frontmatter::Present(map) = &whole {
        // A search finds every property that a read shows.
        let properties = properties.as_ref().expect("a search reads it too");
        for name in map.keys() {
            assert!(properties.texts(name).is_some(), "{name}");
        }
    }
    for tag in properties.iter().flat_map(Properties::tags) {
        assert!(may_name_tag(yaml, &fold(&tag)), "{tag}");
    }
    matches!(whole, Frontmatter::Present(_))
}

/// A link's target has the parts that it is written with, and no other text.
fn target(bytes: &[u8]) -> Accepted {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Some(to) = Reference::parse_wikilink(text) else {
        return false;
    };
    for part in [Some(&to.path), to.heading.as_ref(), to.block.as_ref()] {
        assert!(part.is_none_or(|part| text.contains(&**part)));
    }
    assert!(to.heading.is_none() || to.block.is_none());
    true
}

fn corpus(name: &str) -> String {
    format!("{}/tests/corpus/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_note_is_read_the_same_by_every_look_at_it() {
    let words: &[&[u8]] = &[
        b"---\n",
        b"tags: [",
        b"aliases:\n  - ",
        b"#tag/nested",
        b"[[Note#^block|shown]]",
        b"[text](path.md)",
        b"[label]: path.md\n",
        b"![[a.png]]",
        b"```\n",
        b"$$",
        b"<<: *a",
        b"&a",
        b"!!binary cHJpdmF0ZQ==",
        b"\"\\x70\"",
        b": |\n  ",
        b"\xc5\xbf",
        b"\xe2\x84\xaa",
        b"\r\n",
    ];
    hold(corpus("notes"), words, note);
}

#[test]
fn a_target_has_its_parts() {
    let words: &[&[u8]] = &[b"[[", b"]]", b"|", b"\\|", b"#", b"#^", b"!"];
    hold(corpus("targets"), words, target);
}
