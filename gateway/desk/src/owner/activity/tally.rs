//! How many calls each agent made on which source, hour by hour, over the last day; which were the last; and what the card
//! of a request says of the past: which sources its session called, and what the owner allowed before; and when each grant was
//! last used.
//!
//! ```text
//! first look: the newest events of the day ─▶ counted by hour ─▶ each later look reads on from there
//! ```
//! Invariant: however long the log, one look counts at most [`MOST`] events, and none of an archive; where there were more,
//! the tally says so. Whether a change was taken back is looked up besides ([`undone`]).

use super::{Entry, denial, did, entry, told, told_entry, undone, unreadable};
use crate::{acts::blocking, desk::Desk, owner::agents};
use plexus_edge::reply::Refused;
use plexus_ledger::{Recorded, StoreError};
use plexus_owner::activity::{ActivityKind, ActivityRow, CallBasis, Totals};
use plexus_protocol::{AgentId, AuditId, CapabilityId, PendingId, SessionId, Timestamp};
use plexus_record::{Ledger, audit_id};
use plexus_trust::{OutcomeKind, State as TrustState};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// Hours that a tally is of.
pub(crate) const HOURS: usize = 24;
/// Most events that one look reads, and how many at once.
const MOST: u64 = 20_000;
const BATCH: usize = 500;
const HOUR: u64 = 3_600_000;
/// Calls that are told one by one.
const LAST: usize = 12;
/// Approvals of one agent and capability that are named; the others are counted.
const NAMED: usize = 5;

/// What was counted so far.
#[derive(Default)]
pub struct CallTally(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    /// The number of the last event that was looked at.
    upto: u64,
    /// By hour since the epoch: calls of an agent on a source.
    hours: BTreeMap<u64, BTreeMap<(String, String), Totals>>,
    /// The hour before which events were left out.
    cut: u64,
    /// The events that tell the last calls, the newest last.
    last: VecDeque<Recorded>,
    /// When each agent that was asked for last did something.
    seen: BTreeMap<String, Option<Timestamp>>,
    /// The sources that each session called, of sessions that are open.
    called: HashMap<SessionId, BTreeSet<String>>,
    /// What the owner approved, by agent and capability.
    approved: BTreeMap<(String, String), Approvals>,
    /// When each standing grant last allowed a call, by its serial.
    used: HashMap<u64, Timestamp>,
    /// Effects that a standing grant allowed and whose outcome is not recorded: the grant's serial, and when they began.
    begun: HashMap<AuditId, (u64, Timestamp)>,
    /// From when on approvals and uses are counted; none: from the beginning of the log on.
    since: Option<Timestamp>,
}

/// When standing grants last allowed a call.
pub(crate) struct GrantUses {
    /// By the grant's serial.
    pub(crate) last: HashMap<u64, Timestamp>,
    /// From when on they are known; none: from the beginning of the log on.
    pub(crate) since: Option<Timestamp>,
}

/// The owner's approvals of what one agent asked for one capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Approvals {
    /// How many.
    pub(crate) count: u64,
    /// The last of them, the newest first, each with when it was.
    pub(crate) last: VecDeque<(PendingId, Timestamp)>,
    /// From when on they are counted; none: from the beginning of the log on.
    pub(crate) since: Option<Timestamp>,
}

/// The calls of the last [`HOURS`].
pub(crate) struct Tally {
    /// By agent, the oldest hour first.
    pub(crate) agents: BTreeMap<String, [Totals; HOURS]>,
    /// Calls of an agent on a source.
    pub(crate) on: BTreeMap<(String, String), Totals>,
    /// Whether the oldest hours are not all there.
    pub(crate) cut: bool,
    /// The last calls that are over, the newest first.
    pub(crate) last: Vec<ActivityRow>,
}

