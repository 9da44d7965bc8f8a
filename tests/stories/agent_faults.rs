//! Faults of coding agents: a model server that refuses or stalls, too many files, a program that is none, a turn that is cut off. Each has a code and
//! a sentence that says what to do.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use crate::host_tools::{begun, ended};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Folder, Gate, Step, waiting::until_true};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
};

/// The error of a run that comes to nothing.
pub(crate) fn failed(desk: &Desk, input: &Value) -> Value {
    let reply = desk.approved("run", input).json();
    assert_eq!(reply["ok"], false, "{reply}");
    assert_eq!(desk.folder.read("a.txt"), "one\n");
    reply["error"].clone()
}

#[test]
fn codex_tells_in_words_what_its_model_server_refuses() {
    server_that_refuses_is_told_in_words(CODEX, "disconnected");
}

#[test]
fn claude_tells_in_words_what_its_model_server_refuses() {
    server_that_refuses_is_told_in_words(CLAUDE, "repeat the call");
}

fn server_that_refuses_is_told_in_words(kind: Kind, dropped: &str) {
    let desk = Desk::open(kind, []);
    let input = json!({"prompt": "Hello."});
    let set_key = format!("plexusctl sources secret {} key", desk.kind.id);
    for (step, reason, words) in [
        (Step::Refuse(401), "key_refused", &*set_key),
        (Step::Refuse(429), "rate_limited", "429"),
        (Step::Refuse(500), "turn_failed", "repeat the call"),
        (Step::NoModel, "model_refused", "model"),
        (Step::Drop, "turn_failed", dropped),
    ] {
        desk.model.instead(vec![step; 20]);
        let error = failed(&desk, &input);
        let told = [&error["code"], &error["detail"]["reason"], &error["effect"]];
        assert_eq!(told, ["transport_error", reason, "none"], "{error}");
        assert!(error["message"].to_string().contains(words), "{error}");
        let outcome = desk.owner().audited(|e| e["detail"]["phase"] == "outcome");
        assert_eq!(outcome["outcome"], "error", "{outcome}");
    }
    // What a run did before that is kept.
    let half = [(desk.kind.exec)("echo half >> a.txt")];
    let half = half.into_iter().chain(vec![Step::Refuse(500); 20]);
    desk.model.instead(half.collect::<Vec<_>>());
    let error = failed(&desk, &input);
    assert_eq!(error["detail"]["reason"], "turn_failed", "{error}");
    desk.has_half(&error);
    // Its line names the set, and does not say that nothing was done.
    let set = error["detail"]["changes"].as_str().expect("its set");
    let kept = format!("what it did until then is in the change set {set}");
    let why = "the model server or its program failed at it";
    let line = format!("failed at {}: {why}; {kept}", desk.kind.of("run"));
    assert_contains(desk.gateway.cli(["activity"]).expect_ok(), &line);
    let tail = desk.gateway.cli(["audit", "tail", "--lines", "50"]);
    assert_contains(tail.expect_ok(), &kept);
    // The source is as good as before.
    desk.model.instead([Step::say("Hello.")]);
    assert_eq!(desk.run(&input)["text"], "Hello.");
}

#[test]
fn model_server_that_stalls_is_told_in_words() {
    // Codex gives a silent server five minutes; the owner of this one gives it a second.
    let patience = "extraArgs=-c model_providers.plexus.stream_idle_timeout_ms=1000";
    let desk = Desk::set(CODEX, [Step::say("Hello.")], &[patience]);
    let silent = silent_server();
    let server = |at: &str| {
        let server = format!("server={at}");
        desk.gateway
            .must_cli(["sources", "set", "codex", &server, "--yes"]);
    };
    server(&silent);
    let error = failed(&desk, &json!({"prompt": "Hello."}));
    assert_eq!(error["detail"]["reason"], "turn_failed", "{error}");
    assert_contains(&error["message"].to_string(), "idle timeout");
    assert_eq!(error["effect"], "none", "{error}");
    server(&desk.model.base());
    assert_eq!(desk.run(&json!({"prompt": "Hello."}))["text"], "Hello.");
}

#[test]
fn silent_model_server_ends_codex_at_its_time() {
    silent_model_server_ends_a_run_at_its_time(CODEX);
}

#[test]
fn silent_model_server_ends_claude_at_its_time() {
    silent_model_server_ends_a_run_at_its_time(CLAUDE);
}

