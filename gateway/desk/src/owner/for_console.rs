//! The acts on sources that the console offers: the handlers of `/admin/api`, behind the console's own way in.

use super::{catalogue, secrets, sources};
use crate::desk::Desk;
use axum::{
    Router,
    routing::{get, post},
};
use std::sync::Arc;

/// For a router that lets signed-in browsers through alone.
pub(crate) fn source_routes() -> Router<Arc<Desk>> {
    let of = |act: &str| format!("/admin/console/source/{{id}}/{act}");
    Router::new()
        .route(
            "/admin/console/source",
            get(sources::list).post(sources::add),
        )
        .route("/admin/console/health", get(catalogue::health))
        .route("/admin/console/secrets/{name}", post(secrets::write))
        .route(&of("enable"), post(sources::enable))
        .route(&of("disable"), post(sources::disable))
        .route(&of("reconfigure"), post(sources::reconfigure))
        .route(&of("remove"), post(sources::remove))
}
