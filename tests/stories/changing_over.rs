//! The gateway gives way to its next build while clients are at work: two real builds, one process.

use crate::house::{COUNT, FIXTURE_READS, Workshop};
use nix::sys::signal::Signal;
use plexus_tests::editions::{self, BUILD};
use plexus_tests::kept::{Kept, NoAnswer};
use plexus_tests::programs::{self, Said};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::{PATIENCE, ended, until, until_true, within};
use plexus_tests::{Agent, Client, Folder, Gateway, Length, binaries, length};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const DAEMON: &str = "plexusd-fixture";
const WORKER: &str = "plexus-worker-fixture";

/// A workshop whose programs lie in a folder of their own, of the present build.
struct Installed {
    workshop: Workshop,
    programs: TempDir,
}

impl Installed {
    fn open() -> Self {
        let programs = TempDir::with_prefix("plx").expect("a folder");
        for name in [DAEMON, WORKER, "plexus-sandbox-exec"] {
            editions::ship(programs.path(), name, BUILD);
        }
        let gateway = Gateway::builder().fixture().programs(programs.path());
        let workshop = Workshop::with(gateway);
        Self { workshop, programs }
    }
    fn gateway(&self) -> &Gateway {
        &self.workshop.gateway
    }
    /// Installs another build over it.
    fn install(&self, build: &str) {
        for name in [DAEMON, WORKER] {
            editions::ship(self.programs.path(), name, build);
        }
    }
    fn folder(&self) -> &Path {
        self.programs.path()
    }
    fn upgrade(&self) -> Said {
        self.gateway().cli(["upgrade", "--json"])
    }
    /// The owner's command, under way.
    fn upgrading(&self) -> Child {
        let mut command = programs::command(&binaries::path("plexusctl"), self.gateway().home());
        command
            .env("PLEXUS_HOME", self.gateway().state())
            .args(["upgrade", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    }
    fn status(&self) -> Value {
        let owner = self.workshop.owner();
        owner.get("/admin/api/status").expect_ok()
    }
    fn event(&self, name: &str) -> Value {
        let owner = self.workshop.owner();
        owner.audited(|event| event["detail"]["event"] == name)["detail"].clone()
    }
}

/// Counts the calls of all crowds, so that no line is ever written a second time on purpose.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// What the clients met.
#[derive(Debug, Default)]
struct Met {
    reads: AtomicUsize,
    renewals: AtomicUsize,
    refused: AtomicUsize,
    cut: AtomicUsize,
    /// Lines of effects that were answered with success.
    done: Mutex<Vec<String>>,
    /// Any other answer.
    odd: Mutex<Vec<String>>,
}

/// Reads and writes as fast as it is answered, until `over`; renews its credential where it is told to, and nothing else.
fn work(agent: &Agent, kept: bool, by_token: bool, port: u16, met: &Met, over: &AtomicBool) {
    let mut client = Kept::new(port, kept);
    let bearer = |secret: &str| format!("Bearer {secret}");
    let renew = |client: &mut Kept| -> Result<(&'static str, String), NoAnswer> {
        let body = json!({"client": {"name": "busy", "version": "1"}});
        let pat = bearer(&agent.pat);
        let (_, opened) =
            client.send(("POST", "/link/handshake"), ("authorization", &pat), &body)?;
        let session = opened["sessionId"].as_str().unwrap_or_default().to_owned();
        if !by_token {
            return Ok(("x-plexus-session", session));
        }
        let asked = json!({"grants": {"fixture.echo": "allow", COUNT: "allow"}});
        let (_, given) = client.send(("PUT", "/grants"), ("x-plexus-session", &session), &asked)?;
        let token = given["token"].as_str().unwrap_or_default();
        Ok(("authorization", bearer(token)))
    };
    let mut credential = ("x-plexus-session", String::new());
    while !over.load(Ordering::Relaxed) {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let effect = number.is_multiple_of(4);
        let line = format!("{}-{number}", agent.id);
        let body = match effect {
            true => json!({"id": COUNT, "input": {"line": line}}),
            false => json!({"id": "fixture.echo", "input": {"text": line}}),
        };
        let header = (credential.0, credential.1.as_str());
        let outcome = client.send(("POST", "/invoke"), header, &body);
        let outcome = match outcome {
            Ok((401, answer))
                if ["session_expired", "token_revoked"]
                    .contains(&answer["error"]["code"].as_str().unwrap_or_default()) =>
            {
                assert_eq!(answer["error"]["effect"], "none", "{answer}");
                met.renewals.fetch_add(1, Ordering::Relaxed);
                renew(&mut client).map(|fresh| credential = fresh)
            }
            Ok((200, answer)) if answer["ok"] == true => {
                if effect {
                    met.done.lock().expect("nobody panics with it").push(line);
                } else {
                    met.reads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Ok((status, answer)) => {
                let odd = format!("{status} {answer}");
                met.odd.lock().expect("nobody panics with it").push(odd);
                Ok(())
            }
            Err(none) => Err(none),
        };
        match outcome {
            Ok(()) => {}
            Err(NoAnswer::Refused) => {
                met.refused.fetch_add(1, Ordering::Relaxed);
            }
            Err(NoAnswer::Cut) => {
                met.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn crowd(installed: &Installed) -> Vec<Agent> {
    let owner = installed.workshop.owner();
    let both = ["fixture.echo", COUNT];
    (0..6)
        .map(|n| {
            let id = format!("agent-{n}");
            let connected = owner
                .connect_as(json!({"agentId": id, "capabilities": both, "standing": [COUNT]}))
                .expect_ok();
            owner
                .limit(&id, json!({"callsPerSecond": 1_000_000}))
                .expect_ok();
            let code = connected["code"].as_str().expect("a code");
            Agent::enroll(&installed.gateway().client(), code)
        })
        .collect()
}

/// Lets the crowd work while `meanwhile` happens, and for a while before and after it.
fn busy(agents: &[Agent], port: u16, meanwhile: impl FnOnce(&dyn Fn())) -> Met {
    let (met, over) = (Met::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for (n, agent) in agents.iter().enumerate() {
            let (met, over) = (&met, &over);
            scope.spawn(move || work(agent, n % 3 != 0, n % 2 == 0, port, met, over));
        }
        let goes_on = || {
            let before = met.reads.load(Ordering::Relaxed);
            until_true("the crowd to be at work", || {
                met.reads.load(Ordering::Relaxed) >= before + 100
            });
        };
        goes_on();
        // A panic here must not leave the crowd at work for ever.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| meanwhile(&goes_on)));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    met
}

/// The part of an exported event that says that it is `name`.
fn named(event: &Value, name: &str) -> Option<Value> {
    if event["event"] == name {
        return Some(event.clone());
    }
    let parts = event.as_object()?.values();
    parts
        .filter(|part| part.is_object())
        .find_map(|part| named(part, name))
}

/// Each line that was answered with success is there once, and none is there twice.
#[track_caller]
fn nothing_lost_or_twice(workshop: &Workshop, done: &[String]) {
    let mut there = BTreeMap::new();
    for line in workshop.effects() {
        *there.entry(line).or_insert(0) += 1;
    }
    for (line, times) in &there {
        assert_eq!(*times, 1, "{line}");
    }
    for line in done {
        assert!(there.contains_key(line), "{line} was answered and is lost");
    }
}

#[test]
fn clients_at_full_speed_renew_and_notice_nothing_else() {
    let mut installed = Installed::open();
    let agents = crowd(&installed);
    let (pid, port) = (installed.gateway().pid(), installed.gateway().port());
    let tokens: Vec<Value> = agents
        .iter()
        .map(|agent| agent.token(&["fixture.echo"]))
        .collect();
    let credential = installed.gateway().state().join("agents/agent-0.pat");
    std::fs::write(&credential, &agents[0].pat).expect("the command's credential");
    std::fs::set_permissions(&credential, PermissionsExt::from_mode(0o600)).expect("a mode");
    let rounds: &[String] = match length() {
        Length::Quick => &[editions::later()],
        // Forth to a later one, and to the same version in another file.
        Length::Full | Length::Long => &[editions::later(), editions::later(), editions::later()],
    };
    let met = busy(&agents, port, |goes_on| {
        for build in rounds {
            installed.install(build);
            // An agent's own command, at any moment of it.
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let typing = scope.spawn(|| {
                    let mut typed = 0;
                    while !over.load(Ordering::Relaxed) {
                        let said = installed
                            .gateway()
                            .plexus("agent-0", ["fixture.echo", "text=typed"]);
                        said.expect_status(0);
                        assert_eq!(said.stderr, "", "{said}");
                        typed += 1;
                    }
                    typed
                });
                let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let said = installed.upgrade();
                    goes_on();
                    said
                }));
                over.store(true, Ordering::Relaxed);
                assert!(typing.join().expect("the command never fails") > 0);
                let said = said.expect("the owner's command");
                assert_eq!(said.expect_status(0).json()["changed"], true, "{said}");
            });
        }
    });
    assert_eq!(
        *met.odd.lock().expect("nobody panics"),
        Vec::<String>::new()
    );
    let failed = (
        met.refused.load(Ordering::Relaxed),
        met.cut.load(Ordering::Relaxed),
    );
    assert_eq!(failed, (0, 0), "refused, cut");
    // Each credential is renewed at its first use and once for each change.
    let renewals = met.renewals.load(Ordering::Relaxed);
    assert_eq!(renewals, agents.len() * (1 + rounds.len()));
    let done = met.done.lock().expect("nobody panics");
    assert!(!done.is_empty());
    nothing_lost_or_twice(&installed.workshop, &done);

    let status = installed.status();
    let last = rounds.last().expect("one");
    assert_eq!(status["build"], **last);
    assert_eq!(
        (status["pid"].as_u64(), installed.gateway().pid()),
        (Some(pid.into()), pid)
    );
    assert_eq!(status["port"], port);
    installed.gateway().cli(["audit", "verify"]).expect_ok();
    let log = installed.gateway().log();
    let events =
        |name: &str| -> Vec<Value> { log.iter().filter_map(|event| named(event, name)).collect() };
    let (begun, upgraded) = (events("upgrade.begin"), events("upgraded"));
    assert_eq!((begun.len(), upgraded.len()), (rounds.len(), rounds.len()));
    for (begun, upgraded) in begun.iter().zip(&upgraded) {
        assert_eq!(begun["from"], upgraded["from"]);
        assert_eq!(begun["to"], upgraded["to"]);
    }
    assert_eq!(upgraded[0]["from"]["build"], BUILD);
    assert_eq!(upgraded[rounds.len() - 1]["to"]["build"], **last);

    // A crowd with tokens of before is told so, however often, and is not taken for somebody who guesses.
    for round in 0..30 {
        for (agent, token) in agents.iter().zip(&tokens) {
            let reply = agent.invoke_with(token, "fixture.echo", json!({"text": "old"}));
            let error = reply.expect_error(401, "token_revoked");
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|m| m.contains("older")),
                "{round} {error}"
            );
        }
    }
    let counted = || {
        let owner = installed.workshop.owner();
        let mut events = owner.audit(200);
        events.retain(|event| event["detail"]["event"] == "credential.refused");
        events.len()
    };
    assert_eq!(counted(), 0);
    agents[0]
        .invoke_with("guess", "fixture.echo", json!({"text": "no"}))
        .expect_error(401, "token_revoked");
    assert_eq!(counted(), 1, "somebody who guesses is");

    // The same crowd does notice a stop and a start.
    let port = installed.gateway().port();
    let noticed = busy(&agents, port, |_| {
        assert!(installed.workshop.gateway.stop().success());
    });
    assert!(noticed.refused.load(Ordering::Relaxed) > 0, "{noticed:?}");
    installed.workshop.gateway.start_again();
    nothing_lost_or_twice(
        &installed.workshop,
        &noticed.done.lock().expect("nobody panics"),
    );
}

/// A program of which only the first word is heard.
fn script(edition: &str) -> Vec<u8> {
    format!("#!/bin/sh\n[ \"$1\" = edition ] || exit 7\n{edition}\n").into_bytes()
}

#[test]
fn what_may_not_follow_is_refused_in_words_and_the_old_one_serves() {
    let installed = Installed::open();
    let agent = installed.workshop.reader("one");
    let token = agent.token(&["fixture.echo"]);
    let before = installed.status();
    let own = programs::run({
        let mut command = programs::command(&installed.folder().join(DAEMON), installed.folder());
        command.arg("edition");
        command
    });
    let own = own.json();
    assert_eq!(own["build"], BUILD);
    let said_otherwise = |member: &str, value: Value| {
        let mut other = own.clone();
        other[member] = value;
        script(&format!("echo '{other}'"))
    };
    let install = |bytes: &[u8]| editions::put(installed.folder(), DAEMON, bytes);
    #[rustfmt::skip]
    let cases: [(&str, &dyn Fn(), &str); 9] = [
        ("an older version", &|| editions::ship(installed.folder(), DAEMON, &editions::earlier()), "older than"),
        (
            "an older format of the ledger",
            &|| install(&said_otherwise("ledgerFormats", json!([1]))),
            "does not know format 3 of the ledger, only [1]",
        ),
        ("one that cannot take over", &|| install(&said_otherwise("handovers", json!([]))), "cannot take over"),
        ("one that would not start", &|| install(&said_otherwise("problems", json!(["no cages here"]))), "no cages here"),
        ("garbage", &|| install(&[0x7f; 4096]), "it cannot be run"),
        ("nothing", &|| install(b""), "is not changed over to"),
        (
            "one that ends at once",
            &|| install(&script("echo 'cannot start: no library' >&2; exit 3")),
            "cannot start: no library",
        ),
        ("one that talks of something else", &|| install(&script("echo hello")), "does not say what it is"),
        (
            "no file at all",
            &|| {
                std::fs::remove_file(installed.folder().join(DAEMON)).expect("it goes");
            },
            "No such file",
        ),
    ];
    for (what, put, words) in cases {
        put();
        let looked = installed.gateway().cli(["upgrade", "--check"]);
        let said = installed.upgrade();
        for said in [looked, said] {
            said.expect_status(1);
            assert!(said.stderr.contains(words), "{what}: {said}");
            assert!(said.stderr.contains("serves on"), "{what}: {said}");
        }
        let why = installed.event("upgrade.refused");
        assert_contains(&why["why"].to_string(), words);
        // Not even a credential has ended.
        agent
            .invoke_with(&token, "fixture.echo", json!({"text": what}))
            .expect_ok();
        let now = installed.status();
        assert_eq!(now["launch"], before["launch"], "{what}");
        assert_eq!(now["pid"], before["pid"]);
    }
    // What was refused is not held against the next one; and there is nothing to do where there is nothing new.
    installed.install(&editions::later());
    let looked = installed.gateway().cli(["upgrade", "--check"]);
    assert_contains(looked.expect_ok(), "it would be changed over");
    assert_eq!(installed.upgrade().expect_status(0).json()["changed"], true);
    assert_eq!(installed.status()["build"], *editions::later());
    assert_eq!(
        installed.upgrade().expect_status(0).json()["changed"],
        false
    );
    // Over TCP there is no such route, key or no key; on the owner's socket it wants the key.
    let owner = installed.workshop.owner();
    let ask = |client: &Client| client.post("/admin/api/upgrade", json!({"check": true}));
    ask(&owner.client).expect_error(404, "unknown_capability");
    let socket = installed.gateway().owner_socket();
    ask(&socket).expect_error(401, "unauthorized");
    let keyed = |socket: &Client| ask(&socket.with("x-plexus-connection-key", &owner.key));
    keyed(&installed.gateway().agent_socket()).expect_error(404, "unknown_capability");
    let answer = keyed(&socket).expect_ok();
    assert_eq!(answer["changed"], false, "{answer}");
}

/// It was looked at and was well, and is not there when it counts.
#[test]
fn where_the_new_one_cannot_be_started_the_old_one_opens_everything_again() {
    let installed = Installed::open();
    let agent = installed.workshop.writer("one");
    agent.must(COUNT, json!({"line": "before"}));
    let (pid, port) = (installed.gateway().pid(), installed.gateway().port());
    for round in 0..2 {
        let own = json!({
            "version": "99.0.0", "build": "99.0.0+ipc.2",
            "ledgerFormats": [3, 2], "handovers": [1],
        });
        let next = script(&format!("echo '{own}'"));
        editions::put(installed.folder(), DAEMON, &next);
        // It goes as soon as the change has begun: a call holds the change up for that long.
        let (said, slow) = std::thread::scope(|scope| {
            let reader = installed.workshop.reader("slow");
            let slow = scope.spawn(move || reader.invoke("fixture.slow", json!({"ms": 1500})));
            until("the call to be under way", || {
                let workers = installed.status()["workers"].clone();
                let ready =
                    |worker: &Value| worker["role"] == "reader" && worker["state"] == "ready";
                workers.as_array()?.iter().any(ready).then_some(())
            });
            let upgrading = installed.upgrading();
            until_true("the change to begin", || {
                let log = installed.gateway().state_file("logs/plexusd.log");
                log.matches("\"message\":\"changing over\"").count() > round
            });
            std::fs::remove_file(installed.folder().join(DAEMON)).expect("it goes");
            let said = told(upgrading);
            (said, slow.join().expect("it is answered"))
        });
        assert_eq!(
            slow.expect_ok()["output"]["waited"],
            1500,
            "what ran ended first"
        );
        let words = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(1), "{words}");
        assert_contains(&words, "the old one keeps running");
        assert_contains(&words, "No such file");
        let status = installed.status();
        assert_eq!(status["build"], BUILD);
        assert_eq!(
            (status["pid"].as_u64(), status["port"].as_u64()),
            (Some(pid.into()), Some(port.into()))
        );
        assert_eq!(installed.event("upgrade.failed")["to"]["version"], "99.0.0");
        let agent = installed.workshop.back(&agent);
        agent.must(COUNT, json!({"line": format!("after {round}")}));
    }
    assert_eq!(
        installed.workshop.effects(),
        ["before", "after 0", "after 1"]
    );
    installed.gateway().cli(["audit", "verify"]).expect_ok();
    installed.install(&editions::later());
    assert_eq!(installed.upgrade().expect_status(0).json()["changed"], true);
    let agent = installed.workshop.back(&agent);
    agent.must(COUNT, json!({"line": "new"}));
}

/// A call, and one that nobody waits for: both end before the change, and a request for the second is answered.
#[test]
fn what_runs_ends_first() {
    let installed = Installed::open();
    let agent = installed.workshop.reader("slow");
    // A worker of the build that runs.
    agent.must("fixture.slow", json!({"ms": 1}));
    installed.install(&editions::later());
    let slow = |ms: u32| json!({"id": "fixture.slow", "input": {"ms": ms}});
    let mut background = slow(2_000);
    background["async"] = true.into();
    let reply = agent.invoke_body(background);
    assert_eq!(reply.status, 202, "{reply}");
    let run = reply.at("/run/runId").as_str().expect("an id").to_owned();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| agent.invoke_body(slow(1_000)));
        let wait = scope.spawn(|| {
            let path = format!("/invoke/status?runId={run}&wait=60");
            agent.client().get(&path)
        });
        let said = installed.upgrade();
        assert_eq!(said.expect_status(0).json()["changed"], true, "{said}");
        let reply = call.join().expect("it is answered");
        // It may have come after the change began, and then belongs to the new launch.
        assert!(reply.status == 200 || reply.status == 401, "{reply}");
        let waited = wait.join().expect("it is answered");
        assert!(
            waited.status == 200 || waited.status == 401 || waited.status == 403,
            "{waited}"
        );
    });
    let reads = installed.workshop.calls("fixture.slow", "read");
    assert!(
        reads.iter().all(|read| read["outcome"] == "ok"),
        "{reads:#?}"
    );
    assert!(!reads.is_empty(), "the run ended, and is on record");
}

