//! Writing: what a commit does, what it refuses when the world moved since the plan, and what a kill leaves.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use crate::tree::{INSIDE, SECRET, Tree, read, refusal};
use crate::waiting::{PATIENCE, lines};
use plexus_rooted_files::{RelPath, Root, WriteError, WriteTarget, is_leftover_name};

fn path(text: &str) -> RelPath {
    RelPath::parse_file(text).unwrap()
}

fn look(root: &Root, text: &str) -> WriteTarget {
    root.look(&path(text)).unwrap()
}

fn moved(result: Result<impl std::fmt::Debug, WriteError>) -> &'static str {
    match result {
        Err(WriteError::Moved { what, .. }) => what,
        other => panic!("expected a refusal because the world moved, got {other:?}"),
    }
}

fn names_below(tree: &Tree, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(tree.at(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn mode(tree: &Tree, file: &str) -> u32 {
    fs::metadata(tree.at(file)).unwrap().permissions().mode() & 0o7777
}

fn set_mode(tree: &Tree, file: &str, mode: u32) {
    fs::set_permissions(tree.at(file), fs::Permissions::from_mode(mode)).unwrap();
}

/// What lies outside is as it was.
#[track_caller]
fn is_kept(tree: &Tree) {
    let secret = fs::read_to_string(tree.outside().join("secret.md"));
    assert_eq!(secret.unwrap(), SECRET);
}

#[test]
fn creates_replaces_and_keeps_the_mode() {
    let tree = Tree::new();
    let root = tree.open();
    let file = "new/deep/a.md";
    let inode = || fs::metadata(tree.at(file)).unwrap().ino();
    root.put(&look(&root, file), b"one").unwrap();
    assert_eq!(read(&root, file).unwrap(), "one");
    set_mode(&tree, file, 0o640);
    let before = inode();
    let meta = root.put(&look(&root, file), b"two!").unwrap();
    assert_eq!(read(&root, file).unwrap(), "two!");
    assert_eq!(mode(&tree, file), 0o640);
    assert_ne!(
        before,
        inode(),
        "replaced by rename, not rewritten in place"
    );
    assert_eq!((meta.size, meta.mode), (4, 0o640));
    set_mode(&tree, file, 0o4755);
    root.put(&look(&root, file), b"three").unwrap();
    assert_eq!(
        mode(&tree, file),
        0o755,
        "new content does not inherit set-id"
    );
    assert_eq!(
        names_below(&tree, "new/deep"),
        ["a.md"],
        "nothing temporary is left"
    );
}

#[test]
fn the_token_covers_place_mode_and_content() {
    let tree = Tree::new();
    let root = tree.open();
    let token = || look(&root, "dir/ok.md").token();
    let first = token();
    assert_eq!(first, token(), "a look changes nothing");
    set_mode(&tree, "dir/ok.md", 0o600);
    let second = token();
    assert_ne!(first, second, "mode");
    fs::write(tree.at("dir/ok.md"), "other").unwrap();
    let third = token();
    assert_ne!(second, third, "content");
    fs::rename(tree.at("dir"), tree.at("old")).unwrap();
    assert_ne!(token(), third, "absent");
    fs::create_dir(tree.at("dir")).unwrap();
    fs::copy(tree.at("old/ok.md"), tree.at("dir/ok.md")).unwrap();
    assert_ne!(token(), third, "another folder of the same name");
    let moved = look(&root, "old/ok.md").token();
    assert_ne!(moved, third, "another path to the same folder");
}

#[test]
fn a_changed_world_refuses_the_commit_and_stays_as_it_is() {
    let tree = Tree::new();
    let root = tree.open();
    let at = |path: &str| tree.at(path);
    let out = |path: &str| tree.outside().join(path);
    let outside_before = names_below(&tree, "../outside");
    let change = |text: &str, change: &dyn Fn()| {
        let place = look(&root, text);
        change();
        let reason = moved(root.put(&place, b"from the plan"));
        assert!(!out("x.md").exists());
        reason
    };
    let remove = |path: &str| fs::remove_file(at(path)).unwrap();

    let written = change("ok.md", &|| tree.file("ok.md", "theirs"));
    assert_eq!(written, "digest");
    assert_eq!(read(&root, "ok.md").unwrap(), "theirs");

    assert_eq!(change("ok.md", &|| remove("ok.md")), "moved");
    assert_eq!(refusal(&root, "ok.md"), "not_found");

    assert_eq!(change("ok.md", &|| tree.file("ok.md", "theirs")), "moved");
    assert_eq!(read(&root, "ok.md").unwrap(), "theirs");

    // The file becomes a link, a hard link, a folder.
    let relinked = change("ok.md", &|| {
        remove("ok.md");
        symlink(out("secret.md"), at("ok.md")).unwrap();
    });
    assert_eq!(relinked, "moved");
    remove("ok.md");
    tree.file("ok.md", INSIDE);
    let twin = || fs::hard_link(at("ok.md"), out("twin")).unwrap();
    assert_eq!(change("ok.md", &twin), "moved");
    fs::remove_file(out("twin")).unwrap();
    let folder = change("ok.md", &|| {
        remove("ok.md");
        fs::create_dir(at("ok.md")).unwrap();
    });
    assert_eq!(folder, "moved");

    // The parent becomes a link, another folder, a file; or is moved out of the root.
    let relinked = change("dir/x.md", &|| {
        fs::rename(at("dir"), at("was")).unwrap();
        symlink(tree.outside(), at("dir")).unwrap();
    });
    assert_eq!(relinked, "moved");
    remove("dir");
    fs::rename(at("was"), at("dir")).unwrap();
    let taken = change("dir/x.md", &|| {
        fs::rename(at("dir"), out("taken")).unwrap();
        fs::create_dir(at("dir")).unwrap();
    });
    assert_eq!(taken, "moved");
    let link = || symlink(tree.outside(), at("a")).unwrap();
    assert_eq!(change("a/b/x.md", &link), "moved");
    remove("a");
    let folder = || fs::create_dir(at("a")).unwrap();
    assert_eq!(change("a/b/x.md", &folder), "moved");
    assert_eq!(
        names_below(&tree, "a"),
        [""; 0],
        "no folder of ours is left behind"
    );
    fs::remove_dir_all(out("taken")).unwrap();
    assert_eq!(names_below(&tree, "../outside"), outside_before);

    // Control: the same plan with nothing changed is carried out.
    let place = look(&root, "dir/x.md");
    root.put(&place, b"from the plan").unwrap();
    assert_eq!(read(&root, "dir/x.md").unwrap(), "from the plan");
}

#[test]
fn places_that_cannot_be_planned() {
    let tree = Tree::new();
    tree.link(tree.outside(), "out");
    tree.link(tree.outside().join("secret.md"), "secret-link.md");
    fs::hard_link(tree.outside().join("secret.md"), tree.at("hard.md")).unwrap();
    nix::unistd::mkfifo(&tree.at("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let root = tree.open();
    for (text, reason) in [
        ("out/x.md", "symlink"),
        ("out/a/b/x.md", "symlink"),
        ("secret-link.md", "symlink"),
        ("hard.md", "hard_link"),
        ("fifo", "not_a_file"),
        ("dir", "not_a_file"),
        ("ok.md/x", "not_a_directory"),
        ("fifo/x", "not_a_directory"),
        (".plexus-1-2-3.tmp", "path_confinement"),
        (".PLEXUS-1-2-3.TMP", "path_confinement"),
        ("dir/.plexus-a.tmp/x", "path_confinement"),
    ] {
        let refused = root.look(&path(text)).unwrap_err();
        assert_eq!(refused.reason(), reason, "{text}");
    }
    for text in [
        "new.md",
        "ok.md",
        "dir/new.md",
        ".plexus-x.tmp",
        ".plexus-notes.md",
    ] {
        look(&root, text);
    }
    is_kept(&tree);
}

/// Another thread swaps the parent folder for a link to the outside, as fast as it can, while commits run.
#[test]
fn a_racing_swap_of_the_parent_never_leads_outside() {
    let tree = Tree::new();
    let root = tree.open();
    let stop = AtomicBool::new(false);
    let (mut done, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(tree.at("dir"), tree.at("aside")).unwrap();
                // A commit may put a folder of its own into the gap: that is its right, and it is cleared away.
                if symlink(tree.outside(), tree.at("dir")).is_ok() {
                    fs::remove_file(tree.at("dir")).unwrap();
                }
                while fs::rename(tree.at("aside"), tree.at("dir")).is_err() {
                    let _ = fs::remove_dir_all(tree.at("dir"));
                }
                std::thread::yield_now();
            }
        });
        for round in 0..20_000 {
            let Ok(place) = root.look(&path("dir/raced.md")) else {
                continue;
            };
            match root.put(&place, format!("{round}").as_bytes()) {
                Ok(_) => done += 1,
                Err(WriteError::Moved { .. } | WriteError::Before(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            if done >= 200 && refused >= 20 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    // Both sides of the race were met.
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    assert_eq!(names_below(&tree, "../outside"), ["secret.md"]);
    is_kept(&tree);
    // No temporary file is left.
    assert_eq!(names_below(&tree, "dir"), ["ok.md", "raced.md"]);
}

/// Another thread swaps the file itself for a link, while it is read and written.
#[test]
fn a_racing_swap_of_the_file_never_leads_outside() {
    let tree = Tree::new();
    let root = tree.open();
    let stop = AtomicBool::new(false);
    let (mut reads, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let spare = tree.at("spare");
                symlink(tree.outside().join("secret.md"), &spare).unwrap();
                fs::rename(&spare, tree.at("ok.md")).unwrap();
                fs::write(&spare, INSIDE).unwrap();
                fs::rename(&spare, tree.at("ok.md")).unwrap();
            }
        });
        for _ in 0..200_000 {
            match read(&root, "ok.md") {
                Ok(content) => {
                    assert_ne!(content, SECRET);
                    reads += 1;
                }
                Err(error) => {
                    assert!(
                        ["symlink", "changing", "hard_link"].contains(&error.reason()),
                        "{error}"
                    );
                    refused += 1;
                }
            }
            if let Ok(place) = root.look(&path("ok.md")) {
                let _ = root.put(&place, INSIDE.as_bytes());
            }
            if reads >= 200 && refused >= 20 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads > 0 && refused > 0, "{reads} read, {refused} refused");
    is_kept(&tree);
}

/// The victim of [`a_kill_leaves_old_or_new_and_the_next_start_cleans_up`]: writes without end, once told where.
#[test]
fn endless_writer() {
    let Ok(root) = std::env::var("PLEXUS_TEST_WRITE_UNTIL_KILLED") else {
        return;
    };
    let root = Root::open(root.as_ref(), plexus_rooted_files::Policy::default()).unwrap();
    for letter in ('a'..='z').cycle() {
        let content = letter.to_string().repeat(SIZE);
        root.put(&look(&root, "victim.md"), content.as_bytes())
            .unwrap();
        #[expect(clippy::print_stdout, reason = "tells the killer that writing goes on")]
        {
            println!("wrote");
        }
    }
}

const SIZE: usize = 1024 * 1024;

#[test]
fn a_kill_leaves_old_or_new_and_the_next_start_cleans_up() {
    let tree = Tree::new();
    tree.file("victim.md", "0".repeat(SIZE));
    let left = || {
        let names = names_below(&tree, "");
        names.iter().filter(|name| is_leftover_name(name)).count()
    };
    let mut leftovers = 0;
    for round in 0..20_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["writes::endless_writer", "--exact", "--nocapture"])
            .env("PLEXUS_TEST_WRITE_UNTIL_KILLED", tree.root())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        assert!(
            lines(child.stdout.take().unwrap()).any(|line| line.contains("wrote")),
            "the victim got as far as writing"
        );
        // Kill at varying points after the temporary file has appeared.
        let began = Instant::now();
        while left() == 0 {
            assert!(began.elapsed() < PATIENCE, "no temporary file");
        }
        for spin in 0..round * 10_000 {
            std::hint::black_box(spin);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let content = fs::read_to_string(tree.at("victim.md")).unwrap();
        assert_eq!(content.len(), SIZE);
        let first = content.chars().next().unwrap();
        assert!(
            content.chars().all(|c| c == first),
            "content of one write only"
        );
        let found = left();
        leftovers += found;
        assert!(found <= 1);
        assert_eq!(tree.open().remove_leftovers(), found);
        assert_eq!(left(), 0);
    }
    assert!(leftovers > 0, "some kill fell into a write");
}

#[test]
fn cleaning_up_spares_what_is_not_ours_or_in_use() {
    let tree = Tree::new();
    let busy = "dir/.plexus-1-2-4.tmp";
    for ours in [".plexus-1-2-3.tmp", "dir/.plexus-ab-cd-ef.tmp", busy] {
        tree.file(ours, "half");
    }
    let theirs = [
        ".plexus-.tmp",
        ".plexus-notes.tmp",
        "plexus-1-2-3.tmp",
        ".plexus-1-2-3.tmp.md",
    ];
    for theirs in theirs {
        tree.file(theirs, INSIDE);
    }
    tree.link(tree.outside().join("secret.md"), ".plexus-1-2-9.tmp");
    let busy = fs::File::open(tree.at(busy)).unwrap();
    busy.lock().unwrap();
    assert_eq!(tree.open().remove_leftovers(), 2);
    // Locked: its writer lives.
    assert_eq!(names_below(&tree, "dir"), [".plexus-1-2-4.tmp", "ok.md"]);
    for theirs in theirs {
        assert!(tree.at(theirs).exists(), "{theirs}");
    }
    is_kept(&tree);
    drop(busy);
    assert_eq!(tree.open().remove_leftovers(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_written_or_removed_survives_a_power_cut() {
    use plexus_power_cut::{Disk, holds};
    use std::path::Path;
    let open = |top: &Path| Root::open(top, plexus_rooted_files::Policy::default()).unwrap();
    let put = |top: &Path, name: &str, text: &str| {
        let root = open(top);
        root.put(&look(&root, name), text.as_bytes()).unwrap();
    };
    let is = |top: &Path, text: &str| {
        fs::read_to_string(top.join("new/deep/a.md")).is_ok_and(|found| found == text)
    };
    let new = |disk: &Disk, ()| put(&disk.path(), "new/deep/a.md", "new");
    let old = |top: &Path| put(top, "new/deep/a.md", "old");
    holds(|_| (), new, |top| is(top, "new"), &[]);
    holds(old, new, |top| is(top, "new"), &[]);
    let removed = |disk: &Disk, ()| {
        let root = open(&disk.path());
        let planned = look(&root, "new/deep/a.md");
        root.remove_noting(&planned, 0, |_| Ok(())).unwrap();
    };
    holds(old, removed, |top| !top.join("new/deep/a.md").exists(), &[]);
}
