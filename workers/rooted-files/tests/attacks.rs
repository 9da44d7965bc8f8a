//! Ways out of a root, tried on a real tree. Every attack has its control: the honest path next to it, which must work.

use std::{cell::Cell, fs, ops::ControlFlow, os::unix::net::UnixListener, sync::Arc};

use crate::tree::{INSIDE, SECRET, Tree, read, refusal};
use nix::{sys::stat::Mode, unistd::mkfifo};
use plexus_rooted_files::{
    FileError, HiddenPaths, HideRules, Listing, MAX_FILE_BYTES, Policy, RelPath, Root, WalkBounds,
    WalkEntry,
};

/// As [`read`], looked up first and then read.
fn found(root: &Root, path: &str) -> Result<String, FileError> {
    let file = root.find(&RelPath::parse_file(path)?)?.read()?;
    Ok(String::from_utf8(file.bytes).unwrap())
}

fn find_refusal(root: &Root, path: &str) -> String {
    let gave = |text| format!("gave {text:?}");
    found(root, path).map_or_else(|error| error.reason().to_owned(), gave)
}

fn list(root: &Root, path: &str) -> Result<Listing, FileError> {
    root.list(&RelPath::parse(path)?, 10, None, &|| false)
}

/// Path, reason it must be refused for, control path that must read as [`INSIDE`].
type Attack = (&'static str, &'static str, &'static str);

fn all_refused(tree: &Tree, policy: Policy, attacks: &[Attack]) {
    let root = tree.open_with(policy);
    for (path, reason, control) in attacks {
        assert_eq!(refusal(&root, path), *reason, "attack {path:?}");
        assert_eq!(find_refusal(&root, path), *reason, "attack {path:?}, found");
        assert_eq!(found(&root, control).unwrap(), INSIDE, "{control:?}, found");
        assert_eq!(read(&root, control).unwrap(), INSIDE, "{control:?}");
    }
}

#[test]
fn texts_that_are_no_path_below_a_root() {
    let tree = Tree::new();
    tree.file("a..b.md", INSIDE);
    tree.file("...", INSIDE);
    tree.file("~", INSIDE);
    tree.file("dir/b c.md", INSIDE);
    let too_long = Box::leak(format!("{}ok.md", "a/".repeat(510)).into_boxed_str());
    let long_component = Box::leak("x".repeat(256).into_boxed_str());
    all_refused(
        &tree,
        Policy::default(),
        &[
            ("../outside/secret.md", "path_confinement", "ok.md"),
            ("..", "path_confinement", "..."),
            ("../", "path_confinement", "ok.md"),
            ("dir/../ok.md", "path_confinement", "dir/ok.md"),
            (
                "dir/../../outside/secret.md",
                "path_confinement",
                "dir/ok.md",
            ),
            ("./../outside/secret.md", "path_confinement", "./ok.md"),
            ("dir/..", "path_confinement", "a..b.md"),
            (
                "dir/./../../outside/secret.md",
                "path_confinement",
                "dir/./ok.md",
            ),
            ("/etc/passwd", "path_confinement", "ok.md"),
            ("/", "path_confinement", "ok.md"),
            ("//etc/passwd", "path_confinement", "ok.md"),
            ("/proc/self/root/etc/passwd", "path_confinement", "ok.md"),
            ("/proc/self/cwd", "path_confinement", "ok.md"),
            ("/dev/stdin", "path_confinement", "ok.md"),
            ("dir//ok.md", "path_confinement", "dir/ok.md"),
            ("dir///../ok.md", "path_confinement", "dir/ok.md"),
            ("ok.md//", "path_confinement", "ok.md"),
            ("ok.md\0", "path_confinement", "ok.md"),
            ("ok.md\0.png", "path_confinement", "ok.md"),
            ("\0", "path_confinement", "ok.md"),
            ("dir\0/../ok.md", "path_confinement", "dir/ok.md"),
            ("dir/b\nc.md", "path_confinement", "dir/b c.md"),
            ("dir/b\rc.md", "path_confinement", "dir/b c.md"),
            ("dir/b\tc.md", "path_confinement", "dir/b c.md"),
            ("dir/\u{1b}[2Jc.md", "path_confinement", "dir/b c.md"),
            ("dir/b\u{7f}c.md", "path_confinement", "dir/b c.md"),
            ("dir/b\u{85}c.md", "path_confinement", "dir/b c.md"),
            (too_long, "path_confinement", "dir/ok.md"),
            (long_component, "path_confinement", "ok.md"),
            // Names of folders where a file is needed.
            ("", "not_a_file", "ok.md"),
            (".", "not_a_file", "ok.md"),
            ("./", "not_a_file", "ok.md"),
            ("ok.md/", "not_a_file", "ok.md"),
            ("ok.md/.", "not_a_file", "ok.md"),
            ("dir", "not_a_file", "dir/ok.md"),
            ("dir/", "not_a_file", "dir/ok.md"),
        ],
    );
}

#[test]
fn spellings_that_other_programs_decode() {
    let tree = Tree::new();
    // The controls are the same texts taken literally: nothing is decoded, so such a file is an ordinary file.
    tree.file("%2e%2e", INSIDE);
    tree.file("back\\slash.md", INSIDE);
    tree.file("C:", INSIDE);
    tree.file("~", INSIDE);
    tree.file("$HOME", INSIDE);
    all_refused(
        &tree,
        Policy::default(),
        &[
            ("%2e%2e/outside/secret.md", "not_found", "%2e%2e"),
            ("%2e%2e%2foutside%2fsecret.md", "not_found", "%2e%2e"),
            ("..%2foutside/secret.md", "not_found", "%2e%2e"),
            ("%252e%252e/outside/secret.md", "not_found", "%2e%2e"),
            ("..%c0%af..%c0%afoutside", "not_found", "%2e%2e"),
            ("..\\outside\\secret.md", "not_found", "back\\slash.md"),
            ("dir\\..\\ok.md", "not_found", "back\\slash.md"),
            ("C:\\Windows", "not_found", "C:"),
            ("C:/Windows", "not_found", "ok.md"),
            ("file:///etc/passwd", "path_confinement", "ok.md"),
            ("~/.ssh/id_ed25519", "not_found", "~"),
            ("~root", "not_found", "~"),
            ("$HOME/.ssh/id_ed25519", "not_found", "$HOME"),
            ("..;/outside/secret.md", "not_found", "ok.md"),
            // Look-alikes of `.` and `/` are just characters.
            ("\u{ff0e}\u{ff0e}/outside/secret.md", "not_found", "ok.md"),
            ("\u{2024}\u{2024}/outside/secret.md", "not_found", "ok.md"),
            ("..\u{2215}outside\u{2215}secret.md", "not_found", "ok.md"),
            ("..\u{ff0f}outside", "not_found", "ok.md"),
            ("dir/ok.md/x", "not_found", "dir/ok.md"),
            ("ok.md/../ok.md", "path_confinement", "ok.md"),
            ("ok.md::$DATA", "not_found", "ok.md"),
            ("ok.md/..namedfork/rsrc", "not_found", "ok.md"),
        ],
    );
}

#[test]
fn symbolic_links_of_every_shape() {
    let tree = Tree::new();
    let outside = tree.outside();
    tree.link(outside.join("secret.md"), "abs-file.md");
    tree.link("../outside/secret.md", "rel-file.md");
    tree.link(&outside, "abs-dir");
    tree.link("../outside", "rel-dir");
    tree.link("abs-file.md", "chain1.md");
    tree.link("chain1.md", "chain2.md");
    tree.link("loop-b", "loop-a");
    tree.link("loop-a", "loop-b");
    tree.link("self", "self");
    tree.link("ok.md", "to-inside.md");
    tree.link("dir", "to-inside-dir");
    tree.link(".", "here");
    tree.link("..", "up");
    tree.link("/", "slash");
    tree.link("/proc/self/root", "proc-root");
    tree.link("/proc/self/fd/3", "proc-fd");
    tree.link("/dev/stdin", "stdin");
    tree.link("nowhere", "dangling");
    tree.link(&outside, "dir/nested");
    all_refused(
        &tree,
        Policy::default(),
        &[
            ("abs-file.md", "symlink", "ok.md"),
            ("rel-file.md", "symlink", "ok.md"),
            ("abs-dir/secret.md", "symlink", "dir/ok.md"),
            ("rel-dir/secret.md", "symlink", "dir/ok.md"),
            ("rel-dir", "symlink", "dir/ok.md"),
            ("chain1.md", "symlink", "ok.md"),
            ("chain2.md", "symlink", "ok.md"),
            ("loop-a", "symlink", "ok.md"),
            ("loop-a/x", "symlink", "ok.md"),
            ("self/self/self", "symlink", "ok.md"),
            ("to-inside.md", "symlink", "ok.md"),
            ("to-inside-dir/ok.md", "symlink", "dir/ok.md"),
            ("here/here/ok.md", "symlink", "ok.md"),
            ("up/outside/secret.md", "symlink", "ok.md"),
            ("slash/etc/passwd", "symlink", "ok.md"),
            ("proc-root/etc/passwd", "symlink", "ok.md"),
            ("proc-fd", "symlink", "ok.md"),
            ("stdin", "symlink", "ok.md"),
            ("dangling", "symlink", "ok.md"),
            ("dir/nested/secret.md", "symlink", "dir/ok.md"),
            ("dir/nested/../ok.md", "path_confinement", "dir/ok.md"),
        ],
    );
    let root = tree.open();
    for folder in ["abs-dir", "rel-dir", "here", "up", "slash", "dir/nested"] {
        let listed = list(&root, folder).unwrap_err();
        let kind = root.kind(&RelPath::parse(folder).unwrap()).unwrap_err();
        assert_eq!([listed.reason(), kind.reason()], ["symlink"; 2], "{folder}");
    }
    assert_eq!(list(&root, "dir").unwrap().entries.len(), 1);
}

#[test]
fn things_that_are_no_regular_file() {
    let tree = Tree::new();
    mkfifo(&tree.at("fifo"), Mode::from_bits_truncate(0o600)).unwrap();
    mkfifo(&tree.at("dir/fifo.md"), Mode::from_bits_truncate(0o600)).unwrap();
    let _socket = UnixListener::bind(tree.at("socket")).unwrap();
    // Nobody holds the other end of the FIFOs: a blocking open would hang here for good.
    all_refused(
        &tree,
        Policy::default(),
        &[
            ("fifo", "not_a_file", "ok.md"),
            ("dir/fifo.md", "not_a_file", "dir/ok.md"),
            ("fifo/x", "not_found", "dir/ok.md"),
            ("socket", "not_a_file", "ok.md"),
            ("socket/x", "not_found", "dir/ok.md"),
        ],
    );
    let devices = Root::open(std::path::Path::new("/dev"), Policy::default()).unwrap();
    assert_eq!(refusal(&devices, "null"), "not_a_file");
    assert_eq!(refusal(&devices, "tty"), "not_a_file");
    // FIFO and socket are left out, and it is said.
    let listed = list(&tree.open(), "").unwrap();
    assert_eq!((listed.entries.len(), listed.omitted), (2, 2));
}

#[cfg(target_os = "linux")]
#[test]
fn magic_links_of_proc() {
    let proc = Root::open(std::path::Path::new("/proc"), Policy::default()).unwrap();
    for path in [
        "self/environ",
        "self/root/etc/passwd",
        "self/cwd/x",
        "thread-self/environ",
        "mounts",
    ] {
        assert_eq!(refusal(&proc, path), "symlink", "{path}");
    }
    let version = proc.kind(&RelPath::parse("version").unwrap());
    assert_eq!(version.unwrap(), plexus_rooted_files::Kind::File);
}

/// Names that are no UTF-8, or that hold what no path may hold, cannot be asked for; a listing says that they are there.
#[cfg(target_os = "linux")]
#[test]
fn names_that_cannot_be_asked_for() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let tree = Tree::new();
    for name in [&b"\xff.md"[..], b"a\nb.md", b"\x1b[2J.md"] {
        fs::write(tree.root().join(OsStr::from_bytes(name)), SECRET).unwrap();
    }
    let listed = list(&tree.open(), "").unwrap();
    assert_eq!((listed.entries.len(), listed.omitted), (2, 3));
}

