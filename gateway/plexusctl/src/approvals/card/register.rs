//! The card of an extension that an agent proposes: all that it is and may reach, what differs from before, and what an
//! approval does. What is not named here is shown by the whole card (`--all`), which leaves nothing out.

use super::{heading, list_of, text_of};
use crate::extension::{outcome_lines, surface_lines};
use plexus_client::{span, text};
use plexus_protocol::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

pub(super) fn render(item: &Value, now: Timestamp) -> String {
    let mut card = String::new();
    let line = |member: &str| text::line(text_of(item, member));
    heading(&mut card, "agent", &line("agentId"));
    let wants = match item["changes"].is_array() {
        true => "you to change an extension",
        false => "you to add an extension",
    };
    heading(&mut card, "wants", wants);
    if let Some(purpose) = item["agentPurpose"].as_str() {
        let purpose = format!("“{}”", text::line(purpose));
        heading(&mut card, "purpose (the agent's words)", &purpose);
    }
    let _ = writeln!(
        card,
        "{}\n",
        surface_lines(&item["register"], &item["changes"])
    );
    for why in list_of(item, "problems").iter().filter_map(Value::as_str) {
        heading(&mut card, "it cannot be added here", &text::line(why));
    }
    for folder in list_of(item, "foldersToName") {
        let (name, label) = (
            text::line(text_of(folder, "name")),
            text::line(text_of(folder, "label")),
        );
        let words = format!("“{label}”: --folder {name}=PATH");
        heading(&mut card, "you name the folder", &words);
    }
    if item["problems"].is_null() {
        for line in outcome_lines(item) {
            let _ = writeln!(card, "{line}");
        }
    }
    let since = serde_json::from_value(item["createdAt"].clone())
        .map_or(String::new(), |at| format!(", {}", span::ago(at, now)));
    heading(
        &mut card,
        "request",
        &format!("{}{since}", line("pendingId")),
    );
    card
}
