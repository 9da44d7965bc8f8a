//! What happened since a moment, for the console's first page: decisions of the owner's, changes that were made, reads, calls
//! that were refused or failed, agents that came, requests that were made.
//!
//! ```text
//! first look: the events since the moment ─▶ counted and the newest kept, by kind ─▶ each later look reads on from there
//! ```
//! Invariants: one look counts at most [`MOST`] events, and none of an archive; where there were more, it says so. Whether a change
//! was taken back is looked up besides ([`undone`]). An agent's
//! words are in no event that is kept here but those of its requests.

use super::{denial, did, entry, told, undone, unreadable};
use crate::{acts::blocking, desk::Desk};
use plexus_edge::reply::Refused;
use plexus_ledger::{Recorded, StoreError};
use plexus_owner::activity::{ActivityKind, ActivityRow};
use plexus_protocol::Timestamp;
use plexus_record::Ledger;
use plexus_trust::State as TrustState;
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// Most events that one look reads, and how many at once.
const MOST: u64 = 20_000;
const BATCH: usize = 500;
/// Events of a kind that are told one by one.
pub(crate) const KEPT: usize = 100;

/// A kind of what is worth knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PastKind {
    /// The owner allowed or denied something.
    Decided,
    /// A change was made.
    Done,
    /// A call read.
    Read,
    /// A call was refused.
    Refused,
    /// A call failed, or nobody knows.
    Failed,
    /// An agent enrolled.
    Agents,
    /// An agent asked for something.
    Asked,
}

impl PastKind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Decided,
        Self::Done,
        Self::Read,
        Self::Refused,
        Self::Failed,
        Self::Agents,
        Self::Asked,
    ];
}

/// What was found so far.
#[derive(Default)]
pub struct Past(Mutex<Found>);

#[derive(Default)]
struct Found {
    since: Option<Timestamp>,
    /// The number of the last event that was looked at.
    upto: u64,
    cut: bool,
    kinds: [Kept; PastKind::ALL.len()],
}

#[derive(Default)]
struct Kept {
    count: u64,
    /// The newest last.
    newest: VecDeque<Recorded>,
}

/// What happened.
pub(crate) struct Happened {
    /// How much of each kind.
    pub(crate) counts: [u64; PastKind::ALL.len()],
    /// There was more than is read at once: the oldest is not counted.
    pub(crate) cut: bool,
    /// The newest of the kind that was asked for.
    pub(crate) newest: Vec<PastEvent>,
}

/// One thing that happened.
pub(crate) enum PastEvent {
    /// A call, or a request for one.
    Call(Box<ActivityRow>),
    /// A decision, or an agent that came.
    Other {
        at: Timestamp,
        agent: String,
        /// What a decision was about.
        capability: Option<String>,
        /// The item that was decided.
        item: Option<String>,
        /// How it was decided.
        did: &'static str,
    },
}

/// What happened since a moment, with the newest of one kind.
///
/// # Errors
/// Where the log cannot be read.
pub(crate) async fn happened(
    desk: &Arc<Desk>,
    since: Timestamp,
    of: Option<PastKind>,
) -> Result<Happened, Refused> {
    let desk = desk.clone();
    let made = blocking(move || {
        let mut found = desk.past.0.lock().unwrap_or_else(PoisonError::into_inner);
        let state = desk.ledger.snapshot();
        found.read(&desk.ledger, &state, since)?;
        let newest = of.map(|of| &found.kinds[of as usize].newest);
        let newest = newest.into_iter().flatten().rev();
        let told = |event| past_event(&desk.ledger, &state, event);
        let mut happened = Happened {
            counts: PastKind::ALL.map(|kind| found.kinds[kind as usize].count),
            cut: found.cut,
            newest: newest.filter_map(told).collect(),
        };
        drop(found);
        let calls = happened.newest.iter_mut().filter_map(|event| match event {
            PastEvent::Call(row) => Some(&mut **row),
            PastEvent::Other { .. } => None,
        });
        undone::left_out_of_told(&desk, &state, calls.collect())?;
        Ok(happened)
    });
    made.await?.map_err(|e: StoreError| unreadable(&e))
}

