//! `plexusctl agents` (docs/protocol/owner.md#agents).

use crate::{
    connect, ended,
    integration::Installation,
    owner::{Desk, Owner, each, or_near, with_meant},
    standing,
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_owner::{
    agents::{
        ChangeLimits, Enrollment, Limit, Limits, ListEnrollments, RenewCode, Revoke, ShowLimits,
        ShowSubset, Subset, WantedLimit,
    },
    grants::{GrantRow, List as ListGrants},
};
use plexus_protocol::{AgentId, CapabilityId, EnrollmentStatus, Timestamp};
use serde::Serialize;

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
        /// Agents
        #[arg(required = true, value_name = "AGENT")]
        agents: Vec<AgentId>,
        /// How long a code is valid
        #[arg(long, value_name = "TIME", default_value = "15m", value_parser = span::parse)]
        code_ttl: u64,
    },
    /// Show or set an agent's rate limits
    Limit {
        /// Agent
        agent: AgentId,
        /// Calls a second: a number, or default
        #[arg(long, value_name = "N", value_parser = calls)]
        calls: Option<WantedLimit>,
        /// Bytes of audit log a day: 64MiB, a number of bytes, or default
        #[arg(long, value_name = "N", value_parser = bytes)]
        ledger: Option<WantedLimit>,
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

/// Whether a limit is more than what holds now.
fn is_more(wanted: WantedLimit, held: Limit) -> bool {
    match wanted {
        WantedLimit::Default => held.default > held.limit,
        WantedLimit::Number(number) => number > held.limit,
    }
}

fn calls(text: &str) -> Result<WantedLimit, String> {
    match text {
        "default" => Ok(WantedLimit::Default),
        _ => text
            .parse()
            .map(WantedLimit::Number)
            .map_err(|_| "write a number of calls a second, or default".to_owned()),
    }
}

fn bytes(text: &str) -> Result<WantedLimit, String> {
    if text == "default" {
        return Ok(WantedLimit::Default);
    }
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let read = units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    read.map(WantedLimit::Number).ok_or_else(|| {
        "write a number of bytes, such as 67108864, 512KiB, 64MiB or 1GiB, or default".to_owned()
    })
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, agents: Agents) -> Result<Exit, Stop> {
    let act = agents.act.unwrap_or(Act::List);
    if let Act::Code { .. } = act {
        desk.ask_for_person::<RenewCode>()?;
    }
    let mut owner = desk.open().await?;
    match act {
        Act::List => {
            let reply = owner.call(&ListEnrollments {}).await?;
            desk.show(&reply, || {
                let rows = reply
                    .agents
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
        Act::Code { agents, code_ttl } => {
            each(agents, async |agent| {
                renew_code(desk, &mut owner, &agent, code_ttl).await
            })
            .await
        }
        Act::Limit {
            agent,
            calls,
            ledger,
        } => {
            let id = agent.to_string();
            let now = match owner.call(&ShowLimits { id: id.clone() }).await {
                Ok(now) => now,
                Err(refused) => return Err(meant(&mut owner, &agent, refused).await),
            };
            if calls.is_none() && ledger.is_none() {
                return desk.show(&now, || bounds(&now));
            }
            if calls.is_some_and(|wanted| is_more(wanted, now.calls_per_second))
                || ledger.is_some_and(|wanted| is_more(wanted, now.ledger_bytes_per_day.held))
            {
                desk.ask_for_person::<ChangeLimits>()?;
            }
            let asked = ChangeLimits {
                id,
                calls_per_second: calls,
                ledger_bytes_per_day: ledger,
            };
            let reply = owner.call(&asked).await?;
            desk.show(&reply, || bounds(&reply.limits))
        }
        Act::Revoke {
            agent,
            delete,
            reason,
        } => {
            let asked = Revoke {
                agent_id: agent.to_string(),
                reason,
                delete,
            };
            let reply = owner.call(&asked).await?;
            if !reply.ok {
                known(&mut owner, &agent).await?;
                return desk.show(&reply, || format!("{agent} was revoked before"));
            }
            desk.show(&reply, || {
                let here = Installation::of(&desk.home, &agent).map(|_| {
                    format!("\nto remove its setup on this machine: plexusctl disconnect {agent}")
                });
                format!(
                    "{agent} is revoked; grants revoked: {}; sessions ended: {}{}{}",
                    reply.grants_removed_count,
                    reply.sessions_invalidated,
                    ended::ended(
                        asked.reason.as_deref(),
                        &reply.revoked_jtis,
                        &reply.ended,
                        &reply.cancelled,
                        &reply.in_flight
                    ),
                    here.unwrap_or_default()
                )
            })
        }
    }
}

async fn renew_code(
    desk: &Desk,
    owner: &mut Owner,
    agent: &AgentId,
    code_ttl: u64,
) -> Result<Exit, Stop> {
    let asked = RenewCode {
        id: agent.to_string(),
        ttl_ms: Some(code_ttl.into()),
    };
    let reply = match owner.call(&asked).await {
        Ok(reply) => reply,
        Err(refused) => return Err(no_code(owner, agent, refused).await),
    };
    // As with a connect, this is the one place that hands it over.
    desk.show(&reply, || {
        let enroll = connect::enroll_line(desk, &reply.code);
        format!(
            "{}What it was granted stays: plexusctl agents show {agent}{}",
            connect::handed(agent, &enroll, reply.expires_at, span::now()),
            ended::ended_items(&reply.ended)
        )
    })
}

/// The code of an agent that is not connected.
pub(crate) const UNKNOWN: &str = "unknown_agent";

fn unknown(agent: &AgentId) -> Stop {
    Stop::new(Exit::Failed, UNKNOWN, format!("no agent {agent}")).next("plexusctl agents list")
}

/// Holds that an agent is connected.
///
/// # Errors
/// That it is not, with the one that may have been meant.
pub(crate) async fn known(owner: &mut Owner, agent: &AgentId) -> Result<(), Stop> {
    enrolled(owner, agent).await.map(drop)
}

/// How an agent is connected; the errors are those of [`known`].
async fn enrolled(owner: &mut Owner, agent: &AgentId) -> Result<Enrollment, Stop> {
    let mut all = owner.call(&ListEnrollments {}).await?.agents;
    match all.iter().position(|one| one.agent_id == *agent) {
        Some(at) => Ok(all.swap_remove(at)),
        None => {
            let ids = all.iter().map(|one| one.agent_id.as_str());
            Err(with_meant(unknown(agent), &or_near(agent.as_str(), ids)))
        }
    }
}

/// Says of a call that was refused because of its agent which one may have been meant.
pub(crate) async fn meant(owner: &mut Owner, agent: &AgentId, refused: Stop) -> Stop {
    if refused.code != UNKNOWN {
        return refused;
    }
    match known(owner, agent).await {
        Err(unknown) if unknown.code == UNKNOWN => unknown,
        _ => refused,
    }
}

/// The refusal of a new code, with the command that helps where the agent was revoked.
async fn no_code(owner: &mut Owner, agent: &AgentId, refused: Stop) -> Stop {
    match enrolled(owner, agent).await {
        Ok(one) if one.status == EnrollmentStatus::Revoked => {
            refused.next(format!("plexusctl connect {agent}"))
        }
        Err(unknown) if unknown.code == UNKNOWN => unknown,
        _ => refused,
    }
}

/// An agent and what it may do.
#[derive(Serialize)]
struct AgentView {
    enrollment: Enrollment,
    subset: Subset,
    limits: Limits,
    grants: Vec<GrantRow>,
}

async fn gather(owner: &mut Owner, agent: &AgentId) -> Result<AgentView, Stop> {
    let id = || agent.to_string();
    let enrollment = enrolled(owner, agent).await?;
    let subset = owner.call(&ShowSubset { id: id() }).await?;
    let mut grants = owner.call(&ListGrants {}).await?.grants;
    grants.retain(|grant| grant.agent_id == *agent);
    let limits = owner.call(&ShowLimits { id: id() }).await?;
    Ok(AgentView {
        enrollment,
        subset,
        limits,
        grants,
    })
}

fn bounds(limits: &Limits) -> String {
    let told = |held: Limit, shown: &dyn Fn(u64) -> String| {
        let note = match held.limit == held.default {
            true => String::new(),
            false => format!(" (default: {})", shown(held.default)),
        };
        format!("{}{note}", shown(held.limit))
    };
    let ledger = limits.ledger_bytes_per_day;
    format!(
        "limits: calls a second {}; log a day {}, of which {} used",
        told(limits.calls_per_second, &|n| n.to_string()),
        told(ledger.held, &size),
        size(ledger.used),
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

/// How an agent's credential is, in a word.
pub(crate) fn word(status: EnrollmentStatus) -> &'static str {
    match status {
        EnrollmentStatus::Pending => "not enrolled",
        EnrollmentStatus::Active | EnrollmentStatus::Revoked => status.as_str(),
    }
}

/// Its state counts from the end of the credential, where there was one.
fn row(agent: &Enrollment, now: Timestamp) -> [String; 3] {
    let since = match agent.status {
        EnrollmentStatus::Active => agent.redeemed_at,
        EnrollmentStatus::Pending | EnrollmentStatus::Revoked => agent.revoked_at,
    };
    [
        agent.agent_id.to_string(),
        word(agent.status).to_owned(),
        span::ago(since.unwrap_or(agent.issued_at), now),
    ]
}

fn as_text(whole: &AgentView, now: Timestamp) -> String {
    let [agent, state, since] = row(&whole.enrollment, now).map(|cell| text::line(&cell));
    let did = match (whole.enrollment.status, whole.enrollment.revoked_at) {
        (EnrollmentStatus::Pending, None) => "code made ",
        (EnrollmentStatus::Pending, Some(_)) => "its credential ended ",
        (EnrollmentStatus::Active, _) => "connected ",
        (EnrollmentStatus::Revoked, _) => "",
    };
    let ids = |ids: &[CapabilityId]| match ids {
        [] => "none".to_owned(),
        ids => text::listed(ids, " "),
    };
    let rows = whole
        .grants
        .iter()
        .map(|g| standing::row(g, now))
        .map(|[_, id, verbs, ends, terms]| [id, verbs, ends, terms]);
    let grants = table(
        ["capability", "verbs", "ends", "terms"],
        rows.collect(),
        "no standing grants: every call asks",
    );
    let reach = whole.subset.reach;
    let reach = reach.map_or(String::new(), |r| format!("reach: {}\n", r.as_str()));
    format!(
        "agent {agent}: {state}, {did}{since}\n{reach}meant for: {}\nchanges granted when it was connected: {}\n{}\n\n{grants}",
        ids(&whole.subset.capabilities),
        ids(&whole.subset.standing),
        bounds(&whole.limits)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::agents::LedgerLimit;
    use plexus_protocol::Reach;

    #[test]
    fn one_agent() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        let at = |text: &str| serde_json::from_value(text.into()).unwrap();
        let a = AgentId::parse("a").unwrap();
        let held = Limit {
            limit: 67_108_864,
            default: 67_108_864,
        };
        let mut whole = AgentView {
            enrollment: Enrollment {
                agent_id: a.clone(),
                status: EnrollmentStatus::Active,
                issued_at: at("2025-12-30T00:00:00.000Z"),
                code_expires_at: at("2025-12-30T00:00:00.000Z"),
                redeemed_at: Some(at("2025-12-31T00:00:00.000Z")),
                revoked_at: None,
            },
            subset: Subset {
                agent_id: "a".to_owned(),
                capabilities: vec![CapabilityId::parse("o.read").unwrap()],
                standing: Vec::new(),
                standing_execute: Vec::new(),
                reach: Some(Reach::Exposed),
            },
            limits: Limits {
                agent_id: a,
                calls_per_second: Limit {
                    limit: 5,
                    default: 200,
                },
                ledger_bytes_per_day: LedgerLimit { held, used: 1_600 },
            },
            grants: Vec::new(),
        };
        assert_eq!(
            as_text(&whole, now),
            "agent a: active, connected 24 h ago\nreach: exposed\nmeant for: o.read\nchanges granted when it was connected: none\n\
             limits: calls a second 5 (default: 200); log a day 64 MiB, of which 1.5 KiB used\n\nno standing grants: every call asks"
        );
        // A rotation or a restore ended its credential a minute ago.
        whole.enrollment.status = EnrollmentStatus::Pending;
        whole.enrollment.revoked_at = Some(at("2025-12-31T23:59:00.000Z"));
        let cells = row(&whole.enrollment, now);
        assert_eq!(
            cells,
            [
                "a",
                "not enrolled",
                &span::ago(at("2025-12-31T23:59:00.000Z"), now)
            ]
        );
        let said = as_text(&whole, now);
        let first = format!("agent a: not enrolled, its credential ended {}\n", cells[2]);
        assert!(said.starts_with(&first), "{said}");
    }

    #[test]
    fn bounds_are_read_and_more_is_told_from_less() {
        for (text, wanted) in [
            ("0", WantedLimit::Number(0)),
            ("512KiB", WantedLimit::Number(524_288)),
            ("64MiB", WantedLimit::Number(67_108_864)),
            ("2GiB", WantedLimit::Number(2 << 30)),
            ("default", WantedLimit::Default),
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
            let why = bytes(bad).unwrap_err();
            assert!(why.starts_with("write a number of bytes"), "{bad}: {why}");
        }
        let why = "write a number of calls a second, or default";
        assert_eq!(calls("64MiB"), Err(why.to_owned()));
        assert_eq!(calls("5"), Ok(WantedLimit::Number(5)));
        let held = Limit {
            limit: 5,
            default: 200,
        };
        assert!(is_more(WantedLimit::Default, held) && is_more(WantedLimit::Number(6), held));
        assert!(!is_more(WantedLimit::Number(5), held));
    }
}
