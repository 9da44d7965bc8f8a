//! A server over HTTP: each message of ours is a POST of its own; the answer is one JSON text, or a stream of events in which
//! other messages come before it. The source's egress adds TLS and the secret.
//!
//! ```text
//! request ─POST─▶ 200 application/json ─▶ its answer      notification, answer of ours ─POST─▶ 2xx
//!                 200 text/event-stream ─▶ messages, and its answer
//!                     └ends before it, with an id─▶ wait ─▶ GET from that id on ─▶ 200 text/event-stream ─▶ …
//! ```
//! A stream is taken up again to listen alone: no request is sent twice.
//!
//! Invariants: the answers of one request are read at a time; no redirect is followed; no more than [`MAX_MESSAGE`] of one
//! message is held.
//!
//! Must not know: what a message is about, the secret.

use crate::{
    refusal::Refusal,
    session::SessionError,
    sign_in::Challenge,
    wire::{MAX_MESSAGE, Message, messages},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    header::{self, HeaderValue},
    http::request::Builder,
};
use plexus_egress_client::{EgressClient, NoAnswer, Streamed};
use plexus_ipc::{manifest, worker::EgressAccess};
use serde_json::Value;
use std::{borrow::Cow, collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::sleep;

/// How long the head of an answer may take, awake: as long as a call.
const HEAD_WITHIN: Duration = Duration::from_secs(120);
/// Largest answer to what is no request, in MiB.
const MOST: usize = 1;
const SESSION: &str = "mcp-session-id";
/// How long until a stream that ended is taken up again, where the server does not say; and the least.
const RETRY: Duration = Duration::from_secs(1);
const LEAST_RETRY: Duration = Duration::from_millis(100);

/// Where a server is, and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct ServerAddress {
    client: Arc<EgressClient>,
    /// Path and query.
    path: String,
}

impl ServerAddress {
    /// The way to it.
    pub(crate) fn client(&self) -> &EgressClient {
        &self.client
    }

    /// `None` for a credential that no header holds.
    pub(crate) fn new(egress: &EgressAccess, url: &str) -> Option<Self> {
        let client = EgressClient::new(egress, HEAD_WITHIN, MOST)?;
        Some(Self {
            client: Arc::new(client),
            path: path_of(url).to_owned(),
        })
    }
}

