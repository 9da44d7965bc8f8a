//! MCP servers at a URL, lent through a source's egress.

use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{
    Folder, Gateway, Terminal,
    mcp_web::{Era, Heard, McpWeb, PIECES, TOKEN, http},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Adds the server as `web`, with its token from a file and one read.
pub(crate) fn add(
    gateway: &Gateway,
    folder: &Folder,
    url: &str,
    token: &str,
) -> plexus_tests::programs::Said {
    folder.write("token", token);
    let secret = format!("authorization={}", folder.path().join("token").display());
    gateway.cli([
        "mcp", "add", "web", "--url", url, "--secret", &secret, "--read", "look", "--yes",
    ])
}

/// The manifest may be another person's: it says to which server a secret goes.
#[test]
fn secret_goes_to_the_server_of_a_manifest_after_a_yes() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let web = McpWeb::start(Era::Stateless);
    let manifest = json!({
        "manifest": "plexus-extension/0.1", "source": "web", "label": "Web", "transport": "mcp",
        "mcp": {"url": web.url(), "secrets": ["authorization"]},
    });
    folder.write("web.json", manifest.to_string());
    folder.write("token", TOKEN);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (file, secret) = (path("web.json"), format!("authorization={}", path("token")));
    let line = ["extension", "add", &file, "--secret", &secret];
    let terminal = || {
        let terminal = Terminal::start(&gateway.on_terminal(line), 120, 60);
        let question = format!("start {} with its secret authorization? [y/N]", web.url());
        terminal.until_shows(&question);
        assert!(web.heard().is_empty(), "before the yes");
        terminal
    };
    let mut denied = terminal();
    denied.keys("n\n");
    assert!(!denied.end().success(), "{}", denied.picture());
    assert!(web.heard().is_empty(), "{}", denied.picture());

    let mut agreed = terminal();
    agreed.keys("y\n");
    agreed.until_shows("add web as shown? [y/N]");
    assert!(!web.heard().is_empty(), "the control");
    agreed.keys("y\n");
    assert!(agreed.end().success(), "{}", agreed.picture());
}

#[test]
fn server_at_a_url_serves_after_approval_in_either_era() {
    for era in [Era::Handshake, Era::Stateless] {
        let (gateway, folder, web) = (Gateway::start(), Folder::empty(), McpWeb::start(era));
        let added = add(&gateway, &folder, &web.url(), TOKEN);
        let shown = added.expect_ok();
        for said in [
            "tool look: a read by this server's word; nothing holds it",
            "tool act: asks you each time",
            "sandbox      none",
            "it says that it is web 1",
            "Be kind.",
            "web.look",
        ] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        let agent = gateway.agent_with("caller", &["web.look", "web.act"]);
        let looked = agent.must("web.look", json!({}));
        assert_eq!(looked["output"]["text"], "\"look\" {}", "{looked}");
        let item = agent.must_ask("web.act", json!({"what": "tea"}));
        let card = gateway.owner().card(&item).to_string();
        assert!(card.contains("no sandbox is around it"), "{card}");
        let acted = |web: &McpWeb| {
            let heard = web.heard();
            heard
                .iter()
                .filter(|one| one.body["params"]["name"] == "act")
                .count()
        };
        assert_eq!(acted(&web), 0, "before the approval");
        gateway.owner().approve(&item, "once");
        agent.must("web.act", json!({"what": "tea"}));
        assert_eq!(acted(&web), 1);
        // What the server said on the way is counted with the call.
        let outcome = gateway.owner().audited(|event| {
            event["capabilityId"] == "web.act" && event["detail"]["phase"] == "outcome"
        });
        assert_eq!(outcome["detail"]["progress"]["bytes"], 6, "{outcome}");

        // The token comes from the egress, and is in nothing that a worker has.
        let heard = web.heard();
        assert!(
            heard
                .iter()
                .all(|one| one.headers["authorization"] == format!("Bearer {TOKEN}"))
        );
        assert!(!gateway.state_file("extensions/web.json").contains(TOKEN));
        let workers = gateway.workers();
        let workers: Vec<_> = workers
            .iter()
            .filter(|p| p.name.starts_with("plexus-worker"))
            .collect();
        assert!(!workers.is_empty());
        #[cfg(target_os = "linux")]
        for worker in workers {
            let of = |what: &str| {
                std::fs::read(format!("/proc/{}/{what}", worker.pid)).unwrap_or_default()
            };
            let told = [of("cmdline"), of("environ")].concat();
            assert_lacks(&String::from_utf8_lossy(&told), TOKEN);
        }
    }
}

