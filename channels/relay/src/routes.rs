//! The routes of `docs/channels/protocol.md`, as functions of a [`Relay`].
//!
//! Invariants: who asks is settled before a body is read; every answer but an upgrade is JSON; every route, id and method that
//! is not there, or not for the caller, has the same answer; what a member asks for is in memory only while its bytes are
//! reserved ([`InFlight`](crate::in_flight::InFlight)).

use crate::channel::ActingDevice;
use crate::refusal::Refusal;
use crate::relay::{Cursor, Relay};
use crate::sessions::Session;
use crate::socket;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request, Response, StatusCode};
use axum::response::IntoResponse;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use plexus_channels::wire::{
    AddMember, AskChallenge, AskToken, Code, CreateChannel, Kind, PROTOCOL, Post, Register, Rename,
    Rotate, Status,
};
use plexus_channels::{Id, limits};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest body of somebody who has not shown who it is, in bytes.
const SMALL_BODY: usize = 16 << 10;
/// Bytes of an answer that shows one thing.
const ANSWER: usize = 4 << 10;
/// Bytes of one message in a page, at most.
const MESSAGE: usize = limits::CIPHERTEXT_BYTES / 3 * 4 + (2 << 10);
/// Bytes of a list whose length shows when it is built.
const LIST: usize = 1 << 20;
/// How long the body of a request may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// Answers one request.
pub(crate) async fn answer(
    relay: Arc<Relay>,
    from: IpAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let routed = route(&relay, from, &mut request).await;
    routed.unwrap_or_else(|refusal| refusal.into_response())
}

async fn route(
    relay: &Arc<Relay>,
    from: IpAddr,
    request: &mut Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let path = request.uri().path().to_owned();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let ["v1", rest @ ..] = segments.as_slice() else {
        return Err(Refusal::not_found());
    };
    // If several relays share a store, its health tells a balancer to choose another one.
    if !relay.store.is_current() {
        return Err(Refusal::no_store());
    }
    let method = request.method().clone();
    let open = match (method.as_str(), rest) {
        ("GET", ["health"]) => {
            let health = ok(&json!({"status": "ok", "protocol": PROTOCOL}))?;
            return Ok(health.into_response());
        }
        ("POST", ["register"]) => Open::Register,
        ("POST", ["auth", "challenge"]) => Open::Challenge,
        ("POST", ["auth", "token"]) => Open::Token,
        _ => return with_token(relay, request, &method, rest).await,
    };
    // A challenge costs no more than a refusal. What costs more is counted until it is found to be right.
    let network = network_of(relay.proxies.client(from, request.headers()));
    if !matches!(open, Open::Challenge) {
        let counted = relay.addresses.admit(network, Instant::now());
        counted.map_err(Refusal::rate_limited)?;
    }
    match open {
        Open::Register => {
            let (new, answer) = relay
                .register(small_body::<Register>(request).await?)
                .await?;
            relay.addresses.forgive(&network);
            Ok(made(new, &answer)?.into_response())
        }
        Open::Challenge => {
            let ask: AskChallenge = small_body(request).await?;
            Ok(ok(&relay.sessions.challenge(ask, Instant::now()))?.into_response())
        }
        Open::Token => {
            let ask: AskToken = small_body(request).await?;
            let known = |user, device| relay.device(user, device);
            let granted = relay.sessions.token(&ask, Instant::now(), known).await?;
            relay.addresses.forgive(&network);
            for token in granted.ended {
                relay.hub.end_token(granted.user, token);
            }
            Ok(ok(&granted.answer)?.into_response())
        }
    }
}

/// Who has an address, as far as an address says: one of IPv6 is one of 2^64 that somebody has.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(whole) => IpAddr::V6((whole.to_bits() & !u128::from(u64::MAX)).into()),
        four => four,
    }
}

enum Open {
    Register,
    Challenge,
    Token,
}

