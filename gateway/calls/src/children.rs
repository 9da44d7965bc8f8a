//! Child calls: what a resident worker does with an approval of them (docs/design.md#bounded-approvals).
//!
//! ```text
//! worker ─▶ whose approval? ─▶ its name is known: that run ─────────────────────────────┐
//!             └ not its source's   └─ new ─▶ authorized ─▶ a run ─▶ intent, which uses one ─┴─▶ its run, how many are left
//! ```
//! Invariants: an approval is its source's alone; a child call is a call of the agent that asked for the approved one, and
//! stands on that approval alone; it is answered only once its intent is recorded; a name is one run for ever.
//!
//! Must not know: what a child does, in which order children are made.

use crate::{
    bounded::name_of,
    conversation,
    denial::note_denial,
    kernel::{Kernel, Phase},
    refusal,
};
use plexus_ipc::message::{ChildAsk, MAX_ITEM_WAIT};
use plexus_ledger::SubmitError;
use plexus_protocol::{
    AgentId, CapabilityId, Digest, ErrorBody, ErrorCode, NextKind, PendingId, RunId, SourceId, json,
};
use plexus_supervisor::HostCaller;
use plexus_trust::{Bounded, BoundedState, Command, Item, Refusal};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// An approval of child calls.
struct Approved {
    agent: AgentId,
    item: Arc<Item>,
    /// Whether a call of its capability may be made now, as far as the owner's switches say.
    suspended: bool,
    /// Whether the program that asked for it is still its agent.
    is_of_agent: bool,
}

impl Approved {
    fn bounded(&self) -> Option<&Bounded> {
        let mut all = self
            .item
            .asks
            .iter()
            .filter_map(|ask| ask.bounded.as_deref());
        all.find(|bounded| bounded.children.is_some())
    }
}

/// Answers what the worker of `source` asks about `approval`.
pub(crate) async fn answered(
    kernel: &Arc<Kernel>,
    source: &SourceId,
    caller: Option<HostCaller>,
    approval: &Digest,
    ask: &ChildAsk,
) -> Value {
    let answer = async {
        let none = || {
            let why = "This source has no such approval of child calls.";
            Box::new(ErrorBody::new(ErrorCode::GrantRequired, why).next("ask the owner for one"))
        };
        // A call that it serves has its own way to others, as an agent of its own.
        let held = match caller {
            Some(HostCaller::Source) => approved(kernel, source, approval).ok_or_else(none)?,
            Some(HostCaller::Call { .. }) | None => return Err(none()),
        };
        if !held.is_of_agent && *ask != ChildAsk::Approval {
            return Err(none());
        }
        let digest = |name: &str| Digest::of(name.as_bytes());
        match ask {
            ChildAsk::Approval => standing(kernel, &held).ok_or_else(none),
            ChildAsk::Call {
                name,
                capability,
                input,
            } => {
                made(
                    kernel,
                    &held,
                    digest(name.as_str()),
                    capability.as_str(),
                    input,
                )
                .await
            }
            ChildAsk::Run { name, seconds } => {
                run(kernel, &held, digest(name.as_str()), *seconds).await
            }
            ChildAsk::Stop { name } => {
                let run = RunId::of_message(&held.item.id, &digest(name.as_str()));
                if let Some(run) = kernel.runs.in_memory(run.as_str(), kernel.clock.now()) {
                    run.cancel();
                }
                Ok(json!({"ok": true}))
            }
            ChildAsk::End => ended(kernel, &held).await,
        }
    };
    let answer: Result<Value, Box<ErrorBody>> = Box::pin(answer).await;
    answer.unwrap_or_else(|error| json!({"ok": false, "error": error}))
}

/// The approval of this name, where it is about a capability of `source` and was opened.
fn approved(kernel: &Kernel, source: &SourceId, approval: &Digest) -> Option<Approved> {
    let state = kernel.ledger.snapshot();
    let agents = state.agents.values();
    let mut items = agents.flat_map(|agent| agent.items.values().map(move |item| (agent, item)));
    items.find_map(|(agent, item)| {
        let ask = item.asks.iter().find(|ask| {
            let bounded = ask.bounded.as_deref();
            bounded.is_some_and(|b| b.children.is_some() && b.state != BoundedState::Asked)
        })?;
        let is_own = ask.capability.parts().0 == source.as_str();
        (is_own && name_of(&item.id) == *approval).then(|| Approved {
            agent: agent.id.clone(),
            item: item.clone(),
            suspended: kernel.revocations.paused(&state) || !state.exposed(&ask.capability),
            is_of_agent: item.is_of(agent),
        })
    })
}

