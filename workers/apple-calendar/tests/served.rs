//! The apple-calendar worker behind the harness, on its fake: what this connector promises beyond every connector.
#![cfg(not(target_os = "macos"))]

use plexus_conformance::served::{Setting, Worker, output, refusal};
use plexus_ipc::message::Role;
use plexus_worker_apple_calendar::{AppleCalendarSource, MANIFEST};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn worker(further: usize) -> Worker {
    let setting = Setting {
        config: json!({"further": further}),
        ..Setting::default()
    };
    Worker::set_up::<AppleCalendarSource>(MANIFEST, &setting, Role::Reader).await
}

async fn events(worker: &mut Worker, input: Value) -> Vec<Value> {
    let answer = output(&worker.read("events.list", input).await);
    answer["events"].as_array().unwrap().clone()
}

fn titles(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|e| e["title"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn day_is_listed_as_the_tutorial_calls_it() {
    let mut worker = worker(0).await;
    let answer = worker
        .read(
            "events.list",
            json!({"start": "2026-06-25", "end": "2026-06-26"}),
        )
        .await;
    let expected = json!({
        "from": "2026-06-25T00:00:00+02:00", "to": "2026-06-26T00:00:00+02:00",
        "events": [{
            "id": "team-sync", "calendar": "work", "title": "Team sync", "start": "2026-06-25T10:00:00+02:00",
            "end": "2026-06-25T10:30:00+02:00", "timeZone": "Europe/Berlin", "place": "Room 2",
            "notes": "What was done, what is next.", "status": "confirmed", "repeats": true, "people": ["Ann"]
        }]
    });
    assert_eq!(output(&answer), expected);
    worker.stop().await;
}

#[tokio::test]
async fn days_zones_and_floating_times_are_told_as_they_are() {
    let mut worker = worker(0).await;
    let range = json!({"start": "2026-06-26", "end": "2026-06-28"});
    let found = events(&mut worker, range).await;
    let told = |title: &str| {
        let event = found.iter().find(|event| event["title"] == title).unwrap();
        [
            &event["start"],
            &event["end"],
            &event["timeZone"],
            &event["allDay"],
            &event["floating"],
        ]
        .map(Clone::clone)
    };
    let nothing = Value::Null;
    assert_eq!(
        told("Summer festival"),
        [
            json!("2026-06-26"),
            json!("2026-06-29"),
            nothing.clone(),
            json!(true),
            nothing.clone()
        ]
    );
    assert_eq!(
        told("Take the medicine"),
        [
            json!("2026-06-27T08:00:00"),
            json!("2026-06-27T08:05:00"),
            nothing.clone(),
            nothing.clone(),
            json!(true)
        ]
    );
    assert_eq!(
        told("Call with New York"),
        [
            json!("2026-06-26T09:00:00-04:00"),
            json!("2026-06-26T10:00:00-04:00"),
            json!("America/New_York"),
            nothing.clone(),
            nothing
        ]
    );
    // The night in which clocks go back: nine hours that are ten.
    let night = events(
        &mut worker,
        json!({"start": "2026-10-25", "end": "2026-10-26"}),
    )
    .await;
    assert_eq!(titles(&night), ["Night train", "Team sync"]);
    assert_eq!(
        [&night[0]["start"], &night[0]["end"], &night[1]["start"]],
        [
            "2026-10-24T23:00:00+02:00",
            "2026-10-25T08:00:00+01:00",
            "2026-10-25T10:00:00+01:00"
        ]
    );
    worker.stop().await;
}

#[tokio::test]
async fn range_without_end_is_31_days_and_beyond_a_year_is_refused() {
    let mut worker = worker(0).await;
    let month = events(&mut worker, json!({"start": "2026-10-01", "text": "SYNC"})).await;
    assert_eq!(month.len(), 31);
    let today = events(&mut worker, json!({"text": "team"})).await;
    assert_eq!(today.len(), 31);
    let year = json!({"start": "2026-01-01", "end": "2027-01-01", "text": "sync", "limit": 1000});
    assert_eq!(events(&mut worker, year).await.len(), 365);
    for (start, end) in [
        ("2026-01-01", "2027-01-03"),
        ("2026-06-25", "2026-06-25"),
        ("2026-06-25", "yesterday"),
        ("25.6.2026", "2026-06-26"),
    ] {
        let refused = worker
            .read("events.list", json!({"start": start, "end": end}))
            .await;
        assert_eq!(refusal(&refused.0), json!("invalid_input"), "{start} {end}");
    }
    worker.stop().await;
}

#[tokio::test]
async fn calendars_of_one_name_are_both_shown_and_named_by_id() {
    let mut worker = worker(0).await;
    let listed = output(&worker.read("calendars.list", json!({})).await);
    let home = |one: &&Value| one["name"] == "Home";
    let ids: Vec<_> = listed["calendars"]
        .as_array()
        .unwrap()
        .iter()
        .filter(home)
        .map(|one| &one["id"])
        .collect();
    assert_eq!(ids, ["home", "home-2"]);
    let days = |calendar: &str| json!({"start": "2026-06-26", "end": "2026-06-28", "calendars": [calendar]});
    assert_eq!(
        titles(&events(&mut worker, days("home-2")).await),
        ["Take the medicine"]
    );
    // A name that only one has will do.
    assert_eq!(events(&mut worker, days("Work")).await.len(), 4);
    for (calendar, reason) in [("Home", "ambiguous"), ("Nowhere", "not_found")] {
        let refused = worker.read("events.list", days(calendar)).await;
        assert_eq!(refusal(&refused.0)["transport_error"]["reason"], reason);
    }
    worker.stop().await;
}

#[tokio::test]
async fn hundred_thousand_events_are_given_in_pages() {
    let mut worker = worker(100_000).await;
    let (mut seen, mut next, mut pages) = (BTreeSet::new(), Value::Null, 0);
    loop {
        let mut input = json!({"start": "2026-06-01", "end": "2026-06-04", "limit": 1000});
        if !next.is_null() {
            input["next"] = next;
        }
        let answer = output(&worker.read("events.list", input).await);
        let events = answer["events"].as_array().unwrap();
        assert!(events.len() <= 1000);
        seen.extend(
            events
                .iter()
                .map(|event| format!("{} {}", event["start"], event["id"])),
        );
        pages += 1;
        next = answer["next"].clone();
        if next.is_null() {
            break;
        }
    }
    // Three of thirty days, and the daily one on each.
    assert!(
        (10_000..10_500).contains(&seen.len()) && pages >= 11,
        "{} {pages}",
        seen.len()
    );
    let refused = worker
        .read(
            "events.list",
            json!({"start": "2026-06-01", "next": "nonsense"}),
        )
        .await;
    assert_eq!(refusal(&refused.0), json!("invalid_input"));
    worker.stop().await;
}
