//! An MCP server over HTTP that a story steers: either era, a bearer token, a session, answers as JSON and as events.
//!
//! It speaks one revision: with a handshake and a session, or without either. What it heard is kept for the story.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What opens the server, as a bearer token.
pub const TOKEN: &str = "hush-hush";
/// Between two pieces of an answer that are written apart.
pub const PIECES: &str = "\0";
const SESSION: &str = "session-1";
const STATELESS: &str = "2026-07-28";

/// Whether the server has a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25.
    Handshake,
    /// 2026-07-28.
    Stateless,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its method and path.
    pub line: String,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Value,
}

/// A server that serves until its process ends.
#[derive(Debug)]
pub struct McpWeb {
    port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl McpWeb {
    /// Starts it on a free loopback port.
    ///
    /// # Panics
    /// When this machine has no port.
    #[must_use]
    #[track_caller]
    pub fn start(era: Era) -> Self {
        Self::with_manners(era, |_| None)
    }

    /// The same with manners of its own: an answer of HTTP as it is sent, in place of the usual one. An empty one ends the
    /// connection.
    ///
    /// # Panics
    /// When this machine has no port.
    #[must_use]
    #[track_caller]
    pub fn with_manners(
        era: Era,
        manners: impl Fn(&Heard) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let manners = Arc::new(manners);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let keeps = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let keeps = Arc::clone(&keeps);
                let manners = Arc::clone(&manners);
                // One that breaks off ends its own connection alone.
                thread::spawn(move || {
                    if let Some(request) = read(&client) {
                        let answer = manners(&request).unwrap_or_else(|| answer(era, &request));
                        keeps
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(request);
                        drop(client.set_nodelay(true));
                        for piece in answer.split(PIECES) {
                            drop((&client).write_all(piece.as_bytes()));
                        }
                    }
                });
            }
        });
        Self { port, heard }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that it was asked so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.clone()
    }
}

pub(crate) fn read(client: &TcpStream) -> Option<Heard> {
    let mut input = BufReader::new(client);
    let mut line = String::new();
    // A connection that ends before its request is none that was heard.
    let begun = |read: std::io::Result<usize>| read.ok().filter(|bytes| *bytes > 0);
    begun(input.read_line(&mut line))?;
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        begun(input.read_line(&mut header))?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    input.read_exact(&mut body).ok()?;
    Some(Heard {
        line: line.trim_end().trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
    })
}

fn answer(era: Era, request: &Heard) -> String {
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    if header("authorization") != format!("Bearer {TOKEN}") {
        return http(401, "text/plain", "", "who are you?");
    }
    opened(era, request)
}

