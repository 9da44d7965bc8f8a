//! A program that was let in: holds a PAT and a session, and speaks the wire as a client written elsewhere does.

use crate::events::Events;
use crate::http::{Client, Response};
use crate::owner::Owner;
use serde_json::{Value, json};

/// A token: its text, or the answer that it came in.
pub trait Token {
    /// Its text.
    fn text(&self) -> &str;
}

impl Token for str {
    fn text(&self) -> &str {
        self
    }
}

impl Token for String {
    fn text(&self) -> &str {
        self
    }
}

impl Token for Value {
    #[track_caller]
    fn text(&self) -> &str {
        self["token"].as_str().expect("a token")
    }
}

/// An enrolled agent with one session.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its name.
    pub id: String,
    /// Its credential.
    pub pat: String,
    /// Its session.
    pub session: String,
    /// Sends no credential by itself.
    pub anonymous: Client,
}

impl Agent {
    /// Redeems a code and opens a session.
    #[track_caller]
    pub fn enroll(client: &Client, code: &str) -> Self {
        let reply = client.must_post("/agents/enroll", json!({"code": code}));
        let text = |name: &str| reply[name].as_str().expect("a string").to_owned();
        Self::with_pat(client, &text("agentId"), &text("pat"))
    }
    /// Opens a session with a PAT.
    #[track_caller]
    pub fn with_pat(client: &Client, id: &str, pat: &str) -> Self {
        let reply = handshake(client, pat);
        reply.expect_ok();
        Self {
            id: id.to_owned(),
            pat: pat.to_owned(),
            session: reply.text_at("/sessionId"),
            anonymous: client.clone(),
        }
    }
    /// The same agent with a second session.
    #[must_use]
    #[track_caller]
    pub fn another_session(&self) -> Self {
        Self::with_pat(&self.anonymous, &self.id, &self.pat)
    }
    /// Sends the session.
    #[must_use]
    pub fn client(&self) -> Client {
        self.anonymous.with("x-plexus-session", &self.session)
    }
    /// Its session has ended.
    #[track_caller]
    pub fn must_be_signed_out(&self) {
        let reply = self.client().get("/manifest");
        reply.expect_error(401, "session_expired");
    }
    /// What it sees.
    #[track_caller]
    pub fn manifest(&self) -> Value {
        self.client().get("/manifest").expect_ok()["manifest"].take()
    }
    /// The ids of what it sees, in the order of the manifest.
    #[must_use]
    #[track_caller]
    pub fn sees(&self) -> Vec<String> {
        let manifest = self.manifest();
        let entries = manifest["entries"].as_array().expect("entries");
        entries
            .iter()
            .map(|entry| entry["id"].as_str().expect("an id").to_owned())
            .collect()
    }
    /// One entry of the manifest.
    #[must_use]
    #[track_caller]
    pub fn entry(&self, id: &str) -> Value {
        let manifest = self.manifest();
        let entries = manifest["entries"].as_array().expect("entries");
        let Some(entry) = entries.iter().find(|entry| entry["id"] == id) else {
            panic!("{id} is not in the manifest");
        };
        entry.clone()
    }
    /// Asks for grants: `{"<id>": "allow" | {…}}`.
    #[track_caller]
    pub fn ask(&self, grants: Value) -> Response {
        self.client().put("/grants", json!({"grants": grants}))
    }
    /// Asks with the call it is for; gives the pending id.
    #[track_caller]
    pub fn ask_to(&self, id: &str, input: Value) -> Response {
        self.client().put(
            "/grants",
            json!({"grants": {id: "allow"}, "intents": {id: {"input": input}}}),
        )
    }
    /// A token for ids that are granted already.
    #[track_caller]
    pub fn token(&self, ids: &[&str]) -> Value {
        let grants: serde_json::Map<String, Value> = ids
            .iter()
            .map(|id| ((*id).to_owned(), json!("allow")))
            .collect();
        let reply = self.ask(Value::Object(grants));
        let body = reply.expect_ok();
        assert!(body["token"].is_string(), "{reply}");
        body
    }
    /// Calls with the session alone.
    #[track_caller]
    pub fn invoke(&self, id: &str, input: Value) -> Response {
        self.invoke_body(json!({"id": id, "input": input}))
    }
    /// Calls with the session alone, and expects that the call succeeds; gives the body of its answer.
    #[track_caller]
    pub fn must(&self, id: &str, input: Value) -> Value {
        self.invoke(id, input).expect_ok()
    }
    /// Calls with the session alone, and expects this refusal; gives the error object.
    #[track_caller]
    pub fn must_fail(&self, id: &str, input: Value, status: u16, code: &str) -> Value {
        self.invoke(id, input).expect_error(status, code)
    }
    /// Calls with the session and any body.
    #[track_caller]
    pub fn invoke_body(&self, body: Value) -> Response {
        self.client().post("/invoke", body)
    }
    /// Calls with a token.
    #[track_caller]
    pub fn invoke_with(&self, token: &(impl Token + ?Sized), id: &str, input: Value) -> Response {
        self.bearing(token)
            .post("/invoke", json!({"id": id, "input": input}))
    }
    /// Sends a token, and no session.
    #[must_use]
    #[track_caller]
    pub fn bearing(&self, token: &(impl Token + ?Sized)) -> Client {
        let value = format!("Bearer {}", token.text());
        self.anonymous.with("authorization", &value)
    }
    /// Calls, and expects that the owner has to decide; gives the pending id.
    #[track_caller]
    pub fn must_ask(&self, id: &str, input: Value) -> String {
        let reply = self.invoke(id, input);
        let error = reply.expect_error(401, "approval_required");
        let Some(item) = error["pendingId"].as_str() else {
            panic!("no pendingId: {reply}");
        };
        item.to_owned()
    }
    /// Asks, has the owner approve that once, and calls.
    #[track_caller]
    pub fn approved(&self, owner: &Owner, id: &str, input: Value) -> Response {
        let item = self.must_ask(id, input.clone());
        owner.approve(&item, "once");
        self.invoke(id, input)
    }
    /// As [`Agent::approved`], and expects that the call succeeds; gives the body of its answer.
    #[track_caller]
    pub fn must_approved(&self, owner: &Owner, id: &str, input: Value) -> Value {
        self.approved(owner, id, input).expect_ok()
    }
    /// Where an item stands.
    #[track_caller]
    pub fn status(&self, item: &str) -> Response {
        self.client()
            .get(&format!("/grants/status?pendingId={item}"))
    }
    /// Where an item stands, at the latest after `seconds` or when it is decided.
    #[track_caller]
    pub fn status_after(&self, item: &str, seconds: u32) -> Response {
        self.client()
            .get(&format!("/grants/status?pendingId={item}&wait={seconds}"))
    }
    /// Its standing grants.
    #[must_use]
    #[track_caller]
    pub fn ledger(&self) -> Vec<Value> {
        match self.client().get("/grants").expect_ok()["grants"].take() {
            Value::Array(grants) => grants,
            other => panic!("grants is {other}"),
        }
    }
    /// Exchanges a token for a fresh one.
    #[track_caller]
    pub fn refresh(&self, token: &Value) -> Response {
        let body = json!({"sessionId": self.session, "jti": token["jti"]});
        self.bearing(token).post("/grants/refresh", body)
    }
    /// Opens its event stream.
    #[must_use]
    #[track_caller]
    pub fn events(&self) -> Events {
        let events = Events::open(&self.client(), "/events");
        assert_eq!(events.status, 200);
        events
    }
}

/// A handshake with a PAT, whatever comes of it.
#[track_caller]
pub fn handshake(client: &Client, pat: &str) -> Response {
    client.with("authorization", &format!("Bearer {pat}")).post(
        "/link/handshake",
        json!({"client": {"name": "wire-client", "version": "1.0"}}),
    )
}
