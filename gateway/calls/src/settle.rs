//! What became of effects whose answer nobody has: their worker's own store says.
//!
//! ```text
//! commit ─▶ answer ─────────────────────────────────▶ known
//!    ├─ deadline ─▶ caller told `unknown` ─▶ answer ─▶ known
//!    │                           └─ worker ended ─┐
//!    └─ worker ended ─────────────────────────────┴▶ its store is asked ─▶ known, or nobody knows
//!                                                                  └─ while the daemon stops: open
//! ```
//! Invariant: that nobody knows is on record only where the source is gone, or was asked and could not tell, or not in
//! time. What is left open at a stop is asked about at the next start.

use super::outcome::unanswered;
use crate::kernel::Kernel;
use plexus_home::tasks::blocking;
use plexus_ipc::message::Verdict;
use plexus_ledger::{Durable, EventId, SubmitError};
use plexus_protocol::{AuditId, CapabilityId, SourceId};
use plexus_supervisor::{AgreedCode, CallRequest, CommitTerms, DispatchError, Finished};
use plexus_trust::{Command, OutcomeKind, Refusal, Touch};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::oneshot, task::JoinSet};

/// How long a worker may take to say what became of an effect.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// What a commit came to.
pub(super) enum Committed {
    Finished(Finished),
    /// Never sent; or the worker has ended without an answer, and nobody can tell.
    Dispatch(DispatchError),
    /// No answer, but the worker's store says that it happened.
    Settled,
    /// No answer, and the worker's store says that it did not happen.
    Undone,
}

impl Kernel {
    /// Commits, at once, and waits until it is known what became of it, or that nobody can tell. `late` is called when its
    /// deadline has passed and that is not known yet. None where the daemon stops before the source could say: then
    /// nothing is recorded.
    pub(crate) fn commit(
        &self,
        source: &SourceId,
        mut request: CallRequest,
        terms: CommitTerms,
        (code, durable, audit): (Result<AgreedCode, DispatchError>, &Durable, &AuditId),
        late: impl FnOnce() + Send,
    ) -> impl Future<Output = Option<Committed>> + Send {
        let (says, word) = oneshot::channel();
        request.late = Some(says);
        let committed = code.map(|code| self.supervisor.commit(&code, request, terms, durable));
        async move {
            let committed = match committed {
                Ok(committed) => committed.await,
                Err(error) => Err(error),
            };
            match committed {
                Ok(finished) => return Some(Committed::Finished(finished)),
                Err(DispatchError::Deadline { dispatched: true }) => {
                    late();
                    if let Ok(finished) = word.await {
                        return Some(Committed::Finished(finished));
                    }
                }
                Err(DispatchError::Died { dispatched: true }) => {}
                Err(error) => return Some(Committed::Dispatch(error)),
            }
            // The worker went while it had the commit: its own store may know.
            match Box::pin(self.settled_by(source, audit)).await {
                OutcomeKind::Ok => Some(Committed::Settled),
                OutcomeKind::Failed | OutcomeKind::Refused => Some(Committed::Undone),
                OutcomeKind::Unknown if self.is_stopping() => None,
                OutcomeKind::Unknown => {
                    let died = DispatchError::Died { dispatched: true };
                    Some(Committed::Dispatch(died))
                }
            }
        }
    }

