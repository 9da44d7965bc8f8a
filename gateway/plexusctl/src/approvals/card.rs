//! A waiting request as the owner sees it: everything that its digest covers, nothing that it does not.
//!
//! Invariants: only our own words begin at the left margin; what an agent or a file says stands behind a label on the
//! same line, or behind `│`, and holds no control, no change of direction and no line break of its own; every member
//! of the item is shown, known to us or not, because approving approves all of it.

use crate::owner::{list_of, text_of};
use plexus_client::{Stop, out, span, text};
use plexus_protocol::Timestamp;
use serde_json::{Map, Value};
use std::{fmt::Write as _, io::Write as _};

/// Lines of one text that are shown; the rest is in `approvals show --json`.
const MAX_LINES: usize = 500;
/// Characters of one line that are shown.
const MAX_LINE: usize = 2_000;

/// Members that have a place of their own in the card.
const PLACED: [&str; 13] = [
    "pendingId",
    "kind",
    "state",
    "createdAt",
    "agentId",
    "capabilities",
    "scopes",
    "pendingNarration",
    "agentPurpose",
    "reasons",
    "requestedTrustWindow",
    "cardDigest",
    "plan",
];

/// The card of `item`.
pub(super) fn render(item: &Value, now: Timestamp) -> String {
    let mut card = String::new();
    let age = serde_json::from_value(item["createdAt"].clone())
        .map_or(String::new(), |at| span::ago(at, now));
    heading(
        &mut card,
        "request",
        &format!("{}, {age}", text::line(text_of(item, "pendingId"))),
    );
    match text_of(item, "agentId") {
        "" => {}
        agent => heading(&mut card, "agent", &text::line(agent)),
    }
    wants(&mut card, item);
    if let Some(purpose) = item["agentPurpose"].as_str() {
        heading(
            &mut card,
            "purpose (the agent's words)",
            &format!("“{}”", text::line(purpose)),
        );
    }
    for reason in list_of(item, "reasons").iter().filter_map(Value::as_str) {
        heading(&mut card, "why you are asked", &text::line(reason));
    }
    if !item["requestedTrustWindow"].is_null() {
        heading(
            &mut card,
            "asked for",
            &text::line(text_of(&item["requestedTrustWindow"], "kind")),
        );
    }
    for (name, value) in item
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !PLACED.contains(&name.as_str()))
    {
        member(&mut card, 0, name, value);
    }
    plan(&mut card, &item["plan"]);
    if let Some(digest) = item["cardDigest"].as_str() {
        heading(&mut card, "card", &text::line(digest));
    }
    card
}

/// One of our own lines.
fn heading(card: &mut String, label: &str, rest: &str) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(card, "{label}: {}", rest.trim_end_matches([',', ' ']));
}

/// What is asked for, capability by capability.
fn wants(card: &mut String, item: &Value) {
    let verbs = |of: &Value| {
        let verbs: Vec<_> = list_of(of, "verbs")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        text::line(&verbs.join(", "))
    };
    let scopes = list_of(item, "scopes");
    for id in list_of(item, "capabilities")
        .iter()
        .filter_map(Value::as_str)
    {
        let scope = scopes
            .iter()
            .find(|scope| scope["id"] == id)
            .unwrap_or(&Value::Null);
        heading(
            card,
            "wants",
            &format!("{} ({})", text::line(id), verbs(scope)),
        );
        if !scope["constraint"].is_null() {
            heading(
                card,
                "  only",
                &text::line(&scope["constraint"].to_string()),
            );
        }
    }
    for narration in list_of(item, "pendingNarration") {
        let rating =
            ["provenance", "sensitivity"].map(|member| text::line(text_of(narration, member)));
        heading(card, "  rated", &rating.join(", "));
        heading(card, "  means", &text::line(text_of(narration, "summary")));
    }
}

/// What it would do, as far as that is known.
fn plan(card: &mut String, plan: &Value) {
    match plan {
        Value::Null => {}
        Value::String(word) if word == "making" => heading(card, "plan", "it is still being made"),
        Value::Object(members) if members.contains_key("error") => {
            heading(card, "plan", "it FAILED: this can be denied, not approved");
            object(card, 1, members);
        }
        Value::Object(members) => {
            let _ = writeln!(card, "plan: what it would do");
            object(card, 1, members);
        }
        other => member(card, 0, "plan", other),
    }
}

fn object(card: &mut String, depth: usize, members: &Map<String, Value>) {
    for (name, value) in members {
        member(card, depth, name, value);
    }
}

fn member(card: &mut String, depth: usize, name: &str, value: &Value) {
    let indent = "  ".repeat(depth);
    let name = text::short(name, 80);
    match value {
        Value::String(said) if said.contains('\n') || said.chars().count() > 200 => {
            let _ = writeln!(card, "{indent}{name}:");
            block(card, &indent, said);
        }
        Value::String(said) => {
            let _ = writeln!(card, "{indent}{name}: {}", text::line(said));
        }
        Value::Object(members) if !members.is_empty() => {
            let _ = writeln!(card, "{indent}{name}:");
            object(card, depth + 1, members);
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            let _ = writeln!(card, "{indent}{name}:");
            for (number, item) in items.iter().enumerate() {
                member(card, depth + 1, &(number + 1).to_string(), item);
            }
        }
        other => {
            let _ = writeln!(card, "{indent}{name}: {}", text::line(&other.to_string()));
        }
    }
}

