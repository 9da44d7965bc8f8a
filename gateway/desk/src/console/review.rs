//! All that an agent changed, as a page: one difference for each file, its first content against its last.
//!
//! Invariant: a page is bounded; what it has no room for is said, with the command that shows it.

use super::{
    card::Diff,
    diff::{self, Room},
    foreign::ForeignText,
    links::{Begin, Stretch},
    shell,
};
use crate::{acts::Named, desk::Desk, owner::review, table::Reading};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_ipc::message::Form;
use plexus_owner::review::{Present, Review, ReviewedEffect, ReviewedFile, Show, SourceReview};
use plexus_protocol::capability::HOUR_MS;
use std::sync::Arc;

/// What is shown of one difference.
const ROOM: Room = Room {
    rows: 30,
    bytes: 3 * 1024,
};
/// How far back it can go: in an address and for `plexusctl`, in words, and in hours.
const SPANS: [(&str, &str, Option<u64>); 3] = [
    ("1d", "24 hours", Some(24)),
    ("7d", "7 days", Some(7 * 24)),
    ("1970-01-01", "all that is kept", None),
];

#[derive(Template)]
#[template(path = "review.html")]
struct Page {
    agent: ForeignText,
    /// What else it can be of; that which it is of has no address.
    spans: Vec<(&'static str, Option<String>)>,
    changes: Vec<Change>,
    stretch: Stretch,
    /// Sources that did not say what they keep.
    silent: Vec<(String, ForeignText)>,
    /// There is more than is read at once.
    cut: bool,
    command: ForeignText,
}

/// What became of a file, or an effect of which no more is known.
struct Change {
    source: String,
    said: ForeignText,
    notes: Vec<&'static str>,
    diff: Option<Diff>,
    /// Lines of the difference that are not shown.
    unshown: usize,
    /// The last call of it.
    call: Option<String>,
    may_be_undone: bool,
}

/// What an agent changed in `?since=`.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Named(agent): Named,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let wanted = query(&request, "since").unwrap_or_default();
    drop(request);
    let found = SPANS.iter().find(|(name, ..)| *name == wanted);
    let (name, _, hours) = *found.unwrap_or(&SPANS[0]);
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let since = hours.map(|hours| now.0.saturating_sub(hours * HOUR_MS));
    let asked = Show {
        agent: agent.clone(),
        since: since.map(|since| since.to_string()),
        source: None,
    };
    let reviewed = review::show(desk.clone(), Reading, asked).await?;
    shell::rendered(&desk, move || {
        Page::of(&agent, &reviewed, name, from).render()
    })
    .await
}

impl Page {
    fn of(agent: &str, reviewed: &Review, chosen: &str, from: usize) -> Self {
        let changes: Vec<Change> = reviewed.sources.iter().flat_map(Change::all).collect();
        let at = |since: &str| format!("/admin/agents/{agent}/review?since={since}");
        let stretch = Stretch::of(from, changes.len(), |from| {
            format!("{}&from={from}", at(chosen))
        });
        let silent = reviewed.sources.iter().filter_map(|one| {
            let why = one.why.as_deref()?;
            Some((one.source.to_string(), ForeignText::short(why, 300)))
        });
        Self {
            agent: ForeignText::short(agent, 60),
            spans: SPANS
                .iter()
                .map(|(name, words, _)| (*words, (*name != chosen).then(|| at(name))))
                .collect(),
            silent: silent.collect(),
            cut: reviewed.cut,
            command: ForeignText::short(&format!("plexusctl review {agent} --since {chosen}"), 300),
            changes: stretch.part(changes).collect(),
            stretch,
        }
    }
}

impl Change {
    fn all(of: &SourceReview) -> impl Iterator<Item = Self> {
        let source = of.source.as_str();
        let files = of.files.iter().map(move |file| Self::of(source, file));
        let gone = match of.undoes {
            true => "no difference is shown: Undo shows what it would change",
            false => "what was there before is not kept",
        };
        let not_kept = of.not_kept.iter();
        let not_kept = not_kept.map(move |effect| Self::effect(source, effect, gone, of.undoes));
        let nobody = "nobody knows whether this happened";
        let unknown = of.unknown.iter();
        let unknown = unknown.map(move |effect| Self::effect(source, effect, nobody, false));
        files.chain(not_kept).chain(unknown)
    }

    fn of(source: &str, file: &ReviewedFile) -> Self {
        let last = file.calls.last();
        let now = match file.present {
            _ if last.is_none() => Some("every change to it was undone"),
            Present::Same => None,
            Present::Changed => Some("changed since by someone else; this is the agent's part"),
            Present::Unknown => Some("it cannot be looked at now"),
        };
        let mut notes = Vec::from_iter(now);
        if last.is_some() && file.interleaved {
            notes.push("someone else changed it in between; this shows their part too");
        }
        let diff = file
            .diff
            .as_ref()
            .filter(|_| last.is_some())
            .map(|text| Diff {
                page: diff::page(Form::Diff, text, 0, ROOM),
                more: String::new(),
                cut: file.cut,
            });
        if diff.is_none() && last.is_some() {
            notes.push("no difference is shown: not text, or too large");
        }
        let next = diff
            .as_ref()
            .and_then(|diff| diff.page.next.map(|next| (next, diff.page.of)));
        Self {
            source: source.to_owned(),
            // The summary of one that was undone is of the undo, which another did.
            said: ForeignText::short(last.map_or(&file.relative_path, |_| &file.summary), 300),
            notes,
            unshown: next.map_or(0, |(next, of)| of.saturating_sub(next)),
            diff,
            call: last.map(ToString::to_string),
            // An undo is refused while somebody else's change lies on it.
            may_be_undone: last.is_some() && !matches!(file.present, Present::Changed),
        }
    }

    fn effect(
        source: &str,
        effect: &ReviewedEffect,
        note: &'static str,
        may_be_undone: bool,
    ) -> Self {
        Self {
            source: source.to_owned(),
            said: ForeignText::short(effect.summary.as_deref().unwrap_or("(an effect)"), 300),
            notes: vec![note],
            diff: None,
            unshown: 0,
            call: Some(effect.audit_id.to_string()),
            may_be_undone,
        }
    }
}
