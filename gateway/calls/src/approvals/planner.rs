//! Has the reader compute what an effect would do, after the agent was answered.
//!
//! ```text
//! to be made ─▶ a place ─▶ made, or failed ─▶ recorded ─▶ the card is whole
//!      ▲                     │                  │
//!      └─ no room, stopping ─┴──────────────────┘
//! ```
//! Invariants: a plan is a call of the agent whose item it is, wherever calls stand in line, and an agent has few at a
//! time; what there was no room for is made later, and has not failed; none is begun for an item that does not wait.

use crate::{
    approvals::store::Planned,
    change_author::{self, ChangeAuthor},
    kernel::{Kernel, Phase},
};
use plexus_ipc::{
    message::{Failure, PlanMade},
    text::Line,
};
use plexus_ledger::SubmitError;
use plexus_protocol::{AgentId, Digest, PendingId, json};
use plexus_supervisor::{CallRequest, DispatchError, Stands};
use plexus_trust::{Agent, Ask, Command, Item, ItemState, Plan};
use std::{sync::Arc, time::Duration};

/// How long a plan may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// From one try to the next, where there was no room.
const AGAIN: Duration = Duration::from_secs(1);

/// Why there is no plan.
enum NotMade {
    Failed(String),
    /// Nothing is wrong with it.
    Later,
}

/// Plans what has to be planned of an item, and of others of its agent that wait for that longer. Returns at once.
pub fn start(kernel: &Arc<Kernel>, item: &PendingId) {
    let state = kernel.ledger.snapshot();
    if let Some(agent) = state.item(item).and_then(|item| state.agent(&item.agent)) {
        go_on(kernel, agent);
    }
}

/// Plans again what waits: after a restart, and what a change over cut off.
pub fn resume(kernel: &Arc<Kernel>) {
    let state = kernel.ledger.snapshot();
    for agent in state.agents.values() {
        go_on(kernel, agent);
    }
}

fn go_on(kernel: &Arc<Kernel>, agent: &Agent) {
    let waits = |item: &&Arc<Item>| item.state == ItemState::Pending;
    let mut items: Vec<_> = agent.items.values().filter(waits).collect();
    items.sort_by_key(|item| item.created_at);
    for item in items {
        for ask in item.asks.iter().filter(|ask| is_wanted(kernel, item, ask)) {
            let places = &kernel.approvals.planning;
            let Some(place) = places.take(&item.id, &item.agent, &ask.capability) else {
                continue;
            };
            let (kernel, item, ask) = (kernel.clone(), item.clone(), ask.clone());
            tokio::spawn(async move {
                plan(&kernel, &item, &ask).await;
                drop(place);
                // Its place is another's.
                if let Some(agent) = kernel.ledger.snapshot().agent(&item.agent) {
                    go_on(&kernel, agent);
                }
            });
        }
    }
}

/// Whether an ask still has to be planned, and by this launch.
fn is_wanted(kernel: &Kernel, item: &Item, ask: &Ask) -> bool {
    let state = kernel.ledger.snapshot();
    let now = state.time(kernel.clock.now());
    let waits = |item: &&Arc<Item>| item.state == ItemState::Pending && now < item.expires_at;
    let making = |a: &Ask| a.capability == ask.capability && a.plan == Plan::Making;
    kernel.phase() == Phase::Serving
        && state
            .item(&item.id)
            .filter(waits)
            .is_some_and(|item| item.asks.iter().any(making))
}

async fn plan(kernel: &Arc<Kernel>, item: &Item, ask: &Ask) {
    let made = loop {
        if !is_wanted(kernel, item, ask) {
            return;
        }
        // Not while it could not be recorded.
        let made = match kernel.takes_nothing() {
            None => make(kernel, item, ask).await,
            Some(_) => Err(NotMade::Later),
        };
        match made {
            Ok(made) => break Ok(made),
            Err(NotMade::Failed(why)) => break Err(why),
            Err(NotMade::Later) => tokio::time::sleep(AGAIN).await,
        }
    };
    let (command, view) = match made {
        Ok((made, once)) => {
            let preview = json::digest(&serde_json::to_value(&made.preview).unwrap_or_default());
            let command = Command::PlanReady {
                item: item.id.clone(),
                capability: ask.capability.clone(),
                preview,
                state_token: made.state_token,
                rating: made.rating,
                once,
            };
            (command, Planned::Made(made, preview))
        }
        Err(why) => {
            let command = Command::PlanFailed {
                item: item.id.clone(),
                capability: ask.capability.clone(),
            };
            (command, Planned::Failed(why))
        }
    };
    // The view first: a card that is complete by the machine has its preview.
    kernel.approvals.keep_plan(&item.id, &ask.capability, view);
    record(kernel, item, ask, command).await;
    kernel.approvals.note_change();
}

