//! The thin surface for shells and tray apps (docs/protocol/owner.md#shells-and-tray-applications).

use super::Narrowing;
use crate::{
    acts::{act, failed, record, unsaved},
    desk::Desk,
    table::optional_body,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::{approvals::change, finish::to_its_end};
use plexus_edge::{
    reply::{Refused, ok},
    sse::{self, Opened},
};
use plexus_owner::status::{Counts, Versions};
use plexus_protocol::{
    Effect, KEY_HEADER, PROTOCOL_EXACT, PROTOCOL_FAMILY, credential::ConnectionKey,
};
use plexus_trust::{Command, ItemState, Reply, State as TrustState, standing_for};
use serde_json::json;
use std::sync::{Arc, atomic::Ordering};

/// The version of this surface.
const LRA: &str = "1.0";

pub(super) async fn health() -> Response {
    ok(&json!({"ok": true}))
}

/// What is told without the key (E12).
pub(super) fn versions() -> Versions {
    Versions {
        lra_version: LRA.to_owned(),
        protocol_version: PROTOCOL_FAMILY.to_owned(),
        protocol_exact: PROTOCOL_EXACT.to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

pub(super) async fn status(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let mut out = json!(versions());
    if request.headers().contains_key(KEY_HEADER) {
        crate::acts::keyed(&desk, &request).await?;
        out["pid"] = json!(std::process::id());
        out["port"] = json!(desk.address.port());
        if let Some(instance) = &desk.instance {
            out["instance"] = json!(instance);
        }
        out["uptime"] = json!(uptime_ms(&desk));
        out["counts"] = json!(counts(&desk, &desk.ledger.snapshot()));
    }
    Ok(ok(&out))
}

pub(super) fn uptime_ms(desk: &Desk) -> u64 {
    u64::try_from(desk.started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How much there is of what.
pub(super) fn counts(desk: &Desk, state: &TrustState) -> Counts {
    let now = state.time(desk.clock.now());
    let mut counts = Counts {
        sources: state.sources.values().filter(|s| s.config.enabled).count(),
        capabilities: desk.catalogue.load().iter().count(),
        grants: 0,
        pending: changed(desk, state) + desk.questions.count(),
        sessions: state
            .console_sessions
            .values()
            .filter(|s| now < s.expires_at)
            .count(),
    };
    for agent in state.agents.values() {
        counts.grants += agent
            .grants
            .keys()
            .filter(|id| standing_for(state, agent, id, now).is_some())
            .count();
        let waits = |i: &plexus_trust::Item| i.state == ItemState::Pending && now < i.expires_at;
        counts.pending += agent.items.values().filter(|i| waits(i)).count();
        counts.sessions += agent
            .sessions
            .values()
            .filter(|s| now < s.expires_at)
            .count();
    }
    counts
}

/// How many sources changed and wait for the owner.
pub(super) fn changed(desk: &Desk, state: &TrustState) -> usize {
    let (now, catalogue) = (state.time(desk.clock.now()), desk.catalogue.load());
    let sources = state.sources.values();
    sources
        .filter(|source| change::waits(state, &catalogue, source, now))
        .count()
}

/// Ends every credential, then replaces the key.
///
/// The machine comes first, because what it ends is not in our hands once the key is gone: an agent's PAT must not
/// outlive the key it was made under. A stop between the two leaves the old key valid and everything else ended; the
/// caller then has no answer, or one that says so, and rotates again. "Rotated" is said only when the new key is in
/// its file and the old one is refused.
pub(super) async fn rotate(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    // A request that is not of its form must not end every credential.
    optional_body(request).await?;
    to_its_end(async move { rotated(&desk, narrowing).await }).await
}

async fn rotated(desk: &Arc<Desk>, narrowing: Narrowing) -> Result<Response, Refused> {
    let acting = narrowing.alone(desk).await?;
    let key = ConnectionKey::fresh().map_err(|e| failed(e.to_string()))?;
    let shown = key.expose().to_owned();
    let receipt = act(desk, &acting, Command::RotateKey).await?;
    let replacing = desk.clone();
    let replaced = crate::acts::blocking(move || replacing.key.replace(key)).await?;
    if let Err(error) = replaced {
        tracing::error!(name: "key.unsaved", %error, "the connection key could not be replaced");
        record(desk, &acting, json!({"event": "key.rotate.failed"})).await?;
        return Err(unsaved(
            "Every session, token, code and agent credential has ended, but the new key could not be written: the old \
             key is still the key.",
            Effect::Done,
        ));
    }
    let epoch = desk.key_epoch.fetch_add(1, Ordering::Relaxed) + 1;
    let mut out = json!({"ok": true, "connectionKey": shown, "epoch": epoch});
    if let Reply::KeyRotated { items } = receipt.reply
        && !items.is_empty()
    {
        out["ended"] = json!(items);
    }
    Ok(ok(&out))
}

pub(super) async fn events(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    crate::acts::keyed(&desk, &request).await?;
    let since = sse::since(request.headers());
    Ok(sse::response(
        desk.edge.clone(),
        Opened::Key,
        since,
        "plexus management event stream",
    ))
}
