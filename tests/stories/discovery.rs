//! What anybody may read: the discovery document, the signpost, and how everything else is refused.

use crate::house::House;
use plexus_tests::texts::assert_lacks;
use plexus_tests::{Gateway, golden};
use serde_json::json;

#[test]
fn the_document_has_what_clients_of_all_dialects_read() {
    let house = House::open();
    let document = house.gateway.client().must_get("/.well-known/plexus");
    // Old clients read the length of its capabilities without a guard.
    golden::check("discovery", &document);
    // Each address in it is this gateway's own, whose port the golden file leaves out.
    let rest = document.to_string().replace(&house.gateway.base(), "");
    assert_lacks(&rest, "127.0.0.1");
    // Neither a path nor a secret is in it.
    for private in [
        house.vault.path().to_string_lossy().into_owned(),
        house.workspace.path().to_string_lossy().into_owned(),
        house.gateway.state().to_string_lossy().into_owned(),
        house.gateway.key(),
    ] {
        assert_lacks(&document.to_string(), &private);
    }

    house.owner().expose("obsidian.vault.read", false);
    let document = house.gateway.client().must_get("/.well-known/plexus");
    // Unexposed is hidden everywhere.
    assert_lacks(&document.to_string(), "obsidian.vault.read");
}

#[test]
fn capabilities_are_hidden_behind_a_public_name() {
    let house = House::with(|builder| builder.env("PLEXUS_PUBLIC_HOSTNAME", "gw.example.com"));
    let document = house.gateway.client().must_get("/.well-known/plexus");
    assert_eq!(document["capabilities"], json!([]));
    assert_eq!(document["gateway"]["baseUrl"], "https://gw.example.com");
    assert_eq!(
        document["auth"]["invokeUrl"],
        "https://gw.example.com/invoke"
    );
}

#[test]
fn the_instance_name_is_the_owners() {
    let gateway = Gateway::builder().env("PLEXUS_INSTANCE", "study").start();
    let document = gateway.client().get("/.well-known/plexus").expect_ok();
    assert_eq!(document["gateway"]["instance"], "study");
}

#[test]
fn signpost_and_unknown_routes() {
    let gateway = Gateway::start();
    let client = gateway.client();
    let signpost = client.get("/").expect_ok();
    assert_eq!(signpost["service"], "plexus");
    assert_eq!(signpost["discovery"], "/.well-known/plexus");

    let head = client.request("HEAD", "/.well-known/plexus").send();
    head.expect_status(200);
    assert!(head.body.is_empty());

    for (method, path) in [
        ("POST", "/.well-known/plexus"),
        ("GET", "/.well-known/plexus/"),
        ("GET", "/nope"),
        ("POST", "/grants"),
        ("OPTIONS", "/grants"),
        ("DELETE", "/invoke"),
        ("GET", "/v1/nope"),
    ] {
        let error = client
            .request(method, path)
            .send()
            .expect_error(404, "unknown_capability");
        assert_eq!(error["discovery"], "/.well-known/plexus", "{method} {path}");
    }
}

/// The document is made once and sent many times: whatever it shows is there at once when it changes, and back when it is.
#[test]
fn the_document_follows_what_it_shows() {
    let house = House::open();
    let owner = house.gateway.owner();
    let document = || {
        let client = house.gateway.client();
        client.get("/.well-known/plexus").expect_ok()["capabilities"].take()
    };
    let before = document();
    assert_eq!(document(), before, "nothing has changed");

    let expose = |enabled| owner.expose("obsidian.vault.read", enabled);
    expose(false);
    let hidden = document();
    assert!(!hidden.to_string().contains("\"obsidian.vault.read\""));
    expose(true);
    assert_eq!(document(), before, "shown again");

    let settings = json!({"defaultTrustWindows": {"managed:read": "1h"}});
    owner.put("/v1/config", settings).expect_ok();
    assert_ne!(document(), before, "another window is recommended");

    let folder = plexus_tests::Folder::empty();
    let route = json!({"path": folder.path()});
    let source =
        json!({"id": "papers", "kind": "workspace-dir", "label": "Papers", "route": route});
    owner.post("/admin/api/sources", source).expect_ok();
    assert!(document().to_string().contains("\"papers.read\""));
    owner.delete("/admin/api/sources/papers").expect_ok();
    assert!(!document().to_string().contains("papers."));
}
