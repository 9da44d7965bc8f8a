//! The words that an agent meets when something is not done: a corpus of refusals and pending states, each one really
//! provoked, kept word for word in `tests/goldens/words.json`.
//!
//! Held for each: the three answers, in their order, as text and as JSON; where the third is a command, it is typed, and
//! where it is a request, it is sent: it reaches what it promises; nowhere does it lead round what the owner decided.

use crate::house::{House, READ, WRITE, nobody, note, report};
use plexus_tests::programs::Said;
use plexus_tests::texts::{list_of, text_of};
use plexus_tests::waiting::until;
use plexus_tests::{Agent, Client, Response, binaries, golden};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;

/// What `next` is, and what becomes of it.
enum Next<'a> {
    /// Words: there is nothing to type.
    Words,
    /// A command of the agent's that ends with this status.
    Typed(i32),
    /// A request that this agent's session may send.
    Sent(&'a Agent),
    /// The same, once the owner has approved this item.
    Approved(&'a str),
}

/// The corpus as it grows, and all that is wrong with it.
struct Corpus<'a> {
    house: &'a House,
    said: Vec<Value>,
    wrong: Vec<String>,
}

impl Corpus<'_> {
    fn hold(&mut self, what: &str, holds: bool, why: impl std::fmt::Display) {
        if !holds {
            self.wrong.push(format!("{what}: {why}"));
        }
    }

    /// An agent's command, once as text and, where it has that form, once as JSON.
    fn command(&mut self, what: &str, agent: &str, line: &[&str], status: i32, next: Next<'_>) {
        let text = self.house.gateway.plexus(agent, line.iter().copied());
        self.hold(what, text.status == status, &text);
        // A command begins with what this caller typed, which is a path here.
        let plexus = binaries::path("plexus").display().to_string();
        let told = three_answers(&text).map(|told| told.map(|one| one.replace(&plexus, "plexus")));
        let Some(told) = told else {
            self.hold(
                what,
                false,
                format!("not the three answers in their order: {text}"),
            );
            return;
        };
        let with_json = line.iter().copied().chain(["--json"]);
        let json = self.house.gateway.plexus(agent, with_json);
        let error = match json.status == status && json.stdout.starts_with('{') {
            true => {
                let mut error = json.json()["error"].take();
                let next = error["next"].as_str().unwrap_or_default();
                error["next"] = next.replace(&plexus, "plexus").into();
                error
            }
            // Not a call: its refusals are text.
            false => Value::Null,
        };
        if !error.is_null() {
            let same = error["message"] == told[1].as_str() && error["next"] == told[2].as_str();
            self.hold(what, same, format!("text and JSON differ: {text}{json}"));
        }
        self.keep(
            what,
            &format!("plexus {}", line.join(" ")),
            status,
            &told,
            &error,
        );
        self.follow(what, agent, &told[2], next);
    }

    /// A request over raw HTTP.
    fn request(&mut self, what: &str, answer: &Response, status: u16, code: &str, next: Next<'_>) {
        let error = answer.at("/error");
        self.hold(
            what,
            answer.status == status && error["code"] == code,
            answer,
        );
        let word = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let told = [word("effect"), word("message"), word("next")];
        self.keep(what, "HTTP", i32::from(status), &told, &error);
        self.follow(what, "one", &told[2], next);
    }

    fn keep(&mut self, what: &str, typed: &str, status: i32, told: &[String; 3], error: &Value) {
        for (answer, question) in told.iter().zip(["was anything done", "why", "what next"]) {
            self.hold(
                what,
                !answer.trim().is_empty(),
                format!("nothing answers: {question}"),
            );
        }
        if let Some(way) = round(told, error) {
            self.hold(what, false, way);
        }
        self.said.push(json!({
            "what": what, "typed": typed, "status": status,
            "text": {"done": told[0], "why": told[1], "next": told[2]},
            "json": {"code": error["code"], "effect": error["effect"], "next": error["next"]},
        }));
    }

    /// Types what a refusal said to type, or sends what it said to send.
    fn follow(&mut self, what: &str, agent: &str, told: &str, next: Next<'_>) {
        if let (Next::Sent(agent), Some(path)) = (&next, told.strip_prefix("GET ")) {
            let reply = agent.client().get(path);
            self.hold(what, reply.status == 200, &reply);
            return;
        }
        let (status, command) = match (next, told.strip_prefix("plexus ")) {
            (Next::Words, None) => return,
            (Next::Typed(status), Some(command)) => (status, command),
            (Next::Approved(item), Some(command)) => {
                self.house.owner().approve(item, "once");
                (0, command)
            }
            (Next::Words | Next::Sent(_), _) | (_, None) => {
                self.hold(what, false, format!("it is, or is not, a command: {told}"));
                return;
            }
        };
        let said = self.house.gateway.plexus(agent, command.split(' '));
        self.hold(
            what,
            said.status == status,
            format!("its next does not lead there: {said}"),
        );
    }
}

