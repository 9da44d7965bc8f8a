//! What agents did, call by call, out of the audit log: for `plexusctl activity` and the console's pages.
//!
//! A page is made of a bounded number of events, newest first, however long the log is; a reader that wants more goes on at
//! `next`. Its totals are those of the events that the page was made of, so that pages add up.
//!
//! Invariant: an effect is one call, told by its outcome (by its intent, while it is under way), and `auditId` is its
//! intent's: the id by which it is looked up, settled and taken back.
//!
//! Must not know: how a call is told in words (`plexus_owner::activity::words`).

mod past;
mod tally;
mod undone;

pub use past::Past;
pub(crate) use past::{KEPT as PAST_KEPT, PastEvent, PastKind, happened};
pub use tally::CallTally;
pub(crate) use tally::{Approvals, Tally, tally, tally_with_calls};
use undone::UndoCapabilities;

use super::{
    audit::unreadable,
    undo::{self, outcome_of},
};
use crate::{
    acts::blocking,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_ipc::message::TouchedId;
use plexus_ledger::{EventId, IndexTerm, Recorded, StoreError};
use plexus_owner::{
    activity::{
        Activity, ActivityCall, ActivityKind, ActivityRow, CallBasis, List, OnlyActivity, Totals,
    },
    plan::Touched,
};
use plexus_protocol::{AuditId, CapabilityId, Effect, ErrorCode, SessionId, Timestamp};
use plexus_record::Ledger;
use plexus_trust::{Item, OutcomeKind, State as TrustState};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};
use unicode_normalization::UnicodeNormalization as _;

/// Calls of a page that names no limit, and the most it may name.
const USUAL: usize = 200;
const MOST: usize = 1_000;
/// Events that one page reads, whatever it finds: some 10 MB of JSON, so that no page holds anybody up.
const EVENTS: usize = 20_000;
/// The newest events in which the undos of a page's changes are looked for.
const UNDOS: usize = 2_000;
/// Events of a page that is looked at while calls are made.
const RECENT: usize = 1_000;
/// Things touched by one call that are shown one by one; the rest is counted, and stands in its event.
const TOUCHED: usize = 20;

pub(super) fn serve(served: Served) -> Served {
    served.with(list)
}

async fn list(desk: Arc<Desk>, _: Reading, wanted: List) -> Result<Activity, Refused> {
    if let (Some(since), Some(until)) = (wanted.since, wanted.until)
        && since > until
    {
        let why = format!("`since` ({since}) is later than `until` ({until})");
        return Err(Refused::malformed(why));
    }
    far(&desk, wanted).await
}

/// A page of fewer events, for the console: a browser asks for it again whenever something happens.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn recent(desk: &Desk, wanted: List) -> Result<Activity, Refused> {
    within(desk, wanted, RECENT).await
}

/// The same of as many events as the owner's client gets, for a page on which nothing is found.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn far(desk: &Desk, wanted: List) -> Result<Activity, Refused> {
    within(desk, wanted, EVENTS).await
}

async fn within(desk: &Desk, wanted: List, most: usize) -> Result<Activity, Refused> {
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let undos = undone::capabilities(&desk.edge.kernel.registry, &state);
    let page = blocking(move || in_any_form(&ledger, &state, &undos, wanted, most)).await?;
    page.map_err(|e| unreadable(&e))
}

/// A page; of a thing that is not recorded as it is typed, the page of that name in Unicode's other normal form. A source
/// names a file as the disk does, and a Mac decomposes letters.
fn in_any_form(
    ledger: &Ledger,
    state: &TrustState,
    undos: &UndoCapabilities,
    mut wanted: List,
    most: usize,
) -> Result<Activity, StoreError> {
    let typed = wanted.touched.clone().unwrap_or_default();
    let mut found = page(ledger, state, undos, &wanted, most)?;
    for form in [typed.nfc().collect::<String>(), typed.nfd().collect()] {
        if form != typed && found.next.is_none() && found.totals.all() == 0 {
            wanted.touched = Some(form);
            found = page(ledger, state, undos, &wanted, most)?;
        }
    }
    Ok(found)
}

