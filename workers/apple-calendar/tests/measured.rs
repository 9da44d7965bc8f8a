//! How long 10,000 events take, and a start of the worker in its sandbox. A measurement, not a test:
//! `cargo nextest run --release -p plexus-worker-apple-calendar --run-ignored only --no-capture measured`
#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

use plexus_conformance::{
    caged::{Cage, find_launcher},
    served::{Setting, Worker},
};
use plexus_ipc::message::Role;
use plexus_worker_apple_calendar::{AppleCalendarSource, MANIFEST};
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path, time::Instant};

const ROUNDS: usize = 5;

#[tokio::test]
#[ignore = "a measurement"]
async fn measured_ten_thousand_events_in_pages() {
    let setting = Setting {
        config: json!({"further": 10_000}),
        ..Setting::default()
    };
    let mut worker = Worker::set_up::<AppleCalendarSource>(MANIFEST, &setting, Role::Reader).await;
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let input = json!({"start": "2026-06-01", "end": "2026-07-01", "limit": 1000});
        let pages = worker.pages("events.list", input).await;
        let events = pages.iter().filter_map(|page| page["events"].as_array());
        let (events, pages) = (events.map(Vec::len).sum::<usize>(), pages.len());
        println!(
            "round {round}: {events} events on {pages} pages in {:?}",
            begun.elapsed()
        );
    }
    worker.stop().await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn measured_start_in_the_sandbox() {
    let worker = Path::new(env!("CARGO_BIN_EXE_plexus-worker-apple-calendar"));
    let (config, secrets) = (json!({}), BTreeMap::new());
    for round in 0..ROUNDS {
        let cage = Cage {
            launcher: &find_launcher(worker),
            worker,
            profile: include_str!("../../../sandbox-profiles/apple-calendar.sb"),
            manifest: MANIFEST,
            config: &config,
            secrets: &secrets,
            egress: None,
            role: Role::Reader,
            before: Vec::new(),
        };
        let begun = Instant::now();
        let spawned = cage.spawn().expect("a start");
        let pid = spawned.pid();
        let _caged = spawned.meet().await.expect("it serves");
        let took = begun.elapsed();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        println!(
            "round {round}: started in {took:?}, {}",
            peak.unwrap_or_default()
        );
    }
}
