//! How long a month of 2,000 events takes after a change and without one, beside a bare client's time for the same question.
//! A measurement, not a test:
//! `cargo nextest run --release -p plexus-worker-caldav --run-ignored all --no-capture month`

#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use crate::radicale::{PASSWORD, Radicale, USER};
use plexus_conformance::served::{Setting, Worker, output};
use plexus_ipc::message::Role;
use plexus_worker_caldav::{CaldavSource, MANIFEST};
use serde_json::json;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

const ROUNDS: usize = 5;

#[tokio::test]
#[ignore = "a measurement"]
async fn month_of_2000_events() {
    let server = Radicale::start();
    let mut all = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//another//client//EN\r\n".to_owned();
    for at in 0..2_000 {
        let _ = write!(
            all,
            "BEGIN:VEVENT\r\nUID:e{at}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:202611{:02}T{:02}0000Z\r\nDURATION:PT30M\r\nSUMMARY:Event {at}\r\nDESCRIPTION:{}\r\nEND:VEVENT\r\n",
            at % 30 + 1,
            at % 24,
            "notes ".repeat(20),
        );
    }
    all.push_str("END:VCALENDAR\r\n");
    let put = server.request("PUT", "/me/work/", &["Content-Type: text/calendar"], &all);
    assert_eq!(put.status, 201, "{put:?}");
    let question = "<C:calendar-query xmlns=\"DAV:\" xmlns:C=\"urn:ietf:params:xml:ns:caldav\"><prop><getetag/><C:calendar-data/></prop><C:filter><C:comp-filter name=\"VCALENDAR\">\
        <C:comp-filter name=\"VEVENT\"><C:time-range start=\"20261031T000000Z\" end=\"20261202T000000Z\"/></C:comp-filter></C:comp-filter></C:filter></C:calendar-query>";
    let setting = Setting {
        config: json!({"url": server.url(), "user": USER}),
        egress: Some((server.port, PASSWORD.into())),
        ..Setting::default()
    };
    let mut worker = Worker::set_up::<CaldavSource>(MANIFEST, &setting, Role::Reader).await;
    for round in 0..ROUNDS {
        // Another client changes the calendar, outside of the month: what is kept of it is of no use.
        let lines = format!("UID:other\nDTSTART:20260101T000000Z\nSUMMARY:{round}");
        server.put("work/other.ics", "VEVENT", &lines);
        let begun = Instant::now();
        let bare = server.request("REPORT", "/me/work/", &["Depth: 1"], question);
        let bare_took = begun.elapsed();
        assert_eq!(bare.body.matches("BEGIN:VEVENT").count(), 2_000);
        let mut took = [Duration::ZERO; 2];
        for took in &mut took {
            let begun = Instant::now();
            let asked = json!({"start": "2026-11-01", "end": "2026-12-01", "limit": 2000});
            let answer = output(&worker.read("events.list", asked).await);
            *took = begun.elapsed();
            assert_eq!(answer["events"].as_array().map(Vec::len), Some(2_000));
        }
        println!(
            "round {round}: curl {bare_took:?} ({} bytes), worker {:?}, without a change {:?}",
            bare.body.len(),
            took[0],
            took[1]
        );
    }
    worker.stop().await;
}
