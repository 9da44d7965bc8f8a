//! Grants that the owner makes unasked, what stands, and what is taken back (docs/protocol/owner.md#grants-and-tokens).
//!
//! Invariant: nothing that has a ceiling of one call is allowed here: a call is approved on its card, with its input.

use super::agents::{is_gone, unknown};
use crate::{
    acting::{Acting, Narrowing},
    acts::{act, blocking, failed, failed_halfway},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::{agent::grants::GrantDecision, grant_reply, reply::Refused, revocation};
use plexus_ledger::Lane;
use plexus_owner::grants::{
    AnyInputCall, Give, Given, GivenToken, GrantRow, Grants, List, ListTokens, LiveScope,
    LiveToken, NothingGiven, Revoke, Tokens,
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, Provenance, SessionId, Timestamp, TokenId, TrustWindow,
    Verbs,
    body::{Declined, Revocation, ScopedToken},
};
use plexus_sources::catalogue::Catalogue;
use plexus_trust::{
    Agent, Approval, Ceiling, Command, EnrollmentStatus, Entry, Extent, GrantEntry, Reply,
    RequestGrants, SessionProof, State as TrustState, Token, ceiling,
};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(tokens).with(revoke).with(give)
}

pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Grants, Refused> {
    blocking(move || {
        let state = desk.ledger.snapshot();
        let uses = desk
            .tally
            .uses(&desk.ledger, &state, state.time(desk.clock.now()));
        let agents = state.agents.values();
        let all = agents.flat_map(|agent| {
            let standing = grant_reply::standing(&desk, &state, agent).into_iter();
            standing.map(|grant| {
                let held = agent.grants.get(&grant.capability_id);
                let last_used_at = held.and_then(|held| {
                    // The call that it was approved with stands on its item: made as the grant was.
                    let is_known = uses.since.is_none_or(|since| held.granted_at >= since);
                    // On a lent folder a write takes one of its undo's number too.
                    let is_own = state.lent(&held.capability).is_none();
                    let first = (held.calls > 0 && is_known && is_own).then_some(held.granted_at);
                    uses.last.get(&held.serial).copied().or(first)
                });
                GrantRow {
                    grant,
                    last_used_at,
                }
            })
        });
        let ended = state.agents.values();
        let ended = ended.flat_map(|agent| grant_reply::ended(&desk, &state, agent));
        Grants {
            ended: ended.collect(),
            grants: all.collect(),
            uses_since: uses.since,
            any_input: any_input(&state, state.time(desk.clock.now())),
        }
    })
    .await
}

/// The approvals of one call, whatever its input, that can still be used.
fn any_input(state: &TrustState, now: Timestamp) -> Vec<AnyInputCall> {
    let items = state.agents.values().flat_map(|agent| agent.items.values());
    let open = items.filter(|item| item.has_call_left() && now < item.expires_at);
    let calls = open.flat_map(|item| {
        let asks = item.asks.iter();
        let asks = asks.filter(|ask| ask.approval == Approval::OneCallAnyInput);
        asks.map(move |ask| AnyInputCall {
            agent_id: item.agent.clone(),
            capability_id: ask.capability.clone(),
            pending_id: item.id.clone(),
            constraint: ask.constraint.clone(),
            expires_at: item.expires_at,
        })
    });
    calls.collect()
}

/// Live tokens with their own scopes and end (E15).
async fn tokens(desk: Arc<Desk>, _: Reading, _: ListTokens) -> Result<Tokens, Refused> {
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let mut tokens = Vec::new();
    for agent in state.agents.values() {
        let live = agent.tokens.iter();
        let ended = |jti| desk.revocations.ended(&agent.id) || desk.revocations.ended_token(jti);
        let live = live.filter(|(jti, token)| is_live(agent, token, now) && !ended(jti));
        tokens.extend(live.map(|(jti, token)| LiveToken {
            jti: jti.clone(),
            session_id: token.session.clone(),
            agent_id: agent.id.clone(),
            scopes: scopes(&state, agent, token),
            expires_at: token.expires_at,
        }));
    }
    Ok(Tokens { tokens })
}

