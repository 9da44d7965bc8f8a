//! What would become of a call.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What would become of a call now. Nothing is done, and nothing is recorded.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Explain {
    /// Who would call.
    #[serde(default)]
    pub agent_id: String,
    /// What would be called.
    #[serde(default)]
    pub capability_id: String,
    /// With which input.
    pub input: Option<Map<String, Value>>,
}

/// What would become of it, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What would become of it.
    pub decision: CallDecision,
    /// The rule that decides.
    pub rule: Cow<'static, str>,
    /// Why.
    pub why: String,
    /// What the owner could do; may be empty.
    pub next: String,
}

impl Explanation {
    /// What would become of it, in words.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match self.decision {
            // The gateway lets it through, but the source looks at what the path resolves to.
            CallDecision::Permit if self.rule == "grant.constraint-resolved" => {
                "the source would decide, and what lies outside would wait for you"
            }
            CallDecision::Permit => "it would run",
            CallDecision::Pend => "it would wait for you",
            CallDecision::Refuse => "it would be refused",
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallDecision {
    /// It runs.
    Permit,
    /// It waits for the owner.
    Pend,
    /// It is refused.
    Refuse,
}
