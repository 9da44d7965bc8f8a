//! What became of effects whose answer nobody has: their worker's own store says.

use super::outcome::unanswered;
use crate::{app::App, launch::refused_start};
use plexus_ipc::message::Verdict;
use plexus_protocol::{AuditId, CapabilityId, SourceId};
use plexus_trust::{Command, OutcomeKind};
use std::time::Duration;

/// How long a worker may take to say what became of an effect.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

impl App {
    /// Effects that were begun before a crash: nobody knows what became of them until their worker says so.
    pub(crate) async fn settle_what_a_crash_left(&self) -> anyhow::Result<()> {
        let state = self.ledger.snapshot();
        for (intent, open) in state.open_intents.iter() {
            tracing::warn!(name: "effect.left_by_crash", auditId = %intent, capability = %open.capability, "an effect was under way when the daemon ended");
            let kind = self.settled(intent, &open.capability).await;
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
