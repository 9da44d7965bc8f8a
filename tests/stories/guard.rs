//! Before anything is parsed: Host, Origin, size, and requests that are no requests.

use crate::house::{House, READ};
use plexus_tests::texts::{assert_contains, assert_lacks};
use plexus_tests::waiting::until_true;
use plexus_tests::{Gateway, Response, not_run};
use serde_json::{Value, json};
use std::fs::{Permissions, set_permissions};
use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::process::Command;

#[test]
fn hosts() {
    let gateway = Gateway::start();
    let port = gateway.port();
    let with = |host: &str| {
        gateway
            .client()
            .with("host", host)
            .get("/.well-known/plexus")
    };
    for good in [
        &format!("127.0.0.1:{port}"),
        &format!("localhost:{port}"),
        &format!("[::1]:{port}"),
        "127.0.0.1:1",
        "127.0.0.1",
        "localhost",
        "[::1]",
    ] {
        assert_eq!(with(good).status, 200, "{good}");
    }
    for bad in [
        "evil.example.com",
        &format!("127.0.0.1.evil.example.com:{port}"),
        &format!("0.0.0.0:{port}"),
        &format!("LOCALHOST:{port}"),
        &format!("127.0.0.2:{port}"),
        "localhost.",
        "[::2]",
        "::1",
        "",
        "127.0.0.1:80@evil.example.com",
    ] {
        let reply = with(bad);
        assert_eq!(reply.status, 403, "{bad:?}: {reply}");
        reply.expect_error(403, "host_forbidden");
    }
}

/// As behind `ssh -L` under another number: the page may load its script at its own port alone, and would stay empty.
#[test]
fn console_at_another_port_names_its_own() {
    let gateway = Gateway::start();
    let port = gateway.port();
    let page = |host: &str| gateway.client().with("host", host).get("/admin");
    page(&format!("localhost:{port}")).expect_status(200);
    page(&format!("127.0.0.1:{port}")).expect_status(302);
    let forward = format!("ssh -L {port}:localhost:{port} HOST");
    for host in ["localhost:1", "127.0.0.1:1", "[::1]:1", "localhost"] {
        let error = page(host).expect_error(403, "host_forbidden");
        assert_contains(&error.to_string(), &forward);
    }
}

#[test]
fn origins_of_reads() {
    let gateway = Gateway::start();
    let with = |origin: &str| {
        gateway
            .client()
            .with("origin", origin)
            .get("/.well-known/plexus")
    };
    for good in [
        &gateway.base(),
        "http://localhost:3000",
        "http://[::1]:1",
        "http://127.0.0.1",
    ] {
        assert_eq!(with(good).status, 200, "{good}");
    }
    for bad in [
        &format!("https://127.0.0.1:{}", gateway.port()),
        "http://evil.example.com",
        "null",
        "",
        "file://",
        "chrome-extension://abc",
        "http://localhost.evil.example.com",
        "http://localhost:3000, http://evil.example.com",
    ] {
        let reply = with(bad);
        assert_eq!(reply.status, 403, "{bad:?}: {reply}");
        reply.expect_error(403, "host_forbidden");
    }
}

/// A page on another loopback port must not act for the person (E3).
#[test]
fn origins_of_acts() {
    let (house, agent) = House::with_reader("page");
    let port = house.gateway.port();
    let act = |origin: &str| {
        agent
            .client()
            .with("origin", origin)
            .put("/grants", json!({"grants": {READ: "allow"}}))
    };
    for good in [&house.gateway.base(), &format!("http://localhost:{port}")] {
        act(good).expect_ok();
    }
    // What a page may send without asking the gateway first.
    let plain = |origin: &str| {
        let request = agent.client().request("PUT", "/grants");
        let request = request.bytes(json!({"grants": {READ: "allow"}}).to_string());
        let request = request.header("content-type", "text/plain");
        request.header("origin", origin).send()
    };
    plain(&house.gateway.base()).expect_ok();
    for bad in [
        "http://localhost:3000",
        "http://127.0.0.1:1",
        "http://[::1]:3000",
        "null",
        "",
    ] {
        act(bad).expect_error(403, "host_forbidden");
        plain(bad).expect_error(403, "host_forbidden");
    }
}