/// By what the index finds the calls. Who touched a thing is the shorter list.
fn term(wanted: &List) -> Option<IndexTerm> {
    // As it was recorded: characters that a terminal would obey stand as U+FFFD.
    let recorded = |id: &String| IndexTerm::Touched(TouchedId::new(id).as_str().to_owned());
    let touched = wanted.touched.as_ref().map(recorded);
    touched.or_else(|| wanted.agent.clone().map(IndexTerm::Agent))
}

/// `did` is what the row says, `counted` what its total says.
fn is_wanted(wanted: &List, entry: &Entry<'_>, did: ActivityKind, counted: ActivityKind) -> bool {
    let agent = wanted.agent.as_deref();
    let of_agent = agent.is_none_or(|agent| entry.agent_id.as_deref() == Some(agent));
    let of_source = wanted.source.as_deref().is_none_or(|source| {
        let id = entry.capability_id.as_deref();
        let rest = id.and_then(|id| id.strip_prefix(source));
        rest.is_some_and(|rest| rest.starts_with('.'))
    });
    let of_kind = wanted.only.is_none_or(|only| match only {
        OnlyActivity::Changed => only.has(did),
        _ => only.has(counted),
    });
    of_agent && of_source && of_kind
}

/// As much of a stored event as is told of a call. What the machine changed by it is skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'e> {
    #[serde(borrow, default)]
    agent_id: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    capability_id: Option<Cow<'e, str>>,
    #[serde(default)]
    session_id: Option<SessionId>,
    #[serde(borrow)]
    detail: Detail<'e>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'e> {
    #[serde(borrow, default)]
    event: Cow<'e, str>,
    /// What tells a call.
    #[serde(borrow, default)]
    phase: Cow<'e, str>,
    #[serde(default)]
    intent: Option<AuditId>,
    #[serde(default)]
    result: Option<OutcomeKind>,
    #[serde(default)]
    happened: Option<bool>,
    #[serde(default)]
    in_part: bool,
    #[serde(default)]
    effect: Option<Effect>,
    /// A note's own members.
    #[serde(borrow, default)]
    about: Option<&'e RawValue>,
    #[serde(borrow, default)]
    basis: Option<&'e RawValue>,
    #[serde(borrow, default)]
    touched: Option<&'e RawValue>,
    #[serde(borrow, default)]
    input: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    code: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    reason: Option<Cow<'e, str>>,
    /// Why an item is void.
    #[serde(borrow, default)]
    why: Option<Cow<'e, str>>,
    /// Whether an item that lapsed had been approved.
    #[serde(default)]
    approved: bool,
    #[serde(borrow, default)]
    summary: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    undo: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    item: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    agent_purpose: Option<Cow<'e, str>>,
    #[serde(default)]
    output_bytes: Option<u64>,
}

impl Entry<'_> {
    /// What allowed the call.
    pub(super) fn basis(&self) -> Option<CallBasis> {
        self.detail.basis.and_then(parsed)
    }
    /// What it changed, or was about to.
    pub(super) fn touched(&self) -> Option<Vec<Touched>> {
        self.detail.touched.and_then(parsed)
    }
}

impl Detail<'_> {
    /// What happened: the phase of a call, else the event.
    fn what(&self) -> &str {
        if self.phase.is_empty() {
            &self.event
        } else {
            &self.phase
        }
    }
    /// Why it failed, was refused, or is void, as the log has it; of a lapse the log has no words.
    fn why(&self) -> Option<String> {
        let lapsed = match self.approved {
            true => "its approval was not used in time",
            false => "the request expired undecided",
        };
        let logged = self.reason.as_deref().or(self.why.as_deref());
        let why = logged.or((self.what() == "item.lapse").then_some(lapsed));
        why.map(str::to_owned)
    }
    /// How a call went; the log leaves out that it went well.
    fn went(&self) -> OutcomeKind {
        self.result.unwrap_or(OutcomeKind::Ok)
    }
}