/// The three answers of a command that did not do what was asked, in their order and with nothing between or behind.
fn three_answers(said: &Said) -> Option<[String; 3]> {
    let lines: Vec<&str> = said.stderr.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.starts_with("stopped: "))?;
    let answer = |n: usize, label: &str| Some(lines.get(at + n)?.strip_prefix(label)?.to_owned());
    let told = [
        answer(1, "done: ")?,
        answer(2, "why: ")?,
        answer(3, "next: ")?,
    ];
    (lines.len() == at + 4).then_some(told)
}

/// Codes of what the owner decided, or did not allow.
const DECIDED: &[&str] = &[
    "denied_by_owner",
    "capability_unexposed",
    "paused",
    "permission_denied",
    "unauthorized",
];

/// Where `next` leads round a decision of any of its makers.
fn round(told: &[String; 3], error: &Value) -> Option<String> {
    let next = &told[2];
    for way in [
        "sudo",
        "chmod",
        "curl",
        "--i-am-the-owner",
        "connection-key",
        "connectionKey",
        "another agent",
        "plexusctl grants allow",
        "plexusctl approvals approve",
        "PLEXUS_HOME",
        "config set",
    ] {
        if next.contains(way) {
            return Some(format!("{way:?} in {next:?}"));
        }
    }
    if next.starts_with("plexusctl") {
        return Some(format!("the owner's command, for an agent: {next:?}"));
    }
    let code = error["code"].as_str().unwrap_or_default();
    let missed = error["detail"]["constraintMiss"] == true
        || ["symlink", "hard_link"]
            .iter()
            .any(|reason| error["detail"]["reason"] == *reason);
    let decided = DECIDED.contains(&code) || missed;
    (decided && !next.starts_with("stop; ")).then(|| format!("{code} leads on: {next:?}"))
}

/// The item that waits last.
#[track_caller]
fn newest(house: &House) -> String {
    text_of(&house.owner().pending()[0]["pendingId"])
}

fn fixture(house: &House, folder: &plexus_tests::Folder) {
    house
        .owner().must_post(
            "/admin/api/sources",
            json!({"id": "fixture", "kind": "fixture-dir", "label": "Fixture", "route": {"path": folder.path()}}),
        );
}

/// Lets an agent in as a person would.
fn enroll(house: &House, connected: &Value) {
    let code = connected["code"].as_str().expect("a code");
    let agent = connected["agentId"].as_str().expect("an id");
    house.gateway.plexus(agent, ["enroll", code]).expect_ok();
}

