//! Has the reader compute what an effect would do, after the agent was answered.

use super::Planned;
use crate::{
    app::App,
    invoke::whose::{self, Whose},
    supervisor::{CallRequest, Stands},
};
use plexus_ipc::{message::PlanMade, text::Line};
use plexus_ledger::Lane;
use plexus_protocol::{AgentId, Digest, PendingId, json};
use plexus_trust::{Ask, Command, Item, ItemState, Plan};
use std::{sync::Arc, time::Duration};

/// How long a plan may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Plans every ask of an item that has to be planned. Returns at once.
pub(crate) fn start(app: &Arc<App>, item: &PendingId) {
    let state = app.ledger.snapshot();
    let Some(item) = state
        .item(item)
        .filter(|i| i.state == ItemState::Pending)
        .cloned()
    else {
        return;
    };
    for ask in item.asks.iter().filter(|a| a.plan == Plan::Making) {
        tokio::spawn(plan(app.clone(), item.clone(), ask.clone()));
    }
}

/// Plans again what waits: after a restart.
pub(crate) fn resume(app: &Arc<App>) {
    let state = app.ledger.snapshot();
    let waiting = state
        .agents
        .values()
        .flat_map(|a| a.items.values())
        .filter(|i| i.state == ItemState::Pending);
    for item in waiting {
        start(app, &item.id);
    }
}

async fn plan(app: Arc<App>, item: Arc<Item>, ask: Ask) {
    let (command, view) = match make(&app, &item, &ask).await {
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
    app.approvals.keep_plan(&item.id, &ask.capability, view);
    let submitted = app.ledger.submit(command, Lane::Owner);
    if let Err(error) = app.charged(&item.agent, submitted).await {
        tracing::debug!(name: "pending.plan_late", %error, pendingId = %item.id, "a plan came too late");
    }
    app.approvals.note_change();
}

async fn make(app: &App, item: &Item, ask: &Ask) -> Result<(Arc<PlanMade>, bool), String> {
    let entry = app
        .catalogue
        .load()
        .get(&ask.capability)
        .cloned()
        .ok_or("this capability is gone")?;
    let input = app
        .approvals
        .input(&item.id, ask)
        .ok_or("the input was not kept, or is not the one that was asked with")?;
    let digest = Digest::of(&input);
    let undoes = whose::change(app, &item.agent, &entry, &input).await;
    let request = CallRequest {
        capability: entry.capability().name.clone(),
        input: input.into(),
        digest,
        constraint: ask.constraint.clone(),
        deadline: DEADLINE,
        revision: app
            .ledger
            .snapshot()
            .sources
            .get(&entry.source)
            .map_or(0, |s| s.revision),
        owner: true,
        stands: Stands::default(),
        audit: None,
        progress: None,
    };
    match app.supervisor.plan(&entry.source, request).await {
        Ok(Ok(mut made)) => {
            // The harness has raised it; a worker that was taken over has no harness.
            made.rating = made.rating.max(entry.capability().rating());
            Ok(marked(*made, undoes, &item.agent))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The plan of an undo says whose change it takes back; with it, whether it has to be approved by itself.
fn marked(mut made: PlanMade, undoes: Option<Whose>, agent: &AgentId) -> (Arc<PlanMade>, bool) {
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
    if whose != Whose::Own {
        let warning = format!("This takes back a change that {agent} did not make: {words}.");
        made.warnings.insert(0, Line::new(warning));
    }
    (Arc::new(made), whose != Whose::Own)
}
