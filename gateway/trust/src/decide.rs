//! From a state and a command to events, or to a refusal. One file per family of commands.
//!
//! Invariant: a refused command changes nothing and leaves no event.

mod agents;
mod calls;
mod grants;
mod lending;
mod proposals;
mod requests;
mod sources;
mod sweep;
mod turns;

use crate::{
    Agent, BoundedState, Command, Event, Fact, Facts, Item, ItemState, Note, OpenIntent,
    OutcomeKind, Refusal, Reply, Source, State, event::Change,
};
use plexus_protocol::{AgentId, AuditId, CapabilityId, Constraint, SourceId, Timestamp, TokenId};
use std::{borrow::Cow, sync::Arc};

/// Decides one command on `state` at `now`.
///
/// # Errors
/// Why it is not carried out; nothing has changed then.
pub fn decide(
    state: &State,
    command: &Command,
    now: Timestamp,
) -> Result<(Vec<Event>, Reply), Refusal> {
    let mut draft = Draft {
        state,
        now: state.time(now),
        serial: state.serial,
        events: Vec::new(),
    };
    let reply = match command {
        Command::Connect(connect) => draft.connect(connect),
        Command::Deliver(deliver) => draft.deliver(deliver),
        Command::RevokeAgent {
            agent,
            reason,
            delete,
        } => draft.revoke_agent(agent, reason.as_ref(), *delete),
        Command::Approve(approve) => draft.approve(approve),
        Command::Deny { item, reason } => draft.deny(item, reason.as_ref()),
        Command::EndDenial { item } => draft.end_denial(item),
        Command::EndTurns { item, by_source } => draft.end_turns(item, *by_source),
        Command::Grant { agent, entries } => draft.grant(agent, entries),
        Command::RevokeGrant {
            agent,
            capability,
            reason,
        } => draft.revoke_grant(agent, capability, reason.as_ref()),
        Command::RevokeToken { token, reason } => draft.revoke_token(token, reason.as_ref()),
        Command::Expose {
            capability,
            enabled,
        } => draft.expose(capability, *enabled),
        Command::DefaultGrant { capability, ticked } => draft.default_grant(capability, *ticked),
        Command::PutSource { id, config, pins } => draft.put_source(id, config, pins),
        Command::Hide { id, rules, remove } => draft.hide(id, rules, *remove),
        Command::DisableSource { id } => draft.disable_source(id),
        Command::PinSource { id, pins } => draft.pin_source(id, pins),
        Command::RemoveSource { id } => draft.remove_source(id),
        Command::Lend(lend) => draft.lend(lend),
        Command::EndLending { id } => draft.end_lending(id, "you took it back"),
        Command::ResumeSource {
            id,
            revision,
            go_on,
        } => draft.resume_source(id, *revision, *go_on, None),
        Command::AgreeToSource { id, revision, pins } => {
            draft.resume_source(id, Some(*revision), true, Some(pins))
        }
        Command::Configure(settings) => draft.configure(settings),
        Command::RotateKey => draft.rotate_key(),
        Command::SecretChanged { name } => draft.secret_changed(name),
        Command::Restored { made_at } => draft.restored(*made_at),
        Command::NewCode {
            agent,
            code,
            code_ms,
        } => draft.new_code(agent, code, *code_ms),
        Command::Bound { agent, bounds } => draft.bound(agent, *bounds),
        Command::Pause(on) => draft.pause(*on),
        Command::SettleUnknown {
            agent,
            intent,
            happened,
            in_part,
        } => draft.settle_unknown(agent, intent, (*happened, *in_part)),
        Command::Launch => draft.launch(),
        Command::SourceSeen(seen) => draft.source_seen(seen),
        Command::PlanReady {
            item,
            capability,
            preview,
            state_token,
            rating,
            once,
        } => draft.plan_ready(item, capability, *preview, *state_token, (*rating, *once)),
        Command::PlanFailed { item, capability } => draft.plan_failed(item, capability),
        Command::PlanAgain { item } => draft.plan_again(item),
        Command::Sweep => draft.sweep(),
        Command::Note(note) => draft.note(note),
        Command::Enroll { code, pat } => draft.enroll(code, pat),
        Command::OpenSession {
            agent,
            by,
            session,
            client,
        } => draft.open_session(agent.as_ref(), *by, session, client),
        Command::Request(request) => draft.request(request),
        Command::Propose(propose) => draft.propose(propose),
        Command::Register(register) => draft.register(register),
        Command::Refresh {
            agent,
            token,
            session,
            fresh,
        } => draft.refresh(agent, token, session, fresh),
        Command::Withdraw { agent, item } => draft.withdraw(agent, item),
        Command::NotMade {
            agent,
            item,
            capability,
            why,
        } => draft.not_made(agent, item, capability, why),
        Command::Read { permit, outcome } => draft.read(permit, outcome),
        Command::Intent {
            permit,
            input_bytes,
            about,
            key,
        } => draft.intent(permit, *input_bytes, about, *key),
        Command::OwnerIntent {
            capability,
            verbs,
            source_revision,
            input,
            input_bytes,
            state_token,
            about,
        } => draft.owner_intent(
            (capability, *verbs),
            *source_revision,
            (*input, *input_bytes),
            *state_token,
            about,
        ),
        Command::Outcome { intent, outcome } => draft.outcome(intent, outcome),
    }?;
    if draft.serial != state.serial
        && let Some(last) = draft.events.last_mut()
    {
        last.changes.push(Change::Serial(draft.serial));
    }
    Ok((draft.events, reply))
}

