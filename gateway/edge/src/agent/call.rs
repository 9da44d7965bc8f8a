//! `POST /invoke` (docs/protocol/agents.md#call): every reply, success or refusal, is an InvokeResponse.

use crate::{
    authenticate::{self, bearer, failed, peer},
    edge::Edge,
    guard::single,
    reply::{self, Refused},
    throttle::Kind,
};
use axum::{
    extract::{Request, State},
    http::header,
    response::Response,
};
use plexus_calls::{
    answer::Answer,
    call::{Caller, CallerProof, InvokeRequest},
    denial::RefusedCall,
    life,
    limits::CallSlot,
};
use plexus_protocol::{ErrorBody, ErrorCode, NextKind, SESSION_HEADER, body::InvokeResponse};
use plexus_sources::narration::clean;
use plexus_trust::OnApproval;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Longest idempotency key, in bytes.
const KEY_BYTES: usize = 200;

pub(crate) async fn invoke(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let mut place = None;
    let answer = answer(&edge, request, &mut place).await;
    let answer = answer.unwrap_or_else(|(id, refused)| as_invoke(&id, refused));
    reply::answered(&answer, place)
}

/// A refusal in this route's envelope.
fn as_invoke(id: &str, refused: Refused) -> Answer {
    Answer {
        status: refused.status_code(),
        body: InvokeResponse::refused(id, refused.into_error(), None),
    }
}

async fn answer(
    edge: &Arc<Edge>,
    request: Request,
    place: &mut Option<CallSlot>,
) -> Result<Answer, (String, Refused)> {
    let nobody = |refused: Refused| (String::new(), refused);
    let peer = peer(&request);
    let authorization = request.headers().contains_key(header::AUTHORIZATION);
    let token = bearer(request.headers()).map(str::to_owned);
    let session = single(request.headers(), SESSION_HEADER).map(str::to_owned);
    let read = crate::body::body_of(edge, request).await.map_err(nobody)?;
    // A stranger's that was too long to keep: whatever it says is refused below.
    let unread = read.is_none();
    let body = match read {
        Some(bytes) => reply::parsed_wide(&bytes, ErrorCode::InternalError).map_err(nobody)?,
        None => Value::Object(Map::new()),
    };
    let Value::Object(body) = body else {
        return Err(nobody(Refused::malformed("the body must be an object")));
    };
    let id = body
        .get("id")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let named = |refused: Refused| (id.clone(), refused);
    let mut over = false;
    let caller = match (token, session) {
        (Some(token), _) => {
            let Some(verified) = edge.tokens.verify(&token) else {
                if edge.tokens.is_of_an_earlier_launch(&token) {
                    let why = "Tokens end with each start of the gateway, and this one says that it is older.";
                    let error = ErrorBody::new(ErrorCode::TokenRevoked, why);
                    let error = error.then(NextKind::Ask, "open a session: POST /link/handshake");
                    return Err(named(Refused::new(error)));
                }
                // Who guesses waits, and what came with the guess does not.
                drop(body);
                let error = rejected(ErrorCode::TokenRevoked, "This is not one of our tokens.");
                let failed = Box::pin(failed(edge, Kind::Pat, peer, error));
                return Err(named(failed.await));
            };
            over = verified.exp <= edge.ledger.snapshot().time(edge.clock.now()).seconds();
            Caller {
                agent: verified.agent,
                by: CallerProof::Token {
                    jti: verified.jti,
                    session: verified.session,
                },
            }
        }
        (None, Some(session)) => {
            let live = authenticate::live_session(edge, &session)
                .ok_or_else(|| named(authenticate::no_session("unknown session, or it is over")))?;
            let Some(agent) = live.agent else {
                return Err(named(Refused::new(no_agent(edge, &id))));
            };
            Caller {
                agent,
                by: CallerProof::Session(live.id),
            }
        }
        (None, None) => {
            let base = edge.address.base();
            let why = if authorization {
                "Authorization must be a Bearer token."
            } else {
                "A call needs a scoped token, or a session."
            };
            let error = ErrorBody::new(ErrorCode::GrantRequired, why)
                .with("grantRequestUrl", format!("{base}/grants"))
                .with("sessionHeader", SESSION_HEADER)
                .then(NextKind::Ask, "open a session: POST /link/handshake");
            return Err(named(Refused::new(error)));
        }
    };
    if let Err(refused) = edge.admit(&caller.agent) {
        let error = about(*refused, &id);
        return Err(named(Refused::new(error)));
    }
    if over {
        let error = rejected(ErrorCode::TokenExpired, "This token is past its end.");
        let call = RefusedCall::from((&caller, &*id));
        let call = body.get("input").into_iter().fold(call, RefusedCall::with);
        return Ok(refused(edge, call, &id, error).await);
    }
    if unread {
        let error = rejected(ErrorCode::TokenRevoked, "This token was revoked.");
        return Ok(refused(edge, (&caller, &*id), &id, error).await);
    }
    if edge.is_stopping() {
        let error =
            ErrorBody::new(ErrorCode::Busy, "The gateway is stopping.").with("retryAfterMs", 2_000);
        return Err(named(Refused::new(error.then(
            NextKind::Retry,
            "repeat the call when the gateway is back",
        ))));
    }
    // A caller that makes one call says that it wants no token for further ones.
    let wants_token = body.get("token") != Some(&Value::Bool(false));
    let wish = match wish(&id, body) {
        Ok(wish) => wish,
        Err(why) => return Ok(refused(edge, (&caller, &*id), &id, why.into_error()).await),
    };
    let by_session = matches!(caller.by, CallerProof::Session(_)) && wants_token;
    let asked = by_session.then(|| asked(edge, &caller, &wish)).flatten();
    let mut answer = life::invoke(&edge.kernel, caller, wish, place).await;
    // A call with a session alone that was allowed comes with a token for the next ones (docs/protocol/agents.md#call).
    let allowed = answer.status == 200 || answer.status == 202 || answer.status == 422;
    if let Some(asked) = asked.filter(|_| allowed && !answer.body.replayed) {
        let grant = Box::pin(super::grants::token_for(edge, &asked)).await;
        answer.body.grant = grant.map(Box::new);
    }
    Ok(answer)
}

