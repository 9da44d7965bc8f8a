//! One request to the server, by way of the source's egress, which adds the password and TLS.
//!
//! Invariants: an answer is bounded in bytes and in time; a refusal of the egress is told from one of the server's; after
//! a failure it is known whether the server may have carried the request out.
//!
//! Must not know: what a request is about.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use plexus_ipc::worker::EgressAccess;
use plexus_protocol::Effect;
use std::{net::Ipv4Addr, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// How long the server may take for one request, to the last byte of its answer.
const WITHIN: Duration = Duration::from_secs(25);
/// Largest answer, in bytes.
pub(crate) const MOST: usize = 24 * 1024 * 1024;
/// Longest wait that a server may ask for and be believed, in seconds.
const LONGEST_WAIT: u64 = 24 * 3600;

/// Why there is no answer, or none of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The egress refused, or did not get through; in its words.
    #[error("{0}")]
    NoWay(String),
    /// The way broke off after the request may have arrived.
    #[error("the connection to the server broke off")]
    Broken,
    #[error("the server did not answer in time")]
    Stalled,
    #[error("the server's answer is larger than 24 MiB; ask for less at a time")]
    TooLarge,
    /// An answer that says no.
    #[error("the server answered {}", .0.as_u16())]
    Status(StatusCode, Option<u64>),
    /// A redirect, or an address in an answer, that leads to another host.
    #[error("the server sends on to another host, {0}: add the source with that as its url")]
    Elsewhere(String),
    #[error("the server's answer cannot be read: {0}")]
    Unreadable(&'static str),
    /// Every request got an answer, and what is needed is in none.
    #[error("{0}")]
    NoCalendars(&'static str),
}

impl Failure {
    /// What a request that changes something has done, where it failed so.
    pub(crate) fn effect(&self) -> Effect {
        match self {
            Self::Status(status, _) if status.is_server_error() => Effect::Unknown,
            Self::Broken | Self::Stalled | Self::TooLarge | Self::Unreadable(_) => Effect::Unknown,
            Self::NoWay(_) | Self::Status(..) | Self::Elsewhere(_) | Self::NoCalendars(_) => {
                Effect::None
            }
        }
    }

    pub(crate) fn is(&self, status: StatusCode) -> bool {
        matches!(self, Self::Status(found, _) if *found == status)
    }
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Itself, where the server did what it was asked to.
    pub(crate) fn done(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let wait = self.header(header::RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.trim().parse().ok());
        let wait = wait.map(|wait: u64| wait.min(LONGEST_WAIT));
        Err(Failure::Status(self.status, wait))
    }
}

/// The way to the server.
pub(crate) struct Http {
    port: u16,
    /// Opens the egress, and is nothing to the server. As a password: what else answers at that port is a server in a test.
    credential: HeaderValue,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Http {
    /// `user` may be anything to the egress.
    pub(crate) fn new(egress: &EgressAccess, user: &str) -> Option<Self> {
        let both = format!("{user}:{}", egress.credential.expose());
        let text = format!("Basic {}", BASE64_STANDARD.encode(both));
        let mut credential = HeaderValue::from_str(&text).ok()?;
        credential.set_sensitive(true);
        Some(Self {
            port: egress.port,
            credential,
        })
    }

    /// Sends `method` for `path`, which is canonical ([`crate::server::canonical`]).
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: String,
    ) -> Result<Answer, Failure> {
        match timeout(WITHIN, self.answer(method, path, headers, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Stalled),
        }
    }

    async fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: String,
    ) -> Result<Answer, Failure> {
        let no_way = |_| Failure::NoWay("the way to the network is closed".into());
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let stream = stream.await.map_err(no_way)?;
        let _ = stream.set_nodelay(true);
        let begun = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun.map_err(|_| Failure::Broken)?;
        let driver = tokio::spawn(connection);
        let method = Method::from_bytes(method.as_bytes());
        let mut request = Request::builder()
            .method(method.map_err(|_| Failure::Unreadable("no method"))?)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(
                header::USER_AGENT,
                concat!("plexus/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::AUTHORIZATION, self.credential.clone());
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|_| Failure::Unreadable("an address that is none"))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|_| Failure::Broken)?;
        let (head, body) = answer.into_parts();
        let body = match Limited::new(body, MOST).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Failure::TooLarge);
            }
            Err(_) => return Err(Failure::Broken),
        };
        driver.abort();
        if let Some(ours) = head.headers.get("x-plexus-egress") {
            // Broken: the request may have left before.
            return Err(match ours == "broken" {
                true => Failure::Broken,
                false => Failure::NoWay(String::from_utf8_lossy(&body).into_owned()),
            });
        }
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}