/// The guard stands before authentication and before routing, on every path.
#[test]
fn the_guard_is_first_everywhere() {
    let (house, agent) = House::with_reader("guarded");
    for (method, path) in [
        ("POST", "/agents/enroll"),
        ("POST", "/link/handshake"),
        ("PUT", "/grants"),
        ("GET", "/grants"),
        ("GET", "/manifest"),
        ("POST", "/invoke"),
        ("POST", "/grants/revoke"),
        ("POST", "/grants/refresh"),
        ("GET", "/grants/status"),
        ("GET", "/invoke/status"),
        ("GET", "/admin/api/pending"),
        ("POST", "/admin/api/agents/connect"),
        ("GET", "/admin"),
        ("GET", "/v1/health"),
        ("GET", "/events"),
        ("GET", "/v1/events"),
        ("GET", "/nope"),
    ] {
        let client = agent
            .client()
            .with("x-plexus-connection-key", &house.gateway.key());
        for (header, value) in [
            ("host", "evil.example.com"),
            ("origin", "http://evil.example.com"),
        ] {
            let request = client
                .with(header, value)
                .request(method, path)
                .json(json!({}));
            request.send().expect_error(403, "host_forbidden");
        }
    }
}

#[test]
fn a_public_name_is_let_in_when_the_owner_said_so() {
    let gateway = Gateway::builder()
        .env("PLEXUS_PUBLIC_HOSTNAME", "gw.example.com")
        .start();
    let health = |header: &str, value: &str| gateway.client().with(header, value).get("/v1/health");
    for good in ["gw.example.com", "GW.example.com.", "gw.example.com:443"] {
        health("host", good).expect_ok();
    }
    health("origin", "https://gw.example.com").expect_ok();
    health("origin", "http://gw.example.com").expect_error(403, "host_forbidden");
    health("host", "other.example.com").expect_error(403, "host_forbidden");
}

fn raw(gateway: &Gateway, bytes: &[u8]) -> Option<Response> {
    Response::parse("raw bytes", &gateway.client().raw(bytes))
}

/// Somebody who begins a request and does not go on keeps a connection for ten seconds and holds up nobody.
#[test]
fn a_head_that_does_not_come_is_not_waited_for() {
    let gateway = Gateway::start();
    let begun = std::time::Instant::now();
    let client = gateway.client();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| client.raw(b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n"));
        gateway.client().get("/v1/health").expect_ok();
        let answer = slow.join().expect("the connection ends");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "nothing was served");
    });
    // Long before the time that this client would wait.
    assert!(begun.elapsed() < std::time::Duration::from_secs(30));
}

#[test]
fn requests_without_a_host_or_with_two() {
    let gateway = Gateway::start();
    let without = raw(&gateway, b"GET /.well-known/plexus HTTP/1.0\r\n\r\n").expect("an answer");
    without.expect_error(403, "host_forbidden");
    assert_lacks(&without.text(), "src");
    let two = b"GET /.well-known/plexus HTTP/1.1\r\nhost: localhost\r\nhost: evil.example.com\r\nconnection: close\r\n\r\n";
    let two = raw(&gateway, two).expect("an answer");
    let error = two.expect_error(403, "host_forbidden");
    // The one of them that is ours is not called foreign.
    assert_lacks(&error.to_string(), "localhost");
    gateway.client().get("/v1/health").expect_ok();
}

/// Neither value is taken, and it is not answered as if none had been sent.
#[test]
fn repeated_header_is_refused_by_its_name() {
    let gateway = Gateway::start();
    for (line, name) in [
        ("POST /invoke", "X-Plexus-Session"),
        ("GET /manifest", "X-Plexus-Session"),
        ("POST /mcp", "Authorization"),
        ("POST /mcp", "Mcp-Method"),
        ("GET /admin/api/pending", "X-Plexus-Connection-Key"),
        ("GET /events", "Last-Event-ID"),
    ] {
        let head = format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        let twice = format!("{head}{name}: one\r\n{name}: one\r\n\r\n");
        let answer = raw(&gateway, twice.as_bytes()).expect("an answer");
        let error = answer.expect_error(400, "internal_error");
        assert_eq!(error["detail"]["field"], name, "{error}");
        let message = error["message"].as_str().expect("words");
        assert_contains(message, &format!("Send it once, as `{name}: "));
        // The control: once it is judged by its route.
        let once = format!("{head}{name}: one\r\n\r\n");
        let answer = raw(&gateway, once.as_bytes()).expect("an answer");
        assert!(matches!(answer.status, 400 | 401), "{line}: {answer}");
        assert_lacks(&answer.text(), "Send it once");
    }
}

#[test]
fn bytes_that_are_no_request_end_only_their_connection() {
    let gateway = Gateway::start();
    let port = gateway.port();
    let long = format!(
        "GET /{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        "a".repeat(1 << 20)
    );
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{many}\r\n");
    let both = format!(
        "POST /invoke HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    for bytes in [
        b"\x00\x01\x02\x03\r\n\r\n".as_slice(),
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
        both.as_bytes(),
        b"POST /invoke HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    ] {
        if let Some(answer) = raw(&gateway, bytes) {
            assert!((400..500).contains(&answer.status), "{answer}");
        }
        gateway.client().get("/v1/health").expect_ok();
    }
    // A client that begins as TLS does is answered in plain text, or not at all.
    let hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n";
    let answer = gateway.client().raw(hello);
    let is_plain = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
    assert!(is_plain, "{answer:?}");
}

