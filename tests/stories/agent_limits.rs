//! Limits of a run by tokens, money, time and memory: the end is an answer in words, with what was done until then.

use crate::agent_faults::{failed, set_program, speaking};
use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use crate::host_tools::begun;
use plexus_tests::texts::{assert_contains, assert_like, list_of};
use plexus_tests::{
    Step,
    waiting::{until, until_true},
};
use serde_json::{Value, json};

/// What a run that never ends by itself comes to under one limit; then its thread goes on.
fn ends_at(kind: Kind, limit: (&str, Value), card: &str) {
    let (exec, (limit, most)) = (kind.exec, limit);
    let desk = Desk::open(kind, [exec("echo once >> a.txt"), Step::say("Done.")]);
    // The control: a run that ends by itself has a limit that it does not reach.
    let mut input = json!({"prompt": "Work.", limit: 1000});
    let whole = desk.run(&input);
    assert_like(&whole, &json!({"limit": null, "text": "Done."}));
    let before = desk.model.requests().len();

    desk.model.by_rule(move |_| exec("echo more >> more.txt"));
    input[limit] = most;
    input["mode"] = json!("direct");
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains(card), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    let output = &done["output"];
    assert_eq!(output["limit"], limit, "{output}");
    let warnings = output["warnings"].to_string();
    for words in [&*format!("ended at its {limit}"), "nothing was applied"] {
        assert!(warnings.contains(words), "{output}");
    }
    let paths: Vec<_> = list_of(&output["changes"]["files"]).iter().collect();
    assert_eq!(paths.len(), 1, "{output}");
    assert_eq!(paths[0]["path"], "more.txt", "{output}");
    // The owner reads it too.
    let set = output["changes"]["id"].as_str().expect("an id");
    let shown = desk.gateway.cli(["changes", set]);
    assert_contains(shown.expect_ok(), &format!("finished, at its {limit}"));
    let told = desk.gateway.cli(["activity"]);
    assert_contains(told.expect_ok(), &format!(", ended at its {limit}; "));
    assert_contains(&told.stdout, &format!("; 1 file changed: {set} ("));
    let asked = desk.model.requests().len() - before;
    assert!((2..=6).contains(&asked), "{asked} requests of the model");
    assert!(!desk.folder.has("more.txt"), "the folder is as it was");

    desk.model.by_rule(|_| Step::say("On."));
    let on = desk.run(&json!({"prompt": "Go on.", "thread": output["thread"]}));
    assert_eq!(
        (&on["text"], &on["thread"]),
        (&json!("On."), &output["thread"])
    );
}

#[test]
fn codex_run_ends_at_its_tokens_with_what_it_did() {
    ends_at(CODEX, ("maxTokens", json!(150)), "150 tokens a turn");
}

#[test]
fn claude_run_ends_at_its_tokens_with_what_it_did() {
    ends_at(CLAUDE, ("maxTokens", json!(150)), "150 tokens a turn");
}

#[test]
fn claude_run_ends_at_its_money_with_what_it_did() {
    ends_at(CLAUDE, ("maxCost", json!(0.001)), "0.001 US dollars a turn");
}

#[test]
fn claude_run_ends_at_its_turns_with_what_it_did() {
    ends_at(CLAUDE, ("maxTurns", json!(2)), "2 answers of the model");
}

#[test]
fn codex_run_ends_at_its_time_with_what_it_did() {
    ends_at_its_time(CODEX);
}

#[test]
fn claude_run_ends_at_its_time_with_what_it_did() {
    ends_at_its_time(CLAUDE);
}

fn ends_at_its_time(kind: Kind) {
    let exec = kind.exec;
    let desk = Desk::open(kind, [exec("echo whole > whole.txt"), Step::say("Done.")]);
    // The control: a run that ends by itself has a limit that it does not reach.
    let mut input = json!({"prompt": "Work.", "maxSeconds": 600});
    let whole = desk.run(&input);
    let told = (&whole["limit"], &whole["text"]);
    assert_eq!(told, (&Value::Null, &json!("Done.")), "{whole}");

    let endless = exec("echo half > half.txt; tail -f /dev/null");
    desk.model.instead([endless, Step::say("never")]);
    input["maxSeconds"] = json!(15);
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains("15 seconds a turn"), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.must(&desk.kind.of("run"), input);
    let output = &done["output"];
    assert_eq!(output["limit"], "maxSeconds", "{output}");
    let warnings = output["warnings"].to_string();
    assert!(warnings.contains("ended at its maxSeconds"), "{output}");
    assert!(!warnings.contains("no answer of the model"), "{output}");
    assert_eq!(output["changes"]["added"], 1, "{output}");
    assert_eq!(output["changes"]["files"][0]["path"], "half.txt");
    assert!(!desk.folder.has("half.txt"));

    desk.model.instead([Step::say("On.")]);
    let on = desk.run(&json!({"prompt": "Go on.", "thread": output["thread"]}));
    let told = (&on["text"], &on["thread"]);
    assert_eq!(told, (&json!("On."), &output["thread"]), "{on}");
}

