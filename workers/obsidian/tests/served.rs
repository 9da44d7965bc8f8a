//! The vault's worker behind the harness, from `Start` to `Stop`.

use std::fs;

use plexus_conformance::served::{
    Worker, fits_its_largest_answer, missed, output, refusal, serves_its_own_folder, transport,
};
use plexus_ipc::message::{Role, Touched};
use plexus_protocol::Digest;
use plexus_worker_obsidian::{MANIFEST, ObsidianSource};
use serde_json::json;

async fn start(vault: &std::path::Path) -> Worker {
    Worker::start::<ObsidianSource>(MANIFEST, "vaultPath", vault, Role::Reader).await
}

#[tokio::test]
async fn reads_searches_and_says_what_it_touched() {
    let vault = tempfile::tempdir().unwrap();
    let note = vault.path().join("Projects/Plexus.md");
    fs::create_dir(note.parent().unwrap()).unwrap();
    fs::write(note, "# Plexus\n#gateway").unwrap();
    let digest = Some(Digest::of(b"# Plexus\n#gateway"));
    let mut worker = start(vault.path()).await;
    let read = worker.read("vault.read", json!({"path": "plexus"})).await;
    assert_eq!(output(&read)["relativePath"], "Projects/Plexus.md");
    let touched = [Touched::read("note", "Projects/Plexus.md", digest)];
    assert_eq!(read.1, touched);
    assert_eq!(&*read.0.unwrap().summary, "read Projects/Plexus.md");
    let found = worker.read("vault.search", json!({"tag": "gateway"})).await;
    assert_eq!(output(&found)["hits"][0]["line"], 2);
    assert_eq!(found.1, touched);
    let root = worker.read("vault.read", json!({})).await;
    assert_eq!(root.1, [Touched::read("note", ".", None)]);
    for (input, reason) in [
        (json!({"path": "missing"}), "not_found"),
        (json!({"path": "../x"}), "path_confinement"),
        (json!({"path": ".obsidian/app.json"}), "not_found"),
    ] {
        let refused = worker.read("vault.read", input).await;
        assert_eq!(refusal(&refused.0), transport(reason));
        assert_eq!(refused.1, []);
    }
    let nothing = worker.refused("vault.search", json!({})).await;
    assert_eq!(nothing, "invalid_input");
    worker.stop().await;
}

#[tokio::test]
async fn a_constraint_is_judged_on_what_a_name_resolved_to() {
    let vault = tempfile::tempdir().unwrap();
    for folder in ["Projects", "Private"] {
        fs::create_dir(vault.path().join(folder)).unwrap();
    }
    fs::write(vault.path().join("Projects/a.md"), "zebra [[b]]").unwrap();
    fs::write(vault.path().join("Private/b.md"), "zebra").unwrap();
    let constraint = json!({"pathPrefix": {"field": "path", "allow": ["Projects"]}});
    let mut worker = start(vault.path()).await.constrained(constraint);
    for path in ["b", "[[b]]", "Private/b.md", "missing", ""] {
        let refused = worker.refused("vault.read", json!({ "path": path })).await;
        assert_eq!(refused, missed("path"), "{path}");
    }
    let a = worker.answer("vault.read", json!({"path": "a"})).await;
    let links = a["links"].as_array().unwrap();
    assert_eq!((links.len(), &links[0]["target"]), (1, &json!(null)));
    // Narrowed, not refused.
    let found = worker
        .answer("vault.search", json!({"query": "zebra"}))
        .await;
    assert_eq!(found["hits"].as_array().unwrap().len(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_no_longer_there_is_not_served() {
    serves_its_own_folder::<ObsidianSource>(MANIFEST, "vaultPath", "vault.read").await;
}

#[tokio::test]
async fn the_largest_answer_fits_its_frame() {
    fits_its_largest_answer::<ObsidianSource>(MANIFEST, "vaultPath", "vault.read").await;
}
