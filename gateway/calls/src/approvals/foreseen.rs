//! What the members of a workflow would do, as far as that can be planned before it begins.
//!
//! ```text
//! member: an effect whose input waits for no answer, the first at its source ─▶ planned ─▶ shown under its number
//!              └─ any other: its input is shown, and the member is held to what its agent has read
//! ```
//! Invariants: a member whose plan is on the card is made as planned, or not at all; a plan is on the world as it is now, so
//! none is made behind an effect at the same source.
//!
//! Must not know: who decides.

use super::planner::{mark, request_of};
use crate::{change_author, kernel::Kernel};
use plexus_ipc::{
    message::{PlanMade, Preview},
    text::Line,
};
use plexus_protocol::{AgentId, CapabilityId, Digest, Verb, json};
use plexus_sources::catalogue::Entry;
use plexus_supervisor::Stands;
use serde_json::Value;
use std::collections::BTreeSet;

/// A member's preview: its headline, its facts, its diff.
fn words(preview: &Preview) -> String {
    let facts = preview.facts.iter();
    let facts = facts.map(|fact| format!("{}: {}\n", fact.name.as_str(), fact.value.as_str()));
    let diff = preview.diff.as_ref().map(ToString::to_string);
    format!(
        "{}\n{}{}",
        &*preview.headline,
        facts.collect::<String>(),
        diff.unwrap_or_default()
    )
}

/// The approval of the workflow covers the verbs of its members, and no more.
fn asks_again(place: usize, rating: Verb) -> Line<256> {
    let rating = rating.as_str();
    Line::new(format!(
        "Member {place} is rated {rating}, more than this approval covers: its call ends the workflow and asks you again."
    ))
}

/// Adds the plans of members to that of their workflow. What each assumes about the world, in the order of the members; and
/// whether one takes back a change that `agent` did not make, so that the workflow has to be approved by itself.
pub(super) async fn add(
    kernel: &Kernel,
    agent: &AgentId,
    workflow: &Entry,
    input: &Value,
    stands: &Stands,
    made: &mut PlanMade,
) -> (Vec<Option<Digest>>, bool) {
    let members = &workflow.capability().members;
    let (mut tokens, mut sources) = (Vec::new(), BTreeSet::new());
    let mut of_another = false;
    let mut whole = made
        .preview
        .diff
        .take()
        .map(|diff| diff.to_string())
        .unwrap_or_default();
    for (at, member) in members.iter().enumerate() {
        tokens.push(None);
        if member.is_read() {
            continue;
        }
        let id = CapabilityId::parse(&member.id).ok();
        let entry = id.and_then(|id| kernel.catalogue.load().get(&id).cloned());
        let Some(entry) = entry else { continue };
        let is_first = sources.insert(entry.source.clone());
        let Some(planned) = member.planned(input).filter(|_| is_first) else {
            continue;
        };
        let bytes = json::canonical(&planned);
        let undoes = change_author::change(kernel, agent, &entry, bytes.as_ref()).await;
        let request = request_of(kernel, &entry, bytes.into(), None, stands.clone());
        let words = match kernel.plan(&entry.source, request).await {
            Ok(Ok(plan)) => {
                tokens[at] = Some(plan.state_token);
                made.warnings.extend(plan.warnings.iter().cloned());
                // Held to its plan, it asks no more whose change it takes back: the card says it.
                of_another |= mark(made, undoes, agent);
                made.preview.cut |= plan.preview.cut;
                if plan.rating > entry.capability().rating() {
                    made.warnings.push(asks_again(at + 1, plan.rating));
                }
                words(&plan.preview)
            }
            Ok(Err(error)) => format!("as things are now, it would fail: {error}\n"),
            Err(_) => "it could not be planned now\n".to_owned(),
        };
        whole.push_str(&format!("{}. {}: {words}\n", at + 1, member.id));
    }
    made.preview = std::mem::take(&mut made.preview).text(&whole);
    (tokens, of_another)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_preview_is_shown_whole() {
        let preview = Preview::new("send a mail").fact("to", "a@example.org");
        assert_eq!(words(&preview), "send a mail\nto: a@example.org\n");
        assert_eq!(
            words(&preview.diff("+ hello\n")),
            "send a mail\nto: a@example.org\n+ hello\n"
        );
    }
}
