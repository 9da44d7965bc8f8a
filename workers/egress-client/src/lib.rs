//! Requests of a worker to the host that its source has a secret for: `plexus-egress` forwards each, and adds TLS and the
//! secret. And tunnels to hosts without one, in which the worker speaks for itself.
//!
//! ```text
//! worker ──plain HTTP, the credential of this start──▶ plexus-egress ──TLS, the secret──▶ host
//! worker ──CONNECT, the credential─────────────────────▶ plexus-egress ──the same bytes────▶ host
//! ```
//!
//! Invariants: an answer is bounded in bytes and in time; a refusal of the egress is told from an answer of the host; after
//! a failure it is known whether the host may have carried the request out.
//!
//! Must not know: what a request is about.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    HeaderMap,
    body::Incoming,
    client::conn::http1,
    header::{self, HeaderName, HeaderValue},
};
pub use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use plexus_ipc::{egress::SOCKET, worker::EgressAccess};
use plexus_protocol::{Digest, Effect};
use std::{fmt, net::Ipv4Addr, time::Duration};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// Bytes of a refusal.
const WORDS: usize = 4 * 1024;

/// Why there is no answer of the host, or none of use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The egress refused, or did not reach the host; in its words.
    #[error("{0}")]
    NoWay(String),
    /// The host showed another certificate than the pinned one.
    #[error("the host's certificate is not the pinned one")]
    Certificate {
        /// The fingerprint of what it showed.
        met: Digest,
        /// The pinned fingerprint; `None` where none is pinned yet.
        pinned: Option<Digest>,
    },
    /// The connection broke off after the request may have arrived.
    #[error("the connection to the host broke off")]
    Broken,
    /// The answer was not complete in time.
    #[error("the host did not answer in time")]
    Stalled,
    /// The answer is larger than the client takes.
    #[error("the host's answer is larger than {0} MiB")]
    TooLarge(usize),
}

impl NoAnswer {
    /// What a request that changes something has done at the host.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Self::NoWay(_) | Self::Certificate { .. } => Effect::None,
            Self::Broken | Self::Stalled | Self::TooLarge(_) => Effect::Unknown,
        }
    }

    /// What an answer of the egress itself says: its header's value and its body.
    fn of(kind: &HeaderValue, body: &[u8]) -> Self {
        let words = String::from_utf8_lossy(body);
        let mut fingerprints = words.split(' ').map(Digest::parse);
        match (kind.as_bytes(), fingerprints.next()) {
            (b"broken", _) => Self::Broken,
            (b"certificate", Some(Some(met))) => Self::Certificate {
                met,
                pinned: fingerprints.next().flatten(),
            },
            _ => Self::NoWay(words.into_owned()),
        }
    }
}

/// An answer of the host, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A header's value, where it is text.
    #[must_use]
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// How long the host asks to wait, in seconds; a day at most.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        let wait: u64 = self.header(header::RETRY_AFTER)?.trim().parse().ok()?;
        Some(wait.min(24 * 3600))
    }
}

/// The way to the host. Each request has a connection of its own.
pub struct EgressClient {
    port: u16,
    /// Opens the egress, and is nothing to the host.
    credential: HeaderValue,
    within: Duration,
    most: usize,
}

