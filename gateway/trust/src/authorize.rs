//! May this call go on? Asked on a snapshot before any work, and again by the writer before anything is recorded.
//!
//! Invariant: every [`Permit`] names the one act of the owner that allows the call (a grant by its serial, or an item),
//! and [`Permit::recheck`] holds exactly as long as that act does.

use crate::{
    Agent, Approval, BoundedState, Facts, Grant, Item, ItemState, Plan, Refusal, Source, State,
    window::Ceiling, window::ceiling,
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Digest, PendingId, SessionId, Timestamp, TokenId, Verb,
    Verbs,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call, as it was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Who calls.
    pub agent: &'a AgentId,
    /// What.
    pub capability: &'a CapabilityId,
    /// With what.
    pub input: &'a Value,
    /// Digest of the canonical input.
    pub digest: Digest,
}

/// How the call came in.
#[derive(Clone, Copy, Debug)]
pub enum AuthPath<'a> {
    /// With a scoped token whose signature holds.
    Token(&'a TokenId),
    /// With a session alone: what is not allowed yet pends.
    Session(&'a SessionId),
    /// The gateway runs what the owner approved (`onApproval: "run"`).
    Approved(&'a PendingId),
    /// A further turn or a child call that the owner approved within bounds, by the item that was approved.
    Bounded(&'a PendingId),
    /// An event of the source, which nobody asked for, or a read of a workflow: a standing grant allows it, and no approval
    /// is used for it.
    Standing,
}

/// The answer.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// It may go on, on these terms.
    Permit(Box<Permit>),
    /// The owner has to be asked.
    Pend {
        /// The input lies outside of the agent's grant.
        beyond_grant: bool,
    },
    /// It may not.
    Refuse(Refusal),
}

/// The act of the owner that a permit stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Basis {
    /// A standing grant, by its serial.
    Grant(u64),
    /// An approved item.
    Item(PendingId),
    /// The bounded approval of an item, for a further turn or a child call.
    Bounded(PendingId),
}

/// The terms on which one call may go on. Worth nothing by itself: the writer checks it again.
#[derive(Clone, Debug)]
pub struct Permit {
    /// Whose call.
    pub agent: AgentId,
    /// For what.
    pub capability: CapabilityId,
    /// Its declared verbs.
    pub verbs: Verbs,
    /// What it stands on.
    pub basis: Basis,
    /// Digest of the input.
    pub input: Digest,
    /// What the owner narrowed it to.
    pub constraint: Option<Constraint>,
    /// The highest rating that the owner's act covers.
    pub rating: Verb,
    /// What the approved plan assumed about the world.
    pub state_token: Option<Digest>,
    /// The token it came with.
    pub token: Option<TokenId>,
    /// The session it came with.
    pub session: Option<SessionId>,
    agent_epoch: u64,
    source_revision: u64,
}

impl Permit {
    /// The source's revision that it was made for.
    #[must_use]
    pub fn source_revision(&self) -> u64 {
        self.source_revision
    }

    /// The agent's epoch that it was made in: another credential, or none, is another epoch.
    #[must_use]
    pub fn agent_epoch(&self) -> u64 {
        self.agent_epoch
    }

    /// Whether, after its intent was recorded, nothing that it stands on was taken away: the last look before an effect
    /// is sent. What the intent itself used up is not asked for again.
    #[must_use]
    pub fn not_taken_back(&self, state: &State) -> bool {
        let Some(agent) = state.agent(&self.agent) else {
            return false;
        };
        let same_source = state
            .capability(&self.capability)
            .is_some_and(|(source, _)| {
                source.revision == self.source_revision && source.stopped.is_none()
            });
        let stands = match &self.basis {
            Basis::Grant(serial) => agent
                .grants
                .get(&self.capability)
                .is_some_and(|g| g.serial == *serial && g.suspended.is_none()),
            Basis::Item(_) => true,
            // The intent itself may have used the last turn.
            Basis::Bounded(item) => agent.items.get(item).is_some_and(|item| {
                let mut asks = item.asks.iter().filter_map(|ask| ask.bounded.as_ref());
                asks.any(|b| matches!(b.state, BoundedState::Open { .. } | BoundedState::Spent))
            }),
        };
        !state.paused
            && agent.epoch == self.agent_epoch
            && same_source
            && state.exposed(&self.capability)
            && stands
    }

    /// The same permit for a call that goes on without its caller: it outlives the token and the session that it came
    /// with, and nothing else.
    #[must_use]
    pub fn for_a_run(self) -> Self {
        Self {
            token: None,
            session: None,
            ..self
        }
    }

    /// Whether the call only reads.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.verbs.is_read()
    }

    /// Whether everything that the permit stands on still holds in `state` at `now`.
    ///
    /// # Errors
    /// The refusal that a fresh request would get.
    pub fn recheck(&self, state: &State, now: Timestamp) -> Result<(), Refusal> {
        let now = state.time(now);
        if state.paused {
            return Err(Refusal::Paused);
        }
        let agent = state.agent(&self.agent).ok_or(Refusal::SessionExpired)?;
        if agent.epoch != self.agent_epoch {
            return Err(Refusal::SessionExpired);
        }
        let (source, facts) = state
            .capability(&self.capability)
            .ok_or(Refusal::UnknownCapability)?;
        if !for_agent(state, agent, &self.capability, now) {
            return Err(Refusal::UnknownCapability);
        }
        if !state.exposed(&self.capability) {
            return Err(Refusal::Unexposed);
        }
        if source.stopped.is_some() {
            return Err(Refusal::SourceStopped);
        }
        if source.revision != self.source_revision || facts.verbs != self.verbs {
            return Err(Refusal::GrantRequired { constraint: None });
        }
        if let Some(session) = &self.session {
            live_session(agent, session, now)?;
        }
        if let Some(token) = &self.token
            && agent.tokens.get(token).is_none_or(|t| now >= t.expires_at)
        {
            return Err(Refusal::TokenRevoked);
        }
        not_unknown(agent, &self.capability, &self.input)?;
        if let Basis::Bounded(item) = &self.basis {
            let ask = turn_open(state, agent, item, &self.capability, self.verbs, now)?;
            return not_denied_since(agent, ask, &self.capability, &self.input, now);
        }
        not_denied(agent, &self.capability, &self.input, now)?;
        // What the gateway runs by itself stands on the item that says so; an agent's own call never does, and in the
        // background it has no session either.
        let by_gateway = match &self.basis {
            Basis::Item(item) => agent.items.get(item).is_some_and(|item| {
                let mut asks = item.asks.iter();
                asks.any(|ask| ask.capability == self.capability && item.runs(ask))
            }),
            Basis::Grant(_) | Basis::Bounded(_) => false,
        };
        if !by_gateway && !self.is_read() {
            not_run(agent, &self.capability, &self.input, now)?;
        }
        let stands = match &self.basis {
            Basis::Grant(serial) => grant_for(agent, source, facts, &self.capability, now)
                .is_some_and(|g| g.serial == *serial),
            Basis::Item(item) => agent.items.get(item).is_some_and(|i| {
                open_ask(i, &self.capability, self.verbs, &self.input, now)
                    .is_some_and(|ask| is_covered_still(agent, ask, now))
            }),
            Basis::Bounded(_) => false,
        };
        if stands {
            Ok(())
        } else {
            Err(Refusal::GrantRequired { constraint: None })
        }
    }
}

