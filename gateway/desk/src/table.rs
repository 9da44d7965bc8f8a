//! The owner's table, served: a handler for each call, behind the guard of its act.
//!
//! ```text
//! credential ─▶ guard of the act ─▶ request, by its type ─▶ presence ─▶ handler ─▶ reply, by its type
//! ```
//! Invariants: a call cannot be served without the guard of its act, and a guard is made of a request's credential
//! alone. What is no request of its call's form is refused before its handler sees it.
//!
//! Must not know: what a call does.

use crate::{
    acting::{Acting, Narrowing},
    desk::Desk,
};
use axum::{
    Router,
    body::HttpBody as _,
    extract::{FromRequestParts, Query, RawPathParams, Request, State},
    http::request::Parts,
    response::Response,
    routing::{MethodRouter, delete, get, post, put},
};
use plexus_edge::reply::{self, Refused};
use plexus_owner::{
    Act, Either, Method, Narrows, OwnerCall, Reads, Tabled, Widens, WidensAfterLook,
};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The guard of a call that changes nothing: the layer before it has asked for the credential.
pub(crate) struct Reading;

impl FromRequestParts<Arc<Desk>> for Reading {
    type Rejection = Refused;

    async fn from_request_parts(_: &mut Parts, _: &Arc<Desk>) -> Result<Self, Refused> {
        Ok(Self)
    }
}

/// An act with the guard that its handler is given.
pub(crate) trait Guarded {
    /// The guard.
    type Guard: FromRequestParts<Arc<Desk>, Rejection = Refused> + Send;
}

impl Guarded for Reads {
    type Guard = Reading;
}
impl Guarded for Narrows {
    type Guard = Narrowing;
}
impl Guarded for Widens {
    type Guard = Acting;
}
/// The handler asks for more when it has looked: [`Narrowing::wider`].
impl Guarded for WidensAfterLook {
    type Guard = Narrowing;
}
/// What gives asks for more of it.
impl Guarded for Either {
    type Guard = Narrowing;
}

/// The guard of a call.
pub(crate) type Guard<C> = <<C as OwnerCall>::Class as Guarded>::Guard;

/// Calls with their handlers.
#[derive(Clone, Default)]
pub(crate) struct Served(Vec<(Tabled, MethodRouter<Arc<Desk>>)>);

impl Served {
    /// And another call.
    pub(crate) fn with<C, H, F>(mut self, handler: H) -> Self
    where
        C: OwnerCall,
        C::Class: Guarded,
        H: Fn(Arc<Desk>, Guard<C>, C) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<C::Reply, Refused>> + Send + 'static,
    {
        self.0.push((Tabled::of::<C>(), route(handler)));
        self
    }

    /// Those of them that `keeps` names.
    pub(crate) fn only(mut self, keeps: impl Fn(&Tabled) -> bool) -> Self {
        self.0.retain(|(row, _)| keeps(row));
        self
    }

    /// The rows that are served.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> Vec<Tabled> {
        self.0.iter().map(|(row, _)| *row).collect()
    }

    /// The routes.
    pub(crate) fn routes(self) -> Router<Arc<Desk>> {
        self.0
            .into_iter()
            .fold(Router::new(), |router, (row, route)| {
                router.route(row.route(), route)
            })
    }
}

/// A call's handler as a route, at whatever path.
pub(crate) fn route<C, H, F>(handler: H) -> MethodRouter<Arc<Desk>>
where
    C: OwnerCall,
    C::Class: Guarded,
    H: Fn(Arc<Desk>, Guard<C>, C) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<C::Reply, Refused>> + Send + 'static,
{
    route_by(C::METHOD, handler)
}

/// The same by another method.
pub(crate) fn route_by<C, H, F>(method: Method, handler: H) -> MethodRouter<Arc<Desk>>
where
    C: OwnerCall,
    C::Class: Guarded,
    H: Fn(Arc<Desk>, Guard<C>, C) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<C::Reply, Refused>> + Send + 'static,
{
    let answer = |State(desk): State<Arc<Desk>>,
                  guard: Guard<C>,
                  in_path: RawPathParams,
                  request: Request| async move {
        let call = read::<C>(&desk, &in_path, request).await?;
        let answer = handler(desk, guard, call).await?;
        Ok::<Response, Refused>(reply::with_status(C::STATUS, &answer))
    };
    match method {
        Method::Get => get(answer),
        Method::Post => post(answer),
        Method::Put => put(answer),
        Method::Delete => delete(answer),
    }
}

/// Reads a call, and holds that the owner is there for it.
///
/// # Errors
/// 400 `internal_error` where it is not of its form; 413.
pub(crate) async fn read<C: OwnerCall>(
    desk: &Desk,
    in_path: &RawPathParams,
    request: Request,
) -> Result<C, Refused> {
    let in_path: Vec<(String, String)> = in_path
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let in_query = Query::<Vec<(String, String)>>::try_from_uri(request.uri());
    let in_query = in_query.map_or_else(|_| Vec::new(), |query| query.0);
    let body = match C::METHOD {
        Method::Post | Method::Put => optional_body(request).await?,
        Method::Get | Method::Delete => Map::new(),
    };
    let call: C = plexus_owner::read(in_path, &in_query, body)
        .map_err(|why| Refused::malformed(why.to_string()))?;
    presence(desk, call.act())?;
    Ok(call)
}

/// The members of a body. A call may need none, and come without a body.
pub(crate) async fn optional_body(request: Request) -> Result<Map<String, Value>, Refused> {
    match request.body().is_end_stream() {
        true => Ok(Map::new()),
        false => reply::object_body(request).await,
    }
}

/// Whether the owner is there for an act, as its class asks: everybody who has the key is, for now.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the one place where an act will be refused until somebody has shown that they are there"
)]
fn presence(_: &Desk, _: Act) -> Result<(), Refused> {
    Ok(())
}
