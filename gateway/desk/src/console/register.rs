//! An extension that an agent proposes, as the owner reads it: the sections of its surface, which `plexusctl` shows too, what
//! differs from what the owner agreed to before, and what an approval does.
//!
//! Invariants: everything shown is of one card (`owner::proposals`), and its digest goes with it; the author's words are
//! [`ForeignText`] and stand in a marked place; every fact is in the page: a long list or text is folded, with its length.

use super::{card::Moment, foreign::ForeignText};
use askama::Template;
use plexus_owner::pending::{self, SurfaceFact, SurfaceSection, SurfaceValue};
use plexus_protocol::Timestamp;
use plexus_trust::Item;

/// Facts of a section, differences: how many of each stand open.
const OPEN: usize = 12;
/// Capabilities that stand open, and those that stand in the first list.
const OPEN_CAPABILITIES: usize = 6;
const LISTED: usize = 24;
/// Characters of a value, and lines of a text, that stand open.
const LONG: usize = 300;
const LINES: usize = 12;

#[derive(Template)]
#[template(path = "register.html")]
pub(super) struct Card {
    id: String,
    digest: String,
    /// `pending`, or how it ended.
    state: &'static str,
    agent: ForeignText,
    source: ForeignText,
    label: ForeignText,
    asked: Moment,
    purpose: Option<ForeignText>,
    problems: Vec<ForeignText>,
    changes: Option<Folded<ForeignText>>,
    surface: Vec<Part>,
    capabilities: Folded<Part>,
    /// Whether each capability stands open.
    wide: bool,
    /// Folders that the owner has to name.
    unnamed: Vec<ForeignText>,
    /// Stored secrets that would go to another host, each with that host.
    moved: Vec<(ForeignText, ForeignText)>,
    if_approved: ForeignText,
    if_kept: ForeignText,
}

/// A list of which the beginning stands open.
struct Folded<T> {
    open: Vec<T>,
    rest: Vec<T>,
}

impl<T> Folded<T> {
    fn of(all: impl Iterator<Item = T>, open: usize) -> Self {
        let mut open_ones: Vec<T> = all.collect();
        let rest = open_ones.split_off(open.min(open_ones.len()));
        Self {
            open: open_ones,
            rest,
        }
    }

    fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// A section.
struct Part {
    title: ForeignText,
    note: ForeignText,
    facts: Folded<Fact>,
}

struct Fact {
    name: ForeignText,
    value: ForeignText,
    /// It is a text, and keeps its lines.
    is_text: bool,
    /// Its length in words, where it is folded.
    long: Option<String>,
}

impl Card {
    /// The card of an item that proposes an extension.
    pub(super) fn of(shown: &pending::Item, item: &Item, now: Timestamp) -> Option<Self> {
        let pending::Card::Register(card) = &shown.card else {
            return None;
        };
        let surface = &card.register;
        let lines = |words: &[String]| -> Vec<_> {
            words.iter().map(|words| ForeignText::line(words)).collect()
        };
        let (capabilities, parts): (Vec<_>, Vec<_>) = surface
            .sections
            .iter()
            .partition(|section| section.capability);
        let unnamed = card.folders_to_name.iter();
        let moved = card.moved_secrets.iter();
        let digest = card.card_digest;
        Some(Self {
            id: item.id.to_string(),
            digest: digest.map_or_else(String::new, |digest| digest.to_string()),
            state: item.wire_state(now),
            agent: ForeignText::short(item.agent.as_str(), 60),
            source: ForeignText::line(surface.source.as_str()),
            label: ForeignText::line(&surface.label),
            asked: Moment::ago(item.created_at, now),
            purpose: item.purpose.as_deref().map(ForeignText::line),
            problems: lines(card.problems.as_deref().unwrap_or_default()),
            changes: card
                .changes
                .as_deref()
                .map(|changes| Folded::of(lines(changes).into_iter(), OPEN)),
            surface: parts.into_iter().map(Part::of).collect(),
            wide: capabilities.len() <= OPEN_CAPABILITIES,
            capabilities: Folded::of(capabilities.into_iter().map(Part::of), LISTED),
            unnamed: unnamed.map(|one| ForeignText::line(&one.name)).collect(),
            moved: moved
                .map(|one| (ForeignText::line(&one.name), ForeignText::line(&one.host)))
                .collect(),
            if_approved: ForeignText::line(&card.if_approved),
            if_kept: ForeignText::line(card.if_kept.as_deref().unwrap_or_default()),
        })
    }

    fn pending(&self) -> bool {
        self.state == "pending"
    }

    fn can_approve(&self) -> bool {
        self.problems.is_empty() && self.unnamed.is_empty()
    }
}

impl Part {
    fn of(section: &SurfaceSection) -> Self {
        Self {
            title: ForeignText::line(&section.title),
            note: ForeignText::line(section.note.as_deref().unwrap_or_default()),
            facts: Folded::of(section.facts.iter().map(Fact::of), OPEN),
        }
    }
}

impl Fact {
    fn of(fact: &SurfaceFact) -> Self {
        let (whole, is_text) = match &fact.what {
            SurfaceValue::Value(value) => (value, false),
            SurfaceValue::Text(text) => (text, true),
        };
        let (lines, length) = (whole.lines().count(), whole.chars().count());
        let long = match is_text {
            true if lines > LINES => Some(format!("{lines} lines")),
            _ if length > LONG => Some(format!("{length} characters")),
            _ => None,
        };
        Self {
            name: ForeignText::line(&fact.name),
            value: match is_text {
                true => ForeignText::text(whole),
                false => ForeignText::line(whole),
            },
            is_text,
            long,
        }
    }
}
