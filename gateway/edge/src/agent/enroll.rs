//! A one-time code becomes an agent's own credential (docs/protocol/agents.md#enroll). The code is spent only once the
//! PAT is durable.

use crate::{
    authenticate::{failed, peer},
    edge::Edge,
    reply::{self, Refused, ok},
    throttle::Kind,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::refusal::refused;
use plexus_ledger::{Lane, SubmitError};
use plexus_protocol::{Digest, ErrorBody, ErrorCode, credential::Pat};
use plexus_trust::{Command, Note, Reply};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn redeem(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let peer = peer(&request);
    let body = reply::json_body(request, reply::SMALL_BODY, ErrorCode::Malformed).await?;
    let malformed = |why: &str| Refused::bad(ErrorCode::Malformed, why);
    let members = body
        .as_object()
        .ok_or_else(|| malformed("the body must be an object"))?;
    let code = members
        .get("code")
        .and_then(Value::as_str)
        .filter(|c| !c.is_empty());
    let code = code.ok_or_else(|| malformed("`code` must be a non-empty string"))?;
    // Nothing is trimmed: the digest of what came is what is looked for.
    let code = Digest::of(code.as_bytes());
    drop(body);
    let persist_failed = |why: String| {
        tracing::error!(name: "credential.failed", error = why, "a credential could not be made");
        Refused::new(
            ErrorBody::new(
                ErrorCode::PersistFailed,
                "enrollment code rejected: persist_failed",
            )
            .next("the code is still good: try again, else tell the owner: plexusctl status"),
        )
    };
    let pat = Pat::fresh().map_err(|e| persist_failed(e.to_string()))?;
    let command = Command::Enroll {
        code,
        pat: pat.digest(),
    };
    match edge.ledger.submit(command, Lane::Agent).await {
        Ok(receipt) => match receipt.reply {
            Reply::Enrolled { agent } => Ok(ok(&json!({"pat": pat.expose(), "agentId": agent}))),
            _ => Err(persist_failed(
                "an enrollment was answered with something else".into(),
            )),
        },
        Err(SubmitError::Refused(refusal)) => {
            let error = refused(&refusal, None);
            let about =
                json!({"event": "agent.enroll", "outcome": "rejected", "reason": error.code});
            let refused = failed(&edge, Kind::Code, peer, error).await;
            if refused.code() != ErrorCode::RateLimited {
                edge.note(Note {
                    kind: "handshake",
                    agent: None,
                    capability: None,
                    outcome: Some("denied"),
                    detail: about,
                })
                .await;
            }
            Err(refused)
        }
        Err(error) => Err(persist_failed(error.to_string())),
    }
}
