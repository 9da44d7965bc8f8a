//! The acts on sources that the console offers: the handlers of `/admin/api`, behind the console's own way in.

use super::{catalogue, secrets, sources};
use crate::{
    desk::Desk,
    table::{route, route_by},
};
use axum::Router;
use plexus_owner::Method;
use std::sync::Arc;

/// For a router that lets signed-in browsers through alone.
pub(crate) fn source_routes() -> Router<Arc<Desk>> {
    let of = |act: &str| format!("/admin/console/source/{{id}}/{act}");
    Router::new()
        .route(
            "/admin/console/source",
            route(sources::list).merge(route(sources::add)),
        )
        .route("/admin/console/health", route(catalogue::health))
        .route("/admin/console/secrets/{name}", route(secrets::write))
        .route(&of("enable"), route(sources::enable))
        .route(&of("disable"), route(sources::disable))
        .route(&of("reconfigure"), route(sources::reconfigure))
        .route(&of("remove"), route_by(Method::Post, sources::remove))
}
