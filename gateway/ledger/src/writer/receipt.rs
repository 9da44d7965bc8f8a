//! What a command's caller gets: a receipt with the proof, or the reason why there is none.

use std::sync::Arc;

use crate::event::{EventId, Recorded};

/// Proof that a command's events are committed, and which. Made by the ledger's writer only; neither `Clone` nor
/// `Copy`, so it can be spent once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what may now be done is done by handing this on"]
pub struct Durable {
    launch: u64,
    sequence: u64,
    audit_id: EventId,
}

impl Durable {
    /// Number of this opening of the ledger by a daemon: each launch has a higher one.
    #[must_use]
    pub fn launch(&self) -> u64 {
        self.launch
    }
    /// Sequence of the command's first event: no two proofs of a launch have the same.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }
    /// Id of the command's first event.
    #[must_use]
    pub fn audit_id(&self) -> EventId {
        self.audit_id
    }
}

/// One event of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// Position in the log.
    pub seq: u64,
    /// The audit id.
    pub id: EventId,
    /// When, in milliseconds since the epoch.
    pub at: u64,
    /// Bytes of it as it is stored.
    pub bytes: u64,
}

/// The answer to a command that was decided and, if it had events, committed.
#[derive(Debug)]
pub struct Receipt<R> {
    /// What `decide` answered.
    pub reply: R,
    /// The proof; `None` exactly when the command had no events.
    pub durable: Option<Durable>,
    /// The events, in order.
    pub events: Vec<EventRef>,
}

/// Why a command has no receipt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<R> {
    /// The machine's refusal. Nothing was recorded.
    #[error("refused")]
    Refused(R),
    /// The lane is full. Nothing was done; try again soon.
    #[error("too many commands are waiting")]
    Busy,
    /// The ledger cannot record now. Nothing was written.
    #[error("the ledger cannot record: {0}")]
    Unavailable(String),
    /// A commit failed while it was made: neither saved nor lost.
    #[error("neither saved nor lost: {reason}")]
    Lost {
        /// What failed.
        reason: String,
        /// What the reopened ledger reads: whether the events are in it. `None`: it could not be reopened. Also
        /// `true` is no proof, because a flush that failed may have left bytes in memory that are not on disk.
        found: Option<bool>,
    },
}

impl<R> Receipt<R> {
    /// The one place where a proof is made. Only the writer can call it, and does after the commit of `records`.
    pub(super) fn after_commit(reply: R, launch: u64, records: &[Arc<Recorded>]) -> Self {
        let events: Vec<_> = records
            .iter()
            .map(|r| EventRef {
                seq: r.seq(),
                id: r.id(),
                at: r.at(),
                bytes: r.stored.len() as u64,
            })
            .collect();
        let durable = events.first().map(|first| Durable {
            launch,
            sequence: first.seq,
            audit_id: first.id,
        });
        Self {
            reply,
            durable,
            events,
        }
    }
}
