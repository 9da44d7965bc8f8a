//! Requests that are forwarded to a host: what goes on, what does not, and the secret that is added.
//!
//! Invariants: the host is the manifest's, whatever the request says; the secret is added after TLS has proven the
//! host's name, or on a connection to this machine where the owner wrote `http`; no cookie of the client's leaves, and none
//! comes back; its credential leaves only where the owner has it bring one of its own, and then no secret is added; none of its
//! headers names another method or path than were judged; a redirect is an answer like any other, so the secret follows none.
//!
//! Must not know: how a connection is admitted.

use crate::{
    proxy::{Body, OURS, Proxy, Refused},
    sign_in::TokenSource,
    tls::{self, TlsError, Unpinned},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    client::conn::http1,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use plexus_ipc::egress::AuditId;
use plexus_ipc::{
    egress::{EgressVerdict as Verdict, Forward, Proof},
    manifest::{Admitted, Auth, admits, admits_whole, is_path},
    message::Secret,
};
use rustls::pki_types::ServerName;
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long the head of an answer may take: models think long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Largest body of a request that may have to be sent again, in bytes: a message of MCP is smaller.
const MAX_REPEATED: usize = 8 << 20;
const TOO_LARGE: Refused = Refused(
    Verdict::Broken,
    "the request is larger than one to a server with a sign-in may be, or broke off",
);

/// Of one connection and not of the message (RFC 9110, 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];
/// Where a client puts its credential.
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, HeaderName::from_static("x-api-key")];
/// What a client may bring and must not be sent on. `Expect` is answered here.
const OF_CLIENTS: [HeaderName; 4] = [header::COOKIE, header::HOST, header::EXPECT, OURS];
/// The headers that some servers go by in place of the method or the path that were judged.
const OTHER_REQUESTS: [HeaderName; 5] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
];
/// What a host may set and a worker has no use for, or would take for our own word.
const OF_HOSTS: [HeaderName; 3] = [
    header::SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    OURS,
];

