//! Taking permission back (docs/protocol/agents.md#revoke): the owner anything, a token itself.

use crate::{
    authenticate::{self, bearer, failed, peer},
    edge::Edge,
    reply::{self, Refused},
    revocation,
    throttle::Kind,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::call::CallerProof;
use plexus_protocol::{ErrorBody, ErrorCode, KEY_HEADER, NextKind};
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn revoke(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let owner = authenticate::is_owner(&edge, request.headers());
    let wrong_key = !owner && request.headers().contains_key(KEY_HEADER);
    let peer = peer(&request);
    let own = bearer(request.headers()).and_then(|text| {
        let verified = edge.tokens.verify(text)?;
        let now = edge.clock.now();
        let in_grace = now.0
            < verified
                .exp
                .saturating_mul(1000)
                .saturating_add(plexus_trust::REFRESH_GRACE_MS);
        let caller = authenticate::token(&edge, text)?;
        match caller.by {
            CallerProof::Token { jti, .. } if in_grace => Some((caller.agent, jti)),
            _ => None,
        }
    });
    // A few ids and a reason fill no more.
    let body = reply::json_body(request, reply::STRANGERS_BODY, ErrorCode::InternalError).await?;
    let body = reply::members(body)?;
    let wish = revocation::RevokeRequest::read(&body)?;
    let named = body.get("jti").and_then(Value::as_str);
    let own = own.filter(|(_, jti)| Some(jti.as_str()) == named);
    drop(body);
    let revoked = match (owner, own) {
        (true, _) => revocation::carry_out(&edge, wish).await,
        // A token may end itself, whatever else the body names (docs/design.md#http).
        (false, Some((agent, jti))) => revocation::give_back(&edge, &agent, jti, wish).await,
        (false, None) => {
            let error = ErrorBody::new(
                ErrorCode::SessionExpired,
                "Only the owner, or the token itself, may revoke this.",
            )
            .then(
                NextKind::Stop,
                "stop; tell the owner: this is the owner's to revoke",
            );
            Err(if wrong_key {
                failed(&edge, Kind::Key, peer, error).await
            } else {
                Refused::new(error)
            })
        }
    };
    revoked.map(|revoked| reply::ok(&revoked))
}