#[test]
fn bodies_have_limits() {
    let (house, agent) = House::with_reader("big");
    let kib = |n: usize| "x".repeat(n * 1024);
    let client = house.gateway.client();

    let code = |size| json!({"code": kib(size)});
    client
        .post("/agents/enroll", code(3))
        .expect_error(401, "unknown_code");
    for size in [5, 20 * 1024] {
        client
            .post("/agents/enroll", code(size))
            .expect_error(413, "payload_too_large");
    }
    client
        .post("/link/handshake", json!({"connectionKey": kib(5)}))
        .expect_error(413, "payload_too_large");

    let call = |size| {
        agent.invoke_body(json!({"id": READ, "input": {"path": "report.txt"}, "more": kib(size)}))
    };
    call(512).expect_ok();
    let refused = call(1025);
    refused.expect_error(413, "payload_too_large");
    assert_eq!(
        refused.at("/ok"),
        false,
        "in the shape of an invoke: {refused}"
    );
    assert_eq!(refused.at("/auditId"), "");
    agent
        .client()
        .put(
            "/grants",
            json!({"grants": {READ: "allow"}, "extra": kib(1025)}),
        )
        .expect_error(413, "payload_too_large");
}

/// What two parsers could read differently is refused (docs/design.md#the-life-of-a-call).
#[test]
fn bodies_are_parsed_strictly() {
    let (_house, agent) = House::with_reader("strict");
    let send = |body: &str| agent.client().request("POST", "/invoke").bytes(body).send();
    send(r#"{"id":"workspace.read","input":{"path":"report.txt"}}"#).expect_ok();
    let deep = format!(
        r#"{{"id":"workspace.read","input":{{"path":"report.txt","x":{}{}}}}}"#,
        "[".repeat(65),
        "]".repeat(65)
    );
    let many = |n: usize| {
        let zeros = "0,".repeat(n);
        format!(r#"{{"id":"workspace.read","input":{{"path":"report.txt","x":[{zeros}0]}}}}"#)
    };
    send(&many(16_000)).expect_ok();
    for bad in [
        r#"{"id":"workspace.read","id":"workspace.list","input":{"path":"report.txt"}}"#,
        r#"{"id":"workspace.read","input":{"path":"report.txt","path":"notes/private.md"}}"#,
        r#"{"id":"workspace.read","input":{"path":"report.txt","n":1e999}}"#,
        r#"{"id":"workspace.read","input":{"path":"report.txt","s":"\ud800"}}"#,
        r#"{"id":"workspace.read","input":{"path":"report.txt"}} trailing"#,
        "{nope",
        "",
        "null",
        "[]",
        "5",
        &deep,
        &many(17_000),
    ] {
        let refused = send(bad);
        assert_eq!(refused.status, 400, "{bad}: {refused}");
        assert_eq!(refused.at("/error/code"), "internal_error");
    }
    // Only lent tools take it (docs/decisions/0130); the input of a source of ours does not.
    let large =
        send(r#"{"id":"workspace.read","input":{"path":"report.txt","n":9007199254740993}}"#);
    large.expect_error(422, "schema_validation_failed");
}

/// The sockets of the machine's user take any loopback name as Host and no other.
#[test]
fn the_unix_sockets_are_guarded_too() {
    let house = House::open();
    let (key, gateway) = (house.gateway.key(), &house.gateway);
    let owners = gateway.owner_socket().with("x-plexus-connection-key", &key);
    for (socket, path) in [
        (gateway.agent_socket(), "/.well-known/plexus"),
        (owners, "/admin/api/pending"),
    ] {
        let ask = |host: &str| socket.with("host", host).get(path);
        for good in ["localhost", "127.0.0.1", "[::1]"] {
            ask(good).expect_ok();
        }
        ask("evil.example.com").expect_error(403, "host_forbidden");
    }
}

/// Another user's program is refused by who it is, however far the way to the sockets is open.
#[test]
fn socket_peer_of_another_user_is_refused() {
    const NOBODY: u32 = 65_534;
    // Sends a request, and gives back what comes.
    const ASK: &str = "\
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.settimeout(20)
peer.connect(sys.argv[1])
try:
    peer.sendall(b'GET /v1/health HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')
    print('came:', peer.recv(12).decode())
except (BrokenPipeError, ConnectionResetError):
    print('came:')
";
    if !nix::unistd::geteuid().is_root() {
        let test = "socket_peer_of_another_user_is_refused";
        return not_run::say(test, "only root can start a program of another user");
    }
    let house = House::open();
    for socket in ["run/agent/agent.sock", "run/owner/owner.sock"] {
        let path = house.gateway.state().join(socket);
        #[expect(clippy::disallowed_methods, reason = "only its place is wanted")]
        let top = std::env::temp_dir();
        for open in path.ancestors().take_while(|folder| *folder != top) {
            set_permissions(open, Permissions::from_mode(0o777)).expect("the mode");
        }
        let came = |uid: u32| {
            let mut ask = Command::new("python3");
            ask.args(["-c", ASK]).arg(&path).uid(uid).current_dir("/");
            let said = ask.output().expect("python3");
            assert!(said.status.success(), "as {uid}, {socket}: {said:?}");
            String::from_utf8_lossy(&said.stdout).trim().to_owned()
        };
        assert_eq!(came(NOBODY), "came:", "{socket}");
        let own = came(0);
        assert!(
            own.starts_with("came: HTTP/1.1 "),
            "the control, {socket}: {own}"
        );
    }
    until_true("both are in the log", || {
        let refused = house.gateway.stderr();
        let refused = refused.matches("a peer of another user was turned away");
        refused.count() == 2
    });
}

/// A link to the console is an argument of the program that opens it, which other users may read in the list of processes.
#[test]
fn console_link_is_refused_to_another_user() {
    const NOBODY: u32 = 65_534;
    // Signs in with a link, and gives back the status and the answer.
    const ASK: &str = "\
import http.client, sys
address, port, link = sys.argv[1:]
peer = http.client.HTTPConnection(address, int(port), timeout=20)
own = 'localhost:' + port
form = {'host': own, 'origin': 'http://' + own, 'content-type': 'application/json'}
peer.request('POST', '/admin/console/sign-in', '{\"link\": \"' + link + '\"}', form)
answer = peer.getresponse()
print(answer.status, answer.read().decode())
";
    let root = nix::unistd::geteuid().is_root();
    if !cfg!(target_os = "linux") || !root {
        let test = "console_link_is_refused_to_another_user";
        return not_run::say(
            test,
            "only root on Linux can start a program of another user",
        );
    }
    let house = House::open();
    let port = house.gateway.port().to_string();
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let made = house.owner().post("/admin/api/console/link", json!({}));
        let url = made.text_at("/url");
        let (_, link) = url.split_once('#').expect("a link");
        let came = |uid: u32| {
            let mut ask = Command::new("python3");
            ask.args(["-c", ASK, address, &port, link]);
            let said = ask.uid(uid).current_dir("/").output().expect("python3");
            assert!(said.status.success(), "as {uid}, {address}: {said:?}");
            String::from_utf8_lossy(&said.stdout).trim().to_owned()
        };
        let refused = came(NOBODY);
        let is_refused = refused.starts_with("401 ") && refused.contains("own user");
        assert!(is_refused, "{address}: {refused}");
        // The control: the link is still good for the user that it was made for.
        let own = came(0);
        assert!(own.starts_with("200 "), "{address}: {own}");
    }
    let log = house.gateway.log();
    let of_nobody = |event: &&Value| event.to_string().contains("uid 65534");
    assert_eq!(log.iter().filter(of_nobody).count(), 3);
}

/// Wrong JSON types are refused in the shape of the route, everywhere (E1).
#[test]
fn wrong_types_are_no_crash() {
    let (house, agent) = House::with_reader("one");
    let token = agent.token(&[READ]);
    let owner = house.owner().client;
    let clients = [
        ("POST", "/agents/enroll", house.gateway.client()),
        ("PUT", "/grants", agent.client()),
        ("POST", "/grants/refresh", agent.bearing(&token)),
        ("POST", "/grants/revoke", owner.clone()),
        ("POST", "/invoke", agent.client()),
        ("POST", "/invoke", agent.bearing(&token)),
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
        ("POST", "/v1/connection-key/rotate", owner.clone()),
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

/// A key that the JSON library of a reader takes for something else: what the owner would be shown is not what the call
/// would be made with. Such an input is no input.
#[test]
fn an_input_that_reads_differently_elsewhere_is_refused() {
    let (house, agent) = House::with_agent("one");
    let key = "$serde_json::private::RawValue";
    for input in [
        json!({"path": "report.txt", key: "1"}),
        json!({key: "{\"path\":\"other.txt\"}"}),
        json!({"path": "report.txt", "more": {key: "1"}}),
    ] {
        agent.must_fail(READ, input, 400, "internal_error");
    }
    assert_eq!(house.owner().pending(), Vec::<Value>::new());
    agent.must_ask(READ, json!({"path": "report.txt", "RawValue": "1"}));
}
