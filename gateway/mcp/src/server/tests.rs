//! A client of each era against the core, with a host that answers as the test says.

use super::*;
use crate::client::{CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY};
use crate::tools::tests::{manifest, view};
use serde_json::json;

const PEND: &str = "pend_00000000-0000-4000-8000-000000000000";
const RUN: &str = "run_00000000-0000-4000-8000-000000000000";

fn at(seconds: u64) -> Moment {
    Moment {
        elapsed: Duration::from_secs(seconds),
        wall: Timestamp(1_800_000_000_000 + seconds * 1000),
    }
}

fn server() -> Server {
    Server::new("1.2.3", view())
}

/// Past its handshake with a client of this name.
fn greeted(name: &str) -> Server {
    let mut server = server();
    greet(&mut server, name);
    server
}

fn greet(server: &mut Server, name: &str) -> Value {
    let hello =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": name}});
    ask(server, 0, "initialize", hello)
}

fn viewed(manifest: &Value) -> View {
    View::of_manifest(manifest.to_string().as_bytes()).unwrap()
}

fn entries(manifest: &mut Value) -> &mut Vec<Value> {
    manifest["manifest"]["entries"].as_array_mut().unwrap()
}

fn send(server: &mut Server, message: &Value, now: u64) -> Vec<Action> {
    server.read(message.to_string().as_bytes(), at(now))
}

fn request(server: &mut Server, id: u64, method: &str, params: Value, now: u64) -> Vec<Action> {
    let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let actions = send(server, &message, now);
    // This host reaches no gateway.
    if let [Action::Refresh(number)] = &actions[..] {
        let away = Answer::Refused(refusal(UNREACHABLE));
        return server.answered(*number, away, at(now));
    }
    actions
}

