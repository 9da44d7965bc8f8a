//! Connecting agents: names, selections, and what a second connect takes away.

use crate::house::{House, READ, READS, WRITE, Workshop, note, report};
use plexus_tests::agent::handshake;
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::{Terminal, golden};
use serde_json::{Value, json};

#[test]
fn a_connect_grants_reads_and_skips_effects() {
    let house = House::open();
    let reply = house
        .owner()
        .connect_as(
            json!({"agentId": "cc", "agentType": "claude-code", "capabilities": [READ, WRITE]}),
        )
        .expect_ok();
    golden::check("connect", &reply);
    let base = house.gateway.base();
    assert_eq!(reply["enrollUrl"], format!("{base}/agents/enroll"));
    assert_eq!(reply["handshakeUrl"], format!("{base}/link/handshake"));
}

#[test]
fn names_types_windows_and_capabilities_of_a_connect() {
    let house = House::open();
    let connect = |id: Value| {
        house
            .owner()
            .connect_as(json!({"agentId": id, "capabilities": []}))
    };
    for bad in [
        json!(""),
        json!("  "),
        json!("Plexus-Admin"),
        json!("a b;rm -rf"),
        json!("a/b"),
        json!("anon:x"),
        json!("ä"),
        json!("x".repeat(201)),
        json!(5),
        json!(null),
    ] {
        connect(bad).expect_error(400, "internal_error");
    }
    for good in ["x".repeat(200), "A.b_c-1".to_owned()] {
        connect(json!(good)).expect_ok();
    }
    for spaced in ["  trimmed ", "trimmed\n"] {
        let reply = connect(json!(spaced)).expect_ok();
        assert_eq!(reply["agentId"], "trimmed");
    }
    house
        .owner()
        .connect_as(json!({"capabilities": []}))
        .expect_error(400, "internal_error");

    // A type that is not known becomes generic.
    for (given, kept) in [
        (json!("claude-code"), Some("claude-code")),
        (json!("Codex"), Some("generic")),
        (json!("in-context"), Some("in-context")),
        (json!(null), None),
    ] {
        let mut body = json!({"agentId": "typed", "capabilities": []});
        if !given.is_null() {
            body["agentType"] = given;
        }
        let reply = house.owner().connect_as(body).expect_ok();
        assert_eq!(reply["agentType"].as_str(), kept);
    }

    // The windows are those of a grant.
    let connect = |window: Value| {
        house
            .owner()
            .connect_as(json!({"agentId": "w", "capabilities": [READ], "trustWindow": window}))
    };
    for kind in ["1h", "1d", "until-revoked"] {
        let reply = connect(json!({"kind": kind})).expect_ok();
        assert_eq!(reply["granted"][0]["trustWindow"]["kind"], kind);
    }
    let once = connect(json!({"kind": "once"})).expect_ok();
    assert_eq!(once["skipped"], json!([READ]));
    connect(json!({"kind": "2y"})).expect_error(400, "internal_error");
    connect(json!({"kind": "custom", "ms": -1})).expect_error(400, "internal_error");

    // Unknown capabilities are refused by name.
    let unknown = house
        .owner()
        .connect_as(json!({"agentId": "x", "capabilities": [READ, "nope.read"]}));
    unknown.expect_error(400, "unknown_capability");
    assert_eq!(unknown.at("/unknownCapabilities"), json!(["nope.read"]));
    let mixed = house
        .owner()
        .connect_as(json!({"agentId": "x", "capabilities": [5, READ]}))
        .expect_ok();
    assert_eq!(mixed["granted"].as_array().map(Vec::len), Some(1));
    let none = house
        .owner()
        .connect_as(json!({"agentId": "x", "capabilities": READ}))
        .expect_ok();
    assert_eq!(none["granted"], json!([]));
    for body in ["{nope", "null", "5"] {
        let request = house
            .owner()
            .client
            .request("POST", "/admin/api/agents/connect");
        request
            .bytes(body)
            .send()
            .expect_error(400, "internal_error");
    }
}

/// What an agent may see: everything that is exposed, or what was chosen (docs/design.md#trust).
#[test]
fn reach() {
    let house = House::open();
    let exposed = house.gateway.agent_with("wide", &[READ]);
    assert!(exposed.sees().contains(&WRITE.to_owned()));
    let selected = house.narrow("narrow", &[READ]);
    assert_eq!(
        selected.sees(),
        ["workspace.how-to-use", READ],
        "and the skills that go with it"
    );
    let empty = house.narrow("empty", &[]);
    assert!(empty.sees().is_empty());
    house
        .owner()
        .connect_as(json!({"agentId": "x", "capabilities": [], "reach": "everything"}))
        .expect_error(400, "internal_error");

    let old = House::with(|builder| builder.arg("--default-reach").arg("selected"));
    assert_eq!(
        old.gateway.agent_with("old", &[READ]).sees(),
        ["workspace.how-to-use", READ]
    );
}