/// The events under construction.
struct Draft<'a> {
    state: &'a State,
    now: Timestamp,
    serial: u64,
    events: Vec<Event>,
}

fn event(kind: &'static str, detail: Fact) -> Event {
    Event {
        kind,
        agent_id: None,
        capability_id: None,
        jti: None,
        session_id: None,
        verbs: None,
        outcome: None,
        detail,
        changes: Vec::new(),
    }
}

impl Event {
    fn agent(mut self, id: &AgentId) -> Self {
        self.agent_id = Some(id.clone());
        self
    }
    fn about(mut self, id: &CapabilityId) -> Self {
        self.capability_id = Some(id.clone());
        self
    }
    /// About what an item asks for, where that is one capability.
    fn about_one(self, item: &Item) -> Self {
        match &*item.asks {
            [ask] => self.about(&ask.capability),
            _ => self,
        }
    }
    fn outcome(mut self, word: &'static str) -> Self {
        self.outcome = Some(Cow::Borrowed(word));
        self
    }
    fn set(mut self, change: Change) -> Self {
        self.changes.push(change);
        self
    }
    fn set_all(mut self, changes: impl IntoIterator<Item = Change>) -> Self {
        self.changes.extend(changes);
        self
    }
}

impl<'a> Draft<'a> {
    fn emit(&mut self, event: Event) {
        self.events.push(event);
    }

    /// A number that was never used before.
    fn next(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Effects of an agent that were begun and have no outcome yet, of those that `concerns` picks.
    fn in_flight(&self, agent: &AgentId, concerns: impl Fn(&OpenIntent) -> bool) -> Vec<AuditId> {
        let intents = self.state.open_intents.iter();
        let mine = intents.filter(|(_, open)| open.agent.as_ref() == Some(agent) && concerns(open));
        mine.map(|(id, _)| id.clone()).collect()
    }

    fn known(&self, id: &AgentId) -> Result<&'a Agent, Refusal> {
        self.state.agent(id).ok_or(Refusal::NoSuchAgent)
    }

    /// Ends every session and token of an agent.
    fn end_sessions(agent: &Agent) -> Vec<Change> {
        let sessions = agent.sessions.keys().map(|id| Change::SessionGone {
            agent: Some(agent.id.clone()),
            id: id.clone(),
        });
        sessions.chain(Self::end_tokens(agent, |_| true)).collect()
    }

    /// Ends the tokens of an agent that `which` picks.
    fn end_tokens(agent: &Agent, which: impl Fn(&crate::Token) -> bool) -> Vec<Change> {
        let ended = agent.tokens.iter().filter(|(_, token)| which(token));
        ended
            .map(|(id, _)| Change::TokenGone {
                agent: agent.id.clone(),
                id: id.clone(),
            })
            .collect()
    }

