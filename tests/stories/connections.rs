//! Connections that are meant to hurt: slow, silent, deaf, endless, not text. Each has its control beside it, and nobody
//! else notices.

use crate::house::{House, READ, nobody, report};
use crate::measured::Scrape;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use plexus_tests::waiting::until_true;
use plexus_tests::{Agent, Client, Length, Owner, Response, length, not_run};
use serde_json::json;
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the gateway lets a head take (docs/threats.md).
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection of this file may last at most: far longer than the gateway lets it, far shorter than for ever.
const AT_LAST: Duration = Duration::from_secs(80);

fn tcp(house: &House) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", house.gateway.port())).expect("it listens");
    stream.set_read_timeout(Some(AT_LAST)).expect("a timeout");
    stream
}

/// Reads to the end; what the other side did not send is no error here.
fn rest(stream: &mut impl Read) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

fn head_of(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.expect("a head") + 4
}

/// Sends one piece every now and then, until the gateway has had enough or there is no more; gives its last words.
fn trickle(
    mut stream: TcpStream,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> (Vec<u8>, Duration) {
    let began = Instant::now();
    stream
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    let mut said = Vec::new();
    let mut pieces = pieces.into_iter();
    let mut buffer = [0; 4096];
    while began.elapsed() < AT_LAST {
        let more = pieces
            .next()
            .is_some_and(|piece| stream.write_all(&piece).is_ok());
        if !more {
            stream.set_read_timeout(Some(AT_LAST)).expect("a timeout");
        }
        // The time-out of this read is the pace.
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => said.extend(&buffer[..n]),
            Err(_) if more => {}
            Err(_) => break,
        }
    }
    (said, began.elapsed())
}

