//! The cc-master worker behind the harness, with a folder of its own: what it answers about boards, and what it refuses.

use plexus_conformance::served::{Outcome, Setting, Worker, intent, output, refusal, transport};
use plexus_ipc::message::{Role, Verdict};
use plexus_protocol::Verb;
use plexus_worker_cc_master::{CcMasterSource, MANIFEST};
use serde_json::{Value, json};
use std::path::Path;

async fn worker(scratch: &Path, role: Role) -> Worker {
    let setting = Setting {
        config: json!({}),
        scratch: Some(scratch.into()),
        ..Setting::default()
    };
    Worker::set_up::<CcMasterSource>(MANIFEST, &setting, role).await
}

async fn commit(worker: &mut Worker, capability: &str, input: &Value) -> Outcome {
    let permit = Verb::Execute;
    worker
        .commit_of(capability, input, None, None, permit)
        .await
}

fn tasks() -> Value {
    json!([
        {"id": "a", "title": "Do a", "prompt": "Please do a.", "agent": "codex.run"},
        {"id": "b", "title": "Do b", "prompt": "Please do b.", "agent": "codex.run", "needs": ["a"]},
    ])
}

#[tokio::test]
async fn board_is_made_shown_and_settled() {
    let scratch = tempfile::tempdir().unwrap();
    let writer = worker(scratch.path(), Role::Writer).await;
    let mut writer = writer.intending(intent(1));
    let input = json!({"goal": "All", "tasks": tasks()});
    let made = commit(&mut writer, "board.create", &input).await;
    let id = output(&made)["board"].clone();
    assert_eq!(writer.settle(intent(1)).await, Verdict::Happened);
    assert_eq!(writer.settle(intent(2)).await, Verdict::DidNot);

    let mut reader = worker(scratch.path(), Role::Reader).await;
    let listed = reader.read("board.status", json!({})).await;
    let counts = &output(&listed)["boards"][0]["counts"];
    assert_eq!(*counts, json!({"ready": 1, "waiting": 1}));
    assert_eq!(listed.1[0].id.as_str(), id.as_str().unwrap());
    let shown = reader.answer("board.status", json!({"board": id})).await;
    assert_eq!(shown["board"]["tasks"][1]["needs"], json!(["a"]));
    let task = json!({"board": id, "task": "b"});
    let task = reader.answer("board.status", task).await;
    assert_eq!(task["board"]["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(task["board"]["tasks"][0]["prompt"], "Please do b.");

    // Another board does not exist for who may read this one alone.
    let made = commit(&mut writer, "board.create", &input).await;
    let second = output(&made)["board"].clone();
    let narrow = json!({"allow": {"field": "board", "values": [id]}});
    let mut narrow = reader.constrained(narrow);
    let listed = narrow.answer("board.status", json!({})).await;
    assert_eq!(listed["boards"].as_array().unwrap().len(), 1);
    let refused = narrow.refused("board.status", json!({"board": second}));
    assert!(refused.await["constraint_miss"].is_object());
    narrow.stop().await;
    writer.stop().await;
}

#[tokio::test]
async fn what_cannot_be_carried_is_refused_in_words() {
    let scratch = tempfile::tempdir().unwrap();
    let mut writer = worker(scratch.path(), Role::Writer).await;
    let mut circle = tasks();
    circle[0]["needs"] = json!(["b"]);
    let circle = json!({"goal": "All", "tasks": circle});
    let refused = commit(&mut writer, "board.create", &circle).await;
    assert_eq!(refusal(&refused.0), "invalid_input");
    let sound = json!({"goal": "All", "tasks": tasks()});
    let made = commit(&mut writer, "board.create", &sound).await;
    let id = output(&made)["board"].clone();
    let none = "brd_00000000-0000-4000-8000-000000000000";
    let dispatch = |task| json!({"board": id, "task": task, "agents": ["codex.run"]});
    for (capability, input, reason) in [
        ("board.stop", json!({"board": id}), "not_under_way"),
        ("board.stop", json!({"board": none}), "not_found"),
        ("agent.dispatch", dispatch("b"), "task_state"),
        ("agent.dispatch", dispatch("x"), "not_found"),
    ] {
        let refused = commit(&mut writer, capability, &input).await;
        assert_eq!(refusal(&refused.0), transport(reason), "{input}");
    }
    // Without an approval that permits runs nothing begins.
    let run = json!({"board": id, "agents": ["codex.run"]});
    let refused = commit(&mut writer, "orchestration.run", &run).await;
    assert_eq!(refusal(&refused.0), "internal");
    let mut reader = worker(scratch.path(), Role::Reader).await;
    let shown = reader.plan("orchestration.run", run).await.unwrap();
    let outline = shown.preview.diff.unwrap();
    let task = "b (codex.run, after a):\n    Do b\n    Please do b.\n";
    assert!(outline.contains(task), "{outline}");
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    reader.stop().await;
    writer.stop().await;
}
