//! Grants, tokens and items as the wire writes them: shared by agent and owner routes.

use super::reply::Refused;
use crate::edge::Edge;
use plexus_calls::refusal::NOT_IN_VIEW;
use plexus_protocol::{
    AgentId, CapabilityId, PendingId, SessionId, TokenId,
    body::{Declined, Narration, PendingReply, ScopedToken, StandingGrant, WaitingRequest},
};
use plexus_sources::narration;
use plexus_trust::{Agent, Ask, Decision, Grant, Item, State, standing_for};
use serde_json::{Value, to_value};

/// The agent's standing grants that have not ended.
pub fn standing(edge: &Edge, state: &State, agent: &Agent) -> Vec<StandingGrant> {
    let now = state.time(edge.clock.now());
    let shown = agent
        .grants
        .values()
        .filter(|g| now < g.expires_at && g.calls_left() != Some(0));
    let known = |grant: &Grant| {
        let ended = edge.revocations.ended_grant(&agent.id, &grant.capability);
        let unsaved = ended.then(|| "it was revoked, which is not saved yet".to_owned());
        unsaved.or_else(|| grant.suspended.clone())
    };
    shown
        .map(|grant| StandingGrant {
            suspended: known(grant).or_else(|| {
                let usable = standing_for(state, agent, &grant.capability, now).is_some();
                let why = match state.capability(&grant.capability) {
                    Some(_) => "its capability does more now than was granted",
                    None => "its source is not available",
                };
                (!usable && state.exposed(&grant.capability)).then(|| why.to_owned())
            }),
            ..as_row(state, agent, grant)
        })
        .collect()
}

/// The agent's grants whose time has ended, as long as the state keeps them (30 days): those that may be given again as they
/// were. A lent folder is lent again instead, and a suspended grant waits for its card.
pub fn ended(edge: &Edge, state: &State, agent: &Agent) -> Vec<StandingGrant> {
    let now = state.time(edge.clock.now());
    let is_offered = |id: &CapabilityId| state.capability(id).is_some() && state.lent(id).is_none();
    let over = agent.grants.values().filter(|grant| {
        now >= grant.expires_at
            && grant.suspended.is_none()
            && is_offered(&grant.capability)
            && !edge.revocations.ended_grant(&agent.id, &grant.capability)
    });
    over.map(|grant| as_row(state, agent, grant)).collect()
}

/// A grant as it was given.
fn as_row(state: &State, agent: &Agent, grant: &Grant) -> StandingGrant {
    StandingGrant {
        agent_id: agent.id.clone(),
        capability_id: grant.capability.clone(),
        verbs: grant.verbs,
        provenance: state
            .capability(&grant.capability)
            .map_or(plexus_protocol::Provenance::Extension, |(source, _)| {
                source.config.provenance
            }),
        granted_at: grant.granted_at,
        expires_at: grant.expires_at,
        trust_window: grant.window,
        standing: true,
        constraint: grant.constraint.clone(),
        calls_left: grant.calls_left(),
        suspended: None,
        top_level_disabled: !state.exposed(&grant.capability),
    }
}

/// Requests of one agent that are listed as waiting.
const MAX_WAITING: usize = 64;

/// What of an agent's waits for the owner, the oldest first.
pub fn waiting(edge: &Edge, agent: &Agent) -> Vec<WaitingRequest> {
    let now = edge.clock.now();
    let items = agent.items.values();
    let waits = items.filter(|item| item.is_of(agent) && item.wire_state(now) == "pending");
    let mut waiting: Vec<_> = waits.filter_map(|item| request(item)).collect();
    waiting.sort_by_key(|waiting| waiting.created_at);
    waiting.truncate(MAX_WAITING);
    waiting
}

/// The same of one item; none of a proposal, which asks for no capability.
pub fn request(item: &Item) -> Option<WaitingRequest> {
    Some(WaitingRequest {
        pending_id: item.id.clone(),
        capability_id: item.asks.first()?.capability.clone(),
        created_at: item.created_at,
        purpose: item.purpose.clone(),
    })
}

/// The token of a decision; `None` where none was made.
pub fn scoped_token(
    edge: &Edge,
    agent: &AgentId,
    session: &SessionId,
    jti: &TokenId,
    decision: &Decision,
) -> Option<ScopedToken> {
    let expires_at = decision.token_expires_at?;
    let times = (edge.clock.now(), expires_at, decision.grant_expires_at);
    let signed = edge
        .tokens
        .sign(agent, session, jti, &decision.scopes, times);
    let token = signed
        .inspect_err(|error| tracing::error!(name: "credential.failed", %error, "a token could not be signed"))
        .ok()?;
    Some(ScopedToken {
        token,
        scopes: decision.scopes.clone(),
        jti: jti.clone(),
        expires_at,
        grant_expires_at: decision.grant_expires_at,
        trust_window: decision.window,
        declined: Vec::new(),
    })
}

/// What a request came to, as `PUT /grants` answers.
pub(crate) fn decided(
    edge: &Edge,
    agent: Option<&AgentId>,
    session: &SessionId,
    jti: &TokenId,
    decision: &Decision,
) -> Result<Value, Refused> {
    let declined = declined(decision);
    let token = agent.and_then(|agent| scoped_token(edge, agent, session, jti, decision));
    let shown = match &decision.item {
        None => match token {
            Some(token) => to_value(ScopedToken { declined, ..token }),
            None => Ok(serde_json::json!({"scopes": [], "declined": declined})),
        },
        Some(item) => {
            let state = edge.ledger.snapshot();
            let known = state.item(item).ok_or(plexus_trust::Refusal::NoSuchItem)?;
            to_value(PendingReply {
                status: "grant_pending_user".into(),
                pending_id: item.clone(),
                pending: known.asks.iter().map(|a| a.capability.clone()).collect(),
                status_url: status_url(edge, item),
                approval_url: format!("{}/admin", edge.address.base()),
                pending_narration: narrate(edge, &state, known),
                partial_token: token.filter(|t| !t.scopes.is_empty()),
                declined,
            })
        }
    };
    shown.map_err(|e| Refused::failed(e.to_string()))
}

pub(crate) fn declined(decision: &Decision) -> Vec<Declined> {
    let unknown = decision.unknown.iter().map(|id| Declined {
        id: id.clone(),
        reason: NOT_IN_VIEW.into(),
    });
    let denied = decision.denied.iter().map(|(id, reason)| Declined {
        id: id.to_string(),
        reason: reason
            .clone()
            .unwrap_or_else(|| "The owner denied this call.".into()),
    });
    unknown.chain(denied).collect()
}

pub(crate) fn status_url(edge: &Edge, item: &PendingId) -> String {
    format!("{}/grants/status?pendingId={item}", edge.address.base())
}

/// The agent's copy: where a source points is the owner's to know.
pub(crate) fn narrate(edge: &Edge, state: &State, item: &Item) -> Vec<Narration> {
    let moves = |ask: &Ask| {
        let changed = "Its source was changed since it was granted; the owner's card says how.";
        ask.voided.map(|_| changed.to_owned()).into_iter().collect()
    };
    narration::of_item(&edge.catalogue.load(), state, item, |_| false, moves)
}
