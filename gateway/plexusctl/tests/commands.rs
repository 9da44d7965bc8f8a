//! The real binary against a scripted owner's socket: what it sends, what it shows, how it ends, what it refuses.

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;

use plexus_client::stub::{Answer, Stub, StubRequest};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};
use waiting::{PATIENCE, lines, within};

const KEY: &str = "plx_live_000000000000000000000000000000000000000000000000";
const ITEM: &str = "pend_00000000-0000-4000-8000-000000000002";
const EVENT: &str = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
const OTHER: &str = "pend_10000000-0000-4000-8000-000000000002";

/// A state directory with a key and, where there is a script, a gateway.
struct Place {
    dir: tempfile::TempDir,
    stub: Option<Stub>,
}

impl Place {
    fn without_gateway() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("connection-key");
        fs::write(&key, format!("{KEY}\n")).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Self { dir, stub: None }
    }

    fn with(script: impl Fn(&StubRequest) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let mut place = Self::without_gateway();
        let folder = place.dir.path().join("run/owner");
        fs::create_dir_all(&folder).unwrap();
        place.stub = Some(Stub::unix(&folder.join("owner.sock"), move |asked| {
            let missing = json!({"error": {"code": "unknown_capability", "message": "no route"}});
            script(asked).unwrap_or(Answer::Json(404, missing))
        }));
        place
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("connection-key")
    }

    fn asked(&self) -> Vec<StubRequest> {
        self.stub.as_ref().unwrap().asked()
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plexusctl"));
        command
            .env_clear()
            .env("PLEXUS_HOME", self.dir.path())
            .args(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &[&str]) -> Ended {
        let mut command = self.command(line);
        let output = within(PATIENCE, &line.join(" "), move || command.output());
        Ended::of(output.unwrap())
    }

    fn owner(&self, line: &[&str]) -> Ended {
        self.run(&[&["--i-am-the-owner"], line].concat())
    }
}

#[derive(Debug)]
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    /// On its standard output.
    #[track_caller]
    fn shows(&self, words: &str) {
        assert!(self.out.contains(words), "{self:?}");
    }

    /// On its standard error.
    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.err.contains(words), "{self:?}");
    }
}

fn item(id: &str) -> Value {
    let any = plexus_protocol::Digest::of(b"any");
    let mut item = json!({
        "pendingId": id, "kind": "grant", "state": "pending", "createdAt": "2026-01-01T00:00:00.000Z",
        "expiresAt": "2026-01-02T00:00:00.000Z", "agentId": "my-cc", "capabilities": ["w.write"],
        "agentPurpose": "tidy \u{1b}[2Jup", "scopes": [{"id": "w.write", "verbs": ["write"]}], "reasons": [],
        "pendingNarration": [], "onApproval": "wait", "asks": [{"id": "w.write", "verbs": ["write"],
            "label": "Write", "input": {"path": "a"}, "windows": [], "plan": {
                "preview": {"headline": "replace a", "facts": [], "diff": "+one\n-two\n", "form": "diff", "cut": false},
                "previewDigest": any, "stateToken": any, "rating": "write", "summary": "replace a", "touched": [],
                "warnings": []}}],
        "choices": [], "narrow": ["path"], "differs": null,
    });
    item["cardDigest"] = json!(plexus_protocol::json::digest(&item));
    item
}

/// A capability that agents see.
fn exposed() -> Value {
    json!({"id": "w.write", "label": "Write", "enabled": true, "defaultGrant": false})
}

fn digest_of(item: &Value) -> &str {
    item["cardDigest"].as_str().unwrap()
}

/// A gateway where `items` wait.
fn waiting(items: Vec<Value>) -> Place {
    Place::with(
        move |asked| match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/admin/api/pending") => Some(Answer::Json(200, json!({"pending": items}))),
            ("POST", path) if path.starts_with("/admin/api/pending/") => Some(Answer::Json(
                200,
                json!({"ok": true, "action": asked.body["action"], "kind": "grant"}),
            )),
            _ => None,
        },
    )
}

#[test]
fn every_widening_act_needs_a_person_and_no_narrowing_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let widening: [&[&str]; 24] = [
        &["connect", "a"],
        &["approvals", "approve", ITEM, "--yes"],
        &["grants", "allow", "a", "w.write", "--window", "1h"],
        &["grants", "renew", "--yes"],
        &["expose", "w.write"],
        &["sources", "add", "workspace-dir", path],
        &["sources", "secret", "w", "token", "--file", path],
        &["sources", "enable", "w"],
        &["sources", "resume", "w"],
        &["sources", "unhide", "w", "--folder", "x"],
        &["lend", "a", path],
        &["undo", EVENT, "--yes"],
        &["unknown", "settle", EVENT, "--did-not"],
        &["resume"],
        &["key", "print"],
        &["key", "rotate"],
        &["agents", "code", "a"],
        &["backup", "/nonexistent/backup", "--with-secrets"],
        &["restore", "/nonexistent/backup"],
        &["network", "set", "--bind", "127.0.0.1"],
        &["config", "set", "autoAllowReads=true"],
        &["console"],
        &["audit", "archives", "forget", "archive.redb"],
        // A dry run, so that the owner's own, below, installs nothing.
        &["service", "install", "--plexusd", "/bin/true", "--dry-run"],
    ];
    for line in widening {
        let place = Place::with(|_| Some(Answer::Json(200, json!({"ok": true}))));
        // Where a service is written to is asked for before who types.
        let run = |line: &[&str]| {
            let mut command = place.command(line);
            command.env("HOME", place.dir.path());
            Ended::of(command.output().unwrap())
        };
        let refused = run(line);
        assert_eq!(refused.code, 77, "{line:?} {refused:?}");
        assert!(
            refused
                .err
                .starts_with("stopped: owner_only\ndone: nothing was done\n"),
            "{refused:?}"
        );
        assert!(!refused.out.contains("plx_live_"), "{refused:?}");
        assert!(place.asked().is_empty(), "{line:?} was not even asked");
        // The same act by the owner gets past this guard: what stops it then is something else.
        let allowed = run(&[&["--i-am-the-owner"], line].concat());
        assert!(!allowed.err.contains("owner_only"), "{line:?} {allowed:?}");
    }
    let narrowing: [&[&str]; 9] = [
        &["agents", "revoke", "a"],
        &["grants", "revoke", "a", "w.write"],
        &["hide", "w.write"],
        &["sources", "disable", "w"],
        &["sources", "hide", "w", "--folder", "x"],
        &["lend", "end", "w"],
        &["sources", "remove", "w"],
        &["audit", "verify"],
        &["pause"],
    ];
    for line in narrowing {
        let id = match line[0] {
            "sources" => "w",
            _ => "w.write",
        };
        let done = narrowed(id);
        let place = Place::with(move |_| Some(Answer::Json(200, done.clone())));
        let mut command = place.command(line);
        command.env("CLAUDECODE", "1");
        let ended = Ended::of(command.output().unwrap());
        assert_eq!(ended.code, 0, "{line:?} {ended:?}");
    }
}

