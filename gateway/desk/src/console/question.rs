//! A question of a third party, as the owner reads and answers it.
//!
//! Invariants: everything shown is of one card (`plexus_calls::questions`), and its digest goes with it; the asker's words
//! are [`ForeignText`] and stand in a marked place; a field hides nothing of what is typed.

use super::{card::Moment, foreign::ForeignText};
use crate::{cards, desk::Desk};
use askama::Template;
use plexus_owner::pending::{self, FieldType, Wants};
use plexus_protocol::PendingId;
use plexus_trust::State;

/// Bytes of the asker's words, as HTML.
const WORDS: usize = 8_000;
/// Characters of one line.
const LINE: usize = 500;

#[derive(Template)]
#[template(path = "question.html")]
pub(super) struct Card {
    id: String,
    digest: String,
    source: ForeignText,
    label: ForeignText,
    agent: ForeignText,
    capability: ForeignText,
    asked: Moment,
    ends: Moment,
    why: ForeignText,
    words: ForeignText,
    /// The page to open, and its host.
    page: Option<(ForeignText, ForeignText)>,
    fields: Vec<Field>,
    if_approved: ForeignText,
    if_denied: ForeignText,
}

struct Field {
    /// Its place in the form.
    at: usize,
    name: ForeignText,
    label: ForeignText,
    hint: Option<ForeignText>,
    required: bool,
    /// As the card has it.
    kind: &'static str,
    /// Values and their names.
    of: Vec<(ForeignText, ForeignText)>,
}

/// A question as a line of the list.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) source: ForeignText,
    pub(super) what: ForeignText,
    pub(super) since: Moment,
}

impl Card {
    /// The card of a question that waits.
    pub(super) fn of(desk: &Desk, state: &State, id: &PendingId) -> Option<Self> {
        let item = cards::question(desk, state, id)?;
        let pending::Card::Question(card) = &item.card else {
            return None;
        };
        let (heading, question) = (&item.heading, &card.question);
        let now = state.time(desk.clock.now());
        let page = match &question.wants {
            Wants::Page { url, host } => Some((ForeignText::line(url), ForeignText::line(host))),
            Wants::Form { .. } => None,
        };
        let agent = heading.agent_id.as_ref();
        let capability = heading.capabilities.first();
        let fields = question.fields().iter().enumerate();
        Some(Self {
            id: id.to_string(),
            digest: card.card_digest.to_string(),
            source: ForeignText::short(card.source.id.as_str(), 60),
            label: ForeignText::short(&card.source.label, 120),
            agent: ForeignText::short(agent.map_or("", |agent| agent.as_str()), 60),
            capability: said(capability.map_or("", |capability| capability.as_str())),
            asked: Moment::ago(heading.created_at, now),
            ends: Moment::left(heading.expires_at.unwrap_or(now), now),
            why: said(card.reasons.first().map_or("", String::as_str)),
            words: ForeignText::beginning(&question.words, WORDS).0,
            page,
            fields: fields.map(|(at, field)| Field::of(at, field)).collect(),
            if_approved: said(&card.if_approved),
            if_denied: said(&card.if_denied),
        })
    }
}

impl Field {
    fn of(at: usize, field: &pending::Field) -> Self {
        let of = field.of.iter().flatten();
        Self {
            at,
            name: said(&field.name),
            label: said(&field.label),
            hint: field.hint.as_deref().map(said),
            required: field.required,
            kind: match field.kind {
                FieldType::Boolean => "boolean",
                FieldType::Choice => "choice",
                FieldType::Choices => "choices",
                FieldType::Integer | FieldType::Number => "number",
                FieldType::Text => "text",
            },
            of: of.map(|one| (said(&one.value), said(&one.label))).collect(),
        }
    }
}

/// The questions that wait.
pub(super) fn lines(desk: &Desk, state: &State) -> Vec<Line> {
    let now = state.time(desk.clock.now());
    let line = |item: pending::Item| match item.card {
        pending::Card::Question(card) => Some(Line {
            id: item.heading.pending_id.to_string(),
            source: ForeignText::short(card.source.id.as_str(), 60),
            what: ForeignText::short(&card.question.words, 90),
            since: Moment::ago(item.heading.created_at, now),
        }),
        _ => None,
    };
    cards::questions(desk, state).filter_map(line).collect()
}

fn said(text: &str) -> ForeignText {
    ForeignText::short(text, LINE)
}