#[test]
fn hard_links_only_where_allowed() {
    let tree = Tree::new();
    fs::hard_link(tree.outside().join("secret.md"), tree.at("hard.md")).unwrap();
    fs::hard_link(tree.at("dir/ok.md"), tree.at("dir/twin.md")).unwrap();
    all_refused(
        &tree,
        Policy::default(),
        &[
            ("hard.md", "hard_link", "ok.md"),
            ("dir/twin.md", "hard_link", "ok.md"),
            ("dir/ok.md", "hard_link", "ok.md"),
        ],
    );
    let lenient = tree.open_with(Policy {
        allow_hard_links: true,
        ..Policy::default()
    });
    // The owner may choose so.
    assert_eq!(read(&lenient, "hard.md").unwrap(), SECRET);
    // A last name is an ordinary file.
    fs::remove_file(tree.at("dir/twin.md")).unwrap();
    assert_eq!(read(&tree.open(), "dir/ok.md").unwrap(), INSIDE);
}

#[test]
fn dot_files_do_not_exist_where_hidden() {
    let tree = Tree::new();
    for path in [
        ".obsidian/plugins/x/data.json",
        ".trash/old.md",
        ".env",
        "dir/.hidden.md",
        "dir/.d/e/ok.md",
    ] {
        tree.file(path, SECRET);
    }
    tree.file("dir/.x", INSIDE);
    let hiding = Policy {
        hide_dot_files: true,
        ..Policy::default()
    };
    all_refused(
        &tree,
        hiding,
        &[
            (".obsidian/plugins/x/data.json", "not_found", "ok.md"),
            (".trash/old.md", "not_found", "ok.md"),
            ("./.trash/old.md", "not_found", "./ok.md"),
            (".env", "not_found", "ok.md"),
            ("dir/.hidden.md", "not_found", "dir/ok.md"),
            ("dir/.d/e/ok.md", "not_found", "dir/ok.md"),
        ],
    );
    let hidden = tree.open_with(hiding);
    let kind = hidden.kind(&RelPath::parse(".obsidian").unwrap());
    assert_eq!(kind.unwrap_err().reason(), "not_found");
    let listed = list(&hidden, ".trash");
    assert_eq!(listed.unwrap_err().reason(), "not_found");
    // The same folder shows them where they are ordinary.
    let names = |root: &Root| list(root, "").unwrap().entries.len();
    assert_eq!((names(&hidden), names(&tree.open())), (2, 5));
    assert_eq!(read(&tree.open(), ".env").unwrap(), SECRET);
}

