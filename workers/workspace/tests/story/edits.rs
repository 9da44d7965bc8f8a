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
    let applied = |text: &str, edits: &[Edit]| apply(text, edits, 100);
    let one = |text: &str, find: &str, replace: &str, all| {
        applied(text, &[edit(find, replace, all)]).map_err(|(at, why)| {
            assert_eq!(at, 1);
            why
        })
    };
    assert_eq!(one("a b a", "b", "c", false).as_deref(), Ok("a c a"));
    assert_eq!(one("a b a", "a", "c", true).as_deref(), Ok("c b c"));
    let in_order = [edit("b", "a", false), edit("a a a", "x", false)];
    assert_eq!(applied("a b a", &in_order).as_deref(), Ok("x"));
    let ambiguous = [edit("b", "c", false), edit("a", "c", false)];
    assert_eq!(
        applied("a b a", &ambiguous),
        Err((2, EditError::Ambiguous(2)))
    );
    assert_eq!(one("a", "b", "", false), Err(EditError::NotFound));
    assert_eq!(one("a", "b", "", true), Err(EditError::NotFound));
    assert_eq!(one("a", "", "", true), Err(EditError::Empty));
    assert_eq!(
        one("x\na\r\nb", "a\nb", "", false),
        Err(EditError::LineEnds)
    );
    let fifty = "a".repeat(50);
    assert_eq!(one(&fifty, "a", "bbb", true), Err(EditError::TooLarge(100)));
    assert_eq!(one(&fifty, "a", "bb", true), Ok("b".repeat(100)));
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
        let control = applied(&plain(dos), &edits);
        assert_eq!(control, plain(after), "control: {find:?}");
    }
    // Of both kinds, an edit says which it means.
    let of_both = applied("a\r\nb\n", &[edit("b", "b\nc", false)]);
    assert_eq!(of_both, "a\r\nb\nc\n");
    let folder = Folder::new(&[("dos.md", dos)]);
    let input = json!({"path": "dos.md", "edits": [{"find": "one\n", "replace": "1\n0\n"}]});
    write(&folder.open(), input).unwrap();
    assert_eq!(folder.text("dos.md"), "1\r\n0\r\ntwo\r\nthree");
}

#[test]
fn edits_keep_a_byte_order_mark_and_refuse_other_encodings() {
    let folder = Folder::new(&[("bom.md", "\u{feff}old\r\n"), ("miss.md", "old")]);
    let wide = "\u{feff}old".encode_utf16();
    folder.file(
        "utf16.md",
        wide.flat_map(u16::to_le_bytes).collect::<Vec<u8>>(),
    );
    folder.file("binary", [0xff_u8, 0, 1]);
    let workspace = folder.open();
    let edits =
        |path: &str, find: &str| json!({"path": path, "edits": [{"find": find, "replace": "new"}]});
    write(&workspace, edits("bom.md", "old")).unwrap();
    assert_eq!(folder.text("bom.md"), "\u{feff}new\r\n");
    for path in ["utf16.md", "binary"] {
        assert_eq!(reason(plan(&workspace, edits(path, "old"))), "not_text");
    }
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
