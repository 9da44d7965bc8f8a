//! Agents: connecting them, ending them, what is known of them (docs/protocol/owner.md#agents).

use super::{Acting, Narrowing, body::Fields};
use crate::{
    acts::{Named, act, blocking, event_of, failed, narrow, take_back},
    desk::Desk,
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::{
    grant_reply,
    reply::{Refused, ok},
};
use plexus_ledger::{IndexTerm, SubmitError};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, ErrorBody, ErrorCode, Timestamp, TrustWindow,
    credential::EnrollmentCode,
};
use plexus_trust::{
    Agent, CODE_MS, Command, Connect, ItemState, Note, Reach, Refusal, Reply, standing_for,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Events of an agent that are looked at to find when it was last there.
const LOOKED_AT: usize = 32;

pub(super) async fn connect(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let agent = body.text("agentId")?.unwrap_or_default().trim();
    let agent =
        AgentId::parse(agent).map_err(|e| Refused::malformed(format!("`agentId` is {e}")))?;
    let wanted = body.strings("capabilities");
    let state = desk.ledger.snapshot();
    let known = |id: &str| {
        CapabilityId::parse(id)
            .ok()
            .filter(|id| state.capability(id).is_some())
    };
    let unknown: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|id| known(id).is_none())
        .collect();
    if !unknown.is_empty() {
        let why = format!(
            "unknown capability id(s): {} (GET /admin/api/capabilities lists what there is)",
            unknown.join(", ")
        );
        return Err(
            Refused::bad(ErrorCode::UnknownCapability, why).beside("unknownCapabilities", unknown)
        );
    }
    let wanted: Vec<CapabilityId> = wanted.into_iter().filter_map(known).collect();
    let standing = body
        .strings("standing")
        .into_iter()
        .chain(body.strings("standingExecute"));
    let standing: BTreeSet<CapabilityId> = standing
        .filter_map(|id| CapabilityId::parse(id).ok())
        .filter(|id| wanted.contains(id))
        .collect();
    let agent_type = delivered_as(body.text("agentType")?);
    let reach = body.typed::<Reach>("reach")?;
    let code = EnrollmentCode::fresh().map_err(|e| failed(e.to_string()))?;
    let receipt = act(
        &desk,
        &acting,
        Command::Connect(Connect {
            agent: agent.clone(),
            agent_type: agent_type.map(str::to_owned),
            reach,
            capabilities: wanted.iter().cloned().collect(),
            standing,
            window: body.typed::<TrustWindow>("trustWindow")?,
            constraint: body
                .typed::<Constraint>("constraint")?
                .filter(|c| !c.is_empty()),
            code: code.digest(),
            code_ms: lifetime(body.present("ttlMs"))?,
        }),
    )
    .await?;
    let audit = event_of(&receipt);
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
    let in_order = |ids: &[CapabilityId]| {
        wanted
            .iter()
            .filter(|id| ids.contains(id))
            .cloned()
            .collect::<Vec<_>>()
    };
    let granted: Vec<_> = in_order(&granted)
        .iter()
        .filter_map(|id| stands.iter().find(|g| &g.capability_id == id))
        .collect();
    let refused: Vec<Value> = in_order(&refused).iter().map(refused_to_stand).collect();
    let base = desk.address.base();
    let mut answer = json!({
        "ok": true,
        "agentId": agent,
        "code": code.expose(),
        "expiresAt": code_expires_at,
        "enrollUrl": format!("{base}/agents/enroll"),
        "handshakeUrl": format!("{base}/link/handshake"),
        "enrollCommand": format!("plexus enroll {}", code.expose()),
        "reach": row.map(|a| a.reach),
        "granted": granted,
        "skipped": in_order(&skipped),
        "refused": refused,
        "auditId": audit,
    });
    if let Some(agent_type) = agent_type {
        answer["agentType"] = json!(agent_type);
    }
    if let (true, Value::Object(members)) = (agent.is_nested(), &mut answer) {
        // The gateway makes its calls: there is nothing to enroll.
        for of_the_code in [
            "code",
            "expiresAt",
            "enrollUrl",
            "handshakeUrl",
            "enrollCommand",
        ] {
            members.remove(of_the_code);
        }
        members.insert("nested".into(), json!(true));
    }
    Ok(ok(&answer))
}