/// A call that takes long is named and waited for; then it is cancelled, or there is no change.
#[test]
fn long_calls_hold_an_upgrade_up_or_are_cancelled() {
    let installed = Installed::open();
    let stream = "fixture.stream";
    let agent = installed
        .gateway()
        .agent_as(json!({"agentId": "long", "capabilities": [stream], "standing": [stream]}));
    let input = json!({"text": "half", "pieces": 1, "until": "never"});
    let reply = agent.invoke_body(json!({"id": stream, "input": input, "async": true}));
    reply.expect_status(202);
    let run = reply.at("/run/runId").as_str().expect("an id").to_owned();
    let path = format!("/invoke/status?runId={run}&after=0&wait=20");
    assert_eq!(agent.client().get(&path).expect_ok()["status"], "running");
    installed.install(&editions::later());
    let refused = installed.gateway().cli(["upgrade", "--wait", "1"]);
    refused.expect_status(1);
    for words in ["waiting for the calls", stream, "--now"] {
        assert!(refused.stderr.contains(words), "{refused}");
    }
    assert_eq!(agent.client().get(&path).expect_ok()["status"], "running");
    let said = installed.gateway().cli(["upgrade", "--now", "--json"]);
    assert_eq!(said.expect_status(0).json()["changed"], true, "{said}");
    let outcomes = installed.workshop.calls(stream, "outcome");
    assert_eq!(outcomes.len(), 1);
    assert_eq!(
        outcomes[0]["detail"]["code"], "cancelled",
        "{}",
        outcomes[0]
    );
}

