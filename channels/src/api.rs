//! [`Api`]: the REST routes of a relay, and the login that they need.
//!
//! Invariants: a token stays in memory and is never printed; a request that met an expired token is sent once more after
//! a login; an answer is bounded in bytes and time. A request on a connection that was kept open, and that died before an
//! answer came, is sent once more on a fresh one: every act of the protocol may be repeated. One that the relay refuses as one
//! too many waits for as long as it says, up to 5 s: many at once are no failure.
//!
//! Must not know: what is encrypted in what it carries.

use crate::crypto::{CryptoError, DeviceKey, Login, PublicKey};
use crate::dial::{Dial, Endpoint, Stream};
use crate::wire::{
    AddMember, AskChallenge, AskToken, Challenge, Channel, Code, CreateChannel, ErrorBody, Keys,
    Me, Member, Message, Name, Page, Post, Profile, Refusal, Register, Registered, Rename, Rotate,
    Status, Token, UserPage,
};
use crate::{Base64Url, Id, limits};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use zeroize::Zeroizing;

/// How long a relay may take to begin its answer: half of what a client waits for the gateway, so that the client hears of it.
const BEGINS: Duration = Duration::from_secs(15);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer. A page of 200 of the largest messages is 13 MiB.
const ANSWER_BYTES: usize = 64 << 20;
/// Attempts at a login whose challenge the relay does not know: it was started again, or another one answered.
const LOGINS: usize = 4;
/// Of a relay with a certificate.
const NO_HTTP: &str =
    "it does not speak plain HTTP: the address of a relay with a certificate begins with https://";
/// How long a request waits that the relay takes later.
const WAITS: Duration = Duration::from_secs(5);
/// Connections that are kept.
const KEPT: usize = 4;
/// Requests at once; further ones wait. With those kept and that of the events they are fewer than a worker may have open.
const AT_ONCE: usize = 8;

/// Why a request has no answer that was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// The relay refuses.
    #[error("the relay refuses: {}", .0.message.escape_debug())]
    Refused(Refusal),
    /// The relay asks for a pause.
    #[error("the relay asks to wait {} s", .0.as_secs())]
    RateLimited(Duration),
    /// Not reached, or it went away, or it has nothing to say. Whether it acted is unknown.
    #[error("the relay at {endpoint} was not reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// What happened.
        why: String,
    },
    /// An answer that is not of this protocol.
    #[error("the relay answers what is not of this protocol: {0}")]
    Malformed(String),
}

impl ApiError {
    /// The code of a refusal.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::RateLimited(_) => Some(Code::RateLimited),
            Self::Unreachable { .. } | Self::Malformed(_) => None,
        }
    }

    /// Whether the relay has judged this very request: it did not act, and would not. Anything else, such as a login that is
    /// refused, says nothing about the request.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        let Self::Refused(refusal) = self else {
            return false;
        };
        !matches!(
            refusal.code,
            Code::Unavailable
                | Code::Unknown
                | Code::Unauthorized
                | Code::InvalidProof
                | Code::UnknownChallenge
        )
    }

    /// Whether the relay may have carried out the request although it did not say so.
    #[must_use]
    pub const fn may_have_acted(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Malformed(_) => true,
            Self::RateLimited(_) => false,
            Self::Refused(refusal) => matches!(refusal.code, Code::Unavailable | Code::Unknown),
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::RateLimited(_))
            || matches!(
                self.code(),
                Some(Code::Unavailable | Code::Unknown | Code::UnknownChallenge)
            )
    }
}

/// Who logs in.
pub struct Credentials {
    /// The user.
    pub agent_id: Id,
    /// The device.
    pub device_id: Id,
    /// Its key.
    pub key: Arc<DeviceKey>,
}

impl Credentials {
    /// The answer to a challenge: who answers, and the proof that it is this device.
    ///
    /// # Errors
    /// Where the relay's key is none.
    pub fn prove(&self, challenge: &Challenge) -> Result<AskToken, CryptoError> {
        let server = PublicKey::from_bytes(&challenge.server_public_key.0)?;
        let proof = self.key.prove(&Login {
            challenge_id: challenge.challenge_id,
            agent_id: self.agent_id,
            device_id: self.device_id,
            nonce: &challenge.nonce.0,
            server_public_key: &server,
            device_public_key: self.key.public(),
        });
        Ok(AskToken {
            challenge_id: challenge.challenge_id,
            proof: Base64Url(proof.to_vec()),
            by: self.asking(),
        })
    }

