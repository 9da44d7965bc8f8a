//! The answers that a card offers, and what it differs in from the last one that was approved. The words are the
//! gateway's; here they are printed.

use super::{CHANGE, heading};
use plexus_client::{span, text};
use plexus_owner::pending::{Choice, DifferenceForm, GrantCard};
use plexus_protocol::{Timestamp, TrustWindow};
use std::fmt::Write as _;

/// Most characters of one side of a change.
const SIDE: usize = 200;

/// The windows that can be chosen, besides `once`.
pub(in super::super) fn windows(choices: &[Choice]) -> Vec<TrustWindow> {
    let open = |choice: &&Choice| choice.refused.is_none() && choice.window != TrustWindow::Once;
    let offered = choices.iter().filter(open);
    offered.map(|choice| choice.window).collect()
}

/// The words of a choice. The call that it begins with is made at the end of a pause.
pub(in super::super) fn words(choice: &Choice, is_paused: bool) -> String {
    let [now, then] = ["this call now, and ", "this call when you resume, and "];
    match is_paused {
        true => choice.words.replacen(now, then, 1),
        false => choice.words.clone(),
    }
}

/// Windows and what each allows; those that differ in nothing but their length share a line, and so do those that
/// cannot be chosen for one reason. The calls that an approval permits beside its own have a line of their own, and are not
/// repeated.
pub(super) fn offers(card: &mut String, of: &GrantCard, is_paused: bool) {
    let children = of.asks.iter().filter_map(|ask| ask.children.as_ref());
    let permitted: Vec<_> = children
        .map(|calls| calls.words.as_str())
        .filter(|words| !words.is_empty())
        .collect();
    let once = |words: &str| {
        permitted.iter().fold(words.to_owned(), |said, calls| {
            said.replace(
                &format!(", and {calls};"),
                ", and the calls that it permits;",
            )
        })
    };
    let mut lines: Vec<(bool, String, String)> = Vec::new();
    for choice in &of.choices {
        let kind = choice.window.kind();
        let (open, said) = match &choice.refused {
            Some(why) => (false, why.clone()),
            None if choice.window == TrustWindow::Once => (true, once(&choice.words)),
            None => {
                let phrase = choice.window.phrase();
                let words = words(choice, is_paused);
                (true, words.replace(phrase, "for that long"))
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

/// What the call differs in from the last one that was approved.
pub(super) fn differs(card: &mut String, of: &GrantCard, now: Timestamp) {
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
        let path = text::short(&change.path, SIDE);
        let side = |side: &Option<String>| {
            let said = side.as_deref().unwrap_or("not there");
            text::short(said, SIDE)
        };
        let (was, is) = (side(&change.was), side(&change.now));
        // Writing to a String cannot fail, here and below.
        let _ = match change.form {
            Some(DifferenceForm::Thing) => {
                let field = path.trim_start_matches('/');
                writeln!(card, "  {of}another {field} (was {was})")
            }
            Some(DifferenceForm::Size) => writeln!(card, "  {of}{path}: {is} (was {was})"),
            None => writeln!(card, "  {of}{path}:"),
        };
        if change.form.is_some() {
            continue;
        }
        for (sign, side) in [('-', &change.was), ('+', &change.now)] {
            if let Some(said) = side {
                let said = text::short(said, SIDE);
                let _ = writeln!(card, "    {CHANGE} {sign}{said}");
            }
        }
    }
    if let Some(more) = differs.more {
        let _ = writeln!(card, "  … and in {more} more places");
    }
}
