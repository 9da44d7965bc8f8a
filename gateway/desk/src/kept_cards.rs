//! Looks at proposals that are kept: each one's card, and how long it is as good as new; and when stopped sources were compared.
//!
//! Invariant: looks at one proposal, and comparisons of one stopped source for its page, take a thirtieth of the time at most,
//! however often they are asked for.
//!
//! Must not know: what is looked at, who asks.

use plexus_calls::shares::Shares;
use plexus_owner::pending::Item;
use plexus_protocol::PendingId;
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A card is as good as new for this long, and for thirty times as long as the look took.
const FRESH: Duration = Duration::from_secs(2);
const RARELY: u32 = 30;
/// When a comparison that did not end is given up.
const LONGEST: Duration = Duration::from_secs(60);
/// Looks at what one agent proposed that are under way at once. A disk that hangs has the share for as long as it hangs.
const SHARES: usize = 4;

/// Until when a look that began at `begun` and ends now is as good as new.
fn fresh_until(begun: Instant, now: Instant) -> Instant {
    now + FRESH.max(now.duration_since(begun) * RARELY)
}

/// The cards, and the looks that are under way.
pub struct ProposalCards {
    /// Of looks.
    pub(crate) shares: Shares,
    kept: Mutex<BTreeMap<PendingId, Kept>>,
    /// Changes with each look that has ended.
    pub(crate) looked: watch::Sender<()>,
}

impl Default for ProposalCards {
    fn default() -> Self {
        Self {
            shares: Shares::new(SHARES),
            kept: Mutex::default(),
            looked: watch::Sender::new(()),
        }
    }
}

/// What is kept of one proposal.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) card: Option<Item>,
    /// Until when it is as good as new, and of which catalogue it is.
    fresh: Option<(Instant, u64)>,
    pub(crate) is_under_way: bool,
}

impl ProposalCards {
    pub(crate) fn kept(&self) -> MutexGuard<'_, BTreeMap<PendingId, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a look that began at `begun` has found.
    pub(crate) fn keep(&self, card: &Item, begun: Instant, revision: u64) {
        let until = fresh_until(begun, Instant::now());
        let mut kept = self.kept();
        let id = card.heading.pending_id.clone();
        let kept = kept.entry(id).or_default();
        (kept.card, kept.fresh) = (Some(card.clone()), Some((until, revision)));
    }

    /// Whether a look has to begin now; it is noted as begun.
    pub(crate) fn begins(&self, id: &PendingId, revision: u64) -> bool {
        let mut kept = self.kept();
        let kept = kept.entry(id.clone()).or_default();
        let is_fresh = kept
            .fresh
            .is_some_and(|(until, of)| Instant::now() < until && of == revision);
        !is_fresh && !std::mem::replace(&mut kept.is_under_way, true)
    }

    pub(crate) fn ended(&self, id: &PendingId) {
        if let Some(kept) = self.kept().get_mut(id) {
            kept.is_under_way = false;
        }
        self.looked.send_replace(());
    }
}

/// Until when the comparisons of stopped sources are as good as new, by their cards.
#[derive(Default)]
pub struct Comparisons(Mutex<BTreeMap<PendingId, Instant>>);

impl Comparisons {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<PendingId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the source of a card is compared now; one comparison is under way at a time.
    pub(crate) fn begins(&self, card: &PendingId, now: Instant) -> bool {
        let mut kept = self.kept();
        kept.retain(|_, until| now < *until);
        let is_due = !kept.contains_key(card);
        if is_due {
            kept.insert(card.clone(), now + LONGEST);
        }
        is_due
    }

    /// The comparison that began at `begun` has ended.
    pub(crate) fn ended(&self, card: &PendingId, begun: Instant, now: Instant) {
        self.kept().insert(card.clone(), fresh_until(begun, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_takes_a_thirtieth_of_the_time() {
        let (all, card, other) = (
            Comparisons::default(),
            PendingId::fresh(),
            PendingId::fresh(),
        );
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert!(all.begins(&card, begun) && all.begins(&other, begun));
        assert!(!all.begins(&card, at(9)), "it is under way");
        all.ended(&card, begun, at(10));
        assert!(!all.begins(&card, at(309)));
        assert!(all.begins(&card, at(310)));
        // One that has not come back holds up none for ever.
        assert!(all.begins(&other, begun + LONGEST));
    }
}
