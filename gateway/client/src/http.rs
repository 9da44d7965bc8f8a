//! HTTP/1.1 to the gateway over one kept connection.
//!
//! Invariants: the authority is the address's own; a 3xx is an error and is never followed; a request whose bytes may
//! have left is never sent again; a header that carries a credential is marked so that it cannot be printed.
//!
//! A close of the gateway's is seen by a task of the runtime. A program that blocks its only thread between two requests,
//! as a prompt does, writes into the closed connection before that task runs, and the request counts as lost. Such a
//! program opens a connection for each request.

use crate::{Address, span};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Response, Uri,
    body::Incoming,
    client::conn::http1::SendRequest,
    header::{HOST, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use plexus_protocol::time::TIME_HEADER;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{fmt, io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout},
};

/// How long a connection may take to open: it is on this machine or on its network.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an ordinary answer may take.
pub const ANSWER: Duration = Duration::from_secs(30);
/// How long a connection may lie unused and carry one more request. The gateway closes it after 10 s, and a request that
/// meets the close would be lost.
const KEPT: Duration = Duration::from_secs(5);
/// The largest reply that is read, in bytes: twice the largest frame of a worker (docs/design.md#workers), whose JSON
/// it may quote.
pub const MAX_REPLY: usize = 32 << 20;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing answers there; nothing was sent.
    #[error("no gateway answers at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: Address,
        /// What the system said.
        reason: String,
        /// Whether it forbade the attempt, as a sandbox around the caller does.
        forbidden: bool,
    },
    /// Something answers that is not the gateway.
    #[error("what answers there is not a Plexus gateway: {0}")]
    Foreign(String),
    /// The connection ended after the request had begun to leave.
    #[error("the connection ended before the answer was complete: {0}")]
    Lost(String),
    /// The answer did not come in time.
    #[error("no answer within {} s", .after.as_secs())]
    TimedOut {
        /// How long we waited.
        after: Duration,
    },
    /// The answer is larger than [`MAX_REPLY`].
    #[error("the answer is larger than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
}

/// What is asked.
#[derive(Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    deadline: Duration,
}

impl Request {
    /// A request to `path` (with its query) that must be answered within [`ANSWER`].
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            deadline: ANSWER,
        }
    }
    /// A GET.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }
    /// A POST of `body`.
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new(Method::POST, path).json(body)
    }
    /// Gives it a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Self {
        self.body = Bytes::from(body.to_string());
        let json = HeaderValue::from_static("application/json");
        self.headers.push((hyper::header::CONTENT_TYPE, json));
        self
    }
    /// Adds a credential. One that cannot stand in a header is left out, and the gateway refuses.
    #[must_use]
    pub fn secret(mut self, name: &'static str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(mut value)) = (name, HeaderValue::from_str(value)) {
            value.set_sensitive(true);
            self.headers.push((name, value));
        }
        self
    }
    /// Changes how long the whole answer may take.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl fmt::Debug for Request {
    /// Without headers and body: both may hold a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body as it came.
    pub body: Bytes,
}

impl Reply {
    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
    /// Reads a streamed answer to its end, for one that turned out to be an ordinary one.
    ///
    /// # Errors
    /// [`Failure::Lost`], [`Failure::TooLarge`].
    pub async fn collect(response: Response<Incoming>) -> Result<Self, Failure> {
        Ok(Self {
            status: response.status().as_u16(),
            body: collect(response.into_body()).await?,
        })
    }
    /// The body as a type.
    ///
    /// # Errors
    /// [`Failure::Foreign`] where it is not of that form.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|e| {
            Failure::Foreign(format!(
                "its answer ({}) is not of the documented form: {e}",
                self.status
            ))
        })
    }
}

/// A connection to one gateway, opened again when it lay unused for long, or the gateway has closed it between two
/// requests.
pub struct Connection {
    address: Address,
    /// Who passes requests on, where the caller named somebody.
    proxy: Option<Address>,
    sender: SendRequest<Full<Bytes>>,
    /// When its last request began.
    used: Instant,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn open(address: Address) -> Result<Self, Failure> {
        let sender = connect(&address).await?;
        Ok(Self {
            address,
            proxy: None,
            sender,
            used: Instant::now(),
        })
    }