/// Records a plan as soon as the ledger takes it. Its view is kept for no item that does not wait any more.
async fn record(kernel: &Arc<Kernel>, item: &Item, ask: &Ask, command: Command) {
    loop {
        let error = match kernel.submit_for(&item.agent, command.clone()).await {
            Ok(_) => return,
            Err(error) => error,
        };
        let refused = matches!(error, SubmitError::Refused(_));
        if !refused {
            tokio::time::sleep(AGAIN).await;
            while is_wanted(kernel, item, ask) && kernel.takes_nothing().is_some() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        if refused || !is_wanted(kernel, item, ask) {
            tracing::debug!(name: "pending.plan_late", %error, pendingId = %item.id, "a plan came too late");
            let state = kernel.ledger.snapshot();
            let waits = |item: &Arc<Item>| item.state == ItemState::Pending;
            if !state.item(&item.id).is_some_and(waits) {
                kernel.approvals.drop_plans(&item.id);
            }
            return;
        }
    }
}

async fn make(
    kernel: &Arc<Kernel>,
    item: &Item,
    ask: &Ask,
) -> Result<(Arc<PlanMade>, bool), NotMade> {
    let failed = |why: &str| NotMade::Failed(why.to_owned());
    let entry = kernel
        .catalogue
        .load()
        .get(&ask.capability)
        .cloned()
        .ok_or_else(|| failed("this capability is gone"))?;
    let input = kernel
        .approvals
        .input(&item.id, ask)
        .ok_or_else(|| failed("the input was not kept, or is not the one that was asked with"))?;
    let digest = Digest::of(&input);
    let undoes = change_author::change(kernel, &item.agent, &entry, &input).await;
    let request = CallRequest {
        capability: entry.capability().name.clone(),
        input: input.into(),
        digest,
        constraint: ask.constraint.clone(),
        deadline: DEADLINE,
        revision: kernel
            .ledger
            .snapshot()
            .sources
            .get(&entry.source)
            .map_or(0, |s| s.revision),
        origin: None,
        owner: false,
        // Withdrawn while it stood in line: not sent.
        stands: Stands::while_so({
            let (kernel, item, ask) = (kernel.clone(), item.clone(), ask.clone());
            move || is_wanted(&kernel, &item, &ask)
        }),
        audit: None,
        progress: None,
        cancel: None,
        late: None,
    };
    match kernel.supervisor.plan(&entry.source, request).await {
        Ok(Ok(mut made)) => {
            // The harness has raised it; a worker that was taken over has no harness.
            made.rating = made.rating.max(entry.capability().rating());
            Ok(marked(*made, undoes, &item.agent))
        }
        Ok(Err(error)) if error.code == Failure::Busy => Err(NotMade::Later),
        Ok(Err(error)) => Err(NotMade::Failed(error.to_string())),
        Err(error) if is_for_want_of_room(&error) => Err(NotMade::Later),
        Err(error) => Err(NotMade::Failed(error.to_string())),
    }
}

/// Whether a call was never sent, for a reason that is not its own.
fn is_for_want_of_room(error: &DispatchError) -> bool {
    match error {
        DispatchError::Busy { .. } | DispatchError::ShuttingDown | DispatchError::TakenBack => true,
        DispatchError::Deadline { dispatched } | DispatchError::Died { dispatched } => !dispatched,
        DispatchError::NoSource | DispatchError::Unavailable { .. } => false,
    }
}

/// The plan of an undo says whose change it takes back; with it, whether it has to be approved by itself.
fn marked(
    mut made: PlanMade,
    undoes: Option<ChangeAuthor>,
    agent: &AgentId,
) -> (Arc<PlanMade>, bool) {
    let Some(whose) = undoes else {
        return (Arc::new(made), false);
    };
    let words = whose.in_words();
    // Ours come first: what the source adds cannot push them out.
    let rest = std::mem::take(&mut made.preview.facts);
    made.preview = made.preview.fact("change_of", &words);
    for fact in rest {
        made.preview = made.preview.fact(fact.name.as_str(), fact.value.as_str());
    }
    if whose != ChangeAuthor::Own {
        let warning = format!("This takes back a change that {agent} did not make: {words}.");
        made.warnings.insert(0, Line::new(warning));
    }
    (Arc::new(made), whose != ChangeAuthor::Own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_for_want_of_room_has_not_failed() {
        let busy = DispatchError::Busy { retry_after: AGAIN };
        let unsent = |dispatched| DispatchError::Deadline { dispatched };
        for later in [busy, DispatchError::ShuttingDown, unsent(false)] {
            assert!(is_for_want_of_room(&later), "{later:?}");
        }
        for failed in [DispatchError::NoSource, unsent(true)] {
            assert!(!is_for_want_of_room(&failed), "{failed:?}");
        }
    }
}
