//! Listing and reading.

use plexus_rooted_files::{Digest, PathRule};
use plexus_worker_workspace::{ListInput, ReadInput, Workspace, WorkspaceError};
use serde_json::{Value, json};

use crate::story::{Folder, below, reason};

fn list(workspace: &Workspace, input: Value, rule: PathRule<'_>) -> Result<Value, WorkspaceError> {
    let input: ListInput = serde_json::from_value(input).unwrap();
    let listed = workspace.list(&input, rule, &|| false)?;
    Ok(json!(listed))
}

fn read(workspace: &Workspace, path: &str, rule: PathRule<'_>) -> Result<Value, WorkspaceError> {
    let input: ReadInput = serde_json::from_value(json!({ "path": path })).unwrap();
    Ok(json!(workspace.read(&input, rule)?))
}

fn count(listed: Result<Value, WorkspaceError>) -> usize {
    listed.unwrap()["entries"].as_array().unwrap().len()
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
    let list = |input| list(&workspace, input, PathRule::all());
    assert_eq!(
        list(json!({})).unwrap(),
        json!({"type": "dir", "relativePath": "", "omitted": 1, "warnings": ["names_skipped"], "entries": [
            {"name": ".env", "relativePath": ".env", "kind": "file"},
            {"name": "a", "relativePath": "a", "kind": "dir"},
            {"name": "b.txt", "relativePath": "b.txt", "kind": "file"},
        ]})
    );
    let mut file = read(&workspace, "a/c.txt", PathRule::all()).unwrap();
    assert!(file["modifiedAt"].take().is_string());
    assert_eq!(
        file,
        json!({"type": "file", "relativePath": "a/c.txt", "content": "c", "bytes": 1, "modifiedAt": null,
               "digest": Digest::of(b"c").to_string()})
    );
    let first = list(json!({"limit": 1})).unwrap();
    assert_eq!(first["next"], json!({"after": ".env"}));
    assert_eq!(count(list(json!({"after": ".env"}))), 2);
}

#[test]
fn what_is_refused_says_why() {
    let folder = Folder::new(&[("ok.txt", "fine"), ("dir/x", "")]);
    folder.file("binary", [0_u8, 1, 2]);
    folder.file("latin1.txt", b"caf\xe9");
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).unwrap();
    let workspace = folder.open();
    let all = PathRule::all();
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
        assert_eq!(reason(read(&workspace, path, all)), why, "{path}");
    }
    assert_eq!(read(&workspace, "ok.txt", all).unwrap()["content"], "fine");
    let list = |path| list(&workspace, json!({ "path": path }), all);
    for (path, why) in [
        ("ok.txt", "not_a_directory"),
        ("etc", "symlink"),
        ("missing", "not_found"),
        ("..", "path_confinement"),
    ] {
        assert_eq!(reason(list(path)), why, "{path}");
    }
    assert_eq!(count(list("dir/")), 1);
}

#[test]
fn a_rule_hides_what_lies_outside_and_whether_it_exists() {
    let folder = Folder::new(&[("docs/a.txt", "a"), ("private/b.txt", "b")]);
    std::os::unix::fs::symlink("private", folder.path().join("link")).unwrap();
    let workspace = folder.open();
    let allows = below("docs");
    let rule = PathRule::new(&allows);
    let read = |path| read(&workspace, path, rule);
    let list = |path| list(&workspace, json!({ "path": path }), rule);
    for path in [
        "private/b.txt",
        "private/missing",
        "missing",
        "link/b.txt",
        "docs2/a.txt",
    ] {
        assert_eq!(reason(read(path)), "constraint_miss", "{path}");
        assert_eq!(reason(list(path)), "constraint_miss", "{path}");
    }
    assert_eq!(reason(list("")), "constraint_miss", "above the prefix");
    assert_eq!(read("docs/a.txt").unwrap()["content"], "a");
    assert_eq!(reason(read("docs/missing")), "not_found");
    assert_eq!(count(list("docs")), 1);
}
