//! Processes that die at any moment: what was answered is true, nothing happens twice, nothing is left behind.

use crate::archives::lengthen;
use crate::house::{COUNT, House, READ, WRITE, Workshop, note};
use nix::sys::signal::Signal;
use plexus_tests::Gateway;
use plexus_tests::processes::Process;
use plexus_tests::waiting::{until, until_true};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn end(process: &Process) {
    process.signal(Signal::SIGKILL);
}

/// Reads survive their worker: each is tried again on a fresh one.
#[test]
fn the_reader_dies_under_two_hundred_reads() {
    let (workshop, agent) = Workshop::with_reader("one");
    agent.must("fixture.slow", json!({"ms": 1}));
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..10 {
                        let reply = agent.invoke("fixture.slow", json!({"ms": 20}));
                        assert_eq!(reply.expect_ok()["output"]["waited"], 20);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for goal in [40, 110] {
            until_true("reads to be under way", || {
                answered.load(Ordering::Relaxed) >= goal
            });
            let victims = workshop.workers();
            assert!(!victims.is_empty(), "there is a worker to end");
            victims.iter().for_each(end);
        }
        for thread in threads {
            thread.join().expect("every read is answered");
        }
    });
    assert_eq!(answered.load(Ordering::Relaxed), 200);
}

/// A writer that dies: not tried again, and said to be unknown.
#[test]
fn the_writer_dies_under_an_effect() {
    for (moment, lines) in [("before", 0), ("after", 1)] {
        let (workshop, agent) = Workshop::with_writer("one");
        let call = json!({"line": moment, "die": moment});
        let reply = agent.invoke(COUNT, call.clone());
        let error = reply.expect_error(200, "outcome_unknown");
        assert_eq!(error["effect"], "unknown");
        assert_eq!(workshop.effects().len(), lines, "it was tried once");
        // The same call is not run again while nobody knows.
        let again = agent.invoke(COUNT, call);
        assert_eq!(again.at("/ok"), false, "{again}");
        assert_eq!(workshop.effects().len(), lines);
        // Other calls go on.
        agent.must(COUNT, json!({"line": "other"}));
        workshop.gateway.cli(["audit", "verify"]).expect_ok();
    }
}

/// A source that keeps a record settles what nobody saw.
#[test]
fn a_source_with_a_record_settles_it() {
    for (moment, effect, lines) in [("before", "none", 0), ("after", "done", 1)] {
        let workshop = Workshop::open();
        workshop.folder.write("honest", "");
        let agent = workshop.writer("one");
        let reply = agent.invoke(COUNT, json!({"line": moment, "die": moment}));
        if effect == "done" {
            let done = reply.expect_ok();
            assert_eq!(done["outputOmitted"], true, "{done}");
        } else {
            assert_eq!(reply.at("/ok"), false, "{reply}");
            assert_eq!(reply.at("/error/effect"), effect, "{reply}");
        }
        let outcomes = workshop.calls(COUNT, "outcome");
        assert_eq!(outcomes.len(), 1);
        assert_eq!(
            outcomes[0]["outcome"] == "ok",
            effect == "done",
            "{}",
            outcomes[0]
        );
        assert_eq!(workshop.effects().len(), lines);
    }
}