/// The path of a URL, with its query.
pub(crate) fn path_of(url: &str) -> &str {
    manifest::path_of(url.split('#').next().unwrap_or_default())
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Http {
    place: ServerAddress,
    /// What the server calls the conversation.
    session: Option<HeaderValue>,
    /// Once it was agreed on.
    version: Option<HeaderValue>,
    /// The answer that is being read.
    answer: Option<Answer>,
}

#[derive(Debug)]
struct Answer {
    body: Streamed,
    is_events: bool,
    /// The rest of a batch.
    ready: VecDeque<Message>,
    /// What was read and is not taken yet.
    read: Vec<u8>,
    /// How much of it holds no end of an event.
    searched: usize,
    is_over: bool,
    resume: Resume,
}

/// From where on, and when, a stream is taken up again.
#[derive(Clone, Debug)]
struct Resume {
    /// The last event that has one.
    id: Option<HeaderValue>,
    after: Duration,
}

impl Default for Resume {
    fn default() -> Self {
        Self {
            id: None,
            after: RETRY,
        }
    }
}

impl Http {
    pub(crate) fn new(place: ServerAddress) -> Self {
        Self {
            place,
            session: None,
            version: None,
            answer: None,
        }
    }

    pub(crate) fn speaks(&mut self, version: &str) {
        self.version = HeaderValue::from_str(version).ok();
    }

    pub(crate) async fn send(&mut self, said: &Value) -> Result<(), SessionError> {
        let request = self.request(said)?;
        let is_call = said["method"].is_string();
        if !is_call || said["id"].is_null() {
            let answer = self.place.client.send(request).await.map_err(no_answer)?;
            // Some refuse a notification that they do not need; what matters is asked of them.
            return match answer.status.is_success() || is_call {
                true => Ok(()),
                // In the middle of a call, of which that says nothing.
                false => Err(SessionError::Protocol(
                    "it refused an answer to its own question",
                )),
            };
        }
        self.answer = None;
        self.answer = Some(self.asked(request, Resume::default()).await?);
        Ok(())
    }

    /// The answer to a request, of which only the head was read.
    async fn asked(
        &mut self,
        request: Request<Bytes>,
        resume: Resume,
    ) -> Result<Answer, SessionError> {
        let body = self.place.client.stream(request).await.map_err(no_answer)?;
        let kind = body.headers.get(header::CONTENT_TYPE);
        let is = |name: &str| {
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case(name)
        };
        let (is_json, is_events) = (is("application/json"), is("text/event-stream"));
        if body.status.is_redirection()
            && let Some(target) = body.headers.get(header::LOCATION)
        {
            let target = String::from_utf8_lossy(target.as_bytes());
            return Err(SessionError::Moved(
                body.status.as_u16(),
                target.into_owned(),
            ));
        }
        if body.status == StatusCode::UNAUTHORIZED {
            return Err(SessionError::Unauthorized(Challenge::of(&body.headers)));
        }
        if body.status == StatusCode::FORBIDDEN
            && let Some(wanted) = Challenge::of(&body.headers).scope_missing()
        {
            return Err(SessionError::ScopeMissing(wanted));
        }
        if body.status != StatusCode::OK || !(is_json || is_events) {
            return Err(Refusal::of(body).await);
        }
        if let Some(session) = body.headers.get(SESSION) {
            self.session = Some(session.clone());
        }
        Ok(Answer {
            body,
            is_events,
            ready: VecDeque::new(),
            read: Vec::new(),
            searched: 0,
            is_over: false,
            resume,
        })
    }

    fn request(&self, said: &Value) -> Result<Request<Bytes>, SessionError> {
        let mut request = self
            .within(Request::post(&self.place.path))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if let Some(method) = said["method"].as_str() {
            request = request.header("mcp-method", method);
        }
        let params = &said["params"];
        if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
            request = request.header("mcp-name", &*header_text(name));
        }
        whole(request, Bytes::from(said.to_string()))
    }

    /// With what says of which conversation it is.
    fn within(&self, mut request: Builder) -> Builder {
        if let Some(session) = &self.session {
            request = request.header(SESSION, session);
        }
        if let Some(version) = &self.version {
            request = request.header("mcp-protocol-version", version);
        }
        request
    }

    /// The next message of the answer. A stream that ends before it is taken up again, for as long as the caller waits.
    pub(crate) async fn receive(&mut self) -> Result<Message, SessionError> {
        let broken = || SessionError::Ended(": the connection has no answer".to_owned());
        loop {
            let answer = self.answer.as_mut().ok_or_else(broken)?;
            if let Some(message) = answer.message().await? {
                return Ok(message);
            }
            let resume = answer.resume.clone();
            let id = resume.id.clone().ok_or_else(broken)?;
            sleep(resume.after).await;
            let request = self
                .within(Request::get(&self.place.path))
                .header(header::ACCEPT, "text/event-stream")
                .header("last-event-id", id);
            let request = whole(request, Bytes::new())?;
            self.answer = Some(self.asked(request, resume).await.map_err(|_| broken())?);
        }
    }

    /// Tells the server that the conversation is over. It does not have to listen.
    pub(crate) async fn end(mut self) {
        self.answer = None;
        let Some(session) = self.session.take() else {
            return;
        };
        let over = Request::builder()
            .method(Method::DELETE)
            .uri(&self.place.path)
            .header(SESSION, session);
        if let Ok(over) = over.body(Bytes::new()) {
            // Nobody waits for it: a server that hangs holds up no answer.
            tokio::spawn(async move { self.place.client.send(over).await });
        }
    }
}

/// A text as the protocol writes it into a header.
fn header_text(text: &str) -> Cow<'_, str> {
    let (begin, end) = ("=?base64?", "?=");
    let is_plain = !text.is_empty()
        && text.trim() == text
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
        && !(text.starts_with(begin) && text.ends_with(end));
    match is_plain {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{begin}{}{end}", BASE64_STANDARD.encode(text))),
    }
}

fn whole(request: Builder, body: Bytes) -> Result<Request<Bytes>, SessionError> {
    let request = request.body(body);
    request.map_err(|_| SessionError::NoWay("the URL has no path that can be asked".into()))
}

