//! [`Listener`]: what a relay pushes, over connections that come and go.
//!
//! ```text
//! away ──connected, `ready`──▶ bound ──closed, or 60 s of silence──▶ away (1 s … 30 s) ──▶ …
//!   └──4003, 4009, the relay does not know the key──▶ over
//! ```
//! Invariant: [`Notice::Bound`] comes before every event of its connection. Who reads the history after it misses nothing, and
//! drops what comes twice by its id.

use crate::api::{Api, ApiError, bearer};
use crate::backoff::Backoff;
use crate::crypto::random;
use crate::dial::Stream;
use crate::limits;
use crate::wire::{Code, Event, close};
use futures_util::StreamExt as _;
use hyper::header::AUTHORIZATION;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message as Frame};

/// How long a bound connection must hold for the next failure to count as a first one.
const SETTLED: Duration = Duration::from_secs(60);
const TOKEN_ENDED: &str = "the token has ended";

/// What a listener reports.
#[derive(Debug)]
pub enum Notice {
    /// Connected. Every message that becomes durable from now on is pushed.
    Bound {
        /// How long there was no connection; nothing at the first time.
        offline: Option<Duration>,
    },
    /// What the relay pushed.
    Event(Event),
    /// The connection was lost, or none came about. The next one is tried after a pause.
    Lost(String),
}

/// Why there is no further connection.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The relay does not know this device's key.
    #[error("the relay does not know this identity")]
    Unknown,
    /// Device or user was removed.
    #[error("this identity was removed from the relay")]
    Removed,
    /// Another process has opened the events of this identity.
    #[error("another process uses this identity")]
    Replaced,
}

enum Broken {
    Over(EventsError),
    Lost(String),
    /// A login makes the next connection.
    Token,
}

/// The events of an account.
pub struct Listener {
    api: Arc<Api>,
    socket: Option<WebSocketStream<Box<dyn Stream>>>,
    backoff: Backoff,
    bound: Option<Instant>,
    lost: Option<Instant>,
    pause: Option<Duration>,
    /// The last connection ended for want of a token.
    relogin: bool,
}

impl Listener {
    /// A listener that is not connected yet.
    #[must_use]
    pub fn new(api: Arc<Api>) -> Self {
        Self {
            api,
            socket: None,
            backoff: Backoff::default(),
            bound: None,
            lost: None,
            pause: None,
            relogin: false,
        }
    }

    /// Waits for the next notice; connects where there is no connection. Dropping the future loses nothing but a connection
    /// that is being made.
    ///
    /// # Errors
    /// Where trying again would be wrong.
    pub async fn next(&mut self) -> Result<Notice, EventsError> {
        let broken = match self.step().await {
            Ok(notice) => return Ok(notice),
            Err(broken) => broken,
        };
        self.socket = None;
        let now = Instant::now();
        if self
            .bound
            .take()
            .is_some_and(|bound| now - bound >= SETTLED)
        {
            self.backoff.reset();
        }
        self.lost.get_or_insert(now);
        let again = std::mem::replace(&mut self.relogin, matches!(broken, Broken::Token));
        match broken {
            Broken::Over(over) => Err(over),
            // At once, unless the login before did not help.
            Broken::Token if !again => Ok(Notice::Lost(TOKEN_ENDED.to_owned())),
            Broken::Token => {
                self.pause = Some(self.backoff.next(random::<1>()[0]));
                Ok(Notice::Lost(TOKEN_ENDED.to_owned()))
            }
            Broken::Lost(why) => {
                self.pause = Some(self.backoff.next(random::<1>()[0]));
                Ok(Notice::Lost(why))
            }
        }
    }

    async fn step(&mut self) -> Result<Notice, Broken> {
        if let Some(socket) = &mut self.socket {
            return Ok(Notice::Event(read(socket, &self.api).await?));
        }
        if let Some(pause) = self.pause {
            sleep(pause).await;
            self.pause = None;
        }
        let mut socket = self.connect().await?;
        match read(&mut socket, &self.api).await? {
            Event::Ready { .. } => {}
            _ => {
                return Err(Broken::Lost(
                    "the relay did not say that it is ready".into(),
                ));
            }
        }
        self.socket = Some(socket);
        let now = Instant::now();
        self.bound = Some(now);
        self.relogin = false;
        let offline = self.lost.take().map(|lost| now - lost);
        Ok(Notice::Bound { offline })
    }

