//! The surface of an extension, as lines of text: the sections that the gateway makes, which the console shows too.
//!
//! Invariants: only our own words and ids begin at the left margin; an author's text stands behind a bar; every fact is
//! printed whole.
//!
//! Must not know: what a section is about.

use plexus_client::text;
use plexus_owner::{
    extensions::DeclaredPreview,
    pending::{MovedSecret, Surface, SurfaceFact, SurfaceValue},
};

/// All that the owner is to know before an approval.
pub(super) fn previewed(seen: &DeclaredPreview) -> String {
    let mut lines = vec![
        surface_lines(&seen.surface, seen.changes.as_deref()),
        String::new(),
    ];
    lines.extend(outcome_lines(
        &seen.if_approved,
        &seen.moved_secrets,
        seen.if_kept.as_deref(),
    ));
    lines.join("\n")
}

/// What an approval does, and how stored secrets are kept that would go to another host.
pub(crate) fn outcome_lines(
    approved: &str,
    moved: &[MovedSecret],
    kept: Option<&str>,
) -> Vec<String> {
    let moved = moved.iter().map(|moved| {
        let (name, host) = (text::line(&moved.name), text::line(&moved.host));
        format!(
            "to keep a stored secret: the secret {name} will go to {host}: --keep-secret {name}"
        )
    });
    let mut lines = vec![format!("if you approve: {}", text::line(approved))];
    lines.extend(moved);
    lines.extend(kept.map(|words| format!("if you approve and keep it: {}", text::line(words))));
    lines
}

/// The same of a surface, and of what differs from what the owner agreed to before.
pub(crate) fn surface_lines(surface: &Surface, changes: Option<&[String]>) -> String {
    let (source, label) = (&surface.source, text::line(&surface.label));
    let mut lines = vec![format!("extension {source} ({label})")];
    for section in &surface.sections {
        let title = text::line(&section.title);
        let note = section.note.as_ref();
        let note = note.map_or(String::new(), |note| format!(": {}", text::line(note)));
        lines.push(format!("\n{title}{note}"));
        lines.extend(fact_lines(&section.facts));
    }
    if let Some(changes) = changes {
        lines.push(String::new());
        lines.push("since you agreed to it:".to_owned());
        lines.extend(
            changes
                .iter()
                .map(|words| format!("  {}", text::line(words))),
        );
        if changes.is_empty() {
            lines.push("  nothing".to_owned());
        }
    }
    lines.join("\n")
}

fn fact_lines(facts: &[SurfaceFact]) -> Vec<String> {
    let values = facts
        .iter()
        .filter(|fact| matches!(fact.what, SurfaceValue::Value(_)));
    let names = values.map(|fact| text::line(&fact.name).chars().count());
    let width = names.max().unwrap_or(0);
    let mut lines = Vec::new();
    for fact in facts {
        let name = text::line(&fact.name);
        match &fact.what {
            SurfaceValue::Value(value) => {
                lines.push(format!("  {name:width$}  {}", text::line(value)));
            }
            SurfaceValue::Text(words) => {
                lines.push(format!("  {name}:"));
                lines.extend(text::lines(words).map(|words| format!("    │ {words}")));
            }
        }
    }
    lines
}
