//! A source that reaches hosts: the listed ones, through a process of its own, which keeps the secret.

pub(crate) mod hosts;

use hosts::{Https, authority, echo};
use plexus_tests::texts::{assert_contains, assert_lacks, assert_like, text_of};
use plexus_tests::{
    Agent, Builder, Folder, Gateway,
    waiting::{until, until_true},
};
use serde_json::{Value, json};
use std::{
    io::Read as _,
    net::TcpStream,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// The owner's secret, of which no part is in a path or a word of the gateway's.
const SECRET: &str = "hunter2-e0c1f7a9d35b";

/// A gateway with one source that reaches an HTTPS host with a secret, and an echo by CONNECT.
struct Net {
    gateway: Gateway,
    _folder: Folder,
    https: Https,
    echo: u16,
    agent: Agent,
}

impl Net {
    fn open() -> Self {
        Self::with(Gateway::builder().fixture(), "127.0.0.1", true)
    }

    /// `peer` is the owner's name for the machine that echoes.
    fn with(builder: Builder, peer: &str, trusted: bool) -> Self {
        let (https, echo) = (Https::start(), echo());
        let (gateway, folder) = (builder.start(), Folder::empty());
        folder.write("state", "0");
        let owner = gateway.owner();
        let secret = json!({"value": SECRET});
        owner.post("/admin/api/secrets/token", secret).expect_ok();
        let mut route = json!({
            "path": folder.path(), "server": format!("https://localhost:{}", https.port),
            "peer": format!("{peer}:{echo}"),
        });
        if trusted {
            route["ca"] = json!(authority());
        }
        let source = json!({
            "id": "fixture", "kind": "fixture-dir", "label": "Fixture", "secretRef": "token", "route": route,
        });
        owner.post("/admin/api/sources", source).expect_ok();
        let agent = gateway.agent_with("one", &["fixture.send", "fixture.attack"]);
        Self {
            gateway,
            _folder: folder,
            https,
            echo,
            agent,
        }
    }

    fn send(&self, input: Value) -> Value {
        let mut reply = self.agent.must("fixture.send", input);
        reply["output"].take()
    }

    /// What a forwarded GET is answered, with these further header lines.
    fn get(&self, path: &str, more: &str) -> String {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\
             authorization: Bearer {{credential}}\r\n{more}\r\n"
        );
        answer(&self.send(json!({"head": head})))
    }

    /// What a CONNECT is answered, and what comes through it.
    fn connect(&self, to: &str) -> String {
        let head = format!(
            "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nproxy-authorization: Bearer {{credential}}\r\n\r\n"
        );
        answer(&self.send(json!({"head": head, "tunnelled": "over and out"})))
    }

    /// The detail of an event of the audit log, once it is there.
    fn recorded(&self, event: &str, fits: impl Fn(&Value) -> bool) -> Value {
        until(event, || {
            let mut events = self.gateway.owner().audit(1000).into_iter();
            events
                .find(|found| found["detail"]["event"] == event && fits(&found["detail"]))
                .map(|mut found| found["detail"].take())
        })
    }

    /// The line of the audit log about connections to `port` that came to `verdict`.
    fn audited(&self, port: u16, verdict: &str) -> Value {
        until("connections in the audit log", || {
            let events = self.gateway.owner().audit(1000);
            let events = events
                .iter()
                .filter(|event| event["detail"]["event"] == "worker.egress");
            let lines = events.flat_map(|event| {
                assert_eq!(event["detail"]["source"], "fixture", "{event}");
                event["detail"]["connections"].as_array().expect("a list")
            });
            lines
                .into_iter()
                .find(|line| line["port"] == port && line["verdict"] == verdict)
                .cloned()
        })
    }
}

fn answer(output: &Value) -> String {
    output["answer"].as_str().expect("a text").to_lowercase()
}

#[track_caller]
fn says(answer: &str, status: &str, words: &str) {
    assert!(
        answer.starts_with(&format!("http/1.1 {status}")),
        "{answer}"
    );
    assert!(answer.contains(words), "{answer}");
}

