//! A source whose grants rest, or that runs something else than was agreed to, as the owner reads it: why, what it can do now that it could not, whose grants those are,
//! and what a yes and a no do. One act decides all of it (docs/decisions/0016).
//!
//! Invariants: everything shown is of one card (`approvals::change`), and its digest goes with it; a card that no longer
//! waits says so under the same id, until the source changes again.

use super::{card::Moment, foreign::ForeignText};
use crate::desk::Desk;
use askama::Template;
use plexus_calls::approvals::change;
use plexus_protocol::{Digest, PendingId, Timestamp};
use plexus_trust::{Source, State};
use serde_json::{Map, Value};

/// Agents, capabilities, differences, and words of one difference: how many of each are listed.
const LISTED: usize = 24;
/// Characters of one line.
const LINE: usize = 300;

#[derive(Template)]
#[template(path = "change.html")]
pub(super) struct Card {
    id: String,
    digest: String,
    revision: u64,
    /// None: it no longer waits.
    waits: Option<PendingChange>,
    source: ForeignText,
    label: ForeignText,
    /// How it was decided.
    verdict: String,
}

struct PendingChange {
    title: String,
    /// The server defines tools that are hidden until the owner decides.
    held_back: bool,
    /// It runs something else than the owner agreed to.
    of_code: bool,
    since: Moment,
    why: Vec<ForeignText>,
    changes: Vec<Difference>,
    more_changes: usize,
    agents: Vec<ForeignText>,
    more_agents: usize,
    capabilities: Vec<(ForeignText, ForeignText)>,
    more_capabilities: usize,
    if_approved: ForeignText,
    if_denied: ForeignText,
}

struct Difference {
    about: ForeignText,
    words: Vec<ForeignText>,
    more: usize,
}

/// A card as a line of the list.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) revision: u64,
    pub(super) source: ForeignText,
    pub(super) title: String,
    pub(super) what: ForeignText,
    pub(super) since: Moment,
}

impl Card {
    /// The card with this id; none where no source as it is now has that. `by` says where it was decided.
    pub(super) fn of(
        desk: &Desk,
        state: &State,
        id: &PendingId,
        by: Option<&'static str>,
    ) -> Option<Self> {
        let mut sources = state.sources.values();
        let source = sources.find(|source| change::id(source).as_ref() == Some(id))?;
        let shown = change::card(state, &desk.catalogue.load(), source);
        Some(Self {
            id: id.to_string(),
            digest: shown
                .as_ref()
                .map_or("", |card| text(card, "cardDigest"))
                .to_owned(),
            revision: shown.as_ref().map_or(0, revision),
            source: ForeignText::short(source.id.as_str(), 60),
            label: ForeignText::short(&source.config.label, 120),
            verdict: match desk.feed.decision_on(id).as_deref() {
                Some("approve") => format!("Approved {}: its grants are resumed.", place(by)),
                Some("deny") => {
                    format!("Denied {}: its grants are revoked.", place(by))
                }
                _ => {
                    "No grant on this source is suspended any more: they were resumed, or revoked one by one."
                        .into()
                }
            },
            waits: shown
                .as_ref()
                .map(|card| PendingChange::of(state, source, card, state.time(desk.clock.now()))),
        })
    }
}

fn place(by: Option<&'static str>) -> &'static str {
    by.unwrap_or("with the connection key (plexusctl, or another program of yours)")
}

impl PendingChange {
    fn of(state: &State, source: &Source, card: &Map<String, Value>, now: Timestamp) -> Self {
        let (agents, more_agents) = first(list(card, "agents"), |agent| said(agent, 60));
        let (capabilities, more_capabilities) = first(list(card, "pendingNarration"), |one| {
            let verbs = one["verbs"].as_array().into_iter().flatten();
            let verbs: Vec<_> = verbs.filter_map(Value::as_str).collect();
            (said(&one["id"], 120), ForeignText::line(&verbs.join(", ")))
        });
        let (changes, more_changes) = first(list(card, "changes"), |one| {
            let words = one["words"].as_array().map_or(&[][..], Vec::as_slice);
            let (words, more) = first(words, |word| said(word, LINE));
            Difference {
                about: said(&one["about"], 120),
                words,
                more,
            }
        });
        Self {
            title: title(state, source),
            held_back: card.get("definitions").is_some_and(Value::is_string),
            of_code: source.asks(),
            since: since(card, now),
            why: first(list(card, "reasons"), |why| said(why, LINE)).0,
            changes,
            more_changes,
            agents,
            more_agents,
            capabilities,
            more_capabilities,
            if_approved: ForeignText::short(text(card, "ifApproved"), LINE),
            if_denied: ForeignText::short(text(card, "ifDenied"), LINE),
        }
    }
}

/// What waits of this kind.
pub(super) fn lines(desk: &Desk, state: &State) -> Vec<Line> {
    let (catalogue, now) = (desk.catalogue.load(), state.time(desk.clock.now()));
    let line = |source: &Source| {
        let card = change::card(state, &catalogue, source)?;
        let word = list(&card, "changes")
            .first()
            .and_then(|one| one["words"][0].as_str());
        let why = list(&card, "reasons").first().and_then(Value::as_str);
        Some(Line {
            id: text(&card, "pendingId").to_owned(),
            revision: revision(&card),
            source: ForeignText::short(source.id.as_str(), 60),
            title: title(state, source),
            what: ForeignText::short(word.or(why).unwrap_or_default(), 90),
            since: since(&card, now),
        })
    };
    let sources = state.sources.values();
    sources.filter_map(|source| line(source)).collect()
}

/// All that the card's digest covers.
pub(super) fn whole(desk: &Desk, state: &State, id: &PendingId) -> Option<Map<String, Value>> {
    let catalogue = desk.catalogue.load();
    change::card(state, &catalogue, change::source_of(state, &catalogue, id)?)
}

fn title(state: &State, source: &Source) -> String {
    if source.asks() {
        return "Stopped: it runs something else than you agreed to".into();
    }
    match state.resting(source).count() {
        0 => "Changed tools are hidden".into(),
        1 => "1 grant is suspended".into(),
        n => format!("{n} grants are suspended"),
    }
}

/// A number that changes with the card: the beginning of its digest, as much as a browser counts exactly.
fn revision(card: &Map<String, Value>) -> u64 {
    let digest = Digest::parse(text(card, "cardDigest"));
    digest.map_or(0, |digest| {
        let bytes = digest.0.iter().take(6);
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    })
}

fn since(card: &Map<String, Value>, now: Timestamp) -> Moment {
    let at = card
        .get("createdAt")
        .and_then(|at| serde_json::from_value(at.clone()).ok());
    Moment::ago(at.unwrap_or(now), now)
}

/// The first of a list, and how many more there are.
fn first<T>(all: &[Value], show: impl Fn(&Value) -> T) -> (Vec<T>, usize) {
    let shown = all.iter().take(LISTED).map(show).collect();
    (shown, all.len().saturating_sub(LISTED))
}

fn said(value: &Value, most: usize) -> ForeignText {
    ForeignText::short(value.as_str().unwrap_or_default(), most)
}

fn text<'v>(card: &'v Map<String, Value>, member: &str) -> &'v str {
    card.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(card: &'v Map<String, Value>, member: &str) -> &'v [Value] {
    card.get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}
