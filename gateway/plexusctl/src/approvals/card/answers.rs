//! The answers that a card offers, and what it differs in from the last one that was approved. The words are the
//! gateway's; here they are printed.

use super::{CHANGE, heading};
use crate::owner::{list_of, text_of};
use plexus_client::{span, text};
use plexus_protocol::{Timestamp, TrustWindow};
use serde_json::Value;
use std::fmt::Write as _;

/// Lines of one side of a change that the short card shows.
const FEW: usize = 12;

/// One answer for how long.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Choice {
    /// The window.
    pub(in super::super) window: TrustWindow,
    /// What it would allow.
    pub(in super::super) words: String,
    /// Whether the gateway proposes it.
    pub(in super::super) default: bool,
    /// Why it cannot be chosen.
    pub(in super::super) refused: Option<String>,
    /// Whether approving says that any input may come.
    pub(in super::super) any_input: bool,
}

/// The answers that `item` lists, those that cannot be chosen too. Windows that are not known here are left out.
pub(in super::super) fn choices(item: &Value) -> Vec<Choice> {
    let choice = |said: &Value| {
        Some(Choice {
            window: TrustWindow::parse(text_of(said, "window"))?,
            words: text_of(said, "words").to_owned(),
            default: said["default"] == true,
            refused: said["refused"].as_str().map(str::to_owned),
            any_input: said["anyInput"] == true,
        })
    };
    list_of(item, "choices").iter().filter_map(choice).collect()
}

/// The windows for which `item` can be allowed, besides `once`.
pub(in super::super) fn windows(item: &Value) -> Vec<TrustWindow> {
    let open = |choice: &Choice| choice.refused.is_none() && choice.window != TrustWindow::Once;
    let choices = choices(item);
    let offered = choices.iter().filter(|choice| open(choice));
    offered.map(|choice| choice.window).collect()
}

/// Windows and what each allows; those that differ in nothing but their length share a line, and so do those that
/// cannot be chosen for one reason.
pub(super) fn offers(card: &mut String, item: &Value) {
    let mut lines: Vec<(bool, String, String)> = Vec::new();
    for choice in choices(item) {
        let kind = choice.window.kind();
        let (open, said) = match &choice.refused {
            Some(why) => (false, why.clone()),
            None if choice.window == TrustWindow::Once => (true, choice.words),
            None => {
                let phrase = choice.window.phrase();
                (true, choice.words.replacen(phrase, "for that long", 1))
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
pub(super) fn before(card: &mut String, item: &Value, now: Timestamp) {
    for (member, label) in [
        ("sourceChanged", "source changed"),
        ("deniedBefore", "denied before"),
    ] {
        for said in list_of(item, member) {
            let at = serde_json::from_value::<Timestamp>(said["at"].clone());
            let ago = at.map_or(String::new(), |at| format!(" {}", span::ago(at, now)));
            let words = text::line(text_of(said, "words"));
            heading(card, &format!("{label}{ago}"), &words);
        }
    }
}

/// What the call differs in from the last one that was approved.
pub(super) fn differs(card: &mut String, item: &Value, now: Timestamp, whole: bool) {
    let differs = &item["differs"];
    if differs.is_null() {
        return;
    }
    let since = serde_json::from_value::<Timestamp>(differs["since"].clone());
    let since = since.map_or_else(|_| "before".to_owned(), |at| span::ago(at, now));
    let changes = list_of(differs, "changes");
    if changes.is_empty() {
        let said = format!("nothing: it has the input of the call that you approved {since}");
        return heading(card, "differs", &said);
    }
    heading(
        card,
        "differs",
        &format!("from the call that you approved {since}, in"),
    );
    for change in changes {
        let of = match text_of(change, "capability") {
            "" => String::new(),
            id => format!("{} ", text::line(id)),
        };
        let path = text::short(text_of(change, "path"), 200);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(card, "  {of}{path}:");
        for (sign, side) in [('-', "was"), ('+', "now")] {
            let Some(said) = change[side].as_str() else {
                continue;
            };
            let most = if whole { usize::MAX } else { FEW };
            let mut lines = text::lines(if said.is_empty() { "\n" } else { said });
            for line in lines.by_ref().take(most) {
                let _ = writeln!(card, "    {CHANGE} {sign}{line}");
            }
            let rest = lines.count();
            if rest > 0 {
                let _ = writeln!(
                    card,
                    "    … {rest} more lines: plexusctl approvals show --all"
                );
            }
        }
    }
    if let Some(more) = differs["more"].as_u64() {
        let _ = writeln!(card, "  … and in {more} more places");
    }
}
