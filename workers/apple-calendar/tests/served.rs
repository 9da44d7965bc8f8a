//! The apple-calendar worker behind the harness, on its fake: what this connector promises beyond every connector.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::served::{Setting, Worker, assert_like, code, texts, transport};
use plexus_ipc::message::Role;
use plexus_worker_apple_calendar::{AppleCalendarSource, MANIFEST};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn worker(further: usize) -> Worker {
    worker_of(json!({"further": further})).await
}

async fn worker_of(config: Value) -> Worker {
    let setting = Setting {
        config,
        ..Setting::default()
    };
    Worker::set_up::<AppleCalendarSource>(MANIFEST, &setting, Role::Reader).await
}

async fn events(worker: &mut Worker, input: Value) -> Value {
    worker.answer("events.list", input).await["events"].take()
}

#[tokio::test]
async fn day_is_listed_as_the_tutorial_calls_it() {
    let mut worker = worker(0).await;
    let day = json!({"start": "2026-06-25", "end": "2026-06-26"});
    let answer = worker.answer("events.list", day).await;
    let expected = json!({
        "from": "2026-06-25T00:00:00+02:00", "to": "2026-06-26T00:00:00+02:00",
        "events": [{
            "id": "team-sync", "calendar": "work", "title": "Team sync", "start": "2026-06-25T10:00:00+02:00",
            "end": "2026-06-25T10:30:00+02:00", "timeZone": "Europe/Berlin", "place": "Room 2",
            "notes": "What was done, what is next.", "status": "confirmed", "repeats": true, "people": ["Ann"]
        }]
    });
    assert_eq!(answer, expected);
    worker.stop().await;
}

#[tokio::test]
async fn days_zones_and_floating_times_are_told_as_they_are() {
    let mut worker = worker(0).await;
    let range = json!({"start": "2026-06-26", "end": "2026-06-28"});
    let found = events(&mut worker, range).await;
    for expected in [
        json!({"title": "Summer festival", "start": "2026-06-26", "end": "2026-06-29", "timeZone": null, "allDay": true, "floating": null}),
        json!({"title": "Take the medicine", "start": "2026-06-27T08:00:00", "end": "2026-06-27T08:05:00", "timeZone": null, "allDay": null, "floating": true}),
        json!({"title": "Call with New York", "start": "2026-06-26T09:00:00-04:00", "end": "2026-06-26T10:00:00-04:00", "timeZone": "America/New_York", "allDay": null, "floating": null}),
    ] {
        let mut found = found.as_array().unwrap().iter();
        let event = found.find(|event| event["title"] == expected["title"]);
        assert_like(event.unwrap(), &expected);
    }
    // The night in which clocks go back: nine hours that are ten.
    let night = json!({"start": "2026-10-25", "end": "2026-10-26"});
    let expected = json!([
        {"title": "Night train", "start": "2026-10-24T23:00:00+02:00", "end": "2026-10-25T08:00:00+01:00"},
        {"title": "Team sync", "start": "2026-10-25T10:00:00+01:00"},
    ]);
    assert_like(&events(&mut worker, night).await, &expected);
    worker.stop().await;
}

#[tokio::test]
async fn event_without_title_is_listed_and_one_without_date_named() {
    let mut worker = worker_of(json!({"bare": true})).await;
    let day = |calendar: &str| json!({"start": "2026-06-29", "end": "2026-06-30", "calendars": [calendar]});
    let answer = worker.answer("events.list", day("home")).await;
    assert_eq!(texts(&answer["events"], "id"), ["untitled"]);
    assert_eq!(answer["events"][0]["title"], "");
    let warnings = json!(["undated: no beginning or no end; such events are in no list"]);
    assert_eq!(answer["warnings"], warnings);
    // Of another calendar nothing is named.
    let work = worker.answer("events.list", day("work")).await;
    assert_eq!(texts(&work["events"], "id"), ["team-sync"]);
    assert_eq!(work.get("warnings"), None);
    worker.stop().await;
}

#[tokio::test]
async fn range_without_end_is_31_days_and_beyond_a_year_is_refused() {
    let mut worker = worker(0).await;
    let year = json!({"start": "2026-01-01", "end": "2027-01-01", "text": "sync", "limit": 1000});
    for (input, count) in [
        (json!({"start": "2026-10-01", "text": "SYNC"}), 31),
        (json!({"text": "team"}), 31),
        (year, 365),
    ] {
        let found = events(&mut worker, input.clone()).await;
        assert_eq!(found.as_array().unwrap().len(), count, "{input}");
    }
    for (start, end, why) in [
        ("2026-01-01", "2027-01-03", "more than 366 days"),
        ("2026-06-25", "2026-06-25", "end is not after start"),
        ("2026-06-25", "yesterday", "end is no date (2026-06-25)"),
        ("25.6.2026", "2026-06-26", "start is no date (2026-06-25)"),
    ] {
        let range = json!({"start": start, "end": end});
        let error = worker.read("events.list", range).await.0.unwrap_err();
        assert_eq!(code(&error), "invalid_input");
        assert!(error.message.contains(why), "{why}: {error:?}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn calendars_of_one_name_are_both_shown_and_named_by_id() {
    let mut worker = worker(0).await;
    let mut listed = worker.answer("calendars.list", json!({})).await;
    let listed = listed["calendars"].as_array_mut().unwrap();
    listed.retain(|one| one["name"] == "Home");
    assert_eq!(texts(&json!(listed), "id"), ["home", "home-2"]);
    let days = |calendar: &str| json!({"start": "2026-06-26", "end": "2026-06-28", "calendars": [calendar]});
    let second = events(&mut worker, days("home-2")).await;
    assert_eq!(texts(&second, "title"), ["Take the medicine"]);
    // A name that only one has will do.
    let work = events(&mut worker, days("Work")).await;
    assert_eq!(work.as_array().unwrap().len(), 4);
    for (calendar, reason) in [("Home", "ambiguous"), ("Nowhere", "not_found")] {
        let refused = worker.refused("events.list", days(calendar)).await;
        assert_eq!(refused, transport(reason));
    }
    worker.stop().await;
}

#[tokio::test]
async fn hundred_thousand_events_are_given_in_pages() {
    let mut worker = worker(100_000).await;
    let input = json!({"start": "2026-06-01", "end": "2026-06-04", "limit": 1000});
    let pages = worker.pages("events.list", input).await;
    let mut seen = BTreeSet::new();
    for page in &pages {
        let events = page["events"].as_array().unwrap();
        assert!(events.len() <= 1000);
        seen.extend(
            events
                .iter()
                .map(|event| format!("{} {}", event["start"], event["id"])),
        );
    }
    // Three of thirty days, and the daily one on each.
    assert!(
        (10_000..10_500).contains(&seen.len()) && pages.len() >= 11,
        "{}",
        seen.len()
    );
    let nonsense = json!({"start": "2026-06-01", "next": "nonsense"});
    let refused = worker.refused("events.list", nonsense).await;
    assert_eq!(refused, "invalid_input");
    worker.stop().await;
}
