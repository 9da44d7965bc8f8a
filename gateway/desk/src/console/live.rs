//! Who reaches what, as a drawing: agents at the left, sources at the right, a line for each pair that met within the
//! last day, drawn thicker for more calls and marked while one is under way or waits for the owner.
//!
//! The server draws it; the page asks for it again when something happens.

use super::{activity::CallLine, links, runs::drawn, shell};
use crate::{desk::Desk, owner::activity};
use askama::Template;
use axum::{extract::State, response::Response};
use plexus_edge::reply::Refused;
use plexus_owner::activity::Totals;
use plexus_trust::ItemState;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Agents and sources that the drawing has.
const ROWS: usize = 40;
/// Lines that it has: those that happen now, then those of most calls.
const LINES: usize = 80;
/// Letters of a name beside its point.
const LETTERS: usize = 20;
/// Height of one.
const ROW: usize = 30;

#[derive(Template)]
#[template(path = "live.html")]
struct Page {
    height: usize,
    agents: Vec<Side>,
    sources: Vec<Side>,
    lines: Vec<Line>,
    left_out: usize,
    /// Pairs that met, and are not drawn.
    undrawn: usize,
    calls: Vec<CallLine>,
}

struct Side {
    y: usize,
    text: String,
    link: String,
}

struct Line {
    y1: usize,
    y2: usize,
    class: &'static str,
    width: u64,
    link: String,
    /// For who looks closer.
    told: String,
}

/// The drawing, with the last calls below.
pub(super) async fn page(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    let tally = activity::tally_with_calls(&desk, now).await?;
    let under_way: BTreeSet<(String, String)> = desk
        .under_way
        .all()
        .iter()
        .filter_map(|call| {
            let agent = call.principal.agent()?.to_string();
            Some((agent, call.capability.parts().0.to_owned()))
        })
        .collect();
    shell::rendered(&desk, move || {
        let waits: BTreeSet<(String, String)> = state
            .agents
            .values()
            .flat_map(|agent| agent.items.values())
            .filter(|item| item.state == ItemState::Pending && now < item.expires_at)
            .flat_map(|item| {
                let pair = |ask: &plexus_trust::Ask| {
                    (item.agent.to_string(), ask.capability.parts().0.to_owned())
                };
                item.asks.iter().map(pair).collect::<Vec<_>>()
            })
            .collect();
        let mut pairs: BTreeMap<(String, String), Totals> = tally.on;
        for pair in under_way.iter().chain(&waits) {
            pairs.entry(pair.clone()).or_default();
        }
        let calls = tally.last.iter();
        let calls = calls.map(|row| CallLine::of(row, now)).collect();
        draw(&state, pairs, &under_way, &waits, calls).render()
    })
    .await
}

fn draw(
    state: &plexus_trust::State,
    pairs: BTreeMap<(String, String), Totals>,
    under_way: &BTreeSet<(String, String)>,
    waits: &BTreeSet<(String, String)>,
    calls: Vec<CallLine>,
) -> Page {
    let met: BTreeSet<&String> = pairs.keys().map(|(agent, _)| agent).collect();
    // Who met something comes first, so that nothing of what happened is left out for somebody who did nothing.
    let mut agents: Vec<String> = state.agents.keys().map(ToString::to_string).collect();
    agents.sort_by_key(|agent| (!met.contains(agent), agent.clone()));
    let used: BTreeSet<&String> = pairs.keys().map(|(_, source)| source).collect();
    let mut sources: Vec<String> = state.sources.keys().map(ToString::to_string).collect();
    sources.sort_by_key(|source| (!used.contains(source), source.clone()));
    let left_out = agents.len().saturating_sub(ROWS) + sources.len().saturating_sub(ROWS);
    agents.truncate(ROWS);
    sources.truncate(ROWS);
    let y = |at: usize| at * ROW + ROW / 2 + 4;
    let place = |all: &[String], one: &String| all.iter().position(|other| other == one).map(y);
    let mut met: Vec<_> = pairs.iter().collect();
    met.sort_by_key(|(pair, totals)| {
        let is_now = under_way.contains(pair) || waits.contains(pair);
        (!is_now, std::cmp::Reverse(totals.all()))
    });
    let undrawn = met.len().saturating_sub(LINES);
    met.truncate(LINES);
    let lines = met.into_iter().filter_map(|((agent, source), totals)| {
        let pair = (agent.clone(), source.clone());
        let class = match (under_way.contains(&pair), waits.contains(&pair)) {
            (true, _) => "running",
            (false, true) => "waits",
            (false, false) if totals.changed + totals.unknown > 0 => "changed",
            (false, false) if totals.read > 0 => "read",
            (false, false) if totals.refused + totals.failed + totals.denied > 0 => "refused",
            (false, false) => "asked",
        };
        let count = totals.all();
        let happens = match class {
            "running" => ", under way",
            "waits" => ", waits for you",
            _ => "",
        };
        Some(Line {
            y1: place(&agents, agent)?,
            y2: place(&sources, source)?,
            class,
            width: u64::from(count.checked_ilog10().unwrap_or(0)) * 2 + 1,
            link: links::calls_on(agent, source),
            told: format!(
                "{agent} and {source}: {}{happens}",
                super::agents::did(Some(*totals))
            ),
        })
    });
    let lines = lines.collect();
    let side = |names: &[String], page: &str| {
        names
            .iter()
            .enumerate()
            .map(|(at, name)| Side {
                y: y(at),
                text: drawn(name, LETTERS),
                link: format!("/admin/{page}/{name}"),
            })
            .collect()
    };
    Page {
        height: agents.len().max(sources.len()).max(1) * ROW + 8,
        agents: side(&agents, "agents"),
        sources: side(&sources, "sources"),
        lines,
        left_out,
        undrawn,
        calls,
    }
}
