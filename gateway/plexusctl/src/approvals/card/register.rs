//! The card of an extension that an agent proposes: all that it is and may reach, what differs from before, and what an
//! approval does. What is not named here is shown by the whole card (`--all`), which leaves nothing out.

use super::{heading, purpose, who};
use crate::extension::{outcome_lines, surface_lines};
use plexus_client::{span, text};
use plexus_owner::pending::{Heading, RegisterCard};
use plexus_protocol::Timestamp;
use std::fmt::Write as _;

pub(super) fn render(named: &Heading, of: &RegisterCard, now: Timestamp) -> String {
    let mut card = String::new();
    who(&mut card, named);
    let wants = match of.changes {
        Some(_) => "you to change an extension",
        None => "you to add an extension",
    };
    heading(&mut card, "wants", wants);
    purpose(&mut card, named);
    let surface = surface_lines(&of.register, of.changes.as_deref());
    let _ = writeln!(card, "{surface}\n");
    for why in of.problems.iter().flatten() {
        heading(&mut card, "it cannot be added here", &text::line(why));
    }
    for folder in &of.folders_to_name {
        let (name, label) = (text::line(&folder.name), text::line(&folder.label));
        let words = format!("“{label}”: --folder {name}=PATH");
        heading(&mut card, "you name the folder", &words);
    }
    if of.problems.is_none() {
        for line in outcome_lines(&of.if_approved, &of.moved_secrets, of.if_kept.as_deref()) {
            let _ = writeln!(card, "{line}");
        }
    }
    let since = span::ago(named.created_at, now);
    heading(
        &mut card,
        "request",
        &format!("{}, {since}", named.pending_id),
    );
    card
}
