//! `plexusctl status`: what is shared, who may do what until when, what waits, and whether all is well; on one screen for
//! an ordinary home.
//!
//! Exit status 1 says that something needs the owner; `needs` names each such thing and what to do about it.

mod tables;

use crate::{
    calls,
    owner::{Desk, Owner, list_of, text_of},
    pause::PAUSED,
};
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    agents::{Enrollment, ListEnrollments},
    calls::OpenApproval,
    exposure::{self, Exposure},
    grants,
};
use plexus_protocol::{Timestamp, body::StandingGrant};
use serde_json::{Value, json};

/// Shows the gateway at a glance.
pub(crate) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let seen = Snapshot::look(&mut desk.open().await?).await?;
    let needs = seen.needs();
    let shown = match desk.json {
        true => seen.json(&needs).to_string(),
        false => seen.text(&needs, span::now()),
    };
    out::line(&shown)?;
    Ok(match needs.is_empty() {
        true => Exit::Ok,
        false => Exit::Failed,
    })
}

struct Snapshot {
    status: Value,
    health: Value,
    exposure: Exposure,
    grants: Vec<StandingGrant>,
    agents: Vec<Enrollment>,
}

/// Something that only the owner can put right.
struct Need {
    what: String,
    next: String,
}

impl Snapshot {
    async fn look(owner: &mut Owner) -> Result<Self, Stop> {
        // This looks at every source, so its worker has started, and proved its cage, when its state is read next.
        let health = owner.get("/admin/api/health").await?;
        Ok(Self {
            health,
            status: owner.get("/admin/api/status").await?,
            exposure: owner.call(&exposure::List {}).await?,
            grants: owner.call(&grants::List {}).await?.grants,
            agents: owner.call(&ListEnrollments {}).await?.agents,
        })
    }

    /// One stable object: members are added, none is renamed or taken away.
    fn json(&self, needs: &[Need]) -> Value {
        let needs: Vec<_> = needs
            .iter()
            .map(|need| json!({"what": need.what, "next": need.next}))
            .collect();
        let sources: Vec<_> = list_of(&self.health, "sources")
            .iter()
            .map(|source| {
                let id = text_of(source, "id");
                let mut source = source.clone();
                source["exposed"] = json!(self.capabilities(id, true));
                source["hidden"] = json!(self.capabilities(id, false));
                source
            })
            .collect();
        json!({
            "status": self.status,
            "sources": sources,
            "grants": self.grants,
            "agents": self.agents,
            "needs": needs,
        })
    }

    fn text(&self, needs: &[Need], now: Timestamp) -> String {
        let mut lines = vec![
            self.gateway(),
            self.waiting(),
            self.record(now),
            self.cages(now),
        ];
        if self.status["paused"] == true {
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
        let open = self.status["conversations"].clone();
        let open: Vec<OpenApproval> = serde_json::from_value(open).unwrap_or_default();
        parts.extend(calls::open(&open, now));
        parts.join("\n\n")
    }

    fn gateway(&self) -> String {
        let status = &self.status;
        let reach = match status["loopbackOnly"].as_bool() {
            Some(false) => "OTHER MACHINES can reach it, unencrypted",
            _ => "from this machine only",
        };
        let by = match text_of(status, "startedBy") {
            "terminal" => ", started in a terminal".to_owned(),
            "" | "program" => String::new(),
            service => format!(", started by {}", text::line(service)),
        };
        format!(
            "gateway: plexusd {} on port {}, {reach}; up {}, process {}{by}",
            text::line(text_of(status, "runtimeVersion")),
            number(&status["port"]),
            status["uptimeMs"]
                .as_u64()
                .map_or_else(|| "?".to_owned(), span::length),
            number(&status["pid"]),
        )
    }

    fn pending(&self) -> Option<u64> {
        self.status["counts"]["pending"].as_u64()
    }

    fn waiting(&self) -> String {
        match self.pending() {
            Some(0) => "waiting for you: nothing".to_owned(),
            Some(1) => format!("waiting for you: 1 request: {WATCH}"),
            _ => format!(
                "waiting for you: {} requests: {WATCH}",
                number(&self.status["counts"]["pending"])
            ),
        }
    }

    /// Whether the log is kept, how far it goes, and when it was last compared with the state.
    fn record(&self, now: Timestamp) -> String {
        let ledger = &self.status["ledger"];
        let condition = text_of(ledger, "condition");
        if condition != "open" {
            return format!(
                "audit log: NOT RECORDING ({}): {}",
                text::line(condition),
                text::line(text_of(ledger, "reason"))
            );
        }
        let checked = &ledger["checked"];
        let ago = serde_json::from_value(checked["at"].clone())
            .map_or_else(|_| "?".to_owned(), |at| span::ago(at, now));
        let held = match checked["holds"] == true {
            true => "sound",
            false => "NOT SOUND",
        };
        let how = match text_of(checked, "by") {
            "verify" => format!("all of it checked {ago}"),
            _ => format!(
                "checked at the start {ago} from event {} on",
                number(&ledger["checkpoint"])
            ),
        };
        format!(
            "audit log: {} events, recording; {held}, {how}; head {}",
            number(&ledger["events"]),
            text::short(text_of(ledger, "head"), 13)
        )
    }

    /// Whether each worker that runs has proved its cage at its start, and when that was.
    fn cages(&self, now: Timestamp) -> String {
        let cages = &self.status["cages"];
        if cages["supported"] == false {
            return format!(
                "cages: NOT POSSIBLE HERE: {}",
                text::line(text_of(cages, "reason"))
            );
        }
        let running = self.running();
        let proven = running.iter().filter(|w| proven(w)).count();
        let oldest = running
            .iter()
            .filter_map(|w| serde_json::from_value(w["since"].clone()).ok())
            .min();
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
            text::line(text_of(cages, "mechanism"))
        )
    }

