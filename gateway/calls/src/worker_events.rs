//! Turns what the supervisor notices about workers into records and frames.
//!
//! Invariant: these records are the daemon's own, and no act of the owner's asks for them: they take neither the
//! owner's places nor the last space on a full disk. What the ledger does not take is kept and tried again.

mod sparing;

use crate::{
    definitions,
    events::{self, Notice},
    host_calls,
    kernel::{Kernel, of_ours},
    source_events::SourceEvents,
};
use plexus_home::tasks::lasting;
use plexus_ledger::SubmitError;
use plexus_protocol::SourceId;
use plexus_sources::naming;
use serde_json::{Value, json};
use sparing::{Sparing, Transition};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Events that wait until the ledger takes them. Beyond, the oldest are given up.
const KEPT: usize = 256;
/// From one try to the next.
const AGAIN: Duration = Duration::from_secs(10);

/// The notices, and what came of them that is not recorded yet. It outlasts a task that panics.
struct Hearing {
    notices: mpsc::UnboundedReceiver<plexus_supervisor::Notice>,
    sparing: Sparing,
    due: VecDeque<Value>,
    events: SourceEvents,
}

/// Starts the task that records what the supervisor notices, until the supervisor is gone.
pub fn hear_workers(
    kernel: Arc<Kernel>,
    notices: mpsc::UnboundedReceiver<plexus_supervisor::Notice>,
) -> JoinHandle<()> {
    let hearing = Arc::new(Mutex::new(Hearing {
        notices,
        sparing: Sparing::default(),
        due: VecDeque::new(),
        events: SourceEvents::start(&kernel),
    }));
    lasting("the notices of workers", move || {
        let (kernel, hearing) = (kernel.clone(), Arc::clone(&hearing));
        async move { hear_all(&kernel, &mut *hearing.lock().await).await }
    })
}

async fn hear_all(kernel: &Arc<Kernel>, hearing: &mut Hearing) {
    let Hearing {
        notices,
        sparing,
        due,
        events,
    } = hearing;
    loop {
        let waits = !due.is_empty() || sparing.owes() || events.owes();
        let notice = tokio::select! {
            notice = notices.recv() => match notice {
                Some(notice) => Some(notice),
                None => return,
            },
            () = tokio::time::sleep(AGAIN), if waits => None,
        };
        due.extend(sparing.counted(Instant::now()));
        match notice {
            Some(plexus_supervisor::Notice::Health { source, health }) => {
                hear(kernel, source, health).await;
            }
            Some(plexus_supervisor::Notice::HostCall(call)) => {
                tokio::spawn(host_calls::answer(kernel.clone(), *call));
                continue;
            }
            Some(plexus_supervisor::Notice::Event(event)) => events.take(event),
            Some(plexus_supervisor::Notice::EventsDropped { source, count }) => {
                events.count(source, count);
            }
            Some(notice) => due.extend(about(kernel, sparing, notice)),
            None => {}
        }
        due.extend(events.dropped());
        record(kernel, due).await;
    }
}

/// Records what is due, as far as the ledger takes it.
async fn record(kernel: &Kernel, due: &mut VecDeque<Value>) {
    while due.len() > KEPT {
        due.pop_front();
        tracing::warn!(name: "audit.note_failed", "an event of a worker is given up: too many wait to be recorded");
    }
    while let Some(detail) = due.front() {
        match kernel.unasked(of_ours(detail.clone())).await {
            Ok(_) | Err(SubmitError::Refused(_)) => due.pop_front(),
            Err(error) => {
                tracing::warn!(name: "audit.note_failed", %error, "events of workers could not be recorded yet");
                return;
            }
        };
    }
}

