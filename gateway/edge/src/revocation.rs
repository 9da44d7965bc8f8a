//! One revocation, for the agent's route and the owner's (docs/protocol/agents.md#revoke).

use super::reply::Refused;
use crate::edge::Edge;
use plexus_calls::{refusal, revoke::GaveBack, under_way::CallUnderWay};
use plexus_ledger::{Receipt, SubmitError};
use plexus_protocol::{
    AgentId, CapabilityId, TokenId,
    body::{CancelledCall, Revocation},
};
use plexus_record::audit_id;
use plexus_sources::narration::clean;
use plexus_trust::{Command, Refusal, Reply};
use serde_json::{Map, Value};
use std::sync::Arc;

/// What is to be revoked.
pub struct RevokeRequest {
    token: Option<TokenId>,
    grant: Option<(AgentId, CapabilityId)>,
    reason: Option<String>,
    /// Something was named that cannot exist: nothing is found, nothing is wrong with the request.
    nothing: bool,
}

impl RevokeRequest {
    /// # Errors
    /// 400 where nothing is named.
    pub fn read(body: &Map<String, Value>) -> Result<Self, Refused> {
        let text = |key: &str| match body.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(Refused::malformed(format!("`{key}` must be a string"))),
        };
        let named = [
            text("jti")?,
            text("agentId")?,
            text("capabilityId")?,
            text("bundleId")?,
        ];
        Self::of(named, text("reason")?)
    }

    /// Of `jti`, `agentId`, `capabilityId` and `bundleId`, and the words for the log.
    ///
    /// # Errors
    /// 400 where nothing is named.
    pub fn of(named: [Option<&str>; 4], reason: Option<&str>) -> Result<Self, Refused> {
        let mut wish = Self {
            token: None,
            grant: None,
            reason: reason.and_then(clean),
            nothing: false,
        };
        match named {
            [Some(jti), ..] => wish.token = TokenId::parse(jti).ok(),
            [None, Some(agent), Some(capability), _] => {
                wish.grant = AgentId::parse(agent)
                    .ok()
                    .zip(CapabilityId::parse(capability).ok());
            }
            [None, None, None, Some(_)] => {}
            _ => {
                return Err(Refused::malformed(
                    "name what to revoke: `jti`, or `agentId` and `capabilityId`",
                ));
            }
        }
        wish.nothing = wish.token.is_none() && wish.grant.is_none();
        Ok(wish)
    }
}

/// Revokes, and answers with what ended and which effects were under way already.
pub async fn carry_out(edge: &Arc<Edge>, wish: RevokeRequest) -> Result<Revocation, Refused> {
    let command = match (wish.token, wish.grant) {
        _ if wish.nothing => return Ok(nothing()),
        (Some(token), _) => Command::RevokeToken {
            token,
            reason: wish.reason,
        },
        (None, Some((agent, capability))) => Command::RevokeGrant {
            agent,
            capability,
            reason: wish.reason,
        },
        (None, None) => return Ok(nothing()),
    };
    match edge.take_back(command).await {
        Ok(taken) => revoked(taken.receipt, &taken.cancelled),
        Err(SubmitError::Refused(Refusal::TokenRevoked | Refusal::NoSuchAgent)) => Ok(nothing()),
        Err(error) => Err(Refused::new(refusal::held(&error))),
    }
}

/// The same of a token that its own agent ends. One that is gone costs neither the ledger nor the owner anything.
pub(crate) async fn give_back(
    edge: &Arc<Edge>,
    agent: &AgentId,
    token: TokenId,
    wish: RevokeRequest,
) -> Result<Revocation, Refused> {
    let state = edge.ledger.snapshot();
    if !state
        .agent(agent)
        .is_some_and(|agent| agent.tokens.contains_key(&token))
    {
        return Ok(nothing());
    }
    match edge.give_back(agent, token, wish.reason).await {
        Ok(receipt) => revoked(receipt, &[]),
        Err(GaveBack::Refused(Refusal::TokenRevoked)) => Ok(nothing()),
        Err(GaveBack::Refused(refusal)) => Err(refusal.into()),
        Err(GaveBack::Unsaved(error)) => Err(Refused::new(error)),
    }
}

/// The calls that an act cancels, as they are named to the owner.
#[must_use]
pub fn cancelled_calls(calls: &[Arc<CallUnderWay>]) -> Vec<CancelledCall> {
    let named = calls.iter().map(|call| CancelledCall {
        id: call.handle(),
        audit_id: call.intent().cloned(),
        capability_id: call.capability.clone(),
    });
    named.collect()
}

fn nothing() -> Revocation {
    Revocation {
        ok: false,
        revoked_jtis: Vec::new(),
        grant_removed: false,
        audit_id: Some(String::new()),
        in_flight: Vec::new(),
        ended: Vec::new(),
        cancelled: Vec::new(),
    }
}

fn revoked(
    receipt: Receipt<Reply>,
    cancelled: &[Arc<CallUnderWay>],
) -> Result<Revocation, Refused> {
    let audit = receipt.events.first().map(|e| audit_id(e.id).to_string());
    let Reply::Revoked {
        tokens,
        grants,
        items,
        in_flight,
        ..
    } = receipt.reply
    else {
        return Err(Refused::failed(
            "a revocation was answered with something else",
        ));
    };
    let cancelled = cancelled_calls(cancelled);
    Ok(Revocation {
        ok: !tokens.is_empty() || grants > 0 || !items.is_empty() || !cancelled.is_empty(),
        revoked_jtis: tokens,
        grant_removed: grants > 0,
        audit_id: audit,
        in_flight,
        ended: items,
        cancelled,
    })
}