/// What each of the narrowing acts is answered, in one.
fn narrowed(id: &str) -> Value {
    json!({"ok": true, "events": 1, "head": "", "sequence": 1, "checkpoints": 0, "rows": 0, "heads": 0,
        "archives": 0, "first": 1, "auditId": "", "inFlight": [], "agentId": "a", "source": "w", "id": id,
        "enrollmentRevoked": true, "sessionsInvalidated": 0, "grantsRemoved": true, "grantsRemovedCount": 1,
        "grantRemoved": true, "revokedJtis": [], "enabled": false, "revision": 1, "paused": true, "changed": true, "known": true,
        "hide": {"folders": [], "globs": [], "tags": []}, "suspendedGrants": 0, "grants": [], "capabilities": [exposed()]})
}

#[test]
fn narrowing_act_waits_for_no_list() {
    let offered = "whether a source offers w.write was not heard";
    let hidden = "hidden from all agents, should a source offer it";
    let ended_by_it = "which requests and approvals this ended was not heard";
    let hides: &[&str] = &["sources", "hide", "w", "--folder", "x"];
    let revokes: &[&str] = &["grants", "revoke", "a", "w.write"];
    // How many lists are heard, and how many asked for.
    let lines: [(&[&str], &str, [usize; 2], &str); 5] = [
        (revokes, "w.write", [0, 1], offered),
        (&["hide", "w.write"], "w.write", [0, 1], hidden),
        (hides, "w", [0, 1], ended_by_it),
        (hides, "w", [1, 2], ended_by_it),
        // After the act.
        (hides, "w", [2, 3], ended_by_it),
    ];
    let open = json!({"calls": [], "conversations": [{"id": ITEM.replace("pend", "run"), "pendingId": ITEM,
        "agentId": "a", "capabilityId": "w.chat", "turn": 1, "turnsLeft": 1, "expiresAt": null, "underWay": false}]});
    for (line, id, [heard, looks], words) in lines {
        let (mut done, open) = (narrowed(id), open.clone());
        done["grantRemoved"] = json!(false);
        let asked_for = AtomicUsize::new(0);
        let place = Place::with(move |asked| {
            Some(match asked.method.as_str() {
                "GET" if asked_for.fetch_add(1, Ordering::Relaxed) < heard => {
                    Answer::Json(200, open.clone())
                }
                "GET" => Answer::Silence,
                _ => Answer::Json(200, done.clone()),
            })
        });
        let begun = Instant::now();
        let ended = place.run(line);
        assert_eq!(ended.code, 0, "{line:?} {ended:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{line:?} {ended:?}"
        );
        assert!(ended.out.contains(words), "{line:?} {ended:?}");
        let asked = place.asked();
        let asked = asked.iter().filter(|asked| asked.method == "GET");
        assert_eq!(asked.count(), looks, "{line:?}");
    }
}

#[test]
fn stale_home_is_told_from_the_usual_one() {
    let place = Place::without_gateway();
    fs::remove_file(place.key()).unwrap();
    let person = tempfile::tempdir().unwrap();
    let usual = person.path().join(".plexus");
    let mut stale = place.command(&["status"]);
    stale.env("HOME", person.path());
    let ended = Ended::of(stale.output().unwrap()).ends(69);
    ended.says("next: start it: plexusd (or");
    fs::create_dir(&usual).unwrap();
    fs::write(usual.join("connection-key"), KEY).unwrap();
    let ended = Ended::of(stale.output().unwrap()).ends(69);
    let next = format!("a gateway has its state in {}", usual.display());
    ended.says(&format!("next: {next}: unset PLEXUS_HOME\n"));
}

