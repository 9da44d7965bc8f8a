//! Agents as pages: who is connected and what each did today; one of them with all that it may do; and the page that
//! connects another.
//!
//! ```text
//! list ─▶ one agent: grants · what asks · calls · limits ─▶ give, revoke
//!      └▶ connect: kind, id, what it may do at once ─▶ the command to copy, and how far it has come
//! ```
//! Invariants: a code is on the page that its own request made, and on no other; what a choice allows is said beside it.

use super::{
    Noted,
    activity::CallLine,
    card::Moment,
    foreign::ForeignText,
    gone, grants,
    grants::{EndedList, GrantLine, Granted},
    links,
    links::{Begin, Stretch},
    sent, shell, words,
};
use crate::{
    acting::{Acting, Narrowing},
    acts::Named,
    desk::Desk,
    integration,
    owner::{activity, agents, grants as owner_grants, limits},
    table::Reading,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{self, Refused, query};
use plexus_ipc::manifest::EntryKind;
use plexus_owner::{
    activity::{List, Totals},
    agents::{AgentRow, Connect, Connected, Limits, RefusedStanding, ShowLimits},
    grants::{Give, Given},
};
use plexus_protocol::{
    AgentId, CapabilityId, Constraint, EnrollmentStatus, ErrorBody, ErrorCode, Reach, SourceId,
    Timestamp, TrustWindow, Verb,
    constraint::{PathPrefix, is_prefix},
};
use plexus_sources::catalogue::Entry;
use plexus_trust::State as TrustState;
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// Calls on an agent's page.
const CALLS: u64 = 20;
/// Capabilities that a page names at once; of more, those of one source at a time.
const NAMED: usize = 60;

#[derive(Template)]
#[template(path = "agents.html")]
struct Page {
    agents: Vec<Line>,
    stretch: Stretch,
}

struct Line {
    id: String,
    kind: &'static str,
    class: &'static str,
    state: &'static str,
    grants: usize,
    pending: usize,
    /// The card of its oldest request that waits.
    oldest: String,
    unsettled: usize,
    today: String,
    calls: String,
    /// Those of the day that is counted.
    of_day: String,
    seen: Option<Moment>,
}

/// Who is connected.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(from): Begin,
) -> Result<Response, Refused> {
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let listed = agents::list(desk.clone(), Reading, plexus_owner::agents::List {}).await?;
    let tally = activity::tally(&desk, now).await?;
    let state = desk.ledger.snapshot();
    shell::rendered(&desk, move || {
        let today = |agent: &AgentId| tally.agents.get(agent.as_str()).map(|hours| sum(hours));
        let stretch = Stretch::of(from, listed.agents.len(), |from| {
            format!("/admin/agents?from={from}")
        });
        Page {
            agents: stretch
                .part(&listed.agents)
                .map(|agent| Line::of(&state, agent, today(&agent.agent_id), now))
                .collect(),
            stretch,
        }
        .render()
    })
    .await
}

/// All hours together.
pub(super) fn sum(hours: &[Totals]) -> Totals {
    hours.iter().fold(Totals::default(), |mut all, hour| {
        all += *hour;
        all
    })
}

