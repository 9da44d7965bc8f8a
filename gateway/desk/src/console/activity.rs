//! What agents did, as pages: calls in words with filters, and one call with what allowed it, what it touched and what
//! takes it back.
//!
//! Invariant: a page is bounded, and its address says all that it is of.

use super::{card::Moment, foreign::ForeignText, gone, links, plan::PlanView, shell, words::said};
use crate::{
    acting::Narrowing,
    acts::Named,
    desk::Desk,
    owner::{activity, explain, undo},
    table::Reading,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_ipc::text::folded;
use plexus_owner::{
    activity::{
        Activity, ActivityCall, ActivityKind, ActivityRow, CallBasis, List, OnlyActivity, Totals,
    },
    explain::Explain,
    sources::thing_below,
    undo::{Show, UndoPlan, UndoRefusal},
};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Effect, ErrorCode, SourceId, Timestamp, constraint::is_prefix,
    shell::quote,
};
use plexus_sources::Registry;
use plexus_trust::{Source, State as TrustState};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

/// Calls of a page.
const PAGE: u64 = 50;
/// Things of a call that its page names, and the newest calls among whose things names like a typed one are looked for.
const THINGS: usize = 20;
const NEWEST: u64 = 1_000;
/// Bytes of an input that stands in a command.
const TYPED: usize = 200;
/// What is shown of a plan's difference.
const ROOM: super::diff::Room = super::diff::PAGE;

/// A call in one line, with what leads on.
pub(super) struct CallLine {
    pub(super) link: String,
    pub(super) agent: ForeignText,
    pub(super) by: Option<String>,
    pub(super) at: Moment,
    pub(super) words: ForeignText,
    /// What came of it, for the style.
    pub(super) class: &'static str,
    /// Whether its page may take it back, and whether that was done.
    pub(super) undo: bool,
    pub(super) undone: bool,
}

impl CallLine {
    pub(super) fn of(row: &ActivityRow, now: Timestamp) -> Self {
        let call = row.call();
        let agent = call.agent_id.as_deref();
        Self {
            link: link(call),
            agent: ForeignText::short(agent.unwrap_or("you"), 60),
            by: agent.map(|agent| format!("/admin/agents/{agent}")),
            at: Moment::ago(call.at, now),
            words: match call.did {
                // A purpose or a reason, and no name that others chose.
                ActivityKind::Asked | ActivityKind::Denied => {
                    ForeignText::short_words(&said(call), 160)
                }
                _ => ForeignText::short(&said(call), 160),
            },
            class: class(call.did),
            undo: call.did == ActivityKind::Changed && call.undo.is_some() && row.later().is_none(),
            undone: call.undone,
        }
    }
}

/// The page of a call; of a request to the owner: its card.
fn link(call: &ActivityCall) -> String {
    match (call.did, &call.pending_id) {
        (ActivityKind::Asked | ActivityKind::Denied | ActivityKind::Expired, Some(item)) => {
            format!("/admin/approvals/{item}")
        }
        _ => format!("/admin/activity/{}", call.audit_id),
    }
}

const fn class(did: ActivityKind) -> &'static str {
    match did {
        ActivityKind::Read => "read",
        ActivityKind::Changed => "changed",
        ActivityKind::Failed | ActivityKind::Refused | ActivityKind::Denied => "refused",
        ActivityKind::Unknown => "unknown",
        ActivityKind::UnderWay => "running",
        ActivityKind::Asked | ActivityKind::Settled | ActivityKind::Expired => "asked",
    }
}

/// A number, with the list that it is of.
pub(super) struct Count {
    pub(super) number: u64,
    pub(super) word: &'static str,
    pub(super) link: String,
}

#[derive(Template)]
#[template(path = "activity.html")]
struct Page {
    wanted: Filters,
    /// The moment from which on it lists, where it does not begin at the beginning.
    since: Option<Moment>,
    agents: Vec<String>,
    sources: Vec<String>,
    /// Outcomes of a call: as a word, for people, and whether it is asked for.
    outcomes: [(&'static str, &'static str, bool); OnlyActivity::ALL.len()],
    calls: Vec<CallLine>,
    counts: Vec<Count>,
    /// Without such a call: things of the newest whose names hold the typed text, each with its calls.
    similar: Vec<(ForeignText, String)>,
    /// The page of earlier calls.
    next: Option<String>,
    command: ForeignText,
}

