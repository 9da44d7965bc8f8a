//! A question of a third party, as the owner reads and answers it.
//!
//! Invariants: everything shown is of one card (`plexus_calls::questions`), and its digest goes with it; the asker's words
//! are [`ForeignText`] and stand in a marked place; a field hides nothing of what is typed.

use super::{card::Moment, foreign::ForeignText};
use crate::desk::Desk;
use askama::Template;
use plexus_protocol::{PendingId, Timestamp};
use plexus_trust::State;
use serde_json::{Map, Value};

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
        let card = &Value::Object(desk.questions.card(id, state)?);
        let now = state.time(desk.clock.now());
        let question = &card["question"];
        let fields = question["fields"].as_array().into_iter().flatten();
        let page = question["url"].as_str().map(|url| {
            (
                ForeignText::line(url),
                ForeignText::line(text(question, "host")),
            )
        });
        Some(Self {
            id: id.to_string(),
            digest: text(card, "cardDigest").to_owned(),
            source: ForeignText::short(text(&card["source"], "id"), 60),
            label: ForeignText::short(text(&card["source"], "label"), 120),
            agent: ForeignText::short(text(card, "agentId"), 60),
            capability: said(&card["capabilities"][0]),
            asked: Moment::ago(at(card, "createdAt", now), now),
            ends: Moment::left(at(card, "expiresAt", now), now),
            why: said(&card["reasons"][0]),
            words: ForeignText::beginning(text(question, "words"), WORDS).0,
            page,
            fields: fields
                .enumerate()
                .map(|(at, field)| Field::of(at, field))
                .collect(),
            if_approved: said(&card["ifApproved"]),
            if_denied: said(&card["ifDenied"]),
        })
    }
}

impl Field {
    fn of(at: usize, field: &Value) -> Self {
        let of = field["of"].as_array().into_iter().flatten();
        Self {
            at,
            name: said(&field["name"]),
            label: said(&field["label"]),
            hint: field.get("hint").map(said),
            required: field["required"] == true,
            kind: match text(field, "type") {
                "boolean" => "boolean",
                "choice" => "choice",
                "choices" => "choices",
                "integer" | "number" => "number",
                _ => "text",
            },
            of: of
                .map(|one| (said(&one["value"]), said(&one["label"])))
                .collect(),
        }
    }
}

/// The questions that wait.
pub(super) fn lines(desk: &Desk, state: &State) -> Vec<Line> {
    let now = state.time(desk.clock.now());
    let line = |card: Map<String, Value>| {
        let card = Value::Object(card);
        Line {
            id: text(&card, "pendingId").to_owned(),
            source: ForeignText::short(text(&card["source"], "id"), 60),
            what: ForeignText::short(text(&card["question"], "words"), 90),
            since: Moment::ago(at(&card, "createdAt", now), now),
        }
    };
    desk.questions.cards(state).into_iter().map(line).collect()
}

fn at(card: &Value, member: &str, now: Timestamp) -> Timestamp {
    serde_json::from_value(card[member].clone()).unwrap_or(now)
}

fn said(value: &Value) -> ForeignText {
    ForeignText::short(value.as_str().unwrap_or_default(), LINE)
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}
