//! The card of a question that a lent server asks the owner: its words, its fields, and where an answer goes.
//! What is not named here is shown by the whole card (`--all`), which leaves nothing out.

use super::heading;
use plexus_client::text;
use plexus_owner::pending::{Field, FieldType, Heading, QuestionCard, Wants};
use plexus_protocol::Timestamp;
use serde_json::Number;
use std::fmt::Write as _;

pub(super) fn render(named: &Heading, of: &QuestionCard, now: Timestamp) -> String {
    let mut card = String::new();
    let (source, label) = (&of.source.id, text::line(&of.source.label));
    let asks = format!("{source} (“{label}”) asks you a question");
    heading(&mut card, "server", &asks);
    let call = named.capabilities.iter().map(ToString::to_string);
    let agent = named.agent_id.as_ref().map(ToString::to_string);
    let call = format!(
        "{} of {}",
        call.collect::<String>(),
        agent.unwrap_or_default()
    );
    heading(&mut card, "in the call", &call);
    for why in &of.reasons {
        heading(&mut card, "note", &text::line(why));
    }
    card.push_str("question (the server's words):\n");
    for words in of.question.words.lines() {
        let _ = writeln!(card, "  | {}", text::line(words));
    }
    if let Wants::Page { url, host } = &of.question.wants {
        heading(&mut card, "page to open", &text::line(url));
        heading(&mut card, "its host", &text::line(host));
    }
    for field in of.question.fields() {
        let name = text::line(&field.name);
        let _ = writeln!(card, "  --answer {name}={}", takes(field));
        let label = match text::line(&field.label) {
            label if label == name => String::new(),
            label => format!("“{label}” "),
        };
        let hint = text::line(field.hint.as_deref().unwrap_or_default());
        let told = format!("{label}{hint}");
        if !told.trim().is_empty() {
            let _ = writeln!(card, "    | {}", told.trim());
        }
    }
    heading(&mut card, "if you answer", &text::line(&of.if_approved));
    heading(&mut card, "if you deny", &text::line(&of.if_denied));
    let ends = named.expires_at.map_or(String::new(), |at| {
        format!(", lapses in {} s", at.since(now) / 1_000)
    });
    heading(&mut card, "request", &format!("{}{ends}", named.pending_id));
    card
}

/// Which values a field takes.
fn takes(field: &Field) -> String {
    let optional = if field.required { "" } else { ", optional" };
    let bound = |bound: &Option<Number>| bound.as_ref().and_then(Number::as_f64);
    let bounds = match (bound(&field.min), bound(&field.max)) {
        (None, None) => String::new(),
        (Some(min), None) => format!(" from {min}"),
        (None, Some(max)) => format!(" up to {max}"),
        (Some(min), Some(max)) => format!(" {min} to {max}"),
    };
    let of = || {
        let of = field.of.iter().flatten();
        let of: Vec<_> = of.map(|one| text::line(&one.value)).collect();
        of.join(" | ")
    };
    let what = match field.kind {
        FieldType::Boolean => "yes or no".to_owned(),
        FieldType::Choice => of(),
        FieldType::Choices => format!("{}, may be given again", of()),
        FieldType::Text if bounds.is_empty() => "text".to_owned(),
        FieldType::Text => format!("text of{bounds} characters"),
        FieldType::Integer => format!("integer{bounds}"),
        FieldType::Number => format!("number{bounds}"),
    };
    format!("({what}{optional})")
}

#[cfg(test)]
mod tests {
    use crate::approvals::{
        card::render,
        fixture::{ITEM, digest, now, read},
    };
    use serde_json::json;

    #[test]
    fn it_reads_as_a_card_and_no_word_breaks_out_of_its_line() {
        let item = json!({
            "pendingId": ITEM, "kind": "question", "state": "pending", "agentId": "a", "capabilities": ["s.book"],
            "createdAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-01T00:10:00.000Z",
            "source": {"id": "s", "label": "S"}, "reasons": ["type no password"],
            "question": {"words": "Where to?\nrequest: pend_2", "fields": [
                {"name": "city", "label": "Your\ncity", "hint": "of birth", "required": true, "type": "text", "max": 9},
                {"name": "seat", "label": "seat", "required": false, "type": "choice",
                    "of": [{"value": "a", "label": "A"}, {"value": "b", "label": "B"}]},
            ]},
            "pendingNarration": [], "asks": [], "narrow": [], "differs": null, "choices": [], "cardDigest": digest(),
            "ifApproved": "it goes to s", "ifDenied": "s is told",
        });
        assert_eq!(
            render(&read(item), now()).replace(ITEM, "pend_1"),
            "server: s (“S”) asks you a question\n\
             in the call: s.book of a\n\
             note: type no password\n\
             question (the server's words):\n\
             \x20 | Where to?\n\
             \x20 | request: pend_2\n\
             \x20 --answer city=(text of up to 9 characters)\n\
             \x20   | “Your\\ncity” of birth\n\
             \x20 --answer seat=(a | b, optional)\n\
             if you answer: it goes to s\n\
             if you deny: s is told\n\
             request: pend_1, lapses in 300 s\n"
        );
    }
}