/// What is kept of a refused call (`note_denial` in `invoke`).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Denial {
    code: String,
    asked: Option<String>,
    /// Refusals before this one that were too many to be recorded one by one.
    unrecorded: u64,
    /// What it was about.
    touched: Vec<Touched>,
    /// What had allowed it.
    basis: Option<CallBasis>,
    detail: Value,
}

fn page(
    ledger: &Ledger,
    state: &TrustState,
    undos: &UndoCapabilities,
    wanted: &List,
    most: usize,
) -> Result<Activity, StoreError> {
    let first = wanted.since.map_or(Ok(1), |at| ledger.first_at(at.0))?;
    let last = match (wanted.before, wanted.until) {
        (Some(before), _) => before,
        (None, Some(until)) => ledger.first_at(until.0)?,
        (None, None) => ledger.head()?.seq + 1,
    };
    let limit = wanted.limit.map(usize::try_from);
    let limit = limit.map_or(USUAL, |limit| limit.unwrap_or(MOST).min(MOST));
    let mut calls = Vec::new();
    let mut totals = Totals::default();
    let (mut ended, mut settled) = (HashSet::new(), HashMap::new());
    let term = term(wanted);
    let mut newer = match wanted.before {
        Some(before) => newer_request(ledger, state, wanted, before)?,
        None => None,
    };
    let next = ledger.walk_back(term.as_ref(), first..last, most, |event| {
        let Some(entry) = told_entry(event) else {
            return true;
        };
        if let Some(intent) = &entry.detail.intent {
            ended.insert(intent.clone());
            // Met before the outcome that it settles, which is older.
            settled.extend(
                entry
                    .detail
                    .happened
                    .map(|happened| (intent.clone(), happened)),
            );
        }
        let Some(did) = came_to(event, &entry, state, &ended) else {
            return true;
        };
        // Of a thing each access is told, also one that became a question.
        if became_question(&entry, did) && wanted.touched.is_none() {
            return true;
        }
        // The row says that nobody knew; the total says what the owner has found out since.
        let found = entry.detail.intent.as_ref().and_then(|of| settled.get(of));
        let counted = match (did, found) {
            (ActivityKind::Unknown, Some(true)) => ActivityKind::Changed,
            (ActivityKind::Unknown, Some(false)) => ActivityKind::Failed,
            _ => did,
        };
        if !is_wanted(wanted, &entry, did, counted) {
            return true;
        }
        let denial = denial(&entry);
        let request = request(&entry, did);
        if request.is_none() || request != newer {
            *totals.of(counted) += 1 + denial.as_ref().map_or(0, |d| d.unrecorded);
        }
        newer = request;
        if limit > 0 {
            calls.push(told(ledger, state, event, &entry, did, denial));
        }
        limit == 0 || calls.len() < limit
    })?;
    let rows = calls.iter_mut().collect();
    undone::left_out(ledger, undos, rows, most.min(UNDOS))?;
    Ok(Activity {
        calls,
        totals,
        next,
    })
}

/// The request that an event is of. One that names several capabilities is as many events, one behind the other.
fn request(entry: &Entry<'_>, did: ActivityKind) -> Option<(ActivityKind, String)> {
    let item = entry.detail.item.as_deref();
    let item = item.filter(|_| did.is_of_request())?;
    Some((did, item.to_owned()))
}

/// The request of the event at which the page before this one ended, where that page counted it.
fn newer_request(
    ledger: &Ledger,
    state: &TrustState,
    wanted: &List,
    before: u64,
) -> Result<Option<(ActivityKind, String)>, StoreError> {
    let mut found = None;
    ledger.walk_back(None, before..before.saturating_add(1), 1, |event| {
        found = told_entry(event).and_then(|entry| {
            let did = came_to(event, &entry, state, &HashSet::new())?;
            let is_wanted = is_wanted(wanted, &entry, did, did);
            is_wanted.then(|| request(&entry, did)).flatten()
        });
        false
    })?;
    Ok(found)
}

