//! What one request asks of the kernel, in the words of the core.
//!
//! Invariant: that nothing was done is said only where that is so.

use crate::{edge::Edge, grant_reply, mcp_agents::ClientRequest};
use plexus_calls::{
    call::{Caller, InvokeRequest},
    conversation,
    events::Listener,
    life,
    limits::CallSlot,
    runs::OneRun,
};
use plexus_ledger::SubmitError;
use plexus_mcp::{Answer, Call, CallNews, Item, Refusal, Waiting};
use plexus_protocol::{
    AgentId, Digest, Effect, ErrorBody, ErrorCode, NextKind, PendingId, RunId,
    body::{InvokeResponse, ProgressChunk, VoidReason},
    words,
};
use plexus_sources::narration::clean;
use plexus_trust::{Approval, EnrollmentStatus, ItemState, OnApproval};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Who asks, and with which credential.
#[derive(Clone)]
pub(super) struct McpCaller {
    pub(super) caller: Caller,
    pub(super) epoch: u64,
    pub(super) pat: Digest,
    pub(super) request: Option<Arc<ClientRequest>>,
}

impl McpCaller {
    /// Whether what it is answered reaches its client.
    fn waits(&self) -> bool {
        let request = self.request.as_ref();
        !request.is_some_and(|request| request.is_given_up())
    }

    /// Whether the credential is still good.
    pub(super) fn stands(&self, edge: &Edge) -> bool {
        let state = edge.ledger.snapshot();
        let agent = state.agent_by_pat(&self.pat);
        agent.is_some_and(|agent| {
            agent.id == self.caller.agent
                && agent.epoch == self.epoch
                && agent.status != EnrollmentStatus::Revoked
                && !edge.revocations.ended(&agent.id)
        })
    }

    pub(super) fn listener(&self) -> Listener {
        Listener::Agent {
            agent: self.caller.agent.clone(),
            epoch: self.epoch,
        }
    }
}

/// What came of one piece of work.
pub(super) struct WorkResult {
    pub(super) answer: Answer,
    /// What it holds until its answer has been sent.
    pub(super) slot: Option<CallSlot>,
    /// What the item is about that was asked for.
    pub(super) about: Option<Waiting>,
}

impl From<Answer> for WorkResult {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            slot: None,
            about: None,
        }
    }
}

/// Makes a call. Approval makes it too, whether or not anybody waits.
pub(super) async fn call(edge: Arc<Edge>, who: McpCaller, call: Call) -> WorkResult {
    if let Err(error) = edge.admit(&who.caller.agent) {
        return Answer::Refused(refusal(*error)).into();
    }
    if edge.is_stopping() {
        return Answer::Refused(stopping()).into();
    }
    let request = InvokeRequest {
        id: call.capability.to_string(),
        input: Value::Object(call.input),
        purpose: call.purpose.as_deref().and_then(clean),
        on_approval: OnApproval::Run,
        in_background: call.long_running,
        key: None,
    };
    let mut slot = None;
    let answer = life::invoke(&edge.kernel, who.caller, request, &mut slot).await;
    let answer = told(&answer.body);
    // A call that goes on by itself holds no place while it is waited for.
    let slot = slot.filter(|_| !matches!(answer, Answer::GoesOn(_)));
    WorkResult {
        answer,
        slot,
        about: None,
    }
}

/// Sends a message of a conversation. Its turn goes on as a run.
pub(super) async fn say(
    edge: Arc<Edge>,
    who: McpCaller,
    message: plexus_mcp::Message,
) -> WorkResult {
    let agent = &who.caller.agent;
    if let Err(error) = edge.admit(agent) {
        return Answer::Refused(refusal(*error)).into();
    }
    if edge.is_stopping() {
        return Answer::Refused(stopping()).into();
    }
    let id = message
        .id
        .unwrap_or_else(|| RunId::fresh().as_str().to_owned());
    let message = conversation::Message {
        agent,
        epoch: who.epoch,
        conversation: &message.conversation,
        id: &id,
        text: &message.text,
    };
    let answer = match Box::pin(conversation::say(&edge.kernel, &message)).await {
        None => Answer::Unknown,
        Some(Err(error)) => Answer::Refused(refusal(*error)),
        Some(Ok(turn)) => match turn.run {
            Some(run) => Answer::GoesOn(Item::Run(run.run_id)),
            None => Answer::Refused(taken_before()),
        },
    };
    answer.into()
}

/// The message was a turn already, and what came of it is forgotten.
fn taken_before() -> Refusal {
    Refusal {
        code: "expired".into(),
        effect: Effect::Done,
        message: "That message was taken before; its answer is no longer kept.".into(),
        next: "send another message".into(),
        action: None,
    }
}

fn told(body: &InvokeResponse) -> Answer {
    if let Some(run) = &body.run {
        return Answer::GoesOn(Item::Run(run.run_id.clone()));
    }
    let pending = body.error.as_ref().and_then(|error| {
        let id = error.more.get("pendingId")?.as_str()?;
        id.parse::<PendingId>().ok()
    });
    match pending {
        Some(id) => Answer::GoesOn(Item::Pending(id)),
        None => Answer::Replied(value_of(body)),
    }
}

