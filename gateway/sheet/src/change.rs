//! The sheet of a source that changed: why it waits, what differs, whose grants are suspended, what an answer does. One
//! act decides all of it (docs/decisions/0016).

use crate::{Act, Answer, Block, Sheet, Subject, Untrusted};
use plexus_owner::pending::{ChangeCard, Heading, NamedSource};
use plexus_protocol::Verb;

/// A source, which does what `title` says.
#[must_use]
pub fn changed_source(source: &NamedSource, title: &'static str) -> Subject {
    Subject {
        label: "source",
        who: Untrusted::of(source.id.as_str()),
        name: Some(Untrusted::of(&source.label)),
        title,
        object: None,
    }
}

pub(crate) fn sheet(heading: &Heading, card: &ChangeCard) -> Sheet {
    // Each answer as its button, and as it is said when it is done.
    let (title, yes, no) = match (card.is_of_code(), card.definitions.is_some()) {
        (true, _) => (
            "is stopped until you decide",
            ("Let it run", "Let run"),
            ("Keep it stopped", "Kept stopped"),
        ),
        (false, true) => (
            "has changed tools, which are hidden until you decide",
            ("Approve", "Approved"),
            ("Block", "Blocked"),
        ),
        (false, false) => (
            "has suspended grants until you decide",
            ("Resume them", "Resumed"),
            ("Revoke them", "Revoked"),
        ),
    };
    let changes = card.changes.iter();
    let changes = changes.map(|change| {
        let about = Untrusted::of(&change.about);
        (Some(about), Untrusted::all(&change.words))
    });
    let first = card.changes.first().and_then(|change| change.words.first());
    let first = first.or(card.reasons.first());
    let capabilities = heading.capabilities.iter().map(|id| {
        let told = card.pending_narration.iter().find(|told| told.id == *id);
        let verbs = told.into_iter().flat_map(|told| told.verbs.iter());
        let verbs: Vec<_> = verbs.map(Verb::as_str).collect();
        Untrusted::of(match verbs.is_empty() {
            true => id.to_string(),
            false => format!("{id} ({})", verbs.join(", ")),
        })
    });
    Sheet {
        gist: first.map(Untrusted::of).unwrap_or_default(),
        blocks: vec![
            Block::Notices("why", Untrusted::all(&card.reasons)),
            Block::Differences("what differs from when you granted it", changes.collect()),
            Block::Names("agents", Untrusted::all(&card.agents)),
            Block::Names("capabilities", capabilities.collect()),
        ],
        answer: Some(Answer {
            yes: Some(Act::of("if you approve", yes.0, yes.1, &card.if_approved)),
            no: Some(Act::of("if you deny", no.0, no.1, &card.if_denied)),
            ..Answer::default()
        }),
        ..Sheet::of(
            heading,
            Some(card.card_digest),
            changed_source(&card.source, title),
        )
    }
}
