//! `plexusctl agents` (docs/protocol/owner.md#agents).

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
    /// Print a new one-time code: revokes the agent's old credential and keeps its grants
    Code {
        /// Agent
        agent: AgentId,
        /// How long the code is valid
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span::parse)]
        code_ttl: u64,
    },
    /// Show or set an agent's rate limits
    Limit {
        /// Agent
        agent: AgentId,
        /// Calls a second: a number, or default
        #[arg(long, value_name = "N", value_parser = calls)]
        calls: Option<LimitValue>,
        /// Bytes of audit log a day: 64MiB, a number of bytes, or default
        #[arg(long, value_name = "N", value_parser = bytes)]
        ledger: Option<LimitValue>,
    },
    /// Revoke an agent's credential, sessions, tokens and grants
    Revoke {
        /// Agent
        agent: AgentId,
        /// Also delete the agent
        #[arg(long)]
        delete: bool,
        /// Reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// A bound as the owner says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LimitValue {
    Default,
    Number(u64),
}

impl LimitValue {
    fn for_wire(self) -> Value {
        match self {
            Self::Default => "default".into(),
            Self::Number(n) => n.into(),
        }
    }
    /// Whether it is more than what `held` (a member of the gateway's answer) says now.
    fn is_more(self, held: &Value) -> bool {
        let number = |member: &str| held[member].as_u64().unwrap_or(0);
        let wanted = match self {
            Self::Default => number("default"),
            Self::Number(n) => n,
        };
        wanted > number("limit")
    }
}

fn calls(text: &str) -> Result<LimitValue, String> {
    match text {
        "default" => Ok(LimitValue::Default),
        _ => text
            .parse()
            .map(LimitValue::Number)
            .map_err(|_| "write a number of calls a second, or default".to_owned()),
    }
}

fn bytes(text: &str) -> Result<LimitValue, String> {
    if text == "default" {
        return Ok(LimitValue::Default);
    }
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let read = units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    read.map(LimitValue::Number).ok_or_else(|| {
        "write a number of bytes, such as 67108864, 512KiB, 64MiB or 1GiB, or default".to_owned()
    })
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
        Act::Limit {
            agent,
            calls,
            ledger,
        } => {
            let route = format!("/admin/api/agents/{agent}/limits");
            let now = owner.get(&route).await?;
            if calls.is_none() && ledger.is_none() {
                return desk.show(&now, || bounds(&now));
            }
            let more = [
                calls.map(|wanted| wanted.is_more(&now["callsPerSecond"])),
                ledger.map(|wanted| wanted.is_more(&now["ledgerBytesPerDay"])),
            ];
            if more.contains(&Some(true)) {
                desk.widen("letting an agent do more")?;
            }
            let mut body = json!({});
            if let Some(calls) = calls {
                body["callsPerSecond"] = calls.for_wire();
            }
            if let Some(ledger) = ledger {
                body["ledgerBytesPerDay"] = ledger.for_wire();
            }
            let reply = owner.post(&route, &body).await?;
            desk.show(&reply, || bounds(&reply))
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
                    "{agent} is revoked; sessions ended: {sessions}{}",
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
    let limits = owner
        .get(&format!("/admin/api/agents/{agent}/limits"))
        .await?;
    Ok(json!({"enrollment": enrollment, "subset": subset, "limits": limits, "grants": grants}))
}

fn bounds(limits: &Value) -> String {
    let number = |pointer: &str| limits.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let told = |member: &str, shown: &dyn Fn(u64) -> String| {
        let (limit, default) = (
            number(&format!("/{member}/limit")),
            number(&format!("/{member}/default")),
        );
        let note = match limit == default {
            true => String::new(),
            false => format!(" (default: {})", shown(default)),
        };
        format!("{}{note}", shown(limit))
    };
    format!(
        "limits: calls a second {}; log a day {}, of which {} used",
        told("callsPerSecond", &|n| n.to_string()),
        told("ledgerBytesPerDay", &size),
        size(number("/ledgerBytesPerDay/used")),
    )
}

/// Bytes for a person: whole units of 1024, the largest that loses nothing, or one digit behind the point.
pub(crate) fn size(bytes: u64) -> String {
    for (unit, shift) in [("GiB", 30_u32), ("MiB", 20), ("KiB", 10)] {
        let (whole, rest) = (bytes >> shift, bytes & ((1 << shift) - 1));
        if whole > 0 {
            let tenth = (rest * 10) >> shift;
            return match rest {
                0 => format!("{whole} {unit}"),
                _ => format!("{whole}.{tenth} {unit}"),
            };
        }
    }
    format!("{bytes} B")
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
        "agent {agent}: {state}, {since}\n{reach}meant for: {}\nstanding by choice: {}\n{}\n\n{grants}",
        ids("capabilities"),
        ids("standing"),
        bounds(&whole["limits"])
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
            "limits": {"callsPerSecond": {"limit": 5, "default": 200},
                "ledgerBytesPerDay": {"limit": 67_108_864, "default": 67_108_864, "used": 1_600}},
            "grants": []
        });
        assert_eq!(
            as_text(&whole, now),
            "agent a: active, 24 h ago\nreach: exposed\nmeant for: o.read\nstanding by choice: none\n\
             limits: calls a second 5 (default: 200); log a day 64 MiB, of which 1.5 KiB used\n\nno standing grants"
        );
    }

    #[test]
    fn bounds_are_read_and_more_is_told_from_less() {
        for (text, wanted) in [
            ("0", LimitValue::Number(0)),
            ("512KiB", LimitValue::Number(524_288)),
            ("64MiB", LimitValue::Number(67_108_864)),
            ("2GiB", LimitValue::Number(2 << 30)),
            ("default", LimitValue::Default),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for bad in [
            "",
            "MiB",
            "1.5MiB",
            "-1",
            "64 MiB",
            "64mb",
            "17179869184GiB",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert!(calls("64MiB").is_err() && calls("5") == Ok(LimitValue::Number(5)));
        let held = json!({"limit": 5, "default": 200});
        assert!(LimitValue::Default.is_more(&held) && LimitValue::Number(6).is_more(&held));
        assert!(!LimitValue::Number(5).is_more(&held));
    }
}