impl CallTally {
    /// The sources that a session called, and what the owner approved of each capability for its agent before.
    pub(crate) fn past(
        &self,
        ledger: &Ledger,
        state: &TrustState,
        now: Timestamp,
        (agent, session): (&AgentId, &SessionId),
        capabilities: &[&CapabilityId],
    ) -> (BTreeSet<String>, Vec<Approvals>) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = counted.count(ledger, state, now) {
            tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
        }
        let approved = |id: &&CapabilityId| {
            let of = (agent.to_string(), id.to_string());
            let known = counted.approved.get(&of).cloned().unwrap_or_default();
            Approvals {
                since: counted.since,
                ..known
            }
        };
        let called = counted.called.get(session).cloned().unwrap_or_default();
        (called, capabilities.iter().map(approved).collect())
    }

    /// When each standing grant last allowed a call.
    pub(crate) fn uses(&self, ledger: &Ledger, state: &TrustState, now: Timestamp) -> GrantUses {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut since = None;
        if let Err(error) = counted.count(ledger, state, now) {
            tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
            since = Some(now);
        }
        let agents = state.agents.values();
        let grants = agents.flat_map(|agent| agent.grants.values());
        let standing: HashSet<u64> = grants.map(|grant| grant.serial).collect();
        // Another look may have counted what is newer than this state.
        let newest = standing.iter().max().copied();
        let is_newer = |serial: &u64| newest.is_none_or(|newest| *serial > newest);
        counted
            .used
            .retain(|serial, _| standing.contains(serial) || is_newer(serial));
        GrantUses {
            last: counted.used.clone(),
            since: since.or(counted.since),
        }
    }

    /// When each agent last did something itself.
    pub(crate) fn last_seen(
        &self,
        ledger: &Ledger,
        state: &TrustState,
        now: Timestamp,
    ) -> BTreeMap<String, Timestamp> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was seen is looked up even where the calls cannot be counted.
        if let Err(error) = counted.count(ledger, state, now) {
            tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
        }
        let seen = &mut counted.seen;
        seen.retain(|id, _| AgentId::parse(id).is_ok_and(|id| state.agents.contains_key(&id)));
        for id in state.agents.keys() {
            if !seen.contains_key(id.as_str()) {
                seen.insert(id.to_string(), agents::last_seen(ledger, id));
            }
        }
        let known = seen.iter();
        known
            .filter_map(|(id, at)| Some((id.clone(), (*at)?)))
            .collect()
    }
}

/// The calls of the last [`HOURS`]: counted on from the last look. Its last calls may name an undo of what was taken back.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn tally(desk: &Arc<Desk>, now: Timestamp) -> Result<Tally, Refused> {
    look(desk, now, |_, _, _| Ok(())).await
}

/// The same for a page that lists the last calls: they name an undo of what can still be taken back.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn tally_with_calls(desk: &Arc<Desk>, now: Timestamp) -> Result<Tally, Refused> {
    look(desk, now, |desk, state, made| {
        undone::left_out_of_told(desk, state, made.last.iter_mut().collect())
    })
    .await
}

async fn look(
    desk: &Arc<Desk>,
    now: Timestamp,
    then: impl FnOnce(&Desk, &TrustState, &mut Tally) -> Result<(), StoreError> + Send + 'static,
) -> Result<Tally, Refused> {
    let desk = desk.clone();
    let made = blocking(move || {
        let mut counted = desk.tally.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = desk.ledger.snapshot();
        counted.count(&desk.ledger, &state, now)?;
        let mut made = counted.tally(&desk.ledger, &state, now);
        drop(counted);
        then(&desk, &state, &mut made)?;
        Ok(made)
    });
    made.await?.map_err(|e: StoreError| unreadable(&e))
}

/// As much of an event as tells of an approval.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allowed {
    agent_id: Option<String>,
    capability_id: Option<String>,
    detail: AllowedDetail,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AllowedDetail {
    via_approval: Option<PendingId>,
    policy: Option<String>,
}

/// What an event tells of a call, or of a request that ended without one. One that is under way is told by its end.
fn tells<'e>(event: &'e Recorded, state: &TrustState) -> Option<(Entry<'e>, ActivityKind)> {
    let entry = told_entry(event)?;
    let did = ended(event, &entry, state)?;
    Some((entry, did))
}

fn ended(event: &Recorded, entry: &Entry<'_>, state: &TrustState) -> Option<ActivityKind> {
    let is_over = entry.detail.what() != "intent";
    did(event, entry, state, &HashSet::new()).filter(|_| is_over)
}

/// Whether a call began: a read was answered, or an effect was sent.
fn was_served(entry: &Entry<'_>) -> bool {
    match entry.detail.what() {
        "read" => entry.detail.went() == OutcomeKind::Ok,
        what => what == "intent",
    }
}

/// The standing grant that allowed a call which began, and when that was.
fn use_of(event: &Recorded, entry: &Entry<'_>) -> Option<(u64, Timestamp)> {
    match entry.basis() {
        Some(CallBasis::Grant(serial)) if was_served(entry) => {
            Some((serial, Timestamp(event.at())))
        }
        _ => None,
    }
}