impl Answer {
    /// The next message; none once it is over.
    async fn message(&mut self) -> Result<Option<Message>, SessionError> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            if let Some(text) = self.text() {
                // An event without a message says that the connection lives.
                self.ready = messages(&text)?;
                continue;
            }
            if self.is_over {
                return Ok(None);
            }
            match self.body.next().await {
                Ok(None) => self.is_over = true,
                Err(NoAnswer::Broken) if self.resume.id.is_some() => self.is_over = true,
                Err(why) => return Err(no_answer(why)),
                Ok(Some(part)) if self.read.len() + part.len() > MAX_MESSAGE => {
                    return Err(SessionError::TooLong);
                }
                Ok(Some(part)) => self.read.extend_from_slice(&part),
            }
        }
    }

    /// The next text of the body, where it is there as a whole.
    fn text(&mut self) -> Option<Vec<u8>> {
        if !self.is_events {
            let whole = self.is_over && !self.read.is_empty();
            return whole.then(|| std::mem::take(&mut self.read));
        }
        let Some((end, after)) = end_of_event(&self.read, self.searched) else {
            self.searched = self.read.len().saturating_sub(3);
            return None;
        };
        self.searched = 0;
        let event: Vec<u8> = self.read.drain(..after).take(end).collect();
        let event = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&event);
        let mut data = Vec::new();
        for line in event.split(|byte| matches!(byte, b'\n' | b'\r')) {
            if let Some(part) = line.strip_prefix(b"data:") {
                data.extend_from_slice(part);
                data.push(b'\n');
            } else {
                self.resume.heard(line);
            }
        }
        Some(data.trim_ascii().to_vec())
    }
}

impl Resume {
    /// A line of an event that is no part of its text.
    fn heard(&mut self, line: &[u8]) {
        if let Some(id) = line.strip_prefix(b"id:") {
            self.id = HeaderValue::from_bytes(id.trim_ascii()).ok();
        }
        let after = line.strip_prefix(b"retry:");
        let after = after.and_then(|after| str::from_utf8(after.trim_ascii()).ok()?.parse().ok());
        if let Some(after) = after {
            self.after = Duration::from_millis(after).max(LEAST_RETRY);
        }
    }
}

/// Where the first event ends, and where the next begins; looked for from `searched` on.
fn end_of_event(read: &[u8], searched: usize) -> Option<(usize, usize)> {
    let ends: [&[u8]; 3] = [b"\n\n", b"\r\n\r\n", b"\r\r"];
    let found = ends.iter().filter_map(|end| {
        let mut parts = read.get(searched..)?.windows(end.len());
        let at = searched + parts.position(|part| part == *end)?;
        Some((at, at + end.len()))
    });
    found.min()
}

fn no_answer(why: NoAnswer) -> SessionError {
    match why {
        NoAnswer::NoWay(words) => SessionError::NoWay(words),
        NoAnswer::Stalled => SessionError::Late,
        NoAnswer::TooLarge(_) => SessionError::TooLong,
        why @ (NoAnswer::Broken | NoAnswer::Certificate { .. }) => {
            SessionError::Ended(format!(": {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_events_are_read_as_they_are_written() {
        for (url, path) in [
            ("https://a.example/mcp?x=1#y", "/mcp?x=1"),
            ("https://a.example", "/"),
            ("http://localhost:3000/", "/"),
        ] {
            assert_eq!(path_of(url), path, "{url}");
        }
        assert_eq!(end_of_event(b"data: 1\n\ndata: 2\n\n", 0), Some((7, 9)));
        assert_eq!(end_of_event(b"data: 1\r\n\r\n", 6), Some((7, 11)));
        assert_eq!(end_of_event(b"data: 1\n", 0), None);
    }

    #[test]
    fn name_in_a_header_is_ascii() {
        assert_eq!(header_text("file:///a b"), "file:///a b");
        assert_eq!(header_text("file:///é"), "=?base64?ZmlsZTovLy/DqQ==?=");
        assert_eq!(
            header_text("=?base64?eA==?="),
            "=?base64?PT9iYXNlNjQ/ZUE9PT89?="
        );
    }

    #[test]
    fn stream_is_resumed_from_the_last_id_when_told() {
        let mut resume = Resume::default();
        for line in [
            &b"id: a"[..],
            b"retry: 2500",
            b"retry: soon",
            b"id: b",
            b": c",
        ] {
            resume.heard(line);
        }
        assert_eq!(resume.id.as_ref().unwrap(), "b");
        assert_eq!(resume.after, Duration::from_millis(2500));
        resume.heard(b"retry:0");
        assert_eq!(resume.after, LEAST_RETRY);
        resume.heard(b"id: a\nb");
        assert_eq!(resume.id, None, "no header holds it");
    }
}
