//! Programs that a worker has started: each in a cage of its own, and none left when the gateway is.

use crate::house::Workshop;
use nix::sys::signal::Signal;
use plexus_hostile::{has_ended, hold};
use plexus_tests::texts::assert_contains;
use plexus_tests::waiting::{PATIENCE, until, until_true};
use plexus_tests::{Agent, Folder, Gateway, binaries, editions, processes};
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

const CHILD: &str = "fixture.child";
/// A shell that leaves a process behind in a session of its own, writes both numbers down, and waits.
const LEAVES: &str = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $$ $! > $HOME/new; mv $HOME/new $HOME/numbers; wait";

/// A gateway with the edition of the fixture that has programs started, and an agent that may have them.
struct Site {
    workshop: Workshop,
    _programs: TempDir,
}

impl Site {
    fn open() -> Self {
        let programs = TempDir::with_prefix("plx").expect("a temporary folder");
        let edition = "children";
        let workers = editions::workers(programs.path(), edition);
        let builder = Gateway::builder()
            .fixture()
            .env(editions::VARIABLE, edition)
            .arg("--workers")
            .arg(&workers.to_string_lossy());
        Self {
            workshop: Workshop::with(builder),
            _programs: programs,
        }
    }

    fn agent(&self, id: &str) -> Agent {
        self.workshop.gateway.agent_with(id, &[CHILD])
    }

    /// The folder of a run.
    fn run(&self, name: &str) -> PathBuf {
        let state = self
            .workshop
            .gateway
            .state()
            .canonicalize()
            .expect("it is there");
        state.join("workers/fixture/runs/reader").join(name)
    }

    /// The processes of a run of [`LEAVES`], once there are any.
    fn numbers(&self, run: &str) -> Vec<i32> {
        let file = self.run(run).join("scratch/numbers");
        let numbers = until("the run", || std::fs::read_to_string(&file).ok());
        let numbers: Vec<i32> = numbers
            .split_whitespace()
            .map(|number| number.parse().expect("a number"))
            .collect();
        assert_eq!(numbers.len(), 2, "{numbers:?}");
        numbers
    }
}

fn shell(agent: &Agent, run: &str, line: &str) -> Value {
    let input = json!({"child": "shell", "run": run, "arguments": {"a": line}});
    let reply = agent.invoke(CHILD, input);
    reply.expect_ok();
    reply.at("/output")
}

#[test]
fn child_runs_in_a_cage_of_its_own() {
    let site = Site::open();
    let agent = site.agent("a");
    let said = shell(
        &agent,
        "one",
        "pwd; cat; echo made > made; cat made; env | sort",
    );
    assert_eq!(said["ending"], "Exited(0)", "{said}");
    let lines: Vec<&str> = said["output"].as_str().expect("text").lines().collect();
    assert_eq!(lines[0], site.run("one").join("root").to_string_lossy());
    assert_eq!(lines[1], "made", "its input was closed");
    let names: Vec<&str> = lines[2..]
        .iter()
        .filter_map(|line| line.split('=').next())
        .collect();
    let all = "HOME LOGNAME PATH PWD SHLVL TMPDIR USER _";
    assert_eq!(names.join(" "), all);
    assert!(site.run("one").join("root/made").is_file());
    // No signal is kept from it: one that blocks SIGCHLD would wait for its own children for ever.
    let said = shell(&agent, "one", "env --list-signal-handling true");
    assert!(!said["error"].to_string().contains("BLOCK"), "{said}");

    // Another run, the gateway's state, the source's own folder, the network, other processes.
    let key = site.workshop.gateway.state().join("connection-key");
    let made = site.run("one").join("root/made");
    let folder = site.workshop.folder.path().join("state");
    let port = site.workshop.gateway.port();
    let daemon = site.workshop.gateway.pid();
    for attempt in [
        format!("cat {}", key.display()),
        format!("cat {}", made.display()),
        format!("echo more >> {}", made.display()),
        format!("cat {}", folder.display()),
        format!("echo > /dev/tcp/127.0.0.1/{port}"),
        format!("kill -0 {daemon}"),
        "cat /proc/1/status".to_owned(),
    ] {
        let said = shell(&agent, "two", &format!("{attempt} || exit 9"));
        assert_eq!(said["ending"], "Exited(9)", "{attempt}: {said}");
        assert!(
            said["error"].as_str().is_some_and(|why| {
                why.contains("ermission denied") || why.contains("not permitted")
            }),
            "{attempt}: {said}"
        );
        let control = std::process::Command::new("bash")
            .args(["-c", &attempt])
            .output()
            .expect("a shell");
        assert!(control.status.success(), "{attempt}: {control:?}");
    }
    // A leaf has no second program.
    let input = json!({"child": "cat", "run": "three", "arguments": {"a": made}});
    let reply = agent.invoke(CHILD, input);
    reply.expect_ok();
    assert_eq!(reply.at("/output/ending"), "Exited(1)");
    let own = site.run("three").join("root/own");
    std::fs::write(&own, "its own").expect("a file");
    let input = json!({"child": "cat", "run": "three", "arguments": {"a": own}});
    let reply = agent.invoke(CHILD, input);
    reply.expect_ok();
    assert_eq!(reply.at("/output/output"), "its own");
}