/// An answer as a value. An output that is none for our library stays the text that the worker wrote.
fn value_of(body: &InvokeResponse) -> Value {
    let parsed = |body: &InvokeResponse| {
        let text = serde_json::to_string(body).ok()?;
        serde_json::from_str::<Value>(&text).ok()
    };
    parsed(body).unwrap_or_else(|| {
        let mut rest = body.clone();
        let output = rest.output.take();
        let mut value = parsed(&rest).unwrap_or_else(|| json!({"ok": body.ok}));
        value["output"] = output.map_or(Value::Null, |output| output.get().into());
        value
    })
}

/// Takes the news of an item to the client that waits for its end.
pub(super) type Tell = mpsc::Sender<CallNews>;

/// How an item stands; where there is somebody to `tell`, once it has ended.
pub(super) async fn follow(
    edge: Arc<Edge>,
    who: McpCaller,
    item: Item,
    tell: Option<Tell>,
) -> WorkResult {
    match &item {
        Item::Pending(id) => {
            let answer = pending(&edge, &who, id, tell.as_ref()).await;
            let (answer, slot) = place_for(&edge, &who, answer);
            let state = edge.ledger.snapshot();
            let about = state.item(id).and_then(|item| grant_reply::request(item));
            let about = about.map(Waiting::from);
            WorkResult {
                answer,
                slot,
                about,
            }
        }
        Item::Run(id) => {
            let done = run(&edge, &who, id, tell.as_ref()).await;
            let (answer, slot) = place_for(&edge, &who, done.answer);
            WorkResult {
                answer,
                slot,
                about: done.about,
            }
        }
    }
}

/// An answer with an output takes one of its agent's places until it has left, as it does by the other routes.
fn place_for(edge: &Edge, who: &McpCaller, answer: Answer) -> (Answer, Option<CallSlot>) {
    if !matches!(answer, Answer::Replied(_)) {
        return (answer, None);
    }
    match edge.place(&who.caller.agent) {
        Ok(slot) => (answer, Some(slot)),
        Err(error) => (Answer::Refused(refusal(*error)), None),
    }
}

/// Tells what a run streams beyond `upto`, once there is something.
async fn hear(edge: &Edge, run: Option<&OneRun>, upto: &mut u64, tell: &Tell) {
    let Some(run) = run else {
        return std::future::pending().await;
    };
    run.beyond(*upto).await;
    let Some(part) = run.progress(edge, *upto) else {
        // Its agent may not have it any more.
        return std::future::pending().await;
    };
    *upto = part.next;
    for chunk in part.chunks {
        let heard = match chunk {
            ProgressChunk::Text(text) => CallNews::Text(text),
            ProgressChunk::Json(event) => match serde_json::from_str(event.get()) {
                Ok(event) => CallNews::Event(event),
                Err(_) => continue,
            },
        };
        // Nobody hears it where the request is over.
        let _ = tell.send(heard).await;
    }
}

async fn pending(edge: &Edge, who: &McpCaller, id: &PendingId, tell: Option<&Tell>) -> Answer {
    let mut changed = edge.approvals.changed();
    let (mut approved, mut upto) = (false, 0);
    loop {
        if !who.stands(edge) {
            return Answer::Refused(let_in_no_more(&who.caller.agent));
        }
        let state = edge.ledger.snapshot();
        let mine = |item: &&Arc<plexus_trust::Item>| {
            let agent = state.agent(&who.caller.agent);
            agent.is_some_and(|agent| item.is_of(agent))
        };
        let Some(item) = state.item(id).filter(mine).cloned() else {
            return Answer::Unknown;
        };
        let now = edge.clock.now();
        let undecided =
            matches!(item.state, ItemState::Pending) && item.wire_state(now) == "pending";
        if !undecided && !edge.approvals.is_running(edge, &item) {
            return decided(edge, &item, who.waits());
        }
        let Some(tell) = tell else {
            let item = Item::Pending(id.clone());
            return match undecided {
                true => Answer::GoesOn(item),
                false => Answer::UnderWay(item),
            };
        };
        let run = (!undecided).then(|| edge.runs.in_memory(id.conversation().as_str(), now));
        let run = run.flatten().filter(|run| !run.is_over());
        if run.is_some() && !std::mem::replace(&mut approved, true) {
            let _ = tell.send(CallNews::Approved).await;
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = hear(edge, run.as_deref(), &mut upto, tell) => {}
            () = edge.ending() => return Answer::Refused(stopping()),
        }
    }
}

