//! What a person gives a run and sees of it: the model that nobody names, the folder that it works in, the token of a
//! subscription, Claude Code's own tools and turns, what Codex thinks and searches.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use crate::host_tools::{begun, ended};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Folder, Step, waiting::until};
use serde_json::{Value, json};
use std::path::Path;

/// What `claude setup-token` prints begins so.
const TOKEN: &str = "sk-ant-oat01-story-2b9d";

/// Why an input cannot be approved: what the agent is told at once, else what its plan came to.
fn refused(desk: &Desk, input: &Value) -> String {
    let reply = desk.agent.invoke(&desk.kind.of("run"), input.clone());
    if reply.at("/error/code") != "approval_required" {
        assert_eq!(reply.at("/error/effect"), "none", "{reply}");
        return reply.text_at("/error/message");
    }
    let item = reply.text_at("/error/pendingId");
    let plan = desk.owner().plan(&item);
    assert!(plan["error"].is_string(), "{plan}");
    plan["error"].to_string()
}

fn set(desk: &Desk, field: &str) {
    let words = ["sources", "set", desk.kind.id, field, "--yes"];
    desk.gateway.cli(words).expect_ok();
}

/// The model that each request so far was for.
fn models(desk: &Desk) -> Vec<String> {
    let requests = desk.model.requests();
    let models = requests.iter().map(|sent| sent["model"].as_str());
    models
        .map(|model| model.expect("a model").to_owned())
        .collect()
}

fn program_chooses_where_nobody_names_a_model(kind: Kind, work: Step, card: &str, other: &str) {
    let (id, steps) = (kind.id, [work, Step::say("Chosen.")]);
    let desk = Desk::set(kind, steps, &["model="]);
    let listed = desk.agent.invoke(&desk.kind.of("models"), json!({}));
    let own = json!({"default": "default", "models": ["default"]});
    assert_eq!(listed.expect_ok()["output"], own);
    let input = json!({"prompt": "Work."});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains(card), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    // Its commands work too, whatever tools the program gives that model.
    let files = &done["output"]["changes"]["files"];
    assert_eq!(files[0]["path"], "a.txt", "{done}");
    let chosen = models(&desk)[0].clone();
    assert_ne!(chosen, other);

    // A thread goes on with the program's choice, and a run names no other model.
    desk.model.then([Step::say("On.")]);
    let thread = &done["output"]["thread"];
    desk.run(&json!({"prompt": "Go on.", "thread": thread, "model": "default"}));
    let why = refused(&desk, &json!({"prompt": "Go.", "model": other}));
    assert_contains(&why, "the owner allows these models: default");

    // The control: the owner names one; then the program chooses again.
    set(&desk, &format!("model={other}"));
    desk.model.then([Step::say("Named.")]);
    desk.run(&json!({"prompt": "Go."}));
    set(&desk, "model=default");
    desk.model.then([Step::say("Chosen.")]);
    desk.run(&json!({"prompt": "Go."}));
    let asked = models(&desk);
    let asked: Vec<_> = asked.iter().map(String::as_str).collect();
    assert_eq!(asked, [&*chosen, &chosen, &chosen, other, &chosen], "{id}");
    desk.model.finish();
}

#[test]
fn codex_chooses_where_nobody_names_a_model() {
    let work = Step::script("echo more >> a.txt");
    let card = "the one that Codex chooses";
    program_chooses_where_nobody_names_a_model(CODEX, work, card, "gpt-5.5");
}

#[test]
fn claude_chooses_where_nobody_names_a_model() {
    let work = Step::bash("echo more >> a.txt");
    let card = "the one that Claude Code chooses";
    program_chooses_where_nobody_names_a_model(CLAUDE, work, card, "claude-sonnet-4-6");
}