impl fmt::Debug for EgressClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressClient")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl EgressClient {
    /// By this egress. An answer is complete `within` this time and has at most `most` MiB. `None` for a credential that
    /// no header can hold.
    #[must_use]
    pub fn new(egress: &EgressAccess, within: Duration, most: usize) -> Option<Self> {
        let bearer = format!("Bearer {}", egress.credential.expose());
        Self::opened_by(egress, &bearer, within, most)
    }

    /// As [`Self::new`], with this text as `Authorization`; it holds the credential.
    #[must_use]
    pub fn opened_by(
        egress: &EgressAccess,
        authorization: &str,
        within: Duration,
        most: usize,
    ) -> Option<Self> {
        let mut credential = HeaderValue::from_str(authorization).ok()?;
        credential.set_sensitive(true);
        Some(Self {
            port: egress.port,
            credential,
            within,
            most,
        })
    }

    /// Sends `request`, whose URI is a path with its query. `Host` and `Authorization` are set here.
    ///
    /// # Errors
    /// Why there is no answer; [`NoAnswer::effect`] says what may have been done.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, NoAnswer> {
        match timeout(self.within, self.answer(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Stalled),
        }
    }

    async fn answer(&self, request: Request<Bytes>) -> Result<Answer, NoAnswer> {
        let Streamed {
            status,
            headers,
            body,
            driver,
        } = self.begin(request).await?;
        let body = match Limited::new(body, self.most << 20).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(NoAnswer::TooLarge(self.most));
            }
            Err(_) => return Err(NoAnswer::Broken),
        };
        drop(driver);
        Ok(Answer {
            status,
            headers,
            body,
        })
    }

    /// As [`Self::send`], for an answer that is read while it comes. The time bounds its head alone, and nothing bounds its
    /// size: that is the caller's.
    ///
    /// # Errors
    /// As those of [`Self::send`].
    pub async fn stream(&self, request: Request<Bytes>) -> Result<Streamed, NoAnswer> {
        match timeout(self.within, self.begin(request)).await {
            Ok(begun) => begun,
            Err(_) => Err(NoAnswer::Stalled),
        }
    }

    async fn begin(&self, request: Request<Bytes>) -> Result<Streamed, NoAnswer> {
        let no_way = |_| NoAnswer::NoWay("the way to the network is closed".into());
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let stream = stream.await.map_err(no_way)?;
        let _ = stream.set_nodelay(true);
        let begun = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun.map_err(|_| NoAnswer::Broken)?;
        let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
        let (mut head, body) = request.into_parts();
        let agent = concat!("plexus/", env!("CARGO_PKG_VERSION"));
        for (name, value) in [
            (header::HOST, HeaderValue::from_static("localhost")),
            (header::USER_AGENT, HeaderValue::from_static(agent)),
            (header::AUTHORIZATION, self.credential.clone()),
        ] {
            head.headers.insert(name, value);
        }
        let sent = sender.send_request(Request::from_parts(head, Full::new(body)));
        let (head, body) = sent.await.map_err(|_| NoAnswer::Broken)?.into_parts();
        if let Some(kind) = head.headers.get("x-plexus-egress") {
            let words = Limited::new(body, WORDS).collect().await;
            let words = words.map_err(|_| NoAnswer::Broken)?.to_bytes();
            return Err(NoAnswer::of(kind, &words));
        }
        Ok(Streamed {
            status: head.status,
            headers: head.headers,
            body,
            driver,
        })
    }
}

/// An answer of the host whose body comes in parts. Dropping it closes the connection.
#[derive(Debug)]
pub struct Streamed {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    driver: Driver,
}

impl Streamed {
    /// The next part of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(_)) => return Err(NoAnswer::Broken),
                // Trailers say nothing.
                Some(Ok(frame)) => {
                    if let Ok(part) = frame.into_data() {
                        return Ok(Some(part));
                    }
                }
            }
        }
    }
}

/// Moves the bytes of one connection, as long as somebody waits for them.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Opens a tunnel to the Unix socket of the manifest. The egress sees what passes.
///
/// # Errors
/// As those of [`tunnel`].
pub async fn socket(egress: &EgressAccess) -> Result<TcpStream, NoAnswer> {
    tunnel(egress, &format!("{}:{}", SOCKET.0, SOCKET.1)).await
}

