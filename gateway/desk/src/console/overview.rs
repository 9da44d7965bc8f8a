//! The first page: what needs the owner, who is connected and what each did today, what is shared, what happened last,
//! and whether all is well. A number leads to the list that it is of.
//!
//! Must not know: more of any of these than its own page does.

use super::{
    activity::CallLine,
    agents::{did, sum},
    card::Moment,
    foreign::ForeignText,
    glance, health, links, shell,
    since::{self, Lately},
};
use crate::{
    desk::Desk,
    owner::{activity, agents, status},
    table::Reading,
};
use askama::Template;
use axum::{extract::State, response::Response};
use plexus_calls::latency::Latency;
use plexus_edge::reply::Refused;
use plexus_owner::{
    activity::Totals,
    agents::Agents,
    sources::HealthStatus,
    status::{LedgerCondition, Status},
    troubles,
};
use plexus_protocol::{EnrollmentStatus, Timestamp};
use plexus_trust::Source;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Agents that are shown.
const AGENTS: usize = 12;
/// Sources whose latency is shown.
const SOURCES: usize = 12;

#[derive(Template)]
#[template(path = "overview.html")]
struct Page {
    queue: glance::Queue,
    /// What else needs somebody: words, and where it is dealt with.
    troubles: Vec<Trouble>,
    paused: bool,
    agents: Vec<Line>,
    more_agents: usize,
    calls: Vec<CallLine>,
    sources: usize,
    capabilities: usize,
    hidden: usize,
    grants: usize,
    under_way: usize,
    workers: usize,
    proven: usize,
    lent: usize,
    lately: Option<Lately>,
    latencies: Vec<LatencyRow>,
    more_latencies: usize,
    /// The oldest hours of the charts are not all there.
    cut: bool,
}

/// How long the calls of a source took, as a bar from p50 to p95.
struct LatencyRow {
    source: String,
    calls: String,
    p50: String,
    p95: String,
    x: u64,
    width: u64,
}

struct Trouble {
    words: ForeignText,
    link: String,
}

/// An agent with the last day.
struct Line {
    id: String,
    class: &'static str,
    today: String,
    calls: String,
    seen: Option<Moment>,
    /// Each kind of call, as the path that draws its parts of all columns.
    bars: BTreeMap<&'static str, String>,
}

/// Calls of an hour, as parts of a column.
struct Bar {
    class: &'static str,
    x: usize,
    y: u64,
    height: u64,
}

/// The page.
pub(super) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let status = status::show(desk.clone(), Reading, plexus_owner::status::Show {}).await?;
    let agents = agents::list(desk.clone(), Reading, plexus_owner::agents::List {}).await?;
    let tally = activity::tally_with_calls(&desk, now).await?;
    let lately = since::lately(&desk, now).await?;
    let latencies = desk.latencies.of_day(now);
    let shown = desk.clone();
    shell::rendered(&desk, move || {
        let state = shown.ledger.snapshot();
        let catalogue = shown.catalogue.load();
        let hidden = catalogue
            .iter()
            .filter(|entry| !state.exposed(&entry.id))
            .count();
        let up = status.workers.iter().filter(|worker| worker.pid.is_some());
        let caged: Vec<_> = up.filter_map(|worker| worker.cage).collect();
        Page {
            queue: glance::Queue::of(&shown, &state),
            troubles: troubles(&status, health::room(shown.state_dir.path()).1),
            paused: status.paused,
            more_agents: agents.agents.len().saturating_sub(AGENTS),
            agents: lines(&agents, &tally, now),
            calls: tally
                .last
                .iter()
                .map(|row| CallLine::of(row, now))
                .collect(),
            sources: status.counts.sources,
            capabilities: status.counts.capabilities,
            hidden,
            grants: status.counts.grants,
            under_way: shown.under_way.all().len(),
            workers: caged.len(),
            proven: caged.iter().filter(|cage| cage.checks == cage.held).count(),
            lent: state
                .sources
                .values()
                .filter(|source| is_lent(source))
                .count(),
            lately,
            more_latencies: latencies.len().saturating_sub(SOURCES),
            latencies: latencies
                .iter()
                .take(SOURCES)
                .map(|latency| LatencyRow::of(latency, now))
                .collect(),
            cut: tally.cut,
        }
        .render()
    })
    .await
}

