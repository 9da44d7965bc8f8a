//! The calls that are under way, what they say, the bounded approvals that are open, and the owner's stop of one.

use super::changes::makes_change_sets;
use crate::{
    acting::Narrowing,
    acts::{blocking, narrow},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::{
    bounded::{self, Left},
    runs::OneRun,
    under_way::{CallUnderWay, CancelledBy},
};
use plexus_edge::{reply::Refused, revocation::cancelled_calls};
use plexus_ledger::EventId;
use plexus_owner::{
    Done,
    activity::words::reason_in_words,
    calls::{
        CallKind, CallProgress, Calls, EndedApproval, EndedConversation, List, Look, OpenApproval,
        Stop, Stopping,
    },
};
use plexus_protocol::{
    Effect, ErrorBody, ErrorCode, PendingId, RunId, Timestamp,
    body::{InvokeResponse, Progress},
    error::left_set,
    id::has_id_form,
};
use plexus_trust::{Bounded, Command, State as TrustState};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(said).with(stop)
}

/// The oldest first; and the bounded approvals that permit further calls.
pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Calls, Refused> {
    let now = desk.clock.now();
    let calls = desk.under_way.all();
    Ok(Calls {
        calls: calls.iter().map(|call| shown(call, now)).collect(),
        conversations: conversations(&desk),
    })
}

/// The conversations that take further messages, and the child calls that may still be made.
pub(crate) fn conversations(desk: &Desk) -> Vec<OpenApproval> {
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
        let children = bounded.children.as_ref();
        Some(OpenApproval {
            id: item.id.conversation(),
            pending_id: item.id.clone(),
            agent_id: item.agent.clone(),
            capability_id: ask.capability.clone(),
            turn: bounded.used,
            turns_left: bounded.turns_left(),
            expires_at,
            under_way: state.begun_under(&item.id).next().is_some(),
            children: children.map(|children| children.capabilities.keys().cloned().collect()),
        })
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
) -> Result<EndedConversation, Refused> {
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
    Ok(EndedConversation {
        ok: Done,
        conversation: EndedApproval {
            id: item.conversation(),
            pending_id: item,
            turn: used,
            turns_left: left,
            cancelled: cancelled_calls(&cancelled),
        },
    })
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

fn shown(call: &CallUnderWay, now: Timestamp) -> plexus_owner::calls::CallUnderWay {
    plexus_owner::calls::CallUnderWay {
        id: call.handle(),
        audit_id: call.intent().cloned(),
        run_id: call.run.clone(),
        agent_id: call.principal.agent().cloned(),
        capability_id: call.capability.clone(),
        kind: match call.is_read {
            true => CallKind::Read,
            false => CallKind::Effect,
        },
        started_at: call.started,
        running_ms: now.since(call.started),
        streamed_bytes: call.streamed_bytes(),
        says: call.last_words(),
        cancelled: call.cancelled_by().is_some(),
    }
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
    /// With `follows` the name of a conversation names the turn that is under way, or else its last one.
    async fn named(desk: &Desk, name: &str, follows: bool) -> Option<Self> {
        let turns = || {
            let item = RunId::parse(name).ok().filter(|_| follows)?.item();
            let state = desk.ledger.snapshot();
            let messages = conversation(&state, &item)?.messages.iter();
            let last = messages.max_by_key(|(_, turn)| **turn);
            let last = last.map(|(message, _)| RunId::of_message(&item, message));
            let mut calls = desk.under_way.all().into_iter();
            let now = calls.find(|call| call.turn_of.as_ref() == Some(&item));
            Some((now, last))
        };
        let (now, last) = turns().unwrap_or_default();
        let call = desk.under_way.named(name).or(now);
        let run = match &call {
            Some(call) => call.run.clone(),
            None => last,
        };
        for run in [run.as_ref().map(RunId::as_str), Some(name)] {
            if let Some(run) = run
                && let Some(run) = desk.edge.find_run(run).await
            {
                return Some(Self::Run(run));
            }
        }
        call.map(Self::Waited)
    }

    fn id(&self) -> String {
        match self {
            Self::Run(run) => run.id().to_string(),
            Self::Waited(call) => call.handle(),
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

    /// How it ended, where that is known.
    fn result(&self) -> Option<InvokeResponse> {
        match self {
            Self::Run(run) => Some(run.result()?.1),
            Self::Waited(_) => None,
        }
    }
}

/// What a call says; waits for more of it. The owner follows nothing by it: no call is slowed.
pub(crate) async fn said(desk: Arc<Desk>, _: Reading, call: Look) -> Result<CallProgress, Refused> {
    // The first look at it.
    let follows = call.after == 0;
    let (said, _) = said_of(&desk, call, follows).await?;
    Ok(said)
}

/// The same of the call of that very name, or with `follows` of the turn of a conversation that is under way; and the event
/// of a run that is over.
pub(crate) async fn said_of(
    desk: &Arc<Desk>,
    call: Look,
    follows: bool,
) -> Result<(CallProgress, Option<String>), Refused> {
    let view = CallView::named(desk, &call.id, follows).await;
    let Some(view) = view else {
        return Err(none_of_this_name(desk, &call.id).await);
    };
    let wait = Duration::from_secs(call.wait.min(LONGEST));
    tokio::select! {
        _ = tokio::time::timeout(wait, view.news(desk, call.after)) => {}
        () = desk.edge.ending() => {}
    }
    // In this order: what it said last was said before it was over.
    let over = view.is_over(desk);
    let progress = view.said(call.after);
    let (capability, result) = (view.capability(), view.result());
    let made = result.as_ref().and_then(change_set_of);
    let event = result.as_ref().map(|result| result.audit_id.clone());
    let board = result
        .as_ref()
        .and_then(|result| board_that_goes_on(desk, &call.id, result));
    let error = result.and_then(|result| result.error);
    let is_unknown = error
        .as_ref()
        .is_some_and(|error| error.effect == Effect::Unknown);
    let next = match (is_unknown, made, makes_change_sets(desk, capability)) {
        (true, ..) => "plexusctl unknown".to_owned(),
        _ if let Some(board) = &board => format!("plexusctl board {board}"),
        (false, Some(set), true) => format!("plexusctl changes {set}"),
        (false, None, true) => "plexusctl changes".to_owned(),
        (false, _, false) => "plexusctl activity".to_owned(),
    };
    let conversation = RunId::parse(&call.id).ok();
    let said = CallProgress {
        capability_id: capability.to_owned(),
        over,
        error: error.map(|error| owners_words(&error)),
        id: view.id(),
        turns_left: conversation.and_then(|run| turns_left(desk, &run.item())),
        next,
        progress,
    };
    Ok((said, event))
}

/// The board that a call began and that goes on without it, as its answer names it.
fn board_that_goes_on(desk: &Desk, run: &str, result: &InvokeResponse) -> Option<String> {
    #[derive(Deserialize)]
    struct Output {
        board: String,
    }
    let item = RunId::parse(run).ok()?.item();
    let output = result.output.as_ref()?;
    let began: Output = serde_json::from_str(output.get()).ok()?;
    let is_talk = conversation(&desk.ledger.snapshot(), &item).is_some();
    let goes_on = !is_talk && may_end(desk, &item);
    (goes_on && has_id_form(&began.board, "brd_")).then_some(began.board)
}

/// The turns that are left of the open conversation that an item permits.
fn turns_left(desk: &Desk, item: &PendingId) -> Option<u32> {
    let state = desk.ledger.snapshot();
    let bounded = conversation(&state, item)?;
    let is_open = bounded.is_open(state.time(desk.clock.now()));
    is_open.then(|| bounded.turns_left())
}

/// The conversation that an item permits, open or not; child calls are none.
fn conversation<'a>(state: &'a TrustState, item: &PendingId) -> Option<&'a Bounded> {
    let mut asks = state.item(item)?.asks.iter();
    let bounded = asks.find_map(|ask| ask.bounded.as_deref())?;
    bounded.children.is_none().then_some(bounded)
}

/// The change set that a run made, as its answer names it.
fn change_set_of(result: &InvokeResponse) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
    }
    #[derive(Deserialize)]
    struct Output {
        changes: Option<Named>,
    }
    let output = result.output.as_ref();
    let of_output = output.and_then(|output| serde_json::from_str::<Output>(output.get()).ok());
    let of_output = of_output.and_then(|output| Some(output.changes?.id));
    let error = result.error.as_ref();
    let of_error = error.and_then(|error| left_set(error.detail.as_ref()));
    let of_output = of_output.filter(|id| has_id_form(id, "cs_"));
    of_output.or_else(|| of_error.map(str::to_owned))
}

