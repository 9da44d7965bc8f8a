//! What passes between the core and its host.

use crate::results::Refusal;
use crate::tools::View;
use plexus_protocol::{
    CapabilityId, PendingId, RunId, Timestamp,
    body::{RunningCall, WaitingRequest},
};
use serde_json::{Map, Value};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// When something happens, as the host's clocks say.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the host started, on a clock that nobody sets.
    pub elapsed: Duration,
    /// By the wall clock, for tasks.
    pub wall: Timestamp,
}

/// Names one piece of work between this core and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNumber(pub(crate) u64);

/// What goes on without its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A call that waits for the owner.
    Pending(PendingId),
    /// A call that runs by itself.
    Run(RunId),
}

impl Item {
    /// Its id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending(id) => id.as_str(),
            Self::Run(id) => id.as_str(),
        }
    }
    /// The member that carries its id.
    pub(crate) fn member(&self) -> &'static str {
        match self {
            Self::Pending(_) => "pendingId",
            Self::Run(_) => "runId",
        }
    }
    /// What is said of it while it goes on.
    pub(crate) fn waits_for(&self) -> &'static str {
        match self {
            Self::Pending(_) => "waiting for the owner",
            Self::Run(_) => "running",
        }
    }
}

impl FromStr for Item {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let pending = text.parse().map(Self::Pending);
        pending
            .or_else(|_| text.parse().map(Self::Run))
            .map_err(|_| {
                broken_id(text).unwrap_or_else(|| {
                    format!("{text:?} is neither a pendingId (pend_…) nor a runId (run_…)")
                })
            })
    }
}

/// Why a text is no id, where it begins like that of an item.
#[must_use]
pub fn broken_id(text: &str) -> Option<String> {
    let begins = ["pend_", "run_"];
    let begins = begins.iter().find(|begins| text.starts_with(**begins))?;
    Some(format!(
        "{text:?} is not a whole id: {begins} and a UUID, as the answer of the call gave it"
    ))
}

/// An item, and what it is about.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The item.
    pub item: Item,
    /// The call.
    pub capability: CapabilityId,
    /// When it was asked for.
    pub since: Timestamp,
    /// Why, in the agent's words, where the gateway says it.
    pub purpose: Option<String>,
}

impl From<WaitingRequest> for Waiting {
    fn from(request: WaitingRequest) -> Self {
        Self {
            item: Item::Pending(request.pending_id),
            capability: request.capability_id,
            since: request.created_at,
            purpose: request.purpose,
        }
    }
}

impl From<RunningCall> for Waiting {
    fn from(running: RunningCall) -> Self {
        Self {
            item: Item::Run(running.run_id),
            capability: running.capability_id,
            since: running.started_at,
            purpose: None,
        }
    }
}

/// A call of a capability.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The capability.
    pub capability: CapabilityId,
    /// Its input.
    pub input: Map<String, Value>,
    /// It changes nothing.
    pub read: bool,
    /// It is made as a run.
    pub long_running: bool,
    /// Why, in the model's words, for the owner.
    pub purpose: Option<String>,
}

/// A further message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The conversation.
    pub conversation: RunId,
    /// The message's own name: what is sent twice under one is one turn. Absent: the host makes one.
    pub id: Option<String>,
    /// What it says.
    pub text: String,
}

/// What the host does for the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write this message to the client. It holds no line break.
    Send(String),
    /// Make a call, so that an approval makes it whether or not anybody waits.
    Call(CallNumber, Call),
    /// Send a message; its turn is a run.
    Continue(CallNumber, Message),
    /// Wait until an item has ended.
    Follow(CallNumber, Item),
    /// Ask once how an item stands.
    Look(CallNumber, Item),
    /// Withdraw a pending item, or cancel a run.
    Cancel(CallNumber, Item),
    /// Tell what of this agent's waits for the owner, and what is under way.
    List(CallNumber),
    /// Ask what the agent may see now: a call names what the list lacks.
    Refresh(CallNumber),
    /// Stop working on this: nobody waits for it. What was asked of the gateway is not taken back.
    Drop(CallNumber),
}

/// What came of an [`Action`] with a [`CallNumber`].
#[derive(Clone, Debug)]
pub enum Answer {
    /// The gateway's InvokeResponse, of a call that ended, well or not.
    Replied(Value),
    /// The call goes on as this item; asked about an item: it has not ended.
    GoesOn(Item),
    /// The owner approved it, and the gateway makes it now.
    UnderWay(Item),
    /// The owner approved, and the call is still to be made.
    Approved,
    /// The item ended without a decision, or was withdrawn.
    Lapsed(Refusal),
    /// The gateway knows of no such item of this agent.
    Unknown,
    /// A pending item was withdrawn, or the run is being cancelled.
    Cancelled,
    /// What waits and what is under way, each the oldest first.
    Listed(Vec<Waiting>),
    /// The view that the agent has now.
    View(Arc<View>),
    /// It was refused, or could not be asked.
    Refused(Refusal),
}
