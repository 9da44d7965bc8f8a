//! The real binary against a scripted gateway: what it sends, what it prints, how it ends.

#[allow(dead_code, unreachable_pub, reason = "the stories' harness uses all")]
#[path = "../../../tests/src/waiting.rs"]
mod waiting;

use plexus_client::stub::{Answer, Stub, StubRequest};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};
use waiting::{PATIENCE, ended, lines, within};

const PAT: &str = "plx_agent_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const CODE: &str = "plx_enroll_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const SESSION: &str = "sess_00000000-0000-4000-8000-000000000001";
const ITEM: &str = "pend_00000000-0000-4000-8000-000000000002";
const RUN: &str = "run_00000000-0000-4000-8000-000000000003";

/// A state directory of one enrolled agent.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn empty() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn enrolled() -> Self {
        let place = Self::empty();
        let agents = place.home().join("agents");
        fs::create_dir_all(&agents).unwrap();
        let file = agents.join("my-cc.pat");
        fs::write(&file, format!("{PAT}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Writes a file of the state directory.
    fn keep(&self, name: &str, content: &str) {
        fs::write(self.home().join(name), content).unwrap();
    }

    /// Where the agents' socket is, in a folder that is there.
    fn socket(&self) -> PathBuf {
        let folder = self.home().join("run/agent");
        fs::create_dir_all(&folder).unwrap();
        folder.join("agent.sock")
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plexus"));
        command
            .env_clear()
            .env("PLEXUS_HOME", self.home())
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

    fn at(&self, stub: &Stub, line: &[&str]) -> Ended {
        let url = stub.address.to_string();
        let mut ended = self.run(&[&["--url", &url], line].concat());
        // What it says to type next begins as this line did.
        let typed = format!("{} --url {url} ", env!("CARGO_BIN_EXE_plexus"));
        for said in [&mut ended.out, &mut ended.err] {
            *said = said.replace(&typed, "plexus ");
        }
        ended
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

    #[track_caller]
    fn prints(self, code: i32, out: &str) -> Self {
        assert_eq!((self.code, self.out.as_str()), (code, out), "{self:?}");
        self
    }

    /// On its standard error.
    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.err.contains(words), "{self:?}");
    }
}

/// What every gateway answers; `more` comes first.
fn gateway(more: impl Fn(&StubRequest) -> Option<Answer> + Send + Sync + 'static) -> Stub {
    Stub::tcp(move |asked| more(asked).unwrap_or_else(|| usual(asked)))
}

fn usual(asked: &StubRequest) -> Answer {
    let path = asked.path.split('?').next().unwrap();
    match (asked.method.as_str(), path) {
        ("GET", "/.well-known/plexus") => Answer::Json(
            200,
            json!({"gateway": {"name": "plexus", "version": "0.1.0"}, "auth": {}, "capabilities": []}),
        ),
        ("POST", "/link/handshake") => Answer::Json(
            200,
            json!({"sessionId": SESSION, "expiresAt": "2030-01-01T00:00:00.000Z", "manifest": {"entries": [
                {"id": "notes.how-to", "kind": "skill", "grants": [], "body": {"format": "markdown", "markdown": "# How"}},
                {"id": "notes.index", "kind": "capability", "grants": ["execute"], "longRunning": true},
                {"id": "notes.read", "kind": "capability", "grants": ["read"], "describe": "Read a note",
                 "io": {"input": {"properties": {"path": {"type": "string"}}, "required": ["path"]}}},
                {"id": "notes.write", "kind": "capability", "grants": ["write"],
                 "io": {"input": {"properties": {"path": {"type": "string"}, "content": {"type": "string"}},
                        "required": ["path", "content"]}}}
            ]}}),
        ),
        ("GET", "/grants") => Answer::Json(200, json!({"grants": []})),
        _ => Answer::Json(
            404,
            json!({"error": {"code": "unknown_capability", "message": "no route"}}),
        ),
    }
}

fn invoke(asked: &StubRequest) -> bool {
    asked.path == "/invoke"
}

fn is_status(asked: &StubRequest) -> bool {
    asked.path.starts_with("/grants/status")
}

fn invoked(stub: &Stub) -> usize {
    stub.asked().iter().filter(|asked| invoke(asked)).count()
}

/// It was asked something, and never this.
#[track_caller]
fn never(stub: &Stub, what: impl Fn(&StubRequest) -> bool) {
    let asked = stub.asked();
    assert!(!asked.is_empty() && !asked.iter().any(what), "{asked:?}");
}

fn error(code: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message}})
}

/// One path that this gateway answers otherwise.
fn at(asked: &StubRequest, path: &str, code: u16, body: Value) -> Option<Answer> {
    (asked.path == path).then(|| Answer::Json(code, body))
}

