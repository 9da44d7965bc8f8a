//! What there is, what of it agents may see, and how its sources do (wire §4.19).

use super::{Acting, Named, Narrowing, act, body::Fields, event_of};
use crate::{
    app::App,
    events::Changed,
    http::{
        agent::discovery,
        reply::{Refused, ok},
    },
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_protocol::CapabilityId;
use plexus_sources::catalogue::wire_entry;
use plexus_trust::{Command, Reply};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How long the health of a source is waited for before the last known is told.
const PROBE: Duration = Duration::from_secs(10);

/// Every entry, hidden ones too.
pub(super) async fn capabilities(State(app): State<Arc<App>>) -> Response {
    let state = app.ledger.snapshot();
    let catalogue = app.catalogue.load();
    let entries: Vec<Value> = catalogue
        .iter()
        .map(|e| {
            wire_entry(
                e,
                &state,
                None,
                Some(json!(app.supervisor.health(&e.source))),
            )
        })
        .collect();
    ok(
        &json!({"gateway": discovery::gateway(&app), "revision": catalogue.revision, "entries": entries}),
    )
}

pub(super) async fn exposure(State(app): State<Arc<App>>) -> Response {
    let state = app.ledger.snapshot();
    let catalogue = app.catalogue.load();
    let shown = |id: &CapabilityId, label: &str| {
        json!({
            "id": id,
            "label": label,
            "enabled": state.exposed(id),
            "defaultGrant": state.default_grants.contains(id),
        })
    };
    let here = catalogue
        .iter()
        .map(|e| shown(&e.id, &e.capability().label));
    let hidden = state
        .exposure
        .iter()
        .filter(|(id, enabled)| !**enabled && catalogue.get(id).is_none());
    let all: Vec<Value> = here
        .chain(hidden.map(|(id, _)| shown(id, id.as_str())))
        .collect();
    ok(&json!({"capabilities": all, "revision": catalogue.revision}))
}

fn capability(id: &str) -> Result<CapabilityId, Refused> {
    CapabilityId::parse(id).map_err(|e| {
        Refused::malformed(format!(
            "{:?} is {e}",
            plexus_sources::narration::cut(id, 80)
        ))
    })
}

pub(super) async fn expose(
    State(app): State<Arc<App>>,
    narrowing: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let enabled = Fields::read(request).await?.needed_flag("enabled")?;
    let id = capability(&id)?;
    let command = Command::Expose {
        capability: id.clone(),
        enabled,
    };
    let receipt = if enabled {
        act(&app, &narrowing.wider(&app).await?, command).await?
    } else {
        act(&app, &narrowing, command).await?
    };
    if matches!(receipt.reply, Reply::Changed(true)) {
        app.renew_catalogue(Some(Changed {
            updated: vec![id.clone()],
            ..Changed::default()
        }));
    }
    let revision = app.catalogue.load().revision;
    Ok(ok(
        &json!({"ok": true, "id": id, "enabled": enabled, "revision": revision, "auditId": event_of(&receipt)}),
    ))
}

pub(super) async fn tick(
    State(app): State<Arc<App>>,
    acting: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let ticked = Fields::read(request).await?.needed_flag("defaultGrant")?;
    let id = capability(&id)?;
    act(
        &app,
        &acting,
        Command::DefaultGrant {
            capability: id.clone(),
            ticked,
        },
    )
    .await?;
    Ok(ok(&json!({"ok": true, "id": id, "defaultGrant": ticked})))
}

/// Asks every source that serves how it does, now.
pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    let state = app.ledger.snapshot();
    let mut probes = JoinSet::new();
    for source in state.sources.values().filter(|s| s.config.enabled) {
        let (app, source) = (app.clone(), source.clone());
        probes.spawn(async move {
            let probed = tokio::time::timeout(PROBE, app.supervisor.probe(&source.id)).await;
            let health = probed.unwrap_or_else(|_| app.supervisor.health(&source.id));
            let mut out = json!({"id": source.id, "label": source.config.label});
            if let (Value::Object(out), Value::Object(health)) = (&mut out, json!(health)) {
                out.extend(health);
            }
            let catalogue = app.catalogue.load();
            let ids: Vec<&CapabilityId> = catalogue
                .iter()
                .filter(|e| e.source == source.id)
                .map(|e| &e.id)
                .collect();
            out["capabilities"] = json!(ids);
            out
        });
    }
    let mut all = probes.join_all().await;
    all.sort_by_key(|source| source["id"].as_str().map(str::to_owned));
    ok(&json!({"sources": all, "revision": app.catalogue.load().revision}))
}
