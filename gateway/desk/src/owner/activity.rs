//! What agents did, call by call, out of the audit log: for `plexusctl activity`.
//!
//! A page is made of a bounded number of events, newest first, however long the log is; whoever wants more goes on at
//! `next`. Its totals are those of the events that the page was made of, so that pages add up.
//!
//! Invariant: an effect is one call, told by its outcome (by its intent, while it is under way), and `auditId` is its
//! intent's: the id by which it is looked up, settled and taken back.
//!
//! Must not know: how a call is told in words (`plexusctl`).

use super::audit::unreadable;
use crate::{acts::blocking, desk::Desk};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{self, Refused, ok};
use plexus_ipc::message::TouchedId;
use plexus_ledger::{EventId, IndexTerm, Recorded, StoreError};
use plexus_protocol::{AuditId, Timestamp};
use plexus_record::Ledger;
use plexus_trust::{OutcomeKind, State as TrustState};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{borrow::Cow, collections::HashSet, sync::Arc};

/// Calls of a page that names no limit, and the most it may name.
const USUAL: usize = 200;
const MOST: usize = 1_000;
/// Events that one page reads, whatever it finds: some 10 MB of JSON, so that no page holds anybody up.
const EVENTS: usize = 20_000;
/// Things touched by one call that are shown one by one; the rest is counted, and stands in its event.
const TOUCHED: usize = 20;

pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let wanted = ActivityFilter::read(&request)?;
    let (ledger, state) = (desk.ledger.clone(), desk.ledger.snapshot());
    let page = blocking(move || page(&ledger, &state, &wanted)).await?;
    Ok(ok(&page.map_err(|e| unreadable(&e))?))
}

/// Which calls are asked for.
struct ActivityFilter {
    agent: Option<String>,
    touched: Option<String>,
    /// With its dot: how ids of its capabilities begin.
    source: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    only: Option<Only>,
    before: Option<u64>,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Only {
    Changed,
    Refused,
}

impl ActivityFilter {
    fn read(request: &Request) -> Result<Self, Refused> {
        let given = |name: &str| reply::query(request, name).filter(|text| !text.is_empty());
        let moment = |name: &str| {
            let parse = |text: String| {
                serde_json::from_value(Value::String(text)).map_err(|_| {
                    Refused::malformed(format!("`{name}` is a moment like 2026-01-31T08:15:00Z"))
                })
            };
            given(name).map(parse).transpose()
        };
        let number = |name: &str| {
            let parse = |text: String| {
                text.parse::<u64>()
                    .map_err(|_| Refused::malformed(format!("`{name}` is a number")))
            };
            given(name).map(parse).transpose()
        };
        let only = match given("only").as_deref() {
            None => None,
            Some("changed") => Some(Only::Changed),
            Some("refused") => Some(Only::Refused),
            Some(_) => return Err(Refused::malformed("`only` is `changed` or `refused`")),
        };
        let limit = number("limit")?.map_or(USUAL, |n| usize::try_from(n).unwrap_or(MOST));
        Ok(Self {
            agent: given("agent"),
            touched: given("touched"),
            source: given("source").map(|source| source + "."),
            since: moment("since")?,
            until: moment("until")?,
            only,
            before: number("before")?,
            limit: limit.min(MOST),
        })
    }

    /// By what the index finds the calls. Who touched a thing is the shorter list.
    fn term(&self) -> Option<IndexTerm> {
        // As it was recorded: characters that a terminal would obey stand as U+FFFD.
        let recorded = |id: &String| IndexTerm::Touched(TouchedId::new(id).as_str().to_owned());
        let touched = self.touched.as_ref().map(recorded);
        touched.or_else(|| self.agent.clone().map(IndexTerm::Agent))
    }

