//! Calls: the last look before anything happens, single use, and what became of it.

use super::{Draft, boxed, event, result_word};
use crate::{
    Agent, Approval, Basis, BoundedState, Event, Fact, Grant, Item, ItemState, MAX_KEYS,
    OpenIntent, Outcome, OutcomeKind, Permit, Refusal, Reply, Touch, Unknown, UsedKey,
    event::{CallFact, Change},
};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Digest, Effect, PendingId, Verbs, body::VoidReason,
};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

impl Draft<'_> {
    pub(super) fn read(&mut self, permit: &Permit, outcome: &Outcome) -> Result<Reply, Refusal> {
        if !permit.is_read() {
            return Err(Refusal::Invalid(
                "an effect is recorded before it happens".into(),
            ));
        }
        permit.recheck(self.state, self.now)?;
        let fact = Fact::Read(CallFact {
            phase: Cow::Borrowed("read"),
            basis: Some(self.act_behind(permit)?),
            input: Some(permit.input),
            input_bytes: Some(outcome.input_bytes),
            ..reported(outcome)
        });
        let used = match &permit.basis {
            // Nothing was given: as an effect that is refused, it does not count.
            Basis::Grant(_) if outcome.kind == OutcomeKind::Refused => Vec::new(),
            Basis::Grant(_) => count(self.counting(permit)),
            Basis::Item(item) => {
                let mut used = self.use_item(permit, item, Some(outcome.kind));
                if outcome.kind == OutcomeKind::Refused {
                    let agent = self.known(&permit.agent)?;
                    used.extend(self.give_back(agent, &serials(self.counting(permit))));
                }
                used
            }
            Basis::Bounded(_) => Vec::new(),
        };
        self.emit(
            of_call(permit, fact)
                .outcome(result_word(outcome.kind))
                .set_all(used),
        );
        Ok(Reply::Done)
    }

    /// The act of the owner behind a call: for a read that a grant answered that grant, and not a card that nobody decided.
    fn act_behind(&self, permit: &Permit) -> Result<Basis, Refusal> {
        let Basis::Item(item) = &permit.basis else {
            return Ok(permit.basis.clone());
        };
        let item = self.known(&permit.agent)?.items.get(item);
        let mut asks = item.into_iter().flat_map(|item| &item.asks);
        let ask = asks.find(|ask| ask.capability == permit.capability);
        let by_grant = ask.and_then(|ask| ask.covered_by).map(Basis::Grant);
        Ok(by_grant.unwrap_or_else(|| permit.basis.clone()))
    }

    pub(super) fn intent(
        &mut self,
        permit: &Permit,
        input_bytes: u64,
        about: &[Touch],
        key: Option<Digest>,
    ) -> Result<Reply, Refusal> {
        if permit.is_read() {
            return Err(Refusal::Invalid("a read has no intent".into()));
        }
        permit.recheck(self.state, self.now)?;
        let reserved = match key {
            Some(key) if !matches!(permit.basis, Basis::Bounded(_)) => self.reserve(permit, key)?,
            Some(_) | None => Vec::new(),
        };
        let turn = self.turn_of(permit, key)?;
        let fact = Fact::Intent(CallFact {
            phase: Cow::Borrowed("intent"),
            basis: Some(permit.basis.clone()),
            input: Some(permit.input),
            input_bytes: Some(input_bytes),
            state_token: permit.state_token,
            touched: about.to_vec(),
            turn: turn.as_ref().map(|turn| turn.number),
            parent: turn.as_ref().and_then(|turn| turn.parent.clone()),
            via: turn.and_then(|turn| turn.via),
            ..CallFact::default()
        });
        let counting = self.counting(permit);
        let open = OpenIntent {
            counted: serials(counting.iter().copied()),
            agent: Some(permit.agent.clone()),
            agent_epoch: Some(permit.agent_epoch()),
            capability: permit.capability.clone(),
            input: permit.input,
            item: match &permit.basis {
                Basis::Item(item) => Some(item.clone()),
                Basis::Grant(_) | Basis::Bounded(_) => None,
            },
            turn_of: match &permit.basis {
                Basis::Bounded(item) => Some(item.clone()),
                Basis::Grant(_) | Basis::Item(_) => None,
            },
        };
        let used = match &permit.basis {
            Basis::Bounded(item) => self.use_turn(permit, item, key),
            Basis::Grant(_) => count(counting),
            Basis::Item(item) => self.use_item(permit, item, None),
        };
        self.emit(
            of_call(permit, fact)
                .set_all(used)
                .set(Change::Open(open))
                .set_all(reserved),
        );
        Ok(Reply::Begun)
    }

    /// Takes an idempotency key for this one effect, or refuses it as taken.
    fn reserve(&self, permit: &Permit, key: Digest) -> Result<Vec<Change>, Refusal> {
        let agent = self.known(&permit.agent)?;
        if let Some((intent, _)) = agent.used_key(key, self.now) {
            return Err(Refusal::KeyUsed {
                intent: intent.clone(),
            });
        }
        let full = agent.keys.len() >= MAX_KEYS;
        // Ids of events rise, so the first that has ended is the oldest.
        let oldest = || agent.keys.iter().find(|(_, used)| used.result.is_some());
        let mut changes: Vec<_> = full
            .then(oldest)
            .flatten()
            .map(|(intent, _)| Change::KeyGone(agent.id.clone(), intent.clone()))
            .into_iter()
            .collect();
        let used = UsedKey {
            key,
            input: permit.input,
            at: self.now,
            result: None,
            undo: None,
        };
        changes.push(Change::Key(agent.id.clone(), used));
        Ok(changes)
    }

    /// An effect of the owner's own: no grant, no agent, otherwise recorded like any other.
    pub(super) fn owner_intent(
        &mut self,
        (id, verbs): (&CapabilityId, Verbs),
        source_revision: u64,
        (input, input_bytes): (Digest, u64),
        state_token: Digest,
        about: &[Touch],
    ) -> Result<Reply, Refusal> {
        // Also where the source serves agents nothing any more.
        let source = self.state.sources.get(id.parts().0);
        let source = source.ok_or(Refusal::UnknownCapability)?;
        if verbs.is_empty() || verbs.is_read() {
            return Err(Refusal::Invalid("a read has no intent".into()));
        }
        if source.revision != source_revision {
            return Err(Refusal::Invalid(
                "the source changed since this was planned".into(),
            ));
        }
        let fact = Fact::Intent(CallFact {
            phase: Cow::Borrowed("intent"),
            owner: true,
            input: Some(input),
            input_bytes: Some(input_bytes),
            state_token: Some(state_token),
            touched: about.to_vec(),
            ..CallFact::default()
        });
        let open = OpenIntent {
            agent: None,
            agent_epoch: None,
            capability: id.clone(),
            input,
            item: None,
            turn_of: None,
            counted: Vec::new(),
        };
        let mut intent = event("invoke", fact).about(id).set(Change::Open(open));
        intent.verbs = Some(verbs);
        self.emit(intent);
        Ok(Reply::Begun)
    }

    pub(super) fn outcome(
        &mut self,
        intent: &AuditId,
        outcome: &Outcome,
    ) -> Result<Reply, Refusal> {
        let open = self
            .state
            .open_intents
            .get(intent)
            .ok_or(Refusal::NoSuchIntent)?;
        let fact = Fact::Outcome(CallFact {
            phase: Cow::Borrowed("outcome"),
            intent: Some(intent.clone()),
            input: Some(open.input),
            ..reported(outcome)
        });
        let mut over = event("invoke", fact)
            .about(&open.capability)
            .outcome(result_word(outcome.kind))
            .set(Change::Closed(intent.clone()));
        over.agent_id.clone_from(&open.agent);
        let agent = open.agent.as_ref().and_then(|id| self.state.agent(id));
        if let Some(item) = agent
            .zip(open.item.as_ref())
            .and_then(|(a, id)| a.items.get(id))
        {
            let undo = outcome.undo.clone();
            over = over.set(self.ended(item, &open.capability, intent, outcome.kind, undo));
        }
        if let Some(agent) = agent {
            over = over.set_all(key_over(agent, intent, outcome.kind, outcome.undo.as_ref()));
            if outcome.kind == OutcomeKind::Refused {
                over = over.set_all(self.give_back(agent, &open.counted));
            }
            let (key, held) = of_digest(agent, open);
            if outcome.kind == OutcomeKind::Unknown {
                let unknown = Unknown::with(held, intent, open, self.now);
                over = over.set(Change::Unknown(agent.id.clone(), key.0, key.1, unknown));
            } else if let Some(held) = held.filter(|held| held.names(intent)) {
                // It was open when the daemon stopped, and the worker remembers how it ended.
                over = over.set(known_again(agent, key, held, intent));
            }
        }
        self.emit(over);
        let is_done = match outcome.kind {
            OutcomeKind::Ok | OutcomeKind::Unknown => true,
            OutcomeKind::Failed => outcome.effect.is_some_and(|effect| effect != Effect::None),
            OutcomeKind::Refused => false,
        };
        if let Some(agent) = agent.filter(|agent| is_done && open.is_by_grant_of(agent)) {
            self.void_twins(agent, intent, open);
        }
        Ok(Reply::Done)
    }

    /// Ends the requests of the very call that its agent has made by a grant: a later yes would make it again.
    fn void_twins(&mut self, agent: &Agent, intent: &AuditId, made: &OpenIntent) {
        let key = agent.keys.get(intent).map(|used| used.key);
        let is_it = |ask: &crate::Ask| {
            ask.capability == made.capability
                && ask.input == Some(made.input)
                && (ask.key.is_none() || ask.key == key)
        };
        let waits = |item: &Item| item.state == ItemState::Pending;
        self.void_items(agent, VoidReason::MadeByGrant.as_str(), |item| {
            waits(item) && matches!(&*item.asks, [ask] if is_it(ask))
        });
        let why = "its agent made one of these calls by a grant, and asks for the others again";
        self.void_items(agent, why, |item| {
            waits(item) && item.asks.len() > 1 && item.asks.iter().any(is_it)
        });
    }

    pub(super) fn settle_unknown(
        &mut self,
        id: &AgentId,
        intent: &AuditId,
        (happened, in_part): (bool, bool),
    ) -> Result<Reply, Refusal> {
        // What happened in part is counted like what happened, and is no success.
        let outcome = match (happened, in_part) {
            (true, false) => OutcomeKind::Ok,
            (true, true) => OutcomeKind::Failed,
            // It is as if it had been refused: it may be called again, also under its key.
            (false, false) => OutcomeKind::Refused,
            (false, true) => {
                return Err(Refusal::Invalid("a part of it happened, or nothing".into()));
            }
        };
        let agent = self.known(id)?;
        let found = agent
            .unknown
            .iter()
            .find(|(_, unknown)| unknown.names(intent));
        let (key, held) = found.ok_or(Refusal::NoSuchIntent)?;
        let fact = Fact::Settled {
            intent: intent.clone(),
            happened,
            in_part,
        };
        let mut settled = event("invoke", fact)
            .agent(id)
            .about(&key.0)
            .set(known_again(agent, key.clone(), held, intent));
        if self.state.open_intents.contains_key(intent) {
            settled = settled.set(Change::Closed(intent.clone()));
        }
        settled = settled.set_all(key_over(agent, intent, outcome, None));
        if let Some(counted) = held.counted.get(intent).filter(|_| !happened) {
            settled = settled.set_all(self.give_back(agent, counted));
        }
        let item = held.items.get(intent).and_then(|id| agent.items.get(id));
        if let Some(item) = item {
            settled = settled.set(self.ended(item, &key.0, intent, outcome, None));
        }
        self.emit(settled);
        Ok(Reply::Done)
    }

    /// At a launch: nobody knows of any effect that was begun and has no outcome, until one comes or the owner says.
    pub(super) fn unknown_since_stop(&self) -> Vec<Change> {
        let mut unknown: BTreeMap<(&AgentId, (CapabilityId, Digest)), Unknown> = BTreeMap::new();
        for (intent, open) in self.state.open_intents.iter() {
            let agent = open.agent.as_ref().and_then(|id| self.state.agent(id));
            if let Some(agent) = agent {
                let (key, held) = of_digest(agent, open);
                let slot = (&agent.id, key);
                let held = unknown.get(&slot).or(held);
                let now = Unknown::with(held, intent, open, self.now);
                unknown.insert(slot, now);
            }
        }
        let rows = unknown.into_iter();
        rows.map(|((agent, (id, input)), u)| Change::Unknown(agent.clone(), id, input, u))
            .collect()
    }

    /// Takes an approved call that was refused before its intent from its item: what was answered to it stays true.
    pub(super) fn not_made(
        &mut self,
        id: &AgentId,
        item: &PendingId,
        capability: &CapabilityId,
        why: &str,
    ) -> Result<Reply, Refusal> {
        let agent = self.known(id)?;
        let item = agent.items.get(item).ok_or(Refusal::NoSuchItem)?;
        let due = |ask: &&crate::Ask| &ask.capability == capability && item.runs_still(ask);
        if !item.asks.iter().any(|ask| due(&ask)) {
            return Err(Refusal::NoSuchItem);
        }
        let fact = Fact::NotMade {
            item: item.id.clone(),
            why: why.to_owned(),
        };
        let changed = boxed(item, |item| {
            let asked = |ask: &&mut crate::Ask| &ask.capability == capability;
            if let Some(ask) = item.asks.iter_mut().find(asked) {
                ask.approval = Approval::Ended;
                ask.outcome = Some(OutcomeKind::Refused);
            }
            if !item.has_call_left() {
                item.state = self.spent(item, None);
            }
        });
        let counted = self.give_back(agent, &serials(given_with(agent, item, capability)));
        let event = event("grant.deny", fact).agent(id).about(capability);
        self.emit(event.set(changed).set_all(counted));
        Ok(Reply::Done)
    }

    /// What an item gives back that ends as it is: the calls that the owner approved and none of which has begun.
    pub(super) fn unmade(&self, agent: &Agent, item: &Item) -> Vec<Change> {
        let left = item.asks.iter().filter(|ask| item.runs_still(ask));
        let counted: Vec<u64> = left.filter_map(|ask| ask.counted).collect();
        self.give_back(agent, &counted)
    }

    /// Gives a call of which nothing came back to the grants that counted it, by their serials. They are taken as this
    /// command leaves them so far: what it has ended stays ended, what it has suspended stays suspended.
    fn give_back(&self, agent: &Agent, counted: &[u64]) -> Vec<Change> {
        let grants = agent.grants.values();
        let grants = grants.filter(|grant| counted.contains(&grant.serial));
        let by_now = grants.filter_map(|grant| {
            let changes = self
                .events
                .iter()
                .rev()
                .flat_map(|e| e.changes.iter().rev());
            let same = |id: &AgentId, capability: &CapabilityId| {
                *id == agent.id && *capability == grant.capability
            };
            let mut found = changes.filter_map(|change| match change {
                Change::Grant(now) if same(&now.agent, &now.capability) => {
                    Some((now.serial == grant.serial).then_some(now))
                }
                Change::GrantGone(id, capability) if same(id, capability) => Some(None),
                Change::AgentGone(id) if *id == agent.id => Some(None),
                _ => None,
            });
            found.next().unwrap_or(Some(&**grant))
        });
        by_now
            .map(|grant| {
                let mut grant = grant.clone();
                grant.calls = grant.calls.saturating_sub(1);
                Change::Grant(grant)
            })
            .collect()
    }

    /// The grants whose number a permitted call takes one of.
    fn counting(&self, permit: &Permit) -> Vec<&Arc<Grant>> {
        let Some(agent) = self.state.agent(&permit.agent) else {
            return Vec::new();
        };
        let of_call = agent.grants.get(&permit.capability);
        let of_call = of_call.filter(|grant| grant.calls_left().is_some());
        match (&permit.basis, of_call) {
            (Basis::Grant(_), Some(_)) if self.state.lent(&permit.capability).is_some() => {
                // On a lent folder the owner named one number for all that changes it: a write and its undo are two.
                let source = permit.capability.parts().0;
                let grants = agent.grants.values();
                let counted = grants.filter(|grant| grant.calls_left().is_some());
                counted
                    .filter(|grant| grant.capability.parts().0 == source)
                    .collect()
            }
            (Basis::Grant(_), of_call) => of_call.into_iter().collect(),
            (Basis::Item(item), _) => {
                let item = agent.items.get(item);
                item.and_then(|item| given_with(agent, item, &permit.capability))
                    .into_iter()
                    .collect()
            }
            (Basis::Bounded(_), _) => Vec::new(),
        }
    }

    /// Uses up the one call of an item; `over`: how it went, where it is known already.
    fn use_item(
        &self,
        permit: &Permit,
        item: &PendingId,
        over: Option<OutcomeKind>,
    ) -> Vec<Change> {
        let agent = self.state.agent(&permit.agent);
        let Some(item) = agent.and_then(|agent| agent.items.get(item)) else {
            return Vec::new();
        };
        let used = over.map_or(Approval::Used, |_| Approval::Ended);
        vec![boxed(item, |item| {
            if let Some(ask) = item
                .asks
                .iter_mut()
                .find(|a| a.capability == permit.capability)
            {
                ask.approval = used;
                ask.outcome = over;
                // With the approved call begins what it was approved with.
                if let Some(bounded) = ask.bounded.as_mut().filter(|_| over.is_none()) {
                    bounded.open(self.now);
                }
            }
            let left = |a: &crate::Ask| {
                matches!(a.approval, Approval::OneCall | Approval::OneCallAnyInput)
            };
            if !item.asks.iter().any(left) {
                item.state = match over {
                    Some(_) => self.spent(item, None),
                    None => ItemState::Consumed,
                };
            }
        })]
    }

    /// An item one of whose calls, the one of `intent`, has ended, or of which the owner says how it did; `undo` takes it back.
    fn ended(
        &self,
        item: &Arc<Item>,
        capability: &CapabilityId,
        intent: &AuditId,
        outcome: OutcomeKind,
        undo: Option<String>,
    ) -> Change {
        boxed(item, |item| {
            let asked = |ask: &&mut crate::Ask| &ask.capability == capability;
            if let Some(ask) = item.asks.iter_mut().find(asked) {
                ask.approval = Approval::Ended;
                ask.outcome = Some(outcome);
                ask.intent = Some(intent.clone());
                ask.undo = undo;
                if let Some(bounded) = &mut ask.bounded {
                    bounded.parent.get_or_insert_with(|| intent.clone());
                    // A call that was not made leaves nothing behind whose children could be made.
                    let is_open = matches!(bounded.state, BoundedState::Open { .. });
                    let why = match &bounded.children {
                        Some(_) if outcome == OutcomeKind::Refused => Some("its call was not made"),
                        // A workflow's own call makes them.
                        Some(children) if children.members => Some("its call is over"),
                        Some(_) | None => None,
                    };
                    if let Some(why) = why.filter(|_| is_open) {
                        bounded.state = BoundedState::Void { why: why.into() };
                    }
                }
            }
            if matches!(item.state, ItemState::Consumed | ItemState::Over { .. }) {
                item.state = self.spent(item, Some(intent));
            }
        })
    }

    /// Where an item stands none of whose calls is left: over, once none is under way but the one of `ends`.
    fn spent(&self, item: &Item, ends: Option<&AuditId>) -> ItemState {
        let under_way = self
            .state
            .open_intents
            .iter()
            .any(|(intent, open)| open.item.as_ref() == Some(&item.id) && Some(intent) != ends);
        let outcomes = item.asks.iter().filter_map(|ask| ask.outcome);
        // Of several, that nothing was done is true only where it is so of each.
        let told = outcomes.max_by_key(|outcome| match outcome {
            OutcomeKind::Refused => 0,
            OutcomeKind::Ok => 1,
            OutcomeKind::Failed => 2,
            OutcomeKind::Unknown => 3,
        });
        match told {
            Some(outcome) if !under_way => ItemState::Over { outcome },
            Some(_) | None => ItemState::Consumed,
        }
    }
}

