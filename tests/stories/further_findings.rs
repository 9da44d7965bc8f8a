//! The further findings about the peer (E1 to E30), each with the behaviour that replaces it. Those about
//! extensions, bundles, workflows and installers hold here in the part that applies: there is nothing to misuse.

use crate::house::{COUNT, House, READ, WRITE, Workshop, nobody, note};
use plexus_tests::Response;
use plexus_tests::waiting::until;
use serde_json::{Value, json};

/// Wrong JSON types are refused in the shape of the route, everywhere.
#[test]
fn e01_wrong_types_are_no_crash() {
    let house = House::open();
    let agent = house.reader("one");
    let token = agent.token(&[READ]);
    let token = token["token"].as_str().expect("a token");
    let owner = house.owner().client;
    let clients = [
        ("POST", "/agents/enroll", house.gateway.client()),
        ("PUT", "/grants", agent.client()),
        ("POST", "/grants/refresh", agent.bearing(token)),
        ("POST", "/grants/revoke", owner.clone()),
        ("POST", "/invoke", agent.client()),
        ("POST", "/invoke", agent.bearing(token)),
        ("POST", "/admin/api/agents/connect", owner.clone()),
        ("POST", "/admin/api/agents/revoke", owner.clone()),
        ("POST", "/admin/api/revoke", owner.clone()),
        ("PUT", "/admin/api/grants", owner.clone()),
        ("POST", "/admin/api/exposure/workspace.read", owner.clone()),
        ("POST", "/admin/api/sources", owner.clone()),
        (
            "POST",
            "/admin/api/sources/workspace/reconfigure",
            owner.clone(),
        ),
        ("POST", "/admin/api/secrets/x", owner.clone()),
        ("POST", "/admin/api/network", owner.clone()),
        ("POST", "/admin/api/pending/pend_x", owner.clone()),
        ("PUT", "/v1/config", owner),
    ];
    for (method, path, client) in clients {
        for body in [
            "null",
            "5",
            "\"x\"",
            "[null]",
            "true",
            "{\"\":",
            "\u{feff}{}",
            "{}{}",
        ] {
            let reply = client.request(method, path).bytes(body).send();
            assert!((400..500).contains(&reply.status), "{body}: {reply}");
        }
    }
    house.gateway.client().get("/v1/health").expect_ok();
    let key = json!({"connectionKey": 5});
    house
        .gateway
        .client()
        .post("/link/handshake", key)
        .expect_error(401, "session_expired");
}

#[test]
fn e02_a_request_without_a_host_is_refused_and_shows_nothing() {
    let house = House::open();
    let bytes = house
        .gateway
        .client()
        .raw(b"GET /.well-known/plexus HTTP/1.0\r\n\r\n");
    let reply = Response::parse("without a host", &bytes).expect("an answer");
    reply.expect_error(403, "host_forbidden");
    assert!(
        !reply.text().contains('/') || !reply.text().contains("src"),
        "{reply}"
    );
}

#[test]
fn e03_a_page_of_another_port_cannot_act() {
    let house = House::open();
    let agent = house.reader("one");
    let request = |origin: &str| {
        agent
            .client()
            .with("origin", origin)
            .request("PUT", "/grants")
            .bytes(json!({"grants": {READ: "allow"}}).to_string())
            .header("content-type", "text/plain")
            .send()
    };
    request("http://localhost:3000").expect_error(403, "host_forbidden");
    request(&house.gateway.base()).expect_ok();
}

#[test]
fn e04_what_is_fully_declined_says_so() {
    let house = House::open();
    let agent = house.reader("one");
    let reply = agent.ask(json!({"nope.read": "allow"})).expect_ok();
    assert_eq!(reply["scopes"], json!([]));
    assert_eq!(reply["declined"][0]["id"], "nope.read");
}

#[test]
fn e05_unknown_words_mean_nothing() {
    let house = House::open();
    let agent = house.reader("one");
    for grants in [
        json!({READ: "maybe"}),
        json!({READ: {"decision": "nope"}}),
        json!({READ: {"decision": "allow", "trustWindow": {"kind": "bogus"}}}),
        json!({READ: {"decision": "allow", "trustWindow": {"kind": "custom", "ms": -1}}}),
    ] {
        agent
            .ask(grants)
            .expect_error(400, "schema_validation_failed");
    }
    house
        .owner()
        .grant("one", READ, "bogus")
        .expect_error(400, "internal_error");
}