/// Decides on a snapshot. Schema and source health are not looked at here.
pub fn authorize(state: &State, call: Call<'_>, path: AuthPath<'_>, now: Timestamp) -> Verdict {
    match try_authorize(state, call, path, state.time(now)) {
        Ok(verdict) => verdict,
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

fn try_authorize(
    state: &State,
    call: Call<'_>,
    path: AuthPath<'_>,
    now: Timestamp,
) -> Result<Verdict, Refusal> {
    let Some(agent) = state.agent(call.agent) else {
        return Err(match path {
            AuthPath::Token(_) => Refusal::TokenRevoked,
            AuthPath::Session(_)
            | AuthPath::Approved(_)
            | AuthPath::Bounded(_)
            | AuthPath::Standing => Refusal::SessionExpired,
        });
    };
    if let AuthPath::Session(session) = path {
        live_session(agent, session, now)?;
    }
    let token = match path {
        AuthPath::Token(id) => Some((id, agent.tokens.get(id))),
        AuthPath::Session(_)
        | AuthPath::Approved(_)
        | AuthPath::Bounded(_)
        | AuthPath::Standing => None,
    };
    let scope = token.and_then(|(_, t)| t?.scopes.iter().find(|s| &s.id == call.capability));
    let Some((source, facts)) = state.capability(call.capability) else {
        return Err(Refusal::UnknownCapability);
    };
    if !for_agent(state, agent, call.capability, now) {
        return Err(Refusal::UnknownCapability);
    }
    if !state.exposed(call.capability) {
        // An id that the token names was once shown to the agent; every other one does not exist for it (E26).
        return Err(if scope.is_some() {
            Refusal::Unexposed
        } else {
            Refusal::UnknownCapability
        });
    }
    if !visible(state, agent, call.capability, now) && scope.is_none() {
        return Err(Refusal::UnknownCapability);
    }
    if facts.verbs.is_empty() {
        return Err(Refusal::NotCallable);
    }
    if source.stopped.is_some() {
        return Err(Refusal::SourceStopped);
    }
    let mut session = match path {
        AuthPath::Session(session) => Some(session.clone()),
        AuthPath::Token(_) | AuthPath::Approved(_) | AuthPath::Bounded(_) | AuthPath::Standing => {
            None
        }
    };
    let mut token_scope = None;
    if let Some((_, token)) = token {
        let token = token.ok_or(Refusal::TokenRevoked)?;
        live_session(agent, &token.session, now)?;
        if now >= token.expires_at {
            return Err(Refusal::TokenExpired);
        }
        let scope = scope
            .filter(|s| s.verbs.covers(facts.verbs))
            .ok_or(Refusal::GrantRequired { constraint: None })?;
        token_scope = scope.constraint.as_ref();
        if let Some(constraint) = &scope.constraint {
            let resolved: Vec<&str> = facts.resolved.iter().map(String::as_str).collect();
            constraint
                .permits(call.input, &resolved)
                .map_err(|miss| Refusal::GrantRequired {
                    constraint: Some(miss.field),
                })?;
        }
        session = Some(token.session.clone());
    }
    if state.paused {
        return Err(Refusal::Paused);
    }
    not_unknown(agent, call.capability, &call.digest)?;
    if !matches!(path, AuthPath::Bounded(_)) {
        // The approval of a conversation is the owner's newer word on what was denied before.
        not_denied(agent, call.capability, &call.digest, now)?;
    }
    if !matches!(path, AuthPath::Approved(_) | AuthPath::Bounded(_)) && !facts.verbs.is_read() {
        not_run(agent, call.capability, &call.digest, now)?;
    }

    // A worker judges resolved fields by one constraint: what both the token and the grant let pass.
    let narrowest = |held: Option<&Constraint>| match (token_scope, held) {
        (None, held) => Ok(held.cloned()),
        (Some(own), None) => Ok(Some(own.clone())),
        (Some(own), Some(held)) => own
            .and(held)
            .map(Some)
            .ok_or(Refusal::GrantRequired { constraint: None }),
    };
    let permit = |basis, constraint: Option<Constraint>, rating, state_token| Permit {
        agent: agent.id.clone(),
        capability: call.capability.clone(),
        verbs: facts.verbs,
        basis,
        input: call.digest,
        constraint,
        rating,
        state_token,
        token: token.map(|(id, _)| id.clone()),
        session: session.clone(),
        agent_epoch: agent.epoch,
        source_revision: source.revision,
    };
    let highest = facts.verbs.iter().last().unwrap_or(Verb::Read);
    let resolved: Vec<&str> = facts.resolved.iter().map(String::as_str).collect();
    let mut missed = None;
    let mut within = |constraint: Option<&Constraint>| {
        let miss = constraint.and_then(|c| c.permits(call.input, &resolved).err());
        let fits = miss.is_none();
        missed = miss.map(|miss| miss.field).or(missed.take());
        fits
    };

    if let AuthPath::Bounded(item) = path {
        let ask = turn_open(state, agent, item, call.capability, facts.verbs, now)?;
        not_denied_since(agent, ask, call.capability, &call.digest, now)?;
        // A narrowing of the approved call is about its own input.
        let is_turn = &ask.capability == call.capability;
        let constraint = ask.constraint.as_ref().filter(|_| is_turn);
        // The card says that a child changes a copy alone: whatever else its capability can do is not permitted.
        let mode = call
            .input
            .get("mode")
            .filter(|_| !is_turn && !of_workflow(ask));
        if mode.is_some_and(|mode| mode != "staged") {
            let why = "a child call works on a copy alone, so its mode is staged";
            return Err(Refusal::NoChild { why });
        }
        if !within(constraint) {
            return Err(Refusal::GrantRequired { constraint: missed });
        }
        return Ok(Verdict::Permit(Box::new(permit(
            Basis::Bounded(item.clone()),
            constraint.cloned(),
            highest,
            None,
        ))));
    }

    // A source would refuse by a narrower token what the owner approved without that bound, and use the approval up.
    let is_narrower = |ask: &crate::Ask| {
        let own = token_scope.filter(|own| ask.constraint.as_ref() != Some(*own));
        own.is_some_and(|own| {
            let permits = own.permits_as_written(call.input, &facts.resolved);
            permits.is_err()
        })
    };
    // What the owner approved for exactly this input comes first: it is bound to what the card showed.
    let approved = agent.items.values().find_map(|item| {
        let ask = open_ask(item, call.capability, facts.verbs, &call.digest, now)?;
        let ours = match path {
            AuthPath::Approved(id) => &item.id == id && item.runs(ask),
            // What the gateway runs by itself is not run a second time by the agent.
            AuthPath::Token(_) | AuthPath::Session(_) => !item.runs(ask),
            AuthPath::Bounded(_) | AuthPath::Standing => false,
        };
        let holds = is_covered_still(agent, ask, now) && !is_narrower(ask);
        (ours && holds && within(ask.constraint.as_ref())).then_some((item, ask))
    });
    if let Some((item, ask)) = approved {
        let (state_token, rating) = match &ask.plan {
            Plan::Ready {
                state_token,
                rating,
                ..
            } => (Some(*state_token), (*rating).max(highest)),
            Plan::None | Plan::Making | Plan::Failed => (None, highest),
        };
        return Ok(Verdict::Permit(Box::new(permit(
            Basis::Item(item.id.clone()),
            narrowest(ask.constraint.as_ref())?,
            rating,
            state_token,
        ))));
    }
    if let Some(grant) = grant_for(agent, source, facts, call.capability, now)
        && !matches!(path, AuthPath::Approved(_))
        && within(grant.constraint.as_ref())
    {
        return Ok(Verdict::Permit(Box::new(permit(
            Basis::Grant(grant.serial),
            narrowest(grant.constraint.as_ref())?,
            highest,
            None,
        ))));
    }
    match path {
        AuthPath::Token(_) | AuthPath::Approved(_) | AuthPath::Bounded(_) | AuthPath::Standing => {
            Err(Refusal::GrantRequired { constraint: missed })
        }
        AuthPath::Session(_) => Ok(Verdict::Pend {
            beyond_grant: missed.is_some(),
        }),
    }
}

/// The grant that lets an agent use a capability at `now`, its constraint aside: live, for all declared verbs, and
/// below today's ceiling.
fn grant_for<'a>(
    agent: &'a Agent,
    source: &Source,
    facts: &Facts,
    id: &CapabilityId,
    now: Timestamp,
) -> Option<&'a Grant> {
    let grant = agent.grants.get(id)?;
    stands(grant, source, facts, now).then_some(&**grant)
}