fn rejected(code: ErrorCode, why: &str) -> ErrorBody {
    ErrorBody::new(code, why).then(NextKind::Ask, "ask again with your session: PUT /grants")
}

/// A refusal of a caller that is known: recorded like every other.
async fn refused<'a>(
    edge: &Arc<Edge>,
    call: impl Into<RefusedCall<'a>>,
    id: &str,
    error: ErrorBody,
) -> Answer {
    Box::pin(plexus_calls::denial::refuse(
        &edge.kernel,
        call,
        about(error, id),
    ))
    .await
}

/// Names the capability, where the id could be one.
fn about(error: ErrorBody, id: &str) -> ErrorBody {
    match plexus_protocol::CapabilityId::parse(id) {
        Ok(id) => error.about(&id),
        Err(_) => error,
    }
}

/// The owner's nameless session sees what there is and calls nothing of it.
fn no_agent(edge: &Edge, id: &str) -> ErrorBody {
    let known = plexus_protocol::CapabilityId::parse(id)
        .ok()
        .filter(|id| edge.catalogue.load().get(id).is_some())
        .filter(|id| edge.ledger.snapshot().lent(id).is_none());
    match known {
        Some(id) if !edge.ledger.snapshot().exposed(&id) => ErrorBody::new(
            ErrorCode::CapabilityUnexposed,
            format!("{id} is not exposed."),
        )
        .then(
            NextKind::Stop,
            format!("stop; tell the owner: {id} is switched off"),
        ),
        _ => ErrorBody::new(
            ErrorCode::UnknownCapability,
            plexus_calls::refusal::NOT_IN_VIEW,
        )
        .then(NextKind::Ask, "open a session as an agent"),
    }
}

/// The call, if a standing grant would let the agent repeat it: only then is a token worth making.
fn asked(edge: &Edge, caller: &Caller, wish: &InvokeRequest) -> Option<plexus_calls::call::Asked> {
    let id = plexus_protocol::CapabilityId::parse(&wish.id).ok()?;
    let entry = edge.catalogue.load().get(&id)?.clone();
    let state = edge.ledger.snapshot();
    plexus_trust::standing_for(&state, state.agent(&caller.agent)?, &id, edge.clock.now())?;
    Some(plexus_calls::call::Asked::new(
        caller.clone(),
        entry,
        wish.input.clone(),
    ))
}

fn wish(id: &str, mut body: Map<String, Value>) -> Result<InvokeRequest, Refused> {
    if id.is_empty() {
        let why = "`id` must be the id of a capability.";
        let error = ErrorBody::new(ErrorCode::UnknownCapability, why);
        return Err(Refused::new(error.then(NextKind::LookUp, "GET /manifest")));
    }
    let input = match body.remove("input") {
        None | Some(Value::Null) => Value::Object(Map::new()),
        Some(input) => input,
    };
    let on_approval = match body.get("onApproval") {
        None | Some(Value::Null) => OnApproval::Wait,
        Some(Value::String(word)) if word == "run" => OnApproval::Run,
        Some(Value::String(word)) if word == "wait" => OnApproval::Wait,
        Some(other) => {
            return Err(Refused::malformed(format!(
                "`onApproval` is \"run\" or \"wait\", not {other}"
            )));
        }
    };
    let purpose = match body.get("purpose") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => clean(text),
        Some(_) => return Err(Refused::malformed("`purpose` must be a string")),
    };
    let key = match body.get("idempotencyKey") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) if !key.is_empty() && key.len() <= KEY_BYTES => Some(key.clone()),
        Some(_) => {
            return Err(Refused::malformed(format!(
                "`idempotencyKey` must be a string of 1 to {KEY_BYTES} bytes"
            )));
        }
    };
    let in_background = body.get("async") == Some(&Value::Bool(true));
    Ok(InvokeRequest {
        id: id.to_owned(),
        input,
        purpose,
        on_approval,
        in_background,
        key,
    })
}