#[test]
fn secret_is_added_outside_of_the_worker() {
    let net = Net::open();
    let brought = "cookie: mine=1\r\nx-api-key: mine\r\nx-other: kept\r\n";
    let answer = net.get("/dav/notes?a=b", brought);
    says(&answer, "200", "this is /dav/notes?a=b");
    assert!(!answer.contains("set-cookie"), "{answer}");
    assert!(!answer.contains("x-plexus-egress"), "{answer}");
    let [head] = &net.https.heads()[..] else {
        panic!("{:?}", net.https.heads());
    };
    assert!(head.starts_with("get /dav/notes?a=b http/1.1"), "{head}");
    let secret = format!("authorization: bearer {SECRET}");
    for line in [
        secret.as_str(),
        &format!("host: localhost:{}", net.https.port),
        "x-other: kept",
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    for gone in ["mine", "evil", "connection:"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    // No trace of it where people and agents look.
    assert!(!net.gateway.stderr().contains(SECRET));
    assert!(!json!(net.gateway.log()).to_string().contains(SECRET));
    assert_lacks(&json!(net.gateway.owner().audit(1000)).to_string(), SECRET);
    let line = net.audited(net.https.port, "admitted");
    assert_eq!(line["host"], "localhost");
    assert_eq!(line["count"], 1);
    assert!(
        line["bytesIn"].as_u64() > Some(500) && line["bytesOut"].as_u64() > Some(200),
        "{line}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn secret_is_in_no_memory_of_the_worker() {
    let net = Net::open();
    says(&net.get("/dav/notes", ""), "200", "this is");
    let worker = net.gateway.process("plexus-worker-fixture");
    let egress = net.gateway.process("plexus-egress");
    for file in ["environ", "cmdline"] {
        for process in [&worker, &egress] {
            let text =
                std::fs::read(format!("/proc/{}/{file}", process.pid)).expect("our own process");
            assert!(!holds(&text, SECRET.as_bytes()), "{file} of {process:?}");
        }
    }
    assert!(!memory_holds(worker.pid, SECRET.as_bytes()));
    // The controls: the same look finds it where it is, and finds what is the worker's.
    assert!(memory_holds(egress.pid, SECRET.as_bytes()));
    assert!(memory_holds(worker.pid, b"it has no way to the network"));
}

#[cfg(target_os = "linux")]
fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Whether any readable page of a process holds `word`.
#[cfg(target_os = "linux")]
pub(crate) fn memory_holds(pid: u32, word: &[u8]) -> bool {
    !found_in_memory(pid, word, 0).is_empty()
}

/// What follows `word` in the readable pages of a process, `more` bytes each time.
#[cfg(target_os = "linux")]
pub(crate) fn found_in_memory(pid: u32, word: &[u8], more: usize) -> Vec<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("our own process");
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).expect("our own process");
    let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    let mut read = 0;
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (
            fields.next().expect("a range"),
            fields.next().expect("rights"),
        );
        let (from, to) = range.split_once('-').expect("two addresses");
        let (from, to) = (address(from), address(to));
        if !rights.starts_with('r') || to - from > 256 << 20 {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).expect("a length")];
        // Pages of the kernel's own cannot be read.
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            read += bytes.len();
            let places = memchr::memmem::find_iter(&bytes, word);
            found.extend(places.filter_map(|at| {
                let end = at + word.len() + more;
                bytes.get(at..end).map(<[u8]>::to_vec)
            }));
        }
    }
    assert!(read > 1 << 20, "only {read} bytes could be read");
    found
}

#[test]
fn forwarder_goes_nowhere_but_to_the_listed_paths() {
    let net = Net::open();
    says(
        &net.get("/dav/moved", ""),
        "302",
        "location: https://localhost/dav/elsewhere",
    );
    for path in [
        "/",
        "/davx",
        "/other",
        "/dav/../other",
        "/dav/%2e%2e/other",
        "/dav//other",
    ] {
        says(&net.get(path, ""), "403", "lists no such path");
    }
    let absolute = format!("http://localhost:{}/dav/notes", net.https.port);
    says(&net.get(&absolute, ""), "403", "lists no such path");
    let open = "GET /dav/notes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    says(
        &answer(&net.send(json!({"head": open}))),
        "401",
        "credential",
    );
    let wrong = open.replace("\r\nhost:", "\r\nauthorization: Bearer nonsense\r\nhost:");
    says(
        &answer(&net.send(json!({"head": wrong}))),
        "401",
        "credential",
    );
    // The redirect alone came there, and was not followed.
    assert_eq!(net.https.heads().len(), 1, "{:?}", net.https.heads());
    assert_eq!(net.audited(net.https.port, "path")["bytesOut"], 0);
    net.audited(net.https.port, "credential");
}