#[test]
fn no_gateway_no_key_no_permission() {
    let place = Place::without_gateway();
    let ended = place.run(&["status"]).ends(69);
    ended.says("next: start it: plexusd (or");
    // Typed as it is printed, it starts this home's gateway and no other.
    let home = place.dir.path().to_str().unwrap();
    let mut named = place.command(&["--home", home, "status"]);
    let ended = Ended::of(named.env_remove("PLEXUS_HOME").output().unwrap()).ends(69);
    ended.says(&format!("next: start it: plexusd --home {home}\n"));

    fs::set_permissions(place.key(), fs::Permissions::from_mode(0o644)).unwrap();
    let ended = place.run(&["status"]).ends(77);
    ended.says("mode 0644");
    ended.says("chmod 600");

    fs::remove_file(place.key()).unwrap();
    place.run(&["status"]).ends(69).says("no connection key");

    for usage in [
        &["agents", "show"][..],
        &["bogus"],
        &[],
        &["audit", "tail", "-n", "0"],
        &["explain", "a", "nodot"],
    ] {
        assert_eq!(place.run(usage).code, 64, "{usage:?}");
    }
    place
        .run(&["sources", "set", "cal"])
        .ends(64)
        .says("set [OPTIONS] <SOURCE> <FIELD=VALUE|");
    // An id that is missing is found in the list.
    for (line, list) in [
        (["approvals", "plan"], "approvals"),
        (["calls", "stop"], "calls"),
        (["changes", "drop"], "changes"),
        (["sources", "disable"], "sources"),
        (["agents", "show"], "agents"),
    ] {
        let next = format!("\nnext: plexusctl {list} list; it is typed so: ");
        place.run(&line).ends(64).says(&next);
    }
    // The value of a flag names no group of commands.
    place
        .run(&["--home", "sources", "approvals", "plan"])
        .ends(64)
        .says("\nnext: plexusctl approvals list; ");
    let mistyped = place.run(&["status", "--jsn"]).ends(64);
    mistyped.says("stopped: usage\ndone: nothing was done\nwhy: unexpected argument '--jsn' found");
    let help = place.run(&["status", "--help"]).out;
    assert!(
        help.contains("Exit status 1: something needs you"),
        "{help}"
    );
    for good in [
        &["--help"][..],
        &["--version"],
        &["completion", "zsh"],
        &["approvals", "--help"],
    ] {
        assert_eq!(place.run(good).code, 0, "{good:?}");
    }
}

