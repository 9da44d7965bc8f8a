//! Agents: connecting them, ending them, what is known of them (docs/protocol/owner.md#agents).

use crate::{
    acting::{Acting, Narrowing},
    acts::{act, blocking, event_of, failed, narrow, take_back},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::{grant_reply, reply::Refused, revocation::cancelled_calls};
use plexus_ledger::{IndexTerm, Recorded, SubmitError};
use plexus_owner::{
    Done,
    agents::{
        AgentRow, Agents, Connect, Connected, EnrollingAgent, Enrollment, Enrollments, List,
        ListEnrollments, NestedAgent, RefusedStanding, RenewCode, RenewedCode, Revoke,
        RevokedAgent, ShowSubset, Subset,
    },
};
use plexus_protocol::{
    AgentId, CapabilityId, ErrorBody, ErrorCode, Timestamp, credential::EnrollmentCode, words,
};
use plexus_record::Ledger;
use plexus_sources::narration;
use plexus_trust::{
    CODE_MS, Command, ItemState, Note, Refusal, Reply, State as TrustState, standing_for,
};
use serde_json::{Number, Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Events of an agent that are looked at to find when it was last there.
const LOOKED_AT: usize = 32;

pub(super) fn serve(served: Served) -> Served {
    let served = served.with(list).with(enrollments).with(subset);
    served.with(connect).with(new_code).with(revoke)
}

pub(crate) async fn connect(
    desk: Arc<Desk>,
    acting: Acting,
    asked: Connect,
) -> Result<Connected, Refused> {
    let agent = AgentId::parse(asked.agent_id.trim())
        .map_err(|e| Refused::malformed(format!("`agentId` is {e}")))?;
    let wanted = wanted(&desk.ledger.snapshot(), &asked.capabilities)?;
    let standing = asked.standing.iter().chain(&asked.standing_execute);
    let standing: BTreeSet<CapabilityId> = standing
        .filter_map(|id| CapabilityId::parse(id).ok())
        .filter(|id| wanted.contains(id))
        .collect();
    let agent_type = delivered_as(asked.agent_type.as_deref()).map(str::to_owned);
    let code = EnrollmentCode::fresh().map_err(|e| failed(e.to_string()))?;
    let receipt = act(
        &desk,
        &acting,
        Command::Connect(plexus_trust::Connect {
            agent: agent.clone(),
            agent_type: agent_type.clone(),
            reach: asked.reach,
            capabilities: wanted.iter().cloned().collect(),
            standing,
            window: asked.trust_window,
            constraint: asked.constraint.filter(|c| !c.is_empty()),
            code: code.digest(),
            code_ms: lifetime(asked.ttl_ms.as_ref())?,
        }),
    )
    .await?;
    let audit_id = event_of(&receipt);
    let Reply::Connected {
        granted,
        skipped,
        refused,
        code_expires_at,
    } = receipt.reply
    else {
        return Err(failed("a connect was answered with something else"));
    };
    desk.contents.forget(&agent);
    let state = desk.ledger.snapshot();
    let row = state.agent(&agent);
    let stands = row
        .map(|a| grant_reply::standing(&desk, &state, a))
        .unwrap_or_default();
    let in_order = |ids: &[CapabilityId]| -> Vec<CapabilityId> {
        wanted
            .iter()
            .filter(|id| ids.contains(id))
            .cloned()
            .collect()
    };
    let granted = in_order(&granted)
        .iter()
        .filter_map(|id| stands.iter().find(|g| &g.capability_id == id).cloned())
        .collect();
    let skipped = in_order(&skipped);
    let refused = in_order(&refused)
        .into_iter()
        .map(refused_to_stand)
        .collect();
    let reach = row.map(|a| a.reach);
    if agent.is_nested() {
        // The gateway makes its calls: there is nothing to enroll.
        return Ok(Connected::Nested(NestedAgent {
            ok: Done,
            agent_id: agent,
            agent_type,
            audit_id,
            refused,
            skipped,
            granted,
            reach,
            nested: Done,
        }));
    }
    let base = desk.address.base();
    Ok(Connected::Enrolling(EnrollingAgent {
        ok: Done,
        agent_id: agent,
        code: code.expose().to_owned(),
        expires_at: code_expires_at,
        enroll_url: format!("{base}/agents/enroll"),
        handshake_url: format!("{base}/link/handshake"),
        enroll_command: format!("plexus enroll {}", code.expose()),
        reach,
        granted,
        skipped,
        refused,
        audit_id,
        agent_type,
    }))
}

/// The capabilities that an agent is selected for.
fn wanted(state: &TrustState, ids: &[String]) -> Result<Vec<CapabilityId>, Refused> {
    let known = |id: &String| {
        CapabilityId::parse(id)
            .ok()
            .filter(|id| state.capability(id).is_some())
    };
    let unknown: Vec<&str> = ids
        .iter()
        .filter(|id| known(id).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let why = format!("unknown capability id(s): {}", unknown.join(", "));
        return Err(
            Refused::bad(ErrorCode::UnknownCapability, why).beside("unknownCapabilities", unknown)
        );
    }
    Ok(ids.iter().filter_map(known).collect())
}

/// Another code for an agent that is known: after a restore or a rotation, or when its credential was lost. What it was
/// granted stays.
async fn new_code(
    desk: Arc<Desk>,
    acting: Acting,
    asked: RenewCode,
) -> Result<RenewedCode, Refused> {
    let agent = AgentId::parse(&asked.id).map_err(|_| unknown(&asked.id))?;
    let code = EnrollmentCode::fresh().map_err(|e| failed(e.to_string()))?;
    let command = Command::NewCode {
        agent: agent.clone(),
        code: code.digest(),
        code_ms: lifetime(asked.ttl_ms.as_ref())?,
    };
    if desk.ledger.snapshot().agent(&agent).is_none() {
        return Err(unknown(&asked.id));
    }
    let receipt = act(&desk, &acting, command).await?;
    let audit_id = event_of(&receipt);
    let Reply::Coded {
        code_expires_at,
        items,
    } = receipt.reply
    else {
        return Err(failed("a new code was answered with something else"));
    };
    desk.contents.forget(&agent);
    Ok(RenewedCode {
        ok: Done,
        agent_id: agent,
        code: code.expose().to_owned(),
        expires_at: code_expires_at,
        enroll_url: format!("{}/agents/enroll", desk.address.base()),
        audit_id,
        ended: items,
    })
}

fn refused_to_stand(id: CapabilityId) -> RefusedStanding {
    RefusedStanding {
        code: ErrorCode::StandingNotAllowed,
        reason: format!("{id} is approved call by call only: each call will ask you."),
        id,
    }
}

/// The forms in which install material is delivered (docs/protocol/owner.md#agents); no type is delivered as none.
fn delivered_as(asked: Option<&str>) -> Option<&'static str> {
    match asked.map(|t| t.trim().to_lowercase())?.as_str() {
        "" => None,
        "claude-code" => Some("claude-code"),
        "in-context" => Some("in-context"),
        _ => Some("generic"),
    }
}

/// Life of the code in milliseconds: a positive number, else the usual 15 minutes.
fn lifetime(asked: Option<&Number>) -> Result<u64, Refused> {
    let Some(asked) = asked else {
        return Ok(CODE_MS);
    };
    let whole = asked.as_u64().or_else(|| {
        // A number as other clients write it, such as 6e4 or 60000.0.
        let number = asked
            .as_f64()
            .filter(|n| *n >= 1.0 && *n <= 9_007_199_254_740_991.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 1 and 2^53 - 1"
        )]
        let whole = number as u64;
        Some(whole)
    });
    whole
        .filter(|ms| *ms > 0)
        .ok_or_else(|| Refused::malformed("`ttlMs` must be a positive number of milliseconds"))
}

