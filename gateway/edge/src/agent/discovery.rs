//! Discovery: where everything is, in the shape that clients read (docs/protocol/agents.md#discovery).

use crate::{
    edge::Edge,
    kept_discovery::MadeOf,
    reply::{made, ok},
};
use axum::{extract::State, response::Response};
use plexus_protocol::{PROTOCOL_EXACT, PROTOCOL_FAMILY, SESSION_HEADER};
use plexus_sources::catalogue::wire_summary;
use serde_json::{Value, json};
use std::sync::Arc;

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
    match edge.discovery.get(&edge.kernel, |of| text(&edge, of)) {
        Ok(document) => made(document),
        Err(error) => {
            tracing::error!(name: "http.unserialisable", %error, "the discovery document does not serialise");
            ok(&json!({}))
        }
    }
}

/// The document. What it takes from `app` is the same for as long as the daemon runs.
fn text(edge: &Edge, MadeOf { catalogue, state }: &MadeOf) -> Value {
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
