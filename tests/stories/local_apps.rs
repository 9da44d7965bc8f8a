//! Extensions that reach an app of the owner's: declared requests by the source's egress, which keeps the secret.

use crate::egress::{found_in_memory, memory_holds};
use plexus_tests::home_app::{HomeApp, TOKEN};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like};
use plexus_tests::waiting::{PATIENCE, until_true};
use plexus_tests::{Agent, Folder, Gateway, Response};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
};

const PREVIEW: &str = "/admin/api/extensions/preview";
const EXTENSIONS: &str = "/admin/api/extensions";
const EXAMPLE: &str = include_str!("../../docs/extensions/home.json");

/// A capability of requests, whose fields are texts.
fn capability(name: &str, verb: &str, route: &Value) -> Value {
    let words = route.to_string();
    let fields: Vec<&str> = ["what", "more"]
        .into_iter()
        .filter(|field| words.contains(&format!("{{{field}}}")))
        .collect();
    let properties = fields
        .iter()
        .map(|field| ((*field).to_owned(), json!({"type": "string"})));
    let properties: serde_json::Map<String, Value> = properties.collect();
    let in_path: Vec<&&str> = fields
        .iter()
        .filter(|field| {
            route["path"]
                .as_str()
                .expect("a path")
                .contains(&format!("{{{field}}}"))
        })
        .collect();
    json!({
        "name": name, "kind": "capability", "label": name, "describe": format!("Does {name}."),
        "grants": [verb], "transport": "local-rest", "route": route,
        "io": {"input": {"type": "object", "properties": properties, "required": in_path}},
    })
}

fn manifest(capabilities: &[Value]) -> Value {
    json!({
        "manifest": "plexus-extension/0.1", "source": "app", "label": "App", "transport": "local-rest",
        "secrets": [{"name": "token", "attach": "bearer"}], "capabilities": capabilities,
    })
}

/// A gateway, an app, and an extension that reaches it.
struct World {
    gateway: Gateway,
    app: HomeApp,
    source: String,
}

impl World {
    /// With a manifest of the app's address.
    fn with(manifest: impl Fn(&str) -> Value) -> Self {
        let (gateway, app) = (Gateway::start(), HomeApp::start());
        let manifest = manifest(&app.url());
        let source = manifest["source"].as_str().expect("an id").to_owned();
        let world = Self {
            gateway,
            app,
            source,
        };
        world.add(&manifest);
        world.set(TOKEN);
        world
    }

    /// The example of the docs, with a lamp.
    fn home() -> Self {
        Self::with(|url| {
            let text = EXAMPLE.replace("http://192.168.1.5:8123", url);
            serde_json::from_str(&text).expect("the example")
        })
    }

    fn preview(&self, manifest: &Value) -> Value {
        let body = json!({"manifest": manifest});
        self.gateway.owner().post(PREVIEW, body).expect_ok()
    }

    fn add(&self, manifest: &Value) -> Value {
        let seen = self.preview(manifest);
        let body = json!({"manifest": manifest, "digest": seen["digest"]});
        let added = self.gateway.owner().post(EXTENSIONS, body).expect_ok();
        assert_eq!(added["ok"], true, "{seen} {added}");
        seen
    }

    fn set(&self, secret: &str) {
        let path = format!("/admin/api/secrets/{}.token", self.source);
        let body = json!({"value": secret});
        self.gateway.owner().post(&path, body).expect_ok();
    }

    fn agent(&self, names: &[&str]) -> Agent {
        self.gateway.agent_of("caller", &self.source, names)
    }

    /// Asks, has the owner approve, and calls.
    fn approved(&self, agent: &Agent, id: &str, input: &Value) -> Response {
        agent.approved(&self.gateway.owner(), id, input.clone())
    }
}

