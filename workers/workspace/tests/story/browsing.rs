//! Listing and reading.

use plexus_rooted_files::{Digest, PathRule};
use plexus_worker_workspace::{ListInput, ReadInput};
use serde_json::json;

use crate::story::{Folder, below, reason};

fn list(path: &str) -> ListInput {
    serde_json::from_value(json!({ "path": path })).unwrap()
}

fn read(path: &str) -> ReadInput {
    serde_json::from_value(json!({ "path": path })).unwrap()
}

#[test]
fn folders_and_files_come_back() {
    let folder = Folder::new(&[
        ("b.txt", "b"),
        (".env", "x"),
        ("a/c.txt", "c"),
        (".plexus-1-2-3.tmp", "half"),
    ]);
    std::os::unix::fs::symlink("b.txt", folder.path().join("link")).unwrap();
    let workspace = folder.open();
    assert_eq!(
        serde_json::to_value(
            workspace
                .list(&ListInput::default(), PathRule::all(), &|| false)
                .unwrap()
        )
        .unwrap(),
        json!({"type": "dir", "relativePath": "", "omitted": 1, "entries": [
            {"name": ".env", "relativePath": ".env", "kind": "file"},
            {"name": "a", "relativePath": "a", "kind": "dir"},
            {"name": "b.txt", "relativePath": "b.txt", "kind": "file"},
        ]})
    );
    let mut file =
        serde_json::to_value(workspace.read(&read("a/c.txt"), PathRule::all()).unwrap()).unwrap();
    assert!(file["modifiedAt"].take().is_string());
    assert_eq!(
        file,
        json!({"type": "file", "relativePath": "a/c.txt", "content": "c", "bytes": 1, "modifiedAt": null,
               "digest": Digest::of(b"c").to_string()})
    );
    let first: ListInput = serde_json::from_value(json!({"limit": 1})).unwrap();
    let first =
        serde_json::to_value(workspace.list(&first, PathRule::all(), &|| false).unwrap()).unwrap();
    assert_eq!(first["next"], json!({"after": ".env"}));
    let rest: ListInput = serde_json::from_value(json!({"after": ".env"})).unwrap();
    assert_eq!(
        workspace
            .list(&rest, PathRule::all(), &|| false)
            .unwrap()
            .entries
            .len(),
        2
    );
}

#[test]
fn what_is_refused_says_why() {
    let folder = Folder::new(&[("ok.txt", "fine"), ("dir/x", "")]);
    folder.file("binary", [0_u8, 1, 2]);
    folder.file("latin1.txt", b"caf\xe9");
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).unwrap();
    let workspace = folder.open();
    for (path, why) in [
        ("../x", "path_confinement"),
        ("/etc/passwd", "path_confinement"),
        ("etc/passwd", "symlink"),
        ("binary", "not_text"),
        ("latin1.txt", "not_text"),
        ("dir", "not_a_file"),
        ("ok.txt/", "not_a_file"),
        ("missing", "not_found"),
    ] {
        assert_eq!(
            reason(workspace.read(&read(path), PathRule::all())),
            why,
            "{path}"
        );
    }
    assert_eq!(
        workspace
            .read(&read("ok.txt"), PathRule::all())
            .unwrap()
            .content,
        "fine"
    );
    for (path, why) in [
        ("ok.txt", "not_a_directory"),
        ("etc", "symlink"),
        ("missing", "not_found"),
        ("..", "path_confinement"),
    ] {
        assert_eq!(
            reason(workspace.list(&list(path), PathRule::all(), &|| false)),
            why,
            "{path}"
        );
    }
    assert_eq!(
        workspace
            .list(&list("dir/"), PathRule::all(), &|| false)
            .unwrap()
            .entries
            .len(),
        1
    );
}

#[test]
fn a_rule_hides_what_lies_outside_and_whether_it_exists() {
    let folder = Folder::new(&[("docs/a.txt", "a"), ("private/b.txt", "b")]);
    std::os::unix::fs::symlink("private", folder.path().join("link")).unwrap();
    let workspace = folder.open();
    let allows = below("docs");
    let rule = PathRule::new(&allows);
    for path in [
        "private/b.txt",
        "private/missing",
        "missing",
        "link/b.txt",
        "docs2/a.txt",
    ] {
        assert_eq!(
            reason(workspace.read(&read(path), rule)),
            "constraint_miss",
            "{path}"
        );
        assert_eq!(
            reason(workspace.list(&list(path), rule, &|| false)),
            "constraint_miss",
            "{path}"
        );
    }
    assert_eq!(
        reason(workspace.list(&list(""), rule, &|| false)),
        "constraint_miss",
        "above the prefix"
    );
    assert_eq!(
        workspace.read(&read("docs/a.txt"), rule).unwrap().content,
        "a"
    );
    assert_eq!(
        reason(workspace.read(&read("docs/missing"), rule)),
        "not_found"
    );
    assert_eq!(
        workspace
            .list(&list("docs"), rule, &|| false)
            .unwrap()
            .entries
            .len(),
        1
    );
}
