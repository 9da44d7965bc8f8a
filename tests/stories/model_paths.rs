//! A model server below a path of its host: runs work there, and the source's egress refuses each path beside it.

use crate::coding_agents::{CLAUDE, CODEX, Desk, Kind};
use plexus_tests::{
    Gate, Gateway, Model, Step,
    http::Client,
    texts::assert_contains,
    waiting::{until, until_true},
};
use serde_json::json;
use std::fs;

#[test]
fn codex_works_with_a_model_below_a_path() {
    works_with_a_model_below_a_path(CODEX, "responses");
}

#[test]
fn claude_works_with_a_model_below_a_path() {
    works_with_a_model_below_a_path(CLAUDE, "messages");
}

fn works_with_a_model_below_a_path(kind: Kind, asks: &str) {
    let gate = Gate::closed();
    let steps = [Step::Wait(gate.clone()), Step::say("Done below.")];
    let model = Model::below("/team/a", steps);
    let desk = Desk::with_model(Gateway::start(), kind, model, &[]);
    std::thread::scope(|scope| {
        let run = scope.spawn(|| desk.run(&json!({"prompt": "Hello."})));
        until_true("the model is asked", || desk.model.requests().len() == 1);
        let (port, credential) = until("what the run has", || way_of_run(&desk.gateway));
        let client = Client::tcp(port).with("authorization", &format!("Bearer {credential}"));
        let ask = |base: &str| {
            let asked = client.request("POST", &format!("{base}/v1/{asks}"));
            let answer = asked.json(json!({"stream": true})).try_send();
            String::from_utf8(answer.expect("an answer")).expect("text")
        };
        for beside in ["", "/team", "/team/ab", "/team/b", "/a"] {
            assert_contains(&ask(beside), "HTTP/1.1 403");
        }
        assert_eq!(desk.model.requests().len(), 1);
        // The control: the same request at its path.
        desk.model.then([Step::say("Control.")]);
        assert_contains(&ask("/team/a"), "HTTP/1.1 200");
        assert_eq!(desk.model.requests().len(), 2);
        gate.open();
        let done = run.join().expect("a run");
        assert_eq!(done["text"], "Done below.", "{done}");
    });
    // A request that had come by another path would be unforeseen.
    desk.model.finish();
}

/// The port of the egress and what opens it, as the program of a run is told them.
fn way_of_run(gateway: &Gateway) -> Option<(u16, String)> {
    gateway.workers().iter().find_map(|process| {
        let read = |file: &str| fs::read(format!("/proc/{}/{file}", process.pid)).ok();
        let told = [read("cmdline")?, read("environ")?].concat();
        let told = String::from_utf8_lossy(&told).replace('\0', "\n");
        let (_, base) = told
            .split_once("ANTHROPIC_BASE_URL=")
            .or(told.split_once("base_url="))?;
        let (_, port) = base.split_once("http://127.0.0.1:")?;
        let (port, _) = port.split_once('/')?;
        let (_, credential) = told
            .split_once("ANTHROPIC_API_KEY=")
            .or(told.split_once("PLEXUS_EGRESS_KEY="))?;
        let credential = credential.lines().next()?.to_owned();
        Some((port.parse().ok()?, credential))
    })
}
