//! Bounded approvals: asked for, lowered, used turn by turn, ended (DESIGN 14).
//!
//! Invariants: a turn is used by the very transaction that records its intent; no turn begins while another of the same
//! approval has no outcome; a message is one turn, whatever became of it; nothing gives a turn back.

use super::{Draft, boxed, event};
use crate::{
    Approve, Basis, Bounded, BoundedState, Entry, Fact, Item, MAX_MINUTES, MAX_TURNS, Permit,
    Refusal, Reply, TurnLimits, event::Change,
};
use plexus_protocol::{AuditId, Digest, PendingId};
use std::sync::Arc;

impl Draft<'_> {
    /// What an entry asks for beyond its one call.
    pub(super) fn turns_asked(&self, entry: &Entry) -> Result<Option<Box<Bounded>>, Refusal> {
        let Some(limits) = entry.turns.filter(|_| entry.input.is_some()) else {
            return Ok(None);
        };
        within(limits)?;
        Ok(Some(Box::new(Bounded::asked(limits))))
    }

    /// Takes over what the owner lowers.
    pub(super) fn lower_turns(item: &mut Item, approve: &Approve) -> Result<(), Refusal> {
        if approve.turns.is_none() && approve.minutes.is_none() {
            return Ok(());
        }
        let mut lowered = false;
        for bounded in item.asks.iter_mut().filter_map(|ask| ask.bounded.as_mut()) {
            let asked = bounded.limits;
            let limits = TurnLimits {
                turns: approve.turns.unwrap_or(asked.turns),
                minutes: approve.minutes.unwrap_or(asked.minutes),
            };
            within(limits)?;
            if limits.turns > asked.turns || limits.minutes > asked.minutes {
                let why = "an approval may lower the turns and minutes that were asked for, not raise them";
                return Err(Refusal::Invalid(why.into()));
            }
            bounded.limits = limits;
            lowered = true;
        }
        match lowered {
            true => Ok(()),
            false => Err(Refusal::Invalid(
                "this request opens no conversation: it has no turns to lower".into(),
            )),
        }
    }

    /// Which turn a call is, and the intent that it belongs to; none of a call that no bounded approval is about.
    pub(super) fn turn_of(
        &self,
        permit: &Permit,
        message: Option<Digest>,
    ) -> Result<Option<(u32, Option<AuditId>)>, Refusal> {
        let agent = self.known(&permit.agent)?;
        let bounded = |item: &PendingId| {
            let asks = agent.items.get(item)?.asks.iter();
            let mut mine = asks.filter(|ask| ask.capability == permit.capability);
            mine.find_map(|ask| ask.bounded.as_deref())
        };
        match &permit.basis {
            Basis::Grant(_) => Ok(None),
            Basis::Item(item) => Ok(bounded(item).map(|bounded| (bounded.used + 1, None))),
            Basis::Bounded(item) => {
                let bounded = bounded(item).ok_or(Refusal::NoSuchItem)?;
                let message =
                    message.ok_or_else(|| Refusal::Invalid("a turn is a message".into()))?;
                match bounded.messages.get(&message) {
                    Some(turn) => Err(Refusal::MessageKnown { turn: *turn }),
                    None => Ok(Some((bounded.used + 1, bounded.parent.clone()))),
                }
            }
        }
    }

    /// Uses a further turn.
    pub(super) fn use_turn(
        &self,
        permit: &Permit,
        item: &PendingId,
        message: Option<Digest>,
    ) -> Vec<Change> {
        let agent = self.state.agent(&permit.agent);
        let held = agent.and_then(|agent| agent.items.get(item)).into_iter();
        held.map(|item| {
            boxed(item, |item| {
                let mut asks = item.asks.iter_mut();
                let mine = asks.find(|ask| ask.capability == permit.capability);
                if let Some(bounded) = mine.and_then(|ask| ask.bounded.as_mut()) {
                    bounded.use_turn(message, self.now);
                }
            })
        })
        .collect()
    }

    /// The owner ends it.
    pub(super) fn end_turns(&mut self, id: &PendingId) -> Result<Reply, Refusal> {
        let item = self.state.item(id).filter(|item| item.is_held_open());
        let item = item.ok_or(Refusal::NoSuchItem)?;
        let why = "the owner ended it".into();
        self.close_turns(item, &BoundedState::Void { why });
        Ok(Reply::Done)
    }

    /// Ends what an item holds open.
    pub(super) fn close_turns(&mut self, item: &Arc<Item>, state: &BoundedState) {
        let open = |bounded: &Bounded| matches!(bounded.state, BoundedState::Open { .. });
        let mut held = item.asks.iter().filter_map(|ask| {
            let bounded = ask.bounded.as_deref().filter(|bounded| open(bounded));
            bounded.map(|bounded| (&ask.capability, bounded))
        });
        let Some((capability, bounded)) = held.next() else {
            return;
        };
        let fact = Fact::TurnsEnded {
            item: item.id.clone(),
            used: bounded.used,
            turns: bounded.limits.turns,
            why: match state {
                BoundedState::Void { why } => why.clone(),
                _ => "its time is over".into(),
            },
        };
        let closed = boxed(item, |item| {
            let asks = item.asks.iter_mut().filter_map(|ask| ask.bounded.as_mut());
            for bounded in asks.filter(|bounded| open(bounded)) {
                bounded.state = state.clone();
            }
        });
        self.emit(
            event("grant.revoke", fact)
                .agent(&item.agent)
                .about(capability)
                .set(closed),
        );
    }
}

fn within(limits: TurnLimits) -> Result<(), Refusal> {
    if !(1..=MAX_TURNS).contains(&limits.turns) {
        return Err(Refusal::Invalid(format!(
            "a conversation has 1 to {MAX_TURNS} turns"
        )));
    }
    if !(1..=MAX_MINUTES).contains(&limits.minutes) {
        return Err(Refusal::Invalid(format!(
            "a conversation lasts 1 to {MAX_MINUTES} minutes"
        )));
    }
    Ok(())
}