/// See the module.
pub(crate) struct Forwarder {
    pub(crate) to: Admitted,
    paths: Vec<String>,
    /// What readers may send, by the manifest's lines.
    reads: Vec<String>,
    /// Whether the lines are whole requests.
    whole: bool,
    /// The header with the secret; its value is marked so that it is never printed.
    secret: Option<(HeaderName, HeaderValue)>,
    /// Gives the header instead, where the secret is a sign-in.
    tokens: Option<Arc<TokenSource>>,
    /// Where the credential of this start may stand.
    credential: Vec<HeaderName>,
    /// What of a client's headers is not sent on, hyphened.
    dropped: Vec<String>,
    host: HeaderValue,
    /// What proves the host's name, and that name; none for a host of this machine without TLS.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder")
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Forwarder {
    pub(crate) fn new(forward: Forward, authorities: &[u8]) -> Result<Self, TlsError> {
        let (secret, tokens) = match (forward.secret, forward.tokens) {
            (Some(added), Some(endpoint)) => {
                // The owner's authorities prove the authorization server too; a pinned certificate is of the host alone.
                let proof = match &forward.proof {
                    Proof::Name(own) => Proof::Name(own.clone()),
                    Proof::Certificate(_) => Proof::Name(Vec::new().into()),
                };
                let tokens = TokenSource::new(endpoint, &added.value, &proof, authorities)?;
                (None, Some(Arc::new(tokens)))
            }
            (None, Some(_)) => return Err(TlsError::Secret),
            (added, None) => {
                let secret = added.map(|added| secret(&added.auth, &added.value));
                (secret.transpose()?.flatten(), None)
            }
        };
        let mut credential = match forward.clients_own {
            // The usual places have the client's own.
            true => vec![OURS],
            false => CREDENTIALS.to_vec(),
        };
        credential.extend(secret.iter().map(|(name, _)| name.clone()));
        let dropped = (OF_CLIENTS.iter().chain(&OTHER_REQUESTS))
            .chain(&credential)
            .map(hyphened)
            .collect();
        let tls = match forward.to.plain {
            true => None,
            false => Some((
                tls::connector(&forward.proof, authorities)?,
                tls::name(&forward.to.host)?,
            )),
        };
        Ok(Self {
            host: host_header(&forward.to)?,
            tls,
            to: forward.to,
            paths: forward.paths,
            reads: forward.reads,
            whole: forward.whole,
            secret,
            tokens,
            credential,
            dropped,
        })
    }

    /// The headers that may open the forwarder.
    pub(crate) fn credential_headers(&self) -> &[HeaderName] {
        &self.credential
    }

    /// What gives the tokens of a sign-in.
    pub(crate) fn tokens(&self) -> Option<&Arc<TokenSource>> {
        self.tokens.as_ref()
    }

    /// Sends an opened request on. One that the host does not take the token of is sent once more, with another: it has done
    /// nothing. The connection to the host is this request's alone; once it is made, its report says
    /// what came of it.
    pub(crate) async fn forward(
        &self,
        proxy: &Arc<Proxy>,
        call: Option<AuditId>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refused> {
        // One that names a host is meant for another proxy.
        if request.uri().authority().is_some()
            || !self.admits(request.method(), request.uri().path())
        {
            let why = "the manifest of the source lists no such path";
            return Err(Refused(Verdict::Path, why));
        }
        let request = self.without_credentials(request);
        let Some(tokens) = &self.tokens else {
            let request = request.map(|body| body.boxed_unsync());
            return self.send(proxy, call, request, self.secret.as_ref()).await;
        };
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_REPEATED).collect().await;
        let body = body.map_err(|_| TOO_LARGE)?.to_bytes();
        let repeated = || {
            let body = Full::new(body.clone()).map_err(|never| match never {});
            Request::from_parts(head.clone(), body.boxed_unsync())
        };
        let added = tokens.header(proxy, call.clone(), None).await?;
        let with = (header::AUTHORIZATION, added);
        let answer = self
            .send(proxy, call.clone(), repeated(), Some(&with))
            .await?;
        let is_ours = answer.headers().contains_key(OURS);
        if answer.status() != StatusCode::UNAUTHORIZED || is_ours {
            return Ok(answer);
        }
        let added = tokens.header(proxy, call.clone(), Some(&with.1)).await?;
        let with = (header::AUTHORIZATION, added);
        self.send(proxy, call, repeated(), Some(&with)).await
    }

    /// Sends a request that nothing of the client's own credential is left in, with `added`.
    async fn send(
        &self,
        proxy: &Proxy,
        call: Option<AuditId>,
        mut request: Request<Body>,
        added: Option<&(HeaderName, HeaderValue)>,
    ) -> Result<Response<Body>, Refused> {
        if let Some((name, value)) = added {
            request.headers_mut().insert(name, value.clone());
        }
        let stream = proxy.dial(&self.to, call).await?;
        let open = stream.open().clone();
        let came_to = |verdict, why| {
            open.came_to(verdict);
            Ok(Refused(verdict, why).answer())
        };
        let mut sender = match begin(proxy, stream, self.tls.as_ref()).await {
            Ok(sender) => sender,
            Err(NotBegun::Unpinned(unpinned)) => {
                open.came_to(Verdict::Tls);
                return Ok(unpinned.answer());
            }
            Err(NotBegun::Refused(Refused(verdict, why))) => return came_to(verdict, why),
        };
        let sent = sender.send_request(request);
        let Ok(Ok(answer)) = timeout(ANSWER_WITHIN, sent).await else {
            return came_to(BROKEN.0, BROKEN.1);
        };
        let (mut head, body) = answer.into_parts();
        drop_hop_by_hop(&mut head.headers);
        for name in &OF_HOSTS {
            head.headers.remove(name);
        }
        // Between us and the worker, whatever the host speaks.
        head.version = Version::HTTP_11;
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }

    /// Whether a reader may send this. Asked before [`Self::admits`], which every request has to pass.
    pub(crate) fn reads_by(&self, method: &Method, path: &str) -> bool {
        let any = !self.whole && self.reads.is_empty();
        any || self.reads.iter().any(|line| self.fits(line, method, path))
    }

    /// Whether the manifest lists a path, segment by segment, for this method, and every server reads it alike.
    fn admits(&self, method: &Method, path: &str) -> bool {
        is_path(path) && self.paths.iter().any(|line| self.fits(line, method, path))
    }

    fn fits(&self, line: &str, method: &Method, path: &str) -> bool {
        match self.whole {
            true => admits_whole(line, method.as_str(), path),
            false => admits(line, method.as_str(), path),
        }
    }

    fn without_credentials<B>(&self, request: Request<B>) -> Request<B> {
        let (mut head, body) = request.into_parts();
        let path = head.uri.path_and_query().cloned();
        head.uri = path.map(Uri::from).unwrap_or_default();
        head.version = Version::HTTP_11;
        drop_hop_by_hop(&mut head.headers);
        let is_dropped = |name: &&HeaderName| self.dropped.contains(&hyphened(name));
        let named: Vec<HeaderName> = head.headers.keys().filter(is_dropped).cloned().collect();
        for name in &named {
            head.headers.remove(name);
        }
        head.headers.insert(header::HOST, self.host.clone());
        Request::from_parts(head, body)
    }
}

/// A name as those servers read it that take an underscore for a hyphen.
fn hyphened(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

/// Why no HTTP was begun.
pub(crate) enum NotBegun {
    /// The host showed another certificate than the pinned one.
    Unpinned(Unpinned),
    /// Anything else.
    Refused(Refused),
}

const BROKEN: Refused = Refused(Verdict::Broken, "the host broke off");
const UNPROVEN: Refused = Refused(Verdict::Tls, "the host has not proven its name");
const NO_TLS: Refused = Refused(Verdict::Tls, "the host speaks no TLS at this port");
const SLOW_TLS: Refused = Refused(Verdict::Tls, "the host did not answer to TLS in time");

/// Begins HTTP on a connection that is made, once the host has proven itself where there is `tls`.
pub(crate) async fn begin(
    proxy: &Proxy,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<&(TlsConnector, ServerName<'static>)>,
) -> Result<http1::SendRequest<Body>, NotBegun> {
    let Some((tls, name)) = tls else {
        return begin_plain(proxy, stream).await;
    };
    match timeout(HANDSHAKE_WITHIN, tls.connect(name.clone(), stream)).await {
        Ok(Ok(stream)) => begin_plain(proxy, stream).await,
        Ok(Err(error)) => Err(match Unpinned::of(&error) {
            Some(unpinned) => NotBegun::Unpinned(unpinned),
            None if tls::is_other_protocol(&error) => NotBegun::Refused(NO_TLS),
            None => NotBegun::Refused(UNPROVEN),
        }),
        Err(_) => Err(NotBegun::Refused(SLOW_TLS)),
    }
}

async fn begin_plain(
    proxy: &Proxy,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<http1::SendRequest<Body>, NotBegun> {
    let begun = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(|_| NotBegun::Refused(BROKEN))?;
    proxy.spawn(async move {
        // Its end is heard as the end of the answer.
        let _ = connection.await;
    });
    Ok(sender)
}

fn secret(
    auth: &Auth<String>,
    secret: &Secret,
) -> Result<Option<(HeaderName, HeaderValue)>, TlsError> {
    // A file of the owner's may end with a line feed.
    let word = secret.expose().trim_end_matches(['\r', '\n']);
    if word.is_empty() {
        return Ok(None);
    }
    added(auth, word).map(Some)
}

/// The header by which a word is added; its value is marked so that it is never printed.
pub(crate) fn added(
    auth: &Auth<String>,
    word: &str,
) -> Result<(HeaderName, HeaderValue), TlsError> {
    let (name, value) = match auth {
        Auth::Bearer => (
            header::AUTHORIZATION,
            Zeroizing::new(format!("Bearer {word}")),
        ),
        Auth::Basic(user) => {
            let both = Zeroizing::new(format!("{user}:{word}"));
            let encoded = Zeroizing::new(BASE64_STANDARD.encode(&*both));
            (
                header::AUTHORIZATION,
                Zeroizing::new(format!("Basic {}", *encoded)),
            )
        }
        Auth::Header(name) => (
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| TlsError::Secret)?,
            Zeroizing::new(word.to_owned()),
        ),
    };
    let mut value = HeaderValue::from_str(&value).map_err(|_| TlsError::Secret)?;
    value.set_sensitive(true);
    Ok((name, value))
}

pub(crate) fn host_header(to: &Admitted) -> Result<HeaderValue, TlsError> {
    let host = match to.host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => to.host.clone(),
    };
    let text = match (to.port, to.plain) {
        (443, false) | (80, true) => host,
        (port, _) => format!("{host}:{port}"),
    };
    HeaderValue::from_str(&text).map_err(|_| TlsError::Secret)
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // How a body is framed is hyper's to say.
    let framing = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    for name in HOP_BY_HOP
        .iter()
        .chain(named.iter().filter(|name| !framing.contains(name)))
    {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
