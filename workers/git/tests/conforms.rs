//! The git connector against what every connector must hold.

use plexus_conformance::Subject;
use plexus_worker_git::{GitSource, MANIFEST};
use serde_json::json;
use std::fs;

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/git.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-git"),
    )
    .world(|root| {
        fs::create_dir(root.join("notes")).unwrap();
        fs::write(root.join("notes/today.md"), "one\ntwo\n").unwrap();
        fs::write(root.join("a.md"), "a\n").unwrap();
    })
    .example(
        "read",
        json!({"path": "notes/today.md"}),
        &["notes/today.md"],
    )
    .outside("read", json!({"path": "a.md"}), "notes")
    .conform::<GitSource>();
}
