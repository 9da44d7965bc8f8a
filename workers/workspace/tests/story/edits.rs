//! Edits: exact, all or nothing, in order.

use plexus_worker_workspace::{Edit, EditError, apply};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

use crate::story::{Folder, plan, reason, write};

fn edit(find: &str, replace: &str, all: bool) -> Edit {
    Edit {
        find: find.to_owned(),
        replace: replace.to_owned(),
        all,
    }
}

#[test]
fn an_edit_fits_or_says_why() {
    let max = 100;
    assert_eq!(
        apply("a b a", &[edit("b", "c", false)], max),
        Ok("a c a".to_owned())
    );
    assert_eq!(
        apply("a b a", &[edit("a", "c", true)], max),
        Ok("c b c".to_owned())
    );
    assert_eq!(
        apply(
            "a b a",
            &[edit("b", "a", false), edit("a a a", "x", false)],
            max
        ),
        Ok("x".to_owned())
    );
    assert_eq!(
        apply(
            "a b a",
            &[edit("b", "c", false), edit("a", "c", false)],
            max
        ),
        Err((2, EditError::Ambiguous(2)))
    );
    assert_eq!(
        apply("a", &[edit("b", "", false)], max),
        Err((1, EditError::NotFound))
    );
    assert_eq!(
        apply("a", &[edit("b", "", true)], max),
        Err((1, EditError::NotFound))
    );
    assert_eq!(
        apply("a", &[edit("", "", true)], max),
        Err((1, EditError::Empty))
    );
    assert_eq!(
        apply("x\na\r\nb", &[edit("a\nb", "", false)], max),
        Err((1, EditError::LineEnds))
    );
    assert_eq!(
        apply(&"a".repeat(50), &[edit("a", "bbb", true)], max),
        Err((1, EditError::TooLarge(max)))
    );
    assert_eq!(
        apply(&"a".repeat(50), &[edit("a", "bb", true)], max)
            .unwrap()
            .len(),
        max
    );
}

#[test]
fn edits_keep_the_ends_of_lines() {
    let applied = |text: &str, edits: &[Edit]| apply(text, edits, 100).unwrap();
    let dos = "one\r\ntwo\r\nthree";
    for (find, replace, all, after) in [
        ("two", "2\n2\n2", false, "one\r\n2\r\n2\r\n2\r\nthree"),
        ("one\ntwo", "1\n2", false, "1\r\n2\r\nthree"),
        ("one\r\ntwo", "1\r\n2", false, "1\r\n2\r\nthree"),
        ("\n", "\n\n", true, "one\r\n\r\ntwo\r\n\r\nthree"),
        ("three", "3\n", false, "one\r\ntwo\r\n3\r\n"),
    ] {
        let edits = [edit(find, replace, all)];
        assert_eq!(applied(dos, &edits), after, "{find:?}");
        let plain = |text: &str| text.replace("\r\n", "\n");
        let edits = [edit(&plain(find), &plain(replace), all)];
        assert_eq!(
            applied(&plain(dos), &edits),
            plain(after),
            "control: {find:?}"
        );
    }
    // Of both kinds, an edit says which it means.
    assert_eq!(
        applied("a\r\nb\n", &[edit("b", "b\nc", false)]),
        "a\r\nb\nc\n"
    );
    let folder = Folder::new(&[("dos.md", dos)]);
    let input = json!({"path": "dos.md", "edits": [{"find": "one\n", "replace": "1\n0\n"}]});
    write(&folder.open(), input).unwrap();
    assert_eq!(folder.text("dos.md"), "1\r\n0\r\ntwo\r\nthree");
}

#[test]
fn edits_keep_a_byte_order_mark_and_refuse_other_encodings() {
    let folder = Folder::new(&[("bom.md", "\u{feff}old\r\n"), ("miss.md", "old")]);
    folder.file(
        "utf16.md",
        "\u{feff}old"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect::<Vec<u8>>(),
    );
    folder.file("binary", [0xff_u8, 0, 1]);
    let workspace = folder.open();
    let edits =
        |path: &str, find: &str| json!({"path": path, "edits": [{"find": find, "replace": "new"}]});
    write(&workspace, edits("bom.md", "old")).unwrap();
    assert_eq!(folder.text("bom.md"), "\u{feff}new\r\n");
    assert_eq!(
        reason(plan(&workspace, edits("utf16.md", "old"))),
        "not_text"
    );
    assert_eq!(reason(plan(&workspace, edits("binary", "old"))), "not_text");
    assert!(reason(plan(&workspace, edits("miss.md", "young"))).starts_with("edit 1:"));
    assert_eq!(folder.text("miss.md"), "old");
}

proptest! {
    #[test]
    fn one_edit_is_the_text_around_it_and_the_new_piece(before in "[a-m\n]{0,20}", find in "[n-s]{1,6}", after in "[a-m\n]{0,20}", replace in "\\PC{0,10}") {
        let text = format!("{before}{find}{after}");
        prop_assert_eq!(apply(&text, &[edit(&find, &replace, false)], 1000), Ok([before, replace, after].concat()));
    }

    #[test]
    fn what_is_applied_is_what_str_replace_would_do_and_bounds_hold(text in "[ab]{0,30}", edits in vec(("[ab]{0,3}", "[abc]{0,5}", any::<bool>()), 0..4)) {
        let edits: Vec<Edit> = edits.iter().map(|(find, replace, all)| edit(find, replace, *all)).collect();
        let mut expected = text.clone();
        let mut fits = true;
        for edit in &edits {
            let count = expected.matches(&edit.find).count();
            let places = expected.as_bytes().windows(edit.find.len().max(1)).filter(|w| *w == edit.find.as_bytes()).count();
            fits &= !edit.find.is_empty() && (places == 1 || count > 0 && edit.all);
            if !fits { break; }
            expected = expected.replace(&edit.find, &edit.replace);
            fits &= expected.len() <= 60;
            if !fits { break; }
        }
        let applied = apply(&text, &edits, 60);
        prop_assert_eq!(applied.is_ok(), fits);
        if fits {
            prop_assert_eq!(applied.unwrap(), expected);
        }
    }
}
