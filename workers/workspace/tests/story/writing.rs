//! Planning a write and carrying it out.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use plexus_rooted_files::{Change, Digest, PathRule, RelPath};
use plexus_worker_workspace::{
    Bounds, Keeping, MANIFEST, MAX_CHANGE_BYTES, MAX_DIFF_BYTES, Plan, Store, Workspace, WriteInput,
};
use serde_json::{Value, json};

use crate::story::{Folder, below, input, plan, reason, write};

/// A write of a whole file.
fn content(path: &str, text: &str) -> Value {
    json!({"path": path, "content": text})
}

#[test]
fn create_replace_and_edit() {
    let folder = Folder::new(&[("docs/a.md", "one\ntwo\nthree\n")]);
    let workspace = folder.open();

    let text = "# B\ntext\n";
    let created = plan(&workspace, content("new/deep/b.md", text)).unwrap();
    // The card is read before anything happened.
    assert_eq!(created.change().headline, "creates new/deep/b.md, +2 −0");
    assert_eq!(created.change().summary, "created new/deep/b.md, +2 −0");
    assert_eq!(created.before(), None);
    assert!(
        !folder.path().join("new").exists(),
        "a plan changes nothing"
    );
    let output = workspace.commit(&created, None).unwrap();
    let digest = Digest::of(text.as_bytes()).to_string();
    let expected =
        json!({"ok": true, "relativePath": "new/deep/b.md", "bytes": 9, "digest": digest});
    assert_eq!(json!(output), expected);
    assert_eq!(folder.text("new/deep/b.md"), text);

    let four = content("docs/a.md", "one\n2\nthree\nfour\n");
    let replaced = plan(&workspace, four).unwrap();
    assert_eq!(replaced.change().summary, "replaced docs/a.md, +2 −1");
    assert_eq!(replaced.before(), Some(Digest::of(b"one\ntwo\nthree\n")));
    let diff = "--- docs/a.md\n+++ docs/a.md\n@@ -1,3 +1,4 @@\n one\n-two\n+2\n three\n+four\n";
    assert_eq!(replaced.change().diff.as_deref(), Some(diff));
    workspace.commit(&replaced, None).unwrap();
    assert_eq!(folder.text("docs/a.md"), "one\n2\nthree\nfour\n");

    let edits = json!({"path": "docs/a.md", "edits": [{"find": "2\n", "replace": "two\n"}, {"find": "two", "replace": "TWO"}]});
    write(&workspace, edits).unwrap();
    assert_eq!(folder.text("docs/a.md"), "one\nTWO\nthree\nfour\n");
    let written = write(&workspace, content("u", "umlaut ä")).unwrap();
    assert_eq!(written.bytes, 9, "bytes, not characters");
}

#[test]
fn if_digest_guards_what_is_there() {
    let folder = Folder::new(&[("a.md", "here")]);
    let workspace = folder.open();
    let here = Digest::of(b"here").to_string();
    let other = Digest::of(b"other").to_string();
    let guarded =
        |path: &str, digest: &str| json!({"path": path, "content": "x", "ifDigest": digest});
    for (path, wrong) in [("a.md", &*other), ("a.md", "absent"), ("b.md", &here)] {
        let refused = plan(&workspace, guarded(path, wrong));
        assert_eq!(reason(refused), "changed:digest", "{path} {wrong}");
    }
    for (path, right) in [("a.md", &*here), ("b.md", "absent")] {
        plan(&workspace, guarded(path, right)).unwrap();
    }
    for bad in ["", "Absent", &here.to_uppercase(), &here[1..]] {
        let parsed = serde_json::from_value::<WriteInput>(guarded("a", bad));
        let why = parsed.map(drop).unwrap_err().to_string();
        let form = "ifDigest is 64 lower-case hex digits, or \"absent\"";
        assert_eq!(why, form, "{bad:?}");
    }
}

