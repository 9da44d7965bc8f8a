//! Questions that a lent MCP server asks in a call: answered by the owner alone, and what looks like a secret by nobody.

use crate::mcp_servers::packages;
use plexus_tests::texts::assert_contains;
use plexus_tests::{
    Agent, Folder, Gateway, Response,
    mcp_web::{Era, McpWeb, TOKEN},
    waiting::until,
};
use serde_json::{Value, json};

/// A server of the official SDK, whose tool asks before it does anything.
const TRAVEL: &str = r#"
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
const server = new McpServer({ name: "travel", version: "1.0.0" });
server.registerTool("book", { description: "Books a journey" }, async () => {
  const answer = await server.server.elicitInput({
    message: "Where to?",
    requestedSchema: {
      type: "object",
      properties: {
        city: { type: "string", title: "City", maxLength: 40 },
        seats: { type: "integer", minimum: 1, maximum: 9 },
        class: { type: "string", enum: ["first", "second"], default: "second" },
        flexible: { type: "boolean" },
      },
      required: ["city", "seats"],
    },
  });
  return { content: [{ type: "text", text: JSON.stringify(answer) }] };
});
await server.connect(new StdioServerTransport());
"#;

/// Has an approved call made, and does something while it is under way.
pub(crate) fn meanwhile(
    gateway: &Gateway,
    agent: &Agent,
    id: &str,
    input: &Value,
    does: impl FnOnce(Value),
) -> Response {
    let item = agent.must_ask(id, input.clone());
    gateway.owner().approve(&item, "once");
    std::thread::scope(|scope| {
        let call = scope.spawn(|| agent.invoke(id, input.clone()));
        does(gateway.owner().waits("question"));
        call.join().expect("a call")
    })
}

/// What a server was answered.
pub(crate) fn told(over: &Response) -> Value {
    let over = over.expect_ok();
    let text = over["output"]["text"].as_str().expect("text");
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn real_server_asks_and_the_owner_answers() {
    let (gateway, place) = (Gateway::start(), Folder::empty());
    let _ = packages(&place);
    place.write("travel.mjs", TRAVEL);
    let code = place.path().display().to_string();
    let script = format!("{code}/travel.mjs");
    let added = gateway.cli([
        "mcp",
        "add",
        "travel",
        "--code",
        &code,
        "--yes",
        "--",
        "/usr/bin/node",
        &script,
    ]);
    added.expect_ok();
    let agent = gateway.agent_with("caller", &["travel.book"]);
    let answered = meanwhile(&gateway, &agent, "travel.book", &json!({}), |card| {
        assert_eq!(card["agentId"], "caller", "{card}");
        let id = card["pendingId"].as_str().expect("an id");
        let shown = gateway.cli(["approvals", "show", id]);
        for said in [
            "Where to?",
            "--answer city=",
            "first | second",
            "default: second",
            "type no password",
        ] {
            assert!(shown.expect_ok().contains(said), "{said}: {shown}");
        }
        // What does not fit is given to nobody, and the question still waits.
        for (wrong, why) in [
            ("seats=10", "seats takes an integer 1 to 9"),
            ("class=third", "class takes first | second"),
            (
                "other=1",
                "there is no field \"other\" (fields: city, seats",
            ),
        ] {
            let answer = [
                "approvals",
                "approve",
                id,
                "--yes",
                "--answer",
                "city=Bern",
                "--answer",
                wrong,
            ];
            let refused = gateway.cli(answer);
            assert_contains(&refused.expect_status(64).stderr, why);
            let next = format!("plexusctl approvals show {id}");
            assert_contains(&refused.stderr, &next);
        }
        let stale = json!({"action": "approve", "cardDigest": "0".repeat(64), "answers": {"city": "Bern", "seats": 1}});
        gateway
            .owner()
            .decide(id, stale)
            .expect_error(409, "card_changed");
        let answers = "--answer city=Bern --answer seats=2 --answer flexible=yes";
        let answer = format!("approvals approve {id} --yes {answers}");
        let answer = gateway.cli(answer.split(' '));
        assert!(answer.expect_ok().contains("answered"), "{answer}");
    });
    let content = json!({"city": "Bern", "seats": 2, "flexible": true});
    assert_eq!(
        told(&answered),
        json!({"action": "accept", "content": content})
    );
    // The log says that it was answered, and not what.
    let event = gateway
        .owner()
        .audited(|event| event["detail"]["event"] == "question.answered");
    assert_eq!(event["detail"]["action"], "accept", "{event}");
    let log = json!(gateway.owner().audit(1_000)).to_string();
    assert!(!log.contains("Bern") && !log.contains("Where to?"), "{log}");

    let denied = meanwhile(&gateway, &agent, "travel.book", &json!({}), |card| {
        let id = card["pendingId"].as_str().expect("an id");
        let said = gateway.cli(["approvals", "deny", id]);
        assert_contains(said.expect_ok(), "notified that you do not answer");
        gateway
            .owner()
            .decide(id, json!({"action": "deny"}))
            .expect_status(404);
    });
    assert_eq!(told(&denied), json!({"action": "decline"}));
}

pub(crate) fn form(message: &str, field: &str) -> Value {
    let fields = json!({field: {"type": "string"}});
    json!({"asked": {"message": message, "requestedSchema": {"type": "object", "properties": fields, "required": [field]}}})
}

#[test]
fn what_looks_like_a_secret_is_asked_of_nobody() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let agent = gateway.lend_rude(&folder);
    let page = |url: &str| json!({"asked": {"mode": "url", "message": "Sign in", "url": url, "elicitationId": "1"}});
    for (asked, action) in [
        (form("Tell me", "password"), "decline"),
        (form("Type your API key", "value"), "decline"),
        (
            json!({"asked": {"message": "?", "requestedSchema": {"properties": {
                "n": {"type": "integer", "description": "a number to pin to the board"},
            }}}}),
            "decline",
        ),
        (page("http://bank.example/sign-in"), "decline"),
        (page("https://bank.example@evil.example/"), "decline"),
        (
            json!({"asked": {"message": "?", "requestedSchema": {"properties": {"a": {"type": "object"}}}}}),
            "cancel",
        ),
    ] {
        let over = agent.approved(&gateway.owner(), "rude.ask", asked.clone());
        assert_eq!(told(&over)["action"], action, "{asked}");
    }
    let refused = gateway
        .owner()
        .audited(|event| event["detail"]["event"] == "question.refused");
    assert_eq!(refused["detail"]["source"], "rude", "{refused}");
    // The owner reads which word it was, and of which field.
    let log = gateway.cli(["audit", "tail", "-n", "400"]).all();
    let declined = "a question of rude is declined, and you were not asked: ";
    for why in ["its field", "its URL is not https"] {
        assert!(log.contains(&format!("{declined}{why}")), "{why}: {log}");
    }
    // The controls: a field that names no secret, and a page that says where it is, are the owner's to answer.
    let over = meanwhile(
        &gateway,
        &agent,
        "rude.ask",
        &form("Tell me", "city"),
        |card| {
            let id = card["pendingId"].as_str().expect("an id");
            let body = json!({"action": "approve", "cardDigest": card["cardDigest"], "answers": {"city": "Bern"}});
            gateway.owner().decide(id, body).expect_ok();
        },
    );
    assert_eq!(told(&over)["content"]["city"], "Bern");
    let there = page("https://bank.example/sign-in");
    let over = meanwhile(&gateway, &agent, "rude.ask", &there, |card| {
        assert_eq!(card["question"]["host"], "bank.example", "{card}");
        let id = card["pendingId"].as_str().expect("an id");
        gateway.must_cli(["approvals", "approve", id, "--yes"]);
    });
    assert_eq!(told(&over), json!({"action": "accept"}));
}

