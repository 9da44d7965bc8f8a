//! The connection of one listener: who hears, for how long, and that a quiet line stays open.
//!
//! Invariant: no stream outlives the credential that opened it, but for the frames that tell of its end.

use super::{Frame, Listener, OpenedBy, Since};
use crate::{app::App, console::door, http::stream::Given};
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response, Sse, sse::KeepAlive},
};
use plexus_protocol::CapabilityId;
use plexus_trust::{EnrollmentStatus, SESSION_MS, in_reach};
use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// Between two comments that keep a quiet connection open.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often a quiet stream asks whether its credential still stands.
const LOOK: Duration = Duration::from_secs(5);
/// How long a stream whose credential has ended still gets the frames of that very end.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Frames that are on their way to one reader.
const ON_THE_WAY: usize = 16;

/// The stream of one listener: `: first_comment`, then its frames until it goes, its credential ends or the gateway
/// stops. An agent's stream lasts no longer than a session does.
pub(crate) fn response(
    app: Arc<App>,
    listener: Listener,
    since: Since,
    first_comment: &'static str,
) -> Response {
    // Taken here, while what the route has just checked is still so.
    let opened_by = standing(&app, &listener);
    // And nothing that comes after the answer's head is missed.
    let mut listening = app.feed.listen(listener.clone(), since);
    let (give, take) = mpsc::channel::<Result<Frame, Infallible>>(ON_THE_WAY);
    tokio::spawn(async move {
        let until = Instant::now() + Duration::from_millis(SESSION_MS);
        let mut last_words: Option<Instant> = None;
        let in_view = |id: &CapabilityId| match &listener {
            Listener::Owner | Listener::Console(_) => true,
            Listener::Agent { agent, .. } => {
                let state = app.ledger.snapshot();
                state
                    .agent(agent)
                    .is_some_and(|agent| in_reach(&state, agent, id))
            }
        };
        if give
            .send(Ok(Frame::default().comment(first_comment)))
            .await
            .is_err()
        {
            return;
        }
        loop {
            let now = Instant::now();
            let over = opened_by.is_none()
                || standing(&app, &listener) != opened_by
                || (matches!(listener, Listener::Agent { .. }) && now >= until);
            if over {
                let end = *last_words.get_or_insert(now + LAST_WORDS);
                // A time-out alone would let frames that are ready go on for ever.
                if now >= end {
                    return;
                }
            }
            let next = tokio::select! {
                next = timeout_at(last_words.unwrap_or(now + LOOK), listening.next(in_view)) => next,
                () = give.closed() => return,
            };
            match next {
                Ok(Some(frame)) => {
                    if give.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
                Err(_) if last_words.is_none() => {}
                Ok(None) | Err(_) => return,
            }
        }
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("keep-alive");
    let mut response = Sse::new(Given(take)).keep_alive(heartbeat).into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    response
}

/// Changes when the credential that opened a stream has ended: the key was rotated; the console was left; the agent was
/// revoked, connected anew or rotated away; its session or token is over, or was taken back.
fn standing(app: &App, listener: &Listener) -> Option<u64> {
    match listener {
        Listener::Owner => Some(app.key_epoch.load(Ordering::Relaxed)),
        Listener::Console(who) => app.console.stands(*who, door::present(app)).then_some(0),
        Listener::Agent { agent, epoch, by } => {
            let state = app.ledger.snapshot();
            let agent = state
                .agent(agent)
                .filter(|agent| !app.taken_back.ended(&agent.id))?;
            let until = match by {
                OpenedBy::Session(id) => agent.sessions.get(id)?.expires_at,
                OpenedBy::Token(id) if app.taken_back.ended_token(id) => return None,
                OpenedBy::Token(id) => agent.tokens.get(id)?.expires_at,
            };
            let stands = agent.status != EnrollmentStatus::Revoked
                && agent.epoch == *epoch
                && state.time(app.clock.now()) < until;
            stands.then_some(*epoch)
        }
    }
}
