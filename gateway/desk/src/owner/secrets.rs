//! Secrets of sources: written, never read back (wire §4.22).
//!
//! Invariant: a changed secret is a changed target: what was granted on the sources that use it is void before a
//! worker can start with it (DESIGN 5). The value is in no event, log or answer.

use super::{Acting, body::Fields, sources};
use crate::{
    acts::{Named, act, blocking, failed, record},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_home::state_dir::secret_name;
use plexus_protocol::SourceId;
use plexus_trust::Command;
use serde_json::json;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Largest secret, in bytes.
const MOST: usize = 64 * 1024;

pub(super) async fn write(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(name): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let value = body.text("value")?.filter(|v| !v.is_empty());
    let value = value
        .ok_or_else(|| Refused::malformed("`value` (a string that is not empty) is required"))?;
    if value.len() > MOST {
        return Err(Refused::malformed(format!(
            "`value` is longer than {MOST} bytes"
        )));
    }
    let value = Zeroizing::new(value.to_owned());
    if !secret_name(&name) {
        return Err(Refused::malformed(
            "the name must be plain: no path, no leading dot",
        ));
    }
    let turn = desk.turn().await;
    let file = format!("secrets/{name}");
    let path = desk.state_dir.join(&file);
    let was = blocking(move || std::fs::read(path).ok().map(Zeroizing::new)).await?;
    let changed = was.as_ref().is_some_and(|was| was[..] != *value.as_bytes());
    let users: Vec<SourceId> = desk
        .ledger
        .snapshot()
        .sources
        .values()
        .filter(|source| source.config.secret_ref.as_deref() == Some(name.as_str()))
        .map(|source| source.id.clone())
        .collect();
    record(&desk, &acting, json!({"event": "secret.set", "name": name, "new": was.is_none(), "changed": changed, "sources": users}))
        .await?;
    if changed {
        let command = Command::SecretChanged { name: name.clone() };
        act(&desk, &acting, command).await?;
    }
    let dir = desk.state_dir.clone();
    if let Err(error) = blocking(move || dir.write_private(&file, value.as_bytes())).await? {
        tracing::error!(name: "secret.unsaved", %error, "a secret could not be written");
        record(
            &desk,
            &acting,
            json!({"event": "secret.failed", "name": name}),
        )
        .await?;
        return Err(failed(
            "The secret could not be written; the old one, if there was one, is still there.",
        ));
    }
    drop((turn, acting));
    for id in &users {
        if let Err(why) = sources::restart(&desk, id).await {
            tracing::warn!(name: "source.unusable", source = %id, error = why, "a source cannot be used with its new secret");
        }
    }
    if !users.is_empty() {
        desk.renew_catalogue(None);
    }
    Ok(ok(&json!({"ok": true, "name": name})))
}
