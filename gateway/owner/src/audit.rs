//! The audit log: its events, whether it holds together, and the archives of older ones.
//!
//! Its export is no call: lines of text that are read while they come, however long the log is.

use crate::{Done, wire};
use plexus_protocol::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Events, the newest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// How many at most; what is no number, and 0, mean the usual.
    #[serde(default, deserialize_with = "wire::number::or_none")]
    pub limit: Option<i64>,
    /// Those before this one, by its number or its id.
    pub before: Option<String>,
    /// One agent's.
    pub agent: Option<String>,
    /// Those that touched this thing.
    pub touched: Option<String>,
}

/// Events, the newest first.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Each of them.
    pub events: Vec<Event>,
}

/// An event as the log has it: what is told of it here, and all that was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Event {
    head: EventHead,
    written: Map<String, Value>,
}

/// What an event says of itself beside its detail. The log has events of every version: one of
/// another form has nothing here, and all in what was written.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventHead {
    /// Its number.
    pub seq: Option<u64>,
    /// Its id.
    pub id: Option<String>,
    /// When it was recorded.
    #[serde(default, deserialize_with = "wire::known")]
    pub at: Option<Timestamp>,
    /// What sort of event it is.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The same, where a stream tells that there is one.
    pub audit_type: Option<String>,
    /// Whose it is; none where it is the owner's or the gateway's own.
    pub agent_id: Option<String>,
    /// What was called.
    pub capability_id: Option<String>,
    /// What came of it.
    pub outcome: Option<String>,
    /// The archive that an event of the ledger's own is about.
    pub file: Option<String>,
    /// The first event in that.
    pub first: Option<u64>,
    /// The last.
    pub last: Option<u64>,
    /// What happened, in the words of its kind.
    #[serde(default)]
    pub detail: Value,
}

impl Event {
    /// What is told of it.
    #[must_use]
    pub const fn head(&self) -> &EventHead {
        &self.head
    }
    /// All that was written.
    #[must_use]
    pub const fn written(&self) -> &Map<String, Value> {
        &self.written
    }
}

impl From<Map<String, Value>> for Event {
    fn from(written: Map<String, Value>) -> Self {
        let head = serde_json::from_value(written.clone().into()).unwrap_or_default();
        Self { head, written }
    }
}

impl From<Event> for Map<String, Value> {
    fn from(event: Event) -> Self {
        event.written
    }
}

/// One event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its id.
    pub id: String,
}

/// One event.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ShownEvent {
    /// In full.
    pub event: Event,
}

/// Checks the whole chain, and that it leads to the rows of now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verify {}

/// Whether the log holds together.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Verdict {
    /// It does.
    Holds(VerifiedLog),
    /// It does not.
    Broken(BrokenLog),
}

/// A log that holds together.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifiedLog {
    /// It does.
    pub ok: Done,
    /// How many events it has.
    pub events: u64,
    /// The hash of the last.
    pub head: String,
    /// The number of the last.
    pub sequence: u64,
    /// How many checkpoints it has.
    pub checkpoints: u64,
    /// How many rows it leads to.
    pub rows: u64,
    /// How many heads were kept outside of it and agree.
    pub heads: u64,
    /// How many archives it goes through.
    pub archives: u64,
    /// The number of its first event: the owner has given up those before.
    pub first: u64,
}

/// A log that does not hold together.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokenLog {
    /// False.
    pub ok: bool,
    /// What is wrong.
    pub problem: Problem,
}

/// The first thing that is wrong with a log.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub what: String,
    /// The archive that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The number of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The id of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What lies in archives.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListArchives {}

/// What lies in archives, oldest first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Archives {
    /// Each of them.
    pub archives: Vec<Archive>,
    /// Where they lie.
    pub folder: PathBuf,
    /// From which event on the ledger's own file has all.
    pub ledger_from: u64,
    /// About how many events stay in that.
    pub keep_events: u64,
}

/// A file of older events.
#[derive(Debug, Serialize, Deserialize)]
pub struct Archive {
    /// Its name.
    pub file: String,
    /// Number of its first event.
    pub first: u64,
    /// Number of its last.
    pub last: u64,
    /// When the first was recorded.
    pub from: String,
    /// When the last was.
    pub until: String,
    /// Its length.
    pub bytes: u64,
    /// Its hash.
    pub sha256: String,
    /// Whether it is there.
    pub state: ArchiveState,
}

/// Whether an archive is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchiveState {
    /// As it was written.
    There,
    /// It is not.
    Missing,
    /// It is another one.
    Changed,
    /// The owner has given it up.
    Forgotten,
}

/// Gives up an archive and those before it, for ever.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForgetArchives {
    /// The newest of them, by its name.
    #[serde(default)]
    pub through: String,
}

/// They are given up.
#[derive(Debug, Serialize, Deserialize)]
pub struct ForgottenArchives {
    /// They are.
    pub ok: Done,
    /// Each of them.
    pub forgotten: Vec<Archive>,
}
