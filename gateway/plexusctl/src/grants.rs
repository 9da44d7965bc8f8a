//! `plexusctl grants`: what stands, and the owner's acts on it (docs/protocol/owner.md#grants-and-tokens).

mod renew;

use crate::{
    agents, approvals,
    ended::{also_answered, denials_ended, ended},
    owner::{Desk, Owner, each},
    pause::heard,
    standing::{row, warn_of_missing},
    table::table,
    terms::{Terms, cut, window_in_words},
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_owner::{
    exposure,
    grants::{Give, Given, GivenToken, GrantRow, Grants as Listed, LastUse, List, Revoke},
    sources,
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, PendingId, Timestamp, TokenId, TrustWindow,
    body::{Scope, StandingGrant},
};
use serde::Serialize;

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
    /// Grant capabilities for a time
    Allow {
        /// Agent to allow them to
        agent: AgentId,
        /// Capabilities
        #[arg(required = true, value_name = "CAPABILITY", value_delimiter = ',')]
        capabilities: Vec<CapabilityId>,
        #[command(flatten)]
        terms: Terms,
    },
    /// Grant again what ended by time in the last 30 days: reads, and the effects that you name
    Renew(renew::Renew),
    /// Revoke grants, and the agent's tokens
    Revoke {
        /// Agent to take them from
        agent: AgentId,
        /// Capabilities
        #[arg(required = true, value_name = "CAPABILITY", value_delimiter = ',')]
        capabilities: Vec<CapabilityId>,
        /// Reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, grants: Grants) -> Result<Exit, Stop> {
    match grants.act.unwrap_or(Act::List { agent: None }) {
        Act::List { agent } => {
            let mut owner = desk.open().await?;
            let mut reply = owner.call(&List {}).await?;
            if let Some(agent) = agent {
                agents::known(&mut owner, &agent).await?;
                reply.grants.retain(|grant| grant.agent_id == agent);
                reply.any_input.retain(|one| one.agent_id == agent);
                reply.ended.retain(|grant| grant.agent_id == agent);
            }
            desk.show(&reply, || as_text(&reply, span::now()))
        }
        Act::Allow {
            agent,
            capabilities,
            terms,
        } => allow(desk, &agent, capabilities, &terms).await,
        Act::Renew(asked) => renew::run(desk, &asked).await,
        Act::Revoke {
            agent,
            capabilities,
            reason,
        } => {
            let mut owner = desk.open().await?;
            each(capabilities, async |capability| {
                revoke(desk, &mut owner, (&agent, &capability), reason.as_deref()).await
            })
            .await
        }
    }
}

async fn revoke(
    desk: &Desk,
    owner: &mut Owner,
    (agent, capability): (&AgentId, &CapabilityId),
    reason: Option<&str>,
) -> Result<Exit, Stop> {
    let asked = Revoke {
        agent_id: Some(agent.to_string()),
        capability_id: Some(capability.to_string()),
        reason: reason.map(str::to_owned),
        ..Revoke::default()
    };
    let nothing = || {
        let why = format!("{agent} holds no grant of {capability}");
        Stop::new(Exit::Failed, "nothing_to_revoke", why).next("plexusctl grants list")
    };
    let slip = heard(is_slip(owner, capability)).await;
    if slip == Some(true) {
        return Err(desk
            .meant(std::slice::from_ref(capability), nothing())
            .await);
    }
    let reply = owner.call(&asked).await?;
    // Looked up after it: a revocation waits for nothing else.
    if !reply.ok {
        let unknown = agents::known(owner, agent).await.err();
        let unknown = unknown.filter(|stop| stop.code == agents::UNKNOWN);
        return Err(unknown.unwrap_or_else(nothing));
    }
    desk.show(&reply, || {
        let ended = ended(
            reason,
            &reply.revoked_jtis,
            &reply.ended,
            &reply.cancelled,
            &reply.in_flight,
        );
        match reply.grant_removed {
            true => format!("{agent} no longer has {capability}{ended}"),
            false => {
                let unheard = slip.map_or_else(
                    || format!("; whether a source offers {capability} was not heard: plexusctl status"),
                    |_| String::new(),
                );
                format!(
                    "{agent} held no grant of {capability}, and gets none without your yes{unheard}{ended}"
                )
            }
        }
    })
}

/// Whether nobody knows of this capability. A revocation also bars what nobody has granted: so it
/// is made wherever that cannot be found out, as of a source that offers nothing now.
async fn is_slip(owner: &mut Owner, capability: &CapabilityId) -> Result<bool, Stop> {
    let known = owner.call(&exposure::List {}).await?;
    let held = owner.call(&List {}).await?;
    let sources = owner.call(&sources::List {}).await?;
    let source = capability.parts().0;
    let mut rows = sources.sources.iter();
    let is_listed = rows
        .find(|row| row.source.id.as_str() == source)
        .is_none_or(|row| row.live);
    let is_offered = known.capabilities.iter().any(|one| one.id == *capability);
    let mut held = held.grants.iter();
    let is_held = held.any(|one| one.capability_id == *capability);
    Ok(is_listed && !is_offered && !is_held)
}

/// A grant, without the token that comes with it (docs/protocol/owner.md#grants-and-tokens): nobody here uses it, so nobody
/// sees it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GivenView {
    scopes: Vec<Scope>,
    jti: TokenId,
    expires_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_window: Option<TrustWindow>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also_answered: Vec<PendingId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    denials_ended: Option<usize>,
}

