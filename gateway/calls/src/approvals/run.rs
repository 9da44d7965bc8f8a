//! Approve can mean do it: the gateway itself commits what the owner approved, once, whether or not the agent waits.
//!
//! ```text
//! approved ─▶ due ─┬ asked ─▶ intent ─▶ outcome ─▶ answer kept
//!              ▲   ├ refused for good ─▶ not made, recorded ─▶ answer kept
//!              └───┴ paused, busy, not recorded, stopping: nothing is kept
//! ```
//! Invariant: an answer is kept only for a call that can not be made any more.

use crate::{
    call::{Asked, Caller, CallerProof},
    kernel::{Kernel, Phase},
    life,
};
use plexus_ledger::{Lane, SubmitError};
use plexus_protocol::{ErrorCode, PendingId};
use plexus_trust::{Approval, Ask, Command, Item, ItemState, OnApproval};
use std::sync::Arc;

/// Runs what an approved item allows. Returns at once.
pub fn start(kernel: &Arc<Kernel>, item: &PendingId) {
    // What a stop would cut off stays approved; the next launch takes it up.
    if kernel.phase() != Phase::Serving {
        return;
    }
    let state = kernel.ledger.snapshot();
    // While all agents are paused nothing is run for them; the end of the pause takes it up.
    let due = state.item(item).filter(|item| is_due(item));
    let Some(item) = due.filter(|_| !kernel.revocations.paused(&state)).cloned() else {
        return;
    };
    if !kernel.approvals.begin_run(&item.id) {
        return;
    }
    let kernel = kernel.clone();
    tokio::spawn(async move {
        run(&kernel, &item.id).await;
        kernel.approvals.end_run(&item.id);
    });
}

/// Runs what was approved before a restart, or during a pause, and not begun: its state token decides whether it still
/// holds.
pub fn resume(kernel: &Arc<Kernel>) {
    let state = kernel.ledger.snapshot();
    let items = state.agents.values().flat_map(|agent| agent.items.values());
    for item in items.filter(|item| is_due(item)) {
        start(kernel, &item.id);
    }
}

fn is_due(item: &Item) -> bool {
    item.on_approval == OnApproval::Run
        && matches!(item.state, ItemState::Approved { .. })
        && item
            .asks
            .iter()
            .any(|ask| ask.approval == Approval::OneCall)
}

async fn run(kernel: &Arc<Kernel>, id: &PendingId) {
    // Read only now: a runner before us may have ended since our caller looked.
    let Some(item) = kernel
        .ledger
        .snapshot()
        .item(id)
        .filter(|i| is_due(i))
        .cloned()
    else {
        return;
    };
    let due = |ask: &&Ask| ask.approval == Approval::OneCall;
    for ask in item.asks.iter().filter(due) {
        if kernel.phase() != Phase::Serving {
            return;
        }
        let entry = kernel.catalogue.load().get(&ask.capability).cloned();
        let input = super::input_aside(kernel, &item.id, ask).await;
        let terms = super::terms(kernel, &item, ask);
        // Until its answer is kept: a revoke meanwhile ends what it reads.
        let mut entered = None;
        let answer = match (entry, input) {
            (Some(entry), Some((_, input))) => {
                let caller = Caller {
                    agent: item.agent.clone(),
                    by: CallerProof::Approval(item.id.clone()),
                };
                let asked = Asked::new(caller, entry, input);
                let run = Some(item.id.conversation());
                let entered = entered.insert(life::enter(kernel, &asked, run));
                life::run_approved(kernel, asked, entered.clone(), ask.key).await
            }
            _ => {
                tracing::error!(name: "pending.input_lost", pendingId = %item.id, capability = %ask.capability, "an approved call has lost its input or its source");
                // Its waiters are notified, instead of waiting for what does not come.
                crate::denial::lost(&ask.capability)
            }
        };
        if is_final(kernel, &item, ask, &answer).await {
            let stands = entered
                .as_ref()
                .is_none_or(|entered| !entered.call.is_revoked());
            kernel
                .approvals
                .keep_result(&item, ask, &answer, terms, stands);
        }
    }
}

/// Whether an answer is the last word on its call: it was begun, or it can not be begun any more.
async fn is_final(
    kernel: &Arc<Kernel>,
    item: &Item,
    ask: &Ask,
    answer: &crate::answer::Answer,
) -> bool {
    let state = kernel.ledger.snapshot();
    if !state.item(&item.id).is_some_and(|i| i.runs_still(ask)) {
        return true;
    }
    let code = answer.body.error.as_ref().map(|error| error.code);
    let word = match code {
        // Nothing was begun, and nothing is wrong with the call: it stays due.
        Some(ErrorCode::Paused | ErrorCode::Busy | ErrorCode::AuditUnavailable) => return false,
        Some(code) => code.as_str(),
        None => "answered without an intent",
    };
    let command = Command::NotMade {
        agent: item.agent.clone(),
        item: item.id.clone(),
        capability: ask.capability.clone(),
        why: format!("the approved call was refused before it was made: {word}"),
    };
    // In the owner's lane: it ends what the owner allowed.
    match kernel.ledger.submit(command, Lane::Owner).await {
        // Refused where somebody else has taken it back meanwhile.
        Ok(_) | Err(SubmitError::Refused(_)) => true,
        Err(error) => {
            tracing::warn!(name: "pending.unsaved", %error, pendingId = %item.id, "the end of an approved call could not be recorded; it stays due");
            false
        }
    }
}
