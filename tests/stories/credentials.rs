//! Every route with every wrong credential: owner and agent are never mixed.

use crate::house::{House, READ, WRITE, nobody, note, report};
use plexus_tests::{Client, Response, routes};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Whose route it is, and how it answers who is not let in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    /// The key in its header; else 401 `unauthorized`.
    Owner,
    /// An agent's session; else 401 `session_expired`.
    Session,
    /// A scoped token; else 401.
    Token,
    /// The one who made it; else 403 `session_expired`.
    Maker,
}

/// The routes behind a credential: method, path, a body that is in order.
fn routes(run: &str, item: &str) -> Vec<(Whose, &'static str, String, Value)> {
    use Whose::{Maker, Owner, Session, Token};
    #[rustfmt::skip]
    let mut routes = vec![
        (Session, "GET", "/manifest".to_owned(), Value::Null),
        (Session, "GET", "/grants".into(), Value::Null),
        (Session, "GET", "/events".into(), Value::Null),
        (Session, "PUT", "/grants".into(), json!({"grants": {READ: "allow"}})),
        (Session, "POST", "/extensions".into(), json!({"manifest": {}})),
        (Session, "DELETE", "/extensions/x".into(), Value::Null),
        (Token, "POST", "/grants/refresh".into(), json!({"sessionId": nobody("sess_"), "jti": nobody("tok_")})),
        (Token, "POST", "/grants/revoke".into(), json!({"jti": nobody("tok_")})),
        (Maker, "GET", format!("/grants/status?pendingId={item}"), Value::Null),
        (Maker, "GET", format!("/invoke/status?runId={run}"), Value::Null),
    ];
    #[rustfmt::skip]
    let rows = [
        ("GET", "activity", json!(null)),
        ("GET", "agents", json!(null)),
        ("GET", "agents/enrollments", json!(null)),
        ("GET", "agents/one/subset", json!(null)),
        ("GET", "audit", json!(null)),
        ("GET", "audit/archives", json!(null)),
        ("GET", "audit/evt_x", json!(null)),
        ("GET", "audit/export", json!(null)),
        ("GET", "audit/verify", json!(null)),
        ("GET", "boards", json!(null)),
        ("GET", "boards/brd_x", json!(null)),
        ("POST", "boards/brd_x/stop", json!({})),
        ("GET", "channels", json!(null)),
        ("GET", "channels/talk", json!(null)),
        ("POST", "channels/talk", json!({"name": "x", "members": []})),
        ("GET", "channels/talk/ch", json!(null)),
        ("GET", "channels/talk/ch/messages", json!(null)),
        ("POST", "channels/talk/ch/messages", json!({"text": "x"})),
        ("POST", "channels/talk/ch/members", json!({"user": "x"})),
        ("DELETE", "channels/talk/ch/members/x", json!(null)),
        ("POST", "channels/talk/ch/archive", json!({"archived": true})),
        ("POST", "channels/talk/ch/leave", json!({})),
        ("PUT", "channels/talk/ch/name", json!({"name": "x"})),
        ("GET", "channels/talk/unsent", json!(null)),
        ("DELETE", "channels/talk/unsent/x", json!(null)),
        ("POST", "channels/talk/ch/rotate", json!({})),
        ("GET", "calls", json!(null)),
        ("GET", "calls/evt_x", json!(null)),
        ("GET", "capabilities", json!(null)),
        ("GET", "connectors", json!(null)),
        ("GET", "sign-ins/x", json!(null)),
        ("GET", "exposure", json!(null)),
        ("GET", "grants", json!(null)),
        ("GET", "health", json!(null)),
        ("GET", "interfaces", json!(null)),
        ("GET", "mesh", json!(null)),
        ("GET", "network", json!(null)),
        ("GET", "pending", json!(null)),
        ("GET", "source-settings", json!(null)),
        ("GET", "sources", json!(null)),
        ("GET", "sources/detect", json!(null)),
        ("GET", "sources/workspace/profile", json!(null)),
        ("GET", "status", json!(null)),
        ("GET", "tokens", json!(null)),
        ("GET", "unsettled", json!(null)),
        ("GET", "no-such-route", json!(null)),
        ("POST", "agents/connect", json!({"agentId": "intruder", "capabilities": [READ]})),
        ("POST", "agents/revoke", json!({"agentId": "one"})),
        ("POST", "agents/one/code", json!({})),
        ("GET", "agents/one/limits", json!(null)),
        ("POST", "agents/one/limits", json!({"callsPerSecond": 1_000_000})),
        ("POST", "audit/archives/forget", json!({"through": "x"})),
        ("POST", "backup/copy", json!({})),
        ("POST", "calls/evt_x/stop", json!({})),
        ("POST", "console/link", json!({})),
        ("POST", "default-grant/workspace.read", json!({"defaultGrant": true})),
        ("POST", "explain", json!({"agentId": "one", "capabilityId": READ})),
        ("POST", "exposure/workspace.read", json!({"enabled": false})),
        ("POST", "network", json!({"bindAddresses": ["0.0.0.0"]})),
        ("POST", "pause", json!({"on": true})),
        ("POST", "revoke", json!({"agentId": "one", "capabilityId": READ})),
        ("POST", "secrets/stolen", json!({"value": "x"})),
        ("POST", "sign-ins", json!({"name": "x", "url": "http://localhost:9/mcp"})),
        ("POST", "sign-ins/x/renew", json!({})),
        ("DELETE", "sources/x/sign-in", Value::Null),
        ("POST", "sources", json!({"id": "x", "kind": "workspace-dir", "label": "x", "route": {"path": "/tmp"}})),
        ("PUT", "source-settings/workspace", json!({"realLaunch": false})),
        ("POST", "sources/workspace/disable", json!({})),
        ("POST", "sources/workspace/enable", json!({})),
        ("POST", "sources/workspace/reconfigure", json!({"label": "x"})),
        ("POST", "sources/workspace/hide", json!({"folders": ["notes"]})),
        ("POST", "sources/workspace/resume", json!({})),
        ("POST", "unsettled/evt_x", json!({"happened": false})),
        // On the owner's socket alone: over TCP it is no route, and those want the key as well. It would only look.
        ("POST", "upgrade", json!({"check": true})),
        ("GET", "lend", json!(null)),
        ("POST", "lend", json!({"agentId": "one", "path": "/tmp"})),
        ("DELETE", "lend/workspace", json!(null)),
        ("GET", "extensions", json!(null)),
        ("POST", "extensions", json!({"name": "x", "program": "/usr/bin/true"})),
        ("POST", "extensions/preview", json!({"name": "x", "program": "/usr/bin/true"})),
        ("GET", "extensions/authoring-guide", json!(null)),
        ("GET", "extensions/x", json!(null)),
        ("DELETE", "extensions/x", json!(null)),
        ("GET", "review/one", json!(null)),
        ("GET", "changes", json!(null)),
        ("GET", "changes/cs_x", json!(null)),
        ("DELETE", "changes/cs_x", json!(null)),
        ("POST", "changes/cs_x/plan", json!({"source": "codex"})),
        ("POST", "changes/cs_x/apply", json!({"source": "codex", "stateToken": "0".repeat(64)})),
        ("GET", "undo/evt_x", json!(null)),
        ("POST", "undo/evt_x", json!({"stateToken": "0".repeat(64)})),
        ("DELETE", "sources/workspace", json!(null)),
        ("PUT", "grants", json!({"agentId": "one", "grants": {WRITE: "allow"}, "trustWindow": {"kind": "1d"}})),
    ];
    for (method, path, body) in rows {
        routes.push((Owner, method, format!("/admin/api/{path}"), body.clone()));
        routes.push((Owner, method, format!("/v1/admin/api/{path}"), body));
    }
    for prefix in ["/admin/api", "/v1/admin/api"] {
        let one = format!("{prefix}/pending/{item}");
        for action in ["approve", "deny"] {
            routes.push((Owner, "POST", one.clone(), json!({"action": action})));
        }
        routes.push((Owner, "POST", format!("{one}/plan"), json!({})));
        routes.push((Owner, "DELETE", format!("{one}/denial"), Value::Null));
        routes.push((Owner, "GET", one, Value::Null));
    }
    routes.push((Owner, "POST", "/v1/connection-key/rotate".into(), json!({})));
    routes.push((
        Owner,
        "PUT",
        "/v1/config".into(),
        json!({"autoAllowReads": true}),
    ));
    routes.push((Owner, "GET", "/v1/events".into(), Value::Null));
    routes.push((Owner, "GET", "/metrics".into(), Value::Null));
    routes.push((Owner, "GET", "/integration/one".into(), Value::Null));
    routes
}