    async fn connect(&self) -> Result<WebSocketStream<Box<dyn Stream>>, Broken> {
        let lost = |why: &dyn std::fmt::Display| Broken::Lost(why.to_string());
        let token = match self.api.token().await {
            Ok(token) => token,
            Err(error) if error.code() == Some(Code::InvalidProof) => {
                return Err(Broken::Over(EventsError::Unknown));
            }
            Err(error) => return Err(lost(&error)),
        };
        let opened = async {
            let endpoint = self.api.endpoint();
            let scheme = if endpoint.tls() { "wss" } else { "ws" };
            let address = format!("{scheme}://{}/v1/events", endpoint.authority());
            let mut request = address.into_client_request().map_err(|why| lost(&why))?;
            let value = bearer(&token).map_err(|why: ApiError| lost(&why))?;
            request.headers_mut().insert(AUTHORIZATION, value);
            let stream = self.api.dial().await.map_err(|why| lost(&why))?;
            match tokio_tungstenite::client_async(request, stream).await {
                Ok((socket, _)) => Ok(socket),
                Err(tungstenite::Error::Http(answer)) if answer.status() == 401 => {
                    self.api.forget_token();
                    Err(Broken::Token)
                }
                Err(why) => Err(lost(&why)),
            }
        };
        let patience = timeout(limits::SILENCE, opened).await;
        patience.unwrap_or_else(|_| Err(lost(&"no answer in 60 s")))
    }
}

/// The next event of a connection. A ping is a sign of life; the library answers it.
async fn read(socket: &mut WebSocketStream<Box<dyn Stream>>, api: &Api) -> Result<Event, Broken> {
    loop {
        let frame = timeout(limits::SILENCE, socket.next()).await;
        let frame = frame.map_err(|_| Broken::Lost("60 s of silence".into()))?;
        match frame {
            Some(Ok(Frame::Text(text))) => match serde_json::from_str(text.as_str()) {
                Ok(Event::Unknown) => {}
                Ok(event) => return Ok(event),
                Err(why) => return Err(Broken::Lost(format!("a malformed frame: {why}"))),
            },
            Some(Ok(Frame::Close(reason))) => {
                return Err(match reason.map(|reason| u16::from(reason.code)) {
                    Some(close::REMOVED) => Broken::Over(EventsError::Removed),
                    Some(close::REPLACED) => Broken::Over(EventsError::Replaced),
                    Some(close::TOKEN_ENDED) => {
                        api.forget_token();
                        Broken::Token
                    }
                    code => Broken::Lost(format!("closed ({})", code.unwrap_or(1005))),
                });
            }
            Some(Ok(_)) => {}
            Some(Err(why)) => return Err(Broken::Lost(why.to_string())),
            None => return Err(Broken::Lost("the connection ended".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::{Direct, Endpoint};
    use futures_util::SinkExt as _;
    use tokio_tungstenite::tungstenite::Bytes;
    use tokio_tungstenite::tungstenite::protocol::Role;

    #[tokio::test(start_paused = true)]
    async fn connection_that_is_silent_for_60_s_is_lost_and_a_ping_is_a_sign_of_life() {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let ours: Box<dyn Stream> = Box::new(ours);
        let mut relay = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
        let endpoint = Endpoint::parse("http://127.0.0.1:1").expect("an address");
        let api = Api::new(endpoint, Arc::new(Direct::default()), None);
        let mut listener = Listener::new(Arc::new(api));
        listener.socket = Some(WebSocketStream::from_raw_socket(ours, Role::Client, None).await);
        let began = Instant::now();
        let pings = async {
            for _ in 0..4 {
                sleep(limits::PING).await;
                let ping = Frame::Ping(Bytes::new());
                relay.send(ping).await.expect("sent");
            }
        };
        let (lost, ()) = tokio::join!(listener.next(), pings);
        assert!(
            matches!(&lost, Ok(Notice::Lost(why)) if why == "60 s of silence"),
            "{lost:?}"
        );
        assert_eq!(began.elapsed().as_secs(), 100 + 60);
    }
}
