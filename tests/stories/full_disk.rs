//! A disk that fills up under the gateway: a real one, of a few megabytes. Agents wait; the owner does not. And one that
//! turns read-only, where nobody can record anything.

use crate::house::{COUNT, READ, WRITE, Workshop, note};
use crate::measured::Scrape;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use plexus_tests::small_disk::SmallDisk;
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Fault, Folder, Gateway, Owner};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

/// Twice the ballast, and some room to fill.
const SIZE: u64 = 40 << 20;

/// Home and workspace on the same small disk, as on a person's laptop.
struct Full {
    workspace: Folder,
    gateway: Gateway,
}

impl Full {
    fn on(disk: &SmallDisk) -> Self {
        let workspace = Folder::empty_in(disk.path());
        workspace.write("small.md", "small\n");
        let gateway = Gateway::builder()
            .workspace(&workspace.path())
            .start_in(disk.home());
        Self { workspace, gateway }
    }
    fn owner(&self) -> Owner {
        self.gateway.owner()
    }
    /// An agent that may read, and write without asking.
    fn writer(&self, id: &str) -> Agent {
        let body = json!({"agentId": id, "capabilities": [READ, WRITE], "standing": [WRITE]});
        self.gateway.agent_as(body)
    }
    /// The same agent after a restart, once the ledger records again.
    fn back(&self, agent: &Agent) -> Agent {
        let client = self.gateway.client();
        until_true("an agent to be let in again", || {
            let reply = plexus_tests::agent::handshake(&client, &agent.pat);
            reply.status == 200
        });
        Agent::with_pat(&client, &agent.id, &agent.pat)
    }
    fn status(&self) -> Value {
        self.owner().get("/admin/api/status").expect_ok()
    }
    fn condition(&self) -> String {
        let status = self.status();
        let word = status["ledger"]["condition"].as_str();
        word.expect("a word").to_owned()
    }
    /// Has `agent` write until nothing more can be recorded; gives how many files it tried.
    ///
    /// Each answer is held against the folder: what is said to be done is there, what is said not to be is not.
    fn written_full(&self, agent: &Agent) -> u32 {
        let (mut size, mut n, mut written) = (1_u32 << 20, 0, 0_u64);
        while size > 0 && self.condition() == "open" {
            n += 1;
            let path = format!("{n}.txt");
            let text = "x".repeat(size as usize);
            let reply = agent.invoke(WRITE, note(&path, &text));
            if reply.at("/ok") == true {
                assert_eq!(
                    self.workspace.read(&path),
                    text,
                    "{n}: it is said to be done"
                );
                written += u64::from(size);
            } else {
                size /= 2;
                let effect = reply.at("/error/effect");
                assert!(effect == "none" || effect == "unknown", "{n}: {reply}");
                assert!(
                    effect != "none" || !self.workspace.has(&path),
                    "{n}: {reply}"
                );
            }
        }
        assert!(written > 8 << 20, "the control: it could write: {written}");
        until_true("the end of the ledger's own room", || {
            let reply = read(agent);
            reply.at("/error/code") == "audit_unavailable"
        });
        assert_eq!(self.condition(), "disk_full");
        n
    }
    fn clear(&self, files: u32) {
        for n in 1..=files {
            let _ = std::fs::remove_file(self.workspace.path().join(format!("{n}.txt")));
        }
    }
}

/// The names in the folder of what waits.
fn kept(pending: &Path) -> BTreeSet<OsString> {
    let files = std::fs::read_dir(pending).expect("a folder").flatten();
    files.map(|file| file.file_name()).collect()
}

fn read(agent: &Agent) -> plexus_tests::Response {
    agent.invoke(READ, json!({"path": "small.md"}))
}