/// The owner's routes that say something to everybody.
pub(crate) const OPEN: [(&str, &str); 3] = [
    // That it serves.
    ("GET", "/v1/health"),
    // Versions, and without the key no more.
    ("GET", "/v1/status"),
    ("GET", "/v1/config"),
];

/// A method and a path in which names stand in braces.
type Declared = (String, String);

/// The owner's routes, as their source declares them.
fn declared() -> BTreeSet<Declared> {
    let all = routes::of_owner(&["/admin/api", "/v1/admin/api"]).into_iter();
    all.map(|(method, path)| (method.to_owned(), path))
        .collect()
}

/// Those of the declared routes that are in no row. A row is of the route that has the most of its words.
fn left_out<'a>(
    declared: &'a BTreeSet<Declared>,
    rows: &[(&'static str, String)],
) -> Vec<&'a Declared> {
    let fits = |route: &str, path: &str| {
        let (route, path): (Vec<&str>, Vec<&str>) =
            (route.split('/').collect(), path.split('/').collect());
        let mut pairs = route.iter().zip(&path);
        route.len() == path.len() && pairs.all(|(is, asked)| is.starts_with('{') || is == asked)
    };
    let in_a_row: BTreeSet<&Declared> = rows
        .iter()
        .filter_map(|(method, path)| {
            let of = declared
                .iter()
                .filter(|(of, route)| of == method && fits(route, path));
            of.min_by_key(|(_, route)| route.matches('{').count())
        })
        .collect();
    declared
        .iter()
        .filter(|route| !in_a_row.contains(route))
        .filter(|(method, path)| !OPEN.contains(&(method.as_str(), path.as_str())))
        .collect()
}

