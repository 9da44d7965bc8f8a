//! A server of the tests: over HTTP at a port of this machine, it answers each request as a function says.

use super::{Session, SessionError};
use crate::http::{Http, ServerAddress};
use plexus_ipc::{message::Secret, worker::EgressAccess};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// What comes of a request.
pub(crate) enum Scripted {
    /// A result.
    Result(Value),
    /// The same after so long.
    Late(Value, Duration),
    /// An error with this code.
    Error(i64),
    /// A status in place of a message.
    Status(u16),
}

/// A session with a server that declares these features, and answers so to a method and its parameters.
pub(crate) async fn session(
    features: Value,
    answers: impl Fn(&str, &Value) -> Scripted + Send + Sync + 'static,
) -> Result<Session, SessionError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answers = Arc::new(answers);
    // A paused clock goes on to the next timer whenever nobody has work, also while bytes are on their way through the
    // system. So it goes in small steps, and the system has a moment in each.
    tokio::spawn(async {
        loop {
            sleep(Duration::from_millis(10)).await;
            std::thread::sleep(Duration::from_micros(50));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answers, features) = (Arc::clone(&answers), features.clone());
            tokio::spawn(serve(stream, move |method, params| match method {
                "initialize" => Scripted::Result(json!({
                    "protocolVersion": super::VERSION, "capabilities": features, "serverInfo": {"name": "scripted"},
                })),
                _ => answers(method, params),
            }));
        }
    });
    let egress = EgressAccess {
        port,
        credential: Secret::new("word".into()),
        authorities: String::new(),
        bearer: false,
    };
    let address = ServerAddress::new(&egress, "http://localhost/mcp").expect("a credential");
    Session::at(Http::new(address)).await
}

/// One request of one connection.
async fn serve(stream: TcpStream, answers: impl Fn(&str, &Value) -> Scripted) {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a line");
        if line.trim().is_empty() {
            break;
        }
        if let Some(told) = line.to_lowercase().strip_prefix("content-length:") {
            length = told.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.expect("a body");
    let heard: Value = serde_json::from_slice(&body).expect("JSON");
    let id = &heard["id"];
    let (answer, after) = match heard["method"].as_str() {
        Some(method) if !id.is_null() => match answers(method, &heard["params"]) {
            Scripted::Result(result) => (Ok(json!({ "result": result })), Duration::ZERO),
            Scripted::Late(result, after) => (Ok(json!({ "result": result })), after),
            Scripted::Error(code) => (Ok(json!({"error": {"code": code}})), Duration::ZERO),
            Scripted::Status(status) => (Err(status), Duration::ZERO),
        },
        // A notification.
        _ => (Err(202), Duration::ZERO),
    };
    let status = answer.as_ref().err().unwrap_or(&200);
    let head = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    );
    // A client that has enough closes its end.
    let _ = stream.write_all(head.as_bytes()).await;
    sleep(after).await;
    if let Ok(mut message) = answer {
        message["jsonrpc"] = json!("2.0");
        message["id"] = id.clone();
        let event = format!("data: {message}\n\n");
        let _ = stream.write_all(event.as_bytes()).await;
    }
}
