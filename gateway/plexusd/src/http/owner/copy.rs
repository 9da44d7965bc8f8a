//! A copy of the ledger for `plexusctl backup`: made by the daemon, because nobody else may open the file while it runs.
//!
//! The copy lies in the state directory; the answer names it. No content goes over HTTP.

use super::{Narrowing, blocking, failed};
use crate::{
    app::App,
    http::reply::{Refused, ok},
};
use axum::{extract::State, response::Response};
use plexus_keep::make::Copy;
use serde_json::json;
use std::sync::Arc;

pub(super) async fn make(State(app): State<Arc<App>>, _: Narrowing) -> Result<Response, Refused> {
    let made =
        blocking(move || Copy::running(app.state_dir.path(), &app.ledger).map(Copy::keep)).await?;
    match made {
        Ok(folder) => Ok(ok(&json!({"ok": true, "folder": folder}))),
        Err(error) => {
            tracing::error!(name: "backup.copy_failed", %error, "the ledger could not be copied");
            Err(failed(format!("The ledger could not be copied: {error}")))
        }
    }
}
