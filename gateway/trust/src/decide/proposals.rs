//! Extensions that agents propose: asked for, added, denied (docs/design.md#extensions).
//!
//! Invariants: a proposal gives nothing to its agent; the same content waits once; what the owner denied is not
//! asked again.

use super::{Draft, boxed, event};
use crate::{
    Denial, Fact, ITEM_MS, Item, ItemState, OnApproval, OutcomeKind, Proposal, Propose, Refusal,
    Register, Reply,
    authorize::{live_session, not_denied},
    event::Change,
};
use plexus_protocol::{CapabilityId, SourceId};

impl Draft<'_> {
    pub(super) fn propose(&mut self, p: &Propose) -> Result<Reply, Refusal> {
        let agent = self.state.agent(&p.agent).ok_or(Refusal::SessionExpired)?;
        live_session(agent, &p.session, self.now)?;
        self.not_paused()?;
        let about = named(&p.source)?;
        not_denied(agent, &about, &p.content, self.now)?;
        let proposal = Proposal {
            source: p.source.clone(),
            content: p.content,
            registered: Vec::new(),
        };
        let is_twin = |item: &&std::sync::Arc<Item>| {
            item.waits(self.now)
                && item.purpose == p.purpose
                && item.register.as_deref() == Some(&proposal)
        };
        if let Some(twin) = agent.items.values().find(is_twin) {
            return Ok(Reply::Proposed(twin.id.clone()));
        }
        let forgotten = self.room(agent)?;
        let item = Item {
            id: p.item.clone(),
            agent: agent.id.clone(),
            session: p.session.clone(),
            agent_epoch: Some(agent.epoch),
            created_at: self.now,
            expires_at: self.now.plus(ITEM_MS),
            asks: Vec::new(),
            purpose: p.purpose.clone(),
            on_approval: OnApproval::Wait,
            register: Some(Box::new(proposal)),
            client: agent
                .sessions
                .get(&p.session)
                .map(|session| session.client.clone())
                .unwrap_or_default(),
            revision: 0,
            state: ItemState::Pending,
        };
        let fact = Fact::Pending {
            item: item.id.clone(),
            input: Some(p.content),
            agent_purpose: item.purpose.clone(),
        };
        let mut pending = event("grant.pending", fact).agent(&agent.id).about(&about);
        pending.session_id = Some(p.session.clone());
        self.emit(pending.set_all(forgotten).set(Change::Item(Box::new(item))));
        Ok(Reply::Proposed(p.item.clone()))
    }

    pub(super) fn register(&mut self, r: &Register) -> Result<Reply, Refusal> {
        let item = self.waiting(&r.item)?;
        let proposal = item.register.as_deref().ok_or(Refusal::NoSuchItem)?;
        let fact = Fact::Registered {
            item: item.id.clone(),
            source: proposal.source.clone(),
            card: r.card,
            capabilities: r.capabilities.clone(),
        };
        let registered = boxed(item, |item| {
            if let Some(proposal) = &mut item.register {
                proposal.registered.clone_from(&r.capabilities);
            }
            item.state = ItemState::Over {
                outcome: OutcomeKind::Ok,
            };
        });
        self.emit(
            event("source.install", fact)
                .agent(&item.agent)
                .set(registered),
        );
        Ok(Reply::Done)
    }

    /// The caller changes the item's state.
    pub(super) fn deny_proposal(
        &mut self,
        item: &Item,
        reason: Option<&String>,
    ) -> Result<(), Refusal> {
        let proposal = item.register.as_deref().ok_or(Refusal::NoSuchItem)?;
        let about = named(&proposal.source)?;
        let fact = Fact::Denied {
            item: Some(item.id.clone()),
            reason: reason.cloned(),
        };
        let denial = Denial {
            at: self.now,
            item: Some(item.id.clone()),
            reason: reason.cloned(),
        };
        let denial = Change::Denial(item.agent.clone(), about.clone(), proposal.content, denial);
        self.emit(
            event("grant.deny", fact)
                .agent(&item.agent)
                .about(&about)
                .set(denial),
        );
        Ok(())
    }
}

fn named(source: &SourceId) -> Result<CapabilityId, Refusal> {
    Proposal::id(source).map_err(|why| Refusal::Invalid(format!("the source's id: {why}")))
}