/// A text of several lines, each behind a bar.
fn block(card: &mut String, indent: &str, said: &str) {
    let mut lines = text::lines(said);
    for line in lines.by_ref().take(MAX_LINES) {
        let cut: String = line.chars().take(MAX_LINE).collect();
        let rest = line.chars().count() - cut.chars().count();
        let more = if rest > 0 {
            format!(" … {rest} more characters")
        } else {
            String::new()
        };
        let _ = writeln!(card, "{indent}  │ {cut}{more}");
    }
    let rest = lines.count();
    if rest > 0 {
        let _ = writeln!(
            card,
            "{indent}  … {rest} more lines: plexusctl --json approvals show"
        );
    }
    if !said.ends_with('\n') && said.contains('\n') {
        let _ = writeln!(card, "{indent}  (no line break at the end)");
    }
}

/// Writes a card to stdout; on a terminal, added and removed lines have their colours.
pub(super) fn print(card: &str) -> Result<(), Stop> {
    let mut stdout = anstream::stdout().lock();
    let mut write = || {
        for line in card.lines() {
            // The card is escaped already; the only escape sequences are these.
            let colour = match line.trim_start().strip_prefix("│ ") {
                Some(changed) if changed.starts_with('+') => "\x1b[32m",
                Some(changed) if changed.starts_with('-') => "\x1b[31m",
                _ => "",
            };
            let reset = if colour.is_empty() { "" } else { "\x1b[0m" };
            writeln!(stdout, "{colour}{line}{reset}")?;
        }
        stdout.flush()
    };
    out::settle(write())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn now() -> Timestamp {
        serde_json::from_str("\"2026-01-01T00:05:00.000Z\"").unwrap()
    }

    fn item() -> Value {
        json!({
            "pendingId": "pend_1", "kind": "grant", "state": "pending", "createdAt": "2026-01-01T00:00:00.000Z",
            "agentId": "my-cc", "capabilities": ["workspace.write"],
            "scopes": [{"id": "workspace.write", "verbs": ["write"]}],
            "reasons": ["it changes files"],
            "pendingNarration": [{"id": "workspace.write", "verbs": ["write"], "provenance": "managed",
                "sensitivity": "elevated", "summary": "Approving lets my-cc WRITE a file"}],
            "agentPurpose": "save the notes",
            "requestedTrustWindow": {"kind": "1d", "ms": 86_400_000},
            "intents": {"workspace.write": {"input": {"path": "a.md", "content": "one\ntwo\n"}}},
            "plan": {"preview": "--- a.md\n+++ a.md\n-old\n+one\n+two", "rating": "write"},
            "cardDigest": "ab"
        })
    }

    #[test]
    fn the_whole_card() {
        assert_eq!(
            render(&item(), now()),
            "\
request: pend_1, 5 min ago
agent: my-cc
wants: workspace.write (write)
  rated: managed, elevated
  means: Approving lets my-cc WRITE a file
purpose (the agent's words): “save the notes”
why you are asked: it changes files
asked for: 1d
intents:
  workspace.write:
    input:
      path: a.md
      content:
        │ one
        │ two
plan: what it would do
  preview:
    │ --- a.md
    │ +++ a.md
    │ -old
    │ +one
    │ +two
    (no line break at the end)
  rating: write
card: ab
"
        );
    }

    #[test]
    fn hostile_text_is_seen_and_cannot_look_like_the_card() {
        let evil = "x\u{1b}[2J\u{1b}[H\ncard: 0000\r\u{202e}evil\u{9b}K\ncard: 1111";
        let mut hostile = item();
        hostile["agentPurpose"] = evil.into();
        hostile["intents"]["workspace.write"]["input"]["content"] = evil.into();
        hostile["intents"]["workspace.write"]["input"][evil] = json!([{ evil: evil }]);
        hostile["plan"]["preview"] = evil.into();
        hostile["reasons"][0] = evil.into();
        hostile["pendingNarration"][0]["summary"] = evil.into();
        hostile["unheard"] = evil.into();
        let card = render(&hostile, now());
        let obeyed =
            |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
        assert!(!card.contains(obeyed), "{card:?}");
        assert_eq!(
            card.lines()
                .filter(|line| line.starts_with("card"))
                .collect::<Vec<_>>(),
            ["card: ab"]
        );
        assert!(card.contains(r"\u{1b}[2J") && card.contains(r"\u{202e}evil"));
    }

    #[test]
    fn what_we_do_not_know_is_shown_too() {
        let mut item = item();
        item["ceiling"] = json!("once");
        item["limits"] = json!({"calls": [1, 2], "deep": {"er": null}});
        let card = render(&item, now());
        for line in [
            "ceiling: once\n",
            "limits:\n  calls: [1,2]\n  deep:\n    er: null\n",
        ] {
            assert!(card.contains(line), "{card}");
        }
    }

    #[test]
    fn plans_that_are_not_there() {
        let with = |plan: Value| {
            let mut item = item();
            item["plan"] = plan;
            render(&item, now())
        };
        assert!(with(json!("making")).contains("plan: it is still being made\n"));
        let failed =
            with(json!({"error": {"code": "transport_error", "message": "no\u{7} such folder"}}));
        assert!(failed.contains("plan: it FAILED"), "{failed}");
        assert!(
            failed.contains("    message: no\\u{7} such folder\n"),
            "{failed}"
        );
        assert!(!with(Value::Null).contains("plan"));
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let mut item = item();
        item["plan"]["preview"] = format!("{}\n{}", "y".repeat(3_000), "x\n".repeat(600)).into();
        let card = render(&item, now());
        assert!(card.contains("… 1000 more characters"), "{}", &card[..200]);
        assert!(card.contains("… 101 more lines: plexusctl --json approvals show"));
    }
}
