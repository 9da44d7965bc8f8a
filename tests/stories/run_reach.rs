//! What a run reaches beside its copy: folders that the owner shares of the folder, read in place; and what it does not:
//! keys in the home folder, hosts that nobody listed, time after its end.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use crate::host_tools::{begun, ended};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{
    Gate, Step, binaries, coding_agents as programs, processes,
    waiting::{until, until_true},
};
use serde_json::{Value, json};
use std::{
    io::ErrorKind,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

/// What would change the owner's folder from within a run. Two by a second name of a file, two by a descriptor that was opened
/// to read.
const WRITES: [&str; 10] = [
    "echo x > node_modules/heron/index.js",
    "echo x > node_modules/planted.js",
    "rm -r node_modules/heron",
    "chmod 777 node_modules/heron/index.js",
    "touch -d 2001-01-01 node_modules/heron/index.js",
    "mv node_modules/heron/index.js moved.js",
    "ln node_modules/heron/index.js own.js && echo x > own.js",
    "ln -L node_modules/heron/run.sh own.sh && echo x > own.sh",
    "python3 -c 'import os; os.fchmod(os.open(\"node_modules/heron/index.js\", os.O_RDONLY), 0o775)'",
    "python3 -c 'import os; os.utime(os.open(\"node_modules/heron/index.js\", os.O_RDONLY), (0, 0))'",
];

fn packages(desk: &Desk) {
    let folder = desk.folder.path();
    desk.folder.write(".gitignore", "node_modules/\n");
    let module = "module.exports = 'a heron'\n";
    desk.folder.write("node_modules/heron/index.js", module);
    let script = "#!/bin/sh\necho it flies\n";
    desk.folder.program("node_modules/heron/run.sh", script);
    desk.folder.write("node_modules/.bin/none", "");
    let link = folder.join("node_modules/.bin/heron");
    symlink("../heron/run.sh", link).expect("a link");
    let large = std::fs::File::create(folder.join("node_modules/large.bin"));
    large.expect("a file").set_len(20 << 20).expect("longer");
}

fn share(desk: &Desk, folders: &str) -> String {
    let field = format!("share={folders}");
    let set = ["sources", "set", desk.kind.id, &field, "--yes"];
    format!("{:?}", desk.gateway.cli(set))
}

fn reads_shared_folder_in_place(kind: Kind) {
    let exec = kind.exec;
    let desk = Desk::open(kind, [exec("ls node_modules; true"), Step::say("None.")]);
    packages(&desk);
    // The control: what is ignored is not there.
    desk.run(&json!({"prompt": "Look."}));
    let seen = desk.model.results().concat();
    assert!(!seen.contains("heron"), "{seen}");

    share(&desk, "node_modules/");
    let reads = "cat node_modules/heron/index.js; node_modules/.bin/heron; wc -c < node_modules/large.bin; \
                 echo beside > beside.txt && chmod 700 beside.txt && ln beside.txt second && rm second && echo WROTE";
    let attempts = WRITES.map(|write| exec(&format!("({write}) || echo KEPT")));
    desk.model.instead([exec(reads)]);
    desk.model.then(attempts);
    desk.model.then([Step::say("Read.")]);
    let input = json!({"prompt": "Read it."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("reads in place"), "{plan}");
    assert!(plan.contains("node_modules; it cannot change"), "{plan}");
    assert!(!plan.contains("which are ignored"), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    let output = &done["output"];
    desk.model.finish();
    let results = desk.model.results();
    for words in ["a heron", "it flies", "20971520", "WROTE"] {
        assert!(results[0].contains(words), "{words}: {results:?}");
    }
    for (write, result) in WRITES.iter().zip(&results[1..]) {
        assert!(result.contains("KEPT"), "{write}: {result}");
    }
    let changes = &output["changes"];
    assert_eq!(changes["added"], 1, "{output}");
    assert_eq!(changes["files"][0]["path"], "beside.txt", "{output}");
    assert_eq!(changes["omitted"], 0, "{output}");
    assert_eq!(output["warnings"], json!([]), "{output}");
    let module = desk.folder.path().join("node_modules/heron/index.js");
    let about = std::fs::metadata(&module).expect("it is there");
    assert_eq!(about.permissions().mode() & 0o777, 0o644);
    assert!(
        about
            .modified()
            .expect("a time")
            .elapsed()
            .is_ok_and(|age| age.as_secs() < 3600)
    );
    let text = desk.folder.read("node_modules/heron/index.js");
    assert!(text.contains("a heron"), "{text}");

    // What a run puts in the link's place goes with its copy.
    let line = "rm node_modules && mkdir node_modules && echo x > node_modules/planted.js && ls node_modules";
    desk.model.then([exec(line), Step::say("Replaced.")]);
    let replaced = desk.run(&json!({"prompt": "Replace it."}));
    let seen = desk.model.results().pop().expect("a result");
    assert!(seen.contains("planted.js"), "{seen}");
    assert_eq!(replaced["changes"]["id"], Value::Null, "{replaced}");
    assert!(!desk.folder.has("node_modules/planted.js"));
}

#[test]
fn codex_reads_shared_folder_in_place() {
    reads_shared_folder_in_place(CODEX);
}

#[test]
fn claude_reads_shared_folder_in_place() {
    reads_shared_folder_in_place(CLAUDE);
}

#[test]
fn tests_of_a_javascript_repository_run_with_its_packages() {
    let node = programs::node();
    let bin = node.parent().expect("a folder").display().to_string();
    let tools = format!("tools={bin}");
    let desk = Desk::set(CODEX, [], &[&tools, "share=node_modules"]);
    packages(&desk);
    let test = "const t = require('node:test'); t('flies', () => { if (require('heron') !== 'a heron') throw 1; });\n";
    desk.folder.write("heron.test.js", test);
    let line = format!("{} --test", node.display());
    desk.model
        .then([Step::exec(&line), Step::say("They pass.")]);
    desk.run(&json!({"prompt": "Run the tests."}));
    let seen = desk.model.results().concat();
    assert!(seen.contains("pass 1") && seen.contains("fail 0"), "{seen}");
}

#[test]
fn folder_that_cannot_be_shared_is_refused_in_words() {
    let desk = Desk::open(CODEX, []);
    packages(&desk);
    for (folders, words) in [
        ("../elsewhere", "no path below the source's folder"),
        ("/etc", "no path below the source's folder"),
        (".git", "no path below the source's folder"),
        ("node_modules, node_modules/heron", "it lies in another one"),
        ("a,b,c,d,e", "more than 4 shared folders"),
    ] {
        share(&desk, folders);
        let told = format!("{:?}", desk.gateway.cli(["sources", "test", "codex"]));
        assert!(told.contains(words), "{folders}: {told}");
    }
    // A link of the owner's own leads out of the folder.
    symlink("/etc", desk.folder.path().join("linked")).expect("a link");
    share(&desk, "linked");
    let reply = desk
        .approved("run", &json!({"prompt": "Read the link."}))
        .json();
    let error = reply["error"]["message"].to_string();
    assert!(error.contains("is a link"), "{reply}");
    // What agents are not to see is shared with none.
    share(&desk, "node_modules");
    let hide = ["sources", "hide", "codex", "--folder", "node_modules/heron"];
    desk.gateway.cli(hide).expect_ok();
    let item = desk.asked("run", &json!({"prompt": "Read what is hidden."}));
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("something may be hidden"), "{plan}");
    // The control: one that is missing is said, and no reason not to run.
    let unhide = "sources unhide codex --folder node_modules/heron";
    desk.gateway.must_cli(unhide.split(' '));
    share(&desk, "missing");
    let input = json!({"prompt": "Go on without."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("missing (not there)"), "{plan}");
    desk.owner().approve(&item, "once");
    desk.model.then([Step::exec("ls -a"), Step::say("Done.")]);
    desk.agent.must("codex.run", input);
    let seen = desk.model.results().concat();
    assert_contains(&seen, "a.txt");
    assert_lacks(&seen, "missing");
}

/// Whether a process with this in its command line is there.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).replace('\0', " ").trim() == words)
}

#[test]
fn process_that_forks_away_ends_with_its_run() {
    let gate = Gate::closed();
    let desk = Desk::open(CODEX, []);
    // A time that no other process of this machine sleeps.
    let sleeps = format!("sleep 7{}", std::process::id());
    let line = format!("setsid -f {sleeps} < /dev/null > /dev/null 2>&1; echo FORKED");
    desk.model.then([
        Step::exec(&line),
        Step::Wait(gate.clone()),
        Step::say("Forked."),
    ]);
    let run = begun(&desk, &json!({"prompt": "Fork away."}));
    until_true("the turn's second request", || {
        desk.model.requests().len() == 2
    });
    assert!(desk.model.results()[0].contains("FORKED"));
    assert!(runs(&sleeps), "the control: it outlives its command");
    gate.open();
    let done = ended(&desk, &run);
    assert_eq!(done["result"]["output"]["text"], "Forked.", "{done}");
    assert!(!runs(&sleeps), "it outlives its run");
}

/// How many processes the attack has at a time; a run may have 256.
const LINE: usize = 150;

/// A line that grows again as it is killed ends with its run, and the audit log speaks of that end when nobody is left.
#[test]
fn audit_says_how_a_stopped_run_ended_when_it_has() {
    const REGROW: &str = "plexus-regrow";
    let desk = Desk::open(CODEX, []);
    let copied = std::fs::copy(binaries::path(REGROW), desk.folder.path().join(REGROW));
    copied.expect("a copy");
    let line = format!("./{REGROW} {LINE} > /dev/null 2>&1 & sleep 600");
    desk.model.then([Step::exec(&line), Step::say("never")]);
    let run = begun(&desk, &json!({"prompt": "Grow."}));
    until_true("the whole line", || processes::named(REGROW).len() >= LINE);
    let told = |phase: &str| {
        let events = desk.owner().audit(50).into_iter();
        let mut events = events.filter(|event| event["detail"]["phase"] == phase);
        events.find(|event| event["capabilityId"] == desk.kind.of("run"))
    };
    assert!(told("intent").is_some(), "the control: the run is there");
    assert_eq!(told("outcome"), None, "while it goes on");
    desk.gateway.cli(["calls", "stop", &run]).expect_ok();
    let outcome = until("its outcome", || told("outcome"));
    assert_eq!(processes::named(REGROW).len(), 0, "{outcome}");
    assert_eq!(outcome["detail"]["code"], "cancelled", "{outcome}");
}

/// A shell function that says what the way out answers to a request, whose words are the argument.
const ASK: &str = "port=${ANTHROPIC_BASE_URL##*:}; ask() { exec 3<>/dev/tcp/127.0.0.1/$port; \
                   printf \"$1\\r\\nhost: x\\r\\nx-api-key: $ANTHROPIC_API_KEY\\r\\nproxy-authorization: Bearer $ANTHROPIC_API_KEY\\r\\n\\r\\n\" >&3; \
                   head -n 1 <&3; exec 3>&-; }; ";

#[test]
fn run_sends_nothing_that_is_not_listed() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let home = listener.local_addr().expect("an address").port();
    let attempts = [
        format!("CONNECT 127.0.0.1:{home} HTTP/1.1"),
        "CONNECT example.com:443 HTTP/1.1".to_owned(),
        format!("GET http://127.0.0.1:{home}/ HTTP/1.1"),
        // Its answer has the headers that were sent, and the owner's key is one of them.
        "TRACE /v1/models HTTP/1.1".to_owned(),
        "PURGE /v1/models HTTP/1.1".to_owned(),
    ];
    let desk = Desk::open(CLAUDE, []);
    let steps = attempts
        .iter()
        .map(|request| Step::bash(&format!("{ASK}ask '{request}'")));
    desk.model.then(steps);
    // The control: the same credential opens the way to the server that is listed, which says no in its own words.
    let listed = format!("{ASK}ask 'GET /v1/models HTTP/1.1'");
    desk.model.then([
        Step::bash(&format!("(echo > /dev/tcp/127.0.0.1/{home}) || echo KEPT")),
        Step::bash(&listed),
        Step::say("Tried."),
    ]);
    desk.run(&json!({"prompt": "Call home."}));
    let results = desk.model.results();
    for (attempt, result) in attempts.iter().zip(&results) {
        assert!(result.contains("HTTP/1.1 403"), "{attempt}: {result}");
    }
    let [.., called, listed] = &results[..] else {
        panic!("{results:?}");
    };
    assert!(called.contains("KEPT"), "{results:?}");
    assert!(listed.contains("HTTP/1.1 400"), "{results:?}");
    let called = listener.accept().map_err(|error| error.kind());
    assert_eq!(called.err(), Some(ErrorKind::WouldBlock), "it was called");
    // The control: from outside of the sandbox it answers.
    std::net::TcpStream::connect(("127.0.0.1", home)).expect("a connection");
    assert!(listener.accept().is_ok());
}

/// Opens more connections than all runs may have, each with a request that the model server answers later.
const HOLD: &str = "port=${ANTHROPIC_BASE_URL##*:}; body='{\"stream\":true,\"held\":true}'; for n in {1..100}; do \
                    exec {held}<>/dev/tcp/127.0.0.1/$port; \
                    printf 'POST /v1/messages HTTP/1.1\\r\\nhost: x\\r\\nx-api-key: %s\\r\\ncontent-length: %s\\r\\n\\r\\n%s' \
                    \"$ANTHROPIC_API_KEY\" ${#body} \"$body\" >&$held; done; sleep 600";

#[test]
fn run_that_holds_its_connections_starves_no_other() {
    let desk = Desk::open(CLAUDE, []);
    let gate = Gate::closed();
    let (held, mut waits) = (gate.clone(), false);
    desk.model.by_rule(move |request| {
        if request["held"] == true {
            waits = !waits;
            return match waits {
                true => Step::Wait(held.clone()),
                false => Step::say("Late."),
            };
        }
        match request.to_string().contains("Hold them.") {
            true => Step::bash(HOLD),
            false => Step::say("Seen."),
        }
    });
    let held = || {
        let requests = desk.model.requests().into_iter();
        requests.filter(|request| request["held"] == true).count()
    };
    let greedy = begun(&desk, &json!({"prompt": "Hold them."}));
    until_true("what one run may hold", || held() >= 15);
    let other = desk.run(&json!({"prompt": "Look."}));
    assert_eq!(other["text"], "Seen.", "{other}");
    assert!(held() <= 16, "{} are held", held());
    desk.gateway.cli(["calls", "stop", &greedy]).expect_ok();
    gate.open();
}

#[test]
fn run_reads_no_key_in_the_home_folder() {
    let desk = Desk::open(CODEX, []);
    let home = desk.gateway.home().canonicalize().expect("it is there");
    for (file, text) in [(".ssh/id_ed25519", "KEY"), (".aws/credentials", "KEY")] {
        let path = home.join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let read = |path: &Path| format!("cat {}", path.display());
    let attempts = [
        read(&home.join(".ssh/id_ed25519")),
        read(&home.join(".aws/credentials")),
        format!("ls {}/.ssh", home.display()),
    ];
    let steps = attempts
        .iter()
        .map(|attempt| Step::exec(&format!("{attempt} || echo KEPT")));
    desk.model.then(steps.chain([Step::say("Tried.")]));
    desk.run(&json!({"prompt": "Read my keys."}));
    for (attempt, result) in attempts.iter().zip(desk.model.results()) {
        assert!(result.contains("KEPT"), "{attempt}: {result}");
        let control = std::process::Command::new("bash")
            .args(["-c", attempt])
            .output();
        assert!(control.expect("a shell").status.success(), "{attempt}");
    }
}
