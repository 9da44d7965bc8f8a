//! What a worker says unasked: events, and calls of what others offer.
//!
//! Must not know: who listens, who pays.

use super::{Summary, Touched};
use crate::text::{Line, Output, Payload, Word, at_most};
use serde::{Deserialize, Serialize};

/// Largest payload of an event, in bytes.
pub const MAX_EVENT: usize = 16 * 1024;
/// Most things that one event is about.
pub const MAX_EVENT_TOUCHED: usize = 64;
/// Calls of its own that a worker may have under way; more wait in it.
pub const HOST_CALLS: usize = 16;
/// Largest input of such a call, in bytes.
pub const MAX_HOST_INPUT: usize = 1024 * 1024;

/// Something happened at the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// A topic of the manifest.
    pub topic: Word,
    /// One line without content.
    pub summary: Summary,
    /// The worker's own JSON, of at most [`MAX_EVENT`] bytes.
    pub payload: Output,
    /// What it is about, resolved: an agent hears of it where its grant allows all of this.
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_EVENT_TOUCHED>")]
    pub touched: Vec<Touched>,
}

/// A worker calls what another source offers. Who calls is for the gateway to derive: from the call that it serves, or,
/// of a resident worker, from the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCall {
    /// Correlates the answer; unique among those that are under way.
    pub id: u64,
    /// The call that it serves; none: a resident worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// The capability's id, `<source>.<name>`; none: which there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Line<200>>,
    /// A JSON object.
    pub input: Payload,
}
