//! Discovery: where everything is, in the shape that the seeds' and the later clients read
//! (docs/protocol/agents.md#discovery).

use crate::{
    edge::Edge,
    reply::{made, ok},
};
use arc_swap::ArcSwapOption;
use axum::{extract::State, response::Response};
use bytes::Bytes;
use plexus_protocol::{PROTOCOL_EXACT, PROTOCOL_FAMILY, SESSION_HEADER};
use plexus_sources::catalogue::{Catalogue, wire_summary};
use serde_json::{Value, json};
use std::sync::Arc;

/// The document as it was last made.
///
/// It lists every capability that is exposed: with many sources making it costs more than sending it, and nothing in it
/// changes from one call to the next.
#[derive(Default)]
pub struct Made(ArcSwapOption<(Shown, Bytes)>);

/// Everything in the document that can change within a launch. [`text`] is given nothing else of the state, so a document
/// that was made of the very same parts is the same document.
struct Shown {
    catalogue: Arc<Catalogue>,
    /// Sources, exposure and settings; empty otherwise.
    state: plexus_trust::State,
}

impl Shown {
    fn now(edge: &Edge) -> Self {
        let newest = edge.ledger.snapshot();
        Self {
            catalogue: edge.catalogue.load_full(),
            state: plexus_trust::State {
                sources: newest.sources.clone(),
                exposure: newest.exposure.clone(),
                settings: newest.settings.clone(),
                ..plexus_trust::State::default()
            },
        }
    }
    /// Whether both hold the same values in memory, which nobody changes while they are held.
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.catalogue, &other.catalogue)
            && Arc::ptr_eq(&self.state.sources, &other.state.sources)
            && Arc::ptr_eq(&self.state.exposure, &other.state.exposure)
            && Arc::ptr_eq(&self.state.settings, &other.state.settings)
    }
}

pub(super) async fn signpost(State(_): State<Arc<Edge>>) -> Response {
    ok(&json!({
        "service": "plexus",
        "discovery": "/.well-known/plexus",
        "hint": "A local gateway for AI agents. Read the discovery document, enroll with a code from the owner, then handshake.",
    }))
}

/// The `gateway` object of discovery and manifests.
pub fn gateway(edge: &Edge) -> Value {
    let mut gateway = json!({
        "name": "plexus",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": PROTOCOL_FAMILY,
        "protocolExact": PROTOCOL_EXACT,
        "baseUrl": edge.address.base(),
        "features": ["async", "intents", "onApproval", "wait", "cardDigest"],
    });
    if let Some(instance) = &edge.instance {
        gateway["instance"] = json!(instance);
    }
    gateway
}

pub(super) async fn document(State(edge): State<Arc<Edge>>) -> Response {
    let now = Shown::now(&edge);
    let cache = &edge.discovery.0;
    if let Some(known) = &*cache.load()
        && known.0.same(&now)
    {
        return made(known.1.clone());
    }
    match serde_json::to_vec(&text(&edge, &now)) {
        Ok(text) => {
            let text = Bytes::from(text);
            cache.store(Some(Arc::new((now, text.clone()))));
            made(text)
        }
        Err(error) => {
            tracing::error!(name: "http.unserialisable", %error, "the discovery document does not serialise");
            ok(&json!({}))
        }
    }
}

/// The document. What it takes from `app` is the same for as long as the daemon runs.
fn text(edge: &Edge, Shown { catalogue, state }: &Shown) -> Value {
    let base = edge.address.base();
    // Beyond loopback, what this machine offers is told only to who has a session.
    let capabilities: Vec<Value> = if edge.address.is_loopback_only() {
        catalogue
            .iter()
            .filter(|e| state.exposed(&e.id) && state.lent(&e.id).is_none())
            .map(|e| wire_summary(e, state))
            .collect()
    } else {
        Vec::new()
    };
    let url = |path: &str| format!("{base}{path}");
    json!({
        "gateway": gateway(edge),
        "capabilities": capabilities,
        "capabilitiesVia": "Enroll and open a session: the manifest lists what the owner lets you see and use.",
        "auth": {
            "handshakeUrl": url("/link/handshake"),
            "grantsUrl": url("/grants"),
            "grantRequestUrl": url("/grants"),
            "grantRequestMethod": "PUT",
            "sessionHeader": SESSION_HEADER,
            "consoleUrl": url("/admin"),
            "refreshUrl": url("/grants/refresh"),
            "revokeUrl": url("/grants/revoke"),
            "grantStatusUrl": url("/grants/status"),
            "invokeUrl": url("/invoke"),
            "invokeStatusUrl": url("/invoke/status"),
            "manifestUrl": url("/manifest"),
            "eventsUrl": url("/events"),
            "grantsListUrl": url("/grants"),
            "connectionKeyDelivery": "user-paste",
            "tokenScheme": "plexus-scoped-jwt",
            "requestShapes": {
                "handshake": {
                    "url": url("/link/handshake"),
                    "method": "POST",
                    "auth": "bearer(pat)",
                    "headers": {"Authorization": "Bearer <your PAT, plx_agent_…>"},
                    "body": {},
                },
                "grantRequest": {
                    "url": url("/grants"),
                    "method": "PUT",
                    "auth": format!("session: {SESSION_HEADER} header, or sessionId in the body"),
                    "body": {"sessionId": "<your session>", "grants": {"<capabilityId>": "allow"}},
                },
                "invoke": {
                    "url": url("/invoke"),
                    "method": "POST",
                    "auth": format!("bearer(scoped-jwt), or {SESSION_HEADER}: what is not granted yet then asks the owner"),
                    "body": {
                        "id": "<capabilityId>",
                        "input": {},
                        "async": "<optional; true for an entry with longRunning: the answer is then a run to ask for>",
                    },
                },
                "invokeStatus": {
                    "url": url("/invoke/status"),
                    "method": "GET",
                    "auth": format!("bearer(scoped-jwt) or {SESSION_HEADER}, of the agent that called"),
                    "body": {},
                },
            },
            "enrollmentUrl": url("/agents/enroll"),
            "enrollment": {
                "url": url("/agents/enroll"),
                "method": "POST",
                "auth": "body.code",
                "body": {"code": "<one-time code from the owner, plx_enroll_…>"},
                "success": {"pat": "<your own lasting credential, plx_agent_…>", "agentId": "<your agent id>"},
                "errorCodes": ["malformed", "unknown_code", "code_expired", "code_consumed", "persist_failed"],
                "patStorage": "Shown once. Keep it where only you can read it, and send it to the handshake only.",
            },
        },
    })
}