impl Counted {
    fn count(
        &mut self,
        ledger: &Ledger,
        state: &TrustState,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let head = ledger.head()?.seq;
        let day = now.0.saturating_sub(HOURS as u64 * HOUR);
        self.hours = self.hours.split_off(&(day / HOUR));
        // Of this file alone: nobody's page waits for an archive, or for one that cannot be read.
        let first = ledger.first_in_file()?;
        if self.upto == 0 {
            let oldest = ledger.after(first.saturating_sub(1), 1)?;
            let oldest = oldest.first().map_or(0, Recorded::at);
            let begin = match oldest < day {
                true => ledger.first_at(day)?,
                false => first,
            };
            if begin == first && first > 1 {
                self.cut = oldest / HOUR;
            }
            self.upto = begin.saturating_sub(1);
            self.fill(ledger, state, first)?;
            self.look_back(ledger, first)?;
        }
        let is_cut = head.saturating_sub(self.upto) > MOST;
        let mut at = self.upto.max(first.saturating_sub(1));
        if is_cut {
            at = head - MOST;
            // Agents seen in between are looked up anew; approvals and uses there are not known.
            self.seen.clear();
            self.approved.clear();
            self.used.clear();
            self.begun.clear();
        }
        let mut is_first = true;
        while at < head {
            let batch = ledger.after(at, BATCH)?;
            let Some(last) = batch.last() else {
                break;
            };
            at = last.seq();
            self.upto = at;
            for event in batch {
                if is_cut && std::mem::take(&mut is_first) {
                    self.cut = event.at() / HOUR;
                    self.since = Some(Timestamp(event.at()));
                }
                self.see(&event);
                self.note(&event, false);
                self.add(event, state);
            }
        }
        self.called.retain(|session, _| {
            let mut agents = state.agents.values();
            agents.any(|agent| agent.sessions.contains_key(session))
        });
        Ok(())
    }

    /// Approvals and uses before the day, as far back as one look goes.
    fn look_back(&mut self, ledger: &Ledger, first: u64) -> Result<(), StoreError> {
        let most = usize::try_from(MOST).unwrap_or(usize::MAX);
        let (mut oldest, mut ended) = (None, HashMap::new());
        let left = ledger.walk_back(None, first..self.upto + 1, most, |event| {
            oldest = Some(Timestamp(event.at()));
            self.note(event, true);
            let Some(entry) = entry(event) else {
                return true;
            };
            // An outcome is met before its intent, which is older.
            if entry.detail.what() == "outcome" {
                ended.extend(entry.detail.intent.clone().zip(Some(entry.detail.went())));
            }
            let Some((serial, at)) = use_of(event, &entry) else {
                return true;
            };
            let intent = audit_id(event.id());
            match (entry.detail.what(), ended.remove(&intent)) {
                (_, Some(OutcomeKind::Refused)) => {}
                ("intent", None) => {
                    self.begun.insert(intent, (serial, at));
                }
                _ => {
                    self.used.entry(serial).or_insert(at);
                }
            }
            true
        })?;
        if left.is_some() || first > 1 {
            self.since = match oldest {
                Some(oldest) => Some(oldest),
                None => ledger
                    .after(self.upto, 1)?
                    .first()
                    .map(|e| Timestamp(e.at())),
            };
        }
        Ok(())
    }

    /// Counts an approval; one of `before` is older than those that are counted already.
    fn note(&mut self, event: &Recorded, before: bool) {
        if event.event_type() != "grant.allow" {
            return;
        }
        let Ok(allowed) = serde_json::from_str::<Allowed>(event.json()) else {
            return;
        };
        // A request that a grant answered was asked of nobody.
        let by_owner = allowed.detail.policy.as_deref() != Some("by-grant");
        let (Some(agent), Some(capability), Some(item), true) = (
            allowed.agent_id,
            allowed.capability_id,
            allowed.detail.via_approval,
            by_owner,
        ) else {
            return;
        };
        let approved = self.approved.entry((agent, capability)).or_default();
        approved.count += 1;
        let one = (item, Timestamp(event.at()));
        if !before {
            approved.last.push_front(one);
            approved.last.truncate(NAMED);
        } else if approved.last.len() < NAMED {
            approved.last.push_back(one);
        }
    }