/// A head, and a body, that come a little at a time have their time as a whole; what comes slowly within it is served.
#[test]
fn what_trickles_in_is_not_waited_for() {
    let (house, agent) = House::with_reader("one");
    let call = agent
        .client()
        .request("POST", "/invoke")
        .json(json!({"id": READ, "input": {"path": "report.txt"}}))
        .bytes_on_wire();
    let key = house.gateway.key();
    let act = house
        .gateway
        .client()
        .with("x-plexus-connection-key", &key)
        .request("POST", "/admin/api/pause")
        .json(json!({"on": true}))
        .bytes_on_wire();
    // A line that has no end: of whole lines the gateway takes only so many, however fast they come.
    let start = [b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\nx-slow: ".to_vec()];
    let endless = std::iter::repeat(b"y".to_vec());
    // A body that is announced and never whole: of an agent, of the owner, in chunks.
    let bodies = [&call, &act].map(|bytes| {
        let head = head_of(bytes);
        let body = bytes.len() - head;
        let text = String::from_utf8(bytes[..head].to_vec()).expect("text");
        let longer = text.replace(&format!("content-length: {body}"), "content-length: 9000");
        assert_ne!(longer, text);
        longer.into_bytes()
    });
    let chunked = {
        let head = String::from_utf8(call[..head_of(&call)].to_vec()).expect("text");
        let lines = head
            .split("\r\n")
            .filter(|line| !line.starts_with("content-length"));
        let lines: Vec<_> = lines.collect();
        lines
            .join("\r\n")
            .replacen("\r\n", "\r\ntransfer-encoding: chunked\r\n", 1)
            .into_bytes()
    };
    std::thread::scope(|scope| {
        let (stream, pieces) = (tcp(&house), start.into_iter().chain(endless));
        let mut slow = vec![("a head", scope.spawn(move || trickle(stream, pieces)))];
        let refused = String::from_utf8_lossy(&bodies[0]).replace("POST /invoke", "POST /nope");
        for (what, head) in [
            ("a call", &bodies[0]),
            ("an act", &bodies[1]),
            ("a refusal", &refused.into_bytes()),
        ] {
            let pieces = [head.clone()]
                .into_iter()
                .chain(std::iter::repeat(b" ".to_vec()));
            let stream = tcp(&house);
            slow.push((what, scope.spawn(move || trickle(stream, pieces))));
        }
        let pieces = [chunked]
            .into_iter()
            .chain(std::iter::repeat(b"1\r\n \r\n".to_vec()));
        let stream = tcp(&house);
        slow.push(("chunks", scope.spawn(move || trickle(stream, pieces))));
        // The control: the same call in two pieces, slowly, is served.
        let at = call.len() - 10;
        let halves = [call[..at].to_vec(), call[at..].to_vec()];
        let (served, _) = trickle(tcp(&house), halves);
        Response::parse("two halves", &served)
            .expect("an answer")
            .expect_ok();
        agent.must(READ, report());
        for (what, slow) in slow {
            let (said, took) = slow.join().expect("its end");
            assert!(took < AT_LAST, "{what} was waited for {took:?}");
            if what == "a head" {
                // Its own time, and nothing that is wrong with it, nor what we wait at most.
                assert!(took > HEAD_TIME / 2, "{what} had only {took:?}");
                assert!(took < HEAD_TIME * 2, "{what} was waited for {took:?}");
            }
            if let Some(answer) = Response::parse(what, &said) {
                assert!((400..500).contains(&answer.status), "{what}: {answer}");
            }
        }
    });
    let status = house.owner().get("/admin/api/status").expect_ok();
    assert_eq!(status["paused"], false, "half an act is none: {status}");
}

/// Who asks and does not take the answers is left, so that its place is another's.
#[test]
fn who_does_not_take_the_answers_is_left() {
    let (house, agent) = House::with_reader("one");
    let ask = agent
        .client()
        .request("GET", "/manifest")
        .bytes_kept_alive();
    let mut deaf = tcp(&house);
    deaf.set_write_timeout(Some(AT_LAST)).expect("a timeout");
    let began = Instant::now();
    // Answers fill what the two systems hold, then requests do, then the gateway has waited long enough.
    let many = ask.repeat(64);
    let ended = loop {
        if let Err(error) = deaf.write_all(&many) {
            break error;
        }
        assert!(began.elapsed() < AT_LAST, "it takes requests for ever");
    };
    let kind = ended.kind();
    assert!(
        matches!(
            kind,
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset
        ),
        "left by the gateway, not by our own time-out: {ended}"
    );
    // The control: who reads gets them all, however many they are, in order.
    let mut reading = tcp(&house);
    let mut asks = ask.repeat(99);
    asks.extend(agent.client().request("GET", "/grants").bytes_on_wire());
    let mut writing = reading.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(move || writing.write_all(&asks).expect("taken"));
        let answers = String::from_utf8(rest(&mut reading)).expect("text");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 100);
        let last = answers.rfind("HTTP/1.1 200").expect("the last one");
        assert!(
            answers[last..].contains("\"grants\""),
            "in the order of the asking"
        );
    });
}

/// Requests on one connection are each judged by their own head.
#[test]
fn what_is_piped_is_judged_one_by_one() {
    let (house, agent) = House::with_reader("one");
    let get = |client: &Client, path: &str| client.request("GET", path).bytes_kept_alive();
    let bare = house.gateway.client();
    let owner = house.owner().client;
    let evil = bare.with("host", "evil.example.com");
    let mut all = Vec::new();
    for (client, path) in [
        (&owner, "/admin/api/pending"),
        (&bare, "/admin/api/pending"),
        (&agent.client(), "/manifest"),
        (&bare, "/manifest"),
        (&evil, "/v1/health"),
        (&bare, "/v1/health"),
    ] {
        all.extend(get(client, path));
    }
    all.extend(bare.request("GET", "/nope").bytes_on_wire());
    let said = String::from_utf8(bare.raw(&all)).expect("text");
    let statuses: Vec<&str> = said
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, ["200", "401", "200", "401", "403", "200", "404"]);
}

