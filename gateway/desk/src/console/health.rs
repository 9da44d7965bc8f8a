//! Whether all is well, as a page: the gateway, its log, its sandboxes and workers, each with what helps where it is not.
//!
//! Must not know: what `plexusctl doctor` finds out outside of the gateway's process; it is named beside. What both find has
//! the words of `plexus_owner::troubles`.

use super::{
    card::Moment,
    foreign::ForeignText,
    links::{self, Begin, Stretch},
    shell, words,
};
use crate::{desk::Desk, owner::status, table::Reading};
use askama::Template;
use axum::{extract::State, response::Response};
use plexus_edge::reply::Refused;
use plexus_owner::{
    sources::HealthStatus,
    status::{Show, SourceState, Status, WorkerState},
    troubles::{self, Free, Trouble},
};
use plexus_protocol::{Timestamp, time::ago};
use std::{path::Path, sync::Arc};

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
    remedy: Option<ForeignText>,
    /// The page that helps: a request that waits, or the form of a source that does not serve.
    page: Option<(&'static str, String)>,
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
    let home = desk.state_dir.path().to_owned();
    shell::rendered(&desk, move || Page::of(&status, &home, from, now).render()).await
}

impl Check {
    fn well(what: &str, found: &str) -> Self {
        Self {
            class: "ok",
            what: ForeignText::short(what, 80),
            found: ForeignText::short(found, 400),
            remedy: None,
            page: None,
        }
    }

    fn bad(what: &str, trouble: &Trouble) -> Self {
        let remedy = &trouble.remedy;
        let of_cards = ["plexusctl approvals ", "plexusctl sources resume "];
        let asked = of_cards.into_iter().any(|of| remedy.starts_with(of));
        Self {
            class: "bad",
            remedy: (!asked).then(|| ForeignText::short(remedy, 300)),
            page: links::page_for(remedy).filter(|_| asked),
            ..Self::well(what, &trouble.found)
        }
    }

    fn of_source(source: &SourceState) -> Self {
        let id = source.id.as_str();
        if let Some(stopped) = &source.stopped {
            return Self::bad(id, &troubles::stopped(&source.id, stopped));
        }
        let detail = source.health.detail.as_deref();
        let how = source.health.status.in_words();
        match source.health.status {
            HealthStatus::Ok | HealthStatus::Unknown => Self::well(id, detail.unwrap_or(how)),
            HealthStatus::Degraded | HealthStatus::Unavailable => {
                let found = format!("{how}: {}", detail.unwrap_or("no reason is known"));
                Self {
                    page: Some(("Change", format!("/admin/source-form?id={id}"))),
                    ..Self::bad(id, &troubles::not_serving(id, &found))
                }
            }
        }
    }

    /// One that is well as `found` says, unless there is a trouble.
    fn unless(trouble: Option<Trouble>, what: &str, found: &str) -> Self {
        match trouble {
            Some(trouble) => Self::bad(what, &trouble),
            None => Self::well(what, found),
        }
    }
}

/// The room on a folder's disk in words, and the trouble where it is little. Blocks on the disk.
pub(super) fn room(home: &Path) -> (String, Option<Trouble>) {
    match Free::at(home) {
        Ok(free) => troubles::disk(home, free),
        Err(error) => (format!("its free space is unknown: {error}"), None),
    }
}

impl Page {
    fn of(status: &Status, home: &Path, from: usize, now: Timestamp) -> Self {
        let ledger = &status.ledger;
        let log = troubles::log(ledger, home);
        let mut checks = vec![Check::unless(log, "Audit log", "takes every event")];
        let checked = format!(
            "compared with the state {}: {}",
            ago(ledger.checked.at, now),
            if ledger.checked.holds {
                "nothing is wrong"
            } else {
                "they differ"
            }
        );
        let unsound = (!ledger.checked.holds).then(|| troubles::unsound(&checked));
        checks.push(Check::unless(unsound, "Audit log, compared", &checked));
        let (free, few) = room(home);
        checks.push(Check::unless(few, "Disk", &free));
        let cages = &status.cages;
        let mechanism = cages.mechanism.as_deref().unwrap_or("none");
        let found = format!("{mechanism}, version {}", cages.version.unwrap_or(0));
        let uncaged = (!cages.supported).then(|| troubles::uncaged(cages.reason.as_deref()));
        checks.push(Check::unless(uncaged, "Sandbox of this system", &found));
        for source in &status.unsandboxed {
            checks.push(Check::bad(source.as_str(), &troubles::unsandboxed(source)));
        }
        let reach = match status.loopback_only {
            true => "only this machine reaches the gateway",
            false => "other machines reach the gateway",
        };
        checks.push(Check::well("Network", reach));
        if status.paused {
            checks.push(Check::bad("Agents", &troubles::paused()));
        }
        let enabled = status.sources.iter().filter(|source| source.enabled);
        checks.extend(enabled.map(Check::of_source));
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

#[cfg(test)]
mod tests {
    use super::*;

    const TROUBLED: &str = r#"{
        "lraVersion": "1", "protocolVersion": "1", "protocolExact": "1", "runtimeVersion": "1", "pid": 1, "port": 7077,
        "uptimeMs": 1, "paused": true, "startedBy": "terminal", "stopping": false, "build": "b", "launch": 1,
        "loopbackOnly": true, "effectsUnderWay": 0, "workers": [], "conversations": [], "unsettled": [], "resting": [],
        "ledger": {"condition": "closed", "reason": "the disk fails", "queued": 0,
            "checked": {"at": "2026-11-28T00:00:00.000Z", "by": "start", "holds": false}},
        "cages": {"supported": false, "reason": "Landlock is off"}, "unsandboxed": ["notes"],
        "sources": [{"id": "notes", "label": "Notes", "kind": "obsidian-vault", "enabled": true, "health": {
            "status": "unavailable", "detail": "token is not set: plexusctl sources secret notes token",
            "checkedAt": "2026-11-28T00:00:00.000Z"}}],
        "agents": {"known": 0, "withGrants": []},
        "counts": {"sources": 1, "capabilities": 0, "grants": 0, "pending": 0, "sessions": 0}}"#;

    /// Each trouble has its words and the command that helps; what is well has none.
    #[test]
    fn each_trouble_has_its_remedy() {
        let status: Status = serde_json::from_str(TROUBLED).unwrap();
        let home = tempfile::tempdir().unwrap();
        let page = Page::of(&status, home.path(), 0, Timestamp(0))
            .render()
            .unwrap();
        for (found, remedy) in [
            (
                "it takes no event: the disk fails",
                "plexusctl logs --level warn",
            ),
            ("they differ", "plexusctl audit verify"),
            ("Landlock is off", "cat /sys/kernel/security/lsm; uname -r"),
            ("RUNS WITHOUT A SANDBOX", "plexusctl sources disable notes"),
            ("all agents are paused", "plexusctl resume"),
            ("does not serve", "plexusctl sources secret notes token"),
        ] {
            let row = page.lines().find(|line| line.contains(found));
            let row = row.unwrap_or_else(|| panic!("{found}: {page}"));
            assert!(row.contains("dot bad") && row.contains(remedy), "{row}");
        }
        let disk = page.lines().find(|line| line.contains("B free"));
        assert!(
            disk.is_some_and(|row| row.contains("<b>Disk</b>")),
            "{page}"
        );
        let network = page.lines().find(|line| line.contains("only this machine"));
        assert!(network.is_some_and(|row| row.contains("dot ok") && !row.contains("<code>")));
    }
}