#[test]
fn undeclared_child_is_refused() {
    let site = Site::open();
    let agent = site.agent("a");
    #[rustfmt::skip]
    let rows = [
        (json!({"child": "other", "run": "one", "arguments": {}}), "no such program"),
        (json!({"child": "shell", "run": "../one", "arguments": {"a": "true"}}), "no name"),
        (json!({"child": "shell", "run": "one", "arguments": {}}), "has no value"),
        (json!({"child": "shell", "run": "one", "arguments": {"a": "true"}, "environment": {"PATH": "/"}}), "without a value"),
    ];
    for (input, words) in rows {
        let reply = agent.invoke(CHILD, input.clone());
        assert!(reply.text().contains(words), "{input}: {}", reply.text());
    }
    let input = json!({"child": "shell", "run": "one", "arguments": {"a": "echo $GIVEN"}, "environment": {"GIVEN": "given"}});
    let reply = agent.invoke(CHILD, input);
    reply.expect_ok();
    assert_eq!(reply.at("/output/output"), "given\n");
}

#[test]
fn killed_gateway_leaves_no_child() {
    let mut site = Site::open();
    let agent = site.agent("a");
    let held = std::thread::scope(|scope| {
        // Nobody hears the answer: its gateway is gone by then.
        scope.spawn(|| {
            let input = json!({"child": "shell", "run": "one", "arguments": {"a": LEAVES}});
            let asked = agent.client().request("POST", "/invoke");
            let _ = asked.json(json!({"id": CHILD, "input": input})).try_send();
        });
        let numbers = site.numbers("one");
        let held: Vec<_> = numbers
            .iter()
            .map(|number| hold(*number).expect("it is there"))
            .collect();
        assert!(
            held.iter()
                .all(|held| !has_ended(held, std::time::Duration::ZERO))
        );
        site.workshop.gateway.kill9();
        held
    });
    for held in held {
        assert!(has_ended(&held, PATIENCE), "a process of the run is left");
    }
}

/// A worker that is stopped takes its programs along as well; the next one starts the next run.
#[test]
fn killed_worker_leaves_no_child() {
    let site = Site::open();
    let agent = site.agent("a");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| {
            let input = json!({"child": "shell", "run": "one", "arguments": {"a": LEAVES}});
            agent.invoke(CHILD, input).text()
        });
        let numbers = site.numbers("one");
        let held: Vec<_> = numbers
            .iter()
            .map(|number| hold(*number).expect("it is there"))
            .collect();
        // The owner switches the source off, which ends its workers.
        let stop = "/admin/api/sources/fixture/disable";
        site.workshop.owner().post(stop, json!({})).expect_ok();
        for held in held {
            assert!(has_ended(&held, PATIENCE), "a process of the run is left");
        }
        call.join().expect("an answer");
    });
}

/// The name of the attack's processes.
const REGROW: &str = "plexus-regrow";
/// How many they are at a time; the limit is 256.
const LINE: usize = 150;

