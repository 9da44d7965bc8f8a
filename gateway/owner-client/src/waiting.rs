//! What waits for the owner, in a line each: who asks and what for, by the gateway's own label. No input, no purpose, no
//! plan.

use crate::Owner;
use plexus_client::{Stop, text};
use plexus_owner::pending::{Card, Item, List};

/// The longest label that is told, in characters.
const MAX_LABEL: usize = 60;

/// A request, as much of it as is told outside of its card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// Its id.
    pub id: String,
    /// Who asks; empty: a source changed. Made safe to show.
    pub agent: String,
    /// What for; made safe to show.
    pub label: String,
}

/// What waits, in the order of the gateway's list: the newest request first.
///
/// # Errors
/// As every call.
pub async fn waiting(owner: &mut Owner) -> Result<Vec<PendingRequest>, Stop> {
    let listed = owner.call(&List::default()).await?;
    Ok(listed.pending.iter().flatten().map(named).collect())
}

/// Who asks, and what for. The label is the manifest's; a capability without one is told by its id.
#[must_use]
pub fn named(item: &Item) -> PendingRequest {
    let ids = &item.heading.capabilities;
    let asked = item.card.asks().first();
    let asked = asked.and_then(|ask| ask.label.clone());
    let label = match (&item.card, item.card.proposed_source(), ids.first()) {
        (Card::Question(card), ..) => format!("a question of {}", card.source.id),
        (_, _, Some(first)) => {
            let label = asked.filter(|label| !label.is_empty());
            label.unwrap_or_else(|| first.to_string())
        }
        (_, Some(source), None) => format!("add the extension {source}"),
        (_, None, None) => "something".to_owned(),
    };
    let more = match ids.len() {
        0 | 1 => String::new(),
        many => format!(" and {} more", many - 1),
    };
    let agent = item.heading.agent_id.as_ref();
    PendingRequest {
        id: item.heading.pending_id.to_string(),
        agent: text::short(agent.map_or("", |agent| agent.as_str()), MAX_LABEL),
        label: format!("“{}”{more}", text::short(&label, MAX_LABEL)),
    }
}
