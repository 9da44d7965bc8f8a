//! What a run holds in ways that a look at the first thread of each of its processes does not show: its end, and the same below
//! its bounds.

use std::process::{Command, Stdio};

use crate::keeper::Keeping;
use crate::waiting::{ended, lines};
use crate::{Outcome, hostile, uncaged};

/// A run's bound in MiB, and what an attack holds.
const BOUND: u64 = 64;
const BEYOND: &str = "256";
const WITHIN: &str = "8";

/// What a run with `memory` MiB says, that holds so much of something for so many seconds, and how it ended.
fn held(memory: Option<u64>, what: &str, count: &str, seconds: u32) -> String {
    let mut keeping = Keeping::new();
    keeping.add_wide(memory.map(|mib| mib << 20), Some(64));
    keeping.with_attack("one");
    let line = format!("a=sleep {seconds} | ./attack hold {what} {count}");
    keeping.have(&["wide", "one", &line])
}

/// What the kernel says that a process without a cage holds in memory, in MiB, which has so much of something.
fn seen(what: &str, count: &str) -> u64 {
    seen_while(what, count, || {})
}

fn seen_while(what: &str, count: &str, then: impl FnOnce()) -> u64 {
    let mut attack = Command::new(hostile())
        .args(["hold", what, count])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let line = lines(attack.stdout.take().expect("piped")).next();
    let line = line.unwrap_or_default();
    assert!(line.starts_with("held "), "{what}: {line}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", attack.id()));
    let status = status.expect("its status");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.map(|line| line.trim().trim_end_matches(" kB").parse::<u64>());
    then();
    drop(attack.stdin.take());
    ended("what holds", &mut attack);
    kib.map_or(0, |kib| kib.expect("a number") >> 10)
}

#[track_caller]
fn ends_beyond_its_memory(what: &str) {
    let said = held(Some(BOUND), what, BEYOND, 20);
    assert!(said.ends_with("TooMuchMemory"), "{what}: {said}");
    // The controls: less of the same, and what is held where nothing bounds it.
    let said = held(Some(BOUND), what, WITHIN, 2);
    assert!(
        said.starts_with("held ") && said.ends_with("Exited(0)"),
        "{what}: {said}"
    );
    let said = held(None, what, BEYOND, 1);
    assert!(said.starts_with("held "), "{what}: {said}");
}

#[test]
fn memory_of_a_run_is_counted() {
    ends_beyond_its_memory("memory");
    assert!(seen("memory", BEYOND) >= 256, "as the kernel shows it");
}

#[test]
fn memory_behind_an_ended_leader_is_counted() {
    ends_beyond_its_memory("behind-leader");
    assert_eq!(seen("behind-leader", BEYOND), 0, "what the attack is for");
    // Two that the kernel shows no memory of do not have the same.
    let both = |mib: &str, seconds: u32| {
        let one = format!("sleep {seconds} | ./attack hold behind-leader {mib}");
        let mut keeping = Keeping::new();
        keeping.add_wide(Some(BOUND << 20), Some(64));
        keeping.with_attack("one");
        keeping.have(&["wide", "one", &format!("a={one} & {one}; wait")])
    };
    let said = both("48", 20);
    assert!(said.ends_with("TooMuchMemory"), "{said}");
    let said = both(WITHIN, 2);
    assert!(said.ends_with("Exited(0)"), "the control: {said}");
}

#[test]
fn socket_buffers_of_a_run_are_counted() {
    ends_beyond_its_memory("sockets");
    assert!(seen("sockets", BEYOND) < BOUND, "what the attack is for");
}

#[test]
fn pipe_buffers_of_a_run_are_counted() {
    // Beyond 64 MiB the kernel gives this user's pipes two pages each.
    let said = held(Some(16), "pipes", "48", 20);
    assert!(said.ends_with("TooMuchMemory"), "{said}");
    let said = held(Some(BOUND), "pipes", "8", 2);
    assert!(said.ends_with("Exited(0)"), "{said}");
    assert!(seen("pipes", "48") < 16, "what the attack is for");
}

/// The object of a shared mapping keeps its pages, whatever of it is mapped; so there is none in a run.
#[test]
fn shared_memory_given_back_in_part_is_refused() {
    let said = held(Some(BOUND), "shared", BEYOND, 2);
    assert_eq!(said, "refused 1\nExited(0)");
    // Other programs of this machine may give as much back meanwhile.
    let is_held = || {
        let before = shared_on_this_machine();
        let mut during = 0;
        let seen = seen_while("shared", BEYOND, || during = shared_on_this_machine());
        assert!(seen < BOUND, "what the attack is for");
        during >= before + 200
    };
    assert!((0..5).any(|_| is_held()), "it holds memory nobody sees");
}

/// In MiB, of all processes.
fn shared_on_this_machine() -> u64 {
    let all = std::fs::read_to_string("/proc/meminfo").expect("of the machine");
    let line = all.lines().find_map(|line| line.strip_prefix("Shmem:"));
    let kib = line.expect("a line").trim().trim_end_matches(" kB");
    kib.parse::<u64>().expect("a number") >> 10
}

/// Pages that a run gives back are free: none of them is a part of a huge one, which would stay whole.
#[test]
#[expect(
    clippy::print_stderr,
    reason = "where the control cannot run, the output says so"
)]
fn pages_of_a_run_are_small() {
    let said = |act: &str| {
        let mut keeping = Keeping::new();
        keeping.add_wide(None, Some(64));
        keeping.with_attack("one");
        keeping.have(&["wide", "one", &format!("a=./attack {act}")])
    };
    assert_eq!(said("pages"), "done small\nExited(0)");
    assert_eq!(said("pages-again-huge"), "done small\nExited(0)");
    match uncaged(&["pages"]) {
        Outcome::Done(size) if size == "huge" => {}
        other => eprintln!("not shown here, where no program gets huge pages: {other:?}"),
    }
}

#[test]
fn run_of_too_many_threads_is_ended() {
    let began = std::time::Instant::now();
    let said = held(None, "threads", "2500", 20);
    assert!(said.ends_with("TooManyThreads"), "{said}");
    assert!(began.elapsed().as_secs() < 15, "long before its own end");
    let said = held(None, "threads", "64", 2);
    assert!(said.ends_with("Exited(0)"), "{said}");
}