#[test]
fn e06_there_is_no_context_to_read() {
    let house = House::open();
    let agent = house.reader("one");
    agent
        .client()
        .get(&format!("/grants/context?bundle={}", nobody("bnd_")))
        .expect_error(404, "unknown_capability");
}

#[test]
fn e07_a_status_hides_what_exists_and_serves_its_agent() {
    let house = House::open();
    let (one, two) = (house.reader("one"), house.reader("two"));
    let item = one.must_ask(WRITE, note("a.txt", "a"));
    let (foreign, unknown) = (two.status(&item), two.status(&nobody("pend_")));
    assert_eq!((foreign.status, unknown.status), (403, 403));
    one.another_session().status(&item).expect_ok();
}

#[test]
fn e08_revoking_nothing_is_no_success() {
    let house = House::open();
    let reply = house
        .owner()
        .client
        .post("/grants/revoke", json!({"jti": nobody("tok_")}));
    reply.expect_status(200);
    assert_eq!(reply.at("/ok"), false);
}

#[test]
fn e09_an_idempotency_key_is_kept() {
    let workshop = Workshop::open();
    let agent = workshop.writer("one");
    let call = |line: &str| {
        agent.invoke_body(json!({"id": COUNT, "input": {"line": line}, "idempotencyKey": "k"}))
    };
    let first = call("a").expect_ok();
    let again = call("a").expect_ok();
    assert_eq!(first["auditId"], again["auditId"]);
    assert_eq!(again["replayed"], true);
    let other = call("b").expect_error(422, "schema_validation_failed");
    assert_eq!(other["detail"]["reason"], "idempotency_key_reuse");
    assert_eq!(workshop.effects(), ["a"]);
    // Of another agent, the key is another key.
    workshop
        .writer("two")
        .invoke_body(json!({"id": COUNT, "input": {"line": "c"}, "idempotencyKey": "k"}))
        .expect_ok();
    assert_eq!(workshop.effects(), ["a", "c"]);
}

#[test]
fn e10_the_state_of_a_source_is_told() {
    let house = House::open();
    let stream = house.owner().events();
    let original = house.workspace.path();
    let away = original.with_extension("away");
    std::fs::rename(&original, &away).expect("a rename");
    house.owner().client.get("/admin/api/health").expect_ok();
    let status = stream.wait_until("source_status", |data| data["source"] == "workspace");
    assert_eq!(status["available"], false);
    std::fs::rename(&away, &original).expect("a rename back");
    house.owner().client.get("/admin/api/health").expect_ok();
    let status = stream.wait_until("source_status", |data| data["source"] == "workspace");
    assert_eq!(status["available"], true);
}

#[test]
fn e11_agents_register_nothing() {
    let house = House::open();
    let agent = house.reader("one");
    let body = json!({"sessionId": agent.session, "manifest": {}});
    for (method, path) in [("POST", "/extensions"), ("DELETE", "/extensions/workspace")] {
        let request = agent.client().request(method, path);
        let request = request.header("x-plexus-session", &agent.session);
        let reply = request.json(body.clone()).send().json();
        assert_eq!(reply["ok"], false, "{method} {path}: {reply}");
    }
    assert!(house.owner().pending().is_empty());
    assert!(agent.sees().contains(&"workspace.read".to_owned()));
}

#[test]
fn e12_status_and_config_say_little_without_the_key() {
    let house = House::open();
    for path in ["/v1/status", "/v1/config"] {
        let reply = house.gateway.client().get(path);
        let whole = house.owner().client.get(path).expect_ok().to_string();
        let private = ["counts", "pid", "tokenLifetimeMs", "instance"].into_iter();
        let told: Vec<_> = private.filter(|name| whole.contains(name)).collect();
        assert!(!told.is_empty(), "the control: the key shows more: {whole}");
        for name in told {
            assert!(!reply.text().contains(name), "{reply}");
        }
    }
}

#[test]
fn e13_a_narrower_connect_takes_away() {
    let house = House::open();
    let agent = house.reader("one");
    house.owner().connect("one", &[READ]);
    agent
        .client()
        .get("/manifest")
        .expect_error(401, "session_expired");
    assert_eq!(house.owner().grants().len(), 1);
}