/// A workspace's writer that dies while it writes: its own record says what happened, and it is so.
#[test]
fn a_killed_write_settles_itself() {
    let rounds = if plexus_tests::length() >= plexus_tests::Length::Full {
        100
    } else {
        12
    };
    let house = House::open();
    let agent = house
        .gateway
        .agent_as(json!({"agentId": "one", "capabilities": [READ, WRITE], "standing": [WRITE]}));
    // From here on the store knows what came before.
    agent.must(WRITE, note("a.md", "start"));
    for round in 0..rounds {
        agent.must(READ, json!({"path": "a.md"}));
        let was = house.workspace.read("a.md");
        let text = format!("{round} {}", "x".repeat(200_000));
        let over = AtomicBool::new(false);
        let reply = std::thread::scope(|scope| {
            let call = scope.spawn(|| {
                let reply = agent.invoke(WRITE, note("a.md", &text));
                over.store(true, Ordering::Relaxed);
                reply
            });
            // A different moment each time.
            let moment = Instant::now() + Duration::from_micros(700 * round);
            until_true("the moment", || Instant::now() >= moment);
            for process in house.gateway.workers() {
                let is_worker = "plexus-worker-workspace".starts_with(&process.name);
                if is_worker && !over.load(Ordering::Relaxed) {
                    end(&process);
                }
            }
            call.join().expect("it is answered")
        });
        let now = house.workspace.read("a.md");
        if reply.at("/ok") == true {
            assert_eq!(now, text, "{round}: it is said to be done");
            // Also where only the source's own record says so.
            let undo = reply.at("/undo");
            assert_eq!(undo, reply.at("/auditId"), "{round}: {reply}");
        } else {
            assert_eq!(reply.at("/error/effect"), "none", "{round}: {reply}");
            assert_eq!(now, was, "{round}: it is said that nothing was done");
        }
    }
    assert_eq!(
        house.owner().get("/admin/api/unsettled").expect_ok()["unsettled"],
        json!([])
    );
}

/// What callers were told before the daemon died.
#[derive(Default)]
struct Told {
    /// The lines of effects that were answered with success.
    lines: BTreeSet<String>,
    /// The records that answers named, of reads and of effects.
    records: BTreeSet<String>,
}

/// A call that may meet the daemon's end; gives the answer's body, if one came.
fn try_invoke(client: &plexus_tests::Client, id: &str, input: Value) -> Option<Value> {
    let request = client
        .request("POST", "/invoke")
        .json(json!({"id": id, "input": input}));
    let reply = plexus_tests::Response::parse("a call", &request.try_send()?)?;
    serde_json::from_slice(&reply.body).ok()
}

/// Calls until the daemon is gone: effects and reads in turn.
fn call_until_gone(client: &plexus_tests::Client, name: &str, count: &AtomicUsize) -> Told {
    let mut told = Told::default();
    for n in 0.. {
        let line = format!("{name}-{n}");
        let (id, input) = match n % 3 {
            0 => (COUNT, json!({"line": line})),
            _ => ("fixture.echo", json!({"text": line})),
        };
        let Some(body) = try_invoke(client, id, input) else {
            break;
        };
        if body["ok"] == true {
            let record = body["auditId"].as_str().expect("an id").to_owned();
            told.records.insert(record);
            if id == COUNT {
                told.lines.insert(line);
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    told
}

/// Shows and hides a capability until the daemon is gone: the last decision that was answered, and the last one sent.
fn decide_until_gone(owner: &plexus_tests::Owner) -> Option<(bool, bool)> {
    let mut answered = None;
    for n in 0.. {
        let enabled = n % 2 == 0;
        let path = format!("/admin/api/exposure/{SHOWN}");
        let request = owner
            .client
            .request("POST", &path)
            .json(json!({"enabled": enabled}));
        let bytes = request.try_send();
        let reply = bytes.and_then(|bytes| plexus_tests::Response::parse("a decision", &bytes));
        if reply.is_none_or(|reply| reply.status != 200) {
            return answered.map(|answered| (answered, enabled));
        }
        answered = Some(enabled);
    }
    None
}

/// The capability that the owner shows and hides.
const SHOWN: &str = "fixture.fail";

/// Moments that nobody chose, and that can be had again: a test that fails says of which start they came.
pub(crate) struct Dice {
    start: u64,
    state: u64,
}

impl Dice {
    pub(crate) fn thrown() -> Self {
        let given = plexus_tests::seed();
        // The library's own randomness: a key that is another for each.
        let start = given.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        Self {
            start,
            state: start,
        }
    }

    /// From 0 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % (most + 1)
    }
}

impl Drop for Dice {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test says how to have its moments again"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("its moments: PLEXUS_SEED={}", self.start);
        }
    }
}

