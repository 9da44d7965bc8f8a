//! A token is exchanged for a new one (docs/protocol/agents.md#refresh-a-token). The session in the body must be the
//! token's own agent's (D5).

use crate::{
    authenticate::{self, bearer},
    edge::Edge,
    guard::single,
    reply::{self, Refused, ok},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::{call::CallerProof, denial};
use plexus_protocol::{
    ErrorBody, ErrorCode, NextKind, SESSION_HEADER, SessionId, TokenId, body::ScopedToken,
};
use plexus_trust::{Command, REFRESH_GRACE_MS, Reply};
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn exchange(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let text = bearer(request.headers()).map(str::to_owned);
    let header = single(request.headers(), SESSION_HEADER).map(str::to_owned);
    // Two ids fill no more.
    let body = reply::json_body(request, reply::STRANGERS_BODY, ErrorCode::InternalError).await?;
    let refuse = |code, why: &str| {
        Refused::new(
            ErrorBody::new(code, why)
                .then(NextKind::Ask, "ask again with your session: PUT /grants"),
        )
    };
    if !body.is_object() {
        return Err(Refused::malformed("the body must be an object"));
    }
    let text = text.ok_or_else(|| {
        refuse(
            ErrorCode::TokenExpired,
            "A token is exchanged by sending it as Bearer.",
        )
    })?;
    let verified = edge.tokens.verify(&text);
    let caller = authenticate::token(&edge, &text);
    let (Some(verified), Some(caller)) = (verified, caller) else {
        return Err(refuse(
            ErrorCode::TokenRevoked,
            "This is not one of our tokens.",
        ));
    };
    // What the owner took back is gone, also where the disk has not taken it yet: a new one would outlive it.
    if edge.revocations.ended(&verified.agent) || edge.revocations.ended_token(&verified.jti) {
        return Err(refuse(ErrorCode::TokenRevoked, "token revoked"));
    }
    let now = edge.ledger.snapshot().time(edge.clock.now());
    if verified
        .exp
        .saturating_mul(1000)
        .saturating_add(REFRESH_GRACE_MS)
        <= now.0
    {
        return Err(refuse(ErrorCode::TokenExpired, "token past refresh grace"));
    }
    let CallerProof::Token { jti, .. } = &caller.by else {
        return Err(refuse(ErrorCode::TokenRevoked, "not a token"));
    };
    if body.get("jti").and_then(Value::as_str) != Some(jti.as_str()) {
        return Err(refuse(
            ErrorCode::TokenRevoked,
            "`jti` is not this token's.",
        ));
    }
    let session = body
        .get("sessionId")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .or(header);
    let session = session
        .and_then(|s| SessionId::parse(&s).ok())
        .ok_or_else(|| {
            authenticate::no_session("`sessionId` must be a live session of the token's agent")
        })?;
    edge.admit(&caller.agent)?;
    let fresh = TokenId::fresh();
    let command = Command::Refresh {
        agent: caller.agent.clone(),
        token: jti.clone(),
        session: session.clone(),
        fresh: fresh.clone(),
    };
    let made = edge.submit_for(&caller.agent, command).await;
    denial::note_paused(&edge.kernel, &caller.agent, &made).await;
    let receipt = made?;
    let Reply::Refreshed {
        scopes,
        expires_at,
        grant_expires_at,
    } = receipt.reply
    else {
        return Err(Refused::failed(
            "a refresh was answered with something else",
        ));
    };
    let times = (edge.clock.now(), expires_at, Some(grant_expires_at));
    let token = edge
        .tokens
        .sign(&caller.agent, &session, &fresh, &scopes, times);
    let token = token.map_err(|e| Refused::failed(e.to_string()))?;
    Ok(ok(&ScopedToken {
        token,
        scopes,
        jti: fresh,
        expires_at,
        grant_expires_at: Some(grant_expires_at),
        trust_window: None,
        declined: Vec::new(),
    }))
}
