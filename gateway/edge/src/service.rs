//! One listener's way from a request to an answer: guard, route, refusal where there is none.

use crate::{
    agent, authenticate, connections,
    edge::Edge,
    ends::Ends,
    guard::{self, Serves},
    reply::{self, Refused},
    throttle, unread,
};
use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use plexus_calls::{kernel::Phase, metrics::Metrics};
use plexus_protocol::{ErrorBody, ErrorCode, time::TIME_HEADER};
use std::{convert::Infallible, sync::Arc};
use tower::ServiceExt;

/// What one listener's requests go through. Clones are the same.
///
/// Guard and panics are met here and not by layers of the router: a layer costs every request a handful of boxes.
#[derive(Clone)]
pub(crate) struct ListenerService {
    edge: Arc<Edge>,
    serves: Serves,
    routes: Router,
}

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    pub(crate) peer: throttle::Peer,
    /// None over a Unix socket.
    pub(crate) ends: Option<Ends>,
}

/// The owner's routes, made elsewhere, by which listener serves them.
pub struct OwnerRoutes {
    /// Over TCP.
    pub tcp: Router,
    /// On the agents' socket: what is public.
    pub agents: Router,
    /// On the owner's socket.
    pub owner: Router,
}

impl ListenerService {
    /// What `serves` says, of the agents' routes and `owner`'s.
    pub(crate) fn new(edge: &Arc<Edge>, serves: Serves, owner: Router) -> Self {
        let agents = agent::routes().with_state(edge.clone());
        let routes = match serves {
            Serves::All | Serves::Agents => agents.merge(owner),
            Serves::Owner => owner,
        };
        let (nowhere, method) = (edge.clone(), edge.clone());
        Self {
            edge: edge.clone(),
            serves,
            routes: routes
                .fallback(move |request| unknown(nowhere, request))
                .method_not_allowed_fallback(move |request| unknown(method, request)),
        }
    }

    /// What counts its connections.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        self.edge.metrics.clone()
    }

    /// Answers one request of `client`; there is always an answer. If slots are scarce, `place` learns whether the
    /// peer shows who it is.
    pub(crate) async fn answer(
        self,
        client: Client,
        place: &connections::ConnectionSlot,
        request: hyper::Request<Incoming>,
    ) -> Result<Response, Infallible> {
        let (request, unread) = unread::watched(request);
        place.asked(|| authenticate::proves(&self.edge, request.headers()));
        let edge = self.edge.clone();
        let mut response = self.answered(client, request).await;
        // First: this may end while the rest of the body is read, where its connection is evicted.
        if let Some(reply::ReplyCode(code)) = response.extensions().get() {
            edge.metrics.refused(*code);
        }
        let is_refused = response.status().is_client_error() || response.status().is_server_error();
        if let Some(unread) = unread.filter(|_| is_refused) {
            unread.drain().await;
        }
        // By the machine's clock a client would show an hour's grant as one of a year.
        let ahead = edge.clock.now_ahead_of_wall();
        if let Some(Ok(now)) = ahead.map(|now| HeaderValue::from_str(&now.to_string())) {
            response.headers_mut().insert(TIME_HEADER, now);
        }
        Ok(response)
    }

    async fn answered(self, client: Client, mut request: Request) -> Response {
        if let Err(refused) = guard::judge(&self.edge, self.serves, &request) {
            return refused.into_response();
        }
        request.extensions_mut().insert(client.peer);
        if let Some(ends) = client.ends {
            request.extensions_mut().insert(ends);
        }
        request.extensions_mut().insert(self.serves);
        let uri = request.uri().clone();
        // No name here is other than UTF-8, and the router would refuse such a path in words of its own.
        let is_text = percent_decode_str(uri.path()).decode_utf8().is_ok();
        let (routes, edge) = (self.routes, self.edge.clone());
        let routed = async move {
            match is_text {
                true => routes.oneshot(request).await,
                false => Ok(unknown(edge, request).await.into_response()),
            }
        };
        let mut answer = match reply::or_panicked(uri.path(), routed).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        // Also one that was asked for before: who sends the next request opens a connection for it.
        if self.edge.phase() != Phase::Serving {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}

/// Any route that does not exist. Below the owner's prefixes the key comes first
/// (docs/protocol/README.md#host-and-origin).
pub async fn unknown(edge: Arc<Edge>, request: Request) -> Result<Response, Refused> {
    let path = request.uri().path().to_owned();
    let (method, peer) = (request.method().clone(), authenticate::peer(&request));
    let owners = ["/admin/api/", "/v1/admin/api/"]
        .iter()
        .any(|prefix| path.starts_with(prefix));
    if owners {
        authenticate::owner(&edge, request.headers(), peer).await?;
    }
    let mut error = ErrorBody::new(
        ErrorCode::UnknownCapability,
        if owners && method == axum::http::Method::GET {
            format!("No admin API route for GET {path}")
        } else {
            format!(
                "No route for {} {path}. Start at /.well-known/plexus.",
                method
            )
        },
    )
    .next("GET /.well-known/plexus");
    if !(owners && method == axum::http::Method::GET) {
        error = error.with("discovery", "/.well-known/plexus");
    }
    Err(Refused::new(error))
}