/// Whether a grant lets its agent use its capability at `now`, its constraint aside.
pub(crate) fn stands(grant: &Grant, source: &Source, facts: &Facts, now: Timestamp) -> bool {
    grant.live(now)
        && grant.verbs.covers(facts.verbs)
        && !facts.verbs.is_empty()
        && ceiling(facts, source.config.provenance) == Ceiling::Owner
}

/// The standing grant that would allow a call now, whatever its constraint says of the input.
#[must_use]
pub fn standing_for<'a>(
    state: &State,
    agent: &'a Agent,
    id: &CapabilityId,
    now: Timestamp,
) -> Option<&'a Grant> {
    let (source, facts) = state.capability(id)?;
    grant_for(agent, source, facts, id, state.time(now))
}

/// Whether the grant that answered an ask is the one that is held, or another without a limit; true of what a card answered.
fn is_covered_still(agent: &Agent, ask: &crate::Ask, now: Timestamp) -> bool {
    ask.covered_by.is_none_or(|serial| {
        let held = agent.grants.get(&ask.capability);
        held.is_some_and(|grant| {
            let reaches = grant.serial == serial || grant.constraint.is_none();
            reaches && grant.live(now) && grant.verbs.covers(ask.verbs)
        })
    })
}

/// The ask of an approved item that has one call left for this input, and whose card showed every verb of the call.
fn open_ask<'a>(
    item: &'a Item,
    id: &CapabilityId,
    declared: Verbs,
    input: &Digest,
    now: Timestamp,
) -> Option<&'a crate::Ask> {
    if !matches!(item.state, ItemState::Approved { .. }) || now >= item.expires_at {
        return None;
    }
    item.asks.iter().find(|ask| {
        &ask.capability == id
            && ask.verbs.covers(declared)
            && match ask.approval {
                Approval::OneCall => ask.input.as_ref() == Some(input),
                Approval::OneCallAnyInput => true,
                Approval::Open | Approval::Granted | Approval::Used | Approval::Ended => false,
            }
    })
}

