//! [`Server`]: the tools as an MCP server for the agent's process, on loopback HTTP.
//!
//! ```text
//! open_turn ─▶ POST initialize ─▶ a session ─▶ tools/list, tools/call … ─▶ DELETE
//!     └────────────────────────────────────────────────────────────▶ close_turn ─▶ token and sessions are gone
//! ```
//! Invariants: a token is of one turn, and without a turn there is none; a request with an `Origin`, or for a host that is not
//! this machine, is refused; [`Server::close_turn`] returns when no call is under way any more.
//!
//! Must not know: what a tool does, the relay.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plexus_channels::crypto::random;
use plexus_mcp::LEGACY;
use plexus_mcp::message::{self, Incoming, RpcError};
use plexus_participant::{Tools, list};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::sync::RwLock;

const SESSION: &str = "mcp-session-id";
/// Sessions of one turn.
const SESSIONS: usize = 16;
const BODY_BYTES: usize = 1 << 20;
/// Instructions for an agent whose tools are deferred.
const INSTRUCTIONS: &str = "Channels with the agents and people of your organization: read them, answer in them, open new ones. \
    Only `reply` and `start_discussion` reach others.";

/// Uses of the tools by one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// The agent has asked which there are.
    pub(crate) is_listed: bool,
    /// Calls that arrived.
    pub(crate) calls: usize,
}

#[derive(Default)]
struct Open {
    token: Option<String>,
    sessions: HashSet<String>,
    used: Used,
}

/// The server.
pub(crate) struct Server {
    tools: Tools,
    open: Mutex<Open>,
    under_way: Arc<RwLock<()>>,
}

impl Server {
    /// Listens on a port of its own; nothing is served before a turn is opened.
    ///
    /// # Errors
    /// Where no port is free.
    pub(crate) async fn start(tools: Tools) -> io::Result<(Arc<Self>, u16)> {
        let server = Arc::new(Self {
            tools,
            open: Mutex::default(),
            under_way: Arc::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        // Another method is 405: nothing is pushed here.
        let routes = Router::new()
            .route("/mcp", post(posted).delete(deleted))
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .with_state(Arc::clone(&server));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok((server, port))
    }

    /// The token of a turn that begins.
    pub(crate) fn open_turn(&self) -> String {
        let token = URL_SAFE_NO_PAD.encode(random::<32>());
        *self.lock() = Open {
            token: Some(token.clone()),
            ..Open::default()
        };
        token
    }

    /// Ends the turn's access; answers with what it was used for.
    pub(crate) async fn close_turn(&self) -> Used {
        let open = std::mem::take(&mut *self.lock());
        drop(self.under_way.write().await);
        open.used
    }

    /// The tools, to be told how the turn ended.
    pub(crate) const fn tools(&self) -> &Tools {
        &self.tools
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refusal that precedes every other check, if there is one.
    fn refusal(&self, headers: &HeaderMap) -> Option<StatusCode> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        if !matches!(host, "127.0.0.1" | "localhost") || headers.contains_key(header::ORIGIN) {
            return Some(StatusCode::FORBIDDEN);
        }
        let given = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        let is_known = self.lock().token.as_ref().is_some_and(|token| {
            let given = given.unwrap_or_default();
            bool::from(token.as_bytes().ct_eq(given.as_bytes()))
        });
        (!is_known).then_some(StatusCode::UNAUTHORIZED)
    }

    async fn answer(&self, headers: &HeaderMap, body: &[u8]) -> Response {
        let (id, method, params) = match message::read(body) {
            Err(error) => return lines(StatusCode::BAD_REQUEST, error.line()),
            Ok(Incoming::Notification { .. } | Incoming::Response) => {
                return StatusCode::ACCEPTED.into_response();
            }
            Ok(Incoming::Request {
                id,
                fault: Some(why),
                ..
            }) => {
                let refused = RpcError::new(&id, message::INVALID_PARAMS, why);
                return lines(StatusCode::OK, refused.line());
            }
            Ok(Incoming::Request {
                id, method, params, ..
            }) => (id, method, params),
        };
        if method == "initialize" {
            return self.initialized(&id, &params);
        }
        let session = headers.get(SESSION).and_then(|value| value.to_str().ok());
        match session {
            None => return StatusCode::BAD_REQUEST.into_response(),
            Some(session) if !self.lock().sessions.contains(session) => {
                return StatusCode::NOT_FOUND.into_response();
            }
            Some(_) => {}
        }
        let answered = match method.as_str() {
            "ping" => Ok(json!({})),
            "tools/list" => {
                self.lock().used.is_listed = true;
                Ok(json!({"tools": list()}))
            }
            "tools/call" => self.called(&id, params).await,
            _ => {
                let why = format!("There is no method {method:?} here.");
                Err(RpcError::new(&id, message::METHOD_NOT_FOUND, why))
            }
        };
        let line = answered.map_or_else(RpcError::line, |result| {
            message::response(&id, &message::text(&result))
        });
        lines(StatusCode::OK, line)
    }

    fn initialized(&self, id: &Value, params: &Map<String, Value>) -> Response {
        let session = URL_SAFE_NO_PAD.encode(random::<16>());
        {
            let mut open = self.lock();
            if open.sessions.len() >= SESSIONS {
                return StatusCode::TOO_MANY_REQUESTS.into_response();
            }
            open.sessions.insert(session.clone());
        }
        let asked = params.get("protocolVersion").and_then(Value::as_str);
        let version = LEGACY.iter().find(|known| asked == Some(known));
        let result = json!({
            "protocolVersion": version.unwrap_or(&LEGACY[0]),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "channels", "version": env!("CARGO_PKG_VERSION")},
            "instructions": INSTRUCTIONS,
        });
        let line = message::response(id, &message::text(&result));
        ([(SESSION, session)], lines(StatusCode::OK, line)).into_response()
    }

    async fn called(&self, id: &Value, mut params: Map<String, Value>) -> Result<Value, RpcError> {
        let invalid = |why: &str| RpcError::new(id, message::INVALID_PARAMS, why);
        let Some(Value::String(name)) = params.remove("name") else {
            return Err(invalid("The name of a tool is missing."));
        };
        let arguments = match params.remove("arguments") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(arguments)) => arguments,
            Some(_) => return Err(invalid("The arguments are no object.")),
        };
        self.lock().used.calls += 1;
        let called = self.tools.call(&name, arguments).await;
        called.ok_or_else(|| invalid("There is no such tool."))
    }
}

async fn posted(State(server): State<Arc<Server>>, headers: HeaderMap, body: Bytes) -> Response {
    // Taken before the token is looked at, so that no call of a turn outlives it.
    let under_way = Arc::clone(&server.under_way).read_owned().await;
    if let Some(refusal) = server.refusal(&headers) {
        return refusal.into_response();
    }
    // A call that has begun comes to its end, also where its client hangs up.
    let answering = tokio::spawn(async move {
        let answer = server.answer(&headers, &body).await;
        drop(under_way);
        answer
    });
    let failed = StatusCode::INTERNAL_SERVER_ERROR;
    answering.await.unwrap_or_else(|_| failed.into_response())
}

async fn deleted(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    if let Some(refusal) = server.refusal(&headers) {
        return refusal.into_response();
    }
    let session = headers.get(SESSION).and_then(|value| value.to_str().ok());
    let is_known = session.is_some_and(|session| server.lock().sessions.remove(session));
    match is_known {
        true => StatusCode::NO_CONTENT.into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

fn lines(status: StatusCode, line: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], line).into_response()
}

#[cfg(test)]
mod tests;