#[test]
fn an_agent_that_fills_the_disk_does_not_keep_the_owner_from_acting() {
    let test = "full_disk::an_agent_that_fills_the_disk_does_not_keep_the_owner_from_acting";
    SmallDisk::with(test, SIZE, |disk| {
        let mut full = Full::on(disk);
        let (greedy, other) = (full.writer("greedy"), full.writer("other"));
        let asking = full.gateway.agent_with("asking", &[READ]);
        let asked = note("asked.md", "may I?");
        let item = asking.must_ask(WRITE, asked.clone());
        let _ = full.owner().card(&item);
        let late = json!({"id": WRITE, "input": note("late.md", "late"), "onApproval": "run"});
        let late = asking.invoke_body(late).text_at("/error/pendingId");
        let _ = full.owner().card(&late);
        let token = other.token(&[READ]);

        // Everything that a standing write can take, to the last byte; then what reads can.
        let files = full.written_full(&greedy);
        read(&other).expect_error(503, "audit_unavailable");
        // What the last refused write gave back is any program's.
        let filler = disk.fill();
        // A part of an export is not left: it would pass for the whole.
        let part = disk.path().join("export");
        let line = ["audit", "export", part.to_str().expect("text")];
        let export = full.gateway.cli(line);
        assert!(export.status != 0 && !part.exists(), "{export}");
        // Nor does an agent that has to ask leave anything there, before the owner's room is given back or after.
        let pending = full.gateway.state().join("pending");
        let waiting = kept(&pending);
        let asks = |size: usize| {
            let big = note("big.md", &"x".repeat(size));
            asking.must_fail(WRITE, big, 503, "audit_unavailable");
            let there = kept(&pending);
            assert!(there.is_subset(&waiting), "{there:?}");
        };
        asks(900_000);
        // A token that is given back stands with the agents as well: it holds, and is saved when there is room.
        let back = other
            .bearing(&token)
            .post("/grants/revoke", json!({"jti": token["jti"]}));
        let error = back.expect_error(503, "audit_unavailable");
        assert_eq!(error["held"], true, "{back}");
        let input = json!({"path": "small.md"});
        let refused = other.invoke_with(&token, READ, input);
        refused.expect_error(401, "token_revoked");

        let owner = full.owner();
        let act = |path: &str, body: Value| {
            let reply = owner.post(path, body);
            let done = reply.expect_ok();
            assert_eq!(done["held"], Value::Null, "{reply}");
        };
        act("/admin/api/agents/revoke", json!({"agentId": "greedy"}));
        owner.deny(&item, "not now");
        asks(3_000);
        let approved = full.gateway.cli(["approvals", "approve", &late, "--yes"]);
        let said = approved.expect_ok();
        assert!(said.contains("once the audit log records again"), "{said}");
        act("/admin/api/pause", json!({"on": true}));
        // Acts as small as these may fit into pages that the ledger has; what needs new ones has the room set aside.
        let mut newcomers = 0;
        until_true("the owner's room to be used", || {
            newcomers += 1;
            let newcomer = json!({"agentId": format!("new-{newcomers}"), "capabilities": [READ]});
            owner.connect_as(newcomer).expect_ok();
            let left = Scrape::of(&owner.client).value("plexus_ledger_ballast_bytes");
            left < 0.5
        });

        let figures = Scrape::of(&owner.client);
        let is = |series: &str, value: f64| (figures.value(series) - value).abs() < 0.5;
        assert!(
            is("plexus_ledger_condition{condition=\"disk_full\"}", 1.0),
            "{figures:?}"
        );
        assert!(is("plexus_ledger_ballast_bytes", 0.0), "{figures:?}");
        assert!(
            figures.value("plexus_ledger_unrecorded_total") >= 1.0,
            "{figures:?}"
        );

        // All of it is on the disk, not only in memory; and a full disk keeps no daemon from starting. What was set aside for
        // the owner is no longer whole, however little the owner's acts took of it.
        let taken = disk.path().join("taken");
        std::fs::write(&taken, vec![0xa5; 4 << 20]).expect("some of the owner's room");
        full.gateway.kill9();
        full.gateway.start_again();
        assert_eq!(full.condition(), "disk_full");
        let said = full.gateway.stderr();
        assert!(said.contains("no space could be set aside"), "{said}");
        let status = full.status();
        assert_eq!(status["paused"], true, "{status}");
        let again = plexus_tests::agent::handshake(&full.gateway.client(), &greedy.pat);
        again.expect_status(401);

        // Room again: agents go on, and the space is set aside again.
        full.clear(files);
        filler.remove().expect("a file");
        std::fs::remove_file(taken).expect("a file");
        full.owner()
            .must_post("/admin/api/pause", json!({"on": false}));
        let other = full.back(&other);
        read(&other).expect_ok();
        assert_eq!(full.condition(), "open");
        assert!(full.gateway.state().join("ledger.ballast").exists());
        until_true("the call that was approved meanwhile", || {
            full.workspace.has("late.md")
        });
        let asking = full.back(&asking);
        asking.must_fail(WRITE, asked, 403, "denied_by_owner");
        full.gateway.cli(["audit", "verify"]).expect_ok();
    });
}

