//! `plexusctl grants`: what stands, and the owner's acts on it (docs/protocol/owner.md#grants-and-tokens).

use crate::{
    calls,
    owner::{Desk, list_of, text_of},
    table::table,
    terms::{self, Terms},
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_owner::calls::CancelledCall;
use plexus_protocol::{AgentId, CapabilityId, Timestamp};
use serde_json::{Map, Value, json};

/// Grants.
#[derive(Args)]
pub(crate) struct Grants {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show grants
    List {
        /// Only this agent's
        agent: Option<AgentId>,
    },
    /// Grant a capability for a time
    Allow {
        /// Agent to allow it to
        agent: AgentId,
        /// Capability
        capability: CapabilityId,
        #[command(flatten)]
        terms: Terms,
    },
    /// Revoke a grant, and the agent's tokens
    Revoke {
        /// Agent to take it from
        agent: AgentId,
        /// Capability
        capability: CapabilityId,
        /// Reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, grants: Grants) -> Result<Exit, Stop> {
    match grants.act.unwrap_or(Act::List { agent: None }) {
        Act::List { agent } => {
            let mut reply = desk.open().await?.get("/admin/api/grants").await?;
            if let (Some(agent), Some(rows)) = (agent, reply["grants"].as_array_mut()) {
                rows.retain(|grant| grant["agentId"] == agent.as_str());
            }
            desk.show(&reply, || as_text(list_of(&reply, "grants"), span::now()))
        }
        Act::Allow {
            agent,
            capability,
            terms,
        } => allow(desk, &agent, &capability, &terms).await,
        Act::Revoke {
            agent,
            capability,
            reason,
        } => {
            let mut body = json!({"agentId": agent, "capabilityId": capability});
            if let Some(reason) = reason {
                body["reason"] = reason.into();
            }
            let reply = desk.open().await?.post("/admin/api/revoke", &body).await?;
            if reply["ok"] != true {
                let why = format!("{agent} holds no grant of {capability}");
                return Err(Stop::new(Exit::Failed, "nothing_to_revoke", why));
            }
            desk.show(&reply, || {
                format!("{agent} no longer has {capability}{}", revoked(&reply))
            })
        }
    }
}

async fn allow(
    desk: &Desk,
    agent: &AgentId,
    capability: &CapabilityId,
    terms: &Terms,
) -> Result<Exit, Stop> {
    desk.widen("granting a capability")?;
    let window = terms.window.ok_or_else(|| {
        Stop::usage("--window is missing: 1h, 1d, 7d, until-revoked, or a length such as 90m")
    })?;
    let mut decision = Map::from_iter([("decision".to_owned(), json!("allow"))]);
    if let Some(constraint) = terms.constraint()? {
        decision.insert("constraint".into(), json!(constraint));
    }
    let body =
        json!({"agentId": agent, "trustWindow": window, "grants": {capability.as_str(): decision}});
    let mut reply = desk.open().await?.put("/admin/api/grants", &body).await?;
    if let Some(declined) = list_of(&reply, "declined").first() {
        let why = format!(
            "{capability} was not granted: {}",
            text_of(declined, "reason")
        );
        return Err(Stop::new(Exit::Refused, "declined", why)
            .next("plexusctl expose, or plexusctl sources list"));
    }
    // A token comes back too (docs/protocol/owner.md#grants-and-tokens); nobody here uses it, so nobody sees it.
    if let Some(members) = reply.as_object_mut() {
        members.shift_remove("token");
    }
    desk.show(&reply, || {
        format!("{agent} may use {capability} {}", window.phrase())
    })
}

/// What a revoke ended besides the grant: tokens, approvals, and calls that were sent before it.
pub(crate) fn revoked(reply: &Value) -> String {
    let tokens = list_of(reply, "revokedJtis").len();
    let names = |member: &str| list_of(reply, member).iter().filter_map(Value::as_str);
    let cancelled = list_of(reply, "cancelled");
    let is_cancelled = |id: &&str| cancelled.iter().any(|call| call["auditId"] == **id);
    let flying: Vec<_> = names("inFlight").filter(|id| !is_cancelled(id)).collect();
    let mut text = format!("; tokens ended: {tokens}");
    let ended: Vec<_> = names("ended").collect();
    if !ended.is_empty() {
        text.push_str(&format!(
            "\nrequests and approvals ended: {}",
            text::line(&ended.join(", "))
        ));
    }
    let calls: Vec<CancelledCall> =
        serde_json::from_value(reply["cancelled"].clone()).unwrap_or_default();
    if let Some(cancelled) = calls::cancelled(&calls) {
        text.push_str(&format!("\n{cancelled}"));
    }
    if !flying.is_empty() {
        text.push_str(&format!(
            "\nalready sent before this, and not stopped: {}",
            text::line(&flying.join(", "))
        ));
    }
    text
}

/// A grant as cells: agent, capability, verbs, end, terms.
pub(crate) fn row(grant: &Value, now: Timestamp) -> [String; 5] {
    let verbs: Vec<_> = list_of(grant, "verbs")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let ends = serde_json::from_value(grant["expiresAt"].clone())
        .map_or("?".to_owned(), |at| span::end(at, now));
    let mut terms = Vec::new();
    if !grant["constraint"].is_null() {
        terms.push(terms::in_words(&grant["constraint"]));
    }
    if let Some(left) = grant["callsLeft"].as_u64() {
        terms.push(format!("{left} calls left"));
    }
    if let Some(why) = grant["suspended"].as_str() {
        terms.push(format!("suspended: {why}"));
    }
    if grant["topLevelDisabled"] == true {
        terms.push("hidden now".to_owned());
    }
    [
        text_of(grant, "agentId").to_owned(),
        text_of(grant, "capabilityId").to_owned(),
        verbs.join(","),
        ends,
        terms.join("; "),
    ]
}

fn as_text(grants: &[Value], now: Timestamp) -> String {
    let rows = grants.iter().map(|grant| row(grant, now)).collect();
    table(
        ["agent", "capability", "verbs", "ends", "terms"],
        rows,
        "no grants: every call asks",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_shown() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        let grants = json!([{"agentId": "a", "capabilityId": "w.write", "verbs": ["read", "write"],
            "expiresAt": "2026-01-02T00:00:00.000Z", "callsLeft": 2, "suspended": "changed",
            "constraint": {"pathPrefix": {"field": "path", "allow": ["A"]}}}]);
        assert_eq!(
            as_text(grants.as_array().unwrap(), now),
            "AGENT  CAPABILITY  VERBS       ENDS          TERMS\n\
             a      w.write     read,write  ends in 24 h  path at or below A; 2 calls left; \
             suspended: changed"
        );
        assert_eq!(as_text(&[], now), "no grants: every call asks");
    }

    #[test]
    fn a_revoke_names_what_it_could_not_stop() {
        let run = json!({"id": "call_1", "auditId": "evt_2", "capabilityId": "codex.run"});
        let reply = json!({
            "revokedJtis": ["tok_1"], "ended": ["pend_1"], "cancelled": [run], "inFlight": ["evt_1", "evt_2"],
        });
        assert_eq!(
            revoked(&reply),
            "; tokens ended: 1\nrequests and approvals ended: pend_1\nbeing cancelled: codex.run (evt_2)\n\
             already sent before this, and not stopped: evt_1"
        );
    }
}
