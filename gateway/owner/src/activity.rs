//! What agents did, call by call.

pub mod words;

use crate::{plan::Touched, wire};
use plexus_protocol::{Effect, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::ops::AddAssign;

/// A page of calls, the newest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// How many at most; 0 counts them only.
    #[serde(default, deserialize_with = "wire::number::optional")]
    pub limit: Option<u64>,
    /// One agent's.
    pub agent: Option<String>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
    /// One source's.
    pub source: Option<String>,
    /// Those that touched this thing.
    pub touched: Option<String>,
    /// Those of which this came.
    pub only: Option<OnlyActivity>,
    /// Those before this event: `next` of the page before.
    #[serde(default, deserialize_with = "wire::number::optional")]
    pub before: Option<u64>,
}

/// Which calls alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnlyActivity {
    /// Those that changed something, or may have.
    Changed,
    /// Refused ones, and those that the owner denied.
    Refused,
    /// [`ActivityKind::Denied`].
    Denied,
    /// [`ActivityKind::Read`].
    Read,
    /// [`ActivityKind::Failed`].
    Failed,
    /// [`ActivityKind::Unknown`], as far as the owner has not found out since.
    Unknown,
    /// [`ActivityKind::Asked`].
    Asked,
    /// [`ActivityKind::Settled`].
    Settled,
    /// [`ActivityKind::Expired`].
    Expired,
}

impl OnlyActivity {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Changed,
        Self::Refused,
        Self::Denied,
        Self::Read,
        Self::Failed,
        Self::Unknown,
        Self::Asked,
        Self::Settled,
        Self::Expired,
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Asked => "asked",
            Self::Settled => "settled",
            Self::Expired => "expired",
        }
    }

    /// What has this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|only| only.as_str() == word)
    }

    /// Whether a call of which this came is one of them.
    #[must_use]
    pub const fn has(self, kind: ActivityKind) -> bool {
        match self {
            // What nobody knows may have changed something.
            Self::Changed => matches!(
                kind,
                ActivityKind::Changed | ActivityKind::Unknown | ActivityKind::UnderWay
            ),
            Self::Refused => matches!(kind, ActivityKind::Refused | ActivityKind::Denied),
            Self::Denied => matches!(kind, ActivityKind::Denied),
            Self::Read => matches!(kind, ActivityKind::Read),
            Self::Failed => matches!(kind, ActivityKind::Failed),
            Self::Unknown => matches!(kind, ActivityKind::Unknown),
            Self::Asked => matches!(kind, ActivityKind::Asked),
            Self::Settled => matches!(kind, ActivityKind::Settled),
            Self::Expired => matches!(kind, ActivityKind::Expired),
        }
    }
}

/// A page of calls.
#[derive(Debug, Serialize, Deserialize)]
pub struct Activity {
    /// The newest first.
    pub calls: Vec<ActivityRow>,
    /// Of the events that the page was made of: pages add up.
    pub totals: Totals,
    /// Where the next page begins, where there is more to look at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A call in a page. Its members are written in the order in which the gateway finds them, and are shown so.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct ActivityRow {
    call: ActivityCall,
    written: Map<String, Value>,
    /// Not written: a row that was read does not know it.
    later: Option<String>,
}

impl ActivityRow {
    /// Of what is known of it so far.
    #[must_use]
    pub fn new(call: ActivityCall) -> Self {
        Self {
            written: members(&call),
            call,
            later: None,
        }
    }
    /// Adds what is found next.
    pub fn add(&mut self, found: impl FnOnce(&mut ActivityCall)) {
        found(&mut self.call);
        self.written.extend(members(&self.call));
    }
    /// Leaves out what takes it back; `is_undone` where that was done.
    pub fn forget_undo(&mut self, is_undone: bool) {
        self.written.retain(|name, _| name != "undo");
        self.add(|call| {
            call.undo = None;
            call.undone = is_undone;
        });
    }
    /// Names the newest call that changed the same things since and was not taken back.
    pub fn put_below(&mut self, later: String) {
        self.later = Some(later);
    }
    /// The call to take back before this one, as far as the gateway looked through the log.
    #[must_use]
    pub fn later(&self) -> Option<&str> {
        self.later.as_deref()
    }
    /// The call.
    #[must_use]
    pub fn call(&self) -> &ActivityCall {
        &self.call
    }
}

fn members(call: &ActivityCall) -> Map<String, Value> {
    match serde_json::to_value(call) {
        Ok(Value::Object(members)) => members,
        // All keys are texts.
        _ => Map::new(),
    }
}

impl TryFrom<Map<String, Value>> for ActivityRow {
    type Error = serde_json::Error;
    fn try_from(written: Map<String, Value>) -> Result<Self, Self::Error> {
        let call = serde_json::from_value(written.clone().into())?;
        Ok(Self {
            call,
            written,
            later: None,
        })
    }
}