#[test]
fn inputs_that_make_no_sense() {
    let folder = Folder::new(&[("a.md", "text")]);
    let workspace = folder.open();
    for bad in [
        json!({"path": "a.md"}),
        json!({"path": "a.md", "content": "x", "edits": [{"find": "t", "replace": ""}]}),
        json!({"path": "a.md", "edits": []}),
    ] {
        assert_eq!(reason(plan(&workspace, bad)), "invalid");
    }
    let edit = json!({"path": "b.md", "edits": [{"find": "t", "replace": ""}]});
    assert_eq!(reason(plan(&workspace, edit)), "not_found");
    for (bad, words) in [
        (json!({"content": "x"}), "missing field `path`"),
        (
            json!({"path": "a", "content": "x", "mode": 7}),
            "unknown field `mode`",
        ),
        (
            json!({"path": "a", "content": null, "edits": 1}),
            "integer `1`",
        ),
    ] {
        let why = serde_json::from_value::<WriteInput>(bad).map(drop);
        let why = why.unwrap_err().to_string();
        assert!(why.contains(words), "{why}");
    }
    let all = json!({"path": "a.md", "edits": [{"find": "t", "replace": "", "all": true}]});
    plan(&workspace, all).unwrap();
}

#[test]
fn places_that_are_refused() {
    let folder = Folder::new(&[("ok.md", "x"), ("dir/y", "")]);
    folder.file("../outside.md", "outside");
    let outside = folder.outside().join("outside.md");
    symlink(folder.outside(), folder.path().join("out")).unwrap();
    symlink(&outside, folder.path().join("link.md")).unwrap();
    fs::hard_link(&outside, folder.path().join("hard.md")).unwrap();
    let workspace = folder.open();
    for (path, why) in [
        ("../outside.md", "path_confinement"),
        ("/tmp/x", "path_confinement"),
        ("a/../../x", "path_confinement"),
        ("a\0b", "path_confinement"),
        ("a\nb", "path_confinement"),
        (".plexus-1-2-3.tmp", "path_confinement"),
        ("out/x.md", "symlink"),
        ("link.md", "symlink"),
        ("hard.md", "hard_link"),
        ("dir", "not_a_file"),
        ("dir/", "not_a_file"),
        ("new/", "not_a_file"),
        ("", "not_a_file"),
        ("ok.md/x", "not_a_directory"),
    ] {
        let refused = write(&workspace, content(path, "attack"));
        assert_eq!(reason(refused), why, "{path:?}");
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
    write(&workspace, content("ok.md", "fine")).unwrap();
    assert_eq!(folder.text("ok.md"), "fine");
}

#[test]
fn a_rule_is_judged_before_anything_is_looked_at() {
    let folder = Folder::new(&[("private/a.md", "secret"), ("docs/a.md", "x")]);
    let workspace = folder.open();
    let allows = below("docs");
    let rule = PathRule::new(&allows);
    let other = Digest::of(b"other").to_string();
    for json in [
        json!({"path": "private/a.md", "content": "x"}),
        json!({"path": "private/missing.md", "content": "x"}),
        json!({"path": "private/a.md", "edits": [{"find": "secret", "replace": ""}]}),
        json!({"path": "private/a.md", "edits": [{"find": "guess", "replace": ""}]}),
        json!({"path": "private/a.md", "content": "x", "ifDigest": other}),
        json!({"path": "new.md", "content": "x"}),
    ] {
        let refused = workspace.plan(&input(json), rule);
        assert_eq!(reason(refused), "constraint_miss");
    }
    let within = input(content("docs/a.md", "y"));
    workspace.plan(&within, rule).unwrap();
}

#[test]
fn a_world_that_moved_between_plan_and_commit() {
    let folder = Folder::new(&[("a.md", "one"), ("dir/b.md", "two")]);
    let workspace = folder.open();
    let mine = |path: &str| plan(&workspace, content(path, "mine")).unwrap();
    let refused = |plan: &Plan| reason(workspace.commit(plan, None));
    let edited = mine("a.md");
    folder.file("a.md", "theirs");
    assert_eq!(refused(&edited), "changed:digest");
    assert_eq!(folder.text("a.md"), "theirs");
    let swapped = mine("dir/b.md");
    fs::rename(folder.path().join("dir"), folder.path().join("was")).unwrap();
    symlink("was", folder.path().join("dir")).unwrap();
    assert_eq!(refused(&swapped), "changed:moved");
    assert_eq!(folder.text("was/b.md"), "two");
    let created = mine("c.md");
    folder.file("c.md", "theirs");
    assert_eq!(refused(&created), "changed:moved");
    let twice = mine("d.md");
    workspace.commit(&twice, None).unwrap();
    assert_eq!(
        refused(&twice),
        "changed:moved",
        "a plan is good for one commit"
    );
    // A plan made again in the writer matches.
    let fresh = mine("c.md");
    assert_eq!(fresh.state_token(), mine("c.md").state_token());
    workspace.commit(&fresh, None).unwrap();
}

#[test]
fn what_runs_unasked_is_rated_so() {
    let folder = Folder::new(&[("tool", "#!/bin/sh\n"), ("plain", "x")]);
    let tool = folder.path().join("tool");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let workspace = folder.open();
    for (path, runs) in [
        (".git/hooks/pre-commit", true),
        ("sub/.envrc", true),
        (".vscode/tasks.json", true),
        ("CLAUDE.md", true),
        ("docs/Agents.MD", true),
        ("tool", true),
        ("plain", false),
        ("docs/new.md", false),
        ("src/main.rs", false),
        (".gitignore", false),
    ] {
        let plan = plan(&workspace, content(path, "x")).unwrap();
        assert_eq!(plan.runs_because().is_some(), runs, "{path}");
    }
    write(&workspace, content("tool", "#!/bin/sh\nexit\n")).unwrap();
    let mode = fs::metadata(&tool).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

/// The list counts for the root's own path too, as it is typed and as it resolves, in whatever spelling.
#[test]
fn everything_below_a_root_in_such_a_folder_is_rated_so() {
    let folder = Folder::new(&[]);
    let why = |root: &str, path: &str| {
        let workspace = Workspace::open(&folder.outside().join(root)).unwrap();
        plan(&workspace, content(path, "x")).unwrap().runs_because()
    };
    for root in [
        ".git/hooks",
        ".SSH",
        ".g\u{200c}it",
        "home/.claude/commands",
        ".config/fish",
        "GIT~1",
    ] {
        fs::create_dir_all(folder.outside().join(root)).unwrap();
        assert!(why(root, "notes.md").is_some(), "{root}");
    }
    symlink(".config/fish", folder.outside().join("shell")).unwrap();
    let configured = Some("programs are configured there");
    assert_eq!(why("shell", "notes.md"), configured);
    assert_eq!(why("folder", "notes.md"), None, "control");
}

#[test]
fn previews_are_bounded_and_cannot_act() {
    let folder = Folder::new(&[("a.md", "x\n"), ("same.md", "\u{feff}x\n")]);
    folder.file("binary", [0_u8, 1, 2]);
    let workspace = folder.open();
    let change = |path: &str, text: &str| {
        let plan = plan(&workspace, content(path, text)).unwrap();
        plan.change().clone()
    };
    let hostile = change("a.md", "\u{1b}[2J\u{202e}evil\r\u{7}\n")
        .diff
        .unwrap();
    let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(
        hostile.contains("evil") && !hostile.contains(acts),
        "{hostile:?}"
    );
    let long = change("a.md", &"a line that is not that short\n".repeat(20_000));
    let diff = long.diff.unwrap();
    assert!(long.is_cut && diff.len() < MAX_DIFF_BYTES + 100);
    assert!(diff.trim_end().ends_with("more lines are not shown"));
    assert_eq!(long.summary, "replaced a.md, +20000 −1");
    let huge = change("a.md", &"x".repeat(2 << 20));
    assert!(huge.is_cut && huge.diff.is_none());
    for words in ["2 bytes", "2097152 bytes"] {
        assert!(huge.summary.contains(words), "{}", huge.summary);
    }
    let deep = format!("{}/end.md", vec!["d".repeat(100); 9].join("/"));
    let deep = change(&deep, "x\n").summary;
    assert!(
        deep.len() < 200 && deep.ends_with("d/end.md, +1 −0"),
        "{deep}"
    );
    let binary = change("binary", "text");
    assert!(binary.diff.is_none() && binary.summary.contains("3 bytes"));
    let spoofed = change("a\u{202e}dm.exe", "x").summary;
    assert!(
        spoofed.contains("dm.exe") && !spoofed.contains('\u{202e}'),
        "{spoofed}"
    );
    let same = change("same.md", "x\n").diff.unwrap();
    let only = "--- same.md\n+++ same.md\n(only the encoding changes)\n";
    assert_eq!(same, only);
    let both = change("same.md", "y\n").diff.unwrap();
    let noted = "--- same.md\n+++ same.md\n(the encoding changes too)\n@@ -1 +1 @@\n-x\n+y\n";
    assert_eq!(both, noted);
    let plain = change("a.md", "y\n");
    assert!(!plain.is_cut);
    let unnoted = "--- a.md\n+++ a.md\n@@ -1 +1 @@\n-x\n+y\n";
    assert_eq!(plain.diff.unwrap(), unnoted, "control");
    // An empty file has no line to show.
    let path = RelPath::parse("empty.md").unwrap();
    let gone = Change::between(&path, Some(b""), None, ("removes", "removed"));
    let names = "--- empty.md\n+++ /dev/null\n";
    assert_eq!(gone.diff.as_deref(), Some(names));
    let kept = Change::between(&path, Some(b""), Some(b""), ("replaces", "replaced"));
    assert_eq!(kept.diff.as_deref(), Some(""), "control");
}

/// A line ends at a line feed and nowhere else: with a carriage return for one, an added line would stand in the row of
/// an unchanged one.
#[test]
fn every_line_of_a_preview_has_a_row_of_its_own() {
    let folder = Folder::new(&[("a.md", "hello\rworld\n"), ("end.md", "one\r")]);
    let workspace = folder.open();
    let diff = |path: &str, text: &str| {
        let planned = plan(&workspace, content(path, text)).unwrap();
        let change = planned.change();
        (change.summary.clone(), change.diff.clone().unwrap())
    };
    let (summary, shown) = diff("a.md", "hello\revil\nworld\n");
    assert_eq!(summary, "replaced a.md, +2 −1");
    let rows = "@@ -1 +1,2 @@\n-hello\\u{d}world\n+hello\\u{d}evil\n+world\n";
    assert_eq!(shown, format!("--- a.md\n+++ a.md\n{rows}"));
    let (_, shown) = diff("end.md", "one\rtwo\r");
    let none = "\\ No newline at end of file\n";
    let rows = format!("@@ -1 +1 @@\n-one\\u{{d}}\n{none}+one\\u{{d}}two\\u{{d}}\n{none}");
    assert_eq!(shown, format!("--- end.md\n+++ end.md\n{rows}"));
}

#[test]
fn diffs_that_take_long_are_given_up_in_time() {
    let line = |n: usize| format!("{}\n", n * 2_654_435_761 % 7919);
    let folder = Folder::new(&[("a", &(0..60_000).map(line).collect::<String>())]);
    let reversed: String = (0..60_000).rev().map(line).collect();
    let started = std::time::Instant::now();
    plan(&folder.open(), content("a", &reversed)).unwrap();
    assert!(started.elapsed().as_secs() < 10);
}

/// Both contents go into one file of the store, which the worker's limit bounds: what does not fit is not planned.
#[test]
fn change_the_store_cannot_keep_is_not_planned() {
    let folder = Folder::new(&[]);
    let half = usize::try_from(MAX_CHANGE_BYTES / 2).unwrap();
    let text = |length: usize| format!("{}z", "a".repeat(length - 1));
    folder.file("fits.txt", text(half));
    folder.file("long.txt", text(half + 1));
    folder.file("longest.txt", text(15 << 20));
    let workspace = folder.open();
    let edit =
        |path: &str, to: &str| json!({"path": path, "edits": [{"find": "z", "replace": to}]});
    for beyond in [
        edit("long.txt", "y"),
        edit("fits.txt", "yy"),
        content("longest.txt", &"x".repeat(1 << 20)),
    ] {
        let error = plan(&workspace, beyond).map(drop).unwrap_err();
        assert!(error.to_string().contains("16711680 bytes"), "{error}");
        assert_eq!(reason::<()>(Err(error)), "too_large");
    }

    let kept = folder.outside().join("store");
    fs::create_dir(&kept).unwrap();
    let wide = Bounds {
        bytes: 1 << 30,
        entries: 10,
    };
    let keeping = Keeping {
        store: &Store::new(&kept, wide),
        call: "evt_00000000-0001-8000-8000-000000000000".parse().unwrap(),
        undoes: None,
    };
    let fits = plan(&workspace, edit("fits.txt", "y")).unwrap();
    workspace.commit(&fits, Some(keeping)).unwrap();
    let manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    let limit = manifest["limits"]["fileBytes"].as_u64().unwrap();
    let files = fs::read_dir(&kept).unwrap();
    let largest = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .max();
    assert!(
        (2 * half as u64..=limit).contains(&largest.unwrap()),
        "{largest:?}"
    );
}