/// One call, by the id of its event or, where it is an effect, of its intent; none where no such call is told.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn one(desk: &Desk, id: &str) -> Result<Option<ActivityRow>, Refused> {
    let Ok(id) = id.parse::<EventId>() else {
        return Ok(None);
    };
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let undos = undone::capabilities(&desk.edge.kernel.registry, &state);
    let found = blocking(move || found(&ledger, &state, &undos, &id)).await?;
    found.map_err(|e| unreadable(&e))
}

/// Those of these calls that were taken back as a whole, as the newest [`UNDOS`] events tell.
pub(super) async fn taken_back(desk: &Desk, ids: Vec<String>) -> BTreeSet<String> {
    if ids.is_empty() {
        return BTreeSet::new();
    }
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let undos = undone::capabilities(&desk.edge.kernel.registry, &state);
    let look = move || {
        let found = ids.iter().filter_map(|id| id.parse::<EventId>().ok());
        let found = found.filter_map(|id| row(&ledger, &state, &id).ok().flatten());
        let mut rows: Vec<ActivityRow> = found.collect();
        undone::left_out(&ledger, &undos, rows.iter_mut().collect(), UNDOS).ok()?;
        let back = rows
            .iter()
            .map(ActivityRow::call)
            .filter(|call| call.undone);
        Some(back.map(|call| call.audit_id.clone()).collect())
    };
    let told = blocking(look).await;
    told.ok().flatten().unwrap_or_default()
}

/// The newest later change of what a past one changed, where it was not undone: the one to undo first. None where no call
/// that is recorded made one, or the log cannot be read.
pub(super) async fn later_change(desk: &Desk, past: &undo::Past) -> Option<String> {
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let undos = undone::capabilities(&desk.edge.kernel.registry, &state);
    let (source, intent) = (past.source.to_string(), past.intent.to_string());
    let touched = past.touched.clone();
    let look = move || {
        let undo = undos.get(&source).filter(|undo| undo.is_whole)?;
        touched.into_iter().find_map(|thing| {
            let of_it = List {
                source: Some(source.clone()),
                touched: Some(thing),
                only: Some(OnlyActivity::Changed),
                ..List::default()
            };
            let page = page(&ledger, &state, &undos, &of_it, EVENTS).ok()?;
            first_to_undo(&page.calls, &intent, &undo.id).map(str::to_owned)
        })
    };
    blocking(look).await.ok()?
}

/// Of the changes of a thing, the newest first, the one that is undone before `past` can be. An undo is none.
fn first_to_undo<'r>(rows: &'r [ActivityRow], past: &str, undo: &CapabilityId) -> Option<&'r str> {
    // One that failed halfway is none of the rows: older ones would seem later.
    let at = rows.iter().position(|row| row.call().audit_id == past)?;
    let mut later = rows[..at].iter().map(ActivityRow::call);
    let first = later.find(|call| {
        let is_undo = call.capability_id.as_deref() == Some(undo.as_str());
        call.undo.is_some() && !is_undo
    });
    first.map(|call| &*call.audit_id)
}

/// The newest calls of a request's agent since it asked; of so many events as a page of the console is made of. Blocks on the
/// disk.
pub(crate) fn since_asked(desk: &Desk, item: &Item) -> Vec<ActivityCall> {
    let (ledger, state) = (&desk.ledger, desk.ledger.snapshot());
    let undos = undone::capabilities(&desk.edge.kernel.registry, &state);
    let since = List {
        agent: Some(item.agent.to_string()),
        since: Some(item.created_at),
        ..List::default()
    };
    let page = page(ledger, &state, &undos, &since, RECENT);
    let calls = page.map(|page| page.calls).unwrap_or_default();
    calls.iter().map(|row| row.call().clone()).collect()
}

/// Whether a request's approval allowed the call.
pub(crate) fn stood_on(call: &ActivityCall, item: &Item) -> bool {
    matches!(&call.basis, Some(CallBasis::Item(id)) if id == item.id.as_str())
}

