//! The listening side: who may connect, and for how long; CONNECT and its tunnel.
//!
//! A tunnel leads to a host, or to the app's Unix socket.
//!
//! Invariants: a connection has a place among others (see `places`) and a bounded head; a tunnel goes only to a listed host, which
//! has no secret, at an address that it may lead to, and never for the program of a call; the connection to a host is made
//! before a worker is told that it is.
//!
//! Must not know: TLS, secrets.

use crate::{
    admit,
    forward::Forwarder,
    names::{NotFound, Resolver},
    places::{Holder, Place, Places},
    report::{Metered, Report},
    socket,
    tls::TlsError,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    http::uri::Authority,
    server::conn::http1,
    service::service_fn,
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use plexus_ipc::egress::{AuditId, awake};
use plexus_ipc::{
    egress::{EgressStart, EgressVerdict as Verdict, FromEgress, Revocation, SOCKET},
    frame::FrameSender,
    manifest::{Admitted, AdmittedSocket, is_method},
    message::{Role, Secret},
};
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Largest head of a request, in bytes, and the most headers in it.
const HEAD: usize = 32 * 1024;
const HEADERS: usize = 96;
/// How long a head may take, and a connection be idle before one.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// How long one address may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// A tunnel without a byte for this long is closed.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// Bytes on their way, in each direction of a tunnel: what loopback moves at one go.
const BUFFER: usize = 128 * 1024;
/// After a failed accept, which says that descriptors have run out.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What is answered.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Proxy {
    credential: Secret,
    /// Of readers.
    reader: Secret,
    hosts: Vec<Admitted>,
    forwarder: Option<Forwarder>,
    socket: Option<AdmittedSocket>,
    pub(crate) names: Resolver,
    names_wanted: Notify,
    pub(crate) report: Report,
    /// Everything under way; aborted at the end, so that all of it is in the last report.
    tasks: Mutex<JoinSet<()>>,
}

impl Proxy {
    /// `authorities` are known beside Mozilla's.
    pub(crate) fn new(start: EgressStart, authorities: &[u8]) -> Result<Arc<Self>, TlsError> {
        let forwarder = |forward| Forwarder::new(forward, authorities);
        Ok(Arc::new(Self {
            credential: start.credential,
            reader: start.reader,
            hosts: start.hosts,
            forwarder: start.forward.map(forwarder).transpose()?,
            socket: start.socket,
            names: Resolver::new(&start.names),
            names_wanted: Notify::new(),
            report: Report::default(),
            tasks: Mutex::default(),
        }))
    }