async fn with_token(
    relay: &Arc<Relay>,
    request: &mut Request<Incoming>,
    method: &Method,
    path: &[&str],
) -> Result<Response<Body>, Refusal> {
    let session = session(relay, request).ok_or_else(Refusal::unauthorized)?;
    let by = session.by;
    let counted = relay.devices.admit(by.device, Instant::now());
    counted.map_err(Refusal::rate_limited)?;
    let query = query(request)?;
    match (method.as_str(), path) {
        ("GET", ["events"]) => return socket::upgrade(relay, &session, request).await,
        ("DELETE", ["auth", "token"]) => {
            relay.sessions.end(&session);
            relay.hub.end_token(by.user, session.token);
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        _ => {}
    }
    let bytes = bytes_of(request, method, path, &query);
    let reserved = relay.in_flight.reserve(by.user, bytes).await?;
    let Reply { status, json } = of_member(relay, by, request, (method, path), &query).await?;
    Ok(json_response(status, reserved.answer(json).into()))
}

/// Bytes that a request and its answer need, as far as they show before.
fn bytes_of(
    request: &Request<Incoming>,
    method: &Method,
    path: &[&str],
    query: &Map<String, Value>,
) -> usize {
    let most = limits::BODY_BYTES as u64;
    let body = request.body().size_hint().upper().unwrap_or(most).min(most);
    let answer = match (method.as_str(), path) {
        ("GET", ["channels", _, "messages"]) => {
            let limit = text(query, "limit").and_then(|limit| limit.parse().ok());
            limit.unwrap_or(limits::PAGE).min(limits::LARGEST_PAGE) * MESSAGE
        }
        ("GET", ["users" | "agents" | "humans" | "channels"] | ["channels", _, "keys"]) => LIST,
        _ => ANSWER,
    };
    usize::try_from(body).unwrap_or(limits::BODY_BYTES) + answer
}

async fn of_member(
    relay: &Arc<Relay>,
    by: ActingDevice,
    request: &mut Request<Incoming>,
    (method, path): (&Method, &[&str]),
    query: &Map<String, Value>,
) -> Result<Reply, Refusal> {
    let kind = |word: &str| match word {
        "agents" => Some(Kind::Agent),
        "humans" => Some(Kind::Human),
        _ => None,
    };
    match (method.as_str(), path) {
        ("GET", ["me"]) => ok(&relay.me(by).await?),
        ("GET", ["users"]) => {
            let after = text(query, "after_id").map(str::parse).transpose();
            let after = after.map_err(|_| Refusal::invalid("a cursor is an id"))?;
            ok(&relay.users_after(by, after.unwrap_or(Id::ZERO)).await?)
        }
        ("GET", [users @ ("agents" | "humans")]) => {
            let kind = kind(users).unwrap_or(Kind::Agent);
            ok(&json!({*users: relay.users(by, kind).await?}))
        }
        ("GET", [users @ ("agents" | "humans"), id]) => {
            let kind = kind(users).unwrap_or(Kind::Agent);
            ok(&relay.user(by, kind, parsed(id)?).await?)
        }
        ("GET", ["channels"]) => {
            let status = match text(query, "status") {
                None => None,
                Some("active") => Some(Status::Active),
                Some("archived") => Some(Status::Archived),
                Some(_) => return Err(Refusal::invalid("status is active or archived")),
            };
            ok(&json!({"channels": relay.list(by, status).await?}))
        }
        ("POST", ["channels"]) => {
            let create: CreateChannel = body(request).await?;
            let (new, answer) = relay.create(by, create).await?;
            made(new, &answer)
        }
        (_, ["channels", id, rest @ ..]) => {
            let id = parsed(id)?;
            match (method.as_str(), rest) {
                ("GET", []) => ok(&relay.channel(by, id).await?),
                ("PATCH", []) => {
                    let rename: Rename = body(request).await?;
                    ok(&relay.rename(by, id, rename.name).await?)
                }
                ("POST", ["archive"]) => ok(&relay.archive(by, id, true).await?),
                ("POST", ["unarchive"]) => ok(&relay.archive(by, id, false).await?),
                ("POST", ["members"]) => {
                    let add: AddMember = body(request).await?;
                    ok(&relay.add(by, id, add).await?)
                }
                ("DELETE", ["members", "me"]) => ok(&relay.remove(by, id, by.user).await?),
                ("DELETE", ["members", user]) => ok(&relay.remove(by, id, parsed(user)?).await?),
                ("GET", ["keys"]) => {
                    let after = text(query, "after_version").map(str::parse).transpose();
                    let after = after.map_err(|_| Refusal::invalid("after_version is a number"))?;
                    ok(&relay.keys(by, id, after.unwrap_or(0)).await?)
                }
                ("POST", ["keys"]) => {
                    let rotate: Rotate = body(request).await?;
                    let (new, answer) = relay.rotate(by, id, rotate).await?;
                    made(new, &answer)
                }
                ("POST", ["messages"]) => {
                    let post: Post = body(request).await?;
                    let (new, message) = relay.post(by, id, post).await?;
                    Ok(Reply {
                        status: status(new),
                        json: message.into(),
                    })
                }
                ("GET", ["messages"]) => {
                    let (cursor, limit) = cursor(query)?;
                    ok(&relay.history(by, id, cursor, limit).await?)
                }
                ("POST", ["join_requests"]) => {
                    relay.ask_to_join(by, id).await?;
                    Ok(Reply {
                        status: StatusCode::ACCEPTED,
                        json: "{}".into(),
                    })
                }
                ("GET", ["join_requests"]) => {
                    let asking = relay.join_requests(by, id).await?;
                    ok(&json!({"join_requests": asking}))
                }
                _ => Err(Refusal::not_found()),
            }
        }
        _ => Err(Refusal::not_found()),
    }
}

fn session(relay: &Relay, request: &Request<Incoming>) -> Option<Session> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let token = header.strip_prefix("Bearer ")?;
    relay.sessions.of(token, Instant::now())
}

