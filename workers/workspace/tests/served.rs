//! The workspace's worker behind the harness, from `Start` to `Stop`.

use std::{fs, path::Path};

use plexus_conformance::served::{Worker, output, refusal};
use plexus_ipc::message::{Content, Health, Role, Touched};
use plexus_protocol::{Digest, Verb};
use plexus_worker_workspace::{MANIFEST, WorkspaceSource};
use serde_json::json;

async fn start(root: &Path, role: Role) -> Worker {
    Worker::start::<WorkspaceSource>(MANIFEST, "path", root, role).await
}

#[tokio::test]
async fn planned_by_the_reader_committed_by_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), "one\n").unwrap();
    fs::write(folder.path().join(".plexus-1-2-3.tmp"), "left by a kill").unwrap();
    let mut reader = start(folder.path(), Role::Reader).await;
    let mut writer = start(folder.path(), Role::Writer).await;
    assert!(
        !folder.path().join(".plexus-1-2-3.tmp").exists(),
        "a writer that starts cleans up"
    );

    let one = Digest::of(b"one\n");
    let read = reader.read("read", json!({"path": "a.md"})).await;
    assert_eq!(output(&read)["content"], "one\n");
    assert_eq!(read.1, [Touched::read("file", "a.md", Some(one))]);

    let input = json!({"path": "a.md", "content": "two\n"});
    let plan = reader.plan("write", input.clone()).await.unwrap();
    assert_eq!(&*plan.summary, "replaced a.md, +1 −1");
    assert_eq!(
        (plan.rating, &*plan.touched),
        (
            Verb::Write,
            &[Touched::write("file", "a.md", Some(one))][..]
        )
    );
    assert!(plan.preview.diff.as_ref().unwrap().contains("-one\n+two\n"));
    assert_eq!(
        fs::read_to_string(folder.path().join("a.md")).unwrap(),
        "one\n"
    );

    let done = writer
        .commit(input.clone(), Some(plan.state_token), None, Verb::Write)
        .await;
    assert_eq!(output(&done)["bytes"], 4);
    assert_eq!(
        done.1,
        [Touched::write("file", "a.md", Some(Digest::of(b"two\n")))]
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("a.md")).unwrap(),
        "two\n"
    );

    let stale = writer
        .commit(input, Some(plan.state_token), None, Verb::Write)
        .await;
    assert_eq!(
        refusal(&stale.0)["precondition_changed"]["reason"],
        "plan_changed"
    );
    reader.stop().await;
    writer.stop().await;
}

#[tokio::test]
async fn a_standing_write_is_held_against_what_the_agent_knows() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), "secret\n").unwrap();
    let mut writer = start(folder.path(), Role::Writer).await;
    let content = json!({"path": "a.md", "content": "mine"});
    // An edit that guesses right and one that guesses wrong are told apart only by who has read the file.
    let right = json!({"path": "a.md", "edits": [{"find": "secret", "replace": "mine"}]});
    let wrong = json!({"path": "a.md", "edits": [{"find": "guess", "replace": "mine"}]});
    for input in [&content, &right, &wrong] {
        let unread = writer.commit(input.clone(), None, None, Verb::Write).await;
        assert_eq!(
            refusal(&unread.0)["precondition_changed"]["reason"],
            "unread",
            "{input}"
        );
    }
    let known = Some(Content::Is(Digest::of(b"secret\n")));
    let misfit = writer.commit(wrong, None, known, Verb::Write).await;
    assert_eq!(refusal(&misfit.0), "invalid_input");
    assert_eq!(
        fs::read_to_string(folder.path().join("a.md")).unwrap(),
        "secret\n"
    );
    let done = writer.commit(right, None, known, Verb::Write).await;
    assert_eq!(output(&done)["ok"], true);
    assert_eq!(
        fs::read_to_string(folder.path().join("a.md")).unwrap(),
        "mine\n"
    );
    let created = writer
        .commit(
            json!({"path": "new/b.md", "content": "x"}),
            None,
            None,
            Verb::Write,
        )
        .await;
    assert_eq!(output(&created)["ok"], true);
    writer.stop().await;
}