#[test]
fn names_at_the_edge_of_what_a_name_may_be() {
    let tree = Tree::new();
    let longest = format!("{}.md", "x".repeat(252));
    tree.file(&longest, INSIDE);
    let root = tree.open();
    assert_eq!(read(&root, &longest).unwrap(), INSIDE);
    assert_eq!(refusal(&root, &format!("x{longest}")), "path_confinement");
    // As deep as the shortest PATH_MAX among our systems (1,024) lets the test itself build it.
    let deep = vec!["d".repeat(4); 150].join("/");
    fs::create_dir_all(tree.at(&deep)).unwrap();
    let deep_file = format!("{deep}/ok.md");
    fs::write(tree.at(&deep_file), INSIDE).unwrap();
    assert_eq!(read(&root, &deep_file).unwrap(), INSIDE);
    let above = format!("{deep}/../ok.md");
    assert_eq!(refusal(&root, &above), "path_confinement");
}

#[test]
fn case_and_normal_forms_open_what_the_disk_says_and_nothing_else() {
    let tree = Tree::new();
    tree.file("U\u{308}ber.md", INSIDE); // decomposed
    let root = tree.open();
    assert_eq!(read(&root, "U\u{308}ber.md").unwrap(), INSIDE);
    // A file system that folds opens the file under the other spelling and `spelling` tells the real one; one that does
    // not, knows only the real one. Both are right; a silent third outcome is not.
    for (other, real) in [
        ("\u{dc}ber.md", "U\u{308}ber.md"),
        ("OK.MD", "ok.md"),
        ("Dir/ok.md", "dir/ok.md"),
    ] {
        let spelled = root.spelling(&RelPath::parse(other).unwrap()).unwrap();
        match read(&root, other) {
            Ok(content) => assert_eq!((content.as_str(), spelled.as_str()), (INSIDE, real)),
            Err(error) => assert_eq!((error.reason(), spelled.as_str()), ("not_found", other)),
        }
    }
    // Whether the disk folds or not, what is hidden has no other name.
    tree.file("hidden/ok.md", INSIDE);
    tree.file(".dot/ok.md", INSIDE);
    let rules = HideRules {
        folders: vec!["hidden".into()],
        ..HideRules::default()
    };
    let policy = Policy {
        hide_dot_files: true,
        ..Policy::default()
    };
    let hiding = tree.open_with(policy);
    let hiding = hiding.hiding(Arc::new(HiddenPaths::new(&rules)));
    assert_eq!(read(&hiding, "ok.md").unwrap(), INSIDE, "control");
    for other in [
        "hid\u{ad}den/ok.md",
        "hid\u{200b}DEN/ok.md",
        "\u{feff}.dot/ok.md",
        ".\u{ad}dot/ok.md",
    ] {
        let path = RelPath::parse(other).unwrap();
        assert!(hiding.is_hidden(&path), "{other:?}");
        assert_eq!(hiding.look(&path).unwrap_err().reason(), "not_found");
        assert_eq!(find_refusal(&hiding, other), "not_found");
        assert_eq!(refusal(&hiding, other), "not_found");
        assert_eq!(hiding.spelling(&path).unwrap().as_str(), other);
    }
    for same in [
        "ok.md",
        "dir/ok.md",
        "dir",
        "U\u{308}ber.md",
        "dir/missing.md",
        "missing/a/b.md",
    ] {
        let spelled = root.spelling(&RelPath::parse(same).unwrap()).unwrap();
        assert_eq!(spelled.as_str(), same);
    }
}