/// `fixture.send` runs in the reader, which sends whatever it is told to.
#[test]
fn reader_sends_no_method_that_changes_something() {
    let net = Net::open();
    for method in ["PUT", "DELETE", "POST", "PROPPATCH"] {
        let head = format!(
            "{method} /dav/notes HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {credential}\r\ncontent-length: 0\r\n\r\n",
            credential = "{credential}",
        );
        let refused = answer(&net.send(json!({"head": head})));
        says(&refused, "403", "may not have this method");
    }
    assert!(net.https.heads().is_empty(), "{:?}", net.https.heads());
    net.audited(net.https.port, "method");
    // The controls: a method that reads, and one that does at this path.
    says(&net.get("/dav/notes", ""), "200", "this is");
    says(&post(&net, "/dav/find/simple"), "200", "this is");
    says(&post(&net, "/dav/finds"), "403", "may not have this method");
    // A path that is listed for one method alone.
    says(&net.get("/menu/today", ""), "200", "this is");
    says(&post(&net, "/menu"), "403", "may not have this method");
}

/// Any program on this machine may connect to the port of an egress.
#[test]
fn connections_without_a_credential_keep_no_worker_out() {
    let net = Net::open();
    let output = net.send(json!({"head": "GET / HTTP/1.1\r\n\r\n"}));
    let port = u16::try_from(output["port"].as_u64().expect("a port")).expect("a port");
    let mut strangers: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(("127.0.0.1", port)).expect("a connection"))
        .collect();
    let began = Instant::now();
    says(&net.get("/dav/notes", ""), "200", "this is");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    // The control: they were taken, and the oldest were closed for the others.
    strangers[0]
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("an option");
    assert_eq!(strangers[0].read(&mut [0]).expect("its end"), 0);
}

fn post(net: &Net, path: &str) -> String {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer {{credential}}\r\ncontent-length: 0\r\n\r\n"
    );
    answer(&net.send(json!({ "head": head })))
}

/// A host of this machine that has no TLS, as the owner wrote it.
#[test]
fn secret_goes_without_tls_to_this_machine_only() {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&heads);
    let port = hosts::plain(move |head| heard.lock().expect("the list").push(head));
    let net = Net::open();
    let owner = net.gateway.owner();
    let folder = Folder::empty();
    let source = |id: &str, server: String| {
        json!({"id": id, "kind": "fixture-dir", "label": id, "secretRef": "token",
            "route": {"path": folder.path(), "server": server}})
    };
    let add = |id: &str, server: String| {
        let body = source(id, server);
        owner.post("/admin/api/sources", body)
    };
    add("plain", format!("http://localhost:{port}/")).expect_ok();
    let agent = net.gateway.agent_with("two", &["plain.send"]);
    let head = "GET /dav/notes HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\nauthorization: Bearer {credential}\r\n\r\n";
    let reply = agent.must("plain.send", json!({"head": head}));
    says(&answer(&reply["output"]), "200", "in the clear");
    let head = heads.lock().expect("the list").concat().to_lowercase();
    assert_contains(&head, &format!("authorization: bearer {SECRET}"));
    assert!(head.contains(&format!("host: localhost:{port}")), "{head}");
    for elsewhere in [
        "http://192.168.1.5/",
        "http://localhost.example/",
        "http://cal.example/",
    ] {
        let refused = add("other", elsewhere.into());
        assert!(
            refused.text().contains("route.server"),
            "{elsewhere}: {refused}"
        );
    }
}

#[test]
fn host_that_does_not_prove_its_name_gets_no_secret() {
    let net = Net::with(Gateway::builder().fixture(), "127.0.0.1", false);
    says(&net.get("/dav/notes", ""), "502", "has not proven its name");
    assert!(net.https.heads().is_empty());
    net.audited(net.https.port, "tls");
}

