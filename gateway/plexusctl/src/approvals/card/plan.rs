//! The states of a plan, said in one place.

use super::{heading, members_of, object};
use plexus_owner::pending::{Ask, Card, Item, MadePlan, Plan, Wants};

/// The plan of `ask` where it is made; in any other state that state is said.
pub(super) fn made<'p>(card: &mut String, ask: &'p Ask) -> Option<&'p MadePlan> {
    match &ask.plan {
        Plan::None => {}
        Plan::Making => heading(card, "  plan", "it is still being made"),
        Plan::Failed(failed) => {
            let said = "it FAILED: this can be denied, not approved";
            heading(card, "  plan", said);
            object(card, 2, &members_of(failed));
        }
        Plan::Made(plan) => return Some(plan),
    }
    None
}

/// Whether a plan of `item` is still being made; until then it has no digest (docs/design.md#approvals).
pub(in super::super) fn is_planning(item: &Item) -> bool {
    let grant = item.card.grant();
    grant.is_some_and(|card| card.is_planning())
}

/// Whether `item` can only be denied, or planned again; of a question: is answered by a command of its own.
pub(in super::super) fn is_lost(item: &Item) -> bool {
    match &item.card {
        Card::Question(card) => matches!(card.question.wants, Wants::Form { .. }),
        Card::Register(card) => card.problems.is_some(),
        Card::Grant(card) => card.has_failed(),
        Card::Brief(_) | Card::Change(_) => false,
    }
}
