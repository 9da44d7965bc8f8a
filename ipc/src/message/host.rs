//! What a worker says unasked: events, and calls of what others offer.
//!
//! Must not know: who listens, who pays.

use super::{Question, Summary, Touched};
use crate::text::{Line, Output, Payload, Word, at_most, digest};
use plexus_protocol::{Digest, PendingId};
use serde::{Deserialize, Serialize};

/// Largest payload of an event, in bytes.
pub const MAX_EVENT: usize = 16 * 1024;
/// Most things that one event is about.
pub const MAX_EVENT_TOUCHED: usize = 64;
/// Calls of its own that a worker may have under way; more wait in it.
pub const HOST_CALLS: usize = 16;
/// Waits for a decision or the end of a run that a worker may have under way beside its calls; more wait in it.
pub const HOST_WAITS: usize = 64;
/// Longest wait in one [`HostAsk::Item`] or [`ChildAsk::Run`], in seconds.
pub const MAX_ITEM_WAIT: u8 = 20;
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

/// A worker asks for what another source offers. Who asks is for the gateway to derive: from the call that it serves, or,
/// of a resident worker, from the source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCall {
    /// Correlates the answer; unique among those that are under way.
    pub id: u64,
    /// The call that it serves; none: a resident worker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<u64>,
    /// What it asks for.
    pub ask: HostAsk,
}

/// What a [`HostCall`] asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum HostAsk {
    /// Which capabilities there are.
    List,
    /// To call one.
    Call {
        /// Its id, `<source>.<name>`.
        capability: Line<200>,
        /// A JSON object.
        input: Payload,
    },
    /// How a call of its own that waits for the owner stands.
    Item {
        /// The pending item.
        item: PendingId,
        /// How long a decision is waited for, in seconds; at most [`MAX_ITEM_WAIT`].
        seconds: u8,
    },
    /// What only the owner can answer, while an agent's call is under way: of a lent MCP server's worker alone.
    Owner {
        /// What is asked.
        question: Box<Question>,
        /// How long an answer is waited for, in seconds; at most [`super::MAX_QUESTION_WAIT`].
        seconds: u16,
    },
    /// To withdraw such a call.
    Withdraw {
        /// The pending item.
        item: PendingId,
    },
    /// About child calls: a resident worker's own alone, outside any call.
    Children {
        /// The approval that permits them, as the commit of the approved call named it.
        #[serde(with = "digest")]
        approval: Digest,
        /// What it asks.
        ask: ChildAsk,
    },
}

/// What a worker asks about child calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ChildAsk {
    /// To make one, once for each name.
    Call {
        /// The worker's own name for it.
        name: Line<128>,
        /// Its id, `<source>.<name>`.
        capability: Line<200>,
        /// A JSON object.
        input: Payload,
    },
    /// How the run of one stands.
    Run {
        /// Its name.
        name: Line<128>,
        /// How long its end is waited for, in seconds; at most [`MAX_ITEM_WAIT`].
        seconds: u8,
    },
    /// To cancel the run of one.
    Stop {
        /// Its name.
        name: Line<128>,
    },
    /// How the approval stands.
    Approval,
    /// To end the approval: the source makes no more of them.
    End,
}

impl HostAsk {
    /// Whether it may last until the owner decides or a run ends, and so counts among the [`HOST_WAITS`].
    #[must_use]
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Item { seconds, .. }
            | Self::Children {
                ask: ChildAsk::Run { seconds, .. },
                ..
            } => *seconds > 0,
            Self::Owner { .. } => true,
            _ => false,
        }
    }
}