/// Claude Code waits five minutes for a server that began to answer, and nobody sets it to less.
fn silent_model_server_ends_a_run_at_its_time(kind: Kind) {
    let desk = Desk::open(kind, [Step::say("Hello.")]);
    let set = |at: &str| {
        let server = format!("server={at}");
        let set = ["sources", "set", desk.kind.id, &server, "--yes"];
        desk.gateway.cli(set).expect_ok();
    };
    set(&silent_server());
    let told = desk.run(&json!({"prompt": "Hello.", "maxSeconds": 10}));
    assert_eq!(told["limit"], "maxSeconds", "{told}");
    let warnings = told["warnings"].to_string();
    for words in [
        "ended at its maxSeconds",
        "no answer of the model server was counted",
    ] {
        assert!(warnings.contains(words), "{told}");
    }
    assert_eq!(told["changes"]["id"], Value::Null, "{told}");
    // The control: the same thread, and a server that answers.
    set(&desk.model.base());
    let on = desk.run(&json!({"prompt": "Hello again.", "thread": told["thread"]}));
    assert_eq!(on["text"], "Hello.", "{on}");
}

/// A server on this machine that begins an answer to each request and says no more; its address.
fn silent_server() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            // The head, and as much of the body as has come.
            let _ = stream.read(&mut [0; 64 * 1024]);
            let began = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: response.created\n";
            stream.write_all(began).expect("written");
            held.push(stream);
        }
    });
    format!("http://{address}")
}

#[test]
fn run_of_too_many_processes_ends_in_words() {
    let many = |count: usize| {
        Step::exec(&format!(
            "for i in $(seq {count}); do sleep 5 & done; echo $(jobs -p | wc -l); wait"
        ))
    };
    let desk = Desk::open(CODEX, [many(300), Step::say("never")]);
    let error = failed(&desk, &json!({"prompt": "Sleep often."}));
    assert_eq!(error["detail"]["reason"], "over_limit", "{error}");
    assert_contains(&error["message"].to_string(), "its processes were too many");
    assert_eq!(error["effect"], "none", "{error}");
    // The control: some are no reason to end it.
    desk.model.instead([many(30), Step::say("Slept.")]);
    let slept = desk.run(&json!({"prompt": "Sleep."}));
    assert_eq!(slept["text"], "Slept.", "{slept}");
    assert!(desk.model.results().concat().contains("30"));
}

#[test]
fn run_of_too_many_threads_ends_in_words() {
    let many = |count: usize| {
        Step::exec(&format!(
            "python3 -c 'import threading, time\nthreading.stack_size(65536)\nfor _ in range({count}): \
             threading.Thread(target=time.sleep, args=(5,)).start()\nprint(threading.active_count())'"
        ))
    };
    let desk = Desk::open(CODEX, [many(2500), Step::say("never")]);
    let error = failed(&desk, &json!({"prompt": "Wait often."}));
    assert_eq!(error["detail"]["reason"], "over_limit", "{error}");
    assert_contains(
        &error["message"].to_string(),
        "its processes had more than 2,048 threads together",
    );
    // The control: some are no reason to end it.
    desk.model.instead([many(64), Step::say("Waited.")]);
    let waited = desk.run(&json!({"prompt": "Wait."}));
    assert_eq!(waited["text"], "Waited.", "{waited}");
    assert!(desk.model.results().concat().contains("65"));
}

#[test]
fn folder_beyond_what_is_copied_is_told_before_the_owner_is_asked() {
    let desk = Desk::open(CODEX, [Step::say("Hello.")]);
    // Files that a copy would take, with nothing in them on the disk.
    for number in 0..129 {
        let name = format!("big/{number}.bin");
        desk.folder.write(&name, "");
        let file = std::fs::File::options()
            .write(true)
            .open(desk.folder.path().join(&name));
        file.expect("the file").set_len(16 << 20).expect("longer");
    }
    let run = || desk.agent.invoke("codex.run", json!({"prompt": "Hello."}));
    let words =
        "more than 2 GiB or 200,000 files; hide what a run need not see, or name it in .gitignore";
    let error = run().expect_error(400, "transport_error");
    assert!(error["message"].to_string().contains(words), "{error}");
    assert_eq!(error["effect"], "none", "{error}");
    assert!(desk.owner().pending().is_empty());
    assert_eq!(desk.model.requests().len(), 0);
    // The control: what the words say helps, and the owner is asked.
    desk.folder.write(".gitignore", "big/\n");
    let item = desk.asked("run", &json!({"prompt": "Hello."}));
    desk.owner().approve(&item, "once");
    assert_eq!(run().expect_ok()["output"]["text"], "Hello.");
}

