//! A server, and its authorization server, behind TLS: each proves its name by a certificate of its own.

use super::{begun, lend_by, looks};
use crate::egress::hosts::Front;
use plexus_tests::{
    Builder, Folder, Gateway, binaries,
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

/// What is shipped knows no authority of the tests.
#[test]
fn authority_that_nobody_named_proves_nothing() {
    let behind = Behind::start();
    let refused = begun(&Gateway::start(), &behind.web.url());
    refused.expect_status(503);
    assert_contains(&refused.text(), UNPROVEN);
    assert_eq!(behind.server.lines(), Vec::<String>::new());
}
