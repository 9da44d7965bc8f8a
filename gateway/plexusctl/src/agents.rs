//! `plexusctl agents` (wire §4.16).

use crate::{
    connect, grants,
    owner::{Desk, Owner, list_of, text_of},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_protocol::{AgentId, Timestamp};
use serde_json::{Value, json};

/// Agents.
#[derive(Args)]
pub(crate) struct Agents {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show all agents
    List,
    /// Show one agent and what it may do
    Show {
        /// Agent
        agent: AgentId,
    },
    /// Give an agent another one-time code: its old credential ends, what it was granted stays
    Code {
        /// Agent
        agent: AgentId,
        /// How long the code can be used
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span::parse)]
        code_ttl: u64,
    },
    /// End an agent's access: credential, sessions, tokens, grants
    Revoke {
        /// Agent
        agent: AgentId,
        /// Forget it altogether
        #[arg(long)]
        delete: bool,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, agents: Agents) -> Result<Exit, Stop> {
    let act = agents.act.unwrap_or(Act::List);
    if let Act::Code { .. } = act {
        desk.widen("giving an agent a code")?;
    }
    let mut owner = desk.open().await?;
    match act {
        Act::List => {
            let reply = owner.get("/admin/api/agents/enrollments").await?;
            desk.show(&reply, || {
                let rows = list_of(&reply, "agents")
                    .iter()
                    .map(|agent| row(agent, span::now()))
                    .collect();
                table(
                    ["agent", "state", "since"],
                    rows,
                    "no agents: plexusctl connect",
                )
            })
        }
        Act::Show { agent } => {
            let whole = gather(&mut owner, &agent).await?;
            desk.show(&whole, || as_text(&whole, span::now()))
        }
        Act::Code { agent, code_ttl } => {
            let route = format!("/admin/api/agents/{agent}/code");
            let reply = owner.post(&route, &json!({"ttlMs": code_ttl})).await?;
            // As with a connect, this is the one place that hands it over.
            desk.show(&reply, || {
                format!(
                    "Hand {agent} this line. It works once:\n\n    {}\n\nWhat it was granted stays: plexusctl agents show \
                     {agent}",
                    connect::enroll_line(desk, text_of(&reply, "code"))
                )
            })
        }
        Act::Revoke {
            agent,
            delete,
            reason,
        } => {
            let mut body = json!({"agentId": agent});
            if delete {
                body["delete"] = true.into();
            }
            if let Some(reason) = reason {
                body["reason"] = reason.into();
            }
            let reply = owner.post("/admin/api/agents/revoke", &body).await?;
            if reply["ok"] != true {
                return Err(unknown(&agent));
            }
            desk.show(&reply, || {
                let sessions = reply["sessionsInvalidated"].as_u64().unwrap_or(0);
                format!(
                    "{agent} is out; sessions ended: {sessions}{}",
                    grants::revoked(&reply)
                )
            })
        }
    }
}

fn unknown(agent: &AgentId) -> Stop {
    Stop::new(Exit::Failed, "unknown_agent", format!("no agent {agent}"))
        .next("plexusctl agents list")
}

async fn gather(owner: &mut Owner, agent: &AgentId) -> Result<Value, Stop> {
    let enrollments = owner.get("/admin/api/agents/enrollments").await?;
    let enrollment = list_of(&enrollments, "agents")
        .iter()
        .find(|a| a["agentId"] == agent.as_str());
    let enrollment = enrollment.cloned().ok_or_else(|| unknown(agent))?;
    let subset = owner
        .get(&format!("/admin/api/agents/{agent}/subset"))
        .await?;
    let grants = owner.get("/admin/api/grants").await?;
    let grants: Vec<_> = list_of(&grants, "grants")
        .iter()
        .filter(|g| g["agentId"] == agent.as_str())
        .collect();
    Ok(json!({"enrollment": enrollment, "subset": subset, "grants": grants}))
}

fn row(agent: &Value, now: Timestamp) -> [String; 3] {
    let since = ["revokedAt", "redeemedAt", "issuedAt"]
        .iter()
        .find_map(|m| serde_json::from_value(agent[*m].clone()).ok());
    let since = since.map_or_else(|| "?".to_owned(), |at| span::ago(at, now));
    [
        text_of(agent, "agentId").to_owned(),
        text_of(agent, "status").to_owned(),
        since,
    ]
}

fn as_text(whole: &Value, now: Timestamp) -> String {
    let [agent, state, since] = row(&whole["enrollment"], now).map(|cell| text::line(&cell));
    let ids = |member: &str| {
        let ids: Vec<_> = list_of(&whole["subset"], member)
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if ids.is_empty() {
            "none".to_owned()
        } else {
            text::line(&ids.join(" "))
        }
    };
    let rows = list_of(whole, "grants")
        .iter()
        .map(|g| grants::row(g, now))
        .map(|[_, id, verbs, ends, terms]| [id, verbs, ends, terms]);
    let grants = table(
        ["capability", "verbs", "ends", "terms"],
        rows.collect(),
        "no standing grants",
    );
    let reach = whole["subset"]["reach"]
        .as_str()
        .map_or(String::new(), |r| format!("reach: {}\n", text::line(r)));
    format!(
        "agent {agent}: {state}, {since}\n{reach}meant for: {}\nstanding by choice: {}\n\n{grants}",
        ids("capabilities"),
        ids("standing")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        let whole = json!({
            "enrollment": {"agentId": "a", "status": "active", "issuedAt": "2025-12-30T00:00:00.000Z",
                "redeemedAt": "2025-12-31T00:00:00.000Z"},
            "subset": {"capabilities": ["o.read"], "standing": [], "reach": "exposed"},
            "grants": []
        });
        assert_eq!(
            as_text(&whole, now),
            "agent a: active, 24 h ago\nreach: exposed\nmeant for: o.read\nstanding by choice: none\n\nno standing grants"
        );
    }
}
