//! Extensions that agents propose: what was sent lies beside the item until the owner has decided.
//!
//! Must not know: HTTP, what a manifest says.

use crate::{
    approvals::store::Approvals,
    finish::to_its_end,
    kernel::Kernel,
    shares::{Share, Shares},
};
use bytes::Bytes;
use plexus_ledger::SubmitError;
use plexus_protocol::{
    AgentId, Digest, ErrorBody, ErrorCode, NextKind, PendingId, SessionId, SourceId, json,
};
use plexus_trust::{Command, Item, Proposal, Propose, Refusal, Reply};
use serde_json::Value;
use std::{fs, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An extension that an agent asks the owner to add.
pub struct Proposed {
    /// Who proposes.
    pub agent: AgentId,
    /// In which session.
    pub session: SessionId,
    /// The source that it would be.
    pub source: SourceId,
    /// What was sent, as canonical JSON: the manifest, and the folders that the agent would like it to have.
    pub content: Bytes,
    /// The agent's words, cleaned.
    pub purpose: Option<String>,
}

/// Proposals of one agent that are judged at a time, and those of all agents: one compiles as much as a manifest may have.
const OF_EACH: usize = 1;
const AT_ONCE: usize = 2;

/// Turns at judging what agents propose.
pub struct JudgingTurns {
    shares: Shares,
    turns: Arc<Semaphore>,
}

/// One turn, given back when it goes.
pub struct JudgingTurn {
    _share: Share,
    _turn: OwnedSemaphorePermit,
}

impl Default for JudgingTurns {
    fn default() -> Self {
        Self {
            shares: Shares::new(OF_EACH),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl JudgingTurns {
    /// A turn for a proposal of `agent`, after those of other agents; refused while it has one itself.
    ///
    /// # Errors
    /// 429 `rate_limited`.
    pub async fn take(&self, agent: &AgentId) -> Result<JudgingTurn, Box<ErrorBody>> {
        let share = self.shares.take(agent).ok_or_else(|| {
            let why = "Another proposal of yours is being judged.";
            let error = ErrorBody::new(ErrorCode::RateLimited, why).with("retryAfterMs", 250);
            Box::new(error.then(NextKind::Retry, "wait for its answer, then propose again"))
        })?;
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|error| {
            Box::new(ErrorBody::new(ErrorCode::InternalError, error.to_string()))
        })?;
        Ok(JudgingTurn {
            _share: share,
            _turn: turn,
        })
    }
}

/// Has the owner asked. The same that waits already is joined.
///
/// # Errors
/// The machine's refusal; it could not be kept or recorded.
pub async fn propose(
    kernel: &Arc<Kernel>,
    proposed: Proposed,
) -> Result<PendingId, SubmitError<Refusal>> {
    let kernel = kernel.clone();
    to_its_end(async move { put(&kernel, proposed).await }).await
}

async fn put(kernel: &Kernel, proposed: Proposed) -> Result<PendingId, SubmitError<Refusal>> {
    let item = PendingId::fresh();
    let about = Proposal::id(&proposed.source);
    let about = about.map_err(|why| SubmitError::Refused(Refusal::Invalid(why.to_string())))?;
    let command = Command::Propose(Propose {
        agent: proposed.agent.clone(),
        session: proposed.session,
        source: proposed.source,
        content: Digest::of(&proposed.content),
        purpose: proposed.purpose,
        item: item.clone(),
    });
    kernel.foresee(&command)?;
    // On disk before the item that names it.
    kernel
        .keep_input(&item, None, &about, &proposed.content)
        .await?;
    let reply = kernel.submit_for(&proposed.agent, command).await;
    let found = reply.and_then(|receipt| match receipt.reply {
        Reply::Proposed(item) => Ok(item),
        _ => Err(SubmitError::Unavailable(
            "a proposal was answered with something else".into(),
        )),
    });
    if found.as_ref().ok() != Some(&item) {
        kernel.approvals.drop_input(&item);
    }
    found
}

impl Approvals {
    /// What an item proposes; none where the file is gone or holds something else. Blocks on the disk.
    pub fn proposal(&self, item: &Item) -> Option<Value> {
        let proposal = item.register.as_ref()?;
        let about = Proposal::id(&proposal.source).ok()?;
        let kept = fs::read(self.input_file(&item.id, &about)).ok()?;
        let is_it = Digest::of(&kept) == proposal.content;
        is_it.then(|| json::parse(&kept).ok()).flatten()
    }
}
