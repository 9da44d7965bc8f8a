//! What there is, what of it agents may see, and how its sources do (docs/protocol/owner.md#exposure).

use super::{Acting, Narrowing, body::Fields};
use crate::{
    acts::{Named, act, event_of, narrow},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::events::Changed;
use plexus_edge::{
    agent::discovery,
    reply::{Refused, ok},
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
pub(super) async fn capabilities(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    let entries: Vec<Value> = catalogue
        .iter()
        .map(|e| {
            wire_entry(
                e,
                &state,
                None,
                Some(json!(desk.supervisor.health(&e.source))),
            )
        })
        .collect();
    ok(
        &json!({"gateway": discovery::gateway(&desk), "revision": catalogue.revision, "entries": entries}),
    )
}

pub(super) async fn exposure(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
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
    State(desk): State<Arc<Desk>>,
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
        act(&desk, &narrowing.wider(&desk).await?, command).await?
    } else {
        narrow(&desk, &narrowing, command).await?
    };
    if matches!(receipt.reply, Reply::Changed(true)) {
        desk.renew_catalogue(Some(Changed {
            updated: vec![id.clone()],
            ..Changed::default()
        }));
    }
    let revision = desk.catalogue.load().revision;
    Ok(ok(
        &json!({"ok": true, "id": id, "enabled": enabled, "revision": revision, "auditId": event_of(&receipt)}),
    ))
}

pub(super) async fn tick(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let ticked = Fields::read(request).await?.needed_flag("defaultGrant")?;
    let id = capability(&id)?;
    act(
        &desk,
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
pub(super) async fn health(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let mut probes = JoinSet::new();
    for source in state.sources.values().filter(|s| s.config.enabled) {
        let (desk, source) = (desk.clone(), source.clone());
        probes.spawn(async move {
            let probed = tokio::time::timeout(PROBE, desk.supervisor.probe(&source.id)).await;
            let health = probed.unwrap_or_else(|_| desk.supervisor.health(&source.id));
            let mut out = json!({"id": source.id, "label": source.config.label});
            if let (Value::Object(out), Value::Object(health)) = (&mut out, json!(health)) {
                out.extend(health);
            }
            let catalogue = desk.catalogue.load();
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
    ok(&json!({"sources": all, "revision": desk.catalogue.load().revision}))
}
