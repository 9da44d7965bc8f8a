//! Extensions that agents propose: what was sent lies beside the item until the owner has decided.
//!
//! Must not know: HTTP, what a manifest says.

use crate::{approvals::store::Approvals, finish::to_its_end, kernel::Kernel};
use bytes::Bytes;
use plexus_ledger::SubmitError;
use plexus_protocol::{AgentId, Digest, PendingId, SessionId, SourceId, json};
use plexus_trust::{Command, Item, Proposal, Propose, Refusal, Reply};
use serde_json::Value;
use std::{fs, sync::Arc};

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
