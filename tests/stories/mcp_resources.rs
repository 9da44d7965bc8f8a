//! Resources and prompts of lent MCP servers: of a real one, and of one that answers whatever it is told to.

use crate::mcp::{Desk, claude_asked, claude_desk, codex_asked, codex_desk, server, waiting};
use crate::mcp_servers::packages;
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, list_of};
use plexus_tests::{
    Agent, Folder, Gateway, McpClient, Model, Step, coding_agents::Conversation, programs,
    waiting::until,
};
use serde_json::{Value, json};

const METHODS: [&str; 4] = [
    "resources.list",
    "resources.read",
    "prompts.list",
    "prompts.get",
];

/// What an agent may ask a source for beside tools.
fn methods(agent: &Agent, source: &str) -> Vec<String> {
    let sees = agent.sees().into_iter();
    let named = sees.filter_map(|id| id.strip_prefix(&format!("{source}.")).map(str::to_owned));
    let mut named: Vec<_> = named.filter(|name| METHODS.contains(&&**name)).collect();
    named.sort();
    named
}

/// The error of a call that the server refused, in its own words.
#[track_caller]
fn refused(answer: &plexus_tests::Response, words: &str) {
    let error = &answer.json()["error"];
    let like = json!({"code": "transport_error", "effect": "none", "detail": {"reason": "server_refused"}});
    assert_like(error, &like);
    assert_contains(error["message"].as_str().expect("words"), words);
}

#[test]
fn real_server_lends_its_resources_and_prompts() {
    let (gateway, place) = (Gateway::start(), Folder::empty());
    let (code, _) = packages(&place);
    let add = |name: &str, script: &str, more: &[&str], arguments: &[&str]| {
        let script = code.join(format!("@modelcontextprotocol/{script}/dist/index.js"));
        let (code, script) = (code.display().to_string(), script.display().to_string());
        let mut words = vec!["mcp", "add", name, "--code", &code, "--yes"];
        words.extend(more);
        words.extend(["--", "/usr/bin/node", &script]);
        words.extend(arguments);
        gateway.cli(words)
    };
    let reads = ["resources.list", "resources.read", "prompts.list"];
    let reads: Vec<_> = reads.iter().flat_map(|read| ["--read", read]).collect();
    let added = add("all", "server-everything", &reads, &[]);
    for said in [
        "tool resources.read: a read: runs where it can change nothing",
        "demo://resource/static/document/architecture.md",
        "demo://resource/dynamic/text/{resourceId}",
        "tool prompts.get: asks you each time",
        "args-prompt",
        "all.prompts.get",
    ] {
        assert_contains(added.expect_ok(), said);
    }
    let shown = gateway.cli(["mcp", "show", "all"]);
    assert_contains(shown.expect_ok(), "tool resources.read: a read");

    let ids = METHODS.map(|name| format!("all.{name}"));
    let agent = gateway.agent_with("caller", &ids.each_ref().map(String::as_str));
    let listed = agent.must("all.resources.list", json!({}))["output"]["structured"].clone();
    let entry = |list: &str, key: &str, value: &str| {
        let list = listed[list].as_array().expect("a list");
        list.iter().any(|entry| entry[key] == value)
    };
    let document = "demo://resource/static/document/architecture.md";
    assert!(entry("resources", "uri", document), "{listed}");
    let template = "demo://resource/dynamic/text/{resourceId}";
    assert!(
        entry("resourceTemplates", "uriTemplate", template),
        "{listed}"
    );

    let read = |uri: &str| agent.invoke("all.resources.read", json!({ "uri": uri }));
    let text = read("demo://resource/dynamic/text/1").expect_ok()["output"].clone();
    let begins = text["text"].as_str().expect("a text");
    assert!(
        begins.starts_with("Resource 1: This is a plaintext"),
        "{text}"
    );
    refused(&read("demo://nowhere"), "Resource demo://nowhere not found");

    // A blob is a file of the agent's, and a block of the protocol.
    let blob = json!({"uri": "demo://resource/dynamic/blob/1"});
    let out = Folder::empty();
    let path = out.path().display().to_string();
    let input = blob.to_string();
    let words = ["all.resources.read", "--input", &input, "--out", &path];
    let mut command = gateway.plexus_command(&agent.id, words);
    command.env("PLEXUS_PAT", &agent.pat);
    programs::run(command).expect_ok();
    assert!(
        out.read("file-1.txt")
            .starts_with("Resource 1: This is a base64 blob")
    );
    let mut client = McpClient::greeted(server(&gateway, &agent), "plain").served();
    let block = client.call("all_resources_read", blob.clone())["content"][0].clone();
    assert_eq!(
        (&block["type"], &block["resource"]["uri"]),
        (&json!("resource"), &blob["uri"]),
        "{block}"
    );

    let prompts = agent.must("all.prompts.list", json!({}))["output"]["structured"].clone();
    let prompts = prompts["prompts"].as_array().expect("prompts");
    let asked = prompts
        .iter()
        .find(|prompt| prompt["name"] == "args-prompt");
    assert_eq!(asked.expect("a prompt")["arguments"][0]["name"], "city");
    let get = |input: Value| {
        let item = agent.must_ask("all.prompts.get", input.clone());
        let card = gateway.owner().card(&item).to_string();
        gateway.owner().approve(&item, "once");
        (card, agent.invoke("all.prompts.get", input))
    };
    let (card, got) = get(json!({"name": "args-prompt", "arguments": {"city": "Bern"}}));
    for said in [
        "ask all for prompts/get",
        "args-prompt",
        "Bern",
        "Plexus cannot preview",
    ] {
        assert_contains(&card, said);
    }
    assert_eq!(
        got.expect_ok()["output"],
        json!({"text": "What's weather in Bern?"})
    );
    refused(
        &get(json!({"name": "args-prompt"})).1,
        "Invalid arguments for prompt args-prompt",
    );

    // A server without them has none of this.
    let files = Folder::empty();
    let path = files.path().display().to_string();
    let given = ["--folder", &path, "--read", "read_text_file"];
    let added = add("files", "server-filesystem", &given, &[&path]);
    assert_lacks(added.expect_ok(), "resources.");
    let other = gateway.agent_with("other", &["files.read_text_file"]);
    assert_eq!(methods(&other, "files"), Vec::<String>::new());
    assert_eq!(methods(&other, "all").len(), 4);
    let unknown = other.invoke("files.resources.list", json!({}));
    unknown.expect_error(404, "unknown_capability");
}