    /// Who asks for a challenge.
    #[must_use]
    pub const fn asking(&self) -> AskChallenge {
        AskChallenge {
            agent_id: self.agent_id,
            device_id: self.device_id,
        }
    }
}

/// A relay's routes, for one device.
pub struct Api {
    endpoint: Endpoint,
    dial: Arc<dyn Dial>,
    credentials: Option<Credentials>,
    token: Mutex<Option<Zeroizing<String>>>,
    kept: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    /// For requests under way.
    turns: Semaphore,
}

#[derive(Deserialize)]
struct ListReply<T> {
    #[serde(
        alias = "agents",
        alias = "humans",
        alias = "channels",
        alias = "join_requests"
    )]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct OneMessage {
    message: Message,
}

/// The answer to a created channel.
#[derive(Debug, Deserialize)]
pub struct Created {
    /// The channel.
    pub channel: Channel,
    /// Its opening message, where there was one.
    #[serde(default)]
    pub message: Option<Message>,
}

/// Where a page of history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The newest messages.
    Newest,
    /// The first ones after this id.
    After(Id),
    /// The last ones before this id.
    Before(Id),
}

/// The users of an organization, page after page.
pub struct UserPages<'a> {
    api: &'a Api,
    /// Nothing behind the last page.
    after: Option<Id>,
    many: usize,
}

impl UserPages<'_> {
    /// Whether a page was not read yet.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.after.is_some()
    }

    /// `GET /users`: the next page; nothing behind the last one. A relay of before answers with `GET /agents` and `GET /humans`
    /// as one page.
    ///
    /// # Errors
    /// As every request; `Malformed` where the pages do not rise, or do not end.
    pub async fn next(&mut self) -> Result<Option<Vec<Profile>>, ApiError> {
        let Some(after) = self.after.take() else {
            return Ok(None);
        };
        let page = self.api.get(&format!("/v1/users?after_id={after}")).await;
        let UserPage { users, has_more } = match page {
            Err(before) if before.code() == Some(Code::NotFound) && self.many == 0 => {
                let mut users: ListReply<Profile> = self.api.get("/v1/agents").await?;
                let humans: ListReply<Profile> = self.api.get("/v1/humans").await?;
                users.items.extend(humans.items);
                return Ok(Some(users.items));
            }
            page => page?,
        };
        self.many += users.len();
        let rises = users.is_sorted_by(|one, next| one.id < next.id);
        let rises = rises && users.first().is_none_or(|first| first.id > after);
        if !rises || (has_more && users.is_empty()) || self.many > limits::USERS {
            let why = "a page of users that was not asked for, or too many of them";
            return Err(ApiError::Malformed(why.to_owned()));
        }
        self.after = users.last().map(|last| last.id).filter(|_| has_more);
        Ok(Some(users))
    }
}