/// Another code for an agent that is known: after a restore or a rotation, or when its credential was lost. What it was
/// granted stays.
pub(super) async fn new_code(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let agent = AgentId::parse(&id).map_err(|_| unknown(&id))?;
    let code = EnrollmentCode::fresh().map_err(|e| failed(e.to_string()))?;
    let command = Command::NewCode {
        agent: agent.clone(),
        code: code.digest(),
        code_ms: lifetime(body.present("ttlMs"))?,
    };
    if desk.ledger.snapshot().agent(&agent).is_none() {
        return Err(unknown(&id));
    }
    let receipt = act(&desk, &acting, command).await?;
    let Reply::Coded { code_expires_at } = receipt.reply else {
        return Err(failed("a new code was answered with something else"));
    };
    desk.contents.forget(&agent);
    Ok(ok(&json!({
        "ok": true,
        "agentId": agent,
        "code": code.expose(),
        "expiresAt": code_expires_at,
        "enrollUrl": format!("{}/agents/enroll", desk.address.base()),
        "auditId": event_of(&receipt),
    })))
}

fn refused_to_stand(id: &CapabilityId) -> Value {
    json!({
        "id": id,
        "code": ErrorCode::StandingNotAllowed,
        "reason": format!("{id} is approved call by call only: each call will ask you."),
    })
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
fn lifetime(asked: Option<&Value>) -> Result<u64, Refused> {
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

pub(super) async fn revoke(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields::read(request).await?;
    let named = body
        .text("agentId")?
        .map(str::trim)
        .filter(|id| !id.is_empty());
    let named = named
        .ok_or_else(|| Refused::malformed("`agentId` (a string that is not empty) is required"))?;
    let reason = body.words("reason")?;
    let delete = body.flag("delete")?.unwrap_or(false);
    let known = AgentId::parse(named)
        .ok()
        .filter(|id| desk.ledger.snapshot().agent(id).is_some());
    let Some(agent) = known else {
        return nobody(&desk, &narrowing, named).await;
    };
    let command = Command::RevokeAgent {
        agent: agent.clone(),
        reason,
        delete,
    };
    let receipt = match take_back(&desk, &narrowing, command).await {
        // Deleted by somebody else since we looked.
        Err(refused) if refused.code() == ErrorCode::UnknownAgent => {
            return nobody(&desk, &narrowing, named).await;
        }
        other => other?,
    };
    let audit = event_of(&receipt);
    let Reply::Revoked {
        tokens,
        grants,
        sessions,
        enrollment,
        in_flight,
        items: _,
    } = receipt.reply
    else {
        return Err(failed("a revocation was answered with something else"));
    };
    let mut answer = json!({
        "ok": enrollment || delete || grants > 0 || sessions > 0 || !tokens.is_empty(),
        "agentId": agent,
        "enrollmentRevoked": enrollment,
        "sessionsInvalidated": sessions,
        "grantsRemoved": grants > 0,
        "grantsRemovedCount": grants,
        "revokedJtis": tokens,
        "auditId": audit,
        "inFlight": in_flight,
    });
    if delete {
        answer["deleted"] = json!(true);
    }
    Ok(ok(&answer))
}

async fn nobody(desk: &Desk, narrowing: &Narrowing, named: &str) -> Result<Response, Refused> {
    let note = Note {
        kind: "grant.revoke",
        agent: None,
        capability: None,
        outcome: Some("error"),
        detail: json!({"event": "agent.revoke", "reason": "no such agent", "asked": plexus_sources::narration::cut(named, 80)}),
    };
    let receipt = narrow(desk, narrowing, Command::Note(note)).await?;
    Ok(ok(&json!({
        "ok": false,
        "agentId": named,
        "enrollmentRevoked": false,
        "sessionsInvalidated": 0,
        "grantsRemoved": false,
        "grantsRemovedCount": 0,
        "revokedJtis": [],
        "auditId": event_of(&receipt),
        "inFlight": [],
    })))
}

pub(super) async fn subset(State(desk): State<Arc<Desk>>, Named(id): Named) -> Response {
    let state = desk.ledger.snapshot();
    let agent = AgentId::parse(&id).ok().and_then(|id| state.agent(&id));
    let selected: Vec<&CapabilityId> =
        agent.map_or_else(Vec::new, |a| match a.selected.is_empty() {
            true => a.grants.keys().collect(),
            false => a.selected.iter().collect(),
        });
    let standing: Vec<&CapabilityId> = agent.map_or_else(Vec::new, |a| a.standing.iter().collect());
    let mut out = json!({
        "agentId": id,
        "capabilities": selected,
        "standing": standing,
        "standingExecute": standing,
    });
    if let Some(agent) = agent {
        out["reach"] = json!(agent.reach);
    }
    ok(&out)
}

pub(super) async fn enrollments(State(desk): State<Arc<Desk>>) -> Response {
    let state = desk.ledger.snapshot();
    let rows = state.agents.values().map(|agent| {
        let mut row = json!({
            "agentId": agent.id,
            "status": agent.status,
            "issuedAt": agent.issued_at,
            // Without a code there is none that could still be redeemed.
            "codeExpiresAt": agent.code.as_ref().map_or(agent.issued_at, |c| c.expires_at),
        });
        for (key, at) in [
            ("redeemedAt", agent.redeemed_at),
            ("revokedAt", agent.revoked_at),
        ] {
            if let Some(at) = at {
                row[key] = json!(at);
            }
        }
        row
    });
    ok(&json!({"agents": rows.collect::<Vec<_>>()}))
}

/// Every agent at a glance.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let agents = blocking(move || {
        let state = desk.ledger.snapshot();
        let now = state.time(desk.clock.now());
        let rows = state.agents.values().map(|agent| {
            let live = agent
                .grants
                .keys()
                .filter(|id| standing_for(&state, agent, id, now).is_some())
                .count();
            let waiting = agent
                .items
                .values()
                .filter(|i| i.state == ItemState::Pending && now < i.expires_at)
                .count();
            let mut row = json!({
                "agentId": agent.id,
                "status": agent.status,
                "reach": agent.reach,
                "grants": live,
                "sessions": agent.sessions.values().filter(|s| now < s.expires_at).count(),
                "pending": waiting,
                "unsettled": agent.unknown.len(),
            });
            if let Some(kind) = &agent.agent_type {
                row["agentType"] = json!(kind);
            }
            if let Some(at) = last_seen(&desk, agent) {
                row["lastSeenAt"] = json!(at);
            }
            row
        });
        rows.collect::<Vec<_>>()
    })
    .await?;
    Ok(ok(&json!({ "agents": agents })))
}

