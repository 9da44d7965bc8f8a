//! MCP servers that are lent by a manifest of the transport `mcp`: the same server, look, pins and digest as by
//! `plexusctl mcp add`.

use crate::mcp_servers::packages;
use plexus_tests::texts::{assert_contains, assert_like};
use plexus_tests::{Folder, Gateway};
use serde_json::{Value, json};
use std::fs;

const PREVIEW: &str = "/admin/api/extensions/preview";
const EXTENSIONS: &str = "/admin/api/extensions";

/// The reference server for a memory, and where its parts lie.
struct Memory {
    gateway: Gateway,
    notes: Folder,
    packages: Folder,
    code: String,
    entry: String,
}

impl Memory {
    fn new() -> Self {
        let (notes, place) = (Folder::empty(), Folder::empty());
        let (code, entry) = packages(&place);
        Self {
            gateway: Gateway::start(),
            notes,
            code: code.display().to_string(),
            entry: entry.display().to_string(),
            packages: place,
        }
    }

    fn manifest(&self) -> Value {
        let script = self
            .entry
            .strip_prefix(&self.code)
            .expect("below its packages");
        json!({
            "manifest": "plexus-extension/0.1", "source": "memory", "label": "Memory", "transport": "mcp",
            "folders": [
                {"name": "server", "label": "Packages", "access": "read"},
                {"name": "notes", "label": "Notes", "access": "read-write"},
            ],
            "mcp": {
                "command": "/usr/bin/node", "args": [format!("{{folder.server}}{script}")],
                "env": {"MEMORY_FILE_PATH": "{folder.notes}/memory.jsonl"}, "reads": ["read_graph"],
            },
        })
    }

    fn body(&self, manifest: &Value) -> Value {
        json!({"manifest": manifest, "folders": {"server": self.code, "notes": self.notes.path()}})
    }

    fn preview(&self, body: &Value) -> Value {
        let client = self.gateway.owner().client;
        client.post(PREVIEW, body.clone()).expect_ok()
    }

    fn stored(&self) -> String {
        self.gateway.state_file("extensions/memory.json")
    }
}

#[test]
fn manifest_of_a_server_lends_what_mcp_add_lends() {
    let memory = Memory::new();
    let gateway = &memory.gateway;
    let notes = memory.notes.path().display().to_string();
    let variable = format!("MEMORY_FILE_PATH={notes}/memory.jsonl");
    let add = [
        "mcp", "add", "memory", "--env", &variable, "--folder", &notes, "--code",
    ];
    let rest = [
        &memory.code,
        "--read",
        "read_graph",
        "--yes",
        "--",
        "/usr/bin/node",
    ];
    let words = add.into_iter().chain(rest).chain([&*memory.entry]);
    gateway.cli(words).expect_ok();
    let by_command = memory.stored();
    gateway.cli(["mcp", "remove", "memory"]).expect_ok();

    // The same from a person's terminal, by a file.
    let file = memory.packages.path().join("memory.json");
    fs::write(&file, memory.manifest().to_string()).expect("a file");
    let (file, server) = (
        file.display().to_string(),
        format!("server={}", memory.code),
    );
    let notes = format!("notes={notes}");
    let named = [&*file, "--folder", &server, "--folder", &notes];
    let preview = ["extension", "preview"].into_iter().chain(named);
    let seen = gateway.cli(preview);
    for part in [
        "MCP server   memory",
        &format!("environment  {variable}"),
        "tool delete_entities: asks you each time",
        "tool read_graph: a read: runs where it can change nothing",
        "every file",
        "\ndigest ",
    ] {
        assert!(seen.expect_ok().contains(part), "{part}: {seen}");
    }
    assert!(!gateway.state().join("extensions/memory.json").exists());
    let digest = seen
        .expect_ok()
        .split_whitespace()
        .last()
        .expect("a digest");
    let add = ["extension", "add"].into_iter().chain(named);
    let unasked = gateway.cli(add.clone());
    let says = "add --digest DIGEST, from the end of `plexusctl extension preview`";
    assert!(unasked.expect_status(64).stderr.contains(says), "{unasked}");
    let added = gateway.cli(add.chain(["--digest", digest]));
    assert!(added.expect_ok().contains("memory.read_graph"), "{added}");
    assert_eq!(memory.stored(), by_command, "the same manifest and pins");
    let listed = gateway.cli(["mcp", "list"]);
    assert!(listed.expect_ok().contains("memory"), "{listed}");

    let agent = gateway.agent_with("caller", &["memory.read_graph", "memory.create_entities"]);
    let tea = json!({"entities": [{"name": "tea", "entityType": "drink", "observations": []}]});
    let item = agent.must_ask("memory.create_entities", tea.clone());
    assert!(!memory.notes.has("memory.jsonl"), "before the approval");
    gateway.owner().approve(&item, "once");
    agent.must("memory.create_entities", tea);
    let graph = agent.must("memory.read_graph", json!({}));
    assert_eq!(graph["output"]["structured"]["entities"][0]["name"], "tea");

    // Another tool is a read from now on; its folders stay as they are.
    let mut other = memory.manifest();
    other["mcp"]["reads"] = json!(["read_graph", "search_nodes"]);
    let seen = memory.preview(&json!({"manifest": other}));
    assert_eq!(seen["changes"]["changed"], json!([]), "{seen}");
    let body = json!({"manifest": other, "digest": seen["digest"]});
    let owner = gateway.owner();
    let added = owner.post(EXTENSIONS, body).expect_ok();
    assert_like(&added, &json!({"ok": true, "source": "memory"}));
    let found = gateway.agent_with("finder", &["memory.search_nodes"]);
    let found = found.invoke("memory.search_nodes", json!({"query": "tea"}));
    found.expect_ok();
    gateway.cli(["extension", "remove", "memory"]).expect_ok();
    assert!(!gateway.state().join("extensions/memory.json").exists());
}