impl Api {
    /// The routes of a relay; without credentials only those that need no token.
    #[must_use]
    pub fn new(endpoint: Endpoint, dial: Arc<dyn Dial>, credentials: Option<Credentials>) -> Self {
        Self {
            endpoint,
            dial,
            credentials,
            token: Mutex::default(),
            kept: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// Where the relay is.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A stream to the relay, for events.
    pub(crate) async fn dial(&self) -> std::io::Result<Box<dyn Stream>> {
        self.dial.dial(&self.endpoint).await
    }

    /// The token of this login, or of a new one.
    ///
    /// # Errors
    /// As every request; `invalid_proof` where the relay does not know the device's key.
    pub async fn token(&self) -> Result<Zeroizing<String>, ApiError> {
        let held = lock(&self.token).clone();
        match held {
            Some(token) => Ok(token),
            None => self.login().await,
        }
    }

    /// Forgets the token: the next request logs in.
    pub fn forget_token(&self) {
        lock(&self.token).take();
    }

    async fn login(&self) -> Result<Zeroizing<String>, ApiError> {
        let Some(who) = &self.credentials else {
            return Err(ApiError::Malformed("a login without an identity".into()));
        };
        let mut attempts = 1;
        loop {
            match self.login_once(who).await {
                Err(unknown)
                    if unknown.code() == Some(Code::UnknownChallenge) && attempts < LOGINS =>
                {
                    attempts += 1;
                }
                other => return other,
            }
        }
    }

    async fn login_once(&self, who: &Credentials) -> Result<Zeroizing<String>, ApiError> {
        let asking = who.asking();
        let challenge = self.open_post("/v1/auth/challenge", &asking).await?;
        let answer = who.prove(&challenge);
        let answer = answer.map_err(|why| ApiError::Malformed(why.to_string()))?;
        let token: Token = self.open_post("/v1/auth/token", &answer).await?;
        let token = Zeroizing::new(token.access_token);
        *lock(&self.token) = Some(token.clone());
        Ok(token)
    }

    /// `POST /register`.
    ///
    /// # Errors
    /// As every request.
    pub async fn register(&self, register: &Register) -> Result<Registered, ApiError> {
        self.open_post("/v1/register", register).await
    }

    /// `GET /me`.
    ///
    /// # Errors
    /// As every request.
    pub async fn me(&self) -> Result<Me, ApiError> {
        self.get("/v1/me").await
    }

    /// All users; [`users_after`](Self::users_after) has them page by page.
    ///
    /// # Errors
    /// As every request.
    pub async fn users(&self) -> Result<Vec<Profile>, ApiError> {
        let (mut users, mut pages) = (Vec::new(), self.users_after(Id::ZERO));
        while let Some(page) = pages.next().await? {
            users.extend(page);
        }
        Ok(users)
    }

    /// Users with greater ids than this one, in pages.
    #[must_use]
    pub const fn users_after(&self, after: Id) -> UserPages<'_> {
        UserPages {
            api: self,
            after: Some(after),
            many: 0,
        }
    }

    /// `GET /agents/{id}`, else `GET /humans/{id}`.
    ///
    /// # Errors
    /// As every request.
    pub async fn user(&self, id: Id) -> Result<Profile, ApiError> {
        match self.get(&format!("/v1/agents/{id}")).await {
            Err(error) if error.code() == Some(Code::NotFound) => {
                self.get(&format!("/v1/humans/{id}")).await
            }
            other => other,
        }
    }

    /// `GET /channels`.
    ///
    /// # Errors
    /// As every request.
    pub async fn channels(&self, status: Option<Status>) -> Result<Vec<Channel>, ApiError> {
        let path = match status {
            None => "/v1/channels",
            Some(Status::Active) => "/v1/channels?status=active",
            Some(Status::Archived) => "/v1/channels?status=archived",
        };
        Ok(self.get::<ListReply<Channel>>(path).await?.items)
    }

    /// `GET /channels/{id}`.
    ///
    /// # Errors
    /// As every request.
    pub async fn channel(&self, id: Id) -> Result<Channel, ApiError> {
        self.get(&format!("/v1/channels/{id}")).await
    }

    /// `POST /channels`.
    ///
    /// # Errors
    /// As every request.
    pub async fn create(&self, create: &CreateChannel) -> Result<Created, ApiError> {
        self.send(Method::POST, "/v1/channels", Some(create)).await
    }

    /// `PATCH /channels/{id}`.
    ///
    /// # Errors
    /// As every request.
    pub async fn rename(&self, id: Id, name: Name) -> Result<Channel, ApiError> {
        let path = format!("/v1/channels/{id}");
        self.send(Method::PATCH, &path, Some(&Rename { name }))
            .await
    }

    /// `POST /channels/{id}/archive` or `/unarchive`.
    ///
    /// # Errors
    /// As every request.
    pub async fn archive(&self, id: Id, archived: bool) -> Result<Channel, ApiError> {
        let act = if archived { "archive" } else { "unarchive" };
        let path = format!("/v1/channels/{id}/{act}");
        self.send(Method::POST, &path, Some(&json!({}))).await
    }

    /// `POST /channels/{id}/members`.
    ///
    /// # Errors
    /// As every request.
    pub async fn add_member(&self, id: Id, add: &AddMember) -> Result<Channel, ApiError> {
        let path = format!("/v1/channels/{id}/members");
        self.send(Method::POST, &path, Some(add)).await
    }

    /// `DELETE /channels/{id}/members/{user_id}`.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_member(&self, id: Id, user_id: Id) -> Result<Channel, ApiError> {
        let path = format!("/v1/channels/{id}/members/{user_id}");
        self.send(Method::DELETE, &path, None::<&()>).await
    }