#[test]
fn question_ends_with_its_call() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let agent = gateway.lend_rude(&folder);
    let asked = form("Tell me", "city");
    let item = agent.must_ask("rude.ask", asked.clone());
    gateway.owner().approve(&item, "once");
    let started = agent.invoke_body(json!({"id": "rude.ask", "input": asked, "async": true}));
    let card = gateway.owner().waits("question");
    let run = started.at("/run/runId");
    agent
        .client()
        .post("/invoke/cancel", json!({"runId": run}))
        .expect_status(202);
    let none = || gateway.owner().pending().is_empty().then_some(());
    until("the question to end", none);
    let late =
        json!({"action": "approve", "cardDigest": card["cardDigest"], "answers": {"city": "Bern"}});
    let id = card["pendingId"].as_str().expect("an id");
    gateway.owner().decide(id, late).expect_status(404);
}

#[test]
fn server_without_a_handshake_asks_in_place_of_an_answer() {
    let (gateway, folder, web) = (
        Gateway::start(),
        Folder::empty(),
        McpWeb::start(Era::Stateless),
    );
    folder.write("token", TOKEN);
    let secret = format!("authorization={}", folder.path().join("token").display());
    let add = [
        "mcp",
        "add",
        "web",
        "--url",
        &web.url(),
        "--secret",
        &secret,
        "--yes",
    ];
    gateway.cli(add).expect_ok();
    let agent = gateway.agent_with("caller", &["web.look"]);
    let over = meanwhile(
        &gateway,
        &agent,
        "web.look",
        &json!({"ask": true}),
        |card| {
            let id = card["pendingId"].as_str().expect("an id");
            gateway.must_cli(["approvals", "approve", id, "--yes", "--answer", "city=Bern"]);
        },
    );
    let answer = json!({"where": {"action": "accept", "content": {"city": "Bern"}}});
    assert_eq!(told(&over), json!([answer, "state-1"]));
}
