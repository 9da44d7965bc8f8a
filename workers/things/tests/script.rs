//! The script that asks Things, run by node with a double of the app: what is read, what fails, what no text can do.

use plexus_worker_things::{Failure, Program, Reads, Script, Status, View};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tempfile::TempDir;

/// Things with these members of its world beside the usual ones.
fn things(more: &Value) -> (TempDir, Reads) {
    let mut world = json!({
        "lists": [
            {"id": "TMInboxListSource", "name": "Eingang", "members": ["Idea"]},
            {"id": "TMTodayListSource", "name": "Heute", "members": ["Seeds", "Garden", "Done"]},
            {"id": "TMNextListSource", "name": "Jederzeit", "members": ["Seeds"]},
            {"id": "TMCalendarListSource", "name": "Geplant", "members": ["Roof"]},
            {"id": "TMSomedayListSource", "name": "Irgendwann", "members": []},
        ],
        "toDos": [
            {"id": "Seeds", "name": "Buy \"seeds\"", "notes": "a\nb \u{1f331}", "status": "open", "tagNames": "Shop, Errand", "project": "Garden",
             "activationDate": "2026-11-22T00:00:00", "dueDate": "2026-12-01T00:00:00", "creationDate": "2026-11-01T10:00:00.700Z"},
            {"id": "Garden", "name": "Garden", "status": "open", "tagNames": "", "area": "Home", "creationDate": "2026-11-01T10:00:00Z"},
            {"id": "Done", "name": "Done", "status": "completed", "tagNames": "", "area": "Home", "creationDate": "2026-11-01T10:00:00Z", "completionDate": "2026-11-02T10:00:00.9Z"},
            {"id": "Idea", "name": "Idea", "status": "open", "tagNames": "", "creationDate": "2026-11-01T10:00:00Z"},
            {"id": "Roof", "name": "Roof", "status": "open", "tagNames": "", "area": "Home", "activationDate": "2026-11-30T00:00:00", "creationDate": "2026-11-01T10:00:00Z"},
        ],
        "projects": [
            {"id": "Garden", "name": "Garden", "status": "open", "area": "Home", "dueDate": "2027-01-31T00:00:00"},
            {"id": "Old", "name": "Old", "status": "completed"},
        ],
        "areas": [{"id": "Home", "name": "Home"}],
        "tags": [{"name": "Errand"}, {"name": "Shop", "parentTag": "Errand"}],
    });
    for (name, value) in more.as_object().expect("members") {
        world[name] = value.clone();
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("world.json");
    std::fs::write(&file, world.to_string()).expect("a world");
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/things3.js");
    let program = Program {
        path: node(),
        arguments: vec![double.display().to_string(), file.display().to_string()],
    };
    let within = Duration::from_secs(if more["hang"] == true { 1 } else { 20 });
    (folder, Reads::Script(Script::by(program, within)))
}

fn node() -> std::path::PathBuf {
    let path = std::env::var_os("PATH").expect("a PATH");
    let mut folders = std::env::split_paths(&path);
    let found = folders.find_map(|folder| Some(folder.join("node")).filter(|path| path.is_file()));
    found.expect("these tests need node")
}

fn listed(reads: &Reads, view: Option<View>) -> Result<Vec<String>, Failure> {
    let today = "2026-11-22".parse().expect("a day");
    let todos = reads.todos(view, today, &|| false)?;
    Ok(todos.into_iter().map(|todo| todo.id).collect())
}

#[test]
fn list_is_read_by_its_id_with_every_property() {
    let (_folder, reads) = things(&json!({}));
    let today = "2026-11-22".parse().expect("a day");
    let todos = reads
        .todos(Some(View::Today), today, &|| false)
        .expect("an answer");
    // A project among them is none.
    let [seeds, done] = &todos[..] else {
        panic!("{todos:?}")
    };
    assert_eq!(
        (&*seeds.title, &*seeds.notes),
        ("Buy \"seeds\"", "a\nb \u{1f331}")
    );
    assert_eq!(seeds.tags, ["Errand", "Shop"]);
    assert_eq!(
        (seeds.day, seeds.deadline),
        (Some(today), "2026-12-01".parse().ok())
    );
    assert_eq!((seeds.created, seeds.stopped), (1_793_527_200, None));
    let places = (seeds.project.as_ref(), seeds.area.as_ref());
    assert!(
        matches!(places, (Some(project), Some(area)) if project.id == "Garden" && area.id == "Home")
    );
    assert_eq!(
        (done.status, done.stopped),
        (Status::Completed, Some(1_793_613_600))
    );
    assert_eq!(
        listed(&reads, None).expect("all"),
        ["Idea", "Seeds", "Roof"]
    );
    assert_eq!(
        listed(&reads, Some(View::Upcoming)).expect("a list"),
        ["Roof"]
    );
    assert!(matches!(
        listed(&reads, Some(View::Logbook)),
        Err(Failure::TooMuch(_))
    ));
    let projects = reads.projects().expect("projects");
    assert_eq!(
        (projects.len(), &*projects[0].id, projects[0].deadline),
        (1, "Garden", "2027-01-31".parse().ok())
    );
    assert_eq!(reads.areas().expect("areas")[0].title, "Home");
    let tags = reads.tags().expect("tags");
    assert_eq!(
        (tags[0].parent.as_deref(), tags[1].parent.as_deref()),
        (None, Some("Errand"))
    );
}

#[test]
fn todo_is_found_by_id_and_by_its_mark() {
    let (_folder, reads) = things(&json!({}));
    assert_eq!(
        reads
            .todo("Seeds")
            .expect("an answer")
            .expect("a to-do")
            .title,
        "Buy \"seeds\""
    );
    assert_eq!(reads.todo("Nobody"), Ok(None));
    assert_eq!(reads.todo("Garden"), Ok(None), "a project");
    assert_eq!(
        reads
            .made("Buy \"seeds\"", 1_793_527_200)
            .expect("an answer")
            .len(),
        1
    );
    assert_eq!(reads.made("Buy \"seeds\"", 1_793_527_201), Ok(Vec::new()));
}

#[test]
fn no_text_becomes_a_part_of_the_script() {
    let (_folder, reads) = things(&json!({}));
    for text in [
        "\"});Application(\"Finder\").quit();({\"a\":\"",
        "'); Application('Finder'); ('",
        "`${Application('Finder')}`",
        "\\\"});Application(\"Finder\")//",
        "\u{2028}Application(\"Finder\")\n",
        "__proto__",
        "constructor",
        "-e",
        "\u{0}",
        "Seeds\" or true",
    ] {
        // A nul cannot be an argument of a program; JSON writes it in letters.
        assert_eq!(reads.todo(text), Ok(None), "{text:?}");
        assert_eq!(reads.made(text, 0), Ok(Vec::new()), "{text:?}");
    }
    // The control: the double ends with 3 when another app is asked.
    let (_folder, reads) = things(
        &json!({"toDos": [{"id": "x", "name": "\"});Application(\"Finder\")//", "status": "open", "creationDate": "1970-01-01T00:00:00Z"}]}),
    );
    assert_eq!(
        reads
            .made("\"});Application(\"Finder\")//", 0)
            .expect("an answer")
            .len(),
        1
    );
}

#[test]
fn failure_is_known_by_its_number() {
    for (number, failure) in [
        (-1743, Failure::Refused(-1743)),
        (-1744, Failure::Refused(-1744)),
        (-10_004, Failure::Refused(-10_004)),
        (-600, Failure::NotRunning(-600)),
        (-609, Failure::NotRunning(-609)),
        (-1712, Failure::Timeout),
        (-10_814, Failure::Missing(-10_814)),
        (-1708, Failure::Answer("error -1708".into())),
    ] {
        for way in ["fail", "crash"] {
            let (_folder, reads) = things(&json!({way: number}));
            assert_eq!(reads.areas(), Err(failure.clone()), "{way} {number}");
        }
    }
    // A to-do that is gone is none; one that goes between two events is an error, and no row of another.
    let (_folder, reads) = things(&json!({"shrinkAfter": 3}));
    assert_eq!(
        listed(&reads, Some(View::Today)),
        Err(Failure::Answer("error -1719".into()))
    );
    let (_folder, reads) = things(&json!({"hang": true}));
    assert_eq!(reads.areas(), Err(Failure::Timeout));
}

#[test]
fn list_of_more_than_2000_is_refused() {
    let listed = |count: usize| {
        let ids: Vec<_> = (0..count).map(|at| format!("Todo{at}")).collect();
        let todos = ids.iter().map(|id| {
            json!({"id": id, "name": id, "status": "open", "tagNames": "", "creationDate": "2026-11-01T10:00:00Z"})
        });
        let todos: Vec<_> = todos.collect();
        let lists = json!([{"id": "TMTodayListSource", "name": "Heute", "members": ids}]);
        let (_folder, reads) = things(&json!({"lists": lists, "toDos": todos}));
        listed(&reads, Some(View::Today))
    };
    assert_eq!(listed(2_000).expect("as many as allowed").len(), 2_000);
    let refused = listed(2_001).expect_err("one too many");
    assert!(
        matches!(refused, Failure::TooMuch(why) if why.contains("2,000")),
        "{refused:?}"
    );
}