#[test]
fn tunnel_goes_to_listed_hosts_only() {
    let net = Net::open();
    let echo = net.echo;
    let listed = net.connect(&format!("127.0.0.1:{echo}"));
    says(&listed, "200", "over and out");
    let line = net.audited(echo, "admitted");
    assert_like(&line, &json!({"bytesIn": 12, "bytesOut": 12}));
    let elsewhere = Https::start();
    for to in [
        format!("127.0.0.1:{}", elsewhere.port),
        format!("127.0.0.2:{echo}"),
        format!("localhost:{echo}"),
        format!("[::1]:{echo}"),
        // The secret's host: a worker that got there by itself could read what is added.
        format!("localhost:{}", net.https.port),
    ] {
        says(&net.connect(&to), "403", "does not list");
    }
    net.audited(elsewhere.port, "unlisted");
    let open = format!("CONNECT 127.0.0.1:{echo} HTTP/1.1\r\nhost: x\r\n\r\n");
    says(
        &answer(&net.send(json!({"head": open}))),
        "407",
        "proxy-authenticate",
    );
    net.audited(echo, "credential");
}

#[test]
fn names_do_not_lead_into_the_machine_unless_the_owner_wrote_so() {
    // A name of the owner's that leads to loopback, which is not `localhost` itself.
    let net = Net::with(Gateway::builder().fixture(), "inner.localhost", true);
    let to = format!("inner.localhost:{}", net.echo);
    says(&net.connect(&to), "403", "the owner has not listed");
    net.audited(net.echo, "address");
}

#[test]
fn manifest_does_not_lead_into_the_machine() {
    let programs = Folder::empty();
    let workers = plexus_tests::editions::workers(&programs.path(), "inward");
    let builder = Gateway::builder()
        .fixture()
        .env(plexus_tests::editions::VARIABLE, "inward")
        .arg("--workers")
        .arg(&workers.to_string_lossy());
    let net = Net::with(builder, "127.0.0.1", true);
    says(
        &net.connect("127.0.0.1:9"),
        "403",
        "the owner has not listed",
    );
    net.audited(9, "address");
    // The control: the owner's own entry leads there.
    says(
        &net.connect(&format!("127.0.0.1:{}", net.echo)),
        "200",
        "over and out",
    );
}

#[test]
fn worker_starts_again_with_a_new_egress() {
    let net = Net::open();
    let peer = format!("127.0.0.1:{}", net.echo);
    says(&net.connect(&peer), "200", "over and out");
    let (egress, worker) = (
        net.gateway.process("plexus-egress"),
        net.gateway.process("plexus-worker-fixture"),
    );
    egress.signal(nix::sys::signal::Signal::SIGKILL);
    until_true("the end of both", || !egress.alive() && !worker.alive());
    says(&net.connect(&peer), "200", "over and out");
    assert_ne!(net.gateway.process("plexus-egress"), egress);
    let ended = net.recorded("worker.end", |detail| {
        detail["cause"] == "its way to the network ended"
    });
    assert_eq!(ended["source"], "fixture");
}

#[test]
fn one_egress_serves_both_workers_and_ends_with_their_source() {
    let net = Net::open();
    says(&net.get("/dav/notes", ""), "200", "this is");
    let write = "fixture.count";
    let wanted = json!({"agentId": "two", "capabilities": [write], "standing": [write]});
    let writer = net.gateway.agent_as(wanted);
    writer.must(write, json!({"line": "x"}));
    let named = |program: &str| net.gateway.processes(program).len();
    let counts = [named("plexus-worker-fixture"), named("plexus-egress")];
    assert_eq!(counts, [2, 1], "{:?}", net.gateway.workers());
    let egress = net.gateway.process("plexus-egress");
    let client = net.gateway.owner().client;
    client.delete("/admin/api/sources/fixture").expect_ok();
    until_true("its end", || !egress.alive());
}