#[tokio::test]
async fn what_runs_unasked_needs_a_higher_permit() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = start(folder.path(), Role::Writer).await;
    let hook = json!({"path": ".git/hooks/pre-commit", "content": "#!/bin/sh\n"});
    let refused = writer.commit(hook.clone(), None, None, Verb::Write).await;
    assert_eq!(refusal(&refused.0)["rating_exceeded"]["rating"], "execute");
    assert!(!folder.path().join(".git").exists(), "nothing was done");
    let done = writer.commit(hook, None, None, Verb::Execute).await;
    assert_eq!(output(&done)["ok"], true);
    writer.stop().await;

    // Everything, where the root itself lies in such a folder: also what could not be planned.
    let mut writer = start(&folder.path().join(".git/hooks"), Role::Writer).await;
    for input in [
        json!({"path": "pre-push", "content": "#!/bin/sh\n"}),
        json!({"path": "pre-commit", "edits": [{"find": "guess", "replace": ""}]}),
    ] {
        let known = Some(Content::Is(Digest::of(b"#!/bin/sh\n")));
        let refused = writer.commit(input, None, known, Verb::Write).await;
        assert_eq!(refusal(&refused.0)["rating_exceeded"]["rating"], "execute");
    }
    writer.stop().await;
}

#[tokio::test]
async fn a_constraint_is_judged_on_what_was_resolved() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    fs::write(folder.path().join("docs/a.md"), "a").unwrap();
    fs::write(folder.path().join("b.md"), "b").unwrap();
    let constraint = json!({"pathPrefix": {"field": "path", "allow": ["docs"]}});
    let mut reader = start(folder.path(), Role::Reader)
        .await
        .constrained(constraint);
    for (capability, path) in [
        ("read", "b.md"),
        ("read", "missing"),
        ("list", ""),
        ("list", "docs2"),
    ] {
        let missed = reader.read(capability, json!({ "path": path })).await;
        assert_eq!(
            refusal(&missed.0)["constraint_miss"]["field"],
            "path",
            "{capability} {path}"
        );
    }
    let missed = reader
        .plan("write", json!({"path": "c.md", "content": "x"}))
        .await;
    assert_eq!(refusal(&missed)["constraint_miss"]["field"], "path");
    assert_eq!(
        output(&reader.read("read", json!({"path": "docs/a.md"})).await)["content"],
        "a"
    );
    assert_eq!(
        output(&reader.read("list", json!({"path": "docs"})).await)["entries"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    reader
        .plan("write", json!({"path": "docs/c.md", "content": "x"}))
        .await
        .unwrap();
    let escape = reader.read("read", json!({"path": "docs/../b.md"})).await;
    assert_eq!(
        refusal(&escape.0)["transport_error"]["reason"],
        "path_confinement"
    );
    reader.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_no_longer_there_is_not_served() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.md"), "a").unwrap();
    let mut worker = start(&root, Role::Reader).await;
    assert_eq!(worker.health().await, Health::Well);
    fs::rename(&root, outer.path().join("renamed")).unwrap();
    assert!(matches!(worker.health().await, Health::Unavailable(_)));
    fs::create_dir(&root).unwrap();
    assert!(matches!(worker.health().await, Health::Unavailable(_)));
    let read = worker.read("read", json!({"path": "a.md"})).await;
    assert_eq!(
        refusal(&read.0),
        "source_unavailable",
        "the handle is still good, and not used"
    );
    fs::remove_dir(&root).unwrap();
    fs::rename(outer.path().join("renamed"), &root).unwrap();
    assert_eq!(worker.health().await, Health::Well);
    let read = worker.read("read", json!({"path": "a.md"})).await;
    assert_eq!(output(&read)["content"], "a");
    worker.stop().await;
}

/// Control characters take six bytes each in JSON: the largest answer must still fit its frame.
#[tokio::test]
async fn the_largest_answer_fits_its_frame() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.md"), "\u{1}".repeat(2 << 20)).unwrap();
    let mut worker = start(folder.path(), Role::Reader).await;
    let answer = output(&worker.read("read", json!({"path": "a.md"})).await);
    assert_eq!(
        (answer["content"].as_str().unwrap().len(), &answer["next"]),
        (1 << 20, &json!({"offset": 1 << 20}))
    );
    worker.stop().await;
}