/// Calls wait for the owner, and this is what becomes of them.
fn waiting(asked: &StubRequest, state: impl FnOnce() -> Answer) -> Option<Answer> {
    if is_status(asked) {
        return Some(state());
    }
    invoke(asked).then(pending)
}

/// What the gateway with this port writes down of it.
fn port(stub: &Stub) -> String {
    let plexus_client::Address::Tcp { port, .. } = stub.address else {
        panic!("a port")
    };
    format!("{{\"port\":{port}}}")
}

fn pending() -> Answer {
    let error = json!({"code": "approval_required", "message": "the owner decides", "effect": "none",
        "pendingId": ITEM, "approvalUrl": "http://localhost:7077/admin"});
    Answer::Json(
        401,
        json!({"id": "notes.write", "ok": false, "auditId": "", "error": error}),
    )
}

fn status(more: Value) -> Answer {
    let of = json!({"pendingId": ITEM, "capabilities": ["notes.write"]});
    Answer::Json(200, with(of, more))
}

fn with(mut object: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(more);
    object
}

const WRITE: [&str; 3] = ["notes.write", "path=a.md", "content=x"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_code_becomes_a_private_credential() {
    let place = Place::empty();
    let stub = gateway(|asked| {
        at(
            asked,
            "/agents/enroll",
            200,
            json!({"pat": PAT, "agentId": "my-cc"}),
        )
    });
    let ended = place.at(&stub, &["enroll", CODE]).ends(0);
    let file = place.home().join("agents/my-cc.pat");
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{PAT}\n"));
    assert!(
        !ended.out.contains(PAT) && !ended.err.contains(PAT),
        "the credential is never shown"
    );
    let asked = stub.asked();
    assert_eq!(asked.last().unwrap().body, json!({"code": CODE}));
    place.at(&stub, &["list"]).ends(0);
    // From a second agent on, the first one's bare commands are refused: both hear it when that begins.
    assert!(!ended.err.contains("several agents"), "{ended:?}");
    place.keep("agents/other.pat", "");
    let second = place.at(&stub, &["enroll", CODE]).ends(0);
    second.says("several agents are enrolled here now (my-cc, other): each has to name itself");
}

#[test]
fn a_code_is_not_spent_where_its_fruit_could_not_be_kept() {
    let place = Place::empty();
    fs::create_dir_all(place.home()).unwrap();
    fs::write(place.home().join("agents"), "in the way").unwrap();
    let stub = gateway(|_| None);
    let ended = place.at(&stub, &["enroll", CODE]).ends(1);
    ended.says("nothing was spent");
    never(&stub, |asked| asked.path == "/agents/enroll");
}

#[test]
fn a_refused_or_malformed_code_leaves_nothing() {
    let place = Place::empty();
    let stub = gateway(|asked| {
        at(
            asked,
            "/agents/enroll",
            401,
            error("code_expired", "too late"),
        )
    });
    let ended = place.at(&stub, &["enroll", CODE]).ends(1);
    ended.says("code_expired");
    ended.says("plexusctl connect");
    let kept = fs::read_dir(place.home().join("agents")).unwrap();
    assert_eq!(kept.count(), 0);
    let before = stub.asked().len();
    place.at(&stub, &["enroll", "plx_enroll_short"]).ends(64);
    assert_eq!(stub.asked().len(), before, "nothing was sent");
}

#[test]
fn exit_statuses_before_a_call() {
    let stub = gateway(|_| None);
    let enrolled = Place::enrolled();
    enrolled.at(&stub, &["list"]).ends(0);
    Place::empty().at(&stub, &["list"]).ends(2);
    enrolled.run(&["--url", "unix:/nowhere/s", "list"]).ends(69);
    enrolled.at(&stub, &["describe", "notes.nothing"]).ends(1);
    for usage in [
        &["lst"][..],
        &["list", "--bogus"],
        &[],
        &["notes.read", "--input", "{"],
        &["notes.read", "--input", "[]"],
        &["notes.read", "a", "b", "c"],
        &["notes.read", "--wait", "90001", "a"],
        &["wait", "pend_x"],
        &["--url", "https://127.0.0.1:1", "list"],
    ] {
        enrolled.at(&stub, usage).ends(64);
    }
    let wrong = enrolled.at(&stub, &["notes.read", "--wait", "90001", "a"]);
    wrong.says("stopped: usage\ndone: nothing was done\nwhy: invalid value '90001' for '--wait");
    for good in [
        &["--help"][..],
        &["--version"],
        &["completion", "bash"],
        &["notes.read", "--help"],
    ] {
        enrolled.at(&stub, good).ends(0);
    }
    never(&stub, invoke);
}

#[test]
fn what_is_not_a_gateway_gets_no_credential() {
    let elsewhere = Stub::tcp(usual);
    let location = format!(
        "HTTP/1.1 307 X\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n",
        elsewhere.address
    );
    let redirects = Stub::tcp(move |_| Answer::Raw(location.clone().into_bytes()));
    let without_auth = Stub::tcp(|_| Answer::Json(200, json!({"gateway": {}})));
    let html =
        Stub::tcp(|_| Answer::Raw(b"HTTP/1.1 200 X\r\ncontent-length: 6\r\n\r\n<html>".to_vec()));
    for stub in [&redirects, &without_auth, &html] {
        Place::enrolled().at(stub, &["list"]).ends(69);
        never(stub, |asked| asked.header("authorization").is_some());
    }
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn nothing_that_a_gateway_or_an_environment_says_leads_elsewhere() {
    let elsewhere = Stub::tcp(usual);
    let other = elsewhere.address.to_string();
    let base = other.clone();
    let stub = gateway(move |asked| match asked.path.as_str() {
        "/.well-known/plexus" => {
            let auth = json!({"handshakeUrl": format!("{base}/link/handshake"), "invokeUrl": format!("{base}/my/invoke")});
            Some(Answer::Json(200, json!({"gateway": {}, "auth": auth})))
        }
        "/my/invoke" => Some(Answer::Json(
            200,
            json!({"id": "notes.read", "ok": true, "output": "text", "auditId": ""}),
        )),
        _ => None,
    });
    let place = Place::enrolled();
    let mut command = place.command(&["--url", &stub.address.to_string(), "notes.read", "a.md"]);
    for proxy in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(proxy, &other);
    }
    Ended::of(command.output().unwrap()).prints(0, "text\n");
    assert!(elsewhere.asked().is_empty());
    let asked = stub.asked();
    let handshake = asked.iter().find(|a| a.path == "/link/handshake").unwrap();
    assert_eq!(
        handshake.header("authorization"),
        Some(format!("Bearer {PAT}").as_str())
    );
}

#[test]
fn the_gateway_is_found_in_the_documented_order() {
    let place = Place::enrolled();
    let by_port = Stub::tcp(usual);
    place.keep("runtime.json", &port(&by_port));
    place.run(&["list"]).ends(0);
    assert_eq!(by_port.asked().len(), 3, "runtime.json leads to it");

    let pinned = Stub::tcp(usual);
    place.keep("gateway", &format!("{}\n", pinned.address));
    place.run(&["list"]).ends(0);
    assert_eq!(
        (pinned.asked().len(), by_port.asked().len()),
        (3, 3),
        "the pin comes before the port"
    );

    let socket = place.socket();
    let on_socket = Stub::unix(&socket, usual);
    place.run(&["list"]).ends(0);
    assert_eq!(
        (on_socket.asked().len(), pinned.asked().len()),
        (2, 3),
        "the socket comes before the pin, and needs no discovery"
    );
    never(&on_socket, |asked| {
        asked.header("host") != Some("localhost")
    });

    let named = Stub::tcp(usual);
    let mut command = place.command(&["list"]);
    command.env("PLEXUS_GATEWAY", named.address.to_string());
    Ended::of(command.output().unwrap()).ends(0);
    assert_eq!(
        (named.asked().len(), on_socket.asked().len()),
        (3, 2),
        "what was named comes first"
    );
}

#[test]
fn one_of_several_agents_is_named_by_a_whole_command() {
    let place = Place::enrolled();
    place.keep("agents/other.pat", "");
    let ended = place.run(&["list"]).ends(64);
    let program = env!("CARGO_BIN_EXE_plexus");
    ended.says("(my-cc, other): name the one that you are\n");
    ended.says(&format!(
        "next: with your own id for ID: {program} --agent ID list\n"
    ));
}

/// While a gateway is down, anybody on its machine can take its port.
#[test]
fn a_stopped_gateways_port_gets_no_credential() {
    let place = Place::enrolled();
    let taken = Stub::tcp(usual);
    place.keep("runtime.json", &port(&taken));
    place.keep("gateway", &format!("{}\n", taken.address));
    let socket = place.socket();
    for left_by_a_kill in [false, true] {
        if left_by_a_kill {
            drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        }
        for line in [&["list"][..], &["whoami"], &WRITE, &["enroll", CODE]] {
            let ended = place.run(line).ends(69);
            ended.says("next: stop; tell the owner: start plexusd");
        }
    }
    assert!(taken.asked().is_empty(), "{:?}", taken.asked());
    // A caller that names it means it.
    place.at(&taken, &["list"]).ends(0);
    assert_eq!(taken.asked().len(), 3);
}

#[test]
fn a_credential_that_is_no_longer_accepted_is_a_failure_that_says_what_next() {
    let over = error("session_expired", "unknown credential");
    let stub = gateway(move |asked| at(asked, "/link/handshake", 401, over.clone()));
    let ended = Place::enrolled().at(&stub, &["list"]).ends(1);
    ended.says("done: nothing was done\nwhy: unknown credential\nnext: stop; tell the owner");
}

#[test]
fn a_call_sends_what_was_meant_and_prints_what_came() {
    let body = r##"{"id":"notes.read","ok":true,"output":{"content":"# A\u001b\n","next":{"offset":5}},  "auditId":"evt_1"}"##;
    let stub = gateway(move |asked| {
        let head = format!(
            "HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        invoke(asked).then(|| Answer::Raw(head.into_bytes()))
    });
    let place = Place::enrolled();
    let ended = place.at(&stub, &["notes.read", "a.md", "--purpose", "to answer you"]);
    // Data stays as it is in a pipe.
    let ended = ended.prints(0, "# A\u{1b}\n");
    assert_eq!(
        ended.err,
        "there is more: plexus notes.read path=a.md offset=5\n"
    );
    let call = stub.asked().into_iter().find(invoke).unwrap();
    assert_eq!(call.header("x-plexus-session"), Some(SESSION));
    assert_eq!(
        call.body,
        json!({"id": "notes.read", "input": {"path": "a.md"}, "onApproval": "run", "token": false, "purpose": "to answer you"})
    );
    // The answer exactly.
    let input = r#"{"path":"a.md"}"#;
    let line = ["call", "notes.read", "--json", "--input", input];
    place.at(&stub, &line).prints(0, &format!("{body}\n"));
}

#[test]
fn a_skill_is_printed_without_a_call() {
    let stub = gateway(|_| None);
    let place = Place::enrolled();
    place.at(&stub, &["notes.how-to"]).prints(0, "# How\n");
    let file = place.dir.path().join("text");
    let into = ["notes.how-to", "--output", file.to_str().unwrap()];
    place.at(&stub, &into).prints(0, "");
    assert_eq!(fs::read_to_string(&file).unwrap(), "# How");
    let json = "{\"id\":\"notes.how-to\",\"ok\":true,\"output\":{\"content\":\"# How\"},\"auditId\":\"\"}\n";
    place.at(&stub, &["notes.how-to", "--json"]).prints(0, json);
    never(&stub, invoke);
}

#[test]
fn failures_answer_three_questions_and_have_their_status() {
    let answers = [
        (200, "transport_error", "none", 1),
        (200, "outcome_unknown", "unknown", 1),
        (403, "denied_by_owner", "none", 77),
        (401, "grant_required", "none", 77),
        (503, "audit_unavailable", "none", 1),
        (404, "unknown_capability", "none", 1),
    ];
    for (http, code, effect, exit) in answers {
        let done = match effect {
            "none" => "done: nothing was done",
            _ => "done: not known",
        };
        let error =
            json!({"code": code, "message": "because", "effect": effect, "next": "do this"});
        let answer = json!({"id": "x", "ok": false, "auditId": "", "error": error});
        let stub = gateway(move |asked| at(asked, "/invoke", http, answer.clone()));
        let ended = Place::enrolled().at(&stub, &WRITE);
        assert_eq!((ended.code, ended.out.as_str()), (exit, ""), "{code}");
        assert_eq!(
            ended.err,
            format!(
                "stopped: {code}\n{}\nwhy: because\nnext: do this\n",
                whole_line(&ended.err, done)
            )
        );
        let json = Place::enrolled().at(&stub, &[&WRITE[..], &["--json"]].concat());
        let answer: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!((json.code, &answer["error"]["code"]), (exit, &json!(code)));
    }
}

fn whole_line<'t>(text: &'t str, beginning: &str) -> &'t str {
    text.lines()
        .find(|line| line.starts_with(beginning))
        .unwrap_or("")
}

