//! The card of a question that a lent server asks the owner: its words, its fields, and where an answer goes.
//! What is not named here is shown by the whole card (`--all`), which leaves nothing out.

use super::{heading, list_of, text_of};
use plexus_client::text;
use plexus_protocol::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn render(item: &Value, now: Timestamp) -> String {
    let mut card = String::new();
    let line = |value: &Value, member: &str| text::line(text_of(value, member));
    let (source, question) = (&item["source"], &item["question"]);
    let named = format!(
        "{} (“{}”) asks you a question",
        line(source, "id"),
        line(source, "label")
    );
    heading(&mut card, "server", &named);
    let call = list_of(item, "capabilities")
        .iter()
        .filter_map(Value::as_str)
        .map(text::line);
    let call = format!("{} of {}", call.collect::<String>(), line(item, "agentId"));
    heading(&mut card, "in the call", &call);
    for why in list_of(item, "reasons").iter().filter_map(Value::as_str) {
        heading(&mut card, "note", &text::line(why));
    }
    card.push_str("question (the server's words):\n");
    for words in text_of(question, "words").lines() {
        let _ = writeln!(card, "  | {}", text::line(words));
    }
    if question["url"].is_string() {
        heading(&mut card, "page to open", &line(question, "url"));
        heading(&mut card, "its host", &line(question, "host"));
    }
    for field in list_of(question, "fields") {
        let _ = writeln!(card, "  --answer {}={}", line(field, "name"), takes(field));
        let label = line(field, "label");
        let label = if label == line(field, "name") {
            String::new()
        } else {
            format!("“{label}” ")
        };
        let told = format!("{label}{}", line(field, "hint"));
        if !told.trim().is_empty() {
            let _ = writeln!(card, "    | {}", told.trim());
        }
    }
    heading(&mut card, "if you answer", &line(item, "ifApproved"));
    heading(&mut card, "if you deny", &line(item, "ifDenied"));
    let ends = serde_json::from_value::<Timestamp>(item["expiresAt"].clone());
    let ends = ends.map_or(String::new(), |at| {
        format!(", lapses in {} s", at.since(now) / 1_000)
    });
    heading(
        &mut card,
        "request",
        &format!("{}{ends}", line(item, "pendingId")),
    );
    card
}

/// Which values a field takes.
fn takes(field: &Value) -> String {
    let optional = if field["required"] == true {
        ""
    } else {
        ", optional"
    };
    let bounds = match (field["min"].as_f64(), field["max"].as_f64()) {
        (None, None) => String::new(),
        (Some(min), None) => format!(" from {min}"),
        (None, Some(max)) => format!(" up to {max}"),
        (Some(min), Some(max)) => format!(" {min} to {max}"),
    };
    let what = match text_of(field, "type") {
        "boolean" => "yes or no".to_owned(),
        kind @ ("choice" | "choices") => {
            let of = list_of(field, "of")
                .iter()
                .map(|one| text::line(text_of(one, "value")));
            let of = of.collect::<Vec<_>>().join(" | ");
            let more = if kind == "choices" {
                ", may be given again"
            } else {
                ""
            };
            format!("{of}{more}")
        }
        "text" if bounds.is_empty() => "text".to_owned(),
        "text" => format!("text of{bounds} characters"),
        other => format!("{}{bounds}", text::line(other)),
    };
    format!("({what}{optional})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_reads_as_a_card_and_no_word_breaks_out_of_its_line() {
        let item = json!({
            "pendingId": "pend_1", "kind": "question", "agentId": "a", "capabilities": ["s.book"],
            "createdAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-01T00:10:00.000Z",
            "source": {"id": "s", "label": "S"}, "reasons": ["type no password"],
            "question": {"words": "Where to?\nrequest: pend_2", "fields": [
                {"name": "city", "label": "Your\ncity", "hint": "of birth", "required": true, "type": "text", "max": 9},
                {"name": "seat", "label": "seat", "required": false, "type": "choice", "of": [{"value": "a"}, {"value": "b"}]},
            ]},
            "ifApproved": "it goes to s", "ifDenied": "s is told",
        });
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:05:00.000Z\"").unwrap();
        assert_eq!(
            render(&item, now),
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
