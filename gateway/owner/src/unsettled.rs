//! Effects of which nobody knows whether they happened, until the owner has looked and says so.

use crate::{Done, activity::CallBasis, plan::Touched, status::UnsettledCall};
use plexus_protocol::{AuditId, PendingId, Timestamp};
use serde::{Deserialize, Serialize};

/// All of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All of them.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsettled {
    /// Each with what its intent said of it.
    pub unsettled: Vec<UnsettledRow>,
}

/// An effect of which nobody knows, with what its intent said of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnsettledRow {
    /// Which call it is.
    #[serde(flatten)]
    pub call: UnsettledCall,
    /// When it began; this and what follows is absent where its intent cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// What allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<CallBasis>,
    /// What it was about to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<Vec<Touched>>,
    /// The item that allowed it, as long as that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_id: Option<PendingId>,
    /// Why that was asked for, in the agent's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_purpose: Option<String>,
}

/// Says whether one happened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settle {
    /// The event of its intent.
    pub id: String,
    /// Whether it did, or a part of it.
    pub happened: bool,
    /// Whether only a part of it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_part: bool,
}

/// It is on record; the same call is blocked no more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// It is.
    pub ok: Done,
    /// The event of its intent.
    pub intent: AuditId,
    /// Whether it happened, or a part of it.
    pub happened: bool,
    /// Whether only a part of it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_part: bool,
    /// The event of this.
    pub audit_id: String,
    /// The id by which it is taken back; none where its source does not find it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}
