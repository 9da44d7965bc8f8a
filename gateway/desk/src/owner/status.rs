//! The gateway at a glance, for `status` and `doctor`: what runs, what waits, what is wrong.

use super::{
    calls,
    sources::stopped,
    unsettled,
    v1::{Counts, uptime_ms, versions},
};
use crate::{
    acts::blocking,
    desk::Desk,
    upgrade::{Build, LaunchOrigin},
};
use axum::{extract::State, response::Response};
use plexus_calls::{approvals::change, kernel::Phase};
use plexus_edge::reply::{Refused, ok};
use plexus_ledger::Condition;
use plexus_protocol::Digest;
use plexus_supervisor::WorkerState;
use plexus_trust::standing_for;
use serde_json::{Value, json};
use std::sync::{Arc, PoisonError};

pub(super) async fn show(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let reader = desk.ledger.clone();
    let read = move || Some((reader.head().ok()?, reader.last_checkpoint().ok()?));
    let log = blocking(read).await?;
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let (condition, queued) = desk.ledger.condition();
    let ledger = match condition {
        Condition::Open => json!({"condition": "open"}),
        Condition::DiskFull => {
            json!({"condition": "disk_full", "reason": "only acts of the owner are recorded"})
        }
        Condition::Closed(why) => json!({"condition": "closed", "reason": why}),
    };
    let checked = desk.checked.lock().unwrap_or_else(PoisonError::into_inner);
    let checked = json!({"at": checked.at, "by": checked.by, "holds": checked.holds});
    let mut ledger = with(with(ledger, "queued", json!(queued)), "checked", checked);
    if let Some((head, checkpoint)) = log {
        ledger["events"] = json!(head.seq);
        ledger["head"] = json!(Digest(head.hash));
        ledger["checkpoint"] = json!(checkpoint);
    }
    let cages = match plexus_sandbox::kernel_support() {
        Ok(support) => {
            json!({"supported": true, "mechanism": support.mechanism, "version": support.version})
        }
        Err(why) => json!({"supported": false, "reason": why.to_string()}),
    };
    let workers: Vec<Value> = desk
        .supervisor
        .workers()
        .into_iter()
        .map(|worker| {
            let mut out = json!({
                "source": worker.source,
                "role": worker.role,
                "state": state_word(worker.state),
                "since": worker.since,
                "restarts": worker.restarts,
            });
            if let Some(pid) = worker.pid {
                out["pid"] = json!(pid);
            }
            if let Some(report) = &worker.cage {
                let held = report.checks.iter().filter(|check| check.held).count();
                out["cage"] = json!({"checks": report.checks.len(), "held": held});
            }
            out
        })
        .collect();
    let sources: Vec<Value> = state
        .sources
        .values()
        .filter(|source| !source.config.is_over())
        .map(|source| {
            let row = json!({
                "id": source.id,
                "label": source.config.label,
                "kind": source.config.kind,
                "enabled": source.config.enabled,
                "health": desk.supervisor.health(&source.id),
            });
            match stopped(source) {
                Some(stopped) => with(row, "stopped", stopped),
                None => row,
            }
        })
        .collect();
    let with_grants = state.agents.values().filter(|agent| {
        agent
            .grants
            .keys()
            .any(|id| standing_for(&state, agent, id, now).is_some())
    });
    let mut out = Value::Object(versions());
    let members = json!({
        "pid": std::process::id(),
        "port": desk.address.port(),
        "uptimeMs": uptime_ms(&desk),
        "paused": state.paused,
        "startedBy": desk.started_by,
        "stopping": desk.phase() != Phase::Serving,
        "build": Build::own().build,
        "launch": desk.launch,
        "loopbackOnly": desk.address.is_loopback_only(),
        "ledger": ledger,
        "cages": cages,
        "workers": workers,
        "sources": sources,
        "agents": {"known": state.agents.len(), "withGrants": with_grants.map(|a| &a.id).collect::<Vec<_>>()},
        "counts": Counts::of(&desk, &state).wire(),
        "effectsUnderWay": state.open_intents.len(),
        "conversations": calls::conversations(&desk),
        "unsettled": unsettled::all(&state),
        "resting": resting(&state),
        "unsandboxed": desk.unsandboxed,
    });
    let mut members = members;
    match &desk.came {
        None => {}
        Some(LaunchOrigin::From(from)) => members["upgrade"] = json!({"from": from}),
        Some(LaunchOrigin::Back { to, why }) => {
            members["upgrade"] = json!({"failed": {"to": to, "why": why}});
        }
    }
    if let (Value::Object(out), Value::Object(members)) = (&mut out, members) {
        out.extend(members);
    }
    Ok(ok(&out))
}

/// Sources on which grants rest until the owner decides.
fn resting(state: &plexus_trust::State) -> Vec<Value> {
    let resting = |source: &plexus_trust::Source| state.resting(source).count();
    let sources = state
        .sources
        .values()
        .map(|source| (source, resting(source)));
    sources
        .filter(|(_, grants)| *grants > 0)
        .map(|(source, grants)| {
            json!({"source": source.id, "grants": grants, "pendingId": change::id(source)})
        })
        .collect()
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    object[key] = value;
    object
}

pub(super) fn state_word(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Stopped => "stopped",
        WorkerState::Starting => "starting",
        WorkerState::Ready => "ready",
        WorkerState::Stopping => "stopping",
        WorkerState::Backoff => "backoff",
        WorkerState::Failed => "failed",
    }
}