/// Opens a tunnel to `authority`, a `host:port` that the manifest admits. The egress sees what passes.
///
/// # Errors
/// The refusal of the egress, in its words, or why it was not reached. Nothing was sent to the host.
pub async fn tunnel(egress: &EgressAccess, authority: &str) -> Result<TcpStream, NoAnswer> {
    let closed = || NoAnswer::NoWay("the way to the network is closed".into());
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, egress.port));
    let stream = stream.await.map_err(|_| closed())?;
    let _ = stream.set_nodelay(true);
    let begun = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = begun.map_err(|_| closed())?;
    let driver = tokio::spawn(connection.with_upgrades());
    let mut credential = HeaderValue::try_from(format!("Bearer {}", egress.credential.expose()))
        .map_err(|_| closed())?;
    credential.set_sensitive(true);
    let request = Request::connect(authority)
        .header(header::HOST, authority)
        .header(header::PROXY_AUTHORIZATION, credential)
        .body(Full::<Bytes>::default())
        .map_err(|_| NoAnswer::NoWay("the address of the host is none".into()))?;
    let answer = sender.send_request(request).await.map_err(|_| closed())?;
    if answer.status() != StatusCode::OK {
        let kind = answer.headers().get("x-plexus-egress").cloned();
        let words = Limited::new(answer.into_body(), WORDS).collect().await;
        driver.abort();
        let words = words.map_err(|_| closed())?.to_bytes();
        let kind = kind.unwrap_or_else(|| HeaderValue::from_static("refused"));
        return Err(NoAnswer::of(&kind, &words));
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|_| closed())?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>();
    let parts = parts.map_err(|_| closed())?;
    // Before the worker has spoken, a host of TLS or HTTP has nothing to say.
    match parts.read_buf.is_empty() {
        true => Ok(parts.io.into_inner()),
        false => Err(NoAnswer::NoWay("the host spoke out of turn".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_egress_say_what_was_done() {
        let of = |kind: &'static str, body: &str| {
            NoAnswer::of(&HeaderValue::from_static(kind), body.as_bytes())
        };
        let (met, pinned) = (Digest::of(b"met"), Digest::of(b"pinned"));
        #[rustfmt::skip]
        let rows = [
            ("broken", "the host broke off".into(), NoAnswer::Broken, Effect::Unknown),
            ("refused", "no such path".into(), NoAnswer::NoWay("no such path".into()), Effect::None),
            ("certificate", met.to_string(), NoAnswer::Certificate { met, pinned: None }, Effect::None),
            ("certificate", format!("{met} {pinned}"), NoAnswer::Certificate { met, pinned: Some(pinned) }, Effect::None),
            ("certificate", "nothing".into(), NoAnswer::NoWay("nothing".into()), Effect::None),
        ];
        for (kind, body, expected, effect) in rows {
            let body: String = body;
            let found = of(kind, &body);
            assert_eq!((found.effect(), found), (effect, expected), "{kind} {body}");
        }
    }

    /// What comes of a request to a server that answers with `bytes`, and then hangs up or says nothing more.
    async fn asked(bytes: Vec<u8>, hangs_up: bool) -> Result<Answer, NoAnswer> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).await.unwrap();
            // A client that has enough closes its end.
            let _ = stream.write_all(&bytes).await;
            if !hangs_up {
                let _ = stream.read(&mut [0; 1]).await;
            }
            String::from_utf8_lossy(&head[..read]).into_owned()
        });
        let access = EgressAccess {
            port,
            credential: plexus_ipc::message::Secret::new("word".into()),
            authorities: String::new(),
            bearer: false,
        };
        let client = EgressClient::new(&access, Duration::from_millis(500), 1).unwrap();
        let request = Request::get("/a%20b?c=d").header("authorization", "mine");
        let answer = client.send(request.body(Bytes::new()).unwrap()).await;
        let head = serving.await.unwrap();
        assert!(head.starts_with("GET /a%20b?c=d HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains("authorization: Bearer word\r\n") && !head.contains("mine"),
            "{head}"
        );
        answer
    }

    #[tokio::test]
    async fn answer_is_whole_bounded_and_in_time() {
        let of = |head: &str, body: usize| {
            let head = format!("HTTP/1.1 200 OK\r\nretry-after: 90000\r\n{head}\r\n\r\n");
            [head.into_bytes(), vec![b'x'; body]].concat()
        };
        let mib = 1 << 20;
        let whole = asked(of("content-length: 1048576", mib), false)
            .await
            .unwrap();
        assert_eq!(
            (whole.status, whole.body.len(), whole.retry_after()),
            (StatusCode::OK, mib, Some(86_400))
        );
        #[rustfmt::skip]
        let rows = [
            ("more than that", of("content-length: 1048577", mib + 1), false, NoAnswer::TooLarge(1)),
            ("half of it", of("content-length: 1048576", mib / 2), true, NoAnswer::Broken),
            ("half, and silence", of("content-length: 1048576", mib / 2), false, NoAnswer::Stalled),
            ("nothing", Vec::new(), true, NoAnswer::Broken),
            ("silence", Vec::new(), false, NoAnswer::Stalled),
            ("another protocol", b"SSH-2.0-x\r\n".to_vec(), true, NoAnswer::Broken),
        ];
        for (what, bytes, hangs_up, expected) in rows {
            let refused = asked(bytes, hangs_up).await.unwrap_err();
            assert_eq!(
                (&refused, refused.effect()),
                (&expected, Effect::Unknown),
                "{what}"
            );
        }
    }
}