    fn running(&self) -> Vec<&Value> {
        let all = list_of(&self.status, "workers").iter();
        all.filter(|worker| worker["pid"].is_u64()).collect()
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
        if text_of(&status["ledger"], "condition") != "open" {
            need("what agents do is not being recorded".to_owned(), DOCTOR);
        }
        if status["ledger"]["checked"]["holds"] == false {
            need(
                "the audit log is not consistent".to_owned(),
                "plexusctl audit verify",
            );
        }
        for source in list_of(status, "unsandboxed") {
            let source = source.as_str().unwrap_or_default();
            need(
                format!(
                    "{source} RUNS WITHOUT A SANDBOX: plexusd was started with --unsandboxed-i-understand {source}"
                ),
                &format!("plexusctl sources disable {source}"),
            );
        }
        if status["cages"]["supported"] == false {
            need("workers cannot be caged".to_owned(), DOCTOR);
        }
        if self.running().iter().any(|worker| !proven(worker)) {
            need("a worker runs without a proven cage".to_owned(), DOCTOR);
        }
        for worker in list_of(status, "workers") {
            let state = text_of(worker, "state");
            if matches!(state, "failed" | "backoff") {
                let who = [text_of(worker, "role"), text_of(worker, "source")];
                need(format!("{} of {}: {state}", who[0], who[1]), DOCTOR);
            }
        }
        for source in list_of(&self.health, "sources") {
            if text_of(source, "status") == "unavailable" {
                let why = [text_of(source, "id"), text_of(source, "detail")];
                need(format!("{} cannot be reached: {}", why[0], why[1]), DOCTOR);
            }
        }
        for call in list_of(status, "unsettled") {
            let event = text_of(call, "auditId");
            need(
                format!(
                    "NOT KNOWN whether it happened: {} by {} at {}",
                    text_of(call, "capabilityId"),
                    text_of(call, "agentId"),
                    text_of(call, "at")
                ),
                &format!("plexusctl unknown list {event}"),
            );
        }
        let stopped = list_of(status, "sources").iter();
        for source in stopped.filter(|source| source["stopped"].is_object()) {
            let (id, stopped) = (text_of(source, "id"), &source["stopped"]);
            let found = list_of(stopped, "found").iter().filter_map(Value::as_str);
            let found: Vec<_> = found.map(text::line).collect();
            let next = match text_of(stopped, "pendingId") {
                "" => format!("plexusctl sources resume {id}"),
                card => format!("plexusctl approvals show {card}"),
            };
            need(
                format!(
                    "{id} is stopped: what it runs is not what you agreed to: {}",
                    found.join("; ")
                ),
                &next,
            );
        }
        for source in list_of(status, "resting") {
            need(
                format!(
                    "{} can do more than when you granted it; grants of it that are suspended until you decide: {}",
                    text_of(source, "source"),
                    number(&source["grants"])
                ),
                &format!("plexusctl approvals show {}", text_of(source, "pendingId")),
            );
        }
        if let Some(n @ 1..) = self.pending() {
            need(format!("requests that wait: {n}"), WATCH);
        }
        needs
    }

    /// Capabilities of a source that agents see, or do not, without the source's name.
    fn capabilities(&self, source: &str, enabled: bool) -> Vec<&str> {
        let of = self.exposure.capabilities.iter();
        of.filter(|c| c.enabled == enabled)
            .filter_map(|c| c.id.as_str().strip_prefix(source)?.strip_prefix('.'))
            .collect()
    }
}

const WATCH: &str = "plexusctl approvals watch";
const DOCTOR: &str = "plexusctl doctor";

fn proven(worker: &Value) -> bool {
    let cage = &worker["cage"];
    cage["checks"].as_u64().is_some_and(|n| n > 0) && cage["checks"] == cage["held"]
}

fn number(value: &Value) -> String {
    value
        .as_u64()
        .map_or_else(|| "?".to_owned(), |n| n.to_string())
}

#[cfg(test)]
mod tests;
