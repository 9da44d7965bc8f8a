//! The git connector against what every connector must hold.

use plexus_conformance::Subject;
use plexus_worker_git::{GitSource, MANIFEST};
use serde_json::json;

#[test]
#[rustfmt::skip]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/git.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-git"),
    )
    .world(crate::repo::story)
    .example("log", json!({}), &["."])
    .example("log", json!({"path": "docs", "limit": 1}), &["docs"])
    .example("show", json!({"rev": "HEAD"}), &["src/new.rs", "src/old.rs"])
    .example("show", json!({"rev": "HEAD", "path": "src"}), &["src/new.rs"])
    .example("show", json!({"rev": "HEAD~1", "path": "docs/a.md", "content": true}), &["docs/a.md"])
    .example("blame", json!({"path": "docs/a.md"}), &["docs/a.md"])
    .example("blame", json!({"path": "src/new.rs"}), &["src/new.rs", "src/old.rs"])
    .example("search", json!({"query": "second"}), &["."])
    .example("search", json!({"query": "two", "in": "changes", "path": "docs"}), &["docs/a.md"])
    .example("search", json!({"query": "one", "in": "files"}), &["docs/a.md"])
    .outside("blame", json!({"path": "docs/a.md"}), "src")
    .outside("show", json!({"rev": "HEAD", "path": "docs/a.md", "content": true}), "src")
    .outside("show", json!({"rev": "HEAD~1"}), "src")
    .outside("log", json!({"path": "docs/../src"}), "docs")
    .conform::<GitSource>();
}
