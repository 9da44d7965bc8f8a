//! Bounded approvals: asked for, lowered, used turn by turn or child by child, ended
//! (docs/design.md#bounded-approvals).
//!
//! Invariants: a turn is used by the very transaction that records its intent; no turn begins while another of the same
//! approval has no outcome, no child call while as many as may are under way; a message is one turn and a name one child
//! call, whatever became of it; nothing gives a turn back.

use super::{Draft, boxed, event, on_source};
use crate::{
    Agent, Approve, Basis, Bounded, BoundedState, ChildCalls, ChildrenAsked, Entry, Fact, Item,
    MAX_CHILDREN, MAX_MINUTES, MAX_PARALLEL, MAX_TURNS, Permit, Refusal, Reply, TurnLimits,
    event::Change, visible,
};
use plexus_protocol::{AuditId, CapabilityId, Digest, PendingId, SourceId};
use std::sync::Arc;

/// What an intent is within a bounded approval.
pub(super) struct Turn {
    /// Which, counted from 1.
    pub(super) number: u32,
    /// The intent of the approved call.
    pub(super) parent: Option<AuditId>,
    /// Of a child call, the source that makes it.
    pub(super) via: Option<SourceId>,
}

impl Draft<'_> {
    /// What an entry asks for beyond its one call.
    pub(super) fn turns_asked(
        &self,
        agent: &Agent,
        id: &CapabilityId,
        entry: &Entry,
    ) -> Result<Option<Box<Bounded>>, Refusal> {
        // Which members a workflow has stands in its manifest, whatever its input.
        let children = entry.children.as_ref();
        let is_known = entry.input.is_some() || children.is_some_and(|asked| asked.members);
        let Some(limits) = entry.turns.filter(|_| is_known) else {
            return Ok(None);
        };
        within(limits)?;
        let children = children.map(|asked| self.children_asked(agent, id, asked));
        Ok(Some(Box::new(Bounded::asked(
            limits,
            children.transpose()?,
        ))))
    }

    /// Child calls as the card will show them: of other sources alone, and only of what the agent may know of.
    fn children_asked(
        &self,
        agent: &Agent,
        id: &CapabilityId,
        asked: &ChildrenAsked,
    ) -> Result<ChildCalls, Refusal> {
        if !(1..=MAX_PARALLEL).contains(&asked.parallel) {
            let why = format!("1 to {MAX_PARALLEL} runs may be side by side");
            return Err(Refusal::Invalid(why));
        }
        if !(1..=MAX_CHILDREN).contains(&asked.capabilities.len()) {
            let why = format!("1 to {MAX_CHILDREN} capabilities may be called");
            return Err(Refusal::Invalid(why));
        }
        let fits = |named: &String| {
            let child = CapabilityId::parse(named).ok()?;
            let (source, facts) = self.state.capability(&child)?;
            let fits = match asked.members {
                true => !facts.verbs.is_read() && !facts.verbs.is_empty(),
                false => facts.staged && !on_source(&source.id, id),
            };
            let is_known = fits && visible(self.state, agent, &child, self.now);
            is_known.then_some((child, source.revision))
        };
        let named = asked.capabilities.iter().map(|named| {
            fits(named).ok_or_else(|| {
                let why = match asked.members {
                    true => "is no effect that you may know of",
                    false => "is no capability of another source that works on a copy",
                };
                Refusal::Invalid(format!("{named:?} {why}"))
            })
        });
        Ok(ChildCalls {
            capabilities: named.collect::<Result<_, _>>()?,
            parallel: asked.parallel,
            members: asked.members,
        })
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
                let why = "an approval may lower the turns, runs and minutes that were asked for, not raise them";
                return Err(Refusal::Invalid(why.into()));
            }
            bounded.limits = limits;
            lowered = true;
        }
        match lowered {
            true => Ok(()),
            false => Err(Refusal::Invalid(
                "this request opens no conversation and no child calls: it has no turns or runs to lower".into(),
            )),
        }
    }

    /// Which turn or child call an intent is; none of a call that no bounded approval is about.
    pub(super) fn turn_of(
        &self,
        permit: &Permit,
        message: Option<Digest>,
    ) -> Result<Option<Turn>, Refusal> {
        let agent = self.known(&permit.agent)?;
        let bounded = |item: &PendingId| {
            let mut asks = agent.items.get(item)?.asks.iter();
            asks.find_map(|ask| Some((ask, ask.bounded_for(&permit.capability)?)))
        };
        match &permit.basis {
            Basis::Grant(_) => Ok(None),
            Basis::Item(item) => Ok(bounded(item).map(|(_, bounded)| Turn {
                number: bounded.used + 1,
                parent: None,
                via: None,
            })),
            Basis::Bounded(item) => {
                let (ask, bounded) = bounded(item).ok_or(Refusal::NoSuchItem)?;
                let message =
                    message.ok_or_else(|| Refusal::Invalid("a turn is a message".into()))?;
                if let Some(turn) = bounded.messages.get(&message) {
                    return Err(Refusal::MessageKnown { turn: *turn });
                }
                let source = self.state.capability(&ask.capability);
                let source = source.filter(|_| bounded.children.is_some());
                // A child may begin before the approved call is over.
                let opened = || {
                    let mut begun = self.state.begun_under(item);
                    begun.find_map(|(intent, open)| open.item.is_some().then(|| intent.clone()))
                };
                Ok(Some(Turn {
                    number: bounded.used + 1,
                    parent: bounded.parent.clone().or_else(opened),
                    via: source.map(|(source, _)| source.id.clone()),
                }))
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
                let mine = asks.find(|ask| ask.bounded_for(&permit.capability).is_some());
                if let Some(bounded) = mine.and_then(|ask| ask.bounded.as_mut()) {
                    bounded.use_turn(message);
                }
            })
        })
        .collect()
    }

    /// The owner ends it, or the source that makes its child calls.
    pub(super) fn end_turns(&mut self, id: &PendingId, by_source: bool) -> Result<Reply, Refusal> {
        let item = self.state.item(id).filter(|item| item.is_held_open());
        let item = item.ok_or(Refusal::NoSuchItem)?;
        let why = match by_source {
            true => "its source makes no more calls",
            false => "the owner ended it",
        };
        self.close_turns(item, &BoundedState::Void { why: why.into() });
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
            "a conversation has 1 to {MAX_TURNS} turns, child calls 1 to {MAX_TURNS} runs"
        )));
    }
    if !(1..=MAX_MINUTES).contains(&limits.minutes) {
        return Err(Refusal::Invalid(format!(
            "a conversation or child calls last 1 to {MAX_MINUTES} minutes"
        )));
    }
    Ok(())
}