/// The filters as they stand.
#[derive(Default)]
struct Filters {
    agent: String,
    source: String,
    only: Option<OnlyActivity>,
    touched: String,
    /// From then on, where a page leads to the calls that it counts.
    since: Option<Timestamp>,
    /// Whether it goes on behind a newer page.
    earlier: bool,
}

impl Filters {
    fn of(request: &Request) -> Self {
        let given = |name: &str| query(request, name).unwrap_or_default();
        Self {
            agent: given("agent"),
            source: given("source"),
            only: OnlyActivity::parse(&given("only")),
            touched: given("touched"),
            since: serde_json::from_value(given("since").into()).ok(),
            earlier: query(request, "before").is_some(),
        }
    }

    fn list(&self, before: Option<u64>) -> List {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        List {
            agent: given(&self.agent),
            source: given(&self.source),
            touched: given(&self.touched),
            only: self.only,
            before,
            since: self.since,
            ..List::default()
        }
    }

    /// The thing that was asked for by its whole path, as the source of that folder names it.
    fn below(&self, sources: &BTreeMap<SourceId, Arc<Source>>) -> Option<(SourceId, String)> {
        let typed = Path::new(&self.touched);
        let is_asked = |id: &SourceId| self.source.is_empty() || id.as_str() == self.source;
        let things = sources
            .iter()
            .filter(|(id, _)| is_asked(id))
            .filter_map(|(id, source)| {
                let route = source.config.route.as_object()?;
                let texts = route.values().filter_map(Value::as_str);
                Some((id.clone(), thing_below(typed, texts)?))
            });
        // Of folders in each other the innermost.
        things.min_by_key(|(_, thing)| thing.len())
    }

    /// The same in a terminal.
    fn command(&self) -> String {
        let mut said = "plexusctl activity".to_owned();
        if !self.agent.is_empty() {
            said.push_str(&format!(" {}", self.agent));
        }
        if !self.source.is_empty() {
            said.push_str(&format!(" --source {}", self.source));
        }
        if !self.touched.is_empty() {
            let quoted = self.touched.replace('\'', r"'\''");
            said.push_str(&format!(" --touched '{quoted}'"));
        }
        if let Some(since) = self.since {
            said.push_str(&format!(" --since {since}"));
        }
        if let Some(only) = self.only {
            said.push_str(&format!(" --only {}", only.as_str()));
        }
        said
    }
}

/// The newest calls of those that are wanted.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let mut wanted = Filters::of(&request);
    let before = query(&request, "before").and_then(|before| before.parse().ok());
    drop(request);
    let asked = |wanted: &Filters| List {
        limit: Some(PAGE),
        ..wanted.list(before)
    };
    let mut found = list_calls(&desk, asked(&wanted)).await?;
    let state = desk.ledger.snapshot();
    if found.calls.is_empty()
        && let Some((source, thing)) = wanted.below(&state.sources)
    {
        (wanted.source, wanted.touched) = (source.to_string(), thing);
        found = list_calls(&desk, asked(&wanted)).await?;
    }
    let similar = match found.calls.is_empty() && !wanted.touched.is_empty() {
        true => similar(&desk, &wanted).await?,
        false => Vec::new(),
    };
    let now = state.time(desk.clock.now());
    shell::rendered(&desk, move || {
        let calls = found.calls.iter();
        Page {
            since: wanted.since.map(|since| Moment::ago(since, now)),
            agents: state.agents.keys().map(ToString::to_string).collect(),
            sources: state.sources.keys().map(ToString::to_string).collect(),
            outcomes: outcomes(wanted.only),
            calls: calls.map(|row| CallLine::of(row, now)).collect(),
            similar,
            counts: counts(&wanted, before, found.totals),
            next: found
                .next
                .map(|next| links::activity(&wanted.list(Some(next)))),
            command: ForeignText::line(&wanted.command()),
            wanted,
        }
        .render()
    })
    .await
}

/// A page of earlier calls is not made again and again: it reads as far as it may, since a rare call lies far back.
async fn list_calls(desk: &Desk, wanted: List) -> Result<Activity, Refused> {
    match wanted.before {
        Some(_) => activity::far(desk, wanted).await,
        None => activity::recent(desk, wanted).await,
    }
}

