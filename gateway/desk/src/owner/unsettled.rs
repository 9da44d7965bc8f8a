//! Effects whose outcome is unknown: the owner looks and says so; until then the same call is not
//! run again (docs/design.md#the-life-of-a-call).

use super::{Acting, audit::unreadable, body::Fields};
use crate::{
    acts::{Named, act, blocking, event_of},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, ok};
use plexus_ledger::StoreError;
use plexus_owner::status::UnsettledCall;
use plexus_protocol::{AuditId, Timestamp};
use plexus_trust::{Command, Refusal, State as TrustState};
use serde_json::{Value, json};
use std::sync::Arc;

/// Each with what its intent said of it: what it was about to change, and what allowed it.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let unsettled = all(&desk.ledger.snapshot());
    let ledger = desk.ledger.clone();
    let unsettled = blocking(move || {
        let mut rows = Vec::new();
        for call in unsettled {
            let mut row = json!(call);
            let id = call.audit_id.as_str().parse().ok();
            let event = id.map(|id| ledger.event(&id)).transpose()?.flatten();
            if let Some(event) = event {
                let intent: Value = serde_json::from_str(event.json()).unwrap_or_default();
                row["begunAt"] = json!(Timestamp(event.at()));
                for member in ["basis", "touched"] {
                    if let Some(value) = intent["detail"].get(member) {
                        row[member] = value.clone();
                    }
                }
            }
            rows.push(row);
        }
        Ok(rows)
    });
    let unsettled = unsettled.await?.map_err(|e: StoreError| unreadable(&e))?;
    Ok(ok(&json!({ "unsettled": unsettled })))
}

/// Every intent of which nobody knows, also where several were for the same call.
pub(super) fn all(state: &TrustState) -> Vec<UnsettledCall> {
    let rows = state.agents.values().flat_map(|agent| {
        agent
            .unknown
            .iter()
            .flat_map(move |((capability, input), unknown)| {
                let intents = [&unknown.intent].into_iter().chain(&unknown.also);
                intents.map(move |intent| UnsettledCall {
                    audit_id: intent.clone(),
                    agent_id: agent.id.clone(),
                    capability_id: capability.clone(),
                    input_digest: *input,
                    at: unknown.at,
                })
            })
    });
    rows.collect()
}

/// `{"happened": true | false}`, for the event of the intent.
pub(super) async fn settle(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let happened = Fields::read(request).await?.needed_flag("happened")?;
    let intent = AuditId::parse(&id).map_err(|_| Refusal::NoSuchIntent)?;
    let state = desk.ledger.snapshot();
    let of = state
        .agents
        .values()
        .find(|agent| agent.unknown.values().any(|unknown| unknown.names(&intent)));
    let agent = of.ok_or(Refusal::NoSuchIntent)?.id.clone();
    let receipt = act(
        &desk,
        &acting,
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
