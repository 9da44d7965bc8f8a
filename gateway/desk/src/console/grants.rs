//! What is allowed without asking, as a page: every grant with its terms and its end, sorted and filtered by its
//! address, revoked one by one or many at once.

use super::{
    card::Moment,
    foreign::ForeignText,
    links::{Begin, Stretch},
    shell, words,
};
use crate::{desk::Desk, owner::grants, table::Reading};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_owner::grants::{GrantRow, Grants, LastUse, List, Revoke};
use plexus_protocol::{
    CapabilityId, Constraint, Timestamp, TrustWindow, body::StandingGrant,
    constraint::calls_in_words,
};
use std::sync::Arc;

/// For how long an owner grants something, as the pages offer it.
pub(super) const WINDOWS: [TrustWindow; 4] = [
    TrustWindow::HOUR,
    TrustWindow::DAY,
    TrustWindow::WEEK,
    TrustWindow::UntilRevoked,
];

/// A grant in one line.
pub(super) struct GrantLine {
    pub(super) agent: String,
    pub(super) capability: String,
    pub(super) source: String,
    pub(super) ends: Option<Moment>,
    pub(super) terms: Vec<ForeignText>,
    /// Why it cannot be used now.
    pub(super) suspended: Option<ForeignText>,
    /// When it was last used: in words, and the moment. In a list alone.
    pub(super) used: (String, Option<String>),
    /// The request that revokes it.
    pub(super) revoke: String,
}

impl GrantLine {
    pub(super) fn of(grant: &StandingGrant, now: Timestamp) -> Self {
        let (agent, capability) = (grant.agent_id.to_string(), grant.capability_id.to_string());
        let mut terms: Vec<String> = grant
            .constraint
            .as_ref()
            .map(Constraint::in_words)
            .into_iter()
            .collect();
        terms.extend(
            grant
                .calls_left
                .map(|left| format!("{} left", calls_in_words(left))),
        );
        if grant.top_level_disabled {
            terms.push("hidden now".to_owned());
        }
        let revoke = Revoke {
            agent_id: Some(agent.clone()),
            capability_id: Some(capability.clone()),
            ..Revoke::default()
        };
        let body = plexus_owner::write(&revoke).body;
        Self {
            ends: (grant.trust_window != TrustWindow::UntilRevoked)
                .then(|| Moment::left(grant.expires_at, now)),
            source: grant.capability_id.parts().0.to_owned(),
            terms: terms
                .iter()
                .map(|term| ForeignText::short(term, 200))
                .collect(),
            suspended: grant
                .suspended
                .as_deref()
                .map(|why| ForeignText::short(why, 200)),
            revoke: body.map(|body| body.to_string()).unwrap_or_default(),
            used: (String::new(), None),
            agent,
            capability,
        }
    }

    /// One of a list, with its last use.
    pub(super) fn listed(all: &Grants, grant: &GrantRow, now: Timestamp) -> Self {
        let used = match all.last_use(grant) {
            LastUse::At(at) => {
                let ago = Moment::ago(at, now);
                (ago.words, Some(ago.iso))
            }
            LastUse::Never => ("not yet".to_owned(), None),
            LastUse::NotSince(since) => {
                let span = words::span(now.since(since));
                (format!("not in the last {span}"), None)
            }
        };
        Self {
            used,
            ..Self::of(grant, now)
        }
    }
}

#[derive(Template)]
#[template(path = "grants.html")]
struct Page {
    grants: Vec<GrantLine>,
    agents: Vec<String>,
    sources: Vec<String>,
    agent: String,
    source: String,
    /// Of one alone, where a number led here.
    capability: String,
    sort: &'static str,
    stretch: Stretch,
}

/// The grants that stand.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let [agent, source, capability, sort] = ["agent", "source", "capability", "sort"]
        .map(|name| query(&request, name).unwrap_or_default());
    // A name that no capability has is no filter.
    let capability =
        CapabilityId::parse(&capability).map_or_else(|_| String::new(), |_| capability);
    let sort = match sort.as_str() {
        "capability" => "capability",
        "ends" => "ends",
        _ => "agent",
    };
    drop(request);
    let listed = grants::list(desk.clone(), Reading, List {}).await?;
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    shell::rendered(&desk, move || {
        let mut found: Vec<_> = listed
            .grants
            .iter()
            .filter(|grant| agent.is_empty() || grant.agent_id.as_str() == agent)
            .filter(|grant| source.is_empty() || grant.capability_id.parts().0 == source)
            .filter(|grant| capability.is_empty() || grant.capability_id.as_str() == capability)
            .collect();
        match sort {
            "capability" => found.sort_by_key(|grant| (&grant.capability_id, &grant.agent_id)),
            "ends" => found.sort_by_key(|grant| grant.expires_at),
            _ => {}
        }
        let stretch = Stretch::of(from, found.len(), |from| {
            format!(
                "/admin/grants?agent={agent}&source={source}&capability={capability}&sort={sort}&from={from}"
            )
        });
        Page {
            grants: stretch
                .part(found)
                .map(|grant| GrantLine::listed(&listed, grant, now))
                .collect(),
            agents: state.agents.keys().map(ToString::to_string).collect(),
            sources: state.sources.keys().map(ToString::to_string).collect(),
            agent: agent.clone(),
            source: source.clone(),
            capability: capability.clone(),
            sort,
            stretch,
        }
        .render()
    })
    .await
}
