//! The daemon and its ledger: whether it answers, what one before it left, whether the record is sound.

use super::Finding;
use crate::programs::install;
use crate::{
    owner::{Desk, UNREADABLE, text_of},
    service,
    sources::test::state_of,
};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use plexus_client::{Stop, shell};
use plexus_owner::{
    audit::{self, Verdict, Verify},
    sources::{HealthStatus, List, SourceRow},
    status::{Show, SourceState, Status},
    troubles::{self, Trouble},
};
use plexus_protocol::Timestamp;
use serde_json::Value;
use std::path::Path;

/// What the running daemon says of itself; nothing where none answers.
pub(super) struct Daemon {
    /// Its state.
    pub(super) status: Option<Status>,
    /// Why it does not answer, and what to do.
    silent: Option<Stop>,
    /// Whether one accepts connections, be it that it does not answer this command.
    pub(super) serves: bool,
    /// Its sources, in the shape that `plexusd examine --sources` takes.
    pub(super) sources: Vec<SourceRow>,
    /// Whether it said which those are.
    pub(super) is_listed: bool,
    /// Time of the newest record.
    pub(super) latest: Option<Timestamp>,
    verified: Option<Verdict>,
}

impl Daemon {
    /// Asks it.
    pub(super) async fn look(desk: &Desk) -> Self {
        let mut seen = Self {
            status: None,
            silent: None,
            serves: false,
            sources: Vec::new(),
            is_listed: false,
            latest: None,
            verified: None,
        };
        let mut owner = match desk.open().await {
            Ok(owner) => owner,
            Err(stop) => {
                seen.serves = desk.accepts().await;
                seen.silent = Some(stop);
                return seen;
            }
        };
        seen.serves = true;
        match owner.call(&Show {}).await {
            Ok(status) => seen.status = Some(status),
            Err(stop) => seen.silent = Some(stop),
        }
        if let Ok(reply) = owner.call(&List {}).await {
            seen.sources = reply.sources;
            seen.is_listed = true;
        }
        let newest = audit::List {
            limit: Some(1),
            ..audit::List::default()
        };
        if let Ok(reply) = owner.call(&newest).await {
            seen.latest = reply.events.first().and_then(|event| event.head().at);
        }
        seen.verified = owner.call(&Verify {}).await.ok();
        seen
    }

    pub(super) fn answers(&self) -> bool {
        self.status.is_some()
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.status.as_ref().map(|status| status.port)
    }
}

pub(super) fn look(desk: &Desk, daemon: &Daemon, examined: Option<&Value>) -> Vec<Finding> {
    let start = match service::is_installed() {
        true => "plexusctl service start",
        false => "plexusd",
    };
    let mut findings = Vec::new();
    match &daemon.status {
        Some(status) => {
            for source in &status.unsandboxed {
                findings.push(Finding::of("unsandboxed", troubles::unsandboxed(source)));
            }
            findings.extend(status.sources.iter().filter_map(not_serving));
            let resting = status.resting.iter();
            findings
                .extend(resting.map(|of| {
                    Finding::of(&format!("source {}", of.source), troubles::resting(of))
                }));
            let version = &status.versions.runtime_version;
            let what = format!("plexusd {version} answers, process {}", status.pid);
            findings.push(match version == env!("CARGO_PKG_VERSION") {
                true => Finding::ok("gateway", what),
                false => Finding::warn(
                    "gateway",
                    format!("{what}; this command is of {}", env!("CARGO_PKG_VERSION")),
                    "plexusctl upgrade",
                ),
            });
            if status.paused {
                findings.push(Finding::of("pause", troubles::paused()));
            }
            let log = troubles::log(&status.ledger, desk.home.path());
            findings.extend(log.map(|trouble| Finding::of("ledger", trouble)));
        }
        None => {
            let silent = daemon.silent.iter();
            findings.extend(silent.map(|stop| no_answer(stop, desk, start)));
            if !daemon.serves {
                findings.extend(left_behind(desk, start));
            }
        }
    }
    findings.push(match service::is_installed() {
        true => Finding::ok("service", "it starts with your login"),
        false => Finding::warn(
            "service",
            "it does not start with your login",
            "plexusctl service install",
        ),
    });
    findings.push(ledger(daemon, examined, desk, start));
    findings
}