impl Site {
    /// A call in a thread of its own; nobody hears its answer.
    fn asked(&self, agent: &str, input: Value) -> std::thread::JoinHandle<()> {
        let agent = self.agent(agent);
        std::thread::spawn(move || {
            let asked = agent.client().request("POST", "/invoke");
            drop(asked.json(json!({"id": CHILD, "input": input})).try_send());
        })
    }

    /// The process left of such a run whose helper was killed, and then its gateway; `meanwhile` comes before the next one
    /// begins.
    fn left_of(&mut self, run: &str, meanwhile: impl FnOnce(i32)) -> i32 {
        let input = json!({"child": "shell", "run": run, "arguments": {"a": LEAVES}});
        let call = self.asked(run, input);
        let numbers = self.numbers(run);
        let all = processes::below(self.workshop.gateway.pid());
        let number = |process: &&processes::Process| process.pid.cast_signed() == numbers[0];
        let helper = all.iter().find(number).expect("the program").parent;
        let helper = all.iter().find(|process| process.pid == helper);
        helper.expect("its helper").signal(Signal::SIGKILL);
        self.workshop.gateway.kill9_alone();
        meanwhile(numbers[1]);
        self.workshop.gateway.start_again();
        call.join().expect("its end");
        numbers[1]
    }

    /// The input of a run that goes on, and of a line of processes that grows again as it is killed.
    fn line(&self, run: &str) -> Value {
        let root = self.run(run).join("root");
        std::fs::create_dir_all(&root).expect("a folder");
        std::fs::copy(binaries::path(REGROW), root.join(REGROW)).expect("a copy");
        let line = format!("./{REGROW} {LINE} & until [ -e go ]; do sleep 0.05; done");
        json!({"child": "line", "run": run, "arguments": {"a": line}})
    }

    /// Starts such a run; `then` is told when all of the line are there.
    #[track_caller]
    fn with_line(&mut self, run: &str, then: impl FnOnce(&mut Self)) {
        let call = self.asked(run, self.line(run));
        until_whole();
        then(self);
        call.join().expect("its end");
    }
}

fn until_whole() {
    until_true("the whole line", || processes::named(REGROW).len() >= LINE);
}

/// A run whose helper is killed from outside ends with it, and not what had left its side: the owner is told, and nobody else
/// ends it.
#[test]
fn start_is_refused_while_a_run_is_left() {
    let mut site = Site::open();
    let number = site.left_of("one", |_| {});
    let left = hold(number).expect("it is there");

    let agent = site.agent("b");
    let input = json!({"child": "shell", "run": "two", "arguments": {"a": "echo here"}});
    let refused = agent.invoke(CHILD, input.clone());
    refused.expect_error(503, "source_unavailable");
    let command = format!("kill -9 {number}");
    let told = site.workshop.gateway.cli(["status"]);
    assert!(told.stdout.contains(&command), "{told}");
    assert!(!has_ended(&left, std::time::Duration::ZERO), "by nobody");

    let ended = std::process::Command::new("sh")
        .args(["-c", &command])
        .status();
    assert!(ended.expect("a shell").success());
    until_true("a start", || {
        drop(site.workshop.gateway.cli(["sources", "test", "fixture"]));
        agent.invoke(CHILD, input.clone()).status == 200
    });

    // One that is ending as well is waited for.
    let mut ending = None;
    site.left_of("three", |left| {
        let line = format!("sleep 1; kill -9 {left}");
        ending = std::process::Command::new("sh")
            .args(["-c", &line])
            .spawn()
            .ok();
    });
    site.agent("c").invoke(CHILD, input).expect_ok();
    let ended = ending.expect("a shell").wait();
    assert!(ended.expect("our child").success());
}

fn line_is_gone(when: &str) {
    until_true(when, || processes::named(REGROW).is_empty());
}