async fn revoke(
    desk: Arc<Desk>,
    narrowing: Narrowing,
    asked: Revoke,
) -> Result<RevokedAgent, Refused> {
    let named = asked.agent_id.trim();
    if named.is_empty() {
        return Err(Refused::malformed(
            "`agentId` (a string that is not empty) is required",
        ));
    }
    let known = AgentId::parse(named)
        .ok()
        .filter(|id| desk.ledger.snapshot().agent(id).is_some());
    let Some(agent) = known else {
        return nobody(&desk, &narrowing, named).await;
    };
    let command = Command::RevokeAgent {
        agent,
        reason: asked.reason.as_deref().and_then(narration::clean),
        delete: asked.delete,
    };
    let taken = match take_back(&desk, &narrowing, command).await {
        // Deleted by somebody else since we looked.
        Err(refused) if refused.code() == ErrorCode::UnknownAgent => {
            return nobody(&desk, &narrowing, named).await;
        }
        other => other?,
    };
    let (receipt, cancelled) = (taken.receipt, cancelled_calls(&taken.cancelled));
    let audit_id = event_of(&receipt);
    let Reply::Revoked {
        tokens,
        grants,
        sessions,
        enrollment,
        in_flight,
        items,
    } = receipt.reply
    else {
        return Err(failed("a revocation was answered with something else"));
    };
    Ok(RevokedAgent {
        ok: enrollment || asked.delete || grants > 0 || sessions > 0 || !tokens.is_empty(),
        agent_id: named.to_owned(),
        enrollment_revoked: enrollment,
        sessions_invalidated: sessions,
        grants_removed: grants > 0,
        grants_removed_count: grants,
        revoked_jtis: tokens,
        audit_id,
        in_flight,
        ended: items,
        cancelled,
        deleted: asked.delete.then_some(Done),
    })
}