/// Elevated writes may stand by the owner's explicit choice; what executes never does (docs/design.md#ceilings).
#[test]
fn standing_effects() {
    let house = House::open();
    let reply = house
        .owner()
        .connect_as(json!({"agentId": "w", "capabilities": [READ, WRITE], "standing": [WRITE]}))
        .expect_ok();
    assert_eq!(reply["skipped"], json!([]));
    assert_eq!(reply["granted"].as_array().map(Vec::len), Some(2));

    let workshop = Workshop::open();
    let reply = workshop
        .owner()
        .connect_as(
            json!({"agentId": "x", "capabilities": ["fixture.run"], "standing": ["fixture.run"]}),
        )
        .expect_ok();
    assert_eq!(reply["granted"], json!([]));
    assert_eq!(reply["skipped"], json!(["fixture.run"]));
    assert_eq!(reply["refused"][0]["id"], "fixture.run");
    assert_eq!(reply["refused"][0]["code"], "standing_not_allowed");
    assert!(reply["refused"][0]["reason"].is_string());
}

#[test]
fn selections_and_enrollments_are_listed() {
    let house = House::open();
    let owner = house.owner();
    assert_eq!(
        owner.get("/admin/api/agents/enrollments").expect_ok()["agents"],
        json!([])
    );
    let waiting = owner.connect("waiting", &[READ]);
    assert!(waiting["code"].is_string());
    house.reader("active");
    let rows = owner.get("/admin/api/agents/enrollments").expect_ok();
    let row = |id: &str| {
        let rows = rows["agents"].as_array().expect("rows");
        rows.iter()
            .find(|row| row["agentId"] == id)
            .expect("a row")
            .clone()
    };
    assert_eq!(row("waiting")["status"], "pending");
    assert_eq!(row("active")["status"], "active");
    assert!(row("active")["redeemedAt"].is_string());
    // No credential in a list.
    assert_lacks(&rows.to_string(), "plx_");

    let subset = owner.get("/admin/api/agents/waiting/subset").expect_ok();
    assert_eq!(subset["capabilities"], json!([READ]));
    assert_eq!(subset["standing"], subset["standingExecute"]);
    let nobody = owner.get("/admin/api/agents/nobody/subset").expect_ok();
    assert_eq!(nobody["capabilities"], json!([]));
}

#[test]
fn revoked_rows_stay_until_they_are_deleted() {
    let house = House::open();
    let owner = house.owner();
    house.reader("one");
    let revoke = |body: Value| owner.post("/admin/api/agents/revoke", body);
    revoke(json!({})).expect_error(400, "internal_error");
    let stranger = revoke(json!({"agentId": "nobody"}));
    stranger.expect_status(200);
    assert_eq!(stranger.at("/ok"), false);
    let first = revoke(json!({"agentId": "one"})).expect_ok();
    assert_eq!(first["enrollmentRevoked"], true);
    assert_eq!(revoke(json!({"agentId": "one"})).at("/ok"), false);
    let rows = || owner.get("/admin/api/agents/enrollments").expect_ok()["agents"].clone();
    assert_eq!(rows()[0]["status"], "revoked");
    assert_eq!(
        revoke(json!({"agentId": "one", "delete": true})).at("/deleted"),
        true
    );
    assert_eq!(rows(), json!([]));
    house.reader("one");
}

/// E13: what a narrower connect leaves out is gone, and so are the credential and the sessions.
#[test]
fn a_narrower_connect_narrows() {
    let (house, agent) = House::with_reader("one");
    let token = agent.token(&["obsidian.vault.read"]);
    house.owner().connect("one", &[READ]);
    handshake(&house.gateway.client(), &agent.pat).expect_error(401, "session_expired");
    agent.must_be_signed_out();
    let late = agent.invoke_with(&token, "obsidian.vault.read", json!({}));
    assert_eq!(late.status, 401, "{late}");
    let grants = house.owner().grants();
    assert_eq!(grants.len(), 1, "of {}: {grants:#?}", READS.len());
    assert_eq!(grants[0]["capabilityId"], READ);
}

/// The owner grants without being asked; also there what executes does not stand.
#[test]
fn the_owner_grants() {
    let (house, agent) = House::with_agent("one");
    let owner = house.owner();
    let reply = owner.grant("one", READ, "1h").expect_ok();
    assert_eq!(reply["trustWindow"]["kind"], "1h");
    agent.must(READ, report());
    owner
        .put("/admin/api/grants", json!({"agentId": "one"}))
        .expect_error(400, "internal_error");
    owner
        .grant("one", READ, "2y")
        .expect_error(400, "internal_error");
    let tokens = owner.get("/admin/api/tokens").expect_ok();
    assert!(!tokens.to_string().contains("eyJ"), "no token in a list");
}

