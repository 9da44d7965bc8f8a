//! A server, and its authorization server, behind TLS: each proves its name by a certificate of its own.

use super::{begun, begun_as, is_answered, lend_by, looks};
use crate::egress::hosts::{Front, authority, other_authority};
use plexus_tests::{
    Builder, Folder, Gateway, Terminal, binaries,
    oauth_web::{Lie, OAuthWeb, browse},
    texts::assert_contains,
};
use serde_json::json;

const UNPROVEN: &str = "has not proven its name";

/// Both, and what stands before them.
struct Behind {
    web: OAuthWeb,
    server: Front,
    authorization: Front,
}

impl Behind {
    fn start() -> Self {
        let web = OAuthWeb::start(Lie::None);
        let (server, authorization) = (Front::before(web.port()), Front::before(web.port()));
        web.goes_by(&server.origin(), &authorization.origin());
        Self {
            web,
            server,
            authorization,
        }
    }
}

/// With programs that know the tests' authority.
fn knowing(programs: &Folder) -> Builder {
    for (program, name) in [
        ("plexus-sandbox-exec", "plexus-sandbox-exec"),
        ("examples/plexus-egress-fixture", "plexus-egress"),
        ("plexus-worker-mcp", "plexus-worker-mcp"),
    ] {
        std::fs::copy(binaries::path(program), programs.path().join(name)).expect("a copy");
    }
    let folder = programs.path().display().to_string();
    Gateway::builder().arg("--workers").arg(&folder)
}

#[test]
fn owner_signs_in_at_an_authorization_server_over_tls() {
    let (behind, programs) = (Behind::start(), Folder::empty());
    let gateway = knowing(&programs).start();
    let Behind {
        web,
        server,
        authorization,
    } = &behind;
    // The control: with another's certificate it is asked nothing, and nobody is sent there.
    authorization.is_wrong(true);
    let refused = begun(&gateway, &web.url());
    refused.expect_status(503);
    assert_contains(&refused.text(), UNPROVEN);
    assert_eq!(authorization.lines(), Vec::<String>::new());
    assert_ne!(server.lines(), Vec::<String>::new(), "the server was asked");
    authorization.is_wrong(false);
    let begun = begun(&gateway, &web.url()).expect_ok();
    let of = |name: &str| begun["sign_in"][name].as_str().expect("a text");
    // The owner's browser has a TLS of its own.
    let (_, path) = of("address")
        .split_once(&authorization.origin())
        .expect("its page");
    let page = browse(&format!("http://127.0.0.1:{}{path}", web.port()));
    assert_contains(&page, "You are signed in");
    lend_by(&gateway, &web.url(), of("id"));
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    for asked in [
        "get /.well-known/oauth-authorization-server http/1.1",
        "post /register http/1.1",
        "post /token http/1.1",
    ] {
        let asked = |front: &Front| front.lines().iter().any(|line| line == asked);
        assert!(asked(authorization) && !asked(server));
    }
    web.expire();
    looks(&agent);
    assert_eq!(web.tokens(), (1, 1));
    // What renews it goes to no host that has not proven its name, and is good once it has.
    authorization.is_wrong(true);
    web.expire();
    let refused = agent.invoke("notes.look", json!({}));
    assert_contains(&refused.text(), "gives none now; try again");
    authorization.is_wrong(false);
    looks(&agent);
    assert_eq!(web.tokens(), (1, 2));
    // The server itself: no token goes there.
    server.is_wrong(true);
    let refused = agent.invoke("notes.look", json!({}));
    assert_contains(&refused.text(), UNPROVEN);
    for front in [server, authorization] {
        assert!(!front.is_trusted_by_mistake());
    }
}

/// What adds a server that this authority proves.
fn adding<'a>(name: &'a str, url: &'a str, ca: &'a str) -> [&'a str; 9] {
    [
        "mcp", "add", name, "--url", url, "--ca", ca, "--read", "look",
    ]
}

/// An authority that the owner names proves the server and its authorization server, in the sign-in, the listing and the calls,
/// and nothing of another source.
#[test]
fn authority_of_the_owners_proves_one_server() {
    let behind = Behind::start();
    let Behind {
        web,
        server,
        authorization,
    } = &behind;
    let mut gateway = Gateway::start();
    let (url, folder) = (web.url(), Folder::empty());
    folder.write("none.pem", "no certificate\n");
    let none = folder.path().join("none.pem").display().to_string();
    let ca = authority().display().to_string();
    let other = other_authority().display().to_string();
    for (ca, words) in [
        ("/nowhere/ca.pem", "/nowhere/ca.pem"),
        (&*none, "it holds no certificate"),
        (&*other, UNPROVEN),
    ] {
        let refused = gateway.cli(adding("notes", &url, ca));
        assert_ne!(refused.status, 0, "{refused}");
        assert_contains(&refused.all(), words);
        assert_eq!(server.lines(), Vec::<String>::new());
    }
    let mut terminal = Terminal::start(&gateway.on_terminal(adding("notes", &url, &ca)), 700, 40);
    let shown = terminal.until_shows("waiting for you, 10 minutes at most");
    let mut words = shown.split_whitespace();
    let address = words.find(|word| word.contains("/authorize?"));
    // The owner's browser has a TLS of its own.
    let (_, path) = address
        .and_then(|address| address.split_once(&authorization.origin()))
        .expect("its page");
    let page = browse(&format!("http://127.0.0.1:{}{path}", web.port()));
    assert_contains(&page, "You are signed in");
    let shown = terminal.until_shows("add notes as shown? [y/N]");
    assert_contains(&shown, &format!("CA           {ca}"));
    terminal.keys("y\n");
    assert!(terminal.end().success(), "{}", terminal.picture());
    let shown = gateway.cli(["mcp", "show", "notes"]);
    assert_contains(shown.expect_ok(), &format!("CA           {ca}"));
    let agent = gateway.agent_with("caller", &["notes.look"]);
    looks(&agent);
    // Also after a restart, and for a renewal.
    gateway.restart();
    let agent = gateway.back(&agent);
    web.expire();
    looks(&agent);
    assert_eq!(web.tokens(), (1, 1));
    // It proves the names that it has signed, and no other's.
    for front in [server, authorization] {
        front.is_wrong(true);
        web.expire();
        assert!(!is_answered(&agent));
        front.is_wrong(false);
        looks(&agent);
        assert!(!front.is_trusted_by_mistake());
    }
    // Another source does not have it.
    let posts = || {
        let mut lines = server.lines();
        lines.retain(|line| line.starts_with("post"));
        lines.len()
    };
    let (asked, told) = (posts(), begun_as(&gateway, "other", &url));
    told.expect_status(503);
    assert_contains(&told.text(), UNPROVEN);
    assert_eq!(posts(), asked);
    // Nothing proves a server without TLS.
    let plain = format!("http://127.0.0.1:{}/mcp", web.port());
    let refused = gateway.cli(adding("plain", &plain, &ca));
    assert_contains(&refused.all(), "belong to a server at an https URL");
}

/// What is shipped knows no authority of the tests.
#[test]
fn authority_that_nobody_named_proves_nothing() {
    let behind = Behind::start();
    let refused = begun(&Gateway::start(), &behind.web.url());
    refused.expect_status(503);
    assert_contains(&refused.text(), UNPROVEN);
    assert_eq!(behind.server.lines(), Vec::<String>::new());
}
