//! The apple-reminders connector against what every connector must hold, on its fake.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::Subject;
use plexus_worker_apple_reminders::{AppleRemindersSource, MANIFEST};
use serde_json::json;
use std::fs;

#[test]
fn conforms() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lists");
    let (first, moved) = (file.clone(), file.clone());
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/apple-reminders.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-apple-reminders"),
    )
    .config("fixture", json!(file))
    .world(move |_| {
        let _ = fs::remove_file(&first);
    })
    .moves(move |_| {
        // Another name of the list, and the same reminder at a later time.
        let world = json!({
            "lists": [{"id": "groceries", "name": "Shopping", "default": true, "writable": true}],
            "reminders": [{"id": "milk", "list": "groceries", "title": "Buy milk", "modified": "2026-06-02T08:00:00Z"}],
            "made": 0
        });
        fs::write(&moved, world.to_string()).expect("a file");
    })
    .example("lists.list", json!({}), &["reminders", "groceries", "groceries-2"])
    .example("reminders.list", json!({}), &["reminders", "groceries", "groceries-2", "milk", "dentist", "plants", "eggs"])
    .example("reminders.list", json!({"list": "reminders", "completed": true}), &["reminders", "taxes"])
    .example("reminders.list", json!({"dueAfter": "2026-06-25", "dueBefore": "2026-06-27", "limit": 1}), &["dentist"])
    .example("reminders.create", json!({"list": "groceries", "title": "Bread", "due": "2026-06-26", "notes": "rye", "priority": 5}), &["groceries"])
    .example("reminders.complete", json!({"id": "milk"}), &["groceries", "milk"])
    .example("reminders.update", json!({"id": "milk", "due": "2026-06-28T09:00", "clear": ["notes"]}), &["groceries", "milk"])
    .elsewhere("undo", "tests/served.rs and the stories take changes back")
    .outside("reminders.list", json!({"list": "groceries"}), "reminders")
    .outside("reminders.list", json!({"list": "Reminders"}), "groceries")
    .outside("reminders.create", json!({"title": "into the default list"}), "groceries")
    .outside("reminders.complete", json!({"id": "milk"}), "reminders")
    .outside("reminders.update", json!({"id": "milk", "title": "x"}), "reminders")
    .conform::<AppleRemindersSource>();
}