async fn similar(desk: &Desk, wanted: &Filters) -> Result<Vec<(ForeignText, String)>, Refused> {
    let newest = List {
        limit: Some(NEWEST),
        touched: None,
        only: None,
        ..wanted.list(None)
    };
    let newest = activity::far(desk, newest).await?.calls;
    let typed = folded(&wanted.touched);
    let things = newest.iter().flat_map(|row| &row.call().touched).flatten();
    let names: BTreeSet<&str> = things
        .map(|thing| &*thing.id)
        .filter(|id| folded(id).contains(&typed))
        .collect();
    let one = |name: &str| {
        let calls = List {
            touched: Some(name.to_owned()),
            ..wanted.list(None)
        };
        (ForeignText::short(name, 200), links::activity(&calls))
    };
    Ok(names.into_iter().take(THINGS).map(one).collect())
}

fn outcomes(
    asked: Option<OnlyActivity>,
) -> [(&'static str, &'static str, bool); OnlyActivity::ALL.len()] {
    OnlyActivity::ALL.map(|only| {
        let words = match only {
            OnlyActivity::Changed => "changed something, or may have",
            OnlyActivity::Refused => "refused, or denied by you",
            OnlyActivity::Denied => "denied by you",
            OnlyActivity::Unknown => "nobody knows",
            OnlyActivity::Settled => "you said what became of it",
            other => other.as_str(),
        };
        (only.as_str(), words, asked == Some(only))
    })
}

/// How many calls of each kind, each with the page that begins with them.
fn counts(wanted: &Filters, before: Option<u64>, totals: Totals) -> Vec<Count> {
    let only = |only| {
        links::activity(&List {
            only: Some(only),
            ..wanted.list(before)
        })
    };
    let all = totals.each().into_iter();
    all.filter(|(_, number)| *number > 0)
        .map(|(kind, number)| {
            let (word, link) = match kind {
                ActivityKind::Read => ("read", only(OnlyActivity::Read)),
                ActivityKind::Changed => ("changed", only(OnlyActivity::Changed)),
                ActivityKind::Failed => ("failed", only(OnlyActivity::Failed)),
                ActivityKind::Refused => ("refused", only(OnlyActivity::Refused)),
                ActivityKind::Unknown => ("not known", only(OnlyActivity::Unknown)),
                ActivityKind::UnderWay => ("under way", "/admin/runs".to_owned()),
                ActivityKind::Asked => ("asked", only(OnlyActivity::Asked)),
                ActivityKind::Denied => ("denied", only(OnlyActivity::Denied)),
                ActivityKind::Settled => ("settled", only(OnlyActivity::Settled)),
                ActivityKind::Expired => ("came to nothing", only(OnlyActivity::Expired)),
            };
            Count { number, word, link }
        })
        .collect()
}

