//! What became of effects whose answer nobody has: their worker's own store says.

use super::outcome::unanswered;
use crate::{app::App, launch::refused_start};
use plexus_ipc::message::Verdict;
use plexus_protocol::{AuditId, CapabilityId, SourceId};
use plexus_trust::{Command, OutcomeKind};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How long a worker may take to say what became of an effect.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

impl App {
    /// Effects that were begun before a crash: nobody knows what became of them until their worker says so.
    pub(crate) async fn settle_what_a_crash_left(self: &Arc<Self>) -> anyhow::Result<()> {
        let state = self.ledger.snapshot();
        // All at once: each worker may take as long as one of them alone.
        let mut asked = JoinSet::new();
        for (intent, open) in state.open_intents.iter() {
            tracing::warn!(name: "effect.left_by_crash", auditId = %intent, capability = %open.capability, "an effect was under way when the daemon ended");
            let (app, intent, capability) = (self.clone(), intent.clone(), open.capability.clone());
            asked.spawn(async move {
                let kind = app.settled(&intent, &capability).await;
                (intent, kind)
            });
        }
        let mut kinds: BTreeMap<AuditId, OutcomeKind> = BTreeMap::new();
        while let Some(told) = asked.join_next().await {
            kinds.extend(told);
        }
        for intent in state.open_intents.keys() {
            let kind = kinds.get(intent).copied().unwrap_or(OutcomeKind::Unknown);
            let code = (kind == OutcomeKind::Unknown).then(|| "outcome_unknown".to_owned());
            let outcome = unanswered(kind, code, "the daemon ended");
            self.owner(Command::Outcome {
                intent: intent.clone(),
                outcome,
            })
            .await
            .map_err(refused_start)?;
        }
        Ok(())
    }

    /// Asks the worker's own store what became of an effect.
    pub(crate) async fn settled(&self, intent: &AuditId, capability: &CapabilityId) -> OutcomeKind {
        let Some(entry) = self.catalogue.load().get(capability).cloned() else {
            return OutcomeKind::Unknown;
        };
        self.settled_by(&entry.source, intent).await
    }

    /// The same, where the source is known.
    pub(crate) async fn settled_by(&self, source: &SourceId, intent: &AuditId) -> OutcomeKind {
        let asked = self.supervisor.settle(source, intent.clone());
        match tokio::time::timeout(SETTLE_WITHIN, asked).await {
            Ok(Verdict::Happened) => OutcomeKind::Ok,
            // As if it had never been sent: what it took, such as its idempotency key, is free.
            Ok(Verdict::DidNot) => OutcomeKind::Refused,
            Ok(Verdict::CannotTell) | Err(_) => OutcomeKind::Unknown,
        }
    }
}
