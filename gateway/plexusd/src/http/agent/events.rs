//! `GET /events`: an agent's own frames (wire §4.11). Without a credential there is nothing to hear (D2).

use crate::{
    app::App,
    http::{
        authenticate::{self, bearer},
        feed::{self, Listener, OpenedBy, Since},
        guard::single,
        reply::Refused,
    },
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_protocol::SESSION_HEADER;
use std::sync::Arc;

pub(super) async fn stream(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refused> {
    let listener = if authenticate::is_owner(&app, request.headers()) {
        Listener::Owner
    } else if let Some(text) = bearer(request.headers()) {
        let state = app.ledger.snapshot();
        let live = app.tokens.verify(text).filter(|v| {
            if app.taken_back.ended(&v.agent) || app.taken_back.ended_token(&v.jti) {
                return false;
            }
            let now = state.time(app.clock.now());
            state
                .agent(&v.agent)
                .and_then(|a| a.tokens.get(&v.jti))
                .is_some_and(|t| now < t.expires_at)
        });
        let live = live.ok_or_else(|| authenticate::no_session("this token opens no stream"))?;
        Listener::Agent(live.agent, OpenedBy::Token(live.jti))
    } else {
        let session = single(request.headers(), SESSION_HEADER)
            .and_then(|s| authenticate::live_session(&app, s));
        let live = session.and_then(|s| Some((s.agent?, s.id)));
        let (agent, session) = live.ok_or_else(|| {
            authenticate::no_session("a session, a token or the owner's key is needed")
        })?;
        Listener::Agent(agent, OpenedBy::Session(session))
    };
    let since = Since::of(request.headers());
    Ok(feed::response(app, listener, since, "plexus event stream"))
}
