//! Idempotency keys: the same key and input within 24 hours get the same answer (docs/protocol/agents.md#idempotency).
//!
//! ```text
//! key ─▶ here: under way ─▶ its answer; a run: its handle, until it is forgotten or its effect is over
//!          └─ nothing ─▶ effect: the ledger ─┬─ reserved, ended ─▶ kept answer, or the same without output
//!                        │                   ├─ reserved, no end, or nobody knows ─▶ unknown
//!                        │                   └─ free ─▶ reserved by the intent, in its transaction
//!                        └─ read: reads
//! ```
//! Invariants: an effect is never begun twice for one key, whatever dies in between; a caller that repeats a call is authorized
//! anew before anything is given again. What a read brought is held in memory, 1 000 keys an agent, and given again only
//! on the terms on which it was read: another narrowing, more that is hidden, another folder behind the source, or
//! another credential of the agent, reads anew, and so does a restart.

mod claim;

use super::refusal;
use crate::{
    answer::Answer,
    answers::{self, Answers, KeptAnswer},
};
use plexus_home::tasks::blocking;
use plexus_protocol::{AgentId, AuditId, CapabilityId, Digest, ErrorBody, body::InvokeResponse};
use plexus_trust::{OutcomeKind, State, UsedKey};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long a key is known.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
/// Keys kept for one agent.
const MOST: usize = 1_000;
/// Largest answer of a read that is kept for a key, in bytes of output; a larger one leaves the key free.
const KEPT_BYTES: usize = 256 * 1024;
/// Largest answer of an effect that is kept for a key, in bytes of output.
const REPLY_BYTES: usize = 64 * 1024;
/// Bytes of output that are kept for all keys of one agent; the oldest go first.
const AGENT_BYTES: usize = 16 * 1024 * 1024;

/// With the terms of a read.
type Key = (AgentId, CapabilityId, String, Option<Digest>);

/// Answers by idempotency key: those of reads in memory, those of effects in files.
pub struct Replays {
    table: Arc<Mutex<HashMap<Key, KeyedAnswer>>>,
    answers: Answers,
}

struct KeyedAnswer {
    digest: Digest,
    since: Instant,
    bytes: usize,
    answer: watch::Receiver<Option<Arc<(u16, InvokeResponse)>>>,
}

/// What a key is to this call.
pub(super) enum Claim {
    First(Claimed),
    Known(Answer),
    /// Something was read for it that is not given now.
    Withheld(Box<ErrorBody>),
    OtherInput,
}

/// The right to settle a key. Dropped unsettled, the key is free again.
pub(super) struct Claimed {
    table: Arc<Mutex<HashMap<Key, KeyedAnswer>>>,
    key: Key,
    answer: watch::Sender<Option<Arc<(u16, InvokeResponse)>>>,
    settled: bool,
    /// What the intent of an effect is to reserve.
    pub(super) reserves: Option<Digest>,
}

impl Replays {
    /// With the answers of an earlier launch.
    pub fn new(answers: Answers) -> Self {
        Self {
            table: Arc::default(),
            answers,
        }
    }

    /// The answer to a call that was made before.
    async fn again(&self, id: &CapabilityId, intent: &AuditId, used: UsedKey) -> Answer {
        let result = used.result;
        let refused = |error| {
            let body = InvokeResponse::refused(id.as_str(), error, Some(intent));
            Answer::dispatched(InvokeResponse {
                replayed: true,
                ..body
            })
        };
        if matches!(result, None | Some(OutcomeKind::Unknown)) {
            return refused(refusal::unknown_outcome(id, Some(intent)));
        }
        let (answers, of) = (self.answers.clone(), intent.clone());
        let read = blocking(move || answers.get(answers::Key::Intent(&of)));
        match read.await.ok().flatten() {
            Some(kept) => Answer {
                status: kept.status,
                body: InvokeResponse {
                    replayed: true,
                    ..kept.response
                },
            },
            None if result == Some(OutcomeKind::Ok) => Answer::dispatched(InvokeResponse {
                replayed: true,
                output_omitted: true,
                undo: used.undo,
                ..InvokeResponse::ok(id.as_str(), Some(intent))
            }),
            None => refused(refusal::failed_before(id)),
        }
    }

    /// An effect of `agent` that reserved its key has ended: what the key stands for is in the ledger, `state`; where it
    /// stands for an answer, the words go into a file.
    pub(super) async fn keep(&self, agent: &AgentId, state: &State, answer: &Answer) {
        let Ok(intent) = AuditId::parse(&answer.body.audit_id) else {
            return;
        };
        let used = state.agent(agent).and_then(|agent| agent.keys.get(&intent));
        let result = used.and_then(|used| used.result);
        let size = answer.body.output.as_ref().map_or(0, |o| o.get().len());
        let ended = matches!(result, Some(OutcomeKind::Ok | OutcomeKind::Failed));
        if ended && size <= REPLY_BYTES {
            let kept = KeptAnswer::of(answer);
            self.answers
                .keep_aside(answers::Key::Intent(&intent), kept)
                .await;
        }
    }
}

impl Claimed {
    /// Keeps what a read brought, or the handle of a run. A read that brought nothing may be tried again under its key.
    pub(super) fn settle(mut self, answer: &Answer) {
        let size = answer.body.output.as_ref().map_or(0, |o| o.get().len());
        let kept = answer.body.ok && size <= KEPT_BYTES;
        if kept {
            self.settled = true;
            make_room(&self.table, &self.key, size);
            let _ = self
                .answer
                .send(Some(Arc::new((answer.status, answer.body.clone()))));
        }
    }
}

/// Notes the size of an answer, and frees the oldest keys of its agent until all of them keep little enough.
fn make_room(table: &Mutex<HashMap<Key, KeyedAnswer>>, key: &Key, size: usize) {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = table.get_mut(key) {
        known.bytes = size;
    }
    let mine = |k: &Key| k.0 == key.0;
    let mut total: usize = table
        .iter()
        .filter(|(k, _)| mine(k))
        .map(|(_, known)| known.bytes)
        .sum();
    while total > AGENT_BYTES {
        let oldest = table
            .iter()
            .filter(|(k, known)| mine(k) && *k != key && known.bytes > 0)
            .min_by_key(|(_, known)| known.since)
            .map(|(k, known)| (k.clone(), known.bytes));
        let Some((oldest, bytes)) = oldest else {
            return;
        };
        table.remove(&oldest);
        total -= bytes;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.settled {
            self.table
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.key);
        }
    }
}
