//! What a thread of Codex remembers: shown with Codex's own ids, taken out, gone on with. The real Codex in the cage of its
//! runs; what it sends to the model proves what it still remembers.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use crate::host_tools::{begun, ended};
use plexus_tests::texts::assert_contains;
use plexus_tests::{Agent, Gate, Step, waiting::until_true};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const MARKER: &str = "[taken out]";

/// The run's folder with everything that Codex keeps of its only thread.
fn run_folder(desk: &Desk) -> PathBuf {
    let runs = desk.gateway.state().join("workers/codex/runs/writer");
    let found = std::fs::read_dir(runs).expect("runs").flatten();
    let mut found = found.filter(|entry| entry.file_name().to_string_lossy().starts_with("evt-"));
    found.next().expect("the run's folder").path()
}

fn find(folder: &Path, arguments: &[&str]) -> Vec<String> {
    let found = std::process::Command::new("grep")
        .args(arguments)
        .arg(folder)
        .output();
    let found = String::from_utf8(found.expect("grep").stdout).expect("text");
    found.lines().map(str::to_owned).collect()
}

fn rollout(desk: &Desk) -> PathBuf {
    let sessions = run_folder(desk).join("scratch/agent/sessions");
    let found = std::process::Command::new("find")
        .arg(sessions)
        .args(["-name", "rollout-*.jsonl"])
        .output();
    let found = String::from_utf8(found.expect("find").stdout).expect("text");
    found.lines().next().expect("a rollout").into()
}

/// One that may look at its threads.
fn reader(desk: &Desk, id: &str) -> Agent {
    let may = ["codex.thread.read", "codex.threads.list"];
    desk.gateway.agent_with(id, &may)
}

#[test]
fn calls_of_a_turn_are_told_with_codex_own_ids() {
    let desk = Desk::open(CODEX, [Step::exec("echo heron-77"), Step::say("Seen.")]);
    let run = begun(&desk, &json!({"prompt": "Look."}));
    let done = ended(&desk, &run);
    let output = &done["result"]["output"];
    let id = output["calls"][0]["id"].as_str().expect("an id");
    // The id that the model gave, as the next request has it.
    let sent = desk.model.requests().last().expect("a request")["input"].clone();
    let sent = sent.as_array().expect("a list").iter();
    let sent: Vec<_> = sent
        .filter(|item| item["type"] == "function_call")
        .collect();
    assert_eq!(sent[0]["call_id"], id, "{done}");
    assert_eq!(output["calls"][0]["name"], "exec_command");
    let path = format!("/invoke/status?runId={run}&after=0");
    let told = desk.agent.client().get(&path).expect_ok();
    let chunks = told["progress"]["chunks"].as_array().expect("chunks");
    let event = chunks
        .iter()
        .map(|chunk| &chunk["json"])
        .find(|event| event["kind"] == "call")
        .unwrap_or_else(|| panic!("no event of a call: {told}"));
    assert_eq!(event["id"], id);
    assert_contains(event["arguments"].as_str().unwrap(), "echo heron-77");
    assert_contains(event["output"].as_str().unwrap(), "heron-77");
    // For people, beside what the run can write.
    let mirror = run_folder(&desk).join(".plexum-codex-session");
    let mirror = std::fs::read_to_string(mirror).expect("a mirror");
    assert_eq!(mirror.trim(), output["thread"]);
}