#[test]
fn e14_an_agents_end_is_counted_right() {
    let house = House::open();
    let agent = house.reader("one");
    let second = agent.another_session();
    let (a, b) = (agent.token(&[READ]), second.token(&[READ]));
    let answer = house.owner().revoke_agent("one");
    assert_eq!(answer["sessionsInvalidated"], 2);
    let jtis = answer["revokedJtis"].as_array().expect("a list");
    assert!(
        jtis.contains(&a["jti"]) && jtis.contains(&b["jti"]),
        "{answer}"
    );
}

#[test]
fn e15_tokens_show_their_own_scopes() {
    let house = House::open();
    let agent = house.reader("one");
    let token = agent.token(&[READ]);
    let list = house.owner().client.get("/admin/api/tokens").expect_ok();
    let rows = list["tokens"].as_array().expect("tokens");
    let row = rows
        .iter()
        .find(|row| row["jti"] == token["jti"])
        .expect("the token");
    assert_eq!(row["scopes"].as_array().map(Vec::len), Some(1));
    assert_eq!(row["expiresAt"], token["expiresAt"]);
}

#[test]
fn e16_the_owners_changes_are_audited() {
    let house = House::open();
    let owner = house.owner();
    let client = &owner.client;
    let acts: [(&str, Response); 6] = [
        (
            "a source",
            client.post("/admin/api/sources/obsidian/disable", json!({})),
        ),
        (
            "a secret",
            client.post("/admin/api/secrets/k", json!({"value": "v-secret"})),
        ),
        (
            "the network",
            client.post(
                "/admin/api/network",
                json!({"bindAddresses": ["127.0.0.1"]}),
            ),
        ),
        (
            "the settings",
            client.put("/v1/config", json!({"tokenLifetimeMs": 60_000})),
        ),
        (
            "an exposure",
            client.post(
                "/admin/api/exposure/workspace.list",
                json!({"enabled": false}),
            ),
        ),
        (
            "the key",
            client.post("/v1/connection-key/rotate", json!({})),
        ),
    ];
    for (what, reply) in &acts {
        assert_eq!(reply.status, 200, "{what}: {reply}");
    }
    let events = house.owner().audit(1000);
    let kinds: Vec<&str> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert!(events.len() >= acts.len(), "{kinds:?}");
    assert!(!json!(events).to_string().contains("v-secret"));
}

#[test]
fn e17_agents_see_no_path() {
    let house = House::open();
    let agent = house.reader("one");
    let manifest = agent.manifest().to_string();
    assert!(!manifest.contains(&*house.workspace.path().to_string_lossy()));
    assert!(!manifest.contains("\"route\""));
}

/// The same where a source does not do well: why is said to the owner, and who may not know of it hears nothing.
#[test]
fn e17_agents_see_no_path_of_a_source_that_fails() {
    let mut house = House::open();
    let agent = house.reader("one");
    let far = house.narrow("far", &["obsidian.vault.read"]);
    house.gateway.restart();
    let (agent, far) = (house.back(&agent), house.back(&far));
    let streams = (house.owner().events(), agent.events(), far.events());
    let original = house.workspace.path();
    let away = original.with_extension("away");
    std::fs::rename(&original, &away).expect("a rename");
    std::os::unix::fs::symlink(&away, &original).expect("a link");
    let path = original.to_string_lossy();
    let refused = agent.invoke(READ, json!({"path": "report.txt"}));
    refused.expect_error(503, "source_unavailable");
    assert!(!refused.text().contains(&*path), "{refused}");
    let of_workspace = |data: &Value| data["source"] == "workspace";
    let reason = |stream: &plexus_tests::events::Events| {
        stream.wait_until("source_status", of_workspace)["reason"].to_string()
    };
    // The control: the owner is told which folder it is.
    let words = reason(&streams.0);
    assert!(words.contains(&*path), "{words}");
    let words = reason(&streams.1);
    assert!(!words.contains(&*path), "{words}");
    let quiet = std::time::Duration::from_millis(300);
    let heard = format!("{:?}", streams.2.rest(quiet));
    assert!(!heard.contains("workspace"), "{heard}");

    let workshop = Workshop::open();
    let agent = workshop.reader("one");
    workshop.folder.write("unopenable", "");
    let refused = agent.invoke("fixture.echo", json!({"text": "x"}));
    refused.expect_error(503, "source_unavailable");
    let said = "told not to open";
    assert!(!refused.text().contains(said), "{refused}");
    let manifest = agent.manifest().to_string();
    assert!(manifest.contains("unavailable"), "{manifest}");
    assert!(!manifest.contains(said), "{manifest}");
    let health = workshop.owner().client.get("/admin/api/health").expect_ok();
    assert!(health.to_string().contains(said), "{health}");
}

