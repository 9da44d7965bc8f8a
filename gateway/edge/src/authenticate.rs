//! Credentials of requests. Two kinds of people, never mixed: the owner's key opens owner routes; an agent's token,
//! session or PAT opens its own. A failed credential never falls through to another.

use super::{
    connections::Holder,
    guard::single,
    reply::{self, Refused},
    throttle::{Cost, Kind, Peer},
};
use crate::edge::Edge;
use axum::{
    body::Body,
    extract::{Request, State},
    http::{Extensions, HeaderMap, Method, header},
    middleware::Next,
    response::Response,
};
use plexus_calls::{
    call::{Caller, CallerProof},
    finish::to_its_end,
};
use plexus_protocol::{
    AgentId, ErrorBody, ErrorCode, KEY_HEADER, NextKind, SESSION_HEADER, SessionId, credential::Pat,
};
use plexus_trust::{Note, REFRESH_GRACE_MS, Session};
use serde_json::json;
use std::sync::Arc;

/// Why a credential is refused, the same words for all that have its form: no digest of an ended one is kept, and a guess
/// learns of no agent.
pub(crate) fn not_live(has_form: bool) -> &'static str {
    match has_form {
        true => {
            "This is not a live agent credential: the owner ended it, or another gateway made it."
        }
        false => "This is no agent credential: one has 53 characters and begins with plx_agent_.",
    }
}

/// Proof that a request carried the owner's key. Only [`owner`] makes one.
#[derive(Clone, Copy, Debug)]
pub struct Owner(());

/// Whether a request carries the owner's key, without judging it when it does not.
pub fn is_owner(edge: &Edge, headers: &HeaderMap) -> bool {
    single(headers, KEY_HEADER).is_some_and(|key| edge.key.accepts(key))
}

/// Whose live credential a request carries, of whatever kind. It opens nothing, and a wrong one is judged where it is
/// used: this says only who may keep a place that others want, or have a large body kept.
pub(super) fn proves(edge: &Edge, headers: &HeaderMap) -> Option<Holder> {
    let by_bearer = || {
        let text = bearer(headers)?;
        let by_pat = || {
            let digest = Pat::parse(text)?.digest();
            let state = edge.ledger.snapshot();
            let agent = state.agent_by_pat(&digest)?;
            (!edge.revocations.ended(&agent.id)).then(|| agent.id.clone())
        };
        held_token(edge, text)
            .map(|(agent, _)| agent)
            .or_else(by_pat)
    };
    if let Some(agent) = by_bearer() {
        return Some(Holder::Agent(agent));
    }
    if let Some(within) = single(headers, SESSION_HEADER).and_then(|id| live_session(edge, id)) {
        // One without an agent is the console's.
        return Some(within.agent.map_or(Holder::Owner, Holder::Agent));
    }
    (is_owner(edge, headers) || super::browser::has_session(edge, headers)).then_some(Holder::Owner)
}

/// Wants the owner's key: 401 `unauthorized` without it.
///
/// # Errors
/// A wrong key is slowed, counted and recorded; a missing one is only refused.
pub async fn owner(edge: &Arc<Edge>, headers: &HeaderMap, peer: Peer) -> Result<Owner, Refused> {
    if is_owner(edge, headers) {
        return Ok(Owner(()));
    }
    let error = ErrorBody::new(
        ErrorCode::Unauthorized,
        format!("This route needs the owner's key in {KEY_HEADER}."),
    )
    .then(
        NextKind::Stop,
        "stop; tell the owner: this is the owner's to do",
    );
    let given = headers.contains_key(KEY_HEADER);
    if given {
        return Err(failed(edge, Kind::Key, peer, error).await);
    }
    Err(Refused::new(error))
}

/// The same as a layer, for routers that are the owner's as a whole.
pub async fn owner_only(
    State(edge): State<Arc<Edge>>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let proven = owner(&edge, request.headers(), peer(&request)).await?;
    carry(request, next, proven).await
}

/// Runs a request of the owner's, with who it is for the routes behind. What only reads runs at once; what changes
/// something is read whole first, and is carried to its end. Its guard, the desk's, checks the credential again:
/// a body may arrive long after the head that named it.
///
/// # Errors
/// The body cannot be read.
pub async fn carry<T: Clone + Send + Sync + 'static>(
    mut request: Request,
    next: Next,
    who: T,
) -> Result<Response, Refused> {
    request.extensions_mut().insert(who);
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let body = reply::body(Request::from_parts(parts.clone(), body), reply::BODY).await?;
    let request = Request::from_parts(parts, Body::from(body));
    Ok(to_its_end(async move { next.run(request).await }).await)
}

