//! What an agent sees (docs/protocol/agents.md#read-the-manifest).

use crate::{
    authenticate,
    edge::Edge,
    reply::{Refused, ok},
};
use axum::{
    extract::{self, Request},
    response::Response,
};
use plexus_protocol::{AgentId, CapabilityId, SessionId, Timestamp};
use plexus_sources::catalogue::{Catalogue, Entry, wire_entry};
use plexus_trust::State;
use serde_json::{Value, json};
use std::sync::Arc;

/// How long a client may keep a manifest, in milliseconds.
const TTL_MS: u64 = 300_000;

pub(super) async fn show(
    extract::State(edge): extract::State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let session = authenticate::session(&edge, request.headers())?;
    let manifest = manifest(
        &edge,
        session.agent.as_ref(),
        &session.id,
        session.session.expires_at,
    );
    Ok(ok(&json!({ "manifest": manifest })))
}

/// The manifest of a session: an agent's own view, or for the owner's nameless session everything that is exposed.
pub(crate) fn manifest(
    edge: &Edge,
    agent: Option<&AgentId>,
    session: &SessionId,
    expires_at: Timestamp,
) -> Value {
    let view = Visible::of(edge, agent);
    json!({
        "gateway": super::discovery::gateway(edge),
        "entries": view.entries().into_iter().map(|entry| view.shown(edge, entry)).collect::<Vec<_>>(),
        "sessionId": session,
        "expiresAt": expires_at,
        "revision": view.catalogue.revision,
        "ttlMs": TTL_MS,
    })
}

/// What a session may know of, at one moment.
pub(super) struct Visible<'a> {
    state: Arc<State>,
    catalogue: Arc<Catalogue>,
    /// None of the owner's nameless session.
    agent: Option<&'a AgentId>,
    now: Timestamp,
    /// What the agent called in this launch.
    lately: Vec<CapabilityId>,
}

impl<'a> Visible<'a> {
    pub(super) fn of(edge: &Edge, agent: Option<&'a AgentId>) -> Self {
        Self {
            state: edge.ledger.snapshot(),
            catalogue: edge.catalogue.load_full(),
            agent,
            now: edge.clock.now(),
            lately: agent.map_or_else(Vec::new, |agent| edge.lately.of(agent)),
        }
    }

    /// The entries, in wire order.
    pub(super) fn entries(&self) -> Vec<&Arc<Entry>> {
        let state = &self.state;
        match self.agent {
            Some(agent) => state.agent(agent).map_or_else(Vec::new, |agent| {
                self.catalogue.view(state, agent, self.now)
            }),
            None => self
                .catalogue
                .iter()
                .filter(|e| state.exposed(&e.id) && state.lent(&e.id).is_none())
                .collect(),
        }
    }

    /// One of them as the wire has it.
    pub(super) fn shown(&self, edge: &Edge, entry: &Entry) -> Value {
        let agent = self.agent.and_then(|agent| self.state.agent(agent));
        let agent = agent.map(|agent| (agent, self.now));
        let mut health = edge.supervisor.health(&entry.source).for_agents();
        let source = self.state.sources.get(&entry.source);
        if let Some(stopped) = source.and_then(|source| source.stopped.as_ref()) {
            health = health.stopped(stopped.at);
        }
        let mut shown = wire_entry(entry, &self.state, agent, Some(json!(health)));
        if self.lately.contains(&entry.id) {
            shown["lately"] = true.into();
        }
        shown
    }
}
