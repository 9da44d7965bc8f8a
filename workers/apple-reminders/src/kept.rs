//! What a change was, as it is kept for undo and for `Settle`.
//!
//! ```text
//! begun ── the store has done it ──▶ done, with what it made of the reminder
//! ```
//!
//! Must not know: apps, calls.

use crate::store::Content;
use jiff::Timestamp;
use plexus_protocol::AuditId;
use serde::{Deserialize, Serialize};

/// The changes of one source.
pub(crate) type KeptChanges = plexus_ipc::worker::KeptChanges<Record>;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Id of the list.
    pub(crate) list: String,
    /// Id of the reminder; none for one that is not added yet.
    pub(crate) id: Option<String>,
    /// What the reminder was; none for one that is added.
    pub(crate) before: Option<Content>,
    /// What it is to be; none where it is removed.
    pub(crate) after: Option<Content>,
    /// When it began.
    pub(crate) begun: Timestamp,
    /// Ids of reminders that were made in the minute before: none of them is the added one.
    #[serde(default)]
    pub(crate) known: Vec<String>,
    /// The change that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) takes_back: Option<AuditId>,
    /// The store has done it.
    pub(crate) done: bool,
}
