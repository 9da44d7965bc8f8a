//! What agents may reach.

mod call;
mod capabilities;
pub mod discovery;
mod enroll;
mod events;
mod extensions;
pub mod grants;
mod handshake;
mod input;
mod manifest;
mod mcp;
mod refresh;
mod revoke;
mod run_status;
mod status;

use crate::edge::Edge;
use axum::{
    Router,
    routing::{delete, get, post},
};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Edge>> {
    Router::new()
        .route("/", get(discovery::signpost))
        .route("/.well-known/plexus", get(discovery::document))
        .route("/agents/enroll", post(enroll::redeem))
        .route("/link/handshake", post(handshake::open))
        .route("/manifest", get(manifest::show))
        .route("/capabilities", get(capabilities::find))
        .route("/grants", get(grants::list).put(grants::request))
        .route("/grants/context", get(grants::context))
        .route("/grants/cancel", post(grants::cancel))
        .route("/grants/status", get(status::show))
        .route("/grants/refresh", post(refresh::exchange))
        .route("/grants/revoke", post(revoke::revoke))
        .route("/invoke", post(call::invoke))
        .route("/invoke/status", get(run_status::show))
        .route("/invoke/cancel", post(run_status::cancel))
        .route("/invoke/input", post(input::say))
        .route("/extensions", post(extensions::register))
        .route("/extensions/authoring-guide", get(extensions::guide))
        .route("/extensions/{source}", delete(extensions::remove))
        .route("/events", get(events::stream))
        .route("/mcp", post(mcp::message).fallback(mcp::only_post))
}
