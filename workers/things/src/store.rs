//! What a change was, as it is kept before Things is sent anything, for undo and for `Settle`.
//!
//! ```text
//! sent ── read back ──▶ done, with the to-do's id and the version that it then had
//! ```
//!
//! Must not know: URLs, how Things is read.

use crate::url::Fields;
use plexus_protocol::{AuditId, Digest};
use serde::{Deserialize, Serialize};

/// The changes of one source.
pub(crate) type Store = plexus_ipc::worker::KeptChanges<Record>;

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) act: Act,
    /// The to-do; `None` of one that was not read back yet.
    pub(crate) id: Option<String>,
    pub(crate) title: String,
    /// The second that marks a to-do that is added.
    pub(crate) second: i64,
    /// What was sent.
    pub(crate) fields: Fields,
    /// What takes it back.
    pub(crate) back: Fields,
    /// The to-do's version once it was read back.
    pub(crate) version: Option<Digest>,
    /// The change that it takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) takes_back: Option<AuditId>,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    Add,
    Update,
    Complete,
    Undo,
}