/// Grants with one call more.
fn count<'g>(grants: impl IntoIterator<Item = &'g Arc<Grant>>) -> Vec<Change> {
    let count = |grant: &Arc<Grant>| {
        let mut grant = (**grant).clone();
        grant.calls = grant.calls.saturating_add(1);
        Change::Grant(grant)
    };
    grants.into_iter().map(count).collect()
}

fn serials<'g>(grants: impl IntoIterator<Item = &'g Arc<Grant>>) -> Vec<u64> {
    grants.into_iter().map(|grant| grant.serial).collect()
}

/// The grant that came with the approval of an item and counted its call when it was given.
fn given_with<'a>(agent: &'a Agent, item: &Item, id: &CapabilityId) -> Option<&'a Arc<Grant>> {
    let ask = item.asks.iter().find(|ask| ask.capability == *id)?;
    let serial = ask.counted?;
    agent.grants.get(id).filter(|grant| grant.serial == serial)
}

/// What an outcome makes of the key that its intent reserved: where nothing was done, it is free again.
fn key_over(
    agent: &Agent,
    intent: &AuditId,
    outcome: OutcomeKind,
    undo: Option<&String>,
) -> Option<Change> {
    let used = agent.keys.get(intent)?;
    Some(match outcome {
        OutcomeKind::Refused => Change::KeyGone(agent.id.clone(), intent.clone()),
        OutcomeKind::Ok | OutcomeKind::Failed | OutcomeKind::Unknown => {
            let used = UsedKey {
                result: Some(outcome),
                undo: undo.cloned(),
                ..used.clone()
            };
            Change::KeyOver(agent.id.clone(), intent.clone(), used)
        }
    })
}

