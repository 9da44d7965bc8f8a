//! What the programs of a run may reach, on record before the run begins (docs/sources/README.md#network-access).
//!
//! A worker's keeper starts the programs of the source's manifest, each in its own sandbox, under the profiles of the same
//! offer. So the gateway knows what it allows without asking the worker.
//!
//! Invariant: the event names the call, so that a reader of the log finds the run that it is about.
//!
//! Must not know: how a program is started, which of them a run needs.

use crate::kernel::{Kernel, of_ours};
use plexus_ipc::message::Role;
use plexus_protocol::{AuditId, CapabilityId, Digest, SourceId, Verb};
use serde_json::{Value, json};

/// Records it, where the effect may have programs started. The run is not held up by a log that does not take it: its
/// intent is there.
pub(crate) async fn note(
    kernel: &Kernel,
    source: &SourceId,
    capability: &CapabilityId,
    intent: &AuditId,
) {
    let Some(detail) = of_run(kernel, source, capability, intent) else {
        return;
    };
    if let Err(error) = kernel.unasked(of_ours(detail)).await {
        tracing::warn!(name: "audit.note_failed", %error, auditId = %intent, "what a run may reach could not be recorded");
    }
}

fn of_run(
    kernel: &Kernel,
    source: &SourceId,
    capability: &CapabilityId,
    intent: &AuditId,
) -> Option<Value> {
    let catalogue = kernel.catalogue.load();
    let entry = catalogue.get(capability)?;
    let runs = entry.capability().verbs.contains(Verb::Execute) || entry.capability().long_running;
    let offer = &entry.connector.offer;
    let state = kernel.ledger.snapshot();
    let route = &state.sources.get(source)?.config.route;
    let declared = offer.manifest.children.iter();
    let of_writers = declared.filter(|child| child.role != Some(Role::Reader));
    let programs: Vec<_> = of_writers
        .filter_map(|child| {
            let mut profiles = offer.children.iter();
            let (_, profile) = profiles.find(|(name, _)| *name == child.name)?;
            Some(json!({
                "name": child.name,
                "program": child.program.named(route),
                "profile": Digest::of(profile.as_bytes()),
            }))
        })
        .collect();
    let hosts = offer.manifest.admitted(route).unwrap_or_default();
    let hosts: Vec<_> = hosts
        .iter()
        .map(|(_, to)| format!("{}:{}", to.host, to.port))
        .collect();
    (runs && !programs.is_empty()).then(|| {
        json!({
            "event": "run.cage", "source": source, "call": intent,
            "programs": programs, "hosts": hosts,
        })
    })
}
