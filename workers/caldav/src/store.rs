//! What a change was, as it is kept for undo and for `Settle`.
//!
//! ```text
//! begun ── the server has done it ──▶ done, with the version that it made
//! ```
//!
//! Must not know: servers, iCalendar.

use plexus_protocol::AuditId;
use serde::{Deserialize, Serialize};

pub(crate) type Store = plexus_ipc::worker::KeptChanges<Record>;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) act: Act,
    /// The id of the calendar.
    pub(crate) calendar: String,
    /// The id of the object.
    pub(crate) object: String,
    /// What it is called, for the card of an undo.
    pub(crate) title: String,
    /// The version that it changed; none for an object that is made.
    pub(crate) from: Option<String>,
    /// The text that it replaces or removes.
    pub(crate) before: Option<String>,
    /// The version that it made; none where it removed the object, and where the server does not say.
    pub(crate) version: Option<String>,
    /// The server has done it.
    pub(crate) done: bool,
    /// The change that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) takes_back: Option<AuditId>,
}

/// What was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Act {
    /// An object was made, or made again.
    Add,
    /// A to-do was completed, as of this second.
    Complete(i64),
    /// An object was removed.
    Remove,
    /// An older text was put in place of a newer one.
    Restore,
}