    fn wants(&self, entry: &Entry<'_>, did: ActivityKind) -> bool {
        let agent = self.agent.as_deref();
        let of_agent = agent.is_none_or(|agent| entry.agent_id.as_deref() == Some(agent));
        let of_source = self.source.as_deref().is_none_or(|beginning| {
            let id = entry.capability_id.as_deref();
            id.is_some_and(|id| id.starts_with(beginning))
        });
        let of_kind = match self.only {
            None => true,
            // What nobody knows may have changed something.
            Some(Only::Changed) => matches!(
                did,
                ActivityKind::Changed | ActivityKind::Unknown | ActivityKind::UnderWay
            ),
            Some(Only::Refused) => did == ActivityKind::Refused,
        };
        of_agent && of_source && of_kind
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActivityKind {
    Read,
    Changed,
    Failed,
    Refused,
    Unknown,
    UnderWay,
    /// No call yet: the owner is asked for one.
    Asked,
    /// No call: the owner said what became of one.
    Settled,
}

impl ActivityKind {
    const ALL: [Self; 8] = [
        Self::Read,
        Self::Changed,
        Self::Failed,
        Self::Refused,
        Self::Unknown,
        Self::UnderWay,
        Self::Asked,
        Self::Settled,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Changed => "changed",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::UnderWay => "underWay",
            Self::Asked => "asked",
            Self::Settled => "settled",
        }
    }
}

/// As much of a stored event as is told of a call. What the machine changed by it is skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'e> {
    #[serde(borrow, default)]
    agent_id: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    capability_id: Option<Cow<'e, str>>,
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

impl Detail<'_> {
    /// What happened: the phase of a call, else the event.
    fn what(&self) -> &str {
        if self.phase.is_empty() {
            &self.event
        } else {
            &self.phase
        }
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
    detail: Value,
}

fn page(ledger: &Ledger, state: &TrustState, wanted: &ActivityFilter) -> Result<Value, StoreError> {
    let first = wanted.since.map_or(Ok(1), |at| ledger.first_at(at.0))?;
    let last = match (wanted.before, wanted.until) {
        (Some(before), _) => before,
        (None, Some(until)) => ledger.first_at(until.0)?,
        (None, None) => ledger.head()?.seq + 1,
    };
    let mut calls = Vec::new();
    let mut totals = [0_u64; ActivityKind::ALL.len()];
    let mut ended = HashSet::new();
    let term = wanted.term();
    let next = ledger.walk_back(term.as_ref(), first..last, EVENTS, |event| {
        let Some(entry) = entry(event) else {
            return true;
        };
        if let Some(intent) = &entry.detail.intent {
            ended.insert(intent.clone());
        }
        let Some(did) = did(event, &entry, state, &ended) else {
            return true;
        };
        if !wanted.wants(&entry, did) {
            return true;
        }
        let denial = denial(&entry);
        totals[did as usize] += 1 + denial.as_ref().map_or(0, |d| d.unrecorded);
        if wanted.limit > 0 {
            calls.push(told(ledger, state, event, &entry, did, denial));
        }
        wanted.limit == 0 || calls.len() < wanted.limit
    })?;
    let totals: Value = ActivityKind::ALL
        .iter()
        .map(|did| (did.word().to_owned(), json!(totals[*did as usize])))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut page = json!({"calls": calls, "totals": totals});
    if let Some(next) = next {
        page["next"] = json!(next);
    }
    Ok(page)
}

fn entry(event: &Recorded) -> Option<Entry<'_>> {
    if !matches!(event.event_type(), "invoke" | "grant.pending") {
        return None;
    }
    match serde_json::from_str(event.json()) {
        Ok(entry) => Some(entry),
        Err(error) => {
            tracing::error!(name: "audit.unreadable", %error, auditId = %event.id(), "a call's event cannot be read");
            None
        }
    }
}

/// What the event says of a call; `None` where another one tells it.
fn did(
    event: &Recorded,
    entry: &Entry<'_>,
    state: &TrustState,
    ended: &HashSet<AuditId>,
) -> Option<ActivityKind> {
    Some(match (entry.detail.what(), entry.detail.went()) {
        ("read", OutcomeKind::Ok) => ActivityKind::Read,
        ("outcome", OutcomeKind::Ok) => ActivityKind::Changed,
        // Cut off by the end of the gateway: nobody refused it.
        ("outcome", OutcomeKind::Refused) if entry.detail.code.is_none() => ActivityKind::Failed,
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
        ("unknown.settle", _) => ActivityKind::Settled,
        _ => return None,
    })
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
) -> Value {
    let detail = &entry.detail;
    let mut out = json!({
        "auditId": event.id().to_string(),
        "seq": event.seq(),
        "at": Timestamp(event.at()),
        "did": did.word(),
    });
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out[name] = value;
        }
    };
    let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(Value::from);
    let parsed = |raw: &RawValue| serde_json::from_str::<Value>(raw.get()).ok();
    put("agentId", text(&entry.agent_id));
    put("capabilityId", text(&entry.capability_id));
    let source = entry
        .capability_id
        .as_deref()
        .and_then(|id| id.split_once('.'));
    put("source", source.map(|(source, _)| source.into()));
    put("inputDigest", text(&detail.input));
    put("code", text(&detail.code));
    put("reason", text(&detail.reason));
    put("summary", text(&detail.summary));
    put("undo", text(&detail.undo));
    put("pendingId", text(&detail.item));
    put("agentPurpose", text(&detail.agent_purpose));
    put("happened", detail.happened.map(Value::from));
    put("outputBytes", detail.output_bytes.map(Value::from));
    put("basis", detail.basis.and_then(parsed));
    if let Some(Value::Array(mut touched)) = detail.touched.and_then(parsed) {
        put("touchedCount", Some(touched.len().into()));
        touched.truncate(TOUCHED);
        put("touched", Some(touched.into()));
    }
    if let Some(intent) = &detail.intent {
        put("auditId", Some(intent.as_str().into()));
        // What allowed it stands in its intent.
        let begun = intent
            .as_str()
            .parse::<EventId>()
            .ok()
            .and_then(|id| ledger.event(&id).ok().flatten());
        let basis = begun
            .as_ref()
            .and_then(|e| self::entry(e)?.detail.basis.and_then(parsed));
        put("basis", basis);
        if did == ActivityKind::Unknown {
            let open = state
                .agents
                .values()
                .any(|agent| agent.unknown.values().any(|u| u.names(intent)));
            put("unsettled", Some(open.into()));
        }
    }
    if let Some(denial) = denial {
        put("code", Some(denial.code.into()));
        put("asked", denial.asked.map(Value::from));
        let reason = denial.detail.get("reason").and_then(Value::as_str);
        put("reason", reason.map(Value::from));
        if denial.unrecorded > 0 {
            put("unrecorded", Some(denial.unrecorded.into()));
        }
    }
    out
}

#[cfg(test)]
mod tests;