/// Starts the daemon again, and gives how long that took. `dies` so many times before it serves, at any moment of its
/// start, which took `usual` when it was last seen.
fn started_again(gateway: &mut Gateway, dice: &mut Dice, dies: u64, usual: Duration) -> Duration {
    for _ in 0..dies {
        let part = u32::try_from(dice.up_to(1_000)).expect("small");
        let mut after = usual * part / 1_000;
        // One that was quicker this time has to be caught earlier.
        while !gateway.start_cut_short(after) {
            after /= 2;
        }
    }
    let began = Instant::now();
    gateway.start_again();
    began.elapsed()
}

/// The daemon dies while agents read and write and the owner decides, again and again, and in every tenth round once more
/// while it starts. Each time: nothing answered is lost, nothing happened twice, nothing happened without its record,
/// every record has its end.
#[test]
fn the_daemon_dies_during_effects() {
    let rounds = match plexus_tests::length() {
        plexus_tests::Length::Long => 300,
        plexus_tests::Length::Full => 30,
        plexus_tests::Length::Quick => 5,
    };
    let mut workshop = Workshop::open();
    let mut agent = workshop.gateway.agent_as(
        json!({"agentId": "one", "capabilities": [COUNT, "fixture.echo"], "standing": [COUNT]}),
    );
    // Old events are archived meanwhile, over many a kill.
    let has_a_past = plexus_tests::length() != plexus_tests::Length::Quick;
    if has_a_past {
        let little = json!({"auditKeepEvents": 1_000});
        let client = workshop.owner().client;
        client.put("/v1/config", little).expect_ok();
        assert!(workshop.gateway.stop().success());
        lengthen(&workshop.gateway.state(), 25_000);
        workshop.gateway.start_again();
        agent = workshop.back(&agent);
    }
    let mut told = Told::default();
    let mut dice = Dice::thrown();
    let mut usual = Duration::from_millis(200);
    for round in 0..rounds {
        let (calls, later) = (dice.up_to(40), Duration::from_micros(dice.up_to(10_000)));
        let count = &AtomicUsize::new(0);
        let (client, owner) = (agent.client(), workshop.owner());
        let decided = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|thread| {
                    let client = client.clone();
                    scope.spawn(move || {
                        call_until_gone(&client, &format!("{round}-{thread}"), count)
                    })
                })
                .collect();
            let decider = scope.spawn(|| decide_until_gone(&owner));
            until_true("calls to be under way", || {
                count.load(Ordering::Relaxed) as u64 > calls
            });
            // About as long as a call takes: any moment of one.
            let moment = Instant::now() + later;
            while Instant::now() < moment {
                std::thread::yield_now();
            }
            workshop.gateway.kill9();
            for caller in callers {
                let more = caller.join().expect("what it was told");
                told.lines.extend(more.lines);
                told.records.extend(more.records);
            }
            decider.join().expect("what was decided")
        });
        let dies = if round % 10 == 4 {
            1 + dice.up_to(2)
        } else {
            0
        };
        usual = started_again(&mut workshop.gateway, &mut dice, dies, usual);
        if let Some((answered, sent)) = decided {
            let shown = workshop.owner().get("/admin/api/exposure").expect_ok();
            let all = shown["capabilities"].as_array().expect("a list");
            let one = all.iter().find(|capability| capability["id"] == SHOWN);
            let enabled = one.expect("it is offered")["enabled"] == true;
            assert!(
                enabled == answered || enabled == sent,
                "{round}: {answered} was answered, {sent} was sent, and it is {enabled}"
            );
        }
        agent = workshop.back(&agent);
    }
    let answered = told.lines;
    assert!(answered.len() > rounds && told.records.len() > 2 * rounds);
    let effects = workshop.effects();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for line in &effects {
        *seen.entry(line).or_default() += 1;
    }
    for line in &answered {
        assert_eq!(seen.get(line.as_str()), Some(&1), "{line} was answered");
    }
    assert!(seen.values().all(|times| *times == 1), "nothing twice");

    let events = workshop.gateway.log();
    let of = |phase: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["detail"]["phase"] == phase)
            .collect()
    };
    let mut recorded: BTreeMap<&str, usize> = BTreeMap::new();
    for id in events.iter().filter_map(|event| event["id"].as_str()) {
        *recorded.entry(id).or_default() += 1;
    }
    for id in &told.records {
        assert_eq!(recorded.get(id.as_str()), Some(&1), "{id} was answered");
    }
    let intents: BTreeSet<&str> = of("intent")
        .iter()
        .filter_map(|event| event["id"].as_str())
        .collect();
    for line in workshop.folder.read("effects.log").lines() {
        let id = line.split_once(' ').expect("an id").0;
        assert!(intents.contains(id), "{line} has no intent");
    }
    let ended = of("outcome").len();
    assert_eq!(intents.len(), ended, "every intent has its outcome");
    workshop.gateway.cli(["audit", "verify"]).expect_ok();
    if has_a_past {
        let client = workshop.owner().client;
        until("old events to be archived", || {
            let said = client.get("/admin/api/audit/archives").expect_ok();
            let last = said["archives"].as_array()?.last()?["last"].as_u64()?;
            (said["ledgerFrom"] == last + 1).then_some(())
        });
        workshop.gateway.cli(["audit", "verify"]).expect_ok();
    }
}