fn is_live(agent: &Agent, token: &Token, now: Timestamp) -> bool {
    let session = agent.sessions.get(&token.session);
    session.is_some_and(|session| now < session.expires_at) && now < token.expires_at
}

fn scopes(state: &TrustState, agent: &Agent, token: &Token) -> Vec<LiveScope> {
    let shown = token.scopes.iter().map(|scope| {
        let grant = agent.grants.get(&scope.id);
        LiveScope {
            id: scope.id.clone(),
            verbs: scope.verbs,
            // A scope without a grant stands on an approved call, and ends with the token.
            grant_expires_at: grant.map_or(token.expires_at, |g| g.expires_at),
            provenance: state
                .capability(&scope.id)
                .map_or(Provenance::Extension, |(source, _)| {
                    source.config.provenance
                }),
            trust_window: grant.map(|g| g.window),
            constraint: scope.constraint.clone(),
        }
    });
    shown.collect()
}

async fn revoke(desk: Arc<Desk>, _: Narrowing, asked: Revoke) -> Result<Revocation, Refused> {
    let named = [
        &asked.jti,
        &asked.agent_id,
        &asked.capability_id,
        &asked.bundle_id,
    ];
    let named = named.map(Option::as_deref);
    let wish = revocation::RevokeRequest::of(named, asked.reason.as_deref())?;
    revocation::carry_out(&desk.edge, wish).await
}

/// One id of the body.
struct RequestedGrant {
    id: String,
    verbs: Option<Verbs>,
    window: Option<TrustWindow>,
    constraint: Option<Constraint>,
}

pub(crate) async fn give(desk: Arc<Desk>, acting: Acting, body: Give) -> Result<Given, Refused> {
    let asked = read(&body)?;
    let named = body.agent_id.as_deref().map(str::trim);
    let Some(named) = named.filter(|id| !id.is_empty()) else {
        // The owner's key is no agent: it calls nothing, so there is nobody to hold the grant.
        let reason = "Name the agent: the owner's key itself is granted nothing.";
        let declined = asked.into_iter().map(|a| Declined {
            id: a.id,
            reason: reason.into(),
        });
        return Ok(Given::Nothing(NothingGiven {
            scopes: Vec::new(),
            declined: declined.collect(),
        }));
    };
    let agent =
        AgentId::parse(named).map_err(|e| Refused::malformed(format!("`agentId` is {e}")))?;
    let state = desk.ledger.snapshot();
    if state
        .agent(&agent)
        .is_none_or(|a| a.status == EnrollmentStatus::Revoked)
    {
        return Err(unknown(named));
    }
    let (entries, mut declined) = sort(&state, &desk.catalogue.load(), asked);
    let (given, also_answered, denials_ended) = if entries.is_empty() {
        Default::default()
    } else {
        let receipt = act(
            &desk,
            &acting,
            Command::Grant {
                agent: agent.clone(),
                entries,
            },
        )
        .await?;
        match receipt.reply {
            Reply::Approved {
                granted,
                once,
                also,
                denials_ended,
            } => {
                declined.extend(once.into_iter().map(|id| Declined {
                    reason: only_by_card(&id),
                    id: id.to_string(),
                }));
                (granted, also, denials_ended)
            }
            _ => return Err(failed("a grant was answered with something else")),
        }
    };
    let mut token = token_for(&desk, &acting, &agent, given).await?;
    if agent.is_nested() {
        // The gateway makes its calls: its tokens leave the gateway no more than its sessions do.
        token.token.clear();
    }
    Ok(Given::Token(GivenToken {
        token: ScopedToken { declined, ..token },
        also_answered,
        denials_ended,
    }))
}