#[test]
fn regrowing_line_ends_with_its_run() {
    let mut site = Site::open();
    site.with_line("one", |site| {
        std::fs::write(site.run("one").join("root/go"), "").expect("a file");
    });
    assert_eq!(processes::named(REGROW).len(), 0, "when it is answered");
    // The control: the next run of the source begins.
    let said = shell(&site.agent("b"), "two", "echo here");
    assert_eq!(said["output"], "here\n", "{said}");
}

#[test]
fn regrowing_line_ends_with_a_call_that_is_stopped() {
    let site = Site::open();
    let call = json!({"id": CHILD, "input": site.line("one"), "async": true});
    let begun = site.agent("one").invoke_body(call);
    until_whole();
    let stop = ["calls", "stop", &begun.text_at("/run/runId")];
    site.workshop.gateway.cli(stop).expect_ok();
    line_is_gone("the end of a stopped run");
}

#[test]
fn regrowing_line_ends_with_its_source() {
    let mut site = Site::open();
    site.with_line("one", |site| {
        let stop = "/admin/api/sources/fixture/disable";
        let owner = site.workshop.owner();
        owner.post(stop, json!({})).expect_ok();
        line_is_gone("the end of a source");
    });
}

#[test]
fn regrowing_line_ends_with_its_gateway() {
    let mut site = Site::open();
    site.with_line("one", |site| {
        site.workshop.gateway.stop();
        line_is_gone("the end of a gateway");
        site.workshop.gateway.start_again();
    });
    site.with_line("two", |site| {
        site.workshop.gateway.kill9();
        site.workshop.gateway.start_again();
        let said = shell(&site.agent("b"), "three", "echo here");
        assert_eq!(said["output"], "here\n", "{said}");
        assert_eq!(processes::named(REGROW).len(), 0, "at the next run's begin");
    });
}

#[test]
fn changed_program_stops_the_source() {
    let programs = Folder::empty();
    let edition = "tools";
    let workers = editions::workers(&programs.path(), edition);
    let builder = Gateway::builder()
        .fixture()
        .env(editions::VARIABLE, edition)
        .arg("--workers")
        .arg(&workers.to_string_lossy());
    let gateway = builder.start();
    let owner = gateway.owner();
    let (folder, tool) = (Folder::empty(), programs.path().join("tool"));
    std::fs::copy("/usr/bin/cat", &tool).expect("a copy");
    let route = json!({"path": folder.path(), "binary": tool});
    let source =
        json!({"id": "fixture", "kind": "fixture-dir", "label": "Fixture", "route": route});
    owner.post("/admin/api/sources", source).expect_ok();
    let agent = gateway.agent_with("a", &[CHILD]);
    let run = || {
        let input = json!({"child": "cat", "run": "one", "arguments": {"a": "--version"}});
        agent.invoke(CHILD, input)
    };
    assert_eq!(run().expect_ok()["output"]["ending"], "Exited(0)");

    // Somebody puts another program in its place.
    let mut other = std::fs::read("/usr/bin/cat").expect("it is there");
    other.extend(b"another");
    let new = programs.program("new", other);
    std::fs::rename(new, &tool).expect("it is replaced");
    let ended = gateway.workers();
    for worker in &ended {
        worker.signal(Signal::SIGKILL);
    }
    until_true("the end of its workers", || {
        ended.iter().all(|worker| !worker.alive())
    });
    let refused = until("the refusal", || {
        let reply = run();
        (reply.status != 200).then_some(reply)
    });
    assert!([401, 503].contains(&refused.status), "{refused}");
    until_true("the suspended grant", || {
        let grants = owner.grants();
        grants.iter().any(|grant| grant["suspended"].is_string())
    });
    let sources = gateway.cli(["--json", "sources", "changes", "fixture"]);
    let changes = sources.stdout + &owner.get("/admin/api/pending").expect_ok().to_string();
    assert_contains(
        &changes,
        &format!("run the program {} with SHA-256", tool.display()),
    );
    let card = crate::mcp_changes::card(&gateway);
    let id = card["pendingId"].as_str().expect("an id");
    gateway.must_cli(["approvals", "approve", id, "--yes"]);
    until("a run of the other program", || {
        let reply = run();
        (reply.status == 200).then(|| reply.expect_ok())
    });
}