/// What somebody did, in a few words.
pub(super) fn did(totals: Option<Totals>) -> String {
    let Some(totals) = totals else {
        return "nothing in 24 hours".to_owned();
    };
    let parts = [
        (totals.read, "read"),
        (totals.changed, "changed"),
        (totals.refused + totals.failed, "refused or failed"),
        (totals.denied, "denied by you"),
        (totals.unknown, "not known"),
        (totals.asked, "asked"),
        (totals.expired, "came to nothing"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    match parts.is_empty() {
        true => "nothing in 24 hours".to_owned(),
        false => parts.join(", "),
    }
}

fn state(status: EnrollmentStatus) -> (&'static str, &'static str) {
    match status {
        EnrollmentStatus::Active => ("ok", "connected"),
        EnrollmentStatus::Pending => ("idle", "has not used its code yet"),
        EnrollmentStatus::Revoked => ("off", "revoked"),
    }
}

impl Line {
    fn of(trust: &TrustState, agent: &AgentRow, today: Option<Totals>, now: Timestamp) -> Self {
        let (class, state) = state(agent.status);
        Self {
            id: agent.agent_id.to_string(),
            kind: agent.agent_type.as_deref().map_or("", words::agent_sort),
            class,
            state,
            grants: agent.grants,
            pending: agent.pending,
            oldest: oldest(trust, &agent.agent_id, now),
            unsettled: agent.unsettled,
            today: did(today),
            calls: links::calls_of(agent.agent_id.as_str()),
            of_day: links::calls_of_day(Some(agent.agent_id.as_str()), None, now),
            seen: agent.last_seen_at.map(|at| Moment::ago(at, now)),
        }
    }
}

/// The card of an agent's oldest request that waits: with many, the list shows those of others first.
fn oldest(state: &TrustState, agent: &AgentId, now: Timestamp) -> String {
    let items = state.agent(agent).into_iter();
    let items = items.flat_map(|agent| agent.items.values());
    let waiting = items.filter(|item| item.waits(now));
    let oldest = waiting.min_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    oldest.map_or_else(
        || "/admin/approvals".to_owned(),
        |item| format!("/admin/approvals/{}", item.id),
    )
}

#[derive(Template)]
#[template(path = "agent.html")]
struct AgentPage {
    line: Line,
    /// It sees only what it was selected for.
    selected: bool,
    grants: Vec<GrantLine>,
    stretch: Stretch,
    ended: EndedList,
    /// What it may ask for, by source: all, or those of the one that was chosen.
    asks: Vec<(SourceId, Vec<Asking>)>,
    /// The sources to choose one of, each with how many and where they are listed.
    choices: Vec<(SourceId, usize, String)>,
    calls: Vec<CallLine>,
    limits: Limits,
    revoked: bool,
}

impl AgentPage {
    /// Whether a grant of something that it asks for is possible.
    fn can_give(&self) -> bool {
        let mut all = self.asks.iter().flat_map(|(_, list)| list);
        all.any(|one| !one.asks_each)
    }
}

/// A capability that it has no grant for.
struct Asking {
    id: String,
    label: ForeignText,
    does: String,
    /// The field that a grant of a part of it names.
    part: Option<String>,
    /// No grant of it is possible.
    asks_each: bool,
}

/// One agent.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let chosen = query(&request, "of").and_then(|of| SourceId::parse(&of).ok());
    drop(request);
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let listed = agents::list(desk.clone(), Reading, plexus_owner::agents::List {}).await?;
    let row = listed
        .agents
        .into_iter()
        .find(|agent| agent.agent_id.as_str() == id);
    let row = row.ok_or_else(gone)?;
    let granted = owner_grants::list(desk.clone(), Reading, plexus_owner::grants::List {}).await?;
    let limits = limits::show(desk.clone(), Reading, ShowLimits { id: id.clone() }).await?;
    let calls = activity::recent(
        &desk,
        List {
            agent: Some(id.clone()),
            limit: Some(CALLS),
            ..List::default()
        },
    )
    .await?;
    let tally = activity::tally(&desk, now).await?;
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        let state = shown.ledger.snapshot();
        let own = granted
            .grants
            .iter()
            .filter(|grant| grant.agent_id == row.agent_id);
        let ended = granted.ended.iter();
        let ended = ended.filter(|grant| grant.agent_id == row.agent_id);
        let grants: Vec<_> = own.collect();
        let has: BTreeSet<_> = grants.iter().map(|grant| &grant.capability_id).collect();
        let today = tally
            .agents
            .get(row.agent_id.as_str())
            .map(|hours| sum(hours));
        let mut asks = asks(&shown, &state, &row.agent_id, &has, now);
        let stretch = Stretch::of(from, grants.len(), |from| {
            links::agent(&row.agent_id, from, chosen.as_ref())
        });
        let mut choices = Vec::new();
        if asks.iter().map(|(_, list)| list.len()).sum::<usize>() > NAMED {
            choices = asks
                .iter()
                .map(|(source, list)| {
                    let link = links::agent(&row.agent_id, stretch.from, Some(source));
                    (source.clone(), list.len(), link)
                })
                .collect();
            asks.retain(|(source, _)| Some(source) == chosen.as_ref());
        }
        AgentPage {
            selected: row.reach == Reach::Selected,
            asks,
            choices,
            grants: stretch
                .part(grants)
                .map(|grant| GrantLine::listed(&granted, grant, now))
                .collect(),
            stretch,
            ended: EndedList::of(ended, now),
            calls: calls
                .calls
                .iter()
                .map(|row| CallLine::of(row, now))
                .collect(),
            limits,
            revoked: row.status == EnrollmentStatus::Revoked,
            line: Line::of(&state, &row, today, now),
        }
        .render()
    })
    .await
}

