//! The surface of an extension, as lines of text: the sections that the gateway makes, which the console shows too.
//!
//! Invariants: only our own words and ids begin at the left margin; an author's text stands behind a bar; every fact is
//! printed whole.
//!
//! Must not know: what a section is about.

use crate::owner::{list_of, text_of};
use plexus_client::text;
use serde_json::Value;

/// All that the owner is to know before an approval.
pub(super) fn shown(seen: &Value) -> String {
    let mut lines = vec![surface_lines(&seen["surface"], &seen["changes"])];
    if seen["ifApproved"].is_string() {
        lines.push(String::new());
        lines.extend(outcome_lines(seen));
    }
    lines.join("\n")
}

/// What an approval does, and how stored secrets are kept that would go to another host.
pub(crate) fn outcome_lines(card: &Value) -> Vec<String> {
    let said = |member: &str, label: &str| {
        let words = card[member].as_str();
        words.map(|words| format!("{label}: {}", text::line(words)))
    };
    let moved = list_of(card, "movedSecrets").iter().map(|moved| {
        let (name, host) = (text_of(moved, "name"), text_of(moved, "host"));
        let (name, host) = (text::line(name), text::line(host));
        format!(
            "to keep a stored secret: the secret {name} will go to {host}: --keep-secret {name}"
        )
    });
    let mut lines: Vec<_> = said("ifApproved", "if you approve").into_iter().collect();
    lines.extend(moved);
    lines.extend(said("ifKept", "if you approve and keep it"));
    lines
}

/// The same of a surface, and of what differs from what the owner agreed to before.
pub(crate) fn surface_lines(surface: &Value, changes: &Value) -> String {
    let line = |member: &str| text::line(text_of(surface, member));
    let mut lines = vec![format!("extension {} ({})", line("source"), line("label"))];
    for section in list_of(surface, "sections") {
        let title = text::line(text_of(section, "title"));
        let note = section["note"].as_str();
        let note = note.map_or(String::new(), |note| format!(": {}", text::line(note)));
        lines.push(format!("\n{title}{note}"));
        lines.extend(fact_lines(list_of(section, "facts")));
    }
    if let Some(changes) = changes.as_array() {
        lines.push(String::new());
        lines.push("since you agreed to it:".to_owned());
        let changes = changes.iter().filter_map(Value::as_str);
        lines.extend(
            changes
                .clone()
                .map(|words| format!("  {}", text::line(words))),
        );
        if changes.count() == 0 {
            lines.push("  nothing".to_owned());
        }
    }
    lines.join("\n")
}

fn fact_lines(facts: &[Value]) -> Vec<String> {
    let values = facts.iter().filter(|fact| fact["value"].is_string());
    let names = values.map(|fact| text::line(text_of(fact, "name")).chars().count());
    let width = names.max().unwrap_or(0);
    let mut lines = Vec::new();
    for fact in facts {
        let name = text::line(text_of(fact, "name"));
        match fact["text"].as_str() {
            None => {
                let value = text::line(text_of(fact, "value"));
                lines.push(format!("  {name:width$}  {value}"));
            }
            Some(words) => {
                lines.push(format!("  {name}:"));
                lines.extend(text::lines(words).map(|words| format!("    │ {words}")));
            }
        }
    }
    lines
}
