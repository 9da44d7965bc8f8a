//! The script for Calendar, run by node with a double of the app: what it answers, and how it fails.

use plexus_apple::{Failure, script::Osascript};
use plexus_worker_apple_calendar::{
    scripted::ScriptedEvents,
    store::{Event, EventStore as _, Wanted},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// A Mac's Calendar.
struct Mac {
    folder: TempDir,
    store: ScriptedEvents<Osascript>,
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
            store: ScriptedEvents(runner),
        }
    }
    fn world(&self) -> Value {
        let file: PathBuf = self.folder.path().join("world.json");
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }
    fn events(&self, calendars: &[&str]) -> Result<(Vec<Event>, Vec<String>), Failure> {
        let wanted = Wanted {
            from: "2026-06-24T22:00:00Z".parse().unwrap(),
            to: "2026-06-25T22:00:00Z".parse().unwrap(),
            calendars: calendars.iter().map(|&id| id.to_owned()).collect(),
        };
        let mut found = Vec::new();
        let warnings = self.store.events(&wanted, &mut |_, _, make| {
            found.push(make());
            true
        })?;
        Ok((found, warnings))
    }
}

fn event(uid: &str, start: &str, end: &str) -> Value {
    json!({"uid": uid, "summary": uid, "startDate": start, "endDate": end, "alldayEvent": false, "status": "none"})
}

fn world() -> Value {
    let mut day = event(
        "day",
        "2026-06-24T22:00:00.000Z",
        "2026-06-25T22:00:00.000Z",
    );
    day["alldayEvent"] = json!(true);
    let mut sync = event(
        "sync",
        "2026-06-25T08:00:00.000Z",
        "2026-06-25T08:30:00.000Z",
    );
    sync["location"] = json!("Room 2");
    sync["description"] = json!("notes");
    sync["status"] = json!("confirmed");
    sync["recurrence"] = json!("FREQ=DAILY");
    let later = event(
        "later",
        "2026-06-26T08:00:00.000Z",
        "2026-06-26T09:00:00.000Z",
    );
    json!({"calendars": [
        {"calendarIdentifier": "w", "name": "Home", "events": [sync, later]},
        {"calendarIdentifier": "h", "name": "Home", "events": [day]},
        {"name": "Old", "events": []},
    ]})
}

#[test]
fn calendars_of_one_name_have_ids() {
    let mac = Mac::with(&world());
    let all = mac.store.calendars().unwrap();
    let pairs: Vec<_> = all
        .iter()
        .map(|one| (one.id.as_str(), one.name.as_str()))
        .collect();
    assert_eq!(pairs, [("w", "Home"), ("h", "Home"), ("at-2", "Old")]);
    assert_eq!(mac.store.zone().unwrap(), "Europe/Berlin");
}

#[test]
fn events_of_the_range_are_read_and_recurrences_warned_about() {
    let mac = Mac::with(&world());
    let (found, warnings) = mac.events(&["w", "h"]).unwrap();
    assert_eq!(found.len(), 2);
    let sync = &found[0];
    assert_eq!((sync.id.as_str(), sync.calendar.as_str()), ("sync", "w"));
    assert_eq!(sync.start, "2026-06-25T08:00:00Z".parse().unwrap());
    assert_eq!(sync.zone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(sync.place.as_deref(), Some("Room 2"));
    assert_eq!(sync.status.as_deref(), Some("confirmed"));
    assert!(sync.repeats && !sync.all_day);
    let day = &found[1];
    assert!(day.all_day && day.zone.is_none() && day.status.is_none());
    assert_eq!(warnings.len(), 1);
    assert_eq!(mac.events(&["h"]).unwrap().0.len(), 1);
    assert_eq!(mac.events(&[]).unwrap().0.len(), 0);
}

#[test]
fn text_in_an_id_is_never_run() {
    let mac = Mac::with(&world());
    for odd in [
        "\"); pwned(); (\"",
        "'+pwned()+'",
        "${pwned()}",
        "\\\"\n\u{2028}pwned()//",
        "`pwned()`",
        "-e",
    ] {
        assert_eq!(mac.events(&[odd]).unwrap().0, [], "{odd:?}");
        let mut world = world();
        world["calendars"][0]["events"][0]["summary"] = json!(odd);
        let told = Mac::with(&world).events(&["w"]).unwrap().0;
        assert_eq!(told[0].title, odd);
    }
    assert_eq!(mac.world()["pwned"], Value::Null);
}

#[test]
fn each_failure_of_the_app_is_its_own() {
    for (error, expected) in [
        (json!(-1743), Failure::AutomationDenied),
        (json!(-1728), Failure::Gone),
        (json!(-600), Failure::AppQuit),
        (json!(-1712), Failure::Hanging),
        (json!(-10814), Failure::AppMissing),
        (json!(-10004), Failure::Sandboxed),
        (json!(-42), Failure::Failed(-42)),
        (json!("uncaught"), Failure::AutomationDenied),
        (json!("garbage"), Failure::BadAnswer),
    ] {
        let mut world = world();
        world["error"] = error.clone();
        assert_eq!(
            Mac::with(&world).events(&["w"]).err(),
            Some(expected),
            "{error}"
        );
    }
    let mut world = world();
    world["error"] = json!("hang");
    let mac = Mac::patient(&world, Duration::from_millis(500));
    assert_eq!(mac.events(&["w"]).err(), Some(Failure::Hanging));
}