async fn allow(
    desk: &Desk,
    agent: &AgentId,
    capabilities: Vec<CapabilityId>,
    terms: &Terms,
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Give>()?;
    let asked_for = terms.window.ok_or_else(|| {
        Stop::usage("--window is missing: 1h, 1d, 7d, until-revoked, or a length such as 90m")
    })?;
    let constraint = terms.constraint()?;
    let mut owner = desk.open().await?;
    each(capabilities, async |capability| {
        let of = (agent, &capability);
        give(desk, &mut owner, of, asked_for, constraint.as_ref()).await
    })
    .await
}

async fn give(
    desk: &Desk,
    owner: &mut Owner,
    (agent, capability): (&AgentId, &CapabilityId),
    asked_for: TrustWindow,
    constraint: Option<&Constraint>,
) -> Result<Exit, Stop> {
    let asked = Give::one(agent, capability, asked_for, constraint);
    let before = match desk.json {
        true => None,
        false => held(owner, agent, capability).await,
    };
    let given = match owner.call(&asked).await {
        Err(refused) => return Err(agents::meant(owner, agent, refused).await),
        Ok(given) => given,
    };
    let (declined, given) = match given {
        Given::Nothing(nothing) => (nothing.declined, None),
        Given::Token(GivenToken {
            token,
            also_answered,
            denials_ended,
        }) => {
            let given = GivenView {
                scopes: token.scopes,
                jti: token.jti,
                expires_at: token.expires_at,
                grant_expires_at: token.grant_expires_at,
                trust_window: token.trust_window,
                also_answered,
                denials_ended: Some(denials_ended).filter(|count| *count > 0),
            };
            (token.declined, Some(given))
        }
    };
    if let Some(declined) = declined.first() {
        let why = format!("{capability} was not granted: {}", declined.reason);
        let is_of_channel = |of: &Constraint| of.is_about("channel") || of.is_about("channel_id");
        let next = match constraint.is_some_and(is_of_channel) {
            true => "plexusctl channels list".to_owned(),
            false => way_on(owner, capability).await,
        };
        let refused = Stop::new(Exit::Refused, "declined", why).next(next);
        return Err(desk.meant(std::slice::from_ref(capability), refused).await);
    }
    // As it was given: a window beyond the owner's longest is cut.
    let window = given.as_ref().and_then(|given| given.trust_window);
    let window = window.unwrap_or(asked_for);
    let ends = given.as_ref().and_then(|given| given.grant_expires_at);
    let answered = given.as_ref().map(|given| &*given.also_answered);
    let denials = given.as_ref().and_then(|given| given.denials_ended);
    let ends = ending_of(window, ends, span::now());
    warn_of_missing(owner, std::slice::from_ref(capability), constraint).await;
    let waiting = match desk.json {
        true => String::new(),
        false => still_waiting("\n", owner, agent, std::slice::from_ref(capability)).await,
    };
    desk.show(&given, || {
        let only = constraint.map(Constraint::in_words);
        let only = only.map_or_else(String::new, |only| format!(", {}", text::line(&only)));
        let before = before.map(|held| replaced(&held, span::now()));
        format!(
            "{agent} may use {capability} {}{only}{ends}{}{}{}{}{waiting}",
            window_in_words(window),
            cut(asked_for, window),
            before.unwrap_or_default(),
            denials_ended("\n", denials.unwrap_or_default()),
            also_answered("\n", answered.unwrap_or_default())
        )
    })
}