/// The body of a refused request is no request.
#[test]
fn a_body_is_never_read_as_a_request() {
    let house = House::open();
    let key = house.gateway.key();
    let inner = format!(
        "POST /admin/api/pause HTTP/1.1\r\nhost: localhost\r\nx-plexus-connection-key: {key}\r\ncontent-length: 11\r\n\r\n{{\"on\":true}}"
    );
    #[rustfmt::skip]
    let heads = [
        // Refused by its length.
        format!("POST /link/handshake HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", 2 << 20),
        format!("POST /v1/health HTTP/1.1\r\nhost: evil.example.com\r\ncontent-length: {}\r\n\r\n", inner.len()),
        format!("GET /v1/health HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", inner.len()),
        // Lengths that two readers could take differently.
        format!("POST /nope HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\ncontent-length: 0\r\n\r\n", inner.len()),
        format!(
            "POST /nope HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\ncontent-length: {}\r\n\r\n",
            inner.len()
        ),
        format!(
            "POST /nope HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: identity\r\ncontent-length: {}\r\n\r\n",
            inner.len()
        ),
        format!(
            "POST /nope HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n{}\r\n\r\n",
            inner.len()
        ),
    ];
    let paused = || house.owner().get("/admin/api/status").expect_ok()["paused"] == true;
    for head in heads {
        let mut stream = tcp(&house);
        let _ = stream.write_all(&[head.as_bytes(), inner.as_bytes()].concat());
        let _ = stream.shutdown(Shutdown::Write);
        let _ = rest(&mut stream);
        assert!(!paused(), "an act came out of the body of {head}");
    }
    // The control: by itself it is one.
    let said = house.gateway.client().raw(
        &[
            inner.as_bytes(),
            b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        ]
        .concat(),
    );
    assert!(said.starts_with(b"HTTP/1.1 200"));
    assert!(paused());
}

/// A body is bounded by what comes, not by what was announced.
#[test]
fn bodies_are_bounded_however_they_come() {
    let (house, agent) = House::with_reader("one");
    let call = json!({"id": READ, "input": {"path": "report.txt"}}).to_string();
    let send = |padding: usize| {
        let mut stream = tcp(&house);
        let head = format!(
            "POST /invoke HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-plexus-session: {}\r\ntransfer-encoding: chunked\r\n\r\n",
            agent.session
        );
        let mut bytes = head.into_bytes();
        let piece = format!("{:x}\r\n{}\r\n", 1024, " ".repeat(1024));
        bytes.extend(piece.repeat(padding).bytes());
        bytes.extend(format!("{:x}\r\n{call}\r\n0\r\n\r\n", call.len()).bytes());
        // It may be refused before it was read whole.
        let _ = stream.write_all(&bytes);
        rest(&mut stream)
    };
    let answer = |padding| Response::parse("chunks", &send(padding)).expect("an answer");
    answer(512).expect_ok();
    assert_eq!(answer(1_024).status, 413);
    // A client that sends all of a body before it reads finds the refusal, and not a broken connection.
    let mut stream = tcp(&house);
    let large = 8 << 20;
    let head = format!(
        "POST /invoke HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-plexus-session: {}\r\ncontent-length: {large}\r\n\r\n",
        agent.session
    );
    stream.write_all(head.as_bytes()).expect("taken");
    stream.write_all(&vec![b' '; large]).expect("taken");
    let refused = Response::parse("a large body", &rest(&mut stream)).expect("an answer");
    refused.expect_error(413, "payload_too_large");
    // One that asks first is refused before it has sent it.
    let asks = head.replace("connection: close", "expect: 100-continue");
    let mut stream = tcp(&house);
    stream.write_all(asks.as_bytes()).expect("taken");
    let refused = Response::parse("asked first", &rest(&mut stream)).expect("an answer");
    refused.expect_error(413, "payload_too_large");
    // Less than was announced is no body.
    let mut stream = tcp(&house);
    let short = agent
        .client()
        .request("POST", "/invoke")
        .bytes(call.clone())
        .bytes_on_wire();
    let lied = String::from_utf8(short).expect("text").replace(
        &format!("content-length: {}", call.len()),
        &format!("content-length: {}", call.len() + 1),
    );
    stream.write_all(lied.as_bytes()).expect("taken");
    stream.shutdown(Shutdown::Write).expect("half closed");
    if let Some(refused) = Response::parse("a short body", &rest(&mut stream)) {
        assert!((400..500).contains(&refused.status), "{refused}");
    }
}

