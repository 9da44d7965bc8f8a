//! The small clients of `docs/protocol`.

use crate::house::{House, READ, WRITE, note};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use plexus_tests::texts::assert_contains;
use plexus_tests::{
    programs,
    waiting::{until, until_true},
};
use serde_json::json;
use std::os::unix::{fs::PermissionsExt, process::CommandExt as _};
use std::process::Stdio;

/// Opens as many sessions as an agent has at most: those before end.
fn end_sessions(house: &House, pat: &str) {
    let client = house.gateway.client();
    let client = client.with("authorization", &format!("Bearer {pat}"));
    for _ in 0..64 {
        client.post("/link/handshake", json!({})).expect_ok();
    }
}

/// The two clients of the pages, as a reader runs them: enroll, list, call, wait for the owner, be denied.
#[test]
fn enroll_list_call_and_wait() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol");
    for (interpreter, file) in [("/bin/sh", "client.sh"), ("python3", "client.py")] {
        let house = House::open();
        let owner = house.owner();
        let command = |words: &[&str]| {
            let mut command =
                programs::command(std::path::Path::new(interpreter), house.gateway.home());
            command
                .env("PLEXUS_URL", house.gateway.base())
                .arg(folder.join(file))
                .args(words);
            command
        };
        let run = |words: &[&str]| programs::run(command(words));
        run(&["call"]).expect_status(64);
        run(&["enroll", "plx_enroll_wrong"]).expect_status(77);
        let connected = owner.connect("small", &[READ]);
        let enrolled = run(&["enroll", connected["code"].as_str().expect("a code")]);
        assert_eq!(enrolled.expect_ok().trim(), "small");
        let kept = house.gateway.home().join("plexus.pat");
        let mode = std::fs::metadata(kept)
            .expect("the credential")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let listed = run(&["list"]);
        let listed: Vec<&str> = listed.expect_ok().lines().collect();
        assert!(
            listed.contains(&READ) && listed.contains(&WRITE),
            "{listed:?}"
        );
        let read = run(&["call", READ, r#"{"path": "report.txt"}"#]);
        assert!(read.expect_ok().contains("relativePath"), "{read}");
        run(&["call", READ, r#"{"path": "no-such-file.txt"}"#]).expect_status(1);
        let pat = std::fs::read_to_string(house.gateway.home().join("plexus.pat"));
        let pat = pat.expect("the credential");
        let waits = |name: &str, decide: &dyn Fn(&str), status: i32| {
            let input = note(name, "hello").to_string();
            std::thread::scope(|scope| {
                let calling = scope.spawn(|| run(&["call", WRITE, &input]));
                decide(&owner.waiting());
                let said = calling.join().expect("an end");
                said.expect_status(status);
                assert!(said.stderr.contains("waiting for the owner"), "{said}");
            });
        };
        waits("approved.txt", &|item| drop(owner.approve(item, "once")), 0);
        assert_eq!(house.workspace.read("approved.txt"), "hello");
        // The owner decides when the session that asked has ended.
        let late = |item: &str| {
            end_sessions(&house, pat.trim());
            owner.approve(item, "once");
        };
        waits("late.txt", &late, 0);
        assert_eq!(house.workspace.read("late.txt"), "hello");
        waits("denied.txt", &|item| drop(owner.deny(item, "no")), 77);
        assert!(!house.workspace.has("denied.txt"));
        // The effect that a killed client asked for is made once, and its outcome goes to the next call.
        let told_again = |words: &[&str]| {
            let again = run(words);
            assert!(again.expect_ok().contains("undo"), "{again}");
            assert!(again.stderr.contains("nothing was done again"), "{again}");
            assert!(!again.stderr.contains("waiting"), "{again}");
        };
        let input = note("killed.txt", "hello").to_string();
        let mut killed = command(&["call", WRITE, &input])
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a client");
        let asked = owner.waiting();
        // With what it has started, as a terminal does.
        let group = Pid::from_raw(killed.id().cast_signed());
        killpg(group, Signal::SIGKILL).expect("our child");
        killed.wait().expect("an end");
        owner.approve(&asked, "once");
        until_true("the effect", || house.workspace.has("killed.txt"));
        told_again(&["call", WRITE, &input]);
        // With a key, the same call stays one; without, it is asked for anew.
        let input = note("keyed.txt", "hello").to_string();
        let calling = || run(&["call", WRITE, &input, "a-key"]);
        let made = std::thread::scope(|scope| {
            let calling = scope.spawn(calling);
            owner.approve(&owner.waiting(), "once");
            calling.join().expect("an end")
        });
        assert!(!made.stderr.contains("again"), "{made}");
        told_again(&["call", WRITE, &input, "a-key"]);
        assert_eq!(owner.pending(), Vec::<serde_json::Value>::new());
        waits("keyed.txt", &|item| drop(owner.deny(item, "no")), 77);
    }
}

/// Without a credential, a gateway or JSON, each says so and what to do, and shows none of its own code.
#[test]
fn small_clients_explain_what_is_missing() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol");
    for (interpreter, file) in [("/bin/sh", "client.sh"), ("python3", "client.py")] {
        let house = House::open();
        let run = |url: &str, words: &[&str]| {
            let mut command =
                programs::command(std::path::Path::new(interpreter), house.gateway.home());
            command
                .env("PLEXUS_URL", url)
                .arg(folder.join(file))
                .args(words);
            programs::run(command)
        };
        let here = house.gateway.base();
        let nowhere = "http://127.0.0.1:1";
        let explains = |url: &str, words: &[&str], status: i32, what: &str| {
            let said = run(url, words);
            said.expect_status(status);
            let all = format!("{}{}", said.stdout, said.stderr);
            assert_contains(&all, what);
            assert!(!all.contains("Traceback"), "{said}");
        };
        explains(&here, &["list"], 77, "enroll first");
        explains(nowhere, &["enroll", "x"], 1, "or set PLEXUS_URL");
        let owner = house.owner();
        let connected = owner.connect("small", &[READ]);
        let enrolled = run(
            &here,
            &["enroll", connected["code"].as_str().expect("a code")],
        );
        assert_eq!(enrolled.expect_ok(), "small\n");
        explains(nowhere, &["list"], 1, "or set PLEXUS_URL");
        explains(nowhere, &["call", READ], 1, "or set PLEXUS_URL");
        explains(&here, &["call", READ, "{"], 1, "JSON");
        // A refused credential is answered with the gateway's own reason.
        owner.connect("small", &[READ]);
        explains(&here, &["list"], 77, "a new enrollment code is needed");
    }
}

/// The agent of `examples`, started as its page says.
#[test]
fn minimal_agent_lists_asks_and_writes() {
    let file =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/minimal_agent.py");
    let house = House::open();
    let owner = house.owner();
    let connected = owner.connect("example", &["workspace.list"]);
    let run = || {
        let mut command = programs::command(std::path::Path::new("python3"), house.gateway.home());
        command
            .env("PLEXUS_URL", house.gateway.base())
            .env(
                "PLEXUS_ENROLL_CODE",
                connected["code"].as_str().expect("a code"),
            )
            .current_dir(house.gateway.home())
            .arg(&file);
        programs::run(command)
    };
    let nowhere = {
        let mut command = programs::command(std::path::Path::new("python3"), house.gateway.home());
        command
            .env("PLEXUS_URL", "http://127.0.0.1:1")
            .env("PLEXUS_ENROLL_CODE", "plx_enroll_none")
            .current_dir(house.gateway.home())
            .arg(&file);
        programs::run(command)
    };
    assert_eq!(nowhere.stderr.lines().count(), 1, "{nowhere}");
    assert!(nowhere.stderr.contains("or set PLEXUS_URL"), "{nowhere}");
    let said = std::thread::scope(|scope| {
        let running = scope.spawn(run);
        let card = until("a request", || owner.pending().first().cloned());
        assert_eq!(card["agentPurpose"], "to leave a note that I was here");
        let pat = std::fs::read_to_string(house.gateway.home().join("plexus.pat"));
        end_sessions(&house, pat.expect("the credential").trim());
        owner.approve(card["pendingId"].as_str().expect("an id"), "once");
        running.join().expect("an end")
    });
    let told = said.expect_ok();
    assert_contains(told, "report.txt");
    assert_contains(told, "plexusctl undo evt_");
    assert_eq!(house.workspace.read("hello.md"), "An agent was here.\n");
}