#[test]
fn resource_at_a_url_is_read_in_either_era() {
    for era in [Era::Handshake, Era::Stateless] {
        let (gateway, folder, web) = (Gateway::start(), Folder::empty(), McpWeb::start(era));
        folder.write("token", TOKEN);
        let secret = format!("authorization={}", folder.path().join("token").display());
        let url = format!("{}?resources", web.url());
        let words = [
            "mcp",
            "add",
            "web",
            "--url",
            &url,
            "--secret",
            &secret,
            "--read",
            "resources.read",
            "--yes",
        ];
        let added = gateway.cli(words);
        let read = "tool resources.read: a read by this server's word; nothing holds it";
        assert_contains(added.expect_ok(), read);
        let agent = gateway.agent_with("caller", &["web.resources.read"]);
        assert_eq!(agent.entry("web.resources.read")["sensitivity"], "elevated");
        let read = agent.must("web.resources.read", json!({"uri": "web://é"}));
        // Its URI, as the protocol writes it into a header.
        assert_eq!(read["output"]["text"], "=?base64?d2ViOi8vw6k=?=", "{read}");
    }
}

#[test]
fn wrong_token_is_told_and_nothing_is_added() {
    let (gateway, folder, web) = (
        Gateway::start(),
        Folder::empty(),
        McpWeb::start(Era::Handshake),
    );
    let refused = add(&gateway, &folder, &web.url(), "guess");
    refused.expect_status(1);
    assert!(refused.all().contains("401"), "{refused}");
    assert!(!gateway.state().join("secrets/web.authorization").exists());
    // The control.
    add(&gateway, &folder, &web.url(), TOKEN).expect_ok();
}

#[test]
fn gateway_is_no_host_of_a_source() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let own = format!("http://127.0.0.1:{}/mcp", gateway.port());
    let refused = add(&gateway, &folder, &own, TOKEN);
    assert_contains(&refused.all(), "the gateway's own port");
    let events = gateway.owner().audit(1_000);
    assert!(
        !events.iter().any(|event| event["type"] == "invoke"),
        "{events:?}"
    );
}

#[test]
fn plain_http_is_for_this_machine_alone() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let refused = add(&gateway, &folder, "http://tools.example.org/mcp", TOKEN);
    assert_contains(&refused.all(), "nothing else is encrypted");
}

