//! The two tables of `plexusctl status`: sources, and what stands.
//!
//! Invariant: each is at most [`ROWS`] long, and says how much it leaves out.

use super::Snapshot;
use crate::{agents::word, screen, sources::test::state_of, standing, table::table};
use plexus_client::text;
use plexus_owner::troubles;
use plexus_protocol::{EnrollmentStatus, Timestamp};

/// Rows of a table, so that both fit on a screen.
const ROWS: usize = 12;
/// Characters of a state in a file or a pipe; whole it stands among what needs the owner.
const PIPED: usize = 60;

/// Each source with what of it agents can ask for.
pub(super) fn sources(seen: &Snapshot) -> String {
    let disabled = seen.status.sources.iter().filter(|source| !source.enabled);
    let disabled = disabled.map(|source| {
        let why = troubles::disabled(&source.id);
        [
            source.id.to_string(),
            source.label.clone(),
            format!("{}: {}", why.found, why.remedy),
            String::new(),
        ]
    });
    let rows = seen.health.sources.iter().map(|source| {
        let id = &source.id;
        let hidden = match &seen.capabilities(id, false)[..] {
            [] => String::new(),
            hidden => format!(" (hidden: {})", hidden.join(" ")),
        };
        [
            id.to_string(),
            source.label.clone(),
            cut(state_of(&source.health), PIPED),
            cut(
                format!("{}{hidden}", seen.capabilities(id, true).join(" ")),
                usize::MAX,
            ),
        ]
    });
    short(
        ["source", "label", "state", "agents can ask for"],
        rows.chain(disabled).collect(),
        "no sources; what this machine offers: plexusctl sources detect",
        "plexusctl sources; what each offers: plexusctl status --json",
    )
}

/// What stands: a row for each agent and source, and for each end and narrowing of it.
pub(super) fn allowed(seen: &Snapshot, now: Timestamp) -> String {
    let mut rows: Vec<[String; 5]> = Vec::new();
    for grant in &seen.grants {
        let [agent, id, _, ends, terms] = standing::row(grant, now);
        let (source, name) = id.split_once('.').unwrap_or(("", &id));
        let row = [
            named(seen, agent),
            source.to_owned(),
            name.to_owned(),
            ends,
            terms,
        ];
        let same = rows.iter_mut().find(|known| {
            [0, 1, 3, 4]
                .iter()
                .all(|column| known[*column] == row[*column])
        });
        match same {
            Some(known) => known[2] = format!("{} {name}", known[2]),
            None => rows.push(row),
        }
    }
    for row in &mut rows {
        row[2] = cut(std::mem::take(&mut row[2]), usize::MAX);
    }
    short(
        ["agent", "of", "may, without asking", "until", "terms"],
        rows,
        "no agent may do anything without asking",
        "plexusctl grants",
    )
}

/// A cell as wide as a third of the terminal at most: one long cell would lay the whole table out in lines. Elsewhere it is as
/// wide as `piped`.
fn cut(cell: String, piped: usize) -> String {
    let width = screen::columns().map_or(piped, |width| (width / 3).max(24));
    match width {
        usize::MAX => cell,
        width => text::short(&cell, width),
    }
}

fn short<const N: usize>(
    head: [&str; N],
    mut rows: Vec<[String; N]>,
    none: &str,
    all: &str,
) -> String {
    let left = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let shown = table(head, rows, none);
    match left {
        0 => shown,
        left => format!("{shown}\nand {left} more: {all}"),
    }
}

/// An agent, and that it cannot call where it has no credential.
fn named(seen: &Snapshot, agent: String) -> String {
    let known = seen
        .agents
        .iter()
        .find(|one| one.agent_id.as_str() == agent);
    match known.map(|one| one.status) {
        Some(EnrollmentStatus::Active) | None => agent,
        Some(status) => format!("{agent} ({})", word(status)),
    }
}
