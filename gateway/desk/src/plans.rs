//! A worker's plan, as the owner's protocol has it.

use plexus_ipc::message::{self, PlanMade};
use plexus_owner::plan::{Fact, Plan, Preview};
use serde_json::Map;

/// A plan with the token that stands for it.
pub(crate) fn plan_of(made: &PlanMade) -> Plan {
    Plan {
        state_token: made.state_token,
        rating: made.rating,
        summary: made.summary.to_string(),
        preview: preview_of(&made.preview),
        warnings: made.warnings.iter().map(ToString::to_string).collect(),
    }
}

fn preview_of(preview: &message::Preview) -> Preview {
    let facts = preview.facts.iter().map(|fact| Fact {
        name: fact.name.to_string(),
        value: fact.value.to_string(),
    });
    Preview {
        headline: preview.headline.to_string(),
        facts: facts.collect(),
        diff: preview.diff.as_ref().map(ToString::to_string),
        form: preview.form,
        cut: preview.cut,
        rest: Map::new(),
    }
}
