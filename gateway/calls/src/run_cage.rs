//! What the programs of a run may reach, on record before the run begins (docs/sources/README.md#network-access).
//!
//! A worker's keeper starts the programs of the source's manifest, each in its own sandbox, under the profiles of the same
//! offer. So the gateway knows what it allows without asking the worker.
//!
//! Invariant: the event names the call, so that a reader of the log finds the run that it is about.
//!
//! Must not know: how a program is started, which of them a run needs.

use crate::kernel::{Kernel, of_ours};
use plexus_ipc::{manifest::Capability, message::Role};
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
    if let Err(error) = Box::pin(kernel.unasked(of_ours(detail))).await {
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
    let entry = catalogue
        .get(capability)
        .filter(|entry| may_run(entry.capability()))?;
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
    if programs.is_empty() {
        return None;
    }
    // None: they could not be read from the route, which is not "no host".
    let hosts = offer.manifest.admitted(route).ok().map(|hosts| {
        let hosts = hosts.iter();
        let hosts = hosts.map(|(_, to)| format!("{}:{}", to.host, to.port));
        hosts.collect::<Vec<_>>()
    });
    Some(json!({
        "event": "run.cage", "source": source, "call": intent,
        "programs": programs, "hosts": hosts,
    }))
}

/// Whether a call may have programs started: it runs one, or its worker does for as long as it takes. A workflow calls
/// others, each of which has an event of its own.
fn may_run(capability: &Capability) -> bool {
    capability.verbs.contains(Verb::Execute)
        || capability.command.is_some()
        || capability.long_running && !capability.is_workflow()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_starts_programs_has_an_event() {
        let of = |verb: &str, more: Value| {
            let mut whole = json!({
                "name": "a", "kind": "capability", "label": "A", "describe": "A.", "verbs": [verb],
            });
            for (name, value) in more.as_object().unwrap() {
                whole[name] = value.clone();
            }
            may_run(&serde_json::from_value(whole).unwrap())
        };
        let command = json!({
            "child": "a", "arguments": ["{text}"], "exitStatuses": [0], "outputBytes": 9, "timeoutMs": 9,
        });
        let members = json!([{"id": "a.b", "verbs": ["write"]}]);
        assert!(of("execute", json!({})));
        assert!(of("write", json!({"command": command})));
        assert!(of("write", json!({"longRunning": true})));
        assert!(!of("write", json!({})));
        assert!(!of(
            "write",
            json!({"longRunning": true, "members": members})
        ));
    }
}