/// A client that sends all of its body before it reads finds its refusal, and not a broken connection.
#[test]
fn refusal_before_the_body_reaches_its_sender() {
    let house = House::open();
    let agents = house.gateway.agent_socket();
    let (tcp, owner) = (house.gateway.client(), house.gateway.owner_socket());
    let with_key = tcp.with("x-plexus-connection-key", &nobody("plx_live_"));
    #[rustfmt::skip]
    let rows = [
        (&tcp, "POST", "/nope", 404),
        (&tcp, "POST", "/v1/health", 404),
        (&tcp.with("host", "evil.example.com"), "POST", "/invoke", 403),
        (&tcp.with("origin", "http://evil.example.com"), "POST", "/invoke", 403),
        (&tcp, "POST", "/mcp", 401),
        (&tcp, "PUT", "/mcp", 405),
        (&tcp, "POST", "/admin/api/pause", 401),
        (&with_key, "POST", "/admin/api/pause", 401),
        (&agents, "POST", "/nope", 404),
        (&agents, "POST", "/mcp", 401),
        (&owner, "POST", "/nope", 404),
        (&owner, "POST", "/admin/api/pause", 401),
    ];
    for (client, method, path, status) in rows {
        let request = client.request(method, path).bytes(vec![b' '; 8 << 20]);
        let what = format!("{method} {path}, {status}");
        let mut stream = client.connect();
        let sent = stream.write_all(&request.bytes_on_wire());
        assert!(sent.is_ok(), "{what}: {sent:?}");
        let answer = Response::parse(&what, &rest(&mut stream));
        assert_eq!(answer.map(|answer| answer.status), Some(status), "{what}");
    }
}

/// Anybody's body is read to its end; a large one is kept, and so judged, only of who shows a live credential.
#[test]
fn a_large_body_is_kept_only_of_who_is_known() {
    const LARGE: usize = 256 * 1024;
    let house = House::open();
    let (agent, gone) = (house.reader("one"), house.reader("two"));
    let token = |agent: &Agent| {
        agent.token(&[READ])["token"]
            .as_str()
            .expect("a token")
            .to_owned()
    };
    let known = [agent.client(), agent.bearing(&token(&agent))];
    let taken_back = gone.bearing(&token(&gone));
    house.owner().revoke_agent("two");
    let bare = house.gateway.client();
    let nobody = bare.with("x-plexus-session", &nobody("sess_"));
    let no_json = |client: &Client, method: &str, path: &str, bytes: usize| {
        let request = client.request(method, path);
        request.bytes("x".repeat(bytes)).send()
    };
    for client in known.iter().chain([&bare, &nobody]) {
        no_json(client, "POST", "/invoke", 99).expect_error(400, "internal_error");
    }
    for client in &known {
        no_json(client, "POST", "/invoke", LARGE).expect_error(400, "internal_error");
    }
    for (client, code) in [
        (&bare, "grant_required"),
        (&nobody, "session_expired"),
        (&bare.with("authorization", "Bearer x"), "token_revoked"),
        (&taken_back, "token_revoked"),
    ] {
        no_json(client, "POST", "/invoke", LARGE).expect_error(401, code);
    }
    for (client, bytes, status) in [
        (&bare, 99, 400),
        (&known[0], LARGE, 400),
        (&bare, LARGE, 401),
        (&nobody, LARGE, 401),
    ] {
        let reply = no_json(client, "PUT", "/grants", bytes);
        reply.expect_status(status);
    }
    for path in ["/grants/refresh", "/grants/revoke"] {
        no_json(&known[1], "POST", path, 99).expect_error(400, "internal_error");
        no_json(&known[1], "POST", path, LARGE).expect_error(413, "payload_too_large");
    }
}

