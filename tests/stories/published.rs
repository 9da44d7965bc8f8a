//! The published protocol (`docs/protocol`): its routes are those of the routers, and each answer that it has
//! is met and fits its schema.
//!
//! `openapi.json` is written by hand as to purposes, requests, answers and schemas. The list of its operations, the
//! parameters in paths, the credential of the owner's routes and the codes are generated: `PLEXUS_UPDATE_GOLDENS=1`.

mod owner;

use crate::credentials::OPEN;
use crate::house::{House, READ, WRITE, nobody, note, tips};
use plexus_protocol::ErrorCode;
use plexus_tests::{Client, golden, routes};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const DOCUMENT: &str = "docs/protocol/openapi.json";

fn text_of(file: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(file)).expect("a file of the workspace")
}

fn document() -> Value {
    serde_json::from_str(&text_of(DOCUMENT)).expect("JSON")
}

/// One operation, of its part by hand and what follows from its route.
fn operation(tag: &str, method: &str, path: &str, by_hand: &Value) -> Value {
    let summary = by_hand["summary"].as_str().unwrap_or_default();
    assert!(
        !summary.is_empty(),
        "{DOCUMENT}: give {method} {path} a `summary` that says what it is for, then set PLEXUS_UPDATE_GOLDENS=1"
    );
    let mut made = Map::new();
    made.insert("tags".into(), json!([tag]));
    let written = by_hand.as_object().into_iter().flatten();
    let written = written.filter(|(name, _)| *name != "tags");
    made.extend(written.map(|(name, value)| (name.clone(), value.clone())));
    if tag == "owner" && !made.contains_key("security") {
        made.insert("security".into(), json!([{"connectionKey": []}]));
    }
    let responses = made.entry("responses").or_insert_with(|| json!({}));
    let refused = json!({"$ref": "#/components/responses/Refused"});
    if let Some(responses) = responses.as_object_mut() {
        responses.entry("default").or_insert(refused);
    }
    Value::Object(made)
}

/// The names in braces, as parameters.
fn parameters(path: &str) -> Vec<Value> {
    let names = path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}'));
    names
        .map(|(name, _)| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect()
}

#[test]
fn published_routes_are_those_of_the_routers() {
    let kept = document();
    let agents = routes::of_agents()
        .into_iter()
        .map(|route| ("agents", route));
    let owners = routes::of_owner(&["/admin/api"]);
    let owners = owners.into_iter().chain(routes::of_integration());
    let all: Vec<_> = agents.chain(owners.map(|route| ("owner", route))).collect();
    assert!(all.len() > 90, "only {all:#?}");
    let mut paths = Map::new();
    for (tag, (method, path)) in &all {
        let word = method.to_lowercase();
        let of_path = paths.entry(path.clone()).or_insert_with(|| {
            let mut parameters = parameters(path);
            // Those by hand that every method of the path takes.
            let by_hand = kept["paths"][path]["parameters"].as_array();
            let queries = by_hand
                .into_iter()
                .flatten()
                .filter(|one| one["in"] != "path");
            parameters.extend(queries.cloned());
            match parameters.is_empty() {
                true => json!({}),
                false => json!({"parameters": parameters}),
            }
        });
        of_path[&word] = operation(tag, method, path, &kept["paths"][path][&word]);
        let open = of_path[&word]["security"] == json!([]);
        let is_script = path.starts_with("/integration/") && path.matches('/').count() > 2;
        let meant = OPEN.contains(&(method, path.as_str())) || is_script;
        assert!(
            *tag == "agents" || open == meant,
            "{method} {path}: which credential does it want?"
        );
    }
    let mut made = kept;
    made["paths"] = Value::Object(paths);
    made["components"]["schemas"]["ErrorCode"]["enum"] = json!(ErrorCode::ALL);
    golden::check_file(DOCUMENT, &format!("{made:#}\n"));

    let row = |(tag, (method, path)): &(&str, routes::Route)| {
        let operation = &made["paths"][path][method.to_lowercase()];
        let open = match operation["security"] == json!([]) {
            true => " (no key)",
            false => "",
        };
        let summary = operation["summary"].as_str().unwrap_or_default();
        (*tag == "owner").then(|| format!("| `{method} {path}` | {summary}{open} |"))
    };
    let rows: Vec<String> = all.iter().filter_map(row).collect();
    let table = format!("| route | purpose |\n|---|---|\n{}", rows.join("\n"));
    golden::check_section("docs/protocol/owner.md", "routes", &table);
}