    /// The last calls of before the day: what happened last is told on a quiet day too.
    fn fill(&mut self, ledger: &Ledger, state: &TrustState, first: u64) -> Result<(), StoreError> {
        let mut found = 0;
        let range = first..self.upto + 1;
        let mut first = self.upto + 1;
        ledger.walk_back(None, range, BATCH, |event| {
            first = event.seq();
            found += usize::from(tells(event, state).is_some());
            found < LAST
        })?;
        for event in ledger.after(first.saturating_sub(1), BATCH)? {
            if event.seq() <= self.upto && tells(&event, state).is_some() {
                self.last.push_back(event);
            }
        }
        while self.last.len() > LAST {
            self.last.pop_front();
        }
        Ok(())
    }

    /// Notes the use of a standing grant: of an effect by its outcome, unless that is a refusal.
    fn note_use(&mut self, event: &Recorded, entry: &Entry<'_>) {
        let used = match (use_of(event, entry), entry.detail.what()) {
            (Some(begun), "intent") => {
                self.begun.insert(audit_id(event.id()), begun);
                return;
            }
            (None, "outcome") => {
                let intent = entry.detail.intent.as_ref();
                let begun = intent.and_then(|intent| self.begun.remove(intent));
                begun.filter(|_| entry.detail.went() != OutcomeKind::Refused)
            }
            (used, _) => used,
        };
        if let Some((serial, at)) = used {
            let last = self.used.entry(serial).or_insert(at);
            *last = at.max(*last);
        }
    }

    fn see(&mut self, event: &Recorded) {
        if self.seen.is_empty() {
            return;
        }
        if let Some((agent, at)) = agents::own_act(event)
            && let Some(seen) = self.seen.get_mut(&agent)
        {
            *seen = Some(at);
        }
    }

    fn add(&mut self, event: Recorded, state: &TrustState) {
        let Some(entry) = told_entry(&event) else {
            return;
        };
        let id = entry.capability_id.as_deref();
        let source = id.and_then(|id| id.split_once('.'));
        self.note_use(&event, &entry);
        if let (Some(session), Some((source, _)), true) =
            (&entry.session_id, source, was_served(&entry))
        {
            let called = self.called.entry(session.clone()).or_default();
            called.insert(source.to_owned());
        }
        let Some(did) = ended(&event, &entry, state) else {
            return;
        };
        if let Some(agent) = &entry.agent_id {
            let of = (
                agent.to_string(),
                source.map_or("", |(source, _)| source).to_owned(),
            );
            let hour = self.hours.entry(event.at() / HOUR).or_default();
            let of_it = hour.entry(of).or_default().of(did);
            // A request is counted once for each source that it names capabilities of.
            let last = self.last.back().filter(|_| did.is_of_request());
            if last.is_none_or(|last| !is_same_request(last, &entry)) {
                *of_it += 1 + denial(&entry).map_or(0, |denial| denial.unrecorded);
            }
        }
        self.last.push_back(event);
        if self.last.len() > LAST {
            self.last.pop_front();
        }
    }

    fn tally(&self, ledger: &Ledger, state: &TrustState, now: Timestamp) -> Tally {
        let call = |event: &Recorded| {
            let (entry, did) = tells(event, state)?;
            Some(told(ledger, state, event, &entry, did, denial(&entry)))
        };
        let last = now.0 / HOUR;
        let first = (last + 1).saturating_sub(HOURS as u64);
        let mut made = Tally {
            agents: BTreeMap::new(),
            on: BTreeMap::new(),
            cut: self.cut >= first,
            last: self.last.iter().rev().filter_map(call).collect(),
        };
        for (hour, calls) in self.hours.range(first..=last) {
            let at = usize::try_from(hour - first).unwrap_or(0).min(HOURS - 1);
            for ((agent, source), totals) in calls {
                made.agents.entry(agent.clone()).or_default()[at] += *totals;
                if !source.is_empty() {
                    *made.on.entry((agent.clone(), source.clone())).or_default() += *totals;
                }
            }
        }
        made
    }
}

/// Whether `last` is an event of the request that `next` is of, for a capability of the same source.
fn is_same_request(last: &Recorded, next: &Entry<'_>) -> bool {
    let source = |entry: &Entry<'_>| {
        let id = entry.capability_id.as_deref()?;
        Some(id.split_once('.')?.0.to_owned())
    };
    told_entry(last).is_some_and(|last| {
        last.detail.what() == next.detail.what()
            && last.detail.item.is_some()
            && last.detail.item == next.detail.item
            && source(&last) == source(next)
    })
}