    /// Effects that were under way when an earlier launch ended, by a clean stop or not: nobody knows what became of them until
    /// their worker says so.
    pub async fn settle_what_was_left(
        self: &Arc<Self>,
        by_clean_stop: bool,
    ) -> Result<(), SubmitError<Refusal>> {
        let state = self.ledger.snapshot();
        // All at once: each worker may take as long as one of them alone.
        let mut asked = JoinSet::new();
        for (intent, open) in state.open_intents.iter() {
            match by_clean_stop {
                true => {
                    tracing::info!(name: "effect.left_by_stop", auditId = %intent, capability = %open.capability, "an effect took longer than the stop of the daemon waited");
                }
                false => {
                    tracing::warn!(name: "effect.left_by_crash", auditId = %intent, capability = %open.capability, "an effect was under way when the daemon ended");
                }
            }
            let (kernel, intent, capability) =
                (self.clone(), intent.clone(), open.capability.clone());
            asked.spawn(async move {
                let kind = kernel.settled(&intent, &capability).await;
                (intent, kind)
            });
        }
        let mut kinds: BTreeMap<AuditId, OutcomeKind> = BTreeMap::new();
        while let Some(told) = asked.join_next().await {
            kinds.extend(told);
        }
        for (intent, open) in state.open_intents.iter() {
            let kind = kinds.get(intent).copied().unwrap_or(OutcomeKind::Unknown);
            let code = (kind == OutcomeKind::Unknown).then(|| "outcome_unknown".to_owned());
            let mut outcome = unanswered(kind, code, "the daemon ended");
            outcome.touched = self.named_by(intent).await;
            if kind == OutcomeKind::Ok {
                outcome.undo = self.undo_of_lost(&open.capability, intent);
            }
            self.owner(Command::Outcome {
                intent: intent.clone(),
                outcome,
            })
            .await?;
        }
        Ok(())
    }

    /// The things that an intent of an earlier launch names, as the log has it; none where that cannot be read.
    async fn named_by(&self, intent: &AuditId) -> Vec<Touch> {
        let ledger = self.ledger.clone();
        let id = intent.as_str().parse::<EventId>().ok();
        let read = move || {
            let event = ledger.event(&id?).ok()??;
            let mut event: Value = serde_json::from_str(event.json()).ok()?;
            let touched = event.pointer_mut("/detail/touched")?.take();
            serde_json::from_value::<Vec<Touch>>(touched).ok()
        };
        let named = blocking(read).await.ok().flatten();
        let named = named.unwrap_or_default().into_iter();
        named.map(Touch::without_digest).collect()
    }

    /// By which id an effect is taken back that happened and whose answer, with its source's word for that id, is lost: by its
    /// event, as every change of a source that has an undo. None where this capability may make no such change.
    pub(crate) fn undo_of_lost(
        &self,
        capability: &CapabilityId,
        intent: &AuditId,
    ) -> Option<String> {
        let entry = self.catalogue.load().get(capability).cloned()?;
        let (manifest, called) = (&entry.connector.offer.manifest, entry.capability());
        let drops = manifest
            .change_sets
            .as_ref()
            .and_then(|sets| sets.drop.as_ref());
        let is_on_copy = called.staged || called.conversation.is_some();
        let is_change = !is_on_copy && !entry.is_undo() && drops != Some(&called.name);
        (manifest.undo.is_some() && is_change).then(|| intent.to_string())
    }

    /// By which id an effect is taken back that happened, as the owner has found. Its source looks again, and can take back
    /// what it finds now; none where it finds none.
    pub async fn undo_of_found(
        &self,
        capability: &CapabilityId,
        intent: &AuditId,
    ) -> Option<String> {
        let undo = self.undo_of_lost(capability, intent)?;
        let found = self.settled(intent, capability).await;
        (found == OutcomeKind::Ok).then_some(undo)
    }

    /// Asks the worker's own store what became of an effect.
    async fn settled(&self, intent: &AuditId, capability: &CapabilityId) -> OutcomeKind {
        let Some(entry) = self.catalogue.load().get(capability).cloned() else {
            return OutcomeKind::Unknown;
        };
        self.settled_by(&entry.source, intent).await
    }

    /// The same, where the source is known.
    async fn settled_by(&self, source: &SourceId, intent: &AuditId) -> OutcomeKind {
        let asked = self.supervisor.settle(source, intent.clone());
        match tokio::time::timeout(SETTLE_WITHIN, asked).await {
            Ok(Verdict::Happened) => OutcomeKind::Ok,
            // As if it had never been sent: what it took, such as its idempotency key, is free.
            Ok(Verdict::DidNot) => OutcomeKind::Refused,
            Ok(Verdict::CannotTell) | Err(_) => OutcomeKind::Unknown,
        }
    }
}
