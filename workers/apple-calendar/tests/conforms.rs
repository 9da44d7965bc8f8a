//! The apple-calendar connector against what every connector must hold, on its fake.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::Subject;
use plexus_worker_apple_calendar::{AppleCalendarSource, MANIFEST};
use serde_json::json;

#[test]
fn conforms() {
    Subject::new(
        MANIFEST,
        include_str!("../../../sandbox-profiles/apple-calendar.sb"),
        env!("CARGO_BIN_EXE_plexus-worker-apple-calendar"),
    )
    .example("calendars.list", json!({}), &["work", "home", "home-2"])
    .example(
        "events.list",
        json!({"start": "2026-06-25", "end": "2026-06-30"}),
        &["work", "home", "home-2", "team-sync", "festival", "medicine", "new-york", "invitation"],
    )
    .example(
        "events.list",
        json!({"start": "2026-06-26T00:00:00+02:00", "calendars": ["work"], "text": "new york", "limit": 1}),
        &["work", "new-york"],
    )
    .example("events.list", json!({"start": "2026-06-25", "end": "2026-06-29", "limit": 2}), &["team-sync"])
    .outside("events.list", json!({"calendars": ["home"]}), "work")
    .outside("events.list", json!({"calendars": ["Work"]}), "home")
    .conform::<AppleCalendarSource>();
}
