//! An agent that may see more than a hundred capabilities: it finds them by a query, over HTTP, by its command and by MCP.

use crate::house::{House, Workshop};
use crate::{mcp, mcp_http::Plain};
use plexus_tests::texts::assert_like;
use plexus_tests::{
    Agent, Folder, McpClient, programs,
    waiting::{until, until_true},
};
use serde_json::{Value, json};

/// Sources of the library.
const SHELVES: usize = 8;
/// Its tools that are listed whatever the agent did.
const OWN: [&str; 6] = [
    "plexus_wait",
    "plexus_guide",
    "plexus_search",
    "plexus_describe",
    "plexus_read",
    "plexus_call",
];

/// A gateway with more capabilities than are listed, and an agent with a grant on one.
struct Library {
    workshop: Workshop,
    folders: Vec<Folder>,
    agent: Agent,
}

impl Library {
    fn open() -> Self {
        let workshop = Workshop::open();
        let folders: Vec<Folder> = (0..SHELVES).map(|_| Folder::empty()).collect();
        for (at, folder) in folders.iter().enumerate() {
            folder.write("state", "0");
            let source = json!({"id": format!("shelf-{at}"), "kind": "fixture-dir", "label": "Shelf",
                "route": {"path": folder.path()}});
            let sources = workshop.owner().client;
            sources.post("/admin/api/sources", source).expect_ok();
        }
        let agent = workshop.gateway.agent_with("reader", &["shelf-0.echo"]);
        assert!(agent.sees().len() > 100);
        Self {
            workshop,
            folders,
            agent,
        }
    }

    fn stdio(&self) -> McpClient {
        let server = mcp::server(&self.workshop.gateway, &self.agent);
        McpClient::greeted(server, "claude-code")
    }

    fn http(&self) -> Plain {
        Plain::at(&self.workshop.gateway, &self.agent)
    }
}

fn ids(found: &Value) -> Vec<&str> {
    let found = found.as_array().expect("a list").iter();
    found
        .map(|one| one["id"].as_str().expect("an id"))
        .collect()
}

/// What it finds and calls by either way of speaking MCP.
fn finds_and_reads(
    library: &Library,
    names: &[String],
    mut call: impl FnMut(&str, Value) -> Value,
) {
    assert_eq!(names[..OWN.len()], OWN);
    assert_eq!(
        names[OWN.len()..],
        ["shelf-0_echo"],
        "what it holds a grant on"
    );
    let found = call("plexus_search", json!({"query": "shelf-3 append line"}));
    let first = &found["structuredContent"]["found"][0];
    let like = json!({"id": "shelf-3.count", "call": "plexus_call"});
    assert_like(first, &like);
    assert_eq!(first["inputSchema"]["required"], json!(["line"]), "{found}");

    let text = json!({"text": "by id"});
    let by_id = call(
        "plexus_read",
        json!({"id": "shelf-0.echo", "arguments": text}),
    );
    assert_eq!(by_id["structuredContent"]["ok"], true, "{by_id}");
    let own = call("shelf-0_echo", text);
    assert_eq!(
        by_id["structuredContent"]["output"],
        own["structuredContent"]["output"]
    );
    let event = library
        .workshop
        .owner()
        .audited(|event| event["id"] == by_id["structuredContent"]["auditId"]);
    let like = json!({"agentId": "reader", "capabilityId": "shelf-0.echo"});
    assert_like(&event, &like);
    // The refusals are those of the capability.
    for (tool, id, arguments, code) in [
        (
            "plexus_read",
            "shelf-0.echo",
            json!({"text": 7}),
            "schema_validation_failed",
        ),
        (
            "plexus_read",
            "shelf-3.count",
            json!({"line": "a"}),
            "bad_arguments",
        ),
        ("plexus_call", "nobody.there", json!({}), "bad_arguments"),
    ] {
        let refused = call(tool, json!({"id": id, "arguments": arguments}));
        let why = &refused["structuredContent"];
        assert_like(why, &json!({"code": code, "effect": "none"}));
    }
    assert!(!library.folders[3].has("effects.log"));
}

