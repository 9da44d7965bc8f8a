//! What every view says alike of calls that an agent asks for. Their cards are painted by each view itself.

use crate::Untrusted;
use plexus_owner::pending::{Ask, Fact, MadePlan, Preview};
use plexus_protocol::{Digest, Verb};
use serde_json::{Map, Value};

/// Characters of a value that a line shows whole.
const MAX_VALUE: usize = 60;

/// The facts of a preview that tell a person something: a digest does not, and the headline names the path already.
pub fn telling_facts(preview: &Preview) -> impl Iterator<Item = &Fact> {
    preview.facts.iter().filter(|fact| {
        let is_named = fact.name == "path" && preview.headline.contains(&fact.value);
        !is_named && Digest::parse(&fact.value).is_none()
    })
}

/// The input of a call, in one line: `path=notes/a.md, content (12 lines)`.
#[must_use]
pub fn input_in_short(input: &Map<String, Value>) -> Untrusted {
    let values = input.iter().map(|(name, value)| {
        let said = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let lines = said.lines().count();
        let length = said.chars().count();
        let quoted = |text: &str| match text.contains([',', '=', '"']) {
            true => format!("{text:?}"),
            false => text.to_owned(),
        };
        let name = quoted(&name.chars().take(MAX_VALUE).collect::<String>());
        if Digest::parse(&said).is_some() {
            format!("{name} (a digest)")
        } else if lines > 1 {
            format!("{name} ({lines} lines)")
        } else if length > MAX_VALUE {
            format!("{name} ({length} characters)")
        } else if value.is_string() {
            format!("{name}={}", quoted(&said))
        } else {
            format!("{name}={said}")
        }
    });
    Untrusted::of(values.collect::<Vec<_>>().join(", "))
}

/// What to mind of a plan: the worker's own warnings, which say why. Where there is none, that it amounts to more than
/// was asked for.
#[must_use]
pub fn warnings(ask: &Ask, plan: &MadePlan) -> Vec<Untrusted> {
    if !plan.warnings.is_empty() || ask.verbs.contains(plan.rating) {
        return Untrusted::all(&plan.warnings);
    }
    let words = match plan.rating {
        Verb::Execute => "this amounts to running code".to_owned(),
        other => format!(
            "this is rated {}, which is more than was asked for",
            other.as_str()
        ),
    };
    vec![Untrusted::of(words)]
}

/// How far the approval of a conversation reaches, or which further calls it permits.
#[must_use]
pub fn permits(ask: &Ask) -> Option<Untrusted> {
    let children = ask.children.as_ref().map(|children| children.words.clone());
    let turns = ask.conversation.as_ref().map(|bounds| match bounds.turns {
        1 => "this one turn".to_owned(),
        turns => format!(
            "at most {turns} turns, this one among them, within {} min from its start",
            bounds.minutes
        ),
    });
    turns.or(children).map(Untrusted::of)
}
