//! What is allowed without asking, as a page: every grant with its terms and its end, sorted and filtered by its
//! address, revoked one by one or many at once; and the grants whose time ended, which are given again.
//!
//! Invariant: a grant is given again as it was shown, or not at all: the page names each by when it was given.

use super::{
    Noted,
    card::Moment,
    foreign::ForeignText,
    links::{Begin, Stretch},
    sent, shell, words,
};
use crate::{acting::Narrowing, desk::Desk, owner::grants, table::Reading};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{self, Refused, query};
use plexus_owner::{
    Done,
    grants::{
        Give, GrantRow, Grants, LastUse, List, Renewed, Revoke, by_agent, is_renewed_unnamed,
    },
};
use plexus_protocol::{
    CapabilityId, Constraint, Digest, ErrorBody, ErrorCode, Timestamp, TrustWindow,
    body::StandingGrant, constraint::calls_in_words,
};
use serde::{Deserialize, Serialize};
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

/// Grants that ended, on a page at most. Of more, the reads come first.
const ENDED: usize = 50;

/// Grants whose time ended, as a part of a page.
pub(super) struct EndedList {
    pub(super) lines: Vec<EndedLine>,
    /// How many more there are.
    pub(super) more: usize,
    /// Of the reads among them; none where there are none. With it the form of other reads is another form.
    pub(super) digest: Option<Digest>,
}

/// One of them, in one line.
pub(super) struct EndedLine {
    pub(super) grant: GrantLine,
    pub(super) verbs: String,
    pub(super) at: Moment,
    /// For how long it would be given again.
    pub(super) length: String,
    /// It is given again with the others, or else by a button of its own.
    pub(super) is_together: bool,
    /// As the form names it.
    pub(super) name: String,
}

impl EndedList {
    pub(super) fn of<'g>(ended: impl Iterator<Item = &'g StandingGrant>, now: Timestamp) -> Self {
        let mut all: Vec<_> = ended.map(|grant| EndedLine::of(grant, now)).collect();
        all.sort_by_key(|line| !line.is_together);
        let more = all.len().saturating_sub(ENDED);
        all.truncate(ENDED);
        let together = all.iter().filter(|line| line.is_together);
        let names: Vec<_> = together.map(|line| line.name.as_str()).collect();
        Self {
            digest: (!names.is_empty()).then(|| Digest::of(names.join("\n").as_bytes())),
            lines: all,
            more,
        }
    }
}

impl EndedLine {
    fn of(grant: &StandingGrant, now: Timestamp) -> Self {
        // Its calls would count anew.
        let anew = StandingGrant {
            calls_left: None,
            ..grant.clone()
        };
        Self {
            grant: GrantLine::of(&anew, now),
            verbs: words::verbs(grant.verbs),
            at: Moment::ago(grant.expires_at, now),
            length: words::span(grant.trust_window.length_ms()),
            is_together: is_renewed_unnamed(grant),
            name: name(grant),
        }
    }
}

/// A grant by its agent, its capability and when it was given: one that was given since is another.
fn name(grant: &StandingGrant) -> String {
    let (agent, capability) = (&grant.agent_id, &grant.capability_id);
    format!("{agent} {capability} {}", grant.granted_at)
}

#[derive(Template)]
#[template(path = "grants.html")]
struct Page {
    ended: EndedList,
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

/// The grants that stand, and those that ended.
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
        let is_meant = |grant: &StandingGrant| {
            let id = &grant.capability_id;
            (agent.is_empty() || grant.agent_id.as_str() == agent)
                && (source.is_empty() || id.parts().0 == source)
                && (capability.is_empty() || id.as_str() == capability)
        };
        let mut found: Vec<_> = listed.grants.iter().filter(|row| is_meant(row)).collect();
        let ended = listed.ended.iter().filter(|grant| is_meant(grant));
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
            ended: EndedList::of(ended, now),
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

/// A note of the page on what is granted. The token that the owner's call answers with is no page's.
#[derive(Serialize)]
pub(super) struct Granted {
    ok: Done,
    said: String,
}

impl Granted {
    pub(super) fn noted(said: String) -> Self {
        Self { ok: Done, said }
    }
}

/// A form that grants again: the names of grants that ended, as the page had them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewForm {
    #[serde(default)]
    grants: Vec<String>,
}

/// Grants again what ended: that of each agent in one act.
pub(super) async fn renew(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let names = sent::<RenewForm>(request).await?.grants;
    if names.is_empty() {
        return Err(Refused::malformed("Choose at least one."));
    }
    let mut chosen = grants::list(desk.clone(), Reading, List {}).await?.ended;
    chosen.retain(|grant| names.contains(&name(grant)));
    if chosen.len() != names.len() {
        return Err(Refused::malformed(
            "This is not what was shown: look at it again.",
        ));
    }
    let (mut done, mut beside) = (Vec::new(), Vec::new());
    for (agent, ended) in by_agent(&chosen) {
        let acting = narrowing.wider(&desk).await?;
        let give = Give::again(agent, ended.iter().copied());
        let renewed = match grants::give(desk.clone(), acting, give).await {
            Ok(given) => {
                let renewed = Renewed::of(agent, &ended, given);
                let answered = (&*renewed.also_answered, renewed.denials_ended);
                let state = desk.ledger.snapshot();
                let now = state.time(desk.clock.now());
                let granted = &renewed.granted;
                beside.extend(words::beside_grant(&state, agent, granted, answered, now));
                renewed
            }
            Err(refused) if done.is_empty() => return Err(refused),
            // Other agents have theirs already: the notes say which do not.
            Err(refused) => Renewed::none(agent, &ended, &refused.into_error().message),
        };
        done.push(renewed);
    }
    let (granted, declined) = in_words(&done);
    if granted.is_empty() {
        let error = ErrorBody::new(ErrorCode::StandingNotAllowed, declined);
        return Err(Refused::new(error).status(422));
    }
    // The page has room for three notes.
    let declined = (!declined.is_empty()).then(|| format!("Not granted again — {declined}"));
    let beside = (!beside.is_empty()).then(|| beside.join(". "));
    let notes = beside.into_iter().chain(declined).collect();
    let done = Granted::noted(format!("Granted again — {granted}"));
    Ok(reply::ok(&Noted { done, notes }))
}

