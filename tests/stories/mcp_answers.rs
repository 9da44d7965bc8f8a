//! What servers and clients of MCP send in the world: answered, carried and told, whatever it is (docs/design.md#answers-of-others).

use crate::house::House;
use crate::mcp::{claude_desk, server};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use plexus_tests::coding_agents::{self, ask_claude_at};
use plexus_tests::mcp_web::{Era, McpWeb, TOKEN};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, list_of};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{Agent, Folder, Gateway, McpClient, Model, Step, programs};
use serde_json::{Value, json};

/// An id as a chat service gives it: beyond what a double holds.
pub(crate) const LARGE: u64 = 1_915_883_588_174_806_059;

/// A gateway that lends the odd server: `say` only reads, `do` asks.
pub(crate) struct Lent {
    pub(crate) gateway: Gateway,
    pub(crate) folder: Folder,
}

impl Lent {
    pub(crate) fn odd() -> Self {
        let lent = Self::unlent();
        lent.add().expect_ok();
        lent
    }

    /// One that does not lend it yet.
    pub(crate) fn unlent() -> Self {
        let (gateway, folder) = (Gateway::start(), Folder::empty());
        Self { gateway, folder }
    }

    /// Has its owner lend it as it now is.
    pub(crate) fn add(&self) -> programs::Said {
        add(&self.gateway, &self.folder)
    }

    /// How many processes of it there are.
    fn servers(&self) -> usize {
        self.gateway.processes("plexus-mcp-odd").len()
    }

    pub(crate) fn agent(&self) -> Agent {
        self.gateway.agent_with("caller", &["odd.say", "odd.do"])
    }

    fn client(&self, agent: &Agent) -> McpClient {
        McpClient::greeted(server(&self.gateway, agent), "plain").served()
    }

    /// What the agent types.
    fn typed<'a>(&self, agent: &Agent, words: impl IntoIterator<Item = &'a str>) -> programs::Said {
        let mut command = self.gateway.plexus_command(&agent.id, words);
        command.env("PLEXUS_PAT", &agent.pat);
        programs::run(command)
    }

    /// Asks for the effect, has the owner approve, and calls.
    fn done(&self, agent: &Agent, input: &Value) -> Value {
        agent
            .approved(&self.gateway.owner(), "odd.do", input.clone())
            .json()
    }
}

/// Has the owner of that gateway lend the odd server of that folder as it now is.
fn add(gateway: &Gateway, folder: &Folder) -> programs::Said {
    let program = plexus_tests::binaries::path("plexus-mcp-odd");
    let (program, path) = (program.display().to_string(), folder.path());
    let path = path.display().to_string();
    gateway.cli([
        "mcp", "add", "odd", "--folder", &path, "--read", "say", "--yes", "--", &program, &path,
    ])
}

/// The JSON of the last text of a result.
fn rest(result: &Value) -> Value {
    let content = result["content"].as_array().expect("content");
    let text = content.last().and_then(|last| last["text"].as_str());
    serde_json::from_str(text.expect("a text")).expect("JSON")
}

/// Holds that the client has the whole of a text that is cut.
pub(crate) fn reads_a_long_text(client: &mut McpClient) {
    let mut result = client.call("odd_say", json!({"long": 110_000}));
    let (mut read, mut parts) = (String::new(), 0);
    loop {
        read.push_str(result["content"][0]["text"].as_str().expect("a text"));
        parts += 1;
        let next = rest(&result)["nextCall"].clone();
        let Some(tool) = next["tool"].as_str() else {
            break;
        };
        result = client.call(tool, next["arguments"].clone());
    }
    assert_eq!(read, "many words ".repeat(10_000));
    assert!(parts > 1);
}