impl From<ActivityRow> for Map<String, Value> {
    fn from(row: ActivityRow) -> Self {
        row.written
    }
}

/// A call, or a request for one, out of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ActivityCall {
    /// The event by which it is looked up, settled and taken back.
    pub audit_id: String,
    /// The number of the event that tells it.
    pub seq: u64,
    /// When that was.
    pub at: Timestamp,
    /// What came of it.
    pub did: ActivityKind,
    /// Who called; none where it was the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// What was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability_id: Option<String>,
    /// Its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Digest of its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<String>,
    /// Why it failed or was refused, as a code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What its worker says that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What takes it back; none where that was done, as far as the gateway looked through the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// Whether it was taken back, as far as the gateway looked through the log.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// The item that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_id: Option<String>,
    /// What it is for, in the agent's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_purpose: Option<String>,
    /// What the owner said of it: whether it happened, or a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened: Option<bool>,
    /// Whether only a part of it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_part: bool,
    /// How much of it was done, where it failed; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// How large its output was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// What allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<CallBasis>,
    /// How many things it touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched_count: Option<usize>,
    /// Some of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Vec<Touched>>,
    /// Whether the owner has yet to say what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsettled: Option<bool>,
    /// What was asked for and is no capability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// Refusals before this one that were not recorded one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unrecorded: Option<u64>,
}

impl ActivityCall {
    /// The source of the capability that was called.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        let (source, _) = self.capability_id.as_deref()?.split_once('.')?;
        Some(source)
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ActivityKind {
    /// It read.
    #[default]
    Read,
    /// It changed something.
    Changed,
    /// It failed.
    Failed,
    /// It was refused.
    Refused,
    /// Nobody knows.
    Unknown,
    /// It has not ended.
    UnderWay,
    /// No call yet: the owner is asked for one.
    Asked,
    /// No call: the owner denied one.
    Denied,
    /// No call: the owner said what became of one.
    Settled,
    /// No call: a request ended without one. It lapsed, or is void.
    Expired,
}

impl ActivityKind {
    /// Whether it is of a request: one row for each capability that the request names, and one in [`Totals`].
    #[must_use]
    pub fn is_of_request(self) -> bool {
        matches!(self, Self::Asked | Self::Denied | Self::Expired)
    }
}

/// The act of the owner that allowed a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallBasis {
    /// A standing grant, by its number.
    Grant(u64),
    /// An approved item.
    Item(String),
    /// The bounded approval of an item.
    Bounded(String),
}

/// How many calls, or requests, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Totals {
    /// [`ActivityKind::Read`].
    pub read: u64,
    /// [`ActivityKind::Changed`].
    pub changed: u64,
    /// [`ActivityKind::Failed`].
    pub failed: u64,
    /// [`ActivityKind::Refused`].
    pub refused: u64,
    /// [`ActivityKind::Unknown`].
    pub unknown: u64,
    /// [`ActivityKind::UnderWay`].
    pub under_way: u64,
    /// [`ActivityKind::Asked`].
    pub asked: u64,
    /// [`ActivityKind::Denied`].
    pub denied: u64,
    /// [`ActivityKind::Settled`].
    pub settled: u64,
    /// [`ActivityKind::Expired`].
    pub expired: u64,
}

impl Totals {
    /// Each kind with its number.
    #[must_use]
    pub fn each(mut self) -> [(ActivityKind, u64); 10] {
        [
            ActivityKind::Read,
            ActivityKind::Changed,
            ActivityKind::Failed,
            ActivityKind::Refused,
            ActivityKind::Unknown,
            ActivityKind::UnderWay,
            ActivityKind::Asked,
            ActivityKind::Denied,
            ActivityKind::Settled,
            ActivityKind::Expired,
        ]
        .map(|kind| (kind, *self.of(kind)))
    }
    /// All together.
    #[must_use]
    pub fn all(self) -> u64 {
        self.each().iter().map(|(_, count)| count).sum()
    }
    /// Those of one kind.
    pub fn of(&mut self, kind: ActivityKind) -> &mut u64 {
        match kind {
            ActivityKind::Read => &mut self.read,
            ActivityKind::Changed => &mut self.changed,
            ActivityKind::Failed => &mut self.failed,
            ActivityKind::Refused => &mut self.refused,
            ActivityKind::Unknown => &mut self.unknown,
            ActivityKind::UnderWay => &mut self.under_way,
            ActivityKind::Asked => &mut self.asked,
            ActivityKind::Denied => &mut self.denied,
            ActivityKind::Settled => &mut self.settled,
            ActivityKind::Expired => &mut self.expired,
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        for (kind, count) in more.each() {
            *self.of(kind) += count;
        }
    }
}
