//! stub
use crate::app::App;
use axum::Router;
use std::sync::Arc;
pub(super) fn routes(_: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
}