#[test]
fn two_at_a_time_are_one() {
    let installed = Installed::open();
    let launch = |status: Value| status["launch"].as_u64().expect("a number");
    let before = launch(installed.status());
    installed.install(&editions::later());
    let both = [installed.upgrading(), installed.upgrading()];
    let both = both.map(told);
    let mut changed = 0;
    for said in &both {
        let (out, err) = (
            String::from_utf8_lossy(&said.stdout),
            String::from_utf8_lossy(&said.stderr),
        );
        match said.status.code() {
            Some(0) => {
                let answer: Value = serde_json::from_str(&out).expect("JSON");
                changed += usize::from(answer["changed"] == true);
            }
            _ => assert!(err.contains("busy"), "{out}{err}"),
        }
    }
    assert_eq!(changed, 1, "{both:?}");
    assert_eq!(launch(installed.status()), before + 1);
    assert_eq!(installed.status()["build"], *editions::later());
}

/// Killed at any moment of it: what was answered is there, nothing is there twice, and the home opens again.
#[test]
fn a_kill_in_the_middle_loses_nothing() {
    let rounds = match length() {
        Length::Quick => 2,
        Length::Full => 6,
        Length::Long => 40,
    };
    let mut installed = Installed::open();
    let agents = crowd(&installed);
    let mut done = Vec::new();
    for round in 0..rounds {
        // A new file each time, of the same build.
        installed.install(BUILD);
        let port = installed.gateway().port();
        let met = busy(&agents, port, |_| {
            let mut upgrading = installed.upgrading();
            let begun = || {
                let log = installed.gateway().state_file("logs/plexusd.log");
                log.matches("\"message\":\"changing over\"").count()
            };
            let before = begun();
            until_true("the change to begin", || begun() > before);
            let moment = Instant::now() + Duration::from_millis(60 * round);
            until_true("the moment", || Instant::now() >= moment);
            installed.workshop.gateway.kill9();
            upgrading.kill().expect("it is our child");
            upgrading.wait().expect("it is our child");
        });
        done.extend(met.done.into_inner().expect("nobody panics"));
        installed.workshop.gateway.start_again();
        installed.gateway().cli(["audit", "verify"]).expect_ok();
        nothing_lost_or_twice(&installed.workshop, &done);
    }
    assert!(!done.is_empty());
}