#[test]
fn stdio_client_finds_and_calls_what_is_not_listed() {
    let library = Library::open();
    let mut client = library.stdio();
    let names = until("the list", || {
        let names = client.names();
        names.contains(&"plexus_search".to_owned()).then_some(names)
    });
    finds_and_reads(&library, &names, |tool, arguments| {
        client.call(tool, arguments)
    });

    let arguments = json!({"id": "shelf-3.count", "arguments": {"line": "once"}});
    let params = json!({"name": "plexus_call", "arguments": arguments});
    let held = client.send("tools/call", params);
    let owner = library.workshop.owner();
    owner.approve(&owner.waiting(), "once");
    let done = client.reply(held)["result"].clone();
    assert_eq!(done["structuredContent"]["ok"], true, "{done}");
    assert!(library.folders[3].read("effects.log").ends_with("once\n"));

    // A client that starts now is shown what was called lately.
    let mut later = library.stdio();
    until_true("the newest list", || {
        let names = later.names();
        names.contains(&"shelf-3_count".to_owned())
    });
    // The owner hides it: it is neither found nor called.
    owner.expose("shelf-3.count", false);
    until_true("the change", || {
        let found = client.call("plexus_search", json!({"query": "shelf-3 append"}));
        let found = &found["structuredContent"]["found"];
        !ids(found).contains(&"shelf-3.count")
    });
    let params = json!({"id": "shelf-3.count", "arguments": {"line": "twice"}});
    let refused = client.call("plexus_call", params);
    assert_eq!(refused["structuredContent"]["effect"], "none", "{refused}");
}

#[test]
fn http_client_finds_and_calls_what_is_not_listed() {
    let library = Library::open();
    let plain = library.http();
    let tools = plain.ask("tools/list", json!({}))["result"]["tools"].take();
    let tools = tools.as_array().expect("a list").iter();
    let names: Vec<String> = tools
        .map(|tool| tool["name"].as_str().expect("a name").to_owned())
        .collect();
    finds_and_reads(&library, &names, |tool, arguments| {
        plain.call(tool, arguments)
    });
    library.workshop.owner().expose("shelf-3.count", false);
    let found = plain.call("plexus_search", json!({"query": "shelf-3 append"}));
    let found = &found["structuredContent"]["found"];
    assert!(!ids(found).contains(&"shelf-3.count"), "{found}");
}

#[test]
fn query_finds_best_first_and_nothing_out_of_view() {
    let library = Library::open();
    let client = library.agent.client();
    let ask = |query: &str| client.get(&format!("/capabilities{query}"));
    let answer = ask("?q=append%20a%20line%20shelf-3&limit=2").expect_ok();
    let found = ids(&answer["capabilities"]);
    assert_eq!((found[0], found.len()), ("shelf-3.count", 2), "{answer}");
    let manifest = library.agent.entry("shelf-3.count");
    assert_eq!(answer["capabilities"][0], manifest);
    let all = ask("").expect_ok();
    assert_eq!(ids(&all["capabilities"]).len(), 20);
    assert!(all["found"].as_u64().is_some_and(|all| all > 100), "{all}");
    assert_eq!(ask("?q=printer").expect_ok()["found"], 0);
    let long = format!("?q={}", "a".repeat(1_001));
    for wrong in ["?limit=0", "?limit=101", "?limit=many", &long] {
        ask(wrong).expect_error(400, "internal_error");
    }
    let nobody = library.workshop.gateway.client();
    nobody
        .get("/capabilities?q=line")
        .expect_error(401, "session_expired");

    let gateway = &library.workshop.gateway;
    let mut list =
        gateway.plexus_command("reader", ["list", "append", "line", "shelf-3", "--json"]);
    list.env("PLEXUS_PAT", &library.agent.pat);
    let listed = programs::run(list).json();
    assert_eq!(ids(&listed["capabilities"])[0], "shelf-3.count");

    library.workshop.owner().expose("shelf-3.count", false);
    let hidden = ask("?q=append%20a%20line%20shelf-3&limit=100").expect_ok();
    assert!(!hidden.to_string().contains("shelf-3.count"));
    // What another may see changes nothing for who may not.
    let house = House::open();
    let narrow = house.narrow("narrow", &["workspace.read"]);
    let found = narrow
        .client()
        .must_get("/capabilities?q=note%20vault%20file");
    let found = ids(&found["capabilities"]);
    assert!(
        !found.is_empty() && found.iter().all(|id| id.starts_with("workspace.")),
        "{found:?}"
    );
}
