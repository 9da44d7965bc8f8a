//! What is kept of pending items beside the ledger: inputs as files, plans and answers in memory.

use crate::answers::{Answers, KeptAnswer};
use plexus_ipc::message::{Fact, PlanMade};
use plexus_protocol::{
    CapabilityId, Digest, ErrorBody, PendingId, SessionId, Timestamp, body::InvokeResponse,
};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::sync::{Semaphore, watch};

/// A plan as it is kept for the card.
#[derive(Clone)]
pub(crate) enum Planned {
    /// With the digest of its preview; of a workflow, with what its members' plans assume about the world.
    Made(Arc<PlanMade>, Digest, Vec<Option<Digest>>),
    Failed(String),
    /// Of a read, which no source plans: what that which it reads is called.
    Named(Vec<Fact>),
}

/// In place of an answer that is not given.
pub(crate) fn withheld_answer(id: &CapabilityId, error: ErrorBody) -> KeptAnswer {
    KeptAnswer {
        status: error.code.status(),
        response: InvokeResponse::refused(id.as_str(), error, None),
        // The same call is a new wish.
        collected: true,
        terms: None,
        run: None,
    }
}

/// Pending items: their inputs and plans, and who waits for them.
pub struct Approvals {
    pub(super) dir: PathBuf,
    pub(super) answers: Answers,
    pub(super) plans: Mutex<HashMap<(PendingId, CapabilityId), Planned>>,
    pub(super) planning: crate::approvals::planning::PlanSlots,
    pub(super) ran: Mutex<HashMap<(PendingId, CapabilityId), KeptAnswer>>,
    pub(super) under_way: Mutex<HashSet<PendingId>>,
    /// Tokens made for an approved item: reading its status again gives the same one. Of open sessions only, and of each
    /// item no more than [`TOKENS_OF_AN_ITEM`].
    pub(super) tokens: Mutex<HashMap<(PendingId, SessionId), (Timestamp, Value)>>,
    /// [`INPUTS_AT_ONCE`].
    pub(super) writing: Semaphore,
    /// Rises with every change that somebody may wait for.
    pub(super) changed: watch::Sender<u64>,
}

/// Inputs that are written at one time. With the largest of them this is half of the space that the ledger gives back to a
/// full disk for the owner: so much may be on its way there already when agents are refused.
pub(crate) const INPUTS_AT_ONCE: usize = 8;

/// Tokens of one item that are kept, each for another session: in one more its oldest goes, and that session's next look
/// makes another.
pub(crate) const TOKENS_OF_AN_ITEM: usize = 8;
