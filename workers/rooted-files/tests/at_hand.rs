//! What is read at hand is what the walk reads; whatever the walk refuses, or would have to wait for, is not at hand.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may fail by unwrapping")]

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, symlink},
    sync::Arc,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use plexus_rooted_files::{
    Adrift, Anchor, HiddenPaths, HideRules, MAX_AT_HAND, Policy, RelPath, Root,
};
use tempfile::TempDir;

fn path(text: &str) -> RelPath {
    RelPath::parse(text).unwrap()
}

/// A folder on a file system that is known to be at hand: tmpfs has every name and byte in memory.
fn root(policy: Policy) -> (TempDir, Root) {
    let folder = TempDir::new_in("/dev/shm").unwrap();
    let root = Root::open(folder.path(), policy).unwrap();
    (folder, root)
}

#[test]
fn a_short_file_in_memory_is_read_as_the_walk_reads_it() {
    let (folder, root) = root(Policy::default());
    fs::create_dir_all(folder.path().join("a/B")).unwrap();
    for (name, content) in [("note.md", "text"), ("a/B/c.md", "more"), ("empty", "")] {
        fs::write(folder.path().join(name), content).unwrap();
        let walked = root.find(&path(name)).unwrap().read().unwrap();
        // Names that are not there are remembered as such once somebody has asked.
        let read = root.read_at_hand(&path(name)).unwrap();
        assert_eq!((&read.bytes, &read.meta), (&walked.bytes, &walked.meta));
        assert_eq!(read.bytes, content.as_bytes());
    }
}

#[test]
fn nothing_else_is_at_hand() {
    let (folder, root) = root(Policy {
        hide_dot_files: true,
        ..Policy::default()
    });
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("folder/kept.md"), "kept").unwrap();
    fs::write(
        at("largest"),
        vec![b'x'; usize::try_from(MAX_AT_HAND).unwrap()],
    )
    .unwrap();
    fs::write(
        at("too-large"),
        vec![b'x'; usize::try_from(MAX_AT_HAND).unwrap() + 1],
    )
    .unwrap();
    fs::write(at(".hidden"), "hidden").unwrap();
    fs::write(at("both.md"), "lower").unwrap();
    fs::write(at("BOTH.MD"), "upper").unwrap();
    fs::write(at("two"), "names").unwrap();
    fs::hard_link(at("two"), at("second")).unwrap();
    fs::write(at("höhe.md"), "not ASCII").unwrap();
    symlink("folder/kept.md", at("link")).unwrap();
    symlink("folder", at("way")).unwrap();
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    assert!(fs::metadata(at("fifo")).unwrap().file_type().is_fifo());

    // Until the folder is known to take them for two files.
    assert!(root.read_at_hand(&path("both.md")).is_none());

    // The controls: beside each thing that is not at hand, one of its kind that is.
    for name in ["folder/kept.md", "largest"] {
        let _ = root.find(&path(name)).unwrap();
        assert!(root.read_at_hand(&path(name)).is_some(), "{name}");
    }
    for name in [
        "folder",
        "too-large",
        ".hidden",
        "second",
        "höhe.md",
        "link",
        "way/kept.md",
        "fifo",
        "gone.md",
        "largest/below",
    ] {
        let _ = root.find(&path(name));
        assert!(root.read_at_hand(&path(name)).is_none(), "{name}");
    }
}

#[test]
fn a_second_name_is_at_hand_where_the_owner_says_so() {
    let (folder, root) = root(Policy {
        allow_hard_links: true,
        ..Policy::default()
    });
    fs::write(folder.path().join("two"), "names").unwrap();
    fs::hard_link(folder.path().join("two"), folder.path().join("second")).unwrap();
    let _ = root.find(&path("second")).unwrap();
    assert_eq!(root.read_at_hand(&path("second")).unwrap().bytes, b"names");
}

#[test]
fn with_rules_about_what_is_hidden_nothing_is_at_hand() {
    let (folder, root) = root(Policy::default());
    fs::write(folder.path().join("note.md"), "text").unwrap();
    let _ = root.find(&path("note.md")).unwrap();
    assert!(root.read_at_hand(&path("note.md")).is_some(), "the control");
    let rules = HideRules {
        folders: vec!["private".into()],
        ..HideRules::default()
    };
    let root = root.hiding(Arc::new(HiddenPaths::new(&rules)));
    assert!(root.read_at_hand(&path("note.md")).is_none());
}

#[test]
fn a_folder_that_was_replaced_is_noticed_at_hand() {
    let (folder, _) = root(Policy::default());
    let place = folder.path().join("vault");
    fs::create_dir(&place).unwrap();
    let identity = Root::open(&place, Policy::default())
        .unwrap()
        .identity()
        .unwrap();
    let anchor = Anchor::new(&place, identity);
    assert_eq!(anchor.check_at_hand(), Some(Ok(())));
    // Which has found nothing yet.
    let anchor = Anchor::new(&place, identity);
    fs::rename(&place, folder.path().join("moved")).unwrap();
    // What is not there is for the other way to say.
    assert_eq!(anchor.check_at_hand(), None);
    assert_eq!(anchor.check(), Err(Adrift::Gone));
    fs::create_dir(&place).unwrap();
    assert_eq!(anchor.check_at_hand(), Some(Err(Adrift::Replaced)));
}
