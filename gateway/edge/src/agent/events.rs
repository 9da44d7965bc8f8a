//! `GET /events`: an agent's own frames (docs/protocol/events.md). Without a credential there is nothing to hear (D2).

use crate::{
    authenticate::{self, bearer},
    edge::Edge,
    guard::single,
    reply::Refused,
    sse::{self, Opened, OpenedBy},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_protocol::SESSION_HEADER;
use std::sync::Arc;

pub(super) async fn stream(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let state = edge.ledger.snapshot();
    let listener = if authenticate::is_owner(&edge, request.headers()) {
        Opened::Key
    } else {
        let (agent, by) = if let Some(text) = bearer(request.headers()) {
            let live = edge.tokens.verify(text).and_then(|v| {
                let agent = state.agent(&v.agent)?;
                let now = state.time(edge.clock.now());
                let ended =
                    edge.revocations.ended(&v.agent) || edge.revocations.ended_token(&v.jti);
                let live = !ended && now < agent.tokens.get(&v.jti)?.expires_at;
                live.then_some((agent, OpenedBy::Token(v.jti)))
            });
            live.ok_or_else(|| authenticate::no_session("this token opens no stream"))?
        } else {
            let session = single(request.headers(), SESSION_HEADER)
                .and_then(|s| authenticate::live_session(&edge, s));
            // The epoch of the snapshot that knows the session.
            let live = session
                .and_then(|s| Some((state.agent_by_session(&s.id)?.0, OpenedBy::Session(s.id))));
            live.ok_or_else(|| {
                authenticate::no_session("a session, a token or the owner's key is needed")
            })?
        };
        Opened::Agent {
            agent: agent.id.clone(),
            epoch: agent.epoch,
            by,
        }
    };
    let since = sse::since(request.headers());
    Ok(sse::response(edge, listener, since, "plexus event stream"))
}