/// The answer of a call in a manner that its argument names; `None` where there is none.
fn mannered(heard: &Heard) -> Option<String> {
    const JSON: &str = "application/json";
    const EVENTS: &str = "text/event-stream";
    let what = heard.body["params"]["arguments"]["what"].as_str()?;
    let id = &heard.body["id"];
    let error = |id: &Value, code: i64, message: &str| {
        let error = json!({"code": code, "message": message});
        json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
    };
    let content = json!([{"type": "text", "text": "served"}]);
    let reply = json!({"jsonrpc": "2.0", "id": id, "result": {"content": content}});
    let lines = serde_json::to_string_pretty(&reply).expect("JSON");
    let lines: String = lines
        .lines()
        .map(|line| format!("data: {line}\n"))
        .collect();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let events = |text: &str| http(200, EVENTS, "", text);
    Some(match what {
        "500 with an error" => http(500, JSON, "", &error(id, -32603, "database down")),
        "406 without an id" => http(406, JSON, "", &error(&Value::Null, -32000, "no such kind")),
        "200 without an id" => http(200, JSON, "", &error(&Value::Null, -32600, "not read")),
        "429" => http(429, JSON, "retry-after: 7\r\n", r#"{"error":"slow down"}"#),
        "503" => http(503, "text/plain", "", "in\n maintenance"),
        "403" => http(403, JSON, "", r#"{"error":"insufficient_scope"}"#),
        "a page" => http(
            200,
            "text/html; charset=utf-8",
            "",
            "<title>Sign in</title>",
        ),
        "accepted" => http(202, "", "", ""),
        "an end" => String::new(),
        "a refusal once it began" if heard.body["params"]["requestState"].is_null() => {
            let more =
                json!({"resultType": "input_required", "requestState": "s", "inputRequests": {}});
            let more = json!({"jsonrpc": "2.0", "id": id, "result": more});
            http(200, JSON, "", &more.to_string())
        }
        "a refusal once it began" => http(400, JSON, "", &error(id, -32602, "state expired")),
        "502 of somebody between" => http(502, JSON, "", &error(&Value::Null, -32000, "busy")),
        "no events" => events(": only a comment\n\n"),
        "its kind with a charset" => http(
            200,
            "Application/JSON; charset=utf-8",
            "",
            &reply.to_string(),
        ),
        "a batch" => http(200, JSON, "", &json!([reply]).to_string()),
        "events in pieces" => {
            let whole = events(&format!("event: message\ndata: {reply}\n\n"));
            let pieces: Vec<char> = whole.chars().collect();
            let pieces: Vec<String> = pieces
                .chunks(7)
                .map(|piece| piece.iter().collect())
                .collect();
            pieces.join(PIECES)
        }
        "events that begin with a mark" => events(&format!("\u{feff}data:{reply}\n\n")),
        "events of many lines" => events(&format!(
            "event: message\r\n{}\r\n",
            lines.replace('\n', "\r\n")
        )),
        "events of others" => events(&format!(
            "data: {log}\n\n: ping\n\nevent: ping\ndata: {{}}\n\ndata: [DONE]\n\ndata: [{reply}]\n\n"
        )),
        _ => return None,
    })
}

/// Every other server answers so, and the agent is to hear what it said and what was done.
#[test]
fn words_of_a_status_reach_the_agent_and_odd_answers_are_read() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let web = McpWeb::with_manners(Era::Handshake, mannered);
    add(&gateway, &folder, &web.url(), TOKEN).expect_ok();
    let agent = gateway.agent_with("caller", &["web.look", "web.act"]);
    #[rustfmt::skip]
    let rows = [
        ("500 with an error", "database down", "done"),
        ("406 without an id", "no such kind", "none"),
        ("200 without an id", "not read", "none"),
        ("429", "to be asked again in 7 s, and says “slow down”", "none"),
        ("503", "it answered 503 over HTTP, and says “in maintenance”", "unknown"),
        ("403", "its secret or sign-in is not good for this", "none"),
        ("a page", "with text/html, which is no message", "unknown"),
        ("accepted", "it answered 202 over HTTP and sent no message", "unknown"),
        ("an end", "", "unknown"),
        ("a refusal once it began", "state expired", "unknown"),
        ("502 of somebody between", "busy", "unknown"),
        ("no events", "", "unknown"),
    ];
    for (what, says, effect) in rows {
        let input = json!({ "what": what });
        let looked = agent.invoke("web.look", input.clone()).json();
        assert_contains(&looked["error"]["message"].to_string(), says);
        assert_eq!(looked["error"]["effect"], "none", "{what}: {looked}");
        let acted = agent.approved(&gateway.owner(), "web.act", input).json();
        assert_contains(&acted["error"]["message"].to_string(), says);
        assert_eq!(acted["error"]["effect"], effect, "{what}: {acted}");
    }
    for what in [
        "its kind with a charset",
        "a batch",
        "events that begin with a mark",
        "events of many lines",
        "events of others",
        "events in pieces",
    ] {
        let looked = agent.must("web.look", json!({ "what": what }));
        assert_eq!(looked["output"]["text"], "served", "{what}: {looked}");
    }
}

#[test]
fn server_that_forgot_its_session_is_greeted_anew() {
    let status = Arc::new(Mutex::new(None));
    let forgets = Arc::clone(&status);
    let web = McpWeb::with_manners(Era::Handshake, move |heard| {
        let mut forgets = forgets.lock().expect("a status");
        let body =
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No valid session"}}"#;
        match (heard.body["method"].as_str(), *forgets) {
            (Some("initialize"), _) => *forgets = None,
            (Some(_), Some(status)) => return Some(http(status, "application/json", "", body)),
            _ => {}
        }
        None
    });
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    add(&gateway, &folder, &web.url(), TOKEN).expect_ok();
    let agent = gateway.agent_with("caller", &["web.act"]);
    let greetings = || {
        let heard = web.heard();
        heard
            .iter()
            .filter(|one| one.body["method"] == "initialize")
            .count()
    };
    agent.must_approved(&gateway.owner(), "web.act", json!({}));
    for forgot in [Some(404), Some(400), Some(503), None] {
        let input = json!({"what": format!("{forgot:?}")});
        let item = agent.must_ask("web.act", input.clone());
        gateway.owner().approve(&item, "once");
        let greeted = greetings();
        *status.lock().expect("a status") = forgot;
        agent.must("web.act", input);
        assert_eq!(
            greetings() > greeted,
            forgot.is_some(),
            "{forgot:?}: {greeted}"
        );
    }
}

#[test]
fn servers_differ_at_their_greeting_and_are_added_or_told_why_not() {
    for (status, headers, says) in [
        (
            307,
            "location: /real/mcp\r\n",
            "names /real/mcp; no redirect is followed",
        ),
        (429, "retry-after: 7\r\n", "to be asked again in 7 s"),
        (403, "", "its secret or sign-in is not good for this"),
    ] {
        let (gateway, folder) = (Gateway::start(), Folder::empty());
        let web = McpWeb::with_manners(Era::Handshake, move |_| {
            Some(http(status, "application/json", headers, "{}"))
        });
        let told = add(&gateway, &folder, &web.url(), TOKEN);
        assert_ne!(told.status, 0, "{told}");
        assert_contains(&told.to_string(), says);
    }
    // The control, with a refusal that does not matter.
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let web = McpWeb::with_manners(Era::Handshake, |heard| {
        let is_notification = heard.body["method"] == "notifications/initialized";
        is_notification.then(|| http(404, "text/plain", "", "no such route"))
    });
    add(&gateway, &folder, &web.url(), TOKEN).expect_ok();
    let agent = gateway.agent_with("caller", &["web.look"]);
    agent.must("web.look", json!({}));
}
