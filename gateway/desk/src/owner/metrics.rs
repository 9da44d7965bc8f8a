//! Figures for a monitor of the owner's (`/metrics`, the text format of OpenMetrics, which Prometheus reads): what was
//! counted ([`plexus_calls::metrics`]), then what is looked at now. The table of `docs/reference/metrics.md` names each; the story
//! `measured` holds it against this route.

use super::{status::worker_state, v1};
use crate::{
    acts::{blocking, failed},
    desk::Desk,
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use plexus_calls::metrics::PREFIX;
use plexus_edge::reply::Refused;
use plexus_ledger::Condition;
use plexus_supervisor::{Supervisor, WorkerState};
use plexus_trust::{ItemState, State as TrustState};
use prometheus_client::{
    encoding::text::{encode_eof, encode_registry},
    metrics::{counter::ConstCounter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use std::{fs, path::Path, sync::Arc, time::UNIX_EPOCH};

const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    crate::acts::keyed(&desk, &request).await?;
    let (ledger, home) = (desk.ledger.clone(), desk.state_dir.path().to_owned());
    let seen = blocking(move || {
        let head = ledger.head().ok().map(|head| head.seq);
        StorageFigures::of(head, &home)
    })
    .await?;
    let mut text = String::new();
    let written = encode_registry(&mut text, desk.metrics.registry())
        .and_then(|()| encode_registry(&mut text, &now(&desk, &seen)))
        .and_then(|()| encode_registry(&mut text, &process(&seen, &desk)))
        .and_then(|()| encode_eof(&mut text));
    if written.is_err() {
        return Err(failed("The metrics could not be written."));
    }
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FORMAT));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What takes a look at files to know.
struct StorageFigures {
    head: Option<u64>,
    ledger_bytes: u64,
    ballast_bytes: u64,
    memory: u64,
    descriptors: u64,
    most_descriptors: u64,
}

impl StorageFigures {
    fn of(head: Option<u64>, home: &Path) -> Self {
        let length = |name: &str| fs::metadata(home.join(name)).map_or(0, |m| m.len());
        // Both systems show a process its own descriptors here. One is the look itself.
        let listed = fs::read_dir("/dev/fd").map_or(0, |all| all.flatten().count() as u64);
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        Self {
            head,
            ledger_bytes: length("ledger.redb"),
            ballast_bytes: length("ledger.ballast"),
            memory: Supervisor::own_memory().unwrap_or(0),
            descriptors: listed.saturating_sub(1),
            most_descriptors: limit.map_or(0, |(soft, _)| soft),
        }
    }
}

/// Registers gauges that have their value already.
struct Gauges(Registry);

impl Gauges {
    fn say(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, gauge(value));
    }
    fn each<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: [(&'static str, u64); N],
    ) {
        let family = Family::<[(&str, &str); 1], Gauge>::default();
        for (word, value) in values {
            family.get_or_create(&[(label, word)]).set(signed(value));
        }
        self.0.register(name, help, family);
    }
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(signed(value));
    gauge
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How many items of a state there are, and how long the oldest of them has waited, in seconds.
#[derive(Clone, Copy, Default)]
struct Items {
    count: u64,
    oldest: u64,
}

fn items(desk: &Desk, state: &TrustState) -> [Items; 2] {
    let now = state.time(desk.clock.now());
    let mut all = [Items::default(); 2];
    let open = state
        .agents
        .values()
        .flat_map(|agent| agent.items.values())
        .filter(|item| now < item.expires_at);
    for item in open {
        let of = match item.state {
            ItemState::Pending => &mut all[0],
            ItemState::Approved { .. } => &mut all[1],
            _ => continue,
        };
        of.count += 1;
        of.oldest = of
            .oldest
            .max(now.0.saturating_sub(item.created_at.0) / 1_000);
    }
    all
}

fn now(desk: &Desk, seen: &StorageFigures) -> Registry {
    let state = desk.ledger.snapshot();
    let counts = v1::counts(desk, &state);
    let (condition, queued) = desk.ledger.condition();
    let count = |n: usize| n as u64;
    let mut all = Gauges(Registry::with_prefix(PREFIX));
    let build = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("os", std::env::consts::OS),
    ];
    all.0.register("build", "What runs", Info::new(build));
    all.say(
        "uptime_seconds",
        "Awake time since this start",
        desk.started.elapsed().as_secs(),
    );
    if let Some(head) = seen.head {
        let events = ConstCounter::new(head);
        let help = "Events in the audit log: the sequence of its head";
        all.0.register("audit_events", help, events);
    }
    let is = |wanted: bool| u64::from(wanted);
    all.each(
        "ledger_condition",
        "1 for what the ledger does: records all, only the owner's acts, nothing",
        "condition",
        [
            ("open", is(condition == Condition::Open)),
            ("disk_full", is(condition == Condition::DiskFull)),
            ("closed", is(matches!(condition, Condition::Closed(_)))),
        ],
    );
    all.say(
        "ledger_queue",
        "Commands that wait to be recorded",
        count(queued),
    );
    all.say(
        "ledger_file_bytes",
        "Size of ledger.redb; what is freed in it is used again",
        seen.ledger_bytes,
    );
    all.say(
        "ledger_ballast_bytes",
        "Space set aside for the owner's acts; 0 once it was needed",
        seen.ballast_bytes,
    );
    all.say(
        "paused",
        "1 while the owner has paused all agents",
        is(desk.revocations.paused(&state)),
    );
    all.say("agents", "Agents that are known", count(state.agents.len()));
    all.say("sessions", "Open sessions", count(counts.sessions));
    all.say(
        "grants",
        "Standing grants that can be used now",
        count(counts.grants),
    );
    let [pending, approved] = items(desk, &state);
    all.each(
        "items",
        "Items that wait: for the owner, or approved and not used",
        "state",
        [("pending", pending.count), ("approved", approved.count)],
    );
    all.each(
        "items_oldest_seconds",
        "Age of the oldest item of a state",
        "state",
        [("pending", pending.oldest), ("approved", approved.oldest)],
    );
    all.say(
        "sources_resting",
        "Sources that changed and wait for the owner",
        count(v1::changed(desk, &state)),
    );
    all.say(
        "effects_under_way",
        "Effects begun and without an outcome",
        count(state.open_intents.len()),
    );
    all.say(
        "effects_unsettled",
        "Effects whose outcome is unknown",
        count(state.agents.values().map(|agent| agent.unknown.len()).sum()),
    );
    all.say("sources", "Enabled sources", count(counts.sources));
    all.say(
        "sources_unsandboxed",
        "Sources whose workers run without a sandbox, by the owner's flag",
        count(desk.unsandboxed.len()),
    );
    let workers = desk.supervisor.workers();
    let of = |state: WorkerState| {
        let workers = workers.iter().filter(|worker| worker.state == state);
        (worker_state(state).as_str(), count(workers.count()))
    };
    all.each(
        "workers",
        "Workers by state",
        "state",
        [
            WorkerState::Stopped,
            WorkerState::Starting,
            WorkerState::Ready,
            WorkerState::Stopping,
            WorkerState::Backoff,
            WorkerState::Failed,
        ]
        .map(of),
    );
    all.say(
        "calls_under_way",
        "Calls that are being answered",
        count(desk.limits.under_way()),
    );
    all.0
}

/// What every program shows under the same names.
fn process(seen: &StorageFigures, desk: &Desk) -> Registry {
    let mut all = Gauges(Registry::default());
    all.say(
        "process_resident_memory_bytes",
        "Memory of the daemon, without its workers",
        seen.memory,
    );
    all.say("process_open_fds", "Open descriptors", seen.descriptors);
    all.say(
        "process_max_fds",
        "Descriptors that may be open",
        seen.most_descriptors,
    );
    let began = desk.metrics.began().duration_since(UNIX_EPOCH);
    all.say(
        "process_start_time_seconds",
        "When it was started, in seconds since 1970",
        began.map_or(0, |since| since.as_secs()),
    );
    all.0
}
