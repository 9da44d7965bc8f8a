//! Approve can mean do it: the gateway itself commits what the owner approved, once, whether or not the agent waits.

use crate::{app::App, invoke};
use plexus_protocol::{ErrorCode, PendingId, json};
use plexus_trust::{Approval, Item, ItemState, OnApproval};
use std::sync::Arc;

/// Runs what an approved item allows. Returns at once.
pub(crate) fn start(app: &Arc<App>, item: &PendingId) {
    let state = app.ledger.snapshot();
    let Some(item) = state.item(item).cloned() else {
        return;
    };
    let due =
        item.on_approval == OnApproval::Run && matches!(item.state, ItemState::Approved { .. });
    // While all agents are paused nothing is run for them; the end of the pause takes it up.
    if due
        && !state.paused
        && item
            .asks
            .iter()
            .any(|ask| ask.approval == Approval::OneCall)
    {
        if !app.approvals.begin_run(&item.id) {
            return;
        }
        let app = app.clone();
        tokio::spawn(async move {
            run(&app, &item).await;
            app.approvals.end_run(&item.id);
        });
    }
}

/// Runs what was approved before a restart, or during a pause, and not begun: its state token decides whether it still
/// holds.
pub(crate) fn resume(app: &Arc<App>) {
    let state = app.ledger.snapshot();
    for item in state.agents.values().flat_map(|a| a.items.values()) {
        start(app, &item.id);
    }
}

async fn run(app: &Arc<App>, item: &Item) {
    for ask in item
        .asks
        .iter()
        .filter(|ask| ask.approval == Approval::OneCall)
    {
        let entry = app.catalogue.load().get(&ask.capability).cloned();
        let input = app
            .approvals
            .input(&item.id, ask)
            .and_then(|bytes| json::parse(&bytes).ok());
        let (Some(entry), Some(input)) = (entry, input) else {
            tracing::error!(name: "pending.input_lost", pendingId = %item.id, capability = %ask.capability, "an approved call has lost its input or its source");
            // Whoever waits for it is told, instead of waiting for what does not come.
            app.approvals
                .keep_result(&item.id, &invoke::lost(&ask.capability));
            continue;
        };
        let answer = invoke::run_approved(app, &item.id, &item.agent, entry, input).await;
        let paused = |e: &plexus_protocol::ErrorBody| e.code == ErrorCode::Paused;
        let unused = || {
            app.ledger
                .snapshot()
                .item(&item.id)
                .is_some_and(|i| i.runs_still(ask))
        };
        if answer.body.error.as_ref().is_some_and(paused) && unused() {
            // Paused in the last moment, before anything was begun: the approval is left for the end of the pause.
            continue;
        }
        app.approvals.keep_result(&item.id, &answer);
    }
}