/// The call that an undo names, as the log has it. Blocks on the disk.
pub(crate) fn named(desk: &Desk, id: &str) -> Option<ActivityCall> {
    let (ledger, state) = (&desk.ledger, desk.ledger.snapshot());
    let row = row(ledger, &state, &id.parse().ok()?).ok()??;
    Some(row.call().clone())
}

fn found(
    ledger: &Ledger,
    state: &TrustState,
    undos: &UndoCapabilities,
    id: &EventId,
) -> Result<Option<ActivityRow>, StoreError> {
    let Some(mut row) = row(ledger, state, id)? else {
        return Ok(None);
    };
    undone::left_out(ledger, undos, vec![&mut row], RECENT)?;
    Ok(Some(row))
}

fn row(
    ledger: &Ledger,
    state: &TrustState,
    id: &EventId,
) -> Result<Option<ActivityRow>, StoreError> {
    let Some(mut event) = ledger.event(id)? else {
        return Ok(None);
    };
    let is_intent = entry(&event).is_some_and(|entry| entry.detail.what() == "intent");
    if is_intent && let Some(outcome) = outcome_of(ledger, event.seq(), &id.to_string())? {
        event = outcome;
    }
    let Some(entry) = told_entry(&event) else {
        return Ok(None);
    };
    let Some(did) = came_to(&event, &entry, state, &HashSet::new()) else {
        return Ok(None);
    };
    let denial = denial(&entry);
    Ok(Some(told(ledger, state, &event, &entry, did, denial)))
}

/// What an event says of a call; none where it tells none.
pub(super) fn entry(event: &Recorded) -> Option<Entry<'_>> {
    let is_call = matches!(event.event_type(), "invoke" | "grant.pending");
    is_call.then(|| read(event)).flatten()
}

/// The same, and how requests ended without a call: they are lines of the activity.
fn told_entry(event: &Recorded) -> Option<Entry<'_>> {
    match event.event_type() {
        "grant.deny" => read(event),
        _ => entry(event),
    }
}

fn read(event: &Recorded) -> Option<Entry<'_>> {
    match serde_json::from_str(event.json()) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(name: "audit.unreadable", %error, auditId = %event.id(), "a call's event cannot be read");
            None
        }
    }
}

/// The part of a call that the event is, among others; `None` where another tells it, as the question that it became.
fn did(
    event: &Recorded,
    entry: &Entry<'_>,
    state: &TrustState,
    ended: &HashSet<AuditId>,
) -> Option<ActivityKind> {
    came_to(event, entry, state, ended).filter(|did| !became_question(entry, *did))
}

/// Whether it was refused as outside of a narrowed grant, and its agent went on to ask.
fn became_question(entry: &Entry<'_>, did: ActivityKind) -> bool {
    let code = ErrorCode::ApprovalRequired.as_str();
    let detail = &entry.detail;
    let is_so = detail.code.as_deref() == Some(code) && detail.reason.as_deref() == Some("outside");
    did == ActivityKind::Refused && is_so
}

/// The part of a call that the event is, by itself; `None` where it is none.
fn came_to(
    event: &Recorded,
    entry: &Entry<'_>,
    state: &TrustState,
    ended: &HashSet<AuditId>,
) -> Option<ActivityKind> {
    Some(match (entry.detail.what(), entry.detail.went()) {
        ("read", OutcomeKind::Ok) => ActivityKind::Read,
        ("outcome", OutcomeKind::Ok) => ActivityKind::Changed,
        // Cut off by the end of the gateway or of its worker: nobody refused it.
        ("outcome", OutcomeKind::Refused)
            if matches!(
                entry.detail.code.as_deref(),
                None | Some("source_unavailable")
            ) =>
        {
            ActivityKind::Failed
        }
        ("read" | "outcome", OutcomeKind::Refused) => ActivityKind::Refused,
        ("read" | "outcome", OutcomeKind::Unknown) => ActivityKind::Unknown,
        ("read" | "outcome", OutcomeKind::Failed) => ActivityKind::Failed,
        ("intent", _) => {
            let id = plexus_record::audit_id(event.id());
            if ended.contains(&id) || !state.open_intents.contains_key(&id) {
                return None;
            }
            ActivityKind::UnderWay
        }
        ("note", _) => ActivityKind::Refused,
        ("grant.pending", _) => ActivityKind::Asked,
        // Without an item it is the agent's own no.
        ("grant.deny", _) if entry.detail.item.is_some() => ActivityKind::Denied,
        ("item.lapse" | "item.void", _) => ActivityKind::Expired,
        ("unknown.settle", _) => ActivityKind::Settled,
        _ => return None,
    })
}