#[test]
fn change_of_too_many_files_is_told_in_words() {
    let many = |count: usize| {
        format!("mkdir -p m && cd m && seq -f f%.0f {count} | xargs touch; ls | wc -l")
    };
    let desk = Desk::open(CODEX, [Step::exec(&many(50_001)), Step::say("Made.")]);
    let error = failed(&desk, &json!({"prompt": "Make files."}));
    assert_contains(&desk.model.results()[0], "50001");
    assert_eq!(error["detail"]["reason"], "too_large", "{error}");
    assert_contains(&error["message"].to_string(), "more than 50,000 files");
    // The control: fewer come to a change set.
    desk.model
        .then([Step::exec(&many(2_000)), Step::say("Made.")]);
    let made = desk.run(&json!({"prompt": "Make fewer."}));
    assert_eq!(made["changes"]["added"], 2_000, "{made}");
}

#[test]
fn program_that_is_none_is_told_in_words() {
    let desk = Desk::open(CODEX, []);
    let set = |binary: &str| {
        let binary = format!("binary={binary}");
        let set = ["sources", "set", "codex", &binary, "--yes"];
        desk.gateway.cli(set).expect_ok().to_owned()
    };
    set("/usr/bin/true");
    let error = failed(&desk, &json!({"prompt": "Hello."}));
    assert_eq!(error["detail"]["reason"], "agent_failed", "{error}");
    let words = "tell the owner to look at the source's program";
    assert!(error["message"].to_string().contains(words), "{error}");
    let said = set("/nowhere/codex");
    assert!(said.contains("/nowhere/codex: No such file"), "{said}");
}

#[test]
fn turn_of_a_known_thread_that_is_cut_off_is_partly_done() {
    let desk = Desk::open(CODEX, [Step::say("Noted.")]);
    let first = desk.run(&json!({"prompt": "Remember heron."}));
    let gate = Gate::closed();
    desk.model
        .then([Step::Wait(gate.clone()), Step::say("never")]);
    let run = begun(
        &desk,
        &json!({"prompt": "Wait.", "thread": first["thread"]}),
    );
    partly_done_when_stopped(&desk, &run, &gate);
}

/// Stops a run at the second request to the model.
fn partly_done_when_stopped(desk: &Desk, run: &str, gate: &Gate) {
    until_true("the turn", || desk.model.requests().len() == 2);
    desk.gateway.cli(["calls", "stop", run]).expect_ok();
    let error = ended(desk, run)["result"]["error"].clone();
    gate.open();
    assert_eq!(error["code"], "cancelled", "{error}");
    assert_eq!(error["effect"], "partial", "{error}");
}

#[test]
fn turn_of_a_conversation_that_is_cut_off_is_partly_done() {
    let desk = Desk::open(CODEX, []);
    let gate = Gate::closed();
    desk.model.then([
        Step::exec("echo half >> a.txt"),
        Step::Wait(gate.clone()),
        Step::say("never"),
    ]);
    let item = desk.asked("chat", &json!({"prompt": "Work."}));
    desk.owner().approve(&item, "once");
    let chat = json!({"id": "codex.chat", "input": {"prompt": "Work."}, "async": true});
    let begun = desk.agent.invoke_body(chat);
    begun.expect_status(202);
    partly_done_when_stopped(&desk, &begun.text_at("/run/runId"), &gate);
}

#[test]
fn credential_of_the_egress_is_in_no_answer() {
    let credential = format!("plx_egress_{}", "0a".repeat(32));
    let command = format!("echo {credential}");
    let desk = Desk::open(CODEX, [Step::exec(&command), Step::say(&credential)]);
    let run = begun(&desk, &json!({"prompt": "Tell it."}));
    let done = ended(&desk, &run);
    let path = format!("/invoke/status?runId={run}&after=0");
    let told = desk.agent.client().get(&path).expect_ok();
    assert!(told.to_string().contains("[credential]"), "{told}");
    let thread = json!({"thread": done["result"]["output"]["thread"]});
    desk.owner().must_grant("caller", "codex.thread.read", "1d");
    let read = desk.agent.must("codex.thread.read", thread);
    assert!(read.to_string().contains("echo [credential]"), "{read}");
    for answer in [done, told, read] {
        assert!(!answer.to_string().contains(&credential), "{answer}");
    }
}