/// A stop that is asked for while the change is under way is a stop.
#[test]
fn a_stop_meanwhile_is_a_stop() {
    let mut installed = Installed::open();
    let reader = installed.workshop.reader("slow");
    reader.must("fixture.slow", json!({"ms": 1}));
    installed.install(&editions::later());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| reader.invoke("fixture.slow", json!({"ms": 1500})));
        until_true("the call to be under way", || {
            !installed.workshop.workers().is_empty()
        });
        let mut upgrading = installed.upgrading();
        until_true("the change to begin", || {
            let log = installed.gateway().state_file("logs/plexusd.log");
            log.contains("\"message\":\"changing over\"")
        });
        assert!(installed.workshop.gateway.stop().success());
        upgrading.kill().expect("it is our child");
        upgrading.wait().expect("it is our child");
        let answered = slow.join().expect("it is answered");
        assert!(
            answered.status == 200 || answered.status == 503,
            "{answered}"
        );
    });
    installed.workshop.gateway.start_again();
    assert_eq!(installed.status()["build"], *editions::later());
    assert_eq!(installed.status()["upgrade"], Value::Null, "a start");
}

/// How a program ended, and its outputs.
fn told(child: Child) -> Output {
    let ended = within(PATIENCE, "a program's end", || child.wait_with_output());
    ended.expect("it ends")
}