/// As much of an event that is no call as is told.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtherEvent<'e> {
    #[serde(borrow, default)]
    agent_id: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    capability_id: Option<Cow<'e, str>>,
    #[serde(borrow)]
    detail: OtherDetail<'e>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OtherDetail<'e> {
    #[serde(borrow, default)]
    event: Cow<'e, str>,
    #[serde(borrow, default)]
    outcome: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    policy: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    via_approval: Option<Cow<'e, str>>,
    #[serde(borrow, default)]
    item: Option<Cow<'e, str>>,
}

impl OtherEvent<'_> {
    fn kind(&self) -> Option<PastKind> {
        let detail = &self.detail;
        match &*detail.event {
            // What a policy allowed, the owner did not.
            "grant.allow" if matches!(detail.policy.as_deref(), Some("owner" | "user-confirm")) => {
                Some(PastKind::Decided)
            }
            "grant.deny" | "denial.end" | "extension.register" if detail.item.is_some() => {
                Some(PastKind::Decided)
            }
            "agent.enroll" if detail.outcome.as_deref() != Some("rejected") => {
                Some(PastKind::Agents)
            }
            _ => None,
        }
    }
}

fn other(event: &Recorded) -> Option<OtherEvent<'_>> {
    let types = ["grant.allow", "grant.deny", "source.install", "handshake"];
    types.contains(&event.event_type()).then_some(())?;
    serde_json::from_str(event.json()).ok()
}

/// Of which kind an event is, and how many calls it stands for.
fn kind(event: &Recorded, state: &TrustState) -> Option<(PastKind, u64)> {
    let Some(entry) = entry(event) else {
        return Some((other(event)?.kind()?, 1));
    };
    let kind = match did(event, &entry, state, &HashSet::new())? {
        ActivityKind::Changed => PastKind::Done,
        ActivityKind::Read => PastKind::Read,
        ActivityKind::Refused => PastKind::Refused,
        ActivityKind::Failed | ActivityKind::Unknown => PastKind::Failed,
        ActivityKind::Asked => PastKind::Asked,
        ActivityKind::Denied
        | ActivityKind::UnderWay
        | ActivityKind::Settled
        | ActivityKind::Expired => return None,
    };
    let more = denial(&entry).map_or(0, |denial| denial.unrecorded);
    Some((kind, 1 + more))
}

fn past_event(ledger: &Ledger, state: &TrustState, event: &Recorded) -> Option<PastEvent> {
    if let Some(entry) = entry(event) {
        let did = did(event, &entry, state, &HashSet::new())?;
        let row = told(ledger, state, event, &entry, did, denial(&entry));
        return Some(PastEvent::Call(Box::new(row)));
    }
    let other = other(event)?;
    Some(PastEvent::Other {
        at: Timestamp(event.at()),
        agent: other.agent_id?.into_owned(),
        capability: other.capability_id.map(Cow::into_owned),
        did: match &*other.detail.event {
            "grant.deny" => "was denied",
            "denial.end" => "is no longer denied",
            _ => "was allowed",
        },
        item: other
            .detail
            .via_approval
            .or(other.detail.item)
            .map(Cow::into_owned),
    })
}

impl Found {
    fn read(
        &mut self,
        ledger: &Ledger,
        state: &TrustState,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let head = ledger.head()?.seq;
        if self.since != Some(since) {
            let first = ledger.first_in_file()?;
            let begin = ledger.first_at(since.0)?;
            *self = Self {
                since: Some(since),
                upto: begin.max(first).saturating_sub(1),
                cut: begin < first,
                ..Self::default()
            };
        }
        if head.saturating_sub(self.upto) > MOST {
            self.cut = true;
            self.upto = head - MOST;
        }
        while self.upto < head {
            let batch = ledger.after(self.upto, BATCH)?;
            let Some(last) = batch.last() else { break };
            self.upto = last.seq();
            for event in batch {
                let Some((kind, calls)) = kind(&event, state) else {
                    continue;
                };
                let kept = &mut self.kinds[kind as usize];
                kept.count += calls;
                kept.newest.push_back(event);
                if kept.newest.len() > KEPT {
                    kept.newest.pop_front();
                }
            }
        }
        Ok(())
    }
}