/// In the seconds that a program has at its limit, of which it makes no use.
#[test]
fn run_at_its_time_is_kept_by_a_stop() {
    let mut desk = Desk::open(CODEX, []);
    desk.fill(5_000);
    let lines = "trap ': > interrupted' INT TERM; while :; do sleep 0.1; done";
    let programs = speaking(lines, "");
    set_program(&desk, &programs);
    let run = begun(&desk, &json!({"prompt": "Work.", "maxSeconds": 3}));
    until_true("its limit", || desk.copy_with("interrupted").is_some());
    let ended = desk.stopped_at(&run);
    let output = &ended["result"]["output"];
    assert_eq!(output["limit"], "maxSeconds", "{ended}");
    assert_eq!(
        output["changes"]["files"][0]["path"], "interrupted",
        "{ended}"
    );
}

#[test]
fn codex_run_beyond_its_memory_ends_in_words() {
    beyond_its_memory_ends_in_words(CODEX);
}

#[test]
fn claude_run_beyond_its_memory_ends_in_words() {
    beyond_its_memory_ends_in_words(CLAUDE);
}

fn beyond_its_memory_ends_in_words(kind: Kind) {
    // 250 MB, which so many processes share: beyond four times the bound it counts for each, and otherwise once.
    let exec = kind.exec;
    let held = move |processes: u32| {
        exec(&format!(
            "echo one > held.txt; printf -v x %0250000000d 0; \
             for i in $(seq {processes}); do (sleep 5; echo ${{#x}}) & done; wait"
        ))
    };
    let desk = Desk::open(kind, [held(80), Step::say("never")]);
    let error = failed(&desk, &json!({"prompt": "Hold much."}));
    assert_eq!(error["detail"]["reason"], "over_limit", "{error}");
    assert_eq!(error["effect"], "none", "{error}");
    let words = error["message"].to_string();
    for part in ["more memory together than a run may", "ask for less"] {
        assert!(words.contains(part), "{error}");
    }
    assert!(!desk.folder.has("held.txt"));
    // The control: what stays below the bound comes to an answer.
    desk.model.instead([held(30), Step::say("Held.")]);
    let made = desk.run(&json!({"prompt": "Hold less."}));
    assert_eq!(made["text"], "Held.", "{made}");
    assert!(desk.model.results().concat().contains("250000000"));
    assert_eq!(made["changes"]["added"], 1, "{made}");
}

#[test]
fn requests_of_a_run_count_for_it() {
    let command = "echo is:${#ANTHROPIC_API_KEY}:${ANTHROPIC_API_KEY:27:32}:";
    let desk = Desk::open(CLAUDE, [Step::bash(command), Step::say("Done.")]);
    let reply = desk
        .approved("run", &json!({"prompt": "Work."}))
        .expect_ok();
    let call = reply["auditId"].as_str().expect("an id");
    // Its commands hold what opens the way out for this call, and not what opens it for the worker.
    let event = call.trim_start_matches("evt_").replace('-', "");
    let results = desk.model.results();
    assert_contains(&results[0], &format!("is:123:{event}:"));
    let port: u16 = desk
        .model
        .base()
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .parse()
        .expect("a port");
    let counted = until("its requests in the audit log", || {
        let events = desk.owner().audit(200);
        let egress = events
            .iter()
            .filter(|event| event["detail"]["event"] == "worker.egress");
        let lines =
            egress.flat_map(|event| event["detail"]["connections"].as_array().expect("a list"));
        let of_it = lines.filter(|line| line["call"] == call && line["port"] == port);
        let count: u64 = of_it.filter_map(|line| line["count"].as_u64()).sum();
        (count >= 2).then_some(count)
    });
    let asked = desk.model.requests().len() as u64;
    assert!(counted >= asked, "{counted} of {asked}");
    let said = desk.gateway.cli(["audit", "tail"]);
    assert!(said.expect_ok().contains(&format!("for {call}")), "{said}");
}