#[test]
fn lamp_is_read_and_switched_with_approval() {
    let world = World::home();
    let agent = world.agent(&["state", "light"]);
    let state = || agent.must("home.state", json!({"entity": "light.kitchen"}))["output"].clone();
    assert_eq!(
        state(),
        json!({"status": 200, "json": {"entity_id": "light.kitchen", "state": "off"}})
    );
    let on = json!({"act": "turn_on", "entity": "light.kitchen", "brightness": 40});
    let item = agent.must_ask("home.light", on.clone());
    let card = world.gateway.owner().card(&item).to_string();
    let url = format!("POST {}/api/services/light/turn_on", world.app.url());
    for said in [
        url.as_str(),
        "\\\"brightness\\\": 40",
        "its secret, by plexus-egress",
        "cannot preview",
    ] {
        assert!(card.contains(said), "{said}: {card}");
    }
    // A plan sends nothing.
    assert_eq!(world.app.heard().len(), 1);
    world.gateway.owner().approve(&item, "once");
    let done = agent.must("home.light", on.clone());
    assert_eq!(done["output"]["json"][0]["state"], "on", "{done}");
    assert_eq!(state()["json"]["state"], "on");
    let heard = world.app.heard();
    let body: Value = serde_json::from_str(&heard[1].body).expect("JSON");
    assert_eq!(
        body,
        json!({"entity_id": "light.kitchen", "brightness": 40})
    );
    let head = heard[1].head.to_lowercase();
    for line in [
        format!("authorization: bearer {TOKEN}"),
        format!("host: 127.0.0.1:{}", world.app.port),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    // Once was once, and no window is longer.
    agent.must_ask("home.light", on);
    let standing = world.gateway.owner().grant("caller", "home.light", "7d");
    assert_contains(&standing.text(), "is approved on its card");
}

#[test]
fn secret_stays_out_of_worker_log_and_audit() {
    let world = World::home();
    let agent = world.agent(&["state"]);
    agent.must("home.state", json!({"entity": "light.kitchen"}));
    let worker = world.gateway.process("plexus-worker-extension");
    let egress = world.gateway.process("plexus-egress");
    assert!(!memory_holds(worker.pid, TOKEN.as_bytes()));
    // The controls: the same look finds it where it is, and finds what is the worker's.
    assert!(memory_holds(egress.pid, TOKEN.as_bytes()));
    assert!(memory_holds(worker.pid, b"/api/states/"));
    let said = [
        world.gateway.stderr(),
        json!(world.gateway.log()).to_string(),
        json!(world.gateway.owner().audit(1000)).to_string(),
    ];
    assert!(!said.iter().any(|text| text.contains(TOKEN)));
    let kept = std::fs::read_to_string(world.gateway.state().join("extensions/home.json"));
    assert!(!kept.expect("the manifest").contains(TOKEN));
}

/// The port that a process listens on, its descriptor 0.
fn listens_on(pid: u32) -> u16 {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/0")).expect("its listener");
    let link = link.display().to_string();
    let inode = link.trim_start_matches("socket:[").trim_end_matches(']');
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the sockets");
    let mut rows = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows
        .find(|row| row.get(9) == Some(&inode))
        .expect("the socket");
    let (_, port) = row[1].split_once(':').expect("an address");
    u16::from_str_radix(port, 16).expect("a port")
}

/// The port of the egress, and the credential that a compromised reader of an extension holds.
pub(crate) fn way_of_the_reader(gateway: &Gateway) -> (u16, String) {
    let port = listens_on(gateway.process("plexus-egress").pid);
    let worker = gateway.process("plexus-worker-extension");
    let credentials = found_in_memory(worker.pid, b"plx_egress_", 64);
    let hex = |found: &&Vec<u8>| found[11..].iter().all(u8::is_ascii_hexdigit);
    let credential = credentials.iter().find(hex);
    let credential = credential.expect("the reader's credential");
    (port, String::from_utf8_lossy(credential).into_owned())
}

/// What the egress answers to a request of a compromised reader, with its credential.
fn as_the_reader(world: &World, request: &str) -> String {
    let (port, credential) = way_of_the_reader(&world.gateway);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the egress");
    stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let head = format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {credential}\r\n\
         proxy-authorization: Bearer {credential}\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn taken_over_reader_can_send_the_reads_alone() {
    let world = World::home();
    let agent = world.agent(&["state"]);
    agent.must("home.state", json!({"entity": "light.kitchen"}));
    let before = world.app.heard().len();
    for refused in [
        // A declared request, which is no read.
        "POST /api/services/light/turn_on",
        // A read's path by another method, and other paths by the read's.
        "DELETE /api/states/light.kitchen",
        "GET /api/services/light/turn_on",
        "GET /api/states",
        "GET /api/states/light.kitchen/history",
        "GET /api/states/..",
        "GET /api/config",
        "GET //api/states/light.kitchen",
    ] {
        let answer = as_the_reader(&world, refused);
        assert!(answer.starts_with("HTTP/1.1 403"), "{refused}: {answer}");
    }
    let app = format!("CONNECT 127.0.0.1:{}", world.app.port);
    let answer = as_the_reader(&world, &app);
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(world.app.heard().len(), before, "{:?}", world.app.heard());
    // The control.
    let answer = as_the_reader(&world, "GET /api/states/light.kitchen");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(world.app.heard().len(), before + 1);
}

#[test]
fn value_stays_in_its_place() {
    let world = World::with(|url| {
        manifest(&[capability(
            "ask",
            "read",
            &json!({
                "baseUrl": format!("{url}/api"), "path": "/states/{what}", "statuses": [200, 404],
                "query": {"more": "is:{more}", "fixed": "1"},
            }),
        )])
    });
    let agent = world.agent(&["ask"]);
    let odd = "a b?c=d&e#f%2Fg\u{e9}\r\nX-Evil: 1";
    let said = agent.must("app.ask", json!({"what": odd, "more": odd}));
    assert_eq!(
        said["output"],
        json!({"status": 404, "text": "Entity not found."})
    );
    let encoded = "a%20b%3Fc%3Dd%26e%23f%252Fg%C3%A9%0D%0AX-Evil%3A%201";
    let line = format!("GET /api/states/{encoded}?fixed=1&more=is%3A{encoded} HTTP/1.1\r\n");
    let heard = world.app.heard();
    assert!(heard[0].head.starts_with(&line), "{}", heard[0].head);
    assert_lacks(&heard[0].head.to_lowercase(), "\r\nx-evil");
    // What would be another segment is refused before anything is sent.
    for what in ["..", ".", "", "a/b", "a\\b", "a;b", "\0"] {
        let refused = agent.invoke("app.ask", json!({"what": what}));
        let error = &refused.json()["error"];
        assert_eq!(error["effect"], "none", "{what:?}: {refused}");
    }
    assert_eq!(world.app.heard().len(), 1);
    // What the input leaves out is left out.
    agent.must("app.ask", json!({"what": "light.kitchen"}));
    let head = &world.app.heard()[1].head;
    assert!(
        head.starts_with("GET /api/states/light.kitchen?fixed=1 HTTP/1.1\r\n"),
        "{head}"
    );
}

#[test]
fn failure_of_the_app_has_a_code_and_words() {
    let odd = |url: &str, name: &str, verb: &str, more: Value| {
        let method = if verb == "read" { "GET" } else { "POST" };
        let mut route =
            json!({"baseUrl": url, "path": "/odd/{what}", "method": method, "timeoutMs": 1500});
        route
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        capability(name, verb, &route)
    };
    let world = World::with(|url| {
        manifest(&[
            odd(url, "get", "read", json!({"statuses": [200, 418]})),
            odd(url, "data", "read", json!({"json": true})),
            odd(url, "send", "write", json!({})),
        ])
    });
    let agent = world.agent(&["get", "data", "send"]);
    let read = |name: &str, what: &str| agent.invoke(&format!("app.{name}"), json!({"what": what}));
    // What goes wrong, the reason, and what a write may have done by then.
    for (what, reason, done) in [
        ("401", "app_unauthorized", "none"),
        ("403", "app_forbidden", "none"),
        ("404", "not_found", "none"),
        ("409", "conflict", "none"),
        ("422", "refused", "none"),
        ("429", "rate_limited", "none"),
        ("302", "redirected", "unknown"),
        ("500", "server_error", "unknown"),
        // Without a word of when to come back it may be a proxy's.
        ("503", "rate_limited", "unknown"),
        ("half", "broken_off", "unknown"),
        ("stall", "timed_out", "unknown"),
        ("big", "too_large", "unknown"),
        ("binary", "not_text", "done"),
    ] {
        let told = read("get", what).json()["error"].clone();
        assert_eq!(
            (&told["code"], &told["effect"]),
            (&json!("transport_error"), &json!("none")),
            "{what}: {told}"
        );
        assert_eq!(told["detail"]["reason"], reason, "{what}: {told}");
        assert!(
            told["message"].as_str().expect("words").len() > 20,
            "{told}"
        );
        if ["401", "429", "302", "500", "half", "binary"].contains(&what) {
            let told = world
                .approved(&agent, "app.send", &json!({"what": what}))
                .json()["error"]
                .clone();
            assert_eq!(told["detail"]["reason"], reason, "{what}: {told}");
            assert_eq!(told["effect"], done, "{what}: {told}");
        }
    }
    let told = read("get", "422").json()["error"].clone();
    assert_eq!(told["detail"]["answer"], "told and more", "{told}");
    let message = told["message"].as_str().expect("words");
    assert!(
        message.ends_with("it refused; it says: told and more"),
        "{told}"
    );
    let told = read("get", "429").json()["error"]["detail"].clone();
    let like = json!({"retryAfterSeconds": 7, "answer": "slow down"});
    assert_like(&told, &like);
    assert_eq!(
        read("data", "words").json()["error"]["detail"]["reason"],
        "not_json"
    );
    // The owner settles what it did, and its agent learns that by the item and by the run.
    let input = json!({"what": "503"});
    let asked = agent.invoke_body(json!({"id": "app.send", "input": input, "onApproval": "run"}));
    let item = asked.text_at("/error/pendingId");
    world.gateway.owner().approve(&item, "once");
    let run = format!("/invoke/status?runId={}", item.replace("pend_", "run_"));
    let of_item = || agent.status_after(&item, 20).expect_ok()["result"].clone();
    let of_run = || agent.client().get(&run).expect_ok()["result"].clone();
    for told in [of_item(), of_run()] {
        assert_eq!(told["error"]["code"], "transport_error", "{told}");
        assert_eq!(told["error"]["effect"], "unknown", "{told}");
        assert_eq!(told["error"]["nextAction"]["kind"], "stop", "{told}");
    }
    let event = of_item()["auditId"].as_str().expect("an event").to_owned();
    let settle = ["unknown", "settle", event.as_str(), "--did-not"];
    world.gateway.cli(settle).expect_ok();
    for told in [of_item(), of_run()] {
        assert_eq!(told["error"]["effect"], "none", "{told}");
    }
    // A redirect is not followed.
    let followed = world
        .app
        .heard()
        .iter()
        .any(|heard| heard.head.contains("/api/states"));
    assert!(!followed, "{:?}", world.app.heard());
    // The controls.
    let teapot = read("get", "418").expect_ok();
    assert_eq!(
        teapot["output"],
        json!({"status": 418, "text": "told\nand more"})
    );
    assert_eq!(
        read("get", "words").expect_ok()["output"]["text"],
        "just words"
    );
    // Another secret is not the app's.
    world.set("wrong");
    let again = world.agent(&["get"]);
    let told = again.invoke("app.get", json!({"what": "words"}));
    assert_eq!(
        told.json()["error"]["detail"]["reason"],
        "app_unauthorized",
        "{told}"
    );
}

/// A change of a manifest that is refused, and a part of the words for it.
type Bad = (&'static str, fn(&mut Value), &'static str);

#[test]
fn manifest_of_requests_that_asks_for_more_is_refused() {
    const ROUTE: &str = "/capabilities/0/route";
    fn set(manifest: &mut Value, at: &str, value: Value) {
        let (parent, key) = at.rsplit_once('/').expect("a pointer");
        manifest.pointer_mut(parent).expect("a place")[key] = value;
    }
    fn route(manifest: &mut Value, key: &str, value: Value) {
        set(manifest, &format!("{ROUTE}/{key}"), value);
    }
    let world = World::home();
    let good = manifest(&[
        capability(
            "a",
            "read",
            &json!({"baseUrl": "http://127.0.0.1:8123", "path": "/x/{what}"}),
        ),
        capability(
            "b",
            "write",
            &json!({"baseUrl": "http://127.0.0.1:8123", "method": "PUT", "path": "/y"}),
        ),
    ]);
    #[rustfmt::skip]
    let table: &[Bad] = &[
        (
            "a public address",
            |m| {
                route(m, "baseUrl", json!("http://1.1.1.1"));
                route_b(m, "http://1.1.1.1");
            },
            "neither this machine nor in its network",
        ),
        (
            "no URL",
            |m| {
                route(m, "baseUrl", json!("127.0.0.1"));
                route_b(m, "127.0.0.1");
            },
            "no URL with http",
        ),
        (
            "a file",
            |m| {
                route(m, "baseUrl", json!("file:///etc"));
                route_b(m, "file:///etc");
            },
            "no URL with http",
        ),
        (
            "a user in the URL",
            |m| {
                route(m, "baseUrl", json!("http://me@127.0.0.1"));
                route_b(m, "http://me@127.0.0.1");
            },
            "no URL with http",
        ),
        (
            "a query that the card would show and no request would have",
            |m| {
                route(m, "baseUrl", json!("http://127.0.0.1:8123?dry-run=true"));
                route_b(m, "http://127.0.0.1:8123?dry-run=true");
            },
            "no URL with http",
        ),
        ("two hosts", |m| route(m, "baseUrl", json!("http://127.0.0.2:8123")), "more than one host"),
        (
            "two fields side by side",
            |m| {
                route(m, "path", json!("/x/{what}{more}"));
                let more = json!({"what": {"type": "string"}, "more": {"type": "string"}});
                set(m, "/capabilities/0/io/input/properties", more);
                set(
                    m,
                    "/capabilities/0/io/input/required",
                    json!(["what", "more"]),
                );
            },
            "two fields stand side by side",
        ),
        (
            "a header that frames the request",
            |m| {
                let secrets =
                    json!([{"name": "token", "attach": "header", "as": "content-length"}]);
                set(m, "/secrets", secrets);
            },
            "or frames the message",
        ),
        (
            "a header that says where the request goes",
            |m| {
                let secrets = json!([{"name": "token", "attach": "header", "as": "host"}]);
                set(m, "/secrets", secrets);
            },
            "or frames the message",
        ),
        ("a read that writes", |m| route(m, "method", json!("POST")), "a read sends GET or HEAD"),
        ("an odd method", |m| route(m, "method", json!("BREW")), "unknown variant `BREW`"),
        ("a path that climbs", |m| route(m, "path", json!("/../{what}")), "does not begin with /, or is no plain path"),
        ("a path with a query", |m| route(m, "path", json!("/x?a={what}")), "not a plain path"),
        ("a pattern", |m| route(m, "path", json!("/*/{what}")), "not a plain path"),
        ("a relative path", |m| route(m, "path", json!("x/{what}")), "does not begin with /, or is no plain path"),
        ("a field that is not there", |m| route(m, "path", json!("/x/{what}/{other}")), "is no property of the input"),
        ("a field that nothing uses", |m| route(m, "path", json!("/x")), "no part of the request uses it"),
        ("a part that may be left out", |m| set(m, "/capabilities/0/io/input/required", json!([])), "make it required"),
        ("a body of a read", |m| route(m, "body", json!({"a": 1})), "GET and HEAD have none"),
        ("a header in a name", |m| route(m, "query", json!({"a\r\nb": "{what}"})), "more than 32 names, or one"),
        ("a redirect as an answer", |m| route(m, "statuses", json!([302])), "not 200 to 299"),
        ("a request without an end", |m| route(m, "timeoutMs", json!(3_600_000)), "not 1 to 600,000 ms"),
        ("a header of its own", |m| route(m, "headers", json!({"a": "b"})), "unknown field `headers`"),
        ("another transport", |m| set(m, "/capabilities/0/transport", json!("cli")), "unknown field `baseUrl`"),
        ("a secret by a header without a name", |m| set(m, "/secrets/0/attach", json!("header")), "`as` is the header's name"),
        (
            "a header that is none",
            |m| {
                set(
                    m,
                    "/secrets",
                    json!([{"name": "token", "attach": "header", "as": "Bad Name"}]),
                );
            },
            "no header's name in lower case",
        ),
        (
            "two secrets",
            |m| {
                set(
                    m,
                    "/secrets",
                    json!([{"name": "a", "attach": "bearer"}, {"name": "b", "attach": "bearer"}]),
                );
            },
            "more than one secret",
        ),
        ("a certificate without TLS", |m| set(m, "/certificate", json!("ab".repeat(32))), "not an https URL"),
        (
            "a folder",
            |m| {
                set(
                    m,
                    "/folders",
                    json!([{"name": "f", "label": "F", "access": "read"}]),
                );
            },
            "no folders",
        ),
    ];
    for (what, change, words) in table {
        let mut bad = good.clone();
        change(&mut bad);
        let seen = world.preview(&bad);
        assert_eq!(seen["valid"], false, "{what}: {seen}");
        assert!(
            seen["reasons"]
                .to_string()
                .replace("\\\"", "\"")
                .contains(words),
            "{what}: {seen}"
        );
    }
    // The gateway itself.
    let at = |host: &str, port: u16| {
        let text = good
            .to_string()
            .replace("127.0.0.1:8123", &format!("{host}:{port}"));
        world.preview(&serde_json::from_str(&text).expect("JSON"))
    };
    let port = world.gateway.port();
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "192.168.1.5",
        "this-machine.example",
    ] {
        let seen = at(host, port);
        let words = "is this gateway's own port";
        assert!(
            seen["reasons"].to_string().contains(words),
            "{host}: {seen}"
        );
        // The control: another port of it.
        assert_eq!(at(host, port ^ 1)["valid"], true, "{host}");
    }
    // The control.
    assert_eq!(world.preview(&good)["valid"], true);
}

fn route_b(manifest: &mut Value, url: &str) {
    manifest["capabilities"][1]["route"]["baseUrl"] = json!(url);
}

#[test]
fn other_host_is_shown_and_suspends_until_agreed() {
    let world = World::home();
    let agent = world.agent(&["state"]);
    let lamp = json!({"entity": "light.kitchen"});
    agent.must("home.state", lamp.clone());
    // Another app, and a further request.
    let other = HomeApp::start();
    let mut second: Value =
        serde_json::from_str(&EXAMPLE.replace("http://192.168.1.5:8123", &other.url()))
            .expect("the example");
    second["capabilities"][1]["route"]["path"] = json!("/api/services/{act}");
    let seen = world.preview(&second);
    let changes = seen["changes"].to_string();
    for said in [
        format!("the host {} is new", other.url()),
        format!("the host {} is gone", world.app.url()),
        "home.light: url was".to_owned(),
    ] {
        assert!(changes.contains(&said), "{said}: {changes}");
    }
    agent.must("home.state", lamp.clone());
    assert_eq!((world.app.heard().len(), other.heard().len()), (2, 0));
    assert_eq!(
        seen["movedSecrets"],
        json!([{"name": "token", "host": other.url()}]),
        "{seen}"
    );
    // Kept by name, the secret goes to the host that was shown, and the grant stays valid.
    let keep = json!({"manifest": second, "digest": seen["digest"], "keepSecrets": ["token"]});
    let owner = world.gateway.owner();
    let added = owner.post(EXTENSIONS, keep).expect_ok();
    assert_eq!(added["secretsMissing"], json!([]), "{added}");
    agent.must("home.state", lamp);
    assert_eq!((world.app.heard().len(), other.heard().len()), (2, 1));
    // Removed, its secret goes.
    let secret = world.gateway.state().join("secrets/home.token");
    assert!(secret.exists());
    world.gateway.must_cli(["extension", "remove", "home"]);
    assert!(!secret.exists());
}

#[test]
fn app_without_a_secret_needs_none() {
    let world = World::with(|url| {
        let mut bare = manifest(&[capability(
            "ask",
            "read",
            &json!({"baseUrl": url, "path": "/api/x"}),
        )]);
        bare["secrets"] = json!([{"name": "token", "attach": "header", "as": "x-app-key"}]);
        bare
    });
    let agent = world.agent(&["ask"]);
    // The header is the one that the app knows.
    let told = agent.invoke("app.ask", json!({})).json()["error"]["detail"].clone();
    assert_eq!(told["reason"], "not_found", "{told}");
    let mut bare = manifest(&[capability(
        "ask",
        "read",
        &json!({"baseUrl": world.app.url(), "path": "/api/x"}),
    )]);
    bare.as_object_mut().expect("an object").remove("secrets");
    let seen = world.add(&bare);
    assert_contains(&seen["changes"].to_string(), "the secret token is gone");
    // Its stored secret is gone, and with it what was granted.
    assert_eq!(agent.invoke("app.ask", json!({})).status, 401);
    let agent = world.agent(&["ask"]);
    let told = agent.invoke("app.ask", json!({})).json()["error"]["detail"].clone();
    assert_eq!(told["reason"], "app_unauthorized", "{told}");
    let shown = world.gateway.cli(["extension", "show", "app"]);
    let shown = shown.expect_ok();
    assert_contains(shown, &format!("{} alone, not encrypted", world.app.url()));
    let profile = world.gateway.cli(["sources", "profile", "app"]);
    assert_contains(profile.expect_ok(), "by plexus-egress");
}

/// An agent that may use a program of lines, which works in this folder.
fn asks_in_lines(gateway: &Gateway, folder: &Folder) -> Agent {
    lend_lines(gateway, folder);
    gateway.agent_with("caller", &["lines.look", "lines.act"])
}

/// Lends that program, which gives back what it is given.
pub(crate) fn lend_lines(gateway: &Gateway, folder: &Folder) {
    let program = plexus_tests::binaries::path("plexus-lines");
    let one = |name: &str, verb: &str| {
        json!({
            "name": name, "kind": "capability", "label": name, "describe": format!("Does {name}."),
            "grants": [verb], "transport": "stdio",
            "route": {"bin": program, "args": ["{folder.files}"], "timeoutMs": 20_000, "outputBytes": 100_000},
            "io": {"input": {"type": "object", "properties": {"how": {"type": "string"}, "list": {"type": "array"}, "n": {"type": "integer"}}}},
        })
    };
    let manifest = json!({
        "manifest": "plexus-extension/0.1", "source": "lines", "label": "Lines", "transport": "stdio",
        "folders": [{"name": "files", "label": "Files", "access": "read-write"}],
        "capabilities": [one("look", "read"), one("act", "write")],
    });
    let owner = gateway.owner();
    let mut body = json!({"manifest": manifest, "folders": {"files": folder.path()}});
    let seen = owner.post(PREVIEW, body.clone()).expect_ok();
    body["digest"] = seen["digest"].clone();
    let added = owner.post(EXTENSIONS, body).expect_ok();
    assert_eq!(added["ok"], true, "{seen} {added}");
}

#[test]
fn program_is_asked_and_answers_in_lines() {
    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let agent = asks_in_lines(&gateway, &folder);
    let look = |how: &str| agent.invoke("lines.look", json!({"how": how}));
    let whole = agent.must("lines.look", json!({"list": [1, "a\nb"]}));
    assert_eq!(
        whole["output"],
        json!({"output": {"capability": "look", "input": {"list": [1, "a\nb"]}}})
    );
    assert_eq!(
        look("progress").expect_ok()["output"]["output"],
        "all of it"
    );
    for (how, reason, words) in [
        ("error", "refused", "not today"),
        ("die", "command_failed", "no such thing"),
        ("words", "not_json", "no line of JSON"),
        ("both", "not_json", "no line of JSON"),
        ("flood", "too_large", "more than 100000 bytes"),
    ] {
        let told = look(how).json()["error"].clone();
        assert_eq!(told["detail"]["reason"], reason, "{how}: {told}");
        assert!(
            told["message"].as_str().expect("words").contains(words),
            "{how}: {told}"
        );
        assert_eq!(told["effect"], "none", "{how}: {told}");
    }
    // A read's program can write nothing; the control is the same program in an approved call.
    let told = look("write").json()["error"].clone();
    assert_contains(
        told["message"].as_str().expect("words"),
        "Permission denied",
    );
    assert_eq!(folder.tree(), Vec::<String>::new());
    let input = json!({"how": "write"});
    let done = agent.must_approved(&gateway.owner(), "lines.act", input);
    assert_eq!(done["output"]["output"], "written", "{done}");
    assert_eq!(folder.tree(), ["made"]);
    // Nothing of it stays.
    until_true("no program", || {
        gateway.processes("plexus-lines").is_empty()
    });
}

/// Numbers go to an app and to a program as they were given and come back as they are; what is no JSON is repaired, with a word.
#[test]
fn numbers_of_an_app_and_of_a_program_are_exact_or_repaired() {
    let most = u64::MAX;
    let holds = |agent: &Agent, id: &str, input: Value, at: &str| {
        let output = agent.must(id, input)["output"].clone();
        let told = json!({"mean": null, "a": 2, "id": 1_915_883_588_174_806_059_u64});
        assert_eq!(output[at], told, "{id}: {output}");
        let warnings = output["warnings"].to_string();
        assert_contains(&warnings, "NaN");
        assert_contains(&warnings, "twice");
    };
    let world = World::with(|url| {
        let get = json!({"baseUrl": url, "path": "/odd/numbers", "json": true});
        let post = json!({
            "baseUrl": url, "path": "/odd/same", "method": "POST", "body": {"n": "{n}"}, "json": true,
        });
        let mut send = capability("send", "write", &post);
        send["io"]["input"]["properties"]["n"] = json!({"type": "integer"});
        manifest(&[capability("get", "read", &get), send])
    });
    let agent = world.agent(&["get", "send"]);
    holds(&agent, "app.get", json!({}), "json");
    let sent = world.approved(&agent, "app.send", &json!({"n": most}));
    assert_eq!(sent.expect_ok()["output"]["json"]["n"], most, "{sent}");
    let heard = world.app.heard();
    let body = &heard.last().expect("a request").body;
    assert_eq!(body, &format!(r#"{{"n":{most}}}"#));

    let (gateway, folder) = (Gateway::start(), Folder::empty());
    let agent = asks_in_lines(&gateway, &folder);
    holds(&agent, "lines.look", json!({"how": "numbers"}), "output");
    let same = agent.must("lines.look", json!({"n": most, "list": [i64::MIN]}));
    let input = &same["output"]["output"]["input"];
    assert_eq!(input, &json!({"n": most, "list": [i64::MIN]}), "{same}");
    // The control: what no reader holds exactly is refused, before anybody is asked.
    let body = r#"{"id":"lines.look","input":{"n":18446744073709551616}}"#;
    let beyond = agent.client().request("POST", "/invoke").bytes(body).send();
    assert_contains(&beyond.text(), "beyond 64 bits");
}
