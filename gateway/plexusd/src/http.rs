//! HTTP: who may reach what, and how an answer looks. One file per resource.
//!
//! ```text
//! connection ▸ guard (Host, Origin) ▸ route ▸ owner's key on owner routes ▸ body ▸ the route's own credential ▸ act
//! ```
//! Invariants: the guard comes before everything, unknown routes included; agent routes and owner routes are two
//! routers, and each Unix socket serves one of them; a refusal is always the wire's error shape.

pub(crate) mod acting;
pub(crate) mod address;
pub(crate) mod authenticate;
pub(crate) mod grant_reply;
pub(crate) mod guard;
pub(crate) mod listen;
pub(crate) mod reply;
pub(crate) mod revocation;
pub(crate) mod sse;
mod stall;
pub(crate) mod stream;
pub(crate) mod throttle;

mod agent;
pub(crate) use agent::discovery;
mod integration;
pub(crate) mod owner;
mod places;

use crate::app::{App, Phase};
use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use plexus_protocol::{ErrorBody, ErrorCode};
use reply::Refused;
use std::{convert::Infallible, sync::Arc};
use tower::ServiceExt;

/// What one listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    /// TCP: everything.
    All,
    /// `run/agent/agent.sock`.
    Agents,
    /// `run/owner/owner.sock`.
    Owner,
}

/// What one listener's requests go through. Clones are the same.
///
/// Guard and panics are met here and not by layers of the router: a layer costs every request a handful of boxes.
#[derive(Clone)]
pub(crate) struct Doors {
    app: Arc<App>,
    serves: Serves,
    routes: Router,
}

impl Doors {
    pub(crate) fn new(app: &Arc<App>, serves: Serves) -> Self {
        let routes = match serves {
            Serves::All => agent::routes()
                .merge(owner::routes(app))
                .merge(integration::owner_routes())
                .merge(integration::public_routes()),
            Serves::Agents => agent::routes().merge(integration::public_routes()),
            Serves::Owner => owner::routes(app)
                .merge(owner::socket_routes(app))
                .merge(integration::owner_routes()),
        };
        Self {
            app: app.clone(),
            serves,
            routes: routes
                .fallback(unknown)
                .method_not_allowed_fallback(unknown)
                .with_state(app.clone()),
        }
    }

    /// Answers one request of `peer`; there is always an answer. Where places are scarce, `place` learns whether the
    /// peer shows who it is.
    async fn answer(
        self,
        peer: throttle::Peer,
        place: Option<&places::Place>,
        request: Request,
    ) -> Result<Response, Infallible> {
        if let Some(place) = place {
            place.asked(|| authenticate::proves(&self.app, request.headers()));
        }
        let figures = self.app.figures.clone();
        let response = self.answered(peer, request).await;
        if let Some(reply::Said(code)) = response.extensions().get() {
            figures.refused(*code);
        }
        if let Some(place) = place {
            place.answered();
        }
        Ok(response)
    }

    async fn answered(self, peer: throttle::Peer, mut request: Request) -> Response {
        if let Err(refused) = guard::judge(&self.app, self.serves, &request) {
            return refused.into_response();
        }
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(self.serves);
        let uri = request.uri().clone();
        let routed = self.routes.oneshot(request);
        let mut answer = match reply::or_panicked(uri.path(), routed).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        // Also one that was asked for before: who sends the next request opens a connection for it.
        if self.app.phase() != Phase::Serving {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }
}

/// Any route that does not exist. Below the owner's prefixes the key comes first (wire §3, row 4).
pub(crate) async fn unknown(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refused> {
    let path = request.uri().path().to_owned();
    let (method, peer) = (request.method().clone(), authenticate::peer(&request));
    let owners = ["/admin/api/", "/v1/admin/api/"]
        .iter()
        .any(|prefix| path.starts_with(prefix));
    if owners {
        authenticate::owner(&app, request.headers(), peer).await?;
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
