//! The cards of what agents propose, for lists: what the last look at each has found.
//!
//! ```text
//! list ─▶ looked at lately? ──no──▶ a task looks, in a share of the agent's ─▶ card, kept
//!           └──▶ the card that is kept; without one, that it was not looked at
//! ```
//! Invariants: a list starts looks and waits [`MOMENT`] for all of them together; looks at one proposal take a thirtieth of the
//! time at most, however often a list is asked for; no card is kept of what waits no more. An approval looks anew.
//!
//! Must not know: what is looked at.

use super::proposals::Proposed;
use crate::desk::Desk;
use plexus_edge::reply::Refused;
use plexus_home::tasks::unless_panicked;
use plexus_owner::pending;
use plexus_protocol::PendingId;
use plexus_trust::{Item, ItemState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// How long a list waits for looks that are under way.
const MOMENT: Duration = Duration::from_millis(300);

/// The card of each of `waiting`, all that wait, for the first `most`.
pub(super) async fn of_list(
    desk: &Arc<Desk>,
    waiting: &[Arc<Item>],
    most: usize,
) -> Result<BTreeMap<PendingId, pending::Item>, Refused> {
    let ids: BTreeSet<&PendingId> = waiting.iter().map(|item| &item.id).collect();
    let cards = &desk.proposals;
    cards
        .kept()
        .retain(|id, kept| kept.is_under_way || ids.contains(id));
    let shown = waiting.iter().take(most);
    let mut looked = cards.looked.subscribe();
    shown.clone().for_each(|item| start(desk, item));
    let all = async {
        let are_under_way = || {
            let kept = cards.kept();
            shown
                .clone()
                .any(|item| kept.get(&item.id).is_some_and(|kept| kept.is_under_way))
        };
        while are_under_way() && looked.changed().await.is_ok() {}
    };
    // Those that take longer are in the next list.
    let _ = timeout(MOMENT, all).await;
    let mut found = BTreeMap::new();
    for item in shown {
        let known = cards
            .kept()
            .get(&item.id)
            .and_then(|kept| kept.card.clone());
        let card = match known {
            Some(card) => card,
            None => {
                let why = format!(
                    "its programs and folders are still looked at; repeat in a moment: plexusctl approvals show {}",
                    item.id
                );
                Proposed::not_looked_at(desk, item, why).await?.item()
            }
        };
        found.insert(item.id.clone(), card);
    }
    Ok(found)
}

/// Starts a look at a proposal whose card is not as good as new.
fn start(desk: &Arc<Desk>, item: &Arc<Item>) {
    if !desk
        .proposals
        .begins(&item.id, desk.catalogue.load().revision)
    {
        return;
    }
    let (desk, item) = (desk.clone(), item.clone());
    tokio::spawn(async move {
        if let Some(Err(error)) = unless_panicked(Box::pin(look(&desk, &item))).await {
            tracing::warn!(name: "proposal.unseen", pendingId = %item.id, error = error.into_error().message, "a proposal could not be looked at");
        }
        desk.proposals.ended(&item.id);
    });
}

/// A proposal as it is now; its card is kept for lists.
pub(crate) async fn look(desk: &Arc<Desk>, item: &Arc<Item>) -> Result<Proposed, Refused> {
    let (begun, revision) = (Instant::now(), desk.catalogue.load().revision);
    let proposed = Proposed::of(desk, item).await?;
    if item.state == ItemState::Pending {
        desk.proposals.keep(&proposed.item(), begun, revision);
    }
    Ok(proposed)
}