async fn nobody(desk: &Desk, narrowing: &Narrowing, named: &str) -> Result<RevokedAgent, Refused> {
    let note = Note {
        kind: "grant.revoke",
        agent: None,
        capability: None,
        outcome: Some("error"),
        detail: json!({"event": "agent.revoke", "reason": "no such agent", "asked": words::cut(named, 80)}),
    };
    let receipt = narrow(desk, narrowing, Command::Note(note)).await?;
    Ok(RevokedAgent {
        ok: false,
        agent_id: named.to_owned(),
        enrollment_revoked: false,
        sessions_invalidated: 0,
        grants_removed: false,
        grants_removed_count: 0,
        revoked_jtis: Vec::new(),
        audit_id: event_of(&receipt),
        in_flight: Vec::new(),
        ended: Vec::new(),
        cancelled: Vec::new(),
        deleted: None,
    })
}

pub(crate) async fn subset(
    desk: Arc<Desk>,
    _: Reading,
    asked: ShowSubset,
) -> Result<Subset, Refused> {
    let state = desk.ledger.snapshot();
    let agent = AgentId::parse(&asked.id)
        .ok()
        .and_then(|id| state.agent(&id));
    let selected = agent.map_or_else(Vec::new, |a| match a.selected.is_empty() {
        true => {
            let held = a.grants.values();
            let held = held.filter(|grant| !state.has_ended(grant, desk.clock.now()));
            held.map(|grant| grant.capability.clone()).collect()
        }
        false => a.selected.iter().cloned().collect(),
    });
    let standing: Vec<CapabilityId> =
        agent.map_or_else(Vec::new, |a| a.standing.iter().cloned().collect());
    Ok(Subset {
        agent_id: asked.id,
        capabilities: selected,
        standing: standing.clone(),
        standing_execute: standing,
        reach: agent.map(|agent| agent.reach),
    })
}

async fn enrollments(
    desk: Arc<Desk>,
    _: Reading,
    _: ListEnrollments,
) -> Result<Enrollments, Refused> {
    let state = desk.ledger.snapshot();
    let rows = state.agents.values().map(|agent| Enrollment {
        agent_id: agent.id.clone(),
        status: agent.status,
        issued_at: agent.issued_at,
        // Without a code there is none that could still be redeemed.
        code_expires_at: agent
            .code
            .as_ref()
            .map_or(agent.issued_at, |c| c.expires_at),
        redeemed_at: agent.redeemed_at,
        revoked_at: agent.revoked_at,
    });
    Ok(Enrollments {
        agents: rows.collect(),
    })
}