/// The table of codes has the words of the one table in the code.
#[test]
fn published_codes_are_those_of_the_code() {
    let source = text_of("gateway/protocol/src/error.rs");
    let mut meaning = "";
    let mut rows: Vec<String> = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            meaning = words;
        } else if let Some((word, status)) = line
            .split_once(" = \"")
            .and_then(|(_, rest)| rest.strip_suffix(';')?.split_once("\", "))
        {
            rows.push(format!("| `{word}` | {status} | {meaning} |"));
        }
    }
    assert_eq!(rows.len(), ErrorCode::ALL.len());
    rows.sort();
    let table = format!(
        "| code | status | meaning |\n|---|---|---|\n{}",
        rows.join("\n")
    );
    golden::check_section("docs/protocol/errors.md", "codes", &table);
}

/// The document with every schema closed: a field that is not published is found.
struct Published {
    document: Value,
    seen: BTreeSet<String>,
}

fn close(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("properties").is_some_and(Value::is_object)
                && members.get("type") == Some(&json!("object"))
            {
                members
                    .entry("additionalProperties")
                    .or_insert(json!(false));
            }
            members.values_mut().for_each(close);
        }
        Value::Array(members) => members.iter_mut().for_each(close),
        _ => {}
    }
}

impl Published {
    fn read() -> Self {
        let mut document = document();
        close(&mut document);
        Self {
            document,
            seen: BTreeSet::new(),
        }
    }

