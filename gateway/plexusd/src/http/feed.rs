//! Server-sent events (wire §4.11), made from what the ledger records.
//!
//! Invariants: a frame never holds a token; an agent gets only its own; who is slow misses frames and re-reads.
//! The last frames that change something are kept for `Last-Event-ID`; `audit_appended` is not: the log is there to read.

mod response;

pub(crate) use response::response;

use crate::{app::App, console::sessions::Visitor};
use axum::response::sse::Event as Frame;
use plexus_ledger::Recorded;
use plexus_protocol::{AgentId, CapabilityId, RunId, SourceId};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::broadcast;

/// Frames that a slow reader may be behind.
const LAG: usize = 1_024;
/// Frames kept for a reader that comes back.
const KEPT: usize = 1_024;

/// What is told that is not in the ledger.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    ManifestChanged {
        revision: u64,
        changed: Option<Changed>,
    },
    InvokeResolved {
        agent: AgentId,
        run: RunId,
        id: String,
        ok: bool,
    },
    SourceStatus {
        /// The one agent that may hear of it, where it is lent.
        borrower: Option<AgentId>,
        source: SourceId,
        available: bool,
        reason: Option<String>,
    },
}

/// Which entries changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) added: Vec<CapabilityId>,
    pub(crate) removed: Vec<CapabilityId>,
    pub(crate) updated: Vec<CapabilityId>,
}

/// Who may see a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Audience {
    Everyone,
    Agent(AgentId),
    Owner,
}

/// One frame.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    id: u64,
    audience: Audience,
    kind: &'static str,
    data: Value,
    changed: Option<Changed>,
}

/// Who listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Agent(AgentId),
    Owner,
    /// The owner, in a browser.
    Console(Visitor),
}

impl Listener {
    /// Whether it hears what only the owner may.
    fn is_owner(&self) -> bool {
        matches!(self, Self::Owner | Self::Console(_))
    }
}

pub(crate) struct Feed {
    frames: broadcast::Sender<Arc<Told>>,
    kept: Mutex<VecDeque<Arc<Told>>>,
    next: AtomicU64,
    owners: AtomicUsize,
    closed: tokio::sync::watch::Sender<bool>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            frames: broadcast::Sender::new(LAG),
            kept: Mutex::default(),
            next: AtomicU64::new(1),
            owners: AtomicUsize::new(0),
            closed: tokio::sync::watch::Sender::new(false),
        }
    }
}

impl Feed {
    pub(crate) fn publish(&self, notice: Notice) {
        match notice {
            Notice::ManifestChanged { revision, changed } => {
                self.tell(
                    Audience::Everyone,
                    "manifest_changed",
                    json!({"revision": revision}),
                    changed,
                );
            }
            Notice::InvokeResolved { agent, run, id, ok } => {
                let status = if ok { "succeeded" } else { "failed" };
                let data = json!({"runId": run, "id": id, "status": status});
                self.tell(Audience::Agent(agent), "invoke_resolved", data, None);
            }
            Notice::SourceStatus {
                borrower,
                source,
                available,
                reason,
            } => {
                let mut data = json!({"source": source, "available": available});
                if let Some(reason) = reason {
                    data["reason"] = json!(reason);
                }
                let audience = borrower.map_or(Audience::Everyone, Audience::Agent);
                self.tell(audience, "source_status", data, None);
            }
        }
    }

    /// Ends every stream.
    pub(crate) fn close(&self) {
        let _ = self.closed.send(true);
    }

    /// Tells the owner's clients that the card of a changed source is decided. Calls' own items are told from the log.
    pub(crate) fn change_decided(&self, card: &plexus_protocol::PendingId, decision: &str) {
        let data = json!({"pendingId": card, "kind": "change", "decision": decision});
        self.tell(Audience::Owner, "pending_resolved", data, None);
    }

    /// How a changed source's card was decided in this launch, where the frame that told of it is still kept.
    pub(crate) fn decision_on(&self, card: &plexus_protocol::PendingId) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let told = kept.iter().rev().find(|told| {
            told.kind == "pending_resolved" && told.data["pendingId"] == card.as_str()
        })?;
        told.data["decision"].as_str().map(str::to_owned)
    }

    fn tell(
        &self,
        audience: Audience,
        kind: &'static str,
        mut data: Value,
        changed: Option<Changed>,
    ) {
        data["type"] = json!(kind);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let told = Arc::new(Told {
            id,
            audience,
            kind,
            data,
            changed,
        });
        if kind != "audit_appended" {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(told.clone());
        }
        // Nobody listening is fine.
        let _ = self.frames.send(told);
    }

    /// What a listener gets from now on, after what it missed since `last`.
    pub(crate) fn listen(self: &Feed, listener: Listener, last: Option<u64>) -> Listening<'_> {
        let frames = self.frames.subscribe();
        // A number that was not given yet is of another launch: who has it gets all that is kept.
        let last = last.map(|last| {
            if last < self.next.load(Ordering::Relaxed) {
                last
            } else {
                0
            }
        });
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = last
            .map(|last| kept.iter().filter(|t| t.id > last).cloned().collect())
            .unwrap_or_default();
        if listener.is_owner() {
            self.owners.fetch_add(1, Ordering::Relaxed);
        }
        Listening {
            feed: self,
            listener,
            missed,
            frames,
            closed: self.closed.subscribe(),
        }
    }
}

