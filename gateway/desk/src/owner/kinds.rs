//! The kinds of sources that can be added, with the form of each; and what this machine offers of them.

use crate::{
    acts::blocking,
    desk::Desk,
    table::{Reading, Served},
};
use plexus_edge::reply::Refused;
use plexus_ipc::manifest::{Audience, Manifest};
use plexus_owner::kinds::{
    Connector, Detect, DetectedSource, Detections, Form, Kinds, List, NeededSecret, SuggestedSource,
};
use plexus_sources::{
    detect::{self, Detected},
    form,
};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn serve(served: Served) -> Served {
    served.with(list).with(detect)
}

async fn detect(desk: Arc<Desk>, _: Reading, _: Detect) -> Result<Detections, Refused> {
    let found = blocking(move || {
        let state = desk.ledger.snapshot();
        detect::detect(&desk.registry, &desk.state_dir, &state)
    })
    .await?;
    Ok(Detections {
        detected: found.into_iter().map(shown).collect(),
    })
}

fn shown(found: Detected) -> DetectedSource {
    DetectedSource {
        kind: found.kind.clone(),
        suggested: SuggestedSource {
            id: found.id,
            kind: found.kind,
            transport: found.transport,
            label: found.label,
            route: found.route,
        },
        evidence: found.evidence,
        already_configured: found.is_configured,
        reachable: found.is_reachable,
        command: found.command,
        needs_secret: found.secret.map(|name| NeededSecret { name }),
    }
}

/// The form of a kind.
pub(crate) fn form_of(manifest: &Manifest) -> Form {
    serde_json::from_value(form::schema(manifest)).unwrap_or_default()
}

async fn list(desk: Arc<Desk>, _: Reading, _: List) -> Result<Kinds, Refused> {
    let texts = |of: Value| -> Vec<String> { serde_json::from_value(of).unwrap_or_default() };
    let rows = desk.registry.manifests().map(|manifest| {
        let manifest = &*manifest;
        let offers: Vec<&str> = manifest
            .capabilities
            .iter()
            .filter(|c| c.callable() && c.audience == Audience::Agents)
            .map(|c| c.label.as_str())
            .collect();
        let reason = desk.registry.out_of_place(manifest);
        Connector {
            kind: manifest.kind.clone(),
            connector: manifest.connector.clone(),
            label: manifest.label.clone(),
            blurb: manifest.blurb.clone(),
            provenance_class: manifest.provenance,
            transport: manifest.transport.clone(),
            detectable: manifest.detect.is_some(),
            wireable: reason.is_none(),
            exposes_summary: offers.join(" · "),
            has_channels: manifest.channels.is_some(),
            fields: manifest.fields.iter().map(|field| json!(field)).collect(),
            form: form_of(manifest),
            root: manifest.root.clone(),
            platforms: texts(json!(manifest.platforms)),
            reason,
        }
    });
    Ok(Kinds {
        connectors: rows.collect(),
        revision: desk.catalogue.load().revision,
    })
}
