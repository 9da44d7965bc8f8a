//! Held to the rules of every connector: once on the fake's own to-dos, with effects, and once on a database that is named.

use plexus_conformance::Subject;
#[cfg(not(target_os = "macos"))]
use plexus_worker_things::rename;
use plexus_worker_things::{MANIFEST, ThingsSource};
use serde_json::json;

const TABLES: &str = include_str!("../src/tables.sql");
const PROFILE: &str = include_str!("../../../sandbox-profiles/things.sb");
const WORKER: &str = env!("CARGO_BIN_EXE_plexus-worker-things");
const SEEDS: &str = "TodoSeeds0000000000001";
const GARDEN: &str = "ProjectGarden000000001";
const HOME: &str = "AreaHome00000000000001";

#[test]
#[cfg(not(target_os = "macos"))]
fn fake_follows_every_rule() {
    Subject::new(MANIFEST, PROFILE, WORKER)
        .without("database")
        .secret("token", "fake-token-1")
        .world(|_| rename(None))
        .moves(|_| {
            rename(Some((SEEDS, "Buy other seeds")));
            rename(Some((GARDEN, "Another garden")));
        })
        .example("todos.list", json!({}), &[SEEDS, GARDEN, HOME])
        .example("todos.list", json!({"list": "today"}), &[SEEDS, "TodoBins00000000000001"])
        .example("todos.list", json!({"list": "today", "project": GARDEN, "area": HOME, "tag": "Shop", "text": "PEAS", "limit": 1}), &[SEEDS])
        .example("projects.list", json!({}), &[GARDEN, HOME])
        .example("projects.list", json!({"area": HOME}), &[GARDEN])
        .example("areas.list", json!({}), &[HOME])
        .example("tags.list", json!({}), &[])
        .example("todos.add", json!({"title": "Water \u{1f331}", "notes": "50% & more\nor #less?", "when": "evening", "deadline": "2030-01-31", "tags": ["Errand", "Shop"], "checklist": ["a", "b/c"], "project": GARDEN, "heading": "Spring"}), &[GARDEN, HOME])
        .example("todos.complete", json!({"id": SEEDS}), &[SEEDS, GARDEN])
        .example("todos.update", json!({"id": SEEDS, "title": "Buy more seeds", "notes": "", "when": "someday", "deadline": "2030-02-01", "tags": [], "area": HOME}), &[SEEDS, GARDEN, HOME])
        .elsewhere("undo", "tests/stories/things.rs takes changes back")
        .outside("todos.complete", json!({"id": SEEDS}), "elsewhere")
        .conform::<ThingsSource>();
}

#[test]
fn named_database_follows_every_rule() {
    Subject::new(MANIFEST, PROFILE, WORKER)
        .folder("database", |folder| {
            let base = rusqlite::Connection::open(folder.join("main.sqlite")).expect("a database");
            base.pragma_update(None, "journal_mode", "WAL").expect("a log");
            base.execute_batch(&format!(
                "{TABLES}
                INSERT INTO TMArea VALUES ('{HOME}', 'Home', 1);
                INSERT INTO TMTask (uuid, type, title, start, area) VALUES ('{GARDEN}', 1, 'Garden', 1, '{HOME}');
                INSERT INTO TMTask (uuid, type, title, start, project) VALUES ('{SEEDS}', 0, 'Buy seeds', 1, '{GARDEN}');"
            ))
            .expect("tables");
        })
        .example("todos.list", json!({}), &[SEEDS, GARDEN, HOME])
        .example("projects.list", json!({}), &[GARDEN, HOME])
        .example("areas.list", json!({}), &[HOME])
        .example("tags.list", json!({}), &[])
        .elsewhere("todos.add", "nobody carries URLs out on this database; see the other subject")
        .elsewhere("todos.update", "the same")
        .elsewhere("todos.complete", "the same")
        .elsewhere("undo", "the same")
        .conform::<ThingsSource>();
}
