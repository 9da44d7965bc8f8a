//! Turns what the ledger records into events.

use crate::{
    approvals::{card, run},
    events::{Audience, Epoch, epoch_now},
    kernel::Kernel,
};
use plexus_ledger::Recorded;
use plexus_protocol::{AgentId, PendingId};
use plexus_trust::State;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::broadcast;

/// What of an item's heading is told when it begins to wait.
const ADDED: [&str; 6] = [
    "pendingId",
    "kind",
    "createdAt",
    "agentId",
    "capabilities",
    "register",
];

/// Turns records into frames until the ledger is gone.
pub async fn follow(kernel: Arc<Kernel>) {
    let mut records = kernel.ledger.subscribe();
    // A yes that nobody heard, at a start or after a panic.
    run::resume(&kernel);
    loop {
        match records.recv().await {
            Ok(record) => from_record(&kernel, &record),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                run::resume(&kernel);
                kernel.approvals.note_change();
                kernel.feed.missed();
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Whether [`follow`] has anything to do with a record. Calls are most of the log and change no grant: they are looked at
/// while an owner watches, and where an item waits for their run.
pub fn concerns(owners: &AtomicUsize, record: &Recorded) -> bool {
    record.event_type() != "invoke"
        || owners.load(Ordering::Relaxed) > 0
        || crate::approvals::is_of_an_item(record)
}

fn from_record(kernel: &Arc<Kernel>, record: &Recorded) {
    let feed = &kernel.feed;
    let watched = feed.owners.load(Ordering::Relaxed) > 0;
    let kind = record.event_type();
    if kind == "invoke" && !watched {
        kernel.approvals.note_change_of_calls(record);
        return;
    }
    let Ok(event) = serde_json::from_str::<Value>(record.json()) else {
        return;
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let agent = text(&event, "agentId").and_then(|a| AgentId::parse(&a).ok());
    if watched {
        let mut data =
            json!({"id": record.id().to_string(), "auditType": kind, "at": event.get("time")});
        for key in ["agentId", "capabilityId", "outcome"] {
            if let Some(value) = text(&event, key) {
                data[key] = json!(value);
            }
        }
        feed.tell(Audience::Owner, "audit_appended", data, None);
    }
    if kind == "invoke" {
        kernel.approvals.note_change_of_calls(record);
        return;
    }
    kernel.approvals.note_change();
    let detail = event.get("detail").cloned().unwrap_or_default();
    let what = text(&detail, "event").unwrap_or_default();
    let item = text(&detail, "item").or_else(|| text(&detail, "viaApproval"));
    if let Some(item) = item {
        let decision = match what.as_str() {
            "grant.allow" | "extension.register" => Some("approved"),
            "grant.deny" | "item.void" | "item.lapse" => Some("denied"),
            _ => None,
        };
        // One yes may have answered several requests.
        if let (Some("approved"), Ok(item)) = (decision, PendingId::parse(&item)) {
            run::start(kernel, &item);
        }
        if let (Some(decision), Some(agent)) = (decision, agent) {
            let data = json!({"pendingId": item, "decision": decision});
            // The caller is notified, also where the item ended with its credential.
            let state = kernel.ledger.snapshot();
            let known = PendingId::parse(&item).ok();
            let known = known.and_then(|id| state.item(&id));
            let asked = known.and_then(|item| item.agent_epoch);
            let kind = known.map_or("grant", |item| card::kind(item));
            let epoch = Epoch::Is(asked.unwrap_or_else(|| epoch_now(&state, &agent)));
            feed.tell(Audience::Agent(agent, epoch), "grant_resolved", data, None);
            let data = json!({"pendingId": item, "kind": kind, "decision": decision});
            feed.tell(Audience::Owner, "pending_resolved", data, None);
        }
        if what == "grant.pending" {
            let state = kernel.ledger.snapshot();
            let known = PendingId::parse(&item)
                .ok()
                .and_then(|id| state.item(&id).cloned());
            if let Some(known) = known {
                let mut shown = card::heading(&known, state.latest);
                shown.retain(|key, _| ADDED.contains(&key.as_str()));
                let narration = card::narrated(&kernel.catalogue.load(), &state, &known);
                shown.insert("pendingNarration".into(), json!(narration));
                feed.tell(
                    Audience::Owner,
                    "pending_added",
                    json!({"item": shown}),
                    None,
                );
            }
        }
    }
    grants_changed(kernel, &event);
    for change in event
        .get("changes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let Some(gone) = change.get("tokenGone") else {
            continue;
        };
        if let (Some(of), Some(jti)) = (
            text(gone, "agent").and_then(|a| AgentId::parse(&a).ok()),
            text(gone, "id"),
        ) {
            let mut data = json!({"jti": jti});
            // Clients show these words: two are the wire's own, the others are the owner's or the agent's.
            let reason = match text(&detail, "event").as_deref() {
                Some("agent.revoke") => Some("agent revoked".to_owned()),
                Some("key.rotate") => Some("connection-key rotated".to_owned()),
                _ => text(&detail, "reason"),
            };
            if let Some(reason) = reason {
                data["reason"] = json!(reason);
            }
            let epoch = of_token(&kernel.ledger.snapshot(), &event, &of);
            feed.tell(Audience::Agent(of, epoch), "token_revoked", data, None);
        }
    }
}

/// Notifies each agent of whose grants a record sets or removes one: its manifest names them.
fn grants_changed(kernel: &Kernel, event: &Value) {
    let changes = event["changes"].as_array().into_iter().flatten();
    let agents = changes.filter_map(|change| {
        let set = change.pointer("/grant/agent");
        let agent = set.or_else(|| change.pointer("/grantGone/0"))?;
        AgentId::parse(agent.as_str()?).ok()
    });
    let agents: BTreeSet<_> = agents.collect();
    let state = kernel.ledger.snapshot();
    for agent in agents {
        let epoch = Epoch::Is(epoch_now(&state, &agent));
        let data = json!({"revision": kernel.catalogue.load().revision});
        let audience = Audience::Agent(agent, epoch);
        kernel.feed.tell(audience, "manifest_changed", data, None);
    }
}

/// Whose token has gone: where the credential ended with it, of the program that had it until then.
fn of_token(state: &State, event: &Value, agent: &AgentId) -> Epoch {
    // With these a token ends and the credential that it was made for does not.
    let lives_on = matches!(
        event["detail"]["event"].as_str(),
        Some("grant.revoke" | "source.change")
    );
    let changes = || event["changes"].as_array().into_iter().flatten();
    let row = changes().find(|change| change["agent"]["id"] == agent.as_str());
    let gone = changes().any(|change| change["agentGone"] == agent.as_str());
    let next = match row {
        Some(row) if !lives_on => row["agent"]["epoch"].as_u64(),
        // Who comes next under the name has a later epoch than the one that ended.
        None if gone => changes().find_map(|change| change["serial"].as_u64()),
        _ => return Epoch::Is(epoch_now(state, agent)),
    };
    // If the record does not say it, nobody is told.
    Epoch::Before(next.unwrap_or_default())
}
