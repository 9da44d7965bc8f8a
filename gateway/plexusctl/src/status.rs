//! `plexusctl status`: what is shared, who may do what until when, what waits, and whether all is well; on one screen for
//! an ordinary home.
//!
//! Exit status 1 says that something needs the owner; `needs` names each such thing and what to do about it.

mod tables;

use crate::{
    calls,
    owner::{Desk, Owner, json_line},
    pause::PAUSED,
    screen::lines::laid,
};
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    agents::{Enrollment, ListEnrollments},
    exposure::{self, Exposure},
    grants::{self, GrantRow},
    sources::{HealthReport, HealthStatus, Probe, ProbedSource},
    status::{LedgerCondition, Show, Status, Worker, WorkerState},
    troubles::{self, Free, Trouble, secret_command},
};
use plexus_protocol::{SourceId, Timestamp, words::counted};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Shows the gateway at a glance.
pub(crate) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let seen = Snapshot::look(&mut desk.open().await?, desk.home.path()).await?;
    let needs = seen.needs();
    let shown = match desk.json {
        true => json_line(&seen.whole(&needs))?,
        false => laid(&seen.text(&needs, span::now())),
    };
    out::line(&shown)?;
    Ok(match needs.is_empty() {
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

struct Snapshot {
    status: Status,
    health: HealthReport,
    exposure: Exposure,
    grants: Vec<GrantRow>,
    /// How many grants ended by time and can be renewed.
    ended: usize,
    agents: Vec<Enrollment>,
    /// The state directory, and what is wrong with the room on its disk.
    home: PathBuf,
    disk: Option<Trouble>,
}

/// One stable object: members are added, none is renamed or taken away.
#[derive(Serialize)]
struct Overview<'s> {
    status: &'s Status,
    sources: Vec<ShownSource<'s>>,
    grants: &'s [GrantRow],
    agents: &'s [Enrollment],
    needs: &'s [Need],
}

/// A source with what of it agents see, and do not.
#[derive(Serialize)]
struct ShownSource<'s> {
    #[serde(flatten)]
    source: &'s ProbedSource,
    exposed: Vec<&'s str>,
    hidden: Vec<&'s str>,
}

/// Something that only the owner can put right.
#[derive(Serialize)]
struct Need {
    what: String,
    next: String,
}

impl Snapshot {
    async fn look(owner: &mut Owner, home: &Path) -> Result<Self, Stop> {
        // This looks at every source, so its worker has started, and proved its cage, when its state is read next.
        let health = owner.call(&Probe {}).await?;
        let listed = owner.call(&grants::List {}).await?;
        Ok(Self {
            health,
            status: owner.call(&Show {}).await?,
            exposure: owner.call(&exposure::List {}).await?,
            ended: listed.ended.len(),
            grants: listed.grants,
            agents: owner.call(&ListEnrollments {}).await?.agents,
            home: home.to_owned(),
            disk: Free::at(home)
                .ok()
                .and_then(|free| troubles::disk(home, free).1),
        })
    }