fn run_works_in_the_folder_that_it_is_given(kind: Kind) {
    let exec = kind.exec;
    let look = "pwd; test \"$PWD\" = \"$(pwd -P)\" && echo same; echo more >> b.txt";
    let desk = Desk::open(kind, [exec(look), Step::say("Done.")]);
    let input = json!({"prompt": "Work.", "cwd": "docs/"});
    let item = desk.asked("run", &input);
    let facts = desk.owner().plan(&item)["preview"]["facts"].to_string();
    assert_contains(&facts, "works in");
    assert_contains(&facts, "\"docs\"");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    let output = &done["output"];
    let said = desk.model.results().join("\n");
    assert_contains(&said, "/root/docs");
    assert_contains(&said, "same");
    assert_eq!(
        output["changes"]["files"][0]["path"], "docs/b.txt",
        "{output}"
    );

    // A thread keeps its folder, and is found there again; another one is refused.
    desk.model
        .then([exec("cat b.txt; pwd"), Step::say("Again.")]);
    let on = json!({"prompt": "Go on.", "thread": output["thread"]});
    let item = desk.asked("run", &on);
    let facts = desk.owner().plan(&item)["preview"]["facts"].to_string();
    assert!(facts.contains("works in"), "{facts}");
    desk.owner().approve(&item, "once");
    let again = desk.agent.must(&desk.kind.of("run"), on);
    assert_eq!(again["output"]["thread"], output["thread"], "{again}");
    let said = desk.model.results();
    let said = said.last().expect("a result");
    assert_contains(said, "two");
    assert_contains(said, "/root/docs");
    desk.folder.write("more/c.txt", "three\n");
    let other = json!({"prompt": "Go on.", "thread": output["thread"], "cwd": "more"});
    let why = desk.approved("run", &other).json();
    assert_contains(&why.to_string(), "this thread works in docs");

    // Without one it works in the copy itself.
    desk.model.then([exec("pwd"), Step::say("Done.")]);
    desk.run(&json!({"prompt": "Work."}));
    let said = desk.model.results().join("\n");
    assert!(said.contains("/root") && !said.contains("/root/"), "{said}");
    desk.model.finish();
}

#[test]
fn codex_works_in_the_folder_that_it_is_given() {
    run_works_in_the_folder_that_it_is_given(CODEX);
}

#[test]
fn claude_works_in_the_folder_that_it_is_given() {
    run_works_in_the_folder_that_it_is_given(CLAUDE);
}

#[test]
fn folder_of_a_run_is_one_of_the_source() {
    let desk = Desk::open(CODEX, []);
    let outside = Folder::empty();
    desk.folder.write("private/x.txt", "x\n");
    desk.folder.write("built/y.txt", "y\n");
    desk.folder.write(".gitignore", "built\n");
    let link = |to: &Path, name: &str| {
        let at = desk.folder.path().join(name);
        std::os::unix::fs::symlink(to, at).expect("a link");
    };
    link(&outside.path(), "away");
    link(Path::new("docs"), "here");
    let hide = ["sources", "hide", "codex", "--folder", "private"];
    desk.gateway.cli(hide).expect_ok();
    for cwd in [
        "nowhere",
        "a.txt",
        "../x",
        "/etc",
        "away",
        "here",
        "private",
        "docs/../docs",
    ] {
        let why = refused(&desk, &json!({"prompt": "Work.", "cwd": cwd}));
        assert!(!why.contains("internal"), "{cwd}: {why}");
    }
    let nowhere = refused(&desk, &json!({"prompt": "Work.", "cwd": "nowhere"}));
    assert_contains(&nowhere, "there is no folder nowhere to work in");
    // One that is ignored is there, and not in the copy; the control is a folder that is.
    let built = desk.approved("run", &json!({"prompt": "Work.", "cwd": "built"}));
    let why = built.json().to_string();
    assert!(why.contains("there is no folder built to work in"), "{why}");
    assert_eq!(desk.model.requests().len(), 0);
    desk.model.then([Step::say("Here.")]);
    desk.run(&json!({"prompt": "Work.", "cwd": "docs"}));
}

