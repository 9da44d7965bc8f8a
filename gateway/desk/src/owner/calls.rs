//! The calls that are under way, what they say, the bounded approvals that are open, and the owner's stop of one.

use super::Narrowing;
use crate::{
    acts::{Named, narrow},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_calls::{
    bounded::{self, Left},
    progress::Progress,
    runs::OneRun,
    under_way::{CallUnderWay, CancelledBy},
};
use plexus_edge::{
    reply::{self, Refused, ok},
    revocation,
};
use plexus_protocol::{ErrorBody, ErrorCode, PendingId, RunId};
use plexus_trust::Command;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

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
        let left = bounded::of_item(&desk.edge.kernel, item)?;
        let expires_at = left.expires_at();
        // The last runs of an orchestration may be under way when no further one may be made.
        if expires_at.is_none() && !(matches!(left, Left::Children(_)) && goes_on(desk, &item.id)) {
            return None;
        }
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

/// Whether a turn or a child call of this item's approval is under way.
fn goes_on(desk: &Desk, item: &PendingId) -> bool {
    let calls = desk.under_way.all();
    calls.iter().any(|call| call.turn_of.as_ref() == Some(item))
}

/// Ends a conversation or child calls, and cancels what of it is under way.
pub(crate) async fn end(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    item: PendingId,
) -> Result<Response, Refused> {
    // Also where the end itself cannot be recorded now.
    let mut cancelled = desk.cancel_under(&item, CancelledBy::Owner);
    let (used, left, is_open) = {
        let state = desk.ledger.snapshot();
        let held = state.item(&item).map(|held| &held.asks);
        let bounded = held.and_then(|asks| asks.iter().find_map(|ask| ask.bounded.as_deref()));
        let now = state.time(desk.clock.now());
        bounded.map_or((0, 0, false), |b| (b.used, b.turns_left(), b.is_open(now)))
    };
    // After its last turn has begun there is nothing else to end.
    let ended = match is_open {
        true => {
            let end = Command::EndTurns {
                item: item.clone(),
                by_source: false,
            };
            narrow(desk, narrowing, end).await.map(drop)
        }
        false => Ok(()),
    };
    for call in desk.cancel_under(&item, CancelledBy::Owner) {
        if cancelled
            .iter()
            .all(|known| known.handle() != call.handle())
        {
            cancelled.push(call);
        }
    }
    ended?;
    Ok(reply::accepted(&json!({
        "ok": true,
        "conversation": {
            "id": item.conversation(),
            "pendingId": item,
            "turn": used,
            "turnsLeft": left,
            "cancelled": revocation::in_short(&cancelled),
        },
    })))
}

/// The item whose conversation or child calls a name names, if it permits further ones or one of them is under way.
fn conversation_of(desk: &Desk, name: &str) -> Option<PendingId> {
    let run = RunId::parse(name).map(|run| run.item());
    let item = run.or_else(|_| PendingId::parse(name)).ok()?;
    may_end(desk, &item).then_some(item)
}

/// Whether an item permits further turns or child calls, or one of them is under way.
pub(super) fn may_end(desk: &Desk, item: &PendingId) -> bool {
    let state = desk.ledger.snapshot();
    let held = state.item(item);
    let left = held.and_then(|held| bounded::of_item(&desk.edge.kernel, held));
    left.is_some_and(|left| left.expires_at().is_some() || goes_on(desk, item))
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
        "says": call.last_words(),
        "cancelled": call.cancelled_by().is_some(),
    })
}

/// Longest wait for what a call says next, in seconds.
const LONGEST: u64 = 20;

/// A call that its owner looks at.
enum CallView {
    /// One that is kept when it is over.
    Run(Arc<OneRun>),
    /// One whose caller waits for it.
    Waited(Arc<CallUnderWay>),
}

impl CallView {
    async fn named(desk: &Desk, name: &str) -> Option<Self> {
        let call = desk.under_way.named(name);
        let of_call = call.as_ref().and_then(|call| call.run.as_ref());
        let run = of_call.map_or(name, RunId::as_str);
        match desk.edge.runs.get(run, desk.clock.now()).await {
            Some(run) => Some(Self::Run(run)),
            None => call.map(Self::Waited),
        }
    }

    /// Waits until it says something beyond an offset, or is over.
    async fn news(&self, desk: &Desk, after: u64) {
        match self {
            Self::Run(run) => tokio::select! {
                () = run.finished() => {}
                () = run.beyond(after) => {}
            },
            Self::Waited(call) => tokio::select! {
                () = desk.under_way.over(call) => {}
                () = call.progress().beyond(after) => {}
            },
        }
    }

    fn is_over(&self, desk: &Desk) -> bool {
        match self {
            Self::Run(run) => run.is_over(),
            Self::Waited(call) => desk.under_way.named(&call.handle()).is_none(),
        }
    }

    fn said(&self, after: u64) -> Progress {
        match self {
            Self::Run(run) => run.look(after),
            Self::Waited(call) => call.progress().look(after),
        }
    }

    fn capability(&self) -> &str {
        match self {
            Self::Run(run) => run.capability(),
            Self::Waited(call) => call.capability.as_str(),
        }
    }

    /// Why it failed, where that is known.
    fn error(&self) -> Option<Box<ErrorBody>> {
        match self {
            Self::Run(run) => run.result()?.1.error,
            Self::Waited(_) => None,
        }
    }
}

/// What a call says, from the offset `after` on; waits `wait` seconds for more of it. The owner follows nothing by it: no
/// call is slowed.
pub(super) async fn said(
    State(desk): State<Arc<Desk>>,
    Named(name): Named,
    request: Request,
) -> Result<Response, Refused> {
    let (after, wait) = (number(&request, "after")?, number(&request, "wait")?);
    drop(request);
    let view = CallView::named(&desk, &name).await;
    let view = view.ok_or_else(none_of_this_name)?;
    let wait = Duration::from_secs(wait.min(LONGEST));
    tokio::select! {
        _ = tokio::time::timeout(wait, view.news(&desk, after)) => {}
        () = desk.edge.ending() => {}
    }
    // In this order: what it said last was said before it was over.
    let is_over = view.is_over(&desk);
    let progress = view.said(after);
    Ok(ok(&json!({
        "capabilityId": view.capability(),
        "over": is_over,
        "error": view.error().map(|error| error.message),
        "progress": progress,
    })))
}

fn number(request: &Request, name: &str) -> Result<u64, Refused> {
    let text = reply::query(request, name).unwrap_or_else(|| "0".to_owned());
    let why = "`after` is an offset in bytes, and `wait` a number of seconds";
    text.parse().map_err(|_| Refused::malformed(why))
}

fn none_of_this_name() -> Refused {
    let why = "No call of this id is under way.";
    let error = ErrorBody::new(ErrorCode::NotFound, why);
    Refused::new(error.next("plexusctl calls list"))
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
    let call = desk.under_way.named(&name).ok_or_else(none_of_this_name)?;
    call.cancel(CancelledBy::Owner);
    Ok(reply::accepted(
        &json!({"ok": true, "call": shown(&call, desk.clock.now())}),
    ))
}
