//! The workspace connector against what every connector must hold.

use plexus_conformance::Subject;
use plexus_worker_workspace::{MANIFEST, WorkspaceSource};
use serde_json::json;
use std::fs;

#[test]
#[rustfmt::skip]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/workspace.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-workspace"),
    )
    .world(|root| {
        fs::create_dir(root.join("notes")).unwrap();
        fs::write(root.join("notes/today.md"), "one\ntwo\n").unwrap();
        fs::write(root.join("a.md"), "a\n").unwrap();
    })
    .moves(|root| fs::write(root.join("a.md"), "moved\n").unwrap())
    .example("list", json!({"path": "notes"}), &["notes"])
    .example("list", json!({}), &["."])
    .example("read", json!({"path": "notes/today.md"}), &["notes/today.md"])
    .example("write", json!({"path": "a.md", "content": "b\n"}), &["a.md"])
    .elsewhere("undo", "it needs a change: the stories `undo`")
    .elsewhere("changes", "it needs changes: the stories `lending`")
    .outside("read", json!({"path": "a.md"}), "notes")
    .outside("read", json!({"path": "notes/../a.md"}), "notes")
    .outside("write", json!({"path": "notes2/a.md", "content": "x"}), "notes")
    .conform::<WorkspaceSource>();
}