    fn whole<'s>(&'s self, needs: &'s [Need]) -> Overview<'s> {
        let source = |source: &'s ProbedSource| ShownSource {
            source,
            exposed: self.capabilities(&source.id, true),
            hidden: self.capabilities(&source.id, false),
        };
        Overview {
            status: &self.status,
            sources: self.health.sources.iter().map(source).collect(),
            grants: &self.grants,
            agents: &self.agents,
            needs,
        }
    }

    fn text(&self, needs: &[Need], now: Timestamp) -> String {
        let mut lines = vec![
            self.gateway(),
            self.waiting(),
            self.record(now),
            self.cages(now),
        ];
        if self.status.paused {
            lines.push(PAUSED.to_owned());
        }
        // What waits is said above.
        let needs = needs.iter().filter(|need| need.next != WATCH);
        lines.extend(
            needs.map(|need| format!("! {}: {}", text::line(&need.what), text::line(&need.next))),
        );
        let mut parts = vec![
            lines.join("\n"),
            tables::sources(self),
            tables::allowed(self, now),
        ];
        parts.extend((self.ended > 0).then(|| {
            let many = counted(self.ended, "grant");
            format!("{many} ended in the last 30 days; to grant again: plexusctl grants renew")
        }));
        parts.extend(calls::open(&self.status.conversations, now));
        parts.join("\n\n")
    }

    fn gateway(&self) -> String {
        let status = &self.status;
        let reach = match status.loopback_only {
            false => "OTHER MACHINES can reach it, unencrypted",
            true => "from this machine only",
        };
        let by = match status.started_by.as_str() {
            "terminal" => ", started in a terminal".to_owned(),
            "" | "program" => String::new(),
            service => format!(", started by {}", text::line(service)),
        };
        format!(
            "gateway: plexusd {} on port {}, {reach}; up {}, process {}{by}",
            text::line(&status.versions.runtime_version),
            status.port,
            span::length(status.uptime_ms),
            status.pid,
        )
    }

    fn waiting(&self) -> String {
        match self.status.counts.pending {
            0 => "waiting for you: nothing".to_owned(),
            1 => format!("waiting for you: 1 request: {WATCH}"),
            n => format!("waiting for you: {n} requests: {WATCH}"),
        }
    }

    /// Whether the log is kept, how far it goes, and when it was last compared with the state.
    fn record(&self, now: Timestamp) -> String {
        let ledger = &self.status.ledger;
        if ledger.condition != LedgerCondition::Open {
            return format!(
                "audit log: NOT RECORDING ({}): {}",
                ledger.condition.as_str(),
                text::line(ledger.reason.as_deref().unwrap_or_default())
            );
        }
        let checked = &ledger.checked;
        let ago = span::ago(checked.at, now);
        let held = match checked.holds {
            true => "sound",
            false => "NOT SOUND",
        };
        let how = match checked.by.as_str() {
            "verify" => format!("all of it checked {ago}"),
            _ => format!(
                "checked at the start {ago} from event {} on",
                number(ledger.checkpoint)
            ),
        };
        let head = ledger.head.map(|head| head.to_string());
        let events = match &*number(ledger.events) {
            "1" => "1 event".to_owned(),
            events => format!("{events} events"),
        };
        format!(
            "audit log: {events}, recording; {held}, {how}; head {}",
            text::short(&head.unwrap_or_default(), 13)
        )
    }

    /// Whether each worker that runs has proved its cage at its start, and when that was.
    fn cages(&self, now: Timestamp) -> String {
        let cages = &self.status.cages;
        if !cages.supported {
            return format!(
                "cages: NOT POSSIBLE HERE: {}",
                text::line(cages.reason.as_deref().unwrap_or_default())
            );
        }
        let running = self.running();
        let proven = running.iter().filter(|w| proven(w)).count();
        let oldest = running.iter().map(|worker| worker.since).min();
        let told = match (running.len(), oldest) {
            (0, _) => "no worker runs now; each proves its cage as it starts".to_owned(),
            (n, _) if n != proven => format!("NOT PROVED by {} of {n} running workers", n - proven),
            (1, Some(at)) => format!("proved by the one running worker, {}", span::ago(at, now)),
            (n, Some(at)) => {
                format!(
                    "proved by all {n} running workers, the first {}",
                    span::ago(at, now)
                )
            }
            (n, None) => format!("proved by all {n} running workers"),
        };
        format!(
            "cages: {told} ({})",
            text::line(cages.mechanism.as_deref().unwrap_or_default())
        )
    }

    fn running(&self) -> Vec<&Worker> {
        let all = self.status.workers.iter();
        all.filter(|worker| worker.pid.is_some()).collect()
    }

    /// What needs the owner, the most urgent first.
    fn needs(&self) -> Vec<Need> {
        let status = &self.status;
        let mut needs = Vec::new();
        let mut need = |what: String, next: &str| {
            needs.push(Need {
                what,
                next: next.to_owned(),
            });
        };
        if status.ledger.condition != LedgerCondition::Open {
            need("what agents do is not being recorded".to_owned(), DOCTOR);
        }
        if let Some(disk) = self.disk.as_ref().filter(|disk| disk.fails) {
            let what = format!("disk: {} at {}", disk.found, self.home.display());
            need(what, &disk.remedy);
        }
        if !status.ledger.checked.holds {
            need(
                "the audit log is not consistent".to_owned(),
                "plexusctl audit verify",
            );
        }
        for source in &status.unsandboxed {
            need(
                format!(
                    "{source} RUNS WITHOUT A SANDBOX: plexusd was started with --unsandboxed-i-understand {source}"
                ),
                &format!("plexusctl sources disable {source}"),
            );
        }
        if !status.cages.supported {
            need("workers cannot be caged".to_owned(), DOCTOR);
        }
        if self.running().iter().any(|worker| !proven(worker)) {
            need("a worker runs without a proven cage".to_owned(), DOCTOR);
        }
        for worker in &status.workers {
            if matches!(worker.state, WorkerState::Failed | WorkerState::Backoff) {
                let (role, state) = (worker.role.as_str(), worker.state.as_str());
                need(format!("{role} of {}: {state}", worker.source), DOCTOR);
            }
        }
        for source in &self.health.sources {
            if let Some(wanted) = &source.health.wanted_scope {
                let what = format!(
                    "the server of {} wants more than your sign-in is good for{}",
                    source.id,
                    wanted.in_its_words()
                );
                need(what, &format!("plexusctl mcp login {}", source.id));
            }
            // One that is stopped has its own line.
            let is_stopped = status
                .sources
                .iter()
                .any(|s| s.id == source.id && s.stopped.is_some());
            if source.health.status == HealthStatus::Unavailable && !is_stopped {
                let why = source.health.detail.as_deref().unwrap_or_default();
                let room = troubles::is_for_room(why).then(|| troubles::df(&self.home));
                let next = secret_command(why, source.id.as_str());
                let next = next.or(room.as_deref()).unwrap_or(DOCTOR);
                // Its command is printed behind it.
                let why = why.strip_suffix(&format!(": {next}")).unwrap_or(why);
                need(format!("{} cannot be reached: {why}", source.id), next);
            }
        }
        for call in &status.unsettled {
            need(
                format!(
                    "NOT KNOWN whether it happened: {} by {} at {}",
                    call.capability_id, call.agent_id, call.at
                ),
                &format!("plexusctl unknown list {}", call.audit_id),
            );
        }
        for source in &status.sources {
            let Some(stopped) = &source.stopped else {
                continue;
            };
            let trouble = troubles::stopped(&source.id, stopped);
            need(
                format!("{} {}", source.id, text::line(&trouble.found)),
                &trouble.remedy,
            );
        }
        for resting in &status.resting {
            let trouble = troubles::resting(resting);
            need(
                format!("{}: {}", resting.source, trouble.found),
                &trouble.remedy,
            );
        }
        if let n @ 1.. = status.counts.pending {
            need(format!("requests that wait: {n}"), WATCH);
        }
        needs
    }

    /// Capabilities of a source that agents see, or do not, without the source's name.
    fn capabilities(&self, source: &SourceId, enabled: bool) -> Vec<&str> {
        let of = self.exposure.capabilities.iter();
        of.filter(|c| c.enabled == enabled)
            .filter_map(|c| {
                c.id.as_str()
                    .strip_prefix(source.as_str())?
                    .strip_prefix('.')
            })
            .collect()
    }
}

const WATCH: &str = "plexusctl approvals watch";
const DOCTOR: &str = "plexusctl doctor";

fn proven(worker: &Worker) -> bool {
    let cage = worker.cage.as_ref();
    cage.is_some_and(|cage| cage.checks > 0 && cage.checks == cage.held)
}

/// A number of a log that may not have been readable.
fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "?".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests;
