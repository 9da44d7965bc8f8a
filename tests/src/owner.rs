//! The person: holds the connection key, connects agents, reads cards and decides.

use crate::events::Events;
use crate::http::{Client, Response};
use crate::waiting::until;
use serde_json::{Value, json};

/// Acts with the connection key.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Sends the key with every request.
    pub client: Client,
    /// The key itself, for tests that use it where it does not belong.
    pub key: String,
}

impl Owner {
    /// Takes up the key.
    #[must_use]
    pub fn new(client: &Client, key: &str) -> Self {
        Self {
            client: client.with("x-plexus-connection-key", key),
            key: key.to_owned(),
        }
    }
    /// A GET with the key.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.client.get(path)
    }
    /// A POST of JSON with the key.
    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Response {
        self.client.post(path, body)
    }
    /// A PUT of JSON with the key.
    #[track_caller]
    pub fn put(&self, path: &str, body: Value) -> Response {
        self.client.put(path, body)
    }
    /// As [`Owner::get`], and holds that it succeeded; gives the body, as the next two do.
    #[track_caller]
    pub fn must_get(&self, path: &str) -> Value {
        self.client.must_get(path)
    }
    /// As [`Owner::post`], and holds that it succeeded.
    #[track_caller]
    pub fn must_post(&self, path: &str, body: Value) -> Value {
        self.client.must_post(path, body)
    }
    /// As [`Owner::put`], and holds that it succeeded.
    #[track_caller]
    pub fn must_put(&self, path: &str, body: Value) -> Value {
        self.client.must_put(path, body)
    }
    /// A DELETE with the key.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        self.client.delete(path)
    }
    /// Connects an agent to `capabilities`; gives the answer, whose `code` is the enrollment code.
    #[track_caller]
    pub fn connect(&self, agent: &str, capabilities: &[&str]) -> Value {
        self.connect_as(json!({"agentId": agent, "capabilities": capabilities}))
            .expect_ok()
    }
    /// Connects with any body.
    #[track_caller]
    pub fn connect_as(&self, body: Value) -> Response {
        self.client.post("/admin/api/agents/connect", body)
    }
    /// Everything that waits, newest first.
    #[must_use]
    #[track_caller]
    pub fn pending(&self) -> Vec<Value> {
        match self.client.get("/admin/api/pending").expect_ok()["pending"].take() {
            Value::Array(items) => items,
            other => panic!("pending is {other}"),
        }
    }
    /// The card of an item, once its plan is made.
    #[must_use]
    #[track_caller]
    pub fn card(&self, item: &str) -> Value {
        until("the card of a pending item with its plan", || {
            self.pending()
                .into_iter()
                .find(|card| card["pendingId"] == item)
                .map(|card| match card["brief"] == true {
                    // The list has no room for it.
                    true => self
                        .client
                        .get(&format!("/admin/api/pending/{item}"))
                        .expect_ok(),
                    false => card,
                })
                .filter(|card| {
                    let asks = card["asks"].as_array().into_iter().flatten();
                    // What an agent proposes is looked at for a moment before a list shows it unseen.
                    let is_seen = !card["problems"].to_string().contains("still looked at");
                    is_seen && asks.map(|ask| &ask["plan"]).all(|plan| plan != "making")
                })
        })
    }
    /// The plan on a card that is about one capability.
    #[must_use]
    #[track_caller]
    pub fn plan(&self, item: &str) -> Value {
        self.card(item)["asks"][0]["plan"].clone()
    }
    /// Approves an item as its card shows it now. `window` is `once`, `1h`, `1d`, `7d` or `until-revoked`.
    #[track_caller]
    pub fn approve(&self, item: &str, window: &str) -> Value {
        let card = self.card(item);
        let reply = self.decide(item, approval(&card, window));
        assert_eq!(reply.status, 200, "{reply}\n{card:#}");
        reply.json()
    }
    /// Denies an item.
    #[track_caller]
    pub fn deny(&self, item: &str, reason: &str) -> Value {
        self.decide(item, json!({"action": "deny", "reason": reason}))
            .expect_ok()
    }
    /// Decides with any body.
    #[track_caller]
    pub fn decide(&self, item: &str, body: Value) -> Response {
        self.client
            .post(&format!("/admin/api/pending/{item}"), body)
    }
    /// Grants without being asked: the owner's own act, with a window.
    #[track_caller]
    pub fn grant(&self, agent: &str, capability: &str, window: &str) -> Response {
        self.client.put(
            "/admin/api/grants",
            json!({"agentId": agent, "grants": {capability: "allow"}, "trustWindow": {"kind": window}}),
        )
    }
    /// As [`Owner::grant`], and holds that it succeeded.
    #[track_caller]
    pub fn must_grant(&self, agent: &str, capability: &str, window: &str) {
        self.grant(agent, capability, window).expect_ok();
    }
    /// Takes one grant back.
    #[track_caller]
    pub fn revoke(&self, agent: &str, capability: &str) -> Value {
        self.client
            .post(
                "/admin/api/revoke",
                json!({"agentId": agent, "capabilityId": capability, "reason": "no longer needed"}),
            )
            .expect_ok()
    }
    /// Ends an agent.
    #[track_caller]
    pub fn revoke_agent(&self, agent: &str) -> Value {
        self.client
            .post("/admin/api/agents/revoke", json!({"agentId": agent}))
            .expect_ok()
    }
    /// Says how much an agent may do: `callsPerSecond`, `ledgerBytesPerDay`, each a number or `default`.
    #[track_caller]
    pub fn limit(&self, agent: &str, limits: Value) -> Response {
        self.client
            .post(&format!("/admin/api/agents/{agent}/limits"), limits)
    }
    /// Lets a capability be seen, or not.
    #[track_caller]
    pub fn expose(&self, capability: &str, enabled: bool) -> Value {
        self.client
            .post(
                &format!("/admin/api/exposure/{capability}"),
                json!({"enabled": enabled}),
            )
            .expect_ok()
    }
    /// The latest events of the audit log, newest first.
    #[must_use]
    #[track_caller]
    pub fn audit(&self, limit: u32) -> Vec<Value> {
        match self
            .client
            .get(&format!("/admin/api/audit?limit={limit}"))
            .expect_ok()["events"]
            .take()
        {
            Value::Array(events) => events,
            other => panic!("events is {other}"),
        }
    }
    /// The latest event that fits.
    ///
    /// # Panics
    /// When there is none, with what there is.
    #[must_use]
    #[track_caller]
    pub fn audited(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let events = self.audit(200);
        let Some(found) = events.iter().find(|event| fits(event)) else {
            panic!("no such event among {events:#?}");
        };
        found.clone()
    }
    /// All grants that stand.
    #[must_use]
    #[track_caller]
    pub fn grants(&self) -> Vec<Value> {
        match self.client.get("/admin/api/grants").expect_ok()["grants"].take() {
            Value::Array(grants) => grants,
            other => panic!("grants is {other}"),
        }
    }
    /// The request that waits first in the list, once one does.
    #[must_use]
    #[track_caller]
    pub fn waiting(&self) -> String {
        until("a request of the agent", || {
            let items = self.pending();
            items.first()?["pendingId"].as_str().map(str::to_owned)
        })
    }
    /// The card of a kind that waits, once one does.
    #[must_use]
    #[track_caller]
    pub fn waits(&self, kind: &str) -> Value {
        until("a card of this kind", || {
            let mut cards = self.pending().into_iter();
            cards.find(|card| card["kind"] == kind)
        })
    }
    /// Opens the owner's event stream.
    #[must_use]
    #[track_caller]
    pub fn events(&self) -> Events {
        let events = Events::open(&self.client, "/v1/events");
        assert_eq!(events.status, 200);
        events
    }
}

/// The body that approves a card as it was shown, for a window of this kind.
#[must_use]
pub fn approval(card: &Value, window: &str) -> Value {
    json!({"action": "approve", "trustWindow": {"kind": window}, "cardDigest": card["cardDigest"]})
}

/// The sequence that the id of an audit event begins with: its first 48 bits.
///
/// # Panics
/// Where it has no such id.
#[must_use]
pub fn sequence(event: &Value) -> u64 {
    let id = event["id"].as_str().expect("an id");
    let hex: String = id
        .trim_start_matches("evt_")
        .chars()
        .filter(|c| *c != '-')
        .take(12)
        .collect();
    u64::from_str_radix(&hex, 16).expect("a UUID")
}