/// The event that a notice becomes; none where it is only counted.
fn about(
    kernel: &Kernel,
    sparing: &mut Sparing,
    notice: plexus_supervisor::Notice,
) -> Option<Value> {
    let now = Instant::now();
    match notice {
        plexus_supervisor::Notice::Started {
            source,
            role,
            pid,
            cage,
            build,
        } => {
            kernel.metrics.worker_started(true);
            tracing::info!(name: "worker.started", %source, %role, pid, "a worker started");
            if !sparing.by_itself(&source, role, Transition::Up, now) {
                return None;
            }
            let (digest, whole) = sparing.report(&source, role, &cage, now);
            let mut about = json!({
                "event": "worker.start", "source": source, "role": role, "pid": pid, "build": build,
                "cageDigest": digest,
            });
            if let Some(whole) = whole {
                about["cage"] = whole;
            }
            if kernel.unsandboxed.contains(&source) {
                about["unsandboxed"] = json!(true);
            }
            Some(about)
        }
        plexus_supervisor::Notice::StartFailed {
            source,
            role,
            why,
            attempts,
        } => {
            kernel.metrics.worker_started(false);
            Some(json!({
                "event": "worker.refused", "source": source, "role": role, "why": why.to_string(), "attempts": attempts,
            }))
        }
        plexus_supervisor::Notice::Ended {
            source,
            role,
            pid,
            cause,
            exit,
        } => {
            kernel.metrics.worker_ended(cause.asked_for());
            let by_itself = sparing.by_itself(&source, role, Transition::Down, now);
            by_itself.then(|| {
                json!({
                    "event": "worker.end", "source": source, "role": role, "pid": pid,
                    "cause": cause.to_string(), "exit": exit.to_string(),
                })
            })
        }
        plexus_supervisor::Notice::Egress {
            source,
            connections,
        } => Some(json!({"event": "worker.egress", "source": source, "connections": connections})),
        plexus_supervisor::Notice::ScopeMissing { source, wanted } => {
            // With a secret of the owner's there is nothing to sign in to.
            let connector = kernel.registry.of_kind(&naming::kind_of(&source))?;
            let mut hosts = connector.offer.manifest.hosts();
            let is_news = hosts.any(|host| host.sign_in.is_some())
                && kernel.wanted_scopes.add(&source, &wanted);
            is_news.then(
                || json!({"event": "sign-in.scope-missing", "source": source, "wanted": wanted}),
            )
        }
        plexus_supervisor::Notice::Health { .. }
        | plexus_supervisor::Notice::Event(_)
        | plexus_supervisor::Notice::EventsDropped { .. }
        | plexus_supervisor::Notice::HostCall(_) => None,
    }
}

/// Tells the streams how a source does.
async fn hear(kernel: &Arc<Kernel>, source: SourceId, health: plexus_supervisor::SourceHealth) {
    let state = kernel.ledger.snapshot();
    let known = state.sources.get(&source);
    let lent = known.and_then(|s| s.config.lent.as_ref());
    let borrower = lent.map(|lent| (lent.agent.clone(), events::epoch_now(&state, &lent.agent)));
    let capabilities = known.into_iter().flat_map(|s| s.capabilities.keys());
    let exposed = capabilities.filter(|id| state.exposed(id)).cloned();
    kernel.feed.publish(Notice::SourceStatus {
        borrower,
        capabilities: exposed.collect(),
        source: source.clone(),
        available: health.status != plexus_supervisor::Health::Unavailable,
        reason: health.detail.clone(),
        told: health.told,
    });
    if health.status == plexus_supervisor::Health::Degraded {
        tokio::spawn(definitions::notice(kernel.clone(), source.clone()));
    }
    // What it points at may have been replaced: then nothing that was granted on it stands.
    if health.status == plexus_supervisor::Health::Unavailable {
        let before = kernel.ledger.snapshot();
        if let Err(why) = kernel.look_at(&source).await {
            tracing::warn!(name: "source.unusable", %source, error = why, "a source cannot be used");
        }
        if !Arc::ptr_eq(&before.sources, &kernel.ledger.snapshot().sources) {
            kernel.renew_catalogue(None);
        }
    }
}