#[test]
fn an_answer_that_does_not_come_is_not_taken_for_nothing() {
    let stub = gateway(|asked| invoke(asked).then_some(Answer::Close));
    let effect = Place::enrolled().at(&stub, &WRITE).ends(1);
    effect.says("done: not known");
    assert_eq!(invoked(&stub), 1, "it is not sent again");
    let read = Place::enrolled().at(&stub, &["notes.read", "a"]).ends(1);
    read.says("done: nothing was done");
}

#[test]
fn the_owners_yes_gives_the_result() {
    let polls = AtomicUsize::new(0);
    let stub = gateway(move |asked| {
        if is_status(asked) {
            let result = json!({"id": "notes.write", "ok": true, "output": {"bytes": 1}, "auditId": "evt_1"});
            return Some(match polls.fetch_add(1, Ordering::SeqCst) {
                0 => status(json!({"state": "pending"})),
                _ => status(json!({"state": "approved", "result": result})),
            });
        }
        invoke(asked).then(pending)
    });
    let ended = Place::enrolled().at(&stub, &WRITE);
    let ended = ended.prints(0, "{\n  \"bytes\": 1\n}\n");
    ended.says(&format!("go on with: plexus wait {ITEM}\n"));
    let poll = stub.asked().into_iter().find(is_status).unwrap();
    assert_eq!(
        poll.path,
        format!("/grants/status?pendingId={ITEM}&wait=20&run=1")
    );
    assert_eq!(poll.header("x-plexus-session"), Some(SESSION));
    assert_eq!(invoked(&stub), 1);
}