#[test]
fn what_an_agent_reads_when_something_is_not_done() {
    let house = House::with(plexus_tests::Builder::fixture);
    let folder = plexus_tests::Folder::empty();
    folder.write("state", "0");
    fixture(&house, &folder);
    let owner = house.owner();
    let reads = [
        READ,
        "workspace.list",
        "obsidian.vault.read",
        "fixture.crash",
        "fixture.garbage",
        "fixture.brief",
        "fixture.fail",
        "fixture.long",
    ];
    let connected = owner.connect("one", &reads);
    enroll(&house, &connected);
    let mut corpus = Corpus {
        house: &house,
        said: Vec::new(),
        wrong: Vec::new(),
    };
    let c = &mut corpus;
    use Next::{Approved, Typed, Words};

    // The command line.
    c.command("a word that is nothing", "one", &["nonsense"], 64, Typed(0));
    c.command(
        "input that is no JSON",
        "one",
        &[READ, "--input", "{"],
        64,
        Typed(0),
    );
    c.command(
        "input that is no object",
        "one",
        &[READ, "--input", "[1]"],
        64,
        Typed(0),
    );
    c.command(
        "more words than fields",
        "one",
        &[READ, "a", "1", "b", "c", "d"],
        64,
        Words,
    );
    c.command("waiting for nonsense", "one", &["wait", "foo"], 64, Words);
    let part = ["wait", "pend_123"];
    c.command("waiting for a part of an id", "one", &part, 64, Words);
    c.command(
        "no gateway",
        "one",
        &["--url", "http://127.0.0.1:1", "list"],
        69,
        Words,
    );
    c.command(
        "an agent that was never let in",
        "nobody",
        &["list"],
        2,
        Words,
    );
    c.command(
        "a code that is no code",
        "two",
        &["enroll", "letmein"],
        64,
        Words,
    );
    let unknown = format!("plx_enroll_{}", "A".repeat(43));
    c.command(
        "a code that was never made",
        "two",
        &["enroll", &unknown],
        1,
        Words,
    );
    let used = connected["code"].as_str().expect("a code");
    c.command("a code that was used", "two", &["enroll", used], 1, Words);

    // What is asked for.
    c.command(
        "a capability that is not there",
        "one",
        &["workspace.nothing"],
        1,
        Typed(0),
    );
    c.command(
        "describing what is not there",
        "one",
        &["describe", "workspace.nothing"],
        1,
        Typed(0),
    );
    c.command("a missing field", "one", &[READ], 1, Typed(0));
    c.command(
        "a field of another type",
        "one",
        &[READ, "--input", r#"{"path":7}"#],
        1,
        Typed(0),
    );
    c.command(
        "a file that is not there",
        "one",
        &[READ, "path=missing.txt"],
        1,
        Words,
    );
    c.command(
        "a path that leads out",
        "one",
        &[READ, "path=../x"],
        1,
        Words,
    );
    c.command(
        "a path from the root",
        "one",
        &[READ, "path=/etc/hostname"],
        1,
        Words,
    );
    symlink("/etc/hostname", house.workspace.path().join("link.txt")).expect("a link");
    c.command("a link", "one", &[READ, "path=link.txt"], 1, Words);
    std::fs::create_dir_all(house.workspace.path().join("folder")).expect("a folder");
    c.command(
        "a folder in a file's place",
        "one",
        &[READ, "path=folder"],
        1,
        Words,
    );
    house.workspace.write("raw.bin", b"\x00\xff\x00\xfe");
    c.command(
        "a file that is no text",
        "one",
        &[READ, "path=raw.bin"],
        1,
        Words,
    );

    // What waits for the owner.
    let write = |path: &'static str| [WRITE, path, "content=a", "--wait", "0"];
    c.command(
        "an effect that waits",
        "one",
        &write("path=w.txt"),
        75,
        Approved(&{
            house
                .gateway
                .plexus("one", write("path=w.txt"))
                .expect_status(75);
            newest(&house)
        }),
    );
    assert_eq!(
        house.workspace.read("w.txt"),
        "a",
        "the owner's yes did it, once"
    );
    enroll(&house, &owner.connect("bare", &[]));
    house
        .gateway
        .plexus("bare", [READ, "path=report.txt", "--wait", "0"])
        .expect_status(75);
    let item = newest(&house);
    c.command(
        "a read that was not granted",
        "bare",
        &[READ, "path=report.txt", "--wait", "0"],
        75,
        Approved(&item),
    );
    house
        .gateway
        .plexus("one", write("path=d.txt"))
        .expect_status(75);
    let item = newest(&house);
    // What it names waits until the owner has decided.
    let waits = house.gateway.plexus("one", ["wait", &item, "--wait", "0"]);
    waits.expect_status(75);
    for words in [
        "done: nothing so far; it still may be",
        &format!("wait {item}"),
    ] {
        assert!(waits.stderr.contains(words), "{waits}");
    }
    owner.deny(&item, "not that file");
    c.command(
        "waiting for what was denied",
        "one",
        &["wait", &item],
        77,
        Words,
    );
    c.command(
        "the same call after a denial",
        "one",
        &write("path=d.txt"),
        77,
        Words,
    );
    assert!(!house.workspace.has("d.txt"));
    house
        .gateway
        .plexus("one", write("path=c.txt"))
        .expect_status(75);
    let item = newest(&house);
    house.gateway.plexus("one", ["cancel", &item]).expect_ok();
    c.command(
        "waiting for what was withdrawn",
        "one",
        &["wait", &item],
        1,
        Words,
    );
    c.command("withdrawing it twice", "one", &["cancel", &item], 1, Words);
    c.command(
        "waiting for a request of nobody",
        "one",
        &["wait", &nobody("pend_")],
        1,
        Words,
    );

    // What the owner narrowed.
    owner.must_put(
            "/admin/api/grants",
            json!({"agentId": "one", "grants": {WRITE: {"decision": "allow", "constraint":
                {"pathPrefix": {"field": "path", "allow": ["inside"]}, "maxCalls": 20}}}, "trustWindow": {"kind": "1h"}}),
        );
    let beyond = [WRITE, "path=outside.txt", "content=a", "--wait", "0"];
    house.gateway.plexus("one", beyond).expect_status(75);
    let item = newest(&house);
    c.command("beyond the narrowing", "one", &beyond, 75, Approved(&item));
    house.workspace.write("inside/there.txt", "before");
    c.command(
        "writing over what it has not read",
        "one",
        &[WRITE, "path=inside/there.txt", "content=a"],
        1,
        Words,
    );
    c.command(
        "a file that is another by now",
        "one",
        &[
            WRITE,
            "path=inside/there.txt",
            "content=a",
            &format!("ifDigest={}", "0".repeat(64)),
        ],
        1,
        Words,
    );

    // A source that misbehaves.
    c.command(
        "a call over its time",
        "one",
        &["fixture.brief", "ms=3000"],
        1,
        Words,
    );
    c.command(
        "the system says no",
        "one",
        &["fixture.fail", "reason=denied"],
        1,
        Words,
    );
    c.command(
        "the app is closed",
        "one",
        &["fixture.fail", "reason=unavailable"],
        1,
        Words,
    );
    c.command(
        "a mistake of the source",
        "one",
        &["fixture.fail", "reason=internal"],
        1,
        Words,
    );

    // What the owner switched off.
    owner.expose("obsidian.vault.search", false);
    c.command(
        "a hidden capability",
        "one",
        &["obsidian.vault.search", "query=x"],
        1,
        Typed(0),
    );
    house.gateway.cli(["pause"]).expect_ok();
    c.command(
        "while everything is paused",
        "one",
        &[READ, "path=report.txt"],
        77,
        Words,
    );
    house.gateway.cli(["resume"]).expect_ok();
    enroll(&house, &owner.connect("gone", &[]));
    owner.revoke_agent("gone");
    c.command("an agent that was ended", "gone", &["list"], 1, Words);
    let asked = nobody("pend_");
    c.command("waiting after that", "gone", &["wait", &asked], 1, Words);

    // Over HTTP, as another client would meet it.
    let nobody_here = house.gateway.client();
    let agent = Agent::enroll(
        &nobody_here,
        owner.connect("http", &[READ, "fixture.crash"])["code"]
            .as_str()
            .expect("a code"),
    );
    over_http(c, &nobody_here, &agent);

    assert!(c.wrong.is_empty(), "{}", c.wrong.join("\n\n"));
    assert!(c.said.len() >= 40, "{} are too few", c.said.len());
    golden::check("words", &Value::Array(corpus.said));
}

fn over_http(c: &mut Corpus<'_>, client: &Client, agent: &Agent) {
    use Next::{Sent, Words};
    let call = json!({"id": READ, "input": {"path": "report.txt"}});
    c.request(
        "no credential",
        &client.post("/invoke", call),
        401,
        "grant_required",
        Words,
    );
    c.request(
        "no session",
        &client.get("/manifest"),
        401,
        "session_expired",
        Words,
    );
    c.request(
        "a credential that is none",
        &client
            .with("authorization", "Bearer x")
            .post("/link/handshake", json!({})),
        401,
        "session_expired",
        Words,
    );
    c.request(
        "a token that is none",
        &agent.invoke_with("x.y.z", READ, json!({})),
        401,
        "token_revoked",
        Words,
    );
    c.request(
        "a skill in a call's place",
        &agent.invoke("workspace.how-to-use", json!({})),
        200,
        "transport_error",
        Sent(agent),
    );
    c.request(
        "a body that is no JSON",
        &agent.client().request("POST", "/invoke").bytes("{").send(),
        400,
        "internal_error",
        Words,
    );
    c.request(
        "a route that is not there",
        &client.get("/nothing"),
        404,
        "unknown_capability",
        Words,
    );
    c.request(
        "the owner's route",
        &agent.client().get("/admin/api/pending"),
        401,
        "unauthorized",
        Words,
    );
    c.request(
        "another host",
        &client.with("host", "evil.example").get("/manifest"),
        403,
        "host_forbidden",
        Words,
    );
    let died = agent.invoke("fixture.crash", json!({}));
    c.request(
        "a worker that dies under a read",
        &died,
        died.status,
        "source_unavailable",
        Words,
    );
    let mut n = 0;
    let full = until("a request that finds no place", || {
        let asked = agent.invoke(WRITE, note(&format!("{n}.txt"), "a"));
        n += 1;
        (asked.at("/error/code") != "approval_required").then_some(asked)
    });
    c.request(
        "more than twenty that wait",
        &full,
        429,
        "rate_limited",
        Words,
    );
}

/// A bound on the tokens of a text, whatever the tokenizer: words of English are about four characters a token, names
/// with dots about three; three for all, and one for each run of blanks beyond the one that goes with a word.
fn tokens_at_most(text: &str) -> usize {
    let words = text
        .split_whitespace()
        .map(|word| word.chars().count().div_ceil(3));
    let runs = text
        .split(|c: char| !c.is_whitespace())
        .filter(|run| run.len() > 1);
    words.sum::<usize>() + runs.count()
}

/// What an agent must have read before its first call: how to use Plexus, and what there is to call.
#[test]
fn the_skill_and_thirty_capabilities_are_fifteen_hundred_tokens() {
    let house = House::open();
    let owner = house.owner();
    let mut folders = Vec::new();
    for n in 1..=6 {
        let folder = plexus_tests::Folder::empty();
        let source = json!({"id": format!("folder-{n}"), "kind": "workspace-dir", "label": "Notes", "route": {"path": folder.path()}});
        owner.post("/admin/api/sources", source).expect_ok();
        folders.push(folder);
    }
    enroll(&house, &owner.connect("all", &[READ]));
    let listed = house.gateway.plexus("all", ["list", "--json"]).json();
    let ids: Vec<String> = list_of(&listed["capabilities"])
        .iter()
        .filter_map(|row| row["id"].as_str().map(str::to_owned))
        .collect();
    assert!(ids.len() >= 30, "{listed}");
    let thirty: Vec<&str> = ids.iter().map(String::as_str).take(30).collect();

    let connected = owner
        .connect_as(json!({"agentId": "one", "capabilities": thirty, "reach": "selected"}))
        .expect_ok();
    enroll(&house, &connected);
    let skill = house.gateway.plexus("one", ["skill"]);
    let list = house.gateway.plexus("one", ["list"]);
    let sees = |id: &&&str| list.expect_ok().contains(&id[id.find('.').unwrap_or(0)..]);
    assert_eq!(thirty.iter().filter(sees).count(), 30, "{list}");
    let most = tokens_at_most(skill.expect_ok()) + tokens_at_most(list.expect_ok());
    assert!(most <= 1_500, "{most} tokens: {skill}{list}");
    // The bound is one that can be passed: all of it twice is too much.
    assert!(
        2 * most > 1_500,
        "{most} tokens: the measure measures nothing"
    );
}

/// What is long is cut at a line, and the command that is printed gives the rest, as often as it takes.
#[test]
fn a_long_output_is_cut_and_the_command_for_the_rest_gives_the_rest() {
    let house = House::open();
    let whole: String = (0..4_000)
        .map(|n| format!("line {n} of a long file\n"))
        .collect();
    house.workspace.write("long.txt", &whole);
    enroll(
        &house,
        &house.owner().connect("one", &[READ, "workspace.list"]),
    );
    let (mut read, mut line) = (String::new(), format!("{READ} path=long.txt"));
    let there_is_more = format!("there is more: {} ", binaries::path("plexus").display());
    let mut rounds = 0;
    loop {
        let said = house.gateway.plexus("one", line.split(' '));
        said.expect_status(0);
        assert!(said.stdout.len() <= 16 << 10, "{} bytes", said.stdout.len());
        assert!(said.stdout.ends_with('\n'), "cut at a line");
        read.push_str(&said.stdout);
        rounds += 1;
        let Some((_, more)) = said.stderr.split_once(&there_is_more) else {
            break;
        };
        assert!(said.stderr.contains("cut: "), "{said}");
        line = more.lines().next().expect("a command").to_owned();
    }
    assert!(
        read == whole && rounds > 4,
        "{rounds} rounds, {} of {}",
        read.len(),
        whole.len()
    );

    let full = house
        .gateway
        .plexus("one", [READ, "path=long.txt", "--full"]);
    assert!(full.stdout == whole);
    let json = house
        .gateway
        .plexus("one", [READ, "path=long.txt", "--json"]);
    let answer = json.json();
    assert!(json.stdout.len() < 20 << 10);
    let typed = format!("{} {READ} ", binaries::path("plexus").display());
    let rest = answer["cut"]["next"].as_str().expect("a command");
    assert!(rest.starts_with(&typed), "{answer:#}");
    assert!(
        answer["cut"]["bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > whole.len() as u64)
    );

    let file = house.gateway.home().join("kept.txt");
    let into = file.to_string_lossy().into_owned();
    house
        .gateway
        .plexus("one", [READ, "path=long.txt", "--output", &into])
        .expect_ok();
    assert!(std::fs::read_to_string(&file).expect("the file") == whole);
    house
        .gateway
        .plexus("one", [READ, "path=long.txt", "--output", &into])
        .expect_status(64);

    for n in 0..400 {
        house
            .workspace
            .write(&format!("many/a-file-with-a-long-name-{n:03}.txt"), "x");
    }
    let mut seen = 0;
    let mut line = "workspace.list path=many".to_owned();
    loop {
        let said = house.gateway.plexus("one", line.split(' '));
        seen += said.json()["entries"].as_array().expect("entries").len();
        assert!(said.stdout.len() <= (16 << 10) + 1);
        let Some((_, more)) = said.stderr.split_once(&there_is_more) else {
            break;
        };
        line = more.lines().next().expect("a command").to_owned();
    }
    assert_eq!(seen, 400);
}

/// From exec to exit, warm: 25 ms on a machine that does nothing else (debug build; 3 ms in release). Held as a ratio to
/// what cannot be spared, a start of the program and the same two exchanges by a client that is there already, the best
/// of many of each, taken in turn: what else this machine does delays all three.
#[test]
fn a_read_takes_twenty_five_milliseconds() {
    let house = House::open();
    enroll(&house, &house.owner().connect("one", &[READ]));
    let there = house.reader("two");
    let timed = |act: &dyn Fn()| {
        let begun = std::time::Instant::now();
        act();
        begun.elapsed()
    };
    let run = |line: &[&str]| {
        house
            .gateway
            .plexus("one", line.iter().copied())
            .expect_ok();
    };
    let input = report();
    let [mut read, mut bare, mut exchanges] = [std::time::Duration::MAX; 3];
    for _ in 0..60 {
        read = read.min(timed(&|| run(&[READ, "path=report.txt"])));
        bare = bare.min(timed(&|| run(&["--version"])));
        exchanges = exchanges.min(timed(&|| {
            there.another_session().must(READ, input.clone());
        }));
    }
    assert!(
        read <= (bare + exchanges) * 3,
        "{read:?}, and {bare:?} for the bare program, {exchanges:?} for the exchanges"
    );
}