#[test]
fn size_is_bounded_before_memory_is_taken() {
    let tree = Tree::new();
    // Sparse: they cost no disk.
    for (name, length) in [("huge.md", 1 << 40), ("exact.md", MAX_FILE_BYTES)] {
        let file = fs::File::create(tree.at(name)).unwrap();
        file.set_len(length).unwrap();
    }
    let root = tree.open();
    let read = |path| root.read(&RelPath::parse(path).unwrap());
    let huge = read("huge.md");
    assert!(matches!(huge, Err(FileError::TooLarge { size, .. }) if size == 1 << 40));
    assert_eq!(read("exact.md").unwrap().bytes.len(), 16 << 20);
}

#[test]
fn the_root_must_be_a_folder_and_stays_the_one_opened() {
    let tree = Tree::new();
    let open = |path: &str| Root::open(&tree.at(path), Policy::default());
    assert_eq!(open("ok.md").unwrap_err().reason(), "not_a_directory");
    assert_eq!(open("missing").unwrap_err().reason(), "not_found");
    let dir = open("dir").unwrap();
    fs::rename(tree.at("dir"), tree.at("renamed")).unwrap();
    std::os::unix::fs::symlink(tree.outside(), tree.at("dir")).unwrap();
    // The handle outlives the name.
    assert_eq!(read(&dir, "ok.md").unwrap(), INSIDE);
    assert_eq!(refusal(&dir, "secret.md"), "not_found");
}

