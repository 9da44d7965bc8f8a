//! Limits of a run by tokens and money: the end is an answer in words, with what was done until then.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use plexus_tests::Step;
use serde_json::{Value, json};

/// What a run that never ends by itself comes to under one limit; then its thread goes on.
fn ends_at(kind: Kind, limit: (&str, Value), card: &str) {
    let (exec, (limit, most)) = (kind.exec, limit);
    let desk = Desk::open(kind, [exec("echo once >> a.txt"), Step::say("Done.")]);
    // The control: a run that ends by itself has a limit that it does not reach.
    let mut input = json!({"prompt": "Work.", limit: 10_000});
    let whole = desk.run(&input);
    assert_eq!(
        (&whole["limit"], &whole["text"]),
        (&Value::Null, &json!("Done."))
    );
    let before = desk.model.requests().len();

    desk.model.by_rule(move |_| exec("echo more >> more.txt"));
    input[limit] = most;
    let item = desk.asked("run", &input);
    let plan = desk.owner().plan(&item).to_string();
    assert!(plan.contains(card), "{plan}");
    desk.owner().approve(&item, "once");
    let done = desk.agent.invoke(&desk.kind.of("run"), input).expect_ok();
    let output = &done["output"];
    assert_eq!(output["limit"], limit, "{output}");
    assert!(
        output["warnings"]
            .to_string()
            .contains(&format!("ended at its {limit}")),
        "{output}"
    );
    let paths: Vec<_> = output["changes"]["files"]
        .as_array()
        .expect("files")
        .iter()
        .collect();
    assert_eq!(paths.len(), 1, "{output}");
    assert_eq!(paths[0]["path"], "more.txt", "{output}");
    let asked = desk.model.requests().len() - before;
    assert!((2..=6).contains(&asked), "{asked} requests of the model");
    assert_eq!(
        desk.folder.read("a.txt"),
        "one\n",
        "the folder is as it was"
    );

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