/// Begins an upgrade, and sends `signal` at the earliest moment of its last part: when nothing can be recorded any more.
fn signalled_at_the_last_moment(installed: &Installed, signal: Signal) {
    let pid = i32::try_from(installed.gateway().pid()).expect("a pid");
    let mark = installed.gateway().state().join("clock.json");
    let written = || std::fs::metadata(&mark).ok().map(|file| file.ino());
    // What the daemon notes when it closes its books.
    let before = written();
    let mut upgrading = installed.upgrading();
    let by = Instant::now() + Duration::from_secs(60);
    while written() == before {
        assert!(Instant::now() < by, "the change never came so far");
        std::thread::yield_now();
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("our child");
    if signal == Signal::SIGTERM {
        upgrading.kill().expect("it is our child");
    }
    ended("the command", &mut upgrading);
}

/// The owner's pause and stop count at every moment of it, also when the ledger is closed already.
#[test]
fn a_signal_at_the_last_moment_is_heeded() {
    let mut installed = Installed::open();
    for _ in 0..2 {
        installed.install(BUILD);
        signalled_at_the_last_moment(&installed, Signal::SIGUSR1);
        let paused = || (installed.status()["paused"] == true).then_some(());
        until("the pause, by whichever program", paused);
        installed.gateway().cli(["resume"]).expect_status(0);
    }
    installed.gateway().cli(["audit", "verify"]).expect_ok();
    for _ in 0..2 {
        installed.install(BUILD);
        signalled_at_the_last_moment(&installed, Signal::SIGTERM);
        assert!(installed.workshop.gateway.ended().success());
        let left = installed.gateway().state().join("runtime.json");
        assert!(!left.exists(), "a clean stop");
        installed.workshop.gateway.start_again();
    }
}

/// What any next start would meet is asked before anything is given up.
#[test]
fn what_the_next_start_needs_is_looked_at_first() {
    let folder = Folder::empty();
    let root = folder.path().canonicalize().expect("the folder");
    let programs = TempDir::with_prefix("plx").expect("a folder");
    for name in [DAEMON, WORKER, "plexus-sandbox-exec"] {
        editions::ship(programs.path(), name, BUILD);
    }
    let gateway = Gateway::builder()
        .fixture()
        .programs(programs.path())
        .workspace(&root)
        .start();
    editions::ship(programs.path(), DAEMON, &editions::later());
    let launch = || {
        let status = gateway.owner().get("/admin/api/status").expect_ok();
        status["launch"].clone()
    };
    let before = launch();
    let network = gateway.state().join("network.json");
    let write = |text: &str| std::fs::write(&network, text).expect("a file");
    let away = root.with_extension("away");
    let listen = |address: &str| {
        json!({"version": 1, "bindAddresses": [address], "publicHostnames": []}).to_string()
    };
    let cases: [(&dyn Fn(), &str); 3] = [
        (
            &|| std::fs::rename(&root, &away).expect("it goes"),
            "--workspace",
        ),
        (
            &|| {
                std::fs::rename(&away, &root).expect("it comes back");
                write("nonsense");
            },
            "network.json cannot be read",
        ),
        // An address of documentation: no machine has it.
        (
            &|| write(&listen("192.0.2.1")),
            "cannot listen on 192.0.2.1 (network.json)",
        ),
    ];
    for (spoil, words) in cases {
        spoil();
        let said = gateway.cli(["upgrade"]);
        said.expect_status(1);
        assert!(said.stderr.contains(words), "{words}: {said}");
        assert!(said.stderr.contains("serves on"), "{words}: {said}");
        assert_eq!(launch(), before, "{words}");
    }
    std::fs::remove_file(&network).expect("it goes");
    gateway.cli(["upgrade"]).expect_status(0);
    assert_ne!(launch(), before);
}

/// New workers beside an old daemon: refused, with what to type; typing that mends it, and so do the old files.
#[test]
fn programs_of_two_builds_are_told_apart_and_the_pair_recovers() {
    let installed = Installed::open();
    let agent = installed.workshop.reader("one");
    let read = |agent: &Agent| agent.invoke("fixture.echo", json!({"text": "a"}));
    read(&agent).expect_ok();
    let end_workers = || {
        let workers = installed.workshop.workers();
        assert!(!workers.is_empty());
        for worker in workers {
            worker.signal(Signal::SIGKILL);
        }
    };
    editions::ship(installed.folder(), WORKER, &editions::later());
    // What runs goes on.
    read(&agent).expect_ok();
    end_workers();
    let refused = until("a worker of the other build to be refused", || {
        let reply = read(&agent);
        (reply.at("/ok") == false).then_some(reply)
    });
    let error = refused.expect_error(503, "source_unavailable");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("plexusctl upgrade"), "{error}");
    assert!(!message.contains(&editions::later()), "{error}");
    let owner = installed.workshop.owner().client;
    let health = owner.get("/admin/api/health").expect_ok().to_string();
    assert!(health.contains(&editions::later()), "{health}");
    // The other half comes.
    editions::ship(installed.folder(), DAEMON, &editions::later());
    assert_eq!(installed.upgrade().expect_status(0).json()["changed"], true);
    let agent = installed.workshop.back(&agent);
    read(&agent).expect_ok();
    assert_eq!(
        installed.workshop.owner().grants().len(),
        FIXTURE_READS.len()
    );
}

