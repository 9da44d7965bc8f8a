//! The caldav worker behind the harness, on a real server: what this connector promises beyond every connector.

use crate::radicale::{PASSWORD, Radicale, USER};
use plexus_conformance::served::{Setting, Worker, output, refusal};
use plexus_ipc::message::{Health, Role, Verdict};
use plexus_protocol::{AuditId, Verb};
use plexus_worker_caldav::{CaldavSource, MANIFEST};
use serde_json::{Value, json};
use std::path::Path;

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

async fn writer(server: &Radicale, scratch: &Path) -> Worker {
    Worker::set_up::<CaldavSource>(MANIFEST, &setting(server, Some(scratch)), Role::Writer).await
}

fn intent(number: u32) -> AuditId {
    format!("evt_00000000-00{number:02}-8000-8000-00000000000a")
        .parse()
        .unwrap()
}

/// Plans `capability`, and commits what was planned under `intent`.
async fn done(
    server: &Radicale,
    scratch: &Path,
    intent: AuditId,
    capability: &str,
    input: Value,
) -> Result<Value, Value> {
    let mut reader =
        Worker::set_up::<CaldavSource>(MANIFEST, &setting(server, Some(scratch)), Role::Reader)
            .await;
    let plan = reader.plan(capability, input.clone()).await;
    reader.stop().await;
    let plan = plan.map_err(|error| serde_json::to_value(error.code).unwrap())?;
    let mut writer = writer(server, scratch).await.intending(intent);
    let outcome = writer
        .commit_of(
            capability,
            &input,
            Some(plan.state_token),
            None,
            Verb::Write,
        )
        .await;
    writer.stop().await;
    match &outcome.0 {
        Ok(_) => Ok(output(&outcome)),
        Err(_) => Err(refusal(&outcome.0)),
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
    let listed = output(&worker.read("calendars.list", json!({})).await);
    let mut listed = listed["calendars"].as_array().unwrap().clone();
    listed.sort_by_key(|c| c["id"].to_string());
    let of = |at: usize| {
        (
            &listed[at]["id"],
            &listed[at]["name"],
            &listed[at]["events"],
            &listed[at]["todos"],
        )
    };
    assert_eq!(
        of(0),
        (
            &json!("a%20%26%20b%25"),
            &json!("Encoded"),
            &json!(true),
            &json!(true)
        )
    );
    assert_eq!(
        of(1),
        (&json!("home"), &json!(odd), &json!(false), &json!(true))
    );
    assert_eq!(
        of(2),
        (&json!("work"), &json!(odd), &json!(true), &json!(false))
    );
    let todos = output(
        &worker
            .read("todos.list", json!({"list": "a%20%26%20b%25"}))
            .await,
    );
    assert_eq!(todos["todos"][0]["id"], "a%20%26%20b%25/x%23y.ics");
    let none = worker.read("todos.list", json!({"list": "nowhere"})).await;
    assert_eq!(refusal(&none.0)["transport_error"]["reason"], "not_found");
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
        let listed = output(&worker.read("calendars.list", json!({})).await);
        let mut found: Vec<_> = listed["calendars"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["id"].as_str().unwrap())
            .collect();
        found.sort_unstable();
        assert_eq!(found, ids, "{only}");
        // What the owner named and nobody finds is named.
        let is_named = listed["warnings"]
            .to_string()
            .contains("nothing: nothing of it is listed");
        assert_eq!(is_named, only == "nothing", "{listed}");
        worker.stop().await;
    }
}