    #[track_caller]
    fn fits(&self, schema: &Value, value: &Value, about: &str) {
        let mut schema = schema.clone();
        assert!(schema.is_object(), "{about}: no schema is published");
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::validator_for(&schema).expect("a JSON Schema");
        let wrong: Vec<String> = validator
            .iter_errors(value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{about}: {wrong:#?} in {value:#}");
    }

    /// The published path that a path is one of.
    #[track_caller]
    fn route(&self, path: &str) -> String {
        let path = path.split('?').next().unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        let fits = |route: &&String| {
            let names: Vec<&str> = route.split('/').collect();
            let same = |(name, part): (&&str, &&str)| name == part || name.starts_with('{');
            names.len() == parts.len() && names.iter().zip(&parts).all(same)
        };
        let paths = self.document["paths"].as_object().expect("paths");
        // One without a name in it comes first.
        let found = paths
            .keys()
            .filter(fits)
            .min_by_key(|route| route.matches('{').count());
        let Some(found) = found else {
            panic!("{path} is not published");
        };
        found.clone()
    }

    /// Sends a request that fits its schema, and holds the answer against its own.
    #[track_caller]
    fn send(&mut self, client: &Client, method: &str, path: &str, body: &Value) -> Value {
        let route = &self.route(path);
        let operation = self.document["paths"][route][method.to_lowercase()].clone();
        assert!(operation.is_object(), "{method} {route} is not published");
        let mut request = client.request(method, path);
        if !body.is_null() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            self.fits(schema, body, &format!("the body of {method} {route}"));
            request = request.json(body.clone());
        }
        let response = request.send();
        let status = response.status.to_string();
        let responses = &operation["responses"];
        let described = responses.get(&status).unwrap_or(&responses["default"]);
        let described = match described["$ref"].as_str() {
            Some(_) => &self.document["components"]["responses"]["Refused"],
            None => described,
        };
        let schema = &described["content"]["application/json"]["schema"];
        let answer = response.json();
        self.fits(schema, &answer, &format!("{method} {route} {status}"));
        self.seen.insert(format!("{method} {route} {status}"));
        answer
    }

    /// Holds that each answer in JSON that these routes publish was met, but for those that begin as one of `elsewhere`;
    /// and that the list of those names none that was met.
    fn all_met(&self, routes: &[routes::Route], elsewhere: &[&str]) {
        let mut missing = Vec::new();
        for (method, path) in routes {
            let responses = &self.document["paths"][path][method.to_lowercase()]["responses"];
            for (status, described) in responses.as_object().expect("responses") {
                let met = format!("{method} {path} {status}");
                let is_json = described["content"]["application/json"].is_object();
                let excused = elsewhere.iter().any(|other| met.starts_with(other));
                match self.seen.contains(&met) {
                    true => assert!(!excused, "{met} was met: take it off the list"),
                    false if is_json && status != "default" && !excused => missing.push(met),
                    false => {}
                }
            }
        }
        assert!(missing.is_empty(), "not met: {missing:#?}");
    }
}

/// Answers that the first story does not meet: of streams, and of a conversation, which has a story of its own.
const ELSEWHERE: [&str; 3] = [
    "POST /mcp 200",
    "POST /invoke/input 200",
    "DELETE /extensions/{source} 200",
];

#[test]
fn answers_fit_the_published_schemas() {
    let house = House::open();
    let owner = house.owner();
    let anyone = house.gateway.client();
    let mut published = Published::read();
    let none = Value::Null;
    published.send(&anyone, "GET", "/", &none);
    published.send(&anyone, "GET", "/.well-known/plexus", &none);
    let connected = owner.connect("agent", &[READ, "obsidian.vault.read"]);
    let wrong = json!({"code": "plx_enroll_wrong"});
    published.send(&anyone, "POST", "/agents/enroll", &wrong);
    let code = json!({"code": connected["code"]});
    let enrolled = published.send(&anyone, "POST", "/agents/enroll", &code);
    let bearing = |token: &Value| {
        let token = token.as_str().expect("a token");
        anyone.with("authorization", &format!("Bearer {token}"))
    };
    let no_version = json!({"id": 1, "method": "ping"});
    let pat = bearing(&enrolled["pat"]);
    let refused = published.send(&pat, "POST", "/mcp", &no_version);
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    let hello = json!({"client": {"name": "story", "version": "1"}});
    published.send(&anyone, "POST", "/link/handshake", &hello);
    let opened = published.send(
        &bearing(&enrolled["pat"]),
        "POST",
        "/link/handshake",
        &hello,
    );
    let session = opened["sessionId"].as_str().expect("a session").to_owned();
    let agent = anyone.with("x-plexus-session", &session);
    published.send(&agent, "GET", "/manifest", &none);
    published.send(&anyone, "GET", "/manifest", &none);
    let found = published.send(&agent, "GET", "/capabilities?q=note&limit=2", &none);
    assert_eq!(found["capabilities"][0]["source"], "obsidian", "{found}");
    published.send(&agent, "GET", "/grants", &none);
    published.send(&agent, "GET", "/grants/context?bundle=bnd_x", &none);

    // All is declined: the published document says so too where unknown fields are let through.
    let wish = json!({"grants": {"no.such": {"decision": "allow"}}});
    let declined = published.send(&agent, "PUT", "/grants", &wish);
    let open = Published {
        document: document(),
        seen: BTreeSet::new(),
    };
    let answers = &open.document["paths"]["/grants"]["put"]["responses"]["200"];
    let answer = &answers["content"]["application/json"]["schema"];
    open.fits(answer, &declined, "all is declined");

    // A token, and what it opens.
    let wish = json!({"grants": {READ: "allow", "no.such": {"decision": "allow"}}});
    let token = published.send(&agent, "PUT", "/grants", &wish);
    let call = json!({"id": READ, "input": {"path": "report.txt"}});
    let answer = published.send(&bearing(&token["token"]), "POST", "/invoke", &call);
    assert_eq!(answer["ok"], true, "{answer}");
    published.send(&anyone, "POST", "/invoke", &call);
    let elsewhere = agent.with("origin", "http://elsewhere.example");
    published.send(&elsewhere, "POST", "/invoke", &call);
    let answer = published.send(&agent, "POST", "/invoke", &call);
    assert!(answer["grant"].is_object(), "{answer}");
    let again = json!({"sessionId": session, "jti": token["jti"]});
    let fresh = published.send(&bearing(&token["token"]), "POST", "/grants/refresh", &again);
    let gone = json!({"jti": fresh["jti"], "reason": "done"});
    published.send(&bearing(&fresh["token"]), "POST", "/grants/revoke", &gone);
    published.send(&bearing(&fresh["token"]), "POST", "/invoke", &call);
    let stranger = json!({"jti": nobody("tok_")});
    published.send(&owner.client, "POST", "/grants/revoke", &stranger);

    // An extension that waits, and one that says nothing.
    let proposed = json!({"manifest": tips(), "purpose": "a story"});
    let waits = published.send(&agent, "POST", "/extensions", &proposed);
    assert_eq!(waits["status"], "grant_pending_user", "{waits}");
    let withdrawn = json!({"pendingId": waits["pendingId"]});
    published.send(&agent, "POST", "/grants/cancel", &withdrawn);
    let refused = published.send(&agent, "POST", "/extensions", &json!({"manifest": {}}));
    assert_eq!(refused["ok"], false, "{refused}");

    // A run.
    let run =
        json!({"id": READ, "input": {"path": "report.txt"}, "async": true, "idempotencyKey": "k"});
    let accepted = published.send(&agent, "POST", "/invoke", &run);
    let id = accepted["run"]["runId"].as_str().expect("a run");
    let status = format!("/invoke/status?runId={id}&wait=60&after=0");
    let ended = published.send(&agent, "GET", &status, &none);
    assert_eq!(ended["result"]["ok"], true, "{ended}");
    published.send(&agent, "POST", "/invoke/cancel", &json!({"runId": id}));
    published.send(&agent, "GET", "/invoke/status?runId=run_x", &none);
    let unknown = json!({"runId": nobody("run_"), "messageId": "m", "text": "More."});
    published.send(&agent, "POST", "/invoke/input", &unknown);

    // Requests: approved and made, denied, withdrawn.
    let input = note("published.txt", "hello");
    let wish = json!({
        "grants": {WRITE: {"decision": "allow", "purpose": "a story", "trustWindow": {"kind": "once"}}, READ: "allow"},
        "intents": {WRITE: {"input": input}},
        "onApproval": "run",
    });
    let pending = published.send(&agent, "PUT", "/grants", &wish);
    let item = pending["pendingId"].as_str().expect("an item");
    let status = |item: &str| format!("/grants/status?pendingId={item}&wait=60");
    published.send(
        &agent,
        "GET",
        status(item).trim_end_matches("&wait=60"),
        &none,
    );
    owner.approve(item, "once");
    let done = published.send(&agent, "GET", &status(item), &none);
    assert_eq!(done["result"]["ok"], true, "{done}");
    let asked =
        json!({"id": WRITE, "input": note("no.txt", "no"), "purpose": "a story", "token": false});
    let refused = published.send(&agent, "POST", "/invoke", &asked);
    let item = refused["error"]["pendingId"].as_str().expect("an item");
    owner.deny(item, "not today");
    let denied = published.send(&agent, "GET", &status(item), &none);
    assert_eq!(denied["reason"], "not today");
    published.send(&agent, "POST", "/invoke", &asked);
    let asked = json!({"id": WRITE, "input": note("maybe.txt", "maybe")});
    let refused = published.send(&agent, "POST", "/invoke", &asked);
    let item = json!({"pendingId": refused["error"]["pendingId"]});
    published.send(&agent, "POST", "/grants/cancel", &item);
    published.send(&anyone, "GET", "/grants/status?pendingId=pend_x", &none);

    // The owner's nameless session is granted nothing.
    let key = json!({"connectionKey": house.gateway.key()});
    let opened = published.send(&anyone, "POST", "/link/handshake", &key);
    let wish = json!({"sessionId": opened["sessionId"], "grants": {READ: "allow"}});
    let nothing = published.send(&anyone, "PUT", "/grants", &wish);
    assert_eq!(nothing["scopes"], json!([]));

    published.all_met(&routes::of_agents(), &ELSEWHERE);
}

/// A conversation is with a coding agent.
#[test]
#[cfg(target_os = "linux")]
fn answers_of_a_conversation_fit() {
    use crate::coding_agents::{CODEX, Desk};
    use plexus_tests::{Step, waiting::until};
    let desk = Desk::open(CODEX, [Step::say("Remembered.")]);
    let mut published = Published::read();
    let (agent, none) = (desk.agent.client(), Value::Null);
    published.send(&agent, "GET", "/manifest", &none);
    let input = json!({"prompt": "Remember the word heron."});
    let call = json!({"id": desk.kind.of("chat"), "input": input, "onApproval": "run"});
    let refused = published.send(&agent, "POST", "/invoke", &call);
    let item = refused["error"]["pendingId"].as_str().expect("an item");
    desk.owner().approve(item, "once");
    let status = format!("/grants/status?pendingId={item}&wait=60");
    let done = published.send(&agent, "GET", &status, &none);
    desk.model.then([Step::say("The word is heron.")]);
    let run = &done["result"]["conversation"]["runId"];
    let message = json!({"runId": run, "messageId": "m2", "text": "Which word?"});
    let taken = published.send(&agent, "POST", "/invoke/input", &message);
    let run = taken["run"]["runId"].as_str().expect("a run");
    let status = format!("/invoke/status?runId={run}&wait=60&after=0");
    let ended = until("the end of the turn", || {
        let status = published.send(&agent, "GET", &status, &none);
        (status["status"] != "running").then_some(status)
    });
    assert_eq!(ended["result"]["ok"], true, "{ended}");
}

/// The control: an answer with a field more, and one with a field less, do not fit.
#[test]
#[should_panic(expected = "Additional properties are not allowed")]
fn unpublished_field_is_found() {
    let published = Published::read();
    let schema = json!({"$ref": "#/components/schemas/Enrolled"});
    published.fits(&schema, &json!({"pat": "p", "agentId": "a"}), "a good one");
    published.fits(
        &schema,
        &json!({"pat": "p", "agentId": "a", "more": 1}),
        "it",
    );
}

/// By a validator of others; it says no to a document without a list of paths.
#[test]
fn openapi_document_is_valid() {
    let folder = plexus_tests::Folder::empty();
    let validate = |text: String| {
        folder.write("document.json", text);
        let mut checker = plexus_tests::coding_agents::protocol_checker("openapi", &folder.path());
        let checked = checker.arg(folder.path().join("document.json")).output();
        let checked = checked.expect("node runs");
        (checked.status.success(), format!("{checked:?}"))
    };
    let text = text_of(DOCUMENT);
    let (is_valid, said) = validate(text.clone());
    assert!(is_valid, "{said}");
    let (is_valid, said) = validate(text.replace("\"paths\"", "\"ways\""));
    assert!(!is_valid, "the control: {said}");
}
