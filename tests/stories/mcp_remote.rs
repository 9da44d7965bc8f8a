//! MCP servers at a URL, lent through a source's egress.

use plexus_tests::texts::assert_contains;
use plexus_tests::{
    Folder, Gateway, Terminal,
    mcp_web::{Era, McpWeb, TOKEN},
};
use serde_json::json;

/// Adds the server as `web`, with its token from a file and one read.
fn add(gateway: &Gateway, folder: &Folder, url: &str, token: &str) -> plexus_tests::programs::Said {
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
        terminal.until_shows("start this server with its secret authorization? [y/N]");
        assert!(terminal.picture().contains(&web.url()));
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
            assert!(
                !String::from_utf8_lossy(&told).contains(TOKEN),
                "{worker:?}"
            );
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