/// Many small headers and one large one: what the gateway reads before it knows who asks is bounded.
#[test]
fn heads_are_bounded() {
    let house = House::open();
    let client = house.gateway.client();
    let with = |headers: &str| {
        let bytes = format!(
            "GET /v1/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        );
        Response::parse("headers", &client.raw(bytes.as_bytes())).map(|answer| answer.status)
    };
    let many = |n: usize| (0..n).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let wide = |bytes: usize| format!("x-wide: {}\r\n", "y".repeat(bytes));
    assert_eq!(with(&many(60)), Some(200));
    assert_eq!(with(&wide(16 * 1024)), Some(200));
    for refused in [many(1_000), wide(256 * 1024), wide(1 << 20), many(100_000)] {
        let status = with(&refused);
        assert!(
            status.is_none_or(|status| (400..500).contains(&status)),
            "{status:?}"
        );
    }
    client.get("/v1/health").expect_ok();
}

/// Bytes that are no UTF-8, wherever a request can hold bytes: refused in the route's words, as any other wrong value.
#[test]
fn bytes_that_are_no_text_are_refused() {
    let (house, agent) = House::with_reader("one");
    let (key, port) = (house.gateway.key(), house.gateway.port());
    let send = |line: &str, headers: &[u8], body: &[u8]| {
        let mut bytes = format!("{line} HTTP/1.1\r\nconnection: close\r\n").into_bytes();
        bytes.extend(headers);
        bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend(body);
        Response::parse(line, &house.gateway.client().raw(&bytes))
    };
    let with = |name: &str, value: &[u8]| {
        let host = match name {
            "host" => Vec::new(),
            _ => format!("host: 127.0.0.1:{port}\r\n").into_bytes(),
        };
        [&host[..], name.as_bytes(), b": ", value, b"\r\n"].concat()
    };
    let status = |answer: Option<Response>| answer.map(|answer| answer.status);
    #[rustfmt::skip]
    let rows = [
        ("GET /v1/health", "host", format!("localhost:{port}"), 403),
        ("GET /v1/health", "origin", house.gateway.base(), 403),
        ("GET /manifest", "x-plexus-session", agent.session.clone(), 401),
        ("GET /admin/api/pending", "x-plexus-connection-key", key.clone(), 401),
    ];
    for (line, name, good, status_of_bad) in rows {
        assert_eq!(
            status(send(line, &with(name, good.as_bytes()), b"")),
            Some(200),
            "{name}"
        );
        for broken in [&[0xff][..], b"\xc3\x28", b"\xed\xa0\x80"] {
            let bad = [good.as_bytes(), broken].concat();
            let answer = send(line, &with(name, &bad), b"").expect("an answer");
            assert_eq!(answer.status, status_of_bad, "{name}: {answer}");
        }
    }
    // A header that nobody asks for may hold what it likes.
    assert_eq!(
        status(send("GET /v1/health", &with("x-other", b"\xff"), b"")),
        Some(200)
    );

    let session = [with("x-plexus-session", agent.session.as_bytes())].concat();
    let owner = with("x-plexus-connection-key", key.as_bytes());
    #[rustfmt::skip]
    let bodies: [(&str, &[u8], &str); 3] = [
        ("POST /invoke", &session, r#"{"id":"workspace.read","input":{"path":"report.txt"}}"#),
        ("PUT /grants", &session, r#"{"grants":{"workspace.read":"allow"}}"#),
        ("POST /admin/api/exposure/workspace.read", &owner, r#"{"enabled":true,"x":"y"}"#),
    ];
    for (line, headers, good) in bodies {
        assert_eq!(
            status(send(line, headers, good.as_bytes())),
            Some(200),
            "{line}"
        );
        for broken in [
            &[0xff][..],
            b"\xc3\x28",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xc0\xaf",
        ] {
            let at = good.len() - 3;
            let bad = [&good.as_bytes()[..at], broken, &good.as_bytes()[at..]].concat();
            let answer = send(line, headers, &bad).expect("an answer");
            assert_eq!(answer.status, 400, "{line} {broken:x?}: {answer}");
        }
    }
    // In a path: as it is, and behind percent signs.
    for (line, good) in [
        ("POST /admin/api/exposure/", "workspace.read"),
        ("POST /admin/api/agents/", "one/limits"),
    ] {
        let body = br#"{"enabled":true}"#;
        assert_eq!(
            status(send(&format!("{line}{good}"), &owner, body)),
            Some(200)
        );
        for bad in ["%ff", "%c3%28", "%ed%a0%80"] {
            let answer = send(&format!("{line}{bad}{good}"), &owner, body).expect("an answer");
            answer.expect_error(404, "unknown_capability");
        }
    }
    let asked = |id: &str| {
        send(&format!("GET /grants/status?pendingId={id}"), &session, b"").expect("an answer")
    };
    for bad in ["%ff", "pend_%c3%28", "%00", "a%ff%26pendingId=b"] {
        assert!((400..500).contains(&asked(bad).status), "{bad}");
    }
}

/// Places for connections over TCP, and the descriptors that the gateway keeps for all else (docs/reference/metrics.md).
const PLACES: u64 = 1_024;
const OTHER_FILES: u64 = 768;

/// Connections that say nothing, as many as come, and their ends here.
struct Silent {
    address: SocketAddr,
    most: usize,
    crowd: VecDeque<TcpStream>,
    /// Over its own socket, so that looking takes no place.
    owner: Owner,
    places: f64,
}

impl Silent {
    fn come(&mut self, many: usize) {
        for _ in 0..many {
            // Those who find no room in the system's own queue are told so by nobody: they try again until there is some.
            let one = TcpStream::connect(self.address).expect("it comes, at last");
            self.crowd.push_back(one);
            if self.crowd.len() > self.most {
                self.crowd.pop_front();
            }
        }
    }

    fn taken(&self) -> f64 {
        let taken = Scrape::of(&self.owner.client).value("plexus_connections{door=\"tcp\"}");
        assert!(taken < self.places + 0.5, "{taken} of {}", self.places);
        taken
    }

    /// Has all places be taken, now: who was silent for too long is sent away, and others come.
    fn take_all(&mut self) {
        until_true("all places to be taken", || {
            let all = self.taken() > self.places - 0.5;
            if !all {
                self.come(64);
            }
            all
        });
    }
}

/// Connections that say nothing, many more than there are places, which are all taken: the owner and agents get in by
/// their sockets, and over TCP with a credential. When the crowd goes, the places are free.
#[test]
fn thousands_of_idle_connections_lock_nobody_out() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let places = most.saturating_sub(OTHER_FILES).clamp(16, PLACES);
    let many = match length() {
        Length::Quick => 1_200,
        Length::Full => 2_500,
        Length::Long => 10_000,
    };
    // Half of what may be open is enough for a crowd, where that is little.
    let room = usize::try_from(most / 2).expect("a number of files");
    if many > room {
        let why =
            format!("{room} connections of {many}: this machine lets a process open {most} files");
        not_run::in_part("thousands_of_idle_connections_lock_nobody_out", &why);
    }
    let many = many.min(room);
    let (house, agent) = House::with_reader("one");
    let evicted =
        |owner: &Owner| Scrape::of(&owner.client).value("plexus_connections_evicted_total");
    let mut silent = Silent {
        address: SocketAddr::from(([127, 0, 0, 1], house.gateway.port())),
        most: many,
        crowd: VecDeque::new(),
        owner: Owner::new(&house.gateway.owner_socket(), &house.gateway.key()),
        places: places.to_string().parse().expect("a number"),
    };
    silent.come(many);
    assert_eq!(silent.crowd.len(), many);
    silent.take_all();

    let pause = |owner: &Owner, on: bool| {
        owner.must_post("/admin/api/pause", json!({"on": on}));
    };
    pause(&silent.owner, true);
    pause(&silent.owner, false);
    silent.take_all();
    plexus_tests::agent::handshake(&house.gateway.agent_socket(), &agent.pat).expect_ok();
    // Over TCP each comes on a connection of its own, for which one of the crowd has to go.
    silent.take_all();
    let before = evicted(&silent.owner);
    house.owner().get("/admin/api/pending").expect_ok();
    silent.take_all();
    plexus_tests::agent::handshake(&house.gateway.client(), &agent.pat).expect_ok();
    silent.take_all();
    agent.must(READ, report());
    assert!(
        evicted(&silent.owner) > before,
        "they were taken all the while"
    );
    assert!(
        silent.crowd.len() >= many,
        "the crowd's own ends are still open"
    );

    silent.crowd.clear();
    until_true("all places to be free", || silent.taken() < 0.5);
    let before = evicted(&silent.owner);
    agent.must(READ, report());
    let after = evicted(&silent.owner);
    assert!(after < before + 0.5, "nobody had to go for it");
}

/// More idle connections than there are places, and new ones all the time: who shows a credential gets in, over TCP, and
/// who has shown one keeps its place.
#[test]
fn who_is_known_gets_in_while_others_hold_all_places() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let (house, agent) = House::with_reader("one");
    let ask = agent.client().request("GET", "/grants").bytes_kept_alive();
    let mut kept = tcp(&house);
    kept.write_all(&ask).expect("taken");
    answered(&mut kept);

    let owner = Owner::new(&house.gateway.owner_socket(), &house.gateway.key());
    let evicted = || Scrape::of(&owner.client).value("plexus_connections_evicted_total");
    assert!(evicted() < 0.5);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let health = b"GET /v1/health HTTP/1.1\r\nhost: localhost\r\n\r\n";
                let mut held = VecDeque::new();
                // The pace is the gateway's own: each is answered before the next one comes.
                while !over.load(Ordering::Relaxed) {
                    let mut one = tcp(&house);
                    if one.write_all(health).is_ok() && one.read(&mut [0; 1024]).is_ok() {
                        held.push_back(one);
                    }
                    if held.len() > 700 {
                        held.pop_front();
                    }
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until_true("all places to be taken", || evicted() > 100.0);
            let before = evicted();
            for _ in 0..20 {
                // Each on a connection of its own.
                plexus_tests::agent::handshake(&house.gateway.client(), &agent.pat).expect_ok();
                agent.must(READ, report());
            }
            assert!(evicted() > before, "they were taken all the while");
            kept.write_all(&ask).expect("taken");
            answered(&mut kept);
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(failed) = done {
            std::panic::resume_unwind(failed);
        }
    });
}

/// One agent that wants all places, at both doors, with its own live credential on each connection: others get in all the same.
#[test]
fn agent_with_a_thousand_connections_locks_no_other_out() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
    let places = most.saturating_sub(OTHER_FILES).clamp(16, PLACES);
    let house = House::open();
    let (greedy, other) = (house.reader("greedy"), house.reader("other"));
    let ask = greedy.client().request("GET", "/grants").bytes_kept_alive();
    let owner = Owner::new(&house.gateway.owner_socket(), &house.gateway.key());
    let taken = |door: &str| {
        Scrape::of(&owner.client).value(&format!("plexus_connections{{door=\"{door}\"}}"))
    };
    let evicted = || Scrape::of(&owner.client).value("plexus_connections_evicted_total");
    let socket = house.gateway.state().join("run/agent/agent.sock");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| hold(places, &ask, &over, || tcp(&house)));
        scope.spawn(|| {
            hold(places / 4, &ask, &over, || {
                let stream = UnixStream::connect(&socket).expect("it listens");
                stream.set_read_timeout(Some(HEAD_TIME)).expect("a bound");
                stream
            });
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let all: f64 = places.to_string().parse().expect("a number");
            until_true("the agent to hold all places", || {
                taken("tcp") > all - 0.5 && taken("agent_socket") > all / 4.0 - 0.5
            });
            let before = evicted();
            for _ in 0..5 {
                plexus_tests::agent::handshake(&house.gateway.client(), &other.pat).expect_ok();
                plexus_tests::agent::handshake(&house.gateway.agent_socket(), &other.pat)
                    .expect_ok();
                house.owner().get("/admin/api/pending").expect_ok();
            }
            assert!(evicted() > before, "the agent held them all the while");
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(failed) = done {
            std::panic::resume_unwind(failed);
        }
    });
}

