//! Calls that workers make of what other sources offer: each is a call of a nested agent, through its whole life.
//!
//! ```text
//! worker ─▶ as whom? ─▶ `<caller>.via.<source>`, or `via.<source>` for a resident worker's own
//!             └ nobody, or a call through its own source: refused   └─▶ a session of the gateway's own ─▶ life::invoke
//! ```
//! Invariants: who calls is derived here and never the worker's to say; a nested agent that the owner has not connected
//! calls nothing; nothing goes on for a caller whose credential has changed; a read, which may be made twice, calls reads
//! alone; what a workflow calls is a call of its caller (members.rs). A call that nobody waits for any more is dropped like one whose client has gone. An item is told of and
//! withdrawn for the nested agent alone that asked.
//!
//! Must not know: what the worker wants it for.

use crate::{
    ask_owner,
    call::{Caller, CallerProof, InvokeRequest},
    children,
    denial::{RefusedCall, note_denial},
    kernel::{Kernel, Phase},
    life, members,
};
use plexus_ipc::{
    message::{HostAsk, MAX_ITEM_WAIT},
    text::Payload,
};
use plexus_ledger::SubmitError;
use plexus_protocol::{
    AgentId, CapabilityId, ErrorBody, ErrorCode, NextKind, PendingId, SessionId, SourceId,
    body::InvokeResponse, json,
};
use plexus_sources::catalogue::wire_entry;
use plexus_supervisor::{HostCall, HostCaller};
use plexus_trust::{Command, EnrollmentStatus, ItemState, OnApproval, Refusal, SessionProof};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Sources that a call may pass through.
const DEPTH: usize = 3;

/// Carries a worker's call through, and answers it unless nobody waits any more.
pub(crate) async fn answer(kernel: Arc<Kernel>, call: HostCall) {
    let HostCall {
        source,
        caller,
        ask,
        mut reply,
    } = call;
    let answered = answered(&kernel, &source, caller, ask);
    let response = tokio::select! {
        biased;
        // A read is cancelled by this; an effect goes on, and is recorded.
        () = reply.closed() => return,
        response = Box::pin(answered) => response,
    };
    drop(reply.send(Payload::from(response)));
}

async fn answered(
    kernel: &Arc<Kernel>,
    source: &SourceId,
    caller: Option<HostCaller>,
    ask: HostAsk,
) -> Vec<u8> {
    let id = match &ask {
        HostAsk::Call { capability, .. } => capability.as_str().to_owned(),
        HostAsk::List
        | HostAsk::Item { .. }
        | HostAsk::Owner { .. }
        | HostAsk::Withdraw { .. }
        | HostAsk::Children { .. } => String::new(),
    };
    if matches!(ask, HostAsk::List) && is_owners(kernel, caller) {
        let told = json!({"ok": true, "owner": true, "capabilities": []});
        return told.to_string().into_bytes();
    }
    if let (HostAsk::Call { input, .. }, Some(HostCaller::Call { origin, .. })) = (&ask, caller)
        && let Some(call) = kernel.under_way.numbered(origin)
        && let Some(workflow) = &call.workflow
    {
        let response = Box::pin(members::answer(kernel, &call, workflow, &id, input)).await;
        return serde_json::to_vec(&response).unwrap_or_default();
    }
    // A call that was cancelled still takes its requests back.
    let may_be_over = matches!(ask, HostAsk::Withdraw { .. });
    let agent = nested(kernel, source, caller, may_be_over);
    let response = match (ask, agent) {
        (HostAsk::Children { approval, ask }, _) => {
            let told = children::answered(kernel, source, caller, &approval, &ask).await;
            return told.to_string().into_bytes();
        }
        (HostAsk::Owner { question, seconds }, _) => {
            let told = ask_owner::asked(kernel, source, caller, *question, seconds).await;
            return told.to_string().into_bytes();
        }
        (_, Err(error)) => InvokeResponse::refused(&id, *error, None),
        (HostAsk::List, Ok(agent)) => return view(kernel, &agent).to_string().into_bytes(),
        (HostAsk::Item { item, seconds }, Ok(agent)) => {
            let wait = Duration::from_secs(seconds.min(MAX_ITEM_WAIT).into());
            let told = standing(kernel, &agent, &item, wait).await;
            return told.to_string().into();
        }
        (HostAsk::Withdraw { item }, Ok(agent)) => {
            return withdrawn(kernel, agent, item).await.to_string().into();
        }
        (HostAsk::Call { input, .. }, Ok(agent)) => {
            match made(kernel, &agent, caller, &id, &input).await {
                Ok(response) => response,
                Err(error) => {
                    let input = json::parse_wide(&input).unwrap_or_default();
                    let call = RefusedCall::from((&agent, &*id)).with(&input);
                    let audit = note_denial(kernel, call, &error).await;
                    InvokeResponse::refused(&id, *error, audit.as_ref())
                }
            }
        }
    };
    serde_json::to_vec(&response).unwrap_or_default()
}

