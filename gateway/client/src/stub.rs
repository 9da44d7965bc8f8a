//! A scripted gateway end for tests: answers what the script says and remembers what it was asked.
//!
//! It knows nothing of the protocol; only time-outs, exit statuses and the shape of requests are tested with it.

use crate::Address;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct StubRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, `Null` where it is empty or not JSON.
    pub body: Value,
}

impl StubRequest {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// What the script answers.
pub enum Answer {
    /// A JSON body with a status.
    Json(u16, Value),
    /// These bytes as they are, head included; then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes as they are; then nothing, and the connection stays open.
    Stream(Vec<u8>),
    /// Nothing, for ever.
    Silence,
    /// The connection is closed without an answer.
    Close,
}

/// A running stub; its threads end with the test process.
pub struct Stub {
    /// Where it listens.
    pub address: Address,
    asked: Arc<Mutex<Vec<StubRequest>>>,
}

type Script = dyn Fn(&StubRequest) -> Answer + Send + Sync;

impl Stub {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// When it cannot.
    pub fn tcp(script: impl Fn(&StubRequest) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let port = listener.local_addr().expect("a bound port").port();
        Self::serve(Address::loopback(port), script, move || {
            listener.accept().ok().map(|(stream, _)| stream)
        })
    }

    /// Listens on a Unix socket at `path`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn unix(
        path: &Path,
        script: impl Fn(&StubRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(path).expect("a socket path");
        Self::serve(Address::Unix(path.to_owned()), script, move || {
            listener.accept().ok().map(|(stream, _)| stream)
        })
    }

    /// What was asked so far.
    ///
    /// # Panics
    /// When a thread of the stub panicked.
    #[must_use]
    pub fn asked(&self) -> Vec<StubRequest> {
        self.asked.lock().expect("no thread panicked").clone()
    }

    fn serve<S: Read + Write + Send + 'static>(
        address: Address,
        script: impl Fn(&StubRequest) -> Answer + Send + Sync + 'static,
        accept: impl Fn() -> Option<S> + Send + 'static,
    ) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&asked));
        thread::spawn(move || {
            while let Some(stream) = accept() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                thread::spawn(move || converse(stream, &*script, &log));
            }
        });
        Self { address, asked }
    }
}

fn converse<S: Read + Write>(stream: S, script: &Script, log: &Mutex<Vec<StubRequest>>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read_request(&mut stream) {
        log.lock().expect("no thread panicked").push(asked.clone());
        let (bytes, then_park, then_close) = match script(&asked) {
            Answer::Json(status, body) => {
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: "
                );
                (
                    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes(),
                    false,
                    false,
                )
            }
            Answer::Raw(bytes) => (bytes, false, true),
            Answer::Stream(bytes) => (bytes, true, false),
            Answer::Silence => (Vec::new(), true, false),
            Answer::Close => (Vec::new(), false, true),
        };
        // A client that has gone away is the end of the conversation, not a failure of the stub.
        if stream.get_mut().write_all(&bytes).is_err() || then_close {
            return;
        }
        if then_park {
            loop {
                thread::park();
            }
        }
    }
}

fn read_request(stream: &mut impl BufRead) -> Option<StubRequest> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let length = headers
        .iter()
        .find(|(n, _)| n == "content-length")
        .and_then(|(_, v)| v.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(StubRequest {
        method,
        path,
        headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    })
}