/// As after a restart of the gateway.
#[test]
fn forgotten_run_is_answered_by_its_request() {
    let stub = gateway(|asked| {
        if asked.path.starts_with("/invoke/status") {
            let gone = error("session_expired", "No such run of yours.");
            return Some(Answer::Json(403, gone));
        }
        let result = json!({"id": "notes.write", "ok": true, "output": "done", "auditId": ""});
        is_status(asked).then(|| status(json!({"state": "approved", "result": result})))
    });
    let ended = Place::enrolled().at(&stub, &["wait", RUN]);
    ended.prints(0, "done\n");
    let poll = stub.asked().into_iter().find(is_status).unwrap();
    let item = RUN.replace("run_", "pend_");
    assert!(poll.path.contains(&item), "{}", poll.path);
}

/// As after a crash between the effect and its answer.
#[test]
fn lost_result_of_an_effect_is_said_in_words() {
    let stub = gateway(|asked| {
        let result =
            json!({"id": "notes.write", "ok": true, "auditId": "evt_1", "outputOmitted": true});
        is_status(asked).then(|| status(json!({"state": "approved", "result": result})))
    });
    let ended = Place::enrolled().at(&stub, &["wait", ITEM]);
    let ended = ended.prints(0, "");
    ended.says("It was done, and its result is lost. Do not repeat the call");
}

