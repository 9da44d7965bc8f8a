//! Server-sent events over one connection: who hears, for how long, and that a quiet line stays open.
//!
//! Invariant: no stream outlives the credential that opened it, but for the frames that tell of its end.

use super::{browser, stream::ReceiverStream};
use crate::{edge::Edge, sessions::Visitor};
use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Frame, KeepAlive},
    },
};
use futures_core::Stream;
use plexus_calls::{
    events::{Listener, Since, VisibleEvent},
    limits::CallSlot,
};
use plexus_protocol::{AgentId, CapabilityId, SessionId, TokenId};
use plexus_trust::{EnrollmentStatus, SESSION_MS, in_reach};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// Between two comments that keep a quiet connection open.
const HEARTBEAT: Duration = Duration::from_secs(20);
/// How often a quiet stream asks whether its credential still stands.
pub(crate) const LOOK: Duration = Duration::from_secs(5);
/// How long a stream whose credential has ended still gets the frames of that very end.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Frames that are on their way to one reader.
const ON_THE_WAY: usize = 16;

/// With which credential a stream was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// One of an agent's.
    Agent {
        /// Which agent.
        agent: AgentId,
        /// The agent's epoch in which it began to listen.
        epoch: u64,
        /// Which credential.
        by: OpenedBy,
    },
    /// The owner's key.
    Key,
    /// The owner's session in a browser.
    Console(Visitor),
}

/// Which of an agent's credentials opened its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenedBy {
    /// A session.
    Session(SessionId),
    /// A scoped token.
    Token(TokenId),
}

impl Opened {
    fn listener(&self) -> Listener {
        match self {
            Self::Agent { agent, epoch, .. } => Listener::Agent {
                agent: agent.clone(),
                epoch: *epoch,
            },
            Self::Key | Self::Console(_) => Listener::Owner,
        }
    }
}

/// Where a request wants to go on: its `Last-Event-ID`.
pub fn since(headers: &HeaderMap) -> Since {
    let Some(value) = headers.get("last-event-id") else {
        return Since::Now;
    };
    let parsed = || {
        let (launch, number) = value.to_str().ok()?.split_once('-')?;
        Some(Since::Frame {
            launch: launch.parse().ok()?,
            number: number.parse().ok()?,
        })
    };
    parsed().unwrap_or(Since::Unknown)
}

fn frame(shown: VisibleEvent) -> Frame {
    let frame = Frame::default().event(shown.kind).id(shown.id);
    frame.data(shown.data.to_string())
}

/// The stream of one listener: `: first_comment`, then its frames until it goes, its credential ends or the gateway
/// stops. An agent's stream lasts no longer than a session does.
pub fn response(
    edge: Arc<Edge>,
    opened: Opened,
    since: Since,
    first_comment: &'static str,
) -> Response {
    // Taken here, while what the route has just checked is still so.
    let opened_by = standing(&edge, &opened);
    // And nothing that comes after the answer's head is missed.
    let mut listening = edge.feed.listen(opened.listener(), since);
    let (give, take) = mpsc::channel::<Result<Frame, Infallible>>(ON_THE_WAY);
    tokio::spawn(async move {
        let until = Instant::now() + Duration::from_millis(SESSION_MS);
        let mut last_words: Option<Instant> = None;
        let in_view = |id: &CapabilityId| match &opened {
            Opened::Key | Opened::Console(_) => true,
            Opened::Agent { agent, .. } => {
                let state = edge.ledger.snapshot();
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
                || standing(&edge, &opened) != opened_by
                || (matches!(opened, Opened::Agent { .. }) && now >= until);
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
                Ok(Some(shown)) => {
                    if give.send(Ok(frame(shown))).await.is_err() {
                        return;
                    }
                }
                Err(_) if last_words.is_none() => {}
                Ok(None) | Err(_) => return,
            }
        }
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT).text("keep-alive");
    let mut response = Sse::new(ReceiverStream(take))
        .keep_alive(heartbeat)
        .into_response();
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    response
}

/// A message, and the place that it holds until the next one is taken.
pub(crate) type Message = (String, Option<CallSlot>);

/// Messages as they come, each an event of its own.
pub(crate) fn of_messages(messages: mpsc::Receiver<Message>) -> Response {
    Sse::new(Messages(ReceiverStream(messages), None))
        .keep_alive(KeepAlive::new().interval(HEARTBEAT))
        .into_response()
}

/// Messages as frames, and the place of the last one.
struct Messages(ReceiverStream<Message>, Option<CallSlot>);

impl Stream for Messages {
    type Item = Result<Frame, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(cx);
        next.map(|next| {
            let (message, place) = next?;
            self.1 = place;
            Some(Ok(Frame::default().data(message)))
        })
    }
}

/// Changes when the credential that opened a stream has ended: the key was rotated; the console was left; the agent was
/// revoked, connected anew or rotated away; its session or token is over, or was taken back.
fn standing(edge: &Edge, opened: &Opened) -> Option<u64> {
    match opened {
        Opened::Key => Some(edge.key_epoch.load(Ordering::Relaxed)),
        Opened::Console(who) => edge
            .console
            .stands(*who, browser::present(edge))
            .then_some(0),
        Opened::Agent { agent, epoch, by } => {
            let state = edge.ledger.snapshot();
            let agent = state
                .agent(agent)
                .filter(|agent| !edge.revocations.ended(&agent.id))?;
            let until = match by {
                OpenedBy::Session(id) => agent.sessions.get(id)?.expires_at,
                OpenedBy::Token(id) if edge.revocations.ended_token(id) => return None,
                OpenedBy::Token(id) => agent.tokens.get(id)?.expires_at,
            };
            let stands = agent.status != EnrollmentStatus::Revoked
                && agent.epoch == *epoch
                && state.time(edge.clock.now()) < until;
            stands.then_some(*epoch)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_one_that_we_gave() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("last-event-id", text.parse().unwrap());
            since(&headers)
        };
        assert_eq!(since(&HeaderMap::new()), Since::Now);
        let (launch, number) = (12, 345);
        assert_eq!(of("12-345"), Since::Frame { launch, number });
        for odd in [
            "",
            "345",
            "12-",
            "-345",
            "12-345-6",
            "a-b",
            "99999999999999999999-1",
        ] {
            assert_eq!(of(odd), Since::Unknown, "{odd}");
        }
    }
}