/// An effect was done and its end could not be recorded: its caller hears that nobody knows, and the record follows as soon
/// as there is room, without a restart.
#[test]
fn what_could_not_be_recorded_on_a_full_disk_is_recorded_later() {
    let test = "full_disk::what_could_not_be_recorded_on_a_full_disk_is_recorded_later";
    SmallDisk::with(test, SIZE, |disk| {
        let builder = Gateway::builder().fixture();
        let workshop = Workshop::over(builder.start_in(disk.home()));
        let (writer, reader) = (workshop.writer("writer"), workshop.reader("reader"));
        let status = || workshop.owner().get("/admin/api/status").expect_ok();
        // Both workers need room to start.
        let echo = json!({"text": "x"});
        reader.must("fixture.echo", echo);
        writer.must(COUNT, json!({"line": "0"}));
        let (mut took, mut line) = (1_000, 0);
        let unknown = loop {
            line += 1;
            let reply = std::thread::scope(|scope| {
                let input = json!({"line": line.to_string(), "wait": took});
                let call = scope.spawn(|| writer.invoke(COUNT, input));
                until_true("the effect to be under way", || {
                    status()["effectsUnderWay"] == 1
                });
                let filler = disk.fill();
                until_true("the ledger to have no room", || {
                    let reply = reader.invoke("fixture.echo", json!({"text": "x"}));
                    reply.at("/error/code") == "audit_unavailable"
                });
                let reply = call.join().expect("an answer");
                // While there is no room nothing is done that could not be recorded.
                let more = writer.invoke(COUNT, json!({"line": "more"}));
                more.expect_error(503, "audit_unavailable");
                filler.remove().expect("room");
                reply
            });
            until_true("room to be found", || {
                status()["ledger"]["condition"] == "open"
            });
            if reply.at("/error/effect") == "unknown" {
                break reply;
            }
            // It ended before the disk was full: a slow machine.
            reply.expect_ok();
            took *= 2;
            assert!(took < 20_000, "the disk is never full in time");
        };
        unknown.expect_error(200, "outcome_unknown");
        until_true("the effect to have its end on record", || {
            status()["effectsUnderWay"] == 0
        });
        let outcomes = workshop.calls(COUNT, "outcome");
        let late = outcomes
            .iter()
            .find(|event| event["detail"]["intent"] == unknown.at("/auditId"));
        assert_eq!(late.expect("its end")["outcome"], "ok", "{outcomes:?}");
        let done: Vec<String> = (0..=line).map(|n| n.to_string()).collect();
        assert_eq!(
            workshop.effects(),
            done,
            "each once, and nothing without its intent"
        );

        // A worker that dies meanwhile is no act of the owner's: its end waits for room as well.
        let workers = status()["workers"].clone();
        let mut workers = workers.as_array().expect("workers").iter();
        let worker = workers.find(|worker| worker["role"] == "reader");
        let pid = worker.expect("a reader")["pid"].clone();
        let filler = disk.fill();
        until_true("the ledger to have no room", || {
            let reply = reader.invoke("fixture.echo", json!({"text": "x"}));
            reply.at("/error/code") == "audit_unavailable"
        });
        let owner = workshop.owner();
        let ends = || Scrape::of(&owner.client).value("plexus_worker_ends_total{wanted=\"no\"}");
        let before = ends();
        let raw = i32::try_from(pid.as_u64().expect("a pid")).expect("a pid");
        kill(Pid::from_raw(raw), Signal::SIGKILL).expect("a worker");
        until_true("its end to be noticed", || ends() > before);
        let its_end = |event: &Value| {
            let detail = &event["detail"];
            detail["event"] == "worker.end" && detail["pid"] == pid
        };
        // What stands behind it in the owner's lane is done: it was not there.
        owner.expose(COUNT, true);
        assert!(!owner.audit(200).iter().any(its_end));
        filler.remove().expect("room");
        // The ledger opens its file again first, and the log cannot be read meanwhile.
        until_true("room to be found", || {
            status()["ledger"]["condition"] == "open"
        });
        until_true("its end to be on record", || {
            owner.audit(200).iter().any(its_end)
        });
        workshop.gateway.cli(["audit", "verify"]).expect_ok();
    });
}

