//! A credential opens a session (docs/protocol/agents.md#open-a-session). A Bearer that fails never falls through to
//! the key in the body.

use crate::{
    authenticate::{bearer, failed, not_live, peer},
    edge::Edge,
    reply::{self, Refused, ok},
    throttle::Kind,
};
use axum::{
    extract::{Request, State},
    http::header,
    response::Response,
};
use plexus_calls::denial;
use plexus_ledger::Lane;
use plexus_protocol::{AgentId, ErrorBody, ErrorCode, NextKind, SessionId, credential::Pat};
use plexus_trust::{Command, Reply, SessionProof};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest name and version that a client may give itself, in characters.
const CLIENT_CHARS: usize = 80;

pub(crate) async fn open(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let peer = peer(&request);
    let bearer = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|_| bearer(request.headers()))
        .map(str::to_owned);
    let rejected = |why: &str| ErrorBody::new(ErrorCode::SessionExpired, why);
    let mut acting = None;
    let (agent, pat, client) = if let Some(token) = bearer {
        let parsed = Pat::parse(&token);
        let state = edge.ledger.snapshot();
        let known = parsed.as_ref().map(Pat::digest);
        let agent = known
            .as_ref()
            .and_then(|digest| state.agent_by_pat(digest))
            .map(|a| a.id.clone())
            .filter(|agent| !edge.revocations.ended(agent));
        // The body is tolerated whatever it is.
        let body = reply::body(request, reply::SMALL_BODY).await?;
        let body = plexus_protocol::json::parse(&body).unwrap_or(Value::Null);
        let Some(agent) = agent else {
            // Who guesses waits, and what came with the guess does not.
            drop(body);
            let error =
                rejected(not_live(known.is_some())).then(NextKind::Stop, plexus_protocol::NEW_CODE);
            return Err(failed(&edge, Kind::Pat, peer, error).await);
        };
        edge.admit(&agent)?;
        (Some(agent), known, client_of(&body))
    } else {
        let body = reply::json_body(request, reply::SMALL_BODY, ErrorCode::InternalError).await?;
        let key = body
            .get("connectionKey")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // Until the session is recorded: a rotation comes before both or after both.
        acting = Some(edge.key_lock.begin().await);
        if !edge.key.accepts(key) {
            drop((acting, body));
            let error = rejected("A session needs an agent credential as Bearer, or the owner's key as connectionKey.")
                .next("POST /agents/enroll, with the code that the owner gives you");
            return Err(failed(&edge, Kind::Key, peer, error).await);
        }
        let name = body
            .pointer("/client/agentId")
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|n| !n.is_empty());
        let agent = name
            .map(AgentId::parse)
            .transpose()
            .map_err(|e| Refused::malformed(format!("client.agentId is {e}")))?;
        (agent, None, client_of(&body))
    };
    let (session, by_pat) = (SessionId::fresh(), pat.is_some());
    let command = Command::OpenSession {
        agent: agent.clone(),
        by: pat.map_or(SessionProof::Owner, SessionProof::Pat),
        session: session.clone(),
        client,
    };
    // What the owner's key opens is charged to nobody.
    let receipt = match agent.as_ref().filter(|_| by_pat) {
        Some(agent) => {
            let opened = edge.submit_for(agent, command).await;
            // An agent of a command line opens one for each call: this was its call.
            denial::note_paused(&edge.kernel, agent, &opened).await;
            opened?
        }
        None => edge.ledger.submit(command, Lane::Agent).await?,
    };
    drop(acting);
    let Reply::Session { expires_at } = receipt.reply else {
        return Err(Refused::failed(
            "a session was answered with something else",
        ));
    };
    let manifest = super::manifest::manifest(&edge, agent.as_ref(), &session, expires_at);
    Ok(ok(&json!({
        "sessionId": session,
        "manifest": manifest,
        "grantsUrl": format!("{}/grants", edge.address.base()),
        "expiresAt": expires_at,
    })))
}

fn client_of(body: &Value) -> (Option<String>, Option<String>) {
    let text = |key: &str| {
        let text = body.pointer(&format!("/client/{key}"))?.as_str()?;
        plexus_sources::narration::clean(text)
            .map(|t| plexus_protocol::words::cut(&t, CLIENT_CHARS))
    };
    (text("name"), text("version"))
}