/// A change of a manifest that is refused, and a part of the words for it.
type Bad = (&'static str, fn(&mut Value), &'static str);

#[test]
fn manifest_that_lends_no_server_is_refused() {
    let memory = Memory::new();
    #[rustfmt::skip]
    let table: &[Bad] = &[
        ("no server", |m| m["mcp"] = json!({}), "either a command or a url"),
        ("two servers", |m| m["mcp"]["url"] = json!("https://mcp.example.com/"), "either a command or a url"),
        ("tools", |m| m["capabilities"] = json!([{"name": "t.call", "transport": "mcp"}]), "says itself which tools it has"),
        ("a bare name", |m| m["mcp"]["command"] = json!("node"), "no absolute path"),
        ("a folder that is none", |m| m["mcp"]["args"] = json!(["{folder.keys}/x"]), "names a folder that is none"),
        (
            "a folder that is not named",
            |m| {
                let more = json!({"name": "more", "label": "More", "access": "read"});
                m["folders"].as_array_mut().expect("folders").push(more);
            },
            "--folder more=PATH",
        ),
        ("a folder less", |m| _ = m["folders"].as_array_mut().expect("folders").pop(), "declares no folder \"notes\""),
        ("a shipped source", |m| m["source"] = json!("workspace"), "looks like, an id of"),
        ("a label of ours", |m| m["label"] = json!("Plexus notes"), "speaks of Plexus"),
        ("an unknown member", |m| m["mcp"]["shell"] = json!("sh"), "unknown field `shell`"),
        ("another format", |m| m["manifest"] = json!("plexus-extension/9"), "not \"plexus-ext"),
        ("a secret that is not given", |m| m["mcp"]["secrets"] = json!(["TOKEN"]), "--secret TOKEN=FILE"),
        (
            "a server at a URL with folders",
            |m| m["mcp"] = json!({"url": "https://mcp.example.com/"}),
            "has no program, arguments",
        ),
    ];
    for (what, change, words) in table {
        let mut manifest = memory.manifest();
        change(&mut manifest);
        let seen = memory.preview(&memory.body(&manifest));
        assert_eq!(seen["valid"], false, "{what}: {seen}");
        let reason = seen["reasons"][0].as_str().expect("a reason");
        assert!(reason.contains(words), "{what}: {seen}");
        let owner = memory.gateway.owner();
        let added = owner.post(EXTENSIONS, memory.body(&manifest)).json();
        assert_eq!(added["ok"], false, "{what}: {added}");
    }
    assert!(!memory.gateway.state().join("extensions").exists());
    // An agent proposes none: nobody starts a program for it.
    let agent = memory.gateway.agent("coder");
    let manifest = memory.manifest();
    let body = json!({"sessionId": agent.session, "manifest": manifest});
    let proposed = agent.client().post("/extensions", body).json();
    assert_eq!(proposed["ok"], false, "{proposed}");
    let reason = proposed["reason"].as_str().expect("words");
    assert!(reason.contains("plexusctl extension add FILE"), "{reason}");
    // The control, and what was not shown.
    let mut body = memory.body(&manifest);
    let seen = memory.preview(&body);
    assert_eq!(seen["surface"]["transport"], "mcp", "{seen}");
    let owner = memory.gateway.owner();
    body["digest"] = json!("0");
    let refused = owner.post(EXTENSIONS, body.clone());
    assert_eq!(
        refused.at("/error/code"),
        "precondition_changed",
        "{refused}"
    );
    body["digest"] = seen["digest"].clone();
    assert_eq!(owner.post(EXTENSIONS, body).expect_ok()["ok"], true);
    // It stays the server that it is.
    let mut other = manifest;
    other["mcp"]["env"] = json!({"MEMORY_FILE_PATH": "{folder.notes}/other.jsonl"});
    let seen = memory.preview(&memory.body(&other));
    assert_eq!(seen["valid"], false, "{seen}");
    assert_contains(&seen["reasons"].to_string(), "plexusctl mcp remove memory");
}