/// The ledger cannot be written at all: the start is refused with what to mend, and nothing is lost by the try.
#[test]
fn a_ledger_on_a_read_only_file_refuses_the_start_and_says_so() {
    let test = "full_disk::a_ledger_on_a_read_only_file_refuses_the_start_and_says_so";
    SmallDisk::with(test, SIZE, |disk| {
        let mut gateway = Gateway::builder().start_in(disk.home());
        let agent = gateway.agent("one");
        assert!(gateway.stop().success());
        let file = gateway.state().join("ledger.redb");
        let was = std::fs::read(&file).expect("the ledger");
        disk.read_only(&file, || {
            let said = Gateway::builder().refused(gateway.home());
            assert_eq!(said.status, 1, "another try may succeed: {said}");
            for word in ["opening the ledger's file to read and write", "ead-only"] {
                assert!(said.stderr.contains(word), "{word:?} is not in {said}");
            }
        });
        assert_eq!(std::fs::read(&file).expect("the ledger"), was);
        gateway.start_again();
        let _ = gateway.back(&agent);
    });
}

/// A source on a disk that is only for reading is read, and its writer starts: a run of it may leave the folder as it is.
#[test]
fn folder_on_a_read_only_disk_keeps_its_writer() {
    let test = "full_disk::folder_on_a_read_only_disk_keeps_its_writer";
    SmallDisk::with(test, SIZE, |disk| {
        let full = Full::on(disk);
        let agent = full.writer("one");
        disk.read_only(&full.workspace.path(), || {
            let said = full.gateway.cli(["doctor"]);
            let proven = "cage of workspace: proved just now: reader, writer";
            assert!(said.all().contains(proven), "{said}");
            read(&agent).expect_ok();
            let reply = agent.invoke(WRITE, note("new.md", "new"));
            assert_eq!(reply.at("/ok"), false, "the control: {reply}");
        });
    });
}

/// A secret that cannot be written leaves the one before it in place, and the log says that the change failed.
#[test]
fn a_secret_that_cannot_be_written_leaves_the_old_one() {
    let test = "full_disk::a_secret_that_cannot_be_written_leaves_the_old_one";
    SmallDisk::with(test, SIZE, |disk| {
        let gateway = Gateway::builder().start_in(disk.home());
        let put = |value: &str| {
            let client = gateway.owner().client;
            client.post("/admin/api/secrets/my-key", json!({ "value": value }))
        };
        // A write needs room for a second file, as long as the first is there.
        let folder = gateway.state().join("secrets");
        disk.holds_only(1, &folder);
        put("old").expect_ok();
        let error = put("new").expect_error(500, "persist_failed");
        let why = error["message"].as_str().expect("why");
        assert!(why.contains("the old one"), "{why}");
        assert_eq!(gateway.state_file("secrets/my-key"), "old");
        let log = gateway.cli(["audit", "export"]);
        assert!(log.expect_ok().contains("secret.failed"));
        // The control: with that room it is written.
        std::fs::remove_file(folder.join("my-key")).expect("the secret");
        put("new").expect_ok();
        assert_eq!(gateway.state_file("secrets/my-key"), "new");
    });
}

