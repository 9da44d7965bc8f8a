//! An app with a local REST API, as home automation has one: lamps by their ids, a token, and answers that go wrong.
//!
//! | path | answer |
//! |---|---|
//! | `GET /api/states/ID` | the lamp, or 404 |
//! | `POST /api/services/light/turn_on`, `turn_off` | switches the lamp that the body names |
//! | `/odd/STATUS` | that status; `/odd/stall`, `half`, `big`, `binary`, `words` and `numbers` go wrong otherwise |
//! | `POST /odd/same` | the body, as it came |
//!
//! Without the token every path is 401.

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// The token that the app asks for. No part of it is in a path or a word of the gateway's.
pub const TOKEN: &str = "hush-93f0c2b7-lamps";

/// An answer that JSON does not have, as programs and apps give it: what is no number, a member twice, an id that no double
/// holds.
pub const NUMBERS: &str = r#"{"mean":NaN,"a":1,"a":2,"id":1915883588174806059}"#;

/// One request, as it came.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The request line and the headers, as they are.
    pub head: String,
    /// The body.
    pub body: String,
}

/// The app, on a free port of 127.0.0.1, for as long as the test runs.
#[derive(Debug)]
pub struct HomeApp {
    /// Its port.
    pub port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl HomeApp {
    /// With one lamp, `light.kitchen`, which is off.
    ///
    /// # Panics
    /// There is no port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let remembered = Arc::clone(&heard);
        thread::spawn(move || {
            let lamps = Arc::new(Mutex::new(BTreeMap::from([(
                "light.kitchen".to_owned(),
                json!({"entity_id": "light.kitchen", "state": "off"}),
            )])));
            for stream in listener.incoming().flatten() {
                let (lamps, remembered) = (Arc::clone(&lamps), Arc::clone(&remembered));
                // A client that breaks off is not the app's failure.
                thread::spawn(move || drop(serve(stream, &lamps, &remembered)));
            }
        });
        Self { port, heard }
    }

    /// Its address, as an extension names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// All requests so far.
    ///
    /// # Panics
    /// A connection's thread panicked.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().expect("the list").clone()
    }
}

type Lamps = Mutex<BTreeMap<String, Value>>;

fn serve(stream: TcpStream, lamps: &Lamps, heard: &Mutex<Vec<Heard>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && stream.read_until(b'\n', &mut head)? > 0 {}
    let head = String::from_utf8_lossy(&head).into_owned();
    let lower = head.to_lowercase();
    let mut lengths = lower
        .lines()
        .filter_map(|line| line.strip_prefix("content-length: "));
    let length = lengths
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let known = lower.contains(&format!("authorization: bearer {TOKEN}"))
        || lower.contains(&format!("x-app-key: {TOKEN}"));
    let mut words = head.split(' ');
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let path = path.split('?').next().unwrap_or_default().to_owned();
    let answer = match (known, path.strip_prefix("/odd/")) {
        (false, _) => whole(401, "", "who are you?"),
        (true, Some(odd)) => went_wrong(
            odd,
            &mut stream,
            heard,
            &Heard {
                head: head.clone(),
                body: body.clone(),
            },
        )?,
        (true, None) => answered(method, &path, &body, lamps),
    };
    heard.lock().expect("the list").push(Heard { head, body });
    stream.get_mut().write_all(&answer)
}

fn whole(status: u16, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

fn answered(method: &str, path: &str, body: &str, lamps: &Lamps) -> Vec<u8> {
    let mut lamps = lamps.lock().expect("the lamps");
    let json = "content-type: application/json\r\n";
    match (method, path) {
        ("GET", path) if let Some(id) = path.strip_prefix("/api/states/") => match lamps.get(id) {
            Some(lamp) => whole(200, json, &lamp.to_string()),
            None => whole(404, "", "Entity not found."),
        },
        ("POST", "/api/services/light/turn_on" | "/api/services/light/turn_off") => {
            let asked: Value = serde_json::from_str(body).unwrap_or_default();
            let lamp = asked["entity_id"].as_str().and_then(|id| lamps.get_mut(id));
            let Some(lamp) = lamp else {
                return whole(400, "", "no such lamp");
            };
            lamp["state"] = if path.ends_with("turn_on") {
                "on".into()
            } else {
                "off".into()
            };
            lamp["brightness"] = asked["brightness"].clone();
            whole(200, json, &json!([lamp]).to_string())
        }
        _ => whole(404, "", "404: Not Found"),
    }
}

fn went_wrong(
    odd: &str,
    stream: &mut BufReader<TcpStream>,
    heard: &Mutex<Vec<Heard>>,
    request: &Heard,
) -> std::io::Result<Vec<u8>> {
    Ok(match odd {
        "stall" => {
            heard.lock().expect("the list").push(request.clone());
            // Until the other end gives up.
            stream.read_to_end(&mut Vec::new())?;
            Vec::new()
        }
        "half" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"half\":".to_vec(),
        "big" => whole(200, "", &"x".repeat(2 << 20)),
        "binary" => b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec(),
        "words" => whole(200, "", "just words"),
        "numbers" => whole(200, "", NUMBERS),
        "same" => whole(200, "", &request.body),
        "302" => whole(302, "location: /api/states/light.kitchen\r\n", ""),
        "429" => whole(429, "retry-after: 7\r\n", "slow down"),
        status => whole(status.parse().unwrap_or(500), "", "told\nand more"),
    })
}
