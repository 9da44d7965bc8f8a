//! A copy of the ledger for `plexusctl backup`: made by the daemon, because nobody else may open the file while it runs.
//!
//! The copy lies in the state directory; the answer names it. No content goes over HTTP.

use super::Narrowing;
use crate::{
    acts::{blocking, failed},
    desk::Desk,
};
use axum::{extract::State, response::Response};
use plexus_edge::reply::{Refused, ok};
use serde_json::json;
use std::sync::Arc;

pub(super) async fn make(State(desk): State<Arc<Desk>>, _: Narrowing) -> Result<Response, Refused> {
    match blocking(move || (desk.copy)(&desk)).await? {
        Ok(folder) => Ok(ok(&json!({"ok": true, "folder": folder}))),
        Err(error) => {
            tracing::error!(name: "backup.copy_failed", %error, "the ledger could not be copied");
            Err(failed(format!("The ledger could not be copied: {error}")))
        }
    }
}