#[tokio::test]
async fn events_come_in_order_page_by_page() {
    let server = Radicale::start();
    server.calendar("work", "Work", &["VEVENT"]);
    server.put("work/a.ics", "VEVENT", "UID:a\nDTSTART;TZID=Europe/Berlin:20261020T090000\nDURATION:PT30M\nSUMMARY:Daily\nRRULE:FREQ=DAILY;COUNT=10\nEXDATE;TZID=Europe/Berlin:20261024T090000");
    server.put(
        "work/b.ics",
        "VEVENT",
        "UID:b\nDTSTART;VALUE=DATE:20261025\nDTEND;VALUE=DATE:20261027\nSUMMARY:Two days",
    );
    server.put("work/c.ics", "VEVENT", "UID:c\nDTSTART;TZID=America/New_York:20261024T180000\nDTEND;TZID=Europe/Berlin:20261025T080000\nSUMMARY:Flight");
    server.put(
        "work/late.ics",
        "VEVENT",
        "UID:late\nDTSTART:20270101T000000Z\nSUMMARY:Next year",
    );
    let mut worker = reader(&server).await;
    let asked = json!({"start": "2026-10-23", "end": "2026-10-27"});
    let whole = output(&worker.read("events.list", asked.clone()).await);
    let told: Vec<_> = whole["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let text = |name: &str| e[name].as_str().unwrap_or("-").to_owned();
            [text("title"), text("start"), text("end"), text("timeZone")].join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "Daily 2026-10-23T09:00:00+02:00 2026-10-23T09:30:00+02:00 Europe/Berlin",
            "Flight 2026-10-24T18:00:00-04:00 2026-10-25T08:00:00+01:00 America/New_York",
            "Two days 2026-10-25 2026-10-27 -",
            "Daily 2026-10-25T09:00:00+01:00 2026-10-25T09:30:00+01:00 Europe/Berlin",
            "Daily 2026-10-26T09:00:00+01:00 2026-10-26T09:30:00+01:00 Europe/Berlin",
        ]
    );
    let mut pages = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut input = asked.clone();
        input["limit"] = json!(2);
        if !next.is_null() {
            input["next"] = next;
        }
        let page = output(&worker.read("events.list", input).await);
        pages.extend(page["events"].as_array().unwrap().clone());
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(json!(pages), whole["events"]);
    for (wrong, input) in [
        (
            "backwards",
            json!({"start": "2026-10-27", "end": "2026-10-23"}),
        ),
        (
            "too long",
            json!({"start": "2026-01-01", "end": "2027-06-01"}),
        ),
        ("no date", json!({"start": "tomorrow"})),
    ] {
        assert_eq!(
            refusal(&worker.read("events.list", input).await.0),
            "invalid_input",
            "{wrong}"
        );
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
    let answer = output(&worker.read(capability, input.clone()).await);
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
    let server = Radicale::start();
    server.calendar("home", "Home", &["VTODO"]);
    let folder = tempfile::tempdir().unwrap();
    let before = server.everything();
    let input =
        json!({"list": "home", "title": "Bread", "due": "2026-11-23", "notes": "rye\nor oats"});
    let made = done(&server, folder.path(), intent(1), "todos.create", input)
        .await
        .unwrap();
    let id = made["id"].as_str().unwrap();
    assert_eq!(id, format!("home/plexus-{}.ics", intent(1).as_str()));
    let there = server.get(id);
    assert!(
        there.body.contains("SUMMARY:Bread") && there.body.contains("DUE;VALUE=DATE:20261123"),
        "{there:?}"
    );
    let completed = done(
        &server,
        folder.path(),
        intent(2),
        "todos.complete",
        json!({"id": id}),
    )
    .await
    .unwrap();
    assert!(server.get(id).body.contains("STATUS:COMPLETED"));
    assert!(completed["completed"].is_string());
    let again = done(
        &server,
        folder.path(),
        intent(3),
        "todos.complete",
        json!({"id": id}),
    )
    .await;
    assert_eq!(
        again.unwrap_err()["transport_error"]["reason"],
        "already_done"
    );
    let mut worker = writer(&server, folder.path()).await;
    assert_eq!(worker.settle(intent(1)).await, Verdict::Happened);
    assert_eq!(worker.settle(intent(2)).await, Verdict::Happened);
    assert_eq!(worker.settle(intent(9)).await, Verdict::DidNot);
    worker.stop().await;
    // The newest first: what was added is not as it was added while it is completed.
    let early = done(
        &server,
        folder.path(),
        intent(4),
        "undo",
        json!({"id": intent(1).as_str()}),
    )
    .await;
    assert_eq!(
        early.unwrap_err()["precondition_changed"]["reason"],
        "changed"
    );
    let undone = done(
        &server,
        folder.path(),
        intent(5),
        "undo",
        json!({"id": intent(2).as_str()}),
    )
    .await
    .unwrap();
    assert_eq!(
        (&undone["removed"], &undone["list"]),
        (&json!(false), &json!("home"))
    );
    assert!(!server.get(id).body.contains("COMPLETED"));
    // Restored by another version than the one that was made: that can no longer be taken back blindly.
    let stale = done(
        &server,
        folder.path(),
        intent(6),
        "undo",
        json!({"id": intent(2).as_str()}),
    )
    .await;
    assert_eq!(
        stale.unwrap_err()["precondition_changed"]["reason"],
        "changed"
    );
    // The undo of the undo.
    done(
        &server,
        folder.path(),
        intent(10),
        "undo",
        json!({"id": intent(5).as_str()}),
    )
    .await
    .unwrap();
    assert!(server.get(id).body.contains("STATUS:COMPLETED"));
    server.delete(id);
    assert_eq!(server.everything(), before);
    let made = done(
        &server,
        folder.path(),
        intent(7),
        "todos.create",
        json!({"list": "home", "title": "Milk"}),
    )
    .await
    .unwrap();
    let undone = done(
        &server,
        folder.path(),
        intent(8),
        "undo",
        json!({"id": intent(7).as_str()}),
    )
    .await
    .unwrap();
    assert_eq!(
        (&undone["removed"], &undone["id"]),
        (&json!(true), &made["id"])
    );
    assert_eq!(server.everything(), before);
    let back = json!({"id": intent(8).as_str()});
    done(&server, folder.path(), intent(11), "undo", back.clone())
        .await
        .unwrap();
    assert!(
        server
            .get(made["id"].as_str().unwrap())
            .body
            .contains("SUMMARY:Milk")
    );
    let twice = done(&server, folder.path(), intent(12), "undo", back).await;
    assert_eq!(
        twice.unwrap_err()["precondition_changed"]["reason"],
        "changed"
    );
}