/// A letter that is not for this process, or that names what is no socket of ours, opens nothing.
#[test]
fn a_letter_for_somebody_else_is_not_believed() {
    let letter = |pid: u32| {
        let build = json!({"version": "1.0.0", "build": "x"});
        json!({"pid": pid, "from": build, "sockets": [0, 1, 2, 3, 4, 99]}).to_string()
    };
    let gateway = Gateway::builder()
        .env("PLEXUS_HANDOVER", &letter(1))
        .start();
    let status = gateway.owner().get("/admin/api/status").expect_ok();
    assert_eq!(status["upgrade"], Value::Null, "{status}");
    // The shell's own number is the daemon's: the letter is for it, and nothing in it is a socket.
    let home = TempDir::with_prefix("plx").expect("a folder");
    let mut command = programs::command(Path::new("/bin/sh"), home.path());
    let line = format!(
        "export PLEXUS_HANDOVER=$(printf '%s' '{}' | sed \"s/pid.:1,/pid\\\":$$,/\"); exec \"$0\" --home state --port 0",
        letter(1)
    );
    command
        .args(["-c", &line])
        .arg(binaries::path("plexusd"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("the shell starts");
    let runtime = home.path().join("state/runtime.json");
    until_true("it to serve", || runtime.is_file());
    let pid = i32::try_from(child.id()).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).expect("our child");
    let said = told(child);
    assert!(said.status.success());
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(words.contains("handed over"), "{words}");
    assert!(String::from_utf8_lossy(&said.stdout).contains("PLEXUS_READY"));
}