#[test]
fn e18_an_approval_waits_for_its_agent() {
    let mut house = House::open();
    let agent = house.reader("one");
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    house.gateway.restart();
    house.owner().approve(&item, "once");
    let agent = house.back(&agent);
    agent.invoke(WRITE, note("a.txt", "a")).expect_ok();
    assert_eq!(house.workspace.read("a.txt"), "a");
}

#[test]
fn e19_a_refusal_keeps_its_code() {
    let workshop = Workshop::open();
    let agent = workshop.reader("one");
    let reply = agent.invoke("fixture.fail", json!({"reason": "hard_link"}));
    let error = reply.expect_error(200, "transport_error");
    assert_eq!(error["detail"]["reason"], "hard_link");
    assert_eq!(error["capabilityId"], "fixture.fail");
}

#[test]
fn e20_nothing_comes_back_after_a_rotation_and_a_restart() {
    let mut house = House::open();
    let agent = house.reader("one");
    house
        .owner()
        .client
        .post("/v1/connection-key/rotate", json!({}))
        .expect_ok();
    house.gateway.restart();
    plexus_tests::agent::handshake(&house.gateway.client(), &agent.pat)
        .expect_error(401, "session_expired");
    house.owner().client.get("/admin/api/pending").expect_ok();
}

#[test]
fn e21_a_changed_source_voids_tokens_and_items() {
    let house = House::open();
    let other = plexus_tests::Folder::empty();
    other.write("report.txt", "another folder");
    let agent = house.reader("one");
    let token = agent.token(&[READ]);
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    house
        .owner()
        .client
        .post(
            "/admin/api/sources/workspace/reconfigure",
            json!({"route": {"path": other.path()}}),
        )
        .expect_ok();
    let late = agent.invoke_with(
        token["token"].as_str().expect("a token"),
        READ,
        json!({"path": "report.txt"}),
    );
    assert_eq!(late.status, 401, "{late}");
    house
        .owner()
        .decide(
            &item,
            json!({"action": "approve", "trustWindow": {"kind": "once"}}),
        )
        .expect_error(404, "unknown_capability");
}

#[test]
fn e22_what_was_revoked_stays_so() {
    let mut house = House::open();
    let agent = house.reader("one");
    house.owner().revoke("one", READ);
    house.gateway.restart();
    house
        .back(&agent)
        .must_ask(READ, json!({"path": "report.txt"}));
}

#[test]
fn e23_a_source_that_is_off_is_off() {
    let house = House::open();
    let other = plexus_tests::Folder::empty();
    let body = json!({"id": "off", "kind": "workspace-dir", "label": "x", "enabled": false, "route": {"path": other.path()}});
    house
        .owner()
        .client
        .post("/admin/api/sources", body)
        .expect_ok();
    let agent = house.gateway.agent("one");
    assert!(!agent.sees().iter().any(|id| id.starts_with("off.")));
    let bad = json!({"id": "bad", "kind": "workspace-dir", "label": "x", "approval": "sometimes", "route": {"path": other.path()}});
    house
        .owner()
        .client
        .post("/admin/api/sources", bad)
        .expect_status(422);
    let list = house.owner().client.get("/admin/api/sources").expect_ok();
    assert!(
        !list.to_string().contains("\"bad\""),
        "nothing is registered and then rolled back"
    );
}

#[test]
fn e24_no_input_is_in_the_log() {
    let workshop = Workshop::open();
    let agent = workshop.reader("one");
    agent
        .invoke(
            "fixture.slow",
            json!({"ms": 1, "passwd": "hunter2", "api_key": "k-123456"}),
        )
        .expect_ok();
    let log = json!(workshop.owner().audit(50)).to_string();
    assert!(log.contains("fixture.slow"), "the call itself is there");
    assert!(!log.contains("hunter2") && !log.contains("k-123456"));
}

