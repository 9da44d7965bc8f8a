//! Approve can mean do it: the gateway itself commits what the owner approved, once, whether or not the agent waits.

use crate::{app::App, invoke};
use plexus_protocol::{PendingId, json};
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
    if due
        && item
            .asks
            .iter()
            .any(|ask| ask.approval == Approval::OneCall)
    {
        tokio::spawn(run(app.clone(), item));
    }
}

/// Runs what was approved before a restart and not begun: its state token decides whether it still holds.
pub(crate) fn resume(app: &Arc<App>) {
    let state = app.ledger.snapshot();
    for item in state.agents.values().flat_map(|a| a.items.values()) {
        start(app, &item.id);
    }
}

async fn run(app: Arc<App>, item: Arc<Item>) {
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
            tracing::error!(item = %item.id, capability = %ask.capability, "an approved call has lost its input or its source");
            // Whoever waits for it is told, instead of waiting for what does not come.
            app.approvals
                .keep_result(&item.id, &invoke::lost(&ask.capability));
            continue;
        };
        let answer = invoke::run_approved(&app, &item.id, &item.agent, entry, input).await;
        app.approvals.keep_result(&item.id, &answer);
    }
}
