//! What there is, what of it agents may see, and how its sources do (docs/protocol/owner.md#exposure).

use super::sources;
use crate::{
    acting::{Acting, Narrowing},
    acts::{act, event_of, narrow},
    desk::Desk,
    table::{Reading, Served},
};
use plexus_calls::events::Changed;
use plexus_edge::{agent::discovery, reply::Refused};
use plexus_owner::{
    Done,
    exposure::{
        Entries, Expose, Exposed, ExposedCapability, Exposure, List, ListEntries, Offer, Offered,
    },
    sources::{HealthReport, Probe, ProbedSource},
};
use plexus_protocol::CapabilityId;
use plexus_sources::catalogue::wire_entry;
use plexus_trust::{Command, Reply};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// How long the health of a source is waited for before the last known is told.
const PROBE: Duration = Duration::from_secs(10);

pub(super) fn serve(served: Served) -> Served {
    let served = served.with(capabilities).with(exposure);
    served.with(expose).with(offer).with(health)
}

/// Every entry, hidden ones too.
async fn capabilities(desk: Arc<Desk>, _: Reading, _: ListEntries) -> Result<Entries, Refused> {
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    let entries = catalogue.iter().map(|e| {
        let mut health = match state.sources.get(&e.source) {
            Some(source) => sources::health_now(&desk, source),
            None => sources::health(&desk, &e.source, desk.supervisor.health(&e.source)),
        };
        // That is for the list of sources.
        health.wanted_scope = None;
        wire_entry(e, &state, None, Some(json!(health)))
    });
    Ok(Entries {
        gateway: discovery::gateway(&desk),
        revision: catalogue.revision,
        entries: entries.collect(),
    })
}

async fn exposure(desk: Arc<Desk>, _: Reading, _: List) -> Result<Exposure, Refused> {
    let state = desk.ledger.snapshot();
    let catalogue = desk.catalogue.load();
    let shown = |id: &CapabilityId, label: &str| ExposedCapability {
        id: id.clone(),
        label: label.to_owned(),
        enabled: state.exposed(id),
        default_grant: state.default_grants.contains(id),
    };
    let here = catalogue
        .iter()
        .map(|e| shown(&e.id, &e.capability().label));
    let hidden = state
        .exposure
        .iter()
        .filter(|(id, enabled)| !**enabled && catalogue.get(id).is_none());
    let all = here.chain(hidden.map(|(id, _)| shown(id, id.as_str())));
    Ok(Exposure {
        capabilities: all.collect(),
        revision: catalogue.revision,
    })
}

fn capability(id: &str) -> Result<CapabilityId, Refused> {
    CapabilityId::parse(id).map_err(|e| {
        Refused::malformed(format!("{:?} is {e}", plexus_protocol::words::cut(id, 80)))
    })
}

async fn expose(desk: Arc<Desk>, narrowing: Narrowing, asked: Expose) -> Result<Exposed, Refused> {
    let id = capability(&asked.id)?;
    let command = Command::Expose {
        capability: id.clone(),
        enabled: asked.enabled,
    };
    let receipt = if asked.enabled {
        act(&desk, &narrowing.wider(&desk).await?, command).await?
    } else {
        narrow(&desk, &narrowing, command).await?
    };
    if matches!(receipt.reply, Reply::Changed(true)) {
        desk.renew_catalogue(Some(Changed {
            updated: vec![id.clone()],
            ..Changed::default()
        }));
    }
    Ok(Exposed {
        ok: Done,
        id,
        enabled: asked.enabled,
        revision: desk.catalogue.load().revision,
        audit_id: event_of(&receipt),
    })
}

async fn offer(desk: Arc<Desk>, acting: Acting, asked: Offer) -> Result<Offered, Refused> {
    let id = capability(&asked.id)?;
    let command = Command::DefaultGrant {
        capability: id.clone(),
        ticked: asked.default_grant,
    };
    act(&desk, &acting, command).await?;
    Ok(Offered {
        ok: Done,
        id,
        default_grant: asked.default_grant,
    })
}

/// Asks every source that serves how it does, now.
pub(super) async fn health(desk: Arc<Desk>, _: Reading, _: Probe) -> Result<HealthReport, Refused> {
    let state = desk.ledger.snapshot();
    let mut probes = JoinSet::new();
    for source in state.sources.values().filter(|s| s.config.enabled) {
        let (desk, source) = (desk.clone(), source.clone());
        probes.spawn(async move {
            let health = match sources::stopped(&source) {
                Some(stopped) => sources::health_of_stopped(&source.id, &stopped),
                None => {
                    let probe = desk.supervisor.probe(&source.id);
                    let probed = tokio::time::timeout(PROBE, probe).await;
                    let probed = probed.unwrap_or_else(|_| desk.supervisor.health(&source.id));
                    sources::health(&desk, &source.id, probed)
                }
            };
            let catalogue = desk.catalogue.load();
            let ids = catalogue.iter().filter(|e| e.source == source.id);
            ProbedSource {
                id: source.id.clone(),
                label: source.config.label.clone(),
                health,
                capabilities: ids.map(|e| e.id.clone()).collect(),
            }
        });
    }
    let mut sources = probes.join_all().await;
    sources.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(HealthReport {
        sources,
        revision: desk.catalogue.load().revision,
    })
}