fn is_lent(source: &Source) -> bool {
    let lent = source.config.lent.as_ref();
    lent.is_some_and(|lent| lent.ended.is_none())
}

/// Width of the chart of latencies, and of an octave in it. It begins at 0.1 ms.
const CHART: u64 = 240;
const OCTAVE: u64 = 10;

/// Where a length of time lies in the chart: octaves above 0.1 ms.
fn place(took: Duration) -> u64 {
    let tenths = u64::try_from(took.as_micros()).unwrap_or(u64::MAX) / 100;
    let octaves = u64::from(tenths.max(1).ilog2());
    // The part of an octave behind the last whole one.
    let rest = ((tenths.max(1) - (1 << octaves)) * OCTAVE) >> octaves;
    (octaves * OCTAVE + rest).min(CHART - 4)
}

/// A length of time in two digits.
fn length(took: Duration) -> String {
    match u64::try_from(took.as_micros()).unwrap_or(u64::MAX) {
        micros @ 0..10_000 => format!("{}.{} ms", micros / 1_000, micros / 100 % 10),
        micros @ 10_000..1_000_000 => format!("{} ms", micros / 1_000),
        micros => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

impl LatencyRow {
    fn of(latency: &Latency, now: Timestamp) -> Self {
        let (from, to) = (place(latency.p50), place(latency.p95));
        Self {
            source: latency.source.to_string(),
            calls: links::calls_of_day(None, Some(latency.source.as_str()), now),
            p50: length(latency.p50),
            p95: length(latency.p95),
            x: from,
            width: to - from + 4,
        }
    }
}

/// What is wrong, beyond the requests that wait; `few` where the disk has little room.
fn troubles(status: &Status, few: Option<troubles::Trouble>) -> Vec<Trouble> {
    let mut found = Vec::new();
    let mut tell = |words: String, link: String| {
        found.push(Trouble {
            words: ForeignText::short(&words, 300),
            link,
        });
    };
    let health = || "/admin/health".to_owned();
    let reason = status.ledger.reason.as_deref();
    let why = reason.unwrap_or("no reason is known");
    match status.ledger.condition {
        LedgerCondition::Open => {
            if let Some(few) = few {
                tell(format!("The disk is nearly full: {}", few.found), health());
            }
        }
        LedgerCondition::DiskFull => tell(format!("The disk is full: {why}"), health()),
        LedgerCondition::Closed => tell(format!("The audit log is closed: {why}"), health()),
    }
    for source in &status.unsandboxed {
        tell(
            format!("The workers of {source} run without a sandbox."),
            format!("/admin/sources/{source}"),
        );
    }
    let bad = status.sources.iter().filter(|source| source.enabled);
    for source in bad {
        let word = match source.health.status {
            HealthStatus::Ok | HealthStatus::Unknown => continue,
            bad => bad.in_words(),
        };
        let why = source
            .health
            .detail
            .as_deref()
            .unwrap_or("no reason is known");
        tell(
            format!("{} {word}: {why}", source.id),
            format!("/admin/sources/{}", source.id),
        );
    }
    for call in &status.unsettled {
        tell(
            format!(
                "Nobody knows whether {} of {} was done: look, and say so.",
                call.capability_id, call.agent_id
            ),
            format!("/admin/activity/{}", call.audit_id),
        );
    }
    found
}

fn lines(agents: &Agents, tally: &activity::Tally, now: Timestamp) -> Vec<Line> {
    let mut shown: Vec<_> = agents
        .agents
        .iter()
        .filter(|agent| agent.status != EnrollmentStatus::Revoked)
        .collect();
    // Who did something last comes first.
    shown.sort_by_key(|agent| std::cmp::Reverse(agent.last_seen_at));
    shown.truncate(AGENTS);
    let hours = |id: &str| tally.agents.get(id);
    let most = shown
        .iter()
        .filter_map(|agent| hours(agent.agent_id.as_str()))
        .flat_map(|hours| hours.iter().map(|hour| hour.all()))
        .max()
        .unwrap_or(0);
    shown
        .into_iter()
        .map(|agent| {
            let id = agent.agent_id.as_str();
            let hours = hours(id);
            Line {
                id: id.to_owned(),
                class: match agent.status {
                    EnrollmentStatus::Active => "ok",
                    EnrollmentStatus::Pending | EnrollmentStatus::Revoked => "idle",
                },
                today: did(hours.map(|hours| sum(hours))),
                calls: links::calls_of_day(Some(id), None, now),
                seen: agent.last_seen_at.map(|at| Moment::ago(at, now)),
                bars: hours.map_or_else(BTreeMap::new, |hours| drawn(&bars(hours, most))),
            }
        })
        .collect()
}

/// Height of the tallest column.
const TALL: u64 = 24;
/// Width of a column, with what is between two.
const WIDE: usize = 6;

/// One path for each kind: a column by itself would be as long as three lines of the page.
fn drawn(bars: &[Bar]) -> BTreeMap<&'static str, String> {
    let mut paths: BTreeMap<&'static str, String> = BTreeMap::new();
    for bar in bars {
        let path = paths.entry(bar.class).or_default();
        path.push_str(&format!("M{} {}h5v{}h-5z", bar.x, bar.y, bar.height));
    }
    paths
}

/// Columns of hours, `most` calls being the tallest.
fn bars(hours: &[Totals], most: u64) -> Vec<Bar> {
    let mut bars = Vec::new();
    for (hour, totals) in hours.iter().enumerate() {
        let mut bottom = TALL;
        for (count, class) in [
            (totals.read, "read"),
            (totals.changed + totals.unknown, "changed"),
            (totals.refused + totals.failed + totals.denied, "refused"),
            (totals.asked + totals.expired, "asked"),
        ] {
            // What is there is seen, however little it is beside the rest.
            let height = (count * TALL).div_ceil(most.max(1)).min(bottom);
            if height > 0 {
                bottom -= height;
                bars.push(Bar {
                    class,
                    x: hour * WIDE,
                    y: bottom,
                    height,
                });
            }
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_lies_further_right_and_within_the_chart() {
        let places: Vec<_> = [0, 100, 150, 1_000, 100_000, u64::MAX]
            .map(|micros| place(Duration::from_micros(micros)))
            .into();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!((places[1], places[2]), (0, 0));
        assert!(places.iter().all(|x| *x <= CHART - 4), "{places:?}");
        let words = [1_400, 12_345, 2_345_678].map(|micros| length(Duration::from_micros(micros)));
        assert_eq!(words, ["1.4 ms", "12 ms", "2.3 s"]);
    }

    #[test]
    fn little_is_seen_beside_much_and_no_column_is_taller_than_its_room() {
        let mut hours = [Totals::default(); 24];
        hours[0].read = 1;
        hours[23] = Totals {
            read: 600,
            changed: 1,
            refused: 399,
            ..Totals::default()
        };
        let bars = bars(&hours, 1_000);
        assert_eq!((bars[0].x, bars[0].height), (0, 1));
        let last: Vec<_> = bars[1..]
            .iter()
            .map(|bar| (bar.class, bar.height))
            .collect();
        assert_eq!(last, [("read", 15), ("changed", 1), ("refused", 8)]);
        assert!(bars.iter().all(|bar| bar.y + bar.height <= TALL));
        assert!(super::bars(&[Totals::default()], 0).is_empty());
    }
}