/// The one message of these actions.
#[track_caller]
fn message(actions: &[Action]) -> Value {
    match actions {
        [Action::Send(line)] => serde_json::from_str(line).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// The structured content of the one result.
#[track_caller]
fn structured(actions: &[Action]) -> Value {
    message(actions)["result"]["structuredContent"].take()
}

/// The request is answered with an error of the protocol.
#[track_caller]
fn fails(server: &mut Server, method: &str, params: Value, code: i64) {
    let reply = ask(server, 900, method, params);
    assert_eq!(reply["error"]["code"], code, "{method}: {reply}");
}

fn cancel(server: &mut Server, id: u64) -> Vec<Action> {
    let params = json!({"requestId": id});
    let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    send(server, &message, 2)
}

#[track_caller]
fn ask(server: &mut Server, id: u64, method: &str, params: Value) -> Value {
    message(&request(server, id, method, params, 0))
}

fn modern(mut params: Value, capabilities: Value) -> Value {
    params["_meta"] = json!({VERSION_KEY: MODERN, CAPABILITIES_KEY: capabilities, CLIENT_KEY: {"name": "claude-code"}});
    params
}

fn tasks() -> Value {
    json!({"extensions": {TASKS: {}}})
}

fn write(token: bool) -> Value {
    let mut params = json!({"name": "workspace_write", "arguments": {"path": "a.md"}});
    if token {
        params["_meta"] = json!({"progressToken": "t1"});
    }
    params
}

/// The number of the one call, which the host begins.
#[track_caller]
fn number(actions: &[Action]) -> CallNumber {
    match actions {
        [
            Action::Call(number, _)
            | Action::Follow(number, _)
            | Action::Look(number, _)
            | Action::Cancel(number, _)
            | Action::List(number),
        ] => *number,
        other => panic!("{other:?}"),
    }
}

/// The one call of a capability, which the host begins.
#[track_caller]
fn begun(actions: &[Action]) -> (CallNumber, &Call) {
    match actions {
        [Action::Call(number, call)] => (*number, call),
        other => panic!("{other:?}"),
    }
}

/// A call that the host has begun and that waits for the owner.
#[track_caller]
fn held(server: &mut Server, id: u64, params: Value) -> CallNumber {
    let call = number(&request(server, id, "tools/call", params, 0));
    server.answered(call, Answer::GoesOn(item(PEND)), at(1));
    call
}

/// The answer to "what waits", where the gateway says `waiting`.
#[track_caller]
fn listed(server: &mut Server, waiting: Vec<Waiting>) -> Vec<Action> {
    let list = number(&call(server, 800, "plexus_wait", json!({})));
    server.answered(list, Answer::Listed(waiting), at(2))
}

/// The write, as the gateway says that it waits.
fn written() -> Waiting {
    Waiting {
        item: item(PEND),
        capability: "workspace.write".parse().unwrap(),
        since: at(1).wall,
        purpose: Some("to keep it".to_owned()),
    }
}

/// The client is told of the write that waits for the owner.
#[track_caller]
fn waits(server: &mut Server) {
    let listed = structured(&listed(server, vec![written()]));
    let waiting = json!([{"pendingId": PEND, "status": "waiting_for_owner", "tool": "workspace_write",
        "purpose": "to keep it", "since": at(1).wall}]);
    assert_eq!(listed["waiting"], waiting);
}

fn item(id: &str) -> Item {
    id.parse().unwrap()
}

fn refusal(code: &str) -> Refusal {
    Refusal {
        code: code.into(),
        effect: Effect::None,
        message: "because".into(),
        next: "stop; tell the owner: so".into(),
        action: None,
    }
}

fn wrote() -> Answer {
    Answer::Replied(
        json!({"ok": true, "output": {"bytes": 3}, "undo": "evt_9", "auditId": "evt_1"}),
    )
}

#[test]
fn handshake_answers_the_version_or_the_newest() {
    for (asked, answered) in [
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2999-01-01", "2025-11-25"),
    ] {
        let asked = json!({"protocolVersion": asked});
        let reply = ask(&mut server(), 1, "initialize", asked);
        assert_eq!(reply["result"]["protocolVersion"], answered);
        assert_eq!(reply["result"]["serverInfo"]["name"], "plexus");
        assert_eq!(
            reply["result"]["capabilities"],
            json!({"tools": {"listChanged": true}})
        );
    }
    fails(
        &mut server(),
        "initialize",
        json!({}),
        message::INVALID_PARAMS,
    );
}

#[test]
fn instructions_begin_with_what_counts() {
    assert!(INSTRUCTIONS.len() <= 600, "{}", INSTRUCTIONS.len());
    let first: String = INSTRUCTIONS.chars().take(245).collect();
    for part in [
        "Notes, files",
        "search, read and change",
        "nothing is done",
        "plexus_wait with the pendingId",
    ] {
        assert!(first.contains(part), "{part}: {first}");
    }
}

/// `MAX_LISTED` and one more capabilities beside those of the usual view, of which two have a mark.
fn crowded() -> Server {
    let mut manifest = manifest();
    let entries = entries(&mut manifest);
    for entry in entries.iter_mut() {
        if entry["id"] == "obsidian.vault.read" {
            entry["standing"] = true.into();
        }
        if entry["id"] == "calendar.events.list" {
            entry["lately"] = true.into();
        }
    }
    for n in 0..=crate::MAX_LISTED {
        entries.push(json!({"id": format!("shelf.book-{n}"), "source": "shelf", "kind": "capability",
            "label": format!("Open book {n}"), "describe": "Open one book.", "grants": ["read"], "sensitivity": "low",
            "network": false, "io": {"input": {"type": "object", "properties": {"page": {"type": "integer"}}}}}));
    }
    let view = viewed(&manifest);
    let mut server = Server::new("1.2.3", view);
    let reply = greet(&mut server, "plain");
    let instructions = reply["result"]["instructions"].as_str().unwrap();
    assert!(instructions.len() <= 600, "{}", instructions.len());
    for part in ["plexus_search", "nothing is done", "plexus_wait"] {
        assert!(instructions[..245].contains(part), "{part}");
    }
    server
}

fn call(server: &mut Server, id: u64, name: &str, arguments: Value) -> Vec<Action> {
    let params = json!({"name": name, "arguments": arguments});
    request(server, id, "tools/call", params, 0)
}

#[test]
fn crowded_view_lists_search_and_what_has_a_mark() {
    let mut server = crowded();
    let listed = ask(&mut server, 1, "tools/list", json!({}))["result"]["tools"].take();
    let tools = listed.as_array().unwrap();
    let names: Vec<_> = tools.iter().map(|tool| &tool["name"]).collect();
    assert_eq!(
        names,
        [
            "plexus_wait",
            "plexus_guide",
            "plexus_search",
            "plexus_describe",
            "plexus_read",
            "plexus_call",
            "calendar_events_list",
            "obsidian_vault_read",
        ]
    );
    for tool in tools {
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
    }
    // The usual view has none of these.
    fails(
        &mut greeted("plain"),
        "tools/call",
        json!({"name": "plexus_search", "arguments": {"query": "note"}}),
        message::INVALID_PARAMS,
    );
}

#[test]
fn search_answers_with_schemas_best_first() {
    let mut server = crowded();
    let mut ask = |arguments: Value| structured(&call(&mut server, 1, "plexus_search", arguments));
    let found = ask(json!({"query": "write a file"}));
    let first = &found["found"][0];
    assert_eq!(first["id"], "workspace.write");
    assert_eq!(first["call"], "plexus_call");
    assert_eq!(first["inputSchema"]["required"], json!(["path"]));
    assert_eq!(ask(json!({"query": "write a file", "limit": null})), found);
    let books = ask(json!({"query": "book 7", "limit": 20}));
    assert_eq!(books["found"][0]["id"], "shelf.book-7");
    assert_eq!(books["found"][0]["call"], "plexus_read");
    assert_eq!(books["found"].as_array().unwrap().len(), 20);
    assert!(books["total"].as_u64().unwrap() > 100);
    assert_eq!(ask(json!({"query": "printer"}))["found"], json!([]));
    for wrong in [json!({}), json!({"query": "a", "limit": 0})] {
        assert_eq!(ask(wrong)["code"], "bad_arguments");
    }
}

#[test]
fn long_answer_of_a_search_is_shortened_and_described() {
    let mut manifest = manifest();
    let entries = entries(&mut manifest);
    for n in 0..=crate::MAX_LISTED {
        entries.push(
            json!({"id": format!("shelf.book-{n}"), "kind": "capability", "grants": ["read"],
            "label": "Book", "describe": "word ".repeat(700)}),
        );
    }
    let view = viewed(&manifest);
    let mut server = Server::stateless("1", view, "plain");
    let arguments = json!({"query": "book", "limit": 20});
    let actions = call(&mut server, 1, "plexus_search", arguments);
    let result = message(&actions)["result"].take();
    assert!(result["content"][0]["text"].as_str().unwrap().len() < MAX_OUTPUT);
    let last = &result["structuredContent"]["found"][19];
    assert!(last["inputSchema"].is_null() && last["omitted"].is_string());
    let id = json!({"id": last["id"]});
    let actions = call(&mut server, 2, "plexus_describe", id);
    let described = structured(&actions);
    assert_eq!(described["capability"]["inputSchema"]["type"], "object");
}

#[test]
fn call_by_id_is_the_same_call() {
    let mut server = crowded();
    let by_id = json!({"id": "workspace.write", "arguments": {"path": "a.md"}});
    let actions = call(&mut server, 1, "plexus_call", by_id.clone());
    let (number, made) = begun(&actions);
    assert_eq!(made.capability.as_str(), "workspace.write");
    assert_eq!((made.read, &made.input["path"]), (false, &json!("a.md")));
    let result = message(&server.answered(number, wrote(), at(1)))["result"].take();
    // Its undo is not listed either.
    assert_eq!(
        result["structuredContent"]["undo"],
        json!({"tool": "plexus_call", "arguments": {"id": "workspace.undo", "arguments": {"id": "evt_9"}}})
    );
    let own = call(&mut server, 2, "workspace_write", json!({"path": "a.md"}));
    let (_, direct) = begun(&own);
    assert_eq!(direct, made);
    let read = json!({"id": "shelf_book-7"});
    assert!(matches!(
        &call(&mut server, 3, "plexus_read", read)[..],
        [Action::Call(_, call)] if call.read && call.capability.as_str() == "shelf.book-7"
    ));
    for (tool, wrong) in [
        ("plexus_read", by_id),
        ("plexus_call", json!({"id": "shelf.nothing"})),
        ("plexus_call", json!({"id": "plexus_call"})),
        ("plexus_call", json!({"arguments": {}})),
        (
            "plexus_call",
            json!({"id": "workspace.write", "arguments": "{}"}),
        ),
    ] {
        let refused = structured(&call(&mut server, 4, tool, wrong));
        assert_eq!(refused["code"], "bad_arguments");
        assert_eq!(refused["effect"], "none");
    }
}

/// With one capability that is a conversation.
fn talking() -> Server {
    let mut manifest = manifest();
    let entries = entries(&mut manifest);
    entries.push(json!({"id": "codex.chat", "kind": "capability", "grants": ["execute"], "label": "Chat",
        "describe": "Talk.", "longRunning": true, "conversation": {"message": "prompt", "turns": 4, "minutes": 9}}));
    let view = viewed(&manifest);
    let mut server = Server::new("1", view);
    greet(&mut server, "plain");
    server
}

#[test]
fn conversation_goes_on_by_message_with_progress() {
    let mut server = talking();
    let go_on = json!({"runId": RUN, "text": "And then?", "turn": 2});
    let params =
        json!({"name": "plexus_continue", "arguments": go_on, "_meta": {"progressToken": 1}});
    let actions = request(&mut server, 1, "tools/call", params.clone(), 0);
    let [Action::Continue(number, said)] = &actions[..] else {
        panic!("{actions:?}");
    };
    let (number, said) = (*number, said.clone());
    let words = (said.conversation.as_str(), &*said.text);
    assert_eq!(words, (RUN, "And then?"));
    // The same call is the same message; another text is another one.
    let again = params["arguments"].clone();
    let again = call(&mut server, 2, "plexus_continue", again);
    assert!(matches!(&again[..], [Action::Continue(_, same)] if *same == said));
    let turn = item("run_00000000-0000-4000-8000-000000000001");
    let followed = server.answered(number, Answer::GoesOn(turn.clone()), at(1));
    assert!(matches!(&followed[..], [Action::Follow(_, item)] if *item == turn));
    let told = message(&server.tick(at(11)));
    assert_eq!(told["method"], "notifications/progress");
    let reply = json!({"ok": true, "output": {"text": "The end."},
        "conversation": {"runId": RUN, "turn": 2, "turnsLeft": 1}});
    let result = message(&server.answered(number, Answer::Replied(reply), at(12)))["result"].take();
    let structured = &result["structuredContent"];
    assert_eq!(structured["output"]["text"], "The end.");
    assert_eq!(structured["nextCall"]["arguments"]["turn"], 3);
}

#[test]
fn message_without_its_parts_is_refused() {
    let mut server = talking();
    for wrong in [
        json!({"text": "a"}),
        json!({"runId": "run_1", "text": "a"}),
        json!({"runId": RUN}),
        json!({"runId": RUN, "text": " "}),
        json!({"runId": RUN, "text": "a", "turn": "2"}),
    ] {
        let refused = structured(&call(&mut server, 1, "plexus_continue", wrong));
        assert_eq!(refused["code"], "bad_arguments");
    }
    // A view without conversations has no such tool.
    let params = json!({"name": "plexus_continue", "arguments": {"runId": RUN, "text": "a"}});
    fails(
        &mut greeted("plain"),
        "tools/call",
        params,
        message::INVALID_PARAMS,
    );
}

#[test]
fn cancelled_message_is_not_taken_back() {
    let mut server = talking();
    let said = json!({"runId": RUN, "text": "a"});
    call(&mut server, 1, "plexus_continue", said);
    assert!(cancel(&mut server, 1).is_empty());
}

#[test]
fn method_of_the_other_era_is_unknown() {
    for method in "server/discover tasks/get subscriptions/listen resources/list".split(' ') {
        fails(
            &mut greeted("x"),
            method,
            json!({}),
            message::METHOD_NOT_FOUND,
        );
    }
    for method in ["initialize", "ping", "prompts/list"] {
        fails(
            &mut server(),
            method,
            modern(json!({}), json!({})),
            message::METHOD_NOT_FOUND,
        );
    }
}

#[test]
fn stateless_request_names_a_version_that_is_spoken() {
    let mut server = server();
    let discover = modern(json!({}), json!({}));
    let reply = ask(&mut server, 1, "server/discover", discover);
    let result = &reply["result"];
    assert_eq!(result["supportedVersions"], json!([MODERN]));
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["_meta"][SERVER_KEY]["version"], "1.2.3");
    assert!(result["capabilities"]["extensions"][TASKS].is_object());

    let mut other = modern(json!({}), json!({}));
    other["_meta"][VERSION_KEY] = "2025-11-25".into();
    let error = &ask(&mut server, 2, "tools/list", other)["error"];
    assert_eq!(error["code"], message::UNSUPPORTED_VERSION);
    assert_eq!(
        error["data"],
        json!({"supported": [MODERN], "requested": "2025-11-25"})
    );
    let bare = json!({"_meta": {VERSION_KEY: MODERN}});
    fails(&mut server, "tools/list", bare, message::INVALID_PARAMS);
}

#[test]
fn stateless_list_says_how_long_it_holds() {
    let mut server = greeted("x");
    let legacy = ask(&mut server, 1, "tools/list", json!({}));
    assert!(legacy["result"].get("ttlMs").is_none());
    let reply = ask(&mut server, 2, "tools/list", modern(json!({}), json!({})));
    assert_eq!(reply["result"]["ttlMs"], LIST_TTL_MS);
    assert_eq!(reply["result"]["cacheScope"], "private");
    assert_eq!(reply["result"]["tools"], legacy["result"]["tools"]);
    // The gateway has not said these.
    for unsaid in [
        View::of_manifest(view().kept().as_bytes()).unwrap(),
        View::without_manifest(refusal(UNREACHABLE)),
    ] {
        let mut server = Server::new("1.2.3", unsaid);
        let reply = ask(&mut server, 1, "tools/list", modern(json!({}), json!({})));
        assert_eq!(reply["result"]["ttlMs"], 0);
    }
    fails(
        &mut server,
        "tools/list",
        json!({"cursor": "x"}),
        message::INVALID_PARAMS,
    );
}

#[test]
fn unknown_tool_is_an_error_bad_argument_a_result() {
    let mut server = greeted("x");
    for name in ["nobody", "workspace.write", "plexus_setup"] {
        fails(
            &mut server,
            "tools/call",
            json!({"name": name}),
            message::INVALID_PARAMS,
        );
    }
    for params in [
        json!({"name": "workspace_write", "arguments": [1]}),
        json!({"name": "plexus_wait", "arguments": {"pendingId": "nonsense"}}),
        json!({"name": "plexus_wait", "arguments": {"pendingId": PEND, "seconds": 601}}),
        json!({"name": "plexus_guide", "arguments": {"id": "nobody"}}),
        json!({"name": "plexus_guide", "arguments": {"id": ["workspace"]}}),
    ] {
        let reply = ask(&mut server, 1, "tools/call", params);
        assert_eq!(reply["result"]["isError"], true);
        assert_eq!(reply["result"]["structuredContent"]["effect"], "none");
    }
}

#[test]
fn unlisted_tool_is_looked_for_once_at_the_gateway() {
    let mut fewer = manifest();
    entries(&mut fewer).retain(|entry| entry["id"] != "workspace.write");
    let mut server = Server::new("1.2.3", viewed(&fewer));
    greet(&mut server, "x");
    let refreshed = |server: &mut Server, params: Value| {
        let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        let actions = send(server, &call, 0);
        let [Action::Refresh(number)] = &actions[..] else {
            panic!("{actions:?}");
        };
        server.answered(*number, Answer::View(view().into()), at(1))
    };
    let actions = refreshed(&mut server, write(false));
    let [Action::Send(news), Action::Call(number, made)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(news.contains(LIST_CHANGED), "{news}");
    assert_eq!(made.capability.as_str(), "workspace.write");
    let told = structured(&server.answered(*number, wrote(), at(2)));
    assert_eq!(told["ok"], true, "{told}");
    // The control: the gateway does not have it either.
    let actions = refreshed(&mut server, json!({"name": "nobody"}));
    let refused = message(&actions);
    assert_eq!(refused["error"]["code"], message::INVALID_PARAMS);
    // A capability that is called by its id is looked for in the same way.
    let by_id = json!({"name": "plexus_call", "arguments": {"id": "shelf.nothing"}});
    let actions = refreshed(&mut crowded(), by_id);
    assert!(matches!(actions[..], [Action::Send(_), Action::Send(_)]));
}

#[test]
fn part_of_an_id_is_called_that() {
    let mut server = greeted("x");
    for (arguments, said) in [
        (json!({"pendingId": "pend_x"}), "not a whole id: pend_ and"),
        (json!({"runId": &RUN[..20]}), "not a whole id: run_ and"),
        (json!({"pendingId": "evt_1"}), "neither a pendingId"),
        (json!({"pendingId": 5}), "are texts."),
    ] {
        let refused = structured(&call(&mut server, 1, "plexus_wait", arguments));
        assert_eq!(refused["code"], "bad_arguments", "{refused}");
        let why = refused["message"].as_str().unwrap();
        assert!(why.contains(said), "{why}");
        let list = json!({"tool": "plexus_wait", "arguments": {}});
        assert_eq!(refused["nextCall"], list, "{refused}");
    }
}

#[test]
fn unknown_argument_of_an_own_tool_is_refused() {
    let mut crowded = crowded();
    let mut talking = talking();
    let mut setup = Server::new("1", View::without_manifest(refusal("not_enrolled")));
    ask(
        &mut setup,
        0,
        "initialize",
        json!({"protocolVersion": "2025-06-18"}),
    );
    let mut told = 0;
    for server in [&mut crowded, &mut talking, &mut setup] {
        let tools = ask(server, 1, "tools/list", json!({}))["result"]["tools"].take();
        let tools = tools.as_array().unwrap().iter();
        let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
        for tool in tools.filter(|tool| name(tool).starts_with("plexus_")) {
            let refused = message(&call(server, 2, &name(tool), json!({"pending_id": "x"})));
            let result = &refused["result"];
            let said = result["structuredContent"]["message"].as_str().unwrap();
            told += 1;
            let fields = tool["inputSchema"]["properties"].as_object().unwrap();
            // Some clients always send one: a tool that has none answers all the same.
            let is_named = said.contains(r#"no field "pending_id""#);
            assert_eq!(is_named, !fields.is_empty(), "{said}");
            if is_named {
                assert_eq!(result["isError"], true, "{refused}");
                assert_eq!(result["structuredContent"]["effect"], "none", "{refused}");
                assert!(fields.keys().all(|field| said.contains(field)), "{said}");
            }
        }
    }
    assert_eq!(told, 6 + 3 + 1);
}

#[test]
fn unknown_argument_of_a_read_of_ours_is_refused() {
    let other = json!({"path": "a.md", "pth": "b.md"});
    let mut server = greeted("x");
    let refused = structured(&call(&mut server, 1, "obsidian_vault_read", other.clone()));
    assert_eq!(refused["code"], "bad_arguments", "{refused}");
    let said = r#"There is no field "pth" (fields: path, offset)."#;
    assert_eq!(refused["message"], said);
    // Models repeat the purpose of other tools.
    let why = json!({"path": "a.md", "plexus_purpose": "why"});
    let actions = call(&mut server, 2, "obsidian_vault_read", why);
    assert_eq!(json!(begun(&actions).1.input), json!({"path": "a.md"}));
    // Its schema speaks of others, or it is somebody else's.
    for (member, value) in [
        (
            "io",
            json!({"input": {"properties": {"path": {}}, "additionalProperties": false}}),
        ),
        ("provenance", json!("extension")),
    ] {
        let mut manifest = manifest();
        let entries = entries(&mut manifest);
        let read = entries
            .iter_mut()
            .find(|entry| entry["id"] == "obsidian.vault.read");
        read.unwrap()[member] = value;
        let mut server = Server::new("1", viewed(&manifest));
        greet(&mut server, "x");
        let actions = call(&mut server, 1, "obsidian_vault_read", other.clone());
        assert_eq!(json!(begun(&actions).1.input), other, "{member}");
    }
}

#[test]
fn guide_is_listed_and_read() {
    let mut server = greeted("x");
    let listed = structured(&call(&mut server, 1, "plexus_guide", json!({})));
    assert_eq!(listed["guides"], json!(["workspace.how-to-use"]));
    for (number, id) in [(2, "workspace.how-to-use"), (3, "workspace")] {
        let arguments = json!({"name": "plexus_guide", "arguments": {"id": id}});
        let read = ask(&mut server, number, "tools/call", arguments);
        assert_eq!(read["result"]["content"][0]["text"], "# Read first\n");
    }
    let none = structured(&call(&mut server, 4, "plexus_guide", json!({"id": "work"})));
    assert_eq!(none["code"], "bad_arguments");
}

#[test]
fn call_goes_to_the_host_and_its_answer_to_the_client() {
    let mut server = greeted("x");
    let actions = request(&mut server, 7, "tools/call", write(false), 0);
    let (number, call) = begun(&actions);
    assert_eq!(call.capability.as_str(), "workspace.write");
    assert_eq!(json!(call.input), json!({"path": "a.md"}));
    let again = request(&mut server, 7, "ping", json!({}), 0);
    assert_eq!(message(&again)["error"]["code"], message::INVALID_REQUEST);

    let reply = message(&server.answered(number, wrote(), at(1)));
    assert_eq!(reply["id"], 7);
    assert_eq!(
        reply["result"]["structuredContent"]["undo"]["tool"],
        "workspace_undo"
    );
    assert!(
        server.answered(number, wrote(), at(1)).is_empty(),
        "one response"
    );
}

#[test]
fn pending_call_is_held_as_long_as_its_client_allows() {
    for (client, seconds) in [
        ("claude-code", 600),
        ("codex-mcp-client", 240),
        ("other", 50),
    ] {
        let mut server = greeted(client);
        let call = number(&request(&mut server, 1, "tools/call", write(false), 0));
        let follow = server.answered(call, Answer::GoesOn(item(PEND)), at(1));
        assert_eq!(follow, [Action::Follow(call, item(PEND))]);
        assert_eq!(server.next_tick(), Some(Duration::from_secs(seconds)));
        assert!(server.tick(at(seconds - 1)).is_empty());
        assert_eq!(server.tick(at(seconds)), [Action::Look(call, item(PEND))]);
        let actions = server.answered(call, Answer::GoesOn(item(PEND)), at(seconds));
        let result = message(&actions)["result"].clone();
        assert!(result.get("isError").is_none());
        assert_eq!(result["structuredContent"]["status"], "waiting_for_owner");
        assert_eq!(result["structuredContent"]["effect"], "none");
        assert_eq!(result["structuredContent"]["pendingId"], PEND);
        assert_eq!(server.next_tick(), None);
    }
}

#[test]
fn last_look_without_an_answer_promises_nothing() {
    let mut server = greeted("other");
    let call = held(&mut server, 1, write(false));
    server.tick(at(50));
    let actions = server.tick(at(55));
    let [Action::Drop(dropped), Action::Send(line)] = &*actions else {
        panic!("{actions:?}")
    };
    assert_eq!(*dropped, call);
    let reply: Value = serde_json::from_str(line).unwrap();
    assert_eq!(reply["result"]["structuredContent"]["effect"], "unknown");
    assert!(!line.contains("Nothing was done"), "{line}");
}

#[test]
fn item_out_of_sight_is_not_said_to_be_undone() {
    let mut server = greeted("other");
    let call = held(&mut server, 1, write(false));
    server.tick(at(50));
    let actions = server.answered(call, Answer::Refused(refusal(UNREACHABLE)), at(51));
    let result = message(&actions)["result"].clone();
    assert!(result.get("isError").is_none());
    assert_eq!(result["structuredContent"]["effect"], "unknown");
    assert_eq!(result["structuredContent"]["pendingId"], PEND);
    // While agents are paused it stays, and its caller learns that at once.
    let call = held(&mut server, 3, write(false));
    let actions = server.answered(call, Answer::Refused(refusal("paused")), at(52));
    let result = message(&actions)["result"].clone();
    assert_eq!(result["structuredContent"]["code"], "paused", "{result}");
    assert_eq!(result["isError"], true);
    waits(&mut server);
    // What never left is said to be undone.
    let call = number(&request(&mut server, 2, "tools/call", write(false), 60));
    let actions = server.answered(call, Answer::Refused(refusal(UNREACHABLE)), at(61));
    let result = message(&actions)["result"].clone();
    assert_eq!(result["structuredContent"]["effect"], "none");
    assert_eq!(result["isError"], true);
}

#[test]
fn approval_without_a_result_calls_once_more() {
    let mut server = greeted("claude-code");
    let call = held(&mut server, 1, write(false));
    let again = server.answered(call, Answer::Approved, at(2));
    assert!(matches!(&*again, [Action::Call(number, _)] if *number == call));
    let reply = message(&server.answered(call, Answer::GoesOn(item(PEND)), at(3)));
    assert_eq!(reply["result"]["structuredContent"]["effect"], "unknown");
}

#[test]
fn call_made_once_more_ends_its_item() {
    for (answer, status) in [
        (wrote(), "ended"),
        // The item outlives what keeps us from hearing of it.
        (Answer::Refused(refusal(UNREACHABLE)), "no_longer_waits"),
    ] {
        let mut server = greeted("claude-code");
        let call = held(&mut server, 1, write(false));
        server.answered(call, Answer::Approved, at(2));
        server.answered(call, answer, at(3));
        let listed = structured(&listed(&mut server, Vec::new()));
        assert_eq!(listed["waiting"][0]["status"], status, "{listed}");
    }
}

#[test]
fn look_at_an_approved_item_promises_nothing() {
    let mut server = greeted("other");
    let params = json!({"name": "plexus_wait", "arguments": {"pendingId": PEND, "seconds": 0}});
    let call = number(&request(&mut server, 1, "tools/call", params, 0));
    let reply = message(&server.answered(call, Answer::Approved, at(0)));
    assert_eq!(reply["result"]["structuredContent"]["effect"], "unknown");
    assert!(reply["result"].get("isError").is_none());
    let params = modern(json!({"taskId": PEND}), tasks());
    let call = number(&request(&mut server, 2, "tasks/get", params, 0));
    let task = message(&server.answered(call, Answer::Approved, at(0)))["result"].clone();
    assert_eq!(task["status"], "working");
}

#[test]
fn progress_rises_for_who_gave_a_token() {
    let mut server = greeted("claude-code");
    held(&mut server, 1, write(true));
    assert_eq!(server.next_tick(), Some(Duration::from_secs(10)));
    let first = message(&server.tick(at(10)));
    assert_eq!(
        first["params"],
        json!({"progressToken": "t1", "progress": 10, "message": "waiting for the owner, 10 s"})
    );
    assert!(server.tick(at(15)).is_empty());
    let later = message(&server.tick(at(125)));
    assert_eq!(later["params"]["progress"], 125);
    assert_eq!(later["params"]["message"], "waiting for the owner, 2 min");

    let mut silent = greeted("claude-code");
    number(&request(&mut silent, 1, "tools/call", write(false), 0));
    assert!(silent.tick(at(100)).is_empty());
}

#[test]
fn cancelled_call_never_withdraws_and_is_never_answered() {
    let mut server = greeted("x");
    let effect = number(&request(&mut server, 1, "tools/call", write(false), 0));
    assert!(cancel(&mut server, 1).is_empty(), "an effect goes on");
    assert!(server.answered(effect, wrote(), at(3)).is_empty());

    let held = held(&mut server, 2, write(false));
    assert_eq!(cancel(&mut server, 2), [Action::Drop(held)]);

    let read = json!({"name": "obsidian_vault_read", "arguments": {"path": "a"}});
    let read = number(&request(&mut server, 3, "tools/call", read, 0));
    assert_eq!(cancel(&mut server, 3), [Action::Drop(read)]);
    assert!(cancel(&mut server, 99).is_empty());
    // What was held is still known.
    waits(&mut server);
}

#[test]
fn item_of_a_call_cancelled_on_its_way_is_known() {
    let mut server = greeted("x");
    let call = number(&request(&mut server, 1, "tools/call", write(false), 0));
    assert!(cancel(&mut server, 1).is_empty());
    let silent = server.answered(call, Answer::GoesOn(item(PEND)), at(2));
    assert!(silent.is_empty(), "{silent:?}");
    waits(&mut server);
}

#[test]
fn item_that_only_the_gateway_knows_is_listed() {
    let mut server = greeted("x");
    listed(&mut server, vec![written()]);
    // Known from then on, and once.
    waits(&mut server);
    let list = number(&call(&mut server, 9, "plexus_wait", json!({})));
    // If the gateway is away, what is known here is more than nothing; what it does not name has been decided.
    let away = Answer::Refused(refusal("unreachable"));
    let told = structured(&server.answered(list, away, at(3)));
    assert_eq!(told["waiting"][0]["status"], "waiting_for_owner", "{told}");
    let told = structured(&listed(&mut server, Vec::new()));
    assert_eq!(told["waiting"][0]["status"], "no_longer_waits", "{told}");
}

#[test]
fn waiting_calls_of_one_tool_are_told_apart() {
    let mut server = greeted("x");
    let arguments = json!({"path": "a.md", "plexus_purpose": "the first"});
    let params = json!({"name": "workspace_write", "arguments": arguments});
    held(&mut server, 2, params);
    let other = Waiting {
        item: item("pend_00000000-0000-4000-8000-000000000001"),
        since: at(9).wall,
        ..written()
    };
    let hidden = Waiting {
        item: item("pend_00000000-0000-4000-8000-000000000002"),
        capability: "gone.write".parse().unwrap(),
        ..written()
    };
    let told = structured(&listed(&mut server, vec![written(), other, hidden]));
    for (place, member, said) in [
        (0, "purpose", json!("the first")),
        (1, "purpose", json!("to keep it")),
        (1, "since", json!(at(9).wall)),
        (2, "capability", json!("gone.write")),
    ] {
        assert_eq!(told["waiting"][place][member], said, "{told}");
    }
}

#[test]
fn call_that_was_given_up_is_listed_with_its_run() {
    let running = || Waiting {
        item: item(RUN),
        ..written()
    };
    let mut server = greeted("x");
    held(&mut server, 2, write(false));
    cancel(&mut server, 2);
    let told = structured(&listed(&mut server, vec![running()]));
    let known = json!([{"pendingId": PEND, "runId": RUN, "status": "running", "tool": "workspace_write",
        "since": at(1).wall}]);
    assert_eq!(told["waiting"], known);
    // Its client, or a program before it, gave it up: the gateway alone knows of it.
    let mut server = greeted("x");
    let told = structured(&listed(&mut server, vec![running()]));
    let unknown = json!([{"runId": RUN, "status": "running", "tool": "workspace_write",
        "purpose": "to keep it", "since": at(1).wall}]);
    assert_eq!(told["waiting"], unknown);
    // It ended, and nobody waited for it by its id.
    let told = structured(&listed(&mut server, Vec::new()));
    assert_eq!(told["waiting"][0]["status"], "ended", "{told}");
}

#[test]
fn list_holds_all_that_the_gateway_names() {
    let named = |kind: &str, number: usize| Waiting {
        item: item(&format!("{kind}_00000000-0000-4000-8000-{number:012}")),
        ..written()
    };
    let requests = (0..64).map(|number| named("pend", number));
    let runs = (64..72).map(|number| named("run", number));
    let mut server = greeted("x");
    let all = || requests.clone().chain(runs.clone()).collect::<Vec<_>>();
    for said in [runs.clone().collect(), all(), all()] {
        let told = structured(&listed(&mut server, said.clone()));
        let waiting = told["waiting"].as_array().expect("a list");
        assert_eq!(waiting.len(), said.len(), "{told}");
        let over = |one: &&Value| one["status"] == "no_longer_waits" || one["status"] == "ended";
        assert_eq!(waiting.iter().filter(over).count(), 0, "{told}");
    }
}

#[test]
fn wait_follows_an_item_within_its_seconds() {
    let mut server = greeted("codex-mcp-client");
    let params = json!({"name": "plexus_wait", "arguments": {"pendingId": PEND, "seconds": 20}});
    let wait = request(&mut server, 1, "tools/call", params, 0);
    let call = number(&wait);
    assert_eq!(wait, [Action::Follow(call, item(PEND))]);
    assert_eq!(server.next_tick(), Some(Duration::from_secs(20)));
    let reply = message(&server.answered(call, wrote(), at(5)));
    assert_eq!(reply["result"]["structuredContent"]["ok"], true);

    let params = json!({"name": "plexus_wait", "arguments": {"runId": RUN, "seconds": 0}});
    let wait = request(&mut server, 2, "tools/call", params, 0);
    let call = number(&wait);
    assert_eq!(wait, [Action::Look(call, item(RUN))]);
    let reply = message(&server.answered(call, Answer::GoesOn(item(RUN)), at(0)));
    assert_eq!(reply["result"]["structuredContent"]["status"], "running");
    let params = json!({"name": "plexus_wait", "arguments": {"pendingId": PEND}});
    let call = number(&request(&mut server, 3, "tools/call", params, 0));
    let reply = message(&server.answered(call, Answer::Unknown, at(0)));
    assert_eq!(reply["result"]["isError"], true);
    let lists = json!({"tool": "plexus_wait", "arguments": {}});
    assert_eq!(reply["result"]["structuredContent"]["nextCall"], lists);
}

#[test]
fn answer_names_the_tool_of_an_unknown_item() {
    let mut manifest = manifest();
    let output = json!({"properties": {"text": {}, "structured": {}, "images": {}}});
    entries(&mut manifest).push(
        json!({"id": "lent.get", "source": "lent", "kind": "capability",
        "provenance": "extension", "grants": ["execute"], "io": {"output": output}}),
    );
    let mut server = Server::new("1.2.3", viewed(&manifest));
    greet(&mut server, "plain");
    let mut told = |name: &str, more: Value| {
        let wait = number(&call(
            &mut server,
            1,
            "plexus_wait",
            json!({"pendingId": PEND}),
        ));
        let mut reply = json!({"id": name, "ok": true, "auditId": "evt_1"});
        for (member, value) in more.as_object().unwrap() {
            reply[member] = value.clone();
        }
        message(&server.answered(wait, Answer::Replied(reply), at(1)))["result"].take()
    };
    let done = told("workspace.write", json!({"output": {}, "undo": "evt_9"}));
    let undo = json!({"tool": "workspace_undo", "arguments": {"id": "evt_9"}});
    assert_eq!(done["structuredContent"]["undo"], undo);
    let lent = told("lent.get", json!({"output": {"text": "one is one"}}));
    assert_eq!(lent["content"][0]["text"], "one is one", "{lent}");
    assert!(lent.get("structuredContent").is_none(), "{lent}");
    // The control: a capability that this agent sees no more.
    let gone = told("gone.write", json!({"output": {}, "undo": "evt_9"}));
    assert_eq!(gone["structuredContent"]["undo"], json!({"id": "evt_9"}));
}

#[test]
fn awaited_item_is_listed_with_its_tool() {
    let mut server = greeted("plain");
    let arguments = json!({"pendingId": PEND, "seconds": 0});
    let look = number(&call(&mut server, 1, "plexus_wait", arguments));
    server.answered(look, Answer::GoesOn(item(PEND)), at(1));
    waits(&mut server);
}

#[test]
fn client_with_tasks_gets_a_task_from_pending_to_completed() {
    let mut server = server();
    let params = modern(write(false), tasks());
    let call = number(&request(&mut server, 1, "tools/call", params, 0));
    let task = message(&server.answered(call, Answer::GoesOn(item(PEND)), at(1)))["result"].clone();
    assert_eq!(task["resultType"], "task");
    assert_eq!(task["taskId"], PEND);
    assert_eq!(task["status"], "working");
    assert_eq!(server.next_tick(), None, "nothing is held");

    let get = |server: &mut Server, id: u64, answer: Answer| {
        let params = modern(json!({"taskId": PEND}), tasks());
        let look = request(server, id, "tasks/get", params, 5);
        let call = number(&look);
        assert_eq!(look, [Action::Look(call, item(PEND))]);
        message(&server.answered(call, answer, at(6)))
    };
    let working = get(&mut server, 2, Answer::GoesOn(item(PEND)))["result"].clone();
    assert_eq!(working["resultType"], "complete");
    assert_eq!(working["createdAt"], task["createdAt"]);
    let away = get(&mut server, 3, Answer::Refused(refusal("unreachable")))["result"].clone();
    assert_eq!(away["status"], "working");
    let paused = get(&mut server, 8, Answer::Refused(refusal("paused")))["result"].clone();
    assert_eq!(paused["status"], "working");
    assert_eq!(paused["statusMessage"], "because");
    let done = get(&mut server, 4, wrote())["result"].clone();
    assert_eq!(done["status"], "completed");
    assert_eq!(done["result"]["structuredContent"]["output"]["bytes"], 3);
    let denied = get(&mut server, 5, Answer::Refused(refusal("denied_by_owner")))["result"].clone();
    assert_eq!(denied["status"], "completed");
    assert_eq!(denied["result"]["isError"], true);
    let lapsed = get(&mut server, 6, Answer::Lapsed(refusal("expired")))["result"].clone();
    assert_eq!(lapsed["status"], "cancelled");
    let nobody = get(&mut server, 7, Answer::Unknown);
    assert_eq!(nobody["error"]["code"], message::INVALID_PARAMS);
}

#[test]
fn client_without_tasks_is_never_given_one() {
    let mut server = server();
    let params = modern(write(false), json!({"elicitation": {}}));
    let call = number(&request(&mut server, 1, "tools/call", params, 0));
    let actions = server.answered(call, Answer::GoesOn(item(PEND)), at(1));
    assert_eq!(actions, [Action::Follow(call, item(PEND))]);
    assert_eq!(server.next_tick(), Some(Duration::from_secs(600))); // Claude Code's.
}

#[test]
fn changed_list_is_told_and_same_one_is_not() {
    let mut server = greeted("x");
    let listen = modern(
        json!({"notifications": {"toolsListChanged": true, "promptsListChanged": true}}),
        json!({}),
    );
    let acknowledged = ask(&mut server, 5, "subscriptions/listen", listen);
    assert_eq!(
        acknowledged["params"],
        json!({"_meta": {SUBSCRIPTION_KEY: 5}, "notifications": {"toolsListChanged": true}})
    );
    assert!(server.show(view()).is_empty());
    let mut fewer = manifest();
    entries(&mut fewer).pop();
    let told = server.show(viewed(&fewer));
    let told: Vec<Value> = told.chunks(1).map(message).collect();
    assert_eq!(
        told,
        [
            json!({"jsonrpc": "2.0", "method": LIST_CHANGED}),
            json!({"jsonrpc": "2.0", "method": LIST_CHANGED, "params": {"_meta": {SUBSCRIPTION_KEY: 5}}})
        ]
    );
    cancel(&mut server, 5);
    assert_eq!(server.show(view()).len(), 1);
}

#[test]
fn view_without_manifest_offers_the_setup_tool() {
    let mut server = Server::new("1", View::without_manifest(refusal("not_enrolled")));
    let hello = json!({"protocolVersion": "2025-06-18"});
    ask(&mut server, 0, "initialize", hello);
    let tools = ask(&mut server, 1, "tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(tools.as_array().map(Vec::len), Some(1));
    let said = tools[0]["description"].as_str().unwrap();
    assert!(said.contains("stop; tell the owner: so"), "{said}");
    let setup = structured(&call(&mut server, 2, "plexus_setup", json!({})));
    assert_eq!(setup["code"], "not_enrolled");
    // A line of the command is in the words of tools here too.
    let ended = Refusal {
        next: "run the same command again".into(),
        action: Some(plexus_protocol::NextAction::new(
            plexus_protocol::NextKind::Ask,
        )),
        ..refusal("session_expired")
    };
    let list = View::without_manifest(ended).list;
    assert!(list.contains("make the same call again"), "{list}");
    assert!(!list.contains("command"), "{list}");
    fails(
        &mut server,
        "tools/call",
        json!({"name": "plexus_wait"}),
        message::INVALID_PARAMS,
    );
}

#[test]
fn calls_at_once_are_bounded() {
    let mut server = greeted("x");
    for id in 1..=MAX_FLIGHTS as u64 {
        number(&request(&mut server, id, "tools/call", write(false), 0));
    }
    let reply = ask(&mut server, 500, "tools/call", write(false));
    assert_eq!(reply["result"]["structuredContent"]["code"], "busy");
}

#[test]
fn only_a_long_text_is_cut_and_continued() {
    let read = |content: String| {
        let mut server = greeted("claude-code");
        let params = json!({"name": "obsidian_vault_read", "arguments": {"path": "a.md"}});
        let number = number(&request(&mut server, 1, "tools/call", params, 0));
        let output = json!({"bytes": content.len(), "content": content});
        let reply = json!({"ok": true, "output": output, "auditId": "evt_1"});
        let answer = message(&server.answered(number, Answer::Replied(reply), at(1)));
        let content = answer["result"]["content"].clone();
        let text = content[0]["text"].as_str().unwrap().len();
        let rest: Value = serde_json::from_str(content[1]["text"].as_str().unwrap()).unwrap();
        (text, rest["output"]["next"].clone())
    };
    assert_eq!(read("line\n".to_owned()), (5, Value::Null));
    let (shown, next) = read("line\n".repeat(20_000));
    assert!((40_000..=MAX_OUTPUT).contains(&shown), "{shown}");
    assert_eq!(next["offset"], shown);
}

#[test]
fn approval_and_last_words_are_told_as_progress() {
    let mut server = greeted("claude-code");
    let call = held(&mut server, 1, write(true));
    let told = |server: &mut Server, seconds| message(&server.tick(at(seconds)))["params"].clone();
    server.hear(call, CallNews::Approved);
    assert_eq!(server.next_tick(), Some(Duration::from_secs(1)));
    assert_eq!(
        told(&mut server, 2)["message"],
        "approved, and under way, 2 s"
    );
    server.hear(call, CallNews::Text("I look at it.\nThen".into()));
    server.hear(
        call,
        CallNews::Event(json!({"kind": "command", "command": "ls"})),
    );
    // No more often than once a second, and a tick that comes too early loses nothing.
    assert!(server.tick(at(2)).is_empty());
    let next = told(&mut server, 3);
    assert_eq!(next["message"], "approved, and under way, 3 s: $ ls");
    assert_eq!(next["progress"], 3);
    // Nothing new: as seldom as before.
    assert_eq!(server.next_tick(), Some(Duration::from_secs(13)));
    // What outlasts its client's patience is not told as waiting.
    server.tick(at(10_000));
    let goes_on = server.answered(call, Answer::UnderWay(item(PEND)), at(10_001));
    let result = message(&goes_on)["result"].take();
    assert_eq!(result["structuredContent"]["status"], "running", "{result}");
    assert_eq!(result["structuredContent"]["effect"], "unknown", "{result}");
}

#[test]
fn model_says_why_beside_the_input() {
    let mut server = greeted("plain");
    let listed = ask(&mut server, 1, "tools/list", json!({}));
    let tools = listed["result"]["tools"].as_array().unwrap();
    let why = |name: &str| {
        let tool = tools.iter().find(|tool| tool["name"] == name).unwrap();
        tool["inputSchema"]["properties"]["plexus_purpose"]["maxLength"] == 280
    };
    assert!(why("workspace_write") && !why("obsidian_vault_read"));
    let arguments = json!({"path": "a.md", "plexus_purpose": "to keep it"});
    let actions = call(&mut server, 2, "workspace_write", arguments);
    let (_, made) = begun(&actions);
    assert_eq!(made.purpose.as_deref(), Some("to keep it"));
    assert_eq!(json!(made.input), json!({"path": "a.md"}));
    let wrong = json!({"plexus_purpose": 1});
    let wrong = structured(&call(&mut server, 3, "workspace_write", wrong));
    assert_eq!(wrong["code"], "bad_arguments");
}

#[test]
fn request_under_an_earlier_id_is_the_earlier_call() {
    let mut server = greeted("plain");
    let a = || json!({"path": "a.md"});
    let first = number(&call(&mut server, 1, "workspace_write", a()));
    server.answered(first, wrote(), at(1));
    let again = call(&mut server, 1, "workspace_write", a());
    let told = structured(&again);
    assert_eq!(told["replayed"], true);
    assert_eq!(told["auditId"], "evt_1");
    assert!(told["note"].as_str().unwrap().contains("again"), "{told}");
    for (id, path) in [(1, "b.md"), (2, "a.md")] {
        let other = call(&mut server, id, "workspace_write", json!({"path": path}));
        assert!(
            matches!(other[..], [Action::Call(..)]),
            "{id} {path}: {other:?}"
        );
    }
    // Reads are made again, and another server knows nothing of it.
    let read = number(&call(&mut server, 3, "obsidian_vault_read", a()));
    server.answered(read, Answer::Replied(json!({"ok": true})), at(2));
    let again = call(&mut server, 3, "obsidian_vault_read", a());
    assert!(matches!(again[..], [Action::Call(..)]), "{again:?}");
    let mut stateless = Server::stateless("1", view(), "plain");
    let first = number(&call(&mut stateless, 1, "workspace_write", a()));
    stateless.answered(first, wrote(), at(1));
    let again = call(&mut stateless, 1, "workspace_write", a());
    assert!(matches!(again[..], [Action::Call(..)]), "{again:?}");
}
