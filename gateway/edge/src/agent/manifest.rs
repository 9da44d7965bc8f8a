//! What an agent sees (docs/protocol/agents.md#read-the-manifest).

use crate::{
    authenticate,
    edge::Edge,
    reply::{Refused, ok},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_protocol::{AgentId, SessionId, Timestamp};
use plexus_sources::catalogue::wire_entry;
use serde_json::{Value, json};
use std::sync::Arc;

/// How long a client may keep a manifest, in milliseconds.
const TTL_MS: u64 = 300_000;

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
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
    let state = edge.ledger.snapshot();
    let catalogue = edge.catalogue.load();
    let now = edge.clock.now();
    let entries: Vec<Value> = match agent {
        Some(agent) => match state.agent(agent) {
            Some(agent) => catalogue
                .view(&state, agent, now)
                .into_iter()
                .map(|e| {
                    wire_entry(
                        e,
                        &state,
                        Some((agent, now)),
                        Some(json!(edge.supervisor.health(&e.source).for_agents())),
                    )
                })
                .collect(),
            None => Vec::new(),
        },
        None => catalogue
            .iter()
            .filter(|e| state.exposed(&e.id) && state.lent(&e.id).is_none())
            .map(|e| {
                let health = edge.supervisor.health(&e.source).for_agents();
                wire_entry(e, &state, None, Some(json!(health)))
            })
            .collect(),
    };
    json!({
        "gateway": super::discovery::gateway(edge),
        "entries": entries,
        "sessionId": session,
        "expiresAt": expires_at,
        "revision": catalogue.revision,
        "ttlMs": TTL_MS,
    })
}
