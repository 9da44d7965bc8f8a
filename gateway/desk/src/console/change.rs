//! A source whose grants rest, or that runs something else than was agreed to, as the owner reads it: why, what it can do now that it could not, whose grants those are,
//! and what a yes and a no do. One act decides all of it (docs/decisions/0016).
//!
//! Invariants: everything shown is of one card (`approvals::change`), and its digest goes with it; a card that no longer
//! waits says so under the same id, until the source changes again.

use super::{card::Moment, foreign::ForeignText};
use crate::{cards, desk::Desk};
use askama::Template;
use plexus_calls::approvals::change;
use plexus_owner::pending::{self, ChangeCard, Heading};
use plexus_protocol::{Digest, PendingId, Verb};
use plexus_trust::{Source, State};

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
        let shown = shown(desk, state, source);
        let digest = shown.as_ref().map(|(_, card)| card.card_digest);
        Some(Self {
            id: id.to_string(),
            digest: digest.map_or_else(String::new, |digest| digest.to_string()),
            revision: digest.map_or(0, revision),
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
            waits: shown.map(|(heading, card)| {
                let since = Moment::ago(heading.created_at, state.time(desk.clock.now()));
                PendingChange::of(state, source, &card, since)
            }),
        })
    }
}

/// The card of a source, if it waits.
fn shown(desk: &Desk, state: &State, source: &Source) -> Option<(Heading, Box<ChangeCard>)> {
    let item = cards::change(state, &desk.catalogue.load(), source)?;
    match item.card {
        pending::Card::Change(card) => Some((item.heading, card)),
        _ => None,
    }
}

fn place(by: Option<&'static str>) -> &'static str {
    by.unwrap_or("with the connection key (plexusctl, or another program of yours)")
}

impl PendingChange {
    fn of(state: &State, source: &Source, card: &ChangeCard, since: Moment) -> Self {
        let (agents, more_agents) =
            first(&card.agents, |agent| ForeignText::short(agent.as_str(), 60));
        let (capabilities, more_capabilities) = first(&card.pending_narration, |one| {
            let verbs: Vec<_> = one.verbs.iter().map(Verb::as_str).collect();
            let verbs = ForeignText::line(&verbs.join(", "));
            (ForeignText::short(one.id.as_str(), 120), verbs)
        });
        let (changes, more_changes) = first(&card.changes, |one| {
            let (words, more) = first(&one.words, |word| ForeignText::short(word, LINE));
            Difference {
                about: ForeignText::short(&one.about, 120),
                words,
                more,
            }
        });
        Self {
            title: title(state, source),
            held_back: card.definitions.is_some(),
            of_code: source.asks(),
            since,
            why: first(&card.reasons, |why| ForeignText::short(why, LINE)).0,
            changes,
            more_changes,
            agents,
            more_agents,
            capabilities,
            more_capabilities,
            if_approved: ForeignText::short(&card.if_approved, LINE),
            if_denied: ForeignText::short(&card.if_denied, LINE),
        }
    }
}

/// What waits of this kind.
pub(super) fn lines(desk: &Desk, state: &State) -> Vec<Line> {
    let now = state.time(desk.clock.now());
    let line = |source: &Source| {
        let (heading, card) = shown(desk, state, source)?;
        let word = card.changes.first().and_then(|one| one.words.first());
        let why = word.or(card.reasons.first());
        Some(Line {
            id: heading.pending_id.to_string(),
            revision: revision(card.card_digest),
            source: ForeignText::short(source.id.as_str(), 60),
            title: title(state, source),
            what: ForeignText::short(why.map_or("", String::as_str), 90),
            since: Moment::ago(heading.created_at, now),
        })
    };
    let sources = state.sources.values();
    sources.filter_map(|source| line(source)).collect()
}

/// All that the card's digest covers.
pub(super) fn whole(desk: &Desk, state: &State, id: &PendingId) -> Option<pending::Item> {
    let catalogue = desk.catalogue.load();
    cards::change(state, &catalogue, change::source_of(state, &catalogue, id)?)
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
fn revision(digest: Digest) -> u64 {
    let bytes = digest.0.iter().take(6);
    bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The first of a list, and how many more there are.
fn first<A, T>(all: &[A], show: impl Fn(&A) -> T) -> (Vec<T>, usize) {
    let shown = all.iter().take(LISTED).map(show).collect();
    (shown, all.len().saturating_sub(LISTED))
}