/// A route that nobody tries without the key may be one that does without it.
#[test]
fn no_route_of_the_owner_is_left_out() {
    let declared = declared();
    assert!(declared.len() > 100, "only {declared:#?}");
    let mut rows: Vec<(&'static str, String)> = routes("run_x", "pend_x")
        .into_iter()
        .filter(|(whose, ..)| *whose == Whose::Owner)
        .map(|(_, method, path, _)| (method, path))
        .collect();
    let left = left_out(&declared, &rows);
    assert!(left.is_empty(), "in no row: {left:#?}");
    // The control, also for a route whose path another one's would fit.
    for gone in [
        ("POST", "/admin/api/pause"),
        ("GET", "/admin/api/audit/verify"),
    ] {
        let before = rows.len();
        rows.retain(|(method, path)| (*method, path.as_str()) != gone);
        assert_eq!(rows.len(), before - 1, "{gone:?}");
        let left = left_out(&declared, &rows);
        assert!(
            left.iter()
                .any(|(method, path)| (method.as_str(), path.as_str()) == gone),
            "{gone:?} is missed: {left:#?}"
        );
    }
}

trait Unauthorized {
    fn expect_unauthorized(&self, what: &str);
}

impl Unauthorized for Response {
    #[track_caller]
    fn expect_unauthorized(&self, what: &str) {
        assert_eq!(self.status, 401, "{what}: {self}");
        self.expect_error(401, "unauthorized");
    }
}

fn send(client: &Client, method: &str, path: &str, body: &Value) -> Response {
    let request = client.request(method, path);
    if body.is_null() {
        request.send()
    } else {
        request.json(body.clone()).send()
    }
}

#[test]
fn every_route_with_every_wrong_credential() {
    let (house, agent) = House::with_reader("one");
    let owner = house.owner();
    let other = house.reader("two");
    let token = agent.token(&[READ]);
    let token = token["token"].as_str().expect("a token");
    let item = agent.must_ask(WRITE, note("a.txt", "a"));
    let reply =
        agent.invoke_body(json!({"id": READ, "input": {"path": "report.txt"}, "async": true}));
    let run = reply.text_at("/run/runId");
    let key = house.gateway.key();
    let bare = house.gateway.client();

    let header = |name: &str, value: &str| bare.with(name, value);
    let bearer = |value: &str| bare.with("authorization", &format!("Bearer {value}"));
    let wrong_key = format!("plx_live_{}", "0".repeat(48));
    let upper = key.to_uppercase();
    // Wrong keys are counted against their sender; everything else is only refused.
    let wrong_keys: Vec<Client> = [
        wrong_key.as_str(),
        "",
        &upper,
        &agent.pat,
        &agent.session,
        token,
    ]
    .iter()
    .map(|value| header("x-plexus-connection-key", value))
    .collect();
    let wrong_for_owner: Vec<(&str, Client)> = vec![
        ("nothing", bare.clone()),
        ("the key as bearer", bearer(&key)),
        ("the key as session", header("x-plexus-session", &key)),
        ("a PAT", bearer(&agent.pat)),
        ("a session", agent.client()),
        ("a token", bearer(token)),
        (
            "the key as cookie",
            header("cookie", &format!("plexus={key}")),
        ),
    ];
    let wrong_for_session: Vec<(&str, Client)> = vec![
        ("nothing", bare.clone()),
        (
            "another session",
            header("x-plexus-session", &nobody("sess_")),
        ),
        ("no session in the header", header("x-plexus-session", "")),
        ("a PAT as session", header("x-plexus-session", &agent.pat)),
        ("a PAT", bearer(&agent.pat)),
        ("the key", header("x-plexus-connection-key", &key)),
        ("the key as session", header("x-plexus-session", &key)),
        ("the key as bearer", bearer(&key)),
    ];
    for (whose, method, path, body) in routes(&run, &item) {
        match whose {
            Whose::Owner => {
                for (what, client) in &wrong_for_owner {
                    send(client, method, &path, &body).expect_unauthorized(what);
                }
                // Not in the query either.
                let path = format!("{path}?connectionKey={key}");
                send(&bare, method, &path, &body).expect_unauthorized("the key in the query");
            }
            Whose::Session => {
                for (what, client) in &wrong_for_session {
                    if path == "/events" && *what == "the key" {
                        // The owner may listen.
                        continue;
                    }
                    let reply = send(client, method, &path, &body);
                    assert_eq!(reply.status, 401, "{what}: {reply}");
                    reply.expect_error(401, "session_expired");
                }
            }
            Whose::Token => {
                for client in [
                    bare.clone(),
                    bearer(&agent.pat),
                    bearer(&key),
                    agent.client(),
                    bearer("x"),
                ] {
                    let reply = send(&client, method, &path, &body);
                    assert_eq!(reply.status, 401, "{reply}");
                }
            }
            Whose::Maker => {
                for client in [
                    bare.clone(),
                    other.client(),
                    bearer(&agent.pat),
                    header("x-plexus-connection-key", &wrong_key),
                    header("x-plexus-session", &nobody("sess_")),
                ] {
                    send(&client, method, &path, &body).expect_error(403, "session_expired");
                }
            }
        }
    }

    // All wrong keys on all routes, at the same time: each is refused, most because there were so many.
    let owners: Vec<_> = routes(&run, &item)
        .into_iter()
        .filter(|(whose, ..)| *whose == Whose::Owner)
        .collect();
    for chunk in owners.chunks(8) {
        std::thread::scope(|scope| {
            for (_, method, path, body) in chunk {
                for client in &wrong_keys {
                    scope.spawn(move || {
                        let reply = send(client, method, path, body);
                        if reply.status == 429 {
                            reply.expect_error(429, "rate_limited");
                        } else {
                            reply.expect_unauthorized("a wrong key");
                        }
                    });
                }
            }
        });
    }

    // Nothing of all that had an effect.
    assert_eq!(house.gateway.key(), key);
    assert_eq!(owner.pending().len(), 1);
    assert_eq!(agent.status(&item).expect_ok()["state"], "pending");
    let status = owner.get("/admin/api/status").expect_ok();
    assert_eq!(status["paused"], false, "{status}");
    assert_eq!(agent.ledger().len(), crate::house::READS.len());
    agent.must(READ, report());
    assert!(!house.gateway.state().join("secrets/stolen").exists());
    let rows = owner.get("/admin/api/agents/enrollments").expect_ok();
    assert!(!rows.to_string().contains("intruder"));
    // And each route opens with the right one: those that change nothing.
    let one = format!("pending/{item}");
    for path in [
        "activity",
        "agents",
        "agents/enrollments",
        "audit",
        "audit/archives",
        "capabilities",
        "grants",
        "health",
        "pending",
        &one,
        "sources",
        "sources/workspace/profile",
        "status",
        "tokens",
        "unsettled",
    ] {
        owner.get(&format!("/admin/api/{path}")).expect_ok();
        owner.get(&format!("/v1/admin/api/{path}")).expect_ok();
    }
    for prefix in ["/admin/api", "/v1/admin/api"] {
        let export = owner.get(&format!("{prefix}/audit/export"));
        export.expect_status(200);
        let asked = json!({"agentId": "one", "capabilityId": READ});
        let explained = owner.post(&format!("{prefix}/explain"), asked);
        explained.expect_ok();
        // The key alone does not open what is on the owner's socket alone.
        let upgrade = owner.post(&format!("{prefix}/upgrade"), json!({"check": true}));
        upgrade.expect_error(404, "unknown_capability");
    }
}

/// Each socket serves its own side, and still wants the credential.
#[test]
fn the_sockets_serve_one_side_each() {
    let (house, agent) = House::with_reader("one");
    let key = house.gateway.key();
    let owners = house.gateway.owner_socket();
    let agents = house.gateway.agent_socket();
    owners
        .get("/admin/api/pending")
        .expect_error(401, "unauthorized");
    owners
        .with("x-plexus-connection-key", &key)
        .get("/admin/api/pending")
        .expect_ok();
    // What only this socket has, wants the key as well. It would only look.
    for prefix in ["/admin/api", "/v1/admin/api"] {
        owners
            .post(&format!("{prefix}/upgrade"), json!({"check": true}))
            .expect_error(401, "unauthorized");
    }
    agents.get("/manifest").expect_error(401, "session_expired");
    agents
        .with("x-plexus-session", &agent.session)
        .get("/manifest")
        .expect_ok();
    // The owner's routes are not on the agents' socket.
    let crossed = agents.with("x-plexus-connection-key", &key);
    for reply in [
        crossed.get("/admin/api/pending"),
        crossed.post("/v1/connection-key/rotate", json!({})),
    ] {
        reply.expect_error(404, "unknown_capability");
    }
    assert_eq!(house.gateway.key(), key);
}

/// The owner's command refuses to widen for a program that shows an agent's marks
/// (docs/design.md#who-can-be-the-owner).
#[test]
fn the_owners_command_stops_an_eager_agent() {
    let house = House::open();
    let run = |marker: Option<(&str, &str)>| {
        let mut command = plexus_tests::programs::command(
            &plexus_tests::binaries::path("plexusctl"),
            house.gateway.home(),
        );
        command.env("PLEXUS_HOME", house.gateway.state());
        if let Some((name, value)) = marker {
            command.env(name, value);
        }
        command.args(["connect", "intruder", "--allow", READ]);
        plexus_tests::programs::run(command)
    };
    for marker in [
        None,
        Some(("CLAUDECODE", "1")),
        Some(("PLEXUS_AGENT_ID", "one")),
    ] {
        let said = run(marker);
        said.expect_status(77);
        assert!(!said.all().contains("plx_enroll_"), "{said}");
    }
    let rows = house.owner().must_get("/admin/api/agents/enrollments");
    assert_eq!(rows["agents"], json!([]));
    house
        .gateway
        .must_cli(["connect", "invited", "--allow", READ]);
}
