//! Turns what the supervisor notices about workers into records and frames.

use crate::{
    app::App,
    http::feed::{self, Notice},
    supervisor,
};
use serde_json::json;
use std::sync::Arc;

/// Until the supervisor is gone.
pub(crate) async fn hear_workers(
    app: Arc<App>,
    mut notices: tokio::sync::mpsc::UnboundedReceiver<supervisor::Notice>,
) {
    while let Some(notice) = notices.recv().await {
        let about = match &notice {
            supervisor::Notice::Started {
                source,
                role,
                pid,
                cage,
                build,
            } => {
                let mut about = json!({
                    "event": "worker.start", "source": source, "role": role, "pid": pid, "build": build, "cage": cage,
                });
                app.figures.worker_started(true);
                tracing::info!(name: "worker.started", %source, %role, pid, "a worker started");
                if app.unsandboxed.contains(source) {
                    about["unsandboxed"] = json!(true);
                }
                about
            }
            supervisor::Notice::StartFailed {
                source,
                role,
                why,
                attempts,
            } => {
                app.figures.worker_started(false);
                json!({
                    "event": "worker.refused", "source": source, "role": role, "why": why.to_string(), "attempts": attempts,
                })
            }
            supervisor::Notice::Ended {
                source,
                role,
                pid,
                cause,
                exit,
            } => {
                app.figures.worker_ended(cause.asked_for());
                json!({
                    "event": "worker.end", "source": source, "role": role, "pid": pid,
                    "cause": cause.to_string(), "exit": exit.to_string(),
                })
            }
            supervisor::Notice::Health { source, health, .. } => {
                let state = app.ledger.snapshot();
                let known = state.sources.get(source);
                let lent = known.and_then(|s| s.config.lent.as_ref());
                let borrower =
                    lent.map(|lent| (lent.agent.clone(), feed::epoch_now(&state, &lent.agent)));
                app.feed.publish(Notice::SourceStatus {
                    borrower,
                    source: source.clone(),
                    available: health.status != supervisor::Health::Unavailable,
                    reason: health.detail.clone(),
                });
                // What it points at may have been replaced: then nothing that was granted on it stands.
                if health.status == supervisor::Health::Unavailable {
                    let before = app.ledger.snapshot();
                    if let Err(why) = app.look_at(source).await {
                        tracing::warn!(name: "source.unusable", %source, error = why, "a source cannot be used");
                    }
                    if !Arc::ptr_eq(&before.sources, &app.ledger.snapshot().sources) {
                        app.renew_catalogue(None);
                    }
                }
                continue;
            }
        };
        app.remark(about).await;
    }
}