    /// Connects to `proxy`, which passes requests on to `address`. Only a caller names a proxy, never a variable that
    /// is meant for other programs.
    ///
    /// # Errors
    /// [`Failure::Unreachable`].
    pub async fn open_through(address: Address, proxy: Address) -> Result<Self, Failure> {
        let sender = connect(&proxy).await?;
        Ok(Self {
            address,
            proxy: Some(proxy),
            sender,
            used: Instant::now(),
        })
    }

    /// Where the bytes go.
    fn next_hop(&self) -> &Address {
        self.proxy.as_ref().unwrap_or(&self.address)
    }

    /// Where it leads.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// [`Failure`]; all but [`Failure::Unreachable`] mean that the gateway may have acted.
    pub async fn send(&mut self, request: Request) -> Result<Reply, Failure> {
        let deadline = request.deadline;
        let exchange = async { Reply::collect(self.respond(request).await?).await };
        timeout(deadline, exchange)
            .await
            .unwrap_or(Err(Failure::TimedOut { after: deadline }))
    }

    /// Sends `request` and hands over the answer while its body is still coming. The deadline covers the head only.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn stream(&mut self, request: Request) -> Result<Response<Incoming>, Failure> {
        let deadline = request.deadline;
        timeout(deadline, self.respond(request))
            .await
            .unwrap_or(Err(Failure::TimedOut { after: deadline }))
    }

    async fn respond(&mut self, request: Request) -> Result<Response<Incoming>, Failure> {
        if self.used.elapsed() > KEPT || self.sender.ready().await.is_err() {
            self.sender = connect(self.next_hop()).await?;
        }
        self.used = Instant::now();
        let outgoing = self.encode(request)?;
        let response = match self.sender.try_send_request(outgoing).await {
            Ok(response) => response,
            // The gateway closed the idle connection in this very moment. The request comes back only where none of
            // its bytes left, so it may go out once more.
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => {
                    self.sender = connect(self.next_hop()).await?;
                    self.sender.send_request(unsent).await.map_err(lost)?
                }
                None => return Err(lost(failed.into_error())),
            },
        };
        let time = response.headers().get(TIME_HEADER);
        span::learn(time.and_then(|time| time.to_str().ok()));
        if response.status().is_redirection() {
            return Err(Failure::Foreign(format!(
                "it redirects ({})",
                response.status().as_u16()
            )));
        }
        Ok(response)
    }

    fn encode(&self, request: Request) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let malformed = |what: &str| Failure::Unreachable {
            address: self.address.clone(),
            reason: format!("{what} cannot be sent"),
            forbidden: false,
        };
        let target = match (&self.proxy, &self.address) {
            (Some(_), Address::Tcp { .. }) => format!("{}{}", self.address, request.path),
            _ => request.path,
        };
        let uri: Uri = target.parse().map_err(|_| malformed("this path"))?;
        let host =
            HeaderValue::from_str(&self.address.authority()).map_err(|_| malformed("this host"))?;
        let mut outgoing = hyper::Request::new(Full::new(request.body));
        *outgoing.method_mut() = request.method;
        *outgoing.uri_mut() = uri;
        outgoing.headers_mut().insert(HOST, host);
        outgoing.headers_mut().extend(
            request
                .headers
                .into_iter()
                .map(|(name, value)| (Some(name), value)),
        );
        Ok(outgoing)
    }
}

fn lost(error: hyper::Error) -> Failure {
    Failure::Lost(error.to_string())
}

async fn collect(mut body: Incoming) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(lost)?.into_data() {
            if whole.len() + data.len() > MAX_REPLY {
                return Err(Failure::TooLarge { max: MAX_REPLY });
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

async fn connect(address: &Address) -> Result<SendRequest<Full<Bytes>>, Failure> {
    let opening = async {
        match address {
            Address::Unix(path) => spawn(UnixStream::connect(path).await?).await,
            Address::Tcp { .. } => {
                let stream = TcpStream::connect(address.authority()).await?;
                // Requests are small and each waits for its answer.
                stream.set_nodelay(true)?;
                spawn(stream).await
            }
        }
    };
    let opened = match timeout(CONNECT, opening).await {
        Ok(opened) => opened,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    opened.map_err(|error| Failure::Unreachable {
        address: address.clone(),
        reason: error.to_string(),
        forbidden: error.kind() == io::ErrorKind::PermissionDenied,
    })
}

async fn spawn<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its errors arrive at the request that they concern.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}