    /// `GET /channels/{id}/keys`: the wraps, and key states behind a version; 0 for all.
    ///
    /// # Errors
    /// As every request.
    pub async fn keys(&self, id: Id, after_version: u32) -> Result<Keys, ApiError> {
        let path = format!("/v1/channels/{id}/keys?after_version={after_version}");
        self.get(&path).await
    }

    /// `POST /channels/{id}/keys`.
    ///
    /// # Errors
    /// As every request.
    pub async fn rotate(&self, id: Id, rotate: &Rotate) -> Result<Channel, ApiError> {
        let path = format!("/v1/channels/{id}/keys");
        self.send(Method::POST, &path, Some(rotate)).await
    }

    /// `POST /channels/{id}/messages`.
    ///
    /// # Errors
    /// As every request.
    pub async fn post(&self, id: Id, post: &Post) -> Result<Message, ApiError> {
        let path = format!("/v1/channels/{id}/messages");
        let sent: OneMessage = self.send(Method::POST, &path, Some(post)).await?;
        Ok(sent.message)
    }

    /// `GET /channels/{id}/messages`.
    ///
    /// # Errors
    /// As every request.
    pub async fn history(&self, id: Id, cursor: Cursor, limit: usize) -> Result<Page, ApiError> {
        let from = match cursor {
            Cursor::Newest => String::new(),
            Cursor::After(id) => format!("&after_id={id}"),
            Cursor::Before(id) => format!("&before_id={id}"),
        };
        let path = format!("/v1/channels/{id}/messages?limit={limit}{from}");
        self.get(&path).await
    }

    /// `POST /channels/{id}/join_requests`.
    ///
    /// # Errors
    /// As every request; the relay does not say whether there is such a channel.
    pub async fn ask_to_join(&self, id: Id) -> Result<(), ApiError> {
        let path = format!("/v1/channels/{id}/join_requests");
        let _: serde_json::Value = self.send(Method::POST, &path, Some(&json!({}))).await?;
        Ok(())
    }

    /// `GET /channels/{id}/join_requests`.
    ///
    /// # Errors
    /// As every request.
    pub async fn join_requests(&self, id: Id) -> Result<Vec<Member>, ApiError> {
        let path = format!("/v1/channels/{id}/join_requests");
        Ok(self.get::<ListReply<Member>>(&path).await?.items)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.send(Method::GET, path, None::<&()>).await
    }

    async fn open_post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        self.exchange(Method::POST, path, encoded(Some(body))?, None)
            .await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ApiError> {
        let (body, began) = (encoded(body)?, Instant::now());
        loop {
            let sent = self.send_now(method.clone(), path, body.clone()).await;
            let Err(ApiError::RateLimited(pause)) = sent else {
                return sent;
            };
            let pause = pause.max(Duration::from_secs(1));
            if began.elapsed().saturating_add(pause) > WAITS {
                return sent;
            }
            sleep(pause).await;
        }
    }