/// Keeps so many connections by asking on each, again and again; what was closed is opened anew.
fn hold<S: Read + Write>(many: u64, ask: &[u8], over: &AtomicBool, open: impl Fn() -> S) {
    let mut held = VecDeque::new();
    while !over.load(Ordering::Relaxed) {
        let mut one = match u64::try_from(held.len()).is_ok_and(|held| held < many) {
            true => open(),
            false => held.pop_front().expect("there are many"),
        };
        if one.write_all(ask).is_ok() && one.read(&mut [0; 8192]).is_ok_and(|n| n > 0) {
            held.push_back(one);
        }
    }
}

/// Reads one answer of 200 whose connection stays open.
#[track_caller]
fn answered(stream: &mut TcpStream) {
    let mut buffer = [0; 8192];
    let n = stream.read(&mut buffer).expect("an answer");
    assert!(
        buffer[..n].starts_with(b"HTTP/1.1 200 "),
        "{:?}",
        &buffer[..n]
    );
}

/// Connects with room for next to nothing, here and in the segments that the other end may send.
fn narrow(house: &House) -> TcpStream {
    let socket = socket::socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::empty(),
        None,
    )
    .expect("a socket");
    // As what std opens: other tests start programs meanwhile.
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("closed in children");
    // Before it connects, when both systems settle how much may be on the way: small segments narrow the other's room.
    socket::setsockopt(&socket, sockopt::RcvBuf, &1_024).expect("a small buffer");
    socket::setsockopt(&socket, sockopt::TcpMaxSeg, &536).expect("small segments");
    let to = SockaddrIn::new(127, 0, 0, 1, house.gateway.port());
    socket::connect(socket.as_raw_fd(), &to).expect("it listens");
    socket.into()
}

