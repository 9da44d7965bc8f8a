//! The calls that are under way, and the owner's stop of one.

use super::Narrowing;
use crate::{acts::Named, desk::Desk};
use axum::{extract::State, response::Response};
use plexus_calls::under_way::{CallUnderWay, CancelledBy};
use plexus_edge::reply::{self, Refused, ok};
use plexus_protocol::{ErrorBody, ErrorCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// The oldest first.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Response {
    let now = desk.clock.now();
    let calls = desk.under_way.all();
    let calls: Vec<_> = calls.iter().map(|call| shown(call, now)).collect();
    ok(&json!({ "calls": calls }))
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
/// list shows.
pub(super) async fn stop(
    State(desk): State<Arc<Desk>>,
    _: Narrowing,
    Named(name): Named,
) -> Result<Response, Refused> {
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
