//! The git worker behind the harness, from `Start` to `Stop`: what this connector promises beyond every connector.

use plexus_conformance::served::{Worker, output, refusal};
use plexus_ipc::message::Role;
use plexus_worker_git::{GitSource, MANIFEST};
use serde_json::json;
use std::fs;

#[tokio::test]
async fn a_file_is_read_and_what_is_missing_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), "a\n").unwrap();
    let mut worker =
        Worker::start::<GitSource>(MANIFEST, "path", folder.path(), Role::Reader).await;
    let read = worker.read("read", json!({"path": "a.md"})).await;
    assert_eq!(output(&read)["content"], "a\n");
    let missing = worker.read("read", json!({"path": "b.md"})).await;
    assert_eq!(
        refusal(&missing.0)["transport_error"]["reason"],
        "not_found"
    );
    worker.stop().await;
}
