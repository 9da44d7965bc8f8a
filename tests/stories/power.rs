//! A power cut under a real daemon: what it answered is there when it starts again, with every file that it lies in, and what was
//! taken away stays away.

use crate::house::{COUNT, READ, WRITE, Workshop, note, report};
use plexus_power_cut::Disk;
use plexus_tests::{Agent, Builder, Folder, Gateway, binaries, workspace};
use serde_json::json;

/// A daemon whose syncs are noted.
fn builder() -> Builder {
    let variables = binaries::preloaded("libpower_cut.so", "PLEXUS_TEST", "");
    let add = |builder: Builder, (name, value): &(String, String)| builder.env(name, value);
    variables.iter().fold(Gateway::builder(), add)
}

/// The power goes, and comes back.
fn cut(gateway: &mut Gateway, disk: &Disk) {
    gateway.kill9();
    disk.cut();
    gateway.start_again();
}

fn back(gateway: &Gateway, agent: &Agent) -> Agent {
    gateway.back(agent)
}

#[test]
fn first_start_and_what_the_owner_did_survive_a_power_cut() {
    let (disk, folder) = (Disk::new(), workspace());
    let mut gateway = builder().workspace(&folder.path()).start_in(disk.home());
    let (key, installation) = (gateway.key(), gateway.state_file("instance-id"));
    let agent = gateway.agent_with("one", &[READ]);
    let post = |gateway: &Gateway, path: &str, body| gateway.owner().post(path, body).expect_ok();
    let secret = "/admin/api/secrets/mail";
    post(&gateway, secret, json!({"value": "s3cret"}));
    let network = json!({"bindAddresses": ["127.0.0.1"], "publicHostnames": ["gw.example.com"]});
    post(&gateway, "/admin/api/network", network);
    let waits = agent.must_ask(WRITE, note("new.md", "tea\n"));
    cut(&mut gateway, &disk);

    assert_eq!(gateway.key(), key);
    assert_eq!(gateway.state_file("instance-id"), installation);
    assert_eq!(gateway.state_file("secrets/mail"), "s3cret");
    let network = gateway.owner().get("/admin/api/network").expect_ok();
    assert_eq!(network["publicHostnames"], json!(["gw.example.com"]));
    let agent = back(&gateway, &agent);
    agent.must(READ, report());
    gateway.owner().approve(&waits, "once");
    agent.must(WRITE, note("new.md", "tea\n"));
    assert_eq!(folder.read("new.md"), "tea\n");
    gateway.cli(["audit", "verify"]).expect_ok();

    // Another secret over the first, another key over the first: no PAT of before is good for anything.
    post(&gateway, secret, json!({"value": "another"}));
    post(&gateway, "/v1/connection-key/rotate", json!({}));
    let rotated = gateway.key();
    assert_ne!(rotated, key);
    cut(&mut gateway, &disk);
    assert_eq!(gateway.key(), rotated);
    assert_eq!(gateway.state_file("secrets/mail"), "another");
    let refused = plexus_tests::agent::handshake(&gateway.client(), &agent.pat);
    assert_eq!(refused.status, 401, "{refused}");
}

#[test]
fn answer_under_a_key_survives_a_power_cut() {
    let disk = Disk::new();
    let mut workshop = Workshop::over(builder().fixture().start_in(disk.home()));
    let agent = workshop.writer("one");
    let call = |agent: &Agent| {
        let call = json!({"id": COUNT, "input": {"line": "a"}, "idempotencyKey": "k"});
        agent.invoke_body(call).expect_ok()
    };
    let first = call(&agent);
    cut(&mut workshop.gateway, &disk);
    let again = call(&workshop.back(&agent));
    assert_eq!(again["replayed"], true, "{again}");
    assert_eq!(again["output"], first["output"]);
    assert_eq!(workshop.effects(), ["a"]);
}

#[test]
fn lent_server_survives_a_power_cut_and_a_removed_one_stays_away() {
    let (disk, folder) = (Disk::new(), Folder::empty());
    folder.write("words", "Does");
    let mut gateway = builder().start_in(disk.home());
    let path = folder.path().display().to_string();
    let program = binaries::path("plexus-mcp-rude");
    let mut body =
        json!({"name": "rude", "program": program, "arguments": [path], "folders": [path]});
    let owner = gateway.owner();
    let shown = owner.post("/admin/api/extensions/preview", body.clone());
    body["digest"] = shown.expect_ok()["digest"].clone();
    owner.post("/admin/api/extensions", body).expect_ok();
    let installed = |gateway: &Gateway| gateway.state().join("extensions/rude.json").exists();
    cut(&mut gateway, &disk);
    assert!(installed(&gateway));
    let listed = gateway.cli(["mcp", "list"]);
    assert!(listed.expect_ok().contains("rude"), "{listed}");

    gateway.cli(["mcp", "remove", "rude"]).expect_ok();
    cut(&mut gateway, &disk);
    assert!(!installed(&gateway));
    let listed = gateway.cli(["mcp", "list"]);
    assert!(!listed.expect_ok().contains("rude"), "{listed}");
}