#[test]
fn files_of_odd_kinds_and_names_are_kept_or_left_out() {
    let line = "mkdir 'a..b' && echo x > 'a..b/..c' && echo y > -rf && printf z > $'bad\\xff' \
                && printf z > $'line\\nfeed' && mkdir A && echo 1 > A/Case && echo 2 > A/case && ln -s / out \
                && (mknod device c 1 3 2>/dev/null || echo NO-DEVICE); mkfifo made 2>/dev/null || echo NO-PIPE";
    let desk = Desk::open(CODEX, [Step::exec(line), Step::say("Made.")]);
    // An open of a pipe of the owner's to read it would wait for ever.
    let pipe = desk.folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let closed = desk.folder.path().join("closed");
    std::fs::create_dir(&closed).expect("a folder");
    let mode = |mode| std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(mode));
    mode(0).expect("its mode");
    let made = desk.run(&json!({"prompt": "Make odd files."}));
    let results = desk.model.results();
    let refused = ["NO-DEVICE", "NO-PIPE"].map(|words| results[0].contains(words));
    assert_eq!(refused, [true, true], "{results:?}");
    let warnings = made["warnings"].to_string();
    mode(0o700).expect("its mode");
    assert_contains(&warnings, "2 links, special files, unreadable folders");
    assert_contains(&warnings, "are not in the copy: pipe, closed");
    let changes = &made["changes"];
    let paths: Vec<_> = changes["files"].as_array().expect("files").iter().collect();
    let paths: Vec<_> = paths.iter().map(|file| file["path"].as_str()).collect();
    let regular = ["-rf", "A/Case", "A/case", "a..b/..c"].map(Some);
    assert_eq!(paths, regular, "{made}");
    // The link, and the two names that are no plain text.
    assert_eq!(changes["omitted"], 3, "{made}");
    let input = json!({"changes": changes["id"]});
    desk.approved("apply", &input).expect_ok();
    assert_eq!(desk.folder.read("a..b/..c"), "x\n");
    assert_eq!(desk.folder.read("A/case"), "2\n");
    assert!(pipe.exists() && !desk.folder.has("out"));
}

/// A program that answers like Codex, and puts `lines` before its answer and `last` after it.
pub(crate) fn speaking(lines: &str, last: &str) -> Folder {
    let programs = Folder::empty();
    let script = format!(
        "#!/bin/bash\nprintf '{{\"type\":\"thread.started\",\"thread_id\":\"00000000-0000-4000-8000-%012d\"}}\\n' $$\n\
         {lines}\n\
         printf '{{\"type\":\"item.completed\",\"item\":{{\"type\":\"agent_message\",\"text\":\"Here.\"}}}}\\n'\n\
         printf '{{\"type\":\"turn.completed\",\"usage\":{{}}}}\\n'\n{last}\n"
    );
    for name in ["agent", "agent-code-mode-host"] {
        programs.program(name, &script);
    }
    programs
}

pub(crate) fn set_program(desk: &Desk, programs: &Folder) {
    let binary = format!("binary={}", programs.path().join("agent").display());
    let set = ["sources", "set", "codex", &binary, "--yes"];
    desk.gateway.cli(set).expect_ok();
}

#[test]
fn output_that_is_no_line_is_survived() {
    let desk = Desk::open(CODEX, []);
    let lines = "yes x | head -c 10000000 | tr -d '\\n'; echo; printf '\\xff\\xfe{}\\n'; printf '[\\n\\n{\"type\":7}\\n'";
    let programs = speaking(
        lines,
        "printf '{\"type\":\"turn.failed\",\"error\":{\"mess'",
    );
    set_program(&desk, &programs);
    let told = desk.run(&json!({"prompt": "Speak."}));
    assert_eq!(told["text"], "Here.", "{told}");
    let warnings = told["warnings"].to_string();
    assert!(warnings.contains("longer than 1 MiB"), "{told}");
    // The control: whole, the last line is what the turn comes to.
    let whole = "printf '{\"type\":\"turn.failed\",\"error\":{\"message\":\"no more\"}}\\n'";
    let programs = speaking("", whole);
    set_program(&desk, &programs);
    let error = failed(&desk, &json!({"prompt": "Speak again."}));
    assert!(error["message"].to_string().contains("no more"), "{error}");
}

/// It ends only when it is interrupted.
#[test]
fn answer_that_is_whole_is_no_cancelled_run() {
    let desk = Desk::open(CODEX, []);
    let programs = speaking("", ": > answered; while :; do sleep 0.1; done");
    set_program(&desk, &programs);
    let run = begun(&desk, &json!({"prompt": "Speak."}));
    until_true("its answer", || desk.copy_with("answered").is_some());
    desk.gateway.cli(["calls", "stop", &run]).expect_ok();
    let told = ended(&desk, &run);
    assert_eq!(told["result"]["output"]["text"], "Here.", "{told}");
}