#[test]
fn the_key_travels_in_its_header_and_is_never_shown() {
    let place = Place::with(|asked| match asked.path.as_str() {
        "/admin/api/grants" => Some(Answer::Json(200, json!({"grants": []}))),
        "/v1/connection-key/rotate" => Some(Answer::Json(
            200,
            json!({"ok": true, "connectionKey": "plx_live_new", "epoch": 1, "ended": [ITEM]}),
        )),
        _ => Some(Answer::Json(
            401,
            json!({"error": {"code": "unauthorized", "message": "wrong key"}}),
        )),
    });
    let ended = place.run(&["grants"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (
            0,
            "no grants: every call asks; to give one: plexusctl grants allow AGENT CAPABILITY\n"
        )
    );
    assert_eq!(
        place.asked()[0].header("x-plexus-connection-key"),
        Some(KEY)
    );
    for line in [&["key", "rotate"][..], &["--json", "key", "rotate"]] {
        let ended = place.owner(line).ends(0);
        assert!(!ended.out.contains("plx_live_"), "{ended:?}");
        // The requests that waited are void, as after `agents revoke`.
        let voided = match line {
            [_, _] => format!("\nrequests and approvals ended: {ITEM}\n"),
            _ => format!("\"ended\":[\"{ITEM}\"]"),
        };
        ended.shows(&voided);
    }
    assert_eq!(place.owner(&["key", "print"]).out, format!("{KEY}\n"));
    let printed = place.owner(&["--json", "key", "print"]);
    let printed: Value = serde_json::from_str(&printed.out).unwrap();
    assert_eq!(printed, json!({"key": KEY}));
    for line in [&["tokens"][..], &["tokens", "list"]] {
        assert_eq!(place.run(line).code, 77, "{line:?}");
    }
}

#[test]
fn call_of_nobody_is_no_success_in_either_form() {
    let place = Place::with(|asked| {
        let answer = match (asked.method.as_str(), asked.path.as_str()) {
            ("POST", "/admin/api/explain") => json!({"decision": "refuse", "rule": "agent.unknown",
                "why": "no agent nope", "next": "plexusctl connect nope"}),
            ("GET", _) => json!({"agents": []}),
            _ => return None,
        };
        Some(Answer::Json(200, answer))
    });
    let line = ["explain", "nope", "w.read"];
    let ended = place.run(&line).ends(1);
    ended.says("stopped: unknown_agent");
    let ended = place.run(&[&["--json"][..], &line].concat()).ends(1);
    ended.shows(r#""rule":"agent.unknown""#);
}

#[test]
fn connecting_gives_the_agents_line() {
    let place = Place::with(|asked| {
        if asked.path == "/admin/api/capabilities" {
            let entry = json!({"id": "w.write", "grants": ["write"], "recommendedTrustWindow": {"kind": "1d"}});
            let listed = json!({"gateway": {}, "revision": 1, "entries": [entry]});
            return Some(Answer::Json(200, listed));
        }
        if asked.method == "GET" {
            return Some(Answer::Json(200, json!({"agents": []})));
        }
        (asked.path == "/admin/api/agents/connect").then(|| {
            Answer::Json(
                200,
                json!({"ok": true, "agentId": asked.body["agentId"], "code": "plx_enroll_x",
                "expiresAt": "2030-01-01T00:00:00.000Z", "enrollUrl": "", "handshakeUrl": "", "enrollCommand": "",
                "reach": "exposed", "granted": [], "skipped": ["w.write"], "refused": [], "auditId": ""}),
            )
        })
    });
    let ended = place
        .owner(&["connect", "--type", "codex", "--allow", "w.write"])
        .ends(0);
    let line = format!(
        "    PLEXUS_HOME={} plexus enroll plx_enroll_x\n",
        place.dir.path().display()
    );
    ended.shows(&line);
    ended.shows("w.write      it asks first: it changes something\n");
    assert_eq!(
        place.asked()[1].body,
        json!({"agentId": "codex", "agentType": "codex", "capabilities": ["w.write"], "ttlMs": 900_000})
    );
    let mut command = place.command(&["--i-am-the-owner", "connect", "a"]);
    let usual = place.dir.path().join(".plexus");
    fs::rename(place.key(), place.dir.path().join("key")).unwrap();
    fs::create_dir_all(&usual).unwrap();
    fs::rename(place.dir.path().join("run"), usual.join("run")).unwrap();
    fs::rename(place.dir.path().join("key"), usual.join("connection-key")).unwrap();
    command
        .env_remove("PLEXUS_HOME")
        .env("HOME", place.dir.path());
    let ended = Ended::of(command.output().unwrap());
    ended.shows("\n    plexus enroll plx_enroll_x\n");
}

#[test]
fn an_approval_shows_the_card_and_names_it() {
    let card = item(ITEM);
    let place = waiting(vec![card.clone(), item(OTHER)]);
    let ended = place
        .owner(&["approvals", "approve", ITEM, "--yes"])
        .ends(0);
    ended.shows("  plan: replace a\n    ┃ +one\n    ┃ -two\n");
    assert!(
        ended.out.contains("tidy \\u{1b}[2Jup") && !ended.out.contains('\u{1b}'),
        "{ended:?}"
    );
    assert!(
        ended
            .out
            .ends_with(&format!("approved {ITEM} for this one request only\n")),
        "{ended:?}"
    );
    let asked = place.asked();
    let act = asked.last().unwrap();
    assert_eq!(act.path, format!("/admin/api/pending/{ITEM}"));
    assert_eq!(
        act.body,
        json!({"action": "approve", "trustWindow": {"kind": "once"}, "cardDigest": digest_of(&card)})
    );

    let line = [
        "approvals",
        "approve",
        ITEM,
        "--card",
        digest_of(&card),
        "--window",
        "1h",
        "--under",
        "path=A",
    ];
    place.owner(&line).ends(0);
    let body = place.asked().last().unwrap().body.clone();
    assert_eq!(
        (
            &body["trustWindow"]["kind"],
            &body["constraint"]["pathPrefix"]["allow"]
        ),
        (&json!("1h"), &json!(["A"]))
    );
}

#[test]
fn a_card_that_was_not_seen_is_not_approved() {
    let mut changed = item(ITEM);
    changed["agentPurpose"] = "something else".into();
    let acts = |place: &Place| place.asked().iter().filter(|a| a.method == "POST").count();
    let place = waiting(vec![changed]);
    place
        .owner(&["approvals", "approve", ITEM, "--yes"])
        .ends(1);
    assert_eq!(acts(&place), 0);

    let place = waiting(vec![item(ITEM)]);
    let wrong = digest_of(&item(OTHER)).to_owned();
    place
        .owner(&["approvals", "approve", ITEM, "--card", &wrong])
        .ends(77);
    // Nobody can be asked.
    place.owner(&["approvals", "approve", ITEM]).ends(64);
    // Only who is shown the card may name it by its beginning.
    place
        .owner(&["approvals", "approve", &ITEM[..14], "--yes"])
        .ends(64);
    assert_eq!(acts(&place), 0);
    place
        .owner(&["approvals", "approve", ITEM, "--yes"])
        .ends(0);
    assert_eq!(acts(&place), 1);
}

/// The beginning of an id may stand for the request that had it before.
#[test]
fn a_beginning_that_a_decided_request_has_too_names_nothing() {
    for (kept, code, acts) in [(vec![ITEM], 0, 1), (vec![ITEM, OTHER], 64, 0)] {
        let place = Place::with(move |asked| match &*asked.method {
            "GET" if asked.path.contains("begins=") => Some(Answer::Json(
                200,
                json!({"pending": [item(ITEM)], "kept": kept}),
            )),
            "GET" => Some(Answer::Json(200, json!({"pending": [item(ITEM)]}))),
            _ => Some(Answer::Json(
                200,
                json!({"ok": true, "action": "deny", "kind": "grant"}),
            )),
        });
        let ended = place.owner(&["approvals", "deny", &ITEM[..14]]);
        assert_eq!(ended.code, code);
        let posts = place.asked().iter().filter(|a| a.method == "POST").count();
        assert_eq!(posts, acts);
    }
}

#[test]
fn an_approval_waits_for_the_plan() {
    let looks = AtomicUsize::new(0);
    let made = item(ITEM);
    let place = Place::with(move |asked| {
        if asked.method == "POST" {
            let reply = json!({"ok": true, "action": "approve", "kind": "grant"});
            return Some(Answer::Json(200, reply));
        }
        let mut making = made.clone();
        making["asks"][0]["plan"] = "making".into();
        making.as_object_mut().unwrap().shift_remove("cardDigest");
        // What is named is found in the list; its card is looked at by itself until the plan is there.
        Some(Answer::Json(
            200,
            match (asked.path.as_str(), looks.fetch_add(1, Ordering::SeqCst)) {
                ("/admin/api/pending", _) => json!({"pending": [making]}),
                (_, 1) => making,
                _ => made.clone(),
            },
        ))
    });
    let ended = place
        .owner(&["approvals", "approve", ITEM, "--yes"])
        .ends(0);
    ended.shows("┃ +one");
    assert_eq!(
        place.asked().last().unwrap().body["cardDigest"],
        item(ITEM)["cardDigest"]
    );
}

#[test]
fn a_gateway_that_refuses_a_decision_is_believed() {
    let card = item(ITEM);
    let place = Place::with(move |asked| {
        Some(if asked.method == "POST" {
            Answer::Json(
                409,
                json!({"error": {"code": "card_changed", "message": "it changed", "effect": "none"}}),
            )
        } else {
            Answer::Json(200, json!({"pending": [card]}))
        })
    });
    let ended = place
        .owner(&["approvals", "approve", ITEM, "--yes"])
        .ends(77);
    ended.says("stopped: card_changed\ndone: nothing was done\nwhy: it changed");
}

/// A read without an answer has done nothing; whether an act was done is not known.
#[test]
fn lost_answer_to_a_read_leaves_nothing_in_doubt() {
    let place = Place::with(|_| Some(Answer::Close));
    place
        .owner(&["channels", "list"])
        .says("done: nothing was done");
    place
        .owner(&["agents", "revoke", "a"])
        .says("done: not known");
}

/// The wire's word for it blames the gateway; a failure of the gateway keeps that word.
#[test]
fn wrong_value_is_not_called_an_internal_error() {
    let place = |status| {
        let error = json!({"code": "internal_error", "message": "`defaultReach`: expected `exposed` or `selected`",
            "effect": "none", "next": "fix the request"});
        let place = Place::with(move |_| Some(Answer::Json(status, json!({ "error": error }))));
        place.owner(&["agents", "revoke", "a"])
    };
    let wrong = place(400);
    wrong.says("stopped: value_not_allowed\ndone: nothing was done\nwhy: `defaultReach`: expected `exposed` or `selected`\nnext: correct");
    let source = json!({"ok": false, "reason": "/etc/passwd is not a folder"});
    let place_of_source = Place::with(move |_| Some(Answer::Json(422, source.clone())));
    let refused = place_of_source.owner(&["agents", "revoke", "a"]);
    refused.says("stopped: value_not_allowed\ndone: nothing was done\nwhy: /etc/passwd is not a folder\nnext: correct");
    place(500).says("stopped: internal_error\n");
}

#[test]
fn minutes_are_typed_as_other_spans() {
    let place = Place::without_gateway();
    for (typed, words) in [
        ("soon", "is not a length of time: write 90s, 15m, 2h or 1d"),
        ("0", "write at least 1 minute"),
        ("30s", "write at least 1 minute"),
    ] {
        let line = ["approvals", "approve", ITEM, "--minutes", typed];
        place.owner(&line).ends(64).says(words);
    }
}

#[test]
fn denying_needs_no_card() {
    let place = waiting(vec![item(ITEM)]);
    place
        .run(&["approvals", "deny", ITEM, "--reason", "not now"])
        .ends(0);
    assert_eq!(
        place.asked().last().unwrap().body,
        json!({"action": "deny", "reason": "not now"})
    );
}

#[test]
fn watching_shows_each_card_as_it_comes() {
    let reads = AtomicUsize::new(0);
    let place = Place::with(move |asked| match asked.path.as_str() {
        "/v1/events" => {
            let frames = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\n\
                event: pending_added\ndata: {\"type\":\"pending_added\"}\n\n";
            Some(Answer::Stream(frames.as_bytes().to_vec()))
        }
        // First one item waits; what the event announces is there at the second look after it was shown.
        "/admin/api/pending" => Some(Answer::Json(
            200,
            match reads.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => json!({"pending": [item(ITEM)]}),
                _ => json!({"pending": [item(OTHER), item(ITEM)]}),
            },
        )),
        _ => None,
    });
    let mut child = place.command(&["approvals", "watch"]).spawn().unwrap();
    let mut out = lines(child.stdout.take().unwrap());
    let mut shown = String::new();
    while !(shown.contains(OTHER) && shown.matches("request: ").count() == 2) {
        let line = out.next();
        assert!(line.is_some(), "both cards, not {shown}");
        shown.extend(line.into_iter().chain(["\n".to_owned()]));
    }
    assert_eq!(shown.matches(ITEM).count(), 1, "each once: {shown}");
    assert!(!shown.contains('\u{1b}'));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        place.asked().iter().all(|asked| asked.method == "GET"),
        "without a person it decides nothing"
    );
}

#[test]
fn granting_ahead_shows_no_token() {
    let place = Place::with(|asked| {
        (asked.method == "PUT").then(|| {
            let declined = if asked.body["agentId"] == "b" {
                json!([{"id": "w.write", "reason": "hidden"}])
            } else {
                json!([])
            };
            Answer::Json(
                200,
                json!({"token": "ey.secret", "scopes": [], "jti": "tok_00000000-0000-4000-8000-000000000001",
                    "expiresAt": "2030-01-01T00:00:00.000Z", "declined": declined}),
            )
        })
    });
    for json in [&[][..], &["--json"]] {
        let line = [
            json,
            &[
                "grants",
                "allow",
                "a",
                "w.write",
                "--window",
                "1d",
                "--max-calls",
                "2",
            ],
        ]
        .concat();
        let ended = place.owner(&line).ends(0);
        assert!(!ended.out.contains("ey.secret"), "{ended:?}");
    }
    assert_eq!(
        place
            .asked()
            .into_iter()
            .find(|one| one.method == "PUT")
            .map(|one| one.body),
        Some(
            json!({"agentId": "a", "trustWindow": {"kind": "1d", "ms": 86_400_000},
            "grants": {"w.write": {"decision": "allow", "constraint": {"maxCalls": 2}}}})
        )
    );
    // Several, each as it would be granted alone.
    let several = "grants allow a w.list,w.read w.write --window 1d";
    let several: Vec<&str> = several.split(' ').collect();
    let given = place.owner(&several).ends(0);
    for id in ["w.list", "w.read", "w.write"] {
        assert!(given.out.contains(&format!("a may use {id} ")), "{given:?}");
    }
    // A window is chosen, not assumed.
    place.owner(&["grants", "allow", "a", "w.write"]).ends(64);
    place
        .owner(&["grants", "allow", "b", "w.write", "--window", "1d"])
        .ends(77);
}

fn configured(id: &str) -> Value {
    json!({"id": id, "kind": "obsidian-fs", "label": id, "enabled": true, "transport": "ipc"})
}

#[test]
fn adding_a_source_puts_the_folder_where_its_kind_wants_it() {
    let place = Place::with(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/admin/api/connectors") => Some(Answer::Json(
            200,
            json!({"revision": 1, "connectors": [{"kind": "obsidian-fs", "connector": "obsidian", "label": "Vault",
            "blurb": "", "provenanceClass": "managed", "transport": "ipc", "detectable": true, "wireable": true,
            "exposesSummary": "", "fields": [], "root": "vaultPath", "form": {"properties": {"vaultPath": {"format": "absolute-path"}}, "required": ["vaultPath"]}}]}),
        )),
        ("POST", "/admin/api/sources") if asked.body["id"] == "my-vault" => Some(Answer::Json(
            200,
            json!({"ok": true, "source": configured("my-vault"), "registered": ["my-vault.vault.read"], "revision": 2}),
        )),
        ("POST", "/admin/api/sources") => Some(Answer::Json(
            422,
            json!({"ok": false, "reason": "a reserved id"}),
        )),
        ("GET", "/admin/api/sources") => {
            Some(Answer::Json(200, json!({"sources": [], "revision": 1})))
        }
        ("GET", "/admin/api/health") => Some(Answer::Json(
            200,
            json!({"sources": [{"id": "my-vault", "label": "", "status": "ok", "capabilities": []}], "revision": 2}),
        )),
        _ => None,
    });
    let vault = place.dir.path().join("My Vault");
    fs::create_dir(&vault).unwrap();
    let path = vault.to_str().unwrap();
    let ended = place
        .owner(&["sources", "add", "obsidian-fs", path, "--ask"])
        .ends(0);
    assert!(
        ended
            .out
            .starts_with("my-vault serves: my-vault.vault.read\n"),
        "{ended:?}"
    );
    let real = vault.canonicalize().unwrap();
    let asked = place.asked();
    let added = asked.iter().find(|asked| asked.method.as_str() == "POST");
    assert_eq!(
        added.unwrap().body,
        json!({"id": "my-vault", "kind": "obsidian-fs", "enabled": true, "route": {"vaultPath": real},
            "label": "my-vault", "approval": "ask", "onlyNew": true})
    );
    let refused = place
        .owner(&["sources", "add", "obsidian-fs", path, "--id", "workspace"])
        .ends(1);
    refused.says("why: a reserved id");
    place.owner(&["sources", "add", "floppy", path]).ends(64);
    place
        .owner(&["sources", "add", "obsidian-fs", "/nowhere/at/all"])
        .ends(64);
}