/// An id in a path: what is none leads nowhere.
fn parsed(id: &str) -> Result<Id, Refusal> {
    id.parse().map_err(|_| Refusal::not_found())
}

fn query(request: &Request<Incoming>) -> Result<Map<String, Value>, Refusal> {
    let mut query = Map::new();
    for pair in request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty())
    {
        // No value of this protocol needs an escape.
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if query.insert(key.to_owned(), value.into()).is_some() {
            return Err(Refusal::invalid("a parameter stands twice"));
        }
    }
    Ok(query)
}

fn text<'a>(query: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    query.get(key).and_then(Value::as_str)
}

fn cursor(query: &Map<String, Value>) -> Result<(Cursor, usize), Refusal> {
    let limit = match text(query, "limit").map(str::parse) {
        None => limits::PAGE,
        Some(Ok(limit)) if (1..=limits::LARGEST_PAGE).contains(&limit) => limit,
        Some(_) => return Err(Refusal::invalid("limit is 1 to 200")),
    };
    let id = |key| match text(query, key).map(str::parse::<Id>) {
        None => Ok(None),
        Some(Ok(id)) => Ok(Some(id)),
        Some(Err(_)) => Err(Refusal::invalid("a cursor is an id")),
    };
    let cursor = match (id("after_id")?, id("before_id")?) {
        (None, None) => Cursor::Newest,
        (Some(after), None) => Cursor::After(after),
        (None, Some(before)) => Cursor::Before(before),
        (Some(_), Some(_)) => {
            return Err(Refusal::invalid(
                "after_id and before_id exclude each other",
            ));
        }
    };
    Ok((cursor, limit))
}

/// The body of a request: one JSON object of at most 1 MiB.
async fn body<T: DeserializeOwned>(request: &mut Request<Incoming>) -> Result<T, Refusal> {
    bounded(request, limits::BODY_BYTES).await
}

/// The body of somebody who has not shown who it is.
async fn small_body<T: DeserializeOwned>(request: &mut Request<Incoming>) -> Result<T, Refusal> {
    bounded(request, SMALL_BODY).await
}

async fn bounded<T: DeserializeOwned>(
    request: &mut Request<Incoming>,
    most: usize,
) -> Result<T, Refusal> {
    let read = Limited::new(request.body_mut(), most).collect();
    let read = tokio::time::timeout(BODY_PATIENCE, read).await;
    let bytes = match read {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(why)) if why.is::<LengthLimitError>() => {
            return Err(Refusal::new(Code::TooLarge, "the body is too large"));
        }
        Ok(Err(_)) | Err(_) => return Err(Refusal::invalid("the body did not come")),
    };
    let object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let parsed = object
        .then(|| serde_json::from_slice(&bytes).ok())
        .flatten();
    parsed.ok_or_else(|| Refusal::invalid("the body is not the JSON object that this route takes"))
}

const fn status(new: bool) -> StatusCode {
    if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    }
}

/// An answer before it is on its way.
struct Reply {
    status: StatusCode,
    json: Vec<u8>,
}

fn ok(answer: &impl Serialize) -> Result<Reply, Refusal> {
    made(false, answer)
}

fn made(new: bool, answer: &impl Serialize) -> Result<Reply, Refusal> {
    let json = serde_json::to_vec(answer).map_err(|_| Refusal::unavailable())?;
    let status = status(new);
    Ok(Reply { status, json })
}

fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response<Body> {
        json_response(self.status, self.json.into())
    }
}
