//! A sign-in (OAuth 2.1): the token that is added to requests, and its renewal.
//!
//! ```text
//! request ─▶ is there a token, good for a while? ─yes─▶ added ─▶ host ─401─▶ renewed once, sent again
//!               └─no─▶ token endpoint ─▶ record ─Renewed─▶ gateway ─Kept─▶ used
//!                          └─invalid_grant─▶ ended: every request is refused, until the owner signs in again
//! the owner signs out ─▶ ended ─▶ revocation endpoint: refresh token, token
//! ```
//! Invariants: one renewal at a time, for all that wait; one that is begun goes to its end, also where its callers have
//! left: what it is had for is good for once; no token is used before its record is durable; a token goes to the
//! host, and what renews it to the token endpoint, and neither to anybody else; what has ended is not asked for again.
//!
//! Must not know: how the owner signed in.

use crate::{
    forward::{NotBegun, added, begin, host_header},
    proxy::{Body, Proxy, Refused},
    tls::{self, TlsError},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{self, HeaderValue},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use plexus_ipc::{
    egress::{
        Access, AuditId, Client, ClientAuth, Digest, EgressVerdict as Verdict, FromEgress, Grant,
        Proof, Revocation, Scopes, SignIn, TokenEndpoint,
    },
    frame::FrameSender,
    manifest::Auth,
    message::Secret,
};
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value;
use std::{
    sync::{Arc, Mutex as Slot, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// A token that ends sooner is renewed first; one that lives for less than twice as long, in the second half of its life.
/// Else each of two requests at once would renew it, and a server that takes one token at a time would refuse the other.
const AHEAD: u64 = 60;
/// How long a renewal may take, its record kept.
const RENEW_WITHIN: Duration = Duration::from_secs(20);
/// How long the authorization server may take to hear that a sign-in is over.
const REVOKE_WITHIN: Duration = Duration::from_secs(8);
/// Largest answer of a token endpoint, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// What a form has as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// See the module.
pub(crate) struct TokenSource {
    endpoint: TokenEndpoint,
    host: HeaderValue,
    /// What proves the endpoint; none on this machine.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    state: Arc<Mutex<Held>>,
    kept: Keeping,
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

struct Held {
    record: SignIn,
    /// Of its text, as it lies with the gateway.
    digest: Digest,
    ended: Option<&'static str>,
    /// So many seconds before its end the token is renewed.
    ahead: u64,
}

/// Records on their way to the gateway.
struct Keeping {
    queue: mpsc::Sender<(FromEgress, oneshot::Sender<bool>)>,
    inbox: Mutex<mpsc::Receiver<(FromEgress, oneshot::Sender<bool>)>>,
    /// Who waits for the gateway's word.
    waiting: Slot<Option<oneshot::Sender<bool>>>,
}

const ENDED: &str =
    "the sign-in of this server has ended; the owner signs in again: plexusctl mcp login";
const NO_CLIENT: &str = "the authorization server does not take the client of this sign-in, or its secret (invalid_client or unauthorized_client); the owner signs in again: plexusctl mcp login with --client-id and --client-secret, where they are the owner's";
const NO_TARGET: &str = "the authorization server gives no tokens for this server (invalid_target); a token that its operator gives is a secret: plexusctl sources secret";
const NO_RECORD: &str =
    "the secret of this source is no sign-in; the owner signs in: plexusctl mcp login";
const NOT_KEPT: &str = "the renewed sign-in could not be kept, so it is not used";
const AWAY: Refused = Refused(
    Verdict::Unreachable,
    "the sign-in needs another token, and the authorization server gives none now; try again",
);

impl TokenSource {
    pub(crate) fn new(
        endpoint: TokenEndpoint,
        secret: &Secret,
        proof: &Proof,
        authorities: &[u8],
    ) -> Result<Self, TlsError> {
        let tls = match endpoint.to.plain {
            true => None,
            false => Some((
                tls::connector(proof, authorities)?,
                tls::name(&endpoint.to.host)?,
            )),
        };
        let digest = Digest::of(secret.expose().as_bytes());
        let record = SignIn::read(secret).ok_or(TlsError::NoSignIn(NO_RECORD))?;
        let (queue, inbox) = mpsc::channel(1);
        Ok(Self {
            host: host_header(&endpoint.to)?,
            endpoint,
            tls,
            state: Arc::new(Mutex::new(Held {
                record,
                digest,
                ended: None,
                ahead: AHEAD,
            })),
            kept: Keeping {
                queue,
                inbox: Mutex::new(inbox),
                waiting: Slot::default(),
            },
        })
    }

    /// Hands records to the gateway as they come.
    pub(crate) async fn keep_sending(&self, out: &FrameSender<FromEgress>) {
        let mut inbox = self.kept.inbox.lock().await;
        while let Some((renewed, told)) = inbox.recv().await {
            *self.waiting() = Some(told);
            let _ = out.send_secret(&renewed).await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<oneshot::Sender<bool>>> {
        self.kept
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What the gateway says of the record that it was handed.
    pub(crate) fn heard(&self, durable: bool) {
        if let Some(told) = self.waiting().take() {
            let _ = told.send(durable);
        }
    }

    /// The header for a request; another than `refused`, which the host did not take.
    pub(crate) async fn header(
        self: &Arc<Self>,
        proxy: &Arc<Proxy>,
        call: Option<AuditId>,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Refused> {
        let mut held = Arc::clone(&self.state).lock_owned().await;
        if let Some(why) = held.ended {
            return Err(Refused(Verdict::Credential, why));
        }
        let now = now();
        let there = held.record.access.as_ref().and_then(|access| {
            let value = bearer(access.token.expose())?;
            (refused != Some(&value)).then_some((value, access.expires))
        });
        match there {
            Some((value, None)) => return Ok(value),
            Some((value, Some(expires))) if expires > now + held.ahead => return Ok(value),
            // Nothing renews it: it is used until it ends.
            Some((value, Some(expires)))
                if expires > now && matches!(held.record.grant, Grant::Nothing) =>
            {
                return Ok(value);
            }
            _ => {}
        }
        let (of, proxy) = (Arc::clone(self), Arc::clone(proxy));
        let renewing = tokio::spawn(async move {
            let renewed = timeout(RENEW_WITHIN, of.renew(&mut held, &proxy, call)).await;
            match (renewed.unwrap_or(Err(AWAY)), there) {
                (Ok(()), _) => {
                    let access = held.record.access.as_ref();
                    access
                        .and_then(|access| bearer(access.token.expose()))
                        .ok_or(AWAY)
                }
                (Err(why), _) if why.0 == Verdict::Credential => {
                    held.ended = Some(why.1);
                    Err(why)
                }
                // One that is good for a little while yet.
                (Err(_), Some((value, Some(expires)))) if expires > now => Ok(value),
                (Err(why), _) => Err(why),
            }
        });
        renewing.await.unwrap_or(Err(AWAY))
    }

    /// Until no renewal is under way.
    pub(crate) async fn settled(&self) {
        drop(self.state.lock().await);
    }

    /// Tells the authorization server that the sign-in is over. From here on no token of it is used.
    pub(crate) async fn revoke(&self, proxy: &Proxy) -> Revocation {
        let mut until = None;
        let revoking = async {
            let mut held = self.state.lock().await;
            held.ended = Some(ENDED);
            let record = &held.record;
            until = record.access.as_ref().and_then(|access| access.expires);
            let Some(path) = record.revocation.as_deref() else {
                return Err(Revocation::Unoffered { until });
            };
            let mut are_told = true;
            for (token, kind) in living(record) {
                let form = revocation_form(&record.client, token, kind);
                let told = self.post(path, &record.client, form, proxy, None).await;
                // Also a token that the server does not know is answered so (RFC 7009, section 2.2).
                are_told &= told.is_ok_and(|(status, _)| status == StatusCode::OK);
            }
            match are_told {
                true => Ok(Revocation::Done),
                false => Err(Revocation::Failed { until }),
            }
        };
        match timeout(REVOKE_WITHIN, revoking).await {
            Ok(Ok(told) | Err(told)) => told,
            Err(_) => Revocation::Failed { until },
        }
    }

    /// Has another token, and its record kept.
    async fn renew(
        &self,
        held: &mut Held,
        proxy: &Proxy,
        call: Option<AuditId>,
    ) -> Result<(), Refused> {
        let form = form(&held.record).ok_or(Refused(Verdict::Credential, ENDED))?;
        let path = &self.endpoint.path;
        let told = self.post(path, &held.record.client, form, proxy, call);
        let (status, body) = told.await?;
        let told = read(status, &body)?;
        let now = now();
        take(&mut held.record, told, now);
        let expires = held.record.access.as_ref().and_then(|token| token.expires);
        let life = expires.map(|expires| expires.saturating_sub(now));
        held.ahead = life.map_or(AHEAD, |life| AHEAD.min(life / 2));
        let text = held.record.text();
        let not_kept = Refused(Verdict::Credential, NOT_KEPT);
        let text = text.ok_or(not_kept)?;
        let digest = Digest::of(text.expose().as_bytes());
        let (told, kept) = oneshot::channel();
        let renewed = FromEgress::Renewed {
            was: held.digest,
            record: text,
        };
        let handed = self.kept.queue.send((renewed, told)).await;
        if handed.is_err() || !kept.await.unwrap_or(false) {
            return Err(not_kept);
        }
        held.digest = digest;
        Ok(())
    }

    /// Sends a form to the authorization server.
    async fn post(
        &self,
        path: &str,
        client: &Client,
        form: Zeroizing<String>,
        proxy: &Proxy,
        call: Option<AuditId>,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), Refused> {
        let stream = proxy.dial(&self.endpoint.to, call).await?;
        let open = stream.open().clone();
        let mut sender = match begin(proxy, stream, self.tls.as_ref()).await {
            Ok(sender) => sender,
            Err(NotBegun::Refused(Refused(verdict, _))) => {
                open.came_to(verdict);
                return Err(AWAY);
            }
            // Nothing is pinned of it.
            Err(NotBegun::Unpinned(_)) => return Err(AWAY),
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path.parse::<Uri>().map_err(|_| AWAY)?)
            .header(header::HOST, self.host.clone())
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if client.auth == ClientAuth::ClientSecretBasic {
            let user = Auth::Basic(encoded(&client.id).to_string());
            let word = encoded(client.secret.expose());
            let (name, value) = added(&user, &word).map_err(|_| AWAY)?;
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(form.as_bytes().to_vec()));
        let body: Body = body.map_err(|never| match never {}).boxed_unsync();
        let request = request.body(body).map_err(|_| AWAY)?;
        let answer = sender.send_request(request).await.map_err(|_| AWAY)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = Zeroizing::new(body.map_err(|_| AWAY)?.to_bytes().to_vec());
        Ok((status, body))
    }
}

/// What a token endpoint says.
#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    token_type: String,
    #[serde(default)]
    expires_in: Option<u64>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    scope: Value,
}

fn read(status: StatusCode, body: &[u8]) -> Result<Tokens, Refused> {
    #[derive(Deserialize)]
    struct Failure {
        error: String,
    }
    if status == StatusCode::OK {
        let tokens: Tokens = serde_json::from_slice(body).map_err(|_| AWAY)?;
        let is_bearer = tokens.token_type.eq_ignore_ascii_case("bearer");
        return match is_bearer && bearer(&tokens.access_token).is_some() {
            true => Ok(tokens),
            false => Err(AWAY),
        };
    }
    // A server that is busy, or broken, has not said no.
    let failure = serde_json::from_slice::<Failure>(body);
    let why = match failure.as_ref().map(|failure| &*failure.error) {
        _ if !status.is_client_error() => return Err(AWAY),
        Ok("invalid_grant") => ENDED,
        Ok("invalid_client" | "unauthorized_client") => NO_CLIENT,
        Ok("invalid_target") => NO_TARGET,
        _ => return Err(AWAY),
    };
    Err(Refused(Verdict::Credential, why))
}

/// Replaces what was exchanged by these tokens, had at a second of the Unix epoch.
fn take(record: &mut SignIn, tokens: Tokens, now: u64) {
    // What was exchanged is used up, whatever becomes of this one.
    let before = std::mem::replace(&mut record.grant, Grant::Nothing);
    let renews = tokens.refresh_token.filter(|token| !token.is_empty());
    record.grant = match (renews, before) {
        (Some(token), _) => Grant::Refresh(Secret::new(token)),
        // One that is not replaced goes on.
        (None, Grant::Refresh(token)) => Grant::Refresh(token),
        (None, Grant::Code { .. } | Grant::Nothing) => Grant::Nothing,
    };
    record.access = Some(Access {
        token: Secret::new(tokens.access_token),
        expires: tokens.expires_in.map(|within| now.saturating_add(within)),
    });
    // Without one it is what was asked for (RFC 6749, section 5.1). One that is no list is not worth a sign-in.
    let scope = tokens.scope.as_str();
    let scope = scope.and_then(|scope| Scopes::parse(scope).ok());
    if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
        record.scope = Some(scope);
    }
}

/// The form of the next request; none where nothing is left to ask with.
fn form(record: &SignIn) -> Option<Zeroizing<String>> {
    let mut form = Form(Zeroizing::new(String::with_capacity(4096)));
    match &record.grant {
        Grant::Nothing => return None,
        Grant::Refresh(token) => {
            form.add("grant_type", "refresh_token");
            form.add("refresh_token", token.expose());
        }
        Grant::Code {
            code,
            verifier,
            redirect,
        } => {
            form.add("grant_type", "authorization_code");
            form.add("code", code.expose());
            form.add("code_verifier", verifier.expose());
            form.add("redirect_uri", redirect);
        }
    }
    form.add("resource", &record.resource);
    form.prove(&record.client);
    Some(form.0)
}

/// What of a sign-in lives at its server, and what that is called there.
fn living(record: &SignIn) -> impl Iterator<Item = (&Secret, &'static str)> {
    let renews = match &record.grant {
        Grant::Refresh(token) => Some((token, "refresh_token")),
        Grant::Code { .. } | Grant::Nothing => None,
    };
    let access = record.access.as_ref();
    let access = access.map(|access| (&access.token, "access_token"));
    renews.into_iter().chain(access)
}

/// The form that ends one token (RFC 7009).
fn revocation_form(client: &Client, token: &Secret, kind: &str) -> Zeroizing<String> {
    let mut form = Form(Zeroizing::new(String::with_capacity(4096)));
    form.add("token", token.expose());
    form.add("token_type_hint", kind);
    form.prove(client);
    form.0
}

struct Form(Zeroizing<String>);

impl Form {
    /// Who asks, where no header says it.
    fn prove(&mut self, client: &Client) {
        if client.auth != ClientAuth::ClientSecretBasic {
            self.add("client_id", &client.id);
        }
        if client.auth == ClientAuth::ClientSecretPost {
            self.add("client_secret", client.secret.expose());
        }
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encoded(value));
    }
}

/// As a form has it.
fn encoded(text: &str) -> Zeroizing<String> {
    // As large as it can get, so that nothing of it is left behind where it grew.
    let mut out = Zeroizing::new(String::with_capacity(3 * text.len()));
    out.extend(utf8_percent_encode(text, PLAIN));
    out
}

/// As `Authorization`; none where no header holds it.
fn bearer(token: &str) -> Option<HeaderValue> {
    let (_, value) = added(&Auth::Bearer, token).ok()?;
    (!token.is_empty()).then_some(value)
}

/// Second of the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod oracles;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_answers_are_those_of_the_protocol() {
        assert_eq!(&*encoded("a b+c/ä"), "a%20b%2Bc%2F%C3%A4");
        let text = r#"{"client":{"id":"p x","secret":"s","auth":"client_secret_post"},"resource":"https://a.example/mcp","grant":{"refresh":"r&1"}}"#;
        let record = SignIn::read(&Secret::new(text.into())).unwrap();
        assert_eq!(
            &**form(&record).unwrap(),
            "grant_type=refresh_token&refresh_token=r%261&resource=https%3A%2F%2Fa.example%2Fmcp&client_id=p%20x&client_secret=s"
        );
        let ended: Vec<_> = living(&record)
            .map(|(token, kind)| revocation_form(&record.client, token, kind).to_string())
            .collect();
        assert_eq!(
            ended,
            ["token=r%261&token_type_hint=refresh_token&client_id=p%20x&client_secret=s"]
        );
        let verdict =
            |status: StatusCode, body: &str| read(status, body.as_bytes()).err().map(|why| why.0);
        let good = r#"{"access_token":"t","token_type":"bearer","expires_in":60,"scope":"x"}"#;
        assert_eq!(verdict(StatusCode::OK, good), None);
        #[rustfmt::skip]
        let rows = [
            (StatusCode::OK, "{}", Verdict::Unreachable),
            (StatusCode::OK, r#"{"access_token":"t\n","token_type":"bearer"}"#, Verdict::Unreachable),
            (StatusCode::OK, r#"{"access_token":"t","token_type":"mac"}"#, Verdict::Unreachable),
            (StatusCode::BAD_REQUEST, r#"{"error":"invalid_grant"}"#, Verdict::Credential),
            (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#, Verdict::Credential),
            (StatusCode::BAD_REQUEST, r#"{"error":"temporarily_unavailable"}"#, Verdict::Unreachable),
            (StatusCode::BAD_GATEWAY, r#"{"error":"invalid_grant"}"#, Verdict::Unreachable),
        ];
        for (status, body, expected) in rows {
            assert_eq!(verdict(status, body), Some(expected), "{body}");
        }
    }
}