/// The ask whose bounded approval takes a further turn now: opened, not over, and with no turn under way.
fn turn_open<'a>(
    state: &State,
    agent: &'a Agent,
    id: &PendingId,
    capability: &CapabilityId,
    declared: Verbs,
    now: Timestamp,
) -> Result<&'a crate::Ask, Refusal> {
    let refused = |why| Err(Refusal::NoTurn { why });
    let item = agent.items.get(id).filter(|item| item.is_of(agent));
    let Some(item) = item else {
        return refused("there is no such conversation");
    };
    let mut children = item.asks.iter().filter_map(|ask| {
        let calls = ask.bounded.as_deref()?.children.as_ref()?;
        Some((ask, calls))
    });
    if let Some((ask, calls)) = children.next() {
        return child_open(state, agent, (item, ask, calls), capability, now);
    }
    let mut asks = item.asks.iter().filter(|ask| &ask.capability == capability);
    let held = asks.find(|ask| ask.bounded.is_some() && ask.verbs.covers(declared));
    let Some((ask, bounded)) = held.and_then(|ask| Some((ask, ask.bounded.as_deref()?))) else {
        return refused("its approval permits one call alone");
    };
    match &bounded.state {
        BoundedState::Asked => refused("it has not begun"),
        BoundedState::Spent => refused("every turn of it is used"),
        BoundedState::Void { .. } => refused("it was ended"),
        BoundedState::Expired => refused("its time is over"),
        BoundedState::Open { until } if now >= *until => refused("its time is over"),
        BoundedState::Open { .. } if state.begun_under(id).next().is_some() => {
            refused("a turn of it is under way")
        }
        BoundedState::Open { .. } => Ok(ask),
    }
}

