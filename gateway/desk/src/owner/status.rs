//! The gateway at a glance, for `status` and `doctor`: what runs, what waits, what is wrong.

use super::{
    calls,
    profile::role,
    sources::{health_now, stopped},
    unsettled,
    v1::{counts, uptime_ms, versions},
};
use crate::{
    acts::blocking,
    desk::Desk,
    table::{Reading, Served},
    upgrade::{LaunchOrigin, own_build},
};
use plexus_calls::{approvals::change, kernel::Phase};
use plexus_edge::reply::Refused;
use plexus_ledger::Condition;
use plexus_owner::status::{
    self, AgentCounts, CageProof, CageSupport, ChangeOver, LedgerCheck, LedgerCondition,
    LedgerState, RestingSource, Show, SourceState, Status, Worker,
};
use plexus_protocol::{Digest, Timestamp};
use plexus_supervisor::{WorkerState, WorkerStatus};
use plexus_trust::{Source, State as TrustState, standing_for};
use std::sync::{Arc, PoisonError};

pub(super) fn serve(served: Served) -> Served {
    served.with(show)
}

pub(crate) async fn show(desk: Arc<Desk>, _: Reading, _: Show) -> Result<Status, Refused> {
    let ledger = ledger(&desk).await?;
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let with_grants = state.agents.values().filter(|agent| {
        agent
            .grants
            .keys()
            .any(|id| standing_for(&state, agent, id, now).is_some())
    });
    let workers = desk.supervisor.workers();
    let sources = state.sources.values();
    let sources = sources.filter(|source| !source.config.is_over());
    Ok(Status {
        versions: versions(),
        pid: std::process::id(),
        port: desk.address.port(),
        uptime_ms: uptime_ms(&desk),
        paused: desk.revocations.paused(&state),
        started_by: desk.started_by.to_owned(),
        stopping: desk.phase() != Phase::Serving,
        build: own_build().build,
        launch: desk.launch,
        loopback_only: desk.address.is_loopback_only(),
        ledger,
        cages: cages(),
        workers: workers.into_iter().map(worker).collect(),
        sources: sources.map(|source| in_short(&desk, source)).collect(),
        agents: AgentCounts {
            known: state.agents.len(),
            with_grants: with_grants.map(|agent| agent.id.clone()).collect(),
        },
        counts: counts(&desk, &state),
        effects_under_way: state.open_intents.len(),
        conversations: calls::conversations(&desk),
        unsettled: unsettled::all(&state),
        resting: resting(&desk, &state, now),
        unsandboxed: desk.unsandboxed.clone(),
        upgrade: desk.came.as_ref().map(change_over),
    })
}

/// That something of the owner's is held in memory alone, in words.
pub(crate) fn unsaved(desk: &Desk) -> Option<&'static str> {
    let held = desk.revocations.holds_the_owners();
    held.then_some("what you took back is not saved, and ends with the gateway")
}

async fn ledger(desk: &Arc<Desk>) -> Result<LedgerState, Refused> {
    let reader = desk.ledger.clone();
    let read = move || Some((reader.head().ok()?, reader.last_checkpoint().ok()?));
    let log = blocking(read).await?;
    let (condition, queued) = desk.ledger.condition();
    let lost = unsaved(desk);
    let (condition, reason) = match condition {
        Condition::Open => (LedgerCondition::Open, None),
        Condition::DiskFull => {
            let reason = lost.unwrap_or("only acts of the owner are recorded");
            (LedgerCondition::DiskFull, Some(reason.to_owned()))
        }
        Condition::Closed(why) => {
            let reason = match lost {
                Some(lost) => format!("{why}; {lost}"),
                None => why,
            };
            (LedgerCondition::Closed, Some(reason))
        }
    };
    let checked = desk.checked.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(LedgerState {
        condition,
        reason,
        queued,
        checked: LedgerCheck {
            at: checked.at,
            by: checked.by.to_owned(),
            holds: checked.holds,
        },
        events: log.as_ref().map(|(head, _)| head.seq),
        head: log.as_ref().map(|(head, _)| Digest(head.hash)),
        checkpoint: log.as_ref().map(|(_, checkpoint)| *checkpoint),
    })
}

fn cages() -> CageSupport {
    let support = plexus_sandbox::kernel_support();
    let found = support.as_ref().ok();
    CageSupport {
        supported: found.is_some(),
        mechanism: found.map(|found| found.mechanism.to_owned()),
        version: found.map(|found| found.version),
        reason: support.as_ref().err().map(ToString::to_string),
    }
}

fn worker(worker: WorkerStatus) -> Worker {
    Worker {
        source: worker.source,
        role: role(worker.role),
        state: worker_state(worker.state),
        since: worker.since,
        restarts: worker.restarts,
        pid: worker.pid,
        cage: worker.cage.map(|report| CageProof {
            checks: report.checks.len(),
            held: report.checks.iter().filter(|check| check.held).count(),
        }),
    }
}

fn in_short(desk: &Desk, source: &Source) -> SourceState {
    SourceState {
        id: source.id.clone(),
        label: source.config.label.clone(),
        kind: source.config.kind.clone(),
        enabled: source.config.enabled,
        health: health_now(desk, source),
        stopped: stopped(source),
    }
}

fn change_over(came: &LaunchOrigin) -> ChangeOver {
    match came {
        LaunchOrigin::From(from) => ChangeOver::From(from.clone()),
        LaunchOrigin::Back { to, why } => ChangeOver::Failed {
            to: to.clone(),
            why: why.clone(),
        },
    }
}

/// Sources on which grants are suspended, or tools hidden, until the owner decides.
fn resting(desk: &Desk, state: &TrustState, now: Timestamp) -> Vec<RestingSource> {
    let catalogue = desk.catalogue.load();
    let sources = state.sources.values().map(|source| RestingSource {
        source: source.id.clone(),
        grants: state.resting(source, now).count(),
        pending_id: change::id(source),
    });
    sources
        .filter(|of| of.grants > 0 || catalogue.proposal(&of.source).is_some())
        .collect()
}

pub(super) fn worker_state(state: WorkerState) -> status::WorkerState {
    match state {
        WorkerState::Stopped => status::WorkerState::Stopped,
        WorkerState::Starting => status::WorkerState::Starting,
        WorkerState::Ready => status::WorkerState::Ready,
        WorkerState::Stopping => status::WorkerState::Stopping,
        WorkerState::Backoff => status::WorkerState::Backoff,
        WorkerState::Failed => status::WorkerState::Failed,
    }
}