#[test]
fn a_yes_without_a_result_is_used_by_calling_again() {
    let calls = AtomicUsize::new(0);
    let stub = gateway(move |asked| {
        if is_status(asked) {
            return Some(status(json!({"state": "approved"})));
        }
        invoke(asked).then(|| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => pending(),
            _ => Answer::Json(
                200,
                json!({"id": "notes.write", "ok": true, "output": "done", "auditId": ""}),
            ),
        })
    });
    Place::enrolled().at(&stub, &WRITE).prints(0, "done\n");

    // A gateway that says yes and asks again for ever does not keep the command for ever.
    let calls = AtomicUsize::new(0);
    let stub = gateway(move |asked| {
        if is_status(asked) {
            return Some(status(json!({"state": "approved"})));
        }
        invoke(asked).then(|| match calls.fetch_add(1, Ordering::SeqCst) {
            0..5 => pending(),
            _ => Answer::Close,
        })
    });
    Place::enrolled().at(&stub, &WRITE).ends(1);
    assert_eq!(invoked(&stub), 2);
}

#[test]
fn waiting_ends_as_the_owner_or_the_time_decides() {
    let (next, state) = (
        format!("next: plexus wait {ITEM}"),
        |state: &str| json!({"state": state}),
    );
    let not_now = json!({"state": "denied", "reason": "not \u{1b}now"});
    let answers = [
        (state("pending"), 75, &*next),
        (not_now, 77, "why: The owner denied it: not \\u{1b}now"),
        (state("denied"), 77, "why: The owner denied it.\n"),
        (state("expired"), 1, "next: ask again"),
        (state("strange"), 1, "which is no state"),
    ];
    for (reply, code, says) in answers {
        let stub = gateway(move |asked| waiting(asked, || status(reply.clone())));
        for line in [
            &[&WRITE[..], &["--wait", "0"]].concat()[..],
            &["wait", ITEM, "--wait", "0"],
        ] {
            let ended = Place::enrolled().at(&stub, line).ends(code);
            ended.says(says);
        }
        let json = Place::enrolled().at(&stub, &[&WRITE[..], &["--wait", "0", "--json"]].concat());
        let printed: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(printed["ok"], false);
        if code == 75 {
            assert_eq!(printed["error"]["code"], "approval_required");
            assert_eq!(printed["error"]["pendingId"], ITEM);
        }
    }
}

