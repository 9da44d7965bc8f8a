//! How an effect ended, on its way into the log.
//!
//! ```text
//! known ─▶ submitted ─┬ recorded
//!                     └ not taken (disk full, lane full, file closed) ─▶ kept ─ every second ─▶ recorded
//! ```
//! An intent whose commit failed may be on record although nothing was sent on its account: it gets its end in the same way.
//! Invariant: an outcome that is known is not forgotten because the ledger could not take it: while this process lives it
//! is tried again; after its end the source is asked what became of the effect, as after any crash. The caller was told
//! `unknown` meanwhile, because nothing else can be held.

use crate::kernel::Kernel;
use plexus_ledger::{Lane, SubmitError};
use plexus_protocol::{AgentId, AuditId, ErrorCode};
use plexus_record::audit_id;
use plexus_trust::{Command, Outcome, OutcomeKind, Refusal};
use std::{sync::Arc, time::Duration};

/// From one try to the next: what the ledger itself waits before it looks for room again.
const AGAIN: Duration = Duration::from_secs(1);

/// Records how the effect of `intent` ended: one of `agent`, which it is charged to, or the owner's own.
///
/// # Errors
/// Why it is not recorded yet.
pub(super) async fn record(
    kernel: &Arc<Kernel>,
    agent: Option<&AgentId>,
    intent: &AuditId,
    outcome: Outcome,
) -> Result<(), String> {
    let command = Command::Outcome {
        intent: intent.clone(),
        outcome,
    };
    let submitted = match agent {
        Some(agent) => kernel.submit_for(agent, command.clone()).await,
        None => kernel.ledger.submit(command.clone(), Lane::Owner).await,
    };
    let error = match submitted {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    tracing::error!(name: "effect.unrecorded", %error, auditId = %intent, "an outcome could not be recorded yet");
    if !matches!(error, SubmitError::Refused(_)) {
        tokio::spawn(keep_trying(kernel.clone(), intent.clone(), command));
    }
    Err(error.to_string())
}

/// An intent could not be recorded, so nothing was sent. Should it be on record after all, that is recorded as well.
pub(super) fn never_sent(kernel: &Arc<Kernel>, error: &SubmitError<Refusal>) {
    let SubmitError::Lost {
        event: Some(intent),
        ..
    } = error
    else {
        return;
    };
    let intent = audit_id(*intent);
    let code = ErrorCode::AuditUnavailable.as_str().to_owned();
    let outcome = unanswered(OutcomeKind::Refused, Some(code), "never sent");
    let command = Command::Outcome {
        intent: intent.clone(),
        outcome,
    };
    tokio::spawn(keep_trying(kernel.clone(), intent, command));
}

/// The end of an effect of which no worker told anything.
pub(super) fn unanswered(kind: OutcomeKind, code: Option<String>, reason: &str) -> Outcome {
    Outcome {
        kind,
        code,
        reason: Some(reason.to_owned()),
        ..failed(0, Duration::ZERO)
    }
}

/// The end of a call that came to nothing, before more is known of it.
pub(super) fn failed(input_bytes: u64, took: Duration) -> Outcome {
    Outcome {
        kind: OutcomeKind::Failed,
        code: None,
        reason: None,
        input_bytes,
        output_bytes: 0,
        touched: Vec::new(),
        summary: None,
        undo: None,
        effect: None,
        progress: None,
        micros: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
    }
}

/// As many of these as effects were under way when the ledger stopped taking records; it takes no intent meanwhile.
async fn keep_trying(kernel: Arc<Kernel>, intent: AuditId, command: Command) {
    loop {
        tokio::time::sleep(AGAIN).await;
        match kernel.ledger.submit(command.clone(), Lane::Agent).await {
            Ok(_) => {
                tracing::info!(name: "effect.recorded_late", auditId = %intent, "an outcome is recorded, late");
                return;
            }
            // It is there already, or there is no such intent: a commit that looked lost was not, or was.
            Err(SubmitError::Refused(_)) => return,
            Err(_) => {}
        }
    }
}