/// Three agents without a bound on calls keep the ledger as busy as two dozen callers can. What the owner was answered
/// meanwhile is on the disk at that moment. (A lane that is full: in `plexusd`'s tests,
/// `while_the_disk_stalls_under_a_flood_the_owner_is_next`.)
#[test]
fn what_the_owner_does_under_a_flood_is_there_when_it_is_answered() {
    let mut workshop = Workshop::open();
    let flooding = ["flooding", "too", "three"].map(|name| workshop.reader(name));
    for agent in &flooding {
        let most = json!({"callsPerSecond": 1_000_000});
        workshop.owner().limit(&agent.id, most).expect_ok();
    }
    let (doomed, asking) = (workshop.reader("doomed"), workshop.reader("asking"));
    let item = asking.must_ask(COUNT, json!({"line": "may I?"}));
    let _ = workshop.owner().card(&item);
    let count = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..24)
            .map(|n| {
                let client = flooding[n % flooding.len()].client();
                let count = &count;
                scope.spawn(move || {
                    let echo = || try_invoke(&client, "fixture.echo", json!({"text": "x"}));
                    while let Some(answer) = echo() {
                        // Only what was done is a burden: a refusal for its number touches no disk.
                        count.fetch_add(usize::from(answer["ok"] == true), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        until_true("the flood", || count.load(Ordering::Relaxed) > 1_000);
        let owner = workshop.owner();
        owner.deny(&item, "not now");
        owner.revoke_agent("doomed");
        let pause = json!({"on": true});
        owner.post("/admin/api/pause", pause).expect_ok();
        workshop.gateway.kill9();
        for thread in threads {
            thread.join().expect("the flood is over");
        }
    });
    workshop.gateway.start_again();
    let owner = workshop.owner();
    let status = owner.get("/admin/api/status").expect_ok();
    assert_eq!(status["paused"], true, "{status}");
    let client = workshop.gateway.client();
    plexus_tests::agent::handshake(&client, &doomed.pat).expect_status(401);
    let go_on = json!({"on": false});
    owner.post("/admin/api/pause", go_on).expect_ok();
    let asking = workshop.back(&asking);
    asking.must_fail(COUNT, json!({"line": "may I?"}), 403, "denied_by_owner");
    workshop.back(&flooding[0]);
}

/// A clean stop leaves no process, and runs what was running to its end.
#[test]
fn a_stop_waits_for_effects() {
    let (mut workshop, agent) = Workshop::with_writer("one");
    agent.must(COUNT, json!({"line": "warm"}));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| agent.invoke(COUNT, json!({"line": "last", "wait": 700})));
        until_true("the effect to be under way", || {
            workshop.calls(COUNT, "intent").len() == 2
        });
        assert!(workshop.gateway.stop().success());
        let reply = call.join().expect("an answer");
        assert_eq!(reply.at("/ok"), true, "{reply}");
    });
    assert_eq!(workshop.effects(), ["warm", "last"]);
}