/// The grants that the agents were given again, and those that they were not.
fn in_words(done: &[Renewed]) -> (String, String) {
    let granted = done.iter().filter(|one| !one.granted.is_empty());
    let granted = granted.map(|one| {
        let ids: Vec<_> = one.granted.iter().map(CapabilityId::as_str).collect();
        format!("{}: {}", one.agent_id, ids.join(", "))
    });
    let declined = done.iter().flat_map(|one| {
        let all = one.declined.iter();
        all.map(move |not| format!("{}: {}. {}", one.agent_id, not.id, not.reason))
    });
    let (granted, declined): (Vec<_>, Vec<_>) = (granted.collect(), declined.collect());
    (granted.join("; "), declined.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::grants::{Given, NothingGiven};
    use plexus_protocol::{AgentId, Provenance, Verb, Verbs, body::Declined};

    const NOW: Timestamp = Timestamp(10 * 86_400_000);

    fn ended(agent: &str, capability: &str, verb: Verb) -> StandingGrant {
        StandingGrant {
            agent_id: AgentId::parse(agent).unwrap(),
            capability_id: CapabilityId::parse(capability).unwrap(),
            verbs: Verbs::of([verb]),
            provenance: Provenance::Managed,
            granted_at: Timestamp(0),
            expires_at: Timestamp(7 * 86_400_000),
            trust_window: TrustWindow::WEEK,
            standing: true,
            constraint: None,
            calls_left: Some(1),
            suspended: None,
            top_level_disabled: false,
        }
    }

    fn page(ended: &[StandingGrant]) -> String {
        let page = Page {
            ended: EndedList::of(ended.iter(), NOW),
            grants: Vec::new(),
            agents: Vec::new(),
            sources: Vec::new(),
            agent: String::new(),
            source: String::new(),
            capability: String::new(),
            sort: "agent",
            stretch: Stretch::of(0, 0, |_| String::new()),
        };
        page.render().unwrap()
    }

    #[test]
    fn ended_effect_has_a_button_of_its_own() {
        let (read, write) = (
            ended("a", "w.read", Verb::Read),
            ended("a", "w.write", Verb::Write),
        );
        let both = page(&[write.clone(), read.clone()]);
        let (first, second) = both.split_once("w.write").unwrap();
        assert!(first.contains("w.read"), "reads come first");
        let of = |grant| format!("data-list value=\"{}\"", name(grant));
        let tick = "name=\"grants\" form=\"renew\"";
        assert_eq!(both.matches(tick).count(), 1);
        assert!(first.contains(tick) && first.contains("data-list checked"));
        assert!(second.contains(&of(&write)) && !both.contains(&of(&read)));
        assert!(both.contains("3 days ago") && !both.contains(" left"));
        let alone = page(&[write]);
        assert!(!alone.contains("id=\"renew\""), "no read to grant");
        assert!(!page(&[]).contains("id=\"ended\""));
    }

    #[test]
    fn longer_list_of_ended_grants_is_cut() {
        let many = (0..=ENDED).map(|at| ended("a", &format!("w.r{at}"), Verb::Read));
        let many: Vec<_> = many.collect();
        let shown = page(&many);
        assert_eq!(shown.matches("name=\"grants\"").count(), ENDED);
        assert!(shown.contains("1 more"), "{shown}");
        let of = |all: &[StandingGrant]| EndedList::of(all.iter(), NOW).digest;
        assert_ne!(of(&many[..1]), of(&many[..2]));
    }

    #[test]
    fn declined_grant_is_noted_with_its_reason() {
        let (one, two) = (
            ended("a", "w.read", Verb::Read),
            ended("b", "w.list", Verb::Read),
        );
        let hidden = Declined {
            id: "w.list".to_owned(),
            reason: "You do not expose it.".to_owned(),
        };
        let given = |declined| {
            let scopes = Vec::new();
            Given::Nothing(NothingGiven { scopes, declined })
        };
        let done = [
            Renewed::of(&one.agent_id, &[&one], given(Vec::new())),
            Renewed::of(&two.agent_id, &[&two], given(vec![hidden])),
            Renewed::none(&one.agent_id, &[&one], "No."),
        ];
        let (granted, declined) = in_words(&done);
        assert_eq!(granted, "a: w.read");
        assert_eq!(declined, "b: w.list. You do not expose it. a: w.read. No.");
    }
}