#[test]
fn missing_secret_or_authority_refuses_the_start() {
    let net = Net::open();
    let owner = net.gateway.owner();
    #[rustfmt::skip]
    let rows = [
        ("none", json!({"server": "localhost"}), Value::Null, "token is not set"),
        ("gone", json!({"server": "localhost", "ca": "/nowhere/ca.pem"}), json!("token"), "certificate authorities"),
        ("empty", json!({"server": "localhost", "ca": "/dev/null"}), json!("token"), "certificate authorities"),
    ];
    for (id, route, secret, why) in rows {
        let folder = Folder::empty();
        let mut route = route;
        route["path"] = json!(folder.path());
        let source = json!({"id": id, "kind": "fixture-dir", "label": id, "secretRef": secret, "route": route});
        owner.post("/admin/api/sources", source).expect_ok();
        let agent = net.gateway.agent_with(id, &[&format!("{id}.echo")]);
        let reply = agent.invoke(&format!("{id}.echo"), json!({"text": "x"}));
        assert_eq!(reply.at("/ok"), false, "{reply}");
        let event = net.recorded("worker.refused", |detail| detail["source"] == id);
        assert!(event.to_string().contains(why), "{event}");
    }
    let body = json!({
        "id": "plain", "kind": "fixture-dir", "label": "plain",
        "route": {"path": Folder::empty().path(), "server": "http://cal.example"},
    });
    let refused = owner.post("/admin/api/sources", body);
    assert!(refused.text().contains("route.server"), "{refused}");
}

/// A worker that could reach that port of another machine could reach it of this one: a sandbox tells ports apart alone.
#[test]
fn own_port_of_the_gateway_is_reached_by_no_source() {
    let net = Net::open();
    let port = net.gateway.port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "192.168.1.5",
        "this-machine.example",
    ];
    for (number, host) in hosts.into_iter().enumerate() {
        let (id, folder) = (format!("own{number}"), Folder::empty());
        let route = json!({"path": folder.path(), "peer": format!("{host}:{port}")});
        let source = json!({"id": id, "kind": "fixture-dir", "label": id, "route": route});
        let owner = net.gateway.owner();
        owner.post("/admin/api/sources", source).expect_ok();
        let agent = net.gateway.agent_with(&id, &[&format!("{id}.echo")]);
        let reply = agent.invoke(&format!("{id}.echo"), json!({"text": "x"}));
        assert_eq!(reply.at("/ok"), false, "{host}: {reply}");
        let event = net.recorded("worker.refused", |detail| detail["source"] == *id);
        assert!(
            event.to_string().contains("the gateway's own port"),
            "{host}: {event}"
        );
    }
    // The control: another port of the same machine.
    let peer = net.connect(&format!("127.0.0.1:{}", net.echo));
    says(&peer, "200", "over and out");
}