/// Every agent at a glance.
pub(crate) async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Agents, Refused> {
    let agents = blocking(move || {
        let state = desk.ledger.snapshot();
        let now = state.time(desk.clock.now());
        let seen = desk.tally.last_seen(&desk.ledger, &state, now);
        let rows = state.agents.values().map(|agent| {
            let live = agent.grants.keys();
            let open = agent.sessions.values();
            let waiting = agent.items.values();
            AgentRow {
                agent_id: agent.id.clone(),
                status: agent.status,
                reach: agent.reach,
                grants: live
                    .filter(|id| standing_for(&state, agent, id, now).is_some())
                    .count(),
                sessions: open.filter(|s| now < s.expires_at).count(),
                pending: waiting
                    .filter(|i| i.state == ItemState::Pending && now < i.expires_at)
                    .count(),
                unsettled: agent.unknown.len(),
                agent_type: agent.agent_type.clone(),
                last_seen_at: seen.get(agent.id.as_str()).copied(),
            }
        });
        rows.collect()
    });
    Ok(Agents {
        agents: agents.await?,
    })
}

/// When an agent itself last did something that was recorded, as far as its newest events in the ledger's file tell: for
/// the sake of an agent that has done little, nobody reads years of archives.
pub(super) fn last_seen(ledger: &Ledger, agent: &AgentId) -> Option<Timestamp> {
    let term = IndexTerm::Agent(agent.to_string());
    let (mut looked_at, mut seen) = (0, None);
    let walked = ledger.first_in_file().and_then(|first| {
        let range = first..u64::MAX;
        ledger.walk_back(Some(&term), range, usize::MAX, |event| {
            looked_at += 1;
            seen = own_act(event).map(|(_, at)| at);
            seen.is_none() && looked_at < LOOKED_AT
        })
    });
    if let Err(error) = walked {
        tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
    }
    seen
}

/// Whose act an event tells, and when that was; none of what the owner did for an agent, with the key.
pub(super) fn own_act(event: &Recorded) -> Option<(String, Timestamp)> {
    let members = super::audit::members(event.json())?;
    let agent = members.get("agentId")?.as_str()?.to_owned();
    let detail = |key: &str| {
        let member = members.get("detail").and_then(|detail| detail.get(key));
        member.and_then(Value::as_str).unwrap_or_default()
    };
    let is_own = match detail("event") {
        "session.open" => detail("auth") == "pat",
        "agent.enroll" | "grant.pending" | "token.refresh" | "call.read" | "call.intent" => true,
        _ => false,
    };
    is_own.then(|| (agent, Timestamp(event.at())))
}

/// No agent of that name: for routes that cannot answer without one.
pub(super) fn unknown(named: &str) -> Refused {
    let why = format!("No agent {named:?} is connected.");
    Refused::new(ErrorBody::new(ErrorCode::UnknownAgent, why).next("plexusctl agents list"))
}

/// Whether a failure to submit means that the agent is not one (any more).
pub(super) fn is_gone(error: &SubmitError<Refusal>) -> bool {
    matches!(
        error,
        SubmitError::Refused(Refusal::NoSuchAgent | Refusal::SessionExpired)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_lives() {
        assert_eq!(delivered_as(Some(" Claude-Code ")), Some("claude-code"));
        assert_eq!(delivered_as(Some("Codex")), Some("generic"));
        assert_eq!((delivered_as(Some(" ")), delivered_as(None)), (None, None));
        let asked = |ms: Value| {
            let asked: RenewCode = serde_json::from_value(json!({"id": "a", "ttlMs": ms})).ok()?;
            lifetime(asked.ttl_ms.as_ref()).ok()
        };
        assert_eq!(lifetime(None).unwrap(), CODE_MS);
        assert_eq!(asked(json!(60_000)), Some(60_000));
        assert_eq!(asked(json!(6.0e4)), Some(60_000));
        for bad in [
            json!(0),
            json!(-1),
            json!("60"),
            json!(0.5),
            json!([]),
            json!(1e300),
        ] {
            assert_eq!(asked(bad.clone()), None, "{bad}");
        }
    }
}