/// When the agent itself last did something that was recorded, as far as its newest events in the ledger's file tell: for
/// the sake of an agent that has done little, nobody reads years of archives.
fn last_seen(desk: &Desk, agent: &Agent) -> Option<Timestamp> {
    let term = IndexTerm::Agent(agent.id.to_string());
    // What the owner did for it, with the key, is not its own.
    let own = |json: &str| {
        let Some(event) = super::audit::members(json) else {
            return false;
        };
        let detail = |key: &str| {
            let member = event.get("detail").and_then(|detail| detail.get(key));
            member.and_then(Value::as_str).unwrap_or_default()
        };
        match detail("event") {
            "session.open" => detail("auth") == "pat",
            "agent.enroll" | "grant.pending" | "token.refresh" | "call.read" | "call.intent" => {
                true
            }
            _ => false,
        }
    };
    let (mut looked_at, mut seen) = (0, None);
    let walked = desk.ledger.first_in_file().and_then(|first| {
        let range = first..u64::MAX;
        desk.ledger
            .walk_back(Some(&term), range, usize::MAX, |event| {
                looked_at += 1;
                seen = own(event.json()).then(|| Timestamp(event.at()));
                seen.is_none() && looked_at < LOOKED_AT
            })
    });
    if let Err(error) = walked {
        tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
    }
    seen
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
        assert_eq!(lifetime(None).unwrap(), CODE_MS);
        assert_eq!(lifetime(Some(&json!(60_000))).unwrap(), 60_000);
        assert_eq!(lifetime(Some(&json!(6.0e4))).unwrap(), 60_000);
        for bad in [
            json!(0),
            json!(-1),
            json!("60"),
            json!(0.5),
            json!([]),
            json!(1e300),
        ] {
            assert!(lifetime(Some(&bad)).is_err(), "{bad}");
        }
    }
}