#[test]
fn consumed_call_is_sent_to_the_model_no_more() {
    let desk = Desk::open(
        CODEX,
        [
            Step::exec("echo heron-88"),
            Step::exec("echo crane-99"),
            Step::say("Both seen."),
        ],
    );
    let first = desk.run(&json!({"prompt": "Look twice."}));
    let calls = first["calls"].as_array().expect("calls").clone();
    assert_eq!(calls.len(), 2, "{first}");
    let home = run_folder(&desk).join("scratch/agent");
    assert!(!find(&home, &["-rla", "heron-88"]).is_empty());
    // Something that is no line of a rollout keeps nobody from it.
    let path = rollout(&desk);
    let mut text = std::fs::read_to_string(&path).expect("a rollout");
    let at = text.find('\n').expect("a line") + 1;
    text.insert_str(at, "garbage\n");
    std::fs::write(&path, &text).expect("written");

    let input = json!({"thread": first["thread"], "before": calls[1]["id"], "marker": MARKER});
    let item = desk.asked("session.consume", &input);
    let plan = desk.owner().plan(&item);
    let facts = plan["preview"]["facts"].to_string();
    let shown = format!("exec_command {}", calls[0]["id"].as_str().unwrap());
    assert!(facts.contains(&shown) && facts.contains(MARKER), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must("codex.session.consume", input);
    assert_eq!(
        done["output"]["consumed"],
        json!([calls[0]["id"]]),
        "{done}"
    );
    assert_eq!(done["output"]["unread"], 1, "{done}");
    assert_eq!(find(&home, &["-rla", "heron-88"]), Vec::<String>::new());
    assert!(!find(&home, &["-rla", "crane-99"]).is_empty());

    // The thread goes on, and what Codex sends has the marker in place of the result.
    desk.model.then([Step::say("Going on.")]);
    let again = desk.run(&json!({"prompt": "Go on.", "thread": first["thread"]}));
    assert_eq!(again["thread"], first["thread"], "{again}");
    assert_eq!(again["warnings"], json!([]), "{again}");
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert!(!sent.contains("heron-88"), "{sent}");
    for kept in [MARKER, "crane-99", "Look twice.", "Both seen."] {
        assert!(sent.contains(kept), "{kept}: {sent}");
    }
    desk.model.finish();
}

#[test]
fn thread_is_shown_to_the_agent_that_began_it_alone() {
    let desk = Desk::open(CODEX, [Step::exec("echo heron"), Step::say("Seen.")]);
    let run = desk.run(&json!({"prompt": "Look."}));
    let owner = desk.owner();
    for id in ["codex.thread.read", "codex.threads.list"] {
        owner.grant("caller", id, "1d").expect_ok();
    }
    let list = |agent: &Agent| agent.must("codex.threads.list", json!({}))["output"].clone();
    let listed = list(&desk.agent);
    assert_eq!(listed["threads"][0]["thread"], run["thread"], "{listed}");
    let one = json!({"thread": run["thread"]});
    let read = desk.agent.must("codex.thread.read", one.clone());
    let entries = read["output"]["entries"].as_array().expect("entries");
    assert_eq!(
        entries[0],
        json!({"kind": "said", "role": "user", "text": "Look."})
    );
    assert_eq!(entries[1]["id"], run["calls"][0]["id"], "{read}");
    assert_contains(entries[1]["output"].as_str().unwrap(), "heron");
    assert_eq!(entries[2]["text"], "Seen.");

    let other = reader(&desk, "other");
    assert_eq!(list(&other)["threads"], json!([]));
    let refused = other.invoke("codex.thread.read", one);
    assert_eq!(
        refused.json()["error"]["detail"]["reason"],
        "not_found",
        "{refused:?}"
    );
    // It cannot go on with it either.
    desk.model.then([Step::say("Who are you?")]);
    let input = json!({"prompt": "Go on.", "thread": run["thread"]});
    let begun = other.must_approved(&owner, "codex.run", input);
    assert_ne!(begun["output"]["thread"], run["thread"], "{begun}");
    assert_contains(
        begun["output"]["warnings"][0].as_str().unwrap(),
        "no such thread",
    );
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert!(!sent.contains("heron"), "{sent}");
}

#[test]
fn rollout_beyond_its_bound_is_refused_in_words() {
    let desk = Desk::open(CODEX, [Step::exec("echo heron"), Step::say("Seen.")]);
    let run = desk.run(&json!({"prompt": "Look."}));
    let input = |id: &str| json!({"thread": run["thread"], "calls": [id]});
    let plan = |input: &Value| {
        let item = desk.asked("session.consume", input);
        desk.owner().plan(&item)["error"].to_string()
    };
    let unknown = plan(&input("call_nobody"));
    assert_contains(&unknown, "the thread has no call call_nobody");
    let file = std::fs::File::options().write(true).open(rollout(&desk));
    file.expect("a rollout").set_len(241 << 20).expect("longer");
    let call = run["calls"][0]["id"].as_str().expect("an id");
    let large = plan(&input(call));
    assert!(large.contains("240 MiB; begin a new thread"), "{large}");
}

#[test]
fn turns_of_one_codex_thread_wait_for_one_another() {
    turns_of_one_thread_wait_for_one_another(CODEX);
}

#[test]
fn turns_of_one_claude_session_wait_for_one_another() {
    turns_of_one_thread_wait_for_one_another(CLAUDE);
}

#[test]
fn consumption_waits_for_the_turn_of_its_thread() {
    let desk = Desk::open(CODEX, [Step::exec("echo heron"), Step::say("Seen.")]);
    let first = desk.run(&json!({"prompt": "Look."}));
    let gate = Gate::closed();
    desk.model.then([
        Step::exec("echo egret"),
        Step::Wait(gate.clone()),
        Step::say("Seen too."),
        Step::say("Nothing left."),
    ]);
    let run = begun(
        &desk,
        &json!({"prompt": "Look again.", "thread": first["thread"]}),
    );
    until_true("the turn's second request", || {
        desk.model.requests().len() == 4
    });
    let call = &first["calls"][0]["id"];
    let input = json!({"thread": first["thread"], "calls": [call]});
    let item = desk.asked("session.consume", &input);
    desk.owner().approve(&item, "once");
    let asked = json!({"id": "codex.session.consume", "input": input, "async": true});
    let asked = desk.agent.invoke_body(asked);
    asked.expect_status(202);
    let consuming = asked.text_at("/run/runId");
    // It is sent to the worker, and the turn still has its record to itself.
    until_true("the consumption under way", || {
        let calls = desk.owner().get("/admin/api/calls").expect_ok();
        calls.to_string().contains("codex.session.consume")
    });
    let path = format!("/invoke/status?runId={consuming}");
    let waits = desk.agent.client().get(&path).expect_ok();
    assert!(waits["result"].is_null(), "{waits}");
    gate.open();
    let done = ended(&desk, &run);
    assert_eq!(done["result"]["output"]["text"], "Seen too.", "{done}");
    let consumed = ended(&desk, &consuming);
    assert_eq!(
        consumed["result"]["output"]["consumed"],
        json!([call]),
        "{consumed}"
    );
    // What the turn added is there, and what was consumed is not.
    desk.run(&json!({"prompt": "What is left?", "thread": first["thread"]}));
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert_contains(&sent, "egret");
    assert_contains(&sent, "Seen too.");
    assert!(!sent.contains("echo heron"), "{sent}");
}

fn turns_of_one_thread_wait_for_one_another(kind: Kind) {
    let desk = Desk::open(kind, [Step::say("First.")]);
    let first = desk.run(&json!({"prompt": "One."}));
    let gate = Gate::closed();
    desk.model.then([
        Step::Wait(gate.clone()),
        Step::say("Second."),
        Step::say("Third."),
    ]);
    let on = |prompt: &str| begun(&desk, &json!({"prompt": prompt, "thread": first["thread"]}));
    let second = on("Two.");
    until_true("the second turn", || desk.model.requests().len() == 2);
    let third = on("Three.");
    gate.open();
    for (run, text) in [(second, "Second."), (third, "Third.")] {
        let done = ended(&desk, &run);
        assert_eq!(done["result"]["output"]["text"], text, "{done}");
    }
    // The third began when the second was over: it knows of it.
    let sent = desk.model.requests().last().expect("a request").to_string();
    assert!(sent.contains("Two.") && sent.contains("Second."), "{sent}");
}

#[test]
fn owners_fields_reach_codex() {
    let set = [
        "models=fast",
        "modelArgs=fast=gpt-5.5",
        "extraArgs=-c model_reasoning_effort=low",
    ];
    let desk = Desk::set(CODEX, [Step::say("Fast.")], &set);
    let listed = desk.agent.must("codex.models", json!({}));
    assert_eq!(
        listed["output"],
        json!({"default": "gpt-5.5", "models": ["gpt-5.5", "fast"]})
    );
    desk.run(&json!({"prompt": "Quick.", "model": "fast"}));
    let sent = &desk.model.requests()[0];
    assert_eq!(sent["model"], "gpt-5.5", "{sent}");
    assert_eq!(sent["reasoning"]["effort"], "low", "{sent}");
    let item = desk.asked("run", &json!({"prompt": "Slow.", "model": "slow"}));
    let plan = desk.owner().plan(&item);
    assert_contains(&plan["error"].to_string(), "the owner allows these models");
}

#[test]
fn link_in_place_of_a_home_leads_nowhere() {
    let desk = Desk::open(CODEX, []);
    let folder = desk.folder.path().display().to_string();
    desk.folder.write("config.toml", "the owner's\n");
    // Codex writes to its home meanwhile, and may make it anew between the two.
    let line = format!(
        "until [ -L $HOME/agent ]; do mv $HOME/agent $HOME/old.$((n += 1)); \
         ln -s {folder} $HOME/agent; done; ls -la $HOME"
    );
    desk.model.then([Step::exec(&line), Step::say("Linked.")]);
    let item = desk.asked("run", &json!({"prompt": "Link."}));
    desk.owner().approve(&item, "once");
    let first = desk
        .agent
        .invoke("codex.run", json!({"prompt": "Link."}))
        .json();
    assert!(
        run_folder(&desk).join("scratch/agent").is_symlink(),
        "{first}\n{:?}",
        desk.model.requests().last()
    );
    let thread = std::fs::read_to_string(run_folder(&desk).join(".plexum-codex-session"));
    let thread = thread.expect("a mirror");
    desk.model.then([Step::say("Anew.")]);
    desk.run(&json!({"prompt": "Again.", "thread": thread.trim()}));
    assert_eq!(desk.folder.read("config.toml"), "the owner's\n");
}
