//! A few numbers for a monitor of the owner's (`/metrics`, the text format of Prometheus).

use super::{blocking, status::state_word, v1::Counts};
use crate::{app::App, http::reply::Refused};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use plexus_ledger::Condition;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

pub(super) async fn show(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Refused> {
    super::keyed(&app, &request).await?;
    let ledger = app.ledger.clone();
    let head = blocking(move || ledger.head()).await?.ok();
    let state = app.ledger.snapshot();
    let counts = Counts::of(&app, &state);
    let (condition, queued) = app.ledger.condition();
    let mut text = String::new();
    let mut say = |name: &str, kind: &str, help: &str, value: u64| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# HELP plexus_{name} {help}\n# TYPE plexus_{name} {kind}\nplexus_{name} {value}"
        );
    };
    let count = |n: usize| n as u64;
    say(
        "uptime_seconds",
        "gauge",
        "Awake time since this start.",
        app.started.elapsed().as_secs(),
    );
    if let Some(head) = head {
        say(
            "audit_events_total",
            "counter",
            "Events in the audit log.",
            head.seq,
        );
    }
    say(
        "ledger_open",
        "gauge",
        "1 while every act is recorded.",
        u64::from(condition == Condition::Open),
    );
    say(
        "ledger_queue",
        "gauge",
        "Commands that wait to be recorded.",
        count(queued),
    );
    say(
        "paused",
        "gauge",
        "1 while the owner has paused all agents.",
        u64::from(state.paused),
    );
    say(
        "agents",
        "gauge",
        "Agents that are known.",
        count(state.agents.len()),
    );
    say(
        "sessions",
        "gauge",
        "Open sessions.",
        count(counts.sessions),
    );
    say(
        "grants",
        "gauge",
        "Standing grants that can be used now.",
        count(counts.grants),
    );
    say(
        "pending_items",
        "gauge",
        "Items that wait for the owner.",
        count(counts.pending),
    );
    say(
        "effects_under_way",
        "gauge",
        "Effects begun and without an outcome.",
        count(state.open_intents.len()),
    );
    let unknown: usize = state.agents.values().map(|agent| agent.unknown.len()).sum();
    say(
        "effects_unsettled",
        "gauge",
        "Effects of which nobody knows whether they happened.",
        count(unknown),
    );
    say(
        "sources",
        "gauge",
        "Sources that are switched on.",
        count(counts.sources),
    );
    let mut workers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut restarts = 0;
    for worker in app.supervisor.workers() {
        *workers.entry(state_word(worker.state)).or_default() += 1;
        restarts += u64::from(worker.restarts);
    }
    say(
        "worker_restarts",
        "gauge",
        "Starts of present workers after they had ended by themselves.",
        restarts,
    );
    let _ = writeln!(
        text,
        "# HELP plexus_workers Workers by state.\n# TYPE plexus_workers gauge"
    );
    for (state, n) in workers {
        let _ = writeln!(text, "plexus_workers{{state=\"{state}\"}} {n}");
    }
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