/// Only the owner's key makes a code, and a script names no capability (more in `integration`).
#[test]
fn e25_only_the_owner_makes_codes_and_scripts_name_no_capability() {
    let house = House::open();
    let connected = house.owner().connect("one", &[READ]);
    let client = house.gateway.client();
    client
        .get("/integration/one")
        .expect_error(401, "unauthorized");
    for (path, status) in [
        ("/integration/one/install.sh", 200),
        ("/integration/one/setup.sh", 200),
        ("/integration/nobody/install.sh", 200),
    ] {
        let reply = client.get(path);
        assert_eq!(reply.status, status, "{reply}");
        assert!(!reply.text().contains(READ));
    }
    client
        .post("/agents/enroll", json!({"code": connected["code"]}))
        .expect_ok();
}

#[test]
fn e26_unknown_and_forbidden_look_alike() {
    let house = House::open();
    let agent = house.narrow("one", &[READ]);
    let token = agent.token(&[READ]);
    let token = token["token"].as_str().expect("a token");
    let unknown = agent.invoke_with(token, "nope.read", json!({}));
    let foreign = agent.invoke_with(token, "workspace.list", json!({}));
    unknown.expect_error(404, "unknown_capability");
    assert_eq!(
        unknown.text_at("/error/message").replace("nope.read", "?"),
        foreign
            .text_at("/error/message")
            .replace("workspace.list", "?")
    );
    assert_eq!(foreign.status, 404);
}

#[test]
fn e27_calls_have_limits_of_time_and_size() {
    let workshop = Workshop::open();
    let agent = workshop.reader("one");
    agent
        .invoke("fixture.brief", json!({"ms": 10_000}))
        .expect_error(200, "deadline_exceeded");
    agent
        .invoke("fixture.big", json!({"bytes": 4_000_000}))
        .expect_error(200, "transport_error");
}

#[test]
fn e28_a_bare_allow_asks_for_all_verbs() {
    let workshop = Workshop::open();
    let agent = workshop.reader("one");
    let reply = agent.ask(json!({"fixture.both": "allow"})).expect_ok();
    assert_eq!(reply["status"], "grant_pending_user");
    let card = workshop
        .owner()
        .card(reply["pendingId"].as_str().expect("an id"));
    assert_eq!(card["scopes"][0]["verbs"], json!(["read", "write"]));
}

/// A caller that vanishes loses an answer, not the work; and a stream that is idle stays.
#[test]
fn e29_a_vanished_caller_finds_its_effect_recorded() {
    let workshop = Workshop::open();
    let agent = workshop.writer("one");
    let body = json!({"id": COUNT, "input": {"line": "a", "wait": 200}, "idempotencyKey": "k"});
    let request = agent.client().request("POST", "/invoke").json(body.clone());
    agent.client().leave_after(&request, || {
        until("the intent", || {
            (workshop.calls(COUNT, "intent").len() == 1).then_some(())
        });
    });
    until("the effect", || {
        (workshop.calls(COUNT, "outcome").len() == 1).then_some(())
    });
    let again = agent.invoke_body(body).expect_ok();
    assert_eq!(again["replayed"], true, "{again}");
    assert_eq!(workshop.effects(), ["a"]);
}

#[test]
fn e30_a_session_alone_opens_a_run() {
    let house = House::open();
    let agent = house.reader("one");
    let reply =
        agent.invoke_body(json!({"id": READ, "input": {"path": "report.txt"}, "async": true}));
    reply.expect_status(202);
    assert!(reply.at("/grant/token").is_string(), "{reply}");
    let token: Value = reply.at("/grant");
    assert_eq!(token["scopes"][0]["id"], READ);
}

/// A key that the JSON library of a reader takes for something else: what the owner would be shown is not what the call
/// would be made with. Such an input is no input.
#[test]
fn an_input_that_reads_differently_elsewhere_is_refused() {
    let house = House::open();
    let agent = house.gateway.agent("one");
    let key = "$serde_json::private::RawValue";
    for input in [
        json!({"path": "report.txt", key: "1"}),
        json!({key: "{\"path\":\"other.txt\"}"}),
        json!({"path": "report.txt", "more": {key: "1"}}),
    ] {
        let reply = agent.invoke(READ, input);
        assert_eq!(reply.status, 400, "{reply}");
    }
    assert_eq!(house.owner().pending(), Vec::<Value>::new());
    agent.must_ask(READ, json!({"path": "report.txt", "RawValue": "1"}));
}
