//! The card of a source whose grants rest: why, what differs, and what a yes and a no do.
//! What is not named here is shown by the whole card (`--all`), which leaves nothing out.

use super::{heading, list_of, text_of};
use plexus_client::{span, text};
use plexus_protocol::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// Whether the card is of a source that runs something else than the owner agreed to.
pub(in crate::approvals) fn is_of_code(item: &Value) -> bool {
    let mut changes = list_of(item, "changes").iter();
    changes.any(|change| text_of(change, "about") == "what it runs")
}

pub(super) fn render(item: &Value, now: Timestamp) -> String {
    let mut card = String::new();
    let source = &item["source"];
    let waits = match (is_of_code(item), item["definitions"].is_string()) {
        (true, _) => "it is stopped until you decide",
        (false, true) => "what changed is hidden until you decide",
        (false, false) => "its grants are suspended until you decide",
    };
    let named = format!(
        "{} (“{}”): {waits}",
        text::line(text_of(source, "id")),
        text::line(text_of(source, "label")),
    );
    heading(&mut card, "source", &named);
    for why in list_of(item, "reasons").iter().filter_map(Value::as_str) {
        heading(&mut card, "why", &text::line(why));
    }
    for change in list_of(item, "changes") {
        let _ = writeln!(card, "  {}", text::line(text_of(change, "about")));
        for words in list_of(change, "words").iter().filter_map(Value::as_str) {
            let _ = writeln!(card, "    {}", text::line(words));
        }
    }
    for (label, list) in [("capabilities", "capabilities"), ("agents", "agents")] {
        let all: Vec<_> = list_of(item, list)
            .iter()
            .filter_map(Value::as_str)
            .map(text::line)
            .collect();
        if !all.is_empty() {
            heading(&mut card, label, &all.join(" "));
        }
    }
    heading(
        &mut card,
        "if you approve",
        &text::line(text_of(item, "ifApproved")),
    );
    heading(
        &mut card,
        "if you deny",
        &text::line(text_of(item, "ifDenied")),
    );
    let since = serde_json::from_value(item["createdAt"].clone())
        .map_or(String::new(), |at| format!(", {}", span::ago(at, now)));
    let id = text::line(text_of(item, "pendingId"));
    heading(&mut card, "request", &format!("{id}{since}"));
    card
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_reads_as_a_card_and_no_name_breaks_out_of_its_line() {
        let item = json!({
            "pendingId": "pend_1", "kind": "change", "createdAt": "2026-01-01T00:00:00.000Z",
            "source": {"id": "notes", "label": "My\nnotes"},
            "capabilities": ["notes.read"], "agents": ["a", "b"], "reasons": ["it changed"],
            "changes": [{"about": "notes.read", "words": ["it also takes `x`"]}],
            "ifApproved": "its 2 grants go on", "ifDenied": "its 2 grants end",
        });
        let now: Timestamp = serde_json::from_str("\"2026-01-01T00:05:00.000Z\"").unwrap();
        assert_eq!(
            render(&item, now),
            "source: notes (“My\\nnotes”): its grants are suspended until you decide\n\
             why: it changed\n\
             \x20 notes.read\n\
             \x20   it also takes `x`\n\
             capabilities: notes.read\n\
             agents: a b\n\
             if you approve: its 2 grants go on\n\
             if you deny: its 2 grants end\n\
             request: pend_1, 5 min ago\n"
        );
    }
}