/// A stream of events that nobody reads holds up neither what is recorded nor who tells it, and is left.
#[test]
fn a_stream_that_nobody_reads_holds_up_nothing() {
    // Some 340 bytes each: several times what the two systems (45 KB) and the gateway hold of a stream.
    const CHANGES: usize = 1_000;
    let (house, agent) = House::with_reader("one");
    // Over its own socket, so that over TCP there are the deaf alone.
    let owner = Owner::new(&house.gateway.owner_socket(), &house.gateway.key());
    let ask = house.owner().client.request("GET", "/v1/events");
    let open = || Scrape::of(&owner.client).value("plexus_connections{door=\"tcp\"}");
    until_true("our own connections to be over", || open() < 0.5);
    let deaf: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = narrow(&house);
            stream.write_all(&ask.bytes_kept_alive()).expect("taken");
            stream
        })
        .collect();
    until_true("all streams to be open", || open() > 19.5);
    let heard = owner.events();
    // Each change is recorded and heard, while the deaf fill up and when they are full.
    let change = |enabled: bool| {
        let changed = owner.expose(READ, enabled);
        let id = changed["auditId"].as_str().expect("an id");
        heard.wait_until("audit_appended", |data| data["id"] == id);
    };
    for n in 0..CHANGES {
        change(n % 2 == 1);
    }
    agent.must(READ, report());
    // However long we hold our ends.
    until_true("the deaf to be left", || open() < 0.5);
    change(false);
    drop(deaf);
}
