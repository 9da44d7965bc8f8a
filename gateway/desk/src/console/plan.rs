//! A worker's plan as the owner reads it before they have it carried out: bounded, in the worker's words.

use super::foreign::ForeignText;
use plexus_owner::plan::Plan;

/// Facts and warnings of a plan that are shown: a page of files, each a fact, has room.
const FACTS: usize = 60;

/// A plan without its difference.
pub(super) struct PlanView {
    /// Names this very plan to an act.
    pub(super) token: String,
    pub(super) headline: ForeignText,
    pub(super) facts: Vec<(ForeignText, ForeignText)>,
    pub(super) warnings: Vec<ForeignText>,
    /// Facts and warnings that there is no room for.
    pub(super) unshown: usize,
}

impl PlanView {
    pub(super) fn of(plan: &Plan) -> Self {
        let facts = &plan.preview.facts;
        let headline = match plan.preview.headline.as_str() {
            "" => &plan.summary,
            headline => headline,
        };
        let beyond = |all: usize| all.saturating_sub(FACTS);
        let fact = |fact: &plexus_owner::plan::Fact| {
            (
                ForeignText::short(&fact.name, 60),
                ForeignText::short(&fact.value, 300),
            )
        };
        let warnings = plan.warnings.iter().take(FACTS);
        Self {
            token: plan.state_token.to_string(),
            headline: ForeignText::short(headline, 300),
            facts: facts.iter().take(FACTS).map(fact).collect(),
            warnings: warnings.map(|said| ForeignText::short(said, 400)).collect(),
            unshown: beyond(facts.len()) + beyond(plan.warnings.len()),
        }
    }
}