/// The same of child calls: of what it names and what has not changed since, as many side by side as it says, for as long
/// as its own capability is there.
fn child_open<'a>(
    state: &State,
    agent: &Agent,
    (item, ask, calls): (&Item, &'a crate::Ask, &crate::ChildCalls),
    capability: &CapabilityId,
    now: Timestamp,
) -> Result<&'a crate::Ask, Refusal> {
    let refused = |why| Err(Refusal::NoChild { why });
    let Some(bounded) = ask.bounded_for(capability) else {
        return refused("its approval does not name this capability");
    };
    match &bounded.state {
        BoundedState::Asked => return refused("it has not begun"),
        BoundedState::Spent => return refused("every run of it is used"),
        BoundedState::Void { .. } => return refused("it was ended"),
        BoundedState::Expired => return refused("its time is over"),
        BoundedState::Open { until } if now >= *until => return refused("its time is over"),
        BoundedState::Open { .. } => {}
    }
    let may_go_on = state.capability(&ask.capability).is_some()
        && state.exposed(&ask.capability)
        && for_agent(state, agent, &ask.capability, now);
    if !may_go_on {
        return refused("the owner does not expose what it was approved for");
    }
    let as_asked = state.capability(capability).is_some_and(|(source, facts)| {
        (facts.staged || calls.members)
            && calls.capabilities.get(capability) == Some(&source.revision)
    });
    if !as_asked {
        return refused("this capability has changed since it was asked for");
    }
    let under_way = state.children_under_way(agent, &item.id);
    if u32::try_from(under_way).is_ok_and(|under_way| under_way < calls.parallel) {
        Ok(ask)
    } else {
        refused("as many runs as it permits side by side are under way")
    }
}

/// Whether the calls of a bounded approval are members of a workflow, which the card shows one by one.
fn of_workflow(ask: &crate::Ask) -> bool {
    let children = ask.bounded.as_deref().and_then(|b| b.children.as_ref());
    children.is_some_and(|calls| calls.members)
}

/// Whether an agent may know that a capability exists.
#[must_use]
pub fn visible(state: &State, agent: &Agent, id: &CapabilityId, now: Timestamp) -> bool {
    state.capability(id).is_some()
        && state.exposed(id)
        && for_agent(state, agent, id, state.time(now))
        && (agent.reach == crate::Reach::Exposed
            || agent.selected.contains(id)
            || agent
                .grants
                .get(id)
                .is_some_and(|g| g.live(state.time(now))))
}