/// A Unix socket that the owner's field names: bytes to it by way of the egress, and no other way, and to no other.
#[test]
#[cfg(target_os = "linux")]
fn worker_reaches_one_socket_by_its_egress() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let echo_at = |path: &std::path::Path| {
        let listener = UnixListener::bind(path).expect("a socket");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut heard = Vec::new();
                let _ = std::io::Read::read_to_end(&mut stream, &mut heard);
                let _ = std::io::Write::write_all(&mut stream, &heard);
            }
        });
    };
    let (gateway, folder, apps) = (
        Gateway::builder().fixture().start(),
        Folder::empty(),
        Folder::empty(),
    );
    folder.write("state", "0");
    let (app, other) = (apps.path().join("app.sock"), apps.path().join("other.sock"));
    let owner = gateway.owner();
    let add = |path: &std::path::Path| {
        let route = json!({"path": folder.path(), "app": path});
        let source =
            json!({"id": "fixture", "kind": "fixture-dir", "label": "Fixture", "route": route});
        owner.post("/admin/api/sources", source)
    };
    // What the owner may not name.
    let link = apps.path().join("link.sock");
    std::os::unix::fs::symlink(&app, &link).expect("a link");
    let state = gateway.state().canonicalize().expect("its folder");
    for (path, words) in [
        (link, "through a link"),
        (state.join("run/agent/agent.sock"), "gateway's own state"),
        ("/run/docker.sock".into(), "container engine"),
        ("app.sock".into(), "no absolute path"),
    ] {
        let refused = add(&path);
        assert_contains(&refused.text(), words);
    }
    add(&app).expect_ok();
    let agent = gateway.agent_with("one", &["fixture.send", "fixture.attack"]);
    let through = |to: &str| {
        let head = format!(
            "CONNECT {to} HTTP/1.1\r\nhost: {to}\r\nproxy-authorization: Bearer {{credential}}\r\n\r\n"
        );
        let input = json!({"head": head, "tunnelled": "over and out"});
        answer(&agent.must("fixture.send", input)["output"])
    };
    let socket = "unix-socket.invalid:1";
    says(
        &through(socket),
        "502",
        "nothing listens there: start the app",
    );
    echo_at(&app);
    echo_at(&other);
    says(&through(socket), "200", "over and out");
    // By itself the worker reaches neither; outside of its cage both take connections.
    for path in [&app, &other] {
        UnixStream::connect(path).expect("the control");
        let act = json!({"act": ["unix", path]});
        let refused = agent.must("fixture.attack", act);
        assert_eq!(
            refused["output"],
            format!("refused {}", nix::libc::EPERM),
            "{refused}"
        );
    }
    // Nor by another name, nor without the credential.
    says(&through("unix-socket.invalid:2"), "403", "does not list");
    says(&through("localhost:1"), "403", "does not list");
    let open = format!("CONNECT {socket} HTTP/1.1\r\nhost: {socket}\r\n\r\n");
    let refused = agent.must("fixture.send", json!({"head": open}));
    says(&answer(&refused["output"]), "407", "credential");
    let line = until("a connection in the audit log", || {
        let events = owner.audit(1000).into_iter();
        let lines = events.filter_map(|event| event["detail"]["connections"].as_array().cloned());
        let mut lines = lines.flatten();
        lines.find(|line| line["host"] == json!(app) && line["verdict"] == "admitted")
    });
    assert_like(&line, &json!({"port": 0, "bytesIn": 12}));
}

/// Beside the one address and port that the worker may reach: another address, IPv6, datagrams, an address that another
/// thread rewrites during the call. Each target takes connections, so only the cage refuses.
#[test]
#[cfg(target_os = "linux")]
fn worker_reaches_one_address_and_port() {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
    let net = Net::open();
    let output = net.send(json!({"head": "GET / HTTP/1.1\r\n\r\n"}));
    let port = u16::try_from(output["port"].as_u64().expect("a port")).expect("a port");
    let mut others = vec![SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port))];
    // A machine without IPv6 has nothing to deny there.
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    if has_ipv6 {
        others.push(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    }
    for at in &others {
        let listener = TcpListener::bind(at).expect("the same port at another address");
        std::thread::spawn(move || listener.incoming().for_each(drop));
        TcpStream::connect(at).expect("the control: it takes connections");
    }
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a port of its own kind");
    datagrams
        .connect((Ipv4Addr::LOCALHOST, port))
        .expect("the control");
    let echo = net.echo.to_string();
    let attack = |act: &[&str]| {
        let reply = net.agent.invoke("fixture.attack", json!({"act": act}));
        text_of(&reply.expect_ok()["output"])
    };
    let refused = |act: &[&str]| {
        let answer = attack(act);
        assert!(
            answer == format!("refused {}", nix::libc::EACCES)
                || answer == format!("refused {}", nix::libc::EPERM),
            "{act:?}: {answer}"
        );
    };
    assert_eq!(attack(&["tcp", "{port}"]), "done", "the control");
    refused(&["tcp-at", "127.0.0.2", "{port}"]);
    if has_ipv6 {
        refused(&["tcp6", "{port}"]);
        refused(&["tcp-at", "::ffff:127.0.0.1", "{port}"]);
    }
    refused(&["udp-connect", "{port}"]);
    refused(&["udp", "{port}"]);
    refused(&["send-to-another", "{port}"]);
    refused(&["connect-rewritten", "{port}", "500"]);
    // The egress's own host is not the worker's.
    refused(&["tcp", &echo]);
    assert_eq!(attack(&["tcp", "{port}"]), "done", "it still serves");
}
