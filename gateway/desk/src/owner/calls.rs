//! The calls that are under way, the bounded approvals that are open, and the owner's stop of one.

use super::Narrowing;
use crate::{
    acts::{Named, act},
    desk::Desk,
};
use axum::{extract::State, response::Response};
use plexus_calls::{
    conversation,
    under_way::{CallUnderWay, CancelledBy},
};
use plexus_edge::reply::{self, Refused, ok};
use plexus_protocol::{ErrorBody, ErrorCode, PendingId, RunId};
use plexus_trust::Command;
use serde_json::{Value, json};
use std::sync::Arc;

/// The oldest first; and the bounded approvals that permit further calls.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let now = desk.clock.now();
    let calls = desk.under_way.all();
    let calls: Vec<_> = calls.iter().map(|call| shown(call, now)).collect();
    ok(&json!({ "calls": calls, "conversations": conversations(&desk) }))
}

/// The conversations that take further messages, and the child calls that may still be made.
pub(crate) fn conversations(desk: &Desk) -> Vec<Value> {
    let state = desk.ledger.snapshot();
    let items = state.agents.values().flat_map(|agent| agent.items.values());
    let open = items.filter_map(|item| {
        let left = conversation::of_item(&desk.edge.kernel, item)?;
        let expires_at = left.expires_at()?;
        let ask = item.asks.iter().find(|ask| ask.bounded.is_some())?;
        let bounded = ask.bounded.as_deref()?;
        let mut open = json!({
            "id": item.id.conversation(),
            "pendingId": item.id,
            "agentId": item.agent,
            "capabilityId": ask.capability,
            "turn": bounded.used,
            "turnsLeft": bounded.turns_left(),
            "expiresAt": expires_at,
            "underWay": state.begun_under(&item.id).next().is_some(),
        });
        if let Some(children) = &bounded.children {
            let capabilities = children.capabilities.keys();
            open["children"] = capabilities.map(|id| json!(id)).collect();
        }
        Some(open)
    });
    open.collect()
}

/// Ends a conversation or child calls, and cancels what of it is under way.
pub(crate) async fn end(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    item: PendingId,
) -> Result<Response, Refused> {
    let cancel = || {
        let state = desk.ledger.snapshot();
        for (intent, _) in state.begun_under(&item) {
            if let Some(call) = desk.under_way.named(intent.as_str()) {
                call.cancel(CancelledBy::Owner);
            }
        }
    };
    // Also where the end itself cannot be recorded now.
    cancel();
    act(desk, narrowing, Command::EndTurns { item: item.clone() }).await?;
    cancel();
    let ended = json!({"id": item.conversation(), "pendingId": item});
    Ok(reply::accepted(&json!({"ok": true, "conversation": ended})))
}

/// The item whose conversation or child calls a name names, if it permits further ones.
fn conversation_of(desk: &Desk, name: &str) -> Option<PendingId> {
    let run = RunId::parse(name).map(|run| run.item());
    let item = run.or_else(|_| PendingId::parse(name)).ok()?;
    let state = desk.ledger.snapshot();
    let held = state.item(&item)?;
    let left = conversation::of_item(&desk.edge.kernel, held)?;
    left.expires_at().is_some().then_some(item)
}

fn shown(call: &CallUnderWay, now: plexus_protocol::Timestamp) -> Value {
    json!({
        "id": call.handle(),
        "auditId": call.intent(),
        "runId": call.run,
        "agentId": call.principal.agent(),
        "capabilityId": call.capability,
        "kind": if call.is_read { "read" } else { "effect" },
        "startedAt": call.started,
        "runningMs": now.since(call.started),
        "streamedBytes": call.streamed_bytes(),
        "cancelled": call.cancelled_by().is_some(),
    })
}

/// Asks that a call end; its outcome says what was done by then. The name is its event's, its run's, or the one that the
/// list shows. A conversation takes no further message then.
pub(super) async fn stop(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(name): Named,
) -> Result<Response, Refused> {
    if let Some(item) = conversation_of(&desk, &name) {
        return end(&desk, &narrowing, item).await;
    }
    let call = desk.under_way.named(&name).ok_or_else(|| {
        let why = "No call of this id is under way.";
        let error = ErrorBody::new(ErrorCode::NotFound, why);
        Refused::new(error.next("plexusctl calls list"))
    })?;
    call.cancel(CancelledBy::Owner);
    Ok(reply::accepted(
        &json!({"ok": true, "call": shown(&call, desk.clock.now())}),
    ))
}
