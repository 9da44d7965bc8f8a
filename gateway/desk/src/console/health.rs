//! Whether all is well, as a page: the gateway, its log, its sandboxes and workers, each with what helps where it is not.
//!
//! Must not know: what `plexusctl doctor` finds out outside of the gateway's process; it is named beside.

use super::{
    blocking,
    card::Moment,
    foreign::ForeignText,
    links::{Begin, Stretch},
    shell, words,
};
use crate::{desk::Desk, owner::status, table::Reading};
use askama::Template;
use axum::{extract::State, response::Response};
use plexus_edge::reply::Refused;
use plexus_owner::{
    sources::HealthStatus,
    status::{LedgerCondition, Show, Status, WorkerState},
};
use plexus_protocol::Timestamp;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "health.html")]
struct Page {
    checks: Vec<Check>,
    workers: Vec<WorkerRow>,
    /// Of both lists.
    stretch: Stretch,
    version: String,
    build: ForeignText,
    up: String,
    launch: u64,
    port: u16,
    started_by: ForeignText,
}

/// One thing that is well or is not.
struct Check {
    class: &'static str,
    what: ForeignText,
    found: ForeignText,
    remedy: Option<String>,
}

struct WorkerRow {
    source: String,
    role: &'static str,
    class: &'static str,
    state: &'static str,
    since: Moment,
    restarts: u32,
    cage: String,
}

/// The page.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(from): Begin,
) -> Result<Response, Refused> {
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let status = status::show(desk.clone(), Reading, Show {}).await?;
    let made = blocking(move || Page::of(&status, from, now).render()).await?;
    shell::made(&desk, made)
}

impl Check {
    fn new(good: bool, what: &str, found: &str, remedy: &str) -> Self {
        Self {
            class: if good { "ok" } else { "bad" },
            what: ForeignText::short(what, 80),
            found: ForeignText::short(found, 400),
            remedy: (!good && !remedy.is_empty()).then(|| remedy.to_owned()),
        }
    }
}

impl Page {
    fn of(status: &Status, from: usize, now: Timestamp) -> Self {
        let ledger = &status.ledger;
        let (good, found, remedy) = match ledger.condition {
            LedgerCondition::Open => (true, "takes every event".to_owned(), ""),
            LedgerCondition::DiskFull => (
                false,
                "the disk is full: only your own acts are recorded".to_owned(),
                "free some space; nothing else is needed",
            ),
            LedgerCondition::Closed => (
                false,
                ledger.reason.clone().unwrap_or_else(|| "closed".to_owned()),
                "plexusctl doctor",
            ),
        };
        let mut checks = vec![Check::new(good, "Audit log", &found, remedy)];
        let checked = format!(
            "compared with the state {} ago: {}",
            words::span(now.since(ledger.checked.at)),
            if ledger.checked.holds {
                "nothing is wrong"
            } else {
                "they differ"
            }
        );
        checks.push(Check::new(
            ledger.checked.holds,
            "Audit log, compared",
            &checked,
            "plexusctl audit verify",
        ));
        let cages = &status.cages;
        let found = match (&cages.mechanism, &cages.reason) {
            (Some(mechanism), _) => format!("{mechanism}, version {}", cages.version.unwrap_or(0)),
            (None, Some(reason)) => reason.clone(),
            (None, None) => "none".to_owned(),
        };
        checks.push(Check::new(
            cages.supported,
            "Sandbox of this system",
            &found,
            "plexusctl doctor",
        ));
        for source in &status.unsandboxed {
            checks.push(Check::new(
                false,
                source.as_str(),
                "its workers run without a sandbox, as this gateway was started",
                "start plexusd without --unsandboxed-i-understand",
            ));
        }
        checks.push(Check::new(
            true,
            "Network",
            if status.loopback_only {
                "only this machine reaches the gateway"
            } else {
                "other machines reach the gateway"
            },
            "",
        ));
        if status.paused {
            checks.push(Check::new(
                false,
                "Agents",
                "paused: none is served",
                "plexusctl resume",
            ));
        }
        for source in status.sources.iter().filter(|source| source.enabled) {
            let good = matches!(
                source.health.status,
                HealthStatus::Ok | HealthStatus::Unknown
            );
            let found = match (&source.stopped, source.health.detail.as_deref()) {
                (Some(_), _) => "its code changed: it is stopped until you decide",
                (None, Some(detail)) => detail,
                (None, None) if source.health.status == HealthStatus::Unknown => "not used yet",
                (None, None) => "serves",
            };
            let remedy = format!("plexusctl sources test {}", source.id);
            let good = good && source.stopped.is_none();
            checks.push(Check::new(good, source.id.as_str(), found, &remedy));
        }
        let longer = checks.len().max(status.workers.len());
        let stretch = Stretch::of(from, longer, |from| format!("/admin/health?from={from}"));
        Self {
            checks: stretch.part(checks).collect(),
            workers: stretch
                .part(&status.workers)
                .map(|worker| WorkerRow {
                    source: worker.source.to_string(),
                    role: worker.role.as_str(),
                    class: match worker.state {
                        WorkerState::Ready => "ok",
                        WorkerState::Failed | WorkerState::Backoff => "bad",
                        WorkerState::Stopped | WorkerState::Starting | WorkerState::Stopping => {
                            "idle"
                        }
                    },
                    state: worker.state.as_str(),
                    since: Moment::ago(worker.since, now),
                    restarts: worker.restarts,
                    cage: worker.cage.map_or_else(String::new, |cage| {
                        format!("{} of {} attacks held", cage.held, cage.checks)
                    }),
                })
                .collect(),
            stretch,
            version: status.versions.runtime_version.clone(),
            build: ForeignText::short(&status.build, 80),
            up: words::span(status.uptime_ms),
            launch: status.launch,
            port: status.port,
            started_by: ForeignText::short(&status.started_by, 60),
        }
    }
}