fn read(body: &Give) -> Result<Vec<RequestedGrant>, Refused> {
    let grants = body.grants.as_ref();
    let grants = grants
        .ok_or_else(|| Refused::malformed("`grants` (an object: id to decision) is required"))?;
    let mut asked = Vec::new();
    for (id, decision) in grants {
        let decision = GrantDecision::read(id, decision).map_err(Refused::malformed)?;
        if !decision.is_allow {
            continue;
        }
        asked.push(RequestedGrant {
            id: id.clone(),
            verbs: decision.verbs.filter(|v| !v.is_empty()),
            window: body.trust_window.or(decision.trust_window),
            constraint: decision.constraint.filter(|c| !c.is_empty()),
        });
    }
    Ok(asked)
}

/// What can be granted, and why the rest cannot.
fn sort(
    state: &TrustState,
    catalogue: &Catalogue,
    asked: Vec<RequestedGrant>,
) -> (Vec<GrantEntry>, Vec<Declined>) {
    let (mut entries, mut declined) = (Vec::new(), Vec::new());
    for RequestedGrant {
        id,
        verbs,
        window,
        constraint,
    } in asked
    {
        let known = CapabilityId::parse(&id).ok().filter(|c| state.exposed(c));
        let found = known.and_then(|capability| {
            state
                .capability(&capability)
                .map(|found| (capability, found))
        });
        let reason = match found {
            None => "No source offers it, or you do not expose it.".to_owned(),
            Some((capability, (_, facts))) if facts.verbs.is_empty() => {
                format!("{capability} is a text to read: it needs no grant.")
            }
            Some((capability, (source, facts)))
                if ceiling(facts, source.config.provenance) == Ceiling::Once
                    || window == Some(TrustWindow::Once) =>
            {
                only_by_card(&capability)
            }
            Some((capability, _)) => {
                if let Some(why) = no_thing(catalogue, &capability, constraint.as_ref()) {
                    why
                } else {
                    entries.push(GrantEntry {
                        capability,
                        verbs,
                        window,
                        constraint,
                    });
                    continue;
                }
            }
        };
        declined.push(Declined { id, reason });
    }
    (entries, declined)
}

/// Why a narrowing would match nothing: it names no id, such as a channel by its name.
fn no_thing(
    catalogue: &Catalogue,
    capability: &CapabilityId,
    constraint: Option<&Constraint>,
) -> Option<String> {
    let entry = catalogue.get(capability)?;
    let under = constraint?.path_prefix.as_ref()?;
    let all = |value: &&String| matches!(value.as_str(), "" | ".");
    let mut values = under.allow.iter().filter(|value| !all(value));
    values.find_map(|value| {
        let (field, kind) = (&under.field, entry.no_id_of(&under.field, value)?);
        Some(format!(
            "{field}={value} allows no call: {value} is no id of a {kind}. Name it by its id, not by its name."
        ))
    })
}

fn only_by_card(id: &CapabilityId) -> String {
    format!("Each call of {id} is approved on its card, when the agent asks for it.")
}

/// A token for what was granted, in a fresh session as that agent.
async fn token_for(
    desk: &Desk,
    acting: &Acting,
    agent: &AgentId,
    given: Vec<CapabilityId>,
) -> Result<ScopedToken, Refused> {
    let (session, jti) = (SessionId::fresh(), TokenId::fresh());
    let open = Command::OpenSession {
        agent: Some(agent.clone()),
        by: if agent.is_nested() {
            SessionProof::Gateway
        } else {
            SessionProof::Owner
        },
        session: session.clone(),
        client: (Some("owner".into()), None),
    };
    let opened = desk.ledger.submit(open, Lane::Owner).await;
    opened.map_err(|error| {
        if is_gone(&error) {
            unknown(agent.as_str())
        } else {
            error.into()
        }
    })?;
    let entries = given.iter().map(|id| Entry::of(id.as_str())).collect();
    let request = RequestGrants::token(
        agent.clone(),
        session.clone(),
        jti.clone(),
        entries,
        Extent::OwnersToken,
    );
    match act(desk, acting, request).await?.reply {
        Reply::Decided(decision) => {
            grant_reply::scoped_token(desk, agent, &session, &jti, &decision).ok_or_else(|| {
                failed_halfway(
                    "granted, but no token could be made; the agent gets one with PUT /grants",
                )
            })
        }
        _ => Err(failed("a request was answered with something else")),
    }
}