/// Between the look and the read a caller judges; what is swapped in meanwhile is not read for what was judged.
#[test]
fn a_file_swapped_after_it_was_found_is_refused() {
    let tree = Tree::new();
    let root = tree.open();
    let ok = root.find(&RelPath::parse("dir/ok.md").unwrap()).unwrap();
    assert_eq!(ok.read().unwrap().bytes, INSIDE.as_bytes(), "control");
    fs::remove_file(tree.at("dir/ok.md")).unwrap();
    tree.link(tree.outside().join("secret.md"), "dir/ok.md");
    assert_eq!(ok.read().unwrap_err().reason(), "symlink");
    // The folder is a handle: another that takes its name changes nothing.
    tree.file("other/a.md", INSIDE);
    let a = root.find(&RelPath::parse("other/a.md").unwrap()).unwrap();
    fs::rename(tree.at("other"), tree.at("moved")).unwrap();
    tree.link(tree.outside(), "other");
    assert_eq!(a.read().unwrap().bytes, INSIDE.as_bytes());
}

/// The caller has gone: the rest of a folder is not looked at, however large, and nothing is made of the part.
#[test]
fn list_and_walk_end_at_the_next_entry_when_over() {
    let tree = Tree::new();
    for number in 0..50 {
        tree.file(&format!("top{number}.md"), "");
        tree.file(&format!("deep/er/note{number}.md"), "");
    }
    let root = tree.open();
    let looks = Cell::new(0);
    let after = |most| {
        looks.set(0);
        let looks = &looks;
        move || {
            looks.set(looks.get() + 1);
            looks.get() > most
        }
    };
    let list = |most| {
        let listed = root.list(&RelPath::root(), 9, None, &after(most));
        listed.map(drop)
    };
    let walk = |most| {
        let shown = |_: &WalkEntry<'_>| ControlFlow::Continue(());
        root.walk(&RelPath::root(), WalkBounds::default(), &after(most), shown)
            .map(|report| report.unreadable)
    };
    for most in [0, 7, 30] {
        assert_eq!((list(most), looks.get()), (Err(FileError::Over), most + 1));
        assert_eq!((walk(most), looks.get()), (Err(FileError::Over), most + 1));
    }
    assert_eq!(walk(76), Err(FileError::Over), "in a folder further down");
    assert_eq!((list(1000), walk(1000)), (Ok(()), Ok(0)), "control");
}

#[test]
fn walk_counts_no_folder_that_vanished_as_unreadable() {
    let tree = Tree::new();
    tree.file("gone/note.md", "");
    tree.file("replaced/note.md", "");
    let shown = |entry: &WalkEntry<'_>| {
        let name = entry.path.as_str();
        if ["gone", "replaced"].contains(&name) {
            fs::remove_dir_all(tree.at(name)).unwrap();
        }
        if name == "replaced" {
            tree.link(tree.outside(), name);
        }
        ControlFlow::Continue(())
    };
    let root = tree.open();
    let report = root.walk(&RelPath::root(), WalkBounds::default(), &|| false, shown);
    let report = report.unwrap();
    assert_eq!(report.unreadable, 1, "{report:?}");
    assert_eq!(report.links, [RelPath::parse("replaced").unwrap()]);
}
