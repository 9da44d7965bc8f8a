//! How one exchange with a gateway can go, each against a scripted end.

use plexus_client::{
    Address, Connection, Failure, Request,
    events::Events,
    span,
    stub::{Answer, Stub},
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
    time::Duration,
};

async fn open(stub: &Stub) -> Connection {
    Connection::open(stub.address.clone()).await.unwrap()
}

#[tokio::test]
async fn one_connection_serves_many_requests_on_both_kinds_of_address() {
    let dir = tempfile::tempdir().unwrap();
    let echo = |asked: &plexus_client::stub::StubRequest| Answer::Json(200, asked.body.clone());
    let on_socket = Stub::unix(&dir.path().join("s"), echo);
    let on_port = Stub::tcp(echo);
    for (stub, host) in [
        (&on_socket, "localhost".to_owned()),
        (&on_port, on_port.address.authority()),
    ] {
        let mut gateway = open(stub).await;
        for n in 0..3 {
            let request = Request::post("/x?y=1", &json!(n));
            let request = request.secret("X-Plexus-Session", "sess_1");
            let reply = gateway.send(request).await.unwrap();
            assert_eq!(reply.status, 200);
            assert_eq!(reply.json::<Value>().unwrap(), json!(n));
        }
        let asked = &stub.asked()[2];
        assert_eq!((&*asked.method, &*asked.path), ("POST", "/x?y=1"));
        assert_eq!(asked.header("host"), Some(host.as_str()));
        assert_eq!(asked.header("x-plexus-session"), Some("sess_1"));
    }
}

#[tokio::test]
async fn now_is_the_gateways_where_its_time_is_ahead() {
    let hour = 3_600_000;
    let time = format!("x-plexus-time: {}\r\n", span::machine_now().plus(hour));
    let stub = Stub::tcp(move |asked| {
        let time = if asked.path == "/ahead" { &*time } else { "" };
        Answer::Raw(format!("HTTP/1.1 200 OK\r\n{time}content-length: 0\r\n\r\n").into_bytes())
    });
    // The clock agrees again once an answer says nothing of it.
    for (path, least, most) in [
        ("/ahead", hour - 60_000, hour + 60_000),
        ("/agrees", 0, 60_000),
    ] {
        open(&stub).await.send(Request::get(path)).await.unwrap();
        let before = span::machine_now();
        let ahead = span::now().since(before);
        assert!((least..=most).contains(&ahead), "{path}: {ahead}");
    }
}

#[tokio::test]
async fn nobody_there_means_nothing_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Address::Unix(dir.path().join("none.sock"));
    let opened = Connection::open(nowhere).await;
    assert!(matches!(opened, Err(Failure::Unreachable { .. })));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Stub::tcp(|_| Answer::Json(200, json!({})));
    let location = format!(
        "HTTP/1.1 302 X\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n",
        elsewhere.address
    );
    let stub = Stub::tcp(move |_| Answer::Raw(location.clone().into_bytes()));
    let result = open(&stub).await.send(Request::get("/x")).await;
    assert!(matches!(result, Err(Failure::Foreign(_))), "{result:?}");
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_again() {
    let stub = Stub::tcp(|asked| match &*asked.path {
        "/first" => Answer::Json(200, json!({})),
        _ => Answer::Close,
    });
    let mut gateway = open(&stub).await;
    gateway.send(Request::get("/first")).await.unwrap();
    let result = gateway.send(Request::post("/effect", &json!({}))).await;
    assert!(matches!(result, Err(Failure::Lost(_))), "{result:?}");
    let effects = stub.asked().into_iter().filter(|a| a.path == "/effect");
    assert_eq!(effects.count(), 1);
    // The connection is opened again for what comes next.
    assert!(gateway.send(Request::get("/first")).await.is_ok());
}

#[tokio::test]
async fn a_connection_closed_between_requests_is_opened_again() {
    let close = b"HTTP/1.1 200 X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}".to_vec();
    let stub = Stub::tcp(move |_| Answer::Raw(close.clone()));
    let mut gateway = open(&stub).await;
    for _ in 0..3 {
        assert_eq!(gateway.send(Request::get("/x")).await.unwrap().status, 200);
    }
    assert_eq!(stub.asked().len(), 3);
}

/// A process that was stopped, or whose thread was blocked, has not seen the close.
#[tokio::test]
async fn connection_that_lay_unused_is_not_written_to() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::loopback(listener.local_addr().unwrap().port());
    let (close, told) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let read = stream.read(&mut [0; 4_096]).unwrap();
            assert!(read > 0);
            let answer = b"HTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).unwrap();
            let _ = told.recv();
        }
    });
    let mut gateway = Connection::open(address).await.unwrap();
    gateway.send(Request::get("/first")).await.unwrap();
    close.send(()).unwrap();
    std::thread::sleep(Duration::from_millis(5_100));
    let effect = gateway.send(Request::post("/effect", &json!({}))).await;
    assert_eq!(effect.unwrap().status, 200);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let stub = Stub::tcp(|_| Answer::Silence);
    let after = Duration::from_millis(50);
    let request = Request::get("/x").within(after);
    let result = open(&stub).await.send(request).await;
    assert!(
        matches!(result, Err(Failure::TimedOut { after: a }) if a == after),
        "{result:?}"
    );
    let half = b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nab".to_vec();
    let stub = Stub::tcp(move |_| Answer::Stream(half.clone()));
    let request = Request::get("/x").within(after);
    let result = open(&stub).await.send(request).await;
    assert!(
        matches!(result, Err(Failure::TimedOut { .. })),
        "half an answer is none: {result:?}"
    );
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let frames = b"HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\n\r\n: hello\n\nevent: a\ndata: 1\n\n\
        event: b\ndata: 2\n\n";
    let stub = Stub::tcp(move |_| Answer::Raw(frames.to_vec()));
    let stream = open(&stub).await.stream(Request::get("/v1/events")).await;
    let mut events = Events::of(stream.unwrap());
    for (kind, data) in [("a", "1"), ("b", "2")] {
        let event = events.next().await.unwrap().unwrap();
        assert_eq!((event.kind.as_str(), event.data.as_str()), (kind, data));
    }
    assert!(events.next().await.unwrap().is_none());
}

#[test]
fn a_credential_in_a_request_cannot_be_printed() {
    let request = Request::post("/agents/enroll", &json!({"code": "plx_enroll_0123"}))
        .secret("X-Plexus-Connection-Key", "plx_live_0123");
    assert_eq!(format!("{request:?}"), "POST /agents/enroll");
}