/// The next command where a capability is not granted.
async fn way_on(owner: &mut Owner, capability: &CapabilityId) -> String {
    let listed = heard(owner.call(&exposure::List {})).await;
    let mut known = listed.into_iter().flat_map(|all| all.capabilities);
    let enabled = known
        .find(|one| one.id == *capability)
        .map(|one| one.enabled);
    match enabled {
        // Each of its calls asks.
        Some(true) => "plexusctl approvals watch".to_owned(),
        Some(false) => format!("plexusctl expose {capability}"),
        None => "plexusctl status".to_owned(),
    }
}

/// The end of a new grant, behind a sentence that names its window; nothing where that says all of it.
fn ending_of(window: TrustWindow, at: Option<Timestamp>, now: Timestamp) -> String {
    match at.filter(|_| window != TrustWindow::UntilRevoked) {
        Some(at) => format!("; {}", span::end(at, now)),
        None => String::new(),
    }
}

/// An agent's grant of a capability, for words alone: none where that is not heard in time.
pub(crate) async fn held(
    owner: &mut Owner,
    agent: &AgentId,
    capability: &CapabilityId,
) -> Option<GrantRow> {
    let mut grants = heard(owner.call(&List {})).await?.grants.into_iter();
    grants.find(|one| one.agent_id == *agent && one.capability_id == *capability)
}

/// The grant before a new one of the same capability, as a line.
fn replaced(held: &StandingGrant, now: Timestamp) -> String {
    let [_, _, _, end, terms] = row(held, now);
    let terms = match terms.is_empty() {
        true => "any input".to_owned(),
        false => text::line(&terms),
    };
    format!("\nin place of the grant before it: {terms}; {end}")
}

/// The requests for capabilities that wait although those were granted now, behind `before`; nothing where there are none, or
/// where that is not heard in time.
pub(crate) async fn still_waiting(
    before: &str,
    owner: &mut Owner,
    agent: &AgentId,
    granted: &[CapabilityId],
) -> String {
    let listed = heard(approvals::pending(owner)).await;
    let headings = listed.into_iter().flatten().map(|item| item.heading);
    let waiting: Vec<PendingId> = headings
        .filter(|one| one.agent_id.as_ref() == Some(agent))
        .filter(|one| one.capabilities.iter().any(|id| granted.contains(id)))
        .map(|one| one.pending_id)
        .collect();
    match waiting.is_empty() {
        true => String::new(),
        false => format!(
            "{before}requests for this that still wait for you: {}; the agent may make a call that this covers again, without one",
            text::listed(&waiting, ", ")
        ),
    }
}

/// When a grant was last used, in words.
fn used(last: LastUse, now: Timestamp) -> String {
    match last {
        LastUse::At(at) => span::ago(at, now),
        LastUse::Never => "not yet".to_owned(),
        LastUse::NotSince(since) => format!("not in the last {}", span::length(now.since(since))),
    }
}

fn as_text(all: &Listed, now: Timestamp) -> String {
    let rows = all.grants.iter().map(|grant| {
        let [agent, capability, verbs, ends, terms] = row(grant, now);
        let used = used(all.last_use(grant), now);
        [agent, capability, verbs, ends, used, terms]
    });
    let mut text = table(
        ["agent", "capability", "verbs", "ends", "last use", "terms"],
        rows.collect(),
        match all.any_input.is_empty() {
            true => {
                "no grants: every call asks; to give one: plexusctl grants allow AGENT CAPABILITY"
            }
            false => "no grants",
        },
    );
    for one in &all.any_input {
        let (agent, capability) = (&one.agent_id, &one.capability_id);
        let only = one.constraint.as_ref().map(Constraint::in_words);
        let only = only.map_or_else(String::new, |only| format!(", {}", text::line(&only)));
        text.push_str(&format!(
            "\n{agent} may make one call of {capability} with any input{only} (from {}; {}); to end that: plexusctl grants revoke {agent} {capability}",
            one.pending_id,
            span::end(one.expires_at, now)
        ));
    }
    text.push_str(&ended_ones(&all.ended, now));
    text
}

