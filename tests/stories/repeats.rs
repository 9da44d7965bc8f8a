//! The same effect, wished for again: made again once its answer was given, and never twice for one wish.

use crate::house::{COUNT, House, WRITE, Workshop, note};
use crate::mcp::server;
use crate::mcp_http::Plain;
use plexus_tests::texts::assert_like;
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, McpClient, programs};
use serde_json::{Value, json};
use std::process::Stdio;
use std::thread;

/// The tool of [`COUNT`].
const TOOL: &str = "fixture_count";

fn line() -> Value {
    json!({"line": "milk"})
}

fn to_run(key: Option<&str>) -> Value {
    let mut call = json!({"id": COUNT, "input": line(), "onApproval": "run"});
    if let Some(key) = key {
        call["idempotencyKey"] = key.into();
    }
    call
}

/// The one item that waits, once it does.
fn waiting(workshop: &Workshop) -> String {
    until("a request of the agent", || {
        let items = workshop.owner().pending();
        let [item] = &items[..] else { return None };
        item["pendingId"].as_str().map(str::to_owned)
    })
}

fn made(workshop: &Workshop, number: usize) {
    until_true("the effect", || {
        workshop.calls(COUNT, "outcome").len() == number
    });
}

/// Calls from another thread, and approves what that asks for.
fn approved<T: Send>(workshop: &Workshop, call: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let calling = scope.spawn(call);
        workshop.owner().approve(&waiting(workshop), "once");
        calling.join().expect("an answer")
    })
}

/// Three to-dos of one text are three to-dos, each asked for and each made.
#[test]
fn same_effect_three_times_is_made_three_times() {
    let (workshop, agent) = Workshop::with_reader("one");
    let mut client = McpClient::greeted(server(&workshop.gateway, &agent), "claude-code").served();
    let plain = Plain::at(&workshop.gateway, &agent);
    let mut expected = 0;
    let mut is_made = |told: &Value| {
        expected += 1;
        assert_eq!(told["ok"], true, "{told}");
        assert_eq!(told.get("replayed"), None, "{told}");
        assert_eq!(workshop.effects().len(), expected, "{told}");
    };
    for _ in 0..3 {
        let told = approved(&workshop, || client.call(TOOL, line()));
        is_made(&told["structuredContent"]);
    }
    for _ in 0..2 {
        let told = approved(&workshop, || plain.call(TOOL, line()));
        is_made(&told["structuredContent"]);
    }
    for _ in 0..2 {
        let item = agent.invoke_body(to_run(None)).text_at("/error/pendingId");
        workshop.owner().approve(&item, "once");
        let told = agent.status_after(&item, 20).expect_ok()["result"].take();
        is_made(&told);
    }
}

/// A write that is repeated after the owner changed the file is another wish: it asks again, and says nothing that is not so.
#[test]
fn same_write_after_the_owner_changed_the_file_asks_again() {
    let (house, agent) = House::with_reader("one");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "claude-code").served();
    let input = note("a.md", "one\n");
    agent.must_approved(&house.owner(), WRITE, input.clone());
    assert_eq!(house.workspace.read("a.md"), "one\n");
    house.workspace.write("a.md", "mine\n");
    let told = thread::scope(|scope| {
        let calling = scope.spawn(|| client.call("workspace_write", input.clone()));
        let item = crate::mcp::waiting(&house);
        assert_eq!(house.workspace.read("a.md"), "mine\n", "before the card");
        let plan = house.owner().plan(&item);
        assert!(plan["preview"].to_string().contains("-mine"), "{plan}");
        house.owner().approve(&item, "once");
        calling.join().expect("an answer")
    });
    assert_eq!(told["structuredContent"]["ok"], true, "{told}");
    assert_eq!(house.workspace.read("a.md"), "one\n");
}

/// A client that is gone when its call is made has caused one effect. Who asks next is told of it, once and in words.
#[test]
fn client_killed_while_it_waits_gives_one_effect() {
    let (workshop, agent) = Workshop::with_reader("one");
    let client = || McpClient::greeted(server(&workshop.gateway, &agent), "claude-code").served();
    let params = json!({"name": TOOL, "arguments": line()});
    let mut killed = client();
    killed.send("tools/call", params);
    let item = waiting(&workshop);
    drop(killed);
    workshop.owner().approve(&item, "once");
    made(&workshop, 1);
    let mut next = client();
    let told = next.call(TOOL, line());
    let told = &told["structuredContent"];
    assert_like(told, &json!({"ok": true, "replayed": true}));
    let note = told["note"].as_str().unwrap_or_default();
    assert!(note.contains("Nothing was done again"), "{told}");
    assert_eq!(workshop.effects().len(), 1);
    let told = approved(&workshop, || next.call(TOOL, line()));
    assert_eq!(told["structuredContent"].get("replayed"), None, "{told}");
    assert_eq!(workshop.effects().len(), 2);
}