/// Counts, slows and records a credential that is wrong, and gives the refusal.
pub async fn failed(edge: &Arc<Edge>, kind: Kind, peer: Peer, error: ErrorBody) -> Refused {
    let cost = edge.throttle.failed(kind, peer);
    edge.metrics
        .credential_failed(kind, matches!(cost, Cost::TooMany { .. }));
    let refused = match cost {
        Cost::Delay(delay, recorded) => {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let refused = Refused::new(error);
            if !recorded {
                return refused;
            }
            refused
        }
        Cost::TooMany { retry_after } => {
            // What is counted already is not recorded again and again: a flood must not fill the ledger.
            let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            return Refused::new(
                ErrorBody::new(
                    ErrorCode::RateLimited,
                    "Too many wrong credentials from here.",
                )
                .with("retryAfterMs", ms)
                .then(
                    NextKind::Stop,
                    "stop; tell the owner: a credential is wrong",
                ),
            );
        }
    };
    note(edge, kind, peer, refused.code(), None).await;
    refused
}

/// Records how many wrong credentials were too many to be recorded one by one.
pub async fn note_unrecorded(edge: &Edge) {
    for (kind, peer, count) in edge.throttle.unrecorded() {
        note(edge, kind, peer, ErrorCode::RateLimited, Some(count)).await;
    }
}

async fn note(edge: &Edge, kind: Kind, peer: Peer, reason: ErrorCode, count: Option<u64>) {
    let mut about = json!({
        "event": "credential.refused", "credential": kind.word(), "reason": reason, "peer": peer.to_string(),
    });
    if let Some(count) = count {
        about["count"] = count.into();
    }
    edge.note(Note {
        kind: "handshake",
        agent: None,
        capability: None,
        outcome: Some("denied"),
        detail: about,
    })
    .await;
}

/// Who is at the other end of a request's connection.
pub fn peer(request: &Request) -> Peer {
    peer_of(request.extensions())
}

/// The peer of a connection, from a request's extensions.
pub fn peer_of(extensions: &Extensions) -> Peer {
    extensions
        .get::<Peer>()
        .copied()
        .unwrap_or(Peer::User(u32::MAX))
}

/// `Bearer x`, the scheme in any case, the header trimmed; any other scheme counts as none
/// (docs/protocol/README.md#credentials).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = single(headers, header::AUTHORIZATION.as_str())?.trim();
    let (scheme, rest) = value.split_once(char::is_whitespace)?;
    let token = rest.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A live session: whose it is. The console's own sessions belong to nobody.
pub(crate) struct InSession {
    pub(crate) id: SessionId,
    /// None: the owner's key without a name.
    pub(crate) agent: Option<AgentId>,
    pub(crate) session: Session,
}

/// The session that `text` names, if it is live.
pub(crate) fn live_session(edge: &Edge, text: &str) -> Option<InSession> {
    let id = SessionId::parse(text).ok()?;
    let state = edge.ledger.snapshot();
    let now = state.time(edge.clock.now());
    let (agent, session) = match state.agent_by_session(&id) {
        Some((agent, session)) => (Some(agent.id.clone()), session.clone()),
        None => (None, state.console_sessions.get(&id)?.clone()),
    };
    let ended = agent
        .as_ref()
        .is_some_and(|agent| edge.revocations.ended(agent));
    (now < session.expires_at && !ended).then_some(InSession { id, agent, session })
}

/// Wants a session in its header (docs/protocol/agents.md#read-the-manifest).
///
/// # Errors
/// 401 `session_expired`.
pub(crate) fn session(edge: &Edge, headers: &HeaderMap) -> Result<InSession, Refused> {
    match headers
        .get(SESSION_HEADER)
        .map(|v| v.to_str().unwrap_or_default())
    {
        None => Err(no_session(&format!("missing {SESSION_HEADER} header"))),
        Some(text) => {
            live_session(edge, text).ok_or_else(|| no_session("unknown session, or it is over"))
        }
    }
}

pub(crate) fn no_session(why: &str) -> Refused {
    Refused::new(
        ErrorBody::new(ErrorCode::SessionExpired, why)
            .then(NextKind::Ask, "open a session: POST /link/handshake"),
    )
}

/// The agent of a token that was not taken back and may still be exchanged for a new one, and its epoch.
pub(super) fn held_token(edge: &Edge, text: &str) -> Option<(AgentId, u64)> {
    let verified = edge
        .tokens
        .verify(text)
        .filter(|v| !edge.revocations.ended(&v.agent) && !edge.revocations.ended_token(&v.jti))?;
    let state = edge.ledger.snapshot();
    let agent = state.agent(&verified.agent)?;
    let held = agent.tokens.get(&verified.jti)?;
    let now = state.time(edge.clock.now());
    let known = now < held.expires_at.plus(REFRESH_GRACE_MS);
    known.then_some((verified.agent, agent.epoch))
}

/// A scoped token whose signature holds; whether it is still good is the machine's to say.
pub(crate) fn token(edge: &Edge, text: &str) -> Option<Caller> {
    let verified = edge.tokens.verify(text)?;
    Some(Caller {
        agent: verified.agent,
        by: CallerProof::Token {
            jti: verified.jti,
            session: verified.session,
        },
    })
}