/// The disk turns read-only under a daemon at work: nothing is done or shown that cannot be recorded, what the owner takes
/// back holds, and when the disk works again everything goes on by itself, with all that was answered.
#[test]
fn a_disk_that_turns_read_only_stops_everything_but_what_is_taken_back() {
    let disk = Fault::read_only_disk();
    let mut workshop = Workshop::with(Gateway::builder().fixture().fault(&disk));
    let (writer, reader) = (workshop.writer("writer"), workshop.reader("reader"));
    let doomed = workshop.reader("doomed");
    let echo = |agent: &Agent| agent.invoke("fixture.echo", json!({"text": "x"}));
    let count = |line: &str| writer.invoke(COUNT, json!({"line": line}));
    let condition = || {
        let status = workshop.owner().get("/admin/api/status").expect_ok();
        status["ledger"].clone()
    };
    let mut told = Vec::new();
    let mut tell = |reply: &plexus_tests::Response| {
        let id = reply.expect_ok()["auditId"].as_str().map(str::to_owned);
        told.push(id.expect("an id"));
    };
    tell(&count("before"));
    tell(&echo(&reader));

    // One effect is under way meanwhile; it is done, and its end cannot be recorded.
    let mut took = 1_000;
    let mut done = vec!["before".to_owned()];
    let unknown = loop {
        let line = format!("under way for {took} ms");
        done.push(line.clone());
        let reply = std::thread::scope(|scope| {
            let input = json!({"line": line, "wait": took});
            let call = scope.spawn(|| writer.invoke(COUNT, input));
            until_true("the effect to be under way", || {
                workshop.folder.has("begun")
            });
            disk.begin();
            call.join().expect("an answer")
        });
        if reply.at("/error/effect") == "unknown" {
            break reply;
        }
        // It ended before the disk failed: a slow machine.
        tell(&reply);
        disk.end();
        std::fs::remove_file(workshop.folder.path().join("begun")).expect("its sign");
        took *= 2;
        assert!(took < 20_000, "the disk never fails in time");
    };
    unknown.expect_error(200, "outcome_unknown");

    for _ in 0..3 {
        for reply in [count("never"), echo(&reader), echo(&doomed)] {
            let error = reply.expect_error(503, "audit_unavailable");
            assert_eq!(error["effect"], "none", "{reply}");
            assert_eq!(reply.at("/output"), Value::Null, "{reply}");
        }
    }
    let said = condition();
    assert_eq!(said["condition"], "closed", "{said}");
    assert!(said.to_string().contains("ead-only"), "{said}");
    let owner = workshop.owner();
    let allow = json!({"agentId": "reader", "grants": {COUNT: {"decision": "allow"}}});
    let reply = owner.put("/admin/api/grants", allow);
    let error = reply.expect_error(503, "audit_unavailable");
    assert_eq!(error["next"], "plexusctl status", "{reply}");
    let taken = owner.post("/admin/api/agents/revoke", json!({"agentId": "doomed"}));
    let error = taken.expect_error(503, "audit_unavailable");
    assert_eq!(error["held"], true, "{taken}");
    echo(&doomed).expect_error(401, "session_expired");
    let unsaved = "what you took back is not saved";
    let said = condition();
    assert!(said.to_string().contains(unsaved), "{said}");
    let listed = owner.get("/admin/api/grants").expect_ok();
    let mut grants = listed["grants"].as_array().expect("grants").iter();
    let of = |grant: &&Value, agent: &str| grant["agentId"] == agent;
    let ended = grants.clone().find(|grant| of(grant, "doomed"));
    let suspended = &ended.expect("its grant")["suspended"];
    assert_eq!(*suspended, "it was revoked, which is not saved yet");
    let valid = grants.find(|grant| of(grant, "reader")).expect("a grant");
    assert_eq!(valid["suspended"], Value::Null, "the control: {valid}");
    let tokens = owner.get("/admin/api/tokens").expect_ok().to_string();
    assert!(!tokens.contains("doomed"), "{tokens}");
    assert_eq!(workshop.effects(), done, "nothing without its intent");

    disk.end();
    until_true("the ledger to record", || echo(&reader).status == 200);
    assert_eq!(condition()["condition"], "open");
    tell(&count("after"));
    done.push("after".to_owned());
    until_true("the effect to have its end on record", || {
        let status = owner.get("/admin/api/status").expect_ok();
        status["effectsUnderWay"] == 0
    });
    let pause = json!({"on": false});
    owner.post("/admin/api/pause", pause).expect_ok();
    for round in ["as it is", "after a kill"] {
        let events = workshop.gateway.log();
        for id in &told {
            let found = events.iter().filter(|event| event["id"] == id.as_str());
            assert_eq!(found.count(), 1, "{round}: {id} was answered");
        }
        let ends: Vec<_> = workshop.calls(COUNT, "outcome");
        assert_eq!(
            workshop.calls(COUNT, "intent").len(),
            ends.len(),
            "{round}: {ends:?}"
        );
        let late = ends
            .iter()
            .find(|event| event["detail"]["intent"] == unknown.at("/auditId"));
        assert_eq!(late.expect("its end")["outcome"], "ok", "{round}: {ends:?}");
        assert_eq!(workshop.effects(), done, "{round}: each once");
        let again = plexus_tests::agent::handshake(&workshop.gateway.client(), &doomed.pat);
        again.expect_status(401);
        workshop.gateway.cli(["audit", "verify"]).expect_ok();
        workshop.gateway.kill9();
        workshop.gateway.start_again();
    }

    // A stop meanwhile loses what is held, and says so.
    let reader = workshop.back(&reader);
    disk.begin();
    let pause = json!({"on": true});
    let taken = workshop.owner().post("/admin/api/pause", pause);
    taken.expect_error(503, "audit_unavailable");
    let status = workshop.owner().get("/admin/api/status").expect_ok();
    assert_eq!(status["paused"], true, "{status}");
    let asked = reader.ask(json!({COUNT: "allow"}));
    asked.expect_error(503, "paused");
    let pid = i32::try_from(workshop.gateway.pid()).expect("a pid");
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the gateway");
    until_true("the stop to name what it loses", || {
        workshop.gateway.stderr().contains("lost with this stop")
    });
    assert!(!workshop.gateway.ended().success());
}
