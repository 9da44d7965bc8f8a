//! The things worker behind the harness, on its fake: what this connector promises beyond every connector.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::served::{Setting, Worker, code, intent, texts, transport};
use plexus_ipc::message::{Role, Verdict};
use plexus_worker_things::{MANIFEST, ThingsSource};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};
use tempfile::TempDir;

const SEEDS: &str = "TodoSeeds0000000000001";

/// A person's to-dos, and the worker's own folder.
struct Home(TempDir);

impl Home {
    /// Its first writer makes the database.
    async fn open() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        home.worker(Role::Writer).await.stop().await;
        home
    }
    fn setting(&self) -> Setting {
        Setting {
            config: json!({}),
            secrets: BTreeMap::from([("token".to_owned(), "fake-token-1".to_owned())]),
            scratch: Some(self.0.path().to_owned()),
            ..Setting::default()
        }
    }
    async fn worker(&self, role: Role) -> Worker {
        Worker::set_up::<ThingsSource>(MANIFEST, &self.setting(), role).await
    }
    async fn titles(&self) -> Vec<String> {
        let mut worker = self.worker(Role::Reader).await;
        let answer = worker.answer("todos.list", json!({})).await;
        worker.stop().await;
        texts(&answer["todos"], "title")
    }
    async fn change(&self, number: u32, capability: &str, input: Value) -> Result<Value, Value> {
        let (setting, asked) = (self.setting(), (capability, input));
        let done = setting.change::<ThingsSource>(MANIFEST, intent(number), asked, || {});
        done.await.map_err(|error| code(&error))
    }
    /// Takes back the change of an intent.
    async fn undo(&self, number: u32, of: u32) -> Result<Value, Value> {
        self.change(number, "undo", json!({"id": intent(of)})).await
    }
    async fn settled(&self, number: u32) -> Verdict {
        let mut writer = self.worker(Role::Writer).await;
        let verdict = writer.settle(intent(number)).await;
        writer.stop().await;
        verdict
    }
    /// Leaves of a change what a kill leaves before it is read back.
    fn begun(&self, number: u32) {
        let file = format!("changes/{}.json", intent(number).as_str());
        let path = self.0.path().join(file);
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record["version"] = Value::Null;
        if record["act"] == "add" {
            record["id"] = Value::Null;
        }
        fs::write(path, record.to_string()).unwrap();
    }
}

#[tokio::test]
async fn settled_change_is_taken_back() {
    let home = Home::open().await;
    assert_eq!(home.settled(1).await, Verdict::DidNot);
    let update = json!({"id": SEEDS, "title": "Buy bulbs"});
    let changes = [
        (1, "todos.update", update, "Buy bulbs"),
        (2, "todos.add", json!({"title": "Rake"}), "Rake"),
    ];
    for (number, capability, input, title) in changes {
        home.change(number, capability, input).await.unwrap();
        home.begun(number);
        let early = home.undo(10 + number, number).await;
        assert_eq!(early, Err(transport("not_undoable")), "{capability}");
        assert_eq!(home.settled(number).await, Verdict::Happened);
        // From then on it is a change like any.
        home.undo(20 + number, number).await.unwrap();
        assert!(!home.titles().await.iter().any(|one| one == title));
        assert_eq!(home.settled(number).await, Verdict::Happened);
    }
    // What is not there may come.
    home.begun(1);
    assert_eq!(home.settled(1).await, Verdict::CannotTell);
}