/// What it answers to who may ask.
pub(crate) fn opened(era: Era, request: &Heard) -> String {
    let header = |name: &str| request.headers.get(name).map_or("", String::as_str);
    let asked = &request.body;
    let method = asked["method"].as_str().unwrap_or_default();
    let is_stateless = era == Era::Stateless;
    let fits = match era {
        Era::Handshake => method == "initialize" || header("mcp-session-id") == SESSION,
        Era::Stateless => {
            asked["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == STATELESS
                && (header("mcp-protocol-version"), header("mcp-method")) == (STATELESS, method)
        }
    };
    if !fits {
        let error = json!({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32022, "message": "another version"}});
        return http(400, "application/json", "", &error.to_string());
    }
    if asked["id"].is_null() {
        return http(202, "text/plain", "", "");
    }
    let declared = match request.line.ends_with("?resources") {
        true => json!({"tools": {}, "resources": {}}),
        false => json!({"tools": {}}),
    };
    let checks = request.line.split_once("?checks=").map(|(_, which)| which);
    let checked = || checks.and_then(|_| checked(asked["params"]["name"].as_str()?));
    let result = match method {
        "tools/list" if checks.is_some() => {
            let tools = checked_tools(checks.unwrap_or_default());
            json!({"resultType": "complete", "tools": tools})
        }
        "tools/call" if checks.is_some() => checked().unwrap_or_default(),
        "initialize" if !is_stateless => json!({
            "protocolVersion": "2025-11-25", "capabilities": declared,
            "serverInfo": {"name": "web", "version": "1"}, "instructions": "Be kind.",
        }),
        "server/discover" if is_stateless => json!({
            "resultType": "complete", "supportedVersions": [STATELESS], "capabilities": declared,
            "instructions": "Be kind.", "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "web", "version": "1"}},
        }),
        "tools/list" => json!({"resultType": "complete", "tools": [
            {"name": "look", "description": "Looks", "inputSchema": {"type": "object"}},
            {"name": "act", "description": "Acts", "inputSchema": {"type": "object", "properties": {"what": {"type": "string"}}}},
        ]}),
        "tools/call"
            if asked["params"]["arguments"]["ask"] == true
                && asked["params"]["inputResponses"].is_null() =>
        {
            let params = json!({"message": "Where to?", "requestedSchema": {
                "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            }});
            json!({
                "resultType": "input_required", "requestState": "state-1",
                "inputRequests": {"where": {"method": "elicitation/create", "params": params}},
            })
        }
        "tools/call" if asked["params"]["arguments"]["ask"] == true => {
            let told = json!([
                asked["params"]["inputResponses"],
                asked["params"]["requestState"]
            ]);
            json!({"resultType": "complete", "content": [{"type": "text", "text": told.to_string()}]})
        }
        "tools/call" => {
            let words = format!(
                "{} {}",
                asked["params"]["name"], asked["params"]["arguments"]
            );
            json!({"resultType": "complete", "content": [{"type": "text", "text": words}], "isError": false})
        }
        "resources/list" => json!({"resources": [{"uri": "web://é", "name": "é"}]}),
        // What the request says that it reads.
        "resources/read" => json!({"contents": [{"uri": "web://é", "text": header("mcp-name")}]}),
        _ => json!({}),
    };
    let reply = json!({"jsonrpc": "2.0", "id": asked["id"], "result": result});
    let session = match is_stateless {
        true => String::new(),
        false => format!("mcp-session-id: {SESSION}\r\n"),
    };
    if method != "tools/call" {
        return http(200, "application/json", &session, &reply.to_string());
    }
    let progress = |at: u8| {
        let told = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {
            "progressToken": asked["params"]["_meta"]["progressToken"], "progress": at, "message": "on it",
        }});
        format!("event: message\ndata: {told}\n\n")
    };
    let steps = match asked["params"]["name"] == "tool.with.progress" {
        true => (1..=3).map(progress).collect(),
        false => progress(1),
    };
    let events = format!(": hello\n\n{steps}id: 2\ndata: {reply}\n\n");
    http(200, "text/event-stream", &session, &events)
}

/// Tools that the official conformance scenarios call, without the name of the source that lends them (`test`, `json`): a client
/// sees `test_simple_text`.
pub const CHECKED: [&str; 7] = [
    "simple.text",
    "image.content",
    "audio.content",
    "embedded.resource",
    "multiple.content.types",
    "error.handling",
    "tool.with.progress",
];
/// A tool of the bench's, and how many bytes its image has.
pub const BIG_IMAGE: (&str, usize) = ("image", 5_000_000);
/// The same, of a source of its own.
pub const CHECKED_SCHEMA: &str = "schema.2020.12.tool";

fn checked_tools(of: &str) -> Value {
    if of == "big" {
        return json!([{"name": BIG_IMAGE.0, "description": "Is large", "inputSchema": {"type": "object"}}]);
    }
    if of == "test" {
        let tool = |name| json!({"name": name, "description": "Is checked", "inputSchema": {"type": "object"}});
        return CHECKED.iter().map(tool).collect();
    }
    let text = json!({"type": "string"});
    let needs = |name: &str| json!({"required": [name]});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef", "type": "object", "properties": {"street": text, "city": text},
        }},
        "properties": {
            "name": text, "address": {"$ref": "#/$defs/address"}, "phone": text, "email": text,
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        },
        "allOf": [{"anyOf": [needs("phone"), needs("email")]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": needs("phone"),
        "else": needs("email"),
        "additionalProperties": false,
    });
    json!([{"name": CHECKED_SCHEMA, "description": "Is checked", "inputSchema": schema}])
}

/// What a scenario wants of one of them.
fn checked(tool: &str) -> Option<Value> {
    // Of one pixel, and of no sound.
    let image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
    let sound = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
    let text = |words: &str| json!({"type": "text", "text": words});
    let image = json!({"type": "image", "data": image, "mimeType": "image/png"});
    let resource = |kind: &str, words: &str| json!({"type": "resource", "resource": {"uri": "test://resource", "mimeType": kind, "text": words}});
    let content = match tool {
        "simple.text" => json!([text("This is a simple text response for testing.")]),
        "image.content" => json!([image]),
        "audio.content" => json!([{"type": "audio", "data": sound, "mimeType": "audio/wav"}]),
        "embedded.resource" => json!([resource(
            "text/plain",
            "This is an embedded resource content."
        )]),
        "multiple.content.types" => {
            let told = resource("application/json", "{\"test\":\"data\",\"value\":123}");
            json!([text("Multiple content types test:"), image, told])
        }
        "error.handling" => json!([text("This tool intentionally returns an error for testing")]),
        "tool.with.progress" => json!([text("done")]),
        _ if tool == BIG_IMAGE.0 => {
            let data = BASE64_STANDARD.encode(vec![7; BIG_IMAGE.1]);
            json!([{"type": "image", "data": data, "mimeType": "image/png"}])
        }
        _ => return None,
    };
    Some(json!({"resultType": "complete", "content": content, "isError": tool == "error.handling"}))
}

/// An answer of HTTP, as it is sent; of `headers`, each ends its line.
#[must_use]
pub fn http(status: u16, kind: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} said\r\ncontent-type: {kind}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