/// The grants that ended by time, behind those that are valid; nothing where there are none.
fn ended_ones(ended: &[StandingGrant], now: Timestamp) -> String {
    if ended.is_empty() {
        return String::new();
    }
    let rows = ended.iter().map(|grant| row(grant, now)).collect();
    let head = ["agent", "capability", "verbs", "ended", "terms"];
    let shown = table(head, rows, "");
    format!("\n\n{shown}\nto grant again what ended: plexusctl grants renew")
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::grants::GrantRow;
    use plexus_protocol::{Provenance, Verb, Verbs, constraint::PathPrefix};

    #[test]
    fn terms_are_shown() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:00:00.000Z\"").unwrap();
        let mut grant = StandingGrant {
            agent_id: AgentId::parse("a").unwrap(),
            capability_id: CapabilityId::parse("w.write").unwrap(),
            verbs: Verbs::of([Verb::Read, Verb::Write]),
            provenance: Provenance::Managed,
            granted_at: now,
            expires_at: now.plus(86_400_000),
            trust_window: TrustWindow::DAY,
            standing: true,
            constraint: Some(Constraint {
                path_prefix: Some(PathPrefix {
                    field: "path".to_owned(),
                    allow: vec!["A".to_owned()],
                }),
                allow: None,
                rules: Vec::new(),
                max_calls: None,
            }),
            calls_left: Some(2),
            suspended: Some("changed".to_owned()),
            top_level_disabled: false,
        };
        let all = Listed {
            grants: vec![GrantRow {
                grant: grant.clone(),
                last_used_at: None,
            }],
            uses_since: None,
            any_input: Vec::new(),
            ended: Vec::new(),
        };
        assert_eq!(
            as_text(&all, now),
            "AGENT  CAPABILITY  VERBS       ENDS          LAST USE  TERMS\n\
             a      w.write     read,write  ends in 24 h  not yet   path at or below A; 2 calls left; \
             suspended: changed"
        );
        grant.calls_left = Some(1);
        let [.., terms] = row(&grant, now);
        assert_eq!(terms, "path at or below A; 1 call left; suspended: changed");
        let mut none = Listed {
            grants: Vec::new(),
            uses_since: None,
            any_input: Vec::new(),
            ended: Vec::new(),
        };
        let asks = as_text(&none, now);
        assert!(asks.starts_with("no grants: every call asks;"), "{asks}");
        none.ended.push(StandingGrant {
            expires_at: Timestamp(now.0 - 14 * 86_400_000),
            calls_left: None,
            suspended: None,
            ..grant
        });
        assert_eq!(
            as_text(&none, now),
            format!(
                "{asks}\n\n\
                 AGENT  CAPABILITY  VERBS       ENDED              TERMS\n\
                 a      w.write     read,write  ended 14 days ago  path at or below A\n\
                 to grant again what ended: plexusctl grants renew"
            )
        );
        none.ended.clear();
        none.any_input.push(plexus_owner::grants::AnyInputCall {
            agent_id: AgentId::parse("a").unwrap(),
            capability_id: CapabilityId::parse("w.write").unwrap(),
            pending_id: PendingId::fresh(),
            constraint: None,
            expires_at: now.plus(86_400_000),
        });
        let one = as_text(&none, now);
        assert!(one.starts_with("no grants\na may make one call"), "{one}");
        let then = now.plus(86_400_000);
        assert_eq!(used(LastUse::At(now), then), "24 h ago");
        assert_eq!(used(LastUse::NotSince(now), then), "not in the last 24 h");
    }

    #[test]
    fn end_is_told_where_the_window_has_one() {
        let now = Timestamp(1_000_000_000_000);
        let ended = |window: TrustWindow| {
            let at = now.plus(window.length_ms());
            ending_of(window, Some(at), now)
        };
        assert_eq!(ended(TrustWindow::WEEK), "; ends in 7 days");
        assert_eq!(ended(TrustWindow::UntilRevoked), "");
    }
}