    /// Serves each client that connects.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        let places = Places::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(Arc::clone(&self).serve(stream, places.arrive())),
                Err(_) => sleep(ACCEPT_AGAIN).await,
            }
        }
    }

    /// Asks the gateway for the machine's resolvers when none has answered.
    pub(crate) async fn ask_for_names(&self, out: &FrameSender<FromEgress>) {
        loop {
            self.names_wanted.notified().await;
            let _ = out.send(&FromEgress::NamesWanted).await;
            sleep(CONNECT_WITHIN).await;
        }
    }

    /// Hands renewed sign-ins to the gateway.
    pub(crate) async fn keep_sign_ins(&self, out: &FrameSender<FromEgress>) {
        match self.forwarder.as_ref().and_then(Forwarder::tokens) {
            Some(tokens) => tokens.keep_sending(out).await,
            None => std::future::pending().await,
        }
    }

    /// Until no renewal is under way.
    pub(crate) async fn settled(&self) {
        if let Some(tokens) = self.forwarder.as_ref().and_then(Forwarder::tokens) {
            tokens.settled().await;
        }
    }

    /// Ends the sign-in at its server.
    pub(crate) async fn revoke(&self) -> Revocation {
        match self.forwarder.as_ref().and_then(Forwarder::tokens) {
            Some(tokens) => tokens.revoke(self).await,
            None => Revocation::Unoffered { until: None },
        }
    }

    /// What the gateway says of one.
    pub(crate) fn heard_kept(&self, durable: bool) {
        if let Some(tokens) = self.forwarder.as_ref().and_then(Forwarder::tokens) {
            tokens.heard(durable);
        }
    }

    /// Ends everything under way.
    pub(crate) async fn end(&self) {
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, place: Place) {
        let _ = stream.set_nodelay(true);
        let place = Arc::new(place);
        let answer = service_fn(|request| {
            let (proxy, place) = (Arc::clone(&self), Arc::clone(&place));
            async move {
                Ok::<_, Infallible>(match *request.method() {
                    Method::CONNECT => proxy.connect(request, place).await,
                    _ => proxy.forward(request, &place).await,
                })
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades();
        // How it ended says nothing that a report would not.
        tokio::select! {
            _ = serving => {}
            () = place.closed() => {}
        }
    }

    async fn forward(self: Arc<Self>, request: Request<Incoming>, place: &Place) -> Response<Body> {
        let Some(forwarder) = &self.forwarder else {
            return refusal(
                StatusCode::FORBIDDEN,
                "this source forwards no requests; its hosts are reached by CONNECT",
            );
        };
        let Some(whose) = self.opened(request.headers(), forwarder.credential_headers()) else {
            let mut response = self.refused(&forwarder.to, None, NO_CREDENTIAL);
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            return response;
        };
        let (role, call) = whose.clone();
        if !place.is_had_by(whose).await {
            return self.refused(&forwarder.to, call, BUSY);
        }
        if !is_method(request.method()) {
            return self.refused(&forwarder.to, call, NO_METHOD);
        }
        if role == Role::Reader && !forwarder.reads_by(request.method(), request.uri().path()) {
            return self.refused(&forwarder.to, call, NO_READ);
        }
        match forwarder.forward(&self, call.clone(), request).await {
            Ok(response) => response,
            Err(why) => self.refused(&forwarder.to, call, why),
        }
    }

    /// Reports what came to nothing, and says so.
    fn refused(&self, to: &Admitted, call: Option<AuditId>, why: Refused) -> Response<Body> {
        self.report.refused(&to.host, to.port, call, why.0);
        why.answer()
    }

    /// Holder credential is among the headers, and the call that it is for where it is one's own.
    fn opened<'a>(
        &self,
        headers: &HeaderMap,
        named: impl IntoIterator<Item = &'a HeaderName>,
    ) -> Option<Holder> {
        let whose = |value: &HeaderValue| {
            let given = admit::given(value)?;
            if admit::opens(&given, &self.credential) {
                return Some((Role::Writer, None));
            }
            if admit::opens(&given, &self.reader) {
                return Some((Role::Reader, None));
            }
            let call = admit::opens_for(&given, &self.credential, awake()?)?;
            Some((Role::Writer, Some(call)))
        };
        let mut values = named.into_iter().filter_map(|name| headers.get(name));
        values.find_map(whose)
    }

    async fn connect(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        place: Arc<Place>,
    ) -> Response<Body> {
        let Some((host, port)) = request.uri().authority().and_then(asked) else {
            return refusal(StatusCode::BAD_REQUEST, "CONNECT names a host and a port");
        };
        let opened = self.opened(request.headers(), [&header::PROXY_AUTHORIZATION]);
        let Some(whose) = opened else {
            self.report.refused(&host, port, None, NO_CREDENTIAL.0);
            let mut response = NO_CREDENTIAL.answer();
            let challenge = HeaderValue::from_static("Basic realm=\"plexus-egress\"");
            let headers = response.headers_mut();
            headers.insert(header::PROXY_AUTHENTICATE, challenge);
            return response;
        };
        let (role, call) = whose.clone();
        if !place.is_had_by(whose).await {
            self.report.refused(&host, port, call, BUSY.0);
            return BUSY.answer();
        }
        let is_socket = (host.as_str(), port) == SOCKET;
        if let Some(to) = self.socket.as_ref().filter(|_| is_socket).cloned() {
            let app = match socket::dial(&self, &to, call.clone()).await {
                Ok(app) => app,
                Err(why) => {
                    self.report.refused(&to.path, 0, call, why.0);
                    return why.answer();
                }
            };
            let upgrade = hyper::upgrade::on(&mut request);
            self.spawn(async move {
                let _place = place;
                if let Some(client) = tunnelled(upgrade.await) {
                    socket::serve(client, app, &to, role).await;
                }
            });
            return Response::new(empty());
        }
        let entry = match (&call, admit::listed(&self.hosts, &host, port)) {
            (None, Some(entry)) => entry,
            (of_call, _) => {
                let why = of_call.as_ref().map_or(UNLISTED, |_| OF_CALL);
                self.report.refused(&host, port, call, why.0);
                return why.answer();
            }
        };
        let upstream = match self.dial(entry, None).await {
            Ok(upstream) => upstream,
            Err(why) => return self.refused(entry, None, why),
        };
        let upgrade = hyper::upgrade::on(&mut request);
        self.spawn(async move {
            // The connection keeps its place as long as its tunnel is open.
            let _place = place;
            if let Some(client) = tunnelled(upgrade.await) {
                tunnel(client, upstream).await;
            }
        });
        Response::new(empty())
    }

    /// Connects to a listed host, for a call where it is known.
    pub(crate) async fn dial(
        &self,
        to: &Admitted,
        call: Option<AuditId>,
    ) -> Result<Metered<TcpStream>, Refused> {
        let addresses = self.names.addresses(&to.host).await.map_err(|why| {
            if why == NotFound::NoAnswer {
                self.names_wanted.notify_one();
            }
            Refused(
                Verdict::Unresolved,
                "the name of the host cannot be resolved",
            )
        })?;
        let mut allowed = addresses
            .into_iter()
            .filter(|address| admit::may_lead_to(to, *address))
            .peekable();
        if allowed.peek().is_none() {
            let why = match to.local {
                true => "the host leads out of this machine and its network",
                false => {
                    "the host leads into this machine or network, where the owner has not listed it"
                }
            };
            return Err(Refused(Verdict::Address, why));
        }
        for address in allowed {
            let connecting = TcpStream::connect(SocketAddr::new(address, to.port));
            if let Ok(Ok(stream)) = timeout(CONNECT_WITHIN, connecting).await {
                let _ = stream.set_nodelay(true);
                let open = self.report.open(&to.host, to.port, call);
                return Ok(Metered::new(stream, open));
            }
        }
        Err(Refused(Verdict::Unreachable, "the host does not answer"))
    }
}

/// Why nothing goes on, for the report and for the worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub(crate) Verdict, pub(crate) &'static str);

const NO_CREDENTIAL: Refused = Refused(Verdict::Credential, "not the credential of this start");
const NO_READ: Refused = Refused(
    Verdict::Method,
    "a reader's request may not have this method",
);
const NO_METHOD: Refused = Refused(Verdict::Method, "requests of this method are not forwarded");
const BUSY: Refused = Refused(
    Verdict::Busy,
    "as many connections are open as one run or worker may have; close some, or wait",
);
const UNLISTED: Refused = Refused(
    Verdict::Unlisted,
    "the manifest of the source does not list this host and port for CONNECT",
);
const OF_CALL: Refused = Refused(
    Verdict::Unlisted,
    "the program of a call reaches no host by CONNECT; send plain requests for the source's server",
);

impl Refused {
    pub(crate) fn answer(self) -> Response<Body> {
        let status = match self.0 {
            Verdict::Credential => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Verdict::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Verdict::Unlisted | Verdict::Path | Verdict::Method | Verdict::Address => {
                StatusCode::FORBIDDEN
            }
            Verdict::Unresolved
            | Verdict::Unreachable
            | Verdict::Tls
            | Verdict::Broken
            | Verdict::Admitted => StatusCode::BAD_GATEWAY,
        };
        let mut answer = refusal(status, self.1);
        // The one of these that may come after the request has arrived.
        if self.0 == Verdict::Broken {
            let broken = HeaderValue::from_static("broken");
            answer.headers_mut().insert(OURS, broken);
        }
        answer
    }
}

/// The host and port of a CONNECT: a name in lower case, or an address without brackets.
fn asked(authority: &Authority) -> Option<(String, u16)> {
    let host = authority.host();
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // What is no host is in no list, and its text in no report.
    let known = plexus_ipc::manifest::is_host(&host);
    known.then(|| Some((host, authority.port_u16()?)))?
}

/// A worker's end of a tunnel: what came with the head, and the connection.
pub(crate) type Tunnelled = (Bytes, TcpStream);

fn tunnelled(upgraded: Result<Upgraded, hyper::Error>) -> Option<Tunnelled> {
    let parts = upgraded.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    Some((parts.read_buf, parts.io.into_inner()))
}

/// Copies until both ends are done, one fails, or nothing has moved for long.
pub(crate) async fn tunnel(
    (heard, mut client): Tunnelled,
    mut upstream: Metered<impl AsyncRead + AsyncWrite + Unpin>,
) {
    if upstream.write_all(&heard).await.is_err() {
        return;
    }
    let open = upstream.open().clone();
    let idle = async {
        let mut before = None;
        while before != Some(open.bytes()) {
            before = Some(open.bytes());
            sleep(IDLE).await;
        }
    };
    tokio::select! {
        _ = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER) => {}
        () = idle => {}
    }
}

fn empty() -> Body {
    Full::new(Bytes::new())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Marks an answer of ours: `refused`; `broken` where the host broke off; `certificate` where it showed another
/// certificate than the pinned one, with the fingerprints of both as the body. No answer of a host has it.
pub(crate) const OURS: HeaderName = HeaderName::from_static("x-plexus-egress");

/// An answer of ours.
pub(crate) fn refusal(status: StatusCode, why: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(why.into());
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let ours = HeaderValue::from_static("refused");
    response.headers_mut().insert(OURS, ours);
    // What a client would send after a refusal is not waited for.
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_connect_is_read_in_one_spelling() {
        let read = |text: &str| asked(&text.parse().unwrap());
        let is =
            |text, host: &str, port| assert_eq!(read(text), Some((host.into(), port)), "{text}");
        is("Example.COM:443", "example.com", 443);
        is("example.com.:443", "example.com", 443);
        is("[::1]:443", "::1", 443);
        is("127.0.0.1:8080", "127.0.0.1", 8080);
        for text in [
            "example.com",
            "user@example.com",
            "127.1:80",
            "0x7f000001:80",
            "2130706433:80",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