#[test]
fn an_interrupted_wait_says_that_nothing_is_lost() {
    let stub = gateway(|asked| waiting(asked, || Answer::Silence));
    let place = Place::enrolled();
    let url = stub.address.to_string();
    let mut child = place
        .command(&[&["--url", &url], &WRITE[..]].concat())
        .spawn()
        .unwrap();
    let mut err = lines(child.stderr.take().unwrap());
    let says = "the owner decides with";
    assert!(err.any(|line| line.contains(says)), "it says: {says}");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(ended("the command", &mut child).code(), Some(75));
    let rest: Vec<_> = err.collect();
    let any = |told: &dyn Fn(&String) -> bool| assert!(rest.iter().any(told), "{rest:?}");
    any(&|line| line.starts_with("next: ") && line.ends_with(&format!(" wait {ITEM}")));
    // The owner may have said yes while it was silent: what is run then is not told before its end.
    any(&|line| line.starts_with("done: not known"));
}

#[test]
fn a_wait_that_is_no_longer_answered_keeps_its_request() {
    let error = |code: &str| json!({"error": {"code": code, "message": "not now"}});
    let busy = error("rate_limited");
    let cases = [
        (None, 75),
        (Some((500, error("internal_error"))), 75),
        (Some((200, json!([]))), 75),
        (Some((429, busy)), 1),
    ];
    for (answer, code) in cases {
        let reply = answer.clone();
        let stub = gateway(move |asked| {
            waiting(asked, || match reply.clone() {
                Some((http, body)) => Answer::Json(http, body),
                None => Answer::Close,
            })
        });
        for line in [&WRITE[..], &["wait", ITEM]] {
            let ended = Place::enrolled().at(&stub, line).ends(code);
            ended.says("done: not known");
            let json = Place::enrolled().at(&stub, &[line, &["--json"]].concat());
            let printed: Value = serde_json::from_str(&json.out).unwrap();
            let error = &printed["error"];
            assert_eq!(error["effect"], "unknown", "{answer:?}");
            assert_eq!(error["pendingId"], ITEM, "{answer:?}");
            if code == 75 {
                assert_eq!(error["code"], "approval_required", "{answer:?}");
                assert_eq!(error["next"], format!("plexus wait {ITEM}"), "{answer:?}");
            }
        }
    }
}

/// Of a call that was made before, however the owner decided: this command asked for it and has not heard.
#[test]
fn a_wait_that_reaches_nobody_does_not_say_that_nothing_was_done() {
    let refused = gateway(|asked| {
        let error =
            json!({"error": {"code": "session_expired", "message": "no", "effect": "none"}});
        (asked.path == "/link/handshake").then(|| Answer::Json(401, error.clone()))
    });
    let gone = gateway(|_| Some(Answer::Close));
    for (stub, item, code) in [
        (&refused, ITEM, 1),
        (&refused, RUN, 1),
        (&gone, ITEM, 75),
        (&gone, RUN, 1),
    ] {
        let ended = Place::enrolled().at(stub, &["wait", item, "--json"]);
        let ended = ended.ends(code);
        let printed: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(printed["error"]["effect"], "unknown", "{item} {printed}");
    }
}

#[test]
fn a_wait_for_no_item_lists_what_waits() {
    let waiting = json!([{"pendingId": ITEM, "capabilityId": "notes.write", "createdAt": "2026-01-01T00:00:00.000Z",
        "purpose": "to \u{1b}keep it"}]);
    for (waiting, says) in [
        (waiting, format!("{ITEM} notes.write asked ")),
        (json!([]), "no request of yours waits".to_owned()),
    ] {
        let reply = json!({"grants": [], "waiting": waiting});
        let stub = gateway(move |asked| {
            (asked.path == "/grants").then(|| Answer::Json(200, reply.clone()))
        });
        let place = Place::enrolled();
        let listed = place.at(&stub, &["wait"]).ends(0);
        assert!(listed.out.starts_with(&says), "{}", listed.out);
        let says_why = listed.out.trim_end().ends_with(": “to \\u{1b}keep it”");
        assert_eq!(says_why, waiting != json!([]), "{}", listed.out);
        let json = place.at(&stub, &["wait", "--json"]).ends(0);
        let printed: Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!(printed["waiting"], waiting, "{printed}");
        let file = place.dir.path().join("list");
        let into = ["wait", "--json", "--output", file.to_str().unwrap()];
        place.at(&stub, &into).prints(0, "");
        assert_eq!(fs::read_to_string(&file).unwrap(), json.out.trim_end());
        let again = place.at(&stub, &into).ends(64);
        again.says("--output writes a new file");
        let folder = place.dir.path().to_str().unwrap();
        let more = place.at(&stub, &["wait", "--full", "--no-wait"]);
        more.prints(0, &listed.out);
        for of_an_answer in [&["--out", folder][..], &["--wait", "1"]] {
            let line = [&["wait"][..], of_an_answer].concat();
            let refused = place.at(&stub, &line).ends(64);
            refused.says("are for one request or run");
        }
    }
    let refused = gateway(|asked| at(asked, "/grants", 403, error("paused", "no")));
    let ended = Place::enrolled().at(&refused, &["wait", "--json"]);
    let printed: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(printed["error"]["code"], "paused", "{ended:?}");
    assert_eq!(printed["id"], "", "{ended:?}");
    // A cut id is no reason to ask the owner.
    let cut = Place::enrolled().at(&gateway(|_| None), &["wait", "pend_123"]);
    cut.ends(64).says("or see what waits: plexus wait");
    let word = Place::enrolled().at(&gateway(|_| None), &["describe", "notes"]);
    word.ends(64).says("next: plexus list notes");
}