/// While an approved effect is under way, the same input joins it, from another session of the agent and for another purpose.
#[test]
fn same_input_joins_its_effect_while_that_is_under_way() {
    let workshop = Workshop::open();
    let agent = workshop.gateway.agent("one");
    let input = json!({"text": "milk", "pieces": 1, "until": "goes-on"});
    let call = |purpose: &str| json!({"id": "fixture.stream", "input": input, "onApproval": "run", "purpose": purpose});
    let asked = agent.invoke_body(call("to begin"));
    let item = asked.text_at("/error/pendingId");
    workshop.owner().approve(&item, "once");
    until_true("the effect to begin", || workshop.folder.has("streamed"));
    let session = agent.another_session();
    let told = thread::scope(|scope| {
        let joined = scope.spawn(|| session.invoke_body(call("for another reason")));
        let status = agent.status(&item).expect_ok();
        assert_eq!(status["result"], Value::Null, "{status}");
        assert_eq!(workshop.owner().pending(), Vec::<Value>::new());
        workshop.folder.write("goes-on", "");
        joined.join().expect("an answer")
    });
    let (told, status) = (told.expect_ok(), agent.status_after(&item, 20).expect_ok());
    assert_eq!(told["auditId"], status["result"]["auditId"], "{told}");
    assert_eq!(workshop.calls("fixture.stream", "outcome").len(), 1);
    // Its answer was given: the control.
    let next = agent.invoke_body(call("to begin"));
    assert_ne!(next.text_at("/error/pendingId"), item, "{next}");
}

/// A command that is killed has caused one effect, too; the next one says in words that nothing was done again.
#[test]
fn killed_command_gives_one_effect_and_the_next_says_so() {
    let (workshop, agent) = Workshop::with_reader("one");
    let command = || {
        let mut command = workshop.gateway.plexus_command("one", [COUNT, "line=milk"]);
        command.env("PLEXUS_PAT", &agent.pat);
        command
    };
    let mut killed = command().stderr(Stdio::null()).spawn().expect("plexus");
    let item = waiting(&workshop);
    killed.kill().expect("an end");
    killed.wait().expect("an end");
    workshop.owner().approve(&item, "once");
    made(&workshop, 1);
    let again = programs::run(command());
    again.expect_ok();
    assert!(again.stderr.contains("Nothing was done again."), "{again}");
    assert_eq!(workshop.effects().len(), 1);
}

/// A request with the id of an earlier one of its connection is that one. Ids of other connections mean nothing.
#[test]
fn same_id_on_one_connection_is_the_same_call() {
    let (workshop, agent) = Workshop::with_writer("one");
    let client = || McpClient::greeted(server(&workshop.gateway, &agent), "claude-code").served();
    let ask = |client: &mut McpClient, id: &str, line: &str| {
        let params = json!({"name": TOOL, "arguments": {"line": line}});
        let request = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        client.write(&request.to_string());
        let reply = client.hear("a response", |message| message["id"] == id);
        reply["result"]["structuredContent"].clone()
    };
    let (mut first, mut second) = (client(), client());
    let told = ask(&mut first, "a", "milk");
    assert_eq!(
        (told["ok"].clone(), told.get("replayed")),
        (json!(true), None),
        "{told}"
    );
    let again = ask(&mut first, "a", "milk");
    assert_eq!(again["replayed"], true, "{again}");
    assert_eq!(again["auditId"], told["auditId"], "{again}");
    assert_eq!(workshop.effects().len(), 1);
    for told in [
        ask(&mut first, "b", "milk"),
        ask(&mut first, "a", "bread"),
        ask(&mut second, "a", "milk"),
    ] {
        assert_eq!(told.get("replayed"), None, "{told}");
    }
    assert_eq!(workshop.effects().len(), 4);
}

/// A key stands for one call that waits for the owner, as for one that is granted: for a day, in every session.
#[test]
fn key_of_a_call_that_waits_stands_for_one_effect() {
    let mut workshop = Workshop::open();
    let mut agent = workshop.reader("one");
    let pending = |agent: &Agent, key| agent.invoke_body(to_run(key)).text_at("/error/pendingId");
    let item = pending(&agent, Some("k"));
    assert_eq!(pending(&agent.another_session(), Some("k")), item);
    assert_eq!(pending(&agent, None), item, "who names no key joins");
    let other = pending(&agent, Some("l"));
    assert_ne!(other, item, "another key is another call");
    let mut reused = to_run(Some("k"));
    reused["input"]["line"] = "bread".into();
    let reuse = |agent: &Agent| {
        let refused = agent.invoke_body(reused.clone());
        let error = refused.expect_error(422, "schema_validation_failed");
        assert_eq!(
            error["detail"]["reason"], "idempotency_key_reuse",
            "{error}"
        );
    };
    reuse(&agent);
    workshop.owner().approve(&item, "once");
    let status = agent.status_after(&item, 20).expect_ok();
    assert_eq!(status["result"]["ok"], true, "{status}");
    for is_later in [false, true] {
        if is_later {
            workshop.gateway.restart();
            agent = workshop.back(&agent);
        }
        for session in [&agent, &agent.another_session()] {
            let again = session.invoke_body(to_run(Some("k"))).expect_ok();
            assert_eq!(again["replayed"], true, "{again}");
            assert_eq!(again["auditId"], status["result"]["auditId"]);
        }
        reuse(&agent);
    }
    assert_eq!(workshop.effects().len(), 1);
    // The key is in the ledger: a grant makes no second effect of it.
    workshop.owner().deny(&other, "no");
    workshop.owner().grant("one", COUNT, "1h").expect_ok();
    let again = agent.invoke_body(to_run(Some("k"))).expect_ok();
    assert_eq!(again["replayed"], true, "{again}");
    agent.invoke_body(to_run(Some("m"))).expect_ok();
    assert_eq!(workshop.effects().len(), 2, "the control");
}
