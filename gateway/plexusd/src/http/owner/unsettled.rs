//! Effects of which nobody knows whether they happened: the owner looks and says so; until then the same call is not
//! run again (DESIGN 4).

use super::{Named, act, body::Fields, event_of};
use crate::{
    app::App,
    http::reply::{Refused, ok},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_protocol::AuditId;
use plexus_trust::{Command, Refusal, State as TrustState};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn list(State(app): State<Arc<App>>) -> Response {
    ok(&json!({ "unsettled": all(&app.ledger.snapshot()) }))
}

pub(super) fn all(state: &TrustState) -> Vec<Value> {
    let rows = state.agents.values().flat_map(|agent| {
        agent.unknown.iter().map(|((capability, input), unknown)| {
            json!({
                "auditId": unknown.intent,
                "agentId": agent.id,
                "capabilityId": capability,
                "inputDigest": input,
                "at": unknown.at,
            })
        })
    });
    rows.collect()
}

/// `{"happened": true | false}`, for the event of the intent.
pub(super) async fn settle(
    State(app): State<Arc<App>>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let happened = Fields::read(request).await?.needed_flag("happened")?;
    let intent = AuditId::parse(&id).map_err(|_| Refusal::NoSuchIntent)?;
    let state = app.ledger.snapshot();
    let of = state.agents.values().find(|agent| {
        agent
            .unknown
            .values()
            .any(|unknown| unknown.intent == intent)
    });
    let agent = of.ok_or(Refusal::NoSuchIntent)?.id.clone();
    let receipt = act(
        &app,
        Command::SettleUnknown {
            agent,
            intent: intent.clone(),
            happened,
        },
    )
    .await?;
    Ok(ok(
        &json!({"ok": true, "intent": intent, "happened": happened, "auditId": event_of(&receipt)}),
    ))
}
