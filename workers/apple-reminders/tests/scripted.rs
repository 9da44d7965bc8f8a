//! The script for Reminders, run by node with a double of the app: what it answers and changes, and how it fails.

use plexus_apple::{Failure, script::Osascript};
use plexus_worker_apple_reminders::{
    scripted::ScriptedReminders,
    store::{Content, Due, Reminder, ReminderStore as _},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// A Mac's Reminders.
struct Mac {
    folder: TempDir,
    store: ScriptedReminders<Osascript>,
}

impl Mac {
    fn with(world: &Value) -> Self {
        Self::patient(world, Duration::from_secs(15))
    }
    fn patient(world: &Value, patience: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("world.json");
        fs::write(&file, world.to_string()).unwrap();
        let double = concat!(env!("CARGO_MANIFEST_DIR"), "/../apple/tests/double.js");
        let arguments = ["TZ=Europe/Berlin", "node", double, file.to_str().unwrap()];
        let runner = Osascript::with("/usr/bin/env", &arguments, patience).unwrap();
        Self {
            folder,
            store: ScriptedReminders(runner),
        }
    }
    fn file(&self) -> PathBuf {
        self.folder.path().join("world.json")
    }
    fn world(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
    fn all(&self, list: &str, done: bool) -> Result<Vec<Reminder>, Failure> {
        let mut found = Vec::new();
        self.store.reminders(&[list.to_owned()], done, &mut |one| {
            found.push(one);
            true
        })?;
        Ok(found)
    }
}

fn world() -> Value {
    let reminder = |id: &str, completed: bool| {
        json!({"id": id, "name": id, "completed": completed, "priority": 0,
            "creationDate": "2026-06-01T08:00:00.000Z", "modificationDate": "2026-06-01T08:00:00.000Z"})
    };
    let mut milk = reminder("milk", false);
    milk["body"] = json!("two");
    // Midnight in Berlin.
    milk["dueDate"] = json!("2026-06-25T22:00:00.000Z");
    let mut dentist = reminder("dentist", false);
    dentist["dueDate"] = json!("2026-06-25T12:00:00.000Z");
    json!({"lists": [
        {"id": "a", "name": "Home", "reminders": [milk, dentist, reminder("old", true)]},
        {"id": "b", "name": "Home", "reminders": []},
    ]})
}

fn content(title: &str) -> Content {
    Content {
        title: title.into(),
        notes: None,
        due: None,
        priority: 0,
        done: false,
    }
}

#[test]
fn lists_and_reminders_are_read() {
    let mac = Mac::with(&world());
    let lists = mac.store.lists().unwrap();
    let told: Vec<_> = lists
        .iter()
        .map(|one| (one.id.as_str(), one.name.as_str(), one.default))
        .collect();
    assert_eq!(told, [("a", "Home", true), ("b", "Home", false)]);
    let open = mac.all("a", false).unwrap();
    assert_eq!(open.len(), 2);
    // A day is one where the person is.
    assert_eq!(
        open[0].content.due,
        Some(Due::Day("2026-06-26".parse().unwrap()))
    );
    assert_eq!(
        open[1].content.due,
        Some(Due::At("2026-06-25T12:00:00Z".parse().unwrap()))
    );
    assert_eq!(mac.all("a", true).unwrap()[0].id, "old");
    assert_eq!(mac.store.reminder("milk").unwrap().as_ref(), Some(&open[0]));
    assert_eq!(mac.store.reminder("nowhere").unwrap(), None);
}

#[test]
fn every_field_survives_texts_that_look_like_code() {
    let mac = Mac::with(&world());
    for odd in [
        "\"); pwned(); (\"",
        "'+pwned()+'",
        "${pwned()}",
        "a\\\"b\n\u{2028}pwned()//",
        "`pwned()`",
        "-e",
        "\u{202e}x",
    ] {
        let wanted = Content {
            notes: Some(odd.into()),
            due: Some(Due::Day("2026-10-25".parse().unwrap())),
            priority: 5,
            ..content(odd)
        };
        let made = mac.store.add("b", &wanted).unwrap();
        assert_eq!(made.content, wanted);
        let changed = Content {
            title: format!("{odd}{odd}"),
            notes: Some(format!("{odd}\n{odd}")),
            due: Some(Due::At("2026-10-25T00:30:00Z".parse().unwrap())),
            ..wanted
        };
        let set = mac.store.set(&made, &changed).unwrap();
        assert_eq!((&set.content, &set.id), (&changed, &made.id));
        assert_eq!(mac.all("b", false).unwrap().last(), Some(&set));
        assert_eq!(mac.all(odd, false), Err(Failure::Gone));
        assert_eq!(mac.store.reminder(odd).unwrap(), None);
        assert_eq!(mac.store.add(odd, &changed), Err(Failure::Gone));
    }
    assert_eq!(mac.world()["pwned"], Value::Null);
}

#[test]
fn reminder_is_completed_opened_again_and_removed() {
    let mac = Mac::with(&world());
    let milk = mac.store.reminder("milk").unwrap().unwrap();
    let done = Content {
        done: true,
        ..milk.content.clone()
    };
    let completed = mac.store.set(&milk, &done).unwrap();
    assert!(completed.content.done && completed.completed.is_some());
    // Only what differs was set.
    assert_eq!(completed.content.due, milk.content.due);
    assert_eq!(mac.store.set(&milk, &done), Err(Failure::Changed));
    let open = mac.store.set(&completed, &milk.content).unwrap();
    let empty = Content {
        notes: None,
        due: None,
        ..milk.content
    };
    let open = mac.store.set(&open, &empty).unwrap();
    assert_eq!(open.content, empty);
    assert_eq!(
        mac.store.remove(&milk_of(&open, "another title")),
        Err(Failure::Changed)
    );
    mac.store.remove(&open).unwrap();
    assert_eq!(mac.store.remove(&open), Err(Failure::Changed));
    assert_eq!(mac.all("a", false).unwrap().len(), 1);
}

fn milk_of(one: &Reminder, title: &str) -> Reminder {
    let mut one = one.clone();
    title.clone_into(&mut one.content.title);
    one
}

#[test]
fn each_failure_of_the_app_is_its_own() {
    for (error, expected) in [
        (json!(-1743), Failure::AutomationDenied),
        (json!(-1728), Failure::Gone),
        (json!(-600), Failure::AppQuit),
        (json!(-1712), Failure::Hanging),
        (json!("uncaught"), Failure::AutomationDenied),
        (json!("garbage"), Failure::BadAnswer),
    ] {
        let mut world = world();
        world["error"] = error.clone();
        let mac = Mac::with(&world);
        assert_eq!(mac.all("a", false), Err(expected.clone()), "{error}");
        assert_eq!(mac.store.add("a", &content("x")), Err(expected), "{error}");
        assert_eq!(mac.world()["lists"], world["lists"]);
    }
    let mut world = world();
    world["error"] = json!("hang");
    let mac = Mac::patient(&world, Duration::from_millis(500));
    assert_eq!(mac.store.lists(), Err(Failure::Hanging));
}
