//! The answers that a card offers, and what it differs in from the last one that was approved. The words are the
//! gateway's; here they are printed.

use super::{CHANGE, heading, shows_all};
use plexus_client::{span, text};
use plexus_owner::pending::{Choice, GrantCard};
use plexus_protocol::{PendingId, Timestamp, TrustWindow};
use std::fmt::Write as _;

/// Lines of one side of a change that the short card shows.
const FEW: usize = 12;

/// The windows that can be chosen, besides `once`.
pub(in super::super) fn windows(choices: &[Choice]) -> Vec<TrustWindow> {
    let open = |choice: &&Choice| choice.refused.is_none() && choice.window != TrustWindow::Once;
    let offered = choices.iter().filter(open);
    offered.map(|choice| choice.window).collect()
}

/// Windows and what each allows; those that differ in nothing but their length share a line, and so do those that
/// cannot be chosen for one reason.
pub(super) fn offers(card: &mut String, choices: &[Choice]) {
    let mut lines: Vec<(bool, String, String)> = Vec::new();
    for choice in choices {
        let kind = choice.window.kind();
        let (open, said) = match &choice.refused {
            Some(why) => (false, why.clone()),
            None if choice.window == TrustWindow::Once => (true, choice.words.clone()),
            None => {
                let phrase = choice.window.phrase();
                (true, choice.words.replace(phrase, "for that long"))
            }
        };
        match lines
            .iter_mut()
            .find(|line| line.0 == open && line.2 == said)
        {
            Some((_, kinds, _)) => kinds.push_str(&format!(", {kind}")),
            None => lines.push((open, kind.to_owned(), said)),
        }
    }
    for (open, kinds, said) in lines {
        let label = if open { kinds } else { format!("not {kinds}") };
        heading(card, &format!("  {label}"), &text::line(&said));
    }
}

/// How the source was changed since it was granted, and what the owner has denied before, in the gateway's words.
pub(super) fn before(card: &mut String, of: &GrantCard, now: Timestamp) {
    for change in &of.source_changed {
        let label = format!("source changed {}", span::ago(change.at, now));
        heading(card, &label, &text::line(&change.words));
    }
    for denied in &of.denied_before {
        heading(card, "denied before", &text::line(&denied.words));
    }
}

/// What the call differs in from the last one that was approved. `cut_of` is the item whose whole card shows what is left out
/// here; without it nothing is.
pub(super) fn differs(
    card: &mut String,
    of: &GrantCard,
    now: Timestamp,
    cut_of: Option<&PendingId>,
) {
    let Some(differs) = &of.differs else {
        return;
    };
    let since = span::ago(differs.since, now);
    if differs.changes.is_empty() {
        let said = format!("nothing: it has the input of the call that you approved {since}");
        return heading(card, "differs", &said);
    }
    heading(
        card,
        "differs",
        &format!("from the call that you approved {since}, in"),
    );
    for change in &differs.changes {
        let of = change.capability.as_ref();
        let of = of.map_or(String::new(), |id| format!("{id} "));
        let path = text::short(&change.path, 200);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(card, "  {of}{path}:");
        for (sign, side) in [('-', &change.was), ('+', &change.now)] {
            let Some(said) = side else {
                continue;
            };
            let most = cut_of.map_or(usize::MAX, |_| FEW);
            let mut lines = text::lines(if said.is_empty() { "\n" } else { said });
            for line in lines.by_ref().take(most) {
                let _ = writeln!(card, "    {CHANGE} {sign}{line}");
            }
            let rest = lines.count();
            if let (1.., Some(item)) = (rest, cut_of) {
                let _ = writeln!(card, "    … {rest} more lines: {}", shows_all(item));
            }
        }
    }
    if let Some(more) = differs.more {
        let _ = writeln!(card, "  … and in {more} more places");
    }
}
