//! Workers that are killed, stopped, that leak and that do not start, under calls that go on: no read fails, no write
//! happens twice, every `unknown` is known to be one, and nothing is left in the daemon.
//!
//! What the state machine does in any order of events is held by the simulation (`gateway/supervisor/src/
//! simulation.rs`); here are the real daemon, real processes and their cages.

use crate::house::{COUNT, Workshop, fixtures_below};
use nix::sys::signal::Signal;
use plexus_tests::processes::{self, Process};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Length, Owner};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Callers of each kind. Each is an agent of its own: what one agent may do in a second is bounded.
const CALLERS: usize = 6;

/// The daemon, as another thread may look at it.
struct Seen {
    daemon: u32,
    owner: Owner,
}

impl Seen {
    fn of(workshop: &Workshop) -> Self {
        let (daemon, owner) = (workshop.gateway.pid(), workshop.owner());
        Self { daemon, owner }
    }
    /// The fixture's workers that run now.
    fn workers(&self) -> Vec<Process> {
        fixtures_below(self.daemon)
    }
    /// The one that serves in `role`, as the owner's status names it.
    fn worker(&self, role: &str) -> Option<Process> {
        let status = self.owner.get("/admin/api/status").expect_ok();
        let workers = status["workers"].as_array().expect("workers");
        let of_role = workers
            .iter()
            .find(|worker| worker["role"] == role && worker["state"] == "ready")?;
        let pid = of_role["pid"].as_u64()?;
        let mut running = self.workers().into_iter();
        running.find(|process| u64::from(process.pid) == pid)
    }
    /// How many descriptors the daemon has when nobody speaks to it.
    fn descriptors_at_rest(&self) -> usize {
        let (mut last, mut same) = (0, 0);
        until("the connections to be closed", || {
            let now = processes::descriptors(self.daemon);
            same = if now == last { same + 1 } else { 0 };
            last = now;
            (same > 20).then_some(now)
        })
    }
}

/// What one caller of writes was told about each of its lines.
#[derive(Default)]
struct Told {
    done: Vec<String>,
    not_done: Vec<String>,
    unknown: Vec<String>,
}

fn write(agent: &Agent, line: String, told: &mut Told) {
    let reply = agent.invoke(COUNT, json!({"line": line}));
    if reply.at("/ok") == true {
        told.done.push(line);
        return;
    }
    match reply.text_at("/error/effect").as_str() {
        "none" => told.not_done.push(line),
        "unknown" => {
            reply.expect_error(200, "outcome_unknown");
            told.unknown.push(line);
        }
        other => panic!("{other}: {reply}"),
    }
}

/// Kills the worker of a role again and again: every 100 ms where the machine is fast, and on any machine only one that
/// has served for a while since the last, so that what is measured is dying and not starting. Says how often it did, and how
/// often it could have while there was somebody to serve.
fn strike(seen: &Seen, role: &str, served: &AtomicUsize, over: &AtomicBool) -> (usize, usize) {
    let mut killed = BTreeSet::new();
    let began = Instant::now();
    let (mut since, mut before) = (began, served.load(Ordering::Relaxed));
    let (mut all, mut lasted) = (before, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(5));
        let at_once = seen.workers();
        assert!(at_once.len() <= 2, "one for each role: {at_once:?}");
        let now = served.load(Ordering::Relaxed);
        if now != all {
            (all, lasted) = (now, began.elapsed());
        }
        if since.elapsed() < Duration::from_millis(100) || now < before + 2 * CALLERS {
            continue;
        }
        if let Some(victim) = seen.worker(role) {
            victim.signal(Signal::SIGKILL);
            killed.insert(victim.pid);
            (since, before) = (Instant::now(), now);
        }
    }
    let moments = usize::try_from(lasted.as_millis() / 100).expect("a number");
    (killed.len(), moments.min(all / (2 * CALLERS)))
}