#[test]
fn claude_token_goes_out_as_a_bearer_and_stays_outside() {
    let look = "env; cat /proc/self/environ";
    let desk = Desk::open(CLAUDE, [Step::bash(look), Step::say("Seen.")]);
    // The control: a key is sent as one.
    desk.run(&json!({"prompt": "Look."}));
    let keyed = desk.model.credentials();
    assert!(
        keyed.iter().all(|sent| sent == "sk-story-7f41c0de"),
        "{keyed:?}"
    );
    let seen = desk.model.results().join("\n");
    assert!(!seen.contains("CLAUDE_CODE_OAUTH_TOKEN="), "{seen}");

    let secrets = Folder::empty();
    secrets.write("token", format!("{TOKEN}\n"));
    let file = secrets.path().join("token").display().to_string();
    let words = ["sources", "secret", "claudecode", "key", "--file", &file];
    desk.gateway.cli(words).expect_ok();
    desk.model.then([Step::bash(look), Step::say("Seen.")]);
    desk.run(&json!({"prompt": "Look again."}));
    let sent = desk.model.credentials().split_off(keyed.len());
    assert_eq!(sent, vec![format!("Bearer {TOKEN}"); 2]);
    // Its commands have neither.
    let seen = desk.model.results().join("\n");
    assert_lacks(&seen, TOKEN);
    assert_lacks(&seen, "ANTHROPIC_API_KEY=");
    desk.model.finish();

    // One that is not accepted is named as such.
    desk.model.instead(vec![Step::Refuse(401); 20]);
    let refused = desk.approved("run", &json!({"prompt": "Look."})).json();
    assert_eq!(
        refused["error"]["detail"]["reason"], "key_refused",
        "{refused}"
    );
}

#[test]
fn claude_has_the_tools_that_the_run_names() {
    let work = Step::bash("echo more >> a.txt");
    let desk = Desk::open(CLAUDE, [work.clone(), Step::say("Worked.")]);
    let tools = |desk: &Desk| {
        let sent = desk.model.requests().pop().expect("a request");
        let tools = sent["tools"].as_array().expect("tools").iter();
        let names = tools.filter_map(|tool| tool["name"].as_str());
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    // The control: all of them.
    let all = desk.run(&json!({"prompt": "Work."}));
    assert_eq!(all["changes"]["edited"], 1, "{all}");
    assert!(tools(&desk).contains(&"Bash".to_owned()));

    desk.model.then([work, Step::say("I may not.")]);
    let input = json!({"prompt": "Read.", "allowedTools": ["Read", "Grep"]});
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("Read, Grep"), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must("claudecode.run", input);
    assert_eq!(done["output"]["changes"]["files"], json!([]), "{done}");
    let mut named = tools(&desk);
    named.sort();
    assert_eq!(named, ["Grep", "Read"]);
    let said = desk.model.results().join("\n");
    assert!(said.contains("No such tool available"), "{said}");
}

#[test]
fn thoughts_and_searches_of_codex_are_progress() {
    let steps = [
        Step::think("Hm."),
        Step::search("herons"),
        Step::say("Done."),
    ];
    let desk = Desk::open(CODEX, steps.clone());
    let run = begun(&desk, &json!({"prompt": "Think."}));
    let done = until("the end of the run", || {
        let status = ended(&desk, &run);
        (!status["result"].is_null()).then_some(status)
    });
    let path = format!("/invoke/status?runId={run}&after=0");
    let told = desk.agent.client().get(&path).expect_ok();
    let chunks = told["progress"]["chunks"].as_array().expect("chunks");
    let shown: Vec<_> = chunks.iter().map(|chunk| &chunk["json"]).collect();
    for event in [
        json!({"kind": "reasoning", "status": "completed"}),
        json!({"kind": "web_search", "status": "started"}),
        json!({"kind": "web_search", "status": "completed"}),
    ] {
        assert!(shown.contains(&&event), "{event}: {shown:?}");
    }
    let output = &done["result"]["output"];
    assert_eq!(output["usage"]["reasoningTokens"], 7, "{output}");
    // A turn's own, where Codex counts the thread.
    desk.model.then(steps);
    let on = desk.run(&json!({"prompt": "Think on.", "thread": output["thread"]}));
    assert_eq!(on["usage"]["reasoningTokens"], 7, "{on}");
    let threads = desk.agent.must("codex.threads.list", json!({}));
    let usage = &threads["output"]["threads"][0]["usage"];
    assert_eq!(usage["reasoningTokens"], 14, "{threads}");
    // The control: nothing was thought.
    desk.model.then([Step::say("Done.")]);
    let plain = desk.run(&json!({"prompt": "Say."}));
    assert_eq!(plain["usage"]["reasoningTokens"], Value::Null, "{plain}");
}