/// That it does not answer. A next step that is no command is said; the command is then the one that shows why.
fn no_answer(stop: &Stop, desk: &Desk, start: &str) -> Finding {
    let (why, next) = (&stop.why, stop.next.as_str());
    let key = shell::quote(&desk.home.connection_key().to_string_lossy());
    let shows = match stop.code.as_str() {
        "unreachable" | "key_unusable" | "unauthorized" => format!("ls -l {key}"),
        "key_not_private" => format!("chmod 600 {key}"),
        _ => "plexusctl logs --level warn".to_owned(),
    };
    if next.starts_with("start it: ") {
        return Finding::warn("gateway", why, start);
    }
    if stop.code == UNREADABLE
        && let Some((rest, command)) = next.rsplit_once(": ")
    {
        return Finding::warn("gateway", format!("{why}; {rest}"), command);
    }
    if next.starts_with("plexusctl ") {
        return Finding::warn("gateway", why, next);
    }
    match next {
        "" => Finding::warn("gateway", why, shows),
        next => Finding::warn("gateway", format!("{why}; next: {next}"), shows),
    }
}

/// A source that serves no more: it is disabled, or what it runs changed. Its cage may hold all the same.
fn not_serving(source: &SourceState) -> Option<Finding> {
    let trouble = match (source.enabled, &source.stopped) {
        (false, _) => troubles::disabled(&source.id),
        (true, stopped) => troubles::stopped(&source.id, stopped.as_ref()?),
    };
    Some(Finding::of(&format!("source {}", source.id), trouble))
}

/// A source that does not serve, or not all, as its workers said last.
pub(super) fn ailing(row: &SourceRow) -> Option<Finding> {
    let fails = match row.health.status {
        HealthStatus::Unavailable => true,
        HealthStatus::Degraded => false,
        HealthStatus::Ok | HealthStatus::Unknown => return None,
    };
    if !row.source.enabled || row.stopped.is_some() {
        return None;
    }
    let id = row.source.id.as_str();
    let trouble = troubles::not_serving(id, &state_of(&row.health));
    let trouble = Trouble { fails, ..trouble };
    Some(Finding::of(&format!("source {id}"), trouble))
}