#[tokio::test]
async fn reads_and_plans_change_nothing_and_a_rewrite_keeps_unknown_lines() {
    let server = Radicale::start();
    server.calendar("home", "Home", &["VTODO", "VEVENT"]);
    server.put("home/odd.ics", "VTODO", "UID:odd\nSUMMARY:Odd\nX-APPLE-SORT-ORDER:7\nX-OTHER;X-P=1:kept\nBEGIN:VALARM\nUID:alarm\nTRIGGER:-PT5M\nACTION:DISPLAY\nDESCRIPTION:ring\nEND:VALARM");
    server.put("home/series.ics", "VTODO", "UID:series\nSUMMARY:Weekly\nDTSTART:20261101T090000Z\nDUE:20261101T100000Z\nRRULE:FREQ=WEEKLY");
    let before = server.everything();
    let mut worker = reader(&server).await;
    let _ = output(&worker.read("calendars.list", json!({})).await);
    let _ = output(&worker.read("events.list", json!({})).await);
    assert_eq!(
        output(&worker.read("todos.list", json!({})).await)["todos"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    worker
        .plan("todos.complete", json!({"id": "home/odd.ics"}))
        .await
        .unwrap();
    worker
        .plan("todos.create", json!({"list": "home", "title": "x"}))
        .await
        .unwrap();
    let event =
        json!({"calendar": "home", "title": "x", "start": "2026-11-23", "end": "2026-11-24"});
    worker.plan("events.create", event).await.unwrap();
    let series = worker
        .plan("todos.complete", json!({"id": "home/series.ics"}))
        .await;
    assert_eq!(refusal(&series)["transport_error"]["reason"], "repeats");
    worker.stop().await;
    assert_eq!(server.everything(), before);
    let folder = tempfile::tempdir().unwrap();
    done(
        &server,
        folder.path(),
        intent(1),
        "todos.complete",
        json!({"id": "home/odd.ics"}),
    )
    .await
    .unwrap();
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
    for (why, capability, input) in [
        (
            "end is not after start",
            "events.create",
            event("2026-11-23", "2026-11-23", None),
        ),
        (
            "different kinds",
            "events.create",
            event("2026-11-23", "2026-11-24T10:00:00", None),
        ),
        (
            "different kinds",
            "events.create",
            event("2026-11-23T10:00:00", "2026-11-24T10:00:00Z", None),
        ),
        (
            "no name of a time zone",
            "events.create",
            event("2026-11-23T10:00:00", "2026-11-23T11:00:00", Some("Berlin")),
        ),
        (
            "offset",
            "todos.create",
            json!({"list": "home", "title": "x", "due": "2026-11-23T10:00:00"}),
        ),
        (
            "title is empty",
            "todos.create",
            json!({"list": "home", "title": " \n"}),
        ),
        (
            "takes no to-dos",
            "todos.create",
            json!({"list": "work", "title": "x"}),
        ),
        (
            "takes no events",
            "events.create",
            json!({"calendar": "home", "title": "x", "start": "2026-11-23", "end": "2026-11-24"}),
        ),
    ] {
        let error = worker.plan(capability, input).await.unwrap_err();
        assert!(error.message.contains(why), "{why}: {error:?}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn password_that_stops_working_is_health_with_a_remedy() {
    let server = Radicale::start();
    server.calendar("home", "Home", &["VTODO"]);
    let mut worker = reader(&server).await;
    assert_eq!(worker.health().await, Health::Well);
    server.set_password("another");
    let refused = worker.read("calendars.list", json!({})).await;
    assert_eq!(refusal(&refused.0), "source_unavailable");
    match worker.health().await {
        Health::Unavailable(why) => assert!(
            why.contains("401") && why.contains("sources secret"),
            "{why}"
        ),
        other => panic!("{other:?}"),
    }
    server.set_password(PASSWORD);
    let _ = output(&worker.read("calendars.list", json!({})).await);
    assert_eq!(worker.health().await, Health::Well);
    worker.stop().await;
    server.set_password("another");
    let error = Worker::try_set_up::<CaldavSource>(MANIFEST, &setting(&server, None), Role::Reader)
        .await
        .unwrap_err();
    assert!(error.message.contains("401"), "{error}");
}
