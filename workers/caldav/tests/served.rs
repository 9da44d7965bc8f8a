//! The caldav worker behind the harness, on a real server: what this connector promises beyond every connector.

use crate::radicale::{PASSWORD, Radicale, USER};
use plexus_conformance::served::{
    Setting, Worker, assert_like, changed, code, intent, texts, transport,
};
use plexus_ipc::message::{Health, Role, Verdict};
use plexus_worker_caldav::{CaldavSource, MANIFEST};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

fn setting(server: &Radicale, scratch: Option<&Path>) -> Setting {
    Setting {
        config: json!({"url": server.url(), "user": USER}),
        scratch: scratch.map(Path::to_owned),
        egress: Some((server.port, PASSWORD.to_owned())),
        ..Setting::default()
    }
}

async fn reader(server: &Radicale) -> Worker {
    Worker::set_up::<CaldavSource>(MANIFEST, &setting(server, None), Role::Reader).await
}

/// A server, and the worker's own folder.
struct Desk {
    server: Radicale,
    scratch: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self {
            server: Radicale::start(),
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    fn setting(&self) -> Setting {
        setting(&self.server, Some(self.scratch.path()))
    }

    /// Plans a change, and commits what was planned under the intent of that number; of a failure its code.
    async fn change(&self, number: u32, capability: &str, input: Value) -> Result<Value, Value> {
        let setting = self.setting();
        let asked = (capability, input);
        let done = setting.change::<CaldavSource>(MANIFEST, intent(number), asked, || {});
        done.await.map_err(|error| code(&error))
    }

    async fn done(&self, number: u32, capability: &str, input: Value) -> Value {
        let done = self.change(number, capability, input).await;
        done.unwrap_or_else(|code| panic!("{capability}: {code}"))
    }

    /// Takes back the change of an intent.
    async fn undo(&self, number: u32, of: u32) -> Result<Value, Value> {
        let input = json!({"id": intent(of).as_str()});
        self.change(number, "undo", input).await
    }
}

#[tokio::test]
async fn calendars_of_one_name_are_told_apart_by_id() {
    let server = Radicale::start();
    let odd = "a/b & c+d % # ? \u{1f4c5} \u{202e}x";
    server.calendar("work", odd, &["VEVENT"]);
    server.calendar("home", odd, &["VTODO"]);
    server.calendar("a%20%26%20b%25", "Encoded", &["VEVENT", "VTODO"]);
    server.put("a%20%26%20b%25/x%23y.ics", "VTODO", "UID:x\nSUMMARY:here");
    let mut worker = reader(&server).await;
    let mut listed = worker.answer("calendars.list", json!({})).await;
    let listed = listed["calendars"].as_array_mut().unwrap();
    listed.sort_by_key(|c| c["id"].to_string());
    let expected = json!([
        {"id": "a%20%26%20b%25", "name": "Encoded", "events": true, "todos": true},
        {"id": "home", "name": odd, "events": false, "todos": true},
        {"id": "work", "name": odd, "events": true, "todos": false},
    ]);
    assert_like(&json!(listed), &expected);
    let todos = json!({"list": "a%20%26%20b%25"});
    let todos = worker.answer("todos.list", todos).await;
    assert_eq!(todos["todos"][0]["id"], "a%20%26%20b%25/x%23y.ics");
    // A calendar of events is as none.
    for list in ["nowhere", "work"] {
        let none = worker.refused("todos.list", json!({"list": list})).await;
        assert_eq!(none, transport("not_found"), "{list}");
    }
    worker.stop().await;
    // The owner's own list of calendars, by id or by name.
    for (only, ids) in [
        ("home", vec!["home"]),
        ("Encoded , work", vec!["a%20%26%20b%25", "work"]),
        ("nothing", vec![]),
    ] {
        let mut setting = setting(&server, None);
        setting.config["calendars"] = json!(only);
        let mut worker = Worker::set_up::<CaldavSource>(MANIFEST, &setting, Role::Reader).await;
        let listed = worker.answer("calendars.list", json!({})).await;
        let mut found = texts(&listed["calendars"], "id");
        found.sort_unstable();
        assert_eq!(found, ids, "{only}");
        // What the owner named and nobody finds is named.
        let warnings = listed["warnings"].to_string();
        let is_named = warnings.contains("nothing: nothing of it is listed");
        assert_eq!(is_named, only == "nothing", "{listed}");
        worker.stop().await;
    }
}

#[tokio::test]
async fn events_come_in_order_page_by_page() {
    let server = Radicale::start();
    server.calendar("work", "Work", &["VEVENT"]);
    for (id, lines) in [
        (
            "a",
            "DTSTART;TZID=Europe/Berlin:20261020T090000\nDURATION:PT30M\nSUMMARY:Daily\nRRULE:FREQ=DAILY;COUNT=10\nEXDATE;TZID=Europe/Berlin:20261024T090000",
        ),
        (
            "b",
            "DTSTART;VALUE=DATE:20261025\nDTEND;VALUE=DATE:20261027\nSUMMARY:Two days",
        ),
        (
            "c",
            "DTSTART;TZID=America/New_York:20261023T180000\nDTEND;TZID=Europe/Berlin:20261025T080000\nSUMMARY:Flight",
        ),
        ("late", "DTSTART:20270101T000000Z\nSUMMARY:Next year"),
    ] {
        server.put(
            &format!("work/{id}.ics"),
            "VEVENT",
            &format!("UID:{id}\n{lines}"),
        );
    }
    let mut worker = reader(&server).await;
    let mut asked = json!({"start": "2026-10-23", "end": "2026-10-27"});
    let whole = worker.answer("events.list", asked.clone()).await;
    let told = |event: &Value| {
        let text = |name: &str| event[name].as_str().unwrap_or("-");
        ["title", "start", "end", "timeZone"].map(text).join(" ")
    };
    let told: Vec<_> = whole["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(told)
        .collect();
    assert_eq!(
        told,
        [
            "Daily 2026-10-23T09:00:00+02:00 2026-10-23T09:30:00+02:00 Europe/Berlin",
            "Flight 2026-10-23T18:00:00-04:00 2026-10-25T08:00:00+01:00 America/New_York",
            "Two days 2026-10-25 2026-10-27 -",
            "Daily 2026-10-25T09:00:00+01:00 2026-10-25T09:30:00+01:00 Europe/Berlin",
            "Daily 2026-10-26T09:00:00+01:00 2026-10-26T09:30:00+01:00 Europe/Berlin",
        ]
    );
    asked["limit"] = json!(2);
    let pages = worker.pages("events.list", asked).await;
    let events: Vec<_> = pages
        .iter()
        .flat_map(|page| page["events"].as_array().unwrap())
        .collect();
    assert_eq!((pages.len(), json!(events)), (3, whole["events"].clone()));
    for wrong in [
        json!({"start": "2026-10-27", "end": "2026-10-23"}),
        json!({"start": "2026-01-01", "end": "2027-06-01"}),
        json!({"start": "tomorrow"}),
        json!({"start": "2026-10-23T09:00"}),
    ] {
        assert_eq!(worker.refused("events.list", wrong).await, "invalid_input");
    }
    worker.stop().await;
}

/// The answer to a list, and the calendars whose objects the server was asked for.
async fn listed(
    server: &Radicale,
    worker: &mut Worker,
    capability: &str,
    input: &Value,
) -> (Value, Vec<String>) {
    server.requests();
    let answer = worker.answer(capability, input.clone()).await;
    let asked = server.requests().into_iter();
    let asked = asked.filter_map(|line| Some(line.strip_prefix("REPORT ")?.to_owned()));
    (answer, asked.collect())
}

#[tokio::test]
async fn calendar_without_a_change_is_not_asked_again() {
    let server = Radicale::start();
    server.calendar("work", "Work", &["VEVENT"]);
    server.calendar("home", "Home", &["VTODO"]);
    let at = |day: u32| format!("UID:{day}\nDTSTART:202611{day}T090000Z\nSUMMARY:Day {day}");
    server.put("work/a.ics", "VEVENT", &at(23));
    server.put("home/t.ics", "VTODO", "UID:t\nSUMMARY:Bread");
    let mut worker = reader(&server).await;
    let week = json!({"start": "2026-11-22", "end": "2026-11-29"});
    let (first, asked) = listed(&server, &mut worker, "events.list", &week).await;
    assert_eq!(first["events"][0]["title"], "Day 23");
    assert_eq!(asked, ["/me/work/"]);
    let (again, asked) = listed(&server, &mut worker, "events.list", &week).await;
    assert_eq!((again, asked.len()), (first, 0));
    // Another range is another question; a change by another client is seen in both.
    let day = json!({"start": "2026-11-24", "end": "2026-11-25"});
    let (none, asked) = listed(&server, &mut worker, "events.list", &day).await;
    assert_eq!((&none["events"], asked.len()), (&json!([]), 1));
    server.put("work/b.ics", "VEVENT", &at(24));
    for (input, count) in [(&week, 2), (&day, 1)] {
        let (answer, asked) = listed(&server, &mut worker, "events.list", input).await;
        let events = answer["events"].as_array().unwrap();
        assert_eq!((events.len(), asked.len()), (count, 1), "{answer}");
    }
    server.delete("work/a.ics");
    let (answer, asked) = listed(&server, &mut worker, "events.list", &week).await;
    assert_eq!(answer["events"][0]["title"], "Day 24");
    assert_eq!(asked, ["/me/work/"]);
    // The lists are of their own.
    for (title, times) in [("Bread", [1, 0]), ("Milk", [1, 0])] {
        server.put("home/t.ics", "VTODO", &format!("UID:t\nSUMMARY:{title}"));
        for asks in times {
            let (answer, asked) = listed(&server, &mut worker, "todos.list", &json!({})).await;
            assert_eq!(answer["todos"][0]["title"], title);
            assert_eq!(asked.len(), asks, "{title}");
        }
    }
    worker.stop().await;
}

#[tokio::test]
async fn change_is_made_seen_settled_and_taken_back() {
    let desk = Desk::new();
    let server = &desk.server;
    server.calendar("home", "Home", &["VTODO"]);
    let before = server.everything();
    let input =
        json!({"list": "home", "title": "Bread", "due": "2026-11-23", "notes": "rye\nor oats"});
    let made = desk.done(1, "todos.create", input).await;
    assert_eq!(made["due"], "2026-11-23");
    let id = made["id"].as_str().unwrap();
    assert_eq!(id, format!("home/plexus-{}.ics", intent(1).as_str()));
    let there = server.get(id).body;
    for line in ["SUMMARY:Bread", "DUE;VALUE=DATE:20261123"] {
        assert!(there.contains(line), "{there}");
    }
    let complete = json!({ "id": id });
    let completed = desk.done(2, "todos.complete", complete.clone()).await;
    assert!(server.get(id).body.contains("STATUS:COMPLETED"));
    assert!(completed["completed"].is_string());
    let again = desk.change(3, "todos.complete", complete).await;
    assert_eq!(again, Err(transport("already_done")));
    let mut worker = Worker::set_up::<CaldavSource>(MANIFEST, &desk.setting(), Role::Writer).await;
    assert_eq!(worker.settle(intent(1)).await, Verdict::Happened);
    assert_eq!(worker.settle(intent(2)).await, Verdict::Happened);
    assert_eq!(worker.settle(intent(9)).await, Verdict::DidNot);
    worker.stop().await;
    // The newest first: what was added is not as it was added while it is completed.
    assert_eq!(desk.undo(4, 1).await, Err(changed("changed_since")));
    let undone = desk.undo(5, 2).await.unwrap();
    assert_like(&undone, &json!({"removed": false, "list": "home"}));
    assert!(!server.get(id).body.contains("COMPLETED"));
    assert_eq!(desk.undo(6, 2).await, Err(changed("already_undone")));
    // The undo of the undo.
    desk.undo(10, 5).await.unwrap();
    assert!(server.get(id).body.contains("STATUS:COMPLETED"));
    server.delete(id);
    // What is in its way now is no undo: that one was taken back.
    assert_eq!(desk.undo(13, 2).await, Err(changed("changed_since")));
    assert_eq!(server.everything(), before);
    let milk = json!({"list": "home", "title": "Milk"});
    let made = desk.done(7, "todos.create", milk).await;
    let undone = desk.undo(8, 7).await.unwrap();
    assert_like(&undone, &json!({"removed": true, "id": made["id"]}));
    assert_eq!(server.everything(), before);
    desk.undo(11, 8).await.unwrap();
    let back = server.get(made["id"].as_str().unwrap()).body;
    assert!(back.contains("SUMMARY:Milk"), "{back}");
    assert_eq!(desk.undo(12, 8).await, Err(changed("already_undone")));
}

#[tokio::test]
async fn reads_and_plans_change_nothing_and_a_rewrite_keeps_unknown_lines() {
    let desk = Desk::new();
    let server = &desk.server;
    server.calendar("home", "Home", &["VTODO", "VEVENT"]);
    server.put("home/odd.ics", "VTODO", "UID:odd\nSUMMARY:Odd\nX-APPLE-SORT-ORDER:7\nX-OTHER;X-P=1:kept\nBEGIN:VALARM\nUID:alarm\nTRIGGER:-PT5M\nACTION:DISPLAY\nDESCRIPTION:ring\nEND:VALARM");
    server.put("home/series.ics", "VTODO", "UID:series\nSUMMARY:Weekly\nDTSTART:20261101T090000Z\nDUE:20261101T100000Z\nRRULE:FREQ=WEEKLY");
    let before = server.everything();
    let mut worker = reader(server).await;
    worker.answer("calendars.list", json!({})).await;
    worker.answer("events.list", json!({})).await;
    let todos = worker.answer("todos.list", json!({})).await;
    assert_eq!(todos["todos"].as_array().map(Vec::len), Some(2));
    let odd = json!({"id": "home/odd.ics"});
    for (capability, input) in [
        ("todos.complete", odd.clone()),
        ("todos.create", json!({"list": "home", "title": "x"})),
        (
            "events.create",
            json!({"calendar": "home", "title": "x", "start": "2026-11-23", "end": "2026-11-24"}),
        ),
    ] {
        worker.plan(capability, input).await.unwrap();
    }
    let series = json!({"id": "home/series.ics"});
    let series = worker.unplanned("todos.complete", series).await;
    assert_eq!(series, transport("repeats"));
    worker.stop().await;
    assert_eq!(server.everything(), before);
    desk.done(1, "todos.complete", odd).await;
    let after = server.get("home/odd.ics").body;
    for kept in [
        "X-APPLE-SORT-ORDER:7",
        "X-OTHER;X-P=1:kept",
        "TRIGGER:-PT5M",
        "DESCRIPTION:ring",
        "STATUS:COMPLETED",
    ] {
        assert!(after.contains(kept), "{kept} in {after}");
    }
}

#[tokio::test]
async fn wrong_input_of_a_change_is_refused_in_words() {
    let server = Radicale::start();
    server.calendar("home", "Home", &["VTODO"]);
    server.calendar("work", "Work", &["VEVENT"]);
    let mut worker = reader(&server).await;
    let event = |start: &str, end: &str, zone: Option<&str>| json!({"calendar": "work", "title": "x", "start": start, "end": end, "timeZone": zone});
    let (day, next, ten) = ("2026-11-23", "2026-11-24", "2026-11-23T10:00:00");
    let mut elsewhere = event(day, next, None);
    elsewhere["calendar"] = json!("home");
    let mut nowhere = elsewhere.clone();
    nowhere["calendar"] = json!("nowhere");
    // One of the other kind is refused in the words for none.
    let no_list = "there is no list of to-dos with this id; calendars.list has them";
    let no_calendar = "there is no calendar of events with this id; calendars.list has them";
    #[rustfmt::skip]
    let rows = [
        ("start is no date (2026-11-22) and no time (2026-11-22T09:00, or with its offset", event("tomorrow", next, None)),
        ("end is no date (2026-11-22) and no time (2026-11-22T09:00, or with its offset", event(day, "2026-11-24 10:00", None)),
        ("the day after the last", event(day, day, None)),
        ("start does not exist", event("2027-03-28T02:30", "2027-03-28T03:00", Some("Europe/Berlin"))),
        ("end does not exist", event("2027-03-28T01:30", "2027-03-28T02:00", Some("Europe/Berlin"))),
        ("different kinds", event(day, "2026-11-24T10:00:00", None)),
        ("different kinds", event(ten, "2026-11-24T10:00:00Z", None)),
        ("no name of a time zone", event(ten, "2026-11-23T11:00:00", Some("Berlin"))),
        ("offset", json!({"list": "home", "title": "x", "due": ten})),
        ("title is empty", json!({"list": "home", "title": " \n"})),
        (no_list, json!({"list": "work", "title": "x"})),
        (no_list, json!({"list": "nowhere", "title": "x"})),
        (no_calendar, elsewhere),
        (no_calendar, nowhere),
    ];
    for (why, input) in rows {
        let is_event = input["start"].is_string();
        let capability = if is_event {
            "events.create"
        } else {
            "todos.create"
        };
        let error = worker.plan(capability, input).await.unwrap_err();
        assert!(error.message.contains(why), "{why}: {error:?}");
    }
    for id in ["work/x.ics", "nowhere/x.ics"] {
        let refused = worker.unplanned("todos.complete", json!({"id": id})).await;
        assert_eq!(refused, transport("not_found"), "{id}");
    }
    worker.stop().await;
}

/// The facts on the card of a change, as one text each, and its text.
async fn card(
    worker: &mut Worker,
    capability: &str,
    input: Value,
) -> (Vec<String>, Option<String>) {
    let preview = worker.plan(capability, input).await.unwrap().preview;
    let facts = preview.facts.iter();
    let facts = facts.map(|fact| format!("{}: {}", fact.name, fact.value));
    (facts.collect(), preview.diff.map(|text| text.to_string()))
}

#[tokio::test]
async fn card_names_whole_days_and_floating_times() {
    let server = Radicale::start();
    server.calendar("work", "Work", &["VEVENT"]);
    let mut worker = reader(&server).await;
    for (start, end, zone, expected) in [
        (
            "2026-12-24",
            "2026-12-25",
            None,
            vec!["day: 2026-12-24 (all day)"],
        ),
        (
            "2026-12-24",
            "2026-12-27",
            None,
            vec!["days: 2026-12-24 to 2026-12-26 (all day)"],
        ),
        (
            "2026-12-01T15:00",
            "2026-12-01T16:00",
            None,
            vec![
                "start: 2026-12-01T15:00:00 (in no time zone)",
                "end: 2026-12-01T16:00:00 (in no time zone)",
            ],
        ),
        (
            "2026-12-01T15:00",
            "2026-12-01T16:00",
            Some("Europe/Berlin"),
            vec![
                "start: 2026-12-01T15:00:00+01:00",
                "end: 2026-12-01T16:00:00+01:00",
                "time_zone: Europe/Berlin",
            ],
        ),
    ] {
        let input =
            json!({"calendar": "work", "title": "x", "start": start, "end": end, "timeZone": zone});
        let (facts, _) = card(&mut worker, "events.create", input).await;
        assert_eq!(facts[2..], expected);
    }
    worker.stop().await;
}

#[tokio::test]
async fn card_of_an_undo_shows_its_object() {
    let desk = Desk::new();
    let server = &desk.server;
    server.calendar("home", "Home", &["VTODO", "VEVENT"]);
    server.put(
        "home/bread.ics",
        "VTODO",
        "UID:bread\nSUMMARY:Bread\nDUE;VALUE=DATE:20261123\nDESCRIPTION:rye\\nor oats",
    );
    desk.done(1, "todos.complete", json!({"id": "home/bread.ics"}))
        .await;
    let holiday =
        json!({"calendar": "home", "title": "Off", "start": "2026-12-24", "end": "2026-12-25"});
    let made = desk.done(2, "events.create", holiday).await;
    assert_like(&made, &json!({"start": "2026-12-24", "end": "2026-12-25"}));
    let mut worker = Worker::set_up::<CaldavSource>(MANIFEST, &desk.setting(), Role::Reader).await;
    let undo = |of: u32| json!({"id": intent(of).as_str()});
    let (removed, _) = card(&mut worker, "undo", undo(2)).await;
    assert_eq!(removed[1..], ["title: Off", "day: 2026-12-24 (all day)"]);
    desk.undo(3, 2).await.unwrap();
    let (facts, notes) = card(&mut worker, "undo", undo(1)).await;
    assert_eq!(
        facts[1..],
        ["title: Bread", "due: 2026-11-23", "state: open"]
    );
    assert_eq!(notes.as_deref(), Some("rye\nor oats"));
    let (facts, notes) = card(&mut worker, "undo", undo(3)).await;
    assert_eq!(facts[1..], ["title: Off", "day: 2026-12-24 (all day)"]);
    assert_eq!(notes, None);
    worker.stop().await;
}

#[tokio::test]
async fn check_of_the_owner_asks_the_server() {
    let server = Radicale::start();
    let mut worker = reader(&server).await;
    let Health::Degraded(why) = worker.check().await else {
        panic!("an account without a calendar")
    };
    assert!(why.contains("no calendar and no list"), "{why}");
    server.calendar("home", "Home", &["VTODO"]);
    assert_eq!(worker.check().await, Health::Well);
    server.set_password("another");
    assert_eq!(worker.health().await, Health::Well, "no call has failed");
    for asked in ["check", "probe"] {
        let health = match asked {
            "check" => worker.check().await,
            _ => worker.health().await,
        };
        assert!(
            matches!(&health, Health::Unavailable(why) if why.contains("401")),
            "{asked}: {health:?}"
        );
    }
    server.set_password(PASSWORD);
    assert_eq!(worker.check().await, Health::Well);
    assert_eq!(worker.health().await, Health::Well);
    worker.stop().await;
}

#[tokio::test]
async fn name_of_no_calendar_is_shown_to_the_owner() {
    let server = Radicale::start();
    server.calendar("work", "Work", &["VEVENT"]);
    let mut setting = setting(&server, None);
    setting.config["calendars"] = json!("Wrok, Work,nope");
    let mut worker = Worker::set_up::<CaldavSource>(MANIFEST, &setting, Role::Reader).await;
    for health in [worker.health().await, worker.check().await] {
        let Health::Degraded(why) = health else {
            panic!("{health:?}")
        };
        assert!(why.contains("no calendar Wrok, nope; it has work"), "{why}");
    }
    for (id, name) in [("wrok", "Wrok"), ("nope", "Nope")] {
        server.calendar(id, name, &["VEVENT"]);
    }
    worker.answer("calendars.list", json!({})).await;
    assert_eq!(worker.health().await, Health::Well);
    worker.stop().await;
}

#[tokio::test]
async fn password_that_stops_working_is_health_with_a_remedy() {
    let server = Radicale::start();
    server.calendar("home", "Home", &["VTODO"]);
    let mut worker = reader(&server).await;
    assert_eq!(worker.health().await, Health::Well);
    server.set_password("another");
    let refused = worker.refused("calendars.list", json!({})).await;
    assert_eq!(refused, "source_unavailable");
    let Health::Unavailable(why) = worker.health().await else {
        panic!("it is well")
    };
    assert!(
        why.contains("401") && why.contains("sources secret"),
        "{why}"
    );
    server.set_password(PASSWORD);
    worker.answer("calendars.list", json!({})).await;
    assert_eq!(worker.health().await, Health::Well);
    worker.stop().await;
    server.set_password("another");
    let setting = setting(&server, None);
    let opened = Worker::try_set_up::<CaldavSource>(MANIFEST, &setting, Role::Reader).await;
    let error = opened.unwrap_err();
    assert!(error.message.contains("401"), "{error}");
}