/// Whether the worker serves a call of the owner's own, who needs no nested agent.
fn is_owners(kernel: &Kernel, caller: Option<HostCaller>) -> bool {
    let Some(HostCaller::Call { origin, .. }) = caller else {
        return false;
    };
    let call = kernel.under_way.numbered(origin);
    call.is_some_and(|call| call.principal.agent().is_none())
}

/// How an item of a nested agent stands, once that is decided or the wait is over.
async fn standing(kernel: &Kernel, agent: &AgentId, id: &PendingId, wait: Duration) -> Value {
    let until = Instant::now() + wait;
    let mut changed = kernel.approvals.changed();
    loop {
        let state = kernel.ledger.snapshot();
        let known = state.agent(agent);
        let item = state
            .item(id)
            .filter(|item| known.is_some_and(|agent| item.is_of(agent)));
        let Some(item) = item else {
            return json!({"ok": false, "state": "unknown"});
        };
        let told = item.wire_state(kernel.clock.now());
        let is_late = Instant::now() >= until || kernel.phase() != Phase::Serving;
        if told != "pending" || is_late {
            let reason = match &item.state {
                ItemState::Denied { reason } => reason.clone(),
                ItemState::Void { why } => Some(why.to_string()),
                _ => None,
            };
            return json!({"ok": true, "state": told, "reason": reason});
        }
        drop(state);
        tokio::select! {
            _ = tokio::time::timeout_at(until, changed.changed()) => {}
            () = kernel.ending() => {}
        }
    }
}

async fn withdrawn(kernel: &Kernel, agent: AgentId, item: PendingId) -> Value {
    json!({"ok": kernel.withdraw(&agent, &item).await.is_ok()})
}

/// As whom the worker of `source` calls.
fn nested(
    kernel: &Kernel,
    source: &SourceId,
    caller: Option<HostCaller>,
    may_be_over: bool,
) -> Result<AgentId, Box<ErrorBody>> {
    let refused = |why: &str| ErrorBody::new(ErrorCode::GrantRequired, why);
    let over = || {
        let why = "The call that this one serves is over, is a plan, or is the owner's own.";
        Box::new(refused(why).next("call while the agent's call is under way"))
    };
    let agent = match caller.ok_or_else(over)? {
        HostCaller::Source => AgentId::via(None, source),
        HostCaller::Call { origin, .. } => {
            let call = kernel.under_way.numbered(origin).ok_or_else(over)?;
            let agent = call.principal.agent().ok_or_else(over)?;
            let state = kernel.ledger.snapshot();
            let is_same = state
                .agent(agent)
                .is_some_and(|known| Some(known.epoch) == call.principal.epoch());
            if !is_same || (call.cancelled_by().is_some() && !may_be_over) {
                return Err(over());
            }
            if agent.sources().any(|passed| passed == source.as_str()) {
                let why = "A source is not called through itself.";
                return Err(Box::new(refused(why).next("call another source")));
            }
            AgentId::via(Some(agent), source)
        }
    };
    let deep = || {
        let why = "The call passes through too many sources.";
        Box::new(refused(why).next("call it directly"))
    };
    // A name that is too long passes through many, or is its caller's.
    let agent = agent.map_err(|_| deep())?;
    if agent.sources().count() > DEPTH {
        return Err(deep());
    }
    Ok(agent)
}