/// What a daemon that was killed has left; the next start takes it away.
fn left_behind(desk: &Desk, start: &str) -> Vec<Finding> {
    let home = desk.home.path();
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(home.join(name)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let mut findings = Vec::new();
    if let Some(pid) = read("runtime.json")["pid"].as_u64() {
        findings.push(match lives(pid) {
            true => Finding::fail(
                "leftovers",
                format!("process {pid} is named as the gateway and does not answer"),
                format!("kill {pid}"),
            ),
            false => Finding::warn(
                "leftovers",
                format!("runtime.json names process {pid}, which is gone"),
                start,
            ),
        });
    }
    let workers = read("run/workers.json");
    let alive = workers.as_array().into_iter().flatten();
    let alive: Vec<_> = alive
        .filter_map(|worker| worker["pid"].as_u64().filter(|pid| lives(*pid)))
        .map(|pid| pid.to_string())
        .collect();
    if !alive.is_empty() {
        let what = format!(
            "workers of an earlier gateway still run: {}",
            alive.join(" ")
        );
        findings.push(Finding::warn("leftovers", what, start));
    }
    findings
}

/// Whether there is such a process. One of somebody else is one.
fn lives(pid: u64) -> bool {
    let Some(pid) = i32::try_from(pid).ok().filter(|pid| *pid > 0) else {
        return false;
    };
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

fn sound(events: u64, archives: u64) -> Finding {
    let archives = match archives {
        0 => String::new(),
        n => format!(", older ones in {n} archives"),
    };
    Finding::ok("ledger", format!("sound: {events} events{archives}"))
}

fn ledger(daemon: &Daemon, examined: Option<&Value>, desk: &Desk, start: &str) -> Finding {
    match &daemon.verified {
        None => {}
        Some(Verdict::Holds(log)) => return sound(log.events, log.archives),
        Some(Verdict::Broken(log)) => {
            let what = format!("it does not hold together: {}", log.problem.what);
            return match &log.problem.archive {
                None => Finding::of("ledger", troubles::unsound(&what)),
                Some(_) => Finding::fail("ledger", what, "plexusctl audit archives"),
            };
        }
    }
    let Some(seen) = examined.map(|seen| &seen["ledger"]) else {
        return Finding::fail("ledger", "it could not be checked", "plexusctl doctor");
    };
    match (text_of(seen, "state"), &daemon.silent) {
        ("inUse", None) if daemon.answers() => Finding::fail(
            "ledger",
            "the gateway cannot check it now",
            "plexusctl status",
        ),
        ("inUse", Some(stop)) if daemon.serves => Finding {
            name: "ledger".to_owned(),
            what: "not checked: the gateway holds it, and this command could not ask it".to_owned(),
            ..no_answer(stop, desk, start)
        },
        _ => at_rest(seen, desk.home.path(), start),
    }
}

/// What `plexusd examine` saw of a ledger that no daemon answered for.
fn at_rest(seen: &Value, home: &Path, start: &str) -> Finding {
    let quoted = |path: &Path| shell::quote(&path.to_string_lossy());
    match text_of(seen, "state") {
        "sound" => {
            let count = |member: &str| seen[member].as_u64().unwrap_or_default();
            sound(count("events"), count("archives"))
        }
        "absent" => Finding::ok("ledger", "there is none yet"),
        "inUse" => Finding::warn(
            "ledger",
            "a gateway holds it, and does not answer",
            "plexusctl logs --level warn",
        ),
        "format" => Finding::fail("ledger", text_of(seen, "why"), install()),
        "unsure" => Finding::fail("ledger", text_of(seen, "why"), start),
        "unseen" => {
            let why = text_of(seen, "why");
            let remedy = match why.contains("Permission denied") || why.contains("Is a directory") {
                true => format!("ls -la {}", quoted(home)),
                false => format!("df -h {} \"${{TMPDIR:-/tmp}}\"", quoted(home)),
            };
            Finding::fail("ledger", format!("it could not be checked: {why}"), remedy)
        }
        "gone" | "unreadable" => Finding::fail(
            "ledger",
            text_of(seen, "why"),
            "plexusctl restore --replace FILE",
        ),
        _ => Finding::fail(
            "ledger",
            text_of(seen, "why"),
            format!("plexusd verify {}", quoted(&home.join("ledger.redb"))),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{act::CallerContext, doctor::Level};
    use plexus_client::{Exit, Home};
    use serde_json::json;

    /// One that accepts connections is not to be killed, whatever the end of a call was.
    #[test]
    fn a_gateway_that_serves_and_does_not_answer_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let note = json!({"port": 1, "pid": std::process::id()}).to_string();
        std::fs::write(home.path().join("runtime.json"), note).unwrap();
        let desk = Desk {
            home: Home::at(home.path()),
            json: true,
            caller: CallerContext::look(true),
        };
        let mut daemon = Daemon {
            status: None,
            silent: Some(Stop::new(Exit::Failed, "no_answer", "late")),
            serves: true,
            sources: Vec::new(),
            is_listed: false,
            latest: None,
            verified: None,
        };
        let seen = json!({"ledger": {"state": "inUse"}});
        let remedy = |daemon: &Daemon, name: &str| {
            let findings = look(&desk, daemon, Some(&seen));
            let named = findings.into_iter().find(|found| found.name == name);
            named.and_then(|found| found.remedy)
        };
        let logs = Some("plexusctl logs --level warn".to_owned());
        assert_eq!(remedy(&daemon, "leftovers"), None);
        assert_eq!(remedy(&daemon, "gateway"), logs);
        assert_eq!(remedy(&daemon, "ledger"), logs);
        let next = "plexusctl and plexusd of one build read each other: plexusctl upgrade";
        daemon.silent = Some(Stop::new(Exit::Failed, UNREADABLE, "odd").next(next));
        for name in ["gateway", "ledger"] {
            assert_eq!(remedy(&daemon, name).as_deref(), Some("plexusctl upgrade"));
        }
        daemon.serves = false;
        let kill = format!("kill {}", std::process::id());
        assert_eq!(remedy(&daemon, "leftovers"), Some(kill), "the control");
    }

    /// A ledger that could not be looked at is neither well nor damaged.
    #[test]
    fn each_way_that_a_ledger_lies_there_has_its_words_and_its_remedy() {
        for (state, level, words, remedy) in [
            ("sound", Level::Ok, "sound: 7 events", ""),
            ("absent", Level::Ok, "none yet", ""),
            ("inUse", Level::Warn, "does not answer", "plexusctl logs"),
            ("unsure", Level::Fail, "the reason", "plexusd"),
            ("gone", Level::Fail, "the reason", "plexusctl restore"),
            ("unreadable", Level::Fail, "the reason", "plexusctl restore"),
            (
                "unseen",
                Level::Fail,
                "it could not be checked: the reason",
                "df -h '/a home'",
            ),
            (
                "damaged",
                Level::Fail,
                "the reason",
                "plexusd verify '/a home/ledger.redb'",
            ),
        ] {
            let seen = json!({"state": state, "why": "the reason", "events": 7});
            let finding = at_rest(&seen, Path::new("/a home"), "plexusd");
            assert_eq!(finding.level, level, "{state}");
            let is_doubled = words == "the reason" && finding.what != words;
            assert!(finding.what.contains(words) && !is_doubled, "{finding:?}");
            let said = finding.remedy.unwrap_or_default();
            assert!(
                said.starts_with(remedy) && said.is_empty() == remedy.is_empty(),
                "{said}"
            );
        }
        let denied = json!({"state": "unseen", "why": "opening it: Permission denied"});
        let remedy = at_rest(&denied, Path::new("/a home"), "plexusd").remedy;
        assert_eq!(remedy.as_deref(), Some("ls -la '/a home'"));
    }
}
