//! Ten thousand calls at once over MCP: each is answered once, most of them by a refusal, and the gateway is well after it.

use crate::house::Workshop;
use crate::mcp::server;
use plexus_tests::kept::Kept;
use plexus_tests::{Agent, McpClient, waiting::until_true};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

const CALLS: usize = 10_000;
const CONNECTIONS: usize = 64;
/// How long all of them may take, in a debug build beside other work.
const BOUND: Duration = Duration::from_secs(120);
const READ: &str = "fixture.echo";
const TOOL: &str = "fixture_echo";

/// How often each code came; calls that were served have the code `ok`.
type Codes = BTreeMap<String, usize>;

fn call(id: usize) -> Value {
    let params = json!({"name": TOOL, "arguments": {"text": "hello"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

fn bearer(agent: &Agent) -> String {
    format!("Bearer {}", agent.pat)
}

/// What a reply is counted as. A refused call was not made, and says what to do.
fn code(reply: &Value) -> String {
    let told = &reply["result"]["structuredContent"];
    if told["ok"] == true {
        return "ok".to_owned();
    }
    assert_eq!(told["effect"], "none", "{reply}");
    assert!(told["next"].is_string(), "{reply}");
    told["code"].as_str().expect("a code").to_owned()
}

/// Holds that refusals were of the two kinds that many calls have, that just those that were served are on record, and that
/// another agent, and this one a little later, are served.
fn well_after(workshop: &Workshop, agent: &Agent, codes: &Codes, began: Instant) {
    assert!(began.elapsed() < BOUND, "{codes:?}");
    assert_eq!(codes.values().sum::<usize>(), CALLS, "{codes:?}");
    let known = ["busy", "ok", "rate_limited"];
    let is_known = |code: &String| known.contains(&code.as_str());
    assert!(codes.keys().all(is_known), "{codes:?}");
    assert!(codes["ok"] > 0 && codes["ok"] < CALLS, "{codes:?}");
    let served = |event: &&Value| {
        event["agentId"] == agent.id.as_str() && event["detail"]["phase"] == "read"
    };
    let log = workshop.gateway.log();
    assert_eq!(log.iter().filter(served).count(), codes["ok"]);

    let other = workshop.reader("other");
    other.must(READ, json!({"text": "hello"}));
    let (bearer, mut kept) = (bearer(agent), Kept::new(workshop.gateway.port(), true));
    until_true("a call of the same agent", || {
        let header = ("authorization", bearer.as_str());
        let sent = kept.send(("POST", "/mcp"), header, &call(0));
        let (_, reply) = sent.expect("an answer");
        code(&reply) == "ok"
    });
}

#[test]
fn ten_thousand_lines_are_each_answered_once() {
    let (workshop, agent) = Workshop::with_reader("many");
    let mut client = McpClient::greeted(server(&workshop.gateway, &agent), "plain").served();
    let began = Instant::now();
    // Ids that its own requests do not have.
    let ids = 1_000_000..1_000_000 + CALLS;
    for id in ids.clone() {
        client.write(&call(id).to_string());
    }
    let mut codes = Codes::new();
    for id in ids {
        let reply = client.reply(id as u64);
        *codes.entry(code(&reply)).or_default() += 1;
    }
    assert!(codes["busy"] > 0, "{codes:?}");
    // It would have said a second answer before this one.
    client.ask("ping", json!({}));
    client.hear_nothing_else();
    well_after(&workshop, &agent, &codes, began);
    until_true("a call of the same client", || {
        let reply = client.ask("tools/call", call(0)["params"].clone());
        code(&reply) == "ok"
    });
    assert_eq!(client.end(), 0);
}

#[test]
fn ten_thousand_posts_are_each_answered_once() {
    let (workshop, agent) = Workshop::with_reader("many");
    let port = workshop.gateway.port();
    let bearer = bearer(&agent);
    let began = Instant::now();
    let posts = |connection: usize| {
        let mut kept = Kept::new(port, true);
        let ids = (0..CALLS).filter(|id| id % CONNECTIONS == connection);
        ids.map(|id| {
            let header = ("authorization", bearer.as_str());
            let (status, reply) = kept
                .send(("POST", "/mcp"), header, &call(id))
                .unwrap_or_else(|why| panic!("{id}: {why:?}"));
            assert_eq!((status, &reply["id"]), (200, &json!(id)), "{reply}");
            code(&reply)
        })
        .collect::<Vec<_>>()
    };
    let codes = thread::scope(|scope| {
        let posts = &posts;
        let all: Vec<_> = (0..CONNECTIONS)
            .map(|at| scope.spawn(move || posts(at)))
            .collect();
        let mut codes = Codes::new();
        for code in all.into_iter().flat_map(|one| one.join().expect("answers")) {
            *codes.entry(code).or_default() += 1;
        }
        codes
    });
    well_after(&workshop, &agent, &codes, began);
}