/// E15: a list of tokens shows the tokens' own scopes and ends.
#[test]
fn tokens_are_listed_as_they_are() {
    let (house, agent) = House::with_reader("one");
    let token = agent.token(&[READ]);
    let find = || {
        let tokens = house.owner().get("/admin/api/tokens").expect_ok();
        let tokens = tokens["tokens"].as_array().expect("tokens");
        tokens
            .iter()
            .find(|row| row["jti"] == token["jti"])
            .cloned()
    };
    let row = find().expect("a live token is listed");
    assert_eq!(row["scopes"].as_array().map(Vec::len), Some(1));
    assert_eq!(row["scopes"][0]["id"], READ);
    assert_eq!(row["expiresAt"], token["expiresAt"]);
    agent.refresh(&token).expect_ok();
    assert!(find().is_none(), "a dead token is not");
}

/// A narrowing at connect narrows what has the field; what it cannot narrow asks, and where it narrows nothing it is a
/// mistake.
#[test]
fn a_constraint_of_a_connect() {
    let house = House::open();
    let search = "obsidian.vault.search";
    let constraint = json!({"allow": {"field": "query", "values": ["plan"]}});
    let connect = |capabilities: &[&str]| {
        house.owner().connect_as(
            json!({"agentId": "one", "capabilities": capabilities, "constraint": constraint}),
        )
    };
    let reply = connect(&[READ, search]).expect_ok();
    let granted = reply["granted"].as_array().expect("grants");
    assert_eq!(granted.len(), 1, "{reply}");
    assert_eq!(granted[0]["capabilityId"], search);
    assert_eq!(granted[0]["constraint"], constraint);
    assert_eq!(reply["skipped"], json!([READ]));
    connect(&[READ]).expect_error(400, "internal_error");
    let held = house.owner().grants();
    assert_eq!(held.len(), 1, "a refused connect changes nothing: {held:?}");
}

/// A person who means to add one capability reads what a connect takes away, before it does.
#[test]
fn second_connect_at_a_terminal_names_what_ends_and_asks() {
    let (house, agent) = House::with_agent("one");
    house.owner().grant("one", READ, "7d").expect_ok();
    let asked = agent.must_ask(WRITE, note("a.txt", "x"));
    let line = ["connect", "one", "--allow", "workspace.list"];
    let mut terminal = Terminal::start(&house.gateway.on_terminal(line), 120, 40);
    terminal.until_shows("connect one anew? [y/N]");
    let picture = terminal.picture();
    let ends = |verb: &str| {
        format!(
            "{verb} its credential; what you approved and it has not done; its grants of {READ}; its requests that wait (1)."
        )
    };
    let picture: String = picture.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_contains(&picture, &ends("one is connected. To connect it anew ends"));
    assert_contains(&picture, "plexusctl grants allow one ID --window 1d");
    terminal.keys("n\r");
    assert!(!terminal.end().success());
    assert_eq!(agent.status(&asked).json()["state"], "pending");

    // Nobody is asked, and what was taken away is said: not what is granted anew.
    house.owner().must_grant("one", "workspace.list", "7d");
    let said = house.gateway.cli(line);
    assert_contains(
        said.expect_ok(),
        &ends("one was connected before. This ended"),
    );
    // The session that asked reads how it ended, and nothing else.
    let end = agent.status(&asked).json();
    assert_eq!(end["reason"], "the agent was connected anew");
    assert!(end["capabilities"].is_null(), "{end}");
}

/// A new code names the requests that end with the old credential; a rotation of the key, which ends all, asks first.
#[test]
fn new_code_and_key_name_requests_that_end() {
    let (house, agent) = House::with_agent("one");
    let asked = agent.must_ask(WRITE, note("a.txt", "x"));
    let rotate = house.gateway.on_terminal(["key", "rotate"]);
    let mut terminal = Terminal::start(&rotate, 120, 40);
    terminal.until_shows("[y/N]");
    terminal.keys("n\r");
    assert!(!terminal.end().success());
    assert_eq!(agent.status(&asked).json()["state"], "pending");

    let said = house.gateway.cli(["agents", "code", "one"]);
    assert_contains(said.expect_ok(), "It works once, within 15 min:");
    let ended = format!("requests and approvals ended: {asked}");
    assert_contains(said.expect_ok(), &ended);
    // The session that asked reads how it ended, and nothing else.
    let end = agent.status(&asked).json();
    assert_eq!(end["reason"], "the agent was given a new code");
    assert!(end["capabilities"].is_null(), "{end}");
    let listed = house.gateway.cli(["agents"]);
    assert_contains(listed.expect_ok(), "not enrolled");
    // A refusal of one name keeps no other back.
    let both = house.gateway.cli(["agents", "code", "nobody", "one"]);
    assert_contains(&both.expect_status(1).stdout, "Hand one this line.");
    assert_contains(&both.stderr, "no agent nobody");

    let said = house.gateway.cli(["key", "rotate"]);
    assert_contains(said.expect_ok(), "rotated: the new key is in ");
}