#[test]
fn mcp_list_is_read_again_after_its_ttl() {
    let read = AtomicUsize::new(0);
    let stub = gateway(move |asked| match asked.path.as_str() {
        "/events" => Some(Answer::Stream(b"HTTP/1.1 200 X\r\n\r\n: hello\n\n".into())),
        "/manifest" => {
            let narrowed = read.fetch_add(1, Ordering::Relaxed) > 0;
            let entry = json!({"id": "notes.read", "kind": "capability", "grants": ["read"],
                "standing": true, "narrowed": narrowed});
            let manifest = json!({"ttlMs": 1, "entries": [entry]});
            Some(Answer::Json(200, json!({ "manifest": manifest })))
        }
        _ => None,
    });
    let url = stub.address.to_string();
    let place = Place::enrolled();
    let mut command = place.command(&["--url", &url, "mcp"]);
    let mut server = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = server.stdin.take().unwrap();
    let mut ask = |method: &str, params: Value| {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        writeln!(stdin, "{message}").unwrap();
    };
    ask(
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}),
    );
    let (tell, heard) = mpsc::channel();
    let stdout = BufReader::new(server.stdout.take().unwrap());
    thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    // No event says that the list changed.
    loop {
        let line = heard.recv_timeout(Duration::from_secs(10));
        let line = line.expect("the list as it is now");
        if line.contains("notifications/tools/list_changed") {
            ask("tools/list", json!({}));
        } else if line.contains("may have to approve") {
            break;
        }
    }
    drop(stdin);
    assert!(ended("the server", &mut server).success());
}

#[test]
fn a_wait_says_what_is_waited_for_while_it_is() {
    let stub = gateway(|asked| waiting(asked, || status(json!({"state": "pending"}))));
    let ended = Place::enrolled().at(&stub, &["wait", ITEM, "--wait", "1"]);
    let line = format!("if this command ends first, go on with: plexus wait {ITEM}");
    ended.ends(75).says(&line);
    let ended = Place::enrolled().at(&stub, &["wait", ITEM, "--wait", "0"]);
    assert!(!ended.ends(75).err.contains(&line), "it does not wait");
}

#[test]
fn a_wait_that_ends_while_an_approved_call_is_under_way_does_not_say_that_nothing_was_done() {
    let stub = gateway(|asked| waiting(asked, || status(json!({"state": "approved"}))));
    let ended = Place::enrolled().at(&stub, &["wait", ITEM, "--wait", "0"]);
    ended.ends(75).says("stopped: approved\ndone: not known");
}

/// Its session ended and no other is given: nobody has said what became of the request.
#[test]
fn a_wait_that_is_not_let_in_again_does_not_say_that_nothing_was_done() {
    // To wait again is of use where the agent may be let in later.
    for (code, exit) in [("token_revoked", 1), ("session_expired", 1), ("paused", 75)] {
        let sessions = AtomicUsize::new(0);
        let error =
            move |code: &str| json!({"error": {"code": code, "message": "no", "effect": "none"}});
        let stub = gateway(move |asked| {
            if is_status(asked) {
                return Some(Answer::Json(403, error("session_expired")));
            }
            let again =
                asked.path == "/link/handshake" && sessions.fetch_add(1, Ordering::SeqCst) > 0;
            again.then(|| Answer::Json(401, error(code)))
        });
        let ended = Place::enrolled().at(&stub, &["wait", ITEM, "--json"]);
        let ended = ended.ends(exit);
        let printed: Value = serde_json::from_str(&ended.out).unwrap();
        let told = &printed["error"];
        assert_eq!(told["code"], code, "{printed}");
        assert_eq!(told["effect"], "unknown", "{code} {printed}");
        assert_eq!(told["pendingId"], ITEM, "{code} {printed}");
    }
}

