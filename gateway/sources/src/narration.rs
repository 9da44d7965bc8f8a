//! What an approval would mean, in words for the owner. The gateway writes them; the agent cannot.

use super::catalogue::{Catalogue, Entry};
use plexus_protocol::{
    AgentId, Provenance, Sensitivity, TrustWindow,
    body::Narration,
    words::{MAX_WORDS, collapsed, cut},
};
use plexus_trust::{Ask, Ceiling, Item, State, ceiling, class_default};

/// Each ask of an item. `once_only`: what was planned for it may be done call by call only. The agent's copy never says so: it
/// would tell of the plan. `moves`: how its source was changed since the agent lost a grant of it, in sentences.
pub fn of_item(
    catalogue: &Catalogue,
    state: &State,
    item: &Item,
    once_only: impl Fn(&Ask) -> bool,
    moves: impl Fn(&Ask) -> Vec<String>,
) -> Vec<Narration> {
    let one = |ask: &Ask| {
        let entry = catalogue.get(&ask.capability);
        let mut told = narrate(
            &item.agent,
            ask,
            entry.map(|entry| &**entry),
            item.purpose.as_deref(),
            state,
            once_only(ask),
        );
        for sentence in moves(ask) {
            told.summary.push(' ');
            told.summary.push_str(&sentence);
        }
        told
    };
    item.asks.iter().map(one).collect()
}

fn narrate(
    agent: &AgentId,
    ask: &Ask,
    entry: Option<&Entry>,
    purpose: Option<&str>,
    state: &State,
    once_only: bool,
) -> Narration {
    let label = entry.map_or_else(
        || ask.capability.to_string(),
        |e| e.capability().label.clone(),
    );
    // Of a source that is disabled the catalogue has nothing, and the state what it was.
    let source = state.sources.get(ask.capability.parts().0);
    let facts = source.and_then(|source| source.capabilities.get(&ask.capability));
    let known = source.filter(|_| facts.is_some());
    let provenance = entry.map_or(
        known.map_or(Provenance::Extension, |source| source.config.provenance),
        |e| e.provenance,
    );
    let sensitivity = entry.map_or(
        facts.map_or(Sensitivity::High, |facts| facts.sensitivity),
        |e| e.facts.sensitivity,
    );
    // What an approval that names no window gives: the agent's wish where it is shorter, else the class default.
    let window = entry.map_or(TrustWindow::Once, |e| {
        let default = class_default(&state.settings, &e.facts, e.provenance);
        if once_only {
            return TrustWindow::Once;
        }
        let shorter = |wish: &TrustWindow| wish.length_ms() <= default.length_ms();
        ask.wish.filter(shorter).unwrap_or(default)
    });
    let verbs: String = ask
        .verbs
        .iter()
        .map(|verb| format!("{}, ", verb.as_str()))
        .collect();
    let mut line = format!("{agent} asks for “{label}”");
    if let Some(purpose) = purpose {
        line.push_str(&format!(" — “{}”", cut(purpose, 48)));
    }
    Narration {
        id: ask.capability.clone(),
        verbs: ask.verbs,
        provenance,
        sensitivity,
        default_trust_window: window,
        summary: format!(
            "Approving lets {agent} use “{label}” ({verbs}{}, {} sensitivity) {}; you can revoke it at any time.",
            provenance.as_str(),
            sensitivity.as_str(),
            match entry.filter(|_| !once_only) {
                Some(e) if ceiling(&e.facts, e.provenance) == Ceiling::Owner => {
                    "for as long as you choose"
                }
                _ => TrustWindow::Once.phrase(),
            }
        ),
        notification_line: cut(&line, 120),
    }
}

/// An agent's words as they are kept: [`collapsed`], and cut where they are longer than [`MAX_WORDS`], which they say
/// (docs/protocol/agents.md#ask-for-grants).
pub fn clean(text: &str) -> Option<String> {
    let mut text = collapsed(text);
    if text.chars().count() > MAX_WORDS {
        let end = format!("… (cut at {MAX_WORDS} characters)");
        let kept = MAX_WORDS - end.chars().count();
        text = text.chars().take(kept).chain(end.chars()).collect();
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_are_cleaned() {
        assert_eq!(
            clean("  a\tb\u{1b}[31m \u{202e}c \n"),
            Some("a b [31m c".into())
        );
        assert_eq!(clean(" \n\u{200b} "), None);
        assert_eq!(
            clean("a\u{61c}b\u{206a}c\u{e0041}d\u{3164}"),
            Some("a b c d".into())
        );
        let long = clean(&"x".repeat(400)).unwrap();
        assert!(long.ends_with("x… (cut at 280 characters)"), "{long}");
        assert_eq!(long.chars().count(), MAX_WORDS);
        let just = "x".repeat(MAX_WORDS);
        assert_eq!(clean(&just), Some(just));
    }
}