/// One open stream.
pub(crate) struct Listening<'a> {
    feed: &'a Feed,
    listener: Listener,
    missed: VecDeque<Arc<Told>>,
    frames: broadcast::Receiver<Arc<Told>>,
    closed: tokio::sync::watch::Receiver<bool>,
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        if self.listener.is_owner() {
            self.feed.owners.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Listening<'_> {
    /// The next frame that this listener may see; `None` when the gateway stops. `in_view` narrows what changed.
    pub(crate) async fn next(&mut self, in_view: impl Fn(&CapabilityId) -> bool) -> Option<Frame> {
        loop {
            let told = match self.missed.pop_front() {
                Some(told) => told,
                None => tokio::select! {
                    told = self.frames.recv() => match told {
                        Ok(told) => told,
                        Err(broadcast::error::RecvError::Lagged(_)) => continue,
                        Err(broadcast::error::RecvError::Closed) => return None,
                    },
                    _ = self.closed.wait_for(|c| *c) => return None,
                },
            };
            if let Some(frame) = self.shown(&told, &in_view) {
                return Some(frame);
            }
        }
    }

    fn shown(&self, told: &Told, in_view: &impl Fn(&CapabilityId) -> bool) -> Option<Frame> {
        let owner = self.listener.is_owner();
        let allowed = match &told.audience {
            Audience::Everyone => true,
            Audience::Owner => owner,
            Audience::Agent(agent) => owner || self.listener == Listener::Agent(agent.clone()),
        };
        if !allowed {
            return None;
        }
        let mut data = told.data.clone();
        if let Some(changed) = &told.changed {
            let narrowed = |ids: &[CapabilityId]| -> Vec<CapabilityId> {
                ids.iter()
                    .filter(|id| owner || in_view(id))
                    .cloned()
                    .collect()
            };
            let mut members = serde_json::Map::new();
            for (key, ids) in [
                ("added", &changed.added),
                ("removed", &changed.removed),
                ("updated", &changed.updated),
            ] {
                let ids = narrowed(ids);
                if !ids.is_empty() {
                    members.insert(key.into(), json!(ids));
                }
            }
            if !members.is_empty() {
                data["changed"] = Value::Object(members);
            }
        }
        Some(
            Frame::default()
                .event(told.kind)
                .id(told.id.to_string())
                .data(data.to_string()),
        )
    }
}

/// Turns records into frames until the ledger is gone.
pub(crate) async fn follow(app: Arc<App>) {
    let mut records = app.ledger.subscribe();
    loop {
        match records.recv().await {
            Ok(record) => from_record(&app, &record),
            Err(broadcast::error::RecvError::Lagged(_)) => app.approvals.note_change(),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

fn from_record(app: &App, record: &Recorded) {
    let feed = &app.feed;
    let watched = feed.owners.load(Ordering::Relaxed) > 0;
    let kind = record.event_type();
    // Calls are most of the log and change no grant: they are looked at only while an owner watches.
    if kind == "invoke" && !watched {
        app.approvals.note_change_of_calls(record);
        return;
    }
    let Ok(event) = serde_json::from_str::<Value>(record.json()) else {
        return;
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let agent = text(&event, "agentId").and_then(|a| AgentId::parse(&a).ok());
    if watched {
        let mut data =
            json!({"id": record.id().to_string(), "auditType": kind, "at": event.get("time")});
        for key in ["agentId", "capabilityId", "outcome"] {
            if let Some(value) = text(&event, key) {
                data[key] = json!(value);
            }
        }
        feed.tell(Audience::Owner, "audit_appended", data, None);
    }
    if kind == "invoke" {
        app.approvals.note_change_of_calls(record);
        return;
    }
    app.approvals.note_change();
    let detail = event.get("detail").cloned().unwrap_or_default();
    let what = text(&detail, "event").unwrap_or_default();
    let item = text(&detail, "item").or_else(|| text(&detail, "viaApproval"));
    if let Some(item) = item {
        let decision = match what.as_str() {
            "grant.allow" => Some("approved"),
            "grant.deny" | "item.void" | "item.lapse" => Some("denied"),
            _ => None,
        };
        if let (Some(decision), Some(agent)) = (decision, agent) {
            let data = json!({"pendingId": item, "decision": decision});
            feed.tell(Audience::Agent(agent), "grant_resolved", data, None);
            let data = json!({"pendingId": item, "kind": "grant", "decision": decision});
            feed.tell(Audience::Owner, "pending_resolved", data, None);
        }
        if what == "grant.pending" {
            let state = app.ledger.snapshot();
            let known = plexus_protocol::PendingId::parse(&item)
                .ok()
                .and_then(|id| state.item(&id).cloned());
            if let Some(known) = known {
                let card = crate::approvals::card::card(
                    &app.approvals,
                    &app.catalogue.load(),
                    &state,
                    &known,
                );
                let mut shown = json!({});
                for key in [
                    "pendingId",
                    "kind",
                    "createdAt",
                    "agentId",
                    "capabilities",
                    "pendingNarration",
                ] {
                    shown[key] = card[key].clone();
                }
                feed.tell(
                    Audience::Owner,
                    "pending_added",
                    json!({"item": shown}),
                    None,
                );
            }
        }
    }
    for change in event
        .get("changes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let Some(gone) = change.get("tokenGone") else {
            continue;
        };
        if let (Some(of), Some(jti)) = (
            text(gone, "agent").and_then(|a| AgentId::parse(&a).ok()),
            text(gone, "id"),
        ) {
            let mut data = json!({"jti": jti});
            // Clients show these words: two are the wire's own, the others are the owner's or the agent's.
            let reason = match text(&detail, "event").as_deref() {
                Some("agent.revoke") => Some("agent revoked".to_owned()),
                Some("key.rotate") => Some("connection-key rotated".to_owned()),
                _ => text(&detail, "reason"),
            };
            if let Some(reason) = reason {
                data["reason"] = json!(reason);
            }
            feed.tell(Audience::Agent(of), "token_revoked", data, None);
        }
    }
}