#[test]
fn workers_are_killed_under_thousands_of_calls() {
    let calls = match plexus_tests::length() {
        Length::Quick => 240,
        Length::Full => 1_200,
        Length::Long => 10_000,
    };
    let workshop = Workshop::open();
    let readers: Vec<Agent> = (0..CALLERS)
        .map(|n| workshop.reader(&format!("reader-{n}")))
        .collect();
    let writers: Vec<Agent> = (0..CALLERS)
        .map(|n| workshop.writer(&format!("writer-{n}")))
        .collect();
    // Both roles are up, and everybody has called once.
    for agent in &readers {
        agent.must("fixture.slow", json!({"ms": 1}));
    }
    for (n, agent) in writers.iter().enumerate() {
        let line = format!("warm-{n}");
        agent.must(COUNT, json!({"line": line}));
    }
    let seen = Seen::of(&workshop);
    let descriptors = seen.descriptors_at_rest();

    let (reads, writes, over) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicBool::new(false),
    );
    let each = (calls / 2_usize).div_ceil(CALLERS);
    let (told, killed) = std::thread::scope(|scope| {
        let strikers = [("reader", &reads), ("writer", &writes)].map(|(role, served)| {
            let (seen, over) = (&seen, &over);
            scope.spawn(move || strike(seen, role, served, over))
        });
        let reading: Vec<_> = readers
            .iter()
            .map(|agent| {
                scope.spawn(|| {
                    for _ in 0..each {
                        let reply = agent.invoke("fixture.slow", json!({"ms": 5}));
                        assert_eq!(reply.expect_ok()["output"]["waited"], 5);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let writing: Vec<_> = writers
            .iter()
            .enumerate()
            .map(|(n, agent)| {
                let writes = &writes;
                scope.spawn(move || {
                    let mut told = Told::default();
                    for call in 0..each {
                        write(agent, format!("{n}-{call}"), &mut told);
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                    told
                })
            })
            .collect();
        for thread in reading {
            thread.join().expect("every read is answered");
        }
        let mut all = Told::default();
        for thread in writing {
            let told = thread.join().expect("every write is answered");
            all.done.extend(told.done);
            all.not_done.extend(told.not_done);
            all.unknown.extend(told.unknown);
        }
        over.store(true, Ordering::Relaxed);
        let killed = strikers.map(|striker| striker.join().expect("one worker of each role"));
        (all, killed)
    });

    for (dead, chances) in killed {
        assert!(
            dead >= 2 && dead * 4 >= chances,
            "{dead} were killed, {chances} times would have been possible"
        );
    }
    assert_eq!(
        reads.load(Ordering::Relaxed),
        each * CALLERS,
        "no read failed"
    );
    let expected = each * CALLERS;
    let answered = told.done.len() + told.not_done.len() + told.unknown.len();
    assert_eq!(answered, expected, "every write has one answer");
    hold_effects_against(&workshop, &told);
    hold_the_log_against(&workshop, &told, expected + CALLERS);

    // What is left: the two workers, no child that was not waited for, and not one descriptor more.
    until_true("the dead to be reaped", || {
        processes::zombies(seen.daemon) == 0
    });
    assert!(seen.workers().len() <= 2);
    readers[0].must("fixture.slow", json!({"ms": 1}));
    writers[0].must(COUNT, json!({"line": "after"}));
    until_true("the descriptors of before", || {
        processes::descriptors(seen.daemon) <= descriptors
    });
    assert_eq!(seen.workers().len(), 2, "one for each role");
}

/// What was answered, against what is on disk.
fn hold_effects_against(workshop: &Workshop, told: &Told) {
    let effects = workshop.effects();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &effects {
        *times.entry(line).or_default() += 1;
    }
    assert!(
        times.values().all(|times| *times == 1),
        "nothing happened twice"
    );
    assert!(!told.done.is_empty());
    for line in &told.done {
        assert_eq!(
            times.get(line.as_str()),
            Some(&1),
            "{line} was said to be done"
        );
    }
    for line in &told.not_done {
        assert_eq!(
            times.get(line.as_str()),
            None,
            "{line} was said not to be done"
        );
    }
}

/// Each write has an intent and an outcome; each line on disk an intent; each `unknown` an item for the owner.
fn hold_the_log_against(workshop: &Workshop, told: &Told, writes: usize) {
    workshop.gateway.cli(["audit", "verify"]).expect_ok();
    let events = workshop.gateway.log();
    let of = |phase: &'static str| {
        events
            .iter()
            .filter(move |event| event["detail"]["phase"] == phase)
    };
    let intents: BTreeSet<&str> = of("intent")
        .filter_map(|event| event["id"].as_str())
        .collect();
    assert_eq!(intents.len(), writes);
    assert_eq!(
        of("outcome").count(),
        writes,
        "every intent has its outcome"
    );
    assert!(
        of("read").all(|event| event["outcome"] == "ok"),
        "no read failed"
    );
    for line in workshop.folder.read("effects.log").lines() {
        let id = line.split_once(' ').expect("an id").0;
        assert!(intents.contains(id), "{line} has no intent");
    }
    let unknown = of("outcome").filter(|event| event["detail"]["result"] == "unknown");
    assert_eq!(
        unknown.count(),
        told.unknown.len(),
        "those that were told so"
    );
    let owner = workshop.owner();
    let open = owner.get("/admin/api/unsettled").expect_ok();
    let open = open["unsettled"].as_array().map_or(0, Vec::len);
    assert_eq!(open, told.unknown.len(), "each waits for the owner");
}

/// A worker that does not move is ended after a missed probe: its reads are answered by the next, its effect is said to
/// be unknown.
#[test]
fn stopped_workers_are_replaced() {
    let workshop = Workshop::open();
    let (reader, writer) = (workshop.reader("reader"), workshop.writer("writer"));
    reader.must("fixture.slow", json!({"ms": 1}));
    writer.must(COUNT, json!({"line": "warm"}));
    let seen = Seen::of(&workshop);
    let stopped = ["reader", "writer"].map(|role| {
        let process = seen.worker(role).expect("a worker");
        process.signal(Signal::SIGSTOP);
        process
    });
    std::thread::scope(|scope| {
        let read = scope.spawn(|| reader.invoke("fixture.slow", json!({"ms": 2})));
        let reply = writer.invoke(COUNT, json!({"line": "lost"}));
        reply.expect_error(200, "outcome_unknown");
        let read = read.join().expect("an answer");
        assert_eq!(read.expect_ok()["output"]["waited"], 2);
    });
    assert!(stopped.iter().all(|process| !process.alive()));
    assert_eq!(
        workshop.effects(),
        ["warm"],
        "a worker that is stopped does nothing"
    );
    writer.must(COUNT, json!({"line": "next"}));
    assert_eq!(workshop.effects(), ["warm", "next"]);
}

/// A worker that moves now and then is slow and not dead.
#[test]
fn slowed_workers_go_on() {
    let (workshop, reader) = Workshop::with_reader("reader");
    reader.must("fixture.slow", json!({"ms": 1}));
    let slowed = Seen::of(&workshop).worker("reader").expect("a worker");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                slowed.signal(Signal::SIGSTOP);
                std::thread::park_timeout(Duration::from_millis(60));
                slowed.signal(Signal::SIGCONT);
                std::thread::park_timeout(Duration::from_millis(20));
            }
        });
        for n in 0..25 {
            let reply = reader.invoke("fixture.slow", json!({"ms": n}));
            assert_eq!(reply.expect_ok()["output"]["waited"], n);
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(slowed.alive(), "nobody ended it");
}

/// A worker that leaks is bounded: its memory by the next probe, its descriptors by its own limit. The daemon pays
/// neither.
#[test]
fn leaking_workers_are_bounded() {
    let workshop = Workshop::open();
    let (reader, writer) = (workshop.reader("reader"), workshop.writer("writer"));
    reader.must("fixture.slow", json!({"ms": 1}));
    let leak = |what: &str| reader.invoke("fixture.garbage", json!({"how": what}));
    let seen = Seen::of(&workshop);
    let before = seen.descriptors_at_rest();

    let opened = leak("descriptors").expect_ok()["output"].as_u64();
    // 64 in the fixture's manifest.
    assert!(
        opened.is_some_and(|count| (32..64).contains(&count)),
        "{opened:?}"
    );
    assert_eq!(
        leak("descriptors").expect_ok()["output"],
        0,
        "all are taken"
    );
    reader.must("fixture.echo", json!({"text": "still there"}));
    writer.must(COUNT, json!({"line": "the other role"}));

    let leaking = seen.worker("reader").expect("a worker");
    // It may be ended before it has answered; then it is asked again, and so on: that is given up.
    drop(leak("memory"));
    until_true("the end of the worker that keeps memory", || {
        !leaking.alive()
    });
    reader.must("fixture.echo", json!({"text": "the next one"}));
    until_true("no more descriptors than with both workers", || {
        // The writer's: its stream and its stderr.
        processes::descriptors(seen.daemon) <= before + 2
    });
}

/// A worker that exits at its start: five tries, then a refusal without a try, until the owner asks again.
#[test]
fn workers_that_exit_at_their_start() {
    let (workshop, reader) = Workshop::with_reader("reader");
    let seen = Seen::of(&workshop);
    let before = seen.descriptors_at_rest();
    workshop.folder.write("exits", "");
    let reply = reader.invoke("fixture.echo", json!({"text": "in vain"}));
    let error = reply.expect_error(503, "source_unavailable");
    assert_eq!(error["effect"], "none");
    let tries = || {
        let mut events = workshop.owner().audit(500);
        events.retain(|event| event["detail"]["event"] == "worker.refused");
        events.len()
    };
    until_true("the fifth try", || tries() >= 5);
    for _ in 0..20 {
        reader
            .invoke("fixture.echo", json!({"text": "at once"}))
            .expect_error(503, "source_unavailable");
    }
    assert_eq!(tries(), 5, "none is tried meanwhile");
    assert_eq!(processes::zombies(seen.daemon), 0);
    until_true("the descriptors of before", || {
        processes::descriptors(seen.daemon) <= before
    });

    std::fs::remove_file(workshop.folder.path().join("exits")).expect("a file");
    workshop.owner().get("/admin/api/health").expect_ok();
    reader.must("fixture.echo", json!({"text": "mended"}));
}