/// The server that answers what the files of a folder say.
struct Odd {
    gateway: Gateway,
    folder: Folder,
}

impl Odd {
    fn with(files: &[(&str, &str)]) -> Self {
        let odd = Self {
            gateway: Gateway::start(),
            folder: Folder::empty(),
        };
        odd.says(files);
        odd
    }

    fn says(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            self.folder.write(name, *text);
        }
    }

    fn add(&self, more: &[&str]) -> programs::Said {
        let program = plexus_tests::binaries::path("plexus-mcp-odd");
        let (program, path) = (program.display().to_string(), self.folder.path());
        let path = path.display().to_string();
        let mut words = vec!["mcp", "add", "odd", "--folder", &path, "--yes"];
        words.extend(more);
        words.extend(["--", &program, &path]);
        self.gateway.cli(words)
    }
}

const BOTH: (&str, &str) = (
    "capabilities",
    r#"{"tools":{},"resources":{},"prompts":{}}"#,
);
const ONE_RESOURCE: (&str, &str) = (
    "resources.list",
    r#""result":{"resources":[{"uri":"a://1","name":"one"}]}"#,
);
const ONE_PROMPT: (&str, &str) = ("prompts.list", r#""result":{"prompts":[{"name":"talk"}]}"#);

#[test]
fn what_a_server_only_could_have_is_not_lent() {
    let none = ("prompts.list", r#""result":{"prompts":[]}"#);
    let odd = Odd::with(&[BOTH, none]);
    let added = odd.add(&["--read", "say"]);
    // Its lists are empty, or none at all.
    assert_contains(added.expect_ok(), "tool prompts.get: not lent: ");
    assert_contains(added.expect_ok(), "tool resources.read: not lent: ");
    let agent = odd.gateway.agent_with("caller", &["odd.say"]);
    assert_eq!(methods(&agent, "odd"), Vec::<String>::new());
    agent.must("odd.say", json!({}));
    assert_eq!(odd.gateway.owner().pending(), Vec::<Value>::new());
    let unread = odd
        .gateway
        .cli(["mcp", "refresh", "odd", "--read", "prompts.list", "--yes"]);
    unread.expect_ok();
    assert_eq!(methods(&agent, "odd"), Vec::<String>::new());

    odd.says(&[ONE_PROMPT]);
    let refreshed = odd
        .gateway
        .cli(["mcp", "refresh", "odd", "--read", "prompts.list", "--yes"]);
    assert_contains(refreshed.expect_ok(), "tool prompts.list: a read");
    assert_eq!(methods(&agent, "odd"), ["prompts.get", "prompts.list"]);
    // One that was agreed to stays, though it has none for a while.
    odd.says(&[none]);
    let agent = odd.gateway.agent_with("other", &["odd.prompts.list"]);
    odd.gateway.must_cli(["mcp", "refresh", "odd", "--yes"]);
    let listed = agent.must("odd.prompts.list", json!({}));
    assert_eq!(listed["output"], json!({"structured": {"prompts": []}}));
}

#[test]
fn new_resources_of_a_lent_server_wait_for_its_card() {
    let odd = Odd::with(&[ONE_RESOURCE]);
    odd.add(&["--read", "say"]).expect_ok();
    let agent = odd.gateway.agent_with("caller", &["odd.say"]);
    odd.says(&[BOTH]);
    // What was agreed to serves.
    agent.must("odd.say", json!({}));
    let card = until("a card of the source", || {
        let cards = odd.gateway.owner().pending();
        cards.into_iter().find(|card| card["kind"] == "change")
    });
    let about: Vec<_> = list_of(&card["changes"]).iter().collect();
    let about: Vec<_> = about.iter().map(|change| &change["about"]).collect();
    assert_eq!(about, ["resources.list", "resources.read"], "{card}");
    assert_eq!(methods(&agent, "odd"), Vec::<String>::new());
    let id = card["pendingId"].as_str().expect("an id");
    odd.gateway.must_cli(["approvals", "approve", id, "--yes"]);
    assert_eq!(methods(&agent, "odd"), ["resources.list", "resources.read"]);
    agent.must("odd.say", json!({}));
}

#[test]
fn answers_of_resources_and_prompts_come_as_what_they_are() {
    let clash = r#"[{"name":"prompts.get","inputSchema":{"type":"object"}},{"name":"say","inputSchema":{"type":"object"}}]"#;
    let odd = Odd::with(&[BOTH, ONE_RESOURCE, ONE_PROMPT, ("tools", clash)]);
    odd.says(&[(
        "prompts.get",
        r#""result":{"messages":[{"role":"user","content":{"type":"text","text":"Well?"}},{"role":"assistant","content":{"type":"text","text":"Yes."}}]}"#,
    )]);
    let reads = ["--read", "resources.list", "--read", "prompts.get"];
    let added = odd.add(&reads);
    // A tool of the server's own is not called by the name of a method.
    let clashes = "tool prompts.get: not lent: its name is that of what the server offers";
    assert_contains(added.expect_ok(), clashes);
    let ids = [
        "odd.resources.list",
        "odd.resources.read",
        "odd.prompts.get",
    ];
    let agent = odd.gateway.agent_with("caller", &ids);
    let talk = agent.must("odd.prompts.get", json!({"name": "talk"}));
    let said = json!([{"role": "user", "text": "Well?"}, {"role": "assistant", "text": "Yes."}]);
    assert_eq!(talk["output"], json!({"structured": {"messages": said}}));

    let input = json!({"uri": "a://2"});
    let read = |files: &[(&str, &str)]| {
        odd.says(files);
        agent.approved(&odd.gateway.owner(), "odd.resources.read", input.clone())
    };
    let missing = r#""error":{"code":-32002,"message":"no such thing"}"#;
    refused(&read(&[("resources.read", missing)]), "no such thing");
    let broken = r#""error":{"code":-32603,"message":"out of order"}"#;
    let failed = read(&[("resources.read", broken)]).json()["error"].clone();
    let like = json!({"effect": "done", "detail": {"reason": "tool_failed"}});
    assert_like(&failed, &like);
    // One page, its last, is longer than a list may be.
    let many: Vec<_> = (0..20_000)
        .map(|n| format!(r#"{{"uri":"a://{n}","name":"{}"}}"#, "long ".repeat(10)))
        .collect();
    let many = format!(r#""result":{{"resources":[{}]}}"#, many.join(","));
    odd.says(&[("resources.list", &many)]);
    let listed = agent.must("odd.resources.list", json!({}))["output"].clone();
    let kept = list_of(&listed["structured"]["resources"]).len();
    assert!((1..20_000).contains(&kept), "{kept}");
    let warning = listed["warnings"][0].as_str().expect("a warning");
    assert_contains(
        warning,
        "resources/list: a list of more than 1 MiB: the rest is left out",
    );
}

#[test]
fn server_without_tools_is_lent_for_its_resources() {
    let odd = Odd::with(&[
        ("capabilities", r#"{"resources":{}}"#),
        (
            "tools.list",
            r#""error":{"code":-32601,"message":"Method not found"}"#,
        ),
        ONE_RESOURCE,
        (
            "resources.read",
            r#""result":{"contents":[{"uri":"a://1","text":"one"}]}"#,
        ),
    ]);
    odd.add(&["--read", "resources.read"]).expect_ok();
    let agent = odd.gateway.agent_with("caller", &["odd.resources.read"]);
    let read = agent.must("odd.resources.read", json!({"uri": "a://1"}));
    assert_eq!(read["output"], json!({"text": "one"}));
    // The control: a server that declares nothing and has no tools is not lent.
    let none = Odd::with(&[(
        "tools.list",
        r#""error":{"code":-32601,"message":"Method not found"}"#,
    )]);
    none.add(&[]).expect_status(1);
}

/// A real client reads a resource and gets a prompt of a real server, each once its owner has approved.
fn used(desk: &Desk, ask: impl Fn(&Model, &Desk) -> Conversation + Sync) {
    let place = Folder::empty();
    let (code, _) = packages(&place);
    let script = code.join("@modelcontextprotocol/server-everything/dist/index.js");
    let (code, script) = (code.display().to_string(), script.display().to_string());
    let lend = [
        "mcp",
        "add",
        "all",
        "--code",
        &code,
        "--yes",
        "--",
        "/usr/bin/node",
        &script,
    ];
    desk.house.gateway.cli(lend).expect_ok();
    let model = Model::start([
        Step::mcp(
            "plexus",
            "all_resources_read",
            json!({"uri": "demo://resource/dynamic/text/1"}),
        ),
        Step::mcp(
            "plexus",
            "all_prompts_get",
            json!({"name": "simple-prompt"}),
        ),
        Step::say("That is all."),
    ]);
    let went = std::thread::scope(|scope| {
        let talking = scope.spawn(|| ask(&model, desk));
        for of in ["all.resources.read", "all.prompts.get"] {
            let item = waiting(&desk.house);
            let owner = desk.house.owner();
            assert_eq!(owner.card(&item)["asks"][0]["id"], of);
            owner.approve(&item, "once");
            until("the next request", || {
                let waits = owner.pending();
                let is_next = waits.iter().all(|card| card["pendingId"] != item.as_str());
                is_next.then_some(())
            });
        }
        talking.join().expect("a conversation")
    });
    went.expect_ok();
    model.finish();
    let results = model.results();
    assert_contains(&results[0], "Resource 1: This is a plaintext");
    assert_contains(&results[1], "This is a simple prompt without arguments.");
}

#[test]
fn claude_reads_a_resource_and_gets_a_prompt() {
    used(&claude_desk(), claude_asked);
}

#[test]
fn codex_reads_a_resource_and_gets_a_prompt() {
    used(&codex_desk(), |model, desk| codex_asked(model, desk, &[]));
}