#[test]
fn secret_comes_from_stdin_or_file_and_is_not_printed() {
    let place = Place::with(|asked| match (asked.method.as_str(), asked.path.as_str()) {
        ("GET", "/admin/api/sources") => {
            let mut mail = configured("mail");
            for (member, value) in [
                ("live", json!(false)),
                ("liveCapabilityCount", json!(0)),
                ("health", json!({"status": "unknown"})),
                ("provenance", json!("managed")),
                ("suspendedGrants", json!(0)),
            ] {
                mail[member] = value;
            }
            Some(Answer::Json(200, json!({"sources": [mail], "revision": 1})))
        }
        ("GET", "/admin/api/calls") => {
            Some(Answer::Json(200, json!({"calls": [], "conversations": []})))
        }
        ("GET", "/admin/api/pending") => Some(Answer::Json(200, json!({"pending": []}))),
        ("POST", "/admin/api/secrets/mail.token") => {
            Some(Answer::Json(200, json!({"ok": true, "name": "mail.token"})))
        }
        ("GET", "/admin/api/health") => {
            let mail = json!({"id": "mail", "label": "", "status": "unavailable", "detail": "no\u{1b} way",
                "capabilities": []});
            let other = json!({"id": "other", "label": "", "status": "ok", "capabilities": []});
            Some(Answer::Json(
                200,
                json!({"sources": [other, mail], "revision": 1}),
            ))
        }
        _ => None,
    });
    let file = place.dir.path().join("token");
    fs::write(&file, "hunter2\n").unwrap();
    let piped = |line: &[&str]| {
        let mut command = place.command(&[&["--i-am-the-owner"], line].concat());
        Ended::of(
            command
                .stdin(fs::File::open(&file).unwrap())
                .output()
                .unwrap(),
        )
    };
    let line = ["sources", "secret", "mail", "token"];
    let from_file = [&line[..], &["--file", file.to_str().unwrap()]].concat();
    for ended in [piped(&line), place.owner(&from_file)] {
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            !ended.out.contains("hunter2") && !ended.err.contains("hunter2"),
            "{ended:?}"
        );
        let asked = place.asked();
        let last = asked.iter().rfind(|asked| asked.method == "POST").unwrap();
        assert_eq!(last.body, json!({"value": "hunter2"}));
        // It is set, and the source says what is wrong.
        let said = ended.out.contains("mail does not serve: no") && ended.out.contains(" way");
        assert!(said && !ended.out.contains('\u{1b}'), "{ended:?}");
    }
    // As an argument it is not taken, empty it is none, and another source has to be there.
    piped(&["sources", "secret", "mail", "token", "hunter2"]).ends(64);
    // Nothing on standing input.
    place.owner(&line).ends(64);
    let other = piped(&["sources", "secret", "post", "token"]);
    other.ends(1).says("no source post");
    let posts = place.asked();
    let posts = posts.iter().filter(|asked| asked.method == "POST");
    assert_eq!(posts.count(), 2);
}

