//! The vault's worker behind the harness, from `Start` to `Stop`.

use std::fs;

use plexus_conformance::served::{Worker, output, refusal};
use plexus_ipc::message::{Health, Role, Touched};
use plexus_protocol::Digest;
use plexus_worker_obsidian::{MANIFEST, ObsidianSource};
use serde_json::json;

async fn start(vault: &std::path::Path) -> Worker {
    Worker::start::<ObsidianSource>(MANIFEST, "vaultPath", vault, Role::Reader).await
}

#[tokio::test]
async fn reads_searches_and_says_what_it_touched() {
    let vault = tempfile::tempdir().unwrap();
    fs::create_dir(vault.path().join("Projects")).unwrap();
    fs::write(
        vault.path().join("Projects/Plexus.md"),
        "# Plexus\n#gateway",
    )
    .unwrap();
    let digest = Some(Digest::of(b"# Plexus\n#gateway"));
    let mut worker = start(vault.path()).await;
    let read = worker.read("vault.read", json!({"path": "plexus"})).await;
    assert_eq!(output(&read)["relativePath"], "Projects/Plexus.md");
    assert_eq!(
        read.1,
        [Touched::read("note", "Projects/Plexus.md", digest)]
    );
    assert_eq!(&*read.0.unwrap().summary, "read Projects/Plexus.md");
    let found = worker.read("vault.search", json!({"tag": "gateway"})).await;
    assert_eq!(output(&found)["hits"][0]["line"], 2);
    assert_eq!(
        found.1,
        [Touched::read("note", "Projects/Plexus.md", digest)]
    );
    let root = worker.read("vault.read", json!({})).await;
    assert_eq!(root.1, [Touched::read("note", ".", None)]);
    for (input, reason) in [
        (json!({"path": "missing"}), "not_found"),
        (json!({"path": "../x"}), "path_confinement"),
        (json!({"path": ".obsidian/app.json"}), "not_found"),
    ] {
        let refused = worker.read("vault.read", input).await;
        assert_eq!(refusal(&refused.0)["transport_error"]["reason"], reason);
        assert_eq!(refused.1, []);
    }
    let nothing = worker.read("vault.search", json!({})).await;
    assert_eq!(refusal(&nothing.0), "invalid_input");
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
        let missed = worker.read("vault.read", json!({ "path": path })).await;
        assert_eq!(
            refusal(&missed.0)["constraint_miss"]["field"],
            "path",
            "{path}"
        );
    }
    let a = worker.read("vault.read", json!({"path": "a"})).await;
    assert_eq!(output(&a)["links"][0]["target"], json!(null));
    let found = worker.read("vault.search", json!({"query": "zebra"})).await;
    assert_eq!(
        output(&found)["hits"].as_array().unwrap().len(),
        1,
        "narrowed, not refused"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_no_longer_there_is_not_served() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.md"), "a").unwrap();
    let mut worker = start(&root).await;
    assert_eq!(worker.health().await, Health::Well);
    fs::rename(&root, outer.path().join("renamed")).unwrap();
    assert!(matches!(worker.health().await, Health::Unavailable(_)));
    fs::create_dir(&root).unwrap();
    assert!(matches!(worker.health().await, Health::Unavailable(_)));
    let read = worker.read("vault.read", json!({"path": "a.md"})).await;
    assert_eq!(
        refusal(&read.0),
        "source_unavailable",
        "the handle is still good, and not used"
    );
    fs::remove_dir(&root).unwrap();
    fs::rename(outer.path().join("renamed"), &root).unwrap();
    assert_eq!(worker.health().await, Health::Well);
    let read = worker.read("vault.read", json!({"path": "a.md"})).await;
    assert_eq!(output(&read)["content"], "a");
    worker.stop().await;
}

/// Control characters take six bytes each in JSON: the largest answer must still fit its frame.
#[tokio::test]
async fn the_largest_answer_fits_its_frame() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), "\u{1}".repeat(2 << 20)).unwrap();
    let mut worker = start(folder.path()).await;
    let answer = output(&worker.read("vault.read", json!({"path": "a.md"})).await);
    assert_eq!(
        (answer["content"].as_str().unwrap().len(), &answer["next"]),
        (1 << 20, &json!({"offset": 1 << 20}))
    );
    worker.stop().await;
}
