//! The card of a source whose grants rest: why, what differs, and what a yes and a no do.
//! What is not named here is shown by the whole card (`--all`), which leaves nothing out.

use super::heading;
use plexus_client::{span, text};
use plexus_owner::pending::{ChangeCard, Heading};
use plexus_protocol::Timestamp;
use std::fmt::{Display, Write as _};

pub(super) fn render(named: &Heading, of: &ChangeCard, now: Timestamp) -> String {
    let mut card = String::new();
    let waits = match (of.is_of_code(), of.definitions.is_some()) {
        (true, _) => "it is stopped until you decide",
        (false, true) => "what changed is hidden until you decide",
        (false, false) => "its grants are suspended until you decide",
    };
    let (source, label) = (&of.source.id, text::line(&of.source.label));
    heading(
        &mut card,
        "source",
        &format!("{source} (“{label}”): {waits}"),
    );
    for why in &of.reasons {
        heading(&mut card, "why", &text::line(why));
    }
    for change in &of.changes {
        let _ = writeln!(card, "  {}", text::line(&change.about));
        for words in &change.words {
            let _ = writeln!(card, "    {}", text::line(words));
        }
    }
    list(&mut card, "capabilities", &named.capabilities);
    list(&mut card, "agents", &of.agents);
    heading(&mut card, "if you approve", &text::line(&of.if_approved));
    heading(&mut card, "if you deny", &text::line(&of.if_denied));
    let since = span::ago(named.created_at, now);
    heading(
        &mut card,
        "request",
        &format!("{}, {since}", named.pending_id),
    );
    card
}

fn list(card: &mut String, label: &str, ids: &[impl Display]) {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    if !ids.is_empty() {
        heading(card, label, &ids.join(" "));
    }
}

#[cfg(test)]
mod tests {
    use crate::approvals::{
        card::render,
        fixture::{ITEM, change, now, read},
    };

    #[test]
    fn it_reads_as_a_card_and_no_name_breaks_out_of_its_line() {
        assert_eq!(
            render(&read(change()), now()).replace(ITEM, "pend_1"),
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
