//! Conversations: further messages under one approval, each a call of its own (docs/design.md#bounded-approvals).
//!
//! ```text
//! message ─▶ known: the turn that it is ─────────────────────────────┐
//!    └─ new ─▶ authorized ─▶ a run ─▶ intent, which uses the turn ───┴─▶ which turn, how many are left, its run
//!                 └─ ended, spent, over, a turn under way: nothing is done
//! ```
//! Invariants: a turn is answered only once its intent is recorded; the same message is the same run; a turn stands on
//! its approval alone, and on no session or token of who sent the message.
//!
//! Must not know: HTTP, what a turn does.

use crate::{
    background,
    call::{Asked, Caller, CallerProof},
    denial::note_denial,
    kernel::Kernel,
    life,
    permit::Authorized,
    refusal,
    runs::OneRun,
};
use plexus_protocol::{
    AgentId, Digest, ErrorBody, ErrorCode, NextKind, PendingId, RunId, body::Run,
};
use plexus_trust::{Item, Refusal};
use serde_json::{Value, json};
use std::sync::Arc;

/// A further message of an agent.
pub struct Message<'a> {
    /// Who sends it.
    pub agent: &'a AgentId,
    /// The agent's epoch in which it is sent.
    pub epoch: u64,
    /// The conversation.
    pub conversation: &'a RunId,
    /// The sender's own name for it.
    pub id: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// The turn that a message became.
pub struct Turn {
    /// Which, counted from 1.
    pub turn: u32,
    /// Turns that are left after it.
    pub turns_left: u32,
    /// Its run; none where that is forgotten.
    pub run: Option<Run>,
}

/// Takes a message. `None`: the agent has no such conversation.
///
/// # Errors
/// Why it is no turn; nothing was done then, or a run's own answer says what.
pub async fn say(
    kernel: &Arc<Kernel>,
    message: &Message<'_>,
) -> Option<Result<Turn, Box<ErrorBody>>> {
    let item = message.conversation.item();
    let (held, capability) = {
        let state = kernel.ledger.snapshot();
        let agent = state.agent(message.agent)?;
        let held = agent.items.get(&item).filter(|held| held.is_of(agent))?;
        let mut asks = held.asks.iter();
        let ask = asks.find(|ask| ask.bounded_for(&ask.capability).is_some())?;
        if agent.epoch != message.epoch {
            return None;
        }
        (held.clone(), ask.capability.clone())
    };
    let id = Digest::of(message.id.as_bytes());
    if let Some(turn) = turn_of(kernel, &held, &id).await {
        return Some(Ok(turn));
    }
    let entry = kernel.catalogue.load().get(&capability).cloned();
    let field = entry.as_ref().and_then(|entry| {
        let turns = entry.capability().conversation.as_ref();
        turns.map(|turns| turns.message.clone())
    });
    let (Some(entry), Some(field)) = (entry, field) else {
        let error = refusal::refused(&Refusal::UnknownCapability, Some(&capability));
        return Some(Err(Box::new(error)));
    };
    let input = Value::Object([(field, json!(message.text))].into_iter().collect());
    let call = (entry, input, "send a shorter message");
    Some(taken(kernel, message.agent, &item, call, id).await)
}

/// Makes a message a turn, or a name a child call; with what to do where its input does not fit.
pub(crate) async fn taken(
    kernel: &Arc<Kernel>,
    agent: &AgentId,
    item: &PendingId,
    (entry, input, unfit): (Arc<plexus_sources::catalogue::Entry>, Value, &str),
    id: Digest,
) -> Result<Turn, Box<ErrorBody>> {
    if let Err(why) = entry.check(&input) {
        let error = ErrorBody::new(ErrorCode::SchemaValidationFailed, why).about(&entry.id);
        return Err(Box::new(error.then(NextKind::Retry, unfit)));
    }
    let run = RunId::of_message(item, &id);
    let _place = kernel.place(agent)?;
    let caller = Caller {
        agent: agent.clone(),
        by: CallerProof::Turn(item.clone()),
    };
    let asked = Asked::new(caller, entry, input);
    let capability = asked.id().clone();
    let refused = |refusal: &Refusal| Box::new(refusal::refused(refusal, Some(&capability)));
    // From here to the start of the run nothing is waited for: of two that send the same message the second finds the
    // run of the first.
    let now = kernel.clock.now();
    let made = kernel.runs.in_memory(run.as_str(), now);
    // One that ended before its intent was no turn: the same message may be sent again.
    let is_made = made.is_some_and(|run| !(run.is_over() && run.began_nothing()));
    if !is_made {
        let entered = life::enter(kernel, &asked, Some(run.clone()));
        match asked.clone().authorize(kernel) {
            Ok(Authorized::Yes(permitted)) => {
                let begun = background::start(kernel, permitted, entered, run.clone(), Some(id));
                if let Some(error) = begun.body.error {
                    return Err(error);
                }
            }
            Ok(Authorized::Pend { .. }) => {
                return Err(refused(&Refusal::GrantRequired { constraint: None }));
            }
            Err(refusal) => {
                let error = refused(&refusal);
                Box::pin(note_denial(kernel, &asked, &error)).await;
                return Err(error);
            }
        }
    }
    let made = kernel.runs.in_memory(run.as_str(), now);
    let made = made.ok_or_else(|| refused(&Refusal::NoSuchItem))?;
    begun(&made).await;
    let state = kernel.ledger.snapshot();
    let held = state.agent(agent).and_then(|a| a.items.get(item));
    if let Some(turn) = held.and_then(|held| turn_in(held, &id)) {
        let run = Some(made.handle(&kernel.base, kernel.clock.now()));
        return Ok(Turn { run, ..turn });
    }
    // It ended before its intent, and its answer says why.
    let error = made.result().and_then(|(_, answer)| answer.error);
    Err(error.unwrap_or_else(|| refused(&Refusal::NoSuchItem)))
}

/// Waits until a run's intent is recorded, or there will be none.
async fn begun(run: &OneRun) {
    let intended = async {
        match &run.call {
            Some(call) => call.begun().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = intended => {}
        () = run.finished() => {}
    }
}

/// The turn that a message is already, with its run as far as that is kept.
pub(crate) async fn turn_of(kernel: &Kernel, item: &Item, message: &Digest) -> Option<Turn> {
    let turn = turn_in(item, message)?;
    let now = kernel.clock.now();
    let run = RunId::of_message(&item.id, message);
    let run = kernel.find_run(run.as_str()).await;
    let run = run.map(|run| run.handle(&kernel.base, now));
    Some(Turn { run, ..turn })
}

fn turn_in(item: &Item, message: &Digest) -> Option<Turn> {
    let bounded = item.asks.iter().find_map(|ask| ask.bounded.as_deref())?;
    Some(Turn {
        turn: *bounded.messages.get(message)?,
        turns_left: bounded.turns_left(),
        run: None,
    })
}
