//! The workspace's worker behind the harness, from `Start` to `Stop`.

use std::{fs, path::Path};

use plexus_conformance::served::{
    Worker, changed, fits_its_largest_answer, missed, output, refusal, serves_its_own_folder,
    transport,
};
use plexus_ipc::message::{Content, Role, Touched};
use plexus_protocol::{Digest, Verb};
use plexus_worker_workspace::{MANIFEST, WorkspaceSource};
use serde_json::json;

async fn start(root: &Path, role: Role) -> Worker {
    Worker::start::<WorkspaceSource>(MANIFEST, "path", root, role).await
}

#[tokio::test]
async fn planned_by_the_reader_committed_by_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let [file, left] = ["a.md", ".plexus-1-2-3.tmp"].map(|name| folder.path().join(name));
    fs::write(&file, "one\n").unwrap();
    fs::write(&left, "left by a kill").unwrap();
    let text = || fs::read_to_string(&file).unwrap();
    let mut reader = start(folder.path(), Role::Reader).await;
    let mut writer = start(folder.path(), Role::Writer).await;
    assert!(!left.exists(), "a writer that starts cleans up");

    let one = Digest::of(b"one\n");
    let read = reader.read("read", json!({"path": "a.md"})).await;
    assert_eq!(output(&read)["content"], "one\n");
    assert_eq!(read.1, [Touched::read("file", "a.md", Some(one))]);

    let input = json!({"path": "a.md", "content": "two\n"});
    let plan = reader.plan("write", input.clone()).await.unwrap();
    assert_eq!(&*plan.summary, "replaced a.md, +1 −1");
    assert_eq!(plan.rating, Verb::Write);
    assert_eq!(*plan.touched, [Touched::write("file", "a.md", Some(one))]);
    assert!(plan.preview.diff.as_ref().unwrap().contains("-one\n+two\n"));
    assert_eq!(text(), "one\n");

    let token = Some(plan.state_token);
    let done = writer.commit(input.clone(), token, None, Verb::Write).await;
    assert_eq!(output(&done)["bytes"], 4);
    let two = Digest::of(b"two\n");
    assert_eq!(done.1, [Touched::write("file", "a.md", Some(two))]);
    assert_eq!(text(), "two\n");

    let stale = writer.commit(input, token, None, Verb::Write).await;
    assert_eq!(refusal(&stale.0), changed("plan_changed"));
    reader.stop().await;
    writer.stop().await;
}

#[tokio::test]
async fn a_standing_write_is_held_against_what_the_agent_knows() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.md");
    fs::write(&file, "secret\n").unwrap();
    let mut writer = start(folder.path(), Role::Writer).await;
    let content = json!({"path": "a.md", "content": "mine"});
    // An edit that guesses right and one that guesses wrong are told apart only by who has read the file.
    let edit = |find| json!({"path": "a.md", "edits": [{"find": find, "replace": "mine"}]});
    let (right, wrong) = (edit("secret"), edit("guess"));
    for input in [&content, &right, &wrong] {
        let unread = writer.commit(input.clone(), None, None, Verb::Write).await;
        assert_eq!(refusal(&unread.0), changed("unread"), "{input}");
    }
    let known = Some(Content::Is(Digest::of(b"secret\n")));
    let misfit = writer.commit(wrong, None, known, Verb::Write).await;
    assert_eq!(refusal(&misfit.0), "invalid_input");
    assert_eq!(fs::read_to_string(&file).unwrap(), "secret\n");
    let done = writer.commit(right, None, known, Verb::Write).await;
    assert_eq!(output(&done)["ok"], true);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine\n");
    let new = json!({"path": "new/b.md", "content": "x"});
    let created = writer.commit(new, None, None, Verb::Write).await;
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
    let reader = start(folder.path(), Role::Reader).await;
    let mut reader = reader.constrained(constraint);
    let at = |path: &str| json!({ "path": path });
    for (capability, path) in [
        ("read", "b.md"),
        ("read", "missing"),
        ("list", ""),
        ("list", "docs2"),
    ] {
        let refused = reader.refused(capability, at(path)).await;
        assert_eq!(refused, missed("path"), "{capability} {path}");
    }
    let write = |path: &str| json!({"path": path, "content": "x"});
    let unplanned = reader.unplanned("write", write("c.md")).await;
    assert_eq!(unplanned, missed("path"));
    let read = reader.answer("read", at("docs/a.md")).await;
    assert_eq!(read["content"], "a");
    let listed = reader.answer("list", at("docs")).await;
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1);
    reader.plan("write", write("docs/c.md")).await.unwrap();
    let escape = reader.refused("read", at("docs/../b.md")).await;
    assert_eq!(escape, transport("path_confinement"));
    reader.stop().await;
}

#[tokio::test]
async fn a_folder_that_is_no_longer_there_is_not_served() {
    serves_its_own_folder::<WorkspaceSource>(MANIFEST, "path", "read").await;
}

#[tokio::test]
async fn the_largest_answer_fits_its_frame() {
    fits_its_largest_answer::<WorkspaceSource>(MANIFEST, "path", "read").await;
}
