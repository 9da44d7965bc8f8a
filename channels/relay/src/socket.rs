//! `GET /events`: the WebSocket of a device.
//!
//! ```text
//! upgraded ▸ `ready` ▸ pushes, a ping every 25 s ──▶ closed: by the hub's code, 60 s without a pong, the client
//! ```
//! Invariant: the connection stands in the hub, with `ready` first in its queue, before the client can know of it.

use crate::hub::Feed;
use crate::pushes::frame;
use crate::refusal::Refusal;
use crate::relay::Relay;
use crate::sessions::Session;
use axum::body::Body;
use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use plexus_channels::wire::{Event, close};
use plexus_channels::{Id, id, limits};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// How long one frame, or the end of a connection, may take on its way out.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers an upgrade, and serves the connection that comes of it.
pub(crate) async fn upgrade(
    relay: &Arc<Relay>,
    session: &Session,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let header = |name| {
        request
            .headers()
            .get(&name)
            .and_then(|value| value.to_str().ok())
    };
    let asked = header(UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
        && header(SEC_WEBSOCKET_VERSION) == Some("13");
    let key = header(SEC_WEBSOCKET_KEY).filter(|_| asked);
    let key = key.ok_or_else(|| Refusal::invalid("this route is a WebSocket of version 13"))?;
    let accept = derive_accept_key(key.as_bytes());
    let place = relay.hub.enter().ok_or_else(|| Refusal::rate_limited(30))?;
    let upgrade = hyper::upgrade::on(request);
    let (relay, session) = (Arc::clone(relay), *session);
    tokio::spawn(async move {
        let _place = place;
        let Ok(upgraded) = upgrade.await else { return };
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits::FRAME_BYTES))
            .max_frame_size(Some(limits::FRAME_BYTES))
            .read_buffer_size(4 << 10)
            .write_buffer_size(4 << 10);
        let io = TokioIo::new(upgraded);
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let connection_id = Id::generate();
        let ready = Event::Ready {
            connection_id,
            agent_id: session.by.user,
            device_id: session.by.device,
            ping_seconds: limits::PING.as_secs(),
        };
        let moment = Id::from_parts(id::now_millis(), connection_id.low());
        let ready = frame(&ready, moment);
        let (user, device) = (session.by.user, session.by.device);
        let mut feed = relay.hub.open(user, device, session.token, ready.into());
        // The token may have ended since the request for this connection was looked at.
        if !relay.sessions.holds(&session.token, Instant::now().into()) {
            relay.hub.end_token(user, session.token);
        }
        let code = serve(&mut socket, &mut feed, session.until.into()).await;
        relay.hub.forget(feed.user, feed.id);
        drop(feed);
        if let Some(code) = code {
            let reason = CloseFrame {
                code: CloseCode::from(code),
                reason: "".into(),
            };
            // A client that is gone does not hear it.
            let _ = timeout(PATIENCE, socket.close(Some(reason))).await;
            let rest = async { while socket.next().await.is_some_and(|frame| frame.is_ok()) {} };
            let _ = timeout(PATIENCE, rest).await;
        }
    });
    let headers = [
        (CONNECTION, "upgrade"),
        (UPGRADE, "websocket"),
        (SEC_WEBSOCKET_ACCEPT, accept.as_str()),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// Serves a connection until it is over: the code to close it with, unless the client has gone.
async fn serve<S>(socket: &mut WebSocketStream<S>, feed: &mut Feed, until: Instant) -> Option<u16>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut ping = interval_at(Instant::now() + limits::PING, limits::PING);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            biased;
            changed = feed.close.changed() => {
                let code = *feed.close.borrow();
                return code.or(changed.is_err().then_some(close::GOING_AWAY));
            }
            () = sleep_until(until) => return Some(close::TOKEN_ENDED),
            () = sleep_until(heard + limits::SILENCE) => return None,
            _ = ping.tick() => send(socket, Message::Ping(Bytes::new())).await?,
            came = socket.next() => match came {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                // What a client sends is a sign of life and nothing else.
                Some(Ok(_)) => heard = Instant::now(),
            },
            frame = feed.frames.next() => {
                let Some(frame) = frame else {
                    return feed.close.borrow().or(Some(close::GOING_AWAY));
                };
                let out = async {
                    socket.feed(Message::Text(frame)).await.ok()?;
                    // What is queued goes out with it.
                    while let Some(frame) = feed.frames.try_next() {
                        socket.feed(Message::Text(frame)).await.ok()?;
                    }
                    socket.flush().await.ok()
                };
                tokio::select! {
                    sent = timeout(limits::SILENCE, out) => sent.ok()??,
                    // A reader too slow for its queue is told why, behind what it still has to read.
                    _ = feed.close.changed() => return feed.close.borrow().or(Some(close::GOING_AWAY)),
                }
            },
        }
    }
}

/// Sends one frame; nothing where the client does not take it.
async fn send<S>(socket: &mut WebSocketStream<S>, message: Message) -> Option<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    timeout(PATIENCE, socket.send(message)).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Hub;
    use futures_util::FutureExt as _;
    use tokio::io::DuplexStream;

    /// A connection in a hub, and its client's end.
    async fn pair(
        hub: &Hub,
    ) -> (
        WebSocketStream<DuplexStream>,
        Feed,
        WebSocketStream<DuplexStream>,
    ) {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let socket = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let feed = hub.open(Id::generate(), Id::generate(), [1; 32], "ready".into());
        (socket, feed, client)
    }

    #[tokio::test(start_paused = true)]
    async fn client_is_pinged_each_25_s_and_left_after_60_s_without_a_pong() {
        let hub = Hub::default();
        let (mut socket, mut feed, mut client) = pair(&hub).await;
        let began = Instant::now();
        let hour = began + Duration::from_secs(3_600);
        let client = async {
            let mut pings = Vec::new();
            while pings.len() < 4 {
                if let Some(Ok(Message::Ping(_))) = client.next().await {
                    pings.push(began.elapsed().as_secs());
                }
            }
            // The pong of the last one leaves.
            client.flush().await.expect("sent");
            (pings, client)
        };
        let served = serve(&mut socket, &mut feed, hour);
        let (code, (pings, _client)) = tokio::join!(served, client);
        assert_eq!(pings, [25, 50, 75, 100]);
        assert_eq!((code, began.elapsed().as_secs()), (None, 160));
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_answers_is_served_until_its_token_ends() {
        let hub = Hub::default();
        let (mut socket, mut feed, mut client) = pair(&hub).await;
        let began = Instant::now();
        let until = began + Duration::from_secs(3_600);
        let answers = async { while client.next().await.is_some() {} };
        let code = tokio::select! {
            code = serve(&mut socket, &mut feed, until) => code,
            () = answers => None,
        };
        assert_eq!(code, Some(close::TOKEN_ENDED));
        assert_eq!(began.elapsed().as_secs(), 3_600);
        assert!(client.next().now_or_never().is_none(), "still open");
    }
}