/// Why a call failed, as its owner reads it: the message is for the agent.
fn owners_words(error: &ErrorBody) -> String {
    let message = error.message.trim_end_matches('.');
    if error.code != ErrorCode::Cancelled {
        return message.to_owned();
    }
    let by = error.reason().unwrap_or_default();
    let by = reason_in_words(error.code.as_str(), by);
    match message.split_once(": ") {
        Some((_, more)) => format!("{by}: {more}"),
        None => by,
    }
}

/// That no call of this name is under way; of one that is known, how to see it.
async fn none_of_this_name(desk: &Arc<Desk>, name: &str) -> Refused {
    let item = RunId::parse(name).map(|run| run.item());
    let item = item.or_else(|_| PendingId::parse(name)).ok();
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let asked = item.and_then(|id| {
        let item = state.item(&id)?;
        let is_run = item.asks.iter().any(|ask| item.runs(ask));
        Some((is_run, item.waits(now), id))
    });
    let event = name.parse::<EventId>().ok();
    let ledger = desk.ledger.clone();
    let found = blocking(move || event.and_then(|id| ledger.event(&id).ok()?).is_some()).await;
    let (why, next) = match (found.unwrap_or_default(), asked) {
        (true, _) => (
            "This call is not under way.",
            format!("plexusctl audit show {name}"),
        ),
        (false, Some((true, true, id))) => (
            "This run has not begun: it waits for you.",
            format!("plexusctl approvals show {id}"),
        ),
        (false, Some((false, true, id))) => (
            "This request waits for you: no call comes of it by itself.",
            format!("plexusctl approvals show {id}"),
        ),
        (false, Some((true, false, _))) => (
            "This run is not under way.",
            "plexusctl activity".to_owned(),
        ),
        (false, Some((false, false, _)) | None) => (
            "No call of this id is under way: it is over, or there was none.",
            "plexusctl activity".to_owned(),
        ),
    };
    Refused::new(ErrorBody::new(ErrorCode::NotFound, why).next(next))
}

/// Asks that a call end; its outcome says what was done by then. The name is its event's, its run's, or the one that the
/// list shows. A conversation takes no further message then.
async fn stop(desk: Arc<Desk>, narrowing: Narrowing, named: Stop) -> Result<Stopping, Refused> {
    if let Some(item) = conversation_of(&desk, &named.id) {
        let ended = end(&desk, &narrowing, item).await?;
        return Ok(Stopping::Approval(ended));
    }
    let Some(call) = desk.under_way.named(&named.id) else {
        return Err(none_of_this_name(&desk, &named.id).await);
    };
    call.cancel(CancelledBy::Owner);
    Ok(Stopping::Call {
        ok: Done,
        call: shown(&call, desk.clock.now()),
    })
}