#[derive(Template)]
#[template(path = "call.html")]
struct CallPage {
    id: String,
    line: CallLine,
    capability: Option<ForeignText>,
    purpose: Option<ForeignText>,
    /// The card that it is of.
    item: Option<String>,
    by_grant: bool,
    things: Vec<(ForeignText, String, &'static str)>,
    /// It touched them; else they are what it was about.
    touched: bool,
    more: usize,
    size: Option<u64>,
    /// It is under way: what stops it, and where it is looked at.
    running: bool,
    /// Nobody knows what became of it, and the owner has not said.
    unsettled: bool,
    again: Option<CalledAgain>,
    difference: Option<Difference>,
    /// The change that is taken back before it.
    later: Option<String>,
    /// All that its agent changed.
    review: Option<String>,
}

/// The place that shows line by line what a call changed.
#[derive(Clone, Copy, PartialEq)]
enum Difference {
    /// On the page that takes it back.
    Undo,
    /// It worked on a copy: in its change set.
    ChangeSet,
    /// Nowhere any more: it was taken back.
    Undone,
    /// Nowhere: its source keeps nothing of what was there before.
    NotKept,
}

impl Difference {
    /// None of a call that changed nothing, or of which nobody knows, unless it worked on a copy.
    fn of(call: &ActivityCall, state: &TrustState, registry: &Registry) -> Option<Self> {
        let capability = call.capability_id.as_deref();
        let capability = capability.and_then(|id| CapabilityId::parse(id).ok());
        let on_copy = capability.and_then(|id| {
            let (_, facts) = state.capability(&id)?;
            Some(facts.staged || undo::is_turn(state, registry, &id))
        });
        match call.did {
            ActivityKind::Changed => {}
            // Its changes until then may be kept.
            ActivityKind::Failed | ActivityKind::Unknown if on_copy == Some(true) => {
                return Some(Self::ChangeSet);
            }
            _ => return None,
        }
        match (call.undo.is_some(), call.undone, on_copy) {
            (true, ..) => Some(Self::Undo),
            (false, true, _) => Some(Self::Undone),
            (false, false, Some(true)) => Some(Self::ChangeSet),
            (false, false, Some(false)) => Some(Self::NotKept),
            // The source is gone.
            (false, false, None) => None,
        }
    }
}

/// The answer to such a call now. Of its input the log keeps the things that it was about.
struct CalledAgain {
    /// Whether that is all of it.
    has_input: bool,
    decision: &'static str,
    why: ForeignText,
    /// The request whose denial refuses it.
    denied: Option<String>,
    /// The page that helps; else the command.
    page: Option<(&'static str, String)>,
    next: ForeignText,
    command: ForeignText,
}

impl CalledAgain {
    /// None of a call of the owner's, nor of one that named nothing that there could be.
    async fn of(
        desk: &Arc<Desk>,
        narrowing: Narrowing,
        call: &ActivityCall,
    ) -> Result<Option<Self>, Refused> {
        let Some((agent, capability)) = call.agent_id.clone().zip(call.capability_id.clone())
        else {
            return Ok(None);
        };
        let (Ok(_), Ok(id)) = (AgentId::parse(&agent), CapabilityId::parse(&capability)) else {
            return Ok(None);
        };
        let (under, input) = about(desk, &id, call);
        let typed = input
            .clone()
            .map(|input| quote(&Value::from(input).to_string()));
        let typed = typed.unwrap_or_else(|| "JSON".to_owned());
        let command = format!("plexusctl explain {agent} {capability} --input {typed}");
        let has_input = input.is_some();
        let asked = Explain {
            agent_id: agent,
            capability_id: capability,
            input,
        };
        let explained = explain::explain(desk.clone(), narrowing, asked).await?;
        // A grant for it goes no further than it did.
        let next = match (&*explained.rule, under) {
            ("no-grant" | "reach.selected", Some(under)) => {
                format!("{} --under {}", explained.next, quote(&under))
            }
            _ => explained.next.clone(),
        };
        Ok(Some(Self {
            has_input,
            decision: explained.in_words(),
            why: ForeignText::short(&explained.why, 400),
            denied: next
                .strip_prefix("plexusctl approvals undeny ")
                .map(str::to_owned),
            page: links::page_for(&next),
            next: ForeignText::short(&next, 200 + TYPED),
            command: ForeignText::short(&command, 300 + TYPED),
        }))
    }
}

/// The things that a refused call was about: the part of its source that a grant can be limited to, as `FIELD=PREFIX`, and its
/// input, where what the log has of it is all.
fn about(
    desk: &Desk,
    id: &CapabilityId,
    call: &ActivityCall,
) -> (Option<String>, Option<Map<String, Value>>) {
    let catalogue = desk.catalogue.load();
    let refused = call.did == ActivityKind::Refused;
    let Some(entry) = catalogue.get(id).filter(|_| refused) else {
        return (None, None);
    };
    let things = call.touched.as_deref().unwrap_or_default();
    let of = |kind: &str| {
        let mut of_it = things.iter().filter(|thing| thing.kind == kind);
        // Of several it is not known which field named which.
        of_it.next().filter(|_| of_it.next().is_none())
    };
    let named = entry.capability().constrainable.iter().filter_map(|rule| {
        let thing = of(rule.touched.as_deref()?)?;
        Some((rule.field.clone(), Value::from(thing.id.clone())))
    });
    let input = Value::Object(named.collect());
    let prefix = entry.facts.resolved.first().and_then(|field| {
        let prefix = input.get(field)?.as_str()?;
        let fits = is_prefix(prefix) && prefix.len() <= TYPED;
        fits.then(|| format!("{field}={prefix}"))
    });
    let is_whole = entry.check(&input).is_ok() && input.to_string().len() <= TYPED;
    match input {
        Value::Object(input) if is_whole && !input.is_empty() => (prefix, Some(input)),
        _ => (prefix, None),
    }
}

/// One call.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    narrowing: Narrowing,
) -> Result<Response, Refused> {
    let found = activity::one(&desk, &id).await?.ok_or_else(gone)?;
    let again = CalledAgain::of(&desk, narrowing, found.call()).await?;
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let difference = Difference::of(found.call(), &state, &desk.registry);
    shell::rendered(&desk, move || {
        CallPage::of(&found, again, difference, now).render()
    })
    .await
}

impl CallPage {
    fn of(
        row: &ActivityRow,
        again: Option<CalledAgain>,
        difference: Option<Difference>,
        now: Timestamp,
    ) -> Self {
        let call = row.call();
        let touched = call.touched.as_deref().unwrap_or_default();
        let count = call.touched_count.unwrap_or(touched.len());
        let things = touched.iter().filter(|thing| !thing.id.is_empty());
        let things: Vec<_> = things
            .take(THINGS)
            .map(|thing| {
                let access = super::words::access(thing.access);
                (
                    ForeignText::short(&thing.id, 200),
                    links::touched(&thing.id),
                    access,
                )
            })
            .collect();
        let item = match &call.basis {
            Some(CallBasis::Item(item) | CallBasis::Bounded(item)) => Some(item.clone()),
            _ => call.pending_id.clone(),
        };
        Self {
            id: call.audit_id.clone(),
            line: CallLine::of(row, now),
            touched: has_touched(call),
            capability: call
                .capability_id
                .as_deref()
                .map(|id| ForeignText::short(id, 120)),
            purpose: call
                .agent_purpose
                .as_deref()
                .map(|said| ForeignText::short_words(said, 1_000)),
            item,
            by_grant: matches!(call.basis, Some(CallBasis::Grant(_))),
            more: count.saturating_sub(things.len()),
            things,
            size: call.output_bytes,
            running: call.did == ActivityKind::UnderWay,
            unsettled: call.unsettled == Some(true),
            again,
            review: call
                .agent_id
                .as_deref()
                .map(|agent| format!("/admin/agents/{agent}/review")),
            difference,
            later: row.later().map(str::to_owned),
        }
    }
}

/// Whether a call touched the things that it names.
fn has_touched(call: &ActivityCall) -> bool {
    match call.did {
        ActivityKind::Failed => matches!(call.effect, Some(Effect::Partial | Effect::Done)),
        did => matches!(did, ActivityKind::Read | ActivityKind::Changed),
    }
}

#[derive(Template)]
#[template(path = "undo.html")]
struct UndoPage {
    id: String,
    did: ForeignText,
    agent: Option<ForeignText>,
    at: Moment,
    plan: PlanView,
    diff: Option<super::card::Diff>,
    /// Facts, warnings and lines that there is no room for.
    unshown: usize,
}

/// What taking a call back would do.
pub(super) async fn take_back(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let planned = match undo::show(desk.clone(), Reading, Show { id: id.clone() }).await {
        Ok(planned) => planned,
        Err(refused) if refused.code() == ErrorCode::NotFound => return Err(refused),
        Err(refused) => return shell::made(&desk, StaysPage::of(id, refused).render()),
    };
    let now = desk.ledger.snapshot().time(desk.clock.now());
    shell::rendered(&desk, move || UndoPage::of(id, &planned, now).render()).await
}

/// A change that cannot be taken back, or not as things are.
#[derive(Template)]
#[template(path = "stays.html")]
struct StaysPage {
    id: String,
    why: ForeignText,
    /// The change to take back first.
    later: Option<AuditId>,
    /// The page that helps; else what does. Shown where no change comes first.
    page: Option<(&'static str, String)>,
    next: ForeignText,
}

impl StaysPage {
    fn of(id: String, refused: Refused) -> Self {
        let error = refused.into_error();
        Self {
            id,
            why: ForeignText::short(&error.message, 400),
            later: UndoRefusal::of(&error).later,
            page: links::page_for(&error.next),
            next: ForeignText::short(&error.next, 200),
        }
    }
}

impl UndoPage {
    fn of(id: String, planned: &UndoPlan, now: Timestamp) -> Self {
        let preview = &planned.plan.preview;
        let plan = PlanView::of(&planned.plan);
        let diff = preview.diff.as_ref().map(|text| super::card::Diff {
            page: super::diff::page(preview.form, text, 0, ROOM),
            more: String::new(),
            cut: preview.cut,
        });
        let lines = diff.as_ref().map_or(0, |diff| match diff.page.next {
            Some(next) => diff.page.of.saturating_sub(next),
            None => 0,
        });
        let did = planned
            .did
            .as_deref()
            .unwrap_or(planned.capability_id.as_str());
        Self {
            id,
            did: ForeignText::short(did, 300),
            agent: planned
                .agent_id
                .as_deref()
                .map(|agent| ForeignText::short(agent, 60)),
            at: Moment::ago(planned.at, now),
            unshown: lines + plan.unshown,
            plan,
            diff,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::undo::tests::{registry, state};

    #[test]
    fn turn_of_a_conversation_has_its_change_set() {
        let of = |name: &str, did, code: Option<&str>| {
            let call = ActivityCall {
                capability_id: Some(format!("desk.{name}")),
                did,
                code: code.map(str::to_owned),
                ..ActivityCall::default()
            };
            Difference::of(&call, &state(), &registry())
        };
        for name in ["run", "chat"] {
            let failed = |code| of(name, ActivityKind::Failed, Some(code));
            let changed = of(name, ActivityKind::Changed, None);
            for found in [changed, failed("cancelled"), failed("transport_error")] {
                assert!(found == Some(Difference::ChangeSet), "{name}");
            }
        }
        assert!(of("write", ActivityKind::Changed, None) == Some(Difference::NotKept));
        assert!(of("write", ActivityKind::Failed, Some("transport_error")).is_none());
    }

    #[test]
    fn call_that_did_nothing_touched_nothing() {
        let of = |did, effect| {
            has_touched(&ActivityCall {
                did,
                effect,
                ..ActivityCall::default()
            })
        };
        assert!(of(ActivityKind::Read, None) && of(ActivityKind::Changed, None));
        assert!(of(ActivityKind::Failed, Some(Effect::Partial)));
        for effect in [None, Some(Effect::None)] {
            assert!(!of(ActivityKind::Failed, effect));
        }
        assert!(!of(ActivityKind::Refused, None) && !of(ActivityKind::Unknown, None));
    }

    /// Under the same filters, and from where the page began that counts.
    #[test]
    fn each_number_leads_to_the_calls_that_it_counts() {
        let mut totals = Totals::default();
        for (kind, _) in totals.each() {
            *totals.of(kind) = 7;
        }
        let wanted = Filters {
            agent: "one".to_owned(),
            ..Filters::default()
        };
        let counts = counts(&wanted, Some(9), totals);
        assert_eq!(counts.len(), totals.each().len());
        for (count, (kind, _)) in counts.iter().zip(totals.each()) {
            let only = count.link.split_once("only=").map(|(_, rest)| {
                let word = rest.split('&').next().unwrap_or_default();
                OnlyActivity::parse(word).unwrap()
            });
            match only {
                Some(only) => {
                    assert!(only.has(kind), "{kind:?}: {}", count.link);
                    let denied = kind == ActivityKind::Denied;
                    assert_eq!(only == OnlyActivity::Denied, denied, "{kind:?}");
                    for part in ["agent=one", "before=9"] {
                        assert!(count.link.contains(part), "{}", count.link);
                    }
                }
                None => assert_eq!(
                    (kind, &*count.link),
                    (ActivityKind::UnderWay, "/admin/runs")
                ),
            }
        }
        let links: Vec<_> = counts
            .iter()
            .map(|count| format!(">{} {}</a>", count.number, count.word))
            .collect();
        let page = Page {
            wanted,
            since: None,
            agents: Vec::new(),
            sources: Vec::new(),
            outcomes: outcomes(None),
            calls: Vec::new(),
            counts,
            similar: Vec::new(),
            next: None,
            command: ForeignText::line(""),
        };
        let page = page.render().unwrap();
        for link in links {
            assert!(page.contains(&link), "{link}: {page}");
        }
    }
}