    /// Voids every item of an agent that `which` picks and that something could still come of; answers with those.
    fn void_items(
        &mut self,
        agent: &Agent,
        why: &str,
        which: impl Fn(&Item) -> bool,
    ) -> Vec<plexus_protocol::PendingId> {
        let mut voided = Vec::new();
        for item in agent.items.values() {
            // What became grants and nothing else was used by being approved: there is nothing left of it to void.
            let open = item.state == ItemState::Pending || item.has_call_left();
            if item.is_held_open() && !open && which(item) {
                voided.push(item.id.clone());
                self.close_turns(item, &BoundedState::Void { why: why.into() });
            }
            if open && which(item) {
                voided.push(item.id.clone());
                let mut void = (**item).clone();
                void.state = ItemState::Void { why: why.into() };
                // Of several asks one may have opened turns already.
                let asks = void.asks.iter_mut().filter_map(|ask| ask.bounded.as_mut());
                for bounded in asks.filter(|b| matches!(b.state, BoundedState::Open { .. })) {
                    bounded.state = BoundedState::Void { why: why.into() };
                }
                let unmade = self.unmade(agent, item);
                let fact = Fact::Voided {
                    item: item.id.clone(),
                    why: why.to_owned(),
                };
                self.emit(
                    event("grant.deny", fact)
                        .agent(&agent.id)
                        .about_one(item)
                        .set(Change::Item(Box::new(void)))
                        .set_all(unmade),
                );
            }
        }
        voided
    }

    /// Checks a constraint against what a capability takes.
    fn check_constraint(
        id: &CapabilityId,
        facts: &Facts,
        constraint: &Constraint,
    ) -> Result<(), Refusal> {
        constraint.check().map_err(Refusal::Invalid)?;
        for field in constraint.fields() {
            let top = field.split('.').next().unwrap_or(field);
            if !facts.fields.iter().any(|f| f == top) {
                return Err(Refusal::Invalid(format!(
                    "{id} has no input field {field:?}, so the constraint can match nothing; its fields: {}",
                    facts.fields.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Whether a constraint that is meant for several capabilities narrows this one: true where its fields are known, or
    /// it names none; false where this one has none of them.
    fn narrows(id: &CapabilityId, facts: &Facts, constraint: &Constraint) -> Result<bool, Refusal> {
        constraint.check().map_err(Refusal::Invalid)?;
        let known = |field: &str| {
            let top = field.split('.').next().unwrap_or(field);
            facts.fields.iter().any(|f| f == top)
        };
        let narrows = constraint.fields().next().is_none() || constraint.fields().any(known);
        if narrows {
            // Half of a narrowing would be a wider grant than was asked for.
            Self::check_constraint(id, facts, constraint)?;
        }
        Ok(narrows)
    }

    fn note(&mut self, note: &Note) -> Result<Reply, Refusal> {
        // What could not be read back must not be written.
        if !crate::KINDS.contains(&note.kind) {
            return Err(Refusal::Invalid(format!(
                "no event has type {:?}",
                note.kind
            )));
        }
        let mut note_event = event(
            note.kind,
            Fact::Note {
                about: note.detail.clone(),
            },
        );
        note_event.agent_id.clone_from(&note.agent);
        note_event.capability_id.clone_from(&note.capability);
        note_event.outcome = note.outcome.map(Cow::Borrowed);
        self.emit(note_event);
        Ok(Reply::Done)
    }
}

fn on_source(source: &SourceId, id: &CapabilityId) -> bool {
    id.parts().0 == source.as_str()
}

fn result_word(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Ok => "ok",
        OutcomeKind::Failed | OutcomeKind::Unknown => "error",
        OutcomeKind::Refused => "denied",
    }
}

fn token_ids(changes: &[Change]) -> Vec<TokenId> {
    let gone = changes.iter().filter_map(|c| match c {
        Change::TokenGone { id, .. } => Some(id.clone()),
        _ => None,
    });
    gone.collect()
}

fn with_capability<'s>(
    state: &'s State,
    id: &CapabilityId,
) -> Result<(&'s Source, &'s Facts), Refusal> {
    state.capability(id).ok_or(Refusal::UnknownCapability)
}

fn boxed(item: &Arc<Item>, edit: impl FnOnce(&mut Item)) -> Change {
    let mut copy = (**item).clone();
    edit(&mut copy);
    Change::Item(Box::new(copy))
}