/// What an agent sees without a grant for it, by source.
fn asks(
    desk: &Desk,
    state: &TrustState,
    agent: &AgentId,
    has: &BTreeSet<&CapabilityId>,
    now: Timestamp,
) -> Vec<(SourceId, Vec<Asking>)> {
    let seen = state.agent(agent);
    by_source(desk, |entry| {
        let visible = seen.is_some_and(|agent| plexus_trust::visible(state, agent, &entry.id, now));
        (visible && !has.contains(&entry.id)).then(|| Asking {
            id: entry.id.to_string(),
            label: ForeignText::short(&entry.capability().label, 80),
            does: words::consequence(entry),
            part: entry.facts.resolved.first().cloned(),
            asks_each: asks_each(entry),
        })
    })
}

/// Whether each call of it asks, whatever the owner chooses.
fn asks_each(entry: &Entry) -> bool {
    plexus_trust::ceiling(&entry.facts, entry.provenance) == plexus_trust::Ceiling::Once
}

/// Capabilities as `of` makes them, each source with its own; none of which nothing is made.
fn by_source<T>(desk: &Desk, of: impl Fn(&Entry) -> Option<T>) -> Vec<(SourceId, Vec<T>)> {
    let catalogue = desk.catalogue.load();
    let mut sources: Vec<(SourceId, Vec<T>)> = Vec::new();
    let callable = catalogue
        .iter()
        .filter(|entry| entry.capability().kind == EntryKind::Capability);
    for entry in callable {
        let Some(made) = of(entry) else {
            continue;
        };
        match sources.last_mut() {
            Some((source, list)) if *source == entry.source => list.push(made),
            _ => sources.push((entry.source.clone(), vec![made])),
        }
    }
    sources
}

#[derive(Template)]
#[template(path = "connect.html")]
struct ConnectPage {
    /// As the form sends it, in words, and what comes with it.
    sorts: [(&'static str, &'static str, &'static str); words::AGENT_SORTS.len()],
    /// Each with whether something of it is chosen: then that is seen.
    sources: Vec<OfferedSource>,
}

/// What a source offers to a new agent.
struct OfferedSource {
    source: SourceId,
    list: Vec<Choice>,
    count: usize,
    is_open: bool,
}

#[derive(Template)]
#[template(path = "choices.html")]
struct Choices {
    list: Vec<Choice>,
}

/// A capability that a new agent may be given.
struct Choice {
    id: String,
    label: ForeignText,
    does: String,
    /// It changes nothing: naming it grants it.
    reads: bool,
    /// No grant of it is possible.
    asks_each: bool,
    ticked: bool,
}

/// The form that connects an agent.
pub(super) async fn form(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        let state = shown.ledger.snapshot();
        let sources = by_source(&shown, |entry| Choice::of(entry, &state));
        let all: usize = sources.iter().map(|(_, list)| list.len()).sum();
        let sources = sources.into_iter().map(|(source, mut list)| {
            let (count, is_open) = (list.len(), list.iter().any(|one| one.ticked));
            // They come when the source is opened.
            if all > NAMED && !is_open {
                list.clear();
            }
            OfferedSource {
                source,
                list,
                count,
                is_open,
            }
        });
        ConnectPage {
            sorts: words::AGENT_SORTS,
            sources: sources.collect(),
        }
        .render()
    })
    .await
}

/// What `?source=` offers to a new agent.
pub(super) async fn offered(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let wanted = query(&request, "source").unwrap_or_default();
    drop(request);
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        let state = shown.ledger.snapshot();
        let mut sources = by_source(&shown, |entry| {
            let is_wanted = entry.source.as_str() == wanted;
            Choice::of(entry, &state).filter(|_| is_wanted)
        });
        let list = sources.pop().map_or_else(Vec::new, |(_, list)| list);
        Choices { list }.render()
    })
    .await
}