/// The item of the approval of child calls that this source knows by that name.
#[must_use]
pub fn item_of(kernel: &Kernel, source: &SourceId, approval: &Digest) -> Option<PendingId> {
    approved(kernel, source, approval).map(|held| held.item.id.clone())
}

/// How an approval stands.
fn standing(kernel: &Kernel, held: &Approved) -> Option<Value> {
    let bounded = held.bounded()?;
    let now = kernel.ledger.snapshot().time(kernel.clock.now());
    let state = match &bounded.state {
        _ if !held.is_of_agent => "void",
        BoundedState::Void { .. } => "void",
        BoundedState::Spent => "spent",
        BoundedState::Open { .. } if !bounded.is_open(now) => "over",
        BoundedState::Expired | BoundedState::Asked => "over",
        BoundedState::Open { .. } if held.suspended => "suspended",
        BoundedState::Open { .. } => "open",
    };
    Some(json!({
        "ok": true,
        "state": state,
        "left": bounded.turns_left(),
        "until": bounded.until().map(|until| until.0),
    }))
}

/// Ends an approval that its source has no use for any more.
async fn ended(kernel: &Kernel, held: &Approved) -> Result<Value, Box<ErrorBody>> {
    let end = Command::EndTurns {
        item: held.item.id.clone(),
        by_source: true,
    };
    match kernel.submit_for(&held.agent, end).await {
        // Refused: nothing of it is open.
        Ok(_) | Err(SubmitError::Refused(_)) => Ok(json!({"ok": true})),
        Err(error) => Err(Box::new(refusal::not_recorded(&error, None))),
    }
}

/// Makes the child call of this name, or finds it made.
async fn made(
    kernel: &Arc<Kernel>,
    held: &Approved,
    name: Digest,
    id: &str,
    input: &[u8],
) -> Result<Value, Box<ErrorBody>> {
    let item = &held.item;
    let taken = |used: u32, left: u32| {
        let run = RunId::of_message(&item.id, &name);
        json!({"ok": true, "run": run, "used": used, "left": left})
    };
    if let Some(bounded) = held.bounded().filter(|b| b.messages.contains_key(&name)) {
        return Ok(taken(bounded.used, bounded.turns_left()));
    }
    if kernel.phase() != Phase::Serving {
        let error = ErrorBody::new(ErrorCode::Busy, "The gateway is stopping.");
        return Err(Box::new(
            error.then(NextKind::Retry, "ask again when the gateway is back"),
        ));
    }
    let input = json::parse_wide(input).ok().filter(Value::is_object);
    let input = input.ok_or_else(|| {
        let why = "The input is no JSON object.";
        let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, why);
        Box::new(error.next("give an object"))
    })?;
    kernel.admit(&held.agent)?;
    let entry = CapabilityId::parse(id).ok();
    let entry = entry.and_then(|id| kernel.catalogue.load().get(&id).cloned());
    let Some(entry) = entry else {
        let error = Box::new(refusal::refused(&Refusal::UnknownCapability, None));
        Box::pin(note_denial(kernel, (&held.agent, id), &error)).await;
        return Err(error);
    };
    let call = (entry, input, "give an input that fits");
    let turn = conversation::taken(kernel, &held.agent, &item.id, call, name).await?;
    Ok(taken(turn.turn, turn.turns_left))
}

/// How the run of a child call stands, once it is over or the wait is.
async fn run(
    kernel: &Kernel,
    held: &Approved,
    name: Digest,
    seconds: u8,
) -> Result<Value, Box<ErrorBody>> {
    let is_made = |bounded: &&Bounded| bounded.messages.contains_key(&name);
    if held.bounded().filter(is_made).is_none() {
        let error = ErrorBody::new(ErrorCode::NotFound, "No child call of this name was made.");
        return Err(Box::new(error.next("make it")));
    }
    let id = RunId::of_message(&held.item.id, &name);
    let Some(run) = kernel.find_run(id.as_str()).await else {
        return Ok(json!({"ok": true, "state": "unknown"}));
    };
    let wait = Duration::from_secs(seconds.min(MAX_ITEM_WAIT).into());
    tokio::select! {
        () = run.finished() => {}
        () = kernel.ending() => {}
        () = tokio::time::sleep(wait) => {}
    }
    Ok(match run.given(kernel) {
        // The gateway ended with it, or it took too long; what it did is on record since.
        Some((_, answer))
            if refusal::is_known_since(&kernel.ledger.snapshot(), &held.agent, &answer) =>
        {
            json!({"ok": true, "state": "unknown"})
        }
        Some((_, answer)) => json!({"ok": true, "state": "over", "answer": answer}),
        None => json!({"ok": true, "state": "running"}),
    })
}