/// What is not known of the very call that an intent was for.
fn of_digest<'s>(
    agent: &'s Agent,
    open: &OpenIntent,
) -> ((CapabilityId, Digest), Option<&'s Unknown>) {
    let key = (open.capability.clone(), open.input);
    let held = agent.unknown.get(&key);
    (key, held)
}

/// One intent less of which nobody knows.
fn known_again(
    agent: &Agent,
    (id, input): (CapabilityId, Digest),
    held: &Unknown,
    intent: &AuditId,
) -> Change {
    match held.without(intent) {
        Some(rest) => Change::Unknown(agent.id.clone(), id, input, rest),
        None => Change::UnknownGone(agent.id.clone(), id, input),
    }
}

fn of_call(permit: &Permit, fact: Fact) -> Event {
    let mut call = event("invoke", fact)
        .agent(&permit.agent)
        .about(&permit.capability);
    call.verbs = Some(permit.verbs);
    call.jti.clone_from(&permit.token);
    call.session_id.clone_from(&permit.session);
    call
}

fn reported(outcome: &Outcome) -> CallFact {
    CallFact {
        result: Some(outcome.kind),
        code: outcome.code.clone(),
        reason: outcome.reason.clone(),
        output_bytes: Some(outcome.output_bytes),
        touched: outcome.touched.clone(),
        summary: outcome.summary.clone(),
        undo: outcome.undo.clone(),
        effect: outcome.effect,
        progress: outcome.progress,
        micros: Some(outcome.micros),
        ..CallFact::default()
    }
}