impl Choice {
    /// None of what agents do not see.
    fn of(entry: &Entry, state: &TrustState) -> Option<Self> {
        let reads = words::strongest(entry) == Verb::Read;
        state.exposed(&entry.id).then(|| Self {
            id: entry.id.to_string(),
            label: ForeignText::short(&entry.capability().label, 80),
            does: words::consequence(entry),
            reads,
            asks_each: asks_each(entry),
            ticked: reads && state.default_grants.contains(&entry.id),
        })
    }
}

/// What the form sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConnectForm {
    id: String,
    kind: String,
    window: String,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    standing: Vec<String>,
    /// Whether it sees nothing but these.
    #[serde(default)]
    only: bool,
    /// Whether an agent of this name ends for it.
    #[serde(default)]
    replace: bool,
}

#[derive(Template)]
#[template(path = "connected.html")]
struct ConnectedPage {
    id: String,
    commands: Vec<String>,
    /// What an MCP client has in its settings.
    settings: Option<String>,
    instruction: Option<ForeignText>,
    until: Option<Moment>,
    granted: Vec<GrantLine>,
    asks: Vec<String>,
    refused: Vec<(String, ForeignText)>,
    nested: bool,
}

/// Connects an agent, and answers with the page that hands it over.
pub(super) async fn connect(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let form: ConnectForm = sent(request).await?;
    let window = window(&form.window)?;
    let name = form.id.trim();
    let state = desk.ledger.snapshot();
    let agent = AgentId::parse(name).ok().and_then(|id| state.agent(&id));
    let known = agent.is_some_and(|agent| agent.status != EnrollmentStatus::Revoked);
    if known && !form.replace {
        return Err(refused(format!(
            "{name} is connected already: to connect it anew revokes its credential, sessions and other grants. Choose another name, or tick that it is replaced."
        ))
        .about("id"));
    }
    if let Err(why) = AgentId::parse(name) {
        return Err(Refused::malformed(format!("Choose another name: this is {why}.")).about("id"));
    }
    let is_mcp = form.kind == "mcp";
    let asked = Connect {
        agent_id: name.to_owned(),
        agent_type: Some(form.kind),
        capabilities: [form.capabilities, form.standing.clone()].concat(),
        standing: form.standing,
        reach: form.only.then_some(Reach::Selected),
        trust_window: Some(window),
        ..Connect::default()
    };
    let acting = narrowing.wider(&desk).await?;
    let connected = agents::connect(desk.clone(), acting, asked).await?;
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let lines = |granted: &[_]| {
        granted
            .iter()
            .map(|grant| GrantLine::of(grant, now))
            .collect()
    };
    let page = match connected {
        Connected::Nested(agent) => ConnectedPage {
            granted: lines(&agent.granted),
            asks: asking(&agent.skipped, &agent.refused),
            refused: refusals(&agent.refused),
            id: agent.agent_id.to_string(),
            commands: Vec::new(),
            settings: None,
            instruction: None,
            until: None,
            nested: true,
        },
        Connected::Enrolling(agent) => {
            let acting = narrowing.wider(&desk).await?;
            let over = integration::hand_over(&desk, &acting, agent.agent_id.clone()).await?;
            ConnectedPage {
                granted: lines(&agent.granted),
                asks: asking(&agent.skipped, &agent.refused),
                refused: refusals(&agent.refused),
                id: agent.agent_id.to_string(),
                commands: over.commands,
                settings: is_mcp.then(|| mcp_settings(&over.launcher)),
                instruction: over.instruction.as_deref().map(ForeignText::text),
                until: over.until.map(|until| Moment::left(until, now)),
                nested: false,
            }
        }
    };
    shell::made(&desk, page.render())
}

/// As most clients write it.
fn mcp_settings(launcher: &str) -> String {
    let launcher = serde_json::Value::from(launcher);
    format!(
        "{{\n  \"mcpServers\": {{\n    \"plexus\": {{ \"command\": {launcher}, \"args\": [\"mcp\"] }}\n  }}\n}}"
    )
}

fn asking(skipped: &[CapabilityId], refused: &[RefusedStanding]) -> Vec<String> {
    let skipped = skipped.iter();
    let skipped = skipped.filter(|id| !refused.iter().any(|refused| refused.id == **id));
    skipped.map(ToString::to_string).collect()
}