/// The capabilities that the nested agent may know of, as a manifest lists them.
fn view(kernel: &Kernel, agent: &AgentId) -> Value {
    let state = kernel.ledger.snapshot();
    let now = kernel.clock.now();
    let catalogue = kernel.catalogue.load();
    let known = state.agent(agent);
    let seen = known.map(|agent| catalogue.view(&state, agent, now));
    let entries = seen.into_iter().flatten().map(|entry| {
        let agent = known.map(|agent| (agent, now));
        wire_entry(entry, &state, agent, None)
    });
    json!({"ok": true, "agentId": agent, "capabilities": entries.collect::<Vec<_>>()})
}

async fn made(
    kernel: &Arc<Kernel>,
    agent: &AgentId,
    caller: Option<HostCaller>,
    id: &str,
    input: &[u8],
) -> Result<InvokeResponse, Box<ErrorBody>> {
    let input = json::parse_wide(input).ok().filter(Value::is_object);
    let input = input.ok_or_else(|| {
        let error = ErrorBody::new(
            ErrorCode::SchemaValidationFailed,
            "The input is no JSON object.",
        );
        Box::new(error.next("give an object"))
    })?;
    kernel.admit(agent)?;
    let is_read = |id: &CapabilityId| {
        let entry = kernel.catalogue.load().get(id).cloned();
        entry.is_none_or(|entry| entry.capability().is_read())
    };
    let by_read = matches!(caller, Some(HostCaller::Call { is_read: true, .. }));
    if by_read && !CapabilityId::parse(id).is_ok_and(|id| is_read(&id)) {
        let why = "A read changes nothing, so it calls reads alone.";
        let error = ErrorBody::new(ErrorCode::GrantRequired, why);
        return Err(Box::new(error.next("call it from an effect")));
    }
    let session = session(kernel, agent).await?;
    let caller = Caller {
        agent: agent.clone(),
        by: CallerProof::Session(session),
    };
    let request = InvokeRequest {
        id: id.to_owned(),
        input,
        purpose: None,
        on_approval: OnApproval::Wait,
        in_background: false,
        key: None,
    };
    let mut slot = None;
    Ok(life::invoke(kernel, caller, request, &mut slot).await.body)
}

/// The gateway's own session as `agent`: it ends like any other, and is opened again.
async fn session(kernel: &Kernel, agent: &AgentId) -> Result<SessionId, Box<ErrorBody>> {
    let state = kernel.ledger.snapshot();
    let known = state
        .agent(agent)
        .filter(|known| known.status != EnrollmentStatus::Revoked)
        .ok_or_else(|| not_connected(agent))?;
    let now = state.time(kernel.clock.now());
    let open = kernel.host_sessions.of(agent);
    let is_live = |id: &SessionId| {
        let open = known.sessions.get(id);
        open.is_some_and(|open| now < open.expires_at)
    };
    if let Some(open) = open.filter(is_live) {
        return Ok(open);
    }
    let fresh = SessionId::fresh();
    let command = Command::OpenSession {
        agent: Some(agent.clone()),
        by: SessionProof::Gateway,
        session: fresh.clone(),
        client: (None, None),
    };
    match kernel.submit_for(agent, command).await {
        Ok(_) => {
            kernel.host_sessions.keep(agent, &fresh);
            Ok(fresh)
        }
        Err(SubmitError::Refused(Refusal::SessionExpired)) => Err(not_connected(agent)),
        Err(SubmitError::Refused(refusal)) => {
            Err(Box::new(crate::refusal::refused(&refusal, None)))
        }
        Err(error) => Err(Box::new(crate::refusal::not_recorded(&error, None))),
    }
}

fn not_connected(agent: &AgentId) -> Box<ErrorBody> {
    let why = format!("The owner has not connected {agent}.");
    let error = ErrorBody::new(ErrorCode::GrantRequired, why);
    Box::new(error.then(
        NextKind::Stop,
        format!("stop; tell the owner: plexusctl connect {agent} --allow CAPABILITY"),
    ))
}