#[test]
fn a_setting_that_does_not_exist_is_not_set() {
    let place = Place::with(|asked| {
        (asked.path == "/v1/config").then(|| {
            let config = json!({"defaultReach": "exposed", "tokenLifetimeMs": 900_000});
            Answer::Json(
                200,
                if asked.method == "PUT" {
                    json!({"ok": true, "config": config})
                } else {
                    config
                },
            )
        })
    });
    place
        .owner(&["config", "set", "defaultRaech=selected"])
        .ends(64);
    assert!(place.asked().iter().all(|asked| asked.method == "GET"));
    place
        .owner(&[
            "config",
            "set",
            "defaultReach=selected",
            "tokenLifetimeMs=60000",
        ])
        .ends(0);
    assert_eq!(
        place.asked().last().unwrap().body,
        json!({"defaultReach": "selected", "tokenLifetimeMs": 60_000})
    );
}

#[test]
fn the_record_is_verified_and_followed() {
    let place = Place::with(|asked| match asked.path.as_str() {
        "/admin/api/audit/verify" => Some(Answer::Json(
            200,
            json!({"ok": false, "events": 3, "head": "ab",
            "problem": {"sequence": 2, "id": "evt_2", "what": "its hash does not follow"}}),
        )),
        "/v1/events" => {
            let frames = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n\
                event: audit_appended\ndata: {\"type\":\"audit_appended\",\"id\":\"evt_1\",\"auditType\":\"invoke\",\"at\":\"t1\"}\n\n\
                event: missed\ndata: {\"type\":\"missed\"}\n\n\
                event: audit_appended\ndata: {\"type\":\"audit_appended\",\"id\":\"evt_2\",\"auditType\":\"token.issue\",\"at\":\"t2\"}\n\n";
            Some(Answer::Raw(frames.as_bytes().to_vec()))
        }
        path if path.starts_with("/admin/api/audit?limit=") => Some(Answer::Json(
            200,
            json!({"events": [{"id": "evt_1", "at": "t1", "type": "invoke", "outcome": "ok"}]}),
        )),
        _ => None,
    });
    let verified = place.run(&["audit", "verify"]);
    assert_eq!(
        (verified.code, verified.out.as_str()),
        (
            1,
            "the audit log is NOT consistent: event 2 (evt_2): its hash does not follow\n"
        )
    );

    let followed = place.run(&["audit", "tail", "-n", "5", "--follow"]);
    assert_eq!(followed.out.matches("evt_1").count(), 1, "{followed:?}");
    assert_eq!(followed.out.matches("evt_2").count(), 1, "{followed:?}");
    // What is not shown is said, and a stream that ends by itself is no success.
    assert!(
        followed.err.starts_with("events were missed here"),
        "{followed:?}"
    );
    followed.ends(1).says("the gateway ended the stream");
    assert!(
        place
            .asked()
            .iter()
            .any(|asked| asked.path == "/admin/api/audit?limit=5")
    );
}

#[test]
fn interrupted_export_leaves_no_part() {
    let place = Place::with(|asked| {
        let head = b"HTTP/1.1 200 X\r\ncontent-type: text/plain\r\n\r\naa {}\n";
        (asked.path == "/admin/api/audit/export").then(|| Answer::Stream(head.to_vec()))
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.txt");
    let line = ["audit", "export", file.to_str().unwrap()];
    let child = place.command(&line).spawn().unwrap();
    let part = folder
        .path()
        .join(format!(".audit.txt.{}.part", child.id()));
    let until = Instant::now() + Duration::from_secs(20);
    // It is written to after it can be interrupted.
    while fs::read(&part).unwrap_or_default().is_empty() {
        assert!(Instant::now() < until, "the control");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = within(PATIENCE, "its end", move || child.wait_with_output());
    Ended::of(output.unwrap())
        .ends(1)
        .says("stopped: interrupted");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_revoke_of_nothing_is_no_success() {
    let place = Place::with(|asked| {
        let known = asked.body["agentId"] == "a";
        let answer = match asked.path.as_str() {
            "/admin/api/exposure" => json!({"capabilities": [exposed()], "revision": 1}),
            "/admin/api/grants" => json!({"grants": []}),
            path if path.ends_with("/revoke") => {
                json!({"ok": known, "agentId": "a", "enrollmentRevoked": known, "sessionsInvalidated": 1,
                    "grantsRemoved": known, "grantsRemovedCount": 1, "grantRemoved": known, "revokedJtis": [],
                    "auditId": "", "inFlight": []})
            }
            _ => return None,
        };
        Some(Answer::Json(200, answer))
    });
    place.run(&["agents", "revoke", "a"]).ends(0);
    place.run(&["agents", "revoke", "b"]).ends(1);
    place.run(&["grants", "revoke", "a", "w.write"]).ends(0);
    place.run(&["grants", "revoke", "b", "w.write"]).ends(1);
    let both = place.run(&["grants", "revoke", "a", "w.write", "w.write"]);
    assert_eq!(both.ends(0).out.matches("a no longer has").count(), 2);
}

#[test]
fn mistyped_name_leads_to_the_nearest_one() {
    const BOARD: &str = "brd_00000000-0000-4000-8000-000000000001";
    let place = Place::with(|asked| {
        let none = json!({"code": "not_found", "message": "There is none."});
        let row = json!({"source": "tools", "name": "tools", "label": "Tools", "capabilities": [],
            "transport": "mcp", "configured": true, "unusable": null, "tools": 1});
        let folder = json!({"source": "work", "agentId": "a", "path": "/w",
            "until": "2030-01-01T00:00:00.000Z", "write": false});
        let ended = json!({"source": "wrok", "agentId": "a", "path": "/x", "write": false,
            "until": "2026-01-01T00:00:00.000Z", "endedAt": "2026-01-01T00:00:00.000Z"});
        let source = json!({"id": "vault", "kind": "obsidian-fs", "label": "", "enabled": true, "transport": "ipc",
            "live": true, "liveCapabilityCount": 0, "health": {"status": "ok"}, "provenance": "managed",
            "suspendedGrants": 0});
        let path = asked.path.strip_prefix("/admin/api/")?;
        let answer = match (asked.method.as_str(), path) {
            ("GET", "extensions") => json!({"extensions": [row], "revision": 1}),
            ("DELETE", "extensions/tols") => {
                json!({"ok": false, "known": false, "source": "tols", "removed": []})
            }
            ("GET", "lend") => json!({"lent": [ended, folder]}),
            ("GET", "sources") => json!({"sources": [source], "revision": 1}),
            ("GET", "changes?source=valt") => json!({"sets": [], "away": [], "more": 0}),
            _ => return Some(Answer::Json(404, json!({"error": none}))),
        };
        Some(Answer::Json(200, answer))
    });
    for (line, meant) in [
        (&["extension", "show", "tols"][..], "tools"),
        (&["extension", "remove", "tols", "--yes"], "tools"),
        (&["mcp", "show", "tols"], "tools"),
        (&["mcp", "refresh", "tols", "--yes"], "tools"),
        (&["mcp", "login", "tols"], "tools"),
        (&["mcp", "logout", "tols"], "tools"),
        (&["mcp", "remove", "tols", "--yes"], "tools"),
        (&["lend", "end", "wrk"], "work"),
        (&["sources", "profile", "valt"], "vault"),
        (&["changes", "--source", "valt"], "vault"),
        (&["board", BOARD, "--source", "valt"], "vault"),
        (&["board", BOARD, "--source", "valt", "--stop"], "vault"),
    ] {
        let ended = place.owner(line).ends(1);
        ended.says(&format!("; did you mean {meant}?"));
    }
}

#[test]
fn revoked_agent_gets_no_code_but_a_command() {
    let place = Place::with(|asked| {
        Some(match asked.path.as_str() {
            "/admin/api/agents/enrollments" => {
                let at = "2026-01-01T00:00:00.000Z";
                let a = json!({"agentId": "a", "status": "revoked", "issuedAt": at, "codeExpiresAt": at});
                Answer::Json(200, json!({"agents": [a]}))
            }
            path if path.ends_with("/code") => {
                let error = json!({"code": "internal_error", "message": "a was revoked"});
                Answer::Json(400, json!({"error": error}))
            }
            _ => return None,
        })
    });
    place
        .owner(&["agents", "code", "a"])
        .ends(1)
        .says("plexusctl connect a");
}

#[test]
fn calls_that_an_act_cancels_are_not_called_unstopped() {
    let place = Place::with(|asked| {
        (asked.method == "POST").then(|| {
            let cancelled = json!([{"id": "call_1", "auditId": EVENT, "capabilityId": "codex.run"}]);
            Answer::Json(
                200,
                json!({"ok": true, "paused": true, "changed": true, "agentId": "a", "enrollmentRevoked": true,
                    "sessionsInvalidated": 0, "grantsRemoved": false, "grantsRemovedCount": 0, "revokedJtis": [],
                    "auditId": EVENT, "inFlight": [EVENT], "cancelled": cancelled}),
            )
        })
    });
    for line in [&["pause"][..], &["agents", "revoke", "a"]] {
        let said = place.run(line);
        let cancels = format!("asked to stop, and perhaps done all the same: codex.run ({EVENT})");
        assert!(said.out.contains(&cancels), "{line:?}: {}", said.out);
        assert!(!said.out.contains("not stopped"), "{line:?}: {}", said.out);
    }
}

#[test]
fn a_pause_a_settlement_and_a_new_plan_say_what_they_mean() {
    let place = Place::with(|asked| {
        (asked.method == "POST")
            .then(|| Answer::Json(200, json!({"ok": true, "paused": true, "changed": true, "auditId": "", "inFlight": [EVENT],
                "id": "w", "resumed": true, "pendingId": ITEM, "intent": EVENT, "happened": true, "undo": EVENT})))
            .or_else(|| {
                (asked.path == "/admin/api/pending")
                    .then(|| Answer::Json(200, json!({"pending": [item(ITEM)]})))
            })
    });
    #[rustfmt::skip]
    let rows = [
        (&["pause"][..], "/admin/api/pause".to_owned(), json!({"on": true})),
        (&["resume"], "/admin/api/pause".to_owned(), json!({"on": false})),
        (&["unknown", "settle", EVENT, "--happened"], format!("/admin/api/unsettled/{EVENT}"), json!({"happened": true})),
        (
            &["unknown", "settle", EVENT, "--in-part"],
            format!("/admin/api/unsettled/{EVENT}"),
            json!({"happened": true, "inPart": true}),
        ),
        (&["approvals", "plan", ITEM], format!("/admin/api/pending/{ITEM}/plan"), json!({})),
        (&["sources", "resume", "w"], "/admin/api/sources/w/resume".to_owned(), json!({})),
    ];
    for (line, path, body) in rows {
        let ended = place.owner(line);
        assert_eq!(ended.code, 0, "{line:?} {ended:?}");
        let asked = place.asked();
        let act = asked.last().unwrap();
        assert_eq!((&act.path, &act.body), (&path, &body), "{line:?}");
    }
    assert!(place.owner(&["pause"]).out.contains(EVENT));
    let settled = place.owner(&["unknown", "settle", EVENT, "--happened"]);
    let undo = format!("to take it back: plexusctl undo {EVENT}");
    assert!(settled.out.contains(&undo), "{settled:?}");
    // Which of the three is said, not assumed.
    place.owner(&["unknown", "settle", EVENT]).ends(64);
}

#[test]
fn an_event_is_found_by_its_number() {
    let place = Place::with(|asked| {
        (asked.path == "/admin/api/audit?limit=1&before=8").then(|| {
            Answer::Json(
                200,
                json!({"events": [{"seq": 7, "id": "evt_7", "at": "t", "detail": {"event": "launch"}}]}),
            )
        })
    });
    let ended = place.run(&["--json", "audit", "show", "#7"]).ends(0);
    let shown: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(shown["event"]["seq"], 7);
    place.run(&["audit", "show", "6"]).ends(1);
}