fn refusals(refused: &[RefusedStanding]) -> Vec<(String, ForeignText)> {
    let one = |refused: &RefusedStanding| {
        (
            refused.id.to_string(),
            ForeignText::short(&refused.reason, 300),
        )
    };
    refused.iter().map(one).collect()
}

#[derive(Template)]
#[template(path = "arrival.html")]
struct Arrival {
    id: String,
    enrolled: bool,
    first: Option<CallLine>,
}

/// How far a connected agent has come: its code, its first call.
pub(super) async fn arrival(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let state = desk.ledger.snapshot();
    let agent = AgentId::parse(&id)
        .ok()
        .and_then(|id| state.agent(&id).cloned());
    let agent = agent.ok_or_else(gone)?;
    let now = state.time(desk.clock.now());
    let asked = List {
        agent: Some(id.clone()),
        limit: Some(1),
        ..List::default()
    };
    let calls = activity::recent(&desk, asked).await?;
    let made = Arrival {
        id,
        enrolled: agent.redeemed_at.is_some(),
        first: calls
            .calls
            .first()
            .filter(|row| {
                agent
                    .redeemed_at
                    .is_some_and(|since| row.call().at >= since)
            })
            .map(|row| CallLine::of(row, now)),
    };
    shell::made(&desk, made.render())
}

/// What the form of a grant sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantForm {
    capability: String,
    window: String,
    /// Only at or below this path.
    under: Option<String>,
    /// At most so many calls.
    calls: Option<u32>,
}

/// Grants something to an agent that did not ask for it.
pub(super) async fn give(
    State(desk): State<Arc<Desk>>,
    acting: Acting,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let form: GrantForm = sent(request).await?;
    let agent = AgentId::parse(&id).map_err(|_| gone())?;
    let capability = CapabilityId::parse(form.capability.trim())
        .map_err(|e| refused(format!("{:?} is {e}.", form.capability)))?;
    let catalogue = desk.catalogue.load();
    let path = catalogue
        .get(&capability)
        .and_then(|entry| entry.facts.resolved.first().cloned());
    let path_prefix = match (form.under, path) {
        (None, _) => None,
        (Some(under), Some(field)) if under.starts_with(&format!("{field}=")) => {
            let why = format!("Its value alone goes there, without “{field}=”.");
            return Err(refused(why).about("under"));
        }
        (Some(under), Some(_)) if !is_prefix(&under) => {
            let why = "Name a part of the source, such as a path, without “.” and “..” and without a “/” at its beginning.";
            return Err(refused(why.to_owned()).about("under"));
        }
        (Some(under), Some(field)) => Some(PathPrefix {
            field,
            allow: vec![under],
        }),
        (Some(_), None) => {
            let why = format!(
                "{capability} is granted as a whole: leave that empty, or limit its calls."
            );
            return Err(refused(why).about("under"));
        }
    };
    let constraint = Constraint {
        path_prefix,
        allow: None,
        rules: Vec::new(),
        max_calls: form.calls,
    };
    let constraint = Some(constraint).filter(|constraint| !constraint.is_empty());
    let wish = Give::one(
        &agent,
        &capability,
        window(&form.window)?,
        constraint.as_ref(),
    );
    let (declined, also, denials) = match owner_grants::give(desk.clone(), acting, wish).await? {
        Given::Token(given) => (
            given.token.declined,
            given.also_answered,
            given.denials_ended,
        ),
        Given::Nothing(nothing) => (nothing.declined, Vec::new(), 0),
    };
    if let Some(declined) = declined.into_iter().next() {
        return Err(refused(declined.reason));
    }
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let granted = std::slice::from_ref(&capability);
    let notes = words::beside_grant(&state, &agent, granted, (&also, denials), now);
    let done = Granted::noted(format!("Granted to {agent}: {capability}"));
    Ok(reply::ok(&Noted { done, notes }))
}

fn refused(why: String) -> Refused {
    Refused::new(ErrorBody::new(ErrorCode::StandingNotAllowed, why)).status(422)
}

fn window(named: &str) -> Result<TrustWindow, Refused> {
    grants::WINDOWS
        .into_iter()
        .find(|window| window.kind() == named)
        .ok_or_else(|| refused("Choose for how long.".to_owned()))
}