#[test]
fn call_with_bad_arguments_is_answered_with_its_id() {
    let (house, agent) = House::with_reader("sloppy");
    let mut client = McpClient::greeted(server(&house.gateway, &agent), "plain").served();
    let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    for (id, value, says) in [
        (
            901,
            "123456789012345678901234567890",
            "/path: 123456789012345678901234567890",
        ),
        (902, &*deep, "nested too deep"),
        (903, r#""a","path":"b""#, "twice"),
        (904, "1915883588174806059", "beyond 2^53"),
    ] {
        let params = format!(r#"{{"name":"obsidian_vault_read","arguments":{{"path":{value}}}}}"#);
        client.write(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#
        ));
        let result = client.reply(id)["result"].clone();
        let like = json!({"isError": true, "structuredContent": {"effect": "none"}});
        assert_like(&result, &like);
        assert_contains(&result.to_string(), says);
    }
    client.write(r#"{"jsonrpc":"2.0","id":905,"method":"tools/list","params":{"x":NaN}}"#);
    assert_eq!(client.reply(905)["error"]["code"], -32602);
    // The control: it serves on.
    client.tools();
}

/// Claude Code writes each number as JavaScript does, so that 2^63 + 1 leaves it as another one.
#[test]
fn claude_has_an_answer_to_bad_arguments() {
    let (desk, folder) = (claude_desk(), Folder::empty());
    let gateway = &desk.house.gateway;
    add(gateway, &folder).expect_ok();
    desk.house.owner().must_grant("my-cc", "odd.say", "7d");
    let deep = (0..70).fold(json!(1), |deep, _| json!([deep]));
    let calls = [
        ("odd_say", json!({"n": (1_u64 << 63) + 1})),
        ("odd_say", json!({"n": 1e20})),
        ("odd_say", json!({ "deep": deep })),
        ("obsidian_vault_read", json!({"path": (1_u64 << 63) + 1})),
        ("odd_say", json!({"control": 1})),
    ];
    let calls = calls.map(|(tool, arguments)| Step::mcp("plexus", tool, arguments));
    let model = Model::start(calls.into_iter().chain([Step::say("That is all.")]));
    let went = ask_claude_at(
        &coding_agents::claude(),
        &model,
        &desk.home,
        &desk.project.path(),
        // What has no answer is given up long before the story is.
        &[("MCP_TOOL_TIMEOUT", "20000")],
        &["--allowedTools", "mcp__plexus"],
        "Use Plexus.",
    );
    went.expect_ok();
    model.finish();
    let results = model.results();
    for (result, says) in results.iter().zip([
        r#"got {"n":9223372036854776000}"#,
        "more than 64 bits",
        "nested too deep",
        "beyond 2^53",
        r#"got {"control":1}"#,
    ]) {
        assert_contains(&result.replace('\\', ""), says);
    }
    assert_eq!(results.len(), 5, "{results:#?}");
}

#[test]
fn large_id_goes_to_a_lent_tool_and_back() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let input = json!({"channel": LARGE, "least": i64::MIN, "most": u64::MAX});
    let canonical = format!(
        r#"{{"channel":{LARGE},"least":{},"most":{}}}"#,
        i64::MIN,
        u64::MAX
    );
    let mut client = lent.client(&agent);
    let read = client.call("odd_say", input.clone());
    assert_contains(
        read["content"][0]["text"].as_str().expect("a text"),
        &canonical,
    );
    let said = lent.typed(&agent, ["odd.say", &format!("channel={LARGE}")]);
    assert_contains(said.expect_ok(), &LARGE.to_string());

    // The card shows it as it goes to the server, and no neighbour of it is the same call.
    let item = agent.must_ask("odd.do", input.clone());
    assert_contains(
        &lent.gateway.owner().card(&item).to_string(),
        &LARGE.to_string(),
    );
    lent.gateway.owner().approve(&item, "once");
    let other = json!({"channel": LARGE - 1, "least": i64::MIN, "most": u64::MAX});
    agent.must_fail("odd.do", other, 401, "approval_required");
    let done = agent.must("odd.do", input);
    assert_contains(done["output"]["text"].as_str().expect("a text"), &canonical);

    let answered =
        json!({"result": format!(r#"{{"content":[],"structuredContent":{{"id":{LARGE}}}}}"#)});
    assert_eq!(
        agent.must("odd.say", answered.clone())["output"]["structured"]["id"],
        LARGE
    );
    let result = client.call("odd_say", answered);
    assert_eq!(
        result["structuredContent"]["output"]["structured"]["id"],
        LARGE
    );
    let body = r#"{"id":"odd.say","input":{"a":18446744073709551616}}"#;
    let beyond = agent.client().request("POST", "/invoke").bytes(body).send();
    assert_contains(&beyond.text(), "beyond 64 bits");
}

#[test]
fn answer_of_others_is_repaired_and_not_refused() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let rows: Vec<Value> = (0..6_000)
        .map(|n| json!({"id": n, "name": format!("n{n}"), "v": n}))
        .collect();
    let deep = format!("{}1{}", r#"{"c":"#.repeat(80), "}".repeat(80));
    #[rustfmt::skip]
    let answers = [
        (r#"{"mean":NaN,"most":-Infinity}"#, json!({"mean": null, "most": null}), "NaN"),
        (r#"{"a":1,"a":2}"#, json!({"a": 2}), "twice"),
        (r#"{"w":"\ud83d!"}"#, json!({"w": "\u{fffd}!"}), "half a character"),
        (r#"{"n":123456789012345678901,"h":1E400}"#, json!({"n": "123456789012345678901", "h": "1E400"}), "as a text"),
        (r#"{"n":6.02e23,"t":0.10,"z":-0.0}"#, json!({"n": 6.02e23, "t": 0.1, "z": -0.0}), ""),
        (&json!({ "rows": rows }).to_string(), json!({ "rows": rows }), ""),
    ];
    for (structured, told, warns) in answers {
        let result =
            json!({"result": format!(r#"{{"content":[],"structuredContent":{structured}}}"#)});
        let output = agent.must("odd.say", result.clone())["output"].clone();
        assert_eq!(output["structured"], told, "{structured:.80}");
        assert_contains(&output["warnings"].to_string(), warns);
        assert_eq!(
            output["warnings"].is_null(),
            warns.is_empty(),
            "{output:.400}"
        );
    }
    let nested = json!({"result": format!(r#"{{"structuredContent":{deep}}}"#)});
    assert_contains(
        &agent.must("odd.say", nested)["output"]["warnings"].to_string(),
        "nested too deep",
    );
    // The token of a number is carried as it came.
    let body = json!({"id": "odd.say", "input": {"result": r#"{"structuredContent":{"price":0.10,"mol":6.02E23}}"#}});
    assert_contains(
        &agent.invoke_body(body).text(),
        r#"{"price":0.10,"mol":6.02E23}"#,
    );
    // An effect that was answered so is done.
    let done = lent.done(
        &agent,
        &json!({"result": r#"{"structuredContent":{"mean":NaN}}"#}),
    );
    assert_eq!(
        (&done["ok"], &done["output"]["structured"]),
        (&json!(true), &json!({"mean": null})),
        "{done}"
    );
}

#[test]
fn error_of_a_server_is_an_answer() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let run = |agent: &Agent| lent.done(agent, &json!({"who": 1}))["output"]["text"].to_string();
    let before = run(&agent);
    let bad =
        json!({"error": r#"{"code":-32602,"message":"q must be an ISO date","data":{"row":7}}"#});
    let refused = lent.done(&agent, &bad)["error"].clone();
    let like = json!({"code": "transport_error", "effect": "none"});
    assert_like(&refused, &like);
    assert_eq!(
        refused["detail"],
        json!({"reason": "server_refused", "serverCode": -32602, "data": {"row": 7}})
    );
    assert_contains(
        refused["message"].as_str().expect("words"),
        "q must be an ISO date",
    );
    let outcome = lent.gateway.owner().audited(|event| {
        event["capabilityId"] == "odd.do"
            && event["detail"]["phase"] == "outcome"
            && event["detail"]["result"] != "ok"
    });
    assert_eq!(outcome["detail"]["result"], "failed", "{outcome}");
    let broken = json!({"error": r#"{"code":-32603,"message":"Internal error"}"#});
    let failed = lent.done(&agent, &broken)["error"].clone();
    let like = json!({"effect": "done", "detail": {"reason": "tool_failed"}});
    assert_like(&failed, &like);
    for odd in [r#""boom""#, r#"{"code":-32000}"#, "7"] {
        let error = agent.invoke("odd.say", json!({"error": odd})).json()["error"].clone();
        let like = json!({"code": "transport_error", "effect": "none"});
        assert_like(&error, &like);
    }
    // It was never started afresh: who answers an error is well.
    assert_eq!(run(&agent), before);
    let failure = json!({"result": r#"{"content":[{"type":"text","text":"line one\n  line two"}],"structuredContent":{"code":7},"isError":true}"#});
    let said = agent.invoke("odd.say", failure).json()["error"]["detail"].clone();
    assert_eq!(
        said,
        json!({"reason": "tool_failed", "text": "line one\n  line two", "structured": {"code": 7}})
    );
}

#[test]
fn server_that_dies_in_a_read_has_its_last_words_told() {
    let lent = Lent::odd();
    let agent = lent.agent();
    for _ in 0..3 {
        let error = agent
            .invoke(
                "odd.say",
                json!({"end": "warming up\nSegmentation fault in libfoo\n"}),
            )
            .json()["error"]
            .clone();
        let like = json!({"code": "source_unavailable", "effect": "none"});
        assert_like(&error, &like);
        assert_contains(
            error["message"].as_str().expect("words"),
            "Segmentation fault in libfoo",
        );
    }
    let panics = |line: &Value| line.to_string().contains("a panic");
    assert!(!lent.gateway.log().iter().any(panics));
    agent.must("odd.say", json!({"control": 1}));
}

#[test]
fn server_that_ignores_pings_is_alive_while_it_answers() {
    let lent = Lent::odd();
    lent.folder.write("quiet", "");
    lent.folder.write("held", "");
    let agent = lent.agent();
    let first = lent.done(&agent, &json!({"n": 1}))["output"]["text"].to_string();
    let which = |text: &str| text.split(' ').nth(1).map(str::to_owned);
    for n in 2..4 {
        let next = lent.done(&agent, &json!({ "n": n }))["output"]["text"].to_string();
        assert_eq!(which(&next), which(&first), "{next}");
    }
    // One that hangs costs the one call: the next server begins when this one has let go of what it held. Its call waits
    // already, so that it begins at once.
    let begin = |input: Value| {
        let item = agent.must_ask("odd.do", input.clone());
        lent.gateway.owner().approve(&item, "once");
        let call = json!({"id": "odd.do", "input": input, "async": true});
        let begun = agent.invoke_body(call).expect_status(202).clone();
        begun.text_at("/run/runId")
    };
    let hung = begin(json!({"hang": true}));
    until_true("the call at the server", || lent.folder.has("hangs"));
    let behind = begin(json!({"n": 9}));
    agent
        .client()
        .post("/invoke/cancel", json!({"runId": hung}))
        .expect_status(202);
    let status = format!("/invoke/status?runId={behind}&wait=20");
    let next = until("the end of the next call", || {
        let status = agent.client().get(&status).expect_ok();
        (status["status"] != "running").then(|| status["result"].clone())
    });
    let text = next["output"]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("{next}"));
    assert_ne!(which(text), which(&first));
}

/// An error is an answer too.
#[test]
fn server_that_answers_a_ping_with_an_error_is_alive() {
    for code in [-32601, -32600] {
        let lent = Lent::odd();
        let error = format!(r#""error":{{"code":{code},"message":"Method not found"}}"#);
        lent.folder.write("ping", error);
        let agent = lent.agent();
        let run = |n: u8| {
            let done = lent.done(&agent, &json!({ "n": n }));
            let text = done["output"]["text"].as_str().expect("a text");
            text.split(' ').nth(1).map(str::to_owned)
        };
        let first = run(1);
        assert_eq!([run(2), run(3)], [first.clone(), first], "{code}");
    }
}

#[test]
fn blocks_arrive_as_what_they_are() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let blocks = json!({"content": [
        {"type": "text", "text": "a picture"},
        {"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo="},
        {"type": "audio", "mimeType": "audio/wav", "data": "UklGRg=="},
        {"type": "resource", "resource": {"uri": "file:///r.pdf", "mimeType": "application/pdf", "blob": "JVBERi0="}},
        {"type": "resource_link", "name": "more", "uri": "file:///more"},
    ]});
    let input = json!({"result": blocks.to_string()});
    let result = lent.client(&agent).call("odd_say", input.clone());
    assert_eq!(
        result["content"].as_array().expect("blocks")[..5],
        blocks["content"].as_array().expect("blocks")[..]
    );
    assert!(result.get("structuredContent").is_none());
    let texts: Vec<_> = list_of(&result["content"])
        .iter()
        .filter_map(|block| block["text"].as_str())
        .collect();
    // No bytes in a text.
    assert_lacks(&texts.concat(), "iVBORw0KGgo=");

    let out = Folder::empty();
    let path = out.path().display().to_string();
    let words = ["odd.say", "--input", &input.to_string(), "--out", &path];
    let said = lent.typed(&agent, words);
    assert_eq!(said.expect_ok().lines().next(), Some("a picture"), "{said}");
    assert!(!said.all().contains("iVBORw0KGgo="), "{said}");
    assert_eq!(
        std::fs::read(out.path().join("image-1.png")).expect("a file"),
        b"\x89PNG\r\n\x1a\n"
    );
    assert_eq!(out.read("audio-1.wav"), "RIFF");
    assert_eq!(out.read("file-1.pdf"), "%PDF-");
    let without = lent.typed(&agent, words.into_iter().take(3));
    without.expect_ok();
    assert_contains(&without.stderr, "--out FOLDER");
    let beside = Folder::empty();
    let path = beside.path().display().to_string();
    // Bytes that are written to a file count for nothing in a long answer.
    let mut long = blocks;
    long["content"][1]["data"] = "AAAA".repeat(8_000).into();
    let input = json!({"result": long.to_string()}).to_string();
    let words = ["odd.say", "--input", &input, "--json", "--out", &path];
    let said = lent.typed(&agent, words);
    let answer: Value = serde_json::from_str(said.expect_ok()).expect("JSON");
    assert_eq!(answer["output"]["text"], "a picture", "{said}");
    assert!(answer["output"].get("images").is_none(), "{said}");
    assert_eq!(beside.read("file-1.pdf"), "%PDF-");
}

#[test]
fn large_image_arrives_whole() {
    const SIZE: usize = 5_000_000;
    let lent = Lent::odd();
    let agent = lent.agent();
    let image: Vec<u8> = (0..=u8::MAX).cycle().take(SIZE).collect();
    let result = lent.client(&agent).call("odd_say", json!({"image": SIZE}));
    let block = &result["content"][0];
    assert_eq!(block["type"], "image", "{block:.200}");
    let data = block["data"].as_str().expect("base64");
    assert!(BASE64_STANDARD.decode(data).expect("base64") == image);

    let out = Folder::empty();
    let path = out.path().display().to_string();
    let said = lent.typed(&agent, ["odd.say", "image=5000000", "--out", &path]);
    said.expect_ok();
    let file = std::fs::read(out.path().join("image-1.png")).expect("a file");
    assert!(file == image, "{} bytes: {said}", file.len());
}

#[test]
fn long_text_is_cut_and_goes_on() {
    let lent = Lent::odd();
    let agent = lent.agent();
    reads_a_long_text(&mut lent.client(&agent));
    let said = lent.typed(&agent, ["odd.say", "long=110000"]);
    assert!(said.expect_ok().len() > 8_000, "a part of the text: {said}");
    assert!(said.stdout.starts_with("many words many"), "{said}");
    assert_contains(&said.stderr, "--full");
    // What is structured is told once, also where the server says it again as a text.
    let twice = json!({"result": r#"{"content":[{"type":"text","text":"{ \"n\": 1 }"}],"structuredContent":{"n":1}}"#});
    assert_eq!(
        agent.must("odd.say", twice)["output"],
        json!({"structured": {"n": 1}})
    );
}

#[test]
fn bad_tool_costs_no_other() {
    let lent = Lent::unlent();
    let many: Vec<String> = (0..300)
        .map(|n| format!(r#"{{"name":"t{n}","inputSchema":{{"type":"object"}}}}"#))
        .collect();
    let tools = [
        r#"{"name":"say","description":"x","inputSchema":{"type":"object","properties":{"n":{"type":"integer","minimum":-9223372036854775808,"maximum":9223372036854775807}}}}"#,
        r#"{"name":"do","inputSchema":{"type":"object","properties":{"k":{"type":"string","pattern":"^(?!null$)"}}}}"#,
        r#"{"name":"twice","description":"a","inputSchema":{"type":"object"}}"#,
        r#"{"name":"twice","description":"b","inputSchema":{"type":"object"}}"#,
        r#"{"name":"bare"}"#,
        r#"{"name":"huge","inputSchema":{"type":"object","properties":{"n":{"maximum":1E400}}}}"#,
    ];
    lent.folder.write("tools", format!("[{}]", tools.join(",")));
    let shown = lent.add();
    let shown = shown.expect_ok();
    for said in [
        "twice",
        "another tool of this name",
        "bare",
        "no object",
        "huge",
        "1E400",
    ] {
        assert_contains(shown, said);
    }
    let agent = lent.agent();
    agent.must("odd.say", json!({"n": u64::MAX / 2}));
    agent
        .invoke("odd.say", json!({"n": u64::MAX}))
        .expect_error(422, "schema_validation_failed");
    lent.done(&agent, &json!({"k": "null"}));
    lent.gateway.cli(["mcp", "remove", "odd"]).expect_ok();
    let own = r#"{"name":"say","inputSchema":{"type":"object"}}"#;
    lent.folder
        .write("tools", format!("[{own},{}]", many.join(",")));
    let shown = lent.add();
    assert_contains(shown.expect_ok(), "a server may lend 255 tools");
    lent.gateway.cli(["mcp", "remove", "odd"]).expect_ok();
    lent.folder
        .write("tools", format!("[{own},{}]", many[..254].join(",")));
    let shown = lent.add();
    let lent = shown.expect_ok().matches("\ntool ").count();
    assert_eq!(lent, 255, "{shown}");
    assert_lacks(shown.expect_ok(), "a server may lend 255 tools");
}

/// Names and schemas as servers write them: lent, or named with the reason.
#[test]
fn names_and_schemas_of_others_are_lent_or_named() {
    let lent = Lent::unlent();
    let of =
        |name: &str, what: &str| format!(r#"{{"type":"object","properties":{{"{name}":{what}}}}}"#);
    let object = r#"{"type":"object"}"#;
    let long = "n".repeat(129);
    #[rustfmt::skip]
    let taken = [
        ("empty", "{}"),
        ("untyped", r#"{"properties":{"a":{"type":"string"}}}"#),
        ("lookahead", &of("k", r#"{"type":"string","pattern":"^(?!undefined$|null$)"}"#)),
        ("reference", &of("k", r#"{"type":"string","pattern":"^(a)\\1$"}"#)),
        ("escapes", &of("k", r#"{"type":"string","pattern":"^[\\u0041-\\u005a]+\\/$"}"#)),
        ("formats", &of("k", r#"{"type":"string","format":"my-format"}"#)),
        ("nullable", &of("k", r#"{"type":"string","nullable":true}"#)),
        ("choice", &of("k", r#"{"enum":["a",null,3]}"#)),
        ("closed", r#"{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}"#),
        (
            "draft2020",
            r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"t":{"type":"array","prefixItems":[{"type":"string"}],"items":false}}}"#,
        ),
        ("anchor", r##"{"type":"object","$defs":{"A":{"$anchor":"aa","type":"string"}},"properties":{"a":{"$ref":"#aa"}}}"##),
        ("dotted.name-1", object),
        // The server checks it.
        ("regex", &of("k", r#"{"type":"string","pattern":"["}"#)),
        (
            "draft4",
            r#"{"$schema":"http://json-schema.org/draft-04/schema#","type":"object","properties":{"n":{"type":"number","minimum":0,"exclusiveMinimum":true}}}"#,
        ),
    ];
    #[rustfmt::skip]
    let refused = [
        ("yes", "true", "no object"),
        ("nothing", "null", "no object"),
        ("list", r#"{"type":"array","items":{"type":"string"}}"#, "takes no object"),
        ("dangling", &of("a", r##"{"$ref":"#/$defs/Missing"}"##), "schema"),
        (
            "remote",
            &of("a", r#"{"$ref":"https://example.com/x.json"}"#),
            "another document",
        ),
        (
            "file",
            &of("a", r#"{"$ref":"file:///etc/passwd"}"#),
            "another document",
        ),
        ("kind", &of("a", r#"{"type":"str"}"#), "schema"),
        (
            "dialect",
            r#"{"$schema":"https://example.com/my-dialect","type":"object"}"#,
            "my-dialect",
        ),
        ("null-members", r#"{"type":"object","properties":null,"required":null}"#, "null is not"),
        (&long, object, "name"),
        ("", object, "name"),
        ("a b", object, "name"),
    ];
    let tool = |name: &str, schema: &str| format!(r#"{{"name":"{name}","inputSchema":{schema}}}"#);
    let control = [("say", object), ("do", object)];
    let all = control
        .iter()
        .chain(&taken)
        .map(|(name, schema)| tool(name, schema));
    let all: Vec<_> = all
        .chain(refused.iter().map(|(name, schema, _)| tool(name, schema)))
        .collect();
    lent.folder.write("tools", format!("[{}]", all.join(",")));
    let shown = lent.add();
    let shown = shown.expect_ok();
    let agent = lent.agent();
    let sees = agent.sees();
    for (name, _) in control.iter().chain(&taken) {
        assert!(
            sees.iter().any(|id| *id == format!("odd.{name}")),
            "{name}: {shown}"
        );
    }
    let of_server: Vec<_> = sees.iter().filter(|id| id.starts_with("odd.")).collect();
    let lent = control.len() + taken.len();
    assert_eq!(of_server.len(), lent, "{of_server:?} {shown}");
    for (name, _, why) in refused {
        let line = shown
            .lines()
            .find(|line| line.contains(&format!("tool {name}: not lent")));
        assert!(
            line.is_some_and(|line| line.contains(why)),
            "{name}: {line:?} {shown}"
        );
    }
}

#[test]
fn failed_start_says_why_and_what_to_do() {
    let lent = Lent::unlent();
    #[rustfmt::skip]
    let rows = [
        ("Error: Cannot find module 'zod'\n    at require\n", "--code"),
        ("  File \"x.py\"\nModuleNotFoundError: No module named 'mcp'\n", "--code"),
        ("Error: getaddrinfo EAI_AGAIN api.example.com\n", "wants the network"),
        ("Error: EACCES: permission denied, open '/etc/x'\n", "--folder"),
        ("SyntaxError: Unexpected token '?'\n", "another version"),
        ("IOError: \"/proc/self/cgroup\": Permission denied\n", "given to no server"),
        ("SystemError [ERR_SYSTEM_ERROR]: uv_os_get_passwd returned EACCES (permission denied)\n", "the list of accounts"),
        ("Error: X_API_KEY environment variable is required\n", "--secret NAME=FILE"),
    ];
    for (words, advice) in rows {
        lent.folder
            .write("dies", format!("first line of many\n{words}"));
        let refused = lent.add();
        refused.expect_status(1);
        assert_contains(&refused.all(), advice);
        // The line that names the error, and no frame of a stack.
        let line = words.lines().find(|line| line.contains("Error"));
        assert_contains(&refused.all(), line.unwrap_or(words).trim());
        assert_contains(&refused.all(), "plexusctl logs");
    }
    let logs = lent.gateway.cli(["logs"]);
    assert_contains(logs.expect_ok(), "first line of many");
}

#[test]
fn tool_that_appears_or_changes_raises_its_card_by_itself() {
    let tool = |name: &str, words: &str| json!({"name": name, "description": words, "inputSchema": {"type": "object"}});
    for (third, words) in [("new", "Says it."), ("do", "Says it louder.")] {
        let lent = Lent::odd();
        let agent = lent.agent();
        lent.done(&agent, &json!({"kept": true}));
        let mut tools = vec![tool("say", "Says it."), tool(third, words)];
        if third == "new" {
            tools.push(tool("do", "Says it."));
        }
        lent.folder.write("tools", json!(tools).to_string());
        let card = until("a card about the server", || {
            lent.gateway.owner().pending().pop()
        });
        assert_like(&card, &json!({"kind": "change", "source": {"id": "odd"}}));
        assert_eq!(card["changes"][0]["about"], third, "{card}");
        assert_contains(&card["changes"].to_string(), words);
        assert!(!agent.sees().contains(&format!("odd.{third}")));
        // The control: what was agreed to serves on.
        agent.must("odd.say", json!({"n": 1}));
    }
}

/// The command waits longer than the worker, so that it has words to show.
#[test]
fn server_that_says_nothing_at_its_start_is_told_of() {
    let gateway = Gateway::start();
    // Commands run in the person's home. A file that is named like a word is none that is meant.
    for file in ["600", "near.py"] {
        std::fs::write(gateway.home().join(file), "").expect("a file");
    }
    let said = gateway.cli("mcp add silent --yes -- /usr/bin/sleep 600".split(' '));
    said.expect_status(1);
    assert_contains(&said.stderr, "it did not answer within 30 s of its start");
    let relative = gateway.cli("mcp add near --yes -- /usr/bin/cat near.py".split(' '));
    relative.expect_status(64);
    let named = format!("in another; name it {}/near.py", gateway.home().display());
    assert_contains(&relative.stderr, &named);
    let none = gateway.cli(["mcp", "list"]);
    assert_contains(none.expect_ok(), "no MCP server is lent");
}

/// An answer with these words, where `ID` stands for the id of the call.
fn served(words: &str) -> String {
    let content = json!([{"type": "text", "text": words}]);
    format!(r#"{{"jsonrpc":"2.0","id":ID,"result":{{"content":{content}}}}}"#)
}

/// Messages beside an answer, or as one, from servers that take the protocol lightly.
#[test]
fn messages_of_others_are_read() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let answer = served("served");
    let with = |before: &str| vec![before.to_owned(), format!("{answer}\n")];
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":TOKEN,"progress":1,"total":2}}"#;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let asks = |method: &str| format!(r#"{{"jsonrpc":"2.0","id":0,"method":"{method}"}}"#);
    for sends in [
        with(""),
        with("Loading…\n"),
        with("\n\r\n"),
        with("\u{feff}"),
        with("{\"level\":\"info\"}\n"),
        with(&format!("{progress}\n")),
        with(&format!("{}\n", asks("ping"))),
        with(&format!("{}\n", asks("roots/list"))),
        with(&format!("{}\n", asks("sampling/createMessage"))),
        with(
            r#"{"jsonrpc":"2.0","id":987654,"result":{}}
"#,
        ),
        with(&format!("{log}\n").repeat(2_000)),
        with(&format!("{changed}\n").repeat(500)),
        vec![format!("{answer}\r\n")],
        vec![format!("[{answer}]\n")],
        vec![answer.replace("ID", r#""ID""#) + "\n"],
        vec![answer.replace("ID", "ID.0") + "\n"],
        vec![answer.replace(r#""jsonrpc":"2.0","#, "") + "\n"],
        vec![answer.replace(r#","result""#, r#","error":null,"result""#) + "\n"],
        vec![format!("{answer}\n{answer}\n")],
        vec![format!("{answer}\n{}", format!("{changed}\n").repeat(300))],
        vec![
            answer.split_at(20).0.to_owned(),
            format!("{}\n", answer.split_at(20).1),
        ],
    ] {
        let input = json!({ "sends": sends });
        for told in [
            agent.must("odd.say", input.clone()),
            lent.done(&agent, &input),
        ] {
            assert_eq!(told["output"]["text"], "served", "{sends:.2?}: {told}");
        }
    }
    // One that ends with its answer has answered, and the next call has another one.
    let input = json!({"sends": [format!("{answer}\n"), "exit"]});
    for _ in 0..2 {
        assert_eq!(lent.done(&agent, &input)["output"]["text"], "served");
    }
    // One that hears no more after its answer costs the next call time, and no call.
    let input = json!({"sends": [format!("{answer}\n"), "deaf"]});
    assert_eq!(lent.done(&agent, &input)["output"]["text"], "served");
    for n in 2..4 {
        let next = lent.done(&agent, &json!({ "n": n }));
        assert_contains(&next["output"]["text"].to_string(), "got");
    }
    // A line that cannot be one is told, and ends the server.
    for broken in [
        format!("Loading… {answer}\n"),
        answer.replace(',', ",\n") + "\n",
    ] {
        let input = json!({ "sends": [broken] });
        let read = agent.invoke("odd.say", input.clone()).json()["error"].clone();
        let done = lent.done(&agent, &input)["error"].clone();
        for (error, effect) in [(&read, "none"), (&done, "unknown")] {
            assert_eq!(error["effect"], effect, "{error}");
            assert_contains(&error["message"].to_string(), "a message that is no JSON");
        }
    }
    agent.must("odd.say", json!({"control": 1}));
}

#[test]
fn results_that_say_little_or_much_are_told() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let say = |result: Value| {
        agent
            .invoke("odd.say", json!({"result": result.to_string()}))
            .json()
    };
    for empty in [json!({}), json!({"content": []}), json!({"content": null})] {
        assert_eq!(say(empty.clone())["output"], json!({}), "{empty}");
    }
    for failed in [
        json!({"isError": true}),
        json!({"content": [], "isError": true}),
        json!({"content": null, "isError": true}),
    ] {
        let error = say(failed.clone())["error"].clone();
        assert_eq!(error["detail"]["reason"], "tool_failed", "{error}");
        assert_contains(&error["message"].to_string(), "it does not say why");
    }
    let long =
        json!({"content": [{"type": "text", "text": "no ".repeat(100_000)}], "isError": true});
    let error = say(long)["error"].clone();
    let length = error.to_string().len();
    assert!((200..16_384).contains(&length), "{length}");
    let nul = json!({"content": [{"type": "text", "text": "a\u{0}b"}]});
    assert_eq!(say(nul)["output"]["text"], "a\u{0}b");
    let long = agent.invoke("odd.say", json!({"long": 5_500_000})).json();
    let length = long["output"]["text"].as_str().map(str::len);
    assert_eq!(length, Some(5_500_000), "{long:.300}");
    let longer = agent.invoke("odd.say", json!({"long": 11_000_000})).json();
    assert_contains(
        &longer["error"]["message"].to_string(),
        "larger than 8388608 bytes",
    );
}

/// Lists of pages, and what stands in place of one.
#[test]
fn lists_of_others_are_read_to_their_end() {
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let page = |names: &[&str], next: Value| {
        let tools: Vec<_> = names.iter().map(|name| tool(name)).collect();
        format!(
            r#""result":{}"#,
            json!({"tools": tools, "nextCursor": next})
        )
    };
    let both: &[&str] = &["say", "do"];
    #[rustfmt::skip]
    let rows = [
        (
            vec![
                ("", page(&["say"], json!("p2"))),
                (".p2", page(&["do"], json!(""))),
                (".", page(&["more"], json!(null))),
            ],
            Some(&["say", "do", "more"][..]),
            "",
        ),
        (vec![("", page(both, json!(""))), (".", page(both, json!("")))], Some(both), ""),
        (vec![("", page(both, json!(null)))], Some(both), ""),
        (vec![("", page(both, json!("8"))), (".8", page(both, json!("8")))], None, "a list without an end"),
        (vec![("", r#""result":{"tools":null}"#.to_owned())], None, "a list that is none"),
        (vec![("", page(&[], json!(null)))], None, "no tool"),
    ];
    for (files, lent, says) in rows {
        let lending = Lent::unlent();
        for (name, text) in files {
            lending.folder.write(&format!("tools.list{name}"), text);
        }
        let added = lending.add();
        match lent {
            Some(names) => {
                let shown = added.expect_ok();
                for name in names {
                    assert_contains(shown, &format!("tool {name}:"));
                }
                // A tool without words of its own says so.
                let agent = lending.gateway.agent_with("caller", &["odd.say"]);
                assert_contains(&agent.manifest().to_string(), "(no description)");
                agent.must("odd.say", json!({}));
            }
            None => {
                assert_ne!(added.status, 0, "{added}");
                assert_contains(&added.to_string(), says);
            }
        }
    }
}

#[test]
fn start_of_others_is_heard() {
    // Words of either stream, and members that are null, are no reason not to begin.
    let lent = Lent::unlent();
    lent.folder.write("says", "Starting…\n[1/2] cache\n");
    lent.folder.write("floods", "20000");
    lent.folder.write("initialize", r#""result":{"protocolVersion":"2025-06-18","capabilities":{"tools":null},"serverInfo":null,"instructions":null,"_meta":null}"#);
    lent.add().expect_ok();
    lent.agent().must("odd.say", json!({}));
    // One that asks before it greets is answered, or told that nobody answers that.
    let asks = |id: Value, method: &str| {
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}}).to_string()
    };
    let asked = [
        ("srv-1", "ping"),
        ("9", "roots/list"),
        ("0", "sampling/createMessage"),
    ];
    let asked: Vec<_> = asked.map(|(id, method)| asks(json!(id), method)).into();
    let lent = Lent::unlent();
    lent.folder.write("says", asked.join("\n") + "\n");
    lent.add().expect_ok();
    lent.agent().must("odd.say", json!({}));
    // One that says on its standard output why it ends has said it.
    let lent = Lent::unlent();
    lent.folder
        .write("says", "usage: odd FOLDER\nno such folder\n");
    lent.folder.write("dies", "");
    let added = lent.add();
    assert_ne!(added.status, 0, "{added}");
    assert_contains(&added.to_string(), "no such folder");
}

/// A server whose folder is the owner's may write there in a call, and at each start in its home alone.
#[test]
fn server_that_writes_at_its_start_has_its_home() {
    let lent = Lent::unlent();
    let lock = lent.folder.path().join("lock");
    lent.folder.write("writes", lock.display().to_string());
    let refused = lent.add();
    refused.expect_status(1);
    for said in ["Permission denied", "in its home (HOME, TMPDIR) alone"] {
        assert_contains(&refused.all(), said);
    }
    assert!(!lent.folder.has("lock"));
    // A reader, a writer, and a writer that is started afresh.
    lent.folder.write("writes", "HOME/lock");
    lent.add().expect_ok();
    let agent = lent.agent();
    agent.must("odd.say", json!({}));
    for n in 0..2 {
        let done = lent.done(&agent, &json!({ "n": n }));
        assert_contains(&done["output"]["text"].to_string(), "got");
        let end = json!({"end": "over\n", "n": n});
        assert_eq!(lent.done(&agent, &end)["error"]["effect"], "unknown");
    }
}

#[test]
fn lists_have_the_words_of_a_server_and_mark_them_once() {
    let lent = Lent::unlent();
    let tool = |name: &str| {
        json!({
            "name": name, "title": "Say things", "description": "Says it. And then some more of it.\nNever mind.",
            "inputSchema": {"type": "object"},
        })
    };
    lent.folder
        .write("tools", json!([tool("say"), tool("do")]).to_string());
    lent.add().expect_ok();
    let agent = lent.agent();
    let found = lent.gateway.client().get("/.well-known/plexus").expect_ok();
    let entries = found["capabilities"].as_array().expect("entries");
    let of_server = |entry: &&Value| entry["source"] == "odd";
    for entry in entries.iter().filter(of_server) {
        assert_eq!(entry["summary"], "Say things: Says it.", "{entry}");
        assert_eq!(entry["provenance"], "extension", "{entry}");
    }
    assert_eq!(entries.iter().filter(of_server).count(), 2, "{found}");
    let listed = lent.typed(&agent, ["list"]);
    let listed = listed.expect_ok();
    assert_eq!(
        listed.matches("Say things: Says it.").count(),
        2,
        "{listed}"
    );
    let mark = "described in words of a third party: odd.*";
    assert_eq!(listed.matches(mark).count(), 1, "{listed}");
    assert_eq!(listed.matches("hird-party").count(), 0, "{listed}");
}

/// An output schema is the server's word about its own answers.
#[test]
fn answers_that_do_not_fit_their_own_schema_are_told_all_the_same() {
    let lent = Lent::unlent();
    let tool = |name: &str, output: Value| json!({"name": name, "inputSchema": {"type": "object"}, "outputSchema": output});
    let dangling = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/Missing"}}});
    let number =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    lent.folder.write(
        "tools",
        json!([tool("say", dangling), tool("do", number)]).to_string(),
    );
    lent.add().expect_ok();
    let agent = lent.agent();
    let said = agent.must(
        "odd.say",
        json!({"result": r#"{"structuredContent":{"a":1}}"#}),
    );
    assert_eq!(said["output"]["structured"], json!({"a": 1}), "{said}");
    let done = lent.done(
        &agent,
        &json!({"result": r#"{"structuredContent":{"n":"x"}}"#}),
    );
    assert_eq!(done["output"]["structured"], json!({"n": "x"}), "{done}");
}

/// A start of 11 s, a call of 11 s whose server hears no `ping` meanwhile, and an answer over HTTP that begins after as long:
/// beyond each shorter limit, within the one that counts.
#[test]
fn slow_servers_are_waited_for() {
    const LONG: std::time::Duration = std::time::Duration::from_secs(11);
    let lets_go = |folder: &Folder| {
        std::thread::sleep(LONG);
        folder.write("go", "");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let lent = Lent::unlent();
            lent.folder.write("slow", "");
            std::thread::scope(|scope| {
                let add = scope.spawn(|| lent.add());
                until_true("a server that starts", || lent.servers() == 1);
                lets_go(&lent.folder);
                add.join().expect("a command").expect_ok();
            });
            lent.agent().must("odd.say", json!({}));
        });
        scope.spawn(|| {
            let lent = Lent::odd();
            let agent = lent.agent();
            lent.done(&agent, &json!({"n": 1}));
            let sends = json!({"sends": ["wait", format!("{}\n", served("slowly"))]});
            std::thread::scope(|scope| {
                let call = scope.spawn(|| lent.done(&agent, &sends));
                until_true("a server that waits", || lent.folder.has("waits"));
                lets_go(&lent.folder);
                let done = call.join().expect("a call");
                assert_eq!(done["output"]["text"], "slowly", "{done}");
            });
        });
        let gateway = Gateway::start();
        let web = McpWeb::with_manners(Era::Handshake, |heard| {
            if heard.body["method"] == "tools/call" {
                std::thread::sleep(LONG);
            }
            None
        });
        crate::mcp_remote::add(&gateway, &Folder::empty(), &web.url(), TOKEN).expect_ok();
        let agent = gateway.agent_with("caller", &["web.look"]);
        agent.must("web.look", json!({}));
    });
}

#[test]
#[ignore = "waits for the 120 s of a call: cargo xtask test --long"]
fn call_beyond_its_limit_ends_and_costs_no_other() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let input = json!({"hang": true});
    let item = agent.must_ask("odd.do", input.clone());
    lent.gateway.owner().approve(&item, "once");
    let call = json!({"id": "odd.do", "input": input, "async": true});
    let began = std::time::Instant::now();
    let run = agent.invoke_body(call).expect_status(202).clone();
    let run = run.text_at("/run/runId");
    let status = format!("/invoke/status?runId={run}&wait=20");
    until_true("the call at the server", || lent.folder.has("hangs"));
    let waits = || agent.client().get(&status).expect_ok();
    let over = std::iter::repeat_with(waits).find(|status| status["status"] != "running");
    let error = over.expect("a status")["result"]["error"].clone();
    assert!((120..140).contains(&began.elapsed().as_secs()), "{error}");
    let like = json!({"code": "source_unavailable", "effect": "unknown"});
    assert_like(&error, &like);
    assert_contains(&error["message"].to_string(), "it took longer than it may");
    // The control: the next call has a server that answers.
    lent.done(&agent, &json!({"n": 1}));
}

#[test]
fn read_that_its_client_cancels_ends_at_the_server() {
    let lent = Lent::odd();
    let agent = lent.agent();
    let mut client = lent.client(&agent);
    let call = json!({"name": "odd_say", "arguments": {"hang": true}});
    let id = client.send("tools/call", call);
    until_true("a server of the read", || lent.servers() == 1);
    client.notify("notifications/cancelled", json!({"requestId": id}));
    until_true("the end of that server", || lent.servers() == 0);
    // The control: the next read has one of its own.
    let read = client.call("odd_say", json!({"n": 1}));
    assert_contains(&read["content"][0]["text"].to_string(), "got");
    // A server that ends by itself is answered for.
    client.hear_nothing_else();
}
