//! Names that are kept between reads, and a vault that changes meanwhile. The reads follow each other within the second
//! in which no index is renewed for its age, so what corrects it is the miss.

use std::fs;

use crate::story::vaults::{TestVault, note, read, read_below, reason};
use plexus_worker_obsidian::Vault;

/// What a note holds that is asked for by this name.
#[track_caller]
fn text(vault: &Vault, name: &str) -> String {
    note(read(vault, name).unwrap()).content
}

/// Where a note lies that is asked for by this name.
#[track_caller]
fn path(vault: &Vault, name: &str) -> String {
    note(read(vault, name).unwrap()).relative_path.to_string()
}

#[test]
fn a_note_that_was_made_since_is_found_by_name() {
    let vault = TestVault::new(&[("Old.md", "old")]);
    let open = vault.open();
    assert_eq!(text(&open, "old"), "old");
    assert_eq!(reason(read(&open, "New")), "not_found", "control");
    vault.file("Deep/New.md", "new");
    for name in ["New", "[[New]]", "deep/new"] {
        assert_eq!(path(&open, name), "Deep/New.md", "{name}");
    }
}

#[test]
fn a_note_that_was_deleted_since_is_not_found() {
    let files = [
        ("a/Note.md", "here"),
        ("Twin.md", "1"),
        ("b/c/Twin.md", "2"),
    ];
    let vault = TestVault::new(&files);
    let open = vault.open();
    assert_eq!(text(&open, "Note"), "here", "control");
    fs::remove_file(vault.path().join("a/Note.md")).unwrap();
    assert_eq!(reason(read(&open, "Note")), "not_found");
    assert_eq!(text(&open, "Twin"), "1");
    fs::remove_file(vault.path().join("Twin.md")).unwrap();
    assert_eq!(
        text(&open, "[[Twin]]"),
        "2",
        "the next best takes its place"
    );
}

#[test]
fn a_note_that_was_renamed_since_goes_by_its_new_name() {
    let vault = TestVault::new(&[("a/Before.md", "text"), ("b/x.md", "")]);
    let open = vault.open();
    let at = |name: &str| vault.path().join(name);
    assert_eq!(text(&open, "Before"), "text");
    fs::rename(at("a/Before.md"), at("b/After.md")).unwrap();
    assert_eq!(path(&open, "After"), "b/After.md");
    assert_eq!(reason(read(&open, "Before")), "not_found");
    fs::rename(at("b"), at("c")).unwrap();
    assert_eq!(path(&open, "After"), "c/After.md", "with its folder");
}

#[test]
fn a_name_whose_file_became_a_link_is_refused() {
    let vault = TestVault::new(&[("Note.md", "inside"), ("Other.md", "other")]);
    let open = vault.open();
    assert_eq!(text(&open, "[[Note]]"), "inside", "control");
    fs::remove_file(vault.path().join("Note.md")).unwrap();
    vault.link("Other.md", "Note.md");
    assert_eq!(reason(read(&open, "[[Note]]")), "symlink");
}

#[test]
fn what_a_rule_hides_stays_hidden_whatever_the_index_knows() {
    let vault = TestVault::new(&[
        ("In/a.md", "[[Secret]] [[b]]"),
        ("In/b.md", "b"),
        ("Out/Secret.md", "s"),
    ]);
    let open = vault.open();
    // The index is filled by a call that may see everything; the next call may not.
    let all = note(read(&open, "a").unwrap());
    let target = all.links[0].target.as_ref().unwrap();
    assert_eq!(target.as_str(), "Out/Secret.md");
    let below = note(read_below(&open, "In", "a").unwrap());
    assert_eq!(below.links[0].target, None);
    assert_eq!(below.links[1].target.as_ref().unwrap().as_str(), "In/b.md");
    let refused = |path| reason(read_below(&open, "In", path));
    for path in ["Secret", "[[Secret]]", "Gone", "Out/Secret.md"] {
        assert_eq!(refused(path), "constraint_miss", "{path}");
    }
    // Gone and hidden look the same.
    fs::remove_file(vault.path().join("Out/Secret.md")).unwrap();
    assert_eq!(refused("Secret"), "constraint_miss");
}

#[test]
fn reads_at_once_agree() {
    let vault = TestVault::new(&[("a/Note.md", "[[Other]]"), ("Other.md", "o")]);
    let open = vault.open();
    std::thread::scope(|scope| {
        let reads: Vec<_> = (0..8)
            .map(|number| {
                let open = &open;
                scope.spawn(move || note(read(open, ["a/Note.md", "Note"][number % 2]).unwrap()))
            })
            .collect();
        for read in reads {
            let links = read.join().unwrap().links;
            assert_eq!(links[0].target.as_ref().unwrap().as_str(), "Other.md");
        }
    });
}
