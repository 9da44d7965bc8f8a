//! The calls that are under way, the conversations that are open, and the owner's stop of one.

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

/// The oldest first; and the conversations that take further messages.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let now = desk.clock.now();
    let calls = desk.under_way.all();
    let calls: Vec<_> = calls.iter().map(|call| shown(call, now)).collect();
    ok(&json!({ "calls": calls, "conversations": conversations(&desk) }))
}

/// The conversations that take further messages.
pub(crate) fn conversations(desk: &Desk) -> Vec<Value> {
    let state = desk.ledger.snapshot();
    let items = state.agents.values().flat_map(|agent| agent.items.values());
    let open = items.filter_map(|item| {
        let left = conversation::of_item(&desk.edge.kernel, item)?;
        left.expires_at?;
        let ask = item.asks.iter().find(|ask| ask.bounded.is_some())?;
        Some(json!({
            "id": left.run_id,
            "pendingId": item.id,
            "agentId": item.agent,
            "capabilityId": ask.capability,
            "turn": left.turn,
            "turnsLeft": left.turns_left,
            "expiresAt": left.expires_at,
            "underWay": state.turn_under_way(&item.id).is_some(),
        }))
    });
    open.collect()
}

/// Ends a conversation, and cancels the turn of it that is under way.
pub(crate) async fn end(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    item: PendingId,
) -> Result<Response, Refused> {
    let cancel = || {
        let state = desk.ledger.snapshot();
        let turn = state.turn_under_way(&item);
        if let Some(call) = turn.and_then(|turn| desk.under_way.named(turn.as_str())) {
            call.cancel(CancelledBy::Owner);
        }
    };
    // Also where the end itself cannot be recorded now.
    cancel();
    act(desk, narrowing, Command::EndTurns { item: item.clone() }).await?;
    cancel();
    let ended = json!({"id": item.conversation(), "pendingId": item});
    Ok(reply::accepted(&json!({"ok": true, "conversation": ended})))
}

/// The item whose conversation a name names, if it takes further messages.
fn conversation_of(desk: &Desk, name: &str) -> Option<PendingId> {
    let run = RunId::parse(name).map(|run| run.item());
    let item = run.or_else(|_| PendingId::parse(name)).ok()?;
    let state = desk.ledger.snapshot();
    let held = state.item(&item)?;
    let left = conversation::of_item(&desk.edge.kernel, held)?;
    left.expires_at.is_some().then_some(item)
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