/// Whether a capability is on a source for everybody, or on one that is lent to this agent now.
fn for_agent(state: &State, agent: &Agent, id: &CapabilityId, now: Timestamp) -> bool {
    let Some(lent) = state.lent(id) else {
        return true;
    };
    // With its last grant a lending is over.
    let granted = || {
        lent.capabilities
            .iter()
            .any(|c| agent.grants.contains_key(c))
    };
    lent.to(&agent.id, now) && lent.capabilities.contains(id) && granted()
}

/// Whether an agent could know of a capability that was exposed and there: what a change of it may be told to.
#[must_use]
pub fn in_reach(state: &State, agent: &Agent, id: &CapabilityId) -> bool {
    // The borrower is told of the end too.
    let mine = state.lent(id).is_none_or(|lent| lent.agent == agent.id);
    if !mine {
        return false;
    }
    agent.reach == crate::Reach::Exposed
        || agent.selected.contains(id)
        || agent.grants.contains_key(id)
}

pub(crate) fn live_session(
    agent: &Agent,
    session: &SessionId,
    now: Timestamp,
) -> Result<(), Refusal> {
    match agent.sessions.get(session) {
        Some(open) if now < open.expires_at => Ok(()),
        _ => Err(Refusal::SessionExpired),
    }
}

fn not_unknown(agent: &Agent, id: &CapabilityId, input: &Digest) -> Result<(), Refusal> {
    match agent.unknown.get(&(id.clone(), *input)) {
        Some(unknown) => Err(Refusal::OutcomeUnknown {
            intent: unknown.intent.clone(),
        }),
        None => Ok(()),
    }
}

/// A denial that is still remembered is the owner's newest word on this input: any later yes would have removed it.
pub(crate) fn not_denied(
    agent: &Agent,
    id: &CapabilityId,
    input: &Digest,
    now: Timestamp,
) -> Result<(), Refusal> {
    match agent.denials.get(&(id.clone(), *input)) {
        Some(denial) if now.since(denial.at) < crate::DENIAL_MS => Err(Refusal::Denied {
            reason: denial.reason.clone(),
        }),
        _ => Ok(()),
    }
}

/// The same of a denial that is newer than the bounded approval of `ask`.
fn not_denied_since(
    agent: &Agent,
    ask: &crate::Ask,
    id: &CapabilityId,
    input: &Digest,
    now: Timestamp,
) -> Result<(), Refusal> {
    let approved = ask.bounded.as_deref().and_then(|bounded| bounded.word());
    let denial = agent.denials.get(&(id.clone(), *input));
    match denial.filter(|denial| approved.is_none_or(|approved| denial.at > approved)) {
        Some(_) => not_denied(agent, id, input, now),
        None => Ok(()),
    }
}

/// How many calls of `id` the owner denied to this agent lately, whatever their input.
pub(crate) fn denied_lately(agent: &Agent, id: &CapabilityId, now: Timestamp) -> u32 {
    let lately = agent
        .denials
        .iter()
        .filter(|((denied, _), denial)| denied == id && now.since(denial.at) < crate::DENIAL_MS);
    u32::try_from(lately.count()).unwrap_or(u32::MAX)
}

/// An effect that the gateway is about to make, or is making, is not made again by the agent's own call with that input:
/// it gets that outcome (docs/design.md#approvals). Once it is over, the same call is a new wish and asks anew; the
/// daemon hands an outcome that the agent has not had yet to the first such call.
fn not_run(
    agent: &Agent,
    id: &CapabilityId,
    input: &Digest,
    now: Timestamp,
) -> Result<(), Refusal> {
    let running = agent.items.values().find(|item| {
        now < item.expires_at
            && item.asks.iter().any(|ask| {
                &ask.capability == id
                    && ask.input.as_ref() == Some(input)
                    && item.runs(ask)
                    && match ask.approval {
                        Approval::OneCall => matches!(item.state, ItemState::Approved { .. }),
                        Approval::Used => true,
                        Approval::Open
                        | Approval::OneCallAnyInput
                        | Approval::Granted
                        | Approval::Ended => false,
                    }
            })
    });
    match running {
        Some(item) => Err(Refusal::Runs {
            item: item.id.clone(),
        }),
        None => Ok(()),
    }
}