    async fn send_now<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ApiError> {
        let token = self.token().await?;
        let sent = self
            .exchange(method.clone(), path, body.clone(), Some(&token))
            .await;
        match sent {
            Err(error) if error.code() == Some(Code::Unauthorized) => {
                self.forget_token();
                let token = self.token().await?;
                self.exchange(method, path, body, Some(&token)).await
            }
            other => other,
        }
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<T, ApiError> {
        let begins = Instant::now() + BEGINS;
        let turn = timeout_at(begins, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| self.silent())?;
        let exchange = async {
            let kept = lock(&self.kept).pop();
            if let Some(connection) = kept.filter(|connection| !connection.is_closed()) {
                let request = self.request(&method, path, body.clone(), token)?;
                match self.carry(connection, request, begins).await {
                    Err(ApiError::Unreachable { .. }) if Instant::now() < begins => {}
                    other => return other,
                }
            }
            let request = self.request(&method, path, body, token)?;
            let connection = timeout_at(begins, self.connect()).await;
            self.carry(connection.map_err(|_| self.silent())??, request, begins)
                .await
        };
        let (status, pause, bytes) = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| self.unreachable("no whole answer in 30 s"))??;
        if status < 300 {
            let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
            return serde_json::from_slice(bytes).map_err(|e| ApiError::Malformed(e.to_string()));
        }
        if status == 429 {
            return Err(ApiError::RateLimited(Duration::from_secs(pause)));
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => Err(ApiError::Refused(body.error)),
            Err(_) if status >= 500 => Err(self.unreachable(&format!("status {status}"))),
            Err(_) => Err(ApiError::Malformed(format!("status {status}"))),
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        body: Bytes,
        token: Option<&str>,
    ) -> Result<Request<Full<Bytes>>, ApiError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.endpoint.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        request
            .body(Full::new(body))
            .map_err(|why| ApiError::Malformed(why.to_string()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        let unreachable = |why: &dyn std::fmt::Display| self.unreachable(&why.to_string());
        let stream = self.dial().await.map_err(|why| unreachable(&why))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|why| unreachable(&why))?;
        tokio::spawn(async move {
            // Its requests say what went wrong with it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    async fn carry(
        &self,
        mut connection: SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
        begins: Instant,
    ) -> Result<(u16, u64, Bytes), ApiError> {
        let unreachable = |why: &dyn std::fmt::Display| self.unreachable(&why.to_string());
        let answer = timeout_at(begins, async {
            connection.ready().await?;
            connection.send_request(request).await
        });
        let answer = answer.await.map_err(|_| self.silent())?;
        let answer = answer.map_err(|why: hyper::Error| match why.is_parse() {
            true if !self.endpoint.tls() => self.unreachable(NO_HTTP),
            _ => unreachable(&why),
        })?;
        let status = answer.status().as_u16();
        let pause = answer.headers().get(RETRY_AFTER);
        let pause = pause.and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES)
            .collect()
            .await
            .map_err(|why| unreachable(&why))?
            .to_bytes();
        let mut kept = lock(&self.kept);
        if kept.len() < KEPT && !connection.is_closed() {
            kept.push(connection);
        }
        Ok((status, pause.unwrap_or(1), bytes))
    }

    fn silent(&self) -> ApiError {
        self.unreachable(&format!("no answer in {} s", BEGINS.as_secs()))
    }

    fn unreachable(&self, why: &str) -> ApiError {
        ApiError::Unreachable {
            endpoint: self.endpoint.to_string(),
            why: why.to_owned(),
        }
    }
}

/// The value of the header that carries a token.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, ApiError> {
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| ApiError::Malformed("a token that no header holds".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn encoded(body: Option<&impl Serialize>) -> Result<Bytes, ApiError> {
    body.map_or_else(
        || Ok(Bytes::new()),
        |body| {
            let bytes = serde_json::to_vec(body);
            bytes
                .map(Bytes::from)
                .map_err(|why| ApiError::Malformed(why.to_string()))
        },
    )
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dial::Dialing;
    use tokio::io::DuplexStream;

    /// A relay that takes connections, and answers nothing.
    #[derive(Default)]
    struct HangingRelay(Mutex<Vec<DuplexStream>>);

    impl Dial for HangingRelay {
        fn dial<'a>(&'a self, _: &'a Endpoint) -> Dialing<'a> {
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            lock(&self.0).push(theirs);
            Box::pin(async move { Ok(Box::new(ours) as Box<dyn Stream>) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn relay_that_hangs_is_named_before_clients_give_up() {
        let endpoint = Endpoint::parse("http://127.0.0.1:1").expect("an address");
        let api = Api::new(endpoint, Arc::new(HangingRelay::default()), None);
        let began = Instant::now();
        let health = api.exchange::<()>(Method::GET, "/v1/health", Bytes::new(), None);
        let error = health.await.expect_err("no answer");
        assert_eq!(
            error.to_string(),
            "the relay at http://127.0.0.1:1 was not reached: no answer in 15 s"
        );
        assert_eq!(began.elapsed().as_secs(), 15);
    }
}
