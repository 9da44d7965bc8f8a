//! Settings of the sources that run programs, in the words of the wire (docs/protocol/owner.md#sources): the authorized
//! folder, and whether runs are allowed (`realLaunch`: whether the source is enabled).
//!
//! Invariant: a change is a reconfiguration of the source, with all that goes with one; nothing is kept here.

use super::{
    Narrowing,
    body::Fields,
    sources::{known, reconfigured},
};
use crate::{acts::Named, desk::Desk};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_protocol::{ErrorBody, ErrorCode};
use plexus_trust::Source;
use serde_json::{Map, Value, json};
use std::{path::Path, sync::Arc};

/// `{sources: […]}`; a browser is no source here, so `browserControl` is absent.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let rows = state.sources.values().filter_map(|source| {
        let folder = folder_field(&desk, source)?;
        Some(Value::Object(settings(source, &folder)))
    });
    ok(&json!({"sources": rows.collect::<Vec<_>>()}))
}

/// `{realLaunch?, authorizedDir?}`; `null` of either changes nothing, because a source has no other folder to fall back on.
pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let found = known(&desk, &id);
    let Some((source, folder)) = found.and_then(|source| {
        let folder = folder_field(&desk, &source)?;
        Some((source, folder))
    }) else {
        let why = format!("no source {id:?} runs programs in a folder");
        let error = ErrorBody::new(ErrorCode::UnknownCapability, why);
        return Err(Refused::new(error.next("plexusctl sources")));
    };
    let mut wanted = Map::new();
    if let Some(launch) = body.flag("realLaunch")? {
        wanted.insert("enabled".into(), json!(launch));
    }
    if let Some(dir) = body.text("authorizedDir")?.filter(|dir| !dir.is_empty()) {
        if !Path::new(dir).is_absolute() {
            return Err(Refused::malformed(
                "`authorizedDir` must be an absolute path",
            ));
        }
        let mut route = source.config.route.clone();
        route[&folder] = json!(dir);
        wanted.insert("route".into(), route);
    }
    if !wanted.is_empty() {
        let answer = reconfigured(&desk, &narrowing, &id, &wanted).await?;
        if !answer.status().is_success() {
            return Ok(answer);
        }
    }
    let now = known(&desk, &id).unwrap_or(source);
    let mut out = settings(&now, &folder);
    out.insert("ok".into(), json!(true));
    Ok(ok(&Value::Object(out)))
}

/// The route's field with the folder that a source's programs work in.
fn folder_field(desk: &Desk, source: &Source) -> Option<String> {
    let connector = desk.registry.of_source(&source.config)?;
    let manifest = &connector.offer.manifest;
    let is_run = !manifest.children.is_empty() && !source.config.is_over();
    manifest.root.clone().filter(|_| is_run)
}

fn settings(source: &Source, folder: &str) -> Map<String, Value> {
    let enabled = source.config.enabled;
    let dir = source.config.route.get(folder);
    let row = json!({
        "sourceId": source.id,
        "realLaunch": enabled,
        "persisted": enabled,
        "envFallback": null,
        "envActive": false,
        "authorizedDir": dir,
        "authorizedDirPersisted": dir,
        "authorizedDirDefault": null,
    });
    row.as_object().cloned().unwrap_or_default()
}
