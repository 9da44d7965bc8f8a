//! One request to the server, by way of the source's egress, which adds the password and TLS; and why there is no answer
//! of use.
//!
//! Must not know: what a request is about.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::{Request, StatusCode, header::HeaderName};
use plexus_egress_client::{Answer, EgressClient, NoAnswer};
use plexus_ipc::worker::EgressAccess;
use plexus_protocol::Effect;
use std::time::Duration;

/// How long the server may take for one request, to the last byte of its answer.
const WITHIN: Duration = Duration::from_secs(25);
/// Largest answer, in MiB.
const MOST: usize = 24;

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

impl From<NoAnswer> for Failure {
    fn from(why: NoAnswer) -> Self {
        match why {
            NoAnswer::NoWay(words) => Self::NoWay(words),
            // This connector pins none.
            NoAnswer::Certificate { .. } => Self::NoWay(why.to_string()),
            NoAnswer::Broken => Self::Broken,
            NoAnswer::Stalled => Self::Stalled,
            NoAnswer::TooLarge(_) => Self::TooLarge,
        }
    }
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

    /// Whether it is one of the account as a whole, whichever calendar was asked.
    pub(crate) fn is_of_account(&self) -> bool {
        self.is(StatusCode::UNAUTHORIZED) || matches!(self, Self::NoWay(_))
    }

    pub(crate) fn is(&self, status: StatusCode) -> bool {
        matches!(self, Self::Status(found, _) if *found == status)
    }
}

/// The answer, where the server did what it was asked to.
pub(crate) fn done(answer: Answer) -> Result<Answer, Failure> {
    match answer.status.is_success() {
        true => Ok(answer),
        false => Err(Failure::Status(answer.status, answer.retry_after())),
    }
}

/// The way to the server.
#[derive(Debug)]
pub(crate) struct Http(EgressClient);

impl Http {
    /// `user` may be anything to the egress. The credential goes as a password: what else answers at that port is a server
    /// in a test.
    pub(crate) fn new(egress: &EgressAccess, user: &str) -> Option<Self> {
        let both = format!("{user}:{}", egress.credential.expose());
        let basic = format!("Basic {}", BASE64_STANDARD.encode(both));
        EgressClient::opened_by(egress, &basic, WITHIN, MOST).map(Self)
    }

    /// Sends `method` for `path`, which is canonical ([`crate::server::canonical`]).
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: String,
    ) -> Result<Answer, Failure> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let request = request.body(body.into());
        let request = request.map_err(|_| Failure::Unreadable("an address that is none"))?;
        Ok(self.0.send(request).await?)
    }
}
