//! What is left of bounded approvals, by item and by permit (docs/design.md#bounded-approvals).
//!
//! Invariant: a bounded approval is found by the item that opened it, whether a call opens it or is a turn of it.
//!
//! Must not know: how a call is carried out.

use crate::kernel::Kernel;
use plexus_protocol::{AgentId, Digest, PendingId, Timestamp, body};
use plexus_trust::{Basis, Bounded, Item, Permit, Refusal, State};

/// How the worker of a source is told which bounded approval a commit opens, or is a turn of.
pub(crate) fn name_of(item: &PendingId) -> Digest {
    Digest::of(item.as_str().as_bytes())
}

/// The refusal where the owner took back the call that a bounded approval is about, and it could not be saved.
pub(crate) fn held_back(kernel: &Kernel, agent: &AgentId, item: &PendingId) -> Option<Refusal> {
    let state = kernel.ledger.snapshot();
    let item = state.agent(agent)?.items.get(item)?;
    let mut opened = item.asks.iter().filter(|ask| ask.bounded.is_some());
    opened.find_map(|ask| kernel.revocations.refuses(agent, &ask.capability, None))
}

/// The item whose bounded approval a permitted call opens, or is a turn of; none of a child call, which is the other
/// source's alone.
pub(crate) fn item_of(state: &State, permit: &Permit) -> Option<PendingId> {
    let (Basis::Item(item) | Basis::Bounded(item)) = &permit.basis else {
        return None;
    };
    let mut asks = state.agent(&permit.agent)?.items.get(item)?.asks.iter();
    let is_of = asks.any(|a| a.capability == permit.capability && a.bounded.is_some());
    is_of.then(|| item.clone())
}

/// What is left of the bounded approval that a permitted call opens, or is a turn of.
pub(crate) fn of_permit(kernel: &Kernel, permit: &Permit) -> Option<Left> {
    let state = kernel.ledger.snapshot();
    let item = item_of(&state, permit)?;
    let held = state.agent(&permit.agent)?.items.get(&item)?;
    of_item(kernel, held)
}

/// What is left of a bounded approval that was opened.
pub enum Left {
    /// A conversation takes messages.
    Conversation(body::Conversation),
    /// Its source's worker makes child calls.
    Children(body::ChildCalls),
}

impl Left {
    /// First moment at which nothing of it is left; none where that is so now.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Conversation(left) => left.expires_at,
            Self::Children(left) => left.expires_at,
        }
    }
    /// As the two members of a body that say it.
    pub fn parts(self) -> (Option<body::Conversation>, Option<body::ChildCalls>) {
        match self {
            Self::Conversation(left) => (Some(left), None),
            Self::Children(left) => (None, Some(left)),
        }
    }
}

/// What is left of the bounded approval of an item, once that was opened.
pub fn of_item(kernel: &Kernel, item: &Item) -> Option<Left> {
    let now = kernel.ledger.snapshot().time(kernel.clock.now());
    let mut bounded = item.asks.iter().filter_map(|ask| ask.bounded.as_deref());
    let begun = |bounded: &&Bounded| bounded.used > 0 || bounded.until().is_some();
    let bounded = bounded.find(begun)?;
    let open = bounded.is_open(now);
    let (used, left) = (bounded.used, bounded.turns_left());
    let left = if open { left } else { 0 };
    let expires_at = bounded.until().filter(|_| open);
    Some(match bounded.children {
        None => Left::Conversation(body::Conversation {
            run_id: item.id.conversation(),
            turn: used,
            turns_left: left,
            expires_at,
        }),
        Some(_) => Left::Children(body::ChildCalls {
            runs: used,
            runs_left: left,
            expires_at,
        }),
    })
}