/// The gateway tells the session that asked how its request ended; a new session it does not give.
#[test]
fn a_request_that_ended_with_its_credential_says_that_nothing_was_done() {
    let why = "the agent was revoked";
    let sessions = AtomicUsize::new(0);
    let stub = gateway(move |asked| {
        let again = asked.path == "/link/handshake" && sessions.fetch_add(1, Ordering::SeqCst) > 0;
        if again {
            return Some(Answer::Json(401, error("session_expired", "no")));
        }
        waiting(asked, || status(json!({"state": "expired", "reason": why})))
    });
    let ended = Place::enrolled().at(&stub, &WRITE).ends(1);
    ended.says("stopped: session_expired\ndone: nothing was done\nwhy: ");
    ended.says("ended before it could be used: the agent was revoked\nnext: stop; tell the owner");
}

#[test]
fn a_wait_outlives_a_restart_of_the_gateway() {
    for first in ["cut", "forgotten"] {
        let polls = AtomicUsize::new(0);
        let stub = gateway(move |asked| {
            if is_status(asked) {
                let over =
                    json!({"error": {"code": "session_expired", "message": "no such session"}});
                return Some(match (polls.fetch_add(1, Ordering::SeqCst), first) {
                    (0, "cut") => Answer::Close,
                    (0, _) => Answer::Json(403, over),
                    _ => status(json!({"state": "denied"})),
                });
            }
            invoke(asked).then(pending)
        });
        Place::enrolled().at(&stub, &WRITE).ends(77);
        let count = |path: &str| stub.asked().iter().filter(|a| a.path == path).count();
        assert_eq!(count("/link/handshake"), 2, "a new session");
        assert_eq!(count("/invoke"), 1, "and no second call");
    }
}

#[test]
fn a_long_call_is_followed_to_its_end() {
    let polls = AtomicUsize::new(0);
    let stub = gateway(move |asked| {
        if asked.path.starts_with("/invoke/status") {
            let of = json!({"runId": RUN, "id": "notes.index"});
            let run = |more| Some(Answer::Json(200, with(of, more)));
            let result =
                json!({"id": "notes.index", "ok": true, "output": "indexed", "auditId": "evt_1"});
            return match polls.fetch_add(1, Ordering::SeqCst) {
                0 => run(
                    json!({"status": "running", "progress": {"from": 0, "next": 5, "chunks": [{"text": "half\u{1b}"}]}}),
                ),
                _ => run(json!({"status": "succeeded", "result": result})),
            };
        }
        invoke(asked).then(|| {
            let run = json!({"runId": RUN, "status": "running", "statusUrl": format!("http://elsewhere/invoke/status?runId={RUN}"),
                "startedAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-01T01:00:00.000Z"});
            Answer::Json(202, json!({"id": "notes.index", "ok": true, "auditId": "", "run": run}))
        })
    });
    let place = Place::enrolled();
    let ended = place.at(&stub, &["notes.index"]).prints(0, "indexed\n");
    ended.says("half\\u{1b}");
    // Also where nobody watches, so that it can be found again.
    ended.says(&format!("it begins ({RUN})"));
    let call = stub.asked().into_iter().find(invoke).unwrap();
    assert_eq!(call.body["async"], true);
    place.at(&stub, &["wait", RUN]).prints(0, "indexed\n");
}

#[test]
fn a_request_can_be_withdrawn() {
    let over = json!({"ok": true, "pendingId": ITEM, "state": "expired"});
    let stub = gateway(move |asked| at(asked, "/grants/cancel", 200, over.clone()));
    Place::enrolled().at(&stub, &["cancel", ITEM]).ends(0);
    let cancel = stub.asked().pop().unwrap();
    assert_eq!(cancel.method, "POST");
    assert_eq!(cancel.body, json!({"pendingId": ITEM}));
    assert_eq!(cancel.header("x-plexus-session"), Some(SESSION));
}

#[test]
fn who_am_i() {
    let stub = gateway(|_| None);
    let ended = Place::enrolled().at(&stub, &["whoami"]);
    let who = "agent my-cc\ngateway plexus 0.1.0";
    assert!(ended.out.starts_with(who), "{ended:?}");
    let ended = Place::enrolled().at(&stub, &["list"]);
    let counted = format!("agent my-cc at {}: 1 now, 3 asks, 0 off\n", stub.address);
    assert!(ended.out.starts_with(&counted), "{ended:?}");
}