/// Whether the owner has still to say if it happened.
fn is_unsettled(state: &TrustState, intent: &AuditId) -> bool {
    let mut agents = state.agents.values();
    agents.any(|agent| agent.unknown.values().any(|u| u.names(intent)))
}

fn denial(entry: &Entry<'_>) -> Option<Denial> {
    let about = entry.detail.about?;
    serde_json::from_str(about.get()).ok()
}

/// A call, as the owner's client gets it.
fn told(
    ledger: &Ledger,
    state: &TrustState,
    event: &Recorded,
    entry: &Entry<'_>,
    did: ActivityKind,
    denial: Option<Denial>,
) -> ActivityRow {
    let detail = &entry.detail;
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
    let source = entry
        .capability_id
        .as_deref()
        .and_then(|id| id.split_once('.'));
    let mut denial = denial;
    let refused = denial.as_mut().map(|denial| &mut denial.touched);
    let refused = refused
        .filter(|touched| !touched.is_empty())
        .map(std::mem::take);
    let mut touched = entry.touched().or(refused);
    let touched_count = touched.as_ref().map(Vec::len);
    if let Some(touched) = &mut touched {
        touched.truncate(TOUCHED);
    }
    let mut row = ActivityRow::new(ActivityCall {
        audit_id: event.id().to_string(),
        seq: event.seq(),
        at: Timestamp(event.at()),
        did,
        agent_id: text(&entry.agent_id),
        capability_id: text(&entry.capability_id),
        source: source.map(|(source, _)| source.to_owned()),
        input_digest: text(&detail.input),
        code: text(&detail.code),
        reason: detail.why(),
        summary: text(&detail.summary),
        undo: text(&detail.undo),
        pending_id: text(&detail.item),
        agent_purpose: text(&detail.agent_purpose),
        happened: detail.happened,
        in_part: detail.in_part,
        effect: detail.effect.filter(|_| did == ActivityKind::Failed),
        output_bytes: detail.output_bytes,
        basis: entry.basis(),
        touched_count,
        touched,
        ..ActivityCall::default()
    });
    if let Some(intent) = &detail.intent {
        // What allowed it stands in its intent.
        let begun = intent
            .as_str()
            .parse::<EventId>()
            .ok()
            .and_then(|id| ledger.event(&id).ok().flatten());
        let basis = begun.as_ref().and_then(|e| self::entry(e)?.basis());
        row.add(|call| {
            call.audit_id = intent.to_string();
            call.basis = basis.or(call.basis.take());
            call.unsettled = (did == ActivityKind::Unknown).then(|| is_unsettled(state, intent));
        });
    }
    if let Some(denial) = denial {
        row.add(|call| {
            call.code = Some(denial.code);
            call.asked = denial.asked;
            call.basis = denial.basis;
        });
        let reason = denial.detail.get("reason").and_then(Value::as_str);
        row.add(|call| {
            call.reason = reason.map(str::to_owned).or(call.reason.take());
            call.unrecorded = Some(denial.unrecorded).filter(|more| *more > 0);
        });
    }
    row
}

/// What a part of an event says, where it is of its form.
fn parsed<T: DeserializeOwned>(raw: &RawValue) -> Option<T> {
    serde_json::from_str(raw.get()).ok()
}

#[cfg(test)]
mod tests;