fn decided(edge: &Edge, item: &plexus_trust::Item, waits: bool) -> Answer {
    match (&item.state, item.wire_state(edge.clock.now())) {
        (_, "approved") => {
            let results = edge.approvals.results(edge, item, waits);
            let told_of = results.and_then(|results| {
                let failed = results.iter().position(|result| !result.ok);
                let at = failed.unwrap_or(results.len() - 1);
                results.into_iter().nth(at)
            });
            told_of.map_or(Answer::Approved, |result| told(&result))
        }
        (ItemState::Denied { reason }, _) => {
            let (why, next) = words::denied(reason.as_deref());
            let error = ErrorBody::new(ErrorCode::DeniedByOwner, why);
            Answer::Refused(refusal(error.then(NextKind::Stop, next)))
        }
        (
            ItemState::Void {
                why: VoidReason::MadeByGrant,
            },
            _,
        ) => Answer::Refused(Refusal {
            code: "already_made".into(),
            effect: Effect::Done,
            message: "Another call of yours made this very call, by a grant.".into(),
            next: "do not repeat it: its answer went to that call".into(),
            action: None,
        }),
        (ItemState::Void { why }, _) => lapsed(why.as_str()),
        _ if item.asks.iter().all(|ask| ask.approval == Approval::Open) => {
            lapsed("It ended without a decision.")
        }
        _ => lapsed("It was approved, and that ended before it could be made."),
    }
}

fn lapsed(why: &str) -> Answer {
    Answer::Lapsed(Refusal {
        code: "expired".into(),
        effect: Effect::None,
        message: why.into(),
        next: "make the same call again, if it is still wanted".into(),
        action: None,
    })
}

async fn run(edge: &Edge, who: &McpCaller, id: &RunId, tell: Option<&Tell>) -> WorkResult {
    let Some(run) = run_of(edge, who, id).await else {
        return Answer::Unknown.into();
    };
    let about = run.capability().parse().ok().map(|capability| Waiting {
        item: Item::Run(id.clone()),
        capability,
        since: run.handle("", edge.clock.now()).started_at,
        purpose: None,
    });
    let mut upto = 0;
    let answer = loop {
        let Some(tell) = tell.filter(|_| !run.is_over()) else {
            break (!run.is_over()).then(|| Answer::GoesOn(Item::Run(id.clone())));
        };
        tokio::select! {
            () = run.finished() => {
                break (!who.stands(edge)).then(|| Answer::Refused(let_in_no_more(&who.caller.agent)));
            }
            () = hear(edge, Some(&run), &mut upto, tell) => {}
            () = edge.ending() => break Some(Answer::Refused(stopping())),
        }
    };
    let given = || {
        let given = run.given(edge);
        given.map_or(Answer::Unknown, |(_, result)| told(&result))
    };
    WorkResult {
        about,
        ..answer.unwrap_or_else(given).into()
    }
}

/// A run of this agent, in the epoch that asked.
async fn run_of(edge: &Edge, who: &McpCaller, id: &RunId) -> Option<Arc<OneRun>> {
    let run = edge.find_run(id.as_str()).await?;
    (run.whose() == (who.caller.agent.clone(), who.epoch)).then_some(run)
}

/// Withdraws a pending item, or cancels a run.
pub(super) async fn cancel(edge: Arc<Edge>, who: McpCaller, item: Item) -> WorkResult {
    let id = match item {
        Item::Pending(id) => id,
        Item::Run(id) => {
            let run = run_of(&edge, &who, &id).await;
            let cancelled = run.map_or(Answer::Unknown, |run| {
                run.cancel();
                Answer::Cancelled
            });
            return cancelled.into();
        }
    };
    let answer = match edge.withdraw(&who.caller.agent, &id).await {
        Ok(()) => Answer::Cancelled,
        Err(SubmitError::Refused(_)) => Answer::Unknown,
        Err(error) => {
            let error = plexus_calls::refusal::not_recorded(&error, None);
            Answer::Refused(refusal(error))
        }
    };
    answer.into()
}

/// What of this agent's waits for the owner, and then what is under way, each the oldest first.
pub(super) fn waiting(edge: &Edge, who: &McpCaller) -> Vec<Waiting> {
    let state = edge.ledger.snapshot();
    let Some(agent) = state.agent(&who.caller.agent) else {
        return Vec::new();
    };
    let waiting = grant_reply::waiting(edge, agent).into_iter();
    let running = edge.runs.under_way(&agent.id, who.epoch).into_iter();
    let running = running.map(Waiting::from);
    waiting.map(Waiting::from).chain(running).collect()
}

fn refusal(error: ErrorBody) -> Refusal {
    Refusal {
        code: error.code.as_str().to_owned(),
        effect: error.effect,
        message: error.message,
        next: error.next,
        action: error.next_action,
    }
}

/// The item outlives this launch: "unreachable" is what a core asks again about.
fn stopping() -> Refusal {
    Refusal {
        code: "unreachable".into(),
        effect: Effect::Unknown,
        message: "The gateway is stopping.".into(),
        next: "ask again when the gateway is back".into(),
        action: None,
    }
}

fn let_in_no_more(agent: &AgentId) -> Refusal {
    let why = "This credential is not live any more.";
    let error = ErrorBody::new(ErrorCode::SessionExpired, why).effect(Effect::Unknown);
    refusal(error.then(NextKind::Stop, plexus_protocol::new_code(Some(agent))))
}
