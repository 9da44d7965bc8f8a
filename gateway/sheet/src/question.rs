//! The sheet of a question that a lent server asks: its words, its fields, and where an answer goes.

use crate::{Act, Answer, Block, Fact, Field, Sheet, Subject, Untrusted};
use plexus_owner::pending::{self, FieldChoice, FieldType, Heading, QuestionCard, Wants};
use serde_json::Number;

pub(crate) fn sheet(heading: &Heading, card: &QuestionCard) -> Sheet {
    let (source, question) = (&card.source, &card.question);
    let subject = Subject {
        label: "server",
        who: Untrusted::of(source.id.as_str()),
        name: Some(Untrusted::of(&source.label)),
        title: "asks you a question",
        object: None,
    };
    let call: String = heading.capabilities.iter().map(|id| id.as_str()).collect();
    let agent = heading.agent_id.as_ref().map_or("", |agent| agent.as_str());
    let words = Untrusted::of(&question.words);
    let (button, wants) = match &question.wants {
        Wants::Page { url, host } => {
            let facts = vec![Fact::of("page to open", url), Fact::of("its host", host)];
            ("I opened it", Block::Facts(facts))
        }
        Wants::Form { fields } => {
            let fields = fields.iter().map(Field::of);
            ("Answer", Block::Fields(fields.collect()))
        }
    };
    Sheet {
        gist: words.clone(),
        blocks: vec![
            Block::Facts(vec![Fact::of("in the call", format!("{call} of {agent}"))]),
            Block::Notices("note", Untrusted::all(&card.reasons)),
            Block::Quote("question (the server's words)", Some(words)),
            wants,
        ],
        answer: Some(Answer {
            yes: Some(Act::of(
                "if you answer",
                button,
                "Answered",
                &card.if_approved,
            )),
            no: Some(Act::of(
                "if you deny",
                "Do not answer",
                "Not answered",
                &card.if_denied,
            )),
            ..Answer::default()
        }),
        ..Sheet::of(heading, Some(card.card_digest), subject)
    }
}

impl Field {
    fn of(field: &pending::Field) -> Self {
        let of = field.of.iter().flatten();
        let named = |one: &FieldChoice| (Untrusted::of(&one.value), Untrusted::of(&one.label));
        Self {
            name: Untrusted::of(&field.name),
            label: Untrusted::of(&field.label),
            hint: field.hint.as_ref().map(Untrusted::of),
            takes: Untrusted::of(takes(field)),
            kind: field.kind,
            is_unsigned: bound(&field.min).is_some_and(|min| min >= 0.0),
            of: of.map(named).collect(),
        }
    }
}

fn bound(bound: &Option<Number>) -> Option<f64> {
    bound.as_ref().and_then(Number::as_f64)
}

/// Which values a field takes, and whether it may be left out.
fn takes(field: &pending::Field) -> String {
    let optional = if field.required { "" } else { ", optional" };
    format!("{}{optional}", values_taken(field))
}

/// Which values a field takes, in words. Those of a choice are the server's.
#[must_use]
pub fn values_taken(field: &pending::Field) -> String {
    let bounds = match (bound(&field.min), bound(&field.max)) {
        (None, None) => String::new(),
        (Some(min), None) if field.kind == FieldType::Text => format!(" at least {min}"),
        (Some(min), None) => format!(" from {min}"),
        (None, Some(max)) => format!(" up to {max}"),
        (Some(min), Some(max)) => format!(" {min} to {max}"),
    };
    let of = || {
        let of = field.of.iter().flatten();
        let of: Vec<_> = of.map(|one| one.value.as_str()).collect();
        of.join(" | ")
    };
    match field.kind {
        FieldType::Boolean => "yes or no".to_owned(),
        FieldType::Choice => of(),
        FieldType::Choices => format!("{}, may be given again", of()),
        FieldType::Text if bounds.is_empty() => "text".to_owned(),
        FieldType::Text => format!("text of{bounds} characters"),
        FieldType::Integer => format!("integer{bounds}"),
        FieldType::Number => format!("number{bounds}"),
    }
}
