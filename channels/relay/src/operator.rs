//! The operator's socket: who may register, and who is removed.
//!
//! Invariants: it serves this relay's own user alone; an act that was asked for goes on where its command breaks off.

use crate::refusal::Refusal;
use crate::relay::Relay;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::response::IntoResponse as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plexus_channels::Id;
use plexus_channels::wire::Kind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

const DAY: u64 = 86_400;
const BODY_BYTES: usize = 64 << 10;
/// Where an [`Invite`] goes.
pub const INVITATIONS: &str = "/invitations";
/// Where a [`Remove`] goes.
pub const REMOVALS: &str = "/removals";

/// An invitation that the operator asks for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Invite {
    /// The organization's name; it is made where there is none.
    pub organization: String,
    /// Agent or human.
    pub kind: Kind,
    /// How many may register.
    pub uses: u32,
    /// Days until it expires.
    pub days: u32,
}

/// A removal that the operator asks for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// Whom, with their device.
    pub user: Id,
}

/// The operator's socket, bound.
pub struct Operator {
    listener: UnixListener,
    /// Those who run as this relay's user.
    own: u32,
}

impl Operator {
    /// Binds the socket beside the store.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn to(path: &Path) -> io::Result<Self> {
        // What an earlier relay on this store left; anything else in its place is kept, and refuses the bind.
        let left = std::fs::symlink_metadata(path).is_ok_and(|left| left.file_type().is_socket());
        if left {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        let own = std::fs::metadata(path)?.uid();
        Ok(Self { listener, own })
    }

    /// Serves the operator for as long as it is polled. Only this user is answered.
    pub async fn serve(self, relay: Arc<Relay>) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(why) => {
                    tracing::warn!(name: "listen.accept_failed", %why, "the operator was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let is_own = stream.peer_cred().is_ok_and(|peer| peer.uid() == self.own);
            if !is_own {
                continue;
            }
            let relay = Arc::clone(&relay);
            let service = service_fn(move |request| {
                let relay = Arc::clone(&relay);
                async move { Ok::<_, Infallible>(answer(relay, request).await) }
            });
            tokio::spawn(async move {
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A command that breaks off has broken off.
                let _ = served.await;
            });
        }
    }
}

async fn answer(relay: Arc<Relay>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), BODY_BYTES);
    let Ok(body) = body.collect().await else {
        return Refusal::invalid("the body did not come").into_response();
    };
    let body = body.to_bytes();
    let acting = tokio::spawn(async move {
        match path.as_str() {
            INVITATIONS => invite(&relay, parsed(&body)?).await,
            REMOVALS => remove(&relay, parsed(&body)?).await,
            _ => Err(Refusal::not_found()),
        }
    });
    match acting.await {
        Ok(Ok(done)) => axum::Json(done).into_response(),
        Ok(Err(refusal)) => refusal.into_response(),
        Err(_) => Refusal::unavailable().into_response(),
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    let parsed = serde_json::from_slice(body);
    parsed.map_err(|_| Refusal::invalid("the body is not what this route takes"))
}

async fn invite(relay: &Relay, asked: Invite) -> Result<Value, Refusal> {
    let fits = (1..=80).contains(&asked.organization.chars().count());
    if !fits || asked.uses == 0 || asked.days == 0 {
        let why = "an organization's name has 1 to 80 characters; uses and days are at least 1";
        return Err(Refusal::invalid(why));
    }
    let valid = Duration::from_secs(u64::from(asked.days) * DAY);
    let made = relay.invite(&asked.organization, asked.kind, asked.uses, valid);
    let (key, founded) = made.await?;
    Ok(json!({"invitation_key": key, "founded": founded}))
}

async fn remove(relay: &Relay, asked: Remove) -> Result<Value, Refusal> {
    let removed = relay.remove_user(asked.user).await?;
    tracing::info!(name: "user.removed", user = %asked.user, channels = removed.channels, "a user was removed");
    Ok(json!(removed))
}
